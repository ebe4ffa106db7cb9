"""Sequences of the JCT without gaps: where a modality is missing, no token stands.

Products of similar length share a padded tensor, so a batch becomes a few of them.

P products of a batch, B of a group, R rows (products that have a modality), L length, Q positions
of a sequence that are read, S source tokens: the encoded tokens of all modalities one after the
other, then the stand-ins; T tokens that are used, N of a modality that are read.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scale.data.batch import TokenLayout, to_device

STEP = 8
"""Products whose lengths differ by less are in one group."""
CPU_OVERHEAD, CUDA_OVERHEAD = 7e5, 2.4e9
"""What one more group costs, in tokens times squared width: starting the kernels of a layer takes
as long as that many operations / 72."""


@dataclass(frozen=True)
class Group:
    """Sequences of some products."""

    source_BL: Tensor
    """Which source token stands at each position; 0 at padding."""
    padding_BL: Tensor | None
    """None: nothing is padding."""
    read_BQ: Tensor | None
    """Positions that are read; 0 where a product has fewer than others. None: all are."""


@dataclass(frozen=True)
class Packing:
    """Where each token of a batch goes, and where it comes back from."""

    groups: list[Group]
    place: dict[str, Tensor]
    """By modality, where the tokens that are read come out: place_N in tokens_BQD (tokens_BLD
    where all are read) of all groups, one after the other."""


def pack(
    facts: Mapping[str, TokenLayout],
    products: int,
    stand_ins: Mapping[str, int],
    read: Mapping[str, np.ndarray] | None,
    overhead: float,
    device: torch.device,
) -> Packing:
    """Cut a batch into groups of products with about as many tokens each.

    A product's sequence holds its tokens in the order of the modalities. Products without any token
    are in no group.

    Args:
        facts: by modality in order, its rows and padding ([CLS] counts as a token).
        products: in the batch.
        stand_ins: by modality in order, how many source tokens stand for it where it is missing;
            they follow the encoded ones.
        read: by modality, positions in (row, token) order that are read; none of them padding.
            None: all that are no padding.
        overhead: tokens that cost as much as one more group.
        device: of the tensors in the result.
    """
    product_T, source_T = _used_tokens(facts, products, stand_ins)
    order_T = np.argsort(product_T, kind="stable")
    product_T, source_T = product_T[order_T], source_T[order_T]
    count_P, start_P, position_T = _within(product_T, products)
    first_S = dict(zip(facts, _starts([f.padding_RL.size for f in facts.values()]), strict=True))
    everything, wanted_S = read is None, np.zeros(source_T.max() + 1, bool)
    if read is None:
        read = {m: np.flatnonzero(~fact.padding_RL) for m, fact in facts.items()}
    for m, read_N in read.items():
        wanted_S[first_S[m] + read_N] = True
    read_T = np.flatnonzero(wanted_S[source_T])
    reads_P, _, rank_T = _within(product_T[read_T], products)
    if everything:
        reads_P, rank_T = count_P, position_T[read_T]

    groups, first, place_S = [], 0, np.zeros(len(wanted_S), np.int64)
    for product_B in _groups(count_P, overhead):
        group = _lay_out(source_T, start_P[product_B], count_P[product_B])
        read_BQ = np.zeros((len(product_B), max(1, reads_P[product_B].max())), np.int64)
        line_P = np.full(products, -1)
        line_P[product_B] = np.arange(len(product_B))
        line_T = line_P[product_T[read_T]]
        here_T, there_T = read_T[line_T >= 0], (line_T[line_T >= 0], rank_T[line_T >= 0])
        read_BQ[there_T] = position_T[here_T]
        place_S[source_T[here_T]] = first + np.ravel_multi_index(there_T, read_BQ.shape)
        first += read_BQ.size
        tensors = (*group, None if everything else read_BQ)
        groups.append(Group(*(None if a is None else _on(a, device) for a in tensors)))
    place = {m: _on(place_S[first_S[m] + read_N], device) for m, read_N in read.items()}
    return Packing(groups, place)


def _used_tokens(
    facts: Mapping[str, TokenLayout], products: int, stand_ins: Mapping[str, int]
) -> tuple[np.ndarray, np.ndarray]:
    """product_T and source_T of all tokens that are no padding, modality by modality."""
    used, encoded = [], 0
    stand_at = sum(fact.padding_RL.size for fact in facts.values())
    for m in stand_ins or facts:
        fact = facts.get(m)
        if fact is not None:
            row_T, _ = (~fact.padding_RL).nonzero()
            used.append((fact.rows_R[row_T], encoded + np.flatnonzero(~fact.padding_RL)))
            encoded += fact.padding_RL.size
        if m in stand_ins:
            has_R = np.zeros(0, int) if fact is None else fact.rows_R
            lacks_B = np.setdiff1d(np.arange(products), has_R)
            source_L = stand_at + np.arange(stand_ins[m])
            used.append((lacks_B.repeat(len(source_L)), np.tile(source_L, len(lacks_B))))
            stand_at += len(source_L)
    product_T, source_T = (np.concatenate(arrays) for arrays in zip(*used, strict=True))
    return product_T, source_T


def _within(product_T: np.ndarray, products: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of ascending products: tokens of each, where they start, and each token's number in its."""
    count_P = np.bincount(product_T, minlength=products)
    start_P = _starts(count_P)
    return count_P, start_P, np.arange(len(product_T)) - start_P[product_T]


def _starts(sizes: np.ndarray | list[int]) -> np.ndarray:
    return np.cumsum(sizes, dtype=np.int64) - sizes


def _lay_out(
    source_T: np.ndarray, start_B: np.ndarray, count_B: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """source_BL and padding_BL of a group."""
    lane_L = np.arange(count_B.max())
    padding_BL = lane_L >= count_B[:, None]
    token_BL = np.where(padding_BL, 0, start_B[:, None] + lane_L)
    source_BL = np.where(padding_BL, 0, source_T[token_BL])
    return source_BL, padding_BL if padding_BL.any() else None


def _groups(count_P: np.ndarray, overhead: float) -> list[np.ndarray]:
    """Products of each group, shortest first, with the least cost.

    The cost of a group is its padded tokens and the overhead.
    """
    rounded_P = -(-count_P // STEP) * STEP
    lengths, products = np.unique(rounded_P[count_P > 0], return_counts=True)
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
        start = cut[end]
        inside_P = (rounded_P >= lengths[start]) & (rounded_P <= lengths[end - 1])
        found.append(np.flatnonzero(inside_P))
        end = start
    return found[::-1]


def _on(values: np.ndarray, device: torch.device) -> Tensor:
    return to_device(torch.from_numpy(values), device)
