"""What the features produce must be what the model takes: the sizes that both settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scale.config import FeatureConfig, ModelConfig


def pixel_size(side: int) -> int:
    """Size of a patch's vector of raw pixels."""
    return 3 * side**2


def described_size(side: int) -> int:
    """Size of a patch's colours and oriented gradients: 21 a cell of 8 x 8 pixels."""
    return 21 * (side // 8) ** 2


VECTOR_SIZES = {"hog": described_size, "patches": pixel_size, "frames": pixel_size}
"""By source, the size of a vector; of other sources only the data tell."""


def made_and_taken(features: FeatureConfig, model: ModelConfig) -> dict[str, tuple[int, int]]:
    """By the name of a model setting, what the features make and what the model takes."""
    shapes = {
        "text_length": (features.text_length, model.text_length),
        "table_length": (features.table_length, model.table_length),
    }
    if features.image_features in VECTOR_SIZES:
        side = features.image_size // features.patch_size
        size = VECTOR_SIZES[features.image_features](features.patch_size)
        shapes["image_length"] = (side * side, model.image_length)
        shapes["image_features"] = (size, model.image_features)
    if features.video_features in VECTOR_SIZES:
        size = VECTOR_SIZES[features.video_features](features.frame_size)
        shapes["video_length"] = (features.video_frames, model.video_length)
        shapes["video_features"] = (size, model.video_features)
    if features.audio_features == "logmel":
        shapes["audio_length"] = (features.audio_frames, model.audio_length)
        shapes["audio_features"] = (features.mel_bins, model.audio_features)
    return shapes
