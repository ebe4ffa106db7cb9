"""Contrastive loss: InfoNCE of one pair of modalities, and of all ten pairs in one batched product.

B products, A of them anchors, M modalities (five), D width, P pairs of modalities (ten),
C candidates.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from scale.modalities import PAIRS
from scale.model.scores import to_float32

LEFT: tuple[int, ...] = tuple(i for i, _ in PAIRS)
RIGHT: tuple[int, ...] = tuple(j for _, j in PAIRS)


def info_nce(left_BD: Tensor, right_BD: Tensor, temperature: float = 0.07) -> Tensor:
    """Return the InfoNCE loss of two modalities that all products have (paper, section 4.3).

    L = -1/2B sum_a [ log softmax_b(z_a . y_b / t)_a + log softmax_b(y_a . z_b / t)_a ]

    with the unit features z (left) and y (right). `pair_losses` computes the same for all ten
    pairs, with missing modalities, duplicates and weights.
    """
    logits_BB = normalize(left_BD, dim=-1) @ normalize(right_BD, dim=-1).T / temperature
    own_B = torch.arange(len(logits_BB), device=logits_BB.device)
    return (cross_entropy(logits_BB, own_B) + cross_entropy(logits_BB.T, own_B)) / 2


@dataclass
class PairLosses:
    """InfoNCE of each product and pair of modalities."""

    loss_BP: Tensor
    """Mean of both directions; 0 where the product lacks one of the two modalities."""
    valid_BP: Tensor
    """True where the product has both modalities."""

    def mean_P(self, weight_BP: Tensor | None = None, count_P: Tensor | None = None) -> Tensor:
        """Return the mean of w * loss over the products that have the pair; 0 if none has.

        `count_P`: number of products that have the pair, if these products are only part of the
        batch; the result is then their contribution to the mean over the batch.
        """
        loss_BP = self.loss_BP if weight_BP is None else self.loss_BP * weight_BP
        count_P = self.valid_BP.sum(0) if count_P is None else count_P
        return loss_BP.sum(0) / count_P.clamp(min=1)


def pair_losses(
    pooled_BMD: Tensor,
    present_BM: Tensor,
    temperature: float = 0.07,
    negatives: Literal["cross", "both"] = "cross",
    logit_weight_BP: Tensor | None = None,
    content_id_BM: Tensor | None = None,
    anchors: slice | None = None,
) -> PairLosses:
    """Return InfoNCE over the batch for all ten pairs i < j of modalities, in both directions.

    For product a and direction i -> j, with the unit features z:
        L_a = -log( exp(w_a z_ai . z_aj / t) / sum_b exp(w_a z_ai . z_bj / t) )
    where b runs over the products that have j, and w_a = 1 unless `logit_weight_BP` is given.

    Args:
        pooled_BMD: features of any scale; values of missing modalities are ignored.
        present_BM: True where the product has the modality.
        temperature: t.
        negatives: `both` adds modality i of the other products to the sum (2B - 2 negatives).
        logit_weight_BP: w_a of each pair, applied to the logits of both directions.
        content_id_BM: number of each distinct content, -1 where missing. Products that share the
            content of i or of j are excluded from each other's negatives, as false ones.
        anchors: compute the losses of these products only, against all B candidates, so that a
            large batch needs no (P, B, B) logits at once (training/gradient_cache.py). The losses
            and `logit_weight_BP` then have A rows. None: all products.
    """
    # Half precision would round the cosines by 1 %, and 0 / max(0, 1e-12) would be NaN in fp16.
    pooled_BMD = to_float32(pooled_BMD).masked_fill(~present_BM[:, :, None], 0.0)
    unit_BMD = normalize(pooled_BMD, dim=-1)
    left_PBD, right_PBD = unit_BMD[:, LEFT].transpose(0, 1), unit_BMD[:, RIGHT].transpose(0, 1)
    has_left_PB, has_right_PB = present_BM[:, LEFT].T, present_BM[:, RIGHT].T
    rows = slice(0, len(pooled_BMD)) if anchors is None else anchors
    own_AB = torch.eye(len(pooled_BMD), dtype=torch.bool, device=pooled_BMD.device)[rows]
    duplicate_PAB = _duplicates(content_id_BM, rows, own_AB)

    forward_PAB = left_PBD[:, rows] @ right_PBD.transpose(1, 2) / temperature
    # With all products as anchors, the logits of one direction are the other's, transposed.
    backward_PAB = (
        forward_PAB.transpose(1, 2)
        if anchors is None
        else right_PBD[:, rows] @ left_PBD.transpose(1, 2) / temperature
    )
    # The true pair is kept even if it is missing: such rows are dropped below, but need a finite
    # loss until then.
    forward = _exclude(forward_PAB, (duplicate_PAB | ~has_right_PB[:, None, :]) & ~own_AB)
    backward = _exclude(backward_PAB, (duplicate_PAB | ~has_left_PB[:, None, :]) & ~own_AB)
    if negatives == "both":
        other_PAB = duplicate_PAB | own_AB
        left_PAB = left_PBD[:, rows] @ left_PBD.transpose(1, 2) / temperature
        right_PAB = right_PBD[:, rows] @ right_PBD.transpose(1, 2) / temperature
        left_PAB = _exclude(left_PAB, other_PAB | ~has_left_PB[:, None, :])
        right_PAB = _exclude(right_PAB, other_PAB | ~has_right_PB[:, None, :])
        forward = torch.cat([forward, left_PAB], dim=2)
        backward = torch.cat([backward, right_PAB], dim=2)

    valid_AP = (has_left_PB & has_right_PB).T[rows]
    loss_AP = (
        _cross_entropy(forward, logit_weight_BP, rows)
        + _cross_entropy(backward, logit_weight_BP, rows)
    ) / 2
    return PairLosses(torch.where(valid_AP, loss_AP, 0.0), valid_AP)


def _exclude(logits_PAC: Tensor, excluded_PAC: Tensor) -> Tensor:
    return logits_PAC.masked_fill(excluded_PAC, float("-inf"))


def _duplicates(content_id_BM: Tensor | None, rows: slice, own_AB: Tensor) -> Tensor:
    """Return duplicate_PAB: True where two products share the content of i or of j."""
    if content_id_BM is None:
        return torch.zeros_like(own_AB)[None]
    content_id_MB = content_id_BM.T
    same_MAB = content_id_MB[:, rows, None] == content_id_MB[:, None, :]
    same_MAB &= (content_id_MB[:, rows] >= 0)[:, :, None]
    same_MAB &= ~own_AB
    return same_MAB[LEFT, :, :] | same_MAB[RIGHT, :, :]


def _cross_entropy(logits_PAC: Tensor, weight_AP: Tensor | None, rows: slice) -> Tensor:
    """Return loss_AP = -log softmax(w logits) at the anchor's own candidate."""
    if weight_AP is not None:
        # -inf stays -inf for any weight; 0 * -inf would be NaN.
        excluded_PAC = logits_PAC.isinf()
        weighted_PAC = logits_PAC.masked_fill(excluded_PAC, 0.0) * weight_AP.T[:, :, None]
        logits_PAC = weighted_PAC.masked_fill(excluded_PAC, float("-inf"))
    own_A1 = torch.arange(logits_PAC.shape[2], device=logits_PAC.device)[rows, None]
    target_AP = own_A1.expand(-1, logits_PAC.shape[0])
    return cross_entropy(logits_PAC.permute(1, 2, 0), target_AP, reduction="none")
