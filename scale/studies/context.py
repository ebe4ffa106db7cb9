"""Prediction of masked tokens with and without the product's other modalities (paper, section 4.2).

L_Mi reads the rest of its own modality and all others. The contribution of the others is measured
by predicting the same masked positions in two contexts and comparing the losses product by product.
`reconstruct` returns predicted vectors in the units of the features.

B products of a batch, P products of a dataset, M modalities (five), R rows (products that have the
modality), L length, N masked positions, V vocabulary, F features.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from scale.config import MaskConfig
from scale.data.batch import ProductBatch, Tokens
from scale.data.dataset import ProductDataset
from scale.data.product import Product
from scale.evaluation.bootstrap import Estimate, paired_difference
from scale.losses.masking import MaskedBatch, WordPieces, mask_batch
from scale.modalities import INDEX, MODALITIES, SPECS
from scale.model.scale import ScaleModel
from scale.seeding import generator

BATCH = 256
"""Products per forward pass. Masks depend on it: they are drawn by position in the batch."""
OTHER_PRODUCTS_STREAM = 1


@dataclass(frozen=True)
class Context:
    """Modalities that the model sees in addition to the predicted one."""

    keep: tuple[str, ...] = MODALITIES
    """Modalities that are kept; the others are marked missing (`ProductBatch.only`), so the model's
    missing-modality policy applies: zero imputation, a learned token, or no tokens."""
    other_products: bool = False
    """Take every kept modality from another product: as many tokens as before, with the
    distribution seen in training, but unrelated to this product."""


NOTHING, EVERYTHING, OTHER_PRODUCTS = Context(()), Context(), Context(other_products=True)


def default_contexts(modality: str) -> dict[str, Context]:
    """Return the contexts `none`, `all`, `other products`, and each other modality alone."""
    alone = {m: Context((m,)) for m in MODALITIES if m != modality}
    return {"none": NOTHING, "all": EVERYTHING, "other products": OTHER_PRODUCTS, **alone}


def mask_modality(
    data: ProductDataset, modality: str, config: MaskConfig, seed: int = 0, draw: int = 0
) -> Iterator[MaskedBatch]:
    """Yield batches of the products that have `modality`, with masked tokens in it alone.

    `index_B` of the batches refers to `data`. Equal arguments mask equal positions, so contexts are
    compared on the same positions. Raises ValueError if no product has the modality.
    """
    having = np.flatnonzero(data.present_NM[:, INDEX[modality]])
    if not len(having):
        raise ValueError(f"no product has {modality}")
    pieces = WordPieces.of(data.tokenizer)
    for number, start in enumerate(range(0, len(having), BATCH)):
        batch = data.collate(having[start : start + BATCH])
        yield mask_batch(batch, config, pieces, (seed, draw, number), (SPECS[modality].task,))


def in_context(
    masked: MaskedBatch, modality: str, context: Context = EVERYTHING, seed: int = 0
) -> MaskedBatch:
    """Return the same masked positions in another context; `seed` selects the other products."""
    keep = tuple(m for m in MODALITIES if m in context.keep or m == modality)
    batch = masked.batch.only(keep)
    if context.other_products:
        batch = _with_other_products(batch, modality, seed)
    return replace(masked, batch=batch)


def _with_other_products(batch: ProductBatch, modality: str, seed: int) -> ProductBatch:
    """Replace each product's other modalities by those of the previous product in a random cycle.

    One cycle is used for all modalities, restricted to the products that have each: presence does
    not change, and the replaced modalities mostly come from the same product.
    """
    draw = torch.rand(len(batch), generator=generator("cpu", seed, OTHER_PRODUCTS_STREAM))
    tokens = {}
    for m, own in batch.tokens.items():
        order_R = draw.to(own.rows_R.device)[own.rows_R].argsort()
        before_R = torch.empty_like(order_R)
        before_R[order_R] = order_R.roll(1)
        tokens[m] = own if m == modality else replace(own.select(before_R), rows_R=own.rows_R)
    return replace(batch, tokens=tokens)


def predict(model: ScaleModel, masked: MaskedBatch, modality: str) -> Tensor:
    """Predict logits_NV or vectors_NF at the masked positions of `modality`, without gradient.

    Rows are in the order of `masked.targets[modality]`. The model's training mode is restored.
    """
    device = next(model.parameters()).device
    hidden = {modality: masked.hidden[modality].to(device)}
    training = model.training
    model.eval()
    with torch.no_grad():
        found = model(masked.batch.to(device), hidden).predictions[modality].float().cpu()
    model.train(training)
    return found


def position_losses(predicted: Tensor, target: Tensor) -> Tensor:
    """Return loss_N, whose mean is the unweighted `masked_token_loss` or `masked_vector_loss`.

    CE(logits_n, target_n) of word pieces target_N, mean_f (p_nf - t_nf)^2 of vectors target_NF.
    """
    if target.ndim == 1:
        return cross_entropy(predicted.float(), target, reduction="none")
    return (predicted.float() - target).square().mean(dim=1)


def by_product(value_N: Tensor, product_N: Tensor, products: int) -> Tensor:
    """Average over each product's positions, value_B (float64); NaN for products without any."""
    sum_B = torch.zeros(products, dtype=torch.float64)
    sum_B.index_add_(0, product_N, value_N.double())
    return sum_B / torch.bincount(product_N, minlength=products)


def product_losses(
    model: ScaleModel,
    data: ProductDataset,
    modality: str,
    config: MaskConfig,
    contexts: Mapping[str, Context] | None = None,
    seed: int = 0,
    draws: int = 1,
) -> dict[str, np.ndarray]:
    """Return loss_P of each context by name (default: `default_contexts`).

    Averaged over `draws` masks, the same ones in every context. NaN if the product lacks the
    modality, or all modalities of a nonempty context.
    """
    contexts = contexts or default_contexts(modality)
    loss = {name: np.full(len(data), np.nan) for name in contexts}
    for draw in range(draws):
        for masked in mask_modality(data, modality, config, seed, draw):
            index_B = masked.batch.index_B.numpy()
            for name, context in contexts.items():
                shown = in_context(masked, modality, context, seed + draw)
                loss_N = position_losses(predict(model, shown, modality), masked.targets[modality])
                mean_B = by_product(loss_N, masked.rows(modality), len(index_B)).numpy()
                before_B = loss[name][index_B] if draw else 0.0
                loss[name][index_B] = before_B + mean_B / draws
    for name, context in contexts.items():
        others = [INDEX[m] for m in context.keep if m != modality]
        if others:
            loss[name][~data.present_NM[:, others].any(axis=1)] = np.nan
    return loss


def gains(
    losses: Mapping[str, np.ndarray], than: str = "none", seed: int = 0
) -> dict[str, Estimate]:
    """Return the reduction of each loss relative to the context `than`; positive is better.

    Mean over the products that have both, with a 95 % bootstrap interval over products.
    """
    return {
        name: paired_difference(losses[than], loss_P, seed)
        for name, loss_P in losses.items()
        if name != than
    }


def visible_mean(masked: MaskedBatch, modality: str) -> Tensor:
    """Return baseline vectors_NF: the mean of the product's visible vectors.

    0 (the training mean) if a product has no visible vector.
    """
    tokens, hidden_RL = masked.batch.tokens[modality], masked.hidden[modality]
    visible_RL1 = _visible(tokens, hidden_RL)[:, :, None].float()
    mean_RF = (tokens.values * visible_RL1).sum(1) / visible_RL1.sum(1).clamp(min=1)
    return mean_RF[:, None].expand_as(tokens.values)[hidden_RL]


def nearest_visible(masked: MaskedBatch, modality: str) -> Tensor:
    """Return baseline vectors_NF: the mean of the nearest visible vectors in the sequence.

    Two vectors at equal distance are averaged, so a single masked frame becomes the mean of the
    frames before and after it. 0 if a product has no visible vector.
    """
    tokens, hidden_RL = masked.batch.tokens[modality], masked.hidden[modality]
    visible_RL = _visible(tokens, hidden_RL)
    place_L = torch.arange(hidden_RL.shape[1], device=hidden_RL.device)
    away_LL = (place_L[:, None] - place_L).abs()
    away_RLL = away_LL.masked_fill(~visible_RL[:, None], len(place_L) + 1)
    nearest_RLL = (away_RLL == away_RLL.amin(2, keepdim=True)) & visible_RL[:, None]
    weight_RLL = nearest_RLL / nearest_RLL.sum(2, keepdim=True).clamp(min=1)
    return (weight_RLL @ tokens.values)[hidden_RL]


def _visible(tokens: Tokens, hidden_RL: Tensor) -> Tensor:
    return ~hidden_RL & ~tokens.padding_RL


CONTEXTS = {"with": EVERYTHING, "without": NOTHING}
"""Contexts of the model's predictions that the notebooks show."""
BASELINES = {
    "mean": lambda masked, modality: torch.zeros_like(masked.targets[modality]),
    "visible": visible_mean,
    "nearest": nearest_visible,
}
"""Predictions without a model: the training mean (0 for standardised features), the mean of the
product's visible vectors, the nearest visible vectors."""


@dataclass(frozen=True)
class Reconstruction:
    """Predictions for the masked vectors of one product, in the units of the features."""

    product: Product
    truth_LF: np.ndarray
    """Unstandardised features, e.g. colours in [-1, 1]."""
    hidden_L: np.ndarray
    """True where the vector was masked."""
    guess_LF: dict[str, np.ndarray]
    """By name: predictions at masked positions, the truth elsewhere."""
    loss: dict[str, float]
    """By name: mean squared error of the standardised features over the masked positions."""


def reconstruct(
    model: ScaleModel,
    data: ProductDataset,
    modality: str,
    config: MaskConfig,
    rows: Sequence[int],
    contexts: Mapping[str, Context] | None = None,
    seed: int = 0,
) -> list[Reconstruction]:
    """Predict the masked vectors of the products at `rows`, by contexts and `BASELINES`.

    Masked positions are those of `product_losses` with the same data and seed, so the losses are
    the ones that it averages.

    Raises:
        ValueError: a product of `rows` lacks the modality.
    """
    lacking = [data.ids[row] for row in rows if not data.present_NM[row, INDEX[modality]]]
    if lacking:
        raise ValueError(f"without {modality}: {', '.join(lacking)}")
    found: dict[int, Reconstruction] = {}
    for masked in mask_modality(data, modality, config, seed):
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
    """Unstandardise the predictions for the product at `place` of a batch of `data`.

    Args:
        guess_NF: by name, standardised vectors_NF at the masked positions of the whole batch.
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
        losses[name] = position_losses(all_NF[own_N], target_NF).mean().item()
    return Reconstruction(data.products[index], truth_LF, hidden_L, guesses, losses)


def baseline_losses(
    data: ProductDataset, modality: str, config: MaskConfig, seed: int = 0
) -> dict[str, np.ndarray]:
    """Return loss_P of each of `BASELINES` on the masked positions of `product_losses`."""
    losses = {name: np.full(len(data), np.nan) for name in BASELINES}
    for masked in mask_modality(data, modality, config, seed):
        index_B, target_NF = masked.batch.index_B.numpy(), masked.targets[modality]
        for name, guess in BASELINES.items():
            loss_N = position_losses(guess(masked, modality), target_NF)
            mean_B = by_product(loss_N, masked.rows(modality), len(index_B))
            losses[name][index_B] = mean_B.numpy()
    return losses


def best_median_worst(gain_P: np.ndarray) -> tuple[int, int, int]:
    """Return the indices of the largest, median and smallest value, ignoring NaN.

    Of an even number of values, the upper median; of equal values, the first. Raises ValueError if
    all values are NaN.
    """
    order = np.argsort(-gain_P, kind="stable")
    order = order[~np.isnan(gain_P[order])]
    if not len(order):
        raise ValueError("no product has a gain")
    return int(order[0]), int(order[(len(order) - 1) // 2]), int(order[-1])
