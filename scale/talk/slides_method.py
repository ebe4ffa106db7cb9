"""Slides of the paper: idea, data sets, designs, data, framework, tasks, scores, loss, limits.

Each function returns the exhibits of one slide and the values of its words
(`viz/assets/talk_<lang>.toml`).
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from scale.config import PRESETS, LossConfig, require
from scale.data.catalogue import Catalogue
from scale.data.product import Product
from scale.evaluation.bootstrap import Estimate
from scale.modalities import MODALITIES, PAIRS, SPECS, TASKS
from scale.model.scores import inter_modality_scores
from scale.talk.chart import Chart
from scale.talk.material import (
    Content,
    Material,
    Slide,
    Unavailable,
    figure_slide,
    words,
)
from scale.talk.shapes import SHELF, Cards, Drawing, Gaps, Pairs, Shelf
from scale.talk.slides_results import facts
from scale.talk.table import Cell, Table, cell
from scale.training.logging import read_metrics
from scale.viz.catalogue import head_of
from scale.viz.illustrations.data import DATA_SETS, DataSet, shop_facts
from scale.viz.illustrations.framework import product_scene
from scale.viz.illustrations.masked_words import guess_colour
from scale.viz.illustrations.pretraining import run_terms
from scale.viz.registry import most_complete
from scale.viz.slides.method import word_prediction
from scale.viz.theme import MODALITY_COLOURS, POSITIVE, use_style

SHOWN = 24
"""Number of products drawn on the slide of the gaps."""
ABSENT = "#D5DAE1"
"""Colour of a modality that a data set lacks."""
INK = "#1B2330"
PAPER = "M5Product"


def _title(m: Material) -> Content:
    try:
        products = m.sources.test.products
    except ValueError:
        products = m.sources.catalogue.products
    products = _one_per_category(products, SHELF)
    return Content("Title", (Shelf(products),), {"products": len(m.sources.catalogue)})


def _one_per_category(products: Sequence[Product], count: int) -> list[Product]:
    """Return the first pictured products of different categories, then of any."""
    pictured = [product for product in products if product.image is not None]
    first = {product.category: product for product in reversed(pictured)}
    chosen = [product for product in pictured if first[product.category] is product]
    return [*chosen, *(p for p in pictured if p not in chosen)][:count]


def _modalities(m: Material) -> Content:
    product = m.sources.test.products[most_complete(m.sources.test)]
    name = product.name or product.id
    return Content("Title only", (Cards(product),), {"name": name})


def _data_sets(m: Material) -> Content:
    terms, ours = words("data_sets", m.lang), shop_facts(m.sources.catalogue)
    rows = tuple(_data_set_row(data, terms, data is ours) for data in (*DATA_SETS, ours))
    header = tuple(terms[k] for k in ("name", "modalities", "instances", "what", "categories"))
    values = {"count": len(rows), "names": ", ".join(row[0].text for row in rows)}
    return Content("Wide chart or table", (Table(header, rows, (3.4, 1.9, 1.8, 2.6, 2)),), values)


def _data_set_row(data: DataSet, terms: dict[str, str], ours: bool) -> tuple[Cell, ...]:
    name = f"{data.name} ({data.year})" if data.year else data.name
    dots = tuple(
        ("● ", MODALITY_COLOURS[m] if m in data.modalities else ABSENT) for m in MODALITIES
    )
    categories = _count(data.categories, terms)
    return (
        cell(terms["ours"].format(name=name) if ours else name, bold=ours),
        Cell(dots),
        cell(_count(data.instances, terms)),
        cell(terms.get(data.instance, data.instance)),
        cell(terms["over"].format(n=categories) if data.over else categories),
    )


def _count(number: int | None, terms: dict[str, str]) -> str:
    return terms["not_stated"] if number is None else f"{number:,}"


def _challenges(m: Material) -> Content:
    catalogue = m.sources.catalogue
    shown_NM = np.random.default_rng(m.sources.seed).permutation(catalogue.present_NM())[:SHOWN]
    return Content("Two columns", (Pairs(), Gaps(shown_NM)), _completeness(catalogue))


def _completeness(catalogue: Catalogue) -> dict[str, int]:
    present_NM = catalogue.present_NM()
    require(len(present_NM) > 0, f"{catalogue.folder}: the catalogue has no products")
    return {"complete": int(present_NM.all(axis=1).sum()), "all": len(present_NM)}


def _data(m: Material) -> Content:
    terms, catalogue = words("data", m.lang), m.sources.catalogue
    have_M = catalogue.present_NM().sum(axis=0)
    sizes = Counter(p.category for p in catalogue if p.category is not None)
    require(bool(sizes), f"{catalogue.folder}: no product has a category")
    counts = sorted(sizes.values(), reverse=True)
    names, values = [m.label(each) for each in MODALITIES], _completeness(catalogue)
    share_M = have_M / values["all"]
    rare = int(have_M.argmin())
    values |= {
        "rarest": names[rare],
        "rare": int(have_M[rare]),
        "head": head_of(np.array(counts, dtype=float)),
        "categories": len(counts),
        "largest": counts[0],
        "smallest": counts[-1],
        "shares": ", ".join(f"{n} {s:.0%}" for n, s in zip(names, share_M, strict=True)),
    }
    shares = Chart(
        "bars", tuple(names), {terms["share"]: [_exact(s) for s in share_M]},
        tuple(MODALITY_COLOURS.values()), terms["share"], percent=True,
    )  # fmt: skip
    ordered = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
    tail = Chart(
        "columns", tuple(name for name, _ in ordered),
        {terms["products"]: [_exact(count) for _, count in ordered]}, (POSITIVE,),
        terms["products"], terms["rank"].format(n=len(ordered)), named=False,
    )  # fmt: skip
    return Content("Two charts", (shares, tail), values)


def _exact(value: float) -> Estimate:
    """Return a count as an estimate without an interval."""
    return Estimate(float(value), None, None, 0)


OPENING = (
    Slide("title", "run, catalogue", _title),
    figure_slide("idea", "contrastive_idea", "Picture"),
    Slide("modalities", "a test product of the run", _modalities),
    Slide("data_sets", "facts with their sources, catalogue", _data_sets),
    figure_slide("streams", "streams"),
    Slide("challenges", "catalogue", _challenges),
    Slide("data", "catalogue", _data),
)


def _framework(m: Material) -> Content:
    with use_style("slides"):
        drawing = Drawing(product_scene(m.sources, m.lang), alt=m.caption("framework"))
    return Content("Title only", (drawing,), {"millions": millions(m)})


def millions(m: Material) -> str:
    """Return the number of parameters of the run's model in millions, e.g. `0.7`."""
    return f"{sum(p.numel() for p in m.sources.run.model.parameters()) / 1e6:.1f}"


def _tasks(m: Material) -> Content:
    product = m.sources.test.products[most_complete(m.sources.test)]
    rate = f"{m.sources.run.config.mask.rate:.0%}"
    values = {"rate": rate, "name": product.name or product.id}
    return m.pictured("pretext_tasks", "Wide picture", values)


def _task_table(m: Material) -> Content:
    terms = words("task_table", m.lang)
    header = tuple(terms[k] for k in ("modality", "task", "hidden", "target", "loss"))
    rows = tuple(_task_row(m, modality, terms) for modality in MODALITIES)
    values = {
        "rate": f"{m.sources.run.config.mask.rate:.0%}",
        "tasks": ", ".join(row[1].text for row in rows),
    }
    table = Table(header, rows, (1.75, 3.6, 2.7, 2.25, 2.3))
    return Content("Wide chart or table", (table,), values)


def _words(m: Material) -> Content:
    found = guess_colour(m.sources)
    picture = m.render(lambda: word_prediction(found, m.lang), "word_prediction", "Wide picture")
    chance = {name: f"{value:.2f}" for name, value in found.probability.items()}
    values = {"answer": found.answer, "before": chance["title"], "after": chance["picture"]}
    return Content("Wide picture", (picture,), values)


def _task_row(m: Material, modality: str, terms: dict[str, str]) -> tuple[Cell, ...]:
    spec = SPECS[modality]
    discrete = spec.kind == "discrete"
    return (
        cell(m.label(modality), MODALITY_COLOURS[modality], bold=True),
        cell(m.label(spec.task)),
        cell(terms[f"{modality}_hidden"]),
        cell(terms["same" if discrete else "features"]),
        cell(terms["entropy" if discrete else "regression"]),
    )


def _scores(m: Material) -> Content:
    product = m.sources.test.products[most_complete(m.sources.test)]
    values = {
        "name": product.name or product.id,
        "unrelated": f"{_own_share(0.0):.2f}",
        "agreeing": f"{_own_share(1.0):.2f}",
    }
    return m.pictured("scores", "Wide picture", values | _largest_weight(m))


def _largest_weight(m: Material) -> dict[str, str]:
    """Return the pair of the figure `scores` with the largest S', and its numbers."""
    with torch.no_grad():
        output = m.sources.run.model.embed(m.sources.test.collate([most_complete(m.sources.test)]))
    scores = inter_modality_scores(output.pooled_BMD, output.present_BM)
    weight = {pair: float(scores.weighted_BMM[0][pair]) for pair in PAIRS}
    pair = max(weight, key=lambda pair: weight[pair])
    first, second = (m.label(MODALITIES[k]) for k in pair)
    return {"first": first, "second": second, "weight": f"{weight[pair]:.2f}"}


def _own_share(cosine: float) -> float:
    """Return S'_ii if all other modalities have the same cosine: e / (e + 4 e^cosine)."""
    others = (len(MODALITIES) - 1) * math.exp(cosine)
    return math.e / (math.e + others)


def _loss(m: Material) -> Content:
    """Draw each loss of metrics.jsonl relative to its first value."""
    terms, path = words("loss", m.lang), m.sources.run_folder / "metrics.jsonl"
    rows = [row for row in read_metrics(m.sources.run_folder) if "loss/contrastive" in row]
    if len(rows) < 2:
        raise Unavailable(f"no logged contrastive loss in {path}")
    colours = dict(zip(TASKS, MODALITY_COLOURS.values(), strict=True))
    drawn = {"contrastive": INK} | {t: c for t, c in colours.items() if f"loss/{t}" in rows[0]}
    series = {
        terms.get(name, name): [_share(row, rows[0], f"loss/{name}") for row in rows]
        for name in drawn
    }
    steps = tuple(row["step"] for row in rows)
    first, last = (row["loss/contrastive"] for row in (rows[0], rows[-1]))
    values = {
        "steps": m.sources.run.config.train.steps,
        "first": f"{first:.1f}",
        "last": f"{last:.1f}",
        "share": f"{last / first:.0%}",
        "weighting": _weighting(m.sources.run.config.loss, terms),
        **_sums(m),
    }
    chart = Chart("curves", steps, series, tuple(drawn.values()), terms["axis"], terms["step"])
    return Content("Equation and chart", (chart,), values)


def _sums(m: Material) -> dict[str, str]:
    """Return the sums of the figure `total_loss`."""
    found = run_terms(m.sources.run, m.sources.train)
    sums = {"pairs": found.pairs, "masked": found.masked, "on_loss": found.total,
            "on_logits": found.on_logits, "unweighted": found.unweighted}  # fmt: skip
    return {name: f"{value:.2f}" for name, value in sums.items()} | {"batch": str(found.products)}


def _share(row: dict[str, float], first: dict[str, float], name: str) -> Estimate:
    if name not in row or not first[name]:
        return Estimate(None, None, None, 0)
    return Estimate(row[name] / first[name], None, None, 1)


def _weighting(loss: LossConfig, terms: dict[str, str]) -> str:
    """Return the description of the run's loss weights."""
    if loss.weight_by == "agreement":
        return terms["agreement"]
    if loss.weight_on == "none":
        return terms["none"]
    if loss.weight_by == "posterior":
        return terms["posterior"].format(place=loss.weight_on)
    return terms[f"on_{loss.weight_on}"]


def _training(m: Material) -> Content:
    path = m.sources.run_folder / "scores.parquet"
    if not path.is_file():
        raise Unavailable(f"no logged scores: {path} is missing")
    return m.pictured("scores_over_time", "Wide picture")


METHOD = (
    Slide("framework", "figure framework", _framework),
    Slide("tasks", "figure pretext_tasks", _tasks),
    Slide("task_table", "configuration of the run", _task_table, standard=False),
    Slide("words", "figure word_prediction", _words),
    figure_slide("predictions", "mask_image", "Picture", standard=False),
    Slide("scores", "figure scores", _scores),
    figure_slide("weights", "weight_effects"),
    Slide("loss", "metrics.jsonl of the run, figure total_loss", _loss),
    Slide("training", "figure scores_over_time", _training, standard=False),
)


def _limits(m: Material) -> Content:
    study = facts(m.study("missing"))
    paper = next(data for data in DATA_SETS if data.name == PAPER)
    values = {
        "train": len(m.sources.run.dataset(m.sources.catalogue, "train")),
        "paper": f"{paper.instances:,}",
        "millions": millions(m),
        "steps": PRESETS[study["preset"]]().train.steps,
        "seeds": study["seeds"],
        "preset": study["preset"],
    }
    return Content("Content", values=values)


def _questions(m: Material) -> Content:
    return Content("Content")


def _sources(m: Material) -> Content:
    names = ", ".join(data.name for data in DATA_SETS if data.name != PAPER)
    return Content("Content", values={"data_sets": names})


CLOSING = (
    Slide("limits", "run, catalogue, study missing", _limits),
    Slide("questions", "nothing", _questions),
    Slide("sources", "nothing", _sources),
)
