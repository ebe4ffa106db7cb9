"""One look for every figure: colours, fonts, three styles, and files with the same bytes each time.

A figure function draws with matplotlib's object-oriented API and returns the Figure; nothing here
touches pyplot. Lengths are written for the `paper` style (9 point text) and follow the text's size,
so a figure for slides is the same page, larger.
"""

import colorsys
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import replace
from functools import cache, wraps
from pathlib import Path
from typing import Literal, ParamSpec

import matplotlib.style
import numpy as np
from matplotlib import font_manager, rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font
from matplotlib.patheffects import Normal, Stroke
from matplotlib.text import Text
from PIL import Image

Style = Literal["paper", "slides", "dark"]
Parameters = ParamSpec("Parameters")

ASSETS = Path(__file__).parent / "assets"
FONT_FILE = ASSETS / "ScaleSansSC-Regular.otf"
FONT_FAMILIES = ("DejaVu Sans", "SCALE Sans SC")
"""Latin comes with matplotlib, Chinese with this package; the machine needs no fonts."""

SHEETS: dict[str, tuple[str, ...]] = {
    "paper": ("paper",),
    "slides": ("paper", "slides"),
    "dark": ("paper", "dark"),
}

MODALITY_COLOURS: dict[str, str] = {
    "text": "#1668DC",
    "table": "#AA8F45",
    "image": "#32A287",
    "video": "#D63E0C",
    "audio": "#C658BC",
}
"""Okabe and Ito's hues, moved until each has contrast of at least 3 : 1 on white and on the dark
page, and any two stay apart under protanopia, deuteranopia and tritanopia (tests/viz/test_style.py
measures both)."""

HIT = "#1D9A57"
"""Frame of a retrieved product that is relevant; always with a tick mark, never by colour alone."""
NEGATIVE, POSITIVE = "#C2410C", "#1668DC"
"""Ends of the diverging colour map."""

_HAN = re.compile("[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]")
_active: ContextVar[str | None] = ContextVar("active_style", default=None)


@cache
def register_fonts() -> None:
    """Make the shipped Chinese font known to matplotlib, once per process.

    Only its regular weight ships. It is entered as bold too, so that a bold line with Chinese in it
    does not log a search that failed.
    """
    font_manager.fontManager.addfont(FONT_FILE)
    regular = font_manager.fontManager.ttflist[-1]
    font_manager.fontManager.ttflist.append(replace(regular, weight=700))


@contextmanager
def use_style(name: Style = "paper") -> Iterator[None]:
    """Draw in a style: `paper` (print and web), `slides` (projector) or `dark` (dark page).

    Settings of the user's matplotlib are put aside inside and come back after. Raises ValueError
    for an unknown name.
    """
    if name not in SHEETS:
        raise ValueError(f"unknown style {name!r}; known: {', '.join(SHEETS)}")
    register_fonts()
    sheets = [ASSETS / f"{sheet}.mplstyle" for sheet in SHEETS[name]]
    token = _active.set(name)
    try:
        with matplotlib.style.context(sheets, after_reset=True):
            yield
    finally:
        _active.reset(token)


def drawn(function: Callable[Parameters, Figure]) -> Callable[Parameters, Figure]:
    """Decorator of figure functions: draws in the active style, or in `paper` if there is none.

    The figure is laid out before the style ends, because matplotlib makes tick labels only then,
    and they would otherwise lose the fonts.
    """

    @wraps(function)
    def wrapper(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Figure:
        with nullcontext() if _active.get() else use_style("paper"):
            figure = function(*args, **kwargs)
            figure.draw_without_rendering()
            _embolden_chinese(figure)
            return figure

    return wrapper


def _embolden_chinese(figure: Figure) -> None:
    """Bold lines with Chinese in them become regular ones with a thicker stroke.

    The shipped font has one weight; bold Latin beside regular Chinese would look like a fault.
    """
    for text in figure.findobj(Text):
        if text.get_fontweight() in ("bold", 700) and _HAN.search(text.get_text()):
            stroke = Stroke(linewidth=0.05 * text.get_fontsize(), foreground=text.get_color())
            text.set_fontweight("normal")
            text.set_path_effects([*(text.get_path_effects() or []), stroke, Normal()])


@cache
def drawable() -> tuple[frozenset[int], frozenset[int]]:
    """Code points of the Latin font and of the shipped one."""
    register_fonts()
    latin = font_manager.findfont(font_manager.FontProperties(family=FONT_FAMILIES[0]))
    return tuple(frozenset(get_font(path).get_charmap()) for path in (latin, str(FONT_FILE)))


def _characters(figure: Figure) -> set[str]:
    texts = (text.get_text() for text in figure.findobj(Text) if text.get_visible())
    return {character for text in texts for character in text if character.isprintable()}


def lacking_characters(figure: Figure) -> list[str]:
    """Characters that a figure writes and no font of ours has: they are drawn as boxes."""
    known = frozenset.union(*drawable())
    return sorted(c for c in _characters(figure) if ord(c) not in known)


def unit() -> float:
    """Length of one `paper` point in the active style, in points."""
    return rcParams["font.size"] / 9.0


def points(size: float) -> float:
    """A text size or line width of the `paper` style, in the active style's points."""
    return size * unit()


def new_figure(width: float, height: float) -> Figure:
    """An empty figure with constrained layout; width and height in inches of the `paper` style."""
    figure = Figure(figsize=(width * unit(), height * unit()), layout="constrained")
    pad = 0.07 * unit()
    figure.get_layout_engine().set(w_pad=pad, h_pad=pad, wspace=0.03, hspace=0.03)
    return figure


def strip(axes: Axes) -> None:
    """Remove grid, frame and tick marks of a panel; tick labels stay."""
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(which="both", length=0)


def shade(amount: float) -> str:
    """A grey of the active page: 0 is the page's colour, 1 the text's colour."""
    return mix(rcParams["figure.facecolor"], rcParams["text.color"], amount)


def mix(first: str, second: str, amount: float) -> str:
    """The colour that lies `amount` (0 to 1) of the way from one colour to another."""
    pairs = zip(to_rgb(first), to_rgb(second), strict=True)
    return to_hex([(1 - amount) * a + amount * b for a, b in pairs])


def tint(colour: str, amount: float = 0.14) -> str:
    """A colour thinned to a background on the active page."""
    return mix(rcParams["figure.facecolor"], colour, amount)


def sequential() -> LinearSegmentedColormap:
    """From the page's colour (0) to blue (most)."""
    colours = [shade(0.03), tint(POSITIVE, 0.5), POSITIVE, mix(POSITIVE, "#000000", 0.35)]
    return LinearSegmentedColormap.from_list("sequential", colours[: 4 if is_light() else 3])


def diverging() -> LinearSegmentedColormap:
    """From orange (negative) over the page's colour (0) to blue (positive)."""
    return LinearSegmentedColormap.from_list("diverging", [NEGATIVE, shade(0.03), POSITIVE])


def is_light(colour: str | tuple[float, ...] | None = None) -> bool:
    """Whether dark text reads better than white on a colour (default: the active page)."""
    red, green, blue = to_rgb(colour or rcParams["figure.facecolor"])
    return 0.299 * red + 0.587 * green + 0.114 * blue > 0.58


def text_on(colour: str | tuple[float, ...]) -> str:
    """The text colour to write on a colour with."""
    return "#1B2330" if is_light(colour) else "#FFFFFF"


def category_colours(count: int) -> list[str]:
    """`count` colours for unordered categories: hues by the golden ratio, three lightnesses."""
    hues = [(0.58 + k * 0.618034) % 1.0 for k in range(count)]
    levels = [(0.50, 0.62), (0.40, 0.75), (0.60, 0.50)]
    return [to_hex(colorsys.hls_to_rgb(h, *levels[k % 3])) for k, h in enumerate(hues)]


def save_figure(
    figure: Figure,
    path_stem: Path | str,
    formats: tuple[str, ...] = ("png", "svg"),
    colours: int | None = None,
) -> list[Path]:
    """Write `<path_stem>.<format>` for each format and return the paths.

    The same figure gives the same bytes: no dates, no random ids. A file appears whole or not at
    all. SVG carries its letters as outlines, so that it reads on a machine without the fonts. PDF
    embeds the fonts, and its letters can be searched and copied.

    Args:
        colours: reduce a PNG to a palette of so many (up to 256): a third of the bytes for a page
            of photographs. docs/noise.png is `save_figure(noise_sheet(a, b), "docs/noise",
            ("png",), colours=256)` with products p0038 and p0018 of data_samples.
    """
    stem = Path(path_stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    no_date = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    paths = []
    for kind in formats:
        path = stem.with_name(f"{stem.name}.{kind}")
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        fonts = {"svg.fonttype": "path", "pdf.fonttype": _pdf_font_type(figure)}
        with rc_context({"svg.hashsalt": "scale", **fonts}):
            figure.savefig(unfinished, format=kind, metadata=no_date.get(kind))
        if kind == "png" and colours:
            reduce_colours(unfinished, colours)
        unfinished.replace(path)
        paths.append(path)
    return paths


def _pdf_font_type(figure: Figure) -> int:
    """42 (TrueType), or 3 (outlines) where the shipped font draws: its outlines are CFF, which
    matplotlib would embed under TrueType's name, and not every reader forgives that."""
    latin, _ = drawable()
    return 42 if all(ord(c) in latin for c in _characters(figure)) else 3


EXACT_SHARE = 0.3
"""Part of a palette that goes to the colours of the largest areas as they are: page, headings."""
CHUNK = 4096
"""Colours that are matched with the palette at once."""


def reduce_colours(path: Path, colours: int = 256) -> None:
    """Rewrite a PNG with a palette of up to 256 colours.

    The colours of even areas stay exact, so that what the page draws keeps its hue; the rest, the
    photographs, share the other places by median cut. Without dithering, which costs bytes.
    """
    with Image.open(path) as opened:
        pixels_HWC = np.asarray(opened.convert("RGB"))
    code_HW = pixels_HWC.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    code_U, place_HW = np.unique(code_HW, return_inverse=True)
    place_HW = place_HW.reshape(code_HW.shape)
    colour_U3 = np.stack([code_U >> 16, code_U >> 8 & 255, code_U & 255], axis=1)
    corner_HW = code_HW[:-1, :-1]
    even_HW = (corner_HW == code_HW[1:, :-1]) & (corner_HW == code_HW[:-1, 1:])
    area_U = np.bincount(place_HW[:-1, :-1][even_HW], minlength=len(code_U))
    order_U = np.argsort(-area_U, kind="stable")
    flat, rest = np.split(order_U, [round(EXACT_SHARE * colours)])
    palette_K3 = colour_U3[flat]
    if len(rest):
        left_HW = ~np.isin(place_HW, flat)
        strip = Image.fromarray(pixels_HWC[left_HW][None])
        medians = strip.quantize(colours - len(flat), Image.Quantize.MEDIANCUT).getpalette()
        palette_K3 = np.concatenate([palette_K3, np.reshape(medians, (-1, 3))])[:colours]
    nearest_U = np.concatenate(
        [
            ((part[:, None] - palette_K3) ** 2).sum(2).argmin(1)
            for part in np.split(colour_U3, range(CHUNK, len(colour_U3), CHUNK))
        ]
    )
    image = Image.fromarray(nearest_U[place_HW].astype(np.uint8))
    image.putpalette(palette_K3.astype(np.uint8).ravel().tolist())
    image.save(path, format="png", optimize=True)
