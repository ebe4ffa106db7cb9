"""What a study says about its claims, and what a model keeps as modalities go missing.

G values of a series.
"""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scale.evaluation.bootstrap import Estimate
from scale.strict import require
from scale.studies.report import Claim, group_by_claim, group_by_heading
from scale.studies.retention import retention_curves
from scale.studies.statistics import Outcome, Summary
from scale.viz import typeset
from scale.viz.charts import (
    Block,
    balanced,
    dot,
    framed,
    lay_flat,
    name_rows,
    placed,
    series_styles,
    spread,
    total_height,
)
from scale.viz.registry import Sources, figure
from scale.viz.theme import NEGATIVE, POSITIVE, drawn, new_figure, points, shade, tint
from scale.viz.words import Language, label, term

SIGNS = {"supported": "✓", "contradicted": "✗", "not decided": "?", "impossible": "–"}
NAMES = 312
"""Room for a claim, in points."""
PAGE = 36
"""Rows of a figure; what is more goes onto further ones."""


def comparison_figures(summary: Summary, lang: Language = "en") -> list[Figure]:
    """Forest plots: each claim's paired difference with both its intervals, and the verdict.

    A panel per metric; claims that begin alike under one heading; more than PAGE rows on several
    figures. Thick: t interval over seeds, with the mean. Thin, below it: bootstrap interval over
    products. Raises ValueError for a study without comparisons.
    """
    require(bool(summary.outcomes), f"study {summary.study.name} has no comparisons")
    claims = group_by_claim(summary.outcomes)
    tests = {claim.test for claim in claims}
    blocks = []
    for heading, group in group_by_heading(claims).items():
        texts = [_text(claim, len(tests) > 1) for claim in group]
        if heading:
            blocks.append(Block(heading, tuple(group), tuple(texts)))
        else:
            blocks += [Block("", (c,), (t,)) for c, t in zip(group, texts, strict=True)]
    pages = balanced(blocks, PAGE)
    test = f", {min(tests)}" if len(tests) == 1 else ""
    titles = [f" ({k + 1}/{len(pages)})" if len(pages) > 1 else "" for k in range(len(pages))]
    return [
        _forest(summary, page, test, title, lang) for page, title in zip(pages, titles, strict=True)
    ]


def _text(claim: Claim, name_test: bool) -> str:
    """The whole claim in lines; its test where the claims have several."""
    text = f"{claim.text} ({claim.test})" if name_test else claim.text
    return "\n".join(typeset.wrap(text, NAMES, 8, 9))


@drawn
def _forest(summary: Summary, blocks: list[Block], test: str, page: str, lang: Language) -> Figure:
    metrics = list(dict.fromkeys(o.comparison.metric for o in summary.outcomes))
    lines = [line for b in blocks for text in b.texts for line in text.split("\n")]
    names = max(typeset.text_width(line, 8) for line in [*lines, *(b.heading for b in blocks)])
    height = 1.3 + 0.27 * max(3.0, total_height(blocks))
    figure = new_figure(names / 72 + 3.0 * len(metrics), height)
    panels = figure.subplots(1, len(metrics), squeeze=False, sharey=True)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        for _, block, places in placed(blocks):
            for y, claim in zip(places, block.rows, strict=True):
                if metric in claim.by_metric:
                    _forest_row(axes, y, claim.by_metric[metric], lang)
        axes.axvline(0, color=shade(0.6), lw=points(0.9), zorder=1)
        axes.set_xlabel(label("difference_of", lang, metric=metric) + test)
        axes.margins(x=0.08)
        lay_flat(axes)
    name_rows(panels[0], blocks)
    sizes = {"over_seeds": (3.2, "o"), "over_products": (1.2, "|")}
    handles = [
        Line2D([], [], color=shade(0.6), lw=points(w), marker=m, ms=points(6), label=label(k, lang))
        for k, (w, m) in sizes.items()
    ]
    title = label("comparisons", lang, name=summary.study.name) + page
    return framed(figure, title, label("comparison_note", lang), handles)


def _forest_row(axes: Axes, y: float, outcome: Outcome, lang: Language) -> None:
    colours = {"supported": POSITIVE, "contradicted": NEGATIVE}
    colour = colours.get(outcome.verdict, shade(0.55))
    parts = ((outcome.seeds, y - 0.12, 3.2, "o", 5), (outcome.products, y + 0.2, 1.2, "|", 5))
    for found, at, width, marker, size in parts:
        if found is not None:
            dot(axes, at, found, colour, marker=marker, ms=points(size), elinewidth=points(width))
    text = f"{SIGNS[outcome.verdict]} {label(outcome.verdict, lang)}"
    style = {"transform": axes.get_yaxis_transform(), "va": "center", "color": colour}
    axes.text(1.02, y, text, fontsize=points(8), **style)


@drawn
def retention_curve(
    curves: Mapping[str, Mapping[float, Estimate]],
    lang: Language = "en",
    metric: str = "mAP@5",
    shares: bool = False,
) -> Figure:
    """Share of what a model reaches on complete products that is left as modalities go missing.

    Args:
        curves: by model, then by number of missing modalities (or, with `shares`, by their share):
            metric / metric of complete products, 1 at 0 missing.

    Raises:
        ValueError: there is nothing to draw.
    """
    require(any(curves.values()), "no retention to draw")
    figure = new_figure(5.0, 3.4)
    axes = figure.subplots()
    handles = []
    for style, (name, curve) in zip(series_styles(list(curves)), curves.items(), strict=True):
        x_G = np.array(sorted(curve), dtype=float)
        mean_G, below_G, above_G = spread([curve[x] for x in sorted(curve)])
        band = {"color": tint(style["color"], 0.5), "alpha": 0.3, "lw": 0}
        axes.fill_between(x_G, mean_G - below_G, mean_G + above_G, **band)
        handles += axes.plot(x_G, mean_G, label=term(name, lang), **style)
    ticks = sorted({x for curve in curves.values() for x in curve})
    axes.set_xticks(ticks, [f"{x:.0%}" if shares else f"{x:g}" for x in ticks])
    axes.set_ylim(0, max(1.05, axes.get_ylim()[1]))
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:.0%}")
    axes.set_xlabel(label("missing_share" if shares else "missing_count", lang))
    axes.set_ylabel(label("kept", lang))
    title = label("retention", lang, metric=metric)
    return framed(figure, title, label("band_note", lang), handles)


@figure("retention")
def draw_retention(sources: Sources, lang: Language) -> Figure:
    """Retention in the modalities study."""
    return retention_curve(retention_curves(*sources.finished("modalities")), lang)
