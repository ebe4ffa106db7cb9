"""The matrix of stops: whatever ended a run, and whenever, it resumes to the same bits."""

import errno
import os
import random
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scale.training.checkpoint_manager import CheckpointManager
from scale.training.preemption import PreemptionHandler, TrainingStopped
from scale.training.pretrain import pretrain
from scale.training.run import RunFolder, TrainedRun
from scale.training.trainer import Trainer, TrainingError
from tests.processes import run_alone


class Stopped(Exception):
    """Stands for whatever ends a process without a word."""


def before_the_optimizer(trainer, step, original):
    def die(*_):
        raise Stopped

    trainer.optimizer.register_step_pre_hook(die)
    return original(trainer, step)


def after_the_optimizer(trainer, step, original):
    original(trainer, step)
    raise Stopped


def by_signal(number):
    def stop(trainer, step, original):
        os.kill(os.getpid(), number)
        return original(trainer, step)

    return stop


HANDLERS = []
"""Of the runs that `stop_in_step` stops."""


def time_is_up(trainer, step, original):
    HANDLERS[-1].deadline = 0.0
    return original(trainer, step)


WAYS = {
    "exception before the optimizer moves": (before_the_optimizer, Stopped),
    "exception after the optimizer moved": (after_the_optimizer, Stopped),
    "SIGTERM": (by_signal(signal.SIGTERM), TrainingStopped),
    "SIGUSR1": (by_signal(signal.SIGUSR1), TrainingStopped),
    "SIGINT": (by_signal(signal.SIGINT), KeyboardInterrupt),
    "time": (time_is_up, TrainingStopped),
}
SETTINGS = {
    # An epoch is 3 batches. Logs, validations and checkpoints fall on different steps.
    "as the whole run": {},
    "boundaries apart": {"log_every": 5, "eval_every": 3, "checkpoint_every": 4, "keep_every": 2},
    "rare checkpoints": {"log_every": 2, "eval_every": 5, "checkpoint_every": 11, "keep_last": 3},
    "bf16": {"precision": "bf16", "eval_every": 6, "checkpoint_every": 5},
}


@pytest.fixture(scope="module")
def whole_runs(small, small_catalogue, cache, tmp_path_factory):
    """By name of the settings, the config and a run that was never stopped."""
    made = {}

    def make(name):
        if name not in made:
            config = replace(small, train=replace(small.train, device="cpu", **SETTINGS[name]))
            out = tmp_path_factory.mktemp("whole") / "run"
            pretrain(config, small_catalogue, out, cache=cache, progress=False)
            made[name] = config, out
        return made[name]

    return make


def stop_in_step(patch, number, way):
    """Make the run end in the step of this number, counted from 0."""
    original = Trainer.train_step

    def dying(trainer, step, micro_batch):
        if step == number:
            return way(trainer, step, lambda t, n: original(t, n, micro_batch))
        return original(trainer, step, micro_batch)

    def recorded(handler, minutes):
        prepare(handler, minutes)
        HANDLERS.append(handler)

    prepare = PreemptionHandler.__init__
    patch.setattr(PreemptionHandler, "__init__", recorded)
    patch.setattr(Trainer, "train_step", dying)


@pytest.mark.parametrize(
    ("way", "settings"),
    [(way, "boundaries apart") for way in WAYS]
    + [
        ("exception after the optimizer moved", settings)
        for settings in SETTINGS
        if settings != "boundaries apart"
    ],
)
def test_stopped_three_times_it_ends_with_the_same_bits(
    small_catalogue, cache, whole_runs, same_run, tmp_path, monkeypatch, way, settings
):
    """Stops are always between steps: what a step accumulates of micro-batches is its own affair.

    The moments are drawn anew for each pair of way and settings, the same in each test run.
    """
    config, whole = whole_runs(settings)
    generator = np.random.default_rng(sum(map(ord, settings + way)))
    ending, error = WAYS[way]
    for number in sorted(generator.choice(config.train.steps, 3, replace=False).tolist()):
        with monkeypatch.context() as patch:
            stop_in_step(patch, number, ending)
            # The last step ends the run before anybody looks whether to stop.
            if number == config.train.steps - 1 and error is not Stopped:
                break
            with pytest.raises(error):
                pretrain(config, small_catalogue, tmp_path / "run", resume=True, cache=cache,
                         progress=False)  # fmt: skip
    pretrain(config, small_catalogue, tmp_path / "run", resume=True, cache=cache, progress=False)
    same_run(tmp_path / "run", whole)


def die_at(moment: int, folder: Path) -> None:
    """Kill this process before a file operation of that number in a folder."""
    count = 0

    def watch(event, arguments):
        nonlocal count
        if event.split(".")[0] in ("open", "os", "shutil") and str(folder) in str(arguments):
            count += 1
            if count == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def train_in_a_fork(train, out, operation=None, seconds=None) -> bool:
    """Train in a child; return whether it was killed."""
    child = os.fork()
    if not child:
        if operation:
            die_at(operation, out)
        try:
            train(out)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    if seconds:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def train_and_kill(config, catalogue, cache, folder, seed):
    """One whole run, and one that is killed again and again."""

    def train(out):
        pretrain(config, catalogue, out, cache=cache, resume=True, progress=False)

    draw, killed, kills = random.Random(seed), folder / "killed", 0
    started = time.monotonic()
    train_in_a_fork(train, folder / "whole")
    length = time.monotonic() - started
    for operations in (True, True, False, True, True, False):
        moment = (
            {"operation": draw.randint(5, 90)} if operations else
            {"seconds": draw.uniform(0, length)}
        )  # fmt: skip
        kills += train_in_a_fork(train, killed, **moment)
    train_in_a_fork(train, killed)
    assert kills >= 3, f"killed {kills} times"


def test_killed_at_moments_that_nobody_chose(small, small_catalogue, cache, same_run, tmp_path):
    """`kill -9` before a file operation (four times: most are those of a checkpoint's write) or
    after some time (twice); the seed differs from test run to test run, and is printed.
    """
    train = replace(small.train, steps=24, eval_every=6, checkpoint_every=2, keep_last=2)
    seed = int(np.random.default_rng().integers(2**31))
    print(f"seed {seed}")
    run_alone(train_and_kill, replace(small, train=train), small_catalogue, cache, tmp_path, seed)
    same_run(tmp_path / "killed", tmp_path / "whole")
    left = {p.name for p in RunFolder(tmp_path / "killed").checkpoints.iterdir()}
    assert left == {"best", "last", "last-000022"}, f"seed {seed}"


def test_what_a_told_stop_says_and_saves(small, small_catalogue, cache, tmp_path, monkeypatch):
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


def test_in_a_thread_training_runs_and_no_signal_is_touched(
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


def test_how_checkpoints_are_kept_may_change_and_the_rest_not(
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


def test_a_damaged_checkpoint_costs_steps_not_bits(
    small, small_catalogue, cache, whole_run, same_run, tmp_path, caplog
):
    """One flipped bit in `last`: the run goes on from `best`, and ends the same."""
    out = tmp_path / "run"
    pretrain(small, small_catalogue, out, cache=cache, progress=False)
    folder = RunFolder(out)
    path = folder.checkpoint("last") / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"last/model.safetensors: damaged"):
        TrainedRun.load(out, "last")
    pretrain(small, small_catalogue, out, resume=True, cache=cache, progress=False)
    assert "last/model.safetensors: damaged" in caplog.text
    assert f"{folder.checkpoint('best')} (step" in caplog.text
    assert (folder.checkpoints / "last.damaged").is_dir()
    same_run(out, whole_run)


def full_disk(patch, number):
    """No checkpoint can be written from this step on; what is written stays halfway."""
    original = CheckpointManager.save_last

    def fail(self, model, optimizer, state):
        if state.step >= number:
            patch.setattr("scale.training.checkpoint_manager.save_file", write_half)
        original(self, model, optimizer, state)

    def write_half(tensors, path):
        path.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    patch.setattr(CheckpointManager, "save_last", fail)


def test_a_full_disk_keeps_the_last_good_state(
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
    assert {p.name for p in folder.checkpoints.iterdir()} == {"best", "last"}, "no half ones"
    newest = list(TrainedRun.load(out, "last").checkpoints())[-1]
    assert message.endswith(f"The last good checkpoint is {folder.checkpoint(newest)}.")
    pretrain(small, small_catalogue, out, resume=True, cache=cache, progress=False)
    same_run(out, whole_run)
