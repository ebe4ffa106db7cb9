"""Category and instance retrieval, and the tables over subsets, directions and patterns."""

from dataclasses import replace

import numpy as np
import pytest

from scale.evaluation.embed import Embeddings, subset_embedding, unit
from scale.evaluation.retrieval import (
    ProductArrays,
    alt_retrievals,
    by_pattern,
    category_retrieval,
    direction_retrievals,
    instance_retrieval,
    subset_retrievals,
)
from scale.modalities import INDEX, MODALITIES, SUBSETS, subset_name

ALL = subset_name(MODALITIES)


def cosines(query_QD, gallery_GD):
    """cos(q, g) of every pair; 0 for a zero vector."""
    return unit(query_QD) @ unit(gallery_GD).T


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


def test_tables_hold_all_subsets_and_count_what_they_leave_out(products):
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


def test_copies_of_the_content_count_as_the_answer_and_the_best_placed_gives_the_rank():
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


def test_a_modality_that_nobody_has_gives_empty_results_not_errors(products):
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
