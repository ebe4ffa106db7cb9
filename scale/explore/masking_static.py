"""What stands for the masking explorer where no kernel runs: lines of text, and the figures of the
notebooks."""

from collections.abc import Iterable, Sequence

from matplotlib.figure import Figure

from scale.data.dataset import ProductDataset
from scale.explore.masking_answers import LOSSES
from scale.studies.masked_probe import MaskedPrediction
from scale.viz.illustrations.masked_words import top_predictions
from scale.viz.illustrations.masking import mask_audio, mask_image, mask_video
from scale.viz.words import Language, label

AROUND = 3
"""Word pieces before and after the one that is asked about."""
DRAW = {"image": mask_image, "video": mask_video, "audio": mask_audio}


def listed(names: Iterable[str], lang: Language = "en") -> str:
    """Names in a row; a word for none."""
    return ("、" if lang == "zh" else ", ").join(names) or label("xm_nobody", lang)


def answer_lines(asked: MaskedPrediction, data: ProductDataset, lang: Language = "en") -> list[str]:
    """The loss by context and baseline; of each hidden piece the truth's probability and rank."""
    lines = [
        label("xm_sum_loss", lang, name=label(LOSSES[name], lang), value=loss)
        for name, loss in asked.loss.items()
    ]
    if asked.modality in DRAW:
        return lines
    for piece in asked.pieces("chosen", data.tokenizer):
        told = {"probability": piece.probability, "rank": piece.rank}
        lines.append(label("xm_sum_piece", lang, truth=piece.truth, **told))
    return lines


def answer_figure(
    asked: MaskedPrediction, data: ProductDataset, beside: bool, lang: Language = "en"
) -> Figure:
    """The guesses beside the chosen modalities, beside none, and of the training mean.

    Of text and table, the five most probable pieces for the first one that is hidden.
    beside: whether any modality is chosen. Raises ValueError where features hold no colours.
    """
    if asked.modality in DRAW:
        found = asked.reconstruction(data)
        names = {"chosen": "with", "none": "without", "mean": "mean"}
        for shown in (found.guess_LF, found.loss):
            for name, old in names.items():
                shown[old] = shown.pop(name)
        guesses = ("with", "without", "mean") if beside else ("without", "mean")
        return DRAW[asked.modality]([("", found)], data.config, lang, guesses)
    return _pieces_figure(asked, data, beside, lang)


def _pieces_figure(
    asked: MaskedPrediction, data: ProductDataset, beside: bool, lang: Language
) -> Figure:
    contexts = {"chosen": "xm_chosen", "none": "xm_none"} if beside else {"none": "xm_none"}
    guesses, answer, place = {}, "", 0
    for context, key in contexts.items():
        first = asked.pieces(context, data.tokenizer)[0]
        guesses[label(key, lang)] = first.best
        answer, place = first.truth, first.place
    tokens = asked.masked.batch.tokens[asked.modality]
    pieces = data.tokenizer.convert_ids_to_tokens(tokens.values[0, 1:-1].tolist())
    index = int(asked.masked.batch.index_B[0])
    question = _around(pieces, place - 1)  # Without [CLS].
    return top_predictions(data.products[index], question, guesses, answer, lang)


def _around(pieces: Sequence[str], place: int) -> str:
    """What the model reads next to a place, with a blank there."""
    before, after = pieces[max(place - AROUND, 0) : place], pieces[place + 1 : place + 1 + AROUND]
    return " ".join([*before, "____", *after])
