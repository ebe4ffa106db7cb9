"""The pictures of `scale figures` alone: their numbers are the model's, and they can be read."""

from dataclasses import replace

import numpy as np
import torch
from matplotlib.text import Text

from scale.config import FeatureConfig
from scale.modalities import MODALITIES, PAIRS
from scale.model.scores import inter_modality_scores
from scale.studies.context import Reconstruction
from scale.viz.illustrations.masking import Piece, TaskView, pretext_tasks
from scale.viz.illustrations.pretraining import LossTerms, total_loss
from scale.viz.illustrations.scores import score_path
from scale.viz.words import label
from tests.viz.conftest import LOOKS

FEATURES = FeatureConfig(image_size=32, patch_size=16, frame_size=16, video_frames=5, mel_bins=8)


def scores_of(product, seed=0):
    features_BMD = torch.randn(1, 5, 8, generator=torch.Generator().manual_seed(seed)) + 0.5
    present_BM = torch.tensor([[m in product.present for m in MODALITIES]])
    return inter_modality_scores(features_BMD, present_BM)


def test_a_pair_is_followed_from_s_to_its_weight(product, checked):
    for look, lang in LOOKS:
        scores = scores_of(product)
        _, texts = checked(score_path, look, product, scores, lang)
        for matrix_BMM in (scores.cosine_BMM, scores.softmax_BMM, scores.weighted_BMM):
            for value in matrix_BMM[0].flatten().tolist():
                assert f"{value:.2f}".replace("-", "−") in texts
        best = max(PAIRS, key=lambda pair: float(scores.cosine_BMM[0][pair]))
        i, j = (label(MODALITIES[k], lang) for k in best)
        weight = f"{float(scores.weighted_BMM[0][best]):.2f}"
        assert any(text.startswith("S′") or f"{i}–{j}" in text for text in texts if weight in text)


def test_a_modality_that_is_not_there_has_no_number(product, readable):
    product = replace(product, video=None, audio=None)
    texts = readable(score_path(product, scores_of(product)))
    assert sum("." in text and text.lstrip("−")[0].isdigit() for text in texts) == 3 * 9
    single = replace(product, image=None, table=None)
    texts = readable(score_path(single, scores_of(single)))
    assert texts.count("1.00") == 3


def terms(**changes):
    pair_P = np.arange(1.0, 11)
    masked = {"MLM": 4.0, "MEM": 3.5, "MRP": 0.4, "MFP": 0.3, "MAM": 0.2}
    weight_MM = np.linspace(0, 0.24, 25).reshape(5, 5)
    return replace(LossTerms(pair_P, masked, weight_MM, 55.0, 8.4, 64, False), **changes)


def test_the_total_is_the_sum_of_what_is_shown(checked):
    for look, lang in LOOKS:
        _, texts = checked(total_loss, look, terms(), lang)
        assert {"55.00", "8.40", "63.40", *(f"{value:.2f}" for value in range(1, 11))} <= set(texts)
        assert "S′ 0.01" in texts
        assert texts.count(label("fig_pair", lang)) == len(PAIRS)


def test_tasks_that_are_off_and_pairs_that_nobody_has_say_so(readable):
    pair_P = np.full(10, np.nan)
    texts = readable(total_loss(terms(pair_P=pair_P, masked={"MLM": 4.0}, contrastive=None)))
    assert texts.count(label("fig_off")) == 10 + 4 + 1
    assert "8.40" in texts


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


def test_a_guess_is_right_or_wrong(product, checked):
    for look, lang in LOOKS:
        found = views(product)
        figure, texts = checked(pretext_tasks, look, found, FEATURES, lang)
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


def test_text_is_large_enough_for_a_room(product):
    """At least 9.5 points of the paper style on pages 740 to 790 points wide."""
    figures = (
        total_loss(terms()), score_path(product, scores_of(product)),
        pretext_tasks(views(product), FEATURES),
    )  # fmt: skip
    for figure in figures:
        assert figure.get_figwidth() * 72 < 800
        sizes = {t.get_fontsize() for t in figure.findobj(Text) if t.get_text().strip()}
        assert min(sizes) >= 9.5
