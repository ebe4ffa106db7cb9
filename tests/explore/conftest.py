"""A run and products for the explorers to explore."""

import pytest

from scale.explore.source import ExplorerSource
from tests.viz.conftest import readable  # noqa: F401


@pytest.fixture(scope="session")
def source(run_folder, small_catalogue):
    """48 small products, each third without something, and a model after 60 steps."""
    return ExplorerSource.open(run_folder, small_catalogue, split=None)
