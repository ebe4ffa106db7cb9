"""Frozen timm models as a source of image and frame vectors.

H, W height and width in pixels, C colours, T frames of a clip, L tokens, F features of a vector.
"""

import hashlib
import threading
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor, nn

from scale.data.features import fit_picture


class Backbone:
    """A frozen timm model: patch tokens of a picture, one pooled vector per frame of a clip.

    Pictures are fitted to the model's own input size (aspect kept, padded with white, never
    cropped) and scaled by its own mean and standard deviation.
    """

    def __init__(self, name: str, device: torch.device | str = "auto") -> None:
        """Load by `name`: a timm model such as `vit_small_patch16_224.dino` or
        `hf-hub:owner/model`, whose weights come from the hub, or a local folder with timm's
        config.json and safetensors (as `timm.models.save_for_hf` writes it).

        `device`: `auto` is CUDA where there is one, else the CPU. Raises ValueError that names the
        model and says what is missing or does not fit.
        """
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.name = name
        self.device = torch.device(device)
        self.identity = backbone_identity(name)
        self.lock = threading.Lock()
        """Threads decode side by side; the model itself already uses every core."""
        self.model = load_timm(name).eval().requires_grad_(False).to(self.device)
        settings = timm.data.resolve_model_data_config(self.model)
        self.size: int = settings["input_size"][-1]
        self.mean_C = torch.tensor(settings["mean"], device=self.device)
        self.spread_C = torch.tensor(settings["std"], device=self.device)

    def tokens(self, picture: Image.Image) -> np.ndarray:
        """tokens_LF (float32) of a picture: the last layer's, without [CLS] and registers.

        A convolutional model's map of H x W places gives L = H W tokens, row by row.
        """
        with self.lock, torch.inference_mode():
            features = self.model.forward_features(self._inputs([picture]))
        if features.ndim == 4 and getattr(self.model, "output_fmt", "NCHW") == "NCHW":
            features = features.permute(0, 2, 3, 1)
        prefix = getattr(self.model, "num_prefix_tokens", 0) if features.ndim == 3 else 0
        tokens_LF = features[0].reshape(-1, features.shape[-1])[prefix:]
        return tokens_LF.float().cpu().numpy()

    def pooled(self, frames_THWC: np.ndarray) -> np.ndarray:
        """vectors_TF (float32): the model's own pooling of each frame (uint8 RGB)."""
        inputs = self._inputs([Image.fromarray(frame) for frame in frames_THWC])
        with self.lock, torch.inference_mode():
            pooled_TF = self.model(inputs)
        return pooled_TF.float().cpu().numpy()

    def _inputs(self, pictures: list[Image.Image]) -> Tensor:
        pixels_BHWC = np.stack([fit_picture(picture, self.size) for picture in pictures])
        values = torch.from_numpy(pixels_BHWC).to(self.device).float() / 255.0
        return ((values - self.mean_C) / self.spread_C).permute(0, 3, 1, 2).contiguous()


def load_timm(name: str) -> nn.Module:
    """A timm model with its weights, without classifier, by hub name or local folder.

    Raises ValueError that names the model where it does not load.
    """
    source = f"local-dir:{name}" if Path(name).is_dir() else name
    try:
        return timm.create_model(source, pretrained=True, num_classes=0)
    except (RuntimeError, ValueError, OSError, KeyError, TypeError, SafetensorError) as error:
        raise ValueError(f"timm model {name!r} does not load: {error}") from error


def backbone_identity(name: str) -> str:
    """What changes whenever the weights do: part of the key of the feature cache.

    The name of a published model; of a local folder a hash of its configuration and weights.
    Raises ValueError when a folder holds no config.json or no safetensors: other formats of weights
    can run code when they are read.
    """
    folder = Path(name)
    if not folder.is_dir():
        return name
    files = [folder / "config.json", *sorted(folder.glob("*.safetensors"))]
    if not files[0].is_file() or len(files) == 1:
        raise ValueError(f"timm model {name!r}: the folder lacks config.json or *.safetensors")
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        with file.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "blake2b").digest())
    return digest.hexdigest()
