"""Pictures of notebooks 09 and 10: the numbers in them are the model's."""

import numpy as np
import pytest
import torch
from matplotlib.text import Text

from scale.config import base, tiny
from scale.modalities import MODALITIES, PAIRS
from scale.model.scores import inter_modality_scores
from scale.viz.illustrations.pretraining import architecture, broken_runs, loss_terms, token_count
from scale.viz.illustrations.scores import features_of_cosine, gradient_descent, weight_effects
from tests.viz.conftest import LOOKS


def words(figure):
    return " ".join(text.get_text() for text in figure.findobj(Text))


@pytest.mark.parametrize("config", [tiny().model, base().model], ids=["tiny", "base"])
def test_architecture_has_the_configs_numbers(config):
    for _, lang in LOOKS:
        told = words(architecture(config, 1_500_000, "mine", lang))
        tokens = sum(token_count(config, m) for m in MODALITIES)
        for number in (
            tokens,
            config.vocab_size,
            config.image_features,
            config.audio_features,
            "1.5",
        ):
            assert str(number) in told


def test_token_counts_are_those_of_the_model(make_model, make_batch, model_config):
    with torch.no_grad():
        encoded = make_model().embed(make_batch([MODALITIES] * 9))
        tokens = make_model()(make_batch([MODALITIES] * 9)).encoded
    assert encoded.pooled_BMD.shape[1] == len(MODALITIES)
    assert {m: tokens[m].shape[1] for m in MODALITIES} == {
        m: token_count(model_config, m) for m in MODALITIES
    }


def test_a_bar_for_each_term():
    for _, lang in LOOKS:
        pair_P, masked = np.arange(1.0, 11), {"MLM": 3.0, "MAM": 0.5}
        axes = loss_terms(pair_P, pair_P, masked, lang).axes[0]
        heights = [bar.get_height() for bar in axes.patches]
        assert heights == [*np.repeat(pair_P, 2), 3.0, 0.5]
        with pytest.raises(ValueError, match="10 pairs"):
            loss_terms(pair_P[:3], pair_P, masked, lang)


def test_a_line_for_each_run():
    for _, lang in LOOKS:
        axes = broken_runs({"a": [3.0, 1.0], "b": [3.0, 3.0, 3.0]}, 2.5, lang).axes[0]
        assert [list(line.get_ydata()) for line in axes.lines[:2]] == [[3.0, 1.0], [3.0, 3.0, 3.0]]


def test_features_have_the_cosine_that_is_asked_for():
    cosine_C = torch.tensor([0.0, 0.35, 1.0], dtype=torch.float64)
    S_CMM = inter_modality_scores(features_of_cosine(cosine_C)).cosine_BMM
    other = ~torch.eye(len(MODALITIES), dtype=torch.bool)
    torch.testing.assert_close(S_CMM[:, other], cosine_C[:, None].expand(-1, 2 * len(PAIRS)))


def test_descent_with_the_gradient_flowing_ends_at_weight_zero():
    stopped, flowing = gradient_descent(False), gradient_descent(True)
    assert flowing["weight"][-1] == 0 < stopped["weight"][-1]
    assert flowing["cosine"][-1] < flowing["cosine"][0] < stopped["cosine"][-1]


def test_own_weight_at_both_ends():
    for _, lang in LOOKS:
        told = words(weight_effects(lang))
        for number in ("0.405", "0.200", "1.000", "0.447"):
            assert number in told
