"""The ten-pair contrastive loss in one batched product (paper, section 4.3).

B products, A of them anchors, M modalities (five), D width, P pairs of modalities (ten),
C candidates.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from scale.losses.masked import to_float32
from scale.modalities import PAIRS

LEFT: tuple[int, ...] = tuple(i for i, _ in PAIRS)
RIGHT: tuple[int, ...] = tuple(j for _, j in PAIRS)


@dataclass
class PairLosses:
    """InfoNCE of each product and pair of modalities."""

    loss_BP: Tensor
    """Mean of both directions; 0 where the product lacks one of the two."""
    valid_BP: Tensor
    """True where the product has both."""

    def mean_P(self, weight_BP: Tensor | None = None, count_P: Tensor | None = None) -> Tensor:
        """Mean over the products that have the pair of w * loss; 0 for a pair that none has.

        `count_P`: how many products have the pair, where these are only some of the batch's: the
        result is then their share of the batch's mean.
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
    """InfoNCE over the batch for all ten pairs i < j of modalities, both directions.

    For product a and direction i -> j, with z the unit features:
        L_a = -log( exp(w_a z_ai . z_aj / t) / sum_b exp(w_a z_ai . z_bj / t) )
    where b runs over the products that have j, and w_a = 1 unless `logit_weight_BP` is given.

    Args:
        pooled_BMD: features of any scale; those of absent modalities are never read.
        present_BM: True where the product has the modality.
        temperature: t.
        negatives: `both` adds the other products' modality i to the sum (2B - 2 negatives).
        logit_weight_BP: w_a of each pair, on the anchor's logits in both directions.
        content_id_BM: number of each distinct content, -1 where absent. Products that share the
            content of i or of j are excluded from each other's negatives.
        anchors: the products a to take the loss of, b still being all; None: all. The losses, and
            `logit_weight_BP`, then have a row for each of them.
    """
    unit_BMD = normalize(pooled_BMD.masked_fill(~present_BM[:, :, None], 0.0), dim=-1)
    left_PBD, right_PBD = unit_BMD[:, LEFT].transpose(0, 1), unit_BMD[:, RIGHT].transpose(0, 1)
    has_left_PB, has_right_PB = present_BM[:, LEFT].T, present_BM[:, RIGHT].T
    rows = slice(0, len(pooled_BMD)) if anchors is None else anchors
    own_AB = torch.eye(len(pooled_BMD), dtype=torch.bool, device=pooled_BMD.device)[rows]
    excluded_PAB = _excluded(content_id_BM, rows, own_AB)

    forth_PAB = left_PBD[:, rows] @ right_PBD.transpose(1, 2) / temperature
    # Of all anchors, one direction's logits are the other's, transposed.
    back_PAB = (
        forth_PAB.transpose(1, 2)
        if anchors is None
        else right_PBD[:, rows] @ left_PBD.transpose(1, 2) / temperature
    )
    forth = _candidates(forth_PAB, has_right_PB, excluded_PAB, own_AB)
    back = _candidates(back_PAB, has_left_PB, excluded_PAB, own_AB)
    if negatives == "both":
        others_PAB = excluded_PAB | own_AB
        same_left = _gram(left_PBD, rows, has_left_PB, others_PAB, temperature)
        same_right = _gram(right_PBD, rows, has_right_PB, others_PAB, temperature)
        forth, back = torch.cat([forth, same_left], dim=2), torch.cat([back, same_right], dim=2)

    valid_AP = (has_left_PB & has_right_PB).T[rows]
    forth_AP, back_AP = (_info_nce(logits, logit_weight_BP, rows) for logits in (forth, back))
    return PairLosses(torch.where(valid_AP, (forth_AP + back_AP) / 2, 0.0), valid_AP)


def _candidates(logits_PAC: Tensor, has_PC: Tensor, excluded_PAC: Tensor, own_AC: Tensor) -> Tensor:
    """Logits with the floor at candidates that lack the modality or are excluded.

    The true pair stays in even where it is absent: such rows are dropped later and need a finite
    loss until then.
    """
    keep_PAC = (has_PC[:, None, :] & ~excluded_PAC) | own_AC
    return logits_PAC.masked_fill(~keep_PAC, float("-inf"))


def _gram(
    unit_PBD: Tensor, rows: slice, has_PB: Tensor, excluded_PAB: Tensor, temperature: float
) -> Tensor:
    """Logits among the same modality of different products; -inf where excluded."""
    logits_PAB = unit_PBD[:, rows] @ unit_PBD.transpose(1, 2) / temperature
    return logits_PAB.masked_fill(excluded_PAB | ~has_PB[:, None, :], float("-inf"))


def _excluded(content_id_BM: Tensor | None, rows: slice, own_AB: Tensor) -> Tensor:
    """excluded_PAB: True where two different products share the content of one of the pair."""
    if content_id_BM is None:
        return torch.zeros_like(own_AB)[None]
    content_id_MB = content_id_BM.T
    same_MAB = content_id_MB[:, rows, None] == content_id_MB[:, None, :]
    same_MAB &= (content_id_MB[:, rows] >= 0)[:, :, None]
    same_MAB &= ~own_AB
    return same_MAB[LEFT, :, :] | same_MAB[RIGHT, :, :]


def _info_nce(logits_PAC: Tensor, weight_AP: Tensor | None, rows: slice) -> Tensor:
    """loss_AP = -log softmax(w logits) at the candidate of the anchor's own number."""
    if weight_AP is not None:
        # -inf stays -inf for any weight; 0 * -inf would be NaN.
        closed_PAC = logits_PAC.isinf()
        weighted_PAC = logits_PAC.masked_fill(closed_PAC, 0.0) * weight_AP.T[:, :, None]
        logits_PAC = weighted_PAC.masked_fill(closed_PAC, float("-inf"))
    own_A1 = torch.arange(logits_PAC.shape[2], device=logits_PAC.device)[rows, None]
    target_AP = own_A1.expand(-1, logits_PAC.shape[0])
    return cross_entropy(to_float32(logits_PAC.permute(1, 2, 0)), target_AP, reduction="none")
