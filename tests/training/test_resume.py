"""Stopped and resumed runs equal an uninterrupted run bit by bit, whatever ended them and when."""

import errno
import random
import shutil
import signal
import threading
from dataclasses import replace

import pytest
import torch

from scale.config import Config
from scale.training.checkpoint_manager import CheckpointManager
from scale.training.preemption import PreemptionHandler, TrainingStopped
from scale.training.pretrain import pretrain
from scale.training.run import RunFolder, TrainedRun
from scale.training.trainer import TrainingError
from tests.processes import killed_in_fork, run_alone
from tests.training.stops import (
    Stopped,
    after_the_optimizer,
    before_the_optimizer,
    by_signal,
    flip_a_bit,
    kill_at_operation,
    stop_in_step,
)

HANDLERS = []
"""Preemption handlers of the runs, in order."""


def at_the_time_limit(trainer, step, original):
    HANDLERS[-1].deadline = 0.0
    return original(trainer, step)


WAYS = {
    before_the_optimizer: Stopped,
    after_the_optimizer: Stopped,
    by_signal(signal.SIGTERM): TrainingStopped,
    by_signal(signal.SIGUSR1): TrainingStopped,
    by_signal(signal.SIGINT): KeyboardInterrupt,
    at_the_time_limit: TrainingStopped,
}
"""Ways to stop, and the exception that `pretrain` raises."""
BEFORE, AFTER, *_ = WAYS
CASES = {
    # An epoch is 3 batches: before the first checkpoint, at one, in the middle of an epoch.
    "as the whole run": ({}, {1: BEFORE, 4: BEFORE, 6: BEFORE, 9: AFTER, 11: BEFORE}),
    # Logs, validations and checkpoints are due at different steps.
    "all ways": (
        {"log_every": 5, "eval_every": 3, "checkpoint_every": 4, "keep_every": 2},
        dict(zip((1, 3, 5, 6, 8, 10), WAYS, strict=True)),
    ),
    "rare checkpoints": (
        {"log_every": 2, "eval_every": 5, "checkpoint_every": 11, "keep_last": 3},
        {7: AFTER, 10: AFTER, 11: AFTER},
    ),
    "bf16": (
        {"precision": "bf16", "eval_every": 6, "checkpoint_every": 5}, {3: AFTER, 8: AFTER}
    ),
}  # fmt: skip
"""Settings, and the way to stop by step."""


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_run_stopped_repeatedly_ends_with_the_same_bits(
    small, small_catalogue, cache, whole_run, same_run, tmp_path, monkeypatch, case
):
    """Each session is stopped in a later step than the one before it."""

    def recorded(handler, minutes):
        prepare(handler, minutes)
        HANDLERS.append(handler)

    prepare = PreemptionHandler.__init__
    monkeypatch.setattr(PreemptionHandler, "__init__", recorded)
    settings, stops = CASES[case]
    config, whole = small, whole_run
    if settings:
        config = replace(small, train=replace(small.train, device="cpu", **settings))
        whole = tmp_path / "whole"
        pretrain(config, small_catalogue, whole, cache=cache, progress=False)
    for step, way in stops.items():
        with monkeypatch.context() as patch:
            stop_in_step(patch, step, way)
            with pytest.raises(WAYS[way]):
                pretrain(config, small_catalogue, tmp_path / "run", resume=True, cache=cache,
                         progress=False)  # fmt: skip
    pretrain(config, small_catalogue, tmp_path / "run", resume=True, cache=cache, progress=False)
    same_run(tmp_path / "run", whole)


def train_and_kill(config, catalogue, cache, out, seed):
    """Train a run whose process is killed again and again."""

    def train():
        pretrain(config, catalogue, out, cache=cache, resume=True, progress=False)

    draw, kills = random.Random(seed), 0
    for by_operation in (True, True, False, True, True, False):
        if by_operation:
            operation = draw.randint(5, 90)
            kills += killed_in_fork(train, prepare=lambda n=operation: kill_at_operation(n, out))
        else:
            kills += killed_in_fork(train, seconds=draw.uniform(0, 1))
    killed_in_fork(train)
    assert kills >= 3, f"killed {kills} times"


@pytest.mark.slow
def test_run_killed_at_random_moments_ends_with_the_same_bits(
    small, small_catalogue, cache, whole_run, same_run, tmp_path
):
    """`kill -9` before a file operation (four times, mostly while a checkpoint is written) or after
    some time (twice).
    """
    config = replace(small, train=replace(small.train, checkpoint_every=2, keep_last=2))
    out = tmp_path / "killed"
    run_alone(train_and_kill, config, small_catalogue, cache, out, 0)
    same_run(out, whole_run)
    left = {p.name for p in RunFolder(out).checkpoints.iterdir()}
    assert left == {"best", "last", "last-000010"}


def test_stop_by_signal_saves_and_names_the_checkpoint(
    small, small_catalogue, cache, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        stop_in_step(patch, 6, by_signal(signal.SIGTERM))
        with pytest.raises(TrainingStopped) as stop:
            pretrain(small, small_catalogue, tmp_path / "run", cache=cache, progress=False)
    folder = RunFolder(tmp_path / "run")
    assert str(stop.value) == (
        f"step 7 of 12: stopped by SIGTERM; saved in {folder.checkpoint('last')}; "
        "continue with --resume (resume=True)"
    )
    assert TrainedRun.load(tmp_path / "run", "last").checkpoints() == {"best": 4, "last": 7}


def test_training_in_a_thread_installs_no_signal_handler(
    small, small_catalogue, cache, whole_run, same_run, tmp_path
):
    before, out = signal.getsignal(signal.SIGTERM), tmp_path / "run"
    thread = threading.Thread(
        target=pretrain, args=(small, small_catalogue, out),
        kwargs={"cache": cache, "progress": False},
    )  # fmt: skip
    thread.start()
    while thread.is_alive():
        assert signal.getsignal(signal.SIGTERM) == before
        thread.join(0.05)
    same_run(out, whole_run)


def test_resumed_run_may_change_session_settings_only(
    small, small_catalogue, cache, whole_run, same_run, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        stop_in_step(patch, 6, after_the_optimizer)
        with pytest.raises(Stopped):
            pretrain(small, small_catalogue, tmp_path / "run", cache=cache, progress=False)
    train = replace(small.train, keep_every=5, keep_last=2, max_minutes=60.0, checkpoint_every=3)
    run = pretrain(replace(small, train=train), small_catalogue, tmp_path / "run", resume=True,
                   cache=cache, progress=False)  # fmt: skip
    same_run(tmp_path / "run", whole_run)
    assert [n for n in run.checkpoints() if n != "best"] == [
        "step-000005", "last-000009", "step-000010", "last", "step-000012"
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"in train.clip_norm"):
        pretrain(replace(small, train=replace(train, clip_norm=2.0)), small_catalogue,
                 tmp_path / "run", resume=True, cache=cache)  # fmt: skip


def test_resumed_run_has_the_same_number_of_threads(
    small, small_catalogue, cache, tmp_path, monkeypatch, caplog
):
    """Although the environment of the second session requests another one."""
    out, used = tmp_path / "run", []

    def stop(trainer, step, original):
        used.append(torch.get_num_threads())
        return after_the_optimizer(trainer, step, original)

    def stopped(config):
        with monkeypatch.context() as patch:
            stop_in_step(patch, 5, stop)
            with pytest.raises(Stopped):
                pretrain(config, small_catalogue, out, resume=True, cache=cache, progress=False)
        return used.pop()

    before = torch.get_num_threads()
    several = replace(small, train=replace(small.train, threads=3))
    assert stopped(several) == 3
    assert Config.load(RunFolder(out).config).train.threads == 3
    assert stopped(small) == 3
    assert "threads instead of" not in caplog.text
    assert stopped(replace(small, train=replace(small.train, threads=2))) == 2
    assert "continued with 2 threads instead of 3, which changes the rounding" in caplog.text
    assert torch.get_num_threads() == before


def test_run_with_a_damaged_checkpoint_resumes_from_an_earlier_one(
    small, small_catalogue, cache, whole_run, same_run, tmp_path, caplog
):
    """One flipped bit in `last`: the run continues from `best`, with the same result."""
    out = tmp_path / "run"
    shutil.copytree(whole_run, out)
    folder = RunFolder(out)
    flip_a_bit(folder.checkpoint("last") / "model.safetensors")
    with pytest.raises(ValueError, match=r"last/model.safetensors: damaged"):
        TrainedRun.load(out, "last")
    pretrain(small, small_catalogue, out, resume=True, cache=cache, progress=False)
    assert "last/model.safetensors: damaged" in caplog.text
    assert f"{folder.checkpoint('best')} (step" in caplog.text
    assert (folder.checkpoints / "last.damaged").is_dir()
    same_run(out, whole_run)


def full_disk(patch, number):
    """Make writing a checkpoint fail halfway from this step on."""
    original = CheckpointManager.save_last

    def fail(self, model, optimizer, state):
        if state.step >= number:
            patch.setattr("scale.training.checkpoint_manager.save_file", write_half)
        original(self, model, optimizer, state)

    def write_half(tensors, path):
        path.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    patch.setattr(CheckpointManager, "save_last", fail)


def test_full_disk_keeps_the_last_good_checkpoint(
    small, small_catalogue, cache, whole_run, same_run, tmp_path, monkeypatch
):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        full_disk(patch, 8)
        with pytest.raises(TrainingError) as failure:
            pretrain(small, small_catalogue, out, cache=cache, progress=False)
    message, folder = str(failure.value), RunFolder(out)
    assert message.startswith("step 8: [Errno 28] No space left on device")
    assert "Free some space, then continue with --resume" in message
    assert {p.name for p in folder.checkpoints.iterdir()} == {"best", "last"}
    newest = list(TrainedRun.load(out, "last").checkpoints())[-1]
    assert message.endswith(f"The last good checkpoint is {folder.checkpoint(newest)}.")
    pretrain(small, small_catalogue, out, resume=True, cache=cache, progress=False)
    same_run(out, whole_run)
