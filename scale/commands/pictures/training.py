"""Pictures of notebook 10."""

import math

import torch
from matplotlib.figure import Figure

from scale.commands.pictures.sources import Picture, Sources
from scale.experiments.broken import broken_curves, complete_products
from scale.objectives.masking import WordPieces, mask_batch
from scale.objectives.total import scale_loss
from scale.viz.labels import Language
from scale.viz.lessons.architecture import architecture
from scale.viz.lessons.loss_terms import broken_runs, loss_terms

BATCH = 32
"""Products of the runs that do not learn."""


def draw_architecture(sources: Sources, lang: Language) -> Figure:
    """The run's model."""
    parameters = sum(p.numel() for p in sources.run.model.parameters())
    return architecture(sources.run.config.model, parameters, sources.run_folder.name, lang)


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


def draw_broken_runs(sources: Sources, lang: Language) -> Figure:
    """One batch by heart, and four faults."""
    batch = complete_products(sources.test, BATCH)
    return broken_runs(broken_curves(sources.run.config, batch), math.log(BATCH), lang)


PICTURES: dict[str, Picture] = {
    "architecture": draw_architecture,
    "loss_terms": draw_loss_terms,
    "broken_runs": draw_broken_runs,
}
