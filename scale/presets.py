"""Named settings: they and the released code's loss differ in visible fields only."""

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass, replace
from typing import Any

from scale.config import Config, FeatureConfig, LossConfig, MaskConfig, ModelConfig, TrainConfig
from scale.strict import require


def tiny() -> Config:
    """Fits a laptop: the demo trains it from scratch in about two minutes on two CPU cores.

    Made for hundreds of products, which are soon known by heart: pictures and clips as colours and
    gradients in a few large regions, half of all tokens hidden (the paper hides 15 %), and a
    validation every 50 steps to choose the checkpoint by.
    """
    return Config(
        features=FeatureConfig(
            text_length=32,
            table_length=64,
            image_size=64,
            patch_size=32,
            video_frames=8,
            frame_size=24,
            audio_seconds=2.0,
            audio_frames=32,
            mel_bins=40,
            image_features="hog",
            video_features="hog",
            vocab_size=2048,
        ),
        model=ModelConfig(
            width=64,
            heads=4,
            encoder_layers=2,
            jct_layers=2,
            mlp_ratio=2.0,
            dropout=0.0,
            text_length=32,
            table_length=64,
            image_length=4,
            video_length=8,
            audio_length=32,
            vocab_size=2048,
            image_features=336,
            video_features=189,
            audio_features=40,
        ),
        mask=MaskConfig(rate=0.5),
        train=TrainConfig(steps=450, batch_size=64, learning_rate=2e-3, eval_every=50),
    )


def micro() -> Config:
    """For studies: one training in about 15 seconds on one CPU core, so that hundreds can be run.

    `tiny` with one JCT layer, two attention heads, half the frames of sound, fewer hidden tokens
    and fewer steps. Its numbers are lower than `tiny`'s: a study compares cells with each other.
    """
    base = tiny()
    return Config(
        features=replace(base.features, audio_frames=16),
        model=replace(base.model, audio_length=16, heads=2, jct_layers=1),
        mask=MaskConfig(rate=0.2),
        train=TrainConfig(steps=120, batch_size=64, learning_rate=3e-3, eval_every=0),
    )


def small() -> Config:
    """Fits one consumer GPU: half the depth and width of the paper's model."""
    return Config(
        features=FeatureConfig(
            image_size=112, patch_size=16, audio_seconds=4.0, audio_frames=64, frame_size=32
        ),
        model=ModelConfig(
            width=384,
            heads=6,
            encoder_layers=3,
            jct_layers=3,
            image_length=49,
            video_features=3072,
            audio_length=64,
            vocab_size=4096,
        ),
        train=TrainConfig(steps=10_000, batch_size=256),
    )


def base() -> Config:
    """The paper's model: five 6-layer encoders, a 6-layer JCT, width 768."""
    return Config(
        features=FeatureConfig(
            tokenizer="bert-base-chinese",
            image_features="file",
            video_features="file",
        ),
        model=ModelConfig(image_length=36, image_features=2048, video_features=1024),
        train=TrainConfig(
            steps=100_000,
            batch_size=1024,
            learning_rate=1e-4,
            precision="bf16",
            lean=True,
            log_every=100,
            eval_every=5000,
            checkpoint_every=5000,
        ),
    )


PRESETS = {"micro": micro, "tiny": tiny, "small": small, "base": base}


def configure(preset: str | Config, settings: Mapping[str, Any]) -> Config:
    """Return a preset, or a given config, with some settings changed.

    Args:
        preset: a name in PRESETS, or a Config.
        settings: settings of TrainConfig by name, and dictionaries of those of another section
            under its name: `{"steps": 200, "loss": {"weight_on": "loss"}}`.

    Raises:
        ValueError: an unknown preset or setting, or a value of a wrong type.
    """
    if isinstance(preset, str):
        require(preset in PRESETS, f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
        preset = PRESETS[preset]()
    tree = preset.to_dict()
    for name, value in settings.items():
        if name not in tree:
            tree["train"][name] = value
            continue
        value = asdict(value) if is_dataclass(value) else value
        require(isinstance(value, dict), f"{name} must be a dictionary of settings, not {value!r}")
        tree[name] |= value
    return Config.from_dict(tree)


def official_loss() -> LossConfig:
    """The released code's loss, faults included; tests hold it to the authors' numbers."""
    return LossConfig(
        negatives="both",
        pair_reduction="mean",
        ignore_duplicates=False,
        weight_on="logits",
        weight_gradient=True,
        weight_mean_one=False,
        weight_uniform_share=0.0,
        row_normalise=True,
        regression_weight_on="prediction",
    )
