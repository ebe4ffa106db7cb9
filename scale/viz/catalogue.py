"""Figures of a catalogue: modalities, categories, lengths, duplicates and problems."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator

from scale.data.summary import CatalogueSummary
from scale.modalities import MODALITIES, parse_subset
from scale.viz import typeset
from scale.viz.registry import Sources, figure, shared
from scale.viz.theme import (
    MODALITY_COLOURS,
    POSITIVE,
    drawn,
    new_figure,
    on_slide,
    points,
    shade,
    strip,
    tint,
)
from scale.viz.words import LANG, Language, label

NAMED = 50
"""Up to this number of categories are drawn as named bars; more as a curve."""
LENGTHS = {
    "title_words": "text",
    "table_pairs": "table",
    "image_width": "image",
    "video_seconds": "video",
    "audio_seconds": "audio",
}
"""Lengths on the summary page, with their modalities."""


@drawn
def long_tail(categories: Mapping[str, int], lang: Language = LANG) -> Figure:
    """Draw products by category, largest first: named bars, or a curve for over 50 categories.

    The darker bars (the filled area) are the fewest categories that contain half of all products.
    """
    figure = new_figure(
        5.4, 0.9 + 0.155 * len(categories) if len(categories) <= NAMED else 3.6, dense=True
    )
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
    """Return the fewest categories that contain half of all products; counts are descending."""
    if not len(counts):
        return 0
    return int(np.searchsorted(np.cumsum(counts), counts.sum() / 2)) + 1


def _category_bars(
    axes: Axes, ordered: Sequence[tuple[str, int]], head: int, lang: Language
) -> None:
    counts = [count for _, count in ordered]
    colours = [POSITIVE if rank < head else tint(POSITIVE, 0.5) for rank in range(len(counts))]
    bars = axes.barh(range(len(counts)), counts, height=0.72, color=colours)
    axes.bar_label(bars, counts, padding=points(3), fontsize=points(7.5), color=shade(0.7))
    names = [typeset.shorten(name, 110, 8) for name, _ in ordered]
    axes.set_yticks(range(len(names)), names)
    axes.set(ylim=(len(names) - 0.4, -0.6), xlim=(0, 1.1 * max(counts, default=1)))
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    note = label("head_share", lang, n=head, all=len(ordered))
    axes.set_xlabel("\n".join([label("products", lang), *typeset.wrap(note, 210, 8.5, lines=2)]))


def _rank_curve(axes: Axes, counts: np.ndarray, head: int, lang: Language) -> None:
    """Draw size over rank on logarithmic axes, where a power law is a straight line."""
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


def _length_histograms(
    figure: SubFigure, lengths: Mapping[str, Sequence[float] | np.ndarray], lang: Language
) -> None:
    """Draw a histogram with its median for each length that has values."""
    lengths = {name: lengths[name] for name in LENGTHS if len(lengths.get(name, ()))}
    grid = figure.subplots(1, len(lengths), squeeze=False)[0] if lengths else []
    for axes, (name, values) in zip(grid, lengths.items(), strict=True):
        values = np.asarray(values, dtype=float)
        whole = bool((values == np.round(values)).all())
        span = values.max() - values.min()
        bins = np.arange(values.min(), values.max() + 2) - 0.5 if whole and span < 40 else 20
        colour = MODALITY_COLOURS[LENGTHS[name]]
        seaborn.histplot(x=values, bins=bins, color=colour, alpha=1, linewidth=0, ax=axes)
        middle = float(np.median(values))
        axes.axvline(middle, color=shade(0.8), linewidth=points(1.0), linestyle=(0, (3, 2)))
        axes.set_title(label(name, lang), fontsize=points(8.5))
        axes.set_xlabel(label("median", lang, value=f"{middle:.4g}"), fontsize=points(8))
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=whole, min_n_ticks=1))
        axes.locator_params(axis="y", nbins=4)
        axes.set_ylabel(label("products", lang) if axes is grid[0] else "")


@drawn
def inspect_figure(inspection: CatalogueSummary, lang: Language = LANG) -> Figure:
    """Draw a summary page: combinations, long tail, lengths, duplicates and problems."""
    categories = inspection.categories
    named = len(categories) if len(categories) <= NAMED else 24
    height = max(5.6, 1.1 + 0.155 * named)
    figure = new_figure(11.6, height + 1.9, dense=True)
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
    _length_histograms(bottom, inspection.lengths, lang)
    name = str(inspection.info.get("name") or Path(inspection.folder).name)
    count = label("product_count", lang, n=inspection.products)
    title = f"{typeset.shorten(name, 480, 11, 'bold')} · {count}"
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _check_table(axes: Axes, inspection: CatalogueSummary, lang: Language) -> None:
    """Tabulate products with shared content, leaking held-out products and problems by modality."""
    problems = [sum(p.modality == m for p in inspection.problems) for m in MODALITIES]
    # Files that were not decoded may be broken too.
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
    """Draw products by category."""
    return long_tail(Counter(p.category for p in sources.catalogue if p.category is not None), lang)


@figure("combinations")
def draw_combination_picture(sources: Sources, lang: Language) -> Figure:
    """Draw products by set of modalities."""
    sets = (tuple(m for m in MODALITIES if m in p.present) for p in sources.catalogue)
    return combination_picture(Counter(sets), lang, most=8 if on_slide() else 15)


@figure("catalogue")
def draw_catalogue(sources: Sources, lang: Language) -> Figure:
    """Draw the summary page of the catalogue."""
    return inspect_figure(_summary(sources), lang)


@shared
def _summary(sources: Sources) -> CatalogueSummary:
    return sources.catalogue.summary(progress=False)


Combination = tuple[str, ...]


@drawn
def combination_picture(
    combinations: Mapping[Combination, int], lang: Language = LANG, most: int = 15
) -> Figure:
    """Draw the number of products by set of modalities (an UpSet plot).

    Args:
        combinations: products by exact set of modalities; () for products without any.
        most: number of sets shown, largest first; the others share one labelled bar.

    Top: products with exactly these modalities. Left: share of products with each modality.
    """
    figure = new_figure(7.6, 3.9)
    draw_combinations(figure, combinations, lang, most)
    return figure


def draw_combinations(
    figure: Figure | SubFigure,
    combinations: Mapping[Combination, int],
    lang: Language,
    most: int,
) -> None:
    """Draw `combination_picture` into a part of a figure."""
    ordered = sorted(combinations.items(), key=lambda item: -item[1])
    shown, rest = ordered[:most], ordered[most:]
    counts = [count for _, count in shown]
    if rest:
        counts.append(sum(count for _, count in rest))
    widths = (1, max(2.2, 0.24 * len(counts)))
    grid = figure.subplots(2, 2, width_ratios=widths, height_ratios=(1.5, 1), sharex="col")
    bars, dots, shares = grid[0, 1], grid[1, 1], grid[1, 0]
    grid[0, 0].set_axis_off()
    total = max(1, sum(combinations.values()))
    found = bars.bar(range(len(counts)), counts, width=0.66, color=shade(0.72))
    if rest:
        found[-1].set(facecolor=shade(0.25), hatch="////", edgecolor=shade(0.5), linewidth=0)
    texts = [f"{n}\n{n / total:.0%}" if n / total >= 0.005 else f"{n}\n<1%" for n in counts]
    style = {"fontsize": points(7.5), "color": shade(0.8), "linespacing": 1.1}
    bars.bar_label(found, texts, padding=2, **style)
    bars.set_ylim(0, 1.25 * max(counts, default=1))
    bars.set_title(label("combinations", lang))
    bars.tick_params(axis="x", length=0, labelbottom=False)
    bars.grid(visible=False)
    dot_matrix(dots, [combination for combination, _ in shown], lang, names=False)
    dots.set_xlim(-0.6, max(len(counts), 6) - 0.4)
    if rest:
        text = label("rarer", lang, n=len(rest))
        place = {"ha": "center", "va": "center", "rotation": 90, "color": shade(0.65)}
        dots.text(len(shown), 2, text, fontsize=points(7.5), linespacing=1.2, **place)
    have = [sum(c for names, c in combinations.items() if m in names) for m in MODALITIES]
    share_bars(shares, have, total, lang)


def share_bars(axes: Axes, have: Sequence[int], total: int, lang: Language) -> None:
    """Draw the share of products with each modality, as bars that grow to the left."""
    shares = np.array(have) / max(1, total)
    colours = [MODALITY_COLOURS[m] for m in MODALITIES]
    axes.barh(range(5), shares, height=0.62, color=colours)
    for y, share in enumerate(shares):
        # Not `bar_label`, which writes to the right of an empty bar on an inverted axis.
        text = f"{share:.0%}" if share in (0, 1) or 0.005 <= share < 0.995 else f"{share:.1%}"
        style = {"ha": "right", "va": "center", "color": shade(0.8), "fontsize": points(7.5)}
        axes.annotate(text, (share, y), (-3, 0), textcoords="offset points", **style)
    axes.set(xlim=(1.45, 0), ylim=(4.5, -0.5), xticks=[])
    axes.yaxis.tick_right()
    axes.set_yticks(range(5), [label(m, lang) for m in MODALITIES])
    strip(axes)
    title = {"loc": "right", "fontweight": "normal", "fontsize": points(8)}
    axes.set_title(label("products_with", lang), **title)


def dot_matrix(
    axes: Axes, combinations: Sequence[Combination], lang: Language, names: bool = True
) -> None:
    """Draw a column per combination: filled dots, joined by a line, for its modalities."""
    for row in range(0, 5, 2):
        axes.axhspan(row - 0.5, row + 0.5, color=shade(0.045), linewidth=0, zorder=0)
    for x, combination in enumerate(combinations):
        has = [row for row, m in enumerate(MODALITIES) if m in combination]
        lacks = [row for row in range(5) if row not in has]
        axes.scatter([x] * len(lacks), lacks, s=points(4.5) ** 2, color=shade(0.16), zorder=2)
        if has:
            axes.plot([x, x], [has[0], has[-1]], color=shade(0.5), lw=points(1.4), zorder=2)
        colours = [MODALITY_COLOURS[MODALITIES[row]] for row in has]
        axes.scatter([x] * len(has), has, s=points(6.5) ** 2, color=colours, zorder=3)
    axes.set(ylim=(4.5, -0.5), xticks=[])
    axes.set_yticks(range(5), [label(m, lang) for m in MODALITIES] if names else [])
    strip(axes)
