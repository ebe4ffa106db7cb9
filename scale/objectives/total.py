"""The total loss: contrast between modalities and prediction within them, harmonised by S'.

L = sum_{i<j} L_CL(S'_ij) + sum_i L_Mi(S'_ii)                       (paper, section 4.3)

B products, M modalities (five), P pairs (ten), N hidden positions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from scale.config import LossConfig
from scale.modalities import INDEX, SPECS
from scale.model.scale import ScaleOutput
from scale.model.scores import Scores, inter_modality_scores
from scale.objectives.contrastive import LEFT, RIGHT, PairLosses, pair_losses
from scale.objectives.masked import masked_token_loss, masked_vector_loss
from scale.objectives.masking import MaskedBatch


@dataclass
class LossOutput:
    """The losses of one batch and what is worth logging beside them."""

    losses: dict[str, Tensor]
    """Scalars by task; their sum is what is minimised. A task that is off is not in it."""
    scores: Scores
    pairs: PairLosses | None
    """Unweighted InfoNCE per pair; None where the contrastive task is off."""

    @property
    def total(self) -> Tensor:
        """Sum of the losses."""
        return torch.stack(list(self.losses.values())).sum()


@dataclass
class Weights:
    """What S' multiplies."""

    pair_BP: Tensor
    """S'_ij for i < j, row i for both directions."""
    own_BM: Tensor
    """S'_ii."""


def loss_weights(
    scores: Scores, present_BM: Tensor, mean_one: bool = True, signed: bool = False
) -> Weights:
    """The upper triangle and the diagonal of S', as weights.

    Negative entries (modalities that disagree) become 0 unless `signed`: on a loss, a negative
    weight would push the pair apart. With `mean_one`, the pair weights are divided by their mean
    over all pairs that are there, and the diagonal by its own, so that the weights reorder the
    losses without rescaling them.
    """
    pair_BP = scores.weighted_BMM[:, LEFT, RIGHT]
    own_BM = scores.weighted_BMM.diagonal(dim1=1, dim2=2)
    if not signed:
        pair_BP = pair_BP.clamp(min=0)
    if mean_one:
        pair_BP = _mean_one(pair_BP, present_BM[:, LEFT] & present_BM[:, RIGHT])
        own_BM = _mean_one(own_BM, present_BM)
    return Weights(pair_BP, own_BM)


def scale_loss(
    output: ScaleOutput, masked: MaskedBatch, config: LossConfig, progress: float = 1.0
) -> LossOutput:
    """All losses of a batch, weighted as `LossConfig` says.

    Args:
        output: the model's output for `masked.batch`.
        masked: the corrupted batch and its targets.
        progress: share of the training that is done; weights are uniform before
            `config.weight_uniform_share`.
    """
    features = {"encoder": output.pooled_BMD, "fused": output.fused_pooled_BMD}
    pooled_BMD = features[config.weight_features]
    scores = inter_modality_scores(
        pooled_BMD if config.weight_gradient else pooled_BMD.detach(),
        output.present_BM,
        config.weight_level,
        config.row_normalise,
    )
    weights = None
    if config.weight_on != "none" and progress >= config.weight_uniform_share:
        # The released code lets a negative score turn the logits round; a mean of one cannot.
        signed = config.weight_on == "logits" and not config.weight_mean_one
        weights = loss_weights(scores, output.present_BM, config.weight_mean_one, signed)

    losses, pairs = {}, None
    if "contrastive" in config.tasks:
        pairs, losses["contrastive"] = _contrastive(output, masked, config, weights)
    for m, prediction in output.predictions.items():
        if SPECS[m].task in config.tasks:
            losses[SPECS[m].task] = _masked_loss(m, prediction, masked, config, weights)
    return LossOutput(losses, scores, pairs)


def _contrastive(
    output: ScaleOutput, masked: MaskedBatch, config: LossConfig, weights: Weights | None
) -> tuple[PairLosses, Tensor]:
    on_logits = weights is not None and config.weight_on == "logits"
    pairs = pair_losses(
        output.pooled_BMD,
        output.present_BM,
        config.temperature,
        config.negatives,
        weights.pair_BP if on_logits else None,
        masked.batch.content_BM if config.ignore_duplicates else None,
    )
    on_loss = weights is not None and config.weight_on == "loss"
    mean_P = pairs.mean_P(weights.pair_BP if on_loss else None)
    return pairs, mean_P.mean() if config.pair_reduction == "mean" else mean_P.sum()


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


def _mean_one(weight_BX: Tensor, valid_BX: Tensor) -> Tensor:
    """Weights divided by their mean over the valid entries, unless all of them are 0."""
    weight_BX = weight_BX.masked_fill(~valid_BX, 0.0)
    mean = weight_BX.sum() / valid_BX.sum().clamp(min=1)
    return torch.where(mean > 0, weight_BX / mean.clamp(min=1e-12), valid_BX.to(weight_BX))
