"""The ten-pair contrastive loss in one batched product (paper, section 4.3).

B products, M modalities (five), D width, P pairs of modalities (ten).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

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

    def mean_P(self, weight_BP: Tensor | None = None) -> Tensor:
        """Mean over the products that have the pair of w * loss; 0 for a pair that none has."""
        loss_BP = self.loss_BP if weight_BP is None else self.loss_BP * weight_BP
        return loss_BP.sum(0) / self.valid_BP.sum(0).clamp(min=1)


def pair_losses(
    pooled_BMD: Tensor,
    present_BM: Tensor,
    temperature: float = 0.07,
    negatives: Literal["cross", "both"] = "cross",
    logit_weight_BP: Tensor | None = None,
    content_BM: Tensor | None = None,
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
        content_BM: a number per distinct content, -1 absent. Where given, product b is no negative
            of a if they share the content of i or of j: it would be a false one.
    """
    unit_BMD = normalize(pooled_BMD.masked_fill(~present_BM[:, :, None], 0.0), dim=-1)
    left_PBD, right_PBD = unit_BMD[:, LEFT].transpose(0, 1), unit_BMD[:, RIGHT].transpose(0, 1)
    has_left_PB, has_right_PB = present_BM[:, LEFT].T, present_BM[:, RIGHT].T
    excluded_PBB = _excluded(content_BM, present_BM)

    logits_PBB = left_PBD @ right_PBD.transpose(1, 2) / temperature
    forth = _candidates(logits_PBB, has_right_PB, excluded_PBB)
    back = _candidates(logits_PBB.transpose(1, 2), has_left_PB, excluded_PBB)
    if negatives == "both":
        self_PBB = excluded_PBB | torch.eye(len(pooled_BMD), dtype=torch.bool).to(excluded_PBB)
        forth = torch.cat([forth, _gram(left_PBD, has_left_PB, self_PBB, temperature)], dim=2)
        back = torch.cat([back, _gram(right_PBD, has_right_PB, self_PBB, temperature)], dim=2)

    valid_BP = (has_left_PB & has_right_PB).T
    both_BP = (_info_nce(forth, logit_weight_BP) + _info_nce(back, logit_weight_BP)) / 2
    return PairLosses(torch.where(valid_BP, both_BP, 0.0), valid_BP)


def _candidates(logits_PBC: Tensor, has_PC: Tensor, excluded_PBC: Tensor) -> Tensor:
    """Logits with the floor at candidates that lack the modality or are excluded.

    The true pair stays in even where it is absent: such rows are dropped later and need a finite
    loss until then.
    """
    own_BC = torch.eye(logits_PBC.shape[1], dtype=torch.bool, device=logits_PBC.device)
    keep_PBC = (has_PC[:, None, :] & ~excluded_PBC) | own_BC
    return logits_PBC.masked_fill(~keep_PBC, float("-inf"))


def _gram(unit_PBD: Tensor, has_PB: Tensor, excluded_PBB: Tensor, temperature: float) -> Tensor:
    """Logits among the same modality of different products; -inf where excluded."""
    logits_PBB = unit_PBD @ unit_PBD.transpose(1, 2) / temperature
    return logits_PBB.masked_fill(excluded_PBB | ~has_PB[:, None, :], float("-inf"))


def _excluded(content_BM: Tensor | None, present_BM: Tensor) -> Tensor:
    """excluded_PBB: True where two different products share the content of one of the pair."""
    products = len(present_BM)
    if content_BM is None:
        return torch.zeros(1, products, products, dtype=torch.bool, device=present_BM.device)
    content_MB = content_BM.T
    same_MBB = content_MB[:, :, None] == content_MB[:, None, :]
    same_MBB &= (content_MB >= 0)[:, :, None]
    same_MBB &= ~torch.eye(products, dtype=torch.bool, device=present_BM.device)
    return same_MBB[LEFT, :, :] | same_MBB[RIGHT, :, :]


def _info_nce(logits_PBC: Tensor, weight_BP: Tensor | None) -> Tensor:
    """loss_BP = -log softmax(w logits) at the candidate of the anchor's own number."""
    if weight_BP is not None:
        # -inf stays -inf for any weight; 0 * -inf would be NaN.
        closed_PBC = logits_PBC.isinf()
        weighted_PBC = logits_PBC.masked_fill(closed_PBC, 0.0) * weight_BP.T[:, :, None]
        logits_PBC = weighted_PBC.masked_fill(closed_PBC, float("-inf"))
    own_BP = torch.arange(logits_PBC.shape[1], device=logits_PBC.device)[:, None]
    target_BP = own_BP.expand(-1, logits_PBC.shape[0])
    return cross_entropy(logits_PBC.permute(1, 2, 0).float(), target_BP, reduction="none")
