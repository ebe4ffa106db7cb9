"""Slow twins of what notebook 14 measures, and its pictures."""

from itertools import product as combinations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from scale.evaluation.bootstrap import Estimate, estimate
from scale.evaluation.clustering import cluster
from scale.evaluation.probes import Examples, linear_probe
from scale.viz.illustrations.downstream import (
    bootstrap_figure,
    class_f1,
    metric_name,
    one_list,
    purity_curves,
    purity_figure,
    resampled_means,
    tail_scores,
    task_estimates,
    task_figure,
    two_systems,
)
from scale.viz.words import label
from tests.viz.conftest import LOOKS


def grouped(products=40, groups=4, seed=0):
    """Embeddings around a place a category, and the categories."""
    rng = np.random.default_rng(seed)
    group_N = np.arange(products) % groups
    emb_ND = (np.eye(groups, 6)[group_N] + 0.4 * rng.normal(size=(products, 6))).astype(np.float32)
    return emb_ND, [f"c{g}" for g in group_N]


def test_f1_by_class_is_scikit_learns():
    rng = np.random.default_rng(0)
    true_N, said_N = (np.array(list("abcd"))[rng.integers(0, 4, 50)] for _ in range(2))
    found = class_f1(true_N, said_N)
    np.testing.assert_allclose(list(found.values()), f1_score(true_N, said_N, average=None))
    assert class_f1(["a"], ["b"]) == {"a": 0.0, "b": 0.0}


def test_resampled_means_give_the_estimates_interval():
    value_Q = np.random.default_rng(0).random(30)
    low, high = np.percentile(resampled_means(value_Q, seed=3), [2.5, 97.5])
    found = estimate(value_Q, seed=3)
    np.testing.assert_allclose([low, high], [found.low, found.high])


def test_purity_of_random_clusters_rises_and_ari_does_not():
    emb_ND, categories = grouped()
    curves = purity_curves(emb_ND, categories, [2, 4, 40])
    assert curves["trained"]["purity"][-1] == curves["chance"]["purity"][-1] == 1.0
    assert curves["chance"]["purity"][0] < curves["chance"]["purity"][-1]
    assert np.abs(curves["chance"]["ARI"]).max() < 0.1
    assert curves["trained"]["ARI"][1] > 0.5


def probes_of(emb_ND, categories):
    examples = Examples(emb_ND, categories)
    return linear_probe(examples, examples, examples)


def test_tasks_equal_those_of_the_evaluation():
    emb_ND, categories = grouped()
    ids = [f"p{n}" for n in range(len(categories))]
    probe = probes_of(emb_ND, categories)
    tasks = task_estimates({"trained": emb_ND}, ids, categories, {"trained": probe})
    groups = cluster(emb_ND, categories)
    assert tasks["NMI"] == {"trained": groups.scores["NMI"], "chance": groups.chance["NMI"]}
    assert tasks["accuracy"]["trained"] == probe.scores["accuracy"]
    assert tasks["accuracy"]["chance"] == probe.majority["accuracy"]
    np.testing.assert_allclose(tasks["mAP@1"]["chance"].value, 9 / 39)
    assert tasks["mAP@1"]["trained"].value > 0.5


def test_denominators_are_readable_and_right(checked):
    for look, lang in LOOKS:
        _, texts = checked(one_list, look, lang)
        places = [texts.index(v) for v in ("0.21", "0.33", "0.83")]  # in the order of the labels
        assert places == sorted(places)
        assert [label(k, lang, n=n) in texts for k, n in
                (("dn_relevant", 8), ("dn_min", 5), ("dn_hits", 2))] == [True] * 3  # fmt: skip
        _, texts = checked(two_systems, look, lang)
        assert {"0.20", "1.00", "0.54", "0.68"} <= set(texts)


def test_bootstrap_is_readable_and_its_numbers_are_the_estimates(checked):
    for look, lang in LOOKS:
        rng = np.random.default_rng(0)
        a_Q = rng.random(60)
        b_Q = np.clip(a_Q - 0.1 + 0.1 * rng.normal(size=60), 0, 1)
        _, texts = checked(bootstrap_figure, look, a_Q, b_Q, ("a", "b"), lang)
        found = estimate(a_Q)
        assert f"[{found.low:.2f}, {found.high:.2f}]" in texts
        paired = estimate(a_Q - b_Q)
        named = f"{label('dn_paired', lang)} [{paired.low:.2f}, {paired.high:.2f}]".replace(
            "-", "−"
        )
        assert named in texts
        assert label("dn_each", lang, n=60, mean=a_Q.mean()) in texts


def test_tail_and_purity_are_readable(checked):
    for look, lang in LOOKS:
        names = [f"category {n}" for n in range(30)]
        train_C, f1_C = np.arange(30) + 1, np.linspace(0, 1, 30)
        scores = {"accuracy": 0.6, "macro-F1": 0.4}
        figure, texts = checked(tail_scores, look, names, train_C, f1_C, scores, lang)
        assert [bar.get_height() for bar in figure.axes[0].patches] == sorted(train_C)[::-1]
        np.testing.assert_allclose(figure.axes[1].lines[0].get_ydata(), f1_C[::-1])
        assert label("dn_line", lang, name=metric_name("accuracy", lang), value=0.6) in texts
        values = {name: np.array([0.1, 0.5, 1.0]) for name in ("NMI", "ARI", "purity")}
        curves = {"trained": values, "chance": values}
        _, texts = checked(purity_figure, look, [2, 20, 146], curves, 34, lang)
        assert label("dn_categories", lang, n=34) in texts


def test_tasks_are_readable(checked, around):
    for look, lang in LOOKS:
        stages = ("chance", "untrained", "trained")
        results = {metric: {} for metric in ("mAP@5", "macro-F1", "ARI")}
        for (number, metric), (place, stage) in combinations(enumerate(results), enumerate(stages)):
            results[metric][stage] = around(0.1 * number + 0.2 * place)
        results["ARI"]["untrained"] = None
        results["ARI"]["chance"] = Estimate(0.0, -0.02, 0.02, 5)
        _, texts = checked(task_figure, look, results, lang)
        names = {metric_name(metric, lang) for metric in results}
        assert set(texts) >= names | {label(stage, lang) for stage in stages}


def test_lists_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="2 names"):
        tail_scores(["a", "b"], [1, 2, 3], [0, 1], {"accuracy": 0, "macro-F1": 0})
    with pytest.raises(ValueError, match=r"\(3,\)"):
        bootstrap_figure([0, 1, 0], [0, 1], ("a", "b"))
