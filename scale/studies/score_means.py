"""What the scores of a study's models see of the damage: means of `diagnosis` over seeds.

S seeds, M modalities (five).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scale.evaluation.bootstrap import Estimate
from scale.modalities import MODALITIES
from scale.studies.noise import ABSENCE, Noise
from scale.studies.statistics import over_seeds
from scale.studies.store import Record
from scale.studies.study import Cell, Study

WEIGHTS = ("S'", "posterior")
"""Of which `diagnosis.diagnose` says how well they tell good pairs from damaged ones."""


@dataclass(frozen=True)
class OwnWeights:
    """The diagonal of S' in one regime."""

    mean: dict[str, Estimate]
    """By modality: mean S'_ii over products, over seeds."""
    good: dict[str, float]
    """By modality: expected share of the present content that no noise hits."""
    order: Estimate
    """Spearman, over the modalities, of the two; NOTHING where all are equally good."""


def own_weights(
    study: Study, records: Sequence[Record], weighting: str = "uniform"
) -> dict[str, OwnWeights]:
    """By regime: the diagonal of S' of the models that were trained with a weighting."""
    found = {}
    for cell in _cells(study):
        values = [_told(cell, records, f"own S' {modality}") for modality in MODALITIES]
        if cell.factors["weighting"] == weighting and any(e.n for e in values):
            found[str(cell.factors["regime"])] = OwnWeights(
                dict(zip(MODALITIES, values, strict=True)),
                {modality: untouched_share(cell.noises, modality) for modality in MODALITIES},
                _told(cell, records, "Spearman S' own"),
            )
    return found


def areas(
    study: Study, records: Sequence[Record], regime: str = "mismatch"
) -> dict[str, dict[str, Estimate]]:
    """By weighting in a regime, then by WEIGHTS: area under the curve that tells good pairs."""
    found = {
        str(cell.factors["weighting"]): {w: _told(cell, records, f"AUC {w}") for w in WEIGHTS}
        for cell in _cells(study)
        if cell.factors["regime"] == regime
    }
    return {name: by for name, by in found.items() if any(e.n for e in by.values())}


def untouched_share(noises: Sequence[Noise], modality: str) -> float:
    """Expected share of a modality's present content that no noise hits: product of 1 - share.

    What is taken away is not there to be good or bad.
    """
    shares = [n.share for n in noises if n.modality == modality and n.kind not in ABSENCE]
    return float(np.prod(1 - np.array(shares)))


def _cells(study: Study) -> list[Cell]:
    return [cell for cell in study.cells if {"regime", "weighting"} <= set(cell.factors)]


def _told(cell: Cell, records: Sequence[Record], key: str) -> Estimate:
    value_S = [
        record.figures.get("training", {}).get(key, np.nan)
        for record in records
        if record.factors == cell.factors and record.status == "done"
    ]
    return over_seeds(np.array(value_S, dtype=float))
