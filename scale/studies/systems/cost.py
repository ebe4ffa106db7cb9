"""Floating-point operations (FLOP) of a forward pass, by formula and counted by torch.

A multiply-add counts as two FLOP. Biases, normalisation and softmax are not counted; compared with
the matrix products they are small.

L query tokens, K key tokens, D width, F width of the feed-forward part.
"""

from collections.abc import Mapping

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from scale.config import ModelConfig
from scale.data.batch import ProductBatch
from scale.studies.systems.fusion import LANGUAGE, PERCEPTION
from scale.studies.systems.named import System


def attention_flops(length: int, width: int) -> int:
    """Return the FLOP of q k^T and of attention times v over all pairs of tokens: 4 L^2 D."""
    return 4 * length**2 * width


def layer_flops(length: int, width: int, mlp_ratio: float = 4.0) -> int:
    """Return the FLOP of a Transformer layer: 4 L^2 D + 8 L D^2 + 4 L D F.

    Attention, its four linear maps (query, key, value, output), and the feed-forward part; F = 4 D
    gives 4 L^2 D + 24 L D^2.
    """
    forward = 4 * length * width * int(width * mlp_ratio)
    return attention_flops(length, width) + 8 * length * width**2 + forward


def cross_flops(length: int, other: int, width: int) -> int:
    """Return the FLOP of cross-attention: 4 L K D + 4 L D^2 + 4 K D^2.

    Attention; query and output; key and value.
    """
    return 4 * length * other * width + 4 * (length + other) * width**2


def design_flops(system: System, config: ModelConfig, depth: int, length: Mapping[str, int]) -> int:
    """Return the FLOP of all Transformer layers of a system for one product's forward pass.

    Without input projections, poolers and heads.

    Args:
        depth: from `find_size`; ignored for SCALE, whose depths are in the config.
        length: tokens by modality, [CLS] counted.
    """
    width, ratio = config.width, config.mlp_ratio

    def layer(modalities: tuple[str, ...]) -> int:
        return layer_flops(sum(length.get(m, 0) for m in modalities), width, ratio)

    everything = tuple(length)
    apart = sum(layer((m,)) for m in everything)
    if system.fusion == "encoders + JCT":
        return config.encoder_layers * apart + config.jct_layers * layer(everything)
    if system.fusion == "all":
        return depth * layer(everything)
    if system.fusion == "perception":
        words = sum(layer((m,)) for m in LANGUAGE)
        return depth * (words + layer(PERCEPTION))
    if system.fusion == "":
        return depth * apart
    return depth * _co_attention_flops(system, length, config)


def _co_attention_flops(system: System, length: Mapping[str, int], config: ModelConfig) -> int:
    """Return the FLOP of one co-attention layer with the accompanying layers of each stream."""
    width, ratio = config.width, config.mlp_ratio
    language, perception = (sum(length.get(m, 0) for m in s) for s in (LANGUAGE, PERCEPTION))
    words, senses = (layer_flops(size, width, ratio) for size in (language, perception))
    met = cross_flops(language, perception, width) + cross_flops(perception, language, width)
    if system.fusion == "cross then self":
        return met + 3 * words + 2 * senses
    feed = 4 * (language + perception) * width * int(width * ratio)
    return met + feed + 2 * words + senses


def counted_flops(model: nn.Module, batch: ProductBatch) -> int:
    """Return the FLOP of a forward pass as counted by torch."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(batch)
    return counter.get_total_flops()
