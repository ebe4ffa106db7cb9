"""Settings: round trips, and nothing unknown or impossible passes."""

import json
from dataclasses import replace

import pytest

from scale.config import Config, LossConfig, MaskConfig, ModelConfig, TrainConfig
from scale.modalities import MODALITIES, PAIRS, SUBSETS, parse_subset, subset_name
from scale.presets import PRESETS, tiny


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name, tmp_path):
    config = PRESETS[name]()
    config.save(tmp_path / "config.json")
    assert Config.load(tmp_path / "config.json") == config


@pytest.mark.parametrize(
    ("change", "says"),
    [
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
    ],
)
def test_wrong_settings_are_named(tmp_path, change, says):
    values = json.loads(json.dumps(tiny().to_dict()))
    change(values)
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=says) as failure:
        Config.load(tmp_path / "config.json")
    assert "config.json" in str(failure.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: MaskConfig(rate=0.0),
        lambda: MaskConfig(mask_share=0.8, random_share=0.3),
        lambda: LossConfig(temperature=0.0),
        lambda: LossConfig(tasks=()),
        lambda: ModelConfig(width=10, heads=3),
        lambda: TrainConfig(batch_size=1),
        lambda: TrainConfig(steps=0),
        lambda: TrainConfig(log_every=0),
        lambda: TrainConfig(checkpoint_every=0),
        lambda: replace(tiny(), model=replace(tiny().model, modalities=())),
    ],
)
def test_impossible_settings_are_refused(make):
    with pytest.raises(ValueError, match=r"."):
        make()


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
