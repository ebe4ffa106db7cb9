"""Statistics of a study's runs: intervals over seeds, products and categories, tests, verdicts.

Two sources of variation are kept apart: training (seeds) and the choice of held-out products, which
are resampled one by one and by category. A verdict needs all three intervals and Holm's correction
over the comparisons of the study.

S seeds, C contexts (values of the factors that neither side of a comparison names), K cells of one
side in one context, N held-out products.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from scale.config import require
from scale.evaluation.bootstrap import (
    LEVEL,
    NOTHING,
    Estimate,
    category_codes,
    category_estimates,
    estimate,
)
from scale.studies.study import Comparison, Factor, Record, Study, done_runs, matches

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
CellKey = tuple[Factor, ...]
Runs = dict[tuple[CellKey, int], Record]
"""By cell (its factors in the order of the study's columns) and seed."""
CellPair = tuple[list[CellKey], list[CellKey]]
"""Cells of the better and of the worse side whose other factors agree."""
Verdict = Literal["supported", "contradicted", "not decided", "impossible"]
ALPHA = 0.05
"""Largest adjusted p of a decided comparison."""
VERDICTS: dict[int, Verdict] = {1: "supported", 0: "not decided", -1: "contradicted"}


@dataclass(frozen=True)
class Outcome:
    """Result of one comparison. Differences are better minus worse."""

    comparison: Comparison
    verdict: Verdict
    note: str
    """Restriction of the verdict, or the reason for having none; may be empty."""
    seeds: Estimate = NOTHING
    """Mean of d_s with a t interval over the seeds that both sides have."""
    products: Estimate | None = None
    """Mean over products with a bootstrap interval; None if the metric has no values by product. It
    can differ slightly from `seeds` if products have different numbers of queries."""
    categories: Estimate | None = None
    """The same with a bootstrap interval over categories (n: their number); None if the runs have
    no categories."""
    by_seed: dict[int, float] | None = None
    """d_s of each seed."""
    pairs: int = 0
    """Number of contexts compared, C."""
    p: float | None = None
    """Two-sided paired t test over seeds; None with fewer than two."""
    p_holm: float | None = None
    """`holm` over all comparisons of the study."""


def seed_interval(value_S: Floats) -> Estimate:
    """Return mean +- t_{0.975, S-1} sd / sqrt(S) over non-NaN values; no interval for S = 1."""
    known_S = value_S[~np.isnan(value_S)]
    n = len(known_S)
    if n == 0:
        return NOTHING
    mean = float(known_S.mean())
    if n == 1:
        return Estimate(mean, None, None, 1)
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * stats.sem(known_S))
    # Without rounding, equal values would get an interval of about 1e-17.
    return Estimate(round(mean, 12), round(mean - half, 12), round(mean + half, 12), n)


def paired_t_test(difference_S: Floats) -> float | None:
    """Return p of the two-sided paired t test on the differences; None for S < 2.

    Equal differences of all seeds give 0, or 1 if they are 0.
    """
    if len(difference_S) < 2:
        return None
    # Below this the spread is rounding error, and t would be arbitrary.
    if stats.sem(difference_S) <= 1e-12:
        return 1.0 if abs(difference_S.mean()) <= 1e-12 else 0.0
    return float(stats.ttest_1samp(difference_S, 0.0).pvalue)


def spearman(x_N: ArrayLike, y_N: ArrayLike) -> float:
    """Return Spearman's rank correlation over the positions where both values are finite.

    NaN for fewer than three such positions, or where all values of one side are equal.
    """
    x_N, y_N = np.asarray(x_N), np.asarray(y_N)
    both_N = np.isfinite(x_N) & np.isfinite(y_N)
    x_N, y_N = x_N[both_N], y_N[both_N]
    if len(x_N) < 3 or np.ptp(x_N) == 0 or np.ptp(y_N) == 0:
        return float("nan")
    return float(stats.spearmanr(x_N, y_N).statistic)


def auc(value_N: ArrayLike, true_N: ArrayLike) -> float:
    """Return area under the ROC curve, P(true > false) + P(equal) / 2; NaN with one class only."""
    from sklearn.metrics import roc_auc_score

    true_N = np.asarray(true_N, bool)
    if true_N.all() or not true_N.any():
        return float("nan")
    return float(roc_auc_score(true_N, np.asarray(value_N)))


def nanmean(value_AN: Floats) -> Floats:
    """Return the mean of the non-NaN values over the first axis; NaN, silently, without any."""
    total_N, count_N = np.nansum(value_AN, axis=0), (~np.isnan(value_AN)).sum(0)
    return np.divide(total_N, count_N, out=np.full(count_N.shape, np.nan), where=count_N > 0)


def known_mean(values: ArrayLike) -> float:
    """Return the mean of the non-NaN values; NaN without any."""
    known_N = np.asarray(values, float)
    known_N = known_N[~np.isnan(known_N)]
    return float(known_N.mean()) if len(known_N) else float("nan")


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Return Holm's adjusted p values, max over j <= i of min(1, (m - j + 1) p_(j)).

    Rejecting at adjusted p <= a controls the family-wise error rate under any dependence: the
    probability of one or more false differences is at most a. It covers the variation of training
    (seeds) on this catalogue's held-out products, not the choice of products. None (no test was
    possible) stays None and does not count towards m.
    """
    # statsmodels' multipletests would run a full garbage collection on every call.
    known = np.array([p for p in values if p is not None], dtype=float)
    order = known.argsort()
    steps = np.maximum.accumulate(known[order] * np.arange(len(known), 0, -1)).clip(max=1.0)
    adjusted = iter(steps[order.argsort()].tolist())
    return [None if p is None else next(adjusted) for p in values]


def decide(
    seeds: Estimate,
    products: Estimate | None,
    categories: Estimate | None = None,
    p_holm: float | None = None,
) -> tuple[Verdict, str]:
    """Return the verdict on better minus worse, and a note on what restricts or prevents it.

    `supported`: the intervals over seeds, over products and over categories lie above 0 and
    p_holm <= ALPHA. `contradicted`: all intervals lie below 0, and the same p. Else `not decided`.
    An interval that ends at 0 contains 0. Evidence that is None (no values by product, no
    categories, no correction) is not required, and the note names missing intervals.
    """
    known = {"seeds": seeds, "products": products, "categories": categories}
    intervals = {name: e for name, e in known.items() if e is not None}
    if seeds.low is None:
        return "not decided", "fewer than two seeds have all cells of both sides"
    if few := [name for name, e in intervals.items() if e.low is None]:
        return "not decided", f"too few {few[0]} for an interval"
    sides = {name: _side(e) for name, e in intervals.items()}
    if not any(sides.values()):
        return "not decided", ""
    if {1, -1} <= set(sides.values()):
        above, below = (_listed(n for n, side in sides.items() if side == s) for s in (1, -1))
        return "not decided", f"above 0 over {above}, below 0 over {below}"
    missing = [f"interval over {name} contains 0" for name, side in sides.items() if not side]
    if p_holm is not None and p_holm > ALPHA:
        missing.append(f"p = {p_holm:.2g} after Holm's correction")
    if missing:
        return "not decided", "; ".join(missing)
    note = ""
    if products is None:
        note = "over seeds only: no values by product"
    elif categories is None:
        note = "over seeds and products only: no categories"
    return VERDICTS[sides["seeds"]], note


def _listed(names: Iterable[str]) -> str:
    return " and ".join(names)


def index_runs(study: Study, records: Iterable[Record]) -> Runs:
    """Index the records of the study's cells by factors and seed; other cells are ignored.

    Raises ValueError for records of several catalogues, presets or splits, and for two records of
    the same cell and seed.
    """
    places = {cell_key(study, cell.factors) for cell in study.cells}
    runs: Runs = {}
    for record in records:
        if set(record.factors) != set(study.factors):
            continue
        key = (cell_key(study, record.factors), record.seed)
        require(
            key not in runs,
            f"two runs of {describe_factors(record.factors)} with seed {record.seed}",
        )
        if key[0] in places:
            runs[key] = record
    for name in ("catalogue", "preset", "held_out"):
        found = sorted({getattr(record, name) for record in runs.values()})
        require(len(found) < 2, f"study {study.name}: runs of more than one {name}: {found}")
    return runs


def cell_key(study: Study, factors: dict[str, Factor]) -> CellKey:
    """Return a cell's factors in the order of the study's columns."""
    return tuple(factors[name] for name in study.factors)


def compare(study: Study, comparison: Comparison, runs: Runs) -> Outcome:
    """Compare two sides: d_s = mean over contexts of (mean of better cells - mean of worse cells).

    A seed counts if every cell has a finite figure, so that all seeds average the same cells. Over
    products, value_N is averaged over contexts and seeds with both sides, then a paired bootstrap
    resamples products, and another one categories. The verdict is that of a single comparison;
    `compare_all` corrects it for their number.

    A failed cell or sides without a common context make the comparison `impossible`.
    """
    contexts = matching_cells(study, comparison)
    if not contexts:
        return Outcome(comparison, "impossible", "no cells of the two sides agree in the rest")
    needed = {cell for sides in contexts for cells in sides for cell in cells}
    for (cell, _), record in sorted(runs.items(), key=lambda item: item[0][1]):
        if cell in needed and record.status == "failed":
            reason = f"{describe_factors(record.factors)}: {record.reason}"
            return Outcome(comparison, "impossible", reason)
    sides = [
        (cell, metric)
        for context in contexts
        for cells, metric in zip(context, comparison.metrics, strict=True)
        for cell in cells
    ]
    known = {
        (cell, seed, metric)
        for (cell, seed), record in runs.items()
        for metric in set(comparison.metrics)
        if isfinite(record.figure(comparison.test, metric))
    }
    every = sorted({s for _, s in runs})
    seeds = [s for s in every if all((cell, s, metric) in known for cell, metric in sides)]
    by_seed = {s: _difference(runs, contexts, s, comparison) for s in seeds}
    difference_S = np.array(list(by_seed.values()))
    over = seed_interval(difference_S)
    products, categories = _over_products(runs, contexts, seeds, comparison)
    verdict, note = decide(over, products, categories)
    p = paired_t_test(difference_S)
    return Outcome(comparison, verdict, note, over, products, categories, by_seed, len(contexts), p)


def compare_all(study: Study, runs: Runs) -> list[Outcome]:
    """Run every comparison of the study, with Holm's p across them, which the verdicts need."""
    outcomes = [compare(study, comparison, runs) for comparison in study.comparisons]
    adjusted = holm([outcome.p for outcome in outcomes])
    return [_corrected(o, p) for o, p in zip(outcomes, adjusted, strict=True)]


def _corrected(o: Outcome, p_holm: float | None) -> Outcome:
    """Return an outcome with Holm's p and the verdict that takes it into account."""
    if o.verdict == "impossible":
        return o
    verdict, note = decide(o.seeds, o.products, o.categories, p_holm)
    return replace(o, verdict=verdict, note=note, p_holm=p_holm)


def matching_cells(study: Study, comparison: Comparison) -> list[CellPair]:
    """Return pairs of cells that agree in the factors named by neither side."""
    free = [n for n in study.factors if n not in comparison.better and n not in comparison.worse]
    found: dict[CellKey, CellPair] = {}
    for cell in study.cells:
        context = found.setdefault(tuple(cell.factors[n] for n in free), ([], []))
        for cells, side in zip(context, (comparison.better, comparison.worse), strict=True):
            if matches(cell.factors, side):
                cells.append(cell_key(study, cell.factors))
    return [(better, worse) for better, worse in found.values() if better and worse]


def describe_factors(factors: dict[str, Factor]) -> str:
    """Write `policy = zero, rate = 0.3`."""
    return ", ".join(f"{name} = {value}" for name, value in factors.items())


def _side(interval: Estimate) -> int:
    """Return 1 if the interval lies above 0, -1 if below, else 0."""
    if interval.low is None or interval.high is None:
        return 0
    return int(interval.low > 0) - int(interval.high < 0)


def _difference(runs: Runs, contexts: list[CellPair], seed: int, comparison: Comparison) -> float:
    """Return d_s of one seed."""
    pair_C2 = [
        [
            np.mean([runs[cell, seed].figure(comparison.test, metric) for cell in cells])
            for cells, metric in zip(context, comparison.metrics, strict=True)
        ]
        for context in contexts
    ]
    return float(np.mean([better - worse for better, worse in pair_C2]))


def _over_products(
    runs: Runs, contexts: list[CellPair], seeds: list[int], comparison: Comparison
) -> tuple[Estimate | None, Estimate | None]:
    """Return the paired bootstraps over products and over categories.

    None if a run has no values by product, or none has categories.
    """
    test = comparison.test
    parts = [
        [
            [runs[c, s].queries.get(test, {}).get(metric, []) for c in cells]
            for cells, metric in zip(context, comparison.metrics, strict=True)
        ]
        for s in seeds
        for context in contexts
    ]
    sizes = {len(value_N) for sides in parts for side in sides for value_N in side}
    if not sizes or 0 in sizes:
        return None, None
    require(len(sizes) == 1, f"{test}: runs with {sorted(sizes)} products")
    pair_A2N = np.array([[nanmean(np.array(side, dtype=float)) for side in s] for s in parts])
    # A product that is a query on one side only would be compared with other products.
    pair_A2N[np.isnan(pair_A2N).any(axis=1, keepdims=True).repeat(2, axis=1)] = np.nan
    better_N, worse_N = nanmean(pair_A2N)
    found = estimate(better_N - worse_N)
    if found.n == 0:
        return None, None
    found = found if found.n > 1 else replace(found, low=None, high=None)
    code_N = _category_codes(runs, contexts, seeds, test)
    if code_N is None:
        return found, None
    require(len(code_N) == len(better_N), f"{test}: {len(code_N)} categories of {sizes} products")
    difference = {"difference": better_N - worse_N}
    return found, category_estimates(difference, {"difference": code_N})["difference"]


def _category_codes(
    runs: Runs, contexts: list[CellPair], seeds: list[int], test: str
) -> Ints | None:
    """Return code_N of the held-out products; None if no run has stored their categories."""
    cells = [cell for context in contexts for side in context for cell in side]
    stored = [runs[cell, s].categories.get(test) for s in seeds for cell in cells]
    distinct = {tuple(labels) for labels in stored if labels}
    require(len(distinct) < 2, f"{test}: runs with different categories of the products")
    return category_codes(distinct.pop()) if distinct else None


@dataclass(frozen=True)
class CellSummary:
    """One cell over its seeds."""

    factors: dict[str, Factor]
    figures: dict[str, dict[str, Estimate]]
    """By test, then by metric: mean with t interval over seeds."""
    done: int
    """Number of seeds with a finished run."""
    failed: int = 0
    """Number of seeds whose training failed."""
    reason: str = ""
    """Reason of the first failure."""

    def estimate(self, test: str, metric: str) -> Estimate:
        """Return the cell's figure; NOTHING if not measured."""
        return self.figures.get(test, {}).get(metric, NOTHING)


@dataclass(frozen=True)
class Summary:
    """Summary of a study's runs."""

    study: Study
    catalogue: str
    """Empty without runs; so is `preset`."""
    preset: str
    rows: tuple[CellSummary, ...]
    """One per cell, in the study's order."""
    outcomes: tuple[Outcome, ...]
    """One per comparison, in the study's order."""
    columns: tuple[tuple[str, str], ...]
    """Measured tests and metrics, in the study's order."""
    provenance: dict[str, Any]
    """seeds, device, threads, versions, commit (with `(changed)` for a modified checkout): lists;
    seconds: total; products: number by test."""
    held_out: str = ""
    """Split of the products measured (`Record.held_out`)."""

    def unfinished(self) -> list[CellSummary]:
        """Return cells with fewer runs than seeds, except those that failed."""
        return [r for r in self.rows if not r.failed and r.done < self.study.seeds]

    def shared_tests(self) -> list[str]:
        """Return measured tests that all cells have, or else those that most cells have."""
        cells = Counter(test.name for cell in self.study.cells for test in cell.tests)
        measured = dict.fromkeys(test for test, _ in self.columns)
        # `training` is in no cell's tests but measured by every cell.
        counts = {test: cells[test] or len(self.study.cells) for test in measured}
        return [test for test in measured if counts[test] == max(counts.values())]


def summarise(study: Study, records: Sequence[Record]) -> Summary:
    """Summarise the runs of a study, finished or not: table, comparisons, provenance.

    Records of other cells are ignored. Raises ValueError as `index_runs`.
    """
    runs = index_runs(study, records)
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
        next((record.held_out for record in runs.values()), ""),
    )


def _row(
    factors: dict[str, Factor], columns: Sequence[Any], records: Sequence[Record]
) -> CellSummary:
    done = done_runs(records, factors)
    failed = [r for r in records if r.factors == factors and r.status == "failed"]
    figures: dict[str, dict[str, Estimate]] = {}
    for test, metric in columns:
        value_S = np.array([run.figure(test, metric) for run in done])
        figures.setdefault(test, {})[metric] = seed_interval(value_S)
    return CellSummary(factors, figures, len(done), len(failed), failed[0].reason if failed else "")


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
