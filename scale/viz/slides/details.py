"""Slides of one product, the catalogue, the losses and the diagnosis of weights.

All fill the place of the figure on its slide (theme.place); lengths are points of `paper`, text is
at least 9 of them (14 points on the slide).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from scale.config import require
from scale.data.media import MediaError
from scale.data.product import Product, View
from scale.evaluation.bootstrap import Estimate
from scale.modalities import INDEX, MODALITIES, TASKS
from scale.studies.diagnosis import weighting_aucs
from scale.training.logging import read_metrics
from scale.viz import tiles, typeset
from scale.viz.charts import dot, heatmap, lay_flat, modality_ticks
from scale.viz.products import thumbnail
from scale.viz.registry import Sources, figure, most_complete
from scale.viz.retrieval import direction_estimates
from scale.viz.slides.results import BEST, name_ends, whole_place
from scale.viz.theme import (
    MODALITY_COLOURS,
    NEGATIVE,
    POSITIVE,
    drawn,
    place,
    points,
    sequential,
    shade,
    tint,
)
from scale.viz.tiles import Box, draw_header, draw_mel, draw_text, draw_video, log_mel
from scale.viz.training import numeric_curves, running_mean, window_of
from scale.viz.words import LANG, Language, label, term


@figure("product", on_slides=True)
def draw_product(sources: Sources, lang: Language) -> Figure:
    """Draw the most complete product of the test split."""
    return product_card(sources.test.products[most_complete(sources.test)], lang)


@drawn
def product_card(product: Product, lang: Language = LANG) -> Figure:
    """Draw all five modalities of a product: picture, title, table, frames, spectrogram."""
    width, height = place()
    figure, axes = typeset.page(width, height)
    top = 0.58 * height
    side, gap = top - tiles.HEADER, 14.0
    right = side + gap
    boxes = {
        "image": Box(0, 0, side, top),
        "text": Box(right, 0, width - right, 46),
        "table": Box(right, 50, width - right, top - 50),
        "video": Box(0, top + 8, 0.6 * width - gap, height - top - 8),
        "audio": Box(0.6 * width, top + 8, 0.4 * width, height - top - 8),
    }
    for modality, box in boxes.items():
        draw_header(axes, modality, box.x, box.y, box.width, "", lang)
        inner = Box(box.x, box.y + tiles.HEADER, box.width, box.height - tiles.HEADER)
        _draw_content(axes, product, modality, inner, lang)
    return figure


def _draw_content(axes: Axes, product: View, modality: str, box: Box, lang: Language) -> None:
    try:
        content = tiles.load(product, modality, frames=6, seconds=4.0)
    except MediaError:
        return typeset.absent_tile(axes, *box, label("broken", lang), 9)
    if content is None:
        return typeset.absent_tile(axes, *box, label(f"absent_{modality}", lang), 9)
    if modality == "image":
        typeset.picture(axes, content, *box)
    elif modality == "video":
        draw_video(axes, content, box, lang)
    elif modality == "audio":
        draw_mel(axes, log_mel(content, tiles.SAMPLE_RATE), box, -tiles.DECIBELS, 0)
    elif modality == "text":
        draw_text(axes, content, box, lang, 10)
    else:
        _draw_pairs(axes, content, box)
    return None


def _draw_pairs(axes: Axes, pairs: Sequence[tuple[str, str]], box: Box) -> None:
    """Draw the first pairs of a table in two columns."""
    row, gap = 14.0, 12.0
    rows, column = max(1, int(box.height // row)), (box.width - gap) / 2
    for k, pair in enumerate(pairs[: 2 * rows]):
        x, y = box.x + (k // rows) * (column + gap), box.y + (k % rows) * row + 10
        for text, at, colour in zip(pair, (0, 0.5), (shade(0.62), shade(1.0)), strict=True):
            text = typeset.shorten(text, 0.48 * column, 9)
            typeset.write(axes, x + at * column, y, text, 9, color=colour)


@figure("contact_sheet", on_slides=True)
def draw_contact_sheet(sources: Sources, lang: Language) -> Figure:
    """Draw the first pictured products of the test split."""
    pictured = [product for product in sources.test.products if product.image is not None]
    return contact_sheet(pictured, lang)


@drawn
def contact_sheet(products: Sequence[Product], lang: Language = LANG) -> Figure:
    """Draw as many products as fit the place, without words."""
    width, height = place()
    figure, axes = typeset.page(width, height)
    rows = max(1, round(height / 78))
    step = height / rows
    columns = int(width // step)
    for k, product in enumerate(products[: rows * columns]):
        row, column = divmod(k, columns)
        left = column * width / columns
        thumbnail(axes, product, Box(left, row * step + 2, step - 5, step - 5), lang, text_size=9)
    return figure


@figure("losses", on_slides=True)
def draw_losses(sources: Sources, lang: Language) -> Figure:
    """Draw the losses of the run."""
    return losses(read_metrics(sources.run.folder.folder), lang)


@drawn
def losses(metrics: Sequence[Mapping], lang: Language = LANG) -> Figure:
    """Draw each loss as a share of its first value, named at its end.

    Raises ValueError if there are no losses.
    """
    colours = {"contrastive": shade(0.95)}
    colours |= dict(zip(TASKS, MODALITY_COLOURS.values(), strict=True))
    curves = numeric_curves(metrics)
    shown = {name: curves[f"loss/{name}"] for name in colours if f"loss/{name}" in curves}
    require(bool(shown), "no logged losses")
    figure = whole_place()
    axes = figure.subplots()
    ends = []
    for name, (step_T, value_T) in shown.items():
        share_T = value_T / value_T[0]
        mean_T = running_mean(share_T, window_of(len(share_T)))
        axes.plot(step_T, share_T, color=tint(colours[name], 0.3), linewidth=points(0.8))
        axes.plot(step_T, mean_T, color=colours[name])
        text = name if name in TASKS else label(name, lang)
        ends.append((step_T[-1], mean_T[-1], text, colours[name]))
    axes.set(xlabel=label("step", lang), ylabel=label("on_share_of_first", lang), ylim=(0, None))
    axes.set_xlim(0, None)
    name_ends(axes, ends)
    return figure


@figure("retrieval_by_direction", on_slides=True)
def draw_directions(sources: Sources, lang: Language) -> Figure:
    """Draw instance retrieval by pair of modalities."""
    return direction_matrix(direction_estimates(sources), lang)


@drawn
def direction_matrix(
    found: Mapping[str, Estimate], lang: Language = LANG, metric: str = "Recall@10"
) -> Figure:
    """Draw the metric of each direction, query in rows, gallery in columns.

    Args:
        found: by direction, `text->image`.
    """
    value_MM = np.full((len(MODALITIES), len(MODALITIES)), np.nan)
    for name, estimate in found.items():
        start, end = name.split("->")
        if start in INDEX and end in INDEX:
            value_MM[INDEX[start], INDEX[end]] = estimate.value
    figure = whole_place()
    axes = figure.subplots()
    norm = Normalize(0, max(float(np.nanmax(value_MM, initial=0.0)), 0.05))
    heatmap(axes, value_MM, sequential(), norm, square=False)
    modality_ticks(axes, lang)
    axes.set_ylabel(label("query", lang))
    axes.xaxis.set_label_position("top")
    axes.set_xlabel(f"{label('gallery', lang)} ({metric})")
    return figure


@figure("weight_diagnosis", on_slides=True)
def draw_weight_diagnosis(sources: Sources, lang: Language) -> Figure:
    """Draw the AUC of the weightings of the weighting study."""
    study, records = sources.finished("weighting")
    return weight_diagnosis(weighting_aucs(study, records), lang)


@drawn
def weight_diagnosis(
    aucs: Mapping[str, Mapping[str, Estimate]], lang: Language = LANG, weight: str = "S'"
) -> Figure:
    """Draw the AUC of S' for good pairs against damaged ones after training with a weighting.

    Raises ValueError if it was not measured.
    """
    rows = [(name, by[weight]) for name, by in aucs.items() if by[weight].value is not None]
    require(bool(rows), "no run has measured the scores")
    rows = sorted(rows, key=lambda row: -row[1].value)[:BEST]
    figure = whole_place()
    axes = figure.subplots()
    axes.axvline(0.5, color=NEGATIVE, lw=points(1.2), zorder=1)
    for y, (_, found) in enumerate(rows):
        dot(axes, y, found, POSITIVE, ms=points(6), capsize=points(3))
    axes.set_yticks(range(len(rows)), [term(name, lang) for name, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.6)
    lay_flat(axes)
    axes.set_xlabel(f"{label('of_scores', lang)} · {label('area', lang)}")
    return figure
