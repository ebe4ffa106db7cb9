"""`scale import`: a CSV file and a folder of pictures become a catalogue.

The importer translates, the catalogue judges: nothing is dropped or repaired here without a word. A
cell that cannot be right (a missing file, a path that leaves the folder, an id that was there
before) is written as it stands, so that `scale inspect` names it with id, path and reason.
"""

import csv
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Annotated

import tyro

from scale.data.records import SPLITS
from scale.files import write_whole

FILES = ("image", "video", "audio")
"""Columns with paths, relative to the folder of media."""
PLAIN = ("title", "category", "split", "name")
"""Columns that are copied as they are."""
EMPTY = frozenset({"", "nan", "null", "n/a", "#n/a", "-", "–"})
"""What a cell says, in any case, where a table program had nothing to say. CSV has no null. Not
`none`: a lid of that value is a fact."""


@dataclass
class Imported:
    """What an import made."""

    folder: Path
    products: int
    pairs: int
    """Attribute-value pairs over all tables."""
    copied: Counter = field(default_factory=Counter)
    """Files by modality."""
    not_found: Counter = field(default_factory=Counter)
    """Paths by modality that were written but name no file inside the folder of media."""
    empty: Counter = field(default_factory=Counter)
    """Empty cells by column: absent values, no problem."""

    def __str__(self) -> str:
        """A few lines for people."""
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
    """Writes `out`/products.jsonl, catalogue.json and copies of the media.

    Args:
        table: CSV with a header. Every column without a meaning becomes an attribute of the table.
        media: folder that paths in the CSV are relative to.
        out: the catalogue's folder; must not hold a catalogue yet.
        columns: the CSV's name of `id`, `title`, `category`, `split`, `name`, `image`, `video`,
            `audio`, where it is called otherwise.
        info: of catalogue.json; its name is that of the CSV where none is given.

    Raises:
        ValueError: no such file or folder; a catalogue is there; not of this encoding; no header,
            or a column twice; a column of `columns` or of ids is not there; a row with more
            cells than the header.
    """
    columns = dict(columns or {})
    for path, is_there in ((table, table.is_file()), (media, media.is_dir())):
        if not is_there:
            raise ValueError(f"{path}: no such {'file' if path is table else 'folder'}")
    if (out / "products.jsonl").exists() or (out / "products.parquet").exists():
        raise ValueError(f"{out} holds a catalogue already: choose another folder")
    rows = list(_rows(table, encoding, delimiter))
    header = rows[0]
    place = _places(table, header, columns)
    made = Imported(out, len(rows) - 1, 0)
    records = [_record(row, header, place, media, made) for row in rows[1:]]
    (out).mkdir(parents=True, exist_ok=True)
    facts = {"name": table.stem, **(info or {})}
    write_whole(out / "catalogue.json", json.dumps(facts, ensure_ascii=False, indent=2) + "\n")
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    write_whole(out / "products.jsonl", lines)
    return made


def _rows(table: Path, encoding: str, delimiter: str) -> Iterator[list[str]]:
    """The header and the rows, each as long as it; empty lines are skipped."""
    try:
        with table.open(encoding=encoding, newline="") as file:
            reader, width = csv.reader(file, delimiter=delimiter, strict=True), 0
            for row in reader:
                if not any(cell.strip() for cell in row):
                    continue
                width = width or len(row)
                if len(row) > width:
                    where = f"{table}:{reader.line_num}"
                    raise ValueError(f"{where}: {len(row)} cells, the header has {width}")
                yield row + [""] * (width - len(row))
            if not width:
                raise ValueError(f"{table}: no header")
    except UnicodeDecodeError as error:
        hint = "save it as UTF-8, or name its encoding (--encoding gb18030, --encoding latin-1)"
        raise ValueError(f"{table}: not {encoding}: {hint}") from error
    except LookupError as error:
        raise ValueError(f"unknown encoding {encoding!r}") from error
    except csv.Error as error:
        raise ValueError(f"{table}:{reader.line_num}: not CSV: {error}") from error


def _places(table: Path, header: Sequence[str], columns: Mapping[str, str]) -> dict[str, int]:
    """Place of each key with a meaning in the header; keys that are absent are not in it."""
    names = [name.strip() for name in header]
    twice = sorted(name for name, n in Counter(names).items() if n > 1)
    if twice:
        raise ValueError(f"{table}: column {twice[0]!r} is there twice")
    unknown = sorted(set(columns) - {"id", *PLAIN, *FILES})
    if unknown:
        known = ", ".join(("id", *PLAIN, *FILES))
        raise ValueError(f"no meaning {unknown[0]!r} for a column; known: {known}")
    place = {}
    for key in ("id", *PLAIN, *FILES):
        name = columns.get(key, key)
        if name in names:
            place[key] = names.index(name)
        elif key in columns or key == "id":
            found = ", ".join(names)
            raise ValueError(f"{table}: no column {name!r} for the {key}; there are: {found}")
    return place


def _record(
    row: Sequence[str],
    header: Sequence[str],
    place: Mapping[str, int],
    media: Path,
    made: Imported,
) -> dict:
    """One line of products.jsonl."""
    cells = {key: _cell(row[k], key, made) for key, k in place.items()}
    record = {key: cells[key] for key in ("id", *PLAIN) if key in cells}
    if record.get("split") is not None and record["split"].lower() in SPLITS:
        record["split"] = record["split"].lower()
    attributes = [k for k in range(len(header)) if k not in place.values()]
    pairs = [[header[k].strip(), _cell(row[k], header[k].strip(), made)] for k in attributes]
    record["table"] = [pair for pair in pairs if pair[0] and pair[1] is not None] or None
    made.pairs += len(record["table"] or ())
    for modality in FILES:
        if cells.get(modality) is not None:
            record[modality] = _copy(cells[modality], modality, media, made)
    return record


def _cell(text: str, column: str, made: Imported) -> str | None:
    """The cell without spaces around it; None, counted, where it says nothing."""
    text = text.strip()
    if text.lower() in EMPTY:
        made.empty[column] += 1
        return None
    return text


def _copy(written: str, modality: str, media: Path, made: Imported) -> str:
    """Copies a file to `<out>/<modality>/<its path>`; returns the path for the record.

    A path that is absolute, leaves the folder of media (by `..` or by a link) or names no file
    there is returned so that the catalogue refuses it. Nothing outside the folder is ever read.
    """
    relative = written.replace("\\", "/")
    root = media.resolve()
    try:
        source = (root / relative).resolve()
        inside = source.is_relative_to(root) and not PureWindowsPath(relative).anchor
        found = inside and source.is_file()
    except (OSError, ValueError, RuntimeError):
        inside, found = True, False
    if not inside:
        made.not_found[modality] += 1
        return relative
    target = f"{modality}/{relative}"
    if not found:
        made.not_found[modality] += 1
        return target
    goal = made.folder / modality / source.relative_to(root)
    goal.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, goal)
    made.copied[modality] += 1
    return goal.relative_to(made.folder).as_posix()


@dataclass
class Import:
    """Make a catalogue from a CSV file and a folder of pictures (clips and sounds too).

    The CSV needs a header. Columns called id, title, category, split, name, image, video, audio
    have their meaning; every other column becomes an attribute of the table. Empty cells, and NaN,
    mean that the product lacks it. Then: scale inspect FOLDER.

    Example: scale import products.csv --images pictures --out my_shop --columns title=Product
    """

    csv: tyro.conf.Positional[Path]
    """The CSV file."""
    images: Annotated[Path, tyro.conf.arg(aliases=["--media"])]
    """Folder that the paths in the CSV are relative to."""
    out: Path
    """Folder of the new catalogue."""
    columns: tuple[str, ...] = ()
    """Columns that are called otherwise, e.g. id=SKU title=Product image=Photo."""
    delimiter: str = ","
    """Between cells; often ; in European files."""
    encoding: str = "utf-8-sig"
    """Of the CSV; gb18030 for Chinese Excel."""
    language: str = "en"
    """Of the titles, for catalogue.json; likewise below."""
    licence: str = ""
    source: str = ""

    def run(self) -> None:
        """Import, then say what was made and what to do next."""
        wrong = [c for c in self.columns if "=" not in c]
        if wrong:
            raise ValueError(f"--columns {wrong[0]}: write MEANING=COLUMN, e.g. title=Product")
        facts = {"language": self.language, "licence": self.licence, "source": self.source}
        made = import_csv(
            self.csv, self.images, self.out, dict(c.split("=", 1) for c in self.columns),
            encoding=self.encoding, delimiter=self.delimiter,
            info={key: value for key, value in facts.items() if value},
        )  # fmt: skip
        print(f"{made}\nnext: scale inspect {self.out}")
