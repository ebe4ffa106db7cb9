"""Losses in contexts and reconstructions, against loops over one product at a time."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from scale.config import MaskConfig
from scale.data.batch import Tokens
from scale.losses.masked import masked_token_loss, masked_vector_loss
from scale.modalities import CONTINUOUS, DISCRETE, INDEX, MODALITIES
from scale.studies.context import (
    BASELINES,
    EVERYTHING,
    NOTHING,
    OTHER_PRODUCTS,
    Context,
    baseline_losses,
    best_median_worst,
    by_product,
    default_contexts,
    gains,
    in_context,
    mask_modality,
    nearest_visible,
    position_losses,
    predict,
    product_losses,
    reconstruct,
    visible_mean,
)
from scale.studies.masked_training import (
    copy_losses,
    mean_baseline_loss,
    select_modalities,
    train_masked,
)
from scale.studies.noise import apply_noise, missing_at_random
from scale.training.run import fit_sizes, seeded_model

HALF = MaskConfig(rate=0.5)
each = pytest.mark.parametrize("modality", MODALITIES)


@pytest.fixture(scope="module")
def situation(small_data):
    """48 products of which many lack something, and a model of random weights."""
    data, config = small_data
    data = apply_noise(data, missing_at_random(0.2), 0).dataset
    model = seeded_model(fit_sizes(config, data)).eval()
    # With small random weights the context has hardly any influence.
    with torch.no_grad():
        for parameter in model.jct.parameters():
            parameter.mul_(4)
    return data, model


def alone(batch, row):
    """One product of a batch, as a batch."""
    tokens = {}
    for m, all_rows in batch.tokens.items():
        own = all_rows.select(all_rows.rows_R == row)
        tokens[m] = replace(own, rows_R=torch.zeros(len(own.rows_R), dtype=torch.int64))
    return replace(
        batch, tokens=tokens, present_BM=batch.present_BM[row][None], index_B=batch.index_B[:1]
    )


def slow_losses(model, data, modality, keep):
    """loss_P, one product and one condition at a time."""
    losses = np.full(len(data), np.nan)
    for masked in mask_modality(data, modality, HALF, seed=3):
        tokens = masked.batch.tokens[modality]
        for row, index in enumerate(masked.batch.index_B.tolist()):
            batch = alone(masked.batch, row).only((*keep, modality))
            others = [m for m in keep if m != modality]
            if others and not batch.present_BM[0, [INDEX[m] for m in others]].any():
                continue
            hidden_1L = masked.hidden[modality][tokens.rows_R == row]
            clean = data.collate([index]).tokens[modality].values[0]
            target = clean[hidden_1L[0, : len(clean)]]
            with torch.no_grad():
                predicted = model(batch, {modality: hidden_1L}).predictions[modality]
            loss = masked_token_loss if modality in DISCRETE else masked_vector_loss
            losses[index] = loss(predicted, target).item()
    return losses


@each
def test_losses_equal_a_loop_over_products(situation, modality):
    data, model = situation
    contexts = default_contexts(modality)
    found = product_losses(model, data, modality, HALF, contexts, seed=3)
    others = [m for m in MODALITIES if m != modality]
    assert list(found) == ["none", "all", "other products", *others]
    for name in ("none", "all", list(contexts)[-1]):
        slow = slow_losses(model, data, modality, contexts[name].keep)
        np.testing.assert_allclose(found[name], slow, rtol=1e-4, atol=1e-6)
    kept = ~np.isnan(found["all"])
    assert 10 < kept.sum() < len(data)
    assert np.median(np.abs(found["all"] - found["none"])[kept]) > 1e-3


@each
def test_masked_positions_are_equal_in_all_contexts(situation, modality):
    data, _ = situation
    (first,), (again,) = (list(mask_modality(data, modality, HALF)) for _ in range(2))
    (drawn_again,) = mask_modality(data, modality, HALF, draw=1)
    assert set(first.hidden) == {modality}
    for context in default_contexts(modality).values():
        shown = in_context(again, modality, context)
        assert torch.equal(shown.hidden[modality], first.hidden[modality])
        assert torch.equal(shown.targets[modality], first.targets[modality])
        assert torch.equal(shown.batch.tokens[modality].values, first.batch.tokens[modality].values)
        shown.batch.check()
    assert not torch.equal(drawn_again.hidden[modality], first.hidden[modality])


@each
def test_modalities_outside_the_context_are_missing(situation, modality):
    data, _ = situation
    (masked,) = mask_modality(data, modality, HALF)
    batch = in_context(masked, modality, NOTHING).batch
    assert list(batch.tokens) == [modality]
    assert batch.present_BM.sum(0).tolist() == [
        len(masked.batch) if m == modality else 0 for m in MODALITIES
    ]
    assert in_context(masked, modality, EVERYTHING).batch.present_BM.equal(masked.batch.present_BM)


@each
def test_other_products_replace_all_other_modalities(situation, modality):
    data, _ = situation
    (masked,) = mask_modality(data, modality, HALF)
    batch = in_context(masked, modality, OTHER_PRODUCTS).batch
    assert torch.equal(batch.present_BM, masked.batch.present_BM)
    for m, tokens in batch.tokens.items():
        own = masked.batch.tokens[m]
        same_R = (tokens.values == own.values).flatten(1).all(1)
        if m == modality:
            assert same_R.all()
        else:
            # The tokens of each product are used once, by another product.
            rows = [tuple(row.flatten().tolist()) for row in own.values]
            assert sorted(tuple(row.flatten().tolist()) for row in tokens.values) == sorted(rows)
            assert same_R.sum() <= len(rows) - len(set(rows))
    other = in_context(masked, modality, OTHER_PRODUCTS, seed=1).batch
    assert any(not torch.equal(other.tokens[m].values, t.values) for m, t in batch.tokens.items())


def test_prediction_depends_only_on_the_own_product(situation):
    data, model = situation
    (masked,) = mask_modality(data, "image", HALF)
    title = masked.batch.tokens["text"]
    row = int(title.rows_R[2])
    values = title.values.clone()
    values[2, 1:] = 7
    tokens = masked.batch.tokens | {"text": replace(title, values=values)}
    changed = replace(masked, batch=replace(masked.batch, tokens=tokens))
    before, after = (predict(model, m, "image") for m in (masked, changed))
    own_N = masked.rows("image") == row
    torch.testing.assert_close(before[~own_N], after[~own_N])
    assert (before[own_N] - after[own_N]).abs().max() > 1e-4


def test_losses_are_averaged_over_draws(situation):
    data, model = situation
    contexts = {"all": EVERYTHING, "text": Context(("text",))}
    found = product_losses(model, data, "audio", HALF, contexts, draws=2)
    singles = []
    for draw in range(2):
        (masked,) = mask_modality(data, "audio", HALF, 0, draw)
        loss_N = position_losses(predict(model, masked, "audio"), masked.targets["audio"])
        singles.append(by_product(loss_N, masked.rows("audio"), len(masked.batch)).numpy())
    kept = masked.batch.index_B.numpy()
    lonely = ~data.present_NM[kept][:, :4].any(1)
    expected = np.where(lonely, np.nan, (singles[0] + singles[1]) / 2)
    np.testing.assert_allclose(found["all"][kept], expected, rtol=1e-6)
    without_title = ~data.present_NM[:, 0] | ~data.present_NM[:, 4]
    assert np.array_equal(np.isnan(found["text"]), without_title)


def test_predict_restores_the_training_mode(situation):
    data, model = situation
    (masked,) = mask_modality(data, "text", HALF)
    model.train()
    predict(model, masked, "text")
    assert model.training
    model.eval()


@pytest.mark.parametrize(
    ("modality", "loss"), [("table", masked_token_loss), ("video", masked_vector_loss)]
)
def test_mean_of_position_losses_is_the_training_loss(situation, modality, loss):
    data, model = situation
    (masked,) = mask_modality(data, modality, HALF)
    predicted, target = predict(model, masked, modality), masked.targets[modality]
    loss_N = position_losses(predicted, target)
    torch.testing.assert_close(loss_N.mean(), loss(predicted, target))


def test_gains_are_paired_by_product():
    losses = {
        "none": np.array([3.0, 5.0, np.nan, 9.0]),
        "all": np.array([2.0, 4.0, 1.0, 8.0]),
        "text": np.array([4.0, np.nan, 1.0, 9.0]),
    }
    found = gains(losses)
    assert list(found) == ["all", "text"]
    e = found["all"]
    assert (e.value, e.low, e.high, e.n) == (1, 1, 1, 3), "each product gains 1"
    assert (found["text"].value, found["text"].n) == (-0.5, 2)
    assert gains(losses, than="all")["none"].value == -1


def slow_guesses(masked, modality):
    """visible mean and nearest visible, position by position."""
    tokens, hidden_RL = masked.batch.tokens[modality], masked.hidden[modality]
    means, nearest = [], []
    for r in range(len(hidden_RL)):
        length = int((~tokens.padding_RL[r]).sum())
        seen = [i for i in range(length) if not hidden_RL[r, i]]
        for i in range(length):
            if not hidden_RL[r, i]:
                continue
            vectors = tokens.values[r]
            if not seen:
                means.append(torch.zeros(vectors.shape[1]))
                nearest.append(means[-1])
                continue
            means.append(vectors[seen].mean(0))
            away = min(abs(j - i) for j in seen)
            nearest.append(vectors[[j for j in seen if abs(j - i) == away]].mean(0))
    return torch.stack(means), torch.stack(nearest)


@pytest.mark.parametrize("modality", ["image", "video", "audio"])
@pytest.mark.parametrize("rate", [0.3, 0.99])
def test_baselines_equal_loops(situation, modality, rate):
    data, _ = situation
    (masked,) = mask_modality(data, modality, MaskConfig(rate=rate))
    mean_NF, near_NF = slow_guesses(masked, modality)
    torch.testing.assert_close(visible_mean(masked, modality), mean_NF)
    torch.testing.assert_close(nearest_visible(masked, modality), near_NF)


def test_nearest_baseline_averages_both_neighbours(situation):
    data, _ = situation
    (masked,) = mask_modality(data, "video", HALF)
    values = torch.tensor([[[1.0], [0.0], [3.0], [8.0]]])
    tokens = Tokens(values, torch.zeros(1, 4, dtype=torch.bool), torch.tensor([0]))
    hidden = {"video": torch.tensor([[False, True, False, False]])}
    batch = replace(masked.batch, tokens={"video": tokens})
    small = replace(masked, batch=batch, hidden=hidden)
    assert nearest_visible(small, "video").item() == 2
    assert visible_mean(small, "video").item() == 4


def test_masking_an_absent_modality_raises(situation):
    data, _ = situation
    lacking = data.subset(np.flatnonzero(~data.present_NM[:, INDEX["video"]]))
    with pytest.raises(ValueError, match="no product has video"):
        next(mask_modality(lacking, "video", HALF))


each_vectors = pytest.mark.parametrize("modality", CONTINUOUS)


@pytest.fixture(scope="module")
def situation_vectors(small_data):
    """48 products, a model of random weights and its config."""
    data, config = small_data
    config = fit_sizes(config, data)
    return data, seeded_model(config).eval(), config


@each_vectors
def test_reconstructions_have_the_losses_of_product_losses(situation_vectors, modality):
    data, model, _ = situation_vectors
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


def test_reconstruction_of_a_missing_modality_raises(situation_vectors):
    data, model, _ = situation_vectors
    row = int(np.flatnonzero(~data.present_NM[:, INDEX["video"]])[0])
    with pytest.raises(ValueError, match=data.ids[row]):
        reconstruct(model, data, "video", HALF, [row])


def test_best_median_and_worst():
    assert best_median_worst(np.array([0.1, np.nan, 0.5, -0.2])) == (2, 0, 3)
    assert best_median_worst(np.array([0.0, 3.0, 1.0, 2.0])) == (1, 3, 0)
    with pytest.raises(ValueError, match="no product"):
        best_median_worst(np.array([np.nan]))


@each_vectors
def test_copy_losses_equal_a_loop(situation_vectors, modality):
    data, _, _ = situation_vectors
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


def test_select_modalities(situation_vectors):
    data, _, _ = situation_vectors
    both = select_modalities(data, ("image", "audio"))
    assert 5 < len(both) < len(data)
    present_NM = both.present_NM
    assert present_NM[:, [INDEX["image"], INDEX["audio"]]].all()
    assert not present_NM[:, [INDEX["text"], INDEX["table"], INDEX["video"]]].any()


def test_train_masked_learns_and_is_deterministic(situation_vectors):
    data, _, config = situation_vectors
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


def test_further_tasks_change_the_training(situation_vectors):
    data, _, config = situation_vectors
    alone, with_contrast = (
        train_masked(config, data, "image", ("audio",), 0.5, 2, further)
        for further in ((), ("contrastive",))
    )
    before, after = (m.poolers["image"].weight for m in (alone, with_contrast))
    assert not torch.equal(before, after)
