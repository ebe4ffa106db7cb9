"""Magento's (Adobe Commerce's) product export: store views repeat a sku; children have rows."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from scale.data.importers import csv
from scale.data.importers.formats import Probe
from scale.data.importers.rows import Options, Row, Rows, merge_rows, split_list

NAMES = (
    "sku", "store_view_code", "categories", "name", "description", "short_description", "price",
    "base_image", "additional_images", "additional_attributes", "configurable_variations",
)  # fmt: skip
NONE = ("", "no_selection")
"""Cells of a missing picture."""


def matches(probe: Probe) -> bool:
    """Return whether the columns are those of Magento."""
    return probe.kind == "csv" and (
        probe.has("sku", "attribute_set_code") or probe.has("sku", "store_view_code")
    )


def read(path: Path, options: Options) -> Rows:
    """Open the export. Store views fill gaps of the default one; children join their parent."""
    rows = csv.read(path, options, NAMES)
    views = sorted(rows.rows, key=lambda item: _rank(item[1], options.language))
    products = list(merge_rows(views, lambda row: row.get("sku"), fill=True))
    products.sort(key=lambda item: item[0])
    parents = {child: row["sku"] for _, row in products for child in _children(row)}
    merge = options.variants != "separate"
    # A parent comes before its children: its texts are those of the product.
    products.sort(key=lambda item: merge and item[1].get("sku") in parents)
    expanded = _with_attributes(products)
    rows.rows = merge_rows(
        expanded, lambda row: parents.get(row["sku"], row["sku"]) if merge else row["sku"]
    )
    rows.columns = {
        "id": ["sku"],
        "title": ["name"],
        "category": ["categories"],
        "image": ["base_image"],
        "table": ["price", "weight"],
        "kept": ["description", "short_description", "meta_title", "meta_description"],
    }
    rows.html = True
    return rows


def _rank(row: Row, language: str | None) -> bool:
    """Return False for the rows to prefer: a store view in the language, else the default view."""
    view = row.get("store_view_code", "").lower()
    preferred = bool(language) and re.split(r"[-_]", view)[0] == str(language).lower()
    return not (preferred or (not view and not language)) and bool(view)


def _children(row: Row) -> list[str]:
    """Return the skus in `sku=A-XS,size=XS|sku=A-S,size=S`."""
    return re.findall(r"(?:^|\|)sku=([^,|]+)", row.get("configurable_variations") or "")


def _with_attributes(rows: Iterable[tuple[int, Row]]) -> Iterator[tuple[int, Row]]:
    """Keep the columns of content; replace `additional_attributes` by a column for each."""
    wanted = {"sku", "name", "description", "short_description", "price", "weight",
              "meta_title", "meta_description"}  # fmt: skip
    for number, row in rows:
        plain = {key: value for key, value in row.items() if key in wanted}
        paths = split_list(row.get("categories"))
        plain["categories"] = max(paths, key=lambda path: path.count("/"), default="")
        pictures = [row.get("base_image") or "", *split_list(row.get("additional_images"))]
        plain["base_image"] = [path for path in dict.fromkeys(pictures) if path not in NONE]
        # A value may contain commas, but not `name=`.
        for pair in re.split(r",(?=\w+=)", row.get("additional_attributes") or ""):
            name, found, value = pair.partition("=")
            if found and value:
                plain[name] = value.replace("|", ", ")
        yield number, plain
