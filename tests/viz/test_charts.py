"""Heat maps and intervals show the numbers that they are given."""

import numpy as np
from matplotlib.colors import Normalize, to_rgb
from matplotlib.container import ErrorbarContainer

from scale.evaluation.bootstrap import NOTHING, Estimate
from scale.viz.charts import heatmap, intervals
from scale.viz.theme import diverging, drawn, new_figure, use_style


@drawn
def heat_figure(values_RC, **options):
    figure = new_figure(3, 2)
    heatmap(figure.subplots(), values_RC, diverging(), Normalize(-1, 1), **options)
    return figure


def test_numbers_and_colours_of_a_heat_map_are_those_of_the_matrix(readable):
    values_RC = np.array([[0.1, -0.25, 1.0], [np.nan, 0.5, -1.0]])
    figure = heat_figure(values_RC)
    (axes,) = figure.axes
    written = {t.get_position(): t.get_text() for t in axes.texts}
    assert written == {
        (0.5, 0.5): "0.10", (1.5, 0.5): "−0.25", (2.5, 0.5): "1.00",
        (1.5, 1.5): "0.50", (2.5, 1.5): "−1.00",
    }  # fmt: skip
    mesh = axes.collections[0]
    np.testing.assert_array_equal(np.ma.getmaskarray(mesh.get_array()), np.isnan(values_RC))
    with use_style("paper"):
        expected = diverging()(Normalize(-1, 1)(values_RC[0, 1]))
    np.testing.assert_allclose(mesh.get_facecolors()[1], expected)
    # Row 0 is at the top.
    assert axes.get_ylim() == (2, 0)
    readable(figure)


def test_numbers_contrast_with_their_cells():
    texts = heat_figure(np.array([[0.0, 1.0]])).axes[0].texts
    light, dark = (sum(to_rgb(t.get_color())) for t in texts)
    assert light < 1
    assert dark == 3


def test_hidden_cells_carry_no_number():
    shown_RC = np.array([[True, False], [False, True]])
    assert len(heat_figure(np.eye(2), shown_RC=shown_RC).axes[0].texts) == 2
    assert not heat_figure(np.eye(2), digits=None).axes[0].texts


def test_stored_intervals_are_drawn_as_they_are():
    axes = new_figure(3, 2).subplots()
    found = [Estimate(0.5, 0.2, 0.6, 9), Estimate(0.3, None, None, 1), NOTHING]
    for flat, dimension in ((False, 1), (True, 0)):
        axes.clear()
        intervals(axes, [0, 1, 2], found, flat)
        (bars,) = (c for c in axes.containers if isinstance(c, ErrorbarContainer))
        segments = [s[:, dimension] for s in bars[2][0].get_segments() if len(s)]
        np.testing.assert_allclose(segments[:2], [[0.2, 0.6], [0.3, 0.3]])
