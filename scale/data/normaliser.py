"""Standardisation of continuous features, with statistics of the training split.

F features of one vector.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from scale.files import replacing

SMALLEST_SPREAD = 0.5
"""Lower bound of a feature's standard deviation, relative to that of the modality."""


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations of vectors; parts are merged by Chan's formula."""

    count: int
    mean_F: np.ndarray
    squares_F: np.ndarray

    @staticmethod
    def of(parts: Iterable[np.ndarray]) -> "Moments | None":
        """Return the moments of chunks of (tokens, F), in one pass; None if there are no tokens."""
        found = None
        for part in parts:
            if len(part):
                values = part.astype(np.float64)
                own = Moments(len(values), values.mean(0), ((values - values.mean(0)) ** 2).sum(0))
                found = own if found is None else found.merge(own)
        return found

    def merge(self, other: "Moments") -> "Moments":
        """Return the moments of the union."""
        total, step_F = self.count + other.count, other.mean_F - self.mean_F
        squares_F = self.squares_F + other.squares_F
        squares_F = squares_F + step_F**2 * self.count * other.count / total
        return Moments(total, self.mean_F + step_F * other.count / total, squares_F)


@dataclass(frozen=True)
class Normaliser:
    """Standardises the vectors of each continuous modality: x' = (x - mean_F) / spread_F.

    One mean and spread per feature, over all tokens of the training split, so that all features
    have the same weight in the regression losses (MRP, MFP, MAM), regardless of their scale.
    """

    mean: dict[str, np.ndarray]
    """By modality, (F,) float32; likewise below."""
    spread: dict[str, np.ndarray]

    @staticmethod
    def fit(chunks: Mapping[str, Iterable[np.ndarray]]) -> "Normaliser":
        """Fit to the training tokens of each modality, given as chunks of (tokens, F).

        spread_F = max(std_F, half the root mean square of std_F), so that a feature with little
        variance, such as a corner that is nearly always white, has no extreme values (without the
        floor, frames of real clips reached 20). 1 if no feature varies. A modality without tokens
        is left out.
        """
        moments = {m: Moments.of(parts) for m, parts in chunks.items()}
        return Normaliser.of({m: [found] for m, found in moments.items() if found is not None})

    @staticmethod
    def of(moments: Mapping[str, Iterable[Moments]]) -> "Normaliser":
        """Combine the moments of parts of the training tokens by modality, at least one each."""
        known = {m: reduce(Moments.merge, parts) for m, parts in moments.items()}
        return Normaliser(
            {m: all_.mean_F.astype(np.float32) for m, all_ in known.items()},
            {m: _floored(all_.squares_F / all_.count).astype(np.float32)
             for m, all_ in known.items()},
        )  # fmt: skip

    def save(self, path: Path) -> None:
        """Write as safetensors: `<modality>.mean` and `<modality>.spread`."""
        means = {f"{m}.mean": value for m, value in self.mean.items()}
        spreads = {f"{m}.spread": value for m, value in self.spread.items()}
        with replacing(path) as partial:
            save_file(means | spreads, partial)

    @staticmethod
    def load(path: Path) -> "Normaliser":
        """Inverse of `save`. Raises ValueError that names the file if it cannot be read."""
        try:
            tensors = load_file(path)
        except FileNotFoundError as error:
            # safetensors also raises it for files that the user may not read.
            reason = "not readable: permission denied" if path.exists() else "no such file"
            raise ValueError(f"{path}: {reason}") from error
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path}: not a normaliser: {error}") from error
        names = {name.split(".")[0] for name in tensors}
        return Normaliser(
            {m: tensors[f"{m}.mean"] for m in names}, {m: tensors[f"{m}.spread"] for m in names}
        )


def _floored(variance_F: np.ndarray) -> np.ndarray:
    spread_F = np.maximum(np.sqrt(variance_F), SMALLEST_SPREAD * np.sqrt(variance_F.mean()))
    return np.where(spread_F > 0, spread_F, 1.0)
