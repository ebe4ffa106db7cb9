"""Retention, damage and Shapley values against loops over subsets and orders."""

import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from scale.modalities import MODALITIES, SUBSETS, subset_name
from scale.studies.retention import (
    EMPTY_SUBSET,
    marginal_contributions,
    retained_shares,
    retention_curves,
    shapley,
    subset_key,
)
from scale.studies.study import Cell, Record, Study

CELLS = tuple(Cell({"policy": p, "rate": r}) for p in ("zero", "skip") for r in (0.0, 0.5))
STUDY = Study("missing", "Is it?", ("policy", "rate"), CELLS, (), seeds=2,
              retention=({"policy": "zero", "rate": 0.5}, {"policy": "skip"}))  # fmt: skip


def figures(by_size, metric="mAP@5"):
    """Figures in which a subset's value follows from how many modalities it has."""
    return {f"{metric} {subset_name(s)}": by_size[len(s)] for s in SUBSETS}


HALVING = {5: 0.8, 4: 0.4, 3: 0.2, 2: 0.1, 1: 0.05}


def test_retained_share_is_the_mean_over_subsets():
    assert retained_shares(figures(HALVING)) == pytest.approx([1, 0.5, 0.25, 0.125, 0.0625])
    # Two of the five subsets of four differ: the mean of 0.4, 0.4, 0.4, 0.8, 0.0 over 0.8.
    odd = figures(HALVING)
    odd["mAP@5 text+table+image+video"], odd["mAP@5 table+image+video+audio"] = 0.8, 0.0
    assert retained_shares(odd)[:2] == pytest.approx([1, 0.5])
    odd["mAP@5 table+image+video+audio"] = 0.4
    assert retained_shares(odd)[1] == pytest.approx(0.6)


def test_retained_share_can_exceed_one():
    assert retained_shares(figures(HALVING | {4: 1.0}))[1] == pytest.approx(1.25)


def test_unmeasured_share_is_nan():
    assert all(math.isnan(share) for share in retained_shares({}))
    assert all(math.isnan(share) for share in retained_shares({"mAP@5": 0.3}))
    part = figures(HALVING)
    del part["mAP@5 audio"]
    shares = retained_shares(part)
    assert shares[:4] == pytest.approx([1, 0.5, 0.25, 0.125])
    assert math.isnan(shares[4])
    whole = f"mAP@5 {subset_name(MODALITIES)}"
    assert all(
        math.isnan(share)
        for share in retained_shares({k: v for k, v in part.items() if k != whole})
    )
    assert retained_shares(figures(HALVING, "mAP@1"), "mAP@1") == retained_shares(figures(HALVING))


def record(policy, rate, seed, by_size, test="complete"):
    factors, found = {"policy": policy, "rate": rate}, {test: figures(by_size)}
    key = f"{policy}{rate}{seed}"
    return Record("missing", "cat", "micro", key, factors, seed, figures=found)


def test_curves_are_means_over_seeds_of_shares():
    records = [
        record("zero", 0.5, 0, HALVING),
        record("zero", 0.5, 1, HALVING | {5: 0.4}),
        record("zero", 0.0, 0, HALVING | {5: 0.1}),
        record("skip", 0.5, 0, HALVING | {4: 0.8}),
    ]
    curves = retention_curves(STUDY, records)
    assert set(curves) == {"zero, 0.5", "skip"}
    zero = curves["zero, 0.5"]
    assert list(zero) == [0, 1, 2, 3, 4]
    # Shares 0.5 and 1.0; t of one degree of freedom is 12.706, sd / sqrt(2) is 0.25.
    assert zero[1].value == pytest.approx(0.75)
    assert zero[1].low == pytest.approx(0.75 - 12.706 * 0.25, abs=1e-3)
    assert zero[1].high == pytest.approx(0.75 + 12.706 * 0.25, abs=1e-3)
    assert zero[1].n == 2
    assert (zero[0].value, zero[0].low, zero[0].high) == (1, 1, 1)
    assert zero[4].value == pytest.approx((0.0625 + 0.125) / 2)
    assert (curves["skip"][1].value, curves["skip"][1].low) == (1, None)


def test_no_curve_without_runs_of_the_test():
    failed = replace(record("zero", 0.5, 0, HALVING), status="failed", figures={})
    elsewhere = record("skip", 0.5, 0, HALVING, test="held out")
    assert retention_curves(STUDY, [failed, elsewhere]) == {}
    assert set(retention_curves(STUDY, [elsewhere], test="held out")) == {"skip"}
    assert retention_curves(replace(STUDY, retention=()), [record("zero", 0.5, 0, HALVING)]) == {}
    curves = retention_curves(STUDY, [failed, record("zero", 0.5, 1, HALVING)])
    assert curves["zero, 0.5"][1].n == 1


ALL = subset_name(MODALITIES)


@pytest.fixture
def game():
    rng = np.random.default_rng(0)
    return {subset_key(subset): rng.random() for subset in ((), *SUBSETS)}


def test_shapley_is_the_mean_over_all_orders(game):
    total = dict.fromkeys(MODALITIES, 0.0)
    for order in permutations(MODALITIES):
        for place, m in enumerate(order):
            total[m] += game[subset_key(order[: place + 1])] - game[subset_key(order[:place])]
    found = shapley(game)
    for m in MODALITIES:
        assert found[m] == pytest.approx(total[m] / 120)
    assert sum(found.values()) == pytest.approx(game[ALL] - game[EMPTY_SUBSET])


def test_marginal_contributions_equal_a_loop(game):
    steps = marginal_contributions(game)["image"]
    assert steps[0] == pytest.approx(game["image"] - game[EMPTY_SUBSET])
    assert steps[4] == pytest.approx(game[ALL] - game["text+table+video+audio"])
    singles = [game[subset_key((m, "image"))] - game[m] for m in MODALITIES if m != "image"]
    assert steps[1] == pytest.approx(np.mean(singles))


def test_shapley_is_linear_in_the_queries(game):
    rng = np.random.default_rng(1)
    by_query = {subset: rng.random(7) for subset in game}
    found = shapley(by_query)
    means = shapley({subset: value_Q.mean() for subset, value_Q in by_query.items()})
    for m in MODALITIES:
        assert found[m].shape == (7,)
        assert found[m].mean() == pytest.approx(means[m])


def test_shapley_of_useless_and_of_equal_modalities():
    # The value depends only on the presence of text or table, which are redundant.
    game = {
        subset_key(subset): float("text" in subset or "table" in subset)
        for subset in ((), *SUBSETS)
    }
    found = shapley(game)
    assert found["text"] == pytest.approx(0.5)
    assert found["table"] == pytest.approx(0.5)
    assert [found[m] for m in MODALITIES[2:]] == pytest.approx([0, 0, 0])


def test_missing_subset_raises(game):
    del game["text+audio"]
    with pytest.raises(ValueError, match=r"no figure of 1 of 32 subsets.*text.*audio"):
        shapley(game)
