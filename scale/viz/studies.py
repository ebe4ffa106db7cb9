"""The answer of a study: its cells over a factor or in rows, its comparisons, what is kept.

G cells of a series, K series.
"""

from collections.abc import Mapping, Sequence
from math import ceil

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scale.evaluation.bootstrap import Estimate
from scale.experiments.report import Row, Summary
from scale.experiments.statistics import Outcome
from scale.experiments.study import Factor
from scale.strict import require
from scale.viz import typeset
from scale.viz.labels import Language, label
from scale.viz.style import (
    MODALITY_COLOURS,
    NEGATIVE,
    POSITIVE,
    category_colours,
    drawn,
    new_figure,
    points,
    shade,
    tint,
    unit,
)

BASELINES = ("uniform", "scale", "described")
"""Rows by these names are what the others are measured against."""
MARKERS = "osD^vP"
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
SIGNS = {"supported": "✓", "contradicted": "✗", "not decided": "?", "impossible": "–"}
PANELS = 3
"""Panels in a row."""

Drawn = tuple[Figure, list[str], list[Line2D]]
"""A figure, further lines of its note, and what its legend names."""


@drawn
def study_figure(summary: Summary, metric: str | None = None, lang: Language = "en") -> Figure:
    """Every cell's mean with its t interval over seeds, one panel per test.

    `lines` (Study.figure): over the last factor, a line per combination of the others. `bars`: a
    row per cell, grouped by the first factor; a dashed line marks the baseline (BASELINES), where
    there is one. A cell that cannot be trained is a gap that says so; so is, in `bars`, one that
    has not run yet.

    Args:
        metric: of the study; by default the one that decides.

    Raises:
        ValueError: no cell has the metric.
    """
    metric = metric or summary.study.metrics[0]
    tests = [test for test, measured in summary.columns if measured == metric]
    found = [r.estimate(t, metric).n for r in summary.rows for t in tests]
    seeds = sorted({n for n in found if n})
    require(bool(seeds), f"study {summary.study.name}: no cell has {metric}")
    draw = _rows_figure if summary.study.figure == "bars" else _lines_figure
    figure, note, handles = draw(summary, metric, tests, lang)
    title = label("study_is", lang, name=summary.study.name, metric=metric)
    trainings = "–".join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))
    note = "\n".join([label("study_note", lang, n=trainings), *note])
    return _framed(figure, title, note, handles)


def _lines_figure(summary: Summary, metric: str, tests: list[str], lang: Language) -> Drawn:
    *others, last = summary.study.factors
    series: dict[str, list[Row]] = {}
    for row in summary.rows:
        series.setdefault(_name(row.factors, others), []).append(row)
    at = _positions([row.factors[last] for row in summary.rows])
    columns = min(len(tests), PANELS)
    lines = ceil(len(tests) / columns)
    figure = new_figure(2.0 + 2.5 * columns, 0.9 + 2.4 * lines)
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    gap = min(np.diff(sorted(at.values())), default=1.0)
    shift_K = np.linspace(-0.5, 0.5, len(series) + 2)[1:-1] * min(0.3, 0.08 * len(series)) * gap
    styles = _styles(list(series))
    for axes, test in zip(panels, tests, strict=False):
        axes.set(title=test, xlabel=last)
        axes.set_xticks(list(at.values()), [str(value) for value in at])
        axes.tick_params(labelleft=True)
        for rows, shift, style in zip(series.values(), shift_K, styles, strict=True):
            x_G = np.array([at[row.factors[last]] for row in rows]) + shift
            _series(axes, x_G, [row.estimate(test, metric) for row in rows], style)
            for x in x_G[[row.failed > 0 for row in rows]]:
                edge = axes.get_xaxis_transform()
                axes.plot(x, 0.04, transform=edge, **_cross(style["color"]))
    for axes in panels[len(tests) :]:
        axes.set_axis_off()
    panels[0].set_ylabel(metric)
    handles = [Line2D([], [], label=n, **s) for n, s in zip(series, styles, strict=True) if n]
    if any(row.failed for row in summary.rows):
        handles.append(Line2D([], [], label=label("cannot_train", lang), **_cross(shade(0.6))))
    return figure, [], handles


def _series(axes: Axes, x_G: np.ndarray, found: Sequence[Estimate], style: dict) -> None:
    """A line through the means with its whiskers, broken where a cell has none."""
    order = np.argsort(x_G)
    mean_G, below_G, above_G = (column[order] for column in _spread(found))
    axes.plot(x_G[order], mean_G, **style)
    whiskers = {"ecolor": style["color"], "elinewidth": points(1.1), "capsize": points(2)}
    axes.errorbar(x_G[order], mean_G, [below_G, above_G], fmt="none", **whiskers)


def _rows_figure(summary: Summary, metric: str, tests: list[str], lang: Language) -> Drawn:
    first, *rest = summary.study.factors
    groups: dict[Factor, list[Row]] = {}
    for row in summary.rows:
        groups.setdefault(row.factors[first] if rest else "", []).append(row)
    texts, places, spans = [], [], []
    for name, rows in groups.items():
        texts += [_name({first: name}, [first])] if rest else []
        start = len(texts)
        places += [(start + k, row) for k, row in enumerate(rows)]
        texts += [_name(row.factors, rest or [first]) for row in rows]
        spans.append((rows, start - 0.5, len(texts) - 0.5))
    figure = new_figure(2.0 + 2.5 * len(tests), 1.2 + 0.25 * len(texts))
    panels = figure.subplots(1, len(tests), squeeze=False, sharey=True)[0]
    bases = _baselines(spans)
    for axes, test in zip(panels, tests, strict=True):
        axes.set(title=test, xlabel=metric)
        _lay_flat(axes)
        for place, row in places:
            _dot(axes, place, row, row.estimate(test, metric), lang)
        for row, low, high in bases:
            value = row.estimate(test, metric).value
            if value is not None:
                axes.vlines(value, low, high, color=shade(0.5), ls="--", lw=points(0.9), zorder=1)
    panels[0].set_yticks(range(len(texts)), texts)
    panels[0].set_ylim(len(texts) - 0.4, -0.6)
    rows = dict(places)
    for place, text in enumerate(panels[0].get_yticklabels()):
        text.set_fontweight("normal" if place in rows else "bold")
    names = "; ".join(dict.fromkeys(_name(row.factors, [first, *rest]) for row, _, _ in bases))
    return figure, [label("study_baseline", lang, name=names)] if bases else [], []


def _dot(axes: Axes, y: int, row: Row, found: Estimate, lang: Language) -> None:
    """Mean and whisker of a row, or why there is none."""
    if found.value is None:
        text = label("cannot_train" if row.failed else "not_run", lang)
        style = {"transform": axes.get_yaxis_transform(), "va": "center", "color": shade(0.6)}
        # Its own background keeps a baseline from striking the words through.
        patch = {"facecolor": shade(0.0), "edgecolor": "none", "pad": points(1)}
        text = f"× {text}" if row.failed else text
        axes.text(0.02, y, text, fontsize=points(7.5), bbox=patch, **style)
        return
    mean_1, below_1, above_1 = _spread([found])
    style = {"color": POSITIVE, "ms": points(5), "elinewidth": points(1.4), "capsize": points(2)}
    axes.errorbar(mean_1, [y], xerr=[below_1, above_1], fmt="o", **style)


def _baselines(spans: list[tuple[list[Row], float, float]]) -> list[tuple[Row, float, float]]:
    """The rows to compare with, and from where to where: one for all, or one for each group."""
    in_groups = [
        ([row for row in rows if set(BASELINES) & set(map(str, row.factors.values()))], low, high)
        for rows, low, high in spans
    ]
    found = [(row, low, high) for rows, low, high in in_groups for row in rows if len(rows) == 1]
    if sum(len(rows) for rows, _, _ in in_groups) == 1:
        return [(found[0][0], spans[0][1], spans[-1][2])]
    return found


@drawn
def comparison_figure(summary: Summary, lang: Language = "en") -> Figure:
    """A forest plot: each claim's paired difference with both its intervals, and the verdict.

    Thick: t interval over seeds, with the mean. Thin, below it: bootstrap interval over products.
    One panel per metric. Raises ValueError for a study without comparisons.
    """
    by_metric: dict[str, list[Outcome]] = {}
    for outcome in summary.outcomes:
        by_metric.setdefault(outcome.comparison.metric, []).append(outcome)
    require(bool(by_metric), f"study {summary.study.name} has no comparisons")
    heights = [len(outcomes) + 0.6 for outcomes in by_metric.values()]
    figure = new_figure(7.4, 1.0 + 0.58 * sum(heights))
    panels = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (metric, outcomes) in zip(panels, by_metric.items(), strict=True):
        texts = []
        for y, outcome in enumerate(outcomes):
            _forest_row(axes, y, outcome, lang)
            c = outcome.comparison
            texts.append("\n".join([*typeset.wrap(c.claim, 225, 8, 3), f"({c.test})"]))
        axes.axvline(0, color=shade(0.6), lw=points(0.9), zorder=1)
        axes.set_yticks(range(len(outcomes)), texts)
        axes.set(
            ylim=(len(outcomes) - 0.4, -0.6), xlabel=label("difference_of", lang, metric=metric)
        )
        axes.margins(x=0.08)
        _lay_flat(axes)
    sizes = {"over_seeds": (3.2, "o"), "over_products": (1.2, "|")}
    handles = [
        Line2D([], [], color=shade(0.6), lw=points(w), marker=m, ms=points(6), label=label(k, lang))
        for k, (w, m) in sizes.items()
    ]
    title = label("comparisons", lang, name=summary.study.name)
    return _framed(figure, title, label("comparison_note", lang), handles)


def _forest_row(axes: Axes, y: int, outcome: Outcome, lang: Language) -> None:
    colours = {"supported": POSITIVE, "contradicted": NEGATIVE}
    colour = colours.get(outcome.verdict, shade(0.55))
    parts = ((outcome.seeds, y - 0.1, 3.2, "o", 6), (outcome.products, y + 0.17, 1.2, "|", 6))
    for found, at, width, marker, size in parts:
        if found is not None and found.value is not None:
            mean_1, below_1, above_1 = _spread([found])
            style = {"color": colour, "marker": marker, "ms": points(size)}
            axes.errorbar(mean_1, [at], xerr=[below_1, above_1], elinewidth=points(width), **style)
    text = f"{SIGNS[outcome.verdict]} {label(outcome.verdict, lang)}"
    style = {"transform": axes.get_yaxis_transform(), "va": "center", "color": colour}
    axes.text(1.02, y, text, fontsize=points(8.5), **style)


@drawn
def retention_curve(
    curves: Mapping[str, Mapping[float, Estimate]],
    lang: Language = "en",
    metric: str = "mAP@5",
    shares: bool = False,
) -> Figure:
    """Share of what a model reaches on complete products that is left as modalities go missing.

    Args:
        curves: by model, then by number of missing modalities (or, with `shares`, by their share):
            metric / metric of complete products, 1 at 0 missing.

    Raises:
        ValueError: there is nothing to draw.
    """
    require(any(curves.values()), "no retention to draw")
    figure = new_figure(5.0, 3.4)
    axes = figure.subplots()
    handles = []
    for style, (name, curve) in zip(_styles(list(curves)), curves.items(), strict=True):
        x_G = np.array(sorted(curve), dtype=float)
        mean_G, below_G, above_G = _spread([curve[x] for x in sorted(curve)])
        band = {"color": tint(style["color"], 0.5), "alpha": 0.3, "lw": 0}
        axes.fill_between(x_G, mean_G - below_G, mean_G + above_G, **band)
        handles += axes.plot(x_G, mean_G, label=name, **style)
    ticks = sorted({x for curve in curves.values() for x in curve})
    axes.set_xticks(ticks, [f"{x:.0%}" if shares else f"{x:g}" for x in ticks])
    axes.set_ylim(0, max(1.05, axes.get_ylim()[1]))
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:.0%}")
    axes.set_xlabel(label("missing_share" if shares else "missing_count", lang))
    axes.set_ylabel(label("kept", lang))
    return _framed(
        figure, label("retention", lang, metric=metric), label("band_note", lang), handles
    )


def _framed(figure: Figure, title: str, note: str, handles: Sequence[Line2D]) -> Figure:
    """Title, legend of as many columns as fit, and the note below."""
    figure.supxlabel(note, fontsize=points(8), color=shade(0.7), x=0.01, ha="left")
    if not handles:
        figure.suptitle(title, x=0.01, ha="left")
        return figure
    widest = max(typeset.text_width(str(h.get_label()), 8) for h in handles)
    columns = int((72 * figure.get_figwidth() / unit() - 10) // (widest + 40))
    # The layout would lay a figure's title onto such a legend, so it is the legend's title here.
    place = {"loc": "outside upper left", "ncols": max(1, columns), "alignment": "left"}
    heading = {"weight": "bold", "size": points(11)}
    figure.legend(handles=handles, title=title, title_fontproperties=heading, **place)
    return figure


def _lay_flat(axes: Axes) -> None:
    """Rows of dots: the values run along x, the names need no axis."""
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=5)


def _spread(found: Sequence[Estimate]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and the lengths of the whiskers; NaN where there is no mean, 0 where no interval."""
    mean_G = np.array([np.nan if e.value is None else e.value for e in found], dtype=float)
    ends = [(e.value, e.value) if e.low is None else (e.low, e.high) for e in found]
    low_G, high_G = np.array(ends, dtype=float).T
    return mean_G, np.clip(mean_G - low_G, 0, None), np.clip(high_G - mean_G, 0, None)


def _styles(names: Sequence[str]) -> list[dict]:
    """Colour, marker and dashes of each series; a modality keeps its own colour."""
    plain = [*MODALITY_COLOURS.values()] if len(names) < 6 else category_colours(len(names))
    if any(name in MODALITY_COLOURS for name in names):
        plain = [MODALITY_COLOURS.get(name, shade(0.6)) for name in names]
    return [
        {"color": plain[k], "marker": MARKERS[k % 6], "ls": DASHES[k % 4], "ms": points(4.5)}
        for k in range(len(names))
    ]


def _cross(colour: str) -> dict:
    """Mark of a cell that cannot be trained."""
    return {"color": colour, "marker": "x", "ls": "none", "ms": points(5)}


def _positions(values: Sequence[Factor]) -> dict[Factor, float]:
    """Where a factor's values stand: by size, or evenly where they are words or lie too close."""
    known = list(dict.fromkeys(values))
    if any(isinstance(value, str | bool) for value in known):
        return {value: float(k) for k, value in enumerate(known)}
    known.sort()
    even = min(np.diff(known), default=1) < (known[-1] - known[0]) / 8
    return {value: float(k if even else value) for k, value in enumerate(known)}


def _name(factors: Mapping[str, Factor], shown: Sequence[str]) -> str:
    """Words stand for themselves, numbers need their factor's name."""
    values = [(name, factors[name]) for name in shown]
    return ", ".join(v if isinstance(v, str) else f"{n} = {v}" for n, v in values)
