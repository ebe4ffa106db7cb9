"""Order of the products, learning rate and parameter groups."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scale.training.optimizer import learning_rate, parameter_groups
from scale.training.sampler import ShuffleBlocks, batch_indices, steps_per_epoch


@given(st.integers(2, 200), st.integers(2, 40), st.integers(0, 1000), st.integers(0, 5))
def test_epoch_contains_each_product_at_most_once(products, batch_size, seed, epoch):
    steps = steps_per_epoch(products, batch_size)
    batches = [batch_indices(products, batch_size, seed, epoch * steps + s) for s in range(steps)]
    seen = np.concatenate(batches)
    assert len(set(seen)) == len(seen) == min(products, steps * batch_size)
    assert set(seen) <= set(range(products))
    assert {len(b) for b in batches} == {min(batch_size, products)}
    again = batch_indices(products, batch_size, seed, epoch * steps)
    assert np.array_equal(again, batches[0])


def test_order_depends_on_epoch_and_seed():
    first, second = batch_indices(100, 10, 0, 0), batch_indices(100, 10, 0, 10)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, batch_indices(100, 10, 1, 0))


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=12),
    st.integers(1, 14),
    st.integers(0, 99),
    st.integers(1, 9),
)
def test_blocks_are_shuffled_in_groups(sizes, together, seed, batch_size):
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
    # At most `together` blocks are in use at any place: a group ends before the next begins.
    first = {b: np.flatnonzero(home_N[seen] == b)[0] for b in home_N[seen]}
    last = {b: np.flatnonzero(home_N[seen] == b)[-1] for b in home_N[seen]}
    for place in range(len(seen)):
        assert sum(first[b] <= place <= last[b] for b in first) <= together
    assert np.array_equal(seen, epoch(0, ShuffleBlocks(blocks.edges, together)))


def test_order_of_blocks_depends_on_the_epoch():
    blocks = ShuffleBlocks(np.arange(0, 1001, 50), 4)
    one, two = (batch_indices(1000, 1000, 0, step, blocks) for step in (0, 1))
    assert not np.array_equal(one // 50, two // 50)
    assert not np.array_equal(np.sort(one[:200]), one[:200])


def test_learning_rate_has_linear_warmup_and_cosine_decay():
    rates = [learning_rate(s, 100, 1.0, 0.1) for s in range(101)]
    assert rates[:10] == pytest.approx([(s + 1) / 10 for s in range(10)])
    assert rates[10] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0.0, abs=1e-12)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert learning_rate(0, 5, 1.0, 0.0) > 0
    assert learning_rate(3, 3, 1.0, 0.7) == pytest.approx(0.0, abs=1e-12)
    assert learning_rate(2, 3, 1.0, 1.0) == 1.0


def test_weight_decay_applies_to_matrices_only(make_model):
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
