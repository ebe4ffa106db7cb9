"""Training and measuring one cell, against loops over products and ranks."""

import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from scale.data.catalogue import Catalogue
from scale.evaluation.embed import embed_dataset, product_embedding, unit
from scale.evaluation.imputation import IMPUTED, MEAN, imputed_retrievals
from scale.modalities import INDEX, MODALITIES, SUBSETS, parse_subset, subset_name
from scale.model.scale import ScaleModel
from scale.studies import runner as cell_module
from scale.studies.noise import Noise, apply_noise, mismatch_everywhere, missing_at_random
from scale.studies.runner import load_study_data, measure, restrict, run_cell
from scale.studies.study import EMBEDDINGS, METRICS, Cell
from scale.studies.study import Test as Held
from scale.training import cross_fit
from scale.training.run import fit_sizes, seeded_model

HELD = 9
"""Test products of the small catalogue's 48; 30 are training products."""
COMPLETE = (Held("held out"), Held("complete", complete=True))


@pytest.fixture(scope="module")
def bench(config, small_catalogue, tmp_path_factory):
    """The small catalogue under a preset of 3 steps, with a separate cache."""
    train = replace(config.train, steps=3, batch_size=8, learning_rate=1e-3, device="cpu")
    smallest = replace(config, train=train)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setitem(cell_module.PRESETS, "smallest", lambda: smallest)
        load_study_data.cache_clear()
        yield load_study_data(small_catalogue, "smallest")
    load_study_data.cache_clear()


def run(bench, seed=0, factors=None, **changes):
    return run_cell(bench, "s", "k", Cell(factors or {"a": 1}, **changes), seed)


def numbers(record):
    """All that was measured, with a word for NaN, which equals nothing."""
    figures = {(t, m): v for t, metrics in record.figures.items() for m, v in metrics.items()}
    queries = {(t, m, n): v for t, metrics in record.queries.items()
               for m, values in metrics.items() for n, v in enumerate(values)}  # fmt: skip
    return {k: "nan" if math.isnan(v) else v for k, v in (figures | queries).items()}


def test_study_data_holds_out_one_split(bench, small_catalogue):
    assert bench.catalogue == small_catalogue.name
    assert bench.preset == "smallest"
    assert {p.split for p in bench.train.products} == {"train"}
    assert {p.split for p in bench.held.products} == {"test"}
    assert (len(bench.train), len(bench.held)) == (30, HELD)
    val = load_study_data(small_catalogue, "smallest", "val")
    assert {p.split for p in val.held.products} == {"val"}
    assert (val.train.ids, val.fingerprint) == (bench.train.ids, bench.fingerprint)
    assert run(val).held_out == val.held_out == "val"
    assert run(bench).held_out == bench.held_out == "test"
    with pytest.raises(ValueError, match=r"studies measure on test or val, not on 'val\+test'"):
        load_study_data(small_catalogue, "smallest", "val+test")
    assert bench.config.model.vocab_size == len(bench.train.tokenizer)
    assert load_study_data(small_catalogue, "smallest") is bench


def test_record_holds_settings_and_provenance(bench):
    cell = Cell({"policy": "skip"}, {"missing.policy": "skip"}, tests=COMPLETE)
    record = run_cell(bench, "missing", "key", cell, 7)
    assert (record.study, record.key, record.factors, record.seed) == (
        "missing", "key", {"policy": "skip"}, 7,
    )  # fmt: skip
    assert (record.catalogue, record.preset) == (bench.catalogue, "smallest")
    assert (record.status, record.reason) == ("done", "")
    assert record.config == cell.config(bench.config, 7).to_dict()
    assert record.config["missing"]["policy"] == "skip"
    assert record.cell == cell.identity()
    facts = record.provenance
    assert facts["seed"] == 7
    assert {"torch", "numpy"} <= set(facts["versions"])
    assert {"commit", "dirty"} <= set(facts)
    assert facts["device"] == (torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu")
    assert facts["threads"] == torch.get_num_threads()
    assert facts["seconds"] > 0
    assert facts["date"].startswith("20")
    assert facts["date"].endswith("+00:00")


def test_values_by_product_have_one_order_in_all_cells(bench):
    """Runs can be paired by product: equal lengths, NaN for products that are no query."""
    complete_N = bench.held.present_NM.all(1)
    cells = (
        Cell({"a": 1}, tests=COMPLETE),
        Cell({"a": 1}, {"model.modalities": ["text", "audio"]}, tests=COMPLETE),
        Cell({"a": 1}, {"model.modalities": ["image"]}, missing_at_random(0.3), tests=COMPLETE),
        Cell({"a": 1}, {"loss.tasks": ["MLM"], "model.modalities": ["text", "table", "image"]},
             model="uniter", tests=COMPLETE),
    )  # fmt: skip
    for cell in cells:
        record = run_cell(bench, "s", "k", cell, 0)
        used = cell.settings.get("model.modalities", MODALITIES)
        assert record.status == "done", record.reason
        has_N = bench.held.present_NM[:, [INDEX[m] for m in used]].any(1)
        complete = [p.category for p in bench.held.subset(np.flatnonzero(complete_N)).products]
        asks_N = np.array([complete.count(category) > 1 for category in complete])
        held = [p.category for p in bench.held.products]
        assert record.categories == {"held out": held, "complete": complete}
        with_any = np.array(held, object)[has_N].tolist()
        pair_N = has_N & np.array([with_any.count(category) > 1 for category in held])
        for test, here_N in (("held out", pair_N), ("complete", asks_N)):
            values = record.queries[test]
            assert set(values) == {"mAP@5", "Recall@10"} < set(METRICS)
            assert {len(v) for v in values.values()} == {len(here_N)}
            assert np.array_equal(~np.isnan(values["mAP@5"]), here_N)
            for metric, value_N in values.items():
                expected = np.nanmean(value_N) if not np.isnan(value_N).all() else math.nan
                found = record.figures[test][metric]
                assert found == pytest.approx(expected, nan_ok=True)
    assert not bench.held.present_NM[:, INDEX["image"]].all(), "some products have no image"


def test_runs_are_deterministic_and_depend_on_the_seed(bench):
    changes = {"noises": mismatch_everywhere(0.3), "tests": COMPLETE, "weight_fn": "shuffled",
               "settings": {"loss.weight_on": "loss", "loss.weight_uniform_share": 0.0,
                            "model.dropout": 0.1}}  # fmt: skip
    first = run(bench, 1, **changes)
    torch.manual_seed(99)
    torch.rand(3)
    again, other = run(bench, 1, **changes), run(bench, 2, **changes)
    assert numbers(first) == numbers(again)
    assert first.config == again.config
    assert numbers(first) != numbers(other)
    uniform = run(bench, 1, **(changes | {"weight_fn": ""}))
    assert numbers(uniform) != numbers(first)


def test_figures_include_the_diagnosis(bench):
    figures = run(bench, noises=mismatch_everywhere(0.3)).figures
    assert set(figures) == {"held out", "training"}
    diagnosed = {m for m in METRICS if m.startswith("AUC")}
    assert diagnosed <= set(figures["training"])
    assert all(0 < figures["training"][metric] < 1 for metric in diagnosed)
    clean = run(bench).figures["training"]
    assert all(math.isnan(clean[metric]) for metric in diagnosed)


def test_cell_that_cannot_be_trained_gives_a_failed_record(bench):
    settings = {"missing.policy": "drop"}
    record = run(bench, settings=settings, noises=missing_at_random(1.0))
    assert record.status == "failed"
    assert record.reason.startswith(f"0 of {len(bench.train)} products can be used for training")
    assert "'drop'" in record.reason
    assert record.figures == record.queries == {}
    assert record.config["missing"]["policy"] == "drop"
    assert record.provenance["seed"] == 0
    assert run(bench, settings=settings).status == "done"


def test_nonfinite_loss_gives_a_failed_record(bench):
    record = run(bench, settings={"train.learning_rate": 1e38, "train.clip_norm": 1e38})
    assert record.status == "failed"
    assert record.reason.startswith("step 3: the loss is ")
    assert record.figures == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "scales"}, "unknown model 'scales'; known: scale, clean contrast, heads"),
        ({"model": "scale everywhere"}, "unknown model 'scale everywhere'"),
        ({"weight_fn": "best"}, "unknown weight function 'best'; known: relative"),
        ({"settings": {"train.stepz": 1}}, "unknown setting train.stepz"),
    ],
)
def test_unknown_names_in_a_cell_raise(bench, changes, message):
    with pytest.raises(ValueError, match=message):
        run(bench, **changes)


def test_fault_changes_inputs_of_training_and_tests(bench):
    record = run(bench, model="audio axes swapped", tests=COMPLETE)
    assert record.status == "done"
    assert record.config["model"]["audio_features"] == bench.config.model.audio_features
    assert len(record.queries["held out"]["mAP@5"]) == HELD
    assert numbers(record) != numbers(run(bench, tests=COMPLETE))


def test_training_noise_leaves_held_out_products_unchanged(bench, monkeypatch):
    seen, original = [], cell_module.measure

    def watching(model, held, *arguments):
        seen.append(held)
        return original(model, held, *arguments)

    monkeypatch.setattr(cell_module, "measure", watching)
    noises = (*mismatch_everywhere(0.8), *missing_at_random(0.6))
    content_id_NM = bench.held.content_id_NM.copy(), bench.train.content_id_NM.copy()
    clean, noisy = run(bench), run(bench, noises=noises)
    assert numbers(clean) != numbers(noisy)
    for held in seen:
        assert held.products == bench.held.products
        assert np.array_equal(held.content_id_NM, content_id_NM[0])
        for m in MODALITIES:
            before, after = (d.columns[m].gather(np.arange(HELD)) for d in (bench.held, held))
            assert torch.equal(before.values, after.values)
            assert torch.equal(before.rows_R, after.rows_R)
    assert np.array_equal(bench.train.content_id_NM, content_id_NM[1])


def test_weight_function_receives_the_truth_of_the_noise(bench, monkeypatch):
    seen = {}
    original = cell_module.make_weight_fn

    def watching(name, truth):
        seen[name] = truth
        return original(name, truth)

    monkeypatch.setattr(cell_module, "make_weight_fn", watching)
    noises = mismatch_everywhere(0.5)
    run(bench, weight_fn="oracle", noises=noises, settings={"missing.policy": "drop"})
    # `drop` trains on the complete products, in their order.
    complete_N = bench.train.present_NM.all(1)
    assert 2 <= complete_N.sum() < len(bench.train)
    true_NM = apply_noise(bench.train, noises, 0).true_NM
    assert np.array_equal(seen["oracle"].true_NM, true_NM[complete_N])
    assert 0.35 < true_NM.sum() / bench.train.present_NM.sum() < 0.75
    assert seen["oracle"].batch_size == 8


def test_restrict_marks_other_modalities_missing(bench):
    data = bench.train
    less = restrict(data, ("text", "audio"))
    assert less.products == data.products
    assert set(less.columns) == {"text", "audio"}
    kept = [INDEX["text"], INDEX["audio"]]
    assert np.array_equal(less.content_id_NM[:, kept], data.content_id_NM[:, kept])
    assert not np.delete(less.present_NM, kept, axis=1).any()
    less.collate(np.arange(8)).check()
    assert set(data.columns) == set(MODALITIES)
    assert data.present_NM[:, INDEX["image"]].any()
    assert restrict(data, MODALITIES) is data


def test_unusable_study_data_raise(bench, small_catalogue, monkeypatch):
    with pytest.raises(ValueError, match="unknown preset 'huge'; known: micro, tiny"):
        load_study_data(small_catalogue, "huge")
    whole = Catalogue.open(small_catalogue)
    for split, message in (
        ("train", r"30 products to train on and 0 held out \(test\)"),
        ("val", "the split train is empty"),
    ):
        products = [p for p in whole.products if p.split == split]
        left = replace(whole, products=tuple(products))
        monkeypatch.setattr(cell_module, "with_splits", lambda catalogue, left=left: left)
        load_study_data.cache_clear()
        with pytest.raises(ValueError, match=message):
            load_study_data(small_catalogue, "smallest")


def test_fingerprint_depends_on_records_and_media(bench, small_catalogue, tmp_path):
    folders = {
        name: shutil.copytree(small_catalogue, tmp_path / name)
        for name in ("same", "without a picture", "another picture", "title", "case", "category")
    }
    next(folders["without a picture"].glob("*.png")).unlink()
    first, second, *_ = sorted(folders["another picture"].glob("*.png"))
    shutil.copy(second, first)
    changes = {
        "title": ("number 7", "number 77"),
        "case": ("number 7", "Number 7"),
        "category": ('"category": "c3"', '"category": "c4"'),
    }
    for name, (old, new) in changes.items():
        path = folders[name] / "products.jsonl"
        path.write_text(path.read_text().replace(old, new, 1))
    prints = {name: load_study_data(f, "smallest").fingerprint for name, f in folders.items()}
    assert prints.pop("same") == bench.fingerprint
    assert len({bench.fingerprint, *prints.values()}) == len(folders)


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


def run_measure(model, data, *tests, seed=0, complete_N=None):
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
    measured = run_measure(model, data, Held("held out"))
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


def test_fused_embeddings_are_measured_by_product(situation):
    data, model = situation
    data = apply_noise(data, missing_at_random(0.4), 0).dataset
    measured = run_measure(model, data, Held("held out", fused=True))
    values, figures = measured.queries["held out"], measured.figures["held out"]
    plain = run_measure(model, data, Held("held out"))
    assert {name: figures[name] for name in plain.figures["held out"]} == plain.figures["held out"]
    labels = [product.category for product in data.products]
    for features in EMBEDDINGS:
        # Untrained [CLS] tokens are so similar that rounding could decide: the same batches.
        emb_ND = embed_dataset(model, data, 256, progress=False, features=features).mixed_ND
        rows = [n for n, emb_D in enumerate(emb_ND) if np.abs(emb_D).sum() and labels[n]]
        score_QG = unit(emb_ND[rows]) @ unit(emb_ND[rows]).T
        np.fill_diagonal(score_QG, -np.inf)
        expected = np.full(len(data), np.nan)
        for n, best in zip(rows, score_QG.argmax(1), strict=True):
            if sum(labels[g] == labels[n] for g in rows) > 1:
                expected[n] = labels[rows[best]] == labels[n]
        equal(values[f"mAP@1 {features}"], expected)
        assert figures[f"mAP@1 {features}"] == pytest.approx(np.nanmean(expected))
    assert len({figures[f"mAP@5 {features}"] for features in EMBEDDINGS}) == len(EMBEDDINGS)
    by_modality = imputed_retrievals(model, data, ks=(10,))
    for query, name in ((IMPUTED, "imputed"), (MEAN, "mean of others")):
        value_MN = np.full((5, len(data)), np.nan)
        for m, found in by_modality[query].items():
            value_MN[INDEX[m], found.rows_Q] = found.values["Recall@10"]
        known_N = ~np.isnan(value_MN).all(0)
        equal(np.array(values[f"Recall@10 {name}"])[known_N], np.nanmean(value_MN[:, known_N], 0))
        assert np.isnan(np.array(values[f"Recall@10 {name}"])[~known_N]).all()


def test_products_without_modalities_are_neither_queries_nor_results(situation):
    data, model = situation
    data = restrict(data, ("video", "audio"))
    empty_N = ~data.present_NM.any(1)
    assert 3 < empty_N.sum() < 20
    measured = run_measure(model, data, Held("held out"))
    values, found = measured.queries["held out"], features(model, data)
    assert len(values["mAP@5"]) == len(values["Recall@10"]) == len(data)
    assert np.isnan(np.array(values["mAP@5"])[empty_N]).all()
    equal(values["mAP@5"], slow_average_precision(data, found, MODALITIES, 5))
    equal(values["Recall@10"], slow_recall(data, found))
    both_N = data.present_NM[:, [INDEX["video"], INDEX["audio"]]].all(1)
    assert np.array_equal(np.isnan(values["Recall@10"]), ~both_N)


def test_subset_queries_search_a_full_gallery(situation):
    data, model = situation
    found = features(model, data)
    figures = run_measure(model, data, Held("held out", subsets=True)).figures["held out"]
    assert {f"mAP@5 {subset_name(subset)}" for subset in SUBSETS} < set(figures)
    for name in ("text", "audio", "text+image", "table+video+audio"):
        expected = slow_average_precision(data, found, parse_subset(name), 5)
        equal(figures[f"mAP@5 {name}"], mean(expected))
    equal(figures[f"mAP@5 {subset_name(MODALITIES)}"], figures["mAP@5"])


def test_complete_test_keeps_the_complete_products_in_order(situation):
    data, model = situation
    complete_N = data.present_NM.all(1)
    assert 10 < complete_N.sum() < 40
    measured = run_measure(model, data, Held("complete", complete=True), Held("held out"))
    kept = data.subset(np.flatnonzero(complete_N))
    values = measured.queries["complete"]
    equal(values["mAP@5"], slow_average_precision(kept, features(model, kept), MODALITIES, 5))
    assert (
        measured.figures["complete"]
        == run_measure(model, kept, Held("held out")).figures["held out"]
    )
    assert len(measured.queries["held out"]["mAP@5"]) == len(data)
    # Completeness is an argument: a model of fewer modalities is tested on the same products.
    less = run_measure(model, restrict(data, ("text",)), Held("complete", complete=True),
               complete_N=complete_N)  # fmt: skip
    assert len(less.queries["complete"]["mAP@5"]) == complete_N.sum()


def test_noise_of_a_test_depends_on_the_seed(situation):
    data, model = situation
    noises = missing_at_random(0.5)
    before = data.content_id_NM.copy()
    found = {
        seed: run_measure(
            model, data, Held("half", noises), Held("both", noises, complete=True), seed=seed
        )
        for seed in (3, 4)
    }
    noisy = apply_noise(data, noises, 3).dataset
    assert found[3].figures["half"] == run_measure(model, noisy, Held("x")).figures["x"]
    noisy = apply_noise(data.subset(np.flatnonzero(data.present_NM.all(1))), noises, 3).dataset
    assert found[3].figures["both"] == run_measure(model, noisy, Held("x")).figures["x"]
    assert found[3].figures != found[4].figures
    assert np.array_equal(data.content_id_NM, before)


def test_test_without_products_is_omitted(situation):
    data, model = situation
    none_N = np.zeros(len(data), bool)
    measured = run_measure(model, data, Held("complete", complete=True), Held("held out"),
                   complete_N=none_N)  # fmt: skip
    assert set(measured.figures) == set(measured.queries) == {"held out"}


class Product(ScaleModel):
    """SCALE that makes its own vector of a product, as fusion models do."""

    def embed_product(self, batch):
        assert not self.training
        output = self.embed(batch)
        return product_embedding(output.pooled_BMD, output.present_BM)


def test_models_with_embed_product_are_measured_by_it(situation):
    data, model = situation
    data = apply_noise(data, [Noise("missing", "video")], 0).dataset
    own = Product(model.config, model.missing)
    own.load_state_dict(model.state_dict())
    own.train()
    tests = (Held("held out", subsets=True),)
    expected, found = (run_measure(m, data, *tests) for m in (model, own))
    assert own.training, "the mode is restored"
    expected, found = expected.figures["held out"], found.figures["held out"]
    assert math.isnan(found.pop("mAP@5 video")), "all videos are missing"
    assert math.isnan(expected.pop("mAP@5 video"))
    assert found == pytest.approx(expected)


def test_cells_of_one_seed_and_noise_share_the_cross_fitting(bench, tmp_path, monkeypatch):
    """Other weights from it, too; not other noise on the same products."""
    monkeypatch.setenv("SCALE_CACHE", str(tmp_path))
    judged, original = [], cross_fit.percentiles_of

    def recording(*arguments):
        judged.append(0)
        return original(*arguments)

    monkeypatch.setattr(cross_fit, "percentiles_of", recording)
    settings = {"loss.weight_by": "agreement", "loss.agreement_folds": 2,
                "loss.agreement_repeats": 1, "loss.tasks": ["contrastive"]}  # fmt: skip
    noise = (Noise("gaussian", "image", 80.0, share=0.5),)
    counts, found = [], []
    for noises, weight_fn in ((), ""), ((), "agreement alone"), (noise, ""), (noise, ""):
        record = run(bench, settings=settings, noises=noises, weight_fn=weight_fn)
        assert record.status == "done"
        counts.append(len(judged))
        found.append(numbers(record))
    assert counts == [2, 2, 4, 4]
    assert found[0] != found[1]
    assert found[2] == found[3]
