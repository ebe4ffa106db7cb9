"""Pictures of the masked tasks: they draw in both languages and show the numbers given."""

import numpy as np
import pytest

from scale.evaluation.bootstrap import NOTHING, Estimate
from scale.modalities import MODALITIES
from scale.viz.illustrations.masking import context_gain, copy_curve
from scale.viz.words import label
from tests.viz.conftest import LOOKS


def gains_of(modality, start=0.01):
    names = ("all", "other products", *(m for m in MODALITIES if m != modality))
    return {n: Estimate(start * k, start * k - 0.02, start * k + 0.02, 40 + k)
            for k, n in enumerate(names, start=-1)}  # fmt: skip


@pytest.mark.parametrize("shown", [("audio",), MODALITIES])
def test_gains_by_context(checked, shown):
    for look, lang in LOOKS:
        gains = {m: gains_of(m) for m in shown}
        figure, texts = checked(context_gain, look, gains, lang)
        assert label("mask_strangers", lang) in texts
        assert sum(text == label("mask_gain_axis_vectors", lang) for text in texts) == len(
            {"image", "video", "audio"} & set(shown)
        )
        for modality, axes in zip(shown, figure.axes, strict=True):
            drawn = [bar.get_width() for bar in axes.patches]
            np.testing.assert_allclose(drawn, [e.value for e in gains[modality].values()])
            assert label("mask_count", lang, n=44) in axes.get_title(loc="left")


def test_a_context_that_nobody_has_leaves_its_row_empty(readable):
    gains = {"image": gains_of("image") | {"audio": NOTHING}}
    figure = context_gain(gains)
    readable(figure)
    assert len(figure.axes[0].patches) == 6
    assert figure.axes[0].patches[-1].get_width() == 0


def test_nothing_to_draw():
    with pytest.raises(ValueError, match="no gain"):
        context_gain({"image": {}})


def test_copying_by_distance(checked):
    for look, lang in LOOKS:
        losses = {"video": np.array([0.1, 0.2, 0.4]), "audio": np.array([0.4, np.nan, 0.9])}
        figure, texts = checked(copy_curve, look, losses, {"video": 0.6, "audio": 1.1}, lang)
        assert texts.count(label("mask_mean", lang)) == 2
        for axes, loss_D, mean in zip(figure.axes, losses.values(), (0.6, 1.1), strict=True):
            curve, line = axes.lines
            np.testing.assert_array_equal(curve.get_ydata(), loss_D)
            assert list(curve.get_xdata()) == [1, 2, 3]
            assert list(line.get_ydata()) == [mean, mean]
