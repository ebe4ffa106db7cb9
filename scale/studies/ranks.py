"""Ranks and what is made of them: Spearman's correlation and the area under the ROC curve.

N values, on arrays or CPU tensors.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def ranks(value_N: ArrayLike) -> Floats:
    """Ranks 1 .. N; equal values share their mean rank."""
    _, place_N, count_K = np.unique(np.asarray(value_N), return_inverse=True, return_counts=True)
    return (count_K.cumsum() - (count_K - 1) / 2)[place_N]


def spearman(x_N: ArrayLike, y_N: ArrayLike) -> float:
    """Correlation of the ranks where both values are finite.

    NaN for fewer than three such places, or where one side is all equal.
    """
    x_N, y_N = np.asarray(x_N), np.asarray(y_N)
    both_N = np.isfinite(x_N) & np.isfinite(y_N)
    x_N, y_N = ranks(x_N[both_N]), ranks(y_N[both_N])
    if len(x_N) < 3 or np.ptp(x_N) == 0 or np.ptp(y_N) == 0:
        return float("nan")
    return float(np.corrcoef(x_N, y_N)[0, 1])


def auc(value_N: ArrayLike, true_N: ArrayLike) -> float:
    """P(value of a true one > value of a false one) + P(equal) / 2 (Mann-Whitney).

    NaN where one of the two kinds is not there.
    """
    true_N = np.asarray(true_N, bool)
    true, false = int(true_N.sum()), int((~true_N).sum())
    if not true or not false:
        return float("nan")
    above = ranks(value_N)[true_N].sum() - true * (true + 1) / 2
    return float(above / (true * false))
