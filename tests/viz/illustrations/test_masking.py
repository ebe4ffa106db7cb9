"""Masked regions, frames and log-mel, gains by context, and the five pretext tasks."""

from dataclasses import replace

import numpy as np
import pytest

from scale.config import FeatureConfig
from scale.data.features import extract, hog_features
from scale.evaluation.bootstrap import NOTHING, Estimate
from scale.modalities import MODALITIES
from scale.studies.context import Reconstruction
from scale.viz.illustrations.masking import (
    RANKS,
    Piece,
    TaskView,
    context_gain,
    copy_curve,
    mask_audio,
    mask_image,
    mask_video,
    pretext_tasks,
)
from scale.viz.theme import MODALITY_COLOURS
from scale.viz.words import label
from tests.viz.conftest import LOOKS, assert_legible

CONFIG = FeatureConfig(
    image_size=32, patch_size=16, frame_size=8, video_frames=5, audio_seconds=0.5, audio_frames=10,
    mel_bins=20, image_features="hog", video_features="hog",
)  # fmt: skip


HIDDEN = {"image": [1, 2], "video": [0, 3], "audio": [2, 3, 7]}


DRAW = {"image": mask_image, "video": mask_video, "audio": mask_audio}


LOSSES = {"with": 0.25, "without": 0.5, "mean": 1.25, "nearest": 0.75}


def found(product, modality):
    """A guess of zeros for the product's own features."""
    truth_LF = extract(modality, getattr(product, modality), CONFIG)
    hidden_L = np.zeros(len(truth_LF), bool)
    hidden_L[HIDDEN[modality]] = True
    guess_LF = np.where(hidden_L[:, None], np.float32(0), truth_LF)
    return Reconstruction(product, truth_LF, hidden_L, dict.fromkeys(LOSSES, guess_LF), LOSSES)


def test_three_products_readable(product, checked):
    for modality in DRAW:
        for look, lang in LOOKS:
            rows = [(rank, found(product, modality)) for rank in RANKS]
            _, texts = checked(DRAW[modality], look, rows, CONFIG, lang)
            for key in ("mask_best", "mask_median", "mask_worst", "mask_hidden", "mask_with"):
                assert label(key, lang) in texts
            last = "mean" if modality == "image" else "nearest"
            for name in ("with", "without", last):
                assert texts.count(label("mask_loss", lang, value=LOSSES[name])) == 3


def test_marks_lie_on_the_masked_positions(product):
    for modality in DRAW:
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


def test_raw_pixels_are_drawn_as_they_are(product):
    for modality, setting in (("image", "patches"), ("video", "frames")):
        config = replace(CONFIG, **{f"{modality}_features": setting})
        truth_LF = extract(modality, getattr(product, modality), config)
        one = replace(found(product, modality), truth_LF=truth_LF, guess_LF={}, loss={})
        images = DRAW[modality]([("", one)], config, guesses=()).axes[0].images
        truth_HWC = np.asarray(images[1 if modality == "image" else len(truth_LF)].get_array())
        side = config.image_size if modality == "image" else config.frame_size
        assert truth_HWC.shape == (side, side, 3)
        np.testing.assert_allclose(truth_HWC[0, 0], (truth_LF[0, :3] + 1) * 127.5, atol=1)


def test_features_without_colours(product):
    for modality in ("image", "video"):
        config = replace(CONFIG, **{f"{modality}_features": "file"})
        with pytest.raises(ValueError, match="'file' contain no colours"):
            DRAW[modality]([("", found(product, modality))], config)


def gains_of(modality, start=0.01):
    names = ("all", "other products", *(m for m in MODALITIES if m != modality))
    return {n: Estimate(start * k, start * k - 0.02, start * k + 0.02, 40 + k)
            for k, n in enumerate(names, start=-1)}  # fmt: skip


def test_gains_by_context(checked):
    for (look, lang), shown in zip(LOOKS, (MODALITIES, ("audio",)), strict=True):
        gains = {m: gains_of(m) for m in shown}
        figure, texts = checked(context_gain, look, gains, lang)
        assert label("mask_other_product", lang) in texts
        assert sum(text == label("mask_gain_axis_vectors", lang) for text in texts) == len(
            {"image", "video", "audio"} & set(shown)
        )
        for modality, axes in zip(shown, figure.axes, strict=True):
            drawn = [bar.get_width() for bar in axes.patches]
            np.testing.assert_allclose(drawn, [e.value for e in gains[modality].values()])
            assert label("mask_count", lang, n=44) in axes.get_title(loc="left")


def test_a_context_without_a_gain_leaves_its_row_empty(readable):
    gains = {"image": gains_of("image") | {"audio": NOTHING}}
    figure = context_gain(gains)
    readable(figure)
    assert len(figure.axes[0].patches) == 6
    assert figure.axes[0].patches[-1].get_width() == 0


def test_nothing_to_draw():
    with pytest.raises(ValueError, match="no gain"):
        context_gain({"image": {}})


def test_copying_by_distance(checked):
    for look, lang in LOOKS:
        losses = {"video": np.array([0.1, 0.2, 0.4]), "audio": np.array([0.4, np.nan, 0.9])}
        figure, texts = checked(copy_curve, look, losses, {"video": 0.6, "audio": 1.1}, lang)
        assert texts.count(label("mask_mean", lang)) == 2
        for axes, loss_D, mean in zip(figure.axes, losses.values(), (0.6, 1.1), strict=True):
            curve, line = axes.lines
            np.testing.assert_array_equal(curve.get_ydata(), loss_D)
            assert list(curve.get_xdata()) == [1, 2, 3]
            assert list(line.get_ydata()) == [mean, mean]


FEATURES = FeatureConfig(image_size=32, patch_size=16, frame_size=16, video_frames=5, mel_bins=8)


def views(product):
    rng = np.random.default_rng(0)
    pieces = [Piece("red"), Piece("ket", "ket"), Piece("##tle", "##tles"), Piece("for")]
    found = {"text": TaskView(pieces, 2.0, 7.0)}
    found["table"] = TaskView([Piece("size"), Piece("big", "big", True)] * 30, 1.0, 7.0)
    for modality, shape in (("image", (4, 768)), ("video", (5, 768)), ("audio", (9, 8))):
        truth_LF = rng.uniform(-1, 1, shape).astype(np.float32)
        hidden_L = np.arange(shape[0]) < 2
        content = Reconstruction(product, truth_LF, hidden_L, {"all": truth_LF}, {"all": 0.5})
        found[modality] = TaskView(content, 0.5, 0.9)
    return found


def test_predictions_are_marked_right_or_wrong(product, checked):
    for look, lang in LOOKS:
        found = views(product)
        figure, texts = checked(pretext_tasks, look, found, FEATURES, lang)
        if look == "paper":
            assert_legible(figure)
        assert {"✓ ket", "× tles", "✓ big", "…"} <= set(texts)
        assert texts.count(label("fig_task_loss", lang, loss=0.5)) == 3
        assert label("fig_even", lang, loss=7.0) in texts
        # A hidden word is nowhere in the row of what the model sees.
        assert texts.count("ket") == 1
        assert len(figure.axes[0].images) == 3 + 3 * 5 + 3


def test_a_task_without_its_modality_is_absent(product, readable):
    found = views(product)
    del found["audio"]
    texts = readable(pretext_tasks(found, FEATURES))
    assert label("absent_audio") in texts
