"""Retry of training steps that run out of memory."""

import gc
import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from scale.training.health_checks import TrainingError

log = logging.getLogger(__name__)
Output = TypeVar("Output")

MESSAGES = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "MPS backend out of memory",
    "ALLOC_FAILED",
)
"""Messages of the allocators of CPU (Unix, Windows), MPS, cuBLAS and cuDNN."""


class OutOfMemoryRetry:
    """Retries a training step with half the micro-batch after an out-of-memory error.

    A step that fails before the optimizer's update has changed nothing: its random numbers depend
    on its own number only, and its gradients are discarded. The smaller micro-batch is kept for
    the following steps.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, enabled: bool):
        """`enabled`: `train.auto_batch`, in one process; several would wait for each other."""
        self.optimizer, self.enabled = optimizer, enabled
        self._updating = False
        optimizer.register_step_pre_hook(self._note_update)

    def __call__(
        self, train_step: Callable[[int], Output], step: int, micro_batch: int
    ) -> tuple[Output, int]:
        """Call `train_step(micro_batch)`, retrying; return its output and the micro-batch used.

        Raises TrainingError if memory is out and retries are disabled or do not help.
        """
        while True:
            self._updating = False
            try:
                return train_step(micro_batch), micro_batch
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                micro_batch = self._halve(step, micro_batch, error)
            # After the handler, because the error's traceback keeps the step's tensors alive.
            self.optimizer.zero_grad(set_to_none=True)
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _halve(self, step: int, micro_batch: int, error: Exception) -> int:
        half = micro_batch // 2
        # Smaller parts do not help an update that lacks memory, and it may have begun already.
        if not self.enabled or half < 1 or self._updating:
            raise TrainingError(
                f"step {step + 1}: out of memory ({error}). Try train.micro_batch {max(1, half)} "
                "(the same negatives, slower), train.auto_batch, which finds it (one process "
                "only), train.precision bf16, or a smaller train.batch_size."
            ) from error
        log.warning("step %d: out of memory; continuing with train.micro_batch %d", step + 1, half)
        return half

    def _note_update(self, *_: object) -> None:
        self._updating = True


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the memory of device or machine is exhausted."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in MESSAGES)
