"""Flipkart's products (Kaggle): attributes in the syntax of Ruby, lists as JSON."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from scale.data.importers import csv
from scale.data.importers.formats import Probe
from scale.data.importers.rows import Options, Row, Rows

NAMES = ("product_category_tree", "image", "product_specifications")
RUBY = re.compile(r'("(?:[^"\\]|\\.)*")|=>|\bnil\b')
"""A string, or what Ruby writes in another way than JSON."""


def matches(probe: Probe) -> bool:
    """Return whether the columns are those of the data set."""
    return probe.kind == "csv" and probe.has("product_specifications", "product_category_tree")


def read(path: Path, options: Options) -> Rows:
    """Open the file. The category is the first level of the tree; the path is a label."""
    rows = csv.read(path, options, NAMES)
    rows.rows = _prepared(rows.rows)
    rows.columns = {
        "id": ["uniq_id", "pid"], "title": ["product_name"], "category": ["category"],
        "image": ["image"], "table": ["product_specifications", "brand", "retail_price"],
        "labels": ["product_category_tree"], "kept": ["description", "product_url"],
        "ignored": ["crawl_timestamp", "product_rating", "overall_rating", "discounted_price",
                    "is_FK_Advantage_product"],
    }  # fmt: skip
    return rows


def _prepared(rows: Iterable[tuple[int, Row]]) -> Iterator[tuple[int, Row]]:
    for number, row in rows:
        tree = _json(row.get("product_category_tree"))
        path = tree[0] if isinstance(tree, list) and tree else row.get("product_category_tree", "")
        row["product_category_tree"] = path
        # A path of one level is the product's own name.
        levels = [level.strip() for level in str(path).split(">>")]
        row["category"] = levels[0] if len(levels) > 1 else ""
        pictures = _json(row.get("image"))
        row["image"] = pictures if isinstance(pictures, list) else row.get("image")
        row["product_specifications"] = _pairs(row.get("product_specifications", ""))
        yield number, row


def _json(text: Any) -> Any:
    try:
        return json.loads(text or "null")
    except (ValueError, RecursionError):
        return None


def _pairs(text: str) -> list[list[str]]:
    """Return the attributes in `{"product_specification"=>[{"key"=>"a", "value"=>"b"}]}`."""
    other = {"=>": ":", "nil": "null"}
    value = _json(RUBY.sub(lambda m: m[1] or other[m[0]], text))
    items = value.get("product_specification") if isinstance(value, dict) else None
    items = [items] if isinstance(items, dict) else items or []
    found = [(i.get("key"), i.get("value")) for i in items if isinstance(i, dict)]
    return [[key, value] for key, value in found if key and value]
