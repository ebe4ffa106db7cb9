"""The pictures of `scale figures`, by name: the same functions that the notebooks draw with.

A file a topic, each with a table `PICTURES`.
"""

from collections.abc import Sequence
from typing import Literal

from scale.strict import require
from scale.viz.pictures import (
    catalogues,
    contrast,
    downstream,
    faults,
    guesses,
    helping,
    masking,
    noise,
    runs,
    space,
    streams,
    studies,
    training,
    weights,
)
from scale.viz.pictures.sources import Picture, Sources

TOPICS = (
    contrast.PICTURES,
    catalogues.PICTURES,
    streams.PICTURES,
    training.PICTURES,
    masking.PICTURES,
    guesses.PICTURES,
    weights.PICTURES,
    runs.PICTURES,
    downstream.PICTURES,
    studies.PICTURES,
    noise.PICTURES,
    helping.PICTURES,
    space.PICTURES,
    faults.PICTURES,
)
PICTURES: dict[str, Picture] = {name: draw for topic in TOPICS for name, draw in topic.items()}

CORE: tuple[str, ...] = (
    "contrastive_idea", "product", "data_sets", "combinations", "long_tail", "streams",
    "architecture", "architecture_base", "pretext_tasks", "score_path", "scores", "total_loss",
    "losses", "scores_over_time", "retrieval_sheet", "retrieval_sheet_text", "retrieval_by_subset",
    "retrieval_by_direction", *studies.PICTURES, "embedding_map", "umap_modality",
)  # fmt: skip
"""The pictures of a talk about the paper and a run, in its order; of the studies, those that are
finished."""

Group = Literal["core", "all"]


def select(names: Sequence[str], group: Group, sources: Sources) -> list[str]:
    """The pictures that are asked for: `names`, or without any those of a group.

    Of a group, the pictures of studies that are not finished on the catalogue are left out. Raises
    ValueError that lists the names where one is unknown.
    """
    unknown = [name for name in names if name not in PICTURES]
    told = f"no picture named {', '.join(unknown)}; known: {', '.join(PICTURES)}"
    require(not unknown, told)
    if names:
        return list(dict.fromkeys(names))
    return [
        name
        for name in (CORE if group == "core" else PICTURES)
        if name not in studies.PICTURES or studies.is_finished(name, sources)
    ]
