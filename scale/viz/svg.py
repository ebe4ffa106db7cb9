"""Live text in SVG files: it can be searched, copied and edited, and looks the same everywhere.

The glyphs that a file uses are embedded. Programs that ignore embedded fonts (Inkscape, PowerPoint)
take DejaVu Sans or a similar font of the machine.
"""

import base64
import io
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from matplotlib.font_manager import FontProperties, findfont
from PIL import Image

from scale.viz.theme import FONT_FAMILIES, drawable, register_fonts

FALLBACKS = "Verdana, 'Microsoft YaHei', 'PingFang SC', 'Noto Sans CJK SC', sans-serif"
"""Fonts of the machine that are closest to the shipped ones."""

_PHOTO = re.compile("data:image/png;base64,([A-Za-z0-9+/=\\s]+)")

Face = tuple[str, str, str]
"""Family, weight and style."""


def embed_fonts(path: Path) -> None:
    """Add the used glyphs of the shipped fonts to an SVG file with live text.

    Photographs in it become JPEG, a third of the bytes. The same file gives the same bytes.
    """
    text = _PHOTO.sub(_smaller, path.read_text(encoding="utf-8"))
    faces = "".join(_rule(face, used) for face, used in sorted(_used(text).items()))
    families = ", ".join(f"'{name}'" for name in FONT_FAMILIES)
    text = text.replace(families, f"{families}, {FALLBACKS}")
    head, defs, rest = text.partition("<defs>")
    style = f'<style type="text/css">{faces}</style>'
    path.write_text(f"{head}{defs}{style}{rest}" if defs else text, encoding="utf-8")


def _smaller(found: re.Match[str]) -> str:
    """Return a picture as JPEG if it is opaque and then smaller."""
    content = base64.b64decode(found[1])
    with Image.open(io.BytesIO(content)) as image, io.BytesIO() as buffer:
        opaque = image.mode != "RGBA" or image.getchannel("A").getextrema()[0] == 255
        if not opaque:
            return found[0]
        image.convert("RGB").save(buffer, "JPEG", quality=88, optimize=True)
        smaller = buffer.getvalue()
    if len(smaller) >= len(content):
        return found[0]
    return f"data:image/jpeg;base64,{base64.b64encode(smaller).decode()}"


def _used(svg: str) -> dict[Face, set[str]]:
    """Return the characters of all texts by the face that draws them."""
    latin, _ = drawable()
    used = defaultdict(set)
    for style, text in _texts(ElementTree.fromstring(svg), ""):
        bold = "700" if "font-weight: 700" in style or " 700 " in style else "400"
        slant = "italic" if "italic" in style or "oblique" in style else "normal"
        for character in text:
            if ord(character) in latin:
                used[FONT_FAMILIES[0], bold, slant].add(character)
            else:
                used[FONT_FAMILIES[1], bold, "normal"].add(character)
    return used


def _texts(element: ElementTree.Element, inherited: str) -> Iterator[tuple[str, str]]:
    """Yield the style and the content of all text elements."""
    style = element.get("style") or inherited
    if element.tag.endswith(("}text", "}tspan")) and element.text:
        yield style, element.text
    for child in element:
        yield from _texts(child, style)


def _rule(face: Face, characters: set[str]) -> str:
    family, weight, slant = face
    content = base64.b64encode(_subset(_file(face), frozenset(characters))).decode()
    return (
        f"@font-face{{font-family:'{family}';font-weight:{weight};font-style:{slant};"
        f"src:url(data:font/woff;base64,{content}) format('woff')}}"
    )


def _file(face: Face) -> str:
    register_fonts()
    return findfont(FontProperties(family=face[0], weight=int(face[1]), style=face[2]))


def _subset(file: str, characters: frozenset[str]) -> bytes:
    """Return the glyphs of characters as WOFF."""
    from fontTools.subset import Options, Subsetter
    from fontTools.ttLib import TTFont

    with TTFont(file, lazy=True, recalcTimestamp=False) as font, io.BytesIO() as buffer:
        # Layout rules are not needed, and following them takes most of the time.
        for table in ("GSUB", "GPOS", "GDEF", "kern", "FFTM"):
            if table in font:
                del font[table]
        options = Options(hinting=False, layout_features=[], notdef_outline=True, name_IDs=[])
        subsetter = Subsetter(options)
        subsetter.populate(text="".join(sorted(characters)))
        subsetter.subset(font)
        font.flavor = "woff"
        font.save(buffer, reorderTables=True)
        return buffer.getvalue()
