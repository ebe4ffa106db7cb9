"""Exact retrieval by cosine: ranking, metrics per query beside chance, tables over modalities.

Q queries, G gallery items, K places of a ranked list, N products, M modalities (five), P patterns,
D width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scale.evaluation import metrics
from scale.evaluation.bootstrap import Estimate, estimate_items
from scale.evaluation.embed import Embeddings, subset_embedding, unit
from scale.modalities import INDEX, MODALITIES, SUBSETS, subset_name

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Singles = NDArray[np.float32]

Keys = tuple[Sequence[Any], Sequence[Any]]
"""One key per query and one per gallery item; None and -1 equal nothing."""

KS = (1, 5, 10)
DIRECTIONS = tuple((a, b) for a in MODALITIES for b in MODALITIES if a != b)
"""The 20 directions of instance retrieval: from, to."""
BLOCK = 4_000_000
"""Number of scores that are held at once."""

DEFINITIONS = {
    "mAP@k": "mean over queries of sum_{i<=k} rel_i P@i / min(k, relevant); instance retrieval has "
    "one correct item, so this is 1/rank of it, or 0 beyond k",
    "authors mAP@k": "as in the authors' script: divided by the hits found, k reduced to "
    "min(k, relevant + 1), queries without a relevant item count 0",
    "Prec@k": "hits among the first k / k",
    "Recall@k": "hits among the first k / relevant items; instance retrieval: the correct item is "
    "among the first k",
    "mean rank": "mean over queries of the rank of the correct item, from 1",
    "category": "every other product of the query's category is relevant; the query itself is "
    "excluded from its gallery",
    "instance": "the correct item is the same product; gallery items with the same content count "
    "as correct too, and the best placed one determines the rank",
    "chance": "expected value under a random order of the gallery, in closed form",
    "interval": "percentile bootstrap over queries, 95 %, 1000 resamples",
    "n": "queries with at least one relevant item in their gallery",
}


# ------------------------------------------------------------------------------------- ranking


@dataclass(frozen=True)
class Ranking:
    """Positions of the relevant gallery items in each query's ranked list."""

    rel_QK: Bools
    relevant_Q: Ints
    """Number of relevant items in the whole gallery."""
    gallery_Q: Ints
    """Gallery size without the query itself."""
    first_Q: Ints
    """Rank of the first relevant item, from 1; 0 if nothing is relevant."""


def top_k(scores_QG: Singles, k: int) -> Ints:
    """Return the gallery indices of the min(k, G) best scores, best first, ties by index.

    Linear in G: a partition finds the k-th best score, everything above it is kept, and ties fill
    up from the left.
    """
    queries, size = scores_QG.shape
    k = min(k, size)
    if k == 0:
        return np.zeros((queries, 0), dtype=np.int64)
    kth_Q1 = np.partition(scores_QG, size - k, axis=1)[:, size - k, None]
    above_QG, tie_QG = scores_QG > kth_Q1, scores_QG == kth_Q1
    room_Q1 = k - above_QG.sum(1, keepdims=True)
    keep_QG = above_QG | (tie_QG & (np.cumsum(tie_QG, axis=1) <= room_Q1))
    index_QK = np.nonzero(keep_QG)[1].reshape(queries, k)
    order_QK = np.argsort(-np.take_along_axis(scores_QG, index_QK, 1), axis=1, kind="stable")
    return np.take_along_axis(index_QK, order_QK, 1)


def rank_gallery(
    query_QD: Singles,
    gallery_GD: Singles,
    hits: Sequence[Keys],
    own: Keys,
    k: int,
    block: int = BLOCK,
) -> Ranking:
    """Rank the gallery for each query by cosine, ties by gallery index.

    Scores are computed in blocks of queries; a (Q, G) array is never held.

    Args:
        hits: an item is relevant if any of these pairs of keys is equal.
        own: if this pair is equal, the item is the query itself and excluded from its gallery.
        k: length of the ranked list.
        block: approximate number of scores held at once.

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
    """Encode the keys of both sides as integers, equal for equal keys; None and -1 become -1."""
    numbers: dict[Any, int] = {None: -1, -1: -1}
    both = [numbers.setdefault(key, len(numbers)) for key in (*keys_Q, *keys_G)]
    codes = np.array(both, dtype=np.int64)
    return codes[: len(keys_Q)], codes[len(keys_Q) :]


def _equal(code_Q: Ints, code_G: Ints) -> Bools:
    return (code_Q[:, None] == code_G) & (code_Q[:, None] >= 0)


def _first_rank(scores_QG: Singles, hit_QG: Bools) -> Ints:
    """Return the rank of the best placed hit: 1 + items above + ties before; 0 without a hit."""
    best_Q1 = np.where(hit_QG, scores_QG, -np.inf).max(1, keepdims=True)
    tie_QG = scores_QG == best_Q1
    index_Q1 = np.argmax(hit_QG & tie_QG, axis=1)[:, None]
    before_QG = (scores_QG > best_Q1) | (tie_QG & (np.arange(scores_QG.shape[1]) < index_Q1))
    return np.where(hit_QG.any(1), 1 + before_QG.sum(1), 0)


# ----------------------------------------------------------------------------- metrics per query


@dataclass(frozen=True)
class Retrieval:
    """Metrics per query, NaN if nothing is relevant, and counts of what was left out."""

    values: dict[str, Floats]
    chance: dict[str, Floats]
    """Expected value of each metric under a random order of the gallery."""
    rows_Q: Ints
    """The query products, as rows of the ProductArrays (or of the queries given)."""
    counts: dict[str, int]
    """queries, gallery, lacking (products without the required modalities), unlabelled."""


def category_retrieval(
    query_QD: Singles,
    gallery_GD: Singles,
    query_labels: Sequence[str | None],
    gallery_labels: Sequence[str | None],
    query_ids: Sequence[str],
    gallery_ids: Sequence[str],
    ks: Sequence[int] = KS,
) -> Retrieval:
    """Score retrieval in which every other product of the query's category is relevant.

    The query itself (equal id) is excluded from its gallery, whatever modalities represent it
    there. Queries and gallery items without a category are left out and counted.
    """
    rows_Q = np.flatnonzero([label is not None for label in query_labels])
    rows_G = np.flatnonzero([label is not None for label in gallery_labels])
    labels = (_take(query_labels, rows_Q), _take(gallery_labels, rows_G))
    own = (_take(query_ids, rows_Q), _take(gallery_ids, rows_G))
    ranking = rank_gallery(query_QD[rows_Q], gallery_GD[rows_G], [labels], own, max(ks))
    rel, relevant, size = ranking.rel_QK, ranking.relevant_Q, ranking.gallery_Q
    values, chance = {}, {}
    for k in ks:
        values[f"mAP@{k}"] = metrics.average_precision_at_k(rel, relevant, k)
        chance[f"mAP@{k}"] = metrics.chance_average_precision_at_k(relevant, size, k)
        values[f"Prec@{k}"] = metrics.precision_at_k(rel, relevant, k)
        chance[f"Prec@{k}"] = metrics.chance_precision_at_k(relevant, size, k)
        values[f"Recall@{k}"] = metrics.recall_at_k(rel, relevant, k)
        chance[f"Recall@{k}"] = metrics.chance_recall_at_k(relevant, size, k)
        authors = f"authors mAP@{k}"
        values[authors] = metrics.authors_metrics_at_k(rel, relevant, k)[0]
        chance[authors] = metrics.chance_authors_average_precision_at_k(relevant, size, k)
    counts = {
        "queries": len(rows_Q),
        "gallery": len(rows_G),
        "unlabelled": len(query_labels) - len(rows_Q),
        "without relevant": int((relevant == 0).sum()),
    }
    return Retrieval(values, chance, rows_Q, counts)


def instance_retrieval(
    query_QD: Singles,
    gallery_GD: Singles,
    query_ids: Sequence[str],
    gallery_ids: Sequence[str],
    query_content: Sequence[int] | None = None,
    gallery_content: Sequence[int] | None = None,
    ks: Sequence[int] = KS,
) -> Retrieval:
    """Score retrieval of the same product in another modality or view.

    The one correct answer is the gallery item of equal id. Items of equal content are duplicates
    of it, so the best placed of them determines the rank: Recall@k = [rank <= k],
    mAP@k = [rank <= k] / rank.

    Args:
        query_content: content number of each query's correct answer, in the gallery's modality;
            -1 if unknown.
        gallery_content: content number of each gallery item.
    """
    hits = [(query_ids, gallery_ids)]
    if query_content is not None and gallery_content is not None:
        hits.append((query_content, gallery_content))
    no_own = ([-1] * len(query_ids), [-1] * len(gallery_ids))
    ranking = rank_gallery(query_QD, gallery_GD, hits, no_own, max(ks))
    values, chance = {}, {}
    rank_Q = np.where(ranking.first_Q > 0, ranking.first_Q, np.nan)
    for k in ks:
        values[f"mAP@{k}"] = np.where(rank_Q > k, 0.0, 1 / rank_Q)
        values[f"Recall@{k}"] = np.where(np.isnan(rank_Q), np.nan, rank_Q <= k)
        found_QK = metrics.chance_first_rank(ranking.relevant_Q, ranking.gallery_Q, k)
        chance[f"mAP@{k}"] = (found_QK / np.arange(1, k + 1)).sum(1)
        chance[f"Recall@{k}"] = found_QK.sum(1)
    values["mean rank"] = rank_Q
    chance["mean rank"] = metrics.chance_mean_rank(ranking.relevant_Q, ranking.gallery_Q)
    counts = {"queries": len(query_ids), "gallery": len(gallery_ids)}
    return Retrieval(values, chance, np.arange(len(query_ids)), counts)


# ------------------------------------------------------------- tables over subsets and directions


@dataclass(frozen=True)
class ProductArrays:
    """Features, labels and contents of N products, as arrays."""

    ids: Sequence[str]
    pooled_NMD: Singles
    present_NM: Bools
    labels: Sequence[str | None]
    """Category; None if unknown."""
    content_id_NM: Ints | None = None
    """A number per distinct content of a modality, -1 if absent or unknown."""
    alt: Embeddings | None = None
    """Second views of some of these products, under the same ids."""
    mixed: dict[tuple[str, ...], Singles] | None = None
    """emb_ND by subset of the modalities, for features that mix them; pooled_NMD then holds those
    of single modalities. None: embeddings follow from pooled_NMD."""

    def __post_init__(self) -> None:
        n = len(self.ids)
        sizes = (len(self.labels), len(self.pooled_NMD), len(self.present_NM))
        if any(size != n for size in sizes):
            raise ValueError(f"{n} ids, but {sizes} labels, features and presences")
        if len(set(self.ids)) != n:
            raise ValueError("the product ids are not distinct")
        unknown = set(self.alt.ids) - set(self.ids) if self.alt else set()
        if unknown:
            raise ValueError(f"a second view of {min(unknown)!r}, which is not among the products")

    @classmethod
    def of(
        cls, dataset: Any, embeddings: Embeddings, alt: Embeddings | None = None
    ) -> "ProductArrays":
        """Build from a ProductDataset, its embeddings, and those of `dataset.view("alt")`."""
        labels = [product.category for product in dataset.products]
        pooled_NMD, present_NM = embeddings.pooled_NMD, embeddings.present_NM
        return cls(embeddings.ids, pooled_NMD, present_NM, labels, dataset.content_id_NM, alt)

    def select(self, rows: Ints) -> "ProductArrays":
        """Return the arrays of some products, without second views and mixed features."""
        return ProductArrays(
            [self.ids[row] for row in rows],
            self.pooled_NMD[rows],
            self.present_NM[rows],
            [self.labels[row] for row in rows],
            None if self.content_id_NM is None else self.content_id_NM[rows],
        )

    def embedding(self, subset: tuple[str, ...] = MODALITIES) -> tuple[Singles, Bools]:
        """Return emb_ND of the products from a subset, and valid_N, as `subset_embedding`."""
        if self.mixed is None:
            return subset_embedding(self.pooled_NMD, self.present_NM, subset)
        valid_N = self.present_NM[:, [INDEX[m] for m in subset]].any(1)
        return self.mixed[subset], valid_N

    def content(self, modality: str) -> Ints:
        """Return the content numbers of one modality; all -1 if contents are unknown."""
        if self.content_id_NM is None:
            return np.full(len(self.ids), -1)
        return self.content_id_NM[:, INDEX[modality]]


def subset_retrievals(
    products: ProductArrays,
    gallery: Literal["same", "full"],
    ks: Sequence[int] = KS,
    embed: Callable[[tuple[str, ...]], tuple[Singles, Bools]] | None = None,
    items: ProductArrays | None = None,
    subsets: Sequence[tuple[str, ...]] = SUBSETS,
) -> dict[str, Retrieval]:
    """Score category retrieval for all 31 query subsets, or some of them, by name of the subset.

    Args:
        gallery: `same`: gallery items are represented by the query's subset; `full`: by all
            modalities that they have. Products without any modality of the subset are left out
            and counted as `lacking`.
        embed: returns emb_ND and valid_N from a subset of modalities; default:
            `products.embedding`.
        items: the gallery; default: the products themselves.
    """
    embed = embed or products.embedding
    embed_items = embed if items is None else items.embedding
    items = products if items is None else items
    emb_GD, valid_G = embed_items(MODALITIES)
    result = {}
    for subset in subsets:
        emb_ND, valid_N = embed(subset)
        if gallery == "same":
            emb_GD, valid_G = (emb_ND, valid_N) if items is products else embed_items(subset)
        rows_Q, rows_G = np.flatnonzero(valid_N), np.flatnonzero(valid_G)
        found = category_retrieval(
            emb_ND[rows_Q],
            emb_GD[rows_G],
            _take(products.labels, rows_Q),
            _take(items.labels, rows_G),
            _take(products.ids, rows_Q),
            _take(items.ids, rows_G),
            ks,
        )
        counts = found.counts | {"lacking": int((~valid_N).sum())}
        result[subset_name(subset)] = replace(found, rows_Q=rows_Q[found.rows_Q], counts=counts)
    return result


def direction_retrievals(
    products: ProductArrays,
    ks: Sequence[int] = KS,
    directions: Sequence[tuple[str, str]] = DIRECTIONS,
) -> dict[str, Retrieval]:
    """Score instance retrieval in the 20 directions, or in some of them, by `from->to`.

    Queries and gallery are the products that have both modalities, so every query has its answer
    and the chance level is k / n.
    """
    result = {}
    for start, end in directions:
        both_N = products.present_NM[:, INDEX[start]] & products.present_NM[:, INDEX[end]]
        rows_Q = np.flatnonzero(both_N)
        query_QD = products.pooled_NMD[rows_Q, INDEX[start]]
        result[f"{start}->{end}"] = _instance(products, query_QD, rows_Q, both_N, end, ks)
    return result


def modality_retrieval(
    products: ProductArrays,
    query_ND: Singles,
    valid_N: Bools,
    modality: str,
    ks: Sequence[int] = KS,
) -> Retrieval:
    """Score instance retrieval among the features of one modality by given queries.

    Queries are the valid products that have the modality; the gallery is all products that have it.
    """
    has_N = products.present_NM[:, INDEX[modality]]
    rows_Q = np.flatnonzero(valid_N & has_N)
    return _instance(products, query_ND[rows_Q], rows_Q, has_N, modality, ks)


def alt_retrievals(products: ProductArrays, ks: Sequence[int] = KS) -> dict[str, Retrieval]:
    """Score instance retrieval of a product by its second view, by `alt_image->image` and so on.

    Queries are the products that have the modality in both views; the gallery is every product's
    first view. Empty if the catalogue has no second views.
    """
    if products.alt is None:
        return {}
    row = {product: i for i, product in enumerate(products.ids)}
    alt_N = np.array([row[product] for product in products.alt.ids], dtype=np.int64)
    result = {}
    for m in MODALITIES:
        has_N = products.present_NM[:, INDEX[m]]
        queries_N = products.alt.present_NM[:, INDEX[m]] & has_N[alt_N]
        query_QD = products.alt.pooled_NMD[queries_N, INDEX[m]]
        result[f"alt_{m}->{m}"] = _instance(products, query_QD, alt_N[queries_N], has_N, m, ks)
    return result


@dataclass(frozen=True)
class RetrievalTables:
    """All retrievals of one model or baseline."""

    same: dict[str, Retrieval]
    """By query subset, the gallery represented by the same subset."""
    full: dict[str, Retrieval]
    """By query subset, the gallery represented by all modalities."""
    instance: dict[str, Retrieval]
    """By direction, second views included."""

    @classmethod
    def of(cls, products: ProductArrays, ks: Sequence[int] = KS) -> "RetrievalTables":
        """Score the features of a model."""
        instance = direction_retrievals(products, ks) | alt_retrievals(products, ks)
        same, full = (subset_retrievals(products, gallery, ks) for gallery in ("same", "full"))
        return cls(same, full, instance)


def by_pattern(
    retrieval: Retrieval, present_NM: Bools, seed: int = 0, category_N: Ints | None = None
) -> dict[str, dict[str, Estimate]]:
    """Estimate the metrics by the modalities that the query has: `text+table+image` and so on.

    Missing modalities depend on the category, so a mean over all products mixes patterns of
    different difficulty. `category_N` (`bootstrap.category_codes`) adds intervals over categories.
    """
    present_QM = present_NM[retrieval.rows_Q]
    patterns_PM, which_Q = np.unique(present_QM, axis=0, return_inverse=True)
    items, codes = {}, {}
    for p, present_M in enumerate(patterns_PM):
        rows = which_Q.ravel() == p
        name = "+".join(m for m in MODALITIES if present_M[INDEX[m]])
        items[name] = {metric: value_Q[rows] for metric, value_Q in retrieval.values.items()}
        if category_N is not None:
            codes[name] = category_N[retrieval.rows_Q[rows]]
    return estimate_items(items, seed, categories=codes or None)


def _instance(
    products: ProductArrays,
    query_QD: Singles,
    rows_Q: Ints,
    gallery_N: Bools,
    end: str,
    ks: Sequence[int],
) -> Retrieval:
    rows_G = np.flatnonzero(gallery_N)
    content_N = products.content(end)
    found = instance_retrieval(
        query_QD,
        products.pooled_NMD[rows_G, INDEX[end]],
        _take(products.ids, rows_Q),
        _take(products.ids, rows_G),
        content_N[rows_Q],
        content_N[rows_G],
        ks,
    )
    counts = found.counts | {"lacking": len(products.ids) - len(rows_Q)}
    return replace(found, rows_Q=rows_Q, counts=counts)


def _take(values: Sequence, rows: Ints) -> list:
    return [values[row] for row in rows]
