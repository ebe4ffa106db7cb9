"""Retention: what is left of a model's retrieval as modalities go missing at test time.

S seeds, K modalities missing.
"""

from collections.abc import Sequence

import numpy as np

from scale.evaluation.bootstrap import Estimate
from scale.modalities import MODALITIES, SUBSETS, subset_name
from scale.studies.statistics import over_seeds
from scale.studies.store import Record
from scale.studies.study import Factor, Study, matches

Curve = dict[float, Estimate]
"""By number of missing modalities: the share that is kept, with a t interval over seeds."""


def retention_curves(
    study: Study, records: Sequence[Record], test: str = "complete", metric: str = "mAP@5"
) -> dict[str, Curve]:
    """kept_k = mean over the subsets of 5 - k modalities of metric(subset) / metric(all five).

    On products that have all modalities, of which the query keeps the subset; the gallery keeps
    all. For each of the cells that `study.retention` names, by their written factors.
    """
    return {
        ", ".join(str(value) for value in wanted.values()): _curve(wanted, records, test, metric)
        for wanted in study.retention
        if _runs(wanted, records, test)
    }


def _runs(wanted: dict[str, Factor], records: Sequence[Record], test: str) -> list[dict]:
    return [
        record.figures[test]
        for record in records
        if matches(record.factors, wanted) and test in record.figures
    ]


def _curve(wanted: dict[str, Factor], records: Sequence[Record], test: str, metric: str) -> Curve:
    kept_SK = np.array([kept(figures, metric) for figures in _runs(wanted, records, test)])
    return {float(k): over_seeds(kept_SK[:, k]) for k in range(kept_SK.shape[1])}


def kept(figures: dict[str, float], metric: str = "mAP@5") -> list[float]:
    """kept_K of one run, from its figures `mAP@5 text+image` and so on; NaN where not measured."""
    whole = figures.get(f"{metric} {subset_name(MODALITIES)}", np.nan)
    return [
        float(
            np.mean(
                [
                    figures.get(f"{metric} {subset_name(subset)}", np.nan)
                    for subset in SUBSETS
                    if len(subset) == len(MODALITIES) - missing
                ]
            )
            / whole
        )
        for missing in range(len(MODALITIES))
    ]
