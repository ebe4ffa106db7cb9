"""A study's runs as text and table: an answer that claims no more than the verdicts do."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from scale.evaluation.bootstrap import NOTHING, Estimate
from scale.experiments.statistics import Outcome, compare_all, named, over_seeds, runs_of
from scale.experiments.store import Record
from scale.experiments.study import METRICS, Factor, Study
from scale.files import write_whole

ANSWERS = {
    "supported": "yes", "contradicted": "no, the opposite",
    "not decided": "the data do not decide", "impossible": "cannot be said",
}  # fmt: skip
COLUMNS = ("test", "metric", "value", "low", "high", "seeds", "failed", "reason")
COMPARISON_NOTE = (
    "Differences are better minus worse, as the claim has it. Over seeds: 95 % t interval of the "
    "paired difference; over products: 95 % interval of a paired bootstrap. A claim is supported "
    "where both lie above 0, contradicted where both lie below. p: paired t test over seeds; Holm: "
    "adjusted, so that the probability of one false difference or more among these comparisons, by "
    "chance of training, stays below the level."
)
ALPHA = 0.05
DASH = "–"


@dataclass(frozen=True)
class Row:
    """One cell over its seeds."""

    factors: dict[str, Factor]
    figures: dict[str, dict[str, Estimate]]
    """By test, then by metric of the study: mean with t interval over seeds."""
    done: int
    """Seeds with a finished run."""
    failed: int = 0
    """Seeds that could not be trained."""
    reason: str = ""
    """Why not; empty where none failed."""

    def estimate(self, test: str, metric: str) -> Estimate:
        """The cell's figure; NOTHING where it has none."""
        return self.figures.get(test, {}).get(metric, NOTHING)


@dataclass(frozen=True)
class Summary:
    """All that a study's runs say."""

    study: Study
    catalogue: str
    """Empty where nothing has run yet; so is `preset`."""
    preset: str
    rows: tuple[Row, ...]
    """One per cell, in the study's order."""
    outcomes: tuple[Outcome, ...]
    """One per comparison, in the study's order."""
    columns: tuple[tuple[str, str], ...]
    """Tests and metrics that a run has measured, in the study's order."""
    provenance: dict[str, Any]
    """seeds, device, threads, versions, commit (`(changed)` where the checkout differed from it):
    lists; seconds: total; products: number by test."""

    def unfinished(self) -> list[Row]:
        """Cells with fewer runs than the study asks for, but for those that cannot be trained."""
        return [r for r in self.rows if not r.failed and r.done < self.study.seeds]


def summarise(study: Study, records: Sequence[Record]) -> Summary:
    """The study's table, comparisons and provenance from its runs, finished or not.

    Records of other cells are left out. Raises ValueError for records of several catalogues or
    presets, and for two of the same cell and seed.
    """
    runs = runs_of(study, records)
    tests = dict.fromkeys(test.name for cell in study.cells for test in cell.tests)
    columns = tuple(
        (test, metric)
        for test in tests
        for metric in study.metrics
        if any(metric in record.figures.get(test, {}) for record in runs.values())
    )
    return Summary(
        study,
        next((record.catalogue for record in runs.values()), ""),
        next((record.preset for record in runs.values()), ""),
        tuple(_row(cell.factors, columns, list(runs.values())) for cell in study.cells),
        tuple(compare_all(study, runs)),
        columns,
        _provenance(list(runs.values())),
    )


def markdown(summary: Summary) -> str:
    """The report: what is unfinished, question, answer, table, comparisons, provenance."""
    parts = [f"# Study `{summary.study.name}`", _unfinished(summary)]
    heading = "## Cells: mean [95 % t interval over seeds]"
    parts += [f"**{summary.study.question}**", answer(summary), heading, _cell_table(summary)]
    if summary.outcomes:
        parts += ["## Comparisons", _comparison_table(summary), COMPARISON_NOTE]
    parts += ["## Where the numbers come from", _sources(summary)]
    return "\n\n".join(filter(None, parts)) + "\n"


def answer(summary: Summary) -> str:
    """One paragraph: every claim with verdict, difference and intervals; then what is missing."""
    if not summary.catalogue:
        return "Nothing has been trained yet."
    where = f"On catalogue {summary.catalogue} with preset {summary.preset}:"
    sentences = [where, *(_sentence(outcome) for outcome in summary.outcomes)]
    failed, unfinished = [r for r in summary.rows if r.failed], summary.unfinished()
    for rows, state in ((failed, "Could not be trained"), (unfinished, "Not yet trained enough")):
        parts = [f"{named(r.factors)} ({r.reason or f'{r.done} of {summary.study.seeds}'})"
                 for r in rows]  # fmt: skip
        if parts:
            sentences.append(f"{state} ({_count(len(rows), 'cell')}): {'; '.join(parts)}.")
    return " ".join(sentences)


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
    write_whole(path.with_suffix(".csv"), text.getvalue())
    write_whole(path, markdown(summary))
    return [path, path.with_suffix(".csv")]


def _row(factors: dict[str, Factor], columns: Sequence[Any], records: Sequence[Record]) -> Row:
    done = [r for r in records if r.factors == factors and r.status == "done"]
    failed = [r for r in records if r.factors == factors and r.status == "failed"]
    figures: dict[str, dict[str, Estimate]] = {}
    for test, metric in columns:
        value_S = np.array([r.figures.get(test, {}).get(metric, np.nan) for r in done], dtype=float)
        figures.setdefault(test, {})[metric] = over_seeds(value_S)
    return Row(factors, figures, len(done), len(failed), failed[0].reason if failed else "")


def _provenance(records: Sequence[Record]) -> dict[str, Any]:
    facts = [record.provenance for record in records]
    commits = [(fact.get("commit") or "unknown", bool(fact.get("dirty"))) for fact in facts]
    versions = {f"{k} {v}" for fact in facts for k, v in fact.get("versions", {}).items()}
    queries = [item for record in records for item in record.queries.items()]
    return {
        "seeds": sorted({record.seed for record in records}),
        "device": sorted({str(fact.get("device", "unknown")) for fact in facts}),
        "threads": sorted({str(fact.get("threads", "unknown")) for fact in facts}),
        "versions": sorted(versions),
        "commit": sorted({c[:12] + " (changed)" * dirty for c, dirty in commits}),
        "seconds": sum(fact.get("seconds") or 0.0 for fact in facts),
        "products": {test: len(v) for test, by_metric in queries for v in by_metric.values()},
    }


def _unfinished(summary: Summary) -> str:
    rows, seeds, cells = summary.unfinished(), summary.study.seeds, len(summary.rows)
    missing = f"{sum(seeds - row.done for row in rows)} of {seeds * cells} runs are missing"
    where = f"in {len(rows)} of {_count(cells, 'cell')}. What stands below can change."
    return f"> **Not finished:** {missing}, {where}" if rows else ""


def _sentence(o: Outcome) -> str:
    text = f"“{o.comparison.claim}”: {ANSWERS[o.verdict]}"
    if o.seeds.value is not None:
        at = f"{o.comparison.metric} on {o.comparison.test}"
        told = [f"{_interval(o.seeds)} over {_count(o.seeds.n, 'seed')}"]
        if o.products:
            told.append(f"{_interval(o.products)} over {_count(o.products.n, 'product')}")
        text += f"; {at} differs by {_signed(o.seeds.value)}, 95 % interval {', '.join(told)}"
    text += f"; {o.note}" if o.note else ""
    if o.verdict in ("supported", "contradicted") and o.p_holm is not None and o.p_holm > ALPHA:
        text += f"; not beyond what several comparisons give by chance (Holm p = {o.p_holm:.2g})"
    return f"{text}."


def _cell_table(summary: Summary) -> str:
    heads = [*summary.study.factors, *(f"{metric}, {test}" for test, metric in summary.columns)]
    lines = []
    for row in summary.rows:
        figures = [_mean(row.estimate(*column), row.done) for column in summary.columns]
        seeds = f"{row.done} of {summary.study.seeds}"
        seeds += f", {row.failed} failed: {row.reason}" if row.failed else ""
        lines.append([*row.factors.values(), *figures, seeds])
    return _table([*heads, "seeds"], lines)


def _comparison_table(summary: Summary) -> str:
    heads = ("claim", "figure", "difference", "over seeds", "over products", "verdict", "p", "Holm",
             "note")  # fmt: skip
    lines = []
    for o in summary.outcomes:
        sides = (o.seeds, o.products or NOTHING)
        spread = [f"{_interval(e)} (n = {e.n})" if e.n else DASH for e in sides]
        p = [DASH if p is None else f"{p:.2g}" for p in (o.p, o.p_holm)]
        difference = DASH if o.seeds.value is None else _signed(o.seeds.value)
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


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _mean(e: Estimate, done: int) -> str:
    spread = "" if e.low is None else f" [{e.low:.3f}, {e.high:.3f}]"
    seeds = "" if e.n == done else f" (n = {e.n})"
    return DASH if e.value is None else f"{e.value:.3f}{spread}{seeds}"


def _interval(e: Estimate) -> str:
    return "unknown" if e.low is None else f"{_signed(e.low)} to {_signed(e.high)}"


def _signed(x: float) -> str:
    """Three decimals, but never a zero that is not one: the sign of a bound decides verdicts."""
    return f"{x:+.3f}" if x == 0 or abs(x) >= 0.0005 else f"{x:+.0e}"
