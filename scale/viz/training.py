"""Figures of a run's metrics.jsonl.

T logged lines, W width of the smoothing window.
"""

from collections.abc import Sequence
from math import ceil, isfinite
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scale.config import require
from scale.modalities import MODALITIES, SPECS
from scale.training.logging import read_metrics
from scale.training.run import TrainedRun
from scale.viz.registry import Sources, figure
from scale.viz.theme import (
    MODALITY_COLOURS,
    category_colours,
    drawn,
    new_figure,
    points,
    shade,
    tint,
)
from scale.viz.words import LABELS, Language, label

Curve = tuple[np.ndarray, np.ndarray]
"""Steps and values, both (T,)."""

LOSS, VALIDATION = "loss/", "val/"
LOSS_ORDER = ("total", "contrastive", *(SPECS[m].task for m in MODALITIES))
GEOMETRY = ("alignment", "uniformity")
SINGLE = ("learning_rate", "grad_norm", "products_per_second")
"""Keys with a separate panel."""
COLUMNS = 4
MARKERS = "osD^v"


@drawn
def loss_curves(metrics: Sequence[dict[str, Any]], lang: Language = "en") -> Figure:
    """Draw every number of a metrics.jsonl over steps, as small multiples.

    Args:
        metrics: one dictionary per line, each with `step`; `loss/...` keys get a panel each,
            `val/...` keys share one for retrieval and one for alignment and uniformity, then
            learning rate, gradient norm and products per second. Other numeric keys share a last
            panel.

    Losses, gradient norm and speed are drawn thin as logged and thick as a running mean over a
    twentieth of the points; values that are not finite leave a gap. Raises ValueError if no line
    has a step and a number.
    """
    curves = numeric_curves(metrics)
    if not curves:
        raise ValueError("no line has a step and a number: nothing to draw")
    panels = panels_of(curves)
    rows = ceil(len(panels) / COLUMNS)
    columns = min(COLUMNS, len(panels))
    figure = new_figure(2.75 * columns, 2.0 * rows + 0.35)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for axes, (title, keys) in zip(grid, panels.items(), strict=False):
        _panel(axes, title, {key: curves[key] for key in keys}, lang)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    longest = max(len(values) for _, values in curves.values())
    note = label("raw_and_smooth", lang, n=window_of(longest))
    figure.supxlabel(note, fontsize=points(8), color=shade(0.7), x=0.01, ha="left")
    return figure


def numeric_curves(metrics: Sequence[dict[str, Any]]) -> dict[str, Curve]:
    """Return steps and values of every numeric key, in the order of first appearance."""
    points_by_key: dict[str, list[tuple[float, float]]] = {}
    for line in metrics:
        if "step" not in line:
            continue
        for key, value in line.items():
            if key != "step" and isinstance(value, int | float) and not isinstance(value, bool):
                points_by_key.setdefault(key, []).append((line["step"], value))
    return {k: tuple(np.array(pairs, dtype=float).T) for k, pairs in points_by_key.items()}


def panels_of(curves: dict[str, Curve]) -> dict[str, list[str]]:
    """Return the keys of each panel in reading order; each key is in exactly one panel."""
    losses = [k.removeprefix(LOSS) for k in curves if k.startswith(LOSS)]
    known = [name for name in LOSS_ORDER if name in losses]
    panels = {n: [LOSS + n] for n in [*known, *(n for n in losses if n not in known)]}
    validation = [k for k in curves if k.startswith(VALIDATION)]
    geometry = [k for k in validation if k.removeprefix(VALIDATION) in GEOMETRY]
    panels["retrieval_validation"] = [k for k in validation if k not in geometry]
    panels["geometry"] = geometry
    panels |= {key: [key] for key in SINGLE if key in curves}
    shown = {key for keys in panels.values() for key in keys}
    panels["other"] = [key for key in curves if key not in shown]
    return {title: keys for title, keys in panels.items() if keys}


def window_of(length: int) -> int:
    """Return the width of the running mean: a twentieth of the points, odd, at least 1."""
    return 2 * (length // 40) + 1


def running_mean(value_T: np.ndarray, window: int) -> np.ndarray:
    """Return the mean of the finite values within window // 2 of each point; NaN if none."""
    finite_T = np.isfinite(value_T)
    kernel_W = np.ones(window)
    total_T = np.convolve(np.where(finite_T, value_T, 0.0), kernel_W, mode="full")
    count_T = np.convolve(finite_T.astype(float), kernel_W, mode="full")
    inner = slice(window // 2, window // 2 + len(value_T))
    with np.errstate(invalid="ignore"):
        return total_T[inner] / count_T[inner]


def _panel(axes: Axes, title: str, curves: dict[str, Curve], lang: Language) -> None:
    """Draw one panel; several curves are named in a legend."""
    axes.set_title(label(title, lang) if title in LABELS[lang] else title, fontsize=points(9))
    colours = _colours(title, len(curves))
    for number, (key, (step_T, value_T)) in enumerate(curves.items()):
        value_T = np.where(np.isfinite(value_T), value_T, np.nan)
        colour, name = colours[number], key.removeprefix(VALIDATION)
        name = label(name, lang) if name in LABELS[lang] else name
        if title in ("retrieval_validation", "geometry", "other", "learning_rate"):
            marker = MARKERS[number % len(MARKERS)] if len(step_T) < 30 else None
            axes.plot(step_T, value_T, color=colour, label=name, marker=marker, ms=points(3.5))
        else:
            axes.plot(step_T, value_T, color=tint(colour, 0.4), linewidth=points(0.8))
            mean_T = running_mean(value_T, window_of(len(value_T)))
            axes.plot(step_T, mean_T, color=colour, label=name)
    if len(curves) > 1:
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.13 * (1 + len(curves)) * (high - low))
        axes.legend(loc="upper left", fontsize=points(7), ncols=1, labelcolor=shade(0.85))
    elif title == "retrieval_validation":
        axes.set_title(f"{label(title, lang)}: {name}", fontsize=points(9))
    axes.set_xlabel(label("step", lang), labelpad=points(1))
    axes.tick_params(labelbottom=True)
    axes.locator_params(axis="x", nbins=4)
    axes.locator_params(axis="y", nbins=5)
    if title == "learning_rate":
        axes.ticklabel_format(axis="y", style="plain")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}" if isfinite(value) else "")


def _colours(title: str, count: int) -> list[str]:
    """Return the colour of a task's modality, a grey for another single curve, or one per curve."""
    by_task = {SPECS[m].task: MODALITY_COLOURS[m] for m in MODALITIES}
    if count == 1:
        return [by_task.get(title, shade(0.75))]
    return category_colours(count)


def draw_losses(run: TrainedRun, lang: Language = "en") -> Figure:
    """Draw everything that a run logged. Raises ValueError if it logged nothing."""
    folder = run.folder.folder
    lines = read_metrics(folder)
    require(bool(lines), f"{folder}: no logged losses")
    return loss_curves(lines, lang)


@figure("losses")
def draw_run_losses(sources: Sources, lang: Language) -> Figure:
    """Draw the logged values of the run."""
    return draw_losses(sources.run, lang)
