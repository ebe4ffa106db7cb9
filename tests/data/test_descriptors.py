"""Colours and oriented gradients: against a loop, and what they should and should not notice."""

import numpy as np
import pytest

from scale.config import vector_size
from scale.data.features import CELL, ORIENTATIONS, hog_features, hog_thumbnail


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


def test_equals_the_loop():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    (described_F,) = hog_features(pixels, 16)
    light = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    np.testing.assert_allclose(described_F[48:], slow_histogram(light), atol=1e-4)
    points = pixels.reshape(4, 4, 4, 4, 3).mean(axis=(1, 3)) / 127.5 - 1
    np.testing.assert_allclose(described_F[:48], points.reshape(-1), atol=1e-5)


def test_shape_is_what_the_config_says():
    pixels = np.zeros((64, 64, 3), np.uint8)
    assert hog_features(pixels, 16).shape == (16, vector_size("hog", 16)) == (16, 84)
    assert hog_features(pixels[:48, :48], 48).shape == (1, vector_size("hog", 48))
    with pytest.raises(ValueError, match="cells of 8"):
        hog_features(pixels, 12)


def test_the_thumbnail_comes_back():
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    large = pixels.repeat(4, axis=0).repeat(4, axis=1)
    assert np.array_equal(hog_thumbnail(hog_features(large, 16), 16), pixels)


def test_gradients_see_the_edge_and_not_its_colour():
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


def test_a_plain_picture_has_no_gradients():
    assert not hog_features(np.full((16, 16, 3), 77, np.uint8), 16)[0, 48:].any()
