"""S, softmax(S) and S' of a product, and the effect of weights from S' (paper, 4.3; notebook 09).

C cosines along an axis, M modalities (five). Lengths of `score_path` are points of a page
(viz/typeset.py); y grows downwards.
"""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scale.data.product import Product
from scale.modalities import MODALITIES
from scale.model.scores import Scores, inter_modality_scores
from scale.viz import typeset
from scale.viz.charts import frame_cell, heatmap
from scale.viz.products import thumbnail
from scale.viz.registry import Sources, figure, most_complete
from scale.viz.scores import score_colours
from scale.viz.theme import (
    MODALITY_COLOURS,
    NEGATIVE,
    POSITIVE,
    drawn,
    new_figure,
    points,
    shade,
    tint,
)
from scale.viz.tiles import Box
from scale.viz.words import LANG, Language, label

WIDTH, HEIGHT, MARGIN = 740.0, 452.0, 14.0
COUNT = len(MODALITIES)
TILE, TILES = 116.0, 76.0
"""Width and height of the tile of a modality."""
CELL, HIGH, BETWEEN, NAMES = 37.0, 29.0, 40.0, 62.0
"""Width and height of a cell; gap between matrices; width of the row names."""
TOP = 206.0
"""Top of the matrices."""


@drawn
def score_path(product: Product, scores: Scores, lang: Language = LANG) -> Figure:
    """Draw the modalities of a product and its S, softmax(S) and S'; one pair is written out.

    Args:
        scores: of a batch of this product alone. Cells of missing modalities are hatched.
    """
    figure, axes = typeset.page(WIDTH, HEIGHT)
    typeset.write(axes, MARGIN, 26, label("fig_path", lang), 14, fontweight="bold")
    step = (WIDTH - 2 * MARGIN - TILE) / (COUNT - 1)
    for k, modality in enumerate(MODALITIES):
        box = Box(MARGIN + k * step, 62, TILE, TILES)
        name = f"f{'₁₂₃₄₅'[k]}  {label(modality, lang)}"
        style = {"color": MODALITY_COLOURS[modality], "fontweight": "bold"}
        typeset.write(axes, box.x, 54, name, 12, **style)
        # Text large enough for slides.
        thumbnail(axes, product, box, lang, (modality,), text_size=10)
    present_M = np.array([m in product.present for m in MODALITIES])
    shown_MM = present_M[:, None] & present_M
    matrices = [m[0].numpy() for m in (scores.cosine_BMM, scores.softmax_BMM, scores.weighted_BMM)]
    pair = _largest_pair(matrices[0], shown_MM)
    titles = ("fig_cosine", "fig_softmax", "fig_weighted")
    looks = score_colours(matrices, shown_MM)
    for k, (matrix_MM, look, title) in enumerate(zip(matrices, looks, titles, strict=True)):
        left = MARGIN + NAMES + k * (COUNT * CELL + BETWEEN)
        typeset.write(axes, left, TOP - 26, label(title, lang), 12, fontweight="bold")
        panel = _path_matrix(axes, left, matrix_MM, shown_MM, *look)
        if pair:
            frame_cell(panel, *pair, shade(0.95), 2.4)
        if k:
            middle = TOP + COUNT * HIGH / 2
            start, end = (left - BETWEEN + 8, middle), (left - 13, middle)
            typeset.arrow(axes, start, end, shade(0.7), 1.6, 11)
    for row, modality in enumerate(MODALITIES):
        style = {"color": MODALITY_COLOURS[modality], "fontweight": "bold"}
        y = TOP + (row + 0.5) * HIGH + 4
        typeset.write(axes, MARGIN, y, label(modality, lang), 11, **style)
    _path_words(axes, matrices, pair, lang)
    return figure


def _largest_pair(cosine_MM: NDArray, shown_MM: NDArray) -> tuple[int, int] | None:
    """Return the pair i < j with the largest cosine; None if the product has one modality."""
    upper_MM = np.triu(shown_MM, 1)
    if not upper_MM.any():
        return None
    row, column = np.unravel_index(np.where(upper_MM, cosine_MM, -np.inf).argmax(), upper_MM.shape)
    return int(row), int(column)


def _path_matrix(
    axes: Axes,
    left: float,
    matrix_MM: NDArray,
    shown_MM: NDArray,
    colours: Colormap,
    norm: Normalize,
) -> Axes:
    """Draw a matrix with a bar in the modality's colour beside each row and column."""
    for k, modality in enumerate(MODALITIES):
        look = {"facecolor": MODALITY_COLOURS[modality], "edgecolor": "none"}
        typeset.box(axes, left + k * CELL + 2, TOP - 10, CELL - 4, 6, **look)
        typeset.box(axes, left - 10, TOP + k * HIGH + 2, 6, HIGH - 4, **look)
    bottom, size = 1 - (TOP + COUNT * HIGH) / HEIGHT, (COUNT * CELL / WIDTH, COUNT * HIGH / HEIGHT)
    panel = axes.figure.add_axes((left / WIDTH, bottom, *size))
    heatmap(panel, matrix_MM, colours, norm, shown_MM, square=False)
    for text in panel.texts:
        text.set_fontsize(points(11))
    return panel


def _path_words(
    axes: Axes,
    matrices: list[NDArray],
    pair: tuple[int, int] | None,
    lang: Language,
) -> None:
    """Write the calculation of the framed pair and the use of the weights."""
    y = TOP + COUNT * HIGH + 28
    if pair:
        row, column = pair
        names = {k: label(MODALITIES[m], lang) for k, m in (("first", row), ("second", column))}
        cosine, share, weight = (matrix_MM[row, column] for matrix_MM in matrices)
        numbers = {"cosine": cosine, "share": share, "weight": weight}
        look = {"facecolor": tint(shade(0.5), 0.12), "edgecolor": "none"}
        typeset.box(axes, MARGIN, y - 17, WIDTH - 2 * MARGIN, 42, **look)
        keys = ("fig_followed", "fig_followed_on")
        lines = [label(key, lang, **names, **numbers) for key in keys]
        typeset.write_lines(axes, MARGIN + 8, y, lines, 11, 17)
        y += 20
    roles = [label(key, lang) for key in ("fig_diagonal", "fig_triangle")]
    typeset.write_lines(axes, MARGIN, y + 25, roles, 10.5, 16, color=shade(0.75))


TEMPERATURE = 0.07


@figure("weight_effects")
@drawn
def weight_effects(lang: Language = LANG) -> Figure:
    """Draw S'_ii against the cosine to the others, the weighted logit, and the weighted loss.

    S'_ii is `inter_modality_scores` of features with the cosines on the axis.
    """
    figure = new_figure(10.2, 3.5, dense=True)
    own, logit, loss = figure.subplots(1, 3)
    _own_panel(own, lang)
    _logit_panel(logit, lang)
    _loss_panel(loss, lang)
    return figure


def features_of_cosine(cosine_C: torch.Tensor) -> torch.Tensor:
    """Return pooled_CMD: five unit features with pairwise cosine c (0 <= c <= 1).

    f_i = sqrt(c) e_0 + sqrt(1 - c) e_i, so f_i . f_j = c for i != j and 1 for i = j.
    """
    shared_C11 = cosine_C.sqrt()[:, None, None]
    own_CMM = torch.eye(COUNT, dtype=cosine_C.dtype) * (1 - cosine_C).sqrt()[:, None, None]
    return torch.cat([shared_C11.expand(-1, COUNT, 1), own_CMM], dim=2)


def _own_panel(axes: Axes, lang: Language) -> None:
    cosine_C = torch.linspace(0, 1, 101, dtype=torch.float64)
    pooled_CMD = features_of_cosine(cosine_C)
    curves = [("as_described", False, POSITIVE), ("as_released", True, NEGATIVE)]
    for key, row_normalise, colour in curves:
        scores = inter_modality_scores(pooled_CMD, row_normalise=row_normalise)
        own_C = scores.weighted_BMM[:, 0, 0]
        axes.plot(cosine_C, own_C, color=colour, label=label(key, lang))
        for place, shift in ((0, (4, 6)), (-1, (-2, -14))):
            style = {"ha": "left" if place == 0 else "right", "fontsize": points(8)}
            offset = {"xytext": shift, "textcoords": "offset points", "color": colour}
            value = f"{own_C[place]:.3f}"
            axes.annotate(value, (cosine_C[place], own_C[place]), **offset, **style)
    axes.set(xlabel=label("cosine_of_others", lang), ylim=(0, 1.36), xlim=(-0.02, 1.02))
    ends = label("nothing_shared", lang), label("five_agree", lang)
    axes.set_xticks([0, 0.5, 1], [f"0\n{ends[0]}", "0.5", f"1\n{ends[1]}"])
    _finish_panel(axes, "own_weight_title", lang)


def weighted_cosine(cosine_C: NDArray) -> NDArray:
    """Return S'_ij of a product of two modalities by their cosine c.

    The row of S is (1, c), so the softmax share of c is e^c / (e + e^c).
    """
    return cosine_C * np.exp(cosine_C) / (np.e + np.exp(cosine_C))


def _logit_panel(axes: Axes, lang: Language) -> None:
    cosine_C = np.linspace(-1, 1, 201)
    plain = {"color": shade(0.55), "dashes": (4, 2), "label": label("plain_logit", lang)}
    axes.plot(cosine_C, cosine_C / TEMPERATURE, **plain)
    paper = {"color": POSITIVE, "label": label("paper_logit", lang)}
    axes.plot(cosine_C, weighted_cosine(cosine_C) * cosine_C / TEMPERATURE, **paper)
    axes.axvspan(-1, 0, color=tint(NEGATIVE, 0.12), linewidth=0)
    text = {"ha": "center", "va": "center", "fontsize": points(8), "color": NEGATIVE}
    axes.text(-0.5, 10, label("turned_round", lang), **text)
    axes.set(xlabel=label("cosine_of_pair", lang), ylabel=label("weighted_logit", lang))
    axes.set(xlim=(-1, 1), ylim=(-15, 16), xticks=(-1, -0.5, 0, 0.5, 1))
    # The only corner without curves and shading.
    _finish_panel(axes, "weighted_logit_title", lang, "lower right")


def _loss_panel(axes: Axes, lang: Language) -> None:
    flowing, stopped = gradient_descent(True), gradient_descent(False)
    for key, values, colour in (
        ("gradient_stopped", stopped, POSITIVE),
        ("gradient_flowing", flowing, NEGATIVE),
    ):
        axes.plot(values["cosine"], color=colour, label=label(key, lang))
    axes.set(xlabel=label("step", lang), ylabel=label("cosine_of_pair", lang), ylim=(-0.1, 1.35))
    _finish_panel(axes, "loss_weight_title", lang)


def gradient_descent(
    flowing: bool, start: float = 0.3, steps: int = 100, rate: float = 0.05, rival: float = 0.9
) -> dict[str, list[float]]:
    """Descend w(c) L(c) for a pair of cosine c with one negative of a fixed cosine.

    L(c) = t log(1 + exp((rival - c) / t)), w(c) = max(c, 0) softmax(1, c). If the loss is large,
    the product decreases fastest by decreasing the weight, and with it the cosine.

    Args:
        flowing: whether the gradient flows through the weight.

    Returns:
        `cosine` and `weight` at each step.
    """
    cosine = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    path: dict[str, list[float]] = {"cosine": [], "weight": []}
    for _ in range(steps):
        weight = cosine.clamp(min=0) * torch.stack([torch.ones_like(cosine), cosine]).softmax(0)[1]
        loss = torch.nn.functional.softplus((rival - cosine) / TEMPERATURE) * TEMPERATURE
        path["cosine"].append(cosine.item())
        path["weight"].append(weight.item())
        product = (weight if flowing else weight.detach()) * loss
        (slope,) = torch.autograd.grad(product, cosine)
        cosine = (cosine - rate * slope).detach().clamp(-1, 1).requires_grad_()
    return path


def _finish_panel(axes: Axes, title: str, lang: Language, place: str = "upper left") -> None:
    axes.set_title(label(title, lang))
    axes.legend(loc=place, fontsize=points(7.5))


@figure("score_path")
def draw_score_path(sources: Sources, lang: Language) -> Figure:
    """Draw the most complete product of the test split."""
    run, row = sources.run, most_complete(sources.test)
    with torch.no_grad():
        output = run.model.embed(sources.test.collate([row]))
    scores = inter_modality_scores(output.pooled_BMD, output.present_BM)
    return score_path(sources.test.products[row], scores, lang)
