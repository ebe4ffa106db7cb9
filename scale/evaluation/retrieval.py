"""Retrieval by category and by instance between two sets of embeddings, beside chance.

Q queries, G gallery items, K places of a ranked list, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scale.evaluation import metrics
from scale.evaluation.ranking import rank_gallery

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Singles = NDArray[np.float32]

KS = (1, 5, 10)

DEFINITIONS = {
    "mAP@k": "mean over queries of sum_{i<=k} rel_i P@i / min(k, relevant); by instance the right "
    "answer is one, so this is 1/rank of it, or 0 beyond k",
    "authors mAP@k": "as the authors' script: divided by the hits found, k shrunk to "
    "min(k, relevant + 1), queries without a relevant item count 0",
    "Prec@k": "hits among the first k / k",
    "Recall@k": "hits among the first k / relevant items; by instance: the right answer is among "
    "the first k",
    "mean rank": "mean over queries of the rank of the right answer, from 1",
    "category": "every other product of the query's category is relevant; the query itself is "
    "never in its gallery",
    "instance": "the right answer is the same product; copies of its content in the gallery count "
    "as the same answer, and the best placed one gives the rank",
    "chance": "expected value under a random order of the gallery, in closed form",
    "interval": "percentile bootstrap over queries, 95 %, 1000 resamples",
    "n": "queries with at least one relevant item in their gallery",
}


@dataclass(frozen=True)
class Retrieval:
    """Metrics per query, NaN where nothing is relevant, and what was left out on the way."""

    values: dict[str, Floats]
    chance: dict[str, Floats]
    """The expected value of each metric under a random order of the gallery."""
    rows_Q: Ints
    """Which products asked, as rows of the ProductArrays (or of the queries given)."""
    counts: dict[str, int]
    """queries, gallery, lacking (products without the modalities asked for), unlabelled."""


def category_retrieval(
    query_QD: Singles,
    gallery_GD: Singles,
    query_labels: Sequence[str | None],
    gallery_labels: Sequence[str | None],
    query_ids: Sequence[str],
    gallery_ids: Sequence[str],
    ks: Sequence[int] = KS,
) -> Retrieval:
    """Retrieval in which every other product of the query's category is relevant.

    The query itself (equal id) is never in its gallery, whatever modalities stand for it there.
    Queries and gallery items without a category are left out and counted.
    """
    rows_Q = np.flatnonzero([label is not None for label in query_labels])
    rows_G = np.flatnonzero([label is not None for label in gallery_labels])
    label_Q, label_G = take(query_labels, rows_Q), take(gallery_labels, rows_G)
    own = (take(query_ids, rows_Q), take(gallery_ids, rows_G))
    ranking = rank_gallery(query_QD[rows_Q], gallery_GD[rows_G], [(label_Q, label_G)], own, max(ks))
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
    """Retrieval of the same product in another modality or view.

    The right answer is one: the gallery item of equal id. Items of equal content are copies of
    it, so the best placed of them gives the rank: Recall@k = [rank <= k], mAP@k = [rank <= k] /
    rank.

    Args:
        query_content: content number of the right answer of each query, in the gallery's
            modality; -1 where unknown.
        gallery_content: content number of each gallery item.
    """
    hits = [(query_ids, gallery_ids)]
    if query_content is not None and gallery_content is not None:
        hits.append((query_content, gallery_content))
    nobody = ([-1] * len(query_ids), [-1] * len(gallery_ids))
    ranking = rank_gallery(query_QD, gallery_GD, hits, nobody, max(ks))
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


def take(values: Sequence, rows: Ints) -> list:
    """The values at these rows."""
    return [values[row] for row in rows]
