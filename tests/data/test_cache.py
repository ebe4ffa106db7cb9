"""The feature cache: keys, damage, interruption, failures, joining."""

import errno
import gc
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scale import files
from scale.config import FeatureConfig
from scale.data import backbones
from scale.data import cache as cache_module
from scale.data.cache import (
    FeatureCache,
    FeatureJob,
    compute_features,
    default_cache_folder,
    feature_settings,
)
from scale.data.features import extract, load_media
from scale.data.media import MediaError
from scale.files import file_digest, load_array
from tests.processes import start

CONFIG = FeatureConfig(image_size=16, patch_size=8)


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "cache")


@pytest.fixture
def jobs(tmp_path):
    """Six pictures of different colours, without content hashes."""
    for i in range(6):
        Image.new("RGB", (20, 10), (40 * i, 0, 0)).save(tmp_path / f"{i}.png")
    return [FeatureJob("image", tmp_path / f"{i}.png", hashed=False) for i in range(6)]


@pytest.fixture
def decoded(monkeypatch):
    """Paths in the order in which they are decoded."""
    paths = []

    def counted(modality, path, *rest):
        paths.append(path)
        return load_media(modality, path, *rest)

    monkeypatch.setattr(cache_module, "load_media", counted)
    return paths


def test_default_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("SCALE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_cache_folder() == Path.home() / ".cache" / "scale"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / "scale"
    monkeypatch.setenv("SCALE_CACHE", str(tmp_path / "mine"))
    assert FeatureCache().folder == tmp_path / "mine"


def test_arrays_are_kept_and_nothing_is_pickled(cache):
    values = np.arange(6, dtype=np.float16).reshape(2, 3)
    assert cache.load("ab12") is None
    cache.store("ab12", values)
    assert np.array_equal(cache.load("ab12"), values)
    assert np.array_equal(np.load(cache.path("ab12"), allow_pickle=False), values)
    with pytest.raises(ValueError, match="allow_pickle"):
        cache.store("cd34", np.array([{}], dtype=object))


def test_a_damaged_file_counts_as_absent(cache):
    for damage in ("cut", "flipped", "empty", "longer"):
        cache.store("ab12", np.arange(100, dtype=np.float16))
        stored = bytearray(cache.path("ab12").read_bytes())
        stored[150] ^= damage == "flipped"
        after = {"cut": stored[:-40], "flipped": stored, "empty": b"", "longer": stored + b"x"}
        cache.path("ab12").write_bytes(after[damage])
        assert cache.load("ab12") is None
        assert cache.get_or_compute("ab12", lambda: np.ones(2)).tolist() == [1, 1]
        assert cache.load("ab12").tolist() == [1, 1]


def test_a_failed_write_leaves_nothing(cache, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        cache.store("ab12", np.ones(2))
    assert list(cache.folder.rglob("*.*")) == []


def test_only_the_settings_of_a_modality_change_its_key():
    def changed(**other):
        new = FeatureConfig(**{"image_size": 16, "patch_size": 8} | other)
        names = ("image", "video", "audio")
        return {m for m in names if feature_settings(m, new) != feature_settings(m, CONFIG)}

    assert changed(patch_size=4) == {"image"}
    assert changed(video_frames=3) == changed(frame_size=3) == {"video"}
    assert changed(mel_bins=3) == changed(audio_seconds=3.0) == {"audio"}
    assert changed(image_features="file") == {"image"}
    assert changed(text_length=9, vocab_size=99) == set()
    assert changed(image_features="vit", image_grid=2) == {"image"}
    assert changed(audio_features="wav2vec") == {"audio"}


@pytest.mark.parametrize("workers", [1, 3])
def test_every_file_is_decoded_once(cache, jobs, decoded, workers):
    first = compute_features([*jobs, jobs[0]], CONFIG, cache, workers)
    assert sorted(decoded) == [job.path for job in jobs]
    assert compute_features(jobs, CONFIG, cache, workers) == first
    assert len(decoded) == len(jobs)
    for job in jobs:
        expected = extract("image", job.path, CONFIG).astype(np.float16)
        assert np.array_equal(cache.load(first[job].key), expected)
        assert (first[job].length, first[job].size) == expected.shape
    compute_features(jobs, FeatureConfig(image_size=32, patch_size=8), cache, workers)
    assert len(decoded) == 2 * len(jobs)


def test_a_copy_or_a_renamed_file_is_not_decoded_again(cache, jobs, decoded, tmp_path):
    compute_features(jobs, CONFIG, cache, 1)
    jobs[0].path.rename(tmp_path / "other.png")
    compute_features([FeatureJob("image", tmp_path / "other.png", hashed=False)], CONFIG, cache, 1)
    assert len(decoded) == len(jobs)


def test_equal_files_are_decoded_once_by_several_threads(cache, jobs, decoded, tmp_path):
    jobs = [
        jobs[0],
        *(FeatureJob("image", tmp_path / f"copy{i}.png", hashed=False) for i in range(9)),
    ]
    for job in jobs[1:]:
        job.path.write_bytes(jobs[0].path.read_bytes())
    threads = torch.get_num_threads()
    results = compute_features(jobs, CONFIG, cache, 4)
    assert len(decoded) == 1
    assert len(set(results.values())) == 1
    assert torch.get_num_threads() == threads


def test_a_product_is_finished_with_its_last_file(cache, jobs, monkeypatch):
    steps = []
    monkeypatch.setattr(cache_module.tqdm, "update", lambda bar: steps.append(bar.unit))
    compute_features(jobs, CONFIG, cache, 1, products=[jobs[:2], jobs[2:4], jobs[3:]])
    assert steps == [" products"] * 3


def test_unchanged_files_are_read_once(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    first, hits = file_digest(path), files._file_digest.cache_info().hits
    # Too recent: a change might have the same time.
    assert file_digest(path) == first
    assert files._file_digest.cache_info().hits == hits
    monkeypatch.setattr(files, "TIME_RESOLUTION", 0)
    assert file_digest(path) == file_digest(path) == first
    assert files._file_digest.cache_info().hits == hits + 1
    state = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert file_digest(path) != first


@pytest.mark.parametrize("workers", [1, 2])
def test_interrupted_work_continues(cache, jobs, monkeypatch, workers):
    calls = []

    def stopped(modality, path, *rest):
        calls.append(path)
        if path == jobs[3].path:
            raise KeyboardInterrupt
        return load_media(modality, path, *rest)

    monkeypatch.setattr(cache_module, "load_media", stopped)
    with pytest.raises(KeyboardInterrupt):
        compute_features(jobs, CONFIG, cache, workers)
    kept = len(list(cache.folder.rglob("*.npy")))
    assert kept >= 3
    monkeypatch.setattr(cache_module, "load_media", lambda *a: calls.append(a[1]) or load_media(*a))
    calls.clear()
    compute_features(jobs, CONFIG, cache, workers)
    assert len(calls) == len(jobs) - kept
    assert jobs[3].path in calls


def compute_slowly(cache, jobs):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache_module, "load_media", lambda *a: (time.sleep(0.3), load_media(*a))[1])
        compute_features(jobs, CONFIG, cache, 1)


def test_killed_work_continues(cache, jobs, decoded, tmp_path):
    unhashed = [replace(job, hashed=False) for job in jobs]
    process = start(compute_slowly, cache, unhashed, log=tmp_path / "log")
    deadline = time.monotonic() + 60
    while len(list(cache.folder.rglob("[!.]*.npy"))) < 2:
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.join()
    kept = len(list(cache.folder.rglob("[!.]*.npy")))
    assert 2 <= kept < len(jobs)
    results = compute_features(jobs, CONFIG, cache, 1)
    assert len(decoded) == len(jobs) - kept
    assert all(cache.load(item.key) is not None for item in results.values())


def test_a_failure_is_reported_and_tried_again(cache, jobs):
    broken = jobs[2].path
    good = broken.read_bytes()
    broken.write_bytes(good[: len(good) // 2])
    jobs = [*jobs, FeatureJob("image", broken.with_name("none.png"))]
    results = compute_features(jobs, CONFIG, cache, 2)
    failed = [job for job in jobs if isinstance(results[job], MediaError)]
    assert failed == [jobs[2], jobs[-1]]
    assert results[jobs[2]].path == broken
    assert "does not decode" in results[jobs[2]].reason
    assert "unreadable" in results[jobs[-1]].reason
    broken.write_bytes(good)
    assert not isinstance(compute_features(jobs, CONFIG, cache, 2)[jobs[2]], MediaError)


def test_a_value_beyond_float16_is_refused(cache, jobs, monkeypatch):
    monkeypatch.setattr(cache_module, "features_of", lambda *_: np.full((2, 2), 1e6, np.float32))
    result = compute_features(jobs[:1], CONFIG, cache, 1)[jobs[0]]
    assert "does not fit into float16" in result.reason
    assert list(cache.folder.rglob("*.npy")) == []


def test_content_is_that_of_the_pixels_and_only_on_demand(cache, tmp_path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8))
    for name in ("a.png", "b.bmp"):
        picture.save(tmp_path / name)
    picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "c.png")
    jobs = [FeatureJob("image", tmp_path / name) for name in ("a.png", "b.bmp", "c.png")]
    results = compute_features(jobs, CONFIG, cache, 1)
    a, b, c = (results[job].content for job in jobs)
    assert a == b != c
    unhashed = FeatureJob("image", tmp_path / "a.png", hashed=False)
    assert compute_features([unhashed], CONFIG, cache, 1)[unhashed].content == ""


def test_feature_files_are_cached_as_they_are(cache, tmp_path):
    values = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float16)
    np.save(tmp_path / "x.npy", values)
    job = FeatureJob("video", tmp_path / "x.npy")
    ready = compute_features([job], FeatureConfig(video_features="file"), cache, 1)[job]
    assert np.array_equal(cache.load(ready.key), values)
    assert ready.content


@pytest.mark.parametrize("limit", [0, 1 << 30])
def test_concatenated_items_are_consecutive(cache, jobs, monkeypatch, limit):
    monkeypatch.setattr(cache_module, "IN_MEMORY_BYTES", limit)
    results = compute_features(jobs, CONFIG, cache, 1)
    items = [results[job] for job in jobs]
    for longest in (4, 3):
        joined = cache.concatenate(items, longest)
        expected = np.concatenate([cache.load(item.key)[:longest] for item in items])
        assert np.array_equal(joined, expected)
        assert isinstance(joined, np.memmap) == (limit == 0)
        assert np.array_equal(cache.concatenate(items, longest), expected)


def test_a_timm_model_is_loaded_only_when_it_is_needed(cache, jobs, monkeypatch, tmp_path):
    import timm
    from timm.models import save_for_hf

    folder = tmp_path / "vit"
    size = {"input_size": (3, 32, 32)}
    model = timm.create_model("test_vit", img_size=32)
    save_for_hf(model, folder, safe_serialization=True, data_config=size)
    config = FeatureConfig(image_features=str(folder))
    loads = []
    real = backbones.load_timm
    monkeypatch.setattr(backbones, "load_timm", lambda name: loads.append(name) or real(name))
    results = compute_features(jobs, config, cache, 2)
    assert {(r.length, r.size) for r in results.values()} == {(4, model.num_features)}
    assert loads == [str(folder)]
    assert compute_features(jobs, config, cache, 2) == results
    assert len(loads) == 1
    save_for_hf(timm.create_model("test_vit", img_size=32), folder, safe_serialization=True)
    assert compute_features(jobs[:1], config, cache, 1)[jobs[0]] != results[jobs[0]]


def test_arrays_load_in_threads_while_finalizers_run(tmp_path):
    """A switch of threads within the parsing of a header is harmless (python/cpython#106905)."""

    class Cycle:
        def __init__(self):
            self.itself = self

        def __del__(self):
            sum(range(200))

    def load_often(_):
        for _ in range(1000):
            Cycle()
            load_array(tmp_path / "values.npy")

    np.save(tmp_path / "values.npy", np.zeros((4, 12), np.float16))
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(20)
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(load_often, range(4)))
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*thresholds)


def test_a_folder_that_can_only_be_read_is_no_obstacle(jobs, tmp_path, monkeypatch, caplog):
    """A colleague's cache, or the home folder of a container: new features are temporary."""
    folder = tmp_path / "cache"
    (first,) = compute_features(jobs[:1], CONFIG, FeatureCache(folder)).values()
    replacing = cache_module.replacing

    def refusing(target):
        if target.is_relative_to(folder):
            raise PermissionError(errno.EACCES, "Permission denied", str(target))
        return replacing(target)

    monkeypatch.setattr(cache_module, "replacing", refusing)
    cache = FeatureCache(folder)
    found = compute_features(jobs, CONFIG, cache, workers=3)
    assert found[jobs[0]] == first
    values_TF = cache.concatenate(list(found.values()), 99)
    assert len(values_TF) == sum(item.length for item in found.values())
    assert caplog.text.count("SCALE_CACHE") == 1
    temporary = cache.overflow.folder
    assert len(list(temporary.rglob("*.npy"))) == 5
    del cache, values_TF
    gc.collect()
    assert not temporary.exists()
