"""Losses on two halves of the modalities, against loops; the gradient reaches the JCT."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from scale.config import Config, LossConfig, MaskConfig, MissingConfig
from scale.losses.fused import (
    draw_halves,
    fused_contrastive_loss,
    fused_features,
    imputed_contrastive_loss,
    same_content,
)
from scale.losses.masking import Part, WordPieces, mask_batch
from scale.losses.total import scale_loss
from scale.modalities import MODALITIES
from tests.training.small_data import FEATURES, MIXED

PIECES = WordPieces(mask_id=4, special_ids=(0, 1, 2, 3, 4), vocab_size=40, unknown_id=1)
FUSED = LossConfig(tasks=("fused_contrastive",))
BOTH = LossConfig(tasks=("fused_contrastive", "imputed_contrastive"))


def slow_info_nce(u, v, valid, temperature, duplicate):
    """-1/2V sum_a [log softmax_b(u_a . v_b / t)_a + log softmax_b(v_a . u_b / t)_a]."""
    total, count = 0.0, 0
    for a in range(len(u)):
        if not valid[a]:
            continue
        count += 1
        for x, y in ((u, v), (v, u)):
            cosines = {
                b: torch.cosine_similarity(x[a], y[b], dim=0) / temperature
                for b in range(len(u))
                if valid[b] and (b == a or not duplicate[a][b])
            }
            weights = torch.stack(list(cosines.values())).exp()
            total = total - (cosines[a].exp() / weights.sum()).log() / 2
    return total / max(count, 1)


def vectors(seed=0, products=6, width=7):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(products, width, generator=random, dtype=torch.float64)


def test_fused_contrastive_loss_equals_the_loop():
    u, v = vectors(0), vectors(1)
    ids = torch.tensor([[0, 4], [1, -1], [0, 5], [2, 6], [3, 6], [7, -1]])
    valid = torch.tensor([True, True, True, True, False, True])
    duplicate = same_content(ids)
    assert duplicate[0, 2], "the first content is shared"
    assert duplicate[3, 4], "the second one"
    assert not duplicate[1, 5], "-1 is no content"
    found = fused_contrastive_loss(u, v, valid, 0.3, duplicate)
    expected = slow_info_nce(u, v, valid, 0.3, duplicate)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    none = torch.zeros(6, 6, dtype=torch.bool)
    plain = fused_contrastive_loss(u, v, valid, 0.3)
    assert plain.item() == pytest.approx(slow_info_nce(u, v, valid, 0.3, none).item(), rel=1e-12)
    assert plain > found
    # The parts of several micro-batches add up to the mean over the batch.
    places = [slice(start, start + 2) for start in (0, 2, 4)]
    parts = [fused_contrastive_loss(u, v, valid, 0.3, duplicate, place) for place in places]
    assert sum(parts).item() == pytest.approx(found.item(), rel=1e-12)


def test_values_of_invalid_products_have_no_influence():
    u, v, valid = vectors(0), vectors(1), torch.tensor([True, True, True, False, True, True])
    expected = fused_contrastive_loss(u, v, valid)
    u[3], v[3] = float("nan"), 1e9
    u.requires_grad_()
    loss = fused_contrastive_loss(u, v, valid)
    assert loss.item() == expected.item()
    loss.backward()
    assert not u.grad[3].any()
    assert torch.isfinite(u.grad).all()
    nothing = fused_contrastive_loss(u, v, torch.zeros(6, dtype=torch.bool))
    assert nothing.item() == 0


def test_imputed_contrastive_loss_is_the_sum_over_modalities():
    imputed = torch.stack([vectors(m) for m in range(5)], dim=1)
    pooled = torch.stack([vectors(9 + m) for m in range(5)], dim=1)
    valid = torch.rand(6, 5, generator=torch.Generator().manual_seed(3)) < 0.7
    ids = torch.where(valid, torch.tensor([0, 1, 0, 2, 1, 3])[:, None], -1)
    found = imputed_contrastive_loss(imputed, pooled, valid, 0.2, ids)
    columns = zip(*(x.unbind(1) for x in (imputed, pooled, valid, ids)), strict=True)
    expected = sum(
        slow_info_nce(p, f, here, 0.2, same_content(id_N[:, None])) for p, f, here, id_N in columns
    )
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_halves_are_disjoint_random_and_nonempty():
    present_BM = torch.tensor([[m in subset for m in MODALITIES] for subset in MIXED])
    present_BM = torch.cat([present_BM, torch.tensor([[True] + [False] * 4, [False] * 5])])
    seen = Counter()
    for seed in range(400):
        random = torch.Generator().manual_seed(seed)
        draw = torch.rand(len(present_BM), 6, generator=random)
        halves_BM = draw_halves(present_BM, draw[:, 0], draw[:, 1:])
        assert not (halves_BM & ~present_BM).any()
        several_B = present_BM.sum(1) > 1
        assert torch.equal(halves_BM.any(1), several_B)
        assert torch.equal((present_BM & ~halves_BM).any(1)[several_B], several_B[several_B])
        seen[tuple(halves_BM[0].tolist())] += 1
    assert len(seen) == 30, "all subsets of five but none and all"
    sizes = Counter(sum(half) for half in seen.elements())
    assert all(70 < sizes[size] < 130 for size in (1, 2, 3, 4)), "all sizes alike"


def test_halves_belong_to_the_product_and_to_the_step(make_batch):
    """Micro-batches and processes get those of the whole batch."""
    batch = make_batch(MIXED)
    whole = mask_batch(batch, MaskConfig(), PIECES, (0, 5), FUSED.tasks).halves_BM
    other = mask_batch(batch, MaskConfig(), PIECES, (0, 6), FUSED.tasks).halves_BM
    assert not torch.equal(whole, other)
    part = replace(batch, tokens={}, present_BM=batch.present_BM[3:6])
    masked = mask_batch(part, MaskConfig(), PIECES, (0, 5), FUSED.tasks, Part(3, len(MIXED)))
    assert torch.equal(masked.halves_BM, whole[3:6])
    assert mask_batch(batch, MaskConfig(), PIECES, (0, 5), ("contrastive",)).halves_BM is None


def forward(make_model, make_batch, config, policy="zero"):
    model, batch = make_model(policy), make_batch(MIXED)
    masked = mask_batch(batch, MaskConfig(), PIECES, (0,), config.tasks)
    return model, masked, model(masked.batch, masked.hidden, halves_BM=masked.halves_BM)


@pytest.mark.parametrize("policy", ["zero", "skip", "learned"])
def test_features_are_those_of_the_model_given_one_half_only(make_model, make_batch, policy):
    model, masked, output = forward(make_model, make_batch, BOTH, policy)
    features = fused_features(output.halves)
    for b, present in enumerate(MIXED):
        half = masked.halves_BM[b].tolist()
        parts = [
            tuple(m for m in present if half[MODALITIES.index(m)] == first)
            for first in (True, False)
        ]
        assert all(parts)
        for name, part in zip(("first", "second"), parts, strict=True):
            alone = model.embed_fused(make_batch(MIXED).only(part))
            used = [i for i, m in enumerate(MODALITIES) if policy != "skip" or m in part]
            unit = [normalize(alone.fused_BMD[b, i], dim=0) for i in used]
            expected = normalize(torch.stack(unit).mean(0), dim=0)
            torch.testing.assert_close(features[name][b], expected)
            if policy == "skip":
                continue
            # Predictions of the modalities of the other half.
            lacking = [i for i, m in enumerate(MODALITIES) if m in present and m not in part]
            predicted = features["imputed"][b, lacking]
            torch.testing.assert_close(predicted, alone.projected_BMD[b, lacking])


@pytest.mark.parametrize("policy", ["zero", "skip", "learned"])
def test_gradient_of_the_fused_loss_reaches_the_jct_and_the_encoders(
    make_model, make_batch, policy
):
    model, masked, output = forward(make_model, make_batch, FUSED, policy)
    loss = scale_loss(output, masked, FUSED)
    assert list(loss.losses) == ["fused_contrastive"]
    loss.total.backward()
    for name, parameter in model.named_parameters():
        if name.startswith("jct.stack") and not name.endswith("attn.qkv.bias"):
            assert parameter.grad.any(), name
    for m in MODALITIES:
        assert any(p.grad is not None and p.grad.any() for p in model.encoders[m].parameters()), m
    assert all(p.grad is None or not p.grad.any() for p in model.poolers.parameters())
    if policy == "learned":
        assert all(token.grad.any() for token in model.jct.missing_token.values())


def test_the_paper_s_contrastive_loss_does_not_reach_the_jct(make_model, make_batch):
    config = LossConfig(tasks=("contrastive",))
    model, masked, output = forward(make_model, make_batch, config)
    scale_loss(output, masked, config).total.backward()
    assert all(p.grad is None or not p.grad.any() for p in model.jct.parameters())


def test_both_losses_are_added_with_weight_one(make_model, make_batch):
    every = LossConfig(tasks=(*LossConfig().tasks, *BOTH.tasks))
    _, masked, output = forward(make_model, make_batch, every)
    paper = scale_loss(output, masked, LossConfig())
    added = scale_loss(output, masked, every)
    extra = scale_loss(output, masked, BOTH)
    assert set(added.losses) == set(every.tasks)
    assert set(extra.losses) == set(BOTH.tasks)
    assert added.total.item() == pytest.approx(paper.total.item() + extra.total.item(), rel=1e-6)


def test_wrong_settings_raise(make_model, make_batch):
    with pytest.raises(ValueError, match=r"imputed_contrastive needs tokens .* not skip"):
        Config(features=FEATURES, loss=BOTH, missing=MissingConfig("skip"))
    _, masked, _ = forward(make_model, make_batch, FUSED)
    output = make_model()(masked.batch, masked.hidden)
    with pytest.raises(ValueError, match="fused_contrastive: the model needs halves_BM"):
        scale_loss(output, masked, FUSED)
