"""Fixtures for all tests."""

import os

# As in `make test`. Tests that fork would wait forever for the threads of OpenMP.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import signal
import wave
from dataclasses import replace
from pathlib import Path

import av
import hypothesis
import numpy as np
import pytest
import torch
from PIL import Image

from scale.config import Config, MissingConfig, ModelConfig
from scale.data.batch import ProductBatch, Tokens
from scale.modalities import INDEX, MODALITIES, SPECS
from scale.model.scale import ScaleModel
from scale.training.pretrain import pretrain
from tests.training.small_data import FEATURES, MODEL

# On a loaded machine any example may be slow.
hypothesis.settings.register_profile("scale", deadline=None)
hypothesis.settings.load_profile("scale")


@pytest.fixture(scope="session", autouse=True)
def default_interrupts():
    """Handle SIGINT as in a terminal. Shells ignore it in background jobs (`&`), where tests that
    interrupt a run would never end."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def no_fsync():
    """Skip syncing to disk, which protects against power failures only and takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(autouse=True)
def same_threads():
    """Restore the number of threads after each test: it affects rounding."""
    before = torch.get_num_threads()
    yield
    if torch.get_num_threads() != before:
        torch.set_num_threads(before)


@pytest.fixture
def model_config() -> ModelConfig:
    return MODEL


@pytest.fixture(scope="session")
def config() -> Config:
    return Config(features=FEATURES, model=MODEL)


@pytest.fixture
def make_model():
    """Return a function that builds a seeded model from a policy and changed settings."""

    def make(policy: str = "zero", **changes) -> ScaleModel:
        torch.manual_seed(0)
        return ScaleModel(replace(MODEL, **changes), MissingConfig(policy)).eval()

    return make


@pytest.fixture
def make_batch():
    """Return a function that builds a seeded random batch from the modalities of each product."""
    return random_batch


@pytest.fixture(scope="session")
def reference() -> dict:
    """Results of the released code; arrays over five modalities are in its order."""
    path = Path(__file__).parent / "reference" / "reference_vectors.json"
    return json.loads(path.read_text(encoding="utf-8"))


def random_batch(present: list[tuple[str, ...]], seed: int = 0) -> ProductBatch:
    random = torch.Generator().manual_seed(seed)
    present_BM = torch.tensor([[m in subset for m in MODALITIES] for subset in present])
    tokens = {}
    for m in MODALITIES:
        length = MODEL.length(m)
        # Drawn for all products: the content of a product does not depend on the others.
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
            # Entities of two word pieces each, after [CLS].
            entity_L = (torch.arange(length) - 1).div(2, rounding_mode="floor").clamp(min=-1)
            tokens[m].entity_RL = entity_L.expand_as(padding_BL).masked_fill(padding_BL, -1)
        tokens[m] = tokens[m].select(rows_R)
    return ProductBatch(tokens, present_BM, torch.arange(len(present)))


@pytest.fixture(scope="session")
def small_catalogue(tmp_path_factory) -> Path:
    """A catalogue of 48 products in 4 categories with media; a third of them is incomplete."""
    folder = tmp_path_factory.mktemp("catalogue")
    random = np.random.default_rng(0)
    records = []
    for n in range(48):
        kind = n % 4
        colour = random.integers(0, 60, 3) + np.eye(3, dtype=int)[kind % 3] * 180
        has = [m for m in ("image", "video", "audio") if n % 3 or m == ("image", "audio")[n % 2]]
        record = {
            "id": f"p{n:02d}",
            "title": f"{['red', 'green', 'blue', 'dark'][kind]} thing number {n}",
            "table": [["kind", f"k{kind}"], ["size", str(n % 7)], ["weight", str(n % 5)]],
            "category": f"c{kind}",
            "split": ("train", "train", "train", "val", "test")[n % 5],
        }
        if n % 6 == 5:
            del record["table"]
        for m in has:
            record[m] = f"{n:02d}.{ENDINGS[m]}"
            WRITERS[m](folder / record[m], colour.astype(np.uint8), kind, random)
        record["alt"] = {"title": f"another {['red', 'green', 'blue', 'dark'][kind]} view {n}"}
        records.append(json.dumps(record))
    (folder / "products.jsonl").write_text("\n".join(records) + "\n")
    return folder


def _write_image(path, colour, kind, random):
    pixels = np.clip(colour + random.integers(-20, 20, (8, 8, 3)), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)


def _write_video(path, colour, kind, random):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width = stream.height = 16
        for t in range(4):
            pixels = np.roll(np.tile(colour, (16, 16, 1)), t * (kind + 1), axis=1)
            pixels[:, t * 3 : t * 3 + kind + 1] = 255
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _write_audio(path, colour, kind, random):
    time = np.arange(8000) / 16_000
    sound = np.sin(2 * np.pi * 300 * (kind + 1) * time) + 0.1 * random.normal(size=8000)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((sound * 8000).astype("<i2").tobytes())


ENDINGS = {"image": "png", "video": "mp4", "audio": "wav"}
WRITERS = {"image": _write_image, "video": _write_video, "audio": _write_audio}


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory):
    """The user's cache folder, for commands without a cache argument."""
    folder = tmp_path_factory.mktemp("user-cache")
    os.environ["SCALE_CACHE"] = str(folder)
    yield folder
    del os.environ["SCALE_CACHE"]


@pytest.fixture(scope="session")
def run_folder(config, small_catalogue, cache_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    train = replace(config.train, steps=60, batch_size=8, learning_rate=2e-3, eval_every=30)
    pretrain(replace(config, train=train), small_catalogue, out, progress=False)
    return out
