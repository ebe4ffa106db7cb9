"""What a map of embeddings shows: its points, their places and groups, and each one's neighbours.

P points of a map, N products, M modalities (five), D width, K neighbours.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scale.config import require
from scale.evaluation.embed import Embeddings, embed_dataset, subset_embedding
from scale.explore.subject import Subject
from scale.modalities import MODALITIES
from scale.viz.embeddings import kept_umap
from scale.viz.illustrations.space import Points, principal_axes

Ints = NDArray[np.int64]

KINDS = ("product", *MODALITIES, "each")
"""Which points: of the products as a whole, of one modality, or one per product and modality."""
MODELS = ("best", "untrained")
PROJECTIONS = ("umap", "pca")
SEED = 0


class Spot(NamedTuple):
    """What a point stands for."""

    row: int
    """Of the product in the subject's data."""
    modality: str = ""
    """Empty for the product as a whole."""


class MapView(NamedTuple):
    """One map: of `MODELS`, `KINDS` and `PROJECTIONS` each."""

    model: str
    kind: str
    projection: str


@dataclass(frozen=True)
class Neighbours:
    """The K points nearest to one by cosine, nearest first, and which of them the map tears off."""

    point: int
    point_K: Ints
    cosine_K: NDArray[np.float32]
    torn_K: NDArray[np.bool_]
    """Not among the K nearest on the map."""


@dataclass(frozen=True)
class Cloud:
    """Points of the unit sphere and what they stand for."""

    unit_PD: NDArray[np.float32]
    row_P: Ints
    modality_P: NDArray[np.str_]
    """Empty for products as a whole."""

    @staticmethod
    def of(embeddings: Embeddings, kind: str) -> "Cloud":
        """The points of a kind. Raises ValueError where no product has what they are made of."""
        require(kind in KINDS, f"unknown points {kind!r}; known: {', '.join(KINDS)}")
        if kind == "each":
            points = Points.of(embeddings)
            return Cloud(points.unit_PD, points.row_P, points.modality_P)
        subset = MODALITIES if kind == "product" else (kind,)
        emb_ND, valid_N = subset_embedding(embeddings.pooled_NMD, embeddings.present_NM, subset)
        require(bool(valid_N.any()), f"no product here has the modality {kind}")
        row_P = np.flatnonzero(valid_N)
        name = "" if kind == "product" else kind
        return Cloud(emb_ND[valid_N], row_P, np.full(len(row_P), name))

    def spot(self, point: int) -> Spot:
        """What a point stands for."""
        return Spot(int(self.row_P[point]), str(self.modality_P[point]))

    def find(self, spot: Spot) -> int | None:
        """The point of a spot, else the first one of its product; None where it has none."""
        point_K = np.flatnonzero(self.row_P == spot.row)
        if not len(point_K):
            return None
        own = np.flatnonzero(self.modality_P[point_K] == spot.modality)
        return int(point_K[own[0] if len(own) else 0])

    def points_of(self, rows: Ints) -> Ints:
        """All points of some products."""
        return np.flatnonzero(np.isin(self.row_P, rows))

    def neighbours(self, point: int, xy_P2: NDArray, k: int = 10) -> Neighbours:
        """The k nearest to a point in the space (fewer where there are not so many)."""
        cosine_P = self.unit_PD @ self.unit_PD[point]
        cosine_P[point] = -np.inf
        point_K = _largest(cosine_P, min(k, len(cosine_P) - 1))
        ranks_K = map_ranks(xy_P2, point, point_K)
        return Neighbours(point, point_K, cosine_P[point_K], ranks_K > k)


def map_ranks(xy_P2: NDArray, point: int, other_K: Ints) -> Ints:
    """rank_K: the place of each of the others among all points by distance on the map: 1 is the
    nearest. Equal distances share the better place."""
    square_P = ((np.asarray(xy_P2, dtype=float) - xy_P2[point]) ** 2).sum(1)
    square_P[point] = np.inf
    return 1 + (square_P[None, :] < square_P[other_K, None]).sum(1)


def _largest(value_P: NDArray, k: int) -> Ints:
    """Places of the k largest, largest first; equal ones in their order."""
    if k <= 0:
        return np.zeros(0, dtype=np.int64)
    place_C = np.flatnonzero(value_P >= np.partition(value_P, -k)[-k])
    return place_C[np.argsort(-value_P[place_C], kind="stable")][:k]


class Atlas:
    """The clouds and maps of a subject, each computed when it is first asked for."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._untrained: Embeddings | None = None
        self._clouds: dict[tuple[str, str], Cloud] = {}
        self._places: dict[MapView, NDArray] = {}

    def embeddings(self, model: str) -> Embeddings:
        """Of all products, by a model of `MODELS`."""
        if model == "best":
            return self.subject.embeddings
        if self._untrained is None:
            untrained = self.subject.run.untrained()
            self._untrained = embed_dataset(untrained, self.subject.data, progress=False)
        return self._untrained

    def cloud(self, view: MapView) -> Cloud:
        """The points of a map. Raises ValueError where there are none."""
        key = view.model, view.kind
        if key not in self._clouds:
            self._clouds[key] = Cloud.of(self.embeddings(view.model), view.kind)
        return self._clouds[key]

    def has(self, view: MapView) -> bool:
        """Whether a map stands already, so that it can be shown at once."""
        return view in self._places

    def places(self, view: MapView) -> NDArray:
        """xy_P2. Raises ValueError where there are too few points for the projection."""
        if view not in self._places:
            unit_PD = self.cloud(view).unit_PD
            if view.projection == "umap":
                self._places[view] = kept_umap(unit_PD, SEED)
            else:
                require(len(unit_PD) > 2, f"PCA needs at least 3 points, got {len(unit_PD)}")
                self._places[view] = principal_axes(unit_PD)[0]
        return self._places[view]
