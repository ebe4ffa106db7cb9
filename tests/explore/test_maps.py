"""Maps that are stored with the run: the same on every machine, and computed beside a page."""

import asyncio

import numpy as np
import pytest

from scale.explore import maps
from scale.explore.embeddings import EmbeddingExplorer
from scale.explore.projections import MapView, Projections


@pytest.fixture
def unit_PD():
    emb_PD = np.random.default_rng(0).standard_normal((40, 16)).astype(np.float32)
    return emb_PD / np.linalg.norm(emb_PD, axis=1, keepdims=True)


def test_a_stored_map_is_used_for_the_same_embeddings_up_to_rounding(
    unit_PD, tmp_path, umap_by_pca
):
    path = tmp_path / "maps" / "product.npy"
    xy_P2 = maps.compute_map(path, unit_PD)
    rounding = 1e-6 * np.random.default_rng(1).standard_normal(unit_PD.shape).astype(np.float32)
    np.testing.assert_array_equal(maps.compute_map(path, unit_PD + rounding), xy_P2)
    assert len(umap_by_pca) == 1
    for other_PD in (np.roll(unit_PD, 1, axis=0), unit_PD[:-1], unit_PD + 0.01):
        assert maps.load_map(path, other_PD) is None
    path.write_bytes(path.read_bytes()[:-40])
    assert maps.load_map(path, unit_PD) is None
    np.testing.assert_array_equal(maps.compute_map(path, unit_PD), xy_P2)


def test_the_map_of_a_copied_run_is_not_computed_again(source, umap_by_pca):
    view = MapView("best", "product", "umap")
    first, copy = Projections(source), Projections(source)
    assert not first.has(view)
    xy_P2 = first.xy(view)
    assert copy.has(view)
    np.testing.assert_array_equal(copy.xy(view), xy_P2)
    assert len(umap_by_pca) == 1


def test_a_new_map_is_computed_beside_the_page(source, monkeypatch):
    """The kernel shows PCA at once, and UMAP when the other process has stored it."""
    monkeypatch.setattr("scale.explore.embeddings.POLL_SECONDS", 0.02)
    monkeypatch.setattr("scale.explore.panel.DELAY", 0.0)
    stored = []

    class Process:
        def poll(self):
            return 0 if stored else None

    monkeypatch.setattr(maps, "start_map", lambda path, unit_PD: started.append(path) or Process())
    started = []

    def shown(explorer):
        return [state.view.projection for state in explorer._states]

    async def use():
        explorer = EmbeddingExplorer(source, beside=True)
        assert shown(explorer) == ["pca"]
        assert "UMAP" in explorer.panes.status.html
        await asyncio.sleep(0.1)
        assert shown(explorer) == ["pca"]
        points = explorer._states[0].points
        maps.compute_map(started[0], points.unit_PD)
        stored.append(True)
        await asyncio.sleep(0.3)
        assert shown(explorer) == ["umap"]
        assert explorer.panes.status.html == ""
        assert len(started) == 1

    asyncio.run(use())
