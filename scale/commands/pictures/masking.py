"""Pictures of notebooks 04 to 08."""

from collections.abc import Callable

from matplotlib.figure import Figure

from scale.commands.pictures.sources import Picture, Sources
from scale.experiments.context import EVERYTHING, NOTHING, gains, product_losses
from scale.experiments.masked_training import copy_losses, mean_loss
from scale.experiments.reconstruction import best_median_worst, reconstruct
from scale.modalities import MODALITIES
from scale.viz.labels import Language
from scale.viz.lessons.hidden import RANKS, mask_audio, mask_image, mask_video
from scale.viz.lessons.masking import context_gain, copy_curve


def _context_gain(sources: Sources, lang: Language) -> Figure:
    run = sources.run
    losses = {
        m: product_losses(run.model, sources.test, m, run.config.mask, seed=sources.seed)
        for m in MODALITIES
    }
    return context_gain({m: gains(loss, seed=sources.seed) for m, loss in losses.items()}, lang)


def _hidden(modality: str, draw: Callable[..., Figure]) -> Picture:
    """The products whom the other modalities help most, at the median, and harm most."""

    def picture(sources: Sources, lang: Language) -> Figure:
        run, test = sources.run, sources.test
        ask = (run.model, test, modality, run.config.mask)
        loss = product_losses(*ask, {"none": NOTHING, "all": EVERYTHING}, sources.seed)
        rows = best_median_worst(loss["none"] - loss["all"])
        found = reconstruct(*ask, rows, seed=sources.seed)
        return draw(list(zip(RANKS, found, strict=True)), run.config.features, lang)

    return picture


def _copy_curve(sources: Sources, lang: Language) -> Figure:
    shown = {"video": 7, "audio": 16}
    losses = {m: copy_losses(sources.test, m, most) for m, most in shown.items()}
    return copy_curve(losses, {m: mean_loss(sources.test, m) for m in shown}, lang)


PICTURES: dict[str, Picture] = {
    "context_gain": _context_gain,
    "mask_image": _hidden("image", mask_image),
    "mask_video": _hidden("video", mask_video),
    "mask_audio": _hidden("audio", mask_audio),
    "copy_curve": _copy_curve,
}
