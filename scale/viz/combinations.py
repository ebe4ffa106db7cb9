"""Which modalities come together: rows of dots, bars above them (an UpSet picture)."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from scale.modalities import MODALITIES
from scale.viz.theme import MODALITY_COLOURS, drawn, new_figure, points, shade
from scale.viz.words import Language, label

Combination = tuple[str, ...]


@drawn
def combination_picture(
    combinations: Mapping[Combination, int], lang: Language = "en", most: int = 15
) -> Figure:
    """Which modalities come together, and how often (an UpSet picture).

    Args:
        combinations: products by exact set of modalities; the empty set stands for none.
        most: combinations that are shown, largest first; the rest is one bar that says so.

    Above: products with exactly these modalities. Left: share of products with each modality.
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
    """`combination_picture` on a part of a figure."""
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
    bars.bar(range(len(shown)), counts[: len(shown)], width=0.66, color=shade(0.72))
    if rest:
        bars.bar(
            len(shown), counts[-1], width=0.66, color=shade(0.25), hatch="////", ec=shade(0.5), lw=0
        )
    for x, count in enumerate(counts):
        share = f"{count}\n{count / total:.0%}" if count / total >= 0.005 else f"{count}\n<1%"
        style = {"ha": "center", "va": "bottom", "color": shade(0.8), "linespacing": 1.1}
        bars.annotate(share, (x, count), (0, 2), textcoords="offset points", **style).set_fontsize(
            points(7.5)
        )
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
    """Share of the products that have each modality, growing to the left from its name."""
    shares = np.array(have) / max(1, total)
    axes.barh(range(5), shares, height=0.62, color=[MODALITY_COLOURS[m] for m in MODALITIES])
    for y, share in enumerate(shares):
        text = f"{share:.0%}" if share in (0, 1) or 0.005 <= share < 0.995 else f"{share:.1%}"
        style = {"ha": "right", "va": "center", "color": shade(0.8)}
        axes.annotate(text, (share, y), (-3, 0), textcoords="offset points", **style).set_fontsize(
            points(7.5)
        )
    axes.set(xlim=(1.45, 0), ylim=(4.5, -0.5), xticks=[])
    axes.yaxis.tick_right()
    axes.set_yticks(range(5), [label(m, lang) for m in MODALITIES])
    axes.tick_params(length=0)
    title = {"loc": "right", "fontweight": "normal", "fontsize": points(8)}
    axes.set_title(label("products_with", lang), **title)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def dot_matrix(
    axes: Axes, combinations: Sequence[Combination], lang: Language, names: bool = True
) -> None:
    """A column per combination: filled dots where it has the modality, joined by a line."""
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
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
