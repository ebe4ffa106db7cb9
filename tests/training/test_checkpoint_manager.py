"""Checkpoints: atomic writes, checksums, restore, retention."""

import errno
import json
import os
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from scale import files
from scale.config import MissingConfig, ModelConfig
from scale.model.scale import ScaleModel
from scale.model.storage import CheckpointError
from scale.training import checkpoint_manager
from scale.training.checkpoint_manager import SUMS, CheckpointManager, TrainState, load_checkpoint
from tests.processes import killed_in_fork, run_alone
from tests.training.stops import flip_a_bit, kill_at_operation

FILES = ("config.json", "model.safetensors", "optimizer.safetensors", "state.json")


def filled(make_model, step):
    """Return a model and its optimizer with all values equal to `step`."""
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for parameter in model.parameters():
        parameter.data.fill_(step)
        moments = {"exp_avg": parameter.detach().clone(), "exp_avg_sq": parameter.detach().clone()}
        optimizer.state[parameter] = {"step": torch.tensor(float(step)), **moments}
    return model, optimizer


def save(make_model, folder, *steps, keep=1):
    for step in steps:
        model, optimizer = filled(make_model, step)
        CheckpointManager(folder, keep).save_last(model, optimizer, TrainState(step))


def restored(make_model, folder):
    """Restore; return name and step, to which model and optimizer must belong."""
    model, optimizer = filled(make_model, -1)
    name, state = CheckpointManager(folder).restore(model, optimizer)
    assert all((p == state.step).all() for p in model.parameters())
    assert all((s["exp_avg"] == state.step).all() for s in optimizer.state.values())
    return name, state.step


@pytest.mark.parametrize("name", FILES)
def test_damaged_checkpoint_is_set_aside_for_the_older_one(make_model, tmp_path, caplog, name):
    save(make_model, tmp_path, 10, 20, keep=2)
    flip_a_bit(tmp_path / "last" / name)
    with pytest.raises(CheckpointError, match=rf"last/{name}: damaged .*SHA-256"):
        load_checkpoint(tmp_path / "last", *filled(make_model, -1))
    assert restored(make_model, tmp_path) == ("last-000010", 10)
    assert f"last/{name}: damaged" in caplog.text
    assert "last-000010 (step 10)" in caplog.text
    assert {p.name for p in tmp_path.iterdir()} == {"last-000010", "last.damaged"}
    save(make_model, tmp_path, 15, keep=2)
    assert restored(make_model, tmp_path) == ("last", 15)


@pytest.mark.parametrize("name", FILES)
def test_checkpoint_with_a_missing_file_is_not_restored(make_model, tmp_path, name):
    save(make_model, tmp_path, 10, 20, keep=2)
    (tmp_path / "last" / name).unlink()
    readable = {"last-000010": 10} | ({} if name == "state.json" else {"last": 20})
    assert CheckpointManager(tmp_path).steps() == readable
    assert restored(make_model, tmp_path) == ("last-000010", 10)


def test_without_a_good_checkpoint_all_are_kept(make_model, tmp_path):
    save(make_model, tmp_path, 10, 20, keep=2)
    for path in tmp_path.iterdir():
        flip_a_bit(path / "optimizer.safetensors")
    with pytest.raises(CheckpointError, match=r"last/optimizer.*; .*last-000010/optimizer"):
        restored(make_model, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"last", "last-000010"}


def test_sha256sum_accepts_the_checksums(make_model, tmp_path):
    save(make_model, tmp_path, 10)
    lines = (tmp_path / "last" / SUMS).read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == sorted(FILES)
    checked = subprocess.run(["sha256sum", "--check", SUMS], cwd=tmp_path / "last")
    assert checked.returncode == 0


def test_old_checkpoints_load(make_model, tmp_path):
    """Without checksums, with fewer fields in the state, and killed between two renames."""
    save(make_model, tmp_path, 10)
    (tmp_path / "last" / SUMS).unlink()
    state = tmp_path / "last" / "state.json"
    state.write_text(json.dumps({"step": 10, "best_value": None, "best_step": None}))
    (tmp_path / "last").rename(tmp_path / "last.old")
    assert CheckpointManager(tmp_path).steps() == {}
    assert CheckpointManager(tmp_path).find("last") == tmp_path / "last.old"
    assert restored(make_model, tmp_path) == ("last", 10)


@pytest.mark.parametrize(
    ("keep", "names"),
    [(1, ["last"]), (2, ["last-000030", "last"]), (3, ["last-000020", "last-000030", "last"]),
     (9, ["last-000010", "last-000020", "last-000030", "last"])],
)  # fmt: skip
def test_keep_last(make_model, tmp_path, keep, names):
    save(make_model, tmp_path, 10, 20, 30, 40, keep=keep)
    assert list(CheckpointManager(tmp_path).steps()) == names
    assert {p.name for p in tmp_path.iterdir()} == set(names)


def test_numbered_checkpoints_are_not_resumed_from(make_model, tmp_path):
    model, _ = filled(make_model, 30)
    save(make_model, tmp_path, 20)
    manager = CheckpointManager(tmp_path)
    manager.save_numbered(model, TrainState(30))
    assert manager.steps() == {"last": 20, "step-000030": 30}
    assert not (tmp_path / "step-000030" / "optimizer.safetensors").exists()
    assert restored(make_model, tmp_path) == ("last", 20)
    assert manager.find("step-000030") == tmp_path / "step-000030"
    assert manager.find("best") == tmp_path / "last"
    assert manager.find("step-000040") is None


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"),
     SafetensorError('Error while serializing: IoError(Os { code: 28, kind: StorageFull })')],
)  # fmt: skip
def test_failed_write_keeps_the_earlier_checkpoint(make_model, tmp_path, monkeypatch, error):
    save(make_model, tmp_path, 10)

    def full(tensors, path):
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(checkpoint_manager, "save_file", full)
    with pytest.raises(OSError, match=r"No space left|StorageFull"):
        save(make_model, tmp_path, 20)
    assert [p.name for p in tmp_path.iterdir()] == ["last"]
    assert restored(make_model, tmp_path) == ("last", 10)


def test_files_are_synced_before_the_rename(make_model, tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(
        files, "_to_disk", lambda path: synced.append((path.name, (tmp_path / "last").exists()))
    )
    save(make_model, tmp_path, 10)
    before = {(name, False) for name in (*FILES, SUMS, "last.new")}
    assert set(synced) == before | {(tmp_path.name, True)}


def kill_at(operation: int, folder: Path) -> None:
    """Kill this process before its n-th file operation, or (-1) in the middle of a file."""
    save_file = checkpoint_manager.save_file

    def save_half(tensors, path):
        save_file(tensors, path)
        os.truncate(path, path.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    if operation == -1:
        checkpoint_manager.save_file = save_half
    else:
        kill_at_operation(operation, folder)


def write_and_kill(config: ModelConfig, folder: Path) -> None:
    """Write checkpoints in children that are killed one operation later each time, and check."""
    model = ScaleModel(config, MissingConfig("zero"))
    optimizer = torch.optim.AdamW(model.parameters())

    def fill(step):
        for p in model.parameters():
            p.data.fill_(step)
            optimizer.state[p] = {"step": torch.tensor(float(step)), "exp_avg": p.detach().clone()}

    def write(step):
        fill(step)
        manager = CheckpointManager(folder, keep_last=2)
        manager.save_last(model, optimizer, TrainState(step))
        manager.save_best(model, optimizer, TrainState(step, 0.5, step))

    def killed_write(step, operation):
        return killed_in_fork(write, step, prepare=lambda: kill_at(operation, folder))

    def check(*allowed):
        fill(-1)
        manager = CheckpointManager(folder)
        manager.tidy()
        left = {p.suffix for p in folder.iterdir()}
        assert left == {""}, left
        _, state = manager.restore(model, optimizer)
        assert state.step in allowed, (state, allowed)
        assert all((p == state.step).all() for p in model.parameters()), state
        assert all((s["exp_avg"] == state.step).all() for s in optimizer.state.values()), state
        assert not list(folder.glob("*.damaged")), "a kill must not damage a checkpoint"

    write(0)
    write(1)
    before = folder.with_name("before")
    shutil.copytree(folder, before)
    operation, kills = -1, 0
    while killed_write(2, operation):
        kills += 1
        check(1, 2)
        if kills % 5 == 0:
            write(3)
            check(3)
        shutil.rmtree(folder)
        shutil.copytree(before, folder)
        operation = max(operation + 1, 1)
        assert kills < 100
    check(2)
    assert kills > 40, "number of kills until a write succeeded"


def test_kill_at_any_file_operation_keeps_a_good_checkpoint(model_config, tmp_path):
    """`kill -9` before each file operation of a write in turn, and in the middle of a file.

    The restored checkpoint is complete and never older than the one before the write, and later
    writes succeed.
    """
    run_alone(write_and_kill, replace(model_config, modalities=("image",)), tmp_path / "c")
