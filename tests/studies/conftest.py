"""Products of the small catalogue as tokens, with a vocabulary of their own."""

import pytest

from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue
from scale.data.tokenizer import train_tokenizer
from scale.training.run import build_dataset, fit_vocabulary


@pytest.fixture(scope="session")
def small_data(config, small_catalogue, tmp_path_factory):
    """48 products, each third without something, and the config of their vocabulary."""
    catalogue = Catalogue.open(small_catalogue)
    tokenizer = train_tokenizer(catalogue.products, config.features.vocab_size)
    config = fit_vocabulary(config, tokenizer)
    cache = FeatureCache(tmp_path_factory.mktemp("cache"))
    return build_dataset(catalogue, config, tokenizer, None, cache=cache), config
