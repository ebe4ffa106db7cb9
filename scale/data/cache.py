"""On-disk cache of media features, keyed by file content and settings, filled in parallel.

L length of a sequence, F features of a vector, T tokens of many sequences, concatenated.
"""

import hashlib
import io
import json
import logging
import multiprocessing
import shutil
import tempfile
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Self

import numpy as np
import torch
from tqdm.auto import tqdm

from scale.config import FeatureConfig
from scale.data.backbones import (
    PICTURES,
    AudioBackbone,
    Backbone,
    VisualBackbone,
    backbone_identity,
    load_backbone,
)
from scale.data.features import extract, features_of, load_media, load_media_and_info
from scale.data.media import MediaError, MediaInfo, read_media_info
from scale.data.tokenizer import write_table
from scale.data.vectors import hash_vectors, is_vectors, map_matrix, read_vectors
from scale.files import (
    NOT_WRITABLE,
    default_cache_folder,
    file_digest,
    load_array,
    replacing,
    split_rows,
)
from scale.modalities import CONTINUOUS
from scale.threads import available_cores, torch_threads

log = logging.getLogger(__name__)

VERSION = 1
"""Part of every key; increase it when the code computes different features from the same file."""

PICTURE, CLIP = ("image_size", "patch_size"), ("video_frames", "frame_size")
SOUND = ("audio_seconds", "audio_frames")
SETTINGS = {
    "image": {"patches": PICTURE, "hog": PICTURE},
    "video": {"frames": CLIP, "hog": CLIP},
    "audio": {"logmel": ("sample_rate", *SOUND, "mel_bins")},
}
"""Settings that the features of a source depend on; cached features stay valid when other settings
change."""
MODEL_SETTINGS = {
    "text": ("text_length",),
    "table": ("table_length",),
    "image": ("backbone_size", "image_grid"),
    "video": ("video_frames", "backbone_size"),
    "audio": SOUND,
}
"""Likewise for the features of a frozen model."""

IN_MEMORY_BYTES = 4 << 30
"""Concatenated features above this size are memory-mapped instead of read."""

_OVERFLOW = Lock()

CHECKSUM_BYTES = 16
AHEAD = 128
"""Files that are decoded ahead of the slowest step."""
TEXTS = 256
"""Texts that are encoded before they are stored."""


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
    source: Path | None = None
    """Rows of a packed matrix (`scale.data.vectors`), which are not copied into the cache."""
    onset: float | None = 0.0
    """As in `MediaInfo`; 0 if the content was not hashed."""


class FeatureCache:
    """A folder of arrays, one file per key: .npy followed by a blake2b checksum.

    Files are written under a temporary name and renamed, so an interruption leaves no partial file
    and several processes may share the folder. A damaged file counts as absent.
    """

    def __init__(self, folder: Path | str | None = None) -> None:
        self.folder = default_cache_folder() if folder is None else Path(folder)
        self.overflow: FeatureCache | None = None
        """Temporary cache of new features, if the folder can only be read."""

    def path(self, key: str) -> Path:
        """Return the path of the file of a key, which need not exist."""
        return self.folder / key[:2] / f"{key}.npy"

    def load(self, key: str) -> np.ndarray | None:
        """Return the array of a key; None if it is absent or damaged."""
        try:
            stored = self.path(key).read_bytes()
        except (FileNotFoundError, PermissionError):
            return None if self.overflow is None else self.overflow.load(key)
        body, checksum = stored[:-CHECKSUM_BYTES], stored[-CHECKSUM_BYTES:]
        if _digest(body) != checksum:
            return None
        return load_array(io.BytesIO(body))

    def store(self, key: str, values: np.ndarray) -> None:
        """Write the array of a key."""
        buffer = io.BytesIO()
        np.save(buffer, values, allow_pickle=False)
        body = buffer.getvalue()
        try:
            with replacing(self.path(key)) as partial:
                partial.write_bytes(body + _digest(body))
        except OSError as error:
            if error.errno not in NOT_WRITABLE:
                raise
            self._temporary().store(key, values)

    def _temporary(self) -> "FeatureCache":
        with _OVERFLOW:
            if self.overflow is None:
                log.warning(
                    "%s cannot be written: features are computed again next time, unless "
                    "SCALE_CACHE names another folder", self.folder,
                )  # fmt: skip
                folder = tempfile.mkdtemp(prefix="scale-cache-")
                weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
                self.overflow = FeatureCache(folder)
            return self.overflow

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
        folder = self.folder if self.overflow is None else self.overflow.folder
        target = folder / "joined" / f"{name}.npy"
        if not target.exists():
            with replacing(target) as partial:
                mapped_TF = np.lib.format.open_memmap(partial, "w+", np.float16, shape)
                self._fill(mapped_TF, items, longest).flush()
        return load_array(target, mmap_mode="c")

    def _fill(
        self, values_TF: np.ndarray, items: Sequence[CachedFeatures], longest: int
    ) -> np.ndarray:
        at = 0
        for item in items:
            if item.source is not None:
                features_LF = _half(read_vectors(item.source), item.source)
            else:
                features_LF = self.load(item.key)
            if features_LF is None:
                raise RuntimeError(f"{self.path(item.key)} was removed while it was in use")
            cut_LF = features_LF[:longest]
            values_TF[at : at + len(cut_LF)] = cut_LF
            at += len(cut_LF)
        return values_TF


def map_packed(
    items: Sequence[CachedFeatures], longest: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the memory map values_TF of a packed matrix and the first row of each item.

    None unless all items are rows of one matrix of float16 and exceed IN_MEMORY_BYTES: then copies
    are faster or needed.
    """
    size = items[0].size
    if 2 * size * sum(min(item.length, longest) for item in items) <= IN_MEMORY_BYTES:
        return None
    places = [split_rows(item.source) for item in items if item.source is not None]
    files = {file for file, _ in places}
    if len(places) < len(items) or len(files) > 1:
        return None
    values_TF = map_matrix(files.pop())
    if values_TF.dtype != np.float16 or not values_TF.flags.c_contiguous:
        return None
    return values_TF, np.array([rows.start for _, rows in places if rows is not None])


def compute_features(
    jobs: Iterable[FeatureJob],
    config: FeatureConfig,
    cache: FeatureCache,
    workers: int | None = None,
    products: Iterable[Iterable[FeatureJob]] | None = None,
) -> dict[FeatureJob, CachedFeatures | MediaError]:
    """Extract the features of every job into the cache; return them, or the error, by job.

    Uses threads, because decoders, resizing and models release the GIL and scripts then need no
    `if __name__ == "__main__"`. `workers` defaults to the number of cores; 1 works in the calling
    thread. On the CPU each thread encodes the files that it decodes, on one core; on a GPU, models
    run in the calling thread, in batches. Finished files are stored at once, so interrupted work
    continues where it stopped. Failures are not stored; the next call retries them.

    products: the jobs of each product, for the progress bar; by default it counts files.
    """
    jobs = list(dict.fromkeys(jobs))
    extractor = _Extractor(config, cache)
    results: dict[FeatureJob, CachedFeatures | MediaError] = {}
    waiting: dict[str, list[_Decoded]] = {}
    workers = min(workers or available_cores(), len(jobs))

    with _ProductBar(jobs, products) as bar, one_core_threads(workers) as pool:

        def encode(modality: str) -> None:
            found = extractor.encode(modality, waiting.pop(modality, []))
            results.update(found)
            bar.finish(found)

        try:
            for job, found in zip(jobs, _map(pool, extractor.extract, jobs), strict=True):
                if isinstance(found, _Decoded):
                    waiting.setdefault(job.modality, []).append(found)
                    if len(waiting[job.modality]) == PICTURES:
                        encode(job.modality)
                else:
                    results[job] = found
                    bar.finish([job])
            for modality in list(waiting):
                encode(modality)
        finally:
            extractor.release()
    return results


@contextmanager
def one_core_threads(workers: int) -> Iterator[ThreadPoolExecutor | None]:
    """Yield a pool of threads whose PyTorch operations use one core each; None if it would be one.

    Independent operations need no synchronisation, which several cores for one operation do.
    """
    if workers < 2:
        yield None
        return
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    # The number in the workers is also that of threads that start later.
    with torch_threads(torch.get_num_threads()):
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


def _map(pool: Executor | None, function: Callable, values: Sequence) -> Iterator:
    """Yield function(value) in order; a pool is at most AHEAD values ahead, to bound memory."""
    if pool is None:
        yield from map(function, values)
        return
    running = deque(pool.submit(function, value) for value in values[:AHEAD])
    for value in values[AHEAD:]:
        yield running.popleft().result()
        running.append(pool.submit(function, value))
    while running:
        yield running.popleft().result()


def _progress(total: int, name: str, unit: str) -> tqdm:
    # In a worker process, the parent shows the progress.
    silent = multiprocessing.parent_process() is not None
    return tqdm(total=total, desc=name, unit=unit, delay=1, disable=silent)


class _ProductBar:
    """A progress bar of the products whose files are finished."""

    def __init__(
        self, jobs: Sequence[FeatureJob], products: Iterable[Iterable[FeatureJob]] | None
    ) -> None:
        groups = [set(group) for group in products] if products else [{job} for job in jobs]
        self.left = [len(group) for group in groups]
        self.users: dict[FeatureJob, list[int]] = {}
        for number, group in enumerate(groups):
            for job in group:
                self.users.setdefault(job, []).append(number)
        unit = " products" if products else " files"
        self.bar = _progress(sum(left > 0 for left in self.left), "features", unit)

    def finish(self, jobs: Iterable[FeatureJob]) -> None:
        """Count finished jobs."""
        for job in jobs:
            for number in self.users[job]:
                self.left[number] -= 1
                if self.left[number] == 0:
                    self.bar.update()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()


@dataclass(frozen=True)
class _Decoded:
    """A media file that a frozen model has to encode."""

    job: FeatureJob
    key: str
    content: str
    onset: float | None
    prepared: Any


class _Extractor:
    """Extracts the features of one job at a time; loads a model when the first job needs it."""

    def __init__(self, config: FeatureConfig, cache: FeatureCache) -> None:
        self.config, self.cache = config, cache
        self.settings = {m: feature_settings(m, config) for m in CONTINUOUS}
        self.used: set[Backbone] = set()
        self.locks = [Lock() for _ in range(256)]
        """By the first byte of a file's hash: equal files are extracted one after the other, hence
        once."""

    def extract(self, job: FeatureJob) -> CachedFeatures | MediaError | _Decoded:
        """Return cached features, or compute them; on a GPU, files for a model are only decoded."""
        if split_rows(job.path)[1] is not None:
            return self._packed(job)
        try:
            digest = file_digest(job.path).hex()
        except OSError as error:
            return MediaError(job.path, f"unreadable: {error.strerror}")
        try:
            with self.locks[int(digest[:2], 16)]:
                return self._extract(job, digest)
        except MediaError as error:
            return error

    def _extract(self, job: FeatureJob, digest: str) -> CachedFeatures | _Decoded:
        key = _key(digest, self.settings[job.modality])
        features_LF = self.cache.load(key)
        content, onset = self._content(job, digest)
        if features_LF is None:
            if getattr(self.config, f"{job.modality}_features") == "file":
                features_LF = extract(job.modality, job.path, self.config)
            else:
                if content is None:
                    media, info = load_media_and_info(job.modality, job.path, self.config)
                    content, onset = self._store_content(job, digest, info)
                else:
                    media = load_media(job.modality, job.path, self.config)
                backbone = self._backbone(job.modality)
                if backbone and not backbone.on_cpu:
                    prepared = backbone.prepare(job.modality, media)
                    return _Decoded(job, key, content, onset, prepared)
                features_LF = features_of(job.modality, media, self.config, backbone)
            features_LF = _half(features_LF, job.path)
            self.cache.store(key, features_LF)
        elif content is None:
            info = read_media_info(job.modality, job.path)
            content, onset = self._store_content(job, digest, info)
        return CachedFeatures(key, *features_LF.shape, content, onset=onset)

    def encode(
        self, modality: str, decoded: Sequence[_Decoded]
    ) -> dict[FeatureJob, CachedFeatures | MediaError]:
        """Encode and store the features of some files of a modality; return them by job."""
        distinct = {found.key: found for found in decoded}
        prepared = [found.prepared for found in distinct.values()]
        encoded = self._backbone(modality).encode(modality, prepared, self.config)
        made = dict(zip(distinct, encoded, strict=True))
        results: dict[FeatureJob, CachedFeatures | MediaError] = {}
        for found in decoded:
            try:
                half_LF = _half(made[found.key], found.job.path)
            except MediaError as error:
                results[found.job] = error
                continue
            if distinct[found.key] is found:
                self.cache.store(found.key, half_LF)
            results[found.job] = CachedFeatures(
                found.key, *half_LF.shape, found.content, onset=found.onset
            )
        return results

    def release(self) -> None:
        """Free the memory of the device."""
        for backbone in self.used:
            backbone.release()

    def _packed(self, job: FeatureJob) -> CachedFeatures | MediaError:
        """Check and hash rows of a packed matrix, which stay there."""
        try:
            features_LF = _half(extract(job.modality, job.path, self.config), job.path)
        except MediaError as error:
            return error
        digest = hash_vectors(features_LF)
        key = _key(digest, self.settings[job.modality])
        content = digest if job.hashed else ""
        return CachedFeatures(key, *features_LF.shape, content, source=job.path)

    def _content(self, job: FeatureJob, digest: str) -> tuple[str | None, float | None]:
        """Return the hash of the decoded content, None if it must be computed, and the onset."""
        if not job.hashed:
            return "", 0.0
        if is_vectors(job.path):
            return digest, 0.0
        stored = self.cache.load(_key(digest, {"content": job.modality}))
        content, _, onset = ("" if stored is None else str(stored)).partition(" ")
        # Entries of earlier versions have no onset.
        if not onset:
            return None, None
        return content, None if onset == "None" else float(onset)

    def _store_content(
        self, job: FeatureJob, digest: str, info: MediaInfo
    ) -> tuple[str, float | None]:
        onset = "None" if info.onset is None else repr(info.onset)
        key = _key(digest, {"content": job.modality})
        self.cache.store(key, np.array(f"{info.content} {onset}"))
        return info.content, info.onset

    def _backbone(self, modality: str) -> VisualBackbone | AudioBackbone | None:
        """Return the model of a modality, None if its features need none."""
        if not self.config.backbone(modality):
            return None
        backbone = load_backbone(modality, self.config)
        self.used.add(backbone)
        return backbone


def compute_text_features(
    modality: str, values: Sequence[Any], config: FeatureConfig, cache: FeatureCache
) -> tuple[list[CachedFeatures], list[np.ndarray]]:
    """Encode titles or tables with a frozen model, in batches, into the cache.

    Returns, by value, the cached features and number_2L (int32): for each vector the entity of a
    table (as `Tokens.entity_RL`; -1 for titles) and the word piece (as `Tokens.pieces_RL`). Equal
    values share cached features.
    """
    keys = {value: _text_key(value, modality, config) for value in dict.fromkeys(values)}
    found = {value: _load_text(cache, key) for value, key in keys.items()}
    # Texts of similar length are encoded together.
    todo = sorted((v for v in keys if found[v] is None), key=lambda value: len(str(value)))
    if todo:
        backbone = load_backbone(modality, config)
        try:
            workers = min(available_cores(), len(todo)) if backbone.on_cpu else 1
            bar = _progress(len(todo), modality, " texts")
            with bar, one_core_threads(workers) as pool:
                for at in range(0, len(todo), TEXTS):
                    part = todo[at : at + TEXTS]
                    encoded = _encode_texts(modality, part, config, backbone, pool)
                    for value, (features_LF, number_2L) in zip(part, encoded, strict=True):
                        cache.store(_number_key(keys[value]), number_2L)
                        cache.store(keys[value], features_LF)
                        item = CachedFeatures(keys[value], *features_LF.shape, "")
                        found[value] = item, number_2L
                    bar.update(len(part))
        finally:
            backbone.release()
    return [found[value][0] for value in values], [found[value][1] for value in values]


def _text_key(value: Any, modality: str, config: FeatureConfig) -> str:
    digest = _digest(json.dumps(value).encode()).hex()
    return _key(digest, feature_settings(modality, config))


def _number_key(key: str) -> str:
    return _digest(f"entities and word pieces of {key}".encode()).hex()


def _load_text(cache: FeatureCache, key: str) -> tuple[CachedFeatures, np.ndarray] | None:
    features_LF, number_2L = cache.load(key), cache.load(_number_key(key))
    if features_LF is None or number_2L is None:
        return None
    return CachedFeatures(key, *features_LF.shape, ""), number_2L


def _encode_texts(
    modality: str,
    values: Sequence[Any],
    config: FeatureConfig,
    backbone: Any,
    pool: Executor | None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield features_LF (float16) and number_2L of each title or table."""
    written = [(v, np.full(len(v), -1, np.int16)) if isinstance(v, str) else write_table(v)
               for v in values]  # fmt: skip
    if modality == "table" and not backbone.tokenizer.is_fast:
        raise ValueError(
            f"table_features {backbone.name!r}: its tokenizer does not locate tokens in the text"
        )
    length = getattr(config, f"{modality}_length")
    encoded = backbone.encode_texts([text for text, _ in written], length, pool)
    for (text, entity_C), found in zip(written, encoded, strict=True):
        # The last entry is for vectors of the whole text, whose index is -1.
        entity_L = np.append(entity_C, np.int16(-1))[found.last_L]
        half_LF = _half(found.vectors_LF, f"{modality} {text[:40]!r}")
        yield half_LF, np.stack([entity_L, found.piece_L]).astype(np.int32)


def _half(features_LF: np.ndarray, path: Path | str) -> np.ndarray:
    """Convert features to float16; raise MediaError if a value does not fit."""
    # Values beyond float16 become infinite, which is checked below.
    with np.errstate(over="ignore"):
        half_LF = features_LF.astype(np.float16)
    if not np.isfinite(half_LF).all():
        raise MediaError(path, "non-finite features: a value does not fit into float16")
    return half_LF


def feature_settings(modality: str, config: FeatureConfig) -> dict[str, object]:
    """Return the settings that the features of a modality depend on: part of their key."""
    source, model = getattr(config, f"{modality}_features"), config.backbone(modality)
    names = MODEL_SETTINGS[modality] if model else SETTINGS[modality].get(source, ())
    settings = {n: getattr(config, n) for n in names}
    if model:
        source = backbone_identity(source)
        # Absent at 0, so that features of earlier versions stay valid.
        settings = {n: value for n, value in settings.items() if value}
    return {"modality": modality, "source": source, **settings}


def _key(digest: str, settings: dict[str, object]) -> str:
    text = json.dumps([VERSION, digest, settings], sort_keys=True)
    return _digest(text.encode()).hex()


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=CHECKSUM_BYTES).digest()
