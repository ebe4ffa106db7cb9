"""The answer of a study in one paragraph that claims no more than the verdicts do."""

from collections.abc import Sequence
from dataclasses import replace

from scale.evaluation.bootstrap import Estimate
from scale.studies.headings import Claim, claims_of, under_headings
from scale.studies.statistics import Outcome, named
from scale.studies.summary import Summary

ANSWERS = {
    "supported": "yes", "contradicted": "no, the opposite",
    "not decided": "the data do not decide", "impossible": "cannot be said",
}  # fmt: skip
ALPHA = 0.05
FEW = 12
"""Up to so many comparisons are told in full, each in its own sentence."""


def answer(summary: Summary) -> str:
    """What the claims come to, with differences and intervals; then what is missing.

    Up to FEW comparisons each get a sentence. More are counted by verdict first; then the decided
    ones are told with their numbers, and the open ones named.
    """
    if not summary.catalogue:
        return "Nothing has been trained yet."
    outcomes = summary.outcomes
    same = {(o.comparison.metric, o.comparison.test) for o in outcomes}
    figure = ", by {} on {}".format(*same.pop()) if len(same) == 1 else ""
    sentences = [f"On catalogue {summary.catalogue} with preset {summary.preset}{figure}:"]
    if len(outcomes) > FEW:
        sentences += _by_verdict(outcomes)
    else:
        sentences += [_sentence(outcome, bool(figure)) for outcome in outcomes]
    if not outcomes:
        sentences.append("the study compares nothing.")
    failed, unfinished = [r for r in summary.rows if r.failed], summary.unfinished()
    for rows, state in ((failed, "Could not be trained"), (unfinished, "Not yet trained enough")):
        parts = [f"{named(r.factors)} ({r.reason or f'{r.done} of {summary.study.seeds}'})"
                 for r in rows]  # fmt: skip
        told = f": {'; '.join(parts)}" if len(parts) <= FEW else ", as the table of cells says"
        sentences += [f"{state} ({count(len(rows), 'cell')}){told}."] * bool(rows)
    return " ".join(sentences)


def _sentence(o: Outcome, shared: bool) -> str:
    """Verdict, difference and intervals of a claim; its metric and test unless all share them."""
    text = f"“{o.comparison.claim}”: {ANSWERS[o.verdict]}"
    if o.seeds.value is not None:
        at = "" if shared else f"{o.comparison.metric} on {o.comparison.test} "
        told = [f"{interval(o.seeds)} over {count(o.seeds.n, 'seed')}"]
        if o.products:
            told.append(f"{interval(o.products)} over {count(o.products.n, 'product')}")
        text += f"; {at}differs by {signed(o.seeds.value)}, 95 % interval {', '.join(told)}"
    text += f"; {o.note}" if o.note else ""
    if _by_chance(o):
        text += f"; not beyond what several comparisons give by chance (Holm p = {o.p_holm:.2g})"
    return f"{text}."


def _by_verdict(outcomes: Sequence[Outcome]) -> list[str]:
    """Sentences on many claims: how many of each verdict, then the claims by verdict."""
    outcomes, shared = _without_shared_note(outcomes)
    found = {verdict: [o for o in outcomes if o.verdict == verdict] for verdict in ANSWERS}
    counts = ", ".join(f"{len(some)} {verdict}" for verdict, some in found.items() if some)
    decided = found["supported"] + found["contradicted"]
    told = [f"of {len(outcomes)} claims, {counts}."]
    told += [f"Differences with 95 % intervals {_chances(decided)}."] * bool(decided)
    if chance := sum(map(_by_chance, decided)):
        told.append(
            f"Marked *, {chance} of the {len(decided)} decided: not beyond what so many "
            f"comparisons give by chance (Holm p above {ALPHA:g})."
        )
    tests, metrics = ({getattr(o.comparison, n) for o in outcomes} for n in ("test", "metric"))
    told += [f"All on {min(tests)}."] * (len(tests) == 1 < len(metrics))
    told += [f"All {shared}."] * bool(shared)
    for verdict, some in found.items():
        parts = []
        for heading, claims in under_headings(claims_of(some)).items():
            texts = [_claim(claim, len(tests) > 1, metrics) for claim in claims]
            parts += [f"{heading} – {', '.join(texts)}"] if heading else texts
        if parts:
            told.append(f"{verdict.capitalize()} ({ANSWERS[verdict]}): {'; '.join(parts)}.")
    return told


def _without_shared_note(outcomes: Sequence[Outcome]) -> tuple[Sequence[Outcome], str]:
    """The outcomes without the note that every decided one has, and that note, to be told once."""
    notes = {o.note for o in outcomes if _decided(o)}
    if len(notes) != 1:
        return outcomes, ""
    return [replace(o, note="") if _decided(o) else o for o in outcomes], notes.pop()


def _chances(decided: Sequence[Outcome]) -> str:
    """`over 5 seeds, then over 218 products`, as far as all have the same numbers of them."""
    parts = []
    for what, sides in (
        ("seed", [o.seeds for o in decided]),
        ("product", [o.products for o in decided if o.products]),
    ):
        sizes = sorted({side.n for side in sides})
        span = "–".join(map(str, dict.fromkeys((sizes[0], sizes[-1])))) if sizes else ""
        parts += [f"over {span} {what}{'' if sizes == [1] else 's'}"] * bool(sizes)
    return ", then ".join(parts)


def _claim(claim: Claim, name_test: bool, metrics: set[str]) -> str:
    """The claim with its numbers where it is decided, and with the reason where impossible.

    An open one names its metrics unless it is open by all of the study's.
    """
    figures = []
    for metric, o in claim.by_metric.items():
        numbers = _numbers(o)
        name = metric if len(metrics) > 1 and (numbers or set(claim.by_metric) != metrics) else ""
        figures.append(f"{name} {numbers}".strip())
    reasons = dict.fromkeys(o.note for o in claim.by_metric.values() if o.verdict == "impossible")
    told = "; ".join(filter(None, [*figures, *reasons]))
    at = f" on {claim.test}" if name_test else ""
    return f"“{claim.text}”{at}{f' ({told})' if told else ''}"


def _numbers(o: Outcome) -> str:
    """`+0.060* [+0.035, +0.084], [+0.058, +0.062]` of a decided one: seeds, then products."""
    if not _decided(o) or o.seeds.value is None:
        return ""
    spread = [f"[{interval(e).replace(' to ', ', ')}]" for e in (o.seeds, o.products) if e]
    note = f", {o.note}" if o.note else ""
    return f"{signed(o.seeds.value)}{'*' * _by_chance(o)} {', '.join(spread)}{note}"


def _decided(o: Outcome) -> bool:
    return o.verdict in ("supported", "contradicted")


def _by_chance(o: Outcome) -> bool:
    """Decided, but not beyond what the number of comparisons gives by chance."""
    return _decided(o) and o.p_holm is not None and o.p_holm > ALPHA


def count(n: int, what: str) -> str:
    """`1 seed`, `5 seeds`."""
    return f"{n} {what}{'' if n == 1 else 's'}"


def interval(e: Estimate) -> str:
    """`-0.010 to +0.020`."""
    return "unknown" if e.low is None else f"{signed(e.low)} to {signed(e.high)}"


def signed(x: float) -> str:
    """Three decimals, but never a zero that is not one: the sign of a bound decides verdicts."""
    return f"{x:+.3f}" if x == 0 or abs(x) >= 0.0005 else f"{x:+.0e}"
