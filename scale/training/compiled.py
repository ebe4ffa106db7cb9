"""torch.compile by regions: each layer and head is one graph, and layers of one kind share it."""

from collections.abc import Iterator

import torch
import torch._dynamo
from torch import nn

from scale.model.encoders import DiscreteEncoder
from scale.model.heads import ContinuousHead, DiscreteHead
from scale.model.transformer import TransformerEncoder

RECOMPILE_LIMIT = 64


def compile_layers(model: nn.Module, backend: str = "inductor") -> None:
    """Let every Transformer layer of encoders and JCT and every head be compiled at its first call.

    Sizes are symbols: how many products have a modality, how long they are and how many positions
    are hidden may vary from step to step without another compilation. A graph that breaks is an
    error. What lies between the layers (embeddings, packing, losses) stays as it is: it differs
    from batch to batch in structure and takes a few per cent of a step.
    """
    # Layers with and without padding, with and without gradient, of one row and of several; heads
    # of several sizes: more than torch's 8, beyond which a run would end with an error.
    limit = torch._dynamo.config.recompile_limit
    torch._dynamo.config.recompile_limit = max(limit, RECOMPILE_LIMIT)
    for layer in compiled_parts(model):
        layer.compile(fullgraph=True, dynamic=True, backend=backend)


def compiled_parts(model: nn.Module) -> Iterator[nn.Module]:
    """What `compile_layers` compiles."""
    for module in model.modules():
        if isinstance(module, TransformerEncoder):
            yield from module.blocks
        elif isinstance(module, DiscreteEncoder):
            yield from module.bert.encoder.layer
        elif isinstance(module, DiscreteHead | ContinuousHead):
            yield module
