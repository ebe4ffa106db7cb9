"""Ranking against a full stable sort, with ties, exclusions and blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scale.evaluation.embed import unit
from scale.evaluation.retrieval import rank_gallery, shared_codes, top_k


def cosines(query_QD, gallery_GD):
    """cos(q, g) of every pair; 0 for a zero vector."""
    return unit(query_QD) @ unit(gallery_GD).T


# Few distinct values, so that most rows have ties, also across the cut.
coarse = arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, 12)),
    elements=st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 1.0]),
)


@given(scores_QG=coarse, k=st.integers(1, 14))
@settings(deadline=None)
def test_top_k_equals_a_stable_sort(scores_QG, k):
    expected = np.argsort(-scores_QG, axis=1, kind="stable")[:, :k]
    assert np.array_equal(top_k(scores_QG, k), expected)


def test_similarity_is_the_cosine_and_zero_for_a_zero_vector():
    query, gallery = np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([[4.0, 3.0], [-3.0, -4.0]])
    assert cosines(query, gallery) == pytest.approx(np.array([[0.96, -1.0], [0.0, 0.0]]))


def slow_ranking(query, gallery, hits, own, k):
    """One query at a time, by Python's stable sort."""
    rel, relevant, size, first = [], [], [], []
    scores = cosines(query, gallery)
    for q in range(len(query)):
        items = [g for g in range(len(gallery)) if own[0][q] is None or own[0][q] != own[1][g]]
        items.sort(key=lambda g, q=q: -scores[q, g])
        hit = [any(a[q] not in (None, -1) and a[q] == b[g] for a, b in hits) for g in items]
        rel.append((hit + [False] * k)[: min(k, len(gallery))])
        relevant.append(sum(hit))
        size.append(len(items))
        first.append(hit.index(True) + 1 if any(hit) else 0)
    return np.array(rel), relevant, size, first


@pytest.mark.parametrize("block", [1, 40, 10_000])
def test_ranking_equals_the_slow_twin_in_any_block(block):
    rng = np.random.default_rng(0)
    # Axis-parallel vectors: scores are exactly 0, 1 or -1 in any order of summation.
    query, gallery = (np.eye(4, dtype=np.float32)[rng.integers(0, 4, n)] for n in (9, 13))
    labels = [rng.choice(["a", "b", None], n).tolist() for n in (9, 13)]
    content = [rng.choice([-1, 0, 1, 2], n).tolist() for n in (9, 13)]
    own = ([f"p{i}" for i in range(9)], [f"p{i}" for i in range(2, 15)])
    hits = [tuple(labels), tuple(content)]
    found = rank_gallery(query, gallery, hits, own, k=5, block=block)
    rel, relevant, size, first = slow_ranking(query, gallery, hits, own, 5)
    assert np.array_equal(found.rel_QK, rel)
    assert found.relevant_Q.tolist() == relevant
    assert found.gallery_Q.tolist() == size
    assert found.first_Q.tolist() == first
    assert 0 < sum(r > 0 for r in relevant) < 9


def test_equal_scores_are_ranked_by_their_place():
    same = np.ones((6, 3), dtype=np.float32)
    labels, ids = list("aabbba"), list("012345")
    found = rank_gallery(same, same, [(labels, labels)], (ids, ids), k=5)
    assert found.first_Q.tolist() == [1, 1, 3, 3, 3, 1]


def test_shared_codes_agree_across_both_sides_and_none_equals_nothing():
    left, right = shared_codes(["x", None, "y"], ["y", "z", None, "x"])
    assert left.tolist() == [right[3], -1, right[0]]
    assert right[2] == -1
    assert len(set(right.tolist())) == 4


def test_features_that_are_not_finite_are_refused():
    bad = np.array([[np.nan, 1.0]], dtype=np.float32)
    with pytest.raises(ValueError, match="not finite"):
        rank_gallery(bad, bad, [(["a"], ["a"])], (["0"], ["1"]), k=1)
