"""Masked regions, frames, log-mel and their reconstructions; the five tasks (notebooks 04 to 08).

D distances; F features; H, W, C height, width and colours of a picture; L length. Lengths of pages
are points (viz/typeset.py); y grows downwards.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scale.config import FeatureConfig, require
from scale.data.dataset import ProductDataset
from scale.data.features import to_pixels
from scale.data.media import fit_image
from scale.evaluation.bootstrap import Estimate
from scale.modalities import CONTINUOUS, INDEX, MODALITIES, SPECS
from scale.studies.context import (
    EVERYTHING,
    NOTHING,
    Reconstruction,
    best_median_worst,
    gains,
    product_losses,
    reconstruct,
)
from scale.studies.masked_probe import (
    MaskedPrediction,
    draw_groups,
    mask_groups,
    probe_masked,
    token_groups,
)
from scale.studies.masked_training import copy_losses, mean_baseline_loss
from scale.viz import tiles, typeset
from scale.viz.charts import framed, intervals, lay_flat, spread
from scale.viz.registry import Sources, figure, most_complete, shared
from scale.viz.theme import HIT, MODALITY_COLOURS, NEGATIVE, drawn, new_figure, points, shade, tint
from scale.viz.tiles import Box
from scale.viz.words import LANG, Language, label

MARGIN, GAP, CAPTION, HEADING = 16.0, 12.0, 15.0, 30.0
TEXT = 9.0
"""Size of names, titles and losses beside masked pictures, frames and spectrograms."""
PICTURE, ONE_PICTURE = 112.0, 190.0
"""Side of a masked picture; of the pictures of a single product."""
COLUMN, ONE_COLUMN = 330.0, 720.0
"""Width of the frames or log-mel of a product; of a single product."""
SHARP = 240
"""Pixels per side of an unmasked picture."""
RANKS = {"best": "mask_best", "median": "mask_median", "worst": "mask_worst"}
VERSIONS = {
    "media": "mask_media",
    "truth": "mask_truth",
    "hidden": "mask_hidden",
    "with": "mask_with",
    "without": "mask_without",
    "other products": "mask_with_other_product",
    "mean": "mask_mean",
    "visible": "mask_visible",
    "nearest": "mask_nearest",
}
Ranked = Sequence[tuple[str, Reconstruction]]
"""Reconstructions with the rule that selected each: a key of RANKS, or empty."""


@drawn
def mask_image(
    rows: Ranked,
    config: FeatureConfig,
    lang: Language = LANG,
    guesses: Sequence[str] = ("with", "without", "mean"),
) -> Figure:
    """Draw masked regions of pictures, a row per product: picture, colours, mask, predictions.

    Of the features `hog` only the colours can be drawn, not the gradients (`features.to_pixels`).

    Raises:
        ValueError: the features contain no colours.
    """
    versions = ("media", "truth", "hidden", *guesses)
    side, left = PICTURE if len(rows) > 1 else ONE_PICTURE, 118.0
    width = MARGIN + left + len(versions) * (side + GAP) - GAP + MARGIN
    figure, axes = typeset.page(width, HEADING + 20 + len(rows) * (side + CAPTION + GAP))
    _title(axes, "mask_image_title", lang)
    for column, version in enumerate(versions):
        x = MARGIN + left + column * (side + GAP)
        name = typeset.shorten(label(VERSIONS[version], lang), side + GAP - 3, TEXT, "bold")
        typeset.write(axes, x, HEADING + 14, name, TEXT, fontweight="bold")
    for row, (rank, found) in enumerate(rows):
        y = HEADING + 20 + row * (side + CAPTION + GAP)
        _about(axes, found, rank, Box(MARGIN, y, left - 10, side), lang)
        for column, version in enumerate(versions):
            box = Box(MARGIN + left + column * (side + GAP), y, side, side)
            vectors_LF = found.guess_LF.get(version, found.truth_LF)
            shown_LF = None if version == "media" else vectors_LF
            _draw_regions(axes, found, shown_LF, version, box, config)
            _loss(axes, found, version, box, lang)
    return figure


def _draw_regions(
    axes: Axes,
    found: Reconstruction,
    vectors_LF: np.ndarray | None,
    version: str,
    box: Box,
    config: FeatureConfig,
) -> None:
    """Draw the colours of vectors (None: the picture itself) and mark its masked regions."""
    if vectors_LF is None:
        pixels_HWC = fit_image(tiles.load(found.product, "image"), SHARP)
    else:
        pixels_HWC = to_pixels(vectors_LF, config.image_features, config.patch_size)
    typeset.picture(axes, pixels_HWC, *box)
    side = round(len(found.hidden_L) ** 0.5)
    cell = box.width / side
    for place in np.flatnonzero(found.hidden_L):
        row, column = divmod(int(place), side)
        region = Box(box.x + column * cell, box.y + row * cell, cell, cell)
        _mark(axes, version, region, "image")
    typeset.box(axes, *box)


@drawn
def mask_video(
    rows: Ranked,
    config: FeatureConfig,
    lang: Language = LANG,
    guesses: Sequence[str] = ("with", "without", "nearest"),
) -> Figure:
    """Draw masked frames of clips, a column per product, time from left to right; colours only.

    Raises:
        ValueError: the features contain no colours.
    """
    versions = ("media", "truth", "hidden", *guesses)
    frames = max(len(found.hidden_L) for _, found in rows)
    figure, axes, boxes = _columns(rows, versions, 1 / frames, "mask_video_title", lang)
    for (_, found), column in zip(rows, boxes, strict=True):
        clip = tiles.load(found.product, "video", len(found.hidden_L))
        for version, box in zip(versions, column, strict=True):
            shown = clip if version == "media" else None
            draw_frames(axes, found, version, box, config, shown)
            _loss(axes, found, version, box, lang)
    return figure


def draw_frames(
    axes: Axes,
    found: Reconstruction,
    version: str,
    box: Box,
    config: FeatureConfig,
    clip: Sequence[np.ndarray] | None = None,
) -> None:
    """Draw frames from left to right; masked ones are hatched or framed.

    Args:
        clip: drawn in place of the colours of the features; with it, only masked frames of
            predictions are colours.
    """
    vectors_LF = found.guess_LF.get(version, found.truth_LF)
    source, side = config.video_features, config.frame_size
    frames = [to_pixels(vector_F[None], source, side) for vector_F in vectors_LF]
    if clip is not None:
        predicted = version in found.guess_LF
        frames = [
            colours if hidden and predicted else frame
            for colours, frame, hidden in zip(frames, clip, found.hidden_L, strict=True)
        ]
    step = box.width / len(found.hidden_L)
    for place, frame_HWC in enumerate(frames):
        cell = Box(box.x + place * step, box.y, step - 1.5, box.height)
        shown = typeset.picture(axes, frame_HWC, *cell)
        if found.hidden_L[place]:
            _mark(axes, version, Box(*shown), "video")


@drawn
def mask_audio(
    rows: Ranked,
    config: FeatureConfig,
    lang: Language = LANG,
    guesses: Sequence[str] = ("with", "without", "nearest"),
) -> Figure:
    """Draw masked time frames of log-mel, a column per product, time to the right, pitch up.

    Raises ValueError if the features are those of a frozen model.
    """
    source = config.audio_features
    require(not config.backbone("audio"), f"features {source!r} are no spectrogram to draw")
    versions = ("truth", "hidden", *guesses)
    shape = 0.25 if len(rows) > 1 else 0.16
    figure, axes, boxes = _columns(rows, versions, shape, "mask_audio_title", lang)
    for (_, found), column in zip(rows, boxes, strict=True):
        for version, box in zip(versions, column, strict=True):
            mel_LF = found.guess_LF.get(version, found.truth_LF)
            state = version if version == "hidden" else "predicted"
            draw_log_mel(axes, mel_LF, found.hidden_L, state, box)
            _loss(axes, found, version, box._replace(height=box.height + 2), lang)
    note = label("mask_audio_axes", lang, bins=config.mel_bins)
    typeset.write(axes, MARGIN, axes.get_ylim()[0] - 7, note, TEXT, color=shade(0.65))
    return figure


def draw_log_mel(
    axes: Axes, mel_LF: np.ndarray, hidden_L: np.ndarray, state: str, box: Box
) -> None:
    """Draw log-mel; masked frames are hatched if `hidden`, underlined if `predicted`."""
    tiles.draw_mel(axes, mel_LF.T, box, -1, 1)
    step = box.width / len(mel_LF)
    for place in np.flatnonzero(hidden_L):
        x = box.x + place * step
        if state == "hidden":
            _mark(axes, state, Box(x, box.y, step, box.height), "audio")
        elif state == "predicted":
            look = {"facecolor": MODALITY_COLOURS["audio"], "edgecolor": "none"}
            typeset.box(axes, x, box.y + box.height + 1, step, 2.4, **look)
    typeset.box(axes, *box)


def _columns(
    rows: Ranked, versions: Sequence[str], shape: float, title: str, lang: Language
) -> tuple[Figure, Axes, list[list[Box]]]:
    """Return a page with a column per product, and per column the boxes from top to bottom.

    shape: height of a box, as a share of its width.
    """
    left, width = 118.0, COLUMN if len(rows) > 1 else ONE_COLUMN
    top, height = HEADING + 38, shape * width
    # Only predictions have a line below, with their loss.
    steps = [height + (5 if v in ("media", "truth", "hidden") else CAPTION) for v in versions]
    tops = [top + sum(steps[:k]) for k in range(len(versions))]
    page_width = MARGIN + left + len(rows) * (width + GAP) - GAP + MARGIN
    figure, axes = typeset.page(page_width, top + sum(steps) + 16)
    _title(axes, title, lang)
    boxes = []
    for column, (rank, found) in enumerate(rows):
        x = MARGIN + left + column * (width + GAP)
        _about(axes, found, rank, Box(x, HEADING + 2, width - 12, 34), lang, lines=1)
        boxes.append([Box(x, y, width, height) for y in tops])
    for version, box in zip(versions, boxes[0], strict=True):
        lines = typeset.wrap(label(VERSIONS[version], lang), left - 10, TEXT, 3, "bold")
        typeset.write_lines(axes, MARGIN, box.y + 10, lines, TEXT, 12, fontweight="bold")
    return figure, axes, boxes


def _title(axes: Axes, key: str, lang: Language) -> None:
    typeset.write(axes, MARGIN, 20, label(key, lang), 11, fontweight="bold")


def _about(
    axes: Axes, found: Reconstruction, rank: str, box: Box, lang: Language, lines: int = 5
) -> None:
    """Write the selection rule of a product and its title."""
    y = box.y + 9
    if rank:
        text = typeset.shorten(label(RANKS[rank], lang), box.width, TEXT, "bold")
        typeset.write(axes, box.x, y, text, TEXT, fontweight="bold")
        y += 14
    title = typeset.wrap(found.product.text or found.product.id, box.width, TEXT, lines)
    typeset.write_lines(axes, box.x, y, title, TEXT, 12, color=shade(0.7))


def _mark(axes: Axes, version: str, box: Box, modality: str) -> None:
    """Hatch a masked position if its content is hidden, frame it if it is predicted."""
    if version == "hidden":
        typeset.box(axes, *box, facecolor=shade(0.08), edgecolor=shade(0.4), hatch="////", zorder=3)
    elif version not in ("media", "truth", "as_is"):
        line = {"edgecolor": MODALITY_COLOURS[modality], "linewidth": points(1.3), "zorder": 3}
        inner = (box.x + 0.8, box.y + 0.8, box.width - 1.6, box.height - 1.6)
        typeset.box(axes, *inner, **line)


def _loss(axes: Axes, found: Reconstruction, version: str, box: Box, lang: Language) -> None:
    if version in found.loss:
        text = label("mask_loss", lang, value=found.loss[version])
        typeset.write(axes, box.x, box.y + box.height + 11, text, TEXT, color=shade(0.75))


TASK_LEFT, TASK_COLUMN, TASK_STEP, TASK_MARGIN = 88.0, 126.0, 134.0, 14.0
"""Width of the row names; width of a task; distance between tasks; margin of the page."""
TASK_TOP, TASK_ROW, TASK_GAP = 96.0, 112.0, 12.0
"""Top of the first row, height of a row, gap between rows."""
TASK_SIZE, TASK_LINE = 10.0, 14.0
"""Size of words, distance between lines."""
STAGES = {"as_is": "fig_as_is", "hidden": "fig_hidden", "predicted": "fig_predicted"}


@dataclass(frozen=True)
class Piece:
    """A word piece of a title or a table."""

    text: str
    """The piece as in the vocabulary: `##` in front of a continuation of a word."""
    guess: str | None = None
    """Prediction of the model; None if the piece is not masked."""
    ends_line: bool = False
    """Whether it is the last piece of a pair of a table."""


Placed = tuple[float, float, str, Piece]
"""x, width and text of a piece, and the piece."""


@dataclass(frozen=True)
class TaskView:
    """A pretext task on one product."""

    content: Sequence[Piece] | Reconstruction
    """Pieces of a discrete modality, or vectors of a continuous one with the prediction `all`."""
    loss: float
    """Mean over the masked positions: cross-entropy in nats, or squared error."""
    baseline: float
    """Loss without a model: uniform over the vocabulary, or the training mean."""


@drawn
def pretext_tasks(
    views: Mapping[str, TaskView], config: FeatureConfig, lang: Language = LANG
) -> Figure:
    """Draw the five tasks on one product, a column each: original, masked, predicted.

    A modality missing from `views` is drawn as absent. Raises ValueError if the features of
    pictures or clips contain no colours.
    """
    width = 2 * TASK_MARGIN + TASK_LEFT + TASK_STEP * (len(MODALITIES) - 1) + TASK_COLUMN
    figure, axes = typeset.page(width, TASK_TOP + 3 * (TASK_ROW + TASK_GAP) + 40)
    typeset.write(axes, TASK_MARGIN, 26, label("fig_pretext", lang), 14, fontweight="bold")
    for k, key in enumerate(STAGES.values()):
        lines = typeset.wrap(label(key, lang), TASK_LEFT - 10, 11, 4, "bold")
        y = TASK_TOP + k * (TASK_ROW + TASK_GAP) + 14
        style = {"fontweight": "bold", "color": shade(0.8)}
        typeset.write_lines(axes, TASK_MARGIN, y, lines, 11, 15, **style)
    for k, modality in enumerate(MODALITIES):
        x = TASK_MARGIN + TASK_LEFT + k * TASK_STEP
        _heading(axes, x, modality, lang)
        tops = [TASK_TOP + row * (TASK_ROW + TASK_GAP) for row in range(3)]
        boxes = [Box(x, top, TASK_COLUMN, TASK_ROW) for top in tops]
        if modality not in views:
            typeset.absent_tile(axes, *boxes[0], label(f"absent_{modality}", lang), 10)
            continue
        view = views[modality]
        for stage, box in zip(STAGES, boxes, strict=True):
            if isinstance(view.content, Reconstruction):
                DRAW_TASK[modality](axes, view.content, stage, box, config)
            else:
                draw_pieces(axes, view.content, stage, box, MODALITY_COLOURS[modality])
        below = boxes[-1].y + TASK_ROW + 15
        loss = label("fig_task_loss", lang, loss=view.loss)
        typeset.write(axes, x, below, loss, 10, fontweight="bold")
        baseline = "fig_mean" if isinstance(view.content, Reconstruction) else "fig_even"
        text = label(baseline, lang, loss=view.baseline)
        typeset.write(axes, x, below + 14, text, 10, color=shade(0.7))
    return figure


def _heading(axes: Axes, x: float, modality: str, lang: Language) -> None:
    """Write the abbreviation of a task and its name."""
    task, colour = SPECS[modality].task, MODALITY_COLOURS[modality]
    typeset.write(axes, x, 54, task, 14, fontweight="bold", color=colour)
    name = label(task, lang).removeprefix(task).lstrip("：: ")
    lines = typeset.wrap(name, TASK_COLUMN, 10, 2)
    typeset.write_lines(axes, x, 70, lines, 10, 13, color=colour)


def draw_pieces(axes: Axes, pieces: Sequence[Piece], stage: str, box: Box, colour: str) -> None:
    """Write pieces as running text; an ellipsis replaces lines that do not fit."""
    lines, most = _task_lines(pieces, stage, box.width), int(box.height // TASK_LINE)
    if len(lines) > most:
        lines = lines[: most - 1]
        typeset.write(axes, box.x, box.y + (most - 1) * TASK_LINE + TASK_SIZE, "…", TASK_SIZE)
    for number, line in enumerate(lines):
        y = box.y + number * TASK_LINE
        for left, width, text, piece in line:
            x = box.x + left
            if piece.guess is None or stage == "as_is":
                style = {"color": colour} if piece.guess is not None else {}
                typeset.write(axes, x, y + TASK_SIZE, text, TASK_SIZE, **style)
            elif stage == "hidden":
                look = {"facecolor": shade(0.08), "edgecolor": shade(0.45), "hatch": "////"}
                typeset.box(axes, x, y, width, TASK_SIZE + 2.5, **look)
            else:
                good = HIT if piece.guess == piece.text else NEGATIVE
                look = {"facecolor": tint(good), "edgecolor": good}
                typeset.box(axes, x, y, width, TASK_SIZE + 2.5, **look)
                typeset.write(axes, x + 2.5, y + TASK_SIZE, text, TASK_SIZE)


def _task_lines(pieces: Sequence[Piece], stage: str, width: float) -> list[list[Placed]]:
    lines: list[list[Placed]] = [[]]
    x = 0.0
    for piece in pieces:
        boxed = piece.guess is not None and stage != "as_is"
        text = piece.text.removeprefix("##")
        if boxed and stage == "predicted":
            mark = "✓" if piece.guess == piece.text else "×"
            text = f"{mark} {piece.guess.removeprefix('##')}"
        wide = typeset.text_width(text, TASK_SIZE) + 5 * boxed
        x += 0 if not lines[-1] or (piece.text.startswith("##") and not boxed) else 3.5
        if lines[-1] and x + wide > width:
            lines.append([])
            x = 0.0
        lines[-1].append((x, wide, text, piece))
        x += wide
        if piece.ends_line:
            lines.append([])
            x = 0.0
    return lines if lines[-1] else lines[:-1]


def _image(axes: Axes, found: Reconstruction, stage: str, box: Box, config: FeatureConfig) -> None:
    """Draw the picture and its masked regions; predictions as the colours of the features."""
    vectors_LF = found.guess_LF["all"] if stage == "predicted" else None
    square = box._replace(width=box.height)
    _draw_regions(axes, found, vectors_LF, stage, square, config)


def _video(axes: Axes, found: Reconstruction, stage: str, box: Box, config: FeatureConfig) -> None:
    """Draw frames row by row in time; predictions as the colours of the features."""
    count = len(found.hidden_L)
    if stage == "predicted":
        vectors = found.guess_LF["all"][:, None]
        frames = [to_pixels(vector, config.video_features, config.frame_size) for vector in vectors]
    else:
        frames = tiles.load(found.product, "video", count)
    columns = int(np.ceil(count**0.5))
    side = min(box.width, box.height) / columns
    for place in range(count):
        row, column = divmod(place, columns)
        corner = box.x + column * side, box.y + row * side
        shown = typeset.picture(axes, frames[place], *corner, side - 2, side - 2)
        if found.hidden_L[place]:
            _mark(axes, stage, Box(*shown), "video")


def _audio(axes: Axes, found: Reconstruction, stage: str, box: Box, config: FeatureConfig) -> None:
    """Draw log-mel, time to the right, pitch up."""
    mel_LF = found.guess_LF["all"] if stage == "predicted" else found.truth_LF
    draw_log_mel(axes, mel_LF, found.hidden_L, stage, box)


DRAW_TASK = {"image": _image, "video": _video, "audio": _audio}


WHOLE = ("all", "other products")
"""Contexts of all other modalities: the product's own, and those of another product."""
ROW_HEIGHT = 0.3
"""Height of a row, in inches."""


@drawn
def context_gain(
    gains: Mapping[str, Mapping[str, Estimate]],
    lang: Language = LANG,
    vectors: Collection[str] = CONTINUOUS,
) -> Figure:
    """Draw how much each context lowers the masked loss, a panel per task.

    The reduction is relative to the loss without other modalities. Each panel has its own scale,
    because squared error and cross-entropy are not comparable.

    Args:
        gains: result of `studies.context.gains` by modality; missing contexts have no row.
        vectors: modalities whose loss is a squared error (`ModelConfig.continuous`).

    Raises:
        ValueError: there are no gains.
    """
    require(any(gains.values()), "no gain of a context to draw")
    names = [n for n in (*WHOLE, *MODALITIES) if any(n in found for found in gains.values())]
    shown = [m for m in MODALITIES if m in gains]
    figure = new_figure(
        max(5.6, 2.6 + 2.3 * len(shown)), 1.75 + ROW_HEIGHT * len(names), dense=True
    )
    panels = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    for axes, modality in zip(panels, shown, strict=True):
        _gain_panel(axes, modality, gains[modality], names, modality in vectors, lang)
    panels[0].set_yticks(range(len(names)), [context_name(name, lang) for name in names])
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    return framed(figure, label("mask_gain_title", lang), label("mask_gain_note", lang))


def _gain_panel(
    axes: Axes,
    modality: str,
    found: Mapping[str, Estimate],
    names: list[str],
    squared: bool,
    lang: Language,
) -> None:
    rows = [(y, name, found[name]) for y, name in enumerate(names) if name in found]
    found_G = [estimate for _, _, estimate in rows]
    mean_G, *_ = spread(found_G)
    colours = [MODALITY_COLOURS.get(name, shade(0.62)) for _, name, _ in rows]
    bars = axes.barh([y for y, _, _ in rows], np.nan_to_num(mean_G), height=0.62, color=colours)
    for bar, (_, name, _) in zip(bars, rows, strict=True):
        if name == "other products":
            bar.set(facecolor=shade(0.1), edgecolor=shade(0.62), hatch="////")
    look = {"color": shade(0.95), "elinewidth": points(1.1)}
    intervals(axes, [y for y, _, _ in rows], found_G, flat=True, **look)
    axes.axvline(0, color=shade(0.6), lw=points(0.9))
    lay_flat(axes)
    axes.locator_params(axis="x", nbins=4)
    unit = "mask_gain_axis_vectors" if squared else "mask_gain_axis_pieces"
    axes.set_xlabel(label(unit, lang), fontsize=points(8))
    most = max((estimate.n for _, _, estimate in rows), default=0)
    counted = label("mask_count", lang, n=most)
    axes.set_title(f"{SPECS[modality].task} · {label(modality, lang)}\n{counted}")


def context_name(name: str, lang: Language) -> str:
    """Return the name of a row of `context_gain`."""
    if name in MODALITIES:
        return label("mask_only", lang, modality=label(name, lang))
    return label({"all": "mask_own", "other products": "mask_other_product"}[name], lang)


@drawn
def copy_curve(
    losses: Mapping[str, np.ndarray], means: Mapping[str, float], lang: Language = LANG
) -> Figure:
    """Draw the error of copying the vector d positions away against d, and of the training mean.

    Args:
        losses: by modality, loss_D of `masked_training.copy_losses`.
        means: by modality, `masked_training.mean_baseline_loss`.
    """
    figure = new_figure(3.0 * len(losses) + 0.6, 2.7)
    panels = figure.subplots(1, len(losses), squeeze=False)[0]
    for axes, (modality, loss_D) in zip(panels, losses.items(), strict=True):
        colour = MODALITY_COLOURS[modality]
        away_D = np.arange(1, len(loss_D) + 1)
        axes.plot(away_D, loss_D, color=colour, marker="o", ms=points(4))
        axes.axhline(means[modality], color=shade(0.6), ls="--", lw=points(1.1))
        text = {"fontsize": points(8), "va": "bottom", "color": shade(0.75)}
        axes.text(1, means[modality], label("mask_mean", lang), **text)
        axes.set(xlabel=label("mask_distance", lang), ylabel=label("mask_copy_error", lang))
        axes.set_ylim(0, 1.25 * max(means[modality], np.nanmax(loss_D)))
        axes.set_title(label(modality, lang))
        axes.locator_params(axis="x", integer=True)
    return figure


@figure("context_gain")
def _draw_context_gain(sources: Sources, lang: Language) -> Figure:
    vectors = [m for m in MODALITIES if sources.run.config.model.continuous(m)]
    return context_gain(gains_of(sources), lang, vectors)


@shared
def gains_of(sources: Sources) -> dict:
    """Return the gains by modality and context."""
    run = sources.run
    losses = {
        m: product_losses(run.model, sources.test, m, run.config.mask, seed=sources.seed)
        for m in MODALITIES
    }
    return {m: gains(loss, seed=sources.seed) for m, loss in losses.items()}


@shared
def ranked(sources: Sources, modality: str) -> Ranked:
    """Return the products with the largest, median and smallest benefit of other modalities."""
    setup = (sources.run.model, sources.test, modality, sources.run.config.mask)
    loss = product_losses(*setup, {"none": NOTHING, "all": EVERYTHING}, sources.seed)
    rows = best_median_worst(loss["none"] - loss["all"])
    return list(zip(RANKS, reconstruct(*setup, rows, seed=sources.seed), strict=True))


@figure("mask_image")
def _draw_mask_image(sources: Sources, lang: Language) -> Figure:
    return mask_image(ranked(sources, "image"), sources.run.config.features, lang)


@figure("mask_video")
def _draw_mask_video(sources: Sources, lang: Language) -> Figure:
    return mask_video(ranked(sources, "video"), sources.run.config.features, lang)


@figure("mask_audio")
def _draw_mask_audio(sources: Sources, lang: Language) -> Figure:
    return mask_audio(ranked(sources, "audio"), sources.run.config.features, lang)


@figure("pretext_tasks")
def _draw_pretext_tasks(sources: Sources, lang: Language) -> Figure:
    return pretext_tasks(task_views(sources), sources.run.config.features, lang)


@shared
def task_views(sources: Sources) -> dict[str, TaskView]:
    """Mask the most complete product with the rule and rate of the training, and predict."""
    run, test = sources.run, sources.test
    row, views = most_complete(test), {}
    for m in (m for m in MODALITIES if test.present_NM[row, INDEX[m]]):
        group_L = token_groups(test, row, m)
        chosen = draw_groups(group_L, run.config.mask.rate, sources.seed, INDEX[m])
        found = probe_masked(run.model, mask_groups(test, row, m, chosen), m, {"all": MODALITIES})
        content = found.reconstruction(test) if m in CONTINUOUS else _pieces_of(test, row, found)
        baseline = "mean" if found.continuous else "even"
        views[m] = TaskView(content, found.loss["all"], found.loss[baseline])
    return views


def _pieces_of(data: ProductDataset, row: int, found: MaskedPrediction) -> list[Piece]:
    """Return the word pieces of a title or table, masked ones with the most probable piece."""
    ids_L = data.collate([row]).tokens[found.modality].values[0].tolist()
    words = data.tokenizer.convert_ids_to_tokens(ids_L)
    guesses = {a.place: a.best[0][0] for a in found.pieces("all", data.tokenizer, 1)}
    special, table = set(data.tokenizer.all_special_ids), found.modality == "table"
    return [
        # The semicolon between the pairs of a table becomes the end of a line.
        Piece(word, guesses.get(place), table and words[place + 1] == ";")
        for place, (word, number) in enumerate(zip(words, ids_L, strict=True))
        if number not in special and not (table and word == ";")
    ]


@figure("copy_curve")
def _draw_copy_curve(sources: Sources, lang: Language) -> Figure:
    return copy_curve(*_copy_losses(sources), lang)


@shared
def _copy_losses(sources: Sources) -> tuple[dict, dict]:
    shown = {"video": 7, "audio": 16}
    losses = {m: copy_losses(sources.test, m, most) for m, most in shown.items()}
    return losses, {m: mean_baseline_loss(sources.test, m) for m in shown}
