"""A run and the products of the panels."""

import pytest

from scale.explore.source import ExplorerSource
from scale.viz.illustrations.space import principal_axes
from tests.viz.conftest import readable  # noqa: F401


@pytest.fixture(autouse=True)
def umap_by_pca(monkeypatch, tmp_path):
    """PCA instead of UMAP, which compiles for 15 seconds; returns the seeds that were passed.

    Maps are not stored in the runs, which the tests share.
    """
    seeds = []

    def project(unit_PD, seed):
        seeds.append(seed)
        return principal_axes(unit_PD)[0]

    monkeypatch.setattr("scale.explore.maps.map_path", lambda _, name, __: tmp_path / f"{name}.npy")
    monkeypatch.setattr("scale.explore.maps.kept_umap", project)
    return seeds


@pytest.fixture(autouse=True)
def few_pixels(monkeypatch):
    """Figures of 20 instead of 100 dots per inch: no test reads their pixels."""
    monkeypatch.setattr("scale.explore.markup.DPI", 20)


@pytest.fixture(scope="session")
def source(run_folder, small_catalogue):
    """48 small products, every third incomplete, and a model after 60 steps."""
    return ExplorerSource.open(run_folder, small_catalogue, split=None)
