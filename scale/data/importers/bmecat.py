"""BMEcat, the XML catalogue of German-speaking industry, versions 1.2 and 2005."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scale.data.importers.columns import MEDIA_FILE
from scale.data.importers.formats import Probe
from scale.data.importers.rows import Options, Row, Rows
from scale.data.importers.xml import children, elements, text_of
from scale.modalities import CONTINUOUS

ISO_639 = {"de": "deu", "en": "eng", "fr": "fra", "it": "ita", "es": "spa", "nl": "nld",
           "pl": "pol", "cs": "ces", "zh": "zho"}  # fmt: skip
PRODUCTS = ("PRODUCT", "ARTICLE")


def matches(probe: Probe) -> bool:
    """Return whether the root element is BMECAT."""
    return probe.kind == "xml" and re.search(r"<(\w+:)?BMECAT\b", probe.head) is not None


def read(path: Path, options: Options) -> Rows:
    """Open the catalogue. Products get the name of their catalogue group as category."""
    language = ISO_639.get((options.language or "").lower(), (options.language or "").lower())
    groups, members = _groups(path, language)
    return Rows(
        _products(path, language, groups, members),
        columns={
            "id": ["SUPPLIER_PID"],
            "title": ["DESCRIPTION_SHORT"],
            "category": ["GROUP", "CLASS"],
            **{modality: [f"MIME {modality}"] for modality in CONTINUOUS},
            "kept": ["DESCRIPTION_LONG", "EAN", "FILES"],
        },
        html=True,
    )


def _groups(path: Path, language: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the names of the catalogue groups, and the group of each product."""
    names, members = {}, {}
    wanted = ("CATALOG_STRUCTURE", "PRODUCT_TO_CATALOGGROUP_MAP", "ARTICLE_TO_CATALOGGROUP_MAP")
    for element in elements(path, wanted):
        if element.tag.endswith("STRUCTURE"):
            names[text_of(element, "GROUP_ID")] = _text(element, "GROUP_NAME", language)
        else:
            product = text_of(element, "PROD_ID", "ART_ID")
            members.setdefault(product, text_of(element, "CATALOG_GROUP_ID"))
    return names, members


def _text(element: Any, name: str, language: str) -> str:
    """Return the text in the language if there is one, else the first."""
    found = [child for child in children(element, name) if (child.text or "").strip()]
    preferred = [child for child in found if language and child.get("lang", "")[:3] == language]
    return (preferred or found)[0].text.strip() if found else ""


def _products(
    path: Path, language: str, groups: dict[str, str], members: dict[str, str]
) -> Iterator[tuple[int, Row]]:
    for number, product in enumerate(elements(path, PRODUCTS), start=1):
        name = text_of(product, "SUPPLIER_PID", "SUPPLIER_AID")
        row: Row = {
            "SUPPLIER_PID": name,
            "DESCRIPTION_SHORT": _text(product, "DESCRIPTION_SHORT", language),
            "DESCRIPTION_LONG": _text(product, "DESCRIPTION_LONG", language),
            "EAN": text_of(product, "EAN", "INTERNATIONAL_PID"),
            "GROUP": groups.get(members.get(name, ""), ""),
            "CLASS": text_of(product, "REFERENCE_FEATURE_GROUP_ID"),
            "MANUFACTURER_NAME": text_of(product, "MANUFACTURER_NAME"),
        }
        for feature in children(product, "FEATURE"):
            values = [v.text.strip() for v in children(feature, "FVALUE") if (v.text or "").strip()]
            unit = text_of(feature, "FUNIT")
            if values:
                label = _text(feature, "FNAME", language) or "FEATURE"
                row[label] = " ".join(filter(None, (", ".join(values), unit)))
        files = [text_of(mime, "MIME_SOURCE") for mime in _ordered(children(product, "MIME"))]
        for modality in CONTINUOUS:
            row[f"MIME {modality}"] = [f for f in files if MEDIA_FILE[modality].fullmatch(f)]
        row["FILES"] = [f for f in files if not any(m.fullmatch(f) for m in MEDIA_FILE.values())]
        yield number, row


def _ordered(mimes: list[Any]) -> list[Any]:
    """Return the files in their given order, thumbnails and logos last."""

    def rank(mime: Any) -> tuple[bool, int]:
        order = text_of(mime, "MIME_ORDER")
        minor = text_of(mime, "MIME_PURPOSE").lower() in ("thumbnail", "logo", "icon")
        return minor, int(order) if order.isdigit() else 10**6

    return sorted(mimes, key=rank)
