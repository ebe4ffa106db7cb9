"""Figures of inter-modality scores (paper, section 4.3).

M modalities (five, in the order of MODALITIES along rows and columns), T logged steps.
"""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from scale.config import require
from scale.data.dataset import ProductDataset
from scale.modalities import MODALITIES, PAIRS
from scale.model.scores import inter_modality_scores
from scale.training.logging import read_score_means
from scale.training.run import TrainedRun
from scale.viz.charts import frame_cell, heatmap, modality_ticks, note_below
from scale.viz.registry import Sources, figure, most_complete
from scale.viz.theme import (
    MODALITY_COLOURS,
    diverging,
    drawn,
    new_figure,
    points,
    sequential,
    shade,
)
from scale.viz.words import LANG, Language, label

COUNT = len(MODALITIES)


@drawn
def score_matrices(
    S_MM: ArrayLike,
    softmax_MM: ArrayLike,
    weighted_MM: ArrayLike,
    present_M: ArrayLike,
    lang: Language = LANG,
) -> Figure:
    """Draw S, softmax(S) and S' = S * softmax(S) side by side, with a number in each cell.

    Rows and columns of missing modalities are hatched and carry no number. Frames in S' mark the
    weights of the masked losses (diagonal) and of the contrastive losses (upper triangle). Raises
    ValueError for shapes other than (5, 5) and (5,).
    """
    present_M = np.asarray(present_M, dtype=bool)
    matrices = [np.asarray(matrix, dtype=float) for matrix in (S_MM, softmax_MM, weighted_MM)]
    shapes = [matrix.shape for matrix in matrices]
    if shapes != [(COUNT, COUNT)] * 3 or present_M.shape != (COUNT,):
        raise ValueError(f"scores are {shapes}, present is {present_M.shape}; expected 5 x 5 and 5")
    shown_MM = present_M[:, None] & present_M[None, :]
    looks = score_colours(matrices, shown_MM)
    figure = new_figure(9.8, 3.95)
    columns = figure.subplots(1, 3)
    titles = ("scores", "softmax", "weighted")
    for axes, matrix_MM, look, title in zip(columns, matrices, looks, titles, strict=True):
        heatmap(axes, matrix_MM, *look, shown_MM)
        modality_ticks(axes, lang)
        axes.set_title(label(title, lang), loc="center", pad=points(22))
    for axes in columns[1:]:
        axes.set_yticklabels([])
    frame_roles(columns[2], present_M)
    notes = [label("score_roles", lang)]
    if not present_M.all():
        notes.append(label("absent_note", lang))
    note_below(figure, *notes)
    return figure


def score_colours(
    matrices: Sequence[np.ndarray], shown_MM: np.ndarray
) -> list[tuple[Colormap, Normalize]]:
    """Return the colours of S, softmax(S) and S'; the last two up to their largest shown value."""
    _, share, weight = (max(np.abs(m[shown_MM]).max(initial=0.0), 1e-6) for m in matrices)
    return [
        (diverging(), Normalize(-1, 1)),
        (sequential(), Normalize(0, share)),
        (diverging(), Normalize(-weight, weight)),
    ]


def frame_roles(axes: Axes, present_M: np.ndarray) -> None:
    """Frame the weights of the losses: each cell of the diagonal, and the upper triangle."""
    for i in np.flatnonzero(present_M):
        colour = MODALITY_COLOURS[MODALITIES[i]]
        # A margin in the colour of the page separates the frame from a cell of similar colour.
        frame_cell(axes, i, i, shade(0.0), 5.0)
        frame_cell(axes, i, i, colour, 2.6)
    # Outline of the upper triangle, from the top left corner of the first pair.
    x = [*np.repeat(np.arange(1, COUNT + 1), 2), 1]
    y = [0, *np.repeat(np.arange(1, COUNT), 2), 0, 0]
    axes.plot(x, y, color=shade(0.85), linewidth=points(1.6), clip_on=False)


@drawn
def scores_over_time(
    steps: Sequence[int], mean_weighted_TMM: ArrayLike, lang: Language = LANG
) -> Figure:
    """Draw S' (batch mean) during training, one curve per weight.

    The grid is that of the matrix: five curves on the diagonal, ten pairs in the upper triangle,
    all on one scale. Values that are not finite leave a gap. Raises ValueError for a shape other
    than (len(steps), 5, 5).
    """
    weighted_TMM = np.asarray(mean_weighted_TMM, dtype=float)
    if weighted_TMM.shape != (len(steps), COUNT, COUNT):
        raise ValueError(f"weights are {weighted_TMM.shape}, steps are {len(steps)}")
    figure = new_figure(9.0, 5.6, dense=True)
    grid = figure.subplots(COUNT, COUNT, sharex=True, sharey=True)
    finite = weighted_TMM[np.isfinite(weighted_TMM)]
    low, high = min(finite.min(initial=0.0), 0.0), max(finite.max(initial=0.0), 1e-6)
    grid[0, 0].set_ylim(low - 0.08 * (high - low), high + 0.35 * (high - low))
    for i, j in [*((m, m) for m in range(COUNT)), *PAIRS]:
        _weight_curve(grid[i, j], steps, weighted_TMM[:, i, j], i, j)
    for i, modality in enumerate(MODALITIES):
        name, colour = label(modality, lang), MODALITY_COLOURS[modality]
        grid[0, i].set_title(name, loc="center", color=colour)
        # Chinese characters are not turned.
        turn = {"rotation": 270} if lang == "en" else {"rotation": 0, "va": "center"}
        grid[i, -1].set_ylabel(name, color=colour, fontweight="bold", **turn)
        grid[i, -1].yaxis.set_label_coords(1.12, 0.5)
        grid[i, i].tick_params(labelleft=True, labelbottom=True)
        for j in range(i):
            grid[i, j].set_axis_off()
    grid[-1, -1].set_xlabel(label("step", lang))
    notes = "\n".join(label(key, lang) for key in ("diagonal_note", "pair_note", "last_note"))
    place = {"transform": figure.transFigure, "va": "bottom", "color": shade(0.7)}
    note = grid[-1, 0].text(0.02, 0.04, notes, **place, fontsize=points(9), linespacing=1.6)
    note.set_in_layout(False)
    figure.suptitle(label("scores_over_time", lang), x=0.01, ha="left")
    return figure


def _weight_curve(axes: Axes, steps: Sequence[int], weight_T: np.ndarray, i: int, j: int) -> None:
    """Draw a line in the colours of both modalities, and write its last value."""
    first, second = MODALITY_COLOURS[MODALITIES[i]], MODALITY_COLOURS[MODALITIES[j]]
    axes.plot(steps, weight_T, color=first)
    if i != j:
        axes.plot(steps, weight_T, color=second, dashes=(3, 3))
    finite_T = weight_T[np.isfinite(weight_T)]
    text = f"{finite_T[-1]:.2f}".replace("-", "−") if len(finite_T) else "–"
    corner = {"transform": axes.transAxes, "ha": "right", "va": "top"}
    axes.text(0.98, 0.98, text, **corner, fontsize=points(8), color=shade(0.8))


def draw_scores(run: TrainedRun, data: ProductDataset, row: int, lang: Language = LANG) -> Figure:
    """Draw S, softmax(S) and S' of one product."""
    with torch.no_grad():
        output = run.model.embed(data.collate([row]))
    scores = inter_modality_scores(output.pooled_BMD, output.present_BM)
    return score_matrices(
        scores.cosine_BMM[0].numpy(),
        scores.softmax_BMM[0].numpy(),
        scores.weighted_BMM[0].numpy(),
        output.present_BM[0].numpy(),
        lang,
    )


def draw_scores_over_time(run: TrainedRun, lang: Language = LANG) -> Figure:
    """Draw the mean S' during training, from the run's scores.parquet.

    Raises ValueError if the run logged no scores.
    """
    step_T, mean_TMM = read_score_means(run.folder.folder)
    require(len(step_T) > 0, f"{run.folder.folder}: no logged scores")
    return scores_over_time(step_T.tolist(), mean_TMM, lang)


@figure("scores")
def draw_product_scores(sources: Sources, lang: Language) -> Figure:
    """Draw the scores of the most complete product of the test split."""
    return draw_scores(sources.run, sources.test, most_complete(sources.test), lang)


@figure("scores_over_time")
def draw_run_scores(sources: Sources, lang: Language) -> Figure:
    """Draw the mean S' of the run."""
    return draw_scores_over_time(sources.run, lang)
