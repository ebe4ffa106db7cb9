"""Weight functions against loops over products, and their exact properties."""

import math

import pytest
import torch

from scale.data.batch import ProductBatch
from scale.losses.contrastive import LEFT, RIGHT, PairLosses, pair_losses
from scale.losses.weighting import own_from_pairs
from scale.modalities import PAIRS
from scale.model.scale import EmbedOutput
from scale.model.scores import inter_modality_scores
from scale.studies import weightings
from scale.studies.weightings import (
    WEIGHT_FNS,
    MovingAverages,
    TrainingTruth,
    fit_reliability,
    make_weight_fn,
    negative_ranks,
)

TEMPERATURE = 0.5
INDEX_B = torch.tensor([4, 0, 9, 7, 2, 11, 5, 1])
"""Rows of the batch's products in the training set of 12."""
R_NP = torch.rand(12, 10, generator=torch.Generator().manual_seed(3))
TRUE_NM = torch.rand(12, 5, generator=torch.Generator().manual_seed(7)) > 0.35


@pytest.fixture
def present_BM():
    """Of 8 products; one has nothing but audio, one has all."""
    present_BM = torch.rand(8, 5, generator=torch.Generator().manual_seed(1)) > 0.3
    present_BM[2] = torch.tensor([False, False, False, False, True])
    present_BM[3] = True
    return present_BM


@pytest.fixture
def pooled_BMD():
    return torch.randn(8, 5, 6, generator=torch.Generator().manual_seed(0)) + 0.4


def seen(pooled_BMD, present_BM, index_B=INDEX_B):
    """Return the arguments of a weight function."""
    return (
        EmbedOutput(pooled_BMD, present_BM),
        inter_modality_scores(pooled_BMD, present_BM),
        pair_losses(pooled_BMD, present_BM, TEMPERATURE),
        ProductBatch({}, present_BM, index_B),
    )


def made(name):
    """A fresh weight_fn for the training set of 12."""
    return WEIGHT_FNS[name](TrainingTruth(TRUE_NM, batch_size=6, r_NP=R_NP))


def weigh(name, pooled_BMD, present_BM):
    torch.manual_seed(5)
    return made(name)(*seen(pooled_BMD, present_BM))


def pairs_there(present_BM):
    """Return (product, pair, i, j) of each pair of present modalities."""
    return [
        (a, p, i, j)
        for a in range(len(present_BM))
        for p, (i, j) in enumerate(PAIRS)
        if present_BM[a, i] and present_BM[a, j]
    ]


def close(x, y):
    torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-6)


def cosine(x, y):
    return float(x.dot(y) / (x.norm() * y.norm()))


def slow_posterior(pooled_BMD, present_BM, a, i, j):
    """Geometric mean of both directions' probability of the product's own."""
    p = 1.0
    for x, y in ((i, j), (j, i)):
        terms = {
            b: math.exp(cosine(pooled_BMD[a, x], pooled_BMD[b, y]) / TEMPERATURE)
            for b in range(len(pooled_BMD))
            if present_BM[b, y]
        }
        p *= terms[a] / sum(terms.values())
    return math.sqrt(p)


def slow_relative(pooled_BMD, present_BM, a, i, j):
    """max(0, (S - mu) / (1 - mu)), mu over pairs of different products."""
    negatives = [
        cosine(pooled_BMD[b, i], pooled_BMD[c, j])
        for b in range(len(pooled_BMD))
        for c in range(len(pooled_BMD))
        if b != c and present_BM[b, i] and present_BM[c, j]
    ]
    mean = sum(negatives) / len(negatives)
    return max(0.0, (cosine(pooled_BMD[a, i], pooled_BMD[a, j]) - mean) / (1 - mean))


def slow_share(pooled_BMD, present_BM, a, i, j):
    """Share of negatives below the own cosine, mean of both sides."""
    own, shares = cosine(pooled_BMD[a, i], pooled_BMD[a, j]), []
    for x, y in ((i, j), (j, i)):
        others = [b for b in range(len(pooled_BMD)) if b != a and present_BM[b, y]]
        below = [own > cosine(pooled_BMD[a, x], pooled_BMD[b, y]) for b in others]
        shares.append(sum(below) / max(len(others), 1))
    return sum(shares) / 2


def slow_rank(*product):
    """2 F - 1, at least 0."""
    return max(0.0, 2 * slow_share(*product) - 1)


def slow_own(pair_BP, present_BM):
    """own_BM: mean of the weights of the modality's pairs; 1 where it has none."""
    own_BM = torch.zeros(present_BM.shape)
    for a, m in present_BM.nonzero().tolist():
        mine = [pair_BP[a, p] for b, p, i, j in pairs_there(present_BM) if b == a and m in (i, j)]
        own_BM[a, m] = sum(mine) / len(mine) if mine else 1.0
    return own_BM


@pytest.mark.parametrize(
    ("name", "slow"),
    [
        ("relative", slow_relative),
        ("rank", slow_rank),
        ("moving", slow_posterior),  # its first batch
        ("oracle", lambda pooled_BMD, present_BM, a, i, j: float(
            TRUE_NM[INDEX_B[a], i] and TRUE_NM[INDEX_B[a], j])),
    ],
)  # fmt: skip
def test_weights_equal_a_loop_over_products(pooled_BMD, present_BM, name, slow):
    weights = weigh(name, pooled_BMD, present_BM)
    expected_BP = torch.zeros(8, 10)
    for a, p, i, j in pairs_there(present_BM):
        expected_BP[a, p] = slow(pooled_BMD, present_BM, a, i, j)
    own_BM = slow_own(expected_BP, present_BM)
    if name == "oracle":
        own_BM = (TRUE_NM[INDEX_B] & present_BM).float()
    valid_BP = present_BM[:, LEFT] & present_BM[:, RIGHT]
    close(weights.pair_BP, expected_BP / expected_BP[valid_BP].mean())
    close(weights.own_BM, own_BM / own_BM[present_BM].mean())


def test_negative_ranks_equal_a_double_loop(pooled_BMD, present_BM):
    share_BP = negative_ranks(pooled_BMD, present_BM)
    expected_BP = torch.zeros(8, 10)
    for a, p, i, j in pairs_there(present_BM):
        expected_BP[a, p] = slow_share(pooled_BMD, present_BM, a, i, j)
    close(share_BP, expected_BP)
    assert 0.2 < share_BP[expected_BP > 0].mean() < 0.8


def test_agreement_by_hand(pooled_BMD, present_BM):
    """Each batch's rows of the fixed weights, divided by the mean over its present pairs."""
    valid_BP = present_BM[:, LEFT] & present_BM[:, RIGHT]
    r_BP = R_NP[INDEX_B]
    pairs_of = [[p for p, pair in enumerate(PAIRS) if m in pair] for m in range(5)]
    mean_NM = torch.stack([R_NP[:, places].mean(1) for places in pairs_of], dim=1)
    product_BP = torch.stack(
        [(mean_NM[INDEX_B, i] * mean_NM[INDEX_B, j]) ** 2 for i, j in PAIRS], 1
    )
    expected = {"agreement alone": (2 * r_BP - 1).clamp(min=0.02), "agreement product": product_BP}
    for name, pair_BP in expected.items():
        kept_BP = pair_BP * valid_BP
        weights = weigh(name, pooled_BMD, present_BM)
        close(weights.pair_BP, kept_BP / kept_BP[valid_BP].mean())


def test_weights_have_a_mean_of_one(pooled_BMD, present_BM):
    valid_BP = present_BM[:, LEFT] & present_BM[:, RIGHT]
    for name in set(WEIGHT_FNS) - {"matched", "gce"}:
        weights = weigh(name, pooled_BMD, present_BM)
        assert weights.pair_BP[valid_BP].mean().item() == pytest.approx(1, abs=1e-5), name
        assert weights.own_BM[present_BM].mean().item() == pytest.approx(1, abs=1e-5), name


@pytest.mark.parametrize("name", WEIGHT_FNS)
def test_absent_modalities_have_weight_0_and_no_influence(pooled_BMD, present_BM, name):
    before = weigh(name, pooled_BMD, present_BM)
    valid_BP = present_BM[:, LEFT] & present_BM[:, RIGHT]
    assert not before.pair_BP[~valid_BP].any()
    assert not before.own_BM[~present_BM].any()
    assert before.own_BM[present_BM].any()
    for value in (float("nan"), 1e6, -3.0):
        other_BMD = pooled_BMD.masked_fill(~present_BM[:, :, None], value)
        after = weigh(name, other_BMD, present_BM)
        assert torch.equal(after.pair_BP, before.pair_BP)
        assert torch.equal(after.own_BM, before.own_BM)


def test_no_gradient_flows_through_the_weights(pooled_BMD, present_BM):
    for name in set(WEIGHT_FNS) - {"matched", "shuffled"}:
        weights = weigh(name, pooled_BMD.requires_grad_(), present_BM)
        assert not weights.pair_BP.requires_grad, name
        assert not weights.own_BM.requires_grad, name


def test_matched_equals_the_mean_of_the_scores(pooled_BMD, present_BM):
    weighted_BMM = inter_modality_scores(pooled_BMD, present_BM).weighted_BMM
    entries = [float(weighted_BMM[a, i, j]) for a, _, i, j in pairs_there(present_BM)]
    assert min(entries) < 0, "negative ones count as they are"
    own = [float(weighted_BMM[a, m, m]) for a, m in present_BM.nonzero().tolist()]
    weights = weigh("matched", pooled_BMD, present_BM)
    valid_BP = present_BM[:, LEFT] & present_BM[:, RIGHT]
    close(weights.pair_BP, sum(entries) / len(entries) * valid_BP)
    close(weights.own_BM, sum(own) / len(own) * present_BM)


def test_shuffled_permutes_each_column(pooled_BMD, present_BM):
    weighted_BMM = inter_modality_scores(pooled_BMD, present_BM).weighted_BMM
    valid_BP = present_BM[:, LEFT] & present_BM[:, RIGHT]
    pair_BP = weighted_BMM[:, LEFT, RIGHT].clamp(min=0) * valid_BP
    own_BM = weighted_BMM.diagonal(dim1=1, dim2=2) * present_BM
    expected = (pair_BP / pair_BP[valid_BP].mean(), own_BM / own_BM[present_BM].mean())
    found = weigh("shuffled", pooled_BMD, present_BM)
    for was_BX, is_BX, valid_BX in (
        (expected[0], found.pair_BP, valid_BP),
        (expected[1], found.own_BM, present_BM),
    ):
        for was_B, is_B, valid_B in zip(was_BX.T, is_BX.T, valid_BX.T, strict=True):
            close(is_B[valid_B].sort().values, was_B[valid_B].sort().values)
        assert not torch.allclose(was_BX, is_BX)


def test_shuffled_permutes_uniformly():
    """Each of three valid entries goes to each of three places a third of the time."""
    weight_BX = torch.tensor([[1.0], [2.0], [9.0], [3.0]]).expand(-1, 6000)
    valid_BX = torch.tensor([[True], [True], [False], [True]]).expand(-1, 6000)
    torch.manual_seed(0)
    dealt_BX = weightings._permute(weight_BX, valid_BX)
    assert not dealt_BX[2].any()
    for row in (0, 1, 3):
        shares = [(dealt_BX[row] == value).float().mean().item() for value in (1, 2, 3)]
        assert shares == pytest.approx([1 / 3] * 3, abs=0.03)


def test_gce_has_the_gradient_of_the_generalised_cross_entropy(pooled_BMD, present_BM):
    """p^q L with p^q held fixed against (1 - p^q) / q, for p = exp(-L) and L the mean of both
    directions: p is the geometric mean of their probabilities. It is not the mean of each
    direction's own (1 - p^q) / q."""
    q, gradients, direct = 0.7, {}, {}
    for name in ("weights", "whole", "each"):
        pooled = pooled_BMD.clone().requires_grad_()
        output, scores, pairs, batch = seen(pooled, present_BM)
        if name == "weights":
            weights = made("gce")(output, scores, pairs, batch)
            loss = pairs.mean_P(weights.pair_BP).sum()
            assert torch.equal(weights.own_BM, present_BM.float())
        else:
            power_BP = torch.exp(-q * pairs.loss_BP)
            if name == "each":
                power_BP = sum(directions(pooled, i_to_j) ** q for i_to_j in (True, False)) / 2
            loss = PairLosses((1 - power_BP) / q * pairs.valid_BP, pairs.valid_BP).mean_P().sum()
        loss.backward()
        gradients[name], direct[name] = pooled.grad, loss.item()
    close(gradients["weights"], gradients["whole"])
    assert not torch.allclose(gradients["weights"], gradients["each"], atol=1e-3)


def directions(pooled_BMD, i_to_j):
    """p_BP of one direction, all candidates present or not."""
    unit_BMD = torch.nn.functional.normalize(pooled_BMD, dim=-1)
    a, b = (LEFT, RIGHT) if i_to_j else (RIGHT, LEFT)
    logits_PBB = unit_BMD[:, a].transpose(0, 1) @ unit_BMD[:, b].permute(1, 2, 0) / TEMPERATURE
    return logits_PBB.softmax(2).diagonal(dim1=1, dim2=2).T


def batch_of(index, present_BM=None):
    present_BM = torch.ones(len(index), 5, dtype=torch.bool) if present_BM is None else present_BM
    return ProductBatch({}, present_BM, torch.tensor(index))


def test_moving_averages_by_hand():
    table = MovingAverages(TrainingTruth(torch.ones(5, 5, dtype=torch.bool), 2), keep=0.75)
    first = table.update(torch.full((2, 10), 4.0), batch_of([3, 1]))
    assert first.tolist() == [[4.0] * 10] * 2
    second = table.update(torch.tensor([[0.0], [8.0]]).expand(-1, 10), batch_of([1, 0]))
    assert second[:, 0].tolist() == [0.75 * 4, 8]
    third = table.update(torch.zeros(1, 10), batch_of([1]))
    assert third[0, 0].item() == 0.75 * 0.75 * 4
    assert table.value_NP[:, 0].tolist() == [8, 2.25, 0, 4, 0]
    assert table.seen_NP[:, 0].tolist() == [True, True, False, True, False]


@pytest.mark.parametrize("name", ["moving", "reliability", "mixture"])
def test_moving_averages_of_products_are_independent(pooled_BMD, present_BM, name, monkeypatch):
    """Another past of one product does not change the averages of the others. Their weights change
    by one common factor, because weights are divided by the batch's mean."""
    tables, original = [], MovingAverages.__init__

    def watching(self, *arguments, **options):
        original(self, *arguments, **options)
        tables.append(self)

    monkeypatch.setattr(MovingAverages, "__init__", watching)
    weight_fn = made(name)
    weight_fn(*seen(pooled_BMD, present_BM))
    second_fn = made(name)
    second_fn(*seen(pooled_BMD, present_BM))
    tables[1].value_NP[9] += 0.5
    found = [w(*seen(pooled_BMD.flip(0), present_BM.flip(0))) for w in (weight_fn, second_fn)]
    apart_N = (tables[0].value_NP != tables[1].value_NP).any(1)
    assert apart_N.tolist() == [n == 9 for n in range(12)]
    others = [b for b, n in enumerate(INDEX_B.tolist()) if n != 9]
    factors = (found[0].pair_BP / found[1].pair_BP)[others]
    assert factors[factors.isfinite()].std() < 1e-5


def test_moving_averages_the_posterior_of_each_product(pooled_BMD, present_BM):
    """Two batches, the second with the products in other company."""
    weight_fn, tables = made("moving"), {}
    for round_, order in enumerate((range(8), (5, 3, 0, 6, 1))):
        rows = list(order)
        pooled, here, index = pooled_BMD[rows], present_BM[rows], INDEX_B[rows]
        found = weight_fn(*seen(pooled, here, index))
        expected_BP = torch.zeros(len(rows), 10)
        for a, p, i, j in pairs_there(here):
            new, key = slow_posterior(pooled, here, a, i, j), (int(index[a]), p)
            tables[key] = new if round_ == 0 else 0.7 * tables[key] + 0.3 * new
            expected_BP[a, p] = tables[key]
        valid_BP = here[:, LEFT] & here[:, RIGHT]
        close(found.pair_BP, expected_BP / expected_BP[valid_BP].mean())


def test_fit_reliability_recovers_r():
    random = torch.Generator().manual_seed(0)
    own_BM = torch.rand(200, 5, generator=random) * 0.9 + 0.1
    pair_BP = own_BM[:, LEFT] * own_BM[:, RIGHT]
    valid_BP = torch.ones(200, 10, dtype=torch.bool)
    close(fit_reliability(pair_BP, valid_BP, rounds=400), own_BM)
    # The ten rounds of the weight_fn are near it: a hundredth for nine in ten, never a tenth.
    apart_BM = (fit_reliability(pair_BP, valid_BP) - own_BM).abs()
    assert apart_BM.flatten().kthvalue(900).values < 0.01
    assert apart_BM.max() < 0.1
    # All pairs of the modalities that are there, at least three of them: r is still determined.
    present_BM = torch.rand(200, 5, generator=random) > 0.4
    present_BM[:, :3] |= (present_BM.sum(1) < 3)[:, None]
    valid_BP = present_BM[:, LEFT] & present_BM[:, RIGHT]
    close(fit_reliability(pair_BP * valid_BP, valid_BP, rounds=400), own_BM * present_BM)
    # Of two, only the product of both is.
    valid_BP = torch.zeros(200, 10, dtype=torch.bool)
    valid_BP[:, 0] = True
    found_BM = fit_reliability(pair_BP * valid_BP, valid_BP)
    close(found_BM[:, 0] * found_BM[:, 1], pair_BP[:, 0])
    assert not found_BM[:, 2:].any()
    assert not fit_reliability(torch.zeros(3, 10), torch.ones(3, 10, dtype=torch.bool)).any()


def test_fit_reliability_is_a_local_minimum():
    """No small step from it has a smaller squared error."""
    random = torch.Generator().manual_seed(1)
    pair_BP, valid_BP = torch.rand(4, 10, generator=random).double(), torch.ones(4, 10) > 0
    own_BM = fit_reliability(pair_BP, valid_BP, rounds=200)
    assert (own_BM >= 0).all()

    def error_B(r_BM):
        return (pair_BP - r_BM[:, LEFT] * r_BM[:, RIGHT]).square().sum(1)

    for _ in range(50):
        step_BM = torch.randn(4, 5, generator=random).double() * 1e-3
        assert (error_B(own_BM + step_BM) >= error_B(own_BM)).all()


def test_reliability_weights_pairs_and_modalities_by_r(pooled_BMD, present_BM):
    valid_BP = present_BM[:, LEFT] & present_BM[:, RIGHT]
    pair_BP = torch.exp(-pair_losses(pooled_BMD, present_BM, TEMPERATURE).loss_BP) * valid_BP
    r_BM = fit_reliability(pair_BP, valid_BP)
    weights = weigh("reliability", pooled_BMD, present_BM)
    fitted_BP = torch.zeros(8, 10)
    for a, p, i, j in pairs_there(present_BM):
        fitted_BP[a, p] = r_BM[a, i] * r_BM[a, j]
    close(weights.pair_BP, fitted_BP / fitted_BP[valid_BP].mean())
    own_BM = r_BM.clone()
    own_BM[2, 4] = 1.0  # has no pair
    assert present_BM[2].sum() == 1
    close(weights.own_BM, own_BM / own_BM[present_BM].mean())


def test_mixture_finds_two_clusters_of_losses():
    """100 products, of which every third has high losses in the pair text-table and every fifth
    in the pair video-audio; before the first fit all weights are 1."""
    high_NP = torch.zeros(100, 10, dtype=torch.bool)
    high_NP[::3, 0], high_NP[::5, 9] = True, True
    noise_NP = torch.rand(100, 10, generator=torch.Generator().manual_seed(0))
    loss_NP = torch.where(high_NP, 5.0, 0.5) + noise_NP / 2
    weight_fn = WEIGHT_FNS["mixture"](TrainingTruth(torch.ones(100, 5, dtype=torch.bool), 50))
    valid_BP = torch.ones(50, 10, dtype=torch.bool)
    found = {}
    for step in range(4):
        rows = torch.arange(50) + 50 * (step % 2)
        pairs = PairLosses(loss_NP[rows], valid_BP)
        weights = weight_fn(None, None, pairs, batch_of(rows.tolist()))
        if step == 0:
            assert torch.equal(weights.pair_BP, torch.ones(50, 10))
        found[step % 2] = weights.pair_BP
    high_B, weight_BP = torch.cat([high_NP[:, :1], high_NP[:, 9:]], 1), torch.cat([*found.values()])
    for column, p in enumerate((0, 9)):
        assert weight_BP[high_B[:, column], p].max() < 0.05
        assert weight_BP[~high_B[:, column], p].min() > 0.95


def test_mixture_ignores_missing_losses():
    """Products that lack a pair have a loss of 0 in the table; they are no cluster of their own."""
    random = torch.Generator().manual_seed(0)
    valid_NP = torch.rand(60, 10, generator=random) > 0.5
    loss_NP = torch.where(torch.rand(60, 10, generator=random) > 0.3, 3.0, 5.0)
    loss_NP = (loss_NP + torch.rand(60, 10, generator=random) / 5) * valid_NP
    weight_fn = WEIGHT_FNS["mixture"](TrainingTruth(torch.ones(60, 5, dtype=torch.bool), 60))
    weights = weight_fn(None, None, PairLosses(loss_NP, valid_NP), batch_of(list(range(60))))
    low_NP = valid_NP & (loss_NP < 4)
    assert weights.pair_BP[valid_NP & ~low_NP].max() < 0.05
    assert weights.pair_BP[low_NP].min() > 0.95
    assert not weights.pair_BP[~valid_NP].any()


def test_mixture_needs_different_losses():
    assert weightings._two_gaussians(torch.ones(50), torch.ones(50) > 0) is None
    assert weightings._two_gaussians(torch.rand(19), torch.ones(19) > 0) is None
    assert weightings._two_gaussians(torch.rand(20), torch.ones(20) > 0) is not None


def test_weight_functions_are_made_by_name():
    truth = TrainingTruth(torch.tensor([[True] * 5, [False] * 5]), 2)
    weight_fn = make_weight_fn("oracle", truth)
    present_BM = torch.ones(2, 5, dtype=torch.bool)
    pooled_BMD = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    weights = weight_fn(*seen(pooled_BMD, present_BM, torch.tensor([1, 0])))
    assert weights.own_BM.tolist() == [[0] * 5, [2] * 5]
    assert make_weight_fn("", truth) is None
    with pytest.raises(ValueError, match="unknown weight function 'best'; known: relative"):
        make_weight_fn("best", truth)


def test_own_weights_follow_from_pair_weights(pooled_BMD, present_BM):
    """All but oracle, matched, shuffled, gce and reliability weigh modalities by their pairs."""
    for name in ("relative", "rank", "moving", "mixture"):
        weights = weigh(name, pooled_BMD, present_BM)
        own_BM = own_from_pairs(weights.pair_BP, present_BM)
        paired_BM = present_BM & (present_BM.sum(1) > 1)[:, None]
        ratio = weights.own_BM[paired_BM] / own_BM[paired_BM]
        known = ratio[ratio.isfinite()]
        assert known.std() < 1e-4
