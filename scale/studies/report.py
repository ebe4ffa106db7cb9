"""A study's runs as tables: a page of markdown, and the figures in long form."""

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from scale.evaluation.bootstrap import NOTHING, Estimate
from scale.files import write_whole
from scale.studies.answer import answer, count, interval, signed
from scale.studies.study import METRICS
from scale.studies.summary import Summary

COLUMNS = ("test", "metric", "value", "low", "high", "seeds", "failed", "reason")
COMPARISON_NOTE = (
    "Differences are better minus worse, as the claim has it. Over seeds: 95 % t interval of the "
    "paired difference; over products: 95 % interval of a paired bootstrap. A claim is supported "
    "where both lie above 0, contradicted where both lie below. p: paired t test over seeds; Holm: "
    "adjusted, so that the probability of one false difference or more among these comparisons, by "
    "chance of training, stays below the level."
)
DASH = "–"


def markdown(summary: Summary) -> str:
    """The report: what is unfinished, question, answer, table, comparisons, provenance."""
    parts = [f"# Study `{summary.study.name}`", _unfinished(summary)]
    heading = "## Cells: mean [95 % t interval over seeds]"
    parts += [f"**{summary.study.question}**", answer(summary), heading, _cell_table(summary)]
    if summary.outcomes:
        parts += ["## Comparisons", _comparison_table(summary), COMPARISON_NOTE]
    parts += ["## Where the numbers come from", _sources(summary)]
    return "\n\n".join(filter(None, parts)) + "\n"


def write_report(path: Path, summary: Summary) -> list[Path]:
    """Write `path` (markdown) and, beside it with the ending .csv, the table in long form.

    A row of the csv is a cell, test and metric: factors, then COLUMNS.
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*summary.study.factors, *COLUMNS))
    for row in summary.rows:
        for test, metric in summary.columns or (("", ""),):
            e = row.estimate(test, metric)
            facts = (test, metric, e.value, e.low, e.high, e.n, row.failed, row.reason)
            writer.writerow((*row.factors.values(), *facts))
    # with_suffix would cut a catalogue's name at its last dot.
    beside = path.with_name(f"{path.name.removesuffix('.md')}.csv")
    write_whole(beside, text.getvalue())
    write_whole(path, markdown(summary))
    return [path, beside]


def _unfinished(summary: Summary) -> str:
    rows, seeds, cells = summary.unfinished(), summary.study.seeds, len(summary.rows)
    missing = f"{sum(seeds - row.done for row in rows)} of {seeds * cells} runs are missing"
    where = f"in {len(rows)} of {count(cells, 'cell')}. What stands below can change."
    return f"> **Not finished:** {missing}, {where}" if rows else ""


def _cell_table(summary: Summary) -> str:
    """Tests that all cells have; below them, by test, those that only some have."""
    shared = summary.shared_tests()
    columns = [column for column in summary.columns if column[0] in shared]
    heads = [*summary.study.factors, *(f"{metric}, {test}" for test, metric in columns)]
    lines = []
    for row in summary.rows:
        figures = [_mean(row.estimate(*column), row.done) for column in columns]
        seeds = f"{row.done} of {summary.study.seeds}"
        seeds += f", {row.failed} failed: {row.reason}" if row.failed else ""
        lines.append([*row.factors.values(), *figures, seeds])
    first, rest = _table([*heads, "seeds"], lines), _rare_tests(summary, shared)
    return f"{first}\n\n{rest}" if rest else first


def _rare_tests(summary: Summary, shared: Sequence[str]) -> str:
    """A row per test that only some cells have; a column per such cell and metric."""
    rare = list(dict.fromkeys(test for test, _ in summary.columns if test not in shared))
    pairs = [
        (row, metric)
        for row in summary.rows
        for metric in summary.study.metrics
        if any(row.estimate(test, metric).n for test in rare)
    ]
    heads = ["test", *(f"{m}: {', '.join(map(str, r.factors.values()))}" for r, m in pairs)]
    lines = [[test, *(_mean(r.estimate(test, m), r.done) for r, m in pairs)] for test in rare]
    return _table(heads, lines) if pairs else ""


def _comparison_table(summary: Summary) -> str:
    heads = ("claim", "figure", "difference", "over seeds", "over products", "verdict", "p", "Holm",
             "note")  # fmt: skip
    lines = []
    for o in summary.outcomes:
        sides = (o.seeds, o.products or NOTHING)
        spread = [f"{interval(e)} (n = {e.n})" if e.n else DASH for e in sides]
        p = [DASH if p is None else f"{p:.2g}" for p in (o.p, o.p_holm)]
        difference = DASH if o.seeds.value is None else signed(o.seeds.value)
        figures = (f"{o.comparison.metric}, {o.comparison.test}", difference, *spread)
        lines.append([o.comparison.claim, *figures, o.verdict, *p, o.note or DASH])
    return _table(heads, lines)


def _sources(summary: Summary) -> str:
    facts = {**summary.provenance}
    products, seconds = facts.pop("products"), facts.pop("seconds")
    facts["held-out products"] = [f"{n} ({test})" for test, n in products.items()]
    facts["training and measuring"] = [f"{seconds:.0f} s in total"]
    lines = [f"- {name}: {', '.join(map(str, values)) or DASH}" for name, values in facts.items()]
    known = {m: METRICS.get(m, "measured by the cells themselves") for m in summary.study.metrics}
    return "\n".join([*lines, *(f"- {metric}: {text}" for metric, text in known.items())])


def _table(heads: Sequence[Any], lines: Sequence[Sequence[Any]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    # A bar or a line break inside a value would end its column or row.
    texts = [[" ".join(str(v).replace("|", "\\|").split()) for v in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in texts)


def _mean(e: Estimate, done: int) -> str:
    spread = "" if e.low is None else f" [{e.low:.3f}, {e.high:.3f}]"
    seeds = "" if e.n == done else f" (n = {e.n})"
    return DASH if e.value is None else f"{e.value:.3f}{spread}{seeds}"
