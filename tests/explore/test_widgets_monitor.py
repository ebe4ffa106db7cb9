"""The training monitor: what it shows of a run and says of trouble, how it follows and replays."""

import asyncio
import json
import re
import shutil
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scale.explore.linechart import PLACES, Chart, Series, line_chart, shown_number
from scale.explore.monitor import TrainingMonitor
from scale.explore.monitor_views import clock
from scale.explore.thinning import means_at, thinned
from scale.training.logging import METRICS, SCORES, read_metrics, read_scores, score_means
from scale.viz.training import running_mean


@pytest.fixture
def copy(run_folder, tmp_path):
    """The log of a run without anything else."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in (METRICS, SCORES, "config.json"):
        shutil.copy(run_folder / name, folder)
    return folder


def charts(monitor):
    return dict(
        re.findall(r'data-chart="([^"]+)".*?<div class="now">(.*?)</div>', monitor._charts.html)
    )


def plain(html):
    return re.sub("<[^>]*>", "", html)


def test_a_finished_run_is_shown_whole(run_folder):
    monitor = TrainingMonitor(run_folder)
    assert monitor.complaint == ""
    assert not monitor.watching.value
    assert 'data-state="finished" data-step="60"' in monitor._state.html
    lines = [line for line in read_metrics(run_folder) if "loss/total" in line]
    shown = charts(monitor)
    assert plain(shown["MLM"]) == shown_number(lines[-1]["loss/MLM"])
    expected = ["total", "contrastive", "MLM", "MEM", "MRP", "MFP", "MAM", "retrieval_validation"]
    expected += ["geometry", "learning_rate", "grad_norm", "products_per_second"]
    assert sorted(shown) == sorted(expected)
    assert "#1668DC" in shown["MLM"]


def test_a_chosen_step_cuts_the_curves_and_picks_the_scores(run_folder):
    monitor = TrainingMonitor(run_folder)
    monitor.slider.value = 30
    assert not monitor.following.value
    (line,) = [x for x in read_metrics(run_folder) if x["step"] == 30 and "loss/MLM" in x]
    assert plain(charts(monitor)["MLM"]) == shown_number(line["loss/MLM"])
    steps, mean_TMM = score_means(read_scores(run_folder))
    diagonal = [f"{mean_TMM[steps.index(30), m, m]:.2f}" for m in range(5)]
    cells = re.findall(
        r'<td class="weight" style="[^"]*--frame[^"]*">([^<]+)', monitor._scores.html
    )
    assert cells == diagonal
    monitor.following.value = True
    assert monitor.step == 60


def test_a_step_is_picked_on_a_chart(run_folder):
    monitor = TrainingMonitor(run_folder)
    assert 'data-key="MLM@20"' in monitor._charts.html
    monitor._charts.pick("MLM@20")
    assert monitor.step == 20
    assert 'data-step="20"' in monitor._scores.html


def test_a_replay_from_the_end_starts_at_the_beginning(run_folder):
    monitor = TrainingMonitor(run_folder)
    assert monitor.play.value == monitor.step
    monitor.play.playing = True
    assert (monitor.step, monitor.following.value) == (0, False)
    assert monitor._charts.html
    monitor.slider.value = 60 - monitor.play.step // 2
    monitor.play.playing = False
    assert monitor.slider.value == 60


def test_the_text_is_stable_and_tells_the_run(copy):
    first, second = (repr(TrainingMonitor(copy, live=False)) for _ in range(2))
    assert first == second
    assert first.startswith("TrainingMonitor(copy): finished, step 60 of 60\n")
    assert re.search(r"loss/MLM: ~\d+\.\d\d \(step 60\)", first)
    assert str(copy.parent) not in first


def test_a_run_that_grows_is_followed(copy):
    whole = (copy / METRICS).read_text().splitlines(keepends=True)
    (copy / METRICS).write_text("".join(whole[:2]))
    monitor = TrainingMonitor(copy)
    assert monitor.progress.state == "running"
    assert monitor.step == 20
    (copy / METRICS).open("a").write(whole[2] + whole[3][:12])
    monitor.refresh()
    assert monitor.step == 30
    before = monitor._charts.html
    monitor.refresh()
    assert monitor._charts.html == before
    monitor.slider.value = 10
    (copy / METRICS).open("a").write(whole[3][12:] + whole[4])
    monitor.refresh()
    assert monitor.step == 10
    assert monitor.slider.max == json.loads(whole[4])["step"]


def test_a_resumed_run_is_told_and_the_slider_goes_back(copy):
    whole = (copy / METRICS).read_text().splitlines(keepends=True)
    monitor = TrainingMonitor(copy)
    (copy / METRICS).write_text("".join(whole[:3]))
    monitor.refresh()
    assert monitor.step == monitor.slider.max == 30
    assert "went back (1 ×)" in monitor._warnings.html


def test_it_watches_by_itself_while_it_is_shown_and_ends_with_the_run(copy, run_folder):
    whole = (copy / METRICS).read_text()
    (copy / METRICS).unlink()

    async def watch():
        monitor = TrainingMonitor(copy, every=0.01)
        assert monitor.progress.state == "waiting"
        (copy / METRICS).write_text(whole)
        await asyncio.sleep(0.1)
        assert monitor.watch.step == 0
        monitor._view_count = 1
        await asyncio.sleep(0.2)
        assert monitor.watch.step == 60
        assert monitor.watching.value
        shutil.copytree(run_folder / "checkpoint", copy / "checkpoint")
        for _ in range(100):
            await asyncio.sleep(0.02)
            if not monitor.watching.value:
                break
        assert 'data-state="finished"' in monitor._state.html
        assert not monitor.watching.value
        other = TrainingMonitor(copy.parent, every=0.01)
        task = other._task
        other.close()
        await asyncio.sleep(0.05)
        assert task.cancelled()

    asyncio.run(watch())


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_what_is_no_run_is_a_message(tmp_path, lang):
    for folder in (tmp_path, tmp_path / "nowhere"):
        monitor = TrainingMonitor(folder, lang=lang, live=False)
        assert str(folder) in monitor.complaint
        assert "data-state" in monitor._state.html
        bundle = monitor._repr_mimebundle_()
        assert "image/png" not in bundle
        assert "nothing to draw" in bundle["text/plain"]


def test_what_is_damaged_is_told_and_the_rest_is_shown(copy):
    (copy / METRICS).write_text("{\n" + (copy / METRICS).read_text())
    (copy / SCORES).write_bytes(b"<b>")
    monitor = TrainingMonitor(copy, live=False)
    assert "damaged lines left out: 1, the first is line 1" in monitor._warnings.html
    assert "scores.parquet cannot be read" in monitor.complaint
    assert len(charts(monitor)) == 12
    (copy / SCORES).unlink()
    monitor.refresh()
    assert monitor.complaint == ""
    assert "no logged S′" in monitor._scores.html


def test_symptoms_are_sentences_in_both_languages(copy):
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
        said = TrainingMonitor(copy, lang=lang, live=False).warnings()
        assert len(said) == 3
        assert all(word in line for word, line in zip(words, said, strict=True))


def test_the_picture_is_that_of_the_log(run_folder):
    assert len(TrainingMonitor(run_folder).picture().axes) == 12


def test_an_interval_must_be_positive(run_folder):
    with pytest.raises(ValueError, match="every 0"):
        TrainingMonitor(run_folder, every=0)


def test_a_long_run_is_drawn_with_few_points(copy):
    lines = [
        json.dumps({"step": n, "loss/total": n % 7, "grad_norm": 1.0}) for n in range(1, 10001)
    ]
    (copy / METRICS).write_text("\n".join(lines) + "\n")
    monitor = TrainingMonitor(copy)
    start = time.process_time()
    monitor.update()
    assert time.process_time() - start < 0.15
    assert len(monitor._charts.html) < 100_000


VALUES = st.lists(st.floats(-1e3, 1e3) | st.just(float("nan")), min_size=1, max_size=60)


@given(VALUES, st.integers(1, 9))
def test_thinning_keeps_the_extremes_of_every_stretch(values, buckets):
    value_T = np.array(values)
    place_P = thinned(value_T, buckets)
    assert place_P.tolist() == sorted(set(place_P.tolist()))
    assert len(place_P) <= 2 * buckets
    if np.isfinite(value_T).any():
        assert np.nanmax(value_T) == np.nanmax(value_T[place_P])
        assert np.nanmin(value_T) == np.nanmin(value_T[place_P])


@given(VALUES, st.sampled_from([1, 3, 7, 21]))
def test_means_at_places_equal_the_running_mean(values, window):
    value_T = np.array(values)
    place_P = np.arange(0, len(values), 2)
    slow_P = running_mean(value_T, window)[place_P]
    np.testing.assert_allclose(means_at(value_T, window, place_P), slow_P, atol=1e-9)


def test_a_chart_escapes_names_leaves_gaps_and_tells_values():
    step_T, value_T = np.arange(5.0), np.array([1, np.nan, -2, np.inf, 3])
    chart = Chart(
        "k", "<a>", [Series("<b>", step_T, value_T, "red"), Series("c", step_T, step_T, "blue")]
    )
    html = line_chart(chart, (0.0, 4.0), 4.0)
    assert "<a>" not in html
    assert "<b>" not in html
    assert 'aria-label="step 2, c 2, &lt;b&gt; −2"' in html
    (path,) = re.findall(r'class="line" stroke="red" d="([^"]+)"', html)
    assert path.count("M") == 3
    assert "nan" not in html
    assert "inf" not in html
    cut = line_chart(chart, (0.0, 4.0), 1.0)
    assert 'class="cursor"' in cut
    assert cut.count("<circle") < html.count("<circle")


@pytest.mark.parametrize("values", [[], [np.nan], [5.0], [0.0, 0.0], [1e300, -1e300]])
def test_odd_curves_can_be_drawn(values):
    series = Series("a", np.arange(float(len(values))), np.array(values), "red", smooth=True)
    html = line_chart(Chart("k", "t", [series]), (0.0, 0.0), 0.0)
    assert "nan" not in html
    assert html.count("data-key") == min(len(values), PLACES)


def test_a_clock():
    assert [clock(s) for s in (0, 59.6, 3600 * 30 + 61)] == ["0:00:00", "0:01:00", "30:01:01"]
