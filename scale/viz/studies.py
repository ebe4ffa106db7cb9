"""The answer of a study: its cells over a factor or in rows.

G cells of a series, K series.
"""

from collections.abc import Sequence
from functools import partial
from math import ceil

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scale.evaluation.bootstrap import Estimate
from scale.strict import require
from scale.studies.definitions import STUDIES
from scale.studies.statistics import CellSummary, Summary, summarise
from scale.studies.study import Factor
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
from scale.viz.theme import drawn, new_figure, points, shade
from scale.viz.words import Language, label, term

BASELINES = ("uniform", "SCALE", "none (as described)", "all", "none")
"""Rows by these names are what the others are measured against."""
UNTOUCHED = ("none", "clean")
"""Groups by these names hold what all groups are measured against."""
PANELS = 3
"""Panels in a row."""
ROWS = 32
"""Rows of a panel; more of them go into further columns, where a study has one test."""

Drawn = tuple[Figure, list[str], list[Line2D]]
"""A figure, further lines of its note, and what its legend names."""


@drawn
def study_figure(summary: Summary, metric: str | None = None, lang: Language = "en") -> Figure:
    """Every cell's mean with its t interval over seeds, one panel per test that all cells have.

    `lines` (Study.figure): over the last factor, a line per combination of the others. `bars`: a
    row per cell, grouped by the first factor; a dashed line marks the group's baseline (BASELINES)
    and a dotted one that of the untouched group (UNTOUCHED), where there are such. A cell that
    cannot be trained is a gap that says so; so is, in `bars`, one that has not run yet.

    Args:
        metric: of the study; by default the one that decides.

    Raises:
        ValueError: no cell has the metric.
    """
    metric = metric or summary.study.metrics[0]
    tests = [test for test in summary.shared_tests() if (test, metric) in summary.columns]
    found = [r.estimate(t, metric).n for r in summary.rows for t in tests]
    seeds = sorted({n for n in found if n})
    require(bool(seeds), f"study {summary.study.name}: no cell has {metric}")
    draw = _rows_figure if summary.study.figure == "bars" else _lines_figure
    figure, note, handles = draw(summary, metric, tests, lang)
    title = label("study_is", lang, name=summary.study.name, metric=metric)
    trainings = "–".join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))
    note = "\n".join([label("study_note", lang, n=trainings), *note])
    return framed(figure, title, note, handles)


def _lines_figure(summary: Summary, metric: str, tests: list[str], lang: Language) -> Drawn:
    *others, last = summary.study.factors
    series: dict[str, list[CellSummary]] = {}
    for row in summary.rows:
        series.setdefault(factor_name(row.factors, others), []).append(row)
    at = _positions([row.factors[last] for row in summary.rows])
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
            _series(axes, x_G, [row.estimate(test, metric) for row in rows], style)
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


def _series(axes: Axes, x_G: np.ndarray, found: Sequence[Estimate], style: dict) -> None:
    """A line through the means with its whiskers, broken where a cell has none."""
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
    figure = new_figure(wide, 1.2 + 0.25 * height)
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
    """What the dashed and the dotted lines are."""
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
    """The rows by the first factor; a group of one needs no heading, its name says all."""
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
    """What a block's rows are compared with."""
    last = summary.study.factors[-1]
    found = [row for row in block.rows if row.factors[last] in BASELINES]
    return found[0] if len(found) == 1 < len(block.rows) else None


def _untouched(summary: Summary) -> CellSummary | None:
    """The baseline of the untouched group, which the other groups can be compared with."""
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
    """Columns of one test are read together, so they have one scale."""
    if columns > 1:
        ends = [axes.get_xlim() for axes in panels]
        for axes in panels:
            axes.set_xlim(min(low for low, _ in ends), max(high for _, high in ends))


def _cell_dot(axes: Axes, y: float, row: CellSummary, found: Estimate, lang: Language) -> None:
    """Mean and whisker of a row, or why there is none."""
    if found.value is not None:
        dot(axes, y, found, capsize=points(2))
        return
    text = label("cannot_train" if row.failed else "not_run", lang)
    style = {"transform": axes.get_yaxis_transform(), "va": "center", "color": shade(0.6)}
    # Its own background keeps a baseline from striking the words through.
    patch = {"facecolor": shade(0.0), "edgecolor": "none", "pad": points(1)}
    text = f"× {text}" if row.failed else text
    axes.text(0.02, y, text, fontsize=points(7.5), bbox=patch, **style)


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


def draw_study(sources: Sources, lang: Language, name: str) -> Figure:
    """Cells of a finished study."""
    return study_figure(summarise(*sources.finished(name)), lang=lang)


for _name in STUDIES:
    # The noise study is summarised by damage.py, as shares of the clean result.
    if _name != "noise":
        figure(f"study_{_name}")(partial(draw_study, name=_name))
