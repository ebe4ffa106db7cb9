"""Slides of the paper: idea, data, designs, framework, losses, scores, and the closing slides.

Each function returns the exhibits of one slide and the values of its words
(`viz/assets/talk_<lang>.toml`).
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from scale.config import PRESETS, LossConfig, require
from scale.data.catalogue import Catalogue
from scale.data.dataset import ProductDataset
from scale.data.product import Product
from scale.evaluation.bootstrap import Estimate
from scale.losses.masking import MaskedBatch
from scale.modalities import INDEX, MODALITIES, PAIRS, SPECS, TASKS
from scale.model.scores import inter_modality_scores
from scale.studies.context import Context, in_context, predict
from scale.studies.masked_probe import token_groups
from scale.studies.statistics import Outcome
from scale.talk.chart import Chart
from scale.talk.material import (
    Content,
    Material,
    Slide,
    Unavailable,
    figure_slide,
    words,
)
from scale.talk.shapes import SHELF, Cards, Contrast, Drawing, Gaps, Numbers, Pairs, Shelf
from scale.talk.slides_results import CITE, METRIC, beside, claim_of, facts, sets
from scale.talk.table import Cell, Table, cell
from scale.training.logging import read_metrics
from scale.training.run import TrainedRun
from scale.viz.catalogue import head_of
from scale.viz.illustrations.data import DATA_SETS, DataSet, shop_facts
from scale.viz.illustrations.framework import product_scene
from scale.viz.illustrations.masked_words import guess_colour
from scale.viz.illustrations.paper import PAPER
from scale.viz.illustrations.pretraining import run_terms
from scale.viz.registry import most_complete
from scale.viz.slides.method import word_prediction
from scale.viz.theme import MODALITY_COLOURS, POSITIVE, use_style

SHOWN = 24
"""Number of products drawn on the slide of the gaps."""
DATA_WIDTHS = (153, 153, 54, 65, 75, 68, 69, 116, 120)
"""Widths of the columns of the table of data sets in points, from those of their texts."""
LONG_TAIL = 3
"""A tail is long if less than this part of the categories has half of the products."""
INK = "#1B2330"
PRODUCTS = "M5Product"


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
    has = [modality for modality in MODALITIES if modality in product.present]
    values = {
        "name": product.name or product.id,
        "count": len(has),
        "all": len(MODALITIES),
        "listed": ", ".join(m.label(modality) for modality in has),
    }
    variant = "all" if len(has) == len(MODALITIES) else "some"
    return Content("Title only", (Cards(product),), values, variant)


def _data_sets(m: Material) -> Content:
    """Draw the data sets by kind: a column per modality, with a dot where the set has it."""
    terms, ours = words("data_sets", m.lang), shop_facts(m.sources.catalogue)
    shown = (*DATA_SETS, ours)
    kinds = [m.label(f"kind_{data.kind}") for data in shown]
    named = [kind if kind not in kinds[:k] else "" for k, kind in enumerate(kinds)]
    rows = tuple(
        (cell(kind), *_data_set_row(data, terms, data is ours))
        for kind, data in zip(named, shown, strict=True)
    )
    header = (terms["kind"], terms["name"], *(m.label(each) for each in MODALITIES),
              terms["instances"], terms["categories"])  # fmt: skip
    values = {
        "count": len(DATA_SETS),
        "names": ", ".join(row[1].text for row in rows),
        "two": sum(len(data.modalities) == 2 for data in DATA_SETS),
        "all": len(MODALITIES),
        "complete": ", ".join(d.name for d in DATA_SETS if len(d.modalities) == len(MODALITIES)),
        "ours": len(ours.modalities),
    }
    table = Table(header, rows, DATA_WIDTHS)
    return Content("Content", (table,), values)


def _data_set_row(data: DataSet, terms: dict[str, str], ours: bool) -> tuple[Cell, ...]:
    name = terms["ours"] if ours else data.name
    dots = (cell("●" if m in data.modalities else "", MODALITY_COLOURS[m]) for m in MODALITIES)
    categories = _count(data.categories, terms)
    return (
        cell(name, bold=ours),
        *dots,
        cell(_count(data.instances, terms)),
        cell(terms["over"].format(n=categories) if data.over else categories),
    )


def _published(m: Material) -> Content:
    """Show M5Product by the numbers of its authors."""
    terms, stated = words("published", m.lang), {k: v for k, (v, *_) in PAPER["facts"].items()}
    paper = next(data for data in DATA_SETS if data.name == PRODUCTS)
    complete = stated["all five modalities"] / stated["products"]
    numbers = {
        "products": f"{stated['products']:,}",
        "categories": terms["over"].format(n=f"{paper.categories:,}"),
        "properties": f"{stated['properties']:,}",
        "merchants": f"{stated['merchants']:,}",
        "values": f"{stated['values']:,}",
        "complete": f"{complete:.0%}",
    }
    items = tuple((number, terms[key]) for key, number in numbers.items())
    values = {**numbers, "incomplete": f"{1 - complete:.0%}", "exact": f"{stated['categories']:,}",
              "cite": CITE, "all": len(MODALITIES)}  # fmt: skip
    return Content("Title only", (Numbers(items),), values)


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
    values["shape"] = terms["long" if values["head"] < len(counts) / LONG_TAIL else "flat"]
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
    Slide("published", "the paper's facts", _published),
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


BATCH = 3
"""Products in the example of InfoNCE."""


def _info_nce(m: Material) -> Content:
    """Compare titles with pictures of a few training products of different categories."""
    terms, train, run = words("info_nce", m.lang), m.sources.train, m.sources.run
    rows = _different(train, ("text", "image"), BATCH)
    batch = train.collate(rows).to(next(run.model.parameters()).device)
    with torch.no_grad():
        pooled_BMD = run.model.eval().embed(batch).pooled_BMD.float().cpu()
    unit_BMD = normalize(pooled_BMD, dim=-1)
    cosine_BB = unit_BMD[:, INDEX["text"]] @ unit_BMD[:, INDEX["image"]].T
    temperature = run.config.loss.temperature
    share_B = (cosine_BB / temperature).softmax(1).diagonal()
    values = {
        "batch": BATCH,
        "others": BATCH - 1,
        "temperature": f"{temperature:g}",
        "pairs": len(PAIRS),
        "loss": f"{-share_B.log().mean().item():.2f}",
        "guess": f"{math.log(BATCH):.2f}",
        "shares": ", ".join(f"{share:.0%}" for share in share_B.tolist()),
        "size": run.config.train.batch_size,
    }
    products = tuple(train.products[row] for row in rows)
    exhibit = Contrast(products, cosine_BB.numpy(), share_B.numpy(), terms["share"])
    return Content("Equation and chart", (exhibit,), values)


def _different(data: ProductDataset, modalities: tuple[str, ...], count: int) -> list[int]:
    """Return the rows of the first products with these modalities, each of another category."""
    have_N = data.present_NM[:, [INDEX[m] for m in modalities]].all(axis=1)
    found: dict[str, int] = {}
    for row in have_N.nonzero()[0].tolist():
        found.setdefault(data.products[row].category or str(row), row)
    if len(found) < count:
        raise Unavailable(f"fewer than {count} products with {' and '.join(modalities)}")
    return list(found.values())[:count]


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
    values = {"answer": found.answer, "before": chance["title"], "after": chance["picture"],
              "products": found.products}  # fmt: skip
    helped = found.probability["picture"] > found.probability["title"]
    return Content("Wide picture", (picture,), values, "more" if helped else "less")


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


CANDIDATES = 5
"""Words whose probabilities are drawn."""


def _masked_loss(m: Material) -> Content:
    """Mask the word of test titles and tables whose loss the other modalities reduce most.

    Of the words with a probability of at least LEAST_SHARE, if there are any.
    """
    terms, test, run = words("masked_loss", m.lang), m.sources.test, m.sources.run
    rows = test.present_NM.all(axis=1).nonzero()[0][:MASKED_PRODUCTS].tolist()
    found = [
        one
        for modality in ("text", "table")
        if SPECS[modality].task in run.config.loss.tasks and modality in test.columns
        if not test.columns[modality].continuous
        for row in rows
        for one in _masked_words(run, test, row, modality)
    ]
    if not found:
        raise Unavailable("no masked loss of words, or no complete test product with whole words")
    likely = [one for one in found if one.share_V["all"][one.truth] >= LEAST_SHARE]
    best = max(likely or found, key=lambda one: one.gain)
    names = {key: terms[key] for key in best.share_V}
    tokens = torch.maximum(*best.share_V.values()).argsort(descending=True).tolist()
    pieces = test.tokenizer.convert_ids_to_tokens(tokens)
    tokens = [t for t, piece in zip(tokens, pieces, strict=True) if piece.isalpha()]
    shown = list(dict.fromkeys([best.truth, *tokens]))[:CANDIDATES]
    shown.sort(key=lambda token: -float(best.share_V["all"][token]))
    series = {
        names[key]: [Estimate(float(share_V[token]), None, None, 1) for token in shown]
        for key, share_V in best.share_V.items()
    }
    spelled = test.tokenizer.convert_ids_to_tokens(shown)
    values = {
        "sentence": _sentence(test, best),
        "modality": m.label(best.modality),
        "truth": test.tokenizer.convert_ids_to_tokens(best.truth),
        "alone": f"{float(best.share_V['alone'][best.truth]):.1%}",
        "together": f"{float(best.share_V['all'][best.truth]):.1%}",
        "name": test.products[best.row].name or test.ids[best.row],
        "words": len(found),
        "rate": f"{run.config.mask.rate:.0%}",
        "tasks": len(TASKS),
        "cite": CITE,
        "bars": ", ".join(
            f"{name} {float(best.share_V['all'][token]):.0%}"
            for name, token in zip(spelled, shown, strict=True)
        ),
    }
    colours = (POSITIVE, "#7C8696")
    chart = Chart("bars", tuple(spelled), series, colours, terms["axis"], percent=True)
    return Content("Equation and chart", (chart,), values)


@dataclass(frozen=True)
class MaskedWord:
    """Probabilities for one masked word, with and without the other modalities."""

    modality: str
    row: int
    place: int
    truth: int
    share_V: dict[str, torch.Tensor]
    """By context: `all`, `alone`."""

    @property
    def gain(self) -> float:
        """Reduction of the loss by the other modalities, in nats."""
        alone, together = (self.share_V[key][self.truth].log() for key in ("alone", "all"))
        return float(together - alone)


CONTEXTS = {"all": MODALITIES, "alone": ()}
"""Other modalities that are kept, by name of the context."""
MASKED_PRODUCTS = 24
"""Complete test products whose words are masked, one at a time."""
LEAST_SHARE = 0.01


def _masked_words(
    run: TrainedRun, data: ProductDataset, row: int, modality: str
) -> list[MaskedWord]:
    """Mask each word or entity that is one piece of letters in turn, all in one batch."""
    word_L, one = token_groups(data, row, modality), data.collate([row]).tokens[modality]
    pieces = data.tokenizer.convert_ids_to_tokens(one.values[0].tolist())
    places = [
        place
        for place, piece in enumerate(pieces[: len(word_L)])
        if word_L[place] >= 0 and int((word_L == word_L[place]).sum()) == 1 and piece.isalpha()
    ]
    if not places:
        return []
    batch = data.collate([row] * len(places))
    tokens = batch.tokens[modality]
    hidden_RL = torch.zeros_like(tokens.values, dtype=torch.bool)
    hidden_RL[torch.arange(len(places)), torch.tensor(places)] = True
    values = tokens.values.masked_fill(hidden_RL, data.tokenizer.mask_token_id)
    shown = replace(tokens, values=values)
    masked = MaskedBatch(
        replace(batch, tokens={**batch.tokens, modality: shown}),
        {modality: hidden_RL},
        {modality: tokens.values[hidden_RL]},
    )
    share_NV = {
        name: predict(run.model, in_context(masked, modality, Context(keep)), modality).softmax(1)
        for name, keep in CONTEXTS.items()
    }
    return [
        MaskedWord(modality, row, place, int(truth), {key: f[n] for key, f in share_NV.items()})
        for n, (place, truth) in enumerate(zip(places, masked.targets[modality], strict=True))
    ]


def _sentence(data: ProductDataset, one: MaskedWord) -> str:
    """Return the title, or the pair of the table, as the model reads it, with [MASK]."""
    ids_L = data.collate([one.row]).tokens[one.modality].values[0].tolist()
    ids_L[one.place] = mask = data.tokenizer.mask_token_id
    special = set(data.tokenizer.all_special_ids) - {mask}
    pieces = data.tokenizer.convert_ids_to_tokens([i for i in ids_L if i not in special])
    text = re.sub(r" ([,.;:!?])", r"\1", " ".join(pieces).replace(" ##", ""))
    if one.modality == "table":
        text = next(pair for pair in text.split(";") if data.tokenizer.mask_token in pair)
    return text.strip()


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
    return Content("Equation and chart", (chart,), values, "less" if last < first else "more")


def _sums(m: Material) -> dict[str, str]:
    """Return the sums of the figure `total_loss`."""
    found = run_terms(m.sources.run, m.sources.train)
    sums = {"pairs": found.pairs, "masked": found.masked, "on_loss": found.total,
            "on_logits": found.on_logits, "unweighted": found.unweighted}  # fmt: skip
    return {name: f"{value:.2f}" for name, value in sums.items()} | {"batch": str(found.products)}


def _total(m: Material) -> Content:
    product = m.sources.test.products[most_complete(m.sources.test)]
    values = {"name": product.name or product.id, "pairs_of": len(PAIRS), "tasks": len(TASKS)}
    return m.pictured("total_loss", "Wide picture", values | _sums(m))


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
    return m.pictured("scores_over_time", "Picture")


METHOD = (
    Slide("framework", "figure framework", _framework),
    Slide("info_nce", "the run, training products", _info_nce, part="contrast"),
    Slide("tasks", "figure pretext_tasks", _tasks, part="heads"),
    Slide("task_table", "configuration of the run", _task_table, standard=False, part="heads"),
    Slide("masked_loss", "the run, a test product", _masked_loss, part="masked"),
    Slide("words", "figure word_prediction", _words, part="heads"),
    figure_slide("predictions", "mask_image", "Picture", standard=False, part="heads"),
    Slide("scores", "figure scores", _scores, part="scores"),
    figure_slide("weights", "weight_effects", part="weights"),
    Slide("total", "figure total_loss", _total, part="weights"),
    Slide("loss", "metrics.jsonl of the run, figure total_loss", _loss, part="losses"),
    Slide("training", "figure scores_over_time", _training, standard=False, part="scores"),
)


def _limits(m: Material) -> Content:
    study = facts(m, "missing")
    paper = next(data for data in DATA_SETS if data.name == PRODUCTS)
    values = {
        "train": len(m.sources.run.dataset(m.sources.catalogue, "train")),
        "paper": f"{paper.instances:,}",
        "millions": millions(m),
        "steps": PRESETS[study["preset"]]().train.steps,
        "seeds": study["seeds"],
        "preset": study["preset"],
        "backbones": _backbones(m),
    }
    return Content("Content", values=values)


RAW_FEATURES = ("pieces", "patches", "frames", "hog", "logmel")
"""Values of `FeatureConfig.<modality>_features` without a pretrained model."""


def _backbones(m: Material) -> str:
    """Return the modalities of the run whose features come from files or pretrained models."""
    terms, features = words("limits", m.lang), m.sources.run.config.features
    found = [e for e in MODALITIES if getattr(features, f"{e}_features") not in RAW_FEATURES]
    names = ", ".join(m.label(each) for each in found)
    return terms["some"].format(names=names) if found else terms["none"]


def _take_home(m: Material) -> Content:
    """Set the paper's gains beside ours, each with its verdict."""
    values: dict[str, Any] = {"all": len(MODALITIES), "pairs": len(PAIRS)}
    claims = ("modalities", "incomplete", "weights_loss")
    for name in claims:
        values |= {f"{name}_{key}": text for key, text in beside(m, name).items()}
    values["set"] = sets(m, [claim_of(name).study for name in claims])
    values["faults"] = len(_faults_found(m))
    return Content("Content", values=values)


def _faults_found(m: Material) -> list[Outcome]:
    return [o for o in m.study("faults").outcomes if o.comparison.metric == METRIC]


def _questions(m: Material) -> Content:
    return Content("Content")


def _sources(m: Material) -> Content:
    names = ", ".join(data.name for data in DATA_SETS if data.name != PRODUCTS)
    return Content("Content", values={"data_sets": names})


CLOSING = (
    Slide("take_home", "the paper's tables, studies", _take_home),
    Slide("limits", "run, catalogue, study missing", _limits),
    Slide("questions", "nothing", _questions),
    Slide("sources", "nothing", _sources),
)
