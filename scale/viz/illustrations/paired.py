"""Paired runs: the same seeds under two settings, and why the pairing matters (notebook 11).

S seeds.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats

from scale.evaluation.bootstrap import LEVEL, Estimate
from scale.strict import require
from scale.studies.statistics import seed_interval
from scale.viz.charts import dot, lay_flat
from scale.viz.theme import NEGATIVE, POSITIVE, category_colours, drawn, new_figure, points, shade
from scale.viz.words import Language, label, term

Floats = NDArray[np.float64]


def unpaired(better_S: Floats, worse_S: Floats) -> Estimate:
    """Difference of the means with Welch's t interval: as if no run of one side had a partner."""
    found = stats.ttest_ind(better_S, worse_S, equal_var=False).confidence_interval(LEVEL)
    difference = float(better_S.mean() - worse_S.mean())
    return Estimate(difference, float(found.low), float(found.high), len(better_S))


@drawn
def paired_runs(
    better_S: Floats,
    worse_S: Floats,
    names: Sequence[str],
    lang: Language = "en",
    metric: str = "mAP@5",
) -> Figure:
    """Left: a line a seed from one setting to the other. Right: the differences, two intervals.

    Args:
        names: of the better and of the worse setting.

    Raises:
        ValueError: not the same number of runs, or fewer than two.
    """
    require(len(better_S) == len(worse_S) > 1, "two settings with the same seeds are needed")
    better_name, worse_name = (term(name, lang) for name in names)
    figure = new_figure(7.6, 2.9)
    lines, row = figure.subplots(1, 2, width_ratios=(1, 1.5))
    colours = category_colours(len(better_S))
    for seed, (better, worse) in enumerate(zip(better_S, worse_S, strict=True)):
        style = {"color": colours[seed], "marker": "o", "ms": points(5)}
        lines.plot([0, 1], [worse, better], label=label("paired_seed", lang, n=seed), **style)
        row.plot(better - worse, 0, ls="none", **style)
    lines.set_xticks([0, 1], [worse_name, better_name])
    lines.set(xlim=(-0.25, 1.25), ylim=(0, None))
    lines.set_title(label("paired_runs", lang, metric=metric))
    found = seed_interval(better_S - worse_S), unpaired(better_S, worse_S)
    for y, estimate, colour in zip((1, 2), found, (POSITIVE, NEGATIVE), strict=True):
        dot(row, y, estimate, colour, capsize=points(3), ms=points(6))
        text = f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"
        place = {"xytext": (0, 7), "textcoords": "offset points", "ha": "center"}
        row.annotate(text, (estimate.value, y), fontsize=points(8), color=colour, **place)
    row.axvline(0, color=shade(0.6), lw=points(0.9), zorder=1)
    keys = ("paired_differences", "paired_interval", "unpaired_interval")
    row.set_yticks(range(3), [label(key, lang) for key in keys])
    row.set_ylim(2.5, -0.5)
    row.set_title(label("paired_title", lang, better=better_name, worse=worse_name))
    lay_flat(row)
    lines.legend(loc="lower right", fontsize=points(7))
    return figure
