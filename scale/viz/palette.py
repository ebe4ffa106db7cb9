"""Pictures of few colours: a page of photographs at a third of its bytes.

U colours of a picture, K colours of a palette.
"""

from pathlib import Path

import numpy as np
from PIL import Image

FLAT = 0.3
"""Part of a palette that goes to the colours of the largest areas as they are: page, headings."""
PIECE = 4096
"""Colours that are matched with the palette at once."""


def reduce_colours(path: Path, colours: int = 256) -> None:
    """Rewrite a PNG with a palette of up to 256 colours.

    The colours of even areas stay exact, so that what the page draws keeps its hue; the rest, the
    photographs, share the other places by median cut. Without dithering, which costs bytes.
    """
    with Image.open(path) as opened:
        pixels_HWC = np.asarray(opened.convert("RGB"))
    code_HW = pixels_HWC.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    code_U, place_HW = np.unique(code_HW, return_inverse=True)
    place_HW = place_HW.reshape(code_HW.shape)
    colour_U3 = np.stack([code_U >> 16, code_U >> 8 & 255, code_U & 255], axis=1)
    corner_HW = code_HW[:-1, :-1]
    even_HW = (corner_HW == code_HW[1:, :-1]) & (corner_HW == code_HW[:-1, 1:])
    area_U = np.bincount(place_HW[:-1, :-1][even_HW], minlength=len(code_U))
    order_U = np.argsort(-area_U, kind="stable")
    flat, rest = np.split(order_U, [round(FLAT * colours)])
    palette_K3 = colour_U3[flat]
    if len(rest):
        left_HW = ~np.isin(place_HW, flat)
        strip = Image.fromarray(pixels_HWC[left_HW][None])
        medians = strip.quantize(colours - len(flat), Image.Quantize.MEDIANCUT).getpalette()
        palette_K3 = np.concatenate([palette_K3, np.reshape(medians, (-1, 3))])[:colours]
    nearest_U = np.concatenate(
        [
            ((part[:, None] - palette_K3) ** 2).sum(2).argmin(1)
            for part in np.split(colour_U3, range(PIECE, len(colour_U3), PIECE))
        ]
    )
    image = Image.fromarray(nearest_U[place_HW].astype(np.uint8))
    image.putpalette(palette_K3.astype(np.uint8).ravel().tolist())
    image.save(path, format="png", optimize=True)
