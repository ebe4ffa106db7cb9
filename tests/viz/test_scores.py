import numpy as np
import pytest
from matplotlib.colors import to_hex

from scale.modalities import MODALITIES
from scale.viz.scores import score_matrices, scores_over_time
from scale.viz.theme import MODALITY_COLOURS
from scale.viz.words import label
from tests.viz.conftest import LOOKS


def matrices(present_M):
    rng = np.random.default_rng(0)
    f_MD = rng.normal(size=(5, 8))
    f_MD /= np.linalg.norm(f_MD, axis=1, keepdims=True)
    both_MM = np.outer(present_M, present_M)
    S_MM = f_MD @ f_MD.T * both_MM
    e_MM = np.exp(S_MM) * both_MM
    softmax_MM = e_MM / np.maximum(e_MM.sum(1, keepdims=True), 1e-9)
    return S_MM, softmax_MM, S_MM * softmax_MM


def numbers(texts):
    return [t for t in texts if t.replace("−", "").replace(".", "").isdigit()]


def test_every_cell_has_its_number(checked):
    for look, lang in LOOKS:
        parts = matrices(np.ones(5))
        _, texts = checked(score_matrices, look, *parts, np.ones(5, bool), lang)
        expected = [f"{v:.2f}".replace("-", "−") for m in parts for v in m.ravel()]
        assert sorted(numbers(texts)) == sorted(expected)
        assert texts.count(label("text", lang)) == 4


def test_absent_modalities_are_hatched_and_without_numbers(readable):
    for absent in [[0, 4], [0, 1, 2, 3, 4]]:
        present_M = ~np.isin(np.arange(5), absent)
        figure = score_matrices(*matrices(present_M), present_M)
        left = 5 - len(absent)
        texts = readable(figure)
        assert len(numbers(texts)) == 3 * left**2
        for axes in figure.axes:
            hatched_MM = np.ma.getmaskarray(axes.collections[0].get_array())
            np.testing.assert_array_equal(hatched_MM, ~np.outer(present_M, present_M))
        assert any(label("absent_note") in text for text in texts)


def test_nan_of_absent_modalities_is_never_written(readable):
    present_M = np.array([True, True, False, True, True])
    parts = [m.copy() for m in matrices(present_M)]
    for matrix in parts:
        matrix[2], matrix[:, 2] = np.nan, np.nan
    texts = readable(score_matrices(*parts, present_M))
    assert len(numbers(texts)) == 48


def test_wrong_shapes_are_named():
    good = np.zeros((5, 5))
    with pytest.raises(ValueError, match=r"\(4, 4\)"):
        score_matrices(good, np.zeros((4, 4)), good, np.ones(5))
    with pytest.raises(ValueError, match=r"\(3,\)"):
        score_matrices(good, good, good, np.ones(3))
    with pytest.raises(ValueError, match="steps are 3"):
        scores_over_time([1, 2, 3], np.zeros((2, 5, 5)))


def test_curves_are_at_the_places_of_the_weights(checked):
    for look, lang in LOOKS:
        steps = list(range(0, 400, 100))
        rng = np.random.default_rng(1)
        weighted_TMM = rng.uniform(-0.1, 0.4, (4, 5, 5))
        weighted_TMM[1, 0, 1] = np.nan
        figure, _ = checked(scores_over_time, look, steps, weighted_TMM, lang)
        drawn = {}
        for axes in figure.axes:
            spec = axes.get_subplotspec()
            row, column = spec.rowspan.start, spec.colspan.start
            if axes.lines:
                drawn[row, column] = axes.lines[0].get_ydata()
                colour = MODALITY_COLOURS[MODALITIES[row]].lower()
                assert to_hex(axes.lines[0].get_color()) == colour
        assert sorted(drawn) == [(i, j) for i in range(5) for j in range(i, 5)]
        for (i, j), values in drawn.items():
            np.testing.assert_array_equal(values, weighted_TMM[:, i, j])
