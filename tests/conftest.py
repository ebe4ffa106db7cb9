"""Fixtures that every room of the tests uses."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scale.config import Config, FeatureConfig, MissingConfig, ModelConfig
from scale.data.batch import ProductBatch, Tokens
from scale.modalities import INDEX, MODALITIES, SPECS
from scale.model.scale import ScaleModel

MODEL = ModelConfig(
    width=16, heads=2, encoder_layers=1, jct_layers=1, mlp_ratio=2.0, dropout=0.0,
    text_length=10, table_length=14, image_length=4, video_length=3, audio_length=6,
    vocab_size=40, image_features=12, video_features=27, audio_features=5,
)  # fmt: skip
"""The smallest model in which every part of the real one is there."""

FEATURES = FeatureConfig(
    text_length=10, table_length=14, image_size=4, patch_size=2, video_frames=3, frame_size=3,
    audio_seconds=1.0, audio_frames=6, mel_bins=5, vocab_size=40,
)  # fmt: skip


@pytest.fixture
def model_config() -> ModelConfig:
    return MODEL


@pytest.fixture
def config() -> Config:
    return Config(features=FEATURES, model=MODEL)


@pytest.fixture
def make_model():
    """A seeded model by policy and changed settings."""

    def make(policy: str = "zero", **changes) -> ScaleModel:
        torch.manual_seed(0)
        return ScaleModel(replace(MODEL, **changes), MissingConfig(policy)).eval()

    return make


@pytest.fixture
def make_batch():
    """A seeded batch of random tokens; `present` is a list of subsets, one a product."""
    return random_batch


@pytest.fixture(scope="session")
def reference() -> dict:
    """Numbers of the authors' released code; five-stacks are in its order of modalities."""
    path = Path(__file__).parent / "data" / "reference_vectors.json"
    return json.loads(path.read_text(encoding="utf-8"))


def random_batch(present: list[tuple[str, ...]], seed: int = 0) -> ProductBatch:
    random = torch.Generator().manual_seed(seed)
    present_BM = torch.tensor([[m in subset for m in MODALITIES] for subset in present])
    tokens = {}
    for m in MODALITIES:
        length = MODEL.length(m)
        # Drawn for all products, so that a product's content does not depend on the others'.
        sizes_B = torch.randint(max(length // 2, 3), length + 1, (len(present),), generator=random)
        padding_BL = torch.arange(length) >= sizes_B[:, None]
        rows_R = present_BM[:, INDEX[m]].nonzero().squeeze(1)
        if SPECS[m].kind == "discrete":
            values = torch.randint(5, MODEL.vocab_size, padding_BL.shape, generator=random)
            values[:, 0] = 2
            values = values.masked_fill(padding_BL, 0)
        else:
            values = torch.randn(*padding_BL.shape, MODEL.feature_size(m), generator=random)
            values = values.masked_fill(padding_BL[:, :, None], 0.0)
        tokens[m] = Tokens(values, padding_BL, torch.arange(len(present)))
        if m == "table":
            # Entities of two pieces each, after [CLS].
            entity_L = (torch.arange(length) - 1).div(2, rounding_mode="floor").clamp(min=-1)
            tokens[m].entity_RL = entity_L.expand_as(padding_BL).masked_fill(padding_BL, -1)
        tokens[m] = tokens[m].select(rows_R)
    return ProductBatch(tokens, present_BM, torch.arange(len(present)))
