"""From a product to its weights: five modalities, S, softmax(S), S', one pair followed through.

M modalities (five). All lengths are points of a page (viz/typeset.py); y grows downwards.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scale.data.product import Product
from scale.modalities import MODALITIES, SPECS
from scale.model.scores import Scores
from scale.viz import tiles, typeset
from scale.viz.products import thumbnail
from scale.viz.theme import (
    MODALITY_COLOURS,
    diverging,
    drawn,
    points,
    sequential,
    shade,
    text_on,
    tint,
)
from scale.viz.tiles import Box
from scale.viz.words import Language, label

WIDTH, HEIGHT, MARGIN = 740.0, 452.0, 14.0
COUNT = len(MODALITIES)
TILE, TILES = 116.0, 76.0
"""Width and height of a modality's tile."""
CELL, HIGH, BETWEEN, NAMES = 37.0, 29.0, 40.0, 62.0
"""Width and height of a cell; between two matrices; width of the rows' names."""
TOP = 206.0
"""Where the matrices begin."""


@drawn
def score_path(product: Product, scores: Scores, lang: Language = "en") -> Figure:
    """The product's modalities, and below how its weights come about.

    Args:
        scores: of a batch of this product alone. A modality that it lacks is hatched.
    """
    figure, axes = typeset.page(WIDTH, HEIGHT)
    typeset.write(axes, MARGIN, 26, label("fig_path", lang), 14, fontweight="bold")
    step = (WIDTH - 2 * MARGIN - TILE) / (COUNT - 1)
    for k, modality in enumerate(MODALITIES):
        box = Box(MARGIN + k * step, 62, TILE, TILES)
        name = f"f{'₁₂₃₄₅'[k]}  {label(modality, lang)}"
        style = {"color": MODALITY_COLOURS[modality], "fontweight": "bold"}
        typeset.write(axes, box.x, 54, name, 12, **style)
        _tile(axes, product, modality, box, lang)
    present_M = np.array([m in product.present for m in MODALITIES])
    shown_MM = present_M[:, None] & present_M
    matrices = [m[0].numpy() for m in (scores.cosine_BMM, scores.softmax_BMM, scores.weighted_BMM)]
    pair = _pair(matrices[0], shown_MM)
    most = [1.0, *(max(float(np.abs(m[shown_MM]).max(initial=0.0)), 1e-6) for m in matrices[1:])]
    looks = (
        (diverging(), Normalize(-1, 1)),
        (sequential(), Normalize(0, most[1])),
        (diverging(), Normalize(-most[2], most[2])),
    )
    for k, (matrix_MM, look) in enumerate(zip(matrices, looks, strict=True)):
        left = MARGIN + NAMES + k * (COUNT * CELL + BETWEEN)
        title = label(("fig_cosine", "fig_softmax", "fig_weighted")[k], lang)
        typeset.write(axes, left, TOP - 26, title, 12, fontweight="bold")
        _matrix(axes, left, matrix_MM, shown_MM, *look)
        if pair:
            _frame(axes, left, *pair, shade(0.95), 2.4)
        if k:
            middle = TOP + COUNT * HIGH / 2
            _arrow(axes, (left - BETWEEN + 8, middle), (left - 13, middle))
    for row, modality in enumerate(MODALITIES):
        style = {"color": MODALITY_COLOURS[modality], "fontweight": "bold"}
        y = TOP + (row + 0.5) * HIGH + 4
        typeset.write(axes, MARGIN, y, label(modality, lang), 11, **style)
    _words(axes, matrices, pair, shown_MM, lang)
    return figure


def _tile(axes: Axes, product: Product, modality: str, box: Box, lang: Language) -> None:
    """A modality of the product; its words in a size that a room can read."""
    content = getattr(product, modality)
    if SPECS[modality].kind == "continuous" or content is None:
        thumbnail(axes, product, box, lang, (modality,))
        return
    text = content if modality == "text" else "; ".join(f"{a}: {v}" for a, v in content)
    colour = MODALITY_COLOURS[modality]
    typeset.box(axes, *box, facecolor=tint(colour, 0.1), edgecolor=tint(colour, 0.6))
    inner = Box(box.x + 5, box.y + 3, box.width - 8, box.height - 6)
    tiles.draw_text(axes, text, inner, lang, size=10)


def _pair(cosine_MM: NDArray, shown_MM: NDArray) -> tuple[int, int] | None:
    """The pair i < j of the largest cosine; None where the product has one modality."""
    upper_MM = np.triu(shown_MM, 1)
    if not upper_MM.any():
        return None
    row, column = np.unravel_index(np.where(upper_MM, cosine_MM, -np.inf).argmax(), upper_MM.shape)
    return int(row), int(column)


def _matrix(
    axes: Axes,
    left: float,
    matrix_MM: NDArray,
    shown_MM: NDArray,
    colours: Colormap,
    norm: Normalize,
) -> None:
    """Numbers in coloured cells; a bar in the modality's colour above each column and each row."""
    for k, modality in enumerate(MODALITIES):
        look = {"facecolor": MODALITY_COLOURS[modality], "edgecolor": "none"}
        typeset.box(axes, left + k * CELL + 2, TOP - 10, CELL - 4, 6, **look)
        typeset.box(axes, left - 10, TOP + k * HIGH + 2, 6, HIGH - 4, **look)
    for (row, column), value in np.ndenumerate(matrix_MM):
        corner = left + column * CELL, TOP + row * HIGH
        if not shown_MM[row, column]:
            look = {"facecolor": shade(0.05), "edgecolor": shade(0.25), "hatch": "////"}
            typeset.box(axes, *corner, CELL, HIGH, **look)
            continue
        colour = colours(norm(value))[:3]
        typeset.box(axes, *corner, CELL, HIGH, facecolor=colour, edgecolor=shade(0.0))
        style = {"ha": "center", "color": text_on(colour)}
        text = f"{value:.2f}".replace("-", "−")
        typeset.write(axes, corner[0] + CELL / 2, corner[1] + HIGH / 2 + 4, text, 11, **style)


def _frame(axes: Axes, left: float, row: int, column: int, colour: str, width: float) -> None:
    corner = left + column * CELL + 1.2, TOP + row * HIGH + 1.2
    look = {"edgecolor": colour, "linewidth": points(width), "zorder": 3}
    typeset.box(axes, *corner, CELL - 2.4, HIGH - 2.4, **look)


def _words(
    axes: Axes,
    matrices: list[NDArray],
    pair: tuple[int, int] | None,
    shown_MM: NDArray,
    lang: Language,
) -> None:
    """The framed pair in numbers, and what the weights are for."""
    y = TOP + COUNT * HIGH + 28
    if pair:
        row, column = pair
        names = {k: label(MODALITIES[m], lang) for k, m in (("first", row), ("second", column))}
        cosine, share, weight = (matrix_MM[row, column] for matrix_MM in matrices)
        others = matrices[0][row][shown_MM[row]]
        terms = " + ".join(f"e^{value:.2f}".replace("-", "−") for value in others)
        numbers = {"cosine": cosine, "share": share, "weight": weight, "terms": terms}
        look = {"facecolor": tint(shade(0.5), 0.12), "edgecolor": "none"}
        typeset.box(axes, MARGIN, y - 17, WIDTH - 2 * MARGIN, 42, **look)
        for number, key in enumerate(("fig_followed", "fig_followed_on")):
            text = label(key, lang, **names, **numbers)
            typeset.write(axes, MARGIN + 8, y + 17 * number, text, 11)
        y += 20
    for number, key in enumerate(("fig_diagonal", "fig_triangle")):
        typeset.write(axes, MARGIN, y + 25 + 16 * number, label(key, lang), 10.5, color=shade(0.75))


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>", "color": shade(0.7), "linewidth": points(1.6)}
    style |= {"mutation_scale": points(11), "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=style)
