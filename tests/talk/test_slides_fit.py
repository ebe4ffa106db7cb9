"""Text that fits its box, or is refused."""

import pytest
from matplotlib.figure import Figure
from pptx import Presentation

from scale.talk.page import (
    FIRST,
    SMALLEST,
    TEMPLATE,
    Page,
    Picture,
    fitting_size,
    longest_word,
    picture_place,
    text_height,
)
from scale.viz import typeset


def test_height_is_the_lines_and_the_spaces():
    text = "one two three four five six seven eight nine ten"
    lines = typeset.wrap(text, 100, 20, 50)
    assert len(lines) > 2
    assert text_height([text], 20, 100) == pytest.approx(len(lines) * 24)
    assert text_height([text] * 2, 20, 100, space=9) == pytest.approx(2 * (len(lines) * 24 + 9))


def test_chinese_lines_are_higher_and_bullets_narrower():
    assert text_height(["模态"], 20, 300) == pytest.approx(27.2)
    text = "word " * 12
    assert text_height([text], 20, 200, bullets=True) >= text_height([text], 20, 200)


def test_a_line_break_begins_a_line():
    assert text_height(["0.2\n[0.1, 0.3]"], 18, 300) == pytest.approx(2 * 18 * 1.2)


def test_the_largest_size_that_fits_is_taken():
    text = ["a few words that need two lines or more"]
    size = fitting_size(text, (240, 60), 28)
    assert SMALLEST <= size < 28
    assert text_height(text, size, 240) <= 60 < text_height(text, size + 1, 240)


def test_text_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="does not fit its box of 100 × 40 points"):
        fitting_size(["far too many words for so small a box"] * 4, (100, 40), 20)


def test_a_word_that_is_wider_than_its_box_is_refused():
    word = "Donaudampfschifffahrtsgesellschaft"
    assert longest_word([f"die {word}"], 18) == typeset.text_width(word, 18)
    assert longest_word(["模态缺失"], 18) < typeset.text_width("模态缺失", 18)
    with pytest.raises(ValueError, match="shorten it"):
        fitting_size([word], (100, 400), 20)


def test_the_check_looks_inside_pictures():
    page = Page.add(Presentation(str(TEMPLATE)), "Picture", "en", "run demo")
    figure = Figure(figsize=(12.13, 4.07))
    figure.text(0.5, 0.5, "as large as on a slide", fontsize=14)
    with pytest.raises(ValueError, match=r"text of 10\.1 points in a picture"):
        Picture.of(figure).put(page, FIRST, "")
    wide = Page.add(Presentation(str(TEMPLATE)), "Wide picture", "en", "run demo")
    Picture.of(figure).put(wide, FIRST, "")


def test_places_are_those_of_the_template():
    assert picture_place("Picture") == pytest.approx((8.75, 5.17), abs=0.01)
    assert picture_place("Wide picture") == pytest.approx((12.13, 4.07), abs=0.01)
