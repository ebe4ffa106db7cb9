"""Rank statistics against loops, scipy and scikit-learn, on arrays and on tensors."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from scale.studies.statistics import auc, spearman

NAN = float("nan")


@pytest.fixture
def tied():
    """40 values of six kinds, twice."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 6, 40) / 3, rng.integers(0, 6, 40)


def test_spearman_equals_scipy(tied):
    x_N, y_N = tied
    expected = spearmanr(x_N, y_N).statistic
    assert spearman(x_N, y_N) == pytest.approx(expected)
    assert spearman(torch.from_numpy(x_N), torch.from_numpy(y_N)) == pytest.approx(expected)
    assert spearman(x_N, -(x_N**3)) == pytest.approx(-1)


def test_spearman_leaves_out_what_one_side_lacks():
    x_N, y_N = np.array([1, 2, NAN, 4, 9, 7]), np.array([1, 5, 0, 3, NAN, 9])
    assert spearman(x_N, y_N) == pytest.approx(spearmanr([1, 2, 4, 7], [1, 5, 3, 9]).statistic)


@pytest.mark.parametrize(
    ("x_N", "y_N"),
    [
        ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]),
        ([1.0, 2.0, 3.0], [0.1, 0.1, 0.1]),
        ([1.0, 2.0], [1.0, 2.0]),
        ([1.0, 2.0, NAN], [1.0, 2.0, 3.0]),
        ([NAN, NAN, NAN], [1.0, 2.0, 3.0]),
    ],
)
def test_spearman_of_too_little_is_nan(x_N, y_N):
    assert math.isnan(spearman(np.array(x_N), np.array(y_N)))


def slow_auc(values, true):
    """Share of (true, false) couples in which the true one is larger; equal ones count half."""
    wins = [
        (a > b) + (a == b) / 2
        for a, is_true in zip(values, true, strict=True)
        for b, other in zip(values, true, strict=True)
        if is_true and not other
    ]
    return sum(wins) / len(wins)


def test_auc_equals_the_double_loop(tied):
    value_N, kind_N = tied
    true_N = kind_N > 2
    assert auc(value_N, true_N) == pytest.approx(slow_auc(value_N.tolist(), true_N.tolist()))
    assert auc(value_N, true_N) == pytest.approx(roc_auc_score(true_N, value_N))
    assert auc(torch.from_numpy(value_N), torch.from_numpy(true_N)) == auc(value_N, true_N)
    assert auc([1, 1, 1], [True, False, True]) == 0.5
    assert auc([2, 1, 0], [True, False, False]) == 1


@pytest.mark.parametrize("true_N", [[True] * 3, [False] * 3, []])
def test_auc_without_both_kinds_is_nan(true_N):
    assert math.isnan(auc(np.arange(len(true_N)), true_N))
