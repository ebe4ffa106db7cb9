"""Make the 16:9 template of `scale slides` from the default template of python-pptx.

    python tools/make_slide_template.py

Replaces the theme (colours of the modalities, Latin and East Asian fonts), the master and the
layouts; the default template is 4:3, and stretching it leaves the placeholders off-centre. Lengths
are in inches. The same version of python-pptx gives the same bytes.
"""

import re
from datetime import date

from lxml import etree
from pptx import Presentation
from pptx.opc.constants import RELATIONSHIP_TYPE
from pptx.oxml import parse_xml
from pptx.slide import SlideLayout
from pptx.util import Inches

from scale.talk.deck import write_deck
from scale.talk.page import TEMPLATE
from scale.viz.theme import HIT, MODALITY_COLOURS

WIDTH, HEIGHT, MARGIN = 13.333, 7.5, 0.6
INNER = WIDTH - 2 * MARGIN
TOP, BOTTOM = 1.45, 6.62
"""Vertical range of the content, between title and source line."""
BESIDE, GAP = 8.75, 0.35
"""Width of a picture or chart with text on its right; the space between them."""
STRIP = 0.98
"""Height of the text below a wide picture or chart."""
INK, PAPER, MUTED, TINT = "1B2330", "FFFFFF", "5A6472", "F2F4F7"
NUMBER = "{B6F15528-21DE-4FAA-801E-634DDDAF4B2B}"
"""PowerPoint's id of the field for the slide number."""
LATIN, EAST_ASIAN = "Arial", "Microsoft YaHei"
"""Available wherever PowerPoint is; LibreOffice has fonts of the same widths."""
NAMESPACES = (
    'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
    'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" '
    'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
)

Box = tuple[float, float, float, float]
Placeholder = tuple[str, int, str, Box, int]
"""Type, idx, name, box, text size (0: the master's)."""

FULL: Box = (MARGIN, TOP, INNER, BOTTOM - TOP)
WIDE: Box = (MARGIN, TOP, INNER, BOTTOM - TOP - STRIP - 0.12)
BELOW: Box = (MARGIN, BOTTOM - STRIP, INNER, STRIP)
LEFT: Box = (MARGIN, TOP, BESIDE, BOTTOM - TOP)
RIGHT: Box = (MARGIN + BESIDE + GAP, TOP, INNER - BESIDE - GAP, BOTTOM - TOP)
HALF = (INNER - 0.6) / 2
TITLE: Box = (MARGIN, 0.34, INNER, 0.98)
SOURCE: Placeholder = ("body", 13, "Source", (MARGIN, 6.69, INNER, 0.24), 12)


def _half(side: int, box: Box) -> Box:
    return (MARGIN + side * (HALF + 0.6), box[1], HALF, box[3])


HEADING, COLUMN = (0.0, TOP, 0.0, 0.5), (0.0, TOP + 0.62, 0.0, BOTTOM - TOP - 0.62)
LAYOUTS: dict[str, tuple[str, list[Placeholder]]] = {
    "Title": ("title", [
        ("ctrTitle", 0, "Title", (1.3, 1.75, 11.0, 1.6), 40),
        ("subTitle", 1, "Subtitle", (1.3, 3.75, 11.0, 1.5), 22),
    ]),
    "Section": ("secHead", [
        ("title", 0, "Title", (0.9, 2.4, 11.5, 1.3), 36),
        ("body", 1, "Text", (0.9, 4.0, 11.5, 1.6), 22),
    ]),
    "Content": ("obj", [("title", 0, "Title", TITLE, 0), ("", 1, "Content", FULL, 28), SOURCE]),
    "Two columns": ("twoTxTwoObj", [
        ("title", 0, "Title", TITLE, 0),
        ("body", 1, "Heading left", _half(0, HEADING), 22),
        ("", 2, "Content left", _half(0, COLUMN), 22),
        ("body", 3, "Heading right", _half(1, HEADING), 22),
        ("", 4, "Content right", _half(1, COLUMN), 22),
        SOURCE,
    ]),
    "Picture": ("picTx", [
        ("title", 0, "Title", TITLE, 0), ("pic", 1, "Picture", LEFT, 0),
        ("body", 2, "Text", RIGHT, 20), SOURCE,
    ]),
    "Wide picture": ("picTx", [
        ("title", 0, "Title", TITLE, 0), ("pic", 1, "Picture", WIDE, 0),
        ("body", 2, "Text", BELOW, 20), SOURCE,
    ]),
    "Chart or table": ("objTx", [
        ("title", 0, "Title", TITLE, 0), ("", 1, "Chart or table", LEFT, 0),
        ("body", 2, "Text", RIGHT, 20), SOURCE,
    ]),
    "Wide chart or table": ("objTx", [
        ("title", 0, "Title", TITLE, 0), ("", 1, "Chart or table", WIDE, 0),
        ("body", 2, "Text", BELOW, 20), SOURCE,
    ]),
    "Two charts": ("twoObjAndTx", [
        ("title", 0, "Title", TITLE, 0), ("", 1, "Chart left", _half(0, WIDE), 0),
        ("", 3, "Chart right", _half(1, WIDE), 0), ("body", 2, "Text", BELOW, 20), SOURCE,
    ]),
    "Equation and chart": ("objTx", [
        ("title", 0, "Title", TITLE, 0), ("body", 3, "Equation", (MARGIN, TOP, INNER, 0.75), 26),
        ("", 1, "Chart", (MARGIN, TOP + 0.9, BESIDE, BOTTOM - TOP - 0.9), 0),
        ("body", 2, "Text", (RIGHT[0], TOP + 0.9, RIGHT[2], BOTTOM - TOP - 0.9), 20), SOURCE,
    ]),
    "Title only": ("titleOnly", [
        ("title", 0, "Title", TITLE, 0), ("body", 2, "Text", BELOW, 20), SOURCE,
    ]),
}  # fmt: skip
FOOTERS: list[Placeholder] = [
    ("ftr", 11, "Footer", (MARGIN, 7.02, INNER - 1.2, 0.26), 12),
    ("sldNum", 12, "Slide number", (WIDTH - MARGIN - 1.0, 7.02, 1.0, 0.26), 12),
]


def main() -> None:
    """Write the template."""
    deck = Presentation()
    _drop_leftovers(deck)
    deck.slide_width, deck.slide_height = Inches(WIDTH), Inches(HEIGHT)
    master = deck.slide_master
    theme = master.part.part_related_by(RELATIONSHIP_TYPE.THEME)
    # python-pptx keeps the theme as bytes and has no setter for it.
    theme._blob = _theme(theme.blob.decode("utf-8")).encode("utf-8")
    for layout in list(deck.slide_layouts)[len(LAYOUTS) :]:
        deck.slide_layouts.remove(layout)
    _draw_master(master)
    for layout, (name, (kind, places)) in zip(deck.slide_layouts, LAYOUTS.items(), strict=True):
        _draw_layout(layout, name, kind, places)
    TEMPLATE.parent.mkdir(parents=True, exist_ok=True)
    write_deck(deck, TEMPLATE, date(2026, 1, 1))
    print(f"{TEMPLATE.name}: {len(LAYOUTS)} layouts, {TEMPLATE.stat().st_size / 1e3:.0f} kB")


def _drop_leftovers(deck) -> None:
    """Remove the preview picture and the printer settings of the default template."""
    for owner in (deck.part.package, deck.part):
        for name, relation in list(owner._rels.items()):
            if relation.reltype.endswith(("/thumbnail", "/printerSettings")):
                owner._rels.pop(name)


def _theme(xml: str) -> str:
    """Replace the colours and both font families of the theme."""
    accents = [colour.lstrip("#") for colour in (*MODALITY_COLOURS.values(), HIT)]
    names = ["dk1", "lt1", "dk2", "lt2", *(f"accent{k}" for k in range(1, 7)), "hlink", "folHlink"]
    values = [INK, PAPER, MUTED, TINT, *accents, accents[0], MUTED]
    colours = "".join(
        f'<a:{n}><a:srgbClr val="{v}"/></a:{n}>' for n, v in zip(names, values, strict=True)
    )
    family = (
        f'<a:latin typeface="{LATIN}"/><a:ea typeface="{EAST_ASIAN}"/><a:cs typeface=""/>'
        f'<a:font script="Hans" typeface="{EAST_ASIAN}"/>'
    )
    fonts = f"<a:majorFont>{family}</a:majorFont><a:minorFont>{family}</a:minorFont></a:fontScheme>"
    xml = re.sub(r"(<a:clrScheme)[^>]*>.*?(</a:clrScheme>)", rf'\1 name="SCALE">{colours}\2', xml,
                 flags=re.DOTALL)  # fmt: skip
    return re.sub(r"(<a:fontScheme)[^>]*>.*?</a:fontScheme>", rf'\1 name="SCALE">{fonts}', xml,
                  flags=re.DOTALL)  # fmt: skip


def _draw_master(master) -> None:
    """Draw the strip of the five colours, title, body and footers; set the text styles."""
    _clear(master)
    tree = master.shapes._spTree
    step = WIDTH / len(MODALITY_COLOURS)
    for k, modality in enumerate(MODALITY_COLOURS):
        tree.append(_strip(20 + k, modality, (k * step, 0.0, step, 0.1), f"accent{k + 1}"))
    placeholders = [("title", 0, "Title", TITLE, 0), ("body", 1, "Text", FULL, 0), *FOOTERS]
    for k, place in enumerate(placeholders):
        tree.append(_placeholder(2 + k, place))
    styles = master.element.find(".//{*}txStyles")
    styles.getparent().replace(styles, parse_xml(_text_styles()))


def _draw_layout(layout: SlideLayout, name: str, kind: str, places: list[Placeholder]) -> None:
    _clear(layout)
    layout.element.cSld.set("name", name)
    layout.element.set("type", kind)
    if name == "Title":
        layout.element.set("showMasterSp", "0")
        for k in range(len(MODALITY_COLOURS)):
            box = (0.0, k * HEIGHT / 5, 0.42, HEIGHT / 5)
            layout.shapes._spTree.append(_strip(20 + k, str(k), box, f"accent{k + 1}"))
    for k, place in enumerate([*places, *FOOTERS]):
        layout.shapes._spTree.append(_placeholder(2 + k, place))


def _clear(slide) -> None:
    for shape in list(slide.shapes):
        shape._element.getparent().remove(shape._element)


def _text_styles() -> str:
    fonts = '<a:latin typeface="+{0}-lt"/><a:ea typeface="+{0}-ea"/><a:cs typeface="+{0}-cs"/>'
    ink = '<a:solidFill><a:schemeClr val="tx1"/></a:solidFill>'
    title = (
        f'<a:lvl1pPr algn="l"><a:lnSpc><a:spcPct val="95000"/></a:lnSpc><a:buNone/>'
        f'<a:defRPr sz="2800" b="1">{ink}{fonts.format("mj")}</a:defRPr></a:lvl1pPr>'
    )
    bullet = (
        '<a:buClr><a:schemeClr val="accent1"/></a:buClr><a:buFont typeface="Arial"/>'
        '<a:buChar char="•"/>'
    )
    body = "".join(
        f'<a:lvl{level}pPr marL="{228600 * level}" indent="-228600" algn="l">'
        f'<a:spcBef><a:spcPts val="900"/></a:spcBef>{bullet}'
        f'<a:defRPr sz="{size}">{ink}{fonts.format("mn")}</a:defRPr></a:lvl{level}pPr>'
        for level, size in ((1, 2000), (2, 1800))
    )
    other = f'<a:lvl1pPr><a:defRPr sz="1800">{ink}{fonts.format("mn")}</a:defRPr></a:lvl1pPr>'
    return (
        f"<p:txStyles {NAMESPACES}><p:titleStyle>{title}</p:titleStyle>"
        f"<p:bodyStyle>{body}</p:bodyStyle><p:otherStyle>{other}</p:otherStyle></p:txStyles>"
    )


def _strip(number: int, name: str, box: Box, colour: str) -> etree._Element:
    return parse_xml(
        f'<p:sp {NAMESPACES}><p:nvSpPr><p:cNvPr id="{number}" name="Strip {name}" descr=""/>'
        f'<p:cNvSpPr/><p:nvPr userDrawn="1"/></p:nvSpPr><p:spPr>{_xfrm(box)}'
        f'<a:prstGeom prst="rect"><a:avLst/></a:prstGeom><a:solidFill><a:schemeClr val="{colour}"/>'
        "</a:solidFill><a:ln><a:noFill/></a:ln></p:spPr><p:txBody><a:bodyPr/><a:p/></p:txBody>"
        "</p:sp>"
    )


def _placeholder(number: int, place: Placeholder) -> etree._Element:
    kind, idx, name, box, size = place
    small, heading = size == 12, name.startswith(("Heading", "Equation"))
    plain = small or heading or kind in ("subTitle", "ctrTitle") or (kind, idx) == ("body", 1)
    attributes = f' type="{kind}"' * bool(kind) + f' idx="{idx}"' * bool(idx)
    attributes += ' sz="quarter"' * small
    level = ""
    if size:
        muted = small or kind == "subTitle"
        colour = '<a:solidFill><a:schemeClr val="tx2"/></a:solidFill>' * muted
        align = ' algn="r"' * (kind == "sldNum") + ' algn="ctr"' * (name == "Equation")
        indent = ' marL="0" indent="0"' * plain
        space = '<a:spcBef><a:spcPts val="0"/></a:spcBef>' * (small or heading)
        space += '<a:spcBef><a:spcPts val="2600"/></a:spcBef>' * (name == "Content")
        bold = ' b="1"' * (name.startswith("Heading") or kind == "ctrTitle")
        level = (
            f"<a:lvl1pPr{indent}{align}>{space}{'<a:buNone/>' * plain}"
            f'<a:defRPr sz="{100 * size}"{bold}>{colour}</a:defRPr></a:lvl1pPr>'
        )
    centred = kind in ("title", "ftr", "sldNum") or box == RIGHT or name == "Content"
    anchor = "ctr" if centred else "b" if kind == "ctrTitle" else "t"
    text = f'<a:fld id="{NUMBER}" type="slidenum"><a:rPr lang="en-US"/><a:t>‹#›</a:t></a:fld>'
    text *= kind == "sldNum"
    return parse_xml(
        f'<p:sp {NAMESPACES}><p:nvSpPr><p:cNvPr id="{number}" name="{name}"/>'
        '<p:cNvSpPr><a:spLocks noGrp="1"/></p:cNvSpPr>'
        f"<p:nvPr><p:ph{attributes}/></p:nvPr></p:nvSpPr><p:spPr>{_xfrm(box)}"
        '<a:prstGeom prst="rect"><a:avLst/></a:prstGeom></p:spPr>'
        f'<p:txBody><a:bodyPr lIns="0" tIns="0" rIns="0" bIns="0" anchor="{anchor}">'
        f"<a:normAutofit/></a:bodyPr><a:lstStyle>{level}</a:lstStyle><a:p>{text}</a:p></p:txBody>"
        "</p:sp>"
    )


def _xfrm(box: Box) -> str:
    x, y, width, height = (Inches(length) for length in box)
    return f'<a:xfrm><a:off x="{x}" y="{y}"/><a:ext cx="{width}" cy="{height}"/></a:xfrm>'


if __name__ == "__main__":
    main()
