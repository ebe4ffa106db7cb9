"""The ten-pair loss against triple loops and the authors' numbers, and with missing modalities."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scale.losses.contrastive import info_nce, pair_losses
from scale.modalities import PAIRS
from scale.model.scores import inter_modality_scores

AUTHORS_ORDER = [0, 2, 1, 3, 4]


def slow_pair_loss(
    pooled_BMD, present_BM, pair, a, *, temperature, both, weight, content_id_BM, smoothing
):
    """Return InfoNCE of product a and one pair in both directions, candidate by candidate."""

    def cosine(x, y):
        return float(x.dot(y) / (x.norm() * y.norm()))

    def false_negative(b):
        if content_id_BM is None:
            return False
        return any(content_id_BM[a, m] == content_id_BM[b, m] >= 0 for m in pair)

    total = 0.0
    for i, j in (pair, pair[::-1]):
        anchor, candidates = pooled_BMD[a, i], [pooled_BMD[a, j]]
        for b in range(len(pooled_BMD)):
            if b == a or false_negative(b):
                continue
            if present_BM[b, j]:
                candidates.append(pooled_BMD[b, j])
            if both and present_BM[b, i]:
                candidates.append(pooled_BMD[b, i])
        logits = [weight * cosine(anchor, candidate) / temperature for candidate in candidates]
        for n, logit in enumerate(logits):
            share = smoothing / len(logits) + (1 - smoothing) * (n == 0)
            total += share * (math.log(sum(map(math.exp, logits))) - logit)
    return total / 2


@given(
    seed=st.integers(0, 2**31),
    bits=st.lists(st.integers(0, 31), min_size=2, max_size=5),
    both=st.booleans(),
    weighted=st.booleans(),
    duplicates=st.booleans(),
    smoothing=st.sampled_from((0.0, 0.1)),
)
def test_equals_the_triple_loop(seed, bits, both, weighted, duplicates, smoothing):
    random = torch.Generator().manual_seed(seed)
    pooled_BMD = torch.randn(len(bits), 5, 6, generator=random)
    present_BM = torch.tensor([[bool(b >> m & 1) for m in range(5)] for b in bits])
    weight_BP = torch.rand(len(bits), 10, generator=random) if weighted else None
    content_id_BM = None
    if duplicates:
        content_id_BM = torch.randint(0, 3, (len(bits), 5), generator=random)
        content_id_BM[~present_BM] = -1
    pairs = pair_losses(
        pooled_BMD, present_BM, 0.5, "both" if both else "cross", weight_BP, content_id_BM,
        label_smoothing=smoothing,
    )  # fmt: skip
    for p, pair in enumerate(PAIRS):
        for a in range(len(bits)):
            valid = bool(present_BM[a, pair[0]] and present_BM[a, pair[1]])
            assert pairs.valid_BP[a, p].item() == valid
            expected = 0.0
            if valid:
                expected = slow_pair_loss(
                    pooled_BMD, present_BM, pair, a, temperature=0.5, both=both,
                    weight=1.0 if weight_BP is None else float(weight_BP[a, p]),
                    content_id_BM=content_id_BM, smoothing=smoothing,
                )  # fmt: skip
            assert pairs.loss_BP[a, p].item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_the_ten_pairs_equal_info_nce_of_each_pair():
    pooled_BMD = torch.randn(6, 5, 8, generator=torch.Generator().manual_seed(0))
    mean_P = pair_losses(pooled_BMD, torch.ones(6, 5, dtype=torch.bool), 0.2).mean_P()
    expected = [info_nce(pooled_BMD[:, i], pooled_BMD[:, j], 0.2) for i, j in PAIRS]
    torch.testing.assert_close(mean_P, torch.stack(expected))


def test_losses_of_anchors_are_rows_of_those_of_all_products():
    for negatives in ["cross", "both"]:
        random = torch.Generator().manual_seed(0)
        pooled_BMD = torch.randn(7, 5, 8, generator=random)
        present_BM = torch.rand(7, 5, generator=random) < 0.7
        weight_BP = torch.rand(7, 10, generator=random)
        content_id_BM = torch.where(present_BM, torch.arange(7)[:, None] % 3, -1)
        options = {"negatives": negatives, "content_id_BM": content_id_BM}
        whole = pair_losses(pooled_BMD, present_BM, logit_weight_BP=weight_BP, **options)
        for rows in (slice(0, 3), slice(3, 7)):
            part = pair_losses(
                pooled_BMD, present_BM, logit_weight_BP=weight_BP[rows], anchors=rows, **options
            )
            torch.testing.assert_close(part.loss_BP, whole.loss_BP[rows])
            assert torch.equal(part.valid_BP, whole.valid_BP[rows])


def two_modalities(numbers):
    """Return the reference's a and b as the first two modalities; the others are missing."""
    pooled_BMD = torch.zeros(3, 5, 4)
    pooled_BMD[:, 0], pooled_BMD[:, 1] = torch.tensor(numbers["a"]), torch.tensor(numbers["b"])
    present_BM = torch.tensor([[True, True, False, False, False]] * 3)
    return pooled_BMD, present_BM


def test_info_nce_equals_the_authors_numbers(reference):
    numbers = reference["info_nce"]
    pooled_BMD, present_BM = two_modalities(numbers)
    plain = pair_losses(pooled_BMD, present_BM, 0.07, "both").mean_P()[0]
    assert plain.item() == pytest.approx(numbers["loss_unweighted"], abs=1e-5)
    weight_BP = torch.tensor(numbers["sample_weight"])[:, None].expand(-1, 10)
    weighted = pair_losses(pooled_BMD, present_BM, 0.07, "both", weight_BP)
    assert weighted.mean_P()[0].item() == pytest.approx(numbers["loss_weighted"], abs=1e-5)
    rows = torch.tensor(numbers["loss_per_row_weighted"]).view(2, 3).mean(0)
    torch.testing.assert_close(weighted.loss_BP[:, 0], rows, atol=1e-5, rtol=0)


def test_ten_pairs_and_their_gradient_equal_the_authors_numbers(reference):
    cases = [
        ("grad_as_published_not_detached", False),
        ("grad_if_weights_were_detached", True),
    ]
    for key, detach in cases:
        numbers = reference["clr_loss_10_pairs"]
        pooled_MBD = torch.tensor(numbers["features_5xBxH"]).requires_grad_()
        pooled_BMD = pooled_MBD.transpose(0, 1)
        present_BM = torch.ones(3, 5, dtype=torch.bool)
        # In the authors' own order: only the upper triangle is used, and it is not symmetric.
        source = pooled_BMD.detach() if detach else pooled_BMD
        weighted_BMM = inter_modality_scores(source, row_normalise=True).weighted_BMM
        weight_BP = torch.stack([weighted_BMM[:, i, j] for i, j in PAIRS], dim=1)
        loss = pair_losses(pooled_BMD, present_BM, 0.07, "both", weight_BP).mean_P().mean()
        assert loss.item() == pytest.approx(numbers["loss"], abs=1e-5)
        loss.backward()
        torch.testing.assert_close(pooled_MBD.grad, torch.tensor(numbers[key]), atol=1e-5, rtol=0)


def test_absent_features_never_matter_even_as_nan():
    for negatives in ["cross", "both"]:
        pooled_BMD = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0))
        present_BM = torch.tensor(
            [[1, 1, 0, 1, 0], [1, 0, 0, 0, 1], [0, 0, 0, 0, 0], [1] * 5]
        ).bool()
        clean = pair_losses(pooled_BMD, present_BM, negatives=negatives)
        poisoned_BMD = pooled_BMD.masked_fill(
            ~present_BM[:, :, None], float("nan")
        ).requires_grad_()
        poisoned = pair_losses(poisoned_BMD, present_BM, negatives=negatives)
        torch.testing.assert_close(clean.loss_BP, poisoned.loss_BP)
        poisoned.loss_BP.sum().backward()
        assert poisoned_BMD.grad.isfinite().all()
        assert (poisoned_BMD.grad[~present_BM] == 0).all()


def test_the_mean_counts_only_products_that_have_the_pair():
    pooled_BMD = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0))
    present_BM = torch.ones(4, 5, dtype=torch.bool)
    present_BM[2:, 4] = False
    pairs = pair_losses(pooled_BMD, present_BM)
    last = PAIRS.index((0, 4))
    torch.testing.assert_close(pairs.mean_P()[last], pairs.loss_BP[:2, last].mean())
    weight_BP = torch.tensor([2.0, 0.0, 5.0, 5.0])[:, None].expand(-1, 10)
    torch.testing.assert_close(pairs.mean_P(weight_BP)[last], pairs.loss_BP[0, last])


def test_duplicates_are_not_negatives_of_each_other():
    """Two products with the same audio would otherwise be penalised for matching each other."""
    pooled_BMD = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(0))
    pooled_BMD[1] = pooled_BMD[0]
    present_BM = torch.ones(3, 5, dtype=torch.bool)
    content_id_BM = torch.arange(15).view(3, 5)
    content_id_BM[1, 4] = content_id_BM[0, 4]
    plain = pair_losses(pooled_BMD, present_BM).loss_BP
    aware = pair_losses(pooled_BMD, present_BM, content_id_BM=content_id_BM).loss_BP
    with_audio = [p for p, pair in enumerate(PAIRS) if 4 in pair]
    without = [p for p, pair in enumerate(PAIRS) if 4 not in pair]
    assert (aware[:2][:, with_audio] < plain[:2][:, with_audio]).all()
    torch.testing.assert_close(aware[:, without], plain[:, without])
    torch.testing.assert_close(aware[2], plain[2])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_converted_before_the_norm(dtype):
    """Loss and gradient are those of float32, also with missing modalities and tiny features."""
    random = torch.Generator().manual_seed(0)
    pooled_BMD = torch.randn(6, 5, 8, generator=random).to(dtype)
    pooled_BMD[0, 1] *= 1e-4
    present_BM = torch.rand(6, 5, generator=random) < 0.7
    weight_BP = torch.rand(6, 10, generator=random)
    found = []
    for features_BMD in (pooled_BMD, pooled_BMD.float()):
        leaf_BMD = features_BMD.clone().requires_grad_()
        scores = inter_modality_scores(leaf_BMD, present_BM)
        loss_P = pair_losses(leaf_BMD, present_BM, 0.07).mean_P(weight_BP)
        (loss_P.sum() + scores.weighted_BMM.sum()).backward()
        found.append((loss_P.detach(), scores.weighted_BMM.detach(), leaf_BMD.grad.float()))
    (*half, half_gradient), (*single, gradient) = found
    for values, expected in zip(half, single, strict=True):
        torch.testing.assert_close(values, expected, rtol=0, atol=0)
    # The gradients of loss and scores are rounded before they are added.
    torch.testing.assert_close(half_gradient, gradient, rtol=0.02, atol=0.002)
