"""WooCommerce's product export: variations have a row each and name their parent."""

import re
from collections.abc import Iterator
from pathlib import Path

from scale.data.importers import csv
from scale.data.importers.formats import Probe
from scale.data.importers.rows import Options, Row, Rows, merge_rows, split_list

NAMES = (
    "ID", "Type", "SKU", "Name", "Images", "Parent", "Categories", "Description",
    "Short description", "Regular price", "Tags", "Brands",
    *(f"Attribute {k} {part}" for k in range(1, 21) for part in ("name", "value(s)")),
)  # fmt: skip
TECHNICAL = re.compile(
    r"(?i)Type"
    r"|Published|Is featured\?|Visibility in catalog|Date sale price.*|Tax .*|In stock\?|Stock"
    r"|Low stock amount|Backorders allowed\?|Sold individually\?|Allow customer reviews\?"
    r"|Purchase note|Sale price|Shipping class|Download .*|Parent|Grouped products|Upsells"
    r"|Cross-sells|External URL|Button text|Position|Meta: .*"
)


def matches(probe: Probe) -> bool:
    """Return whether the columns are those of WooCommerce."""
    return probe.kind == "csv" and probe.has("type", "sku", "name", "images")


def read(path: Path, options: Options) -> Rows:
    """Open the export. Variations are merged into their parent."""
    rows = csv.read(path, options, NAMES)
    found = list(rows.rows)
    ids = {row["SKU"]: row["ID"] for _, row in found if row.get("SKU") and row.get("ID")}

    def parent(row: Row) -> str:
        name = row.get("Parent", "")
        if row.get("Type") != "variation" or not name or options.variants == "separate":
            return row.get("ID") or row.get("SKU", "")
        return name.removeprefix("id:") if name.startswith("id:") else ids.get(name, name)

    # The parent comes first: its texts are those of the product.
    found.sort(key=lambda item: item[1].get("Type") == "variation")
    rows.rows = merge_rows(_with_attributes(found), parent)
    columns = list(dict.fromkeys(name for _, row in found for name in row))
    rows.columns = {
        "id": ["ID", "SKU"],
        "title": ["Name"],
        "category": ["Categories"],
        "image": ["Images"],
        "table": ["Brands", "Tags", "Regular price", "Weight (kg)", "Length (cm)", "Width (cm)",
                  "Height (cm)"],
        "kept": ["Description", "Short description", "SKU", "GTIN, UPC, EAN, or ISBN"],
        "ignored": [name for name in columns if TECHNICAL.fullmatch(name)],
    }  # fmt: skip
    rows.html = True
    return rows


def _with_attributes(rows: list[tuple[int, Row]]) -> Iterator[tuple[int, Row]]:
    """Replace `Attribute 1 name` and `Attribute 1 value(s)` by a column of that name."""
    for number, row in rows:
        plain = {k: v for k, v in row.items() if not re.match(r"(?i)Attribute \d+ ", k)}
        for k, name in row.items():
            if re.fullmatch(r"Attribute \d+ name", k) and name:
                values = split_list(row.get(k.replace("name", "value(s)")))
                if values:
                    plain[name] = values
        plain["Images"] = split_list(row.get("Images"))
        # The first of several categories; `Clothing > Shirts` is one.
        plain["Categories"] = next(iter(split_list(row.get("Categories"))), "")
        for key in ("Description", "Short description"):
            plain[key] = row.get(key, "").replace("\\n", " ")
        yield number, plain
