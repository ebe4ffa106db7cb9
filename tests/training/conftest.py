"""An uninterrupted training run, and the comparison of two runs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from scale.config import Config
from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue
from scale.training.checkpoint_manager import OPTIMIZER
from scale.training.logging import read_metrics, read_scores
from scale.training.pretrain import pretrain
from scale.training.run import RunFolder, TrainedRun


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> FeatureCache:
    return FeatureCache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def small(config) -> Config:
    """A config that trains in seconds, with dropout, which tests its random numbers too."""
    train = replace(
        config.train, steps=12, batch_size=8, learning_rate=2e-3, log_every=1, eval_every=4,
        checkpoint_every=4,
    )  # fmt: skip
    return replace(config, train=train, model=replace(config.model, dropout=0.1))


@pytest.fixture(scope="session")
def whole_run(small, small_catalogue, cache, tmp_path_factory) -> Path:
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    pretrain(small, small_catalogue, out, cache=cache, progress=False)
    return out


@pytest.fixture(scope="session")
def small_dataset(whole_run, small_catalogue, cache):
    """The config of the whole run and its training set."""
    run = TrainedRun.load(whole_run)
    return run.config, run.dataset(Catalogue.open(small_catalogue), "train", cache=cache)


@pytest.fixture(scope="session")
def same_run() -> Callable[[Path, Path], None]:
    """Assert that two runs have bit-identical checkpoints, metrics (without speed) and scores."""

    def check(one: Path, other: Path) -> None:
        for which, file in (("last", "model.safetensors"), ("last", OPTIMIZER),
                            ("best", "model.safetensors"), ("best", OPTIMIZER)):  # fmt: skip
            a, b = (load_file(RunFolder(f).checkpoint(which) / file) for f in (one, other))
            assert a.keys() == b.keys()
            for name in a:
                assert torch.equal(a[name], b[name]), (which, file, name)
        assert _without_speed(one) == _without_speed(other)
        assert read_scores(one) == read_scores(other)

    return check


def _without_speed(folder: Path) -> list[dict]:
    lines = read_metrics(folder)
    return [{k: v for k, v in line.items() if k != "products_per_second"} for line in lines]
