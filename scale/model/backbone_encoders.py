"""Encoders that contain a public model and fine-tune it: transformers for words, timm for pixels.

Unlike cached features (data/backbones.py), the public model is part of the SCALE model: inputs are
masked before it, so that no token contains information about a hidden one.

R rows (products that have the modality), L length including [CLS], P side of a patch in pixels,
S side of an image in pixels, F features of an input vector, W width of the public model, D width.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from scale.config import ModelConfig, require
from scale.data.backbones import UNREADABLE, feature_map, load_timm, load_transformer
from scale.data.batch import Tokens
from scale.data.weights import local_name
from scale.model.encoders import initialise, padding_with_cls

Architecture = dict[str, Any]
"""JSON values from which a public model is built, without weights."""


class BackboneEncoder(nn.Module):
    """A public model, some of whose layers are frozen, and a projection into the model's width.

    Frozen layers have no dropout, and batch normalisation always uses the statistics of the
    pretraining, so that products do not depend on the others of their batch, as the gradient cache
    requires.
    """

    def __init__(self, config: ModelConfig, modality: str, backbone: nn.Module, width: int):
        super().__init__()
        self.length = config.length(modality)
        self.backbone = backbone
        self.project = nn.Linear(width, config.width)
        initialise(self.project)
        freeze_layers(backbone, config.frozen_layers)
        self.frozen = not any(weight.requires_grad for weight in backbone.parameters())
        self.train(self.training)

    @property
    def layers(self) -> list[nn.Module]:
        """Layers of the public model, from below."""
        return backbone_layers(self.backbone)

    def train(self, mode: bool = True) -> "BackboneEncoder":
        """Set the training mode, except of frozen layers and batch normalisation."""
        super().train(mode)
        for module in self.backbone.modules():
            weights = list(module.parameters())
            frozen = weights and not any(weight.requires_grad for weight in weights)
            if self.frozen or frozen or isinstance(module, nn.modules.batchnorm._BatchNorm):
                for part in module.modules():
                    part.training = False
        return self

    def load_weights(self, weights: Mapping[str, Tensor], name: str) -> None:
        """Load the weights of the public model. Raises ValueError if one is missing."""
        own = self.backbone.state_dict()
        wrong = [n for n in own if n not in weights or weights[n].shape != own[n].shape]
        require(not wrong, f"{name!r}: {wrong[:1]} does not fit (and {len(wrong) - 1} more)")
        self.backbone.load_state_dict({n: weights[n] for n in own})

    def _grad(self) -> torch.set_grad_enabled:
        """Disable the gradient of a completely frozen model, which saves its memory."""
        return torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen)


class WordBackboneEncoder(BackboneEncoder):
    """A transformers encoder of word pieces (text, table).

    The first token is the mean of all others in place of [CLS], which sentence encoders do not
    train.
    """

    def __init__(self, config: ModelConfig, modality: str, architecture: Architecture):
        from transformers import AutoConfig, AutoModel

        settings = dict(architecture)
        settings = AutoConfig.for_model(settings.pop("model_type"), **settings)
        backbone = AutoModel.from_config(settings, attn_implementation="sdpa")
        if getattr(settings, "is_encoder_decoder", False):
            backbone = backbone.get_encoder()
        if getattr(backbone, "pooler", None) is not None:
            backbone.pooler = None
        super().__init__(config, modality, backbone, settings.hidden_size)
        self.vocab_size = config.vocab_size
        known = len(self.backbone.get_input_embeddings().weight)
        require(
            config.vocab_size <= known,
            f"model.{modality}_backbone has {known} word pieces, the tokenizer "
            f"{config.vocab_size}: set features.tokenizer to the same name",
        )

    @property
    def word_weight(self) -> Tensor:
        """Word-piece embeddings (V, W), shared with the decoder of the head."""
        return self.backbone.get_input_embeddings().weight[: self.vocab_size]

    def forward(self, tokens: Tokens, hidden_RL: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return encoded_RLD and padding_RL. `hidden_RL` is unused: masked ids are [MASK]."""
        attend_RL = (~tokens.padding_RL).long() if tokens.padded else None
        with self._grad():
            hidden_RLW = self.backbone(
                input_ids=tokens.values, attention_mask=attend_RL
            ).last_hidden_state
        return self._project(hidden_RLW, tokens.padding_RL), tokens.padding_RL

    def impute_zeros(self) -> Tensor:
        """Return encoded_1LD for word embeddings of 0 at all positions."""
        weight = self.backbone.get_input_embeddings().weight
        zeros_1LW = weight.new_zeros(1, self.length, weight.shape[1])
        with self._grad():
            hidden_1LW = self.backbone(inputs_embeds=zeros_1LW).last_hidden_state
        return self._project(hidden_1LW, torch.zeros_like(hidden_1LW[:, :, 0], dtype=torch.bool))

    def _project(self, hidden_RLW: Tensor, padding_RL: Tensor) -> Tensor:
        mean_R1W = masked_mean(hidden_RLW[:, 1:], padding_RL[:, 1:])
        return self.project(torch.cat([mean_R1W, hidden_RLW[:, 1:]], dim=1))


class PixelBackboneEncoder(BackboneEncoder):
    """A timm model of images or frames, whose pixels are rebuilt from the input vectors.

    Image: the feature map, averaged to the grid of the patches. Video: the mean of the map of each
    frame. The first token is the mean of all others. Masked vectors are 0, the mean of the
    training data, before the model, and marked with a learned token after it.
    """

    def __init__(self, config: ModelConfig, modality: str, architecture: Architecture):
        import timm

        features = config.feature_size(modality)
        patch = round((features / 3) ** 0.5)
        grid = 1 if modality == "video" else round(config.length(modality) ** 0.5)
        square = modality == "video" or grid**2 == config.length(modality)
        require(
            square and 3 * patch**2 == features,
            f"model.{modality}_backbone needs pixels: patches of a square image, or frames",
        )
        backbone = timm.create_model(
            architecture["name"], pretrained=False, num_classes=0, **architecture["args"]
        )
        set_input_size(backbone, grid * patch)
        super().__init__(config, modality, backbone, backbone.num_features)
        self.video, self.grid, self.patch = modality == "video", grid, patch
        self.mask_token = nn.Parameter(torch.zeros(config.width))
        self.position = nn.Parameter(torch.zeros(1, self.length, config.width))
        # As in ContinuousEncoder.
        for parameter in (self.mask_token, self.position):
            nn.init.normal_(parameter, std=0.5)
        self.register_buffer("pixel_mean_C", torch.tensor(architecture["mean"]))
        self.register_buffer("pixel_spread_C", torch.tensor(architecture["std"]))
        self.register_buffer("mean_F", torch.zeros(features))
        self.register_buffer("spread_F", torch.ones(features))

    def set_statistics(self, mean_F: np.ndarray, spread_F: np.ndarray) -> None:
        """Set the standardisation of the input vectors (`Normaliser`), which is reverted."""
        self.mean_F.copy_(torch.from_numpy(mean_F))
        self.spread_F.copy_(torch.from_numpy(spread_F))

    def forward(self, tokens: Tokens, hidden_RL: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return encoded_RLD and padding_RL, both including the first token.

        Raises ValueError if an image does not have as many vectors as the model takes.
        """
        encoded_RLD = self._encode(tokens.values, tokens.padding_RL, hidden_RL)
        return encoded_RLD, padding_with_cls(tokens.padding_RL)

    def impute_zeros(self) -> Tensor:
        """Return encoded_1LD for input vectors of 0 at all positions."""
        zeros_1LF = self.mean_F.new_zeros(1, self.length, len(self.mean_F))
        zeros_1LF = zeros_1LF.to(self.project.weight.dtype)
        return self._encode(zeros_1LF, torch.zeros_like(zeros_1LF[:, :, 0], dtype=torch.bool), None)

    def _encode(self, values: Tensor, padding_RL: Tensor, hidden_RL: Tensor | None) -> Tensor:
        rows, length, _ = values.shape
        require(
            length == self.length or (self.video and length < self.length),
            f"{length} vectors; the model takes {self.length}",
        )
        with self._grad():
            map_NWHW = feature_map(self.backbone, self._inputs(values))
            if self.video:
                hidden_RLW = map_NWHW.mean(dim=(2, 3)).unflatten(0, (rows, length))
            else:
                hidden_RLW = adaptive_avg_pool2d(map_NWHW, self.grid).flatten(2).transpose(1, 2)
        projected_RLD = self.project(hidden_RLW) + self.position[:, :length]
        if hidden_RL is not None:
            projected_RLD = projected_RLD + hidden_RL[:, :, None] * self.mask_token
        mean_R1D = self.project(masked_mean(hidden_RLW, padding_RL))
        return torch.cat([mean_R1D, projected_RLD], dim=1)

    def _inputs(self, values: Tensor) -> Tensor:
        """Return the model's inputs, (images or frames, C, S, S), from standardised vectors_RLF."""
        pixels = (values * self.spread_F + self.mean_F + 1) / 2
        shape = (-1, self.grid, self.grid, self.patch, self.patch, 3)
        images = pixels.reshape(shape).permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2)
        return ((images - self.pixel_mean_C) / self.pixel_spread_C).permute(0, 3, 1, 2).contiguous()


def masked_mean(hidden_RLW: Tensor, padding_RL: Tensor) -> Tensor:
    """Return the mean over the unpadded positions, mean_R1W."""
    kept_RL1 = (~padding_RL[:, :, None]).to(hidden_RLW.dtype)
    return (hidden_RLW * kept_RL1).sum(1, keepdim=True) / kept_RL1.sum(1, keepdim=True).clamp(min=1)


def backbone_layers(backbone: nn.Module) -> list[nn.Module]:
    """Return the layers of a public model, from below: the largest list of modules in it."""

    def size(container: nn.Module) -> int:
        return sum(weight.numel() for weight in container.parameters())

    containers = [
        module
        for module in backbone.modules()
        if isinstance(module, nn.ModuleList | nn.Sequential) and len(module) > 1
    ]
    return list(max(containers, key=size)) if containers else [backbone]


def freeze_layers(backbone: nn.Module, count: int) -> None:
    """Freeze the embeddings and the first `count` layers; 0: nothing, -1: everything."""
    weights = list(backbone.parameters())
    frozen = len(weights) if count < 0 else 0
    if count > 0:
        # Weights are registered from below: embeddings, layers, final norm.
        layers = backbone_layers(backbone)[:count]
        inside = {id(weight) for layer in layers for weight in layer.parameters()}
        frozen = 1 + max(i for i, weight in enumerate(weights) if id(weight) in inside)
    for weight in weights[:frozen]:
        weight.requires_grad_(False)


def set_input_size(backbone: nn.Module, side: int) -> None:
    """Adapt a timm model with position embeddings to another input size."""
    if hasattr(backbone, "set_input_size"):
        backbone.set_input_size(img_size=side)


def read_architecture(modality: str, name: str) -> Architecture:
    """Return the architecture of a public model by hub name, local folder or packaged name.

    Raises ValueError that names the setting if it cannot be read.
    """
    try:
        read = _transformer_architecture if modality in ("text", "table") else _timm_architecture
        return read(name)
    except UNREADABLE as error:
        raise ValueError(f"model.{modality}_backbone: cannot read {name!r}: {error}") from error


def _transformer_architecture(name: str) -> Architecture:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(local_name(name), trust_remote_code=False)
    return json.loads(config.to_json_string(use_diff=False))


def _timm_architecture(name: str) -> Architecture:
    import timm

    source, arguments = local_name(name), {}
    if Path(source).is_dir():
        saved = json.loads((Path(source) / "config.json").read_text(encoding="utf-8"))
        arguments, source = saved.get("model_args") or {}, f"local-dir:{source}"
    elif source.startswith("hf-hub:"):
        _, _, arguments = timm.models.load_model_config_from_hf(source.removeprefix("hf-hub:"))
    model = timm.create_model(source, pretrained=False, num_classes=0)
    settings = timm.data.resolve_model_data_config(model)
    return {
        "name": model.pretrained_cfg["architecture"],
        "args": {k: v for k, v in (arguments or {}).items() if k != "num_classes"},
        "mean": list(settings["mean"]),
        "std": list(settings["std"]),
    }


def load_backbone_weights(encoder: BackboneEncoder, name: str) -> None:
    """Load the weights of a public model into an encoder.

    Raises ValueError with the name if they cannot be read or do not fit.
    """
    if isinstance(encoder, PixelBackboneEncoder):
        source = load_timm(name)
        set_input_size(source, encoder.grid * encoder.patch)
    else:
        source = load_transformer(name)
        if getattr(source.config, "is_encoder_decoder", False):
            source = source.get_encoder()
    encoder.load_weights(source.state_dict(), name)
