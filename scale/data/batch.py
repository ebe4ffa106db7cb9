"""A batch of products; presence, padding and pretext masks are three different tensors.

`present_BM` is True where a product has a modality, `padding_RL` at positions without a token. The
mask of the pretext tasks is made by `scale.losses.masking`.

B products, M modalities (five), R rows: the products that have one modality, L length, F features.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from scale.modalities import INDEX, MODALITIES


@dataclass
class Tokens:
    """Tokens of one modality, with rows only for the products that have it."""

    values: Tensor
    """ids_RL (int64) of word pieces, feats_RLF (float32), or, in place of all tokens of a product,
    x_RC (float32), the input of its projection (`ProjectionInputs`)."""
    padding_RL: Tensor
    """True at positions without a token."""
    rows_R: Tensor
    """Index in the batch of each row's product, ascending."""
    entity_RL: Tensor | None = None
    """Table only: number of the attribute or value that a token belongs to, counted from 0
    in each row; attributes are even, values odd; -1 for structure, [CLS], [SEP] and padding."""
    host: "TokenLayout | None" = None
    """CPU copy of row indices and padding, for tokens on another device."""
    pieces_RL: Tensor | None = None
    """Text and table as vectors of a frozen model only: id of each vector's word piece in the
    model's vocabulary; -1 at padding, at masked positions and for vectors of the whole text."""

    def select(self, keep_R: Tensor) -> "Tokens":
        """Return the rows at the indices or mask `keep_R`."""
        values, padding_RL, rows_R, entity, pieces = (
            None if tensor is None else tensor[keep_R] for tensor in self._tensors()
        )
        return Tokens(values, padding_RL, rows_R, entity, pieces_RL=pieces)

    def to(self, device: torch.device | str) -> "Tokens":
        """Return a copy on a device."""
        values, padding_RL, rows_R, entity, pieces = (
            None if tensor is None else to_device(tensor, device) for tensor in self._tensors()
        )
        return Tokens(values, padding_RL, rows_R, entity, self.on_host(), pieces)

    def _tensors(self) -> tuple[Tensor | None, ...]:
        return self.values, self.padding_RL, self.rows_R, self.entity_RL, self.pieces_RL

    @property
    def piece_ids(self) -> Tensor | None:
        """Word-piece ids of text or table, also where the tokens are vectors; else None."""
        return self.pieces_RL if self.continuous else self.values

    def on_host(self) -> "TokenLayout":
        """Return row indices and padding on the CPU; synchronises only if they are not kept."""
        if self.host is not None:
            return self.host
        return TokenLayout(self.rows_R.cpu().numpy(), self.padding_RL.cpu().numpy())

    @property
    def continuous(self) -> bool:
        """Whether the tokens are vectors."""
        return self.values.ndim == 3

    @property
    def projected(self) -> bool:
        """Whether the values are inputs of a projection."""
        return self.values.ndim == 2 and self.values.is_floating_point()

    @property
    def padded(self) -> bool:
        """Whether any position is padded; attention without a mask has faster kernels."""
        return bool(self.on_host().padding_RL.any())


@dataclass(frozen=True)
class TokenLayout:
    """CPU copy of row indices and padding of a modality."""

    rows_R: np.ndarray
    padding_RL: np.ndarray


@dataclass
class ProductBatch:
    """B products with their present modalities."""

    tokens: dict[str, Tokens]
    """By modality, in the order of `MODALITIES`; a modality of no product may be left out."""
    present_BM: Tensor
    """True where the product has the modality."""
    index_B: Tensor
    """Index of each product in its data set."""
    content_id_BM: Tensor | None = None
    """Id of each distinct content of a modality: equal ids are duplicates; -1 where absent."""

    def __len__(self) -> int:
        return len(self.present_BM)

    def only(self, subset: tuple[str, ...]) -> "ProductBatch":
        """Return the products with all modalities outside `subset` treated as missing."""
        keep_M = torch.tensor([m in subset for m in MODALITIES], device=self.present_BM.device)
        tokens = {m: t for m, t in self.tokens.items() if m in subset}
        return replace(self, tokens=tokens, present_BM=self.present_BM & keep_M)

    def to(self, device: torch.device | str) -> "ProductBatch":
        """Return a copy on a device."""
        return ProductBatch(
            {m: t.to(device) for m, t in self.tokens.items()},
            to_device(self.present_BM, device),
            to_device(self.index_B, device),
            None if self.content_id_BM is None else to_device(self.content_id_BM, device),
        )

    def check(self) -> None:
        """Raise ValueError if rows and presence disagree or a present row has no token."""
        for m, tokens in self.tokens.items():
            rows = self.present_BM[:, INDEX[m]].nonzero().squeeze(1)
            if not torch.equal(rows, tokens.rows_R):
                raise ValueError(f"{m}: rows {tokens.rows_R.tolist()} but present {rows.tolist()}")
            if bool(tokens.padding_RL.all(dim=1).any()):
                raise ValueError(f"{m}: a product that has it has no token")


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Return a tensor on a device; to CUDA asynchronously, from pinned memory."""
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def positions_of(mask: Tensor) -> np.ndarray:
    """Return the flat positions where a mask is True (synchronises with the device)."""
    return np.flatnonzero(mask.cpu().numpy())
