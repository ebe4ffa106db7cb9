"""Point sets of embeddings, their projections to two dimensions, groups and neighbours.

P points of a map, N products, M modalities (five), G groups, D width, K neighbours.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from subprocess import Popen
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from scale.config import require
from scale.evaluation.embed import Embeddings, embed_dataset, subset_embedding
from scale.explore import maps
from scale.explore.markup import listed
from scale.explore.source import ExplorerSource
from scale.modalities import MODALITIES
from scale.viz.illustrations.space import Points, principal_axes
from scale.viz.theme import MODALITY_COLOURS, category_colours
from scale.viz.words import Language, label

Ints = NDArray[np.int64]

KINDS = ("product", *MODALITIES, "each")
"""A point per whole product, per product with one modality, or per product and modality."""
SEED = maps.SEED
COLOUR_BY = ("category", "count", "missing", "cluster", "modality")
MAX_GROUPS = 40
"""Maximum number of distinguishable colours; smaller groups are merged."""
GREY = "#8A93A0"
"""Colour of products without a group, and of the merged groups."""
CLUSTERS = 8
"""Number of clusters without categories."""
MANY = 10_000
"""Number of products from which k-means uses mini-batches and a single initialisation."""


class Point(NamedTuple):
    """A product, or one of its modalities, as a point of a map."""

    row: int
    """Row of the product in the dataset."""
    modality: str = ""
    """Empty for the whole product."""


class MapView(NamedTuple):
    """Choices of one map."""

    model: str
    """`best` or `untrained`."""
    kind: str
    """One of `KINDS`."""
    projection: str
    """`umap` or `pca`."""


@dataclass(frozen=True)
class Neighbours:
    """The K nearest neighbours of a point by cosine, nearest first."""

    index: int
    index_K: Ints
    cosine_K: NDArray[np.float32]
    far_K: NDArray[np.bool_]
    """Not among the K nearest on the map."""


@dataclass(frozen=True)
class PointSet:
    """Unit embeddings and the products and modalities that they belong to."""

    unit_PD: NDArray[np.float32]
    row_P: Ints
    modality_P: NDArray[np.str_]
    """Empty for whole products."""

    @staticmethod
    def of(embeddings: Embeddings, kind: str) -> "PointSet":
        """Return the points of a kind. Raises ValueError if there are none."""
        require(kind in KINDS, f"unknown points {kind!r}; known: {', '.join(KINDS)}")
        if kind == "each":
            points = Points.of(embeddings)
            return PointSet(points.unit_PD, points.row_P, points.modality_P)
        subset = MODALITIES if kind == "product" else (kind,)
        emb_ND, valid_N = subset_embedding(embeddings.pooled_NMD, embeddings.present_NM, subset)
        require(bool(valid_N.any()), f"none of these products has the modality {kind}")
        row_P = np.flatnonzero(valid_N)
        name = "" if kind == "product" else kind
        return PointSet(emb_ND[valid_N], row_P, np.full(len(row_P), name))

    def point(self, index: int) -> Point:
        """Return the product and modality of a point."""
        return Point(int(self.row_P[index]), str(self.modality_P[index]))

    def index_of(self, point: Point) -> int | None:
        """Return the index of a point, else that of the first point of its product, else None."""
        index_K = np.flatnonzero(self.row_P == point.row)
        if not len(index_K):
            return None
        same = np.flatnonzero(self.modality_P[index_K] == point.modality)
        return int(index_K[same[0] if len(same) else 0])

    def indices_of(self, row_N: Ints) -> Ints:
        """Return the indices of all points of the products at these rows."""
        return np.flatnonzero(np.isin(self.row_P, row_N))

    def neighbours(self, index: int, xy_P2: NDArray, k: int = 10) -> Neighbours:
        """Return the k nearest points by cosine, and which of them are far away on the map."""
        cosine_P = self.unit_PD @ self.unit_PD[index]
        cosine_P[index] = -np.inf
        index_K = np.argsort(-cosine_P, kind="stable")[: min(k, len(cosine_P) - 1)]
        ranks_K = map_ranks(xy_P2, index, index_K)
        return Neighbours(index, index_K, cosine_P[index_K], ranks_K > k)


def map_ranks(xy_P2: NDArray, index: int, other_K: Ints) -> Ints:
    """Return the rank of each other point by distance on the map; the nearest has rank 1.

    Equal distances share the lower rank.
    """
    square_P = ((np.asarray(xy_P2, dtype=float) - xy_P2[index]) ** 2).sum(1)
    square_P[index] = np.inf
    return rankdata(square_P, method="min")[other_K].astype(np.int64)


class Projections:
    """Point sets and their projections, each computed on first use."""

    def __init__(self, source: ExplorerSource) -> None:
        self.source = source
        self._point_sets: dict[tuple[str, str], PointSet] = {}
        self._xy: dict[MapView, NDArray] = {}

    def embeddings(self, model: str) -> Embeddings:
        """Return the embeddings of all products by the model `best` or `untrained`."""
        return self.source.embeddings if model == "best" else self._untrained

    @cached_property
    def _untrained(self) -> Embeddings:
        return embed_dataset(self.source.run.untrained(), self.source.data, progress=False)

    def points(self, view: MapView) -> PointSet:
        """Return the points of a map. Raises ValueError if there are none."""
        key = view.model, view.kind
        if key not in self._point_sets:
            self._point_sets[key] = PointSet.of(self.embeddings(view.model), view.kind)
        return self._point_sets[key]

    def path(self, view: MapView) -> Path:
        """Return the file of a map by UMAP. Raises ValueError if there are no points."""
        source, points = self.source, self.points(view)
        rows = zip(points.row_P, points.modality_P, strict=True)
        names = [f"{source.data.ids[row]} {modality}".strip() for row, modality in rows]
        model = source.which if view.model == "best" else view.model
        return maps.map_path(source.run.folder.folder, f"{model}-{view.kind}", names)

    def has(self, view: MapView) -> bool:
        """Return whether a map needs no long computation: it is computed or stored, or by PCA."""
        if view not in self._xy and view.projection == "umap":
            stored_P2 = maps.load_map(self.path(view), self.points(view).unit_PD)
            if stored_P2 is None:
                return False
            self._xy[view] = stored_P2
        return True

    def start(self, view: MapView) -> Popen:
        """Start computing a map in another process; afterwards, `has` is true."""
        return maps.start_map(self.path(view), self.points(view).unit_PD)

    def xy(self, view: MapView) -> NDArray:
        """Return xy_P2 of a map. Raises ValueError for too few points."""
        if view not in self._xy:
            unit_PD = self.points(view).unit_PD
            if view.projection == "umap":
                self._xy[view] = maps.compute_map(self.path(view), unit_PD)
            else:
                require(len(unit_PD) > 2, f"PCA needs at least 3 points, got {len(unit_PD)}")
                self._xy[view] = principal_axes(unit_PD)[0]
        return self._xy[view]


@dataclass(frozen=True)
class Groups:
    """A group for each point of a map."""

    code_P: Ints
    """Index into names and colours."""
    names: tuple[str, ...]
    colours: tuple[str, ...]

    @staticmethod
    def of(values: Sequence[str | None], unknown: str, rest: str) -> "Groups":
        """Group equal values, the largest group first.

        None belongs to the group `unknown`; groups beyond `MAX_GROUPS` are merged into `rest`.
        """
        counts = Counter(value for value in values if value is not None)
        names = sorted(counts, key=lambda name: (-counts[name], name))
        colours = category_colours(min(len(names), MAX_GROUPS))
        code = {name: min(k, MAX_GROUPS) for k, name in enumerate(names)}
        names, colours = names[:MAX_GROUPS], colours[:MAX_GROUPS]
        for extra, needed in ((rest, len(code) > MAX_GROUPS), (unknown, None in values)):
            if needed:
                names, colours = [*names, extra], [*colours, GREY]
        code_P = [len(names) - 1 if value is None else code[value] for value in values]
        return Groups(np.array(code_P, dtype=np.int64), tuple(names), tuple(colours))

    def at(self, index_P: Ints) -> "Groups":
        """Return the same groups for other points."""
        return Groups(self.code_P[index_P], self.names, self.colours)


class Grouping:
    """Groups of the products by property (`COLOUR_BY`), each computed on first use."""

    def __init__(self, projections: Projections, lang: Language) -> None:
        self._projections, self._lang = projections, lang
        self._data = projections.source.data
        self._groups: dict[str, Groups] = {}

    def groups(self, colour_by: str, points: PointSet) -> Groups:
        """Return the group of each point.

        Raises ValueError for an unknown property, and for `modality` with whole products.
        """
        known = ", ".join(COLOUR_BY)
        require(colour_by in COLOUR_BY, f"unknown colours {colour_by!r}; known: {known}")
        if colour_by == "modality":
            require(bool((points.modality_P != "").all()), label("xe_no_modality", self._lang))
            names = tuple(label(m, self._lang) for m in MODALITIES)
            code_P = np.array([MODALITIES.index(m) for m in points.modality_P])
            return Groups(code_P, names, tuple(MODALITY_COLOURS.values()))
        if colour_by not in self._groups:
            values = getattr(self, f"_{colour_by}")()
            unknown, rest = (label(key, self._lang) for key in ("xe_unknown", "xe_rest"))
            self._groups[colour_by] = Groups.of(values, unknown, rest)
        return self._groups[colour_by].at(points.row_P)

    def _category(self) -> list[str | None]:
        return [product.category for product in self._data.products]

    def _count(self) -> list[str]:
        return [label("xe_count_is", self._lang, n=n) for n in self._data.present_NM.sum(1)]

    def _missing(self) -> list[str]:
        return [missing_text(has_M, self._lang) for has_M in self._data.present_NM]

    def _cluster(self) -> list[str | None]:
        """Cluster the whole products, embedded by the trained model: a product has the same colour
        on every map."""
        points = PointSet.of(self._projections.embeddings("best"), "product")
        categories = {c for c in self._category() if c is not None}
        k = min(len(categories) if len(categories) > 1 else CLUSTERS, len(points.row_P))
        values: list[str | None] = [None] * len(self._data.ids)
        for row, cluster in zip(points.row_P, k_means(points.unit_PD, k), strict=True):
            values[row] = label("xe_cluster_is", self._lang, n=cluster + 1)
        return values


def missing_text(has_M: NDArray[np.bool_], lang: Language) -> str:
    """Return the modalities that a product lacks, in words."""
    lacks = [label(m, lang) for m, has in zip(MODALITIES, has_M, strict=True) if not has]
    if not lacks:
        return label("xe_complete", lang)
    return label("xe_without", lang, names=listed(lacks, lang))


def k_means(emb_ND: NDArray[np.float32], k: int) -> Ints:
    """Return cluster_N by k-means: the best of ten initialisations, or one from `MANY` points on.

    Raises ValueError for k below 1 or above N.
    """
    require(1 <= k <= len(emb_ND), f"{k} clusters of {len(emb_ND)} points")
    from sklearn.cluster import KMeans, MiniBatchKMeans

    many = len(emb_ND) >= MANY
    method = MiniBatchKMeans if many else KMeans
    return method(k, n_init=1 if many else 10, random_state=SEED).fit_predict(emb_ND)
