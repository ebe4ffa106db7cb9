"""What the figures of studies share: rows with headings, dots with whiskers, a frame of words.

G values of a series.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from scale.evaluation.bootstrap import Estimate
from scale.modalities import MODALITIES
from scale.studies.study import Factor
from scale.viz import typeset
from scale.viz.theme import (
    MODALITY_COLOURS,
    POSITIVE,
    category_colours,
    points,
    shade,
    text_on,
    unit,
)
from scale.viz.words import Language, label, term

MARKERS = "osD^vP"
GAP = 0.4
"""Between groups of rows, in rows."""
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))


@dataclass(frozen=True)
class Block:
    """Rows that stay together, below a heading unless that is empty."""

    heading: str
    rows: tuple
    texts: tuple[str, ...]
    """Name of each row; line breaks make it higher."""
    colour: str | None = None
    """Of the heading."""

    @property
    def height(self) -> float:
        """In rows of one line."""
        return bool(self.heading) + sum(map(_height, self.texts))


def _height(text: str) -> float:
    return 1 + 0.55 * text.count("\n")


def total_height(blocks: Sequence[Block]) -> float:
    """In rows of one line, with the gaps between groups."""
    return sum(block.height for block in blocks) + sum(map(_gap, blocks, blocks[1:]))


def _gap(above: Block, below: Block) -> float:
    return GAP if above.heading or below.heading else 0.0


def balanced(blocks: Sequence[Block], most: float) -> list[list[Block]]:
    """The blocks in order, in as few columns as hold `most` rows each, all about as high.

    A block that is higher alone is not cut.
    """
    count = max(1, int(np.ceil(total_height(blocks) / most)))
    limit = max((block.height for block in blocks), default=0.0)
    while True:
        columns: list[list[Block]] = [[]]
        for block in blocks:
            if columns[-1] and total_height([*columns[-1], block]) > limit:
                columns.append([])
            columns[-1].append(block)
        if len(columns) <= count:
            return columns
        limit += 0.5


def placed(blocks: Sequence[Block]) -> Iterator[tuple[float, Block, list[float]]]:
    """Each block with the y of its heading and of its rows; y grows downwards, a row is 1."""
    y = 0.0
    for above, block in zip([None, *blocks], blocks, strict=False):
        y += _gap(above, block) if above else 0.0
        top, places = y, []
        y += bool(block.heading)
        for text in block.texts:
            places.append(y + (_height(text) - 1) / 2)
            y += _height(text)
        yield top, block, places


def name_rows(axes: Axes, blocks: Sequence[Block], height: float | None = None) -> None:
    """Names of rows and headings beside a panel; `height` in rows, where others are higher."""
    ticks, texts, heads = [], [], {}
    for top, block, places in placed(blocks):
        if block.heading:
            heads[len(ticks)] = block.colour
            ticks.append(top)
            texts.append(block.heading)
        ticks += places
        texts += block.texts
    axes.set_yticks(ticks, texts)
    axes.set_ylim((height or total_height(blocks)) - 0.4, -0.6)
    for number, text in enumerate(axes.get_yticklabels()):
        if number in heads:
            text.set(fontweight="bold", color=heads[number] or text.get_color())


def lay_flat(axes: Axes) -> None:
    """Rows of dots: the values run along x, the names need no axis."""
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=5)


def dot(axes: Axes, y: float, found: Estimate, colour: str = POSITIVE, **style: Any) -> None:
    """Mean and interval of a row; nothing if there is no mean."""
    if found.value is not None:
        intervals(axes, [y], [found], flat=True, **{"color": colour, "marker": "o", **style})


def intervals(
    axes: Axes, at_G: ArrayLike, found: Sequence[Estimate], flat: bool = False, **style: Any
) -> None:
    """Error bars of stored intervals, which seaborn would replace by its own bootstrap.

    Args:
        at_G: positions along x, or along y if `flat`.
        style: of `Axes.errorbar`; no marker by default.
    """
    mean_G, below_G, above_G = spread(found)
    style = {"ls": "none", "ms": points(5), "elinewidth": points(1.4), **style}
    if flat:
        axes.errorbar(mean_G, at_G, xerr=[below_G, above_G], **style)
    else:
        axes.errorbar(at_G, mean_G, yerr=[below_G, above_G], **style)


def heatmap(
    axes: Axes,
    values_RC: ArrayLike,
    colours: Colormap,
    norm: Normalize,
    shown_RC: ArrayLike | None = None,
    digits: int | None = 2,
    **style: Any,
) -> QuadMesh:
    """A matrix as square cells with numbers; cell (row, column) has its centre at + 0.5.

    Args:
        shown_RC: False where a cell is hatched and carries no number; by default, cells are hatched
            where the value is not finite.
        digits: decimals of the numbers; None draws none.
        style: of `seaborn.heatmap`.

    Returns:
        the coloured mesh, e.g. for a colour bar.
    """
    import seaborn

    values_RC = np.asarray(values_RC, dtype=float)
    shown_RC = np.isfinite(values_RC) if shown_RC is None else np.asarray(shown_RC, dtype=bool)
    rows, columns = values_RC.shape
    hatched = {"facecolor": shade(0.05), "edgecolor": shade(0.22), "hatch": "////", "lw": 0}
    axes.add_patch(Rectangle((0, 0), columns, rows, **hatched, zorder=0.5))
    style = {"linewidths": points(1.0), "linecolor": shade(0.0), "square": True, **style}
    seaborn.heatmap(
        values_RC, mask=~shown_RC, cmap=colours, norm=norm, vmin=norm.vmin, vmax=norm.vmax,
        cbar=False, xticklabels=False, yticklabels=False, ax=axes, **style,
    )  # fmt: skip
    if digits is not None:
        for (row, column), value in np.ndenumerate(values_RC):
            if shown_RC[row, column]:
                look = {"ha": "center", "va": "center", "fontsize": points(9)}
                colour = text_on(colours(norm(value))[:3])
                text = f"{value:.{digits}f}".replace("-", "−")
                axes.text(column + 0.5, row + 0.5, text, color=colour, **look)
    axes.grid(visible=False)
    return axes.collections[0]


def modality_ticks(axes: Axes, lang: Language) -> None:
    """Modality names in their colours, above the columns and left of the rows of a heat map."""
    at, names = np.arange(len(MODALITIES)) + 0.5, [label(m, lang) for m in MODALITIES]
    axes.set_xticks(at, names)
    axes.set_yticks(at, names, rotation=0)
    axes.tick_params(length=0, top=True, bottom=False, labeltop=True, labelbottom=False)
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        for tick, modality in zip(ticks, MODALITIES, strict=True):
            tick.set(color=MODALITY_COLOURS[modality], fontweight="bold", fontsize=points(8.5))


def framed(figure: Figure, title: str, note: str, handles: Sequence[Line2D]) -> Figure:
    """Title, legend of as many columns as fit, and the note below."""
    width = 72 * figure.get_figwidth() / unit() - 14
    lines = [part for line in note.split("\n") for part in typeset.wrap(line, width, 8, 9)]
    figure.supxlabel("\n".join(lines), fontsize=points(8), color=shade(0.7), x=0.01, ha="left")
    if not handles:
        figure.suptitle(title, x=0.01, ha="left")
        return figure
    widest = max(typeset.text_width(str(h.get_label()), 8) for h in handles)
    columns = int((width + 4) // (widest + 40))
    # The layout would lay a figure's title onto such a legend, so it is the legend's title here.
    place = {"loc": "outside upper left", "ncols": max(1, columns), "alignment": "left"}
    heading = {"weight": "bold", "size": points(11)}
    figure.legend(handles=handles, title=title, title_fontproperties=heading, **place)
    return figure


def spread(found: Sequence[Estimate]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and the lengths of the whiskers; NaN where there is no mean, 0 where no interval."""
    mean_G = np.array([np.nan if e.value is None else e.value for e in found], dtype=float)
    ends = [(e.value, e.value) if e.low is None else (e.low, e.high) for e in found]
    low_G, high_G = np.array(ends, dtype=float).T
    return mean_G, np.clip(mean_G - low_G, 0, None), np.clip(high_G - mean_G, 0, None)


def series_styles(names: Sequence[str]) -> list[dict]:
    """Colour, marker and dashes of each series; a modality keeps its own colour."""
    plain = [*MODALITY_COLOURS.values()] if len(names) < 6 else category_colours(len(names))
    if any(name in MODALITY_COLOURS for name in names):
        plain = [MODALITY_COLOURS.get(name, shade(0.6)) for name in names]
    return [
        {"color": plain[k], "marker": MARKERS[k % 6], "ls": DASHES[k % 4], "ms": points(4.5)}
        for k in range(len(names))
    ]


def factor_name(factors: Mapping[str, Factor], shown: Sequence[str], lang: Language = "en") -> str:
    """Words stand for themselves, numbers need their factor's name."""
    values = [(name, factors[name]) for name in shown]
    told = [term(v, lang) if isinstance(v, str) else f"{term(n, lang)} = {v}" for n, v in values]
    return {"en": ", ", "zh": "，"}[lang].join(told)
