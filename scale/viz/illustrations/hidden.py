"""Hidden regions, frames and time frames, and the guesses in their place (notebooks 04, 07, 08).

L length, F features, H, W, C height, width and colours of a picture. Lengths are points of the
`paper` style.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scale.config import FeatureConfig
from scale.data.features import fit_picture, pixels_of
from scale.studies.context import Reconstruction
from scale.viz import tiles, typeset
from scale.viz.theme import MODALITY_COLOURS, drawn, points, shade
from scale.viz.tiles import Box
from scale.viz.words import Language, label

MARGIN, GAP, CAPTION, HEADING = 16.0, 12.0, 13.0, 30.0
SHARP = 240
"""Pixels of a picture that is shown as it is."""
RANKS = {"best": "mask_best", "median": "mask_median", "worst": "mask_worst"}
VERSIONS = {
    "media": "mask_media",
    "truth": "mask_truth",
    "hidden": "mask_hidden",
    "with": "mask_with",
    "without": "mask_without",
    "other products": "mask_with_strangers",
    "mean": "mask_mean",
    "visible": "mask_visible",
    "nearest": "mask_nearest",
}
Ranked = Sequence[tuple[str, Reconstruction]]
"""Each with the rule by which it was picked: a key of RANKS, or empty."""


@drawn
def mask_image(
    rows: Ranked,
    config: FeatureConfig,
    lang: Language = "en",
    guesses: Sequence[str] = ("with", "without", "mean"),
) -> Figure:
    """Hidden regions of pictures: a row a product; picture, colours, what is hidden, guesses.

    Of the features `hog` only the colours can be drawn, not the gradients (`features.pixels_of`).

    Raises:
        ValueError: the features hold no colours.
    """
    versions = ("media", "truth", "hidden", *guesses)
    side, left = 88.0, 104.0
    width = MARGIN + left + len(versions) * (side + GAP) - GAP + MARGIN
    figure, axes = typeset.page(width, HEADING + 20 + len(rows) * (side + CAPTION + GAP))
    _title(axes, "mask_image_title", lang)
    for column, version in enumerate(versions):
        x = MARGIN + left + column * (side + GAP)
        name = typeset.shorten(label(VERSIONS[version], lang), side + GAP - 3, 7.5, "bold")
        typeset.write(axes, x, HEADING + 14, name, 7.5, fontweight="bold")
    for row, (rank, found) in enumerate(rows):
        y = HEADING + 20 + row * (side + CAPTION + GAP)
        _about(axes, found, rank, Box(MARGIN, y, left - 10, side), lang)
        for column, version in enumerate(versions):
            box = Box(MARGIN + left + column * (side + GAP), y, side, side)
            _regions(axes, found, version, box, config)
            _loss(axes, found, version, box, lang)
    return figure


def _regions(
    axes: Axes, found: Reconstruction, version: str, box: Box, config: FeatureConfig
) -> None:
    if version == "media":
        pixels_HWC = fit_picture(tiles.load(found.product, "image"), SHARP)
    else:
        vectors_LF = found.guess_LF.get(version, found.truth_LF)
        pixels_HWC = pixels_of(vectors_LF, config.image_features, config.patch_size)
    typeset.picture(axes, pixels_HWC, *box)
    side = round(len(found.hidden_L) ** 0.5)
    for place in np.flatnonzero(found.hidden_L):
        row, column = divmod(int(place), side)
        cell = box.width / side
        _mark(axes, version, Box(box.x + column * cell, box.y + row * cell, cell, cell), "image")
    typeset.box(axes, *box)


@drawn
def mask_video(
    rows: Ranked,
    config: FeatureConfig,
    lang: Language = "en",
    guesses: Sequence[str] = ("with", "without", "nearest"),
) -> Figure:
    """Hidden frames of clips: a column a product, time from left to right; colours only.

    Raises:
        ValueError: the features hold no colours.
    """
    versions = ("media", "truth", "hidden", *guesses)
    figure, axes, boxes = _columns(rows, versions, 30.0, "mask_video_title", lang)
    for (_, found), column in zip(rows, boxes, strict=True):
        frames = {"media": tiles.load(found.product, "video", len(found.hidden_L))}
        for version, box in zip(versions, column, strict=True):
            vectors_LF = found.guess_LF.get(version, found.truth_LF)
            source, side = config.video_features, config.frame_size
            colours = [pixels_of(vector_F[None], source, side) for vector_F in vectors_LF]
            _frames(axes, frames.get(version, colours), found, version, box)
            _loss(axes, found, version, box, lang)
    return figure


def _frames(
    axes: Axes, frames: Sequence[np.ndarray], found: Reconstruction, version: str, box: Box
) -> None:
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
    lang: Language = "en",
    guesses: Sequence[str] = ("with", "without", "nearest"),
) -> Figure:
    """Hidden time frames of log-mel: a column a product, time to the right, pitch upwards."""
    versions = ("truth", "hidden", *guesses)
    figure, axes, boxes = _columns(rows, versions, 62.0, "mask_audio_title", lang)
    for (_, found), column in zip(rows, boxes, strict=True):
        for version, box in zip(versions, column, strict=True):
            mel_LF = found.guess_LF.get(version, found.truth_LF)
            corners = (box.x, box.x + box.width, box.y + box.height, box.y)
            look = {"cmap": "magma", "vmin": -1, "vmax": 1, "interpolation": "nearest"}
            axes.imshow(mel_LF.T[::-1], extent=corners, aspect="auto", **look)
            step = box.width / len(mel_LF)
            for place in np.flatnonzero(found.hidden_L):
                cell = Box(box.x + place * step, box.y, step, box.height)
                if version == "hidden":
                    _mark(axes, version, cell, "audio")
                else:
                    below = Box(cell.x, box.y + box.height + 1, step, 2.4)
                    colour = MODALITY_COLOURS["audio"]
                    typeset.box(axes, *below, facecolor=colour, edgecolor="none")
            typeset.box(axes, *box)
            _loss(axes, found, version, box._replace(height=box.height + 2), lang)
    note = label("mask_audio_axes", lang, bins=config.mel_bins)
    typeset.write(axes, MARGIN, axes.get_ylim()[0] - 7, note, 7.5, color=shade(0.65))
    return figure


def _columns(
    rows: Ranked, versions: Sequence[str], height: float, title: str, lang: Language
) -> tuple[Figure, Axes, list[list[Box]]]:
    """A page with a column a product, and the boxes of its versions from top to bottom."""
    left, width = 104.0, 224.0
    top = HEADING + 34
    # Only guesses have a line below that says their loss.
    steps = [height + (5 if v in ("media", "truth", "hidden") else CAPTION) for v in versions]
    tops = [top + sum(steps[:k]) for k in range(len(versions))]
    page_width = MARGIN + left + len(rows) * (width + GAP) - GAP + MARGIN
    figure, axes = typeset.page(page_width, top + sum(steps) + 16)
    _title(axes, title, lang)
    boxes = []
    for column, (rank, found) in enumerate(rows):
        x = MARGIN + left + column * (width + GAP)
        _about(axes, found, rank, Box(x, HEADING + 2, width - 12, 30), lang, lines=1)
        boxes.append([Box(x, y, width, height) for y in tops])
    for version, box in zip(versions, boxes[0], strict=True):
        lines = typeset.wrap(label(VERSIONS[version], lang), left - 10, 7.5, 3, "bold")
        for line, text in enumerate(lines):
            typeset.write(axes, MARGIN, box.y + 8 + 10 * line, text, 7.5, fontweight="bold")
    return figure, axes, boxes


def _title(axes: Axes, key: str, lang: Language) -> None:
    typeset.write(axes, MARGIN, 20, label(key, lang), 11, fontweight="bold")


def _about(
    axes: Axes, found: Reconstruction, rank: str, box: Box, lang: Language, lines: int = 5
) -> None:
    """Why the product is shown, and its title: one of the things that the model may read."""
    y = box.y + 8
    if rank:
        text = typeset.shorten(label(RANKS[rank], lang), box.width, 7.5, "bold")
        typeset.write(axes, box.x, y, text, 7.5, fontweight="bold")
        y += 11
    name = found.product.text or found.product.id
    for line in typeset.wrap(name, box.width, 7, lines):
        typeset.write(axes, box.x, y, line, 7, color=shade(0.7))
        y += 9.5


def _mark(axes: Axes, version: str, box: Box, modality: str) -> None:
    """A hidden place: hatched where it is shown as hidden, framed where it is guessed."""
    if version == "hidden":
        typeset.box(axes, *box, facecolor=shade(0.08), edgecolor=shade(0.4), hatch="////", zorder=3)
    elif version not in ("media", "truth"):
        line = {"edgecolor": MODALITY_COLOURS[modality], "linewidth": points(1.3), "zorder": 3}
        inset = 0.8
        typeset.box(axes, box.x + inset, box.y + inset, box.width - 2 * inset,
                    box.height - 2 * inset, **line)  # fmt: skip


def _loss(axes: Axes, found: Reconstruction, version: str, box: Box, lang: Language) -> None:
    if version in found.loss:
        text = label("mask_loss", lang, value=found.loss[version])
        typeset.write(axes, box.x, box.y + box.height + 9, text, 7, color=shade(0.75))
