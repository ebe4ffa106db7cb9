"""The formulas of cost against torch's count, and against one operation at a time."""

import pytest
import torch
from timm.models.vision_transformer import Block
from torch.utils.flop_counter import FlopCounterMode

from scale.modalities import CONTINUOUS, MODALITIES
from scale.studies.systems.attention_reach import output_lengths, truncate_tokens
from scale.studies.systems.cost import (
    attention_flops,
    counted_flops,
    cross_flops,
    design_flops,
    layer_flops,
)
from scale.studies.systems.fusion import CrossAttention
from scale.studies.systems.model import find_size
from scale.studies.systems.named import SYSTEMS


def test_attention_one_operation_at_a_time():
    length, width = 5, 3
    operations = 0
    for _reader in range(length):
        for _read in range(length):
            for _number in range(width):
                operations += 2  # dot product: multiply, add
                operations += 2  # mean: share times value, add
    assert attention_flops(length, width) == operations


@pytest.mark.parametrize("length", [3, 40])
@pytest.mark.parametrize("ratio", [2.0, 4.0])
def test_a_layer_as_torch_counts_it(length, ratio):
    block = Block(16, 2, ratio, qkv_bias=True)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        block(torch.zeros(1, length, 16))
    assert counter.get_total_flops() == layer_flops(length, 16, ratio)


def test_cross_attention_as_torch_counts_it(model_config):
    cross = CrossAttention(model_config)
    other = torch.zeros(1, 7, 16), torch.zeros(1, 7, dtype=torch.bool)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        cross(torch.zeros(1, 5, 16), other)
    assert counter.get_total_flops() == cross_flops(5, 7, 16)


@pytest.mark.parametrize("name", ["scale_itself", "uniter", "vilbert", "lxmert", "mmt", "clip"])
def test_designs_as_torch_counts_them(name, config, system_model, make_batch):
    system, model, width = SYSTEMS[name]().everywhere(), system_model(name), config.model.width
    sized, depth = (config, 0) if name == "scale_itself" else find_size(system, config)
    poolers = 5 * 2 * width**2 if name == "scale_itself" else 0
    for most in (3, 6):
        product = truncate_tokens(make_batch([MODALITIES]), 0, most)
        length = output_lengths(model, product)
        inputs = sum(2 * (length[m] - 1) * config.model.feature_size(m) * width for m in CONTINUOUS)
        layers = design_flops(system, sized.model, depth, length)
        assert counted_flops(model, product) == layers + inputs + poolers
