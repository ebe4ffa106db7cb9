"""The commands end to end on a small catalogue, as a user types them."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

import scale
from scale import cli
from scale import demo as demo_module
from scale.commands.demo import LEARNED, overfit_one_batch
from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue
from scale.files import default_cache_folder
from scale.inference.evaluate import evaluate_run
from scale.inference.search import parse_query
from scale.modalities import MODALITIES, SUBSETS, subset_name
from scale.training.run import RunFolder, TrainedRun
from scale.viz import embeddings


def test_evaluate_writes_what_others_rely_on(run_folder, small_catalogue, tmp_path, capsys):
    code = cli.main(
        ["evaluate", str(run_folder), "--catalogue", str(small_catalogue), "--split", "train",
         "--allow-train", "--json", str(tmp_path / "copy.json"), "--no-figures"]
    )  # fmt: skip
    assert code == 0
    results = json.loads((run_folder / "results.json").read_text())
    assert results == json.loads((tmp_path / "copy.json").read_text())
    assert set(results["provenance"]) >= {"seed", "versions", "commit", "device", "seconds"}
    category = results["retrieval"]["category"]
    for stage in ("chance", "untrained", "trained"):
        assert set(category[stage]) == {subset_name(s) for s in SUBSETS}
        estimate = category[stage][subset_name(MODALITIES)]["mAP@1"]
        bounds = {"category_low", "category_high"}
        assert set(estimate) == {"value", "low", "high", "n"} | bounds
    instance = results["retrieval"]["instance"]
    for stage in ("chance", "trained"):
        directions = {f"{a}->{b}" for a in MODALITIES for b in MODALITIES if a != b}
        assert directions | {"alt_text->text"} <= set(instance[stage])
    probe = results["classification"]["linear_probe"]
    assert probe["trained"]["accuracy"]["value"] > probe["majority"]["accuracy"]["value"]
    assert {"trained", "untrained", "chance"} <= set(results["clustering"])
    best = category["trained"][subset_name(MODALITIES)]["mAP@1"]["value"]
    assert best > category["chance"][subset_name(MODALITIES)]["mAP@1"]["value"] + 0.2
    rows = (run_folder / "results.csv").read_text().splitlines()
    assert rows[0] == "section,stage,item,metric,value,low,high,n,category_low,category_high"
    assert len(rows) > 1000
    assert not (run_folder / "figures").exists()
    assert "mAP@1 by category, train split" in capsys.readouterr().out


def test_evaluate_prints_and_writes_the_baselines(run_folder, small_catalogue, tmp_path, capsys):
    out = tmp_path / "results.json"
    code = cli.main(
        ["evaluate", str(run_folder), "--catalogue", str(small_catalogue), "--baselines",
         "--no-fine-tune", "--no-figures", "--json", str(out)]
    )  # fmt: skip
    assert code == 0
    results, printed = json.loads(out.read_text()), capsys.readouterr().out
    stages = ("untrained", "handmade", "frozen", "trained")
    for part in ("category", "instance", "instance_mean"):
        assert list(results["retrieval"][part]) == ["chance", *stages]
    assert results["classification"]["linear_probe"].keys() >= {*stages, "majority"}
    assert results["clustering"].keys() >= set(stages)
    assert set(results["baselines"]) == {"handmade", "frozen"}
    for stage, name in zip(("chance", *stages), ("chance", *stages[:-1], "SCALE"), strict=True):
        mean = results["retrieval"]["instance_mean"][stage]["Recall@10"]["value"]
        assert re.search(rf"^  {name} +{mean:.3f} \[", printed, re.M), name
    value = {s: results["retrieval"]["instance"][s]["text->table"]["Recall@10"]["value"]
             for s in stages}  # fmt: skip
    best = max(("handmade", "frozen"), key=value.get)
    line = rf"^  text->table +{value['trained']:.2f}   {best} {value[best]:.2f}   [+-]"
    assert re.search(line, printed, re.M)


def test_evaluate_refuses_an_empty_split(run_folder, small_catalogue):
    catalogue = Catalogue.open(small_catalogue)
    catalogue = replace(catalogue, products=catalogue.split("train").products)
    with pytest.raises(ValueError, match="0 products in the split 'test'"):
        evaluate_run(TrainedRun.load(run_folder), catalogue, "test", progress=False)


@pytest.mark.parametrize("suffix", [".parquet", ".npy"])
def test_embed_writes_unit_vectors(run_folder, small_catalogue, tmp_path, suffix, capsys):
    out = tmp_path / f"vectors{suffix}"
    arguments = ["embed", str(run_folder), "--catalogue", str(small_catalogue), "--out", str(out)]
    assert cli.main([*arguments, "--subset", "image+audio"]) == 0
    if suffix == ".npy":
        emb_ND = np.load(out, allow_pickle=False)
    else:
        table = pq.read_table(out)
        emb_ND = np.stack(table["embedding"].to_numpy())
        assert table["id"][0].as_py() == "p00"
    catalogue = Catalogue.open(small_catalogue)
    have = sum(p.image is not None or p.audio is not None for p in catalogue)
    assert emb_ND.shape == (have, 16)
    np.testing.assert_allclose(np.linalg.norm(emb_ND, axis=1), 1.0, rtol=1e-5)
    assert f"{have} products" in capsys.readouterr().out


def test_search_by_words_and_by_picture(run_folder, small_catalogue, capsys):
    common = ["--run", str(run_folder), "--in", str(small_catalogue), "--k", "5"]
    assert cli.main(["search", "green thing", *common]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert sum("c1" in line for line in lines) >= 3, "four categories, named in the titles"
    picture = next(p for p in Catalogue.open(small_catalogue) if p.image)
    assert cli.main(["search", str(picture.image), *common, "--subset", "image"]) == 0
    first = capsys.readouterr().out.splitlines()[1]
    assert picture.id in first, "by its own picture a product finds itself"
    assert " 1.000 " in first


def test_search_writes_json_and_safe_csv(run_folder, tmp_path, capsys):
    records = [
        {"id": "a", "title": "=HYPERLINK(1)", "category": "@x", "table": [["price", "3 €"]]},
        {"id": "-b", "title": "\u202e red", "price": 7},
    ]
    (tmp_path / "products.jsonl").write_text("\n".join(map(json.dumps, records)))
    common = ["search", "green", "thing", "--run", str(run_folder), "--in", str(tmp_path)]
    assert cli.main([*common, "--json", "-", "--where", "price < 5"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert list(found) == ["rank", "id", "title", "category", "similarity"]
    assert (found["rank"], found["id"], found["title"]) == (1, "a", "=HYPERLINK(1)")
    path = tmp_path / "found.csv"
    assert cli.main([*common, "--csv", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "\u202e" not in printed
    assert "\\u202e red" in printed
    rows = {row["id"]: row for row in csv.DictReader(path.open())}
    assert (rows["a"]["title"], rows["a"]["category"]) == ("'=HYPERLINK(1)", "'@x")
    assert rows["'-b"]["category"] == ""
    float(rows["a"]["similarity"])
    assert cli.main([*common, "--where", "price > 9"]) == 0
    assert capsys.readouterr().out == "no product fulfils 'price > 9'\n"
    assert cli.main([*common, "--where", "cost > 9"]) == 2
    assert "no product has cost; names here" in capsys.readouterr().err


def test_search_in_an_index_by_condition_file_and_vectors(
    run_folder, small_catalogue, tmp_path, capsys
):
    run, shop = ["--run", str(run_folder)], str(small_catalogue)
    vectors, index = str(tmp_path / "vectors"), str(tmp_path / "index")
    assert cli.main(["embed", *run[1:], "--catalogue", shop, "--out", vectors]) == 0
    assert cli.main(["index", vectors, "--out", index, "--kind", "flat"]) == 0
    within = ["--index", index, "--in", shop, "--json", "-"]

    def search(*arguments):
        capsys.readouterr()
        assert cli.main(["search", *arguments, *within]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    expected = scale.load(run_folder).search("green thing", shop, k=4, where="size == 3")
    found = search("green thing", *run, "--k", "4", "--where", "size == 3")
    assert [hit["id"] for hit in found] == list(expected.id)
    picture = next(p for p in Catalogue.open(small_catalogue) if p.image)
    for where, first in (("", True), (f"id != '{picture.id}'", False)):
        found = search(str(picture.image), *run, "--where", where)
        assert (found[0]["id"] == picture.id) is first
    np.save(tmp_path / "q.npy", scale.load(run_folder).embed(shop).emb_ND[:2])
    found = search(str(tmp_path / "q.npy"), "--k", "1", "--run", "nowhere")
    assert [hit["query"] for hit in found] == [0, 1]
    assert found[1]["id"] == "p01"
    (tmp_path / "ids.txt").write_text("p01\n")
    remove = ["--remove", "p00", "--remove-list", str(tmp_path / "ids.txt")]
    assert cli.main(["index", "--out", index, *remove]) == 0
    assert "46 products (0 added and 2 removed" in capsys.readouterr().out
    left = {hit["id"] for hit in search(str(tmp_path / "q.npy"), "--k", "48")}
    assert (len(left), left & {"p00", "p01"}) == (46, set())
    for arguments, message in (
        ([], "give the folder of embeddings to build an index, or --add or --remove"),
        ([vectors, "--add", vectors], "give the folder of embeddings"),
        (["--remove", "p02", "--lists", "3"], "an existing index keeps its settings"),
        (["--add", vectors], "product id 'p02' is in"),
    ):
        assert cli.main(["index", "--out", index, *arguments]) == 2
        assert message in capsys.readouterr().err
    assert cli.main(["search", "x", *run, "--index", index, "--where", "size == 1"]) == 2
    assert "give the catalogue, too" in capsys.readouterr().err


def test_queries_that_cannot_be_asked(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        parse_query("nowhere.png")
    with pytest.raises(ValueError, match="empty"):
        parse_query("  ")
    for text in ("a cup, 3.5 cm", "shop.com.au", "mug v2.0"):
        assert parse_query(text).text == text
    notes = tmp_path / "notes.txt"
    notes.write_text("a file")
    with pytest.raises(ValueError, match=r"notes.txt: a file of unknown kind"):
        parse_query(str(notes))
    with pytest.raises(ValueError, match="two image files"):
        parse_query(str(notes), "x", str(notes), modality="image")
    both = parse_query("red", str(notes), "mug", modality="audio")
    assert (both.text, both.audio) == ("red mug", notes)


def test_inspect_prints_and_draws(small_catalogue, tmp_path, capsys):
    arguments = ["inspect", str(small_catalogue), "--json", str(tmp_path / "i.json"),
                 "--figure", str(tmp_path / "i.png")]  # fmt: skip
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "48" in printed
    assert "image" in printed
    assert json.loads((tmp_path / "i.json").read_text())["products"] == 48
    assert (tmp_path / "i.png").stat().st_size > 10_000


def test_doctor_overfits_one_batch_and_notices_a_cut_gradient(
    config, small_catalogue, cache_folder, tmp_path, monkeypatch
):
    config = replace(config, train=replace(config.train, learning_rate=1e-2))
    # Nine products for training: fewer negatives, so the contrastive loss falls sooner.
    few, cache = tmp_path / "few", FeatureCache()
    shutil.copytree(small_catalogue, few)
    lines = (few / "products.jsonl").read_text().splitlines()
    (few / "products.jsonl").write_text("\n".join(lines[:13]))
    checks = list(overfit_one_batch(config, few, steps=60, cache=cache))
    assert {c.name for c in checks} == {f"overfit {task}" for task in LEARNED}
    assert all(c.passed for c in checks), [str(c) for c in checks]
    # The same with heads that see nothing of the JCT: the masked tasks must fail.
    from scale.model.joint_transformer import JointCoTransformer

    original = JointCoTransformer.forward

    def blind(self, *arguments):
        return {m: 0.0 * fused for m, fused in original(self, *arguments).items()}

    monkeypatch.setattr(JointCoTransformer, "forward", blind)
    broken = list(overfit_one_batch(config, few, steps=60, cache=cache))
    failed = {c.name for c in broken if not c.passed}
    assert failed >= {"overfit MRP", "overfit MFP", "overfit MAM"}, [str(c) for c in broken]


def test_demo_makes_everything_once(config, small_catalogue, cache_folder, tmp_path, monkeypatch,
                                    capsys):  # fmt: skip
    small = replace(config, train=replace(config.train, steps=20, batch_size=8))
    monkeypatch.setattr(demo_module, "samples_folder", lambda: small_catalogue)
    monkeypatch.setattr(demo_module, "tiny", lambda: small)
    model = replace(small.model, pooling="projection", projection_width=8, lexical_pieces=64)
    projected = replace(small, model=model, loss=replace(small.loss, parts=0))
    monkeypatch.setattr(demo_module, "demo_config", lambda: projected)
    # One process, because a second one would not have these replacements.
    monkeypatch.setattr(demo_module, "available_cores", lambda: 1)
    # UMAP compiles for 20 seconds; tests/viz/test_embeddings.py runs it.
    monkeypatch.setattr(embeddings, "umap_coordinates", lambda emb_ND, *_: emb_ND[:, :2])
    out = tmp_path / "demo"
    demo_module.demo(out, progress=False)
    printed = capsys.readouterr().out
    named = re.findall(rf"{re.escape(str(out))}[\w/.]*", printed)
    assert len(named) >= 8
    for path in named:
        assert os.path.exists(path), f"the summary names {path}"  # noqa: PTH110
    assert {p.name for p in out.iterdir()} >= {
        "config.json", "metrics.jsonl", "checkpoint", "scores.parquet", "problems.jsonl",
        "results.json", "figures",
    }  # fmt: skip
    drawn = {p.stem for p in RunFolder(out).figures.glob("*.png")}
    assert drawn == {
        f"{name}_en" for name in (
            "catalogue", "product", "scores", "losses", "scores_over_time", "retrieval_sheet",
            "embedding_map", "retrieval_by_subset", "retrieval_by_direction",
        )
    }  # fmt: skip
    before = (RunFolder(out).results).stat().st_mtime_ns
    demo_module.demo(out, progress=False)
    assert capsys.readouterr().out.count("up to date") == 6
    assert RunFolder(out).results.stat().st_mtime_ns == before
    results = json.loads(RunFolder(out).results.read_text())
    RunFolder(out).results.unlink()
    monkeypatch.setattr(demo_module, "evaluate_run", lambda *_, **__: results)
    demo_module.demo(out, progress=False)
    assert json.loads(RunFolder(out).results.read_text()) == results
    assert capsys.readouterr().out.count("up to date") == 5, "only what is gone is made again"


def test_documentation_does_not_change_the_fingerprint_of_the_code(small_catalogue, tmp_path):
    """An edited docstring must not retrain the demo; an edited constant must."""
    catalogue, module = Catalogue.open(small_catalogue), tmp_path / "module.py"

    def fingerprint_of(source):
        module.write_text(source)
        return demo_module.fingerprint(catalogue, [module])

    code = (
        'class A:\n    """A."""\n    size: int = 3  # three\n    """Size."""\n\n'
        '    def grow(self):\n        """Grow."""\n        return "x" * self.size\n'
    )
    expected = fingerprint_of(code)
    assert fingerprint_of("# New.\n\n" + code.replace("Size.", "The size.")) == expected
    assert fingerprint_of(code.replace('        """Grow."""\n', "")) == expected
    for old, new in (("3", "4"), ('"x"', '"y"'), ("grow", "rise")):
        assert fingerprint_of(code.replace(old, new, 1)) != expected


def test_failures_are_one_plain_line_and_two(run_folder, small_catalogue, tmp_path, capsys):
    run, shop, out = run_folder, small_catalogue, tmp_path / "out"
    for arguments, message in (
        (["fly"], "unknown command 'fly'"),
        (["pretrain"], "--catalogue"),
        (["pretrain", "--preset", "huge"], "unknown preset 'huge'; known: micro, tiny"),
        (["pretrain", "--catalogue", "x", "--out", "y", "--train.stepz", "3"], "--train.stepz"),
        (["pretrain", "--catalogue", "nowhere", "--out", out], "nowhere"),
        (["evaluate", "nowhere", "--catalogue", "x"], "is nowhere the folder of a run?"),
        (["embed", run, "--catalogue", shop, "--out", "v.txt"], "v.txt"),
        (["embed", run, "--catalogue", shop, "--out", "v.npy", "--subset", "smell"],
         "unknown modality 'smell'"),
        (["search", "x.png", "--run", run, "--catalogue", shop], "x.png: no such file"),
        (["pretrain", "--catalogue", shop, "--out", out, "--train.device", "abacus"], "abacus"),
    ):  # fmt: skip
        assert cli.main(list(map(str, arguments))) == 2, arguments
        lines = [line for line in capsys.readouterr().err.splitlines() if message in line]
        assert len(lines) == 1, arguments
        assert "Traceback" not in lines[0]


def test_no_traceback_no_lost_report_and_the_variable_to_set(monkeypatch, capsys):
    """Errors that nobody foresaw; a terminal without Unicode; a home folder that is read-only."""

    def command(run):
        monkeypatch.setattr(cli, "_parse", lambda name, rest: SimpleNamespace(run=run))
        return cli.main(["inspect"])

    assert command(lambda: {}["x"]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert error.startswith("scale inspect: internal error, KeyError: 'x'")
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert command(lambda: print("Cr\u00e8me \u2581\u2582")) == 0
    assert sys.stdout.buffer.getvalue() == b"Cr?me ??\n"
    monkeypatch.undo()

    def refused():
        raise PermissionError(13, "Permission denied", str(default_cache_folder() / "weights"))

    assert command(refused) == 2
    assert "set SCALE_CACHE" in capsys.readouterr().err


def test_a_closed_pipe_is_quiet():
    """`scale --help | head -1`."""
    command = [sys.executable, "-m", "scale.cli", "--help"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_the_command_in_a_process_of_its_own():
    command = [sys.executable, "-m", "scale.cli"]
    failed = subprocess.run([*command, "inspect", "nowhere"], capture_output=True, text=True)
    assert failed.returncode == 2
    assert len(failed.stderr.strip().splitlines()) == 1
