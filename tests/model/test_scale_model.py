"""The whole model: influence between products and modalities, gradients, checkpoints."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from scale.config import LossConfig, MaskConfig, MissingConfig, ModelConfig
from scale.losses.masking import WordPieces, mask_batch
from scale.losses.total import scale_loss
from scale.modalities import INDEX, MODALITIES, TASKS
from scale.model.scale import ScaleModel
from scale.model.storage import CheckpointError

PIECES = WordPieces(mask_id=4, special_ids=(0, 1, 2, 3, 4), vocab_size=40, unknown_id=1)
MIXED = [MODALITIES, ("text", "table"), ("text", "image", "audio"), MODALITIES, ("video", "audio")]
POLICIES = ("zero", "skip", "learned")


def forward_all(model, batch):
    masked = mask_batch(batch, MaskConfig(), PIECES, (0, 0), TASKS)
    return masked, model(masked.batch, masked.hidden)


@pytest.mark.parametrize("policy", POLICIES)
def test_one_product_never_changes_another(make_model, make_batch, policy):
    model, batch = make_model(policy), make_batch(MIXED)
    before = model(batch)
    changed = make_batch(MIXED)
    for tokens in changed.tokens.values():
        row = tokens.rows_R == 3
        if tokens.values.dtype == torch.int64:
            tokens.values[row] = 7
        else:
            tokens.values[row] = 9.0
        tokens.padding_RL[row, 2:] = True
    after = model(changed)
    others = [0, 1, 2, 4]
    torch.testing.assert_close(before.pooled_BMD[others], after.pooled_BMD[others])
    torch.testing.assert_close(before.fused_pooled_BMD[others], after.fused_pooled_BMD[others])
    assert not torch.allclose(before.fused_pooled_BMD[3], after.fused_pooled_BMD[3])


def test_content_of_padding_never_matters(make_model, make_batch):
    for policy in POLICIES:
        model, batch, poisoned = make_model(policy), make_batch(MIXED), make_batch(MIXED)
        for tokens in poisoned.tokens.values():
            tokens.values[tokens.padding_RL] = 17 if tokens.values.dtype == torch.int64 else 1e3
        before, after = model(batch), model(poisoned)
        torch.testing.assert_close(before.pooled_BMD, after.pooled_BMD)
        torch.testing.assert_close(before.fused_pooled_BMD, after.fused_pooled_BMD)


def test_the_length_of_the_batch_never_matters(make_model, make_batch):
    """Sequences that are padded further, or that are shorter than imputed ones."""
    for policy in POLICIES:
        model, batch, trimmed = make_model(policy), make_batch(MIXED), make_batch(MIXED)
        for m, tokens in batch.tokens.items():
            tokens.padding_RL[:, -1] = True
            trimmed.tokens[m] = replace(
                tokens,
                values=tokens.values[:, :-1],
                padding_RL=tokens.padding_RL[:, :-1],
                entity_RL=None if tokens.entity_RL is None else tokens.entity_RL[:, :-1],
            )
        before, after = model(batch), model(trimmed)
        torch.testing.assert_close(before.pooled_BMD, after.pooled_BMD)
        torch.testing.assert_close(before.fused_pooled_BMD, after.fused_pooled_BMD)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_product_alone_equals_itself_in_a_batch(make_model, make_batch, policy):
    model, batch = make_model(policy), make_batch(MIXED)
    together = model(batch)
    for b in range(len(MIXED)):
        tokens = {m: t.select(t.rows_R == b) for m, t in batch.tokens.items()}
        tokens = {m: replace(t, rows_R=torch.zeros_like(t.rows_R)) for m, t in tokens.items()}
        alone = model(replace(batch, tokens=tokens, present_BM=batch.present_BM[b : b + 1]))
        torch.testing.assert_close(alone.pooled_BMD[0], together.pooled_BMD[b])
        torch.testing.assert_close(alone.fused_pooled_BMD[0], together.fused_pooled_BMD[b])


def test_in_the_jct_each_modality_attends_to_all_others(make_model, make_batch):
    model = make_model("skip")
    for source in MODALITIES:
        changed = make_batch([MODALITIES, MODALITIES])
        tokens = changed.tokens[source]
        tokens.values[0] = 5 if tokens.values.dtype == torch.int64 else -3.0
        before, after = model(make_batch([MODALITIES, MODALITIES])), model(changed)
        moved_M = (before.fused_pooled_BMD - after.fused_pooled_BMD).abs().amax(dim=2)[0] > 1e-6
        assert moved_M.all(), source
        pooled_moved_M = (before.pooled_BMD - after.pooled_BMD).abs().amax(dim=2)[0] > 1e-6
        assert pooled_moved_M.tolist() == [m == source for m in MODALITIES]


@pytest.mark.parametrize("policy", POLICIES)
def test_gradient_reaches_every_parameter(make_model, make_batch, policy):
    model = make_model(policy)
    masked, output = forward_all(model, make_batch(MIXED * 4))
    # With uniform weights: an untrained S' can be 0 for a pair.
    scale_loss(output, masked, LossConfig(), progress=0.0).total.backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # The key bias of attention shifts all logits of a query alike: its gradient is exactly 0.
    assert [n for n in silent if not n.endswith("attention.self.key.bias")] == []


def test_each_masked_loss_reaches_the_jct_and_the_other_encoders(make_model, make_batch):
    for source in MODALITIES:
        model = make_model("skip")
        masked, output = forward_all(model, make_batch([MODALITIES] * 4))
        task = TASKS[INDEX[source]]
        scale_loss(output, masked, LossConfig(tasks=(task,))).total.backward()
        for name, part in [("jct", model.jct), *model.encoders.items()]:
            assert any(p.grad is not None and p.grad.any() for p in part.parameters()), name


def test_zero_imputation_is_a_run_of_zeros_through_the_encoder(make_model, make_batch):
    """Shared imputed tokens equal an image of zeros in each incomplete product."""
    model = make_model("zero")
    batch = make_batch([("text", "image"), ("text",)])
    by_hand = make_batch([("text", "image"), ("text", "image")])
    by_hand.tokens["image"].values[1] = 0.0
    by_hand.tokens["image"].padding_RL[1] = False
    only = ("text", "image")
    model.jct.modality_embedding = torch.nn.ParameterDict(
        {m: model.jct.modality_embedding[m] for m in only}
    )
    a, b = model(batch), model(by_hand)
    torch.testing.assert_close(a.fused_pooled_BMD[:, 0], b.fused_pooled_BMD[:, 0])
    assert (a.fused_pooled_BMD[1, INDEX["image"]] == 0).all()


def test_skip_runs_as_if_the_modality_did_not_exist(make_model, make_batch):
    """A missing modality in a batch equals a batch without the modality; also under `drop`."""
    for policy in ("skip", "drop"):
        model = make_model(policy)
        sparse = model(make_batch([("text", "audio"), MODALITIES]))
        alone = model(make_batch([("text", "audio"), ("text", "audio")]))
        torch.testing.assert_close(sparse.fused_pooled_BMD[0], alone.fused_pooled_BMD[0])


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("present", [MIXED, [("text", "table"), ("text",)]])
@pytest.mark.parametrize("loss_positions_only", [False, True])
def test_running_all_encoders_changes_nothing(
    make_model, make_batch, policy, present, loss_positions_only
):
    batch, calls, found = make_batch(present), [], []
    batch.tokens = {m: t for m, t in batch.tokens.items() if len(t.rows_R)}
    masked = mask_batch(batch, MaskConfig(), PIECES, (0, 0), TASKS)
    for run_all in (False, True):
        model = make_model(policy)
        model.jct.run_all_encoders = run_all
        for m, encoder in model.encoders.items():
            layers = encoder.bert.encoder if m in ("text", "table") else encoder.stack
            layers.register_forward_hook(
                lambda *_, m=m, run_all=run_all: calls.append((run_all, m))
            )
        output = model(masked.batch, masked.hidden, masked.positions,
                       loss_positions_only=loss_positions_only)  # fmt: skip
        scale_loss(output, masked, LossConfig(), 0.0).total.backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        found.append((output.pooled_BMD, output.fused_pooled_BMD, output.predictions, gradients))
    torch.testing.assert_close(found[1][:3], found[0][:3])
    for name, gradient in found[1][3].items():
        wanted = found[0][3].get(name, torch.zeros_like(gradient))
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5, msg=name)
    each = 2 if policy == "zero" else 1
    assert [calls.count((True, m)) for m in MODALITIES] == [each] * 5
    assert {name.split(".")[1] for name in found[1][3] if name.startswith("encoders")} == set(
        MODALITIES
    )


def test_pooled_features_are_those_of_the_first_token(make_model, make_batch):
    model, batch = make_model("skip"), make_batch(MIXED)
    output = model(batch)
    for m, tokens in batch.tokens.items():
        pooled_RD = model.poolers[m](output.encoded[m][:, 0])
        torch.testing.assert_close(output.pooled_BMD[tokens.rows_R, INDEX[m]], pooled_RD)
        fused_RD = output.fused[m][:, 0]
        torch.testing.assert_close(output.fused_pooled_BMD[tokens.rows_R, INDEX[m]], fused_RD)


def test_table_values_are_segment_1_and_all_else_segment_0(make_model, make_batch):
    model, batch, seen = make_model("skip"), make_batch([MODALITIES]), {}
    for m in ("text", "table"):
        model.encoders[m].bert.embeddings.token_type_embeddings.register_forward_hook(
            lambda _, args, out, m=m: seen.update({m: args[0]})
        )
    table = batch.tokens["table"]
    table.entity_RL = torch.tensor([[-1, 0, 0, -1, 1, 1, 1, -1, 2, -1, 3, -1, -1, -1]])
    table.padding_RL[:] = False
    model(batch)
    assert seen["table"].tolist() == [[0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 0, 0, 0]]
    assert not seen["text"].any()


def test_zero_imputation_has_a_gradient(make_model, make_batch):
    """A modality that no product has still trains its encoder, through the imputed tokens."""
    model, batch = make_model("zero"), make_batch([("text", "table")] * 4)
    masked, output = forward_all(model, batch)
    scale_loss(output, masked, LossConfig(tasks=("MLM",))).total.backward()
    for m in ("image", "video", "audio"):
        gradients = [p.grad for p in model.encoders[m].parameters()]
        assert any(g is not None and g.any() for g in gradients), m


def test_weights_under_old_names_are_loaded(make_model, tmp_path):
    model = make_model("learned")
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    old = {k.replace("missing_token", "stand_in"): w for k, w in weights.items()}
    assert old.keys() != weights.keys()
    save_file(old, tmp_path / "model.safetensors")
    loaded = ScaleModel.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(loaded[k], w) for k, w in weights.items())


def test_biases_start_at_0_and_weights_with_the_spread_of_their_inputs(make_model):
    for name, module in make_model("learned", width=64).named_modules():
        if isinstance(module, torch.nn.Linear):
            spread = 0.55 * module.in_features**-0.5
        elif isinstance(module, torch.nn.Embedding) and module.num_embeddings > 2:
            spread = 0.02
        else:
            continue
        assert not getattr(module, "bias", torch.zeros(1)).any(), name
        assert module.weight.std().item() == pytest.approx(spread, rel=0.15), name


def test_sizes_that_no_config_derived_are_named():
    with pytest.raises(ValueError, match=r"model\.text_length, .* not set"):
        ScaleModel(ModelConfig())


def test_checkpoint_round_trip(make_model, make_batch, tmp_path):
    model, batch = make_model("learned"), make_batch(MIXED)
    model.save_pretrained(tmp_path)
    again = ScaleModel.from_pretrained(tmp_path)
    assert again.config == model.config
    assert again.missing == MissingConfig("learned")
    torch.testing.assert_close(
        again(batch).fused_pooled_BMD, model(batch).fused_pooled_BMD, atol=0, rtol=0
    )
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", "model.safetensors"}


def spoil_weights(folder):
    weights = load_file(folder / "model.safetensors")
    weights["poolers.text.weight"] = torch.zeros(3, 3)
    del weights["poolers.audio.bias"]
    weights["poolers.smell.bias"] = torch.zeros(3)
    save_file(weights, folder / "model.safetensors")


def spoil_settings(folder):
    settings = json.loads((folder / "config.json").read_text())
    settings["model"]["widht"] = 3
    (folder / "config.json").write_text(json.dumps(settings))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            spoil_weights,
            r"audio.bias is missing.*smell.bias is not part.*text.weight is \(3, 3\)",
        ),
        (spoil_settings, "unknown key model.widht"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x08" * 40), "damaged"),
        (lambda f: (f / "model.safetensors").unlink(), "no such file"),
        (lambda f: (f / "config.json").write_text("{"), "not the settings"),
        (lambda f: (f / "config.json").unlink(), "is this the folder of a checkpoint"),
    ],
)
def test_wrong_or_damaged_checkpoints_are_refused_with_the_reason(
    make_model, tmp_path, spoil, message
):
    make_model().save_pretrained(tmp_path)
    spoil(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        ScaleModel.from_pretrained(tmp_path)


def test_vectors_of_a_wrong_size_are_refused(make_model, make_batch):
    batch = make_batch([MODALITIES] * 2)
    batch.tokens["image"].values = batch.tokens["image"].values[:, :, :-1]
    with pytest.raises(ValueError, match="size 12"):
        make_model()(batch)
