"""Line charts as light SVG that a browser draws at once, with a value for every step pointed at.

T points of a curve, P places on a chart, W width of the smoothing window.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from matplotlib.ticker import MaxNLocator

from scale.viz.labels import Language, label
from scale.viz.training import window_of

LEFT, RIGHT, TOP, BOTTOM = 44, 8, 8, 16
"""Margins around the curves, in pixels."""
BUCKETS = 120
"""A curve is drawn by the least and the greatest value of so many stretches."""
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
    width: int = 262
    height: int = 120


def line_chart(chart: Chart, span: tuple[float, float], until: float, lang: Language = "en") -> str:
    """The curves up to the step `until`, on axes that hold all of them.

    span: first and last step of the axis.
    """
    axes = _Axes.of(chart, span)
    shown = [_cut(series, until) for series in chart.series]
    parts = [_grid(axes), *(_curve(series, axes) for series in shown)]
    if until < span[1]:
        x = axes.x(until)
        parts.append(f'<path class="cursor" d="M{x:.1f} {TOP}V{axes.height - BOTTOM}"/>')
    parts.append(f"<g data-group>{''.join(_places(chart, axes, lang))}</g>")
    now = " · ".join(_now(series, until, len(shown) > 1) for series in shown[:2])
    if len(shown) > 2:
        now = ""
    return (
        f'<div class="chart" style="width:{chart.width}px" data-chart="{escape(chart.key)}" '
        f'data-step="{until:g}"><div class="head"><h4 title="{escape(chart.title)}">'
        f'{escape(chart.title)}</h4><span class="now">{now}</span></div>'
        f'<svg width="{axes.width}" height="{axes.height}" role="group" '
        f'aria-label="{escape(chart.title)}">{"".join(parts)}</svg></div>'
    )


def thinned(value_T: np.ndarray, buckets: int = BUCKETS) -> np.ndarray:
    """Places of the least and the greatest value of each of `buckets` stretches, in order.

    A stretch without any finite value gives its first place, so that its gap is seen.
    """
    count = len(value_T)
    if count <= 2 * buckets:
        return np.arange(count)
    size = -(-count // buckets)
    filled = np.full(buckets * size, np.nan)
    filled[:count] = value_T
    stretches = np.where(np.isfinite(filled), filled, np.nan).reshape(buckets, size)
    least = np.where(np.isnan(stretches), np.inf, stretches).argmin(1)
    most = np.where(np.isnan(stretches), -np.inf, stretches).argmax(1)
    places = np.concatenate([least, most]) + np.tile(np.arange(buckets) * size, 2)
    return np.unique(places[places < count])


def means_at(value_T: np.ndarray, window: int, place_P: np.ndarray) -> np.ndarray:
    """`viz.training.running_mean` at some places only: costs P W instead of T W."""
    finite_T = np.isfinite(value_T)
    half = window // 2
    total_PW, count_PW = (
        np.lib.stride_tricks.sliding_window_view(np.pad(each, half), window)[place_P]
        for each in (np.where(finite_T, value_T, 0.0), finite_T.astype(float))
    )
    with np.errstate(invalid="ignore"):
        return total_PW.sum(1) / count_PW.sum(1)


def shown_number(value: float) -> str:
    """Four digits, with a true minus sign; a dash where it is not finite."""
    return f"{value:.4g}".replace("-", "−") if np.isfinite(value) else "–"


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


def _cut(series: Series, until: float) -> Series:
    count = int(np.searchsorted(series.step_T, until, side="right"))
    kept = (series.step_T[:count], series.value_T[:count])
    return Series(series.name, *kept, series.colour, series.second, series.smooth)


def _grid(axes: _Axes) -> str:
    lines = []
    for value in _ticks(*axes.values, 3):
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


def _curve(series: Series, axes: _Axes) -> str:
    place_P = thinned(series.value_T)
    x_P, raw_P = axes.x(series.step_T[place_P]), series.value_T[place_P]
    path = _path(x_P, axes.y(raw_P))
    line = f'<path class="line" stroke="{series.colour}" d="{path}"/>'
    if series.smooth:
        mean_P = means_at(series.value_T, window_of(len(series.value_T)), place_P)
        heavy = _path(x_P, axes.y(mean_P))
        return (
            f'<path class="raw" stroke="{series.colour}" d="{path}"/>'
            f'<path class="line" stroke="{series.colour}" d="{heavy}"/>'
        )
    if series.second:
        line += f'<path class="line second" stroke="{series.second}" d="{path}"/>'
    elif len(series.value_T) <= DOTS:
        line += "".join(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{series.colour}"/>'
            for x, y in zip(x_P, axes.y(raw_P), strict=True)
            if np.isfinite(y)
        )
    return line


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
    step_T = known[0] if len(known) == 1 else np.unique(np.concatenate(known))
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
    several = len(values) > 1
    said = [f"{label('step', lang)} {step:.10g}"]
    said += [
        f"{series.name} {shown_number(value)}" if several else shown_number(value)
        for series, value in zip(chart.series, values, strict=True)
    ]
    x, bottom = axes.x(step), axes.height - BOTTOM
    toward = x < axes.width / 2
    anchor, at = ("start", x + 6) if toward else ("end", x - 6)
    rows = [said[0], *said[1:]] if several else ["  ".join(said)]
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
        f'aria-label="{escape(", ".join(said))}">'
        f'<rect x="{left:.1f}" y="0" width="{max(right - left, 0.5):.1f}" height="{axes.height}"/>'
        f'<g class="tip"><path d="M{x:.1f} {TOP}V{bottom}"/>{dots}'
        f'<text x="{at:.1f}" y="{TOP + 9}" text-anchor="{anchor}">{text}</text></g></g>'
    )


def _now(series: Series, until: float, named: bool) -> str:
    value = shown_number(series.at(until))
    name = f"{escape(series.name)} " if named else ""
    return f'<span style="color:{series.colour}">{name}{value}</span>'
