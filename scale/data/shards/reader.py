"""Read products from a folder of shards, as training reads a `ProductDataset`.

`ShardFolder` reads and checks the bytes of any product; `ShardDataset` makes batches of them.

N products, M modalities (five), B products of a batch, R rows: products of the batch that have a
modality, L length of a sequence, F features of a vector.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from scale.config import Config, FeatureConfig
from scale.data.batch import ProductBatch, Tokens
from scale.data.normaliser import Normaliser
from scale.data.product import SPLITS, Problem, Product, read_problems
from scale.data.shards.format import (
    ARRAYS,
    NORMALISER,
    PROBLEMS,
    REPAIR,
    Layout,
    Manifest,
    ShardsError,
    TokenSettings,
    checksum,
    chunk_name,
    metadata_name,
    read_metadata,
    split_product,
    tokenizer_fingerprint,
)
from scale.data.tokenizer import load_tokenizer
from scale.files import load_array
from scale.modalities import DISCRETE, INDEX

OPEN_FILES = 256
"""Maximum number of shards that stay open."""
AHEAD = 64
"""Products that the operating system is asked to fetch ahead: disks serve many requests at once.

Threads in place of these hints would read fewer products: they wait for Python's lock.
"""
CACHE_BYTES = 1 << 19
"""Bytes of vectors that are converted at a time, to stay in the cache of a core."""
SERIAL = (1 << 15) - 1
"""Numbers up to which torch uses one thread (below its grain size)."""


class OpenFile:
    """A file that is read at any position; closed with the last reference."""

    def __init__(self, path: Path) -> None:
        self.handle = os.open(path, os.O_RDONLY)

    def read(self, size: int, start: int) -> bytearray:
        """Return up to `size` bytes from position `start`."""
        raw = bytearray(size)
        # One call reads at most 2 GB, far more than a product.
        del raw[os.preadv(self.handle, [raw], start) :]
        return raw

    def fetch(self, size: int, start: int) -> None:
        """Ask the operating system to read these bytes into its cache, without waiting for them."""
        if hasattr(os, "posix_fadvise"):  # not on macOS
            os.posix_fadvise(self.handle, start, size, os.POSIX_FADV_WILLNEED)

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            os.close(self.handle)


@dataclass(frozen=True)
class ShardFolder:
    """A folder written by `write_shards`. Arrays over all products are memory-mapped."""

    folder: Path
    manifest: Manifest
    tokenizer: PreTrainedTokenizerBase
    normaliser: Normaliser
    content_id_NM: np.ndarray
    """As `ProductDataset.content_id_NM`."""
    length_NM: np.ndarray
    """Number of tokens of each modality; 0 where absent."""
    start_N: np.ndarray
    """First byte of a product in its shard."""
    crc_N: np.ndarray
    split_N: np.ndarray
    """Position in `SPLITS`."""
    open_file: Callable[[int], OpenFile] = field(repr=False)
    """Open a shard by number; the most recently used ones stay open."""

    @staticmethod
    def open(folder: Path | str) -> "ShardFolder":
        """Open a folder; check the sizes of all files and the checksums of all but the shards.

        The bytes of shards are checked when products are read. Raises ShardsError with the name of
        the file that is missing, truncated or damaged.
        """
        folder = Path(folder)
        manifest = Manifest.load(folder)
        for shard in manifest.shards:
            for name, known in shard["files"].items():
                known.check_size(folder / name)
        for name, known in manifest.files.items():
            known.check(folder / name)
        tokenizer = load_tokenizer(folder / "tokenizer")
        if tokenizer_fingerprint(tokenizer) != manifest.settings.tokenizer:
            raise ShardsError(f"{folder / 'tokenizer'}: not the tokenizer of these shards")
        try:
            arrays = [load_array(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS]
        except ValueError as error:
            raise ShardsError(f"{folder}: {error}. {REPAIR}") from error
        if any(len(values) != manifest.products for values in arrays):
            raise ShardsError(
                f"{folder}: arrays do not have {manifest.products} products. {REPAIR}"
            )
        normaliser = Normaliser.load(folder / NORMALISER)
        open_file = lru_cache(OPEN_FILES)(lambda number: OpenFile(folder / chunk_name(number)))
        return ShardFolder(folder, manifest, tokenizer, normaliser, *arrays, open_file)

    def __len__(self) -> int:
        return self.manifest.products

    def with_lengths(self, config: Config) -> Config:
        """Return a config in which lengths that are `auto` are those of the shards."""
        names = [f"{m}_length" for m in DISCRETE]
        written = {name: self.manifest.settings.features[name] for name in names
                   if getattr(config.features, name) == "auto"}  # fmt: skip
        return config.with_features(**written) if written else config

    def check(self, settings: TokenSettings) -> None:
        """Raise ShardsError if a run with these settings would use other tokens."""
        changed = self.manifest.settings.differences(settings)
        if changed:
            raise ShardsError(
                f"{self.folder}: the shards were written with other {', '.join(changed)}: use the "
                "same preset and settings, or write shards for these"
            )

    def read(self, numbers_B: np.ndarray, length_BM: np.ndarray) -> list[bytearray]:
        """Return the bytes of products with these numbers of tokens.

        Raises ShardsError with the id of the product if they are damaged.
        """
        return list(self.stream(numbers_B, length_BM))

    def stream(self, numbers_B: np.ndarray, length_BM: np.ndarray) -> Iterator[bytearray]:
        """As `read`, one product after the other, of which the next ones are being fetched."""
        size_B = self.manifest.layout.product_bytes(length_BM)
        columns = (numbers_B, size_B, self.start_N[numbers_B], self.crc_N[numbers_B])
        requests = list(zip(*(column.tolist() for column in columns), strict=True))
        later = iter(requests)
        for number, size, start, _ in islice(later, AHEAD):
            self._shard(number).fetch(size, start)
        for request in requests:
            for number, size, start, _ in islice(later, 1):
                self._shard(number).fetch(size, start)
            yield self._read(*request)

    def _shard(self, number: int) -> OpenFile:
        """Return the file of a product."""
        shard = number // self.manifest.products_per_shard
        try:
            return self.open_file(shard)
        except FileNotFoundError as error:
            raise ShardsError(f"{self.folder / chunk_name(shard)}: missing. {REPAIR}") from error

    def _read(self, number: int, size: int, start: int, crc: int) -> bytearray:
        raw = self._shard(number).read(size, start)
        if checksum(raw) != crc:
            path = self.folder / chunk_name(number // self.manifest.products_per_shard)
            raise ShardsError(
                f"{path}: product {self.products([number])[0].id!r} is damaged, the checksum "
                f"differs. {REPAIR}"
            )
        return raw

    def products(self, numbers: Sequence[int] | np.ndarray) -> tuple[Product, ...]:
        """Return products with id, split and category; other fields are not stored."""
        found: dict[int, Product] = {}
        size = self.manifest.products_per_shard
        numbers_N = np.asarray(numbers, np.int64)
        for shard in np.unique(numbers_N // size).tolist():
            path = self.folder / metadata_name(shard)
            self.manifest.shards[shard]["files"][metadata_name(shard)].check(path)
            own_R = np.unique(numbers_N[numbers_N // size == shard])
            table = (
                read_metadata(path).select(["id", "split", "category"]).take(own_R - shard * size)
            )
            for number, row in zip(own_R.tolist(), table.to_pylist(), strict=True):
                found[number] = Product(**row)
        return tuple(found[number] for number in numbers_N.tolist())

    @cached_property
    def problems(self) -> list[Problem]:
        """Values and media of the catalogue that could not be used."""
        return read_problems(self.folder / PROBLEMS)


@dataclass(frozen=True)
class ShardDataset:
    """Products as tokens on disk: map-style, with random access, in fixed order.

    Its batches are bit-identical to those of `ProductDataset`. It takes eight bytes of memory per
    product and process.
    """

    shards: ShardFolder
    normaliser: Normaliser
    number_N: np.ndarray
    """Position of each product in the folder."""

    @staticmethod
    def open(folder: Path | str, normaliser: Normaliser | None = None) -> "ShardDataset":
        """Return all products of a folder. Raises ShardsError."""
        return ShardDataset.of(ShardFolder.open(folder), normaliser)

    @staticmethod
    def of(shards: ShardFolder, normaliser: Normaliser | None = None) -> "ShardDataset":
        """Return all products; `normaliser` defaults to that of the folder."""
        return ShardDataset(shards, normaliser or shards.normaliser, np.arange(len(shards)))

    def __len__(self) -> int:
        return len(self.number_N)

    @cached_property
    def products(self) -> tuple[Product, ...]:
        """Products with id, split and category, read at first use: for subsets that fit in memory,
        such as a validation split."""
        return self.shards.products(self.number_N)

    @property
    def ids(self) -> tuple[str, ...]:
        """Product ids, in order; read from disk."""
        return tuple(product.id for product in self.products)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The one that the shards were written with."""
        return self.shards.tokenizer

    @property
    def config(self) -> FeatureConfig:
        """The one that the shards were written with."""
        return FeatureConfig(**self.shards.manifest.settings.features)

    @property
    def content_id_NM(self) -> np.ndarray:
        """As `ProductDataset.content_id_NM`."""
        return self.shards.content_id_NM[self.number_N]

    @property
    def present_NM(self) -> np.ndarray:
        """bool (N, M): whether a product has a modality."""
        return self.shards.length_NM[self.number_N] > 0

    @property
    def feature_sizes(self) -> dict[str, int]:
        """F of each modality of vectors that occurs."""
        return dict(self.shards.manifest.sizes)

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the catalogue that the shards were written from, with all products."""
        return self.shards.manifest.fingerprint

    @property
    def problems(self) -> list[Problem]:
        """Values and media of the catalogue that could not be used."""
        return self.shards.problems

    @property
    def cut(self) -> dict[str, int]:
        """Number of media whose vectors were cut to the longest sequence, by modality."""
        return self.shards.manifest.cut

    @property
    def edges(self) -> np.ndarray:
        """Start of each run of products that lie in one shard, and the number of products."""
        shard_N = self.number_N // self.shards.manifest.products_per_shard
        return np.array([0, *(np.diff(shard_N).nonzero()[0] + 1), len(self)])

    def rows_of(self, split: str) -> np.ndarray:
        """Return the positions of the products of a split."""
        return (self.shards.split_N[self.number_N] == SPLITS.index(split)).nonzero()[0]

    def subset(self, indices: Sequence[int] | np.ndarray) -> "ShardDataset":
        """Return the products at `indices`, in that order, with the same content numbers."""
        return replace(self, number_N=self.number_N[np.asarray(indices, np.int64)])

    def facts(self, indices: np.ndarray) -> ProductBatch:
        """Return the batch of the products at `indices` without its tokens."""
        content_id_BM = torch.from_numpy(self.shards.content_id_NM[self.number_N[indices]])
        return ProductBatch(
            {}, content_id_BM >= 0, torch.from_numpy(np.array(indices)), content_id_BM
        )

    def collate(self, indices: Sequence[int] | np.ndarray | Tensor) -> ProductBatch:
        """As `ProductDataset.collate`, bit-identical. Raises ShardsError if bytes are damaged."""
        batch = self.facts(np.asarray(indices, np.int64).copy())
        numbers_B = self.number_N[batch.index_B.numpy()]
        length_BM = self.shards.length_NM[numbers_B]
        filling = {
            m: _Filling.of(self, m, length_BM[:, INDEX[m]]) for m in self.shards.manifest.present
        }

        each = sum(rows.values[:1].nbytes for rows in filling.values()) or 1
        together = max(1, CACHE_BYTES // each)

        products = enumerate(self.shards.stream(numbers_B, length_BM))
        while some := list(islice(products, together)):
            for place, product in some:
                parts = split_product(product)
                for m, rows in filling.items():
                    if len(parts[INDEX[m]]):
                        rows.put(place, parts[INDEX[m]])
            for rows in filling.values():
                rows.finish(some[0][0], some[-1][0] + 1)
        batch.tokens = {m: rows.tokens() for m, rows in filling.items()}
        return batch


@dataclass(frozen=True)
class _Filling:
    """The tokens of a batch in one modality, while its rows are filled."""

    modality: str
    layout: Layout
    values: Tensor
    """ids_RL or feats_RLF."""
    length_R: np.ndarray
    rows_R: np.ndarray
    before_B: np.ndarray
    """Number of rows before each product of the batch, and, last, of all."""
    entity_RL: np.ndarray | None
    piece_RL: np.ndarray | None
    mean_F: Tensor | None
    spread_F: Tensor | None

    @staticmethod
    def of(data: ShardDataset, modality: str, length_B: np.ndarray) -> "_Filling":
        """Return rows for the products that have the modality."""
        layout, normaliser = data.shards.manifest.layout, data.normaliser
        (rows_R,) = length_B.nonzero()
        shape = len(rows_R), int(length_B.max(initial=1))
        size, mean_F, spread_F = layout.sizes.get(modality), None, None
        if size is None:
            values = np.full(shape, data.tokenizer.pad_token_id, np.int64)
        else:
            # numpy requests huge pages, which halve the cost of the first write.
            values = np.empty((*shape, size), np.float32)
            if modality in normaliser.mean:
                mean_F = torch.from_numpy(normaliser.mean[modality])
                spread_F = torch.from_numpy(normaliser.spread[modality])
        has_pieces = size is not None and modality in DISCRETE
        return _Filling(
            modality,
            layout,
            torch.from_numpy(values),
            length_B[rows_R],
            rows_R,
            np.append(0, np.cumsum(length_B > 0)),
            np.full(shape, -1, np.int64) if modality == "table" else None,
            np.full(shape, -1, np.int64) if has_pieces else None,
            mean_F,
            spread_F,
        )

    def put(self, place: int, raw: memoryview) -> None:
        """Write the tokens of a product of the batch; vectors are not standardised yet."""
        row = int(self.before_B[place])
        values, entity_L, piece_L = self.layout.unpack(self.modality, raw)
        length = len(values)
        own = self.values[row, :length]
        values = torch.from_numpy(values if values.ndim == 2 else values.astype(np.int64))
        for part in _slices(own):
            own[part] = values[part]
        if self.entity_RL is not None and entity_L is not None:
            self.entity_RL[row, :length] = entity_L
        if self.piece_RL is not None and piece_L is not None:
            self.piece_RL[row, :length] = piece_L

    def finish(self, start: int, stop: int) -> None:
        """Standardise the vectors of the products of the batch from `start` to `stop`."""
        if self.values.dim() == 2:
            return
        rows = slice(int(self.before_B[start]), int(self.before_B[stop]))
        own_RLF, length_R = self.values[rows], self.length_R[rows]
        if self.mean_F is not None:
            flat_TF = own_RLF.reshape(-1, own_RLF.shape[-1])
            for part in _slices(flat_TF):
                flat_TF[part].sub_(self.mean_F).div_(self.spread_F)
        for own_LF, length in zip(own_RLF, length_R.tolist(), strict=True):
            if length < len(own_LF):
                own_LF[length:] = 0.0

    def tokens(self) -> Tokens:
        """Return the tokens, once all rows are filled."""
        padding_RL = np.arange(self.values.shape[1]) >= self.length_R[:, None]
        entity_RL, piece_RL = (
            None if number_RL is None else torch.from_numpy(number_RL)
            for number_RL in (self.entity_RL, self.piece_RL)
        )
        rows, padding = torch.from_numpy(self.rows_R), torch.from_numpy(padding_RL)
        return Tokens(self.values, padding, rows, entity_RL, pieces_RL=piece_RL)


def _slices(values: Tensor) -> Iterator[slice]:
    """Yield slices of rows so small that torch works on each in the calling thread."""
    step = max(1, SERIAL // max(1, values[:1].numel()))
    return (slice(at, at + step) for at in range(0, len(values), step))
