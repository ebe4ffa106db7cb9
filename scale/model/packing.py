"""Packed sequences of the JCT: missing modalities and padding take no tokens.

A batch is cut into a few groups of products of similar length; each group is one padded tensor.

P products of a batch, B of a group, R rows (products that have a modality), L length, Q query
positions of a sequence, T used tokens, N query positions of a modality, S source tokens: the
encoded tokens of all modalities one after the other, then the tokens of missing modalities.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scale.data.batch import TokenLayout, to_device

STEP = 8
"""Lengths are rounded up to a multiple of this before products are grouped."""
CPU_OVERHEAD, CUDA_OVERHEAD = 7e5, 2.4e9
"""Cost of an additional group, in tokens times squared width: launching the kernels of a layer
takes as long as that many operations / 72."""


@dataclass(frozen=True)
class Group:
    """Sequences of products of similar length."""

    source_BL: Tensor
    """Index of the source token at each position; 0 at padding."""
    padding_BL: Tensor | None
    """None: no position is padding."""
    query_BQ: Tensor | None
    """Positions with an output; filled up with 0 where a product has fewer. None: all."""


@dataclass(frozen=True)
class Packing:
    """Groups of a batch, and the places of their outputs."""

    groups: list[Group]
    place: dict[str, Tensor]
    """place_N by modality: index of each output in the concatenated tokens_BQD (tokens_BLD if all
    positions are queries) of all groups."""


def pack(
    layouts: Mapping[str, TokenLayout],
    products: int,
    missing: Mapping[str, int],
    positions: Mapping[str, np.ndarray] | None,
    overhead: float,
    device: torch.device,
) -> Packing:
    """Cut a batch into groups of products with similar numbers of tokens.

    The sequence of a product contains its tokens in the order of the modalities. Products without
    tokens are in no group.

    Args:
        layouts: rows and padding by modality, in order; [CLS] counts as a token.
        products: B.
        missing: number of source tokens that replace each missing modality, in order; they follow
            the encoded ones.
        positions: flat (row, token) query positions by modality, none of them padding. None: all
            that are not padding.
        overhead: cost of an additional group, in tokens.
        device: of the tensors in the result.
    """
    product_T, source_T = _used_tokens(layouts, products, missing)
    order_T = np.argsort(product_T, kind="stable")
    product_T, source_T = product_T[order_T], source_T[order_T]
    count_P, start_P, position_T = _within(product_T, products)
    sizes = [layout.padding_RL.size for layout in layouts.values()]
    first_S = dict(zip(layouts, _starts(sizes), strict=True))
    all_positions, query_S = positions is None, np.zeros(source_T.max() + 1, bool)
    if positions is None:
        positions = {m: np.flatnonzero(~layout.padding_RL) for m, layout in layouts.items()}
    for m, position_N in positions.items():
        query_S[first_S[m] + position_N] = True
    query_T = np.flatnonzero(query_S[source_T])
    queries_P, _, rank_T = _within(product_T[query_T], products)
    if all_positions:
        queries_P, rank_T = count_P, position_T[query_T]

    groups, first, place_S = [], 0, np.zeros(len(query_S), np.int64)
    for product_B in _groups(count_P, overhead):
        source_BL, padding_BL = _arrange(source_T, start_P[product_B], count_P[product_B])
        query_BQ = np.zeros((len(product_B), max(1, queries_P[product_B].max())), np.int64)
        row_P = np.full(products, -1)
        row_P[product_B] = np.arange(len(product_B))
        row_T = row_P[product_T[query_T]]
        here_T, target_T = query_T[row_T >= 0], (row_T[row_T >= 0], rank_T[row_T >= 0])
        query_BQ[target_T] = position_T[here_T]
        place_S[source_T[here_T]] = first + np.ravel_multi_index(target_T, query_BQ.shape)
        first += query_BQ.size
        arrays = (source_BL, padding_BL, None if all_positions else query_BQ)
        groups.append(Group(*(None if a is None else _on(a, device) for a in arrays)))
    place = {m: _on(place_S[first_S[m] + n], device) for m, n in positions.items()}
    return Packing(groups, place)


def _used_tokens(
    layouts: Mapping[str, TokenLayout], products: int, missing: Mapping[str, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return product_T and source_T of all tokens that are not padding, modality by modality."""
    used, encoded = [], 0
    missing_start = sum(layout.padding_RL.size for layout in layouts.values())
    for m, length in missing.items():
        has_R = np.zeros(0, int)
        if m in layouts:
            has_R, open_RL = layouts[m].rows_R, ~layouts[m].padding_RL
            used.append((has_R[open_RL.nonzero()[0]], encoded + np.flatnonzero(open_RL)))
            encoded += open_RL.size
        lacks_B = np.setdiff1d(np.arange(products), has_R)
        source_L = missing_start + np.arange(length)
        used.append((lacks_B.repeat(length), np.tile(source_L, len(lacks_B))))
        missing_start += length
    product_T, source_T = (np.concatenate(arrays) for arrays in zip(*used, strict=True))
    return product_T, source_T


def _within(product_T: np.ndarray, products: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the number of tokens of each product, their start, and each token's position."""
    count_P = np.bincount(product_T, minlength=products)
    start_P = _starts(count_P)
    return count_P, start_P, np.arange(len(product_T)) - start_P[product_T]


def _starts(sizes: np.ndarray | list[int]) -> np.ndarray:
    return np.cumsum(sizes, dtype=np.int64) - sizes


def _arrange(
    source_T: np.ndarray, start_B: np.ndarray, count_B: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return source_BL and padding_BL of a group."""
    position_L = np.arange(count_B.max())
    padding_BL = position_L >= count_B[:, None]
    token_BL = np.where(padding_BL, 0, start_B[:, None] + position_L)
    source_BL = np.where(padding_BL, 0, source_T[token_BL])
    return source_BL, padding_BL if padding_BL.any() else None


def _groups(count_P: np.ndarray, overhead: float) -> list[np.ndarray]:
    """Return the products of each group, shortest first, at the lowest total cost.

    The cost of a group is its number of tokens, padding included, plus the overhead.
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
