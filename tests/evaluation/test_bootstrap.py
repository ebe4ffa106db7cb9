"""Intervals against a slow twin, a formula, and their promise of coverage."""

import numpy as np
import pytest

from scale.evaluation import bootstrap
from scale.evaluation.bootstrap import NOTHING, estimate, estimates, paired_difference


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
