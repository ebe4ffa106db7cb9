"""What the small DALL-E sees and draws (studies/systems/generator.py)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from scale.viz import typeset
from scale.viz.theme import drawn
from scale.viz.words import Language, label

SIDE, GAP, MARGIN, CAPTION = 84.0, 10.0, 20.0, 40.0


@drawn
def generator_sheet(
    titles: Sequence[str],
    originals: Sequence[np.ndarray],
    rebuilt: Sequence[np.ndarray],
    generated: Sequence[Sequence[np.ndarray]],
    lang: Language = "en",
) -> Figure:
    """A row per product: its title, its picture, the picture in the codebook's words, and pictures
    written after the title.

    Args:
        originals, rebuilt: pixels_HWC (uint8) of each product.
        generated: for each product, pictures of as many draws.
    """
    draws = len(generated[0])
    columns = ["original", "rebuilt", *["generated"] * draws]
    left = MARGIN + 150.0
    width = left + len(columns) * (SIDE + GAP) + MARGIN - GAP
    figure, axes = typeset.page(width, CAPTION + len(titles) * (SIDE + GAP) + MARGIN)
    for place, key in enumerate(columns[:3]):
        x = left + place * (SIDE + GAP)
        typeset.write(axes, x, 26, label(key, lang), 9, fontweight="bold")
    pictures = zip(titles, originals, rebuilt, generated, strict=True)
    for row, (title, original, words, drawings) in enumerate(pictures):
        y = CAPTION + row * (SIDE + GAP)
        for line, text in enumerate(typeset.wrap(title, 138, 9, lines=5)):
            typeset.write(axes, MARGIN, y + 14 + 13 * line, text, 9)
        for place, pixels_HWC in enumerate((original, words, *drawings)):
            x = left + place * (SIDE + GAP)
            typeset.picture(axes, pixels_HWC, x, y, SIDE, SIDE)
            typeset.box(axes, x, y, SIDE, SIDE)
    return figure
