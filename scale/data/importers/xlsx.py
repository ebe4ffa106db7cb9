"""The first sheet of an Excel workbook."""

import datetime
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scale.data.importers.csv import unique_names
from scale.data.importers.formats import Probe
from scale.data.importers.rows import Options, Row, Rows, is_absent


def matches(probe: Probe) -> bool:
    """Return whether the source is a workbook."""
    return probe.kind == "xlsx"


def read(path: Path, options: Options) -> Rows:
    """Open the workbook. Raises ValueError if it is damaged or has no header."""
    try:
        import openpyxl
    except ImportError as error:
        raise ImportError("openpyxl is missing: pip install 'scale-workbench[import]'") from error
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        sheet = book.worksheets[0]
        rows = enumerate(sheet.iter_rows(values_only=True), start=1)
        header = next((row for _, row in rows if any(cell is not None for cell in row)), None)
    except Exception as error:  # openpyxl and its parsers raise many kinds for damaged files.
        raise ValueError(f"{path}: not a readable workbook: {error}") from error
    if header is None:
        raise ValueError(f"{path}: no header")
    names, notes = unique_names(["" if cell is None else str(cell) for cell in header])
    facts = [f"sheet {sheet.title!r}", *notes]
    if len(book.worksheets) > 1:
        facts.append(f"{len(book.worksheets) - 1} other sheets are not read")
    return Rows(_cells(_reported(rows, path), names), facts=facts)


def _reported(rows: Iterator[Any], path: Path) -> Iterator[Any]:
    """Yield the rows. Raises ValueError if the sheet is damaged further on."""
    try:
        yield from rows
    except Exception as error:
        raise ValueError(f"{path}: not a readable workbook: {error}") from error


def _cells(rows: Iterator[Any], names: list[str]) -> Iterator[tuple[int, Row]]:
    for number, row in rows:
        if not all(is_absent(value) for value in row):
            values = [_to_value(value) for value in row[: len(names)]]
            yield number, dict(itertools.zip_longest(names, values))


def _to_value(value: Any) -> Any:
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    return value
