"""What a catalogue holds, as pictures: the drawn half of `scale inspect`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator

from scale.data.summary import Inspection, inspect_catalogue
from scale.modalities import MODALITIES, parse_subset
from scale.viz import typeset
from scale.viz.combinations import combination_picture, draw_combinations
from scale.viz.registry import Sources, figure
from scale.viz.theme import MODALITY_COLOURS, POSITIVE, drawn, new_figure, points, shade, tint
from scale.viz.words import Language, label

NAMED = 50
"""Up to so many categories get a bar with a name; more get a curve."""
LENGTHS = {
    "title_words": "text",
    "title_characters": "text",
    "table_pairs": "table",
    "image_width": "image",
    "image_height": "image",
    "video_seconds": "video",
    "video_frames": "video",
    "audio_seconds": "audio",
}
"""Which modality a length belongs to."""
INSPECTED = ("title_words", "table_pairs", "image_width", "video_seconds", "audio_seconds")
"""Lengths on the page of `scale inspect`: one a modality."""


@drawn
def long_tail(categories: Mapping[str, int], lang: Language = "en") -> Figure:
    """Products by category, largest first: bars with names, or a curve for over 50 categories.

    The line marks the fewest categories that hold half of all products.
    """
    figure = new_figure(5.4, 0.9 + 0.155 * len(categories) if len(categories) <= NAMED else 3.6)
    _long_tail(figure.subplots(), categories, lang)
    return figure


def _long_tail(axes: Axes, categories: Mapping[str, int], lang: Language) -> None:
    ordered = sorted(categories.items(), key=lambda item: (-item[1], item[0]))
    counts = np.array([count for _, count in ordered], dtype=float)
    head = head_of(counts)
    axes.set_title(label("long_tail", lang))
    if len(counts) <= NAMED:
        _category_bars(axes, ordered, head, lang)
    else:
        _rank_curve(axes, counts, head, lang)


def head_of(counts: np.ndarray) -> int:
    """The fewest categories that hold at least half of all products; counts are descending."""
    if not len(counts):
        return 0
    return int(np.searchsorted(np.cumsum(counts), counts.sum() / 2)) + 1


def _category_bars(
    axes: Axes, ordered: Sequence[tuple[str, int]], head: int, lang: Language
) -> None:
    counts = [count for _, count in ordered]
    colours = [POSITIVE if rank < head else tint(POSITIVE, 0.5) for rank in range(len(counts))]
    axes.barh(range(len(counts)), counts, height=0.72, color=colours)
    for rank, count in enumerate(counts):
        place = {"textcoords": "offset points", "va": "center", "color": shade(0.7)}
        axes.annotate(f"{count}", (count, rank), (points(3), 0), **place, fontsize=points(7.5))
    names = [typeset.shorten(name, 110, 8) for name, _ in ordered]
    axes.set_yticks(range(len(names)), names)
    axes.set(ylim=(len(names) - 0.4, -0.6), xlim=(0, 1.1 * max(counts, default=1)))
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    note = label("head_share", lang, n=head, all=len(ordered))
    axes.set_xlabel("\n".join([label("products", lang), *typeset.wrap(note, 210, 8.5, lines=2)]))


def _rank_curve(axes: Axes, counts: np.ndarray, head: int, lang: Language) -> None:
    """Size over rank, both logarithmic: a power law is a straight line."""
    ranks = np.arange(1, len(counts) + 1)
    axes.loglog(ranks, counts, color=POSITIVE)
    axes.fill_between(ranks[:head], counts[:head], counts.min(), color=tint(POSITIVE, 0.25), lw=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())
    note = label("head_share", lang, n=head, all=len(counts))
    axes.set_xlabel("\n".join([label("rank", lang), *typeset.wrap(note, 210, 8.5, lines=2)]))
    axes.set_ylabel(label("products", lang))


@drawn
def length_histograms(
    lengths: Mapping[str, Sequence[float] | np.ndarray], lang: Language = "en"
) -> Figure:
    """A histogram with its median for each named length (keys: see LENGTHS).

    Lengths of which there is none are left out: the sound of products without sound has none.
    Raises KeyError for a name that is not in LENGTHS.
    """
    shown = {name: LENGTHS[name] for name in lengths if len(lengths[name])}
    columns = max(1, min(4, len(shown)))
    rows = max(1, ceil(len(shown) / columns))
    figure = new_figure(2.2 * columns, 1.9 * rows)
    _lengths(figure, {name: lengths[name] for name in shown}, rows, columns, lang)
    return figure


def _lengths(
    figure: Figure | SubFigure,
    lengths: Mapping[str, Sequence[float] | np.ndarray],
    rows: int,
    columns: int,
    lang: Language,
) -> None:
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(lengths) :]:
        axes.set_axis_off()
    for axes, (name, values) in zip(grid, lengths.items(), strict=False):
        values = np.asarray(values, dtype=float)
        whole = bool((values == np.round(values)).all())
        span = values.max() - values.min()
        bins = np.arange(values.min(), values.max() + 2) - 0.5 if whole and span < 40 else 20
        axes.hist(values, bins=bins, color=MODALITY_COLOURS[LENGTHS[name]])
        middle = float(np.median(values))
        axes.axvline(middle, color=shade(0.8), linewidth=points(1.0), linestyle=(0, (3, 2)))
        axes.set_title(label(name, lang), fontsize=points(8.5))
        axes.set_xlabel(label("median", lang, value=f"{middle:.4g}"), fontsize=points(8))
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=whole, min_n_ticks=1))
        axes.locator_params(axis="y", nbins=4)
        axes.set_ylabel(label("products", lang) if axes.get_subplotspec().is_first_col() else "")


@drawn
def inspect_figure(inspection: Inspection, lang: Language = "en") -> Figure:
    """One page for a catalogue: combinations, long tail, lengths, duplicates and problems."""
    categories = inspection.categories
    named = len(categories) if len(categories) <= NAMED else 24
    height = max(5.6, 1.1 + 0.155 * named)
    figure = new_figure(11.6, height + 1.9)
    top, bottom = figure.subfigures(2, 1, height_ratios=(height, 1.9))
    left, right = top.subfigures(1, 2, width_ratios=(1.65, 1))
    upper, lower = left.subfigures(2, 1, height_ratios=(2.0, 1))
    combinations = {
        () if name == "none" else parse_subset(name): count
        for name, count in inspection.combinations.items()
    }
    draw_combinations(upper, combinations, lang, most=14)
    _check_table(lower.subplots(), inspection, lang)
    _long_tail(right.subplots(), categories, lang)
    lengths = {n: inspection.lengths[n] for n in INSPECTED if len(inspection.lengths.get(n, ()))}
    if lengths:
        _lengths(bottom, lengths, 1, len(lengths), lang)
    name = str(inspection.info.get("name") or Path(inspection.folder).name)
    count = label("product_count", lang, n=inspection.products)
    title = f"{typeset.shorten(name, 480, 11, 'bold')} · {count}"
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _check_table(axes: Axes, inspection: Inspection, lang: Language) -> None:
    """By modality: products that share content, held-out products that leak, problems."""
    problems = [sum(p.modality == m for p in inspection.problems) for m in MODALITIES]
    # Files that nobody decoded may be broken too.
    known = [f"{n}" if inspection.media_checked else f"≥ {n}" for n in problems]
    columns = {
        "duplicated": [f"{inspection.duplicated(m)}" for m in MODALITIES],
        "leaking": [f"{inspection.leakage.get(m, 0)}" for m in MODALITIES],
        "broken_count": known,
    }
    axes.set(xlim=(0, 4.3), ylim=(5.6, -0.9))
    axes.set_axis_off()
    axes.set_title(label("checks", lang))
    for row, modality in enumerate(MODALITIES):
        style = {"va": "center", "fontsize": points(8.5)}
        colour = MODALITY_COLOURS[modality]
        axes.text(0.0, row + 0.5, label(modality, lang), color=colour, fontweight="bold", **style)
        axes.plot([0, 4.3], [row] * 2, color=shade(0.13), linewidth=points(0.6))
        for column, values in enumerate(columns.values()):
            style |= {"ha": "right", "color": shade(0.35 if values[row] == "0" else 0.95)}
            axes.text(1.75 + 1.25 * column, row + 0.5, values[row], **style)
    for column, key in enumerate(columns):
        style = {"ha": "right", "va": "center", "color": shade(0.65), "fontsize": points(7.5)}
        axes.text(1.75 + 1.25 * column, -0.5, label(key, lang), **style)


@figure("long_tail")
def draw_long_tail(sources: Sources, lang: Language) -> Figure:
    """Products by category."""
    return long_tail(Counter(p.category for p in sources.catalogue if p.category is not None), lang)


@figure("combinations")
def draw_combination_picture(sources: Sources, lang: Language) -> Figure:
    """Products by set of modalities."""
    sets = (tuple(m for m in MODALITIES if m in p.present) for p in sources.catalogue)
    return combination_picture(Counter(sets), lang)


@figure("catalogue")
def draw_catalogue(sources: Sources, lang: Language) -> Figure:
    """Summary page of the catalogue."""
    return inspect_figure(inspect_catalogue(sources.catalogue, progress=False), lang)
