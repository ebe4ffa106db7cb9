"""Retrieval tables: every subset and every direction of modalities, and by missing pattern.

Q queries, G gallery items, N products, M modalities (five), P patterns, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scale.evaluation.bootstrap import Estimate, estimate_items
from scale.evaluation.embed import Embeddings, subset_embedding
from scale.evaluation.retrieval import (
    KS,
    Retrieval,
    category_retrieval,
    instance_retrieval,
    take,
)
from scale.modalities import INDEX, MODALITIES, SUBSETS, subset_name

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Singles = NDArray[np.float32]


@dataclass(frozen=True)
class ProductArrays:
    """All that evaluation needs to know of N products, as arrays."""

    ids: Sequence[str]
    pooled_NMD: Singles
    present_NM: Bools
    labels: Sequence[str | None]
    """Category; None where unknown."""
    content_id_NM: Ints | None = None
    """A number per distinct content of a modality, -1 where absent or unknown."""
    alt: Embeddings | None = None
    """Second views of some of these products, under the same ids."""

    def __post_init__(self) -> None:
        n = len(self.ids)
        sizes = (len(self.labels), len(self.pooled_NMD), len(self.present_NM))
        if any(size != n for size in sizes):
            raise ValueError(f"{n} ids, but {sizes} labels, features and presences")
        if len(set(self.ids)) != n:
            raise ValueError("the ids of the products are not distinct")
        strange = set(self.alt.ids) - set(self.ids) if self.alt else set()
        if strange:
            raise ValueError(f"a second view of {min(strange)!r}, which is not among the products")

    @classmethod
    def of(
        cls, dataset: Any, embeddings: Embeddings, alt: Embeddings | None = None
    ) -> "ProductArrays":
        """From a ProductDataset, its embeddings, and those of `dataset.view("alt")`."""
        labels = [product.category for product in dataset.products]
        pooled_NMD, present_NM = embeddings.pooled_NMD, embeddings.present_NM
        return cls(embeddings.ids, pooled_NMD, present_NM, labels, dataset.content_id_NM, alt)

    def content(self, modality: str) -> Ints:
        """Content numbers of one modality; -1 throughout where contents are unknown."""
        if self.content_id_NM is None:
            return np.full(len(self.ids), -1)
        return self.content_id_NM[:, INDEX[modality]]


def subset_retrievals(
    products: ProductArrays, gallery: Literal["same", "full"], ks: Sequence[int] = KS
) -> dict[str, Retrieval]:
    """Category retrieval for all 31 query subsets, by written subset.

    Args:
        gallery: `same`: gallery items are represented by the query's subset; `full`: by all
            modalities that they have. Products that lack every modality of the subset are left
            out and counted as `lacking`.
    """
    emb_GD, offers_N = subset_embedding(products.pooled_NMD, products.present_NM, MODALITIES)
    result = {}
    for subset in SUBSETS:
        emb_ND, asks_N = subset_embedding(products.pooled_NMD, products.present_NM, subset)
        if gallery == "same":
            emb_GD, offers_N = emb_ND, asks_N
        rows_Q, rows_G = np.flatnonzero(asks_N), np.flatnonzero(offers_N)
        found = category_retrieval(
            emb_ND[rows_Q],
            emb_GD[rows_G],
            take(products.labels, rows_Q),
            take(products.labels, rows_G),
            take(products.ids, rows_Q),
            take(products.ids, rows_G),
            ks,
        )
        counts = found.counts | {"lacking": int((~asks_N).sum())}
        result[subset_name(subset)] = replace(found, rows_Q=rows_Q[found.rows_Q], counts=counts)
    return result


def direction_retrievals(products: ProductArrays, ks: Sequence[int] = KS) -> dict[str, Retrieval]:
    """Instance retrieval in the 20 directions, by `from->to`.

    Queries and gallery are the products that have both modalities, so that every query has its
    answer and chance is k / n.
    """
    result = {}
    for start, end in ((a, b) for a in MODALITIES for b in MODALITIES if a != b):
        both_N = products.present_NM[:, INDEX[start]] & products.present_NM[:, INDEX[end]]
        rows_Q = np.flatnonzero(both_N)
        query_QD = products.pooled_NMD[rows_Q, INDEX[start]]
        result[f"{start}->{end}"] = _instance(products, query_QD, rows_Q, both_N, end, ks)
    return result


def alt_retrievals(products: ProductArrays, ks: Sequence[int] = KS) -> dict[str, Retrieval]:
    """Instance retrieval of a product by its second view, by `alt_image->image` and so on.

    Queries are the products that have the modality in both views; the gallery is every product's
    first view. Empty where the catalogue has no second views.
    """
    if products.alt is None:
        return {}
    row = {product: i for i, product in enumerate(products.ids)}
    alt_N = np.array([row[product] for product in products.alt.ids], dtype=np.int64)
    result = {}
    for m in MODALITIES:
        has_N = products.present_NM[:, INDEX[m]]
        asks = products.alt.present_NM[:, INDEX[m]] & has_N[alt_N]
        query_QD = products.alt.pooled_NMD[asks, INDEX[m]]
        result[f"alt_{m}->{m}"] = _instance(products, query_QD, alt_N[asks], has_N, m, ks)
    return result


def by_pattern(
    retrieval: Retrieval, present_NM: Bools, seed: int = 0
) -> dict[str, dict[str, Estimate]]:
    """The metrics by what the query product has: `text+table+image` and so on.

    Missing modalities depend on the category, so a mean over all products mixes patterns of
    different difficulty.
    """
    present_QM = present_NM[retrieval.rows_Q]
    patterns_PM, which_Q = np.unique(present_QM, axis=0, return_inverse=True)
    items = {}
    for p, present_M in enumerate(patterns_PM):
        rows = which_Q.ravel() == p
        name = "+".join(m for m in MODALITIES if present_M[INDEX[m]])
        items[name] = {metric: value_Q[rows] for metric, value_Q in retrieval.values.items()}
    return estimate_items(items, seed)


def _instance(
    products: ProductArrays,
    query_QD: Singles,
    rows_Q: Ints,
    offers_N: Bools,
    end: str,
    ks: Sequence[int],
) -> Retrieval:
    rows_G = np.flatnonzero(offers_N)
    content_N = products.content(end)
    found = instance_retrieval(
        query_QD,
        products.pooled_NMD[rows_G, INDEX[end]],
        take(products.ids, rows_Q),
        take(products.ids, rows_G),
        content_N[rows_Q],
        content_N[rows_G],
        ks,
    )
    counts = found.counts | {"lacking": len(products.ids) - len(rows_Q)}
    return replace(found, rows_Q=rows_Q, counts=counts)
