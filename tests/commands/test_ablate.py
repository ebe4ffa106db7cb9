"""`scale ablate` as a user types it: what it writes and prints, and how it fails."""

import csv
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import get_args

import pytest

from scale import cli
from scale.commands.ablate import StudyName
from scale.studies import runner
from scale.studies.definitions import STUDIES
from scale.studies.study import matches, read_records

SHORT = {"steps": 4, "uniform_steps": 1, "batch": 16, "test_products": 40}


@pytest.fixture
def short(monkeypatch):
    """The toys with two weightings and a few steps, in threads instead of processes."""

    def shortened(make):
        def made(quick):
            study = make(quick)
            kept = [c for c in study.cells if c.factors["weighting"] in ("uniform", "scores")]
            first = kept[0].factors
            kept = [
                replace(c, settings=c.settings | SHORT)
                for c in kept
                if all(c.factors[n] == v for n, v in first.items() if n != "weighting")
            ]
            claims = tuple(
                claim
                for claim in study.comparisons
                if all(
                    any(matches(c.factors, side) for c in kept)
                    for side in (claim.better, claim.worse)
                )
            )
            return replace(study, cells=tuple(kept), comparisons=claims)

        return made

    for name in ("toy", "scarcity"):
        monkeypatch.setitem(STUDIES, name, shortened(STUDIES[name]))
    monkeypatch.setattr(
        runner, "ProcessPoolExecutor", lambda workers, *_: ThreadPoolExecutor(workers)
    )


@pytest.mark.parametrize("name", ["toy", "scarcity"])
def test_it_runs_writes_and_answers(short, tmp_path, capsys, name):
    out = tmp_path / "studies"
    assert cli.main(["ablate", name, "--quick", "--out", str(out), "--jobs", "1"]) == 0
    stem = f"{name}-views"
    written = {path.name for path in out.iterdir()}
    assert {f"{stem}.{ending}" for ending in ("parquet", "md", "csv", "svg", "png")} <= written
    assert {f"{stem}-claims.svg", f"{stem}-claims.png"} <= written
    records = read_records(out / f"{stem}.parquet")
    assert [(r.factors["weighting"], r.seed) for r in records] == [
        (w, seed) for w in ("uniform", "scores") for seed in (0, 1, 2)
    ]
    assert all(0 <= r.figures["held out"]["recall"] <= 1 for r in records)
    assert all(r.provenance["seed"] == r.seed for r in records)
    study = STUDIES[name](True)
    page = (out / f"{stem}.md").read_text()
    assert study.question in page
    rows = list(csv.DictReader((out / f"{stem}.csv").open()))
    found = [r for r in rows if r["metric"] == "recall"]
    assert [row["weighting"] for row in found] == ["uniform", "scores"]
    mean = sum(r.figures["held out"]["recall"] for r in records[:3]) / 3
    assert float(found[0]["value"]) == pytest.approx(mean)
    printed = capsys.readouterr().out
    assert study.question in printed
    assert "S' beats uniform weights" in printed.replace("\n", " ")
    for file in written:
        assert file.endswith(".parquet") or str(out / file) in printed


def test_the_same_command_goes_on_and_report_only_trains_nothing(
    short, tmp_path, capsys, monkeypatch
):
    arguments = ["ablate", "toy", "--out", str(tmp_path), "--jobs", "1"]
    assert cli.main([*arguments, "--seeds", "1"]) == 0
    first = read_records(tmp_path / "toy-views.parquet")
    assert cli.main([*arguments, "--seeds", "2"]) == 0
    both = read_records(tmp_path / "toy-views.parquet")
    dates = {r.key: (r.provenance["date"], r.provenance["seconds"]) for r in both}
    assert len(both) == 2 * len(first) == 4
    assert all(dates[r.key] == (r.provenance["date"], r.provenance["seconds"]) for r in first)
    monkeypatch.setattr(runner, "_run_all", lambda *_: pytest.fail("it trains"))
    (tmp_path / "toy-views.md").unlink()
    capsys.readouterr()
    assert cli.main([*arguments, "--seeds", "2", "--report-only", "--lang", "zh"]) == 0
    assert (tmp_path / "toy-views.md").is_file()
    assert (tmp_path / "toy-views-zh.svg").is_file()
    assert "toy-views-zh.svg" in capsys.readouterr().out


def test_failures_are_one_plain_line_and_two(small_catalogue, tmp_path, capsys):
    for arguments, message in (
        (["flying"], "flying"),
        ([], "Name of the study"),
        (["missing"], "the study missing needs --catalogue FOLDER"),
        (["missing", "--quick", "--report-only"], "the study missing needs --catalogue FOLDER"),
        (["missing", "--catalogue", "nowhere"], "nowhere"),
        (["missing", "--catalogue", "nowhere", "--report-only"],
         "no finished runs of the study missing in"),
        (["toy", "--report-only"], "no finished runs of the study toy in"),
        (["scarcity", "--report-only"], "no finished runs of the study scarcity in"),
        (["missing", "--catalogue", str(small_catalogue), "--preset", "huge"],
         "unknown preset 'huge'; known: micro, tiny, "),
        (["toy", "--seeds", "0"], "study toy: seeds must be positive"),
        (["toy", "--seeds", "-1"], "study toy: seeds must be positive"),
        (["toy", "--lang", "fr"], "fr"),
        (["toy", "--held-out", "val"], "the study toy has no splits: omit --held-out"),
        (["missing", "--catalogue", str(small_catalogue), "--held-out", "val+test"],
         "studies measure on test or val, not on 'val+test'"),
    ):  # fmt: skip
        assert cli.main(["ablate", *arguments, "--out", str(tmp_path / "out")]) == 2, arguments
        printed = capsys.readouterr()
        assert len(printed.err.strip().splitlines()) == 1, arguments
        assert message in printed.err
        assert "Traceback" not in printed.err
        assert printed.out == ""


def test_help_names_every_study(capsys):
    assert get_args(StudyName) == tuple(STUDIES)
    assert cli.main(["ablate", "--help"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for name in STUDIES:
        assert name in printed
        assert f"{name}:" in printed, "the help says what each study asks"
    for option in ("--catalogue", "--seeds", "--quick", "--report-only", "--jobs", "--held-out"):
        assert option in printed


def test_a_study_that_is_stopped_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "_run_all", stopped)
    assert cli.main(["ablate", "toy", "--out", str(tmp_path)]) == 130
    assert "the same command continues" in capsys.readouterr().err
