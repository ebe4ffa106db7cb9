"""Pictures of notebook 10."""

import math
from dataclasses import replace

import numpy as np
import torch
from matplotlib.figure import Figure

from scale.config import base
from scale.losses.masking import WordPieces, mask_batch
from scale.losses.total import scale_loss
from scale.modalities import PAIRS
from scale.model.scale import ScaleModel
from scale.model.scores import inter_modality_scores
from scale.studies.failure_modes import complete_products, failure_curves
from scale.viz.illustrations.pretraining import (
    LossTerms,
    architecture,
    broken_runs,
    loss_terms,
    total_loss,
)
from scale.viz.illustrations.scores import score_path
from scale.viz.registry import Sources, figure, most_complete
from scale.viz.words import Language

BATCH = 32
"""Products of the runs that do not learn."""


@figure("architecture")
def draw_architecture(sources: Sources, lang: Language) -> Figure:
    """The run's model."""
    parameters = sum(p.numel() for p in sources.run.model.parameters())
    return architecture(sources.run.config.model, parameters, sources.run.folder.folder.name, lang)


@figure("architecture_base")
def draw_architecture_base(sources: Sources, lang: Language) -> Figure:
    """The paper's size; its parameters are counted without being made."""
    config = base()
    with torch.device("meta"):
        model = ScaleModel(config.model, config.missing)
    parameters = sum(p.numel() for p in model.parameters())
    return architecture(config.model, parameters, "base", lang)


@figure("loss_terms")
def draw_loss_terms(sources: Sources, lang: Language) -> Figure:
    """The fifteen losses of one test batch, before training."""
    run, data = sources.run, sources.test
    batch = data.collate(range(min(64, len(data))))
    pieces = WordPieces.of(data.tokenizer)
    masked = mask_batch(batch, run.config.mask, pieces, (0, 0), run.config.loss.tasks)
    with torch.no_grad():
        found = scale_loss(run.untrained().eval()(masked.batch, masked.hidden), masked,
                           run.config.loss)  # fmt: skip
    losses = {name: float(v) for name, v in found.losses.items() if name != "contrastive"}
    guess_P = found.pairs.valid_BP.sum(0).clamp(min=1).log()
    return loss_terms(found.pairs.mean_P(), guess_P, losses, lang)


@figure("score_path")
def draw_score_path(sources: Sources, lang: Language) -> Figure:
    """The most complete product of the test split."""
    run, row = sources.run, most_complete(sources.test)
    with torch.no_grad():
        output = run.model.embed(sources.test.collate([row]))
    scores = inter_modality_scores(output.pooled_BMD, output.present_BM)
    return score_path(sources.test.products[row], scores, lang)


@figure("total_loss")
def draw_total_loss(sources: Sources, lang: Language) -> Figure:
    """The losses of one training batch after training, as the run's config sums them."""
    run, data = sources.run, sources.run.dataset(sources.catalogue, "train")
    config, batch = run.config.loss, data.collate(range(min(64, len(data))))
    pieces = WordPieces.of(data.tokenizer)
    masked = mask_batch(batch, run.config.mask, pieces, (0, 0), config.tasks)
    with torch.no_grad():
        output = run.model.eval()(masked.batch, masked.hidden)
        plain = scale_loss(output, masked, replace(config, weight_on="none"))
        summed = {name: float(v) for name, v in scale_loss(output, masked, config).losses.items()}
    present_BM = output.present_BM
    both_MM = (present_BM[:, :, None] & present_BM[:, None, :]).sum(0)
    weight_MM = plain.scores.weighted_BMM.sum(0) / both_MM
    pair_P = np.full(len(PAIRS), np.nan)
    if plain.pairs is not None:
        valid_P = plain.pairs.valid_BP.any(0).numpy()
        pair_P = np.where(valid_P, plain.pairs.mean_P().numpy(), np.nan)
    contrastive = summed.pop("contrastive", None)
    alone = {name: float(v) for name, v in plain.losses.items() if name != "contrastive"}
    terms = LossTerms(
        pair_P, alone, weight_MM.numpy(), contrastive, sum(summed.values()), len(batch),
        config.weight_on != "none",
    )  # fmt: skip
    return total_loss(terms, lang)


@figure("broken_runs")
def draw_broken_runs(sources: Sources, lang: Language) -> Figure:
    """One batch by heart, and four faults."""
    batch = complete_products(sources.test, BATCH)
    return broken_runs(failure_curves(sources.run.config, batch), math.log(BATCH), lang)
