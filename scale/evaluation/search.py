"""Search for the nearest products: faiss where it is installed, exact numpy otherwise.

Q queries, G gallery items, K results, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scale.evaluation.ranking import BLOCK, top_k, unit


@dataclass(frozen=True)
class Matches:
    """The K best items of each query, best first."""

    score_QK: NDArray[np.float32]
    """Cosine."""
    place_QK: NDArray[np.int64]
    """Row in the gallery."""
    ids: tuple[tuple[str, ...], ...]
    """Per query, the ids of its items."""


@dataclass(frozen=True)
class SearchIndex:
    """A gallery of embeddings that can be asked for its items nearest to a query by cosine."""

    ids: tuple[str, ...]
    emb_GD: NDArray[np.float32]
    """Unit length."""
    flat: Any
    """faiss.IndexFlatIP over the same rows, or None without faiss. Both are exact and give the
    same results, but for the choice among equal scores at the last place."""

    @classmethod
    def build(cls, emb_GD: NDArray[np.float32], ids: Sequence[str]) -> "SearchIndex":
        """An index over embeddings of any length (they are normalised).

        Raises:
            ValueError: no rows, rows that are not finite, or ids that do not match them.
        """
        if emb_GD.ndim != 2 or not len(emb_GD) or len(ids) != len(emb_GD):
            raise ValueError(f"cannot index embeddings of shape {emb_GD.shape} with {len(ids)} ids")
        if not np.isfinite(emb_GD).all():
            raise ValueError("an embedding is not finite")
        unit_GD = np.ascontiguousarray(unit(emb_GD), dtype=np.float32)
        try:
            import faiss
        except ImportError:
            return cls(tuple(ids), unit_GD, None)
        flat = faiss.IndexFlatIP(unit_GD.shape[1])
        flat.add(unit_GD)
        return cls(tuple(ids), unit_GD, flat)

    def query(self, query_QD: NDArray[np.float32], k: int = 10) -> Matches:
        """The min(k, G) nearest items of each query.

        Raises:
            ValueError: another width than the gallery's, rows that are not finite, or k < 1.
        """
        if query_QD.ndim != 2 or query_QD.shape[1] != self.emb_GD.shape[1]:
            raise ValueError(f"queries of shape {query_QD.shape} in {self.emb_GD.shape}")
        if k < 1 or not np.isfinite(query_QD).all():
            raise ValueError(f"k is {k}, or a query is not finite")
        unit_QD = np.ascontiguousarray(unit(query_QD), dtype=np.float32)
        k = min(k, len(self.ids))
        if self.flat is None:
            score_QK, place_QK = self._exact(unit_QD, k)
        else:
            score_QK, place_QK = self.flat.search(unit_QD, k)
            # Equal scores in the gallery's order, as in the exact way.
            order_QK = np.lexsort((place_QK, -score_QK), axis=1)
            score_QK = np.take_along_axis(score_QK, order_QK, 1)
            place_QK = np.take_along_axis(place_QK, order_QK, 1)
        found = tuple(tuple(self.ids[place] for place in places_K) for places_K in place_QK)
        return Matches(score_QK, place_QK, found)

    def _exact(
        self, unit_QD: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Inner products in blocks of queries."""
        step = max(1, BLOCK // len(self.ids))
        scores, places = [], []
        for start in range(0, len(unit_QD), step):
            scores_QG = unit_QD[start : start + step] @ self.emb_GD.T
            places.append(top_k(scores_QG, k))
            scores.append(np.take_along_axis(scores_QG, places[-1], 1))
        if not scores:
            return np.zeros((0, k), dtype=np.float32), np.zeros((0, k), dtype=np.int64)
        return np.concatenate(scores), np.concatenate(places)
