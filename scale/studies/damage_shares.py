"""What damage at test time leaves of a model's retrieval, kind by kind.

S seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scale.evaluation.bootstrap import Estimate
from scale.modalities import MODALITIES
from scale.studies.noise import KINDS, Noise
from scale.studies.statistics import over_seeds
from scale.studies.store import Record
from scale.studies.study import Cell, Study, Test


@dataclass(frozen=True)
class Damage:
    """One test on damaged products."""

    test: str
    kind: str
    """Key of KINDS; empty where the test has several kinds."""
    modality: str
    """Empty where the test damages several."""
    strength: float
    """In the kind's unit; for kinds without one, the share of the products that are hit."""
    kept: dict[str, Estimate]
    """By model: figure on the test / figure of the same run on clean products, over seeds."""


def damage_shares(
    study: Study, records: Sequence[Record], metric: str | None = None
) -> list[Damage]:
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
                name: over_seeds(_ratios(cell, test.name, records, metric))
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


def _damage(test: Test, kept: dict[str, Estimate]) -> Damage:
    kinds = {noise.kind for noise in test.noises}
    modalities = {noise.modality for noise in test.noises}
    amounts = {_amount(noise) for noise in test.noises}
    return Damage(
        test.name,
        kinds.pop() if len(kinds) == 1 == len(amounts) else "",
        modalities.pop() if len(modalities) == 1 else "",
        max(amounts),
        kept,
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
