"""AdamW: parameter groups and the learning-rate schedule."""

import math

import torch
from torch import nn

BETAS = (0.9, 0.98)


def make_optimizer(
    model: nn.Module, learning_rate: float, weight_decay: float
) -> torch.optim.AdamW:
    """Return AdamW with decoupled weight decay on matrices only, betas 0.9 and 0.98."""
    device = next(model.parameters()).device
    return torch.optim.AdamW(
        parameter_groups(model, weight_decay),
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


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Return two groups: matrices with weight decay; vectors, embeddings and tokens without."""
    embeddings = {
        id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()
    }
    decayed, free = [], []
    for name, parameter in model.named_parameters():
        learned_token = name.endswith(("cls_token", "mask_token", "position"))
        matrix = parameter.dim() >= 2 and "missing_token" not in name
        decays = matrix and not learned_token and id(parameter) not in embeddings
        (decayed if decays else free).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
