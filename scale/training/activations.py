"""Activation checkpointing: memory for time, put onto a model from outside."""

from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from scale.model.encoders import DiscreteEncoder
from scale.model.transformer import TransformerEncoder


def checkpoint_activations(model: nn.Module) -> None:
    """Let every Transformer layer of encoders and JCT keep its input only.

    What is inside is computed again in the backward pass, with the same dropout: the gradient is
    the same.
    """
    for module in model.modules():
        for layer in _layers(module):
            layer.forward = partial(_recomputed, layer.forward)


def _layers(module: nn.Module) -> nn.ModuleList | tuple[()]:
    if isinstance(module, TransformerEncoder):
        return module.blocks
    return module.bert.encoder.layer if isinstance(module, DiscreteEncoder) else ()


def _recomputed(forward, *arguments, **options):
    if not torch.is_grad_enabled():
        return forward(*arguments, **options)
    return checkpoint(forward, *arguments, use_reentrant=False, **options)
