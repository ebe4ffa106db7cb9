"""Agreement of clusters and classes against scikit-learn and a slow purity."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from scale.evaluation.bootstrap import NOTHING, estimate_weighted
from scale.evaluation.clustering import agreement, cluster, purity


def slow_purity(clusters: list[int], classes: list[int]) -> float:
    right = 0
    for k in set(clusters):
        members = [c for c, own in zip(classes, clusters, strict=True) if own == k]
        right += Counter(members).most_common(1)[0][1]
    return right / len(classes)


pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=2, max_size=40)


@given(pairs)
def test_agreement_equals_scikit_learn_and_the_slow_twin(pairs):
    clusters, classes = (np.array(side) for side in zip(*pairs, strict=True))
    found = agreement(np.ones((1, len(pairs)), dtype=np.int64), clusters, classes)
    assert found["NMI"][0] == pytest.approx(
        normalized_mutual_info_score(classes, clusters), abs=1e-9
    )
    assert found["ARI"][0] == pytest.approx(adjusted_rand_score(classes, clusters), abs=1e-9)
    assert purity(clusters, classes) == pytest.approx(
        slow_purity(clusters.tolist(), classes.tolist())
    )


def test_weights_mean_repetition():
    rng = np.random.default_rng(0)
    clusters, classes = rng.integers(0, 4, 30), rng.integers(0, 3, 30)
    weights_RN = rng.integers(0, 3, (4, 30))
    found = agreement(weights_RN, clusters, classes)
    for r, weight_N in enumerate(weights_RN):
        a, b = clusters.repeat(weight_N), classes.repeat(weight_N)
        assert found["NMI"][r] == pytest.approx(normalized_mutual_info_score(b, a))
        assert found["ARI"][r] == pytest.approx(adjusted_rand_score(b, a))
        assert found["purity"][r] == pytest.approx(slow_purity(a.tolist(), b.tolist()))


def blobs(spread: float):
    rng = np.random.default_rng(0)
    class_N = rng.integers(0, 8, 150)
    centres = rng.normal(size=(8, 12))
    emb_ND = centres[class_N] + spread * rng.normal(size=(150, 12))
    return emb_ND.astype(np.float32), [f"c{c}" for c in class_N]


def test_clear_blobs_are_found_and_noise_is_at_chance():
    emb_ND, labels = blobs(0.05)
    found = cluster(emb_ND, labels)
    assert found.clusters == 8
    assert [found.scores[name].value for name in ("NMI", "ARI", "purity")] == pytest.approx(
        [1, 1, 1]
    )
    noise = cluster(np.random.default_rng(1).normal(size=(150, 12)).astype(np.float32), labels)
    for name, chance in noise.chance.items():
        assert noise.scores[name].value == pytest.approx(chance.value, abs=0.1)
    # Purity and NMI of noise are far from 0, so chance must be shown beside them.
    assert noise.chance["purity"].value > 0.2
    assert abs(noise.chance["ARI"].value) < 0.02


def test_intervals_contain_the_value_although_resampling_is_biased():
    rng = np.random.default_rng(0)
    clusters, classes = rng.integers(0, 24, 60), rng.integers(0, 24, 60)
    plain, centred = (
        estimate_weighted(lambda w: agreement(w, clusters, classes), 60, centre=centre)
        for centre in (False, True)
    )
    for name in ("NMI", "ARI", "purity"):
        assert plain[name].low > plain[name].value, "the bias that centring is there for"
        assert centred[name].low < centred[name].value < centred[name].high
    emb_ND, labels = blobs(1.0)
    for score in cluster(emb_ND, labels).scores.values():
        assert score.low < score.value < score.high
        assert score.n == 150


def test_unlabelled_products_are_left_out_and_the_result_repeats():
    emb_ND, labels = blobs(0.5)
    labels[:10] = [None] * 10
    found = cluster(emb_ND, labels)
    assert (found.cluster_N[:10] == -1).all()
    assert (found.cluster_N[10:] >= 0).all()
    assert found.scores["NMI"].n == 140
    assert np.array_equal(cluster(emb_ND, labels).cluster_N, found.cluster_N)
    nothing = cluster(emb_ND[:2], [None, None])
    assert nothing.scores["purity"] == NOTHING
    assert nothing.chance["purity"] == NOTHING


def test_fewer_distinct_embeddings_than_categories():
    emb_ND = np.array([[0.0, 1.0]] * 3 + [[1.0, 0.0]] * 3, dtype=np.float32)
    assert cluster(emb_ND, list("abcdef")).clusters == 2
