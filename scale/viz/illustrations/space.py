"""Embedding space: modality gap, cosines, neighbours, and errors of projections (notebook 13).

D width, k neighbours, M modalities (five), N products or points, P points (one per product and
modality).
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

from scale.evaluation.embed import Embeddings, embed_dataset, unit
from scale.modalities import MODALITIES
from scale.viz.embeddings import MARKERS, kept_umap, product_vectors
from scale.viz.registry import Sources, figure, shared
from scale.viz.theme import (
    MODALITY_COLOURS,
    NEGATIVE,
    POSITIVE,
    category_colours,
    drawn,
    new_figure,
    on_slide,
    points,
    shade,
    strip,
)
from scale.viz.words import LANG, Language, label

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Points:
    """All present features as points of the unit sphere."""

    unit_PD: NDArray[np.float32]
    modality_P: NDArray[np.str_]
    row_P: Ints
    """Product of each point."""

    @classmethod
    def of(cls, embeddings: Embeddings) -> "Points":
        """Return the points of embeddings, product by product, modalities in MODALITIES' order."""
        row_P, m_P = np.nonzero(embeddings.present_NM)
        pooled_PD = embeddings.pooled_NMD[row_P, m_P]
        return cls(unit(pooled_PD), np.array(MODALITIES)[m_P], row_P)

    def means(self) -> dict[str, NDArray[np.float32]]:
        """Return mean_D by modality (inside the sphere), for modalities of at least one product."""
        there = [m for m in MODALITIES if (self.modality_P == m).any()]
        return {m: self.unit_PD[self.modality_P == m].mean(0) for m in there}


def modality_gap(points: Points) -> float:
    """Return the mean over pairs of modalities of || mean_i - mean_j || (Liang et al., 2022).

    0 if all modalities have the same mean; sqrt(2) if each is one point and they are orthogonal;
    NaN if there is only one modality.
    """
    pairs = list(combinations(points.means().values(), 2))
    return float(np.mean([np.linalg.norm(a - b) for a, b in pairs])) if pairs else float("nan")


def cosine_kinds(points: Points) -> dict[str, Floats]:
    """Return the cosines of all unordered pairs of points, by kind.

    `within`: one modality, different products; `between`: different modalities, different
    products; `same`: different modalities of one product.
    """
    cosine_PP = points.unit_PD.astype(float) @ points.unit_PD.T.astype(float)
    modality_PP = points.modality_P[:, None] == points.modality_P
    product_PP = points.row_P[:, None] == points.row_P
    once_PP = np.triu(np.ones_like(product_PP), k=1)
    kinds = {
        "within": modality_PP & ~product_PP,
        "between": ~modality_PP & ~product_PP,
        "same": ~modality_PP & product_PP,
    }
    return {kind: cosine_PP[of_PP & once_PP] for kind, of_PP in kinds.items()}


def principal_axes(x_ND: ArrayLike) -> tuple[Floats, float]:
    """Return xy_N2, the first two principal components, and their share of the variance.

    The sign of each axis makes its largest coordinate by magnitude positive.
    """
    x_ND = np.asarray(x_ND, dtype=float)
    left_NK, size_K, _ = np.linalg.svd(x_ND - x_ND.mean(0), full_matrices=False)
    xy_N2 = left_NK[:, :2] * size_K[:2]
    xy_N2 *= np.sign(xy_N2[np.abs(xy_N2).argmax(0), np.arange(2)])
    return xy_N2, float((size_K[:2] ** 2).sum() / (size_K**2).sum())


def neighbour_ranks(x_ND: ArrayLike) -> Ints:
    """Return rank_NN: rank of point j by distance from point i, 1 the nearest, 0 for i itself.

    Ties are ranked by index.
    """
    distance_NN = cdist(x_ND, x_ND)
    np.fill_diagonal(distance_NN, -1.0)
    return rankdata(distance_NN, method="ordinal", axis=1).astype(np.int64) - 1


def trustworthiness(rank_NN: Ints, map_rank_NN: Ints, k: int) -> float:
    """Return 1 - 2 / (N k (2N - 3k - 1)) * sum of (rank - k) over false neighbours.

    A false neighbour is among the k nearest on the map but not in the space (Venna and Kaski,
    2001). With the arguments swapped the result is the continuity, which measures neighbours
    separated by the map. `sklearn.manifold.trustworthiness` needs the points; this the ranks.

    Raises ValueError for k >= N / 2, where the normaliser is invalid.
    """
    count = len(rank_NN)
    if not 1 <= k < count / 2:
        raise ValueError(f"k is {k}; it must be at least 1 and below {count / 2}")
    shown_NN = (map_rank_NN >= 1) & (map_rank_NN <= k)
    excess = np.maximum(rank_NN - k, 0)[shown_NN].sum()
    return float(1 - 2 * excess / (count * k * (2 * count - 3 * k - 1)))


def three_groups(per_group: int = 60, seed: int = 0) -> tuple[Floats, Ints]:
    """Return x_N3 and group_N: three groups on a sphere with known geometry.

    Groups 0 and 1 are narrow (2 degrees) and close (20 degrees apart), group 2 is distant (100
    degrees from group 0) and six times as wide.
    """
    rng = np.random.default_rng(seed)
    angle_G = np.deg2rad([0.0, 20.0, -100.0])
    centre_G3 = np.stack([np.cos(angle_G), np.sin(angle_G), np.zeros(3)], axis=1)
    width_G = np.deg2rad([2.0, 2.0, 12.0])
    group_N = np.repeat(np.arange(3), per_group)
    noise_N3 = rng.normal(size=(len(group_N), 3)) * width_G[group_N, None]
    return unit(centre_G3[group_N] + noise_N3), group_N


KINDS = {"within": ("sp_within", NEGATIVE), "between": ("sp_between", "#8A8F98")}
KINDS |= {"same": ("sp_same", POSITIVE)}
"""Label and colour of each kind of cosine."""
NAMED = 6
"""Number of categories in colour; the others are grey."""


@drawn
def modality_gap_figure(stages: Mapping[str, Points], lang: Language = LANG) -> Figure:
    """Draw PCA of all points and cosines by kind for each stage (`untrained`, `trained`).

    Large markers are the means of modalities; all maps share one scale.
    """
    figure = new_figure(8.6, 2.9 * len(stages) + 0.5, dense=True)
    grid = figure.subplots(len(stages), 2, width_ratios=(1, 1.05), squeeze=False)
    for (plane, bars), (stage, found) in zip(grid, stages.items(), strict=True):
        xy_P2, share = principal_axes(found.unit_PD)
        _modality_points(plane, xy_P2, found.modality_P)
        for number, m in enumerate(found.means()):
            mean_2 = xy_P2[found.modality_P == m].mean(0)
            look = {"s": points(10) ** 2, "linewidth": points(1.6), "edgecolor": shade(1.0)}
            look |= {"facecolor": MODALITY_COLOURS[m], "marker": MARKERS[number]}
            plane.scatter(*mean_2, zorder=4, **look)
        plane.set(xlim=(-1.25, 1.25), ylim=(-1.1, 1.1), aspect="equal", xticks=[], yticks=[])
        values = {"stage": label(stage, lang), "gap": modality_gap(found)}
        plane.set_title(label("sp_gap_is", lang, **values))
        plane.set_xlabel(label("sp_plane", lang, share=100 * share))
        _cosine_histogram(bars, cosine_kinds(found), lang)
    grid[-1, 1].set_xlabel(label("sp_cosine", lang))
    handles, names = grid[0, 1].get_legend_handles_labels()
    # Above the panel, because the bars can be anywhere in it.
    grid[0, 1].legend(handles, names, loc="lower left", bbox_to_anchor=(0, 1))
    _modality_legend(figure, lang)
    return figure


def _cosine_histogram(axes: Axes, kinds: Mapping[str, NDArray], lang: Language) -> None:
    import seaborn

    look = {"stat": "percent", "element": "step", "alpha": 0.35, "linewidth": points(1.2)}
    for kind, (key, colour) in KINDS.items():
        seaborn.histplot(kinds[kind], bins=np.linspace(-1, 1, 51), color=colour, ax=axes, **look)
        axes.plot([], [], color=colour, lw=points(5), label=label(key, lang))
        axes.axvline(kinds[kind].mean(), color=colour, lw=points(1.6), dashes=(3, 2))
    axes.set(xlim=(-1, 1), ylabel=label("sp_share", lang))


@drawn
def modality_maps(
    maps: Mapping[str, ArrayLike], modality_P: Sequence[str], lang: Language = LANG
) -> Figure:
    """Draw maps of the same points by stage (`untrained`, `trained`), coloured by modality."""
    figure = new_figure(4.1 * len(maps), 4.2)
    for axes, (stage, xy_P2) in zip(
        figure.subplots(1, len(maps), squeeze=False)[0], maps.items(), strict=True
    ):
        _modality_points(axes, np.asarray(xy_P2), np.asarray(modality_P))
        _hide_axes(axes, label("sp_umap_of", lang, stage=label(stage, lang)))
    _modality_legend(figure, lang)
    return figure


@drawn
def gap_over_training(
    snapshots: Mapping[int, Points], lang: Language = LANG, last: int | None = None
) -> Figure:
    """Draw PCA maps of one scale at steps of a training, and below the gap and the cosines.

    Args:
        snapshots: points by step.
        last: step that comes from another training; it is joined by a dashed line.
    """
    figure = new_figure(2.05 * len(snapshots) + 0.4, 4.6, dense=True)
    above, below = figure.subfigures(2, 1, height_ratios=(1, 1.25))
    for axes, (step, found) in zip(
        above.subplots(1, len(snapshots)), snapshots.items(), strict=True
    ):
        xy_P2, _ = principal_axes(found.unit_PD)
        _modality_points(axes, xy_P2, found.modality_P, 1.6)
        axes.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal")
        _hide_axes(axes, label("sp_at_step", lang, step=step))
    gap, cosines = below.subplots(1, 2, width_ratios=(1, 1.1))
    kinds = [cosine_kinds(found) for found in snapshots.values()]
    steps, distances = list(snapshots), [modality_gap(found) for found in snapshots.values()]
    live = [number for number, step in enumerate(steps) if step != last]
    series = [(gap, distances, shade(0.85), label("sp_gap", lang), "o")]
    for number, (kind, (key, colour)) in enumerate(KINDS.items()):
        means = [float(found[kind].mean()) for found in kinds]
        series.append((cosines, means, colour, label(key, lang), "sD^"[number]))
    for axes, values, colour, name, marker in series:
        style = {"color": colour, "marker": marker, "ms": points(4.5)}
        axes.plot(live, [values[k] for k in live], **style, label=name)
        axes.plot(range(len(steps)), values, **style, dashes=(2, 2))
    for axes, title in ((gap, "sp_gap_title"), (cosines, "sp_cosines_title")):
        axes.set_xticks(range(len(steps)), [f"{step}" for step in steps])
        axes.set(xlabel=label("step", lang), title=label(title, lang))
    gap.set_ylim(0, 1.5)
    cosines.set_ylim(-0.1, 1.05)
    # Beside the panel, because the curves can be anywhere in it.
    place = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
    cosines.legend(**place)
    return figure


@drawn
def seed_maps(maps: Mapping[int, ArrayLike], groups: Sequence, lang: Language = LANG) -> Figure:
    """Draw maps of the same points by seed; the six largest groups are coloured."""
    group_N = np.array([str(g) for g in groups])
    names, counts = np.unique(group_N, return_counts=True)
    shown = names[np.lexsort((names, -counts))][:NAMED]
    figure = new_figure(4.1 * len(maps), 4.3)
    panels = figure.subplots(1, len(maps), squeeze=False)[0]
    colours = category_colours(NAMED)
    for axes, (seed, xy_N2) in zip(panels, maps.items(), strict=True):
        xy_N2 = np.asarray(xy_N2)
        rest_N = ~np.isin(group_N, shown)
        axes.scatter(*xy_N2[rest_N].T, s=points(3) ** 2, color=shade(0.3), linewidth=0)
        here = ~rest_N
        look = {"s": points(5.5) ** 2, "palette": dict(zip(shown, colours, strict=False))}
        _class_points(axes, xy_N2[here], group_N[here], shown, look, legend="full")
        _hide_axes(axes, label("sp_seed", lang, seed=seed))
    handles, texts = panels[0].get_legend_handles_labels()
    for axes in panels:
        axes.get_legend().remove()
    figure.legend(handles, texts, loc="outside lower center", ncols=NAMED)
    return figure


def _class_points(
    axes: Axes, xy_N2: NDArray, class_N: ArrayLike, order: Sequence, look: dict, legend=False
) -> None:
    """Draw points in the colour and marker of their class; the order of classes fixes both."""
    import seaborn

    x_N, y_N = xy_N2.T
    markers = dict(zip(order, itertools.cycle(MARKERS), strict=False))
    classes = {"hue": class_N, "style": class_N, "hue_order": order, "style_order": order}
    look = {"linewidth": 0, "markers": markers, "legend": legend, **look}
    seaborn.scatterplot(x=x_N, y=y_N, **classes, **look, ax=axes)


def _modality_points(axes: Axes, xy_P2: NDArray, modality_P: NDArray, size: float = 2.6) -> None:
    look = {"palette": MODALITY_COLOURS, "s": points(size) ** 2, "alpha": 0.75}
    _class_points(axes, xy_P2, modality_P, MODALITIES, look)


def _modality_legend(figure: Figure, lang: Language) -> None:
    handles = [
        Line2D([], [], ls="none", marker=MARKERS[k], color=MODALITY_COLOURS[m], ms=points(5.5),
               label=label(m, lang))
        for k, m in enumerate(MODALITIES)
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def _hide_axes(axes: Axes, title: str) -> None:
    axes.set(xticks=[], yticks=[], title=title)
    strip(axes)


ERROR_RANK = 15
"""A nearest neighbour with a larger rank on the map is a projection error."""


def largest_projection_error(rank_NN: Ints, map_rank_NN: Ints, k: int = 5) -> int:
    """Return the point whose k nearest in the space have the largest mean rank on the map."""
    true_NN = (rank_NN >= 1) & (rank_NN <= k)
    return int(np.where(true_NN, map_rank_NN, 0).sum(1).argmax())


@drawn
def projection_errors(
    xy_N2: ArrayLike, rank_NN: Ints, lang: Language = LANG, row: int | None = None, k: int = 5
) -> Figure:
    """Draw each point's nearest neighbour in the space, and two neighbourhoods of one point.

    Args:
        xy_N2: the map.
        rank_NN: `neighbour_ranks` in the space.
        row: the point of the right panel; None selects the one with the largest error.
    """
    xy_N2 = np.asarray(xy_N2, dtype=float)
    map_rank_NN = neighbour_ranks(xy_N2)
    row = largest_projection_error(rank_NN, map_rank_NN, k) if row is None else row
    figure = new_figure(11.5 if on_slide() else 9.0, 4.9)
    every, one = figure.subplots(1, 2)
    _every_nearest(every, xy_N2, rank_NN, map_rank_NN, lang)
    _one_point(one, xy_N2, rank_NN, map_rank_NN, row, k, lang)
    return figure


def _every_nearest(
    axes: Axes, xy_N2: NDArray, rank_NN: Ints, map_rank_NN: Ints, lang: Language
) -> None:
    nearest_N = (rank_NN == 1).argmax(1)
    error_N = map_rank_NN[np.arange(len(xy_N2)), nearest_N] > ERROR_RANK
    for which_N, key, colour, width, z in (
        (~error_N, "sp_kept", shade(0.5), 1.0, 1),
        (error_N, "sp_torn", NEGATIVE, 1.2, 2),
    ):
        lines = np.stack([xy_N2[which_N], xy_N2[nearest_N[which_N]]], axis=1)
        text = label(key, lang, n=int(which_N.sum()), k=ERROR_RANK)
        look = {"color": colour, "linewidth": points(width), "zorder": z}
        axes.add_collection(LineCollection(lines, label=text, **look))
    axes.scatter(*xy_N2.T, s=points(2.6) ** 2, color=shade(0.75), linewidth=0, zorder=3)
    _frame_map(axes, label("sp_nearest", lang))


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
    _frame_map(axes, label("sp_one", lang))


@drawn
def projection_artefacts(
    truth_N3: ArrayLike,
    group_N: Ints,
    truth_map_N2: ArrayLike,
    noise_maps: dict[int, ArrayLike],
    lang: Language = LANG,
) -> Figure:
    """Draw three groups and their map, and maps of noise with few and many neighbours.

    Args:
        truth_N3: points of `three_groups`, drawn by longitude and latitude in degrees.
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
        groups = np.unique(group_N)
        palette = dict(zip(groups, category_colours(len(groups)), strict=True))
        _class_points(axes, xy_N2, group_N, groups, {"palette": palette, "s": points(3.2) ** 2})
        _frame_map(axes, label(title, lang), legend=False)
    truth.set(aspect="equal", adjustable="datalim")
    for axes, (neighbours, xy_N2) in zip(noise, noise_maps.items(), strict=True):
        axes.scatter(*np.asarray(xy_N2).T, s=points(2.4) ** 2, color=shade(0.6), linewidth=0)
        _frame_map(axes, label("sp_noise", lang, k=neighbours), legend=False)
    return figure


def _frame_map(axes: Axes, title: str, legend: bool = True) -> None:
    axes.set(xticks=[], yticks=[], title=title)
    axes.grid(visible=False)
    axes.spines[:].set_color(shade(0.15))
    axes.spines[:].set_visible(True)
    axes.margins(0.06)
    if legend:
        # Below the panel, because points can be in any corner.
        axes.legend(loc="upper left", bbox_to_anchor=(0, 0), handlelength=1.0)


NOISE = 400
"""Number of random vectors in `map_made_up`."""
FEW, MANY = 3, 15
"""Neighbours of the two maps of noise."""


@shared
def points_of_stages(sources: Sources) -> dict[str, Points]:
    """Return the features of the test split before and after training."""
    return {
        stage: Points.of(embed_dataset(model, sources.test, progress=False))
        for stage, model in sources.models().items()
    }


@figure("umap_modality")
def _draw_modality_maps(sources: Sources, lang: Language) -> Figure:
    stages = points_of_stages(sources)
    maps = {s: kept_umap(found.unit_PD, sources.seed) for s, found in stages.items()}
    return modality_maps(maps, stages["trained"].modality_P, lang)


@figure("map_tears")
def _draw_projection_errors(sources: Sources, lang: Language) -> Figure:
    emb_ND, *_ = product_vectors(sources.run.model, sources.test)
    return projection_errors(kept_umap(emb_ND, sources.seed), neighbour_ranks(emb_ND), lang)


@figure("umap_seeds")
def _draw_seeds(sources: Sources, lang: Language) -> Figure:
    emb_ND, _, categories = product_vectors(sources.run.model, sources.test)
    maps = {seed: kept_umap(emb_ND, seed) for seed in (sources.seed, sources.seed + 1)}
    return seed_maps(maps, [category or "–" for category in categories], lang)


@figure("map_made_up")
def _draw_made_up(sources: Sources, lang: Language) -> Figure:
    truth_N3, group_N = three_groups(seed=sources.seed)
    rng = np.random.default_rng(sources.seed)
    noise_ND = unit(rng.normal(size=(NOISE, 64)).astype(np.float32))
    maps = {k: kept_umap(noise_ND, sources.seed, k) for k in (FEW, MANY)}
    truth_map_N2 = kept_umap(truth_N3, sources.seed)
    return projection_artefacts(truth_N3, group_N, truth_map_N2, maps, lang)


@figure("modality_gap")
def _draw_modality_gap(sources: Sources, lang: Language) -> Figure:
    return modality_gap_figure(points_of_stages(sources), lang)
