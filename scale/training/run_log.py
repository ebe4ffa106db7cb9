"""A run folder while another process writes it: what is new since it was last looked at.

T logged steps, M modalities (five), R rows of a file.
"""

import json
import math
import time
from array import array
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scale.config import Config
from scale.modalities import MODALITIES
from scale.training.checkpoint_manager import STATE
from scale.training.logging import METRICS, SCORES, SCORES_SCHEMA
from scale.training.run import RunFolder

SEAM = 256
"""Bytes before the place where reading stopped by which a file that was rewritten is noticed."""

Curve = tuple[np.ndarray, np.ndarray]
"""Steps and values, both (T,)."""
Trouble = Literal["missing", "no_run", "config", "metrics", "scores"]


class LineTail:
    """Whole lines that were added to a file since it was last read.

    A half-written last line waits for its end. A file that was cut or written anew is read from its
    start; it is known by its last bytes that were read, because it may have grown long again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._place, self._seam = 0, b""

    def read(self) -> tuple[bool, list[bytes]]:
        """Whether the file starts anew, and its new lines without their ends."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._place - len(self._seam))
                anew = file.read(len(self._seam)) != self._seam
                if anew:
                    self._place, self._seam = 0, b""
                file.seek(self._place)
                fresh = file.read()
        except FileNotFoundError:
            anew, fresh = self._place > 0, b""
            self._place, self._seam = 0, b""
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._place += len(whole)
        self._seam = (self._seam + whole)[-SEAM:]
        return anew, whole.split(b"\n")[:-1]


class RunLog:
    """Everything logged in a run folder so far; `read` adds what is new.

    A run that is resumed goes back to its checkpoint: later lines are taken away, as the run itself
    does. Whatever cannot be read is counted or told by `trouble`; nothing raises.
    """

    def __init__(self, folder: Path | str) -> None:
        self.run = RunFolder(Path(folder))
        self.config: Config | None = None
        self.lines: list[dict[str, Any]] = []
        """Of metrics.jsonl, by step."""
        self.damaged: list[int] = []
        """Numbers of its lines that are not a JSON object with a step; the first is 1."""
        self.returns = 0
        """How often the steps went back."""
        self.step_T, self.mean_TMM = no_scores()
        """S' by step, mean over the batch."""
        self.trouble: dict[Trouble, str] = {}
        """What could not be read, and why."""
        self._tail, self._number = LineTail(self.run.folder / METRICS), 0
        self._points: dict[str, tuple[array, array]] = {}
        self._seen: dict[Path, tuple[int, ...]] = {}

    def read(self) -> bool:
        """Read what is new; whether there was anything."""
        found = [self._read_config(), self._read_metrics(), self._read_scores()]
        return self._look_around() or any(found)

    @property
    def step(self) -> int:
        """The newest logged step; 0 before the first."""
        return self.lines[-1]["step"] if self.lines else 0

    def curves(self) -> dict[str, Curve]:
        """Steps and values of every number logged, by key in order of appearance; null is NaN."""
        return {key: tuple(map(np.array, points)) for key, points in self._points.items()}

    def quiet(self) -> float:
        """Seconds since metrics.jsonl was last written; 0 where there is none."""
        try:
            return max(0.0, time.time() - self._tail.path.stat().st_mtime)
        except OSError:
            return 0.0

    def saved_step(self) -> int:
        """Step of the last checkpoint; 0 where there is none that can be read."""
        try:
            return int(json.loads((self.run.checkpoint("last") / STATE).read_bytes())["step"])
        except (OSError, ValueError, TypeError, KeyError):
            return 0

    def _look_around(self) -> bool:
        """Whether this is the folder of a run; whether the answer is another than before."""
        folder, before = self.run.folder, self.trouble.keys() & {"missing", "no_run"}
        there = self.lines or self.config or self._tail.path.exists() or self.run.config.exists()
        now: Trouble | None = "no_run" if not there else None
        if not folder.is_dir():
            now = "missing"
        for each in before:
            del self.trouble[each]
        if now is not None:
            self.trouble[now] = str(folder)
        return before != ({now} if now else set())

    def _read_config(self) -> bool:
        if not self._changed(self.run.config):
            return False
        self.trouble.pop("config", None)
        try:
            self.config = Config.load(self.run.config) if self.run.config.exists() else None
        except (ValueError, OSError) as error:
            self.config, self.trouble["config"] = None, str(error)
        return True

    def _read_metrics(self) -> bool:
        self.trouble.pop("metrics", None)
        try:
            anew, lines = self._tail.read()
        except OSError as error:
            self.trouble["metrics"] = str(error)
            return False
        if anew:
            self.returns += bool(self.lines)
            self.lines, self.damaged, self._points, self._number = [], [], {}, 0
        for raw in lines:
            self._number += 1
            line = parse_line(raw)
            if line is None:
                self.damaged.append(self._number)
            else:
                self._add(line)
        return anew or bool(lines)

    def _add(self, line: dict[str, Any]) -> None:
        step = line["step"]
        if step < self.step:
            self.returns += 1
            self._cut(step)
        self.lines.append(line)
        for key, value in line.items():
            if key != "step" and (value is None or isinstance(value, float)):
                steps, values = self._points.setdefault(key, (array("d"), array("d")))
                steps.append(step)
                values.append(math.nan if value is None else value)

    def _cut(self, step: int) -> None:
        """Forget this step and later ones. Steps are in order, so only the ends are looked at."""
        while self.lines and self.lines[-1]["step"] >= step:
            self.lines.pop()
        for steps, values in self._points.values():
            while steps and steps[-1] >= step:
                steps.pop()
                values.pop()

    def _read_scores(self) -> bool:
        """The file is replaced as a whole, so it is read as a whole, when it is another one."""
        path = self.run.folder / SCORES
        if not self._changed(path):
            return False
        self.trouble.pop("scores", None)
        try:
            self.step_T, self.mean_TMM = read_means(path) if path.exists() else no_scores()
        except (OSError, ValueError, pa.ArrowException) as error:
            self.trouble["scores"] = str(error)
        return True

    def _changed(self, path: Path) -> bool:
        try:
            found = path.stat()
            seen: tuple[int, ...] = (found.st_mtime_ns, found.st_size, found.st_ino)
        except OSError:
            seen = ()
        before, self._seen[path] = self._seen.get(path, ()), seen
        return seen != before


def parse_line(raw: bytes) -> dict[str, Any] | None:
    """A line of metrics.jsonl; None where it is not a JSON object with a whole step."""
    try:
        line = json.loads(raw, parse_int=float)
    except ValueError:
        return None
    step = line.get("step") if isinstance(line, dict) else None
    if not isinstance(step, float) or not step.is_integer():
        return None
    return line | {"step": int(step)}


def no_scores() -> Curve:
    """step_T and mean_TMM of nothing."""
    return np.zeros(0), np.zeros((0, len(MODALITIES), len(MODALITIES)))


def read_means(path: Path) -> Curve:
    """step_T and mean_TMM of a scores.parquet, as `log.score_means` but without a loop over rows.

    Raises ValueError, OSError or pyarrow's ArrowException where the file is not what a run writes.
    """
    with path.open("rb") as file:
        table = pq.read_table(file)
    found = {field.name: field.type for field in table.schema}
    if any(found.get(field.name) != field.type for field in SCORES_SCHEMA):
        raise ValueError(f"{path}: other columns than a run writes")
    row_R, column_R = (
        pc.fill_null(pc.index_in(table[name], pa.array(MODALITIES)), -1).to_numpy()
        for name in ("row", "column")
    )
    step_T, place_R = np.unique(table["step"].to_numpy(), return_inverse=True)
    mean_TMM = np.full((len(step_T), len(MODALITIES), len(MODALITIES)), np.nan)
    known_R = (row_R >= 0) & (column_R >= 0)
    mean_R = table["mean"].to_numpy()
    mean_TMM[place_R[known_R], row_R[known_R], column_R[known_R]] = mean_R[known_R]
    return step_T, mean_TMM
