"""Small vector drawings for pictures that explain: animals, a child, things of a shop.

Each is drawn around a point of a page (`scale.viz.typeset.page`), about 2 `size` wide and high; its
own coordinates run from -1 to 1, y upwards. Colours are those of the thing, on any page.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Arc, Circle, Ellipse, PathPatch, Polygon
from matplotlib.path import Path
from matplotlib.transforms import Affine2D

from scale.viz.theme import mix, points

INK = "#2A2F38"
WHITE = "#FFFFFF"
PINK = "#F2A7A0"
SKIN = "#F6CFAE"

Place = tuple[float, float]


class Pen:
    """Draws in the coordinates of one small drawing."""

    def __init__(self, axes: Axes, x: float, y: float, size: float, mirrored: bool = False):
        across = -size if mirrored else size
        self.axes = axes
        self.transform = Affine2D().scale(across, -size).translate(x, y) + axes.transData

    def ellipse(self, at: Place, width: float, height: float, colour: str, **style) -> None:
        """A filled ellipse, outlined unless `linewidth=0`."""
        self._add(Ellipse(at, width, height, angle=style.pop("angle", 0)), colour, **style)

    def dot(self, at: Place, radius: float, colour: str) -> None:
        """A filled circle without outline."""
        self._add(Circle(at, radius), colour, linewidth=0)

    def polygon(self, corners: Sequence[Place], colour: str, **style) -> None:
        """A filled polygon with round corners of the line."""
        self._add(Polygon(corners, closed=True), colour, **style)

    def shape(
        self, start: Place, *curves: tuple[Place, Place, Place], colour: str, **style
    ) -> None:
        """A filled outline of cubic curves, each by two control points and its end."""
        self._add(PathPatch(_path(start, curves)), colour, **style)

    def line(self, start: Place, *curves: tuple[Place, Place, Place], **style) -> None:
        """An open line of cubic curves."""
        look = {"edgecolor": INK, "linewidth": points(1.0), "capstyle": "round", **style}
        patch = PathPatch(_path(start, curves), facecolor="none", **look)
        self.axes.add_patch(patch).set_transform(self.transform)

    def arc(
        self, at: Place, width: float, height: float, start: float, end: float, **style
    ) -> None:
        """Part of an ellipse's outline, from angle to angle in degrees."""
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
    """A sitting cat."""
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


def draw_dog(axes: Axes, x: float, y: float, size: float, fur: str = "#C8894E") -> None:
    """A sitting dog with hanging ears."""
    pen = Pen(axes, x, y, size)
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
    """A baby in a blanket, looking up; astonished, or happy."""
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


def draw_mug(axes: Axes, x: float, y: float, size: float, colour: str = "#4C86C6") -> None:
    """A mug with steam."""
    pen = Pen(axes, x, y, size)
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


def draw_lamp(axes: Axes, x: float, y: float, size: float, colour: str = "#E9B84A") -> None:
    """A table lamp."""
    pen = Pen(axes, x, y, size)
    pen.ellipse((0, -0.82), 0.86, 0.26, "#6E7682")
    pen.polygon([(-0.05, -0.8), (0.05, -0.8), (0.05, 0.2), (-0.05, 0.2)], "#6E7682")
    pen.polygon([(-0.32, 0.92), (0.32, 0.92), (0.68, 0.12), (-0.68, 0.12)], colour)
    pen.ellipse((0, 0.12), 1.36, 0.2, mix(colour, WHITE, 0.6))
