"""Activation checkpointing and torch.compile for a model, and deterministic algorithms."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torch._dynamo
from torch import nn
from torch.utils.checkpoint import checkpoint

from scale.model.backbone_encoders import BackboneEncoder
from scale.model.encoders import DiscreteEncoder, TransformerEncoder
from scale.model.scale import ContinuousHead, DiscreteHead

RECOMPILE_LIMIT = 64


def checkpoint_activations(model: nn.Module) -> None:
    """Store only the input of every layer of encoders (and public models in them) and JCT.

    Activations inside are recomputed in the backward pass with the same dropout: same gradient,
    less memory, more time.
    """
    public = (m.layers for m in model.modules() if isinstance(m, BackboneEncoder))
    for layer in (*_layers(model), *(layer for layers in public for layer in layers)):
        layer.forward = partial(_recomputed, layer.forward)


def compile_layers(model: nn.Module, backend: str = "inductor") -> None:
    """Compile every Transformer layer of encoders and JCT, and every head, at its first call.

    Layers of one kind share a graph. Sizes are symbolic: number of rows, lengths and number of
    masked positions may vary without recompilation. Graph breaks are errors. Code between layers
    (embeddings, packing, losses) stays eager: its structure varies from batch to batch, and it
    takes a few per cent of a step.
    """
    # Layers with and without padding, with and without gradient, of one row and of several; heads
    # of several sizes: more than torch's default of 8.
    limit = torch._dynamo.config.recompile_limit
    torch._dynamo.config.recompile_limit = max(limit, RECOMPILE_LIMIT)
    for module in compiled_modules(model):
        module.compile(fullgraph=True, dynamic=True, backend=backend)


def compiled_modules(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules that `compile_layers` compiles."""
    yield from _layers(model)
    for module in model.modules():
        if isinstance(module, DiscreteHead | ContinuousHead):
            yield module


@contextmanager
def deterministic_algorithms(on: bool) -> Iterator[None]:
    """Use deterministic algorithms only, if `on`; restore the previous settings afterwards.

    On CUDA, an operation without one raises RuntimeError with its name. cuBLAS reads
    CUBLAS_WORKSPACE_CONFIG at its first use in a process, so the variable stays set.
    """
    before, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    if on:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(before or on)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = benchmark


def _layers(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the Transformer layers of encoders and JCT."""
    for module in model.modules():
        if isinstance(module, TransformerEncoder):
            yield from module.blocks
        elif isinstance(module, DiscreteEncoder):
            yield from module.bert.encoder.layer


def _recomputed(forward, *arguments, **options):
    if not torch.is_grad_enabled():
        return forward(*arguments, **options)
    return checkpoint(forward, *arguments, use_reentrant=False, **options)
