"""How a ranking becomes a number, and how sure the number is (notebook 14).

K places of a ranked list, Q queries, R resamples.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from scale.evaluation.bootstrap import LEVEL, RESAMPLES, weights
from scale.evaluation.metrics import Denominator, average_precision_at_k
from scale.viz.theme import HIT, NEGATIVE, POSITIVE, drawn, new_figure, points, shade, tint
from scale.viz.words import Language, label

Floats = NDArray[np.float64]

DIVISORS: dict[Denominator, str] = {
    "relevant": "dn_relevant",
    "min(k, relevant)": "dn_min",
    "hits": "dn_hits",
}
"""Label of each denominator, in the order that they are drawn."""


def one_list(lang: Language = "en") -> Figure:
    """`ap_denominators` of the first list of notebook 14: hits at ranks 1, 3, 6 of 8 relevant."""
    return ap_denominators({label("dn_one", lang): (1, 0, 1, 0, 0, 1, 0, 0, 0, 0)}, 8, lang)


def two_systems(lang: Language = "en") -> Figure:
    """`ap_denominators` of two lists that change places with the denominator."""
    lists = {"A": (1, 0, 0, 0, 0), "B": (0, 1, 1, 1, 1)}
    named = {label("dn_system", lang, name=name): rel_K for name, rel_K in lists.items()}
    return ap_denominators(named, 5, lang)


@drawn
def ap_denominators(
    rankings: Mapping[str, Sequence[bool]], relevant: int, lang: Language = "en", k: int = 5
) -> Figure:
    """Ranked lists, the precision along each, and AP@k by its three denominators.

    Args:
        rankings: by name, whether the item at each place is relevant.
        relevant: relevant items in the whole gallery, the same for all lists.
    """
    figure = new_figure(9.4, 2.35 * len(rankings) + 0.5)
    grid = figure.subplots(len(rankings), 2, width_ratios=(1.7, 1), squeeze=False)
    for (curve, bars), (name, rel_K) in zip(grid, rankings.items(), strict=True):
        rel_K = np.asarray(rel_K, dtype=bool)
        _precision_curve(curve, rel_K, k, lang)
        curve.set_title(label("dn_list", lang, name=name, relevant=relevant))
        _denominator_bars(bars, rel_K, relevant, k, lang)
    grid[-1, 0].set_xlabel(label("dn_rank", lang))
    grid[0, 1].set_title(label("dn_ap_title", lang, k=k))
    return figure


def _precision_curve(axes: Axes, rel_K: NDArray[np.bool_], k: int, lang: Language) -> None:
    place_K = np.arange(1, len(rel_K) + 1)
    precision_K = np.cumsum(rel_K) / place_K
    axes.plot(place_K, precision_K, color=shade(0.5), lw=points(1.2), zorder=2)
    for place, hit, precision in zip(place_K, rel_K, precision_K, strict=True):
        style = {"facecolor": tint(HIT, 0.25) if hit else shade(0.03)}
        style["edgecolor"] = HIT if hit else shade(0.35)
        axes.add_patch(Rectangle((place - 0.36, 1.26), 0.72, 0.3, lw=points(1.4), **style))
        mark = {"ha": "center", "va": "center", "fontsize": points(11), "fontweight": "bold"}
        axes.text(place, 1.41, "✓" if hit else "", color=HIT, **mark)
        face = HIT if hit else shade(0.0)
        edge = HIT if hit else shade(0.5)
        axes.scatter(place, precision, s=points(5.5) ** 2, color=face, edgecolor=edge, zorder=3)
        if hit and place <= k:
            text = {"ha": "center", "va": "bottom", "fontsize": points(8), "color": HIT}
            axes.text(place, min(precision + 0.07, 1.05), f"{precision:.2f}", **text)
    if len(rel_K) > k:
        axes.axvspan(k + 0.5, len(rel_K) + 0.5, color=shade(0.06), linewidth=0, zorder=0)
        far = {"ha": "center", "va": "center", "fontsize": points(8), "color": shade(0.6)}
        axes.text((k + len(rel_K) + 1) / 2, 0.93, label("dn_beyond", lang, k=k), **far)
    axes.set(xlim=(0.5, len(rel_K) + 0.5), ylim=(0, 1.62), xticks=place_K)
    axes.set_yticks([0, 0.5, 1.0])
    axes.set_ylabel(label("dn_precision", lang))


def _denominator_bars(
    axes: Axes, rel_K: NDArray[np.bool_], relevant: int, k: int, lang: Language
) -> None:
    counts = {"relevant": relevant, "min(k, relevant)": min(k, relevant), "hits": rel_K[:k].sum()}
    colours = (shade(0.6), POSITIVE, NEGATIVE)
    for y, (denominator, colour) in enumerate(zip(DIVISORS, colours, strict=True)):
        (value,) = average_precision_at_k(rel_K[None], np.array([relevant]), k, denominator)
        axes.barh(y, value, height=0.62, color=colour)
        side = {"va": "center", "fontsize": points(9), "fontweight": "bold"}
        axes.text(value + 0.02, y, f"{value:.2f}", **side)
    names = [label(key, lang, n=counts[d]) for d, key in DIVISORS.items()]
    axes.set_yticks(range(len(names)), names)
    axes.set(xlim=(0, 1.16), ylim=(len(names) - 0.5, -0.5), xticks=[0, 0.5, 1])
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def resampled_means(value_Q: ArrayLike, seed: int = 0, resamples: int = RESAMPLES) -> Floats:
    """mean_R of the values of R resampled sets of queries, drawn as `bootstrap.estimate` does."""
    value_Q = np.asarray(value_Q, dtype=float)
    draws = [w_RQ @ value_Q for w_RQ in weights(len(value_Q), seed, resamples)]
    return np.concatenate(draws) / len(value_Q)


@drawn
def bootstrap_figure(
    a_Q: ArrayLike,
    b_Q: ArrayLike,
    names: tuple[str, str] | None = None,
    lang: Language = "en",
    seed: int = 0,
) -> Figure:
    """One value a query; means of resampled queries; the difference of two systems, both ways.

    Args:
        a_Q, b_Q: values of two systems for the same queries.
        names: of the systems, for the last panel; None: all five modalities, all but the picture.

    Raises ValueError where the two are not of the same queries.
    """
    a_Q, b_Q = np.asarray(a_Q, dtype=float), np.asarray(b_Q, dtype=float)
    if a_Q.shape != b_Q.shape:
        raise ValueError(f"values of {a_Q.shape} and {b_Q.shape} queries")
    names = names or (label("dn_five", lang), label("dn_four", lang))
    figure = new_figure(10.4, 3.3)
    each, means, differences = figure.subplots(1, 3)
    each.hist(a_Q, np.linspace(0, 1, 21), color=tint(POSITIVE, 0.55), edgecolor=POSITIVE)
    each.axvline(a_Q.mean(), color=shade(1.0), lw=points(1.6))
    each.set(xlabel=label("dn_ap", lang), ylabel=label("dn_queries", lang))
    each.set_title(label("dn_each", lang, n=len(a_Q), mean=a_Q.mean()))
    _interval(means, resampled_means(a_Q, seed), POSITIVE, "")
    means.set(xlabel=label("dn_mean", lang), ylabel=label("dn_resamples", lang))
    means.set_title(label("dn_means", lang, n=RESAMPLES))
    apart_R = resampled_means(a_Q, seed) - resampled_means(b_Q, seed + 1)
    _interval(differences, apart_R, shade(0.55), label("dn_unpaired", lang))
    _interval(differences, resampled_means(a_Q - b_Q, seed), POSITIVE, label("dn_paired", lang))
    differences.axvline(0, 0, 0.64, color=shade(1.0), lw=points(1.0), dashes=(3, 2))
    differences.set(xlabel=label("dn_difference", lang, a=names[0], b=names[1]))
    differences.set_title(label("dn_two_ways", lang))
    low, high = differences.get_ylim()
    differences.set_ylim(low, 1.5 * high)
    differences.legend(loc="upper left", frameon=False, fontsize=points(8))
    return figure


def _interval(axes: Axes, draws_R: Floats, colour: str, name: str) -> None:
    """Histogram of resampled values, with a bar under it from the low to the high end."""
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(draws_R, [tail, 100 - tail])
    text = f"{name} [{low:.2f}, {high:.2f}]".strip().replace("-", "−")
    style = {"histtype": "stepfilled", "alpha": 0.4, "color": colour, "label": text}
    axes.hist(draws_R, 30, **style)
    for end in (low, high):
        axes.axvline(end, 0, 0.64 if name else 1.0, color=colour, lw=points(1.4))
    if not name:
        top = axes.get_ylim()[1]
        axes.set_ylim(0, 1.2 * top)
        middle = {"ha": "center", "va": "center", "fontsize": points(9), "color": colour}
        axes.text((low + high) / 2, 1.1 * top, text, fontweight="bold", **middle)
