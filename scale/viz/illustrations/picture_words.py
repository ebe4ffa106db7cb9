"""A picture as words of a codebook, and who reads whom where they are written (notebook 03).

N image tokens, L tokens of a title and its picture.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scale.studies.systems.attention_reach import ReachMatrix
from scale.studies.systems.generator import PatchCodebook
from scale.viz.illustrations.attention import mask_panel
from scale.viz.theme import MODALITY_COLOURS, drawn, new_figure, points, shade, text_on
from scale.viz.words import Language, label


@drawn
def picture_words(
    pixels_HWC: np.ndarray, codebook: PatchCodebook, reads_LL: ReachMatrix, lang: Language = "en"
) -> Figure:
    """A picture, the numbers of its patches' codes, the picture made of the codes, and the mask.

    Args:
        pixels_HWC: square, uint8.
        reads_LL: as `reads_of_generator` measures it, title first, then the picture's codes.
    """
    ids_N = codebook.encode(pixels_HWC)
    side = round(len(ids_N) ** 0.5)
    rebuilt_HWC = codebook.decode(ids_N)
    figure = new_figure(10.4, 2.95)
    original, words, rebuilt, mask = figure.subplots(1, 4)
    _show(original, pixels_HWC, label("words_original", lang, side=side))
    for line in range(1, side):
        place = line * codebook.patch - 0.5
        for draw in (original.axhline, original.axvline):
            draw(place, color="#FFFFFF", linewidth=points(0.5), alpha=0.7)
    blocks = rebuilt_HWC.reshape(side, codebook.patch, side, codebook.patch, 3)
    mean_NN3 = blocks.mean((1, 3)) / 255
    _show(words, mean_NN3, label("words_ids", lang))
    for place, number in enumerate(ids_N):
        row, column = divmod(place, side)
        style = {"ha": "center", "va": "center", "fontsize": points(6)}
        style["color"] = text_on(tuple(mean_NN3[row, column]))
        words.text(column, row, str(number), **style)
    _show(rebuilt, rebuilt_HWC, label("words_rebuilt", lang))
    count = len(reads_LL) - len(ids_N)
    mask_panel(mask, reads_LL, {"text": count, "image": len(ids_N)}, lang, named=False)
    mask.set_title(label("words_reads", lang), fontsize=points(9))
    names = (("text", "words_text", count / 2), ("image", "words_codes", count + len(ids_N) / 2))
    mask.set_yticks([place for *_, place in names], [label(key, lang) for _, key, _ in names])
    mask.tick_params(length=0, labelsize=points(8), pad=points(1))
    for tick, (modality, *_) in zip(mask.get_yticklabels(), names, strict=True):
        tick.set(color=MODALITY_COLOURS[modality], fontweight="bold")
    mask.set_xlabel(label("reach_read", lang), fontsize=points(7.5), color=shade(0.7))
    return figure


def _show(axes: Axes, image: np.ndarray, title: str) -> None:
    axes.imshow(image, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=points(9))
