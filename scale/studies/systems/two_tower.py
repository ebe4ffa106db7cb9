"""Two towers: sides that never attend to one another and meet in a loss alone.

CLIP (Radford et al., ICML 2021) by InfoNCE, MMT (Gabeur et al., ECCV 2020) by a ranking loss.

B products, M modalities (five), P pairs of modalities (ten), D width, R rows (products that have
the modality), L length.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, relu

from scale.data.batch import ProductBatch
from scale.losses.contrastive import pair_losses
from scale.modalities import INDEX
from scale.studies.systems.inputs import LANGUAGE, PERCEPTION, Encoded, Inputs

LARGEST_SCALE = math.log(100)
"""CLIP clips its logits' scale at 100."""
MARGIN = 0.05
"""Of the ranking loss, in cosines; ours."""


class Apart(nn.Module):
    """No fusion: each tower's tokens stay what they are."""

    def forward(
        self, encoded: Encoded, rows: dict[str, Tensor], products: int, inputs: Inputs
    ) -> dict[str, Tensor]:
        """fused_RLD = encoded_RLD."""
        return {m: tokens_RLD for m, (tokens_RLD, _) in encoded.items()}


class ClipLoss(nn.Module):
    """L = mean over pairs of modalities of InfoNCE, both directions, with a learned temperature.

    With text and image this is CLIP's loss: 1/2 (CE over texts + CE over pictures) of
    exp(s) z_text . z_image, s learned from log(1 / 0.07) and at most log 100. With more modalities
    every pair has it and none is weighted.
    """

    def __init__(self, ignore_duplicates: bool):
        """`ignore_duplicates`: products of equal content are no negatives, as in SCALE's loss."""
        super().__init__()
        self.ignore_duplicates = ignore_duplicates
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, pooled_BMD: Tensor, present_BM: Tensor, batch: ProductBatch) -> Tensor:
        """A scalar; 0 where no product has two modalities."""
        content_BM = batch.content_BM if self.ignore_duplicates else None
        temperature = (-self.log_scale.clamp(max=LARGEST_SCALE)).exp()
        pairs = pair_losses(pooled_BMD, present_BM, temperature, content_BM=content_BM)
        return pairs.mean_P().sum() / pairs.valid_BP.any(0).sum().clamp(min=1)


class RankingLoss(nn.Module):
    """L = mean over a != b of max(0, m + s_ab - s_aa) + max(0, m + s_ba - s_aa)  (MMT's
    bidirectional max-margin ranking loss), over products that have both sides.

    s_ab: mean over the modalities i of language and j of perception that are present of
    cos(f_ai, f_bj).
    """

    def forward(self, pooled_BMD: Tensor, present_BM: Tensor, batch: ProductBatch) -> Tensor:
        """A scalar; 0 where fewer than two products have both sides."""
        language_BD, has_language_B = side_mean(pooled_BMD, present_BM, LANGUAGE)
        percept_BD, has_percept_B = side_mean(pooled_BMD, present_BM, PERCEPTION)
        both_B = has_language_B & has_percept_B
        score_BB = language_BD[both_B] @ percept_BD[both_B].T
        own_B = score_BB.diagonal()
        forth_BB = relu(MARGIN + score_BB - own_B[:, None])
        back_BB = relu(MARGIN + score_BB - own_B[None, :])
        same_BB = torch.eye(len(own_B), dtype=torch.bool, device=own_B.device)
        count = max(len(own_B) * (len(own_B) - 1), 1)
        return (forth_BB + back_BB).masked_fill(same_BB, 0.0).sum() / count


def side_mean(
    pooled_BMD: Tensor, present_BM: Tensor, side: tuple[str, ...]
) -> tuple[Tensor, Tensor]:
    """Mean unit feature of a side's present modalities as mean_BD, and has_B."""
    columns = [INDEX[m] for m in side]
    present_BS = present_BM[:, columns]
    kept_BSD = pooled_BMD[:, columns].masked_fill(~present_BS[:, :, None], 0.0)
    count_B = present_BS.sum(1)
    mean_BD = normalize(kept_BSD, dim=-1).sum(1) / count_B.clamp(min=1)[:, None]
    return mean_BD, count_B > 0
