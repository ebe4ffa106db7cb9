"""Groups by which a map of products is coloured.

N products, P points of a map, G groups.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scale.config import require
from scale.explore.clouds import SEED, Atlas, Cloud
from scale.modalities import MODALITIES
from scale.viz.theme import MODALITY_COLOURS, category_colours
from scale.viz.words import Language, label

Ints = NDArray[np.int64]

COLOURINGS = ("category", "count", "missing", "cluster", "modality")
MOST = 40
"""More groups have no colours that can be told apart; the smaller ones are one group."""
GREY = "#8A93A0"
"""Of the products without a group, and of the smaller groups."""
CLUSTERS = 8
"""Where no categories say how many."""
MANY = 10_000
"""From so many products on, k-means takes one start in small batches."""


@dataclass(frozen=True)
class Groups:
    """A group for each point of a map."""

    code_P: Ints
    """Place in names and colours."""
    names: tuple[str, ...]
    colours: tuple[str, ...]

    @staticmethod
    def of(values: Sequence[str | None], unknown: str, rest: str) -> "Groups":
        """Largest groups first; None is `unknown`; what is beyond `MOST` groups is `rest`."""
        counts = Counter(value for value in values if value is not None)
        names = sorted(counts, key=lambda name: (-counts[name], name))
        colours = category_colours(min(len(names), MOST))
        place = {name: min(k, MOST) for k, name in enumerate(names)}
        names, colours = names[:MOST], colours[:MOST]
        for extra, needed in ((rest, len(place) > MOST), (unknown, None in values)):
            if needed:
                names, colours = [*names, extra], [*colours, GREY]
        code_P = [len(names) - 1 if value is None else place[value] for value in values]
        return Groups(np.array(code_P, dtype=np.int64), tuple(names), tuple(colours))

    def at(self, place_P: Ints) -> "Groups":
        """The same groups for other points: those at these places."""
        return Groups(self.code_P[place_P], self.names, self.colours)


class Painter:
    """Colours the maps of a subject; the groups of its products are computed once."""

    def __init__(self, atlas: Atlas, lang: Language) -> None:
        self._atlas, self._lang = atlas, lang
        self._kept: dict[str, Groups] = {}

    def groups(self, colouring: str, cloud: Cloud) -> Groups:
        """The groups of a cloud's points.

        Raises ValueError for an unknown colouring, and for modalities of whole products.
        """
        require(
            colouring in COLOURINGS,
            f"unknown colours {colouring!r}; known: {', '.join(COLOURINGS)}",
        )
        if colouring == "modality":
            require(bool((cloud.modality_P != "").all()), label("xe_no_modality", self._lang))
            names = tuple(label(m, self._lang) for m in MODALITIES)
            code_P = np.array([MODALITIES.index(m) for m in cloud.modality_P])
            return Groups(code_P, names, tuple(MODALITY_COLOURS.values()))
        if colouring not in self._kept:
            values = getattr(self, f"_{colouring}")()
            unknown, rest = (label(key, self._lang) for key in ("xe_unknown", "xe_rest"))
            self._kept[colouring] = Groups.of(values, unknown, rest)
        return self._kept[colouring].at(cloud.row_P)

    def _category(self) -> list[str | None]:
        return [product.category for product in self._atlas.subject.data.products]

    def _count(self) -> list[str]:
        count_N = self._atlas.subject.data.present_NM.sum(1)
        return [label("xe_count_is", self._lang, n=n) for n in count_N]

    def _missing(self) -> list[str]:
        return [missing_text(has_M, self._lang) for has_M in self._atlas.subject.data.present_NM]

    def _cluster(self) -> list[str | None]:
        """k-means of the products as a whole by the trained model, so that one product has one
        colour on every map."""
        cloud = Cloud.of(self._atlas.embeddings("best"), "product")
        categories = {c for c in self._category() if c is not None}
        k = min(len(categories) if len(categories) > 1 else CLUSTERS, len(cloud.row_P))
        values: list[str | None] = [None] * len(self._atlas.subject.data.ids)
        for row, number in zip(cloud.row_P, k_means(cloud.unit_PD, k), strict=True):
            values[row] = label("xe_cluster_is", self._lang, n=number + 1)
        return values


def missing_text(has_M: NDArray[np.bool_], lang: Language) -> str:
    """Which modalities a product lacks, in words."""
    lacks = [label(m, lang) for m, has in zip(MODALITIES, has_M, strict=True) if not has]
    if not lacks:
        return label("xe_complete", lang)
    return label("xe_without", lang, names=label("xe_comma", lang).join(lacks))


def k_means(emb_ND: NDArray[np.float32], k: int) -> Ints:
    """cluster_N by k-means; the best of ten starts, and of one where there are many points.

    Needs scikit-learn. Raises ValueError for k below 1 or above N.
    """
    require(1 <= k <= len(emb_ND), f"{k} clusters of {len(emb_ND)} points")
    from sklearn.cluster import KMeans, MiniBatchKMeans

    many = len(emb_ND) >= MANY
    method = MiniBatchKMeans if many else KMeans
    return method(k, n_init=1 if many else 10, random_state=SEED).fit_predict(emb_ND)
