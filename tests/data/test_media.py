"""Decoding of images, video and audio: known values, content hashes, and MediaError for damage."""

import io
import json
import pickle
import struct
import subprocess
import sys
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from scale.data import media
from scale.data.media import (
    MediaError,
    content_hash,
    load_audio,
    load_image,
    load_video,
    read_media_info,
)

RNG = np.random.default_rng(0)
NOISE_HWC = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def save(path: Path, array: np.ndarray, mode: str | None = None, **options) -> Path:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def save_clip(path: Path, frames_THWC: np.ndarray, rate: int = 10) -> Path:
    """A lossless clip: every frame a PNG."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=rate)
        stream.height, stream.width = frames_THWC.shape[1:3]
        stream.pix_fmt = "rgb24"
        for frame_HWC in frames_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode())
    return path


def save_wave(path: Path, samples_SA: np.ndarray, rate: int = 8000) -> Path:
    """A WAV file of 16-bit integers or 32-bit floats."""
    samples_SA = samples_SA if samples_SA.ndim == 2 else samples_SA[:, None]
    kind, width = (3, 4) if samples_SA.dtype == np.float32 else (1, 2)
    channels, body = samples_SA.shape[1], samples_SA.tobytes()
    block = channels * width
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * block, block, 8 * width)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form
    chunks += b"data" + struct.pack("<I", len(body)) + body
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    return path


def clip_frames(count: int) -> np.ndarray:
    """Frame t is filled with the value t."""
    values_T = np.arange(count, dtype=np.uint8)
    return np.broadcast_to(values_T[:, None, None, None], (count, 12, 16, 3)).copy()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    paths = {
        "image": save(folder / "a.jpg", NOISE_HWC),
        "video": save_clip(folder / "a.mov", clip_frames(4)),
        "audio": save_wave(folder / "a.wav", np.arange(2000, dtype=np.int16)),
    }
    return {modality: path.read_bytes() for modality, path in paths.items()}


def test_lossless_formats_keep_every_pixel(tmp_path):
    for suffix in ("png", "bmp", "tiff", "ppm", "webp"):
        options = {"lossless": True} if suffix == "webp" else {}
        image = load_image(save(tmp_path / f"a.{suffix}", NOISE_HWC, **options))
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), NOISE_HWC)


def test_every_mode_becomes_rgb(tmp_path):
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "LAB"):
        image = load_image(save(tmp_path / "a.tiff", NOISE_HWC, mode))
        assert (image.mode, image.size) == ("RGB", (30, 20)), mode
    for kind in (np.uint16, np.int32):
        image = load_image(save(tmp_path / "a.tiff", NOISE_HWC[..., 0].astype(kind) * 257))
        expected_HWC = np.repeat(NOISE_HWC[..., :1], 3, axis=2)
        np.testing.assert_array_equal(np.asarray(image), expected_HWC)


def test_transparency_becomes_white(tmp_path):
    pixels_HWC = np.zeros((1, 3, 4), dtype=np.uint8)
    pixels_HWC[0, :, 3] = (0, 128, 255)
    image = load_image(save(tmp_path / "a.png", pixels_HWC))
    np.testing.assert_array_equal(np.asarray(image)[0, :, 0], [255, 127, 0])
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), mode="P")
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.save(tmp_path / "b.png", transparency=0)
    assert np.asarray(load_image(tmp_path / "b.png")).tolist() == [[[255] * 3, [0, 0, 255]]]


def test_exif_rotates_the_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = load_image(save(tmp_path / "a.png", NOISE_HWC, exif=exif))
    np.testing.assert_array_equal(np.asarray(turned), np.rot90(NOISE_HWC, -1))


def test_images_that_are_refused(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", NOISE_HWC)
    data = path.read_bytes()
    cases = {
        "truncated": data[: len(data) // 2],
        "empty": b"",
        "text": b"not an image",
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    }
    # An image in a format that is not accepted, like EPS where Ghostscript is installed.
    cases["icon"] = save(tmp_path / "a.ico", NOISE_HWC).read_bytes()
    for name, broken in cases.items():
        bad = tmp_path / f"{name}.png"
        bad.write_bytes(broken)
        reason = "empty file" if name == "empty" else "does not decode"
        with pytest.raises(MediaError, match=reason) as caught:
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


def test_a_decompression_bomb_is_refused(tmp_path):
    path = save(tmp_path / "a.bmp", NOISE_HWC)
    data = bytearray(path.read_bytes())
    data[18:26] = struct.pack("<II", 60_000, 60_000)
    path.write_bytes(data)
    with pytest.raises(MediaError, match="DecompressionBombError"):
        load_image(path)


def test_of_an_animation_the_first_frame_is_loaded(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    (tmp_path / "a.gif").write_bytes(buffer.getvalue())
    assert load_image(tmp_path / "a.gif").getpixel((0, 0)) == (255, 0, 0)


def test_blank_first_frames_logos_and_12_bits_are_decoded_usefully(tmp_path):
    """Otherwise each is of a single colour: nothing to learn from, without a word."""
    dot = Image.new("RGB", (8, 8), "white")
    dot.paste("red", (2, 2, 6, 6))
    blank = Image.new("RGB", (8, 8), "white")
    blank.save(tmp_path / "a.gif", save_all=True, append_images=[blank, dot], duration=100)
    assert load_image(tmp_path / "a.gif").getpixel((4, 4)) == (255, 0, 0)
    logo_HWC = np.full((8, 8, 4), 255, np.uint8)
    logo_HWC[:, :4, 3] = 0
    logo = load_image(save(tmp_path / "logo.png", logo_HWC))
    assert (logo.getpixel((0, 0)), logo.getpixel((7, 0))) == ((0, 0, 0), (255, 255, 255))
    for bits, suffix in ((10, "png"), (12, "tiff"), (16, "tiff")):
        ramp_HW = np.linspace(0, (1 << bits) - 1, 64).astype(np.uint16).reshape(8, 8)
        grey = load_image(save(tmp_path / f"{bits}.{suffix}", ramp_HW))
        assert grey.convert("L").getextrema() == (0, 255), bits
    dark = _rgb48_tiff(tmp_path / "rgb.tiff", np.full((4, 4, 3), 4095, "<u2"))
    assert load_image(dark).getpixel((0, 0)) == (255, 255, 255)


def _rgb48_tiff(path: Path, values_HWC: np.ndarray) -> Path:
    """An uncompressed TIFF of 16 bits a colour."""
    height, width, _ = values_HWC.shape
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 8 + 2 + 12 * 8 + 4),
            (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 116), (277, 3, 1, 3),
            (279, 4, 1, values_HWC.nbytes)]  # fmt: skip
    body = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    directory = struct.pack("<H", len(tags)) + body + struct.pack("<I", 0)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<HHH", 16, 16, 16)
                     + values_HWC.tobytes())  # fmt: skip
    return path


def test_damaged_metadata_do_not_cost_the_pixels(tmp_path):
    """EXIF that Pillow cannot write again, and XMP larger than it accepts."""
    entries = struct.pack("<HHIHH", 0x112, 3, 1, 6, 0) + struct.pack("<HHI", 282, 2, 4) + b"abc\0"
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + struct.pack("<I", 0)
    turned = load_image(save(tmp_path / "a.png", NOISE_HWC, exif=exif))
    np.testing.assert_array_equal(np.asarray(turned), np.rot90(NOISE_HWC, -1))
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", "x" * 3_000_000, zip=True)
    whole = load_image(save(tmp_path / "b.png", NOISE_HWC, pnginfo=info))
    np.testing.assert_array_equal(np.asarray(whole), NOISE_HWC)
    jpeg = save(tmp_path / "c.jpg", NOISE_HWC).read_bytes()
    bad = b"\xff\xe2" + struct.pack(">H", 20) + b"MPF\0II*\0" + b"\xff" * 10
    (tmp_path / "d.jpg").write_bytes(jpeg[:2] + bad + b"\xff\xfe\0\4ab" + jpeg[2:])
    assert media._without_metadata((tmp_path / "d.jpg").read_bytes()) == jpeg
    assert load_image(tmp_path / "d.jpg").tobytes() == load_image(tmp_path / "c.jpg").tobytes()


def test_other_files_in_place_of_media_are_named(tmp_path):
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    for start, kind in {
        b"": "empty file: 0 bytes",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n": "Git LFS pointer",
        b"\xef\xbb\xbf\n<!doctype HTML><title>404</title>": "HTML page",
        b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>": "SVG image",
        heic: "HEIC image",
    }.items():
        path = tmp_path / "a.jpg"
        path.write_bytes(start)
        for load in (load_image, lambda p: load_video(p, 2), lambda p: load_audio(p, 8000, 1.0)):
            with pytest.raises(MediaError, match=kind):
                load(path)


def test_a_summary_needs_neither_av_nor_torch():
    code = "import sys, scale.data.summary; sys.exit(bool({'av', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@given(data=st.data(), modality=st.sampled_from(["image", "video", "audio"]))
def test_damage_gives_content_or_media_error(tmp_path_factory, whole, data, modality):
    """Flipped bytes and cut files, mostly in the header; never another exception."""
    broken = bytearray(whole[modality])
    ends = st.integers(0, len(broken) - 1)
    places = st.integers(0, min(len(broken), 300) - 1) | ends
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=8)):
        broken[place] = value
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(broken[: data.draw(st.just(len(broken)) | ends)])
    try:
        outcome = read_media_info(modality, path).content
    except MediaError as error:
        outcome = error.path
    assert outcome == path or len(outcome) == 16


def test_frames_are_the_middles_of_equal_segments(tmp_path):
    for count in (1, 2, 5, 10, 23):
        path = save_clip(tmp_path / "a.mov", clip_frames(count))
        for frames in (1, 3, 10, 12):
            taken_THWC = load_video(path, frames)
            taken = min(count, frames)
            assert taken_THWC.shape == (taken, 12, 16, 3)
            assert taken_THWC.dtype == np.uint8
            middles = [int((t + 0.5) * count / taken) for t in range(taken)]
            assert taken_THWC[:, 0, 0, 0].tolist() == middles
            assert (taken_THWC == taken_THWC[:, :1, :1, :1]).all()


def test_a_clip_is_rotated_upright(tmp_path):
    path = save_clip(tmp_path / "a.mov", NOISE_HWC[None])
    # The display matrix, row by row, of a clip and of one that a phone filmed held upright.
    as_is, clockwise = (65536, 0, 0, 0, 65536, 0), (0, 65536, 0, -65536, 0, 0)
    clip = path.read_bytes()
    at = clip.index(struct.pack(">6i", *as_is), clip.index(b"tkhd"))
    path.write_bytes(clip[:at] + struct.pack(">6i", *clockwise) + clip[at + 24 :])
    np.testing.assert_array_equal(load_video(path, 1)[0], np.rot90(NOISE_HWC, -1))
    facts = read_media_info("video", path)
    assert (facts.width, facts.height) == (20, 30)


def test_clips_that_are_refused(tmp_path, monkeypatch):
    sound = save_wave(tmp_path / "sound.wav", np.zeros(100, dtype=np.int16))
    with pytest.raises(MediaError, match="no video stream"):
        load_video(sound, 4)
    empty = tmp_path / "empty.avi"
    with av.open(str(empty), "w") as container:
        stream = container.add_stream("png", rate=10)
        stream.height, stream.width, stream.pix_fmt = 12, 16, "rgb24"
        container.start_encoding()
    for read in (lambda: load_video(empty, 4), lambda: read_media_info("video", empty)):
        with pytest.raises(MediaError, match="video has no frame"):
            read()
    clip = save_clip(tmp_path / "a.mov", clip_frames(8))
    cut = tmp_path / "cut.mov"
    cut.write_bytes(clip.read_bytes()[:-200])
    with pytest.raises(MediaError, match="does not decode"):
        load_video(cut, 4)
    monkeypatch.setattr(media, "MAX_PIXELS", 12 * 16 - 1)
    with pytest.raises(MediaError, match="too many pixels: 16 x 12"):
        load_video(clip, 4)


def test_a_playlist_cannot_name_other_files(tmp_path):
    """It could refer to files outside the catalogue folder."""
    clip = save_clip(tmp_path / "a.mov", clip_frames(2))
    (tmp_path / "a.ffconcat").write_text(f"ffconcat version 1.0\nfile {clip.name}\n")
    (tmp_path / "a.m3u8").write_text(f"#EXTM3U\n#EXTINF:1\n{clip.name}\n#EXT-X-ENDLIST\n")
    for name in ("a.ffconcat", "a.m3u8"):
        with pytest.raises(MediaError, match="does not decode"):
            load_video(tmp_path / name, 2)


def test_cover_art_is_not_the_clip_and_pixels_become_square(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        sound, cover = container.add_stream("aac", rate=8000), container.add_stream("png", rate=10)
        cover.disposition = av.stream.Disposition.attached_pic
        cover.height = cover.width = 8
        cover.pix_fmt = "rgb24"
        frame_HWC = np.zeros((8, 8, 3), np.uint8)
        container.mux(cover.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        block = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        block.sample_rate = 8000
        container.mux(sound.encode(block))
        container.mux([*cover.encode(), *sound.encode()])
    with pytest.raises(MediaError, match="the file only has cover art"):
        load_video(tmp_path / "a.mp4", 1)
    with av.open(str(tmp_path / "b.mov"), "w") as container:
        stream = container.add_stream("png", rate=10)
        stream.height, stream.width, stream.pix_fmt = 12, 16, "rgb24"
        stream.codec_context.sample_aspect_ratio = Fraction(2)
        frame_HWC = np.zeros((12, 16, 3), np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode())
    assert load_video(tmp_path / "b.mov", 1).shape == (1, 12, 32, 3)


def test_many_channels_do_not_crash_the_process(tmp_path):
    """PyAV reads beyond the planes of frames with more than 7 channels."""
    script = (
        "import sys; from scale.data.media import load_audio, read_media_info\n"
        "for path in sys.argv[1:]: print(load_audio(path, 8000, 60.0).tolist())\n"
        "read_media_info('audio', path)"
    )
    samples_SA = RNG.integers(-9999, 9999, (50, 24), dtype=np.int16)
    paths = [save_wave(tmp_path / f"{n}.wav", samples_SA[:, :n]) for n in (7, 8, 24)]
    done = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for n, line in zip((7, 8, 24), done.stdout.splitlines(), strict=True):
        expected_S = samples_SA[:, :n].mean(axis=1) / 2**15
        np.testing.assert_allclose(json.loads(line), expected_S, atol=1e-6)


def test_samples_are_the_mean_of_the_channels(tmp_path):
    samples_SA = RNG.uniform(-1, 1, (5000, 2)).astype(np.float32)
    sound_S = load_audio(save_wave(tmp_path / "a.wav", samples_SA), 8000, 60.0)
    assert sound_S.dtype == np.float32
    np.testing.assert_allclose(sound_S, samples_SA.mean(axis=1), atol=1e-6)
    np.testing.assert_array_equal(load_audio(tmp_path / "a.wav", 8000, 0.25), sound_S[:2000])


def test_resampling_keeps_pitch_and_length(tmp_path):
    tone_S = np.sin(2 * np.pi * 440 * np.arange(8000) / 8000).astype(np.float32)
    path = save_wave(tmp_path / "a.wav", tone_S)
    for rate in (4000, 8000, 16_000):
        sound_S = load_audio(path, rate, 60.0)
        assert len(sound_S) == pytest.approx(rate, abs=rate // 100)
        spectrum = np.abs(np.fft.rfft(sound_S[:rate], n=rate))
        assert spectrum.argmax() == 440
        assert np.abs(sound_S).max() == pytest.approx(1, abs=0.05)


def test_audio_that_is_not_finite_is_refused(tmp_path):
    for value in (np.nan, np.inf, -np.inf):
        samples_S = np.zeros(3000, dtype=np.float32)
        samples_S[1500] = value
        path = save_wave(tmp_path / "a.wav", samples_S)
        with pytest.raises(MediaError, match="not finite"):
            load_audio(path, 16_000, 60.0)
        with pytest.raises(MediaError, match="not finite"):
            read_media_info("audio", path)


def test_audio_that_is_refused(tmp_path):
    with pytest.raises(MediaError, match="audio is empty"):
        load_audio(save_wave(tmp_path / "a.wav", np.zeros(0, dtype=np.int16)), 8000, 1.0)
    with pytest.raises(MediaError, match="no audio stream"):
        load_audio(save_clip(tmp_path / "a.mov", clip_frames(2)), 8000, 1.0)
    (tmp_path / "b.wav").write_bytes(b"RIFF")
    with pytest.raises(MediaError, match="does not decode"):
        load_audio(tmp_path / "b.wav", 8000, 1.0)


def test_the_hash_is_of_the_content_and_not_of_the_file(tmp_path):
    same = [save(tmp_path / f"a.{suffix}", NOISE_HWC) for suffix in ("png", "bmp", "tiff")]
    assert len({content_hash("image", path) for path in same}) == 1
    samples_S = RNG.integers(-999, 999, 4000).astype(np.int16)
    plain = save_wave(tmp_path / "a.wav", samples_S)
    with wave.open(str(tmp_path / "b.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(samples_S.tobytes())
    packed = tmp_path / "a.flac"
    with av.open(str(plain)) as source, av.open(str(packed), "w") as target:
        stream = target.add_stream("flac", rate=8000, layout="mono", format="s16")
        for frame in source.decode(audio=0):
            frame.pts = None
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
    assert len({content_hash("audio", p) for p in (plain, packed, tmp_path / "b.wav")}) == 1
    clips = [save_clip(tmp_path / f"a.{suffix}", clip_frames(3)) for suffix in ("mov", "avi")]
    assert len({content_hash("video", path) for path in clips}) == 1


def test_different_contents_have_different_hashes(tmp_path):
    other_HWC = NOISE_HWC.copy()
    other_HWC[0, 0, 0] ^= 1
    arrays = [NOISE_HWC, other_HWC, NOISE_HWC.reshape(30, 20, 3)]
    hashes = {content_hash("image", save(tmp_path / "a.png", array)) for array in arrays}
    clips = [
        clip_frames(3),
        clip_frames(4),
        clip_frames(3)[::-1],
        clip_frames(3).reshape(3, 16, 12, 3),
    ]
    hashes |= {content_hash("video", save_clip(tmp_path / "a.mov", c)) for c in clips}
    samples_SA = RNG.integers(-999, 999, (400, 2)).astype(np.int16)
    sounds = [(samples_SA, 8000), (samples_SA, 4000), (samples_SA.reshape(-1), 8000)]
    hashes |= {content_hash("audio", save_wave(tmp_path / "a.wav", *s)) for s in sounds}
    assert len(hashes) == 10
    assert all(len(h) == 16 and int(h, 16) >= 0 for h in hashes)


def test_media_info_has_sizes_and_durations(tmp_path):
    image = read_media_info("image", save(tmp_path / "a.png", NOISE_HWC))
    assert (image.width, image.height, image.frames, image.seconds) == (30, 20, None, None)
    video = read_media_info("video", save_clip(tmp_path / "a.mov", clip_frames(25), rate=10))
    assert (video.width, video.height, video.frames) == (16, 12, 25)
    assert video.seconds == pytest.approx(2.5)
    audio = read_media_info("audio", save_wave(tmp_path / "a.wav", np.ones(6000, dtype=np.int16)))
    assert audio.seconds == pytest.approx(0.75)


def test_the_error_travels_between_processes():
    error = pickle.loads(pickle.dumps(MediaError("a.png", "does not decode: truncated")))
    assert (error.path, str(error)) == ("a.png", "a.png: does not decode: truncated")


@pytest.mark.parametrize("held", [0, 1 << 30])
def test_media_and_their_properties_are_those_of_separate_calls(tmp_path, monkeypatch, held):
    monkeypatch.setattr(media, "HELD_BYTES", held)
    clip = save_clip(tmp_path / "a.mov", clip_frames(25), rate=10)
    frames_THWC, info = media.load_video_and_info(clip, 8)
    assert np.array_equal(frames_THWC, load_video(clip, 8))
    assert info == read_media_info("video", clip)
    noise_S = np.random.default_rng(0).integers(-999, 999, 6000).astype(np.int16)
    wave = save_wave(tmp_path / "a.wav", noise_S)
    sound_S, info = media.load_audio_and_info(wave, 4000, 0.25)
    assert np.array_equal(sound_S, load_audio(wave, 4000, 0.25))
    assert info == read_media_info("audio", wave)
