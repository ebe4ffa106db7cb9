"""One cell and seed: damage the training products, train, measure.

N products, M modalities (five), P pairs (ten), D width.
"""

import hashlib
import math
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from scale.config import Config
from scale.data.catalogue import Catalogue
from scale.data.dataset import ProductDataset
from scale.data.splits import with_splits
from scale.data.tokenizer import train_tokenizer
from scale.evaluation.report import provenance
from scale.modalities import INDEX, MODALITIES
from scale.presets import PRESETS
from scale.studies.diagnosis import diagnose
from scale.studies.measure import Measured, measure
from scale.studies.noise import NoisyProducts, apply_noise
from scale.studies.released_code import FAULTS, Fault
from scale.studies.store import Record
from scale.studies.study import Cell
from scale.studies.systems.build import build_system
from scale.studies.systems.named import SYSTEMS
from scale.studies.weightings import make_weigher
from scale.training.run import build_dataset, fit_sizes, fit_vocabulary
from scale.training.step import Stepper, TrainingError

CHECK_EVERY = 25
"""Steps between looks at whether the loss is still a number."""


@dataclass(frozen=True)
class Bench:
    """A catalogue's products as tokens, and the preset that fits them: shared by all cells."""

    catalogue: str
    preset: str
    config: Config
    train: ProductDataset
    held: ProductDataset
    """Validation and test products together: a study chooses nothing on either, and the more
    products, the narrower the intervals."""
    fingerprint: str
    """Changes where the catalogue's records or the presence of its media do."""


@lru_cache(maxsize=2)
def open_bench(folder: Path, preset: str) -> Bench:
    """Features, tokenizer and splits of a catalogue, once per process.

    Raises ValueError where the catalogue has no training or no held-out products, or for an unknown
    preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
    catalogue, config = with_splits(Catalogue.open(folder)), PRESETS[preset]()
    tokenizer = train_tokenizer(catalogue.split("train").products, config.features.vocab_size)
    config = fit_vocabulary(config, tokenizer)
    data = build_dataset(catalogue, config, tokenizer, None)
    config = fit_sizes(config, data)
    training_N = np.array([p.split == "train" for p in data.products])
    usable_N = data.present_NM.any(axis=1)
    train = data.subset(np.flatnonzero(training_N & usable_N))
    held = data.subset(np.flatnonzero(~training_N & usable_N))
    if len(train) < 2 or len(held) < 2:
        raise ValueError(
            f"{folder}: {len(train)} products to train on and {len(held)} held out; a study needs "
            "at least 2 of either"
        )
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.glob("products.*")):
        digest.update(path.read_bytes())
    digest.update(data.present_NM.tobytes() + data.content_NM.tobytes())
    name = folder.resolve().name
    return Bench(name, preset, config, train, held, digest.hexdigest())


def run_cell(bench: Bench, study: str, key: str, cell: Cell, seed: int) -> Record:
    """Train and measure; a cell that cannot be trained gives a record that says why."""
    started = time.perf_counter()
    config = cell.config(bench.config, seed)
    status, reason, found = "done", "", Measured()
    try:
        found = _train_and_measure(bench, cell, config, seed)
    except TrainingError as error:
        status, reason = "failed", str(error)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    facts = provenance(seed, started, device) | {
        "threads": torch.get_num_threads(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return Record(
        study, bench.catalogue, bench.preset, key, cell.factors, seed, status, reason,
        found.figures, found.queries, config.to_dict(), cell.identity(), facts,
    )  # fmt: skip


def _train_and_measure(bench: Bench, cell: Cell, config: Config, seed: int) -> Measured:
    fault = FAULTS.get(cell.model, Fault(""))
    train, held = (restrict(data, config.model.modalities) for data in (bench.train, bench.held))
    noisy = apply_noise(train, cell.noises, seed)
    noisy = replace(noisy, dataset=fault.train(noisy.dataset))
    config = fault.config(config)
    stepper = train_model(config, cell, fault, noisy)
    complete_N = bench.held.present_NM.all(axis=1)
    found = measure(stepper.model, fault.held(held), complete_N, cell.tests, seed, stepper.device)
    damaged = apply_noise(held, cell.noises, seed)
    damaged = replace(damaged, dataset=fault.held(damaged.dataset))
    found.figures["training"] = diagnose(stepper, noisy, damaged)
    return found


def train_model(config: Config, cell: Cell, fault: Fault, noisy: NoisyProducts) -> Stepper:
    """Train a cell's model on damaged products. Raises TrainingError where it cannot go on."""
    stepper = Stepper(config, _build(cell.model, fault, config), noisy.dataset)
    stepper.weigher = make_weigher(
        cell.weigher, stepper.train.ids, noisy.dataset.ids, noisy.true_NM, config.train.batch_size
    )
    for number in range(config.train.steps):
        step = stepper.step(number)
        if number % CHECK_EVERY == 0 or number == config.train.steps - 1:
            loss = step.loss.total.item()
            if not math.isfinite(loss):
                raise TrainingError(f"step {number + 1}: the loss is {loss}")
    return stepper


def _build(name: str, fault: Fault, config: Config) -> nn.Module:
    """SCALE, SCALE with a fault, or a relative, with the weights that the run's seed gives.

    `uniter` sees the modalities of its paper, `uniter everywhere` all five.
    """
    system = name.removesuffix(" everywhere")
    if system in SYSTEMS:
        made = SYSTEMS[system]()
        made = made if name == system else made.everywhere()
        return build_system(made, config, config.train.seed)
    if name not in ("scale", *FAULTS):
        known = ", ".join(("scale", *FAULTS, *SYSTEMS))
        raise ValueError(f"unknown model {name!r}; known: {known}")
    return fault.build(config)


def restrict(data: ProductDataset, modalities: tuple[str, ...]) -> ProductDataset:
    """The same products with the other modalities counted as missing."""
    unused = [INDEX[m] for m in MODALITIES if m not in modalities]
    if not unused:
        return data
    content_NM = data.content_NM.copy()
    content_NM[:, unused] = -1
    columns = {m: column for m, column in data.columns.items() if m in modalities}
    return replace(data, content_NM=content_NM, columns=columns)
