"""The five modalities of a product, in the one order that every tensor, table and figure uses."""

from dataclasses import dataclass
from itertools import combinations
from typing import Literal


@dataclass(frozen=True)
class Modality:
    """What one modality is and how it is pretrained."""

    name: str
    kind: Literal["discrete", "continuous"]
    """discrete: a sequence of word-piece ids; continuous: a sequence of vectors."""
    task: str
    """Short name of its pretext task (paper, section 4.2)."""
    task_title: str
    """The pretext task, written out."""


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
"""All 31 non-empty subsets, small ones first."""


def subset_name(subset: tuple[str, ...]) -> str:
    """Written form of a subset, in the one order: `('image', 'text')` -> `'text+image'`."""
    return "+".join(m for m in MODALITIES if m in parse_subset("+".join(subset)))


def parse_subset(text: str) -> tuple[str, ...]:
    """Inverse of `subset_name`; any order is read, `'all'` means the five.

    Raises ValueError with the offending word when a part is not a modality or repeats.
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
