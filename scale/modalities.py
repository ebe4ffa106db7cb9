"""The five modalities of a product, in the order used by all tensors, tables and figures."""

from dataclasses import dataclass
from itertools import combinations
from typing import Literal


@dataclass(frozen=True)
class Modality:
    """Kind and pretext task of a modality."""

    name: str
    kind: Literal["discrete", "continuous"]
    """discrete: a sequence of word-piece ids; continuous: a sequence of vectors. Text and table are
    continuous too if their features come from a frozen model (`ModelConfig.continuous`)."""
    task: str
    """Abbreviation of its pretext task (paper, section 4.2)."""
    task_title: str
    """Full name of the pretext task."""


SPECS: dict[str, Modality] = {
    spec.name: spec
    for spec in (
        Modality("text", "discrete", "MLM", "masked language modelling"),
        Modality("table", "discrete", "MEM", "masked entity modelling"),
        Modality("image", "continuous", "MRP", "masked region prediction"),
        Modality("video", "continuous", "MFP", "masked frame prediction"),
        Modality("audio", "continuous", "MAM", "masked audio modelling"),
    )
}

MODALITIES: tuple[str, ...] = tuple(SPECS)
DISCRETE: tuple[str, ...] = tuple(m for m in MODALITIES if SPECS[m].kind == "discrete")
CONTINUOUS: tuple[str, ...] = tuple(m for m in MODALITIES if SPECS[m].kind == "continuous")
TASKS: tuple[str, ...] = tuple(SPECS[m].task for m in MODALITIES)

INDEX: dict[str, int] = {m: i for i, m in enumerate(MODALITIES)}
"""Column of a modality in `present_BM`, row and column in `scores_BMM`."""

PAIRS: tuple[tuple[int, int], ...] = tuple(combinations(range(len(MODALITIES)), 2))
"""The ten pairs i < j, row by row of the upper triangle."""

SUBSETS: tuple[tuple[str, ...], ...] = tuple(
    subset for size in range(1, len(MODALITIES) + 1) for subset in combinations(MODALITIES, size)
)
"""All 31 non-empty subsets, in order of size."""


def subset_name(subset: tuple[str, ...]) -> str:
    """Return the name of a subset in standard order: `('image', 'text')` -> `'text+image'`."""
    return "+".join(m for m in MODALITIES if m in parse_subset("+".join(subset)))


def parse_subset(text: str) -> tuple[str, ...]:
    """Inverse of `subset_name`. Accepts any order, and `'all'` for all five modalities.

    Raises ValueError if a part is not a modality or is repeated.
    """
    if text == "all":
        return MODALITIES
    parts = text.split("+")
    for part in parts:
        if part not in INDEX:
            raise ValueError(
                f"unknown modality {part!r} in {text!r}; known: {', '.join(MODALITIES)}"
            )
    if len(set(parts)) != len(parts):
        raise ValueError(f"a modality is named twice in {text!r}")
    return tuple(m for m in MODALITIES if m in parts)
