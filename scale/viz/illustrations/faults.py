"""Pictures of the released code's faults: gradients, attention mask, loss curves (notebook 15).

B products, H heads.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from scale.strict import require
from scale.viz.charts import framed
from scale.viz.theme import (
    NEGATIVE,
    POSITIVE,
    category_colours,
    drawn,
    new_figure,
    points,
    sequential,
    shade,
    text_on,
    tint,
)
from scale.viz.words import Language, label

VERSIONS = {
    "as described": "fault_none",
    "heads on encoder": "fault_heads",
    "layers never called": "fault_uncalled",
    "mask on wrong products": "fault_wrong_mask",
    "weights on predictions": "fault_predictions",
    "the whole released loss": "fault_official",
    "audio axes swapped": "fault_axes",
    "audio all zeros": "fault_silent",
    "missing in the losses": "fault_zeros_present",
}
"""Label of each version of `scale.studies.released_code.SHORT`."""
COLUMNS = 4
"""Panels in a row of loss curves."""


@drawn
def fault_losses(curves: Mapping[str, Sequence[float]], lang: Language = "en") -> Figure:
    """A panel per faulty version: its total loss over that of its first step, the sound version's
    in grey.

    Args:
        curves: by version (VERSIONS), the first one being the sound one.

    Raises:
        ValueError: there are fewer than two versions.
    """
    require(len(curves) > 1, "no faulty version to draw")
    sound, *faulty = curves
    rows = -(-len(faulty) // COLUMNS)
    figure = new_figure(9.4, 0.8 + 1.7 * rows)
    panels = figure.subplots(rows, COLUMNS, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, name in zip(panels, faulty, strict=False):
        axes.plot(_relative(curves[sound]), color=shade(0.25), lw=points(5))
        axes.plot(_relative(curves[name]), color=NEGATIVE)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(label(VERSIONS[name], lang), fontsize=points(9))
        axes.tick_params(labelbottom=True)
    for axes in panels[len(faulty) :]:
        axes.set_axis_off()
    for axes in panels[::COLUMNS]:
        axes.set_ylabel(label("fault_total", lang))
    for axes in panels[-COLUMNS:]:
        axes.set_xlabel(label("step", lang))
    panels[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    note = label("fault_losses_note", lang, n=len(curves[sound]))
    return framed(figure, label("fault_losses_title", lang), note, [])


def _relative(losses: Sequence[float]) -> np.ndarray:
    return np.asarray(losses) / losses[0]


@drawn
def fault_gradients(
    counts: Mapping[str, Mapping[str, tuple[int, int]]], lang: Language = "en"
) -> Figure:
    """Parameters by part of the model: those that a backward pass reaches, and those it does not.

    Args:
        counts: by version (VERSIONS) and part (`learned_parameters`), numbers reached, numbers.

    Raises:
        ValueError: there is no version.
    """
    require(bool(counts), "no version to draw")
    figure = new_figure(2.6 + 2.5 * len(counts), 3.9)
    panels = figure.subplots(1, len(counts), squeeze=False, sharey=True, sharex=True)[0]
    colours = {"fault_learns": POSITIVE, "fault_never": NEGATIVE}
    for axes, (version, parts) in zip(panels, counts.items(), strict=True):
        reached, total = np.array([parts[name] for name in parts]).T / 1000
        rows = np.arange(len(parts))
        axes.barh(rows, reached, color=POSITIVE, height=0.7)
        unreached = {"hatch": "////", "edgecolor": NEGATIVE, "color": tint(NEGATIVE, 0.3)}
        never = reached < total
        left, width = reached[never], (total - reached)[never]
        axes.barh(rows[never], width, left=left, height=0.7, **unreached)
        share = 1 - reached.sum() / total.sum()
        text = label("fault_never_share", lang, share=f"{100 * share:.0f} %")
        colour = NEGATIVE if share else shade(0.65)
        axes.set_title(f"{label(VERSIONS[version], lang)}\n{text}", color=colour)
        axes.set_xlabel(label("fault_numbers", lang))
        axes.grid(visible=False, axis="y")
    panels[0].set_yticks(rows, [_part_name(name, lang) for name in parts])
    panels[0].invert_yaxis()
    never = {"facecolor": tint(NEGATIVE, 0.3), "edgecolor": NEGATIVE, "hatch": "////"}
    handles = [Patch(color=colours["fault_learns"], label=label("fault_learns", lang)),
               Patch(label=label("fault_never", lang), **never)]  # fmt: skip
    return framed(figure, label("fault_gradients_title", lang), "", handles)


def _part_name(part: str, lang: Language) -> str:
    room, _, modality = part.partition(".")
    if room == "jct":
        return "JCT"
    key = {"encoders": "fault_encoder_of", "heads": "fault_head_of"}[room]
    return label(key, lang, name=label(modality, lang))


@drawn
def fault_mask(
    owner_BH: np.ndarray, sound_BB: np.ndarray, faulty_BB: np.ndarray, lang: Language = "en"
) -> Figure:
    """Whose attention mask each head gets, and what cutting product j's title does to product i.

    Args:
        owner_BH: product whose mask head h of product b gets.
        sound_BB, faulty_BB: relative change of row i when column j is cut, as described and with
            the fault.

    Raises:
        ValueError: the shapes do not fit.
    """
    products = len(owner_BH)
    fits = sound_BB.shape == faulty_BB.shape == (products, products)
    require(fits, f"changes of {sound_BB.shape}, {faulty_BB.shape} for {products} products")
    figure = new_figure(9.0, 3.7)
    owners, sound, faulty = figure.subplots(1, 3, width_ratios=(owner_BH.shape[1], 6, 6))
    _draw_owners(owners, owner_BH, lang)
    for axes, change_BB, key in ((sound, sound_BB, "fault_none"),
                                 (faulty, faulty_BB, "fault_wrong_mask")):  # fmt: skip
        _draw_changes(axes, 100 * change_BB, lang)
        axes.set_title(label(key, lang))
    sound.set_ylabel(label("fault_changed", lang))
    note = label("fault_mask_note", lang)
    return framed(figure, label("fault_mask_title", lang), note, [])


def _draw_owners(axes: Axes, owner_BH: np.ndarray, lang: Language) -> None:
    colours = category_colours(len(owner_BH))
    for b, h in np.ndindex(owner_BH.shape):
        owner = owner_BH[b, h]
        right = owner == b
        fill = tint(colours[owner], 0.75)
        axes.add_patch(Rectangle((h - 0.5, b - 0.5), 1, 1, facecolor=fill, edgecolor=shade(0)))
        style = {"color": text_on(fill), "fontweight": "bold" if right else "normal"}
        axes.text(h, b, owner + 1, ha="center", va="center", **style)
        if not right:
            frame = {"fill": False, "edgecolor": NEGATIVE, "linewidth": points(1.4)}
            axes.add_patch(Rectangle((h - 0.44, b - 0.44), 0.88, 0.88, **frame))
    products, heads = owner_BH.shape
    _number(axes, heads, products)
    axes.set(title=label("fault_owner", lang), xlabel=label("fault_head_number", lang))
    axes.set_ylabel(label("fault_product", lang))


def _draw_changes(axes: Axes, change_BB: np.ndarray, lang: Language) -> None:
    colours = sequential()
    most = max(float(np.abs(change_BB[~np.eye(len(change_BB), dtype=bool)]).max()), 3.0)
    for i, j in np.ndindex(change_BB.shape):
        value = change_BB[i, j]
        fill = colours(min(value / most, 1.0) * 0.8) if i != j else shade(0.12)
        axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=fill, edgecolor=shade(0)))
        style = {"ha": "center", "va": "center", "fontsize": points(8), "color": text_on(fill)}
        axes.text(j, i, f"{value:.1f}" if value >= 0.05 else "0", **style)
        if i != j and value >= 0.05:
            frame = {"fill": False, "edgecolor": NEGATIVE, "linewidth": points(1.4)}
            axes.add_patch(Rectangle((j - 0.44, i - 0.44), 0.88, 0.88, **frame))
    _number(axes, len(change_BB), len(change_BB))
    axes.set_xlabel(label("fault_cut_of", lang))


def _number(axes: Axes, columns: int, rows: int) -> None:
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5), aspect="equal")
    axes.set_xticks(range(columns), [str(k + 1) for k in range(columns)])
    axes.set_yticks(range(rows), [str(k + 1) for k in range(rows)])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
