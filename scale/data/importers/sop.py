"""Stanford Online Products: lines of `image_id class_id super_class_id path`."""

from collections.abc import Iterator
from pathlib import Path

from scale.data.importers.formats import Probe
from scale.data.importers.rows import Options, Row, Rows, merge_rows
from scale.data.importers.text import read_text

HEADER = "image_id class_id super_class_id path"
LISTS = {"Ebay_train.txt": "train", "Ebay_test.txt": "test"}


def matches(probe: Probe) -> bool:
    """Return whether the source is a list, or a folder with the lists."""
    return probe.head.startswith(HEADER) or bool(probe.files & LISTS.keys())


def read(path: Path, options: Options) -> Rows:
    """Open the lists. A class is a product with several pictures; its super class the category."""
    files = [path] if path.is_file() else [path / name for name in LISTS if (path / name).is_file()]
    opened = Rows((), facts=[file.name for file in files])
    opened.rows = merge_rows(_pictures(files, opened), lambda row: row["class_id"])
    opened.columns = {"id": ["class_id"], "category": ["super_class"], "split": ["split"],
                      "image": ["path"]}  # fmt: skip
    return opened


def _pictures(files: list[Path], opened: Rows) -> Iterator[tuple[int, Row]]:
    for file in files:
        for number, line in enumerate(read_text(file)[1], start=1):
            parts = line.split(maxsplit=3)
            if number == 1 or not parts:
                continue
            if len(parts) < 4:
                opened.bad.append((number, "fewer than four fields"))
                continue
            path = parts[3].strip()
            row: Row = {"class_id": parts[1], "path": path, "split": LISTS.get(file.name)}
            row["super_class"] = path.partition("/")[0].removesuffix("_final")
            yield number, row
