"""What the runs of a study say about its comparisons: differences, intervals, verdicts.

Two kinds of chance are kept apart: another seed would have trained another model, and another draw
of held-out products would have asked other questions. A verdict needs both intervals.

S seeds, C contexts (values of the factors that neither side of a comparison names), K cells of one
side in one context, N held-out products.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from scale.evaluation.bootstrap import LEVEL, NOTHING, Estimate, paired_difference
from scale.strict import require
from scale.studies.store import Record
from scale.studies.study import Comparison, Factor, Study, matches

Floats = NDArray[np.float64]
Place = tuple[Factor, ...]
Runs = dict[tuple[Place, int], Record]
"""By cell (its factors in the order of the study's columns) and seed."""
Context = tuple[list[Place], list[Place]]
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


def over_seeds(value_S: Floats) -> Estimate:
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


def paired_p(difference_S: Floats) -> float | None:
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


def runs_of(study: Study, records: Iterable[Record]) -> Runs:
    """The records of the study's cells, by factors and seed; those of other cells are left out.

    Raises ValueError for records of several catalogues or presets, and for two of the same cell and
    seed: they are runs of different settings under one name.
    """
    places = {place(study, cell.factors) for cell in study.cells}
    runs: Runs = {}
    for record in records:
        if set(record.factors) != set(study.factors):
            continue
        key = (place(study, record.factors), record.seed)
        require(key not in runs, f"two runs of {named(record.factors)} with seed {record.seed}")
        if key[0] in places:
            runs[key] = record
    for name in ("catalogue", "preset"):
        found = sorted({getattr(record, name) for record in runs.values()})
        require(len(found) < 2, f"study {study.name}: runs of more than one {name}: {found}")
    return runs


def place(study: Study, factors: dict[str, Factor]) -> Place:
    """A cell's factors in the order of the study's columns."""
    return tuple(factors[name] for name in study.factors)


def compare(study: Study, comparison: Comparison, runs: Runs, seed: int = 0) -> Outcome:
    """d_s = mean over contexts of (mean over better cells - mean over worse cells), and its spread.

    A seed counts where every one of these cells has a finite figure, so that all seeds average the
    same cells. Over products, value_N is averaged over contexts and seeds with both sides, then
    the paired bootstrap (of seed `seed`) draws products.

    A failed cell makes the comparison `impossible`, and so do sides that share no context.
    """
    contexts = contexts_of(study, comparison)
    if not contexts:
        return Outcome(comparison, "impossible", "no cells of the two sides agree in the rest")
    needed = {cell for sides in contexts for cells in sides for cell in cells}
    for (cell, _), record in sorted(runs.items(), key=lambda item: item[0][1]):
        if cell in needed and record.status == "failed":
            reason = f"{named(record.factors)}: {record.reason}"
            return Outcome(comparison, "impossible", reason)
    known = {key for key, record in runs.items() if isfinite(_figure(record, comparison))}
    seeds = [s for s in sorted({s for _, s in runs}) if all((c, s) in known for c in needed)]
    by_seed = {s: _difference(runs, contexts, s, comparison) for s in seeds}
    difference_S = np.array(list(by_seed.values()))
    over = over_seeds(difference_S)
    products = _over_products(runs, contexts, seeds, comparison, seed)
    p = paired_p(difference_S)
    return Outcome(comparison, *decide(over, products), over, products, by_seed, len(contexts), p)


def compare_all(study: Study, runs: Runs, seed: int = 0) -> list[Outcome]:
    """`compare` for every comparison of the study, with Holm's p across them."""
    outcomes = [compare(study, comparison, runs, seed) for comparison in study.comparisons]
    adjusted = holm([outcome.p for outcome in outcomes])
    return [replace(o, p_holm=p) for o, p in zip(outcomes, adjusted, strict=True)]


def contexts_of(study: Study, comparison: Comparison) -> list[Context]:
    """Cells to set against each other: those that agree in the factors that neither side names."""
    free = [n for n in study.factors if n not in comparison.better and n not in comparison.worse]
    found: dict[Place, Context] = {}
    for cell in study.cells:
        context = found.setdefault(tuple(cell.factors[n] for n in free), ([], []))
        for cells, side in zip(context, (comparison.better, comparison.worse), strict=True):
            if matches(cell.factors, side):
                cells.append(place(study, cell.factors))
    return [(better, worse) for better, worse in found.values() if better and worse]


def named(factors: dict[str, Factor]) -> str:
    """`policy = zero, rate = 0.3`."""
    return ", ".join(f"{name} = {value}" for name, value in factors.items())


def _side(interval: Estimate) -> int:
    """1 above zero, -1 below, 0 where the interval holds zero or there is none."""
    if interval.low is None or interval.high is None:
        return 0
    return int(interval.low > 0) - int(interval.high < 0)


def _figure(record: Record, comparison: Comparison) -> float:
    return record.figures.get(comparison.test, {}).get(comparison.metric, float("nan"))


def _difference(runs: Runs, contexts: list[Context], seed: int, comparison: Comparison) -> float:
    """d_s: the mean over contexts of the better cells' mean minus the worse cells'."""
    pair_C2 = [
        [np.mean([_figure(runs[c, seed], comparison) for c in cells]) for cells in context]
        for context in contexts
    ]
    return float(np.mean([better - worse for better, worse in pair_C2]))


def _over_products(
    runs: Runs, contexts: list[Context], seeds: list[int], comparison: Comparison, seed: int
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
