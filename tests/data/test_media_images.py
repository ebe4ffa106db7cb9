"""Pictures: every mode becomes upright RGB on white, and what is no picture is refused."""

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scale.data import media
from scale.data.media import MediaError, load_image

NOISE_HWC = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def save(path: Path, array: np.ndarray, mode: str | None = None, **options) -> Path:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm", "webp"])
def test_pixels_come_back(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    image = load_image(save(tmp_path / f"a.{suffix}", NOISE_HWC, **options))
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), NOISE_HWC)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    array = NOISE_HWC
    if mode.startswith("I"):
        kind = np.uint16 if mode == "I;16" else np.int32
        array, mode = NOISE_HWC[..., 0].astype(kind) * 257, None
    image = load_image(save(tmp_path / "a.tiff", array, mode))
    assert (image.mode, image.size) == ("RGB", (30, 20))
    if mode is None:
        expected_HWC = np.repeat(NOISE_HWC[..., :1], 3, axis=2)
        np.testing.assert_array_equal(np.asarray(image), expected_HWC)


def test_transparency_lies_on_white(tmp_path):
    pixels_HWC = np.zeros((1, 3, 4), dtype=np.uint8)
    pixels_HWC[0, :, 3] = (0, 128, 255)
    image = load_image(save(tmp_path / "a.png", pixels_HWC))
    np.testing.assert_array_equal(np.asarray(image)[0, :, 0], [255, 127, 0])
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), mode="P")
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.save(tmp_path / "b.png", transparency=0)
    assert np.asarray(load_image(tmp_path / "b.png")).tolist() == [[[255] * 3, [0, 0, 255]]]


def test_exif_turns_the_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = load_image(save(tmp_path / "a.png", NOISE_HWC, exif=exif))
    np.testing.assert_array_equal(np.asarray(turned), np.rot90(NOISE_HWC, -1))


def test_pictures_that_are_refused(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", NOISE_HWC)
    data = path.read_bytes()
    cases = {
        "truncated": data[: len(data) // 2],
        "empty": b"",
        "text": b"not a picture",
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    }
    # A picture, but of a format that is not read, as EPS is not where Ghostscript is installed.
    cases["icon"] = save(tmp_path / "a.ico", NOISE_HWC).read_bytes()
    for name, broken in cases.items():
        bad = tmp_path / f"{name}.png"
        bad.write_bytes(broken)
        with pytest.raises(MediaError, match="does not decode") as caught:
            load_image(bad)
        assert caught.value.path == bad
    save(tmp_path / "float.tiff", np.ones((4, 4), dtype=np.float32))
    with pytest.raises(MediaError, match="floating-point"):
        load_image(tmp_path / "float.tiff")
    with pytest.raises(MediaError, match="does not decode: FileNotFoundError"):
        load_image(tmp_path / "nowhere.png")
    monkeypatch.setattr(media, "MAX_PIXELS", 20 * 30 - 1)
    with pytest.raises(MediaError, match="too many pixels: 30 x 20"):
        load_image(path)


def test_a_bomb_by_pillows_own_measure(tmp_path):
    path = save(tmp_path / "a.bmp", NOISE_HWC)
    data = bytearray(path.read_bytes())
    data[18:26] = struct.pack("<II", 60_000, 60_000)
    path.write_bytes(data)
    with pytest.raises(MediaError, match="DecompressionBombError"):
        load_image(path)


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    (tmp_path / "a.gif").write_bytes(buffer.getvalue())
    assert load_image(tmp_path / "a.gif").getpixel((0, 0)) == (255, 0, 0)


def test_pictures_need_no_av():
    code = "import sys, scale.data.summary; sys.exit(bool({'av', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
