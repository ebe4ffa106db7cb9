"""Product1M: lines of `id#####title#####address#####address#####names of the products shown`."""

from collections.abc import Iterator
from pathlib import Path

from scale.data.importers.formats import Probe
from scale.data.importers.rows import Options, Row, Rows, count_of, split_list
from scale.data.importers.text import read_text
from scale.data.product import SPLIT_NAMES

SEPARATOR = "#####"
FIELDS = ("id", "title", "image", "address", "instances")


def matches(probe: Probe) -> bool:
    """Return whether the first line has the separator."""
    in_folder = probe.kind == "folder" and bool(list(probe.path.glob("product1m_*.txt")))
    return in_folder or (probe.kind == "csv" and SEPARATOR in probe.head.partition("\n")[0])


def read(path: Path, options: Options) -> Rows:
    """Open one list or all of a folder; the split is in the name (`product1m_dev_...`)."""
    files = [path] if path.is_file() else sorted(path.glob("product1m_*.txt"))
    opened = Rows((), facts=[count_of(len(files), "file")])
    opened.rows = _products(files, options, opened)
    opened.columns = {"id": ["id"], "title": ["title"], "split": ["split"], "image": ["image"],
                      "kept": ["address", "instances"]}  # fmt: skip
    return opened


def _products(files: list[Path], options: Options, opened: Rows) -> Iterator[tuple[int, Row]]:
    for file in files:
        names = [SPLIT_NAMES[part] for part in file.stem.lower().split("_") if part in SPLIT_NAMES]
        for number, line in enumerate(read_text(file, options.encoding)[1], start=1):
            parts = [part.strip() for part in line.split(SEPARATOR)]
            if len(parts) < 2:
                if line.strip():
                    opened.bad.append((number, f"no {SEPARATOR}"))
                continue
            row: Row = dict(zip(FIELDS, parts, strict=False))
            row["instances"] = split_list(row.get("instances"), "#;#")
            # Both addresses may be dead; the files of the release are named by id.
            addresses = [a for a in (row.get("address"), row.get("image")) if a]
            row["image"] = addresses[0] if addresses else None
            yield number, row | ({"split": names[0]} if names else {})
