"""One slide: text, pictures and equations placed into the boxes of the 16:9 template.

Text is measured with the fonts of the package. Arial, the Latin font of most machines, is narrower
than the DejaVu Sans of the measurement, so the text fits on all machines. Lengths are in points.
The template is made by `tools/make_slide_template.py`.
"""

import io
import math
import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from matplotlib.figure import Figure
from pptx import Presentation as open_presentation
from pptx.dml.color import RGBColor
from pptx.enum.lang import MSO_LANGUAGE_ID
from pptx.enum.shapes import PP_PLACEHOLDER
from pptx.presentation import Presentation
from pptx.shapes.base import BaseShape
from pptx.shapes.placeholder import LayoutPlaceholder, PicturePlaceholder, SlidePlaceholder
from pptx.slide import Slide
from pptx.text.text import TextFrame, _Run
from pptx.util import Emu, Pt

from scale.config import require
from scale.viz import typeset
from scale.viz.theme import ASSETS, SLIDE_AREA, SMALLEST_ON_SLIDE, text_sizes
from scale.viz.words import Language

TEMPLATE = ASSETS / "slides.pptx"

Layout = Literal[
    "Title", "Section", "Content", "Two columns", "Picture", "Wide picture", "Chart or table",
    "Wide chart or table", "Two charts", "Equation and chart", "Title only",
]  # fmt: skip

TITLE, FIRST, TEXT, SECOND, SOURCE = 0, 1, 2, 3, 13
"""Placeholder indices: title, (left) picture, chart or table, text beside or below it, right chart
or equation, source line above the footer. `Content` and `Section` have their text at FIRST;
`Two columns` has headings at 1 and 3 and contents at 2 and 4."""


SMALLEST = 18
"""Smallest text size that is readable in a lecture room; sources and footers may be smaller."""
INDENT = 18.0
"""Distance between bullet and text."""
_HAN = re.compile("[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]")


def text_height(
    paragraphs: Sequence[str],
    size: float,
    width: float,
    *,
    bullets: bool = False,
    space: float = 0.0,
    bold: bool = False,
) -> float:
    """Return the height of paragraphs wrapped to `width`, with `space` before each."""
    inner, weight = width - INDENT * bullets, "bold" if bold else "normal"
    height = space * len(paragraphs)
    for paragraph in paragraphs:
        for line in paragraph.split("\n"):
            lines = typeset.wrap(line, inner, size, 200, weight) or [""]
            height += size * sum(1.36 if _HAN.search(part) else 1.2 for part in lines)
    return height


def longest_word(paragraphs: Sequence[str], size: float, bold: bool = False) -> float:
    """Return the width of the widest unbreakable piece."""
    weight = "bold" if bold else "normal"
    words = [word for text in paragraphs for word in re.split(rf"\s+|(?={_HAN.pattern})", text)]
    return max((typeset.text_width(word, size, weight) for word in words if word), default=0.0)


def fitting_size(
    paragraphs: Sequence[str],
    box: tuple[float, float],
    largest: int,
    smallest: int = SMALLEST,
    *,
    bullets: bool = False,
    space: float = 0.0,
    bold: bool = False,
) -> int:
    """Return the largest integer size between `smallest` and `largest` at which the text fits.

    Raises ValueError if the text does not fit at `smallest`.
    """
    width, height = box
    for size in range(largest, smallest - 1, -1):
        needed = text_height(paragraphs, size, width, bullets=bullets, space=space, bold=bold)
        room = width - INDENT * bullets
        if needed <= height and longest_word(paragraphs, size, bold) <= room:
            return size
    text = " / ".join(paragraphs)
    raise ValueError(
        f"at {smallest} points {text[:60]!r}… does not fit its box of {width:.0f} × {height:.0f} "
        "points; shorten it"
    )


LANGUAGES = {"en": MSO_LANGUAGE_ID.ENGLISH_US, "zh": MSO_LANGUAGE_ID.SIMPLIFIED_CHINESE}
COLONS: dict[Language, str] = {"en": ": ", "zh": "："}
"""Separator between a heading and its text on one line."""
FOOTERS = (PP_PLACEHOLDER.FOOTER, PP_PLACEHOLDER.SLIDE_NUMBER)
SMALLEST_TITLE, SMALL = 24, 12
SIZES = {TITLE: 28}
"""Sizes of the master, for layouts without their own."""
MASTER_SIZE, SPACE = 20, 9.0
"""Size of body text and space before its paragraphs in the master."""


@dataclass(frozen=True)
class Page:
    """A slide under construction."""

    slide: Slide
    lang: Language

    @staticmethod
    def add(deck: Presentation, layout: Layout, lang: Language, footer: str) -> "Page":
        """Append a slide with footer and slide number to the deck."""
        form = next(each for each in deck.slide_layouts if each.name == layout)
        page = Page(deck.slides.add_slide(form), lang)
        for place in form.placeholders:
            if place.placeholder_format.type in FOOTERS:
                page._add_footer(place, footer)
        return page

    def _add_footer(self, place: LayoutPlaceholder, text: str) -> None:
        """Copy a footer or number, which python-pptx does not take over from the layout."""
        element = deepcopy(place._element)
        for child in list(element.spPr):
            element.spPr.remove(child)
        self.slide.shapes._spTree.append(element)
        if place.placeholder_format.type == PP_PLACEHOLDER.FOOTER:
            frame = self.slide.shapes[-1].text_frame
            fitting_size([text], (place.width.pt, place.height.pt), SMALL, SMALL)
            write(frame, [text], self.lang)

    def place(self, idx: int) -> SlidePlaceholder:
        """Return the placeholder with an index."""
        return next(p for p in self.slide.placeholders if p.placeholder_format.idx == idx)

    def title(self, text: str) -> None:
        """Write the title. Raises ValueError if it does not fit its box."""
        self._fill(TITLE, [text], SMALLEST_TITLE)

    def points(self, idx: int, lines: Sequence[str]) -> None:
        """Write bullet points. Raises ValueError if they do not fit at SMALLEST points."""
        self._fill(idx, lines, SMALLEST)

    def source(self, text: str) -> None:
        """Write the line above the footer: source and sample size of the numbers."""
        self._fill(SOURCE, [text], SMALL)

    def notes(self, text: str) -> None:
        """Write the speaker notes."""
        write(self.slide.notes_slide.notes_text_frame, text.split("\n\n"), self.lang)

    def drop_empty(self) -> None:
        """Remove empty placeholders."""
        for place in list(self.slide.placeholders):
            if place.has_text_frame and not place.text_frame.text.strip():
                place._element.getparent().remove(place._element)

    def _fill(self, idx: int, lines: Sequence[str], smallest: int) -> None:
        place = self.place(idx)
        largest, box = layout_size(place), (place.width.pt, place.height.pt)
        size = fitting_size(lines, box, largest, smallest, **look(place))
        write(place.text_frame, lines, self.lang, size if size < largest else None)


def layout_size(place: SlidePlaceholder) -> int:
    """Return the text size of a placeholder in its layout, else in the master."""
    given = _in_layout(place, "a:defRPr/@sz")
    return int(given[0]) // 100 if given else SIZES.get(place.placeholder_format.idx, MASTER_SIZE)


def look(place: SlidePlaceholder) -> dict[str, Any]:
    """Return the arguments of `fitting_size` that follow from a placeholder's layout."""
    if place.placeholder_format.idx == TITLE:
        return {"bold": True}
    bullets = not _in_layout(place, "a:buNone")
    given = _in_layout(place, "a:spcBef/a:spcPts/@val")
    return {"bullets": bullets, "space": int(given[0]) / 100 if given else SPACE}


def _in_layout(place: SlidePlaceholder, path: str) -> list:
    """Return the nodes at `path` in the layout's first text level of a placeholder."""
    idx = place.placeholder_format.idx
    layout = place.part.slide_layout.placeholders
    form = next(each for each in layout if each.placeholder_format.idx == idx)
    return form._element.xpath(f"./p:txBody/a:lstStyle/a:lvl1pPr/{path}")


def write(
    frame: TextFrame, paragraphs: Sequence[str], lang: Language, size: int | None = None
) -> list[_Run]:
    """Replace the text of a frame by paragraphs of one run each and return the runs."""
    frame.clear()
    runs = []
    for number, text in enumerate(paragraphs):
        paragraph = frame.paragraphs[0] if number == 0 else frame.add_paragraph()
        run = paragraph.add_run()
        run.text = text
        run.font.language_id = LANGUAGES[lang]
        if size:
            run.font.size = Pt(size)
        runs.append(run)
    return runs


SMALLEST_IN_PICTURE = SMALLEST_ON_SLIDE
"""Smallest text in a picture on a slide."""


@cache
def picture_place(layout: Layout) -> tuple[float, float]:
    """Return width and height of a layout's picture in inches."""
    layouts = open_presentation(str(TEMPLATE)).slide_layouts
    places = next(each for each in layouts if each.name == layout).placeholders
    place = next(each for each in places if each.placeholder_format.idx == FIRST)
    return place.width.inches, place.height.inches


DOTS = 220
"""Pixels per inch: above those of a high-resolution laptop, and 1.5 times a projector of 1,920
pixels on 13.3 inches."""


@dataclass(frozen=True)
class Picture:
    """A PNG (or JPEG) in memory."""

    content: bytes
    aspect: float
    """Width / height."""
    alt: str = ""
    """Alternative text, if the words of the slide have none."""
    smallest: float = math.inf
    """Smallest text in points, if the picture is one inch wide; infinite if it is unknown."""

    @staticmethod
    def of(figure: Figure, alt: str = "") -> "Picture":
        """Render a figure that has its final size (or a larger one: it is reduced).

        Deterministic: the same figure gives the same bytes.
        """
        across, high = figure.get_size_inches()
        sizes = text_sizes(figure)
        with io.BytesIO() as buffer:
            dots, plain = DOTS * min(1.0, SLIDE_AREA[0] / across), {"Software": None}
            figure.savefig(buffer, format="png", dpi=dots, metadata=plain)
            smallest = sizes[0] / across if sizes else math.inf
            return Picture(buffer.getvalue(), across / high, alt, smallest)

    def put(self, page: Page, idx: int, alt: str) -> None:
        """Draw into a placeholder, centred and uncropped.

        Raises ValueError if text in the picture is smaller than SMALLEST_IN_PICTURE.
        """
        place = page.place(idx)
        left, top, width, height = place.left, place.top, place.width, place.height
        holder = PicturePlaceholder(place._element, place._parent)
        shape = holder.insert_picture(io.BytesIO(self.content))
        shape.crop_left = shape.crop_right = shape.crop_top = shape.crop_bottom = 0
        shown = min(width, round(height * self.aspect)), min(height, round(width / self.aspect))
        size = self.smallest * Emu(shown[0]).inches
        require(
            size > SMALLEST_IN_PICTURE - 0.1,
            f"text of {size:.1f} points in a picture; {SMALLEST_IN_PICTURE:.0f} are legible",
        )
        shape.left, shape.top = left + (width - shown[0]) // 2, top + (height - shown[1]) // 2
        shape.width, shape.height = shown
        describe(shape, alt or self.alt)


def describe(shape: BaseShape, text: str) -> None:
    """Set the alternative text of a picture, a chart or a table."""
    shape._element.xpath(".//p:cNvPr")[0].set("descr", text)


def rgb(colour: str) -> RGBColor:
    """Return a colour `#RRGGBB` for python-pptx."""
    return RGBColor.from_string(colour.lstrip("#"))


def plain(shape: BaseShape) -> None:
    """Remove outline, shadow and text colour of the theme from a shape."""
    for style in shape._element.xpath("./p:style"):
        style.getparent().remove(style)


_PARTS = re.compile(r"_\{([^}]*)\}")


def write_equation(page: Page, idx: int, text: str) -> None:
    """Write an equation as editable text; `x_{i}` is an x with subscript i.

    Raises ValueError if it does not fit one line.
    """
    place = page.place(idx)
    size = fitting_size(
        [_PARTS.sub(r"\1", text)], (place.width.pt, 1.4 * layout_size(place)), layout_size(place)
    )
    (first,) = write(place.text_frame, [""], page.lang, size)
    paragraph = place.text_frame.paragraphs[0]
    for number, part in enumerate(_PARTS.split(text)):
        if not part:
            continue
        run = first if number == 0 else paragraph.add_run()
        run.text, run.font.size = part, first.font.size
        if number % 2:
            run.font._element.set("baseline", "-25000")
