"""Frozen timm models from a local folder: tokens, pooled vectors, identity, clear errors."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.models import save_for_hf

from scale.data.features import Backbone, fit_image


def save_model(folder, name, **settings):
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, **settings).eval()
    size = {"input_size": (3, 48, 48)}
    save_for_hf(model, folder, safe_serialization=True, data_config=size)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vit")
    save_model(folder, "test_vit", img_size=48)
    return folder


@pytest.fixture
def picture(rng):
    return Image.fromarray(rng.integers(0, 256, (30, 50, 3), dtype=np.uint8))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_tokens_are_the_models_own_without_its_prefix(folder, picture):
    backbone = Backbone(str(folder))
    tokens_LF = backbone.tokens(picture)
    settings = timm.data.resolve_model_data_config(backbone.model)
    pixels = torch.from_numpy(fit_image(picture, 48).astype(np.float32) / 255)
    inputs = (pixels - torch.tensor(settings["mean"])) / torch.tensor(settings["std"])
    torch.manual_seed(0)
    twin = timm.create_model("test_vit", pretrained=False, img_size=48, num_classes=0).eval()
    twin.load_state_dict(backbone.model.state_dict())
    with torch.no_grad():
        expected = twin.forward_features(inputs.permute(2, 0, 1)[None])[0, 1:]
    assert backbone.size == 48
    assert tokens_LF.shape == (9, backbone.model.num_features)
    np.testing.assert_allclose(tokens_LF, expected.numpy(), atol=1e-5)


def test_weights_come_from_the_folder(tmp_path, picture):
    model = save_model(tmp_path, "test_vit", img_size=48)
    before = Backbone(str(tmp_path))
    state = {k: v.clone() for k, v in model.state_dict().items()}
    state["norm.bias"] += 1.0
    save_file(state, tmp_path / "model.safetensors")
    after = Backbone(str(tmp_path))
    assert before.identity != after.identity
    np.testing.assert_allclose(after.tokens(picture), before.tokens(picture) + 1.0, atol=1e-5)


def test_one_pooled_vector_a_frame_whatever_the_other_frames(folder, rng):
    backbone = Backbone(str(folder))
    frames_THWC = rng.integers(0, 256, (3, 20, 40, 3), dtype=np.uint8)
    pooled_TF = backbone.pooled(frames_THWC)
    alone = np.concatenate([backbone.pooled(frame[None]) for frame in frames_THWC])
    assert pooled_TF.shape == (3, backbone.model.num_features)
    np.testing.assert_allclose(pooled_TF, alone, atol=1e-5)
    assert np.abs(pooled_TF[0] - pooled_TF[1]).max() > 1e-4


def test_a_convolutional_map_becomes_tokens_row_by_row(tmp_path, picture):
    save_model(tmp_path, "test_efficientnet")
    backbone = Backbone(str(tmp_path))
    with torch.no_grad():
        map_CHW = backbone.model.forward_features(backbone._inputs([picture]))[0]
    tokens_LF = backbone.tokens(picture)
    channels, height, width = map_CHW.shape
    assert tokens_LF.shape == (height * width, channels)
    np.testing.assert_allclose(tokens_LF[1], map_CHW[:, 0, 1].numpy(), atol=1e-5)


def test_the_model_is_frozen(folder):
    model = Backbone(str(folder)).model
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


def test_a_folder_without_safetensors_is_refused(tmp_path):
    model = save_model(tmp_path, "test_vit")
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"lacks config.json or \*.safetensors"):
        Backbone(str(tmp_path))


def test_damaged_weights_and_unknown_names_are_named(tmp_path):
    save_model(tmp_path, "test_vit")
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(ValueError, match="does not load"):
        Backbone(str(tmp_path))
    with pytest.raises(ValueError, match="'no_such_model' does not load"):
        Backbone("no_such_model")
