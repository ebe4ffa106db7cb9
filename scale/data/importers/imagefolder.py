"""Folders of media: Hugging Face's imagefolder with metadata, and one folder per class."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scale.data.importers import csv, jsonl, parquet
from scale.data.importers.columns import MEDIA_FILE
from scale.data.importers.formats import Probe
from scale.data.importers.rows import Options, Row, Rows, count_of
from scale.data.product import SPLIT_NAMES
from scale.modalities import CONTINUOUS

METADATA = {"metadata.csv": csv, "metadata.jsonl": jsonl, "metadata.parquet": parquet}
DEPTH = 3
"""Folders between the source and a file of metadata, at most."""


def matches(probe: Probe) -> bool:
    """Return whether a folder has metadata, or media in its subfolders and no other table."""
    if probe.kind != "folder":
        return False
    if _metadata(probe.path):
        return True
    return not probe.tables and next(_media_files(probe.path), None) is not None


def read(path: Path, options: Options) -> Rows:
    """Open the folder. Without metadata, the name of a file's folder is its category."""
    tables = _metadata(path)
    if not tables:
        columns = {"id": ["id"], "category": ["category"], "split": ["split"]}
        columns |= {modality: [modality] for modality in CONTINUOUS}
        return Rows(_by_class(path), columns=columns, facts=["one category per folder"])
    opened = [(file, METADATA[file.name].read(file, options)) for file in tables]
    rows = Rows((), facts=[f"metadata of {count_of(len(tables), 'folder')}", *opened[0][1].facts])
    rows.rows, rows.decimal = _with_paths(path, opened, rows), opened[0][1].decimal
    rows.columns = {"id": ["id"], "image": ["image"], "ignored": ["file_name"]}
    rows.columns |= {m: [m] for m in ("video", "audio")}
    return rows


def _metadata(path: Path) -> list[Path]:
    """Return the files of metadata in the folder and its subfolders."""
    found = []
    for folder, folders, names in os.walk(path):
        depth = len(Path(folder).relative_to(path).parts)
        folders[:] = sorted(folders) if depth < DEPTH else []
        found += [Path(folder) / name for name in METADATA if name in names]
    return found


def _with_paths(
    path: Path, opened: list[tuple[Path, Rows]], rows: Rows
) -> Iterator[tuple[int, Row]]:
    """Yield the rows of all tables, with paths relative to the source and ids from the names."""
    for file, table in opened:
        folder = file.parent.relative_to(path)
        split = _split(folder.parts)
        for number, row in table.rows:
            row = dict(row)
            for key in [k for k in row if k == "file_name" or k.endswith("_file_name")]:
                value = row[key] and (folder / str(row[key])).as_posix()
                modality = next((m for m in CONTINUOUS if MEDIA_FILE[m].fullmatch(value or "")), "")
                if modality:
                    row[modality] = value
                    row.setdefault("id", (folder / str(row[key])).with_suffix("").as_posix())
            yield number, row | ({"split": split} if split else {})
        rows.bad += table.bad
        rows.repaired += table.repaired


def _split(parts: Any) -> str:
    return next((SPLIT_NAMES[p.lower()] for p in parts if p.lower() in SPLIT_NAMES), "")


def _media_files(path: Path) -> Iterator[tuple[str, Path]]:
    """Yield the modality and relative path of each file in a subfolder, in order."""
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names) if Path(folder) != path else ():
            modality = next((m for m in CONTINUOUS if MEDIA_FILE[m].fullmatch(name)), None)
            if modality is not None:
                yield modality, (Path(folder) / name).relative_to(path)


def _by_class(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield a product per file: `train/mug/3.png` has the split train and the category mug."""
    for number, (modality, file) in enumerate(_media_files(path), start=1):
        parts = [part for part in file.parts[:-1] if part.lower() not in SPLIT_NAMES]
        row: Row = {"id": file.with_suffix("").as_posix(), modality: file.as_posix()}
        row["category"] = "/".join(parts) or None
        yield number, row | {"split": _split(file.parts[:-1]) or None}
