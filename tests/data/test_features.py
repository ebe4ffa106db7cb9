"""Patches, HOG, frame vectors, log-mel, feature files, standardisation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from scale.config import FeatureConfig, vector_size
from scale.data.features import (
    CELL,
    ORIENTATIONS,
    extract,
    fit_image,
    from_patches,
    hog_features,
    hog_thumbnail,
    hop_length,
    log_mel,
    to_frame_vectors,
    to_patches,
)
from scale.data.media import MediaError
from scale.data.normaliser import Normaliser
from scale.data.vectors import read_vectors

CONFIG = FeatureConfig(
    image_size=32, patch_size=8, frame_size=8, audio_seconds=1.0, audio_frames=20, mel_bins=40
)


def sine(hertz, seconds, rate=16_000):
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate).astype(np.float32)


@settings(max_examples=50)
@given(side=st.integers(1, 5), patch=st.integers(1, 8), seed=st.integers(0, 99))
def test_patches_round_trip(side, patch, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (side * patch, side * patch, 3), np.uint8)
    patches_LF = to_patches(pixels, patch)
    assert patches_LF.shape == (side * side, 3 * patch * patch)
    assert np.abs(patches_LF).max() <= 1.0
    assert np.array_equal(from_patches(patches_LF, patch), pixels)
    assert np.array_equal(from_patches(patches_LF.astype(np.float16), patch), pixels)


def test_patches_run_row_by_row():
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:2, 2:] = 255
    assert to_patches(pixels, 2).mean(1).tolist() == [-1, 1, -1, -1]
    with pytest.raises(ValueError, match="not divisible"):
        to_patches(pixels, 3)


def slow_histogram(light_HW):
    """Histogram of one patch, pixel by pixel."""
    down, across = np.gradient(light_HW)
    cells = np.zeros((light_HW.shape[0] // CELL, light_HW.shape[1] // CELL, ORIENTATIONS))
    for y in range(light_HW.shape[0]):
        for x in range(light_HW.shape[1]):
            length = np.hypot(down[y, x], across[y, x])
            turn = (np.arctan2(down[y, x], across[y, x]) / np.pi % 1.0) * ORIENTATIONS
            low = int(np.floor(turn - 0.5))
            share = turn - 0.5 - low
            cells[y // CELL, x // CELL, low % ORIENTATIONS] += length * (1 - share)
            cells[y // CELL, x // CELL, (low + 1) % ORIENTATIONS] += length * share
    flat = cells.reshape(-1)
    return np.sqrt(flat / (flat.sum() + 1.0))


def test_hog_equals_the_loop():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    (described_F,) = hog_features(pixels, 16)
    light = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    np.testing.assert_allclose(described_F[48:], slow_histogram(light), atol=1e-4)
    points = pixels.reshape(4, 4, 4, 4, 3).mean(axis=(1, 3)) / 127.5 - 1
    np.testing.assert_allclose(described_F[:48], points.reshape(-1), atol=1e-5)


def test_hog_has_the_size_of_the_config():
    pixels = np.zeros((64, 64, 3), np.uint8)
    assert hog_features(pixels, 16).shape == (16, vector_size("hog", 16)) == (16, 84)
    assert hog_features(pixels[:48, :48], 48).shape == (1, vector_size("hog", 48))
    with pytest.raises(ValueError, match="cells of 8"):
        hog_features(pixels, 12)


def test_the_hog_thumbnail_has_the_colours():
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    large = pixels.repeat(4, axis=0).repeat(4, axis=1)
    assert np.array_equal(hog_thumbnail(hog_features(large, 16), 16), pixels)


def test_gradients_depend_on_the_edge_and_not_on_its_colour():
    picture = np.full((16, 16, 3), 255, np.uint8)
    picture[:, 8:] = (200, 30, 30)
    other = np.full((16, 16, 3), 255, np.uint8)
    other[:, 8:] = (10, 90, 120)
    (a,), (b,), (turned,) = (
        hog_features(p, 16) for p in (picture, other, picture.transpose(1, 0, 2))
    )
    np.testing.assert_allclose(a[48:], b[48:], atol=1e-2)
    assert np.abs(a[:48] - b[:48]).max() > 0.5
    assert np.abs(a[48:] - turned[48:]).max() > 0.3


def test_a_uniform_image_has_no_gradients():
    assert not hog_features(np.full((16, 16, 3), 77, np.uint8), 16)[0, 48:].any()


@settings(max_examples=50)
@given(width=st.integers(1, 60), height=st.integers(1, 60), size=st.integers(1, 40))
def test_a_fitted_image_keeps_its_aspect_on_white(width, height, size):
    pixels = fit_image(Image.new("RGB", (width, height), "black"), size)
    assert pixels.shape == (size, size, 3)
    black = (pixels == 0).all(2)
    box = black.any(0).sum(), black.any(1).sum()
    longest = max(width, height)
    assert box == tuple(max(1, round(side * size / longest)) for side in (width, height))
    assert (pixels[~black] == 255).all()


def test_a_frame_is_one_vector():
    frames = np.zeros((3, 10, 20, 3), np.uint8)
    frames[1] = 255
    vectors_LF = to_frame_vectors(frames, 8)
    assert vectors_LF.shape == (3, 3 * 64)
    assert (vectors_LF[1] == 1.0).all()
    assert vectors_LF[0].min() == -1.0


@settings(max_examples=20)
@given(frames=st.integers(1, 100), seconds=st.floats(0.5, 2.5))
def test_audio_seconds_have_audio_frames(frames, seconds):
    config = FeatureConfig(audio_seconds=seconds, audio_frames=frames, mel_bins=20)
    hop = hop_length(config)
    assert hop * frames >= 16_000 * seconds > (hop - 1) * frames
    assert log_mel(sine(500, seconds), config).shape == (-(-int(16_000 * seconds) // hop), 20)
    for samples in (1, hop, hop + 1):
        expected = min(-(-samples // hop), frames)
        assert len(log_mel(np.ones(samples, np.float32), config)) == expected


def test_preset_lengths_are_met_exactly():
    for config in (FeatureConfig(), FeatureConfig(audio_seconds=2.0, audio_frames=32, mel_bins=40)):
        sound = sine(440, config.audio_seconds)
        assert log_mel(sound, config).shape == (config.audio_frames, config.mel_bins)


def test_log_mel_agrees_with_a_slow_twin():
    sound = np.random.default_rng(0).normal(0, 0.1, 3000).astype(np.float32)
    hop, n_fft, rate = hop_length(CONFIG), 2048, 16_000
    assert hop == 800

    def mel(f):
        return 3 * f / 200 if f < 1000 else 15 + 27 * np.log(f / 1000) / np.log(6.4)

    def hertz(m):
        return 200 * m / 3 if m < 15 else 1000 * np.exp(np.log(6.4) * (m - 15) / 27)

    edges = [hertz(m) for m in np.linspace(mel(20), mel(8000), CONFIG.mel_bins + 2)]
    padded = np.concatenate([np.zeros(hop), sound, np.zeros(2 * hop)])
    window = np.array([0.5 - 0.5 * np.cos(2 * np.pi * i / (2 * hop)) for i in range(2 * hop)])
    window /= window.sum()
    for t in range(4):
        power = np.abs(np.fft.rfft(padded[t * hop : (t + 2) * hop] * window, n_fft)) ** 2
        for band in (0, 7, 39):
            low, mid, high = edges[band : band + 3]
            total = 0.0
            for k, p in enumerate(power):
                f = k * rate / n_fft
                total += p * max(0.0, min((f - low) / (mid - low), (high - f) / (high - mid)))
            expected = (10 * np.log10(max(total, 1e-10)) + 50) / 50
            assert log_mel(sound, CONFIG)[t, band] == pytest.approx(expected, abs=1e-4)


def test_log_mel_is_over_time_and_in_range():
    silence = np.zeros(8000, np.float32)
    mel_LF = log_mel(np.concatenate([silence, sine(300, 0.25), sine(4000, 0.25)]), CONFIG)
    assert (mel_LF[:9] == -1.0).all()
    low, high = mel_LF[12].argmax(), mel_LF[18].argmax()
    assert low < high
    assert 0.8 < mel_LF[12].max() <= 1.0
    quiet = log_mel(0.1 * sine(300, 0.5), CONFIG)
    loud = log_mel(sine(300, 0.5), CONFIG)
    assert loud.max() - quiet.max() == pytest.approx(20 / 50, abs=1e-3)


def test_no_mel_band_is_empty_at_the_presets(recwarn):
    for config in (CONFIG, FeatureConfig(audio_seconds=1.0, audio_frames=100)):
        noise = np.random.default_rng(0).normal(0, 0.3, 16_000)
        assert (log_mel(noise, config)[1:-1] > -1.0).all()
    assert not [w for w in recwarn if "mel filter" in str(w.message)]


def test_bad_feature_files_are_refused_with_path_and_reason(tmp_path):
    path = tmp_path / "x.npy"
    cases = [
        (np.zeros((2, 3, 4)), "wrong shape"),
        (np.zeros((0, 4)), "wrong shape"),
        (np.array([[0.0, np.nan]]), "non-finite"),
        (np.array([[0.0, np.inf]]), "non-finite"),
        (np.array([[1e6]]), "float16"),
        (np.array([["a"]]), "wrong type"),
        (np.array([[{}]]), "does not load"),
    ]
    for values, reason in cases:
        np.save(path, values, allow_pickle=True)
        with pytest.raises(MediaError, match=reason) as caught:
            read_vectors(path)
        assert caught.value.path == path


def test_damaged_headers_and_archives_are_refused(tmp_path):
    """numpy parses the header as Python, allocates what it claims, and opens zip archives."""
    path = tmp_path / "x.npy"
    np.save(path, np.ones((6, 4), np.float32))
    valid = path.read_bytes()
    np.savez(tmp_path / "z.npz", a=np.ones(3))
    for content in (
        valid.replace(b"(6, 4)", b"(6, 4 "),
        valid.replace(b"(6, 4), }".ljust(20), b"(9" + b"0" * 12 + b", 4), }"),
        (tmp_path / "z.npz").read_bytes(),
    ):
        path.write_bytes(content)
        with pytest.raises(MediaError, match="does not load"):
            read_vectors(path)


def test_feature_files_are_read_and_others_are_not(tmp_path):
    values = np.random.default_rng(0).normal(size=(36, 5))
    np.save(tmp_path / "x.npy", values)
    config = FeatureConfig(video_features="file")
    read = extract("video", tmp_path / "x.npy", config)
    assert np.array_equal(read, values.astype(np.float32))
    with pytest.raises(MediaError, match="not a feature file"):
        extract("video", tmp_path / "x.mp4", config)
    with pytest.raises(MediaError, match="image_features is 'patches'"):
        extract("image", tmp_path / "x.npy", config)
    (tmp_path / "half.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:200])
    with pytest.raises(MediaError, match="does not load"):
        read_vectors(tmp_path / "half.npy")


def test_an_image_file_becomes_patches(tmp_path):
    Image.new("RGB", (64, 64), "red").save(tmp_path / "x.png")
    patches_LF = extract("image", tmp_path / "x.png", CONFIG)
    assert patches_LF.shape == (16, 192)
    assert patches_LF.reshape(-1, 3)[0].tolist() == [1, -1, -1]


def test_normaliser_makes_mean_0_and_spread_1(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal([5, -2, 0], [2, 3, 2], (500, 3)).astype(np.float16)
    fitted = Normaliser.fit({"image": [values[:100], values[:0], values[100:]], "audio": []})
    assert list(fitted.mean) == ["image"]
    standard = (values - fitted.mean["image"]) / fitted.spread["image"]
    np.testing.assert_allclose(standard.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(standard.std(0), 1, atol=1e-3)
    fitted.save(tmp_path / "normaliser.safetensors")
    loaded = Normaliser.load(tmp_path / "normaliser.safetensors")
    assert np.array_equal(loaded.mean["image"], fitted.mean["image"])
    assert np.array_equal(loaded.spread["image"], fitted.spread["image"])


def test_the_spread_of_a_nearly_constant_feature_has_a_floor():
    rng = np.random.default_rng(0)
    values = np.stack([rng.normal(0, 2, 400), np.full(400, 0.7)], 1)
    spread = Normaliser.fit({"image": [values]}).spread["image"]
    assert spread[1] == pytest.approx(0.5 * np.sqrt(values[:, 0].var() / 2), rel=1e-5)
    assert Normaliser.fit({"image": [np.ones((4, 2))]}).spread["image"].tolist() == [1, 1]


def test_a_damaged_normaliser_is_named(tmp_path):
    path = tmp_path / "n.safetensors"
    path.write_bytes(b"{}")
    with pytest.raises(ValueError, match=r"n\.safetensors: not a normaliser"):
        Normaliser.load(path)
