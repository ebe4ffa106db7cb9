"""What the figures of studies share: rows with headings, dots with whiskers, a frame of words.

G values of a series.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scale.evaluation.bootstrap import Estimate
from scale.studies.study import Factor
from scale.viz import typeset
from scale.viz.theme import MODALITY_COLOURS, POSITIVE, category_colours, points, shade, unit
from scale.viz.words import Language, term

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


def dot(axes: Axes, y: float, found: Estimate, colour: str = POSITIVE, **style) -> None:
    """Mean and whisker of a row; nothing where there is no mean."""
    if found.value is None:
        return
    mean_1, below_1, above_1 = spread([found])
    style = {"marker": "o", "ms": points(5), "elinewidth": points(1.4), **style}
    axes.errorbar(mean_1, [y], xerr=[below_1, above_1], color=colour, ls="none", **style)


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
