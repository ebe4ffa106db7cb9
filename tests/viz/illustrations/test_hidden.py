"""Hidden regions, frames and time frames: drawn where they were, with the losses given."""

from dataclasses import replace

import numpy as np
import pytest

from scale.config import FeatureConfig
from scale.data.features import extract, hog_features
from scale.studies.context import Reconstruction
from scale.viz.illustrations.masking import RANKS, mask_audio, mask_image, mask_video
from scale.viz.theme import MODALITY_COLOURS
from scale.viz.words import label
from tests.viz.conftest import LOOKS

CONFIG = FeatureConfig(
    image_size=32, patch_size=16, frame_size=8, video_frames=5, audio_seconds=0.5, audio_frames=10,
    mel_bins=20, image_features="hog", video_features="hog",
)  # fmt: skip
HIDDEN = {"image": [1, 2], "video": [0, 3], "audio": [2, 3, 7]}
DRAW = {"image": mask_image, "video": mask_video, "audio": mask_audio}
LOSSES = {"with": 0.25, "without": 0.5, "mean": 1.25, "nearest": 0.75}
each = pytest.mark.parametrize("modality", DRAW)


def found(product, modality):
    """A guess of zeros for the product's own features."""
    truth_LF = extract(modality, getattr(product, modality), CONFIG)
    hidden_L = np.zeros(len(truth_LF), bool)
    hidden_L[HIDDEN[modality]] = True
    guess_LF = np.where(hidden_L[:, None], np.float32(0), truth_LF)
    return Reconstruction(product, truth_LF, hidden_L, dict.fromkeys(LOSSES, guess_LF), LOSSES)


@each
def test_three_products_readable(product, checked, modality):
    for look, lang in LOOKS:
        rows = [(rank, found(product, modality)) for rank in RANKS]
        _, texts = checked(DRAW[modality], look, rows, CONFIG, lang)
        for key in ("mask_best", "mask_median", "mask_worst", "mask_hidden", "mask_with"):
            assert label(key, lang) in texts
        last = "mean" if modality == "image" else "nearest"
        for name in ("with", "without", last):
            assert texts.count(label("mask_loss", lang, value=LOSSES[name])) == 3


@each
def test_marks_stand_where_something_was_hidden(product, modality):
    figure = DRAW[modality]([("", found(product, modality))], CONFIG, guesses=("with",))
    hidden = [p for p in figure.axes[0].patches if p.get_hatch()]
    assert len(hidden) == len(HIDDEN[modality])
    (picture,) = (p for p in figure.axes[0].images[-2:-1])
    if modality == "audio":
        # The second of three spectrograms is the one with gaps.
        x0, x1, _, _ = picture.get_extent()
        starts = [round((p.get_x() - x0) / (x1 - x0) * 10) for p in hidden]
        assert starts == HIDDEN[modality]
    framed = [p for p in figure.axes[0].patches
              if p.get_edgecolor()[:3] == pytest.approx(rgb(modality), abs=0.01)]  # fmt: skip
    assert len(framed) == (0 if modality == "audio" else len(HIDDEN[modality]))


def rgb(modality):
    return [int(MODALITY_COLOURS[modality][k : k + 2], 16) / 255 for k in (1, 3, 5)]


def test_colours_are_those_of_the_features(product):
    one = found(product, "image")
    figure = mask_image([("", one)], CONFIG, guesses=())
    _, truth, hidden = (np.asarray(i.get_array()) for i in figure.axes[0].images)
    assert truth.shape == hidden.shape == (8, 8, 3)
    np.testing.assert_allclose(truth[0, 0], (one.truth_LF[0, :3] + 1) * 127.5, atol=1)
    assert hog_features(np.zeros((16, 16, 3), np.uint8), 16).shape[1] == one.truth_LF.shape[1]


@pytest.mark.parametrize(("modality", "setting"), [("image", "patches"), ("video", "frames")])
def test_raw_pixels_are_drawn_as_they_are(product, modality, setting):
    config = replace(CONFIG, **{f"{modality}_features": setting})
    truth_LF = extract(modality, getattr(product, modality), config)
    one = replace(found(product, modality), truth_LF=truth_LF, guess_LF={}, loss={})
    images = DRAW[modality]([("", one)], config, guesses=()).axes[0].images
    truth_HWC = np.asarray(images[1 if modality == "image" else len(truth_LF)].get_array())
    side = config.image_size if modality == "image" else config.frame_size
    assert truth_HWC.shape == (side, side, 3)
    np.testing.assert_allclose(truth_HWC[0, 0], (truth_LF[0, :3] + 1) * 127.5, atol=1)


@pytest.mark.parametrize("modality", ["image", "video"])
def test_features_without_colours(product, modality):
    config = replace(CONFIG, **{f"{modality}_features": "file"})
    with pytest.raises(ValueError, match="'file' hold no colours"):
        DRAW[modality]([("", found(product, modality))], config)
