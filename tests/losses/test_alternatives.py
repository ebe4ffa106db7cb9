"""Losses of other authors: their numbers, loops over candidates, and missing modalities."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scale.losses.alternatives import (
    TRIPLES,
    confu_losses,
    gram_losses,
    rince_losses,
    siglip_losses,
    symile_losses,
    valid_terms,
)
from scale.losses.contrastive import pair_losses
from scale.modalities import MODALITIES, PAIRS

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "contrast_reference.json").read_text("utf-8")
)
WIDTH, T, SMOOTHING = 6, 0.5, 0.2


def fused_of(pooled_BMD):
    """Return a fusion of each pair that depends on both features and not on their order."""
    fused = [(pooled_BMD[:, i] + 2 * pooled_BMD[:, j]).roll(1, dims=1) for i, j in PAIRS]
    return torch.stack(fused, dim=1)


LOSSES = {
    "pairwise": lambda f, p, **o: pair_losses(f, p, T, label_smoothing=SMOOTHING, **o),
    "siglip": lambda f, p, **o: siglip_losses(f, p, T, -2.0, **o),
    "rince": lambda f, p, **o: rince_losses(f, p, T, 0.4, 0.05, **o),
    "confu": lambda f, p, **o: confu_losses(
        f, fused_of(f), p, T, 0.3, label_smoothing=SMOOTHING, **o
    ),
    "symile": lambda f, p, **o: symile_losses(f, p, T, label_smoothing=SMOOTHING, **o),
    "gram": lambda f, p, **o: gram_losses(f, p, T, label_smoothing=SMOOTHING, **o),
}
"""Each loss with options that all differ from the defaults."""
patterns = st.lists(st.integers(0, 31), min_size=1, max_size=6)


def products(seed, bits, duplicates=True):
    """Return features, presence and content numbers; `bits` encode the modalities of a product."""
    random = torch.Generator().manual_seed(seed)
    pooled_BMD = torch.randn(len(bits), 5, WIDTH, generator=random, dtype=torch.float64)
    present_BM = (torch.tensor(bits).long()[:, None] >> torch.arange(5)) % 2 == 1
    content_id_BM = torch.randint(0, 2 if duplicates else 10**9, (len(bits), 5), generator=random)
    return pooled_BMD, present_BM, content_id_BM.masked_fill(~present_BM, -1)


def mean_of_terms(found):
    """Return the mean over products, then over the terms that exist."""
    return found.mean_P()[found.valid_BP.any(0)].mean().item()


def test_equal_the_authors_numbers():
    pooled_BMD = torch.tensor(REFERENCE["pooled_BMD"])
    fused_BPD = torch.zeros(5, 10, 8)
    for place, name in enumerate(REFERENCE["fused_pairs"]):
        pair = tuple(MODALITIES.index(m) for m in name.split("+"))
        fused_BPD[:, PAIRS.index(pair)] = torch.tensor(REFERENCE["fused_BFD"])[:, place]

    def first(count):
        return (torch.arange(5) < count).expand(5, 5)

    def ours(loss, case):
        t, present_BM = case.get("temperature"), first(case.get("modalities", 2))
        if loss == "siglip":
            return siglip_losses(pooled_BMD, present_BM, t, case["bias"])
        if loss == "rince":
            options = case["q"], case["share"], case["negatives"]
            return rince_losses(pooled_BMD, present_BM, t, *options)
        if loss == "confu":
            return confu_losses(pooled_BMD, fused_BPD, first(3), t, case["share"])
        if loss == "gram":
            options = {"label_smoothing": case["label_smoothing"]}
            return gram_losses(pooled_BMD, present_BM, t, **options)
        # The authors' sum over dimensions, without our factor.
        t = 8 ** (case["modalities"] / 2 - 1) / case["logit_scale"]
        return symile_losses(pooled_BMD, present_BM, t)

    for loss in ("siglip", "rince", "confu", "gram", "symile"):
        assert len(REFERENCE[loss]["commit"]) == 40
        for case in REFERENCE[loss]["cases"]:
            found = mean_of_terms(ours(loss, case))
            assert found == pytest.approx(case["loss"], abs=1e-5), (loss, case)


def smoothed(logits, own):
    """Return the cross-entropy of a list of logits with smoothed labels."""
    total = math.log(sum(math.exp(s) for s in logits))
    shares = [SMOOTHING / len(logits) + (1 - SMOOTHING) * (n == own) for n in range(len(logits))]
    return sum(share * (total - s) for share, s in zip(shares, logits, strict=True))


def cosine(x, y):
    return float(x.dot(y) / (x.norm() * y.norm()))


def same(content_id_BM, a, b, m):
    return a == b or bool(content_id_BM[a, m] == content_id_BM[b, m] >= 0)


def slow_pairs(row_loss):
    """Return the slow twin of a loss of pairs from a function of its logits and the own place."""

    def slow(pooled_BMD, present_BM, content_id_BM, a):
        for i, j in PAIRS:
            if not (present_BM[a, i] and present_BM[a, j]):
                yield None
                continue
            losses = []
            for x, y in ((i, j), (j, i)):
                kept = [
                    b for b in range(len(pooled_BMD))
                    if b == a or (present_BM[b, y] and not same(content_id_BM, a, b, i)
                                  and not same(content_id_BM, a, b, j))
                ]  # fmt: skip
                logits = [cosine(pooled_BMD[a, x], pooled_BMD[b, y]) / T for b in kept]
                losses.append(row_loss(logits, kept.index(a)))
            yield sum(losses) / 2

    return slow


def slow_siglip(logits, own):
    signs = [1 if n == own else -1 for n in range(len(logits))]
    return sum(math.log1p(math.exp(-y * (s - 2))) for y, s in zip(signs, logits, strict=True))


def slow_rince(logits, own, q=0.4, share=0.05):
    return -math.exp(q * logits[own]) / q + (share * sum(map(math.exp, logits))) ** q / q


def slow_confu(pooled_BMD, present_BM, content_id_BM, a):
    fused_BPD = fused_of(pooled_BMD)
    for loss in slow_pairs(smoothed)(pooled_BMD, present_BM, content_id_BM, a):
        yield None if loss is None else 0.7 * loss
    for p, k in TRIPLES:
        i, j = PAIRS[p]
        if not present_BM[a, [i, j, k]].all():
            yield None
            continue
        losses = []
        for fused_first in (True, False):
            needed = [k] if fused_first else [i, j]
            kept = [
                b for b in range(len(pooled_BMD))
                if b == a or (present_BM[b, needed].all() and not same(content_id_BM, a, b, k)
                    and not (same(content_id_BM, a, b, i) and same(content_id_BM, a, b, j)))
            ]  # fmt: skip
            pairs = [(a, b) if fused_first else (b, a) for b in kept]
            logits = [cosine(fused_BPD[x, p], pooled_BMD[y, k]) / T for x, y in pairs]
            losses.append(smoothed(logits, kept.index(a)))
        yield 0.3 * sum(losses) / 2


def slow_symile(pooled_BMD, present_BM, content_id_BM, a):
    unit_BMD = pooled_BMD / pooled_BMD.norm(dim=2, keepdim=True)
    count = len(pooled_BMD)

    def following(b, k, place):
        """Return b, or the 1st, 2nd, ... product after b that has k."""
        after = [(b + n) % count for n in range(1, count + 1)]
        having = [c for c in after if present_BM[c, k]]
        return b if place == 0 else having[(place - 1) % len(having)]

    def score(parts):
        product_D = torch.stack([unit_BMD[c, k] for k, c in parts.items()]).prod(0)
        return float(product_D.sum()) * WIDTH ** (len(parts) / 2 - 1) / T

    here = [k for k in range(5) if present_BM[a, k]]
    for m in range(5):
        rest = [k for k in here if k != m]
        if m not in here or not rest:
            yield None
            continue
        kept, logits = [], []
        for b in range(count):
            if b != a and not present_BM[b, rest[0]]:
                continue
            parts = {k: a if b == a else following(b, k, n) for n, k in enumerate(rest)}
            if b == a or not all(
                same(content_id_BM, a, c, k) or same(content_id_BM, a, c, m)
                for k, c in parts.items()
            ):
                kept.append(b)
                logits.append(score({m: a, **parts}))
        yield smoothed(logits, kept.index(a))


def slow_gram(pooled_BMD, present_BM, content_id_BM, a):
    here = [k for k in range(5) if present_BM[a, k]]
    if len(here) < 2:
        yield None
        return
    anchor, *rest = here
    losses = []
    for of_anchor in (True, False):
        needed = rest if of_anchor else [anchor]
        kept = [
            b for b in range(len(pooled_BMD))
            if b == a or (present_BM[b, needed].all() and not same(content_id_BM, a, b, anchor)
                          and not all(same(content_id_BM, a, b, k) for k in rest))
        ]  # fmt: skip
        logits = []
        for b in kept:
            x, y = (a, b) if of_anchor else (b, a)
            vectors_SD = torch.stack([pooled_BMD[x, anchor], *pooled_BMD[y, rest]])
            vectors_SD = vectors_SD / vectors_SD.norm(dim=1, keepdim=True)
            # The volume by orthogonalisation: the product of the distances to the earlier vectors.
            logits.append(-float(torch.linalg.qr(vectors_SD.T).R.diagonal().abs().prod()) / T)
        losses.append(smoothed(logits, kept.index(a)))
    yield sum(losses) / 2


SLOW = {
    "siglip": slow_pairs(slow_siglip),
    "rince": slow_pairs(slow_rince),
    "confu": slow_confu,
    "symile": slow_symile,
    "gram": slow_gram,
}


@pytest.mark.parametrize("loss", SLOW)
@given(seed=st.integers(0, 2**31), bits=patterns, duplicates=st.booleans())
def test_equal_the_loop_over_candidates(loss, seed, bits, duplicates):
    batch = products(seed, bits, duplicates)
    found = LOSSES[loss](*batch[:2], content_id_BM=batch[2])
    for a in range(len(bits)):
        expected = list(SLOW[loss](*batch, a))
        assert found.valid_BP[a].tolist() == [value is not None for value in expected]
        expected = torch.tensor([value or 0.0 for value in expected], dtype=torch.float64)
        torch.testing.assert_close(found.loss_BP[a], expected, rtol=0, atol=2e-5)
    assert torch.equal(valid_terms(loss, batch[1]), found.valid_BP)


@pytest.mark.parametrize("loss", LOSSES)
@given(seed=st.integers(0, 2**31), bits=patterns, data=st.data())
def test_order_scale_and_missing_values_have_no_influence(loss, seed, bits, data):
    pooled_BMD, present_BM, content_id_BM = products(seed, bits)
    found = LOSSES[loss](pooled_BMD, present_BM, content_id_BM=content_id_BM)

    order = torch.tensor(data.draw(st.permutations(range(len(bits)))))
    if loss == "symile":
        # Its negatives combine neighbours, so only the start of the order is free.
        order = torch.arange(len(bits)).roll(int(order[0]))
    scale_BM = torch.rand(len(bits), 5, generator=torch.Generator().manual_seed(seed)) * 9 + 0.1
    # The fusion of a pair depends on the ratio of both features.
    scale_BM = scale_BM[:, :1] if loss == "confu" else scale_BM
    changed_BMD = (pooled_BMD * scale_BM[:, :, None]).masked_fill(~present_BM[:, :, None], math.nan)
    leaf_BMD = changed_BMD[order].requires_grad_()
    other = LOSSES[loss](leaf_BMD, present_BM[order], content_id_BM=content_id_BM[order])
    torch.testing.assert_close(other.loss_BP, found.loss_BP[order], rtol=0, atol=1e-5)
    other.loss_BP.sum().backward()
    assert leaf_BMD.grad.isfinite().all()
    assert (leaf_BMD.grad[~present_BM[order]] == 0).all()


def test_losses_of_anchors_are_rows_of_those_of_all_products():
    pooled_BMD, present_BM, content_id_BM = products(0, [31, 7, 21, 31, 30, 3, 31])
    for name, loss in LOSSES.items():
        whole = loss(pooled_BMD, present_BM, content_id_BM=content_id_BM)
        for rows in (slice(0, 3), slice(3, 7)):
            part = loss(pooled_BMD, present_BM, content_id_BM=content_id_BM, anchors=rows)
            torch.testing.assert_close(part.loss_BP, whole.loss_BP[rows], msg=name)
            assert torch.equal(part.valid_BP, whole.valid_BP[rows])


def test_batches_without_a_pair_are_zero_with_zero_gradient():
    for bits in ([], [0], [1, 1, 16, 0]):
        present_BM = products(0, bits)[1]
        for name, loss in LOSSES.items():
            pooled_BMD = torch.ones(len(bits), 5, WIDTH, requires_grad=True)
            mean_T = loss(pooled_BMD, present_BM).mean_P()
            mean_T.sum().backward()
            assert (mean_T == 0).all(), name
            assert (pooled_BMD.grad == 0).all(), name


def test_identical_features_have_a_finite_gradient():
    """Equal vectors span no volume, and the gradient of its square root is unbounded."""
    for name, loss in LOSSES.items():
        for value in (0.0, 1.0):
            pooled_BMD = torch.full((4, 5, WIDTH), value, requires_grad=True)
            loss(pooled_BMD, torch.ones(4, 5, dtype=torch.bool)).loss_BP.sum().backward()
            assert pooled_BMD.grad.isfinite().all(), name


def test_half_precision_is_converted_before_norms_and_logits():
    pooled_BMD, present_BM, _ = products(0, [31, 7, 21, 31, 30])
    for dtype in (torch.float16, torch.bfloat16):
        half_BMD = pooled_BMD.to(dtype)
        for name, loss in LOSSES.items():
            if name == "confu":
                continue  # The fusion of this test adds in half precision.
            found, expected = (loss(f, present_BM).loss_BP for f in (half_BMD, half_BMD.float()))
            torch.testing.assert_close(found, expected, rtol=0, atol=0, msg=name)


def test_on_two_modalities_symile_and_gram_order_products_like_info_nce():
    """Symile is InfoNCE; the area of two unit vectors is the sine of their angle."""
    pooled_BMD, present_BM, _ = products(0, [3] * 6)
    pair = pair_losses(pooled_BMD, present_BM, T)
    symile = symile_losses(pooled_BMD, present_BM, T)
    torch.testing.assert_close(symile.loss_BP[:, :2].mean(1), pair.loss_BP[:, 0])
    cosine_BB = torch.nn.functional.cosine_similarity(
        pooled_BMD[:, None, 0], pooled_BMD[None, :, 1], dim=2
    )
    logits_BB, own_B = -(1 - cosine_BB**2).sqrt() / T, torch.arange(6)
    loss = torch.nn.functional.cross_entropy
    expected = (loss(logits_BB, own_B) + loss(logits_BB.T, own_B)) / 2
    torch.testing.assert_close(gram_losses(pooled_BMD, present_BM, T).mean_P()[0], expected)
