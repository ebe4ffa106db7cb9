"""Equations as text that can be edited: letters with indices, `x_{i}`."""

import re

from scale.talk.fit import fitting_size
from scale.talk.page import Page, layout_size, write

_PARTS = re.compile(r"_\{([^}]*)\}")
INDEX_SIZE = 0.66
"""Of an index against its letter, as PowerPoint sets it."""


def write_equation(page: Page, idx: int, text: str) -> None:
    """Into the placeholder of this idx. Raises ValueError where it does not fit one line."""
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
