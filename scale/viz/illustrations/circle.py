"""Features as points of a circle: pull and push, twins, alignment and uniformity.

B products, T steps and the start.
"""

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyArrowPatch
from torch import Tensor

from scale.training.diagnostics import alignment, uniformity
from scale.viz.illustrations.contrast import Walk, as_products, on_circle, text_image_loss, walk
from scale.viz.theme import (
    MODALITY_COLOURS,
    NEGATIVE,
    POSITIVE,
    drawn,
    new_figure,
    points,
    shade,
    tint,
)
from scale.viz.words import Language, label

TEXT_COLOUR, IMAGE_COLOUR = MODALITY_COLOURS["text"], MODALITY_COLOURS["image"]
START = ([95.0, 230.0, 330.0], [20.0, 300.0, 110.0])
"""Degrees of three titles and their pictures; picture 3 begins beside title 1."""
TWINS = ([80.0, 96.0, 210.0, 330.0], [92.0, 84.0, 222.0, 318.0])
"""Products 1 and 2 are the same thing, entered twice."""
TWIN_CONTENT = (0, 0, 1, 2)
SHOWN = (0, 2, 5, 15, 60)
"""Steps of the small multiple."""
TEMPERATURE, RATE = 0.5, 0.3
INSIDE, OUTSIDE = 0.91, 1.09
"""Where titles and pictures are drawn, so that a true pair that has met shows both."""


@drawn
def pull_and_push(lang: Language = "en") -> Figure:
    """Three products in the plane: the forces on one title, one step, and many steps."""
    path = walk(*(on_circle(degrees) for degrees in START), max(SHOWN), RATE, TEMPERATURE)
    figure = new_figure(9.6, 5.4)
    above, below = figure.subfigures(2, 1, height_ratios=[1.55, 1])
    one, before, after = above.subplots(1, 3, width_ratios=[1.34, 1, 1])
    _forces_on_first(one, path.text_TBD[0], path.image_TBD[0], lang)
    for axes, step, key in ((before, 0, "contrast_before"), (after, 1, "contrast_after")):
        draw_circle(axes, path.text_TBD[step], path.image_TBD[step], pull=True)
        axes.set_title(label(key, lang), loc="center")
    for axes, step in zip(below.subplots(1, len(SHOWN)), SHOWN, strict=True):
        draw_circle(axes, path.text_TBD[step], path.image_TBD[step], size=6.5)
        title = label("contrast_step_loss", lang, step=step, loss=path.loss_T[step].item())
        axes.set_title(title, loc="center", fontsize=points(8.5), fontweight="normal")
    _legend(above, lang)
    return figure


@drawn
def false_negatives(lang: Language = "en") -> Figure:
    """One product entered twice: where it starts, as its own negative, and left out."""
    figure = new_figure(9.6, 3.6)
    start, counted, left_out = figure.subplots(1, 3)
    paths = twin_walks()
    for axes, path, step, key in (
        (start, paths[0], 0, "contrast_twins_start"),
        (counted, paths[0], -1, "contrast_twins_counted"),
        (left_out, paths[1], -1, "contrast_twins_left_out"),
    ):
        draw_circle(axes, path.text_TBD[step], path.image_TBD[step], room=1.42)
        axes.set_title(label(key, lang), loc="center")
        cosine = (path.image_TBD[step, 0] @ path.image_TBD[step, 1]).item()
        text = label("contrast_twins_cosine", lang, value=cosine).replace("-", "−")
        axes.text(0, 0, text, **_inside())
    _legend(figure, lang)
    return figure


def twin_walks(steps: int = 200) -> tuple[Walk, Walk]:
    """Products 1 and 2 are twins: counted as negatives of each other, and left out."""
    starts = [on_circle(degrees) for degrees in TWINS]
    content_B = torch.tensor(TWIN_CONTENT)
    return walk(*starts, steps, RATE, 0.3), walk(*starts, steps, RATE, 0.3, content_B)


@drawn
def alignment_uniformity(lang: Language = "en") -> Figure:
    """Four arrangements of eight products: aligned or not, spread or not, with both measures."""
    figure = new_figure(9.6, 3.7)
    for axes, (key, text_B2, image_B2) in zip(figure.subplots(1, 4), arrangements(), strict=True):
        draw_circle(axes, text_B2, image_B2, size=5, numbered=False)
        axes.set_title(label(key, lang), loc="center", fontsize=points(8.5))
        axes.set_ylim(-1.95, 1.27)
        features = as_products(text_B2, image_B2)
        for y, name, measure in ((-1.5, "alignment", alignment), (-1.8, "uniformity", uniformity)):
            value = f"{measure(*features):.2f}".replace("-", "−").replace("−0.00", "0.00")
            axes.text(0, y, f"{label(name, lang)} {value}", **_inside())
    _legend(figure, lang)
    return figure


def arrangements(products: int = 8) -> list[tuple[str, Tensor, Tensor]]:
    """Label, text_B2 and image_B2 of four cases: neither, only aligned, only spread, both."""
    place_B = torch.arange(products, dtype=torch.float64)
    round_B, narrow_B = 360 / products * place_B, 90 + 3 * (place_B - (products - 1) / 2)
    wrong_B = round_B.roll(3)  # every picture stands far from its title
    cases = {
        "contrast_neither": (narrow_B, narrow_B + 180),
        "contrast_aligned_only": (narrow_B, narrow_B + 1),
        "contrast_spread_only": (round_B + 5, wrong_B - 5),
        "contrast_both": (round_B + 5, round_B - 5),
    }
    return [(key, on_circle(a.tolist()), on_circle(b.tolist())) for key, (a, b) in cases.items()]


def draw_circle(
    axes: Axes,
    text_B2: Tensor,
    image_B2: Tensor,
    size: float = 9.0,
    numbered: bool = True,
    pull: bool = False,
    room: float = 1.27,
) -> None:
    """Titles as dots and pictures as squares on the unit circle, true pairs joined by a line.

    Args:
        size: of a marker, in points.
        pull: arrows against the gradient of InfoNCE: where each point goes in the next step.
        room: half the width of what is shown; the circle's radius is 1.
    """
    circle = Circle((0, 0), 1, facecolor="none", edgecolor=shade(0.2), linewidth=points(1))
    axes.add_patch(circle)
    for ends in torch.stack([INSIDE * text_B2, OUTSIDE * image_B2], dim=1):
        axes.plot(*ends.T.tolist(), color=shade(0.4), linewidth=points(0.9), zorder=1)
    if pull:
        _draw_step(axes, text_B2, image_B2)
    _draw_points(axes, INSIDE * text_B2, "o", TEXT_COLOUR, size, numbered)
    _draw_points(axes, OUTSIDE * image_B2, "s", IMAGE_COLOUR, size, numbered)
    axes.set(xlim=(-room, room), ylim=(-room, room), aspect="equal")
    axes.set_axis_off()


def _draw_points(
    axes: Axes, points_B2: Tensor, marker: str, colour: str, size: float, numbered: bool
) -> None:
    edge = {"markeredgecolor": shade(0.0), "markeredgewidth": points(0.8)}
    look = {"color": colour, "markersize": points(size), "linestyle": "none", **edge}
    radius, step = points_B2[0].norm().item(), 0.17 if marker == "s" else -0.17
    for number, point in enumerate(points_B2, start=1):
        # Numbers that would lie on each other are stacked, away from the circle.
        below = (points_B2[: number - 1] - point).norm(dim=1) < 0.14
        x, y = (point * (1 + numbered * below.sum() * step / radius)).tolist()
        axes.plot([x], [y], marker=marker, **look, zorder=3)
        if numbered:
            style = {"color": "#FFFFFF", "fontsize": points(0.78 * size), "fontweight": "bold"}
            axes.text(x, y - 0.01, f"{number}", ha="center", va="center", **style, zorder=4)


def _draw_step(axes: Axes, text_B2: Tensor, image_B2: Tensor) -> None:
    points_2B2 = torch.stack([text_B2, image_B2]).requires_grad_()
    loss = text_image_loss(*points_2B2, TEMPERATURE).mean()
    (slope_2B2,) = torch.autograd.grad(loss, points_2B2)
    for radius, place_B2, slope_B2 in zip(
        (0.76, 1.24), points_2B2.detach(), slope_2B2, strict=True
    ):
        for place, slope in zip(radius * place_B2, slope_B2, strict=True):
            move = -1.8 * RATE * slope
            if move.norm() > 0.03:
                _arrow(axes, place, place + move, shade(0.85), 1.6)


def _forces_on_first(axes: Axes, text_B2: Tensor, image_B2: Tensor, lang: Language) -> None:
    """The anchor's pull to its own picture and the pushes from the others, by the softmax.

    With p the shares of the pictures: pull 1 - p of its own, push p of each other. An arrow's
    length is its force.
    """
    anchor, share_B = text_B2[0], (image_B2 @ text_B2[0] / TEMPERATURE).softmax(0)
    axes.set_title(label("contrast_one_anchor", lang), loc="center")
    _draw_points(axes, OUTSIDE * image_B2, "s", IMAGE_COLOUR, 9, True)
    circle = Circle((0, 0), 1, facecolor="none", edgecolor=shade(0.2), linewidth=points(1))
    axes.add_patch(circle)
    for number, (image, share) in enumerate(zip(image_B2, share_B.tolist(), strict=True)):
        own = number == 0
        key, colour = (
            ("contrast_pull_force", POSITIVE) if own else ("contrast_push_force", NEGATIVE)
        )
        force, start = 1 - share if own else share, INSIDE * anchor
        chord = torch.stack([start, OUTSIDE * image]).T.tolist()
        style = {"color": tint(colour, 0.6), "linewidth": points(0.9), "linestyle": (0, (1.5, 1.2))}
        axes.plot(*chord, **style, zorder=1)
        along = (image - anchor) / (image - anchor).norm()
        if force > 0.1:
            _arrow(axes, start, start + (0.75 if own else -0.75) * force * along, colour, 2.4)
        style = {"color": colour, "fontsize": points(8), "fontweight": "bold"}
        x, y = (1.22 * image).tolist()
        text, side = label(key, lang, value=force), "left" if x > 0 else "right"
        axes.text(x, y, text, ha=side, va="center", **style)
    _draw_points(axes, INSIDE * text_B2[:1], "o", TEXT_COLOUR, 9, True)
    axes.set(xlim=(-1.5, 1.9), ylim=(-1.27, 1.27), aspect="equal")
    axes.set_axis_off()


def _arrow(axes: Axes, start: Tensor, end: Tensor, colour: str, width: float) -> None:
    style = {"arrowstyle": "-|>", "mutation_scale": points(8), "shrinkA": 0, "shrinkB": 0}
    ends = (tuple(start.tolist()), tuple(end.tolist()))
    axes.add_patch(FancyArrowPatch(*ends, color=colour, linewidth=points(width), **style, zorder=2))


def _inside() -> dict:
    """Style of words in or below a circle."""
    return {"ha": "center", "va": "center", "fontsize": points(8.5), "color": shade(0.85)}


def _legend(figure: Figure, lang: Language) -> None:
    """What the markers are, below the pictures."""
    size = points(7)
    handles = [
        Line2D([], [], marker="o", color=TEXT_COLOUR, linestyle="none", markersize=size),
        Line2D([], [], marker="s", color=IMAGE_COLOUR, linestyle="none", markersize=size),
        Line2D([], [], color=shade(0.3), linewidth=points(1)),
    ]
    names = [label(key, lang) for key in ("contrast_title", "contrast_picture", "contrast_joined")]
    figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=points(8))
