"""What studies measure, against loops over products and ranks."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from scale.evaluation.embed import product_embedding
from scale.modalities import INDEX, MODALITIES, SUBSETS, parse_subset, subset_name
from scale.model.scale import ScaleModel
from scale.studies.noise import Noise, apply_noise, missing_at_random
from scale.studies.runner import measure, restrict
from scale.studies.study import METRICS
from scale.studies.study import Test as Held
from scale.training.run import fit_sizes, seeded_model


@pytest.fixture(scope="module")
def situation(small_data):
    """48 products and a model of random weights."""
    data, config = small_data
    products = list(data.products)
    # Nobody has this one's category, another has none, and two sounds are equal.
    products[1] = replace(products[1], category="rare")
    products[2] = replace(products[2], category=None)
    content_id_NM = data.content_id_NM.copy()
    one, other = np.flatnonzero(content_id_NM[:, INDEX["audio"]] >= 0)[:2]
    content_id_NM[one, INDEX["audio"]] = content_id_NM[other, INDEX["audio"]]
    # Words beyond the vocabulary leave equal tokens: between equal scores rounding would decide.
    for m in ("text", "table"):
        first = {}
        for n in np.flatnonzero(data.present_NM[:, INDEX[m]]):
            pieces = tuple(data.collate([n]).tokens[m].values[0].tolist())
            content_id_NM[n, INDEX[m]] = content_id_NM[first.setdefault(pieces, n), INDEX[m]]
    data = replace(data, products=tuple(products), content_id_NM=content_id_NM)
    return data, seeded_model(fit_sizes(config, data)).eval()


def run(model, data, *tests, seed=0, complete_N=None):
    complete_N = data.present_NM.all(1) if complete_N is None else complete_N
    return measure(model, data, complete_N, tests, seed, "cpu")


def features(model, data):
    """unit feature of each product and modality that is there, product by product."""
    found = {}
    with torch.no_grad():
        for n in np.flatnonzero(data.present_NM.any(1)):
            pooled_MD = model.embed(data.collate([n])).pooled_BMD[0].double()
            for m in range(5):
                if data.present_NM[n, m]:
                    found[int(n), m] = pooled_MD[m] / pooled_MD[m].norm()
    return found


def embedding(found, n, subset):
    """Unit mean of unit features; None where the product has none of the subset."""
    parts = [found[n, INDEX[m]] for m in subset if (n, INDEX[m]) in found]
    return None if not parts else sum(parts) / sum(parts).norm()


def slow_average_precision(data, found, subset, k):
    """value_N of category retrieval: query by the subset, gallery by all modalities."""
    labels = [product.category for product in data.products]
    gallery = {n: embedding(found, n, MODALITIES) for n in range(len(data))}
    values = []
    for n in range(len(data)):
        query = embedding(found, n, subset)
        others = [g for g in gallery if g != n and gallery[g] is not None and labels[g]]
        relevant = [g for g in others if labels[g] == labels[n]]
        if query is None or labels[n] is None or not relevant:
            values.append(math.nan)
            continue
        order = sorted(others, key=lambda g: -float(query @ gallery[g]))
        hits = [order[i] in relevant for i in range(k)]
        precisions = [sum(hits[: i + 1]) / (i + 1) for i in range(k) if hits[i]]
        values.append(sum(precisions) / min(k, len(relevant)))
    return values


def slow_recall(data, found, k=10):
    """value_N: share of the directions in which a product, or a copy of it, is among k."""
    values = []
    for n in range(len(data)):
        hits = []
        for a in range(5):
            for b in range(5):
                if a == b or (n, a) not in found or (n, b) not in found:
                    continue
                gallery = [g for g in range(len(data)) if {(g, a), (g, b)} <= set(found)]
                order = sorted(gallery, key=lambda g: -float(found[n, a] @ found[g, b]))
                same = data.content_id_NM[:, b] == data.content_id_NM[n, b]
                hits.append(any(same[g] for g in order[:k]))
        values.append(sum(hits) / len(hits) if hits else math.nan)
    return values


def equal(x, y):
    np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7)


def mean(values):
    return float(np.nanmean(values))


def test_figures_equal_the_loops(situation):
    data, model = situation
    found = features(model, data)
    measured = run(model, data, Held("held out"))
    values, figures = measured.queries["held out"], measured.figures["held out"]
    assert set(values) == {"mAP@5", "Recall@10"} < set(METRICS)
    average = slow_average_precision(data, found, MODALITIES, 5)
    equal(values["mAP@5"], average)
    assert np.isnan(values["mAP@5"][:3]).tolist() == [False, True, True]
    recall = slow_recall(data, found)
    equal(values["Recall@10"], recall)
    assert len(set(recall)) > 5
    equal(figures["mAP@5"], mean(average))
    equal(figures["mAP@1"], mean(slow_average_precision(data, found, MODALITIES, 1)))
    equal(figures["Recall@10"], mean(recall))
    assert set(figures) == {"mAP@5", "mAP@1", "chance mAP@5", "Recall@10"}
    assert 0.1 < figures["chance mAP@5"] < 0.35, "four categories"


def test_products_without_modalities_do_not_ask_and_are_not_found(situation):
    data, model = situation
    data = restrict(data, ("video", "audio"))
    empty_N = ~data.present_NM.any(1)
    assert 3 < empty_N.sum() < 20
    measured = run(model, data, Held("held out"))
    values, found = measured.queries["held out"], features(model, data)
    assert len(values["mAP@5"]) == len(values["Recall@10"]) == len(data)
    assert np.isnan(np.array(values["mAP@5"])[empty_N]).all()
    equal(values["mAP@5"], slow_average_precision(data, found, MODALITIES, 5))
    equal(values["Recall@10"], slow_recall(data, found))
    both_N = data.present_NM[:, [INDEX["video"], INDEX["audio"]]].all(1)
    assert np.array_equal(np.isnan(values["Recall@10"]), ~both_N)


def test_subsets_ask_and_the_gallery_keeps_all(situation):
    data, model = situation
    found = features(model, data)
    figures = run(model, data, Held("held out", subsets=True)).figures["held out"]
    assert {f"mAP@5 {subset_name(subset)}" for subset in SUBSETS} < set(figures)
    for name in ("text", "audio", "text+image", "table+video+audio"):
        expected = slow_average_precision(data, found, parse_subset(name), 5)
        equal(figures[f"mAP@5 {name}"], mean(expected))
    equal(figures[f"mAP@5 {subset_name(MODALITIES)}"], figures["mAP@5"])


def test_complete_keeps_the_complete_products_in_their_order(situation):
    data, model = situation
    complete_N = data.present_NM.all(1)
    assert 10 < complete_N.sum() < 40
    measured = run(model, data, Held("complete", complete=True), Held("held out"))
    kept = data.subset(np.flatnonzero(complete_N))
    values = measured.queries["complete"]
    equal(values["mAP@5"], slow_average_precision(kept, features(model, kept), MODALITIES, 5))
    assert measured.figures["complete"] == run(model, kept, Held("held out")).figures["held out"]
    assert len(measured.queries["held out"]["mAP@5"]) == len(data)
    # Which are complete is told: a model that sees less is asked about the same products.
    less = run(model, restrict(data, ("text",)), Held("complete", complete=True),
               complete_N=complete_N)  # fmt: skip
    assert len(less.queries["complete"]["mAP@5"]) == complete_N.sum()


def test_noise_hits_what_the_test_is_about_and_follows_the_seed(situation):
    data, model = situation
    noises = missing_at_random(0.5)
    before = data.content_id_NM.copy()
    found = {
        seed: run(model, data, Held("half", noises), Held("both", noises, complete=True), seed=seed)
        for seed in (3, 4)
    }
    noisy = apply_noise(data, noises, 3).dataset
    assert found[3].figures["half"] == run(model, noisy, Held("x")).figures["x"]
    noisy = apply_noise(data.subset(np.flatnonzero(data.present_NM.all(1))), noises, 3).dataset
    assert found[3].figures["both"] == run(model, noisy, Held("x")).figures["x"]
    assert found[3].figures != found[4].figures
    assert np.array_equal(data.content_id_NM, before)


def test_a_test_without_products_is_left_out(situation):
    data, model = situation
    nobody_N = np.zeros(len(data), bool)
    measured = run(model, data, Held("complete", complete=True), Held("held out"),
                   complete_N=nobody_N)  # fmt: skip
    assert set(measured.figures) == set(measured.queries) == {"held out"}


class Product(ScaleModel):
    """SCALE that makes its own vector of a product, as fusion models do."""

    def embed_product(self, batch):
        assert not self.training
        output = self.embed(batch)
        return product_embedding(output.pooled_BMD, output.present_BM)


def test_models_with_vectors_of_their_own_are_measured_alike(situation):
    data, model = situation
    data = apply_noise(data, [Noise("missing", "video")], 0).dataset
    own = Product(model.config, model.missing)
    own.load_state_dict(model.state_dict())
    own.train()
    tests = (Held("held out", subsets=True),)
    expected, found = (run(m, data, *tests) for m in (model, own))
    assert own.training, "the mode is given back"
    expected, found = expected.figures["held out"], found.figures["held out"]
    assert math.isnan(found.pop("mAP@5 video")), "none has any"
    assert math.isnan(expected.pop("mAP@5 video"))
    assert found == pytest.approx(expected)
