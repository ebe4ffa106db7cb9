"""Pictures of notebooks 04 to 08."""

from collections.abc import Callable

from matplotlib.figure import Figure

from scale.data.dataset import ProductDataset
from scale.modalities import CONTINUOUS, INDEX, MODALITIES
from scale.studies.context import (
    EVERYTHING,
    NOTHING,
    best_median_worst,
    gains,
    product_losses,
    reconstruct,
)
from scale.studies.masked_probe import (
    MaskedPrediction,
    draw_groups,
    mask_groups,
    probe_masked,
    token_groups,
)
from scale.studies.masked_training import copy_losses, mean_baseline_loss
from scale.viz.illustrations.masking import (
    RANKS,
    Piece,
    TaskView,
    context_gain,
    copy_curve,
    mask_audio,
    mask_image,
    mask_video,
    pretext_tasks,
)
from scale.viz.registry import Sources, figure, most_complete
from scale.viz.words import Language


@figure("context_gain")
def _context_gain(sources: Sources, lang: Language) -> Figure:
    run = sources.run
    losses = {
        m: product_losses(run.model, sources.test, m, run.config.mask, seed=sources.seed)
        for m in MODALITIES
    }
    return context_gain({m: gains(loss, seed=sources.seed) for m, loss in losses.items()}, lang)


def _hidden(modality: str, draw: Callable[..., Figure]) -> Callable:
    """The products whom the other modalities help most, at the median, and harm most."""

    def picture(sources: Sources, lang: Language) -> Figure:
        run, test = sources.run, sources.test
        probe_masked = (run.model, test, modality, run.config.mask)
        loss = product_losses(*probe_masked, {"none": NOTHING, "all": EVERYTHING}, sources.seed)
        rows = best_median_worst(loss["none"] - loss["all"])
        found = reconstruct(*probe_masked, rows, seed=sources.seed)
        return draw(list(zip(RANKS, found, strict=True)), run.config.features, lang)

    return picture


@figure("pretext_tasks")
def _pretext_tasks(sources: Sources, lang: Language) -> Figure:
    """The most complete product; as much of it is hidden, by the same rule, as in the training."""
    run, test = sources.run, sources.test
    row, views = most_complete(test), {}
    for m in (m for m in MODALITIES if test.present_NM[row, INDEX[m]]):
        group_L = token_groups(test, row, m)
        chosen = draw_groups(group_L, run.config.mask.rate, sources.seed, INDEX[m])
        asked = probe_masked(run.model, mask_groups(test, row, m, chosen), m, {"all": MODALITIES})
        content = asked.reconstruction(test) if m in CONTINUOUS else _pieces(test, row, asked)
        baseline = "mean" if m in CONTINUOUS else "even"
        views[m] = TaskView(content, asked.loss["all"], asked.loss[baseline])
    return pretext_tasks(views, run.config.features, lang)


def _pieces(data: ProductDataset, row: int, asked: MaskedPrediction) -> list[Piece]:
    """The word pieces of the product's title or table, the hidden ones with the likeliest guess."""
    ids_L = data.collate([row]).tokens[asked.modality].values[0].tolist()
    words = data.tokenizer.convert_ids_to_tokens(ids_L)
    guesses = {a.place: a.best[0][0] for a in asked.pieces("all", data.tokenizer, 1)}
    special, table = set(data.tokenizer.all_special_ids), asked.modality == "table"
    return [
        # The semicolon between the pairs of a table becomes the end of a line.
        Piece(word, guesses.get(place), table and words[place + 1] == ";")
        for place, (word, number) in enumerate(zip(words, ids_L, strict=True))
        if number not in special and not (table and word == ";")
    ]


@figure("copy_curve")
def _copy_curve(sources: Sources, lang: Language) -> Figure:
    shown = {"video": 7, "audio": 16}
    losses = {m: copy_losses(sources.test, m, most) for m, most in shown.items()}
    return copy_curve(losses, {m: mean_baseline_loss(sources.test, m) for m in shown}, lang)


figure("mask_image")(_hidden("image", mask_image))
figure("mask_video")(_hidden("video", mask_video))
figure("mask_audio")(_hidden("audio", mask_audio))
