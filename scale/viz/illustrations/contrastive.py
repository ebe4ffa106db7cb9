"""InfoNCE on inputs small enough to draw: points of a circle, twins, collapse (notebook 01).

B products, M modalities (five), D width, T steps and the start, N points. Where two modalities are
enough they are text and image; in a plane D = 2.
"""

from dataclasses import dataclass
from functools import cache

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from torch import Tensor, nn
from torch.nn.functional import normalize

from scale.losses.contrastive import pair_losses
from scale.modalities import INDEX, MODALITIES, PAIRS
from scale.training.health_checks import COLLAPSED, alignment, mean_cosine, uniformity
from scale.viz import typeset
from scale.viz.charts import narrow_title
from scale.viz.registry import figure
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
from scale.viz.words import LANG, Language, label

TEXT, IMAGE = INDEX["text"], INDEX["image"]
PAIR = PAIRS.index((TEXT, IMAGE))
"""Column of text and image among the ten pairs."""


def as_products(text_BD: Tensor, image_BD: Tensor) -> tuple[Tensor, Tensor]:
    """Return pooled_BMD and present_BM of products that have only a text and an image."""
    nothing_BD = torch.zeros_like(text_BD)
    features = {TEXT: text_BD, IMAGE: image_BD}
    pooled_BMD = torch.stack([features.get(m, nothing_BD) for m in range(len(MODALITIES))], dim=1)
    present_BM = torch.zeros(len(text_BD), len(MODALITIES), dtype=torch.bool)
    present_BM[:, [TEXT, IMAGE]] = True
    return pooled_BMD, present_BM


def text_image_loss(
    text_BD: Tensor, image_BD: Tensor, temperature: float = 0.07, content_B: Tensor | None = None
) -> Tensor:
    """Return loss_B, the package's InfoNCE of each product, mean of both directions.

    Args:
        content_B: an id per distinct product; products with equal ids are no negatives.
    """
    pooled_BMD, present_BM = as_products(text_BD, image_BD)
    content_id_BM = None if content_B is None else content_B[:, None].expand(-1, len(MODALITIES))
    losses = pair_losses(pooled_BMD, present_BM, temperature, content_id_BM=content_id_BM)
    return losses.loss_BP[:, PAIR]


def on_circle(degrees_B: list[float]) -> Tensor:
    """Return point_B2 of the unit circle at angles counted anticlockwise from the right."""
    angle_B = torch.deg2rad(torch.tensor(degrees_B, dtype=torch.float64))
    return torch.stack([angle_B.cos(), angle_B.sin()], dim=1)


@dataclass
class Walk:
    """Points at each step of a training."""

    text_TBD: Tensor
    image_TBD: Tensor
    loss_T: Tensor
    """Mean over the products."""


def walk(
    text_BD: Tensor,
    image_BD: Tensor,
    steps: int = 100,
    rate: float = 0.3,
    temperature: float = 0.5,
    content_B: Tensor | None = None,
) -> Walk:
    """Move free points of the unit sphere along the negative gradient of InfoNCE.

    z <- unit(z - rate * dL/dz), where L is the mean loss of the products. No encoder is involved.
    """
    points_2BD = torch.stack([text_BD, image_BD])
    seen, losses = [], []
    for _ in range(steps + 1):
        points_2BD = points_2BD.detach().requires_grad_()
        loss = text_image_loss(*points_2BD, temperature, content_B).mean()
        (slope_2BD,) = torch.autograd.grad(loss, points_2BD)
        seen.append(points_2BD.detach())
        losses.append(loss.detach())
        points_2BD = normalize(points_2BD - rate * slope_2BD, dim=-1)
    path_T2BD = torch.stack(seen)
    return Walk(path_T2BD[:, 0], path_T2BD[:, 1], torch.stack(losses))


class Towers(nn.Module):
    """Two small encoders, one for texts and one for images, onto the unit sphere."""

    def __init__(self, inputs: int = 8, hidden: int = 32, width: int = 2):
        super().__init__()
        self.text, self.image = (
            nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, width))
            for _ in range(2)
        )

    def forward(self, text_BF: Tensor, image_BF: Tensor) -> tuple[Tensor, Tensor]:
        """Return unit features text_BD and image_BD."""
        return normalize(self.text(text_BF), dim=1), normalize(self.image(image_BF), dim=1)


def two_views(products: int = 64, inputs: int = 8, noise: float = 0.5) -> tuple[Tensor, Tensor]:
    """Return text_BF and image_BF: a shared random vector per product plus independent noise."""
    shared_BF = torch.randn(products, inputs)
    return tuple(shared_BF + noise * torch.randn(products, inputs) for _ in range(2))


@cache
def train_towers(push: bool, steps: int = 300, rate: float = 0.01, seed: int = 0) -> Walk:
    """Train `Towers` on `two_views` in the plane. The global random state is unchanged.

    Args:
        push: train with InfoNCE (temperature 0.2). Otherwise the loss is the squared distance of
            the true pairs, without negatives.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        views, towers = two_views(), Towers()
    optimiser = torch.optim.Adam(towers.parameters(), rate)
    texts, images, losses = [], [], []
    for _ in range(steps + 1):
        text_BD, image_BD = towers(*views)
        if push:
            loss = text_image_loss(text_BD, image_BD, temperature=0.2).mean()
        else:
            loss = (text_BD - image_BD).square().sum(1).mean()
        texts.append(text_BD.detach())
        images.append(image_BD.detach())
        losses.append(loss.detach())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return Walk(torch.stack(texts), torch.stack(images), torch.stack(losses))


def gaussian_logits(products: int, information: float, inputs: int = 4, seed: int = 0) -> Tensor:
    """Return logits_BB of the optimal critic for two correlated Gaussian views.

    With correlation r in each of F coordinates the mutual information is I = -F/2 log(1 - r^2)
    nats, and the optimal logit of text x and image y is log p(x, y) / (p(x) p(y)).
    """
    unexplained = float(torch.exp(torch.tensor(-2 * information / inputs)))
    correlation = (1 - unexplained) ** 0.5
    generator = torch.Generator().manual_seed(seed)
    x_BF, noise_BF = torch.randn(2, products, inputs, generator=generator)
    y_BF = correlation * x_BF + unexplained**0.5 * noise_BF
    squares_BB = x_BF.square().sum(1)[:, None] + y_BF.square().sum(1)[None]
    cross_BB = 2 * correlation * x_BF @ y_BF.T - correlation**2 * squares_BB
    return information + cross_BB / (2 * unexplained)


TEXT_COLOUR, IMAGE_COLOUR = MODALITY_COLOURS["text"], MODALITY_COLOURS["image"]
START = ([95.0, 230.0, 330.0], [20.0, 300.0, 110.0])
"""Angles in degrees of three titles and their pictures; picture 3 starts beside title 1."""
TWINS = ([80.0, 96.0, 210.0, 330.0], [92.0, 84.0, 222.0, 318.0])
"""Products 1 and 2 are the same product, entered twice."""
TWIN_CONTENT = (0, 0, 1, 2)
SHOWN = (0, 2, 5, 15, 60)
"""Steps of the lower row of `pull_and_push`."""
TEMPERATURE, RATE = 0.5, 0.3
INSIDE, OUTSIDE = 0.91, 1.09
"""Radii of titles and pictures, so that both are visible when a true pair coincides."""


@cache
def start_walk() -> Walk:
    return walk(*(on_circle(degrees) for degrees in START), max(SHOWN), RATE, TEMPERATURE)


@figure("pull_and_push")
@drawn
def pull_and_push(lang: Language = LANG) -> Figure:
    """Draw three products on a circle: the forces on one title, one step, and many steps."""
    path = start_walk()
    figure = new_figure(9.6, 5.4, dense=True)
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
    draw_legend(above, lang)
    return figure


@figure("false_negatives")
@drawn
def false_negatives(lang: Language = LANG) -> Figure:
    """Draw a product entered twice: at the start, as its own negative, and excluded."""
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
    draw_legend(figure, lang)
    return figure


@cache
def twin_walks(steps: int = 200) -> tuple[Walk, Walk]:
    """Return two walks of a duplicated product: duplicates as negatives, and excluded."""
    starts = [on_circle(degrees) for degrees in TWINS]
    content_B = torch.tensor(TWIN_CONTENT)
    return walk(*starts, steps, RATE, 0.3), walk(*starts, steps, RATE, 0.3, content_B)


@figure("alignment_uniformity")
@drawn
def alignment_uniformity(lang: Language = LANG) -> Figure:
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
    draw_legend(figure, lang)
    return figure


def arrangements(products: int = 8) -> list[tuple[str, Tensor, Tensor]]:
    """Return label, text_B2 and image_B2 of four cases: neither, aligned, uniform, both."""
    place_B = torch.arange(products, dtype=torch.float64)
    round_B, narrow_B = 360 / products * place_B, 90 + 3 * (place_B - (products - 1) / 2)
    wrong_B = round_B.roll(3)  # every picture is far from its title
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
    """Draw titles as dots and pictures as squares on the unit circle, true pairs joined by a line.

    Args:
        size: of a marker, in points.
        pull: draw the next step, against the gradient of InfoNCE, as arrows.
        room: half the width of the panel; the circle's radius is 1.
    """
    _draw_unit_circle(axes)
    for ends in torch.stack([INSIDE * text_B2, OUTSIDE * image_B2], dim=1):
        axes.plot(*ends.T.tolist(), color=shade(0.4), linewidth=points(0.9), zorder=1)
    if pull:
        _draw_step(axes, text_B2, image_B2)
    _draw_points(axes, INSIDE * text_B2, "o", TEXT_COLOUR, size, numbered)
    _draw_points(axes, OUTSIDE * image_B2, "s", IMAGE_COLOUR, size, numbered)
    axes.set(xlim=(-room, room), ylim=(-room, room), aspect="equal")
    axes.set_axis_off()


def _draw_unit_circle(axes: Axes) -> None:
    look = {"facecolor": "none", "edgecolor": shade(0.2), "linewidth": points(1)}
    axes.add_patch(Circle((0, 0), 1, **look))


def _draw_points(
    axes: Axes, points_B2: Tensor, marker: str, colour: str, size: float, numbered: bool
) -> None:
    edge = {"markeredgecolor": shade(0.0), "markeredgewidth": points(0.8)}
    look = {"color": colour, "markersize": points(size), "linestyle": "none", **edge}
    radius, step = points_B2[0].norm().item(), 0.17 if marker == "s" else -0.17
    for number, point in enumerate(points_B2, start=1):
        # Numbers that would overlap are stacked away from the circle.
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
                typeset.arrow(axes, place.tolist(), (place + move).tolist(), shade(0.85), 1.6, 8)


def _forces_on_first(axes: Axes, text_B2: Tensor, image_B2: Tensor, lang: Language) -> None:
    """Draw the attraction of an anchor to its picture and the repulsion from the others.

    With softmax probabilities p of the pictures the attraction is 1 - p of its own picture, the
    repulsion p of each other picture. The length of an arrow is proportional to its force.
    """
    anchor, share_B = text_B2[0], (image_B2 @ text_B2[0] / TEMPERATURE).softmax(0)
    axes.set_title(label("contrast_one_anchor", lang), loc="center")
    _draw_points(axes, OUTSIDE * image_B2, "s", IMAGE_COLOUR, 9, True)
    _draw_unit_circle(axes)
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
            end = start + (0.75 if own else -0.75) * force * along
            typeset.arrow(axes, start.tolist(), end.tolist(), colour, 2.4, 8)
        style = {"color": colour, "fontsize": points(8), "fontweight": "bold"}
        x, y = (1.22 * image).tolist()
        text, side = label(key, lang, value=force), "left" if x > 0 else "right"
        axes.text(x, y, text, ha=side, va="center", **style)
    _draw_points(axes, INSIDE * text_B2[:1], "o", TEXT_COLOUR, 9, True)
    axes.set(xlim=(-1.5, 1.9), ylim=(-1.27, 1.27), aspect="equal")
    axes.set_axis_off()


def _inside() -> dict:
    """Return the style of text in or below a circle."""
    return {"ha": "center", "va": "center", "fontsize": points(8.5), "color": shade(0.85)}


def draw_legend(figure: Figure, lang: Language) -> None:
    """Draw a legend of the markers below the panels."""
    size = points(7)
    handles = [
        Line2D([], [], marker="o", color=TEXT_COLOUR, linestyle="none", markersize=size),
        Line2D([], [], marker="s", color=IMAGE_COLOUR, linestyle="none", markersize=size),
        Line2D([], [], color=shade(0.3), linewidth=points(1)),
    ]
    names = [label(key, lang) for key in ("contrast_title", "contrast_picture", "contrast_joined")]
    figure.legend(handles, names, loc="outside lower center", ncols=3)


COLLAPSE_STEPS = (0, 10, 40, 200)
COLLAPSE_ROWS = (("contrast_pull_only", False, NEGATIVE), ("contrast_pull_push", True, POSITIVE))


@figure("collapse")
@drawn
def collapse(lang: Language = LANG, walks: tuple[Walk, Walk] | None = None) -> Figure:
    """Draw trainings without and with negatives: points at four steps, and the mean cosine.

    Args:
        walks: trainings without and with negatives, of at least 200 steps; trained if None.
    """
    walks = walks or tuple(train_towers(push, max(COLLAPSE_STEPS)) for _, push, _ in COLLAPSE_ROWS)
    figure = new_figure(10.2, 4.1)
    grid = figure.add_gridspec(2, len(COLLAPSE_STEPS) + 1, width_ratios=[1, 1, 1, 1, 1.9])
    for row, (walk, (key, _, colour)) in enumerate(zip(walks, COLLAPSE_ROWS, strict=True)):
        for column, step in enumerate(COLLAPSE_STEPS):
            axes = figure.add_subplot(grid[row, column])
            _draw_snapshot(axes, walk, step)
            if not row:
                title = label("contrast_step", lang, step=step)
                axes.set_title(title, loc="center", fontweight="normal", fontsize=points(8.5))
            if not column:
                style = {"rotation": 90, "ha": "center", "va": "center", "fontweight": "bold"}
                axes.text(-1.42, 0, label(key, lang), color=colour, fontsize=points(9), **style)
    _draw_mean_cosines(figure.add_subplot(grid[:, -1]), walks, lang)
    return figure


def mean_cosines(walk: Walk) -> list[float]:
    """Return the mean cosine between different products at each step, over both modalities."""
    seen = zip(walk.text_TBD, walk.image_TBD, strict=True)
    return [sum(mean_cosine(*as_products(*pair)).values()) / 2 for pair in seen]


def _draw_snapshot(axes: Axes, walk: Walk, step: int) -> None:
    _draw_unit_circle(axes)
    for radius, points_N2, marker, modality in (
        (0.9, walk.text_TBD[step], "o", "text"),
        (1.1, walk.image_TBD[step], "s", "image"),
    ):
        x_N, y_N = (radius * points_N2).T.tolist()
        look = {"color": MODALITY_COLOURS[modality], "markersize": points(2.6), "alpha": 0.75}
        axes.plot(x_N, y_N, marker, **look, markeredgewidth=0)
    axes.set(xlim=(-1.25, 1.25), ylim=(-1.25, 1.25), aspect="equal")
    axes.set_axis_off()


def _draw_mean_cosines(axes: Axes, walks: tuple[Walk, Walk], lang: Language) -> None:
    for walk, (key, _, colour) in zip(walks, COLLAPSE_ROWS, strict=True):
        axes.plot(mean_cosines(walk), color=colour, label=label(key, lang))
    axes.axhline(COLLAPSED, color=shade(0.5), linewidth=points(1), linestyle=(0, (3, 2)))
    text = label("contrast_warns", lang, value=COLLAPSED)
    style = {"fontsize": points(7.5), "color": shade(0.7), "ha": "right", "va": "bottom"}
    axes.text(1, COLLAPSED + 0.02, text, transform=axes.get_yaxis_transform(), **style)
    axes.set(ylim=(-0.1, 1.16), xlabel=label("step", lang))
    axes.set_title(narrow_title(label("contrast_mean_cosine", lang), 165))
    axes.legend(loc="center right")
