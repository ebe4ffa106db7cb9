"""CSV files and data frames as catalogue records, and a CSV file with media as a catalogue folder.

Columns named like a record key (`id`, `title`, `category`, `split`, `name`, `image`, `video`,
`audio`) keep that meaning; every other column becomes an attribute of the product's table. The
importer checks no values: an invalid cell (a missing file, a path that leaves the folder, a
duplicate id) is passed on, and the catalogue reports it with id, path and reason.
"""

import csv
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

from scale.data.product import SPLITS
from scale.files import write_whole
from scale.modalities import CONTINUOUS

if TYPE_CHECKING:
    import pandas as pd

PLAIN = ("title", "category", "split", "name")
"""Columns that are copied unchanged."""
NESTED = ("table", "labels", "alt", "content")
"""Columns of a data frame that may contain lists and dictionaries, as the records do."""
EMPTY = frozenset({"", "nan", "null", "n/a", "#n/a", "-", "–"})
"""Cell contents, in any case, that mean an absent value, because CSV has no null. `none` is not
among them: it is a valid value, e.g. of the attribute `lid`."""


@dataclass
class Imported:
    """Result of an import."""

    folder: Path
    products: int
    pairs: int
    """Attribute-value pairs in all tables."""
    copied: Counter = field(default_factory=Counter)
    """Files copied, by modality."""
    not_found: Counter = field(default_factory=Counter)
    """Paths that name no file inside the media folder, by modality; written all the same."""
    empty: Counter = field(default_factory=Counter)
    """Empty cells, by column. They are absent values, not problems."""

    def __str__(self) -> str:
        """Return a report of a few lines."""
        lines = [f"{self.folder}: {self.products} products, {self.pairs} attribute-value pairs"]
        parts = {"copied": self.copied, "not found": self.not_found, "empty cells": self.empty}
        for name, counts in parts.items():
            if counts:
                listed = ", ".join(f"{key} {n}" for key, n in sorted(counts.items()))
                lines.append(f"  {name}: {listed}")
        return "\n".join(lines)


def import_csv(
    table: Path,
    media: Path,
    out: Path,
    columns: Mapping[str, str] | None = None,
    *,
    encoding: str = "utf-8-sig",
    delimiter: str = ",",
    info: Mapping[str, str] | None = None,
) -> Imported:
    """Write `out`/products.jsonl, catalogue.json and copies of the media files.

    Args:
        table: CSV file with a header.
        media: folder that paths in the CSV are relative to.
        out: folder of the new catalogue; must not contain a catalogue yet.
        columns: CSV column of a record key, where the names differ (`{"title": "Product"}`).
        info: entries of catalogue.json; `name` defaults to that of the CSV file.

    Raises:
        ValueError: missing file or folder; `out` contains a catalogue; and as `read_csv` and
            `rows_to_records`.
    """
    for path, exists in ((table, table.is_file()), (media, media.is_dir())):
        if not exists:
            raise ValueError(f"{path}: no such {'file' if path is table else 'folder'}")
    if (out / "products.jsonl").exists() or (out / "products.parquet").exists():
        raise ValueError(f"{out} already contains a catalogue: choose another folder")
    header, numbered = read_csv(table, encoding, delimiter)
    imported = Imported(out, len(numbered), 0)
    rows = [row for _, row in numbered]
    records = list(rows_to_records(header, rows, columns, str(table), imported.empty))
    for record in records:
        imported.pairs += len(record["table"] or ())
        for modality in CONTINUOUS:
            if modality in record:
                record[modality] = _copy(record[modality], modality, media, imported)
    out.mkdir(parents=True, exist_ok=True)
    info = {"name": table.stem, **(info or {})}
    write_whole(out / "catalogue.json", json.dumps(info, ensure_ascii=False, indent=2) + "\n")
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    write_whole(out / "products.jsonl", lines)
    return imported


def read_csv(
    path: Path, encoding: str = "utf-8-sig", delimiter: str = ","
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header, and the line number and cells of each row, padded to the header's length.

    Empty lines are skipped. Raises ValueError if the file is not CSV in this encoding, has no
    header, or a row has more cells than the header.
    """
    rows: list[tuple[int, list[str]]] = []
    try:
        with path.open(encoding=encoding, newline="") as file:
            reader, width = csv.reader(file, delimiter=delimiter, strict=True), 0
            for row in reader:
                if not any(cell.strip() for cell in row):
                    continue
                width = width or len(row)
                if len(row) > width:
                    where = f"{path}:{reader.line_num}"
                    raise ValueError(f"{where}: {len(row)} cells, the header has {width}")
                rows.append((reader.line_num, row + [""] * (width - len(row))))
    except UnicodeDecodeError as error:
        hint = "save it as UTF-8, or name its encoding (--encoding gb18030, --encoding latin-1)"
        raise ValueError(f"{path}: not {encoding}: {hint}") from error
    except LookupError as error:
        raise ValueError(f"unknown encoding {encoding!r}") from error
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: not CSV: {error}") from error
    if not rows:
        raise ValueError(f"{path}: no header")
    return rows[0][1], rows[1:]


def rows_to_records(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    columns: Mapping[str, str] | None = None,
    source: str = "table",
    empty: Counter | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield one catalogue record per row.

    Args:
        columns: as in `import_csv`.
        source: name of the table in error messages.
        empty: counts the empty cells of each column.

    Raises ValueError if a column occurs twice, or one of `columns` or the id column is missing.
    """
    names = [name.strip() for name in header]
    position = _locate_columns(names, columns or {}, source)
    attributes = [k for k in range(len(names)) if k not in position.values()]
    empty = Counter() if empty is None else empty

    def cell(row: Sequence[str], k: int, column: str) -> str | None:
        text = row[k].strip()
        if text.lower() not in EMPTY:
            return text
        empty[column] += 1
        return None

    for row in rows:
        record: dict[str, Any] = {key: cell(row, k, key) for key, k in position.items()}
        if record.get("split") is not None and record["split"].lower() in SPLITS:
            record["split"] = record["split"].lower()
        paths = {m: record.pop(m, None) for m in CONTINUOUS}
        pairs = [[names[k], cell(row, k, names[k])] for k in attributes]
        record["table"] = [pair for pair in pairs if pair[0] and pair[1] is not None] or None
        record |= {m: path.replace("\\", "/") for m, path in paths.items() if path is not None}
        yield record


def _locate_columns(
    names: Sequence[str], columns: Mapping[str, str], source: str
) -> dict[str, int]:
    """Return the position of each record key that has a column."""
    repeated = sorted(name for name, n in Counter(names).items() if n > 1)
    if repeated:
        raise ValueError(f"{source}: column {repeated[0]!r} occurs twice")
    keys = ("id", *PLAIN, *CONTINUOUS)
    unknown = sorted(set(columns) - set(keys))
    if unknown:
        raise ValueError(f"unknown record key {unknown[0]!r}; known: {', '.join(keys)}")
    position = {}
    for key in keys:
        name = columns.get(key, key)
        if name in names:
            position[key] = names.index(name)
        elif key in columns or key == "id":
            found = ", ".join(names)
            raise ValueError(f"{source}: no column {name!r} for the {key}; columns: {found}")
    return position


def _copy(path: str, modality: str, media: Path, imported: Imported) -> str:
    """Copy a file to `<out>/<modality>/<its path>`; return the path for the record.

    A path that is absolute, leaves the media folder (by `..` or a link) or names no file there is
    returned in a form that the catalogue rejects. Files outside the media folder are never read.
    """
    root = media.resolve()
    try:
        source = (root / path).resolve()
        inside = source.is_relative_to(root) and not PureWindowsPath(path).anchor
        found = inside and source.is_file()
    except (OSError, ValueError, RuntimeError):
        inside, found = True, False
    if not found:
        imported.not_found[modality] += 1
        return f"{modality}/{path}" if inside else path
    target = imported.folder / modality / source.relative_to(root)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    imported.copied[modality] += 1
    return target.relative_to(imported.folder).as_posix()


def frame_to_records(
    frame: "pd.DataFrame", columns: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Return one catalogue record per row of a pandas data frame.

    As for CSV files, with three differences. Null values of any type are absent. An index named
    like the id column takes its place. Columns `table`, `labels`, `alt` and `content` with lists or
    dictionaries are used as in products.jsonl; if `table` is one of them, columns without
    a meaning are kept in `Product.extra` instead of becoming attributes.

    Raises ValueError as `rows_to_records`.
    """
    if frame.index.name == (columns or {}).get("id", "id"):
        frame = frame.reset_index()
    frame = frame.rename(columns=str)
    nested = [c for c in NESTED if c in frame.columns and _is_nested(frame[c])]
    # Integers with gaps are floats in pandas: without the conversion, 3 would become "3.0".
    flat = frame.drop(columns=nested).convert_dtypes()
    rows = ([_to_text(v) for v in row] for row in flat.itertuples(index=False, name=None))
    records = list(rows_to_records(list(flat.columns), rows, columns, "data frame"))
    if "table" in nested:
        records = [dict(record.pop("table") or ()) | record for record in records]
    for key in nested:
        for record, value in zip(records, frame[key], strict=True):
            record[key] = _to_plain(value)
    return records


def _is_nested(values: "pd.Series") -> bool:
    import pandas as pd

    return any(map(pd.api.types.is_list_like, values))


def _to_text(value: Any) -> str:
    import pandas as pd

    if isinstance(value, Path):
        return value.as_posix()
    return "" if pd.api.types.is_scalar(value) and pd.isna(value) else str(value)


def _to_plain(value: Any) -> Any:
    """Return lists, dictionaries and scalars of Python instead of those of numpy and pandas."""
    import pandas as pd

    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: _to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_plain(item) for item in value]
    return None if pd.isna(value) else value
