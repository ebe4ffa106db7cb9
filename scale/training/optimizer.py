"""AdamW: parameter groups and the learning-rate schedule."""

import math

import torch
from torch import nn

from scale.model.backbone_encoders import BackboneEncoder

BETAS = (0.9, 0.98)


def make_optimizer(
    model: nn.Module, learning_rate: float, weight_decay: float, backbone_learning_rate: float = 0.0
) -> torch.optim.AdamW:
    """Return AdamW with decoupled weight decay on matrices only, betas 0.9 and 0.98.

    backbone_learning_rate: that of public models inside the encoders; 0: the same.
    """
    device = next(model.parameters()).device
    share = backbone_learning_rate / learning_rate if backbone_learning_rate else 1.0
    return torch.optim.AdamW(
        parameter_groups(model, weight_decay, share),
        lr=learning_rate,
        betas=BETAS,
        fused=device.type in ("cpu", "cuda"),
    )


def learning_rate(step: int, steps: int, peak: float, warmup_share: float) -> float:
    """Return the learning rate: linear warm-up over W = steps * warmup_share, then a cosine to 0.

    Warm-up: peak (step + 1) / W;  then  peak/2 (1 + cos(pi (step - W) / (steps - W))).

    `step` counts from 0. W is at least 1, so that the first step has a positive rate.
    """
    warmup = max(1, round(steps * warmup_share))
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak / 2 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def parameter_groups(
    model: nn.Module, weight_decay: float, backbone_share: float = 1.0
) -> list[dict]:
    """Return two groups: matrices with weight decay; vectors, embeddings and tokens without.

    With another `backbone_share`, two more groups contain the weights of public models inside the
    encoders; `share` of a group is the factor on the learning rate. Frozen weights are left out.
    """
    embeddings = {
        id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()
    }
    public = {
        id(p)
        for m in model.modules()
        if isinstance(m, BackboneEncoder) and backbone_share != 1.0
        for p in m.backbone.parameters()
    }
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {(False, True): [], (False, False): []}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        learned_token = name.endswith(("cls_token", "mask_token", "position"))
        matrix = parameter.dim() >= 2 and "missing_token" not in name
        decays = matrix and not learned_token and id(parameter) not in embeddings
        groups.setdefault((id(parameter) in public, decays), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": weight_decay if decays else 0.0,
            "share": backbone_share if is_public else 1.0,
        }
        for (is_public, decays), parameters in groups.items()
    ]
