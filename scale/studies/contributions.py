"""What each modality adds to a query: the steps from a subset to one more, and their mean.

M modalities (five), K modalities that are there before (0 to M - 1), Q queries.
"""

from collections.abc import Mapping
from math import comb
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from scale.modalities import MODALITIES, SUBSETS, subset_name
from scale.strict import require

Value = TypeVar("Value", float, NDArray[np.float64])
"""A figure of a subset: one number, or value_Q of the same queries for all subsets."""

EMPTY = ""
"""Key of the subset without any modality: the figure of chance."""


def marginal_steps(value: Mapping[str, Value]) -> dict[str, list[Value]]:
    """By modality m, for each number k of others there before: what adding m changes.

        step_k(m) = mean over subsets S of k modalities without m of v(S + m) - v(S)

    Args:
        value: v by written subset (`text+image`), all 31, and by EMPTY.

    Raises:
        ValueError: a subset is not among them.
    """
    subsets = ((), *SUBSETS)
    missing = [subset for subset in subsets if written(subset) not in value]
    require(not missing, f"no figure of {len(missing)} of 32 subsets, e.g. {missing[:1]}")
    steps: dict[str, list[Value]] = {}
    for m in MODALITIES:
        sums = [0.0] * len(MODALITIES)
        for before in subsets:
            if m not in before:
                sums[len(before)] += value[written((*before, m))] - value[written(before)]
        ways = (comb(len(MODALITIES) - 1, k) for k in range(len(MODALITIES)))
        steps[m] = [total / count for total, count in zip(sums, ways, strict=True)]
    return steps


def shapley(value: Mapping[str, Value]) -> dict[str, Value]:
    """Shapley value of each modality: phi_m = mean over k of step_k(m).

    The same as the mean, over all M! orders, of what m adds when its turn comes; the phi sum to
    v(all) - v(nothing) (Shapley 1953). Linear in v: phi of each query, averaged over queries, is
    phi of the mean. Raises ValueError as `marginal_steps`.
    """
    return {m: sum(steps) / len(steps) for m, steps in marginal_steps(value).items()}


def written(subset: tuple[str, ...]) -> str:
    """Key of a subset: `text+image` in the one order, EMPTY for none."""
    return subset_name(subset) if subset else EMPTY
