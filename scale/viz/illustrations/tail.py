"""Long tails: how long, and what they do to a mean (notebook 02).

K categories, largest first, n_k products in the k-th.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import ArrayLike, NDArray

from scale.viz import typeset
from scale.viz.theme import NEGATIVE, POSITIVE, drawn, new_figure, points, shade, tint
from scale.viz.words import Language, label

COLOURS = (POSITIVE, NEGATIVE, "#32A287")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))


def power_law(categories: int, power: float = 1.0) -> NDArray[np.float64]:
    """share_K of categories whose sizes fall as 1 / rank^power (Zipf's law where power is 1)."""
    size_K = 1 / np.arange(1, categories + 1) ** power
    return size_K / size_K.sum()


def lorenz(sizes_K: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The share of all products that the smallest share of the categories holds, from (0, 0) to
    (1, 1). The area between it and the diagonal, times 2, is the Gini coefficient."""
    size_K = np.sort(np.asarray(sizes_K, dtype=float))
    held_K = np.concatenate([[0], np.cumsum(size_K) / size_K.sum()])
    return np.linspace(0, 1, len(held_K)), held_K


def beside_zipf(
    sizes_K: Sequence[int], lang: Language = "en", categories: int = 6000
) -> dict[str, ArrayLike]:
    """A shop's category sizes and those of Zipf's law, with names: what `tail_curves` takes."""
    return {
        label("tail_shop", lang, n=len(sizes_K)): sizes_K,
        label("tail_zipf", lang, n=categories): power_law(categories),
    }


@drawn
def tail_curves(sizes: Mapping[str, ArrayLike], lang: Language = "en") -> Figure:
    """Two views of one or more (at most three) lists of category sizes, by name.

    Left: size over rank, as a share of all products, both logarithmic. Right: Lorenz curves.
    """
    figure = new_figure(8.6, 3.7)
    ranks, held = figure.subplots(1, 2)
    for (name, sizes_K), colour, dashes in zip(sizes.items(), COLOURS, DASHES, strict=False):
        size_K = np.sort(np.asarray(sizes_K, dtype=float))[::-1]
        style = {"color": colour, "ls": dashes}
        ranks.loglog(np.arange(1, len(size_K) + 1), size_K / size_K.sum(), label=name, **style)
        held.plot(*lorenz(size_K), **style)
    ranks.set(xlabel=label("rank", lang), ylabel=label("tail_share", lang))
    ranks.set_title(label("tail_rank_title", lang))
    ranks.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ranks.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
    for axis in (ranks.xaxis, ranks.yaxis):
        axis.set_minor_locator(NullLocator())
    ranks.legend(frameon=False, loc="lower left", fontsize=points(8))
    held.plot([0, 1], [0, 1], color=shade(0.45), lw=points(1))
    slanted = {"rotation": 45, "rotation_mode": "anchor", "transform_rotates_text": True}
    held.text(0.47, 0.5, label("tail_equal", lang), ha="center", color=shade(0.6),
              fontsize=points(8), **slanted)  # fmt: skip
    held.set(xlabel=label("tail_smallest", lang), ylabel=label("tail_held", lang))
    held.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", title=label("tail_lorenz_title", lang))
    return figure


@drawn
def tail_metric(
    names: Sequence[str], queries_K: ArrayLike, right_K: ArrayLike, lang: Language = "en"
) -> Figure:
    """Share of right answers by category, largest first, and the two means of them.

    Args:
        queries_K: queries of each category (at least one). right_K: those answered rightly.

    Over products: sum right / sum queries. Over categories: mean of right_k / queries_k. A bar is
    as wide as its category has queries, so the first mean is the bars' area.
    """
    queries_K, right_K = np.asarray(queries_K, dtype=float), np.asarray(right_K, dtype=float)
    share_K, left_K = right_K / queries_K, np.cumsum(queries_K) - queries_K
    total = queries_K.sum()
    figure = new_figure(10.2, 3.6)
    axes = figure.subplots()
    axes.bar(left_K, share_K, width=queries_K, align="edge", color=tint(POSITIVE, 0.45),
             edgecolor=shade(0.0), lw=points(0.8))  # fmt: skip
    _mean_line(axes, right_K.sum() / total, "mean_over_products", POSITIVE, total, lang)
    _mean_line(axes, share_K.mean(), "mean_over_categories", NEGATIVE, total, lang)
    shown = [typeset.shorten(name, 60, 7) for name in names]
    axes.set_xticks(left_K + queries_K / 2, shown, rotation=90, fontsize=points(7))
    axes.tick_params(axis="x", length=0)
    axes.set(xlim=(0, total), ylim=(0, 1.3), ylabel=label("tail_right", lang))
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.legend(frameon=False, loc="upper left", ncols=2)
    axes.grid(visible=False, axis="x")
    return figure


def _mean_line(
    axes: Axes, value: float, key: str, colour: str, right: float, lang: Language
) -> None:
    text = f"{label(key, lang)}: {value:.2f}"
    style = DASHES[0] if colour == POSITIVE else DASHES[1]
    axes.plot([0, right], [value, value], color=colour, lw=points(1.8), ls=style, label=text)
