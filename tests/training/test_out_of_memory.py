"""Out of memory: an error message, or the same step in smaller micro-batches."""

import weakref
from dataclasses import replace

import pytest
import torch

from scale.training.gradient_cache import LossForward
from scale.training.logging import read_metrics
from scale.training.out_of_memory import is_out_of_memory
from scale.training.pretrain import pretrain
from scale.training.run import RunFolder
from scale.training.trainer import Trainer, TrainingError
from tests.training.stops import Stopped


@pytest.fixture
def memory(monkeypatch):
    """Limit the memory to `memory.products` at once, from step `memory.since` on."""

    class Memory:
        products = 4
        since = 0
        step = 0
        failures = 0
        dropped = None
        """Weak reference to an object of the failed step, which is part of a reference cycle."""

    class Cycle:
        def __init__(self):
            self.itself = self

    limit, forward, step = Memory(), LossForward.forward, Trainer.train_step

    def counted(self, number, micro_batch):
        limit.step = number
        return step(self, number, micro_batch)

    def limited(self, batch, *arguments, **options):
        assert limit.dropped is None or limit.dropped() is None, "memory was not freed"
        output = forward(self, batch, *arguments, **options)
        # Fail late: random numbers have been drawn and the graph is built.
        if limit.step >= limit.since and len(batch) > limit.products:
            limit.failures += 1
            limit.dropped = weakref.ref(Cycle())
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return output

    monkeypatch.setattr(Trainer, "train_step", counted)
    monkeypatch.setattr(LossForward, "forward", limited)
    return limit


def trained(config, catalogue, cache, out, **train):
    changed = replace(config, train=replace(config.train, **train))
    pretrain(changed, catalogue, out, cache=cache, resume=True, progress=False)
    return out


def test_halving_equals_training_with_the_smaller_micro_batch(
    small, small_catalogue, cache, same_run, memory, tmp_path, caplog
):
    memory.products = 3
    made = trained(small, small_catalogue, cache, tmp_path / "auto", auto_batch=True, steps=6)
    assert memory.failures == 2, "8 and 4 are too many; later steps keep the size 2"
    assert [r.getMessage() for r in caplog.records if "out of memory" in r.getMessage()] == [
        "step 1: out of memory; continuing with train.micro_batch 4",
        "step 1: out of memory; continuing with train.micro_batch 2",
    ]
    same_run(made, trained(small, small_catalogue, cache, tmp_path / "two", micro_batch=2, steps=6))


def test_resumed_run_keeps_the_smaller_micro_batch(
    small, small_catalogue, cache, same_run, memory, tmp_path, monkeypatch
):
    """Also if the resumed run has enough memory for the larger one."""
    memory.since = 3
    small = replace(small, train=replace(small.train, steps=8))
    whole = trained(small, small_catalogue, cache, tmp_path / "whole", auto_batch=True)
    with monkeypatch.context() as patch:
        step = Trainer.train_step

        def stopping(self, number, micro_batch):
            if number == 5:
                raise Stopped
            return step(self, number, micro_batch)

        patch.setattr(Trainer, "train_step", stopping)
        with pytest.raises(Stopped):
            trained(small, small_catalogue, cache, tmp_path / "stopped", auto_batch=True)
    memory.products = 1000
    same_run(trained(small, small_catalogue, cache, tmp_path / "stopped", auto_batch=True), whole)


def test_message_without_auto_batch_names_remedies(small, small_catalogue, cache, memory, tmp_path):
    memory.since = 6
    with pytest.raises(TrainingError) as failure:
        trained(small, small_catalogue, cache, tmp_path / "run")
    message = str(failure.value)
    assert message.startswith("step 7: out of memory (CUDA out of memory. Tried to allocate")
    assert "Try train.micro_batch 4 (the same negatives, slower), train.auto_batch" in message
    assert f"The last good checkpoint is {RunFolder(tmp_path / 'run').checkpoints}" in message
    assert [line["step"] for line in read_metrics(tmp_path / "run")][-1] == 6


def test_memory_too_small_for_one_product_raises(small, small_catalogue, cache, memory, tmp_path):
    memory.products = 0
    with pytest.raises(TrainingError, match=r"step 1: out of memory.*No checkpoint was kept"):
        trained(small, small_catalogue, cache, tmp_path / "run", auto_batch=True)


def test_failed_optimizer_step_is_not_retried(small, small_catalogue, cache, tmp_path, monkeypatch):
    """It may have updated some of the weights."""
    calls = []

    def full(self, *_):
        calls.append(1)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.optim.AdamW, "_init_group", full)
    with pytest.raises(TrainingError, match="step 1: out of memory"):
        trained(small, small_catalogue, cache, tmp_path / "run", auto_batch=True)
    assert calls == [1]


def test_other_errors_are_raised_unchanged(small, small_catalogue, cache, tmp_path, monkeypatch):
    def broken(self, *arguments, **options):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(LossForward, "forward", broken)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        trained(small, small_catalogue, cache, tmp_path / "run", auto_batch=True)


def test_is_out_of_memory():
    with pytest.raises(RuntimeError) as failure:
        torch.empty(2**58)
    assert is_out_of_memory(failure.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"))
    assert not is_out_of_memory(ValueError("out of range"))
