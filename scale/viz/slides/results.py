"""Slides of results: retrieval, maps of the space, scores over training, studies.

All fill the place of the figure on its slide (theme.place); lengths are points of `paper`, text is
at least 9 of them (14 points on the slide). N products, P points, T steps.
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from scale.config import require
from scale.data.product import Product
from scale.evaluation.bootstrap import Estimate
from scale.modalities import MODALITIES, PAIRS, subset_name
from scale.studies.definitions import STUDIES
from scale.studies.retention import damage_retention
from scale.studies.statistics import CellSummary, Outcome, Summary, summarise
from scale.training.logging import read_score_means
from scale.viz import typeset
from scale.viz.charts import dot, factor_name, lay_flat, series_styles
from scale.viz.embeddings import kept_umap, medoid, place_names, product_vectors
from scale.viz.illustrations.space import Points, modality_gap, points_of_stages
from scale.viz.products import thumbnail
from scale.viz.registry import Sources, figure
from scale.viz.retrieval import QUERY_ORDER, ROWS, Matches, draw_tick, search_sheet
from scale.viz.studies import (
    BASELINES,
    VERDICT_SIGNS,
    damage_text,
    draw_series,
    factor_positions,
)
from scale.viz.theme import (
    HIT,
    MODALITY_COLOURS,
    POSITIVE,
    category_colours,
    drawn,
    new_figure,
    place,
    points,
    shade,
    strip,
)
from scale.viz.tiles import Box
from scale.viz.words import LANG, Language, label, term


def whole_place() -> Figure:
    """Return an empty figure with constrained layout that fills its place."""
    return new_figure(*(side / 72 for side in place()))


@figure("retrieval_sheet", on_slides=True)
def draw_sheet(sources: Sources, lang: Language) -> Figure:
    """Draw queries and results by all their modalities."""
    found = search_sheet(sources.run, sources.test, sources.seed, rows=ROWS)
    return retrieval_sheet(found, QUERY_ORDER, lang)


@figure("retrieval_sheet_text", on_slides=True)
def draw_text_sheet(sources: Sources, lang: Language) -> Figure:
    """Draw titles as queries and images as results."""
    subsets = {"query_subset": ("text",), "gallery_subset": ("image",)}
    found = search_sheet(sources.run, sources.test, sources.seed, **subsets, rows=ROWS)
    return retrieval_sheet(found, ("text",), lang)


@drawn
def retrieval_sheet(found: Matches, shows: Sequence[str], lang: Language = LANG) -> Figure:
    """Draw a row per query: its tile and category, and the results; misses have their category.

    Args:
        shows: modalities of the query; its tile shows the first one that it has.
    """
    width, height = place()
    figure, axes = typeset.page(width, height)
    most, count = max(map(len, found.results)), len(found.queries)
    top, line, lead = 15.0, 13.0, 12.0
    step, row = (width - lead) / (most + 1), (height - top) / count
    side = min(step - 8, row - line - 3)
    head = {"size": 9, "fontweight": "bold", "color": shade(0.8)}
    typeset.write(axes, 0, 10, label("query", lang), **head)
    for rank in range(most):
        typeset.write(axes, lead + (rank + 1) * step, 10, str(rank + 1), **head)
    for k, query in enumerate(found.queries):
        box = Box(1, top + k * row, side, side)
        thumbnail(axes, query, box, lang, tuple(shows), text_size=9)
        typeset.box(axes, *box, edgecolor=shade(0.9), linewidth=points(2.0))
        _name_tile(axes, query, box, step + lead - 10, shade(0.9), "bold")
        x = step + lead / 2 - 4
        axes.plot([x, x], [box.y, box.y + side], color=shade(0.25), lw=points(0.8))
        for rank, ((product, _), hit) in enumerate(
            zip(found.results[k], found.hits[k], strict=True)
        ):
            box = Box(lead + (rank + 1) * step, top + k * row, side, side)
            thumbnail(axes, product, box, lang, text_size=9)
            edge, thick = (HIT, 2.4) if hit else (shade(0.35), 1.0)
            typeset.box(axes, *box, edgecolor=edge, linewidth=points(thick))
            if hit:
                draw_tick(axes, box.x + side - 3, box.y + 3, 7.5)
            else:
                _name_tile(axes, product, box, step - 4, shade(0.65))
    return figure


def _name_tile(
    axes: Axes, product: Product, box: Box, width: float, colour: str, weight: str = "normal"
) -> None:
    name = typeset.shorten(product.category or "–", width, 9, weight)
    y = box.y + box.height + 11
    typeset.write(axes, box.x, y, name, 9, color=colour, fontweight=weight)


SHOWN = 12
"""Number of categories with a thumbnail on the map."""


@figure("embedding_map", on_slides=True)
@figure("umap_category", on_slides=True)
def draw_map(sources: Sources, lang: Language) -> Figure:
    """Draw the test products."""
    emb_ND, ids, _ = product_vectors(sources.run.model, sources.test)
    by_id = {product.id: product for product in sources.test.products}
    xy_N2 = kept_umap(emb_ND, sources.seed)
    return product_map(xy_N2, [by_id[i] for i in ids], lang)


@drawn
def product_map(xy_N2: ArrayLike, products: Sequence[Product], lang: Language = LANG) -> Figure:
    """Draw a map with a product of each of the largest categories at the category's middle."""
    width, height = place()
    figure, axes = typeset.page(width, height)
    xy_N2, side = np.asarray(xy_N2, dtype=float), 34.0
    low_2, high_2 = xy_N2.min(0), xy_N2.max(0)
    size_2 = np.array([width - 24, height - 24])
    at_N2 = 12 + (xy_N2 - low_2) / (high_2 - low_2) * size_2
    category_N = np.array([p.category or "" for p in products], dtype=object)
    sizes = Counter(p.category for p in products if p.category)
    largest = [name for name, _ in sorted(sizes.items(), key=lambda i: (-i[1], i[0]))[:SHOWN]]
    radius = 2.6
    look = {"s": points(2 * radius) ** 2, "linewidth": 0}
    axes.scatter(*at_N2[~np.isin(category_N, largest)].T, color=shade(0.25), **look)
    middles, shown = [], []
    for name, colour in zip(largest, category_colours(len(largest)), strict=True):
        here_N = np.flatnonzero(category_N == name)
        axes.scatter(*at_N2[here_N].T, color=colour, alpha=0.85, **look)
        middle_2 = medoid(at_N2[here_N])
        near = here_N[np.argsort(np.hypot(*(at_N2[here_N] - middle_2).T))]
        pictured = [n for n in near if products[n].image is not None]
        middles.append(middle_2)
        shown.append((products[(pictured or near)[0]], colour, name))
    names = [typeset.shorten(name, 64, 9) for *_, name in shown]
    extent = [(max(side, typeset.text_width(name, 9)) + 4, side + 14) for name in names]
    corners = np.zeros(2), np.array([width, height])
    moved_G2 = place_names(np.array(middles), np.array(extent), at_N2, radius, *corners)
    for (product, colour, _), name, middle_2, (x, y) in zip(
        shown, names, middles, moved_G2, strict=True
    ):
        if np.hypot(*(middle_2 - (x, y))) > side / 2:
            axes.plot(*zip(middle_2, (x, y), strict=True), color=colour, lw=points(1.0), zorder=0.9)
        box = Box(x - side / 2, y - side / 2 - 6, side, side)
        typeset.box(axes, *box, facecolor=shade(0.0), edgecolor="none", zorder=0.95)
        thumbnail(axes, product, box, lang, text_size=9)
        typeset.box(axes, *box, edgecolor=colour, linewidth=points(1.8), zorder=3)
        plate = {"facecolor": shade(0.0), "edgecolor": "none", "alpha": 0.8, "pad": points(0.5)}
        typeset.write(axes, x, y + side / 2 + 4, name, 9, ha="center", bbox=plate, zorder=3)
    return figure


@figure("umap_modality", on_slides=True)
def draw_modality_maps(sources: Sources, lang: Language) -> Figure:
    """Draw the test split before and after training."""
    stages = points_of_stages(sources)
    maps = {s: kept_umap(found.unit_PD, sources.seed) for s, found in stages.items()}
    return modality_maps(maps, stages, lang)


@drawn
def modality_maps(
    maps: dict[str, ArrayLike], stages: dict[str, Points], lang: Language = LANG
) -> Figure:
    """Draw maps of the features by stage, in the colours of the modalities, with the gap.

    Args:
        maps: coordinates (P, 2) by stage.
    """
    figure = whole_place()
    for axes, (stage, xy_P2) in zip(
        figure.subplots(1, len(maps), squeeze=False)[0], maps.items(), strict=True
    ):
        found, xy_P2 = stages[stage], np.asarray(xy_P2)
        order_P = np.random.default_rng(0).permutation(len(xy_P2))
        colour_P = np.array([MODALITY_COLOURS[m] for m in found.modality_P], dtype=object)
        look = {"s": points(4) ** 2, "linewidth": 0, "alpha": 0.8}
        axes.scatter(*xy_P2[order_P].T, color=list(colour_P[order_P]), **look)
        gap = {"stage": label(stage, lang), "gap": modality_gap(found)}
        axes.set(xticks=[], yticks=[], title=label("sp_gap_is", lang, **gap))
        strip(axes)
        axes.margins(0.06)
    modality_legend(figure, lang)
    return figure


def modality_legend(figure: Figure, lang: Language) -> None:
    """Name the colours of the modalities below the panels."""
    axes = figure.axes[-1]
    handles = [
        axes.plot([], [], "o", color=colour, ms=points(7), label=label(m, lang))[0]
        for m, colour in MODALITY_COLOURS.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


@figure("scores_over_time", on_slides=True)
def draw_scores_over_time(sources: Sources, lang: Language) -> Figure:
    """Draw the mean S' of the run. Raises ValueError if it logged no scores."""
    folder = sources.run.folder.folder
    step_T, mean_TMM = read_score_means(folder)
    require(len(step_T) > 0, f"{folder}: no logged scores")
    return scores_over_time(step_T.tolist(), mean_TMM, lang)


@drawn
def scores_over_time(
    steps: Sequence[int], weighted_TMM: ArrayLike, lang: Language = LANG
) -> Figure:
    """Draw the five own weights (left) and the ten pairs (right); the outermost pairs are named."""
    weighted_TMM = np.asarray(weighted_TMM, dtype=float)
    figure = whole_place()
    own, pairs = figure.subplots(1, 2, sharey=True)
    ends = []
    for m, modality in enumerate(MODALITIES):
        own.plot(steps, weighted_TMM[:, m, m], color=MODALITY_COLOURS[modality])
        end = steps[-1], weighted_TMM[-1, m, m]
        ends.append((*end, label(modality, lang), MODALITY_COLOURS[modality]))
    order = sorted(PAIRS, key=lambda pair: -np.nan_to_num(weighted_TMM[-1][pair], nan=-9))
    for i, j in PAIRS:
        first, second = (MODALITY_COLOURS[MODALITIES[m]] for m in (i, j))
        pairs.plot(steps, weighted_TMM[:, i, j], color=first)
        pairs.plot(steps, weighted_TMM[:, i, j], color=second, dashes=(3, 3))
    named = [*order[:2], *order[-1:]]
    names = [" – ".join(label(MODALITIES[m], lang) for m in pair) for pair in named]
    name_ends(own, ends)
    at = [(steps[-1], weighted_TMM[-1][pair]) for pair in named]
    name_ends(pairs, [(*end, name, shade(0.9)) for end, name in zip(at, names, strict=True)])
    for axes, title in ((own, "on_own_weights"), (pairs, "on_pair_weights")):
        axes.set(title=label(title, lang), xlabel=label("step", lang), xlim=(0, steps[-1]))
        axes.locator_params(nbins=4)
    return figure


def name_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write names right of the ends of curves; those of the same x apart by a line of text.

    Args:
        ends: x, y, name and colour.
    """
    low, high = axes.get_ylim()
    line = 13.0 * (high - low) / (0.75 * place()[1])
    found = sorted((end for end in ends if np.isfinite(end[1])), key=lambda end: end[:2])
    if not found:
        return
    x, at = (np.array(side, dtype=float) for side in zip(*(end[:2] for end in found), strict=True))
    for _ in range(200):
        short = np.where(np.diff(x) == 0, np.clip(line - np.diff(at), 0, None), 0.0)
        at[:-1] -= short / 2
        at[1:] += short / 2
    for right, y, (*_, name, colour) in zip(x, at, found, strict=True):
        style = {"color": colour, "fontsize": points(9), "va": "center", "clip_on": False}
        axes.annotate(name, (right, y), (points(4), 0), textcoords="offset points", **style)


BEST = 8
"""Maximum number of rows of a study on a slide."""


def draw_study(sources: Sources, lang: Language, name: str) -> Figure:
    """Draw the main verdict and the best cells of a finished study."""
    return study_figure(summarise(*sources.finished(name)), lang)


for _name in STUDIES:
    if _name != "noise":
        figure(f"study_{_name}", on_slides=True)(partial(draw_study, name=_name))


@drawn
def study_figure(summary: Summary, lang: Language = LANG) -> Figure:
    """Draw one verdict and, below it, the study on its first test.

    `bars`: the best cells, a row each, and the baseline; `lines`: all lines, named at their ends.
    Raises ValueError if no cell has the metric.
    """
    study, metric = summary.study, summary.study.metrics[0]
    tests = [test for test in summary.shared_tests() if (test, metric) in summary.columns]
    found = [row.estimate(tests[0], metric) for row in summary.rows] if tests else []
    require(any(e.n for e in found), f"study {study.name}: no cell has {metric}")
    figure = whole_place()
    axes = figure.subplots()
    if study.figure == "bars":
        _draw_rows(axes, summary, tests[0], metric, lang)
        axes.set_xlabel(f"{metric}, {term(tests[0], lang)}")
    else:
        _draw_lines(axes, summary, tests[0], metric, lang)
        axes.set_ylabel(metric)
    main = main_outcome(summary, metric)
    if main:
        width = place()[0] - 8
        lines = typeset.wrap(verdict_line(main, lang), width, 11, 2, "bold")
        figure.suptitle("\n".join(lines), x=0.005, ha="left", fontsize=points(11))
    return figure


def main_outcome(summary: Summary, metric: str) -> Outcome | None:
    """Return the first decided comparison in a metric, or else the first one."""
    known = [o for o in summary.outcomes if o.comparison.metric == metric and o.seeds.n]
    decided = [o for o in known if o.verdict in ("supported", "contradicted")]
    return next(iter(decided or known), None)


def verdict_line(outcome: Outcome, lang: Language) -> str:
    """Return the two sides of a comparison, their difference and the verdict, as one line."""
    comparison = outcome.comparison
    names = [
        factor_name(side, [f for f in side if side[f] != other.get(f)] or list(side), lang)
        for side, other in (
            (comparison.better, comparison.worse),
            (comparison.worse, comparison.better),
        )
    ]
    values = (outcome.seeds.value, outcome.seeds.low, outcome.seeds.high)
    value, low, high = ("–" if v is None else f"{v:+.3f}".replace("-", "−") for v in values)
    sign, verdict = VERDICT_SIGNS[outcome.verdict], label(outcome.verdict, lang)
    text = {"better": names[0], "worse": names[1], "metric": comparison.metric, "value": value}
    text |= {"interval": f"[{low}, {high}]", "verdict": f"{sign} {verdict}"}
    return label("on_verdict", lang, **text)


def _draw_rows(axes: Axes, summary: Summary, test: str, metric: str, lang: Language) -> None:
    rows = [row for row in summary.rows if row.estimate(test, metric).value is not None]
    rows.sort(key=lambda row: -row.estimate(test, metric).value)
    bases = [row for row in rows if str(list(row.factors.values())[-1]) in BASELINES]
    shown = _with_baseline(rows, bases[:1])
    for y, row in enumerate(shown):
        dot(axes, y, row.estimate(test, metric), shade(0.5) if row in bases else POSITIVE,
            ms=points(6), capsize=points(3))  # fmt: skip
    names = [factor_name(row.factors, summary.study.factors, lang) for row in shown]
    every = term(subset_name(MODALITIES), lang)
    names = [name.replace(every, label("on_all_five", lang)) for name in names]
    names = [typeset.shorten(name, 0.45 * place()[0], 9) for name in names]
    axes.set_yticks(range(len(shown)), names)
    axes.set_ylim(len(shown) - 0.5, -0.6)
    lay_flat(axes)


def _with_baseline(rows: list[CellSummary], base: list[CellSummary]) -> list[CellSummary]:
    """Return the best rows; the last place is the baseline's if it is not among them."""
    best = rows[:BEST]
    return best if not base or base[0] in best else [*best[:-1], *base]


def _draw_lines(axes: Axes, summary: Summary, test: str, metric: str, lang: Language) -> None:
    *others, last = summary.study.factors
    series: dict[str, list[CellSummary]] = {}
    for row in summary.rows:
        series.setdefault(factor_name(row.factors, others, lang), []).append(row)
    at = factor_positions([row.factors[last] for row in summary.rows])
    ends = []
    for (name, rows), style in zip(series.items(), series_styles(list(series)), strict=True):
        x_G = np.array([at[row.factors[last]] for row in rows])
        found = [row.estimate(test, metric) for row in rows]
        draw_series(axes, x_G, found, style)
        known = [(x, e.value) for x, e in zip(x_G, found, strict=True) if e.value is not None]
        if known:
            end = max(known)
            ends.append((*end, name or metric, style["color"]))
    axes.set(xlabel=term(last, lang))
    axes.set_xticks(list(at.values()), [term(str(value), lang) for value in at])
    name_ends(axes, ends)


@figure("study_noise", on_slides=True)
def draw_noise_study(sources: Sources, lang: Language) -> Figure:
    """Draw the kinds of damage that cost the first model of the noise study the most."""
    study, records = sources.finished("noise")
    damages = damage_retention(study, records)
    require(bool(damages), f"study {study.name}: no damage at test time to draw")
    model = next(iter(damages[0].kept))
    worst: dict[str, tuple[Estimate, str, str]] = {}
    for damage in damages:
        kept = damage.kept.get(model)
        if kept is None or kept.value is None:
            continue
        key = damage.kind or damage.test
        if key not in worst or kept.value < worst[key][0].value:
            name = label(damage.modality or "several_modalities", lang)
            worst[key] = kept, f"{name}: {damage_text(damage, lang)}", damage.modality
    rows = sorted(worst.values(), key=lambda row: row[0].value)[:BEST]
    return damage_figure(rows, study.metrics[0], lang)


@drawn
def damage_figure(
    rows: Sequence[tuple[Estimate, str, str]], metric: str, lang: Language = LANG
) -> Figure:
    """Draw retained shares with their names, in the colours of the damaged modalities."""
    figure = whole_place()
    axes = figure.subplots()
    axes.axvline(1, color=shade(0.6), lw=points(0.9), zorder=1)
    for y, (kept, _, modality) in enumerate(rows):
        colour = MODALITY_COLOURS.get(modality, shade(0.5))
        dot(axes, y, kept, colour, ms=points(6), capsize=points(3))
    names = [typeset.shorten(name, 0.5 * place()[0], 9) for _, name, _ in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.5, -0.6)
    lay_flat(axes)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:.0%}")
    axes.set_xlabel(label("damage_kept", lang, metric=metric))
    return figure
