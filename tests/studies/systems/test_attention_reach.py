"""Attention reach against one changed token at a time; FLOP formulas against counts by torch."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import Block
from torch.utils.flop_counter import FlopCounterMode

from scale.modalities import CONTINUOUS, INDEX, MODALITIES
from scale.studies.systems.attention_reach import (
    AttentionReach,
    compose_reach,
    generator_reach,
    model_reach,
    output_lengths,
    truncate_tokens,
)
from scale.studies.systems.cost import (
    attention_flops,
    counted_flops,
    cross_flops,
    design_flops,
    layer_flops,
)
from scale.studies.systems.fusion import CrossAttention
from scale.studies.systems.generator import GeneratorConfig, ImageGenerator
from scale.studies.systems.model import find_size
from scale.studies.systems.named import SYSTEMS

SHOWN = ("scale_itself", "uniter", "vilbert", "lxmert", "mmt", "clip")


@pytest.fixture
def product(make_batch):
    return truncate_tokens(make_batch([("text",), MODALITIES]), row=1, most=4)


@pytest.fixture(params=SHOWN)
def model(request, system_model):
    return system_model(request.param)


def groups_LL(length, *groups):
    """True where both tokens are of modalities of one group."""
    owner_L = np.repeat([INDEX[m] for m in length], list(length.values()))
    of_M = np.array([next(k for k, g in enumerate(groups) if m in g) for m in MODALITIES])
    return of_M[owner_L][:, None] == of_M[owner_L]


def test_truncate_tokens_keeps_one_product_without_padding(product):
    assert len(product) == 1
    assert not any(t.padding_RL.any() for t in product.tokens.values())
    assert max(t.values.shape[1] for t in product.tokens.values()) == 4
    product.check()


def test_reach_equals_that_of_one_changed_vector(model, product):
    reads_LL = model_reach(model, product)
    length = output_lengths(model, product)
    double = deepcopy(model).double()
    starts = dict(zip(length, np.cumsum([0, *length.values()]), strict=False))
    outputs = {}
    for m, k in ((None, 0), ("image", 0), ("video", 1), ("audio", 3)):
        tokens = {}
        for name, t in product.tokens.items():
            values = t.values.double() if t.values.is_floating_point() else t.values.clone()
            if name == m:
                values[0, k] += torch.linspace(-1, 1, values.shape[2])
            tokens[name] = replace(t, values=values)
        with torch.no_grad():
            out = double(replace(product, tokens=tokens))
        out = out if isinstance(out, dict) else out.fused
        outputs[m, k] = torch.cat([out[name][0] for name in length])
    for (m, k), after_LD in outputs.items():
        if m:
            differs_L = (after_LD - outputs[None, 0]).abs().amax(1) > 1e-9
            # Vectors follow their modality's [CLS].
            assert differs_L.tolist() == reads_LL[:, starts[m] + 1 + k].tolist()


def test_layer_reach_composes_to_the_reach_of_the_model(model, product):
    reach = AttentionReach.of(model, product)
    layers = list(reach.layers.values())
    np.testing.assert_array_equal(compose_reach(layers), reach.whole)
    assert all(layer.diagonal().all() for layer in layers)
    apart = groups_LL(reach.length, *((m,) for m in MODALITIES))
    sides = groups_LL(reach.length, ("text", "table"), ("image", "video", "audio"))
    itself = np.eye(len(apart), dtype=bool)
    everything = np.ones_like(apart)
    expected = {
        "SCALE": {"alone": apart, "jct": everything},
        "UNITER": {"stream": everything},
        "LXMERT": {"own": sides, "cross": ~sides | itself, "self": sides},
        "CLIP": {"alone": apart},
    }
    for name, layer_LL in expected.get(reach.system, {}).items():
        np.testing.assert_array_equal(reach.layers[name], layer_LL, err_msg=name)
    language = sum(reach.length[m] for m in ("text", "table"))
    if reach.system == "ViLBERT":
        own_LL = reach.layers["own"]
        assert own_LL[:language, :language].all()
        np.testing.assert_array_equal(own_LL[language:], itself[language:])
    if reach.system == "MMT":
        assert not reach.whole[language:, :language].any()
        assert reach.whole[language:, language:].all()


def test_compose_reach_equals_a_triple_loop():
    rng = np.random.default_rng(0)
    first_LL, second_LL = (rng.random((6, 6)) < 0.3 for _ in range(2))
    slow_LL = np.zeros((6, 6), bool)
    for i in range(6):
        for j in range(6):
            slow_LL[i, j] = any(second_LL[i, k] and first_LL[k, j] for k in range(6))
    np.testing.assert_array_equal(compose_reach([first_LL, second_LL]), slow_LL)


def test_generator_reach_is_causal():
    torch.manual_seed(0)
    config = GeneratorConfig(20, codes=8, text_length=5, side=3, width=16, heads=2, layers=2)
    text_1T = torch.tensor([[3, 19, 7, 4, 19]])
    image_1N = torch.randint(8, (1, 9))
    reads_LL = generator_reach(ImageGenerator(config), text_1T, image_1N)
    np.testing.assert_array_equal(reads_LL, np.tri(14, k=-1, dtype=bool))


def test_reach_of_two_products_raises(system_model, make_batch):
    model = system_model("clip")
    with pytest.raises(ValueError, match="expected one product, got 2"):
        model_reach(model, make_batch([MODALITIES] * 2))


def test_attention_flops_equal_a_loop():
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
def test_layer_flops_equal_torchs_count(length, ratio):
    block = Block(16, 2, ratio, qkv_bias=True)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        block(torch.zeros(1, length, 16))
    assert counter.get_total_flops() == layer_flops(length, 16, ratio)


def test_cross_flops_equal_torchs_count(model_config):
    cross = CrossAttention(model_config)
    other = torch.zeros(1, 7, 16), torch.zeros(1, 7, dtype=torch.bool)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        cross(torch.zeros(1, 5, 16), other)
    assert counter.get_total_flops() == cross_flops(5, 7, 16)


@pytest.mark.parametrize("name", ["scale_itself", "uniter", "vilbert", "lxmert", "mmt", "clip"])
def test_design_flops_equal_torchs_count(name, config, system_model, make_batch):
    system, model, width = SYSTEMS[name].everywhere(), system_model(name), config.model.width
    sized, depth = (config, 0) if name == "scale_itself" else find_size(system, config)
    poolers = 5 * 2 * width**2 if name == "scale_itself" else 0
    for most in (3, 6):
        product = truncate_tokens(make_batch([MODALITIES]), 0, most)
        length = output_lengths(model, product)
        inputs = sum(2 * (length[m] - 1) * config.model.feature_size(m) * width for m in CONTINUOUS)
        layers = design_flops(system, sized.model, depth, length)
        assert counted_flops(model, product) == layers + inputs + poolers
