"""What the total loss of a batch is made of, and how training looks that does not learn.

P pairs of modalities (ten), T steps.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from scale.modalities import MODALITIES, PAIRS, SPECS
from scale.viz.theme import (
    MODALITY_COLOURS,
    NEGATIVE,
    POSITIVE,
    category_colours,
    drawn,
    new_figure,
    points,
    shade,
)
from scale.viz.words import Language, label


@drawn
def loss_terms(
    pair_P: ArrayLike, guess_P: ArrayLike, masked: Mapping[str, float], lang: Language = "en"
) -> Figure:
    """Ten contrastive losses and the masked losses of one batch, as bars; their sum is the total.

    Args:
        pair_P: InfoNCE of each pair, in the order of PAIRS.
        guess_P: what guessing among each pair's candidates would cost, drawn as a tick.
        masked: loss by pretext task, as `LossOutput.losses` has them without `contrastive`.

    Raises ValueError where there are not ten pairs.
    """
    pair_P, guess_P = np.asarray(pair_P, dtype=float), np.asarray(guess_P, dtype=float)
    if pair_P.shape != (len(PAIRS),) or guess_P.shape != (len(PAIRS),):
        raise ValueError(f"{pair_P.shape} and {guess_P.shape} values for {len(PAIRS)} pairs")
    figure = new_figure(8.6, 3.6)
    axes = figure.add_subplot()
    for k, (i, j) in enumerate(PAIRS):
        first, second = (MODALITY_COLOURS[MODALITIES[m]] for m in (i, j))
        axes.bar(k - 0.18, pair_P[k], 0.36, color=first)
        axes.bar(k + 0.18, pair_P[k], 0.36, color=second)
        axes.plot([k - 0.42, k + 0.42], [guess_P[k]] * 2, color=shade(0.9), lw=points(1.6))
    names = [f"{label(MODALITIES[i], lang)}\n{label(MODALITIES[j], lang)}" for i, j in PAIRS]
    colour_of = {SPECS[m].task: MODALITY_COLOURS[m] for m in MODALITIES}
    for k, (task, value) in enumerate(masked.items(), start=len(PAIRS) + 1):
        axes.bar(k, value, 0.72, color=colour_of[task])
        names.append(task)
    places = [*range(len(PAIRS)), *range(len(PAIRS) + 1, len(PAIRS) + 1 + len(masked))]
    axes.set_xticks(places, names, fontsize=points(7.5))
    axes.plot([], [], color=shade(0.9), lw=points(1.6), label=label("loss_terms_chance", lang))
    axes.legend(loc="upper left", frameon=False, fontsize=points(8))
    highest = max(pair_P.max(), guess_P.max(), *masked.values())
    axes.set(ylabel=label("loss_terms_axis", lang), ylim=(0, 1.2 * highest))
    axes.set_title(label("loss_terms_title", lang))
    return figure


@drawn
def broken_runs(
    curves: Mapping[str, Sequence[float]], floor: float, lang: Language = "en"
) -> Figure:
    """The contrastive loss of several runs over steps; the first one is the healthy one.

    Args:
        curves: values at each step by the run's name, as the legend has it.
        floor: loss of guessing, as a dashed line.
    """
    figure = new_figure(7.6, 3.7)
    axes = figure.add_subplot()
    colours = [POSITIVE, NEGATIVE, *category_colours(len(curves))]
    dashes = [(None, None), (5, 2), (1.5, 1.5), (None, None), (6, 2, 1.5, 2)]
    for k, (name, values) in enumerate(curves.items()):
        style = {
            "dashes": dashes[k % len(dashes)],
            "linewidth": points(2.4 if k == 0 else 1.5),
            "color": colours[k],
        }
        axes.plot(range(1, len(values) + 1), values, label=name, **style)
    axes.axhline(floor, color=shade(0.6), dashes=(4, 3), linewidth=points(1.2))
    text = {"ha": "right", "va": "bottom", "fontsize": points(8), "color": shade(0.7)}
    axes.text(max(map(len, curves.values())), floor, label("broken_floor", lang), **text)
    axes.set(xlabel=label("step", lang), ylabel=label("broken_contrastive", lang))
    axes.legend(loc="lower left", frameon=False, fontsize=points(8))
    axes.set_title(label("broken_title", lang))
    return figure
