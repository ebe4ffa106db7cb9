"""The small DALL-E's sheet: a picture in each place, in both languages."""

import numpy as np
import pytest

from scale.viz.products import generator_sheet

PICTURES = [np.full((8, 8, 3), 40 * i, np.uint8) for i in range(4)]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_product_has_its_row(lang):
    titles = ["a red mug for cold mornings", "适合厨房的蓝色小碗"]
    figure = generator_sheet(titles, PICTURES[:2], PICTURES[:2], [PICTURES[:3]] * 2, lang)
    assert len(figure.axes[0].images) == 2 * (1 + 1 + 3)
    written = " ".join(text.get_text() for text in figure.axes[0].texts)
    for title in titles:
        assert title.split()[0][:4] in written


def test_rows_of_different_length_are_refused():
    with pytest.raises(ValueError, match="zip"):
        generator_sheet(["one", "two"], PICTURES[:1], PICTURES[:2], [PICTURES[:2]] * 2)
