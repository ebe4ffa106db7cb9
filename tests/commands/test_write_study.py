"""`write_study`: which pictures are drawn, and what is left out with a word."""

import dataclasses

import numpy as np
import pytest

from scale.commands.ablate import write_study
from scale.modalities import MODALITIES
from scale.studies.definitions import STUDIES
from scale.studies.study import Record


def runs(study, seeds=2, status="done", catalogue="shop.v1.2"):
    rng, found = np.random.default_rng(0), []
    for cell in study.cells:
        for seed in range(seeds):
            value_N = rng.uniform(0.2, 0.6, 12)
            named = ("mAP@5", "Recall@10")
            figures = {t.name: dict.fromkeys(named, float(value_N.mean())) for t in cell.tests}
            queries = {t.name: dict.fromkeys(named, value_N.tolist()) for t in cell.tests}
            figures["training"] = {f"own S' {m}": 0.4 for m in MODALITIES} | {"AUC S'": 0.6}
            if status == "failed":
                figures, queries = {}, {}
            found.append(Record(study.name, catalogue, "micro", f"{cell.factors}{seed}",
                                cell.factors, seed, status, "", figures, queries))  # fmt: skip
    return found


@pytest.mark.parametrize(
    ("name", "endings"),
    [
        ("noise", {"", "-claims", "-damage"}),
        ("weighting", {"", "-claims", "-scores"}),
        ("tasks", {"", "-claims"}),
    ],
)
def test_each_study_has_the_pictures_that_it_measures(tmp_path, name, endings):
    study = STUDIES[name](True)
    _, paths = write_study(study, runs(study), tmp_path, "en")
    assert {p.name for p in paths} == {p.name for p in tmp_path.iterdir()}
    stem = f"{name}-shop.v1.2"
    expected = {f"{stem}{e}.{kind}" for e in endings for kind in ("svg", "png")}
    assert {p.name for p in paths} == expected | {f"{stem}.md", f"{stem}.csv"}


def test_all_cells_failed(tmp_path, capsys):
    study = STUDIES["tasks"](True)
    _, paths = write_study(study, runs(study, status="failed"), tmp_path, "en")
    assert "no figure of the cells: no run of the study tasks has mAP@5" in capsys.readouterr().out
    assert {"tasks-shop.v1.2.md", "tasks-shop.v1.2.csv"} <= {p.name for p in paths}
    assert "tasks-shop.v1.2.png" not in {p.name for p in paths}
    assert "failed" in paths[0].read_text(encoding="utf-8")


def test_a_study_without_comparisons(tmp_path, capsys):
    study = dataclasses.replace(STUDIES["tasks"](True), comparisons=())
    _, paths = write_study(study, runs(study), tmp_path, "zh")
    assert "no figure of claims: the study tasks has no comparisons" in capsys.readouterr().out
    assert {p.name for p in paths} == {
        f"tasks-shop.v1.2{e}" for e in (".md", ".csv", "-zh.svg", "-zh.png")
    }
    assert "the study has no comparisons" in paths[0].read_text(encoding="utf-8")


def test_no_runs_at_all(tmp_path):
    with pytest.raises(ValueError, match="no finished runs of the study tasks"):
        write_study(STUDIES["tasks"](True), [], tmp_path, "en")
