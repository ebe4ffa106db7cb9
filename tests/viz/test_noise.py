"""The noise sheet: readable in every style, missing content labelled, noise that of the package."""

from dataclasses import replace

import numpy as np
import pytest

from scale.modalities import MODALITIES
from scale.studies.noise import KINDS, Noise
from scale.viz.noise import CROWD, agreement_histogram, crowd_sources, noise_sheet
from scale.viz.words import LABELS, label


@pytest.mark.parametrize(
    ("look", "lang"), [("paper", "en"), ("paper", "zh"), ("slides", "zh"), ("dark", "en")]
)
def test_sheet_shows_every_modality_and_kind(product, checked, look, lang):
    _, texts = checked(noise_sheet, look, product, product, lang)
    assert {label(m, lang) for m in MODALITIES} <= set(texts)
    for kind in KINDS:
        before = LABELS[lang][kind].split("{")
        assert any(before[0] in t and before[-1].split("}")[-1] in t for t in texts), kind


def test_sheet_labels_what_is_absent(product, readable):
    absent = ("table", "audio")
    texts = readable(noise_sheet(replace(product, **dict.fromkeys(absent)), product))
    assert tuple(m for m in MODALITIES if label(f"absent_{m}") in texts) == absent


def test_sheet_labels_undecodable_files(product, readable, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    broken = replace(product, image=tmp_path / "broken.png")
    texts = readable(noise_sheet(broken, replace(product, image=None)))
    assert label("broken") in texts
    assert label("absent_image") in texts


def test_crowd_is_under_the_real_noise():
    each, categories = CROWD
    own = np.arange(each * categories)
    assert np.array_equal(crowd_sources([], 0), own)
    missing = crowd_sources([Noise("missing_category", "image", share=0.5)], 1) < 0
    assert set(missing.reshape(categories, each).mean(1)) == {0.0, 1.0}
    swapped = crowd_sources([Noise("mismatch", "image", share=0.5)], 1)
    assert sorted(swapped) == own.tolist()
    assert 10 < (swapped != own).sum() < 50


@pytest.mark.parametrize(("look", "lang"), [("paper", "en"), ("dark", "zh")])
def test_agreement_histogram_counts_right_and_wrong_contents(checked, look, lang):
    random = np.random.default_rng(0)
    agreement_N = np.concatenate([random.beta(9, 1, 300), random.beta(4, 4, 100), [np.nan] * 5])
    right_N = np.arange(405) < 300
    figure, texts = checked(agreement_histogram, look, agreement_N, right_N, lang)
    assert {label(f"agreement_{key}", lang) for key in ("right", "wrong")} <= set(texts)
    bars = figure.axes[0].containers
    assert [round(sum(bar.get_height() for bar in side)) for side in bars] == [300, 100]
    (line,) = figure.axes[1].lines
    assert (np.diff(line.get_ydata()) >= -1e-9).all()
    assert line.get_ydata()[-1] > 0.9
