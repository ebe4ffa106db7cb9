"""What a run writes while it trains: metrics.jsonl, scores.parquet and, if installed, TensorBoard.

B products, M modalities (five), T logged steps.
"""

import contextlib
import importlib.util
import json
import math
import os
import time
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from scale.files import replacing, write_whole
from scale.modalities import INDEX, MODALITIES

METRICS = "metrics.jsonl"
SCORES = "scores.parquet"


class MetricsLogger:
    """Appends to a run's files; what lies beyond the checkpoint is cut off first."""

    def __init__(self, folder: Path, step: int):
        """`step`: steps that are done; lines of later ones are removed."""
        self.folder = folder
        for name in (METRICS, SCORES):
            for unfinished in folder.glob(f".*.{name}"):
                unfinished.unlink()
        self.metrics = [line for line in read_metrics(folder) if line["step"] <= step]
        self.scores = [row for row in read_scores(folder) if row["step"] <= step]
        text = "".join(_line(values) for values in self.metrics)
        write_whole(folder / METRICS, text)
        self.write_scores()
        self.board = None
        if importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(folder / "tensorboard", purge_step=step + 1)

    def add(self, step: int, values: dict[str, float]) -> None:
        """One line of metrics. A figure that is not a number is written as null."""
        line = {"step": step} | values
        self.metrics.append(line)
        with (self.folder / METRICS).open("a", encoding="utf-8") as file:
            file.write(_line(line))
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(name, value, step)

    def add_scores(self, step: int, weighted_BMM: Tensor, present_BM: Tensor) -> None:
        """Mean and standard deviation of S' over the batch's products that have both modalities."""
        both_BMM = present_BM[:, :, None] & present_BM[:, None, :]
        values_BMM = (
            weighted_BMM.detach().double().masked_fill(~both_BMM, float("nan")).cpu().numpy()
        )
        count_MM = both_BMM.sum(0).cpu().numpy()
        for i, left in enumerate(MODALITIES):
            for j, right in enumerate(MODALITIES):
                here = values_BMM[:, i, j][~np.isnan(values_BMM[:, i, j])]
                self.scores.append(
                    {
                        "step": step, "row": left, "column": right, "products": int(count_MM[i, j]),
                        "mean": float(here.mean()) if len(here) else None,
                        "std": float(here.std()) if len(here) else None,
                    }
                )  # fmt: skip

    def has(self, step: int, name: str) -> bool:
        """Whether a figure of a step is written."""
        lines = reversed(self.metrics)
        return any(name in line for line in takewhile(lambda line: line["step"] >= step, lines))

    def flush(self) -> None:
        """Put on the disk what a checkpoint of this moment rests on."""
        self.write_scores()
        with (self.folder / METRICS).open("a", encoding="utf-8") as file:
            os.fsync(file.fileno())

    def write_scores(self) -> None:
        """Write all rows of S' so far; called with each checkpoint."""
        table = pa.Table.from_pylist(self.scores, schema=SCORES_SCHEMA)
        with replacing(self.folder / SCORES) as partial:
            pq.write_table(table, partial)

    def close(self) -> None:
        """Flush TensorBoard's file."""
        if self.board is not None:
            # On a full disk: the copy of metrics.jsonl must not hide the error that is on its way.
            with contextlib.suppress(OSError):
                self.board.close()


class Clock:
    """Steps per second since it was last asked."""

    def __init__(self, step: int) -> None:
        self.step, self.time = step, time.perf_counter()

    def rate(self, step: int) -> float:
        """Steps per second between the last call and now, at which `step` steps are done."""
        since, self.step = self.step, step
        before, self.time = self.time, time.perf_counter()
        return (step - since) / (self.time - before)


class NullLogger:
    """A `MetricsLogger` of the processes that leave writing, and validating, to the main one."""

    def add(self, step: int, values: dict[str, float]) -> None:
        """Nothing."""

    def add_scores(self, step: int, weighted_BMM: Tensor, present_BM: Tensor) -> None:
        """Nothing."""

    def has(self, step: int, name: str) -> bool:
        """True: what is due will be written."""
        return True

    def flush(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


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


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Lines of a run's metrics.jsonl; a last line that a stop cut in half is left out."""
    path = folder / METRICS
    if not path.is_file():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            lines.append(json.loads(line))
    return lines


def read_scores(folder: Path) -> list[dict]:
    """Rows of a run's scores.parquet."""
    path = folder / SCORES
    return pq.read_table(path).to_pylist() if path.is_file() else []


def score_means(rows: Sequence[dict]) -> tuple[list[int], np.ndarray]:
    """The logged steps, and mean_TMM of S' at each; NaN where no product of the batch has both."""
    steps = sorted({row["step"] for row in rows})
    place = {step: t for t, step in enumerate(steps)}
    mean_TMM = np.full((len(steps), len(MODALITIES), len(MODALITIES)), np.nan)
    for row in rows:
        if row["mean"] is not None:
            mean_TMM[place[row["step"]], INDEX[row["row"]], INDEX[row["column"]]] = row["mean"]
    return steps, mean_TMM


def _line(values: dict[str, float]) -> str:
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v
              for k, v in values.items()}  # fmt: skip
    return json.dumps(finite) + "\n"
