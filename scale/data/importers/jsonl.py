"""JSON lines, a JSON array, and both with gzip."""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from scale.data.importers.formats import Probe
from scale.data.importers.rows import Options, Row, Rows

LARGEST_ARRAY = 1 << 30
"""Bytes of a JSON array, which is read whole."""


def matches(probe: Probe) -> bool:
    """Return whether the source has JSON objects."""
    return probe.kind in ("jsonl", "json")


def read(path: Path, options: Options) -> Rows:
    """Open the file. Raises ValueError if an array is not JSON, or too large to be read whole."""
    opened = Rows(())
    with open_binary(path) as file:
        start = file.read(4096).decode("utf-8-sig", "ignore").lstrip()
    if start.startswith("["):
        records = enumerate(_read_array(path), start=1)
        opened.rows = _objects(records, opened)
    else:
        opened.rows = _objects(read_lines([path], opened), opened)
    return opened


def open_binary(path: Path) -> Any:
    """Open a file for reading, decompressed if it is gzip."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if zipped else path.open("rb")


def read_lines(paths: Iterable[Path], opened: Rows) -> Iterator[tuple[int, Any]]:
    """Yield the JSON value of each line; a line that is not JSON is counted as bad."""
    for path in paths:
        number = 0
        try:
            with open_binary(path) as file:
                for number, line in enumerate(file, start=1):
                    if not line.strip():
                        continue
                    try:
                        yield number, json.loads(line.decode("utf-8-sig"))
                    except (ValueError, RecursionError) as error:
                        opened.bad.append((number, f"not JSON: {error}"))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            opened.bad.append((number + 1, f"damaged gzip file: {error}"))


def _read_array(path: Path) -> list[Any]:
    with open_binary(path) as file:
        data = file.read(LARGEST_ARRAY + 1)
    if len(data) > LARGEST_ARRAY:
        raise ValueError(f"{path}: array of more than 1 GB: write one object per line (.jsonl)")
    try:
        return json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from error


def _objects(records: Iterable[tuple[int, Any]], opened: Rows) -> Iterator[tuple[int, Row]]:
    for number, record in records:
        if isinstance(record, dict):
            yield number, record
        else:
            opened.bad.append((number, f"not an object: {str(record)[:40]}"))
