"""What the other modalities add to a masked prediction, as bars (notebooks 04 to 08)."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scale.evaluation.bootstrap import Estimate
from scale.modalities import MODALITIES, SPECS
from scale.strict import require
from scale.viz.charts import framed, lay_flat, spread
from scale.viz.labels import Language, label
from scale.viz.style import MODALITY_COLOURS, drawn, new_figure, points, shade

WHOLE = ("all", "strangers")
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
        gains: by modality, what `experiments.context.gains` found; contexts that are not there have
            no row.
        note: a further sentence below.

    Raises:
        ValueError: there is nothing to draw.
    """
    require(any(gains.values()), "no gain of a context to draw")
    names = [n for n in (*WHOLE, *MODALITIES) if any(n in found for found in gains.values())]
    shown = [m for m in MODALITIES if m in gains]
    figure = new_figure(2.6 + 2.3 * len(shown), 1.75 + HEIGHT * len(names))
    panels = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    for axes, modality in zip(panels, shown, strict=True):
        _panel(axes, modality, gains[modality], names, lang)
    panels[0].set_yticks(range(len(names)), [_name(name, lang) for name in names])
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    title = label("mask_gain_title", lang)
    return framed(figure, title, f"{label('mask_gain_note', lang)} {note}".strip(), [])


def _panel(
    axes: Axes, modality: str, found: Mapping[str, Estimate], names: list[str], lang: Language
) -> None:
    rows = [(y, name, found[name]) for y, name in enumerate(names) if name in found]
    mean_G, below_G, above_G = spread([estimate for _, _, estimate in rows])
    colours = [MODALITY_COLOURS.get(name, shade(0.62)) for _, name, _ in rows]
    bars = axes.barh([y for y, _, _ in rows], np.nan_to_num(mean_G), height=0.62, color=colours)
    for bar, (_, name, _) in zip(bars, rows, strict=True):
        if name == "strangers":
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
    return label({"all": "mask_own", "strangers": "mask_strangers"}[name], lang)
