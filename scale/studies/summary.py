"""What a study's runs say: its cells over their seeds, its comparisons, and where it comes from.

S seeds.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scale.evaluation.bootstrap import NOTHING, Estimate
from scale.studies.statistics import Outcome, compare_all, over_seeds, runs_of
from scale.studies.store import Record
from scale.studies.study import Factor, Study


@dataclass(frozen=True)
class Row:
    """One cell over its seeds."""

    factors: dict[str, Factor]
    figures: dict[str, dict[str, Estimate]]
    """By test, then by metric of the study: mean with t interval over seeds."""
    done: int
    """Seeds with a finished run."""
    failed: int = 0
    """Seeds that could not be trained."""
    reason: str = ""
    """Why not; empty where none failed."""

    def estimate(self, test: str, metric: str) -> Estimate:
        """The cell's figure; NOTHING where it has none."""
        return self.figures.get(test, {}).get(metric, NOTHING)


@dataclass(frozen=True)
class Summary:
    """All that a study's runs say."""

    study: Study
    catalogue: str
    """Empty where nothing has run yet; so is `preset`."""
    preset: str
    rows: tuple[Row, ...]
    """One per cell, in the study's order."""
    outcomes: tuple[Outcome, ...]
    """One per comparison, in the study's order."""
    columns: tuple[tuple[str, str], ...]
    """Tests and metrics that a run has measured, in the study's order."""
    provenance: dict[str, Any]
    """seeds, device, threads, versions, commit (`(changed)` where the checkout differed from it):
    lists; seconds: total; products: number by test."""

    def unfinished(self) -> list[Row]:
        """Cells with fewer runs than the study asks for, but for those that cannot be trained."""
        return [r for r in self.rows if not r.failed and r.done < self.study.seeds]

    def shared_tests(self) -> list[str]:
        """Measured tests that all cells have; where there is none, those that the most have."""
        cells = Counter(test.name for cell in self.study.cells for test in cell.tests)
        measured = dict.fromkeys(test for test, _ in self.columns)
        # What no cell asks for, `training`, every cell measures.
        counts = {test: cells[test] or len(self.study.cells) for test in measured}
        return [test for test in measured if counts[test] == max(counts.values())]


def summarise(study: Study, records: Sequence[Record]) -> Summary:
    """The study's table, comparisons and provenance from its runs, finished or not.

    Records of other cells are left out. Raises ValueError for records of several catalogues or
    presets, and for two of the same cell and seed.
    """
    runs = runs_of(study, records)
    tests = dict.fromkeys(test.name for cell in study.cells for test in cell.tests)
    tests |= dict.fromkeys(comparison.test for comparison in study.comparisons)
    columns = tuple(
        (test, metric)
        for test in tests
        for metric in study.metrics
        if any(metric in record.figures.get(test, {}) for record in runs.values())
    )
    return Summary(
        study,
        next((record.catalogue for record in runs.values()), ""),
        next((record.preset for record in runs.values()), ""),
        tuple(_row(cell.factors, columns, list(runs.values())) for cell in study.cells),
        tuple(compare_all(study, runs)),
        columns,
        _provenance(list(runs.values())),
    )


def _row(factors: dict[str, Factor], columns: Sequence[Any], records: Sequence[Record]) -> Row:
    done = [r for r in records if r.factors == factors and r.status == "done"]
    failed = [r for r in records if r.factors == factors and r.status == "failed"]
    figures: dict[str, dict[str, Estimate]] = {}
    for test, metric in columns:
        value_S = np.array([r.figures.get(test, {}).get(metric, np.nan) for r in done], dtype=float)
        figures.setdefault(test, {})[metric] = over_seeds(value_S)
    return Row(factors, figures, len(done), len(failed), failed[0].reason if failed else "")


def _provenance(records: Sequence[Record]) -> dict[str, Any]:
    facts = [record.provenance for record in records]
    commits = [(fact.get("commit") or "unknown", bool(fact.get("dirty"))) for fact in facts]
    versions = {f"{k} {v}" for fact in facts for k, v in fact.get("versions", {}).items()}
    queries = [item for record in records for item in record.queries.items()]
    return {
        "seeds": sorted({record.seed for record in records}),
        "device": sorted({str(fact.get("device", "unknown")) for fact in facts}),
        "threads": sorted({str(fact.get("threads", "unknown")) for fact in facts}),
        "versions": sorted(versions),
        "commit": sorted({c[:12] + " (changed)" * dirty for c, dirty in commits}),
        "seconds": sum(fact.get("seconds") or 0.0 for fact in facts),
        "products": {test: len(v) for test, by_metric in queries for v in by_metric.values()},
    }
