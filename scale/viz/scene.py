"""Pictures of a few kinds of shapes, drawn by matplotlib here and natively by `scale slides`.

Lengths and text sizes are points of a slide; y grows downwards. Text of 14 points on a slide has
9.5 points on a page of the `paper` style.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from PIL import Image

from scale.viz import typeset
from scale.viz.theme import SUBSCRIPT, on_slide, points, unit
from scale.viz.tiles import Box

PAGE = 9.5 / 14
"""Points of the `paper` style per point of a scene, except on slides."""
LINE, SUB = 1.22, 0.7
"""Distance of lines and size of subscripts, relative to the text size."""
_SUBSCRIPT = re.compile(r"_\{([^}]*)\}")


@dataclass(frozen=True)
class Block:
    """A rectangle, lines of text, or both; the text is centred vertically."""

    box: Box
    lines: tuple[str, ...] = ()
    """`x_{i}` is an x with subscript i."""
    size: float = 14.0
    ink: str = "#000000"
    bold: int = 0
    """Number of lines in bold, from the first."""
    align: Literal["left", "center"] = "center"
    face: str | None = None
    edge: str | None = None
    width: float = 1.5
    """Of the outline."""
    radius: float = 0.0
    """Of the corners."""
    dashed: bool = False
    name: str = ""
    """Name in PowerPoint's selection pane."""


@dataclass(frozen=True)
class Line:
    """A line through two or more points, with an arrow head at its end or without."""

    points: tuple[tuple[float, float], ...]
    colour: str
    width: float = 2.0
    head: bool = True
    name: str = ""


@dataclass(frozen=True)
class Photo:
    """An image that fills a box."""

    image: Image.Image
    box: Box
    name: str = ""


Shape = Block | Line | Photo


@dataclass(frozen=True)
class Scene:
    """Shapes on a page, the last ones on top."""

    shapes: tuple[Shape, ...]
    width: float
    height: float


def split_subscripts(line: str) -> Iterator[tuple[str, bool]]:
    """Yield the parts of a line and whether each is a subscript."""
    for number, part in enumerate(_SUBSCRIPT.split(line)):
        if part:
            yield part, number % 2 == 1


def line_width(line: str, size: float, bold: bool = False) -> float:
    """Return the width of a line with subscripts."""
    weight = "bold" if bold else "normal"
    return sum(
        typeset.text_width(part, SUB * size if low else size, weight)
        for part, low in split_subscripts(line)
    )


def fit(block: Block, smallest: float = 14.0, margin: float = 4.0) -> Block:
    """Return the block with the largest text size, up to its own, at which its lines fit its box.

    Raises ValueError if they do not fit at `smallest`.
    """
    size = block.size
    while size >= smallest:
        widest = max(line_width(t, size, k < block.bold) for k, t in enumerate(block.lines))
        high = LINE * size * len(block.lines)
        if widest <= block.box.width - 2 * margin and high <= block.box.height + 0.2 * size:
            return replace(block, size=size)
        size -= 0.5
    raise ValueError(f"at {smallest:g} points {' / '.join(block.lines)!r} does not fit its box")


def page_part() -> float:
    """Return points of the `paper` style per point of a scene: on a slide, they are its own."""
    return 1 / unit() if on_slide() else PAGE


def paint(scene: Scene, margin: float = 8.0, head: float = 0.0) -> tuple[Figure, Axes]:
    """Draw a scene on a page in the active style.

    Args:
        margin, head: around the scene and above it, in points of the `paper` style.
    """
    if on_slide():
        # The slide has margins and a title; outlines need half their width.
        margin, head = 0.5, 0.0
    part = page_part()
    width, height = scene.width * part + 2 * margin, scene.height * part + 2 * margin + head
    figure, axes = typeset.page(width, height)
    for order, shape in enumerate(scene.shapes):
        _PAINTERS[type(shape)](axes, shape, (margin, margin + head), 2 + 0.001 * order)
    return figure, axes


Offset = tuple[float, float]


def _box(box: Box, offset: Offset) -> Box:
    x, y, width, height = (length * page_part() for length in box)
    return Box(offset[0] + x, offset[1] + y, width, height)


def _paint_block(axes: Axes, block: Block, offset: Offset, order: float) -> None:
    x, y, width, height = _box(block.box, offset)
    if block.face or block.edge:
        radius = block.radius * page_part()
        shape = f"round,pad=0,rounding_size={radius}" if radius else "square,pad=0"
        look = {"facecolor": block.face or "none", "edgecolor": block.edge or "none"}
        look |= {"linewidth": points(block.width * page_part()) if block.edge else 0}
        look |= {"linestyle": (0, (4, 2.5)) if block.dashed else "solid", "zorder": order}
        axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=shape, **look))
    size = block.size * page_part()
    top = y + (height - LINE * size * len(block.lines)) / 2
    for number, line in enumerate(block.lines):
        bold = number < block.bold
        baseline = top + LINE * size * (number + 0.5) + 0.36 * size
        look = {"fontweight": "bold" if bold else "normal", "color": block.ink, "zorder": order}
        parts = list(split_subscripts(line))
        if len(parts) == 1 and block.align == "center":
            typeset.write(axes, x + width / 2, baseline, line, size, ha="center", **look)
            continue
        centred = block.align == "center"
        left = x + (width - line_width(line, size, bold)) / 2 if centred else x
        for part, low in parts:
            # SVG ignores spaces at the beginning of a text.
            left += typeset.text_width(" ", size, look["fontweight"]) * part.startswith(" ")
            part_size, y_part = (SUB * size, baseline + 0.22 * size) if low else (size, baseline)
            label = SUBSCRIPT if low else ""
            typeset.write(axes, left, y_part, part.lstrip(), part_size, label=label, **look)
            left += typeset.text_width(part.lstrip(), part_size, look["fontweight"])


def _paint_line(axes: Axes, line: Line, offset: Offset, order: float) -> None:
    part = page_part()
    *corners, end = [(offset[0] + x * part, offset[1] + y * part) for x, y in line.points]
    width = line.width * page_part()
    if len(corners) > 1 or not line.head:
        x, y = zip(*(corners if line.head else [*corners, end]), strict=True)
        look = {"color": line.colour, "zorder": order, "solid_joinstyle": "miter"}
        axes.plot(x, y, lw=points(width), **look)
    if line.head:
        typeset.arrow(axes, corners[-1], end, line.colour, width, 4 + 4 * width, order)


def _paint_photo(axes: Axes, photo: Photo, offset: Offset, order: float) -> None:
    x, y, width, height = _box(photo.box, offset)
    look = {"extent": (x, x + width, y + height, y), "aspect": "auto", "zorder": order}
    axes.imshow(photo.image, **look, interpolation="antialiased")


_PAINTERS = {Block: _paint_block, Line: _paint_line, Photo: _paint_photo}
