"""The terms of the loss, and runs that do not learn (notebook 10).

M modalities (five), P pairs of modalities (ten), T steps. Lengths of pages are points
(viz/typeset.py); y grows downwards.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from numpy.typing import ArrayLike, NDArray

from scale.config import LossConfig
from scale.data.dataset import ProductDataset
from scale.losses.masking import MaskedBatch, WordPieces, mask_batch
from scale.losses.total import scale_loss
from scale.losses.weighting import loss_weights
from scale.modalities import MODALITIES, PAIRS, SPECS
from scale.model.scale import ScaleOutput
from scale.studies.failure_modes import complete_products, failure_curves
from scale.training.run import TrainedRun
from scale.viz import typeset
from scale.viz.registry import Sources, figure, shared
from scale.viz.theme import (
    MODALITY_COLOURS,
    category_colours,
    drawn,
    new_figure,
    points,
    shade,
    tint,
)
from scale.viz.tiles import Box
from scale.viz.words import LANG, Language, label

WIDTH, MARGIN = 740.0, 14.0


@drawn
def loss_terms(
    pair_P: ArrayLike, guess_P: ArrayLike, masked: Mapping[str, float], lang: Language = LANG
) -> Figure:
    """Draw the ten contrastive and the masked losses of one batch as bars.

    Args:
        pair_P: InfoNCE of each pair, in the order of PAIRS.
        guess_P: chance level of each pair, the log of its number of candidates, drawn as a tick.
        masked: loss by pretext task: `LossOutput.losses` without `contrastive`.

    Raises ValueError if there are not ten pairs.
    """
    pair_P, guess_P = np.asarray(pair_P, dtype=float), np.asarray(guess_P, dtype=float)
    if pair_P.shape != (len(PAIRS),) or guess_P.shape != (len(PAIRS),):
        raise ValueError(f"{pair_P.shape} and {guess_P.shape} values for {len(PAIRS)} pairs")
    figure = new_figure(8.6, 3.6)
    axes = figure.add_subplot()
    for k, (i, j) in enumerate(PAIRS):
        first, second = (MODALITY_COLOURS[MODALITIES[m]] for m in (i, j))
        axes.bar(k - 0.18, pair_P[k], 0.36, color=first)
        axes.bar(k + 0.18, pair_P[k], 0.36, color=second)
        axes.plot([k - 0.42, k + 0.42], [guess_P[k]] * 2, color=shade(0.9), lw=points(1.6))
    names = [f"{label(MODALITIES[i], lang)}\n{label(MODALITIES[j], lang)}" for i, j in PAIRS]
    colour_of = {SPECS[m].task: MODALITY_COLOURS[m] for m in MODALITIES}
    for k, (task, value) in enumerate(masked.items(), start=len(PAIRS) + 1):
        axes.bar(k, value, 0.72, color=colour_of[task])
        names.append(task)
    places = [*range(len(PAIRS)), *range(len(PAIRS) + 1, len(PAIRS) + 1 + len(masked))]
    axes.set_xticks(places, names, fontsize=points(7.5))
    axes.plot([], [], color=shade(0.9), lw=points(1.6), label=label("loss_terms_chance", lang))
    axes.legend(loc="upper left")
    highest = max(pair_P.max(), guess_P.max(), *masked.values())
    axes.set(ylabel=label("loss_terms_axis", lang), ylim=(0, 1.2 * highest))
    axes.set_title(label("loss_terms_title", lang))
    return figure


@drawn
def broken_runs(
    curves: Mapping[str, Sequence[float]], floor: float, lang: Language = LANG
) -> Figure:
    """Draw the contrastive loss of several runs over steps; the first is the correct one.

    Args:
        curves: loss at each step by name of the run.
        floor: chance level, drawn as a dashed line.
    """
    figure = new_figure(7.6, 3.7)
    axes = figure.add_subplot()
    colours = category_colours(len(curves))
    dashes = [(None, None), (5, 2), (1.5, 1.5), (None, None), (6, 2, 1.5, 2)]
    for k, (name, values) in enumerate(curves.items()):
        style = {
            "dashes": dashes[k % len(dashes)],
            "linewidth": points(2.4 if k == 0 else 1.5),
            "color": colours[k],
        }
        axes.plot(range(1, len(values) + 1), values, label=name, **style)
    axes.axhline(floor, color=shade(0.6), dashes=(4, 3), linewidth=points(1.2))
    # Beside the panel, because runs that do not learn stay at the line.
    place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    place |= {"xytext": (points(4), 0), "ha": "left", "va": "center"}
    style = {"fontsize": points(8), "color": shade(0.7)}
    axes.annotate(label("broken_floor", lang), (1, floor), **place, **style)
    axes.set(xlabel=label("step", lang), ylabel=label("broken_contrastive", lang))
    axes.legend(loc="lower left")
    axes.set_title(label("broken_title", lang))
    return figure


TOTAL_HEIGHT = 470.0
TOTAL_NAMES, TOTAL_CELL, TOTAL_HIGH, TOTAL_TOP = 62.0, 86.0, 58.0, 136.0
COUNT = len(MODALITIES)
FORMULA = (
    r"$L_{total}=\Sigma_{i<j}\,L_{CL}(S^{\prime}_{ij}\cdot logits_{ij})"
    r"+\Sigma_{i}\,L_{Mi}(S^{\prime}_{ii}\cdot logits_{i})$"
)
"""The paper's equation, as on the slide of the loss: the weight acts on the logits."""
ON_LOSS = r"$\Sigma_{i<j}\,S^{\prime}_{ij}\,L_{CL}(i,j)+\Sigma_{i}\,S^{\prime}_{ii}\,L_{Mi}$"
"""The sum in the picture: the weight acts on the loss."""


@dataclass(frozen=True)
class WeightedTerms:
    """The fifteen losses of a batch, placed like their weights in S': the pairs above the diagonal,
    the masked losses on it. NaN below it, and for losses that are off."""

    loss_MM: NDArray
    """Unweighted losses: InfoNCE of a pair, mean over its products; masked loss, mean over its
    masked positions."""
    term_MM: NDArray
    """The same means of S' times the loss (S' below 0 counts as 0)."""
    on_logits: float
    """Total loss with S' on the logits, the paper's equation; losses of vectors as in `term_MM`."""
    products: int
    """Number of products in the batch."""

    @property
    def weight_MM(self) -> NDArray:
        """term / loss: the mean of S', weighted by the loss."""
        return self.term_MM / self.loss_MM

    @property
    def pairs(self) -> float:
        """Sum of the contrastive terms."""
        return float(np.nansum(np.triu(self.term_MM, 1)))

    @property
    def masked(self) -> float:
        """Sum of the masked terms."""
        return float(np.nansum(self.term_MM.diagonal()))

    @property
    def total(self) -> float:
        """Sum of all terms: the total loss with S' on the loss."""
        return self.pairs + self.masked

    @property
    def unweighted(self) -> float:
        """Sum of all losses without weights."""
        return float(np.nansum(self.loss_MM))


def weighted_terms(output: ScaleOutput, masked: MaskedBatch, config: LossConfig) -> WeightedTerms:
    """Return the terms of the paper's total loss (section 4.3) for one batch.

    S' itself weights the losses, per product and not divided by its mean, whatever the weights of
    the config; of it, tasks and temperature are used.

    Args:
        output: output of the model for `masked.batch`.
        masked: masked batch and targets.
        config: active tasks, temperature and candidates.
    """
    raw = {"weight_by": "scores", "weight_mean_one": False, "weight_masked": True}
    standard = {"contrast": "pairwise", "pair_reduction": "sum", "label_smoothing": 0.0}
    plain, on_loss, on_logits = (
        scale_loss(output, masked, replace(config, weight_on=place, **raw, **standard))
        for place in ("none", "loss", "logits")
    )
    loss_MM, term_MM = np.full((2, COUNT, COUNT), np.nan)
    for matrix_MM, found in ((loss_MM, plain), (term_MM, on_loss)):
        for m, modality in enumerate(MODALITIES):
            matrix_MM[m, m] = float(found.losses.get(SPECS[modality].task, np.nan))
    if plain.pairs is not None:
        weights = loss_weights(plain.scores, output.present_BM, mean_one=False)
        pairs = plain.pairs.mean_P(), plain.pairs.mean_P(weights.pair_BP)
        upper, found_P = np.triu_indices(COUNT, 1), plain.pairs.valid_BP.any(0)
        for matrix_MM, mean_P in zip((loss_MM, term_MM), pairs, strict=True):
            matrix_MM[upper] = mean_P.masked_fill(~found_P, torch.nan).cpu().numpy()
    return WeightedTerms(loss_MM, term_MM, float(on_logits.total), len(output.present_BM))


@drawn
def total_loss(terms: WeightedTerms, weighted: bool = False, lang: Language = LANG) -> Figure:
    """Draw each loss times its weight at the weight's position in S', and the sums of the products.

    Args:
        terms: losses and weights of one batch.
        weighted: whether the run was trained with weights, for the note.
    """
    figure, axes = typeset.page(WIDTH, TOTAL_HEIGHT)
    typeset.write(axes, MARGIN, 26, label("fig_total", lang), 14, fontweight="bold")
    rows = [("fig_paper", FORMULA, terms.on_logits), ("fig_on_loss", ON_LOSS, terms.total)]
    for y, (key, formula, value) in zip((56, 86), rows, strict=True):
        typeset.write(axes, MARGIN, y, label(key, lang), 10.5, color=shade(0.8))
        sum_of = f"{formula[:-1]}={value:.3f}$"
        typeset.write(axes, MARGIN + TOTAL_NAMES + 68, y, sum_of, 14, parse_math=True)
    for k, modality in enumerate(MODALITIES):
        style = {"color": MODALITY_COLOURS[modality], "fontweight": "bold"}
        name, left = label(modality, lang), MARGIN + TOTAL_NAMES + k * TOTAL_CELL
        typeset.write(axes, left + TOTAL_CELL / 2, TOTAL_TOP - 8, name, 12, ha="center", **style)
        typeset.write(axes, MARGIN, TOTAL_TOP + (k + 0.5) * TOTAL_HIGH + 4, name, 12, **style)
    for i, j in np.ndindex(COUNT, COUNT):
        left, top = MARGIN + TOTAL_NAMES + j * TOTAL_CELL, TOTAL_TOP + i * TOTAL_HIGH
        box, first, second = Box(left, top, TOTAL_CELL, TOTAL_HIGH), MODALITIES[i], MODALITIES[j]
        if i > j:
            continue
        if i == j:
            colour = MODALITY_COLOURS[first]
            typeset.box(axes, *box, facecolor=tint(colour, 0.3), edgecolor=colour)
        else:
            _two_colours(axes, box, first, second)
        name = SPECS[first].task if i == j else label("fig_pair", lang)
        _total_cell(axes, box, name, terms, (i, j), lang)
    left = MARGIN + TOTAL_NAMES + COUNT * TOTAL_CELL + 20
    _total_sums(axes, Box(left, TOTAL_TOP, 206, COUNT * TOTAL_HIGH), terms, weighted, lang)
    lines = typeset.wrap(label("fig_total_note", lang, n=terms.products), WIDTH - 28, 9.5, 3)
    step = 13
    y = TOTAL_HEIGHT - 10 - step * (len(lines) - 1)
    typeset.write_lines(axes, MARGIN, y, lines, 9.5, step, color=shade(0.75))
    return figure


def _total_cell(
    axes: Axes,
    box: Box,
    name: str,
    terms: WeightedTerms,
    place: tuple[int, int],
    lang: Language,
) -> None:
    """Write a loss times its weight, and the product."""
    middle, term = box.x + box.width / 2, terms.term_MM[place]
    off = np.isnan(term)
    style = {"ha": "center", "color": shade(0.8)}
    typeset.write(axes, middle, box.y + 16, name, 10, **style)
    value = label("fig_off", lang) if off else f"{term:.3f}"
    typeset.write(axes, middle, box.y + 49, value, 12.5, ha="center", fontweight="bold")
    if not off:
        factors = f"{terms.weight_MM[place]:.3f} · {terms.loss_MM[place]:.2f}"
        typeset.write(axes, middle, box.y + 32, factors, 9.5, **style)


def _two_colours(axes: Axes, box: Box, first: str, second: str) -> None:
    """Draw a box with a half in each of two modalities' colours."""
    x, y, right, below = box.x, box.y, box.x + box.width, box.y + box.height
    halves = (
        (first, [(x, y), (right, y), (x, below)]),
        (second, [(right, y), (right, below), (x, below)]),
    )
    for modality, corners in halves:
        colour = tint(MODALITY_COLOURS[modality], 0.13)
        axes.add_patch(Polygon(corners, facecolor=colour, edgecolor="none"))
    typeset.box(axes, *box, edgecolor=shade(0.45))


def _total_sums(axes: Axes, box: Box, terms: WeightedTerms, weighted: bool, lang: Language) -> None:
    """Write the two sums and the total, then the total with other weights."""
    rows = [
        ("fig_sum_pairs", terms.pairs),
        ("fig_sum_masked", terms.masked),
        ("fig_sum_total", terms.total),
    ]
    y = box.y + 14
    for number, (key, value) in enumerate(rows):
        if number == len(rows) - 1:
            line = {"color": shade(0.6), "lw": points(1.2)}
            axes.plot([box.x, box.x + box.width], [y - 14, y - 14], **line)
        lines = typeset.wrap(label(key, lang), box.width, 11, 2)
        y = typeset.write_lines(axes, box.x, y, lines, 11, 15)
        typeset.write(axes, box.x, y + 8, f"{value:.3f}", 18, fontweight="bold")
        y += 36
    trained = label("fig_weighs" if weighted else "fig_uniform", lang)
    for text in (label("fig_unweighted", lang, value=terms.unweighted), trained):
        lines = typeset.wrap(text, box.width, 10, 6)
        y = typeset.write_lines(axes, box.x, y, lines, 10, 14, color=shade(0.8)) + 4


BATCH = 32
"""Number of products in the batch of `broken_runs`."""


@figure("loss_terms")
def draw_loss_terms(sources: Sources, lang: Language) -> Figure:
    """Draw the fifteen losses of a test batch for the untrained model."""
    run, data = sources.run, sources.test
    batch = data.collate(range(min(64, len(data))))
    pieces = WordPieces.of(data.tokenizer)
    masked = mask_batch(batch, run.config.mask, pieces, (0, 0), run.config.loss.tasks)
    with torch.no_grad():
        found = scale_loss(run.untrained().eval()(masked.batch, masked.hidden), masked,
                           _without_agreement(run.config.loss))  # fmt: skip
    losses = {name: float(v) for name, v in found.losses.items() if name != "contrastive"}
    guess_P = found.pairs.valid_BP.sum(0).clamp(min=1).log()
    return loss_terms(found.pairs.mean_P(), guess_P, losses, lang)


def _without_agreement(config: LossConfig) -> LossConfig:
    """Replace weights by agreement, which belong to products of the training, by uniform ones."""
    if config.weight_by != "agreement":
        return config
    return replace(config, weight_by="scores", weight_on="none")


@figure("total_loss")
def draw_total_loss(sources: Sources, lang: Language) -> Figure:
    """Draw the terms of a training batch after training."""
    loss = sources.run.config.loss
    weighted = loss.weight_on != "none" or loss.weight_by == "agreement"
    return total_loss(_terms(sources), weighted, lang)


@shared
def _terms(sources: Sources) -> WeightedTerms:
    return run_terms(sources.run, sources.train)


def run_terms(run: TrainedRun, data: ProductDataset, products: int = 64) -> WeightedTerms:
    """Return `weighted_terms` of the first products of a split for the trained model."""
    batch, loss = data.collate(range(min(products, len(data)))), run.config.loss
    pieces = WordPieces.of(data.tokenizer)
    masked = mask_batch(batch, run.config.mask, pieces, (0, 0), loss.tasks)
    device = next(run.model.parameters()).device
    masked = masked.to(device)
    with torch.no_grad():
        output = run.model.eval()(masked.batch, masked.hidden)
        return weighted_terms(output, masked, loss)


@figure("broken_runs")
def draw_broken_runs(sources: Sources, lang: Language) -> Figure:
    """Draw a run that overfits one batch, and four faulty ones."""
    return broken_runs(_failure_curves(sources), math.log(BATCH), lang)


@shared
def _failure_curves(sources: Sources) -> dict[str, list[float]]:
    return failure_curves(sources.run.config, complete_products(sources.test, BATCH))
