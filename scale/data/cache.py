"""On-disk cache of media features, keyed by file content and settings, filled in parallel.

L length of a sequence, F features of a vector, T tokens of many sequences, concatenated.
"""

import hashlib
import io
import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from scale.config import FeatureConfig
from scale.data.features import Backbone, backbone_identity, extract
from scale.data.media import MediaError, content_hash
from scale.files import replacing

VERSION = 1
"""Part of every key; increase it when the code computes different features from the same file."""

PICTURE, CLIP = ("image_size", "patch_size"), ("video_frames", "frame_size")
OWN_SOURCES = {
    "image": {"patches": PICTURE, "hog": PICTURE},
    "video": {"frames": CLIP, "hog": CLIP},
    "audio": {"logmel": ("sample_rate", "audio_seconds", "audio_frames", "mel_bins")},
}
"""Feature sources that need neither a model nor a feature file, and the settings they depend on;
cached features stay valid when other settings change."""

IN_MEMORY_BYTES = 4 << 30
"""Concatenated features above this size are memory-mapped instead of read."""

CHECKSUM_BYTES = 16
FILES_AT_ONCE = 4096


@dataclass(frozen=True)
class FeatureJob:
    """One media file to extract features from."""

    modality: str
    path: Path
    hashed: bool = True
    """Whether to hash the decoded content too, which decodes the file again."""


@dataclass(frozen=True)
class CachedFeatures:
    """Features of a media file in the cache: `length` vectors of `size`."""

    key: str
    length: int
    size: int
    content: str
    """Hash of the decoded content; empty if not requested."""


class FeatureCache:
    """A folder of arrays, one file per key: .npy followed by a blake2b checksum.

    Files are written under a temporary name and renamed, so an interruption leaves no partial file
    and several processes may share the folder. A damaged file counts as absent.
    """

    def __init__(self, folder: Path | str | None = None) -> None:
        self.folder = default_folder() if folder is None else Path(folder)

    def path(self, key: str) -> Path:
        """Return the path of the file of a key, which need not exist."""
        return self.folder / key[:2] / f"{key}.npy"

    def load(self, key: str) -> np.ndarray | None:
        """Return the array of a key; None if it is absent or damaged."""
        try:
            stored = self.path(key).read_bytes()
        except FileNotFoundError:
            return None
        body, checksum = stored[:-CHECKSUM_BYTES], stored[-CHECKSUM_BYTES:]
        if _digest(body) != checksum:
            return None
        return np.load(io.BytesIO(body), allow_pickle=False)

    def store(self, key: str, values: np.ndarray) -> None:
        """Write the array of a key."""
        buffer = io.BytesIO()
        np.save(buffer, values, allow_pickle=False)
        body = buffer.getvalue()
        with replacing(self.path(key)) as partial:
            partial.write_bytes(body + _digest(body))

    def get_or_compute(self, key: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the array of a key; compute and store it if it is absent."""
        values = self.load(key)
        if values is None:
            values = compute()
            self.store(key, values)
        return values

    def concatenate(self, items: Sequence[CachedFeatures], longest: int) -> np.ndarray:
        """Return values_TF (float16): the first `longest` vectors of each item, concatenated.

        In memory up to IN_MEMORY_BYTES, otherwise a copy-on-write memory map of a file in the
        cache folder.
        """
        shape = sum(min(item.length, longest) for item in items), items[0].size
        if 2 * shape[0] * shape[1] <= IN_MEMORY_BYTES:
            return self._fill(np.empty(shape, np.float16), items, longest)
        name = _digest(json.dumps([VERSION, longest, [item.key for item in items]]).encode()).hex()
        target = self.folder / "joined" / f"{name}.npy"
        if not target.exists():
            with replacing(target) as partial:
                mapped_TF = np.lib.format.open_memmap(partial, "w+", np.float16, shape)
                self._fill(mapped_TF, items, longest).flush()
        return np.load(target, mmap_mode="c", allow_pickle=False)

    def _fill(
        self, values_TF: np.ndarray, items: Sequence[CachedFeatures], longest: int
    ) -> np.ndarray:
        at = 0
        for item in items:
            features_LF = self.load(item.key)
            if features_LF is None:
                raise RuntimeError(f"{self.path(item.key)} was removed while it was in use")
            cut_LF = features_LF[:longest]
            values_TF[at : at + len(cut_LF)] = cut_LF
            at += len(cut_LF)
        return values_TF


def default_folder() -> Path:
    """Return $SCALE_CACHE, or else $XDG_CACHE_HOME/scale, or else ~/.cache/scale."""
    if os.environ.get("SCALE_CACHE"):
        return Path(os.environ["SCALE_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scale"


def compute_features(
    jobs: Iterable[FeatureJob],
    config: FeatureConfig,
    cache: FeatureCache,
    workers: int | None = None,
) -> dict[FeatureJob, CachedFeatures | MediaError]:
    """Extract the features of every job into the cache; return them, or the error, by job.

    Uses threads, because decoders, resizing and models release the GIL and scripts then need no
    `if __name__ == "__main__"`. `workers` defaults to the number of cores; 1 works in the calling
    thread. Each finished file is stored at once, so interrupted work continues where it stopped.
    Failures are not stored; the next call retries them.
    """
    jobs = list(dict.fromkeys(jobs))
    extractor = _Extractor(config, cache)
    results: dict[FeatureJob, CachedFeatures | MediaError] = {}
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    # In a worker process, the parent shows the progress.
    silent = multiprocessing.parent_process() is not None
    with tqdm(total=len(jobs), desc="features", unit=" files", delay=1, disable=silent) as bar:
        pool = ThreadPoolExecutor(workers) if workers > 1 else None
        try:
            for at in range(0, len(jobs), FILES_AT_ONCE):
                chunk = jobs[at : at + FILES_AT_ONCE]
                made = pool.map(extractor.extract, chunk) if pool else map(extractor.extract, chunk)
                for job, result in zip(chunk, made, strict=True):
                    results[job] = result
                    bar.update()
        finally:
            if pool:
                pool.shutdown(cancel_futures=True)
    return results


class _Extractor:
    """Extracts the features of one job at a time; loads a model when the first job needs it."""

    def __init__(self, config: FeatureConfig, cache: FeatureCache) -> None:
        self.config, self.cache = config, cache
        self.settings = {m: feature_settings(m, config) for m in OWN_SOURCES}
        self.models: dict[str, Backbone] = {}
        self.lock = threading.Lock()

    def extract(self, job: FeatureJob) -> CachedFeatures | MediaError:
        try:
            with job.path.open("rb") as file:
                digest = hashlib.file_digest(file, "blake2b").hexdigest()
        except OSError as error:
            return MediaError(job.path, f"unreadable: {error.strerror}")
        key = _key(digest, self.settings[job.modality])
        try:
            features_LF = self.cache.get_or_compute(key, lambda: self._features(job))
            content = self._content(job, digest) if job.hashed else ""
        except MediaError as error:
            return error
        return CachedFeatures(key, *features_LF.shape, content)

    def _features(self, job: FeatureJob) -> np.ndarray:
        features_LF = extract(job.modality, job.path, self.config, self._model(job.modality))
        # Values beyond float16 become infinite, which is checked below.
        with np.errstate(over="ignore"):
            half_LF = features_LF.astype(np.float16)
        if not np.isfinite(half_LF).all():
            raise MediaError(job.path, "non-finite features: a value does not fit into float16")
        return half_LF

    def _content(self, job: FeatureJob, digest: str) -> str:
        if job.path.suffix == ".npy":
            return digest
        key = _key(digest, {"content": job.modality})
        found = self.cache.get_or_compute(
            key, lambda: np.array(content_hash(job.modality, job.path))
        )
        return str(found)

    def _model(self, modality: str) -> Backbone | None:
        source = getattr(self.config, f"{modality}_features")
        if source in OWN_SOURCES[modality] or source == "file":
            return None
        with self.lock:
            if source not in self.models:
                self.models[source] = Backbone(source)
            return self.models[source]


def feature_settings(modality: str, config: FeatureConfig) -> dict[str, object]:
    """Return the settings that the features of a modality depend on: part of their key."""
    source = getattr(config, f"{modality}_features")
    names = OWN_SOURCES[modality].get(source, ())
    if source not in OWN_SOURCES[modality] and source != "file":
        if modality == "audio":
            raise ValueError(f"audio_features is {source!r}; known: logmel, file")
        names = ("video_frames",) if modality == "video" else ()
        source = backbone_identity(source)
    return {"modality": modality, "source": source, **{n: getattr(config, n) for n in names}}


def _key(digest: str, settings: dict[str, object]) -> str:
    text = json.dumps([VERSION, digest, settings], sort_keys=True)
    return _digest(text.encode()).hex()


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=CHECKSUM_BYTES).digest()
