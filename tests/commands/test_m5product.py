"""M5Product from its files to the retrieval of listed queries in a listed gallery."""

import json

import numpy as np
import pytest

import scale
from scale import cli
from scale.data.cache import FeatureCache
from scale.evaluation.embed import unit
from scale.inference.list_retrieval import evaluate_lists
from scale.modalities import MODALITIES
from tests.data.m5_files import Files


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A catalogue, a run of three steps on it, and the ids of its splits."""
    folder = tmp_path_factory.mktemp("m5")
    files = Files(folder, count=48)
    train, test = files.ids[:24], files.ids[24:]
    (folder / "train.json").write_text(json.dumps(train))
    (folder / "test.json").write_text(json.dumps(test))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALE_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        call("import", files.annotations, "--format", "m5product", "--out", "out",
             "--m5.regions", files.regions, "--m5.video", "video", "--m5.audio", "audio",
             "--m5.train", "train.json", "--m5.test", "test.json",
             "--m5.audio-frames", "3")  # fmt: skip
        assert "48 products" in str(scale.open("out").summary(progress=False))
        call("pretrain", "--catalogue", "out", "--out", "run", "--train.steps", "3",
             "--model.width", "16", "--model.heads", "2", "--model.encoder-layers", "1",
             "--model.jct-layers", "1", "--train.batch-size", "8",
             "--features.image-features", "file", "--model.image-length", "4",
             "--model.image-features", "8", "--features.video-features", "file",
             "--model.video-length", "2", "--model.video-features", "4",
             "--features.audio-features", "file", "--model.audio-length", "3",
             "--model.audio-features", "80")  # fmt: skip
    return folder, files, train, test


def call(*arguments):
    assert cli.main(list(map(str, arguments))) == 0


def write(path, value):
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def test_listed_queries_find_their_labels(shop, monkeypatch, capsys):
    folder, _, _, test = shop
    monkeypatch.setenv("SCALE_CACHE", str(folder / "cache"))
    monkeypatch.chdir(folder)
    # Labels of the lists, by no means those of the catalogue; pictures of a product are one entry.
    label = {name: "ab"[i // 2 % 2] for i, name in enumerate(test)}
    queries = {f"{name}#{n}": label[name] for name in test[:6] for n in (0, 1)} | {"404": "a"}
    gallery = {name: label[name] for name in test[3:]}
    write(folder / "queries.json", queries)
    write(folder / "gallery.json", gallery)
    arguments = ("evaluate", "run", "--catalogue", "out", "--queries", "queries.json",
                 "--gallery", "gallery.json")  # fmt: skip
    call(*arguments)
    few = json.loads((folder / "run" / "results-lists.json").read_text())["retrieval"]
    call(*arguments, "--all-subsets", "--json", "copy.json")
    printed = capsys.readouterr().out
    assert "queries: queries.json, 6 products, 1 absent, 6 repeated" in printed
    results = json.loads((folder / "run" / "results-lists.json").read_text())
    assert results == json.loads((folder / "copy.json").read_text())
    assert results["lists"]["queries"]["absent ids"] == ["404"]
    assert (folder / "run" / "results-lists.csv").is_file()
    assert not (folder / "run" / "results.json").exists()
    for kind in ("category", "category_full_gallery"):
        every = results["retrieval"][kind]["trained"]
        assert set(few[kind]["trained"]) == {"text+table+image+video+audio", *MODALITIES}
        assert len(every) == 31
        for subset, metrics in few[kind]["trained"].items():
            assert metrics == every[subset]
    # The slow twin: for each query, is its nearest other product of the gallery of its label?
    run = scale.load(folder / "run")
    for subset in ("text", "text+image"):
        found = run.embed("out", subset, "test")
        emb_ND = dict(zip(found.ids, unit(found.emb_ND), strict=True))
        hits = []
        for query in test[:6]:
            others = [name for name in gallery if name != query]
            best = max(others, key=lambda name: float(emb_ND[name] @ emb_ND[query]))
            hits.append(label[best] == label[query])
        estimate = results["retrieval"]["category"]["trained"][subset]["mAP@1"]
        assert estimate["value"] == pytest.approx(np.mean(hits))
        assert estimate["n"] == 6
    counts = results["retrieval"]["counts"]["category"]["text"]
    assert (counts["queries"], counts["gallery"]) == (6, 21)


def test_lists_without_labels_use_the_categories(shop):
    folder, _, _, test = shop
    queries, gallery = folder / "q.txt", folder / "g.txt"
    queries.write_text("\n".join(test[:5]))
    gallery.write_text("\n".join(test))
    cache = FeatureCache(folder / "cache")
    results = evaluate_lists(
        scale.load(folder / "run"), folder / "out", queries, gallery, cache=cache
    )
    # 7 of the 23 others have the query's category.
    value = results["retrieval"]["category"]["chance"]["text"]["Prec@1"]["value"]
    assert value == pytest.approx(7 / 23)
    assert results["lists"]["gallery"]["unlabelled"] == 0


def test_lists_that_measure_nothing_are_refused(shop):
    folder, _, train, test = shop
    run = scale.load(folder / "run")
    good = write(folder / "good.json", test)

    def refused(queries, gallery, reason, **options):
        paths = (write(folder / f"{n}.json", v) for n, v in (("x", queries), ("y", gallery)))
        with pytest.raises(ValueError, match=reason):
            evaluate_lists(run, folder / "out", *paths, **options)

    refused(["404"], test, r"x\.json: none of its 1 ids")
    refused(train[:2], test, "2 queries are in the split train")
    refused({test[0]: 3}, {test[1]: "lamp"}, "no label of .*'3' and 'lamp'")
    with pytest.raises(FileNotFoundError):
        evaluate_lists(run, folder / "out", folder / "gone.json", good)
    results = evaluate_lists(run, folder / "out", write(folder / "x.json", train[:2]), good,
                             allow_train=True, cache=FeatureCache(folder / "cache"))  # fmt: skip
    assert results["lists"]["queries"]["of the split train"] == 2


def test_both_lists_are_needed(shop, capsys):
    folder, *_ = shop
    for name in ("queries", "gallery"):
        arguments = ["evaluate", str(folder / "run"), "--catalogue", str(folder / "out"),
                     f"--{name}", str(folder / "train.json")]  # fmt: skip
        assert cli.main(arguments) == 2
        assert "give both --queries and --gallery" in capsys.readouterr().err
