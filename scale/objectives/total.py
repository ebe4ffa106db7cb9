"""The total loss: contrast between modalities and prediction within them, harmonised by S'.

L = sum_{i<j} L_CL(S'_ij) + sum_i L_Mi(S'_ii)                       (paper, section 4.3)

B products, M modalities (five), P pairs (ten), N hidden positions.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from scale.config import LossConfig
from scale.data.batch import ProductBatch
from scale.modalities import INDEX, SPECS
from scale.model.scale import ScaleOutput
from scale.model.scores import Scores, inter_modality_scores
from scale.objectives.contrastive import PairLosses, pair_losses
from scale.objectives.masked import masked_token_loss, masked_vector_loss
from scale.objectives.masking import MaskedBatch
from scale.objectives.weighting import Weights, configured_weights


@dataclass
class LossOutput:
    """The losses of one batch and what is worth logging beside them."""

    losses: dict[str, Tensor]
    """Scalars by task; their sum is what is minimised. A task that is off is not in it."""
    scores: Scores | None
    """None of a model that has none (experiments/fusion)."""
    pairs: PairLosses | None
    """Unweighted InfoNCE per pair; None where the contrastive task is off."""

    @property
    def total(self) -> Tensor:
        """Sum of the losses."""
        return torch.stack(list(self.losses.values())).sum()


Weigher = Callable[[ScaleOutput, Scores, PairLosses, ProductBatch], Weights]
"""Weights of a batch from the model's output, its scores and its unweighted InfoNCE."""


def scale_loss(
    output: ScaleOutput,
    masked: MaskedBatch,
    config: LossConfig,
    progress: float = 1.0,
    weigher: Weigher | None = None,
) -> LossOutput:
    """All losses of a batch, weighted as `LossConfig` says.

    Args:
        output: the model's output for `masked.batch`.
        masked: the corrupted batch and its targets.
        progress: share of the training that is done; weights are uniform before
            `config.weight_uniform_share`.
        weigher: other weights than those that `config.weight_by` names.
    """
    features = {"encoder": output.pooled_BMD, "fused": output.fused_pooled_BMD}
    pooled_BMD = features[config.weight_features]
    scores = inter_modality_scores(
        pooled_BMD if config.weight_gradient else pooled_BMD.detach(),
        output.present_BM,
        config.weight_level,
        config.row_normalise,
    )
    pairs = _pairs(output, masked, config)
    weights = None
    if config.weight_on != "none" and progress >= config.weight_uniform_share:
        if weigher is not None:
            weights = weigher(output, scores, pairs, masked.batch)
        else:
            weights = configured_weights(config, scores, pairs, output.present_BM)

    losses = {}
    if "contrastive" in config.tasks:
        losses["contrastive"] = _contrastive(pairs, output, masked, config, weights)
    if not config.weight_masked:
        weights = None
    for m, prediction in output.predictions.items():
        if SPECS[m].task in config.tasks:
            losses[SPECS[m].task] = _masked_loss(m, prediction, masked, config, weights)
    return LossOutput(losses, scores, pairs if "contrastive" in config.tasks else None)


def _pairs(
    output: ScaleOutput,
    masked: MaskedBatch,
    config: LossConfig,
    logit_weight_BP: Tensor | None = None,
) -> PairLosses:
    return pair_losses(
        output.pooled_BMD,
        output.present_BM,
        config.temperature,
        config.negatives,
        logit_weight_BP,
        masked.batch.content_BM if config.ignore_duplicates else None,
    )


def _contrastive(
    pairs: PairLosses,
    output: ScaleOutput,
    masked: MaskedBatch,
    config: LossConfig,
    weights: Weights | None,
) -> Tensor:
    if weights is None:
        mean_P = pairs.mean_P()
    elif config.weight_on == "logits":
        mean_P = _pairs(output, masked, config, weights.pair_BP).mean_P()
    else:
        mean_P = pairs.mean_P(weights.pair_BP)
    return mean_P.mean() if config.pair_reduction == "mean" else mean_P.sum()


def _masked_loss(
    modality: str,
    prediction: Tensor,
    masked: MaskedBatch,
    config: LossConfig,
    weights: Weights | None,
) -> Tensor:
    target = masked.targets[modality]
    weight_N = None
    if weights is not None:
        weight_N = weights.own_BM[masked.rows(modality), INDEX[modality]]
    if SPECS[modality].kind == "discrete":
        on = "logits" if config.weight_on == "logits" else "loss"
        return masked_token_loss(prediction, target, weight_N, on)
    return masked_vector_loss(prediction, target, weight_N, config.regression_weight_on)
