"""A masked task trained alone, on products that have certain modalities: seconds on a laptop.

P products, L length, F features.
"""

from dataclasses import replace

import numpy as np
import torch

from scale.config import Config, MaskConfig
from scale.data.dataset import ProductDataset
from scale.modalities import INDEX, SPECS
from scale.model.scale import ScaleModel
from scale.studies.cell import restrict
from scale.training.run import seeded_model
from scale.training.step import Stepper


def having(data: ProductDataset, modalities: tuple[str, ...]) -> ProductDataset:
    """The products that have all of `modalities`, with the others counted as missing."""
    columns = [INDEX[m] for m in modalities]
    return restrict(data.subset(np.flatnonzero(data.present_NM[:, columns].all(1))), modalities)


def train_masked(
    config: Config,
    train: ProductDataset,
    modality: str,
    beside: tuple[str, ...],
    rate: float,
    steps: int,
    further: tuple[str, ...] = (),
) -> ScaleModel:
    """A model of random start that learns the masked task of `modality` and little else.

    Args:
        config: sizes, optimizer and seed; its tasks, modalities and mask rate are replaced.
        train: of it, the products that have `modality` and all of `beside`.
        rate: share of the tokens that is hidden, in `modality` and where a further task hides some.
        further: other tasks that are on, e.g. `contrastive`. Without any, `beside` stays whole.
    """
    modalities = (modality, *beside)
    config = replace(
        config,
        model=replace(config.model, modalities=modalities),
        mask=MaskConfig(rate=rate),
        loss=replace(config.loss, tasks=(SPECS[modality].task, *further)),
        train=replace(config.train, steps=steps),
    )
    stepper = Stepper(config, seeded_model(config), having(train, modalities))
    for step in range(steps):
        stepper.step(step)
    return stepper.model.eval()


def copy_losses(data: ProductDataset, modality: str, most: int) -> np.ndarray:
    """Error of copying the vector d places away, as loss_D for d = 1 .. `most`.

    loss_d = mean over all pairs (i, i + d) of one sequence of mean_f (x_if - x_(i+d)f)^2, on
    standardised features. NaN where no sequence is long enough.
    """
    rows = np.flatnonzero(data.present_NM[:, INDEX[modality]])
    tokens = data.collate(rows).tokens[modality]
    losses = np.full(most, np.nan)
    for distance in range(1, most + 1):
        both_RL = ~tokens.padding_RL[:, distance:]
        if both_RL.any():
            step_RLF = tokens.values[:, distance:] - tokens.values[:, :-distance]
            losses[distance - 1] = step_RLF.square().mean(2)[both_RL].mean().item()
    return losses


def mean_loss(data: ProductDataset, modality: str) -> float:
    """Error of guessing the training set's mean everywhere (standardised features: 0)."""
    rows = np.flatnonzero(data.present_NM[:, INDEX[modality]])
    tokens = data.collate(rows).tokens[modality]
    return torch.mean(tokens.values.square().mean(2)[~tokens.padding_RL]).item()
