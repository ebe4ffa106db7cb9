"""Failure modes of training: only the healthy run learns."""

import math

import pytest

from scale.studies.failure_modes import complete_products, contrastive_curve, shuffled_curve
from scale.training.run import fit_sizes


@pytest.fixture(scope="module")
def settled(small_data):
    """The small catalogue as tokens, and the config that fits them."""
    data, config = small_data
    return fit_sizes(config, data), data


def test_only_the_healthy_run_beats_chance(settled):
    config, dataset = settled
    batch = complete_products(dataset, 8)
    guess = math.log(8)
    assert contrastive_curve(config, batch, steps=60)[-1] < 0.5 * guess
    assert contrastive_curve(config, batch, steps=10, learning_rate=1e-6)[-1] > 0.9 * guess
    assert sum(shuffled_curve(config, batch, steps=30)[-10:]) / 10 > 0.9 * guess


def test_too_few_complete_products_raise(settled):
    with pytest.raises(ValueError, match="are needed"):
        complete_products(settled[1], 10_000)
