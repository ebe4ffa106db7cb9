"""Order of the data and learning rate as pure functions; the optimizer's settings."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scale.training.optimizer import learning_rate, parameter_groups
from scale.training.run import seeded_model
from scale.training.sampler import ShuffleBlocks, batch_indices, steps_per_epoch
from scale.training.trainer import Trainer


@given(st.integers(2, 200), st.integers(2, 40), st.integers(0, 1000), st.integers(0, 5))
def test_an_epoch_shows_each_product_at_most_once(products, batch_size, seed, epoch):
    steps = steps_per_epoch(products, batch_size)
    batches = [batch_indices(products, batch_size, seed, epoch * steps + s) for s in range(steps)]
    seen = np.concatenate(batches)
    assert len(set(seen)) == len(seen) == min(products, steps * batch_size)
    assert set(seen) <= set(range(products))
    assert {len(b) for b in batches} == {min(batch_size, products)}
    again = batch_indices(products, batch_size, seed, epoch * steps)
    assert np.array_equal(again, batches[0])


def test_epochs_and_seeds_differ():
    first, second = batch_indices(100, 10, 0, 0), batch_indices(100, 10, 0, 10)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, batch_indices(100, 10, 1, 0))


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=12),
    st.integers(1, 14),
    st.integers(0, 99),
    st.integers(1, 9),
)
def test_what_lies_together_is_shuffled_together(sizes, together, seed, batch_size):
    blocks = ShuffleBlocks(np.array([0, *np.cumsum(sizes)]), together)
    products, home_N = sum(sizes), np.repeat(np.arange(len(sizes)), sizes)
    steps = steps_per_epoch(products, batch_size)

    def epoch(number, of):
        return np.concatenate(
            [
                batch_indices(products, batch_size, seed, number * steps + s, of)
                for s in range(steps)
            ]
        )

    seen = epoch(0, blocks)
    assert len(set(seen)) == len(seen) == min(products, steps * batch_size)
    # At most `together` blocks are in use at any place: each is left before others are begun.
    first = {b: np.flatnonzero(home_N[seen] == b)[0] for b in home_N[seen]}
    last = {b: np.flatnonzero(home_N[seen] == b)[-1] for b in home_N[seen]}
    for place in range(len(seen)):
        assert sum(first[b] <= place <= last[b] for b in first) <= together
    assert np.array_equal(seen, epoch(0, ShuffleBlocks(blocks.edges, together)))


def test_blocks_come_in_another_order_each_epoch():
    blocks = ShuffleBlocks(np.arange(0, 1001, 50), 4)
    one, two = (batch_indices(1000, 1000, 0, step, blocks) for step in (0, 1))
    assert not np.array_equal(one // 50, two // 50)
    assert not np.array_equal(np.sort(one[:200]), one[:200])


def test_learning_rate_rises_then_falls_to_nothing():
    rates = [learning_rate(s, 100, 1.0, 0.1) for s in range(101)]
    assert rates[:10] == pytest.approx([(s + 1) / 10 for s in range(10)])
    assert rates[10] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0.0, abs=1e-12)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert learning_rate(0, 5, 1.0, 0.0) > 0


def test_only_matrices_decay(make_model):
    model = make_model("learned")
    names = {id(p): n for n, p in model.named_parameters()}
    decayed, free = parameter_groups(model, 0.1)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert len(decayed["params"]) + len(free["params"]) == len(names)
    decayed_names = {names[id(p)] for p in decayed["params"]}
    for name in decayed_names:
        assert name.endswith("weight")
        assert "norm" not in name.lower()
        assert "embedding" not in name
    assert "poolers.text.weight" in decayed_names
    assert "jct.stack.blocks.0.attn.qkv.weight" in decayed_names


def test_the_optimizer_has_the_settings_and_each_step_its_learning_rate(small_dataset):
    config, products = small_dataset
    config = replace(config, train=replace(config.train, weight_decay=0.3, steps=6))
    trainer = Trainer(config, seeded_model(config), products)
    decayed, free = trainer.optimizer.param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.3, 0.0)
    assert decayed["betas"] == free["betas"] == (0.9, 0.98)
    train = config.train
    for step in range(3):
        output = trainer.train_step(step)
        rate = learning_rate(step, train.steps, train.learning_rate, train.warmup_share)
        assert output.learning_rate == rate
        assert {group["lr"] for group in trainer.optimizer.param_groups} == {rate}
