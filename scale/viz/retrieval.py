"""Figures of retrieval: queries with their results, and quality by query subset and direction.

`Estimates` are the leaves of results.json: `{value, low, high, n}` by metric.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from scale.config import require
from scale.data.dataset import ProductDataset
from scale.data.product import Product
from scale.evaluation.bootstrap import Estimate
from scale.evaluation.embed import embed_dataset
from scale.evaluation.report import plain, retrieval_results
from scale.evaluation.retrieval import ProductArrays
from scale.inference.search import Gallery
from scale.modalities import INDEX, MODALITIES, parse_subset, subset_name
from scale.training.run import TrainedRun
from scale.viz import typeset
from scale.viz.catalogue import dot_matrix
from scale.viz.charts import cell_text, heatmap, intervals, modality_ticks, note_below
from scale.viz.products import thumbnail
from scale.viz.registry import Sources, figure
from scale.viz.theme import (
    HIT,
    POSITIVE,
    diverging,
    drawn,
    new_figure,
    points,
    sequential,
    shade,
)
from scale.viz.tiles import Box
from scale.viz.words import LANG, Language, label

Estimates = Mapping[str, Mapping[str, float]]
Tree = Mapping[str, Mapping[str, Estimates]]
"""`chance`, `untrained`, `trained` -> subset or direction -> metric -> estimate."""

SIDE, GAP, MARGIN = 92.0, 14.0, 20.0
CAPTION = 52.0
"""Height of the lines below a tile."""
QUERIES = 6
"""Default rows of a retrieval sheet of a run."""
METRIC = "mAP@5"
"""Metric of the registered retrieval bars."""
QUERY_ORDER = ("image", "video", "text", "table", "audio")


@drawn
def retrieval_sheet(
    queries: Sequence[Product],
    results: Sequence[Sequence[tuple[Product, float]]],
    hits: Sequence[Sequence[bool]],
    lang: Language = LANG,
    query_subset: Sequence[str] = QUERY_ORDER,
) -> Figure:
    """Draw a row per query: the query, then its results, nearest first.

    Args:
        results: for each query, products with their cosine similarity.
        hits: for each result, whether it is relevant: green frame with a tick, otherwise grey.
        query_subset: modalities of the query; its tile shows the first one that it has, so that a
            query by sound is drawn as sound and not as an image that the model did not get.

    Raises ValueError if the three lists differ in length.
    """
    lengths = [(len(found), len(marks)) for found, marks in zip(results, hits, strict=True)]
    if len(queries) != len(results) or any(a != b for a, b in lengths):
        raise ValueError(f"{len(queries)} queries, with results and hits of {lengths}")
    most = max((a for a, _ in lengths), default=0)
    lead = MARGIN + SIDE + 30
    width = lead + most * (SIDE + GAP) - GAP + MARGIN
    row_height = SIDE + CAPTION
    figure, axes = typeset.page(max(width, 320.0), 34 + len(queries) * row_height + 16)
    _key(axes, MARGIN, 34 + len(queries) * row_height + 2, lang)
    head = {"size": 8.5, "fontweight": "bold", "color": shade(0.8)}
    typeset.write(axes, MARGIN, 24, label("query", lang), **head)
    for rank in range(most):
        x = lead + rank * (SIDE + GAP)
        typeset.write(axes, x, 24, label("rank_number", lang, n=rank + 1), **head)
    for row, query in enumerate(queries):
        box = Box(MARGIN, 34 + row * row_height, SIDE, SIDE)
        thumbnail(axes, query, box, lang, tuple(query_subset))
        typeset.box(axes, *box, edgecolor=shade(0.9), linewidth=points(2.2))
        _caption(axes, query, box, shade(0.9), "")
        axes.plot([lead - 15] * 2, [box.y, box.y + SIDE], color=shade(0.25), lw=points(0.8))
        for rank, ((found, cosine), hit) in enumerate(zip(results[row], hits[row], strict=True)):
            place = Box(lead + rank * (SIDE + GAP), box.y, SIDE, SIDE)
            _result(axes, found, cosine, hit, place, lang)
    return figure


def _result(
    axes: Axes, product: Product, cosine: float, hit: bool, box: Box, lang: Language
) -> None:
    thumbnail(axes, product, box, lang)
    edge, width = (HIT, 2.8) if hit else (shade(0.35), 1.2)
    typeset.box(axes, *box, edgecolor=edge, linewidth=points(width))
    if hit:
        draw_tick(axes, box.x + box.width - 3, box.y + 3, 8.5)
    colour = HIT if hit else shade(0.6)
    _caption(axes, product, box, colour, label("similarity", lang, value=cosine))


def draw_tick(axes: Axes, x: float, y: float, radius: float) -> None:
    """Draw the mark of a hit, which does not rely on colour."""
    axes.add_patch(Circle((x, y), radius, facecolor=HIT, edgecolor=shade(0.0), zorder=3))
    part = radius / 8.5
    tick = np.array([[-3.8, -1.0, 4.0], [0.3, 3.4, -3.4]]) * part + [[x], [y]]
    axes.plot(*tick, color="#FFFFFF", linewidth=points(1.8 * part), zorder=4)


def _key(axes: Axes, x: float, y: float, lang: Language) -> None:
    """Draw the key of the two frames."""
    draw_tick(axes, x + 5, y - 3, 5)
    typeset.write(axes, x + 14, y, label("hit", lang), 8, color=shade(0.7))
    x += 30 + typeset.text_width(label("hit", lang), 8)
    typeset.box(axes, x, y - 7.5, 9, 9, edgecolor=shade(0.35), linewidth=points(1.2))
    typeset.write(axes, x + 14, y, label("miss", lang), 8, color=shade(0.7))


def _caption(axes: Axes, product: Product, box: Box, colour: str, fact: str) -> None:
    """Write name, category and similarity below a tile."""
    name = typeset.shorten(product.name or product.text or product.id, box.width, 8.5)
    category = typeset.shorten(product.category or "–", box.width, 9.5, "bold")
    y = box.y + box.height
    typeset.write(axes, box.x, y + 13, name, 8.5)
    typeset.write(axes, box.x, y + 25, category, 9.5, fontweight="bold", color=colour)
    typeset.write(axes, box.x, y + 37, fact, 8.5, color=shade(0.6))


@drawn
def retrieval_bars(results_tree: Tree, lang: Language = LANG, metric: str = "mAP@1") -> Figure:
    """Draw a bar per query subset with its interval, the untrained model and chance.

    Args:
        results_tree: `retrieval.category` of results.json: `trained` (required), `untrained` and
            `chance` -> subset -> metric -> {value, low, high, n}.

    The dots below a bar are the modalities of its query; bars are sorted by number of modalities,
    then by value. Raises ValueError if no trained subset has the metric.
    """
    trained = _estimates(results_tree, "trained", metric)
    if not trained:
        raise ValueError(f"no trained result has {metric}")
    order = sorted(trained, key=lambda s: (len(parse_subset(s)), -trained[s].value))
    figure = new_figure(max(6.4, 0.235 * len(order) + 1.6), 4.2)
    bars, dots = figure.subplots(2, 1, sharex=True, height_ratios=(2.4, 1))
    x, found = np.arange(len(order)), [trained[s] for s in order]
    value = {
        kind: np.array([by[s].value if s in by else np.nan for s in order])
        for kind, by in ((k, _estimates(results_tree, k, metric)) for k in ("untrained", "chance"))
    }
    handles = [bars.bar(x, [e.value for e in found], 0.72, color=POSITIVE)]
    whiskers = {"color": shade(0.85), "elinewidth": points(1.0), "capsize": points(1.6)}
    intervals(bars, x, found, **whiskers)
    if np.isfinite(value["untrained"]).any():
        diamond = {"marker": "D", "color": shade(0.0), "markersize": points(4.5), "ls": "none"}
        handles += bars.plot(x, value["untrained"], markeredgecolor=shade(0.95), **diamond)
    if np.isfinite(value["chance"]).any():
        line = {"colors": shade(0.95), "linewidth": points(1.8)}
        handles.append(bars.hlines(value["chance"], x - 0.42, x + 0.42, **line))
    names = ["trained", *(k for k, values in value.items() if np.isfinite(values).any())]
    place = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "borderaxespad": 0.2, "ncols": 3}
    bars.legend(handles, [label(name, lang) for name in names], **place)
    bars.set_title(label("retrieval_bars", lang, metric=metric))
    bars.set(ylabel=metric, xlim=(-0.6, len(order) - 0.4))
    bars.set_ylim(0, 1.18 * max(1e-6, *(max(e.value, e.high) for e in found)))
    bars.tick_params(axis="x", length=0)
    dot_matrix(dots, [parse_subset(s) for s in order], lang)
    note_below(figure, label("interval_note", lang))
    return figure


def _estimates(tree: Tree, kind: str, metric: str) -> dict[str, Estimate]:
    """Return estimates of a metric by subset or direction.

    A value of null (no query has the modalities) is left out; an interval of null (a single query)
    shrinks to the value.
    """
    found = {}
    for name, metrics in tree.get(kind, {}).items():
        leaf = metrics.get(metric)
        if leaf is not None and leaf["value"] is not None and isfinite(leaf["value"]):
            ends = (leaf["value"] if leaf[end] is None else leaf[end] for end in ("low", "high"))
            found[name] = Estimate(leaf["value"], *ends, leaf["n"])
    return found


@drawn
def direction_matrix(results: Tree, lang: Language = LANG, metric: str = "Recall@10") -> Figure:
    """Draw instance retrieval from each modality (row) to each other one (column).

    Args:
        results: `retrieval.instance` of results.json: `trained` (required) and `chance` ->
            `text->image` ... -> metric -> {value, low, high, n}.

    The colour of a cell is its value minus chance, so that a small gallery does not look like
    skill; the scale has a negative half only if a direction is clearly (0.05) below chance. The
    diagonal is retrieval by the second view (`alt_image->image`), where there is one.
    Directions without a finite value are hatched. Raises ValueError if no direction has the metric.
    """
    trained, chance = (_estimates(results, kind, metric) for kind in ("trained", "chance"))
    if not trained:
        raise ValueError(f"no trained result has {metric}")
    count = len(MODALITIES)
    gain_MM = np.full((count, count), np.nan)
    found: dict[tuple[int, int], tuple[Estimate, float]] = {}
    for row, column in np.ndindex(count, count):
        start, end = MODALITIES[row], MODALITIES[column]
        name = f"alt_{end}->{end}" if row == column else f"{start}->{end}"
        if name in trained:
            level = chance[name].value if name in chance else 0.0
            gain_MM[row, column] = trained[name].value - level
            found[row, column] = trained[name], level
    most = max(np.nanmax(np.abs(gain_MM)), 0.05)
    below = np.nanmin(gain_MM) < -0.05
    colours, norm = (diverging() if below else sequential()), Normalize(-most if below else 0, most)
    figure = new_figure(6.4, 5.7, dense=True)
    axes = figure.subplots()
    for place, (estimate, level) in found.items():
        fill = colours(norm(gain_MM[place]))
        _direction_text(axes, *place, estimate, level, fill, lang)
    mesh = heatmap(axes, gain_MM, colours, norm, digits=None)
    modality_ticks(axes, lang)
    axes.set_title(label("direction_matrix", lang, metric=metric), pad=points(34))
    axes.set_ylabel(label("query", lang))
    axes.xaxis.set_label_position("top")
    axes.set_xlabel(label("gallery", lang))
    bar = figure.colorbar(mesh, ax=axes, shrink=0.7, aspect=24, pad=0.03)
    bar.set_label(label("above_chance", lang, metric=metric))
    bar.outline.set_visible(False)
    note_below(figure, label("direction_note", lang), label("diagonal_view", lang))
    return figure


def _direction_text(
    axes: Axes,
    row: int,
    column: int,
    found: Estimate,
    chance: float,
    fill: tuple[float, ...],
    lang: Language,
) -> None:
    cell_text(axes, row - 0.23, column, f"{found.value:.2f}", fill, 11, fontweight="bold")
    interval = "" if found.low is None else f"{found.low:.2f}–{found.high:.2f}"
    level = label("chance_is", lang, value=chance)
    facts = f"{interval}\n{level}\nn {found.n:g}"
    cell_text(axes, row + 0.2, column, facts, fill, 7, linespacing=1.25)


def draw_sheet(
    run: TrainedRun,
    data: ProductDataset,
    lang: Language,
    seed: int,
    query_subset: tuple[str, ...] = MODALITIES,
    gallery_subset: tuple[str, ...] = MODALITIES,
    rows: int = QUERIES,
) -> Figure:
    """Draw random queries with their five nearest products; a hit shares the query's category.

    Args:
        query_subset, gallery_subset, rows: of `search_sheet`.
    """
    found = search_sheet(run, data, seed, query_subset, gallery_subset, rows)
    order = QUERY_ORDER if query_subset == MODALITIES else query_subset
    return retrieval_sheet(found.queries, found.results, found.hits, lang, order)


class Matches(NamedTuple):
    """Queries with their results, nearest first."""

    queries: list[Product]
    results: list[list[tuple[Product, float]]]
    """For each query, products with their cosine similarity."""
    hits: list[list[bool]]
    """For each result, whether it shares the query's category."""


def search_sheet(
    run: TrainedRun,
    data: ProductDataset,
    seed: int,
    query_subset: tuple[str, ...] = MODALITIES,
    gallery_subset: tuple[str, ...] = MODALITIES,
    rows: int = QUERIES,
) -> Matches:
    """Return random queries with their five nearest products.

    Args:
        query_subset: modalities by which the queries are embedded.
        gallery_subset: modalities by which the gallery is embedded. If they equal those of the
            queries, a query is left out of its own results.
        rows: number of queries.
    """
    gallery = Gallery.build(run, data, gallery_subset, progress=False)
    usable = np.flatnonzero(data.present_NM[:, [INDEX[m] for m in query_subset]].any(axis=1))
    require(len(usable) > 0, f"no product has {subset_name(query_subset)} for a query")
    chosen = np.random.default_rng(seed).permutation(usable)[:rows]
    queries = [data.products[i] for i in chosen]
    found = embed_dataset(run.model, data.subset(chosen), subset=query_subset, progress=False)
    matches = gallery.index.query(found.product(query_subset).emb_ND, 6)
    results, hits = [], []
    for query, ids, scores in zip(queries, matches.ids, matches.score_QK, strict=True):
        found = [(gallery.products[i], float(s)) for i, s in zip(ids, scores, strict=True)]
        found = [(p, s) for p, s in found if p.id != query.id or query_subset != gallery_subset][:5]
        results.append(found)
        hits.append([_same_category(query, p) for p, _ in found])
    return Matches(queries, results, hits)


def _same_category(a: Product, b: Product) -> bool:
    return a.category is not None and a.category == b.category


ROWS = 3
"""Rows of the registered retrieval sheets: the number that is legible on a slide."""


@figure("retrieval_sheet")
def draw_full_sheet(sources: Sources, lang: Language) -> Figure:
    """Draw queries and results by all their modalities."""
    return draw_sheet(sources.run, sources.test, lang, sources.seed, rows=ROWS)


@figure("retrieval_sheet_text")
def draw_text_sheet(sources: Sources, lang: Language) -> Figure:
    """Draw titles as queries and images as results."""
    subsets = {"query_subset": ("text",), "gallery_subset": ("image",)}
    return draw_sheet(sources.run, sources.test, lang, sources.seed, **subsets, rows=ROWS)


def _evaluate(sources: Sources, kind: str) -> Tree:
    arrays = {
        stage: ProductArrays.of(sources.test, embed_dataset(model, sources.test, progress=False))
        for stage, model in sources.models().items()
    }
    return plain(retrieval_results(arrays, sources.seed))[kind]


@figure("retrieval_by_subset")
def draw_subsets(sources: Sources, lang: Language) -> Figure:
    """Draw category retrieval by query subset."""
    return retrieval_bars(_evaluate(sources, "category"), lang, METRIC)


@figure("retrieval_by_direction")
def draw_directions(sources: Sources, lang: Language) -> Figure:
    """Draw instance retrieval by pair of modalities."""
    return direction_matrix(_evaluate(sources, "instance"), lang)


def direction_estimates(sources: Sources, metric: str = "Recall@10") -> dict[str, Estimate]:
    """Return instance retrieval of the trained model by direction, `text->image`."""
    return _estimates(_evaluate(sources, "instance"), "trained", metric)
