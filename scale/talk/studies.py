"""The slides of the studies: every number from the runs in `figures/studies/*.parquet`."""

from collections.abc import Sequence
from typing import Any

from scale.evaluation.bootstrap import Estimate
from scale.modalities import MODALITIES, subset_name
from scale.studies.definitions.noise import POLICIES
from scale.studies.statistics import Outcome, Summary
from scale.studies.study import Factor
from scale.talk.chart import Chart
from scale.talk.material import Content, Material, Slide, Unavailable, difference, written
from scale.talk.prose import words
from scale.viz.studies import BASELINES
from scale.viz.theme import MODALITY_COLOURS, NEGATIVE, POSITIVE

ALL, TEST, METRIC = subset_name(MODALITIES), "held out", "mAP@5"
POLICY_COLOURS = (POSITIVE, "#1B2330", "#32A287", NEGATIVE)
QUIET = "#7C8696"
RATE = 0.3
"""Of further missing modalities, at which zero imputation is compared with leaving out."""
WEIGHTINGS = {"scores": "S'", "rank": "rank", "posterior": "posterior", "late": "logits late",
              "logits": "logits (paper)"}  # fmt: skip
"""Word in the talk -> weighting of the study."""


def outcome_of(
    summary: Summary, better: dict[str, Factor], worse: dict[str, Factor], metric: str = METRIC
) -> Outcome:
    """The comparison of two sides on the held-out products. Raises Unavailable: there is none."""
    wanted = {"better": better, "worse": worse, "test": TEST, "metric": metric}
    for outcome in summary.outcomes:
        if all(getattr(outcome.comparison, name) == value for name, value in wanted.items()):
            return outcome
    raise Unavailable(f"study {summary.study.name}: no comparison of {better} with {worse}")


def facts(summary: Summary) -> dict[str, Any]:
    """What stands below every chart: catalogue, preset, seeds, held-out products, cells."""
    return {
        "catalogue": summary.catalogue,
        "preset": summary.preset,
        "seeds": len(summary.provenance["seeds"]),
        "products": summary.provenance["products"][TEST],
        "cells": len(summary.rows),
        "failed": sum(row.failed > 0 for row in summary.rows),
    }


def _missing(m: Material) -> Content:
    said, summary = words("study_missing", m.lang), m.study("missing")
    rates = sorted({float(row.factors["rate"]) for row in summary.rows})
    by_place = {(row.factors["policy"], row.factors["rate"]): row for row in summary.rows}
    series = {p: [by_place[p, r].estimate(TEST, METRIC) for r in rates] for p in POLICIES}
    gain = outcome_of(summary, {"policy": "zero", "rate": RATE}, {"policy": "drop", "rate": RATE})
    skip = outcome_of(summary, {"policy": "skip"}, {"policy": "zero"})
    values = facts(summary) | {
        "policies": ", ".join(series),
        "rate": f"{RATE:.0%}",
        "gain": difference(gain.seeds),
        "verdict": m.verdict(gain),
        "skip": difference(skip.seeds),
        "skip_verdict": m.verdict(skip),
    }
    chart = Chart("lines", tuple(f"{rate:.0%}" for rate in rates), series, POLICY_COLOURS,
                  said["axis"], said["rate"])  # fmt: skip
    return Content("Chart or table", (chart,), values)


def _parts(m: Material) -> Content:
    said, added, fusion = words("study_parts", m.lang), m.study("modalities"), m.study("fusion")
    names = [m.label(MODALITIES[0])]
    names += [said["plus"].format(name=m.label(each)) for each in MODALITIES[1:]]
    grown = [row.estimate(TEST, METRIC) for row in added.rows]
    left = Chart("bars", tuple(names), {METRIC: grown}, tuple(MODALITY_COLOURS.values()),
                 said["axis"])  # fmt: skip
    rows = [row for row in fusion.rows if row.factors["inputs"] == ALL]
    rows.sort(key=lambda row: -(row.estimate(TEST, METRIC).value or 0))
    designs = [str(row.factors["system"]) for row in rows]
    found = [row.estimate(TEST, METRIC) for row in rows]
    colours = tuple(POSITIVE if name in BASELINES else QUIET for name in designs)
    right = Chart("bars", tuple(designs), {METRIC: found}, colours, said["axis"])
    five = outcome_of(added, {"modalities": ALL}, {"modalities": MODALITIES[0]})
    towers = outcome_of(
        fusion, {"inputs": ALL, "system": "SCALE"}, {"inputs": ALL, "system": "CLIP"}
    )
    values = facts(fusion) | {
        "five": difference(five.seeds),
        "five_verdict": m.verdict(five),
        "towers": difference(towers.seeds),
        "towers_verdict": m.verdict(towers),
        "added": _listed(names, grown),
        "designs": _listed(designs, found),
    }
    return Content("Two charts", (left, right), values)


def _weighting(m: Material) -> Content:
    """The differences to uniform weights over all regimes, in the metric that decides."""
    said, summary = words("study_weighting", m.lang), m.study("weighting")
    metric, other = summary.study.metrics[:2]
    found = {
        key: outcome_of(summary, {"weighting": name}, {"weighting": "uniform"}, metric)
        for key, name in WEIGHTINGS.items()
    }
    control = outcome_of(
        summary, {"weighting": "logits (paper)"}, {"weighting": "logits control"}, metric
    )
    again = outcome_of(summary, {"weighting": "S'"}, {"weighting": "uniform"}, other)
    values = facts(summary) | {
        "other": other,
        "other_value": difference(again.seeds),
        "other_verdict": m.verdict(again),
        "regimes": found["scores"].pairs,
        "scores": difference(found["scores"].seeds),
        "scores_verdict": m.verdict(found["scores"]),
        "logits": difference(found["logits"].seeds),
        "control": difference(control.seeds),
        "bars": _listed([said[key] for key in found], [o.seeds for o in found.values()], "+"),
    }
    chart = _differences(found, [said[key] for key in found], said["axis"])
    return Content("Chart or table", (chart,), values, found["scores"].verdict)


def _objective(m: Material) -> Content:
    said, summary = words("study_objective", m.lang), m.study("tasks")
    found = {
        _last(o.comparison.worse).removeprefix("without "): o
        for o in summary.outcomes
        if o.comparison.metric == METRIC
    }
    names = [said.get(name, name) for name in found]
    values = facts(summary) | {
        "contrast": difference(found["contrastive"].seeds),
        "verdict": m.verdict(found["contrastive"]),
        "count": len(found),
        "open": sum(o.verdict == "not decided" for o in found.values()),
        "bars": _listed(names, [o.seeds for o in found.values()], "+"),
    }
    chart = _differences(found, names, said["axis"])
    return Content("Chart or table", (chart,), values)


def _faults(m: Material) -> Content:
    said, summary = words("faults", m.lang), m.study("faults")
    found = {_last(o.comparison.worse): o for o in summary.outcomes
             if o.comparison.metric == METRIC}  # fmt: skip
    names = [said[name] for name in found]
    whole = found["the whole released loss"]
    values = facts(summary) | {
        "whole": difference(whole.seeds),
        "verdict": m.verdict(whole),
        "open": sum(o.verdict == "not decided" for o in found.values()),
        "count": len(found),
        "bars": _listed(names, [o.seeds for o in found.values()], "+"),
    }
    chart = _differences(found, names, said["axis"], NEGATIVE)
    return Content("Chart or table", (chart,), values)


def _differences(
    found: dict[str, Outcome], names: Sequence[str], axis: str, decided: str = POSITIVE
) -> Chart:
    """Bars of differences with intervals over seeds, grey where they are not decided."""
    colours = tuple(
        {"supported": decided, "contradicted": NEGATIVE}.get(o.verdict, QUIET)
        for o in found.values()
    )
    differences = [o.seeds for o in found.values()]
    return Chart("bars", tuple(names), {axis: differences}, colours, axis)


def _last(side: dict[str, Factor]) -> str:
    return str(list(side.values())[-1])


def _listed(names: Sequence[str], found: Sequence[Estimate], sign: str = "") -> str:
    pairs = zip(names, found, strict=True)
    return ", ".join(f"{name} {written(estimate, sign, 3)}" for name, estimate in pairs)


SLIDES = (
    Slide("study_missing", "study missing", _missing),
    Slide("study_parts", "studies modalities and fusion", _parts),
    Slide("study_weighting", "study weighting", _weighting),
    Slide("study_objective", "study tasks", _objective, standard=False),
    Slide("faults", "study faults", _faults),
)
