"""Retrieval metrics against a slow twin, the authors' numbers, and three libraries."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import pytrec_eval
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score
from torchmetrics.functional.retrieval import (
    retrieval_average_precision,
    retrieval_precision,
    retrieval_recall,
)

from scale.evaluation import metrics
from scale.evaluation.retrieval import rank_gallery

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "metrics_reference.json").read_text(encoding="utf-8")
)
DENOMINATORS = ("min(k, relevant)", "relevant", "hits")


def slow_average_precision(rel: list[bool], relevant: int, k: int, denominator: str) -> float:
    total, found = 0.0, 0
    for place in range(min(k, len(rel))):
        if rel[place]:
            found += 1
            total += found / (place + 1)
    below = {"min(k, relevant)": min(k, relevant), "relevant": relevant, "hits": found}
    return total / below[denominator] if below[denominator] else 0.0


full_lists = arrays(bool, st.tuples(st.integers(1, 6), st.integers(1, 12)))


@given(rel_QK=full_lists, k=st.integers(1, 15))
def test_all_metrics_equal_the_slow_twin(rel_QK, k):
    relevant_Q = rel_QK.sum(1)
    found = {d: metrics.average_precision_at_k(rel_QK, relevant_Q, k, d) for d in DENOMINATORS}
    precision_Q = metrics.precision_at_k(rel_QK, relevant_Q, k)
    recall_Q = metrics.recall_at_k(rel_QK, relevant_Q, k)
    for q, rel in enumerate(rel_QK.tolist()):
        if not any(rel):
            assert np.isnan([precision_Q[q], recall_Q[q], *(found[d][q] for d in found)]).all()
            continue
        assert precision_Q[q] == pytest.approx(sum(rel[:k]) / k)
        assert recall_Q[q] == pytest.approx(sum(rel[:k]) / sum(rel))
        for d in DENOMINATORS:
            assert found[d][q] == pytest.approx(slow_average_precision(rel, sum(rel), k, d))


def test_metric_functions_of_the_authors():
    ranked = REFERENCE["metric_functions"]["rank_list"]
    for case in REFERENCE["metric_functions"]["cases"]:
        rel_1K = np.array([[item in case["pos"] for item in ranked]])
        # `z` is relevant but not in the list: the authors score 0 where we leave the query out.
        relevant_1 = rel_1K.sum(1)
        ap = metrics.average_precision_at_k(rel_1K, relevant_1, case["topk"], "hits")
        p = metrics.precision_at_k(rel_1K, relevant_1, case["topk"])
        assert np.nan_to_num(ap)[0] == pytest.approx(case["ap"])
        assert np.nan_to_num(p)[0] == pytest.approx(case["p"])


def end_to_end_cases():
    found = REFERENCE["retrieval_and_metrics_end_to_end"]
    for name, top in itertools.product(("max_topk_10", "max_topk_110"), (1, 5, 10)):
        lists = found[name]["rank_lists"]
        yield lists, found["labels"], top, found[name]["metrics_percent"][f"top{top}"]
        other = found["same_lists_other_labels"]
        yield lists, other["labels"], top, other["metrics_percent"][name][f"top{top}"]


def test_both_scripts_of_the_authors_end_to_end():
    ids = REFERENCE["retrieval_and_metrics_end_to_end"]["ids"]
    for lists, labels, top, expected in end_to_end_cases():
        label = dict(zip(ids, labels, strict=True))
        ranked = [
            [i for i in line.split(",") if i != own] for own, line in zip(ids, lists, strict=True)
        ]
        rel_QK = np.array(
            [[label[i] == label[own] for i in r] for own, r in zip(ids, ranked, strict=True)]
        )
        relevant_Q = np.array([labels.count(label[own]) - 1 for own in ids])
        ap_Q, p_Q = metrics.authors_metrics_at_k(rel_QK, relevant_Q, top)
        assert 100 * ap_Q.mean() == pytest.approx(expected["mAP"], abs=1e-5)
        assert 100 * p_Q.mean() == pytest.approx(expected["Prec"], abs=1e-5)


def test_ranked_lists_of_the_authors_follow_from_their_features():
    """Their score is the raw dot product; with a constant last coordinate ours has their order."""
    found = REFERENCE["retrieval_and_metrics_end_to_end"]
    features = np.array(found["features"])
    # Gallery vectors lifted to one length keep the order of their dot products under the cosine.
    squares = (features**2).sum(1)
    lift = np.sqrt(squares.max() - squares)
    gallery = np.c_[features, lift].astype(np.float32)
    query = np.c_[features, np.zeros(len(features))].astype(np.float32)
    labels, ids = found["labels"], found["ids"]
    ranking = rank_gallery(query, gallery, [(labels, labels)], (ids, ids), k=11)
    ap_Q, _ = metrics.authors_metrics_at_k(ranking.rel_QK, ranking.relevant_Q, 5)
    expected = found["max_topk_110"]["metrics_percent"]["top5"]["mAP"]
    assert 100 * ap_Q.mean() == pytest.approx(expected, abs=1e-5)


@pytest.fixture
def scored():
    """Scores without ties, which libraries break in their own ways, and relevance; Q = 40."""
    rng = np.random.default_rng(0)
    scores_QG = rng.permuted(np.tile(np.arange(1, 31) / 31, (40, 1)), axis=1)
    hit_QG = rng.random((40, 30)) < 0.2
    hit_QG[:, 0] = True
    order_QG = np.argsort(-scores_QG, axis=1)
    return scores_QG, hit_QG, np.take_along_axis(hit_QG, order_QG, 1), hit_QG.sum(1)


def test_torchmetrics_agrees_with_the_denominator_hits(scored):
    scores_QG, hit_QG, rel_QK, relevant_Q = scored
    pairs = list(zip(torch.tensor(scores_QG), torch.tensor(hit_QG), strict=True))
    for k in (1, 5, 10, 30):
        ap = [retrieval_average_precision(s, h, top_k=k).item() for s, h in pairs]
        p = [retrieval_precision(s, h, top_k=k).item() for s, h in pairs]
        r = [retrieval_recall(s, h, top_k=k).item() for s, h in pairs]
        assert metrics.average_precision_at_k(rel_QK, relevant_Q, k, "hits") == pytest.approx(ap)
        assert metrics.precision_at_k(rel_QK, relevant_Q, k) == pytest.approx(p)
        assert metrics.recall_at_k(rel_QK, relevant_Q, k) == pytest.approx(r)


def test_trec_agrees_with_the_denominator_relevant(scored):
    scores_QG, hit_QG, rel_QK, relevant_Q = scored
    qrel = {f"q{q}": {f"g{g}": int(h) for g, h in enumerate(row)} for q, row in enumerate(hit_QG)}
    run = {f"q{q}": {f"g{g}": float(s) for g, s in enumerate(r)} for q, r in enumerate(scores_QG)}
    evaluator = pytrec_eval.RelevanceEvaluator(qrel, {"map_cut.5,10", "P.5,10", "recall.5,10"})
    found = evaluator.evaluate(run)
    for k in (5, 10):
        for name, ours in (
            (f"map_cut_{k}", metrics.average_precision_at_k(rel_QK, relevant_Q, k, "relevant")),
            (f"P_{k}", metrics.precision_at_k(rel_QK, relevant_Q, k)),
            (f"recall_{k}", metrics.recall_at_k(rel_QK, relevant_Q, k)),
        ):
            trec = [found[f"q{q}"][name] for q in range(len(ours))]
            assert ours == pytest.approx(trec, abs=1e-6)


def test_sklearn_agrees_on_whole_lists(scored):
    scores_QG, hit_QG, rel_QK, relevant_Q = scored
    theirs = [average_precision_score(h, s) for h, s in zip(hit_QG, scores_QG, strict=True)]
    for denominator in DENOMINATORS:
        ours = metrics.average_precision_at_k(rel_QK, relevant_Q, 30, denominator)
        assert ours == pytest.approx(theirs)


def test_chance_equals_the_mean_over_every_order():
    for size, relevant in [(6, 1), (6, 2), (6, 5), (6, 6), (3, 2), (1, 1)]:
        orders = set(itertools.permutations([True] * relevant + [False] * (size - relevant)))
        rel_QK = np.array(sorted(orders))
        relevant_Q = np.full(len(rel_QK), relevant)
        one, size_1 = np.array([relevant]), np.array([size])
        for k in (1, 2, 5, 10):
            for d in DENOMINATORS:
                ours = metrics.chance_average_precision_at_k(one, size_1, k, d)[0]
                mean = metrics.average_precision_at_k(rel_QK, relevant_Q, k, d).mean()
                assert ours == pytest.approx(mean), d
            for chance, metric in (
                (metrics.chance_precision_at_k, metrics.precision_at_k),
                (metrics.chance_recall_at_k, metrics.recall_at_k),
            ):
                mean = metric(rel_QK, relevant_Q, k).mean()
                assert chance(one, size_1, k)[0] == pytest.approx(mean)
            authors = metrics.authors_metrics_at_k(rel_QK, relevant_Q, k)[0].mean()
            ours = metrics.chance_authors_average_precision_at_k(one, size_1, k)[0]
            assert ours == pytest.approx(authors)
            first = 1 + rel_QK.argmax(1)
            assert metrics.chance_mean_rank(one, size_1)[0] == pytest.approx(first.mean())
            shares = [(first == place).mean() for place in range(1, k + 1)]
            assert metrics.chance_first_rank(one, size_1, k)[0] == pytest.approx(shares)


def test_chance_equals_a_simulation_at_size():
    """Queries of different class sizes and galleries in one call, as in use."""
    rng = np.random.default_rng(1)
    relevant_Q, gallery_Q = np.array([3, 17, 1, 0]), np.array([40, 60, 25, 30])
    ours = metrics.chance_average_precision_at_k(relevant_Q, gallery_Q, 10)
    for q in range(3):
        order = rng.permuted(np.tile(np.arange(gallery_Q[q]), (20_000, 1)), axis=1)
        rel_QK = order < relevant_Q[q]
        relevant = np.full(len(order), relevant_Q[q])
        simulated = metrics.average_precision_at_k(rel_QK, relevant, 10)
        error = simulated.std() / len(order) ** 0.5
        assert abs(ours[q] - simulated.mean()) < 4 * error
    assert np.isnan(ours[3])
    # The authors' script scores such a query 0, and so does its chance level.
    assert metrics.chance_authors_average_precision_at_k(relevant_Q, gallery_Q, 10)[3] == 0


def test_one_hit_at_rank_one_of_ten_relevant_shows_the_three_denominators():
    rel_1K, relevant_1 = np.eye(1, 10, dtype=bool), np.array([10])
    found = {d: metrics.average_precision_at_k(rel_1K, relevant_1, 5, d)[0] for d in DENOMINATORS}
    assert found == pytest.approx({"min(k, relevant)": 0.2, "relevant": 0.1, "hits": 1.0})


def test_wrong_calls_are_refused_with_the_reason():
    rel_QK, n = np.ones((2, 3), dtype=bool), np.array([3, 5])
    with pytest.raises(ValueError, match="unknown denominator 'all'"):
        metrics.average_precision_at_k(rel_QK, n, 2, "all")
    with pytest.raises(ValueError, match="unknown denominator"):
        metrics.chance_average_precision_at_k(n, n, 2, "all")
    with pytest.raises(ValueError, match="k must be at least 1"):
        metrics.precision_at_k(rel_QK, n, 0)
    for relevant_Q, k, reason in (
        (n, 4, "too short for k = 4"),
        (n * 0, 2, "more hits than"),
        (n[:1], 2, "relevant_Q is"),
    ):
        with pytest.raises(ValueError, match=reason):
            metrics.recall_at_k(rel_QK, relevant_Q, k)
