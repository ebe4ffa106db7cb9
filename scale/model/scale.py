"""SCALE: five encoders, the joint co-transformer and the pretext heads (paper, section 4).

B products, M modalities (five), R rows (products that have one modality), L length, D width,
N hidden positions, V vocabulary, F features.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from scale.config import MissingConfig, ModelConfig
from scale.data.batch import ProductBatch, TokenLayout, Tokens, positions_of, to_device
from scale.modalities import INDEX, MODALITIES, SPECS
from scale.model.encoders import ContinuousEncoder, DiscreteEncoder
from scale.model.heads import ContinuousHead, DiscreteHead
from scale.model.joint_transformer import JointCoTransformer
from scale.model.storage import load_model, save_model
from scale.model.transformer import initialise


@dataclass
class EmbedOutput:
    """What the encoders say of each product."""

    pooled_BMD: Tensor
    """f_1 .. f_5: pooled [CLS] features; 0 where the product lacks the modality."""
    present_BM: Tensor


@dataclass
class ScaleOutput(EmbedOutput):
    """What the whole model says of each product."""

    encoded: dict[str, Tensor]
    """encoded_RLD by modality, [CLS] in front."""
    fused: dict[str, Tensor]
    """fused_RLD by modality: the JCT's output, split again, [CLS] in front."""
    fused_pooled_BMD: Tensor
    """The JCT's [CLS] of each modality; 0 where absent."""
    predictions: dict[str, Tensor]
    """At the hidden positions, row by row: logits_NV (text, table) or vectors_NF."""


class ScaleModel(nn.Module):
    """Five modality encoders, a joint co-transformer over their tokens, and five heads.

    `forward` is one loop over the modalities that the batch holds: a missing modality has no rows
    and costs nothing in its encoder.
    """

    def __init__(self, config: ModelConfig, missing: MissingConfig | None = None):
        super().__init__()
        self.config = config
        self.missing = missing or MissingConfig()
        self.encoders = nn.ModuleDict()
        self.heads = nn.ModuleDict()
        self.poolers = nn.ModuleDict()
        for m in config.modalities:
            discrete = SPECS[m].kind == "discrete"
            encoder = DiscreteEncoder if discrete else ContinuousEncoder
            self.encoders[m] = encoder(config, m)
            self.heads[m] = DiscreteHead(config) if discrete else ContinuousHead(config, m)
            self.poolers[m] = nn.Linear(config.width, config.width)
        self.poolers.apply(initialise)
        self.jct = JointCoTransformer(config, self.missing.policy)

    @property
    def lockstep(self) -> bool:
        """Every encoder runs in every pass, on input of 0 where no product has its modality, with
        the same result: processes that share weights out must all use them in the same order."""
        return self.jct.lockstep

    def forward(
        self,
        batch: ProductBatch,
        hidden: dict[str, Tensor] | None = None,
        positions: dict[str, np.ndarray] | None = None,
    ) -> ScaleOutput:
        """Encode, fuse, and predict what is hidden.

        Args:
            batch: products, corrupted by `objectives.masking` where `hidden` says so.
            hidden: by modality, hidden_RL: True at positions whose content is to be predicted.
                None or a modality left out: nothing is hidden there and no head runs.
            positions: by modality, position_N of what is hidden in row-major order. One that is
                left out is looked for in `hidden`, for which the host waits for the device.
        """
        hidden = hidden or {}
        encoded = self._encode(batch, hidden)
        rows, host = self._facts(batch, encoded)
        fused = self.jct(encoded, rows, len(batch), self.encoders, host)
        positions = positions or {}
        predictions = {
            m: self._predict(m, fused[m], hidden[m], positions.get(m))
            for m in fused
            if m in hidden and len(hidden[m])
        }
        tokens = {m: tokens_RLD for m, (tokens_RLD, _) in encoded.items()}
        return ScaleOutput(
            pooled_BMD=self._pool(tokens, rows, len(batch)),
            present_BM=batch.present_BM,
            encoded=tokens,
            fused=fused,
            fused_pooled_BMD=_cls_features(fused, rows, len(batch)),
            predictions=predictions,
        )

    def read(
        self,
        batch: ProductBatch,
        hidden: dict[str, Tensor],
        positions: dict[str, np.ndarray] | None = None,
        fused_pooled: bool = True,
        predictions: bool = True,
    ) -> ScaleOutput:
        """What losses read of `forward`, with nothing computed that they do not.

        The last layer of the JCT runs at hidden positions (and at [CLS], with `fused_pooled`) only.
        Equal to `forward` up to rounding and dropout, but that `fused` is empty, and
        `fused_pooled_BMD` is 0 where it is not asked for.
        """
        encoded = self._encode(batch, hidden)
        rows, host = self._facts(batch, encoded)
        tokens, positions = {m: t for m, (t, _) in encoded.items()}, positions or {}
        wanted = {
            m: _among(tokens_RLD, hidden[m], positions.get(m))
            for m, tokens_RLD in tokens.items()
            if predictions and m in hidden and len(hidden[m])
        }
        asked = dict(wanted)
        if fused_pooled:
            for m, tokens_RLD in tokens.items():
                cls_R = np.arange(len(tokens_RLD)) * tokens_RLD.shape[1]
                asked[m] = np.concatenate([cls_R, wanted.get(m, cls_R[:0])])
        taken = self.jct.read(encoded, rows, len(batch), self.encoders, host, asked)
        cls = {m: taken[m][: len(rows[m]), None] for m in encoded} if fused_pooled else {}
        pooled_BMD = self._pool(tokens, rows, len(batch))
        return ScaleOutput(
            pooled_BMD=pooled_BMD,
            present_BM=batch.present_BM,
            encoded=tokens,
            fused={},
            fused_pooled_BMD=(
                _cls_features(cls, rows, len(batch)) if cls else torch.zeros_like(pooled_BMD)
            ),
            predictions={
                m: self._head(m, taken[m][len(taken[m]) - len(position_N) :])
                for m, position_N in wanted.items()
            },
        )

    def embed(self, batch: ProductBatch, hidden: dict[str, Tensor] | None = None) -> EmbedOutput:
        """Pooled features of the encoders alone; the JCT does not run. `hidden` as in `forward`."""
        encoded = self._encode(batch, hidden or {})
        tokens = {m: tokens_RLD for m, (tokens_RLD, _) in encoded.items()}
        rows = {m: t.rows_R for m, t in _tokens(batch, encoded).items()}
        return EmbedOutput(self._pool(tokens, rows, len(batch)), batch.present_BM)

    def _encode(
        self, batch: ProductBatch, hidden: dict[str, Tensor]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """By modality, encoded_RLD and its padding_RL, for the modalities that have rows (in
        lockstep for all)."""
        encoded = {}
        for m in self.config.modalities:
            if m in batch.tokens and len(batch.tokens[m].rows_R):
                encoded[m] = self.encoders[m](batch.tokens[m], hidden.get(m))
            elif self.lockstep:
                # No rows of it, so that nothing but a gradient of 0 comes back.
                none_0LD = self.encoders[m].impute_zeros()[:0]
                encoded[m] = none_0LD, none_0LD.new_zeros(none_0LD.shape[:2], dtype=torch.bool)
        return encoded

    def _pool(self, tokens: dict[str, Tensor], rows: dict[str, Tensor], products: int) -> Tensor:
        """f_m = W_m cls_m + b_m, as pooled_BMD."""
        pooled = {m: self.poolers[m](tokens_RLD[:, :1]) for m, tokens_RLD in tokens.items()}
        return _cls_features(pooled, rows, products)

    def _facts(
        self, batch: ProductBatch, encoded: dict[str, tuple[Tensor, Tensor]]
    ) -> tuple[dict[str, Tensor], dict[str, TokenLayout]]:
        """rows_R, and what the host knows, of the modalities that were encoded."""
        tokens = _tokens(batch, encoded)
        return {m: t.rows_R for m, t in tokens.items()}, {m: t.on_host() for m, t in tokens.items()}

    def _predict(
        self,
        modality: str,
        fused_RLD: Tensor,
        hidden_RL: Tensor,
        position_N: np.ndarray | None = None,
    ) -> Tensor:
        """What the head says of the hidden positions, which are looked for where not given."""
        index_N = to_device(
            torch.from_numpy(_among(fused_RLD, hidden_RL, position_N)), fused_RLD.device
        )
        length = fused_RLD.shape[1]
        return self._head(modality, fused_RLD[index_N // length, index_N % length])

    def _head(self, modality: str, fused_ND: Tensor) -> Tensor:
        if SPECS[modality].kind == "discrete":
            return self.heads[modality](fused_ND, self.encoders[modality].word_weight)
        return self.heads[modality](fused_ND)

    save_pretrained = save_model
    from_pretrained = classmethod(load_model)


def _tokens(batch: ProductBatch, modalities: Iterable[str]) -> dict[str, Tokens]:
    """The batch's tokens of these modalities; no rows where it has none."""
    empty_0 = batch.index_B[:0]
    nothing = Tokens(
        empty_0[:, None], torch.zeros_like(empty_0[:, None], dtype=torch.bool), empty_0
    )
    return {m: batch.tokens.get(m, nothing) for m in modalities}


def _cls_features(tokens: dict[str, Tensor], rows: dict[str, Tensor], products: int) -> Tensor:
    """The first token of each row, as features_BMD; 0 where a product lacks the modality."""
    if not tokens:
        raise ValueError("no product of the batch has a modality that the model knows")
    any_RLD = next(iter(tokens.values()))
    features_MBD = [any_RLD.new_zeros(products, any_RLD.shape[2])] * len(MODALITIES)
    for m, tokens_RLD in tokens.items():
        features_MBD[INDEX[m]] = features_MBD[INDEX[m]].index_copy(0, rows[m], tokens_RLD[:, 0])
    return torch.stack(features_MBD, dim=1)


def _among(
    encoded_RLD: Tensor, hidden_RL: Tensor, position_N: np.ndarray | None = None
) -> np.ndarray:
    """Positions of what is hidden among the encoded tokens, [CLS] counted."""
    if position_N is None:
        position_N = positions_of(hidden_RL)
    length = hidden_RL.shape[1]
    return position_N + (position_N // length + 1) * (encoded_RLD.shape[1] - length)
