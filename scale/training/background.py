"""Pretraining in a separate process, so that a notebook's kernel stays responsive."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from scale.training.preemption import EXIT_CODE

LOG = "pretrain.log"
"""Output of the process, in the run folder."""
GRACE = 10
"""Seconds that the process has to exit after SIGTERM."""


@dataclass(frozen=True)
class BackgroundRun:
    """A `scale pretrain` process. It keeps running when the notebook is closed."""

    folder: Path
    process: subprocess.Popen

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self.process.poll() is None

    def stop(self) -> None:
        """Terminate the process; it saves a checkpoint after the current step.

        If it does not exit within `GRACE` seconds it is killed; `resume` then recomputes the steps
        since the last checkpoint bit-exactly.
        """
        # Not SIGINT: a Jupyter kernel ignores it between cells, and its children inherit that.
        self.process.terminate()
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def error_message(self) -> str:
        """Return the last line of the log if the process failed, otherwise an empty string."""
        code = self.process.poll() or 0
        if code <= 0 or code == EXIT_CODE:
            return ""
        lines = (self.folder / LOG).read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "")


def pretrain_in_background(catalogue: Path | str, out: Path | str, *options: str) -> BackgroundRun:
    """Start `scale pretrain` on a catalogue in a new process.

    Args:
        out: the run folder. The process writes its output, errors included, to pretrain.log there.
        options: command-line options, e.g. "--train.steps", "300", or "--resume".
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "scale.cli", "pretrain", "--catalogue", str(catalogue)]
    with (folder / LOG).open("ab") as log:
        # In its own session: interrupting the kernel must not stop the training.
        process = subprocess.Popen(
            [*command, "--out", str(folder), *options],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "TQDM_DISABLE": "1"},
        )  # fmt: skip
    return BackgroundRun(folder, process)
