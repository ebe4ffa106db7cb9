"""Numbers, pictures, videos and sounds as HTML, which a browser draws faster than matplotlib.

M modalities (five), T frames, H height, W width, C colours, S audio samples, L time frames, F mel
bands.
"""

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from io import BytesIO

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Colormap, Normalize, to_hex
from PIL import Image

from scale.modalities import MODALITIES
from scale.viz.theme import MODALITY_COLOURS, text_on
from scale.viz.words import Language, label

THUMBNAIL = 96
"""Size of a small picture in pixels."""


def text(value: str) -> str:
    """Escape a user's text as HTML."""
    return escape(value)


def note_html(html: str) -> str:
    """Return a line of small text; `html` is not escaped."""
    return f'<div class="note">{html}</div>'


def error_html(message: str) -> str:
    """Return an error message as an ARIA alert; nothing for an empty message."""
    return f'<div class="error" role="alert">{escape(message)}</div>' if message else ""


def number(value: float, digits: int = 2) -> str:
    """Return a number with a typographic minus sign, and none before zero; a dash if not finite."""
    return f"{value:z.{digits}f}".replace("-", "−") if np.isfinite(value) else "–"


def data_uri(picture: Image.Image, side: int = THUMBNAIL) -> str:
    """Return a picture as a JPEG data URI, fitted into a square of `side` pixels."""
    small = picture.convert("RGB")
    small.thumbnail((side, side))
    buffer = BytesIO()
    small.save(buffer, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + b64encode(buffer.getvalue()).decode("ascii")


def modality_name(modality: str, lang: Language) -> str:
    """Return a modality's name in its colour."""
    colour = MODALITY_COLOURS[modality]
    return f'<span style="color:{colour}">{text(label(modality, lang))}</span>'


def heat_table(
    title: str,
    values_MM: np.ndarray,
    present_M: np.ndarray,
    colours: Colormap,
    norm: Normalize,
    lang: Language,
    weights: bool = False,
) -> str:
    """Return a 5 x 5 matrix as a table of coloured numbers; missing modalities are hatched.

    weights: frame the cells that weight a loss: diagonal and upper triangle.
    """
    shades_MM4 = colours(norm(np.nan_to_num(np.asarray(values_MM, float))))
    names = "".join(f"<th>{modality_name(m, lang)}</th>" for m in MODALITIES)
    rows = [f"<thead><tr><th></th>{names}</tr></thead><tbody>"]
    for i, one in enumerate(MODALITIES):
        cells = [
            _cell(values_MM, present_M, shades_MM4, i, j, weights) for j in range(len(MODALITIES))
        ]
        rows.append(f"<tr><th>{modality_name(one, lang)}</th>{''.join(cells)}</tr>")
    return f'<div><h4>{title}</h4><table class="heat">{"".join(rows)}</tbody></table></div>'


def _cell(
    values_MM: np.ndarray,
    present_M: np.ndarray,
    shades_MM4: np.ndarray,
    i: int,
    j: int,
    weights: bool,
) -> str:
    if not (present_M[i] and present_M[j]):
        return '<td class="absent"></td>'
    colour = to_hex(shades_MM4[i, j])
    look, kind = f"background:{colour};color:{text_on(colour)}", ""
    if weights and i <= j:
        kind = ' class="weight"'
        look += f";--frame:{MODALITY_COLOURS[MODALITIES[i]]}" if i == j else ""
    return f'<td{kind} style="{look}">{number(values_MM[i, j])}</td>'


def bar_rows(
    names: Sequence[str],
    values: Sequence[float],
    before: Sequence[float],
    colours: Sequence[str],
    low: float,
    high: float,
    digits: int = 2,
) -> str:
    """Return bars from zero on one scale, each with a mark at the previous value, and its change.

    names are HTML; a value that is not finite has neither bar nor change.
    """
    span = max(high - low, 1e-9)

    def place(value: float) -> float:
        return 100 * (min(max(value, low), high) - low) / span

    rows = []
    for name, value, old, colour in zip(names, values, before, colours, strict=True):
        inside = f'<span class="zero" style="left:{place(0):.1f}%"></span>'
        if np.isfinite(value):
            start, end = sorted((place(0), place(value)))
            look = f"left:{start:.1f}%;width:{end - start:.1f}%;background:{colour}"
            inside += f'<span class="bar" style="{look}"></span>'
        if np.isfinite(old):
            inside += f'<span class="before" style="left:{place(old):.1f}%"></span>'
        change = number(value - old, digits)
        sign = "+" if np.isfinite(value - old) and value - old >= 0 else ""
        shown = f"{number(value, digits)}  ({sign}{change})"
        rows.append(f'<span>{name}</span><span class="track">{inside}</span>')
        rows.append(f'<span class="value">{shown}</span>')
    return f'<div class="bars">{"".join(rows)}</div>'


def pair_name(i: int, j: int, lang: Language) -> str:
    """Return the names of two modalities, each in its colour."""
    return "–".join(modality_name(MODALITIES[m], lang) for m in (i, j))


FRAME_MILLISECONDS = 250
"""Duration of a video frame: slow enough to see the order."""


def png_uri(pixels_HWC: np.ndarray) -> str:
    """Return a picture (uint8) as a PNG data URI."""
    buffer = BytesIO()
    Image.fromarray(pixels_HWC).save(buffer, format="PNG", compress_level=1)
    return _uri("image/png", buffer.getvalue())


def clip_uri(frames_THWC: np.ndarray) -> str:
    """Return frames (uint8) as a looping animated PNG."""
    first, *others = map(Image.fromarray, frames_THWC)
    buffer = BytesIO()
    how = {"save_all": True, "append_images": others, "loop": 0, "compress_level": 1}
    first.save(buffer, format="PNG", duration=FRAME_MILLISECONDS, **how)
    return _uri("image/png", buffer.getvalue())


def sound_uri(sound_S: np.ndarray, sample_rate: int) -> str:
    """Return a sound as a 16-bit WAV data URI, scaled down where it exceeds full scale."""
    peak = max(1.0, float(np.abs(sound_S).max(initial=0.0)))
    samples = np.rint(sound_S / peak * 32767).astype("<i2").tobytes()
    rate = int(sample_rate)
    header = b"RIFF" + (36 + len(samples)).to_bytes(4, "little") + b"WAVEfmt "
    for value, size in ((16, 4), (1, 2), (1, 2), (rate, 4), (2 * rate, 4), (2, 2), (16, 2)):
        header += value.to_bytes(size, "little")
    return _uri("audio/wav", header + b"data" + len(samples).to_bytes(4, "little") + samples)


def mel_pixels(mel_LF: np.ndarray) -> np.ndarray:
    """Return a log-mel spectrogram in about [-1, 1] as pixels_HWC: time right, frequency up."""
    shade_FL4 = colormaps["magma"]((mel_LF.T[::-1].astype(float) + 1) / 2, bytes=True)
    return np.ascontiguousarray(shade_FL4[:, :, :3])


def _uri(kind: str, body: bytes) -> str:
    return f"data:{kind};base64," + b64encode(body).decode("ascii")
