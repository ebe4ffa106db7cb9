"""Long curves as few points: what a chart of a few hundred pixels can show.

T points of a curve, P places among them, W width of the smoothing window.
"""

import numpy as np

BUCKETS = 120
"""A curve is drawn by the least and the greatest value of so many stretches."""


def thinned(value_T: np.ndarray, buckets: int = BUCKETS) -> np.ndarray:
    """Places of the least and the greatest value of each of `buckets` stretches, in order.

    A stretch without any finite value gives its first place, so that its gap is seen.
    """
    count = len(value_T)
    if count <= 2 * buckets:
        return np.arange(count)
    size = -(-count // buckets)
    filled = np.full(buckets * size, np.nan)
    filled[:count] = value_T
    stretches = np.where(np.isfinite(filled), filled, np.nan).reshape(buckets, size)
    least = np.where(np.isnan(stretches), np.inf, stretches).argmin(1)
    most = np.where(np.isnan(stretches), -np.inf, stretches).argmax(1)
    places = np.concatenate([least, most]) + np.tile(np.arange(buckets) * size, 2)
    return np.unique(places[places < count])


def means_at(value_T: np.ndarray, window: int, place_P: np.ndarray) -> np.ndarray:
    """`viz.training.running_mean` at some places only: costs P W instead of T W."""
    if not len(place_P):
        return np.zeros(0)
    finite_T = np.isfinite(value_T)
    half = window // 2
    total_PW, count_PW = (
        np.lib.stride_tricks.sliding_window_view(np.pad(each, half), window)[place_P]
        for each in (np.where(finite_T, value_T, 0.0), finite_T.astype(float))
    )
    with np.errstate(invalid="ignore"):
        return total_PW.sum(1) / count_PW.sum(1)
