"""The front door: `scale.open`, `scale.pretrain`, `scale.load` and the methods of `Run`."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BertConfig, BertModel

import scale
from scale.config import FeatureConfig, configure, tiny
from scale.data.backbones import load_backbone
from scale.data.features import extract
from scale.data.product import CatalogueError
from scale.evaluation.embed import embed_dataset
from scale.inference import evaluate as evaluate_module
from scale.modalities import MODALITIES
from tests.data.test_backbones import save_model
from tests.data.test_media import save_wave


@pytest.fixture(scope="module")
def shop(small_catalogue):
    return scale.open(small_catalogue)


@pytest.fixture(scope="module")
def run(run_folder):
    return scale.load(run_folder)


def test_search_returns_the_nearest_products(run, shop, small_catalogue):
    found = run.search("green thing", shop, k=5)
    assert list(found.columns) == ["id", "title", "category", "similarity"]
    assert len(found) == 5
    assert found.similarity.is_monotonic_decreasing
    assert (found.category == "c1").sum() >= 3, "four categories, named in the titles"
    product = next(p for p in shop if p.image)
    by_path = run.search(product.image, small_catalogue, k=1, subset="image")
    assert (by_path.id[0], round(by_path.similarity[0], 3)) == (product.id, 1.0)
    assert run.search(product, shop, k=1).id[0] == product.id
    with pytest.raises(ValueError, match="give a catalogue or an index"):
        run.search("green thing")


def test_a_picture_of_the_catalogue_finds_its_product(run, shop, small_catalogue, tmp_path):
    """By all modalities too, where another product can be nearer."""
    products = [p for p in shop if p.image][:8]
    for product in products:
        found = run.search(product.image, shop, k=3)
        assert (found.id[0], found.similarity[0]) == (product.id, 1.0)
        assert found.id.is_unique
        assert found.similarity.is_monotonic_decreasing
    assert run.search(products[0].image, shop, where=f"id != '{products[0].id}'").id[0] != (
        products[0].id
    )
    copied = shutil.copy(products[1].image, tmp_path / "mine.png")
    assert run.search(copied, small_catalogue, k=1).id[0] == products[1].id
    with_words = run.search(["dark thing", products[1].image], shop, k=1)
    assert with_words.similarity[0] < 1, "words and a picture are one query"
    query = scale.Product(id="q", text="dark thing", image=products[1].image)
    assert with_words.equals(run.search(query, shop, k=1))


def test_search_among_products_that_fulfil_a_condition(run, shop):
    everything = run.search("green thing", shop, k=48)
    sizes = {p.id: int(dict(p.table)["size"]) for p in shop if p.table}
    few = run.search("green thing", shop, k=48, where="size >= 3 and category != 'c1'")
    large = np.array([sizes.get(id, 0) >= 3 for id in everything.id])
    chosen = large & (everything.category != "c1")
    assert list(few.id) == list(everything.id[chosen])
    np.testing.assert_allclose(few.similarity, everything.similarity[chosen], rtol=1e-6)
    assert len(run.search("green thing", shop, where="size > 99")) == 0
    with pytest.raises(ValueError, match="no product has colour; names here"):
        run.search("green thing", shop, where="colour == 'red'")


def test_vectors_are_queries(run, shop, tmp_path):
    found = run.embed(shop)
    np.save(tmp_path / "two.npy", found.emb_ND[[4, 2]] * 3)
    several = run.search(tmp_path / "two.npy", shop, k=2)
    assert list(several.columns) == ["query", "id", "title", "category", "similarity"]
    assert several.groupby("query").id.first().tolist() == [found.ids[4], found.ids[2]]
    one = run.search(found.emb_ND[4], shop, k=2)
    assert list(one.id) == list(several.id[several["query"] == 0])
    assert one.similarity[0] == pytest.approx(1)
    for vectors, message in (
        (np.zeros(16), "zero or not finite"),
        (np.full((1, 16), np.nan), "zero or not finite"),
        (np.array(["a"]), "numbers of shape"),
        (np.ones((1, 3)), "queries of shape"),
    ):
        with pytest.raises(ValueError, match=message):
            run.search(vectors, shop)
    (tmp_path / "bad.npy").write_bytes(b"no")
    with pytest.raises(CatalogueError, match=r"bad.npy: not vectors"):
        run.search(tmp_path / "bad.npy", shop)


def test_pictures_are_queries_of_a_run_on_feature_files(shop, tmp_path, cache_folder):
    """The model that computed the files is named in catalogue.json or by the argument."""
    folder = tmp_path / "vit"
    folder.mkdir()
    save_model(folder, "test_vit", img_size=48)
    features = FeatureConfig(image_features=str(folder))
    backbone = load_backbone("image", features)
    records, media = [], tmp_path / "shop"
    media.mkdir()
    products = [p for p in shop if p.image][:12]
    for product in products:
        np.save(media / f"{product.id}.npy", extract("image", product.image, features, backbone))
        records.append({"id": product.id, "title": product.text, "image": f"{product.id}.npy"})
    (media / "products.jsonl").write_text("\n".join(map(json.dumps, records)))
    files = scale.open(media)
    run = scale.pretrain(
        files, preset="micro", out=tmp_path / "run", steps=1, batch_size=4, progress=False,
        features={"image_features": "file"}, model={"modalities": ("text", "image"),
        "image_length": 64},
    )  # fmt: skip
    with pytest.raises(CatalogueError, match=r"name the model .*--backbones image=NAME"):
        run.search(products[3].image, files, subset="image")
    found = run.search(products[3].image, files, k=1, subset="image",
                       backbones={"image": str(folder)})  # fmt: skip
    assert found.id[0] == products[3].id
    assert found.similarity[0] == pytest.approx(1, abs=1e-3)
    (media / "catalogue.json").write_text(json.dumps({"backbones": {"image": str(folder)}}))
    again = run.search(products[3].image, scale.open(media), k=1, subset="image")
    assert again.equals(found)
    as_file = run.search([str(media / f"{products[3].id}.npy")], files, k=1, modality="image")
    assert as_file.id[0] == products[3].id


def test_a_shop_is_embedded_once(run, shop, monkeypatch):
    run.search("green thing", shop, subset="text")
    monkeypatch.setattr(type(run), "dataset", lambda self, shop, **options: only_query(shop))
    called = []

    def only_query(catalogue):
        called.append(len(catalogue))
        raise CatalogueError("stop")

    with pytest.raises(CatalogueError, match="stop"):
        run.search("red thing", shop, subset="text")
    assert called == [1], "the query alone is read"


def test_embed_returns_unit_vectors_with_ids(run, shop):
    found = run.embed(shop, subset="image+audio", split="test")
    test = shop.split("test")
    have = [p.id for p in test if p.image is not None or p.audio is not None]
    assert list(found.ids) == have
    assert sorted([*found.ids, *found.left_out]) == sorted(p.id for p in test)
    np.testing.assert_allclose(np.linalg.norm(found.emb_ND, axis=1), 1.0, rtol=1e-5)


def test_scores_are_those_of_the_product(run, shop):
    product = next(p for p in shop if p.present != MODALITIES and len(p.present) > 2)
    scores = run.scores(shop[product.id])
    cosine_MM = scores.cosine_BMM[0]
    present_M = torch.tensor([m in product.present for m in MODALITIES])
    torch.testing.assert_close(cosine_MM.diagonal(), present_M.float())
    torch.testing.assert_close(scores.weighted_BMM, scores.cosine_BMM * scores.softmax_BMM)
    torch.testing.assert_close(scores.softmax_BMM[0].sum(1), present_M.float())
    with pytest.raises(CatalogueError, match="it has nothing"):
        run.scores(scale.Product(id="x"))


def test_evaluate_returns_a_row_per_number(run, shop):
    with pytest.raises(ValueError, match="memorisation; choose val or test"):
        run.evaluate(shop, split="train")
    found = run.evaluate(shop, split="train", allow_train=True)
    rows = found[
        (found.task == "retrieval.category")
        & (found.item == "+".join(MODALITIES))
        & (found.metric == "mAP@1")
    ]
    value = rows.set_index("model").value
    assert value["trained"] > value["chance"] + 0.2
    assert (found.low.dropna() <= found.high.dropna()).all()


def test_probes_choose_nothing_on_the_products_they_are_scored_on(run, shop, monkeypatch):
    seen = {}

    def probe(train, val, test, seed):
        seen[len(test.labels)] = (len(train.labels), len(val.labels), seed)
        return linear_probe(train, val, test, seed=seed)

    linear_probe = evaluate_module.linear_probe
    monkeypatch.setattr(evaluate_module, "linear_probe", probe)
    sizes = {split: len(shop.split(split)) for split in ("train", "val", "test")}
    for split, chosen_on in (("test", sizes["val"]), ("val", 0)):
        results = evaluate_module.evaluate_run(run, shop, split, tune=False, seed=3, progress=False)
        assert seen[sizes[split]] == (sizes["train"], chosen_on, 3)
        assert (results["split"], results["products"]) == (split, sizes[split])
        facts = results["classification"]["linear_probe"]["settings"]["trained"]
        assert facts["chosen on"] == ("val" if chosen_on else "nothing")


def test_the_untrained_model_is_the_model_of_step_0(run, shop, tmp_path):
    """Also if it began with pretrained weights."""
    config = run.config
    torch.manual_seed(3)
    width = config.model.width
    sizes = {"hidden_size": width, "intermediate_size": int(config.model.mlp_ratio * width)}
    heads = config.model.heads
    bert = BertModel(
        BertConfig(vocab_size=40, num_hidden_layers=2, num_attention_heads=heads, **sizes)
    )
    bert.save_pretrained(tmp_path / "bert")
    started = replace(config, model=replace(config.model, discrete_init=str(tmp_path / "bert")))
    untrained = replace(run, config=started).untrained()
    for m in ("text", "table"):
        layer = untrained.encoders[m].bert.encoder.layer[0].state_dict()
        for name, weight in bert.encoder.layer[0].state_dict().items():
            assert torch.equal(layer[name], weight), name
    random = run.untrained().state_dict()
    names = [n for n in random if not n.startswith(("encoders.text", "encoders.table"))]
    assert all(torch.equal(random[n], untrained.state_dict()[n]) for n in names)


def test_evaluate_compares_with_the_untrained_model(run, shop):
    arrays = {}

    def retrieval(stages, seed, **options):
        arrays.update(stages)
        return retrieval_results(stages, seed, **options)

    retrieval_results = evaluate_module.retrieval_results
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate_module, "retrieval_results", retrieval)
        evaluate_module.evaluate_run(run, shop, tune=False, progress=False)
    data = run.dataset(shop, "test")
    for stage, model in (("trained", run.model), ("untrained", run.untrained())):
        wanted = embed_dataset(model, data, progress=False).pooled_NMD
        np.testing.assert_allclose(arrays[stage].pooled_NMD, wanted, atol=1e-5)


def test_pretrain_changes_settings_and_load_reads_the_run(config, shop, cache_folder, tmp_path):
    out = tmp_path / "run"
    run = scale.pretrain(
        shop, config, out=out, steps=2, batch_size=8, loss={"weight_on": "loss"}, progress=False
    )
    again = scale.load(out)
    assert type(run) is type(again) is scale.Run
    assert (again.config.train.steps, again.config.loss.weight_on) == (2, "loss")
    assert again.config.mask == config.mask
    assert str(out) in repr(run)
    saved = scale.ScaleModel.from_pretrained(run.folder.checkpoint("last"))
    assert saved.config == run.model.config


def test_settings_are_checked():
    assert configure("tiny", {}) == tiny()
    assert configure("tiny", {"loss": tiny().loss, "mask": {"rate": 0.3}}).mask.rate == 0.3
    for settings, message in (
        ({"stepz": 3}, "unknown key train.stepz"),
        ({"loss": {"weight": 1}}, "unknown key loss.weight"),
        ({"loss": 3}, "loss must be a dictionary"),
        ({"steps": "many"}, "train.steps"),
    ):
        with pytest.raises(ValueError, match=message):
            configure("tiny", settings)
    with pytest.raises(ValueError, match="unknown preset 'huge'; known: micro, tiny"):
        configure("huge", {})


def test_open_takes_folders_files_frames_and_catalogues(shop, small_catalogue):
    import pandas as pd

    assert scale.open(shop) is shop
    assert scale.open(str(small_catalogue)).products == shop.products
    frame = pd.DataFrame({"id": ["a"], "title": ["Red mug"], "Colour": ["red"]})
    (product,) = scale.open(frame)
    assert (product.text, product.table) == ("Red mug", (("Colour", "red"),))


def test_pictures_and_sounds_train_without_any_text(tmp_path):
    """From the rows of a data frame to retrieval and a search with a picture."""
    rng = np.random.default_rng(0)
    rows = [
        {"id": n, "image": f"{n}.png", "audio": f"{n}.wav", "split": split}
        for n, split in enumerate(["train"] * 8 + ["val"] * 2 + ["test"] * 4)
    ]
    for row in rows:
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(tmp_path / row["image"])
        save_wave(tmp_path / row["audio"], rng.integers(-3000, 3000, 8000).astype(np.int16))
    shop = scale.data.Catalogue.from_records(rows, media=tmp_path)
    run = scale.pretrain(shop, "micro", out=tmp_path / "run", steps=2, progress=False)
    found = scale.load(tmp_path / "run").search(tmp_path / "3.png", shop, k=2)
    assert (found.id[0], found.similarity[0]) == ("3", 1.0)
    assert run.embed(shop).emb_ND.shape[0] == len(shop)
    with pytest.raises(CatalogueError, match="trained without text"):
        run.search("a cup", shop)
