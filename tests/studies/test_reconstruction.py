"""What is put in the place of hidden vectors, and short trainings of one masked task."""

import numpy as np
import pytest
import torch

from scale.config import MaskConfig
from scale.modalities import CONTINUOUS, INDEX
from scale.studies.context import (
    BASELINES,
    EVERYTHING,
    NOTHING,
    baseline_losses,
    best_median_worst,
    product_losses,
    reconstruct,
)
from scale.studies.masked_training import (
    copy_losses,
    mean_baseline_loss,
    select_modalities,
    train_masked,
)
from scale.training.run import fit_sizes, seeded_model

HALF = MaskConfig(rate=0.5)
each = pytest.mark.parametrize("modality", CONTINUOUS)


@pytest.fixture(scope="module")
def situation(small_data):
    """48 products, a model of random weights and its config."""
    data, config = small_data
    config = fit_sizes(config, data)
    return data, seeded_model(config).eval(), config


@each
def test_guesses_stand_at_hidden_places_and_their_losses_are_the_measured_ones(situation, modality):
    data, model, _ = situation
    rows = np.flatnonzero(data.present_NM[:, INDEX[modality]])[[5, 2]].tolist()
    found = reconstruct(model, data, modality, HALF, rows, seed=4)
    contexts = {"with": EVERYTHING, "without": NOTHING}
    losses = product_losses(model, data, modality, HALF, contexts, seed=4)
    losses |= baseline_losses(data, modality, HALF, seed=4)
    column = data.columns[modality]
    for row, one in zip(rows, found, strict=True):
        assert one.product is data.products[row]
        assert list(one.loss) == ["with", "without", *BASELINES]
        truth_LF = data.collate([row]).tokens[modality].values[0].numpy()
        np.testing.assert_allclose(
            (one.truth_LF - column.mean_F) / column.spread_F, truth_LF, atol=1e-4
        )
        assert 0 < one.hidden_L.sum() < len(one.hidden_L)
        for name, loss in one.loss.items():
            guess_LF = one.guess_LF[name]
            assert np.array_equal(guess_LF[~one.hidden_L], one.truth_LF[~one.hidden_L])
            wrong_LF = ((guess_LF - one.truth_LF) / column.spread_F)[one.hidden_L]
            assert loss == pytest.approx((wrong_LF**2).mean(), rel=1e-3)
            if not np.isnan(losses[name][row]):
                assert loss == pytest.approx(losses[name][row], rel=1e-4)


def test_a_product_without_the_modality_is_named(situation):
    data, model, _ = situation
    row = int(np.flatnonzero(~data.present_NM[:, INDEX["video"]])[0])
    with pytest.raises(ValueError, match=data.ids[row]):
        reconstruct(model, data, "video", HALF, [row])


def test_best_median_and_worst():
    assert best_median_worst(np.array([0.1, np.nan, 0.5, -0.2])) == (2, 0, 3)
    assert best_median_worst(np.array([0.0, 3.0, 1.0, 2.0])) == (1, 3, 0)
    with pytest.raises(ValueError, match="no product"):
        best_median_worst(np.array([np.nan]))


@each
def test_copying_equals_a_loop(situation, modality):
    data, _, _ = situation
    rows = np.flatnonzero(data.present_NM[:, INDEX[modality]])
    found = copy_losses(data, modality, 9)
    sequences = [data.collate([row]).tokens[modality].values[0] for row in rows]
    for distance in (1, 2, 9):
        errors = [((x[i] - x[i + distance]) ** 2).mean().item()
                  for x in sequences for i in range(len(x) - distance)]  # fmt: skip
        expected = np.mean(errors) if errors else np.nan
        np.testing.assert_allclose(found[distance - 1], expected, rtol=1e-5)
    squares = torch.cat(sequences).square().mean().item()
    assert mean_baseline_loss(data, modality) == pytest.approx(squares, rel=1e-5)


def test_products_that_have_all(situation):
    data, _, _ = situation
    both = select_modalities(data, ("image", "audio"))
    assert 5 < len(both) < len(data)
    present_NM = both.present_NM
    assert present_NM[:, [INDEX["image"], INDEX["audio"]]].all()
    assert not present_NM[:, [INDEX["text"], INDEX["table"], INDEX["video"]]].any()


def test_training_one_task_learns_it_and_is_repeatable(situation):
    data, _, config = situation
    models = [
        train_masked(config, data, "image", ("audio",), rate=0.5, steps=steps)
        for steps in (1, 40, 40)
    ]
    assert set(models[0].encoders) == {"image", "audio"}
    assert not models[0].training
    first, last, again = (
        np.nanmean(product_losses(m, data, "image", HALF, {"all": EVERYTHING})["all"])
        for m in models
    )
    assert last < 0.8 * first
    assert last == again


def test_further_tasks_change_the_training(situation):
    data, _, config = situation
    alone, with_contrast = (
        train_masked(config, data, "image", ("audio",), 0.5, 2, further)
        for further in ((), ("contrastive",))
    )
    before, after = (m.poolers["image"].weight for m in (alone, with_contrast))
    assert not torch.equal(before, after)
