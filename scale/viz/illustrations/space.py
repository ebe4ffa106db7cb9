"""Where features lie: modality gap, cosines, neighbours, and what a map keeps (notebook 13).

N products or points, M modalities (five), D width, P points (one a product and modality), k
neighbours.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scale.evaluation.embed import Embeddings
from scale.evaluation.ranking import unit
from scale.modalities import MODALITIES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Points:
    """Every feature that is there as one point of the unit sphere."""

    unit_PD: NDArray[np.float32]
    modality_P: NDArray[np.str_]
    row_P: Ints
    """Product of each point."""

    @classmethod
    def of(cls, embeddings: Embeddings) -> "Points":
        """Product by product, its modalities in the one order."""
        row_P, m_P = np.nonzero(embeddings.present_NM)
        pooled_PD = embeddings.pooled_NMD[row_P, m_P]
        return cls(unit(pooled_PD), np.array(MODALITIES)[m_P], row_P)

    def means(self) -> dict[str, NDArray[np.float32]]:
        """mean_D by modality, for those that some product has; it lies inside the sphere."""
        there = [m for m in MODALITIES if (self.modality_P == m).any()]
        return {m: self.unit_PD[self.modality_P == m].mean(0) for m in there}


def modality_gap(points: Points) -> float:
    """Mean over the pairs of modalities of || mean_i - mean_j || (Liang et al., 2022).

    0: the modalities lie around one place; sqrt(2): each in one point, at right angles. NaN where
    there is one modality only.
    """
    pairs = list(combinations(points.means().values(), 2))
    return float(np.mean([np.linalg.norm(a - b) for a, b in pairs])) if pairs else float("nan")


def cosine_kinds(points: Points) -> dict[str, Floats]:
    """Cosines of all pairs of points, by kind.

    `within`: one modality, different products; `between`: different modalities, different
    products; `same`: different modalities of one product. Every pair counts once.
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
    """xy_N2, the coordinates along the two directions of largest variance, and their share of it.

    The signs of the axes are fixed: the largest coordinate of each in size is positive.
    """
    x_ND = np.asarray(x_ND, dtype=float)
    left_NK, size_K, _ = np.linalg.svd(x_ND - x_ND.mean(0), full_matrices=False)
    xy_N2 = left_NK[:, :2] * size_K[:2]
    xy_N2 *= np.sign(xy_N2[np.abs(xy_N2).argmax(0), np.arange(2)])
    return xy_N2, float((size_K[:2] ** 2).sum() / (size_K**2).sum())


def neighbour_ranks(x_ND: ArrayLike) -> Ints:
    """rank_NN: place of point j among the others by distance from point i: 1 is the nearest.

    0 for the point itself. Equal distances are ranked by their place in the list.
    """
    x_ND = np.asarray(x_ND, dtype=float)
    square_N = (x_ND**2).sum(1)
    distance_NN = square_N[:, None] + square_N - 2 * x_ND @ x_ND.T
    np.fill_diagonal(distance_NN, -np.inf)
    order_NN = distance_NN.argsort(axis=1, kind="stable")
    rank_NN = np.empty_like(order_NN)
    np.put_along_axis(rank_NN, order_NN, np.arange(len(x_ND))[None, :], axis=1)
    return rank_NN


def trustworthiness(rank_NN: Ints, map_rank_NN: Ints, k: int) -> float:
    """1 - 2 / (N k (2N - 3k - 1)) * sum of (rank - k) over false neighbours.

    A false neighbour is among the k nearest on the map and not among the k nearest in the space
    (Venna and Kaski, 2001).
    With the two arguments exchanged it is the *continuity*: what the map has torn apart.

    Raises ValueError for k >= N / 2, for which the divisor is not that of the worst map.
    """
    count = len(rank_NN)
    if not 1 <= k < count / 2:
        raise ValueError(f"k is {k}; it must be at least 1 and below {count / 2}")
    shown_NN = (map_rank_NN >= 1) & (map_rank_NN <= k)
    excess = np.maximum(rank_NN - k, 0)[shown_NN].sum()
    return float(1 - 2 * excess / (count * k * (2 * count - 3 * k - 1)))


def three_groups(per_group: int = 60, seed: int = 0) -> tuple[Floats, Ints]:
    """x_N3 and group_N: three groups on a ball, of which the truth is known.

    Groups 0 and 1 are narrow (2 degrees) and near each other (20 degrees), group 2 is far away
    (100 degrees from group 0) and six times as wide.
    """
    rng = np.random.default_rng(seed)
    angle_G = np.deg2rad([0.0, 20.0, -100.0])
    centre_G3 = np.stack([np.cos(angle_G), np.sin(angle_G), np.zeros(3)], axis=1)
    width_G = np.deg2rad([2.0, 2.0, 12.0])
    group_N = np.repeat(np.arange(3), per_group)
    noise_N3 = rng.normal(size=(len(group_N), 3)) * width_G[group_N, None]
    return unit(centre_G3[group_N] + noise_N3), group_N
