"""InfoNCE in numbers: a table by hand, the temperature, the batch size, real batches (notebook 01).

B products, C candidates of one title, D width, N products of a data set, T temperatures.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from scale.data.dataset import ProductDataset
from scale.evaluation.embed import Embedder
from scale.losses.contrastive import pair_losses
from scale.training.run import TrainedRun
from scale.viz.charts import colour_ticks, frame_cell, heatmap
from scale.viz.illustrations.contrastive import IMAGE, PAIR, TEXT, gaussian_logits
from scale.viz.registry import Sources, figure
from scale.viz.theme import (
    MODALITY_COLOURS,
    NEGATIVE,
    POSITIVE,
    diverging,
    drawn,
    mix,
    new_figure,
    points,
    sequential,
    shade,
)
from scale.viz.words import LANG, Language, label

TABLE = ((0.8, 0.2, 0.0), (0.4, 0.6, 0.2), (0.0, 0.2, 0.4))
"""Cosines of three titles (rows) and three pictures; divided by 0.2 they are whole numbers."""
TABLE_TEMPERATURE = 0.2
CANDIDATES = (0.6, 0.5, 0.3, 0.1, -0.1, -0.3)
"""Cosines of one title: its own picture, then five others, the hardest first."""
TEMPERATURES = (0.02, 0.07, 0.2, 1.0)
DEFAULT_TEMPERATURE = 0.07
INFORMATION = 3.0
"""Mutual information in nats of the two views in `batch_size`."""
BATCHES = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


@figure("info_nce_table")
@drawn
def info_nce_table(
    cosine_BB: Sequence[Sequence[float]] = TABLE,
    temperature: float = TABLE_TEMPERATURE,
    lang: Language = LANG,
) -> Figure:
    """Draw cosines, logits and the softmax in both directions with the loss per row and column."""
    cosine_BB = torch.tensor(cosine_BB, dtype=torch.float64)
    logits_BB = cosine_BB / temperature
    forth_BB, back_BB = logits_BB.softmax(1), logits_BB.softmax(0)
    figure = new_figure(10.2, 3.0, dense=True)
    panels = [
        ("contrast_cosines", cosine_BB, 1, None),
        ("contrast_logits", logits_BB, 1 / temperature, None),
        ("contrast_forth", forth_BB, 1, 1),
        ("contrast_back", back_BB, 1, 0),
    ]
    columns = figure.subplots(1, 4, width_ratios=[3, 3, 4, 3])
    for axes, (key, values_BB, most, along) in zip(columns, panels, strict=True):
        number_table(axes, values_BB, most, lang)
        axes.set_xlim(0, len(values_BB) + bool(along))
        title = label(key, lang, t=temperature).replace(": ", ":\n").replace("：", "：\n")
        axes.set_title(title, loc="center", fontsize=points(8.5), pad=points(20))
        for place, share in enumerate(values_BB.diag().tolist() if along is not None else []):
            text = label("contrast_loss_is", lang, value=-math.log(share))
            beyond = len(values_BB) + (0.1 if along else 0.23)
            x, y = (beyond, place + 0.5) if along else (place + 0.5, beyond)
            style = {"fontsize": points(7.5), "color": NEGATIVE, "va": "center"}
            axes.text(x, y, text, ha="left" if along else "center", **style)
    return figure


def number_table(
    axes: Axes, values_BB: Tensor, most: float, lang: Language, size: float = 6.8
) -> None:
    """Draw an annotated matrix, titles by row and pictures by column, true pairs framed."""
    count, norm = len(values_BB), Normalize(0, most)
    heatmap(axes, values_BB.numpy(), sequential(), norm, digits=0 if most > 1 else 2)
    for place in range(count):
        frame_cell(axes, place, place, POSITIVE, 1.8, 0.03)
    axes.set_ylim(count + 0.5, 0)
    at, numbers = np.arange(count) + 0.5, range(1, count + 1)
    axes.set_xticks(at, [label("contrast_picture_n", lang, n=n) for n in numbers])
    axes.set_yticks(at, [label("contrast_title_n", lang, n=n) for n in numbers])
    axes.tick_params(length=0, top=True, bottom=False, labeltop=True, labelbottom=False)
    axes.tick_params(labelsize=points(size))
    colour_ticks(axes.get_yticklabels(), ["text"] * count)
    colour_ticks(axes.get_xticklabels(), ["image"] * count)


@figure("temperature")
@drawn
def temperature(lang: Language = LANG) -> Figure:
    """Draw the softmax over six cosines at four temperatures and the share of each negative."""
    figure = new_figure(10.2, 3.1, dense=True)
    *bars, curve = figure.subplots(1, len(TEMPERATURES) + 1, width_ratios=[1, 1, 1, 1, 1.9])
    cosine_C = torch.tensor(CANDIDATES, dtype=torch.float64)
    colours = [POSITIVE, *_push_colours()]
    for axes, t in zip(bars, TEMPERATURES, strict=True):
        share_C = (cosine_C / t).softmax(0).tolist()
        found = axes.bar(range(len(share_C)), share_C, color=colours)
        texts = [f"{share:.2f}" if share >= 0.005 else "" for share in share_C]
        axes.bar_label(found, texts, padding=2, fontsize=points(6.5), color=shade(0.85))
        names = [f"{c:.1f}".replace("-", "−") for c in CANDIDATES]
        axes.set_xticks(range(0, len(names), 2), names[::2], fontsize=points(7))
        axes.set(ylim=(0, 1.12), xlim=(-0.6, len(names) - 0.4))
        axes.set_title(label("contrast_temperature_is", lang, t=t), fontsize=points(8.5))
        axes.set_yticks([0, 0.5, 1], [] if axes is not bars[0] else None)
    bars[0].set_ylabel(label("contrast_share", lang))
    bars[0].set_xlabel(label("contrast_candidates", lang))
    words = zip(("contrast_own_picture", "contrast_other_pictures"), colours, strict=False)
    for row, (key, colour) in enumerate(words):
        style = {"fontsize": points(7.5), "color": colour, "ha": "right", "fontweight": "bold"}
        place = (0.98, 0.93 - 0.09 * row)
        bars[1].text(*place, label(key, lang), transform=bars[1].transAxes, **style)
    _push_curves(curve, cosine_C, lang)
    return figure


def _push_colours() -> list[str]:
    """Return colours from the hardest negative to the easiest."""
    count = len(CANDIDATES) - 1
    return [mix(NEGATIVE, shade(0.4), k / (count - 0.5)) for k in range(count)]


def _push_curves(axes: Axes, cosine_C: Tensor, lang: Language) -> None:
    """Draw the share of each negative in the total repulsion against the temperature."""
    temperature_T = torch.logspace(-2, 0.3, 80, dtype=torch.float64)
    share_TC = (cosine_C[1:] / temperature_T[:, None]).softmax(1)
    for place, colour in enumerate(_push_colours()):
        axes.plot(temperature_T, share_TC[:, place], color=colour)
    first, last = (f"{c:.1f}".replace("-", "−") for c in (CANDIDATES[1], CANDIDATES[-1]))
    style = {"fontsize": points(7.5), "fontweight": "bold"}
    axes.text(0.0115, 0.93, first, color=_push_colours()[0], va="top", **style)
    axes.text(0.0115, 0.05, last, color=_push_colours()[-1], va="bottom", **style)
    axes.axvline(DEFAULT_TEMPERATURE, color=shade(0.5), linewidth=points(1), linestyle=(0, (3, 2)))
    here = label("contrast_here", lang, t=DEFAULT_TEMPERATURE)
    style = {"fontsize": points(7.5), "color": shade(0.7), "va": "center"}
    axes.text(DEFAULT_TEMPERATURE * 1.12, 1.1, here, **style)
    axes.set(xscale="log", xlim=(0.01, 2), ylim=(0, 1.17))
    axes.set_xticks([0.01, 0.02, 0.07, 0.2, 1], ["0.01", "0.02", "0.07", "0.2", "1"])
    axes.set_xticks([], minor=True)
    axes.set_xlabel(label("contrast_temperature", lang))
    axes.set_ylabel(label("contrast_push_share", lang))
    axes.set_title(label("contrast_push_title", lang))


@figure("batch_size")
@drawn
def batch_size(lang: Language = LANG) -> Figure:
    """Draw loss and mutual information bound of an optimal model against the batch size."""
    figure = new_figure(8.6, 3.1)
    harder, bound = figure.subplots(1, 2)
    loss_T = np.array([best_loss(batch) for batch in BATCHES])
    guess_T = np.log(BATCHES)
    dashed = {"color": shade(0.5), "linestyle": (0, (4, 2))}
    harder.plot(BATCHES, guess_T, **dashed, label=label("contrast_guessing", lang))
    harder.plot(BATCHES, loss_T, "o-", color=POSITIVE, label=label("contrast_best", lang))
    bound.plot(BATCHES, guess_T, **dashed, label=label("contrast_ceiling", lang))
    bound.axhline(
        INFORMATION, color=NEGATIVE, linewidth=points(1.2),
        label=label("contrast_true_information", lang),
    )  # fmt: skip
    bound.plot(BATCHES, guess_T - loss_T, "o-", color=POSITIVE, label=label("contrast_bound", lang))
    for axes, key in ((harder, "contrast_batch_loss"), (bound, "contrast_batch_bound")):
        axes.set(xscale="log", xlabel=label("contrast_batch", lang), ylim=(0, 7.4))
        axes.set_xticks([2, 8, 32, 128, 512], ["2", "8", "32", "128", "512"])
        axes.set_xticks([], minor=True)
        axes.set_ylabel(label("contrast_nats", lang))
        axes.set_title(label(key, lang))
        axes.legend(loc="upper left", fontsize=points(7.5))
    return figure


@cache
def best_loss(batch: int, products: int = 2048, information: float = INFORMATION) -> float:
    """Return InfoNCE of the optimal critic on Gaussian views, mean over at least twelve batches.

    With fewer batches, the noise of the bound log B - L can exceed its distance to the truth.
    """
    losses = []
    for seed in range(max(12, products // batch)):
        logits_BB, target_B = gaussian_logits(batch, information, seed=seed), torch.arange(batch)
        both = cross_entropy(logits_BB, target_B) + cross_entropy(logits_BB.T, target_B)
        losses.append(both.item() / 2)
    return float(np.mean(losses))


BATCH_TABLES = ("contrast_untrained", "contrast_seen", "contrast_unseen")


@dataclass(frozen=True)
class BatchTable:
    """Cosines between titles and pictures of one batch."""

    cosine_BB: Tensor
    """Row: title, column: picture; true pairs on the diagonal."""
    loss: float
    """InfoNCE of the batch, mean of both directions, at the package's temperature."""

    @property
    def hits(self) -> int:
        """Number of titles whose own picture has the largest cosine."""
        return int((self.cosine_BB.argmax(1) == torch.arange(len(self.cosine_BB))).sum())


def table_of(model: Embedder, dataset: ProductDataset, count: int = 32) -> BatchTable:
    """Embed the first `count` products that have a title and a picture.

    Products with equal content are excluded as false negatives, as in the demo's training.
    """
    has_N = dataset.present_NM[:, [TEXT, IMAGE]].all(1)
    batch = dataset.collate(has_N.nonzero()[0][:count])
    device = next(model.parameters()).device
    with torch.no_grad():
        output = model.embed(batch.to(device))
    pooled_BMD, present_BM = output.pooled_BMD.cpu(), output.present_BM.cpu()
    unit_BMD = normalize(pooled_BMD, dim=-1)
    losses = pair_losses(pooled_BMD, present_BM, content_id_BM=batch.content_id_BM)
    cosine_BB = unit_BMD[:, TEXT] @ unit_BMD[:, IMAGE].T
    return BatchTable(cosine_BB, losses.loss_BP[:, PAIR].mean().item())


def tables_of(run: TrainedRun, seen: ProductDataset, unseen: ProductDataset) -> list[BatchTable]:
    """Return tables of the untrained and trained model on training products, and on others."""
    untrained = table_of(run.untrained().eval(), seen)
    return [untrained, table_of(run.model, seen), table_of(run.model, unseen)]


@drawn
def batch_table(tables: Sequence[BatchTable], lang: Language = LANG) -> Figure:
    """Draw three heat maps of cosines: untrained, trained on seen and on unseen products.

    Raises ValueError if there are not three tables.
    """
    figure = new_figure(10.2, 3.9)
    columns = figure.subplots(1, len(BATCH_TABLES))
    norm = Normalize(-1, 1)
    for axes, table, key in zip(columns, tables, BATCH_TABLES, strict=True):
        _draw_cosines(axes, table, norm, lang)
        axes.set_title(label(key, lang), loc="center")
    columns[0].set_ylabel(label("contrast_titles", lang), color=MODALITY_COLOURS["text"])
    bar = figure.colorbar(ScalarMappable(norm, diverging()), ax=columns, shrink=0.7, aspect=25)
    bar.set_label(label("contrast_cosine", lang))
    bar.set_ticks([-1, -0.5, 0, 0.5, 1], labels=["−1", "−0.5", "0", "0.5", "1"])
    bar.outline.set_visible(False)
    return figure


def _draw_cosines(axes: Axes, table: BatchTable, norm: Normalize, lang: Language) -> None:
    count = len(table.cosine_BB)
    heatmap(axes, table.cosine_BB.numpy(), diverging(), norm, digits=None, linewidths=0)
    axes.spines[:].set(visible=True, color=shade(0.3))
    facts = {"loss": table.loss, "guess": math.log(count), "hits": table.hits, "count": count}
    note = label("contrast_table_note", lang, **facts)
    axes.set_xlabel(label("contrast_pictures", lang), color=MODALITY_COLOURS["image"])
    style = {"ha": "center", "va": "top", "fontsize": points(8.5), "color": shade(0.85)}
    place = {"xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate(note, (0.5, 0), (0, points(-20)), **place, **style)


@figure("batch_table")
def draw_batch_table(sources: Sources, lang: Language) -> Figure:
    """Draw `batch_table` of the run on its training products and on the test split."""
    return batch_table(tables_of(sources.run, sources.train, sources.test), lang)
