"""Colours, fonts, styles and palettes."""

import base64
import io
import itertools
import re
import warnings

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.ft2font import FT2Font
from PIL import Image

from scale.modalities import MODALITIES
from scale.viz import svg
from scale.viz import theme as style
from scale.viz.theme import reduce_colours, save_figure

STYLES = ["paper", "slides", "dark"]

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def linear(colour):
    c = np.array(to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast(first, second):
    """WCAG 2 contrast ratio."""
    low, high = sorted(linear(c) @ [0.2126, 0.7152, 0.0722] for c in (first, second))
    return (high + 0.05) / (low + 0.05)


def lab(rgb):
    to_xyz = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
    t = (np.array(to_xyz) @ np.clip(rgb, 0, 1)) / [0.95047, 1.0, 1.08883]
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_modalities_have_one_colour_each_in_the_one_order():
    assert tuple(style.MODALITY_COLOURS) == MODALITIES
    assert len(set(style.MODALITY_COLOURS.values())) == len(MODALITIES)


def test_modality_colours_contrast_with_the_page():
    for name in STYLES:
        with style.use_style(name):
            page = rcParams["figure.facecolor"]
        for colour in [*style.MODALITY_COLOURS.values(), style.HIT]:
            assert contrast(colour, page) >= 3.0


def test_modality_colours_differ_for_every_kind_of_vision():
    for vision in VISION:
        seen = [lab(VISION[vision] @ linear(c)) for c in style.MODALITY_COLOURS.values()]
        distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)]
        # 2.3 is just noticeable side by side; small marks need several times that.
        assert min(distances) > 15


def test_accents_are_no_modality_colours():
    for vision in VISION.values():
        ends = [lab(vision @ linear(c)) for c in (style.POSITIVE, style.NEGATIVE)]
        assert np.linalg.norm(ends[0] - ends[1]) > 40
    modalities = [lab(linear(c)) for c in style.MODALITY_COLOURS.values()]
    for colour in (style.POSITIVE, style.NEGATIVE, style.HIT):
        assert min(np.linalg.norm(lab(linear(colour)) - other) for other in modalities) > 25
        assert contrast(colour, "#FFFFFF") >= 4.5


def test_text_is_legible_on_every_colour():
    for grey in range(256):
        for colour in (
            f"#{grey:02x}{grey:02x}{grey:02x}",
            f"#{grey // 3:02x}{grey // 2:02x}{grey:02x}",
        ):
            assert contrast(style.text_on(colour), colour) >= 4.5


def test_contrast_and_colour_distance_can_fail():
    assert contrast("#FFFFFF", "#000000") == pytest.approx(21)
    assert contrast("#F0E442", "#FFFFFF") < 3.0
    green, red = (lab(VISION["deuteranopia"] @ linear(c)) for c in ("#8A9A00", "#C08000"))
    assert np.linalg.norm(green - red) < 15


def test_style_is_put_on_and_taken_off():
    before = dict(rcParams)
    with style.use_style("slides"):
        assert rcParams["font.size"] == 14
        assert style.points(9) == pytest.approx(14)
        with style.use_style("dark"):
            assert not style.is_light()
        assert style.is_light()
    assert dict(rcParams) == before


def test_settings_of_the_user_do_not_leak_in():
    with style.rc_context({"axes.linewidth": 9.0}), style.use_style("paper"):
        assert rcParams["axes.linewidth"] == 0.7


def test_unknown_style_is_named():
    with pytest.raises(ValueError, match="poster"), style.use_style("poster"):
        pass


def test_fonts_are_the_shipped_ones():
    style.register_fonts()
    for weight, file in (("normal", style.FONT_FILE), ("bold", style.BOLD_FILE)):
        chinese = findfont(FontProperties(family=style.FONT_FAMILIES[1], weight=weight))
        assert str(chinese) == str(file)
    assert "mpl-data" in str(findfont(FontProperties(family=style.FONT_FAMILIES[0])))
    assert (style.ASSETS / "OFL.txt").read_text(encoding="utf-8").count("SIL OPEN FONT LICENSE")


@style.drawn
def chinese_figure(title="模态缺失 $5 与 $6"):
    figure = style.new_figure(3, 2)
    axes = figure.subplots()
    axes.plot([0, 1], [0, -1])
    axes.set_title(title)
    axes.set_xticks([0, 1], ["文本", "图像"])
    return figure


def test_chinese_survives_a_drawing_outside_the_style():
    figure = chinese_figure()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FigureCanvasAgg(figure).draw()
    assert figure.axes[0].get_title(loc="left") == "模态缺失 $5 与 $6"


def test_chinese_without_the_shipped_font_warns():
    figure = Figure()
    figure.text(0.5, 0.5, "模态", family=["DejaVu Sans"])
    with pytest.warns(UserWarning, match="Glyph"):
        FigureCanvasAgg(figure).draw()


def test_bold_chinese_has_a_font_with_the_same_characters():
    regular, bold = (FT2Font(str(file)) for file in (style.FONT_FILE, style.BOLD_FILE))
    assert set(bold.get_charmap()) == set(regular.get_charmap())
    ink = []
    for font in (regular, bold):
        font.set_size(100, 72)
        font.set_text("模态缺失")
        font.draw_glyphs_to_bitmap()
        ink.append(int((np.asarray(font.get_image()) > 127).sum()))
    assert ink[1] > 1.3 * ink[0]
    title = chinese_figure().axes[0]._left_title
    assert title.get_fontweight() == "bold"
    assert not title.get_path_effects()


def test_saved_bytes_repeat_and_nothing_unfinished_stays(tmp_path):
    formats = ("png", "svg", "pdf")
    first = style.save_figure(chinese_figure(), tmp_path / "new" / "a", formats)
    second = style.save_figure(chinese_figure(), tmp_path / "b.v2", formats)
    assert [p.name for p in first] == ["a.png", "a.svg", "a.pdf"]
    assert [p.name for p in second] == ["b.v2.png", "b.v2.svg", "b.v2.pdf"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert len(list(tmp_path.iterdir())) == 4
    svg = first[1].read_text(encoding="utf-8")
    assert "<text" not in svg
    assert "<dc:date>" not in svg


def test_live_text_is_text_with_its_font(tmp_path):
    title = "模态缺失 abc"
    files = [
        save_figure(chinese_figure(title), tmp_path / n, ("svg",), live_text=True)[0] for n in "ab"
    ]
    text, again = (path.read_text(encoding="utf-8") for path in files)
    assert text == again
    assert re.search(r"<text[^>]*font-weight: 700[^>]*>模态缺失 abc</text>", text)
    faces = re.findall(r"font-family:'([^']*)';font-weight:(\d+)", text)
    assert sorted(faces) == [(f, w) for f in style.FONT_FAMILIES for w in ("400", "700")]
    assert len(text) < 100_000
    plain = save_figure(chinese_figure("abc"), tmp_path / "c", ("svg",), live_text=True)[0]
    # Bold Chinese is embedded only where it is used.
    assert plain.read_text(encoding="utf-8").count("@font-face") == 3


def test_photographs_in_an_svg_are_jpeg():
    small = Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8))
    photo = small.resize((200, 200), Image.Resampling.BICUBIC)
    for image, kind in ((photo, "jpeg"), (Image.new("RGBA", (20, 20)), "png")):
        with io.BytesIO() as buffer:
            image.save(buffer, "PNG")
            uri = "data:image/png;base64,\n" + base64.b64encode(buffer.getvalue()).decode()
        assert svg._PHOTO.sub(svg._smaller, f'"{uri}"').startswith(f'"data:image/{kind};base64,')


def test_category_colours_are_distinct_and_none_is_a_modality():
    modalities = [lab(linear(c)) for c in style.MODALITY_COLOURS.values()]
    for count in (1, 3, 5, 8, 34):
        colours = style.category_colours(count)
        assert len(set(colours)) == count
        for colour in colours:
            near = min(np.linalg.norm(lab(linear(colour)) - other) for other in modalities)
            assert near > 18, colour


def test_no_other_colour_of_figures_and_slides_is_that_of_a_modality():
    """Colours written in the code, where they are chosen; a child and its animals may be orange."""
    modalities = {name: lab(linear(c)) for name, c in style.MODALITY_COLOURS.items()}
    package, found = style.ASSETS.parents[1], 0
    for path in [*(package / "viz").rglob("*.py"), *(package / "talk").rglob("*.py")]:
        if path.stem == "contrastive_idea":
            continue
        code = path.read_text(encoding="utf-8")
        code = re.sub(r"MODALITY_COLOURS: dict.*?}", "", code, flags=re.DOTALL)
        for colour in re.findall(r"[\"'](#[0-9A-Fa-f]{6})[\"']", code):
            found += 1
            for name, own in modalities.items():
                near = np.linalg.norm(lab(linear(colour)) - own)
                assert near > 18, f"{path.name}: {colour} looks like {name}"
    assert found > 10


def page(path, seed=0):
    """An even page with five coloured squares, beside a photograph of smooth colours and noise."""
    rng = np.random.default_rng(seed)
    pixels_HWC = np.full((120, 240, 3), 255, np.uint8)
    x = np.linspace(0, 1, 120)
    smooth = np.stack([np.outer(x, x), np.outer(1 - x, x), np.outer(x, 1 - x)], -1)
    noisy = smooth + rng.normal(0, 0.05, smooth.shape)
    pixels_HWC[:, 120:] = (255 * np.clip(noisy, 0, 1)).astype(np.uint8)
    for k, colour in enumerate([(22, 104, 220), (170, 143, 69), (50, 162, 135), (214, 62, 12)]):
        pixels_HWC[10 + 20 * k : 22 + 20 * k, 10:22] = colour
    Image.fromarray(pixels_HWC).save(path)
    return pixels_HWC


def test_even_areas_stay_exact_and_photographs_close(tmp_path):
    before = page(tmp_path / "a.png").astype(int)
    size = (tmp_path / "a.png").stat().st_size
    reduce_colours(tmp_path / "a.png", 256)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "P"
        after = np.asarray(image.convert("RGB")).astype(int)
    assert np.array_equal(before[:, :120], after[:, :120])
    assert np.abs(before - after)[:, 120:].mean() < 12
    assert (tmp_path / "a.png").stat().st_size < 0.6 * size


def test_a_picture_of_few_colours_stays_as_it_is(tmp_path):
    pixels_HWC = np.zeros((8, 8, 3), np.uint8)
    pixels_HWC[2:6, 2:6] = (200, 10, 10)
    Image.fromarray(pixels_HWC).save(tmp_path / "b.png")
    reduce_colours(tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as image:
        assert np.array_equal(np.asarray(image.convert("RGB")), pixels_HWC)


def test_saving_with_a_palette_gives_the_same_bytes(tmp_path):
    figure = Figure(figsize=(1, 1))
    figure.subplots().imshow(np.random.default_rng(0).random((20, 20)))
    for name in ("one", "two"):
        save_figure(figure, tmp_path / name, ("png",), colours=64)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as image:
        assert image.mode == "P"
