"""A palette keeps what the page draws exact, and the photographs close, at fewer bytes."""

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from scale.viz.theme import reduce_colours, save_figure


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
