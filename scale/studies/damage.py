"""Damage to signals and words, and damaged media as token vectors in a dataset's columns.

Damage functions are pure functions of the value, a strength and a random generator. All draws
depend only on names and seeds, never on the other products.

R damaged products, N products, T frames of a clip (or words, values), H, W, C height, width and
colours of a picture, S samples of a sound, L length of a sequence, F features of a vector.
"""

import hashlib
import io
import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from scale.config import FeatureConfig
from scale.data.backbones import Backbone, load_backbone
from scale.data.cache import VERSION, FeatureCache, feature_settings
from scale.data.dataset import Column
from scale.data.features import features_of, load_media
from scale.data.media import MediaError, resize_image
from scale.seeding import derived_seed
from scale.threads import available_cores


def name_hashes(names: Sequence[str], *parts: int) -> np.ndarray:
    """Hash each name to hash_N (uint64) under the key derived from `parts`.

    A name's hash does not depend on the other names; other parts give unrelated hashes.
    """
    key = derived_seed(*parts).to_bytes(8, "little")
    digests = (hashlib.blake2b(n.encode(), digest_size=8, key=key).digest() for n in names)
    return np.frombuffer(b"".join(digests), "<u8")


def name_uniforms(names: Sequence[str], *parts: int) -> np.ndarray:
    """Return draw_N (float64) in [0, 1): `name_hashes` / 2^64, cut to 53 bits."""
    return (name_hashes(names, *parts) >> np.uint64(11)) * 2.0**-53


def rounded_share(count: int, share: float) -> int:
    """Return share * count, rounded half up."""
    return int(np.floor(share * count + 0.5))


def kept_positions(count: int, share: float, random: np.random.Generator) -> np.ndarray:
    """Return the positions kept, ascending, when a share of `count` items is removed.

    At least one is kept. A larger share under the same random state removes a superset.
    """
    order_T = random.permutation(count)
    return np.sort(order_T[min(rounded_share(count, share), max(count - 1, 0)) :])


def permuted_positions(count: int, share: float, random: np.random.Generator) -> np.ndarray:
    """Return source_T, the position each item comes from when a share of `count` is permuted.

    The chosen items move along one cycle, so each of them changes its position. At least two move,
    unless the share rounds to none or there is only one item.
    """
    order_T, chosen = random.permutation(count), rounded_share(count, share)
    ring = order_T[: max(chosen, 2) if chosen and count > 1 else 0]
    source_T = np.arange(count)
    source_T[ring] = np.roll(ring, 1)
    return source_T


def add_gaussian(pixels_HWC: np.ndarray, std: float, random: np.random.Generator) -> np.ndarray:
    """Return x' = clip(round(x + std z), 0, 255), z ~ N(0, 1) for each pixel and colour; uint8."""
    noise_HWC = std * random.standard_normal(pixels_HWC.shape)
    return np.rint(pixels_HWC + noise_HWC).clip(0, 255).astype(np.uint8)


def blur(pixels_HWC: np.ndarray, sigma: float, random: np.random.Generator) -> np.ndarray:
    """Apply Pillow's Gaussian blur (three box filters), `sigma` in pixels; uint8."""
    return np.asarray(Image.fromarray(pixels_HWC).filter(ImageFilter.GaussianBlur(sigma)))


def compress(pixels_HWC: np.ndarray, quality: float, random: np.random.Generator) -> np.ndarray:
    """Compress as JPEG of a quality (rounded to an integer) and decode; uint8."""
    file = io.BytesIO()
    Image.fromarray(pixels_HWC).save(file, "JPEG", quality=round(quality))
    return np.asarray(Image.open(file))


def add_white_noise(sound_S: np.ndarray, snr: float, random: np.random.Generator) -> np.ndarray:
    """Return x + a z with white Gaussian z and a such that sum x^2 / sum (a z)^2 = 10^(snr / 10).

    `snr` in dB is met exactly by the drawn samples. No clipping. Silence stays silent. float32.
    """
    noise_S = random.standard_normal(len(sound_S))
    power = np.square(sound_S, dtype=np.float64).sum() / np.square(noise_S).sum()
    return (sound_S + np.sqrt(power * 10 ** (-snr / 10)) * noise_S).astype(np.float32)


def drop_frames(frames_T: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Remove a share of the frames (or their vectors); at least one is kept."""
    return frames_T[kept_positions(len(frames_T), share, random)]


def shuffle_frames(frames_T: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Permute a share of the frames or their vectors (`permuted_positions`)."""
    return frames_T[permuted_positions(len(frames_T), share, random)]


IMAGE_DAMAGE = {"gaussian": add_gaussian, "blur": blur, "jpeg": compress}
"""By kind of noise: functions of one image or frame."""
FRAME_DAMAGE = {"frame_drop": drop_frames, "frame_shuffle": shuffle_frames}
"""By kind of noise: functions of the sequence of frames."""
AUDIO_DAMAGE = {"snr": add_white_noise}


_MARKS = "、。，．：；？！…）》」』】〕〉"
_SINGLE = r"\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
# White space belongs to the word after it, so that the joined parts are the title.
_WORDS = re.compile(rf"\s*(?:[{_SINGLE}][{_MARKS}]*|[^\s{_SINGLE}]+)")

Table = tuple[tuple[str, str], ...]


def split_words(title: str) -> list[str]:
    """Split a title into words, each with its leading white space.

    A word is a run of characters without a space, or one Chinese, Japanese or Korean character with
    the punctuation after it. Trailing white space is dropped.
    """
    return _WORDS.findall(title)


def drop_words(title: str, share: float, random: np.random.Generator) -> str:
    """Remove a share of the words (rounded); at least one is kept."""
    words = split_words(title)
    kept = kept_positions(len(words), share, random)
    if len(kept) == len(words):
        return title
    return "".join(words[k] for k in kept).strip()


def add_typos(title: str, share: float, random: np.random.Generator) -> str:
    """Introduce one typing error into each of a share of the words (rounded).

    Two adjacent characters swapped, one deleted, or one doubled, with equal probability. A swap of
    equal characters and an error in a word of one character double the character.
    """
    words = split_words(title)
    order = random.permutation(len(words))
    # Drawn for all words, so that a larger share keeps the errors of a smaller one.
    errors, places = random.integers(3, size=len(words)), random.random(len(words))
    for k in order[: rounded_share(len(words), share)]:
        start = len(words[k]) - len(words[k].lstrip())
        words[k] = words[k][:start] + _typo(words[k][start:], errors[k], places[k])
    return "".join(words) + title[len(title.rstrip()) :]


def _typo(word: str, error: int, place: float) -> str:
    """Apply one error (0 swap, 1 deletion, 2 doubling) at the relative position `place`."""
    at = int(place * len(word))
    if error == 1 and len(word) > 1:
        return word[:at] + word[at + 1 :]
    at = min(at, len(word) - 2) if error == 0 and len(word) > 1 else at
    if error == 0 and len(word) > 1 and word[at] != word[at + 1]:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return word[:at] + word[at] + word[at:]


def swap_attributes(table: Table, share: float, random: np.random.Generator) -> Table:
    """Permute a share of the values among their attributes (`permuted_positions`).

    Attributes keep their positions and no value is lost; a table of one pair is unchanged.
    """
    source = permuted_positions(len(table), share, random)
    return tuple((attribute, table[s][1]) for (attribute, _), s in zip(table, source, strict=True))


TEXT_DAMAGE = {"word_drop": drop_words, "typo": add_typos, "attribute_swap": swap_attributes}
"""By kind of noise."""


NOISE_VERSION = 1
"""Part of every cache key; increase it when a damage function changes its output."""


@dataclass(frozen=True)
class DamageStep:
    """One damage to one product's content."""

    kind: str
    """Key of IMAGE_DAMAGE, FRAME_DAMAGE, AUDIO_DAMAGE or TEXT_DAMAGE."""
    strength: float
    seed: int
    """Seed of the product; 0 for deterministic kinds, so that all runs share cached features."""


@dataclass(frozen=True)
class DamageJob:
    """A media file and the damage applied to it, in order, before features are extracted."""

    path: Path
    steps: tuple[DamageStep, ...]


def damage_signal(signal: np.ndarray, steps: Sequence[DamageStep]) -> np.ndarray:
    """Apply all steps to frames_THWC (an image is a clip of one frame) or sound_S."""
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
    """Return features_LF (float16) of each job, from the cache or computed in threads.

    Images and frames are damaged at the size of the feature extractor's input (`image_size`,
    `frame_size`, or the input size of a timm model), before they are padded to a square. Raises
    MediaError for an unusable file, ValueError if features come from files.
    """
    source = getattr(config, f"{modality}_features")
    if source == "file":
        raise ValueError(
            f"{modality}_features is 'file': only features exist, no {modality} to damage"
        )
    settings = feature_settings(modality, config)
    keys = {job: _key(job, settings) for job in jobs}
    features = {job: cache.load(key) for job, key in keys.items()}
    missing = [job for job, found in features.items() if found is None]
    if missing:
        backbone = load_backbone(modality, config) if config.backbone(modality) else None

        def compute(job: DamageJob) -> np.ndarray:
            signal = fitted_signal(modality, job.path, config, backbone)
            damaged = damage_signal(signal, job.steps)
            return signal_features(modality, damaged, job.path, config, backbone)

        def load(job: DamageJob) -> np.ndarray:
            return cache.get_or_compute(keys[job], lambda: compute(job))

        with ThreadPoolExecutor(workers or available_cores()) as pool:
            features |= zip(missing, pool.map(load, missing), strict=True)
    return [features[job] for job in jobs]


def fitted_signal(
    modality: str, path: Path, config: FeatureConfig, backbone: Backbone | None = None
) -> np.ndarray:
    """Load the input of damage: resized frames_THWC (uint8; an image is one frame) or sound_S.

    Raises MediaError for an unusable file.
    """
    media = load_media(modality, path, config)
    if modality == "audio":
        return media
    own_size = config.image_size if modality == "image" else config.frame_size
    size = backbone.size if backbone else own_size
    pictures = [media] if modality == "image" else map(Image.fromarray, media)
    return np.stack([np.asarray(resize_image(p, size)) for p in pictures])


def signal_features(
    modality: str,
    signal: np.ndarray,
    path: Path,
    config: FeatureConfig,
    backbone: Backbone | None = None,
) -> np.ndarray:
    """Extract features_LF (float16) from a signal of `fitted_signal` or a damaged copy.

    Raises MediaError with the signal's `path` if a feature is not finite.
    """
    media = Image.fromarray(signal[0]) if modality == "image" else signal
    # Overflow of float16 gives infinity, which the check below reports.
    with np.errstate(over="ignore"):
        half_LF = features_of(modality, media, config, backbone).astype(np.float16)
    if not np.isfinite(half_LF).all():
        raise MediaError(path, "non-finite features of the damaged media")
    return half_LF


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
    """Pack the first `longest` vectors of each sequence into a column."""
    cut = [features_LF[:longest] for features_LF in features]
    length_R = np.array([len(features_LF) for features_LF in cut])
    return Column(np.concatenate(cut), np.cumsum(length_R) - length_R, length_R)


def replace_sequences(column: Column, rows_R: np.ndarray, damaged: Column) -> Column:
    """Return `column` with the sequences at `rows_R` replaced by those of `damaged`, in order.

    All old tokens are kept, including unused ones, unless every sequence is replaced.
    """
    start_N, length_N = column.start_N.copy(), column.length_N.copy()
    start_N[rows_R], length_N[rows_R] = 0, 0
    old = slice(None) if length_N.any() else slice(0)
    values = column.values[old]
    start_N[rows_R] = len(values) + damaged.start_N
    length_N[rows_R] = damaged.length_N
    return replace(
        column,
        values=np.concatenate([values, damaged.values]),
        start_N=start_N,
        length_N=length_N,
        **{
            name: np.concatenate([number_T[old], getattr(damaged, name)])
            for name in ("entity_T", "piece_T")
            if (number_T := getattr(column, name)) is not None
        },
    )
