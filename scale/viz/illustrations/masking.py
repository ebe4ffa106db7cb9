"""What the others add to a masked prediction, and what copying gives (notebooks 04 to 08).

D distances.
"""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scale.evaluation.bootstrap import Estimate
from scale.modalities import MODALITIES, SPECS
from scale.strict import require
from scale.viz.charts import framed, lay_flat, spread
from scale.viz.theme import MODALITY_COLOURS, drawn, new_figure, points, shade
from scale.viz.words import Language, label

WHOLE = ("all", "other products")
"""Contexts of all other modalities: the product's own, and another product's."""
HEIGHT = 0.3
"""Of a row, in inches."""


@drawn
def context_gain(
    gains: Mapping[str, Mapping[str, Estimate]], lang: Language = "en", note: str = ""
) -> Figure:
    """A panel a masked task, a bar a context: how much lower the loss is than without the others.

    Each panel has its own scale: squared error and cross-entropy do not compare.

    Args:
        gains: by modality, what `studies.context.gains` found; contexts that are not there have
            no row.
        note: a further sentence below.

    Raises:
        ValueError: there is nothing to draw.
    """
    require(any(gains.values()), "no gain of a context to draw")
    names = [n for n in (*WHOLE, *MODALITIES) if any(n in found for found in gains.values())]
    shown = [m for m in MODALITIES if m in gains]
    figure = new_figure(max(5.6, 2.6 + 2.3 * len(shown)), 1.75 + HEIGHT * len(names))
    panels = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    for axes, modality in zip(panels, shown, strict=True):
        _panel(axes, modality, gains[modality], names, lang)
    panels[0].set_yticks(range(len(names)), [_name(name, lang) for name in names])
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    title = label("mask_gain_title", lang)
    below = " ".join([label("mask_gain_note", lang), note]).strip()
    return framed(figure, title, below, [])


def _panel(
    axes: Axes, modality: str, found: Mapping[str, Estimate], names: list[str], lang: Language
) -> None:
    rows = [(y, name, found[name]) for y, name in enumerate(names) if name in found]
    mean_G, below_G, above_G = spread([estimate for _, _, estimate in rows])
    colours = [MODALITY_COLOURS.get(name, shade(0.62)) for _, name, _ in rows]
    bars = axes.barh([y for y, _, _ in rows], np.nan_to_num(mean_G), height=0.62, color=colours)
    for bar, (_, name, _) in zip(bars, rows, strict=True):
        if name == "other products":
            bar.set(facecolor=shade(0.1), edgecolor=shade(0.62), hatch="////")
    whiskers = {"ls": "none", "color": shade(0.95), "elinewidth": points(1.1)}
    axes.errorbar(mean_G, [y for y, _, _ in rows], xerr=[below_G, above_G], **whiskers)
    axes.axvline(0, color=shade(0.6), lw=points(0.9))
    lay_flat(axes)
    axes.locator_params(axis="x", nbins=4)
    discrete = SPECS[modality].kind == "discrete"
    unit = "mask_gain_axis_pieces" if discrete else "mask_gain_axis_vectors"
    axes.set_xlabel(label(unit, lang), fontsize=points(8))
    most = max((estimate.n for _, _, estimate in rows), default=0)
    counted = label("mask_count", lang, n=most)
    axes.set_title(f"{SPECS[modality].task} · {label(modality, lang)}\n{counted}")


def _name(name: str, lang: Language) -> str:
    if name in MODALITIES:
        return label("mask_only", lang, modality=label(name, lang))
    return label({"all": "mask_own", "other products": "mask_strangers"}[name], lang)


@drawn
def copy_curve(
    losses: Mapping[str, np.ndarray], means: Mapping[str, float], lang: Language = "en"
) -> Figure:
    """Error of copying the vector d places away, against d; dashed: guessing the training mean.

    Args:
        losses: by modality, loss_D of `masked_training.copy_losses`.
        means: by modality, `masked_training.mean_loss`.
    """
    figure = new_figure(3.0 * len(losses) + 0.6, 2.7)
    panels = figure.subplots(1, len(losses), squeeze=False)[0]
    for axes, (modality, loss_D) in zip(panels, losses.items(), strict=True):
        colour = MODALITY_COLOURS[modality]
        away_D = np.arange(1, len(loss_D) + 1)
        axes.plot(away_D, loss_D, color=colour, marker="o", ms=points(4))
        axes.axhline(means[modality], color=shade(0.6), ls="--", lw=points(1.1))
        text = {"fontsize": points(8), "va": "bottom", "color": shade(0.75)}
        axes.text(1, means[modality], label("mask_mean", lang), **text)
        axes.set(xlabel=label("mask_distance", lang), ylabel=label("mask_copy_error", lang))
        axes.set_ylim(0, 1.25 * max(means[modality], np.nanmax(loss_D)))
        axes.set_title(label(modality, lang))
        axes.locator_params(axis="x", integer=True)
    return figure
