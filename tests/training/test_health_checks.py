"""Health checks: losses, collapse, overfitting, alignment, uniformity, duplicates."""

import math

import numpy as np
import pytest
import torch

from scale.training.health_checks import (
    BEST_BY,
    COLLAPSED,
    FEW_PRODUCTS,
    alignment,
    check_health,
    collapse_warning,
    duplicate_warnings,
    mean_cosine,
    small_validation_warning,
    uniformity,
)


def curve(*values):
    return np.arange(1.0, len(values) + 1), np.array(values, dtype=float)


def test_non_finite_losses_are_found():
    curves = {"loss/MLM": curve(1, math.nan, math.inf), "val/mAP@1": curve(math.nan)}
    (found,) = check_health(curves, 3)
    assert (found.kind, found.key, found.step, found.value) == ("not_finite", "loss/MLM", 2, 2)


def test_uniformity_near_zero_after_a_quarter_of_the_run_is_collapse():
    curves = {"val/uniformity": curve(-1, -0.05, -0.01)}
    (found,) = check_health(curves, 12)
    assert (found.kind, found.step) == ("collapse", 2)
    assert check_health(curves, 100) == []
    assert check_health({"val/uniformity": curve(-0.01, -1)}, 4) == []
    assert check_health({"val/uniformity": curve(-1, math.nan)}, 2) == []


def test_collapse_limit_corresponds_to_the_mean_cosine():
    torch.manual_seed(0)
    for spread, collapsed in ((0.10, True), (0.2, False)):
        # Mean cosine 1 / (1 + spread^2) around one common direction.
        pooled_NMD = torch.zeros(400, 5, 512)
        pooled_NMD[..., 0] = 1
        pooled_NMD += spread * torch.randn(400, 5, 512) / 512**0.5
        assert (1 / (1 + spread**2) > COLLAPSED) == collapsed
        value = uniformity(pooled_NMD, torch.ones(400, 5, dtype=torch.bool))
        assert bool(check_health({"val/uniformity": curve(value)}, 1)) == collapsed


@pytest.mark.parametrize(
    ("validation", "loss", "overfitting"),
    [
        ([1, 2, 5, 6, 6, 5, 4, 3], range(8, 0, -1), True),
        ([1, 2, 5, 6, 6, 5, 4, 3], range(8), False),  # the loss rises: not overfitting
        ([1, 2, 5, 6, 6, 6.2, 5.9, 6], range(8, 0, -1), False),  # noise
        ([1, 2, 3, 4, 5, 6, 7, 5], range(8, 0, -1), False),  # one bad validation
        ([6, 1], range(2, 0, -1), False),
        ([], range(0), False),
    ],
)
def test_falling_validation_with_falling_loss_is_overfitting(validation, loss, overfitting):
    for key in (BEST_BY, "val/Recall@10"):
        curves = {key: curve(*validation), "loss/total": curve(*loss)}
        found = check_health(curves, 8)
        assert [(each.kind, each.key) for each in found] == [("overfitting", key)] * overfitting
        if overfitting:
            assert found[0].best > found[0].value


def test_overfitting_compares_means_of_the_loss():
    """Also if it was logged more often since the best validation than before."""
    loss = np.array([2.0, 5, 6, 7, 8]), np.array([8.0, 5, 5, 5, 5])
    curves = {"val/Recall@10": curve(1, 2, 5, 6, 6, 5, 4, 3), "loss/total": loss}
    (found,) = check_health(curves, 8)
    assert (found.kind, found.step) == ("overfitting", 4)


def points(products=40, width=8):
    random = torch.Generator().manual_seed(0)
    present_NM = torch.rand(products, 5, generator=random) > 0.3
    present_NM[:2] = True
    return torch.randn(products, 5, width, generator=random), present_NM


def test_alignment_uniformity_and_mean_cosine_equal_loops():
    pooled_NMD, present_NM = points()
    unit = pooled_NMD / pooled_NMD.norm(dim=-1, keepdim=True)
    distances = [
        float((unit[n, i] - unit[n, j]).square().sum())
        for n in range(len(unit)) for i in range(5) for j in range(i + 1, 5)
        if present_NM[n, i] and present_NM[n, j]
    ]  # fmt: skip
    assert alignment(pooled_NMD, present_NM) == pytest.approx(np.mean(distances), rel=1e-5)
    logs, cosines = [], {}
    for m, name in enumerate(("text", "table", "image", "video", "audio")):
        here = [n for n in range(len(unit)) if present_NM[n, m]]
        pairs = [(a, b) for k, a in enumerate(here) for b in here[k + 1 :]]
        squares = [float((unit[a, m] - unit[b, m]).square().sum()) for a, b in pairs]
        logs.append(math.log(np.mean([math.exp(-2 * s) for s in squares])))
        cosines[name] = np.mean([float(unit[a, m] @ unit[b, m]) for a, b in pairs])
    assert uniformity(pooled_NMD, present_NM) == pytest.approx(np.mean(logs), rel=1e-4)
    assert mean_cosine(pooled_NMD, present_NM) == pytest.approx(cosines, abs=1e-5)


def test_collapse_warning_names_the_modality():
    pooled_NMD, present_NM = points()
    assert collapse_warning(pooled_NMD, present_NM) is None
    pooled_NMD[:, 3] = torch.ones(8) + 0.01 * pooled_NMD[:, 3]
    warning = collapse_warning(pooled_NMD, present_NM)
    assert "video" in warning
    assert "audio" not in warning


def test_duplicate_warning_has_the_expected_number_of_false_negatives():
    """Six audio files, three of them equal: 6/30 duplicates per other product on average."""
    content_id_NM = torch.full((6, 5), -1)
    content_id_NM[:, 0] = torch.arange(6)
    content_id_NM[:, 4] = torch.tensor([0, 0, 0, 1, 2, 3])
    (sentence,) = duplicate_warnings(content_id_NM, batch_size=6, ignored=True)
    assert sentence.startswith("audio: 3 of 6 products")
    assert "about 1.00 false negatives" in sentence
    assert "excluded from the loss" in sentence
    assert "counted as negatives" in duplicate_warnings(content_id_NM, 6, ignored=False)[0]


def test_a_small_validation_split_is_reported():
    assert small_validation_warning(FEW_PRODUCTS) is None
    assert "only 9 products in the split val" in small_validation_warning(9)
    assert "best is the last" in small_validation_warning(1)
