"""Figures of products: one product on a page, or many as thumbnails.

Missing modalities and undecodable files are drawn as labelled hatched tiles. Lengths are points of
the `paper` style.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scale.data.media import MediaError
from scale.data.product import Product, View
from scale.modalities import MODALITIES
from scale.viz import tiles, typeset
from scale.viz.registry import Sources, figure, most_complete
from scale.viz.theme import MODALITY_COLOURS, drawn, points, shade, tint
from scale.viz.tiles import Box
from scale.viz.words import LANG, Language, label

MARGIN = 20.0


@drawn
def product_card(
    product: Product, lang: Language = LANG, frames: int = 8, seconds: float = 12.0
) -> Figure:
    """Draw all five modalities of a product on one page.

    Args:
        frames: number of video frames.
        seconds: length of sound, from its start.

    Table pairs that do not fit are counted in the last row.
    """
    width, gap, picture = 720.0, 14.0, 236.0
    inner = width - 2 * MARGIN
    right, right_width = MARGIN + picture + 18, inner - picture - 18
    title = product.text or ""
    lines = len(typeset.wrap(title, right_width, 9, lines=6))
    text_height = tiles.HEADER + lines * tiles.LINE + (0 if title else 30)
    row_height = tiles.HEADER + picture
    top = 54.0
    middle = top + row_height + gap
    bottom = middle + tiles.HEADER + 92 + gap
    table_top = top + text_height + 10
    boxes = {
        "text": Box(right, top, right_width, text_height),
        "table": Box(right, table_top, right_width, top + row_height - table_top),
        "image": Box(MARGIN, top, picture, row_height),
        "video": Box(MARGIN, middle, inner, bottom - gap - middle),
        "audio": Box(MARGIN, bottom, inner, tiles.HEADER + 138),
    }
    figure, axes = typeset.page(width, bottom + tiles.HEADER + 138 + MARGIN / 2)
    _heading(axes, product, inner, lang)
    for modality in MODALITIES:
        amounts = {"frames": frames, "seconds": seconds}
        tiles.draw_tile(axes, product, modality, boxes[modality], lang, **amounts)
    return figure


def _heading(axes: Axes, product: Product, width: float, lang: Language) -> None:
    name = product.name or product.id
    facts = [product.id] if product.name else []
    for key in ("category", "split"):
        if getattr(product, key):
            facts.append(label(f"{key}_is", lang, value=getattr(product, key)))
    name = typeset.shorten(name, width, 14, "bold")
    typeset.write(axes, MARGIN, 27, name, 14, fontweight="bold")
    line = typeset.shorten("   ·   ".join(facts), width, 8.5)
    typeset.write(axes, MARGIN, 42, line, 8.5, color=shade(0.6))


@drawn
def contact_sheet(products: Sequence[Product], columns: int = 8, lang: Language = LANG) -> Figure:
    """Draw thumbnails of products, each with its title and its modalities."""
    side, gap, caption = 78.0, 10.0, 42.0
    rows = -(-len(products) // columns)
    width = max(2 * MARGIN + columns * (side + gap) - gap, 380.0)
    figure, axes = typeset.page(width, 46 + rows * (side + caption) + 6)
    count = label("product_count", lang, n=len(products))
    typeset.write(axes, MARGIN, 24, count, 10, fontweight="bold")
    _presence_key(axes, width - MARGIN, 24, lang)
    for number, product in enumerate(products):
        row, column = divmod(number, columns)
        box = Box(MARGIN + column * (side + gap), 40 + row * (side + caption), side, side)
        thumbnail(axes, product, box, lang)
        presence_marks(axes, product, box.x, box.y + side + 4, lang)
        lines = typeset.wrap(product.name or product.text or "", side, 6.5, 2)
        typeset.write_lines(axes, box.x, box.y + side + 19.5, lines, 6.5, 8.5)
    return figure


def _presence_key(axes: Axes, right: float, y: float, lang: Language) -> None:
    """Draw the key of the presence marks, ending at `right`."""
    for modality in reversed(MODALITIES):
        name = label(modality, lang)
        right -= typeset.text_width(name, 8)
        typeset.write(axes, right, y, name, 8, color=shade(0.8))
        right -= 12
        look = {"facecolor": MODALITY_COLOURS[modality], "edgecolor": "none"}
        typeset.box(axes, right, y - 7, 8, 8, **look)
        right -= 12


def presence_marks(axes: Axes, product: View, x: float, y: float, lang: Language) -> None:
    """Draw five small squares in the order of MODALITIES, filled for those of the product."""
    for number, modality in enumerate(MODALITIES):
        has = modality in product.present
        style = {
            "facecolor": MODALITY_COLOURS[modality] if has else "none",
            "edgecolor": MODALITY_COLOURS[modality] if has else shade(0.25),
        }
        typeset.box(axes, x + 9.5 * number, y, 6.5, 6.5, **style)


def thumbnail(
    axes: Axes,
    product: View,
    box: Box,
    lang: Language = LANG,
    subset: tuple[str, ...] = ("image", "video", "text", "table", "audio"),
    text_size: float = 6.5,
) -> None:
    """Draw the first modality of `subset` that a product has, as a small tile.

    It is the picture, the middle frame of the clip, the title, the pairs of the table, or the wave
    of the sound.
    """
    modality = next((m for m in subset if m in product.present), None)
    if modality is None:
        return typeset.absent_tile(axes, *box, label("absent", lang), 7)
    try:
        content = tiles.load(product, modality, frames=3, seconds=4.0)
    except MediaError:
        return typeset.absent_tile(axes, *box, label("broken", lang), 7)
    if modality in ("image", "video"):
        typeset.picture(axes, content if modality == "image" else content[len(content) // 2], *box)
        typeset.box(axes, *box)
        return None
    colour = MODALITY_COLOURS[modality]
    typeset.box(axes, *box, facecolor=tint(colour, 0.10), edgecolor=tint(colour, 0.6))
    if modality == "audio":
        draw_wave(axes, content, box, colour)
    else:
        text = content if modality == "text" else "; ".join(f"{a}: {v}" for a, v in content)
        inner = Box(box.x + 5, box.y + 3, box.width - 10, box.height - 6)
        tiles.draw_text(axes, text, inner, lang, size=text_size)
    return None


def draw_wave(axes: Axes, wave_T: np.ndarray, box: Box, colour: str) -> None:
    """Draw the peak of each of 40 sections of a sound, as bars around the middle."""
    peaks = np.array([np.abs(part).max(initial=0.0) for part in np.array_split(wave_T, 40)])
    heights = 0.42 * box.height * peaks / max(peaks.max(), 1e-9)
    x = box.x + box.width * (0.08 + 0.84 * (np.arange(40) + 0.5) / 40)
    middle = box.y + box.height / 2
    axes.vlines(x, middle - heights, middle + heights, color=colour, linewidth=points(1.0))


SHOWN = 24
"""Number of products in the registered contact sheet."""


@figure("product")
def draw_product(sources: Sources, lang: Language) -> Figure:
    """Draw the most complete product of the test split."""
    return product_card(sources.test.products[most_complete(sources.test)], lang)


@figure("contact_sheet")
def draw_contact_sheet(sources: Sources, lang: Language) -> Figure:
    """Draw the first products of the catalogue."""
    return contact_sheet(sources.catalogue.products[:SHOWN], 8, lang)


@drawn
def generator_sheet(
    titles: Sequence[str],
    originals: Sequence[np.ndarray],
    rebuilt: Sequence[np.ndarray],
    generated: Sequence[Sequence[np.ndarray]],
    lang: Language = LANG,
) -> Figure:
    """Draw a row per product: title, image, its reconstruction from the codebook, generated images.

    Args:
        originals, rebuilt: pixels_HWC (uint8) of each product.
        generated: for each product, pictures of as many draws.
    """
    side, gap, top = 84.0, 10.0, 40.0
    draws = len(generated[0])
    columns = ["original", "rebuilt", *["generated"] * draws]
    left = MARGIN + 150.0
    width = left + len(columns) * (side + gap) + MARGIN - gap
    figure, axes = typeset.page(width, top + len(titles) * (side + gap) + MARGIN)
    for place, key in enumerate(columns[:3]):
        x = left + place * (side + gap)
        typeset.write(axes, x, 26, label(key, lang), 9, fontweight="bold")
    pictures = zip(titles, originals, rebuilt, generated, strict=True)
    for row, (title, original, words, drawings) in enumerate(pictures):
        y = top + row * (side + gap)
        typeset.write_lines(axes, MARGIN, y + 14, typeset.wrap(title, 138, 9, lines=5), 9, 13)
        for place, pixels_HWC in enumerate((original, words, *drawings)):
            x = left + place * (side + gap)
            typeset.picture(axes, pixels_HWC, x, y, side, side)
            typeset.box(axes, x, y, side, side)
    return figure
