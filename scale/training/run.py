"""The run folder of `scale pretrain`, and a trained run opened from it."""

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from scale.config import Config
from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue, with_splits
from scale.data.dataset import ProductDataset
from scale.data.normaliser import Normaliser
from scale.data.tokenizer import load_tokenizer
from scale.losses.weighting import Weights
from scale.modalities import CONTINUOUS
from scale.model.pretrained import initialise_from_pretrained
from scale.model.projection import fit_projections, training_batches
from scale.model.scale import ScaleModel
from scale.seeding import derived_seed
from scale.training.checkpoint_manager import CheckpointManager, load_model

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFolder:
    """Paths of the files in a run folder."""

    folder: Path

    @property
    def config(self) -> Path:
        """All settings, as JSON."""
        return self.folder / "config.json"

    @property
    def data(self) -> Path:
        """Fingerprint of the training data; marks the folder as a run folder."""
        return self.folder / "data.json"

    @property
    def tokenizer(self) -> Path:
        """Folder of the tokenizer."""
        return self.folder / "tokenizer"

    @property
    def normaliser(self) -> Path:
        """Means and standard deviations of the continuous features, from the training split."""
        return self.folder / "normaliser.safetensors"

    @property
    def problems(self) -> Path:
        """Records and media files of the catalogue that could not be read."""
        return self.folder / "problems.jsonl"

    @property
    def agreement(self) -> Path:
        """Cross-fitted agreement of the training products (`LossConfig.weight_by` agreement)."""
        return self.folder / "agreement.parquet"

    @property
    def results(self) -> Path:
        """Results of `scale evaluate`."""
        return self.folder / "results.json"

    @property
    def figures(self) -> Path:
        """Folder of figures."""
        return self.folder / "figures"

    @property
    def checkpoints(self) -> Path:
        """Folder of all checkpoints."""
        return self.folder / "checkpoint"

    def checkpoint(self, which: str) -> Path:
        """Return the folder of the checkpoint `last`, `best` or e.g. `step-000100`."""
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
            available = ", ".join(manager.steps()) or "none yet"
            raise ValueError(
                f"{run.checkpoint(which)}: no such checkpoint (available: {available}); continue "
                "with scale pretrain --resume"
            )
        tokenizer, model = load_tokenizer(run.tokenizer), load_model(chosen)
        if len(tokenizer) > model.config.vocab_size:
            raise ValueError(
                f"{run.tokenizer}: {len(tokenizer):,} word pieces, but the model of {chosen} has "
                f"{model.config.vocab_size:,}"
            )
        return cls(run, Config.load(run.config), tokenizer, Normaliser.load(run.normaliser), model)

    def checkpoints(self) -> dict[str, int]:
        """Return checkpoint names for `load(which=...)` and their steps, earliest first.

        With `train.keep_every`, they include `step-000100` and so on.
        """
        return CheckpointManager(self.folder.checkpoints).steps()

    def dataset(
        self,
        catalogue: Catalogue,
        split: str | None = None,
        cache: FeatureCache | None = None,
        strict: bool = False,
    ) -> ProductDataset:
        """Convert a catalogue to the model's inputs; `split` selects train, val or test."""
        if split is not None:
            catalogue = with_splits(catalogue).split(split)
        dataset = build_dataset(
            catalogue, self.config, self.tokenizer, self.normaliser, cache=cache, strict=strict
        )
        check_sizes(self.config, dataset)
        return dataset

    def untrained(self) -> ScaleModel:
        """Return the model as it was before the first step, as a baseline.

        Weights are random, from the run's seed, except those of a pretrained model
        (`model.discrete_init`, `model.continuous_init`, `model.text_backbone` etc.). Raises
        ValueError if that model can no longer be read. With `model.pooling` projection, the inputs
        of the projections are kept (standardisation, principal components), and the projections are
        random.
        """
        model = initial_model(self.config)[0]
        model.set_normaliser(self.normaliser)
        for m, projection in model.projections.items():
            projection.copy_inputs(self.model.projections[m])
        return model


def initial_model(
    config: Config, train: ProductDataset | None = None, weights: Weights | None = None
) -> tuple[ScaleModel, list[str]]:
    """Return the model of step 0, with pretrained weights if configured, and messages for the log.

    train: training products, on which the closed-form part of `model.pooling` projection is fitted
        (None: it is random), and whose standardisation encoders that read pixels need.
    weights: of these products in the closed-form part.
    Raises ValueError if the pretrained model cannot be read or does not fit.
    """
    model = seeded_model(config)
    messages = initialise_from_pretrained(model)
    if train is not None:
        model.set_normaliser(train.normaliser)
        fit_closed_form(model, train, config, weights)
    return model, messages


def fit_closed_form(
    model: nn.Module, train: ProductDataset, config: Config, weights: Weights | None = None
) -> None:
    """Fit the projections of a model on training products; nothing for a model without them."""
    if getattr(model, "projections", None):
        seed = derived_seed(config.train.seed)
        weight_NP = None if weights is None else weights.pair_BP
        fit_projections(model.projections, training_batches(train), config.model, seed, weight_NP)


def seeded_model(config: Config) -> ScaleModel:
    """Initialise a model from the run's seed; the global random state is unchanged."""
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
    """Call `ProductDataset.build` with the lengths and modalities of a config.

    Media files with more vectors than the model takes are truncated, which is logged.
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
                "%s: %d files have more than %d vectors and were truncated; set model.%s_length",
                m, count, config.model.length(m), m,
            )  # fmt: skip
    return dataset


def fit_sizes(config: Config, dataset: ProductDataset) -> Config:
    """Set the feature sizes that depend on the data: feature files and frozen models."""
    found = {f"{m}_features": size for m, size in dataset.feature_sizes.items()}
    return replace(config, model=replace(config.model, **found))


def check_sizes(config: Config, dataset: ProductDataset) -> None:
    """Raise ValueError if a catalogue's feature sizes differ from those of the run's model."""
    for m, size in dataset.feature_sizes.items():
        if size != config.model.feature_size(m):
            raise ValueError(
                f"{m} vectors have size {size}, the run's model takes "
                f"{config.model.feature_size(m)}"
            )


def fit_vocabulary(config: Config, tokenizer: PreTrainedTokenizerBase) -> Config:
    """Set the model's vocabulary size to the tokenizer's."""
    return replace(config, model=replace(config.model, vocab_size=len(tokenizer)))


def differing_keys(a: Config, b: Config) -> list[str]:
    """Return the dotted names of the settings in which two configs differ."""
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
