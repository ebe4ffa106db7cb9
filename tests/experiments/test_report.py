"""The report says what the verdicts say, no more, and its tables are tables."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from scale.evaluation.bootstrap import Estimate
from scale.experiments.report import (
    ANSWERS,
    COLUMNS,
    answer,
    markdown,
    summarise,
    write_report,
)
from scale.experiments.statistics import Outcome
from scale.experiments.store import Record
from scale.experiments.study import METRICS, Cell, Comparison, Study
from scale.experiments.study import Test as Held

TESTS = (Held("held out"), Held("complete", complete=True))
CELLS = tuple(Cell({"policy": p, "rate": r}, tests=TESTS) for p in "abc" for r in (0.0, 0.5))
CLAIMS = (
    Comparison("a beats b", {"policy": "a"}, {"policy": "b"}),
    Comparison("b beats a", {"policy": "b"}, {"policy": "a"}),
    Comparison("a beats itself later", {"policy": "a", "rate": 0.0}, {"policy": "a", "rate": 0.5}),
    Comparison("a beats c", {"policy": "a"}, {"policy": "c"}, "complete", "Recall@10"),
)
STUDY = Study("missing", "Does a beat b?", ("policy", "rate"), CELLS, CLAIMS, seeds=4)
PROVENANCE = {
    "versions": {"torch": "2.11"}, "commit": "0123456789abcdef", "dirty": True, "device": "cpu",
    "threads": 1, "seconds": 10.0,
}  # fmt: skip


def records(failed=("c", 0.5), seeds=4):
    rng = np.random.default_rng(0)
    # One common draw of products and seeds, so that only the policy makes a difference.
    product_N = rng.random(40)
    found = []
    for cell in CELLS:
        policy, rate = cell.factors.values()
        for seed in range(seeds):
            values = product_N + 0.3 * (policy == "a") + 0.01 * rng.normal(size=40)
            figures = {t.name: {m: float(values.mean()) for m in METRICS} for t in TESTS}
            queries = {t.name: {m: values.tolist() for m in METRICS} for t in TESTS}
            run = Record("missing", "samples", "tiny", f"{cell.factors}{seed}", cell.factors, seed,
                         figures=figures, queries=queries, provenance=PROVENANCE)  # fmt: skip
            if (policy, rate) == failed:
                run = replace(run, status="failed", reason="a|b\nis left", figures={}, queries={})
            found.append(run)
    return found


def sentences(text):
    return {claim.claim: text.split(f"“{claim.claim}”: ")[1].split(" “")[0] for claim in CLAIMS}


def test_the_answer_follows_each_verdict():
    told = sentences(answer(summarise(STUDY, records())))
    assert told["a beats b"].startswith("yes; mAP@5 on held out differs by +0.3")
    assert "over 4 seeds" in told["a beats b"]
    assert "over 40 products" in told["a beats b"]
    assert told["b beats a"].startswith("no, the opposite; mAP@5 on held out differs by -0.3")
    assert told["a beats itself later"].startswith("the data do not decide; ")
    assert told["a beats c"].startswith("cannot be said; policy = c, rate = 0.5: a|b")


@pytest.mark.parametrize("verdict", ANSWERS)
def test_only_its_own_verdict_is_claimed(verdict):
    summary = summarise(STUDY, records())
    outcome = Outcome(CLAIMS[0], verdict, "a note")
    text = answer(replace(summary, outcomes=(outcome,)))
    assert f"“a beats b”: {ANSWERS[verdict]}; a note." in text
    assert not any(f": {word};" in text for word in set(ANSWERS.values()) - {ANSWERS[verdict]})


def test_a_verdict_that_many_tries_could_give_says_so():
    summary = summarise(STUDY, records())
    interval = Estimate(0.1, 0.01, 0.2, 4)
    outcome = Outcome(CLAIMS[0], "supported", "", interval, interval, p=0.03, p_holm=0.12)
    assert "Holm p = 0.12" in answer(replace(summary, outcomes=(outcome,)))
    settled = replace(outcome, p_holm=0.04)
    assert "Holm" not in answer(replace(summary, outcomes=(settled,)))


def test_failed_and_missing_cells_are_counted_and_named():
    some = [r for r in records() if not (r.factors == {"policy": "b", "rate": 0.5} and r.seed)]
    summary = summarise(STUDY, some)
    text = answer(summary)
    assert "Could not be trained (1 cell): policy = c, rate = 0.5 (a|b" in text
    assert "Not yet trained enough (1 cell): policy = b, rate = 0.5 (1 of 4)." in text
    assert "> **Not finished:** 3 of 24 runs are missing, in 1 of 6 cells." in markdown(summary)
    assert "fewer than two seeds" in text
    assert "Not finished" not in markdown(summarise(STUDY, records()))


def tables(text):
    found, lines = [], []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            lines.append(line.replace("\\|", "/"))
        elif lines:
            found.append(lines)
            lines = []
    return found


def test_the_tables_are_well_formed():
    text = markdown(summarise(STUDY, records()))
    cells, claims = tables(text)
    assert len(cells) == 2 + len(CELLS)
    assert len(claims) == 2 + len(CLAIMS)
    for table in (cells, claims):
        assert len({line.count("|") for line in table}) == 1
        assert set(table[1]) <= set("|- ")
    assert cells[0].startswith("| policy | rate | mAP@5, held out | Recall@10, held out | mAP@5, c")
    assert "4 failed: a/b is left" in cells[-1]


def test_the_means_and_the_sources_stand_in_it():
    summary = summarise(STUDY, records())
    text = markdown(summary)
    e = summary.rows[0].estimate("held out", "mAP@5")
    assert f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]" in text
    for fact in (
        STUDY.question,
        *METRICS.values(),
        "torch 2.11",
        "0123456789ab (changed)",
        "seeds: 0, 1, 2, 3",
        "device: cpu",
        "240 s in total",
        "40 (complete)",
    ):
        assert fact in text


def test_a_figure_on_fewer_seeds_says_so():
    blank = {t.name: dict.fromkeys(METRICS, float("nan")) for t in TESTS}
    found = [replace(r, figures=blank) if r.seed == 3 else r for r in records()]
    assert "(n = 3)" in markdown(summarise(STUDY, found))


def test_nothing_run_yet():
    summary = summarise(STUDY, [])
    text = markdown(summary)
    assert "Nothing has been trained yet." in text
    assert "24 of 24 runs are missing" in text
    assert all(len({line.count("|") for line in table}) == 1 for table in tables(text))


def test_one_seed_has_means_without_intervals():
    summary = summarise(STUDY.with_seeds(1), records(seeds=1))
    assert summary.rows[0].estimate("held out", "mAP@5").low is None
    assert "over 1 seed," in answer(summary)
    assert "yes" not in answer(summary)


def test_small_bounds_keep_their_sign():
    summary = summarise(STUDY, records())
    tiny = Estimate(0.0002, 0.0001, 0.0004, 4)
    text = answer(replace(summary, outcomes=(Outcome(CLAIMS[0], "supported", "", tiny, tiny),)))
    assert "+1e-04 to +4e-04 over 4 seeds" in text
    assert "0.000" not in text


def test_both_files_are_written(tmp_path):
    summary = summarise(STUDY, records())
    paths = write_report(tmp_path / "new" / "missing.md", summary)
    assert [p.name for p in paths] == ["missing.md", "missing.csv"]
    assert paths[0].read_text(encoding="utf-8") == markdown(summary)
    with paths[1].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["policy", "rate", *COLUMNS]
    assert len(rows) == len(CELLS) * len(TESTS) * len(METRICS)
    expected = summary.rows[0].estimate("held out", "mAP@5")
    assert float(rows[0]["value"]) == expected.value
    assert float(rows[0]["low"]) == expected.low
    assert rows[-1]["value"] == ""
    assert rows[-1]["failed"] == "4"
    assert len(list((tmp_path / "new").iterdir())) == 2
