"""Clustering of embeddings by k-means, and its agreement with the categories.

N products, K clusters, C classes, J non-empty (cluster, class) cells, R resamples, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scale.evaluation.bootstrap import NOTHING, Estimate, estimate_weighted, group_sum

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NAMES = ("NMI", "ARI", "purity")
PERMUTATIONS = 100

DEFINITIONS = {
    "NMI": "mutual information of clusters and categories / mean of their entropies",
    "ARI": "adjusted Rand index: share of product pairs on which clusters and categories agree, "
    "corrected so that a random assignment has 0",
    "purity": "share of products whose category is the most frequent one of their cluster",
    "clustering": "k-means with as many clusters as categories, best of 10 starts; intervals by "
    "bootstrap over products, centred on the value because resampling biases them upwards",
    "clustering chance": "mean and 95 % range over 100 random permutations of the cluster numbers",
}


@dataclass(frozen=True)
class Clustering:
    """Clusters of the labelled products and their agreement with the categories."""

    scores: dict[str, Estimate]
    chance: dict[str, Estimate]
    """Mean over permutations of the cluster numbers; low and high are 95 % of the permutations."""
    cluster_N: Ints
    """Cluster of each product; -1 without a category."""
    clusters: int


def cluster(emb_ND: NDArray[np.float32], labels: Sequence[str | None], seed: int = 0) -> Clustering:
    """Run k-means on the labelled products, with k = number of categories and n_init = 10.

    k is at most the number of distinct embeddings.
    """
    from sklearn.cluster import KMeans

    known_N = np.array([label is not None for label in labels], dtype=bool)
    cluster_N = np.full(len(labels), -1)
    if not known_N.any():
        nothing = dict.fromkeys(NAMES, NOTHING)
        return Clustering(nothing, nothing, cluster_N, 0)
    known = [label for label in labels if label is not None]
    names, class_N = np.unique(known, return_inverse=True)
    k = min(len(names), len(np.unique(emb_ND[known_N], axis=0)))
    cluster_N[known_N] = KMeans(k, n_init=10, random_state=seed).fit_predict(emb_ND[known_N])
    found_N = cluster_N[known_N]
    scores = estimate_weighted(
        lambda weights_RN: agreement(weights_RN, found_N, class_N), len(found_N), seed, centre=True
    )
    return Clustering(scores, _chance(found_N, class_N, seed), cluster_N, k)


def purity(cluster_N: Ints, class_N: Ints) -> float:
    """Return sum_k max_c |cluster k and class c| / N."""
    return float(
        agreement(np.ones((1, len(class_N)), dtype=np.int64), cluster_N, class_N)["purity"][0]
    )


def agreement(weights_RN: Ints, cluster_N: Ints, class_N: Ints) -> dict[str, Floats]:
    """Return NMI, adjusted Rand index and purity, for R weightings of the products at once.

    NMI = (H(k) + H(c) - H(k, c)) / ((H(k) + H(c)) / 2), 1 where both are one group.
    ARI = (T - E) / ((P_k + P_c) / 2 - E) with T, P_k, P_c the pairs of products in the same cell,
    cluster and class, and E = P_k P_c / all pairs.

    Args:
        weights_RN: multiplicity of each product; ones for the plain value.
    """
    clusters, classes = int(cluster_N.max()) + 1, int(class_N.max()) + 1
    cells, cell_N = np.unique(cluster_N * classes + class_N, return_inverse=True)
    cell_RJ = group_sum(weights_RN, cell_N, len(cells))
    cluster_RK = group_sum(weights_RN, cluster_N, clusters)
    class_RC = group_sum(weights_RN, class_N, classes)
    n_R = weights_RN.sum(1)

    entropy_k, entropy_c = _entropy(cluster_RK), _entropy(class_RC)
    shared = entropy_k + entropy_c - _entropy(cell_RJ)
    nmi_R = _ratio(2 * shared, entropy_k + entropy_c)

    pairs_k, pairs_c, pairs = _pairs(cluster_RK), _pairs(class_RC), n_R * (n_R - 1) / 2
    expected = pairs_k * pairs_c / np.maximum(pairs, 1)
    ari_R = _ratio(_pairs(cell_RJ) - expected, (pairs_k + pairs_c) / 2 - expected)

    # Cells are sorted by cluster, so one reduction finds the largest of each.
    starts = np.unique(cells // classes, return_index=True)[1]
    purity_R = np.maximum.reduceat(cell_RJ, starts, axis=1).sum(1) / n_R
    return {"NMI": nmi_R, "ARI": ari_R, "purity": purity_R}


def _chance(cluster_N: Ints, class_N: Ints, seed: int) -> dict[str, Estimate]:
    rng = np.random.default_rng(seed)
    ones_1N = np.ones((1, len(class_N)), dtype=np.int64)
    drawn = [agreement(ones_1N, rng.permutation(cluster_N), class_N) for _ in range(PERMUTATIONS)]
    result = {}
    for name in NAMES:
        draws = np.concatenate([d[name] for d in drawn])
        low, high = np.percentile(draws, [2.5, 97.5])
        result[name] = Estimate(float(draws.mean()), float(low), float(high), len(class_N))
    return result


def _entropy(count_RJ: Floats) -> Floats:
    share_RJ = count_RJ / count_RJ.sum(1, keepdims=True)
    return -(share_RJ * np.log(np.where(share_RJ > 0, share_RJ, 1.0))).sum(1)


def _pairs(count_RJ: Floats) -> Floats:
    return (count_RJ * (count_RJ - 1) / 2).sum(1)


def _ratio(above_R: Floats, below_R: Floats) -> Floats:
    """Return above / below; 1 where below is 0: both partitions are then trivial and equal."""
    trivial_R = np.abs(below_R) < 1e-12
    return np.where(trivial_R, 1.0, above_R / np.where(trivial_R, 1.0, below_R))
