"""The estimate that decides on the number of threads, beside PyTorch's count."""

from dataclasses import replace

import pytest
from random_products import RandomProducts, masked_products, presence
from roofline import count_flops

from scale.config import small, tiny
from scale.threads import step_operations
from scale.training.run import seeded_model


@pytest.mark.parametrize("preset", [tiny, small])
def test_estimated_operations_of_a_step(preset):
    config = preset()
    config = replace(config, train=replace(config.train, batch_size=4))
    masked = masked_products(config, RandomProducts(config.model, presence("complete", 4)))
    counted = 4 * count_flops(seeded_model(config), masked, config)[1]
    assert 0.5 * counted < step_operations(config) < 1.1 * counted
