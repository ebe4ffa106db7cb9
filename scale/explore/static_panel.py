"""A panel of precomputed results as self-contained HTML, without kernel and network, and its parts.

It works wherever scripts may run (JupyterLab, nbviewer, pages by nbconvert, a file in a browser);
elsewhere (GitHub, untrusted notebooks) it is a picture. `assets/static.js` and `static.css` draw
it; texts of the catalogue are escaped.
"""

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha1
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from scale.config import require
from scale.data.media import MediaError
from scale.explore.markup import data_uri, figure_png
from scale.explore.panel import ASSETS
from scale.explore.source import ExplorerSource
from scale.files import replacing
from scale.viz import tiles
from scale.viz.words import Language, label

THUMBNAIL = 64
"""Side of a product's picture in pixels."""
QUALITY = 60
"""Quality of pictures (WebP)."""


@dataclass(frozen=True)
class StaticPanel:
    """A panel as HTML with its own script, style and data.

    A notebook displays it as the value of a cell.
    """

    kind: str
    """`scores` or `map`."""
    data: dict[str, Any] = field(repr=False)
    """Results, as JSON."""
    words: dict[str, str] = field(repr=False)
    picture: str = field(repr=False)
    """Data URI of the picture shown where scripts do not run."""
    lang: Language
    summary: str

    @cached_property
    def html(self) -> str:
        """The panel as an HTML fragment."""
        values = [self.kind, _asset("static.css"), self.data, self.words]
        arguments = ", ".join(map(_script, values))
        name = sha1(arguments.encode()).hexdigest()[:10]
        note = label("xh_picture", self.lang)
        call = f'mount("{name}", {arguments});'
        return (
            f'<div data-static="{name}" lang="{self.lang}">'
            f'<img alt="{escape(self.summary)}" src="{self.picture}" style="max-width:100%">'
            f"<p>{escape(note)}</p></div>\n"
            f"<script>(() => {{\n{_asset('static.js')}\n{call}\n}})();</script>"
        )

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.summary


def write_panels(path: Path, panels: Sequence[StaticPanel], title: str, lang: Language) -> None:
    """Write panels below each other as an HTML file that needs neither kernel nor network.

    Raises ValueError for a name that does not end in .html, OSError if it cannot be written.
    """
    require(path.suffix == ".html", f"{path}: the file name must end in .html")
    parts = [f"<h2>{escape(label(f'xh_{p.kind}', lang))}</h2>\n{p.html}" for p in panels]
    page = (
        f'<!doctype html>\n<html lang="{lang}">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>body {{ max-width: 1240px; margin: 0 auto; "
        "padding: 12px; font-family: system-ui, sans-serif; color: #1b2330; background: #fff }"
        "</style>"
        f"</head>\n<body>\n<h1>{escape(title)}</h1>\n{''.join(parts)}\n</body>\n</html>\n"
    )
    with replacing(path) as partial:
        partial.write_text(page, encoding="utf-8")


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _script(value: Any) -> str:
    """Return a value as JSON that cannot end the script around it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def script_words(keys: dict[str, str], lang: Language, **values: Any) -> dict[str, str]:
    """Return labels by the names that the script uses.

    Values that only the script knows stay in braces: pass them as "{name}".
    """
    return {name: label(key, lang, **values) for name, key in keys.items()}


def webp_uri(
    picture: Image.Image | np.ndarray, side: int | None = None, quality: int = QUALITY
) -> str:
    """Return a picture as a WebP data URI, fitted into a square of `side` pixels.

    At 64 pixels, half the size of a JPEG, whose tables alone take 600 bytes.
    """
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image, buffer = image.convert("RGB"), BytesIO()
    if side is not None:
        image.thumbnail((side, side))
    image.save(buffer, format="WEBP", quality=quality, method=6)
    return data_uri("image/webp", buffer.getvalue())


def figure_uri(figure: Figure) -> str:
    """Return a figure as a PNG data URI with a palette of 256 colours."""
    buffer = BytesIO()
    image = Image.open(BytesIO(figure_png(figure))).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
    return data_uri("image/png", buffer.getvalue())


def thumbnail(source: ExplorerSource, row: int) -> Image.Image | None:
    """Return a product's image, or the middle frame of its video; None without either."""
    for modality in ("image", "video"):
        try:
            content = tiles.load(source.product(row), modality, frames=3)
        except MediaError:
            continue
        if content is not None:
            image = content if modality == "image" else Image.fromarray(content[len(content) // 2])
            image.thumbnail((THUMBNAIL, THUMBNAIL))
            return image
    return None


def product_card(source: ExplorerSource, row: int, lang: Language) -> dict[str, Any]:
    """Return id, title, category and picture of a product, for the script."""
    product, picture = source.product(row), thumbnail(source, row)
    return {
        "id": product.id,
        "title": product.text or label("absent_text", lang),
        "category": product.category or "–",
        "picture": "" if picture is None else webp_uri(picture),
    }


def int16(values: np.ndarray) -> str:
    """Return numbers in [-1, 1] as base64 of 16-bit integers (little-endian); the error is below
    2e-5."""
    scaled = np.rint(np.clip(np.asarray(values, dtype=float), -1, 1) * 32767)
    return b64encode(scaled.astype("<i2").tobytes()).decode("ascii")
