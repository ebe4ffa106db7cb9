"""Line charts as light SVG that a browser draws at once, with a value for every step pointed at.

T points of a curve, P places on a chart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from matplotlib.ticker import MaxNLocator

from scale.explore.thinning import means_at, thinned
from scale.viz.training import window_of
from scale.viz.words import Language, label

LEFT, RIGHT, TOP, BOTTOM = 44, 12, 8, 16
"""Margins around the curves, in pixels."""
PLACES = 40
"""Steps that can be pointed at."""
DOTS = 30
"""Points up to which each gets a dot."""


@dataclass(frozen=True)
class Series:
    """A curve; `step_T` grows, values that are not finite leave a gap."""

    name: str
    step_T: np.ndarray
    value_T: np.ndarray
    colour: str
    """Of CSS."""
    second: str = ""
    """A second colour: the line has both in turn."""
    smooth: bool = False
    """Light as it is, and heavy as a running mean."""

    def at(self, step: float) -> float:
        """The newest value up to a step; NaN before the first."""
        place = int(np.searchsorted(self.step_T, step, side="right")) - 1
        return float(self.value_T[place]) if place >= 0 else float("nan")


@dataclass(frozen=True)
class Chart:
    """Curves on one scale. Places on it are picked as `key@step`."""

    key: str
    title: str
    series: Sequence[Series]
    note: str = ""
    """HTML in place of the curves' values under the title."""
    width: int = 258
    height: int = 120


def line_chart(chart: Chart, span: tuple[float, float], until: float, lang: Language = "en") -> str:
    """The curves up to the step `until`, on axes that hold all of them.

    span: first and last step of the axis.
    """
    axes = _Axes.of(chart, span)
    parts = [_grid(axes), *(_curve(series, until, axes) for series in chart.series)]
    if until < span[1]:
        x = axes.x(until)
        parts.append(f'<path class="cursor" d="M{x:.1f} {TOP}V{axes.height - BOTTOM}"/>')
    parts.append(f"<g data-group>{''.join(_places(chart, axes, lang))}</g>")
    now = chart.note or " · ".join(
        _now(series, until, len(chart.series)) for series in chart.series
    )
    title = escape(chart.title)
    return (
        f'<div class="chart" style="width:{chart.width}px" data-chart="{escape(chart.key)}" '
        f'data-step="{until:g}"><h4 title="{title}">{title}</h4><div class="now">{now}</div>'
        f'<svg width="{axes.width}" height="{axes.height}" role="group" '
        f'aria-label="{title}">{"".join(parts)}</svg></div>'
    )


def shown_number(value: float, digits: int = 4) -> str:
    """Significant digits, with a true minus sign; a dash where it is not finite."""
    return f"{value:.{digits}g}".replace("-", "−") if np.isfinite(value) else "–"


@dataclass(frozen=True)
class _Axes:
    """Places of steps and values on the page, in pixels."""

    width: int
    height: int
    steps: tuple[float, float]
    values: tuple[float, float]

    @staticmethod
    def of(chart: Chart, span: tuple[float, float]) -> "_Axes":
        values = np.concatenate([series.value_T for series in chart.series])
        values = values[np.isfinite(values)]
        low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
        room = 0.04 * (high - low) or max(abs(high), 1e-6) / 2
        steps = span if span[0] < span[1] else (span[0] - 1, span[1] + 1)
        return _Axes(chart.width, chart.height, steps, (low - room, high + room))

    def x(self, step):
        first, last = self.steps
        return LEFT + (step - first) / (last - first) * (self.width - LEFT - RIGHT)

    def y(self, value):
        low, high = self.values
        return TOP + (high - value) / (high - low) * (self.height - TOP - BOTTOM)


def _grid(axes: _Axes) -> str:
    lines = []
    for value in _ticks(*axes.values, 4):
        y = axes.y(value)
        lines.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{axes.width - RIGHT}"/>')
        lines.append(f'<text x="{LEFT - 5}" y="{y + 3.5:.1f}" class="left">{_tick(value)}</text>')
    for step in _ticks(*axes.steps, 4):
        x, bottom = axes.x(step), axes.height - BOTTOM
        lines.append(f'<path class="grid" d="M{x:.1f} {bottom}v3"/>')
        lines.append(f'<text x="{x:.1f}" y="{axes.height - 3}" class="below">{_tick(step)}</text>')
    return "".join(lines)


def _ticks(low: float, high: float, count: int) -> list[float]:
    ticks = MaxNLocator(count, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [tick for tick in ticks.tolist() if low <= tick <= high]


def _tick(value: float) -> str:
    return f"{value:.10g}".replace("-", "−") if 1e-4 <= abs(value) < 1e5 or not value else (
        f"{value:.3g}".replace("-", "−")
    )  # fmt: skip


def _curve(series: Series, until: float, axes: _Axes) -> str:
    count = int(np.searchsorted(series.step_T, until, side="right"))
    value_T = series.value_T[:count]
    place_P = thinned(value_T)
    x_P, y_P = axes.x(series.step_T[place_P]), axes.y(value_T[place_P])
    path = _path(x_P, y_P)
    if series.smooth:
        mean_P = means_at(value_T, window_of(len(series.value_T)), place_P)
        heavy = _path(x_P, axes.y(mean_P))
        return _line(series.colour, path, "raw") + _line(series.colour, heavy)
    if series.second:
        return _line(series.colour, path) + _line(series.second, path, "line second")
    dots = zip(x_P, y_P, strict=True) if len(series.value_T) <= DOTS else ()
    return _line(series.colour, path) + "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{series.colour}"/>'
        for x, y in dots
        if np.isfinite(y)
    )


def _line(colour: str, path: str, kind: str = "line") -> str:
    return f'<path class="{kind}" stroke="{colour}" d="{path}"/>'


def _path(x_P: np.ndarray, y_P: np.ndarray) -> str:
    """Values that are not finite lift the pen; a point alone is a dot, by the line's round end."""
    parts, pen = [], "M"
    for x, y, finite in zip(x_P.tolist(), y_P.tolist(), np.isfinite(y_P).tolist(), strict=True):
        if not finite:
            pen = "M"
            continue
        parts.append(f"{pen}{x:.1f} {y:.1f}" + ("h0" if pen == "M" else ""))
        pen = "L"
    return "".join(parts)


def _places(chart: Chart, axes: _Axes, lang: Language) -> list[str]:
    """Stripes that tell their step and values when the pointer or the keyboard is on them."""
    known = [series.step_T for series in chart.series if len(series.step_T)]
    if not known:
        return []
    step_T = np.unique(np.concatenate(known))
    chosen = np.unique(np.linspace(0, len(step_T) - 1, PLACES).round().astype(int))
    step_P = step_T[chosen]
    x_P = axes.x(step_P)
    edges = np.concatenate([[LEFT], (x_P[1:] + x_P[:-1]) / 2, [axes.width - RIGHT]])
    return [
        _place(chart, axes, step, edges[p], edges[p + 1], lang)
        for p, step in enumerate(step_P.tolist())
    ]


def _place(
    chart: Chart, axes: _Axes, step: float, left: float, right: float, lang: Language
) -> str:
    values = [series.at(step) for series in chart.series]
    at_step = f"{label('step', lang)} {step:.10g}"
    if len(values) == 1:
        rows = [f"{at_step}  {shown_number(values[0])}"]
    else:
        order = np.argsort(-np.nan_to_num(values), kind="stable")
        rows = [at_step]
        rows += [f"{chart.series[k].name} {shown_number(values[k])}" for k in order]
    x, bottom = axes.x(step), axes.height - BOTTOM
    anchor, at = ("start", x + 6) if x < axes.width / 2 else ("end", x - 6)
    text = "".join(
        f'<tspan x="{at:.1f}" dy="{0 if row == 0 else 12}">{escape(words)}</tspan>'
        for row, words in enumerate(rows)
    )
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{axes.y(value):.1f}" r="3" fill="{series.colour}"/>'
        for series, value in zip(chart.series, values, strict=True)
        if np.isfinite(value)
    )
    return (
        f'<g class="place" data-key="{escape(chart.key)}@{step:.10g}" '
        f'aria-label="{escape(", ".join(rows))}">'
        f'<rect x="{left:.1f}" y="0" width="{max(right - left, 0.5):.1f}" height="{axes.height}"/>'
        f'<g class="tip"><path d="M{x:.1f} {TOP}V{bottom}"/>{dots}'
        f'<text x="{at:.1f}" y="{TOP + 9}" text-anchor="{anchor}">{text}</text></g></g>'
    )


def _now(series: Series, until: float, count: int) -> str:
    """The value at the step that is shown; short where many stand side by side."""
    value = shown_number(series.at(until), 4 if count < 3 else 2)
    name = f"{escape(series.name)} " if count > 1 else ""
    return f'<span style="color:{series.colour}">{name}{value}</span>'
