"""Masked losses and their total: against loops and the authors' numbers, with weights."""

from dataclasses import replace

import pytest
import torch

from scale.config import LossConfig, MaskConfig, official_loss
from scale.losses.contrastive import pair_losses
from scale.losses.masked import masked_token_loss, masked_vector_loss
from scale.losses.masking import WordPieces, mask_batch
from scale.losses.total import scale_loss
from scale.losses.weighting import loss_weights
from scale.modalities import INDEX, MODALITIES, PAIRS, SPECS, TASKS
from scale.model.scores import inter_modality_scores

PIECES = WordPieces(mask_id=4, special_ids=(0, 1, 2, 3, 4), vocab_size=40, unknown_id=1)
SCALE = LossConfig(weight_on="loss")
"""Weighted by S' as the paper describes; the default is uniform."""
MIXED = [MODALITIES, ("text", "table"), ("text", "image", "audio"), MODALITIES, ("video", "audio")]
AUTHORS = {"text": ("t", "mlm_text"), "table": ("pv", "mem_pv"), "image": ("v", "mrm_image"),
           "video": ("video", "mfm_video"), "audio": ("audio", "mam_audio")}  # fmt: skip
AUTHORS_COLUMN = {"text": 0, "image": 1, "table": 2, "video": 3, "audio": 4}


def test_masked_losses_equal_the_authors_numbers(reference):
    for modality in MODALITIES:
        numbers, (short, name) = reference["masked_losses"], AUTHORS[modality]
        weight_BM = torch.tensor(numbers["modality_weight_Bx5_order_t_image_pv_video_audio"])
        scores, labels = (
            torch.tensor(numbers["scores"][short]),
            torch.tensor(numbers["labels"][short]),
        )
        hidden_BL = labels >= 0
        weight_BL = weight_BM[:, AUTHORS_COLUMN[modality], None].expand_as(hidden_BL)
        config = official_loss()
        if SPECS[modality].kind == "discrete":
            loss = masked_token_loss(
                scores[hidden_BL], labels[hidden_BL], weight_BL[hidden_BL], config.weight_on
            )
        else:
            targets = torch.tensor(numbers["targets"][short])
            loss = masked_vector_loss(
                scores[:, 1:][hidden_BL], targets[hidden_BL], weight_BL[hidden_BL],
                config.regression_weight_on,
            )  # fmt: skip
        assert loss.item() == pytest.approx(numbers["loss"][name], abs=1e-5)


def test_nothing_hidden_is_zero_and_not_nan(reference):
    """The authors' token losses are NaN here."""
    assert reference["masked_losses_nothing_masked"]["mem_pv"] == "nan"
    logits = torch.zeros(0, 7, requires_grad=True)
    loss = masked_token_loss(logits, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0
    assert masked_vector_loss(torch.zeros(0, 3), torch.zeros(0, 3)).item() == 0


def test_a_weight_on_the_prediction_moves_the_optimum_and_on_the_loss_does_not():
    target_NF, weight_N = torch.tensor([[2.0]]), torch.tensor([0.5])
    grid = torch.linspace(0, 6, 601)
    for on, optimum in (("loss", 2.0), ("prediction", 4.0)):
        losses = [masked_vector_loss(p.view(1, 1), target_NF, weight_N, on).item() for p in grid]
        assert grid[torch.tensor(losses).argmin()].item() == pytest.approx(optimum, abs=0.01)


def run(make_model, make_batch, config, present=MIXED, progress=1.0):
    model, batch = make_model("skip"), make_batch(present)
    masked = mask_batch(batch, MaskConfig(), PIECES, (0,), config.tasks)
    output = model(masked.batch, masked.hidden)
    return model, output, masked, scale_loss(output, masked, config, progress)


def slow_total(output, masked, weighted_BMM, scale_pair, scale_own):
    """L = sum_ij mean_a w_aij L_CL + sum_i mean_n w_ii L_Mi, entry by entry (on the loss)."""
    pairs, total = pair_losses(output.pooled_BMD, output.present_BM), 0.0
    for p, (i, j) in enumerate(PAIRS):
        both = [a for a in range(len(masked.batch)) if pairs.valid_BP[a, p]]
        terms = [
            weighted_BMM[a, i, j].clamp(min=0) / scale_pair * pairs.loss_BP[a, p] for a in both
        ]
        total += sum(terms) / max(len(both), 1)
    for m, prediction in output.predictions.items():
        terms = []
        for n, product in enumerate(masked.rows(m).tolist()):
            target = masked.targets[m][n]
            if SPECS[m].kind == "discrete":
                loss = -prediction[n].log_softmax(-1)[target]
            else:
                loss = ((prediction[n] - target) ** 2).mean()
            terms.append(weighted_BMM[product, INDEX[m], INDEX[m]] / scale_own * loss)
        total += sum(terms) / len(terms)
    return total


def test_total_equals_the_loop(make_model, make_batch):
    for mean_one in [False, True]:
        config = LossConfig(weight_on="loss", weight_mean_one=mean_one)
        _, output, masked, result = run(make_model, make_batch, config)
        weighted_BMM = inter_modality_scores(output.pooled_BMD, output.present_BM).weighted_BMM
        scale_pair = scale_own = 1.0
        if mean_one:
            here = output.present_BM
            pairs = [
                (a, i, j) for a in range(len(here)) for i, j in PAIRS if here[a, i] & here[a, j]
            ]
            entries = [weighted_BMM[entry].clamp(min=0) for entry in pairs]
            scale_pair = sum(entries) / len(entries)
            own = [weighted_BMM[a, i, i] for a in range(len(here)) for i in range(5) if here[a, i]]
            scale_own = sum(own) / len(own)
        expected = slow_total(output, masked, weighted_BMM, scale_pair, scale_own)
        torch.testing.assert_close(result.total, expected)


def test_weights_have_mean_one_over_present_entries(make_model, make_batch):
    _, output, _, result = run(make_model, make_batch, SCALE)
    weights = loss_weights(result.scores, output.present_BM, mean_one=True)
    assert weights.pair_BP[result.pairs.valid_BP].mean().item() == pytest.approx(1, abs=1e-5)
    assert (weights.pair_BP[~result.pairs.valid_BP] == 0).all()
    assert weights.own_BM[output.present_BM].mean().item() == pytest.approx(1, abs=1e-5)


def test_a_task_that_is_off_is_absent(make_model, make_batch):
    for off in ("contrastive", *TASKS):
        tasks = tuple(t for t in ("contrastive", *TASKS) if t != off)
        result = run(make_model, make_batch, LossConfig(tasks=tasks))[3]
        assert tuple(result.losses) == tasks
        assert result.total.isfinite()


def test_uniform_at_the_start(make_model, make_batch):
    config = LossConfig(weight_on="loss", weight_uniform_share=0.1)
    start = run(make_model, make_batch, config, progress=0.05)[3]
    uniform = run(make_model, make_batch, replace(config, weight_on="none"))[3]
    weighted = run(make_model, make_batch, config, progress=0.1)[3]
    torch.testing.assert_close(start.total, uniform.total)
    assert not torch.allclose(weighted.total, uniform.total)


def test_gradient_of_the_weights_flows_only_if_configured(make_model, make_batch):
    gradients = {}
    for flows in (False, True):
        config = replace(
            SCALE, weight_gradient=flows, tasks=("contrastive",), weight_mean_one=False
        )
        model, _, _, result = run(make_model, make_batch, config)
        assert result.scores.weighted_BMM.requires_grad == flows
        result.total.backward()
        gradients[flows] = model.poolers["text"].weight.grad.clone()
    assert not torch.allclose(gradients[False], gradients[True])


def test_every_choice_changes_the_loss_and_stays_finite(make_model, make_batch):
    default = run(make_model, make_batch, SCALE)[3].total
    cases = [
        {"weight_on": "logits"},
        {"weight_on": "none"},
        {"weight_level": "batch"},
        {"weight_features": "fused"},
        {"row_normalise": True},
        {"negatives": "both"},
        {"pair_reduction": "mean"},
        {"regression_weight_on": "prediction"},
    ]
    for changes in cases:
        model, _, _, result = run(make_model, make_batch, replace(SCALE, **changes))
        assert not torch.allclose(result.total, default)
        result.total.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_missing_modalities_add_no_loss(make_model, make_batch):
    """A product that has only text has no pair, and no masked loss but that of its text."""
    _, _, masked, result = run(
        make_model, make_batch, LossConfig(), present=[("text",), ("text",), ("text",)]
    )
    assert set(result.losses) == {"contrastive", "MLM"}
    assert result.losses["contrastive"].item() == 0
    assert not result.pairs.valid_BP.any()
    assert set(masked.hidden) == {"text"}


def test_official_loss_of_a_whole_batch_is_the_sum_of_the_authors_parts(make_model, make_batch):
    _, output, masked, result = run(make_model, make_batch, official_loss(), [MODALITIES] * 4)
    weighted_BMM = inter_modality_scores(output.pooled_BMD, row_normalise=True).weighted_BMM
    own_BM = weighted_BMM.diagonal(dim1=1, dim2=2)
    for m, prediction in output.predictions.items():
        weight_N1 = own_BM[masked.rows(m), INDEX[m], None]
        if SPECS[m].kind == "discrete":
            expected = torch.nn.functional.cross_entropy(prediction * weight_N1, masked.targets[m])
        else:
            expected = torch.nn.functional.mse_loss(prediction * weight_N1, masked.targets[m])
        torch.testing.assert_close(result.losses[SPECS[m].task], expected)


def test_learned_temperature_starts_at_the_configured_one_and_is_limited(make_model, make_batch):
    config = LossConfig(tasks=("contrastive",), temperature=0.2, temperature_learned=True)
    model = make_model(contrast_parameters=config.contrast_parameters)
    masked = mask_batch(make_batch([MODALITIES] * 4), MaskConfig(), PIECES, (0,), ())
    fixed = scale_loss(model(masked.batch), masked, replace(config, temperature_learned=False))
    learned = scale_loss(model(masked.batch), masked, config)
    torch.testing.assert_close(learned.total, fixed.total)
    learned.total.backward()
    assert model.contrast.log_scale.grad.abs() > 0

    model.zero_grad()
    model.contrast.log_scale.data += 10
    limited = scale_loss(model(masked.batch), masked, config)
    torch.testing.assert_close(limited.temperature, torch.tensor(0.01))
    limited.total.backward()
    assert model.contrast.log_scale.grad.abs() > 0, "else the scale could not fall again"


def test_confu_without_fusion_raises(make_model, make_batch):
    masked = mask_batch(make_batch([MODALITIES] * 4), MaskConfig(), PIECES, (0,), ())
    with pytest.raises(ValueError, match="confu needs a model with the fusion of pairs"):
        scale_loss(make_model()(masked.batch), masked, LossConfig(contrast="confu"))


def test_total_leaves_out_duplicates_only_if_configured(make_model, make_batch):
    """Products that share a picture are no negatives of each other, in the pairs with images."""
    batch = make_batch([MODALITIES] * 3)
    content_id_BM = torch.arange(3)[:, None].repeat(1, 5)
    content_id_BM[1, INDEX["image"]] = 0
    masked = mask_batch(replace(batch, content_id_BM=content_id_BM), MaskConfig(), PIECES, (0,), ())
    output = make_model()(masked.batch)
    for ignored in (False, True):
        config = LossConfig(tasks=("contrastive",), ignore_duplicates=ignored)
        contents = content_id_BM if ignored else None
        pairs = pair_losses(output.pooled_BMD, batch.present_BM, content_id_BM=contents)
        total = scale_loss(output, masked, config).total
        torch.testing.assert_close(total, pairs.mean_P().sum())
