"""A catalogue: a folder with products.jsonl (or products.parquet), media files, catalogue.json.

N products, in the order of the file. docs/catalogue.md describes the format.
"""

import json
import reprlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from scale.data.problems import CatalogueError, Problem
from scale.data.product import Product, View
from scale.data.records import SPLITS, parse_record, read_value
from scale.modalities import MODALITIES

INFO_KEYS = ("name", "language", "licence", "source")


@dataclass(frozen=True)
class Catalogue:
    """The products of a folder, and everything in it that could not be used."""

    folder: Path
    products: tuple[Product, ...]
    info: dict[str, Any] = field(default_factory=dict)
    """catalogue.json: name, language, licence, source, and whatever else it says."""
    problems: list[Problem] = field(default_factory=list)
    """What counts as missing, and the lines that gave no product."""

    @classmethod
    def open(cls, folder: Path | str, strict: bool = False) -> "Catalogue":
        """Reads a catalogue and checks everything that needs no decoding.

        strict: any problem raises. Otherwise a bad modality counts as missing, a line that gives
        no product is left out, and each is recorded in `.problems`.
        Raises CatalogueError where there is no catalogue, or catalogue.json is malformed, or in
        strict mode with the first problem's id, path and reason and with the count.
        """
        folder = Path(folder)
        source = find_source(folder)
        info = _read_info(folder / "catalogue.json")
        products: dict[str, Product] = {}
        problems: list[Problem] = []
        lines: dict[str, int] = {}
        read = read_parquet if source.suffix == ".parquet" else read_jsonl
        for line, record in tqdm(read(source), desc="catalogue", unit=" products", delay=2):
            where = f"{source}:{line}"
            if isinstance(record, Malformed):
                problems.append(Problem(f"line {line}", None, where, record.reason))
                continue
            product, found = parse_record(record, folder, where, line)
            if product is not None and product.id in products:
                reason = f"duplicate id: first on line {lines[product.id]}; this one is left out"
                problems.append(Problem(product.id, None, where, reason))
                continue
            problems += found
            if product is not None:
                products[product.id], lines[product.id] = product, line
        if strict and problems:
            raise CatalogueError.of(problems)
        return cls(folder, tuple(products.values()), info, problems)

    def __len__(self) -> int:
        return len(self.products)

    def __getitem__(self, key: int | str) -> Product:
        """Return the product at a position or with an id; raises IndexError or KeyError."""
        if isinstance(key, str):
            return self._by_id[key]
        return self.products[key]

    @cached_property
    def _by_id(self) -> dict[str, Product]:
        return {product.id: product for product in self.products}

    def __iter__(self) -> Iterator[Product]:
        return iter(self.products)

    def split(self, name: str) -> "Catalogue":
        """The products of one split, `train`, `val` or `test`; none where no product has a split.

        Raises ValueError for any other name.
        """
        if name not in SPLITS:
            raise ValueError(f"unknown split {name!r}; known: {', '.join(SPLITS)}")
        return replace(self, products=tuple(p for p in self.products if p.split == name))

    def present_NM(self) -> np.ndarray:
        """bool (N, M): True where a product has a modality, columns in the one order."""
        rows = [[getattr(p, m) is not None for m in MODALITIES] for p in self.products]
        return np.array(rows, dtype=bool).reshape(len(self), len(MODALITIES))

    def without(self, problems: Iterable[Problem]) -> "Catalogue":
        """The same products with the modality of each problem counted as missing.

        The problems are added to `.problems`; those that name no modality change no product.
        """
        problems = list(problems)
        lost: dict[str, set[str]] = {}
        for problem in problems:
            if problem.modality is not None:
                lost.setdefault(problem.id, set()).add(problem.modality)
        products = tuple(_drop(p, lost[p.id]) if p.id in lost else p for p in self.products)
        known = set(self.problems)
        added = [p for p in dict.fromkeys(problems) if p not in known]
        return replace(self, products=products, problems=[*self.problems, *added])


def _drop(product: Product, fields: set[str]) -> Product:
    """The product without some fields, named `image` or, in the second view, `alt_image`."""

    def less(view: View, prefix: str) -> dict[str, None]:
        return {m: None for m in view.present if prefix + m in fields}

    return replace(
        product, **less(product, ""), alt=replace(product.alt, **less(product.alt, "alt_"))
    )


def find_source(folder: Path) -> Path:
    """The one file of products in the folder."""
    if not folder.is_dir():
        raise CatalogueError(f"{folder}: no such folder")
    sources = [folder / "products.jsonl", folder / "products.parquet"]
    found = [path for path in sources if path.is_file()]
    if not found and (folder / "manifest.json").is_file():
        raise CatalogueError(
            f"{folder}: a folder of shards, which only scale pretrain reads: give the catalogue "
            "that they were written from"
        )
    if len(found) != 1:
        how = "both products.jsonl and" if found else "neither products.jsonl nor"
        raise CatalogueError(f"{folder}: {how} products.parquet is there; one is needed")
    return found[0]


def _read_info(path: Path) -> dict[str, Any]:
    """catalogue.json, or nothing where there is no such file."""
    if not path.is_file():
        return {}
    try:
        info = read_value("catalogue.json", decode_json(path.read_bytes()))
    except (ValueError, RecursionError) as error:
        raise CatalogueError(f"{path}: malformed: {error}") from error
    if not isinstance(info, dict):
        raise CatalogueError(f"{path}: an object is needed, not {type(info).__name__}")
    for key in INFO_KEYS:
        if not isinstance(info.get(key, ""), str):
            raise CatalogueError(f"{path}: {key} is {info[key]!r}, not a string")
    return info


@dataclass(frozen=True)
class Malformed:
    """Stands for a line that is not a record."""

    reason: str


def decode_json(line: bytes) -> Any:
    """A JSON value; NaN and Infinity are read, for the check of the value that holds them.

    Raises ValueError where it is not UTF-8 or not JSON, or where an object has a key twice.
    """
    return json.loads(line.decode("utf-8-sig"), object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(key for i, (key, _) in enumerate(pairs) if key in dict(pairs[:i]))
        raise ValueError(f"key {reprlib.repr(twice)} twice in one object")
    return values


def read_jsonl(path: Path) -> Iterator[tuple[int, Any]]:
    """Line numbers from 1 and decoded values; blank lines are skipped."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield number, decode_json(line)
            except (ValueError, RecursionError) as error:
                yield number, Malformed(f"malformed line: {error}")


def read_parquet(path: Path) -> Iterator[tuple[int, Any]]:
    """Row numbers from 1 and rows as dictionaries."""
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pyarrow.ArrowException, OSError) as error:
        raise CatalogueError(f"{path}: not a readable parquet file: {error}") from error
