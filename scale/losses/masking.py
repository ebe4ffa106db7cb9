"""Masking of the pretext tasks: word pieces in groups, and vectors (paper, section 4.2).

Masked positions (`hidden_RL`) held a token that the model has to predict; they are neither padding
nor missing.

B products, R rows (products that have the modality), L length, G groups in a row, F features,
N masked positions of the batch, A allowed word pieces.
"""

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from scale.config import FUSED_TASKS, MaskConfig
from scale.data.batch import ProductBatch, Tokens, positions_of, to_device
from scale.losses.fused import draw_halves
from scale.modalities import INDEX, SPECS
from scale.seeding import generator

BLOCK = 64
"""Number of positions that share a seed."""


@dataclass(frozen=True)
class WordPieces:
    """Properties of a tokenizer that masking needs."""

    mask_id: int
    special_ids: tuple[int, ...]
    """[PAD], [UNK], [CLS], [SEP], [MASK]: never drawn as random word pieces. Only [UNK] may be
    masked."""
    vocab_size: int
    unknown_id: int | None = None

    @staticmethod
    def of(tokenizer) -> "WordPieces":
        """Return those of a transformers tokenizer."""
        return WordPieces(
            tokenizer.mask_token_id,
            tuple(sorted(set(tokenizer.all_special_ids))),
            len(tokenizer),
            tokenizer.unk_token_id,
        )


@dataclass(frozen=True)
class Part:
    """Place of some products in the batch that they are part of."""

    first: int
    """Index of the first product; the others follow."""
    products: int
    """Number of products of the whole batch."""


@dataclass
class MaskedBatch:
    """A batch with masked tokens, and the original content as targets."""

    batch: ProductBatch
    """Masked word pieces are replaced, masked vectors are 0."""
    hidden: dict[str, Tensor]
    """hidden_RL by modality: True at masked positions."""
    targets: dict[str, Tensor]
    """ids_N or vectors_NF by modality, in row-major order of `hidden`."""
    positions: dict[str, np.ndarray] = field(default_factory=dict)
    """position_N by modality: flat positions of `hidden` in row-major order, on the CPU, so that no
    step has to synchronise with the device for them."""
    halves_BM: Tensor | None = None
    """True for the modalities of each product's first half; None if no loss uses halves."""

    def __post_init__(self) -> None:
        for m in self.hidden.keys() - self.positions.keys():
            self.positions[m] = positions_of(self.hidden[m])

    def rows(self, modality: str) -> Tensor:
        """Return index_N: the product of each masked position."""
        row_N = self.positions[modality] // self.hidden[modality].shape[1]
        rows_R = self.batch.tokens[modality].rows_R
        return rows_R[to_device(torch.from_numpy(row_N), rows_R.device)]

    def to(self, device: torch.device | str) -> "MaskedBatch":
        """Return a copy on a device."""
        hidden, targets = (
            {m: to_device(tensor, device) for m, tensor in fact.items()}
            for fact in (self.hidden, self.targets)
        )
        halves_BM = None if self.halves_BM is None else to_device(self.halves_BM, device)
        return MaskedBatch(self.batch.to(device), hidden, targets, self.positions, halves_BM)


def choose_groups(
    group_RL: Tensor, rate: float, count_draw_R: Tensor, order_draw_RG: Tensor
) -> Tensor:
    """Choose a share `rate` of the groups of each row, uniformly; groups are chosen as a whole.

    Their number is rate * (groups in the row), rounded up or down at random so that its mean is
    exact, and at least one if the row has groups.

    Args:
        group_RL: group of each position, less than G; -1: never chosen.
        count_draw_R, order_draw_RG: uniform in [0, 1), one row of numbers for each row.

    Returns:
        chosen_RL, True at every position of a chosen group.
    """
    real_RL = group_RL >= 0
    index_RL = group_RL.clamp(min=0)
    exists_RG = torch.zeros_like(order_draw_RG, dtype=torch.bool)
    exists_RG.scatter_reduce_(1, index_RL, real_RL, "amax")
    groups_R = exists_RG.sum(dim=1)
    count_R = (rate * groups_R + count_draw_R).floor().clamp(min=1).minimum(groups_R)
    rank_RG = order_draw_RG.masked_fill(~exists_RG, 2.0).argsort(dim=1).argsort(dim=1)
    chosen_RG = rank_RG < count_R[:, None]
    return chosen_RG.gather(1, index_RL) & real_RL


def mask_batch(
    batch: ProductBatch,
    config: MaskConfig,
    pieces: WordPieces,
    seed: tuple[int, ...],
    tasks: tuple[str, ...],
    part: Part | None = None,
) -> MaskedBatch:
    """Mask tokens for the pretext tasks (MLM, MEM, MRP, MFP, MAM) of the modalities in the batch.

    Text: single word pieces; `mask_share` of them become [MASK], `random_share` random word pieces,
    and the rest is unchanged (80/10/10). Table: whole attributes or whole values, with the same
    shares of entities. Image, video, audio: vectors become 0 (the encoder inserts its mask token);
    likewise text and table if their tokens are vectors of a frozen model, where the vectors of
    other words, computed from the whole text, still depend on the masked ones.

    Args:
        batch: preferably on the CPU: the masks then do not depend on the device, and their number
            is known without synchronisation.
        config: rate and shares.
        pieces: of the tokenizer.
        seed: e.g. (seed, step). A product's masks depend on the seed and on its place in the batch,
            not on the other products.
        tasks: active tasks; other modalities are unchanged. With one of FUSED_TASKS, the
            modalities of each product are also divided into two halves.
        part: if the products are part of a batch: their place in it. They get the same masks as in
            the whole batch.
    """
    part = part or Part(0, len(batch))
    tokens, hidden, targets, positions = dict(batch.tokens), {}, {}, {}
    for m, clean in batch.tokens.items():
        if SPECS[m].task not in tasks or not len(clean.rows_R):
            continue
        stream = (*seed, INDEX[m])
        if clean.continuous:
            tokens[m], hidden[m] = _mask_vectors(clean, part, config, stream)
        else:
            tokens[m], hidden[m] = _mask_pieces(clean, part, config, pieces, stream)
        positions[m] = positions_of(hidden[m])
        targets[m] = clean.values.flatten(0, 1)[torch.from_numpy(positions[m])]
    halves_BM = _halves(batch, part, seed) if set(tasks) & set(FUSED_TASKS) else None
    return MaskedBatch(replace(batch, tokens=tokens), hidden, targets, positions, halves_BM)


def _halves(batch: ProductBatch, part: Part, seed: tuple[int, ...]) -> Tensor:
    """Return halves_BM, which depends on the seed and on the place of a product in the batch."""
    device, columns = batch.present_BM.device, batch.present_BM.shape[1]
    random = generator(device, *seed, columns)
    draw_PX = torch.rand(part.products, columns + 1, generator=random, device=device)
    draw_BX = draw_PX[part.first : part.first + len(batch)]
    return draw_halves(batch.present_BM, draw_BX[:, 0], draw_BX[:, 1:])


def _mask_pieces(
    clean: Tokens, part: Part, config: MaskConfig, pieces: WordPieces, seed: tuple[int, ...]
) -> tuple[Tokens, Tensor]:
    """Return masked tokens and hidden_RL of word pieces."""
    ids_RL = clean.values
    if clean.entity_RL is not None:
        group_RL = clean.entity_RL.long()
    else:
        kept = [i for i in pieces.special_ids if i != pieces.unknown_id]
        fixed_RL = torch.isin(ids_RL, torch.tensor(kept, device=ids_RL.device)) | clean.padding_RL
        group_RL = _single_groups(~fixed_RL)
    draw = _draws(clean, part, 4, seed)
    hidden_RL = choose_groups(group_RL, config.rate, draw[0][:, 0], draw[1])
    fate_RL = draw[2].gather(1, group_RL.clamp(min=0))
    random_RL = _random_pieces(draw[3], pieces)
    corrupted_RL = torch.where(
        fate_RL < config.mask_share,
        torch.full_like(ids_RL, pieces.mask_id),
        torch.where(fate_RL < config.mask_share + config.random_share, random_RL, ids_RL),
    )
    return replace(clean, values=torch.where(hidden_RL, corrupted_RL, ids_RL)), hidden_RL


def _mask_vectors(
    clean: Tokens, part: Part, config: MaskConfig, seed: tuple[int, ...]
) -> tuple[Tokens, Tensor]:
    """Return masked tokens and hidden_RL of vectors."""
    draw = _draws(clean, part, 2, seed)
    if clean.entity_RL is not None:
        group_RL = clean.entity_RL.long()
    else:
        group_RL = _single_groups(~clean.padding_RL)
    hidden_RL = choose_groups(group_RL, config.rate, draw[0][:, 0], draw[1])
    return hide_vectors(clean, hidden_RL), hidden_RL


def hide_vectors(clean: Tokens, hidden_RL: Tensor) -> Tokens:
    """Return tokens whose vectors at `hidden_RL` are 0, and their word pieces -1."""
    pieces_RL = clean.pieces_RL
    return replace(
        clean,
        values=clean.values.masked_fill(hidden_RL[:, :, None], 0.0),
        pieces_RL=None if pieces_RL is None else pieces_RL.masked_fill(hidden_RL, -1),
    )


def _single_groups(open_RL: Tensor) -> Tensor:
    """Return group_RL with a group for each open position, -1 elsewhere."""
    position_L = torch.arange(open_RL.shape[1], device=open_RL.device)
    return position_L.expand_as(open_RL).masked_fill(~open_RL, -1)


def _draws(clean: Tokens, part: Part, kinds: int, seed: tuple[int, ...]) -> Tensor:
    """Return K uniform numbers for each position, draw_KRL.

    They are drawn for all places in the batch, and in blocks of positions with a seed each, so that
    the numbers of a product depend neither on which other products have the modality nor on their
    lengths.
    """
    device, length = clean.values.device, clean.padding_RL.shape[1]
    # The micro-batches of a step share the numbers: else their cost grows with its square.
    several = part.products > len(clean.rows_R)
    draw = _draw_block if several else _draw_block.__wrapped__
    place_R = part.first + clean.rows_R
    blocks = [
        draw(kinds, part.products, device, *seed, b)[:, place_R]
        for b in range(math.ceil(length / BLOCK))
    ]
    return torch.cat(blocks, dim=2)[:, :, :length]


@lru_cache(maxsize=8)
def _draw_block(kinds: int, products: int, device: torch.device, *seed: int) -> Tensor:
    """Return K uniform numbers for each position of a block of all products."""
    random = generator(device, *seed)
    return torch.rand(kinds, products, BLOCK, generator=random, device=device)


def _random_pieces(draw_RL: Tensor, pieces: WordPieces) -> Tensor:
    """Return word pieces drawn uniformly from all that are not special."""
    allowed_A = torch.tensor(
        sorted(set(range(pieces.vocab_size)) - set(pieces.special_ids)), device=draw_RL.device
    )
    return allowed_A[(draw_RL * len(allowed_A)).long().clamp(max=len(allowed_A) - 1)]
