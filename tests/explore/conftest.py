"""A run and the products of the panels."""

import pytest

from scale.explore.source import ExplorerSource
from tests.viz.conftest import readable  # noqa: F401


@pytest.fixture(scope="session")
def source(run_folder, small_catalogue):
    """48 small products, every third incomplete, and a model after 60 steps."""
    return ExplorerSource.open(run_folder, small_catalogue, split=None)
