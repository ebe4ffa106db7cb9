"""Checkpoints: whole or not there, checked when read, and as many as are to be kept."""

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from scale.config import MissingConfig, ModelConfig
from scale.model.scale import ScaleModel
from scale.model.storage import CheckpointError
from scale.training import checkpoint_manager
from scale.training.checkpoint_manager import SUMS, CheckpointManager, TrainState, load_checkpoint
from tests.processes import run_alone

FILES = ("config.json", "model.safetensors", "optimizer.safetensors", "state.json")


def filled(make_model, step):
    """A model and its optimizer whose every number is `step`."""
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
    """The step to which a run goes back; model and optimizer must be of that step."""
    model, optimizer = filled(make_model, -1)
    name, state = CheckpointManager(folder).restore(model, optimizer)
    assert all((p == state.step).all() for p in model.parameters())
    assert all((s["exp_avg"] == state.step).all() for s in optimizer.state.values())
    return name, state.step


def flip_a_bit(path, place=-3):
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_is_found_and_the_older_one_taken(make_model, tmp_path, caplog, name):
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
def test_a_missing_file_is_found(make_model, tmp_path, name):
    save(make_model, tmp_path, 10, 20, keep=2)
    (tmp_path / "last" / name).unlink()
    assert restored(make_model, tmp_path) == ("last-000010", 10)


def test_where_none_is_good_nothing_is_thrown_away(make_model, tmp_path):
    save(make_model, tmp_path, 10, 20, keep=2)
    for path in tmp_path.iterdir():
        flip_a_bit(path / "optimizer.safetensors")
    with pytest.raises(CheckpointError, match=r"last/optimizer.*; .*last-000010/optimizer"):
        restored(make_model, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"last", "last-000010"}


def test_sums_are_those_of_sha256sum(make_model, tmp_path):
    save(make_model, tmp_path, 10)
    lines = (tmp_path / "last" / SUMS).read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == sorted(FILES)
    checked = subprocess.run(["sha256sum", "--check", SUMS], cwd=tmp_path / "last")
    assert checked.returncode == 0


def test_folders_of_before_still_load(make_model, tmp_path):
    """Without sums, with fewer facts in the state, and stopped between two renames."""
    save(make_model, tmp_path, 10)
    (tmp_path / "last" / SUMS).unlink()
    state = tmp_path / "last" / "state.json"
    state.write_text(json.dumps({"step": 10, "best_value": None, "best_step": None}))
    (tmp_path / "last").rename(tmp_path / "last.old")
    assert CheckpointManager(tmp_path).find("last") == tmp_path / "last.old"
    assert restored(make_model, tmp_path) == ("last", 10)


@pytest.mark.parametrize(
    ("keep", "names"),
    [(1, ["last"]), (2, ["last-000030", "last"]), (3, ["last-000020", "last-000030", "last"]),
     (9, ["last-000010", "last-000020", "last-000030", "last"])],
)  # fmt: skip
def test_as_many_are_kept_as_wanted(make_model, tmp_path, keep, names):
    save(make_model, tmp_path, 10, 20, 30, 40, keep=keep)
    assert list(CheckpointManager(tmp_path).steps()) == names
    assert {p.name for p in tmp_path.iterdir()} == set(names)


def test_models_to_look_at_are_none_to_go_on_from(make_model, tmp_path):
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
def test_what_cannot_be_written_leaves_what_was(make_model, tmp_path, monkeypatch, error):
    save(make_model, tmp_path, 10)

    def full(tensors, path):
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(checkpoint_manager, "save_file", full)
    with pytest.raises(OSError, match=r"No space left|StorageFull"):
        save(make_model, tmp_path, 20)
    assert [p.name for p in tmp_path.iterdir()] == ["last"]
    assert restored(make_model, tmp_path) == ("last", 10)


def die_at(moment: int, folder: Path) -> None:
    """Kill this process before a file operation of that number, or (-1) halfway through a file."""
    count, save_file = 0, checkpoint_manager.save_file

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def watch(event, arguments):
        nonlocal count
        if event.split(".")[0] in ("open", "os", "shutil") and str(folder) in str(arguments):
            count += 1
            if count == moment:
                die()

    def save_half(tensors, path):
        save_file(tensors, path)
        if moment == -1:
            os.truncate(path, path.stat().st_size // 2)
            die()

    checkpoint_manager.save_file = save_half
    sys.addaudithook(watch)


def write_and_die(config: ModelConfig, folder: Path) -> None:
    """Write checkpoints in children that die one operation later each time, and check."""
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

    def killed_write(step, moment):
        child = os.fork()
        if child:
            status = os.waitpid(child, 0)[1]
            assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
            return os.WIFSIGNALED(status)
        die_at(moment, folder)
        try:
            write(step)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)

    def check(allowed):
        fill(-1)
        manager = CheckpointManager(folder)
        manager.tidy()
        left = {p.suffix for p in folder.iterdir()}
        assert left == {""}, left
        _, state = manager.restore(model, optimizer)
        assert state.step in allowed, (state, allowed)
        assert all((p == state.step).all() for p in model.parameters()), state
        assert all((s["exp_avg"] == state.step).all() for s in optimizer.state.values()), state
        assert not list(folder.glob("*.damaged")), "a kill leaves nothing damaged"

    moment, kills, step = -1, 0, 1
    write(0)
    while killed_write(step, moment):
        kills += 1
        check([step - 1, step])
        write(step)  # As the run that goes on does.
        step, moment = step + 1, max(moment + 1, 1)
        assert kills < 500
    check([step])
    assert kills > 40, "so many kills it took until a write got through"


def test_killed_at_every_file_operation_of_a_write_one_is_always_good(model_config, tmp_path):
    """`kill -9` before each operation on files of a checkpoint's write in turn, and halfway through
    a file. What is there afterwards is whole, and never older than what was there before."""
    run_alone(write_and_die, replace(model_config, modalities=("image",)), tmp_path / "c")
