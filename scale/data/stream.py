"""A catalogue in pieces, read one at a time: memory does not grow with the number of products.

A piece is a run of lines (products.jsonl) or rows (products.parquet). It holds fewer products than
that where lines are blank or malformed.
"""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from scale.data.catalogue import (
    Catalogue,
    Malformed,
    decode_json,
    find_source,
    read_jsonl,
    read_parquet,
)
from scale.data.problems import CatalogueError, Problem
from scale.data.product import Product
from scale.data.records import SPLITS, parse_record


@dataclass(frozen=True)
class Piece:
    """Where a piece lies in the catalogue's file, and what it holds."""

    number: int
    """From 0."""
    first: int
    """Lines or rows before it."""
    count: int
    """Its lines or rows."""
    offset: int
    """Bytes before it; 0 in a parquet file."""
    digest: str
    """blake2b of its records."""


def plan_pieces(folder: Path | str, size: int) -> list[Piece]:
    """All pieces of `size` lines or rows; reads the file once, without parsing its lines.

    Raises:
        CatalogueError: no catalogue is there, it is empty, or its parquet file cannot be read.
        ValueError: size < 1.
    """
    if size < 1:
        raise ValueError(f"pieces of {size} products; at least 1 is needed")
    source = find_source(Path(folder))
    plan = _plan_parquet if source.suffix == ".parquet" else _plan_jsonl
    pieces = list(plan(source, size))
    if not pieces:
        raise CatalogueError(f"{source}: no products")
    return pieces


def read_piece(folder: Path | str, piece: Piece) -> Catalogue:
    """The products of one piece, checked as `Catalogue.open` checks them.

    Of an id that is there twice within the piece, the first product is kept.

    Raises:
        CatalogueError: the catalogue is no longer the one that the pieces were planned on.
    """
    folder = Path(folder)
    source = find_source(folder)
    if source.suffix == ".parquet":
        rows = _rows(source, piece.first, piece.count)
        digest, records = _digest(repr(row).encode() for row in rows), rows
    else:
        with source.open("rb") as file:
            file.seek(piece.offset)
            lines = list(islice(file, piece.count))
        digest, records = _digest(lines), list(map(_decode, lines))
    if digest != piece.digest:
        raise CatalogueError(f"{source}: changed while it was read (from line {piece.first + 1})")
    products: dict[str, Product] = {}
    problems: list[Problem] = []
    for line, record in enumerate(records, start=piece.first + 1):
        if record is not None:
            _add(products, problems, folder, source, line, record)
    return Catalogue(folder, tuple(products.values()), {}, problems)


def gives_splits(folder: Path | str) -> bool:
    """Whether any product of the catalogue says its split (see `with_splits`)."""
    return any(
        isinstance(record, dict) and record.get("split") in SPLITS
        for _, record in _records(find_source(Path(folder)))
    )


def find_products(folder: Path | str, ids: Collection[str]) -> dict[str, Product]:
    """The products of these ids, by id; reads the file until all are found."""
    folder, wanted = Path(folder), set(ids)
    source = find_source(folder)
    found: dict[str, Product] = {}
    for line, record in _records(source) if wanted else ():
        id = record.get("id") if isinstance(record, dict) else None
        if isinstance(id, str) and id in wanted and id not in found:
            product, _ = parse_record(record, folder, f"{source}:{line}", line)
            if product is not None:
                found[product.id] = product
            if len(found) == len(wanted):
                break
    return found


def _records(source: Path) -> Iterator[tuple[int, Any]]:
    return (read_parquet if source.suffix == ".parquet" else read_jsonl)(source)


def _add(
    products: dict[str, Product],
    problems: list[Problem],
    folder: Path,
    source: Path,
    line: int,
    record: Any,
) -> None:
    where = f"{source}:{line}"
    if isinstance(record, Malformed):
        problems.append(Problem(f"line {line}", None, where, record.reason))
        return
    product, found = parse_record(record, folder, where, line)
    problems += found
    if product is not None and product.id in products:
        reason = "duplicate id: already in this piece; this one is left out"
        problems.append(Problem(product.id, None, where, reason))
    elif product is not None:
        products[product.id] = product


def _decode(line: bytes) -> Any:
    """The line's value, Malformed, or None where it is blank."""
    if not line.strip():
        return None
    try:
        return decode_json(line)
    except (ValueError, RecursionError) as error:
        return Malformed(f"malformed line: {error}")


def _plan_jsonl(source: Path, size: int) -> Iterator[Piece]:
    with source.open("rb") as file:
        first = offset = number = 0
        while lines := list(islice(file, size)):
            yield Piece(number, first, len(lines), offset, _digest(lines))
            number, first = number + 1, first + len(lines)
            offset += sum(map(len, lines))


def _plan_parquet(source: Path, size: int) -> Iterator[Piece]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        total = pq.read_metadata(source).num_rows
    except (pa.ArrowException, OSError) as error:
        raise CatalogueError(f"{source}: not a readable parquet file: {error}") from error
    for number, first in enumerate(range(0, total, size)):
        rows = _rows(source, first, size)
        yield Piece(number, first, len(rows), 0, _digest(repr(row).encode() for row in rows))


def _rows(source: Path, first: int, count: int) -> list[dict]:
    """Rows of a parquet file; only the row groups that hold them are read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(source) as file:
            groups, before, skipped = [], 0, 0
            for group in range(file.metadata.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if before + rows <= first:
                    skipped += rows
                elif before < first + count:
                    groups.append(group)
                before += rows
            return file.read_row_groups(groups).slice(first - skipped, count).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise CatalogueError(f"{source}: not a readable parquet file: {error}") from error


def _digest(parts: Any) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
