"""The total loss as a matrix: five masked losses on the diagonal, ten contrastive ones above it.

P pairs of modalities (ten), M modalities (five). All lengths are points of a page
(viz/typeset.py); y grows downwards.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from numpy.typing import NDArray

from scale.modalities import MODALITIES, PAIRS, SPECS
from scale.viz import typeset
from scale.viz.theme import MODALITY_COLOURS, drawn, points, shade, tint
from scale.viz.tiles import Box
from scale.viz.words import Language, label

WIDTH, HEIGHT, MARGIN = 740.0, 446.0, 14.0
NAMES, CELL, HIGH, TOP = 62.0, 86.0, 58.0, 112.0
COUNT = len(MODALITIES)
FORMULA = r"$L=\sum_{i<j}\,S^{\prime}_{ij}\,L_{CL}(i,j)\;+\;\sum_{i}\,S^{\prime}_{ii}\,L_{M_i}$"


@dataclass(frozen=True)
class LossTerms:
    """The losses of one batch."""

    pair_P: NDArray
    """InfoNCE of each pair without a weight, in the order of PAIRS; NaN where nobody has both."""
    masked: Mapping[str, float]
    """By pretext task, without a weight; a task that is off is absent."""
    weight_MM: NDArray
    """Mean S' over the products that have both modalities."""
    contrastive: float | None
    """As the run sums and weighs it; None where the task is off."""
    masked_sum: float
    """The masked losses, likewise."""
    products: int
    """Of the batch."""
    weighted: bool
    """Whether the run multiplies by S'."""


@drawn
def total_loss(terms: LossTerms, lang: Language = "en") -> Figure:
    """Each loss with its mean weight, in the place of S' that weighs it; right, the sums."""
    figure, axes = typeset.page(WIDTH, HEIGHT)
    typeset.write(axes, MARGIN, 26, label("fig_total", lang), 14, fontweight="bold")
    typeset.write(axes, MARGIN, 62, FORMULA, 16, parse_math=True)
    for k, modality in enumerate(MODALITIES):
        style = {"color": MODALITY_COLOURS[modality], "fontweight": "bold"}
        name, left = label(modality, lang), MARGIN + NAMES + k * CELL
        typeset.write(axes, left + CELL / 2, TOP - 8, name, 12, ha="center", **style)
        typeset.write(axes, MARGIN, TOP + (k + 0.5) * HIGH + 4, name, 12, **style)
        loss = terms.masked.get(SPECS[modality].task)
        box = Box(left, TOP + k * HIGH, CELL, HIGH)
        colour = MODALITY_COLOURS[modality]
        typeset.box(axes, *box, facecolor=tint(colour, 0.3), edgecolor=colour)
        _cell(axes, box, SPECS[modality].task, loss, terms.weight_MM[k, k], lang)
    for number, (i, j) in enumerate(PAIRS):
        box = Box(MARGIN + NAMES + j * CELL, TOP + i * HIGH, CELL, HIGH)
        _two_colours(axes, box, MODALITIES[i], MODALITIES[j])
        loss = float(terms.pair_P[number]) if terms.contrastive is not None else None
        _cell(axes, box, label("fig_pair", lang), loss, terms.weight_MM[i, j], lang)
    _sums(axes, Box(MARGIN + NAMES + COUNT * CELL + 20, TOP, 200, COUNT * HIGH), terms, lang)
    note = label("fig_total_note", lang, n=terms.products)
    typeset.write(axes, MARGIN, HEIGHT - 12, note, 10, color=shade(0.75))
    return figure


def _cell(
    axes: Axes, box: Box, name: str, loss: float | None, weight: float, lang: Language
) -> None:
    middle = box.x + box.width / 2
    off = loss is None or np.isnan(loss)
    value = label("fig_off", lang) if off else f"{loss:.2f}"
    typeset.write(axes, middle, box.y + 16, name, 10, ha="center", color=shade(0.8))
    typeset.write(axes, middle, box.y + 33, value, 12.5, ha="center", fontweight="bold")
    if not off and np.isfinite(weight):
        text = f"S′ {weight:.2f}".replace("-", "−")
        typeset.write(axes, middle, box.y + 49, text, 10, ha="center", color=shade(0.8))


def _two_colours(axes: Axes, box: Box, first: str, second: str) -> None:
    """A box of two halves, one in each modality's colour."""
    x, y, right, below = box.x, box.y, box.x + box.width, box.y + box.height
    halves = (
        (first, [(x, y), (right, y), (x, below)]),
        (second, [(right, y), (right, below), (x, below)]),
    )
    for modality, corners in halves:
        colour = tint(MODALITY_COLOURS[modality], 0.13)
        axes.add_patch(Polygon(corners, facecolor=colour, edgecolor="none"))
    typeset.box(axes, *box, edgecolor=shade(0.45))


def _sums(axes: Axes, box: Box, terms: LossTerms, lang: Language) -> None:
    """The two sums and the total, and whether this run weighs."""
    contrastive = terms.contrastive
    rows = [
        ("fig_sum_pairs", label("fig_off", lang) if contrastive is None else f"{contrastive:.2f}"),
        ("fig_sum_masked", f"{terms.masked_sum:.2f}"),
        ("fig_sum_total", f"{(contrastive or 0.0) + terms.masked_sum:.2f}"),
    ]
    y = box.y + 18
    for number, (key, value) in enumerate(rows):
        last = number == len(rows) - 1
        if last:
            line = {"color": shade(0.6), "lw": points(1.2)}
            axes.plot([box.x, box.x + box.width], [y - 16, y - 16], **line)
        for line in typeset.wrap(label(key, lang), box.width, 11, 2):
            typeset.write(axes, box.x, y, line, 11)
            y += 15
        typeset.write(axes, box.x, y + 8, value, 18, fontweight="bold")
        y += 40
    key = "fig_weighs" if terms.weighted else "fig_uniform"
    for line in typeset.wrap(label(key, lang), box.width, 10.5, 7):
        typeset.write(axes, box.x, y, line, 10.5, color=shade(0.8))
        y += 15
