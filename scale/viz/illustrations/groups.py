"""Classes and clusters as pictures: the long tail in a mean, and a score that always rises.

C classes, K numbers of clusters (notebook 14).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from scale.evaluation.bootstrap import Estimate
from scale.viz.charts import dot, framed, lay_flat
from scale.viz.theme import NEGATIVE, POSITIVE, drawn, new_figure, points, shade
from scale.viz.words import Language, label

UNTRAINED = "#E0A100"
"""As in `retrieval_bars`."""
WORDS = {"accuracy": "dn_accuracy", "macro-F1": "dn_macro", "purity": "dn_purity"}
"""Labels of metrics that are words; abbreviations stay as they are."""


def metric_name(metric: str, lang: Language) -> str:
    """A metric as a figure writes it."""
    return label(WORDS[metric], lang) if metric in WORDS else metric


@drawn
def tail_scores(
    names: Sequence[str],
    train_C: ArrayLike,
    f1_C: ArrayLike,
    scores: Mapping[str, float],
    lang: Language = "en",
) -> Figure:
    """Training products of each class (bars, largest first) and its F1 on the test split (dots).

    Args:
        scores: `accuracy` and `macro-F1`, drawn as lines.

    Raises ValueError where the lists differ in length.
    """
    train_C, f1_C = np.asarray(train_C), np.asarray(f1_C, dtype=float)
    if not len(names) == len(train_C) == len(f1_C):
        raise ValueError(f"{len(names)} names, {len(train_C)} counts, {len(f1_C)} values of F1")
    order_C = np.lexsort((np.asarray(names), -train_C))
    figure = new_figure(max(6.0, 0.26 * len(names) + 1.4), 4.0)
    counts, marks = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.5))
    x_C = np.arange(len(names))
    counts.bar(x_C, train_C[order_C], width=0.7, color=shade(0.4))
    counts.set(ylabel=label("dn_train", lang))
    counts.set_title(label("dn_tail", lang))
    marks.vlines(x_C, 0, f1_C[order_C], color=shade(0.25), lw=points(1.0))
    marks.plot(x_C, f1_C[order_C], "o", color=POSITIVE, ms=points(5))
    for key, dashes in (("accuracy", ()), ("macro-F1", (4, 2))):
        text = label("dn_line", lang, name=metric_name(key, lang), value=scores[key])
        marks.axhline(scores[key], color=NEGATIVE, lw=points(1.4), dashes=dashes, label=text)
    marks.set(ylabel=label("dn_f1", lang), ylim=(-0.04, 1.06), xlim=(-0.6, len(names) - 0.4))
    marks.set_xticks(x_C, [names[c] for c in order_C], rotation=90, fontsize=points(7.5))
    marks.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False)
    return figure


@drawn
def purity_figure(
    clusters_K: Sequence[int],
    curves: Mapping[str, Mapping[str, ArrayLike]],
    categories: int,
    lang: Language = "en",
) -> Figure:
    """Purity, NMI and ARI against the number of clusters; a line where it equals the categories.

    Args:
        curves: `trained` and `chance` (clusters of the same sizes, by lot) -> measure -> value_K.
    """
    measures = list(next(iter(curves.values())))
    figure = new_figure(3.3 * len(measures), 3.2)
    looks = {
        "trained": {"color": POSITIVE, "marker": "o"},
        "chance": {"color": shade(0.6), "marker": "s", "dashes": (3, 2)},
    }
    for axes, measure in zip(figure.subplots(1, len(measures)), measures, strict=True):
        for stage, by_measure in curves.items():
            style = looks[stage] | {"ms": points(4), "label": label(stage, lang)}
            axes.plot(clusters_K, np.asarray(by_measure[measure]), **style)
        axes.axvline(categories, color=NEGATIVE, lw=points(1.0), dashes=(2, 2))
        axes.set(xscale="log", ylim=(-0.05, 1.08), xlabel=label("dn_k", lang))
        axes.set_title(metric_name(measure, lang))
        ticks = [k for k in (2, 5, 10, 20, 50, 100) if k <= max(clusters_K)]
        axes.set_xticks(ticks, [str(k) for k in ticks])
        axes.set_xticks([], minor=True)
    figure.axes[-1].legend(loc="upper left", frameon=False, fontsize=points(8))
    note = {"ha": "right", "va": "bottom", "fontsize": points(7.5), "color": NEGATIVE}
    text = label("dn_categories", lang, n=categories)
    figure.axes[0].text(categories * 0.93, 0.0, text, **note)
    return figure


@drawn
def task_figure(
    results: Mapping[str, Mapping[str, Estimate | None]], lang: Language = "en", note: str = ""
) -> Figure:
    """A row a metric: chance, untrained and trained, with their intervals.

    Args:
        results: metric -> stage (`chance`, `untrained`, `trained`) -> estimate; None is left out.
        note: a sentence below.
    """
    figure = new_figure(7.6, 0.46 * len(results) + 1.7)
    axes = figure.subplots()
    looks = {
        "chance": {"colour": shade(0.55), "marker": "|", "ms": points(11), "mew": points(2)},
        "untrained": {"colour": UNTRAINED, "marker": "D"},
        "trained": {"colour": POSITIVE, "marker": "o"},
    }
    for y, by_stage in enumerate(results.values()):
        for shift, (stage, look) in zip((0.0, 0.16, -0.16), looks.items(), strict=True):
            found = by_stage.get(stage)
            if found is not None:
                _row_dot(axes, y + shift, found, stage, dict(look))
    axes.set_yticks(range(len(results)), [metric_name(m, lang) for m in results])
    axes.set(ylim=(len(results) - 0.5, -0.5), xlim=(-0.04, None))
    lay_flat(axes)
    handles = [
        Line2D([], [], ls="none", color=look["colour"], marker=look["marker"],
               ms=look.get("ms", points(5)), mew=look.get("mew"), label=label(stage, lang))
        for stage, look in looks.items()
    ]  # fmt: skip
    return framed(figure, label("dn_tasks", lang), note or label("dn_tasks_note", lang), handles)


def _row_dot(axes: Axes, y: float, found: Estimate, stage: str, look: dict) -> None:
    colour = look.pop("colour")
    # Chance is known exactly here; its own interval would only hide the others.
    shown = Estimate(found.value, None, None, found.n) if stage == "chance" else found
    dot(axes, y, shown, colour, **look)
