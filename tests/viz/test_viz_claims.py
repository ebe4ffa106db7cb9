"""Forest plots tell every claim whole, each verdict in words; retention starts at all of it."""

from dataclasses import replace

import numpy as np
import pytest

from scale.evaluation.bootstrap import NOTHING
from scale.viz.charts import Block, balanced, total_height
from scale.viz.studies import CLAIM_ROWS, comparison_figures, retention_curve
from scale.viz.words import label

LOOKS = [("paper", "en"), ("slides", "zh"), ("dark", "zh"), ("slides", "en")]
VERDICTS = ("supported", "contradicted", "not decided", "impossible")
GRID = {"policy": ("zero", "skip"), "rate": (0.0, 0.5)}
LONG = [
    f"{regime}: {name} beats uniform weights"
    for regime in ("clean", "missing", "noisy", "mismatch", "all", "over all regimes")
    for name in ("S'", "the posterior", "S' on the logits", "a rank among strangers", "gce",
                 "a claim that takes two lines because it is as long as this one is and even")
]  # fmt: skip


@pytest.mark.parametrize(("look", "lang"), LOOKS)
def test_the_forest_tells_each_verdict_in_words(summary, checked, look, lang):
    found = summary(GRID)

    def draw(lang):
        (page,) = comparison_figures(found, lang)
        return page

    figure, texts = checked(draw, look, lang)
    for sign, verdict in zip("✓✗?–", VERDICTS, strict=True):
        assert f"{sign} {label(verdict, lang)}" in texts
    assert len(figure.axes) == 2
    for axes in figure.axes:
        assert any(list(line.get_xdata()) == [0, 0] for line in axes.lines)


@pytest.mark.parametrize(("look", "lang"), LOOKS)
def test_many_claims_stand_under_headings_on_several_pages(summary, checked, look, lang):
    found = summary(GRID, ("held out",), claims=LONG)
    pages = len(comparison_figures(found, lang))
    assert pages == 2
    told = []
    for number in range(pages):
        figure, texts = checked(
            lambda lang, k=number: comparison_figures(found, lang)[k], look, lang
        )
        low, high = sorted(figure.axes[0].get_ylim())
        assert high - low < CLAIM_ROWS + 8
        told += [" ".join(text.split()) for text in texts]
    for claim in LONG:
        heading, rest = claim.split(": ")
        assert heading in told
        assert told.count(rest) == 6
    assert sum("held out" in text for text in told) == 2 * pages


def test_a_claim_is_never_shortened(summary, readable):
    claim = "it is so, " + "because a word after a word after a word is a claim, " * 8 + "at last"
    (figure,) = comparison_figures(summary(GRID, claims=[claim]))
    texts = [" ".join(text.split()) for text in readable(figure)]
    assert f"{claim} (held out)" in texts or claim in texts


def test_a_claim_of_one_metric_leaves_the_other_panel_empty(summary):
    (figure,) = comparison_figures(summary(GRID, ("held out",), claims=["a", "b", "c"]))
    assert [len(axes.texts) for axes in figure.axes] == [2, 1]


def test_a_single_claim_has_room(summary, checked):
    found = summary(GRID, claims=["a claim that is as long as half of a line or so"])
    checked(lambda lang: comparison_figures(found, lang)[0], "paper", "en")


def test_a_forest_without_any_difference_or_comparison(summary, readable):
    found = summary(GRID)
    (figure,) = comparison_figures(replace(found, outcomes=found.outcomes[-1:]))
    readable(figure)
    with pytest.raises(ValueError, match="no comparisons"):
        comparison_figures(replace(found, outcomes=()))


@pytest.mark.parametrize("most", [5, 12, 30, 100])
def test_columns_keep_the_order_and_are_about_as_high(most):
    blocks = [Block(f"g{k}", tuple(range(n)), ("row",) * n) for k, n in enumerate((7, 3, 9, 1, 6))]
    columns = balanced(blocks, most)
    assert [block for column in columns for block in column] == blocks
    assert len(columns) <= np.ceil(total_height(blocks) / most)
    assert all(columns)


@pytest.fixture
def curves(around):
    return {
        name: {k: around(1 - slope * k, 0.01 * k) for k in range(5)}
        for name, slope in (("five streams", 0.1), ("one stream", 0.2), ("two streams", 0.15))
    }


@pytest.mark.parametrize(("look", "lang"), LOOKS)
def test_retention(curves, checked, look, lang):
    figure, texts = checked(lambda lang: retention_curve(curves, lang), look, lang)
    assert {*curves, "100%", label("missing_count", lang)} <= set(texts)
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [1, 0.9, 0.8, 0.7, 0.6])


def test_retention_over_shares_and_of_nothing(around, readable):
    texts = readable(retention_curve({"a": {0.0: around(1), 0.25: NOTHING}}, shares=True))
    assert "25%" in texts
    for nothing in ({}, {"a": {}}):
        with pytest.raises(ValueError, match="no retention"):
            retention_curve(nothing)
