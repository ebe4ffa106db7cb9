"""Weights of the losses, for each product's pairs of modalities and modalities.

B products, M modalities (five), P pairs (ten), D width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from scale.config import LossConfig
from scale.losses.contrastive import LEFT, RIGHT, PairLosses
from scale.modalities import MODALITIES
from scale.model.scores import Scores, to_float32


@dataclass
class Weights:
    """Factors of the losses of each product."""

    pair_BP: Tensor
    """Of the contrastive loss of the pair i < j, in both directions."""
    own_BM: Tensor
    """Of modality i's masked loss."""

    def select(self, index_B: Tensor) -> "Weights":
        """Return the weights of the products at `index_B`."""
        return Weights(self.pair_BP[index_B], self.own_BM[index_B])

    def to(self, device: torch.device | str) -> "Weights":
        """Return a copy on a device."""
        return Weights(self.pair_BP.to(device), self.own_BM.to(device))


def loss_weights(
    scores: Scores, present_BM: Tensor, mean_one: bool = True, signed: bool = False
) -> Weights:
    """Return the upper triangle and the diagonal of S' as weights (paper, section 4.3).

    Negative entries (disagreeing modalities) become 0 unless `signed`: a negative weight on a loss
    would push the pair apart. With `mean_one`, pair weights are divided by their mean over all
    present pairs, and the diagonal by its mean, so that they redistribute the losses without
    rescaling them.
    """
    pair_BP = scores.weighted_BMM[:, LEFT, RIGHT]
    own_BM = scores.weighted_BMM.diagonal(dim1=1, dim2=2)
    if not signed:
        pair_BP = pair_BP.clamp(min=0)
    weights = Weights(pair_BP, own_BM)
    return with_mean_one(weights, present_BM) if mean_one else weights


def posterior_weights(pairs: PairLosses, power: float = 1.0) -> Tensor:
    """Return pair_BP = exp(-power L_ij): a power of the probability of the true pair in InfoNCE.

    L is the mean of both directions, so exp(-L) is the geometric mean of p(own j | i) and
    p(own i | j) among the batch. It is low where modality i of a product is closer to modality j of
    other products, e.g. if one of the two belongs to another product. Without gradient. 0 where
    the product lacks one of the two.

    With power q, the gradient of w L is that of (1 - p^q) / q, the generalised cross-entropy of
    Zhang and Sabuncu (2018), up to the scale of the weights: q = 0 is InfoNCE, q = 1 the mean
    absolute error, which is robust to wrong pairs.
    """
    return torch.exp(-power * pairs.loss_BP.detach()) * pairs.valid_BP


def relative_weights(pooled_BMD: Tensor, present_BM: Tensor) -> Tensor:
    """Return pair_BP = max(0, (S_ij - mu_ij) / (1 - mu_ij)): agreement beyond chance.

    mu_ij is the mean cosine of modality i of one product with modality j of another product of the
    batch. 0 means no better than a mismatched pair, 1 identical. Without gradient.
    """
    features_BMD = to_float32(pooled_BMD.detach()).masked_fill(~present_BM[:, :, None], 0.0)
    unit_BMD = normalize(features_BMD, dim=-1)
    valid_BP = present_BM[:, LEFT] & present_BM[:, RIGHT]
    own_BP = (unit_BMD[:, LEFT] * unit_BMD[:, RIGHT]).sum(-1)
    sum_MD, count_M = unit_BMD.sum(0), present_BM.sum(0)
    # All pairs of products, minus those of a product with itself.
    negative_P = (sum_MD[LEFT, :] * sum_MD[RIGHT, :]).sum(-1) - own_BP.sum(0)
    pairs_P = (count_M[LEFT,] * count_M[RIGHT,] - valid_BP.sum(0)).clamp(min=1)
    mean_P = negative_P / pairs_P
    return ((own_BP - mean_P) / (1 - mean_P).clamp(min=1e-6)).clamp(min=0) * valid_BP


def own_from_pairs(pair_BP: Tensor, present_BM: Tensor) -> Tensor:
    """Return own_BM: mean weight of the pairs that contain the modality; 1 where it has no pair.

    It measures how well a modality agrees with the others of the product. S'_ii does not: S_ii is
    always 1, and S'_ii is largest for the modality that agrees least.
    """
    valid_BP = present_BM[:, LEFT] & present_BM[:, RIGHT]
    member_PM = pair_members(pair_BP.device).to(pair_BP)
    count_BM = valid_BP.to(pair_BP) @ member_PM
    own_BM = (pair_BP * valid_BP) @ member_PM / count_BM.clamp(min=1)
    return torch.where(count_BM > 0, own_BM, 1.0) * present_BM


def pair_members(device: torch.device | str = "cpu") -> Tensor:
    """Return member_PM: True where a pair contains a modality."""
    member_PM = torch.zeros(len(LEFT), len(MODALITIES), dtype=torch.bool, device=device)
    places_P = torch.arange(len(LEFT), device=device)
    member_PM[places_P, list(LEFT)] = True
    member_PM[places_P, list(RIGHT)] = True
    return member_PM


def with_mean_one(weights: Weights, present_BM: Tensor) -> Weights:
    """Divide the pair weights by their mean over present pairs, and own weights by theirs."""
    valid_BP = present_BM[:, LEFT] & present_BM[:, RIGHT]
    return Weights(mean_one(weights.pair_BP, valid_BP), mean_one(weights.own_BM, present_BM))


def mean_one(weight_BX: Tensor, valid_BX: Tensor) -> Tensor:
    """Divide weights by their mean over the valid entries; all-zero weights become uniform."""
    weight_BX = weight_BX.masked_fill(~valid_BX, 0.0)
    mean = weight_BX.sum() / valid_BX.sum().clamp(min=1)
    return torch.where(mean > 0, weight_BX / mean.clamp(min=1e-12), valid_BX.to(weight_BX))


def configured_weights(
    config: LossConfig,
    scores: Scores,
    pairs: PairLosses,
    present_BM: Tensor,
    fixed: Weights | None = None,
) -> Weights:
    """Return the weights of a batch according to `LossConfig`.

    `fixed`: the batch's weights for `weight_by` agreement. Raises ValueError if they are missing.
    """
    if config.weight_by == "agreement":
        if fixed is None:
            raise ValueError(
                "loss.weight_by agreement needs the weights of the training products: train with "
                "scale.pretrain, or pass weights to Trainer (training/cross_fit.py)"
            )
        return fixed
    if config.weight_by == "scores":
        # In the released code, negative scores may flip the sign of logits.
        signed = config.weight_on == "logits" and not config.weight_mean_one
        return loss_weights(scores, present_BM, config.weight_mean_one, signed)
    pair_BP = posterior_weights(pairs, config.weight_power)
    weights = Weights(pair_BP, own_from_pairs(pair_BP, present_BM))
    return with_mean_one(weights, present_BM) if config.weight_mean_one else weights
