"""One product beside a map: its picture, title and table; its sound and clip can be played."""

from base64 import b64encode
from mimetypes import guess_type
from pathlib import Path

from scale.data.product import Product
from scale.explore.markup import modality_name, text
from scale.explore.subject import Subject, picture_uri
from scale.modalities import INDEX, MODALITIES
from scale.viz.words import Language, label

MOST_BYTES = 8 * 2**20
"""A larger sound or clip is not carried into the page."""
PAIRS = 12
"""Rows of the table that are shown."""
SIDE = 150
"""Of the picture, in pixels."""


def product_html(subject: Subject, row: int, lang: Language) -> str:
    """Everything that a product has, and what it lacks."""
    product = subject.product(row)
    title = text(product.text) if product.text else _note(label("absent_text", lang))
    parts = [
        f"<h4>{text(product.id)}</h4>",
        _picture(product),
        f'<div class="xe-title">{title}</div>',
        f'<div class="note">{text(product.category or label("xe_unknown", lang))}</div>',
        *(_player(product, m, lang) for m in ("video", "audio")),
        _table(product, lang),
        _modalities(subject, row, lang),
    ]
    return f'<div class="xe-product" data-product="{text(product.id)}">{"".join(parts)}</div>'


def media_uri(path: Path) -> str | None:
    """A sound or a clip inside the page; None where it is larger than `MOST_BYTES`.

    Raises OSError where it cannot be read.
    """
    if path.stat().st_size > MOST_BYTES:
        return None
    kind = guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{b64encode(path.read_bytes()).decode('ascii')}"


def _picture(product: Product) -> str:
    uri = picture_uri(product, SIDE)
    return (
        f'<img class="xe-picture" alt="{text(product.text or product.id)}" src="{uri}">'
        if uri
        else ""
    )


def _table(product: Product, lang: Language) -> str:
    if product.table is None:
        return _note(label("absent_table", lang))
    rows = [f"<tr><th>{text(a)}</th><td>{text(v)}</td></tr>" for a, v in product.table[:PAIRS]]
    rest = len(product.table) - PAIRS
    more = _note(label("more_pairs", lang, n=rest)) if rest > 0 else ""
    return f'<table class="xe-pairs">{"".join(rows)}</table>{more}'


def _player(product: Product, modality: str, lang: Language) -> str:
    path = getattr(product, modality)
    if path is None:
        return ""
    name = label(modality, lang)
    try:
        uri = media_uri(path)
    except OSError as error:
        return _note(label("xe_unreadable", lang, name=name, reason=error.strerror or error))
    if uri is None:
        return _note(label("xe_too_large", lang, name=name, most=MOST_BYTES // 2**20))
    return f'<{modality} controls aria-label="{name}" src="{uri}"></{modality}>'


def _modalities(subject: Subject, row: int, lang: Language) -> str:
    """What the model reads of the product."""
    has_M = subject.data.present_NM[row]
    names = [
        modality_name(m, lang) if has_M[INDEX[m]] else f'<s class="note">{label(m, lang)}</s>'
        for m in MODALITIES
    ]
    return f"<div>{' · '.join(names)}</div>"


def _note(message: str) -> str:
    return f'<div class="note">{text(message)}</div>'
