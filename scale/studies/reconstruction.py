"""What a model puts in the place of hidden vectors, in the units of the features.

L length, F features, N hidden positions, P products.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scale.config import MaskConfig
from scale.data.dataset import ProductDataset
from scale.data.product import Product
from scale.losses.masking import MaskedBatch
from scale.modalities import INDEX
from scale.model.scale import ScaleModel
from scale.studies.context import (
    EVERYTHING,
    NOTHING,
    Context,
    by_product,
    hide,
    in_context,
    nearest_visible,
    position_losses,
    predict,
    visible_mean,
)

CONTEXTS = {"with": EVERYTHING, "without": NOTHING}
"""The guesses of the model that the notebooks show."""
BASELINES = {
    "mean": lambda masked, modality: torch.zeros_like(masked.targets[modality]),
    "visible": visible_mean,
    "nearest": nearest_visible,
}
"""Guesses without a model: the training set's mean (standardised features: 0), the mean of the
product's visible vectors, the visible vectors next to the hidden one."""


@dataclass(frozen=True)
class Reconstruction:
    """One product, one mask, several guesses."""

    product: Product
    truth_LF: np.ndarray
    """The features as they were extracted, e.g. colours in [-1, 1]; standardisation undone."""
    hidden_L: np.ndarray
    """True where the vector was hidden."""
    guess_LF: dict[str, np.ndarray]
    """By name: the guess at hidden positions, the truth elsewhere."""
    loss: dict[str, float]
    """By name: mean squared error of the standardised features over the hidden positions."""


def reconstruct(
    model: ScaleModel,
    data: ProductDataset,
    modality: str,
    config: MaskConfig,
    rows: Sequence[int],
    contexts: Mapping[str, Context] | None = None,
    seed: int = 0,
) -> list[Reconstruction]:
    """The guesses for the products at `rows` of `data`, contexts first, then `BASELINES`.

    Hidden positions are those of `context.product_losses` with the same data and seed, so the
    losses are the ones that it averages.

    Raises:
        ValueError: a product of `rows` lacks the modality.
    """
    lacking = [data.ids[row] for row in rows if not data.present_NM[row, INDEX[modality]]]
    if lacking:
        raise ValueError(f"without {modality}: {', '.join(lacking)}")
    found: dict[int, Reconstruction] = {}
    for masked in hide(data, modality, config, seed):
        index_B = masked.batch.index_B.tolist()
        wanted = [(index, place) for place, index in enumerate(index_B) if index in set(rows)]
        if not wanted:
            continue
        guess_NF = {
            name: predict(model, in_context(masked, modality, context, seed), modality)
            for name, context in (contexts or CONTEXTS).items()
        }
        guess_NF |= {name: make(masked, modality) for name, make in BASELINES.items()}
        for index, place in wanted:
            found[index] = reconstruction_of(data, modality, masked, place, guess_NF)
    return [found[row] for row in rows]


def reconstruction_of(
    data: ProductDataset,
    modality: str,
    masked: MaskedBatch,
    place: int,
    guess_NF: Mapping[str, Tensor],
) -> Reconstruction:
    """The guesses for the product at `place` of a batch of `data`, standardisation undone.

    guess_NF: by name, vectors_NF (standardised) at the hidden positions of the whole batch.
    """
    index = int(masked.batch.index_B[place])
    own_N = masked.rows(modality) == place
    column, tokens = data.columns[modality], masked.batch.tokens[modality]
    (row,) = (tokens.rows_R == place).nonzero()[:, 0].tolist()
    start, length = column.start_N[index], column.length_N[index]
    truth_LF = column.values[start : start + length].astype(np.float32)
    hidden_L = masked.hidden[modality][row, :length].numpy()
    target_NF = masked.targets[modality][own_N]
    guesses, losses = {}, {}
    for name, all_NF in guess_NF.items():
        guesses[name] = truth_LF.copy()
        plain_NF = all_NF[own_N].numpy() * column.spread_F + column.mean_F
        guesses[name][hidden_L] = plain_NF
        losses[name] = position_losses(modality, all_NF[own_N], target_NF).mean().item()
    return Reconstruction(data.products[index], truth_LF, hidden_L, guesses, losses)


def baseline_losses(
    data: ProductDataset, modality: str, config: MaskConfig, seed: int = 0
) -> dict[str, np.ndarray]:
    """loss_P of each of `BASELINES`, on the positions that `context.product_losses` hides."""
    losses = {name: np.full(len(data), np.nan) for name in BASELINES}
    for masked in hide(data, modality, config, seed):
        index_B, target_NF = masked.batch.index_B.numpy(), masked.targets[modality]
        for name, guess in BASELINES.items():
            loss_N = position_losses(modality, guess(masked, modality), target_NF)
            mean_B = by_product(loss_N, masked.rows(modality), len(index_B))
            losses[name][index_B] = mean_B.numpy()
    return losses


def best_median_worst(gain_P: np.ndarray) -> tuple[int, int, int]:
    """Products of the largest, the median and the smallest value, by a rule and not by eye.

    NaN is left out. Of an even number, the upper one of the two in the middle; the first of equal
    ones. Raises ValueError where nothing is a number.
    """
    order = np.argsort(-gain_P, kind="stable")
    order = order[~np.isnan(gain_P[order])]
    if not len(order):
        raise ValueError("no product has a gain")
    return int(order[0]), int(order[(len(order) - 1) // 2]), int(order[-1])
