"""Products read from shards: what training asks of a `ProductDataset`, without the catalogue.

N products, B products of a batch, R rows (those of the batch that have a modality), M modalities
(five), L length of a sequence, F features of a vector.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from scale.config import FeatureConfig
from scale.data.batch import ProductBatch, Tokens
from scale.data.normaliser import Normaliser
from scale.data.problems import Problem
from scale.data.product import Product
from scale.data.records import SPLITS
from scale.data.shards.folder import Shards
from scale.data.shards.format import split
from scale.modalities import CONTINUOUS, INDEX


@dataclass(frozen=True)
class ShardDataset:
    """Products as tokens on disk: map-style, any product at any time, one order.

    Its batches have the bits of `ProductDataset`'s. A process holds eight bytes a product in
    memory.
    """

    shards: Shards
    normaliser: Normaliser
    number_N: np.ndarray
    """Which product of the shards each one is."""

    @staticmethod
    def open(folder: Path | str, normaliser: Normaliser | None = None) -> "ShardDataset":
        """All products of a folder. Raises ShardsError."""
        return ShardDataset.of(Shards.open(folder), normaliser)

    @staticmethod
    def of(shards: Shards, normaliser: Normaliser | None = None) -> "ShardDataset":
        """All products; `normaliser`: None is the one that was written with them."""
        return ShardDataset(shards, normaliser or shards.normaliser, np.arange(len(shards)))

    def __len__(self) -> int:
        return len(self.number_N)

    @cached_property
    def products(self) -> tuple[Product, ...]:
        """Ids, splits and categories, read from disk when first asked for: of a validation split,
        not of millions."""
        return self.shards.products(self.number_N)

    @property
    def ids(self) -> tuple[str, ...]:
        """Product ids in order; read from disk."""
        return tuple(product.id for product in self.products)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """That of the tokens."""
        return self.shards.tokenizer

    @property
    def config(self) -> FeatureConfig:
        """That of the tokens."""
        return FeatureConfig(**self.shards.manifest.settings.features)

    @property
    def content_NM(self) -> np.ndarray:
        """As `ProductDataset.content_NM`."""
        return self.shards.content_NM[self.number_N]

    @property
    def present_NM(self) -> np.ndarray:
        """bool: whether a product has a modality."""
        return self.shards.length_NM[self.number_N] > 0

    @property
    def feature_sizes(self) -> dict[str, int]:
        """F of each continuous modality that is there."""
        return dict(self.shards.manifest.sizes)

    @property
    def fingerprint(self) -> str:
        """That of the catalogue which the shards were written from; of all products."""
        return self.shards.manifest.fingerprint

    @property
    def problems(self) -> list[Problem]:
        """What of the catalogue could not be used."""
        return self.shards.problems

    @property
    def cut(self) -> dict[str, int]:
        """Media whose vectors were cut to the longest sequence, counted by modality."""
        return self.shards.manifest.cut

    @property
    def edges(self) -> np.ndarray:
        """First product of each run of products in one shard, and the number of products."""
        shard_N = self.number_N // self.shards.manifest.products_per_shard
        return np.array([0, *(np.diff(shard_N).nonzero()[0] + 1), len(self)])

    def rows_of(self, split: str) -> np.ndarray:
        """Positions of the products of a split."""
        return (self.shards.split_N[self.number_N] == SPLITS.index(split)).nonzero()[0]

    def subset(self, indices: Sequence[int] | np.ndarray) -> "ShardDataset":
        """The products at `indices`, in that order; contents keep their numbers."""
        return replace(self, number_N=self.number_N[np.asarray(indices, np.int64)])

    def facts(self, indices: np.ndarray) -> ProductBatch:
        """What `collate` says of the products at `indices`, without their tokens."""
        content_BM = torch.from_numpy(self.shards.content_NM[self.number_N[indices]])
        return ProductBatch({}, content_BM >= 0, torch.from_numpy(np.array(indices)), content_BM)

    def batches(self, batch_size: int) -> Iterator[ProductBatch]:
        """All products in order, `batch_size` at a time; the last batch may be smaller."""
        for start in range(0, len(self), batch_size):
            yield self.collate(np.arange(start, min(start + batch_size, len(self))))

    def collate(self, indices: Sequence[int] | np.ndarray | Tensor) -> ProductBatch:
        """As `ProductDataset.collate`, to the bit. Raises ShardsError where bytes are damaged."""
        rows = indices.numpy() if isinstance(indices, Tensor) else indices
        batch = self.facts(np.array(rows, np.int64))
        numbers_B = self.number_N[batch.index_B.numpy()]
        length_BM = self.shards.length_NM[numbers_B]
        parts = [split(product) for product in self.shards.read(numbers_B, length_BM)]
        for m in self.shards.manifest.present:
            (rows_R,) = length_BM[:, INDEX[m]].nonzero()
            raw = [parts[row][INDEX[m]] for row in rows_R]
            gather = self._vectors if m in CONTINUOUS else self._ids
            batch.tokens[m] = gather(m, raw, rows_R, length_BM[rows_R, INDEX[m]])
        return batch

    def _vectors(
        self, modality: str, raw: list[memoryview], rows_R: np.ndarray, length_R: np.ndarray
    ) -> Tokens:
        layout, longest = self.shards.manifest.layout, int(length_R.max(initial=1))
        half_RLF = np.zeros((len(raw), longest, layout.sizes[modality]), np.float16)
        for half_LF, part, length in zip(half_RLF, raw, length_R.tolist(), strict=True):
            half_LF[:length], _ = layout.unpack(modality, part)
        # numpy asks the system for large pages, with which the first touch costs half as much.
        values = torch.from_numpy(np.empty(half_RLF.shape, np.float32))
        values.copy_(torch.from_numpy(half_RLF))
        padding_RL = torch.from_numpy(np.arange(longest) >= length_R[:, None])
        if modality in self.normaliser.mean:
            values -= torch.from_numpy(self.normaliser.mean[modality])
            values /= torch.from_numpy(self.normaliser.spread[modality])
            values[padding_RL] = 0.0
        return Tokens(values, padding_RL, torch.from_numpy(rows_R))

    def _ids(
        self, modality: str, raw: list[memoryview], rows_R: np.ndarray, length_R: np.ndarray
    ) -> Tokens:
        layout, longest = self.shards.manifest.layout, int(length_R.max(initial=1))
        ids_RL = np.full((len(raw), longest), self.tokenizer.pad_token_id, np.int64)
        entity_RL = np.full((len(raw), longest), -1, np.int64)
        for row, (part, length) in enumerate(zip(raw, length_R.tolist(), strict=True)):
            ids_RL[row, :length], entity_L = layout.unpack(modality, part)
            if entity_L is not None:
                entity_RL[row, :length] = entity_L
        return Tokens(
            torch.from_numpy(ids_RL),
            torch.from_numpy(np.arange(longest) >= length_R[:, None]),
            torch.from_numpy(rows_R),
            torch.from_numpy(entity_RL) if modality == "table" else None,
        )
