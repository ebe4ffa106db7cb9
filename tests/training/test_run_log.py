"""Follow a run folder that is being written: new, incomplete, damaged and rewritten files."""

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


def steps_of(watch):
    return [each["step"] for each in watch.lines]


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
def test_a_tail_gives_each_line_once_however_it_is_written(tmp_path_factory, lengths, chunk):
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
def test_a_tail_notices_a_file_that_was_written_anew(tmp_path, after):
    path = tmp_path / "file"
    path.write_text("a\na\n")
    tail = LineTail(path)
    tail.read()
    path.write_text(after)
    anew, lines = tail.read()
    assert anew
    assert b"".join(each + b"\n" for each in lines).decode() == after


def test_a_run_is_read_as_it_grows(tmp_path):
    watch = RunLog(tmp_path)
    watch.read()
    append(tmp_path, line(1, loss=2.0) + line(2, loss=1.0)[:9])
    assert watch.read()
    assert steps_of(watch) == [1]
    assert not watch.read()
    append(tmp_path, line(2, loss=1.0)[9:])
    assert watch.read()
    assert steps_of(watch) == [1, 2]
    assert watch.damaged_lines == []
    np.testing.assert_array_equal(watch.curves()["loss"], [[1, 2], [2, 1]])


def test_the_finished_run_is_read_like_the_log_reads_it(run_folder):
    watch = RunLog(run_folder)
    watch.read()
    assert watch.lines == read_metrics(run_folder)
    assert watch.errors == {}
    slow = numeric_curves(read_metrics(run_folder))
    assert slow.keys() <= watch.curves().keys()
    for key, curve in slow.items():
        finite_T = np.isfinite(watch.curves()[key][1])
        np.testing.assert_array_equal(np.array(watch.curves()[key])[:, finite_T], curve)


def test_a_resumed_run_goes_back(tmp_path):
    append(tmp_path, "".join(line(step, loss=float(step)) for step in (10, 20, 30, 40)))
    watch = RunLog(tmp_path)
    watch.read()
    (tmp_path / METRICS).write_text(line(10, loss=10.0) + line(20, loss=20.0))
    append(tmp_path, line(30, loss=-1.0))
    assert watch.read()
    assert steps_of(watch) == [10, 20, 30]
    assert watch.curves()["loss"][1].tolist() == [10, 20, -1]
    assert watch.restarts == 1


def test_steps_that_go_back_in_one_file_replace_later_ones(tmp_path):
    append(tmp_path, line(1, a=1.0) + line(2, a=2.0) + line(2, b=5.0) + line(3, a=3.0))
    append(tmp_path, line(2, a=9.0))
    watch = RunLog(tmp_path)
    watch.read()
    assert steps_of(watch) == [1, 2]
    curves = watch.curves()
    assert curves["a"][1].tolist() == [1, 9]
    assert curves["b"][0].tolist() == []
    assert watch.restarts == 1


@pytest.mark.parametrize(
    "bad",
    ["{", "[1]", "3", "{}", '{"step": "a"}', '{"step": null}', '{"step": true}', '{"step": 1.5}',
     '{"step": NaN}', '{"step": 1e999}', "\x00", ""],
)  # fmt: skip
def test_damaged_lines_are_counted_and_the_rest_is_read(tmp_path, bad):
    append(tmp_path, line(1, a=1.0) + bad + "\n" + line(2, a=2.0))
    (tmp_path / METRICS).open("ab").write(b"\xff\xfe\n")
    watch = RunLog(tmp_path)
    watch.read()
    assert steps_of(watch) == [1, 2]
    assert watch.damaged_lines == [2, 4]


def test_null_and_nan_are_gaps_and_words_are_left_out(tmp_path):
    append(tmp_path, '{"step": 1, "a": null, "b": NaN, "c": "word", "d": true, "e": 3}\n')
    watch = RunLog(tmp_path)
    watch.read()
    curves = watch.curves()
    assert list(curves) == ["a", "b", "e"]
    assert math.isnan(curves["a"][1][0])
    assert math.isnan(curves["b"][1][0])


def test_scores_are_read_again_only_when_they_changed(tmp_path, monkeypatch):
    reads = []
    monkeypatch.setattr(
        "scale.training.run_log.read_score_means",
        lambda folder: reads.append(folder) or read_score_means(folder),
    )
    append(tmp_path, line(1, a=1.0))
    watch = RunLog(tmp_path)
    watch.read()
    assert len(watch.step_T) == 0
    write_scores(tmp_path, [1])
    assert watch.read()
    assert not watch.read()
    write_scores(tmp_path, [1, 2, 3])
    assert watch.read()
    assert len(reads) == 2
    assert watch.step_T.tolist() == [1, 2, 3]
    assert np.isnan(watch.mean_TMM[:, 0, 4]).all()
    assert np.isfinite(watch.mean_TMM[:, 4, 0]).all()


def test_score_means_are_placed_by_step_and_modality(tmp_path):
    """Rows of any order; a null mean and pairs without a row are NaN."""
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
def test_scores_of_another_kind_are_told(tmp_path, table):
    append(tmp_path, line(1, a=1.0))
    pq.write_table(pa.table(table), tmp_path / SCORES)
    watch = RunLog(tmp_path)
    watch.read()
    assert "scores" in watch.errors
    (tmp_path / SCORES).write_bytes(b"no parquet")
    watch.read()
    assert "scores" in watch.errors
    write_scores(tmp_path, [1])
    watch.read()
    assert watch.errors == {}


def test_what_is_no_run_is_told_until_one_starts(tmp_path):
    folder = tmp_path / "later"
    watch = RunLog(folder)
    assert watch.read()
    assert list(watch.errors) == ["missing"]
    assert not watch.read()
    folder.mkdir()
    assert watch.read()
    assert list(watch.errors) == ["no_run"]
    append(folder, line(1, a=1.0))
    watch.read()
    assert watch.errors == {}
    shutil.rmtree(folder)
    watch.read()
    assert list(watch.errors) == ["missing"]
    assert watch.lines == []


def test_a_broken_config_is_told_and_the_rest_is_read(tmp_path):
    append(tmp_path, line(1, a=1.0))
    (tmp_path / "config.json").write_text("{")
    watch = RunLog(tmp_path)
    watch.read()
    assert "config.json" in watch.errors["config"]
    assert steps_of(watch) == [1]
    assert watch.progress().steps is None


@pytest.fixture
def started(tmp_path, config):
    """A run folder with a config of 100 steps and nothing logged."""
    train = replace(config.train, steps=100, batch_size=8, log_every=10)
    replace(config, train=train).save(tmp_path / "config.json")
    return tmp_path


def look(folder, alive=None):
    watch = RunLog(folder)
    watch.read()
    return watch.progress(alive)


def test_the_states_of_a_run(started):
    assert look(started).state == "waiting"
    append(started, line(10, products_per_second=4.0) + line(20, products_per_second=6.0))
    now = look(started)
    assert (now.state, now.step, now.steps, now.speed) == ("running", 20, 100, 5.0)
    assert now.seconds_left == 80 * 8 / 5
    assert look(started, alive=False).state == "stopped"
    # A line takes 16 s here, so a run may be silent for 20 times as long.
    for seconds, state in ((300, "running"), (330, "stopped")):
        long_ago = time.time() - seconds
        os.utime(started / METRICS, (long_ago, long_ago))
        assert look(started).state == state
        assert look(started, alive=True).state == "running"


def test_a_run_is_finished_when_its_last_checkpoint_is_written(started):
    append(started, line(100, products_per_second=4.0))
    assert look(started).state == "running"
    last = started / "checkpoint" / "last"
    last.mkdir(parents=True)
    (last / "state.json").write_text("{}")
    assert look(started).state == "running"
    (last / "state.json").write_text('{"step": 100}')
    assert look(started).state == "finished"
    shutil.rmtree(last)
    assert look(started, alive=False).state == "finished"


def wait(run):
    run.process.wait(120)
    return run


def test_a_background_run_that_is_refused_says_why(tmp_path):
    run = wait(pretrain_in_background(tmp_path / "nowhere", tmp_path / "out"))
    assert not run.alive
    assert "nowhere" in run.error_message()
    assert "nowhere" in (tmp_path / "out" / LOG).read_text()


def test_a_background_run_can_be_stopped(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    run = BackgroundRun(tmp_path, process)
    assert run.alive
    assert run.error_message() == ""
    run.stop()
    assert not run.alive
    assert run.error_message() == ""
