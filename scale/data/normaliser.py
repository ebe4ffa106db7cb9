"""Standardisation of continuous features, with statistics of the training split.

F features of one vector.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from scale.files import replacing

SMALLEST_SPREAD = 0.5
"""A feature's standard deviation is taken as at least this share of the modality's."""


@dataclass(frozen=True)
class Normaliser:
    """Standardises the vectors of each continuous modality: x' = (x - mean_F) / spread_F.

    One mean and spread per feature, over all tokens of the training split, so that every feature
    weighs the same in the regression losses (MRP, MFP, MAM) whatever the source's scale.
    """

    mean: dict[str, np.ndarray]
    """By modality, (F,) float32; likewise below."""
    spread: dict[str, np.ndarray]

    @staticmethod
    def fit(chunks: Mapping[str, Iterable[np.ndarray]]) -> "Normaliser":
        """From the training tokens of each modality, given as chunks of (tokens, F).

        spread_F = max(std_F, half the root mean square of std_F): a feature that hardly varies,
        such as a corner that is nearly always white, is not blown up where it does (without the
        floor, frames of real clips reached 20). 1 where nothing varies at all. A modality without
        tokens is left out.
        """
        moments = {m: _moments(parts) for m, parts in chunks.items()}
        known = {m: pair for m, pair in moments.items() if pair is not None}
        return Normaliser(
            {m: mean.astype(np.float32) for m, (mean, _) in known.items()},
            {m: _floored(variance).astype(np.float32) for m, (_, variance) in known.items()},
        )

    def save(self, path: Path) -> None:
        """Write as safetensors: `<modality>.mean` and `<modality>.spread`."""
        means = {f"{m}.mean": value for m, value in self.mean.items()}
        spreads = {f"{m}.spread": value for m, value in self.spread.items()}
        with replacing(path) as partial:
            save_file(means | spreads, partial)

    @staticmethod
    def load(path: Path) -> "Normaliser":
        """Inverse of `save`. Raises ValueError that names the file when it cannot be read."""
        try:
            tensors = load_file(path)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path}: not a normaliser: {error}") from error
        names = {name.split(".")[0] for name in tensors}
        return Normaliser(
            {m: tensors[f"{m}.mean"] for m in names}, {m: tensors[f"{m}.spread"] for m in names}
        )


def _moments(parts: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
    """Mean and variance per feature in one pass, parts merged by Chan's formula."""
    count, mean, squares = 0, 0.0, 0.0
    for part in parts:
        if len(part):
            values = part.astype(np.float64)
            total, own = count + len(values), values.mean(0)
            squares = squares + ((values - own) ** 2).sum(0)
            squares = squares + (own - mean) ** 2 * count * len(values) / total
            mean, count = mean + (own - mean) * len(values) / total, total
    return (mean, squares / count) if count else None


def _floored(variance_F: np.ndarray) -> np.ndarray:
    spread_F = np.maximum(np.sqrt(variance_F), SMALLEST_SPREAD * np.sqrt(variance_F.mean()))
    return np.where(spread_F > 0, spread_F, 1.0)
