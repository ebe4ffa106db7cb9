"""Measured peak rates of a device, and lower bounds for the time of a training step.

B products, L length, D width.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from scale.config import Config
from scale.losses.masking import MaskedBatch
from scale.losses.total import scale_loss
from scale.modalities import CONTINUOUS, INDEX, MODALITIES
from scale.model.scale import ScaleModel
from scale.training.gradient_cache import LossForward

SIDE = {"cpu": 2048, "cuda": 8192}
"""Size of the square matrices for the measurement of the peak."""
COPIED = {"cpu": 2**28, "cuda": 2**32}
"""Bytes of the tensor for the measurement of the bandwidth."""
ROUNDS = 8
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
DATA_SHEET = 989e12
"""Dense bf16 FLOP/s of an H100 or H200 SXM by its data sheet."""
STATE_BYTES = 52
"""Memory traffic per parameter and step: read in forward and backward pass (8), its gradient
written (4), read for the norm (4), read and written by clipping (8), and AdamW's four reads and
three writes (28), all in fp32."""
LAYER_VECTORS, PASSES = 18, 5
"""An estimate: vectors of width D that a Transformer layer computes per token (two norms, query,
key, value, attention and its projection, four of the MLP and four of its activation, its
projection, two residuals, rounded up for dropout). Each is written and read once in the forward
pass; in the backward pass it is read once, and its gradient is written and read."""


@dataclass(frozen=True)
class Machine:
    """Peak rates, measured in this process."""

    flops: float
    """Largest rate of a square matrix product, FLOP/s, at one precision."""
    bandwidth: float
    """Largest rate of a copy in memory, bytes read and written per second."""

    @staticmethod
    def measure(device: str, precision: str) -> "Machine":
        """Measure both rates: the best of several rounds."""
        side, size = SIDE[device], COPIED[device]
        left, right = (
            torch.randn(side, side, device=device, dtype=DTYPES[precision]) for _ in "ab"
        )
        matmul = min(seconds(lambda: left @ right, device) for _ in range(ROUNDS))
        source = torch.ones(size, dtype=torch.uint8, device=device)
        target = torch.zeros_like(source)
        copy = min(seconds(lambda: target.copy_(source), device) for _ in range(ROUNDS))
        return Machine(2 * side**3 / matmul, 2 * size / copy)

    def or_better(self, other: "Machine") -> "Machine":
        """Return the larger rates of two measurements."""
        return Machine(max(self.flops, other.flops), max(self.bandwidth, other.bandwidth))


@dataclass(frozen=True)
class Floor:
    """Lower bounds for the seconds of a step, by operations and by memory traffic."""

    operations: float
    """Counted operations divided by the measured peak."""
    traffic: float
    """Estimated bytes of parameters, optimizer and activations, divided by the bandwidth."""


def floor_of(
    machine: Machine, config: Config, present_NM: np.ndarray, flops: float, parameters: int
) -> Floor:
    """Lower bounds for a step on the products of `present_NM` with `flops` operations in total."""
    model, element = config.model, 4 if config.train.precision == "no" else 2
    tokens = 0
    for m in MODALITIES:
        length = model.length(m) + (m in CONTINUOUS)
        tokens += length * int(present_NM[:, INDEX[m]].sum())
    layers = model.encoder_layers + model.jct_layers
    activations = tokens * layers * LAYER_VECTORS * PASSES * model.width * element
    traffic = (parameters * STATE_BYTES + activations) / machine.bandwidth
    return Floor(flops / machine.flops, traffic)


def count_flops(model: ScaleModel, masked: MaskedBatch, config: Config) -> tuple[float, float]:
    """Operations per product of the forward pass, and of forward and backward pass together.

    Counted by PyTorch, without element-wise operations and the optimizer. Leaves gradients.
    """
    forward_pass = LossForward(
        model, config.train.loss_positions_only, config.loss.weight_features == "fused"
    )
    with FlopCounterMode(display=False) as forward:
        output = forward_pass(masked.batch, masked.hidden, masked.positions)
        loss = scale_loss(output, masked, config.loss, progress=1.0)
    with FlopCounterMode(display=False) as backward:
        loss.total.backward()
    counts = forward.get_total_flops(), backward.get_total_flops()
    return counts[0] / len(masked.batch), sum(counts) / len(masked.batch)


def seconds(work: Callable[[], object], device: str) -> float:
    """Time of one call, including the work of the device."""
    _wait(device)
    started = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
