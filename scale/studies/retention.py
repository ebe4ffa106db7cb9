"""Retrieval under missing modalities and damage at test time; contribution of each modality.

S seeds, M modalities (five), K number of missing modalities, or of modalities present before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from scale.config import require
from scale.evaluation.bootstrap import Estimate
from scale.modalities import MODALITIES, SUBSETS, subset_name
from scale.studies.noise import KINDS
from scale.studies.statistics import seed_interval
from scale.studies.study import Cell, Record, Study, Test, done_runs, matches

RetentionCurve = dict[float, Estimate]
"""By number of missing modalities: retained share, with a t interval over seeds."""


def retention_curves(
    study: Study, records: Sequence[Record], test: str = "complete", metric: str = "mAP@5"
) -> dict[str, RetentionCurve]:
    """Return kept_k = mean over subsets of 5 - k modalities of metric(subset) / metric(all five).

    Measured on complete products; the query keeps the subset, the gallery all modalities. One
    curve for each entry of `study.retention`, by the values of its factors.
    """
    curves = {}
    for wanted in study.retention:
        kept_SK = [
            retained_shares(record.figures[test], metric)
            for record in records
            if matches(record.factors, wanted) and test in record.figures
        ]
        if kept_SK:
            name = ", ".join(str(value) for value in wanted.values())
            kept_KS = np.array(kept_SK).T
            curves[name] = {float(k): seed_interval(kept_S) for k, kept_S in enumerate(kept_KS)}
    return curves


def retained_shares(figures: dict[str, float], metric: str = "mAP@5") -> list[float]:
    """Return kept_K of one run from its figures `mAP@5 text+image` etc.; NaN if not measured."""
    value = {s: figures.get(f"{metric} {subset_name(s)}", np.nan) for s in SUBSETS}
    return [
        float(np.mean([value[s] for s in SUBSETS if len(s) == size]) / value[MODALITIES])
        for size in range(len(MODALITIES), 0, -1)
    ]


Value = TypeVar("Value", float, NDArray[np.float64])
"""Value of a subset: a number, or value_Q over the same queries for all subsets."""

EMPTY_SUBSET = ""
"""Key of the empty subset, whose value is chance."""


def marginal_contributions(value: Mapping[str, Value]) -> dict[str, list[Value]]:
    """Return the mean change by adding modality m to k others, for each m and k.

        step_k(m) = mean over subsets S of k modalities without m of v(S + m) - v(S)

    Args:
        value: v by `subset_key`, for all 31 subsets and EMPTY_SUBSET.

    Raises:
        ValueError: a subset is missing.
    """
    subsets = ((), *SUBSETS)
    missing = [subset for subset in subsets if subset_key(subset) not in value]
    require(not missing, f"no figure of {len(missing)} of 32 subsets, e.g. {missing[:1]}")
    steps: dict[str, list[Value]] = {}
    for m in MODALITIES:
        sums = [0.0] * len(MODALITIES)
        for before in subsets:
            if m not in before:
                sums[len(before)] += value[subset_key((*before, m))] - value[subset_key(before)]
        ways = (comb(len(MODALITIES) - 1, k) for k in range(len(MODALITIES)))
        steps[m] = [total / count for total, count in zip(sums, ways, strict=True)]
    return steps


def shapley(value: Mapping[str, Value]) -> dict[str, Value]:
    """Return the Shapley value of each modality, phi_m = mean over k of step_k(m).

    Equal to the mean marginal contribution of m over all M! orders; the phi sum to
    v(all) - v(none) (Shapley 1953). Linear in v: the mean of phi over queries is phi of the mean.
    Raises ValueError as `marginal_contributions`.
    """
    return {m: sum(steps) / len(steps) for m, steps in marginal_contributions(value).items()}


def subset_key(subset: tuple[str, ...]) -> str:
    """Return a subset's key: `text+image` in canonical order, or EMPTY_SUBSET."""
    return subset_name(subset) if subset else EMPTY_SUBSET


@dataclass(frozen=True)
class DamageRetention:
    """Retained retrieval on one test with damaged products."""

    test: str
    kind: str
    """Key of KINDS; empty if the test has several kinds."""
    modality: str
    """Empty if the test damages several."""
    strength: float
    """In the kind's unit; for kinds without one, the share of the products that are hit."""
    kept: dict[str, Estimate]
    """By model: figure on the test / figure of the same run on clean products, over seeds."""


def damage_retention(study: Study, records: Sequence[Record]) -> list[DamageRetention]:
    """Return kept = mean over seeds of figure(damaged) / figure(clean), with t intervals.

    By the study's first metric, for models trained without noise. Ordered by modality and kind,
    then as in the study (mild to strong). Runs with a clean figure of 0 are ignored. Empty if fewer
    than two kinds of damage were measured.
    """
    cells = [cell for cell in study.cells if not cell.noises and _clean(cell)]
    cells = [cell for cell in cells if any(test.noises for test in cell.tests)]
    names = _names(study, cells)
    tests = {test.name: test for cell in cells for test in cell.tests if test.noises}
    found = [
        _damage(
            test,
            {
                name: seed_interval(_ratios(cell, test.name, records, study.metrics[0]))
                for name, cell in zip(names, cells, strict=True)
                if test in cell.tests
            },
        )
        for test in tests.values()
    ]
    found = [damage for damage in found if any(e.n for e in damage.kept.values())]
    order, kinds = (*MODALITIES, ""), list(dict.fromkeys(damage.kind for damage in found))
    found.sort(key=lambda damage: (order.index(damage.modality), kinds.index(damage.kind)))
    return found if len({(d.kind, d.modality) for d in found}) > 1 else []


def _clean(cell: Cell) -> str:
    """Return the name of the test on all unmodified held-out products, or an empty string."""
    plain = [test.name for test in cell.tests if not test.noises and not test.complete]
    return plain[0] if plain else ""


def _names(study: Study, cells: Sequence[Cell]) -> list[str]:
    """Return the cells' names: the values of the factors in which they differ."""
    differ = [n for n in study.factors if len({str(c.factors[n]) for c in cells}) > 1]
    shown = differ or study.factors[-1:]
    return [", ".join(str(cell.factors[name]) for name in shown) for cell in cells]


def _damage(test: Test, kept: dict[str, Estimate]) -> DamageRetention:
    kinds = {noise.kind for noise in test.noises}
    modalities = {noise.modality for noise in test.noises}
    amounts = {n.strength if KINDS[n.kind].unit else n.share for n in test.noises}
    return DamageRetention(
        test.name,
        kinds.pop() if len(kinds) == 1 == len(amounts) else "",
        modalities.pop() if len(modalities) == 1 else "",
        max(amounts),
        kept,
    )


def _ratios(cell: Cell, test: str, records: Sequence[Record], metric: str) -> np.ndarray:
    """Return kept_S of a cell's runs; NaN if not measured or if the clean figure is 0."""
    runs, clean = done_runs(records, cell.factors), _clean(cell)
    damaged_S = np.array([run.figure(test, metric) for run in runs])
    clean_S = np.array([run.figure(clean, metric) for run in runs])
    return np.divide(damaged_S, clean_S, out=np.full(len(clean_S), np.nan), where=clean_S > 0)
