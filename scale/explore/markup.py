"""Numbers as light HTML: a browser draws it in a few milliseconds, matplotlib needs a hundred.

M modalities (five).
"""

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from io import BytesIO

import numpy as np
from matplotlib.colors import Colormap, Normalize, to_hex
from PIL import Image

from scale.modalities import INDEX, MODALITIES
from scale.viz.theme import MODALITY_COLOURS, text_on
from scale.viz.words import Language, label

THUMBNAIL = 96
"""Side of a small picture in pixels."""


def text(value: str) -> str:
    """A user's text as HTML."""
    return escape(value)


def complaint(message: str) -> str:
    """What is wrong, as HTML that a screen reader speaks at once; nothing for an empty message."""
    return f'<div class="error" role="alert">{escape(message)}</div>' if message else ""


def number(value: float, digits: int = 2) -> str:
    """A number with a true minus sign, none before zero; a dash where it is not finite."""
    return f"{value:z.{digits}f}".replace("-", "−") if np.isfinite(value) else "–"


def data_uri(picture: Image.Image, side: int = THUMBNAIL) -> str:
    """A picture inside the page, fitted into a square of `side` pixels."""
    small = picture.convert("RGB")
    small.thumbnail((side, side))
    buffer = BytesIO()
    small.save(buffer, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + b64encode(buffer.getvalue()).decode("ascii")


def modality_name(modality: str, lang: Language) -> str:
    """The modality's name in its colour."""
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
    """A 5 x 5 matrix as a table: a number and a colour in each cell, hatching where absent.

    weights: frame what weighs a loss: the diagonal in its modality's colour, the upper triangle.
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
    """Bars from zero on one scale, each with a mark at its value before, its number and its change.

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
    """Two modalities' names, each in its colour."""
    return "–".join(modality_name(MODALITIES[m], lang) for m in (i, j))


def present_of(subset: Sequence[str]) -> np.ndarray:
    """present_M of the modalities in `subset`."""
    present_M = np.zeros(len(MODALITIES), bool)
    present_M[[INDEX[m] for m in subset]] = True
    return present_M
