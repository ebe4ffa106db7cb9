"""Theme of all figures: colours, fonts, three styles, and reproducible files.

Figure functions use matplotlib's object-oriented API and return the Figure, without pyplot. Lengths
are given for the `paper` style (9 point text). In the style `slides` a figure fills the place that
it gets on a slide (`place`), at its final size: no text is smaller than SMALLEST_ON_SLIDE. Figures
that need less text or another arrangement for it have a drawing of their own (registry.py).
"""

import colorsys
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
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
from matplotlib.text import Text
from PIL import Image

from scale.config import require

Style = Literal["paper", "slides", "dark"]
Parameters = ParamSpec("Parameters")

ASSETS = Path(__file__).parent / "assets"
FONT_FILE = ASSETS / "ScaleSansSC-Regular.otf"
BOLD_FILE = ASSETS / "ScaleSansSC-Bold.otf"
"""Both contain the same characters."""
FONT_FAMILIES = ("DejaVu Sans", "SCALE Sans SC")
"""Latin comes with matplotlib, Chinese with this package; no system fonts are needed."""

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
"""Okabe and Ito's hues, adjusted to a contrast of at least 3 : 1 on white and on the dark page, and
distinguishable under protanopia, deuteranopia and tritanopia (tests/viz/test_theme.py)."""

HIT = "#2F7D32"
"""Frame of a relevant result; always with a tick mark, never by colour alone."""
NEGATIVE, POSITIVE = "#8B5E3C", "#5B6B8C"
"""Ends of the diverging colour map, brown and slate: all contrasts that are not modalities."""
ACCENTS = (POSITIVE, NEGATIVE, HIT, "#7B4FB5", "#8A93A0")
"""Colours of up to five series that are not modalities."""

SMALLEST_ON_SLIDE = 14.0
"""Smallest text in a figure on a slide, in points."""
DENSE = "dense"
"""Label of figures with too much text for a slide."""
SUBSCRIPT = "subscript"
"""Label of texts that are smaller as a part of a larger one."""
SLIDE_AREA = (12.13, 5.17)
"""Width and height of the content of a slide in inches: between title and source line."""

_active: ContextVar[str | None] = ContextVar("active_style", default=None)
_place: ContextVar[tuple[float, float]] = ContextVar("place", default=SLIDE_AREA)


@cache
def register_fonts() -> None:
    """Register the shipped Chinese fonts with matplotlib, once per process."""
    for file in (FONT_FILE, BOLD_FILE):
        font_manager.fontManager.addfont(file)


@contextmanager
def use_style(name: Style = "paper", place: tuple[float, float] = SLIDE_AREA) -> Iterator[None]:
    """Draw in a style: `paper` (print and web), `slides` (projector) or `dark` (dark page).

    The user's matplotlib settings are reset inside and restored afterwards. Raises ValueError for
    an unknown name.

    Args:
        place: of `slides`: width and height of the figure on the slide, in inches.
    """
    if name not in SHEETS:
        raise ValueError(f"unknown style {name!r}; known: {', '.join(SHEETS)}")
    register_fonts()
    sheets = [ASSETS / f"{sheet}.mplstyle" for sheet in SHEETS[name]]
    style, where = _active.set(name), _place.set(place)
    try:
        with matplotlib.style.context(sheets, after_reset=True):
            yield
    finally:
        _active.reset(style)
        _place.reset(where)


def on_slide() -> bool:
    """Whether the active style is `slides`."""
    return _active.get() == "slides"


def place() -> tuple[float, float]:
    """Return width and height of the figure's place on the slide, in points of `paper`."""
    width, height = _place.get()
    return 72 * width / unit(), 72 * height / unit()


def drawn(function: Callable[Parameters, Figure]) -> Callable[Parameters, Figure]:
    """Decorate a figure function to draw in the active style, or in `paper` if there is none.

    The figure is laid out before the style ends, because matplotlib creates tick labels only then,
    and they would lose the fonts.
    """

    @wraps(function)
    def wrapper(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Figure:
        with nullcontext() if _active.get() else use_style("paper"):
            figure = function(*args, **kwargs)
            _enlarge_text(figure)
            figure.draw_without_rendering()
            return figure

    return wrapper


def _enlarge_text(figure: Figure) -> None:
    """Enlarge smaller text of a figure for a slide to SMALLEST_ON_SLIDE.

    Pages (typeset.py) have no layout that would make room for it.
    """
    if on_slide() and figure.get_layout_engine() and figure.get_label() != DENSE:
        for text in figure.findobj(Text):
            text.set_fontsize(max(text.get_fontsize(), SMALLEST_ON_SLIDE))


def text_sizes(figure: Figure) -> list[float]:
    """Return the sizes of the visible texts of a figure in points, smallest first.

    Subscripts do not count.
    """
    hidden = {
        text for axes in figure.axes if not (axes.axison and axes.get_visible())
        for axis in (axes.xaxis, axes.yaxis) for text in axis.findobj(Text)
    }  # fmt: skip
    return sorted(
        text.get_fontsize()
        for text in figure.findobj(Text)
        if text.get_visible()
        and text.get_text().strip()
        and text not in hidden
        and text.get_label() != SUBSCRIPT
    )


def require_readable(figure: Figure, name: str) -> None:
    """Raise ValueError if a figure for a slide has text below SMALLEST_ON_SLIDE at its place."""
    smallest, sides = next(iter(text_sizes(figure)), None), figure.get_size_inches()
    if smallest is not None:
        smallest *= min(1.0, *(given / own for given, own in zip(_place.get(), sides, strict=True)))
        message = f"{name}: text of {smallest:.1f} points on a slide, too small to read"
        require(smallest > SMALLEST_ON_SLIDE - 0.1, message)


@cache
def drawable() -> tuple[frozenset[int], frozenset[int]]:
    """Return the code points of the Latin font and of the shipped one."""
    register_fonts()
    latin = font_manager.findfont(font_manager.FontProperties(family=FONT_FAMILIES[0]))
    return tuple(frozenset(get_font(path).get_charmap()) for path in (latin, str(FONT_FILE)))


def _characters(figure: Figure) -> set[str]:
    texts = (text.get_text() for text in figure.findobj(Text) if text.get_visible())
    return {character for text in texts for character in text if character.isprintable()}


def lacking_characters(figure: Figure) -> list[str]:
    """Return the characters of a figure that no font has; they are drawn as boxes."""
    known = frozenset.union(*drawable())
    return sorted(c for c in _characters(figure) if ord(c) not in known)


def unit() -> float:
    """Return the length of one `paper` point in the active style, in points."""
    return rcParams["font.size"] / 9.0


def points(size: float) -> float:
    """Convert a text size or line width of the `paper` style to points of the active style."""
    return size * unit()


def new_figure(width: float, height: float, dense: bool = False) -> Figure:
    """Return an empty figure with constrained layout; inches of the `paper` style.

    On a slide, it is as large as its place allows, with the same proportions.

    Args:
        dense: whether it has too much text for a slide: it keeps the proportions of text and page,
            so it is larger than its place and its text is small when it is reduced to it.
    """
    if on_slide() and not dense:
        scale = min(side / 72 / own for side, own in zip(place(), (width, height), strict=True))
        width, height = width * scale, height * scale
    figure = Figure(figsize=(width * unit(), height * unit()), layout="constrained")
    figure.set_label(DENSE if dense else "")
    pad = 0.07 * unit()
    figure.get_layout_engine().set(w_pad=pad, h_pad=pad, wspace=0.03, hspace=0.03)
    return figure


def strip(axes: Axes) -> None:
    """Remove grid, frame and tick marks of a panel; tick labels stay."""
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(which="both", length=0)


def shade(amount: float) -> str:
    """Return a grey of the active page: 0 is the colour of the page, 1 that of the text."""
    return mix(rcParams["figure.facecolor"], rcParams["text.color"], amount)


def mix(first: str, second: str, amount: float) -> str:
    """Interpolate between two colours; `amount` is 0 to 1."""
    pairs = zip(to_rgb(first), to_rgb(second), strict=True)
    return to_hex([(1 - amount) * a + amount * b for a, b in pairs])


def tint(colour: str, amount: float = 0.14) -> str:
    """Blend a colour with the active page, for backgrounds."""
    return mix(rcParams["figure.facecolor"], colour, amount)


def sequential() -> LinearSegmentedColormap:
    """Return a colour map from the colour of the page (0) to slate (maximum)."""
    colours = [shade(0.03), tint(POSITIVE, 0.5), POSITIVE, mix(POSITIVE, "#000000", 0.35)]
    return LinearSegmentedColormap.from_list("sequential", colours[: 4 if is_light() else 3])


def diverging() -> LinearSegmentedColormap:
    """Return a colour map from brown (negative) over the page's colour (0) to slate (positive)."""
    return LinearSegmentedColormap.from_list("diverging", [NEGATIVE, shade(0.03), POSITIVE])


def is_light(colour: str | tuple[float, ...] | None = None) -> bool:
    """Whether dark text is more legible than white on a colour (default: the active page)."""
    red, green, blue = to_rgb(colour or rcParams["figure.facecolor"])
    return 0.299 * red + 0.587 * green + 0.114 * blue > 0.58


def contrast(first: str | tuple[float, ...], second: str | tuple[float, ...]) -> float:
    """Return the contrast ratio of two colours, 1 to 21 (WCAG 2)."""
    light = []
    for colour in (first, second):
        value_3 = np.array(to_rgb(colour))
        linear_3 = np.where(value_3 <= 0.04045, value_3 / 12.92, ((value_3 + 0.055) / 1.055) ** 2.4)
        light.append(float(linear_3 @ (0.2126, 0.7152, 0.0722)) + 0.05)
    return max(light) / min(light)


def text_on(colour: str | tuple[float, ...]) -> str:
    """Return a text colour with a contrast of at least 4.5 on a colour."""
    inks = ("#FFFFFF", "#1B2330")
    best = max(inks, key=lambda ink: contrast(ink, colour))
    return best if contrast(best, colour) >= 4.5 else "#000000"


def category_colours(count: int) -> list[str]:
    """Return colours for unordered categories, none of a modality's hue.

    The accents, then hues by the golden ratio, in three lightnesses.
    """
    taken = [colorsys.rgb_to_hls(*to_rgb(colour))[0] for colour in MODALITY_COLOURS.values()]
    levels = [(0.50, 0.62), (0.40, 0.75), (0.32, 0.45)]
    colours = list(ACCENTS)
    for k in itertools.count():
        if len(colours) >= count:
            return colours[:count]
        hue = (0.58 + k * 0.618034) % 1.0
        if min(abs((hue - own + 0.5) % 1.0 - 0.5) for own in taken) > 0.05:
            colours.append(to_hex(colorsys.hls_to_rgb(hue, *levels[k % 3])))


def save_figure(
    figure: Figure,
    path_stem: Path | str,
    formats: tuple[str, ...] = ("png", "svg"),
    colours: int | None = None,
    live_text: bool = False,
) -> list[Path]:
    """Write `<path_stem>.<format>` for each format and return the paths.

    The same figure gives the same bytes: no dates, no random ids. Files are written atomically. PDF
    embeds the fonts, so its text can be searched and copied.

    Args:
        colours: size of the palette of a PNG (up to 256): a third of the bytes for a page
            of photographs. docs/noise.png is `save_figure(noise_sheet(a, b), "docs/noise",
            ("png",), colours=256)` with products p0038 and p0018 of data_samples.
        live_text: store the text of an SVG as text with embedded fonts (viz/svg.py), which can be
            edited, instead of as outlines.
    """
    stem = Path(path_stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    no_date = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    paths = []
    for kind in formats:
        path = stem.with_name(f"{stem.name}.{kind}")
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        live = live_text and kind == "svg"
        types = {"svg.fonttype": "none" if live else "path", "pdf.fonttype": _pdf_font_type(figure)}
        with rc_context({"svg.hashsalt": "scale", **types}):
            figure.savefig(unfinished, format=kind, metadata=no_date.get(kind))
        if live:
            from scale.viz.svg import embed_fonts

            embed_fonts(unfinished)
        if kind == "png" and colours:
            reduce_colours(unfinished, colours)
        unfinished.replace(path)
        paths.append(path)
    return paths


def _pdf_font_type(figure: Figure) -> int:
    """Return 42 (TrueType), or 3 (outlines) if the shipped font is used.

    Its outlines are CFF, which matplotlib would embed as TrueType; some readers reject that.
    """
    latin, _ = drawable()
    return 42 if all(ord(c) in latin for c in _characters(figure)) else 3


EXACT_SHARE = 0.3
"""Share of a palette for the exact colours of the largest even areas, e.g. page and headings."""
CHUNK = 4096
"""Colours that are matched with the palette at a time."""


def reduce_colours(path: Path, colours: int = 256) -> None:
    """Rewrite a PNG with a palette of up to 256 colours.

    Colours of even areas stay exact; the others (photographs) share the rest of the palette by
    median cut. No dithering, which would increase the file size.
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
