"""What a device can do, measured, and how long a training step must take on it at least.

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
"""Of the square matrices that the peak is measured with."""
COPIED = {"cpu": 2**28, "cuda": 2**32}
"""Bytes of the tensor that the bandwidth is measured with."""
ROUNDS = 8
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
STATE_BYTES = 52
"""Memory traffic of a parameter and step: read forward and backward (8), its gradient written (4),
read for the norm (4), read and written by clipping (8), and AdamW's four reads and three writes
(28), all in fp32."""
LAYER_VECTORS, PASSES = 18, 5
"""An estimate: vectors of width D that a Transformer layer makes of a token (two norms, query, key,
value, attention and its projection, four and four of the MLP and its activation, its projection,
two residuals, rounded up for dropout), each written once and read once forward, and in the backward
pass read once while its gradient is written and read."""


@dataclass(frozen=True)
class Machine:
    """Measured in this process."""

    flops: float
    """Largest rate of a square matrix product, FLOP/s, at one precision."""
    bandwidth: float
    """Largest rate of a copy in memory, bytes read and written a second."""

    @staticmethod
    def measure(device: str, precision: str) -> "Machine":
        """The best of several rounds each."""
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
        """The larger rates of two measurements."""
        return Machine(max(self.flops, other.flops), max(self.bandwidth, other.bandwidth))


@dataclass(frozen=True)
class Floor:
    """Seconds that a step takes at least, if it is bound by one of the two alone."""

    operations: float
    """Counted operations over the measured peak."""
    traffic: float
    """Bytes of parameters, optimizer and activations (an estimate) over the measured bandwidth."""


def floor_of(
    machine: Machine, config: Config, present_NM: np.ndarray, flops: float, parameters: int
) -> Floor:
    """The floor of a step over all products of `present_NM`, of `flops` operations in all."""
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
    """Operations of the forward pass and of forward and backward pass together, for a product.

    Counted by torch; elementwise operations and the optimizer count nothing. Leaves gradients.
    """
    reader = LossForward(
        model, config.train.loss_positions_only, config.loss.weight_features == "fused"
    )
    with FlopCounterMode(display=False) as forward:
        output = reader(masked.batch, masked.hidden, masked.positions)
        loss = scale_loss(output, masked, config.loss, progress=1.0)
    with FlopCounterMode(display=False) as backward:
        loss.total.backward()
    counts = forward.get_total_flops(), backward.get_total_flops()
    return counts[0] / len(masked.batch), sum(counts) / len(masked.batch)


def seconds(work: Callable[[], object], device: str) -> float:
    """Time of one call, the device's work included."""
    _wait(device)
    started = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
