"""Native, editable charts with intervals as error bars.

The lengths of the error bars are cells of the chart's worksheet, two columns a series after those
of the values, so that they can be edited like the values. C categories, K series.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lxml import etree
from pptx.chart.axis import _BaseAxis
from pptx.chart.chart import Chart as NativeChart
from pptx.chart.data import CategoryChartData, XyChartData
from pptx.chart.xlsx import CategoryWorkbookWriter
from pptx.enum.chart import (
    XL_CHART_TYPE,
    XL_LEGEND_POSITION,
    XL_MARKER_STYLE,
    XL_TICK_LABEL_POSITION,
)
from pptx.enum.lang import MSO_LANGUAGE_ID
from pptx.oxml import parse_xml
from pptx.oxml.ns import nsdecls
from pptx.shapes.placeholder import ChartPlaceholder
from pptx.util import Pt

from scale.evaluation.bootstrap import Estimate
from scale.talk.page import LANGUAGES, SMALLEST, Page, describe, rgb
from scale.viz.words import Language

KINDS = {
    "bars": XL_CHART_TYPE.BAR_CLUSTERED,
    "columns": XL_CHART_TYPE.COLUMN_CLUSTERED,
    "lines": XL_CHART_TYPE.LINE_MARKERS,
    "curves": XL_CHART_TYPE.XY_SCATTER_LINES_NO_MARKERS,
}
STEPS = 6
"""Maximum number of axis intervals."""
GRID, TEXT, WHISKER = "E4E7EB", "3C4654", "1B2330"


@dataclass(frozen=True)
class Chart:
    """Values of K series over C categories, with their intervals."""

    kind: str
    """A key of KINDS: horizontal bars, columns, lines with markers, or curves over numbers."""
    categories: tuple[str | float, ...]
    """Names, or numbers for curves."""
    series: Mapping[str, Sequence[Estimate]]
    """C estimates by name; an estimate without a value leaves a gap."""
    colours: tuple[str, ...]
    """One per series or, for a single series, one per category."""
    axis: str
    """Title of the value axis."""
    other_axis: str = ""
    """Title of the category axis, if the names are not self-explanatory."""
    percent: bool = False
    """Write the values as percentages."""
    named: bool = True
    """Show the names of the categories; those of many narrow columns are only in the chart data."""

    def put(self, page: Page, idx: int, alt: str) -> None:
        """Draw into the placeholder with this index."""
        place = page.place(idx)
        holder = ChartPlaceholder(place._element, place._parent)
        frame = holder.insert_chart(KINDS[self.kind], self._data())
        self._format(frame.chart)
        set_language(frame.chart, page.lang)
        describe(frame, alt)

    def _data(self) -> CategoryChartData | XyChartData:
        curves = self.kind == "curves"
        data = (XyChartData if curves else WhiskerChartData)(number_format="0.000")
        if not curves:
            data.categories = self.categories
        for name, values in self.series.items():
            if not curves:
                data.add_series(name, [estimate.value for estimate in values])
                data.lengths.append(_lengths(values))
                continue
            series = data.add_series(name)
            for x, estimate in zip(self.categories, values, strict=True):
                if estimate.value is not None:
                    series.add_data_point(x, estimate.value)
        return data

    def _format(self, chart: NativeChart) -> None:
        chart.font.size = Pt(SMALLEST)
        chart.font.color.rgb = rgb(TEXT)
        chart.has_title = False
        chart.has_legend = len(self.series) > 1
        if chart.has_legend:
            chart.legend.position = XL_LEGEND_POSITION.BOTTOM
            chart.legend.include_in_layout = False
        self._format_axes(chart)
        plot = chart.plots[0]
        if self.kind in ("bars", "columns"):
            plot.gap_width = 45 if len(self.series) > 1 else 60
            plot.overlap = -5 if len(self.series) > 1 else 0
        for number, (series, values) in enumerate(
            zip(plot.series, self.series.values(), strict=True)
        ):
            self._colour(series, number)
            measured = any(estimate.low is not None for estimate in values)
            if measured and self.kind != "curves":
                columns = whisker_columns(number, len(self.series))
                whiskers = _whiskers(_lengths(values), columns, self.kind)
                series._element.find("{*}cat").addprevious(whiskers)

    def _format_axes(self, chart: NativeChart) -> None:
        names, values = chart.category_axis, chart.value_axis
        _format_axis(names, self.other_axis)
        _format_axis(values, self.axis)
        names.has_major_gridlines = False
        # Below or left of the plot even if bars are negative.
        names.tick_label_position = (
            XL_TICK_LABEL_POSITION.LOW if self.named else XL_TICK_LABEL_POSITION.NONE
        )
        values.major_gridlines.format.line.color.rgb = rgb(GRID)
        values.format.line.fill.background()
        found = [estimate for each in self.series.values() for estimate in each]
        low, high, step = axis_limits(found)
        values.minimum_scale, values.maximum_scale, values.major_unit = low, high, step
        values.tick_labels.number_format = "0%" if self.percent else step_format(step)
        values.tick_labels.number_format_is_linked = False
        if self.kind == "curves":
            names.maximum_scale = max(self.categories)
            names.tick_labels.number_format, names.tick_labels.number_format_is_linked = "0", False
        else:
            # Long names break into lines instead of being rotated.
            names.tick_labels.font.size = Pt(SMALLEST)
            names._element.find("{*}txPr").bodyPr.set("rot", "0")
        if self.kind == "bars":
            # First category at the top, values still at the bottom.
            names.reverse_order = True
            values.tick_label_position = XL_TICK_LABEL_POSITION.HIGH

    def _colour(self, series, number: int) -> None:
        many = len(self.series) == 1 and len(self.colours) == len(self.categories) > 1
        for place, colour in enumerate(self.colours if many else [self.colours[number]]):
            if self.kind in ("lines", "curves"):
                _draw_line(series, colour, markers=self.kind == "lines")
                continue
            target = series.points[place] if many else series
            target.format.fill.solid()
            target.format.fill.fore_color.rgb = rgb(colour)
            series.invert_if_negative = False


def axis_limits(found: Sequence[Estimate]) -> tuple[float, float, float]:
    """Return limits and step of an axis that contains zero, all values and all error bars.

    PowerPoint's automatic limits ignore error bars. At most STEPS steps of 1, 2, 2.5 or 5 times a
    power of ten.
    """
    ends = [end for e in found for end in (e.value, e.low, e.high) if end is not None]
    least, most = min([0.0, *ends]), max([0.0, *ends])
    size = 10.0 ** math.floor(math.log10((most - least) or 1.0) - 1)
    for step in (size * factor for factor in (1, 2, 2.5, 5, 10, 20, 25)):
        low, high = math.floor(least / step + 1e-9), math.ceil(most / step - 1e-9)
        if high - low <= STEPS:
            break
    return low * step, max(high, low + 1) * step, step


def step_format(step: float) -> str:
    """Return the Excel number format of a step's multiples: `0.00` for 0.25."""
    decimals = next((d for d in range(6) if math.isclose(step, round(step, d))), 6)
    return "0" if decimals == 0 else "0." + "0" * decimals


def _draw_line(series, colour: str, markers: bool) -> None:
    series.smooth = False
    series.format.line.color.rgb, series.format.line.width = rgb(colour), Pt(3)
    series.marker.style = XL_MARKER_STYLE.CIRCLE if markers else XL_MARKER_STYLE.NONE
    if markers:
        series.marker.size = 9
        series.marker.format.fill.solid()
        series.marker.format.fill.fore_color.rgb = rgb(colour)
        series.marker.format.line.color.rgb = rgb(colour)


def _format_axis(axis: _BaseAxis, title: str) -> None:
    axis.format.line.color.rgb = rgb("8A93A0")
    axis.has_title = bool(title)
    if title:
        frame = axis.axis_title.text_frame
        frame.text = title
        font = frame.paragraphs[0].runs[0].font
        font.size, font.bold = Pt(SMALLEST), False
        font.color.rgb = rgb(TEXT)


Lengths = tuple[list[float | None], list[float | None]]
"""Lengths of a series' error bars above and below its values; None without an interval."""


def _lengths(values: Sequence[Estimate]) -> Lengths:
    above = [None if e.low is None else e.high - e.value for e in values]
    below = [None if e.low is None else e.value - e.low for e in values]
    return above, below


def whisker_columns(number: int, count: int) -> tuple[int, int]:
    """Return the worksheet columns (A: 0) of the two lengths of series `number` of `count`."""
    first = 1 + count + 2 * number
    return first, first + 1


class WhiskerChartData(CategoryChartData):
    """Chart data whose worksheet also contains the lengths of the error bars."""

    def __init__(self, number_format: str) -> None:
        super().__init__(number_format)
        self.lengths: list[Lengths] = []
        """By series."""

    @property
    def _workbook_writer(self) -> "WhiskerWorkbook":
        return WhiskerWorkbook(self)


class WhiskerWorkbook(CategoryWorkbookWriter):
    """Writer of such a worksheet."""

    def _write_series(self, workbook, worksheet) -> None:
        super()._write_series(workbook, worksheet)
        data, form = self._chart_data, workbook.add_format({"num_format": "0.000"})
        for number, (series, lengths) in enumerate(zip(data, data.lengths, strict=True)):
            if all(length is None for length in lengths[0]):
                continue
            columns = whisker_columns(number, len(data))
            for column, sign, side in zip(columns, "+−", lengths, strict=True):
                worksheet.write(0, column, f"{series.name} {sign}")
                for row, length in enumerate(side, start=1):
                    if length is not None:
                        worksheet.write_number(row, column, length, form)


def _whiskers(lengths: Lengths, columns: tuple[int, int], kind: str) -> etree._Element:
    """Return error bars of custom lengths, which python-pptx lacks."""
    plus, minus = (
        f"<c:numRef><c:f>{_cells(column, len(side))}</c:f>{_cache(side)}</c:numRef>"
        for column, side in zip(columns, lengths, strict=True)
    )
    direction = '<c:errDir val="y"/>' if kind == "lines" else ""
    return parse_xml(
        f'<c:errBars {nsdecls("c", "a")}>{direction}<c:errBarType val="both"/>'
        '<c:errValType val="cust"/><c:noEndCap val="0"/>'
        f"<c:plus>{plus}</c:plus><c:minus>{minus}</c:minus>"
        f'<c:spPr><a:ln w="19050"><a:solidFill><a:srgbClr val="{WHISKER}"/></a:solidFill></a:ln>'
        "</c:spPr></c:errBars>"
    )


def _cells(column: int, rows: int) -> str:
    letter = CategoryWorkbookWriter._column_reference(column + 1)
    return f"Sheet1!${letter}$2:${letter}${rows + 1}"


def _cache(values: Sequence[float | None]) -> str:
    points = "".join(
        f'<c:pt idx="{place}"><c:v>{value:.6g}</c:v></c:pt>'
        for place, value in enumerate(values)
        if value is not None
    )
    return (
        f'<c:numCache><c:formatCode>0.000</c:formatCode><c:ptCount val="{len(values)}"/>{points}'
        "</c:numCache>"
    )


def set_language(chart: NativeChart, lang: Language) -> None:
    """Set the language of all text of a chart, and the theme's fonts of both scripts.

    Without it, PowerPoint chooses glyphs and line breaks by the language of the reader's machine.
    """
    code = MSO_LANGUAGE_ID.to_xml(LANGUAGES[lang])
    for properties in chart._chartSpace.xpath(".//a:defRPr | .//a:rPr"):
        properties.set("lang", code)
        if lang == "zh":
            properties.set("altLang", "en-US")
        for script, face in (("latin", "+mn-lt"), ("ea", "+mn-ea")):
            if properties.find(f"{{*}}{script}") is None:
                properties.append(parse_xml(f'<a:{script} {nsdecls("a")} typeface="{face}"/>'))
