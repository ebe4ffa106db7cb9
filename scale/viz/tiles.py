"""Content of each modality, drawn into a box of a page.

T time, H height, W width, C colour, F mel bands, L time frames; lengths are points of the `paper`
style.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from PIL import Image
from transformers.audio_utils import hertz_to_mel, mel_filter_bank, spectrogram, window_function

from scale.data.media import MediaError, load_audio, load_image, load_video
from scale.data.product import View
from scale.viz import typeset
from scale.viz.theme import MODALITY_COLOURS, on_slide, points, shade
from scale.viz.words import LANG, Language, label

HOP_SECONDS, WINDOW_SECONDS = 0.010, 0.032
DECIBELS = 80.0
"""Range shown below the maximum."""
TICKS_HERTZ = (250, 500, 1000, 2000, 4000, 8000)


def log_mel(wave_T: np.ndarray, sample_rate: int, mel_bins: int = 64) -> np.ndarray:
    """Return the mel power spectrogram in dB below its maximum, (F, L), within [-80, 0].

    Windows of 32 ms every 10 ms; `mel_bins` triangular bands on the HTK mel scale from 0 Hz to half
    the sample rate (in Hz). Silence is -80 everywhere.
    """
    window = int(WINDOW_SECONDS * sample_rate)
    fft = 1 << (window - 1).bit_length()
    padded_T = np.pad(wave_T, (0, max(0, window - len(wave_T))))
    power_FL = spectrogram(
        padded_T,
        window_function(window, "hann"),
        frame_length=window,
        hop_length=int(HOP_SECONDS * sample_rate),
        fft_length=fft,
        power=2.0,
        pad_mode="constant",
        mel_filters=mel_filter_bank(fft // 2 + 1, mel_bins, 0.0, sample_rate / 2, sample_rate),
    )
    decibel_FL = 10.0 * np.log10(np.maximum(power_FL, 1e-10))
    if decibel_FL.max() <= -100.0 + 1e-6:
        return np.full_like(power_FL, -DECIBELS)
    return np.maximum(decibel_FL - decibel_FL.max(), -DECIBELS)


def draw_spectrogram(
    axes: Axes, decibel_FL: np.ndarray, sample_rate: int, lang: Language = LANG
) -> None:
    """Draw `log_mel` with seconds, kilohertz at mel positions and a colour bar in decibels."""
    seconds = decibel_FL.shape[1] * HOP_SECONDS
    top = hertz_to_mel(sample_rate / 2)
    image = axes.imshow(
        decibel_FL,
        origin="lower",
        aspect="auto",
        extent=(0, seconds, 0, top),
        cmap="magma",
        vmin=-DECIBELS,
        vmax=0,
        interpolation="nearest",
    )
    ticks = [hertz for hertz in TICKS_HERTZ if hertz <= sample_rate / 2]
    names = [f"{hertz / 1000:g}" for hertz in ticks]
    axes.set_yticks([hertz_to_mel(hertz) for hertz in ticks], names)
    axes.set(xlabel=label("seconds", lang), ylabel=label("kilohertz", lang))
    axes.grid(visible=False)
    axes.tick_params(labelsize=points(7.5))
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_fontsize(points(7.5))
    place = axes.get_position()
    bar = axes.figure.add_axes((place.x1 + 0.012, place.y0, 0.010, place.height))
    axes.figure.colorbar(image, cax=bar).outline.set_edgecolor(shade(0.3))
    bar.set_ylabel(label("decibel", lang), fontsize=points(7.5))
    bar.tick_params(labelsize=points(7.5))


HEADER = 16.0
"""Height of a tile's header."""
ROW = 13.0
"""Height of a row of a table."""
LINE = 12.5
"""Height of a line of text."""
SAMPLE_RATE = 16_000
"""Sampling rate of drawn sounds in Hz."""


class Box(NamedTuple):
    """A rectangle on a page; x and y are its top left corner."""

    x: float
    y: float
    width: float
    height: float


def larger(path: Path) -> Path:
    """Return the larger version of a picture: of the same name, in `large` beside its folder.

    The picture itself if there is none.
    """
    found = path.parent.parent / "large" / path.name
    return found if found.is_file() else path


def load(
    product: View,
    modality: str,
    frames: int = 8,
    seconds: float = 12.0,
    large: bool | None = None,
) -> Any:
    """Return the decoded content of a modality, or None if it is missing. Raises MediaError.

    Args:
        large: whether to return the larger version of a picture; default: on slides.
    """
    content = getattr(product, modality)
    if content is None:
        return None
    if modality == "image":
        wanted = on_slide() if large is None else large
        return load_image(larger(content) if wanted and isinstance(content, Path) else content)
    if modality == "video":
        return load_video(content, frames)
    if modality == "audio":
        return load_audio(content, SAMPLE_RATE, seconds)
    return content


def draw_tile(
    axes: Axes, product: View, modality: str, box: Box, lang: Language, **amounts: float
) -> None:
    """Draw header and content of one modality; a hatched tile if it is missing or undecodable.

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
    draw_header(axes, modality, box.x, box.y, box.width, fact, lang)


def draw_header(
    axes: Axes, modality: str, x: float, y: float, width: float, fact: str, lang: Language
) -> None:
    """Draw the colour and name of a modality, and a fact in grey at the right end."""
    typeset.box(axes, x, y + 2, 8, 8, facecolor=MODALITY_COLOURS[modality], edgecolor="none")
    typeset.write(axes, x + 13, y + 9.5, label(modality, lang), fontweight="bold")
    typeset.write(axes, x + width, y + 9.5, fact, 7.5, ha="right", color=shade(0.6))


def _fact(modality: str, content: Any, lang: Language) -> str:
    """Return the size of the content, for the header of its tile."""
    if modality == "image":
        return label("pixel_size", lang, width=content.width, height=content.height)
    if modality == "audio":
        return label("sound_length", lang, seconds=len(content) / SAMPLE_RATE)
    key = {"text": "character_count", "table": "pair_count", "video": "frame_count"}[modality]
    return label(key, lang, n=len(content))


def draw_text(axes: Axes, title: str, box: Box, lang: Language, size: float = 9) -> None:
    """Draw a title, wrapped; text that does not fit ends in an ellipsis."""
    step = LINE * size / 9
    lines = typeset.wrap(title, box.width, size, lines=max(1, int(box.height / step)))
    typeset.write_lines(axes, box.x, box.y + size, lines, size, step)


def draw_table(axes: Axes, pairs: tuple[tuple[str, str], ...], box: Box, lang: Language) -> None:
    """Draw pairs in one or two columns; pairs that do not fit are counted in the last row."""
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
    """Draw one row: the attribute in grey, its value, a hairline below."""
    split = 0.45 * width
    attribute, value = (
        typeset.shorten(part, room - 6, 8)
        for part, room in zip(pair, (split, width - split), strict=True)
    )
    typeset.write(axes, x, y + 9.5, attribute, 8, color=shade(0.62))
    typeset.write(axes, x + split, y + 9.5, value, 8)
    axes.plot([x, x + width], [y + ROW] * 2, color=shade(0.12), linewidth=points(0.6))


def draw_image(axes: Axes, image: Any, box: Box, lang: Language) -> None:
    """Draw an image, fitted into the box and framed."""
    typeset.picture(axes, image, *box)
    typeset.box(axes, *box)


def draw_video(axes: Axes, frames_THWC: np.ndarray, box: Box, lang: Language) -> None:
    """Draw frames on a perforated film, time from left to right."""
    band, gap = 9.0, 4.0
    typeset.box(axes, *box, facecolor="#20252D")
    for x in np.arange(box.x + 5, box.x + box.width - 8, 12.0):
        for y in (box.y + 2.6, box.y + box.height - 6.4):
            axes.add_patch(Rectangle((x, y), 5.5, 3.8, color="#C9CED6", linewidth=0))
    width = (box.width - gap) / len(frames_THWC) - gap
    for number, frame_HWC in enumerate(frames_THWC):
        left = box.x + gap + number * (width + gap)
        typeset.picture(axes, frame_HWC, left, box.y + band, width, box.height - 2 * band)


def draw_mel(axes: Axes, mel_FL: np.ndarray, box: Box, low: float, high: float) -> None:
    """Draw log-mel as a picture in a box, pitch up, with colours from `low` to `high`."""
    extent = (box.x, box.x + box.width, box.y + box.height, box.y)
    look = {"cmap": "magma", "vmin": low, "vmax": high, "interpolation": "nearest"}
    axes.imshow(mel_FL[::-1], extent=extent, aspect="auto", **look)


def spectrogram_image(wave_T: np.ndarray) -> Image.Image:
    """Return the log-mel spectrogram of a sound at SAMPLE_RATE: high frequencies at the top."""
    level_FL = log_mel(wave_T, SAMPLE_RATE)[::-1] / DECIBELS + 1.0
    return Image.fromarray(colormaps["magma"](level_FL, bytes=True)[..., :3])


def draw_audio(axes: Axes, wave_T: np.ndarray, box: Box, lang: Language) -> None:
    """Draw a log-mel spectrogram; the box includes its axis labels."""
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
