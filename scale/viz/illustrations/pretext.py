"""The five pretext tasks on one product, side by side: as it is, what is hidden, what is predicted.

All lengths are points of a page (viz/typeset.py); y grows downwards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scale.config import FeatureConfig
from scale.data.features import fit_picture, pixels_of
from scale.modalities import MODALITIES, SPECS
from scale.studies.context import Reconstruction
from scale.viz import tiles, typeset
from scale.viz.theme import HIT, MODALITY_COLOURS, NEGATIVE, drawn, points, shade, tint
from scale.viz.tiles import Box
from scale.viz.words import Language, label

LEFT, COLUMN, STEP, MARGIN = 88.0, 126.0, 134.0, 14.0
"""Width of the rows' names; width of a task, and from one task to the next."""
TOP, ROW, GAP = 96.0, 112.0, 12.0
"""Where the first row begins, its height, and between rows."""
SIZE, LINE = 10.0, 14.0
"""Of words, and from line to line."""
SHARP = 240
"""Pixels of a picture that is shown as it is."""
STAGES = {"as_is": "fig_as_is", "hidden": "fig_hidden", "predicted": "fig_predicted"}


@dataclass(frozen=True)
class Piece:
    """A word piece of a title or a table."""

    text: str
    """`##` stays in front of one that goes on with a word."""
    guess: str | None = None
    """What the model puts in its place; None where the piece is not hidden."""
    ends_line: bool = False
    """Of tables: the last one of a pair."""


Placed = tuple[float, float, str, Piece]
"""x, width and text of a piece in its line."""


@dataclass(frozen=True)
class TaskView:
    """A pretext task on one product."""

    content: Sequence[Piece] | Reconstruction
    """Pieces of a discrete modality; of a continuous one the vectors, the guess named `all`."""
    loss: float
    """Mean over the hidden positions: cross-entropy in nats, or squared error."""
    baseline: float
    """Loss of the guess without a model: all pieces alike, or the training mean."""


@drawn
def pretext_tasks(
    views: Mapping[str, TaskView], config: FeatureConfig, lang: Language = "en"
) -> Figure:
    """A column a task, in the modality's colour; a modality that is not in `views` is absent.

    Raises ValueError where the features of pictures or clips hold no colours.
    """
    width = MARGIN + LEFT + STEP * len(MODALITIES) - (STEP - COLUMN) + MARGIN
    figure, axes = typeset.page(width, TOP + 3 * (ROW + GAP) + 40)
    typeset.write(axes, MARGIN, 26, label("fig_pretext", lang), 14, fontweight="bold")
    for k, key in enumerate(STAGES.values()):
        lines = typeset.wrap(label(key, lang), LEFT - 10, 11, 4, "bold")
        for number, line in enumerate(lines):
            y = TOP + k * (ROW + GAP) + 14 + 15 * number
            typeset.write(axes, MARGIN, y, line, 11, fontweight="bold", color=shade(0.8))
    for k, modality in enumerate(MODALITIES):
        x = MARGIN + LEFT + k * STEP
        _heading(axes, x, modality, lang)
        boxes = [Box(x, TOP + row * (ROW + GAP), COLUMN, ROW) for row in range(3)]
        if modality not in views:
            typeset.absent_tile(axes, *boxes[0], label(f"absent_{modality}", lang), 10)
            continue
        view = views[modality]
        for stage, box in zip(STAGES, boxes, strict=True):
            if isinstance(view.content, Reconstruction):
                DRAW[modality](axes, view.content, stage, box, config)
            else:
                _pieces(axes, view.content, stage, box, MODALITY_COLOURS[modality])
        below = boxes[-1].y + ROW + 15
        loss = label("fig_task_loss", lang, loss=view.loss)
        typeset.write(axes, x, below, loss, 10, fontweight="bold")
        baseline = "fig_even" if SPECS[modality].kind == "discrete" else "fig_mean"
        text = label(baseline, lang, loss=view.baseline)
        typeset.write(axes, x, below + 14, text, 10, color=shade(0.7))
    return figure


def _heading(axes: Axes, x: float, modality: str, lang: Language) -> None:
    """Short name of the task and what it stands for."""
    task, colour = SPECS[modality].task, MODALITY_COLOURS[modality]
    typeset.write(axes, x, 54, task, 14, fontweight="bold", color=colour)
    name = label(task, lang).removeprefix(task).lstrip("：: ")
    for number, line in enumerate(typeset.wrap(name, COLUMN, 10, 2)):
        typeset.write(axes, x, 70 + 13 * number, line, 10, color=colour)


def _pieces(axes: Axes, pieces: Sequence[Piece], stage: str, box: Box, colour: str) -> None:
    """Pieces as running words; of what does not fit the last line says that there is more."""
    lines, most = _lines(pieces, stage, box.width), int(box.height // LINE)
    if len(lines) > most:
        lines = lines[: most - 1]
        typeset.write(axes, box.x, box.y + (most - 1) * LINE + SIZE, "…", SIZE)
    for number, line in enumerate(lines):
        y = box.y + number * LINE
        for left, width, text, piece in line:
            x = box.x + left
            if piece.guess is None or stage == "as_is":
                style = {"color": colour} if piece.guess is not None else {}
                typeset.write(axes, x, y + SIZE, text, SIZE, **style)
            elif stage == "hidden":
                look = {"facecolor": shade(0.08), "edgecolor": shade(0.45), "hatch": "////"}
                typeset.box(axes, x, y, width, SIZE + 2.5, **look)
            else:
                good = HIT if piece.guess == piece.text else NEGATIVE
                look = {"facecolor": tint(good), "edgecolor": good}
                typeset.box(axes, x, y, width, SIZE + 2.5, **look)
                typeset.write(axes, x + 2.5, y + SIZE, text, SIZE)


def _lines(pieces: Sequence[Piece], stage: str, width: float) -> list[list[Placed]]:
    lines: list[list[Placed]] = [[]]
    x = 0.0
    for piece in pieces:
        boxed = piece.guess is not None and stage != "as_is"
        text = piece.text.removeprefix("##")
        if boxed and stage == "predicted":
            mark = "✓" if piece.guess == piece.text else "×"
            text = f"{mark} {piece.guess.removeprefix('##')}"
        wide = typeset.text_width(text, SIZE) + 5 * boxed
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
    """The picture and its hidden regions; predicted, as the colours of its features."""
    if stage == "predicted":
        pixels_HWC = pixels_of(found.guess_LF["all"], config.image_features, config.patch_size)
    else:
        pixels_HWC = fit_picture(tiles.load(found.product, "image"), SHARP)
    shown = Box(*typeset.picture(axes, pixels_HWC, box.x, box.y, box.height, box.height))
    side = round(len(found.hidden_L) ** 0.5)
    for place in np.flatnonzero(found.hidden_L):
        row, column = divmod(int(place), side)
        cell = shown.width / side
        corner = shown.x + column * cell, shown.y + row * cell
        _mark(axes, Box(*corner, cell, cell), stage, "image")
    typeset.box(axes, *shown)


def _video(axes: Axes, found: Reconstruction, stage: str, box: Box, config: FeatureConfig) -> None:
    """Frames in rows, in the order of time; predicted, as the colours of their features."""
    count = len(found.hidden_L)
    if stage == "predicted":
        vectors = found.guess_LF["all"][:, None]
        frames = [pixels_of(vector, config.video_features, config.frame_size) for vector in vectors]
    else:
        frames = tiles.load(found.product, "video", count)
    columns = int(np.ceil(count**0.5))
    side = min(box.width, box.height) / columns
    for place in range(count):
        row, column = divmod(place, columns)
        corner = box.x + column * side, box.y + row * side
        shown = typeset.picture(axes, frames[place], *corner, side - 2, side - 2)
        if found.hidden_L[place]:
            _mark(axes, Box(*shown), stage, "video")


def _audio(axes: Axes, found: Reconstruction, stage: str, box: Box, config: FeatureConfig) -> None:
    """Log-mel: time to the right, pitch upwards."""
    mel_LF = found.guess_LF["all"] if stage == "predicted" else found.truth_LF
    corners = (box.x, box.x + box.width, box.y + box.height, box.y)
    look = {"cmap": "magma", "vmin": -1, "vmax": 1, "interpolation": "nearest"}
    axes.imshow(mel_LF.T[::-1], extent=corners, aspect="auto", **look)
    step = box.width / len(mel_LF)
    for place in np.flatnonzero(found.hidden_L):
        cell = Box(box.x + place * step, box.y, step, box.height)
        if stage == "hidden":
            _mark(axes, cell, stage, "audio")
        elif stage == "predicted":
            below = Box(cell.x, box.y + box.height + 1, step, 3)
            typeset.box(axes, *below, facecolor=MODALITY_COLOURS["audio"], edgecolor="none")
    typeset.box(axes, *box)


def _mark(axes: Axes, box: Box, stage: str, modality: str) -> None:
    """A hidden place: hatched where it is hidden, framed where it is predicted."""
    if stage == "hidden":
        look = {"facecolor": shade(0.08), "edgecolor": shade(0.45), "hatch": "////", "zorder": 3}
        typeset.box(axes, *box, **look)
    elif stage == "predicted":
        look = {"edgecolor": MODALITY_COLOURS[modality], "linewidth": points(1.6), "zorder": 3}
        inner = (box.x + 1, box.y + 1, box.width - 2, box.height - 2)
        typeset.box(axes, *inner, **look)


DRAW = {"image": _image, "video": _video, "audio": _audio}
