"""Slides of the method: idea, designs, pretext tasks, scores, weights.

All fill the place of the figure on its slide (theme.place); lengths are points of `paper`, text is
at least 9 of them (14 points on the slide). L word pieces or vectors of a sequence.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from scale.config import FeatureConfig
from scale.data.features import to_pixels
from scale.data.media import MediaError, fit_image
from scale.data.product import View
from scale.modalities import INDEX, MODALITIES, SPECS
from scale.model.scores import Scores, inter_modality_scores
from scale.studies.context import Reconstruction
from scale.studies.systems.fusion import LANGUAGE, PERCEPTION
from scale.viz import tiles, typeset
from scale.viz.charts import heatmap
from scale.viz.illustrations import contrastive_idea as idea
from scale.viz.illustrations.masked_words import ColourGuess, condition, guess_colour
from scale.viz.illustrations.masking import (
    TaskView,
    draw_log_mel,
    draw_pieces,
    ranked,
    task_views,
)
from scale.viz.illustrations.pretraining import WeightedTerms, run_terms
from scale.viz.illustrations.scores import (
    TEMPERATURE,
    features_of_cosine,
    gradient_descent,
    weighted_cosine,
)
from scale.viz.products import draw_wave, thumbnail
from scale.viz.registry import Sources, figure, most_complete
from scale.viz.scores import frame_roles, score_colours
from scale.viz.theme import (
    HIT,
    MODALITY_COLOURS,
    NEGATIVE,
    POSITIVE,
    drawn,
    new_figure,
    place,
    points,
    shade,
    tint,
)
from scale.viz.tiles import Box
from scale.viz.words import LANG, Language, label


@figure("contrastive_idea", on_slides=True)
@drawn
def contrastive_idea(lang: Language = LANG) -> Figure:
    """Draw two rows of three scenes, a child with animals and a model with products."""
    width, height = place()
    figure, axes = typeset.page(width, height)
    column, middle = width / 3, 0.55 * height
    for k, key in enumerate(("idea_see", "idea_pull_push", "idea_near")):
        lines = typeset.wrap(label(key, lang), column - 8, 9.5, 2, "bold")
        x = (k + 0.5) * column
        typeset.write_lines(axes, x, 11, lines, 9.5, 12, ha="center", fontweight="bold")
    axes.plot([4, width - 4], [middle] * 2, color=shade(0.2), linewidth=points(0.8))
    heading = label("idea_products", lang)
    typeset.write(axes, 4, middle + 14, heading, 9.5, fontweight="bold")
    _child_row(axes, column, middle - 16, lang)
    _product_row(axes, column, 0.5 * (middle + 14 + height), lang)
    return figure


def _child_row(axes: Axes, column: float, bottom: float, lang: Language) -> None:
    step, size, y = 0.29 * column, 0.13 * column, 0.5 * (28 + bottom) - 14
    draw = (
        lambda x: idea.draw_cat(axes, x, y, size, idea.GINGER, striped=True),
        lambda x: idea.draw_cat(axes, x, y, size, idea.GREY, mirrored=True, asleep=True),
        lambda x: idea.draw_dog(axes, x, y, size),
    )
    for k, shifts in enumerate(((-step, 0, step), (-step, 0, step), (-step, -0.2 * step, step))):
        x = (k + 0.5) * column
        if k == 2:
            ring = Box(x - 0.6 * step, y, 2.1 * step, 2.7 * size)
            _ring(axes, ring)
        for shift, animal in zip(shifts, draw, strict=True):
            animal(x + shift)
        if k == 1:
            _forces(axes, x, y + 1.9 * size, step, lang)
        else:
            idea.draw_child(axes, x, bottom - 0.5 * size, 0.85 * size, happy=k == 2)


def _product_row(axes: Axes, column: float, y: float, lang: Language) -> None:
    step, half = 0.31 * column, 0.125 * column
    y -= 8
    names = [label(key, lang).split("\n") for key in ("idea_title", "on_own", "on_other")]
    for k, shifts in enumerate(((-step, 0, step), (-step, 0, step), (-step, -0.1 * step, step))):
        x = (k + 0.5) * column
        if k == 2:
            _ring(axes, Box(x - 0.55 * step, y, 2.05 * step, 3.1 * half))
        _card(axes, x + shifts[0], y, half, lang)
        for shift, sketch in zip(shifts[1:], (idea.draw_mug, idea.draw_lamp), strict=True):
            colour = MODALITY_COLOURS["image"]
            corner = x + shift - half, y - half
            look = {"facecolor": tint(colour, 0.1), "edgecolor": colour}
            typeset.box(axes, *corner, 2 * half, 2 * half, **look)
            sketch(axes, x + shift, y + 1, 0.78 * half)
        if k == 1:
            _forces(axes, x, y + 1.45 * half, step, lang)
        if k == 0:
            for shift, lines in zip(shifts, names, strict=True):
                style = {"ha": "center", "color": shade(0.75)}
                typeset.write_lines(axes, x + shift, y + half + 12, lines, 9, 11, **style)


def _card(axes: Axes, x: float, y: float, half: float, lang: Language) -> None:
    colour = MODALITY_COLOURS["text"]
    look = {"facecolor": tint(colour, 0.1), "edgecolor": colour, "linewidth": points(1.2)}
    typeset.rounded_box(axes, x - half, y - half, 2 * half, 2 * half, 3, **look)
    style = {"ha": "center", "color": colour, "fontweight": "bold"}
    words = label("idea_title_words", lang).split("\n")
    typeset.write_lines(axes, x, y - 2, words, 9.5, 12, **style)


def _ring(axes: Axes, box: Box) -> None:
    """Draw a dashed ring around a centre; `box` has x and y in its middle."""
    look = {"facecolor": shade(0.05), "edgecolor": POSITIVE, "zorder": 0}
    look |= {"linewidth": points(1.4), "linestyle": (0, (4, 2))}
    corner = box.x - box.width / 2, box.y - box.height / 2
    typeset.rounded_box(axes, *corner, box.width, box.height, 12, **look)


def _forces(axes: Axes, x: float, y: float, step: float, lang: Language) -> None:
    """Draw attraction below the first two items and repulsion below the last two."""
    for key, ends, colour in (
        ("idea_pull", ((-step, -0.62 * step), (-0.1 * step, -0.48 * step)), POSITIVE),
        ("idea_push", ((0.5 * step, 0.1 * step), (0.6 * step, step)), NEGATIVE),
    ):
        for start, end in ends:
            typeset.arrow(axes, (x + start, y), (x + end, y), colour, 2.0, 9, zorder=1)
        left = key == "idea_pull"
        style = {"ha": "right" if left else "left", "color": colour, "fontweight": "bold"}
        typeset.write(axes, x - 3 if left else x + 4, y + 14, label(key, lang), 9, **style)


def draw_icon(axes: Axes, product: View, modality: str, box: Box) -> None:
    """Draw a modality of a product in a square: its picture or its sound, or a sign for words."""
    colour = MODALITY_COLOURS[modality]
    look = {"facecolor": tint(colour, 0.1), "edgecolor": colour, "linewidth": points(1.1)}
    try:
        content = tiles.load(product, modality, frames=3, seconds=4.0)
    except MediaError:
        content = None
    if content is None:
        return typeset.absent_tile(axes, *box, "")
    typeset.box(axes, *box, **look)
    inner = Box(box.x + 1.2, box.y + 1.2, box.width - 2.4, box.height - 2.4)
    if modality in ("image", "video"):
        shown = content if modality == "image" else content[len(content) // 2]
        typeset.picture(axes, shown, *inner)
    elif modality == "audio":
        draw_wave(axes, content, inner, colour)
    else:
        line = {"color": colour, "linewidth": points(1.4)}
        for k, share in enumerate((0.8, 0.65, 0.72)):
            y = box.y + (k + 1) * box.height / 4
            axes.plot([box.x + 0.14 * box.width, box.x + share * box.width], [y, y], **line)
        if modality == "table":
            x = box.x + 0.4 * box.width
            look = {"color": tint(colour, 0.1), "linewidth": points(2.4)}
            axes.plot([x, x], [box.y + 2, box.y + box.height - 2], **look)
    return None


@figure("streams", on_slides=True)
def draw_streams(sources: Sources, lang: Language) -> Figure:
    """Draw the four designs with the most complete test product as input."""
    return streams(sources.test.products[most_complete(sources.test)], lang)


@drawn
def streams(product: View, lang: Language = LANG) -> Figure:
    """Draw four designs on one product: boxes that share a Transformer, and their losses."""
    width, height = place()
    figure, axes = typeset.page(width, height)
    names = ("stream_single", "stream_two", "stream_towers", "stream_scale")
    gap = 16.0
    column = (width - 3 * gap) / 4
    for k, name in enumerate(names):
        _draw_design(axes, Box(k * (column + gap), 0, column, height), name, product, lang)
    return figure


def _draw_design(axes: Axes, box: Box, name: str, product: View, lang: Language) -> None:
    typeset.write(axes, box.x, 12, label(name, lang), 12, fontweight="bold")
    examples = label(f"on_{name}", lang)
    typeset.write(axes, box.x, 25, examples, 9, color=shade(0.7))
    step = box.width / len(MODALITIES)
    side = min(step - 3, 24.0)
    tokens, pill, loss = box.height - side - 1, 17.0, 33.0
    low, high = loss + pill + 9, tokens - 9
    middle = 0.5 * (low + high)
    x_M = box.x + (np.arange(len(MODALITIES)) + 0.5) * step
    for x, modality in zip(x_M, MODALITIES, strict=True):
        draw_icon(axes, product, modality, Box(x - side / 2, tokens, side, side))
        for start, end in ((tokens, high), (low, loss + pill)):
            typeset.arrow(axes, (x, start), (x, end), shade(0.6), 1.0, 6, zorder=1)
    alone = tuple((m,) for m in MODALITIES)
    if name == "stream_scale":
        _layer(axes, box, alone, middle + pill / 2 + 9, high)
        for x in x_M:
            ends = (x, middle + pill / 2 + 9), (x, middle + pill / 2)
            typeset.arrow(axes, *ends, shade(0.6), 1.0, 6, zorder=1)
        _pill(axes, box, middle - pill / 2, pill, label("stream_ten_contrast", lang))
        _layer(axes, box, (MODALITIES,), low, middle - pill / 2 - 4, label("on_joint", lang))
    elif name == "stream_two":
        _layer(axes, box, (LANGUAGE, PERCEPTION), low, high)
        _pill(axes, box, middle - pill / 2, pill, label("stream_cross", lang), strong=False)
    elif name == "stream_towers":
        _layer(axes, box, alone, low, high)
    else:
        _layer(axes, box, (MODALITIES,), low, high, label("on_all_attend", lang))
    key = {"stream_scale": "stream_masked", "stream_towers": "stream_contrast"}
    _pill(axes, box, loss, pill, label(key.get(name, "on_masked"), lang))


def _layer(
    axes: Axes,
    box: Box,
    groups: tuple[tuple[str, ...], ...],
    top: float,
    bottom: float,
    text: str = "",
) -> None:
    """Draw a box per group of modalities that share a Transformer."""
    step = box.width / len(MODALITIES)
    for group in groups:
        colour = MODALITY_COLOURS[group[0]] if len(group) == 1 else shade(0.55)
        look = {"facecolor": tint(colour, 0.16), "edgecolor": colour, "linewidth": points(1.2)}
        x, width = box.x + INDEX[group[0]] * step + 1.5, len(group) * step - 3
        typeset.rounded_box(axes, x, top, width, bottom - top, **look)
    lines = text.split("\n")
    y = 0.5 * (top + bottom) + 3 - 6 * (len(lines) - 1)
    style = {"ha": "center", "color": shade(0.9)}
    typeset.write_lines(axes, box.x + box.width / 2, y, lines, 9.5, 12, **style)


def _pill(axes: Axes, box: Box, top: float, height: float, text: str, strong: bool = True) -> None:
    look = {"facecolor": shade(0.9) if strong else shade(0.0), "edgecolor": shade(0.8)}
    typeset.rounded_box(axes, box.x, top, box.width, height, **look, zorder=4)
    style = {"ha": "center", "fontweight": "bold", "zorder": 5}
    ink = shade(0.0) if strong else shade(0.9)
    typeset.write(axes, box.x + box.width / 2, top + height - 5, text, 9, color=ink, **style)


@figure("pretext_tasks", on_slides=True)
def draw_pretext_tasks(sources: Sources, lang: Language) -> Figure:
    """Draw the tasks on the most complete test product."""
    return pretext_tasks(task_views(sources), sources.run.config.features, lang)


@drawn
def pretext_tasks(
    views: dict[str, TaskView], config: FeatureConfig, lang: Language = LANG
) -> Figure:
    """Draw the five tasks on one product, a column each: the input with a gap, the prediction.

    Visible regions and frames are drawn as they are; predicted ones as the colours of the features.
    """
    width, height = place()
    figure, axes = typeset.page(width, height)
    stages = {"hidden": "on_hidden", "predicted": "on_predicted"}
    left = 8 + max(typeset.text_width(label(key, lang), 9, "bold") for key in stages.values())
    gap, top = 9.0, 31.0
    column = (width - left - (len(MODALITIES) - 1) * gap) / len(MODALITIES)
    row = (height - top - 8) / 2
    for k, key in enumerate(stages.values()):
        y = top + k * (row + 8) + 12
        typeset.write(axes, 0, y, label(key, lang), 9, fontweight="bold", color=shade(0.8))
    for k, modality in enumerate(MODALITIES):
        x, colour = left + k * (column + gap), MODALITY_COLOURS[modality]
        typeset.write(axes, x, 11, label(modality, lang), 11, fontweight="bold", color=colour)
        typeset.write(axes, x, 24, SPECS[modality].task, 9.5, color=colour)
        for number, stage in enumerate(stages):
            box = Box(x, top + number * (row + 8), column, row)
            if modality in views:
                _draw_task(axes, views[modality], stage, box, modality, config)
            else:
                typeset.absent_tile(axes, *box, label(f"absent_{modality}", lang), 9)
    return figure


def _draw_task(
    axes: Axes, view: TaskView, stage: str, box: Box, modality: str, config: FeatureConfig
) -> None:
    found = view.content
    if not isinstance(found, Reconstruction):
        draw_pieces(axes, found, stage, box, MODALITY_COLOURS[modality])
    elif modality == "audio":
        mel_LF = found.guess_LF["all"] if stage == "predicted" else found.truth_LF
        draw_log_mel(axes, mel_LF, found.hidden_L, stage, box)
    elif modality == "image":
        _draw_image(axes, found, stage, box, config)
    else:
        _draw_clip(axes, found, stage, box, config)


def _draw_image(
    axes: Axes, found: Reconstruction, stage: str, box: Box, config: FeatureConfig
) -> None:
    """Draw the picture; its hidden regions are hatched, or have the predicted colours."""
    side = min(box.width, box.height)
    box = Box(box.x, box.y, side, side)
    typeset.picture(axes, fit_image(tiles.load(found.product, "image"), 480), *box)
    if stage == "media":
        return typeset.box(axes, *box)
    guess_LF = found.guess_LF.get("all" if stage == "predicted" else stage, found.truth_LF)
    guess_HWC = to_pixels(guess_LF, config.image_features, config.patch_size)
    count = round(len(found.hidden_L) ** 0.5)
    cell, pixels = side / count, guess_HWC.shape[0] // count
    for at in np.flatnonzero(found.hidden_L):
        row, column = divmod(int(at), count)
        region = Box(box.x + column * cell, box.y + row * cell, cell, cell)
        part = np.s_[row * pixels : (row + 1) * pixels, column * pixels : (column + 1) * pixels]
        _draw_hidden(axes, stage, region, guess_HWC[part], "image")
    return typeset.box(axes, *box)


def _draw_hidden(axes: Axes, stage: str, box: Box, guess_HWC: np.ndarray, modality: str) -> None:
    colour = MODALITY_COLOURS[modality]
    if stage == "hidden":
        look = {"facecolor": shade(0.1), "edgecolor": shade(0.45), "hatch": "////", "zorder": 3}
        typeset.box(axes, *box, **look)
        return
    extent = (box.x, box.x + box.width, box.y + box.height, box.y)
    axes.imshow(guess_HWC, extent=extent, aspect="auto", zorder=2, interpolation="bilinear")
    typeset.box(axes, *box, edgecolor=colour, linewidth=points(1.0), zorder=3)


def _draw_clip(
    axes: Axes, found: Reconstruction, stage: str, box: Box, config: FeatureConfig
) -> None:
    """Draw the frames row by row in time; hidden ones are hatched, or predicted."""
    count = len(found.hidden_L)
    frames = tiles.load(found.product, "video", count)
    columns = int(np.ceil(count**0.5))
    side = min(box.width, box.height) / columns
    for at in range(count):
        row, column = divmod(at, columns)
        corner = box.x + column * side, box.y + row * side
        shown = typeset.picture(axes, frames[at], *corner, side - 2, side - 2)
        if found.hidden_L[at]:
            vector_1F = found.guess_LF["all"][at : at + 1]
            guess_HWC = to_pixels(vector_1F, config.video_features, config.frame_size)
            _draw_hidden(axes, stage, Box(*shown), guess_HWC, "video")


@figure("word_prediction", on_slides=True)
def draw_word_prediction(sources: Sources, lang: Language) -> Figure:
    """Draw the predicted colour of a test product."""
    return word_prediction(guess_colour(sources), lang)


@drawn
def word_prediction(found: ColourGuess, lang: Language = LANG) -> Figure:
    """Draw a product, its title with a blank, and the probable words by what the model is shown."""
    width, height = place()
    figure, axes = typeset.page(width, height)
    lines = typeset.wrap(found.question, width - 4, 11, 2, "bold")
    top = typeset.write_lines(axes, 2, 12, lines, 11, 14, fontweight="bold") + 2
    side = min(height - top, 0.32 * width)
    thumbnail(axes, found.product, Box(2, top, side, side), lang, ("image",))
    left, gap = side + 22, 18.0
    panel = (width - left - gap) / 2
    row = (height - top - 18) / max(map(len, found.guesses.values()))
    most = max(p for guesses in found.guesses.values() for _, p in guesses)
    for k, (name, guesses) in enumerate(found.guesses.items()):
        x = left + k * (panel + gap)
        typeset.write(axes, x, top + 9, condition(name, lang), 10, fontweight="bold")
        for number, guess in enumerate(guesses):
            box = Box(x, top + 18 + number * row, panel, row)
            _draw_guess(axes, box, *guess, found.answer, most)
    return figure


def _draw_guess(
    axes: Axes, box: Box, word: str, probability: float, answer: str, most: float
) -> None:
    """Draw a word, a bar of its probability and the probability; the answer has a tick."""
    right = word == answer
    names, colour = 0.42 * box.width, HIT if right else shade(0.4)
    y, length = box.y + box.height / 2 + 3.5, (box.width - names - 28) * probability / most
    style = {"color": colour if right else shade(0.9), "fontweight": "bold" if right else "normal"}
    text = typeset.shorten(f"✓ {word}" if right else word, names - 4, 9.5, "bold")
    typeset.write(axes, box.x + names - 4, y, text, 9.5, ha="right", **style)
    look = {"facecolor": colour, "edgecolor": "none"}
    typeset.box(axes, box.x + names, box.y + 0.15 * box.height, length, 0.7 * box.height, **look)
    typeset.write(axes, box.x + names + length + 4, y, f"{probability:.2f}", 9.5)


RANKED = {"media": "on_picture", "hidden": "on_hidden", "with": "on_with", "without": "on_without"}


@figure("mask_image", on_slides=True)
def draw_mask_image(sources: Sources, lang: Language) -> Figure:
    """Draw the pictures that the other modalities help most, at the median, and harm most."""
    rows = [found for _, found in ranked(sources, "image")]
    return mask_image(rows, sources.run.config.features, lang)


@drawn
def mask_image(
    rows: Sequence[Reconstruction], config: FeatureConfig, lang: Language = LANG
) -> Figure:
    """Draw a row per product: the picture, the hidden regions, predictions with and without."""
    width, height = place()
    figure, axes = typeset.page(width, height)
    row, step = (height - 16) / len(rows), width / len(RANKED)
    side = min(row - 5, step - 8)
    for column, (version, key) in enumerate(RANKED.items()):
        x = column * step
        typeset.write(axes, x, 11, label(key, lang), 9.5, fontweight="bold")
        for number, found in enumerate(rows):
            box = Box(x, 16 + number * row, side, side)
            _draw_image(axes, found, version, box, config)
            if version in found.loss:
                text = f"{found.loss[version]:.2f}"
                typeset.write(axes, x + side + 4, box.y + side / 2, text, 9, color=shade(0.75))
    return figure


@figure("scores", on_slides=True)
@figure("score_path", on_slides=True)
def draw_scores(sources: Sources, lang: Language) -> Figure:
    """Draw the scores of the most complete test product."""
    row = most_complete(sources.test)
    with torch.no_grad():
        output = sources.run.model.embed(sources.test.collate([row]))
    scores = inter_modality_scores(output.pooled_BMD, output.present_BM)
    return score_matrices(sources.test.products[row], scores, output.present_BM[0].numpy(), lang)


@drawn
def score_matrices(
    product: View, scores: Scores, present_M: np.ndarray, lang: Language = LANG
) -> Figure:
    """Draw S, softmax(S) and S' of a product, beside its modalities."""
    width, height = place()
    figure, axes = typeset.page(width, height)
    drawings = _score_drawings(scores, present_M, lang)
    left, gap = _draw_inputs(axes, product, lang), 14.0
    cell = (width - left - 2 * gap - 2) / (3 * len(MODALITIES))
    _draw_matrices(axes, drawings, present_M, left, cell, gap)
    return figure


ScoreDrawing = tuple[np.ndarray, tuple[Colormap, Normalize], str]
"""Matrix, colours and title."""


def _score_drawings(scores: Scores, present_M: np.ndarray, lang: Language) -> list[ScoreDrawing]:
    """Return S, softmax(S) and S' of the first product."""
    matrices = [m[0].numpy() for m in (scores.cosine_BMM, scores.softmax_BMM, scores.weighted_BMM)]
    looks = score_colours(matrices, present_M[:, None] & present_M)
    titles = (label("on_scores", lang), label("softmax", lang), "S′ = S · softmax(S)")
    return list(zip(matrices, looks, titles, strict=True))


TOP = 27.0
"""Height of the titles of matrices."""


def _draw_inputs(axes: Axes, product: View, lang: Language, wrong: str = "") -> float:
    """Draw names and icons of a product's modalities in rows; return the x right of them.

    Args:
        wrong: modality whose content belongs to another product.
    """
    names = [label(m, lang) for m in MODALITIES]
    note = [label("on_wrong", lang)] if wrong else []
    left = 6 + max(typeset.text_width(text, 9, "bold") for text in (*names, *note))
    high = (place()[1] - TOP - 2) / len(MODALITIES)
    side = min(high - 3, 26.0)
    for k, modality in enumerate(MODALITIES):
        middle = TOP + (k + 0.5) * high
        style = {"color": MODALITY_COLOURS[modality], "fontweight": "bold"}
        typeset.write(axes, 2, middle + (-1 if modality == wrong else 3.5), names[k], 9, **style)
        box = Box(left, middle - side / 2, side, side)
        draw_icon(axes, product, modality, box)
        if modality == wrong:
            style["color"] = NEGATIVE
            typeset.write(axes, 2, middle + 10, *note, 9, **style)
            typeset.box(axes, *box, edgecolor=NEGATIVE, linewidth=points(2.4), zorder=3)
    return left + side + 6


def _draw_matrices(
    axes: Axes,
    drawings: Sequence[ScoreDrawing],
    present_M: np.ndarray,
    left: float,
    cell: float,
    gap: float,
) -> None:
    """Draw matrices of width 5 `cell` side by side; the roles of the cells of the last one, S'."""
    width, height = place()
    count, high = len(MODALITIES), (height - TOP - 2) / len(MODALITIES)
    for k, (matrix_MM, look, title) in enumerate(drawings):
        x = left + k * (count * cell + gap)
        typeset.write(axes, x, 11, title, 11, fontweight="bold")
        for number, modality in enumerate(MODALITIES):
            bar = {"facecolor": MODALITY_COLOURS[modality], "edgecolor": "none"}
            typeset.box(axes, x + number * cell + 1, TOP - 8, cell - 2, 5, **bar)
        size = count * cell / width, count * high / height
        panel = axes.figure.add_axes((x / width, 1 - (TOP + count * high) / height, *size))
        heatmap(panel, matrix_MM, *look, present_M[:, None] & present_M, square=False)
    frame_roles(panel, present_M)


@figure("total_loss", on_slides=True)
def draw_total_loss(sources: Sources, lang: Language) -> Figure:
    """Draw the scores of the most complete test product with the picture of another category,
    and the sums of a training batch after training."""
    test, row = sources.test, most_complete(sources.test)
    category, image = test.products[row].category, INDEX["image"]
    others = [k for k in range(len(test)) if test.products[k].category != category]
    others = [k for k in others if test.present_NM[k, image] and test.present_NM[row, image]]
    batch, product = test.collate([row, *others[:1]]), test.products[row]
    if others:
        product = replace(product, image=test.products[others[0]].image)
        tokens = batch.tokens["image"]
        swapped = replace(tokens.select(torch.tensor([1, 0])), rows_R=tokens.rows_R)
        batch = replace(batch, tokens={**batch.tokens, "image": swapped})
    with torch.no_grad():
        output = sources.run.model.embed(batch)
    scores = inter_modality_scores(output.pooled_BMD, output.present_BM)
    shown = product, scores, output.present_BM[0].numpy()
    return total_loss(*shown, run_terms(sources.run, sources.train), "image" * bool(others), lang)


@drawn
def total_loss(
    product: View,
    scores: Scores,
    present_M: np.ndarray,
    terms: WeightedTerms,
    wrong: str = "",
    lang: Language = LANG,
) -> Figure:
    """Draw a product, its S and S', and arrows from the weights to the two sums of the loss.

    Args:
        terms: the losses of a batch.
        wrong: modality whose content belongs to another product.
    """
    width, height = place()
    figure, axes = typeset.page(width, height)
    cosines, _, weights = _score_drawings(scores, present_M, lang)
    left, gap, count = _draw_inputs(axes, product, lang, wrong), 12.0, len(MODALITIES)
    right = 0.69 * width
    cell = (right - left - gap) / (2 * count)
    _draw_matrices(axes, [cosines, weights], present_M, left, cell, gap)
    x, row = right + 26, (height - TOP - 2) / count
    typeset.write(axes, x, 11, label("on_batch", lang, n=terms.products), 9, color=shade(0.7))
    look = {"facecolor": tint(POSITIVE, 0.1), "edgecolor": shade(0.7), "linewidth": points(1.2)}
    line = {"color": shade(0.8), "linewidth": points(1.8), "solid_capstyle": "butt"}
    for key, formula, value, start, top in (
        ("pairs", r"\Sigma\,S^{\prime}_{ij}L_{CL}", terms.pairs, 0.5, 0.0),
        ("masked", r"\Sigma\,S^{\prime}_{ii}L_{Mi}", terms.masked, 4.5, 1.9),
    ):
        box = Box(x, TOP + top * row, width - x - 1, 1.6 * row)
        typeset.rounded_box(axes, *box, **look)
        middle, end, elbow = x + box.width / 2, box.y + box.height / 2, 0.5 * (right + x)
        name = label(f"fig_sum_{key}", lang)
        typeset.write(axes, middle, end - 5, name, 9.5, ha="center", fontweight="bold")
        text = f"${formula}={value:.2f}$"
        typeset.write(axes, middle, end + 13, text, 11, ha="center", parse_math=True)
        axes.plot([right + 2, elbow, elbow], 2 * [TOP + start * row] + [end], **line)
        typeset.arrow(axes, (elbow, end), (x, end), shade(0.8), 1.8, 9)
    total = f"{label('fig_sum_total', lang)}  {terms.total:.2f}"
    y = TOP + 4.6 * row
    axes.plot([x, width - 1], [y - 18] * 2, **line)
    typeset.write(axes, x + (width - x) / 2, y, total, 13, ha="center", fontweight="bold")
    return figure


@figure("weight_effects", on_slides=True)
@drawn
def weight_effects(lang: Language = LANG) -> Figure:
    """Draw S'_ii against the cosine to the others, the weighted logit, and the weighted loss."""
    figure = new_figure(*(side / 72 for side in place()))
    panels = figure.subplots(1, 3)
    titles = ("on_own_weight", "weighted_logit_title", "loss_weight_title")
    for axes, draw, title in zip(panels, (_own, _logit, _loss), titles, strict=True):
        axes.set_title(label(title, lang))
        draw(axes, lang)
    return figure


def _name(axes: Axes, x: float, y: float, text: str, colour: str, **style) -> None:
    """Write the name of a curve beside it."""
    look = {"color": colour, "fontsize": points(9), "ha": "center", "va": "center", **style}
    axes.text(x, y, text, **look)


def _own(axes: Axes, lang: Language) -> None:
    cosine_C = torch.linspace(0, 1, 101, dtype=torch.float64)
    own_C = inter_modality_scores(features_of_cosine(cosine_C)).weighted_BMM[:, 0, 0]
    axes.plot(cosine_C, own_C, color=POSITIVE)
    for at, key, x, y in ((0, "nothing_shared", 0.03, 0.06), (-1, "five_agree", 0.97, -0.08)):
        text = f"{own_C[at]:.2f} {label(key, lang)}"
        _name(axes, x, float(own_C[at]) + y, text, POSITIVE, ha="left" if at == 0 else "right")
    axes.set(xlabel=label("cosine_of_others", lang), ylim=(0, 0.6), xlim=(0, 1))
    axes.set(xticks=(0, 0.5, 1), yticks=(0, 0.2, 0.4, 0.6))


def _logit(axes: Axes, lang: Language) -> None:
    cosine_C = np.linspace(-1, 1, 201)
    axes.plot(cosine_C, cosine_C / TEMPERATURE, color=shade(0.55), dashes=(4, 2))
    axes.plot(cosine_C, weighted_cosine(cosine_C) * cosine_C / TEMPERATURE, color=POSITIVE)
    axes.axvspan(-1, 0, color=tint(NEGATIVE, 0.12), linewidth=0)
    _name(axes, -0.5, 10.5, label("on_turned", lang), NEGATIVE)
    _name(axes, 0.97, -4, label("on_plain", lang), shade(0.65), ha="right")
    _name(axes, 0.97, -11, label("on_weighted", lang), POSITIVE, ha="right")
    axes.set(xlabel=label("cosine_of_pair", lang), xlim=(-1, 1), ylim=(-15, 15))
    axes.set(xticks=(-1, 0, 1), yticks=(-10, 0, 10))


def _loss(axes: Axes, lang: Language) -> None:
    for key, flowing, colour, x, y in (
        ("gradient_stopped", False, POSITIVE, 3, 0.9),
        ("gradient_flowing", True, NEGATIVE, 40, 0.1),
    ):
        axes.plot(gradient_descent(flowing)["cosine"], color=colour)
        _name(axes, x, y, label(key, lang), colour, ha="left")
    axes.set(xlabel=label("step", lang), ylim=(-0.1, 1.1), xlim=(0, 100))
    axes.set(xticks=(0, 50, 100), yticks=(0, 0.5, 1))
    axes.set_ylabel(label("cosine_of_pair", lang))
