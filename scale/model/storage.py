"""Models on disk: `model.safetensors` and `config.json`, and nothing that is unpickled.

Not huggingface_hub's mixin: it drops unknown settings in silence, prints, and falls back to a
pickle where the safetensors are missing.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from scale.config import MissingConfig, ModelConfig, build

if TYPE_CHECKING:
    from scale.model.scale import ScaleModel

WEIGHTS = "model.safetensors"
CONFIG = "config.json"


class CheckpointError(ValueError):
    """A checkpoint that does not fit or is damaged; the message says where and what."""


def save_model(model: ScaleModel, folder: str | Path) -> None:
    """Write the weights and the settings that rebuild the model."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"model": asdict(model.config), "missing": asdict(model.missing)}
    (folder / CONFIG).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    weights = {k: v.detach().contiguous().cpu() for k, v in model.state_dict().items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def load_model(cls: type[ScaleModel], folder: str | Path) -> ScaleModel:
    """The model of a folder written by `save_pretrained`, in evaluation mode, on the CPU.

    `folder` may also name a repository of the Hugging Face hub, which is then downloaded.

    Raises:
        CheckpointError: a file is missing or damaged, a setting is unknown, or weights are missing,
            left over or of another shape; it names the first of them and counts the rest.
    """
    folder = _local(folder)
    model = cls(*_read_settings(folder / CONFIG))
    weights = read_weights(folder / WEIGHTS)
    problems = _misfits(model.state_dict(), weights)
    if problems:
        more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
        raise CheckpointError(f"{folder / WEIGHTS}: {'; '.join(problems[:5])}{more}")
    model.load_state_dict(weights)
    return model.eval()


def read_weights(path: Path) -> dict:
    """Tensors by name. Raises CheckpointError where the file is missing or damaged."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: damaged ({error})") from error


def _local(folder: str | Path) -> Path:
    """The folder itself, or the download of a hub repository of that name."""
    name = str(folder)
    # A hub name is `owner/model`; anything else can only be a path.
    if Path(folder).is_dir() or name.count("/") != 1 or name.startswith((".", "/")):
        return Path(folder)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.txt"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"{name}: no such folder, and not found on the hub ({type(error).__name__})"
        ) from error


def _read_settings(path: Path) -> tuple[ModelConfig, MissingConfig]:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; is this the folder of a checkpoint?")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        model = build(ModelConfig, settings["model"], "model.")
        return model, build(MissingConfig, settings["missing"], "missing.")
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path}: not the settings of a SCALE model ({error})") from error


def _misfits(expected: dict, found: dict) -> list[str]:
    """What does not fit between the model's tensors and the file's, one sentence each."""
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} is not a part of this model" for name in found if name not in expected]
    for name in expected.keys() & found.keys():
        if expected[name].shape != found[name].shape:
            problems.append(
                f"{name} is {tuple(found[name].shape)}, the model's is "
                f"{tuple(expected[name].shape)}"
            )
    return sorted(problems)
