"""Retrieval metrics on ranked relevance, one number per query, and their exact chance level.

Q queries, K places of a ranked list. Lists are sorted by decreasing score, ties by gallery index
(see `retrieval.rank_gallery`), so every metric is deterministic. The value of a query without a
relevant item is NaN; `bootstrap.estimate` leaves such queries out and counts the others.
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

Denominator = Literal["min(k, relevant)", "relevant", "hits"]
"""Denominator of average precision at k. `min(k, relevant)` (default): a perfect list scores 1 at
every k. `relevant`: all relevant items, as in trec_eval's map_cut. `hits`: the relevant items
found, as in torchmetrics with top_k and the authors' script; one hit at rank 1 then scores 1
regardless of how many were missed."""


def precision_at_k(rel_QK: Bools, relevant_Q: Ints, k: int) -> Floats:
    """Return P@k = hits among the first k / k. A list shorter than k is padded with misses."""
    hits_Q = _complete(rel_QK, relevant_Q, k)[:, :k].sum(1)
    return _where_relevant(hits_Q / k, relevant_Q)


def recall_at_k(rel_QK: Bools, relevant_Q: Ints, k: int) -> Floats:
    """Return R@k = hits among the first k / relevant items."""
    hits_Q = _complete(rel_QK, relevant_Q, k)[:, :k].sum(1)
    return _where_relevant(hits_Q / np.maximum(relevant_Q, 1), relevant_Q)


def average_precision_at_k(
    rel_QK: Bools,
    relevant_Q: Ints,
    k: int,
    denominator: Denominator = "min(k, relevant)",
) -> Floats:
    """Return AP@k = sum_{i<=k} rel_i P@i / denominator.

    Args:
        rel_QK: whether the item at each place is relevant; K >= k, or the list is the whole
            gallery.
        relevant_Q: number of relevant items in each query's whole gallery.
        k: length to which the list is truncated.
        denominator: see `Denominator`. With `hits`, a query without a hit scores 0.

    Returns:
        One value in [0, 1] per query; NaN where nothing is relevant.

    Raises:
        ValueError: unknown denominator, k < 1, or a list shorter than k that misses relevant
            items.
    """
    _check_denominator(denominator)
    rel_QK = _complete(rel_QK, relevant_Q, k)[:, :k]
    divisor_Q = {
        "min(k, relevant)": np.minimum(k, relevant_Q),
        "relevant": relevant_Q,
        "hits": rel_QK.sum(1),
    }[denominator]
    return _where_relevant(_precision_sum(rel_QK) / np.maximum(divisor_Q, 1), relevant_Q)


def authors_metrics_at_k(rel_QK: Bools, relevant_Q: Ints, k: int) -> tuple[Floats, Floats]:
    """Return AP@k and P@k as computed by the authors' script, for comparison with its numbers.

    Three differences from ours: k is reduced to min(k, relevant + 1, K), where the 1 is the query
    itself, which the script counts in its class; AP is divided by the hits found; and a query
    without a relevant item scores 0 instead of being left out. (Reference vectors:
    `retrieval_and_metrics_end_to_end`; for the script's lists, K is its max_topk - 1.)
    """
    _check_k(k)
    cut_Q = np.minimum(np.minimum(k, relevant_Q + 1), rel_QK.shape[1])
    kept_QK = rel_QK & (np.arange(rel_QK.shape[1]) < cut_Q[:, None])
    hits_Q = kept_QK.sum(1)
    return _precision_sum(kept_QK) / np.maximum(hits_Q, 1), hits_Q / np.maximum(cut_Q, 1)


def chance_precision_at_k(relevant_Q: Ints, gallery_Q: Ints, k: int) -> Floats:
    """Return E[P@k] = min(k, G) / k * R / G over random orders of G items, R of them relevant."""
    _check_k(k)
    share_Q = relevant_Q / np.maximum(gallery_Q, 1)
    return _where_relevant(np.minimum(k, gallery_Q) / k * share_Q, relevant_Q)


def chance_recall_at_k(relevant_Q: Ints, gallery_Q: Ints, k: int) -> Floats:
    """Return E[R@k] = min(k, G) / G."""
    _check_k(k)
    return _where_relevant(np.minimum(k, gallery_Q) / np.maximum(gallery_Q, 1), relevant_Q)


def chance_average_precision_at_k(
    relevant_Q: Ints,
    gallery_Q: Ints,
    k: int | Ints,
    denominator: Denominator = "min(k, relevant)",
) -> Floats:
    """Return the exact expectation of AP@k under a random order; k: a number, or one per query.

    E[sum_{i<=k} rel_i P@i] = sum_{i<=min(k, G)} (R/G) / i * (1 + (i - 1) (R - 1) / (G - 1)),
    divided by the denominator if it is constant. With `hits`: given h hits, the first k places are
    a random order of h hits among k, so the expectation is linear in h and depends only on
    P(h >= 1) and E[h].
    """
    _check_k(np.min(k, initial=1))
    _check_denominator(denominator)
    cut_Q = np.minimum(k, gallery_Q)
    share_Q = relevant_Q / np.maximum(gallery_Q, 1)
    if denominator == "hits":
        expected_Q = cut_Q * share_Q
        first_QK = chance_first_rank(relevant_Q, gallery_Q, np.max(cut_Q, initial=1))
        found_Q = np.where(np.arange(first_QK.shape[1]) < cut_Q[:, None], first_QK, 0.0).sum(1)
        single_Q = found_Q / np.maximum(cut_Q, 1)
        pair_Q = (expected_Q - found_Q) / np.maximum(cut_Q * (cut_Q - 1), 1)
        return _where_relevant(_expected_sum(single_Q, pair_Q, cut_Q), relevant_Q)
    pair_Q = share_Q * (relevant_Q - 1) / np.maximum(gallery_Q - 1, 1)
    divisor_Q = np.minimum(k, relevant_Q) if denominator == "min(k, relevant)" else relevant_Q
    total_Q = _expected_sum(share_Q, pair_Q, cut_Q)
    return _where_relevant(total_Q / np.maximum(divisor_Q, 1), relevant_Q)


def chance_authors_average_precision_at_k(relevant_Q: Ints, gallery_Q: Ints, k: int) -> Floats:
    """Return the expected AP of `authors_metrics_at_k` under a random order of the gallery."""
    _check_k(k)
    cut_Q = np.minimum(np.minimum(k, relevant_Q + 1), gallery_Q)
    cut_Q = np.maximum(cut_Q, 1)
    return np.nan_to_num(chance_average_precision_at_k(relevant_Q, gallery_Q, cut_Q, "hits"))


def chance_first_rank(relevant_Q: Ints, gallery_Q: Ints, k: int) -> Floats:
    """Return P(first relevant item at rank i), i = 1 .. k, under a random order, as first_QK.

    NaN if nothing is relevant.
    """
    _check_k(k)
    step_K = np.arange(k)
    wrong_QK = np.maximum((gallery_Q - relevant_Q)[:, None] - step_K, 0)
    left_QK = np.maximum(gallery_Q[:, None] - step_K, 1)
    miss_QK = np.cumprod(wrong_QK / left_QK, axis=1)
    first_QK = -np.diff(miss_QK, axis=1, prepend=1.0)
    return np.where(np.asarray(relevant_Q)[:, None] > 0, first_QK, np.nan)


def chance_mean_rank(relevant_Q: Ints, gallery_Q: Ints) -> Floats:
    """Return E[rank of the first relevant item] = (G + 1) / (R + 1) under a random order."""
    return _where_relevant((gallery_Q + 1) / (relevant_Q + 1), relevant_Q)


def _expected_sum(single_Q: Floats, pair_Q: Floats, cut_Q: Ints) -> Floats:
    """Return sum_{i<=cut} (single + (i - 1) pair) / i, single = E[rel_i], pair = E[rel_i rel_j]."""
    place_K = np.arange(1, np.max(cut_Q, initial=0) + 1)
    terms_QK = (single_Q[:, None] + (place_K - 1) * pair_Q[:, None]) / place_K
    return np.where(place_K <= cut_Q[:, None], terms_QK, 0.0).sum(1)


def _precision_sum(rel_QK: Bools) -> Floats:
    """Return sum_i rel_i P@i."""
    precision_QK = np.cumsum(rel_QK, axis=1) / np.arange(1, rel_QK.shape[1] + 1)
    return (precision_QK * rel_QK).sum(1)


def _where_relevant(value_Q: Floats, relevant_Q: Ints) -> Floats:
    return np.where(np.asarray(relevant_Q) > 0, value_Q, np.nan)


def _check_k(k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")


def _check_denominator(denominator: str) -> None:
    if denominator not in get_args(Denominator):
        known = ", ".join(get_args(Denominator))
        raise ValueError(f"unknown denominator {denominator!r}; known: {known}")


def _complete(rel_QK: Bools, relevant_Q: Ints, k: int) -> Bools:
    """Return the lists after checking that they reach k or contain every relevant item."""
    _check_k(k)
    rel_QK, relevant_Q = np.asarray(rel_QK, dtype=bool), np.asarray(relevant_Q)
    if rel_QK.ndim != 2 or relevant_Q.shape != rel_QK.shape[:1]:
        raise ValueError(f"rel_QK is {rel_QK.shape}, relevant_Q is {relevant_Q.shape}")
    found_Q = rel_QK.sum(1)
    if (found_Q > relevant_Q).any():
        raise ValueError("a list contains more hits than relevant_Q")
    if rel_QK.shape[1] < k and (found_Q < relevant_Q).any():
        raise ValueError(f"lists of {rel_QK.shape[1]} places are too short for k = {k}")
    return rel_QK
