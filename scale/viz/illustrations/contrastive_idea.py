"""The idea of contrastive learning: a child and a model learn from similarity, without labels.

Below the figure are vector drawings of animals, a child and products. Each is drawn around a point
of a page (`scale.viz.typeset.page`), about 2 `size` wide and high; its own coordinates run from -1
to 1, y upwards. Their colours do not depend on the style.
"""

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Arc, Circle, Ellipse, PathPatch, Polygon
from matplotlib.path import Path
from matplotlib.transforms import Affine2D

from scale.viz import typeset
from scale.viz.registry import figure
from scale.viz.theme import MODALITY_COLOURS, NEGATIVE, POSITIVE, drawn, mix, points, shade, tint
from scale.viz.words import LANG, Language, label

WIDTH, HEIGHT = 720.0, 390.0
COLUMN, MARGIN, STEP = 226.0, 21.0, 70.0
GINGER, GREY = "#E8994A", "#9AA5B4"
Sketch = Callable[[Axes, float, float, float], None]


def _ginger(axes: Axes, x: float, y: float, size: float) -> None:
    draw_cat(axes, x, y, size, GINGER, striped=True)


def _grey(axes: Axes, x: float, y: float, size: float) -> None:
    draw_cat(axes, x, y, size, GREY, mirrored=True, asleep=True)


@figure("contrastive_idea")
@drawn
def contrastive_idea(lang: Language = LANG) -> Figure:
    """Draw two rows of three scenes: the input, pull and push, the resulting neighbourhoods.

    The first row shows a child with two cats and a dog; the second a model with a title, its
    picture and another product's picture.
    """
    figure, axes = typeset.page(WIDTH, HEIGHT)
    titles = ("idea_see", "idea_pull_push", "idea_near")
    for place, key in enumerate(titles):
        centre = _centre(place)
        text = label(key, lang)
        typeset.write(axes, centre, 24, text, 10.5, ha="center", fontweight="bold")
    for place in (1, 2):
        for y in (108, 312):
            # A triangle points to the next scene.
            x = _centre(place) - COLUMN / 2 - 6 * (place - 1)
            look = {"color": shade(0.35), "markersize": points(7), "linestyle": "none"}
            axes.plot([x], [y], marker=">", **look)
    _child_row(axes, lang)
    y = 250.0
    axes.plot([MARGIN, WIDTH - MARGIN], [y, y], color=shade(0.2), linewidth=points(0.8))
    typeset.write(axes, MARGIN, y + 18, label("idea_products", lang), 9.5, fontweight="bold")
    _product_row(axes, lang)
    return figure


def _centre(place: int) -> float:
    return MARGIN + COLUMN * (place + 0.5)


def _child_row(axes: Axes, lang: Language) -> None:
    things: list[Sketch] = [_ginger, _grey, draw_dog]
    first, middle, last = (_centre(k) for k in range(3))
    for place, draw in enumerate(things):
        x = first + STEP * (place - 1)
        draw(axes, x, 82, 31)
        typeset.write(axes, x, 48, "?", 11, ha="center", color=shade(0.55), fontweight="bold")
        _draw_gaze(axes, (first + 8 * (place - 1), 148), (x, 119))
    draw_child(axes, first, 180, 30)

    for shift, draw in zip((-STEP, 0, STEP), things, strict=True):
        draw(axes, middle + shift, 108, 33)
    _forces(axes, middle, 162, lang)

    _draw_ring(axes, last - 38, 82, 136, 80)
    for x, draw in zip((last - 70, last - 8, last + STEP + 12), things, strict=True):
        draw(axes, x, 82, 31)
    _draw_gaze(axes, (last - 8, 148), (last - 38, 126))
    _draw_gaze(axes, (last + 8, 148), (last + STEP + 6, 119))
    draw_child(axes, last, 180, 30, happy=True)
    for place, key in enumerate(("idea_no_names", "idea_compare", "idea_learned")):
        _caption(axes, _centre(place), 232, label(key, lang))


def _product_row(axes: Axes, lang: Language) -> None:
    y = 312.0
    for place, shifts in enumerate(((-STEP, 0, STEP), (-STEP, 0, STEP), (-69, -9, STEP + 12))):
        centre = _centre(place)
        if place == 2:
            _draw_ring(axes, centre - 40, y, 132, 70)
        _card(axes, centre + shifts[0], y, lang)
        for shift, draw in zip(shifts[1:], (draw_mug, draw_lamp), strict=True):
            _photo(axes, centre + shift, y, draw)
    for place, key in enumerate(("idea_title", "idea_own", "idea_other")):
        x = _centre(0) + STEP * (place - 1)
        style = {"ha": "center", "color": shade(0.75)}
        typeset.write_lines(axes, x, y + 42, label(key, lang).split("\n"), 7.5, 11, **style)
    _forces(axes, _centre(1), y + 40, lang)
    _caption(axes, _centre(2), y + 57, label("idea_search", lang))


def _caption(axes: Axes, x: float, y: float, text: str) -> None:
    typeset.write(axes, x, y, text, 8.5, ha="center", color=shade(0.75))


def _card(axes: Axes, x: float, y: float, lang: Language) -> None:
    """Draw a title on a card."""
    colour = MODALITY_COLOURS["text"]
    look = {"facecolor": tint(colour, 0.1), "edgecolor": colour, "linewidth": points(1.2)}
    typeset.rounded_box(axes, x - 27, y - 22, 54, 44, **look)
    style = {"ha": "center", "color": colour, "fontweight": "bold"}
    typeset.write_lines(
        axes, x, y - 3, label("idea_title_words", lang).split("\n"), 8.5, 13, **style
    )


def _photo(axes: Axes, x: float, y: float, draw: Sketch) -> None:
    """Draw a framed picture of a product."""
    colour = MODALITY_COLOURS["image"]
    typeset.box(axes, x - 24, y - 26, 48, 52, facecolor=tint(colour, 0.1), edgecolor=colour)
    draw(axes, x, y + 1, 19)


def _forces(axes: Axes, x: float, y: float, lang: Language) -> None:
    """Draw attraction below the first two items and repulsion below the last two."""
    for key, starts, colour in (
        ("idea_pull", ((-STEP, -41), (-6, -29)), POSITIVE),
        ("idea_push", ((38, 8), (38, STEP)), NEGATIVE),
    ):
        for start, end in starts:
            typeset.arrow(axes, (x + start, y), (x + end, y), colour, 2.4, 11, zorder=1)
        centre = x - 38 if colour == POSITIVE else x + 39
        style = {"ha": "center", "color": colour, "fontweight": "bold"}
        typeset.write(axes, centre, y + 17, label(key, lang), 9, **style)


def _draw_gaze(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    look = {"color": shade(0.35), "linewidth": points(0.9), "linestyle": (0, (2, 2))}
    axes.plot([start[0], end[0]], [start[1], end[1]], **look)


def _draw_ring(axes: Axes, x: float, y: float, width: float, height: float) -> None:
    """Draw a dashed ring around items that are close in the embedding space."""
    look = {"facecolor": tint(POSITIVE, 0.1), "edgecolor": POSITIVE, "zorder": 0}
    look |= {"linewidth": points(1.4), "linestyle": (0, (4, 2))}
    typeset.rounded_box(axes, x - width / 2, y - height / 2, width, height, 22, **look)


INK = "#2A2F38"
WHITE = "#FFFFFF"
PINK = "#F2A7A0"
SKIN = "#F6CFAE"

Place = tuple[float, float]


class Pen:
    """Draws patches in the coordinates of one vector drawing."""

    def __init__(self, axes: Axes, x: float, y: float, size: float, mirrored: bool = False):
        across = -size if mirrored else size
        self.axes = axes
        self.transform = Affine2D().scale(across, -size).translate(x, y) + axes.transData

    def ellipse(self, at: Place, width: float, height: float, colour: str, **style) -> None:
        """Draw a filled ellipse, outlined unless `linewidth=0`."""
        self._add(Ellipse(at, width, height, angle=style.pop("angle", 0)), colour, **style)

    def dot(self, at: Place, radius: float, colour: str) -> None:
        """Draw a filled circle without outline."""
        self._add(Circle(at, radius), colour, linewidth=0)

    def polygon(self, corners: Sequence[Place], colour: str, **style) -> None:
        """Draw a filled polygon with round line joins."""
        self._add(Polygon(corners, closed=True), colour, **style)

    def shape(
        self, start: Place, *curves: tuple[Place, Place, Place], colour: str, **style
    ) -> None:
        """Draw a filled outline of cubic curves, each given by two control points and its end."""
        self._add(PathPatch(_path(start, curves)), colour, **style)

    def line(self, start: Place, *curves: tuple[Place, Place, Place], **style) -> None:
        """Draw an open line of cubic curves."""
        look = {"edgecolor": INK, "linewidth": points(1.0), "capstyle": "round", **style}
        patch = PathPatch(_path(start, curves), facecolor="none", **look)
        self.axes.add_patch(patch).set_transform(self.transform)

    def arc(
        self, at: Place, width: float, height: float, start: float, end: float, **style
    ) -> None:
        """Draw an arc of an ellipse between two angles in degrees."""
        look = {"edgecolor": INK, "linewidth": points(1.0), "capstyle": "round", **style}
        patch = Arc(at, width, height, theta1=start, theta2=end, **look)
        self.axes.add_patch(patch).set_transform(self.transform)

    def _add(self, patch, colour: str, **style) -> None:
        look = {"edgecolor": INK, "linewidth": points(1.0), "joinstyle": "round", **style}
        patch.set(facecolor=colour, **look)
        self.axes.add_patch(patch).set_transform(self.transform)


def _path(start: Place, curves: Sequence[tuple[Place, Place, Place]]) -> Path:
    corners = [start, *(point for curve in curves for point in curve)]
    return Path(corners, [Path.MOVETO, *[Path.CURVE4] * (len(corners) - 1)])


def draw_cat(
    axes: Axes,
    x: float,
    y: float,
    size: float,
    fur: str,
    striped: bool = False,
    asleep: bool = False,
    mirrored: bool = False,
) -> None:
    """Draw a sitting cat."""
    pen = Pen(axes, x, y, size, mirrored)
    light, dark = mix(fur, WHITE, 0.55), mix(fur, INK, 0.45)
    tail = ((0.78, -0.98), (0.98, -0.55), (0.74, -0.3))
    pen.line((0.3, -0.85), tail, edgecolor=INK, linewidth=points(0.11 * size + 1.8))
    pen.line((0.3, -0.85), tail, edgecolor=fur, linewidth=points(0.11 * size))
    body = (((-0.55, -0.2), (-0.62, -0.9), (-0.42, -0.95)), ((-0.2, -1), (0.2, -1), (0.42, -0.95)))
    pen.shape((-0.3, 0.0), *body, ((0.62, -0.9), (0.55, -0.2), (0.3, 0.0)), colour=fur)
    pen.ellipse((0, -0.52), 0.42, 0.62, light, linewidth=0)
    for side in (-1, 1):
        pen.ellipse((0.2 * side, -0.92), 0.3, 0.17, light)
        ear = [(0.16 * side, 0.7), (0.5 * side, 0.99), (0.53 * side, 0.46)]
        pen.polygon(ear, fur)
        inner = [(0.27 * side, 0.69), (0.45 * side, 0.86), (0.47 * side, 0.58)]
        pen.polygon(inner, PINK, linewidth=0)
    pen.ellipse((0, 0.35), 1.16, 0.88, fur)
    if striped:
        for shift in (-0.16, 0.0, 0.16):
            end = (shift * 0.9, 0.58)
            pen.line(
                (shift, 0.75), (end, end, end), edgecolor=dark, linewidth=points(0.035 * size + 1)
            )
        for side in (-1, 1):
            for height in (-0.35, -0.55):
                curve = ((0.36 * side, height), (0.3 * side, height), (0.26 * side, height + 0.03))
                pen.line((0.45 * side, height - 0.04), curve, edgecolor=dark)
    pen.ellipse((0, 0.17), 0.46, 0.3, light, linewidth=0)
    for side in (-1, 1):
        if asleep:
            pen.arc((0.25 * side, 0.4), 0.22, 0.16, 180, 360, linewidth=points(1.4))
        else:
            pen.ellipse((0.25 * side, 0.39), 0.22, 0.25, "#F4E27A")
            pen.ellipse((0.25 * side, 0.39), 0.08, 0.21, INK, linewidth=0)
            pen.dot((0.25 * side + 0.03, 0.44), 0.025, WHITE)
        pen.arc((0.07 * side, 0.16), 0.14, 0.13, 180, 360)
        for tip in (0.1, 0.2, 0.3):
            end = (0.8 * side, tip - 0.03)
            pen.line((0.3 * side, 0.12 + 0.35 * tip), (end, end, end), linewidth=points(0.6))
    pen.polygon([(-0.06, 0.24), (0.06, 0.24), (0, 0.17)], PINK)


def draw_dog(axes: Axes, x: float, y: float, size: float) -> None:
    """Draw a sitting dog with hanging ears."""
    pen, fur = Pen(axes, x, y, size), "#C8894E"
    light, dark = mix(fur, WHITE, 0.65), mix(fur, INK, 0.4)
    tail = ((-0.75, -0.85), (-0.9, -0.6), (-0.85, -0.3))
    pen.line((-0.35, -0.85), tail, edgecolor=INK, linewidth=points(0.09 * size + 1.8))
    pen.line((-0.35, -0.85), tail, edgecolor=fur, linewidth=points(0.09 * size))
    body = (((-0.5, -0.2), (-0.6, -0.9), (-0.46, -0.95)), ((-0.2, -1), (0.2, -1), (0.46, -0.95)))
    pen.shape((-0.32, 0.0), *body, ((0.6, -0.9), (0.5, -0.2), (0.32, 0.0)), colour=fur)
    pen.ellipse((0, -0.5), 0.44, 0.6, light, linewidth=0)
    for side in (-1, 1):
        pen.ellipse((0.22 * side, -0.91), 0.34, 0.2, light)
    pen.ellipse((0, 0.4), 0.98, 1.0, fur)
    for side in (-1, 1):
        ear = (((0.66 * side, 0.95), (0.86 * side, 0.45), (0.68 * side, 0.0)),)
        back = ((0.52 * side, -0.1), (0.42 * side, 0.25), (0.34 * side, 0.8))
        pen.shape((0.34 * side, 0.8), *ear, back, colour=dark)
    pen.ellipse((0.21, 0.5), 0.34, 0.38, dark, linewidth=0)
    pen.shape((-0.1, 0.02), ((-0.1, -0.3), (0.1, -0.3), (0.1, 0.02)), colour="#E8736C")
    pen.ellipse((0, 0.2), 0.56, 0.42, light)
    for side in (-1, 1):
        pen.dot((0.2 * side, 0.52), 0.085, INK)
        pen.dot((0.2 * side + 0.03, 0.55), 0.03, WHITE)
        pen.arc((0.1 * side, 0.13), 0.2, 0.16, 190, 360)
    pen.ellipse((0, 0.28), 0.22, 0.15, INK)


def draw_child(axes: Axes, x: float, y: float, size: float, happy: bool = False) -> None:
    """Draw a baby in a blanket, astonished or happy."""
    pen = Pen(axes, x, y, size)
    cloth = "#8FC1E8"
    wrap = (((-1.0, -0.3), (-0.85, -1.0), (0, -1.0)), ((0.85, -1.0), (1.0, -0.3), (0.55, 0.1)))
    pen.shape((-0.55, 0.1), *wrap, ((0.2, -0.1), (-0.2, -0.1), (-0.55, 0.1)), colour=cloth)
    fold = ((-0.1, -0.3), (0.25, -0.6), (0.35, -0.95))
    pen.line((-0.6, 0.0), fold, edgecolor=mix(cloth, INK, 0.4))
    for at in ((-0.45, -0.55), (-0.05, -0.75), (0.55, -0.35), (0.1, -0.35)):
        pen.dot(at, 0.06, WHITE)
    for side in (-1, 1):
        pen.ellipse((0.62 * side, 0.36), 0.22, 0.27, SKIN)
    pen.ellipse((0, 0.38), 1.26, 1.14, SKIN)
    curl = ((-0.1, 1.22), (0.28, 1.16), (0.2, 0.98)), ((0.14, 0.88), (0.0, 0.98), (0.08, 1.06))
    pen.line((-0.05, 0.92), *curl, edgecolor="#7A4B22", linewidth=points(2.0))
    for side in (-1, 1):
        pen.ellipse((0.25 * side, 0.42), 0.24, 0.29, WHITE)
        pen.dot((0.25 * side, 0.48), 0.085, INK)
        pen.dot((0.25 * side + 0.03, 0.52), 0.03, WHITE)
        pen.dot((0.42 * side, 0.18), 0.09, PINK)
        brow = ((0.22 * side, 0.71), (0.28 * side, 0.71), (0.34 * side, 0.66))
        pen.line((0.16 * side, 0.67), brow, edgecolor="#7A4B22")
    if happy:
        smile = ((-0.14, -0.12), (0.14, -0.12), (0.18, 0.14))
        pen.shape((-0.18, 0.14), smile, colour="#C96A5B")
    else:
        pen.ellipse((0, 0.1), 0.17, 0.18, "#C96A5B")


def draw_mug(axes: Axes, x: float, y: float, size: float) -> None:
    """Draw a mug with steam."""
    pen, colour = Pen(axes, x, y, size), "#4C86C6"
    for width, colour_of in ((0.15 * size + 1.8, INK), (0.15 * size, colour)):
        pen.arc((0.48, -0.2), 0.62, 0.68, -90, 90, edgecolor=colour_of, linewidth=points(width))
    sides = (
        ((-0.62, -0.3), (-0.62, -0.85), (-0.4, -0.85)),
        ((-0.2, -0.9), (0.2, -0.9), (0.4, -0.85)),
    )
    pen.shape((-0.6, 0.3), *sides, ((0.6, -0.85), (0.6, -0.3), (0.58, 0.3)), colour=colour)
    pen.ellipse((0, 0.3), 1.18, 0.26, mix(colour, WHITE, 0.6))
    pen.ellipse((0, 0.27), 0.94, 0.16, "#6B4428", linewidth=0)
    for shift in (-0.22, 0.14):
        steam = ((shift - 0.14, 0.7), (shift + 0.2, 0.75), (shift + 0.04, 1.0))
        pen.line((shift, 0.5), steam, edgecolor="#9AA4B1", linewidth=points(1.3))


def draw_lamp(axes: Axes, x: float, y: float, size: float) -> None:
    """Draw a table lamp."""
    pen, colour = Pen(axes, x, y, size), "#E9B84A"
    pen.ellipse((0, -0.82), 0.86, 0.26, "#6E7682")
    pen.polygon([(-0.05, -0.8), (0.05, -0.8), (0.05, 0.2), (-0.05, 0.2)], "#6E7682")
    pen.polygon([(-0.32, 0.92), (0.32, 0.92), (0.68, 0.12), (-0.68, 0.12)], colour)
    pen.ellipse((0, 0.12), 1.36, 0.2, mix(colour, WHITE, 0.6))
