"""Prediction heads of the pretext tasks, run at masked positions only.

N masked positions of a batch, D width, V vocabulary, F features.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from scale.config import ModelConfig
from scale.model.transformer import initialise


class DiscreteHead(nn.Module):
    """Word-piece logits: a transform, then the encoder's word embeddings as decoder."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.transform = _transform(config.width)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.apply(initialise)

    def forward(self, fused_ND: Tensor, word_weight_VD: Tensor) -> Tensor:
        """Return logits_NV = W transform(fused) + b, with the word embeddings W."""
        return linear(self.transform(fused_ND), word_weight_VD, self.bias)


class ContinuousHead(nn.Module):
    """Predicted input vectors: a transform, then a projection to the feature size."""

    def __init__(self, config: ModelConfig, modality: str):
        super().__init__()
        self.transform = _transform(config.width)
        self.project = nn.Linear(config.width, config.feature_size(modality))
        self.apply(initialise)

    def forward(self, fused_ND: Tensor) -> Tensor:
        """Return predicted_NF."""
        return self.project(self.transform(fused_ND))


def _transform(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
