"""Random products in a preset's shapes, in memory: the training data of the benchmarks.

N products, B of them in a batch, M modalities (five), R rows (products that have one modality),
L length, F features.
"""

from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import torch

from scale.config import Config, ModelConfig
from scale.data.batch import ProductBatch, Tokens
from scale.losses.masking import MaskedBatch, WordPieces, mask_batch
from scale.modalities import INDEX, MODALITIES, SPECS

Missing = Literal["complete", "m5product", "half"]
MISSING: tuple[str, ...] = get_args(Missing)
M5PRODUCT = {"text": 1.0, "table": 0.95, "image": 1.0, "video": 0.75, "audio": 0.75}
"""Share of the products that have a modality. According to M5Product's pages every product has a
title and a picture, and the audio is extracted from the video, so both are missing together. The
shares of table and video are not published; they are an assumption."""


def presence(missing: Missing, products: int, seed: int = 0) -> np.ndarray:
    """present_NM with exact shares, rounded to whole products.

    `complete`: all modalities. `m5product`: the shares of `M5PRODUCT`, in random products. `half`:
    of each two products, one has two random modalities and the other the remaining three, so every
    modality is missing in half of the products (an odd last product has two).
    """
    random = np.random.default_rng(seed)
    present_NM = np.ones((products, len(MODALITIES)), bool)
    if missing == "m5product":
        for m in MODALITIES:
            lacking = random.permutation(products)[: round((1 - M5PRODUCT[m]) * products)]
            present_NM[lacking, INDEX[m]] = False
        present_NM[:, INDEX["audio"]] = present_NM[:, INDEX["video"]]
    elif missing == "half":
        for first in range(0, products, 2):
            has_M = np.isin(np.arange(len(MODALITIES)), random.permutation(len(MODALITIES))[:2])
            present_NM[first] = has_M
            present_NM[first + 1 : first + 2] = ~has_M
    return present_NM


class RandomTokenizer:
    """The attributes of a tokenizer that masking uses."""

    mask_token_id, unk_token_id, all_special_ids = 4, 1, (0, 1, 2, 3, 4)

    def __init__(self, vocab_size: int):
        self.vocab_size = vocab_size

    def __len__(self) -> int:
        return self.vocab_size


class RandomProducts:
    """N products with random tokens, sequences of full length and distinct contents.

    Replaces a `ProductDataset`. The entities of a table are three word pieces long. `distinct`:
    number of products whose tokens are drawn; the others repeat them, which saves memory.
    """

    def __init__(
        self, config: ModelConfig, present_NM: np.ndarray, seed: int = 0, distinct: int = 0
    ):
        random, products = torch.Generator().manual_seed(seed), len(present_NM)
        self.tokenizer = RandomTokenizer(config.vocab_size)
        self.present_NM = present_NM
        self.content_id_NM = np.where(present_NM, np.arange(products)[:, None], -1)
        self.distinct = distinct or products
        self.tokens = {m: _tokens(config, m, self.distinct, random) for m in MODALITIES}

    def __len__(self) -> int:
        return len(self.present_NM)

    def subset(self, rows: np.ndarray) -> "RandomProducts":
        """Return all products in order; ValueError for any other selection."""
        if not np.array_equal(rows, np.arange(len(self))):
            raise ValueError("random products cannot be selected: create as many as needed")
        return self

    def facts(self, rows: np.ndarray) -> ProductBatch:
        """As `ProductDataset.facts`."""
        content_id_BM = torch.from_numpy(self.content_id_NM[rows])
        return ProductBatch({}, content_id_BM >= 0, torch.from_numpy(np.array(rows)), content_id_BM)

    def collate(self, rows: np.ndarray) -> ProductBatch:
        """As `ProductDataset.collate`."""
        batch = self.facts(rows)
        for m, tokens in self.tokens.items():
            here_R = batch.present_BM[:, INDEX[m]].nonzero().squeeze(1)
            drawn_R = batch.index_B[here_R] % self.distinct
            batch.tokens[m] = replace(tokens.select(drawn_R), rows_R=here_R)
        return batch


def masked_products(config: Config, data: RandomProducts) -> MaskedBatch:
    """Collate all products in order into one masked batch."""
    batch, pieces = data.collate(np.arange(len(data))), WordPieces.of(data.tokenizer)
    return mask_batch(batch, config.mask, pieces, (0,), config.loss.tasks)


def _tokens(config: ModelConfig, modality: str, products: int, random: torch.Generator) -> Tokens:
    length = config.length(modality)
    padding_NL = torch.zeros(products, length, dtype=torch.bool)
    entity_NL = None
    if SPECS[modality].kind == "discrete":
        values = torch.randint(5, config.vocab_size, padding_NL.shape, generator=random)
        values[:, 0] = 2
    else:
        shape = (products, length, config.feature_size(modality))
        values = torch.randn(shape, generator=random)
    if modality == "table":
        entity_L = torch.div(torch.arange(length) - 1, 3, rounding_mode="floor")
        entity_NL = entity_L.expand(products, -1).clone()
    return Tokens(values, padding_NL, torch.arange(products), entity_NL)
