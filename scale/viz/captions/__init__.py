"""Title and caption of every picture of `scale figures`, in English and Chinese.

A file a topic, as in `scale/viz/labels`; a name belongs to one of them. A caption says what is
seen, how it is read, and the units and intervals of its numbers. How many they are of (n) stands in
the picture, because it differs from catalogue to catalogue.
"""

from dataclasses import dataclass

from scale.viz.captions import (
    contrast,
    data,
    downstream,
    faults,
    masking,
    missing,
    model,
    results,
    space,
    studies,
)
from scale.viz.labels import Language

Pair = tuple[str, str]
"""Title and text."""

TABLES: tuple[dict[str, tuple[Pair, Pair]], ...] = (
    contrast.CAPTIONS,
    data.CAPTIONS,
    model.CAPTIONS,
    masking.CAPTIONS,
    results.CAPTIONS,
    studies.CAPTIONS,
    space.CAPTIONS,
    missing.CAPTIONS,
    downstream.CAPTIONS,
    faults.CAPTIONS,
)
CAPTIONS = {name: pair for table in TABLES for name, pair in table.items()}


@dataclass(frozen=True)
class Caption:
    """What stands below a picture."""

    title: str
    """Without a full stop."""
    text: str
    """One to three sentences."""


def caption(name: str, lang: Language = "en") -> Caption:
    """The caption of a picture by its name.

    Raises KeyError for a name without a caption, ValueError for an unknown language.
    """
    if lang not in ("en", "zh"):
        raise ValueError(f"unknown language {lang!r}; known: en, zh")
    if name not in CAPTIONS:
        raise KeyError(f"no caption for {name!r} in scale/viz/captions")
    return Caption(*CAPTIONS[name][("en", "zh").index(lang)])
