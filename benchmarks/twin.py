"""Reference implementation of the training step, the baseline of `train_step.py`.

Single precision, eager, S and S' in Python loops, ten separate InfoNCE losses, heads on all
positions, zeros encoded for missing modalities, unfused AdamW. It runs on the modules of a
`ScaleModel`; losses and gradients equal those of the package under the policy `zero`
(tests/benchmarks/test_twin.py).

B products, M modalities (five), L length, D width, V vocabulary, F features, A anchors,
C candidates.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, normalize

from scale.config import Config, LossConfig
from scale.losses.masking import MaskedBatch, WordPieces, mask_batch
from scale.losses.weighting import Weights, loss_weights
from scale.modalities import INDEX, MODALITIES, PAIRS, SPECS
from scale.model.encoders import ContinuousEncoder, DiscreteEncoder, padding_with_cls
from scale.model.scale import ScaleModel
from scale.model.scores import Scores
from scale.seeding import derived_seed
from scale.training.optimizer import learning_rate, parameter_groups
from scale.training.sampler import batch_indices
from scale.training.trainer import DROPOUT_STREAM, MASK_STREAM


@dataclass(frozen=True)
class Padded:
    """One modality of all B products, with zeros for products that lack it."""

    values: Tensor
    """ids_BL or feats_BLF."""
    padding_BL: Tensor
    present_B: Tensor
    hidden_BL: Tensor
    target: Tensor
    """Like `values`: the original values at hidden positions."""
    entity_BL: Tensor | None


def padded(masked: MaskedBatch, modality: str, length: int) -> Padded:
    """Expand a modality to all products, with sequences of `length`.

    Missing modalities become zeros that are not padding: zero imputation.
    """
    tokens, products = masked.batch.tokens[modality], len(masked.batch)
    present_B = masked.batch.present_BM[:, INDEX[modality]]
    inside = slice(0, tokens.values.shape[1])
    values = tokens.values.new_zeros(products, length, *tokens.values.shape[2:])
    values[present_B, inside] = tokens.values
    padding_BL = present_B[:, None].repeat(1, length)
    padding_BL[present_B, inside] = tokens.padding_RL
    hidden_BL = torch.zeros_like(padding_BL)
    target = torch.zeros_like(values)
    if modality in masked.hidden:
        hidden_BL[present_B, inside] = masked.hidden[modality]
        target[hidden_BL] = masked.targets[modality]
    entity_BL = None
    if tokens.entity_RL is not None:
        entity_BL = torch.full_like(padding_BL, -1, dtype=tokens.entity_RL.dtype)
        entity_BL[present_B, inside] = tokens.entity_RL
    return Padded(values, padding_BL, present_B, hidden_BL, target, entity_BL)


def encode_pieces(encoder: DiscreteEncoder, part: Padded) -> Tensor:
    """encoded_BLD of word pieces; embeddings of 0 for products that have none."""
    embedded_BLD = encoder.bert.embeddings.word_embeddings(part.values)
    embedded_BLD = embedded_BLD * part.present_B[:, None, None]
    segment_BL = torch.zeros_like(part.values)
    if part.entity_BL is not None:
        segment_BL = ((part.entity_BL % 2 == 1) & (part.entity_BL >= 0)).long()
    return encoder.bert(
        inputs_embeds=embedded_BLD,
        attention_mask=~part.padding_BL[:, None, None, :],
        token_type_ids=segment_BL,
    ).last_hidden_state


def encode_vectors(encoder: ContinuousEncoder, part: Padded) -> Tensor:
    """encoded_BLD of vectors, [CLS] in front; vectors of 0 for products that have none."""
    projected_BLD = encoder.project(part.values)
    projected_BLD = torch.where(part.hidden_BL[:, :, None], encoder.mask_token, projected_BLD)
    cls_B1D = encoder.cls_token.expand(len(projected_BLD), -1, -1)
    tokens_BLD = torch.cat([cls_B1D, projected_BLD], dim=1) + encoder.position
    return encoder.stack(tokens_BLD, padding_with_cls(part.padding_BL))


def encode(encoder: nn.Module, part: Padded) -> tuple[Tensor, Tensor]:
    """encoded_BLD and padding_BL, [CLS] in front."""
    if isinstance(encoder, DiscreteEncoder):
        return encode_pieces(encoder, part), part.padding_BL
    return encode_vectors(encoder, part), padding_with_cls(part.padding_BL)


def loop_scores(pooled_BMD: Tensor, present_BM: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """S and S' by loops over products, rows and columns, like the released code.

    scores_BMM and weighted_BMM; absent modalities (`present_BM`; None: none) are 0 in both.
    """
    if present_BM is None:
        present_BM = torch.ones(pooled_BMD.shape[:2], dtype=torch.bool)
    scores, weighted = [], []
    for features_MD, has_M in zip(pooled_BMD, present_BM.tolist(), strict=True):
        here = [i for i, has in enumerate(has_M) if has]
        score_MM = pooled_BMD.new_zeros(len(has_M), len(has_M))
        weighted_MM = torch.zeros_like(score_MM)
        for i in here:
            row = torch.stack(
                [cosine_similarity(features_MD[i], features_MD[j], dim=0) for j in here]
            )
            score_MM[i, here] = row
            weighted_MM[i, here] = row * row.softmax(0)
        scores.append(score_MM)
        weighted.append(weighted_MM)
    return torch.stack(scores), torch.stack(weighted)


def info_nce(
    anchor_BD: Tensor, other_BD: Tensor, anchor_B: Tensor, other_B: Tensor, temperature: float
) -> Tensor:
    """loss_A of the products with both modalities; candidates are all products with the other."""
    both_B = anchor_B & other_B
    place_B = other_B.long().cumsum(0) - 1
    logits_AC = anchor_BD[both_B] @ other_BD[other_B].T / temperature
    return cross_entropy(logits_AC, place_B[both_B], reduction="none")


def contrastive(
    pooled_BMD: Tensor, present_BM: Tensor, config: LossConfig, weights: Weights | None
) -> Tensor:
    """Sum of the losses of the ten pairs of modalities."""
    unit_BMD = normalize(pooled_BMD, dim=-1)
    total = pooled_BMD.new_zeros(())
    for p, (i, j) in enumerate(PAIRS):
        both_B = present_BM[:, i] & present_BM[:, j]
        if not both_B.any():
            continue
        left, right = (unit_BMD[:, i], present_BM[:, i]), (unit_BMD[:, j], present_BM[:, j])
        forth_A = info_nce(left[0], right[0], left[1], right[1], config.temperature)
        back_A = info_nce(right[0], left[0], right[1], left[1], config.temperature)
        loss_A = (forth_A + back_A) / 2
        if weights is not None:
            loss_A = loss_A * weights.pair_BP[both_B, p]
        total = total + loss_A.mean()
    return total


def masked_loss(
    model: ScaleModel, modality: str, fused_BLD: Tensor, part: Padded, weight_B: Tensor | None
) -> Tensor:
    """Loss of a head on all positions, averaged over the hidden ones."""
    if SPECS[modality].kind == "discrete":
        logits_BLV = model.heads[modality](fused_BLD, model.encoders[modality].word_weight)
        loss_BL = cross_entropy(logits_BLV.transpose(1, 2), part.target, reduction="none")
    else:
        predicted_BLF = model.heads[modality](fused_BLD[:, 1:])
        loss_BL = (predicted_BLF - part.target).square().mean(dim=2)
    if weight_B is not None:
        loss_BL = loss_BL * weight_B[:, None]
    return (loss_BL * part.hidden_BL).sum() / part.hidden_BL.sum().clamp(min=1)


def twin_losses(
    model: ScaleModel, masked: MaskedBatch, config: LossConfig, progress: float
) -> dict[str, Tensor]:
    """Losses by task, like `scale_loss` of the package.

    Raises ValueError for settings that the reference does not support.
    """
    if config.weight_by != "scores" or config.weight_on == "logits" or config.negatives != "cross":
        raise ValueError("the twin supports S' on the loss and cross-modal negatives only")
    parts = {m: padded(masked, m, model.config.length(m)) for m in MODALITIES}
    encoded = {m: encode(model.encoders[m], part) for m, part in parts.items()}
    tokens = [encoded[m][0] + model.jct.modality_embedding[m] for m in MODALITIES]
    padding = [padding_BL for _, padding_BL in encoded.values()]
    fused_BLD = model.jct.stack(torch.cat(tokens, dim=1), torch.cat(padding, dim=1))
    fused = fused_BLD.split([tokens_BLD.shape[1] for tokens_BLD in tokens], dim=1)
    pooled = [model.poolers[m](encoded[m][0][:, 0]) for m in MODALITIES]
    pooled_BMD, present_BM = torch.stack(pooled, dim=1), masked.batch.present_BM

    scored_BMD = pooled_BMD if config.weight_gradient else pooled_BMD.detach()
    scores_BMM, weighted_BMM = loop_scores(scored_BMD, present_BM)
    weights = None
    if config.weight_on == "loss" and progress >= config.weight_uniform_share:
        scores = Scores(scores_BMM, weighted_BMM, weighted_BMM)
        weights = loss_weights(scores, present_BM, config.weight_mean_one)
    losses = {"contrastive": contrastive(pooled_BMD, present_BM, config, weights)}
    for m, fused_m_BLD in zip(MODALITIES, fused, strict=True):
        weight_B = None if weights is None else weights.own_BM[:, INDEX[m]]
        losses[SPECS[m].task] = masked_loss(model, m, fused_m_BLD, parts[m], weight_B)
    return losses


class TwinStepper:
    """Training step of the reference, with products, masks, clipping and schedule of `Trainer`."""

    def __init__(self, config: Config, model: ScaleModel, train):
        """`train`: as for `Trainer`. The device is the model's."""
        self.config, self.model, self.train = config, model.train(), train
        self.device = next(model.parameters()).device
        self.pieces = WordPieces.of(train.tokenizer)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(model, config.train.weight_decay),
            lr=config.train.learning_rate,
            betas=(0.9, 0.98),
        )

    def step(self, step: int) -> Tensor:
        """Run one step and return its total loss."""
        settings = self.config.train
        rows = batch_indices(len(self.train), settings.batch_size, settings.seed, step)
        torch.manual_seed(derived_seed(settings.seed, DROPOUT_STREAM, step))
        seed = (settings.seed, MASK_STREAM, step)
        batch = self.train.collate(rows)
        masked = mask_batch(batch, self.config.mask, self.pieces, seed, self.config.loss.tasks)
        self.optimizer.zero_grad()
        progress = step / settings.steps
        losses = twin_losses(self.model, masked.to(self.device), self.config.loss, progress)
        total = sum(losses.values())
        total.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(
                step, settings.steps, settings.learning_rate, settings.warmup_share
            )
        self.optimizer.step()
        return total.detach()
