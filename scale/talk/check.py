"""What is wrong with a deck: text that overflows its box, boxes off the page, text too small."""

from collections.abc import Iterator

from pptx.presentation import Presentation
from pptx.shapes.base import BaseShape
from pptx.slide import Slide

from scale.talk.fit import SMALLEST, text_height
from scale.talk.page import SMALL, layout_size, look
from scale.talk.table import cell_height
from scale.talk.template import SOURCE

SLACK = 1.01


def problems(deck: Presentation) -> list[str]:
    """One sentence each, with the number of the slide; empty where all is well."""
    found = []
    for number, slide in enumerate(deck.slides, start=1):
        found += [f"slide {number}: {text}" for text in _of_slide(deck, slide)]
    return found


def _of_slide(deck: Presentation, slide: Slide) -> Iterator[str]:
    for shape in slide.shapes:
        right, bottom = shape.left + shape.width, shape.top + shape.height
        if min(shape.left, shape.top) < 0 or right > deck.slide_width or bottom > deck.slide_height:
            yield f"{shape.name} reaches beyond the page"
        if shape.has_text_frame:
            yield from _of_text(shape)
        elif shape.has_table:
            yield from _of_table(shape)
        named = shape._element.xpath(".//p:cNvPr")[0].get("descr")
        if not shape.has_text_frame and not named:
            yield f"{shape.name} has no alternative text"


def _of_text(shape: BaseShape) -> Iterator[str]:
    frame, place = shape.text_frame, shape.is_placeholder
    paragraphs = [p.text for p in frame.paragraphs if p.text.strip()]
    if not paragraphs:
        return
    given = [run.font.size for p in frame.paragraphs for run in p.runs if run.font.size]
    idx = shape.placeholder_format.idx if place else None
    size = max(given).pt if given else layout_size(shape) if place else SMALLEST
    least = SMALL if idx in (SOURCE, 11, 12) else SMALLEST
    if min((s.pt for s in given), default=size) < least:
        yield f"{shape.name} is smaller than {least} points"
    width = (shape.width - frame.margin_left - frame.margin_right) / 12700 if not place else None
    width = width or shape.width.pt
    needed = text_height(paragraphs, size, width, **(look(shape) if place else {}))
    if needed > SLACK * shape.height.pt:
        yield f"{shape.name} overflows: {paragraphs[0][:40]!r}"


def _of_table(shape: BaseShape) -> Iterator[str]:
    table = shape.table
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            runs = [run for p in cell.text_frame.paragraphs for run in p.runs]
            size = min(run.font.size.pt for run in runs)
            if size < SMALLEST:
                yield f"{shape.name} is smaller than {SMALLEST} points"
            bold = any(run.font.bold for run in runs)
            if cell_height(cell.text, size, column.width.pt, bold) > SLACK * row.height.pt:
                yield f"{shape.name} overflows: {cell.text[:40]!r}"
