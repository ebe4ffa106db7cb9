"""One product in five columns, a card a modality: native shapes, text and pictures."""

import io
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from PIL import Image
from pptx.dml.color import RGBColor
from pptx.enum.dml import MSO_THEME_COLOR
from pptx.enum.shapes import MSO_SHAPE
from pptx.enum.text import MSO_ANCHOR
from pptx.util import Inches, Pt

from scale.data.media import MediaError
from scale.data.product import Product
from scale.modalities import MODALITIES
from scale.talk.fit import SMALLEST, text_height
from scale.talk.page import COLONS, Page, write
from scale.talk.picture import describe, plain
from scale.viz import tiles, typeset
from scale.viz.sound import DECIBELS, log_mel
from scale.viz.theme import MODALITY_COLOURS
from scale.viz.words import label

LEFT, TOP, WIDTH, GAP, HEADER, HEIGHT = 0.6, 1.45, 2.26, 0.208, 0.46, 4.05
"""Inches; the text of the layout `Title only` stands below."""
FRAMES, PAIRS, PIXELS = 3, 6, 480
SOUND = (380, 480)
"""Pixels of a spectrogram."""


@dataclass(frozen=True)
class Cards:
    """A product; a modality that it lacks is a card that says so."""

    product: Product

    def put(self, page: Page, idx: int, alt: str) -> None:
        """Over the page, whatever the idx."""
        for column, modality in enumerate(MODALITIES):
            x = LEFT + column * (WIDTH + GAP)
            self._header(page, modality, x)
            try:
                content = tiles.load(self.product, modality, frames=FRAMES)
            except MediaError:
                content = None
            if content is None or modality not in self.product.present:
                _text(page, [label(f"absent_{modality}", page.lang)], x)
            elif modality in ("text", "table"):
                _text(page, _lines(self.product, modality), x)
            else:
                _pictures(page, modality, content, x, alt)

    def _header(self, page: Page, modality: str, x: float) -> None:
        box = Inches(x), Inches(TOP), Inches(WIDTH), Inches(HEADER)
        shape = page.slide.shapes.add_shape(MSO_SHAPE.RECTANGLE, *box)
        plain(shape)
        shape.fill.solid()
        colour = MODALITY_COLOURS[modality].lstrip("#")
        shape.fill.fore_color.rgb = RGBColor.from_string(colour)
        shape.line.fill.background()
        (run,) = write(shape.text_frame, [label(modality, page.lang)], page.lang, 20)
        run.font.bold, run.font.color.theme_color = True, MSO_THEME_COLOR.BACKGROUND_1
        shape.text_frame.vertical_anchor = MSO_ANCHOR.MIDDLE


def _lines(product: Product, modality: str) -> list[str]:
    """The title, or the first pairs, as far as the card is high."""
    width, room = 72 * WIDTH - 8, 72 * (HEIGHT - HEADER) - 12
    if modality == "text":
        lines = typeset.wrap(product.text or "", width, SMALLEST, 10)
        return [" ".join(lines) if " " in (product.text or "") else "".join(lines)]
    pairs = [f"{name}: {value}" for name, value in (product.table or ())[:PAIRS]]
    while len(pairs) > 1 and text_height(pairs, SMALLEST, width) > room:
        pairs.pop()
    return pairs


def _text(page: Page, lines: list[str], x: float) -> None:
    box = Inches(x), Inches(TOP + HEADER + 0.12), Inches(WIDTH), Inches(HEIGHT - HEADER - 0.12)
    frame = page.slide.shapes.add_textbox(*box).text_frame
    frame.word_wrap = True
    frame.margin_left = frame.margin_right = Pt(2)
    frame.margin_top = frame.margin_bottom = 0
    write(frame, lines, page.lang, SMALLEST)


def _pictures(page: Page, modality: str, content, x: float, alt: str) -> None:
    if modality == "image":
        images = [content]
    elif modality == "video":
        images = [Image.fromarray(frame) for frame in content]
    else:
        images = [_spectrogram(content)]
    room = (HEIGHT - HEADER - 0.12 * len(images)) / len(images)
    y = TOP + HEADER + 0.12
    for image in images:
        scale = min(WIDTH / image.width, room / image.height)
        width, height = image.width * scale, image.height * scale
        image.thumbnail((PIXELS, PIXELS))
        with io.BytesIO() as buffer:
            image.convert("RGB").save(buffer, "PNG")
            buffer.seek(0)
            box = Inches(x + (WIDTH - width) / 2), Inches(y), Inches(width), Inches(height)
            describe(
                page.slide.shapes.add_picture(buffer, *box),
                f"{label(modality, page.lang)}{COLONS[page.lang]}{alt}",
            )
        y += height + 0.12


def _spectrogram(wave_T: np.ndarray) -> Image.Image:
    """The log-mel of a sound: time to the right, high tones above."""
    level_FL = log_mel(wave_T, tiles.SAMPLE_RATE)[::-1] / DECIBELS + 1.0
    pixels_FLC = colormaps["magma"](level_FL, bytes=True)[..., :3]
    return Image.fromarray(pixels_FLC).resize(SOUND, Image.Resampling.BILINEAR)
