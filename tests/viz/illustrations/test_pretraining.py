"""Loss terms and broken runs: the numbers in the figures are the given ones."""

import re
import tomllib
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.text import Text

from scale.config import LossConfig, MaskConfig
from scale.losses.masking import WordPieces, mask_batch
from scale.losses.total import scale_loss
from scale.modalities import MODALITIES, PAIRS
from scale.model.scores import inter_modality_scores
from scale.viz.illustrations.pretraining import (
    FORMULA,
    WeightedTerms,
    broken_runs,
    loss_terms,
    total_loss,
    weighted_terms,
)
from scale.viz.theme import ASSETS
from scale.viz.words import label
from tests.viz.conftest import LOOKS, assert_legible

PIECES = WordPieces(mask_id=4, special_ids=(0, 1, 2, 3, 4), vocab_size=40, unknown_id=1)


def test_a_bar_for_each_term(checked):
    for look, lang in LOOKS:
        pair_P, masked = np.arange(1.0, 11), {"MLM": 3.0, "MAM": 0.5}
        axes = checked(loss_terms, look, pair_P, pair_P, masked, lang)[0].axes[0]
        heights = [bar.get_height() for bar in axes.patches]
        assert heights == [*np.repeat(pair_P, 2), 3.0, 0.5]
        with pytest.raises(ValueError, match="10 pairs"):
            loss_terms(pair_P[:3], pair_P, masked, lang)


def test_a_line_for_each_run(checked):
    for look, lang in LOOKS:
        curves = {"a": [3.0, 1.0], "b": [3.0, 3.0, 3.0]}
        axes = checked(broken_runs, look, curves, 2.5, lang)[0].axes[0]
        assert [list(line.get_ydata()) for line in axes.lines[:2]] == [[3.0, 1.0], [3.0, 3.0, 3.0]]


def terms():
    """L = 1, 2, ... 15 along the rows of the upper triangle, S' = 0.1."""
    loss_MM = np.full((5, 5), np.nan)
    loss_MM[np.triu_indices(5)] = np.arange(1.0, 16)
    return WeightedTerms(loss_MM, 0.1 * loss_MM, 150.0, 64)


def test_the_total_is_the_sum_of_what_is_shown(checked):
    for look, lang in LOOKS:
        figure, texts = checked(total_loss, look, terms(), False, lang)
        if look == "paper":
            assert_legible(figure)
        bold = {t.get_text() for t in figure.findobj(Text) if t.get_fontweight() == "bold"}
        shown = [float(f"{0.1 * value:.3f}") for value in range(1, 16)]
        assert {f"{value:.3f}" for value in shown} <= bold
        assert f"{sum(shown):.3f}" in bold
        assert {f"0.100 · {value:.2f}" for value in range(1, 16)} <= set(texts)
        assert sum("=12.000$" in text for text in texts) == 1
        assert sum("=150.000$" in text for text in texts) == 1
        assert texts.count(label("fig_pair", lang)) == len(PAIRS)


def test_disabled_tasks_and_absent_pairs_are_labelled_off(readable):
    found = terms()
    found.term_MM[1:, 1:] = np.nan
    texts = readable(total_loss(found))
    assert texts.count(label("fig_off")) == 10
    assert "1.500" in texts


def test_the_formula_is_that_of_the_slide():
    for lang in ("en", "zh"):
        slide = tomllib.loads((ASSETS / f"talk_{lang}.toml").read_text("utf-8"))["loss"]["equation"]
        written = slide.replace("Σ", r"\Sigma").replace("′", r"^{\prime}").replace("·", r"\cdot")
        assert re.sub(r"[\s,{}]|\\,", "", written) == re.sub(r"[$\s,{}]|\\,", "", FORMULA)


def test_terms_by_hand(make_model, make_batch):
    """Each term is the mean of S' L over products or positions; their sum is `scale_loss`."""
    batch = make_batch([MODALITIES] * 6 + [("text", "image")] * 2)
    config = LossConfig(temperature=0.2)
    masked = mask_batch(batch, MaskConfig(rate=0.5), PIECES, (0, 0), config.tasks)
    with torch.no_grad():
        output = make_model().eval()(masked.batch, masked.hidden)
    found = weighted_terms(output, masked, config)
    raw = replace(config, weight_on="loss", weight_mean_one=False)
    assert found.total == pytest.approx(float(scale_loss(output, masked, raw).total), rel=1e-5)
    plain = scale_loss(output, masked, config)
    assert found.unweighted == pytest.approx(float(plain.total), rel=1e-5)
    on_logits = scale_loss(output, masked, replace(raw, weight_on="logits"))
    assert found.on_logits == pytest.approx(float(on_logits.total), rel=1e-5)
    scores = inter_modality_scores(output.pooled_BMD, batch.present_BM).weighted_BMM
    pairs = [max(float(scores[b, 0, 2]), 0.0) * float(plain.pairs.loss_BP[b, 1]) for b in range(8)]
    assert found.term_MM[0, 2] == pytest.approx(sum(pairs) / 8, rel=1e-5)
    logits_NV, target_N = output.predictions["text"], masked.targets["text"]
    words_N = torch.nn.functional.cross_entropy(logits_NV, target_N, reduction="none")
    own = (scores[masked.rows("text"), 0, 0] * words_N).mean()
    assert found.term_MM[0, 0] == pytest.approx(float(own), rel=1e-5)
    assert np.isnan(found.term_MM[2, 0])
