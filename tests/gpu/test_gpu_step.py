"""A training step on one GPU: its kernels, that the host never waits, its numbers, its bits."""

import contextlib
from dataclasses import replace

import pytest
import torch
from torch._dynamo.utils import counters
from torch.profiler import ProfilerActivity, profile

from scale.config import LossConfig
from scale.modalities import MODALITIES
from scale.training.preemption import PreemptionHandler, TrainingStopped
from scale.training.pretrain import fit_run
from scale.training.run import RunFolder, seeded_model
from scale.training.trainer import Trainer
from tests.training.small_data import SmallData, setting

pytestmark = pytest.mark.gpu

PRESENT = [
    MODALITIES, ("text", "image"), ("table", "audio"), MODALITIES, ("video",), ("text", "table"),
    MODALITIES, ("image", "audio"),
]  # fmt: skip


class Products(SmallData):
    """In single precision; `full`: no sequence is padded."""

    def __init__(self, present, full=False):
        super().__init__(present)
        for m, tokens in self.tokens.items():
            values = tokens.values.float() if tokens.values.is_floating_point() else tokens.values
            padding_NL = tokens.padding_RL & (not full)
            self.tokens[m] = replace(tokens, values=values, padding_RL=padding_NL)


def trainer(policy="zero", dropout=0.0, data=None, **train):
    """A step of a small model whose heads are as wide as flash attention wants them."""
    _, config = setting(PRESENT, LossConfig(), policy, dropout)
    config = replace(
        config,
        model=replace(config.model, width=64, heads=2),
        train=replace(config.train, **{"device": "cuda", **train}),
    )
    return Trainer(config, seeded_model(config), data or Products(PRESENT))


def losses(made, steps=4):
    return torch.stack(
        [made.train_step(step).loss.total.detach().float() for step in range(steps)]
    ).cpu()


@pytest.mark.parametrize("policy", ["zero", "skip", "learned"])
@pytest.mark.parametrize("train", [{}, {"loss_positions_only": True}, {"micro_batch": 4}])
def test_the_host_never_waits_in_a_step(policy, train):
    made = trainer(policy=policy, **train)
    for step in range(2):
        made.train_step(step)
    torch.cuda.set_sync_debug_mode("error")
    try:
        made.train_step(2)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("policy", ["zero", "skip"])
def test_attention_never_builds_its_matrix(policy):
    made = trainer(policy=policy, precision="bf16", dropout=0.1)
    made.train_step(0)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        made.train_step(1)
    called = {event.key for event in seen.key_averages()}
    fused = {f"aten::_scaled_dot_product_{kind}_attention" for kind in
             ("flash", "efficient", "cudnn")}  # fmt: skip
    assert called & fused
    assert "aten::_scaled_dot_product_attention_math" not in called


def test_complete_products_take_flash_attention():
    complete = Products([MODALITIES] * 8, full=True)
    made = trainer(precision="bf16", data=complete, policy="skip")
    made.train_step(0)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        made.train_step(1)
    called = {event.key for event in seen.key_averages()}
    assert called & {"aten::_scaled_dot_product_flash_attention",
                     "aten::_scaled_dot_product_cudnn_attention"}  # fmt: skip


@pytest.mark.parametrize(
    "train", [{}, {"loss_positions_only": True}, {"micro_batch": 4}, {"compile": True}]
)
@pytest.mark.parametrize("policy", ["zero", "skip", "learned"])
def test_the_losses_are_those_of_the_cpu(policy, train):
    wanted = losses(trainer(policy=policy, device="cpu"))
    torch.testing.assert_close(
        losses(trainer(policy=policy, **train)), wanted, rtol=2e-3, atol=2e-3
    )
    half = losses(trainer(policy=policy, precision="bf16", **train))
    torch.testing.assert_close(half, wanted, rtol=5e-2, atol=5e-2)


def test_compiled_layers_are_compiled_once_while_shapes_vary():
    torch._dynamo.reset()
    counters.clear()
    made = trainer(policy="skip", compile=True, precision="bf16", batch_size=4)
    losses(made, 3)
    graphs = counters["stats"]["unique_graphs"]
    losses(made, 12)
    assert counters["stats"]["unique_graphs"] == graphs
    assert not counters["graph_break"]


@pytest.mark.parametrize(
    "train", [{}, {"micro_batch": 4}, {"precision": "bf16", "loss_positions_only": True}]
)
def test_a_deterministic_run_that_stops_ends_with_the_same_bits(tmp_path, train):
    made = trainer(dropout=0.1, deterministic=True, steps=6, **train)
    config, data = made.config, made.train_set
    weights = []
    for name, stops in (("whole", (None,)), ("stopped", (3, None))):
        for stop in stops:
            run = RunFolder(tmp_path / name)
            one, preemption = Trainer(config, seeded_model(config), data), PreemptionHandler()
            preemption.reason = lambda t=one, s=stop: "stopped" if t.state.step == s else None
            with pytest.raises(TrainingStopped) if stop else contextlib.nullcontext():
                fit_run(one, None, run, preemption)
        weights.append([p.detach().cpu() for p in one.model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
