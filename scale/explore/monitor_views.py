"""What the training monitor shows, as HTML: state, warnings, charts and S'.

T logged steps, M modalities (five).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import Normalize

from scale.explore.linechart import Chart, Series, line_chart
from scale.explore.markup import heat_table, text
from scale.modalities import MODALITIES, PAIRS, SPECS
from scale.training.health_checks import Curve, HealthIssue
from scale.training.run_log import Progress, RunLog
from scale.viz.theme import MODALITY_COLOURS, category_colours, diverging
from scale.viz.training import LOSS, VALIDATION, panels_of
from scale.viz.words import LABELS, Language, label

STATES = {
    "waiting": "xt_waiting",
    "running": "xt_running",
    "finished": "xt_finished",
    "stopped": "xt_stopped",
}
SYMPTOMS = {
    "not_finite": "xt_not_finite",
    "collapse": "xt_collapse",
    "overfitting": "xt_overfitting",
}
TROUBLES = {
    "missing": "xt_missing",
    "no_run": "xt_no_run",
    "config": "xt_config",
    "metrics": "xt_metrics",
    "scores": "xt_scores",
}
QUIET = 10.0
"""Seconds without a line from which they are shown."""
SMOOTHED = (LOSS, "grad_norm", "products_per_second")
"""Beginnings of the keys that are drawn light, with a heavy running mean."""
TASK_COLOURS = {LOSS + SPECS[m].task: MODALITY_COLOURS[m] for m in MODALITIES}


def state_line(now: Progress, watch: RunLog, sure: bool, lang: Language) -> str:
    """State, step, speed and time left in one line.

    sure: the process is known, so `stopped` needs no question mark.
    """
    unsure = now.state == "stopped" and not sure
    words = label("xt_stopped_maybe" if unsure else STATES[now.state], lang)
    parts = [f'<b class="{now.state}">{words}</b>']
    if now.steps is None:
        parts.append(label("xt_step", lang, step=now.step))
    else:
        place = label("xt_step_of", lang, step=now.step, steps=now.steps)
        parts.append(place)
        parts.append(f'<progress aria-label="{place}" max="{now.steps}" value="{now.step}">'
                     "</progress>")  # fmt: skip
    if np.isfinite(now.speed):
        parts.append(label("xt_speed", lang, speed=now.speed))
    if np.isfinite(now.seconds_left):
        parts.append(label("xt_left", lang, time=clock(now.seconds_left)))
    if now.state in ("running", "stopped") and now.idle_seconds > QUIET:
        parts.append(label("xt_quiet", lang, time=clock(now.idle_seconds)))
    if now.state == "waiting" and watch.config:
        train = watch.config.train
        parts.append(label("xt_every", lang, lines=train.log_every, scores=train.checkpoint_every))
    parts.append(f'<span class="note">{text(str(watch.run.folder))}</span>')
    body = "".join(f"<span>{part}</span>" for part in parts)
    return f'<div class="state" data-state="{now.state}" data-step="{now.step}">{body}</div>'


def clock(seconds: float) -> str:
    """Hours, minutes and seconds, as 0:04:10."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def warning_lines(watch: RunLog, found: Sequence[HealthIssue], lang: Language) -> list[str]:
    """What looks wrong, a sentence each."""
    lines = [
        label(
            SYMPTOMS[each.kind], lang, name=key_name(each.key, lang), step=each.step,
            value=each.value, best=each.best, count=int(each.value)
        )
        for each in found
    ]  # fmt: skip
    if watch.damaged_lines:
        count, first = len(watch.damaged_lines), watch.damaged_lines[0]
        lines.append(label("xt_damaged", lang, count=count, line=first))
    if watch.restarts:
        lines.append(label("xt_returns", lang, count=watch.restarts))
    return lines


def warning_list(lines: Sequence[str]) -> str:
    """Sentences that a screen reader speaks when they appear."""
    body = "".join(f'<div class="error">{text(line)}</div>' for line in lines)
    return f'<div role="status" data-warnings="{len(lines)}">{body}</div>'


def trouble_line(watch: RunLog, lang: Language) -> str:
    """What of the folder cannot be read; nothing where all can."""
    said = [label(TROUBLES[kind], lang, folder=why, why=why) for kind, why in watch.errors.items()]
    return "\n".join(said)


def key_name(key: str, lang: Language) -> str:
    """A key of metrics.jsonl in words."""
    short = key.removeprefix(LOSS).removeprefix(VALIDATION)
    return label(short, lang) if short in LABELS[lang] else short


def metric_charts(
    curves: Mapping[str, Curve], span: tuple[float, float], until: float, lang: Language
) -> str:
    """A chart for each loss and measure, in the order of `viz.training.loss_curves`."""
    charts = []
    for title, keys in panels_of(dict(curves)).items():
        colours = _colours(keys)
        series = [
            Series(key_name(key, lang), *curves[key], colour, smooth=key.startswith(SMOOTHED))
            for key, colour in zip(keys, colours, strict=True)
        ]
        words = label(title, lang) if title in LABELS[lang] else title
        charts.append(line_chart(Chart(title, words, series), span, until, lang))
    return f'<div class="row scale-curves">{"".join(charts)}</div>'


def score_view(
    watch: RunLog, span: tuple[float, float], until: float, done: bool, lang: Language
) -> str:
    """S' of the last logged step up to `until` as a heat map, and its weights over time.

    done: nothing more is to come.
    """
    if not len(watch.step_T):
        return _note("xt_no_scores" if done else "xt_no_scores_yet", lang)
    place = max(int(np.searchsorted(watch.step_T, until, side="right")) - 1, 0)
    mean_MM, step = watch.mean_TMM[place], int(watch.step_T[place])
    finite = watch.mean_TMM[np.isfinite(watch.mean_TMM)]
    most = max(float(np.abs(finite).max(initial=0.0)), 1e-6)
    title = label("xt_scores_at", lang, step=step)
    present_M = np.isfinite(np.diagonal(mean_MM))
    heat = heat_table(
        title, mean_MM, present_M, diverging(), Normalize(-most, most), lang, weights=True
    )
    charts = [line_chart(chart, span, until, lang) for chart in _weight_charts(watch, lang)]
    measured = watch.config is not None and watch.config.loss.weight_on == "none"
    note = _note("xt_not_weighed", lang) if measured else ""
    return f'<div class="row scale-scores" data-step="{step}">{heat}{"".join(charts)}</div>{note}'


def _weight_charts(watch: RunLog, lang: Language) -> list[Chart]:
    names = [label(m, lang) for m in MODALITIES]
    colours = [MODALITY_COLOURS[m] for m in MODALITIES]
    diagonal = [
        Series(names[m], watch.step_T, watch.mean_TMM[:, m, m], colours[m])
        for m in range(len(MODALITIES))
    ]
    pairs = [
        Series(f"{names[i]}–{names[j]}", watch.step_T, watch.mean_TMM[:, i, j], colours[i],
               second=colours[j])
        for i, j in PAIRS
    ]  # fmt: skip
    size = {"width": 356, "height": 170}
    return [
        Chart("diagonal", label("xt_diagonal", lang), diagonal, **size),
        Chart("pairs", label("xt_pairs", lang), pairs, note=label("xt_two", lang), **size),
    ]


def _colours(keys: Sequence[str]) -> list[str]:
    """A task has its modality's colour; what belongs to none has the page's own."""
    if len(keys) == 1:
        return [TASK_COLOURS.get(keys[0], "var(--ink)")]
    return ["var(--accent)", "var(--ink)", *category_colours(len(keys))][: len(keys)]


def _note(key: str, lang: Language) -> str:
    return f'<div class="note">{text(label(key, lang))}</div>'
