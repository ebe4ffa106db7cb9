"""What the scores see of damaged modalities: the diagonal of S', and good pairs from bad ones."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scale.evaluation.bootstrap import Estimate
from scale.modalities import MODALITIES
from scale.strict import require
from scale.studies.diagnosis import WEIGHTS, OwnWeights, own_weights, weighting_aucs
from scale.studies.study import Record, Study
from scale.viz.charts import Block, dot, framed, lay_flat, name_rows, placed, total_height
from scale.viz.registry import Sources, figure
from scale.viz.theme import MODALITY_COLOURS, NEGATIVE, POSITIVE, drawn, new_figure, points, shade
from scale.viz.words import Language, label, term

UNTOUCHED = "clean"
"""Regime whose own weights stand as ticks in the others: what damage alone has moved."""
LOOKS = {"S'": ("s", POSITIVE, "of_scores"), "posterior": ("D", NEGATIVE, "of_posterior")}
"""Marker, colour and label of what tells good pairs from bad ones."""


@drawn
def score_figure(
    study: Study, records: Sequence[Record], lang: Language = "en", regime: str = "mismatch"
) -> Figure:
    """Left: own weight S'_ii by modality and regime. Right: AUC of S' and posterior by weighting.

    Left, for uniform training: the mean weight beside the share of good content, with a tick at the
    weight of the same modality in the clean regime. Where the method worked, damage would move the
    weight below the tick. Right: the probability that a good pair weighs more than a
    damaged one of the same modalities, in one regime.

    Raises:
        ValueError: no record has these figures.
    """
    own, told = own_weights(study, records), weighting_aucs(study, records, regime)
    require(bool(own or told), f"study {study.name}: no run has figures of the scores")
    blocks = [_regime_block(name, weights, lang) for name, weights in own.items()]
    rows = Block("", tuple(told.values()), tuple(term(name, lang) for name in told))
    height = max(total_height(blocks), rows.height)
    figure = new_figure(8.4, 1.5 + 0.22 * height)
    left, right = figure.subplots(1, 2)
    _own_panel(left, blocks, own.get(UNTOUCHED), lang)
    _area_panel(right, rows, lang)
    left.set_title(label("own_weights", lang))
    right.set_title(label("told_apart", lang, regime=term(regime, lang)))
    found = [e for w in own.values() for e in w.mean.values()]
    found += [e for by in told.values() for e in by.values()]
    sizes = sorted({e.n for e in found if e.n})
    seeds = "–".join(map(str, dict.fromkeys((sizes[0], sizes[-1]))))
    title = label("own_score", lang, name=study.name)
    return framed(figure, title, label("own_note", lang, n=seeds), _handles(lang))


def _regime_block(name: str, weights: OwnWeights, lang: Language) -> Block:
    rows = tuple((m, weights.mean[m], weights.good[m]) for m in MODALITIES)
    order = f"  ρ = {weights.order.value:+.2f}" if weights.order.n else ""
    return Block(f"{term(name, lang)}{order}", rows, tuple(label(m, lang) for m in MODALITIES))


def _own_panel(
    axes: Axes, blocks: Sequence[Block], clean: OwnWeights | None, lang: Language
) -> None:
    for _, block, places in placed(blocks):
        for y, (modality, mean, good) in zip(places, block.rows, strict=True):
            dot(axes, y, mean, MODALITY_COLOURS[modality])
            if clean and clean.mean[modality].value is not None:
                axes.plot(clean.mean[modality].value, y, **_tick())
            diamond = {"marker": "D", "ms": points(4.5), "mfc": "none", "mec": shade(0.6)}
            axes.plot(good, y, ls="none", **diamond)
    axes.set(xlim=(0, 1.04), xlabel=label("own_axis", lang))
    lay_flat(axes)
    name_rows(axes, blocks)


def _area_panel(axes: Axes, rows: Block, lang: Language) -> None:
    axes.axvline(0.5, color=shade(0.6), lw=points(0.9), zorder=1)
    for _, block, places in placed([rows]):
        for y, by in zip(places, block.rows, strict=True):
            for shift, name in zip((-0.15, 0.15), WEIGHTS, strict=True):
                _area_dot(axes, y + shift, by[name], name)
    axes.set_xlabel(label("area", lang))
    lay_flat(axes)
    name_rows(axes, [rows])


def _area_dot(axes: Axes, y: float, found: Estimate, name: str) -> None:
    marker, colour, _ = LOOKS[name]
    dot(axes, y, found, colour, marker=marker, ms=points(4.5))


def _tick() -> dict:
    return {"color": shade(0.9), "marker": "|", "ms": points(8), "mew": points(1.1), "ls": "none"}


def _handles(lang: Language) -> list[Line2D]:
    size = {"ls": "none", "ms": points(5)}
    hollow = {"marker": "D", "mfc": "none", "mec": shade(0.6)}
    return [
        Line2D([], [], label=label("own_mean", lang), marker="o", color=shade(0.6), **size),
        Line2D([], [], label=label("own_clean", lang), **_tick()),
        Line2D([], [], label=label("good_share", lang), **hollow, **size),
        *(
            Line2D([], [], label=label(key, lang), marker=marker, color=colour, **size)
            for marker, colour, key in LOOKS.values()
        ),
    ]


@figure("weight_diagnosis")
def draw_weight_diagnosis(sources: Sources, lang: Language) -> Figure:
    """Scores in the weighting study."""
    return score_figure(*sources.finished("weighting"), lang)
