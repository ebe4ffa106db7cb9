"""Shapley values and added modalities: bars, lines and ratios are those given."""

from scale.evaluation.bootstrap import Estimate
from scale.modalities import MODALITIES
from scale.viz.illustrations.contributions import added_modalities, shapley_figure
from scale.viz.words import label
from tests.viz.conftest import LOOKS


def test_shapley_shows_its_shares_and_their_sum(checked, around):
    for look, lang in LOOKS:
        shares = {m: around(0.04 * (k + 1), 0.01) for k, m in enumerate(MODALITIES)}
        steps = {m: [around(0.3 / (k + 1), 0.05) for k in range(5)] for m in MODALITIES}

        figure, texts = checked(shapley_figure, look, steps, shares, (0.05, 0.65), lang)
        lines, bars = figure.axes
        assert [bar.get_width() for bar in bars.patches] == [shares[m].value for m in MODALITIES]
        assert {f"{shares[m].value:.3f}" for m in MODALITIES} <= set(texts)
        assert any("0.050" in text and "0.650" in text for text in texts)
        drawn = [list(line.get_ydata()) for line in lines.lines]
        assert [e.value for e in steps["text"]] in drawn


def test_shapley_below_zero_stays_on_the_page(readable):
    shares = {m: Estimate(-0.02, -0.06, 0.02, 9) for m in MODALITIES}
    steps = {m: [Estimate(-0.1, None, None, 1)] * 5 for m in MODALITIES}
    texts = readable(shapley_figure(steps, shares, (0.1, 0.0), trainings=7))
    assert any("7 trainings" in text for text in texts)


def test_added_modalities_show_both_curves_and_their_ratio(checked, around):
    for look, lang in LOOKS:
        trained = [around(value) for value in (0.05, 0.08, 0.10, 0.12, 0.24)]
        queried = [around(value) for value in (0.10, 0.14, 0.16, 0.20, 0.24)]
        figure, texts = checked(added_modalities, look, trained, queried, lang)
        for ratio in (2.0, 1.75, 1.6, 0.2 / 0.12):
            assert label("added_gap", lang, ratio=ratio) in texts
        (axes,) = figure.axes
        drawn = [list(line.get_ydata()) for line in axes.lines]
        assert [e.value for e in trained] in drawn
        assert [e.value for e in queried] in drawn
