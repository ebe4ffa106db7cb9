"""Preemption: signals, time limit, exit codes, full disk, deterministic mode."""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import replace

import pytest
import torch

from scale.cli import main
from scale.training import preemption
from scale.training.background import BackgroundRun
from scale.training.checkpoint_manager import CheckpointManager
from scale.training.preemption import SIGNALS, PreemptionHandler, parse_minutes
from scale.training.pretrain import pretrain
from scale.training.run import RunFolder, seeded_model
from scale.training.trainer import Trainer, TrainingError
from scale.training.transforms import deterministic_algorithms


def test_parse_minutes():
    minutes = {"3h30m": 210, "90m": 90, "45s": 0.75, "1h": 60, "90": 90, " 1H30 ": 90,
               "0.5h": 30, "1h1m30s": 61.5}  # fmt: skip
    assert {text: parse_minutes(text) for text in minutes} == pytest.approx(minutes)
    for text in ("", "soon", "3:30", "-5m", "0", "1.2.3h", "5m3h", "1d"):
        with pytest.raises(ValueError, match="write it like 3h30m"):
            parse_minutes(text)


@pytest.fixture
def clock(monkeypatch):
    """A clock whose time is set by the test."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    made = Clock()
    monkeypatch.setattr(preemption, "time", made)
    return made


def test_time_limit_is_reached_when_the_longest_step_no_longer_fits(clock):
    handler = PreemptionHandler(minutes=1.0)
    reasons = []
    # Steps of 4 s, one with a validation: 10 s. After 50 s, another such one ends too late.
    for pause in (0, 4, 4, 10, 4, 4, 4, 4, 4, 4, 4, 4):
        clock.now += pause
        reasons.append((clock.now - 1000.0, handler.reason()))
    assert [at for at, reason in reasons if reason] == [50]
    assert reasons[-1][1] == "train.max_minutes (1) are over"


def test_without_time_limit_there_is_no_reason_to_stop(clock):
    handler = PreemptionHandler()
    for _ in range(5):
        clock.now += 1e6
        assert handler.reason() is None


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_is_recorded_and_handlers_are_restored(number):
    before = [signal.getsignal(n) for n in SIGNALS]
    handler = PreemptionHandler()
    with handler.listening():
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)  # Its echo, from the process group.
        assert handler.reason() == f"stopped by {signal.Signals(number).name}"
    assert [signal.getsignal(n) for n in SIGNALS] == before


def test_second_signal_invokes_the_previous_handler(monkeypatch):
    monkeypatch.setattr(preemption, "ECHO", 0.0)
    handler = PreemptionHandler()
    with handler.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert handler.signal == signal.SIGTERM, "the first signal is the reason"


def test_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        handler = PreemptionHandler()
        with handler.listening():
            os.kill(os.getpid(), signal.SIGINT)
            assert handler.reason() is None
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_install_no_handler():
    before, seen = [signal.getsignal(n) for n in SIGNALS], []

    def listen():
        with PreemptionHandler().listening():
            seen.extend(signal.getsignal(n) for n in SIGNALS)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == before


def options(small_catalogue, out):
    return ["pretrain", "--catalogue", str(small_catalogue), "--out", str(out), "--preset", "micro",
            "--train.steps", "6", "--train.batch-size", "4"]  # fmt: skip


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [(signal.SIGTERM, 75, "step 3 of 6: stopped by SIGTERM; saved in"),
     (signal.SIGINT, 130, "scale pretrain: stopped; continue with --resume")],
)  # fmt: skip
def test_stopped_command_exits_with_its_code_and_resumes(
    small_catalogue, cache_folder, tmp_path, monkeypatch, capsys, number, code, message
):
    arguments, step = options(small_catalogue, tmp_path / "run"), Trainer.train_step

    def interrupted(self, at, micro_batch):
        if at == 2:
            os.kill(os.getpid(), number)
        return step(self, at, micro_batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", interrupted)
        assert main(arguments) == code
    assert message in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0


def test_command_stops_at_max_time_and_rejects_an_invalid_one(
    small_catalogue, cache_folder, tmp_path, capsys
):
    arguments = options(small_catalogue, tmp_path / "run")
    assert main([*arguments, "--max-time", "0.001s"]) == 75
    assert "step 1 of 6: train.max_minutes" in capsys.readouterr().err
    assert main([*arguments, "--resume", "--max-time", "soon"]) == 2
    assert "'soon' is not a duration; write it like 3h30m" in capsys.readouterr().err
    assert main([*arguments, "--resume", "--max-time", "1h"]) == 0


@pytest.mark.parametrize(("code", "failed"), [(0, False), (75, False), (2, True)])
def test_background_run_that_saved_has_no_error_message(tmp_path, code, failed):
    line = "scale pretrain: last line"
    (tmp_path / "pretrain.log").write_text(f"{line}\n")
    process = subprocess.Popen(["sh", "-c", f"exit {code}"])
    process.wait()
    assert BackgroundRun(tmp_path, process).error_message() == (line if failed else "")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MB; skips without permission to mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True
    )
    if not made or made.returncode:
        pytest.skip("no permission to mount a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


# Raised in TensorBoard's thread.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_full_file_system_keeps_the_last_checkpoint(
    small, small_catalogue, cache, whole_run, same_run, small_disk, monkeypatch
):
    """Whether writing the metrics or a checkpoint fails first, earlier checkpoints remain."""
    out, step = small_disk / "run", Trainer.train_step

    def filling(self, at, micro_batch):
        if at == 6:
            with contextlib.suppress(OSError), (small_disk / "filler").open("wb", 0) as file:
                while True:
                    file.write(bytes(100))
        return step(self, at, micro_batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", filling)
        with pytest.raises(
            TrainingError, match=r"(?s)No space left.*Free some space.*good checkpoint is"
        ):
            pretrain(small, small_catalogue, out, cache=cache, progress=False)
    assert {p.name for p in RunFolder(out).checkpoints.iterdir()} == {"best", "last"}
    (small_disk / "filler").unlink()
    pretrain(small, small_catalogue, out, resume=True, cache=cache, progress=False)
    same_run(out, whole_run)


def test_deterministic_mode_is_restored(monkeypatch):
    """Checks torch's settings only, without a GPU."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    with deterministic_algorithms(False):
        assert not torch.are_deterministic_algorithms_enabled()
        assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    with deterministic_algorithms(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.benchmark
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark


def test_deterministic_mode_changes_nothing_on_the_cpu(
    small, small_catalogue, cache, whole_run, same_run, tmp_path
):
    config = replace(small, train=replace(small.train, deterministic=True))
    pretrain(config, small_catalogue, tmp_path / "run", cache=cache, progress=False)
    same_run(tmp_path / "run", whole_run)


def test_gradient_scaler_is_restored(small_dataset, tmp_path):
    """accelerate supports fp16 on CUDA only, so the test inserts CPU scalers."""
    config, data = small_dataset
    first, second = (Trainer(config, seeded_model(config), data) for _ in range(2))
    assert first.checkpoint_state().scaler is None
    for trainer, scale in ((first, 1024.0), (second, 65536.0)):
        trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    checkpoints = CheckpointManager(RunFolder(tmp_path).checkpoints)
    checkpoints.save_last(first.model, first.optimizer, first.checkpoint_state())
    assert second.restore(checkpoints) == "last"
    assert second.accelerator.scaler.get_scale() == 1024.0
