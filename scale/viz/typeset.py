"""Text layout by measured widths, and pages in points.

All lengths are points of the `paper` style (see theme.py); y grows downwards on a page.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ft2font import FT2Font, LoadFlags
from matplotlib.patches import FancyBboxPatch, Rectangle
from numpy.typing import ArrayLike
from PIL import Image

from scale.viz.theme import FONT_FAMILIES, on_slide, points, register_fonts, shade, unit

_HAN = r"\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef"
# White space, one Chinese character with its adjacent punctuation, or a word.
_PIECES = re.compile(
    rf"\s+|[（《〈「『【〔]*[{_HAN}][、。〉》」』】〕！），．：；？]*|[^\s{_HAN}]+"
)
_ELLIPSIS = "…"


@cache
def _font(weight: str) -> FT2Font:
    register_fonts()
    files = [findfont(FontProperties(family=name, weight=weight)) for name in FONT_FAMILIES]
    return get_font(files)


@cache
def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Return the width of one line of text, in points."""
    font = _font(weight)
    font.set_size(size, 72)
    font.set_text(text, 0.0, flags=LoadFlags.NO_HINTING)
    return font.get_width_height()[0] / 64


def shorten(text: str, width: float, size: float, weight: str = "normal") -> str:
    """Return the text as one line; an ellipsis replaces what exceeds `width`."""
    text = " ".join(text.split())
    if text_width(text, size, weight) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        fits = text_width(text[:middle].rstrip() + _ELLIPSIS, size, weight) <= width
        low, high = (middle, high) if fits else (low, middle - 1)
    return text[:low].rstrip() + _ELLIPSIS


def wrap(text: str, width: float, size: float, lines: int, weight: str = "normal") -> list[str]:
    """Wrap text to at most `lines` lines; Latin breaks at spaces, Chinese between characters.

    Text that does not fit ends in an ellipsis; a word wider than the line is shortened.
    """
    done: list[str] = []
    line = ""
    for piece in _PIECES.findall(" ".join(text.split())):
        fits = text_width((line + piece).rstrip(), size, weight) <= width
        if fits or not line or len(done) == lines - 1:
            line += piece
        else:
            done.append(line)
            line = piece.lstrip()
    return [shorten(line, width, size, weight) for line in [*done, line]]


def page(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure with one invisible Axes in points from the top left corner."""
    figure = Figure(figsize=(width * unit() / 72, height * unit() / 72))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    return figure, axes


def write(axes: Axes, x: float, y: float, text: str, size: float = 9, **kwargs: Any) -> None:
    """Write text; y is its baseline. `size` in points of the `paper` style."""
    axes.text(x, y, text, fontsize=points(size), **{"va": "baseline", **kwargs})


def write_lines(
    axes: Axes, x: float, y: float, lines: Sequence[str], size: float, step: float, **kwargs: Any
) -> float:
    """Write lines of text at a distance of `step`, the first baseline at y; return the next one."""
    for number, line in enumerate(lines):
        write(axes, x, y + step * number, line, size, **kwargs)
    return y + step * len(lines)


def box(axes: Axes, x: float, y: float, width: float, height: float, **kwargs: Any) -> Rectangle:
    """Draw a rectangle on a page, thin and unfilled by default."""
    style = {"facecolor": "none", "edgecolor": shade(0.2), "linewidth": points(0.7)}
    return axes.add_patch(Rectangle((x, y), width, height, **{**style, **kwargs}))


def rounded_box(
    axes: Axes, x: float, y: float, width: float, height: float, radius: float = 4, **kwargs: Any
) -> FancyBboxPatch:
    """Draw a rectangle with rounded corners on a page."""
    shape = f"round,pad=0,rounding_size={radius}"
    return axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=shape, **kwargs))


def arrow(
    axes: Axes,
    start: ArrayLike,
    end: ArrayLike,
    colour: str | None = None,
    width: float = 1.5,
    head: float = 10.0,
    zorder: float = 2,
) -> None:
    """Draw an arrow in data coordinates; `width` of its line and size of its head in points."""
    style = {"arrowstyle": "-|>", "color": colour or shade(0.6), "linewidth": points(width)}
    style |= {"mutation_scale": points(head), "shrinkA": 0, "shrinkB": 0}
    start, end = (tuple(map(float, point)) for point in (start, end))
    axes.annotate("", end, start, arrowprops=style, zorder=zorder)


def picture(
    axes: Axes, image: Image.Image | np.ndarray, x: float, y: float, width: float, height: float
) -> tuple[float, float, float, float]:
    """Draw an image in a box on a page, centred, with its aspect ratio.

    Returns its x, y, width and height. Images are reduced to the resolution of the page.
    """
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    scale = min(width / image.width, height / image.height)
    shown = image.width * scale, image.height * scale
    dots = axes.figure.dpi * unit() / 72
    smooth = on_slide() and min(image.size) >= 64
    if scale * dots < 1 or smooth:
        # Few pixels look coarse on a screen of some metres.
        how = Image.Resampling.BOX if scale * dots < 1 else Image.Resampling.LANCZOS
        image = image.resize([max(1, round(side * dots)) for side in shown], how)
    left, top = x + (width - shown[0]) / 2, y + (height - shown[1]) / 2
    axes.imshow(
        np.asarray(image),
        extent=(left, left + shown[0], top + shown[1], top),
        aspect="auto",
        zorder=1,
        interpolation="nearest" if scale * dots > 3 and not smooth else "antialiased",
    )
    return left, top, *shown


def absent_tile(
    axes: Axes, x: float, y: float, width: float, height: float, text: str, size: float = 8
) -> None:
    """Draw a hatched box with a label, for missing content."""
    box(axes, x, y, width, height, facecolor=shade(0.03), edgecolor=shade(0.16), hatch="////")
    lines = wrap(text, width - 16, size, max(1, int(height / (1.5 * size))))
    label_width = max(text_width(line, size) for line in lines) + 12
    label_height = 1.35 * size * len(lines) + 6
    middle = x + width / 2, y + height / 2
    corner = middle[0] - label_width / 2, middle[1] - label_height / 2
    plate = {"facecolor": shade(0.0), "edgecolor": "none"}
    rounded_box(axes, *corner, label_width, label_height, 3, **plate)
    style = {"ha": "center", "va": "center", "color": shade(0.62), "linespacing": 1.25}
    write(axes, *middle, "\n".join(lines), size, **style)
