"""Shapley values: against the mean over all 120 orders, and what they must add up to."""

from itertools import permutations

import numpy as np
import pytest

from scale.modalities import MODALITIES, SUBSETS, subset_name
from scale.studies.retention import EMPTY_SUBSET, marginal_contributions, shapley, subset_key

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


def test_steps_are_means_over_the_subsets_that_are_there_before(game):
    steps = marginal_contributions(game)["image"]
    assert steps[0] == pytest.approx(game["image"] - game[EMPTY_SUBSET])
    assert steps[4] == pytest.approx(game[ALL] - game["text+table+video+audio"])
    singles = [game[subset_key((m, "image"))] - game[m] for m in MODALITIES if m != "image"]
    assert steps[1] == pytest.approx(np.mean(singles))


def test_values_by_query_give_shapley_by_query(game):
    rng = np.random.default_rng(1)
    by_query = {subset: rng.random(7) for subset in game}
    found = shapley(by_query)
    means = shapley({subset: value_Q.mean() for subset, value_Q in by_query.items()})
    for m in MODALITIES:
        assert found[m].shape == (7,)
        assert found[m].mean() == pytest.approx(means[m])


def test_a_modality_that_adds_nothing_gets_nothing_and_twins_get_the_same():
    # What counts is whether text or table is there: they say the same, the others say nothing.
    game = {
        subset_key(subset): float("text" in subset or "table" in subset)
        for subset in ((), *SUBSETS)
    }
    found = shapley(game)
    assert found["text"] == pytest.approx(0.5)
    assert found["table"] == pytest.approx(0.5)
    assert [found[m] for m in MODALITIES[2:]] == pytest.approx([0, 0, 0])


def test_a_missing_subset_is_named(game):
    del game["text+audio"]
    with pytest.raises(ValueError, match=r"no figure of 1 of 32 subsets.*text.*audio"):
        shapley(game)
