"""The joint co-transformer (JCT): all modalities of a product in one sequence (paper, 4.1).

B products, R rows (products that have the modality), L length, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from scale.config import MissingPolicy, ModelConfig
from scale.model.blocks import BlockStack, initialise
from scale.model.encoders import ContinuousEncoder, DiscreteEncoder


class JointCoTransformer(nn.Module):
    """Concatenates the encoded tokens of a product, adds modality embeddings, lets all attend to
    all, and splits the result by modality again.

    What stands for a missing modality is decided here, by `policy` (`MissingConfig.policy`):
    `zero`: the encoder's output for zero input. Each product's would be the same, so it is
    computed once and shared. `learned`: one learned token. `skip` and `drop`: nothing.
    """

    def __init__(self, config: ModelConfig, policy: MissingPolicy):
        super().__init__()
        self.policy = policy
        self.modality_embedding = nn.ParameterDict(
            {m: nn.Parameter(torch.zeros(config.width)) for m in config.modalities}
        )
        self.stack = BlockStack(
            config.width, config.heads, config.jct_layers, config.mlp_ratio, config.dropout
        )
        self.stand_in = nn.ParameterDict()
        if policy == "learned":
            self.stand_in.update(
                {m: nn.Parameter(torch.zeros(1, 1, config.width)) for m in config.modalities}
            )
        self.apply(initialise)
        for parameter in (*self.modality_embedding.values(), *self.stand_in.values()):
            nn.init.normal_(parameter, std=0.02)

    def forward(
        self,
        encoded: dict[str, tuple[Tensor, Tensor]],
        rows: dict[str, Tensor],
        products: int,
        encoders: nn.ModuleDict,
    ) -> dict[str, Tensor]:
        """fused[m]_RLD for each modality in `encoded`, in the rows and lengths that came in.

        Args:
            encoded: by modality, encoded_RLD and padding_RL.
            rows: by modality, the product that each row belongs to.
            products: B.
            encoders: by modality; asked for their zero imputation where the policy needs it.
        """
        parts, paddings, taken = [], [], []
        for m, embedding_D in self.modality_embedding.items():
            lacking = m not in encoded or len(rows[m]) < products
            filler_1LD = self._filler(m, encoders[m]) if lacking else None
            if m not in encoded and filler_1LD is None:
                continue
            tokens_BLD, padding_BL = _scatter(encoded.get(m), rows.get(m), filler_1LD, products)
            parts.append(tokens_BLD + embedding_D)
            paddings.append(padding_BL)
            taken.append(m)
        padding_BL = torch.cat(paddings, dim=1)
        # A product without any token would give softmax over nothing: let it attend to padding.
        # Nobody reads its rows.
        padding_BL = padding_BL & ~padding_BL.all(dim=1, keepdim=True)
        fused_BLD = self.stack(torch.cat(parts, dim=1), padding_BL)
        split = dict(zip(taken, fused_BLD.split([p.shape[1] for p in parts], dim=1), strict=True))
        return {m: split[m][rows[m], : encoded[m][0].shape[1]] for m in encoded}

    def _filler(self, modality: str, encoder: DiscreteEncoder | ContinuousEncoder) -> Tensor | None:
        """What stands for a missing modality in each product that lacks it; None: nothing."""
        if self.policy == "learned":
            return self.stand_in[modality]
        return encoder.impute_zeros() if self.policy == "zero" else None


def _scatter(
    encoded: tuple[Tensor, Tensor] | None,
    rows_R: Tensor | None,
    filler_1LD: Tensor | None,
    products: int,
) -> tuple[Tensor, Tensor]:
    """tokens_BLD and padding_BL: encoded rows at their products, the filler at all others."""
    if encoded is None:
        padding_1L = filler_1LD.new_zeros(filler_1LD.shape[:2], dtype=torch.bool)
        return filler_1LD.expand(products, -1, -1), padding_1L.expand(products, -1)
    encoded_RLD, padding_RL = encoded
    filler_length = 0 if filler_1LD is None else filler_1LD.shape[1]
    length = max(encoded_RLD.shape[1], filler_length)
    if filler_1LD is None:
        filler_1LD = encoded_RLD.new_zeros(1, 0, encoded_RLD.shape[2])
    extra = length - encoded_RLD.shape[1]
    filler_BLD = pad(filler_1LD, (0, 0, 0, length - filler_length)).expand(products, -1, -1)
    absent_L = torch.arange(length, device=rows_R.device) >= filler_length
    tokens_BLD = filler_BLD.to(encoded_RLD.dtype).index_copy(
        0, rows_R, pad(encoded_RLD, (0, 0, 0, extra))
    )
    padding_BL = absent_L.expand(products, -1).index_copy(
        0, rows_R, pad(padding_RL, (0, extra), value=True)
    )
    return tokens_BLD, padding_BL
