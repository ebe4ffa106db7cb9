"""Following a run folder: new, incomplete, damaged and rewritten files; background runs."""

import json
import math
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scale.modalities import MODALITIES
from scale.training.background import LOG, BackgroundRun, pretrain_in_background
from scale.training.logging import (
    METRICS,
    SCORES,
    SCORES_SCHEMA,
    read_metrics,
    read_score_means,
)
from scale.training.run_log import LineTail, RunLog
from scale.viz.training import numeric_curves


def line(step, **values):
    return json.dumps({"step": step, **values}) + "\n"


def append(folder, text):
    with (folder / METRICS).open("a", encoding="utf-8") as file:
        file.write(text)


def steps_of(log):
    return [each["step"] for each in log.lines]


def write_scores(folder, steps, seed=0):
    random = np.random.default_rng(seed)
    rows = [
        {"step": step, "row": i, "column": j, "products": 3, "std": 0.1,
         "mean": None if (i, j) == ("text", "audio") else float(random.normal())}
        for step in steps
        for i in MODALITIES
        for j in MODALITIES
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=SCORES_SCHEMA), folder / SCORES)


@given(st.lists(st.integers(0, 40), max_size=8), st.integers(1, 30))
def test_tail_returns_each_line_once(tmp_path_factory, lengths, chunk):
    path = tmp_path_factory.mktemp("tail") / "file"
    text = b"".join(b"x" * length + b"\n" for length in lengths) + b"half"
    tail, found = LineTail(path), []
    for start in range(0, len(text), chunk):
        with path.open("ab") as file:
            file.write(text[start : start + chunk])
        anew, lines = tail.read()
        assert not anew
        found += lines
    assert found == text.split(b"\n")[:-1]
    assert tail.read() == (False, [])


@pytest.mark.parametrize("after", ["", "a\n", "b\nb\nb\nb\nb\nb\n"])
def test_tail_detects_a_rewritten_file(tmp_path, after):
    path = tmp_path / "file"
    path.write_text("a\na\n")
    tail = LineTail(path)
    tail.read()
    path.write_text(after)
    anew, lines = tail.read()
    assert anew
    assert b"".join(each + b"\n" for each in lines).decode() == after


def test_growing_run_is_read_line_by_line(tmp_path):
    log = RunLog(tmp_path)
    log.read()
    append(tmp_path, line(1, loss=2.0) + line(2, loss=1.0)[:9])
    assert log.read()
    assert steps_of(log) == [1]
    assert not log.read()
    append(tmp_path, line(2, loss=1.0)[9:])
    assert log.read()
    assert steps_of(log) == [1, 2]
    assert log.damaged_lines == []
    np.testing.assert_array_equal(log.curves()["loss"], [[1, 2], [2, 1]])


def test_finished_run_is_read_completely(run_folder):
    log = RunLog(run_folder)
    log.read()
    assert log.lines == read_metrics(run_folder)
    assert log.errors == {}
    slow = numeric_curves(read_metrics(run_folder))
    assert slow.keys() <= log.curves().keys()
    for key, curve in slow.items():
        finite_T = np.isfinite(log.curves()[key][1])
        np.testing.assert_array_equal(np.array(log.curves()[key])[:, finite_T], curve)


def test_resumed_run_replaces_later_lines(tmp_path):
    append(tmp_path, "".join(line(step, loss=float(step)) for step in (10, 20, 30, 40)))
    log = RunLog(tmp_path)
    log.read()
    (tmp_path / METRICS).write_text(line(10, loss=10.0) + line(20, loss=20.0))
    append(tmp_path, line(30, loss=-1.0))
    assert log.read()
    assert steps_of(log) == [10, 20, 30]
    assert log.curves()["loss"][1].tolist() == [10, 20, -1]
    assert log.restarts == 1


def test_decreasing_steps_replace_later_ones(tmp_path):
    append(tmp_path, line(1, a=1.0) + line(2, a=2.0) + line(2, b=5.0) + line(3, a=3.0))
    append(tmp_path, line(2, a=9.0))
    log = RunLog(tmp_path)
    log.read()
    assert steps_of(log) == [1, 2]
    curves = log.curves()
    assert curves["a"][1].tolist() == [1, 9]
    assert curves["b"][0].tolist() == []
    assert log.restarts == 1


@pytest.mark.parametrize(
    "bad",
    ["{", "[1]", "3", "{}", '{"step": "a"}', '{"step": null}', '{"step": true}', '{"step": 1.5}',
     '{"step": NaN}', '{"step": 1e999}', "\x00", ""],
)  # fmt: skip
def test_damaged_lines_are_listed_and_skipped(tmp_path, bad):
    append(tmp_path, line(1, a=1.0) + bad + "\n" + line(2, a=2.0))
    (tmp_path / METRICS).open("ab").write(b"\xff\xfe\n")
    log = RunLog(tmp_path)
    log.read()
    assert steps_of(log) == [1, 2]
    assert log.damaged_lines == [2, 4]


def test_null_and_nan_are_gaps_and_text_is_no_curve(tmp_path):
    append(tmp_path, '{"step": 1, "a": null, "b": NaN, "c": "word", "d": true, "e": 3}\n')
    log = RunLog(tmp_path)
    log.read()
    curves = log.curves()
    assert list(curves) == ["a", "b", "e"]
    assert math.isnan(curves["a"][1][0])
    assert math.isnan(curves["b"][1][0])


def test_scores_are_reloaded_only_if_changed(tmp_path, monkeypatch):
    reads = []
    monkeypatch.setattr(
        "scale.training.run_log.read_score_means",
        lambda folder: reads.append(folder) or read_score_means(folder),
    )
    append(tmp_path, line(1, a=1.0))
    log = RunLog(tmp_path)
    log.read()
    assert len(log.step_T) == 0
    write_scores(tmp_path, [1])
    assert log.read()
    assert not log.read()
    write_scores(tmp_path, [1, 2, 3])
    assert log.read()
    assert len(reads) == 2
    assert log.step_T.tolist() == [1, 2, 3]
    assert np.isnan(log.mean_TMM[:, 0, 4]).all()
    assert np.isfinite(log.mean_TMM[:, 4, 0]).all()


def test_score_means_by_step_and_modality(tmp_path):
    """Rows in any order; null means and absent pairs become NaN."""
    assert read_score_means(tmp_path)[1].shape == (0, 5, 5)
    rows = [
        {"step": 20, "row": "text", "column": "audio", "mean": 0.5},
        {"step": 10, "row": "image", "column": "image", "mean": 0.25},
        {"step": 10, "row": "text", "column": "audio", "mean": None},
        {"step": 10, "row": "smell", "column": "audio", "mean": 1.0},
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCORES_SCHEMA), tmp_path / SCORES)
    step_T, mean_TMM = read_score_means(tmp_path)
    assert step_T.tolist() == [10, 20]
    assert mean_TMM[1, 0, 4] == 0.5
    assert mean_TMM[0, 2, 2] == 0.25
    assert np.isnan(mean_TMM).sum() == 48


@pytest.mark.parametrize(
    "table", [{"step": [1]}, {"step": ["a"], "row": [1], "column": [2], "mean": [3]}]
)
def test_invalid_scores_are_reported(tmp_path, table):
    append(tmp_path, line(1, a=1.0))
    pq.write_table(pa.table(table), tmp_path / SCORES)
    log = RunLog(tmp_path)
    log.read()
    assert "scores" in log.errors
    (tmp_path / SCORES).write_bytes(b"no parquet")
    log.read()
    assert "scores" in log.errors
    write_scores(tmp_path, [1])
    log.read()
    assert log.errors == {}


def test_missing_run_is_reported_until_it_starts(tmp_path):
    folder = tmp_path / "later"
    log = RunLog(folder)
    assert log.read()
    assert list(log.errors) == ["missing"]
    assert not log.read()
    folder.mkdir()
    assert log.read()
    assert list(log.errors) == ["no_run"]
    append(folder, line(1, a=1.0))
    log.read()
    assert log.errors == {}
    shutil.rmtree(folder)
    log.read()
    assert list(log.errors) == ["missing"]
    assert log.lines == []


def test_invalid_config_is_reported_and_the_rest_is_read(tmp_path):
    append(tmp_path, line(1, a=1.0))
    (tmp_path / "config.json").write_text("{")
    log = RunLog(tmp_path)
    log.read()
    assert "config.json" in log.errors["config"]
    assert steps_of(log) == [1]
    assert log.progress().steps is None


@pytest.fixture
def started(tmp_path, config):
    """A run folder with a config of 100 steps and nothing logged."""
    train = replace(config.train, steps=100, batch_size=8, log_every=10)
    replace(config, train=train).save(tmp_path / "config.json")
    return tmp_path


def progress_of(folder, alive=None):
    log = RunLog(folder)
    log.read()
    return log.progress(alive)


def test_state_speed_and_remaining_time(started):
    assert progress_of(started).state == "waiting"
    append(started, line(10, products_per_second=4.0) + line(20, products_per_second=6.0))
    now = progress_of(started)
    assert (now.state, now.step, now.steps, now.speed) == ("running", 20, 100, 5.0)
    assert now.seconds_left == 80 * 8 / 5
    assert progress_of(started, alive=False).state == "stopped"
    # A line takes 16 s here; a running run may be silent for 20 times as long.
    for seconds, state in ((300, "running"), (330, "stopped")):
        long_ago = time.time() - seconds
        os.utime(started / METRICS, (long_ago, long_ago))
        assert progress_of(started).state == state
        assert progress_of(started, alive=True).state == "running"


def test_run_is_finished_with_its_last_checkpoint(started):
    append(started, line(100, products_per_second=4.0))
    assert progress_of(started).state == "running"
    last = started / "checkpoint" / "last"
    last.mkdir(parents=True)
    (last / "state.json").write_text("{}")
    assert progress_of(started).state == "running"
    (last / "state.json").write_text('{"step": 100}')
    assert progress_of(started).state == "finished"
    shutil.rmtree(last)
    assert progress_of(started, alive=False).state == "finished"


def test_failed_background_run_has_an_error_message(tmp_path):
    run = pretrain_in_background(tmp_path / "nowhere", tmp_path / "out")
    run.process.wait(120)
    assert not run.alive
    assert "nowhere" in run.error_message()
    assert "nowhere" in (tmp_path / "out" / LOG).read_text()


def test_background_run_can_be_stopped(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    run = BackgroundRun(tmp_path, process)
    assert run.alive
    assert run.error_message() == ""
    run.stop()
    assert not run.alive
    assert run.error_message() == ""
