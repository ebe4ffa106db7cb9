"""The joint co-transformer (JCT): all modalities of a product in one sequence (paper, 4.1).

B products, R rows (products that have the modality), L length, D width.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from scale.config import MissingPolicy, ModelConfig
from scale.data.batch import TokenLayout, to_device
from scale.model.packing import CPU_OVERHEAD, CUDA_OVERHEAD, pack
from scale.model.transformer import TransformerEncoder, initialise


class JointCoTransformer(nn.Module):
    """Concatenates the encoded tokens of a product, adds modality embeddings, lets all attend to
    all, and splits the result by modality again.

    What stands for a missing modality is decided here, by `policy` (`MissingConfig.policy`):
    `zero`: the encoder's output for zero input. Each product's would be the same, so it is
    computed once and shared. `learned`: one learned token. `skip` and `drop`: nothing. Under all
    but `zero`, whose stand-ins are as long as the modality, products are packed: a missing
    modality and padding take no room (`scale.model.packing`).
    """

    def __init__(self, config: ModelConfig, policy: MissingPolicy):
        super().__init__()
        self.policy, self.modalities, self.width = policy, config.modalities, config.width
        self.lockstep = False
        """Ask for zero imputation also where no product lacks the modality, and let the model run
        every encoder (`ScaleModel.lockstep`)."""
        self.modality_embedding = nn.ParameterDict(
            {m: nn.Parameter(torch.zeros(config.width)) for m in config.modalities}
        )
        self.stack = TransformerEncoder(
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
        host: Mapping[str, TokenLayout] | None = None,
    ) -> dict[str, Tensor]:
        """fused[m]_RLD for each modality in `encoded`, in the rows and lengths that came in.

        What stands at padding means nothing.

        Args:
            encoded: by modality, encoded_RLD and padding_RL.
            rows: by modality, the product that each row belongs to.
            products: B.
            encoders: by modality; asked for their zero imputation where the policy needs it.
            host: by modality, what the host knows of the tokens, without [CLS] where the encoder
                has added it; None: it asks the device.
        """
        if self.policy == "zero":
            return self._padded(encoded, rows, products, encoders)
        facts = _with_cls(encoded, rows, host)
        fused = self._packed(encoded, products, facts, encoders, None)
        return {
            m: _spread(fused[m], np.flatnonzero(~facts[m].padding_RL), encoded[m][0].shape[:2])
            for m in encoded
        }

    def read(
        self,
        encoded: dict[str, tuple[Tensor, Tensor]],
        rows: dict[str, Tensor],
        products: int,
        encoders: nn.ModuleDict,
        host: Mapping[str, TokenLayout],
        wanted: Mapping[str, np.ndarray],
    ) -> dict[str, Tensor]:
        """fused[m]_ND at the positions that are wanted, and no more than they need.

        Equal to `forward` there, up to rounding and dropout. Arguments as in `forward`; `wanted`:
        positions by modality in (row, token) order, [CLS] counted, none of them padding.
        """
        facts = _with_cls(encoded, rows, host)
        return self._packed(encoded, products, facts, encoders, wanted)

    def _packed(
        self,
        encoded: dict[str, tuple[Tensor, Tensor]],
        products: int,
        facts: dict[str, TokenLayout],
        encoders: nn.ModuleDict,
        wanted: Mapping[str, np.ndarray] | None,
    ) -> dict[str, Tensor]:
        sources = [(encoded[m][0] + self.modality_embedding[m]).flatten(0, 1) for m in encoded]
        stand_ins = self._stand_ins(facts, products, encoders)
        source_SD = torch.cat([*sources, *stand_ins.values()])
        device = source_SD.device
        overhead = (CUDA_OVERHEAD if device.type == "cuda" else CPU_OVERHEAD) / self.width**2
        lengths = {m: len(token_LD) for m, token_LD in stand_ins.items()}
        packing = pack(facts, products, lengths, wanted, overhead, device)
        groups = [(_take(source_SD, g.source_BL), g.padding_BL, g.read_BQ) for g in packing.groups]
        fused_TD = torch.cat([tokens.flatten(0, 1) for tokens in self.stack.each(groups)])
        return {m: _take(fused_TD, place_N) for m, place_N in packing.place.items()}

    def _stand_ins(
        self, facts: dict[str, TokenLayout], products: int, encoders: nn.ModuleDict
    ) -> dict[str, Tensor]:
        """tokens_LD for what is missing, by modality; nothing under `skip` and `drop`."""
        if self.policy in ("skip", "drop"):
            return {}
        found = {}
        for m in self.modalities:
            lacking = self.lockstep or m not in facts or len(facts[m].rows_R) < products
            if self.policy == "zero" and lacking:
                found[m] = encoders[m].impute_zeros()[0] + self.modality_embedding[m]
            elif self.policy == "learned":
                found[m] = self.stand_in[m][0] + self.modality_embedding[m]
            else:
                found[m] = self.modality_embedding[m].new_zeros(0, self.width)
        return found

    def _padded(
        self,
        encoded: dict[str, tuple[Tensor, Tensor]],
        rows: dict[str, Tensor],
        products: int,
        encoders: nn.ModuleDict,
    ) -> dict[str, Tensor]:
        parts, paddings = [], []
        for m, embedding_D in self.modality_embedding.items():
            lacking = self.lockstep or m not in encoded or len(rows[m]) < products
            filler_1LD = encoders[m].impute_zeros() if lacking else None
            tokens_BLD, padding_BL = _scatter(encoded.get(m), rows.get(m), filler_1LD, products)
            parts.append(tokens_BLD + embedding_D)
            paddings.append(padding_BL)
        fused_BLD = self.stack(torch.cat(parts, dim=1), torch.cat(paddings, dim=1))
        lengths = [tokens_BLD.shape[1] for tokens_BLD in parts]
        split = dict(zip(self.modality_embedding, fused_BLD.split(lengths, dim=1), strict=True))
        return {m: split[m][rows[m], : encoded[m][0].shape[1]] for m in encoded}


def _take(tokens_SD: Tensor, place: Tensor) -> Tensor:
    """Tokens at these places, of whatever shape; without waiting for the device."""
    return tokens_SD.index_select(0, place.flatten()).unflatten(0, place.shape)


def _spread(tokens_ND: Tensor, position_N: np.ndarray, shape: tuple[int, int]) -> Tensor:
    """tokens_RLD with tokens at these positions, 0 elsewhere."""
    index_N = to_device(torch.from_numpy(position_N), tokens_ND.device)
    empty_SD = tokens_ND.new_zeros(shape[0] * shape[1], tokens_ND.shape[1])
    return empty_SD.index_copy(0, index_N, tokens_ND).unflatten(0, shape)


def _with_cls(
    encoded: dict[str, tuple[Tensor, Tensor]],
    rows: dict[str, Tensor],
    host: Mapping[str, TokenLayout] | None,
) -> dict[str, TokenLayout]:
    """What the host knows of the encoded tokens."""
    facts = {}
    for m, (encoded_RLD, padding_RL) in encoded.items():
        if host is None:
            facts[m] = TokenLayout(rows[m].cpu().numpy(), padding_RL.cpu().numpy())
            continue
        added = encoded_RLD.shape[1] - host[m].padding_RL.shape[1]
        longer_RL = np.pad(host[m].padding_RL, ((0, 0), (added, 0)))
        facts[m] = TokenLayout(host[m].rows_R, longer_RL)
    return facts


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
