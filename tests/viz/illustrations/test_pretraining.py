"""Architecture, loss terms and broken runs: the numbers in the figures are the given ones."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from scale.config import base, tiny
from scale.modalities import MODALITIES, PAIRS
from scale.viz.illustrations.pretraining import (
    LossTerms,
    architecture,
    broken_runs,
    loss_terms,
    token_count,
    total_loss,
)
from scale.viz.words import label
from tests.viz.conftest import LOOKS, assert_legible


def test_architecture_has_the_configs_numbers(checked):
    for (look, lang), config in zip(LOOKS, (tiny().model, base().model), strict=True):
        _, texts = checked(architecture, look, config, 1_500_000, "mine", lang)
        told = " ".join(texts)
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


def terms(**changes):
    pair_P = np.arange(1.0, 11)
    masked = {"MLM": 4.0, "MEM": 3.5, "MRP": 0.4, "MFP": 0.3, "MAM": 0.2}
    weight_MM = np.linspace(0, 0.24, 25).reshape(5, 5)
    return replace(LossTerms(pair_P, masked, weight_MM, 55.0, 8.4, 64, False), **changes)


def test_the_total_is_the_sum_of_what_is_shown(checked):
    for look, lang in LOOKS:
        figure, texts = checked(total_loss, look, terms(), lang)
        if look == "paper":
            assert_legible(figure)
        assert {"55.00", "8.40", "63.40", *(f"{value:.2f}" for value in range(1, 11))} <= set(texts)
        assert "S′ 0.01" in texts
        assert texts.count(label("fig_pair", lang)) == len(PAIRS)


def test_disabled_tasks_and_absent_pairs_are_labelled_off(readable):
    pair_P = np.full(10, np.nan)
    texts = readable(total_loss(terms(pair_P=pair_P, masked={"MLM": 4.0}, contrastive=None)))
    assert texts.count(label("fig_off")) == 10 + 4 + 1
    assert "8.40" in texts
