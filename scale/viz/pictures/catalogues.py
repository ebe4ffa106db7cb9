"""Pictures of notebooks 02 and 16: catalogues, long tails, gaps."""

from collections import Counter

import numpy as np
from matplotlib.figure import Figure

from scale.evaluation.embed import embed_dataset
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
from scale.viz.registry import Sources, figure
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


@figure("tail_curves")
def _tail_curves(sources: Sources, lang: Language) -> Figure:
    return tail_curves(beside_zipf(list(_sizes(sources).values()), lang), lang)


@figure("tail_metric")
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


@figure("independence")
def _independence(sources: Sources, lang: Language) -> Figure:
    present_NM, category_N = _presence(sources)
    _, sizes_K, counts_KM = presence_by_category(present_NM, category_N)
    chance_RM = chance_chi_square(present_NM, category_N, seed=sources.seed)
    return independence_picture(chi_square(counts_KM, sizes_K), chance_RM, lang)


@figure("data_sets")
def _data_sets(sources: Sources, lang: Language) -> Figure:
    return data_set_picture([*DATA_SETS, shop_facts(sources.catalogue)], lang)


@figure("expected_combinations")
def _expected_combinations(sources: Sources, lang: Language) -> Figure:
    return expected_combinations(sources.catalogue.present_NM(), lang)


@figure("presence_by_category")
def _presence_by_category(sources: Sources, lang: Language) -> Figure:
    return presence_maps(*_presence(sources), lang, sources.seed)
