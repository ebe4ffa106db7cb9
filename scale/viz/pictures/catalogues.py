"""Pictures of notebooks 02 and 16: catalogues, long tails, gaps."""

from collections import Counter

import numpy as np
from matplotlib.figure import Figure

from scale.data.summary import inspect_catalogue
from scale.evaluation.embed import embed_dataset
from scale.modalities import MODALITIES
from scale.viz.catalogue import inspect_figure, long_tail
from scale.viz.combinations import combination_picture
from scale.viz.illustrations.data import (
    DATA_SETS,
    beside_zipf,
    chance_chi_square,
    chi_square,
    data_set_picture,
    expected_combinations,
    independence_picture,
    presence_by_category,
    presence_maps,
    shop_facts,
    tail_curves,
    tail_metric,
)
from scale.viz.pictures.sources import Picture, Sources
from scale.viz.products import contact_sheet
from scale.viz.words import Language

SHOWN = 24
"""Products of the contact sheet."""


def _sizes(sources: Sources) -> Counter:
    return Counter(p.category for p in sources.catalogue if p.category is not None)


def _ordered(sources: Sources) -> list[str]:
    """Categories, largest first, then by name."""
    return [name for name, _ in sorted(_sizes(sources).items(), key=lambda i: (-i[1], i[0]))]


def _presence(sources: Sources) -> tuple[np.ndarray, list[str]]:
    """present_NM and category_N of the products that have a category."""
    rows = [i for i, p in enumerate(sources.catalogue) if p.category is not None]
    categories = [sources.catalogue[i].category or "" for i in rows]
    return sources.catalogue.present_NM()[rows], categories


def _tail_curves(sources: Sources, lang: Language) -> Figure:
    return tail_curves(beside_zipf(list(_sizes(sources).values()), lang), lang)


def _tail_metric(sources: Sources, lang: Language) -> Figure:
    """Each test product asks; the answer is the category of the nearest training product."""
    known, asked = (
        embed_dataset(sources.run.model, data, progress=False).product()
        for data in (sources.run.dataset(sources.catalogue, "train"), sources.test)
    )
    category = {p.id: p.category for p in sources.catalogue}
    nearest_Q = (asked.emb_ND @ known.emb_ND.T).argmax(axis=1)
    right: dict[str, list[bool]] = {}
    for query, place in zip(asked.ids, nearest_Q, strict=True):
        if category[query] is not None:
            found = category[query] == category[known.ids[place]]
            right.setdefault(category[query], []).append(found)
    names = [name for name in _ordered(sources) if name in right]
    counts = [[len(right[n]) for n in names], [sum(right[n]) for n in names]]
    return tail_metric(names, *counts, lang)


def _independence(sources: Sources, lang: Language) -> Figure:
    present_NM, category_N = _presence(sources)
    _, sizes_K, counts_KM = presence_by_category(present_NM, category_N)
    chance_RM = chance_chi_square(present_NM, category_N, seed=sources.seed)
    return independence_picture(chi_square(counts_KM, sizes_K), chance_RM, lang)


def _combinations(sources: Sources, lang: Language) -> Figure:
    found = Counter(
        tuple(m for m in MODALITIES if m in product.present) for product in sources.catalogue
    )
    return combination_picture(found, lang)


def _data_sets(sources: Sources, lang: Language) -> Figure:
    return data_set_picture([*DATA_SETS, shop_facts(sources.catalogue)], lang)


PICTURES: dict[str, Picture] = {
    "contact_sheet": lambda s, lang: contact_sheet(s.catalogue.products[:SHOWN], 8, lang),
    "data_sets": _data_sets,
    "long_tail": lambda s, lang: long_tail(_sizes(s), lang),
    "tail_curves": _tail_curves,
    "tail_metric": _tail_metric,
    "combinations": _combinations,
    "expected_combinations": lambda s, lang: expected_combinations(s.catalogue.present_NM(), lang),
    "presence_by_category": lambda s, lang: presence_maps(*_presence(s), lang, s.seed),
    "independence": _independence,
    "catalogue": lambda s, lang: inspect_figure(
        inspect_catalogue(s.catalogue, progress=False), lang
    ),
}
