"""Product cards, contact sheets and the sheet of the image generator."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from scale.data.product import Product
from scale.modalities import MODALITIES
from scale.viz.products import contact_sheet, generator_sheet, product_card
from scale.viz.theme import use_style
from scale.viz.tiles import DECIBELS, log_mel
from scale.viz.words import label
from tests.viz.conftest import LOOKS


def test_card_shows_all_five_modalities(product, checked):
    for look, lang in LOOKS:
        _, texts = checked(product_card, look, product, lang, 4)
        assert {label(m, lang) for m in MODALITIES} <= set(texts)
        assert not {label(f"absent_{m}", lang) for m in MODALITIES} & set(texts)
        assert label("sound_length", lang, seconds=0.5) in texts
        assert label("frame_count", lang, n=4) in texts
        assert {"attribute 8", "数值 8"} <= set(texts)


def test_card_labels_what_is_absent(product, readable):
    for absent in (("text", "video"), ("table", "image", "audio")):
        texts = readable(product_card(replace(product, **dict.fromkeys(absent))))
        assert tuple(m for m in MODALITIES if label(f"absent_{m}") in texts) == absent


def test_card_of_a_product_without_anything(readable):
    texts = readable(product_card(Product(id="empty"), "zh"))
    assert {label(f"absent_{m}", "zh") for m in MODALITIES} <= set(texts)


def test_card_labels_what_does_not_decode(product, readable, tmp_path):
    broken = tmp_path / "broken.bin"
    broken.write_bytes(b"no media at all")
    media = dict.fromkeys(("image", "video", "audio"), broken)
    texts = readable(product_card(replace(product, **media)))
    assert sum(label("broken") in text for text in texts) == 3


def test_card_counts_the_pairs_that_do_not_fit(product, readable):
    pairs = tuple((f"name {k}", f"value {k}") for k in range(200))
    texts = readable(product_card(replace(product, table=pairs)))
    shown = sum(text.startswith("name ") for text in texts)
    assert 20 < shown < 200
    assert label("more_pairs", n=200 - shown) in texts
    assert label("pair_count", n=200) in texts


def test_contact_sheet_has_a_tile_and_five_marks_for_each_product(product, readable):
    products = [product, replace(product, image=None, video=None), Product(id="empty")]
    products += [Product(id="s", audio=product.audio), Product(id="t", table=product.table)]
    with use_style("paper"):
        figure = contact_sheet(products, columns=2)
    texts = readable(figure)
    assert label("product_count", n=5) in texts
    assert label("absent") in texts
    squares = [p for p in figure.axes[0].patches if abs(p.get_bbox().width - 6.5) < 1e-6]
    assert len(squares) == 25
    filled = sum(p.get_facecolor()[3] > 0 for p in squares)
    assert filled == sum(len(p.present) for p in products)


def test_empty_contact_sheet_counts_no_products(readable):
    assert label("product_count", "zh", n=0) in readable(contact_sheet([], lang="zh"))


def test_figures_need_no_pyplot(product):
    import subprocess
    import sys

    code = "import sys, scale.viz.products; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_log_mel_peaks_at_the_tone():
    for hertz in [300.0, 1000.0, 5000.0]:
        rate, bins = 16_000, 64
        wave_T = np.sin(2 * np.pi * hertz * np.arange(rate) / rate).astype(np.float32)
        decibel_FL = log_mel(wave_T, rate, bins)
        assert decibel_FL.shape[0] == bins
        assert abs(decibel_FL.shape[1] - 100) <= 1
        assert decibel_FL.max() == 0
        assert decibel_FL.min() >= -DECIBELS
        mel = 2595 * np.log10(1 + hertz / 700)
        top = 2595 * np.log10(1 + rate / 2 / 700)
        expected = mel / top * (bins + 1) - 1
        assert abs(decibel_FL.mean(axis=1).argmax() - expected) <= 1


def test_log_mel_of_silence_is_the_floor():
    for length in [1, 100, 16_000]:
        assert (log_mel(np.zeros(length, np.float32), 16_000) == -DECIBELS).all()


def test_pictures_are_really_drawn(product):
    """The card's pixels differ where a modality is taken away: nothing is hidden beneath a box."""

    def pixels(p):
        figure = product_card(p)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())

    whole = pixels(product)
    height, width = whole.shape[:2]
    film = whole[int(0.60 * height) : int(0.68 * height), int(0.04 * width) : int(0.95 * width), :3]
    # The clip goes from blue to red, so its frames hold colours that no grey film has.
    assert (np.ptp(film.astype(int), axis=2) > 60).mean() > 0.3


PICTURES = [np.full((8, 8, 3), 40 * i, np.uint8) for i in range(4)]


def test_every_product_has_its_row():
    for lang in ["en", "zh"]:
        titles = ["a red mug for cold mornings", "适合厨房的蓝色小碗"]
        figure = generator_sheet(titles, PICTURES[:2], PICTURES[:2], [PICTURES[:3]] * 2, lang)
        assert len(figure.axes[0].images) == 2 * (1 + 1 + 3)
        written = " ".join(text.get_text() for text in figure.axes[0].texts)
        for title in titles:
            assert title.split()[0][:4] in written


def test_rows_of_different_length_are_refused():
    with pytest.raises(ValueError, match="zip"):
        generator_sheet(["one", "two"], PICTURES[:1], PICTURES[:2], [PICTURES[:2]] * 2)
