"""The content of each modality, drawn into a box of a page: the parts of a product card.

T time, H height, W width, C colour; lengths are points of the `paper` style.
"""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from scale.data.media import MediaError, load_audio, load_image, load_video
from scale.data.product import View
from scale.viz import typeset
from scale.viz.sound import draw_spectrogram, log_mel
from scale.viz.theme import MODALITY_COLOURS, points, shade
from scale.viz.words import Language, label

HEADER = 16.0
"""Height of a tile's header."""
ROW = 13.0
"""Height of a row of a table."""
LINE = 12.5
"""Height of a line of text."""
SAMPLE_RATE = 16_000
"""Hz, of sounds that are drawn."""


class Box(NamedTuple):
    """A rectangle on a page; x and y are its top left corner."""

    x: float
    y: float
    width: float
    height: float


def load(product: View, modality: str, frames: int = 8, seconds: float = 12.0) -> Any:
    """The decoded content of a modality; None if the product lacks it. Raises MediaError."""
    content = getattr(product, modality)
    if content is None:
        return None
    if modality == "image":
        return load_image(content)
    if modality == "video":
        return load_video(content, frames)
    if modality == "audio":
        return load_audio(content, SAMPLE_RATE, seconds)
    return content


def draw_tile(
    axes: Axes, product: View, modality: str, box: Box, lang: Language, **amounts: float
) -> None:
    """Header and content of one modality; a hatched tile where it is absent or broken.

    `amounts` are the `frames` and `seconds` of `load`.
    """
    inner = Box(box.x, box.y + HEADER, box.width, box.height - HEADER)
    fact = ""
    try:
        content = load(product, modality, **amounts)
    except MediaError as error:
        typeset.absent_tile(axes, *inner, f"{label('broken', lang)}: {error.reason}")
    else:
        if content is None:
            typeset.absent_tile(axes, *inner, label(f"absent_{modality}", lang))
        else:
            fact = _fact(modality, content, lang)
            DRAW[modality](axes, content, inner, lang)
    square = Box(box.x, box.y + 2, 8, 8)
    typeset.box(axes, *square, facecolor=MODALITY_COLOURS[modality], edgecolor="none")
    typeset.write(axes, box.x + 13, box.y + 9.5, label(modality, lang), fontweight="bold")
    end = box.x + box.width, box.y + 9.5
    typeset.write(axes, *end, fact, 7.5, ha="right", color=shade(0.6))


def _fact(modality: str, content: Any, lang: Language) -> str:
    """What a tile's header says about its content."""
    if modality == "image":
        return label("pixel_size", lang, width=content.width, height=content.height)
    if modality == "audio":
        return label("sound_length", lang, seconds=len(content) / SAMPLE_RATE)
    key = {"text": "character_count", "table": "pair_count", "video": "frame_count"}[modality]
    return label(key, lang, n=len(content))


def draw_text(axes: Axes, title: str, box: Box, lang: Language, size: float = 9) -> None:
    """A title, wrapped; its end replaced by an ellipsis where it does not fit."""
    step = LINE * size / 9
    lines = typeset.wrap(title, box.width, size, lines=max(1, int(box.height / step)))
    for number, line in enumerate(lines):
        typeset.write(axes, box.x, box.y + step * number + size, line, size)


def draw_table(axes: Axes, pairs: tuple[tuple[str, str], ...], box: Box, lang: Language) -> None:
    """Pairs in one column or two; what does not fit is counted in the last row."""
    rows = max(1, int(box.height // ROW))
    columns = 1 if len(pairs) <= rows else 2
    room = columns * rows
    shown = pairs if len(pairs) <= room else pairs[: room - 1]
    per_column = rows if len(pairs) > room else -(-len(pairs) // columns)
    width = (box.width - (columns - 1) * 16) / columns
    for number, pair in enumerate(shown):
        column, row = divmod(number, per_column)
        _pair(axes, pair, box.x + column * (width + 16), box.y + row * ROW, width)
    if len(shown) < len(pairs):
        text = label("more_pairs", lang, n=len(pairs) - len(shown))
        end = box.x + box.width, box.y + (rows - 1) * ROW + 9.5
        typeset.write(axes, *end, text, 8, ha="right", color=shade(0.6))


def _pair(axes: Axes, pair: tuple[str, str], x: float, y: float, width: float) -> None:
    """One row: the attribute in grey, its value, a hairline beneath."""
    split = 0.45 * width
    attribute, value = (
        typeset.shorten(part, room - 6, 8)
        for part, room in zip(pair, (split, width - split), strict=True)
    )
    typeset.write(axes, x, y + 9.5, attribute, 8, color=shade(0.62))
    typeset.write(axes, x + split, y + 9.5, value, 8)
    axes.plot([x, x + width], [y + ROW] * 2, color=shade(0.12), linewidth=points(0.6))


def draw_image(axes: Axes, image: Any, box: Box, lang: Language) -> None:
    """A picture, fitted into the box and framed."""
    typeset.picture(axes, image, *box)
    typeset.box(axes, *box)


def draw_video(axes: Axes, frames_THWC: np.ndarray, box: Box, lang: Language) -> None:
    """Frames on a perforated film, time from left to right."""
    band, gap = 9.0, 4.0
    typeset.box(axes, *box, facecolor="#20252D")
    for x in np.arange(box.x + 5, box.x + box.width - 8, 12.0):
        for y in (box.y + 2.6, box.y + box.height - 6.4):
            axes.add_patch(Rectangle((x, y), 5.5, 3.8, color="#C9CED6", linewidth=0))
    width = (box.width - gap) / len(frames_THWC) - gap
    for number, frame_HWC in enumerate(frames_THWC):
        left = box.x + gap + number * (width + gap)
        typeset.picture(axes, frame_HWC, left, box.y + band, width, box.height - 2 * band)


def draw_audio(axes: Axes, wave_T: np.ndarray, box: Box, lang: Language) -> None:
    """A log-mel spectrogram; the box holds its axis labels too."""
    left, right, below = 44.0, 62.0, 30.0
    page_width, page_height = axes.get_xlim()[1], axes.get_ylim()[0]
    place = (
        (box.x + left) / page_width,
        1 - (box.y + box.height - below) / page_height,
        (box.width - left - right) / page_width,
        (box.height - below) / page_height,
    )
    decibel_FL = log_mel(wave_T, SAMPLE_RATE)
    draw_spectrogram(axes.figure.add_axes(place), decibel_FL, SAMPLE_RATE, lang)


DRAW = {
    "text": draw_text,
    "table": draw_table,
    "image": draw_image,
    "video": draw_video,
    "audio": draw_audio,
}
