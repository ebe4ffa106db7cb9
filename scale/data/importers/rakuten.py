"""Rakuten France's challenge: X_train.csv with texts, Y_train.csv with classes, pictures by ids."""

from collections.abc import Iterator
from pathlib import Path

from scale.data.importers import csv
from scale.data.importers.formats import Probe
from scale.data.importers.rows import Options, Row, Rows

NAMES = ("designation", "description", "productid", "imageid")


def matches(probe: Probe) -> bool:
    """Return whether the columns, or a file of the folder, are those of the challenge."""
    columns = probe.kind == "csv" and probe.has("designation", "productid", "imageid")
    return columns or (probe.kind == "folder" and bool(_texts(probe.path)))


def _texts(path: Path) -> list[Path]:
    return sorted(path.glob("X_train*.csv")) + sorted(path.glob("X_test*.csv"))


def read(path: Path, options: Options) -> Rows:
    """Open the texts; the classes in a file Y_... beside them become the category."""
    files = _texts(path)[:1] if path.is_dir() else [path]
    rows = csv.read(files[0], options, NAMES)
    classes = sorted(
        files[0].parent.glob(files[0].stem.replace("X_", "Y_").split("_update")[0] + "*")
    )
    part = "test" if files[0].name.startswith("X_test") else "train"
    found = _classes(classes[0], options) if classes and files[0].stem.startswith("X_") else {}
    rows.facts.append(f"classes of {classes[0].name}" if found else "no classes (Y_train.csv)")
    rows.rows = _with_class(rows.rows, found)
    rows.columns = {
        "id": ["productid"], "title": ["designation"], "category": ["prdtypecode"],
        "kept": ["description"], "ignored": ["", "imageid", "Unnamed: 0"],
    }  # fmt: skip
    folder = "images/image_" + part
    prefix = folder if (files[0].parent / folder).is_dir() else "images"
    flat = not (files[0].parent / "images").is_dir()
    name = "image_{imageid}_product_{productid}.jpg"
    rows.pattern = name if flat else f"{prefix}/{name}"
    rows.html = True
    return rows


def _classes(path: Path, options: Options) -> dict[str, str]:
    """Return the class by row number, which is the first column."""
    return {
        next(iter(row.values())): row.get("prdtypecode", "")
        for _, row in csv.read(path, options).rows
    }


def _with_class(
    rows: Iterator[tuple[int, Row]], classes: dict[str, str]
) -> Iterator[tuple[int, Row]]:
    for number, row in rows:
        code = classes.get(next(iter(row.values())))
        yield number, row | ({"prdtypecode": code} if code else {})
