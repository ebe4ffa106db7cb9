"""Parquet files, also those of Hugging Face: media as {bytes, path}, shards, labels by name."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scale.data.importers.formats import Probe
from scale.data.importers.rows import Options, Row, Rows, count_of
from scale.data.product import SPLIT_NAMES

SHARD = re.compile(r"(.+?)-?(\d{5})-of-(\d{5})(?:-[0-9a-f]+)?$")
"""`train-00000-of-00002`: Hugging Face's names of shards."""


def matches(probe: Probe) -> bool:
    """Return whether the source is a parquet file or a folder of them."""
    return probe.kind == "parquet" or (probe.kind == "folder" and bool(shards(probe.path)))


def shards(folder: Path) -> list[Path]:
    """Return the parquet files of a folder, or of its folder `data`."""
    return sorted(folder.glob("*.parquet")) or sorted(folder.glob("data/*.parquet"))


def read(path: Path, options: Options) -> Rows:
    """Open the file or the folder. Raises ValueError if a file is not parquet."""
    import pyarrow
    import pyarrow.parquet

    paths, others = [path] if path.is_file() else shards(path), []
    named = [found for p in paths if (found := SHARD.match(p.stem))]
    if path.is_dir() and named:
        others = [p.name for p in paths if not SHARD.match(p.stem)]
        paths = [p for p in paths if SHARD.match(p.stem)]
    try:
        classes = _class_names(pyarrow.parquet.read_schema(paths[0]))
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{paths[0]}: not a readable parquet file: {error}") from error
    facts = [count_of(len(paths), "file")] if len(paths) > 1 else []
    if others:
        facts.append(f"warning: not read, because they are no shards: {', '.join(others)}")
    for prefix in dict.fromkeys(found[1] for found in named):
        count = sum(found[1] == prefix for found in named)
        total = int(next(found[3] for found in named if found[1] == prefix))
        if count < total:
            facts.append(f"warning: {count} of {total} shards of {prefix!r} are there")
    return Rows(_rows(paths, classes), facts=facts)


def _rows(paths: Sequence[Path], classes: dict[str, list[str]]) -> Iterator[tuple[int, Row]]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    for path in paths:
        shard = SHARD.match(path.stem)
        split = SPLIT_NAMES.get(shard[1].rpartition("/")[2].lower()) if shard else None
        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=256):
                    for row in batch.to_pylist():
                        number += 1
                        for name, names in classes.items():
                            row[name] = _class_name(row.get(name), names)
                        yield number, row | ({"split": split} if split else {})
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(f"{path}: not a readable parquet file: {error}") from error


def _class_names(schema: Any) -> dict[str, list[str]]:
    """Return the names of ClassLabel columns, which Hugging Face stores in the metadata."""
    import json

    try:
        stored = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = stored.get("info", {}).get("features", {})
        return {k: f["names"] for k, f in features.items() if f.get("_type") == "ClassLabel"}
    except (ValueError, AttributeError, KeyError, TypeError):
        return {}


def _class_name(value: Any, names: list[str]) -> Any:
    known = isinstance(value, int) and 0 <= value < len(names)
    return names[value] if known else value
