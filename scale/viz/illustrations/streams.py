"""Schemes of single-stream, two-stream and two-tower models and SCALE, side by side (notebook 03).

All lengths are points of a page (viz/typeset.py); y grows downwards. MM: reading modality (row),
read modality (column).
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from scale.modalities import INDEX, MODALITIES
from scale.studies.systems.fusion import LANGUAGE, PERCEPTION
from scale.viz import typeset
from scale.viz.theme import MODALITY_COLOURS, drawn, points, shade, tint
from scale.viz.words import Language, label

COUNT = len(MODALITIES)
STEP, PANEL, GAP, MARGIN = 36.0, 190.0, 18.0, 16.0
"""Between modalities; width of a scheme; between schemes; around the page."""
LAYER, BETWEEN, TOP = 78.0, 40.0, 58.0
"""Height of a layer; between the two of a scheme; where the first loss stands."""
PILL = 20.0


@dataclass(frozen=True)
class SchemeLayer:
    """One of the two layers that a scheme shows."""

    key: str
    """Label of its boxes."""
    groups: tuple[tuple[str, ...], ...]
    """Modalities that share a Transformer: a box each."""
    reads_MM: np.ndarray
    """True where the tokens of a modality (row) read those of another (column)."""


@dataclass(frozen=True)
class Scheme:
    """One way for modalities to meet."""

    key: str
    below: tuple[str, ...]
    """Labels of the two lines of examples."""
    first: SchemeLayer
    second: SchemeLayer
    loss: str
    """Label of what stands above the last layer."""
    between: str = ""
    """Label of a loss between the two layers."""


def schemes() -> tuple[Scheme, ...]:
    """Single-stream, two-stream, two-tower, SCALE; the lines are those that `Reach` measures."""
    together, sides = (MODALITIES,), (LANGUAGE, PERCEPTION)
    alone = tuple((m,) for m in MODALITIES)
    side_MM = _inside(sides)
    shared = SchemeLayer("stream_layer", together, _inside(together))
    cross = SchemeLayer("stream_cross", sides, ~side_MM | np.eye(COUNT, dtype=bool))
    own = SchemeLayer("stream_own", sides, side_MM)
    tower = SchemeLayer("stream_tower", alone, _inside(alone))
    encoder = SchemeLayer("stream_encoder", alone, _inside(alone))
    jct = SchemeLayer("stream_jct", together, _inside(together))
    like = "stream_single_like", "stream_single_more"
    masked = "stream_masked_match"
    return (
        Scheme("stream_single", like, shared, shared, masked),
        Scheme("stream_two", ("stream_two_like",), cross, own, masked),
        Scheme(
            "stream_towers", ("stream_towers_like", "stream_towers_more"), tower, tower,
            "stream_contrast",
        ),
        Scheme(
            "stream_scale", ("stream_scale_like", "stream_scale_more"), encoder, jct,
            "stream_masked", "stream_ten_contrast",
        ),
    )  # fmt: skip


@drawn
def streams(lang: Language = "en") -> Figure:
    """The four schemes: tokens below, two layers, the losses above.

    In a layer a line joins two modalities where the upper one's tokens read the lower one's.
    """
    found = schemes()
    width = 2 * MARGIN + len(found) * PANEL + (len(found) - 1) * GAP
    height = TOP + PILL + 2 * LAYER + 2 * BETWEEN + 56
    figure, axes = typeset.page(width, height)
    for k, scheme in enumerate(found):
        _draw_scheme(axes, MARGIN + k * (PANEL + GAP), scheme, lang)
    grey = {"color": shade(0.7)}
    typeset.write(axes, MARGIN, height - 10, label("stream_note", lang), 8, **grey)
    return figure


def _draw_scheme(axes: Axes, left: float, scheme: Scheme, lang: Language) -> None:
    typeset.write(axes, left, 18, label(scheme.key, lang), 12, fontweight="bold")
    for line, key in enumerate(scheme.below):
        typeset.write(axes, left, 31 + 11 * line, label(key, lang), 8, color=shade(0.7))
    second = TOP + PILL + 0.5 * BETWEEN
    first = second + LAYER + BETWEEN
    tokens = first + LAYER + 0.5 * BETWEEN
    for top, layer in ((second, scheme.second), (first, scheme.first)):
        _draw_layer(axes, left, top, layer, lang)
    for k, modality in enumerate(MODALITIES):
        x, colour = left + (k + 0.5) * STEP + 5, MODALITY_COLOURS[modality]
        for start, end in ((tokens, first + LAYER), (first, second + LAYER), (second, TOP + PILL)):
            _arrow(axes, x, start, end)
        for place in (-9, -3, 3):
            typeset.box(axes, x + place, tokens, 6, 8, facecolor=colour, edgecolor=shade(0.0))
        style = {"ha": "center", "color": colour, "fontweight": "bold"}
        typeset.write(axes, x, tokens + 20, label(modality, lang), 8, **style)
    _pill(axes, left, TOP, label(scheme.loss, lang))
    if scheme.between:
        _pill(axes, left, first - 0.5 * (BETWEEN + PILL), label(scheme.between, lang))


def _draw_layer(axes: Axes, left: float, top: float, layer: SchemeLayer, lang: Language) -> None:
    """Boxes of the groups, and lines from the tokens that are read to those that read."""
    for group in layer.groups:
        low, high = INDEX[group[0]], INDEX[group[-1]] + 1
        single = len(group) == 1
        colour = MODALITY_COLOURS[group[0]] if single else shade(0.55)
        look = {"facecolor": tint(colour, 0.10), "edgecolor": colour, "linewidth": points(1.0)}
        x, width = left + low * STEP + 7, (high - low) * STEP - 4
        _rounded(axes, x, top, width, LAYER, **look)
        size = 7.5 if typeset.text_width(label(layer.key, lang), 7.5) <= width - 2 else 6.5
        style = {"ha": "center", "color": shade(0.85)}
        typeset.write(axes, x + width / 2, top + 12, label(layer.key, lang), size, **style)
    x_M = left + (np.arange(COUNT) + 0.5) * STEP + 5
    above, below = top + 24, top + LAYER - 8
    for row, column in zip(*np.nonzero(layer.reads_MM), strict=True):
        colour = MODALITY_COLOURS[MODALITIES[column]]
        ends = (x_M[column], x_M[row]), (below, above)
        axes.plot(*ends, color=colour, linewidth=points(1.1), zorder=2)
    for y in (above, below):
        for x, modality in zip(x_M, MODALITIES, strict=True):
            look = {"color": MODALITY_COLOURS[modality], "ms": points(5), "zorder": 3}
            axes.plot(x, y, "o", markeredgecolor=shade(0.0), **look)


def _inside(groups: tuple[tuple[str, ...], ...]) -> np.ndarray:
    """reads_MM where modalities read those of their own group."""
    of = {m: k for k, group in enumerate(groups) for m in group}
    group_M = np.array([of[m] for m in MODALITIES])
    return group_M[:, None] == group_M


def _pill(axes: Axes, left: float, top: float, text: str) -> None:
    look = {"facecolor": shade(0.0), "edgecolor": shade(0.75), "linewidth": points(1.0)}
    _rounded(axes, left + 7, top, PANEL - 14, PILL, zorder=4, **look)
    typeset.write(
        axes, left + PANEL / 2, top + 13.5, text, 8.5, ha="center", fontweight="bold", zorder=5
    )


def _rounded(axes: Axes, x: float, y: float, width: float, height: float, **look) -> None:
    shape = FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=4", **look)
    axes.add_patch(shape)


def _arrow(axes: Axes, x: float, start: float, end: float) -> None:
    style = {"arrowstyle": "-|>", "color": shade(0.6), "linewidth": points(0.9)}
    style |= {"mutation_scale": points(7), "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (x, end), (x, start), arrowprops=style, zorder=1)
