"""The object of a category: parts on the ground, centred, at unit size."""

import copy
from dataclasses import replace

import numpy as np

from tools.sample_shop import shapes_home, shapes_portable
from tools.sample_shop.geometry import Part

_MODULES = (shapes_home, shapes_portable)


def build(category: str, rng: np.random.Generator, step: float) -> list[Part]:
    """Parts with z >= 0, centred on the z axis, the largest half extent 1.

    Only `rng` determines the variant: two calls with equal generators and a different `step`
    (distance between points) return the same object with a different sampling.
    """
    builder = next(getattr(m, category) for m in _MODULES if hasattr(m, category))
    low, high = _extent(builder(copy.deepcopy(rng), 0.04))
    scale = float(2.0 / (high - low).max())
    parts = builder(rng, step / scale)
    low, high = _extent(parts)
    shift = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]], np.float32)
    return [replace(p, points_N3=(p.points_N3 - shift) * np.float32(scale)) for p in parts]


def _extent(parts: list[Part]) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest coordinates of all points."""
    low = np.min([part.points_N3.min(axis=0) for part in parts], axis=0)
    return low, np.max([part.points_N3.max(axis=0) for part in parts], axis=0)
