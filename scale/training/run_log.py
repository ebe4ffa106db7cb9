"""Follow a run folder that another process writes.

T logged steps, M modalities (five), R rows of a file.
"""

import json
import math
import time
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from scale.config import Config
from scale.modalities import MODALITIES
from scale.training.checkpoint_manager import STATE
from scale.training.health_checks import Curve
from scale.training.logging import METRICS, SCORES, read_score_means
from scale.training.run import RunFolder

OVERLAP = 256
"""Bytes before the read position that are compared to detect a rewritten file."""
MIN_PATIENCE = 60.0
"""Least number of seconds without a new line after which a run may count as stopped."""
PATIENCE_LINES = 20
"""The same in units of the time between two lines: a validation takes longer than a step."""
SPEED_LINES = 10
"""Number of latest lines from which the speed is computed."""

State = Literal["waiting", "running", "finished", "stopped"]
ErrorKind = Literal["missing", "no_run", "config", "metrics", "scores"]


@dataclass(frozen=True)
class Progress:
    """Progress of a run."""

    state: State
    step: int
    steps: int | None
    """Steps of the whole run; None if config.json is unreadable."""
    speed: float
    """Products per second, median of the latest lines; NaN if unknown."""
    seconds_left: float
    """Until the last step at this speed; NaN if unknown."""
    idle_seconds: float
    """Seconds since the last line was written."""


class LineTail:
    """Reads the lines that were appended to a file since the last call.

    An incomplete last line waits for its end. A file that was truncated or rewritten is read from
    the start; the last bytes read reveal this even if the new file is longer.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position, self._overlap = 0, b""

    def read(self) -> tuple[bool, list[bytes]]:
        """Return whether the file was rewritten, and its new lines without line ends."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._position - len(self._overlap))
                rewritten = file.read(len(self._overlap)) != self._overlap
                if rewritten:
                    self._position, self._overlap = 0, b""
                file.seek(self._position)
                new = file.read()
        except FileNotFoundError:
            rewritten, new = self._position > 0, b""
            self._position, self._overlap = 0, b""
        complete = new[: new.rfind(b"\n") + 1]
        self._position += len(complete)
        self._overlap = (self._overlap + complete)[-OVERLAP:]
        return rewritten, complete.split(b"\n")[:-1]


class RunLog:
    """Everything logged in a run folder so far; `read` adds new entries.

    A resumed run returns to its checkpoint, and later lines are dropped, as the run itself does.
    Unreadable files are collected in `errors` and `damaged_lines`; no method raises.
    """

    def __init__(self, folder: Path | str) -> None:
        self.run = RunFolder(Path(folder))
        self.config: Config | None = None
        self.lines: list[dict[str, Any]] = []
        """Lines of metrics.jsonl by step."""
        self.damaged_lines: list[int] = []
        """Line numbers, from 1, that are not a JSON object with a step."""
        self.restarts = 0
        """How often the step number decreased."""
        self.step_T = np.zeros(0, dtype=int)
        self.mean_TMM = np.zeros((0, len(MODALITIES), len(MODALITIES)))
        """S' by step, mean over the batch."""
        self.errors: dict[ErrorKind, str] = {}
        """Unreadable parts and the reason."""
        self._tail, self._number = LineTail(self.run.folder / METRICS), 0
        self._points: dict[str, tuple[array, array]] = {}
        self._seen: dict[Path, tuple[int, ...]] = {}

    def read(self) -> bool:
        """Read new entries; return whether anything changed."""
        changed = [self._read_config(), self._read_metrics(), self._read_scores()]
        return self._check_folder() or any(changed)

    @property
    def step(self) -> int:
        """Latest logged step; 0 before the first."""
        return self.lines[-1]["step"] if self.lines else 0

    def curves(self) -> dict[str, Curve]:
        """Return steps and values of each metric, in order of appearance; null becomes NaN."""
        return {key: tuple(map(np.array, points)) for key, points in self._points.items()}

    def progress(self, alive: bool | None = None) -> Progress:
        """Return step, state, speed and remaining time.

        A run is finished when its last checkpoint is written, or when nothing follows its last
        step.

        Args:
            alive: whether its process is running. None: unknown; a run that has not written for a
                long time then counts as stopped.
        """
        speed, idle = self._speed(), self.idle_seconds()
        train = self.config.train if self.config else None
        per_step = train.batch_size / speed if train else np.nan
        per_line = per_step * train.log_every if train else 0.0
        patience = max(MIN_PATIENCE, PATIENCE_LINES * np.nan_to_num(per_line))
        silent = idle > patience if alive is None else not alive
        state: State = "running"
        if train and self.step >= train.steps and (silent or self.saved_step() >= train.steps):
            state = "finished"
        elif not self.lines and alive is not False:
            state = "waiting"
        elif silent:
            state = "stopped"
        left = (train.steps - self.step) * per_step if train and state == "running" else np.nan
        return Progress(state, self.step, train.steps if train else None, speed, left, idle)

    def idle_seconds(self) -> float:
        """Return the seconds since metrics.jsonl was last written; 0 if it does not exist."""
        try:
            return max(0.0, time.time() - self._tail.path.stat().st_mtime)
        except OSError:
            return 0.0

    def saved_step(self) -> int:
        """Step of the last checkpoint; 0 if none can be read."""
        try:
            return int(json.loads((self.run.checkpoint("last") / STATE).read_bytes())["step"])
        except (OSError, ValueError, TypeError, KeyError):
            return 0

    def _speed(self) -> float:
        values = self._points.get("products_per_second", ((), ()))[1][-SPEED_LINES:]
        value_T = np.array(values, dtype=float)
        value_T = value_T[np.isfinite(value_T) & (value_T > 0)]
        return float(np.median(value_T)) if len(value_T) else np.nan

    def _check_folder(self) -> bool:
        """Update the errors `missing` and `no_run`; return whether they changed."""
        folder, before = self.run.folder, self.errors.keys() & {"missing", "no_run"}
        found = self.lines or self.config or self._tail.path.exists() or self.run.config.exists()
        now: ErrorKind | None = "no_run" if not found else None
        if not folder.is_dir():
            now = "missing"
        for kind in before:
            del self.errors[kind]
        if now is not None:
            self.errors[now] = str(folder)
        return before != ({now} if now else set())

    def _read_config(self) -> bool:
        if not self._changed(self.run.config):
            return False
        self.errors.pop("config", None)
        try:
            self.config = Config.load(self.run.config) if self.run.config.exists() else None
        except (ValueError, OSError) as error:
            self.config, self.errors["config"] = None, str(error)
        return True

    def _read_metrics(self) -> bool:
        self.errors.pop("metrics", None)
        try:
            rewritten, lines = self._tail.read()
        except OSError as error:
            self.errors["metrics"] = str(error)
            return False
        if rewritten:
            self.restarts += bool(self.lines)
            self.lines, self.damaged_lines, self._points, self._number = [], [], {}, 0
        for raw in lines:
            self._number += 1
            line = parse_line(raw)
            if line is None:
                self.damaged_lines.append(self._number)
            else:
                self._add(line)
        return rewritten or bool(lines)

    def _add(self, line: dict[str, Any]) -> None:
        step = line["step"]
        if step < self.step:
            self.restarts += 1
            self._drop_from(step)
        self.lines.append(line)
        for key, value in line.items():
            if key != "step" and (value is None or isinstance(value, float)):
                steps, values = self._points.setdefault(key, (array("d"), array("d")))
                steps.append(step)
                values.append(math.nan if value is None else value)

    def _drop_from(self, step: int) -> None:
        """Drop this step and later ones. Steps are sorted, so only the ends are inspected."""
        while self.lines and self.lines[-1]["step"] >= step:
            self.lines.pop()
        for steps, values in self._points.values():
            while steps and steps[-1] >= step:
                steps.pop()
                values.pop()

    def _read_scores(self) -> bool:
        """Reload scores.parquet if it was replaced."""
        if not self._changed(self.run.folder / SCORES):
            return False
        self.errors.pop("scores", None)
        try:
            self.step_T, self.mean_TMM = read_score_means(self.run.folder)
        except (OSError, ValueError, pa.ArrowException) as error:
            self.errors["scores"] = str(error)
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
    """Parse a line of metrics.jsonl; None if it is not a JSON object with an integer step."""
    try:
        line = json.loads(raw, parse_int=float)
    except ValueError:
        return None
    step = line.get("step") if isinstance(line, dict) else None
    if not isinstance(step, float) or not step.is_integer():
        return None
    return line | {"step": int(step)}
