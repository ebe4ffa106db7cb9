"""Statistics of a study's runs: intervals over seeds and products, tests, verdicts, summary.

Two sources of variation are kept apart: training (seeds) and the choice of held-out products. A
verdict needs both intervals.

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

from scale.evaluation.bootstrap import LEVEL, NOTHING, Estimate, paired_difference
from scale.strict import require
from scale.studies.study import Comparison, Factor, Record, Study, matches

Floats = NDArray[np.float64]
CellKey = tuple[Factor, ...]
Runs = dict[tuple[CellKey, int], Record]
"""By cell (its factors in the order of the study's columns) and seed."""
CellPair = tuple[list[CellKey], list[CellKey]]
"""Cells of the better and of the worse side whose other factors agree."""
Verdict = Literal["supported", "contradicted", "not decided", "impossible"]
VERDICTS: dict[int, Verdict] = {1: "supported", 0: "not decided", -1: "contradicted"}


@dataclass(frozen=True)
class Outcome:
    """What the runs say about one comparison. Differences are better minus worse."""

    comparison: Comparison
    verdict: Verdict
    note: str
    """What the verdict leaves out, or why there is none; empty where nothing is to be said."""
    seeds: Estimate = NOTHING
    """Mean of d_s, t interval over the seeds that both sides have."""
    products: Estimate | None = None
    """Mean over products, bootstrap interval; None where the figure has no values by product. Its
    value can differ a little from that of `seeds` where products ask different numbers of times."""
    by_seed: dict[int, float] | None = None
    """d_s of each seed."""
    pairs: int = 0
    """Contexts that are compared, C."""
    p: float | None = None
    """Two-sided paired t test over seeds; None with fewer than two."""
    p_holm: float | None = None
    """`holm` over all comparisons of the study."""


def seed_interval(value_S: Floats) -> Estimate:
    """mean +- t_{0.975, S-1} sd / sqrt(S), sd with S - 1; NaN left out; no interval for S = 1."""
    known_S = value_S[~np.isnan(value_S)]
    n = len(known_S)
    if n == 0:
        return NOTHING
    mean = float(known_S.mean())
    if n == 1:
        return Estimate(mean, None, None, 1)
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * known_S.std(ddof=1) / n**0.5)
    # Rounding keeps seeds that all agree from an interval of 1e-17 beside their value.
    return Estimate(round(mean, 12), round(mean - half, 12), round(mean + half, 12), n)


def paired_t_test(difference_S: Floats) -> float | None:
    """p of the two-sided paired t test, 2 P(T_{S-1} > |mean| sqrt(S) / sd); None for S < 2.

    Seeds that all agree give 0, or 1 where their difference is 0.
    """
    n = len(difference_S)
    if n < 2:
        return None
    mean, error = difference_S.mean(), difference_S.std(ddof=1) / n**0.5
    # Below this the spread is rounding, and the quotient would be arbitrary.
    if error <= 1e-12:
        return 1.0 if abs(mean) <= 1e-12 else 0.0
    return float(2 * stats.t.sf(abs(mean) / error, n - 1))


def spearman(x_N: ArrayLike, y_N: ArrayLike) -> float:
    """Spearman's rank correlation over the positions where both values are finite.

    NaN for fewer than three such positions, or where all values of one side are equal.
    """
    x_N, y_N = np.asarray(x_N), np.asarray(y_N)
    both_N = np.isfinite(x_N) & np.isfinite(y_N)
    x_N, y_N = x_N[both_N], y_N[both_N]
    if len(x_N) < 3 or np.ptp(x_N) == 0 or np.ptp(y_N) == 0:
        return float("nan")
    return float(stats.spearmanr(x_N, y_N).statistic)


def auc(value_N: ArrayLike, true_N: ArrayLike) -> float:
    """Area under the ROC curve, P(true > false) + P(equal) / 2; NaN with only one class."""
    from sklearn.metrics import roc_auc_score

    true_N = np.asarray(true_N, bool)
    if true_N.all() or not true_N.any():
        return float("nan")
    return float(roc_auc_score(true_N, np.asarray(value_N)))


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p, max over j <= i of min(1, (m - j + 1) p_(j)), in the order given.

    Reading "adjusted p <= a" as a difference controls the family-wise error rate: the probability
    that one comparison or more is called a difference though it has none is at most a, however the
    comparisons depend on each other. The chance in question is that of training (seeds), on this
    catalogue's held-out products; the choice of products is in the other interval only. None (no
    test was possible) stays None and does not count into m.
    """
    order = sorted((p, k) for k, p in enumerate(values) if p is not None)
    adjusted: list[float | None] = [None] * len(values)
    largest = 0.0
    for rank, (p, k) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        adjusted[k] = largest
    return adjusted


def decide(seeds: Estimate, products: Estimate | None) -> tuple[Verdict, str]:
    """The verdict of two intervals of better minus worse, and what it leaves out.

    `supported`: all intervals there are lie above 0; `contradicted`: all lie below 0; else `not
    decided`. An interval that ends at 0 holds it. `products` is None where the figure has no values
    by product: then the seeds alone decide, and the note says so.
    """
    seed_side, product_side = _side(seeds), _side(products) if products else 0
    if seeds.low is None:
        return "not decided", "fewer than two seeds have all cells of both sides"
    if products is None:
        note = "over seeds only: there are no values by product"
        return VERDICTS[seed_side], note if seed_side else ""
    if products.low is None:
        return "not decided", "too few products for an interval"
    if seed_side == product_side:
        return VERDICTS[seed_side], ""
    if seed_side and product_side:
        return "not decided", "seeds and products point in opposite directions"
    only, other = ("seeds", "products") if seed_side else ("products", "trainings")
    return "not decided", f"over {only} only: other {other} might decide otherwise"


def index_runs(study: Study, records: Iterable[Record]) -> Runs:
    """The records of the study's cells, by factors and seed; those of other cells are left out.

    Raises ValueError for records of several catalogues or presets, and for two of the same cell and
    seed: they are runs of different settings under one name.
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
    for name in ("catalogue", "preset"):
        found = sorted({getattr(record, name) for record in runs.values()})
        require(len(found) < 2, f"study {study.name}: runs of more than one {name}: {found}")
    return runs


def cell_key(study: Study, factors: dict[str, Factor]) -> CellKey:
    """A cell's factors in the order of the study's columns."""
    return tuple(factors[name] for name in study.factors)


def compare(study: Study, comparison: Comparison, runs: Runs, seed: int = 0) -> Outcome:
    """d_s = mean over contexts of (mean over better cells - mean over worse cells), and its spread.

    A seed counts where every one of these cells has a finite figure, so that all seeds average the
    same cells. Over products, value_N is averaged over contexts and seeds with both sides, then
    the paired bootstrap (of seed `seed`) draws products.

    A failed cell makes the comparison `impossible`, and so do sides that share no context.
    """
    contexts = matching_cells(study, comparison)
    if not contexts:
        return Outcome(comparison, "impossible", "no cells of the two sides agree in the rest")
    needed = {cell for sides in contexts for cells in sides for cell in cells}
    for (cell, _), record in sorted(runs.items(), key=lambda item: item[0][1]):
        if cell in needed and record.status == "failed":
            reason = f"{describe_factors(record.factors)}: {record.reason}"
            return Outcome(comparison, "impossible", reason)
    known = {key for key, record in runs.items() if isfinite(_figure(record, comparison))}
    seeds = [s for s in sorted({s for _, s in runs}) if all((c, s) in known for c in needed)]
    by_seed = {s: _difference(runs, contexts, s, comparison) for s in seeds}
    difference_S = np.array(list(by_seed.values()))
    over = seed_interval(difference_S)
    products = _over_products(runs, contexts, seeds, comparison, seed)
    p = paired_t_test(difference_S)
    return Outcome(comparison, *decide(over, products), over, products, by_seed, len(contexts), p)


def compare_all(study: Study, runs: Runs, seed: int = 0) -> list[Outcome]:
    """`compare` for every comparison of the study, with Holm's p across them."""
    outcomes = [compare(study, comparison, runs, seed) for comparison in study.comparisons]
    adjusted = holm([outcome.p for outcome in outcomes])
    return [replace(o, p_holm=p) for o, p in zip(outcomes, adjusted, strict=True)]


def matching_cells(study: Study, comparison: Comparison) -> list[CellPair]:
    """Cells to set against each other: those that agree in the factors that neither side names."""
    free = [n for n in study.factors if n not in comparison.better and n not in comparison.worse]
    found: dict[CellKey, CellPair] = {}
    for cell in study.cells:
        context = found.setdefault(tuple(cell.factors[n] for n in free), ([], []))
        for cells, side in zip(context, (comparison.better, comparison.worse), strict=True):
            if matches(cell.factors, side):
                cells.append(cell_key(study, cell.factors))
    return [(better, worse) for better, worse in found.values() if better and worse]


def describe_factors(factors: dict[str, Factor]) -> str:
    """`policy = zero, rate = 0.3`."""
    return ", ".join(f"{name} = {value}" for name, value in factors.items())


def _side(interval: Estimate) -> int:
    """1 above zero, -1 below, 0 where the interval holds zero or there is none."""
    if interval.low is None or interval.high is None:
        return 0
    return int(interval.low > 0) - int(interval.high < 0)


def _figure(record: Record, comparison: Comparison) -> float:
    return record.figures.get(comparison.test, {}).get(comparison.metric, float("nan"))


def _difference(runs: Runs, contexts: list[CellPair], seed: int, comparison: Comparison) -> float:
    """d_s: the mean over contexts of the better cells' mean minus the worse cells'."""
    pair_C2 = [
        [np.mean([_figure(runs[c, seed], comparison) for c in cells]) for cells in context]
        for context in contexts
    ]
    return float(np.mean([better - worse for better, worse in pair_C2]))


def _over_products(
    runs: Runs, contexts: list[CellPair], seeds: list[int], comparison: Comparison, seed: int
) -> Estimate | None:
    """Paired bootstrap over products; None where a run has no values by product."""
    test, metric = comparison.test, comparison.metric
    parts = [
        [[runs[c, s].queries.get(test, {}).get(metric, []) for c in cells] for cells in context]
        for s in seeds
        for context in contexts
    ]
    sizes = {len(value_N) for sides in parts for side in sides for value_N in side}
    if not sizes or 0 in sizes:
        return None
    require(len(sizes) == 1, f"{test}: runs with {sorted(sizes)} products")
    pair_A2N = np.array([[_nanmean(np.array(side, dtype=float)) for side in s] for s in parts])
    # A product that one side did not ask for would be set against other products' difficulty.
    pair_A2N[np.isnan(pair_A2N).any(axis=1, keepdims=True).repeat(2, axis=1)] = np.nan
    found = paired_difference(*_nanmean(pair_A2N), seed)
    if found.n == 0:
        return None
    return found if found.n > 1 else replace(found, low=None, high=None)


def _nanmean(value_AN: Floats) -> Floats:
    """Mean over the first axis of what is not NaN."""
    total_N, count_N = np.nansum(value_AN, axis=0), (~np.isnan(value_AN)).sum(0)
    return np.divide(total_N, count_N, out=np.full(count_N.shape, np.nan), where=count_N > 0)


@dataclass(frozen=True)
class CellSummary:
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
    rows: tuple[CellSummary, ...]
    """One per cell, in the study's order."""
    outcomes: tuple[Outcome, ...]
    """One per comparison, in the study's order."""
    columns: tuple[tuple[str, str], ...]
    """Tests and metrics that a run has measured, in the study's order."""
    provenance: dict[str, Any]
    """seeds, device, threads, versions, commit (`(changed)` where the checkout differed from it):
    lists; seconds: total; products: number by test."""

    def unfinished(self) -> list[CellSummary]:
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
    )


def _row(
    factors: dict[str, Factor], columns: Sequence[Any], records: Sequence[Record]
) -> CellSummary:
    done = [r for r in records if r.factors == factors and r.status == "done"]
    failed = [r for r in records if r.factors == factors and r.status == "failed"]
    figures: dict[str, dict[str, Estimate]] = {}
    for test, metric in columns:
        value_S = np.array([r.figures.get(test, {}).get(metric, np.nan) for r in done], dtype=float)
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
