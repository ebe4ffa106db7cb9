"""UMAP, maps and their cache."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex

from scale.viz import embeddings
from scale.viz.embeddings import (
    embedding_map,
    embedding_maps,
    kept_umap,
    place_names,
    spread_boxes,
    umap_coordinates,
)
from scale.viz.theme import MODALITY_COLOURS
from scale.viz.words import label
from tests.viz.conftest import LOOKS


def clusters(groups, per_group, seed=0):
    rng = np.random.default_rng(seed)
    which = np.repeat(np.arange(groups), per_group)
    return rng.normal(size=(groups, 2))[which] * 4 + rng.normal(size=(len(which), 2)), which


def test_many_categories_are_named_where_they_lie(checked):
    for look, lang in LOOKS:
        xy_N2, which = clusters(26, 20)
        names = [f"类别 {k}" if k % 2 else f"Category {k}" for k in range(26)]
        figure, texts = checked(embedding_map, look, xy_N2, which, names, lang)
        assert set(names) <= set(texts)
        assert figure.axes[0].get_legend() is None


def test_few_groups_get_a_legend_and_modalities_their_colours(readable):
    xy_N2, which = clusters(3, 10)
    groups = [("audio", "text", "image")[k] for k in which]
    figure = embedding_map(xy_N2, groups, lang="zh")
    readable(figure)
    legend = figure.axes[0].get_legend()
    shown = [text.get_text() for text in legend.get_texts()]
    assert shown == [label(m, "zh") for m in ("text", "image", "audio")]
    colours = {to_hex(c.get_facecolor()[0]) for c in figure.axes[0].collections[1:]}
    assert colours == {MODALITY_COLOURS[m].lower() for m in ("text", "image", "audio")}


def test_categories_that_begin_with_an_underscore_are_in_the_legend():
    xy_N2, which = clusters(2, 10)
    figure = embedding_map(xy_N2, [("_other", "mugs")[k] for k in which])
    texts = figure.axes[0].get_legend().get_texts()
    assert sorted(text.get_text().strip() for text in texts) == ["_other", "mugs"]


def test_every_point_is_drawn_once_unknown_ones_too():
    xy_N2, which = clusters(12, 5)
    groups = [None if k == 3 else f"g{k}" for k in which]
    figure = embedding_map(xy_N2, groups)
    drawn = np.concatenate([np.asarray(c.get_offsets()) for c in figure.axes[0].collections])
    np.testing.assert_allclose(np.sort(drawn, axis=0), np.sort(xy_N2, axis=0))


def test_groups_and_points_must_fit():
    with pytest.raises(ValueError, match="groups are 3"):
        embedding_map(np.zeros((4, 2)), ["a", "b", "c"])


def overlaps(centre_G2, extent_G2):
    """Slow twin: pairs of boxes that overlap by more than a hair."""
    pairs = 0
    for i in range(len(centre_G2)):
        for j in range(i):
            distance = np.abs(centre_G2[i] - centre_G2[j])
            pairs += bool((distance < (extent_G2[i] + extent_G2[j]) / 2 - 1e-6).all())
    return pairs


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=1, max_size=24),
    st.integers(10, 60),
)
@settings(max_examples=30)
def test_boxes_part_and_stay_in_the_frame(places, width):
    place_G2 = np.array(places, dtype=float)
    extent_G2 = np.tile([float(width), 12.0], (len(places), 1))
    low, high = np.array([0.0, 0.0]), np.array([400.0, 400.0])
    moved_G2 = spread_boxes(place_G2, extent_G2, low, high)
    assert overlaps(moved_G2, extent_G2) == 0
    assert (moved_G2 >= low + extent_G2 / 2).all()
    assert (moved_G2 <= high - extent_G2 / 2).all()


def test_boxes_that_do_not_overlap_stay():
    place_G2 = np.array([[50.0, 50.0], [200.0, 50.0]])
    moved_G2 = spread_boxes(place_G2, np.full((2, 2), 20.0), np.zeros(2), np.full(2, 300.0))
    np.testing.assert_allclose(moved_G2, place_G2, atol=1e-9)


def test_names_avoid_points_and_each_other():
    """Two names at the centre of a dense cluster with free space on one side only."""
    rng = np.random.default_rng(0)
    point_N2 = rng.uniform([100, 0], [300, 300], size=(400, 2))
    place_G2, extent_G2 = np.array([[130.0, 150.0]] * 2), np.tile([40.0, 12.0], (2, 1))
    low, high = np.zeros(2), np.array([300.0, 300.0])
    named_G2 = place_names(place_G2, extent_G2, point_N2, 3.0, low, high)
    apart_GN2 = np.abs(named_G2[:, None] - point_N2) - np.array([20.0, 6.0]) - 3.0
    assert not (apart_GN2 < -1e-9).all(axis=2).any()
    assert overlaps(named_G2, extent_G2) == 0


def test_umap_repeats_and_separates():
    rng = np.random.default_rng(0)
    which = np.repeat([0, 1], 15)
    emb_ND = np.eye(2, 16)[which] * 5 + rng.normal(size=(30, 16)) * 0.3
    first, second = umap_coordinates(emb_ND, seed=1), umap_coordinates(emb_ND, seed=1)
    assert first.shape == (30, 2)
    np.testing.assert_array_equal(first, second)
    within = max(first[which == k].std(axis=0).max() for k in (0, 1))
    between = np.linalg.norm(first[which == 0].mean(0) - first[which == 1].mean(0))
    assert between > 2 * within
    assert np.isfinite(umap_coordinates(emb_ND[:5])).all()


def test_umap_refuses_unsuitable_embeddings():
    with pytest.raises(ValueError, match="at least 5"):
        umap_coordinates(np.zeros((4, 8)))
    with pytest.raises(ValueError, match=r"\(20,\)"):
        umap_coordinates(np.zeros(20))
    with pytest.raises(ValueError, match="not finite"):
        umap_coordinates(np.full((9, 3), np.nan))


def test_maps_side_by_side_share_colours_and_name_all_groups(readable):
    for count in [4, 12]:
        left_N2, which = clusters(count, 10)
        right_N2, _ = clusters(count, 10, seed=1)
        groups = [f"group {k}" for k in which]
        half = len(groups) // 2
        figure = embedding_maps({"one": (left_N2, groups), "two": (right_N2[half:], groups[half:])})
        texts = readable(figure)
        assert {"one", "two", *groups} <= set(texts)
        colours = [
            {tuple(c.get_facecolor()[0]) for c in axes.collections if len(c.get_offsets())}
            for axes in figure.axes
        ]
        assert colours[1] < colours[0]
        with pytest.raises(ValueError, match="groups are 3"):
            embedding_maps({"one": (left_N2, groups[:3])})


@pytest.fixture
def emb_ND():
    return np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)


@pytest.fixture
def mapped(monkeypatch):
    """Seeds and neighbours of the calls of UMAP, replaced by a fast function."""
    calls = []

    def fast(emb_ND, seed, neighbours):
        calls.append((seed, neighbours))
        return (emb_ND[:, :2] * (1 + seed)).astype(np.float32)

    monkeypatch.setattr(embeddings, "umap_coordinates", fast)
    return calls


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


BROKEN = (
    b"",
    b"no array",
    b"\x93NUMPY\x01\x00",
    np.zeros((12, 3), np.float32),
    np.zeros((12, 2), np.float64),
    np.full((12, 2), np.nan, np.float32),
    np.array([{}] * 12, dtype=object),
)


def test_a_broken_file_is_computed_again(emb_ND, mapped, tmp_path, caplog):
    first_N2 = kept_umap(emb_ND, folder=tmp_path)
    (path,) = tmp_path.iterdir()
    for number, content in enumerate(BROKEN):
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            np.save(path, content, allow_pickle=True)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            np.testing.assert_array_equal(kept_umap(emb_ND, folder=tmp_path), first_N2)
        assert len(mapped) == 2 + number
        assert path.name in caplog.text
        np.testing.assert_array_equal(np.load(path, allow_pickle=False), first_N2)


def test_a_folder_that_cannot_be_written_costs_no_map(emb_ND, mapped, tmp_path, caplog):
    (tmp_path / "file").write_text("no folder")
    with caplog.at_level(logging.WARNING):
        assert kept_umap(emb_ND, folder=tmp_path / "file" / "maps").shape == (12, 2)
    assert "cannot be cached" in caplog.text


def test_maps_are_kept_in_the_users_cache(emb_ND, mapped, tmp_path, monkeypatch):
    monkeypatch.setenv("SCALE_CACHE", str(tmp_path))
    kept_umap(emb_ND)
    assert len(list((tmp_path / "maps").iterdir())) == 1


def test_too_few_points_are_refused_and_not_cached(tmp_path):
    with pytest.raises(ValueError, match="at least 5"):
        kept_umap(np.zeros((3, 2)), folder=tmp_path)
    assert not list(tmp_path.iterdir())
