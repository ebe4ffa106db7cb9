"""Damaged media as token vectors, and their place in a dataset's columns.

R products that are damaged, N products, T frames of a clip, H, W, C height, width and colours of a
picture, S samples, L length of a sequence, F features of a vector.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from scale.config import FeatureConfig
from scale.data.backbones import Backbone
from scale.data.cache import OWN_SOURCES, VERSION, FeatureCache, feature_settings
from scale.data.columns import Column
from scale.data.features import features_of, load_media, scale_picture
from scale.data.media import MediaError
from scale.studies.signals import FRAMES, PICTURES, SOUNDS

NOISE_VERSION = 1
"""Part of every key: raise it when a damage function gives other signals."""


@dataclass(frozen=True)
class Step:
    """One damage to the content of one product."""

    kind: str
    """Key of `signals.PICTURES`, `FRAMES` or `SOUNDS`, or of `words.WORDS`."""
    strength: float
    seed: int
    """Of the product; 0 where the kind draws nothing, so that all seeds share cached features."""


@dataclass(frozen=True)
class DamageJob:
    """A media file and what is done to it, in order, before features are taken."""

    path: Path
    steps: tuple[Step, ...]


def damage_signal(signal: np.ndarray, steps: Sequence[Step]) -> np.ndarray:
    """frames_THWC (a picture is a clip of one frame) or sound_S after all steps."""
    for step in steps:
        random = np.random.default_rng(step.seed)
        if step.kind in PICTURES:
            change = PICTURES[step.kind]
            signal = np.stack([change(frame, step.strength, random) for frame in signal])
        else:
            change = (FRAMES | SOUNDS)[step.kind]
            signal = change(signal, step.strength, random)
    return signal


def damaged_features(
    modality: str,
    jobs: Sequence[DamageJob],
    config: FeatureConfig,
    cache: FeatureCache,
    workers: int | None = None,
) -> list[np.ndarray]:
    """features_LF (float16) of each job, from the cache or computed in threads and kept there.

    Pictures and frames are damaged at the size that the features see (`image_size`, `frame_size`,
    or the input size of a timm model), without the white that pads them to a square. Raises
    MediaError where a file cannot be used, ValueError where features come from files.
    """
    source = getattr(config, f"{modality}_features")
    if source == "file":
        raise ValueError(
            f"{modality}_features is 'file': there is no {modality} to damage, only its features"
        )
    settings = feature_settings(modality, config)
    keys = {job: _key(job, settings) for job in jobs}
    features = {job: cache.load(key) for job, key in keys.items()}
    missing = [job for job, found in features.items() if found is None]
    if missing:
        backbone = None if source in OWN_SOURCES[modality] else Backbone(source)
        make = partial(_compute, modality, config=config, backbone=backbone)
        with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
            made = pool.map(lambda job: cache.fetch(keys[job], lambda: make(job)), missing)
            features |= zip(missing, made, strict=True)
    return [features[job] for job in jobs]


def _compute(
    modality: str, job: DamageJob, *, config: FeatureConfig, backbone: Backbone | None
) -> np.ndarray:
    signal = fitted_signal(modality, job.path, config, backbone)
    damaged = damage_signal(signal, job.steps)
    return signal_features(modality, damaged, job.path, config, backbone)


def fitted_signal(
    modality: str, path: Path, config: FeatureConfig, backbone: Backbone | None = None
) -> np.ndarray:
    """What damage takes: frames_THWC (uint8; a picture is one frame) as fitted, or sound_S.

    Raises MediaError where the file cannot be used.
    """
    media = load_media(modality, path, config)
    if modality == "audio":
        return media
    size = backbone.size if backbone else getattr(config, SIZES[modality])
    pictures = [media] if modality == "image" else map(Image.fromarray, media)
    return np.stack([np.asarray(scale_picture(p, size)) for p in pictures])


def signal_features(
    modality: str,
    signal: np.ndarray,
    path: Path,
    config: FeatureConfig,
    backbone: Backbone | None = None,
) -> np.ndarray:
    """features_LF (float16) of what `fitted_signal` gave, or of a damaged copy.

    Raises MediaError, with the `path` that the signal came from, where a feature is not finite.
    """
    media = Image.fromarray(signal[0]) if modality == "image" else signal
    # A value beyond float16 becomes infinite, which the check below reports.
    with np.errstate(over="ignore"):
        half_LF = features_of(modality, media, config, backbone).astype(np.float16)
    if not np.isfinite(half_LF).all():
        raise MediaError(path, "non-finite features of the damaged media")
    return half_LF


SIZES = {"image": "image_size", "video": "frame_size"}
"""The setting that says to how many pixels a picture or frame is fitted."""


def _key(job: DamageJob, settings: dict[str, object]) -> str:
    try:
        with job.path.open("rb") as file:
            digest = hashlib.file_digest(file, "blake2b").hexdigest()
    except OSError as error:
        raise MediaError(job.path, f"unreadable: {error.strerror}") from error
    steps = [asdict(step) for step in job.steps]
    text = json.dumps([VERSION, NOISE_VERSION, digest, settings, steps], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def column_of(features: Sequence[np.ndarray], longest: int | None) -> Column:
    """The first `longest` vectors of each sequence as a column of their own."""
    cut = [features_LF[:longest] for features_LF in features]
    length_R = np.array([len(features_LF) for features_LF in cut])
    return Column(np.concatenate(cut), np.cumsum(length_R) - length_R, length_R)


def graft(column: Column, rows_R: np.ndarray, damaged: Column) -> Column:
    """`column` with the sequences at `rows_R` replaced by those of `damaged`, in order.

    The tokens are copied, those that no product uses any more too, unless all are replaced.
    """
    start_N, length_N = column.start_N.copy(), column.length_N.copy()
    start_N[rows_R], length_N[rows_R] = 0, 0
    old = slice(None) if length_N.any() else slice(0)
    values, entity_T = column.values[old], column.entity_T
    start_N[rows_R] = len(values) + damaged.start_N
    length_N[rows_R] = damaged.length_N
    return replace(
        column,
        values=np.concatenate([values, damaged.values]),
        start_N=start_N,
        length_N=length_N,
        entity_T=None if entity_T is None else np.concatenate([entity_T[old], damaged.entity_T]),
    )
