"""The dataset: presence, contents, problems, batches, views, standardisation."""

import json
import os
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from scale.config import FeatureConfig, tiny
from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue
from scale.data.dataset import ProductDataset
from scale.data.features import extract
from scale.data.product import CatalogueError
from scale.data.tokenizer import encode_tables, encode_texts, train_tokenizer
from scale.modalities import CONTINUOUS, INDEX, MODALITIES

CONFIG = FeatureConfig(
    text_length=12, table_length=20, image_size=16, patch_size=8, video_frames=3, frame_size=4,
    audio_seconds=0.5, audio_frames=5, mel_bins=10,
)  # fmt: skip


def save_picture(path, rng):
    Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).save(path)


def save_clip(path, rng, frames):
    first, *rest = [
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(frames)
    ]
    first.save(path, save_all=True, append_images=rest, duration=100)


def save_sound(path, rng, seconds):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(rng.normal(0, 3000, int(16_000 * seconds)).astype(np.int16).tobytes())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Nine products: complete, incomplete, broken, twins; one with a second view."""
    folder, rng = tmp_path_factory.mktemp("shop"), np.random.default_rng(0)
    for name in ("a", "b", "alt"):
        save_picture(folder / f"{name}.png", rng)
    for frames, name in ((2, "short"), (7, "long")):
        save_clip(folder / f"{name}.gif", rng, frames)
    for seconds, name in ((0.1, "short"), (0.9, "long")):
        save_sound(folder / f"{name}.wav", rng, seconds)
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:60])
    (folder / "broken.wav").write_bytes(b"RIFF")
    table = [["colour", "red"], ["material", "cotton"]]
    second = {"title": "the red one", "image": "alt.png", "audio": "broken.wav"}
    records = [
        {"title": "red dress", "table": table, "image": "a.png", "video": "long.gif",
         "audio": "long.wav", "alt": second},
        {"title": "blue kettle of steel", "image": "b.png"},
        {"title": "Red  Dress", "table": table[:1], "video": "short.gif"},
        {"table": table, "audio": "short.wav"},
        {"title": "broken picture", "image": "broken.png"},
        {"image": "broken.png", "table": table},
        {"title": "broken sound", "audio": "broken.wav", "image": "b.png"},
        {"title": "red dress", "image": "a.png", "audio": "long.wav", "split": "val"},
        {"title": "watch", "image": "b.png", "content": {"image": "given"}, "split": "test",
         "alt": {"title": "a watch"}},
    ]  # fmt: skip
    for number, record in enumerate(records):
        record |= {"id": f"p{number}", "split": record.get("split", "train")}
    (folder / "products.jsonl").write_text("\n".join(map(json.dumps, records)) + "\n")
    return folder


@pytest.fixture(scope="module")
def catalogue(folder):
    return Catalogue.open(folder)


@pytest.fixture(scope="module")
def tokenizer(catalogue):
    return train_tokenizer(catalogue, 300)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return FeatureCache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def build(catalogue, tokenizer, cache):
    def build(catalogue=catalogue, config=CONFIG, **options):
        return ProductDataset.build(catalogue, config, tokenizer, **{"cache": cache} | options)

    return build


@pytest.fixture(scope="module")
def dataset(build):
    return build()


def test_present_modalities_are_those_of_the_records_without_broken_files(dataset, catalogue):
    expected = catalogue.present_NM()
    expected[[4, 5], INDEX["image"]] = False
    expected[6, INDEX["audio"]] = False
    assert np.array_equal(dataset.present_NM, expected)
    assert dataset.ids == tuple(f"p{i}" for i in range(9))
    assert [p.image for p in dataset.products[4:6]] == [None, None]
    assert dataset.products[6].image == catalogue[6].image


def test_every_broken_file_is_a_problem_of_every_product_that_uses_it(dataset, folder):
    found = {(p.id, p.modality, p.path) for p in dataset.problems}
    picture, sound = str(folder / "broken.png"), str(folder / "broken.wav")
    assert found == {("p4", "image", picture), ("p5", "image", picture), ("p6", "audio", sound)}
    assert all("decode" in p.reason for p in dataset.problems)


def test_strict_raises_with_id_path_and_reason(build):
    with pytest.raises(CatalogueError, match=r"'p4' image: .*decode.*broken\.png.*3 problems"):
        build(strict=True)


def test_equal_content_has_equal_numbers(dataset):
    text, table, image, video, audio = dataset.content_id_NM.T.tolist()
    assert text[0] == text[2] == text[7]
    assert len({text[i] for i in (0, 1, 4, 6, 8)}) == 5
    assert table[0] == table[3] == table[5] != table[2]
    assert image[0] == image[7]
    assert image[1] == image[6] != image[8]
    assert video[0] != video[2]
    assert audio[0] == audio[7] != audio[3]
    assert np.array_equal(dataset.content_id_NM == -1, ~dataset.present_NM)
    assert dataset.content_id_NM.dtype == np.int64


def slow_row(dataset, modality, product):
    """Values of one product without padding, straight from its record."""
    if modality == "text":
        return encode_texts(dataset.tokenizer, [product.text], CONFIG.text_length)[0][0]
    if modality == "table":
        return encode_tables(dataset.tokenizer, [product.table], CONFIG.table_length)[0][0]
    features_LF = extract(modality, getattr(product, modality), CONFIG).astype(np.float16)
    mean, spread = dataset.normaliser.mean[modality], dataset.normaliser.spread[modality]
    return (features_LF.astype(np.float32) - mean) / spread


def test_collate_agrees_with_a_slow_twin(dataset):
    order = [3, 0, 8, 2, 0, 5, 7]
    batch = dataset.collate(order)
    batch.check()
    assert batch.index_B.tolist() == order
    assert np.array_equal(batch.present_BM.numpy(), dataset.present_NM[order])
    assert np.array_equal(batch.content_id_BM.numpy(), dataset.content_id_NM[order])
    assert list(batch.tokens) == list(MODALITIES)
    for m, tokens in batch.tokens.items():
        assert tokens.values.dtype == (torch.float32 if m in CONTINUOUS else torch.int64)
        assert (tokens.entity_RL is not None) == (m == "table")
        assert int((~tokens.padding_RL).sum(1).max()) == tokens.values.shape[1]
        for values, padding, row in zip(
            tokens.values, tokens.padding_RL, tokens.rows_R, strict=True
        ):
            expected = slow_row(dataset, m, dataset.products[order[row]])
            np.testing.assert_allclose(values[~padding].numpy(), expected, atol=1e-5)
            assert (values[padding] == 0).all()
    table = batch.tokens["table"]
    expected = encode_tables(dataset.tokenizer, [dataset.products[3].table], 20)[2][0]
    assert table.entity_RL[0].tolist() == expected.tolist()
    assert (table.entity_RL[table.padding_RL] == -1).all()


@settings(max_examples=60)
@given(indices=st.lists(st.integers(0, 8), min_size=1, max_size=12))
def test_a_product_does_not_depend_on_the_rest_of_its_batch(dataset, indices):
    batch = dataset.collate(indices)
    batch.check()
    for b, i in enumerate(indices):
        alone = dataset.collate([i])
        for m, own in alone.tokens.items():
            tokens = batch.tokens[m].select(batch.tokens[m].rows_R == b)
            assert len(tokens.values) == len(own.values) == int(batch.present_BM[b, INDEX[m]])
            if len(own.values):
                length = own.values.shape[1]
                assert torch.equal(tokens.values[:, :length], own.values)
                assert torch.equal(tokens.padding_RL[:, :length], own.padding_RL)
                assert tokens.padding_RL[:, length:].all()


def test_a_batch_without_a_modality_has_no_rows_of_it(dataset):
    batch = dataset.collate([1, 4])
    assert len(batch.tokens["audio"].values) == 0
    assert batch.tokens["audio"].values.shape[2] == CONFIG.mel_bins
    assert len(dataset.collate([])) == 0


def test_statistics_are_of_training_products_only(dataset, catalogue, build):
    for m in CONTINUOUS:
        paths = [getattr(p, m) for p in dataset.products if p.split == "train" and getattr(p, m)]
        rows = [extract(m, path, CONFIG).astype(np.float16) for path in dict.fromkeys(paths)]
        values = np.concatenate(rows).astype(np.float64)
        np.testing.assert_allclose(dataset.normaliser.mean[m], values.mean(0), atol=1e-5)
        floor = 0.5 * np.sqrt(values.var(0).mean())
        expected = np.maximum(values.std(0), floor)
        np.testing.assert_allclose(dataset.normaliser.spread[m], expected, rtol=1e-4)
    with pytest.raises(ValueError, match="no training product"):
        build(catalogue.split("test"))
    test = build(catalogue.split("test"), normaliser=dataset.normaliser)
    ours, theirs = test.collate([0]).tokens["image"], dataset.collate([8]).tokens["image"]
    assert torch.equal(ours.values, theirs.values)


def test_a_subset_keeps_order_and_tokens(dataset):
    subset = dataset.subset([7, 0, 3])
    assert subset.ids == ("p7", "p0", "p3")
    ours, theirs = subset.collate([2, 0]), dataset.collate([3, 7])
    for m in MODALITIES:
        assert torch.equal(ours.tokens[m].values, theirs.tokens[m].values)
    assert torch.equal(ours.content_id_BM, theirs.content_id_BM)


def test_the_second_view_is_a_dataset_of_the_same_ids(dataset, folder):
    second = dataset.view("alt")
    assert second.ids == ("p0", "p8")
    assert [second.products[0].text, second.products[1].text] == ["the red one", "a watch"]
    present = [[m in row for m in MODALITIES] for row in (("text", "image"), ("text",))]
    assert second.present_NM.tolist() == present
    assert [(p.id, p.modality) for p in second.problems] == [("p0", "alt_audio")]
    expected = extract("image", folder / "alt.png", CONFIG)
    expected = (expected - dataset.normaliser.mean["image"]) / dataset.normaliser.spread["image"]
    values = second.collate([0]).tokens["image"].values[0].numpy()
    np.testing.assert_allclose(values, expected, atol=5e-3)
    assert dataset.subset([8, 1]).view("alt").ids == ("p8",)
    with pytest.raises(ValueError, match="known: alt"):
        dataset.view("main")


def test_second_views_are_further_products_with_the_rest_of_the_first_view(dataset, folder, build):
    both = dataset.with_second_views()
    assert both.ids == (*dataset.ids, "p0 (second view)")  # p8 belongs to the test split
    records = Catalogue.open(folder).products
    product = replace(records[0], text="the red one", image=records[0].alt.image)
    expected = build(Catalogue(folder, (product,)), normaliser=dataset.normaliser).collate([0])
    found = both.collate([9])
    found.check()
    assert list(found.tokens) == list(expected.tokens) == list(MODALITIES)
    for m, tokens in expected.tokens.items():
        assert torch.equal(found.tokens[m].values, tokens.values), m
    assert torch.equal(found.tokens["table"].entity_RL, expected.tokens["table"].entity_RL)
    assert both.content_id_NM[9].tolist() == dataset.content_id_NM[0].tolist()
    assert [(p.id, p.modality) for p in both.problems[3:]] == [("p0", "alt_audio")]
    for row in (0, 8):  # the first views are unchanged
        for m, tokens in both.collate([row]).tokens.items():
            assert torch.equal(tokens.values, dataset.collate([row]).tokens[m].values)
    assert dataset.subset([1, 2]).with_second_views().ids == ("p1", "p2")


def test_modalities_without_a_first_view_are_left_out_with_a_warning(dataset, caplog):
    columns = {m: column for m, column in dataset.columns.items() if m != "image"}
    both = replace(dataset, columns=columns).with_second_views()
    assert "image" not in both.collate([9]).tokens
    assert "image: only second views of products contain it" in caplog.text


def test_unused_modalities_count_as_missing(build):
    some = build(modalities=("image", "text"))
    assert list(some.columns) == ["text", "image"]
    unused = [INDEX[m] for m in ("table", "video", "audio")]
    assert not some.present_NM[:, unused].any()
    assert {p.modality for p in some.problems} == {"image"}
    some.collate(range(9)).check()


def test_longer_sequences_are_cut_and_counted(build):
    short = build(lengths={"image": 3, "audio": 5, "text": 4})
    assert short.cut == {"image": 5, "audio": 0}
    batch = short.collate(range(9))
    assert batch.tokens["image"].values.shape[1] == 3
    assert batch.tokens["text"].values.shape[1] == 4
    whole = build().collate(range(9)).tokens["image"]
    assert batch.tokens["image"].values.shape[2] == whole.values.shape[2]


def test_feature_files_of_one_size_are_used_and_others_are_problems(catalogue, build, tmp_path):
    rng = np.random.default_rng(0)
    for name, shape in {"a": (5, 7), "b": (2, 7), "odd": (4, 6)}.items():
        np.save(tmp_path / f"{name}.npy", rng.normal(3, 2, shape))
    products = tuple(
        replace(catalogue[i], image=tmp_path / f"{name}.npy", split="train")
        for i, name in enumerate(("a", "odd", "b"))
    )
    files = Catalogue(tmp_path, products)
    config = replace(CONFIG, image_features="file")
    data = build(files, config, modalities=("image",))
    assert data.feature_sizes == {"image": 7}
    assert [(p.id, p.reason) for p in data.problems] == [("p1", "wrong size: vectors of 6, not 7")]
    tokens = data.collate([0, 1, 2]).tokens["image"]
    assert (~tokens.padding_RL).sum(1).tolist() == [5, 2]
    assert tokens.values[~tokens.padding_RL].mean(0).abs().max() < 1e-2
    trained = build(files, config, modalities=("image",), normaliser=data.normaliser)
    assert trained.feature_sizes == {"image": 7}


def test_large_features_are_mapped_and_give_the_same_batches(dataset, build, monkeypatch):
    monkeypatch.setattr("scale.data.cache.IN_MEMORY_BYTES", 0)
    mapped = build().collate(range(9))
    for m, tokens in dataset.collate(range(9)).tokens.items():
        assert torch.equal(mapped.tokens[m].values, tokens.values)


def test_a_catalogue_of_titles_alone_needs_no_media(build, catalogue):
    titles = replace(catalogue, products=(catalogue[1],)).without([])
    data = build(titles, modalities=("text",))
    assert data.feature_sizes == {}
    data.collate([0]).check()


@pytest.mark.real
@pytest.mark.skipif("SCALE_REAL_DATA" not in os.environ, reason="SCALE_REAL_DATA is not set")
@pytest.mark.parametrize("name", ["esky5", "wesnoth5"])
def test_real_catalogues_become_batches(name, cache):
    catalogue = Catalogue.open(Path(os.environ["SCALE_REAL_DATA"]) / name)
    config = replace(tiny().features, vocab_size=1000)
    tokenizer = train_tokenizer(catalogue.split("train"), config.vocab_size)
    data = ProductDataset.build(catalogue, config, tokenizer, cache=cache)
    assert np.array_equal(data.present_NM, catalogue.without(data.problems).present_NM())
    for start in range(0, len(data), 128):
        batch = data.collate(np.arange(start, min(start + 128, len(data))))
        batch.check()
        for m in CONTINUOUS:
            assert torch.isfinite(batch.tokens[m].values).all()
            assert batch.tokens[m].values.abs().max() < 40


def test_blank_media_are_listed_and_missing_on_demand(tmp_path):
    """A picture of one colour, a sound that begins after the seconds that are read, a placeholder
    that many products share; a sound that begins earlier and a varied picture are not."""
    rng = np.random.default_rng(0)
    Image.new("RGB", (12, 16), "white").save(tmp_path / "blank.jpg")
    save_picture(tmp_path / "shared.png", rng)
    for name, start in (("late", 9000), ("early", 7000)):
        samples_S = np.zeros(10_000, np.int16)
        samples_S[start:] = rng.normal(0, 3000, 10_000 - start)
        with wave.open(str(tmp_path / f"{name}.wav"), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(samples_S.tobytes())
    records = [{"title": "a", "image": "blank.jpg", "audio": "late.wav"},
               {"title": "b", "audio": "early.wav"}]  # fmt: skip
    records += [{"title": "c", "image": "shared.png"}] * 21
    lines = [json.dumps({"id": str(i), **record}) for i, record in enumerate(records)]
    (tmp_path / "products.jsonl").write_text("\n".join(lines))
    catalogue = Catalogue.open(tmp_path)
    tokenizer = train_tokenizer(catalogue, 100)
    for policy in ("keep", "missing", "keep"):
        data = ProductDataset.build(
            catalogue, replace(CONFIG, blank_media=policy), tokenizer,
            cache=FeatureCache(tmp_path / "cache"), strict=policy == "keep",
        )  # fmt: skip
        assert sorted({(p.id, p.kind) for p in data.problems if int(p.id) < 3}) == [
            ("0", "blank picture"), ("0", "silent sound"), ("2", "placeholder picture"),
        ]  # fmt: skip
        assert {p.modality for p in data.problems} <= (
            {None} if policy == "keep" else {"image", "audio"}
        )
        image, audio = (data.present_NM[:, INDEX[m]].sum() for m in ("image", "audio"))
        assert (image, audio) == ((22, 2) if policy == "keep" else (0, 1))
    found = catalogue.summary(progress=False)
    placeholders = [str(i) for i in range(2, 23)]
    assert found.blank == {"image": ["0"], "placeholder": placeholders}
    assert "1 pictures of one colour: 0" in str(found)
