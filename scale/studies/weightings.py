"""Weight functions that LossConfig does not offer: controls, oracles and candidates for studies.

B products of a batch, N products of the training set, M modalities (five), P pairs (ten).
"""

from collections.abc import Callable
from dataclasses import dataclass

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
    own_from_pairs,
    pair_members,
    posterior_weights,
    relative_weights,
    with_mean_one,
)
from scale.modalities import MODALITIES
from scale.model.scale import ScaleOutput
from scale.model.scores import Scores
from scale.training.cross_fit import modality_agreement


@dataclass(frozen=True)
class TrainingTruth:
    """Facts about the training set that a weight function receives."""

    true_NM: Tensor
    """True where a modality is the product's own; known because the noise is synthetic."""
    batch_size: int
    r_NP: Tensor | None = None
    """Cross-fitted percentiles (training/cross_fit.py), for `LossConfig.weight_by` agreement."""


def from_pairs(pair_BP: Tensor, present_BM: Tensor) -> Weights:
    """Return pair weights and own weights derived from pair weights, each with a mean of one."""
    return with_mean_one(Weights(pair_BP, own_from_pairs(pair_BP, present_BM)), present_BM)


class MovingAverages:
    """Exponential moving averages value_NP over the training products: v <- b v + (1 - b) new."""

    def __init__(self, training: TrainingTruth, keep: float):
        products = len(training.true_NM)
        self.keep = keep
        self.value_NP = torch.zeros(products, len(LEFT))
        self.seen_NP = torch.zeros(products, len(LEFT), dtype=torch.bool)

    def update(self, new_BP: Tensor, batch: ProductBatch) -> Tensor:
        """Update with a batch's values and return the averages (initially the first value)."""
        rows, new_BP = batch.index_B.cpu(), new_BP.detach().cpu()
        mixed_BP = self.keep * self.value_NP[rows] + (1 - self.keep) * new_BP
        self.value_NP[rows] = torch.where(self.seen_NP[rows], mixed_BP, new_BP)
        self.seen_NP[rows] = True
        return self.value_NP[rows].to(batch.present_BM.device)


def moving(training: TrainingTruth) -> WeightFn:
    """The posterior, averaged over a product's epochs to reduce the effect of a single batch."""
    table = MovingAverages(training, keep=0.7)

    def weigh(output: ScaleOutput, scores: Scores, pairs: PairLosses, batch: ProductBatch):
        pair_BP = table.update(posterior_weights(pairs), batch) * pairs.valid_BP
        return from_pairs(pair_BP, batch.present_BM)

    return weigh


def reliability(training: TrainingTruth) -> WeightFn:
    """One reliability per product and modality, learned from its pairs: w_ij = r_i r_j, w_ii = r_i.

    r is the rank-one fit to the product's averaged posteriors (`fit_reliability`): a modality is
    reliable if it matches the other reliable ones.
    """
    table = MovingAverages(training, keep=0.7)

    def weigh(output: ScaleOutput, scores: Scores, pairs: PairLosses, batch: ProductBatch):
        pair_BP = table.update(posterior_weights(pairs), batch) * pairs.valid_BP
        own_BM = fit_reliability(pair_BP, pairs.valid_BP)
        fitted_BP = own_BM[:, LEFT] * own_BM[:, RIGHT] * pairs.valid_BP
        own_BM = torch.where(pair_count(pairs.valid_BP) > 0, own_BM, 1.0) * batch.present_BM
        return with_mean_one(Weights(fitted_BP, own_BM), batch.present_BM)

    return weigh


def fit_reliability(pair_BP: Tensor, valid_BP: Tensor, rounds: int = 10) -> Tensor:
    """Minimise sum_{i<j valid} (w_ij - r_i r_j)^2 over r_BM >= 0 by coordinate descent.

    r_i <- sum_j w_ij r_j / sum_j r_j^2 over the valid pairs, for each i in turn.
    """
    weight_BMM, valid_BMM = _square(pair_BP), _square(valid_BP.to(pair_BP))
    # Start from the square root of each modality's mean pair weight: exact if all are equal.
    member_PM = pair_members(pair_BP.device).to(pair_BP)
    mean_BM = (pair_BP * valid_BP) @ member_PM / pair_count(valid_BP).clamp(min=1)
    own_BM = mean_BM.clamp(min=0).sqrt()
    for _ in range(rounds):
        for i in range(own_BM.shape[1]):
            other_BM = own_BM * valid_BMM[:, i]
            norm_B = other_BM.square().sum(1)
            fitted_B = (weight_BMM[:, i] * other_BM).sum(1) / norm_B.clamp(min=1e-12)
            own_BM = own_BM.clone()
            own_BM[:, i] = torch.where(norm_B > 0, fitted_B, 0.0)
    return own_BM


def pair_count(valid_BP: Tensor) -> Tensor:
    """Return count_BM, the number of a product's valid pairs that contain each modality."""
    return valid_BP.float() @ pair_members(valid_BP.device).float()


def mixture(training: TrainingTruth) -> WeightFn:
    """Probability that a pair's loss belongs to the lower of two Gaussians (DivideMix, NCR).

    Fitted per pair of modalities to the averaged losses of all products seen, once per epoch.
    """
    table = MovingAverages(training, keep=0.5)
    state = {"steps": 0, "fits": [None] * len(LEFT)}
    epoch = max(1, len(training.true_NM) // training.batch_size)

    def weigh(output: ScaleOutput, scores: Scores, pairs: PairLosses, batch: ProductBatch):
        loss_BP = table.update(pairs.loss_BP, batch)
        if state["steps"] % epoch == epoch - 1:
            state["fits"] = [
                _two_gaussians(
                    table.value_NP[:, p], table.seen_NP[:, p] & (table.value_NP[:, p] > 0)
                )
                for p in range(len(LEFT))
            ]
        state["steps"] += 1
        columns = [
            torch.ones(len(batch)) if fit is None else fit(loss_BP[:, p].cpu())
            for p, fit in enumerate(state["fits"])
        ]
        pair_BP = torch.stack(columns, dim=1).to(pairs.valid_BP.device) * pairs.valid_BP
        return from_pairs(pair_BP, batch.present_BM)

    return weigh


def _two_gaussians(loss_N: Tensor, known_N: Tensor) -> Callable[[Tensor], Tensor] | None:
    """Return P(component of lower mean | loss) as a function; None for fewer than 20 losses."""
    from sklearn.mixture import GaussianMixture

    values = loss_N[known_N].double().numpy()[:, None]
    if len(values) < 20 or np.ptp(values) < 1e-6:
        return None
    model = GaussianMixture(2, reg_covar=1e-3, random_state=0).fit(values)
    low = int(model.means_[:, 0].argmin())

    def probability(loss_B: Tensor) -> Tensor:
        found_B = model.predict_proba(loss_B.double().numpy()[:, None])[:, low]
        return torch.from_numpy(found_B).float()

    return probability


def _square(pair_BP: Tensor) -> Tensor:
    """Return the symmetric matrix of pair values, 0 on the diagonal."""
    square_BMM = pair_BP.new_zeros(len(pair_BP), len(MODALITIES), len(MODALITIES))
    square_BMM[:, LEFT, RIGHT] = pair_BP
    square_BMM[:, RIGHT, LEFT] = pair_BP
    return square_BMM


def relative(
    output: ScaleOutput, scores: Scores, pairs: PairLosses, batch: ProductBatch
) -> Weights:
    """Agreement relative to mismatched products of the batch (`relative_weights`)."""
    return from_pairs(relative_weights(output.pooled_BMD, output.present_BM), batch.present_BM)


def rank(output: ScaleOutput, scores: Scores, pairs: PairLosses, batch: ProductBatch) -> Weights:
    """w_ij = max(0, 2 F_ij - 1), F_ij the share of negatives with a lower cosine than the product's
    own pair (`negative_ranks`): 0 on average for a mismatched pair, near 1 for a matched one.

    Unlike the posterior, a pair need not be the best of the batch, so hard and rare products, and
    those with near-duplicates, keep their weight.
    """
    share_BP = negative_ranks(output.pooled_BMD.detach(), batch.present_BM)
    return from_pairs((2 * share_BP - 1).clamp(min=0) * pairs.valid_BP, batch.present_BM)


def negative_ranks(pooled_BMD: Tensor, present_BM: Tensor) -> Tensor:
    """Return F_BP: share of negatives in the batch with a lower cosine than the product's own pair.

    Mean of both directions; 0 if the product lacks one of the two modalities.
    """
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


def oracle(training: TrainingTruth) -> WeightFn:
    """1 where both modalities are the product's own, else 0: an upper bound for all weights."""

    def weigh(output: ScaleOutput, scores: Scores, pairs: PairLosses, batch: ProductBatch):
        true_BM = training.true_NM[batch.index_B.cpu()].to(batch.present_BM.device)
        pair_BP = (true_BM[:, LEFT] & true_BM[:, RIGHT]).float() * pairs.valid_BP
        own_BM = true_BM.float() * batch.present_BM
        return with_mean_one(Weights(pair_BP, own_BM), batch.present_BM)

    return weigh


def agreement_alone(training: TrainingTruth) -> WeightFn:
    """w_ij = max(2 r_ij - 1, 0.02) of the cross-fitted percentiles r, pair by pair."""
    return _fixed((2 * training.r_NP - 1).clamp(min=0.02))


def agreement_product(training: TrainingTruth) -> WeightFn:
    """w_ij = (m_i m_j)^2 with the modalities' mean percentiles m: one reliability per modality."""
    mean_NM = modality_agreement(training.r_NP)
    return _fixed((mean_NM[:, LEFT] * mean_NM[:, RIGHT]).square())


def _fixed(pair_NP: Tensor) -> WeightFn:
    def weigh(output: ScaleOutput, scores: Scores, pairs: PairLosses, batch: ProductBatch):
        pair_BP = pair_NP[batch.index_B.cpu()].to(pairs.loss_BP.device, torch.float32)
        return from_pairs(pair_BP.nan_to_num() * pairs.valid_BP, batch.present_BM)

    return weigh


def matched(output: ScaleOutput, scores: Scores, pairs: PairLosses, batch: ProductBatch) -> Weights:
    """Each weight replaced by the batch mean of S': uniform weights at the same mean scale.

    A control for weights on the logits, where S' also changes the temperature: the remaining
    difference is due to how the weights distinguish products and pairs.
    """
    weights = loss_weights(scores, batch.present_BM, mean_one=False, signed=True)
    return Weights(
        _mean_everywhere(weights.pair_BP, pairs.valid_BP),
        _mean_everywhere(weights.own_BM, batch.present_BM),
    )


def shuffled(
    output: ScaleOutput, scores: Scores, pairs: PairLosses, batch: ProductBatch
) -> Weights:
    """S' permuted among the batch's products that have the pair."""
    weights = loss_weights(scores, batch.present_BM)
    return Weights(
        _permute(weights.pair_BP, pairs.valid_BP), _permute(weights.own_BM, batch.present_BM)
    )


def gce(output: ScaleOutput, scores: Scores, pairs: PairLosses, batch: ProductBatch) -> Weights:
    """Generalised cross-entropy (1 - p^q) / q with q = 0.7: a robust contrastive loss.

    Implemented as detached weights p^q on InfoNCE, which have the same gradient. Not rescaled to a
    mean of one and without weights on the masked losses.
    """
    return Weights(posterior_weights(pairs, power=0.7), batch.present_BM.float())


def _mean_everywhere(weight_BX: Tensor, valid_BX: Tensor) -> Tensor:
    mean = (weight_BX * valid_BX).sum() / valid_BX.sum().clamp(min=1)
    return mean * valid_BX.to(weight_BX)


def _permute(weight_BX: Tensor, valid_BX: Tensor) -> Tensor:
    """Permute the valid entries of each column."""
    draw_BX = torch.rand(weight_BX.shape, device=weight_BX.device)
    # Valid entries come first in both orders, so the k-th valid entry moves to the k-th valid row.
    place_BX = (~valid_BX).to(draw_BX).argsort(dim=0, stable=True)
    random_BX = torch.where(valid_BX, draw_BX, 2.0).argsort(dim=0, stable=True)
    permuted_BX = torch.zeros_like(weight_BX).scatter(0, place_BX, weight_BX.gather(0, random_BX))
    return permuted_BX * valid_BX


WEIGHT_FNS: dict[str, Callable[[TrainingTruth], WeightFn]] = {
    "relative": lambda training: relative,
    "rank": lambda training: rank,
    "oracle": oracle,
    "agreement alone": agreement_alone,
    "agreement product": agreement_product,
    "matched": lambda training: matched,
    "shuffled": lambda training: shuffled,
    "gce": lambda training: gce,
    "moving": moving,
    "reliability": reliability,
    "mixture": mixture,
}
"""Makers of weight functions; most functions need neither the truth nor a state."""


def make_weight_fn(name: str, training: TrainingTruth) -> WeightFn | None:
    """Return the named weight function; None for an empty name.

    Raises ValueError for an unknown name.
    """
    if not name:
        return None
    if name not in WEIGHT_FNS:
        raise ValueError(f"unknown weight function {name!r}; known: {', '.join(WEIGHT_FNS)}")
    return WEIGHT_FNS[name](training)
