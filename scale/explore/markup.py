"""Numbers, tables, pictures, videos and sounds as HTML, which a browser draws faster than
matplotlib.

M modalities (five), T frames, H height, W width, C colours, S audio samples, L time frames, F mel
bands.
"""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from io import BytesIO

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, Normalize, to_hex, to_rgb
from matplotlib.figure import Figure
from PIL import Image
from scipy.io import wavfile

from scale.data.product import Product
from scale.modalities import MODALITIES
from scale.viz.theme import MODALITY_COLOURS, diverging, use_style
from scale.viz.words import Language, label

THUMBNAIL = 96
"""Size of a small picture in pixels."""
FRAME_MILLISECONDS = 250
"""Duration of a video frame: slow enough to see the order."""
CHANGED = 0.005
"""Least change of a cell that is shown: half of the last digit."""
STRONG = 0.3
"""Change with the strongest colour."""
DPI = 100
"""Resolution of figures."""


def note_html(html: str) -> str:
    """Return a line of small text; `html` is not escaped."""
    return f'<div class="note">{html}</div>'


def status_html(html: str) -> str:
    """Return a line of small text that screen readers announce; `html` is not escaped."""
    return f'<div class="note" role="status">{html}</div>'


def warning_html(html: str) -> str:
    """Return a warning that screen readers announce; `html` is not escaped."""
    return f'<div class="warning" role="status">⚠ {html}</div>'


def error_html(message: str) -> str:
    """Return an error message as an ARIA alert; nothing for an empty message."""
    return f'<div class="error" role="alert">{escape(message)}</div>' if message else ""


def number(value: float, digits: int = 2) -> str:
    """Return a number with a typographic minus sign, and none before zero; a dash if not finite."""
    return f"{value:z.{digits}f}".replace("-", "−") if np.isfinite(value) else "–"


def signed(value: float, digits: int = 2) -> str:
    """Return `number` with a plus sign before positive values."""
    shown = number(value, digits)
    return shown if shown[0] in "−–" else f"+{shown}"


def listed(names: Iterable[str], lang: Language) -> str:
    """Return names joined by commas."""
    return label("comma", lang).join(names)


def modality_name(modality: str, lang: Language) -> str:
    """Return a modality's name in its colour."""
    name, colour = escape(label(modality, lang)), MODALITY_COLOURS[modality]
    return f'<span class="modality" style="--colour:{colour}">{name}</span>'


def pair_name(i: int, j: int, lang: Language) -> str:
    """Return the names of two modalities, or of one if they are equal, each in its colour."""
    return "–".join(modality_name(MODALITIES[m], lang) for m in dict.fromkeys((i, j)))


def table_html(product: Product, most: int, lang: Language) -> str:
    """Return the first `most` attributes of a product, with the number of the others."""
    if product.table is None:
        return note_html(label("absent_table", lang))
    rows = "".join(
        f"<tr><th>{escape(attribute)}</th><td>{escape(value)}</td></tr>"
        for attribute, value in product.table[:most]
    )
    rest = len(product.table) - most
    more = note_html(label("more_pairs", lang, n=rest)) if rest > 0 else ""
    return f'<table class="pairs">{rows}</table>{more}'


def heat_table(
    title: str,
    values_MM: np.ndarray,
    present_M: np.ndarray,
    colours: Colormap,
    norm: Normalize,
    lang: Language,
    weights: bool = False,
    before_MM: np.ndarray | None = None,
    keys: str = "",
    linked: bool = True,
    chosen: tuple[int, int] | None = None,
) -> str:
    """Return a 5 x 5 matrix as a table of coloured numbers; missing modalities are hatched.

    Args:
        weights: frame the cells that weight a loss: diagonal and upper triangle.
        before_MM: previous values. Cells that differ from them by 0.005 or more also show the
            change, on a colour of its own: brown for less, slate blue for more.
        keys: make the cells focusable and pickable, with these letters and `-i-j` as keys.
        linked: highlight cells with keys together with others of the same `data-link`.
        chosen: cell with `aria-selected`.
    """
    shades_MM4 = colours(norm(np.nan_to_num(np.asarray(values_MM, float))))

    def cell(i: int, j: int) -> str:
        place = f'data-key="{keys}-{i}-{j}" role="gridcell" ' if keys else ""
        place += f'data-link="{i}-{j}" ' if keys and linked else ""
        place += 'aria-selected="true" ' if chosen == (i, j) else ""
        names = ", ".join(label(MODALITIES[m], lang) for m in (i, j))
        if not (present_M[i] and present_M[j]):
            name = f'aria-label="{names}: {label("absent", lang)}" ' if keys else ""
            return f'<td {place}{name}class="absent"></td>'
        colour = to_hex(shades_MM4[i, j])
        look, kind = f"background:{colour};color:{ink_on(colour)}", ""
        if weights and i <= j:
            kind = ' class="weight"'
            look += f";--frame:{MODALITY_COLOURS[MODALITIES[i]]}" if i == j else ""
        shown = number(values_MM[i, j])
        change, spoken = "", shown
        if before_MM is not None and abs(values_MM[i, j] - before_MM[i, j]) >= CHANGED:
            delta = values_MM[i, j] - before_MM[i, j]
            spoken = f"{shown} ({signed(delta)})"
            colour = to_hex(change_colours()(0.5 + delta / (2 * STRONG)))
            change = f' data-change="{signed(delta)}"'
            look += f";--change:{colour};--change-ink:{ink_on(colour)}"
        name = f' aria-label="{names}: {spoken}"' if keys else ""
        return f'<td {place}{kind}{name}{change} style="{look}">{shown}</td>'

    names = [f"<th>{modality_name(m, lang)}</th>" for m in MODALITIES]
    rows = [
        f"<tr>{name}{''.join(cell(i, j) for j in range(len(names)))}</tr>"
        for i, name in enumerate(names)
    ]
    grid = f' role="grid" aria-label="{title}" data-group data-columns="5"' if keys else ""
    return (
        f'<div><h4>{title}</h4><table class="heat"{grid}><thead><tr><th></th>{"".join(names)}</tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def ink_on(colour: str) -> str:
    """Return black or white, with a contrast of at least 4.5 on any colour (WCAG 2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) ** 2 > 0.0525 else "#ffffff"


@cache
def change_colours() -> Colormap:
    """Return the colours of changes, those of the light page on every theme; 0.5 is none."""
    with use_style("paper"):
        return diverging()


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
        shown = f"{number(value, digits)}  ({signed(value - old, digits)})"
        rows.append(f'<span>{name}</span><span class="track">{inside}</span>')
        rows.append(f'<span class="value">{shown}</span>')
    return f'<div class="bars">{"".join(rows)}</div>'


def data_uri(kind: str, content: bytes) -> str:
    """Return the content of a file as a data URI; `kind` is its MIME type."""
    return f"data:{kind};base64,{b64encode(content).decode('ascii')}"


def jpeg_uri(picture: Image.Image, side: int = THUMBNAIL) -> str:
    """Return a picture as a JPEG data URI, fitted into a square of `side` pixels."""
    small, buffer = picture.convert("RGB"), BytesIO()
    small.thumbnail((side, side))
    small.save(buffer, format="JPEG", quality=85)
    return data_uri("image/jpeg", buffer.getvalue())


def png_uri(*frames_HWC: np.ndarray) -> str:
    """Return a picture (uint8) as a PNG data URI; several frames are animated in a loop."""
    first, *others = map(Image.fromarray, frames_HWC)
    buffer, how = BytesIO(), {"duration": FRAME_MILLISECONDS, "loop": 0} if others else {}
    first.save(
        buffer, format="PNG", compress_level=1, save_all=bool(others), append_images=others, **how
    )
    return data_uri("image/png", buffer.getvalue())


def figure_png(figure: Figure) -> bytes:
    """Return a figure as PNG. `Figure.savefig` would draw it twice."""
    buffer = BytesIO()
    figure.set_dpi(DPI)
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def sound_uri(sound_S: np.ndarray, sample_rate: int) -> str:
    """Return a sound as a 16-bit WAV data URI, scaled down where it exceeds full scale."""
    peak, buffer = max(1.0, float(np.abs(sound_S).max(initial=0.0))), BytesIO()
    wavfile.write(buffer, int(sample_rate), np.rint(sound_S / peak * 32767).astype("<i2"))
    return data_uri("audio/wav", buffer.getvalue())


def mel_pixels(mel_LF: np.ndarray) -> np.ndarray:
    """Return a log-mel spectrogram in about [-1, 1] as pixels_HWC: time right, frequency up."""
    shade_FL4 = colormaps["magma"]((mel_LF.T[::-1].astype(float) + 1) / 2, bytes=True)
    return np.ascontiguousarray(shade_FL4[:, :, :3])
