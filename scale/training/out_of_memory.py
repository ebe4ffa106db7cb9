"""When memory is out: the same step again in smaller parts, or a message that says what to try."""

import gc
import logging
from dataclasses import replace

import torch

from scale.config import Config
from scale.data.dataset import ProductDataset
from scale.model.scale import ScaleModel
from scale.training.step import Step, Stepper, TrainingError

log = logging.getLogger(__name__)

ALLOCATORS = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "MPS backend out of memory",
    "ALLOC_FAILED",
)
"""How the allocators of CPU (Unix, Windows), MPS, cuBLAS and cuDNN say that memory is out."""


class FrugalStepper(Stepper):
    """A stepper that knows what to do when memory is out.

    A step whose memory ends before the optimizer moves has changed nothing: its random numbers are
    seeded by its own number and its gradients are thrown away. So it can be done again.
    """

    def __init__(self, config: Config, model: ScaleModel, train: ProductDataset):
        super().__init__(config, model, train)
        self.lowered: int | None = None
        """The micro-batch that memory allowed, where it was less than the config's."""
        self._descending = False
        self.optimizer.register_step_pre_hook(self._note_descent)

    def advance(self, step: int) -> Step:
        """One step; under `train.auto_batch`, again and again with half the micro-batch.

        The smaller micro-batch stays for the steps that follow. Raises TrainingError where memory
        is out and smaller parts are not wanted or do not help.
        """
        while True:
            self._descending = False
            try:
                return self.step(step)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(step, error)
            # Only here: while the error is handled, its traceback holds the step's tensors.
            self.optimizer.zero_grad(set_to_none=True)
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def use_micro_batch(self, micro_batch: int) -> None:
        """Go on with another `train.micro_batch`."""
        self.lowered = micro_batch
        train = replace(self.config.train, micro_batch=micro_batch)
        self.config = replace(self.config, train=train)

    def _halve(self, step: int, error: Exception) -> None:
        settings = self.config.train
        now = settings.micro_batch or min(settings.batch_size, len(self.train))
        # Smaller parts do not help an optimizer that has no room, and it may have moved already.
        # Several processes wait for each other in each step: one alone cannot do it again.
        helps = now > 1 and not self._descending and self.accelerator.num_processes == 1
        if not (settings.auto_batch and helps):
            raise TrainingError(
                f"step {step + 1}: out of memory ({error}). Try train.micro_batch "
                f"{max(1, now // 2)} (the same negatives, slower), train.auto_batch, which finds "
                "it (one process only), train.precision bf16, or a smaller train.batch_size."
            ) from error
        log.warning("step %d: out of memory; goes on with train.micro_batch %d", step + 1, now // 2)
        self.use_micro_batch(now // 2)

    def _note_descent(self, *_: object) -> None:
        self._descending = True


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device's or the machine's memory is out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in ALLOCATORS)
