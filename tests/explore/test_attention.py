"""Attention is that of the joint transformer, and the effects of removals are measured."""

import re

import numpy as np
import pytest
import torch

from scale.explore.attention import (
    MASKS,
    MEAN,
    AttentionView,
    attention_output,
    attention_weights,
    joint_attention,
    recorded_inputs,
    removal_effects,
)
from scale.explore.loss_terms import repeated
from scale.explore.masking import MaskingExplorer
from scale.explore.scores import ScoreExplorer
from scale.losses.masking import WordPieces, mask_batch
from scale.losses.total import masked_losses
from scale.modalities import INDEX, MODALITIES, TASKS
from scale.studies.single_product import product_outputs, with_policy


def read(model, batch, data):
    with recorded_inputs(model) as inputs, torch.inference_mode():
        model(batch)
    return inputs, joint_attention(model, inputs, batch, data.tokenizer, "en")


@pytest.fixture
def incomplete(source):
    """Row of a product that lacks a modality."""
    return next(r for r in source.rows.tolist() if not source.data.present_NM[r].all())


def test_the_weights_give_the_output_of_each_layer(source, incomplete):
    rows = [int(source.rows[0]), incomplete]
    model, batch, outputs = source.run.model, source.data.collate(rows), []
    blocks = model.jct.stack.blocks
    hooks = [b.attn.register_forward_hook(lambda *args: outputs.append(args[2])) for b in blocks]
    inputs, _ = read(model, batch, source.data)
    for hook in hooks:
        hook.remove()
    assert len(inputs) == len(blocks) == len(outputs)
    assert any(mask is not None and not mask.all() for _, mask in inputs)
    with torch.inference_mode():
        for block, given, expected in zip(blocks, inputs, outputs, strict=True):
            torch.testing.assert_close(attention_output(block, *given), expected, atol=1e-5, rtol=0)
            weight_BHTT = attention_weights(block, *given)
            torch.testing.assert_close(weight_BHTT.sum(-1), torch.ones(weight_BHTT.shape[:3]))


def test_recording_changes_neither_outputs_nor_model(source, incomplete):
    model = with_policy(source.run.model, "skip")
    batch = source.data.collate([incomplete])
    expected = product_outputs(model, batch).fused_MD
    with recorded_inputs(model):
        found = product_outputs(model, batch).fused_MD
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert model.jct.packed
    assert not any(block._forward_pre_hooks for block in model.jct.stack.blocks)


def test_blocks_are_sums_over_tokens(source):
    _, found = read(source.run.model, source.data.collate([int(source.rows[0])]), source.data)
    weight_TT = found.chosen(0, 1)
    share_MM = found.blocks(0, 1)
    for i in range(5):
        for j in range(5):
            part = weight_TT[found.modality_T == i][:, found.modality_T == j]
            assert share_MM[i, j] == pytest.approx(part.sum(1).mean(), abs=1e-6)
    np.testing.assert_allclose(share_MM.sum(1), 1, atol=1e-5)
    cls_MM = found.blocks(MEAN, MEAN, cls_only=True)
    first = int(np.flatnonzero(found.modality_T == 2)[0])
    mean_TT = found.weight_LHTT.mean((0, 1))
    assert cls_MM[2, 0] == pytest.approx(mean_TT[first, found.modality_T == 0].sum(), abs=1e-6)
    assert len(found.names) == len(found.modality_T) == weight_TT.shape[0]


def test_imputed_tokens_take_part_under_zero_and_not_under_skip(source, incomplete):
    lacks = ~source.data.present_NM[incomplete]
    batch = source.data.collate([incomplete])
    _, zero = read(source.run.model, batch, source.data)
    _, skip = read(with_policy(source.run.model, "skip"), batch, source.data)
    assert zero.has_M.all()
    np.testing.assert_array_equal(skip.has_M, ~lacks)
    np.testing.assert_array_equal(zero.own_M, ~lacks)
    assert zero.blocks(MEAN, MEAN)[:, lacks].sum() > 0


def test_effects_are_changes_of_the_masked_losses(source):
    run, row = source.run, int(source.rows[0])
    batch = source.data.collate([row])
    effect_MM = removal_effects(run.model, run.config, source.data, batch)
    pieces = WordPieces.of(source.data.tokenizer)
    masked = mask_batch(repeated(batch, MASKS), run.config.mask, pieces, (0,), TASKS)
    keep = tuple(m for m in MODALITIES if m != "video")
    with torch.inference_mode():
        whole = run.model(masked.batch, masked.hidden).predictions
        hidden = {m: masked.hidden[m] for m in keep}
        without = run.model(masked.batch.only(keep), hidden).predictions
    losses = [masked_losses(p, masked, run.config.loss, None)["MRP"] for p in (whole, without)]
    expected = float(losses[1] / losses[0]) - 1
    assert effect_MM[INDEX["image"], INDEX["video"]] == pytest.approx(expected, abs=1e-4)
    assert np.isnan(effect_MM.diagonal()).all()


def test_a_block_opens_its_tokens(source):
    explorer = ScoreExplorer(source)
    view = explorer.attention
    counts = explorer._outputs.token_M
    view.blocks.pick(f"now-{INDEX['image']}-{INDEX['audio']}")
    sizes = re.findall(r'data-tokens="(\d+)-(\d+)"', view.tokens.html)
    assert sizes == [(str(counts[2]), str(counts[4]))] * 2
    mean = view.blocks.html
    view.layer.value, view.head.value = 0, 1
    assert view.blocks.html != mean
    assert "not explanation" in view.blocks.html


def test_removing_a_modality_changes_attention_but_not_the_effects(source):
    explorer = ScoreExplorer(source)
    before = explorer.attention._shown
    explorer.policy.value = "skip"
    explorer.columns["video"].present.value = False
    old, now, effect_MM = explorer.attention._shown
    assert now.blocks(MEAN, MEAN)[:, INDEX["video"]].sum() == 0
    assert old.blocks(MEAN, MEAN)[:, INDEX["video"]].sum() > 0
    assert np.isfinite(effect_MM).sum() == 20
    np.testing.assert_allclose(old.weight_LHTT, before[0].weight_LHTT, atol=1e-5)


def test_masking_changes_attention(source):
    explorer = MaskingExplorer(source, task="MRP")
    before, now, _ = explorer.attention._shown
    changed = np.abs(now.blocks(MEAN, MEAN) - before.blocks(MEAN, MEAN))
    assert changed.max() > 1e-4
    explorer.beside["audio"].value = False
    assert not explorer.attention._shown[1].own_M[INDEX["audio"]]
    explorer.hide_nothing()
    explorer.beside["audio"].value = True
    explorer.flush()
    before, now, _ = explorer.attention._shown
    np.testing.assert_array_equal(now.weight_LHTT, before.weight_LHTT)


def test_chinese_attention_has_no_english_words(source):
    view = ScoreExplorer(source, lang="zh").attention
    assert isinstance(view, AttentionView)
    words = set(re.findall("[A-Za-z]{4,}", re.sub("<[^>]*>", " ", view.blocks.html)))
    assert words <= {"token", "Transformer"}
