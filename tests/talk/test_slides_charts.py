"""Native charts and tables: values, whiskers and axes as given."""

import io
import math
import re
import zipfile

import pytest
from lxml import etree
from pptx import Presentation

from scale.evaluation.bootstrap import Estimate
from scale.talk.chart import STEPS, Chart, axis_limits, step_format
from scale.talk.deck import problems
from scale.talk.page import FIRST, TEMPLATE, Page
from scale.talk.table import Cell, Table, cell

FOUND = [Estimate(0.2, 0.15, 0.3, 9), Estimate(-0.1, -0.25, 0.05, 9), Estimate(None, None, None, 0)]
NAMES = ("one", "two", "three")
COLOURS = ("#1668DC", "#D63E0C")


@pytest.fixture
def page():
    return Page.add(Presentation(str(TEMPLATE)), "Chart or table", "en", "run demo")


def deck_of(page):
    return page.slide.part.package.presentation_part.presentation


def put(page, exhibit):
    exhibit.put(page, FIRST, "what it shows")
    page.drop_empty()
    (frame,) = [s for s in page.slide.shapes if s.has_chart or s.has_table]
    assert frame._element.xpath(".//p:cNvPr/@descr") == ["what it shows"]
    return frame


@pytest.mark.parametrize("kind", ["bars", "columns", "lines"])
def test_values_and_whiskers_are_those_given(page, kind):
    chart = Chart(kind, NAMES, {"a": FOUND, "b": FOUND}, COLOURS, "mAP@1")
    native = put(page, chart).chart
    assert [list(s.values) for s in native.plots[0].series] == [[0.2, -0.1, None]] * 2
    assert tuple(native.plots[0].categories) == NAMES
    assert native.has_legend
    for series in native.plots[0].series:
        for side, lengths in (("plus", [0.1, 0.15]), ("minus", [0.05, 0.15])):
            shown = series._element.findall(f".//{{*}}errBars/{{*}}{side}//{{*}}pt/{{*}}v")
            assert [float(v.text) for v in shown] == pytest.approx(lengths)
            (cells,) = series._element.findall(f".//{{*}}errBars/{{*}}{side}//{{*}}f")
            assert in_worksheet(native, cells.text) == pytest.approx(lengths)
    assert not problems(deck_of(page))


def in_worksheet(native, reference):
    """Numbers of the chart's workbook in a range of one column."""
    letter, first, last = re.fullmatch(r"Sheet1!\$(\w+)\$(\d+):\$\1\$(\d+)", reference).groups()
    with zipfile.ZipFile(io.BytesIO(native.part.chart_workbook.xlsx_part.blob)) as book:
        sheet = etree.fromstring(book.read("xl/worksheets/sheet1.xml"))
    cells = {c.get("r"): c.findtext("{*}v") for c in sheet.iter("{*}c")}
    found = [cells.get(f"{letter}{row}") for row in range(int(first), int(last) + 1)]
    return [float(value) for value in found if value is not None]


@pytest.mark.parametrize(("lang", "code"), [("en", "en-US"), ("zh", "zh-CN")])
def test_all_text_of_a_chart_has_the_language_of_the_deck(lang, code):
    page = Page.add(Presentation(str(TEMPLATE)), "Chart or table", lang, "run demo")
    native = put(page, Chart("bars", NAMES, {"a": FOUND, "b": FOUND}, COLOURS, "轴", "类")).chart
    texts = native._chartSpace.xpath(".//a:defRPr | .//a:rPr")
    assert len(texts) >= 4
    assert {text.get("lang") for text in texts} == {code}
    assert {text.find("{*}ea").get("typeface") for text in texts} == {"+mn-ea"}


def test_one_series_has_a_colour_a_category(page):
    colours = ("#1668DC", "#AA8F45", "#32A287")
    native = put(page, Chart("bars", NAMES, {"a": FOUND}, colours, "x")).chart
    points = [native.plots[0].series[0].points[k] for k in range(3)]
    assert [f"#{p.format.fill.fore_color.rgb}" for p in points] == list(colours)
    assert not native.has_legend


def test_curves_leave_gaps_out(page):
    native = put(page, Chart("curves", (10.0, 20.0, 30.0), {"a": FOUND}, ("#1668DC",), "x")).chart
    assert list(native.plots[0].series[0].values) == [0.2, -0.1]


def test_an_axis_contains_zero_values_and_whiskers():
    for values, limits in (
        ([(0.47, 0.39, 0.54)], (0.0, 0.6, 0.1)),
        ([(-0.057, -0.071, -0.042), (0.001, -0.002, 0.005)], (-0.08, 0.02, 0.02)),
        ([(1.0, None, None), (0.53, None, None)], (0.0, 1.0, 0.2)),
        ([(720.0, None, None)], (0.0, 800.0, 200.0)),
        ([(0.0, None, None)], (0.0, 0.1, 0.1)),
    ):
        low, high, step = axis_limits([Estimate(*each, 5) for each in values])
        assert (low, high, step) == pytest.approx(limits)
        ends = [end for each in values for end in each if end is not None]
        assert low <= min([0, *ends]) + 1e-9
        assert high >= max([0, *ends]) - 1e-9
        assert (high - low) / step <= STEPS + 1e-9
        assert math.isclose((high - low) / step, round((high - low) / step))


def test_an_axis_is_written_with_the_decimals_of_its_step():
    assert [step_format(s) for s in (0.05, 0.1, 0.25, 20, 0.02)] == ["0.00", "0.0", "0.00", "0",
                                                                     "0.00"]  # fmt: skip


def test_a_table_is_as_high_as_its_text(page):
    rows = ((cell("a", bold=True), Cell((("●", "#1668DC"), ("●", "#D5DAE1")))),) * 3
    frame = put(page, Table(("name", "modalities"), rows, (1, 2)))
    table = frame.table
    assert [c.text for c in table.rows[1].cells] == ["a", "●●"]
    colours = [r.font.color.rgb for r in table.cell(1, 1).text_frame.paragraphs[0].runs]
    assert [str(colour) for colour in colours] == ["1668DC", "D5DAE1"]
    assert sum(row.height for row in table.rows) == frame.height
    assert not problems(deck_of(page))


def test_a_table_that_does_not_fit_is_refused(page):
    rows = tuple((cell(f"row {n}"), cell("words " * 10)) for n in range(12))
    with pytest.raises(ValueError, match="of 13 rows does not fit"):
        Table(("a", "b"), rows, (1, 1)).put(page, FIRST, "alt")


def test_layout_faults_are_reported(page):
    frame = put(page, Table(("a", "b"), ((cell("x"), cell("y")),), (1, 1)))
    assert not problems(deck_of(page))
    frame.table.cell(1, 0).text_frame.paragraphs[0].runs[0].text = "far too many words " * 20
    frame._element.xpath(".//p:cNvPr")[0].set("descr", "")
    frame.left = deck_of(page).slide_width
    found = " ".join(problems(deck_of(page)))
    for message in ("overflows", "no alternative text", "extends beyond the page"):
        assert message in found
