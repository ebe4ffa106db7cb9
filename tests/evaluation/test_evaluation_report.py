"""The tree of results: content, files, provenance and run time."""

import csv
import json
import subprocess
import time
from dataclasses import replace

import numpy as np
import pytest

from scale.evaluation import report
from scale.evaluation.bootstrap import (
    NOTHING,
    Estimate,
    category_codes,
    category_estimates,
    paired_difference,
)
from scale.evaluation.clustering import cluster
from scale.evaluation.embed import Embeddings
from scale.evaluation.probes import Examples, linear_probe
from scale.evaluation.retrieval import (
    ProductArrays,
    RetrievalTables,
    direction_retrievals,
    subset_retrievals,
)
from scale.modalities import MODALITIES, SUBSETS, subset_name

ALL = subset_name(MODALITIES)


@pytest.fixture(scope="module")
def stages():
    """150 products as in the demo's test split: trained features carry the category."""
    rng = np.random.default_rng(0)
    n, width = 150, 96
    label_N = rng.integers(0, 24, n)
    noise = rng.normal(size=(n, 5, width))
    signal = 0.4 * rng.normal(size=(24, 1, width))[label_N] + 0.5 * rng.normal(size=(n, 1, width))
    present = rng.random((n, 5)) < 0.7
    present[:, 0] = True
    ids = [f"p{i}" for i in range(n)]
    pooled = (signal + noise).astype(np.float32)
    alt = Embeddings(pooled[:40] + np.float32(0.1), present[:40], tuple(ids[:40]))
    labels = [f"c{label}" for label in label_N]
    trained = ProductArrays(ids, pooled, present, labels, alt=alt)
    untrained = replace(trained, pooled_NMD=noise.astype(np.float32), alt=None)
    return {"untrained": untrained, "trained": trained}


@pytest.fixture(scope="module")
def tree(stages):
    products = stages["trained"]
    examples = Examples(products.pooled_NMD[:, 0], products.labels)
    started = time.perf_counter()
    probe = linear_probe(examples, examples, examples)
    groups = cluster(products.pooled_NMD[:, 0], products.labels)
    return {
        "definitions": report.DEFINITIONS,
        "retrieval": report.retrieval_results(stages),
        "classification": report.classification_results({"linear_probe": {"trained": probe}}),
        "clustering": report.clustering_results({"trained": groups}),
        "provenance": report.provenance(0, started),
    }


def test_the_tree_has_the_documented_keys(tree):
    category = tree["retrieval"]["category"]
    assert list(category) == ["chance", "untrained", "trained"]
    assert list(category["trained"]) == [subset_name(s) for s in SUBSETS]
    metrics = {f"{name}@{k}" for name in ("mAP", "Prec", "Recall") for k in (1, 5, 10)}
    authors = {f"authors mAP@{k}" for k in (1, 5, 10)}
    assert category["trained"][ALL].keys() == category["chance"][ALL].keys() == metrics | authors
    instance = tree["retrieval"]["instance"]
    assert {"chance", "trained"} <= instance.keys()
    assert "text->image" in instance["trained"]
    assert len(instance["trained"]) == len(instance["chance"]) == 25
    assert len(instance["untrained"]) == 20
    assert tree["retrieval"]["counts"]["instance"].keys() == instance["trained"].keys()
    assert tree["classification"]["linear_probe"]["trained"].keys() == {"accuracy", "macro-F1"}
    assert tree["clustering"]["trained"].keys() == {"NMI", "ARI", "purity"}
    assert {"mAP@k", "Prec@k", "Recall@k", "accuracy", "NMI"} <= tree["definitions"].keys()


def test_the_numbers_order_as_they_must(tree):
    category = tree["retrieval"]["category"]
    best = category["trained"][ALL]["mAP@1"]
    assert best.value > category["trained"]["text"]["mAP@1"].value
    assert best.low > category["untrained"][ALL]["mAP@1"].high
    untrained, chance = category["untrained"][ALL]["mAP@10"], category["chance"][ALL]["mAP@10"]
    assert untrained.value == pytest.approx(chance.value, abs=0.015)
    differences = tree["retrieval"]["differences"]["trained"]
    step = differences[f"{ALL} - text"]["mAP@1"]
    text = category["trained"]["text"]["mAP@1"]
    assert step.value == pytest.approx(best.value - text.value)
    gain = differences[f"trained - untrained {ALL}"]["mAP@1"]
    assert gain.value == pytest.approx(best.value - category["untrained"][ALL]["mAP@1"].value)
    assert gain.low > 0
    patterns = tree["retrieval"]["category_by_pattern"]["trained"]
    assert sum(p["mAP@1"].n for p in patterns.values()) == best.n


def test_category_intervals_are_those_of_the_queries_categories(stages, tree):
    products = stages["trained"]
    code_N = category_codes(products.labels)

    def bounds(e):
        return e.category_low, e.category_high

    def expected(value_Q, rows_Q):
        e = category_estimates({0: value_Q}, {0: code_N[rows_Q]})[0]
        return pytest.approx((e.low, e.high))

    found = tree["retrieval"]
    first = direction_retrievals(products)["image->audio"]
    assert len(first.rows_Q) < len(code_N)
    instance = found["instance"]
    assert bounds(instance["trained"]["image->audio"]["mAP@1"]) == expected(
        first.values["mAP@1"], first.rows_Q
    )
    assert bounds(instance["chance"]["image->audio"]["mAP@5"]) == expected(
        first.chance["mAP@5"], first.rows_Q
    )
    some = subset_retrievals(products, "same")
    whole, image = some[ALL], some["image"]
    at = np.searchsorted(whole.rows_Q, image.rows_Q)
    difference_Q = whole.values["mAP@5"][at] - image.values["mAP@5"]
    assert bounds(found["differences"]["trained"][f"{ALL} - image"]["mAP@5"]) == expected(
        difference_Q, image.rows_Q
    )
    pattern = "text+table+image+video"
    has = [MODALITIES.index(m) for m in pattern.split("+")]
    present_N5 = np.zeros((len(code_N), 5), bool)
    present_N5[:, has] = True
    mine_Q = (products.present_NM == present_N5).all(1)[whole.rows_Q]
    assert bounds(found["category_by_pattern"]["trained"][pattern]["mAP@5"]) == expected(
        whole.values["mAP@5"][mine_Q], whole.rows_Q[mine_Q]
    )


def test_stages_of_different_products_are_refused(stages):
    other = replace(stages["trained"], ids=[f"x{i}" for i in range(150)], alt=None)
    with pytest.raises(ValueError, match="different products"):
        report.retrieval_results({"untrained": other, "trained": stages["trained"]})


def test_json_has_plain_values_and_never_nan(tmp_path):
    tree = {
        "a": {"mAP@1": Estimate(0.5, 0.25, 0.75, 8), "none": NOTHING},
        "b": [np.float32(0.5), float("nan"), np.int64(3), np.array([True])],
        "中文": "值",
    }
    report.write_json(tmp_path / "r.json", tree)
    text = (tmp_path / "r.json").read_text(encoding="utf-8")
    assert json.loads(text) == {
        "a": {
            "mAP@1": {"value": 0.5, "low": 0.25, "high": 0.75, "n": 8},
            "none": {"value": None, "low": None, "high": None, "n": 0},
        },
        "b": [0.5, None, 3, [True]],
        "中文": "值",
    }
    assert "NaN" not in text
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    report.write_json(tmp_path / "r.json", {"a": 1})
    with pytest.raises(TypeError):
        report.write_json(tmp_path / "r.json", {"a": object()})
    assert json.loads((tmp_path / "r.json").read_text()) == {"a": 1}


def test_the_frame_and_the_csv_have_every_estimate_once(tmp_path, tree):
    frame = report.results_frame(tree | {"none": {"trained": {"mAP@1": NOTHING}}})
    assert tuple(frame.columns) == report.COLUMNS
    keys = ["task", "model", "item", "metric"]
    assert not frame.duplicated(keys).any()
    assert len(frame) == json.dumps(report.plain(tree)).count('"value"') + 1
    by_key = frame.set_index(keys).sort_index()
    found = by_key.loc["retrieval.category", "trained", ALL, "mAP@5"]
    expected = tree["retrieval"]["category"]["trained"][ALL]["mAP@5"]
    assert found.to_dict() == expected.to_dict()
    assert expected.category_high - expected.category_low > expected.high - expected.low > 0
    probe = by_key.loc["classification.linear_probe", "trained", "", "accuracy"]
    assert probe[["category_low", "category_high"]].isna().all()
    assert ("classification.linear_probe", "majority", "", "accuracy") in by_key.index
    assert by_key.loc["none", "trained", "", "mAP@1"].isna().tolist() == [
        *[True] * 3, False, *[True] * 2
    ]  # fmt: skip
    report.write_csv(tmp_path / "r.csv", tree)
    with (tmp_path / "r.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    before = ["section", "stage", "item", "metric", "value", "low", "high", "n"]
    assert list(rows[0]) == [*before, "category_low", "category_high"]
    assert len(rows) == len(frame) - 1
    assert [float(row["value"]) for row in rows] == frame["value"].to_list()[:-1]


def test_provenance_names_versions_and_commit(monkeypatch, tmp_path):
    found = report.provenance(7, time.perf_counter() - 2, "cpu")
    assert found["seed"] == 7
    assert found["device"] == "cpu"
    assert 2 <= found["seconds"] < 10
    assert {"python", "torch", "numpy", "timm", "transformers", "scale"} == found["versions"].keys()

    package = tmp_path / "scale" / "__init__.py"
    package.parent.mkdir()
    package.write_text("a = 1\n")
    monkeypatch.setattr(report, "PACKAGE", package.parent)
    assert report.provenance(0, 0.0)["commit"] is None

    def git(*arguments):
        name = ["-c", "user.name=t", "-c", "user.email=t@t"]
        subprocess.run(
            ["git", "-C", str(tmp_path), *name, *arguments], check=True, capture_output=True
        )

    git("init", "-q")
    # A repository without a commit.
    assert report.provenance(0, 0.0)["commit"] is None
    git("add", "scale")
    git("commit", "-q", "-m", "first")
    clean = report.provenance(0, 0.0)
    assert len(clean["commit"]) == 40
    assert clean["dirty"] is False
    package.write_text("a = 2\n")
    assert report.provenance(0, 0.0)["dirty"] is True
    # Installed inside another project's checkout, whose commit is not the package's.
    inside = tmp_path / "venv" / "scale" / "__init__.py"
    inside.parent.mkdir(parents=True)
    monkeypatch.setattr(report, "PACKAGE", inside.parent)
    assert report.provenance(0, 0.0)["commit"] is None


def test_the_mean_over_directions_and_its_differences_are_those_of_the_directions(stages, tree):
    found = tree["retrieval"]
    means, instance = found["instance_mean"], found["instance"]
    names = [f"{a}->{b}" for a in MODALITIES for b in MODALITIES if a != b]
    for stage in ("chance", "untrained", "trained"):
        directions = [instance[stage][name]["Recall@10"].value for name in names]
        assert means[stage]["Recall@10"].value == pytest.approx(np.mean(directions))
        assert means[stage]["Recall@10"].category_low is not None
    mean = means["trained"]["Recall@10"]
    assert mean.low < mean.value < mean.high
    gains = found["instance_differences"]["trained"]
    assert list(gains) == [f"trained - untrained {n}" for n in ("mean over directions", *names)]
    gain = gains["trained - untrained mean over directions"]["Recall@10"]
    each = [gains[f"trained - untrained {name}"]["Recall@10"].value for name in names]
    both = means["trained"]["Recall@10"].value - means["untrained"]["Recall@10"].value
    assert gain.value == pytest.approx(np.mean(each)) == pytest.approx(both)


def test_baselines_are_stages_between_the_untrained_and_the_trained_model(stages):
    rng = np.random.default_rng(5)
    other = replace(
        stages["trained"], pooled_NMD=rng.normal(size=(150, 5, 8)).astype(np.float32), alt=None
    )
    found = report.retrieval_results(stages, baselines={"frozen": RetrievalTables.of(other)})
    for part in ("category", "instance", "instance_mean"):
        assert list(found[part]) == ["chance", "untrained", "frozen", "trained"]
    assert found["instance"]["frozen"]["text->image"]["mAP@1"].value < 0.1
    gains = found["instance_differences"]["trained"]
    gain = gains["trained - frozen text->image"]["mAP@5"].value
    pair = (found["instance"][s]["text->image"]["mAP@5"].value for s in ("trained", "frozen"))
    assert gain == pytest.approx(next(pair) - next(pair))
    category = found["differences"]["trained"]
    assert f"trained - frozen {ALL}" in category
    assert f"trained - untrained {ALL}" in category
    frame = report.results_frame({"retrieval": found})
    assert set(frame["model"]) == {"chance", "untrained", "frozen", "trained"}
    rows = frame[frame["task"] == "retrieval.instance_mean"]
    assert set(rows["item"]) == {""}


def test_the_difference_of_accuracies_is_paired_over_the_test_products(stages):
    products = stages["trained"]
    labels = products.labels
    good, poor = (Examples(s.pooled_NMD[:, 0], labels) for s in (products, stages["untrained"]))
    some = Examples(poor.inputs, [label if n % 3 else "c0" for n, label in enumerate(labels)])
    probes = {"frozen": linear_probe(some, some, poor), "trained": linear_probe(good, good, good)}
    tree = report.classification_results({"linear_probe": probes})["linear_probe"]
    gain = tree["differences"]["trained"]["trained - frozen"]["accuracy"]
    right = [np.array(probes[s].predicted) == labels for s in ("trained", "frozen")]
    found = paired_difference(*(each.astype(float) for each in right))
    assert (gain.value, gain.low, gain.high, gain.n) == pytest.approx(
        (found.value, found.low, found.high, 150)
    )
    assert gain.value > 0.1
