"""Ways to end a training run before its last step, and to damage its files."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scale.training.trainer import Trainer


class Stopped(Exception):
    """Stands for any event that ends a process."""


def stop_in_step(
    patch: pytest.MonkeyPatch, number: int, way: Callable[[Trainer, int, Callable], None]
) -> None:
    """End the run in the step of this number, counted from 0, by `way(trainer, step, original)`."""
    original = Trainer.train_step

    def stopping(trainer, step, micro_batch=None):
        if step == number:
            return way(trainer, step, lambda t, n: original(t, n, micro_batch))
        return original(trainer, step, micro_batch)

    patch.setattr(Trainer, "train_step", stopping)


def before_the_optimizer(trainer, step, original):
    """Raise after the backward pass, before the optimizer updates the weights."""

    def stop(*_):
        raise Stopped

    trainer.optimizer.register_step_pre_hook(stop)
    return original(trainer, step)


def after_the_optimizer(trainer, step, original):
    """Raise after the update, before the step is counted."""
    original(trainer, step)
    raise Stopped


def by_signal(number):
    """Return a way that sends this signal."""

    def stop(trainer, step, original):
        os.kill(os.getpid(), number)
        return original(trainer, step)

    return stop


def kill_at_operation(number: int, folder: Path) -> None:
    """Kill this process before its n-th file operation in a folder."""
    count = 0

    def watch(event, arguments):
        nonlocal count
        if event.split(".")[0] in ("open", "os", "shutil") and str(folder) in str(arguments):
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def flip_a_bit(path: Path, place: int = -3) -> None:
    """Damage a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)
