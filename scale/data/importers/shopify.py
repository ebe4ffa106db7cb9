"""Shopify's product export: several rows a product, one per variant and per further picture."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from scale.data.importers import csv
from scale.data.importers.formats import Probe
from scale.data.importers.rows import Options, Row, Rows, merge_rows

OPTIONS = 3
NAMES = (
    "Handle", "Title", "Body (HTML)", "Vendor", "Type", "Product Category", "Tags", "Image Src",
    "Variant SKU", "Variant Barcode", "Variant Price", "Variant Image",
    *(f"Option{k} {part}" for k in range(1, OPTIONS + 1) for part in ("Name", "Value")),
)  # fmt: skip


def matches(probe: Probe) -> bool:
    """Return whether the columns are those of Shopify."""
    return probe.kind == "csv" and (
        probe.has("handle", "title", "image src") or probe.has("handle", "title", "body (html)")
    )


def read(path: Path, options: Options) -> Rows:
    """Open the export. Rows of one handle become one product."""
    rows = csv.read(path, options, NAMES)
    merged = _with_options(rows.rows)
    if options.variants == "separate":
        rows.rows = _variants(merge_rows(merged, lambda row: row["Handle"]), path, options)
    else:
        rows.rows = merge_rows(merged, lambda row: row.get("Handle"))
    rows.columns = {
        "id": ["Handle"],
        "title": ["Title"],
        "category": ["Type", "Product Category", "Standard Product Type", "Custom Product Type"],
        "image": ["Image Src", "Variant Image"],
        "table": ["Vendor", "Tags", "Variant Price"],
        "kept": ["Body (HTML)", "Variant SKU", "Variant Barcode", "SEO Title", "SEO Description"],
        "ignored": _technical(),
    }
    rows.html = True
    return rows


def _with_options(rows: Iterable[tuple[int, Row]]) -> Iterator[tuple[int, Row]]:
    """Add a column per option (`Color`), whose name only the first row of a product has."""
    names: dict[tuple[str, int], str] = {}
    for number, row in rows:
        handle = row.get("Handle", "")
        for k in range(1, OPTIONS + 1):
            name = row.pop(f"Option{k} Name", "") or names.get((handle, k), "")
            value = row.pop(f"Option{k} Value", "")
            names[handle, k] = name
            if name and value and (name, value) != ("Title", "Default Title"):
                row[name] = value
        for market in [
            key for key in row if re.match(r"(Included|Price|Compare At Price) / ", key)
        ]:
            del row[market]
        for key in ("Variant SKU", "Variant Barcode"):
            row[key] = row.get(key, "").lstrip("'")  # Excel's mark of a text
        yield number, row


def _variants(
    products: Iterable[tuple[int, Row]], path: Path, options: Options
) -> Iterator[tuple[int, Row]]:
    """Yield one row per variant, with the texts of its product."""
    shared = {row["Handle"]: row for _, row in products}
    for number, row in _with_options(csv.read(path, options, NAMES).rows):
        if row.get("Variant SKU") or row.get("Variant Price"):
            product = shared[row["Handle"]]
            first = {k: v[0] if isinstance(v, list) else v for k, v in product.items()}
            own = {key: value for key, value in row.items() if value}
            picture = {"Image Src": row.get("Variant Image") or first.get("Image Src")}
            name = {"Handle": row.get("Variant SKU") or f"{row['Handle']}-{number}"}
            yield number, first | own | picture | name


def _technical() -> list[str]:
    variant = ("Grams", "Inventory Tracker", "Inventory Qty", "Inventory Policy", "Weight Unit",
               "Fulfillment Service", "Requires Shipping", "Taxable", "Tax Code",
               "Compare At Price")  # fmt: skip
    google = ("Google Product Category", "Gender", "Age Group", "MPN", "Condition",
              "Custom Product", "AdWords Grouping", "AdWords Labels")  # fmt: skip
    other = ("Published", "Image Position", "Image Alt Text", "Gift Card", "Cost per item",
             "Status")  # fmt: skip
    return [
        *(f"Variant {name}" for name in variant),
        *(f"Google Shopping / {name}" for name in google),
        *other,
    ]
