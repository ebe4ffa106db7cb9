"""Pictures of notebooks 04 to 08."""

from matplotlib.figure import Figure

from scale.commands.pictures.sources import Picture, Sources
from scale.experiments.context import gains, product_losses
from scale.modalities import MODALITIES
from scale.viz.labels import Language
from scale.viz.lessons.masking import context_gain


def _context_gain(sources: Sources, lang: Language) -> Figure:
    run = sources.run
    losses = {
        m: product_losses(run.model, sources.test, m, run.config.mask, seed=sources.seed)
        for m in MODALITIES
    }
    return context_gain({m: gains(loss, seed=sources.seed) for m, loss in losses.items()}, lang)


PICTURES: dict[str, Picture] = {"context_gain": _context_gain}
