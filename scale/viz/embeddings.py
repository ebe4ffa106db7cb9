"""Maps of embeddings: UMAP to two dimensions, cached, with groups by colour or name.

N products, D width.
"""

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike, NDArray

from scale.data.dataset import ProductDataset
from scale.evaluation.embed import embed_dataset
from scale.files import default_cache_folder, replacing
from scale.modalities import MODALITIES
from scale.model.scale import ScaleModel
from scale.threads import torch_threads
from scale.training.run import TrainedRun
from scale.viz import typeset
from scale.viz.charts import note_below
from scale.viz.registry import Sources, figure
from scale.viz.theme import (
    MODALITY_COLOURS,
    category_colours,
    drawn,
    mix,
    new_figure,
    points,
    shade,
    strip,
)
from scale.viz.words import LABELS, LANG, Language, label

LEAST = 5
"""Fewest embeddings that UMAP can map."""
LEGEND = 8
"""Up to this number of groups are named in a legend; more beside their points."""
MARKERS = "osD^vPX"


def umap_coordinates(emb_ND: ArrayLike, seed: int = 0, neighbours: int = 15) -> NDArray[np.float32]:
    """Return UMAP coordinates (N, 2) by cosine distance, computed on one thread.

    The same seed gives the same map on the same machine with the same versions.

    Args:
        neighbours: `n_neighbors` of UMAP.

    Raises ValueError for fewer than 5 embeddings, a shape other than (N, D), and values that are
    not finite.
    """
    emb_ND = np.asarray(emb_ND, dtype=np.float32)
    if emb_ND.ndim != 2 or len(emb_ND) < LEAST:
        raise ValueError(f"UMAP needs at least {LEAST} embeddings (N, D), got {emb_ND.shape}")
    if not np.isfinite(emb_ND).all():
        raise ValueError("embeddings contain values that are not finite")
    import umap

    reducer = umap.UMAP(
        n_neighbors=min(neighbours, len(emb_ND) - 1),
        metric="cosine",
        min_dist=0.25,
        # Spectral initialisation needs more points than coordinates and neighbours.
        init="spectral" if len(emb_ND) > 50 else "random",
        random_state=seed,
        n_jobs=1,
    )
    # numba sets the number of OpenMP threads, which is also torch's.
    with torch_threads(torch.get_num_threads()):
        return reducer.fit_transform(emb_ND)


@drawn
def embedding_map(
    coordinates_N2: ArrayLike,
    colour_by: Sequence[str | int | None],
    names: Sequence[str] | None = None,
    lang: Language = LANG,
) -> Figure:
    """Draw points in the plane, coloured by group.

    Args:
        colour_by: group of each point: a name, or an index into `names`; None is drawn grey.
        names: names of numbered groups.

    Up to 8 groups are named in a legend; more beside their points, because 24 colours
    cannot be matched to a legend. Groups named like modalities have the modalities' colours. Raises
    ValueError if the numbers of coordinates and groups differ.
    """
    groups = [g if g is None or names is None else names[int(g)] for g in colour_by]
    figure = new_figure(7.4, 6.0, dense=True)
    axes = figure.subplots()
    colours = _group_colours(Counter(g for g in groups if g is not None))
    # The title takes space, so it precedes the placement of group names.
    axes.set(title=label("embedding_map", lang))
    _draw_map(axes, coordinates_N2, groups, colours, lang)
    if len(colours) <= LEGEND:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), markerscale=_enlarged(len(groups)))
    note_below(figure, label("embedding_note", lang))
    return figure


@drawn
def embedding_maps(
    maps: Mapping[str, tuple[ArrayLike, Sequence[str | None]]], lang: Language = LANG
) -> Figure:
    """Draw maps side by side; a group has the same colour on all of them.

    Args:
        maps: by title, coordinates (N, 2) and the group of each point; None is drawn grey.

    Groups are named as in `embedding_map`. Raises ValueError if the numbers of coordinates and
    groups differ.
    """
    sizes = Counter(g for _, groups in maps.values() for g in groups if g is not None)
    colours = _group_colours(sizes)
    figure = new_figure(5.2 * len(maps), 5.4, dense=True)
    panels = figure.subplots(1, len(maps), squeeze=False)[0]
    for axes, (title, (xy_N2, groups)) in zip(panels, maps.items(), strict=True):
        axes.set(title=title)
        _draw_map(axes, xy_N2, groups, colours, lang)
    if len(colours) <= LEGEND:
        handles = {
            name: handle
            for axes in panels
            for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            handles.values(), handles.keys(), loc="outside upper center", ncols=len(handles),
            markerscale=_enlarged(max(len(groups) for _, groups in maps.values())),
        )  # fmt: skip
    note_below(figure, label("embedding_note", lang))
    return figure


def _draw_map(
    axes: Axes,
    coordinates_N2: ArrayLike,
    groups: Sequence[str | int | None],
    colours: Mapping[str | int, str],
    lang: Language,
) -> None:
    """Draw points by group, with names beside them if there are too many groups for a legend."""
    xy_N2 = np.asarray(coordinates_N2, dtype=float)
    if xy_N2.shape != (len(groups), 2):
        raise ValueError(f"coordinates are {xy_N2.shape}, groups are {len(groups)}")
    size = _size(len(groups))
    group_N = np.array(groups, dtype=object)
    unknown_N = np.array([g is None for g in groups], dtype=bool)
    axes.scatter(*xy_N2[unknown_N].T, s=size, color=shade(0.3), linewidth=0)
    there = set(groups)
    for number, group in enumerate(colours):
        if group in there:
            shape = MARKERS[number % len(MARKERS)]
            look = {"s": size, "marker": shape, "linewidth": 0, "alpha": 0.8}
            here = xy_N2[group_N == group].T
            axes.scatter(*here, color=colours[group], label=_name(group, lang), **look)
    axes.set(xticks=[], yticks=[])
    strip(axes)
    axes.margins(0.06)
    if len(colours) > LEGEND:
        order = [g for g in colours if g in there]
        middle_G2 = np.array([medoid(xy_N2[group_N == g]) for g in order])
        names, hues = [_name(g, lang) for g in order], [colours[g] for g in order]
        _name_groups(axes, middle_G2, names, hues, xy_N2)


def _size(count: int) -> float:
    """Return the area of a point; it shrinks with the number of points."""
    return points(float(np.clip(80 / max(1, count) ** 0.5, 1.2, 6))) ** 2


def _enlarged(count: int) -> float:
    """Return the scale of markers in the legend relative to the map."""
    return points(6) / _size(count) ** 0.5


def _name(group: str | int, lang: Language) -> str:
    text = str(group)
    # matplotlib leaves names that begin with an underscore out of legends.
    text = f" {text}" if text.startswith("_") else text
    return label(text, lang) if text in MODALITIES and text in LABELS[lang] else text


def _group_colours(sizes: Mapping[str | int, int]) -> dict[str | int, str]:
    """Return a colour per group, largest first; modalities in their own order and colours."""
    if set(sizes) <= set(MODALITIES):
        return {m: colour for m, colour in MODALITY_COLOURS.items() if m in sizes}
    order = sorted(sizes, key=lambda g: (-sizes[g], str(g)))
    return dict(zip(order, category_colours(len(order)), strict=True))


def _name_groups(
    axes: Axes,
    middle_G2: np.ndarray,
    names: Sequence[str],
    colours: Sequence[str],
    xy_N2: np.ndarray,
) -> None:
    """Write names near the middle, beside the points and apart from each other."""
    size = 7.5
    shown = [typeset.shorten(name, 90, size, "bold") for name in names]
    extent_G2 = np.array(
        [(points(typeset.text_width(t, size, "bold") + 4), points(size + 4)) for t in shown]
    )
    axes.figure.draw_without_rendering()
    dots = axes.figure.dpi / 72
    place_G2, point_N2 = (axes.transData.transform(xy) / dots for xy in (middle_G2, xy_N2))
    corner, opposite = axes.get_window_extent().get_points() / dots
    radius = _size(len(xy_N2)) ** 0.5 / 2
    moved_G2 = place_names(place_G2, extent_G2, point_N2, radius, corner, opposite)
    halo = [withStroke(linewidth=points(2.4), foreground=shade(0.0))]
    back = axes.transData.inverted()
    for number, text in enumerate(shown):
        start, end = middle_G2[number], back.transform(moved_G2[number] * dots)
        if np.hypot(*(moved_G2[number] - place_G2[number])) > points(2 * size):
            axes.plot(*zip(start, end, strict=True), color=shade(0.5), lw=points(0.6), zorder=3)
        style = {"ha": "center", "va": "center", "fontweight": "bold", "path_effects": halo}
        colour = mix(colours[number], shade(1.0), 0.45)
        typeset.write(axes, *end, text, size, color=colour, zorder=4, **style)


def medoid(xy_N2: np.ndarray) -> np.ndarray:
    """Return the point that is nearest to the median of both coordinates."""
    return xy_N2[np.hypot(*(xy_N2 - np.median(xy_N2, axis=0)).T).argmin()]


def place_names(
    place_G2: np.ndarray,
    extent_G2: np.ndarray,
    point_N2: np.ndarray,
    radius: float,
    low_2: np.ndarray,
    high_2: np.ndarray,
) -> np.ndarray:
    """Return centres of boxes near their places, over few points and apart from each other.

    Each box in turn takes the place of least cost among 24 directions times 12 distances: 1 for
    each covered point, 4 for each overlapped box, and 1 for each 6 heights of distance.
    `spread_boxes` separates those that still overlap.

    Args:
        place_G2: desired centres.
        extent_G2: widths and heights.
        point_N2: centres of the points, discs of this `radius`.
        low_2, high_2: corners of the frame.
    """
    angle_K = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    direction_K2 = np.stack([np.cos(angle_K), np.sin(angle_K)], axis=1)
    centre_G2 = np.empty_like(place_G2, dtype=float)
    for g, (place_2, extent_2) in enumerate(zip(place_G2, extent_G2, strict=True)):
        reach_R = extent_2[1] * np.linspace(0, 8, 12)
        wide_2 = np.array([1 + extent_2[0] / (8 * extent_2[1]), 1.0])
        tried_C2 = place_2 + (reach_R[:, None, None] * direction_K2 * wide_2).reshape(-1, 2)
        tried_C2 = np.clip(tried_C2, low_2 + extent_2 / 2, high_2 - extent_2 / 2)
        near_CN2 = np.abs(tried_C2[:, None] - point_N2) < extent_2 / 2 + radius
        apart_CG2 = np.abs(tried_C2[:, None] - centre_G2[:g])
        clash_CG = (apart_CG2 < (extent_2 + extent_G2[:g]) / 2).all(axis=2)
        away_C = np.hypot(*(tried_C2 - place_2).T) / (6 * extent_2[1])
        cost_C = near_CN2.all(axis=2).sum(1) + 4 * clash_CG.sum(1) + away_C
        centre_G2[g] = tried_C2[cost_C.argmin()]
    return spread_boxes(centre_G2, extent_G2, low_2, high_2)


def spread_boxes(
    place_G2: np.ndarray, extent_G2: np.ndarray, low_2: np.ndarray, high_2: np.ndarray
) -> np.ndarray:
    """Return centres of boxes, pushed apart until none overlaps another, inside a frame.

    Each round moves every overlapping pair apart along the axis with the smaller overlap.

    Args:
        place_G2: desired centres.
        extent_G2: widths and heights.
        low_2, high_2: corners of the frame.
    """
    centre_G2 = np.clip(place_G2, low_2 + extent_G2 / 2, high_2 - extent_G2 / 2)
    need_GG2 = (extent_G2[:, None] + extent_G2[None, :]) / 2
    number_G = np.arange(len(centre_G2))
    # Boxes with equal centres are separated in the order of their indices.
    order_GG = np.sign(number_G[:, None] - number_G[None, :])
    own_GG = order_GG == 0
    for _ in range(500):
        gap_GG2 = centre_G2[:, None] - centre_G2[None, :]
        overlap_GG2 = need_GG2 - np.abs(gap_GG2)
        overlaps_GG = (overlap_GG2 > 0).all(axis=2) & ~own_GG
        if not overlaps_GG.any():
            break
        along_GG = overlap_GG2.argmin(axis=2)
        push_GG2 = np.where(np.arange(2) == along_GG[..., None], overlap_GG2, 0.0)
        side_GG2 = np.where(gap_GG2 == 0, order_GG[..., None], np.sign(gap_GG2))
        push_GG2 *= side_GG2 * overlaps_GG[..., None]
        centre_G2 += 0.3 * push_GG2.sum(axis=1)
        centre_G2 = np.clip(centre_G2, low_2 + extent_G2 / 2, high_2 - extent_G2 / 2)
    return centre_G2


def draw_map(run: TrainedRun, data: ProductDataset, lang: Language, seed: int) -> Figure:
    """Draw the UMAP of the products' embeddings, coloured by category."""
    emb_ND, _, categories = product_vectors(run.model, data)
    return embedding_map(kept_umap(emb_ND, seed), categories, lang=lang)


def product_vectors(
    model: ScaleModel, data: ProductDataset
) -> tuple[NDArray[np.float32], list[str], list[str | None]]:
    """Return emb_ND, one unit vector per product that has a modality, with ids and categories."""
    vectors = embed_dataset(model, data, progress=False).product()
    category = {product.id: product.category for product in data.products}
    return vectors.emb_ND, list(vectors.ids), [category[i] for i in vectors.ids]


@figure("embedding_map")
@figure("umap_category")
def draw_category_map(sources: Sources, lang: Language) -> Figure:
    """Draw the test products, coloured by category."""
    return draw_map(sources.run, sources.test, lang, sources.seed)


log = logging.getLogger(__name__)

UMAP_VERSION = 1
"""Incremented when `umap_coordinates` changes its result for the same arguments."""


def kept_umap(
    emb_ND: ArrayLike, seed: int = 0, neighbours: int = 15, folder: Path | None = None
) -> NDArray[np.float32]:
    """Return `umap_coordinates`, (N, 2), cached on disk by embeddings, seed and settings.

    An unreadable or unsuitable cache file is computed again. If the folder cannot be written, a
    warning is logged and the map is returned uncached. Raises ValueError as `umap_coordinates`
    does.

    Args:
        folder: of the cached maps; None: `maps` in the user's cache (`files.default_cache_folder`).
    """
    emb_ND = np.ascontiguousarray(emb_ND, dtype=np.float32)
    folder = folder or default_cache_folder() / "maps"
    path = folder / f"{_umap_key(emb_ND, seed, neighbours)}.npy"
    kept_N2 = _load_umap(path, len(emb_ND))
    if kept_N2 is not None:
        return kept_N2
    xy_N2 = umap_coordinates(emb_ND, seed, neighbours)
    try:
        with replacing(path) as partial:
            np.save(partial, xy_N2, allow_pickle=False)
    except OSError as error:
        log.warning("%s: the map cannot be cached (%s)", path, error)
    return xy_N2


def _umap_key(emb_ND: NDArray[np.float32], seed: int, neighbours: int) -> str:
    settings = [UMAP_VERSION, version("umap-learn"), emb_ND.shape, seed, neighbours]
    return sha256(json.dumps(settings).encode() + emb_ND.tobytes()).hexdigest()


def _load_umap(path: Path, count: int) -> NDArray[np.float32] | None:
    """Return the cached map, or None if there is no usable one."""
    try:
        xy_N2 = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        log.warning("%s: unreadable, computed again (%s)", path, error)
        return None
    fits = isinstance(xy_N2, np.ndarray) and xy_N2.shape == (count, 2)
    if not (fits and xy_N2.dtype == np.float32 and np.isfinite(xy_N2).all()):
        log.warning("%s: not a map of %d points, computed again", path, count)
        return None
    return xy_N2
