"""Scores against a double loop and the authors' numbers, and with missing modalities."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scale.model.scores import inter_modality_scores

AUTHORS_ORDER = [0, 2, 1, 3, 4]
"""Indices from the authors' order (text, image, table, video, audio) to ours, and back."""


def slow_scores(pooled_BMD, present_BM):
    """Return S, softmax and S' of each product, entry by entry."""
    products, modalities, _ = pooled_BMD.shape
    cosine = torch.zeros(products, modalities, modalities)
    share, weighted = torch.zeros_like(cosine), torch.zeros_like(cosine)
    for b in range(products):
        here = [m for m in range(modalities) if present_BM[b, m]]
        for i in here:
            for j in here:
                f, g = pooled_BMD[b, i], pooled_BMD[b, j]
                cosine[b, i, j] = f.dot(g) / (f.norm() * g.norm())
            total = sum(math.exp(cosine[b, i, j]) for j in here)
            for j in here:
                share[b, i, j] = math.exp(cosine[b, i, j]) / total
                weighted[b, i, j] = cosine[b, i, j] * share[b, i, j]
    return cosine, share, weighted


@given(seed=st.integers(0, 2**31), bits=st.lists(st.integers(0, 31), min_size=1, max_size=5))
def test_equals_the_double_loop(seed, bits):
    random = torch.Generator().manual_seed(seed)
    pooled_BMD = torch.randn(len(bits), 5, 7, generator=random)
    present_BM = torch.tensor([[bool(b >> m & 1) for m in range(5)] for b in bits])
    scores = inter_modality_scores(pooled_BMD, present_BM)
    for fast, slow in zip(vars(scores).values(), slow_scores(pooled_BMD, present_BM), strict=True):
        torch.testing.assert_close(fast, slow)


def test_equals_the_authors_numbers(reference):
    for case in ["relu_features", "signed_features", "zero_feature", "identical", "orthogonal"]:
        numbers = reference[f"graph_{case}"]
        pooled_BMD = torch.tensor(numbers["features_5xBxH"]).transpose(0, 1)[:, AUTHORS_ORDER]
        scores = inter_modality_scores(pooled_BMD)
        found = {
            "S_cosine_Bx5x5": scores.cosine_BMM,
            "softmax_rows_Bx5x5": scores.softmax_BMM,
            "S_prime_Bx5x5": scores.weighted_BMM,
            "S_prime_rownormalised_Bx5x5": inter_modality_scores(
                pooled_BMD, row_normalise=True
            ).weighted_BMM,
        }
        for name, found_BMM in found.items():
            expected_BMM = torch.tensor(numbers[name])[:, AUTHORS_ORDER][:, :, AUTHORS_ORDER]
            torch.testing.assert_close(found_BMM, expected_BMM, atol=1e-5, rtol=0)


def test_own_weight_is_the_softmax_share():
    for cosine, share in [(0.0, 0.405), (0.9, 0.216)]:
        gram_MM = torch.full((5, 5), cosine).fill_diagonal_(1.0)
        pooled_BMD = torch.linalg.cholesky(gram_MM)[None]
        assert inter_modality_scores(pooled_BMD).weighted_BMM[0, 0, 0].item() == pytest.approx(
            share, abs=5e-4
        )


def test_absent_features_never_matter_even_as_nan():
    pooled_BMD = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(1))
    present_BM = torch.tensor([[1, 0, 1, 1, 0]] * 3 + [[0, 0, 0, 0, 0]]).bool()
    clean = inter_modality_scores(pooled_BMD, present_BM)
    poisoned_BMD = pooled_BMD.masked_fill(~present_BM[:, :, None], float("nan")).requires_grad_()
    poisoned = inter_modality_scores(poisoned_BMD, present_BM)
    for a, b in zip(vars(clean).values(), vars(poisoned).values(), strict=True):
        torch.testing.assert_close(a, b)
        assert (a[~present_BM] == 0).all()
        assert (a.transpose(1, 2)[~present_BM] == 0).all()
    poisoned.weighted_BMM.sum().backward()
    assert (poisoned_BMD.grad[~present_BM] == 0).all()
    assert poisoned_BMD.grad.isfinite().all()


def test_batch_level_averages_over_the_products_that_have_both():
    pooled_BMD = torch.randn(6, 5, 8, generator=torch.Generator().manual_seed(2))
    present_BM = torch.ones(6, 5, dtype=torch.bool)
    present_BM[:2, 4] = False
    cosine_BMM = inter_modality_scores(pooled_BMD, present_BM).cosine_BMM
    level = inter_modality_scores(pooled_BMD, present_BM, level="batch").cosine_BMM
    torch.testing.assert_close(level[3, 0, 4], cosine_BMM[2:, 0, 4].mean())
    torch.testing.assert_close(level[3, 0, 1], cosine_BMM[:, 0, 1].mean())
    assert level[0, 0, 4] == 0


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="present_BM"):
        inter_modality_scores(torch.zeros(2, 5, 3), torch.ones(2, 4, dtype=torch.bool))
