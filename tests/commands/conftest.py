"""A small trained run, shared by the tests of the commands."""

import os
from dataclasses import replace

import pytest

from scale.training.pretrain import pretrain


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory):
    """The user's cache, for the commands that take none."""
    folder = tmp_path_factory.mktemp("user-cache")
    os.environ["SCALE_CACHE"] = str(folder)
    yield folder
    del os.environ["SCALE_CACHE"]


@pytest.fixture(scope="session")
def run_folder(config, small_catalogue, cache_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    train = replace(config.train, steps=60, batch_size=8, learning_rate=2e-3, eval_every=30)
    pretrain(replace(config, train=train), small_catalogue, out, progress=False)
    return out
