"""Intervals against a slow twin, a formula, and their promise of coverage."""

from dataclasses import replace

import numpy as np
import pytest

from scale.evaluation import bootstrap
from scale.evaluation.bootstrap import (
    NOTHING,
    Estimate,
    category_codes,
    category_estimates,
    estimate,
    estimates,
    mean_of_means,
    paired_difference,
)


def slow_interval(values: list[float], seed: int, resamples: int) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(values), (resamples, len(values)))
    means = []
    for row in drawn:
        total = 0.0
        for index in row:
            total += values[index]
        means.append(total / len(values))
    return tuple(np.percentile(means, [2.5, 97.5]))


def test_the_interval_equals_the_slow_twin():
    values = np.random.default_rng(3).random(23)
    found = estimate(values, seed=5, resamples=300)
    assert (found.low, found.high) == pytest.approx(slow_interval(values.tolist(), 5, 300))
    assert found.value == pytest.approx(values.mean())
    assert found.n == 23


def test_memory_pieces_change_nothing(monkeypatch):
    values = np.random.default_rng(3).random(23)
    whole = estimate(values, resamples=200)
    monkeypatch.setattr(bootstrap, "_PIECE", 23 * 7)
    assert estimate(values, resamples=200) == whole


def test_nan_is_left_out_and_counted_per_value():
    some = np.array([1.0, np.nan, 0.0, 1.0])
    found = estimates({"some": some, "all": np.ones(4), "none": np.full(4, np.nan)})
    assert found["some"].n == 3
    assert found["some"].value == pytest.approx(2 / 3)
    assert found["all"].to_dict() == {"value": 1.0, "low": 1.0, "high": 1.0, "n": 4}
    assert found["none"] == NOTHING
    assert NOTHING.to_dict() == {"value": None, "low": None, "high": None, "n": 0}
    assert list(found) == ["some", "all", "none"]


def test_values_of_several_items_are_those_of_each_alone():
    rng = np.random.default_rng(0)
    items = {
        "a": {"x": rng.random(9), "y": np.where(rng.random(9) < 0.3, np.nan, 1.0)},
        "b": {"x": rng.random(5)},
    }
    found = bootstrap.estimate_items(items, seed=2)
    assert {i: list(values) for i, values in found.items()} == {"a": ["x", "y"], "b": ["x"]}
    assert found["a"]["x"] == estimate(items["a"]["x"], seed=2)
    assert found["a"]["y"] == estimate(items["a"]["y"], seed=2)
    assert found["b"]["x"] == estimate(items["b"]["x"], seed=2)


def test_the_width_is_that_of_the_standard_error():
    values = np.random.default_rng(0).normal(size=400)
    found = estimate(values, resamples=4000)
    expected = 2 * 1.96 * values.std() / 20
    assert found.high - found.low == pytest.approx(expected, rel=0.06)


def test_the_interval_has_its_nominal_coverage():
    rng = np.random.default_rng(7)
    covered = 0
    for trial in range(300):
        found = estimate((rng.random(60) < 0.3).astype(float), seed=trial, resamples=400)
        covered += found.low <= 0.3 <= found.high
    assert 0.89 <= covered / 300 <= 0.985


def test_a_centred_interval_is_the_plain_one_moved_to_the_value():
    """The share of distinct products is 1 for the whole set and about 0.63 for a resample."""

    def distinct(weights_RQ):
        return {"share": (weights_RQ > 0).mean(1)}

    plain, centred = (
        bootstrap.estimate_weighted(distinct, 40, seed=1, centre=centre)["share"]
        for centre in (False, True)
    )
    drawn = np.concatenate([distinct(w)["share"] for w in bootstrap.draw_weights(40, 1, 1000)])
    shift = 1 - drawn.mean()
    assert plain.value == centred.value == 1
    assert (centred.low, centred.high) == pytest.approx((plain.low + shift, plain.high + shift))
    assert centred.low < 1 < centred.high


def test_a_paired_difference_is_narrower_than_its_parts():
    rng = np.random.default_rng(0)
    hard = rng.random(200)
    a, b = hard + 0.05 + 0.01 * rng.normal(size=200), hard
    found = paired_difference(a, b)
    assert found.low > 0
    assert found.high - found.low < 0.2 * (estimate(a).high - estimate(a).low)
    assert paired_difference(a, np.where(hard > 0.5, np.nan, b)).n == (hard <= 0.5).sum()
    with pytest.raises(ValueError, match="paired values"):
        paired_difference(a, b[1:])


def test_group_sum_equals_the_slow_twin():
    rng = np.random.default_rng(0)
    weights_RQ, code_Q = rng.integers(0, 4, (5, 30)), rng.choice([0, 2, 3, 6], 30)
    expected = np.zeros((5, 8))
    for r in range(5):
        for q in range(30):
            expected[r, code_Q[q]] += weights_RQ[r, q]
    assert np.array_equal(bootstrap.group_sum(weights_RQ, code_Q, 8), expected)


def slow_category_interval(values, labels, seed: int, resamples: int) -> tuple[float, float]:
    """Draw categories; the queries of a category drawn twice count twice."""
    kept = [(v, c) for v, c in zip(values, labels, strict=True) if not np.isnan(v)]
    groups = {}
    for value, label in kept:
        groups.setdefault(label, []).append(value)
    names = sorted(groups)
    means = []
    for row in np.random.default_rng(seed).integers(0, len(names), (resamples, len(names))):
        drawn = [value for index in row for value in groups[names[index]]]
        means.append(sum(drawn) / len(drawn))
    return tuple(np.percentile(means, [2.5, 97.5]))


def test_category_interval_equals_the_slow_twin(monkeypatch):
    rng = np.random.default_rng(1)
    code_Q = rng.integers(0, 7, 60)
    one_Q, other_Q = rng.random(60), rng.random(60)
    one_Q[rng.random(60) < 0.2] = np.nan
    other_Q[code_Q == 3] = np.nan
    values, codes = {"one": one_Q, "other": other_Q}, {"one": code_Q, "other": code_Q}
    found = category_estimates(values, codes, seed=5, resamples=300)
    for name, n in (("one", 7), ("other", 6)):
        e = found[name]
        expected = slow_category_interval(values[name], code_Q.tolist(), 5, 300)
        assert (e.low, e.high) == pytest.approx(expected)
        assert (e.value, e.n) == (pytest.approx(np.nanmean(values[name])), n)
    monkeypatch.setattr(bootstrap, "_PIECE", 7 * 11)
    assert category_estimates(values, codes, seed=5, resamples=300) == found


def test_category_interval_covers_new_categories_where_that_over_queries_does_not():
    """Queries of one category share a level of difficulty. Truth: 0."""
    rng, covered = np.random.default_rng(0), {"queries": 0, "categories": 0}
    code_Q = np.repeat(np.arange(25), 8)
    for trial in range(200):
        value_Q = rng.normal(size=25)[code_Q] + 0.5 * rng.normal(size=200)
        (e,) = estimates({0: value_Q}, trial, 300, {0: code_Q}).values()
        covered["queries"] += e.low <= 0 <= e.high
        covered["categories"] += e.category_low <= 0 <= e.category_high
    assert covered["categories"] / 200 > 0.87
    assert covered["queries"] / 200 < 0.7


def test_queries_without_a_category_are_categories_of_their_own():
    labels = ["cup", None, "hat", "cup", None]
    assert category_codes(labels).tolist() == [0, 1, 2, 0, 3]
    assert len(category_codes([])) == 0
    value_Q = np.random.default_rng(0).random(30)
    found = category_estimates({"x": value_Q}, {"x": category_codes([None] * 30)}, seed=4)["x"]
    assert found == estimate(value_Q, seed=4)


def test_single_category_has_no_interval():
    value_Q, nan_Q = np.array([0.0, 1.0, np.nan]), np.full(3, np.nan)
    code_Q = np.array([4, 4, 9])
    found = category_estimates({"x": value_Q, "none": nan_Q}, {"x": code_Q, "none": code_Q})
    assert (found["x"].value, found["x"].low, found["x"].high, found["x"].n) == (0.5, None, None, 1)
    assert found["none"] == NOTHING


def test_category_bounds_are_added_to_those_over_queries():
    rng = np.random.default_rng(0)
    values = {"a": {"x": rng.random(9), "y": rng.random(9)}, "b": {"x": np.full(5, np.nan)}}
    codes = {"a": np.arange(9) % 4, "b": np.arange(5)}
    plain, found = (bootstrap.estimate_items(values, 2, 1000, c) for c in (None, codes))
    for item, name in (("a", "x"), ("a", "y"), ("b", "x")):
        e = found[item][name]
        code_Q = codes[item]
        expected = category_estimates({0: values[item][name]}, {0: code_Q}, 2)[0]
        assert (e.category_low, e.category_high) == (expected.low, expected.high)
        assert replace(e, category_low=None, category_high=None) == plain[item][name]
    bounds = {"category_low", "category_high"}
    assert found["a"]["x"].to_dict().keys() == plain["a"]["x"].to_dict().keys() | bounds
    assert found["b"]["x"].to_dict().keys() == {"value", "low", "high", "n"}


def test_the_mean_of_means_equals_resampling_by_hand(monkeypatch):
    rng = np.random.default_rng(1)
    values = np.where(rng.random((12, 4)) < 0.5, np.nan, rng.random((12, 4)))
    values[:, 2], values[5] = np.nan, np.nan
    values[3, 3], values[np.arange(12) != 3, 3] = 0.25, np.nan
    category_N = category_codes(list("aabbccddaabb"))

    def slow(rows):
        """Mean over the lists that have a value of the mean of each."""
        lists = [[values[n, d] for n in rows if not np.isnan(values[n, d])] for d in range(4)]
        return np.mean([np.mean(each) for each in lists if each])

    monkeypatch.setattr(bootstrap, "_PIECE", 9 * 7)
    found = mean_of_means(values, seed=3, resamples=300, category_N=category_N)
    kept = np.flatnonzero((~np.isnan(values)).any(1))
    assert found.n == len(kept) == 9
    assert found.value == pytest.approx(slow(kept))
    drawn = np.random.default_rng(3).integers(0, 9, (300, 9))
    wanted = np.percentile([slow(kept[row]) for row in drawn], [2.5, 97.5])
    assert (found.low, found.high) == pytest.approx(tuple(wanted))
    groups = [kept[category_N[kept] == c] for c in np.unique(category_N[kept])]
    drawn = np.random.default_rng(3).integers(0, len(groups), (300, len(groups)))
    resampled = [slow(np.concatenate([groups[c] for c in row])) for row in drawn]
    wanted = np.percentile(resampled, [2.5, 97.5])
    assert (found.category_low, found.category_high) == pytest.approx(tuple(wanted))
    assert mean_of_means(np.full((3, 2), np.nan)) == NOTHING


def test_the_interval_of_a_constant_is_the_constant():
    """Of any size: the bounds of prices differed from their mean by rounding errors."""
    for value in (0.0, -0.002, 1 / 3, 19_999.99, 123_456.789):
        found = estimate(np.full(100, value))
        assert found.low == found.value == found.high == pytest.approx(value)
    assert estimate(np.array([-0.002])) == Estimate(-0.002, None, None, 1)
