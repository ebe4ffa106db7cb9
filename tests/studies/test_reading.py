"""What a model says of one product, against slow twins; policies; neighbours."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from scale.config import LossConfig, MissingConfig
from scale.evaluation.index import SearchIndex
from scale.modalities import INDEX, MODALITIES
from scale.studies.single_product import (
    logged_weights,
    missing_token_count,
    nearest_products,
    one_thread,
    product_outputs,
    with_policy,
)
from scale.training.logging import score_means


def unit(vector):
    return vector / np.sqrt((vector * vector).sum())


@pytest.mark.parametrize("subset", [MODALITIES, ("text", "image", "audio"), ("video",)])
def test_scores_are_those_of_the_slow_twin(make_model, make_batch, subset):
    model, batch = make_model(), make_batch([subset])
    reading = product_outputs(model, batch)
    with torch.no_grad():
        pooled_MD = model.embed(batch).pooled_BMD[0].double().numpy()
    expected = np.zeros((4, 5, 5))
    here = [INDEX[m] for m in subset]
    for i in here:
        cosine = {j: float(unit(pooled_MD[i]) @ unit(pooled_MD[j])) for j in here}
        total = sum(np.exp(value) for value in cosine.values())
        row = {j: value * np.exp(value) / total for j, value in cosine.items()}
        norm = np.sqrt(sum(value**2 for value in row.values()))
        for j in here:
            share = np.exp(cosine[j]) / total
            expected[:, i, j] = cosine[j], share, row[j], row[j] / norm
    found = reading.cosine_MM, reading.softmax_MM, reading.weighted_MM, reading.normalised_MM
    np.testing.assert_allclose(np.stack(found), expected, atol=1e-6)
    emb_D = unit(sum(unit(pooled_MD[i]) for i in here))
    np.testing.assert_allclose(reading.emb_D, emb_D, atol=1e-6)
    assert reading.present_M.tolist() == [m in subset for m in MODALITIES]


def test_the_policy_changes_the_fused_features_alone(make_model, make_batch):
    model, batch = make_model("zero"), make_batch([("text", "image")])
    zero, skip, drop = (
        product_outputs(with_policy(model, p), batch) for p in ("zero", "skip", "drop")
    )
    for other in (skip, drop):
        assert np.array_equal(zero.weighted_MM, other.weighted_MM)
        assert np.array_equal(zero.emb_D, other.emb_D)
        assert not np.allclose(zero.fused_MD, other.fused_MD)
    assert np.array_equal(skip.fused_MD, drop.fused_MD)
    assert skip.missing_token_M.sum() == 0


def test_of_a_complete_product_no_policy_changes_anything(make_model, make_batch):
    model, batch = make_model("zero"), make_batch([MODALITIES])
    zero, skip = (product_outputs(with_policy(model, p), batch) for p in ("zero", "skip"))
    np.testing.assert_allclose(zero.fused_MD, skip.fused_MD, atol=1e-6)
    assert zero.missing_token_M.sum() == 0
    assert zero.token_M.min() > 0


def test_learned_tokens_are_not_made_up(make_model):
    with pytest.raises(ValueError, match="'zero': it has no learned tokens"):
        with_policy(make_model("zero"), "learned")


def test_a_model_with_learned_tokens_can_do_without_them(make_model, make_batch):
    learned, batch = make_model("learned"), make_batch([("text",)])
    zero = with_policy(learned, "zero")
    assert with_policy(learned, "learned") is learned
    assert product_outputs(learned, batch).missing_token_M.tolist() == [0, 1, 1, 1, 1]
    assert np.array_equal(
        product_outputs(learned, batch).weighted_MM, product_outputs(zero, batch).weighted_MM
    )


def test_another_policy_shares_the_weights_and_keeps_the_generator(make_model):
    model = make_model("zero")
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    other = with_policy(model, "skip")
    assert torch.equal(torch.rand(1), expected)
    assert not other.training
    weights = dict(other.named_parameters())
    for name, weight in model.named_parameters():
        assert weights[name].data_ptr() == weight.data_ptr()


def test_tokens_that_stand_in_are_those_of_the_encoder(make_model):
    model = make_model("zero")
    for m in MODALITIES:
        assert missing_token_count(model, m) == model.encoders[m].impute_zeros().shape[1]
        assert missing_token_count(make_model("skip"), m) == 0


def test_a_model_of_fewer_modalities(make_model, make_batch):
    model = make_model("zero", modalities=("text", "image"))
    reading = product_outputs(model, make_batch([MODALITIES]).only(("text", "image")))
    assert reading.token_M.nonzero()[0].tolist() == [0, 2]
    assert reading.missing_token_M.sum() == 0


def test_nothing_and_two_products_are_refused(make_model, make_batch):
    with pytest.raises(ValueError, match="no product"):
        product_outputs(make_model(), make_batch([()]))
    with pytest.raises(ValueError, match="batch of 2"):
        product_outputs(make_model(), make_batch([("text",), ("text",)]))


def test_threads_come_back():
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    with pytest.raises(KeyError), one_thread():
        raise KeyError
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("normalise", [False, True])
def test_weights_in_the_form_of_the_run(make_model, make_batch, normalise):
    reading = product_outputs(make_model(), make_batch([("text", "image")]))
    loss = LossConfig(row_normalise=normalise)
    expected = reading.normalised_MM if normalise else reading.weighted_MM
    assert np.array_equal(logged_weights(reading, loss), expected)
    fused = logged_weights(reading, replace(loss, weight_features="fused"))
    assert not np.allclose(fused, expected)
    assert (fused[1] == 0).all()


def test_neighbours_leave_the_product_itself_out():
    emb_GD = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    index = SearchIndex.build(emb_GD, [f"p{k}" for k in range(9)])
    cosine_G = index.emb_GD @ index.emb_GD[3]
    order = [k for k in np.argsort(-cosine_G) if k != 3]
    found = nearest_products(index, index.emb_GD[3], "p3")
    assert [name for name, _ in found] == [f"p{k}" for k in order[:5]]
    np.testing.assert_allclose([c for _, c in found], cosine_G[order[:5]], atol=1e-6)
    assert len(nearest_products(index, index.emb_GD[3], "p3", 20)) == 8


def test_score_means_stand_in_their_places():
    rows = [
        {"step": 20, "row": "text", "column": "audio", "mean": 0.5},
        {"step": 10, "row": "image", "column": "image", "mean": 0.25},
        {"step": 10, "row": "text", "column": "audio", "mean": None},
    ]
    steps, mean_TMM = score_means(rows)
    assert steps == [10, 20]
    assert mean_TMM[1, 0, 4] == 0.5
    assert mean_TMM[0, 2, 2] == 0.25
    assert np.isnan(mean_TMM).sum() == 48
    assert score_means([])[1].shape == (0, 5, 5)


def test_policies_are_those_of_the_config(make_model):
    model = make_model("zero")
    assert with_policy(model, "skip").missing == MissingConfig("skip")
