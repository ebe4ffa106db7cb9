"""Pretraining beside a notebook: in a process of its own, so that the kernel stays free."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from scale.training.preemption import EXIT_CODE

LOG = "pretrain.log"
"""What the process says, in the run folder."""
GRACE = 10
"""Seconds that a process has to end."""


@dataclass(frozen=True)
class BackgroundRun:
    """A `scale pretrain` at work. It goes on when the notebook is closed."""

    folder: Path
    process: subprocess.Popen

    @property
    def alive(self) -> bool:
        """Whether it is at work."""
        return self.process.poll() is None

    def stop(self) -> None:
        """End it: it saves after the step at hand, if it has begun one. Killed after `GRACE`, it
        loses what comes after the last checkpoint, and `resume` makes it again to the bit."""
        # Not by SIGINT: a Jupyter kernel ignores it between cells, and its children inherit that.
        self.process.terminate()
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def complaint(self) -> str:
        """The last line that it said, where it ended by an error of its own; else nothing."""
        code = self.process.poll() or 0
        if code <= 0 or code == EXIT_CODE:
            return ""
        said = (self.folder / LOG).read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line for line in reversed(said) if line.strip()), "")


def pretrain_in_background(catalogue: Path | str, out: Path | str, *options: str) -> BackgroundRun:
    """Start `scale pretrain` on a catalogue, to write into the run folder `out`.

    Args:
        options: as on the command line, e.g. "--train.steps", "300", or "--resume".

    It writes what it says into pretrain.log in the folder; errors (a folder that holds a run
    already) stand there too.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "scale.cli", "pretrain", "--catalogue", str(catalogue)]
    with (folder / LOG).open("ab") as log:
        # A session of its own: interrupting the kernel must not stop the training.
        process = subprocess.Popen(
            [*command, "--out", str(folder), *options],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "TQDM_DISABLE": "1"},
        )  # fmt: skip
    return BackgroundRun(folder, process)
