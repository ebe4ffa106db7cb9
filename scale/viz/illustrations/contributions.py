"""Contribution of each modality: marginal gains, Shapley values, training (notebook 12).

K number of other modalities present, M modalities (five).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scale.evaluation.bootstrap import Estimate, estimates
from scale.evaluation.embed import embed_dataset
from scale.evaluation.retrieval import ProductArrays, subset_retrievals
from scale.modalities import MODALITIES, subset_name
from scale.model.scale import ScaleModel
from scale.seeding import derived_seed
from scale.studies.retention import EMPTY_SUBSET, marginal_contributions, shapley
from scale.studies.statistics import seed_interval
from scale.viz.charts import dot, framed, intervals, lay_flat, series_styles
from scale.viz.registry import Sources, figure, shared
from scale.viz.retrieval import retrieval_bars
from scale.viz.theme import MODALITY_COLOURS, NEGATIVE, POSITIVE, drawn, new_figure, points, shade
from scale.viz.words import LANG, Language, label, term


@drawn
def shapley_figure(
    steps: Mapping[str, Sequence[Estimate]],
    shares: Mapping[str, Estimate],
    ends: tuple[float, float],
    lang: Language = LANG,
    metric: str = "mAP@5",
    trainings: int = 0,
) -> Figure:
    """Draw the marginal gain of each modality by number of others, and its mean (Shapley value).

    Args:
        steps: `contributions.marginal_steps` by modality, with intervals.
        shares: `contributions.shapley` by modality, with intervals.
        ends: value of chance and of all five modalities.
        trainings: number of trainings behind the intervals; 0: intervals over queries.
    """
    figure = new_figure(8.8, 3.7)
    lines, bars = figure.subplots(1, 2, width_ratios=(1.15, 1))
    places_K = np.arange(len(MODALITIES))
    shift_M = np.linspace(-0.16, 0.16, len(MODALITIES))
    styles = series_styles(MODALITIES)
    for m, shift, style in zip(MODALITIES, shift_M, styles, strict=True):
        value_K = [step.value for step in steps[m]]
        lines.plot(places_K + shift, value_K, label=label(m, lang), **style)
        look = {"color": style["color"], "elinewidth": points(0.9)}
        intervals(lines, places_K + shift, steps[m], **look)
    lines.axhline(0, color=shade(0.6), lw=points(0.9), zorder=1)
    lines.set(xlabel=label("steps_axis", lang), ylabel=label("steps_value", lang, metric=metric))
    lines.set_xticks(places_K)
    lines.set_title(label("steps_title", lang))
    lines.legend(loc="upper right")
    _share_bars(bars, shares, lang, metric)
    words = {"chance": ends[0], "whole": ends[1], "metric": metric}
    over = label("over_trainings", lang, n=trainings) if trainings else label("over_queries", lang)
    return framed(figure, "", label("shapley_note", lang, over=over, **words))


def _share_bars(axes: Axes, shares: Mapping[str, Estimate], lang: Language, metric: str) -> None:
    for y, m in enumerate(MODALITIES):
        axes.barh(y, shares[m].value, height=0.6, color=MODALITY_COLOURS[m])
        dot(axes, y, shares[m], shade(0.95), marker="", capsize=points(2.5))
        place = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
        end = max(shares[m].value, shares[m].high or 0.0)
        axes.annotate(f"{shares[m].value:.3f}", (end, y), fontsize=points(8), **place)
    axes.set_yticks(range(len(MODALITIES)), [label(m, lang) for m in MODALITIES])
    axes.set_ylim(len(MODALITIES) - 0.5, -0.5)
    axes.set_xlim(min(0.0, axes.get_xlim()[0]), 1.18 * axes.get_xlim()[1])
    axes.axvline(0, color=shade(0.6), lw=points(0.9), zorder=1)
    axes.set_xlabel(label("shapley_axis", lang, metric=metric))
    axes.set_title(label("shapley_title", lang))
    lay_flat(axes)


@drawn
def added_modalities(
    trained: Sequence[Estimate],
    queried: Sequence[Estimate],
    lang: Language = LANG,
    metric: str = "mAP@5",
    test: str = "held out",
) -> Figure:
    """Draw models trained with the first 1 .. 5 modalities, and one of five queried by them.

    Args:
        trained: estimate of each model, queried by all its modalities.
        queried: estimate of the model of five, queried by the first 1 .. 5 modalities.
    """
    figure = new_figure(6.6, 3.7)
    axes = figure.subplots()
    places_K = np.arange(len(MODALITIES))
    for key, found, colour, marker in (
        ("added_queried", queried, POSITIVE, "o"),
        ("added_trained", trained, NEGATIVE, "s"),
    ):
        style = {"color": colour, "marker": marker, "ms": points(5.5)}
        axes.plot(places_K, [one.value for one in found], label=label(key, lang), **style)
        look = {"color": colour, "elinewidth": points(1.1), "capsize": points(2)}
        intervals(axes, places_K, found, **look)
    for place, (low, high) in enumerate(zip(trained[:-1], queried[:-1], strict=True)):
        ends = {"colors": shade(0.4), "lw": points(0.9), "linestyles": "dotted"}
        axes.vlines(place, low.value, high.value, **ends)
        text = label("added_gap", lang, ratio=high.value / low.value)
        where = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
        middle = (place, (low.value + high.value) / 2)
        axes.annotate(text, middle, fontsize=points(8), color=shade(0.75), **where)
    signs = ["", *["+ "] * (len(MODALITIES) - 1)]
    names = [sign + label(m, lang) for sign, m in zip(signs, MODALITIES, strict=True)]
    axes.set_xticks(places_K, names)
    axes.set(ylabel=metric, ylim=(0, None), xlim=(-0.3, len(MODALITIES) - 0.6))
    axes.legend(loc="upper left")
    note = label("added_note", lang, n=trained[0].n)
    return framed(figure, label("added_title", lang, metric=metric, test=term(test, lang)), note)


METRIC = "mAP@5"
ALL = subset_name(MODALITIES)
PREFIXES = tuple(subset_name(MODALITIES[:count]) for count in range(1, len(MODALITIES) + 1))

Values = dict[str, NDArray[np.float64]]
"""value_Q of the same queries by name of the subset; EMPTY_SUBSET: chance."""


def subset_values(model: ScaleModel, sources: Sources) -> Values:
    """Return mAP@5 of complete test products queried by each subset; the gallery is complete."""
    complete = sources.test.subset(np.flatnonzero(sources.test.present_NM.all(axis=1)))
    products = ProductArrays.of(complete, embed_dataset(model, complete, progress=False))
    found = subset_retrievals(products, "full", ks=(5,))
    values = {subset: one.values[METRIC] for subset, one in found.items()}
    values[EMPTY_SUBSET] = found[ALL].chance[METRIC]
    valid_Q = ~np.isnan(values[ALL])
    return {subset: value_Q[valid_Q] for subset, value_Q in values.items()}


@shared
def _trained_values(sources: Sources) -> Values:
    return subset_values(sources.run.model, sources)


@shared
def _untrained_values(sources: Sources) -> Values:
    with torch.random.fork_rng():
        torch.manual_seed(derived_seed(sources.seed))
        untrained = ScaleModel(sources.run.config.model, sources.run.config.missing)
    return subset_values(untrained, sources)


@figure("subset_bars")
def _draw_bars(sources: Sources, lang: Language) -> Figure:
    tree = {}
    for kind, measure in (("trained", _trained_values), ("untrained", _untrained_values)):
        found = estimates(measure(sources), sources.seed)
        chance = found.pop(EMPTY_SUBSET)
        tree[kind] = {subset: {METRIC: one.to_dict()} for subset, one in found.items()}
    tree["chance"] = {subset: {METRIC: chance.to_dict()} for subset in tree["trained"]}
    return retrieval_bars(tree, lang, METRIC)


@figure("shapley")
def _draw_shapley(sources: Sources, lang: Language) -> Figure:
    values = _trained_values(sources)
    steps = {m: dict(enumerate(parts)) for m, parts in marginal_contributions(values).items()}
    found = estimates({(m, k): step_Q for m in steps for k, step_Q in steps[m].items()})
    intervals = {m: [found[m, k] for k in steps[m]] for m in steps}
    ends = values[EMPTY_SUBSET].mean(), values[ALL].mean()
    return shapley_figure(intervals, estimates(shapley(values)), ends, lang, METRIC)


@figure("added_modalities")
def _draw_added(sources: Sources, lang: Language) -> Figure:
    _, records = sources.finished("modalities")

    def estimate_of(trained_with: str, metric: str) -> Estimate:
        value_S = [
            record.figures["held out"][metric]
            for record in records
            if record.factors == {"modalities": trained_with}
        ]
        return seed_interval(np.array(value_S, dtype=float))

    trained = [estimate_of(prefix, METRIC) for prefix in PREFIXES]
    queried = [estimate_of(ALL, f"{METRIC} {prefix}") for prefix in PREFIXES]
    return added_modalities(trained, queried, lang, METRIC)
