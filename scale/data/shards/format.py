"""One product as bytes: what a shard holds of it.

A shard is a chunk of litdata: the number n of its products, n + 1 offsets, the products. A product
is five sizes and the bytes of its modalities in the one order; all numbers are little-endian
uint32. A modality that a product lacks has size 0 and no bytes.

B products, L length of a sequence, F features of a vector.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from scale.modalities import CONTINUOUS, MODALITIES

HEADER_BYTES = 4 * len(MODALITIES)
LARGEST_SHARD = (1 << 32) - 1
"""Bytes; the offsets have 32 bits."""


class ShardsError(ValueError):
    """Shards that cannot be written or read; the message names the file or the product."""


@dataclass(frozen=True)
class Layout:
    """How the tokens of each modality become bytes.

    text: ids. table: ids, then the numbers of the entities (int16). Continuous: float16 vectors.
    """

    vocab_size: int
    sizes: dict[str, int]
    """F by continuous modality that some product has."""

    @property
    def id_type(self) -> np.dtype:
        """Ids take two bytes where the vocabulary allows it."""
        return np.dtype("<u2" if self.vocab_size <= 1 << 16 else "<u4")

    def token_bytes(self, modality: str) -> int:
        """Bytes of one token; 0 for a modality that no product has."""
        if modality in CONTINUOUS:
            return 2 * self.sizes.get(modality, 0)
        return self.id_type.itemsize + (2 if modality == "table" else 0)

    def pack(self, modality: str, values: np.ndarray, entity_L: np.ndarray | None) -> bytes:
        """Of one sequence: ids_L or feats_LF (float16), and the table's entities."""
        if modality in CONTINUOUS:
            return values.astype("<f2", copy=False).tobytes()
        ids = values.astype(self.id_type).tobytes()
        return ids if entity_L is None else ids + entity_L.astype("<i2").tobytes()

    def unpack(
        self, modality: str, raw: bytes | memoryview
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Inverse of `pack`, without a copy."""
        if modality in CONTINUOUS:
            return np.frombuffer(raw, "<f2").reshape(-1, self.sizes[modality]), None
        length = len(raw) // self.token_bytes(modality)
        entity_L = None
        if modality == "table":
            entity_L = np.frombuffer(raw, "<i2", length, length * self.id_type.itemsize)
        return np.frombuffer(raw, self.id_type, length), entity_L

    def product_bytes(self, length_BM: np.ndarray) -> np.ndarray:
        """Bytes of products with these numbers of tokens."""
        each_M = np.array([self.token_bytes(m) for m in MODALITIES], np.int64)
        return HEADER_BYTES + length_BM @ each_M


def header(parts: Sequence[bytes]) -> bytes:
    """The sizes before the bytes of a product's modalities, as litdata writes a list of bytes."""
    return np.array([len(part) for part in parts], "<u4").tobytes()


def checksum(*parts: bytes) -> int:
    """CRC-32 of a product's bytes."""
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return crc


def split(product: bytes) -> list[memoryview]:
    """The bytes of each modality, in the one order, from header and bytes.

    Raises ShardsError where the sizes do not add up to the bytes.
    """
    if len(product) < HEADER_BYTES:
        raise ShardsError(f"{len(product)} bytes are too few for a product")
    sizes = np.frombuffer(product, "<u4", len(MODALITIES)).astype(np.int64)
    edges = [HEADER_BYTES, *(HEADER_BYTES + sizes.cumsum()).tolist()]
    if edges[-1] != len(product):
        raise ShardsError(f"{len(product)} bytes, but the sizes say {edges[-1]}")
    view = memoryview(product)
    return [view[a:b] for a, b in pairwise(edges)]
