"""Percentile bootstrap over queries or products, and over their categories.

Q queries (or products), V values per query, R resamples, C categories.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
K = TypeVar("K", bound=Hashable)

RESAMPLES = 1000
LEVEL = 0.95
# Draws per block, so that memory is bounded for any Q.
_PIECE = 4_000_000


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; None if there was nothing to measure (n = 0).

    A single query (n = 1) has a value without an interval: its resamples are all equal.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    """Queries or products that the value is computed from."""
    category_low: float | None = None
    category_high: float | None = None
    """Interval over categories, see `category_estimates`; None if it was not computed."""

    def to_dict(self) -> dict[str, float | int | None]:
        """Return `{value, low, high, n}`, and `category_low` and `category_high` if computed."""
        found = asdict(self)
        if self.category_low is None:
            del found["category_low"], found["category_high"]
        return found


NOTHING = Estimate(None, None, None, 0)


def estimates(
    values: dict[K, Floats],
    seed: int = 0,
    resamples: int = RESAMPLES,
    categories: dict[K, Ints] | None = None,
) -> dict[K, Estimate]:
    """Return the mean of each value over the queries, with a 95 % percentile interval.

    NaN marks a query that is left out; n is the number kept. Values with equal n share the
    resampled queries and are computed by one matrix product.

    Args:
        values: value_Q by name (any key); the lengths may differ.
        categories: code_Q by name (`category_codes`); adds the interval over categories.
    """
    kept = {name: value_Q[~np.isnan(value_Q)] for name, value_Q in values.items()}
    result = dict.fromkeys(values, NOTHING)
    for n in {len(kept_Q) for kept_Q in kept.values()} - {0}:
        names = [name for name, kept_Q in kept.items() if len(kept_Q) == n]
        values_QV = np.stack([kept[name] for name in names], axis=1)
        drawn = draw_weights(n, seed, resamples)
        draws_RV = np.concatenate([weights_RQ @ values_QV / n for weights_RQ in drawn])
        result |= zip(names, _intervals(values_QV.mean(0), draws_RV, n), strict=True)
    if categories is not None:
        for name, e in category_estimates(values, categories, seed, resamples).items():
            result[name] = replace(result[name], category_low=e.low, category_high=e.high)
    return result


def category_estimates(
    values: dict[K, Floats], categories: dict[K, Ints], seed: int = 0, resamples: int = RESAMPLES
) -> dict[K, Estimate]:
    """Return the means of `estimates` with a 95 % interval over categories in place of queries.

    Queries of one category are not independent: they search the same relevant products, so an
    interval over queries is too narrow for new categories. This bootstrap draws C categories with
    replacement, each with all of its queries (cluster bootstrap; Davison and Hinkley, Bootstrap
    Methods, 1997, section 3.8), and computes sum of values / number of queries in each resample.
    With fewer than about 20 categories the interval is still too narrow (Cameron, Gelbach and
    Miller, 2008). With a single one there is none.

    Args:
        values: value_Q by name; NaN marks a query that is left out.
        categories: code_Q by name, see `category_codes`.

    Returns:
        Estimates whose n is the number of categories of the queries that are kept.
    """
    result, groups = dict.fromkeys(values, NOTHING), {}
    for name, value_Q in values.items():
        code_Q = np.unique(categories[name][~np.isnan(value_Q)], return_inverse=True)[1]
        if len(code_Q):
            groups.setdefault(code_Q.tobytes(), (code_Q, []))[1].append(name)
    for code_Q, names in groups.values():
        values_QV = np.stack([values[name][~np.isnan(values[name])] for name in names], axis=1)
        size_C = np.bincount(code_Q)
        sum_CV = np.zeros((len(size_C), len(names)))
        np.add.at(sum_CV, code_Q, values_QV)
        drawn = draw_weights(len(size_C), seed, resamples)
        draws_RV = np.concatenate([(w_RC @ sum_CV) / (w_RC @ size_C)[:, None] for w_RC in drawn])
        found = _intervals(values_QV.mean(0), draws_RV, len(size_C))
        result |= zip(names, found, strict=True)
    return result


def mean_of_means(
    values_ND: Floats,
    seed: int = 0,
    resamples: int = RESAMPLES,
    category_N: Ints | None = None,
) -> Estimate:
    """Return the mean over D lists of the mean of each list, with an interval over products.

    m = 1/D sum_d (sum_n w_n v_nd / sum_n w_n [v_nd is known]), with w_n = 1 for the value and the
    number of times that product n was drawn in a resample, in which a list without a drawn product
    is left out. A product is drawn with its values in all lists: they are not independent. The
    difference of two models is `mean_of_means(a_ND - b_ND)`.

    Args:
        values_ND: the metric of product n as a query of list d, e.g. a direction; NaN where it is
            none. Lists and products without any value are left out.
        category_N: `category_codes` of the products; adds the interval over categories.
    """
    known_ND = ~np.isnan(values_ND)
    rows_N, lists_D = known_ND.any(1), known_ND.any(0)
    if not rows_N.any():
        return NOTHING
    count_ND = known_ND[rows_N][:, lists_D].astype(float)
    sum_ND = np.nan_to_num(values_ND[rows_N][:, lists_D])

    def interval(sum_GD: Floats, count_GD: Floats) -> Estimate:
        def mean(weights_RG: Floats) -> Floats:
            with np.errstate(invalid="ignore"):
                return np.nanmean((weights_RG @ sum_GD) / (weights_RG @ count_GD), axis=1)

        groups = len(sum_GD)
        draws_R = np.concatenate([mean(w_RG) for w_RG in draw_weights(groups, seed, resamples)])
        return _intervals(mean(np.ones((1, groups))), draws_R[:, None], len(sum_ND))[0]

    found = interval(sum_ND, count_ND)
    if category_N is None:
        return found
    code_N = np.unique(category_N[rows_N], return_inverse=True)[1]
    if code_N.max() == 0:
        return found
    totals = np.zeros((2, code_N.max() + 1, sum_ND.shape[1]))
    np.add.at(totals[0], code_N, sum_ND)
    np.add.at(totals[1], code_N, count_ND)
    by_category = interval(*totals)
    return replace(found, category_low=by_category.low, category_high=by_category.high)


def category_codes(labels: Sequence[Hashable | None]) -> Ints:
    """Return code_Q, equal for equal labels. A query without a label is a category of its own."""
    codes: dict[Hashable, int] = {}
    keys = ((None, q) if label is None else label for q, label in enumerate(labels))
    return np.array([codes.setdefault(key, len(codes)) for key in keys], dtype=np.int64)


def estimate_items(
    items: dict[str, dict[str, Floats]],
    seed: int = 0,
    resamples: int = RESAMPLES,
    categories: dict[str, Ints] | None = None,
) -> dict[str, dict[str, Estimate]]:
    """Return `estimates` of the values of several items: `{item: {name: value_Q}}`.

    `categories`: code_Q of each item.
    """
    flat = {(item, name): v for item, values in items.items() for name, v in values.items()}
    codes = None if categories is None else {key: categories[key[0]] for key in flat}
    found = estimates(flat, seed, resamples, codes)
    return {item: {name: found[item, name] for name in values} for item, values in items.items()}


def estimate(value_Q: Floats, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Return `estimates` of a single value."""
    return estimates({"value": value_Q}, seed, resamples)["value"]


def paired_difference(
    a_Q: Floats, b_Q: Floats, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """Return the mean of a - b over the queries that have both.

    Its interval is narrower than those of a and b. If it excludes 0, a and b differ by more than
    the sampling of queries explains.

    Raises:
        ValueError: a and b have different numbers of queries.
    """
    if a_Q.shape != b_Q.shape:
        raise ValueError(f"paired values of {a_Q.shape} and {b_Q.shape} queries")
    return estimate(a_Q - b_Q, seed, resamples)


def estimate_weighted(
    statistics: Callable[[NDArray[np.int64]], dict[str, Floats]],
    n: int,
    seed: int = 0,
    resamples: int = RESAMPLES,
    centre: bool = False,
) -> dict[str, Estimate]:
    """Return intervals of statistics that are not means: macro-F1, NMI, purity.

    Args:
        statistics: maps weights_RQ (how often each product was drawn) to a value_R per name.
        n: number of products, at least 1.
        centre: shift the resampled values so that their mean equals the value. Required for NMI,
            ARI and purity: a product drawn twice agrees with itself, which biases resampled values
            upwards, so that an uncorrected interval can exclude the value.
    """
    value = statistics(np.ones((1, n), dtype=np.int64))
    draws = [statistics(weights_RQ) for weights_RQ in draw_weights(n, seed, resamples)]
    value_V = np.array([value[name][0] for name in value])
    draws_RV = np.stack([np.concatenate([d[name] for d in draws]) for name in value], axis=1)
    if centre:
        draws_RV += value_V - draws_RV.mean(0)
    return dict(zip(value, _intervals(value_V, draws_RV, n), strict=True))


def draw_weights(n: int, seed: int, resamples: int) -> Iterator[NDArray[np.int64]]:
    """Yield how often each query was drawn, as weights_RQ with Q = n, in blocks of resamples.

    Deterministic in its arguments.
    """
    rng = np.random.default_rng(seed)
    piece = max(1, _PIECE // n)
    for start in range(0, resamples, piece):
        rows = min(piece, resamples - start)
        flat = rng.integers(0, n, (rows, n)) + np.arange(rows)[:, None] * n
        yield np.bincount(flat.ravel(), minlength=rows * n).reshape(rows, n)


def group_sum(weights_RQ: NDArray[np.int64], code_Q: NDArray[np.int64], size: int) -> Floats:
    """Sum the weights of the queries of equal code, as sum_RC for codes 0 .. size - 1."""
    order_Q = np.argsort(code_Q, kind="stable")
    codes, starts = np.unique(code_Q[order_Q], return_index=True)
    sum_RC = np.zeros((len(weights_RQ), size))
    sum_RC[:, codes] = np.add.reduceat(weights_RQ[:, order_Q], starts, axis=1)
    return sum_RC


def _intervals(value_V: Floats, draws_RV: Floats, n: int) -> list[Estimate]:
    if n == 1:
        return [Estimate(value, None, None, n) for value in np.round(value_V, 12).tolist()]
    tail = 100 * (1 - LEVEL) / 2
    low_V, high_V = np.percentile(draws_RV, [tail, 100 - tail], axis=0)
    # Rounding errors must not part the bounds of a constant from it.
    constant_V = np.ptp(draws_RV, axis=0) <= 1e-12 * np.abs(value_V)
    low_V, high_V = (np.where(constant_V, value_V, x_V) for x_V in (low_V, high_V))
    columns = (np.round(x_V, 12).tolist() for x_V in (value_V, low_V, high_V))
    return [Estimate(value, low, high, n) for value, low, high in zip(*columns, strict=True)]
