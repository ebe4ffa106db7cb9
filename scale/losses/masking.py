"""Five maskings as two: word pieces in groups, and vectors (paper, section 4.2).

A pretext mask is neither padding nor absence: it says which tokens were there and are hidden now.

B products, R rows (products that have the modality), L length, G groups in a row, F features,
N hidden positions of the batch, A allowed word pieces.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from scale.config import MaskConfig
from scale.data.batch import ProductBatch, Tokens, positions_of, to_device
from scale.modalities import INDEX, SPECS
from scale.seeding import generator

BLOCK = 64
"""Positions that share a seed."""


@dataclass(frozen=True)
class WordPieces:
    """What masking needs to know of a tokenizer."""

    mask_id: int
    special_ids: tuple[int, ...]
    """[PAD], [UNK], [CLS], [SEP], [MASK]: never drawn as random words. All but [UNK] are never
    hidden either."""
    vocab_size: int
    unknown_id: int | None = None

    @staticmethod
    def of(tokenizer) -> "WordPieces":
        """From any transformers tokenizer."""
        return WordPieces(
            tokenizer.mask_token_id,
            tuple(sorted(set(tokenizer.all_special_ids))),
            len(tokenizer),
            tokenizer.unk_token_id,
        )


@dataclass(frozen=True)
class Part:
    """Where some products stand in the batch that they belong to."""

    first: int
    """Place of the first one; the others follow."""
    products: int
    """Of the whole batch."""


@dataclass
class MaskedBatch:
    """A batch with hidden tokens, and what was there."""

    batch: ProductBatch
    """Corrupted: hidden word pieces replaced, hidden vectors zero."""
    hidden: dict[str, Tensor]
    """hidden_RL by modality: True where the head must predict."""
    targets: dict[str, Tensor]
    """ids_N or vectors_NF by modality, in row-major order of `hidden`."""
    positions: dict[str, np.ndarray] = field(default_factory=dict)
    """position_N by modality: where `hidden` is True, counted in row-major order. On the host,
    which would have to wait for the device to learn it."""

    def __post_init__(self) -> None:
        for m in self.hidden.keys() - self.positions.keys():
            self.positions[m] = positions_of(self.hidden[m])

    def rows(self, modality: str) -> Tensor:
        """Product of each hidden position, as index_N."""
        row_N = self.positions[modality] // self.hidden[modality].shape[1]
        rows_R = self.batch.tokens[modality].rows_R
        return rows_R[to_device(torch.from_numpy(row_N), rows_R.device)]

    def to(self, device: torch.device | str) -> "MaskedBatch":
        """A copy on a device."""
        hidden, targets = (
            {m: to_device(tensor, device) for m, tensor in fact.items()}
            for fact in (self.hidden, self.targets)
        )
        return MaskedBatch(self.batch.to(device), hidden, targets, self.positions)


def choose_groups(
    group_RL: Tensor, rate: float, count_draw_R: Tensor, order_draw_RG: Tensor
) -> Tensor:
    """Choose `rate` of the groups of each row, whole groups only.

    n = rate * (groups in the row), rounded up or down at random so that its mean is exact, at least
    one group where there is any; which ones is uniform.

    Args:
        group_RL: number of each position's group, below G; -1: not to be hidden.
        count_draw_R, order_draw_RG: uniform in [0, 1); a row's result depends on its own only.

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
    """Hide tokens for the pretext tasks (MLM, MEM, MRP, MFP, MAM) of the modalities in the batch.

    Text: single word pieces, of which `mask_share` become [MASK], `random_share` random word
    pieces, and the rest stays (80/10/10). Table: whole attributes or whole values, the same shares
    drawn once an entity. Image, video, audio: vectors become zero (the encoder sets its mask token
    there).

    Args:
        batch: best on the CPU: the masks are then the same whatever device the model is on, and
            how many positions they hide is known without waiting for it.
        seed: e.g. (seed, step); the same seed gives the same masks on the same kind of device, and
            a product's masks depend on its place in the batch, never on the other products.
        tasks: names of the tasks that are on; other modalities stay as they are.
        part: where the products are only some of a batch: which. They get the masks that they
            would have in the whole.
    """
    part = part or Part(0, len(batch))
    tokens, hidden, targets, positions = dict(batch.tokens), {}, {}, {}
    for m, clean in batch.tokens.items():
        if SPECS[m].task not in tasks or not len(clean.rows_R):
            continue
        stream = (*seed, INDEX[m])
        if SPECS[m].kind == "discrete":
            tokens[m], hidden[m] = _mask_pieces(clean, part, config, pieces, stream)
        else:
            tokens[m], hidden[m] = _mask_vectors(clean, part, config, stream)
        positions[m] = positions_of(hidden[m])
        targets[m] = clean.values.flatten(0, 1)[torch.from_numpy(positions[m])]
    return MaskedBatch(replace(batch, tokens=tokens), hidden, targets, positions)


def _mask_pieces(
    clean: Tokens, part: Part, config: MaskConfig, pieces: WordPieces, seed: tuple[int, ...]
) -> tuple[Tokens, Tensor]:
    """Corrupted tokens and hidden_RL of a discrete modality."""
    ids_RL = clean.values
    if clean.entity_RL is not None:
        group_RL = clean.entity_RL.long()
    else:
        kept = [i for i in pieces.special_ids if i != pieces.unknown_id]
        fixed_RL = torch.isin(ids_RL, torch.tensor(kept, device=ids_RL.device)) | clean.padding_RL
        group_RL = _each_alone(~fixed_RL)
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
    """Corrupted tokens and hidden_RL of a continuous modality."""
    draw = _draws(clean, part, 2, seed)
    group_RL = _each_alone(~clean.padding_RL)
    hidden_RL = choose_groups(group_RL, config.rate, draw[0][:, 0], draw[1])
    return replace(clean, values=clean.values.masked_fill(hidden_RL[:, :, None], 0.0)), hidden_RL


def _each_alone(open_RL: Tensor) -> Tensor:
    """Every open position a group of its own: group_RL, -1 elsewhere."""
    position_L = torch.arange(open_RL.shape[1], device=open_RL.device)
    return position_L.expand_as(open_RL).masked_fill(~open_RL, -1)


def _draws(clean: Tokens, part: Part, kinds: int, seed: tuple[int, ...]) -> Tensor:
    """Uniform numbers as draw_KRL, K kinds.

    Drawn for every place in the batch and in blocks of positions with a seed each, so that neither
    who else has the modality nor how long the others are moves a product's numbers.
    """
    device, length = clean.values.device, clean.padding_RL.shape[1]
    blocks = [
        torch.rand(
            kinds, part.products, BLOCK, generator=generator(device, *seed, b), device=device
        )
        for b in range(math.ceil(length / BLOCK))
    ]
    return torch.cat(blocks, dim=2)[:, part.first + clean.rows_R, :length]


def _random_pieces(draw_RL: Tensor, pieces: WordPieces) -> Tensor:
    """Word pieces drawn uniformly from all that are not special."""
    allowed_A = torch.tensor(
        sorted(set(range(pieces.vocab_size)) - set(pieces.special_ids)), device=draw_RL.device
    )
    return allowed_A[(draw_RL * len(allowed_A)).long().clamp(max=len(allowed_A) - 1)]
