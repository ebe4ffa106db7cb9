"""Maps that are kept: computed once, never trusted blindly, never a reason to fail."""

import logging

import numpy as np
import pytest

from scale.viz import embeddings
from scale.viz.embeddings import kept_umap


@pytest.fixture
def emb_ND():
    return np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)


@pytest.fixture
def mapped(monkeypatch):
    """What was asked of UMAP, which answers at once here."""
    asked = []

    def fast(emb_ND, seed, neighbours):
        asked.append((seed, neighbours))
        return (emb_ND[:, :2] * (1 + seed)).astype(np.float32)

    monkeypatch.setattr(embeddings, "umap_coordinates", fast)
    return asked


def test_the_same_map_is_computed_once(emb_ND, mapped, tmp_path):
    first_N2 = kept_umap(emb_ND, 3, folder=tmp_path)
    np.testing.assert_array_equal(kept_umap(emb_ND.copy(), 3, folder=tmp_path), first_N2)
    assert mapped == [(3, 15)]
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]


def test_other_embeddings_seeds_or_settings_are_other_maps(emb_ND, mapped, tmp_path):
    moved_ND = emb_ND.copy()
    moved_ND[3, 1] = np.nextafter(moved_ND[3, 1], 9)
    for arguments in ((emb_ND, 0), (emb_ND, 1), (emb_ND, 0, 5), (moved_ND, 0), (emb_ND[:9], 0)):
        kept_umap(*arguments, folder=tmp_path)
    assert len(mapped) == len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no array",
        b"\x93NUMPY\x01\x00",
        np.zeros((12, 3), np.float32),
        np.zeros((12, 2), np.float64),
        np.full((12, 2), np.nan, np.float32),
        np.array([{}] * 12, dtype=object),
    ],
)
def test_a_broken_file_is_computed_anew(emb_ND, mapped, tmp_path, content, caplog):
    first_N2 = kept_umap(emb_ND, folder=tmp_path)
    (path,) = tmp_path.iterdir()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content, allow_pickle=True)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(kept_umap(emb_ND, folder=tmp_path), first_N2)
    assert len(mapped) == 2
    assert path.name in caplog.text
    np.testing.assert_array_equal(np.load(path, allow_pickle=False), first_N2)


def test_a_folder_that_cannot_be_written_costs_no_map(emb_ND, mapped, tmp_path, caplog):
    (tmp_path / "file").write_text("no folder")
    with caplog.at_level(logging.WARNING):
        assert kept_umap(emb_ND, folder=tmp_path / "file" / "maps").shape == (12, 2)
    assert "cannot be kept" in caplog.text


def test_maps_are_kept_in_the_users_cache(emb_ND, mapped, tmp_path, monkeypatch):
    monkeypatch.setenv("SCALE_CACHE", str(tmp_path))
    kept_umap(emb_ND)
    assert len(list((tmp_path / "maps").iterdir())) == 1


def test_too_few_points_are_told_and_nothing_is_kept(tmp_path):
    with pytest.raises(ValueError, match="at least 5"):
        kept_umap(np.zeros((3, 2)), folder=tmp_path)
    assert not list(tmp_path.iterdir())
