"""Maps of the embedding space, beside what they leave out (notebook 13).

P points (one a product and modality), N products, S snapshots of a training.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from scale.modalities import MODALITIES
from scale.viz.embeddings import MARKERS
from scale.viz.illustrations.space import Points, cosine_kinds, modality_gap, principal_axes
from scale.viz.theme import (
    MODALITY_COLOURS,
    POSITIVE,
    category_colours,
    drawn,
    new_figure,
    points,
    shade,
)
from scale.viz.words import Language, label

KINDS = {"within": ("sp_within", "#7A5195"), "between": ("sp_between", "#8A8F98")}
KINDS |= {"same": ("sp_same", POSITIVE)}
"""Label and colour of each kind of cosine."""
NAMED = 6
"""Categories that get a colour where the others are grey."""


@drawn
def modality_gap_figure(stages: Mapping[str, Points], lang: Language = "en") -> Figure:
    """For each stage (`untrained`, `trained`): PCA of all points, and the cosines by kind.

    Crosses are the modalities' means; all maps have one scale, so that gaps can be compared.
    """
    figure = new_figure(8.6, 2.9 * len(stages) + 0.5)
    grid = figure.subplots(len(stages), 2, width_ratios=(1, 1.05), squeeze=False)
    for (plane, bars), (stage, found) in zip(grid, stages.items(), strict=True):
        xy_P2, share = principal_axes(found.unit_PD)
        _modality_points(plane, xy_P2, found.modality_P)
        for number, m in enumerate(found.means()):
            mean_2 = xy_P2[found.modality_P == m].mean(0)
            _cross(plane, mean_2, MODALITY_COLOURS[m], MARKERS[number])
        plane.set(xlim=(-1.25, 1.25), ylim=(-1.1, 1.1), aspect="equal", xticks=[], yticks=[])
        values = {"stage": label(stage, lang), "gap": modality_gap(found)}
        plane.set_title(label("sp_gap_is", lang, **values))
        plane.set_xlabel(label("sp_plane", lang, share=100 * share))
        _cosine_histogram(bars, cosine_kinds(found), lang)
    grid[-1, 1].set_xlabel(label("sp_cosine", lang))
    handles, names = grid[0, 1].get_legend_handles_labels()
    # Above the panel, because where the bars stand depends on the training.
    grid[0, 1].legend(handles, names, loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    _modality_legend(figure, lang)
    return figure


def _cosine_histogram(axes: Axes, kinds: Mapping[str, NDArray], lang: Language) -> None:
    edges = np.linspace(-1, 1, 51)
    for kind, (key, colour) in KINDS.items():
        share = np.full(len(kinds[kind]), 100 / max(1, len(kinds[kind])))
        style = {"histtype": "stepfilled", "alpha": 0.35, "color": colour}
        axes.hist(kinds[kind], edges, weights=share, **style)
        axes.hist(kinds[kind], edges, weights=share, histtype="step", color=colour, lw=points(1.2))
        axes.plot([], [], color=colour, lw=points(5), label=label(key, lang))
        axes.axvline(kinds[kind].mean(), color=colour, lw=points(1.6), dashes=(3, 2))
    axes.set(xlim=(-1, 1), ylabel=label("sp_share", lang))


@drawn
def modality_maps(
    maps: Mapping[str, ArrayLike], modality_P: Sequence[str], lang: Language = "en"
) -> Figure:
    """Maps of the same points beside each other (`untrained`, `trained`), by modality."""
    figure = new_figure(4.1 * len(maps), 4.2)
    for axes, (stage, xy_P2) in zip(
        figure.subplots(1, len(maps), squeeze=False)[0], maps.items(), strict=True
    ):
        _modality_points(axes, np.asarray(xy_P2), np.asarray(modality_P))
        _bare(axes, label("sp_umap_of", lang, stage=label(stage, lang)))
    _modality_legend(figure, lang)
    return figure


@drawn
def gap_over_training(
    snapshots: Mapping[int, Points], lang: Language = "en", last: int | None = None
) -> Figure:
    """Maps (PCA, one scale) at some steps of a training, and below the gap and the cosines.

    Args:
        snapshots: points by step.
        last: step of another training that is shown as the end and joined by a dashed line.
    """
    figure = new_figure(2.05 * len(snapshots) + 0.4, 4.6)
    above, below = figure.subfigures(2, 1, height_ratios=(1, 1.25))
    for axes, (step, found) in zip(
        above.subplots(1, len(snapshots)), snapshots.items(), strict=True
    ):
        xy_P2, _ = principal_axes(found.unit_PD)
        _modality_points(axes, xy_P2, found.modality_P, 1.6)
        axes.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal")
        _bare(axes, label("sp_at_step", lang, step=step))
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
    # Beside the panel, because where the curves run depends on the training.
    place = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "frameon": False}
    cosines.legend(**place, fontsize=points(8))
    return figure


@drawn
def seed_maps(maps: Mapping[int, ArrayLike], groups: Sequence, lang: Language = "en") -> Figure:
    """The same points mapped with several seeds; the six largest groups in colour."""
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
        for name, colour, marker in zip(shown, colours, MARKERS, strict=False):
            look = {"s": points(5.5) ** 2, "color": colour, "marker": marker, "linewidth": 0}
            axes.scatter(*xy_N2[group_N == name].T, **look, label=name)
        _bare(axes, label("sp_seed", lang, seed=seed))
    handles, texts = panels[0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower center", ncols=NAMED, frameon=False)
    return figure


def _modality_points(axes: Axes, xy_P2: NDArray, modality_P: NDArray, size: float = 2.6) -> None:
    for number, m in enumerate(MODALITIES):
        here = xy_P2[modality_P == m].T
        look = {"marker": MARKERS[number], "s": points(size) ** 2, "linewidth": 0, "alpha": 0.75}
        axes.scatter(*here, color=MODALITY_COLOURS[m], **look)


def _cross(axes: Axes, xy_2: NDArray, colour: str, marker: str) -> None:
    look = {"s": points(10) ** 2, "marker": marker, "linewidth": points(1.6), "zorder": 4}
    axes.scatter(*xy_2, facecolor=colour, edgecolor=shade(1.0), **look)


def _modality_legend(figure: Figure, lang: Language) -> None:
    handles = [
        Line2D([], [], ls="none", marker=MARKERS[k], color=MODALITY_COLOURS[m], ms=points(5.5),
               label=label(m, lang))
        for k, m in enumerate(MODALITIES)
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)


def _bare(axes: Axes, title: str) -> None:
    axes.set(xticks=[], yticks=[], title=title)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
