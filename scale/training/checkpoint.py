"""One checkpoint: model, optimizer and state in a folder that is there whole or not at all.

safetensors and JSON only, beside a list of their SHA-256 that `sha256sum --check SHA256SUMS` reads.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from scale.files import remove_folder, replacing_folder
from scale.model.scale import ScaleModel
from scale.model.storage import CONFIG, WEIGHTS, CheckpointError, read_weights
from scale.training.distributed import rank
from scale.training.sharding import full_tensor, load_parts, part_like

OPTIMIZER = "optimizer.safetensors"
STATE = "state.json"
SUMS = "SHA256SUMS"
OLD = ".old"
"""Ending of a checkpoint that is being replaced."""


@dataclass(frozen=True)
class TrainState:
    """Where a run stands."""

    step: int
    """Steps that are done."""
    best_value: float | None = None
    """Best validation figure so far; None before the first."""
    best_step: int | None = None
    micro_batch: int | None = None
    """To what `train.auto_batch` lowered `train.micro_batch`; None where it did not."""
    scaler: dict | None = None
    """State of the gradient scaler; None without fp16."""


def save_checkpoint(
    folder: Path,
    model: ScaleModel,
    moments: Mapping[str, torch.Tensor] | None,
    state: TrainState,
    keep_as: Path | None = None,
) -> None:
    """Write a checkpoint as one folder that appears whole or not at all.

    Args:
        model: with whole weights (`sharding.whole_model`).
        moments: `optimizer_state_dict` of the optimizer; None: the checkpoint cannot be resumed.
        keep_as: the name that an earlier checkpoint of the same name gets; None: it is removed.

    Raises:
        OSError: it could not be written, e.g. the disk is full. An earlier checkpoint stays.
    """
    old = folder.with_name(folder.name + OLD)
    try:
        with replacing_folder(folder, keep_as or old) as fresh:
            model.save_pretrained(fresh)
            if moments is not None:
                save_file(dict(moments), fresh / OPTIMIZER)
            text = json.dumps(asdict(state), indent=2) + "\n"
            (fresh / STATE).write_text(text, encoding="utf-8")
            _write_sums(fresh)
    except SafetensorError as error:
        raise OSError(f"{folder}: {error}") from error
    remove_folder(old)


def optimizer_state_dict(
    model: ScaleModel, optimizer: torch.optim.Optimizer
) -> dict[str, torch.Tensor]:
    """AdamW's state by parameter name, e.g. `jct.stack.norm.weight/exp_avg`, on the CPU.

    Where it is shared out, all processes must call; the main one has it, others get nothing.
    """
    found = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            value = full_tensor(value)
            if rank() == 0:
                found[f"{name}/{key}"] = value.detach().contiguous().cpu()
    return found


def load_checkpoint(
    folder: Path, model: ScaleModel, optimizer: torch.optim.Optimizer
) -> TrainState:
    """Put weights and optimizer back to where they were, to the bit.

    Raises CheckpointError where a file is missing, damaged or of another model.
    """
    verify(folder)
    state = read_state(folder)
    saved = ScaleModel.from_pretrained(folder)
    if saved.config != model.config or saved.missing != model.missing:
        raise CheckpointError(f"{folder}: the checkpoint is of another model than the run's config")
    load_parts(model, saved.state_dict())
    _restore_optimizer(read_weights(folder / OPTIMIZER), model, optimizer, folder)
    return state


def load_weights(folder: Path) -> ScaleModel:
    """The model of a checkpoint. Raises CheckpointError where it is damaged."""
    verify(folder, (CONFIG, WEIGHTS))
    return ScaleModel.from_pretrained(folder)


def read_state(folder: Path) -> TrainState:
    """Where the run stood. Raises CheckpointError where the file is missing or damaged."""
    try:
        return TrainState(**json.loads((folder / STATE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{folder / STATE}: {error}") from error


def verify(folder: Path, names: tuple[str, ...] | None = None) -> None:
    """Raises CheckpointError that names the first file that is not as it was written.

    `names`: only these files; None: all. Checkpoints older than the sums pass unseen.
    """
    if not (folder / SUMS).is_file():
        return
    for line in (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines():
        expected, _, name = line.partition("  ")
        path = folder / name
        if names is not None and name not in names:
            continue
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file, but {SUMS} lists it")
        if _sha256(path) != expected:
            raise CheckpointError(f"{path}: damaged (its SHA-256 is not the one in {SUMS})")


def _write_sums(folder: Path) -> None:
    lines = [f"{_sha256(path)}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _restore_optimizer(
    tensors: dict[str, torch.Tensor],
    model: ScaleModel,
    optimizer: torch.optim.Optimizer,
    folder: Path,
) -> None:
    optimizer.state.clear()
    parameters = dict(model.named_parameters())
    for name, value in tensors.items():
        parameter_name, _, key = name.rpartition("/")
        if parameter_name not in parameters:
            raise CheckpointError(f"{folder / OPTIMIZER}: {parameter_name} is not in the model")
        parameter = parameters[parameter_name]
        # AdamW keeps its step counter on the CPU unless it is fused; the rest sits by the weights.
        fused = bool(optimizer.param_groups[0].get("fused"))
        device = parameter.device if key != "step" or fused else "cpu"
        value = value.to(device)
        optimizer.state[parameter][key] = value if key == "step" else part_like(value, parameter)
