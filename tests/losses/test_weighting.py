"""Weights by the posterior and by agreement beyond chance: slow twins, and where they act."""

from dataclasses import replace

import pytest
import torch

from scale.config import LossConfig, MaskConfig
from scale.losses.contrastive import LEFT, RIGHT, PairLosses, pair_losses
from scale.losses.masking import WordPieces, mask_batch
from scale.losses.total import scale_loss
from scale.losses.weighting import (
    Weights,
    configured_weights,
    loss_weights,
    own_from_pairs,
    pair_members,
    posterior_weights,
    relative_weights,
    with_mean_one,
)
from scale.modalities import INDEX, MODALITIES, PAIRS, SPECS
from scale.model.scores import inter_modality_scores

PIECES = WordPieces(mask_id=4, special_ids=(0, 1, 2, 3, 4), vocab_size=40, unknown_id=1)
MIXED = [MODALITIES, ("text", "table"), ("text", "image", "audio"), MODALITIES, ("video", "audio")]
SCALE = LossConfig(weight_on="loss")
POSTERIOR = replace(SCALE, weight_by="posterior")


@pytest.fixture
def present_BM():
    """Of 9 products; one has nothing but video."""
    present_BM = torch.rand(9, 5, generator=torch.Generator().manual_seed(2)) > 0.35
    present_BM[4] = torch.tensor([False, False, False, True, False])
    return present_BM


@pytest.fixture
def pooled_BMD():
    return torch.randn(9, 5, 6, generator=torch.Generator().manual_seed(3)) + 0.5


def cosine(x, y):
    return (x @ y / (x.norm() * y.norm())).item()


def places(present_BM):
    """(product, pair, i, j) of each pair that is there."""
    return [
        (a, p, i, j)
        for a in range(len(present_BM))
        for p, (i, j) in enumerate(PAIRS)
        if present_BM[a, i] and present_BM[a, j]
    ]


def test_the_posterior_is_the_mean_probability_of_both_directions(pooled_BMD, present_BM):
    for power in [0.0, 0.5, 1.0, 2.0]:
        pairs = pair_losses(pooled_BMD, present_BM, 0.5)
        expected_BP = torch.zeros(9, 10)
        for a, p, i, j in places(present_BM):
            probability = 1.0
            for x, y in ((i, j), (j, i)):
                logit_B = torch.tensor(
                    [cosine(pooled_BMD[a, x], pooled_BMD[b, y]) / 0.5 for b in range(9)]
                )
                probability *= logit_B.masked_fill(~present_BM[:, y], float("-inf")).softmax(0)[a]
            expected_BP[a, p] = probability ** (power / 2)
        weight_BP = posterior_weights(pairs, power)
        torch.testing.assert_close(weight_BP, expected_BP)
        torch.testing.assert_close(
            weight_BP, torch.exp(-power * pairs.loss_BP).where(pairs.valid_BP, 0.0)
        )
        assert not weight_BP[~pairs.valid_BP].any(), "though exp(-0) is 1"


def test_neither_weight_has_a_gradient(pooled_BMD, present_BM):
    pooled_BMD.requires_grad_()
    assert not posterior_weights(pair_losses(pooled_BMD, present_BM)).requires_grad
    assert not relative_weights(pooled_BMD, present_BM).requires_grad


def test_relative_weights_equal_the_double_loop(pooled_BMD, present_BM):
    expected_BP = torch.zeros(9, 10)
    for p, (i, j) in enumerate(PAIRS):
        negatives = [
            cosine(pooled_BMD[a, i], pooled_BMD[b, j])
            for a in range(9)
            for b in range(9)
            if a != b and present_BM[a, i] and present_BM[b, j]
        ]
        mean = sum(negatives) / len(negatives)
        for a in range(9):
            if present_BM[a, i] and present_BM[a, j]:
                own = cosine(pooled_BMD[a, i], pooled_BMD[a, j])
                expected_BP[a, p] = max(0.0, (own - mean) / (1 - mean))
    found_BP = relative_weights(pooled_BMD, present_BM)
    torch.testing.assert_close(found_BP, expected_BP, rtol=1e-4, atol=1e-6)
    assert (found_BP > 0).sum() > 5
    assert (found_BP[expected_BP == 0] == 0).all()
    filled_BMD = pooled_BMD.masked_fill(~present_BM[:, :, None], float("nan"))
    assert torch.equal(relative_weights(filled_BMD, present_BM), found_BP)


def test_relative_weights_of_one_product_and_of_equal_ones_are_finite():
    alone = relative_weights(torch.randn(1, 5, 4), torch.ones(1, 5, dtype=torch.bool))
    same = relative_weights(torch.ones(3, 5, 4), torch.ones(3, 5, dtype=torch.bool))
    assert alone.isfinite().all()
    assert same.isfinite().all()


def slow_own(pair_BP, present_BM):
    own_BM = torch.zeros(present_BM.shape)
    for a in range(len(present_BM)):
        for m in range(5):
            mine = [pair_BP[b, p] for b, p, i, j in places(present_BM) if b == a and m in (i, j)]
            if present_BM[a, m]:
                own_BM[a, m] = sum(mine) / len(mine) if mine else 1.0
    return own_BM


def test_own_weights_are_means_of_pairs_and_1_without_any(present_BM):
    pair_BP = torch.rand(9, 10, generator=torch.Generator().manual_seed(0))
    own_BM = own_from_pairs(pair_BP, present_BM)
    torch.testing.assert_close(own_BM, slow_own(pair_BP, present_BM))
    assert own_BM[4].tolist() == [0, 0, 0, 1, 0]


def test_each_pair_has_its_two_members():
    assert pair_members().nonzero().tolist() == [[p, m] for p, ij in enumerate(PAIRS) for m in ij]


def test_mean_one_keeps_the_order_and_all_zeros_become_ones(present_BM):
    valid_BP = present_BM[:, LEFT] & present_BM[:, RIGHT]
    random = torch.Generator().manual_seed(0)
    weights = Weights(torch.rand(9, 10, generator=random), torch.zeros(9, 5))
    found = with_mean_one(weights, present_BM)
    kept_BP = weights.pair_BP * valid_BP
    torch.testing.assert_close(found.pair_BP, kept_BP / kept_BP[valid_BP].mean())
    assert torch.equal(found.own_BM, present_BM.float())


def test_configured_posterior(pooled_BMD, present_BM):
    for mean_one in [False, True]:
        for power in [0.5, 1.0]:
            config = replace(POSTERIOR, weight_power=power, weight_mean_one=mean_one)
            pairs = pair_losses(pooled_BMD, present_BM, 0.5)
            scores = inter_modality_scores(pooled_BMD, present_BM)
            found = configured_weights(config, scores, pairs, present_BM)
            pair_BP = torch.exp(-power * pairs.loss_BP) * pairs.valid_BP
            own_BM = slow_own(pair_BP, present_BM)
            if mean_one:
                pair_BP = pair_BP / pair_BP[pairs.valid_BP].mean()
                own_BM = own_BM / own_BM[present_BM].mean()
            torch.testing.assert_close(found.pair_BP, pair_BP)
            torch.testing.assert_close(found.own_BM, own_BM)


def test_configured_scores_are_negative_on_raw_logits_alone(pooled_BMD, present_BM):
    cases = [
        ({}, False),
        ({"weight_mean_one": False}, False),
        ({"weight_on": "logits"}, False),
        ({"weight_on": "logits", "weight_mean_one": False}, True),
    ]
    for changes, signed in cases:
        config = replace(SCALE, **changes)
        scores = inter_modality_scores(pooled_BMD, present_BM)
        found = configured_weights(config, scores, pair_losses(pooled_BMD, present_BM), present_BM)
        expected = loss_weights(scores, present_BM, config.weight_mean_one, signed)
        assert torch.equal(found.pair_BP, expected.pair_BP)
        assert torch.equal(found.own_BM, expected.own_BM)
        assert (found.pair_BP < 0).any() == signed


def test_the_posterior_does_not_weight_logits():
    with pytest.raises(ValueError, match="weight_by posterior weighs the loss"):
        LossConfig(weight_by="posterior", weight_on="logits")
    assert LossConfig(weight_by="posterior", weight_on="none").weight_by == "posterior"
    with pytest.raises(ValueError, match="weight_power must not be negative"):
        LossConfig(weight_power=-0.1)


def run(make_model, make_batch, config, weight_fn=None, progress=1.0):
    model, batch = make_model("skip"), make_batch(MIXED)
    masked = mask_batch(batch, MaskConfig(), PIECES, (0,), config.tasks)
    output = model(masked.batch, masked.hidden)
    return model, output, masked, scale_loss(output, masked, config, progress, weight_fn)


def slow_losses(output, masked, pair_BP, own_BM):
    """sum_ij mean_a w_aij L_aij and, by task, mean_n w_n L_n."""
    pairs, losses = pair_losses(output.pooled_BMD, output.present_BM), {"contrastive": 0.0}
    for p, (i, j) in enumerate(PAIRS):
        both = [a for a, q, _, _ in places(output.present_BM) if q == p]
        terms = [pair_BP[a, p] * pairs.loss_BP[a, p] for a in both]
        losses["contrastive"] += sum(terms) / max(len(both), 1)
        assert output.present_BM[both][:, [i, j]].all()
    for m, prediction in output.predictions.items():
        terms = []
        for n, product in enumerate(masked.rows(m).tolist()):
            target = masked.targets[m][n]
            if SPECS[m].kind == "discrete":
                loss = -prediction[n].log_softmax(-1)[target]
            else:
                loss = ((prediction[n] - target) ** 2).mean()
            terms.append(own_BM[product, INDEX[m]] * loss)
        losses[SPECS[m].task] = sum(terms) / len(terms)
    return losses


def test_total_by_the_posterior_equals_the_loop(make_model, make_batch):
    for mean_one in [False, True]:
        config = replace(POSTERIOR, weight_mean_one=mean_one, weight_power=0.5)
        _, output, masked, result = run(make_model, make_batch, config)
        here = output.present_BM
        pair_BP = torch.zeros(len(here), 10)
        for a, p, _, _ in places(here):
            pair_BP[a, p] = torch.exp(-0.5 * result.pairs.loss_BP[a, p]).item()
        own_BM = slow_own(pair_BP, here)
        if mean_one:
            pair_BP = pair_BP / pair_BP[here[:, LEFT] & here[:, RIGHT]].mean()
            own_BM = own_BM / own_BM[here].mean()
        for task, expected in slow_losses(output, masked, pair_BP, own_BM).items():
            torch.testing.assert_close(result.losses[task], expected, rtol=1e-4, atol=1e-5)


def test_masked_losses_are_weighted_unless_disabled(make_model, make_batch):
    weighted, off, uniform = (
        run(make_model, make_batch, config)[3].losses
        for config in (
            POSTERIOR,
            replace(POSTERIOR, weight_masked=False),
            replace(POSTERIOR, weight_on="none"),
        )
    )
    assert torch.equal(off["contrastive"], weighted["contrastive"])
    assert not torch.allclose(off["contrastive"], uniform["contrastive"])
    for task in set(uniform) - {"contrastive"}:
        assert torch.equal(off[task], uniform[task])
        assert not torch.allclose(weighted[task], uniform[task])


def test_a_weight_fn_replaces_the_configured_weights(make_model, make_batch):
    given = []

    def weight_fn(output, scores, pairs, batch):
        given.append((output, scores, pairs, batch))
        # 3 for the pairs of the first product, 2 for its own, and nothing else.
        pair_BP, own_BM = torch.zeros_like(pairs.loss_BP), torch.zeros(len(batch), 5)
        pair_BP[0], own_BM[0] = 3.0, 2.0
        return Weights(pair_BP, own_BM)

    for config in (SCALE, POSTERIOR):
        _, output, masked, result = run(make_model, make_batch, config, weight_fn)
        assert given[-1][0] is output
        assert given[-1][1] is result.scores
        assert torch.equal(given[-1][2].loss_BP, result.pairs.loss_BP)
        assert given[-1][3] is masked.batch
        weights = weight_fn(*given[-1])
        for task, expected in slow_losses(output, masked, weights.pair_BP, weights.own_BM).items():
            torch.testing.assert_close(result.losses[task], expected, rtol=1e-4, atol=1e-5)
    calls = len(given)
    run(make_model, make_batch, replace(SCALE, weight_on="none"), weight_fn)
    run(make_model, make_batch, replace(SCALE, weight_uniform_share=0.5), weight_fn, progress=0.4)
    assert len(given) == calls, "uniform weights are not computed"


def test_a_stopped_posterior_has_the_gradient_of_the_generalised_cross_entropy():
    """One direction and three candidates: the gradient of p^q L, p^q held fixed, is that of
    (1 - p^q) / q; it falls to 0 for a pair that is certainly wrong, where InfoNCE's is largest."""
    for q in (0.3, 0.7, 1.0):
        logit_C = torch.tensor([0.2, 1.5, -0.3], requires_grad=True)
        loss = -logit_C.log_softmax(0)[:1, None]
        weight = posterior_weights(PairLosses(loss, torch.ones(1, 1, dtype=torch.bool)), q)
        (stopped_C,) = torch.autograd.grad((weight * loss).sum(), logit_C)
        robust = (1 - logit_C.softmax(0)[0] ** q) / q
        torch.testing.assert_close(stopped_C, torch.autograd.grad(robust, logit_C)[0])
    wrong_C = torch.tensor([-20.0, 0.0, 0.0], requires_grad=True)
    loss = -wrong_C.log_softmax(0)[:1, None]
    weight = posterior_weights(PairLosses(loss, torch.ones(1, 1, dtype=torch.bool)))
    (stopped_C,) = torch.autograd.grad((weight * loss).sum(), wrong_C, retain_graph=True)
    (plain_C,) = torch.autograd.grad(loss.sum(), wrong_C)
    assert stopped_C.abs().max() < 1e-6
    assert plain_C[0].item() == pytest.approx(-1)
