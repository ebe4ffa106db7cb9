"""Products that were picked on a map: as a table on the page, and as a CSV file."""

import csv
from collections.abc import Sequence
from pathlib import Path

from scale.explore.markup import modality_name, text
from scale.explore.subject import Subject
from scale.files import replacing
from scale.modalities import INDEX, MODALITIES
from scale.viz.words import Language, label

COLUMNS = {
    "id": "xe_id",
    "title": "xe_title",
    "category": "xe_category",
    "modalities": "xe_modalities",
}
"""Names in the file, and labels on the page."""
SHOWN = 100
"""Rows of the table on the page; the file has all."""


def picked_html(subject: Subject, rows: Sequence[int], lang: Language) -> str:
    """The table; a row can be picked under its product's id."""
    if not rows:
        return f'<div class="note">{label("xe_nothing_picked", lang)}</div>'
    head = "".join(f"<th>{label(key, lang)}</th>" for key in COLUMNS.values())
    body = "".join(_row(subject, row, lang) for row in rows[:SHOWN])
    rest = len(rows) - SHOWN
    more = f'<div class="note">{label("xe_more", lang, n=rest)}</div>' if rest > 0 else ""
    return (
        f'<div class="note">{label("xe_picked", lang, n=len(rows))}</div>'
        f'<div class="xe-scroll"><table class="xe-picked" data-count="{len(rows)}">'
        f"<thead><tr>{head}</tr></thead><tbody data-group>{body}</tbody></table></div>{more}"
    )


def _row(subject: Subject, row: int, lang: Language) -> str:
    product = subject.product(row)
    names = " ".join(modality_name(m, lang) for m in modalities_of(subject, row))
    cells = (text(product.id), text(product.text or "–"), text(product.category or "–"), names)
    name = text(f"{product.id} {product.text or ''}")
    # A cell, not the row, is the button, so that the table stays a table for screen readers.
    first = f'<td><span data-key="{text(product.id)}" aria-label="{name}">{cells[0]}</span></td>'
    return f"<tr>{first}{''.join(f'<td>{cell}</td>' for cell in cells[1:])}</tr>"


def modalities_of(subject: Subject, row: int) -> list[str]:
    """What the model reads of a product."""
    return [m for m in MODALITIES if subject.data.present_NM[row, INDEX[m]]]


def write_csv(subject: Subject, rows: Sequence[int], path: Path, lang: Language = "en") -> None:
    """Write id, title, category and modalities (joined by +) of the products, whole or not at all.

    Raises ValueError, in the given language, where there are no products, the path does not end in
    .csv (so that no other file is overwritten by a slip), its folder is not there, or it cannot be
    written.
    """
    if not rows:
        raise ValueError(label("xe_empty", lang))
    if path.suffix.lower() != ".csv":
        raise ValueError(label("xe_ending", lang, path=path))
    if not path.parent.is_dir():
        raise ValueError(label("xe_no_folder", lang, path=path.parent))
    try:
        # The mark at the start tells spreadsheets that Chinese is UTF-8.
        with replacing(path) as partial, partial.open("w", encoding="utf-8-sig", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(COLUMNS)
            for row in rows:
                p = subject.product(row)
                has = "+".join(modalities_of(subject, row))
                writer.writerow([p.id, p.text or "", p.category or "", has])
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(label("xe_unwritable", lang, path=path, reason=reason)) from error
