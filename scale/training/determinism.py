"""The same result to the bit, each time: on the CPU always, on CUDA by `train.deterministic`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def deterministic_algorithms(on: bool) -> Iterator[None]:
    """Only algorithms with the same result each time, if `on`; the settings of before come back.

    On CUDA, an operation that has none raises RuntimeError with its name. cuBLAS reads
    CUBLAS_WORKSPACE_CONFIG when it is first used in a process, so it stays set.
    """
    before, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    if on:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(before or on)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = benchmark
