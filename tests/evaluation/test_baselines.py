"""Baselines: CCA against its definition, honest selection, the same queries as the model, cache."""

import dataclasses
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image
from scipy.linalg import eigh
from sklearn.cross_decomposition import CCA

from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue
from scale.data.dataset import Column
from scale.data.media import load_video
from scale.evaluation import baselines
from scale.evaluation.baselines import (
    GRID,
    PAIR_DEFAULT,
    SHARED_QUERIES,
    STRENGTH_DEFAULT,
    Baseline,
    cca_retrieval,
    choose_pairs,
    fit_baseline,
    fit_cca,
    frozen_vectors,
    handmade_vectors,
    media_vector,
)
from scale.evaluation.embed import Embeddings, unit
from scale.evaluation.retrieval import ProductArrays, RetrievalTables
from scale.inference import evaluate
from scale.inference.evaluate import Splits
from scale.modalities import INDEX, MODALITIES, subset_name
from scale.training.run import TrainedRun

ALL = subset_name(MODALITIES)
PAIR = ("text", "image")


# -------------------------------------------------------------- canonical correlation analysis


def slow_cca(x, y, ridge, size):
    """Solve [[0, C_xy], [C_yx, 0]] v = rho [[C_xx + l, 0], [0, C_yy + l]] v, largest rho first."""
    x, y, n, f = x - x.mean(0), y - y.mean(0), len(x), x.shape[1]
    cxx, cyy, cxy = x.T @ x / n, y.T @ y / n, x.T @ y / n
    left, right = np.zeros((2, f + y.shape[1], f + y.shape[1]))
    left[:f, f:], left[f:, :f] = cxy, cxy.T
    right[:f, :f] = cxx + ridge * np.trace(cxx) / np.linalg.matrix_rank(cxx) * np.eye(f)
    right[f:, f:] = cyy + ridge * np.trace(cyy) / np.linalg.matrix_rank(cyy) * np.eye(len(cyy))
    rho, v = eigh(left, right)
    order = np.argsort(-rho)[:size]
    return rho[order], x @ v[:f, order], y @ v[f:, order]


def related(n, f, g, seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, 3))
    x = shared @ rng.normal(size=(3, f)) + rng.normal(size=(n, f)) + 5
    return x, shared @ rng.normal(size=(3, g)) + rng.normal(size=(n, g))


@pytest.mark.parametrize(
    ("n", "f", "g", "ridge"), [(60, 7, 5, 0.0), (60, 7, 5, 0.4), (15, 40, 30, 1)]
)
def test_cca_solves_the_generalised_eigenproblem(n, f, g, ridge):
    x, y = related(n, f, g)
    found = fit_cca(x, y, ridge, 4)
    rho, u, v = slow_cca(x, y, ridge, 4)
    np.testing.assert_allclose(found.correlation_K, rho, atol=1e-8)
    for side, (data, expected) in enumerate(((x, u), (y, v))):
        # Eigenvectors are determined up to sign and, over both sides, length: 1 / sqrt(2) here.
        np.testing.assert_allclose(
            np.abs(found.project(side, data)), np.abs(expected) * 2**0.5, atol=1e-4
        )
    np.testing.assert_array_equal(found.project(0, x, 2), found.project(0, x)[:, :2])
    signs = np.sign((found.project(0, x) * found.project(1, y)).sum(0))
    np.testing.assert_array_equal(signs, 1)


def test_cca_without_a_ridge_is_that_of_scikit_learn():
    x, y = related(80, 6, 4)
    u, v = CCA(3, max_iter=5000, tol=1e-12).fit_transform(x, y)
    expected = [np.corrcoef(u[:, k], v[:, k])[0, 1] for k in range(3)]
    np.testing.assert_allclose(fit_cca(x, y, 0.0, 3).correlation_K, expected, atol=1e-6)


# ------------------------------------------------------------------------------- the selection


def test_a_pair_of_few_validation_products_follows_the_others():
    rng = np.random.default_rng(0)
    many, few = rng.random((len(GRID), 200)) * 0.1, np.zeros((len(GRID), 2))
    many[7] += 0.5
    few[3] = 0.9
    none = np.zeros((len(GRID), 0))
    ranks = {("a", "b"): many, ("a", "c"): few, ("b", "c"): none}
    shared = (many.mean(1) + few.mean(1)) / 2
    expected = (few.sum(1) + SHARED_QUERIES * shared) / (2 + SHARED_QUERIES)
    chosen = choose_pairs(ranks)
    assert chosen["a", "b"] == GRID[7]
    assert chosen["a", "c"] == GRID[int(expected.argmax())]
    assert chosen["b", "c"] == GRID[int(shared.argmax())]
    assert choose_pairs({("b", "c"): none}) == {("b", "c"): PAIR_DEFAULT}


def products_of(seed, count, noise, incomplete=False):
    """Two modalities, of 30 and 24 numbers, with `noise` beside 6 common ones; 5 categories."""
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(9)
    label_N = rng.integers(0, 5, count)
    common = fixed.normal(size=(5, 6))[label_N] + rng.normal(size=(count, 6))
    x, y = (
        common @ fixed.normal(size=(6, f)) + noise * rng.normal(size=(count, f)) for f in (30, 24)
    )
    present = np.zeros((count, 5), bool)
    present[:, [INDEX[m] for m in PAIR]] = rng.random((count, 2)) < (0.7 if incomplete else 1.1)
    content = np.where(present, np.arange(count)[:, None], -1)
    ids = [f"{seed}-{n}" for n in range(count)]
    arrays = ProductArrays(
        ids, np.zeros((count, 5, 1), np.float32), present, [f"c{k}" for k in label_N], content
    )
    rows = [present[:, INDEX[m]] for m in PAIR]
    return arrays, {
        m: v[has].astype(np.float32) for m, v, has in zip(PAIR, (x, y), rows, strict=True)
    }


def fitted(tmp_path, train, val, test, **options):
    parts = {"train": train, "val": val, "test": test}
    vectors = {m: {name: part[1][m] for name, part in parts.items()} for m in PAIR}
    arrays = {name: part[0] for name, part in parts.items()}
    return fit_baseline(vectors, arrays, cache=FeatureCache(tmp_path), **options)


def test_ridge_size_and_c_are_chosen_on_val_alone(tmp_path):
    train = products_of(0, 60, 1.0)
    quiet, loud = products_of(1, 60, 0.2), products_of(2, 60, 6.0)
    chosen = fitted(tmp_path, train, quiet, loud).settings
    assert chosen == fitted(tmp_path, train, quiet, quiet).settings
    other = fitted(tmp_path, train, loud, quiet).settings
    assert other["cca"]["text+image"] != chosen["cca"]["text+image"], "the test would choose it"
    assert other["linear_probe"]["C"] != chosen["linear_probe"]["C"]
    assert chosen["cca"]["chosen on"] == chosen["linear_probe"]["chosen on"] == "val"


def test_nothing_is_chosen_without_validation_products(tmp_path):
    train, test, none = products_of(0, 60, 1.0), products_of(1, 40, 1.0), products_of(2, 0, 1.0)
    ridge, size = PAIR_DEFAULT
    assert fitted(tmp_path, train, none, test).settings == {
        "cca": {"chosen on": "nothing", "text+image": {"ridge": ridge, "size": size}},
        "linear_probe": {"chosen on": "nothing", "C": STRENGTH_DEFAULT},
    }


# ------------------------------------------------------------------- the same queries and rules


def test_retrievals_equal_loops_and_have_the_queries_of_a_model(tmp_path):
    train, val = products_of(0, 60, 1.0), products_of(1, 30, 1.0)
    test, vectors = products_of(2, 30, 5.0, incomplete=True)
    content = test.content_id_NM.copy()
    twins = np.flatnonzero(test.present_NM[:, INDEX["image"]])[:2]
    content[twins, INDEX["image"]] = content[twins[0], INDEX["image"]]
    test = replace(test, content_id_NM=content)
    found = fitted(tmp_path, train, val, (test, vectors))
    tables, model = found.retrievals(test), RetrievalTables.of(test)

    text_N, image_N = (test.present_NM[:, INDEX[m]] for m in PAIR)
    u = dict(zip(np.flatnonzero(text_N), unit(found.projected[PAIR][0]), strict=True))
    v = dict(zip(np.flatnonzero(image_N), unit(found.projected[PAIR][1]), strict=True))
    both = [n for n in range(len(test.ids)) if n in u and n in v]
    hits = []
    for q in both:
        best = max(both, key=lambda g: u[q] @ v[g])
        hits.append(content[best, INDEX["image"]] == content[q, INDEX["image"]])
    assert tables.instance["text->image"].values["Recall@1"].tolist() == hits
    assert 0 < np.mean(hits) < 1

    units = {m: dict(zip(np.flatnonzero(has), unit(found.vectors[m]), strict=True))
             for m, has in zip(PAIR, (text_N, image_N), strict=True)}  # fmt: skip

    def cosine(a, b):
        count = [sum(n in units[m] for m in PAIR) for n in (a, b)]
        shared = [m for m in PAIR if a in units[m] and b in units[m]]
        return sum(units[m][a] @ units[m][b] for m in shared) / np.prod(count) ** 0.5

    usable = [n for n in range(len(test.ids)) if text_N[n] or image_N[n]]
    first = [max((g for g in usable if g != q), key=lambda g: cosine(q, g)) for q in usable]
    right = [test.labels[g] == test.labels[q] for q, g in zip(usable, first, strict=True)]
    assert tables.same[ALL].values["mAP@1"].tolist() == right

    for ours, theirs in ((tables.same, model.same), (tables.full, model.full),
                         (tables.instance, model.instance)):  # fmt: skip
        assert list(ours) == list(theirs)
        for name in theirs:
            np.testing.assert_array_equal(ours[name].rows_Q, theirs[name].rows_Q)
            assert ours[name].counts == theirs[name].counts
            for metric, chance_Q in theirs[name].chance.items():
                np.testing.assert_array_equal(ours[name].chance[metric], chance_Q)


def test_a_pair_that_cannot_be_fitted_is_at_chance(tmp_path):
    train, test = products_of(0, 40, 1.0), products_of(1, 20, 1.0)
    alone = train[0].present_NM.copy()
    alone[:20, INDEX["text"]] = alone[20:, INDEX["image"]] = False
    vectors = {"text": train[1]["text"][20:], "image": train[1]["image"][:20]}
    train = replace(train[0], present_NM=alone), vectors
    found = fitted(tmp_path, train, test, test)
    assert found.projected == {}
    direction = found.retrievals(test[0]).instance["text->image"]
    assert len(direction.rows_Q) == 20
    for metric, values_Q in direction.values.items():
        np.testing.assert_array_equal(values_Q, direction.chance[metric])


def test_second_views_are_compared_by_their_own_modality(tmp_path):
    train, val = products_of(0, 60, 1.0), products_of(1, 30, 1.0)
    test, vectors = products_of(2, 30, 1.0)
    present = np.zeros((10, 5), bool)
    present[:, INDEX["text"]] = True
    alt = Embeddings(np.zeros((10, 5, 1), np.float32), present, tuple(test.ids[:10]))
    parts = {"train": train, "val": val, "test": (test, vectors)}
    vectors = {m: {name: part[1][m] for name, part in parts.items()} for m in PAIR}
    vectors["text"]["alt"] = vectors["text"]["test"][:10] + np.float32(0.01)
    arrays = {name: part[0] for name, part in parts.items()} | {"test": replace(test, alt=alt)}
    found = fit_baseline(vectors, arrays, cache=FeatureCache(tmp_path))
    second = found.retrievals(arrays["test"]).instance["alt_text->text"]
    np.testing.assert_array_equal(second.values["Recall@1"], np.ones(10))


# -------------------------------------------------------------------------------------- cache


def test_a_second_call_fits_nothing_and_a_changed_input_does(tmp_path, monkeypatch):
    train, val, test = products_of(0, 60, 1.0), products_of(1, 30, 1.0), products_of(2, 30, 1.0)
    first = fitted(tmp_path, train, val, test)
    calls = []
    probe = baselines.linear_probe
    monkeypatch.setattr(
        baselines, "linear_probe", lambda *a, **o: calls.append(1) or probe(*a, **o)
    )
    again = fitted(tmp_path, train, val, test)
    assert calls == []
    for each in dataclasses.fields(first):
        np.testing.assert_equal(getattr(again, each.name), getattr(first, each.name))
    relabelled = replace(val[0], labels=["c0"] * 30), val[1]
    moved = val[0], val[1] | {"text": val[1]["text"] + 1}
    for changed in (relabelled, moved):
        fitted(tmp_path, train, changed, test)
    assert len(calls) == 2
    monkeypatch.setattr(baselines, "hash_code", lambda paths: "other code")
    fitted(tmp_path, train, val, test)
    assert len(calls) == 3


# ------------------------------------------------------------------------ vectors of products


@pytest.fixture(scope="module")
def parts(run_folder, small_catalogue, tmp_path_factory):
    data = TrainedRun.load(run_folder).dataset(Catalogue.open(small_catalogue))
    split = {name: data.subset(data.rows_of(name)) for name in ("train", "val", "test")}
    return split | {"alt": split["test"].view("alt")}


def test_vectors_are_those_of_the_products_and_fitted_on_train(parts, tmp_path):
    cache = FeatureCache(tmp_path)
    made = {"handmade": handmade_vectors(parts, cache), "frozen": frozen_vectors(parts, cache)}
    for vectors, sources in made.values():
        assert list(vectors) == list(sources) == list(MODALITIES)
        for m, by_part in vectors.items():
            for name, x_RF in by_part.items():
                assert len(x_RF) == parts[name].present_NM[:, INDEX[m]].sum()
                assert np.isfinite(x_RF).all()
            if m not in ("text", "table"):
                np.testing.assert_allclose(by_part["train"].mean(0), 0, atol=1e-5)
    signs = {name: replace(part, products=tuple(
                 replace(p, text="!?"[n % 2]) for n, p in enumerate(part.products)
             )) for name, part in parts.items()}  # fmt: skip
    assert len(np.unique(handmade_vectors(signs, cache)[0]["text"]["test"].round(4), axis=0)) == 2
    assert made["frozen"][1]["text"] == "TF-IDF, in place of word pieces"
    assert made["frozen"][1]["audio"] == "mean and spread of logmel"
    other = replace(parts["test"], products=tuple(
        replace(p, text="nothing of this kind was seen before") for p in parts["test"].products
    ))  # fmt: skip
    changed, _ = handmade_vectors(parts | {"test": other}, cache)
    text = made["handmade"][0]["text"]
    np.testing.assert_array_equal(changed["text"]["train"], text["train"])
    assert not np.allclose(changed["text"]["test"], text["test"])


def test_second_views_train_a_baseline_only_where_they_help_on_val(parts, tmp_path, monkeypatch):
    train, first = parts["train"].with_second_views(), len(parts["train"])
    assert len(train) > first
    splits = Splits(train, parts["val"], parts["test"], None)
    n = len(train)
    arrays = {"train": ProductArrays(
        train.ids, np.zeros((n, 5, 1), np.float32), train.present_NM, [None] * n
    )}  # fmt: skip

    def fit(sign, vectors, arrays, cache):
        products = arrays["train"]
        for m, by_part in vectors.items():
            assert len(by_part["train"]) == products.present_NM[:, INDEX[m]].sum()
        cca = {"mean reciprocal rank": sign * len(products.ids)}
        return Baseline({}, {}, {}, (), {"cca": cca})

    for sign, expected in ((1, n), (-1, first)):
        monkeypatch.setattr(evaluate, "fit_baseline", partial(fit, sign))
        found = evaluate._baselines(splits, arrays, FeatureCache(tmp_path), progress=False)
        assert {b.settings["training products"] for b in found.values()} == {expected}


def test_frozen_vectors_are_means_over_the_tokens(parts, tmp_path):
    rng = np.random.default_rng(0)
    train = parts["train"]
    count = len(train)
    length_N = rng.integers(1, 4, count) * train.present_NM[:, INDEX["text"]]
    tokens_TF = rng.normal(size=(length_N.sum(), 7)).astype(np.float16)
    column = Column(tokens_TF, np.cumsum(length_N) - length_N, length_N)
    config = replace(train.config, text_features="some-encoder")
    given = replace(train, config=config, columns=train.columns | {"text": column})
    vectors, sources = frozen_vectors({"train": given}, FeatureCache(tmp_path))
    means = np.array([tokens_TF[a : a + n].astype(float).mean(0)
                      for a, n in zip(column.start_N, length_N, strict=True) if n])  # fmt: skip
    expected = (means - means.mean(0)) / means.std(0)
    np.testing.assert_allclose(vectors["text"]["train"], expected, atol=1e-4)
    assert sources["text"] == "mean of some-encoder"
    given = replace(given, config=replace(config, text_features="clip:some-encoder"))
    vectors, _ = frozen_vectors({"train": given}, FeatureCache(tmp_path))
    first = tokens_TF[column.start_N[length_N > 0]].astype(float)
    np.testing.assert_allclose(
        vectors["text"]["train"], (first - first.mean(0)) / first.std(0), atol=1e-4
    )


def test_a_clip_is_the_mean_of_its_frames_and_media_are_decoded_once(parts, tmp_path, monkeypatch):
    product = next(p for p in parts["train"].products if p.video and p.image)
    frames = []
    for n, frame in enumerate(load_video(product.video, 8)):
        path = tmp_path / f"{n}.png"
        Image.fromarray(frame).save(path)
        frames.append(media_vector("image", path))
    np.testing.assert_allclose(media_vector("video", product.video), np.mean(frames, 0), atol=1e-5)
    cache = FeatureCache(tmp_path / "cache")
    first, _ = handmade_vectors(parts, cache)
    monkeypatch.setattr(baselines, "media_vector", None)
    again, _ = handmade_vectors(parts, cache)
    np.testing.assert_equal(again, first)


def test_cca_retrieval_ignores_other_modalities():
    test, vectors = products_of(2, 12, 1.0)
    x = vectors["text"][:, :4]
    found = cca_retrieval(test, PAIR, (x, x))
    assert list(found) == ["text->image", "image->text"]
    np.testing.assert_array_equal(found["image->text"].values["Recall@1"], np.ones(12))
