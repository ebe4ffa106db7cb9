"""Checkpoints that survive a power cut: written beside, then renamed; safetensors and JSON only."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from scale.model.scale import ScaleModel
from scale.model.storage import CheckpointError, read_weights

OPTIMIZER = "optimizer.safetensors"
STATE = "state.json"


@dataclass(frozen=True)
class TrainState:
    """Where a run stands."""

    step: int
    """Steps that are done."""
    best_value: float | None = None
    """Best validation figure so far; None before the first."""
    best_step: int | None = None


def save_checkpoint(
    folder: Path, model: ScaleModel, optimizer: torch.optim.Optimizer, state: TrainState
) -> None:
    """Write model, optimizer and state as one folder that appears whole or not at all."""
    fresh, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    shutil.rmtree(fresh, ignore_errors=True)
    model.save_pretrained(fresh)
    save_file(_optimizer_tensors(model, optimizer), fresh / OPTIMIZER)
    (fresh / STATE).write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def recover_checkpoint(folder: Path) -> bool:
    """Finish what a stop between two renames left; True where there is a checkpoint then."""
    old = folder.with_name(folder.name + ".old")
    if not folder.exists() and old.exists():
        old.rename(folder)
    return folder.exists()


def load_checkpoint(
    folder: Path, model: ScaleModel, optimizer: torch.optim.Optimizer
) -> TrainState:
    """Put weights and optimizer back to where they were, to the bit.

    Raises CheckpointError where a file is missing, damaged or of another model.
    """
    saved = ScaleModel.from_pretrained(folder)
    if saved.config != model.config or saved.missing != model.missing:
        raise CheckpointError(f"{folder}: the checkpoint is of another model than the run's config")
    model.load_state_dict(saved.state_dict())
    _restore_optimizer(read_weights(folder / OPTIMIZER), model, optimizer, folder)
    try:
        return TrainState(**json.loads((folder / STATE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{folder / STATE}: {error}") from error


def _optimizer_tensors(
    model: ScaleModel, optimizer: torch.optim.Optimizer
) -> dict[str, torch.Tensor]:
    """AdamW's state by parameter name, e.g. `jct.stack.norm.weight/exp_avg`."""
    return {
        f"{name}/{key}": value.detach().contiguous().cpu()
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _restore_optimizer(
    tensors: dict[str, torch.Tensor],
    model: ScaleModel,
    optimizer: torch.optim.Optimizer,
    folder: Path,
) -> None:
    parameters = dict(model.named_parameters())
    for name, value in tensors.items():
        parameter_name, _, key = name.rpartition("/")
        if parameter_name not in parameters:
            raise CheckpointError(f"{folder / OPTIMIZER}: {parameter_name} is not in the model")
        parameter = parameters[parameter_name]
        # AdamW keeps its step counter on the CPU unless it is fused; the rest sits by the weights.
        fused = bool(optimizer.param_groups[0].get("fused"))
        device = parameter.device if key != "step" or fused else "cpu"
        optimizer.state[parameter][key] = value.to(device)
