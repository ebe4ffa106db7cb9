"""SCALE: five encoders, the joint co-transformer and the pretext heads (paper, section 4).

B products, M modalities (five), R rows (products that have one modality), L length, D width,
N masked positions, V vocabulary or views of the products, F features.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from scale.config import MissingConfig, ModelConfig, require
from scale.data.batch import ProductBatch, TokenLayout, Tokens, positions_of, to_device
from scale.data.normaliser import Normaliser
from scale.modalities import INDEX, MODALITIES, PAIRS, subset_name
from scale.model.backbone_encoders import (
    Architecture,
    PixelBackboneEncoder,
    WordBackboneEncoder,
    read_architecture,
)
from scale.model.encoders import ContinuousEncoder, DiscreteEncoder, initialise
from scale.model.joint_transformer import JointCoTransformer
from scale.model.projection import Projection
from scale.model.storage import load_weights, read_settings, write_model


@dataclass
class ContrastOutput:
    """Learned parts of the contrastive loss; None where it has none."""

    log_scale_1: Tensor | None = None
    """Logarithm of the factor on the configured logit scale; 0 at first."""
    bias_1: Tensor | None = None
    """Addition to the configured bias; 0 at first."""
    fused_BPD: Tensor | None = None
    """Fusion of each pair of pooled features."""


@dataclass
class EmbedOutput:
    """Output of the encoders."""

    pooled_BMD: Tensor
    """f_1 .. f_5: pooled [CLS] features; 0 where the modality is missing."""
    present_BM: Tensor
    contrast: ContrastOutput = field(default_factory=ContrastOutput, kw_only=True)


@dataclass
class FusedOutput(EmbedOutput):
    """Output of the encoders and [CLS] of the JCT, for one view of the products."""

    fused_BMD: Tensor
    """[CLS] of each modality after the JCT, also where its tokens are imputed; 0 without tokens."""
    token_BM: Tensor
    """True where the modality has tokens: present, or imputed by the policy `zero` or `learned`."""
    projected_BMD: Tensor
    """The modality's pooler applied to `fused_BMD`, in the space of `pooled_BMD`: at an imputed
    modality, a prediction of its feature from the others. 0 without tokens."""


@dataclass
class ScaleOutput(EmbedOutput):
    """Output of the whole model."""

    encoded: dict[str, Tensor]
    """encoded_RLD by modality, including [CLS]."""
    fused: dict[str, Tensor]
    """fused_RLD by modality: output of the JCT, including [CLS]; empty with
    `loss_positions_only`."""
    fused_pooled_BMD: Tensor
    """[CLS] of each modality after the JCT; 0 where the modality is missing."""
    predictions: dict[str, Tensor]
    """Outputs of the heads at masked positions, row by row: logits_NV (word pieces) or
    vectors_NF."""
    halves: tuple[FusedOutput, ...] = ()
    """Both halves of the modalities, with `halves_BM`."""


class ScaleModel(nn.Module):
    """Five modality encoders, a joint co-transformer over their tokens, and five prediction heads.

    Missing modalities have no rows, so they cost nothing in their encoders.
    """

    def __init__(
        self,
        config: ModelConfig,
        missing: MissingConfig | None = None,
        architectures: Mapping[str, Architecture] | None = None,
    ):
        """Initialise at random.

        Args:
            config: the `model` of a `Config`, which has all sizes.
            missing: policy for missing modalities.
            architectures: of the public models inside encoders, by modality; default: those of the
                models that `config` names.

        Raises ValueError if a size is not set or an architecture cannot be read.
        """
        super().__init__()
        vectors = [m for m in config.modalities if config.continuous(m)]
        sizes = [f"{m}_length" for m in config.modalities] + [f"{m}_features" for m in vectors]
        sizes += ["vocab_size"] if len(vectors) < len(config.modalities) else []
        unset = [f"model.{name}" for name in sizes if not getattr(config, name)]
        require(not unset, f"{', '.join(unset)} not set: a Config derives them from its features")
        self.config = config
        self.missing = missing or MissingConfig()
        known = architectures or {}
        self.architectures = {
            m: known[m] if m in known else read_architecture(m, config.backbone(m))
            for m in config.modalities
            if config.backbone(m)
        }
        self.encoders = nn.ModuleDict()
        self.heads = nn.ModuleDict()
        self.poolers = nn.ModuleDict()
        self.projections = nn.ModuleDict()
        for m in config.modalities:
            vectors = config.continuous(m)
            self.encoders[m] = self._make_encoder(m)
            if vectors:
                self.heads[m] = ContinuousHead(config, m)
            else:
                self.heads[m] = DiscreteHead(config, self.encoders[m].word_weight.shape[1])
            # With projections, for the fused [CLS] alone.
            self.poolers[m] = nn.Linear(config.width, config.pooled_width)
            if config.pooling == "projection":
                self.projections[m] = Projection(config, m)
        self.poolers.apply(initialise)
        self.jct = JointCoTransformer(config, self.missing.policy)
        self.contrast = ContrastParameters(config) if config.contrast_parameters else None

    def forward(
        self,
        batch: ProductBatch,
        hidden: dict[str, Tensor] | None = None,
        positions: dict[str, np.ndarray] | None = None,
        *,
        halves_BM: Tensor | None = None,
        loss_positions_only: bool = False,
        fused_pooled: bool = True,
        predictions: bool = True,
    ) -> ScaleOutput:
        """Encode the modalities, fuse their tokens, and predict the masked ones.

        Args:
            batch: products, with masked tokens replaced (`losses.masking`).
            hidden: hidden_RL by modality, True at masked positions. None or a modality left out:
                nothing is masked, and no head runs.
            positions: flat positions of `hidden` in row-major order, by modality. They are computed
                for modalities left out, which synchronises with the device.
            halves_BM: True for the modalities of each product's first half; the present others are
                its second half. Both are fused apart, in a further pass of the JCT.
            loss_positions_only: run the last layer of the JCT only where a loss uses its output;
                `fused` is then empty. Equal up to rounding and dropout.
            fused_pooled: with `loss_positions_only`, whether `fused_pooled_BMD` is needed; else it
                is 0.
            predictions: whether the heads run.
        """
        hidden, positions, products = hidden or {}, positions or {}, len(batch)
        encoded = self._encode(batch, hidden)
        rows, layouts = _rows_and_layouts(batch, encoded)
        tokens = {m: tokens_RLD for m, (tokens_RLD, _) in encoded.items()}
        pooled_BMD = self._pool(batch, hidden, encoded, rows)
        # Before the main pass, whose use of random numbers depends on the outputs requested.
        halves = self._fuse_halves(encoded, rows, pooled_BMD, batch.present_BM, halves_BM)

        masked = {
            m: _positions_with_cls(tokens_RLD, hidden[m], positions.get(m))
            for m, tokens_RLD in tokens.items()
            if predictions and m in hidden and len(hidden[m])
        }
        if loss_positions_only:
            fused = {}
            cls, at_masked = self._fuse_at(masked, encoded, rows, layouts, products, fused_pooled)
        else:
            fused = self.jct(encoded, rows, products, self.encoders, layouts)
            cls = {m: fused_RLD[:, 0] for m, fused_RLD in fused.items()}
            at_masked = {m: _at(fused[m], position_N) for m, position_N in masked.items()}
        fused_pooled_BMD = (
            _by_product(cls, rows, products)
            if cls
            else pooled_BMD.new_zeros(*pooled_BMD.shape[:2], self.config.width)
        )
        return ScaleOutput(
            pooled_BMD=pooled_BMD,
            present_BM=batch.present_BM,
            encoded=tokens,
            fused=fused,
            fused_pooled_BMD=fused_pooled_BMD,
            predictions={m: self._head(m, fused_ND) for m, fused_ND in at_masked.items()},
            contrast=self._contrast(pooled_BMD),
            halves=halves,
        )

    def embed(self, batch: ProductBatch, hidden: dict[str, Tensor] | None = None) -> EmbedOutput:
        """Return the pooled features of the encoders, without the JCT. `hidden`: as in
        `forward`."""
        return self.embed_halves(batch, hidden or {}, None)[0]

    def embed_fused(self, batch: ProductBatch) -> FusedOutput:
        """Return the features of the encoders and, after the JCT, [CLS] of all modalities."""
        encoded = self._encode(batch, {})
        rows, _ = _rows_and_layouts(batch, encoded)
        pooled_BMD = self._pool(batch, {}, encoded, rows)
        (output,) = self._fuse_views(encoded, rows, pooled_BMD, batch.present_BM[None])
        return output

    def embed_halves(
        self, batch: ProductBatch, hidden: dict[str, Tensor], halves_BM: Tensor | None
    ) -> tuple[EmbedOutput, tuple[FusedOutput, ...]]:
        """Return the features of the encoders, and both halves after the JCT, as in `forward`."""
        # Projections read the input tokens.
        encoded = {} if self.projections and halves_BM is None else self._encode(batch, hidden)
        rows, _ = _rows_and_layouts(batch, encoded)
        pooled_BMD = self._pool(batch, hidden, encoded, rows)
        halves = self._fuse_halves(encoded, rows, pooled_BMD, batch.present_BM, halves_BM)
        output = EmbedOutput(pooled_BMD, batch.present_BM, contrast=self._contrast(pooled_BMD))
        return output, halves

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the weights and the settings to `model.safetensors` and `config.json`."""
        settings = {"model": asdict(self.config), "missing": asdict(self.missing)}
        if self.architectures:
            settings["architectures"] = self.architectures
        write_model(folder, settings, self.state_dict())

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "ScaleModel":
        """Load a model written by `save_pretrained`, in evaluation mode, on the CPU.

        `folder` may also be a repository of the Hugging Face hub, which is downloaded.

        Raises:
            CheckpointError: a file is missing or damaged, a setting is unknown, or weights are
                missing, superfluous or of another shape.
        """
        folder, config, missing, architectures = read_settings(folder)
        model = cls(config, missing, architectures)
        load_weights(model, folder)
        return model.eval()

    @property
    def run_all_encoders(self) -> bool:
        """Whether every encoder runs in every pass, on zero input where no product has the
        modality, with equal results. FSDP2 requires it: all processes must use the weights in the
        same order."""
        return self.jct.run_all_encoders

    def set_normaliser(self, normaliser: Normaliser) -> None:
        """Pass the standardisation of the data to encoders that read pixels."""
        for m, encoder in self.encoders.items():
            if isinstance(encoder, PixelBackboneEncoder) and m in normaliser.mean:
                encoder.set_statistics(normaliser.mean[m], normaliser.spread[m])

    def _make_encoder(self, modality: str) -> nn.Module:
        vectors = self.config.continuous(modality)
        if modality in self.architectures:
            kind = PixelBackboneEncoder if vectors else WordBackboneEncoder
            return kind(self.config, modality, self.architectures[modality])
        return (ContinuousEncoder if vectors else DiscreteEncoder)(self.config, modality)

    def _encode(
        self, batch: ProductBatch, hidden: dict[str, Tensor]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Return encoded_RLD and padding_RL by modality."""
        encoded = {}
        for m in self.config.modalities:
            if m in batch.tokens and len(batch.tokens[m].rows_R):
                encoded[m] = self.encoders[m](batch.tokens[m], hidden.get(m))
            elif self.run_all_encoders:
                # Without rows, so that the gradient is 0.
                empty_0LD = self.encoders[m].impute_zeros()[:0]
                encoded[m] = empty_0LD, empty_0LD.new_zeros(empty_0LD.shape[:2], dtype=torch.bool)
        return encoded

    def _pool(
        self,
        batch: ProductBatch,
        hidden: dict[str, Tensor],
        encoded: dict[str, tuple[Tensor, Tensor]],
        rows: dict[str, Tensor],
    ) -> Tensor:
        """Return pooled_BMD: f_m = W_m cls_m + b_m, or the projection of the input tokens."""
        if self.projections:
            read = {
                m: t for m, t in batch.tokens.items() if m in self.projections and len(t.rows_R)
            }
            rows = {m: t.rows_R for m, t in read.items()}
            pooled = {m: self.projections[m](t, hidden.get(m)) for m, t in read.items()}
        else:
            pooled = {
                m: self.poolers[m](tokens_RLD[:, 0]) for m, (tokens_RLD, _) in encoded.items()
            }
        return _by_product(pooled, rows, len(batch))

    def _contrast(self, pooled_BMD: Tensor) -> ContrastOutput:
        return ContrastOutput() if self.contrast is None else self.contrast(pooled_BMD)

    def _fuse_halves(
        self,
        encoded: dict[str, tuple[Tensor, Tensor]],
        rows: dict[str, Tensor],
        pooled_BMD: Tensor,
        present_BM: Tensor,
        halves_BM: Tensor | None,
    ) -> tuple[FusedOutput, ...]:
        """Return the fused halves; nothing without `halves_BM`."""
        if halves_BM is None:
            return ()
        keep_VBM = torch.stack([present_BM & halves_BM, present_BM & ~halves_BM])
        return self._fuse_views(encoded, rows, pooled_BMD, keep_VBM)

    def _fuse_views(
        self,
        encoded: dict[str, tuple[Tensor, Tensor]],
        rows: dict[str, Tensor],
        pooled_BMD: Tensor,
        keep_VBM: Tensor,
    ) -> tuple[FusedOutput, ...]:
        """Return the output of each view, in which products have the modalities of keep_VBM."""
        fused_VBMD, token_VBM = self.jct.cls_of_views(encoded, rows, keep_VBM, self.encoders)
        projected_VBMD = fused_VBMD.new_zeros(*fused_VBMD.shape[:3], self.config.pooled_width)
        for m, pooler in self.poolers.items():
            projected_VBMD[:, :, INDEX[m]] = pooler(fused_VBMD[:, :, INDEX[m]])
        projected_VBMD = projected_VBMD.masked_fill(~token_VBM[:, :, :, None], 0.0)
        pooled_VBMD = pooled_BMD.masked_fill(~keep_VBM[:, :, :, None], 0.0)
        views = zip(pooled_VBMD, keep_VBM, fused_VBMD, token_VBM, projected_VBMD, strict=True)
        return tuple(FusedOutput(*view) for view in views)

    def _fuse_at(
        self,
        masked: dict[str, np.ndarray],
        encoded: dict[str, tuple[Tensor, Tensor]],
        rows: dict[str, Tensor],
        layouts: dict[str, TokenLayout],
        products: int,
        fused_pooled: bool,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the JCT's output at [CLS] (with `fused_pooled`) and at masked positions."""
        positions = dict(masked)
        if fused_pooled:
            for m, (tokens_RLD, _) in encoded.items():
                cls_R = np.arange(len(tokens_RLD)) * tokens_RLD.shape[1]
                positions[m] = np.concatenate([cls_R, masked.get(m, cls_R[:0])])
        fused = self.jct(encoded, rows, products, self.encoders, layouts, positions)
        cls = {m: fused[m][: len(rows[m])] for m in encoded} if fused_pooled else {}
        return cls, {m: fused[m][len(fused[m]) - len(n) :] for m, n in masked.items()}

    def _predict(
        self,
        modality: str,
        fused_RLD: Tensor,
        hidden_RL: Tensor,
        position_N: np.ndarray | None = None,
    ) -> Tensor:
        """Return the head's output at the masked positions of fused_RLD."""
        position_N = _positions_with_cls(fused_RLD, hidden_RL, position_N)
        return self._head(modality, _at(fused_RLD, position_N))

    def _head(self, modality: str, fused_ND: Tensor) -> Tensor:
        """Return the head's output at N positions."""
        if self.config.continuous(modality):
            return self.heads[modality](fused_ND)
        return self.heads[modality](fused_ND, self.encoders[modality].word_weight)


class DiscreteHead(nn.Module):
    """Word-piece logits: a transform, then the encoder's word embeddings as decoder."""

    def __init__(self, config: ModelConfig, word_width: int | None = None):
        """word_width: width of the word embeddings; default: the model's."""
        super().__init__()
        self.transform = _transform(config.width)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        same = word_width in (None, config.width)
        self.project = nn.Identity() if same else nn.Linear(config.width, word_width)
        self.apply(initialise)

    def forward(self, fused_ND: Tensor, word_weight_VD: Tensor) -> Tensor:
        """Return logits_NV = W transform(fused) + b, with the word embeddings W."""
        return linear(self.project(self.transform(fused_ND)), word_weight_VD, self.bias)


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


class ContrastParameters(nn.Module):
    """Learned parameters of the contrastive loss, those that `config.contrast_parameters` names.

    `temperature` and `bias` (CLIP, SigLIP); `fusion`: a network for each pair of modalities, from
    both pooled features to one (ConFu).
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        names, width = config.contrast_parameters, config.pooled_width
        # Of one dimension, because FSDP2 cannot shard scalars.
        self.log_scale = nn.Parameter(torch.zeros(1)) if "temperature" in names else None
        self.bias = nn.Parameter(torch.zeros(1)) if "bias" in names else None
        self.fusion = nn.ModuleDict()
        for i, j in PAIRS if "fusion" in names else ():
            if {MODALITIES[i], MODALITIES[j]} <= set(config.modalities):
                layers = nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, width)
                self.fusion[subset_name((MODALITIES[i], MODALITIES[j]))] = nn.Sequential(*layers)
        self.fusion.apply(initialise)

    def forward(self, pooled_BMD: Tensor) -> ContrastOutput:
        """Return the parameters and the fused pairs; 0 for pairs without a network."""
        fused_BPD = None
        if len(self.fusion):
            fused = [torch.zeros_like(pooled_BMD[:, 0])] * len(PAIRS)
            for p, (i, j) in enumerate(PAIRS):
                name = subset_name((MODALITIES[i], MODALITIES[j]))
                if name in self.fusion:
                    fused[p] = self.fusion[name](pooled_BMD[:, [i, j]].flatten(1))
            fused_BPD = torch.stack(fused, dim=1)
        # Copies: DDP takes a parameter that is itself an output for an unused one.
        numbers = (None if p is None else p.clone() for p in (self.log_scale, self.bias))
        return ContrastOutput(*numbers, fused_BPD)


def _transform(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))


def _rows_and_layouts(
    batch: ProductBatch, encoded: dict[str, tuple[Tensor, Tensor]]
) -> tuple[dict[str, Tensor], dict[str, TokenLayout]]:
    """Return rows_R and the CPU layout of each encoded modality."""
    empty_0 = batch.index_B[:0]
    none = Tokens(empty_0[:, None], torch.zeros_like(empty_0[:, None], dtype=torch.bool), empty_0)
    tokens = {m: batch.tokens.get(m, none) for m in encoded}
    return {m: t.rows_R for m, t in tokens.items()}, {m: t.on_host() for m, t in tokens.items()}


def _by_product(features: dict[str, Tensor], rows: dict[str, Tensor], products: int) -> Tensor:
    """Return feature_RD of all modalities as features_BMD; 0 where a modality is missing."""
    require(bool(features), "no product of the batch has a modality of the model")
    any_RD = next(iter(features.values()))
    features_MBD = [any_RD.new_zeros(products, any_RD.shape[1])] * len(MODALITIES)
    for m, feature_RD in features.items():
        features_MBD[INDEX[m]] = features_MBD[INDEX[m]].index_copy(0, rows[m], feature_RD)
    return torch.stack(features_MBD, dim=1)


def _positions_with_cls(
    encoded_RLD: Tensor, hidden_RL: Tensor, position_N: np.ndarray | None
) -> np.ndarray:
    """Return the flat positions of masked tokens in encoded_RLD, with the encoder's [CLS]."""
    if position_N is None:
        position_N = positions_of(hidden_RL)
    length = hidden_RL.shape[1]
    return position_N + (position_N // length + 1) * (encoded_RLD.shape[1] - length)


def _at(tokens_RLD: Tensor, position_N: np.ndarray) -> Tensor:
    """Return tokens_ND at flat positions."""
    index_N = to_device(torch.from_numpy(position_N), tokens_RLD.device)
    return tokens_RLD[index_N // tokens_RLD.shape[1], index_N % tokens_RLD.shape[1]]
