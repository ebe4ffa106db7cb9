"""Figures of a run's log: metrics.jsonl, and S' during training.

T logged lines, M modalities (five), W width of the smoothing window.
"""

from collections.abc import Sequence
from math import ceil, isfinite
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from scale.config import require
from scale.modalities import MODALITIES, PAIRS, SPECS
from scale.training.health_checks import Curve
from scale.training.logging import read_metrics
from scale.training.run import TrainedRun
from scale.training.run_log import RunLog
from scale.viz.charts import DASHES, MARKERS, heatmap, modality_ticks
from scale.viz.registry import Sources, figure
from scale.viz.theme import (
    MODALITY_COLOURS,
    category_colours,
    diverging,
    drawn,
    new_figure,
    on_slide,
    points,
    shade,
    tint,
)
from scale.viz.words import LABELS, LANG, Language, label

LOSS, VALIDATION = "loss/", "val/"
LOSS_ORDER = ("total", "contrastive", *(SPECS[m].task for m in MODALITIES))
GEOMETRY = ("alignment", "uniformity")
SINGLE = ("learning_rate", "grad_norm", "products_per_second")
"""Keys with a separate panel."""
COLUMNS = 4
GRID = {"left": 0.05, "right": 0.885, "top": 0.95, "bottom": 0.08, "wspace": 0.86, "hspace": 0.42}
"""Layout of the figure; legends are right of the axes."""
ROW_SIZE = 12.4, 5.2
"""Size of one row in inches, for a page that is projected."""
ROW_GRID = {"left": 0.055, "right": 0.985, "top": 0.91, "bottom": 0.475, "wspace": 0.22}
ROW_TABLE = (0.065, 0.12, 0.25, 0.66)
"""Layout of one row, and place of S' in it; legends are below the axes."""
Row = Literal["curves", "scores"]


@drawn
def loss_curves(metrics: Sequence[dict[str, Any]], lang: Language = LANG) -> Figure:
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
    figure = new_figure(2.75 * columns, 2.0 * rows + 0.35, dense=True)
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
        colour, name = colours[number], key_name(key, lang)
        if title in ("retrieval_validation", "geometry", "other", "learning_rate"):
            marker = MARKERS[number % len(MARKERS)] if len(step_T) < 30 else None
            style = {"marker": marker, "ms": points(3.5), "ls": DASHES[number % len(DASHES)]}
            axes.plot(step_T, value_T, color=colour, label=name, **style)
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


@drawn
def training_figure(
    log: RunLog, until: float, lang: Language = LANG, row: Row | None = None
) -> Figure:
    """Draw losses, validation and S' of a run, with a cursor at the step `until`.

    Top: losses (light: as logged; heavy: running mean up to `until`), retrieval, and alignment and
    uniformity. Bottom: S' at the last logged step up to `until`, its diagonal and its ten pairs.
    Legends carry the values at `until`.

    Args:
        row: draw only the top (`curves`) or the bottom (`scores`), in the size ROW_SIZE.
    """
    figure = new_figure(*(ROW_SIZE if row else (13.2, 6.4)))
    # A constrained layout would double the time of a move of the slider.
    figure.set_layout_engine("none")
    if row:
        axes_3 = figure.subplots(1, 3, gridspec_kw=ROW_GRID)
        if row == "scores":
            axes_3[0].set_position(ROW_TABLE)
        (_draw_curves if row == "curves" else _draw_scores)(axes_3, log, until, lang)
        return figure
    grid = figure.subplots(2, 3, gridspec_kw=GRID)
    _draw_curves(grid[0], log, until, lang)
    _draw_scores(grid[1], log, until, lang)
    return figure


def _draw_curves(axes_3: Sequence[Axes], log: RunLog, until: float, lang: Language) -> None:
    curves = log.curves()
    groups = panels_of(curves)
    panels = {
        "xt_losses": [key for keys in groups.values() for key in keys if key.startswith(LOSS)],
        "retrieval_validation": groups.get("retrieval_validation", []),
        "geometry": groups.get("geometry", []),
    }
    for axes, (title, keys) in zip(axes_3, panels.items(), strict=True):
        smooth = title == "xt_losses"
        colours = loss_colours(keys) if smooth else category_colours(len(keys))
        for number, (key, colour) in enumerate(zip(keys, colours, strict=True)):
            name = f"{short_name(key, lang)} {value_at(curves[key], until)}"
            dashes = "-" if smooth else DASHES[number % len(DASHES)]
            _curve(axes, curves[key], until, colour, name, smooth, dashes)
        _finish(axes, label(title, lang), until, log, lang)
    losses_T = np.concatenate([np.zeros(0), *(curves[key][1] for key in panels["xt_losses"])])
    losses_T = losses_T[np.isfinite(losses_T)]
    if len(losses_T) and losses_T.min() > 0:
        axes_3[0].set_yscale("log")
        axes_3[0].yaxis.set_major_formatter("{x:g}")


def _draw_scores(axes_3: Sequence[Axes], log: RunLog, until: float, lang: Language) -> None:
    heat, diagonal, pairs = axes_3
    if not len(log.step_T):
        for axes in axes_3:
            axes.set_axis_off()
        return
    last = max(int(np.searchsorted(log.step_T, until, side="right")) - 1, 0)
    mean_MM = log.mean_TMM[last]
    most = max(float(np.nanmax(np.abs(log.mean_TMM), initial=0.0)), 1e-6)
    shown_M = np.isfinite(mean_MM.diagonal())
    shown_MM = shown_M[:, None] & shown_M[None, :]
    heatmap(heat, mean_MM, diverging(), Normalize(-most, most), shown_MM)
    modality_ticks(heat, lang)
    row = "_row" if on_slide() else ""
    heat.set_title(label(f"xt_scores_at{row}", lang, step=int(log.step_T[last])), pad=points(18))
    for m, modality in enumerate(MODALITIES):
        curve = log.step_T, log.mean_TMM[:, m, m]
        name = f"{label(modality, lang)} {value_at(curve, until)}"
        _curve(diagonal, curve, until, MODALITY_COLOURS[modality], name)
    for i, j in PAIRS:
        curve = log.step_T, log.mean_TMM[:, i, j]
        for m, dashes in ((i, "-"), (j, (0, (3, 3)))):
            _curve(pairs, curve, until, MODALITY_COLOURS[MODALITIES[m]], dashes=dashes)
    _finish(diagonal, label(f"xt_diagonal{row}", lang), until, log, lang)
    _finish(pairs, label(f"xt_pairs{row}", lang), until, log, lang)


def _curve(
    axes: Axes,
    curve: Curve,
    until: float,
    colour: str,
    name: str = "",
    smooth: bool = False,
    dashes: str | tuple = "-",
) -> None:
    """Draw a curve light, and heavy up to the step `until`; values not finite leave a gap."""
    step_T, value_T = curve[0], np.where(np.isfinite(curve[1]), curve[1], np.nan)
    heavy_T = running_mean(value_T, window_of(len(value_T))) if smooth else value_T
    past_T = step_T <= until
    axes.plot(step_T, value_T, color=tint(colour, 0.35), linewidth=points(0.8), ls=dashes)
    marker = "." if past_T.sum() < 2 else None
    axes.plot(
        step_T[past_T], heavy_T[past_T], color=colour, label=name or None, ls=dashes,
        marker=marker,
    )  # fmt: skip


def _finish(axes: Axes, title: str, until: float, log: RunLog, lang: Language) -> None:
    axes.set_title(title)
    axes.set_xlabel(label("step", lang))
    axes.set_xlim(0, max(log.step, 1))
    axes.axvline(until, color=shade(0.5), linewidth=points(0.8), linestyle=":")
    if axes.get_legend_handles_labels()[0]:
        place = {"bbox_to_anchor": (1.0, 1.03), "fontsize": points(7)}
        if on_slide():
            place = {"bbox_to_anchor": (-0.06, -0.3), "borderaxespad": 0.0, "labelspacing": 0.2}
        axes.legend(loc="upper left", labelcolor=shade(0.85), handlelength=1.2, **place)


def loss_colours(keys: Sequence[str]) -> list[str]:
    """Return a colour per loss: that of the modality for a pretext task, greys for the others."""
    by_task = {LOSS + SPECS[m].task: MODALITY_COLOURS[m] for m in MODALITIES}
    greys = iter([shade(0.9), shade(0.55), *category_colours(len(keys))])
    return [by_task.get(key) or next(greys) for key in keys]


def key_name(key: str, lang: Language) -> str:
    """Return the label of a key of metrics.jsonl."""
    short = key.removeprefix(LOSS).removeprefix(VALIDATION)
    return label(short, lang) if short in LABELS[lang] else short


def short_name(key: str, lang: Language) -> str:
    """Return the name of a key without its explanation, e.g. MLM."""
    return key_name(key, lang).replace("：", ":").split(":")[0]


def value_at(curve: Curve, step: float) -> str:
    """Return the newest value up to a step with four significant digits; a dash without one."""
    step_T, value_T = curve
    last = int(np.searchsorted(step_T, step, side="right")) - 1
    if last < 0 or not np.isfinite(value_T[last]):
        return "–"
    return f"{value_T[last]:.4g}".replace("-", "−")


def draw_losses(run: TrainedRun, lang: Language = LANG) -> Figure:
    """Draw everything that a run logged. Raises ValueError if it logged nothing."""
    folder = run.folder.folder
    lines = read_metrics(folder)
    require(bool(lines), f"{folder}: no logged losses")
    return loss_curves(lines, lang)


@figure("losses")
def draw_run_losses(sources: Sources, lang: Language) -> Figure:
    """Draw the logged values of the run."""
    return draw_losses(sources.run, lang)
