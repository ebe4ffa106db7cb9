"""Retrieval under missing modalities and damage at test time; contribution of each modality.

S seeds, M modalities (five), K number of missing modalities, or of modalities present before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from scale.evaluation.bootstrap import Estimate
from scale.modalities import MODALITIES, SUBSETS, subset_name
from scale.strict import require
from scale.studies.noise import KINDS, Noise
from scale.studies.statistics import seed_interval
from scale.studies.study import Cell, Factor, Record, Study, Test, matches

RetentionCurve = dict[float, Estimate]
"""By number of missing modalities: the share that is kept, with a t interval over seeds."""


def retention_curves(
    study: Study, records: Sequence[Record], test: str = "complete", metric: str = "mAP@5"
) -> dict[str, RetentionCurve]:
    """kept_k = mean over the subsets of 5 - k modalities of metric(subset) / metric(all five).

    On products that have all modalities, of which the query keeps the subset; the gallery keeps
    all. For each of the cells that `study.retention` names, by their written factors.
    """
    return {
        ", ".join(str(value) for value in wanted.values()): _retention_curve(
            wanted, records, test, metric
        )
        for wanted in study.retention
        if _run_figures(wanted, records, test)
    }


def _run_figures(wanted: dict[str, Factor], records: Sequence[Record], test: str) -> list[dict]:
    return [
        record.figures[test]
        for record in records
        if matches(record.factors, wanted) and test in record.figures
    ]


def _retention_curve(
    wanted: dict[str, Factor], records: Sequence[Record], test: str, metric: str
) -> RetentionCurve:
    kept_SK = np.array(
        [retained_shares(figures, metric) for figures in _run_figures(wanted, records, test)]
    )
    return {float(k): seed_interval(kept_SK[:, k]) for k in range(kept_SK.shape[1])}


def retained_shares(figures: dict[str, float], metric: str = "mAP@5") -> list[float]:
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


Value = TypeVar("Value", float, NDArray[np.float64])
"""A figure of a subset: one number, or value_Q of the same queries for all subsets."""

EMPTY_SUBSET = ""
"""Key of the subset without any modality: the figure of chance."""


def marginal_contributions(value: Mapping[str, Value]) -> dict[str, list[Value]]:
    """By modality m, for each number k of others there before: what adding m changes.

        step_k(m) = mean over subsets S of k modalities without m of v(S + m) - v(S)

    Args:
        value: v by written subset (`text+image`), all 31, and by EMPTY.

    Raises:
        ValueError: a subset is not among them.
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
    """Shapley value of each modality: phi_m = mean over k of step_k(m).

    The same as the mean, over all M! orders, of what m adds when its turn comes; the phi sum to
    v(all) - v(nothing) (Shapley 1953). Linear in v: phi of each query, averaged over queries, is
    phi of the mean. Raises ValueError as `marginal_contributions`.
    """
    return {m: sum(steps) / len(steps) for m, steps in marginal_contributions(value).items()}


def subset_key(subset: tuple[str, ...]) -> str:
    """Key of a subset: `text+image` in the one order, EMPTY for none."""
    return subset_name(subset) if subset else EMPTY_SUBSET


@dataclass(frozen=True)
class DamageRetention:
    """One test on damaged products."""

    test: str
    kind: str
    """Key of KINDS; empty where the test has several kinds."""
    modality: str
    """Empty where the test damages several."""
    strength: float
    """In the kind's unit; for kinds without one, the share of the products that are hit."""
    retained_shares: dict[str, Estimate]
    """By model: figure on the test / figure of the same run on clean products, over seeds."""


def damage_retention(
    study: Study, records: Sequence[Record], metric: str | None = None
) -> list[DamageRetention]:
    """kept = mean over seeds of figure(damaged) / figure(clean) of the same run, with t interval.

    Of the models that were trained without noise and measure both, by modality and kind, then in
    the order of the study: mild to strong. A run whose clean figure is 0 is left out. Empty
    where fewer than two kinds of damage were measured: that is no comparison of kinds.
    """
    metric = metric or study.metrics[0]
    cells = [cell for cell in study.cells if not cell.noises and _clean(cell)]
    cells = [cell for cell in cells if any(test.noises for test in cell.tests)]
    names = _names(study, cells)
    tests = {test.name: test for cell in cells for test in cell.tests if test.noises}
    found = [
        _damage(
            test,
            {
                name: seed_interval(_ratios(cell, test.name, records, metric))
                for name, cell in zip(names, cells, strict=True)
                if any(t.name == test.name for t in cell.tests)
            },
        )
        for test in tests.values()
    ]
    found = [damage for damage in found if any(e.n for e in damage.kept.values())]
    order, kinds = (*MODALITIES, ""), list(dict.fromkeys(damage.kind for damage in found))
    found.sort(key=lambda damage: (order.index(damage.modality), kinds.index(damage.kind)))
    return found if len({(d.kind, d.modality) for d in found}) > 1 else []


def _clean(cell: Cell) -> str:
    """The test on all held-out products as they are; empty where a cell has none."""
    plain = [test.name for test in cell.tests if not test.noises and not test.complete]
    return plain[0] if plain else ""


def _names(study: Study, cells: Sequence[Cell]) -> list[str]:
    """Cells by the factors in which they differ."""
    differ = [n for n in study.factors if len({str(c.factors[n]) for c in cells}) > 1]
    shown = differ or study.factors[-1:]
    return [", ".join(str(cell.factors[name]) for name in shown) for cell in cells]


def _damage(test: Test, retained_shares: dict[str, Estimate]) -> DamageRetention:
    kinds = {noise.kind for noise in test.noises}
    modalities = {noise.modality for noise in test.noises}
    amounts = {_amount(noise) for noise in test.noises}
    return DamageRetention(
        test.name,
        kinds.pop() if len(kinds) == 1 == len(amounts) else "",
        modalities.pop() if len(modalities) == 1 else "",
        max(amounts),
        retained_shares,
    )


def _amount(noise: Noise) -> float:
    return noise.strength if KINDS[noise.kind].unit else noise.share


def _ratios(cell: Cell, test: str, records: Sequence[Record], metric: str) -> np.ndarray:
    """kept_S of a cell's runs; NaN where one side was not measured or the clean figure is 0."""
    pairs = [
        [record.figures.get(name, {}).get(metric, np.nan) for name in (test, _clean(cell))]
        for record in records
        if record.factors == cell.factors and record.status == "done"
    ]
    damaged_S, clean_S = np.array(pairs, dtype=float).reshape(-1, 2).T
    return np.divide(damaged_S, clean_S, out=np.full(len(clean_S), np.nan), where=clean_S > 0)
