"""A prefetched batch equals the batch that the step would compute itself."""

import threading
from dataclasses import replace

import pytest
import torch

from scale.training.prefetch import Prefetcher
from scale.training.run import seeded_model
from scale.training.trainer import Trainer


def test_expected_keys_are_computed_once_in_a_thread():
    computed = []

    def compute(key):
        computed.append((key, threading.current_thread().name))
        return key * 10

    prefetcher = Prefetcher(compute)
    assert [prefetcher.get(k, k + 1 if k < 3 else None) for k in range(4)] == [0, 10, 20, 30]
    assert [key for key, _ in computed] == [0, 1, 2, 3]
    assert [name.startswith("prefetch") for _, name in computed] == [False, True, True, True]


def test_unexpected_key_is_computed_anew():
    prefetcher = Prefetcher(lambda key: key * 10)
    assert prefetcher.get(0, 1) == 0
    assert prefetcher.get(7, 8) == 70
    assert prefetcher.get(8, None) == 80


def test_error_is_raised_when_its_value_is_requested():
    prefetcher = Prefetcher(lambda key: 1 // (2 - key))
    assert prefetcher.get(1, 2) == 1
    with pytest.raises(ZeroDivisionError):
        prefetcher.get(2, 3)
    assert prefetcher.get(3, None) == -1


@pytest.mark.parametrize("micro_batch", [0, 4])
def test_training_with_prefetching_is_bit_identical(small_dataset, micro_batch):
    """Every batch but the first is computed in the thread, none twice, none after the last step."""
    config, products = small_dataset
    config = replace(config, train=replace(config.train, micro_batch=micro_batch, steps=3))
    weights, computed = [], []
    for prefetching in (False, True):
        trainer = Trainer(config, seeded_model(config), products)
        if prefetching:

            def compute(key, trainer=trainer):
                computed.append((key, threading.current_thread().name.startswith("prefetch")))
                return trainer._masked_batch(key)

            trainer.prefetcher = Prefetcher(compute)
        for step in range(3):
            trainer.train_step(step)
        weights.append([p.detach().clone() for p in trainer.model.parameters()])
    assert [threaded for _, threaded in computed] == [False] + [True] * (len(computed) - 1)
    assert [key[0] for key, _ in computed] == sorted([0, 1, 2] * (2 if micro_batch else 1))
    assert len({key for key, _ in computed}) == len(computed)
    for own, other in zip(*weights, strict=True):
        assert torch.equal(own, other)
