"""`scale figures`, as a user types it; `make test-notebooks` draws every picture of the demo."""

import json
import logging
import re
import shutil
import warnings
from importlib import import_module

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from scale import cli
from scale.studies.definitions import STUDIES
from scale.viz import embeddings, registry
from scale.viz import writing as module
from scale.viz.registry import CORE, FIGURES, STUDY_FIGURES, Sources, draw, select
from scale.viz.words import WORDS, caption
from scale.viz.writing import failures, write_index, write_pictures

KINDS = ("json", "pdf", "png", "svg")


@pytest.fixture
def sources(run_folder, small_catalogue, tmp_path):
    return Sources(run_folder, small_catalogue, tmp_path / "studies")


@pytest.fixture
def empty_files(monkeypatch):
    """Figures are drawn but not rendered: their files are empty."""

    def touch(figure, stem, formats, live_text):
        paths = [stem.with_name(f"{stem.name}.{kind}") for kind in formats]
        for path in paths:
            path.touch()
        return paths

    monkeypatch.setattr(module, "save_figure", touch)


def test_a_name_belongs_to_one_picture():
    assert set(CORE) <= set(FIGURES)
    assert len(CORE) == len(set(CORE))


def test_names_are_listed(capsys):
    assert cli.main(["figures", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.removesuffix(" *") for line in lines} == set(FIGURES)
    assert [line.removesuffix(" *") for line in lines if line.endswith(" *")] == list(CORE)


def test_every_picture_has_a_caption():
    assert set(WORDS["en"]["captions"]) == set(FIGURES)


def test_figures_of_a_run(run_folder, small_catalogue, tmp_path):
    names = ["scores", "architecture"]
    code = cli.main(
        ["figures", *names, "--run", str(run_folder), "--catalogue", str(small_catalogue),
         "--out", str(tmp_path), "--lang", "zh", "--style", "slides"]
    )  # fmt: skip
    assert code == 0
    expected = {f"{name}_zh.{kind}" for name in names for kind in KINDS} | {"index_zh.md"}
    assert {path.name for path in tmp_path.iterdir()} == expected
    assert Image.open(tmp_path / "scores_zh.png").width > 1000


def test_each_figure_is_registered_by_the_module_that_is_listed_for_it():
    for name, module_name in FIGURES.items():
        import_module(f"scale.viz.{module_name}")
        function = registry._registered[name]
        function = getattr(function, "func", function)
        assert function.__module__ == f"scale.viz.{module_name}", name
    assert registry._registered.keys() == FIGURES.keys()
    assert {f"study_{name}" for name in STUDIES} | {"weight_diagnosis"} == set(STUDY_FIGURES)


def test_figures_of_a_run_and_its_catalogue_are_drawn(sources, monkeypatch):
    monkeypatch.setattr(embeddings, "umap_coordinates", lambda emb_ND, *_: emb_ND[:, :2])
    plots = [
        name
        for name, home in FIGURES.items()
        if not home.startswith("illustrations") and home != "studies"
    ]
    assert len(plots) > 13
    for name in plots:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            figure = draw(name, sources, "zh")
            figure.set_dpi(30)
            FigureCanvasAgg(figure).draw()


def test_a_caption_says_where_its_picture_comes_from(sources, tmp_path, run_folder, empty_files):
    write_pictures(("scores", "contrastive_idea"), sources, tmp_path, "en", "dark")
    scores, idea = (
        json.loads((tmp_path / f"{name}_en.json").read_text(encoding="utf-8"))
        for name in ("scores", "contrastive_idea")
    )
    assert scores["title"] == caption("scores", "en").title
    assert (scores["lang"], scores["style"], scores["seed"]) == ("en", "dark", 0)
    assert (scores["run"], scores["catalogue"]) == (run_folder.name, sources.catalogue_folder.name)
    # Outside the working folder, so as given: the command can be run.
    assert f"scale figures scores --run {run_folder} --catalogue" in scores["command"]
    assert scores["same_catalogue"] is True
    assert idea["same_catalogue"] is None
    assert scores["versions"]["matplotlib"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", scores["date"])
    assert all((tmp_path / name).is_file() for name in scores["files"])
    assert idea["run"] is idea["catalogue"] is None
    assert idea["command"] == "scale figures contrastive_idea --lang en --style dark --seed 0"


def test_the_index_has_each_picture_of_its_language_once(sources, tmp_path, empty_files):
    write_pictures(("weight_effects",), sources, tmp_path, "zh")
    written = write_pictures(("contrastive_idea",), sources, tmp_path, "zh")
    text = written.paths[-1].read_text(encoding="utf-8")
    # In the order of the talk, not of writing.
    assert re.findall("^## (.*)$", text, re.MULTILINE) == [
        caption(name, "zh").title for name in ("contrastive_idea", "weight_effects")
    ]
    assert all((tmp_path / name).is_file() for name in re.findall(r"\]\(([^)]*)\)", text))
    assert "_en." not in text
    english = write_index(tmp_path, tuple(FIGURES), "en").read_text(encoding="utf-8")
    assert "weight_effects" not in english


def test_the_same_bytes_come_out_twice(sources, tmp_path):
    """Chinese in type 3, because the shipped font is no TrueType; English in type 42."""
    for lang, formats in (("en", ("svg", "png", "pdf")), ("zh", ("png", "pdf"))):
        for folder in ("a", "b"):
            write_pictures(("scores",), sources, tmp_path / folder, lang, formats=formats)
        for kind in formats:
            first, second = (tmp_path / folder / f"scores_{lang}.{kind}" for folder in "ab")
            assert first.read_bytes() == second.read_bytes(), first.name
    english, chinese = ((tmp_path / "a" / f"scores_{k}.pdf").read_bytes() for k in ("en", "zh"))
    assert b"/CIDFontType2" in english
    assert b"/Type3" not in english
    assert b"/Type3" in chinese
    assert b"/CreationDate" not in english


@pytest.mark.slow
def test_processes_write_the_same_files(sources, tmp_path):
    names = ("scores", "contrastive_idea", "study_missing")
    for folder, processes in (("one", 1), ("two", 2)):
        written = write_pictures(
            names, sources, tmp_path / folder, ("en", "zh"), formats=("svg", "png"),
            captions=False, processes=processes,
        )  # fmt: skip
        assert list(written.failed) == ["study_missing"]
    one, two = (sorted((tmp_path / folder).iterdir()) for folder in ("one", "two"))
    assert len(one) == 8
    assert [path.name for path in one] == [path.name for path in two]
    for first, second in zip(one, two, strict=True):
        assert first.read_bytes() == second.read_bytes(), first.name


def test_figures_share_what_they_compute(sources):
    calls = []

    @registry.shared
    def slow(sources, text):
        calls.append(text)
        return sources.run_folder / text

    sources.used.clear()
    assert slow(sources, "a") == slow(sources, "a")
    assert slow(sources, "b") != slow(sources, "a")
    assert calls == ["a", "b"]

    @registry.shared
    def reads(sources):
        return len(sources.catalogue)

    assert sources.used == set()
    for _ in range(2):
        sources.used.clear()
        assert reads(sources) > 0
        assert sources.used == {"catalogue"}


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(registry, "draw", None)
    (tmp_path / "file").touch()
    for command in ("figures", "slides"):
        out = tmp_path / "file" / ("a" if command == "figures" else "a.pptx")
        assert cli.main([command, "--run", str(tmp_path), "--out", str(out)]) == 2
        assert capsys.readouterr().err == f"scale {command}: {tmp_path / 'file'}: not a folder\n"


def test_an_unknown_language_is_one_line(capsys):
    for command in ("figures", "slides"):
        assert cli.main([command, "--lang", "fr"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert error.lower().count("invalid choice") == 1
        assert "'fr'" in error
        assert "('en', 'zh')" in error


def test_one_broken_picture_stops_no_other(sources, tmp_path, monkeypatch, capsys, empty_files):
    def broken(sources, lang):
        raise ZeroDivisionError("by zero")

    import_module("scale.viz.scores")
    monkeypatch.setitem(registry._registered, "scores", broken)
    run, catalogue = str(sources.run_folder), str(sources.catalogue_folder)
    code = cli.main(["figures", "scores", "weight_effects", "--run", run, "--catalogue", catalogue,
                     "--out", str(tmp_path)])  # fmt: skip
    assert code == 2
    told = capsys.readouterr()
    assert "written: 1 figures" in told.out
    assert "1 of 2 figures were not drawn: ZeroDivisionError: by zero (scores)" in told.err
    assert (tmp_path / "weight_effects_en.pdf").is_file()
    assert not (tmp_path / "scores_en.json").is_file()


def test_equal_reasons_are_told_once():
    told = failures({"a": "no run", "b": "no study", "c": "no run"})
    assert told == "no run (a, c); no study (b)"


def test_an_unknown_name_and_a_missing_run_are_told(tmp_path, capsys):
    assert cli.main(["figures", "skores"]) == 2
    assert "no figure named skores; known: contrastive_idea, " in capsys.readouterr().err
    out = ["--out", str(tmp_path / "figures")]
    assert cli.main(["figures", "scores", "--run", str(tmp_path), *out]) == 2
    told = capsys.readouterr().err
    assert f"{tmp_path}: not a run; `make demo` trains runs/demo" in told
    assert not (tmp_path / "figures").exists()


def test_a_run_without_logs_is_told(sources, tmp_path, run_folder):
    bare = tmp_path / "bare"
    shutil.copytree(run_folder, bare, ignore=shutil.ignore_patterns("metrics.jsonl", "scores*"))
    lonely = Sources(bare, sources.catalogue_folder, tmp_path)
    failed = write_pictures(("scores_over_time", "losses"), lonely, tmp_path / "out").failed
    assert failed["scores_over_time"] == f"{bare}: no logged scores"
    assert failed["losses"] == f"{bare}: no logged losses"


def test_a_catalogue_without_test_products_is_told(sources, tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    lines = (sources.catalogue_folder / "products.jsonl").read_text().splitlines()
    kept = [record for record in map(json.loads, lines) if record["split"] == "train"]
    for record in kept:
        record.update(dict.fromkeys(("image", "video", "audio", "alt")))
    (folder / "products.jsonl").write_text("\n".join(map(json.dumps, kept)) + "\n")
    lonely = Sources(sources.run_folder, folder, tmp_path)
    failed = write_pictures(("product",), lonely, tmp_path / "out").failed
    assert failed == {"product": f"{folder}: no product in the test split"}


def test_studies_that_are_not_finished_are_left_out_of_a_group(sources, tmp_path):
    chosen = select((), "core", sources)
    assert chosen == [name for name in CORE if name not in STUDY_FIGURES]
    failed = write_pictures(("study_missing",), sources, tmp_path).failed
    assert "studies: no such folder; `scale ablate missing" in failed["study_missing"]
    sources.studies.mkdir()
    failed = write_pictures(("study_missing",), sources, tmp_path).failed
    assert "no finished runs of the study missing on" in failed["study_missing"]


def test_a_character_without_a_glyph_is_told_once_with_its_product(tmp_path, caplog, sources):
    folder = tmp_path / "shop"
    folder.mkdir()
    products = [
        {"id": f"t{k}", "title": "กาต้มน้ำ", "split": "test", "table": [["a", "b"]]} for k in range(3)
    ]
    (folder / "products.jsonl").write_text("\n".join(map(json.dumps, products)) + "\n")
    thai = Sources(sources.run_folder, folder, tmp_path)
    with caplog.at_level(logging.WARNING, logger=module.__name__):
        written = write_pictures(("product", "contact_sheet"), thai, tmp_path / "out")
    assert written.failed == {}
    lines = [record.getMessage() for record in caplog.records if "U+0E01" in record.getMessage()]
    assert lines == [
        "product: the shipped fonts lack 'ก' (U+0E01) of product t0; it is drawn as a box"
    ]
