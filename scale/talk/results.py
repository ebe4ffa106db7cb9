"""The slides of this run's results, from its results.json."""

from typing import Any

from scale.evaluation.bootstrap import Estimate
from scale.modalities import MODALITIES, subset_name
from scale.talk.chart import Chart
from scale.talk.material import Content, Material, Slide, Unavailable, pictured, written
from scale.talk.picture import Picture
from scale.talk.prose import words
from scale.talk.table import Cell, Table, cell
from scale.viz.pictures.run_pictures import draw_sheet
from scale.viz.theme import POSITIVE, mix, use_style

ALL, METRIC = subset_name(MODALITIES), "mAP@1"
STAGES = {"trained": POSITIVE, "untrained": "#7C8696", "chance": "#C9CFD8"}
QUERIES = 3
"""Rows of the retrieval sheet: as many as can be seen from the last row of chairs."""


def _retrieval(m: Material) -> Content:
    said, results = words("retrieval", m.lang), m.results
    tree = results["retrieval"]["category"]
    stages = [stage for stage in STAGES if stage in tree]
    subsets = [s for s in (ALL, *MODALITIES) if _known(tree["trained"], s)]
    if ALL not in subsets:
        raise Unavailable("results.json has no category retrieval by all modalities")
    names = tuple(said["five"] if s == ALL else m.label(s) for s in subsets)
    series = {
        m.label(stage): [Estimate(**tree[stage][s][METRIC]) for s in subsets] for stage in stages
    }
    chart = Chart("columns", names, series, tuple(STAGES[s] for s in stages), said["axis"])
    cells = zip(names, series[m.label("trained")], strict=True)
    values = {
        "all": written(tree["trained"][ALL][METRIC]),
        "untrained": written(tree.get("untrained", tree["trained"])[ALL][METRIC]),
        "chance": f"{tree['chance'][ALL][METRIC]['value']:.2f}",
        "summary": ", ".join(f"{name} {written(e)}" for name, e in cells),
        **_gain(m, results, [s for s in subsets if s != ALL]),
        **_split(results),
    }
    return Content("Chart or table", (chart,), values)


def _gain(m: Material, results: dict[str, Any], singles: list[str]) -> dict[str, str]:
    """All five less the best single modality, paired over the queries that both have."""
    pairs = results["retrieval"]["differences"]["trained"]
    tree = results["retrieval"]["category"]["trained"]
    best = max(singles, key=lambda s: tree[s][METRIC]["value"], default=None)
    if best is None:
        return {"best": "–", "gain": "–"}
    gain = pairs[f"{ALL} - {best}"][METRIC]
    return {"best": m.label(best), "gain": written(gain, "+")}


def _known(tree: dict[str, Any], item: str) -> bool:
    return tree.get(item, {}).get(METRIC, {}).get("value") is not None


def _split(results: dict[str, Any]) -> dict[str, Any]:
    return {"split": results["split"], "products": results["products"]}


def _sheet(m: Material) -> Content:
    s = m.sources
    with use_style("slides"):
        figure = draw_sheet(s.run, s.test, m.lang, s.seed, rows=QUERIES)
    return pictured(Picture.of(figure, m.caption("retrieval_sheet")), {"queries": QUERIES})


def _directions(m: Material) -> Content:
    said, results = words("directions", m.lang), m.results
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
    header = (said["from"], *(m.label(b) for b in MODALITIES))
    rows = tuple(
        (cell(m.label(a), bold=True), *(_direction(trained.get(f"{a}->{b}")) for b in MODALITIES))
        for a in MODALITIES
    )
    pair = " → ".join(m.label(each) for each in named[best])
    values = {"low": f"{min(chance):.2f}", "high": f"{max(chance):.2f}", **_split(results)}
    values["best"] = f"{pair} {written(trained[best])}"
    return Content("Wide chart or table", (Table(header, rows, (1.6, 2, 2, 2, 2, 2)),), values)


def _direction(found: Estimate | None) -> Cell:
    """A value, on a darker ground where it is larger, and its interval below it."""
    if found is None or found.value is None:
        return cell("–")
    value, _, interval = written(found).partition(" ")
    return cell(f"{value}\n{interval}", fill=mix("#FFFFFF", POSITIVE, 0.45 * found.value))


def _downstream(m: Material) -> Content:
    said, results = words("downstream", m.lang), m.results
    probe = results.get("classification", {}).get("linear_probe")
    clusters = results.get("clustering")
    if not probe or not clusters:
        raise Unavailable("results.json has no classification or no clustering")
    lines = [
        (said["accuracy"], probe, "accuracy", "majority"),
        (said["macro"], probe, "macro-F1", "majority"),
        (said["nmi"], clusters, "NMI", "chance"),
        (said["purity"], clusters, "purity", "chance"),
    ]
    rows = tuple(
        (cell(name), *(_score(tree, stage, metric) for stage in ("trained", "untrained", base)))
        for name, tree, metric, base in lines
    )
    header = (said["measure"], m.label("trained"), m.label("untrained"), said["baseline"])
    table = Table(header, rows, (3.4, 2.9, 2.9, 2.9))
    return Content("Wide chart or table", (table,), _split(results))


def _score(tree: dict[str, Any], stage: str, metric: str) -> Cell:
    found = tree.get(stage, {}).get(metric)
    return cell(written(found) if found else "–", bold=stage == "trained")


def _map(m: Material) -> Content:
    return pictured(m.picture("embedding_map"))


SLIDES = (
    Slide("retrieval", "results.json", _retrieval),
    Slide("sheet", "figure retrieval_sheet", _sheet),
    Slide("directions", "results.json", _directions, standard=False),
    Slide("downstream", "results.json", _downstream, standard=False),
    Slide("map", "figure embedding_map", _map, standard=False),
)
