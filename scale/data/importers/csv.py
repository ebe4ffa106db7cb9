"""CSV and TSV files: encoding, delimiter and decimal sign are detected; bad rows are counted."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from scale.data.importers.formats import Probe
from scale.data.importers.rows import Options, Row, Rows
from scale.data.importers.text import (
    SAMPLE,
    detect_decimal,
    detect_delimiter,
    parse_rows,
    read_delimiter,
    read_text,
)

SAMPLE_LINES = 1000


def matches(probe: Probe) -> bool:
    """Return whether the source is a text file whose header has several columns, or named so."""
    named = probe.path.suffix.lower() in (".csv", ".tsv")
    return probe.kind == "csv" and (named or len(probe.names) > 1)


def read(path: Path, options: Options, names: Iterable[str] | Mapping[str, str] = ()) -> Rows:
    """Open the file.

    names: columns in the spelling that a format expects, which are found in any case; or that
        spelling by the name of the column, for headers in several languages.

    Raises ValueError if the file has no header or another encoding.
    """
    encoding, lines = read_text(path, options.encoding)
    head, size = [], 0
    for line in lines:
        head.append(line)
        size += len(line)
        if len(head) >= SAMPLE_LINES or size > SAMPLE:
            break
    skipped = 0
    given = options.delimiter and read_delimiter(options.delimiter)
    if head and head[0].lower().startswith("sep=") and len(head[0].strip()) == 5:
        given, skipped = given or head[0][4], 1
        del head[0]
    delimiter = given or detect_delimiter(head, "\t" if path.suffix == ".tsv" else ",")
    shown = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "pipe"}
    rows = parse_rows(itertools.chain(head, lines), delimiter)
    header = next((row for _, row, _ in rows if any(cell.strip() for cell in row)), None)
    if header is None:
        raise ValueError(f"{path}: no header")
    known = names if isinstance(names, Mapping) else {name: name for name in names}
    spelling = {name.casefold(): expected for name, expected in known.items()}
    header, notes = unique_names([spelling.get(c.strip().casefold(), c) for c in header])
    opened = Rows((), decimal=options.decimal or ".")
    opened.facts = [f"encoding {encoding}", f"delimiter {shown.get(delimiter, delimiter)}", *notes]
    cells = _cells(rows, header, skipped, opened)
    sample = list(itertools.islice(cells, SAMPLE_LINES))
    if options.decimal is None:
        opened.decimal = detect_decimal(v for _, row in sample for v in row.values() if v)
    if opened.decimal == ",":
        opened.facts.append("decimal comma")
    opened.rows = itertools.chain(sample, cells)
    return opened


def unique_names(header: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the header with ` (2)` after a repeated name, and a note for each."""
    seen: Counter[str] = Counter()
    names, notes = [], []
    for name in (cell.strip() for cell in header):
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
        if seen[name] == 2 and name:
            notes.append(f"column {name!r} occurs twice")
    return names, notes


def _cells(
    rows: Iterator[tuple[int, list[str], bool]],
    header: Sequence[str],
    skipped: int,
    opened: Rows,
) -> Iterator[tuple[int, Row]]:
    """Yield the cells of each row by column; count bad rows in `opened.bad`."""
    width = len(header)
    for number, row, literal in rows:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) > width and any(cell.strip() for cell in row[width:]):
            found = f"{len(row)} cells, the header has {width}"
            opened.bad.append((number + skipped, found))
            continue
        opened.repaired["quotes misplaced or not closed, taken as text"] += literal
        opened.repaired["fewer cells than the header"] += len(row) < width
        yield number + skipped, dict(itertools.zip_longest(header, row[:width], fillvalue=""))
