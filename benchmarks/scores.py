"""Time of the vectorised scores, forward and backward, compared with per-sample loops.

    python benchmarks/scores.py

Both alternate in one process; the best of several rounds counts.

B products, M modalities (five), D width.
"""

import time

import torch
from torch import Tensor
from twin import loop_scores

from scale.model.scores import inter_modality_scores

BATCHES = (64, 256, 1024)
ROUNDS = 5


def plain_scores(pooled_BMD: Tensor) -> Tensor:
    """S' of the reference twin."""
    return loop_scores(pooled_BMD)[1]


def fast_scores(pooled_BMD: Tensor) -> Tensor:
    """The package's S'."""
    return inter_modality_scores(pooled_BMD).weighted_BMM


def seconds(function, pooled_BMD: Tensor) -> float:
    """Time of one forward and backward pass."""
    pooled_BMD = pooled_BMD.clone().requires_grad_()
    started = time.perf_counter()
    function(pooled_BMD).sum().backward()
    return time.perf_counter() - started


def main() -> None:
    """Print one line per batch size."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, width 768, fp32")
    print(f"{'B':>6} {'loop, ms':>10} {'vectorised, ms':>15} {'ratio':>8}")
    for batch in BATCHES:
        pooled_BMD = torch.randn(batch, 5, 768, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(fast_scores(pooled_BMD), plain_scores(pooled_BMD))
        times = [
            (seconds(plain_scores, pooled_BMD), seconds(fast_scores, pooled_BMD))
            for _ in range(ROUNDS)
        ]
        slow, fast = (min(column) for column in zip(*times, strict=True))
        print(f"{batch:>6} {slow * 1e3:>10.1f} {fast * 1e3:>15.2f} {slow / fast:>8.0f}")


if __name__ == "__main__":
    main()
