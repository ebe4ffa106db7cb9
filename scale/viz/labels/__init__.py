"""Every word that a figure writes, in English and Chinese. Numbers are put in by `str.format`.

A file a topic; a key belongs to one of them.
"""

from typing import Any, Literal

from scale.viz.labels import (
    catalogues,
    contrast,
    core,
    downstream,
    explore,
    explore_masking,
    explore_monitor,
    explore_scores,
    explore_space,
    faults,
    figures,
    guesses,
    helping,
    masking,
    missing,
    space,
    streams,
    training,
    weights,
)

Language = Literal["en", "zh"]

TABLES = (
    core.LABELS,
    catalogues.LABELS,
    contrast.LABELS,
    weights.LABELS,
    training.LABELS,
    masking.LABELS,
    streams.LABELS,
    faults.LABELS,
    guesses.LABELS,
    missing.LABELS,
    space.LABELS,
    downstream.LABELS,
    helping.LABELS,
    figures.LABELS,
    explore.LABELS,
    explore_scores.LABELS,
    explore_masking.LABELS,
    explore_monitor.LABELS,
    explore_space.LABELS,
)
LABELS: dict[str, tuple[str, str]] = {key: pair for table in TABLES for key, pair in table.items()}


def label(key: str, lang: Language = "en", **values: Any) -> str:
    """The label of a key in a language, with `values` put in.

    Raises KeyError for a key that the table lacks, or for a missing value; ValueError for an
    unknown language.
    """
    if lang not in ("en", "zh"):
        raise ValueError(f"unknown language {lang!r}; known: en, zh")
    if key not in LABELS:
        raise KeyError(f"no label for {key!r} in scale/viz/labels")
    return LABELS[key][("en", "zh").index(lang)].format(**values)
