"""Amazon Reviews 2023: metadata of the items, one JSON object a line."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from scale.data.importers import jsonl
from scale.data.importers.formats import Probe
from scale.data.importers.rows import Options, Row, Rows


def matches(probe: Probe) -> bool:
    """Return whether the keys are those of the data set."""
    return probe.kind == "jsonl" and probe.has("parent_asin", "title", "main_category")


def read(path: Path, options: Options) -> Rows:
    """Open the file. `details` are the attributes; pictures in their largest size."""
    opened = jsonl.read(path, options)
    opened.rows = _prepared(opened.rows)
    opened.columns = {
        "id": ["parent_asin"], "title": ["title"], "category": ["category", "main_category"],
        "image": ["images"], "table": ["details", "store", "price"],
        "kept": ["features", "description"],
        "ignored": ["average_rating", "rating_number", "videos", "bought_together", "author",
                    "subtitle"],
    }  # fmt: skip
    opened.rest = "kept"
    opened.html = True
    return opened


def _prepared(rows: Iterable[tuple[int, Row]]) -> Iterator[tuple[int, Row]]:
    for number, row in rows:
        row = dict(row)
        path = [name for name in row.pop("categories", None) or () if isinstance(name, str)]
        row["category"] = " > ".join(path) or row.get("main_category")
        pictures = [i for i in row.get("images") or () if isinstance(i, dict)]
        main = sorted(pictures, key=lambda i: i.get("variant") != "MAIN")
        sizes = [i.get("hi_res") or i.get("large") or i.get("thumb") for i in main]
        row["images"] = [address for address in sizes if address]
        for key in ("features", "description"):
            value = row.get(key)
            row[key] = " ".join(map(str, value)) if isinstance(value, list) else value
        yield number, row
