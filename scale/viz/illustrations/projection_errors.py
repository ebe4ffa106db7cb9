"""What a map of embeddings tears apart, and what it makes up (notebook 13).

N products or points.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from scale.viz.embeddings import MARKERS
from scale.viz.illustrations.space import Ints, neighbour_ranks
from scale.viz.theme import NEGATIVE, POSITIVE, category_colours, drawn, new_figure, points, shade
from scale.viz.words import Language, label

NEAR = 15
"""A nearest neighbour farther down the map's list than this counts as torn away."""


def most_torn(rank_NN: Ints, map_rank_NN: Ints, k: int = 5) -> int:
    """The point whose k nearest in the space have the largest mean rank on the map."""
    true_NN = (rank_NN >= 1) & (rank_NN <= k)
    return int(np.where(true_NN, map_rank_NN, 0).sum(1).argmax())


@drawn
def map_tears(
    xy_N2: ArrayLike, rank_NN: Ints, lang: Language = "en", row: int | None = None, k: int = 5
) -> Figure:
    """Left: each point joined to its nearest in the space. Right: one point's two neighbourhoods.

    Args:
        xy_N2: the map.
        rank_NN: `neighbour_ranks` in the space.
        row: the point on the right; None takes the most torn one.
    """
    xy_N2 = np.asarray(xy_N2, dtype=float)
    map_rank_NN = neighbour_ranks(xy_N2)
    row = most_torn(rank_NN, map_rank_NN, k) if row is None else row
    figure = new_figure(9.0, 4.9)
    every, one = figure.subplots(1, 2)
    _every_nearest(every, xy_N2, rank_NN, map_rank_NN, lang)
    _one_point(one, xy_N2, rank_NN, map_rank_NN, row, k, lang)
    return figure


def _every_nearest(
    axes: Axes, xy_N2: NDArray, rank_NN: Ints, map_rank_NN: Ints, lang: Language
) -> None:
    nearest_N = (rank_NN == 1).argmax(1)
    torn_N = map_rank_NN[np.arange(len(xy_N2)), nearest_N] > NEAR
    for which_N, key, colour, width, z in (
        (~torn_N, "sp_kept", shade(0.5), 1.0, 1),
        (torn_N, "sp_torn", NEGATIVE, 1.2, 2),
    ):
        lines = np.stack([xy_N2[which_N], xy_N2[nearest_N[which_N]]], axis=1)
        text = label(key, lang, n=int(which_N.sum()), k=NEAR)
        axes.add_collection(
            LineCollection(lines, color=colour, linewidth=points(width), zorder=z, label=text)
        )
    axes.scatter(*xy_N2.T, s=points(2.6) ** 2, color=shade(0.75), linewidth=0, zorder=3)
    _frame(axes, label("sp_nearest", lang))


def _one_point(
    axes: Axes, xy_N2: NDArray, rank_NN: Ints, map_rank_NN: Ints, row: int, k: int, lang: Language
) -> None:
    axes.scatter(*xy_N2.T, s=points(2.6) ** 2, color=shade(0.3), linewidth=0)
    for ranks, key, colour, marker, size in (
        (map_rank_NN[row], "sp_on_map", POSITIVE, "s", 8),
        (rank_NN[row], "sp_in_space", NEGATIVE, "^", 6),
    ):
        found_N2 = xy_N2[(ranks >= 1) & (ranks <= k)]
        lines = [[xy_N2[row], end_2] for end_2 in found_N2]
        axes.add_collection(LineCollection(lines, color=colour, linewidth=points(1.2)))
        look = {"s": points(size) ** 2, "marker": marker, "zorder": 3}
        look |= {"facecolor": "none" if marker == "s" else colour, "edgecolor": colour}
        axes.scatter(*found_N2.T, **look, label=label(key, lang, k=k))
    axes.scatter(*xy_N2[row], s=points(11) ** 2, marker="*", color=shade(1.0), zorder=4)
    _frame(axes, label("sp_one", lang))


@drawn
def made_up_figure(
    truth_N3: ArrayLike,
    group_N: Ints,
    truth_map_N2: ArrayLike,
    noise_maps: dict[int, ArrayLike],
    lang: Language = "en",
) -> Figure:
    """Three groups and their map; noise, mapped with few and with many neighbours.

    Args:
        truth_N3: points of `three_groups`; drawn by their longitude and latitude in degrees.
        noise_maps: maps of random vectors by number of neighbours.
    """
    count = 2 + len(noise_maps)
    figure = new_figure(2.75 * count, 3.1)
    truth, mapped, *noise = figure.subplots(1, count)
    x_N, y_N, z_N = np.asarray(truth_N3, dtype=float).T
    degrees_N2 = np.rad2deg(np.stack([np.arctan2(y_N, x_N), np.arcsin(z_N)], axis=1))
    for axes, xy_N2, title in (
        (truth, degrees_N2, "sp_truth"),
        (mapped, np.asarray(truth_map_N2), "sp_their_map"),
    ):
        _grouped(axes, xy_N2, group_N)
        _frame(axes, label(title, lang), legend=False)
    truth.set(aspect="equal", adjustable="datalim")
    for axes, (neighbours, xy_N2) in zip(noise, noise_maps.items(), strict=True):
        axes.scatter(*np.asarray(xy_N2).T, s=points(2.4) ** 2, color=shade(0.6), linewidth=0)
        _frame(axes, label("sp_noise", lang, k=neighbours), legend=False)
    return figure


def _grouped(axes: Axes, xy_N2: NDArray, group_N: Ints) -> None:
    groups = np.unique(group_N)
    for number, (group, colour) in enumerate(
        zip(groups, category_colours(len(groups)), strict=True)
    ):
        look = {"marker": MARKERS[number % len(MARKERS)], "s": points(3.2) ** 2, "linewidth": 0}
        axes.scatter(*xy_N2[group_N == group].T, color=colour, **look)


def _frame(axes: Axes, title: str, legend: bool = True) -> None:
    axes.set(xticks=[], yticks=[], title=title)
    axes.grid(visible=False)
    axes.spines[:].set_color(shade(0.15))
    axes.spines[:].set_visible(True)
    axes.margins(0.06)
    if legend:
        # Below, because points may lie in any corner.
        axes.legend(loc="upper left", bbox_to_anchor=(0, 0), frameon=False, fontsize=points(8))
