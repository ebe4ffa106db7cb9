"""The model of a named system (inputs, fusion, heads, objective), at the parameter count of SCALE.

B products, M modalities (five), R rows (products that have the modality), L length, N positions,
D width.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from scale.config import Config, ModelConfig
from scale.data.batch import ProductBatch
from scale.evaluation.embed import product_embedding
from scale.losses.masked import masked_token_loss, masked_vector_loss
from scale.losses.masking import MaskedBatch
from scale.losses.total import LossOutput
from scale.modalities import INDEX, MODALITIES, SPECS
from scale.model.encoders import initialise
from scale.model.scale import ContinuousHead, DiscreteHead, EmbedOutput, ScaleModel
from scale.seeding import derived_seed
from scale.studies.systems.fusion import (
    LANGUAGE,
    PERCEPTION,
    ClipLoss,
    CoAttention,
    Inputs,
    NoFusion,
    RankingLoss,
    SingleStream,
)
from scale.studies.systems.named import System
from scale.studies.systems.tasks import (
    Example,
    choice_loss,
    mask_one_modality,
    shuffle_frames,
    swap_one_modality,
)


class FusionModel(nn.Module):
    """A named system: trained by `objective`, evaluated by `embed` and `embed_product`."""

    def __init__(self, system: System, config: Config, depth: int):
        """`depth`: layers of the fusion, of the towers, or of both in MMT (see `build_system`).

        Raises ValueError if config.model has none of the system's modalities.
        """
        super().__init__()
        model = config.model
        self.system = system
        self.seen = tuple(m for m in system.modalities if m in model.modalities)
        if not self.seen:
            raise ValueError(f"{system.name} sees {system.modalities}, none in model.modalities")
        masked = tuple(m for m in self.seen if SPECS[m].task in system.masks)
        towers = {"perception": LANGUAGE, "": MODALITIES}.get(system.fusion, ())
        layers = {m: depth if m in towers else 0 for m in self.seen}
        self.inputs = Inputs(model, layers, masked)
        self.fusion = self._make_fusion(model, depth)
        self.heads = nn.ModuleDict(
            {m: ContinuousHead(model, m) if model.continuous(m) else DiscreteHead(model)
             for m in masked}
        )  # fmt: skip
        width = model.width
        self.match = self.order = self.contrast = None
        if system.match:
            self.match = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))
        if system.frame_order and "video" in self.seen:
            self.order = nn.Sequential(
                nn.Linear(width, width), nn.GELU(), nn.Linear(width, model.video_length)
            )
        self.poolers = nn.ModuleDict()
        if system.contrast:
            self.contrast = (
                ClipLoss(config.loss.ignore_duplicates)
                if system.contrast == "InfoNCE"
                else RankingLoss()
            )
            self.poolers = nn.ModuleDict({m: nn.Linear(width, width) for m in self.seen})
        for part in (self.match, self.order, self.poolers):
            if part is not None:
                part.apply(initialise)

    def objective(self, masked: MaskedBatch, progress: float = 1.0) -> LossOutput:
        """Compute the system's losses: masked prediction, matching, frame order, contrastive.

        `masked` is a batch from `mask_batch` for `loss_tasks`; `progress` is ignored. Raises
        ValueError if the batch has no tokens for any task.
        """
        example = Example.of(masked, self.seen)
        if self.system.one_at_a_time:
            example = mask_one_modality(example)
        if self.match is not None:
            example = swap_one_modality(example)
        if self.order is not None:
            example = shuffle_frames(example)
        fused = self(example.batch, example.hidden)
        losses = self._masked_losses(example, fused)
        if example.judged_B is not None:
            losses["match"] = self._match_loss(example, fused)
        if example.shuffled_RL is not None:
            logits_NL = self.order(fused["video"][:, 1:][example.shuffled_RL])
            origin_N = example.origin_RL[example.shuffled_RL]
            wrong = cross_entropy(logits_NL.float(), origin_N, reduction="sum")
            losses["frame order"] = wrong / max(len(origin_N), 1)
        if self.contrast is not None:
            cls_BMD, present_BM = self._cls(fused, example.batch)
            losses["contrastive"] = self.contrast(cls_BMD, present_BM, example.batch)
        if not losses:
            raise ValueError(f"{self.system.name}: the batch has no tokens for any task")
        return LossOutput(losses, scores=None, pairs=None)

    def forward(
        self, batch: ProductBatch, hidden: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Return fused_RLD by modality, [CLS] first; `hidden` as in `ScaleModel.forward`."""
        encoded = self.inputs(batch, hidden or {})
        rows = {m: batch.tokens[m].rows_R for m in encoded}
        return self.fusion(encoded, rows, len(batch), self.inputs)

    def embed(self, batch: ProductBatch) -> EmbedOutput:
        """Return pooled_BMD, each modality's [CLS] from a forward pass on that modality alone.

        Projected if the system has a projection; 0 where absent or unused.
        """
        batch = batch.only(self.seen)
        fused = {}
        for m in self.seen:
            fused |= self(batch.only((m,)))
        return EmbedOutput(*self._cls(fused, batch))

    def embed_product(self, batch: ProductBatch) -> Tensor:
        """Return emb_BD = unit(mean over present modalities of unit([CLS])) of one forward pass.

        Systems without a contrastive loss are not trained to make these [CLS] comparable. Products
        without any of the system's modalities get zeros.
        """
        batch = batch.only(self.seen)
        return product_embedding(*self._cls(self(batch), batch))

    def _make_fusion(self, config: ModelConfig, depth: int) -> nn.Module:
        fusion = self.system.fusion
        if fusion in ("co-attention", "cross then self"):
            return CoAttention(config, self.seen, depth, shared=fusion == "cross then self")
        sharing = {"all": MODALITIES, "perception": PERCEPTION}.get(fusion, ())
        joined = tuple(m for m in self.seen if m in sharing)
        return SingleStream(config, joined, depth) if joined else NoFusion()

    def _cls(self, fused: dict[str, Tensor], batch: ProductBatch) -> tuple[Tensor, Tensor]:
        """Return cls_BMD, each modality's (projected) [CLS], and present_BM."""
        width = self.inputs.width
        absent_BD = next(self.parameters()).new_zeros(len(batch), width)
        columns = [absent_BD] * len(MODALITIES)
        for m, tokens_RLD in fused.items():
            cls_RD = tokens_RLD[:, 0]
            if m in self.poolers:
                cls_RD = self.poolers[m](cls_RD)
            columns[INDEX[m]] = absent_BD.index_copy(0, batch.tokens[m].rows_R, cls_RD)
        return torch.stack(columns, dim=1), batch.present_BM

    def _masked_losses(self, example: Example, fused: dict[str, Tensor]) -> dict[str, Tensor]:
        losses = {}
        for m, head in self.heads.items():
            if m not in example.predicted:
                continue
            predicted_RL, target = example.predicted[m], example.targets[m]
            if target.ndim == 1:
                word_weight_VD = self.inputs.encoders[m].word_weight
                loss = masked_token_loss(head(fused[m][predicted_RL], word_weight_VD), target)
            else:
                predicted_NF = head(fused[m][:, 1:][predicted_RL])
                of = masked_vector_loss if self.system.vectors == "regression" else choice_loss
                loss = of(predicted_NF, target)
            losses[SPECS[m].task] = loss
        return losses

    def _match_loss(self, example: Example, fused: dict[str, Tensor]) -> Tensor:
        """Return the binary cross-entropy of `swapped_B` over the judged products."""
        cls_BMD, present_BM = self._cls(fused, example.batch)
        read_BD = _first(cls_BMD, present_BM, MODALITIES)
        if self.system.match == "product":
            read_BD = read_BD * _first(cls_BMD, present_BM, PERCEPTION)
        logit_B = self.match(read_BD).squeeze(1)
        judged_B = example.judged_B
        return binary_cross_entropy_with_logits(
            logit_B[judged_B].float(), example.swapped_B[judged_B].float()
        )


def _first(cls_BMD: Tensor, present_BM: Tensor, among: tuple[str, ...]) -> Tensor:
    """Return cls_BD, the [CLS] of each product's first present modality among `among`."""
    columns_S = torch.tensor([INDEX[m] for m in among], device=present_BM.device)
    first_B = columns_S[present_BM[:, columns_S].int().argmax(1)]
    return cls_BMD[torch.arange(len(cls_BMD), device=cls_BMD.device), first_B]


TOLERANCE = 0.05
"""Relative tolerance of the parameter count; two systems are then within about 10 %."""
STRETCHES = (1.0, 0.75, 1.25, 0.5, 1.5, 0.25, 2.0)
"""Factors on the feed-forward width, tried in this order."""
DEEPEST = 200


def build_system(system: System, config: Config, seed: int) -> nn.Module:
    """Build the model of a named system with weights from a seed.

    It uses the modalities in both `system.modalities` and `config.model.modalities`. Its parameter
    count is within 5 % of `ScaleModel(config.model, config.missing)`: the depth is adjusted, and
    the feed-forward width if no depth fits; width and heads are fixed. For scheme `scale`, it is
    the ScaleModel itself. `model.discrete_init` and `continuous_init` are ignored.

    Raises ValueError if no depth fits or no modality is shared.
    """
    # Before the seed is set, because meta models consume random numbers.
    sized, depth = (config, 0) if system.scheme == "scale" else find_size(system, config)
    with torch.random.fork_rng():
        torch.manual_seed(derived_seed(seed))
        if system.scheme == "scale":
            return ScaleModel(config.model, config.missing)
        return FusionModel(system, sized, depth)


def find_size(system: System, config: Config) -> tuple[Config, int]:
    """Find the config (with feed-forward width) and depth. Raises ValueError if none fits."""
    with torch.device("meta"):
        wanted = count_parameters(ScaleModel(config.model, config.missing))
    closest = 0.0
    for factor in STRETCHES:
        mlp_ratio = config.model.mlp_ratio * factor
        stretched = replace(config, model=replace(config.model, mlp_ratio=mlp_ratio))
        counts = {d: _count(system, stretched, d) for d in (1, 2)}
        # Layers have equal size, so the count is linear in depth.
        a_layer = counts[2] - counts[1]
        depth = max(1, min(DEEPEST, 1 + round((wanted - counts[1]) / a_layer)))
        ratio = (counts[1] + (depth - 1) * a_layer) / wanted
        if abs(ratio - 1) <= TOLERANCE:
            return stretched, depth
        closest = min(closest or ratio, ratio, key=lambda r: abs(r - 1))
    raise ValueError(
        f"{system.name}: no depth gives {wanted} parameters within {TOLERANCE:.0%}; the closest "
        f"has {closest:.0%} of them. Choose a deeper or wider config.model to compare with"
    )


def count_parameters(model: nn.Module) -> int:
    """Count all parameters, shared ones once."""
    return sum(p.numel() for p in model.parameters())


def _count(system: System, config: Config, depth: int) -> int:
    with torch.device("meta"):
        return count_parameters(FusionModel(system, config, depth))
