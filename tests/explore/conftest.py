"""A run and products for the explorers to explore."""

import pytest

from scale.explore.subject import Subject


@pytest.fixture(scope="session")
def subject(run_folder, small_catalogue):
    """48 small products, each third without something, and a model after 60 steps."""
    return Subject.open(run_folder, small_catalogue, split=None)
