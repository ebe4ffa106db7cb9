"""Numbers behind the pictures of the downstream tasks (notebook 14).

N products, C classes, K numbers of clusters.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from scale.evaluation.bootstrap import Estimate, estimate
from scale.evaluation.classification import Classification
from scale.evaluation.clustering import NAMES, agreement, cluster
from scale.evaluation.retrieval import category_retrieval

Floats = NDArray[np.float64]
RETRIEVAL = ("mAP@1", "mAP@5", "Recall@10")
PROBE = ("accuracy", "macro-F1")
LOTS = 20
"""Random assignments whose mean stands for chance."""


def class_f1(true_N: Sequence[str], predicted_N: Sequence[str]) -> dict[str, float]:
    """F1 = 2 tp / (true + predicted) of each class that is true or predicted; by name."""
    true_N, predicted_N = np.asarray(true_N), np.asarray(predicted_N)
    result = {}
    for name in np.union1d(true_N, predicted_N):
        is_true_N, is_said_N = true_N == name, predicted_N == name
        both, either = (is_true_N & is_said_N).sum(), is_true_N.sum() + is_said_N.sum()
        result[str(name)] = float(2 * both / either)
    return result


def purity_curves(
    emb_ND: NDArray[np.float32],
    categories: Sequence[str],
    clusters_K: Sequence[int],
    seed: int = 0,
) -> dict[str, dict[str, Floats]]:
    """NMI, ARI and purity of k-means (`trained`) and of lots (`chance`) for several k.

    Lots keep the sizes of the clusters and draw their members by chance; mean of 20 drawings.
    Needs scikit-learn.
    """
    from sklearn.cluster import KMeans

    class_N = np.unique(categories, return_inverse=True)[1]
    ones_1N, rng = np.ones((1, len(class_N)), dtype=np.int64), np.random.default_rng(seed)
    curves = {stage: {name: [] for name in NAMES} for stage in ("trained", "chance")}
    for k in clusters_K:
        cluster_N = KMeans(k, n_init=3, random_state=seed).fit_predict(emb_ND)
        found = agreement(ones_1N, cluster_N, class_N)
        lots = [agreement(ones_1N, rng.permutation(cluster_N), class_N) for _ in range(LOTS)]
        for name in NAMES:
            curves["trained"][name].append(found[name].item())
            curves["chance"][name].append(np.mean([lot[name] for lot in lots]))
    return {s: {name: np.array(v) for name, v in by.items()} for s, by in curves.items()}


def task_estimates(
    emb: Mapping[str, NDArray[np.float32]],
    ids: Sequence[str],
    categories: Sequence[str],
    probes: Mapping[str, Classification],
    seed: int = 0,
) -> dict[str, dict[str, Estimate]]:
    """Metric -> stage -> estimate, for retrieval by category, the probe, and k-means.

    Args:
        emb: emb_ND by stage; `trained` must be among them and gives the chance levels.
        probes: by stage; the majority class stands for chance.
    """
    tasks: dict[str, dict[str, Estimate]] = {m: {} for m in (*RETRIEVAL, *PROBE, *NAMES)}
    for stage, emb_ND in emb.items():
        found = category_retrieval(emb_ND, emb_ND, categories, categories, ids, ids)
        groups = cluster(emb_ND, list(categories), seed)
        for metric in RETRIEVAL:
            tasks[metric][stage] = estimate(found.values[metric], seed)
            tasks[metric]["chance"] = estimate(found.chance[metric], seed)
        for metric in PROBE:
            tasks[metric][stage] = probes[stage].scores[metric]
            tasks[metric]["chance"] = probes[stage].majority[metric]
        for metric in NAMES:
            tasks[metric][stage] = groups.scores[metric]
            if stage == "trained":
                tasks[metric]["chance"] = groups.chance[metric]
    return tasks
