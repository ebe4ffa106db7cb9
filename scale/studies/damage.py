"""Damage to signals and words, and damaged media as token vectors in a dataset's columns.

Damage functions are pure functions of the value, a strength and a random generator. All draws
depend only on names and seeds, never on the other products.

R damaged products, N products, T frames of a clip (or words, values), H, W, C height, width and
colours of a picture, S samples of a sound, L length of a sequence, F features of a vector.
"""

import hashlib
import io
import json
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from scale.config import FeatureConfig
from scale.data.backbones import Backbone
from scale.data.cache import OWN_SOURCES, VERSION, FeatureCache, feature_settings
from scale.data.columns import Column
from scale.data.features import features_of, load_media, scale_picture
from scale.data.media import MediaError
from scale.seeding import derived_seed


def name_hashes(names: Sequence[str], *parts: int) -> np.ndarray:
    """number_N (uint64): a hash of each name under the key derived from `parts`.

    The same name gets the same number in any company; other parts give unrelated numbers.
    """
    key = derived_seed(*parts).to_bytes(8, "little")
    digests = (hashlib.blake2b(n.encode(), digest_size=8, key=key).digest() for n in names)
    return np.frombuffer(b"".join(digests), "<u8")


def name_uniforms(names: Sequence[str], *parts: int) -> np.ndarray:
    """draw_N (float64) in [0, 1): `name_hashes` / 2^64, cut to 53 bits."""
    return (name_hashes(names, *parts) >> np.uint64(11)) * 2.0**-53


def rounded_share(count: int, share: float) -> int:
    """How many of `count` things a share means: rounded, halves upwards."""
    return int(np.floor(share * count + 0.5))


def kept_positions(count: int, share: float, random: np.random.Generator) -> np.ndarray:
    """Places that stay, ascending, when a share of `count` things is removed; one always stays.

    A larger share under the same random state removes the same things and more.
    """
    order_T = random.permutation(count)
    return np.sort(order_T[min(rounded_share(count, share), max(count - 1, 0)) :])


def permuted_positions(count: int, share: float, random: np.random.Generator) -> np.ndarray:
    """source_T: where the thing at each place comes from when a share of `count` change places.

    The chosen ones move around one ring, so each of them leaves its place. One cannot move alone:
    a share that means one moves two, and of a single thing none.
    """
    order_T, chosen = random.permutation(count), rounded_share(count, share)
    ring = order_T[: max(chosen, 2) if chosen and count > 1 else 0]
    source_T = np.arange(count)
    source_T[ring] = np.roll(ring, 1)
    return source_T


def add_gaussian(pixels_HWC: np.ndarray, std: float, random: np.random.Generator) -> np.ndarray:
    """x' = clip(round(x + std z), 0, 255), z ~ N(0, 1) for each pixel and colour; uint8."""
    noise_HWC = std * random.standard_normal(pixels_HWC.shape)
    return np.rint(pixels_HWC + noise_HWC).clip(0, 255).astype(np.uint8)


def blur(pixels_HWC: np.ndarray, sigma: float, random: np.random.Generator) -> np.ndarray:
    """Pillow's Gaussian blur (three box filters) of standard deviation `sigma` pixels; uint8."""
    return np.asarray(Image.fromarray(pixels_HWC).filter(ImageFilter.GaussianBlur(sigma)))


def compress(pixels_HWC: np.ndarray, quality: float, random: np.random.Generator) -> np.ndarray:
    """Written as JPEG of a quality (rounded to a whole number) and read again; uint8."""
    file = io.BytesIO()
    Image.fromarray(pixels_HWC).save(file, "JPEG", quality=round(quality))
    return np.asarray(Image.open(file))


def add_white_noise(sound_S: np.ndarray, snr: float, random: np.random.Generator) -> np.ndarray:
    """x' = x + a z with white Gaussian z and a such that sum x^2 / sum (a z)^2 = 10^(snr / 10).

    `snr` in dB is met exactly by the samples drawn. Nothing is clipped. Silence stays silence,
    because no noise has a ratio to it. float32.
    """
    noise_S = random.standard_normal(len(sound_S))
    power = np.square(sound_S, dtype=np.float64).sum() / np.square(noise_S).sum()
    return (sound_S + np.sqrt(power * 10 ** (-snr / 10)) * noise_S).astype(np.float32)


def drop_frames(frames_T: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """The frames (or their vectors) without a share of them, in order; at least one stays."""
    return frames_T[kept_positions(len(frames_T), share, random)]


def shuffle_frames(frames_T: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """The frames (or their vectors), a share of them permuted (`permuted_positions`)."""
    return frames_T[permuted_positions(len(frames_T), share, random)]


IMAGE_DAMAGE = {"gaussian": add_gaussian, "blur": blur, "jpeg": compress}
"""By kind of noise; each changes one picture or frame."""
FRAME_DAMAGE = {"frame_drop": drop_frames, "frame_shuffle": shuffle_frames}
"""By kind of noise; each changes which frame stands where."""
AUDIO_DAMAGE = {"snr": add_white_noise}


_MARKS = "、。，．：；？！…）》」』】〕〉"
_SINGLE = r"\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
# White space stays with the word behind it, so that the parts joined are the title again.
_WORDS = re.compile(rf"\s*(?:[{_SINGLE}][{_MARKS}]*|[^\s{_SINGLE}]+)")

Table = tuple[tuple[str, str], ...]


def split_words(title: str) -> list[str]:
    """The words of a title, each with the white space before it; space at the end is left out."""
    return _WORDS.findall(title)


def drop_words(title: str, share: float, random: np.random.Generator) -> str:
    """A share of the words removed (rounded, at least one stays), the others as they were."""
    words = split_words(title)
    kept = kept_positions(len(words), share, random)
    if len(kept) == len(words):
        return title
    return "".join(words[k] for k in kept).strip()


def add_typos(title: str, share: float, random: np.random.Generator) -> str:
    """One slip of the fingers in each of a share of the words (rounded).

    Two neighbouring characters swapped, one left out, or one typed twice, with equal chances; a
    swap of equal characters and a slip in a word of one character double it.
    """
    words = split_words(title)
    order = random.permutation(len(words))
    # Drawn for all words, so that a larger share leaves the slips of a smaller one as they are.
    slips, places = random.integers(3, size=len(words)), random.random(len(words))
    for k in order[: rounded_share(len(words), share)]:
        start = len(words[k]) - len(words[k].lstrip())
        words[k] = words[k][:start] + _slip(words[k][start:], slips[k], places[k])
    return "".join(words) + title[len(title.rstrip()) :]


def _slip(word: str, slip: int, place: float) -> str:
    """One slip: 0 swaps, 1 leaves out, 2 doubles; `place` in [0, 1) says where."""
    at = int(place * len(word))
    if slip == 1 and len(word) > 1:
        return word[:at] + word[at + 1 :]
    at = min(at, len(word) - 2) if slip == 0 and len(word) > 1 else at
    if slip == 0 and len(word) > 1 and word[at] != word[at + 1]:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return word[:at] + word[at] + word[at:]


def swap_attributes(table: Table, share: float, random: np.random.Generator) -> Table:
    """A share of the values exchanged among their attributes (`draws.permuted_positions`).

    Attributes keep their places and no value is lost; a table of one pair stays as it is.
    """
    source = permuted_positions(len(table), share, random)
    return tuple((attribute, table[s][1]) for (attribute, _), s in zip(table, source, strict=True))


TEXT_DAMAGE = {"word_drop": drop_words, "typo": add_typos, "attribute_swap": swap_attributes}
"""By kind of noise."""


NOISE_VERSION = 1
"""Part of every key: raise it when a damage function gives other signals."""


@dataclass(frozen=True)
class DamageStep:
    """One damage to the content of one product."""

    kind: str
    """Key of IMAGE_DAMAGE, FRAME_DAMAGE, AUDIO_DAMAGE or TEXT_DAMAGE."""
    strength: float
    seed: int
    """Of the product; 0 where the kind draws nothing, so that all seeds share cached features."""


@dataclass(frozen=True)
class DamageJob:
    """A media file and what is done to it, in order, before features are taken."""

    path: Path
    steps: tuple[DamageStep, ...]


def damage_signal(signal: np.ndarray, steps: Sequence[DamageStep]) -> np.ndarray:
    """frames_THWC (a picture is a clip of one frame) or sound_S after all steps."""
    for step in steps:
        random = np.random.default_rng(step.seed)
        if step.kind in IMAGE_DAMAGE:
            change = IMAGE_DAMAGE[step.kind]
            signal = np.stack([change(frame, step.strength, random) for frame in signal])
        else:
            change = (FRAME_DAMAGE | AUDIO_DAMAGE)[step.kind]
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
    size = backbone.size if backbone else getattr(config, SIZE_SETTINGS[modality])
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


SIZE_SETTINGS = {"image": "image_size", "video": "frame_size"}
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


def pack_column(features: Sequence[np.ndarray], longest: int | None) -> Column:
    """The first `longest` vectors of each sequence as a column of their own."""
    cut = [features_LF[:longest] for features_LF in features]
    length_R = np.array([len(features_LF) for features_LF in cut])
    return Column(np.concatenate(cut), np.cumsum(length_R) - length_R, length_R)


def replace_sequences(column: Column, rows_R: np.ndarray, damaged: Column) -> Column:
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
