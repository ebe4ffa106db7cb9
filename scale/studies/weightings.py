"""Weights that LossConfig does not offer: controls, oracles and candidates that a study compares.

B products of a batch, N products of the training set, M modalities (five), P pairs (ten).
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from scale.data.batch import ProductBatch
from scale.losses.contrastive import LEFT, RIGHT, PairLosses
from scale.losses.total import WeightFn
from scale.losses.weighting import (
    Weights,
    loss_weights,
    posterior_weights,
    relative_weights,
    with_mean_one,
)
from scale.model.scale import ScaleOutput
from scale.model.scores import Scores
from scale.studies.memorisation import Training, from_pairs, mixture, moving, reliability


def relative(training: Training) -> WeightFn:
    """Agreement beyond that of mismatched products of the batch (`relative_weights`)."""

    def weigh(output: ScaleOutput, scores: Scores, pairs: PairLosses, batch: ProductBatch):
        return from_pairs(relative_weights(output.pooled_BMD, output.present_BM), batch.present_BM)

    return weigh


def rank(training: Training) -> WeightFn:
    """w_ij = max(0, 2 F_ij - 1), F_ij the share of strangers that agree less than the product's own
    pair (`stranger_ranks`): 0 on average for a mismatched pair, near 1 for any recognised one.

    Unlike the posterior it does not ask that the pair be the best of the batch, so hard and rare
    products, and those with near-duplicates, keep their weight.
    """

    def weigh(output: ScaleOutput, scores: Scores, pairs: PairLosses, batch: ProductBatch):
        share_BP = stranger_ranks(output.pooled_BMD.detach(), batch.present_BM)
        return from_pairs((2 * share_BP - 1).clamp(min=0) * pairs.valid_BP, batch.present_BM)

    return weigh


def stranger_ranks(pooled_BMD: Tensor, present_BM: Tensor) -> Tensor:
    """F_BP: share of mismatched pairs of the batch (one side the product's own) with a lower cosine
    than the product's own pair, mean of both sides; 0 where the product lacks one of the two."""
    unit_BMD = normalize(pooled_BMD.masked_fill(~present_BM[:, :, None], 0.0), dim=-1)
    left_PBD, right_PBD = unit_BMD[:, LEFT].transpose(0, 1), unit_BMD[:, RIGHT].transpose(0, 1)
    cosine_PBB = left_PBD @ right_PBD.transpose(1, 2)
    own_PB = cosine_PBB.diagonal(dim1=1, dim2=2)
    has_left_PB, has_right_PB = present_BM[:, LEFT].T, present_BM[:, RIGHT].T
    other_BB = ~torch.eye(len(unit_BMD), dtype=torch.bool, device=unit_BMD.device)
    right_PBB, left_PBB = (has[:, None, :] & other_BB for has in (has_right_PB, has_left_PB))
    forth_PB = _share(own_PB[:, :, None] > cosine_PBB, right_PBB)
    back_PB = _share(own_PB[:, :, None] > cosine_PBB.transpose(1, 2), left_PBB)
    return ((forth_PB + back_PB) / 2 * (has_left_PB & has_right_PB)).T


def _share(hit_PBB: Tensor, counted_PBB: Tensor) -> Tensor:
    count_PB = counted_PBB.sum(2)
    return (hit_PBB & counted_PBB).sum(2) / count_PB.clamp(min=1)


def oracle(training: Training) -> WeightFn:
    """1 where both modalities are the product's own, else 0: what no method can know."""

    def weigh(output: ScaleOutput, scores: Scores, pairs: PairLosses, batch: ProductBatch):
        true_BM = training.true_NM[batch.index_B.cpu()].to(batch.present_BM.device)
        pair_BP = (true_BM[:, LEFT] & true_BM[:, RIGHT]).float() * pairs.valid_BP
        own_BM = true_BM.float() * batch.present_BM
        return with_mean_one(Weights(pair_BP, own_BM), batch.present_BM)

    return weigh


def matched(training: Training) -> WeightFn:
    """Each weight replaced by the batch's mean of S': uniform at the same mean scale.

    For weights on the logits, where S' changes the temperature too: what remains of a difference to
    this control is what the weights say about products and pairs.
    """

    def weigh(output: ScaleOutput, scores: Scores, pairs: PairLosses, batch: ProductBatch):
        weights = loss_weights(scores, batch.present_BM, mean_one=False, signed=True)
        return Weights(
            _mean_everywhere(weights.pair_BP, pairs.valid_BP),
            _mean_everywhere(weights.own_BM, batch.present_BM),
        )

    return weigh


def shuffled(training: Training) -> WeightFn:
    """S', dealt out among the batch's products that have the pair: right sizes, wrong products."""

    def weigh(output: ScaleOutput, scores: Scores, pairs: PairLosses, batch: ProductBatch):
        weights = loss_weights(scores, batch.present_BM)
        return Weights(
            _deal(weights.pair_BP, pairs.valid_BP), _deal(weights.own_BM, batch.present_BM)
        )

    return weigh


def gce(training: Training, power: float = 0.7) -> WeightFn:
    """The generalised cross-entropy (1 - p^q) / q with q = 0.7: a robust contrastive loss.

    As weights p^q without gradient on InfoNCE, which have its gradient; neither rescaled to mean
    one, nor by `own_from_pairs` on the masked losses, so it is a loss of its own and a control.
    """

    def weigh(output: ScaleOutput, scores: Scores, pairs: PairLosses, batch: ProductBatch):
        return Weights(posterior_weights(pairs, power), batch.present_BM.float())

    return weigh


def _mean_everywhere(weight_BX: Tensor, valid_BX: Tensor) -> Tensor:
    mean = (weight_BX * valid_BX).sum() / valid_BX.sum().clamp(min=1)
    return mean * valid_BX.to(weight_BX)


def _deal(weight_BX: Tensor, valid_BX: Tensor) -> Tensor:
    """A random permutation of each column's valid entries."""
    draw_BX = torch.rand(weight_BX.shape, device=weight_BX.device)
    # Valid entries come first in both orders, so the k-th of one meets the k-th of the other.
    place_BX = (~valid_BX).to(draw_BX).argsort(dim=0, stable=True)
    random_BX = torch.where(valid_BX, draw_BX, 2.0).argsort(dim=0, stable=True)
    dealt_BX = torch.zeros_like(weight_BX).scatter(0, place_BX, weight_BX.gather(0, random_BX))
    return dealt_BX * valid_BX


WEIGHERS: dict[str, Callable[[Training], WeightFn]] = {
    "relative": relative, "rank": rank, "oracle": oracle, "matched": matched, "shuffled": shuffled,
    "gce": gce, "moving": moving, "reliability": reliability, "mixture": mixture,
}  # fmt: skip


def make_weigher(
    name: str, ids: Sequence[str], noisy_ids: Sequence[str], true_NM: np.ndarray, batch_size: int
) -> WeightFn | None:
    """The weigher of a name for the products `ids`, a part of `noisy_ids`; None for no name.

    Raises ValueError for an unknown name.
    """
    if not name:
        return None
    if name not in WEIGHERS:
        raise ValueError(f"unknown weigher {name!r}; known: {', '.join(WEIGHERS)}")
    place = {product: i for i, product in enumerate(noisy_ids)}
    rows = [place[product] for product in ids]
    return WEIGHERS[name](Training(torch.from_numpy(true_NM[rows]), batch_size))
