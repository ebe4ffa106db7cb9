"""Study figures: what is drawn is what the summary says, and all of it can be read."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from scale.evaluation.bootstrap import NOTHING, Estimate
from scale.experiments.report import Row, Summary
from scale.experiments.statistics import Outcome
from scale.experiments.study import Cell, Comparison, Study
from scale.experiments.study import Test as Held
from scale.viz.labels import label
from scale.viz.studies import comparison_figure, retention_curve, study_figure
from scale.viz.style import use_style

LOOKS = [("paper", "en"), ("slides", "zh"), ("dark", "zh"), ("slides", "en")]
VERDICTS = ("supported", "contradicted", "not decided", "impossible")
CLAIM = "a learned token beats zero imputation when half of all modalities are missing"


def around(value, half=0.02):
    return Estimate(value, value - half, value + half, 5)


def summary(grid, tests=("held out", "complete"), figure="lines", gaps=()):
    """All cells of a grid of factors; cells in `gaps` cannot be trained."""
    factors = tuple(grid)
    places = [dict(zip(factors, p, strict=True)) for p in _product(*grid.values())]
    cells = tuple(Cell(p, tests=tuple(Held(t) for t in tests)) for p in places)
    outcomes, comparisons = [], []
    for verdict, metric in zip(VERDICTS, ("mAP@5", "mAP@5", "Recall@10", "Recall@10"), strict=True):
        comparison = Comparison(CLAIM, places[0], places[-1], tests[0], metric)
        comparisons.append(comparison)
        some = (around(0.05), around(0.06)) if verdict != "impossible" else (NOTHING, None)
        outcomes.append(Outcome(comparison, verdict, "", *some))
    study = Study("missing", "Is it?", factors, cells, tuple(comparisons), figure=figure)
    rows = []
    for k, place in enumerate(places):
        failed = place in gaps
        found = {} if failed else {t: {"mAP@5": around(0.3 + 0.01 * k)} for t in tests}
        rows.append(Row(place, found, 0 if failed else 5, 5 if failed else 0, "no" * failed))
    columns = tuple((t, m) for t in tests for m in study.metrics)
    return Summary(study, "samples", "tiny", tuple(rows), tuple(outcomes), columns, {})


def _product(first, *rest):
    return [(a, *b) for a in first for b in (_product(*rest) if rest else [()])]


GRID = {"policy": ("zero", "skip", "learned", "drop"), "rate": (0.0, 0.1, 0.3, 0.5, 0.7)}
GAP = {"policy": "drop", "rate": 0.7}
WEIGHTS = {"place": ("loss", "logits"), "weights": ("uniform", "scores", "posterior of the pair")}


def checked(readable, draw, look, lang):
    with use_style(look), warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw(lang)
        return figure, readable(figure)


@pytest.mark.parametrize(("look", "lang"), LOOKS)
def test_lines_over_the_last_factor(readable, look, lang):
    found = summary(GRID, gaps=[GAP])
    figure, texts = checked(readable, lambda lang: study_figure(found, lang=lang), look, lang)
    assert {*GRID["policy"], "held out", "complete", label("cannot_train", lang)} <= set(texts)
    assert len(figure.axes) == 2
    zero = next(line for line in figure.axes[0].lines if len(line.get_xdata()) == 5)
    np.testing.assert_allclose(zero.get_ydata(), [0.30, 0.31, 0.32, 0.33, 0.34])


@pytest.mark.parametrize(("look", "lang"), LOOKS)
def test_bars_are_rows_in_groups(readable, look, lang):
    gap = {"place": "logits", "weights": "scores"}
    found = summary(WEIGHTS, figure="bars", gaps=[gap])
    figure, texts = checked(readable, lambda lang: study_figure(found, lang=lang), look, lang)
    assert {"loss", "logits", *WEIGHTS["weights"]} <= set(texts)
    assert sum(label("cannot_train", lang) in text for text in texts) == 2
    assert any("uniform" in text and label("study_baseline", lang, name="")[:2] in text
               for text in texts)  # fmt: skip
    assert len(figure.axes[0].collections) >= 2


def test_a_row_that_has_not_run_says_so(readable):
    found = summary({"weights": ("uniform", "scores")}, figure="bars")
    rows = (found.rows[0], replace(found.rows[1], figures={}, done=0))
    texts = readable(study_figure(replace(found, rows=rows)))
    assert texts.count(label("not_run")) == 2


@pytest.mark.parametrize("figure", ["lines", "bars"])
@pytest.mark.parametrize(
    "grid",
    [
        {"size": (100, 1000, 10000)},
        {"fault": ("none", "mask on the wrong product")},
        {"model": ("a", "b"), "policy": ("zero", "skip"), "rate": (0.0, 0.5)},
        {"policy": tuple(f"policy {k}" for k in range(9)), "rate": (0.0, 0.5)},
        {"removed": ("text", "table", "image", "video", "audio", "nothing"), "rate": (0, 1)},
        {"detach": (True, False), "rate": (0.3,)},
    ],
)
@pytest.mark.parametrize("tests", [("held out",), ("one", "two", "three", "four")])
def test_any_grid_is_readable(readable, grid, figure, tests):
    if figure == "bars" and len(tests) > 3:
        tests = tests[:3]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        readable(study_figure(summary(grid, tests, figure)))


def test_whiskers_of_different_lines_stand_apart():
    axes = study_figure(summary(GRID)).axes[0]
    starts = [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 5]
    assert len(set(np.round(starts, 6))) == len(GRID["policy"])


def test_one_seed_has_no_whisker_and_is_drawn(readable):
    found = summary(GRID)
    alone = {"held out": {"mAP@5": Estimate(0.4, None, None, 1)}}
    rows = tuple(replace(row, figures=alone, done=1) for row in found.rows)
    readable(study_figure(replace(found, rows=rows)))


def test_a_metric_that_no_cell_has_is_refused():
    with pytest.raises(ValueError, match=r"no cell has Recall@10"):
        study_figure(summary(GRID), "Recall@10")


@pytest.mark.parametrize(("look", "lang"), LOOKS)
def test_the_forest_tells_each_verdict_in_words(readable, look, lang):
    found = summary(GRID)
    figure, texts = checked(readable, lambda lang: comparison_figure(found, lang), look, lang)
    for sign, verdict in zip("✓✗?–", VERDICTS, strict=True):
        assert f"{sign} {label(verdict, lang)}" in texts
    assert len(figure.axes) == 2
    for axes in figure.axes:
        assert any(list(line.get_xdata()) == [0, 0] for line in axes.lines)


def test_a_forest_without_any_difference_or_comparison(readable):
    found = summary(GRID)
    readable(comparison_figure(replace(found, outcomes=found.outcomes[-1:])))
    with pytest.raises(ValueError, match="no comparisons"):
        comparison_figure(replace(found, outcomes=()))


CURVES = {
    name: {k: around(1 - slope * k, 0.01 * k) for k in range(5)}
    for name, slope in (("five streams", 0.1), ("one stream", 0.2), ("two streams", 0.15))
}


@pytest.mark.parametrize(("look", "lang"), LOOKS)
def test_retention(readable, look, lang):
    figure, texts = checked(readable, lambda lang: retention_curve(CURVES, lang), look, lang)
    assert {*CURVES, "100%", label("missing_count", lang)} <= set(texts)
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [1, 0.9, 0.8, 0.7, 0.6])


def test_retention_over_shares_and_of_nothing(readable):
    texts = readable(retention_curve({"a": {0.0: around(1), 0.25: NOTHING}}, shares=True))
    assert "25%" in texts
    for nothing in ({}, {"a": {}}):
        with pytest.raises(ValueError, match="no retention"):
            retention_curve(nothing)
