"""One slide of a deck: text into the template's boxes, at a size that fits."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from pptx.enum.lang import MSO_LANGUAGE_ID
from pptx.enum.shapes import PP_PLACEHOLDER
from pptx.presentation import Presentation
from pptx.shapes.placeholder import LayoutPlaceholder, SlidePlaceholder
from pptx.slide import Slide
from pptx.text.text import TextFrame, _Run
from pptx.util import Pt

from scale.talk.fit import SMALLEST, fitting_size
from scale.talk.template import SOURCE, TITLE, Layout
from scale.viz.words import Language

LANGUAGES = {"en": MSO_LANGUAGE_ID.ENGLISH_US, "zh": MSO_LANGUAGE_ID.SIMPLIFIED_CHINESE}
COLONS: dict[Language, str] = {"en": ": ", "zh": "："}
"""Between a heading and what it says, where both stand in one line."""
FOOTERS = (PP_PLACEHOLDER.FOOTER, PP_PLACEHOLDER.SLIDE_NUMBER)
SMALLEST_TITLE, SMALL = 24, 12
SIZES = {TITLE: 28}
"""Where the layout itself gives none: the master's."""
MASTER_SIZE, SPACE = 20, 9.0
"""Of a body text's letters, and before each of its paragraphs, by the master."""


@dataclass(frozen=True)
class Page:
    """A slide that is being filled."""

    slide: Slide
    lang: Language

    @staticmethod
    def add(deck: Presentation, layout: Layout, lang: Language, footer: str) -> "Page":
        """A new slide at the deck's end, with its footer and its number."""
        form = next(each for each in deck.slide_layouts if each.name == layout)
        page = Page(deck.slides.add_slide(form), lang)
        for place in form.placeholders:
            if place.placeholder_format.type in FOOTERS:
                page._add_footer(place, footer)
        return page

    def _add_footer(self, place: LayoutPlaceholder, text: str) -> None:
        """python-pptx leaves footers and numbers of the layout off its slides."""
        element = deepcopy(place._element)
        for child in list(element.spPr):
            element.spPr.remove(child)
        self.slide.shapes._spTree.append(element)
        if place.placeholder_format.type == PP_PLACEHOLDER.FOOTER:
            frame = self.slide.shapes[-1].text_frame
            fitting_size([text], (place.width.pt, place.height.pt), SMALL, SMALL)
            write(frame, [text], self.lang)

    def place(self, idx: int) -> SlidePlaceholder:
        """The placeholder of this idx."""
        return next(p for p in self.slide.placeholders if p.placeholder_format.idx == idx)

    def title(self, text: str) -> None:
        """Raises ValueError where it does not fit two lines or so."""
        self._fill(TITLE, [text], SMALLEST_TITLE)

    def points(self, idx: int, lines: Sequence[str]) -> None:
        """Short lines. Raises ValueError where they do not fit at SMALLEST points."""
        self._fill(idx, lines, SMALLEST)

    def source(self, text: str) -> None:
        """The small line above the footer: where the numbers come from, how many there are."""
        self._fill(SOURCE, [text], SMALL)

    def notes(self, text: str) -> None:
        """What the speaker says."""
        write(self.slide.notes_slide.notes_text_frame, text.split("\n\n"), self.lang)

    def drop_empty(self) -> None:
        """Take away the placeholders that nothing was put into."""
        for place in list(self.slide.placeholders):
            if place.has_text_frame and not place.text_frame.text.strip():
                place._element.getparent().remove(place._element)

    def _fill(self, idx: int, lines: Sequence[str], smallest: int) -> None:
        place = self.place(idx)
        largest, box = layout_size(place), (place.width.pt, place.height.pt)
        size = fitting_size(lines, box, largest, smallest, **look(place))
        write(place.text_frame, lines, self.lang, size if size < largest else None)


def layout_size(place: SlidePlaceholder) -> int:
    """Text size of a placeholder by its layout, else by the master."""
    given = _in_layout(place, "a:defRPr/@sz")
    return int(given[0]) // 100 if given else SIZES.get(place.placeholder_format.idx, MASTER_SIZE)


def look(place: SlidePlaceholder) -> dict[str, Any]:
    """What `fit` must know of how the layout sets a placeholder's text."""
    if place.placeholder_format.idx == TITLE:
        return {"bold": True}
    bullets = not _in_layout(place, "a:buNone")
    given = _in_layout(place, "a:spcBef/a:spcPts/@val")
    return {"bullets": bullets, "space": int(given[0]) / 100 if given else SPACE}


def _in_layout(place: SlidePlaceholder, path: str) -> list:
    """What the layout says of the first level of a placeholder's text."""
    idx = place.placeholder_format.idx
    layout = place.part.slide_layout.placeholders
    form = next(each for each in layout if each.placeholder_format.idx == idx)
    return form._element.xpath(f"./p:txBody/a:lstStyle/a:lvl1pPr/{path}")


def write(
    frame: TextFrame, paragraphs: Sequence[str], lang: Language, size: int | None = None
) -> list[_Run]:
    """Replace a frame's text by paragraphs of one run each; returns the runs."""
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
