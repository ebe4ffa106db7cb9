"""The first slide: a child learns without names which two of three belong together."""

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from scale.viz import typeset
from scale.viz.illustrations.drawings import draw_cat, draw_child, draw_dog, draw_lamp, draw_mug
from scale.viz.theme import MODALITY_COLOURS, NEGATIVE, POSITIVE, drawn, points, shade, tint
from scale.viz.words import Language, label

WIDTH, HEIGHT = 720.0, 390.0
COLUMN, MARGIN, STEP = 226.0, 21.0, 70.0
GINGER, GREY = "#E8994A", "#9AA5B4"
Sketch = Callable[[Axes, float, float, float], None]


def _ginger(axes: Axes, x: float, y: float, size: float) -> None:
    draw_cat(axes, x, y, size, GINGER, striped=True)


def _grey(axes: Axes, x: float, y: float, size: float) -> None:
    draw_cat(axes, x, y, size, GREY, mirrored=True, asleep=True)


@drawn
def contrastive_idea(lang: Language = "en") -> Figure:
    """Two rows of three scenes: what is seen, pull and push, what is near in the end.

    Above a child with two cats and a dog; below a model with a title, its picture and another
    product's picture.
    """
    figure, axes = typeset.page(WIDTH, HEIGHT)
    titles = ("idea_see", "idea_pull_push", "idea_near")
    for place, key in enumerate(titles):
        centre = _centre(place)
        text = label(key, lang)
        typeset.write(axes, centre, 24, text, 10.5, ha="center", fontweight="bold")
    for place in (1, 2):
        for y in (108, 312):
            _next(axes, _centre(place) - COLUMN / 2 - 6 * (place - 1), y)
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
        _sight(axes, (first + 8 * (place - 1), 148), (x, 119))
    draw_child(axes, first, 180, 30)

    for shift, draw in zip((-STEP, 0, STEP), things, strict=True):
        draw(axes, middle + shift, 108, 33)
    _forces(axes, middle, 162, lang)

    _near(axes, last - 38, 82, 136, 80)
    for x, draw in zip((last - 70, last - 8, last + STEP + 12), things, strict=True):
        draw(axes, x, 82, 31)
    _sight(axes, (last - 8, 148), (last - 38, 126))
    _sight(axes, (last + 8, 148), (last + STEP + 6, 119))
    draw_child(axes, last, 180, 30, happy=True)
    for place, key in enumerate(("idea_no_names", "idea_compare", "idea_learned")):
        _caption(axes, _centre(place), 232, label(key, lang))


def _product_row(axes: Axes, lang: Language) -> None:
    y = 312.0
    for place, shifts in enumerate(((-STEP, 0, STEP), (-STEP, 0, STEP), (-69, -9, STEP + 12))):
        centre = _centre(place)
        if place == 2:
            _near(axes, centre - 40, y, 132, 70)
        _card(axes, centre + shifts[0], y, lang)
        for shift, draw in zip(shifts[1:], (draw_mug, draw_lamp), strict=True):
            _photo(axes, centre + shift, y, draw)
    for place, key in enumerate(("idea_title", "idea_own", "idea_other")):
        x = _centre(0) + STEP * (place - 1)
        for line, text in enumerate(label(key, lang).split("\n")):
            typeset.write(axes, x, y + 42 + 11 * line, text, 7.5, ha="center", color=shade(0.75))
    _forces(axes, _centre(1), y + 40, lang)
    _caption(axes, _centre(2), y + 57, label("idea_search", lang))


def _caption(axes: Axes, x: float, y: float, text: str) -> None:
    typeset.write(axes, x, y, text, 8.5, ha="center", color=shade(0.75))


def _card(axes: Axes, x: float, y: float, lang: Language) -> None:
    """A title as a small page of writing."""
    colour = MODALITY_COLOURS["text"]
    frame = {"boxstyle": "round,pad=0,rounding_size=4", "linewidth": points(1.2)}
    page = FancyBboxPatch((x - 27, y - 22), 54, 44, **frame, facecolor=tint(colour, 0.1))
    page.set_edgecolor(colour)
    axes.add_patch(page)
    for line, text in enumerate(label("idea_title_words", lang).split("\n")):
        style = {"ha": "center", "color": colour, "fontweight": "bold"}
        typeset.write(axes, x, y - 3 + 13 * line, text, 8.5, **style)


def _photo(axes: Axes, x: float, y: float, draw: Sketch) -> None:
    """A thing in a picture frame."""
    colour = MODALITY_COLOURS["image"]
    typeset.box(axes, x - 24, y - 26, 48, 52, facecolor=tint(colour, 0.1), edgecolor=colour)
    draw(axes, x, y + 1, 19)


def _forces(axes: Axes, x: float, y: float, lang: Language) -> None:
    """Arrows towards each other below the first two, apart below the last two."""
    for key, starts, colour in (
        ("idea_pull", ((-STEP, -41), (-6, -29)), POSITIVE),
        ("idea_push", ((38, 8), (38, STEP)), NEGATIVE),
    ):
        for start, end in starts:
            _arrow(axes, (x + start, y), (x + end, y), colour)
        centre = x - 38 if colour == POSITIVE else x + 39
        style = {"ha": "center", "color": colour, "fontweight": "bold"}
        typeset.write(axes, centre, y + 17, label(key, lang), 9, **style)


def _arrow(axes: Axes, start: tuple, end: tuple, colour: str) -> None:
    style = {"arrowstyle": "-|>", "mutation_scale": points(11), "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch(start, end, color=colour, linewidth=points(2.4), **style))


def _next(axes: Axes, x: float, y: float) -> None:
    """A small triangle: on to the next scene."""
    axes.plot([x], [y], marker=">", color=shade(0.35), markersize=points(7), linestyle="none")


def _sight(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    look = {"color": shade(0.35), "linewidth": points(0.9), "linestyle": (0, (2, 2))}
    axes.plot([start[0], end[0]], [start[1], end[1]], **look)


def _near(axes: Axes, x: float, y: float, width: float, height: float) -> None:
    """A soft ring around what belongs together."""
    corner, shape = (x - width / 2, y - height / 2), "round,pad=0,rounding_size=22"
    ring = FancyBboxPatch(corner, width, height, boxstyle=shape, zorder=0)
    ring.set(facecolor=tint(POSITIVE, 0.1), edgecolor=POSITIVE)
    ring.set(linewidth=points(1.4), linestyle=(0, (4, 2)))
    axes.add_patch(ring)
