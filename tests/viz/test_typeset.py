import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scale.viz import typeset
from scale.viz.theme import drawn

TEXTS = st.text(alphabet="abcWi 　,.-模态缺失，。（）、1$_\n", max_size=60)


@given(TEXTS, st.floats(30, 200), st.integers(1, 4))
@settings(max_examples=60)
def test_wrapped_lines_fit(text, width, lines):
    wrapped = typeset.wrap(text, width, 9, lines)
    assert 1 <= len(wrapped) <= lines
    for line in wrapped:
        assert typeset.text_width(line, 9) <= width


@given(TEXTS)
@settings(max_examples=60)
def test_wrapping_loses_nothing_where_there_is_room(text):
    wrapped = typeset.wrap(text, 60, 9, lines=200)
    shown = "".join("".join(line.split()) for line in wrapped)
    if not any(line.endswith("…") for line in wrapped):
        assert shown == "".join(text.split())


def test_closing_marks_never_begin_a_line():
    text = "厨房刀具，适合切肉、切菜。经久耐用，容易清洗。" * 3
    for width in range(30, 120, 7):
        for line in typeset.wrap(text, width, 9, lines=50):
            assert line[0] not in "，。、"


def test_shorten_keeps_what_fits_and_marks_what_does_not():
    assert typeset.shorten("short  text", 200, 9) == "short text"
    cut = typeset.shorten("a long text that does not fit", 60, 9)
    assert cut.endswith("…")
    assert "a long text that does not fit".startswith(cut[:-1])
    longer = "a long text that does not fit"[: len(cut)] + "…"
    assert typeset.text_width(longer, 9) > 60


def test_bold_is_wider():
    assert typeset.text_width("weight", 9, "bold") > typeset.text_width("weight", 9)


def test_text_width_matches_what_is_drawn():
    @drawn
    def line():
        figure, axes = typeset.page(300, 50)
        typeset.write(axes, 10, 30, "Kettle 电热水壶", 10)
        return figure

    figure = line()
    box = figure.axes[0].texts[0].get_window_extent()
    drawn_width = box.width / figure.dpi * 72
    assert drawn_width == pytest.approx(typeset.text_width("Kettle 电热水壶", 10), rel=0.05)


@pytest.mark.parametrize("shape", [(50, 100, 3), (100, 50, 3), (7, 7, 3)])
def test_pictures_keep_their_proportions_inside_the_box(shape):
    @drawn
    def page():
        figure, axes = typeset.page(200, 200)
        covered.append(typeset.picture(axes, np.zeros(shape, np.uint8), 20, 30, 80, 60))
        return figure

    covered = []
    page()
    x, y, width, height = covered[0]
    assert width / height == pytest.approx(shape[1] / shape[0])
    assert x >= 20 - 1e-9
    assert y >= 30 - 1e-9
    assert x + width <= 100 + 1e-9
    assert y + height <= 90 + 1e-9
    assert width == pytest.approx(80) or height == pytest.approx(60)
