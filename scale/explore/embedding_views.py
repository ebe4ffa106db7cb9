"""HTML, text and figures of the embedding explorer.

P points of a map.
"""

import csv
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from mimetypes import guess_type
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scale.config import require
from scale.data.product import Product
from scale.explore.markup import modality_name, note_html, number, text
from scale.explore.projections import Groups, MapView, Neighbours, Point, PointSet
from scale.explore.source import ExplorerSource, picture_uri
from scale.files import replacing
from scale.modalities import INDEX, MODALITIES
from scale.viz.embeddings import embedding_map, embedding_maps
from scale.viz.words import Language, label

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
"""Ids of the selection in the text summary."""
MAX_BYTES = 8 * 2**20
"""Larger sounds and videos are not embedded into the page."""
MAX_PAIRS = 12
"""Rows of a product's table in the inspector."""
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
        """Return the neighbours of a point; None where the map does not have the point."""
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
        f'<span class="xe-chip" data-key="{k}"><i style="background:{groups.colours[k]}"></i>'
        f'{text(groups.names[k])} <span class="note">{count_G[k]}</span></span>'
        for k in range(len(groups.names))
        if count_G[k]
    ]
    hint = note_html(label("xe_legend", lang))
    return f'{hint}<div class="xe-chips" data-group>{"".join(chips)}</div>'


def neighbours_html(
    source: ExplorerSource, state: MapState, point: Point, near: Neighbours | None, lang: Language
) -> str:
    """Return a clickable card per neighbour: its cosine, a tick for the same category, and a mark
    where it is far away on the map. The key is the product's id.

    near: `state.neighbours(point)`.
    """
    name = text(view_name(state.view, lang))
    if near is None:
        product = text(source.data.ids[point.row])
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
        fact += f" {modality_name(modality, lang)}<br>"
    if near.far_K[k]:
        fact += f' <span class="xe-far">{label("xe_far", lang)}</span>'
    hit = source.same_category(point.row, row)
    card = source.card(row, fact, hit=hit, pick=True, lang=lang)
    far = "true" if near.far_K[k] else "false"
    return f'<div data-cosine="{near.cosine_K[k]:.6f}" data-far="{far}">{card}</div>'


def results_html(
    source: ExplorerSource, rows: Sequence[int], score: Sequence[float], lang: Language
) -> str:
    """Return search results, clickable under the product's id; scores are cosines, or empty."""
    if not len(rows):
        return f'<div class="note" role="status">{label("xe_no_find", lang)}</div>'
    chips = []
    for place, row in enumerate(rows[:MAX_RESULTS]):
        product = source.product(row)
        fact = f"<b>{number(score[place])}</b> " if len(score) else ""
        title = text((product.text or "")[:48])
        chips.append(
            f'<span class="xe-chip" data-key="{text(product.id)}">{fact}{text(product.id)} '
            f'<span class="note">{title}</span></span>'
        )
    rest = len(rows) - MAX_RESULTS
    more = f' <span class="note">{label("xe_more", lang, n=rest)}</span>' if rest > 0 else ""
    found = label("xe_found", lang, n=len(rows))
    return (
        f'<div class="note" role="status">{found}</div>'
        f'<div class="xe-chips" data-group data-found="{len(rows)}">{"".join(chips)}{more}</div>'
    )


# The selection


def selection_html(source: ExplorerSource, rows: Sequence[int], lang: Language) -> str:
    """Return the selected products as a table; a row is clicked under its product's id."""
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
    cells = (text(product.id), text(product.text or "–"), text(product.category or "–"), names)
    name = text(f"{product.id} {product.text or ''}")
    # The cell, not the row, is the button: the table stays a table for screen readers.
    first = f'<td><span data-key="{text(product.id)}" aria-label="{name}">{cells[0]}</span></td>'
    return f"<tr>{first}{''.join(f'<td>{cell}</td>' for cell in cells[1:])}</tr>"


def write_csv(
    source: ExplorerSource, rows: Sequence[int], path: Path, lang: Language = "en"
) -> None:
    """Write id, title, category and modalities (joined by +) of the products, atomically.

    Raises ValueError, in the given language, where there are no products, the name does not end in
    .csv (a slip must not overwrite another file), or the file cannot be written.
    """
    require(bool(rows), label("xe_empty", lang))
    require(path.suffix.lower() == ".csv", label("xe_ending", lang, path=path))
    require(path.parent.is_dir(), label("xe_no_folder", lang, path=path.parent))
    try:
        # The byte order mark makes spreadsheets read Chinese as UTF-8.
        with replacing(path) as partial, partial.open("w", encoding="utf-8-sig", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(COLUMNS)
            for row in rows:
                p = source.product(row)
                modalities = "+".join(source.modalities(row))
                writer.writerow([p.id, p.text or "", p.category or "", modalities])
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(label("xe_unwritable", lang, path=path, reason=reason)) from error


# The inspector


def product_html(source: ExplorerSource, row: int, lang: Language) -> str:
    """Return a product: picture, title, category, playable video and sound, table, modalities."""
    product = source.product(row)
    title = text(product.text) if product.text else note_html(label("absent_text", lang))
    uri = picture_uri(product, PICTURE_SIDE)
    alt = text(product.text or product.id)
    parts = [
        f"<h4>{text(product.id)}</h4>",
        f'<img class="xe-picture" alt="{alt}" src="{uri}">' if uri else "",
        f'<div class="xe-title">{title}</div>',
        note_html(text(product.category or label("xe_unknown", lang))),
        *(_player(product, m, lang) for m in ("video", "audio")),
        _pairs(product, lang),
        _modalities(source, row, lang),
    ]
    return f'<div class="xe-product" data-product="{text(product.id)}">{"".join(parts)}</div>'


def media_uri(path: Path) -> str | None:
    """Return a sound or video file as a data URI; None where it is larger than `MAX_BYTES`.

    Raises OSError where it cannot be read.
    """
    if path.stat().st_size > MAX_BYTES:
        return None
    kind = guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{b64encode(path.read_bytes()).decode('ascii')}"


def _player(product: Product, modality: str, lang: Language) -> str:
    path = getattr(product, modality)
    if path is None:
        return ""
    name = label(modality, lang)
    try:
        uri = media_uri(path)
    except OSError as error:
        reason = error.strerror or error
        return note_html(text(label("xe_unreadable", lang, name=name, reason=reason)))
    if uri is None:
        return note_html(label("xe_too_large", lang, name=name, most=MAX_BYTES // 2**20))
    return f'<{modality} controls aria-label="{name}" src="{uri}"></{modality}>'


def _pairs(product: Product, lang: Language) -> str:
    if product.table is None:
        return note_html(label("absent_table", lang))
    shown, rest = product.table[:MAX_PAIRS], len(product.table) - MAX_PAIRS
    rows = [f"<tr><th>{text(a)}</th><td>{text(v)}</td></tr>" for a, v in shown]
    more = note_html(label("more_pairs", lang, n=rest)) if rest > 0 else ""
    return f'<table class="xe-pairs">{"".join(rows)}</table>{more}'


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
    listed = label("xe_comma", lang).join([*ids, *more])
    lines.append(label("xe_sum_picked", lang, n=len(rows), ids=listed or "–"))
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
    listed = label("xe_comma", lang).join(names)
    return [
        label("xe_sum_near", lang, product=product, view=view, near=listed),
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
