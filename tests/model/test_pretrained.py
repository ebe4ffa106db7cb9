"""Initial weights from tiny local checkpoints of a BERT and a ViT, offline."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from transformers import BertConfig, BertModel

from scale.model.pretrained import initialise_from_pretrained
from scale.model.scale import ScaleModel


@pytest.fixture
def bert_folder(tmp_path):
    torch.manual_seed(3)
    bert = BertModel(
        BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                   intermediate_size=32, max_position_embeddings=30)
    )  # fmt: skip
    bert.save_pretrained(tmp_path / "bert")
    return tmp_path / "bert", bert


@pytest.fixture
def vit_folder(tmp_path):
    torch.manual_seed(4)
    vit = VisionTransformer(img_size=32, patch_size=16, embed_dim=16, depth=3, num_heads=2,
                            mlp_ratio=2, num_classes=0)  # fmt: skip
    folder = tmp_path / "vit"
    folder.mkdir()
    # A ViT that timm builds by name, in a small size.
    size = {"img_size": 32, "embed_dim": 16, "depth": 3, "num_heads": 2, "mlp_ratio": 2}
    settings = {
        "architecture": "vit_tiny_patch16_224", "pretrained_cfg": {"num_classes": 0},
        "num_classes": 0, "model_args": size,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(settings))
    save_file(vit.state_dict(), folder / "model.safetensors")
    return folder, vit


def test_a_bert_initialises_both_discrete_encoders(model_config, bert_folder):
    folder, bert = bert_folder
    model = ScaleModel(replace(model_config, discrete_init=str(folder)))
    report = initialise_from_pretrained(model)
    assert len(report) == 2
    for m in ("text", "table"):
        ours = model.encoders[m].bert
        source = bert.encoder.layer[0].state_dict()
        assert all(torch.equal(v, source[k]) for k, v in ours.encoder.layer[0].state_dict().items())
        assert torch.equal(model.encoders[m].word_weight, bert.embeddings.word_embeddings.weight)
        length = model_config.length(m)
        positions = bert.embeddings.position_embeddings.weight[:length]
        assert torch.equal(ours.embeddings.position_embeddings.weight, positions)


def test_embeddings_of_another_vocabulary_are_reported_and_not_copied(model_config, bert_folder):
    folder, _ = bert_folder
    model = ScaleModel(replace(model_config, discrete_init=str(folder), vocab_size=50))
    before = model.encoders["text"].word_weight.clone()
    report = initialise_from_pretrained(model)
    assert sum("word_embeddings.weight not copied" in line for line in report) == 2
    assert torch.equal(model.encoders["text"].word_weight, before)


def test_a_vit_initialises_continuous_encoders_and_jct(model_config, vit_folder):
    folder, vit = vit_folder
    model = ScaleModel(replace(model_config, continuous_init=str(folder)))
    report = initialise_from_pretrained(model)
    assert [line.split(":")[0] for line in report] == ["image", "video", "audio", "jct"]
    source = vit.blocks[0].state_dict()
    for stack in (model.encoders["image"].stack, model.encoders["audio"].stack, model.jct.stack):
        assert all(torch.equal(v, source[k]) for k, v in stack.blocks[0].state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 24, "heads": 2}, "does not fit"),
        ({"encoder_layers": 3}, "2 layers, model needs 3"),
    ],
)
def test_a_bert_that_does_not_fit_is_refused(model_config, bert_folder, changes, message):
    config = replace(model_config, discrete_init=str(bert_folder[0]), **changes)
    with pytest.raises(ValueError, match=message):
        initialise_from_pretrained(ScaleModel(config))


@pytest.mark.parametrize("field", ["discrete_init", "continuous_init"])
def test_a_folder_without_a_model_is_refused(model_config, tmp_path, field):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match=field):
        initialise_from_pretrained(ScaleModel(replace(model_config, **{field: str(empty)})))
