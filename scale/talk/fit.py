"""Text in boxes: measured with the fonts that ship, never guessed from its length.

Arial, which a reader's machine sets Latin in, is narrower than the DejaVu Sans that is measured
with, so what fits here fits there. Lengths are points.
"""

import re
from collections.abc import Sequence

from scale.viz import typeset

SMALLEST = 18
"""Of what a room must read; sources and footers may be smaller."""
INDENT = 18.0
"""Of a list's text from its bullet."""
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
    """Height of paragraphs that are wrapped to `width`, with `space` before each."""
    inner, weight = width - INDENT * bullets, "bold" if bold else "normal"
    height = space * len(paragraphs)
    for paragraph in paragraphs:
        for line in paragraph.split("\n"):
            lines = typeset.wrap(line, inner, size, 200, weight) or [""]
            height += size * sum(1.36 if _HAN.search(part) else 1.2 for part in lines)
    return height


def longest_word(paragraphs: Sequence[str], size: float, bold: bool = False) -> float:
    """Width of the widest piece that cannot be broken."""
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
    """The largest whole size from `largest` down to `smallest` at which the text fits the box.

    Raises ValueError where it does not fit at the smallest.
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
        "points; say it shorter"
    )
