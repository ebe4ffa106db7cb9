"""InfoNCE of the ten pairs in tiles: its memory grows with the batch, not with its square.

With the logits l_ab = z_ai . z_bj / t of a pair (i, j), both directions need one sum per product:

    r_a = log sum_b exp(l_ab)        c_b = log sum_a exp(l_ab)
    d(sum_a g_a r_a + sum_b h_b c_b) / dl_ab = g_a exp(l_ab - r_a) + h_b exp(l_ab - c_b)

Only r and c are kept. A tile of logits is computed, added to them and dropped, and computed again
in the backward pass, like the scores of flash attention (for InfoNCE: Cheng et al., 2024, arXiv
2410.17243). Compared with `pair_losses`, that is one more matrix product.

B products, A of them anchors, M modalities (five), D width, P pairs of modalities (ten), C
candidates, a and c those of a tile.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from scale.losses.contrastive import PairLosses, unit_features, valid_pairs
from scale.modalities import PAIRS

CPU_TILE, CUDA_TILE = 1024, 8192
"""Side of a tile: 4 MB of logits stay in a CPU's cache; 268 MB occupy a GPU."""


@dataclass(frozen=True)
class _Side:
    """One modality of the products along one side of the logits."""

    unit_BD: Tensor
    """Unit features divided by the root of t."""
    lacks_B: Tensor
    """True where the product lacks the modality."""
    contents_2B: Tensor | None
    """Numbers of the contents of both modalities of the pair; None: duplicates are negatives."""
    place_B: Tensor
    """Places of the products in the batch."""

    def cut(self, rows: slice) -> "_Side":
        contents_2B = None if self.contents_2B is None else self.contents_2B[:, rows]
        return _Side(self.unit_BD[rows], self.lacks_B[rows], contents_2B, self.place_B[rows])


def tiled_pair_losses(
    pooled_BMD: Tensor,
    present_BM: Tensor,
    temperature: float | Tensor = 0.07,
    content_id_BM: Tensor | None = None,
    anchors: slice | None = None,
    tile: int | None = None,
) -> PairLosses:
    """Return `pair_losses` with the same arguments, computed in tiles of `tile` x `tile` logits.

    Equal up to rounding, also in the gradient (of first order only), with O(B D) memory. All
    products as anchors cost half as much as the same products in several calls, because both
    directions then share the logits.
    """
    rows = slice(0, len(present_BM)) if anchors is None else anchors
    tile = tile or (CUDA_TILE if pooled_BMD.device.type == "cuda" else CPU_TILE)
    place_B = torch.arange(len(present_BM), device=present_BM.device)
    # Modality by modality, so that no temporary is as large as all features.
    unit = [
        unit_features(pooled_BD[:, None], present_B[:, None])[:, 0] * temperature**-0.5
        for pooled_BD, present_B in zip(pooled_BMD.unbind(1), present_BM.unbind(1), strict=True)
    ]
    loss_AP = []
    for pair in PAIRS:
        contents_2B = None if content_id_BM is None else content_id_BM.T[list(pair), :]
        left, right = (
            _Side(unit[m].detach(), ~present_BM[:, m], contents_2B, place_B) for m in pair
        )
        left_BD, right_BD = (unit[m] for m in pair)
        left_AD, right_AD = left_BD[rows], right_BD[rows]
        if anchors is None:
            there_A, back_A = _LogSums.apply(left_BD, right_BD, left, right, tile, True)
        else:
            there_A, _ = _LogSums.apply(left_AD, right_BD, left.cut(rows), right, tile, False)
            back_A, _ = _LogSums.apply(right_AD, left_BD, right.cut(rows), left, tile, False)
        loss_AP.append((there_A + back_A) / 2 - (left_AD * right_AD).sum(1))
    valid_AP = valid_pairs(present_BM)[rows]
    return PairLosses(torch.where(valid_AP, torch.stack(loss_AP, dim=1), 0.0), valid_AP)


class _LogSums(torch.autograd.Function):
    """r_A and, if `both`, c_C of the logits left @ right.T; else an empty tensor for c_C."""

    @staticmethod
    def forward(
        ctx, left_AD: Tensor, right_CD: Tensor, left: _Side, right: _Side, tile: int, both: bool
    ) -> tuple[Tensor, Tensor]:
        rows_A = left_AD.new_full((len(left_AD),), float("-inf"))
        columns_C = right_CD.new_full((len(right_CD) if both else 0,), float("-inf"))
        for a, c, logits_ac in _tiles(left, right, tile):
            rows_A[a] = torch.logaddexp(rows_A[a], logits_ac.logsumexp(1))
            if both:
                columns_C[c] = torch.logaddexp(columns_C[c], logits_ac.logsumexp(0))
        ctx.save_for_backward(left_AD, right_CD, rows_A, columns_C)
        ctx.sides, ctx.tile, ctx.both = (left, right), tile, both
        return rows_A, columns_C

    @staticmethod
    @once_differentiable
    def backward(ctx, rows_gradient_A: Tensor, columns_gradient_C: Tensor) -> tuple:
        left_AD, right_CD, rows_A, columns_C = ctx.saved_tensors
        left_gradient_AD, right_gradient_CD = torch.zeros_like(left_AD), torch.zeros_like(right_CD)
        for a, c, logits_ac in _tiles(*ctx.sides, ctx.tile):
            gradient_ac = (logits_ac - rows_A[a, None]).exp_().mul_(rows_gradient_A[a, None])
            if ctx.both:
                logits_ac.sub_(columns_C[c]).exp_()
                gradient_ac.addcmul_(logits_ac, columns_gradient_C[c])
            left_gradient_AD[a].addmm_(gradient_ac, right_CD[c])
            right_gradient_CD[c].addmm_(gradient_ac.T, left_AD[a])
        return left_gradient_AD, right_gradient_CD, None, None, None, None


def _tiles(left: _Side, right: _Side, tile: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield the slices and the logits of each tile, -inf at excluded candidates.

    A product that lacks a modality has only itself as candidate, in both directions: its losses are
    dropped, and others must not be compared with it.
    """
    for a in _slices(len(left.unit_BD), tile):
        own = left.cut(a)
        for c in _slices(len(right.unit_BD), tile):
            other = right.cut(c)
            logits_ac = own.unit_BD @ other.unit_BD.T
            excluded_ac = own.lacks_B[:, None] | other.lacks_B
            if own.contents_2B is not None:
                for own_a, other_c in zip(own.contents_2B, other.contents_2B, strict=True):
                    excluded_ac |= own_a[:, None] == other_c
            excluded_ac &= own.place_B[:, None] != other.place_B
            yield a, c, logits_ac.masked_fill_(excluded_ac, float("-inf"))


def _slices(count: int, size: int) -> Iterator[slice]:
    return (slice(at, min(at + size, count)) for at in range(0, count, size))
