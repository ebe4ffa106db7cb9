"""A batch that a thread has made is the batch that the step would have made."""

import threading
from dataclasses import replace

import pytest
import torch

from scale.training.prefetch import Prefetcher
from scale.training.run import seeded_model
from scale.training.trainer import Trainer


def test_what_is_guessed_right_is_made_once():
    made = []
    ahead = Prefetcher(lambda key: made.append((key, threading.current_thread().name)) or key * 10)
    assert [ahead.get(k, k + 1 if k < 3 else None) for k in range(4)] == [0, 10, 20, 30]
    assert [key for key, _ in made] == [0, 1, 2, 3]
    assert [name.startswith("prefetch") for _, name in made] == [False, True, True, True]


def test_what_is_guessed_wrong_is_made_anew():
    ahead = Prefetcher(lambda key: key * 10)
    assert ahead.get(0, 1) == 0
    assert ahead.get(7, 8) == 70
    assert ahead.get(8, None) == 80


def test_an_error_comes_where_the_result_is_asked_for():
    ahead = Prefetcher(lambda key: 1 // (2 - key))
    assert ahead.get(1, 2) == 1
    with pytest.raises(ZeroDivisionError):
        ahead.get(2, 3)
    assert ahead.get(3, None) == -1


@pytest.mark.parametrize("micro_batch", [0, 4])
def test_the_bits_are_those_of_a_step_that_makes_its_own(small_dataset, micro_batch):
    config, products = small_dataset
    config = replace(config, train=replace(config.train, micro_batch=micro_batch))
    weights = []
    for ahead in (False, True):
        trainer = Trainer(config, seeded_model(config), products)
        asked = []
        if ahead:

            def corrupt(key, trainer=trainer, asked=asked):
                asked.append((key, threading.current_thread().name.startswith("prefetch")))
                return trainer._masked_batch(key)

            trainer.prefetcher = Prefetcher(corrupt)
        for step in range(4):
            trainer.train_step(step)
        weights.append([p.detach().clone() for p in trainer.model.parameters()])
    assert [threaded for _, threaded in asked] == [False] + [True] * (len(asked) - 1)
    assert len({key for key, _ in asked}) == len(asked)
    for own, other in zip(*weights, strict=True):
        assert torch.equal(own, other)


def test_nothing_is_made_after_the_last_step(small_dataset):
    config, products = small_dataset
    config = replace(config, train=replace(config.train, steps=2))
    trainer = Trainer(config, seeded_model(config), products)
    asked = []
    trainer.prefetcher = Prefetcher(lambda key: asked.append(key[0]) or trainer._masked_batch(key))
    for step in range(2):
        trainer.train_step(step)
    assert asked == [0, 1]
