"""Building blocks of the charts: heat maps, intervals, rows with headings, titles and notes.

G values of a series.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from numpy.typing import ArrayLike

from scale.evaluation.bootstrap import Estimate
from scale.modalities import MODALITIES
from scale.studies.study import Factor
from scale.viz import typeset
from scale.viz.theme import (
    MODALITY_COLOURS,
    POSITIVE,
    category_colours,
    on_slide,
    points,
    shade,
    text_on,
    unit,
)
from scale.viz.words import LANG, Language, label, term

Colour = str | tuple[float, ...]
MARKERS = "osD^vP"
GAP = 0.4
"""Between groups of rows, in rows."""
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))


@dataclass(frozen=True)
class Block:
    """Rows that are kept together, below a heading if it is not empty."""

    heading: str
    rows: tuple
    texts: tuple[str, ...]
    """Name of each row; may contain line breaks."""
    colour: str | None = None
    """Colour of the heading."""

    @property
    def height(self) -> float:
        """Height in rows of one line."""
        return bool(self.heading) + sum(map(_height, self.texts))


def _height(text: str) -> float:
    return 1 + 0.55 * text.count("\n")


def total_height(blocks: Sequence[Block]) -> float:
    """Return the height in rows of one line, with the gaps between groups."""
    return sum(block.height for block in blocks) + sum(map(_gap, blocks, blocks[1:]))


def _gap(above: Block, below: Block) -> float:
    return GAP if above.heading or below.heading else 0.0


def balanced(blocks: Sequence[Block], most: float) -> list[list[Block]]:
    """Distribute blocks in order over the fewest columns of `most` rows, about equal in height.

    A block that is higher than `most` is not split.
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
    """Yield each block with the y of its heading and of its rows; y grows downwards by 1 a row."""
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
    """Label rows and headings beside a panel; `height`: rows of the highest panel of the figure."""
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
    """Style a panel of rows: grid along x only, no y axis."""
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=5)


def dot(axes: Axes, y: float, found: Estimate, colour: str = POSITIVE, **style: Any) -> None:
    """Draw mean and interval of a row; nothing if there is no mean."""
    if found.value is not None:
        intervals(axes, [y], [found], flat=True, **{"color": colour, "marker": "o", **style})


def intervals(
    axes: Axes, at_G: ArrayLike, found: Sequence[Estimate], flat: bool = False, **style: Any
) -> None:
    """Draw stored intervals as error bars (seaborn would replace them by its own bootstrap).

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
    """Draw a matrix as square cells with numbers; centres are at (column + 0.5, row + 0.5).

    Args:
        shown_RC: False where a cell is hatched and carries no number; by default, cells are hatched
            where the value is not finite.
        digits: decimals of the numbers; None draws none.
        style: of `seaborn.heatmap`.

    Returns:
        The coloured mesh, e.g. for a colour bar.
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
                text = f"{value:.{digits}f}".replace("-", "−")
                cell_text(axes, row, column, text, colours(norm(value)))
    axes.grid(visible=False)
    return axes.collections[0]


def cell_text(
    axes: Axes, row: float, column: float, text: str, fill: Colour, size: float = 9, **style: Any
) -> None:
    """Write text in the middle of a cell of a heat map, legible on the cell's colour `fill`."""
    place = {"ha": "center", "va": "center", "fontsize": points(size), "color": text_on(fill)}
    axes.text(column + 0.5, row + 0.5, text, **place, **style)


def frame_cell(
    axes: Axes, row: float, column: float, colour: str, width: float, margin: float = 0.05
) -> None:
    """Draw a frame in a cell of a heat map; `width` of its line in points."""
    frame = {"fill": False, "edgecolor": colour, "linewidth": points(width), "zorder": 2}
    side = 1 - 2 * margin
    axes.add_patch(Rectangle((column + margin, row + margin), side, side, **frame))


def modality_ticks(axes: Axes, lang: Language) -> None:
    """Write modality names in their colours, above columns and left of rows of a heat map."""
    at, names = np.arange(len(MODALITIES)) + 0.5, [label(m, lang) for m in MODALITIES]
    axes.set_xticks(at, names)
    axes.set_yticks(at, names, rotation=0)
    axes.tick_params(length=0, top=True, bottom=False, labeltop=True, labelbottom=False)
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        colour_ticks(ticks, MODALITIES, fontweight="bold", fontsize=points(8.5))


def colour_ticks(ticks: Sequence[Text], modalities: Sequence[str], **style: Any) -> None:
    """Give each tick label the colour of its modality; other names stay nearly black."""
    for tick, name in zip(ticks, modalities, strict=True):
        tick.set(color=MODALITY_COLOURS.get(name, shade(0.9)), **style)


def framed(figure: Figure, title: str, note: str, handles: Sequence[Artist] = ()) -> Figure:
    """Add title, legend (as many columns as fit) and a note below."""
    # At the resolution of a screen, hinting makes text up to 4 % wider than measured.
    width = 0.95 * 72 * figure.get_figwidth() / unit() - 14
    size = 9 if on_slide() else 8
    lines = [part for line in note.split("\n") for part in typeset.wrap(line, width, size, 9)]
    title = "\n".join(typeset.wrap(title, width, 11, 2, "bold"))
    figure.supxlabel("\n".join(lines), fontsize=points(8), color=shade(0.7), x=0.01, ha="left")
    if not handles:
        figure.suptitle(title, x=0.01, ha="left")
        return figure
    widest = max(typeset.text_width(str(h.get_label()), 8) for h in handles)
    columns = int((width + 4) // (widest + 40))
    # Constrained layout would overlap a figure title with this legend, so the legend carries it.
    place = {"loc": "outside upper left", "ncols": max(1, columns), "alignment": "left"}
    heading = {"weight": "bold", "size": points(11)}
    figure.legend(handles=handles, title=title, title_fontproperties=heading, **place)
    return figure


def narrow_title(text: str, width: float) -> str:
    """Return the title of a panel; on slides, each line of it in up to two lines of `width`."""
    if not on_slide():
        return text
    lines = [typeset.wrap(line, width, 9.7, 2, "bold") for line in text.split("\n")]
    return "\n".join(part for parts in lines for part in parts)


def note_below(figure: Figure, *lines: str) -> None:
    """Write small grey lines below the panels."""
    if on_slide():
        width = 0.95 * 72 * figure.get_figwidth() / unit()
        lines = tuple(part for line in lines for part in typeset.wrap(line, width, 9, 3))
    figure.supxlabel("\n".join(lines), fontsize=points(8), color=shade(0.7))


def spread(found: Sequence[Estimate]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return means (NaN if there is none) and lengths of the error bars (0 if there is none)."""
    mean_G = np.array([np.nan if e.value is None else e.value for e in found], dtype=float)
    ends = [(e.value, e.value) if e.low is None else (e.low, e.high) for e in found]
    low_G, high_G = np.array(ends, dtype=float).T
    return mean_G, np.clip(mean_G - low_G, 0, None), np.clip(high_G - mean_G, 0, None)


def series_styles(names: Sequence[str]) -> list[dict]:
    """Return colour, marker and dashes of each series; only modalities have their colours."""
    plain = category_colours(len(names))
    if any(name in MODALITY_COLOURS for name in names):
        plain = [MODALITY_COLOURS.get(name, shade(0.6)) for name in names]
    return [
        {"color": plain[k], "marker": MARKERS[k % 6], "ls": DASHES[k % 4], "ms": points(4.5)}
        for k in range(len(names))
    ]


def factor_name(factors: Mapping[str, Factor], shown: Sequence[str], lang: Language = LANG) -> str:
    """Return the factors of a cell in words; numbers are preceded by the name of the factor."""
    values = [(name, factors[name]) for name in shown]
    parts = [term(v, lang) if isinstance(v, str) else f"{term(n, lang)} = {v}" for n, v in values]
    return {"en": ", ", "zh": "，"}[lang].join(parts)
