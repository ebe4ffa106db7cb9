"""The products of each shard, read from the catalogue when the shard is written.

A catalogue in the package's own format is read one record at a time: `survey_file` reads it twice,
keeps some bytes per product, and finds where the records of each shard begin; `RecordRange` reads
those. The products of other sources are in memory (`ProductRange`).

N products, R records of the file, S shards, D lines with duplicate ids.
"""

import hashlib
import os
from array import array
from collections.abc import Iterator, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from tqdm.auto import tqdm

from scale.data.catalogue import (
    Catalogue,
    MalformedLine,
    _Keys,
    _said,
    assign_splits,
    decode_line,
    find_source,
    is_native,
    media_folder,
    read_info,
)
from scale.data.product import (
    SPLITS,
    CatalogueError,
    Problem,
    Product,
    check_splits,
    parse_record,
)
from scale.data.shards.format import ShardsError
from scale.data.text_loss import SAMPLE
from scale.files import replacing
from scale.modalities import MODALITIES

PLACES = "places.safetensors"
"""Name of the file of `Places`."""
TRAIN = SPLITS.index("train")


@dataclass(frozen=True)
class ProductRange:
    """The products of a shard, in memory."""

    products: tuple[Product, ...]

    def __len__(self) -> int:
        return len(self.products)

    def read(self) -> tuple[Product, ...]:
        """Return the products."""
        return self.products


@dataclass(frozen=True)
class RecordRange:
    """The products of a shard, in the file of a catalogue."""

    path: Path
    folder: Path
    """Folder that media paths are relative to."""
    position: int
    """First byte of a .jsonl file, or first row of a .parquet file."""
    line: int
    """Number of the first line or row, from 1."""
    split_N: np.ndarray
    """Position in `SPLITS`."""
    duplicates: frozenset[int]
    """Lines whose id occurs before."""
    check: bytes
    """Hash of the products."""

    def __len__(self) -> int:
        return len(self.split_N)

    def read(self) -> tuple[Product, ...]:
        """Read the products. Raises ShardsError if they are not those of the plan."""
        products, digest = [], new_digest()
        found = read_products(self.path, self.folder, self.duplicates, self.position, self.line)
        for split, product in zip(self.split_N, found, strict=False):
            products.append(replace(product, split=SPLITS[split]))
            digest.update(describe_product(products[-1], self.folder))
        if digest.digest() != self.check:
            raise ShardsError(
                f"{self.path}: the {len(self)} products from line {self.line} have changed since "
                "the shards were started: choose another folder"
            )
        return tuple(products)


@dataclass(frozen=True)
class ProductList:
    """The products of all shards, in memory."""

    products: tuple[Product, ...]

    def __len__(self) -> int:
        return len(self.products)

    def range(self, number: int, products_per_shard: int) -> ProductRange:
        """Return the products of a shard."""
        first = number * products_per_shard
        return ProductRange(self.products[first : first + products_per_shard])

    def training(self) -> Iterator[Product]:
        """Yield the training products."""
        return (product for product in self.products if product.split == "train")

    def save(self, folder: Path) -> None:
        """There is nothing to save."""


@dataclass(frozen=True)
class Places:
    """The places of the products of all shards in the file of a catalogue."""

    path: Path
    folder: Path
    split_N: np.ndarray
    """int8: position in `SPLITS`."""
    position_S: np.ndarray
    """As in `RecordRange`."""
    line_S: np.ndarray
    check_SH: np.ndarray
    """uint8: hash of the products of each shard."""
    duplicate_D: np.ndarray
    """Lines whose id occurs before."""

    def __len__(self) -> int:
        return len(self.split_N)

    def range(self, number: int, products_per_shard: int) -> RecordRange:
        """Return the place of the products of a shard."""
        first, line_D = number * products_per_shard, self.duplicate_D
        line, end = [*self.line_S.tolist(), np.inf][number : number + 2]
        return RecordRange(
            self.path,
            self.folder,
            int(self.position_S[number]),
            line,
            self.split_N[first : first + products_per_shard],
            frozenset(line_D[(line_D > line) & (line_D < end)].tolist()),
            self.check_SH[number].tobytes(),
        )

    def training(self) -> Iterator[Product]:
        """Read and yield the training products."""
        found = read_products(self.path, self.folder, frozenset(self.duplicate_D.tolist()))
        return (p for p, split in zip(found, self.split_N, strict=True) if split == TRAIN)

    def save(self, folder: Path) -> None:
        """Write the arrays into the folder of the shards."""
        values = {k: v for k, v in vars(self).items() if isinstance(v, np.ndarray)}
        with replacing(folder / PLACES) as partial:
            save_file(values, partial)

    @staticmethod
    def load(shards: Path, path: Path, folder: Path) -> "Places | None":
        """Inverse of `save`; None if the file is missing or damaged."""
        try:
            return Places(path, folder, **load_file(shards / PLACES))
        except (OSError, SafetensorError, TypeError):
            return None


@dataclass(frozen=True)
class Survey:
    """The products of a catalogue, and what the plan of the shards needs of them."""

    products: ProductList | Places
    digest: str
    """Hash of all products."""
    sample: list[Product]
    """Up to SAMPLE training products, evenly spaced: they decide lengths that are `auto`."""
    problems: list[Problem]


def survey_catalogue(catalogue: Catalogue) -> Survey:
    """Return the products of a catalogue in memory, which have splits."""
    digest = new_digest()
    for product in catalogue:
        digest.update(describe_product(product, catalogue.folder))
    products = ProductList(catalogue.products)
    train = list(products.training())
    sample = train[:: -(-len(train) // SAMPLE) or 1]
    return Survey(products, digest.hexdigest(), sample, catalogue.problems)


def native_file(catalogue: Path | str) -> tuple[Path, Path] | None:
    """Return the file of a catalogue in the package's own format and the folder of its media.

    None for other formats. Raises CatalogueError if there is no catalogue.
    """
    path = find_source(Path(catalogue))
    if not is_native(path):
        return None
    return path, media_folder(path.parent, read_info(path.parent / "catalogue.json"))


def read_records(path: Path, position: int = 0, line: int = 1) -> Iterator[tuple[int, int, Any]]:
    """Yield position, line number and value of each record, from a position on."""
    if path.suffix == ".parquet":
        yield from _read_rows(path, position)
        return
    with path.open("rb") as file:
        file.seek(position)
        for number, text in enumerate(file, line):
            if text.strip():
                yield position, number, decode_line(text)
            position += len(text)


def _read_rows(path: Path, first: int) -> Iterator[tuple[int, int, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            count_G = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
            groups = (np.cumsum(count_G) > first).nonzero()[0].tolist()
            row = sum(count_G[: groups[0]]) if groups else 0
            for batch in file.iter_batches(batch_size=1024, row_groups=groups):
                skipped = min(max(first - row, 0), len(batch))
                row += skipped
                for record in batch.slice(skipped).to_pylist():
                    yield row, row + 1, record
                    row += 1
    except (pyarrow.ArrowException, OSError) as error:
        raise CatalogueError(f"{path}: not a readable parquet file: {error}") from error


def read_products(
    path: Path, folder: Path, skipped: Set[int] = frozenset(), position: int = 0, line: int = 1
) -> Iterator[Product]:
    """Yield the products of a file from a position on, without those of the lines `skipped`."""
    for _, number, record in read_records(path, position, line):
        if number not in skipped and not isinstance(record, MalformedLine):
            product, _ = parse_record(record, folder, f"{path}:{number}", number)
            if product is not None:
                yield product


def survey_file(path: Path, folder: Path, products_per_shard: int, strict: bool) -> Survey:
    """Read a catalogue's file: once for ids, splits and places, and once for hashes and problems.

    Memory: about 50 bytes per product; if the catalogue assigns no splits, also what decides them
    (`assign_splits`).

    Raises CatalogueError as `Catalogue.open` and `with_splits`.
    """
    index = _index(path, folder)
    split_N, earlier = index.split_N, index.earlier
    if (split_N >= 0).any():
        split_N = np.where(split_N < 0, TRAIN, split_N).astype(np.int8)
    else:
        assigned = assign_splits(read_products(path, folder, earlier.keys()))
        split_N = np.array([SPLITS.index(name) for name in assigned.values()], np.int8)
    (train_T,) = (split_N == TRAIN).nonzero()
    sampled = set(train_T[:: -(-len(train_T) // SAMPLE) or 1].tolist())
    total, own, checks = new_digest(), new_digest(), []
    train, problems, number = [], [], 0
    for _, line, record in tqdm(read_records(path), "plan", unit=" products", delay=2):
        product, found = _parse(record, folder, path, line)
        if line in earlier:
            why = f"duplicate id: first on line {earlier[line]}; this one is skipped"
            problems.append(Problem(product.id, None, f"{path}:{line}", why))
            continue
        problems += found
        if product is None:
            continue
        product = replace(product, split=SPLITS[split_N[number]])
        facts = describe_product(product, folder)
        total.update(facts)
        own.update(facts)
        if number in sampled:
            train.append(product)
        number += 1
        if number % products_per_shard == 0 or number == len(split_N):
            checks.append(own.digest())
            own = new_digest()
    if strict and problems:
        raise CatalogueError.of(problems)
    check_splits(problems)
    _said(index.keys.notes())
    places = Places(
        path,
        folder,
        split_N,
        index.position_N[::products_per_shard].copy(),
        index.line_N[::products_per_shard].copy(),
        np.frombuffer(b"".join(checks), np.uint8).reshape(-1, 16),
        np.array(sorted(earlier), np.int64),
    )
    return Survey(places, total.hexdigest(), train, problems)


@dataclass(frozen=True)
class _Index:
    position_N: np.ndarray
    line_N: np.ndarray
    split_N: np.ndarray
    """-1 if the catalogue assigns none."""
    earlier: dict[int, int]
    """Line of the first product with the same id, by line of the others."""
    keys: _Keys


def _index(path: Path, folder: Path) -> _Index:
    """Read the ids, splits and places of all records."""
    position_R, line_R, split_R, id_R = array("q"), array("q"), array("b"), bytearray()
    keys = _Keys()
    records = (((at, line), record) for at, line, record in read_records(path))
    shown = tqdm(keys.counted(records), "catalogue", unit=" products", delay=2)
    for (at, line), record in shown:
        product, _ = _parse(record, folder, path, line)
        if product is not None:
            position_R.append(at)
            line_R.append(line)
            split_R.append(-1 if product.split is None else SPLITS.index(product.split))
            id_R += hashlib.blake2b(product.id.encode(), digest_size=16).digest()
    number_R = number_values(np.frombuffer(id_R, "V16"))
    # A new id has the number of ids before it.
    is_new_R = np.maximum.accumulate(np.append(-1, number_R))[:-1] < number_R
    line_R = np.frombuffer(line_R, np.int64)
    again_R = ~is_new_R
    first_R = line_R[is_new_R][number_R[again_R]]
    return _Index(
        np.frombuffer(position_R, np.int64)[is_new_R],
        line_R[is_new_R],
        np.frombuffer(split_R, np.int8)[is_new_R],
        dict(zip(line_R[again_R].tolist(), first_R.tolist(), strict=True)),
        keys,
    )


def number_values(values: np.ndarray) -> np.ndarray:
    """Number values by first appearance, from 0."""
    _, first_U, place = np.unique(values, return_index=True, return_inverse=True)
    number_U = np.empty(len(first_U), np.int64)
    number_U[first_U.argsort()] = np.arange(len(first_U))
    return number_U[place]


def _parse(
    record: Any, folder: Path, path: Path, line: int
) -> tuple[Product | None, list[Problem]]:
    where = f"{path}:{line}"
    if isinstance(record, MalformedLine):
        return None, [Problem(f"line {line}", None, where, record.reason)]
    return parse_record(record, folder, where, line)


def new_digest() -> "hashlib._Hash":
    """Return an empty hash of products."""
    return hashlib.blake2b(digest_size=16)


def describe_product(product: Product, folder: Path) -> bytes:
    """Return a product's record, with the names but not the contents of media files."""
    values = [getattr(product, m) for m in MODALITIES]
    named = [
        os.path.relpath(value, folder) if isinstance(value, Path) else value for value in values
    ]
    parts = [product.id, product.split, product.category, sorted(product.content.items())]
    return repr((parts, named)).encode("utf-8", "surrogatepass")
