"""Native, editable tables: rows as high as their text, separated by thin lines."""

from collections.abc import Sequence
from dataclasses import dataclass

from pptx.enum.dml import MSO_THEME_COLOR
from pptx.enum.text import MSO_ANCHOR
from pptx.oxml import parse_xml
from pptx.oxml.ns import nsdecls
from pptx.shapes.placeholder import TablePlaceholder
from pptx.table import _Cell
from pptx.util import Emu, Pt

from scale.talk.page import SMALLEST, Page, describe, longest_word, rgb, text_height, write

MARGINS = (6.0, 3.0)
"""Horizontal and vertical margins of a cell in points."""
LARGEST = 20
PLAIN = "{2D5ABB26-0587-4C30-8999-92F81FD0307C}"
"""Id of PowerPoint's table style without fills and lines."""
ROOMY = 1.45
"""Maximum ratio of the height of a row to that of its text."""


@dataclass(frozen=True)
class Cell:
    """Text in parts, each with a colour (`#RRGGBB`; None: the text colour of the page)."""

    parts: tuple[tuple[str, str | None], ...]
    fill: str | None = None
    bold: bool = False

    @property
    def text(self) -> str:
        """All parts joined."""
        return "".join(text for text, _ in self.parts)


def cell(text: str, colour: str | None = None, fill: str | None = None, bold: bool = False) -> Cell:
    """Return a cell of one part."""
    return Cell(((text, colour),), fill, bold)


@dataclass(frozen=True)
class Table:
    """A header and rows with the same number of cells."""

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    widths: tuple[float, ...]
    """Relative widths of the columns."""

    def put(self, page: Page, idx: int, alt: str) -> None:
        """Draw into the placeholder with this index.

        Raises ValueError if the rows do not fit at SMALLEST points.
        """
        place = page.place(idx)
        height, total = place.height.pt, sum(self.widths)
        width_C = [place.width.pt * width / total for width in self.widths]
        grid = [tuple(cell(text, bold=True) for text in self.header), *self.rows]
        size, need_R = _layout(grid, width_C, height)
        stretch = min(ROOMY, height / sum(need_R))
        holder = TablePlaceholder(place._element, place._parent)
        frame = holder.insert_table(len(grid), len(self.header))
        table = frame.table
        table.first_row = table.horz_banding = False
        table._tbl.tblPr.find("{*}tableStyleId").text = PLAIN
        for column, width in zip(table.columns, width_C, strict=True):
            column.width = Pt(width)
        for number, (row, cells) in enumerate(zip(table.rows, grid, strict=True)):
            row.height = Pt(need_R[number] * stretch)
            for target, content in zip(row.cells, cells, strict=True):
                _fill(target, content, size, page, header=number == 0)
        frame.height = Emu(sum(row.height for row in table.rows))
        describe(frame, alt)


def cell_height(text: str, size: int, width: float, bold: bool) -> float:
    """Return the height of a cell of a given width; infinite if a word is wider."""
    inner = width - 2 * MARGINS[0]
    if longest_word([text], size, bold) > inner:
        return float("inf")
    return text_height([text], size, inner, bold=bold) + 2 * MARGINS[1]


def _layout(
    grid: Sequence[tuple[Cell, ...]], width_C: Sequence[float], height: float
) -> tuple[int, list[float]]:
    for size in range(LARGEST, SMALLEST - 1, -1):
        need_R = [
            max(cell_height(c.text, size, w, c.bold) for c, w in zip(row, width_C, strict=True))
            for row in grid
        ]
        if sum(need_R) <= height:
            return size, need_R
    raise ValueError(
        f"the table {' / '.join(c.text for c in grid[0])!r} of {len(grid)} rows does not fit its "
        f"box of {sum(width_C):.0f} × {height:.0f} points"
    )


def _fill(target: _Cell, content: Cell, size: int, page: Page, header: bool) -> None:
    target.margin_left = target.margin_right = Pt(MARGINS[0])
    target.margin_top = target.margin_bottom = Pt(MARGINS[1])
    target.vertical_anchor = MSO_ANCHOR.MIDDLE
    (run,) = write(target.text_frame, [content.parts[0][0]], page.lang, size)
    runs = [run]
    for text, _ in content.parts[1:]:
        run = target.text_frame.paragraphs[0].add_run()
        run.text, run.font.size, run.font.language_id = text, Pt(size), runs[0].font.language_id
        runs.append(run)
    for run, (_, colour) in zip(runs, content.parts, strict=True):
        run.font.bold = content.bold or None
        if colour:
            run.font.color.rgb = rgb(colour)
    if header or content.fill:
        target.fill.solid()
    if header:
        target.fill.fore_color.theme_color = MSO_THEME_COLOR.BACKGROUND_2
    elif content.fill:
        target.fill.fore_color.rgb = rgb(content.fill)
    fill = '<a:solidFill><a:srgbClr val="C9CFD8"/></a:solidFill>'
    line = parse_xml(f'<a:lnB {nsdecls("a")} w="9525">{fill}</a:lnB>')
    # Lines come before the fill in a cell's properties.
    target._tc.get_or_add_tcPr().insert(0, line)
