"""Ranking a gallery by cosine, exactly and in blocks, with ties in a fixed order.

Q queries, G gallery items, K places of a ranked list, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Singles = NDArray[np.float32]

Keys = tuple[Sequence[Any], Sequence[Any]]
"""One key per query and one per gallery item; None and -1 equal nothing."""

# Scores are computed for as many queries at once as give about this many numbers.
BLOCK = 4_000_000


@dataclass(frozen=True)
class Ranking:
    """Where the relevant gallery items came in each query's list."""

    rel_QK: Bools
    relevant_Q: Ints
    """Relevant items in the whole gallery."""
    gallery_Q: Ints
    """Items that the query could find: the gallery without the query itself."""
    first_Q: Ints
    """Rank of the first relevant item, from 1; 0 where nothing is relevant."""


def similarity_QG(query_QD: Singles, gallery_GD: Singles) -> Singles:
    """cos(q, g) for every pair; a vector of length zero has cosine 0."""
    return unit(query_QD) @ unit(gallery_GD).T


def unit(vectors_ND: Singles) -> Singles:
    """x / |x| along the last axis; zeros stay zeros."""
    norm_N1 = np.linalg.norm(vectors_ND, axis=-1, keepdims=True)
    return vectors_ND / np.maximum(norm_N1, 1e-12, dtype=vectors_ND.dtype)


def top_k(scores_QG: Singles, k: int) -> Ints:
    """Gallery places of the k best scores, best first; equal scores by place. K = min(k, G).

    Linear in G: the k-th best score is found by partition, what lies above it is kept, and equals
    fill up from the left.
    """
    queries, size = scores_QG.shape
    k = min(k, size)
    if k == 0:
        return np.zeros((queries, 0), dtype=np.int64)
    kth_Q1 = np.partition(scores_QG, size - k, axis=1)[:, size - k, None]
    above_QG, tie_QG = scores_QG > kth_Q1, scores_QG == kth_Q1
    room_Q1 = k - above_QG.sum(1, keepdims=True)
    keep_QG = above_QG | (tie_QG & (np.cumsum(tie_QG, axis=1) <= room_Q1))
    place_QK = np.nonzero(keep_QG)[1].reshape(queries, k)
    order_QK = np.argsort(-np.take_along_axis(scores_QG, place_QK, 1), axis=1, kind="stable")
    return np.take_along_axis(place_QK, order_QK, 1)


def rank_gallery(
    query_QD: Singles,
    gallery_GD: Singles,
    hits: Sequence[Keys],
    own: Keys,
    k: int,
    block: int = BLOCK,
) -> Ranking:
    """Rank the gallery for each query by cosine, the best first.

    Equal scores are ranked by their place in the gallery. Scores are computed block by block of
    queries; no (Q, G) array is ever held.

    Args:
        hits: an item is relevant where any of these pairs of keys is equal.
        own: where this pair is equal the item is the query itself and not in its gallery.
        k: places of the list to keep.
        block: about how many scores to hold at once.

    Raises:
        ValueError: an embedding is not finite.
    """
    if not (np.isfinite(query_QD).all() and np.isfinite(gallery_GD).all()):
        raise ValueError("an embedding is not finite")
    codes, (own_Q, own_G) = [shared_codes(*pair) for pair in hits], shared_codes(*own)
    query_QD, gallery_GD = unit(query_QD), unit(gallery_GD)
    queries, size = len(query_QD), len(gallery_GD)
    rel_QK = np.zeros((queries, min(k, size)), dtype=bool)
    relevant_Q, gallery_Q, first_Q = (np.zeros(queries, dtype=np.int64) for _ in range(3))
    step = max(1, block // max(size, 1))
    for start in range(0, queries if size else 0, step):
        rows = slice(start, start + step)
        scores_QG = query_QD[rows] @ gallery_GD.T
        own_QG = _equal(own_Q[rows], own_G)
        scores_QG[own_QG] = -np.inf
        hit_QG = np.any([_equal(q[rows], g) for q, g in codes], axis=0) & ~own_QG
        relevant_Q[rows] = hit_QG.sum(1)
        gallery_Q[rows] = size - own_QG.sum(1)
        first_Q[rows] = _first_rank(scores_QG, hit_QG)
        rel_QK[rows] = np.take_along_axis(hit_QG, top_k(scores_QG, k), axis=1)
    return Ranking(rel_QK, relevant_Q, gallery_Q, first_Q)


def shared_codes(keys_Q: Sequence[Any], keys_G: Sequence[Any]) -> tuple[Ints, Ints]:
    """The keys of both sides as numbers, equal where the keys are equal; -1 for None and -1."""
    numbers: dict[Any, int] = {None: -1, -1: -1}
    both = [numbers.setdefault(key, len(numbers)) for key in (*keys_Q, *keys_G)]
    codes = np.array(both, dtype=np.int64)
    return codes[: len(keys_Q)], codes[len(keys_Q) :]


def _equal(code_Q: Ints, code_G: Ints) -> Bools:
    return (code_Q[:, None] == code_G) & (code_Q[:, None] >= 0)


def _first_rank(scores_QG: Singles, hit_QG: Bools) -> Ints:
    """Rank of the best placed hit: 1 + items above it + equals before it; 0 without a hit."""
    best_Q1 = np.where(hit_QG, scores_QG, -np.inf).max(1, keepdims=True)
    tie_QG = scores_QG == best_Q1
    place_Q1 = np.argmax(hit_QG & tie_QG, axis=1)[:, None]
    before_QG = (scores_QG > best_Q1) | (tie_QG & (np.arange(scores_QG.shape[1]) < place_Q1))
    return np.where(hit_QG.any(1), 1 + before_QG.sum(1), 0)
