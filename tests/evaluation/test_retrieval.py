"""Ranking against a stable sort; category and instance retrieval; tables over modalities."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scale.evaluation.embed import Embeddings, subset_embedding, unit
from scale.evaluation.retrieval import (
    ProductArrays,
    alt_retrievals,
    by_pattern,
    category_retrieval,
    direction_retrievals,
    instance_retrieval,
    rank_gallery,
    shared_codes,
    subset_retrievals,
    top_k,
)
from scale.modalities import INDEX, MODALITIES, SUBSETS, subset_name


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


ALL = subset_name(MODALITIES)


@pytest.fixture
def products():
    """60 products of 6 categories; image and text carry it, audio is noise; a third lacks video."""
    rng = np.random.default_rng(0)
    n, width = 60, 16
    label_N = rng.integers(0, 6, n)
    pooled = rng.normal(size=(n, 5, width))
    strength = np.array([0.8, 0.3, 0.8, 0.3, 0.0])
    pooled += strength[:, None] * rng.normal(size=(6, 1, width))[label_N] * 2
    present = np.ones((n, 5), dtype=bool)
    present[::3, INDEX["video"]] = False
    present[5] = False
    labels = [f"c{label}" for label in label_N]
    labels[7] = None
    return ProductArrays(
        ids=[f"p{i}" for i in range(n)],
        pooled_NMD=pooled.astype(np.float32),
        present_NM=present,
        labels=labels,
    )


def test_category_retrieval_equals_a_double_loop(products):
    emb, valid = subset_embedding(products.pooled_NMD, products.present_NM, ("text", "image"))
    rows = np.flatnonzero(valid)
    labels, ids = [products.labels[r] for r in rows], [products.ids[r] for r in rows]
    found = category_retrieval(emb[rows], emb[rows], labels, labels, ids, ids)
    scores = cosines(emb[rows], emb[rows])
    asked = [q for q in range(len(rows)) if labels[q] is not None]
    assert found.rows_Q.tolist() == asked
    for position, q in enumerate(asked):
        others = [g for g in asked if g != q]
        others.sort(key=lambda g, q=q: -scores[q, g])
        rel = [labels[g] == labels[q] for g in others]
        total = sum(sum(rel[: i + 1]) / (i + 1) for i in range(10) if rel[i])
        assert found.values["mAP@10"][position] == pytest.approx(total / min(10, sum(rel)))
        assert found.values["Prec@5"][position] == pytest.approx(sum(rel[:5]) / 5)
        assert found.values["Recall@5"][position] == pytest.approx(sum(rel[:5]) / sum(rel))
        assert found.chance["mAP@1"][position] == pytest.approx(sum(rel) / len(rel))


def test_the_query_is_never_in_its_gallery_even_under_other_modalities(products):
    """Distinct categories: with itself in the gallery every query would find a hit."""
    alone = replace(products, labels=[f"own{i}" for i in range(60)])
    for gallery in ("same", "full"):
        for name, found in subset_retrievals(alone, gallery).items():
            assert np.isnan(found.values["mAP@1"]).all(), name
            assert found.counts["without relevant"] == len(found.rows_Q) > 0


def test_tables_have_all_subsets_and_count_left_out_products(products):
    same, full = (subset_retrievals(products, g) for g in ("same", "full"))
    assert list(same) == list(full) == [subset_name(s) for s in SUBSETS]
    # 20 products lack video, among them none that lacks all; number 5 lacks all.
    assert same["video"].counts == {
        "queries": 38,
        "gallery": 38,
        "unlabelled": 1,
        "without relevant": 0,
        "lacking": 21,
    }
    assert full["video"].counts["gallery"] == 58
    assert full["video"].counts["queries"] == 38
    assert same[ALL].counts["lacking"] == 1
    assert 5 not in same[ALL].rows_Q
    assert 7 not in same[ALL].rows_Q
    assert not set(same["video"].rows_Q.tolist()) & set(range(0, 60, 3))
    for name in same[ALL].values:
        assert np.array_equal(same[ALL].values[name], full[ALL].values[name])


def test_modalities_that_carry_the_category_find_it_and_noise_is_at_chance(products):
    found = subset_retrievals(products, "same")
    chance = found["audio"].chance["mAP@10"].mean()
    assert found["audio"].values["mAP@10"].mean() == pytest.approx(chance, abs=0.06)
    assert found["text"].values["mAP@10"].mean() > 3 * chance
    assert found["text+image"].values["mAP@10"].mean() > found["text"].values["mAP@10"].mean()


def test_random_embeddings_meet_the_chance_level():
    rng = np.random.default_rng(0)
    labels = rng.choice(list("aaaabbc"), 50).tolist()
    ids = list(map(str, range(50)))
    drawn = {}
    for _ in range(200):
        emb = rng.normal(size=(50, 24)).astype(np.float32)
        found = category_retrieval(emb, emb, labels, labels, ids, ids)
        for name, value_Q in found.values.items():
            drawn.setdefault(name, []).append(np.nanmean(value_Q))
    for name, means in drawn.items():
        error = np.std(means) / len(means) ** 0.5
        assert abs(np.mean(means) - np.nanmean(found.chance[name])) < 4 * error + 1e-12, name


def test_duplicates_count_as_the_answer_and_the_best_placed_determines_the_rank():
    query = np.array([[1.0, 0.0]], dtype=np.float32)
    angle = np.array([0.1, 0.2, 0.3, 0.4])
    gallery = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    ids = ["other", "copy", "another", "me"]
    plain = instance_retrieval(query, gallery, ["me"], ids)
    assert plain.values["mean rank"].tolist() == [4]
    assert plain.values["Recall@1"].tolist() == [0]
    found = instance_retrieval(query, gallery, ["me"], ids, [9], [-1, 9, -1, 9])
    assert found.values["mean rank"].tolist() == [2]
    assert found.values["mAP@5"].tolist() == [0.5]
    assert found.values["mAP@1"].tolist() == [0]
    assert found.values["Recall@5"].tolist() == [1]
    # 2 of 4 items are right: P(first) = 1/2, and E[rank] = 5/3.
    assert found.chance["Recall@1"][0] == pytest.approx(1 / 2)
    assert found.chance["mAP@5"][0] == pytest.approx(1 / 2 + 1 / 3 / 2 + 1 / 6 / 3)
    assert found.chance["mean rank"][0] == pytest.approx(5 / 3)


def test_unknown_content_is_no_copy():
    same = np.ones((3, 2), dtype=np.float32)
    found = instance_retrieval(same, same, list("abc"), list("abc"), [-1] * 3, [-1] * 3)
    assert found.values["mean rank"].tolist() == [1, 2, 3]


def test_the_twenty_directions_restrict_both_sides(products):
    found = direction_retrievals(products)
    assert len(found) == 20
    assert next(iter(found)) == "text->table"
    assert found["text->image"].counts == {"queries": 59, "gallery": 59, "lacking": 1}
    assert found["image->video"].counts == {"queries": 39, "gallery": 39, "lacking": 21}
    assert found["video->image"].chance["Recall@10"] == pytest.approx(np.full(39, 10 / 39))
    image, video = INDEX["image"], INDEX["video"]
    rows = np.flatnonzero(products.present_NM[:, image] & products.present_NM[:, video])
    scores = cosines(products.pooled_NMD[rows, image], products.pooled_NMD[rows, video])
    ranks = 1 + (scores > np.diag(scores)[:, None]).sum(1)
    assert np.array_equal(found["image->video"].values["mean rank"], ranks)


def test_duplicates_are_those_of_the_gallery_modality(products):
    """Products 3 and 4 share their text: two correct answers in image->text, one in text->image."""
    content = np.tile(np.arange(60)[:, None], (1, 5))
    content[4, INDEX["text"]] = content[3, INDEX["text"]]
    found = direction_retrievals(replace(products, content_id_NM=content))
    for direction, correct in (("image->text", 2), ("text->image", 1)):
        row = found[direction].rows_Q.tolist().index(3)
        assert found[direction].chance["Recall@1"][row] == pytest.approx(correct / 59), direction


def test_second_views_find_their_product(products):
    assert alt_retrievals(products) == {}
    rng = np.random.default_rng(1)
    # Second views of 20 products, in another order, with the image alone.
    rows = rng.permutation(20)
    noise = 0.1 * rng.normal(size=(20, 5, 16)).astype(np.float32)
    present = np.zeros((20, 5), dtype=bool)
    present[:, INDEX["image"]] = True
    alt = Embeddings(products.pooled_NMD[rows] + noise, present, tuple(f"p{r}" for r in rows))
    found = alt_retrievals(replace(products, alt=alt))
    assert list(found) == [f"alt_{m}->{m}" for m in MODALITIES]
    assert found["alt_image->image"].counts == {"queries": 19, "gallery": 59, "lacking": 41}
    assert found["alt_image->image"].values["Recall@1"].mean() == 1
    assert found["alt_image->image"].rows_Q.tolist() == [r for r in rows if r != 5]
    assert found["alt_text->text"].counts["queries"] == 0


def test_patterns_split_the_queries(products):
    found = subset_retrievals(products, "same")[ALL]
    split = by_pattern(found, products.present_NM)
    assert set(split) == {ALL, "text+table+image+audio"}
    assert split[ALL]["mAP@1"].n == 38
    assert split["text+table+image+audio"]["mAP@1"].n == 20
    whole = 38 * split[ALL]["mAP@5"].value + 20 * split["text+table+image+audio"]["mAP@5"].value
    assert whole / 58 == pytest.approx(found.values["mAP@5"].mean())


def test_a_modality_of_no_product_has_empty_results(products):
    present = products.present_NM.copy()
    present[:, INDEX["audio"]] = False
    without = replace(products, present_NM=present)
    assert subset_retrievals(without, "same")["audio"].counts["queries"] == 0
    assert direction_retrievals(without)["text->audio"].counts["queries"] == 0


def test_arrays_that_do_not_fit_are_refused(products):
    with pytest.raises(ValueError, match="60 ids"):
        replace(products, labels=["a"])
    with pytest.raises(ValueError, match="distinct"):
        replace(products, ids=["p"] * 60)
    alt = Embeddings(products.pooled_NMD[:1], products.present_NM[:1], ("stranger",))
    with pytest.raises(ValueError, match="'stranger', which is not among"):
        replace(products, alt=alt)
