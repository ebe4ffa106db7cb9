"""The front door: `scale.open`, `scale.pretrain`, `scale.load` and the methods of `Run`."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

import scale
from scale.config import configure, tiny
from scale.data.product import CatalogueError
from scale.evaluation.embed import embed_dataset
from scale.inference import evaluate as evaluate_module
from scale.modalities import MODALITIES


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
