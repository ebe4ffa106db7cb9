"""Checkpoints of a run: atomic writes, restore from the newest good one, retention.

A checkpoint is a folder of safetensors and JSON files. It is complete or absent, and its file
SHA256SUMS can be checked with `sha256sum --check SHA256SUMS`. Names in the folder `checkpoint`:

- `last`: the newest one to resume from; `last-000100` is an older one (`train.keep_last`)
- `best`: the one with the best validation
- `step-000100`: weights without optimizer state, to analyse training over time
  (`train.keep_every`)
- other endings (.new, .old, .gone) are left over from a killed process
"""

import json
import logging
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from scale.files import is_plain_name, remove_folder, replacing_folder, sha256
from scale.model.scale import ScaleModel
from scale.model.storage import CONFIG, WEIGHTS, CheckpointError, read_weights
from scale.training.distributed import (
    barrier,
    full_model,
    full_optimizer_state_dict,
    load_full_weights,
    load_optimizer_state,
    main_first,
    rank,
)

log = logging.getLogger(__name__)

OPTIMIZER = "optimizer.safetensors"
STATE = "state.json"
SUMS = "SHA256SUMS"
NAME = re.compile(r"best|last|(?:last|step)-\d+")
OLD = ".old"
"""Suffix of a checkpoint that is being replaced."""
DAMAGED = ".damaged"
"""Suffix of a checkpoint that could not be restored."""


@dataclass(frozen=True)
class TrainState:
    """Progress of a run."""

    step: int
    """Completed steps."""
    best_value: float | None = None
    """Best validation metric so far; None before the first validation."""
    best_step: int | None = None
    """Step of that validation; the latest one of equal values."""
    best_by: str | None = None
    """Name of that metric; None: `val/Recall@10` of earlier versions."""
    micro_batch: int | None = None
    """`train.micro_batch` as lowered by `train.auto_batch`; None where it was not lowered."""
    scaler: dict | None = None
    """State of the gradient scaler; None without fp16."""


class CheckpointManager:
    """Writes, restores and removes the checkpoints of one run.

    Only the main process writes. The `save_*` methods gather sharded weights, so all processes
    must call them. A failed write raises OSError (e.g. disk full) and keeps earlier checkpoints.
    """

    def __init__(self, folder: Path, keep_last: int = 1):
        """`folder`: the run's folder `checkpoint`; `keep_last`: number of `last` ones to keep."""
        self.folder, self.keep_last = folder, keep_last

    def save_last(
        self, model: ScaleModel, optimizer: torch.optim.Optimizer, state: TrainState
    ) -> None:
        """Write `last`; rename the previous one to `last-<step>` and keep the newest ones."""
        earlier = _step(self.folder / "last")
        keep_as = None if earlier is None else f"last-{earlier:06d}"
        self._save("last", model, optimizer, state, keep_as)
        if rank() == 0:
            older = [name for name in self.steps() if name.startswith("last-")]
            for name in older[: max(0, len(older) - (self.keep_last - 1))]:
                remove_folder(self.folder / name)

    def save_best(
        self, model: ScaleModel, optimizer: torch.optim.Optimizer, state: TrainState
    ) -> None:
        """Write `best`; the previous one is removed."""
        self._save("best", model, optimizer, state)

    def save_numbered(self, model: ScaleModel, state: TrainState) -> None:
        """Write `step-<step>` without optimizer state, unless it exists."""
        self._save(f"step-{state.step:06d}", model, None, state)

    def restore(
        self, model: ScaleModel, optimizer: torch.optim.Optimizer
    ) -> tuple[str, TrainState] | None:
        """Load the newest good checkpoint; return its name and state, or None if there is none.

        Newer ones that are damaged get the suffix .damaged, and a warning is logged. All processes
        must call. Raises CheckpointError if there are checkpoints but all are damaged.
        """
        refused: dict[Path, CheckpointError] = {}
        with main_first():
            if rank() == 0:
                self.tidy()
            candidates = self.resumable()
        # Loading is collective with sharded weights, so all processes load at the same time.
        for path in candidates:
            try:
                state = load_checkpoint(path, model, optimizer)
            except CheckpointError as error:
                refused[path] = error
                continue
            barrier()
            if rank() == 0:
                self._set_aside(refused, f"{path} (step {state.step})")
            return path.name, state
        if refused:
            raise CheckpointError("; ".join(str(reason) for reason in refused.values()))
        return None

    def steps(self) -> dict[str, int]:
        """Return the names of all readable checkpoints and their steps, earliest first."""
        steps = {path.name: _step(path) for path in self._folders()}
        found = {n: step for n, step in steps.items() if step is not None and not n.endswith(OLD)}
        return dict(sorted(found.items(), key=lambda item: (item[1], item[0])))

    def find(self, name: str) -> Path | None:
        """Return the folder of a checkpoint, also while it is being replaced; None if absent.

        Without validation there is no `best`, and the last one is returned.
        """
        names = [name, f"{name}{OLD}"]
        if name in ("best", "last"):
            older = [other for other in self.steps() if other.startswith("last-")]
            names += ["last", *reversed(older), f"last{OLD}"]
        return next((self.folder / n for n in names if (self.folder / n).is_dir()), None)

    def resumable(self) -> list[Path]:
        """Return checkpoints with optimizer state: unreadable ones first, then from the newest."""
        steps = {p: _step(p) for p in self._folders() if not p.name.startswith("step-")}

        def newest(path: Path) -> tuple[float, bool]:
            step = steps[path]
            return float("inf") if step is None else step, path.name.startswith("last")

        return sorted(steps, key=newest, reverse=True)

    def describe(self) -> str:
        """Return a sentence that names the newest checkpoint, for error messages."""
        found = self.resumable()
        return f"The last good checkpoint is {found[0]}." if found else "No checkpoint was kept."

    def tidy(self) -> None:
        """Remove or complete leftovers of a killed process; only for the training process."""
        for path in sorted(self.folder.glob("*")) if self.folder.is_dir() else ():
            if path.suffix == OLD and not path.with_suffix("").exists():
                path.rename(path.with_suffix(""))
            elif path.suffix in (OLD, ".new", ".gone"):
                shutil.rmtree(path, ignore_errors=True)

    def _save(
        self,
        name: str,
        model: ScaleModel,
        optimizer: torch.optim.Optimizer | None,
        state: TrainState,
        keep_as: str | None = None,
    ) -> None:
        """Write one checkpoint; an earlier one of that name is removed, or renamed to `keep_as`."""
        folder, old = self.folder / name, self.folder / f"{name}{OLD}"
        full = full_model(model)
        tensors = None if optimizer is None else full_optimizer_state_dict(model, optimizer)
        if rank() > 0 or (optimizer is None and folder.exists()):
            return
        try:
            with replacing_folder(folder, self.folder / keep_as if keep_as else old) as fresh:
                full.save_pretrained(fresh)
                if tensors is not None:
                    save_file(tensors, fresh / OPTIMIZER)
                text = json.dumps(asdict(state), indent=2) + "\n"
                (fresh / STATE).write_text(text, encoding="utf-8")
                _write_sums(fresh)
        except SafetensorError as error:
            raise OSError(f"{folder}: {error}") from error
        remove_folder(old)

    def _set_aside(self, refused: dict[Path, CheckpointError], taken: str) -> None:
        for path, reason in refused.items():
            aside = path.with_name(f"{path.name}{DAMAGED}")
            remove_folder(aside)
            path.rename(aside)
            log.warning("%s; renamed to %s; continuing from %s", reason, aside, taken)

    def _folders(self) -> list[Path]:
        """Return complete checkpoint folders, including those being replaced."""
        if not self.folder.is_dir():
            return []
        found = (p for p in self.folder.iterdir() if NAME.fullmatch(p.name.removesuffix(OLD)))
        return sorted(p for p in found if p.is_dir())


def load_checkpoint(
    folder: Path, model: ScaleModel, optimizer: torch.optim.Optimizer
) -> TrainState:
    """Restore weights and optimizer state bit-exactly.

    Raises CheckpointError if a file is missing or damaged, or belongs to another model.
    """
    verify(folder)
    state = read_state(folder)
    saved = ScaleModel.from_pretrained(folder)
    if saved.config != model.config or saved.missing != model.missing:
        raise CheckpointError(f"{folder}: the checkpoint is of another model than the run's config")
    tensors = read_weights(folder / OPTIMIZER)
    names = {name.rpartition("/")[0] for name in tensors}
    for name in sorted(names - dict(model.named_parameters()).keys()):
        raise CheckpointError(f"{folder / OPTIMIZER}: {name} is not in the model")
    load_full_weights(model, saved.state_dict())
    load_optimizer_state(model, optimizer, tensors)
    return state


def load_model(folder: Path) -> ScaleModel:
    """Return the model of a checkpoint. Raises CheckpointError if it is damaged."""
    verify(folder, (CONFIG, WEIGHTS))
    return ScaleModel.from_pretrained(folder)


def read_state(folder: Path) -> TrainState:
    """Read the run's progress. Raises CheckpointError if the file is missing or damaged."""
    try:
        return TrainState(**json.loads((folder / STATE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{folder / STATE}: {error}") from error


def verify(folder: Path, names: tuple[str, ...] | None = None) -> None:
    """Compare files with SHA256SUMS; raise CheckpointError that names the first mismatch.

    `names`: only these files; None: all. Old checkpoints without SHA256SUMS pass unchecked.
    """
    if not (folder / SUMS).is_file():
        return
    for line in (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines():
        expected, _, name = line.partition("  ")
        path = folder / name
        if names is not None and name not in names:
            continue
        if not is_plain_name(name):
            raise CheckpointError(f"{folder / SUMS}: {name!r} is not a file of the checkpoint")
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file, but {SUMS} lists it")
        if sha256(path) != expected:
            raise CheckpointError(f"{path}: damaged (its SHA-256 differs from {SUMS})")


def _write_sums(folder: Path) -> None:
    lines = [f"{sha256(path)}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def _step(folder: Path) -> int | None:
    try:
        return read_state(folder).step
    except CheckpointError:
        return None
