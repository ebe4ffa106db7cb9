"""S, softmax(S) and S' of a product, and the effect of weights."""

from dataclasses import replace

import torch

from scale.modalities import MODALITIES, PAIRS
from scale.model.scores import inter_modality_scores
from scale.viz.illustrations.scores import (
    features_of_cosine,
    gradient_descent,
    score_path,
    weight_effects,
)
from scale.viz.words import label
from tests.viz.conftest import LOOKS, assert_legible


def scores_of(product, seed=0):
    features_BMD = torch.randn(1, 5, 8, generator=torch.Generator().manual_seed(seed)) + 0.5
    present_BM = torch.tensor([[m in product.present for m in MODALITIES]])
    return inter_modality_scores(features_BMD, present_BM)


def test_a_pair_is_followed_from_s_to_its_weight(product, checked):
    for look, lang in LOOKS:
        scores = scores_of(product)
        figure, texts = checked(score_path, look, product, scores, lang)
        if look == "paper":
            assert_legible(figure)
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


def test_features_have_the_given_cosine():
    cosine_C = torch.tensor([0.0, 0.35, 1.0], dtype=torch.float64)
    S_CMM = inter_modality_scores(features_of_cosine(cosine_C)).cosine_BMM
    other = ~torch.eye(len(MODALITIES), dtype=torch.bool)
    torch.testing.assert_close(S_CMM[:, other], cosine_C[:, None].expand(-1, 2 * len(PAIRS)))


def test_descent_with_the_gradient_flowing_ends_at_weight_zero():
    stopped, flowing = gradient_descent(False), gradient_descent(True)
    assert flowing["weight"][-1] == 0 < stopped["weight"][-1]
    assert flowing["cosine"][-1] < flowing["cosine"][0] < stopped["cosine"][-1]


def test_weight_effects_show_both_ends_and_no_text_on_a_curve(checked):
    for look, lang in LOOKS:
        figure, texts = checked(weight_effects, look, lang)
        assert {"0.405", "0.200", "1.000", "0.447"} <= set(texts)
        for axes in figure.axes[:2]:
            curves = [line.get_path().transformed(line.get_transform()) for line in axes.lines]
            for text in axes.texts:
                box = text.get_window_extent()
                assert not any(curve.intersects_bbox(box, filled=False) for curve in curves)
