"""Slides of results: of a run (results.json) and of the studies (figures/studies/*.parquet)."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from scale.config import require
from scale.evaluation.bootstrap import Estimate, estimate
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
    words,
    written,
)
from scale.talk.table import Cell, Table, cell
from scale.viz.embeddings import kept_umap, product_vectors
from scale.viz.illustrations.paper import PAPER, PAPER_CLAIMS, PaperClaim, paper_table
from scale.viz.illustrations.space import modality_gap, points_of_stages
from scale.viz.retrieval import QUERY_ORDER, search_sheet
from scale.viz.slides.results import modality_maps, product_map, retrieval_sheet
from scale.viz.studies import BASELINES
from scale.viz.theme import HIT, MODALITY_COLOURS, NEGATIVE, POSITIVE, mix
from scale.viz.words import term

CITE = "arXiv " + PAPER["sources"]["text"]["url"].rsplit("/", 1)[-1]
"""The version of the paper whose numbers are cited."""
ALL, TEST = subset_name(MODALITIES), "held out"
METRIC = "mAP@5"
"""Metric of all slides but `directions` and `downstream`, of the run and of the studies."""
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
    metric: str = METRIC,
) -> Outcome:
    """Return the comparison of two sides on held-out products. Raises Unavailable if missing."""
    wanted = {"better": better, "worse": worse, "test": TEST, "metric": metric}
    for outcome in summary.outcomes:
        if all(getattr(outcome.comparison, name) == value for name, value in wanted.items()):
            return outcome
    raise Unavailable(f"study {summary.study.name}: no comparison of {better} with {worse}")


def product_set(m: Material, split: str, products: int) -> dict[str, Any]:
    """Return the products of a figure: split, number and their short form, e.g. `test, n = 146`."""
    terms = words("title", m.lang)
    name = terms[f"split_{split}"]
    return {"split": name, "products": products, "set": terms["set"].format(split=name, n=products)}


def sets(m: Material, studies: Iterable[str]) -> str:
    """Return the short form of the products of several studies, usually one for all."""
    return " / ".join(dict.fromkeys(facts(m, name)["set"] for name in studies))


def facts(m: Material, name: str) -> dict[str, Any]:
    """Return a study's values of source line and axis: catalogue, seeds, held-out products, cells.

    `set` is the short form of the products measured, `run_set` that of the run's.
    """
    summary, tested = m.study(name), len(m.sources.test)
    split, products = summary.held_out or "val+test", summary.provenance["products"][TEST]
    return {
        **product_set(m, split, products),
        "run_set": product_set(m, "test", tested)["set"],
        "held": product_set(m, split, products)["split"],
        "tested": tested,
        "catalogue": summary.catalogue,
        "preset": summary.preset,
        "seeds": len(summary.provenance["seeds"]),
        "cells": len(summary.rows),
        "failed": sum(row.failed > 0 for row in summary.rows),
    }


def _missing(m: Material) -> Content:
    terms, summary = words("study_missing", m.lang), m.study("missing")
    rates = sorted({float(row.factors["rate"]) for row in summary.rows})
    by_place = {(row.factors["policy"], row.factors["rate"]): row for row in summary.rows}
    series = {p: [by_place[p, r].estimate(TEST, METRIC) for r in rates] for p in POLICIES}
    gain = outcome_of(summary, {"policy": "zero", "rate": RATE}, {"policy": "drop", "rate": RATE})
    skip = outcome_of(summary, {"policy": "skip"}, {"policy": "zero"})
    values = facts(m, "missing") | {
        "policies": ", ".join(series),
        "rate": f"{RATE:.0%}",
        "gain": difference(gain.seeds),
        "verdict": m.verdict(gain),
        "skip": difference(skip.seeds),
        "skip_verdict": m.verdict(skip),
        **_size(gain),
    }
    series = {term(policy, m.lang): estimates for policy, estimates in series.items()}
    chart = Chart("lines", tuple(f"{rate:.0%}" for rate in rates), series, POLICY_COLOURS,
                  terms["axis"].format(**values), terms["rate"])  # fmt: skip
    return Content("Chart or table", (chart,), values, gain.verdict)


def short(estimate: Estimate) -> str:
    """Return the size of a difference without sign and interval, `0.07`, for a title."""
    return "–" if estimate.value is None else f"{abs(estimate.value):.2f}"


def _size(outcome: Outcome) -> dict[str, str]:
    """Return the absolute difference of a comparison and its metric, for a title."""
    return {"size": short(outcome.seeds), "metric": outcome.comparison.metric}


def _parts(m: Material) -> Content:
    terms, added, fusion = words("study_parts", m.lang), m.study("modalities"), m.study("fusion")
    names = [m.label(MODALITIES[0])]
    names += [terms["plus"].format(name=m.label(each)) for each in MODALITIES[1:]]
    grown = [row.estimate(TEST, METRIC) for row in added.rows]
    values = facts(m, "fusion")
    axis = terms["axis"].format(**values)
    left = Chart("bars", tuple(names), {METRIC: grown}, tuple(MODALITY_COLOURS.values()),
                 axis)  # fmt: skip
    rows = [row for row in fusion.rows if row.factors["inputs"] == ALL]
    rows.sort(key=lambda row: -(row.estimate(TEST, METRIC).value or 0))
    designs = [str(row.factors["system"]) for row in rows]
    found = [row.estimate(TEST, METRIC) for row in rows]
    colours = tuple(POSITIVE if name in BASELINES else QUIET for name in designs)
    right = Chart("bars", tuple(designs), {METRIC: found}, colours, axis)
    five = outcome_of(added, {"modalities": ALL}, {"modalities": MODALITIES[0]})
    towers = outcome_of(
        fusion, {"inputs": ALL, "system": "SCALE"}, {"inputs": ALL, "system": "CLIP"}
    )
    values |= {
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
    """Draw differences to uniform weights over all regimes; the study's other metric in words."""
    terms, summary = words("study_weighting", m.lang), m.study("weighting")
    other = next(metric for metric in summary.study.metrics if metric != METRIC)
    found = {
        key: outcome_of(summary, {"weighting": name}, {"weighting": "uniform"})
        for key, name in WEIGHTINGS.items()
    }
    control = outcome_of(summary, {"weighting": "logits (paper)"}, {"weighting": "logits control"})
    again = outcome_of(summary, {"weighting": "S'"}, {"weighting": "uniform"}, other)
    values = facts(m, "weighting") | {
        "other": other,
        "other_value": difference(again.seeds),
        "other_verdict": m.verdict(again),
        "regimes": found["scores"].pairs,
        "scores": difference(found["scores"].seeds),
        "scores_verdict": m.verdict(found["scores"]),
        "logits": difference(found["logits"].seeds),
        "logits_verdict": m.verdict(found["logits"]),
        "control": difference(control.seeds),
        "control_verdict": m.verdict(control),
        "bars": _listed([terms[key] for key in found], [o.seeds for o in found.values()], "+"),
    }
    axis = terms["axis"].format(**values)
    chart = _differences(found, [terms[key] for key in found], axis)
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
        if o.comparison.metric == METRIC
    }
    names = [terms.get(name, name) for name in found]
    values = facts(m, study) | {
        value: difference(found[main].seeds),
        "verdict": m.verdict(found[main]),
        **_size(found[main]),
        "count": len(found),
        "open": sum(o.verdict == "not decided" for o in found.values()),
        "bars": _listed(names, [o.seeds for o in found.values()], "+"),
    }
    chart = _differences(found, names, terms["axis"].format(**values), colour)
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


def claim_of(name: str) -> PaperClaim:
    """Return a claim of the paper by its name."""
    return next(claim for claim in PAPER_CLAIMS if claim.name == name)


def beside(m: Material, name: str) -> dict[str, str]:
    """Return a claim of the paper beside ours: gains in mAP and the verdict on ours.

    `theirs`: difference of two printed numbers, which have no interval, in our metric where the
    table has it (`metric`). Raises Unavailable if our
    study is not finished.
    """
    claim = claim_of(name)
    column = claim.column.replace("mAP@1", METRIC)
    if column in paper_table(claim.table):
        claim = replace(claim, column=column)
    for outcome in m.study(claim.study).outcomes:
        compared = outcome.comparison
        same = compared.claim == claim.outcome and compared.test == TEST
        if same and compared.metric == METRIC and outcome.seeds.value is not None:
            return {
                "theirs": f"{claim.gain / 100:+.3f}".replace("-", "−"),
                "metric": claim.column.partition(" ")[0],
                "table": str(claim.table),
                "ours": difference(outcome.seeds),
                "verdict": m.verdict(outcome),
                "decision": outcome.verdict,
            }
    raise Unavailable(f"study {claim.study}: no comparison for the paper's claim {name}")


def _printed(frame: Any, column: str) -> list[Estimate]:
    """Return a column of a table of the paper as shares; printed in percent, without intervals."""
    return [Estimate(float(value) / 100, None, None, 1) for value in frame[column]]


def _paper_modalities(m: Material) -> Content:
    """Draw the paper's table 3 (subset, pretrained features) beside our study `modalities`."""
    terms, added = words("paper_modalities", m.lang), m.study("modalities")
    printed = paper_table(3).query("data == 'subset'")
    order = [name.removeprefix("+ ") for name in printed["modalities"]]
    gain = outcome_of(added, {"modalities": ALL}, {"modalities": MODALITIES[0]})
    charts = []
    for key, names, found in (
        ("theirs", order, _printed(printed, f"{METRIC} pretrained")),
        ("ours", MODALITIES, [row.estimate(TEST, METRIC) for row in added.rows]),
    ):
        shown = [m.label(n) if k == 0 else f"+ {m.label(n)}" for k, n in enumerate(names)]
        colours = tuple(MODALITY_COLOURS[name] for name in names)
        axis = terms[key].format(**facts(m, "modalities"))
        charts.append(Chart("bars", tuple(shown), {METRIC: found}, colours, axis))
    first, last = (charts[0].series[METRIC][k].value for k in (0, -1))
    values = facts(m, "modalities") | beside(m, "modalities") | {
        "theirs": f"{last - first:+.3f}",
        "first": f"{first:.3f}",
        "last": f"{last:.3f}",
        "count": len(MODALITIES),
        "printed": _listed(charts[0].categories, charts[0].series[METRIC]),
        "added": _listed(charts[1].categories, charts[1].series[METRIC]),
        "cite": CITE,
    }  # fmt: skip
    return Content("Two charts", tuple(charts), values, gain.verdict)


def _paper_models(m: Material) -> Content:
    """Draw the paper's table 5 (subset, image and text) beside those cells of our `fusion`."""
    terms, fusion = words("paper_models", m.lang), m.study("fusion")
    printed = paper_table(5).query("data == 'subset'")
    rows = [row for row in fusion.rows if row.factors["inputs"] == "text+image"]
    rows.sort(key=lambda row: row.estimate(TEST, METRIC).value or 0)
    charts = []
    for key, names, found in (
        ("theirs", list(printed["model"]), _printed(printed, "mAP@1")),
        ("ours", [str(r.factors["system"]) for r in rows],
         [row.estimate(TEST, METRIC) for row in rows]),
    ):  # fmt: skip
        colours = tuple(POSITIVE if name == "SCALE" else QUIET for name in names)
        axis = terms[key].format(**facts(m, "fusion"))
        # The longest name of the table would wrap.
        shown = tuple(
            terms["bert"] if name.startswith("BERT") else term(name, m.lang) for name in names
        )
        charts.append(Chart("bars", shown, {"mAP": found}, colours, axis))
    values = facts(m, "fusion") | beside(m, "clip") | {
        "models": len(printed),
        "designs": len(rows),
        "printed": _listed(charts[0].categories, charts[0].series["mAP"]),
        "found": _listed(charts[1].categories, charts[1].series["mAP"]),
        "cite": CITE,
    }  # fmt: skip
    return Content("Two charts", tuple(charts), values, values["decision"])


def _paper_claims(m: Material) -> Content:
    """List the paper's gains beside ours, with the verdicts."""
    terms, rows, verdicts = words("paper_claims", m.lang), [], []
    claims = [each for each in PAPER_CLAIMS if each.study]
    for claim in claims:
        found = beside(m, claim.name)
        verdicts.append(found["verdict"])
        metric = found["metric"]
        rows.append((
            cell(m.label(f"published_{claim.name}", table=claim.table)),
            cell(found["theirs"] + (f" ({metric})" if metric != METRIC else "")),
            cell(found["ours"]),
            cell(found["verdict"], bold=True),
        ))  # fmt: skip
    values = facts(m, "fusion") | {"set": sets(m, [claim.study for claim in claims])}
    columns = ("claim", "theirs", "ours", "verdict")
    header = tuple(terms[key].format(**values) for key in columns)
    supported = m.label("supported")
    values |= {
        "claims": len(rows),
        "supported": sum(verdict == supported for verdict in verdicts),
        "rows": "; ".join(f"{row[0].text} {row[1].text} {row[2].text}" for row in rows),
        "cite": CITE,
    }
    table = Table(header, tuple(rows), (4.9, 2.3, 3.4, 2.1))
    return Content("Content", (table,), values)


STUDIES = (
    Slide("study_missing", "study missing", _missing),
    Slide("paper_modalities", "the paper's table 3, study modalities", _paper_modalities),
    Slide("paper_models", "the paper's table 5, study fusion", _paper_models),
    Slide("study_parts", "studies modalities and fusion", _parts, standard=False),
    Slide("study_weighting", "study weighting", _weighting),
    Slide("study_objective", "study tasks", _objective, standard=False),
    Slide("paper_claims", "the paper's tables, studies", _paper_claims),
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
        m.label(stage): [Estimate(**tree[stage][s][METRIC]) for s in subsets] for stage in stages
    }
    axis = terms["axis"].format(**_split(m, results))
    chart = Chart("columns", names, series, tuple(STAGES[s] for s in stages), axis)
    cells = zip(names, series[m.label("trained")], strict=True)
    values = {
        "all": written(tree["trained"][ALL][METRIC]),
        "untrained": written(tree.get("untrained", tree["trained"])[ALL][METRIC]),
        "chance": f"{tree['chance'][ALL][METRIC]['value']:.2f}",
        "summary": ", ".join(f"{name} {written(e)}" for name, e in cells),
        **_gain(m, results, [s for s in subsets if s != ALL]),
        **_split(m, results),
    }
    return Content("Chart or table", (chart,), values, values["variant"])


def _gain(m: Material, results: dict[str, Any], singles: list[str]) -> dict[str, str]:
    """Return all five minus the closest single modality, paired over their common queries.

    `variant`: `more` if the whole interval of each difference is above 0, `less` if one is below
    it, else `open`.
    """
    pairs = results["retrieval"]["differences"]["trained"]
    gains = {s: Estimate(**pairs[f"{ALL} - {s}"][METRIC]) for s in singles}
    gains = {s: gain for s, gain in gains.items() if gain.value is not None}
    if not gains:
        return {"best": "–", "gain": "–", "short": "–", "variant": "open"}
    best = min(gains, key=lambda s: gains[s].value)
    ends = [(gain.low, gain.high) for gain in gains.values()]
    known = all(low is not None for low, _ in ends)
    variant = "more" if known and min(low for low, _ in ends) > 0 else "open"
    if known and min(high for _, high in ends) < 0:
        variant = "less"
    gain = gains[best]
    return {"best": m.label(best), "gain": written(gain, "+"), "short": short(gain),
            "variant": variant}  # fmt: skip


def _known(tree: dict[str, Any], item: str) -> bool:
    return tree.get(item, {}).get(METRIC, {}).get("value") is not None


def _split(m: Material, results: dict[str, Any]) -> dict[str, Any]:
    """Return the products that results.json is of."""
    return product_set(m, results["split"], results["products"])


def _sheet(m: Material) -> Content:
    s = m.sources
    found = search_sheet(s.run, s.test, s.seed, rows=QUERIES)
    picture = m.render(
        lambda: retrieval_sheet(found, QUERY_ORDER, m.lang), "retrieval_sheet", "Picture"
    )
    hits = [hit for row in found.hits for hit in row]
    values = {"queries": len(found.queries), "hits": sum(hits), "shown": len(hits)}
    values |= product_set(m, "test", len(s.test))
    return Content("Picture", (picture,), values)


def _gap(m: Material) -> Content:
    """Draw the maps of `umap_modality`, with the modality gap before and after training."""
    s = m.sources
    stages = points_of_stages(s)
    maps = {stage: kept_umap(found.unit_PD, s.seed) for stage, found in stages.items()}
    picture = m.render(lambda: modality_maps(maps, stages, m.lang), "umap_modality", "Wide picture")
    gap = {stage: modality_gap(found) for stage, found in stages.items()}
    values = {stage: f"{value:.2f}" for stage, value in gap.items()}
    values |= product_set(m, "test", len(s.test))
    variant = "less" if gap["trained"] < gap["untrained"] else "more"
    return Content("Wide picture", (picture,), values, variant)


def _map(m: Material) -> Content:
    """Draw the map of `embedding_map`, with the share of points next to one of their category."""
    s = m.sources
    emb_ND, ids, _ = product_vectors(s.run.model, s.test)
    by_id = {product.id: product for product in s.test.products}
    products, xy_N2 = [by_id[i] for i in ids], kept_umap(emb_ND, s.seed)
    picture = m.render(lambda: product_map(xy_N2, products, m.lang), "embedding_map", "Picture")
    category_N = np.array([product.category or "" for product in products])
    same_N, chance_N = nearest_on_map(xy_N2, category_N)
    gain = estimate(same_N - chance_N, s.seed)
    require(gain.value is not None, "no test product has a category")
    values = {"share": f"{np.nanmean(same_N):.0%}", "chance": f"{np.nanmean(chance_N):.0%}"}
    values |= product_set(m, "test", len(products))
    variant = "more" if gain.low is not None and gain.low > 0 else "open"
    return Content("Picture", (picture,), values, variant)


def nearest_on_map(xy_N2: ArrayLike, category_N: ArrayLike) -> tuple[NDArray, NDArray]:
    """Return for each product whether the nearest other point has its category, and the chance.

    The chance is the share of its category among the other products. NaN for a product without a
    category (an empty name), and for all products if there is only one.
    """
    xy_N2, category_N = np.asarray(xy_N2, dtype=float), np.asarray(category_N)
    if len(xy_N2) < 2:
        return np.full((2, len(xy_N2)), np.nan)
    nearest_N = cKDTree(xy_N2).query(xy_N2, k=2)[1]
    # Of points at the same place, either may come first.
    own_N = np.arange(len(xy_N2))
    nearest_N = np.where(nearest_N[:, 0] == own_N, nearest_N[:, 1], nearest_N[:, 0])
    same_NN = category_N[:, None] == category_N
    chance_N = (same_NN.sum(1) - 1) / (len(xy_N2) - 1)
    known_N = category_N != ""
    same_N = np.where(known_N, same_NN[own_N, nearest_N], np.nan)
    return same_N, np.where(known_N, chance_N, np.nan)


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
    values = {"low": f"{min(chance):.2f}", "high": f"{max(chance):.2f}", **_split(m, results)}
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
    return Content("Wide chart or table", (table,), _split(m, results))


def _score(tree: dict[str, Any], stage: str, metric: str) -> Cell:
    found = tree.get(stage, {}).get(metric)
    return cell(written(found) if found else "–", bold=stage == "trained")


RESULTS = (
    Slide("retrieval", "results.json", _retrieval),
    Slide("sheet", "figure retrieval_sheet", _sheet),
    Slide("directions", "results.json", _directions, standard=False),
    Slide("downstream", "results.json", _downstream, standard=False),
    Slide("map", "figure embedding_map", _map),
    Slide("gap", "figure umap_modality", _gap),
)
