"""A folder of shards, opened: any product's bytes, checked, and the facts of all products.

N products of the folder, B products of a batch, M modalities (five).
"""

import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np
from transformers import PreTrainedTokenizerBase

from scale.data.normaliser import Normaliser
from scale.data.problems import Problem, read_problems
from scale.data.product import Product
from scale.data.shards.finish import ARRAYS, NORMALISER, PROBLEMS, read_facts
from scale.data.shards.format import ShardsError, checksum
from scale.data.shards.manifest import (
    REPAIR,
    Manifest,
    Settings,
    chunk_name,
    facts_name,
    tokenizer_fingerprint,
)
from scale.data.tokenizer import load_tokenizer

OPEN_FILES = 256
"""Shards open at a time."""
READERS = 8
"""Threads that read and check: a distant disk answers many questions at a time."""


class OpenFile:
    """A file that can be read at any place by several threads; closed when nobody holds it."""

    def __init__(self, path: Path) -> None:
        self.handle = os.open(path, os.O_RDONLY)

    def read(self, size: int, start: int) -> bytes:
        """Bytes from a place; fewer where the file ends before."""
        return os.pread(self.handle, size, start)

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            os.close(self.handle)


class OpenFiles:
    """The shards used last, open."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lock = folder, Lock()
        self.files: OrderedDict[int, OpenFile] = OrderedDict()

    def get(self, number: int) -> OpenFile:
        """A shard by number."""
        with self.lock:
            if number not in self.files:
                self.files[number] = OpenFile(self.folder / chunk_name(number))
                if len(self.files) > OPEN_FILES:
                    self.files.popitem(last=False)
            self.files.move_to_end(number)
            return self.files[number]


@dataclass(frozen=True)
class Shards:
    """What `write_shards` wrote. Arrays over all products are mapped from disk."""

    folder: Path
    manifest: Manifest
    tokenizer: PreTrainedTokenizerBase
    normaliser: Normaliser
    content_NM: np.ndarray
    """As `ProductDataset.content_NM`."""
    length_NM: np.ndarray
    """Tokens of each modality; 0 where absent."""
    start_N: np.ndarray
    """First byte of a product in its shard."""
    crc_N: np.ndarray
    split_N: np.ndarray
    """Place in `SPLITS`."""
    files: OpenFiles = field(repr=False)
    readers: Executor = field(repr=False)

    @staticmethod
    def open(folder: Path | str) -> "Shards":
        """Check that all files are there in their sizes, and the checksums of the facts.

        A shard's own bytes are checked as its products are read. Raises ShardsError that names the
        file which is missing, cut short or damaged.
        """
        folder = Path(folder)
        manifest = Manifest.load(folder)
        for shard in manifest.shards:
            for name, facts in shard["files"].items():
                facts.check_size(folder / name)
        for name, facts in manifest.files.items():
            facts.check(folder / name)
        tokenizer = load_tokenizer(folder / "tokenizer")
        if tokenizer_fingerprint(tokenizer) != manifest.settings.tokenizer:
            raise ShardsError(f"{folder / 'tokenizer'}: not the tokenizer that wrote the shards")
        arrays = [
            np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS
        ]
        if any(len(values) != manifest.products for values in arrays):
            raise ShardsError(f"{folder}: not facts of {manifest.products} products. {REPAIR}")
        normaliser = Normaliser.load(folder / NORMALISER)
        readers = ThreadPoolExecutor(READERS, thread_name_prefix="shards")
        return Shards(folder, manifest, tokenizer, normaliser, *arrays, OpenFiles(folder), readers)

    def __len__(self) -> int:
        return self.manifest.products

    def check(self, settings: Settings) -> None:
        """Raises ShardsError where a run would make other tokens than those that lie here."""
        changed = self.manifest.settings.differing(settings)
        if changed:
            raise ShardsError(
                f"{self.folder}: the shards were written with other {', '.join(changed)}: give the "
                "run the same preset and settings, or write shards for these"
            )

    def read(self, numbers_B: np.ndarray, length_BM: np.ndarray) -> list[bytes]:
        """The bytes of products, with these numbers of tokens.

        Raises ShardsError that names the product where they are not those that were written.
        """
        size_B = self.manifest.layout.product_bytes(length_BM)
        columns = (numbers_B, size_B, self.start_N[numbers_B], self.crc_N[numbers_B])
        facts = list(zip(*(column.tolist() for column in columns), strict=True))
        step = -(-len(facts) // READERS) or 1
        parts = [facts[at : at + step] for at in range(0, len(facts), step)]
        return [raw for read in self.readers.map(self._read_all, parts) for raw in read]

    def _read_all(self, facts: list[tuple[int, int, int, int]]) -> list[bytes]:
        return [self._read(*fact) for fact in facts]

    def _read(self, number: int, size: int, start: int, crc: int) -> bytes:
        shard = number // self.manifest.products_per_shard
        try:
            raw = self.files.get(shard).read(size, start)
        except FileNotFoundError as error:
            raise ShardsError(f"{self.folder / chunk_name(shard)}: missing. {REPAIR}") from error
        if checksum(raw) != crc:
            raise ShardsError(
                f"{self.folder / chunk_name(shard)}: product {self.products([number])[0].id!r} is "
                f"damaged, its checksum is another. {REPAIR}"
            )
        return raw

    def products(self, numbers: Sequence[int] | np.ndarray) -> tuple[Product, ...]:
        """Ids, splits and categories of products; what else their records held is not here."""
        found: dict[int, Product] = {}
        size = self.manifest.products_per_shard
        numbers_N = np.asarray(numbers, np.int64)
        for shard in np.unique(numbers_N // size).tolist():
            path = self.folder / facts_name(shard)
            self.manifest.shards[shard]["files"][facts_name(shard)].check(path)
            own_R = np.unique(numbers_N[numbers_N // size == shard])
            table = read_facts(path).select(["id", "split", "category"]).take(own_R - shard * size)
            for number, row in zip(own_R.tolist(), table.to_pylist(), strict=True):
                found[number] = Product(**row)
        return tuple(found[number] for number in numbers_N.tolist())

    @cached_property
    def problems(self) -> list[Problem]:
        """What of the catalogue could not be used."""
        return read_problems(self.folder / PROBLEMS)
