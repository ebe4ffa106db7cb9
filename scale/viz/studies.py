"""Figures of studies: cells, claims, retention, damage at test time, and scores.

G cells of a series, K series.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from math import ceil

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scale.config import require
from scale.evaluation.bootstrap import Estimate
from scale.modalities import MODALITIES
from scale.studies.definitions import STUDIES
from scale.studies.diagnosis import WEIGHTS, OwnWeights, own_weights, weighting_aucs
from scale.studies.report import Claim, group_by_claim, group_by_heading
from scale.studies.retention import DamageRetention, damage_retention, retention_curves
from scale.studies.statistics import CellSummary, Outcome, Summary, summarise
from scale.studies.study import Factor, Record, Study
from scale.viz import typeset
from scale.viz.charts import (
    Block,
    balanced,
    dot,
    factor_name,
    framed,
    lay_flat,
    name_rows,
    placed,
    series_styles,
    spread,
    total_height,
)
from scale.viz.registry import Sources, figure
from scale.viz.theme import (
    MODALITY_COLOURS,
    NEGATIVE,
    POSITIVE,
    drawn,
    new_figure,
    points,
    shade,
    tint,
)
from scale.viz.words import LANG, Language, label, term

BASELINES = ("uniform", "SCALE", "none (as described)", "all", "none")
"""Names of baseline rows."""
UNTOUCHED = ("none", "clean")
"""Names of groups whose baseline applies to all groups."""
PANELS = 3
"""Panels per row."""
ROWS = 32
"""Rows of a panel; with one test, more rows go into further columns."""

Drawn = tuple[Figure, list[str], list[Line2D]]
"""A figure, further lines of its note, and the entries of its legend."""


@drawn
def study_figure(summary: Summary, metric: str | None = None, lang: Language = LANG) -> Figure:
    """Draw the mean of each cell with its t interval over seeds, a panel per test of all cells.

    `lines` (Study.figure): over the last factor, a line per combination of the others. `bars`: a
    row per cell, grouped by the first factor; a dashed line marks the baseline of the group
    (BASELINES), a dotted one that of the untouched group (UNTOUCHED). Cells that cannot be trained
    (in `bars`, also cells that have not run) are labelled gaps.

    Args:
        metric: of the study; by default the one that decides its claims.

    Raises:
        ValueError: no cell has the metric.
    """
    metric = metric or summary.study.metrics[0]
    tests = [test for test in summary.shared_tests() if (test, metric) in summary.columns]
    found = [row.estimate(test, metric) for row in summary.rows for test in tests]
    require(any(e.n for e in found), f"study {summary.study.name}: no cell has {metric}")
    draw = _rows_figure if summary.study.figure == "bars" else _lines_figure
    figure, note, handles = draw(summary, metric, tests, lang)
    title = label("study_is", lang, name=summary.study.name, metric=metric)
    note = "\n".join([label("study_note", lang, n=_seed_range(found)), *note])
    return framed(figure, title, note, handles)


def _seed_range(found: Iterable[Estimate]) -> str:
    """Return the numbers of seeds behind estimates, as `5` or `3–5`."""
    sizes = [estimate.n for estimate in found if estimate.n]
    return "–".join(str(n) for n in dict.fromkeys((min(sizes), max(sizes))))


def _lines_figure(summary: Summary, metric: str, tests: list[str], lang: Language) -> Drawn:
    *others, last = summary.study.factors
    series: dict[str, list[CellSummary]] = {}
    for row in summary.rows:
        series.setdefault(factor_name(row.factors, others), []).append(row)
    at = factor_positions([row.factors[last] for row in summary.rows])
    columns = min(len(tests), PANELS)
    lines = ceil(len(tests) / columns)
    figure = new_figure(2.0 + 2.5 * columns, 0.9 + 2.4 * lines)
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    gap = min(np.diff(sorted(at.values())), default=1.0)
    shift_K = np.linspace(-0.5, 0.5, len(series) + 2)[1:-1] * min(0.3, 0.08 * len(series)) * gap
    styles = series_styles(list(series))
    for axes, test in zip(panels, tests, strict=False):
        axes.set(title=term(test, lang), xlabel=term(last, lang))
        axes.set_xticks(list(at.values()), [term(str(value), lang) for value in at])
        axes.tick_params(labelleft=True)
        for rows, shift, style in zip(series.values(), shift_K, styles, strict=True):
            x_G = np.array([at[row.factors[last]] for row in rows]) + shift
            draw_series(axes, x_G, [row.estimate(test, metric) for row in rows], style)
            for x in x_G[[row.failed > 0 for row in rows]]:
                edge = axes.get_xaxis_transform()
                axes.plot(x, 0.04, transform=edge, **_cross(style["color"]))
    for axes in panels[len(tests) :]:
        axes.set_axis_off()
    panels[0].set_ylabel(metric)
    names = [factor_name(rows[0].factors, others, lang) for rows in series.values()]
    handles = [Line2D([], [], label=n, **s) for n, s in zip(names, styles, strict=True) if n]
    if any(row.failed for row in summary.rows):
        handles.append(Line2D([], [], label=label("cannot_train", lang), **_cross(shade(0.6))))
    return figure, [], handles


def draw_series(axes: Axes, x_G: np.ndarray, found: Sequence[Estimate], style: dict) -> None:
    """Draw a line through the means with error bars, with a gap for cells without a mean."""
    order = np.argsort(x_G)
    mean_G, below_G, above_G = (column[order] for column in spread(found))
    axes.plot(x_G[order], mean_G, **style)
    whiskers = {"ecolor": style["color"], "elinewidth": points(1.1), "capsize": points(2)}
    axes.errorbar(x_G[order], mean_G, [below_G, above_G], fmt="none", **whiskers)


def _rows_figure(summary: Summary, metric: str, tests: list[str], lang: Language) -> Drawn:
    blocks = _blocks(summary, lang)
    columns = balanced(blocks, ROWS) if len(tests) == 1 else [blocks]
    shown = [(column, test) for column in columns for test in tests]
    height = max(map(total_height, columns))
    wide = 2.5 * len(tests) + 2.0 if len(columns) == 1 else 3.9 * len(columns)
    figure = new_figure(wide, 1.2 + 0.25 * height, dense=True)
    panels = figure.subplots(1, len(shown), squeeze=False, sharey=len(columns) == 1)[0]
    whole, bases = _untouched(summary), []
    for axes, (column, test) in zip(panels, shown, strict=True):
        axes.set(title=term(test, lang), xlabel=metric)
        lay_flat(axes)
        for _, block, places in placed(column):
            for place, row in zip(places, block.rows, strict=True):
                _cell_dot(axes, place, row, row.estimate(test, metric), lang)
            if base := _baseline(summary, block):
                bases += [base] * (base not in bases)
                where = (places[0] - 0.5, places[-1] + 0.5)
                _mark(axes, base.estimate(test, metric), where, "--")
        if whole:
            _mark(axes, whole.estimate(test, metric), (-0.5, height - 0.5), ":")
        name_rows(axes, column, height)
    _same_scale(panels, len(columns))
    return figure, _baseline_notes(summary, bases, whole, lang), []


def _baseline_notes(
    summary: Summary, bases: list[CellSummary], whole: CellSummary | None, lang: Language
) -> list[str]:
    """Return notes on the dashed and the dotted lines."""
    shown, notes = summary.study.factors, []
    if len(bases) == 1:
        notes.append(label("study_baseline", lang, name=factor_name(bases[0].factors, shown, lang)))
    elif bases:
        names = dict.fromkeys(factor_name(row.factors, shown[-1:], lang) for row in bases)
        notes.append(label("study_baselines", lang, name=" / ".join(names)))
    if whole:
        notes.append(label("study_untouched", lang, name=factor_name(whole.factors, shown, lang)))
    return notes


def _blocks(summary: Summary, lang: Language) -> list[Block]:
    """Group rows by the first factor; a group of one row has no heading."""
    first, *rest = summary.study.factors
    groups: dict[Factor, list[CellSummary]] = {}
    for row in summary.rows:
        groups.setdefault(row.factors[first] if rest else "", []).append(row)
    blocks = []
    for name, rows in groups.items():
        whole = not rest or len(rows) == 1
        shown = [first, *rest] if whole else rest
        texts = tuple(factor_name(row.factors, shown, lang) for row in rows)
        heading = "" if whole else factor_name({first: name}, [first], lang)
        blocks.append(Block(heading, tuple(rows), texts))
    return blocks


def _baseline(summary: Summary, block: Block) -> CellSummary | None:
    """Return the baseline of a block's rows."""
    last = summary.study.factors[-1]
    found = [row for row in block.rows if row.factors[last] in BASELINES]
    return found[0] if len(found) == 1 < len(block.rows) else None


def _untouched(summary: Summary) -> CellSummary | None:
    """Return the baseline of the untouched group, which applies to all groups."""
    first, last = summary.study.factors[0], summary.study.factors[-1]
    found = [
        row
        for row in summary.rows
        if row.factors[first] in UNTOUCHED and row.factors[last] in BASELINES and first != last
    ]
    return found[0] if len(found) == 1 else None


def _mark(axes: Axes, found: Estimate, where: tuple[float, float], dashes: str) -> None:
    if found.value is not None:
        style = {"color": shade(0.5), "ls": dashes, "lw": points(0.9), "zorder": 1}
        axes.vlines(found.value, *where, **style)


def _same_scale(panels: Sequence[Axes], columns: int) -> None:
    """Give the columns of one test the same scale."""
    if columns > 1:
        ends = [axes.get_xlim() for axes in panels]
        for axes in panels:
            axes.set_xlim(min(low for low, _ in ends), max(high for _, high in ends))


def _cell_dot(axes: Axes, y: float, row: CellSummary, found: Estimate, lang: Language) -> None:
    """Draw mean and interval of a row, or the reason why there is none."""
    if found.value is not None:
        dot(axes, y, found, capsize=points(2))
        return
    text = label("cannot_train" if row.failed else "not_run", lang)
    style = {"transform": axes.get_yaxis_transform(), "va": "center", "color": shade(0.6)}
    # The background hides baselines behind the words.
    patch = {"facecolor": shade(0.0), "edgecolor": "none", "pad": points(1)}
    text = f"× {text}" if row.failed else text
    axes.text(0.02, y, text, fontsize=points(7.5), bbox=patch, **style)


def _cross(colour: str) -> dict:
    """Return the style of the mark of a cell that cannot be trained."""
    return {"color": colour, "marker": "x", "ls": "none", "ms": points(5)}


def factor_positions(values: Sequence[Factor]) -> dict[Factor, float]:
    """Return positions of a factor's values: to scale, or even for words and close values."""
    known = list(dict.fromkeys(values))
    if any(isinstance(value, str | bool) for value in known):
        return {value: float(k) for k, value in enumerate(known)}
    known.sort()
    even = min(np.diff(known), default=1) < (known[-1] - known[0]) / 8
    return {value: float(k if even else value) for k, value in enumerate(known)}


def draw_study(sources: Sources, lang: Language, name: str) -> Figure:
    """Draw the cells of a finished study."""
    return study_figure(summarise(*sources.finished(name)), lang=lang)


for _name in STUDIES:
    # `draw_noise_study` draws the noise study.
    if _name != "noise":
        figure(f"study_{_name}")(partial(draw_study, name=_name))


DAMAGE_ROWS = 24
"""Rows per column."""


@drawn
def damage_figure(
    damages: Sequence[DamageRetention],
    lang: Language = LANG,
    name: str = "noise",
    metric: str = "mAP@5",
) -> Figure:
    """Draw the retained share of the clean result: a row per kind and strength, a dot per model.

    Rows are grouped by modality, each kind from mild to strong. The line at 100 % is the clean
    result of the same run.

    Args:
        damages: as returned by `studies.retention.damage_retention`.
        name: name of the study.

    Raises:
        ValueError: there is nothing to draw.
    """
    require(bool(damages), f"study {name}: no damage at test time to draw")
    models = list(dict.fromkeys(model for damage in damages for model in damage.kept))
    columns = balanced(_damage_blocks(damages, lang), DAMAGE_ROWS)
    height = max(map(total_height, columns))
    figure = new_figure(4.6 * len(columns), 1.3 + 0.27 * height, dense=True)
    panels = figure.subplots(1, len(columns), squeeze=False, sharex=True)[0]
    styles = [{**style, "ls": "none"} for style in series_styles(models)]
    shift_K = (np.arange(len(models)) - (len(models) - 1) / 2) * 0.5 / max(1, len(models) - 1)
    for axes, column in zip(panels, columns, strict=True):
        axes.axvline(1, color=shade(0.6), lw=points(0.9), zorder=1)
        lay_flat(axes)
        for _, block, places in placed(column):
            for y, damage in zip(places, block.rows, strict=True):
                for model, style, shift in zip(models, styles, shift_K, strict=True):
                    if model in damage.kept:
                        look = {"marker": style["marker"], "ms": points(4)}
                        look |= {"elinewidth": points(1.1)}
                        dot(axes, y + shift, damage.kept[model], style["color"], **look)
        name_rows(axes, column, height)
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:.0%}")
        axes.set_xlabel(label("damage_kept", lang, metric=metric))
    handles = [
        Line2D([], [], label=term(m, lang), **s) for m, s in zip(models, styles, strict=True)
    ]
    seeds = _seed_range(e for damage in damages for e in damage.kept.values())
    title = label("damage_at_test", lang, name=name)
    return framed(figure, title, label("damage_note", lang, n=seeds), handles)


def _damage_blocks(damages: Sequence[DamageRetention], lang: Language) -> list[Block]:
    """Group rows by modality, with strength and unit."""
    blocks = []
    for modality in (*MODALITIES, ""):
        rows = [damage for damage in damages if damage.modality == modality]
        texts = tuple(damage_text(damage, lang) for damage in rows)
        heading = label(modality or "several_modalities", lang)
        if rows:
            colour = MODALITY_COLOURS.get(modality)
            blocks.append(Block(heading, tuple(rows), texts, colour))
    return blocks


def damage_text(damage: DamageRetention, lang: Language) -> str:
    if not damage.kind:
        return damage.test
    return label(damage.kind, lang, n=damage.strength, percent=100 * damage.strength)


@figure("study_noise")
def draw_noise_study(sources: Sources, lang: Language) -> Figure:
    """Draw retained shares of the clean result, which answer the study's question."""
    study, records = sources.finished("noise")
    return damage_figure(damage_retention(study, records), lang, study.name, study.metrics[0])


CLEAN = "clean"
"""Regime whose own weights are drawn as ticks in the others."""
AUC_LOOKS = {"S'": ("s", POSITIVE, "of_scores"), "posterior": ("D", NEGATIVE, "of_posterior")}
"""Marker, colour and label of the weights that separate good pairs from damaged ones."""


@drawn
def score_figure(
    study: Study, records: Sequence[Record], lang: Language = LANG, regime: str = "mismatch"
) -> Figure:
    """Draw own weights S'_ii by regime (left) and AUC of S' and the posterior (right).

    Left, for uniform training: the mean weight by modality, the share of undamaged content, and a
    tick at the weight in the clean regime; damage should move the weight below the tick. Right:
    probability that an undamaged pair has a larger weight than a damaged one of the same
    modalities, in one regime.

    Raises:
        ValueError: no record has these numbers.
    """
    own, aucs = own_weights(study, records), weighting_aucs(study, records, regime)
    require(bool(own or aucs), f"study {study.name}: no run has measured the scores")
    blocks = [_regime_block(name, weights, lang) for name, weights in own.items()]
    rows = Block("", tuple(aucs.values()), tuple(term(name, lang) for name in aucs))
    height = max(total_height(blocks), rows.height)
    figure = new_figure(8.4, 1.5 + 0.22 * height, dense=True)
    left, right = figure.subplots(1, 2)
    _own_panel(left, blocks, own.get(CLEAN), lang)
    _area_panel(right, rows, lang)
    left.set_title(label("own_weights", lang))
    right.set_title(label("told_apart", lang, regime=term(regime, lang)))
    found = [e for w in own.values() for e in w.mean.values()]
    found += [e for by in aucs.values() for e in by.values()]
    title = label("own_score", lang, name=study.name)
    note = label("own_note", lang, n=_seed_range(found))
    return framed(figure, title, note, _diagnosis_handles(lang))


def _regime_block(name: str, weights: OwnWeights, lang: Language) -> Block:
    rows = tuple((m, weights.mean[m], weights.good[m]) for m in MODALITIES)
    order = f"  ρ = {weights.order.value:+.2f}" if weights.order.n else ""
    return Block(f"{term(name, lang)}{order}", rows, tuple(label(m, lang) for m in MODALITIES))


def _own_panel(
    axes: Axes, blocks: Sequence[Block], clean: OwnWeights | None, lang: Language
) -> None:
    for _, block, places in placed(blocks):
        for y, (modality, mean, good) in zip(places, block.rows, strict=True):
            dot(axes, y, mean, MODALITY_COLOURS[modality])
            if clean and clean.mean[modality].value is not None:
                axes.plot(clean.mean[modality].value, y, **_clean_tick())
            diamond = {"marker": "D", "ms": points(4.5), "mfc": "none", "mec": shade(0.6)}
            axes.plot(good, y, ls="none", **diamond)
    axes.set(xlim=(0, 1.04), xlabel=label("own_axis", lang))
    lay_flat(axes)
    name_rows(axes, blocks)


def _area_panel(axes: Axes, rows: Block, lang: Language) -> None:
    axes.axvline(0.5, color=shade(0.6), lw=points(0.9), zorder=1)
    for _, block, places in placed([rows]):
        for y, by in zip(places, block.rows, strict=True):
            for shift, name in zip((-0.15, 0.15), WEIGHTS, strict=True):
                marker, colour, _ = AUC_LOOKS[name]
                dot(axes, y + shift, by[name], colour, marker=marker, ms=points(4.5))
    axes.set_xlabel(label("area", lang))
    lay_flat(axes)
    name_rows(axes, [rows])


def _clean_tick() -> dict:
    return {"color": shade(0.9), "marker": "|", "ms": points(8), "mew": points(1.1), "ls": "none"}


def _diagnosis_handles(lang: Language) -> list[Line2D]:
    size = {"ls": "none", "ms": points(5)}
    hollow = {"marker": "D", "mfc": "none", "mec": shade(0.6)}
    return [
        Line2D([], [], label=label("own_mean", lang), marker="o", color=shade(0.6), **size),
        Line2D([], [], label=label("own_clean", lang), **_clean_tick()),
        Line2D([], [], label=label("good_share", lang), **hollow, **size),
        *(
            Line2D([], [], label=label(key, lang), marker=marker, color=colour, **size)
            for marker, colour, key in AUC_LOOKS.values()
        ),
    ]


@figure("weight_diagnosis")
def draw_weight_diagnosis(sources: Sources, lang: Language) -> Figure:
    """Draw the scores in the weighting study."""
    return score_figure(*sources.finished("weighting"), lang)


VERDICT_SIGNS = {"supported": "✓", "contradicted": "✗", "not decided": "?", "impossible": "–"}
CLAIM_WIDTH = 312
"""Width of a claim, in points."""
CLAIM_ROWS = 36
"""Rows per figure; more go onto further figures."""


def comparison_figures(summary: Summary, lang: Language = LANG) -> list[Figure]:
    """Draw forest plots: the paired difference of each claim with its intervals, and the verdict.

    A panel per metric, claims with a common beginning under one heading, at most about CLAIM_ROWS
    rows per figure. Thick: t interval over seeds, with the mean. Thin, below it: bootstrap
    intervals over products, then over categories. Raises ValueError for a study without
    comparisons.
    """
    require(bool(summary.outcomes), f"study {summary.study.name} has no comparisons")
    claims = group_by_claim(summary.outcomes)
    tests = {claim.test for claim in claims}
    blocks = []
    for heading, group in group_by_heading(claims).items():
        texts = [_claim_text(claim, len(tests) > 1) for claim in group]
        if heading:
            blocks.append(Block(heading, tuple(group), tuple(texts)))
        else:
            blocks += [Block("", (c,), (t,)) for c, t in zip(group, texts, strict=True)]
    pages = balanced(blocks, CLAIM_ROWS)
    test = f", {min(tests)}" if len(tests) == 1 else ""
    titles = [f" ({k + 1}/{len(pages)})" if len(pages) > 1 else "" for k in range(len(pages))]
    return [
        _forest(summary, page, test, title, lang) for page, title in zip(pages, titles, strict=True)
    ]


def _claim_text(claim: Claim, name_test: bool) -> str:
    """Wrap a claim, with the name of its test if the claims have several."""
    text = f"{claim.text} ({claim.test})" if name_test else claim.text
    return "\n".join(typeset.wrap(text, CLAIM_WIDTH, 8, 9))


@drawn
def _forest(summary: Summary, blocks: list[Block], test: str, page: str, lang: Language) -> Figure:
    metrics = list(dict.fromkeys(_scale(o) for o in summary.outcomes))
    lines = [line for b in blocks for text in b.texts for line in text.split("\n")]
    names = max(typeset.text_width(line, 8) for line in [*lines, *(b.heading for b in blocks)])
    height = 1.3 + 0.27 * max(3.0, total_height(blocks))
    figure = new_figure(names / 72 + 3.0 * len(metrics), height, dense=True)
    panels = figure.subplots(1, len(metrics), squeeze=False, sharey=True)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        for _, block, places in placed(blocks):
            for y, claim in zip(places, block.rows, strict=True):
                for outcome in claim.by_metric.values():
                    if _scale(outcome) == metric:
                        _forest_row(axes, y, outcome, lang)
        axes.axvline(0, color=shade(0.6), lw=points(0.9), zorder=1)
        axes.set_xlabel(label("difference_of", lang, metric=metric) + test)
        axes.margins(x=0.08)
        lay_flat(axes)
    name_rows(panels[0], blocks)
    sizes = {"over_seeds": (3.2, "o"), "over_products": (1.2, "|"), "over_categories": (0.8, "x")}
    handles = [
        Line2D([], [], color=shade(0.6), lw=points(w), marker=m, ms=points(6), label=label(k, lang))
        for k, (w, m) in sizes.items()
    ]
    title = label("comparisons", lang, name=summary.study.name) + page
    return framed(figure, title, label("comparison_note", lang), handles)


def _scale(outcome: Outcome) -> str:
    """Return the metric of an outcome without the embedding it is measured by: that of its axis."""
    metric = outcome.comparison.metric
    return next((m for m in ("mAP@5", "mAP@1", "Recall@10") if metric.startswith(m)), metric)


def _forest_row(axes: Axes, y: float, outcome: Outcome, lang: Language) -> None:
    colours = {"supported": POSITIVE, "contradicted": NEGATIVE}
    colour = colours.get(outcome.verdict, shade(0.55))
    parts = (
        (outcome.seeds, y - 0.2, 3.2, "o", 5),
        (outcome.products, y + 0.08, 1.2, "|", 5),
        (outcome.categories, y + 0.3, 0.8, "x", 3),
    )
    for found, at, width, marker, size in parts:
        if found is not None:
            dot(axes, at, found, colour, marker=marker, ms=points(size), elinewidth=points(width))
    text = f"{VERDICT_SIGNS[outcome.verdict]} {label(outcome.verdict, lang)}"
    style = {"transform": axes.get_yaxis_transform(), "va": "center", "color": colour}
    axes.text(1.02, y, text, fontsize=points(8), **style)


@drawn
def retention_curve(
    curves: Mapping[str, Mapping[float, Estimate]],
    lang: Language = LANG,
    metric: str = "mAP@5",
) -> Figure:
    """Draw the share of the result on complete products that is retained without some modalities.

    Args:
        curves: metric / metric on complete products, by model, then by number of missing
            modalities.

    Raises:
        ValueError: there is nothing to draw.
    """
    require(any(curves.values()), "no retention to draw")
    figure = new_figure(5.0, 3.4)
    axes = figure.subplots()
    handles = []
    for style, (name, curve) in zip(series_styles(list(curves)), curves.items(), strict=True):
        x_G = np.array(sorted(curve), dtype=float)
        mean_G, below_G, above_G = spread([curve[x] for x in sorted(curve)])
        band = {"color": tint(style["color"], 0.5), "alpha": 0.3, "lw": 0}
        axes.fill_between(x_G, mean_G - below_G, mean_G + above_G, **band)
        handles += axes.plot(x_G, mean_G, label=term(name, lang), **style)
    ticks = sorted({x for curve in curves.values() for x in curve})
    axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
    axes.set_ylim(0, max(1.05, axes.get_ylim()[1]))
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:.0%}")
    axes.set(xlabel=label("missing_count", lang), ylabel=label("kept", lang))
    title = label("retention", lang, metric=metric)
    return framed(figure, title, label("band_note", lang), handles)


@figure("retention")
def draw_retention(sources: Sources, lang: Language) -> Figure:
    """Draw retention in the modalities study."""
    return retention_curve(retention_curves(*sources.finished("modalities")), lang)
