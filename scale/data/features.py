"""Feature vectors of media: patches, HOG descriptors, log-mel, feature files, frozen models.

H, W height and width in pixels, C three colours, T frames of a video, S samples of audio, K cells,
O orientations, L length of a sequence, F features of one vector.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from transformers.audio_utils import mel_filter_bank, spectrogram

from scale.config import FeatureConfig
from scale.data.backbones import Backbone, audio_rate
from scale.data.media import (
    MediaError,
    MediaInfo,
    fit_image,
    load_audio,
    load_audio_and_info,
    load_image,
    load_image_and_info,
    load_video,
    load_video_and_info,
)
from scale.data.vectors import is_vectors, read_vectors

FLOOR_DB = -100.0
"""Level (relative to full scale) below which audio counts as silence."""

CELL = 8
"""Side of a HOG cell in pixels."""
ORIENTATIONS = 9
"""Bins of unsigned orientation, 20 degrees each."""
POINTS = 2
"""Colour points along the side of a cell."""


def to_patches(pixels_HWC: np.ndarray, patch: int) -> np.ndarray:
    """Return patches_LF in [-1, 1] (float32), row by row; F = 3 patch^2 as (row, column, colour).

    x = pixel / 127.5 - 1, so white is 1. Raises ValueError if the sides are not multiples of
    `patch`.
    """
    height, width, _ = pixels_HWC.shape
    if height % patch or width % patch:
        raise ValueError(f"{width} x {height} pixels are not divisible into patches of {patch}")
    return _by_patch(pixels_HWC, patch).astype(np.float32) / 127.5 - 1.0


def from_patches(patches_LF: np.ndarray, patch: int) -> np.ndarray:
    """Inverse of `to_patches` for a square image: pixels_HWC (uint8), values clipped."""
    side = round(len(patches_LF) ** 0.5)
    grid = patches_LF.reshape(side, side, patch, patch, 3).transpose(0, 2, 1, 3, 4)
    pixels_HWC = grid.reshape(side * patch, side * patch, 3)
    return np.rint((pixels_HWC + 1.0) * 127.5).clip(0, 255).astype(np.uint8)


def hog_features(pixels_HWC: np.ndarray, patch: int) -> np.ndarray:
    """Return colours and gradients of an image's patches, row by row: hog_LF, F = 21 (patch / 8)^2.

    Each cell of 8 x 8 pixels gives 2 x 2 mean colours in [-1, 1] and a histogram of oriented
    gradients: 9 bins of unsigned orientation, weighted by the gradient's length, as the square root
    of their share in the patch (Dalal and Triggs, 2005; as targets of masked prediction: MaskFeat,
    Wei et al., 2022). All colours of a patch come first, cell by cell, then all histograms.

    Raises ValueError if the image is not divisible into patches, or these into cells.
    """
    height, width, _ = pixels_HWC.shape
    if patch % CELL or height % patch or width % patch:
        raise ValueError(f"{width} x {height} pixels in patches of {patch} and cells of {CELL}")
    step = CELL // POINTS
    points = pixels_HWC.reshape(height // step, step, width // step, step, 3).mean(axis=(1, 3))
    colours_LF = _by_patch(points / 127.5 - 1.0, patch // step)
    gradients_LF = _by_patch(_orientation_histograms(pixels_HWC), patch // CELL)
    share_LF = gradients_LF / (gradients_LF.sum(axis=1, keepdims=True) + 1.0)
    return np.concatenate([colours_LF, np.sqrt(share_LF)], axis=1).astype(np.float32)


def hog_thumbnail(hog_LF: np.ndarray, patch: int) -> np.ndarray:
    """Return the colours of `hog_features` as pixels_HWC (uint8), one pixel per colour point."""
    points = patch // CELL * POINTS
    return from_patches(hog_LF[:, : 3 * points * points], points)


def _orientation_histograms(pixels_HWC: np.ndarray) -> np.ndarray:
    """Return the gradient length per orientation in each cell, (cells down, cells across, O)."""
    light_HW = pixels_HWC.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    down_HW, across_HW = np.gradient(light_HW)
    length_HW = np.hypot(down_HW, across_HW)
    turn_HW = np.arctan2(down_HW, across_HW) / np.pi % 1.0 * ORIENTATIONS
    # Each gradient is split between its two nearest bins, so that the histogram is continuous.
    lower_HW = np.floor(turn_HW - 0.5)
    upper_share_HW = turn_HW - 0.5 - lower_HW
    votes = np.zeros((*light_HW.shape, ORIENTATIONS), np.float32)
    rows, columns = np.indices(light_HW.shape)
    first_HW = lower_HW.astype(int) % ORIENTATIONS
    votes[rows, columns, first_HW] = length_HW * (1 - upper_share_HW)
    votes[rows, columns, (first_HW + 1) % ORIENTATIONS] += length_HW * upper_share_HW
    down, across = (side // CELL for side in light_HW.shape)
    return votes.reshape(down, CELL, across, CELL, ORIENTATIONS).sum(axis=(1, 3))


def _by_patch(cells: np.ndarray, side: int) -> np.ndarray:
    """Reshape (rows, columns, X) of pixels or cells to (patches, side * side * X), row by row."""
    down, across, size = cells.shape
    grid = cells.reshape(down // side, side, across // side, side, size)
    return grid.transpose(0, 2, 1, 3, 4).reshape(-1, side * side * size)


def to_pixels(vectors_LF: np.ndarray, source: str, patch: int) -> np.ndarray:
    """Return the image encoded in the vectors of an image or of one frame: pixels_HWC (uint8).

    source: as in FeatureConfig. Every pixel for `patches` and `frames`, the colour points for `hog`
    (`hog_thumbnail`). Raises ValueError for other sources, whose vectors contain no colours.
    """
    if source == "hog":
        return hog_thumbnail(vectors_LF, patch)
    if source in ("patches", "frames"):
        return from_patches(vectors_LF, patch)
    raise ValueError(f"features {source!r} contain no colours to draw")


def to_frame_vectors(
    frames_THWC: np.ndarray,
    size: int,
    cut: Callable[[np.ndarray, int], np.ndarray] = to_patches,
) -> np.ndarray:
    """Return vectors_LF (float32), one per frame, each fitted to one patch of size x size pixels.

    `cut` is `to_patches` (F = 3 size^2, in [-1, 1]) or `hog_features`.
    """
    fitted = [fit_image(Image.fromarray(frame), size) for frame in frames_THWC]
    return np.concatenate([cut(pixels_HWC, size) for pixels_HWC in fitted])


def hop_length(config: FeatureConfig) -> int:
    """Return the samples between time frames: ceil(sample_rate * audio_seconds / audio_frames).

    `audio_seconds` of audio then have `audio_frames` frames, and S samples ceil(S / hop).
    """
    return -int(-config.sample_rate * config.audio_seconds // config.audio_frames)


def log_mel(sound_S: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """Return mel_LF (float32): one vector of F = mel_bins per time frame, about in [-1, 1].

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
    # Short windows are zero-padded, so that every mel band contains at least one frequency.
    fft_length = 1 << max(10, (2 * hop - 1).bit_length())
    filters = mel_filter_bank(
        fft_length // 2 + 1, mel_bins, 20.0, sample_rate / 2, sample_rate, mel_scale="slaney"
    )
    return window / window.sum(), filters


def extract(
    modality: str, path: Path, config: FeatureConfig, backbone: Backbone | None = None
) -> np.ndarray:
    """Return features_LF (float32) of one media file, from the source set in `config`.

    backbone: the loaded model, if the source is one (`load_backbone`).
    Raises MediaError with path and reason if the file cannot be used.
    """
    if getattr(config, f"{modality}_features") == "file":
        return read_vectors(path)
    return features_of(modality, load_media(modality, path, config), config, backbone)


def load_media(modality: str, path: Path, config: FeatureConfig) -> Image.Image | np.ndarray:
    """Decode a media file as far as its features require.

    Returns an image for `image`, frames_THWC (uint8, at most `video_frames`) for `video`, sound_S
    (float32 at `audio_rate`, at most `audio_seconds`) for `audio`. Raises MediaError.
    """
    if is_vectors(path):
        source = getattr(config, f"{modality}_features")
        raise MediaError(path, f"unexpected feature file: {modality}_features is {source!r}")
    if modality == "image":
        return load_image(path)
    if modality == "video":
        return load_video(path, config.video_frames)
    return load_audio(path, audio_rate(config), config.audio_seconds)


def load_media_and_info(
    modality: str, path: Path, config: FeatureConfig
) -> tuple[Image.Image | np.ndarray, MediaInfo]:
    """Return `load_media` and `read_media_info` of one file, decoded once where possible.

    Raises MediaError.
    """
    if is_vectors(path):
        load_media(modality, path, config)
    if modality == "image":
        return load_image_and_info(path)
    if modality == "video":
        return load_video_and_info(path, config.video_frames)
    return load_audio_and_info(path, audio_rate(config), config.audio_seconds)


def features_of(
    modality: str,
    media: Image.Image | np.ndarray,
    config: FeatureConfig,
    backbone: Backbone | None = None,
) -> np.ndarray:
    """Return features_LF (float32) of a result of `load_media`, or of a modified copy.

    backbone: as in `extract`. The source `file` has no media and is handled by `extract`.
    """
    if backbone is not None:
        return backbone.encode(modality, [backbone.prepare(modality, media)], config)[0]
    cut = hog_features if getattr(config, f"{modality}_features") == "hog" else to_patches
    if modality == "image":
        return cut(fit_image(media, config.image_size), config.patch_size)
    if modality == "video":
        return to_frame_vectors(media, config.frame_size, cut)
    return log_mel(media, config)
