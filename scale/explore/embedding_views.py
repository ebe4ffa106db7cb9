"""HTML, text and figures of the embedding explorer.

P points of a map.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import StringIO
from mimetypes import guess_type
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scale.config import require
from scale.data.product import Product
from scale.explore.markup import (
    data_uri,
    listed,
    modality_name,
    note_html,
    number,
    status_html,
    table_html,
)
from scale.explore.projections import Groups, MapView, Neighbours, Point, PointSet
from scale.explore.source import ExplorerSource, picture_uri
from scale.files import escape_formula, replacing
from scale.modalities import INDEX, MODALITIES
from scale.viz.embeddings import embedding_map, embedding_maps
from scale.viz.words import LANG, Language, label

MODEL_NAMES = {"best": "trained", "untrained": "untrained"}
KIND_NAMES = {"product": "xe_kind_product", "each": "xe_kind_each"} | {m: m for m in MODALITIES}
COLOUR_NAMES = {
    "category": "xe_category",
    "count": "xe_count",
    "missing": "xe_missing",
    "cluster": "xe_cluster",
    "modality": "xe_modality",
}
PROJECTION_NAMES = {"umap": "UMAP", "pca": "PCA"}
"""Proper names, the same in both languages."""
SECOND_NAMES = {"": "xe_none", "untrained": "untrained"} | {m: m for m in MODALITIES}
COLUMNS = {
    "id": "xe_id",
    "title": "xe_title",
    "category": "xe_category",
    "modalities": "xe_modalities",
}
"""Columns of the selection: names in the CSV file, and label keys."""
MAX_RESULTS = 30
"""Search results listed on the page; all are selected on the map."""
MAX_ROWS = 100
"""Rows of the selection listed on the page; the file has all."""
MAX_IDS = 6
"""Ids of the selection in the summary."""
MAX_BYTES = 8 * 2**20
"""Larger sounds and videos are not embedded into the page."""
MAX_PAIRS = 12
"""Rows of the table of a product in the inspector."""
PICTURE_SIDE = 150
"""Size of the inspector's picture in pixels."""


@dataclass(frozen=True)
class MapState:
    """A map that is shown."""

    view: MapView
    points: PointSet
    xy_P2: NDArray[np.floating]
    groups: Groups
    colour_by: str
    """Property of the groups, a key of `COLOUR_NAMES`."""

    def neighbours(self, point: Point) -> Neighbours | None:
        """Return the neighbours of a point; None if it is not on the map."""
        index = self.points.index_of(point)
        return None if index is None else self.points.neighbours(index, self.xy_P2)


def view_name(view: MapView, lang: Language) -> str:
    """Return the choices of a map in words."""
    return label(
        "xe_view",
        lang,
        model=label(MODEL_NAMES[view.model], lang),
        kind=label(KIND_NAMES[view.kind], lang),
        projection=PROJECTION_NAMES[view.projection],
    )


def title_html(state: MapState, lang: Language) -> str:
    """Return the title of a map."""
    view, count = state.view, len(state.points.row_P)
    return (
        f'<h4 data-model="{view.model}" data-kind="{view.kind}" '
        f'data-projection="{view.projection}" data-points="{count}">{view_name(view, lang)} '
        f'<span class="note">{label("xe_points", lang, n=count)}</span></h4>'
    )


def legend_html(groups: Groups, lang: Language) -> str:
    """Return the legend: colour, name and size of each group, clickable; the key is its number.

    jupyter-scatter's own legend can neither be clicked nor scrolled, and has no counts.
    """
    count_G = np.bincount(groups.code_P, minlength=len(groups.names))
    chips = [
        _chip(str(k), f'<i style="background:{groups.colours[k]}"></i>{escape(name)}', count_G[k])
        for k, name in enumerate(groups.names)
        if count_G[k]
    ]
    hint = note_html(label("xe_legend", lang))
    return f'{hint}<div class="xe-chips" data-group>{"".join(chips)}</div>'


def _chip(key: str, html: str, note: object) -> str:
    """Return a clickable chip; `note` is added in small text."""
    return f'<span class="xe-chip" data-key="{key}">{html} <span class="note">{note}</span></span>'


def neighbours_html(
    source: ExplorerSource, state: MapState, point: Point, near: Neighbours | None, lang: Language
) -> str:
    """Return a clickable card per neighbour: its cosine, a tick if the category is the same, and a
    mark if it is far away on the map. The key is the product's id.

    near: `state.neighbours(point)`.
    """
    name = escape(view_name(state.view, lang))
    if near is None:
        product = escape(source.data.ids[point.row])
        return note_html(label("xe_not_there", lang, product=product, view=name))
    cards = [_neighbour(source, state, point, near, k, lang) for k in range(len(near.index_K))]
    count = label("xe_far_count", lang, n=int(near.far_K.sum()), k=len(cards))
    return (
        f'<div class="xe-neighbours" data-model="{state.view.model}" data-kind="{state.view.kind}">'
        f"<h4>{label('xe_nearest', lang, k=len(cards), view=name)}</h4>"
        f'{note_html(count)}<div class="row" data-group>{"".join(cards)}</div></div>'
    )


def _neighbour(
    source: ExplorerSource, state: MapState, point: Point, near: Neighbours, k: int, lang: Language
) -> str:
    row, modality = state.points.point(int(near.index_K[k]))
    fact = f"<b>{number(float(near.cosine_K[k]), 3)}</b>"
    if modality:
        fact += f" {modality_name(modality, lang)}"
    if near.far_K[k]:
        fact += f'<br><span class="xe-far">{label("xe_far", lang)}</span>'
    hit = source.same_category(point.row, row)
    card = source.card(row, fact, hit=hit, pick=True, lang=lang)
    far = "true" if near.far_K[k] else "false"
    return f'<div data-cosine="{near.cosine_K[k]:.6f}" data-far="{far}">{card}</div>'


def results_html(
    source: ExplorerSource, rows: Sequence[int], score: Sequence[float], lang: Language
) -> str:
    """Return search results; their keys are the products' ids. Scores are cosines, or empty."""
    if not len(rows):
        return status_html(label("xe_no_find", lang))
    chips = []
    for place, row in enumerate(rows[:MAX_RESULTS]):
        product = source.product(row)
        cosine = f"<b>{number(score[place])}</b> " if len(score) else ""
        name = escape(product.id)
        chips.append(_chip(name, f"{cosine}{name}", escape((product.text or "")[:48])))
    rest = len(rows) - MAX_RESULTS
    more = f' <span class="note">{label("xe_more", lang, n=rest)}</span>' if rest > 0 else ""
    return (
        status_html(label("xe_found", lang, n=len(rows)))
        + f'<div class="xe-chips" data-group data-found="{len(rows)}">{"".join(chips)}{more}</div>'
    )


# The selection


def selection_html(source: ExplorerSource, rows: Sequence[int], lang: Language) -> str:
    """Return the selected products as a table; the key of a row is the product's id."""
    if not rows:
        return note_html(label("xe_nothing_picked", lang))
    head = "".join(f"<th>{label(key, lang)}</th>" for key in COLUMNS.values())
    body = "".join(_selection_row(source, row, lang) for row in rows[:MAX_ROWS])
    rest = len(rows) - MAX_ROWS
    more = note_html(label("xe_more", lang, n=rest)) if rest > 0 else ""
    return (
        note_html(label("xe_picked", lang, n=len(rows)))
        + f'<div class="xe-scroll"><table class="xe-picked" data-count="{len(rows)}">'
        f"<thead><tr>{head}</tr></thead><tbody data-group>{body}</tbody></table></div>{more}"
    )


def _selection_row(source: ExplorerSource, row: int, lang: Language) -> str:
    product = source.product(row)
    names = " ".join(modality_name(m, lang) for m in source.modalities(row))
    cells = escape(product.text or "–"), escape(product.category or "–"), names
    key, name = escape(product.id), escape(f"{product.id} {product.text or ''}")
    # The cell, not the row, is the button: the table stays a table for screen readers.
    first = f'<td><span data-key="{key}" aria-label="{name}">{key}</span></td>'
    return f"<tr>{first}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def csv_bytes(source: ExplorerSource, rows: Sequence[int], lang: Language = LANG) -> bytes:
    """Return id, title, category and modalities (joined by +) of products as a CSV file.

    Raises ValueError, in the given language, without products.
    """
    require(bool(rows), label("xe_empty", lang))
    text = StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in rows:
        p = source.product(row)
        cells = p.id, p.text or "", p.category or "", "+".join(source.modalities(row))
        writer.writerow(map(escape_formula, cells))
    # The byte order mark makes spreadsheets read Chinese as UTF-8.
    return text.getvalue().encode("utf-8-sig")


def write_csv(
    source: ExplorerSource, rows: Sequence[int], path: Path, lang: Language = LANG
) -> None:
    """Write `csv_bytes` atomically.

    Raises ValueError, in the given language, without products, for a name that does not end in .csv
    (to protect other files from a slip), and if the file cannot be written.
    """
    content = csv_bytes(source, rows, lang)
    require(path.suffix.lower() == ".csv", label("xe_ending", lang, path=path))
    require(path.parent.is_dir(), label("xe_no_folder", lang, path=path.parent))
    try:
        with replacing(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(label("xe_unwritable", lang, path=path, reason=reason)) from error


# The inspector


def product_html(source: ExplorerSource, row: int, lang: Language) -> str:
    """Return a product: picture, title, category, playable video and sound, table, modalities."""
    product = source.product(row)
    title = escape(product.text) if product.text else note_html(label("absent_text", lang))
    uri = picture_uri(product, PICTURE_SIDE)
    alt = escape(product.text or product.id)
    parts = [
        f"<h4>{escape(product.id)}</h4>",
        f'<img class="xe-picture" alt="{alt}" src="{uri}">' if uri else "",
        f'<div class="xe-title">{title}</div>',
        note_html(escape(product.category or label("xe_unknown", lang))),
        *(_player(product, m, lang) for m in ("video", "audio")),
        table_html(product, MAX_PAIRS, lang),
        _modalities(source, row, lang),
    ]
    return f'<div class="xe-product" data-product="{escape(product.id)}">{"".join(parts)}</div>'


def media_uri(path: Path) -> str | None:
    """Return an audio or video file as a data URI; None if it is larger than `MAX_BYTES`.

    Raises OSError if it cannot be read.
    """
    if path.stat().st_size > MAX_BYTES:
        return None
    return data_uri(guess_type(path.name)[0] or "application/octet-stream", path.read_bytes())


def _player(product: Product, modality: str, lang: Language) -> str:
    path = getattr(product, modality)
    if path is None:
        return ""
    name = label(modality, lang)
    try:
        uri = media_uri(path)
    except OSError as error:
        reason = error.strerror or error
        return note_html(escape(label("xe_unreadable", lang, name=name, reason=reason)))
    if uri is None:
        return note_html(label("xe_too_large", lang, name=name, most=MAX_BYTES // 2**20))
    return f'<{modality} controls aria-label="{name}" src="{uri}"></{modality}>'


def _modalities(source: ExplorerSource, row: int, lang: Language) -> str:
    """Return all modalities; those that the model does not read of the product are struck out."""
    has_M = source.data.present_NM[row]
    names = [
        modality_name(m, lang) if has_M[INDEX[m]] else f'<s class="note">{label(m, lang)}</s>'
        for m in MODALITIES
    ]
    return f"<div>{' · '.join(names)}</div>"


# Text and figure, for pages without a kernel


def summary_lines(
    source: ExplorerSource,
    states: Sequence[MapState],
    rows: Sequence[int],
    point: Point | None,
    lang: Language,
) -> list[str]:
    """Return the maps, the selection and the neighbours of the chosen product as lines of text.

    Numbers that depend on the machine carry a ~.
    """
    lines = []
    for key, state in zip(("xe_sum", "xe_sum_second"), states, strict=False):
        facts = {
            "view": view_name(state.view, lang),
            "n": len(state.points.row_P),
            "colour": label(COLOUR_NAMES[state.colour_by], lang),
            "groups": len(np.unique(state.groups.code_P)),
        }
        lines.append(label(key, lang, **facts))
    ids = [source.data.ids[row] for row in rows[:MAX_IDS]]
    more = [label("xe_more", lang, n=len(rows) - MAX_IDS)] if len(rows) > MAX_IDS else []
    names = listed([*ids, *more], lang) or "–"
    lines.append(label("xe_sum_picked", lang, n=len(rows), ids=names))
    if point is not None:
        for state in states:
            lines += _neighbour_lines(source, state, point, lang)
    return lines


def _neighbour_lines(
    source: ExplorerSource, state: MapState, point: Point, lang: Language
) -> list[str]:
    near = state.neighbours(point)
    product, view = source.data.ids[point.row], view_name(state.view, lang)
    if near is None:
        return [label("xe_not_there", lang, product=product, view=view)]
    names = []
    for index, cosine in zip(near.index_K, near.cosine_K, strict=True):
        row, modality = state.points.point(int(index))
        name = f" {label(modality, lang)}" if modality else ""
        names.append(f"{source.data.ids[row]}{name} ~{cosine:.2f}")
    return [
        label("xe_sum_near", lang, product=product, view=view, near=listed(names, lang)),
        label("xe_sum_far", lang, n=int(near.far_K.sum()), k=len(near.far_K)),
    ]


def maps_figure(states: Sequence[MapState], lang: Language) -> Figure:
    """Return the maps as a figure, with the colours of the page."""
    drawn = {view_name(state.view, lang): (state.xy_P2, _names(state)) for state in states}
    if len(states) == 1:
        return embedding_map(*next(iter(drawn.values())), lang=lang)
    return embedding_maps(drawn, lang)


def _names(state: MapState) -> list[str]:
    """Return the group of each point; modalities by their key, because they have fixed colours."""
    if state.colour_by == "modality":
        return state.points.modality_P.tolist()
    return [state.groups.names[code] for code in state.groups.code_P]
