"""A batch of products: three different facts in three different tensors.

`present_BM` says whether a product has a modality, `padding_RL` which positions hold no token;
what a pretext task hides is a third mask, made by `scale.objectives.masking`.

B products, M modalities (five), R rows: the products that have one modality, L length, F features.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scale.modalities import INDEX, MODALITIES


@dataclass
class Tokens:
    """The tokens of one modality, only for the products that have it: absence takes no bytes."""

    values: Tensor
    """ids_RL (int64) of a discrete modality, feats_RLF (float32) of a continuous one."""
    padding_RL: Tensor
    """True where a position holds no token."""
    rows_R: Tensor
    """Which product of the batch each row belongs to, ascending."""
    entity_RL: Tensor | None = None
    """Table only: number of the attribute or value that a word piece belongs to, counted from 0
    in each row; attributes are even, values odd; -1 for structure, [CLS], [SEP] and padding."""

    def select(self, keep_R: Tensor) -> "Tokens":
        """The rows at the indices or mask `keep_R`."""
        entity = None if self.entity_RL is None else self.entity_RL[keep_R]
        return Tokens(self.values[keep_R], self.padding_RL[keep_R], self.rows_R[keep_R], entity)

    def to(self, device: torch.device | str) -> "Tokens":
        """A copy on a device."""
        entity = None if self.entity_RL is None else self.entity_RL.to(device)
        return Tokens(
            self.values.to(device), self.padding_RL.to(device), self.rows_R.to(device), entity
        )


@dataclass
class ProductBatch:
    """B products with whatever modalities they have."""

    tokens: dict[str, Tokens]
    """By modality, in the one order; one that no product has may be absent or have no rows."""
    present_BM: Tensor
    """True where the product has the modality."""
    index_B: Tensor
    """Position of each product in its dataset."""
    content_BM: Tensor | None = None
    """A number per distinct content of a modality: equal numbers mean equal content; -1 absent."""

    def __len__(self) -> int:
        return len(self.present_BM)

    def only(self, subset: tuple[str, ...]) -> "ProductBatch":
        """The same products with the modalities outside `subset` counted as missing."""
        keep_M = torch.tensor([m in subset for m in MODALITIES], device=self.present_BM.device)
        tokens = {m: t for m, t in self.tokens.items() if m in subset}
        return replace(self, tokens=tokens, present_BM=self.present_BM & keep_M)

    def to(self, device: torch.device | str) -> "ProductBatch":
        """A copy on a device."""
        return ProductBatch(
            {m: t.to(device) for m, t in self.tokens.items()},
            self.present_BM.to(device),
            self.index_B.to(device),
            None if self.content_BM is None else self.content_BM.to(device),
        )

    def check(self) -> None:
        """Raises ValueError where rows and presence disagree or a present row holds no token."""
        for m, tokens in self.tokens.items():
            rows = self.present_BM[:, INDEX[m]].nonzero().squeeze(1)
            if not torch.equal(rows, tokens.rows_R):
                raise ValueError(f"{m}: rows {tokens.rows_R.tolist()} but present {rows.tolist()}")
            if bool(tokens.padding_RL.all(dim=1).any()):
                raise ValueError(f"{m}: a product that has it holds no token")
