"""The products of a catalogue as tokens in memory, and batches of them.

N products, M modalities (five), B products of a batch, F features of a vector.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from scale.config import FeatureConfig
from scale.data.batch import ProductBatch
from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue
from scale.data.columns import Column, fit_normaliser, standardise
from scale.data.normaliser import Normaliser
from scale.data.problems import Problem
from scale.data.product import Product, View
from scale.data.reading import fingerprint, number_contents, read_tokens
from scale.modalities import CONTINUOUS, MODALITIES


@dataclass(frozen=True)
class ProductDataset:
    """Products as tokens: map-style, in memory (large features mapped from disk), one order."""

    products: tuple[Product, ...]
    """Modalities whose media could not be used are None here."""
    config: FeatureConfig
    tokenizer: PreTrainedTokenizerBase
    normaliser: Normaliser
    columns: dict[str, Column]
    """By modality, in the one order; one that no product has is absent."""
    content_NM: np.ndarray
    """int64: equal numbers in a column mean equal content; -1 where absent."""
    problems: list[Problem] = field(default_factory=list)
    """Media that could not be used; beside those that the catalogue found when it was opened."""
    cut: dict[str, int] = field(default_factory=dict)
    """Media whose vectors were cut to the longest sequence, counted by modality."""
    options: dict[str, Any] = field(default_factory=dict, repr=False)
    """The other arguments of `build`, for `view`."""

    @classmethod
    def build(
        cls,
        catalogue: Catalogue,
        config: FeatureConfig,
        tokenizer: PreTrainedTokenizerBase,
        normaliser: Normaliser | None = None,
        *,
        cache: FeatureCache | None = None,
        strict: bool = False,
        workers: int | None = None,
        modalities: Sequence[str] = MODALITIES,
        lengths: Mapping[str, int] | None = None,
    ) -> "ProductDataset":
        """Tokens of all products of `catalogue`; media features come from the cache or go there.

        normaliser: that of the training data. None fits one on the products of the split `train`
        or of no split, so the statistics never see validation or test products.
        modalities: the others count as missing. lengths: longest sequence by modality, for those
        whose source does not fix it (feature files, timm models); the first vectors are kept.

        A media file that cannot be used counts as missing and is listed in `problems`; `strict`
        raises CatalogueError instead. ValueError where a normaliser is needed and no product is
        there to fit it on.
        """
        options = {
            "cache": cache or FeatureCache(),
            "strict": strict,
            "workers": workers,
            "modalities": tuple(m for m in MODALITIES if m in modalities),
            "lengths": dict(lengths or {}),
        }
        return _build(catalogue, config, tokenizer, normaliser, options)

    def __len__(self) -> int:
        return len(self.products)

    @property
    def ids(self) -> tuple[str, ...]:
        """Product ids in order."""
        return tuple(product.id for product in self.products)

    @property
    def present_NM(self) -> np.ndarray:
        """bool: whether a product has a modality; unused modalities count as missing."""
        return self.content_NM >= 0

    @property
    def fingerprint(self) -> str:
        """Changes where a product, its presence or its content changes."""
        return fingerprint(self.ids, self.content_NM)

    def rows_of(self, split: str) -> np.ndarray:
        """Positions of the products of a split."""
        return np.array([i for i, p in enumerate(self.products) if p.split == split], np.int64)

    @property
    def feature_sizes(self) -> dict[str, int]:
        """F of each continuous modality that is there: what ModelConfig must say."""
        return {m: self.columns[m].values.shape[1] for m in CONTINUOUS if m in self.columns}

    def collate(self, indices: Sequence[int] | np.ndarray | Tensor) -> ProductBatch:
        """The batch of the products at `indices`, in that order.

        Continuous vectors are standardised float32. The rows of one product do not depend on the
        others, except for padding.
        """
        rows = indices.numpy() if isinstance(indices, Tensor) else indices
        index_B = np.array(rows, np.int64)
        tokens = {m: column.gather(index_B) for m, column in self.columns.items()}
        content_BM = torch.from_numpy(self.content_NM[index_B])
        return ProductBatch(tokens, content_BM >= 0, torch.from_numpy(index_B), content_BM)

    def facts(self, indices: np.ndarray) -> ProductBatch:
        """What `collate` says of the products at `indices`, without their tokens."""
        content_BM = torch.from_numpy(self.content_NM[indices])
        return ProductBatch({}, content_BM >= 0, torch.from_numpy(indices), content_BM)

    def batches(self, batch_size: int) -> Iterator[ProductBatch]:
        """All products in order, `batch_size` at a time; the last batch may be smaller."""
        for start in range(0, len(self), batch_size):
            yield self.collate(np.arange(start, min(start + batch_size, len(self))))

    def subset(self, indices: Sequence[int] | np.ndarray) -> "ProductDataset":
        """The products at `indices`, in that order; tokens are shared, contents keep their numbers.

        `index_B` of its batches counts within the subset.
        """
        rows = np.asarray(indices, np.int64)
        return replace(
            self,
            products=tuple(self.products[i] for i in rows),
            columns={m: c.select(rows) for m, c in self.columns.items()},
            content_NM=self.content_NM[rows],
        )

    def view(self, name: str) -> "ProductDataset":
        """`alt`: the second views as a dataset of its own, for instance retrieval.

        It holds the products that have one, under the same ids, with the same tokenizer and
        normaliser; numbers in its `content_NM` are not comparable with those of the first view.
        Problems name the modality `alt_image` and so on.
        """
        if name != "alt":
            raise ValueError(f"unknown view {name!r}; known: alt")
        second = tuple(_second_view(p) for p in self.products if p.alt.present)
        return _build(
            Catalogue(Path(), second),
            self.config,
            self.tokenizer,
            self.normaliser,
            self.options,
            prefix="alt_",
        )


def _build(
    catalogue: Catalogue,
    config: FeatureConfig,
    tokenizer: PreTrainedTokenizerBase,
    normaliser: Normaliser | None,
    options: dict[str, Any],
    prefix: str = "",
) -> ProductDataset:
    """The dataset of one view; `prefix` stands before the modality's name in its problems."""
    read = read_tokens(catalogue, config, tokenizer, normaliser, prefix=prefix, **options)
    if normaliser is None:
        training_N = np.array([p.split in (None, "train") for p in read.products], bool)
        normaliser = fit_normaliser(read.columns, training_N)
    return ProductDataset(
        read.products,
        config,
        tokenizer,
        normaliser,
        standardise(read.columns, normaliser),
        number_contents(read),
        read.problems,
        read.cut,
        options,
    )


def _second_view(product: Product) -> Product:
    content = {m: product.content[f"alt_{m}"] for m in MODALITIES if f"alt_{m}" in product.content}
    values = {m: getattr(product.alt, m) for m in MODALITIES}
    return replace(product, **values, alt=View(), content=content)
