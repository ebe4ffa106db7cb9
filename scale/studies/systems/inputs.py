"""Tokens before they meet: each modality's embedding, and one sequence of several modalities.

B products, R rows (products that have the modality), L length, D width.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from scale.config import ModelConfig
from scale.data.batch import ProductBatch
from scale.modalities import SPECS
from scale.model.encoders import ContinuousEncoder, DiscreteEncoder

Encoded = dict[str, tuple[Tensor, Tensor]]
"""By modality, tokens_RLD and padding_RL; [CLS] in front."""

LANGUAGE, PERCEPTION = ("text", "table"), ("image", "video", "audio")
"""The two sides of every two-stream and two-tower model: words, and what is seen and heard."""
SIDES = {"language": LANGUAGE, "perception": PERCEPTION}


class Inputs(nn.Module):
    """SCALE's own encoders with as many layers as wanted, 0 for models that fuse at once.

    With 0 layers what is left is BERT's embedding (word piece + position + segment, LayerNorm)
    and, of vectors, projection + position, [CLS] in front, LayerNorm.
    """

    def __init__(self, config: ModelConfig, layers: dict[str, int], masked: tuple[str, ...]):
        """`layers`: by modality seen. `masked`: modalities of which a pretext task hides tokens."""
        super().__init__()
        self.width = config.width
        self.encoders = nn.ModuleDict()
        for m, depth in layers.items():
            encoder = DiscreteEncoder if SPECS[m].kind == "discrete" else ContinuousEncoder
            self.encoders[m] = encoder(replace(config, encoder_layers=depth), m)
            if SPECS[m].kind == "continuous" and m not in masked:
                # A token that never stands anywhere would never be trained.
                self.encoders[m].mask_token = None

    def forward(self, batch: ProductBatch, hidden: dict[str, Tensor]) -> Encoded:
        """tokens_RLD and padding_RL of the modalities that some product has."""
        return {
            m: encoder(batch.tokens[m], hidden.get(m))
            for m, encoder in self.encoders.items()
            if m in batch.tokens and len(batch.tokens[m].rows_R)
        }


def join(encoded: Encoded, rows: dict[str, Tensor], products: int) -> tuple[Tensor, Tensor]:
    """All modalities of a product in one sequence: tokens_BLD and padding_BL.

    Where a product lacks a modality its positions are padding.
    """
    parts, paddings = [], []
    for m, (tokens_RLD, padding_RL) in encoded.items():
        empty_BLD = tokens_RLD.new_zeros(products, *tokens_RLD.shape[1:])
        parts.append(empty_BLD.index_copy(0, rows[m], tokens_RLD))
        all_BL = padding_RL.new_ones(products, padding_RL.shape[1])
        paddings.append(all_BL.index_copy(0, rows[m], padding_RL))
    return torch.cat(parts, dim=1), torch.cat(paddings, dim=1)


def split(tokens_BLD: Tensor, encoded: Encoded, rows: dict[str, Tensor]) -> dict[str, Tensor]:
    """Inverse of `join`: tokens_RLD by modality, in the rows and lengths that came in."""
    lengths = [padding_RL.shape[1] for _, padding_RL in encoded.values()]
    parts = tokens_BLD.split(lengths, dim=1)
    return {m: part[rows[m]] for m, part in zip(encoded, parts, strict=True)}
