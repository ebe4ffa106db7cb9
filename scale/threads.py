"""Number of CPU threads: by the size of the model and the cores of this process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from scale.config import Config

SMALL = 1.5e10
"""Operations of a training step below which one thread is used (benchmarks/threads.py)."""
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Quota and period of a container in microseconds, or `max` (Linux, cgroup v2)."""


def available_cores() -> int:
    """Return the number of cores that this process may use: its affinity and its cgroup's quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:  # not on Linux
        cores = os.cpu_count() or 1
    if CPU_QUOTA.is_file():
        quota, period = CPU_QUOTA.read_text(encoding="ascii").split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def step_operations(config: Config) -> float:
    """Estimate the floating-point operations of a training step with complete products.

    6 B L (N_enc + N_jct) (4 + 2 r) D^2 for B products of L tokens, N layers of width D and
    feed-forward ratio r: forward and backward pass of the layers' matrix products. Projections of
    frozen features (`model.pooling`) are counted as 0, public models inside the encoders as
    infinite.
    """
    model = config.model
    if any(model.backbone(m) for m in model.modalities):
        return float("inf")
    if model.pooling == "projection" and config.loss.tasks == ("contrastive",):
        return 0.0
    tokens = config.train.batch_size * sum(model.length(m) for m in model.modalities)
    layer = (4 + 2 * model.mlp_ratio) * model.width**2
    return 6 * tokens * (model.encoder_layers + model.jct_layers) * layer


def choose_threads(config: Config) -> int:
    """Return the number of threads of torch for a training.

    `train.threads` if it is set; else OMP_NUM_THREADS if it is set; else 1 for a small model on a
    CPU (`SMALL`); else this process's share of the cores. The result does not depend on the load of
    the machine, so a run can be repeated. A lower number by `torch.set_num_threads` is kept.
    """
    settings, processes = config.train, int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if settings.threads:
        return settings.threads
    given = os.environ.get("OMP_NUM_THREADS")
    # torchrun sets 1 for several processes, unless the variable is set.
    launched = processes > 1 and given == "1"
    if given and not launched:
        return torch.get_num_threads()
    on_cpu = settings.device == "cpu" or not torch.accelerator.is_available()
    if on_cpu and step_operations(config) < SMALL:
        return 1
    share = max(1, available_cores() // processes)
    return share if launched else min(share, torch.get_num_threads())


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Set the number of torch's threads within the context."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
