"""The checkpoints of a run beside each other: which are there, which are kept, which are good.

`last` is the newest to go on from, `last-000100` an older one, `best` that of the best validation;
`step-000100` holds a model to look at. Other endings are what a killed process left.
"""

import logging
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from scale.files import remove_folder
from scale.model.scale import ScaleModel
from scale.model.storage import CheckpointError
from scale.training.checkpoint import OLD, TrainState, load_checkpoint, read_state, save_checkpoint

log = logging.getLogger(__name__)

NAME = re.compile(r"best|last|(?:last|step)-\d+")
DAMAGED = ".damaged"
"""Ending of a checkpoint that was refused."""


def numbered(kind: str, step: int) -> str:
    """`last-000100`, `step-000100`."""
    return f"{kind}-{step:06d}"


def checkpoints(folder: Path) -> dict[str, int]:
    """The checkpoints in a run's folder `checkpoint`: name and step, earliest first.

    Those whose state cannot be read are left out.
    """
    steps = {path.name: _step(path) for path in _folders(folder)}
    found = {n: step for n, step in steps.items() if step is not None and not n.endswith(OLD)}
    return dict(sorted(found.items(), key=lambda item: (item[1], item[0])))


def find_checkpoint(folder: Path, which: str) -> Path | None:
    """The folder of a checkpoint by name, also while it is being replaced; None: it is not there.

    Where no validation chose a best one, `best` is the last.
    """
    names = [which, f"{which}{OLD}"]
    if which in ("best", "last"):
        older = [name for name in checkpoints(folder) if name.startswith("last-")]
        names += ["last", *reversed(older), f"last{OLD}"]
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def resumable(folder: Path) -> list[Path]:
    """Checkpoints to go on from, newest first; those whose state cannot be read come before."""
    steps = {p: _step(p) for p in _folders(folder) if not p.name.startswith("step-")}

    def newest(path: Path) -> tuple[float, bool]:
        step = steps[path]
        return float("inf") if step is None else step, path.name.startswith("last")

    return sorted(steps, key=newest, reverse=True)


def restore(
    folder: Path, model: ScaleModel, optimizer: torch.optim.Optimizer
) -> tuple[str, TrainState] | None:
    """Put model and optimizer to the newest good checkpoint; its name and state, or None.

    Damaged ones that are newer get the ending .damaged, with a warning on the log. Raises
    CheckpointError where there are checkpoints but none is good.
    """
    refused: dict[Path, CheckpointError] = {}
    for path in resumable(folder):
        try:
            state = load_checkpoint(path, model, optimizer)
        except CheckpointError as error:
            refused[path] = error
            continue
        for bad, reason in refused.items():
            aside = bad.with_name(f"{bad.name}{DAMAGED}")
            remove_folder(aside)
            bad.rename(aside)
            log.warning("%s; it is now %s, and %s (step %d) is taken", reason, aside, path,
                        state.step)  # fmt: skip
        return path.name, state
    if refused:
        raise CheckpointError("; ".join(str(reason) for reason in refused.values()))
    return None


def save_last(
    folder: Path,
    model: ScaleModel,
    moments: Mapping[str, torch.Tensor],
    state: TrainState,
    keep: int,
) -> None:
    """Write `last`; the one before gets its step's name, and the newest `keep` in all stay.

    `model` and `moments` as for `save_checkpoint`.

    Raises OSError where it could not be written; then nothing of before is lost.
    """
    last = folder / "last"
    earlier = _step(last)
    keep_as = None if earlier is None else folder / numbered("last", earlier)
    save_checkpoint(last, model, moments, state, keep_as)
    older = [name for name in checkpoints(folder) if name.startswith("last-")]
    for name in older[: max(0, len(older) - (keep - 1))]:
        remove_folder(folder / name)


def tidy(folder: Path) -> None:
    """Remove or finish what a killed process left; only for the process that trains."""
    for path in sorted(folder.glob("*")) if folder.is_dir() else ():
        if path.suffix == OLD and not path.with_suffix("").exists():
            path.rename(path.with_suffix(""))
        elif path.suffix in (OLD, ".new", ".gone"):
            shutil.rmtree(path, ignore_errors=True)


def _folders(folder: Path) -> list[Path]:
    """Folders of checkpoints, whole ones only."""
    if not folder.is_dir():
        return []
    found = (p for p in folder.iterdir() if NAME.fullmatch(p.name.removesuffix(OLD)))
    return sorted(p for p in found if p.is_dir())


def _step(folder: Path) -> int | None:
    try:
        return read_state(folder).step
    except CheckpointError:
        return None
