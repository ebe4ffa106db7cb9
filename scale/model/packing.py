"""Sequences of the JCT without gaps: where a modality is missing, no token stands.

Products of similar length share a padded tensor, so a batch becomes a few of them.

B products (of a group), R rows (products that have a modality), L length, S source tokens: the
encoded tokens of all modalities one after the other, then the stand-ins; T tokens that are used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scale.data.batch import HostFacts, moved

STEP = 8
"""Groups have lengths that this divides: few shapes, and what matrix units like."""
CPU_OVERHEAD, CUDA_OVERHEAD = 7e5, 2.4e9
"""What one more group costs, in tokens times squared width: starting the kernels of a layer takes
as long as that many operations / 72."""


@dataclass(frozen=True)
class Group:
    """Sequences of some products."""

    source_BL: Tensor
    """Which source token stands at each position; 0 at padding."""
    padding_BL: Tensor


@dataclass(frozen=True)
class Packing:
    """Where each token of a batch goes, and where it comes back from."""

    groups: list[Group]
    place: dict[str, Tensor]
    """place_RL by modality: the token's position in all groups' outputs, one after the other; that
    of padding is 0."""


def pack(
    facts: Mapping[str, HostFacts],
    products: int,
    stand_ins: Sequence[str],
    overhead: float,
    device: torch.device,
) -> Packing:
    """Cut a batch into groups of products with about as many tokens each.

    A product's sequence holds its tokens in the order of the modalities. Products without any token
    are in no group.

    Args:
        facts: by modality in order, its rows and padding ([CLS] counts as a token).
        products: in the batch.
        stand_ins: the modalities, in order, if for each of them one source token stands for what
            is missing; they follow the encoded tokens. Else nothing.
        overhead: tokens that cost as much as one more group.
        device: of the tensors in the result.
    """
    product_T, source_T = _used_tokens(facts, products, stand_ins)
    order_T = np.argsort(product_T, kind="stable")
    source_T = source_T[order_T]
    count_N = np.bincount(product_T, minlength=products)
    start_N = np.cumsum(count_N) - count_N

    encoded = sum(fact.padding_RL.size for fact in facts.values())
    groups, first, place_S = [], 0, np.zeros(encoded + len(stand_ins), np.int64)
    for length, product_B in _groups(count_N, overhead):
        lane_L = np.arange(length)
        padding_BL = lane_L >= count_N[product_B, None]
        token_BL = np.where(padding_BL, 0, start_N[product_B, None] + lane_L)
        source_BL = np.where(padding_BL, 0, source_T[token_BL])
        place_BL = first + np.arange(source_BL.size).reshape(source_BL.shape)
        place_S[source_BL[~padding_BL]] = place_BL[~padding_BL]
        first += source_BL.size
        groups.append(Group(_on(source_BL, device), _on(padding_BL, device)))

    place, at = {}, 0
    for m, fact in facts.items():
        after = at + fact.padding_RL.size
        place_RL = place_S[at:after].reshape(fact.padding_RL.shape)
        place[m], at = _on(place_RL, device), after
    return Packing(groups, place)


def _used_tokens(
    facts: Mapping[str, HostFacts], products: int, stand_ins: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """product_T and source_T of all tokens that are no padding, modality by modality."""
    stand_at = sum(fact.padding_RL.size for fact in facts.values())
    used, at = [], 0
    for m in stand_ins or facts:
        fact = facts.get(m)
        if fact is not None:
            row_T, _ = (~fact.padding_RL).nonzero()
            source_T = at + np.flatnonzero(~fact.padding_RL)
            used.append((fact.rows_R[row_T], source_T))
            at += fact.padding_RL.size
        if m in stand_ins:
            has = [] if fact is None else fact.rows_R
            lacks_T = np.setdiff1d(np.arange(products), has)
            used.append((lacks_T, np.full(len(lacks_T), stand_at + list(stand_ins).index(m))))
    product_T, source_T = (np.concatenate(arrays) for arrays in zip(*used, strict=True))
    return product_T, source_T


def _groups(count_N: np.ndarray, overhead: float) -> list[tuple[int, np.ndarray]]:
    """Length and products of each group, shortest first, with the least cost.

    The cost of a group is its padded tokens and the overhead.
    """
    rounded_N = -(-count_N // STEP) * STEP
    lengths, products = np.unique(rounded_N[count_N > 0], return_counts=True)
    best, cut = [0.0], [0]
    for end in range(1, len(lengths) + 1):
        costs = [
            best[start] + lengths[end - 1] * products[start:end].sum() + overhead
            for start in range(end)
        ]
        cut.append(int(np.argmin(costs)))
        best.append(min(costs))
    found, end = [], len(lengths)
    while end:
        start, longest = cut[end], int(lengths[end - 1])
        inside_N = (rounded_N <= longest) & (rounded_N >= lengths[start])
        # No longer than its longest product: rounding up is for where there are several groups.
        longest = min(longest, int(count_N.max()))
        found.append((longest, np.flatnonzero(inside_N)))
        end = start
    return found[::-1]


def _on(values: np.ndarray, device: torch.device) -> Tensor:
    return moved(torch.from_numpy(values), device)
