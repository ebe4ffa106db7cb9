"""Slides of results: of a run (results.json) and of the studies (figures/studies/*.parquet)."""

from collections.abc import Sequence
from typing import Any

from scale.evaluation.bootstrap import Estimate
from scale.modalities import MODALITIES, subset_name
from scale.studies.definitions.noise import POLICIES
from scale.studies.statistics import Outcome, Summary
from scale.studies.study import Factor
from scale.talk.chart import Chart
from scale.talk.material import (
    Content,
    Material,
    Slide,
    Unavailable,
    difference,
    figure_slide,
    words,
    written,
)
from scale.talk.table import Cell, Table, cell
from scale.viz.embeddings import kept_umap
from scale.viz.illustrations.space import modality_gap, points_of_stages
from scale.viz.retrieval import QUERY_ORDER, search_sheet
from scale.viz.slides.results import modality_maps, retrieval_sheet
from scale.viz.studies import BASELINES
from scale.viz.theme import HIT, MODALITY_COLOURS, NEGATIVE, POSITIVE, mix

ALL, TEST = subset_name(MODALITIES), "held out"
RUN_METRIC, STUDY_METRIC = "mAP@1", "mAP@5"
STAGES = {"trained": "#3C4A66", "untrained": "#9AA3B0", "chance": "#D5DAE1"}
QUERIES = 3
"""Rows of the retrieval sheet: few enough to be read from the back of a room."""
POLICY_COLOURS = (POSITIVE, "#1B2330", HIT, NEGATIVE)
QUIET = "#B4BCC8"
RATE = 0.3
"""Missing rate at which zero imputation is compared with dropping incomplete products."""
WEIGHTINGS = {"scores": "S'", "rank": "rank", "posterior": "posterior", "late": "logits late",
              "logits": "logits (paper)"}  # fmt: skip
"""Key in the words of the slide -> weighting of the study."""


def outcome_of(
    summary: Summary,
    better: dict[str, Factor],
    worse: dict[str, Factor],
    metric: str = STUDY_METRIC,
) -> Outcome:
    """Return the comparison of two sides on held-out products. Raises Unavailable if missing."""
    wanted = {"better": better, "worse": worse, "test": TEST, "metric": metric}
    for outcome in summary.outcomes:
        if all(getattr(outcome.comparison, name) == value for name, value in wanted.items()):
            return outcome
    raise Unavailable(f"study {summary.study.name}: no comparison of {better} with {worse}")


def facts(summary: Summary) -> dict[str, Any]:
    """Return the source line's values: catalogue, preset, seeds, held-out products, cells."""
    return {
        "catalogue": summary.catalogue,
        "preset": summary.preset,
        "seeds": len(summary.provenance["seeds"]),
        "products": summary.provenance["products"][TEST],
        "cells": len(summary.rows),
        "failed": sum(row.failed > 0 for row in summary.rows),
    }


def _missing(m: Material) -> Content:
    terms, summary = words("study_missing", m.lang), m.study("missing")
    rates = sorted({float(row.factors["rate"]) for row in summary.rows})
    by_place = {(row.factors["policy"], row.factors["rate"]): row for row in summary.rows}
    series = {p: [by_place[p, r].estimate(TEST, STUDY_METRIC) for r in rates] for p in POLICIES}
    gain = outcome_of(summary, {"policy": "zero", "rate": RATE}, {"policy": "drop", "rate": RATE})
    skip = outcome_of(summary, {"policy": "skip"}, {"policy": "zero"})
    values = facts(summary) | {
        "policies": ", ".join(series),
        "rate": f"{RATE:.0%}",
        "gain": difference(gain.seeds),
        "verdict": m.verdict(gain),
        "skip": difference(skip.seeds),
        "skip_verdict": m.verdict(skip),
        **_size(gain),
    }
    chart = Chart("lines", tuple(f"{rate:.0%}" for rate in rates), series, POLICY_COLOURS,
                  terms["axis"], terms["rate"])  # fmt: skip
    return Content("Chart or table", (chart,), values, gain.verdict)


def _size(outcome: Outcome) -> dict[str, str]:
    """Return the absolute difference of a comparison and its metric, for a title."""
    value = outcome.seeds.value
    size = "–" if value is None else f"{abs(value):.2f}"
    return {"size": size, "metric": outcome.comparison.metric}


def _parts(m: Material) -> Content:
    terms, added, fusion = words("study_parts", m.lang), m.study("modalities"), m.study("fusion")
    names = [m.label(MODALITIES[0])]
    names += [terms["plus"].format(name=m.label(each)) for each in MODALITIES[1:]]
    grown = [row.estimate(TEST, STUDY_METRIC) for row in added.rows]
    left = Chart("bars", tuple(names), {STUDY_METRIC: grown}, tuple(MODALITY_COLOURS.values()),
                 terms["axis"])  # fmt: skip
    rows = [row for row in fusion.rows if row.factors["inputs"] == ALL]
    rows.sort(key=lambda row: -(row.estimate(TEST, STUDY_METRIC).value or 0))
    designs = [str(row.factors["system"]) for row in rows]
    found = [row.estimate(TEST, STUDY_METRIC) for row in rows]
    colours = tuple(POSITIVE if name in BASELINES else QUIET for name in designs)
    right = Chart("bars", tuple(designs), {STUDY_METRIC: found}, colours, terms["axis"])
    five = outcome_of(added, {"modalities": ALL}, {"modalities": MODALITIES[0]})
    towers = outcome_of(
        fusion, {"inputs": ALL, "system": "SCALE"}, {"inputs": ALL, "system": "CLIP"}
    )
    values = facts(fusion) | {
        "five": difference(five.seeds),
        "five_verdict": m.verdict(five),
        "towers": difference(towers.seeds),
        "towers_verdict": m.verdict(towers),
        **_size(five),
        "added": _listed(names, grown),
        "designs": _listed(designs, found),
    }
    return Content("Two charts", (left, right), values, five.verdict)


def _weighting(m: Material) -> Content:
    """Draw differences to uniform weights over all regimes, in the study's first metric."""
    terms, summary = words("study_weighting", m.lang), m.study("weighting")
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
        "bars": _listed([terms[key] for key in found], [o.seeds for o in found.values()], "+"),
    }
    chart = _differences(found, [terms[key] for key in found], terms["axis"])
    return Content("Chart or table", (chart,), values, found["scores"].verdict)


def _objective(m: Material) -> Content:
    return _ablations(m, "study_objective", "tasks", "contrastive", "contrast", POSITIVE)


def _faults(m: Material) -> Content:
    return _ablations(m, "faults", "faults", "the whole released loss", "whole", NEGATIVE)


def _ablations(m: Material, slide: str, study: str, main: str, value: str, colour: str) -> Content:
    """Draw the differences between the whole objective and each variant of a study.

    Args:
        main: variant whose difference and verdict are in the text, the difference as `value`.
        colour: of the decided differences.
    """
    terms, summary = words(slide, m.lang), m.study(study)
    found = {
        str(list(o.comparison.worse.values())[-1]).removeprefix("without "): o
        for o in summary.outcomes
        if o.comparison.metric == STUDY_METRIC
    }
    names = [terms.get(name, name) for name in found]
    values = facts(summary) | {
        value: difference(found[main].seeds),
        "verdict": m.verdict(found[main]),
        **_size(found[main]),
        "count": len(found),
        "open": sum(o.verdict == "not decided" for o in found.values()),
        "bars": _listed(names, [o.seeds for o in found.values()], "+"),
    }
    chart = _differences(found, names, terms["axis"], colour)
    return Content("Chart or table", (chart,), values, found[main].verdict)


def _differences(
    found: dict[str, Outcome], names: Sequence[str], axis: str, decided: str = POSITIVE
) -> Chart:
    """Return bars of differences with intervals over seeds; undecided ones are grey."""
    colours = tuple(
        {"supported": decided, "contradicted": NEGATIVE}.get(o.verdict, QUIET)
        for o in found.values()
    )
    differences = [o.seeds for o in found.values()]
    return Chart("bars", tuple(names), {axis: differences}, colours, axis)


def _listed(names: Sequence[str], found: Sequence[Estimate], sign: str = "") -> str:
    pairs = zip(names, found, strict=True)
    return ", ".join(f"{name} {written(estimate, sign, 3)}" for name, estimate in pairs)


STUDIES = (
    Slide("study_missing", "study missing", _missing),
    Slide("study_parts", "studies modalities and fusion", _parts),
    Slide("study_weighting", "study weighting", _weighting),
    Slide("study_objective", "study tasks", _objective, standard=False),
    Slide("faults", "study faults", _faults),
)


def _retrieval(m: Material) -> Content:
    terms, results = words("retrieval", m.lang), m.results
    tree = results["retrieval"]["category"]
    stages = [stage for stage in STAGES if stage in tree]
    subsets = [s for s in (ALL, *MODALITIES) if _known(tree["trained"], s)]
    if ALL not in subsets:
        raise Unavailable("results.json has no category retrieval by all modalities")
    names = tuple(terms["five"] if s == ALL else m.label(s) for s in subsets)
    series = {
        m.label(stage): [Estimate(**tree[stage][s][RUN_METRIC]) for s in subsets]
        for stage in stages
    }
    chart = Chart("columns", names, series, tuple(STAGES[s] for s in stages), terms["axis"])
    cells = zip(names, series[m.label("trained")], strict=True)
    values = {
        "all": written(tree["trained"][ALL][RUN_METRIC]),
        "rise": _rise(tree),
        "untrained": written(tree.get("untrained", tree["trained"])[ALL][RUN_METRIC]),
        "chance": f"{tree['chance'][ALL][RUN_METRIC]['value']:.2f}",
        "summary": ", ".join(f"{name} {written(e)}" for name, e in cells),
        **_gain(m, results, [s for s in subsets if s != ALL]),
        **_split(results),
    }
    return Content("Chart or table", (chart,), values)


def _rise(tree: dict[str, Any]) -> str:
    """Return the metric by all modalities before and after training: `0.16 → 0.47`."""
    stages = [stage for stage in ("untrained", "trained") if stage in tree]
    return " → ".join(f"{tree[stage][ALL][RUN_METRIC]['value']:.2f}" for stage in stages)


def _gain(m: Material, results: dict[str, Any], singles: list[str]) -> dict[str, str]:
    """Return all five minus the best single modality, paired over their common queries."""
    pairs = results["retrieval"]["differences"]["trained"]
    tree = results["retrieval"]["category"]["trained"]
    best = max(singles, key=lambda s: tree[s][RUN_METRIC]["value"], default=None)
    if best is None:
        return {"best": "–", "gain": "–"}
    gain = pairs[f"{ALL} - {best}"][RUN_METRIC]
    return {"best": m.label(best), "gain": written(gain, "+")}


def _known(tree: dict[str, Any], item: str) -> bool:
    return tree.get(item, {}).get(RUN_METRIC, {}).get("value") is not None


def _split(results: dict[str, Any]) -> dict[str, Any]:
    return {"split": results["split"], "products": results["products"]}


def _sheet(m: Material) -> Content:
    s = m.sources
    found = search_sheet(s.run, s.test, s.seed, rows=QUERIES)
    picture = m.render(
        lambda: retrieval_sheet(found, QUERY_ORDER, m.lang), "retrieval_sheet", "Picture"
    )
    hits = [hit for row in found.hits for hit in row]
    values = {"queries": len(found.queries), "hits": sum(hits), "shown": len(hits)}
    return Content("Picture", (picture,), values)


def _gap(m: Material) -> Content:
    """Draw the maps of `umap_modality`, with the modality gap before and after training."""
    s = m.sources
    stages = points_of_stages(s)
    maps = {stage: kept_umap(found.unit_PD, s.seed) for stage, found in stages.items()}
    picture = m.render(lambda: modality_maps(maps, stages, m.lang), "umap_modality", "Wide picture")
    values = {stage: f"{modality_gap(found):.2f}" for stage, found in stages.items()}
    return Content("Wide picture", (picture,), values)


def _directions(m: Material) -> Content:
    terms, results = words("directions", m.lang), m.results
    tree = results["retrieval"]["instance"]
    trained = {
        name: Estimate(**by_metric["Recall@10"])
        for name, by_metric in tree["trained"].items()
        if by_metric["Recall@10"]["value"] is not None
    }
    named = {f"{a}->{b}": (a, b) for a in MODALITIES for b in MODALITIES if a != b}
    known = [name for name in named if name in trained]
    if not known:
        raise Unavailable("results.json has no instance retrieval between modalities")
    chance = [tree["chance"][name]["Recall@10"]["value"] for name in known]
    best = max(known, key=lambda name: trained[name].value or 0)
    header = (terms["from"], *(m.label(b) for b in MODALITIES))
    rows = tuple(
        (cell(m.label(a), bold=True), *(_direction(trained.get(f"{a}->{b}")) for b in MODALITIES))
        for a in MODALITIES
    )
    pair = " → ".join(m.label(each) for each in named[best])
    values = {"low": f"{min(chance):.2f}", "high": f"{max(chance):.2f}", **_split(results)}
    values["best"] = f"{pair} {written(trained[best])}"
    return Content("Wide chart or table", (Table(header, rows, (1.6, 2, 2, 2, 2, 2)),), values)


def _direction(found: Estimate | None) -> Cell:
    """Return a cell with value and interval; its background darkens with the value."""
    if found is None or found.value is None:
        return cell("–")
    value, _, interval = written(found).partition(" ")
    return cell(f"{value}\n{interval}", fill=mix("#FFFFFF", POSITIVE, 0.45 * found.value))


def _downstream(m: Material) -> Content:
    terms, results = words("downstream", m.lang), m.results
    probe = results.get("classification", {}).get("linear_probe")
    clusters = results.get("clustering")
    if not probe or not clusters:
        raise Unavailable("results.json has no classification or no clustering")
    lines = [
        (terms["accuracy"], probe, "accuracy", "majority"),
        (terms["macro"], probe, "macro-F1", "majority"),
        (terms["nmi"], clusters, "NMI", "chance"),
        (terms["purity"], clusters, "purity", "chance"),
    ]
    rows = tuple(
        (cell(name), *(_score(tree, stage, metric) for stage in ("trained", "untrained", base)))
        for name, tree, metric, base in lines
    )
    header = (terms["measure"], m.label("trained"), m.label("untrained"), terms["baseline"])
    table = Table(header, rows, (3.4, 2.9, 2.9, 2.9))
    return Content("Wide chart or table", (table,), _split(results))


def _score(tree: dict[str, Any], stage: str, metric: str) -> Cell:
    found = tree.get(stage, {}).get(metric)
    return cell(written(found) if found else "–", bold=stage == "trained")


RESULTS = (
    Slide("retrieval", "results.json", _retrieval),
    Slide("sheet", "figure retrieval_sheet", _sheet),
    Slide("directions", "results.json", _directions, standard=False),
    Slide("downstream", "results.json", _downstream, standard=False),
    figure_slide("map", "embedding_map", "Picture"),
    Slide("gap", "figure umap_modality", _gap),
)
