"""Settings: round trips, and errors for unknown or impossible ones."""

import json
from dataclasses import replace

import pytest

from scale.config import PRESETS, Config, LossConfig, MaskConfig, ModelConfig, TrainConfig, tiny
from scale.modalities import MODALITIES, PAIRS, SUBSETS, parse_subset, subset_name


def test_presets_survive_json(tmp_path):
    for make in PRESETS.values():
        make().save(tmp_path / "config.json")
        assert Config.load(tmp_path / "config.json") == make()


def test_wrong_settings_are_named(tmp_path):
    cases = [
        (lambda c: c["train"].update(stepz=3), "unknown key train.stepz"),
        (lambda c: c["train"].update(steps="3"), "train.steps is '3', not int"),
        (lambda c: c["train"].update(steps=True), "train.steps is True, not int"),
        (lambda c: c["loss"].update(weight_on="moon"), "loss.weight_on is 'moon'; known: loss"),
        (lambda c: c["loss"].update(tasks=["MLM", "MXM"]), "unknown task 'MXM'"),
        (lambda c: c["loss"].update(tasks="MLM"), "loss.tasks must be a list"),
        (lambda c: c.update(model=3), "model. must be an object"),
        (lambda c: c["model"].update(modalities=["smell"]), "unknown modality 'smell'"),
        (lambda c: c["model"].update(image_length=3), "image_length = 4 but model.image_length"),
        (lambda c: c.update(colour=1), "unknown key colour"),
    ]
    for change, message in cases:
        values = json.loads(json.dumps(tiny().to_dict()))
        change(values)
        (tmp_path / "config.json").write_text(json.dumps(values))
        with pytest.raises(ValueError, match=message) as failure:
            Config.load(tmp_path / "config.json")
        assert "config.json" in str(failure.value)


def test_impossible_settings_are_refused():
    cases = [
        (MaskConfig, {"rate": 0.0}, "mask.rate"),
        (MaskConfig, {"rate": 1.0}, "mask.rate"),
        (MaskConfig, {"mask_share": 0.8, "random_share": 0.3}, "sum to at most 1"),
        (LossConfig, {"temperature": 0.0}, "loss.temperature"),
        (LossConfig, {"tasks": ()}, "names no task"),
        (LossConfig, {"label_smoothing": 1.0}, "loss.label_smoothing must lie"),
        (LossConfig, {"contrast": "siglip", "label_smoothing": 0.1}, "siglip has no softmax"),
        (LossConfig, {"contrast": "rince", "label_smoothing": 0.1}, "rince has no softmax"),
        (LossConfig, {"contrast": "gram", "weight_on": "loss"}, "gram has no pairs to weight"),
        (LossConfig, {"contrast": "confu", "weight_on": "loss"}, "confu has no pairs to weight"),
        (LossConfig, {"contrast": "rince", "weight_on": "logits"}, "with loss.contrast pairwise"),
        (LossConfig, {"contrast": "symile", "negatives": "both"}, "not available with .* symile"),
        (LossConfig, {"contrast": "rince", "rince_q": 1.0, "temperature": 0.01}, "overflows"),
        (LossConfig, {"rince_q": 0.0}, "loss.rince_q"),
        (LossConfig, {"rince_share": 0.0}, "loss.rince_share"),
        (LossConfig, {"confu_share": 1.5}, "loss.confu_share"),
        (ModelConfig, {"width": 10, "heads": 3}, "multiple of model.heads"),
        (ModelConfig, {"modalities": ()}, "unknown modality"),
        (TrainConfig, {"batch_size": 1}, "at least 2"),
        (TrainConfig, {"fsdp": True, "precision": "fp16"}, "not fp16"),
    ]
    positive = ("steps", "log_every", "checkpoint_every", "keep_last")
    cases += [(TrainConfig, {name: 0}, f"train.{name} must be positive") for name in positive]
    not_negative = ("micro_batch", "keep_every", "max_minutes", "shuffle_shards")
    cases += [(TrainConfig, {name: -1}, f"{name} must not be negative") for name in not_negative]
    for kind, settings, message in cases:
        with pytest.raises(ValueError, match=message):
            kind(**settings)


def test_modalities_have_one_order():
    assert MODALITIES == ("text", "table", "image", "video", "audio")
    assert len(PAIRS) == 10
    assert len(set(SUBSETS)) == 31
    assert subset_name(("audio", "text")) == "text+audio"
    assert parse_subset("audio+text") == ("text", "audio")
    assert parse_subset("all") == MODALITIES
    assert ModelConfig(modalities=("audio", "text")).modalities == ("text", "audio")
    for wrong in ("smell", "text+text", "", "text+"):
        with pytest.raises(ValueError, match=r"modality|twice"):
            parse_subset(wrong)


def test_model_sizes_follow_from_the_features(tmp_path):
    """They are set once. An old config.json that contains them is accepted if they agree."""
    config = tiny().with_features(text_length=20, image_size=96, mel_bins=7, frame_size=16)
    sizes = {m: (config.model.length(m), getattr(config.model, f"{m}_features", 0))
             for m in MODALITIES}  # fmt: skip
    assert sizes == {"text": (20, 0), "table": (64, 0), "image": (9, 336), "video": (8, 84),
                     "audio": (32, 7)}  # fmt: skip
    assert config.model.vocab_size == config.features.vocab_size
    values = config.to_dict()
    assert values["model"]["text_length"] == 20, "written out for the reader"
    assert Config.from_dict(values) == config
    for name in ("text_length", "image_length", "audio_features", "vocab_size"):
        del values["model"][name]
    assert Config.from_dict(values) == config
    files = tiny().with_features(image_features="file")
    free = replace(files, model=replace(files.model, image_length=36, image_features=2048))
    assert (free.model.image_length, free.model.image_features) == (36, 2048)
    assert free.with_features(text_length=9).model.image_length == 36, "not derived, so kept"
    with pytest.raises(ValueError, match=r"text_length = 32 but model\.text_length is 9"):
        replace(tiny(), model=replace(tiny().model, text_length=9))


def test_renamed_settings_are_read_with_a_warning(caplog):
    values = tiny().to_dict()
    values["train"]["lean"] = not values["train"].pop("loss_positions_only")
    assert Config.from_dict(values).train.loss_positions_only
    assert "train.lean is now called train.loss_positions_only" in caplog.text


def test_the_command_line_derives_sizes_and_reads_old_names(capsys):
    from scale.cli import _current_name, _parse

    arguments = ["--catalogue", "a", "--out", "b", "--features.text-length", "20", "--train.lean"]
    command = _parse("pretrain", [_current_name(argument) for argument in arguments])
    assert (command.config.model.text_length, command.config.model.image_length) == (20, 4)
    assert command.config.train.loss_positions_only
    assert "--train.loss-positions-only" in capsys.readouterr().err
