"""Read a large catalogue in pieces, so that memory does not grow with the number of products.

A piece is a range of lines (products.jsonl) or rows (products.parquet). It has fewer products than
lines if some of them are blank or malformed.
"""

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from scale.data.catalogue import (
    Catalogue,
    assign_splits,
    collect_products,
    decode_line,
    find_source,
    is_native,
    media_folder,
    read_records,
)
from scale.data.product import CatalogueError, Product, check_splits, parse_record


@dataclass(frozen=True)
class Piece:
    """Position and checksum of a piece in the catalogue's file."""

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
    """Return all pieces of `size` lines or rows; reads the file once, without parsing its lines.

    Raises:
        CatalogueError: no catalogue, an empty one, or an unreadable parquet file.
        ValueError: size < 1.
    """
    if size < 1:
        raise ValueError(f"pieces of {size} products; at least 1 is needed")
    source = _find_source(folder)
    plan = _plan_parquet if source.suffix == ".parquet" else _plan_jsonl
    pieces = list(plan(source, size))
    if not pieces:
        raise CatalogueError(f"{source}: no products")
    return pieces


def read_piece(folder: Path | str, piece: Piece) -> Catalogue:
    """Return the products of one piece, checked as in `Catalogue.open`.

    Duplicate ids are found within the piece only.
    Raises CatalogueError if the catalogue has changed since the pieces were planned.
    """
    source = _find_source(folder)
    if source.suffix == ".parquet":
        rows = _parquet_rows(source, piece.first, piece.count)
        digest = _digest(repr(row).encode() for row in rows)
        records = list(enumerate(rows, start=piece.first + 1))
    else:
        with source.open("rb") as file:
            file.seek(piece.offset)
            lines = list(islice(file, piece.count))
        digest = _digest(lines)
        numbered = enumerate(lines, start=piece.first + 1)
        records = [(number, decode_line(line)) for number, line in numbered if line.strip()]
    if digest != piece.digest:
        raise CatalogueError(f"{source}: changed while it was read (from line {piece.first + 1})")
    folder = media_folder(source.parent)
    products, problems = collect_products(records, folder, source)
    return Catalogue(folder, products, {}, problems)


def find_splits(folder: Path | str) -> dict[str, str]:
    """Return the split of each product by id, as `with_splits` of the whole catalogue would."""
    return assign_splits(iterate_products(folder, splits=True))


def iterate_products(
    folder: Path | str, without: Collection[str] = (), splits: bool = False
) -> Iterator[Product]:
    """Yield the products in order, without holding them; the first of each id.

    without: keys of records to ignore, e.g. those of media, whose files are then not looked up.
    splits: raise CatalogueError for an unknown split.
    """
    source, seen = _find_source(folder), set()
    media = media_folder(source.parent)
    for line, record in read_records(source):
        if isinstance(record, dict):
            record = {key: value for key, value in record.items() if key not in without}
        product, problems = parse_record(record, media, f"{source}:{line}", line)
        if product is not None and product.id not in seen:
            if splits:
                check_splits(problems)
            seen.add(product.id)
            yield product


def find_holders(folder: Path | str, modality: str, path: Path) -> list[str]:
    """Return the ids of the products whose media file is `path`, a file inside the folder."""
    source = _find_source(folder)
    root = media_folder(source.parent).resolve()
    if not path.resolve().is_relative_to(root):
        return []
    wanted = os.path.relpath(path.resolve(), root)
    return [
        str(record["id"])
        for _, record in read_records(source)
        if isinstance(record, dict)
        and isinstance(name := record.get(modality), str)
        and os.path.normpath(name) == wanted
        and "id" in record
    ]


def find_products(folder: Path | str, ids: Collection[str]) -> dict[str, Product]:
    """Return the products with these ids, by id; stops reading when all are found."""
    source, wanted = _find_source(folder), set(ids)
    found: dict[str, Product] = {}
    media = media_folder(source.parent)
    for line, record in read_records(source) if wanted else ():
        id = record.get("id") if isinstance(record, dict) else None
        if type(id) is int:
            id = str(id)
        if isinstance(id, str) and id in wanted and id not in found:
            product, _ = parse_record(record, media, f"{source}:{line}", line)
            if product is not None:
                found[product.id] = product
            if len(found) == len(wanted):
                break
    return found


def _find_source(path: Path | str) -> Path:
    source = find_source(Path(path))
    if not is_native(source):
        raise CatalogueError(
            f"{source}: only catalogues are read in pieces: import it first (scale import)"
        )
    return source


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
        rows = _parquet_rows(source, first, size)
        yield Piece(number, first, len(rows), 0, _digest(repr(row).encode() for row in rows))


def _parquet_rows(source: Path, first: int, count: int) -> list[dict]:
    """Return rows of a parquet file; reads only the row groups that contain them."""
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


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
