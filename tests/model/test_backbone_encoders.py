"""Public models inside the encoders: inputs, masking, frozen layers, checkpoints."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from scale.config import Config, FeatureConfig, finetune
from scale.data.backbones import TextBackbone, TimmBackbone, load_timm, load_transformer
from scale.data.batch import Tokens
from scale.data.catalogue import Catalogue
from scale.data.features import to_patches
from scale.data.media import fit_image
from scale.losses.masking import WordPieces, mask_batch
from scale.model.backbone_encoders import BackboneEncoder, backbone_layers, freeze_layers
from scale.model.scale import ScaleModel
from scale.run import Run
from scale.training.distributed import destroy_processes
from scale.training.optimizer import make_optimizer
from scale.training.pretrain import pretrain
from scale.training.run import initial_model
from tests.data.test_backbones import save_bert, save_model
from tests.processes import run_two
from tests.training.small_data import FEATURES, MODEL


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A random BERT, a ViT and a convolutional model."""
    folder = tmp_path_factory.mktemp("models")
    save_bert(folder / "bert")
    save_model(folder / "vit", "test_vit", img_size=48)
    save_model(folder / "conv", "test_efficientnet")
    return {name: str(folder / name) for name in ("bert", "vit", "conv")}


@pytest.fixture(scope="module")
def config(folders):
    features = replace(
        FEATURES, tokenizer=folders["bert"], image_size=64, patch_size=32, frame_size=32
    )
    sizes = {f"{m}_features": 0 for m in ("image", "video")}
    model = replace(
        MODEL, **sizes, vocab_size=0, text_backbone=folders["bert"],
        table_backbone=folders["bert"], image_backbone=folders["vit"],
        video_backbone=folders["conv"], frozen_layers=1,
    )  # fmt: skip
    config = Config(features=features, model=model)
    train = replace(config.train, steps=2, batch_size=8, eval_every=0, device="cpu",
                    learning_rate=1e-3, backbone_learning_rate=1e-4)  # fmt: skip
    return replace(config, train=train)


@pytest.fixture(scope="module")
def run(config, small_catalogue, cache_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "finetuned"
    pretrain(config, small_catalogue, folder, progress=False)
    return Run.load(folder, "last")


def changes(run):
    """Largest change of each weight of the public models during training, by name."""
    before = run.untrained().state_dict()
    return {
        name: (weight - before[name]).abs().max().item()
        for name, weight in run.model.state_dict().items()
        if ".backbone." in name
    }


def test_training_starts_from_the_public_weights(run, folders):
    untrained = run.untrained()
    bert = load_file(f"{folders['bert']}/model.safetensors")
    for m in ("text", "table"):
        for name, weight in untrained.encoders[m].backbone.state_dict().items():
            assert torch.equal(weight, bert[name]), name
    conv = load_file(f"{folders['conv']}/model.safetensors")
    for name, weight in untrained.encoders["video"].backbone.state_dict().items():
        assert torch.equal(weight, conv[name]), name


def test_only_the_upper_layers_change_and_at_their_own_rate(run):
    changed = changes(run)
    for m in ("text", "table"):
        own = part(changed, f"encoders.{m}.backbone.")
        assert max(part(own, "embeddings").values()) == 0
        assert max(part(own, "encoder.layer.0.").values()) == 0
        # Two steps of AdamW move a weight by at most twice the learning rate and its decay.
        above = part(own, "encoder.layer.1.")
        assert all(0 < v < 2.5e-4 for n, v in above.items() if not n.endswith("key.bias"))
    own = part(changed, "encoders.image.backbone.")
    for name in ("patch_embed", "pos_embed", "blocks.0."):
        assert max(part(own, name).values()) == 0
    assert max(part(own, "blocks.1.").values()) > 0
    # Batch normalisation keeps its statistics.
    own = part(changed, "encoders.video.backbone.")
    assert max(v for n, v in own.items() if "running" in n) == 0
    assert max(own.values()) > 0
    models = run.untrained(), run.model
    before, after = (model.heads["text"].transform[0].weight for model in models)
    assert (after - before).abs().max() > 5e-4


def part(values, prefix):
    """The values whose names start with a prefix, at least one, without it."""
    found = {n.removeprefix(prefix): v for n, v in values.items() if n.startswith(prefix)}
    assert found, prefix
    return found


def test_a_run_needs_the_public_models_only_for_training(
    config, run, small_catalogue, folders, tmp_path
):
    kept = tmp_path / "kept"
    shutil.copytree(folders["bert"], kept / "bert")
    names = {f"{m}_backbone": str(kept / "bert") for m in ("text", "table")}
    own = replace(config, features=replace(config.features, tokenizer=str(kept / "bert")),
                  model=replace(config.model, **names))  # fmt: skip
    pretrain(own, small_catalogue, tmp_path / "run", progress=False)
    shutil.rmtree(kept)
    loaded = Run.load(tmp_path / "run", "last")
    for name, weight in run.model.state_dict().items():
        assert torch.equal(weight, loaded.model.state_dict()[name]), name
    assert len(loaded.search("red thing", Catalogue.open(small_catalogue), k=2)) == 2
    assert ScaleModel(own.model, own.missing, loaded.model.architectures) is not None
    with pytest.raises(ValueError, match=r"model.text_backbone: cannot read"):
        loaded.untrained()


def test_pixels_are_those_of_the_file(run, small_catalogue, folders):
    data = run.dataset(Catalogue.open(small_catalogue))
    row = int(data.present_NM[:, 2].nonzero()[0][0])
    tokens = data.collate([row]).tokens["image"]
    encoder = run.model.encoders["image"]
    pixels_HWC = fit_image(Image.open(data.products[row].image).convert("RGB"), 64)
    expected = torch.from_numpy(pixels_HWC / np.float32(255)).permute(2, 0, 1)
    mean, spread = encoder.pixel_mean_C[:, None, None], encoder.pixel_spread_C[:, None, None]
    found = encoder._inputs(tokens.values)[0] * spread + mean
    assert (found - expected).abs().max() < 2e-3
    public = TimmBackbone(folders["vit"], size=64)
    encoder = run.untrained().encoders["image"].eval()
    config = FeatureConfig(image_grid=2)
    prepared = public.prepare("image", Image.open(data.products[row].image).convert("RGB"))
    (vectors_LW,) = public.encode("image", [prepared], config)
    with torch.no_grad():
        encoded_LD = encoder(tokens)[0][0]
        expected_LD = encoder.project(torch.from_numpy(vectors_LW))
    tolerance = {"atol": 0.02, "rtol": 0.02}
    torch.testing.assert_close(encoded_LD[1:] - encoder.position[0], expected_LD, **tolerance)
    torch.testing.assert_close(encoded_LD[0], expected_LD.mean(0), **tolerance)


def test_patches_in_order():
    """Each patch of an image lands at its place."""
    config = finetune()
    picture = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    model = config.model
    from scale.model.backbone_encoders import PixelBackboneEncoder, read_architecture

    encoder = PixelBackboneEncoder(model, "image", read_architecture("image", "efficientnet-lite0"))
    inputs = encoder._inputs(torch.from_numpy(to_patches(picture, 32))[None])[0]
    expected = (torch.from_numpy(picture / np.float32(255)) - 0.5) / 0.5
    torch.testing.assert_close(inputs, expected.permute(2, 0, 1))


def test_words_are_masked_before_the_model_and_neighbours_do_not_reveal_them(folders, config):
    """Exact masking, and the leak of frozen features."""
    texts = ["dark red thing number 4", "dark blue thing number 4"]
    frozen = replace(config, model=replace(config.model, frozen_layers=-1))
    frozen = replace(frozen, model=replace(frozen.model, vocab_size=77))
    encoder = initial_model(frozen)[0].eval().encoders["text"]
    tokenizer = TextBackbone(folders["bert"]).tokenizer
    ids_RL = tokenizer(texts, return_tensors="pt")["input_ids"]
    hidden_RL = ids_RL[0] != ids_RL[1]
    assert hidden_RL.sum() == 1
    shown_RL = ids_RL.masked_fill(hidden_RL, tokenizer.mask_token_id)
    padding_RL = torch.zeros_like(ids_RL, dtype=torch.bool)
    with torch.no_grad():
        one, other = encoder(Tokens(shown_RL, padding_RL, torch.arange(2)))[0]
    assert torch.equal(one, other)
    # Vectors of the neighbours, cached before masking, differ: they contain the hidden word.
    red, blue = TextBackbone(folders["bert"]).encode_texts(texts, 10)
    difference_L = np.abs(red.vectors_LF - blue.vectors_LF).max(1)
    assert difference_L[0] > 1e-3
    assert difference_L[2:].min() > 1e-3


def test_masked_words_and_vectors_are_predicted(run, small_catalogue):
    data = run.dataset(Catalogue.open(small_catalogue))
    batch = data.collate(range(10))
    masked = mask_batch(
        batch, run.config.mask, WordPieces.of(data.tokenizer), (0,), ("MLM", "MEM", "MRP", "MFP")
    )
    found = run.model(masked.batch, masked.hidden).predictions
    assert found["text"].shape[1] == len(data.tokenizer)
    assert found["image"].shape[1] == 3 * 32**2
    clean, shown = batch.tokens["image"], masked.batch.tokens["image"]
    encoder, hidden_RL = run.model.encoders["image"], masked.hidden["image"]
    other = replace(shown, values=torch.where(hidden_RL[:, :, None], 0.0, clean.values))
    assert torch.equal(encoder(shown, hidden_RL)[0], encoder(other, hidden_RL)[0])
    assert not torch.equal(encoder(shown, hidden_RL)[0], encoder(shown)[0])


def test_layers_are_frozen_from_below(folders):
    blocks = ("blocks.0.", "blocks.1.")
    names = {"bert": ("encoder.layer.0.", "encoder.layer.1."), "vit": blocks, "conv": blocks}
    for name, (inside, above) in names.items():
        for count in (0, 1, 100, -1):
            model = (load_transformer if name == "bert" else load_timm)(folders[name])
            model.requires_grad_(True)
            freeze_layers(model, count)
            free = {n for n, weight in model.named_parameters() if weight.requires_grad}
            assert any(n.startswith(inside) for n in free) == (count == 0)
            assert any(n.startswith(above) for n in free) == (count in (0, 1))
            first = next(n for n, _ in model.named_parameters())
            assert (first in free) == (count == 0)
            assert len(backbone_layers(model)) > 1
            assert bool(free) == (count != -1)


def test_frozen_layers_are_in_evaluation_mode_and_outside_the_optimizer(config):
    model = initial_model(replace(config, model=replace(config.model, vocab_size=77)))[0].train()
    bert = model.encoders["text"].backbone
    assert not bert.embeddings.training
    assert not bert.encoder.layer[0].attention.output.dropout.training
    assert bert.encoder.layer[1].attention.output.dropout.training
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    optimizer = make_optimizer(model, 1e-3, 0.1, 1e-4)
    groups = {id(p): g["share"] for g in optimizer.param_groups for p in g["params"]}
    for encoder in model.encoders.values():
        if isinstance(encoder, BackboneEncoder):
            for weight in encoder.backbone.parameters():
                share = pytest.approx(0.1) if weight.requires_grad else None
                assert groups.get(id(weight)) == share
            assert groups[id(encoder.project.weight)] == 1.0
    assert [g["share"] for g in make_optimizer(model, 1e-3, 0.1).param_groups] == [1.0, 1.0]


def test_micro_batches_have_the_gradient_of_the_batch(config, run, small_catalogue, monkeypatch):
    from scale.training.trainer import Trainer

    data = run.dataset(Catalogue.open(small_catalogue))
    data = data.subset(data.rows_of("train"))
    gradients = []
    for size, recompute in ((0, False), (3, True)):
        train = replace(config.train, micro_batch=size, activation_checkpointing=recompute)
        own = replace(run.config, train=train)
        trainer = Trainer(own, initial_model(own, data)[0], data)
        monkeypatch.setattr(trainer.optimizer, "step", lambda *_: None)
        trainer.train_step(0)
        gradients.append({n: p.grad for n, p in trainer.model.named_parameters()})
    for name, gradient in gradients[0].items():
        if gradient is not None:
            torch.testing.assert_close(gradients[1][name], gradient, atol=2e-4, rtol=2e-3)


def train_sharded(config, catalogue, folder):
    train = replace(config.train, fsdp=True)
    pretrain(replace(config, train=train), catalogue, folder, progress=False)
    destroy_processes()


@pytest.mark.slow
def test_sharded_training_equals_one_process(config, run, small_catalogue, tmp_path):
    run_two(train_sharded, config, small_catalogue, tmp_path / "run")
    sharded = Run.load(tmp_path / "run", "last").model.state_dict()
    for name, weight in run.model.state_dict().items():
        # AdamW amplifies rounding where a gradient is nearly 0.
        assert (sharded[name] - weight).abs().float().mean() < 2e-5, name
    frozen = "encoders.text.backbone.encoder.layer.0.output.dense.weight"
    assert torch.equal(sharded[frozen], run.model.state_dict()[frozen])


def test_settings_that_do_not_fit_are_named(config, folders):
    with pytest.raises(ValueError, match=r"text_backbone needs features.tokenizer"):
        config.with_features(tokenizer="")
    with pytest.raises(ValueError, match=r"image_backbone needs features.image_features patches"):
        config.with_features(image_features="hog")
    with pytest.raises(ValueError, match=r"model.video_backbone: cannot read 'no_such'"):
        ScaleModel(replace(config.model, video_backbone="no_such", vocab_size=77))
    with pytest.raises(ValueError, match="has 77 word pieces, the tokenizer 99"):
        ScaleModel(replace(config.model, vocab_size=99))
