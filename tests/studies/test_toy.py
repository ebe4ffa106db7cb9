"""The toy study: its views, its weights against loops over products, and that a run repeats."""

import math

import pytest
import torch

from scale.losses.contrastive import pair_losses
from scale.modalities import MODALITIES, PAIRS
from scale.studies.definitions import STUDIES
from scale.studies.toy import (
    REGIMES,
    WEIGHTINGS,
    Regime,
    ToySetting,
    draw_views,
    information,
    run_toy,
)

SHORT = {"steps": 6, "uniform_steps": 2, "batch": 16, "products": 64, "test_products": 40}


@pytest.fixture
def situation():
    """Features, presence, losses and truth of 7 products."""
    random = torch.Generator().manual_seed(3)
    pooled_BMD = torch.randn(7, 5, 6, generator=random) + 0.5
    present_BM = torch.rand(7, 5, generator=random) > 0.3
    true_BM = torch.rand(7, 5, generator=random) > 0.4
    return pooled_BMD, present_BM, pair_losses(pooled_BMD, present_BM, 0.5), true_BM


def cosine(x, y):
    return float(x.dot(y) / (x.norm() * y.norm()))


def slow_scores(pooled_BMD, present_BM, a, i, j):
    """S'_ij of one product."""
    here = [m for m in range(5) if present_BM[a, m]]
    total = sum(math.exp(cosine(pooled_BMD[a, i], pooled_BMD[a, m])) for m in here)
    s = cosine(pooled_BMD[a, i], pooled_BMD[a, j])
    return s * math.exp(s) / total


def slow_row_scores(pooled_BMD, present_BM, a, i, j):
    """S'_ij over the length of its row."""
    row = [slow_scores(pooled_BMD, present_BM, a, i, m) for m in range(5) if present_BM[a, m]]
    return slow_scores(pooled_BMD, present_BM, a, i, j) / math.sqrt(sum(x * x for x in row))


def slow_posterior(pooled_BMD, present_BM, a, i, j):
    """Geometric mean of both directions' probability of the product's own view."""
    p = 1.0
    for x, y in ((i, j), (j, i)):
        logits = {
            b: cosine(pooled_BMD[a, x], pooled_BMD[b, y]) / 0.5
            for b in range(len(pooled_BMD))
            if present_BM[b, y]
        }
        p *= math.exp(logits[a]) / sum(math.exp(value) for value in logits.values())
    return math.sqrt(p)


def slow_relative(pooled_BMD, present_BM, a, i, j):
    """Cosine, corrected for that of views of different products."""
    negatives = [
        cosine(pooled_BMD[b, i], pooled_BMD[c, j])
        for b in range(len(pooled_BMD))
        for c in range(len(pooled_BMD))
        if b != c and present_BM[b, i] and present_BM[c, j]
    ]
    mean = sum(negatives) / len(negatives)
    return max(0.0, (cosine(pooled_BMD[a, i], pooled_BMD[a, j]) - mean) / (1 - mean))


def slow_pair_mean(pooled_BMD, present_BM, a, i, j):
    """Mean posterior of the products that have both."""
    both = [b for b in range(len(pooled_BMD)) if present_BM[b, i] and present_BM[b, j]]
    return sum(slow_posterior(pooled_BMD, present_BM, b, i, j) for b in both) / len(both)


SLOW = {
    "uniform": lambda *product: 1.0,
    "scores": lambda *product: max(0.0, slow_scores(*product)),
    "scores_row": lambda *product: max(0.0, slow_row_scores(*product)),
    "scores_flowing": lambda *product: max(0.0, slow_scores(*product)),
    "logits": slow_scores,
    "logits_cold": slow_scores,
    "official": slow_row_scores,
    "relative": slow_relative,
    "posterior": slow_posterior,
    "posterior_half": lambda *product: math.sqrt(slow_posterior(*product)),
    "pair_mean": slow_pair_mean,
}


def test_weights_equal_a_loop(situation):
    pooled_BMD, present_BM, pairs, _ = situation
    assert pairs.valid_BP.sum() > 20
    for name, slow in SLOW.items():
        weight_BP = WEIGHTINGS[name].weigh(*situation)
        for a, p in pairs.valid_BP.nonzero().tolist():
            expected = slow(pooled_BMD, present_BM, a, *PAIRS[p])
            assert weight_BP[a, p].item() == pytest.approx(expected, abs=1e-5), name


def test_oracle_equals_the_truth(situation):
    true_BM = situation[3]
    weight_BP = WEIGHTINGS["oracle"].weigh(*situation)
    expected = [[float(row[i] and row[j]) for i, j in PAIRS] for row in true_BM.tolist()]
    assert weight_BP.tolist() == expected
    assert 0 < weight_BP.mean() < 1


def test_every_weighting_has_a_reference():
    controls = {name for name, weighting in WEIGHTINGS.items() if weighting.matched_to}
    assert set(SLOW) | controls | {"oracle"} == set(WEIGHTINGS)
    assert all(WEIGHTINGS[name].matched_to in WEIGHTINGS for name in controls)


def test_rates_of_training_and_test_views():
    for regime in REGIMES.values():
        train, test = (draw_views(regime, 4000, 4, seed=0, test=test) for test in (False, True))
        for rates, happened_BM in (
            (regime.mismatch, ~train.true_BM),
            (regime.missing, ~train.present_BM),
        ):
            assert happened_BM.double().mean(0).tolist() == pytest.approx(rates, abs=0.03)
        assert test.true_BM.all()
        assert test.present_BM.all()
        assert not train.view_BML[~train.present_BM].any()


def test_only_mismatched_views_show_another_product():
    """With hardly any noise, a linear map fitted on the true pairs explains those alone."""
    regime = Regime(sigma=(1e-4,) * 5, mismatch=(0.0, 0.5, 0.0, 0.0, 0.0))
    views = draw_views(regime, 3000, 3, seed=1)
    first_BL, second_BL = views.view_BML[:, 0], views.view_BML[:, 1]
    true_B = views.true_BM[:, 1]
    rest_BL = second_BL - first_BL @ torch.linalg.lstsq(first_BL[true_B], second_BL[true_B])[0]
    explained = [
        1 - float(rest_BL[rows_B].var() / second_BL[rows_B].var()) for rows_B in (true_B, ~true_B)
    ]
    assert explained[0] > 0.8
    assert explained[1] < 0


def test_views_depend_on_the_seed():
    regime = REGIMES["mismatch_noise"]
    first, again, other = (draw_views(regime, 50, 4, seed).view_BML for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    test = draw_views(regime, 50, 4, 0, test=True).view_BML
    assert not torch.isclose(first, test).any(dim=2).all()


def test_information_by_hand():
    regime = Regime(sigma=(0.0, 1.0, 1.0, float("inf"), 0.5), mismatch=(0, 0, 0.5, 0, 0))
    info_P, info_M = information(regime, latent=4)
    by_pair = dict(zip(PAIRS, info_P.tolist(), strict=True))
    assert by_pair[0, 1] == pytest.approx(-2 * math.log(1 - 0.5))
    assert by_pair[1, 2] == pytest.approx(-2 * 0.5 * math.log(1 - 0.25))
    assert by_pair[0, 3] == 0
    assert info_M[1].item() == pytest.approx(by_pair[0, 1])
    assert info_M[2].item() == pytest.approx(by_pair[0, 2])


def test_runs_give_finite_figures():
    for regime, weighting in [("mismatch", w) for w in WEIGHTINGS] + [("missing", "posterior")]:
        figures = run_toy(ToySetting(regime, weighting, **SHORT))
        assert all(math.isfinite(value) for value in figures.values()), weighting
        assert {f"own_{m}" for m in MODALITIES} < set(figures)
        assert ("auc_weights" in figures) == (regime == "mismatch")


def test_run_is_deterministic_and_depends_on_the_seed():
    first, again, other = (
        run_toy(ToySetting("mismatch", "posterior", seed, **SHORT)) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_weightings_are_equal_during_the_uniform_start():
    setting = {**SHORT, "steps": 3, "uniform_steps": 3}
    recalls = {
        run_toy(ToySetting("mismatch", w, **setting))["recall"] for w in ("uniform", "oracle")
    }
    assert len(recalls) == 1


def test_matched_control_has_the_same_mean_weight():
    weights, control = (
        run_toy(ToySetting("noise", name, **SHORT)) for name in ("logits", "logits_control")
    )
    assert control["weight"] == pytest.approx(weights["weight"])
    assert "order_weights" in weights
    assert "order_weights" not in control


def test_oracle_beats_uniform_under_mismatch():
    setting = {"steps": 150, "uniform_steps": 30, "products": 4096}
    recall = {w: run_toy(ToySetting("mismatch", w, **setting)) for w in ("uniform", "oracle")}
    assert recall["oracle"]["recall"] > recall["uniform"]["recall"] + 0.08
    assert recall["oracle"]["auc_weights"] == 1


def test_weights_collapse_only_with_flowing_gradient():
    setting = {"steps": 150, "uniform_steps": 30, "products": 2048, "test_products": 100}
    weight = {
        name: run_toy(ToySetting("noise", name, **setting))["weight"]
        for name in ("scores", "scores_flowing")
    }
    assert weight["scores_flowing"] < 0.01 < 0.05 < weight["scores"]


def test_the_study_covers_all_regimes_and_weightings():
    factors = [cell.factors for cell in STUDIES["toy"](False).cells]
    assert {f["regime"] for f in factors} == set(REGIMES)
    assert {f["weighting"] for f in factors} == set(WEIGHTINGS)


def test_invalid_settings_raise():
    for wrong, message in (
        ({"regime": "dirty"}, "unknown regime 'dirty'; known: clean"),
        ({"weighting": "best"}, "unknown weighting 'best'; known: uniform"),
        ({"steps": 0}, "toy steps must be positive"),
        ({"batch": 10_000}, "toy batch must not exceed"),
    ):
        with pytest.raises(ValueError, match=message):
            ToySetting(**wrong)
