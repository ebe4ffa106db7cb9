"""Gradient caching equals the whole batch for every loss, to 1e-10 in float64."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch.nn.utils import parameters_to_vector

from scale.config import LossConfig, MaskConfig, official_loss
from scale.losses.masking import Part, WordPieces, mask_batch
from scale.losses.total import scale_loss
from scale.modalities import MODALITIES
from scale.model.scale import FusedOutput, ScaleOutput
from scale.training import trainer as training_step
from scale.training.gradient_cache import GradientCache, LossForward, MicroBatch
from scale.training.run import seeded_model
from scale.training.trainer import Trainer
from scale.training.transforms import checkpoint_activations
from tests.training.small_data import MIXED, SETTINGS, SmallData, product_weights, setting

MASK, PIECES = MaskConfig(rate=0.4), WordPieces.of(SmallData.tokenizer)
ALL, WHOLE = np.arange(len(MIXED)), slice(0, len(MIXED))
ACTIVE = LossConfig(weight_on="loss", weight_uniform_share=0.0)
VARIANTS = {
    f"{on}, {'with' if gradient else 'no'} gradient, {level}, {features}": LossConfig(
        weight_on=on, weight_gradient=gradient, weight_level=level, weight_features=features
    )
    for on in ("none", "loss", "logits")
    for gradient in (False, True)
    for level in ("sample", "batch")
    for features in ("encoder", "fused")
} | {
    "official": official_loss(),
    "posterior": replace(ACTIVE, weight_by="posterior", weight_power=0.7),
    "agreement": LossConfig(weight_by="agreement"),
    "contrast only": LossConfig(tasks=("contrastive",)),
    "prediction only": LossConfig(tasks=("MLM", "MAM"), weight_on="loss", weight_gradient=True),
    "contrastive loss weighted only": replace(ACTIVE, weight_gradient=True, weight_masked=False),
    "rows normalised": replace(ACTIVE, weight_gradient=True, row_normalise=True),
    "mean not one": replace(ACTIVE, weight_gradient=True, weight_mean_one=False),
    "duplicates are negatives": LossConfig(ignore_duplicates=False, negatives="both"),
    "mean of pairs": LossConfig(pair_reduction="mean", temperature=0.5),
    "weights on predictions": replace(
        ACTIVE, weight_gradient=True, regression_weight_on="prediction"
    ),
    "fused": LossConfig(tasks=("MLM", "fused_contrastive")),
    "fused and imputed": LossConfig(
        tasks=("contrastive", "imputed_contrastive", "MRP", "fused_contrastive"),
        weight_on="loss",
        weight_gradient=True,
        weight_uniform_share=0.0,
    ),
    "imputed, fused scores": replace(
        ACTIVE,
        tasks=("contrastive", "MFP", "imputed_contrastive"),
        weight_features="fused",
        weight_gradient=True,
        ignore_duplicates=False,
    ),
    "uniform": LossConfig(weight_on="loss", weight_gradient=True, weight_uniform_share=1.0),
    "smoothed, learned temperature": replace(
        ACTIVE, label_smoothing=0.1, temperature_learned=True, weight_by="posterior"
    ),
    "siglip": replace(ACTIVE, contrast="siglip", temperature_learned=True),
    "rince": replace(ACTIVE, contrast="rince", temperature=0.5, weight_by="posterior"),
    "confu": LossConfig(contrast="confu", temperature_learned=True, label_smoothing=0.1),
    "symile": LossConfig(contrast="symile", label_smoothing=0.1),
    "gram": LossConfig(contrast="gram", temperature_learned=True, pair_reduction="mean"),
}
PLAIN, WEIGHTED = "none, no gradient, sample, encoder", "logits, with gradient, batch, fused"


def model_of(policy="zero", dropout=0.0, loss=None):
    return seeded_model(setting(MIXED, loss or LossConfig(), policy, dropout)[1]).double().train()


def corrupt(data, loss, place=WHOLE):
    part = Part(place.start, len(MIXED))
    return mask_batch(data.collate(ALL[place]), MASK, PIECES, (0,), loss.tasks, part)


def cut(data, loss, size):
    places = [slice(at, min(at + size, len(MIXED))) for at in range(0, len(MIXED), size)]
    return [MicroBatch(corrupt(data, loss, place), place, 9 + place.start) for place in places]


def gradients(model):
    """Return the gradients by name; 0 for None, which a micro-batch may have instead."""
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in model.named_parameters()
    }


def assert_same(found, gradient, wanted, wanted_gradient):
    assert list(found.losses) == list(wanted.losses)
    for name, loss in wanted.losses.items():
        torch.testing.assert_close(found.losses[name], loss.detach(), rtol=0, atol=1e-10, msg=name)
    for name, value in wanted_gradient.items():
        torch.testing.assert_close(gradient[name], value, rtol=0, atol=1e-10, msg=name)


@pytest.mark.parametrize(
    ("name", "size"),
    [(name, 3) for name in VARIANTS]
    + [
        (WEIGHTED, 1),
        (WEIGHTED, 8),
        ("posterior", 8),
        ("fused and imputed", 1),
        ("fused and imputed", 8),
    ],
)
def test_micro_batches_have_losses_and_gradient_of_the_whole_batch(name, size):
    loss, data = VARIANTS[name], SmallData(MIXED)
    whole, parted = model_of("learned", loss=loss), model_of("learned", loss=loss)
    masked, fixed = corrupt(data, loss), product_weights(MIXED)
    output = whole(masked.batch, masked.hidden, halves_BM=masked.halves_BM)
    wanted = scale_loss(output, masked, loss, 0.5, fixed=fixed)
    wanted.total.backward()
    cached = GradientCache(LossForward(parted), loss, 0.5, fixed=fixed)
    found = cached(cut(data, loss, size), data.facts(ALL))
    assert sum(g.abs().sum() for g in gradients(whole).values()) > 1
    assert_same(found, gradients(parted), wanted, gradients(whole))
    torch.testing.assert_close(found.scores.weighted_BMM, wanted.scores.weighted_BMM)
    assert (found.pairs is None) == (wanted.pairs is None)
    learned = [g for n, g in gradients(parted).items() if n.startswith("contrast.")]
    assert all(g.any() for g in learned)
    assert bool(learned) == bool(loss.contrast_parameters)


@pytest.mark.parametrize("policy", ["zero", "skip"])
def test_other_policies_for_missing_modalities(policy):
    loss, data = replace(ACTIVE, weight_gradient=True), SmallData(MIXED)
    whole, parted = model_of(policy), model_of(policy)
    masked = corrupt(data, loss)
    wanted = scale_loss(whole(masked.batch, masked.hidden), masked, loss)
    wanted.total.backward()
    found = GradientCache(LossForward(parted), loss, 1.0)(cut(data, loss, 2), data.facts(ALL))
    assert_same(found, gradients(parted), wanted, gradients(whole))


@pytest.mark.parametrize("recomputed", [False, True])
@pytest.mark.parametrize("name", [PLAIN, WEIGHTED, "fused"])
def test_every_pass_has_the_same_dropout(name, recomputed):
    """Compared with one graph over all micro-batches, each with its seed."""
    loss, data = VARIANTS[name], SmallData(MIXED)
    whole, parted = model_of("skip", 0.3), model_of("skip", 0.3)
    parts, masked, outputs = cut(data, loss, 3), corrupt(data, loss), []
    for part in parts:
        torch.manual_seed(part.seed)
        masks = part.masked
        outputs.append(whole(masks.batch, masks.hidden, halves_BM=masks.halves_BM))
    features = {
        name: torch.cat([getattr(output, name) for output in outputs])
        for name in ("pooled_BMD", "fused_pooled_BMD", "present_BM")
    }
    predictions = {
        m: torch.cat([o.predictions[m] for o in outputs if m in o.predictions])
        for m in MODALITIES
        if any(m in o.predictions for o in outputs)
    }
    names = [field.name for field in fields(FusedOutput) if field.name != "contrast"]
    halves = tuple(
        FusedOutput(**{name: torch.cat([getattr(h, name) for h in half]) for name in names})
        for half in zip(*(output.halves for output in outputs), strict=True)
    )
    joint = ScaleOutput(**features, encoded={}, fused={}, predictions=predictions, halves=halves)
    wanted = scale_loss(joint, masked, loss)
    wanted.total.backward()
    if recomputed:
        checkpoint_activations(parted)
    found = GradientCache(LossForward(parted), loss, 1.0)(parts, data.facts(ALL))
    assert_same(found, gradients(parted), wanted, gradients(whole))
    other = GradientCache(LossForward(model_of("skip", 0.3)), loss, 1.0)
    reseeded = [replace(part, seed=part.seed + 1) for part in parts]
    assert other(reseeded, data.facts(ALL)).total != found.total, "dropout does something"


def test_adding_up_the_gradients_of_small_batches_is_another_loss():
    """What caching is for: each part has only its own negatives."""
    loss, data = LossConfig(tasks=("contrastive",)), SmallData(MIXED)
    whole, added = model_of(), model_of()
    masked = corrupt(data, loss)
    scale_loss(whole(masked.batch, masked.hidden), masked, loss).total.backward()
    for part in cut(data, loss, 2):
        output = added(part.masked.batch, part.masked.hidden)
        (scale_loss(output, part.masked, loss).total / 4).backward()
    left, right = (torch.cat([g.flatten() for g in gradients(m).values()]) for m in (whole, added))
    assert torch.cosine_similarity(left, right, dim=0) < 0.9


@pytest.mark.parametrize("size", [1, 3])
def test_masks_do_not_depend_on_micro_batches(size):
    data, loss = SmallData(MIXED), LossConfig()
    whole = corrupt(data, loss)
    for part in cut(data, loss, size):
        for m in part.masked.hidden:
            rows_R = whole.batch.tokens[m].rows_R
            here_R = (rows_R >= part.place.start) & (rows_R < part.place.stop)
            assert torch.equal(part.masked.hidden[m], whole.hidden[m][here_R])
            values = whole.batch.tokens[m].values[here_R]
            assert torch.equal(part.masked.batch.tokens[m].values, values)
    first = mask_batch(data.collate(ALL[3:4]), MASK, PIECES, (0,), loss.tasks)
    to_device = corrupt(data, loss, slice(3, 4))
    assert any(not torch.equal(first.hidden[m], to_device.hidden[m]) for m in first.hidden)


@pytest.mark.parametrize("micro_batch", [1, 3])
def test_training_with_micro_batches_equals_training_without(monkeypatch, micro_batch):
    monkeypatch.setattr(training_step, "batch_indices", lambda products, *_: np.arange(products))
    present, config = SETTINGS["default"]
    parted = replace(config, train=replace(config.train, micro_batch=micro_batch))
    data = SmallData(present)
    one, other = (Trainer(c, seeded_model(c).double(), data) for c in (config, parted))
    for number in range(3):
        a, b = one.train_step(number), other.train_step(number)
        torch.testing.assert_close(b.metrics(), a.metrics())
        assert torch.equal(b.present_BM, a.present_BM)
    torch.testing.assert_close(*(parameters_to_vector(s.model.parameters()) for s in (one, other)))


def test_checkpointed_activations_are_recomputed_with_the_same_gradient():
    loss, data = LossConfig(), SmallData(MIXED)
    masked, calls = corrupt(data, loss), []
    kept, recomputed = model_of("skip", 0.3), model_of("skip", 0.3)
    recomputed.jct.stack.blocks[0].attn.register_forward_hook(lambda *_: calls.append("JCT"))
    layer = recomputed.encoders["text"].bert.encoder.layer[0]
    layer.attention.register_forward_hook(lambda *_: calls.append("text"))
    checkpoint_activations(recomputed)
    for model in (kept, recomputed):
        torch.manual_seed(3)
        scale_loss(model(masked.batch, masked.hidden), masked, loss).total.backward()
    assert calls.count("JCT") == calls.count("text") == 2
    for name, value in gradients(kept).items():
        torch.testing.assert_close(gradients(recomputed)[name], value, rtol=0, atol=1e-12)
    assert kept.state_dict().keys() == recomputed.state_dict().keys()
    calls.clear()
    with torch.no_grad():
        recomputed(masked.batch, masked.hidden)
    assert calls.count("JCT") == 1


def test_logits_compare_one_micro_batch_with_all_products(monkeypatch):
    """Never all with all, also for options that are not computed in tiles."""
    from scale.losses import contrastive

    shapes, original = [], contrastive.cross_entropy

    def watching(logits, *rest, **options):
        shapes.append(tuple(logits.shape))
        return original(logits, *rest, **options)

    monkeypatch.setattr(contrastive, "cross_entropy", watching)
    loss, data = LossConfig(negatives="both"), SmallData(MIXED)
    GradientCache(LossForward(model_of()), loss, 1.0)(cut(data, loss, 2), data.facts(ALL))
    assert set(shapes) == {(2, 2 * len(MIXED), 10)}
