"""The embedding explorer where no browser runs it: as lines of text and as a figure.

P points of a map.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from scale.explore.clouds import Spot
from scale.explore.embedding_views import COLOUR_NAMES, Shown, view_name
from scale.explore.subject import Subject
from scale.viz.embeddings import embedding_map, embedding_maps
from scale.viz.words import Language, label

NAMED = 6
"""Ids of the selection that are told."""


def summary_lines(
    subject: Subject,
    maps: Sequence[Shown],
    rows: Sequence[int],
    spot: Spot | None,
    lang: Language,
) -> list[str]:
    """What the maps show, what is selected, and the neighbours of the chosen product.

    Numbers that depend on the machine are written with a ~.
    """
    lines = []
    for key, shown in zip(("xe_sum", "xe_sum_second"), maps, strict=False):
        facts = {
            "view": view_name(shown.view, lang),
            "n": len(shown.cloud.row_P),
            "colour": label(COLOUR_NAMES[shown.colour], lang),
            "groups": len(np.unique(shown.groups.code_P)),
        }
        lines.append(label(key, lang, **facts))
    ids = [subject.data.ids[row] for row in rows[:NAMED]]
    more = [label("xe_more", lang, n=len(rows) - NAMED)] if len(rows) > NAMED else []
    listed = label("xe_comma", lang).join([*ids, *more])
    lines.append(label("xe_sum_picked", lang, n=len(rows), ids=listed or "–"))
    if spot is not None:
        for shown in maps:
            lines += _neighbour_lines(subject, shown, spot, lang)
    return lines


def _neighbour_lines(subject: Subject, shown: Shown, spot: Spot, lang: Language) -> list[str]:
    near = shown.neighbours(spot)
    product, view = subject.data.ids[spot.row], view_name(shown.view, lang)
    if near is None:
        return [label("xe_not_there", lang, product=product, view=view)]
    told = []
    for point, cosine in zip(near.point_K, near.cosine_K, strict=True):
        row, modality = shown.cloud.spot(int(point))
        name = f" {label(modality, lang)}" if modality else ""
        told.append(f"{subject.data.ids[row]}{name} ~{cosine:.2f}")
    listed = label("xe_comma", lang).join(told)
    torn = int(near.torn_K.sum())
    return [
        label("xe_sum_near", lang, product=product, view=view, near=listed),
        label("xe_sum_torn", lang, n=torn, k=len(near.torn_K)),
    ]


def maps_figure(maps: Sequence[Shown], lang: Language) -> Figure:
    """The maps, coloured as on the page."""
    drawn = {view_name(shown.view, lang): (shown.xy_P2, _names(shown)) for shown in maps}
    if len(maps) == 1:
        return embedding_map(*next(iter(drawn.values())), lang=lang)
    return embedding_maps(drawn, lang)


def _names(shown: Shown) -> list[str]:
    """Group of each point; modalities by their key, for they have colours of their own."""
    if shown.colour == "modality":
        return shown.cloud.modality_P.tolist()
    return [shown.groups.names[code] for code in shown.groups.code_P]
