"""Fixtures for the tests of studies: tokenized products and the named systems."""

from functools import cache

import pytest

from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue
from scale.data.tokenizer import train_tokenizer
from scale.studies.systems.model import build_system
from scale.studies.systems.named import SYSTEMS
from scale.training.run import build_dataset, fit_vocabulary


@pytest.fixture(scope="session")
def small_data(config, small_catalogue, tmp_path_factory):
    """Return 48 products, a third of them incomplete, and the config with their vocabulary."""
    catalogue = Catalogue.open(small_catalogue)
    tokenizer = train_tokenizer(catalogue.products, config.features.vocab_size)
    config = fit_vocabulary(config, tokenizer)
    cache = FeatureCache(tmp_path_factory.mktemp("cache"))
    return build_dataset(catalogue, config, tokenizer, None, cache=cache), config


@pytest.fixture(scope="session")
def system_model(config):
    """Return a function from a system's name to its model on all modalities. Do not modify it."""

    @cache
    def build(name: str):
        return build_system(SYSTEMS[name].everywhere(), config, seed=0).eval()

    return build
