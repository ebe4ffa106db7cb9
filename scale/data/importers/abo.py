"""Amazon Berkeley Objects: listings as JSON lines, pictures by id through images.csv.gz."""

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from scale.data.importers import jsonl
from scale.data.importers.formats import Probe
from scale.data.importers.rows import Options, Row, Rows, count_of, merge_rows

NOT_ATTRIBUTES = {"item_id", "item_name", "main_image_id", "other_image_id", "product_type", "node",
                  "bullet_point", "item_keywords", "spin_id", "3dmodel_id", "marketplace",
                  "domain_name", "country", "product_description"}  # fmt: skip


def matches(probe: Probe) -> bool:
    """Return whether the folder has listings, or a file is one of them."""
    in_folder = probe.kind == "folder" and bool(_listings(probe.path))
    return in_folder or (probe.kind == "jsonl" and probe.has("item_id", "item_name", "node"))


def _listings(path: Path) -> list[Path]:
    pattern = "listings_*.json*"
    return sorted([*path.glob(f"listings/metadata/{pattern}"), *path.glob(pattern)])


def read(path: Path, options: Options) -> Rows:
    """Open the listings. An item that several marketplaces list becomes one product."""
    files = [path] if path.is_file() else _listings(path)
    root = next((p for p in files[0].parents if (p / "images").is_dir()), files[0].parent)
    language = options.language or "en"
    opened = Rows((), facts=[count_of(len(files), "file"), f"language {language}"])
    lines = ((n, item) for n, item in jsonl.read_lines(files, opened) if isinstance(item, dict))
    products = _products(lines, _pictures(root), language)
    opened.rows = merge_rows(products, lambda row: row["item_id"], fill=True)
    opened.media = root
    opened.columns = {
        "id": ["item_id"], "title": ["item_name"], "category": ["product_type"],
        "image": ["images"], "labels": ["node"], "kept": ["bullet_point", "item_keywords"],
    }  # fmt: skip
    return opened


def _pictures(root: Path) -> dict[str, str]:
    """Return the path of each picture below the root, by id."""
    table = root / "images/metadata/images.csv.gz"
    if not table.is_file():
        return {}
    folders = ("images/small", "images/original", "images")
    folder = next((name for name in folders if (root / name).is_dir()), "images")
    with jsonl.open_binary(table) as file:
        rows = csv.DictReader(io.TextIOWrapper(file, encoding="utf-8"))
        return {row["image_id"]: f"{folder}/{row['path']}" for row in rows}


def _products(
    lines: Iterable[tuple[int, dict]], pictures: dict[str, str], language: str
) -> Iterator[tuple[int, Row]]:
    for number, item in lines:
        found = [item.get("main_image_id"), *(item.get("other_image_id") or [])]
        kept = {key: _texts(item.get(key), language) for key in ("bullet_point", "item_keywords")}
        nodes = [node.get("node_name") for node in item.get("node") or () if isinstance(node, dict)]
        row: Row = {
            "item_id": item.get("item_id"),
            "item_name": next(iter(_texts(item.get("item_name"), language)), None),
            "product_type": next(iter(_texts(item.get("product_type"), language)), None),
            "images": [pictures[name] for name in found if name in pictures],
            "node": next(iter(nodes), None),
            **kept,
        }
        for key, value in item.items():
            if key not in NOT_ATTRIBUTES:
                row |= _attribute(key, value, language)
        yield number, row


def _texts(value: Any, language: str) -> list[str]:
    """Return the values in the language, else those in the first language there is."""
    items = [v for v in value or () if isinstance(v, dict) and v.get("value") is not None]
    tags = [str(v.get("language_tag") or "") for v in items]
    same = [v for v, tag in zip(items, tags, strict=True) if tag.lower().startswith(language)]
    chosen = same or [v for v, tag in zip(items, tags, strict=True) if tag == tags[0]]
    return list(dict.fromkeys(_measure(v) for v in chosen))


def _measure(value: dict) -> str:
    return " ".join(str(value[k]) for k in ("value", "unit") if value.get(k) is not None)


def _attribute(key: str, value: Any, language: str) -> Row:
    """Return one attribute, or those of a measure: `item_dimensions height`."""
    if isinstance(value, dict):
        parts = {f"{key} {name}": _measure(v) for name, v in value.items() if isinstance(v, dict)}
        return {name: text for name, text in parts.items() if text}
    texts = _texts(value, language) if isinstance(value, list) else [str(value)]
    return {key: ", ".join(texts)} if texts else {}
