"""A catalogue: products read from a folder, a file or a data frame, and the problems found.

N products in the order of the source, M modalities (five). docs/catalogue.md documents the format.
"""

import difflib
import hashlib
import json
import logging
import os
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from scale.data.duplicates import PLACEHOLDER as PLACEHOLDER
from scale.data.duplicates import check_media, content_key, is_placeholder, linked_groups
from scale.data.importers.columns import map_columns
from scale.data.importers.formats import detect_format
from scale.data.importers.importer import OpenedSource, open_rows, records_in_place
from scale.data.importers.rows import Options
from scale.data.media import describe_foreign
from scale.data.product import (
    KEYS,
    RECORD_KEYS,
    SPLITS,
    CatalogueError,
    Problem,
    Product,
    View,
    blank_controls,
    check_splits,
    parse_record,
    printable,
    read_value,
)
from scale.data.summary import CatalogueSummary, summarise
from scale.modalities import MODALITIES

if TYPE_CHECKING:
    import pandas as pd

LOG = logging.getLogger(__name__)

INFO_KEYS = ("name", "language", "licence", "source", "media")
MEDIA_ROOTS = "SCALE_MEDIA_ROOT"
"""Environment variable with the folders outside a catalogue that its media may be in (separated as
in PATH). Without it a downloaded catalogue could name any folder of the machine."""

SPLIT_BOUNDS = (("test", 0.2), ("val", 0.3), ("train", 1.0))
"""Upper bounds of the hash: 20 % test, 10 % validation, 70 % training."""
SPLIT_RULE = "title, table and picture"
"""Name of the rule of `assign_splits`, stored with each run; earlier versions had another one."""


@dataclass(frozen=True)
class Catalogue:
    """Products and the problems of their source.

    `catalogue[3]` is a product by position, `catalogue["p0012"]` by id.
    """

    folder: Path
    """Folder that media paths are relative to."""
    products: tuple[Product, ...]
    info: dict[str, Any] = field(default_factory=dict)
    """catalogue.json: name, language, licence, source, and any other key."""
    problems: list[Problem] = field(default_factory=list)
    """Values that count as missing, and lines without a product."""
    notes: list[str] = field(default_factory=list)
    """How the source was read: its format, the meaning of its columns, numbers taken as text; and
    warnings, e.g. of a modality that no product has."""

    @classmethod
    def open(
        cls,
        source: "Path | str | pd.DataFrame | Iterable[Mapping[str, Any]]",
        strict: bool = False,
        *,
        media: Path | str | None = None,
        columns: Mapping[str, str | Sequence[str]] | None = None,
        format: str | None = None,
        **options: Any,
    ) -> "Catalogue":
        """Read a catalogue and check everything that needs no decoding.

        Args:
            source: a folder with products.jsonl or products.parquet; such a file; any other source
                of `scale import` (docs/importing.md), read in place; or a data frame or an iterable
                of dictionaries.
            strict: any problem raises. Otherwise an unusable value counts as missing, a line
                without a usable id or with a duplicate one is skipped, and `problems` lists each.
            media: folder that media paths are relative to; default: the folder of `source`, or the
                current one for a data frame.
            columns: columns of a record key, where the names differ (`{"title": "Product"}`), and
                of `table`, `labels`, `kept` and `ignored`.
            format: name of the format; None: detected.
            options: encoding, delimiter, decimal, language, variants, html and pattern, as in
                `scale.data.importers.importer.open_rows`.

        Raises:
            CatalogueError: no catalogue at `source`, or it is malformed; in strict mode any
                problem, with product id, path and reason of the first and the number of all.
        """
        if not isinstance(source, Path | str):
            opened = _open_rows(source, columns, format, options)
            return _collect_rows(opened, Path(media or "."), opened.name, {}, strict)
        path = find_source(Path(source), format)
        if format or columns or options or not is_native(path):
            opened = _open_rows(path, columns, format, options)
            folder = Path(media) if media is not None else opened.rows.media or path.parent
            info = read_info(path.parent / "catalogue.json") or {"name": path.stem}
            return _collect_rows(opened, folder, path, info, strict)
        info = read_info(path.parent / "catalogue.json")
        folder = Path(media) if media is not None else media_folder(path.parent, info)
        return _collect(read_records(path), folder, path, info, strict)

    @classmethod
    def from_records(
        cls,
        records: "pd.DataFrame | Iterable[Mapping[str, Any]]",
        strict: bool = False,
        *,
        media: Path | str | None = None,
        columns: Mapping[str, str | Sequence[str]] | None = None,
        **options: Any,
    ) -> "Catalogue":
        """Return the catalogue of a data frame (pandas, polars) or an iterable of dictionaries.

        Arguments and errors as for `open`.
        """
        return cls.open(records, strict, media=media, columns=columns, **options)

    def __len__(self) -> int:
        return len(self.products)

    def __getitem__(self, key: int | str) -> Product:
        """Return a product by position or by id. Raises IndexError or KeyError."""
        if not isinstance(key, str):
            return self.products[key]
        if key not in self._positions:
            close = difflib.get_close_matches(key, self._positions, n=3)
            hint = f"; similar ids: {', '.join(close)}" if close else ""
            raise KeyError(f"no product {key!r} among {len(self)} of {self.folder}{hint}")
        return self.products[self._positions[key]]

    def __iter__(self) -> Iterator[Product]:
        return iter(self.products)

    def __repr__(self) -> str:
        problems = f", {len(self.problems):,} problems" if self.problems else ""
        return f"Catalogue({str(self.folder)!r}: {len(self):,} products{problems})"

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {product.id: i for i, product in enumerate(self.products)}

    def summary(
        self, media: bool = True, workers: int = 0, progress: bool = True
    ) -> CatalogueSummary:
        """Return counts, lengths, duplicates, leakage and problems; `print` it for a report.

        media: decode every media file once, which finds broken and duplicate ones and their sizes.
        workers, progress: see `scale.data.duplicates.check_media`.
        """
        catalogue, infos = self, None
        if media:
            infos, broken = check_media(self, workers, progress)
            catalogue = self.without(broken)
        return summarise(
            catalogue.products,
            infos,
            folder=str(catalogue.folder),
            info=catalogue.info,
            problems=catalogue.problems,
        )

    def split(self, name: str) -> "Catalogue":
        """Return the products of a split, `train`, `val` or `test`; empty if there is none.

        Raises ValueError for any other name.
        """
        if name not in SPLITS:
            raise ValueError(f"unknown split {name!r}; known: {', '.join(SPLITS)}")
        return replace(self, products=tuple(p for p in self.products if p.split == name))

    def present_NM(self) -> np.ndarray:
        """Return bool (N, M): True where a product has a modality."""
        rows = [[getattr(p, m) is not None for m in MODALITIES] for p in self.products]
        return np.array(rows, dtype=bool).reshape(len(self), len(MODALITIES))

    def without(self, problems: Iterable[Problem]) -> "Catalogue":
        """Return the same products with the modality of each problem counted as missing.

        The problems are added to `.problems`; those without a modality change no product.
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
    """Return the product without some fields, named `image` or, in the second view, `alt_image`."""

    def absent(view: View, prefix: str) -> dict[str, None]:
        return {m: None for m in view.present if prefix + m in fields}

    alt = replace(product.alt, **absent(product.alt, "alt_"))
    return replace(product, **absent(product, ""), alt=alt)


def has_splits(catalogue: Catalogue) -> bool:
    """Return whether the catalogue assigns a split to any product."""
    return any(p.split is not None for p in catalogue.products)


def with_splits(catalogue: Catalogue, splits: Mapping[str, str] | None = None) -> Catalogue:
    """Return the catalogue with a split for each product.

    splits: split by product id, if the catalogue is part of a larger one; None: `assign_splits`.

    Raises CatalogueError if the catalogue assigns an unknown split: it would be used for training.
    """
    check_splits(catalogue.problems)
    splits = assign_splits(catalogue.products) if splits is None else splits
    products = tuple(replace(p, split=splits[p.id]) for p in catalogue.products)
    return replace(catalogue, products=products)


def assign_splits(products: Iterable[Product]) -> dict[str, str]:
    """Return the split of each product by id.

    If the catalogue assigns splits to some products, the others belong to training. Otherwise
    products are divided 70/10/20 in groups, so that no test product has a copy among the training
    products. A group shares its title and table, up to case, white space and Unicode form, or a
    picture (in either view), directly or through other products. Its split is a hash of its
    content, so products keep theirs when unrelated ones are added.

    A picture of more than `PLACEHOLDER` products and 5 % of all is taken as a placeholder, which
    forms no group.
    """
    ids, given, words, pictures = [], [], [], []
    for row, product in enumerate(products):
        ids.append(product.id)
        given.append(product.split)
        words.append(_words_key(product))
        pictures += [(row, key) for key in _pictures(product)]
    if any(given):
        return {name: split or "train" for name, split in zip(ids, given, strict=True)}
    digest_N = np.array([_number(key) for key in words], np.uint64)
    group_N = _groups(digest_N, pictures)
    first_G = np.full(len(ids), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(first_G, group_N, digest_N)
    draws = (_number(str(first_G[group])) / 2**64 for group in group_N)
    hashed = [next(name for name, bound in SPLIT_BOUNDS if draw < bound) for draw in draws]
    return dict(zip(ids, hashed, strict=True))


def _groups(digest_N: np.ndarray, pictures: Sequence[tuple[int, str | Path]]) -> np.ndarray:
    """Return group_N: equal for products that share words or a picture, also through others."""
    count = len(digest_N)
    _, words_N = np.unique(digest_N, return_inverse=True)
    same = _same_files({path for _, path in pictures if isinstance(path, Path)})
    keys = [same.get(key, key) for _, key in pictures]
    common = {key for key, n in Counter(keys).items() if is_placeholder(n, count)}
    shared = [(row, key) for (row, _), key in zip(pictures, keys, strict=True) if key not in common]
    number = {key: i for i, key in enumerate(dict.fromkeys(key for _, key in shared))}
    rows = np.concatenate([np.arange(count), [row for row, _ in shared]]).astype(np.int64)
    contents = np.concatenate([words_N, [count + number[key] for _, key in shared]])
    return linked_groups(count, rows, contents.astype(np.int64))


def _same_files(paths: Iterable[Path]) -> dict[Path, str]:
    """Return a hash by path for files that may have a copy: those of a size that occurs twice.

    Unreadable files are left out; they are reported when their features are computed.
    """
    by_size: dict[int, list[Path]] = {}
    for path in paths:
        with suppress(OSError):
            by_size.setdefault(path.stat().st_size, []).append(path)
    hashes = {}
    for path in (path for same in by_size.values() if len(same) > 1 for path in same):
        with suppress(OSError), path.open("rb") as file:
            hashes[path] = hashlib.file_digest(file, "blake2b").hexdigest()
    return hashes


def _words_key(product: Product) -> str:
    """Return a string that is equal for products of equal title and table after normalisation."""
    keys = [content_key(product, m) for m in ("text", "table")]
    return repr(keys) if any(keys) else f"id {product.id}"


def _pictures(product: Product) -> list[str | Path]:
    """Return the pictures of both views: the hash in the record, or the path."""
    fields = {"image": product.image, "alt_image": product.alt.image}
    return [product.content.get(name, path) for name, path in fields.items() if path is not None]


def _number(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")


def find_source(path: Path, format: str | None = None) -> Path:
    """Return the file with the products: `path` itself, or the one in the folder `path`.

    A folder of another format (or of the one that is given) is returned as it is.
    """
    if not path.exists():
        raise CatalogueError(f"{path}: no such {'file' if path.suffix else 'folder'}")
    sources = [path / "products.jsonl", path / "products.parquet"]
    found = [source for source in sources if source.is_file()]
    if path.is_file() or (len(found) == 1 and not format):
        source = path if path.is_file() else found[0]
        foreign = describe_foreign(source, tables=True)
        if foreign is not None:
            raise CatalogueError(f"{source}: {foreign}")
        return source
    if format:
        return path
    if (path / "manifest.json").is_file() and not found:
        raise CatalogueError(
            f"{path}: a folder of shards, which only scale pretrain reads: give the catalogue "
            "that they were written from"
        )
    if found:
        raise CatalogueError(
            f"{path}: both products.jsonl and products.parquet are there; one is needed"
        )
    try:
        detect_format(path)
    except ValueError as error:
        raise CatalogueError(
            f"{path}: neither products.jsonl nor products.parquet, nor a known format, is there"
        ) from error
    return path


def is_native(path: Path) -> bool:
    """Return whether a file has catalogue records: lines of JSON, or their keys as columns.

    A parquet file, or lines of JSON under another name than products.jsonl, of plain columns of
    which some are no record keys, is a data frame.
    """
    if path.suffix == ".jsonl":
        with path.open("rb") as file:
            first = decode_line(file.readline(1 << 20))
        if path.name == "products.jsonl" or not isinstance(first, dict):
            return True
        return "id" in first and _has_record_keys(first)
    if path.suffix != ".parquet" or not path.is_file():
        return False
    import pyarrow
    import pyarrow.parquet

    try:
        schema = pyarrow.parquet.read_schema(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise CatalogueError(f"{path}: not a readable parquet file: {error}") from error
    return _has_record_keys(schema.names)


def _has_record_keys(names: Iterable[str]) -> bool:
    """Return whether names are those of a catalogue's records, not columns of another source."""
    keys = set(names)
    return bool(keys & {"table", "alt", "labels", "content"}) or keys <= RECORD_KEYS


def media_folder(folder: Path, info: Mapping[str, Any] | None = None) -> Path:
    """Return the folder of the media: the catalogue's, or the one that catalogue.json names.

    info: the content of catalogue.json, if it is already read.

    Raises CatalogueError if the user has not allowed that one.
    """
    info = read_info(folder / "catalogue.json") if info is None else info
    if not info.get("media"):
        return folder
    root = Path(info["media"]).resolve()
    allowed = [Path(p).resolve() for p in os.environ.get(MEDIA_ROOTS, "").split(os.pathsep) if p]
    if not any(root.is_relative_to(path) for path in (*allowed, folder.resolve())):
        raise CatalogueError(
            f"{folder / 'catalogue.json'}: the media are in {printable(str(root))}; allow it with "
            f"the environment variable {MEDIA_ROOTS}={printable(str(root))} or with media="
        )
    return root


def _open_rows(
    source: Any,
    columns: Mapping[str, str | Sequence[str]] | None,
    format: str | None,
    options: Mapping[str, Any],
) -> OpenedSource:
    texts = {key: options[key] for key in ("html", "pattern") if key in options}
    try:
        others = Options(**{k: v for k, v in options.items() if k not in texts})
        return open_rows(source, columns, format=format, options=others, **texts)
    except (ValueError, TypeError) as error:
        raise CatalogueError(str(error)) from error


def _collect_rows(
    opened: OpenedSource,
    folder: Path,
    source: Path | str,
    info: Mapping[str, Any],
    strict: bool,
) -> Catalogue:
    """Return the catalogue of a foreign source; rows that cannot be read become problems."""

    def records() -> Iterator[tuple[int, Any]]:
        yield from records_in_place(opened, folder)
        yield from ((n, MalformedLine(f"malformed line: {why}")) for n, why in opened.rows.bad)

    try:
        found = _collect(records(), folder, source, info, strict)
    except ValueError as error:
        raise error if isinstance(error, CatalogueError) else CatalogueError(str(error)) from error
    repaired = [f"warning: {n} rows: {why}" for why, n in opened.rows.repaired.items() if n]
    return replace(found, notes=[*found.notes, *_said([*str(opened).splitlines(), *repaired])])


def _said(lines: Iterable[str]) -> list[str]:
    """Return the lines; the warnings among them are logged."""
    lines = [line.strip() for line in lines]
    for line in lines:
        if "warning: " in line:
            LOG.warning(line)
    return lines


def collect_products(
    records: Iterable[tuple[int, Any]], folder: Path, source: Path | str
) -> tuple[tuple[Product, ...], list[Problem]]:
    """Parse numbered records into products; return them and the problems found.

    The first of several products with the same id is kept.
    """
    products: dict[str, Product] = {}
    problems: list[Problem] = []
    lines: dict[str, int] = {}
    for line, record in records:
        where = f"{source}:{line}"
        if isinstance(record, MalformedLine):
            problems.append(Problem(f"line {line}", None, where, record.reason))
            continue
        product, found = parse_record(record, folder, where, line)
        if product is not None and product.id in products:
            reason = f"duplicate id: first on line {lines[product.id]}; this one is skipped"
            problems.append(Problem(product.id, None, where, reason))
            continue
        problems += found
        if product is not None:
            products[product.id], lines[product.id] = product, line
    return tuple(products.values()), problems


def _collect(
    records: Iterable[tuple[int, Any]],
    folder: Path,
    source: Path | str,
    info: Mapping[str, Any] | None = None,
    strict: bool = False,
) -> Catalogue:
    keys = _Keys()
    shown = tqdm(keys.counted(records), desc="catalogue", unit=" products", delay=2)
    products, problems = collect_products(shown, folder, source)
    if strict and problems:
        raise CatalogueError.of(problems)
    return Catalogue(folder, products, dict(info or {}), problems, _said(keys.notes()))


class _Keys:
    """Counts what the records of a catalogue contain but a product does not show."""

    SAMPLE = 1000

    def __init__(self) -> None:
        self.sample: list[dict[str, Any]] = []
        self.keys: Counter[str] = Counter()
        self.numbers: Counter[str] = Counter()

    def counted(self, records: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
        """Yield the records."""
        for number, record in records:
            if isinstance(record, dict):
                if len(self.sample) < self.SAMPLE:
                    self.sample.append(record)
                self.keys.update(key for key, value in record.items() if value is not None)
                self.numbers.update(k for k in ("id", "category") if type(record.get(k)) is int)
            yield number, record

    def notes(self) -> list[str]:
        """Return notes on numbers taken as text, and warnings of modalities without a key."""
        found = [f"{key}: {n} numbers taken as text" for key, n in self.numbers.items()]
        keys = set(KEYS.values())
        if self.keys.keys() >= keys or not self.keys.keys() - RECORD_KEYS:
            return found
        names = list(dict.fromkeys(name for record in self.sample for name in record))
        mapping = map_columns(names, self.sample, {k: k for k in RECORD_KEYS & set(names)})
        for name, key in mapping.roles.items():
            if name != key and key in keys and not self.keys[key]:
                found.append(
                    f"warning: key {name!r} is not used and no product has the key {key!r}; read "
                    f"it with columns={{{key!r}: {name!r}}} or scale import"
                )
        return found


def read_info(path: Path) -> dict[str, Any]:
    """Return the content of catalogue.json; empty if there is no such file."""
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
    return {key: value if key == "media" else blank_controls(value) for key, value in info.items()}


@dataclass(frozen=True)
class MalformedLine:
    """A line that is not a record."""

    reason: str


def decode_json(line: bytes) -> Any:
    """Return a JSON value. NaN and Infinity are accepted here and rejected by `read_value`.

    Raises ValueError if it is not UTF-8 or not JSON, or if an object has a key twice.
    """
    return json.loads(line.decode("utf-8-sig"), object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"key {reprlib.repr(twice)} twice in one object")
    return values


def decode_line(line: bytes) -> Any:
    """Return the value of a line of JSON, or MalformedLine with the reason."""
    try:
        return decode_json(line)
    except (ValueError, RecursionError) as error:
        return MalformedLine(f"malformed line: {error}")


def read_records(source: Path) -> Iterator[tuple[int, Any]]:
    """Yield the records of a .jsonl or .parquet file with their line or row numbers, from 1.

    Blank lines are skipped; a line that is not JSON becomes a MalformedLine.
    """
    if source.suffix == ".parquet":
        yield from _read_parquet(source)
        return
    with source.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, decode_line(line)


def _read_parquet(path: Path) -> Iterator[tuple[int, Any]]:
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
