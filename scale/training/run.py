"""A run folder: what `scale pretrain` writes and every later command reads."""

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch
from transformers import PreTrainedTokenizerBase

from scale.config import Config
from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue, with_splits
from scale.data.dataset import ProductDataset
from scale.data.normaliser import Normaliser
from scale.data.tokenizer import load_tokenizer
from scale.modalities import CONTINUOUS
from scale.model.scale import ScaleModel
from scale.seeding import derived_seed
from scale.training.checkpoint_manager import CheckpointManager, load_weights

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFolder:
    """Names of the things in a run folder."""

    folder: Path

    @property
    def config(self) -> Path:
        """All settings, as JSON."""
        return self.folder / "config.json"

    @property
    def data(self) -> Path:
        """Fingerprint of the data that the run was started with; marks the folder as a run's."""
        return self.folder / "data.json"

    @property
    def tokenizer(self) -> Path:
        """Folder of the tokenizer."""
        return self.folder / "tokenizer"

    @property
    def normaliser(self) -> Path:
        """Means and spreads of the continuous features, from the training split."""
        return self.folder / "normaliser.safetensors"

    @property
    def problems(self) -> Path:
        """What of the catalogue could not be used."""
        return self.folder / "problems.jsonl"

    @property
    def results(self) -> Path:
        """Measured numbers, written by `scale evaluate`."""
        return self.folder / "results.json"

    @property
    def figures(self) -> Path:
        """Folder of pictures."""
        return self.folder / "figures"

    @property
    def checkpoints(self) -> Path:
        """Folder of all checkpoints."""
        return self.folder / "checkpoint"

    def checkpoint(self, which: str) -> Path:
        """Folder of the checkpoint `last`, `best` or e.g. `step-000100`."""
        return self.checkpoints / which


@dataclass(frozen=True)
class TrainedRun:
    """A trained model with its config, tokenizer and normaliser; `scale.Run` adds methods."""

    folder: RunFolder
    config: Config
    tokenizer: PreTrainedTokenizerBase
    normaliser: Normaliser
    model: ScaleModel

    @classmethod
    def load(cls, folder: Path | str, which: str = "best") -> Self:
        """Open a run folder.

        Args:
            which: the checkpoint: `best` (by validation), `last`, or a name that `checkpoints`
                lists, e.g. `step-000100`. Without a best checkpoint, the last one is loaded.

        Raises:
            ValueError: the folder is not a run folder, or a file in it is damaged or does not fit;
                the message names the path.
        """
        run = RunFolder(Path(folder))
        if not run.config.is_file():
            raise ValueError(f"{run.config}: no such file; is {folder} the folder of a run?")
        manager = CheckpointManager(run.checkpoints)
        chosen = manager.find(which)
        if chosen is None:
            there = ", ".join(manager.steps()) or "none yet"
            raise ValueError(
                f"{run.checkpoint(which)}: no such checkpoint (there: {there}); continue with "
                "scale pretrain --resume"
            )
        return cls(
            run,
            Config.load(run.config),
            load_tokenizer(run.tokenizer),
            Normaliser.load(run.normaliser),
            load_weights(chosen),
        )

    def checkpoints(self) -> dict[str, int]:
        """Names for `load(which=...)` and the steps at which they were written, earliest first.

        `train.keep_every` keeps those from which training can be looked at over time.
        """
        return CheckpointManager(self.folder.checkpoints).steps()

    def dataset(
        self,
        catalogue: Catalogue,
        split: str | None = None,
        cache: FeatureCache | None = None,
        strict: bool = False,
    ) -> ProductDataset:
        """A catalogue as this run's tokens; `split` keeps one of train, val, test."""
        if split is not None:
            catalogue = with_splits(catalogue).split(split)
        dataset = build_dataset(
            catalogue, self.config, self.tokenizer, self.normaliser, cache=cache, strict=strict
        )
        check_sizes(self.config, dataset)
        return dataset

    def untrained(self) -> ScaleModel:
        """The same model with random weights (the run's seed): what training has to beat."""
        return seeded_model(self.config)


def seeded_model(config: Config) -> ScaleModel:
    """A model with the random weights that the run's seed gives; the global generator is kept."""
    with torch.random.fork_rng():
        torch.manual_seed(derived_seed(config.train.seed))
        return ScaleModel(config.model, config.missing)


def build_dataset(
    catalogue: Catalogue,
    config: Config,
    tokenizer: PreTrainedTokenizerBase,
    normaliser: Normaliser | None,
    **options,
) -> ProductDataset:
    """`ProductDataset.build` with the lengths and modalities of a config.

    A media file that gives more vectors than the model takes is cut, and that is logged.
    """
    dataset = ProductDataset.build(
        catalogue,
        config.features,
        tokenizer,
        normaliser,
        modalities=config.model.modalities,
        lengths={m: config.model.length(m) for m in CONTINUOUS},
        **options,
    )
    for m, count in dataset.cut.items():
        if count:
            log.warning(
                "%s: %d files give more than %d vectors and were cut; set model.%s_length",
                m, count, config.model.length(m), m,
            )  # fmt: skip
    return dataset


def fit_sizes(config: Config, dataset: ProductDataset) -> Config:
    """The config with the vector sizes of sources that only the data tell: feature files, timm."""
    found = {f"{m}_features": size for m, size in dataset.feature_sizes.items()}
    return replace(config, model=replace(config.model, **found))


def check_sizes(config: Config, dataset: ProductDataset) -> None:
    """Raises ValueError where a catalogue's vectors are of another size than the run's model."""
    for m, size in dataset.feature_sizes.items():
        if size != config.model.feature_size(m):
            raise ValueError(
                f"{m} vectors have size {size}, the run's model takes "
                f"{config.model.feature_size(m)}"
            )


def fit_vocabulary(config: Config, tokenizer: PreTrainedTokenizerBase) -> Config:
    """The config with the model's vocabulary as large as the tokenizer's."""
    return replace(config, model=replace(config.model, vocab_size=len(tokenizer)))


def differing_keys(a: Config, b: Config) -> list[str]:
    """Dotted names of the settings in which two configs differ."""
    left, right = _flat(a.to_dict()), _flat(b.to_dict())
    return sorted(k for k in left if json.dumps(left[k]) != json.dumps(right[k]))


def _flat(tree: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
