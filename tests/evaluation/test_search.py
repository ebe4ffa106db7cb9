"""Search with and without faiss: the same results."""

import sys

import numpy as np
import pytest

from scale.evaluation.index import SearchIndex


@pytest.fixture
def gallery():
    return 3 * np.random.default_rng(0).normal(size=(500, 24)).astype(np.float32)


@pytest.fixture
def queries():
    return np.random.default_rng(1).normal(size=(20, 24)).astype(np.float32)


@pytest.fixture(params=["faiss", "numpy"])
def way(request, monkeypatch):
    if request.param == "numpy":
        # None in sys.modules makes the import raise ImportError.
        monkeypatch.setitem(sys.modules, "faiss", None)
    return request.param


def test_both_ways_find_the_nearest_by_cosine(gallery, queries, way):
    ids = [f"p{i}" for i in range(500)]
    index = SearchIndex.build(gallery, ids)
    assert (index.flat is None) == (way == "numpy")
    found = index.query(queries, k=7)
    for q, query in enumerate(queries):
        cosine = gallery @ query / np.linalg.norm(gallery, axis=1) / np.linalg.norm(query)
        best = np.argsort(-cosine)[:7]
        assert found.place_QK[q].tolist() == best.tolist()
        assert found.ids[q] == tuple(ids[i] for i in best)
        assert found.score_QK[q] == pytest.approx(cosine[best], abs=1e-5)


def test_a_product_is_nearest_to_itself_and_k_is_capped(gallery, way):
    index = SearchIndex.build(gallery[:5], list("abcde"))
    found = index.query(gallery[:5], k=10)
    assert [ids[0] for ids in found.ids] == list("abcde")
    assert found.score_QK.shape == (5, 5)
    assert found.score_QK[:, 0] == pytest.approx(np.ones(5), abs=1e-6)
    assert index.query(gallery[:0], k=3).ids == ()


def test_equal_scores_come_in_the_gallery_order(way):
    index = SearchIndex.build(np.eye(3, dtype=np.float32)[[2, 0, 1, 0, 0]], list("abcde"))
    found = index.query(np.eye(3, dtype=np.float32)[:1], k=3)
    assert found.ids == (("b", "d", "e"),)


def test_many_queries_run_in_blocks(gallery, queries, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    index = SearchIndex.build(gallery, list(map(str, range(500))))
    whole = index.query(queries, k=4)
    monkeypatch.setattr("scale.evaluation.index.BLOCK", 1500)
    assert index.query(queries, k=4).ids == whole.ids


def test_what_cannot_be_searched_is_refused(gallery, queries):
    with pytest.raises(ValueError, match="with 3 ids"):
        SearchIndex.build(gallery, ["a", "b", "c"])
    with pytest.raises(ValueError, match="cannot index"):
        SearchIndex.build(gallery[:0], [])
    with pytest.raises(ValueError, match="not finite"):
        SearchIndex.build(gallery * np.nan, ["x"] * 500)
    index = SearchIndex.build(gallery, list(map(str, range(500))))
    with pytest.raises(ValueError, match="queries of shape"):
        index.query(queries[:, :5])
    with pytest.raises(ValueError, match="k is 0"):
        index.query(queries, k=0)
