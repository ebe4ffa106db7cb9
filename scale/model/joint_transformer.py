"""The joint co-transformer (JCT): all modalities of a product in one sequence (paper, 4.1).

B products, R rows (products that have the modality), L length, D width, N positions, V views of the
products, M modalities (five), Q modalities of
the model.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from scale.config import MissingPolicy, ModelConfig
from scale.data.batch import TokenLayout, to_device
from scale.modalities import INDEX, MODALITIES
from scale.model.encoders import TransformerEncoder, initialise
from scale.model.packing import CPU_OVERHEAD, CUDA_OVERHEAD, pack


class JointCoTransformer(nn.Module):
    """Self-attention over the encoded tokens of all modalities of a product.

    The tokens are concatenated, modality embeddings are added, and the result is split by modality
    again. `policy` (`MissingConfig.policy`) determines the tokens of a missing modality:
    `zero`: the encoder's output for zero input, computed once and shared by all products.
    `learned`: one learned token. `skip` and `drop`: none.

    There are two implementations with equal results. `_forward_padded` pads each modality to its
    longest sequence. `_forward_packed` stores no padding and no missing modality, which is faster
    where many tokens are missing; it is used for all policies but `zero`, whose imputed sequences
    have full length, and wherever only some output positions are needed.
    """

    def __init__(self, config: ModelConfig, policy: MissingPolicy):
        super().__init__()
        self.policy, self.modalities, self.width = policy, config.modalities, config.width
        self.packed = policy != "zero"
        """Whether the packed implementation is used for all output positions."""
        self.run_all_encoders = False
        """Impute also modalities that no product lacks (`ScaleModel.run_all_encoders`)."""
        self.modality_embedding = nn.ParameterDict(
            {m: nn.Parameter(torch.zeros(config.width)) for m in config.modalities}
        )
        self.stack = TransformerEncoder(
            config.width, config.heads, config.jct_layers, config.mlp_ratio, config.dropout
        )
        self.missing_token = nn.ParameterDict()
        if policy == "learned":
            self.missing_token.update(
                {m: nn.Parameter(torch.zeros(1, 1, config.width)) for m in config.modalities}
            )
        self.apply(initialise)
        for parameter in (*self.modality_embedding.values(), *self.missing_token.values()):
            nn.init.normal_(parameter, std=0.02)

    def forward(
        self,
        encoded: dict[str, tuple[Tensor, Tensor]],
        rows: dict[str, Tensor],
        products: int,
        encoders: nn.ModuleDict,
        layouts: Mapping[str, TokenLayout] | None = None,
        positions: Mapping[str, np.ndarray] | None = None,
    ) -> dict[str, Tensor]:
        """Return fused[m]_RLD for each modality in `encoded`, or fused[m]_ND at `positions`.

        Values at padded positions are undefined.

        Args:
            encoded: encoded_RLD and padding_RL by modality.
            rows: product index of each row, by modality.
            products: B.
            encoders: by modality, for zero imputation.
            layouts: CPU copies of rows and padding by modality, without the [CLS] that continuous
                encoders add. None: copied from the device, which synchronises.
            positions: flat (row, token) positions by modality, with [CLS] counted and none of them
                padding. The last layer then runs only there. None: all.
        """

        def missing_tokens(modality: str) -> Tensor:
            lacking = len(rows.get(modality, ())) < products
            return self._missing_tokens(modality, encoders[modality], lacking)

        if positions is None and not self.packed:
            return self._forward_padded(encoded, rows, products, missing_tokens)
        layouts = _with_cls(encoded, rows, layouts)
        fused = self._forward_packed(encoded, layouts, products, missing_tokens, positions)
        if positions is not None:
            return fused
        return {
            m: _scatter(fused[m], np.flatnonzero(~layouts[m].padding_RL), encoded[m][0].shape[:2])
            for m in encoded
        }

    def _missing_tokens(self, modality: str, encoder: nn.Module, lacking: bool) -> Tensor:
        """Return tokens_LD that replace a missing modality; L = 0 if there are none.

        `lacking`: whether any product lacks the modality.
        """
        embedding_D = self.modality_embedding[modality]
        if self.policy == "zero" and (lacking or self.run_all_encoders):
            return encoder.impute_zeros()[0] + embedding_D
        if self.policy == "learned":
            return self.missing_token[modality][0] + embedding_D
        return embedding_D.new_zeros(0, self.width)

    def _forward_padded(
        self,
        encoded: dict[str, tuple[Tensor, Tensor]],
        rows: dict[str, Tensor],
        products: int,
        missing_tokens: Callable[[str], Tensor],
    ) -> dict[str, Tensor]:
        """Concatenate the modalities of all products, each padded to its longest sequence."""
        parts, paddings = [], []
        for m in self.modality_embedding:
            tokens_BLD, padding_BL, _ = self._padded(m, encoded, rows, products, missing_tokens(m))
            parts.append(tokens_BLD)
            paddings.append(padding_BL)
        fused_BLD = self.stack(torch.cat(parts, dim=1), torch.cat(paddings, dim=1))
        lengths = [tokens_BLD.shape[1] for tokens_BLD in parts]
        fused = dict(zip(self.modality_embedding, fused_BLD.split(lengths, dim=1), strict=True))
        return {m: fused[m][rows[m], : encoded[m][0].shape[1]] for m in encoded}

    def cls_of_views(
        self,
        encoded: dict[str, tuple[Tensor, Tensor]],
        rows: dict[str, Tensor],
        keep_VBM: Tensor,
        encoders: nn.ModuleDict,
    ) -> tuple[Tensor, Tensor]:
        """Fuse several views of the products and return every [CLS], also of imputed modalities.

        In view v, product b has the modalities of keep_VBM[v, b]; the policy replaces all others
        with the tokens of a missing modality. One pass, whose last layer runs at [CLS] only.

        Args:
            encoded, rows, encoders: as in `forward`.
            keep_VBM: True where the view has the modality; False where the product lacks it.

        Returns:
            cls_VBMD, and token_VBM: True where the modality has tokens, its own or imputed ones;
            the [CLS] is 0 elsewhere.
        """
        views, products, _ = keep_VBM.shape
        parts, paddings, starts, start = [], [], [], 0
        for m in self.modality_embedding:
            missing_LD = self._missing_tokens(m, encoders[m], lacking=True)
            own_BLD, own_padding_BL, (missing_LD, missing_L) = self._padded(
                m, encoded, rows, products, missing_LD
            )
            keep_VB = keep_VBM[:, :, INDEX[m]]
            parts.append(torch.where(keep_VB[:, :, None, None], own_BLD, missing_LD))
            paddings.append(torch.where(keep_VB[:, :, None], own_padding_BL, missing_L))
            # A modality without positions shares one with the next; its [CLS] becomes 0 below.
            starts.append(start)
            start += own_BLD.shape[1]
        tokens_BLD = torch.cat(parts, dim=2).flatten(0, 1)
        padding_BL = torch.cat(paddings, dim=2).flatten(0, 1)
        # Attention over nothing would be NaN.
        padding_BL = padding_BL & ~padding_BL.all(dim=1, keepdim=True)
        query_Q = to_device(torch.tensor(starts).clamp(max=start - 1), tokens_BLD.device)
        query_BQ = query_Q.expand(len(tokens_BLD), -1)
        (cls_BQD,) = self.stack.each([(tokens_BLD, padding_BL, query_BQ)])

        cls_VBQD = cls_BQD.unflatten(0, (views, products))
        cls_VBMD = cls_BQD.new_zeros(views, products, len(MODALITIES), self.width)
        token_VBM = torch.zeros_like(keep_VBM)
        for q, m in enumerate(self.modality_embedding):
            cls_VBMD[:, :, INDEX[m]] = cls_VBQD[:, :, q]
            token_VBM[:, :, INDEX[m]] = keep_VBM[:, :, INDEX[m]] | self.imputes
        return cls_VBMD.masked_fill(~token_VBM[:, :, :, None], 0.0), token_VBM

    @property
    def imputes(self) -> bool:
        """Whether a missing modality has tokens."""
        return self.policy in ("zero", "learned")

    def _padded(
        self,
        modality: str,
        encoded: dict[str, tuple[Tensor, Tensor]],
        rows: dict[str, Tensor],
        products: int,
        missing_LD: Tensor,
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Pad the sequences of a modality to the longest one.

        Returns:
            tokens_BLD and padding_BL of all products, and (tokens_LD, padding_L) of a missing one.
        """
        length = max(len(missing_LD), encoded[modality][0].shape[1] if modality in encoded else 0)
        tokens_LD = pad(missing_LD, (0, 0, 0, length - len(missing_LD)))
        padding_L = torch.arange(length, device=missing_LD.device) >= len(missing_LD)
        tokens_BLD = tokens_LD.expand(products, -1, -1)
        padding_BL = padding_L.expand(products, -1)
        if modality in encoded:
            own_RLD, own_padding_RL = encoded[modality]
            extra = length - own_RLD.shape[1]
            own_RLD = pad(own_RLD + self.modality_embedding[modality], (0, 0, 0, extra))
            own_padding_RL = pad(own_padding_RL, (0, extra), value=True)
            tokens_BLD = tokens_BLD.to(own_RLD.dtype).index_copy(0, rows[modality], own_RLD)
            padding_BL = padding_BL.index_copy(0, rows[modality], own_padding_RL)
        return tokens_BLD, padding_BL, (tokens_LD, padding_L)

    def _forward_packed(
        self,
        encoded: dict[str, tuple[Tensor, Tensor]],
        layouts: dict[str, TokenLayout],
        products: int,
        missing_tokens: Callable[[str], Tensor],
        positions: Mapping[str, np.ndarray] | None,
    ) -> dict[str, Tensor]:
        """Return fused[m]_ND at `positions` (None: at all that are not padding)."""
        missing = {m: missing_tokens(m) for m in self.modalities}
        sources = [(encoded[m][0] + self.modality_embedding[m]).flatten(0, 1) for m in encoded]
        source_SD = torch.cat([*sources, *missing.values()])
        device = source_SD.device
        overhead = (CUDA_OVERHEAD if device.type == "cuda" else CPU_OVERHEAD) / self.width**2
        lengths = {m: len(token_LD) for m, token_LD in missing.items()}
        packing = pack(layouts, products, lengths, positions, overhead, device)
        groups = [
            (_gather(source_SD, group.source_BL), group.padding_BL, group.query_BQ)
            for group in packing.groups
        ]
        fused_TD = torch.cat([tokens.flatten(0, 1) for tokens in self.stack.each(groups)])
        return {m: _gather(fused_TD, place_N) for m, place_N in packing.place.items()}


def _gather(tokens_SD: Tensor, index: Tensor) -> Tensor:
    """Return the tokens at an index of any shape, without synchronisation."""
    return tokens_SD.index_select(0, index.flatten()).unflatten(0, index.shape)


def _scatter(tokens_ND: Tensor, position_N: np.ndarray, shape: tuple[int, int]) -> Tensor:
    """Return tokens_RLD with the given tokens at flat positions, 0 elsewhere."""
    index_N = to_device(torch.from_numpy(position_N), tokens_ND.device)
    empty_SD = tokens_ND.new_zeros(shape[0] * shape[1], tokens_ND.shape[1])
    return empty_SD.index_copy(0, index_N, tokens_ND).unflatten(0, shape)


def _with_cls(
    encoded: dict[str, tuple[Tensor, Tensor]],
    rows: dict[str, Tensor],
    layouts: Mapping[str, TokenLayout] | None,
) -> dict[str, TokenLayout]:
    """Return the layouts of the encoded tokens, including the [CLS] that an encoder added."""
    found = {}
    for m, (encoded_RLD, padding_RL) in encoded.items():
        if layouts is None:
            found[m] = TokenLayout(rows[m].cpu().numpy(), padding_RL.cpu().numpy())
            continue
        added = encoded_RLD.shape[1] - layouts[m].padding_RL.shape[1]
        found[m] = TokenLayout(
            layouts[m].rows_R, np.pad(layouts[m].padding_RL, ((0, 0), (added, 0)))
        )
    return found
