"""Reports of studies: the answer in one paragraph, tables in markdown, figures in long-form CSV."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

from scale.evaluation.bootstrap import NOTHING, Estimate
from scale.files import write_whole
from scale.studies.statistics import ALPHA, Outcome, Summary, decide, describe_factors
from scale.studies.study import METRICS

_HEAD = re.compile(r"(.+?)(?:: |, )(.+)")


@dataclass(frozen=True)
class Claim:
    """One claim with its outcome by metric."""

    text: str
    """The claim, without its heading."""
    test: str
    by_metric: dict[str, Outcome]


def group_by_claim(outcomes: Sequence[Outcome]) -> list[Claim]:
    """Group outcomes with the same claim and test, over metrics."""
    found: dict[tuple[str, str], Claim] = {}
    for outcome in outcomes:
        c = outcome.comparison
        claim = found.setdefault((c.claim, c.test), Claim(c.claim, c.test, {}))
        claim.by_metric[c.figure] = outcome
    return list(found.values())


def group_by_heading(claims: Sequence[Claim]) -> dict[str, list[Claim]]:
    """Group claims by prefix: `mismatch: S' beats uniform weights` belongs to `mismatch`.

    If most prefixes occur only once, all claims are returned in full under an empty heading.
    """
    groups: dict[str, list[Claim]] = {}
    for claim in claims:
        found = _HEAD.fullmatch(claim.text)
        head, rest = found.groups() if found else ("", claim.text)
        groups.setdefault(head, []).append(replace(claim, text=rest))
    shared = sum(len(group) > 1 for group in groups.values())
    return groups if 2 * shared > len(groups) else {"": list(claims)}


VERDICT_WORDS = {
    "supported": "yes", "contradicted": "no, the opposite",
    "not decided": "the data do not decide", "impossible": "cannot be evaluated",
}  # fmt: skip
SPLITS = {
    "test": "the test products",
    "val": "the validation products",
    "val+test": "validation and test products together",
}
FEW = 12
"""Up to this number, each comparison gets its own sentence."""


def conclusion(summary: Summary) -> str:
    """Write the conclusion in one paragraph: verdicts with intervals, then missing runs.

    Up to FEW comparisons get a sentence each. With more, verdicts are counted first; decided claims
    are listed with their numbers, open ones by name.
    """
    if not summary.catalogue:
        return "Nothing has been trained yet."
    outcomes = summary.outcomes
    same = {(o.comparison.figure, o.comparison.test) for o in outcomes}
    figure = ", by {} on {}".format(*same.pop()) if len(same) == 1 else ""
    where = f", measured on {SPLITS[summary.held_out]}" if summary.held_out else ""
    sentences = [f"On catalogue {summary.catalogue} with preset {summary.preset}{where}{figure}:"]
    if len(outcomes) > FEW:
        sentences += _by_verdict(outcomes)
    else:
        sentences += [_sentence(outcome, bool(figure)) for outcome in outcomes]
    if not outcomes:
        sentences.append("the study has no comparisons.")
    failed, unfinished = [r for r in summary.rows if r.failed], summary.unfinished()
    seeds = summary.study.seeds
    for rows, state in ((failed, "Could not be trained"), (unfinished, "Not all seeds have run")):
        parts = [
            f"{describe_factors(row.factors)} ({row.reason or f'{row.done} of {seeds}'})"
            for row in rows
        ]
        details = f": {'; '.join(parts)}" if len(parts) <= FEW else " (see the table of cells)"
        if rows:
            sentences.append(f"{state} ({count(len(rows), 'cell')}){details}.")
    return " ".join(sentences)


def _sentence(o: Outcome, shared: bool) -> str:
    """Write verdict, difference and intervals of a claim; metric and test unless shared."""
    text = f"“{o.comparison.claim}”: {VERDICT_WORDS[o.verdict]}"
    if o.seeds.value is not None:
        at = "" if shared else f"{o.comparison.figure} on {o.comparison.test} "
        spread = [f"{interval(o.seeds)} over {count(o.seeds.n, 'seed')}"]
        if o.products:
            spread.append(f"{interval(o.products)} over {count(o.products.n, 'product')}")
        if o.categories:
            spread.append(f"{interval(o.categories)} over {count(o.categories.n, 'category')}")
        text += f"; {at}differs by {signed(o.seeds.value)}, 95 % interval {', '.join(spread)}"
    text += f"; {o.note}" if o.note else ""
    return f"{text}."


def _by_verdict(outcomes: Sequence[Outcome]) -> list[str]:
    """Write sentences on many claims: counts of verdicts, then the claims by verdict."""
    outcomes, shared = _without_shared_note(outcomes)
    found = {verdict: [o for o in outcomes if o.verdict == verdict] for verdict in VERDICT_WORDS}
    counts = ", ".join(f"{len(some)} {verdict}" for verdict, some in found.items() if some)
    decided = found["supported"] + found["contradicted"]
    sentences = [f"of {len(outcomes)} claims, {counts}."]
    if decided:
        sentences.append(f"Differences with 95 % intervals {_sample_sizes(decided)}.")
    if chance := sum(map(_fails_only_holm, found["not decided"])):
        sentences.append(
            f"Of the {len(found['not decided'])} not decided, {chance} "
            f"{'has' if chance == 1 else 'have'} all intervals on one side of 0, but "
            f"p above {ALPHA:g} after Holm's correction."
        )
    tests, metrics = ({getattr(o.comparison, n) for o in outcomes} for n in ("test", "figure"))
    if len(tests) == 1 < len(metrics):
        sentences.append(f"All on {min(tests)}.")
    if shared:
        sentences.append(f"All {shared}.")
    for verdict, some in found.items():
        parts = []
        for heading, claims in group_by_heading(group_by_claim(some)).items():
            texts = [_claim(claim, len(tests) > 1, metrics) for claim in claims]
            parts += [f"{heading} – {', '.join(texts)}"] if heading else texts
        if parts:
            sentences.append(
                f"{verdict.capitalize()} ({VERDICT_WORDS[verdict]}): {'; '.join(parts)}."
            )
    return sentences


def _without_shared_note(outcomes: Sequence[Outcome]) -> tuple[Sequence[Outcome], str]:
    """Remove a note that all decided outcomes share; return the outcomes and the note."""
    notes = {o.note for o in outcomes if _decided(o)}
    if len(notes) != 1:
        return outcomes, ""
    return [replace(o, note="") if _decided(o) else o for o in outcomes], notes.pop()


def _sample_sizes(decided: Sequence[Outcome]) -> str:
    """Write `over 5 seeds, then over 218 products`, and so on; ranges if the numbers differ."""
    parts = []
    for unit, sides in (
        ("seed", [o.seeds for o in decided]),
        ("product", [o.products for o in decided if o.products]),
        ("category", [o.categories for o in decided if o.categories]),
    ):
        if sizes := sorted({side.n for side in sides}):
            span = "–".join(map(str, dict.fromkeys((sizes[0], sizes[-1]))))
            parts.append(f"over {span} {unit if sizes == [1] else plural(unit)}")
    return ", then ".join(parts)


def _claim(claim: Claim, name_test: bool, metrics: set[str]) -> str:
    """Write the claim with its numbers if decided, or its reason if impossible.

    An undecided claim lists its metrics, unless it is undecided by all metrics.
    """
    figures = []
    for metric, o in claim.by_metric.items():
        numbers = _numbers(o)
        name = metric if len(metrics) > 1 and (numbers or set(claim.by_metric) != metrics) else ""
        figures.append(f"{name} {numbers}".strip())
    reasons = dict.fromkeys(o.note for o in claim.by_metric.values() if o.verdict == "impossible")
    details = "; ".join(filter(None, [*figures, *reasons]))
    at = f" on {claim.test}" if name_test else ""
    return f"“{claim.text}”{at}{f' ({details})' if details else ''}"


def _numbers(o: Outcome) -> str:
    """Write `+0.060 [+0.035, +0.084], [+0.058, +0.062], [+0.041, +0.077]` if decided: intervals
    over seeds, products, categories."""
    if not _decided(o) or o.seeds.value is None:
        return ""
    known = filter(None, (o.seeds, o.products, o.categories))
    spread = [f"[{interval(e).replace(' to ', ', ')}]" for e in known]
    note = f", {o.note}" if o.note else ""
    return f"{signed(o.seeds.value)} {', '.join(spread)}{note}"


def _decided(o: Outcome) -> bool:
    return o.verdict in ("supported", "contradicted")


def _fails_only_holm(o: Outcome) -> bool:
    """Return whether only Holm's correction prevents a verdict."""
    alone, _ = decide(o.seeds, o.products, o.categories)
    return o.verdict == "not decided" != alone


def count(n: int, unit: str) -> str:
    """Write `1 seed`, `5 seeds`, `5 categories`."""
    return f"{n} {unit if n == 1 else plural(unit)}"


def plural(unit: str) -> str:
    """Return the plural of a noun."""
    return f"{unit[:-1]}ies" if unit.endswith("y") else f"{unit}s"


def interval(e: Estimate) -> str:
    """Write `-0.010 to +0.020`."""
    return "unknown" if e.low is None else f"{signed(e.low)} to {signed(e.high)}"


def signed(x: float) -> str:
    """Write three signed decimals; one digit below 0.0005, because the sign of a bound decides."""
    return f"{x:+.3f}" if x == 0 or abs(x) >= 0.0005 else f"{x:+.0e}"


COLUMNS = ("test", "metric", "value", "low", "high", "seeds", "failed", "reason")
COMPARISON_NOTE = (
    "Differences are better minus worse according to the claim. Over seeds: 95 % t interval of the "
    "paired difference. Over products: 95 % interval of a paired bootstrap. Over categories: of a "
    "paired bootstrap that resamples categories with all of their products. p: paired t test over "
    "seeds. Holm: p adjusted for the family-wise error rate over these comparisons (variation of "
    "training only). A claim is supported if all intervals lie above 0 and Holm's p is at most "
    f"{ALPHA:g}, contradicted if all lie below 0 with the same p, and otherwise not decided; the "
    "note names what is missing."
)
DASH = "–"


def markdown(summary: Summary) -> str:
    """Return the report: unfinished runs, question, conclusion, tables, provenance."""
    parts = [f"# Study `{summary.study.name}`", _unfinished(summary)]
    heading = "## Cells: mean [95 % t interval over seeds]"
    parts += [f"**{summary.study.question}**", conclusion(summary), heading, _cell_table(summary)]
    if summary.outcomes:
        parts += ["## Comparisons", _comparison_table(summary), COMPARISON_NOTE]
    parts += ["## Provenance", _sources(summary)]
    return "\n\n".join(filter(None, parts)) + "\n"


def write_report(path: Path, summary: Summary) -> list[Path]:
    """Write the report to `path` (markdown) and the figures in long form to a .csv beside it.

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
    # with_suffix would truncate a catalogue's name at its last dot.
    beside = path.with_name(f"{path.name.removesuffix('.md')}.csv")
    write_whole(beside, text.getvalue())
    write_whole(path, markdown(summary))
    return [path, beside]


def _unfinished(summary: Summary) -> str:
    rows, seeds, cells = summary.unfinished(), summary.study.seeds, len(summary.rows)
    missing = f"{sum(seeds - row.done for row in rows)} of {seeds * cells} runs are missing"
    where = f"in {len(rows)} of {count(cells, 'cell')}. The results below can change."
    return f"> **Not finished:** {missing}, {where}" if rows else ""


def _cell_table(summary: Summary) -> str:
    """Write the table of tests that all cells have, then that of tests that only some have."""
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
    """Write a row per test that only some cells have; a column per cell and metric."""
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
    heads = ("claim", "figure", "difference", "over seeds", "over products", "over categories",
             "verdict", "p", "Holm", "note")  # fmt: skip
    lines = []
    for o in summary.outcomes:
        sides = (o.seeds, o.products or NOTHING, o.categories or NOTHING)
        spread = [f"{interval(e)} (n = {e.n})" if e.n else DASH for e in sides]
        p = [DASH if p is None else f"{p:.2g}" for p in (o.p, o.p_holm)]
        difference = DASH if o.seeds.value is None else signed(o.seeds.value)
        figures = (f"{o.comparison.figure}, {o.comparison.test}", difference, *spread)
        lines.append([o.comparison.claim, *figures, o.verdict, *p, o.note or DASH])
    return _table(heads, lines)


def _sources(summary: Summary) -> str:
    facts = {**summary.provenance}
    products, seconds = facts.pop("products"), facts.pop("seconds")
    held = f"held-out products, {summary.held_out}" if summary.held_out else "held-out products"
    facts[held] = [f"{n} ({test})" for test, n in products.items()]
    facts["training and measuring"] = [f"{seconds:.0f} s in total"]
    lines = [f"- {name}: {', '.join(map(str, values)) or DASH}" for name, values in facts.items()]
    known = {m: METRICS.get(m, "measured in each cell") for m in summary.study.metrics}
    return "\n".join([*lines, *(f"- {metric}: {text}" for metric, text in known.items())])


def _table(heads: Sequence[Any], lines: Sequence[Sequence[Any]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    # A bar or a line break would end the column or row.
    texts = [[" ".join(str(v).replace("|", "\\|").split()) for v in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in texts)


def _mean(e: Estimate, done: int) -> str:
    spread = "" if e.low is None else f" [{e.low:.3f}, {e.high:.3f}]"
    seeds = "" if e.n == done else f" (n = {e.n})"
    return DASH if e.value is None else f"{e.value:.3f}{spread}{seeds}"
