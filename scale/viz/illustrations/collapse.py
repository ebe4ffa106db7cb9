"""Collapse, shown happening: two small encoders that are only pulled, or pulled and pushed.

T steps and the start, N products, D = 2.
"""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from scale.training.diagnostics import COLLAPSED, mean_cosine
from scale.viz.illustrations.contrast import Walk, as_products, train_towers
from scale.viz.theme import (
    MODALITY_COLOURS,
    NEGATIVE,
    POSITIVE,
    drawn,
    new_figure,
    points,
    shade,
)
from scale.viz.words import Language, label

STEPS = (0, 10, 40, 200)
ROWS = (("contrast_pull_only", False, NEGATIVE), ("contrast_pull_push", True, POSITIVE))


@drawn
def collapse(lang: Language = "en", walks: tuple[Walk, Walk] | None = None) -> Figure:
    """Above without negatives, below with them: the points at four steps, and the mean cosine.

    Args:
        walks: trainings without and with the push, of at least 200 steps; made where not given.
    """
    walks = walks or tuple(train_towers(push, max(STEPS)) for _, push, _ in ROWS)
    figure = new_figure(10.2, 4.1)
    grid = figure.add_gridspec(2, len(STEPS) + 1, width_ratios=[1, 1, 1, 1, 1.9])
    for row, (walk, (key, _, colour)) in enumerate(zip(walks, ROWS, strict=True)):
        for column, step in enumerate(STEPS):
            axes = figure.add_subplot(grid[row, column])
            _cloud(axes, walk, step)
            if not row:
                title = label("contrast_step", lang, step=step)
                axes.set_title(title, loc="center", fontweight="normal", fontsize=points(8.5))
            if not column:
                style = {"rotation": 90, "ha": "center", "va": "center", "fontweight": "bold"}
                axes.text(-1.42, 0, label(key, lang), color=colour, fontsize=points(9), **style)
    _curves(figure.add_subplot(grid[:, -1]), walks, lang)
    return figure


def mean_cosines(walk: Walk) -> list[float]:
    """Mean cosine between different products at each step, mean of both modalities."""
    seen = zip(walk.text_TBD, walk.image_TBD, strict=True)
    return [sum(mean_cosine(*as_products(*pair)).values()) / 2 for pair in seen]


def _cloud(axes: Axes, walk: Walk, step: int) -> None:
    circle = Circle((0, 0), 1, facecolor="none", edgecolor=shade(0.2), linewidth=points(1))
    axes.add_patch(circle)
    for radius, points_N2, marker, modality in (
        (0.9, walk.text_TBD[step], "o", "text"),
        (1.1, walk.image_TBD[step], "s", "image"),
    ):
        x_N, y_N = (radius * points_N2).T.tolist()
        look = {"color": MODALITY_COLOURS[modality], "markersize": points(2.6), "alpha": 0.75}
        axes.plot(x_N, y_N, marker, **look, markeredgewidth=0)
    axes.set(xlim=(-1.25, 1.25), ylim=(-1.25, 1.25), aspect="equal")
    axes.set_axis_off()


def _curves(axes: Axes, walks: tuple[Walk, Walk], lang: Language) -> None:
    for walk, (key, _, colour) in zip(walks, ROWS, strict=True):
        axes.plot(mean_cosines(walk), color=colour, label=label(key, lang))
    axes.axhline(COLLAPSED, color=shade(0.5), linewidth=points(1), linestyle=(0, (3, 2)))
    text = label("contrast_warns", lang, value=COLLAPSED)
    style = {"fontsize": points(7.5), "color": shade(0.7), "ha": "right", "va": "bottom"}
    axes.text(1, COLLAPSED + 0.02, text, transform=axes.get_yaxis_transform(), **style)
    axes.set(ylim=(-0.1, 1.16), xlabel=label("step", lang))
    axes.set_title(label("contrast_mean_cosine", lang))
    axes.legend(loc="center right", fontsize=points(8))
