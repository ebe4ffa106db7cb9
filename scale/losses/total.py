"""The total loss: contrastive losses of pairs of modalities and masked losses, weighted by S'.

L = sum_{i<j} L_CL(S'_ij) + sum_i L_Mi(S'_ii)                       (paper, section 4.3)

B products, A of them anchors, M modalities (five), P pairs (ten), N masked positions.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from scale.config import FUSED_TASKS, LossConfig, require
from scale.data.batch import ProductBatch
from scale.losses.alternatives import (
    confu_losses,
    gram_losses,
    rince_losses,
    siglip_losses,
    symile_losses,
    valid_terms,
)
from scale.losses.contrastive import PairLosses, pair_losses
from scale.losses.fused import fused_features, fused_losses
from scale.losses.masked import masked_token_loss, masked_vector_loss
from scale.losses.masking import MaskedBatch
from scale.losses.tiled import tiled_pair_losses
from scale.losses.weighting import Weights, configured_weights
from scale.modalities import INDEX, SPECS
from scale.model.scale import ContrastOutput, ScaleOutput
from scale.model.scores import Scores, inter_modality_scores

MAX_SCALE = 100.0
"""Largest learned logit scale."""


@dataclass
class LossOutput:
    """Losses of one batch, with scores and pair losses for logging."""

    losses: dict[str, Tensor]
    """Scalars by active task; their sum is minimised."""
    scores: Scores | None
    """None for models without scores (studies/systems)."""
    pairs: PairLosses | None
    """Unweighted InfoNCE of each pair, without label smoothing; None if the contrastive task is
    inactive or another loss."""
    temperature: Tensor | None = None
    """Learned temperature; None if it is fixed."""

    @property
    def total(self) -> Tensor:
        """Sum of the losses."""
        return torch.stack(list(self.losses.values())).sum()


WeightFn = Callable[[ScaleOutput, Scores, PairLosses, ProductBatch], Weights]
"""Computes the weights of a batch from model output, scores, unweighted InfoNCE and batch."""


def scale_loss(
    output: ScaleOutput,
    masked: MaskedBatch,
    config: LossConfig,
    progress: float = 1.0,
    weight_fn: WeightFn | None = None,
    fixed: Weights | None = None,
) -> LossOutput:
    """Return all losses of a batch, weighted according to `LossConfig`.

    One pass serves all losses, so S and the contrastive losses are computed from masked inputs,
    while evaluation embeds clean ones (compared in the study `masking`, docs/findings.md). A
    modality whose task is inactive is not masked, unless `MaskConfig.always`.

    Args:
        output: output of the model for `masked.batch`.
        masked: masked batch and targets.
        config: active tasks and their options.
        progress: completed share of the training; weights are uniform until
            `config.weight_uniform_share`.
        weight_fn: replaces the weights of `config.weight_by`.
        fixed: weights of all training products, for `config.weight_by` agreement.
    """
    batch = masked.batch
    features = {"encoder": output.pooled_BMD, "fused": output.fused_pooled_BMD}
    scores = batch_scores(features, batch.present_BM, config)
    pairs = None
    if uses_pairs(config):
        # Other losses use InfoNCE for their weights only.
        with torch.set_grad_enabled(torch.is_grad_enabled() and is_info_nce(config)):
            pairs = batch_pairs(output.pooled_BMD, output.contrast, batch, config)
    weights = None
    if weights_act(config, progress):
        if weight_fn is not None:
            weights = weight_fn(output, scores, pairs, batch)
        else:
            weights = configured_weights(
                config, scores, pairs, batch.present_BM, fixed and fixed.select(batch.index_B)
            )

    losses = {}
    if "contrastive" in config.tasks:
        pair_BP = None if weights is None else weights.pair_BP
        losses["contrastive"] = contrastive_loss(
            output.pooled_BMD, output.contrast, batch, config, pair_BP, pairs
        )
    own_BM = weights.own_BM if weights is not None and config.weight_masked else None
    losses |= masked_losses(output.predictions, masked, config, own_BM)
    if tasks := [task for task in config.tasks if task in FUSED_TASKS]:
        require(bool(output.halves), f"{' and '.join(tasks)}: the model needs halves_BM")
        losses |= fused_losses(features | fused_features(output.halves, tasks), batch, config)
    logged = "contrastive" in config.tasks and config.contrast == "pairwise"
    return LossOutput(
        losses, scores, pairs if logged else None, learned_temperature(output.contrast, config)
    )


def weights_act(config: LossConfig, progress: float) -> bool:
    """Return whether weights apply at this share of the training."""
    if config.weight_by == "agreement":
        return True
    return config.weight_on != "none" and progress >= config.weight_uniform_share


def batch_scores(features: dict[str, Tensor], present_BM: Tensor, config: LossConfig) -> Scores:
    """Return S and S' according to `LossConfig`. `features`: pooled_BMD of `encoder`, `fused`."""
    pooled_BMD = features[config.weight_features]
    return inter_modality_scores(
        pooled_BMD if config.weight_gradient else pooled_BMD.detach(),
        present_BM,
        config.weight_level,
        config.row_normalise,
    )


def is_info_nce(config: LossConfig) -> bool:
    """Return whether the contrastive loss is InfoNCE of the pairs, as `batch_pairs` computes it."""
    return config.contrast == "pairwise" and not config.label_smoothing


def uses_pairs(config: LossConfig) -> bool:
    """Return whether `batch_pairs` is needed: as the loss, for weights, or to be logged."""
    return config.contrast == "pairwise" or config.weight_on != "none"


def temperature_of(contrast: ContrastOutput, config: LossConfig) -> float | Tensor:
    """Return t, or exp(-s) t with the learned s; then 1 / t is at most 100."""
    if contrast.log_scale_1 is None:
        return config.temperature
    scale_1 = contrast.log_scale_1.exp() / config.temperature
    # A clamp would stop the gradient, which must be able to lower the scale again.
    return 1 / (scale_1 - (scale_1 - MAX_SCALE).clamp(min=0).detach())


def learned_temperature(contrast: ContrastOutput, config: LossConfig) -> Tensor | None:
    """Return the learned temperature as a number to log; None if it is fixed."""
    value = temperature_of(contrast, config)
    return value.detach().squeeze() if isinstance(value, Tensor) else None


def batch_pairs(
    pooled_BMD: Tensor,
    contrast: ContrastOutput,
    batch: ProductBatch,
    config: LossConfig,
    logit_weight_BP: Tensor | None = None,
    anchors: slice | None = None,
    label_smoothing: float = 0.0,
    tiled: bool = False,
) -> PairLosses:
    """Return `pair_losses` according to `LossConfig`, the mean over the parts of the features.

    tiled: compute them by `tiled_pair_losses`, with cross-modal negatives, without weights and
    label smoothing.
    """
    content_id_BM = batch.content_id_BM if config.ignore_duplicates else None

    def losses(part_BMD: Tensor, contrast: ContrastOutput) -> PairLosses:
        temperature = temperature_of(contrast, config)
        if tiled:
            return tiled_pair_losses(
                part_BMD, batch.present_BM, temperature, content_id_BM, anchors
            )
        options = config.negatives, logit_weight_BP, content_id_BM, anchors, label_smoothing
        return pair_losses(part_BMD, batch.present_BM, temperature, *options)

    return _mean_over_parts(losses, pooled_BMD, contrast, config)


def batch_terms(
    pooled_BMD: Tensor,
    contrast: ContrastOutput,
    batch: ProductBatch,
    config: LossConfig,
    logit_weight_BP: Tensor | None = None,
    anchors: slice | None = None,
) -> PairLosses:
    """Return the terms of the contrastive loss `config.contrast`, see alternatives.py.

    With features in several parts, the mean over the parts.
    """
    if config.contrast == "pairwise":
        smoothing = config.label_smoothing
        return batch_pairs(pooled_BMD, contrast, batch, config, logit_weight_BP, anchors, smoothing)
    terms = partial(_alternative_terms, batch=batch, config=config, anchors=anchors)
    return _mean_over_parts(terms, pooled_BMD, contrast, config)


def _mean_over_parts(
    losses: Callable[[Tensor, ContrastOutput], PairLosses],
    pooled_BMD: Tensor,
    contrast: ContrastOutput,
    config: LossConfig,
) -> PairLosses:
    """Return the mean of `losses` over the parts of the features (`LossConfig.parts`)."""
    count, fused = max(config.parts, 1), contrast.fused_BPD
    fused_parts = [None] * count if fused is None else fused.chunk(count, dim=2)
    found = [
        losses(part_BMD, replace(contrast, fused_BPD=fused_part))
        for part_BMD, fused_part in zip(pooled_BMD.chunk(count, dim=2), fused_parts, strict=True)
    ]
    if count == 1:
        return found[0]
    return replace(found[0], loss_BP=torch.stack([part.loss_BP for part in found]).mean(0))


def _alternative_terms(
    pooled_BMD: Tensor,
    contrast: ContrastOutput,
    batch: ProductBatch,
    config: LossConfig,
    anchors: slice | None,
) -> PairLosses:
    content_id_BM = batch.content_id_BM if config.ignore_duplicates else None
    temperature = temperature_of(contrast, config)
    shared = {"content_id_BM": content_id_BM, "anchors": anchors}
    present_BM, negatives = batch.present_BM, config.negatives
    if config.contrast == "siglip":
        bias = config.siglip_bias
        bias = bias if contrast.bias_1 is None else bias + contrast.bias_1
        return siglip_losses(pooled_BMD, present_BM, temperature, bias, negatives, **shared)
    if config.contrast == "rince":
        options = config.rince_q, config.rince_share, negatives
        return rince_losses(pooled_BMD, present_BM, temperature, *options, **shared)
    shared["label_smoothing"] = config.label_smoothing
    if config.contrast == "confu":
        require(
            contrast.fused_BPD is not None,
            "loss.contrast confu needs a model with the fusion of pairs: build it from the Config",
        )
        features = pooled_BMD, contrast.fused_BPD
        return confu_losses(*features, present_BM, temperature, config.confu_share, **shared)
    losses = symile_losses if config.contrast == "symile" else gram_losses
    return losses(pooled_BMD, present_BM, temperature, **shared)


def contrastive_loss(
    pooled_BMD: Tensor,
    contrast: ContrastOutput,
    batch: ProductBatch,
    config: LossConfig,
    pair_BP: Tensor | None,
    pairs: PairLosses | None = None,
    anchors: slice | None = None,
) -> Tensor:
    """Return the weighted total of the ten pairs, or of the terms of `config.contrast`.

    Args:
        pair_BP: weight of each pair, a row per anchor; None: 1.
        pairs: `batch_pairs`, if they are known.
        anchors: products whose losses are summed, see `pair_losses`; None: all. The totals of all
            parts of a batch add up to that of the batch.
    """
    on_logits = pair_BP is not None and config.weight_on == "logits"
    terms = pairs if is_info_nce(config) and not on_logits else None
    if terms is None:
        logit_weight_BP = pair_BP if on_logits else None
        terms = batch_terms(pooled_BMD, contrast, batch, config, logit_weight_BP, anchors)
    count_T = valid_terms(config.contrast, batch.present_BM).sum(0)
    mean_T = terms.mean_P(None if on_logits else pair_BP, count_T)
    return mean_T.mean() if config.pair_reduction == "mean" else mean_T.sum()


def masked_losses(
    predictions: dict[str, Tensor], masked: MaskedBatch, config: LossConfig, own_BM: Tensor | None
) -> dict[str, Tensor]:
    """Return the active masked losses by task; `own_BM`: weights of each product (None: 1)."""
    return {
        SPECS[m].task: _masked_loss(m, prediction, masked, config, own_BM)
        for m, prediction in predictions.items()
        if SPECS[m].task in config.tasks
    }


def _masked_loss(
    modality: str,
    prediction: Tensor,
    masked: MaskedBatch,
    config: LossConfig,
    own_BM: Tensor | None,
) -> Tensor:
    target = masked.targets[modality]
    weight_N = None if own_BM is None else own_BM[masked.rows(modality), INDEX[modality]]
    if not masked.batch.tokens[modality].continuous:
        on = "logits" if config.weight_on == "logits" else "loss"
        return masked_token_loss(prediction, target, weight_N, on)
    return masked_vector_loss(prediction, target, weight_N, config.regression_weight_on)
