"""Native, editable shapes: one product as five cards, large numbers, the cosines of a batch, the
ten pairs, the gaps of products.

N products, M modalities (five).
"""

import io
import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise

from numpy.typing import NDArray
from PIL import Image, ImageOps
from pptx.enum.dml import MSO_LINE
from pptx.enum.shapes import MSO_CONNECTOR, MSO_SHAPE
from pptx.enum.text import MSO_ANCHOR, PP_ALIGN
from pptx.oxml.xmlchemy import OxmlElement
from pptx.shapes.autoshape import Shape
from pptx.shapes.base import BaseShape
from pptx.text.text import TextFrame, _Paragraph, _Run
from pptx.util import Inches, Pt

from scale.data.media import MediaError, fit_image, load_image
from scale.data.product import Product
from scale.modalities import MODALITIES, PAIRS
from scale.talk.page import (
    COLONS,
    SMALLEST,
    TITLE,
    Page,
    describe,
    plain,
    rgb,
    text_height,
    write,
)
from scale.viz import scene, tiles, typeset
from scale.viz.illustrations.framework import position_scene
from scale.viz.theme import MODALITY_COLOURS, POSITIVE, mix, text_on, use_style
from scale.viz.words import Language, label

LEFT = 0.6
"""Left edge of the content in inches."""
CARD_TOP, WIDTH, GAP, HEADER, HEIGHT = 1.45, 2.26, 0.208, 0.46, 4.05
"""Cards in inches; the text of the layout `Title only` is below them."""
FRAMES, TABLE_ROWS, PIXELS = 3, 6, 480
"""Frames of a clip, rows of a table, and the longer side of a picture on a card."""
SPECTROGRAM_SIZE = (380, 480)
"""Pixels."""
COLUMN_TOP, RIGHT = 4.0, 6.97
"""Inches: below three lines of text of the layout `Two columns`, and its right column."""
LINE, EMPTY = "B4BCC8", "FFFFFF"
PANEL, TEXT_COLOUR = "#F2F4F7", "#1B2330"


@dataclass(frozen=True)
class Cards:
    """One product as a card per modality; missing modalities are labelled as absent."""

    product: Product

    def put(self, page: Page, idx: int, alt: str) -> None:
        """Draw across the page; `idx` is not used."""
        for column, modality in enumerate(MODALITIES):
            x = LEFT + column * (WIDTH + GAP)
            self._header(page, modality, x)
            try:
                content = tiles.load(self.product, modality, frames=FRAMES, large=True)
            except MediaError:
                content = None
            if content is None or modality not in self.product.present:
                _text(page, [label(f"absent_{modality}", page.lang)], x)
            elif modality in ("text", "table"):
                _text(page, _lines(self.product, modality, page.lang), x)
            else:
                _pictures(page, modality, content, x, alt)

    def _header(self, page: Page, modality: str, x: float) -> None:
        box, colour = (x, CARD_TOP, WIDTH, HEADER), MODALITY_COLOURS[modality]
        shape = _block(page.slide.shapes, box, colour, MSO_SHAPE.RECTANGLE)
        (run,) = write(shape.text_frame, [label(modality, page.lang)], page.lang, 20)
        run.font.bold, run.font.color.rgb = True, rgb(text_on(colour))
        shape.text_frame.vertical_anchor = MSO_ANCHOR.MIDDLE


def title_of(product: Product, lang: Language) -> str:
    """Return the title of a product; in a Chinese deck `title_zh`, if it has one."""
    chinese = product.extra.get("title_zh") if lang == "zh" else None
    return " ".join(str(chinese or product.text or product.name or product.id).split())


def _lines(product: Product, modality: str, lang: Language) -> list[str]:
    """Return the title, or the first attribute-value pairs that fit the card."""
    width, room = 72 * WIDTH - 8, 72 * (HEIGHT - HEADER) - 12
    if modality == "text":
        return [_shortened(title_of(product, lang), width, 10)]
    pairs = [f"{name}: {value}" for name, value in (product.table or ())[:TABLE_ROWS]]
    while len(pairs) > 1 and text_height(pairs, SMALLEST, width) > room:
        pairs.pop()
    return pairs


def _text(page: Page, lines: list[str], x: float) -> None:
    box = Inches(x), Inches(CARD_TOP + HEADER + 0.12), Inches(WIDTH), Inches(HEIGHT - HEADER - 0.12)
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
        images = [tiles.spectrogram_image(content).resize(SPECTROGRAM_SIZE)]
    room = (HEIGHT - HEADER - 0.12 * len(images)) / len(images)
    y = CARD_TOP + HEADER + 0.12
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


def _shortened(text: str, width: float, lines: int, size: float = SMALLEST) -> str:
    """Return the text that fits `lines` lines, without line breaks."""
    parts = typeset.wrap(text, width, size, lines)
    return (" " if " " in text else "").join(parts)


@dataclass(frozen=True)
class Numbers:
    """Large numbers with their names, three a row."""

    items: tuple[tuple[str, str], ...]

    def put(self, page: Page, idx: int, alt: str) -> None:
        """Draw across the page; `idx` is not used."""
        group, rows = page.slide.shapes.add_group_shape(), -(-len(self.items) // 3)
        width, height = (12.13 - 2 * GAP) / 3, min(1.9, 4.05 / rows - GAP)
        for place, (number, name) in enumerate(self.items):
            row, column = divmod(place, 3)
            left, top = LEFT + column * (width + GAP), CARD_TOP + row * (height + GAP)
            shape = _block(group.shapes, (left, top, width, height), PANEL, MSO_SHAPE.RECTANGLE)
            frame = shape.text_frame
            frame.word_wrap, frame.vertical_anchor = True, MSO_ANCHOR.MIDDLE
            large, small = write(frame, [number, name], page.lang, 20)
            large.font.size, large.font.bold = Pt(36), True
            for run in (large, small):
                run.font.color.rgb = rgb(TEXT_COLOUR)
            for paragraph in frame.paragraphs:
                paragraph.alignment = PP_ALIGN.CENTER
        describe(group, alt)


@dataclass(frozen=True)
class Contrast:
    """Cosines between the titles (rows) and the pictures (columns) of B products, and each row's
    probability of the true pair."""

    products: tuple[Product, ...]
    cosine_BB: NDArray
    share_B: NDArray
    header: str
    """Heading of the last column."""

    def put(self, page: Page, idx: int, alt: str) -> None:
        """Draw into the area of the placeholder with this index, which is removed."""
        place = page.place(idx)
        left, top = place.left / 914400, place.top / 914400
        width, height = place.width / 914400, place.height / 914400
        place._element.getparent().remove(place._element)
        count = len(self.products)
        side = min(1.35, height / (count + 1))
        first, last = width - (count + 1) * (side + 0.1), side
        group = page.slide.shapes.add_group_shape()
        for column, product in enumerate(self.products):
            x = left + first + column * (side + 0.1)
            picture = fit_image(load_image(product.image), PIXELS)
            with io.BytesIO() as buffer:
                Image.fromarray(picture).save(buffer, "PNG")
                buffer.seek(0)
                box = (Inches(length) for length in (x, top, side, side - 0.1))
                shape = page.slide.shapes.add_picture(buffer, *box)
            _crop(shape, side / (side - 0.1))
            name = title_of(product, page.lang)
            describe(shape, f"{label('image', page.lang)}{COLONS[page.lang]}{name}")
        x = left + width - last
        _label(page, group, (x, top, last, side - 0.1), self.header, bold=True)
        for row, product in enumerate(self.products):
            y = top + (row + 1) * side
            title = _shortened(title_of(product, page.lang), 72 * (first - 0.2), 3)
            _label(page, group, (left, y, first - 0.1, side - 0.1), title, align=PP_ALIGN.LEFT)
            for column in range(count):
                box = (left + first + column * (side + 0.1), y, side, side - 0.1)
                value = float(self.cosine_BB[row, column])
                fill = mix("#FFFFFF", POSITIVE, 0.5 * max(value, 0.0))
                text = f"{value:.2f}".replace("-", "−")
                shape = _label(page, group, box, text, fill, bold=row == column)
                if row == column:
                    shape.line.color.rgb, shape.line.width = rgb(TEXT_COLOUR), Pt(3)
            box = (x, y, last, side - 0.1)
            _label(page, group, box, f"{float(self.share_B[row]):.0%}", PANEL)
        describe(group, alt)


def _label(
    page: Page,
    group,
    box: tuple[float, ...],
    text: str,
    fill: str = "#FFFFFF",
    bold: bool = False,
    align: PP_ALIGN = PP_ALIGN.CENTER,
) -> Shape:
    """Add a box with text in the middle; `box`: left, top, width and height in inches."""
    shape = _block(group.shapes, box, fill, MSO_SHAPE.RECTANGLE)
    frame = shape.text_frame
    frame.word_wrap, frame.vertical_anchor = True, MSO_ANCHOR.MIDDLE
    frame.margin_left = frame.margin_right = Pt(2)
    frame.margin_top = frame.margin_bottom = 0
    (run,) = write(frame, [text], page.lang, SMALLEST)
    run.font.bold, run.font.color.rgb = bold, rgb(TEXT_COLOUR)
    frame.paragraphs[0].alignment = align
    return shape


def _crop(shape, aspect: float) -> None:
    """Crop a square picture at the top and the bottom to width / height `aspect`."""
    shape.crop_top = shape.crop_bottom = (1 - 1 / aspect) / 2


SHELF = 8
"""Pictures of products on the title slide."""


@dataclass(frozen=True)
class Shelf:
    """A row of pictures of products at the bottom of the title slide."""

    products: Sequence[Product]

    def put(self, page: Page, idx: int, alt: str) -> None:
        """Draw below the subtitle; `idx` is not used."""
        left, top, width, gap = 1.3, 5.42, 11.0, 0.1
        side = (width - (SHELF - 1) * gap) / SHELF
        for k, product in enumerate(self.products):
            try:
                image = tiles.load(product, "image", large=True)
            except MediaError:
                continue
            square = ImageOps.fit(image.convert("RGB"), (PIXELS, PIXELS), Image.Resampling.LANCZOS)
            with io.BytesIO() as buffer:
                square.save(buffer, "JPEG", quality=92)
                box = (Inches(length) for length in (left + k * (side + gap), top, side, side))
                shape = page.slide.shapes.add_picture(buffer, *box)
            describe(shape, product.name or product.text or product.id)


@dataclass(frozen=True)
class Pairs:
    """The five modalities on an ellipse, connected by the ten pairs."""

    def put(self, page: Page, idx: int, alt: str) -> None:
        """Draw in the left column; `idx` is not used."""
        width, height = 1.3, 0.5
        middle, radius = (LEFT + 2.9, COLUMN_TOP + 1.3), (2.2, 0.98)
        turns = [2 * math.pi * k / len(MODALITIES) - math.pi / 2 for k in range(len(MODALITIES))]
        places = [
            (middle[0] + radius[0] * math.cos(t), middle[1] + radius[1] * math.sin(t))
            for t in turns
        ]
        group = page.slide.shapes.add_group_shape()
        for i, j in PAIRS:
            ends = (Inches(length) for end in (places[i], places[j]) for length in end)
            line = group.shapes.add_connector(MSO_CONNECTOR.STRAIGHT, *ends)
            plain(line)
            line.line.color.rgb, line.line.width = rgb(LINE), Pt(2)
        for (modality, colour), (x, y) in zip(MODALITY_COLOURS.items(), places, strict=True):
            box = (x - width / 2, y - height / 2, width, height)
            shape = _block(group.shapes, box, colour, MSO_SHAPE.ROUNDED_RECTANGLE)
            frame = shape.text_frame
            frame.margin_left = frame.margin_right = 0
            (run,) = write(frame, [label(modality, page.lang)], page.lang, 18)
            run.font.bold, run.font.color.rgb = True, rgb(text_on(colour))
            frame.paragraphs[0].alignment = PP_ALIGN.CENTER
        describe(group, alt)


@dataclass(frozen=True)
class Gaps:
    """Presence of modalities: a column per product, a row per modality, filled if present."""

    present_NM: NDArray

    def put(self, page: Page, idx: int, alt: str) -> None:
        """Draw in the right column; `idx` is not used."""
        side, step, row_step = 0.19, 0.225, 0.46
        group = page.slide.shapes.add_group_shape()
        for row, (modality, colour) in enumerate(MODALITY_COLOURS.items()):
            y = COLUMN_TOP + 0.2 + row * row_step
            for column, present in enumerate(self.present_NM[:, row]):
                box = (RIGHT + column * step, y, side, 0.36)
                shape = _block(group.shapes, box, colour if present else EMPTY, MSO_SHAPE.RECTANGLE)
                shape.name = f"{modality} {column + 1}"
                shape.line.color.rgb = rgb(colour)
                shape.line.width = Pt(0.75)
        describe(group, alt)


@dataclass(frozen=True)
class Drawing:
    """A scene of `scale.viz.scene` as a group of native shapes."""

    scene: scene.Scene
    left: float = LEFT
    top: float = 1.42
    """Inches."""
    zoom: float = 1.0
    alt: str = ""
    """Alternative text, if the words of the slide have none."""

    def put(self, page: Page, idx: int, alt: str) -> None:
        """Draw at its place; `idx` is not used."""
        add = {
            scene.Block: self._block,
            scene.Line: self._line,
            scene.Photo: self._photo,
        }
        shapes = [made for each in self.scene.shapes for made in add[type(each)](page, each)]
        describe(page.slide.shapes.add_group_shape(shapes), alt or self.alt)

    def _place(self, box: tiles.Box) -> tuple[float, ...]:
        """Return left, top, width and height in inches."""
        x, y, width, height = (self.zoom * length / 72 for length in box)
        return self.left + x, self.top + y, width, height

    def _block(self, page: Page, block: scene.Block) -> list[BaseShape]:
        kind = MSO_SHAPE.ROUNDED_RECTANGLE if block.radius else MSO_SHAPE.RECTANGLE
        shape = _block(page.slide.shapes, self._place(block.box), block.face or EMPTY, kind)
        shape.name = block.name or " ".join(block.lines) or "box"
        if block.radius:
            shape.adjustments[0] = block.radius / min(block.box.width, block.box.height)
        if block.face is None:
            shape.fill.background()
        if block.edge:
            shape.line.color.rgb, shape.line.width = rgb(block.edge), Pt(self.zoom * block.width)
            if block.dashed:
                shape.line.dash_style = MSO_LINE.DASH
        if block.lines:
            self._write(page, shape.text_frame, block)
        return [shape]

    def _write(self, page: Page, frame: TextFrame, block: scene.Block) -> None:
        frame.margin_left = frame.margin_right = frame.margin_top = frame.margin_bottom = 0
        frame.word_wrap, frame.vertical_anchor = False, MSO_ANCHOR.MIDDLE
        write(frame, block.lines, page.lang)
        for number, (line, paragraph) in enumerate(zip(block.lines, frame.paragraphs, strict=True)):
            paragraph.alignment = PP_ALIGN.LEFT if block.align == "left" else PP_ALIGN.CENTER
            runs = iter([paragraph.runs[0]])
            for part, low in scene.split_subscripts(line):
                run = next(runs, None) or _copy(paragraph)
                run.text, run.font.size = part, Pt(round(self.zoom * block.size, 1))
                run.font.bold = number < block.bold
                run.font.color.rgb = rgb(block.ink)
                # A copied run has the baseline of the one before.
                run.font._element.set("baseline", "-25000" if low else "0")

    def _line(self, page: Page, path: scene.Line) -> list[BaseShape]:
        """Add a straight connector for each segment; the last one has the arrow head."""
        made = []
        for start, end in pairwise(path.points):
            (x, y, *_), (to_x, to_y, *_) = (self._place(tiles.Box(*p, 0, 0)) for p in (start, end))
            ends = [Inches(length) for length in (x, y, to_x, to_y)]
            line = page.slide.shapes.add_connector(MSO_CONNECTOR.STRAIGHT, *ends)
            plain(line)
            line.line.color.rgb, line.line.width = rgb(path.colour), Pt(self.zoom * path.width)
            line.name = path.name or "arrow"
            made.append(line)
        if path.head:
            head = {"type": "triangle", "w": "med", "len": "med"}
            made[-1].line._get_or_add_ln().append(OxmlElement("a:tailEnd"))
            made[-1].line._ln[-1].attrib.update(head)
        return made

    def _photo(self, page: Page, photo: scene.Photo) -> list[BaseShape]:
        with io.BytesIO() as buffer:
            photo.image.convert("RGB").save(buffer, "PNG")
            box = (Inches(length) for length in self._place(photo.box))
            shape = page.slide.shapes.add_picture(buffer, *box)
        shape.name = photo.name
        describe(shape, photo.name)
        return [shape]


MARK_ZOOM, MARK_TOP, MARK_GAP = 0.48, 0.36, 0.25
"""Size of the mark relative to the compact framework; top and distance from the title in inches."""


def mark_position(page: Page, part: str) -> None:
    """Draw the framework with one part highlighted into the top right corner, beside the title.

    The mark has no words: at this size they would be too small. Call it before the title is written
    into the rest of the width.

    Args:
        part: a key of `framework.PARTS`.
    """
    with use_style("slides"):
        compact = position_scene(part)
    title = page.place(TITLE)
    left, top, width, height = title.left, title.top, title.width, title.height
    mark_left = (left + width) / 914400 - MARK_ZOOM * compact.width / 72
    title.left, title.top, title.height = left, top, height
    title.width = Inches(mark_left - MARK_GAP) - left
    name = label(f"position_{part}", page.lang)
    alt = label("position", page.lang, part=name)
    Drawing(compact, mark_left, MARK_TOP, MARK_ZOOM, alt).put(page, TITLE, "")


def _copy(paragraph: _Paragraph) -> _Run:
    """Append a copy of the last run of a paragraph."""
    last = paragraph._p.r_lst[-1]
    last.addnext(deepcopy(last))
    return paragraph.runs[-1]


def _block(shapes, box: tuple[float, ...], colour: str, kind: MSO_SHAPE) -> Shape:
    """Add a filled shape without outline; `box`: left, top, width and height in inches."""
    shape = shapes.add_shape(kind, *(Inches(length) for length in box))
    plain(shape)
    shape.fill.solid()
    shape.fill.fore_color.rgb = rgb(colour)
    shape.line.fill.background()
    return shape
