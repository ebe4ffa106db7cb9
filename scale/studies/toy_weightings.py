"""Weights of the toy study, by name: what each product's pairs of modalities count.

B products, M modalities (five), D features, P pairs (ten).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from scale.losses.contrastive import LEFT, RIGHT, PairLosses
from scale.losses.weighting import posterior_weights, relative_weights
from scale.model.scores import inter_modality_scores

Weigh = Callable[[Tensor, Tensor, PairLosses, Tensor], Tensor]
"""(pooled_BMD, present_BM, unweighted losses, true_BM) -> raw weight_BP."""


@dataclass(frozen=True)
class Weighting:
    """How much each product's pair counts."""

    weigh: Weigh
    on: Literal["loss", "logits"] = "loss"
    """What is multiplied."""
    gradient: bool = False
    """Let the gradient flow through the weight."""
    mean_one: bool = True
    """Divide by the batch's mean over the pairs that are there."""
    uniform_start: bool = True
    """Weights are 1 for the first `uniform_steps`."""
    matched_to: str = ""
    """Name of a weighting whose mean raw weight, step by step, all pairs get: on the logits this
    is its temperature without its choice of pairs."""


def uniform(pooled_BMD: Tensor, present_BM: Tensor, pairs: PairLosses, true_BM: Tensor) -> Tensor:
    """w = 1."""
    return torch.ones_like(pairs.loss_BP)


def matching_scores(row_normalise: bool = False, signed: bool = False) -> Weigh:
    """w = S'_ij, at least 0 unless `signed`; `row_normalise` as in the released code."""

    def weigh(pooled_BMD, present_BM, pairs, true_BM):
        scores = inter_modality_scores(pooled_BMD, present_BM, row_normalise=row_normalise)
        weight_BP = scores.weighted_BMM[:, LEFT, RIGHT]
        return weight_BP if signed else weight_BP.clamp(min=0)

    return weigh


def relative(pooled_BMD: Tensor, present_BM: Tensor, pairs: PairLosses, true_BM: Tensor) -> Tensor:
    """w = max(0, (S_ij - mu_ij) / (1 - mu_ij)), mu_ij the batch's mean cosine of strangers."""
    return relative_weights(pooled_BMD, present_BM)


def posterior(power: float = 1.0) -> Weigh:
    """w = exp(-power InfoNCE): the geometric mean of both directions' p(true pair)^power."""
    return lambda pooled_BMD, present_BM, pairs, true_BM: posterior_weights(pairs, power)


def pair_mean(pooled_BMD: Tensor, present_BM: Tensor, pairs: PairLosses, true_BM: Tensor) -> Tensor:
    """w_ij = the batch's mean posterior of modalities i and j, the same for all products."""
    own_BP = posterior_weights(pairs)
    return (own_BP.sum(0) / pairs.valid_BP.sum(0).clamp(min=1)).expand_as(own_BP)


def oracle(pooled_BMD: Tensor, present_BM: Tensor, pairs: PairLosses, true_BM: Tensor) -> Tensor:
    """w = 1 where both views show the product itself, else 0."""
    return (true_BM[:, LEFT] & true_BM[:, RIGHT]).to(pairs.loss_BP)


PAPER = {"on": "logits", "gradient": True, "mean_one": False}
WEIGHTINGS: dict[str, Weighting] = {
    "uniform": Weighting(uniform),
    "scores": Weighting(matching_scores()),
    "scores_row": Weighting(matching_scores(row_normalise=True)),
    "scores_flowing": Weighting(matching_scores(), gradient=True, mean_one=False),
    "logits": Weighting(matching_scores(signed=True), **PAPER),
    "logits_control": Weighting(uniform, **PAPER, matched_to="logits"),
    # From random features some cosines start below 0. Weight times logit is even in the cosine, so
    # that such a pair learns to be opposite: its loss is low and its retrieval is at zero.
    "logits_cold": Weighting(matching_scores(signed=True), **PAPER, uniform_start=False),
    "official": Weighting(matching_scores(row_normalise=True, signed=True), **PAPER),
    "official_control": Weighting(uniform, **PAPER, matched_to="official"),
    "relative": Weighting(relative),
    "posterior": Weighting(posterior()),
    "posterior_half": Weighting(posterior(0.5)),
    "pair_mean": Weighting(pair_mean),
    "oracle": Weighting(oracle),
}
