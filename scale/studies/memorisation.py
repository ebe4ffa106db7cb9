"""Weights that remember a product from one epoch to the next, for `weighers.WEIGHERS`.

B products of a batch, N products of the training set, M modalities (five), P pairs (ten).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scale.data.batch import ProductBatch
from scale.losses.contrastive import LEFT, RIGHT, PairLosses
from scale.losses.total import WeightFn
from scale.losses.weighting import (
    Weights,
    own_from_pairs,
    pair_members,
    posterior_weights,
    with_mean_one,
)
from scale.model.scale import ScaleOutput
from scale.model.scores import Scores


@dataclass(frozen=True)
class Training:
    """What a weigher may know of the training set."""

    true_NM: Tensor
    """True where a modality is the product's own: known only because the noise was made here."""
    batch_size: int


def from_pairs(pair_BP: Tensor, present_BM: Tensor) -> Weights:
    """Both kinds of weights from those of the pairs, each with a mean of one."""
    return with_mean_one(Weights(pair_BP, own_from_pairs(pair_BP, present_BM)), present_BM)


class Remembered:
    """A table value_NP over the training products that batches update: v <- b v + (1 - b) new."""

    def __init__(self, training: Training, keep: float):
        products = len(training.true_NM)
        self.keep = keep
        self.value_NP = torch.zeros(products, len(LEFT))
        self.seen_NP = torch.zeros(products, len(LEFT), dtype=torch.bool)

    def update(self, new_BP: Tensor, batch: ProductBatch) -> Tensor:
        """Take in a batch's values; returns the table's at its products. First values are kept."""
        rows, new_BP = batch.index_B.cpu(), new_BP.detach().cpu()
        mixed_BP = self.keep * self.value_NP[rows] + (1 - self.keep) * new_BP
        self.value_NP[rows] = torch.where(self.seen_NP[rows], mixed_BP, new_BP)
        self.seen_NP[rows] = True
        return self.value_NP[rows].to(batch.present_BM.device)


def moving(training: Training, keep: float = 0.7) -> WeightFn:
    """The posterior, averaged over a product's epochs: one odd batch does not decide."""
    table = Remembered(training, keep)

    def weigh(output: ScaleOutput, scores: Scores, pairs: PairLosses, batch: ProductBatch):
        pair_BP = table.update(posterior_weights(pairs), batch) * pairs.valid_BP
        return from_pairs(pair_BP, batch.present_BM)

    return weigh


def reliability(training: Training, keep: float = 0.7) -> WeightFn:
    """One reliability per product and modality, learned from its pairs: w_ij = r_i r_j, w_ii = r_i.

    r is the rank-one fit to the product's averaged posteriors (`fit_reliability`): a modality is
    reliable if it is recognised by the others that are.
    """
    table = Remembered(training, keep)

    def weigh(output: ScaleOutput, scores: Scores, pairs: PairLosses, batch: ProductBatch):
        pair_BP = table.update(posterior_weights(pairs), batch) * pairs.valid_BP
        own_BM = fit_reliability(pair_BP, pairs.valid_BP)
        fitted_BP = own_BM[:, LEFT] * own_BM[:, RIGHT] * pairs.valid_BP
        own_BM = torch.where(pair_count(pairs.valid_BP) > 0, own_BM, 1.0) * batch.present_BM
        return with_mean_one(Weights(fitted_BP, own_BM), batch.present_BM)

    return weigh


def fit_reliability(pair_BP: Tensor, valid_BP: Tensor, rounds: int = 10) -> Tensor:
    """r_BM >= 0 that minimises sum_{i<j valid} (w_ij - r_i r_j)^2, by coordinate descent.

    r_i <- sum_j w_ij r_j / sum_j r_j^2 over the pairs that are there, all i in turn.
    """
    weight_BMM, valid_BMM = _square(pair_BP), _square(valid_BP.to(pair_BP))
    own_BM = own_start(pair_BP, valid_BP)
    for _ in range(rounds):
        for i in range(own_BM.shape[1]):
            other_BM = own_BM * valid_BMM[:, i]
            norm_B = other_BM.square().sum(1)
            fitted_B = (weight_BMM[:, i] * other_BM).sum(1) / norm_B.clamp(min=1e-12)
            own_BM = own_BM.clone()
            own_BM[:, i] = torch.where(norm_B > 0, fitted_B, 0.0)
    return own_BM


def own_start(pair_BP: Tensor, valid_BP: Tensor) -> Tensor:
    """Square root of a modality's mean pair weight: where all agree, the exact answer."""
    member_PM = pair_members(pair_BP.device).to(pair_BP)
    mean_BM = (pair_BP * valid_BP) @ member_PM / pair_count(valid_BP).clamp(min=1)
    return mean_BM.clamp(min=0).sqrt()


def pair_count(valid_BP: Tensor) -> Tensor:
    """How many of a product's pairs hold each modality, as count_BM."""
    return valid_BP.float() @ pair_members(valid_BP.device).float()


def mixture(training: Training, keep: float = 0.5) -> WeightFn:
    """The probability that a pair's loss is of the lower of two Gaussians (DivideMix, NCR).

    Fitted by pair of modalities on the averaged losses of all products seen, once an epoch.
    """
    table = Remembered(training, keep)
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
    """Probability of the component of lower mean, as a function of a loss; None for few losses."""
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
    """The symmetric matrix of pair values, 0 on the diagonal."""
    members = len(pair_members()[0])
    square_BMM = pair_BP.new_zeros(len(pair_BP), members, members)
    square_BMM[:, LEFT, RIGHT] = pair_BP
    square_BMM[:, RIGHT, LEFT] = pair_BP
    return square_BMM
