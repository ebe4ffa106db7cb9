"""Reports: the conclusion agrees with the verdicts, and the tables are valid."""

import csv
from dataclasses import replace

import numpy as np

from scale.evaluation.bootstrap import Estimate
from scale.studies.report import COLUMNS, VERDICT_WORDS, conclusion, markdown, write_report
from scale.studies.statistics import Outcome, summarise
from scale.studies.study import METRICS, Cell, Comparison, Record, Study
from scale.studies.study import Test as Held

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
            figures = {t.name: {m: float(values.mean()) for m in STUDY.metrics} for t in TESTS}
            queries = {t.name: {m: values.tolist() for m in STUDY.metrics} for t in TESTS}
            run = Record("missing", "samples", "tiny", f"{cell.factors}{seed}", cell.factors, seed,
                         figures=figures, queries=queries, provenance=PROVENANCE)  # fmt: skip
            if (policy, rate) == failed:
                run = replace(run, status="failed", reason="a|b\nis left", figures={}, queries={})
            found.append(run)
    return found


def sentences(text):
    return {claim.claim: text.split(f"“{claim.claim}”: ")[1].split(" “")[0] for claim in CLAIMS}


def test_conclusion_states_each_verdict():
    stated = sentences(conclusion(summarise(STUDY, records())))
    assert stated["a beats b"].startswith("yes; mAP@5 on held out differs by +0.3")
    assert "over 4 seeds" in stated["a beats b"]
    assert "over 40 products" in stated["a beats b"]
    assert stated["b beats a"].startswith("no, the opposite; mAP@5 on held out differs by -0.3")
    assert stated["a beats itself later"].startswith("the data do not decide; ")
    assert stated["a beats c"].startswith("cannot be evaluated; policy = c, rate = 0.5: a|b")


def test_conclusion_states_no_other_verdict():
    summary = summarise(STUDY, records())
    for verdict, words in VERDICT_WORDS.items():
        outcome = Outcome(CLAIMS[0], verdict, "a note")
        text = conclusion(replace(summary, outcomes=(outcome,)))
        assert f"“a beats b”: {words}; a note." in text
        assert not any(f": {other};" in text for other in set(VERDICT_WORDS.values()) - {words})


def test_conclusion_names_what_a_verdict_lacks():
    e = Estimate(0.1, 0.01, 0.2, 4)
    note = "p = 0.12 after Holm's correction"
    outcome = Outcome(CLAIMS[0], "not decided", note, e, e, replace(e, n=7), p=0.03, p_holm=0.12)
    text = conclusion(replace(summarise(STUDY, records()), outcomes=(outcome,)))
    assert "+0.010 to +0.200 over 4 products, +0.010 to +0.200 over 7 categories" in text
    assert f"; {note}." in text
    assert "the data do not decide" in text


def test_conclusion_lists_failed_and_unfinished_cells():
    some = [r for r in records() if not (r.factors == {"policy": "b", "rate": 0.5} and r.seed)]
    summary = summarise(STUDY, some)
    text = conclusion(summary)
    assert "Could not be trained (1 cell): policy = c, rate = 0.5 (a|b" in text
    assert "Not all seeds have run (1 cell): policy = b, rate = 0.5 (1 of 4)." in text
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


def test_tables_are_well_formed():
    text = markdown(summarise(STUDY, records()))
    cells, claims = tables(text)
    assert len(cells) == 2 + len(CELLS)
    assert len(claims) == 2 + len(CLAIMS)
    for table in (cells, claims):
        assert len({line.count("|") for line in table}) == 1
        assert set(table[1]) <= set("|- ")
    assert cells[0].startswith("| policy | rate | mAP@5, held out | Recall@10, held out | mAP@5, c")
    assert "4 failed: a/b is left" in cells[-1]


def test_report_contains_means_and_provenance():
    summary = summarise(STUDY, records())
    text = markdown(summary)
    e = summary.rows[0].estimate("held out", "mAP@5")
    assert f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]" in text
    for fact in (
        STUDY.question,
        *(METRICS[metric] for metric in STUDY.metrics),
        "torch 2.11",
        "0123456789ab (changed)",
        "seeds: 0, 1, 2, 3",
        "device: cpu",
        "240 s in total",
        "40 (complete)",
    ):
        assert fact in text


def test_figure_on_fewer_seeds_is_marked():
    blank = {t.name: dict.fromkeys(STUDY.metrics, float("nan")) for t in TESTS}
    found = [replace(r, figures=blank) if r.seed == 3 else r for r in records()]
    assert "(n = 3)" in markdown(summarise(STUDY, found))


def test_report_without_runs():
    summary = summarise(STUDY, [])
    text = markdown(summary)
    assert "Nothing has been trained yet." in text
    assert "24 of 24 runs are missing" in text
    assert all(len({line.count("|") for line in table}) == 1 for table in tables(text))


def test_one_seed_has_means_without_intervals():
    summary = summarise(STUDY.with_seeds(1), records(seeds=1))
    assert summary.rows[0].estimate("held out", "mAP@5").low is None
    assert "over 1 seed," in conclusion(summary)
    assert "yes" not in conclusion(summary)


def test_small_bounds_keep_their_sign():
    summary = summarise(STUDY, records())
    tiny = Estimate(0.0002, 0.0001, 0.0004, 4)
    text = conclusion(replace(summary, outcomes=(Outcome(CLAIMS[0], "supported", "", tiny, tiny),)))
    assert "+1e-04 to +4e-04 over 4 seeds" in text
    assert "0.000" not in text


def test_write_report_writes_both_files(tmp_path):
    summary = summarise(STUDY, records())
    paths = write_report(tmp_path / "new" / "missing.md", summary)
    assert [p.name for p in paths] == ["missing.md", "missing.csv"]
    assert paths[0].read_text(encoding="utf-8") == markdown(summary)
    with paths[1].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["policy", "rate", *COLUMNS]
    assert len(rows) == len(CELLS) * len(TESTS) * len(STUDY.metrics)
    expected = summary.rows[0].estimate("held out", "mAP@5")
    assert float(rows[0]["value"]) == expected.value
    assert float(rows[0]["low"]) == expected.low
    assert rows[-1]["value"] == ""
    assert rows[-1]["failed"] == "4"
    assert len(list((tmp_path / "new").iterdir())) == 2


def test_names_with_dots_are_kept(tmp_path):
    paths = write_report(tmp_path / "missing-shop.v1.2.md", summarise(STUDY, records()))
    assert [p.name for p in paths] == ["missing-shop.v1.2.md", "missing-shop.v1.2.csv"]
    assert all(path.is_file() for path in paths)


def test_shared_metric_and_test_are_stated_once():
    summary = summarise(replace(STUDY, comparisons=CLAIMS[:3]), records())
    text = conclusion(summary)
    assert text.startswith("On catalogue samples with preset tiny, by mAP@5 on held out: “a beats")
    assert text.count("held out") == 1
    assert "; differs by +0.3" in text


def many(verdicts, metrics=("mAP@5",)):
    """A summary with a claim under each of two regimes for every verdict and metric."""
    e = Estimate(0.1, 0.05, 0.15, 5)
    outcomes = [
        Outcome(Comparison(f"{regime}: claim {k}", {}, {}, metric=metric), verdict, "a reason",
                e, replace(e, n=40), replace(e, n=9), p=0.01, p_holm=0.01)
        for metric in metrics
        for regime in ("clean", "noisy")
        for k, verdict in enumerate(verdicts)
    ]  # fmt: skip
    return replace(summarise(STUDY, records(failed=None)), outcomes=tuple(outcomes))


VERDICTS = ("supported",) + ("contradicted",) * 2 + ("not decided",) * 3 + ("impossible",)


def parts(text):
    """Return the part of the conclusion on each verdict."""
    heads = {v: f"{v.capitalize()} ({words}): " for v, words in VERDICT_WORDS.items()}
    assert [text.count(head) for head in heads.values()] == [1] * 4
    ends = sorted([*(text.index(head) for head in heads.values()), len(text)])
    return {
        v: text[text.index(head) : ends[ends.index(text.index(head)) + 1]]
        for v, head in heads.items()
    }


def test_many_claims_are_counted_and_listed_by_verdict():
    text = conclusion(many(VERDICTS))
    assert "of 14 claims, 2 supported, 4 contradicted, 6 not decided, 2 impossible." in text
    assert "\n" not in text
    stated = parts(text)
    for k, verdict in enumerate(VERDICTS):
        for other, sentence in stated.items():
            assert sentence.count(f"claim {k}”") == (2 if other == verdict else 0)
    for verdict in ("supported", "contradicted"):
        assert ("clean – " in stated[verdict]) == (VERDICTS.count(verdict) > 1)
        numbers = ", ".join(["[+0.050, +0.150]"] * 3)
        assert stated[verdict].count(numbers) == 2 * VERDICTS.count(verdict)
    assert "over 5 seeds, then over 40 products, then over 9 categories" in text
    assert "+0.1" not in stated["not decided"] + stated["impossible"]
    assert "a reason" in stated["impossible"]


def test_many_claims_count_those_that_fail_only_holm():
    one = many(VERDICTS)
    assert "6 not decided" in conclusion(one)
    wide = [replace(o, categories=Estimate(0.1, -0.1, 0.3, 9)) if k in (3, 4) else o
            for k, o in enumerate(one.outcomes)]  # fmt: skip
    text = conclusion(replace(one, outcomes=tuple(wide)))
    assert ("Of the 6 not decided, 4 have all intervals on one side of 0, but p above 0.05 after "
            "Holm's correction.") in text  # fmt: skip


def test_shared_note_is_stated_once():
    one = many(VERDICTS)
    assert conclusion(one).count("a reason") == 1 + 2, "once for all, and at the impossible ones"
    notes = [replace(o, note=f"reason {k}") for k, o in enumerate(one.outcomes)]
    assert "+0.150], reason 1)" in conclusion(replace(one, outcomes=tuple(notes)))


def test_many_claims_are_grouped_over_metrics():
    text = conclusion(many(VERDICTS, ("mAP@5", "Recall@10")))
    assert "All on held out." in text
    stated = parts(text)
    assert stated["supported"].count("claim 0”") == 2
    intervals = ", ".join(["[+0.050, +0.150]"] * 3)
    assert f"(mAP@5 +0.100 {intervals}; Recall@10" in text
    assert "mAP@5" not in stated["not decided"]
    one = many(VERDICTS, ("mAP@5", "Recall@10"))
    changed = [replace(o, verdict="supported") if k == 4 else o for k, o in enumerate(one.outcomes)]
    assert "claim 4” (Recall@10)" in parts(conclusion(replace(one, outcomes=tuple(changed))))[
        "not decided"
    ]  # fmt: skip


def test_comparison_table_lists_all_claims():
    text = markdown(many(VERDICTS))
    assert sum(line.startswith(("| clean: claim", "| noisy: claim")) for line in
               text.splitlines()) == 14  # fmt: skip


def test_tests_of_few_cells_have_a_separate_table():
    tests = (*TESTS, *(Held(f"blur {k}") for k in range(30)))
    cells = (replace(CELLS[0], tests=tests), *CELLS[1:])
    found = records(failed=None)
    for run in found:
        if run.factors == CELLS[0].factors:
            run.figures.update({f"blur {k}": {"mAP@5": 0.1 + 0.01 * k} for k in range(30)})
    summary = summarise(replace(STUDY, cells=cells), found)
    assert summary.shared_tests() == ["held out", "complete"]
    main, rare, _ = tables(markdown(summary))
    assert "blur" not in main[0]
    assert rare[0] == "| test | mAP@5: a, 0.0 |"
    assert rare[2].startswith("| blur 0 | 0.100 [")
    assert len(rare) == 2 + 30


def test_training_figures_have_a_column():
    claim = Comparison("it sees", {"policy": "a"}, {"policy": "b"}, "training", "AUC")
    study = replace(STUDY, metrics=("AUC",), comparisons=(claim,))
    found = [replace(r, figures={"training": {"AUC": 0.6}}, queries={}) for r in records(None)]
    summary = summarise(study, found)
    assert summary.columns == (("training", "AUC"),)
    assert summary.shared_tests() == ["training"]
