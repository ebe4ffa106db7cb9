"""What stands around the maps of the embedding explorer, as HTML: legend, neighbours, finds.

P points of a map, N products.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scale.explore.clouds import Cloud, MapView, Neighbours, Spot
from scale.explore.colouring import Groups
from scale.explore.markup import modality_name, number, text
from scale.explore.subject import Subject
from scale.modalities import MODALITIES
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
"""Proper names; the same in both languages."""
SECOND_NAMES = {"": "xe_none", "untrained": "untrained"} | {m: m for m in MODALITIES}
FOUND = 30
"""Finds that are listed; all are selected on the map."""


@dataclass(frozen=True)
class Shown:
    """A map as it stands."""

    view: MapView
    cloud: Cloud
    xy_P2: NDArray[np.floating]
    groups: Groups
    colour: str
    """What the groups are: of `COLOUR_NAMES`."""

    def neighbours(self, spot: Spot) -> Neighbours | None:
        """Of the spot's point; None where the map has no such point."""
        point = self.cloud.find(spot)
        return None if point is None else self.cloud.neighbours(point, self.xy_P2)


def view_name(view: MapView, lang: Language) -> str:
    """What a map shows, in words."""
    return label(
        "xe_view",
        lang,
        model=label(MODEL_NAMES[view.model], lang),
        kind=label(KIND_NAMES[view.kind], lang),
        projection=PROJECTION_NAMES[view.projection],
    )


def title_html(shown: Shown, lang: Language) -> str:
    """Line above a map."""
    view, count = shown.view, len(shown.cloud.row_P)
    return (
        f'<h4 data-model="{view.model}" data-kind="{view.kind}" '
        f'data-projection="{view.projection}" data-points="{count}">{view_name(view, lang)} '
        f'<span class="note">{label("xe_points", lang, n=count)}</span></h4>'
    )


def legend_html(groups: Groups, lang: Language) -> str:
    """A chip per group that has points; each can be picked, under its number."""
    count_G = np.bincount(groups.code_P, minlength=len(groups.names))
    chips = [
        f'<span class="xe-chip" data-key="{k}"><i style="background:{groups.colours[k]}"></i>'
        f'{text(groups.names[k])} <span class="note">{count_G[k]}</span></span>'
        for k in range(len(groups.names))
        if count_G[k]
    ]
    note = f'<div class="note">{label("xe_legend", lang)}</div>'
    return f'{note}<div class="xe-chips" data-group>{"".join(chips)}</div>'


def neighbours_html(
    subject: Subject, shown: Shown, spot: Spot, near: Neighbours | None, lang: Language
) -> str:
    """A card per neighbour: its cosine, a tick where it is of the same category, and whether the
    map tears it away. Cards can be picked under the product's id.

    near: the spot's neighbours, as `shown` tells them.
    """
    name = text(view_name(shown.view, lang))
    if near is None:
        product = text(subject.data.ids[spot.row])
        told = label("xe_not_there", lang, product=product, view=name)
        return f'<div class="note">{told}</div>'
    cards = [_neighbour(subject, shown, spot, near, k, lang) for k in range(len(near.point_K))]
    count = label("xe_torn_count", lang, n=int(near.torn_K.sum()), k=len(cards))
    return (
        f'<div class="xe-neighbours" data-model="{shown.view.model}" data-kind="{shown.view.kind}">'
        f"<h4>{label('xe_nearest', lang, k=len(cards), view=name)}</h4>"
        f'<div class="note">{count}</div><div class="row" data-group>{"".join(cards)}</div></div>'
    )


def _neighbour(
    subject: Subject, shown: Shown, spot: Spot, near: Neighbours, k: int, lang: Language
) -> str:
    row, modality = shown.cloud.spot(int(near.point_K[k]))
    fact = f"<b>{number(float(near.cosine_K[k]), 3)}</b>"
    if modality:
        fact += f" {modality_name(modality, lang)}<br>"
    if near.torn_K[k]:
        fact += f' <span class="xe-torn">{label("xe_torn", lang)}</span>'
    own, category = (subject.product(each).category for each in (spot.row, row))
    hit = own is not None and category == own
    card = subject.card(row, fact, hit=hit, pick=True, lang=lang)
    torn = "true" if near.torn_K[k] else "false"
    return f'<div data-cosine="{near.cosine_K[k]:.6f}" data-torn="{torn}">{card}</div>'


def finds_html(
    subject: Subject, rows: Sequence[int], score: Sequence[float], lang: Language
) -> str:
    """What a search found, each to be picked under its id; scores are cosines, or none."""
    if not len(rows):
        return f'<div class="note" role="status">{label("xe_no_find", lang)}</div>'
    chips = []
    for place, row in enumerate(rows[:FOUND]):
        product = subject.product(row)
        fact = f"<b>{number(score[place])}</b> " if len(score) else ""
        title = text((product.text or "")[:48])
        chips.append(
            f'<span class="xe-chip" data-key="{text(product.id)}">{fact}{text(product.id)} '
            f'<span class="note">{title}</span></span>'
        )
    rest = len(rows) - FOUND
    more = f' <span class="note">{label("xe_more", lang, n=rest)}</span>' if rest > 0 else ""
    told = label("xe_found", lang, n=len(rows))
    return (
        f'<div class="note" role="status">{told}</div>'
        f'<div class="xe-chips" data-group data-found="{len(rows)}">{"".join(chips)}{more}</div>'
    )
