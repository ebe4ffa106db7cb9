"""Models on disk: `model.safetensors` and `config.json`, without pickle.

huggingface_hub's mixin is not used: it silently drops unknown settings, prints, and falls back to a
pickle where the safetensors file is missing.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from scale.config import MissingConfig, ModelConfig, build

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
RENAMED = {"jct.stand_in.": "jct.missing_token."}
"""Old prefixes of weights in checkpoints, with their new ones."""


class CheckpointError(ValueError):
    """A checkpoint is damaged or does not fit; the message contains the path and the reason."""


def write_model(
    folder: str | Path, settings: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> None:
    """Write settings and weights into a folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    weights = {k: v.detach().contiguous().cpu() for k, v in weights.items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def read_settings(
    folder: str | Path,
) -> tuple[Path, ModelConfig, MissingConfig, dict[str, dict[str, Any]]]:
    """Return the local folder of a model (a hub repository is downloaded), its settings, and the
    architectures of public models inside its encoders.

    Raises CheckpointError if they are missing or invalid.
    """
    folder = _local(folder)
    path = folder / CONFIG
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; is this the folder of a checkpoint?")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        config = build(ModelConfig, settings["model"], "model.")
        missing = build(MissingConfig, settings["missing"], "missing.")
        return folder, config, missing, settings.get("architectures", {})
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path}: not the settings of a SCALE model ({error})") from error


def load_weights(model: nn.Module, folder: Path) -> None:
    """Load the weights of a folder into a model.

    Raises CheckpointError if weights are missing, superfluous or of another shape; it lists the
    first five.
    """
    weights = read_weights(folder / WEIGHTS)
    problems = _mismatches(model.state_dict(), weights)
    if problems:
        more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
        raise CheckpointError(f"{folder / WEIGHTS}: {'; '.join(problems[:5])}{more}")
    model.load_state_dict(weights)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return tensors by name, renamed as in `RENAMED`. Raises CheckpointError if the file is
    missing or damaged."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        return {_current_name(name): tensor for name, tensor in load_file(path).items()}
    except SafetensorError as error:
        raise CheckpointError(f"{path}: damaged ({error})") from error
    except OSError as error:
        # safetensors reports files that the user may not read as missing.
        raise CheckpointError(f"{path}: not readable: permission denied") from error


def _current_name(name: str) -> str:
    for old, new in RENAMED.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _local(folder: str | Path) -> Path:
    """Return the folder, or the download of the hub repository with this name."""
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


def _mismatches(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """Return the differences between the model's and the file's tensors."""
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} is not part of this model" for name in found if name not in expected]
    for name in expected.keys() & found.keys():
        if expected[name].shape != found[name].shape:
            problems.append(
                f"{name} is {tuple(found[name].shape)}, the model's is "
                f"{tuple(expected[name].shape)}"
            )
    return sorted(problems)
