"""The training monitor: state, values and figure of a run, polling, replay, and failed checks."""

import asyncio
import json
import re
import shutil

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from scale.explore import monitor as monitor_module
from scale.explore.monitor import TrainingMonitor, clock
from scale.training.logging import METRICS, SCORES, read_metrics, read_score_means
from scale.training.run_log import RunLog
from scale.viz.theme import MODALITY_COLOURS
from scale.viz.training import running_mean, training_figure, value_at, window_of


@pytest.fixture
def copy(run_folder, tmp_path):
    """The log of a run without its checkpoints."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in (METRICS, SCORES, "config.json"):
        shutil.copy(run_folder / name, folder)
    return folder


@pytest.fixture
def no_drawing(monkeypatch):
    """An empty figure, for tests of the controls; returns the arguments of each drawing."""
    drawn = []

    def draw(*arguments):
        drawn.append(arguments)
        return Figure(figsize=(1, 1))

    monkeypatch.setattr(monitor_module, "training_figure", draw)
    return drawn


def log_of(folder):
    log = RunLog(folder)
    log.read()
    return log


def test_a_finished_run_is_shown_to_its_end(run_folder):
    monitor = TrainingMonitor(run_folder)
    assert monitor.error == ""
    assert not monitor.watching.value
    assert 'data-state="finished" data-step="60"' in monitor._state.html
    assert '<img class="xt-figure" data-step="60"' in monitor._figure.html
    (line,) = [x for x in read_metrics(run_folder) if x["step"] == 60 and "loss/MLM" in x]
    shown = monitor.values()["MLM: masked language modelling"]
    assert float(shown) == pytest.approx(line["loss/MLM"], rel=1e-3)
    assert f"MLM: masked language modelling {shown}" in monitor._figure.html


def test_a_chosen_step_sets_values_and_scores(run_folder, no_drawing):
    monitor = TrainingMonitor(run_folder)
    monitor.slider.value = 30
    assert not monitor.following.value
    (line,) = [x for x in read_metrics(run_folder) if x["step"] == 30 and "loss/MLM" in x]
    shown = monitor.values()["MLM: masked language modelling"]
    assert float(shown) == pytest.approx(line["loss/MLM"], rel=1e-3)
    steps, mean_TMM = read_score_means(run_folder)
    monitor.picture()
    assert no_drawing[-1] == no_drawing[-2][:3] == (monitor.run_log, 30, "en")
    heat = training_figure(*no_drawing[-1]).axes[3]
    cells = [text.get_text() for text in heat.texts]
    assert cells[::6] == [f"{mean_TMM[steps.tolist().index(30), m, m]:.2f}" for m in range(5)]
    assert "step 30" in heat.get_title(loc="left") + heat.get_title()
    monitor.following.value = True
    assert monitor.step == 60


def test_curves_are_heavy_up_to_the_step_and_light_to_the_end(run_folder):
    log = log_of(run_folder)
    axes = training_figure(log, 30).axes
    step_T, value_T = log.curves()["loss/MLM"]
    colour = MODALITY_COLOURS["text"].lower()
    (heavy,) = [line for line in axes[0].lines if to_hex(line.get_color()) == colour]
    mean_T = running_mean(value_T, window_of(len(value_T)))
    np.testing.assert_array_equal(heavy.get_xdata(), step_T[step_T <= 30])
    np.testing.assert_allclose(heavy.get_ydata(), mean_T[step_T <= 30])
    light = axes[0].lines[axes[0].lines.index(heavy) - 1]
    np.testing.assert_allclose(light.get_ydata(), value_T)
    _, mean_TMM = read_score_means(run_folder)
    np.testing.assert_allclose(axes[4].lines[0].get_ydata(), mean_TMM[:, 0, 0])
    np.testing.assert_allclose(axes[5].lines[0].get_ydata(), mean_TMM[:, 0, 1])
    titles = [axes[n].get_title(loc="left") or axes[n].get_title() for n in range(3)]
    assert titles == ["losses", "validation retrieval", "alignment and uniformity"]


def test_the_figure_is_readable(run_folder, readable):
    for lang in ("en", "zh"):
        readable(training_figure(log_of(run_folder), 30, lang))


def test_values_that_are_not_finite_leave_a_gap(copy):
    values = [1.0, None, -2.0, 3.0]
    lines = [json.dumps({"step": n + 1, "loss/total": value}) for n, value in enumerate(values)]
    (copy / METRICS).write_text("\n".join(lines) + "\n")
    log = log_of(copy)
    axes = training_figure(log, 4).axes[0]
    assert np.isnan(axes.lines[0].get_ydata()).tolist() == [False, True, False, False]
    assert axes.get_yscale() == "linear"  # A negative loss has no logarithm.
    curve = log.curves()["loss/total"]
    assert [value_at(curve, step) for step in (0, 1, 2, 3)] == ["–", "1", "–", "−2"]


def test_the_page_colour_sets_the_style_of_the_figure(run_folder):
    monitor = TrainingMonitor(run_folder)
    light = monitor._figure.html
    monitor._page.page = "#111111"
    assert monitor._figure.html != light


def test_a_replay_from_the_end_starts_at_the_beginning(run_folder, no_drawing):
    monitor = TrainingMonitor(run_folder)
    assert monitor.play.value == monitor.step
    monitor.play.playing = True
    assert (monitor.step, monitor.following.value) == (0, False)
    monitor.slider.value = 60 - monitor.play.step // 2
    monitor.play.playing = False
    assert monitor.slider.value == 60


def test_the_text_is_stable_and_names_the_run(copy, no_drawing):
    first, second = (repr(TrainingMonitor(copy, live=False)) for _ in range(2))
    assert first == second
    assert first.startswith("TrainingMonitor(copy): finished, step 60 of 60\n")
    assert re.search(r"loss/MLM: ~\d+\.\d\d \(step 60\)", first)
    assert str(copy.parent) not in first


def test_a_growing_run_is_followed(copy, no_drawing):
    whole = (copy / METRICS).read_text().splitlines(keepends=True)
    (copy / METRICS).write_text("".join(whole[:2]))
    monitor = TrainingMonitor(copy)
    assert monitor.progress.state == "running"
    assert monitor.step == 20
    (copy / METRICS).open("a").write(whole[2] + whole[3][:12])
    monitor.refresh()
    assert monitor.step == 30
    before = monitor._figure.html
    monitor.refresh()
    assert monitor._figure.html == before
    monitor.slider.value = 10
    (copy / METRICS).open("a").write(whole[3][12:] + whole[4])
    monitor.refresh()
    assert monitor.step == 10
    assert monitor.slider.max == json.loads(whole[4])["step"]


def test_a_resumed_run_is_reported_and_the_slider_goes_back(copy, no_drawing):
    whole = (copy / METRICS).read_text().splitlines(keepends=True)
    monitor = TrainingMonitor(copy)
    (copy / METRICS).write_text("".join(whole[:3]))
    monitor.refresh()
    assert monitor.step == monitor.slider.max == 30
    assert "went back (1 ×)" in monitor._warnings.html


def test_it_watches_while_it_is_visible_and_ends_with_the_run(copy, run_folder, no_drawing):
    whole = (copy / METRICS).read_text()
    (copy / METRICS).unlink()

    async def until(condition):
        for _ in range(500):
            if condition():
                return
            await asyncio.sleep(0.02)
        raise AssertionError

    async def watch():
        monitor = TrainingMonitor(copy, every=0.01)
        assert monitor.progress.state == "waiting"
        (copy / METRICS).write_text(whole)
        await asyncio.sleep(0.1)
        assert monitor.run_log.step == 0
        monitor._view_count = 1
        await until(lambda: monitor.run_log.step == 60)
        assert monitor.watching.value
        shutil.copytree(run_folder / "checkpoint", copy / "checkpoint")
        await until(lambda: not monitor.watching.value)
        assert 'data-state="finished"' in monitor._state.html
        other = TrainingMonitor(copy.parent, every=0.01)
        task = other._task
        other.close()
        await asyncio.sleep(0.05)
        assert task.cancelled()

    asyncio.run(watch())


class StubProcess:
    """A background training that runs until it is stopped."""

    alive, message = True, ""

    def stop(self):
        self.alive, self.message = False, "out of <memory>"

    def error_message(self):
        return self.message


def test_a_background_training_is_stopped_and_its_error_shown(copy, no_drawing):
    process = StubProcess()
    (copy / METRICS).write_text((copy / METRICS).read_text().splitlines(keepends=True)[0])
    monitor = TrainingMonitor(copy, process=process)
    assert monitor.progress.state == "running"
    monitor._controls.children[-1].click()
    assert monitor.progress.state == "stopped"
    assert "out of &lt;memory&gt;" in monitor.error
    assert "?" not in re.sub("<[^>]*>", "", monitor._state.html)


def test_a_folder_that_is_no_run_is_an_error_message(tmp_path, no_drawing):
    for folder, lang in ((tmp_path, "en"), (tmp_path / "nowhere", "zh")):
        monitor = TrainingMonitor(folder, lang=lang, live=False)
        assert str(folder) in monitor.error
        assert "data-state" in monitor._state.html
        bundle = monitor._repr_mimebundle_()
        assert "image/png" not in bundle
        assert "nothing to draw" in bundle["text/plain"]


def test_damaged_files_are_reported_and_the_rest_is_shown(copy, no_drawing):
    (copy / METRICS).write_text("{\n" + (copy / METRICS).read_text())
    (copy / SCORES).write_bytes(b"<b>")
    monitor = TrainingMonitor(copy, live=False)
    assert "damaged lines left out: 1, the first is line 1" in monitor._warnings.html
    assert "scores.parquet cannot be read" in monitor.error
    assert "MLM" in monitor._figure.html
    assert training_figure(*no_drawing[-1]).axes[0].lines
    (copy / SCORES).unlink()
    monitor.refresh()
    assert monitor.error == ""
    assert "no logged S′" in monitor._figure.html


def test_failed_health_checks_are_sentences_in_both_languages(copy, no_drawing):
    values = [
        {"step": step, "val/Recall@10": 1 / step, "val/uniformity": 0.0, "loss/total": 9.0 - step}
        for step in range(1, 9)
    ]
    values[2]["loss/total"] = None
    (copy / METRICS).write_text("".join(json.dumps(each) + "\n" for each in values))
    (copy / "config.json").unlink()
    for lang, words in (
        ("en", ("infinite", "collapsed", "falls")),
        ("zh", ("有限", "坍缩", "下降")),
    ):
        found = TrainingMonitor(copy, lang=lang, live=False).warnings()
        assert len(found) == 3
        assert all(word in line for word, line in zip(words, found, strict=True))


def test_an_interval_must_be_positive(run_folder):
    with pytest.raises(ValueError, match="every 0"):
        TrainingMonitor(run_folder, every=0)


def test_odd_curves_can_be_drawn(copy):
    losses = {"MLM": [None, None], "MEM": [5.0], "MRP": [0.0, 0.0], "total": [1e300, -1e300]}
    lines = [
        {"step": n + 1} | {f"loss/{k}": v[n] for k, v in losses.items() if n < len(v)}
        for n in range(2)
    ]
    for text in ("", "".join(json.dumps(line) + "\n" for line in lines)):
        (copy / METRICS).write_text(text)
        assert TrainingMonitor(copy, live=False).error == ""


def test_a_clock():
    assert [clock(s) for s in (0, 59.6, 3600 * 30 + 61)] == ["0:00:00", "0:01:00", "30:01:01"]
