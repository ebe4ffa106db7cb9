"""Contrastive loss: InfoNCE of one pair of modalities, and of all ten pairs in one batched product.

B products, A of them anchors, M modalities (five), D width, P pairs of modalities (ten),
T terms (pairs, or other combinations of modalities: alternatives.py), C candidates.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from scale.modalities import MODALITIES, PAIRS
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
    """Losses of each product and pair of modalities (or other term, see alternatives.py)."""

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
    temperature: float | Tensor = 0.07,
    negatives: Literal["cross", "both"] = "cross",
    logit_weight_BP: Tensor | None = None,
    content_id_BM: Tensor | None = None,
    anchors: slice | None = None,
    label_smoothing: float = 0.0,
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
        label_smoothing: see `cross_entropies`.
    """
    rows, _ = own_candidates(present_BM, anchors)
    logits = pair_logits(pooled_BMD, present_BM, temperature, negatives, content_id_BM, anchors)
    forward_AP, backward_AP = (
        cross_entropies(weighted(logits_PAC, logit_weight_BP), rows, label_smoothing)
        for logits_PAC in logits
    )
    valid_AP = valid_pairs(present_BM)[rows]
    return PairLosses(torch.where(valid_AP, (forward_AP + backward_AP) / 2, 0.0), valid_AP)


def pair_logits(
    pooled_BMD: Tensor,
    present_BM: Tensor,
    temperature: float | Tensor,
    negatives: Literal["cross", "both"] = "cross",
    content_id_BM: Tensor | None = None,
    anchors: slice | None = None,
) -> tuple[Tensor, Tensor]:
    """Return z_ai . z_bj / t of all pairs as logits_PAC, in both directions; see `pair_losses`.

    Excluded candidates have -inf. The own candidate is always finite, but has no meaning where the
    product lacks one of the two modalities.
    """
    unit_BMD = unit_features(pooled_BMD, present_BM)
    rows, own_AB = own_candidates(present_BM, anchors)
    same_MAB = same_content(content_id_BM, rows, own_AB)
    left, right = (
        (unit_BMD[:, side].transpose(0, 1), present_BM[:, side].T) for side in (LEFT, RIGHT)
    )
    duplicate_PAB = same_MAB[LEFT, :, :] | same_MAB[RIGHT, :, :]
    return two_way_logits(left, right, temperature, duplicate_PAB, anchors, negatives)


def two_way_logits(
    left: tuple[Tensor, Tensor],
    right: tuple[Tensor, Tensor],
    temperature: float | Tensor,
    duplicate_TAB: Tensor,
    anchors: slice | None = None,
    negatives: Literal["cross", "both"] = "cross",
) -> tuple[Tensor, Tensor]:
    """Return logits_TAC of the directions left -> right and right -> left of T pairs of features.

    Args:
        left, right: unit_TBD and has_TB, True where the product has the feature.
        duplicate_TAB: candidates excluded as false negatives.
        temperature, negatives, anchors: as in `pair_losses`.
    """
    (left_TBD, has_left_TB), (right_TBD, has_right_TB) = left, right
    rows, own_AB = own_candidates(has_left_TB.T, anchors)
    forward_TAB = left_TBD[:, rows] @ right_TBD.transpose(1, 2) / temperature
    # With all products as anchors, the logits of one direction are the other's, transposed.
    backward_TAB = (
        forward_TAB.transpose(1, 2)
        if anchors is None
        else right_TBD[:, rows] @ left_TBD.transpose(1, 2) / temperature
    )
    # The true pair is kept even if it is missing: such rows are dropped later, but need a finite
    # loss until then.
    forward = exclude(forward_TAB, (duplicate_TAB | ~has_right_TB[:, None, :]) & ~own_AB)
    backward = exclude(backward_TAB, (duplicate_TAB | ~has_left_TB[:, None, :]) & ~own_AB)
    if negatives == "both":
        other_TAB = duplicate_TAB | own_AB
        left_TAB = left_TBD[:, rows] @ left_TBD.transpose(1, 2) / temperature
        right_TAB = right_TBD[:, rows] @ right_TBD.transpose(1, 2) / temperature
        left_TAB = exclude(left_TAB, other_TAB | ~has_left_TB[:, None, :])
        right_TAB = exclude(right_TAB, other_TAB | ~has_right_TB[:, None, :])
        forward = torch.cat([forward, left_TAB], dim=2)
        backward = torch.cat([backward, right_TAB], dim=2)
    return forward, backward


def unit_features(pooled_BMD: Tensor, present_BM: Tensor) -> Tensor:
    """Return the features divided by their length, in float32; 0 where missing."""
    # Half precision would round the cosines by 1 %, and 0 / max(0, 1e-12) would be NaN in fp16.
    return normalize(to_float32(pooled_BMD).masked_fill(~present_BM[:, :, None], 0.0), dim=-1)


def valid_pairs(present_BM: Tensor) -> Tensor:
    """Return valid_BP: True where the product has both modalities."""
    return present_BM[:, LEFT] & present_BM[:, RIGHT]


def own_candidates(present_BM: Tensor, anchors: slice | None) -> tuple[slice, Tensor]:
    """Return the rows of the anchors and own_AB, True where candidate and anchor are the same."""
    rows = slice(0, len(present_BM)) if anchors is None else anchors
    place_B = torch.arange(len(present_BM), device=present_BM.device)
    return rows, place_B[rows, None] == place_B


def exclude(logits_TAC: Tensor, excluded_TAC: Tensor) -> Tensor:
    """Return logits whose excluded candidates are -inf."""
    return logits_TAC.masked_fill(excluded_TAC, float("-inf"))


def same_content(content_id_BM: Tensor | None, rows: slice, own_AB: Tensor) -> Tensor:
    """Return same_MAB: True where another product has the same content of a modality."""
    if content_id_BM is None:
        return torch.zeros_like(own_AB).expand(len(MODALITIES), -1, -1)
    content_id_MB = content_id_BM.T
    same_MAB = content_id_MB[:, rows, None] == content_id_MB[:, None, :]
    same_MAB &= (content_id_MB[:, rows] >= 0)[:, :, None]
    return same_MAB & ~own_AB


def weighted(logits_PAC: Tensor, weight_AP: Tensor | None) -> Tensor:
    """Return w * logits; excluded candidates remain -inf."""
    if weight_AP is None:
        return logits_PAC
    # -inf stays -inf for any weight; 0 * -inf would be NaN.
    excluded_PAC = logits_PAC.isinf()
    weighted_PAC = logits_PAC.masked_fill(excluded_PAC, 0.0) * weight_AP.T[:, :, None]
    return exclude(weighted_PAC, excluded_PAC)


def own_column(logits_TAC: Tensor, rows: slice) -> Tensor:
    """Return the column of each anchor's own candidate, as target_AT."""
    own_A1 = torch.arange(logits_TAC.shape[2], device=logits_TAC.device)[rows, None]
    return own_A1.expand(-1, logits_TAC.shape[0])


def cross_entropies(logits_TAC: Tensor, rows: slice, label_smoothing: float = 0.0) -> Tensor:
    """Return loss_AT = -sum_c p_c log softmax(logits)_c over the candidates that are not excluded.

    p is 1 - e + e / C at the anchor's own candidate and e / C at the others, with the label
    smoothing e and the number C of candidates (Szegedy et al., 2016). The smoothing of
    `torch.nn.functional.cross_entropy` would give mass to excluded ones: an infinite loss.
    """
    target_AT = own_column(logits_TAC, rows)
    logits_ACT = logits_TAC.permute(1, 2, 0)
    loss_AT = cross_entropy(logits_ACT, target_AT, reduction="none")
    if label_smoothing:
        included_ACT = ~logits_ACT.isinf()
        sum_AT = logits_ACT.masked_fill(~included_ACT, 0.0).sum(1)
        own_AT = logits_ACT.gather(1, target_AT[:, None])[:, 0]
        loss_AT = loss_AT + label_smoothing * (own_AT - sum_AT / included_ACT.sum(1))
    return loss_AT
