"""Attention masks as measured, token by token (notebook 03).

L tokens of a product, all modalities one after the other.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from scale.studies.systems.attention_reach import AttentionReach, ReachMatrix
from scale.viz.charts import framed
from scale.viz.theme import MODALITY_COLOURS, drawn, new_figure, points, shade
from scale.viz.words import Language, label

COLUMNS = 6
"""Masks in a row of the figure."""
STRIP = 0.045
"""Width of the coloured strips along a mask, as a share of its side."""


@drawn
def attention_masks(reaches: Sequence[AttentionReach], lang: Language = "en") -> Figure:
    """Each model's masks: one of each kind of layer, then the whole model.

    Row i, column j is coloured where output i changes with token j, in the colour of j's modality.
    A model is not broken over two lines of the figure.
    """
    lines = _lines(reaches)
    figure = new_figure(1.8 * COLUMNS, 2.2 * len(lines) + 0.3)
    panels = figure.subplots(len(lines), COLUMNS, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for line, row in zip(lines, panels, strict=True):
        place = 0
        for reach in line:
            masks = [*reach.layers.items(), ("whole", reach.whole)]
            for key, reads_LL in masks:
                axes = row[place]
                mask_panel(axes, reads_LL, reach.length, lang, named=place == 0)
                system = reach.system if key == masks[0][0] else ""
                axes.set_title(f"{system}\n{_name(key, lang)}", fontsize=points(8.5), loc="left")
                place += 1
    return framed(figure, "", label("reach_note", lang), [])


def mask_panel(
    axes: Axes, reads_LL: ReachMatrix, length: Mapping[str, int], lang: Language, named: bool = True
) -> None:
    """One mask, with a strip of the modalities' colours above and to the left.

    Args:
        named: write the modalities' names and what rows and columns are.
    """
    names, sizes = list(length), np.array(list(length.values()))
    owner_L = np.repeat(np.arange(len(names)), sizes)
    colour_M3 = np.array([to_rgb(MODALITY_COLOURS[m]) for m in names])
    page_3 = np.array(to_rgb(shade(0.04)))
    image_LL3 = np.where(reads_LL[:, :, None], colour_M3[owner_L][None], page_3)
    count, edge = len(owner_L), np.r_[0, sizes.cumsum()]
    # imshow would put the axes' aspect and limits where the strips have no room.
    axes.set_axis_on()
    axes.imshow(image_LL3, extent=(0, count, count, 0), interpolation="nearest")
    for line in edge:
        axes.plot([line, line], [0, count], color=shade(0.0), linewidth=points(0.8))
        axes.plot([0, count], [line, line], color=shade(0.0), linewidth=points(0.8))
    wide = STRIP * count
    for start, size, colour in zip(edge, sizes, colour_M3, strict=False):
        axes.add_patch(Rectangle((start, -1.4 * wide), size, wide, facecolor=colour))
        axes.add_patch(Rectangle((-1.4 * wide, start), wide, size, facecolor=colour))
    axes.set(xlim=(-1.5 * wide, count), ylim=(count, -1.5 * wide), xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    if named:
        axes.set_yticks((edge[:-1] + edge[1:]) / 2, [label(m, lang) for m in names])
        axes.tick_params(length=0, labelsize=points(7.5), pad=points(1))
        for tick, m in zip(axes.get_yticklabels(), names, strict=True):
            tick.set(color=MODALITY_COLOURS[m], fontweight="bold")
        small = {"fontsize": points(7.5), "color": shade(0.7)}
        axes.set_ylabel(label("reach_reads", lang), **small)
        axes.set_xlabel(label("reach_read", lang), **small)


def _name(key: str, lang: Language) -> str:
    names = {
        "alone": "reach_alone", "stream": "reach_stream", "jct": "reach_jct", "own": "reach_own",
        "cross": "reach_cross", "self": "reach_self", "whole": "reach_whole",
    }  # fmt: skip
    return label(names[key], lang)


def _lines(reaches: Sequence[AttentionReach]) -> list[list[AttentionReach]]:
    """The models in order, as many to a line as fit."""
    lines: list[list[AttentionReach]] = [[]]
    for reach in reaches:
        taken = sum(len(r.layers) + 1 for r in lines[-1])
        if lines[-1] and taken + len(reach.layers) + 1 > COLUMNS:
            lines.append([])
        lines[-1].append(reach)
    return lines
