"""Pictures of the released code's faults: both languages, and the numbers that were given."""

import numpy as np
import pytest

from scale.modalities import MODALITIES
from scale.studies.released_code import SHORT_RUNS, AudioHeadFit, MissingAudio, mask_owners
from scale.viz.illustrations.released_code import (
    VERSIONS,
    fault_audio,
    fault_gradients,
    fault_losses,
    fault_mask,
    fault_missing,
    fault_regression,
    fault_temperature,
)
from tests.viz.conftest import LOOKS

PARTS = [f"encoders.{m}" for m in MODALITIES] + ["jct"] + [f"heads.{m}" for m in MODALITIES]


def test_every_version_has_a_label():
    assert list(VERSIONS) == list(SHORT_RUNS)


def test_losses(checked):
    for look, lang in LOOKS:
        curves = {name: np.linspace(40, 38 - k, 12) for k, name in enumerate(VERSIONS)}
        figure, texts = checked(fault_losses, look, curves, lang)
        assert len(figure.axes) == 8
        sound, faulty = figure.axes[0].lines
        assert sound.get_ydata()[-1] == pytest.approx(38 / 40)
        assert faulty.get_ydata()[-1] == pytest.approx(37 / 40)
        assert any("12" in text for text in texts)


def test_losses_need_a_faulty_version():
    with pytest.raises(ValueError, match="no faulty"):
        fault_losses({"as described": [1.0]})


def test_gradients(checked):
    for look, lang in LOOKS:
        whole = dict.fromkeys(PARTS, (1000, 1000))
        counts = {"as described": whole, "heads on encoder": whole | {"jct": (0, 1000)}}
        figure, texts = checked(fault_gradients, look, counts, lang)
        assert any("0 %" in text for text in texts)
        assert any("9 %" in text for text in texts)
        widths = sorted(patch.get_width() for patch in figure.axes[1].patches)
        assert widths == [0] + [1] * 11


def test_gradients_need_a_version():
    with pytest.raises(ValueError, match="no version"):
        fault_gradients({})


def test_mask(checked):
    for look, lang in LOOKS:
        sound_BB, faulty_BB = np.diag([0.2, 0.3, 0.1]), np.full((3, 3), 0.021)
        figure, texts = checked(fault_mask, look, mask_owners(3, 2), sound_BB, faulty_BB, lang)
        assert {"20.0", "30.0", "10.0"} <= set(texts)
        assert texts.count("2.1") == 9
        framed = [len([p for p in axes.patches if not p.get_fill()]) for axes in figure.axes]
        assert framed == [4, 0, 6]


def test_mask_needs_shapes_that_fit():
    with pytest.raises(ValueError, match="3 products"):
        fault_mask(mask_owners(3, 2), np.zeros((3, 3)), np.zeros((2, 2)))


def test_regression(checked):
    for look, lang in LOOKS:
        sound_TF = np.random.default_rng(0).normal(size=(20, 8))
        predicted = {"loss": 0.8 * sound_TF, "prediction": 2.6 * sound_TF}
        size = {"loss": 0.8, "prediction": 2.6}
        fitted = AudioHeadFit(sound_TF, predicted, {"loss": [1.0], "prediction": [1.0]}, 0.33, size)
        figure, texts = checked(fault_regression, look, fitted, lang)
        assert any("0.8" in text for text in texts)
        assert any("2.6" in text for text in texts)
        assert np.array_equal(figure.axes[3].images[0].get_array(), predicted["prediction"].T)


def test_temperature(checked):
    for look, lang in LOOKS:
        temperature_X = np.linspace(0.1, 0.4, 300)
        share_P = np.linspace(0.7, 0.97, 10)
        figure, texts = checked(fault_temperature, look, temperature_X, share_P, lang)  # fmt: skip
        assert {"70 %", "97 %"} <= set(texts)
        assert len(figure.axes[1].patches) == 10


def test_audio(checked):
    for look, lang in LOOKS:
        sound_TF = np.random.default_rng(0).normal(size=(20, 10))
        curves = {"as described": [1.5, 1.0], "audio axes swapped": [1.2, 0.8],
                  "audio all zeros": [0.3, 0.0]}  # fmt: skip
        figure, _ = checked(fault_audio, look, sound_TF, curves, lang)
        moments, bands, zeros, losses = figure.axes
        assert len(moments.patches) == 6
        assert len(bands.patches) == 3
        assert not zeros.images[0].get_array().any()
        assert len(losses.lines) == 3


def test_missing(checked):
    for look, lang in LOOKS:
        found = MissingAudio(np.eye(24), 12, 0.54, 6.14, float(np.log(12)))
        _, texts = checked(fault_missing, look, found, lang)
        assert {"0.54", "6.14"} <= set(texts)
        assert any("12" in text for text in texts)
