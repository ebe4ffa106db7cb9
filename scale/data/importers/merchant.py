"""Google Merchant feeds: tab-separated, or RSS and Atom with items in the `g:` namespace."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from scale.data.importers import csv
from scale.data.importers.formats import Probe
from scale.data.importers.rows import Options, Row, Rows, merge_rows, split_list
from scale.data.importers.xml import elements, local_name

NAMESPACE = "http://base.google.com/ns/1.0"


def matches(probe: Probe) -> bool:
    """Return whether the columns or the namespace are those of Google."""
    if probe.kind == "xml":
        return NAMESPACE in probe.head
    names = {name.replace(" ", "_") for name in probe.names}
    return probe.kind == "csv" and {"id", "title", "link", "image_link"} <= names


def read(path: Path, options: Options) -> Rows:
    """Open the feed. Items of one `item_group_id` are variants of one product."""
    with path.open("rb") as file:
        is_xml = file.read(64).lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<")
    rows = Rows(_items(path)) if is_xml else csv.read(path, options)
    merge = options.variants != "separate"
    rows.rows = merge_rows(
        _prepared(rows.rows, lower=not is_xml),
        lambda row: merge and (row.get("item_group_id") or row.get("id")),
    )
    if merge:
        rows.rows = _with_group_id(rows.rows)
    rows.columns = {
        "id": ["id"],
        "title": ["title"],
        "category": ["product_type", "google_product_category"],
        "image": ["image_link"],
        "kept": ["description", "link", "gtin", "mpn", "variants"],
        "ignored": ["mobile_link", "availability", "availability_date", "condition", "adult",
                    "identifier_exists", "shipping", "shipping_weight", "tax", "item_group_id",
                    "ads_redirect", "excluded_destination", "included_destination",
                    "custom_label_0", "custom_label_1", "custom_label_2", "custom_label_3",
                    "custom_label_4", "canonical_link", "sale_price_effective_date"],
    }  # fmt: skip
    rows.html = True
    return rows


def _prepared(rows: Iterable[tuple[int, Row]], lower: bool) -> Iterator[tuple[int, Row]]:
    """Name the columns as in XML (`image_link`), and join all pictures of an item."""
    for number, row in rows:
        if lower:
            row = {key.strip().lower().replace(" ", "_"): value for key, value in row.items()}
        more = row.pop("additional_image_link", None) or []
        more = split_list(more) if isinstance(more, str) else more
        row["image_link"] = [path for path in (row.get("image_link"), *more) if path]
        yield number, row


def _with_group_id(rows: Iterable[tuple[int, Row]]) -> Iterator[tuple[int, Row]]:
    """Name a product by its group; the ids of its items are kept under `variants`."""
    for number, row in rows:
        if isinstance(row.get("id"), list):
            row = row | {"id": row["item_group_id"], "variants": row["id"]}
        yield number, row


def _items(path: Path) -> Iterator[tuple[int, Row]]:
    for number, item in enumerate(elements(path, ("item", "entry")), start=1):
        row: Row = {}
        for child in item:
            name, value = local_name(child), _value(child)
            if isinstance(value, tuple):
                name, value = value
            # A repeated element is a list; `g:title` comes before RSS's own `title`.
            if name in row and name not in ("title", "description", "link"):
                before = row[name] if isinstance(row[name], list) else [row[name]]
                value = [*before, value]
            if value and (name not in row or isinstance(value, list) or NAMESPACE in child.tag):
                row[name] = value
        yield number, row


def _value(element: Any) -> Any:
    """Return the text of an element, or the name and value of a `product_detail`."""
    parts = {local_name(child): (child.text or "").strip() for child in element}
    if "attribute_name" in parts:
        return parts["attribute_name"], parts.get("attribute_value", "")
    if local_name(element) == "link" and element.get("href"):
        return element.get("href")
    return ", ".join(v for v in parts.values() if v) if parts else (element.text or "").strip()
