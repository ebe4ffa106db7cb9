"""Decoded media as sequences of vectors, and their standardisation.

H, W height and width in pixels, C three colours, T frames of a clip, S samples of a sound,
L length of a sequence, F features of one vector.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from transformers.audio_utils import mel_filter_bank, spectrogram

from scale.config import FeatureConfig
from scale.data.descriptors import colours_of, describe
from scale.data.media import MediaError, load_audio, load_image, load_video

if TYPE_CHECKING:
    from scale.data.backbones import Backbone

FLOOR_DB = -100.0
"""Quieter than this (relative to full scale) counts as silence."""
FLOAT16_LIMIT = float(np.finfo(np.float16).max)


def scale_picture(picture: Image.Image, size: int) -> Image.Image:
    """The picture as RGB, its longer side `size` pixels: aspect kept, nothing padded."""
    scale = size / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)


def fit_picture(picture: Image.Image, size: int) -> np.ndarray:
    """pixels_HWC (uint8) of a size x size square: aspect kept, centred, the rest white.

    A picture that `scale_picture` made for this size is padded and otherwise unchanged.
    """
    fitted = scale_picture(picture, size)
    square = Image.new("RGB", (size, size), "white")
    square.paste(fitted, ((size - fitted.width) // 2, (size - fitted.height) // 2))
    return np.asarray(square)


def to_patches(pixels_HWC: np.ndarray, patch: int) -> np.ndarray:
    """patches_LF in [-1, 1] (float32), row by row; F = 3 patch^2 as (row, column, colour).

    x = pixel / 127.5 - 1, so white is 1. Raises ValueError when the sides are no multiple of
    `patch`.
    """
    height, width, _ = pixels_HWC.shape
    if height % patch or width % patch:
        raise ValueError(f"a picture of {width} x {height} does not divide into patches of {patch}")
    grid = pixels_HWC.reshape(height // patch, patch, width // patch, patch, 3)
    patches_LF = grid.transpose(0, 2, 1, 3, 4).reshape(-1, 3 * patch * patch)
    return patches_LF.astype(np.float32) / 127.5 - 1.0


def from_patches(patches_LF: np.ndarray, patch: int) -> np.ndarray:
    """Inverse of `to_patches` for a square picture: pixels_HWC (uint8), values outside clipped."""
    side = round(len(patches_LF) ** 0.5)
    grid = patches_LF.reshape(side, side, patch, patch, 3).transpose(0, 2, 1, 3, 4)
    pixels_HWC = grid.reshape(side * patch, side * patch, 3)
    return np.rint((pixels_HWC + 1.0) * 127.5).clip(0, 255).astype(np.uint8)


def pixels_of(vectors_LF: np.ndarray, source: str, patch: int) -> np.ndarray:
    """The picture that an image's vectors, or one of a clip, hold: pixels_HWC (uint8).

    source: as in FeatureConfig. `patches` and `frames` give every pixel, `hog` its colour points
    (`descriptors.colours_of`). Raises ValueError for others: their vectors hold no colours.
    """
    if source == "hog":
        return colours_of(vectors_LF, patch)
    if source in ("patches", "frames"):
        return from_patches(vectors_LF, patch)
    raise ValueError(f"the features {source!r} hold no colours to draw")


def to_frame_vectors(
    frames_THWC: np.ndarray,
    size: int,
    cut: Callable[[np.ndarray, int], np.ndarray] = to_patches,
) -> np.ndarray:
    """vectors_LF (float32), one a frame: fitted to size x size and taken as a single patch.

    `cut` is `to_patches` (F = 3 size^2, in [-1, 1]) or `descriptors.describe`.
    """
    fitted = [fit_picture(Image.fromarray(frame), size) for frame in frames_THWC]
    return np.concatenate([cut(pixels_HWC, size) for pixels_HWC in fitted])


def hop_length(config: FeatureConfig) -> int:
    """Samples between time frames: ceil(sample_rate * audio_seconds / audio_frames).

    So `audio_seconds` of sound give `audio_frames` frames, and S samples ceil(S / hop).
    """
    return -int(-config.sample_rate * config.audio_seconds // config.audio_frames)


def log_mel(sound_S: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """mel_LF (float32): one vector of F = mel_bins per time frame, about in [-1, 1].

    Hann windows of two hops centred on multiples of the hop, divided by their sum so that a
    full-scale sine has power 1/4 in any setting; the power in Slaney's triangular mel bands from
    20 Hz to half the sample rate; x = (max(10 log10 power, -100 dB) + 50 dB) / 50 dB. Silence is
    -1, a full-scale sine about 0.9.
    """
    hop = hop_length(config)
    window, filters = _mel_tools(config.sample_rate, hop, config.mel_bins)
    mel_FL = spectrogram(
        np.asarray(sound_S, np.float64),
        window,
        frame_length=len(window),
        hop_length=hop,
        fft_length=2 * (len(filters) - 1),
        power=2.0,
        pad_mode="constant",
        mel_filters=filters,
        mel_floor=10 ** (FLOOR_DB / 10),
    )
    length = min(-(-len(sound_S) // hop), config.audio_frames)
    decibel_LF = 10.0 * np.log10(mel_FL.T[:length])
    return (1.0 - 2.0 * decibel_LF / FLOOR_DB).astype(np.float32)


@lru_cache(maxsize=8)
def _mel_tools(sample_rate: int, hop: int, mel_bins: int) -> tuple[np.ndarray, np.ndarray]:
    window = np.hanning(2 * hop + 1)[:-1]
    # Short windows are padded: every mel band must hold at least one frequency.
    fft_length = 1 << max(10, (2 * hop - 1).bit_length())
    filters = mel_filter_bank(
        fft_length // 2 + 1, mel_bins, 20.0, sample_rate / 2, sample_rate, mel_scale="slaney"
    )
    return window / window.sum(), filters


def read_vectors(path: Path) -> np.ndarray:
    """features_LF (float32) of a .npy file, e.g. regions of a detector.

    Raises MediaError unless it is a non-empty, finite, two-dimensional array of numbers.
    """
    if path.suffix != ".npy":
        raise MediaError(path, "not a feature file: a name that ends in .npy is expected")
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise MediaError(path, f"feature file does not load: {error}") from error
    if not isinstance(values, np.ndarray) or values.ndim != 2 or 0 in values.shape:
        raise MediaError(path, f"wrong shape: {getattr(values, 'shape', None)}, not (L, F)")
    if values.dtype.kind not in "fiu":
        raise MediaError(path, f"wrong type: {values.dtype}, not numbers")
    # Also false where a value is not a number.
    if not (np.abs(values) <= FLOAT16_LIMIT).all():
        raise MediaError(path, "non-finite: a value is not finite, or beyond float16's range")
    return values.astype(np.float32)


def extract(
    modality: str, path: Path, config: FeatureConfig, backbone: "Backbone | None" = None
) -> np.ndarray:
    """features_LF (float32) of one media file, by the source that `config` names.

    `backbone` is the loaded model where the source is a timm model. Raises MediaError with the path
    and the reason when the file cannot be used.
    """
    if getattr(config, f"{modality}_features") == "file":
        return read_vectors(path)
    return features_of(modality, load_media(modality, path, config), config, backbone)


def load_media(modality: str, path: Path, config: FeatureConfig) -> Image.Image | np.ndarray:
    """A media file, decoded as far as its features need it.

    A picture for `image`, frames_THWC (uint8, at most `video_frames`) for `video`, sound_S (float32
    at `sample_rate`, at most `audio_seconds`) for `audio`. Raises MediaError.
    """
    if path.suffix == ".npy":
        source = getattr(config, f"{modality}_features")
        raise MediaError(path, f"unexpected feature file: {modality}_features is {source!r}")
    if modality == "image":
        return load_image(path)
    if modality == "video":
        return load_video(path, config.video_frames)
    return load_audio(path, config.sample_rate, config.audio_seconds)


def features_of(
    modality: str,
    media: Image.Image | np.ndarray,
    config: FeatureConfig,
    backbone: "Backbone | None" = None,
) -> np.ndarray:
    """features_LF (float32) of what `load_media` gave, or of a changed copy of it.

    `backbone` as in `extract`; the source `file` has no media, so it is `extract`'s alone.
    """
    cut = describe if getattr(config, f"{modality}_features") == "hog" else to_patches
    if modality == "image":
        if backbone is not None:
            return backbone.tokens(media)
        return cut(fit_picture(media, config.image_size), config.patch_size)
    if modality == "video":
        if backbone is not None:
            return backbone.pooled(media)
        return to_frame_vectors(media, config.frame_size, cut)
    return log_mel(media, config)
