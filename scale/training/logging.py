"""Logs of a training run: metrics.jsonl, scores.parquet and, if installed, TensorBoard.

B products, M modalities (five), T logged steps, R rows of a file.
"""

import contextlib
import importlib.util
import json
import math
import os
import time
from itertools import takewhile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from scale.files import replacing, write_whole
from scale.modalities import MODALITIES

METRICS = "metrics.jsonl"
SCORES = "scores.parquet"
SCORES_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("row", pa.string()),
        ("column", pa.string()),
        ("products", pa.int64()),
        ("mean", pa.float64()),
        ("std", pa.float64()),
    ]
)
"""S'_ij over time: `row` i, `column` j, `products` of the batch that have both."""


class MetricsLogger:
    """Appends to the log files of a run."""

    def __init__(self, folder: Path, step: int):
        """`step`: completed steps; entries of later steps are removed from the files."""
        self.folder = folder
        for name in (METRICS, SCORES):
            for unfinished in folder.glob(f".*.{name}"):
                unfinished.unlink()
        self.metrics = [line for line in read_metrics(folder) if line["step"] <= step]
        self.scores = [row for row in read_scores(folder) if row["step"] <= step]
        text = "".join(_json_line(values) for values in self.metrics)
        write_whole(folder / METRICS, text)
        self.write_scores()
        self.board = None
        if importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(folder / "tensorboard", purge_step=step + 1)

    def add(self, step: int, values: dict[str, float]) -> None:
        """Append a line of metrics; values that are not finite are written as null."""
        line = {"step": step} | values
        self.metrics.append(line)
        with (self.folder / METRICS).open("a", encoding="utf-8") as file:
            file.write(_json_line(line))
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(name, value, step)

    def add_scores(self, step: int, weighted_BMM: Tensor, present_BM: Tensor) -> None:
        """Add mean and standard deviation of S' over the products that have both modalities."""
        both_BMM = (present_BM[:, :, None] & present_BM[:, None, :]).cpu().numpy()
        score_BMM = weighted_BMM.detach().double().cpu().numpy()
        for i, row in enumerate(MODALITIES):
            for j, column in enumerate(MODALITIES):
                both_B = both_BMM[:, i, j]
                score_B = score_BMM[both_B, i, j]
                score_B = score_B[~np.isnan(score_B)]
                self.scores.append(
                    {
                        "step": step, "row": row, "column": column, "products": int(both_B.sum()),
                        "mean": float(score_B.mean()) if len(score_B) else None,
                        "std": float(score_B.std()) if len(score_B) else None,
                    }
                )  # fmt: skip

    def has(self, step: int, name: str) -> bool:
        """Return whether a metric of a step has been written."""
        lines = reversed(self.metrics)
        return any(name in line for line in takewhile(lambda line: line["step"] >= step, lines))

    def flush(self) -> None:
        """Write everything to disk; called before each checkpoint."""
        self.write_scores()
        with (self.folder / METRICS).open("a", encoding="utf-8") as file:
            os.fsync(file.fileno())

    def write_scores(self) -> None:
        """Write all rows of S' so far."""
        table = pa.Table.from_pylist(self.scores, schema=SCORES_SCHEMA)
        with replacing(self.folder / SCORES) as partial:
            pq.write_table(table, partial)

    def close(self) -> None:
        """Flush TensorBoard's file."""
        if self.board is not None:
            # On a full disk, a failing copy of the metrics must not hide the original error.
            with contextlib.suppress(OSError):
                self.board.close()


class NullLogger:
    """Replaces `MetricsLogger` in all but the main process; writes nothing."""

    def add(self, step: int, values: dict[str, float]) -> None:
        """Do nothing."""

    def add_scores(self, step: int, weighted_BMM: Tensor, present_BM: Tensor) -> None:
        """Do nothing."""

    def has(self, step: int, name: str) -> bool:
        """Return True: the main process writes every metric."""
        return True

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class MetricsBuffer:
    """Metrics that are still on the device, fetched together so that no step waits for them."""

    def __init__(self) -> None:
        self._pending: list[tuple[int, dict[str, Tensor]]] = []

    def add(self, step: int, metrics: dict[str, Tensor]) -> None:
        """Add the scalars of a step."""
        self._pending.append((step, metrics))

    def fetch(self) -> list[tuple[int, dict[str, float]]]:
        """Return steps and metrics since the last call, in one transfer."""
        pending, self._pending = self._pending, []
        flat = [value for _, metrics in pending for value in metrics.values()]
        values = iter(torch.stack(flat).tolist() if flat else [])
        return [(step, {name: next(values) for name in metrics}) for step, metrics in pending]


class Clock:
    """Measures steps per second between two calls."""

    def __init__(self, step: int) -> None:
        self.step, self.time = step, time.perf_counter()

    def rate(self, step: int) -> float:
        """Return the steps per second since the last call; `step`: completed steps."""
        since, self.step = self.step, step
        before, self.time = self.time, time.perf_counter()
        return (step - since) / (self.time - before)


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Read a run's metrics.jsonl; an incomplete last line is skipped."""
    path = folder / METRICS
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def read_scores(folder: Path) -> list[dict]:
    """Read the rows of a run's scores.parquet."""
    path = folder / SCORES
    return pq.read_table(path).to_pylist() if path.is_file() else []


def read_score_means(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read step_T and mean_TMM of S' from a run's scores.parquet; empty if there is none.

    NaN where no product of the batch has both modalities. Raises OSError, ValueError or pyarrow's
    ArrowException if the file is damaged or not that of a run.
    """
    path = folder / SCORES
    if not path.exists():
        return np.zeros(0, dtype=int), np.zeros((0, len(MODALITIES), len(MODALITIES)))
    with path.open("rb") as file:
        table = pq.read_table(file)
    types = {field.name: field.type for field in table.schema}
    if any(types.get(field.name) != field.type for field in SCORES_SCHEMA):
        raise ValueError(f"{path}: not the columns of a run's scores")
    row_R, column_R = (
        pc.fill_null(pc.index_in(table[name], pa.array(MODALITIES)), -1).to_numpy()
        for name in ("row", "column")
    )
    step_T, t_R = np.unique(table["step"].to_numpy(), return_inverse=True)
    mean_TMM = np.full((len(step_T), len(MODALITIES), len(MODALITIES)), np.nan)
    known_R = (row_R >= 0) & (column_R >= 0)
    mean_TMM[t_R[known_R], row_R[known_R], column_R[known_R]] = table["mean"].to_numpy()[known_R]
    return step_T, mean_TMM


def _json_line(values: dict[str, float]) -> str:
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v
              for k, v in values.items()}  # fmt: skip
    return json.dumps(finite) + "\n"
