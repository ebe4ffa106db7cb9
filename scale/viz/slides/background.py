"""Slides of contrastive learning, data, masks and the space of the features.

All fill the place of the figure on its slide (theme.place); lengths are points of `paper`, text is
at least 9 of them (14 points on the slide). L tokens or vectors of a sequence, N products.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scale.config import FeatureConfig
from scale.evaluation.bootstrap import Estimate
from scale.modalities import MODALITIES, SPECS
from scale.studies.context import Reconstruction
from scale.studies.systems.attention_reach import AttentionReach
from scale.viz import tiles, typeset
from scale.viz.catalogue import head_of
from scale.viz.charts import intervals, lay_flat
from scale.viz.illustrations import contrastive, info_nce, masked_words, masking, space, streams
from scale.viz.illustrations.data import DATA_SETS, KINDS, DataSet, plain, shop_facts
from scale.viz.registry import Sources, figure
from scale.viz.slides.results import modality_legend, whole_place
from scale.viz.theme import (
    MODALITY_COLOURS,
    NEGATIVE,
    POSITIVE,
    drawn,
    place,
    points,
    shade,
    strip,
    tint,
)
from scale.viz.tiles import Box
from scale.viz.words import LANG, Language, label

STEPS = (0, 5, 60)
"""Steps of `pull_and_push`."""


@figure("pull_and_push", on_slides=True)
@drawn
def pull_and_push(lang: Language = LANG) -> Figure:
    """Draw three products on a circle at the start, after a few steps, and at the end."""
    path, figure = contrastive.start_walk(), whole_place()
    for axes, step in zip(figure.subplots(1, len(STEPS)), STEPS, strict=True):
        contrastive.draw_circle(axes, path.text_TBD[step], path.image_TBD[step], 12, pull=not step)
        title = label("contrast_step_loss", lang, step=step, loss=path.loss_T[step].item())
        axes.set_title(title, loc="center")
    contrastive.draw_legend(figure, lang)
    return figure


@figure("info_nce_table", on_slides=True)
@drawn
def info_nce_table(lang: Language = LANG) -> Figure:
    """Draw cosines, and their softmax along the rows with the loss of each title."""
    cosine_BB = torch.tensor(info_nce.TABLE, dtype=torch.float64)
    share_BB = (cosine_BB / info_nce.TABLE_TEMPERATURE).softmax(1)
    figure, count = whole_place(), len(cosine_BB)
    left, right = figure.subplots(1, 2, width_ratios=[count, count + 1.2])
    for axes, values_BB, key in (
        (left, cosine_BB, "contrast_cosines"),
        (right, share_BB, "contrast_forth"),
    ):
        info_nce.number_table(axes, values_BB, 1, lang, 9)
        title = label(key, lang, t=info_nce.TABLE_TEMPERATURE)
        axes.set_title(title[1:].strip(), loc="center", pad=points(18))
        axes.set_ylim(count, 0)
    right.set_xlim(0, count + 1.2)
    for row, share in enumerate(share_BB.diag().tolist()):
        text = label("contrast_loss_is", lang, value=-np.log(share))
        right.text(count + 0.1, row + 0.5, text, va="center", color=NEGATIVE, fontsize=points(9))
    return figure


TEMPERATURES = (0.02, 0.2, 1.0)


@figure("temperature", on_slides=True)
@drawn
def temperature(lang: Language = LANG) -> Figure:
    """Draw the softmax over six cosines at a low, a middle and a high temperature."""
    cosine_C = torch.tensor(info_nce.CANDIDATES, dtype=torch.float64)
    names = [f"{value:.1f}".replace("-", "−") for value in info_nce.CANDIDATES]
    colours = [POSITIVE, *[tint(NEGATIVE, 0.8)] * (len(names) - 1)]
    figure = whole_place()
    panels = figure.subplots(1, len(TEMPERATURES), sharey=True)
    for axes, value in zip(panels, TEMPERATURES, strict=True):
        share_C = (cosine_C / value).softmax(0).tolist()
        bars = axes.bar(range(len(share_C)), share_C, color=colours)
        texts = [f"{share:.2f}" if share >= 0.005 else "" for share in share_C]
        axes.bar_label(bars, texts, padding=2, fontsize=points(9))
        axes.set_xticks(range(len(names)), names)
        axes.set(ylim=(0, 1.12), yticks=(0, 0.5, 1), xlabel=label("contrast_candidates", lang))
        axes.set_title(label("contrast_temperature_is", lang, t=value))
    panels[0].set_ylabel(label("contrast_share", lang))
    for row, (key, colour) in enumerate(
        (("contrast_own_picture", POSITIVE), ("contrast_other_pictures", NEGATIVE))
    ):
        style = {"color": colour, "ha": "right", "fontweight": "bold", "fontsize": points(9)}
        at = 0.98, 0.9 - 0.08 * row
        panels[1].text(*at, label(key, lang), transform=panels[1].transAxes, **style)
    return figure


@figure("data_sets", on_slides=True)
def draw_data_sets(sources: Sources, lang: Language) -> Figure:
    """Draw the published data sets and the catalogue."""
    return data_sets([*DATA_SETS, shop_facts(sources.catalogue)], lang)


@drawn
def data_sets(shown: Sequence[DataSet], lang: Language = LANG) -> Figure:
    """Draw a row per data set, by kind: dots for its modalities, and its number of instances."""
    width, height = place()
    figure, axes = typeset.page(width, height)
    ordered = [data for kind in KINDS for data in shown if data.kind == kind]
    row, step = (height - 18) / len(ordered), 56.0
    kinds = {data.kind: label(f"kind_{data.kind}", lang) for data in ordered}
    left = max(typeset.text_width(text, 9, "bold") for text in kinds.values()) + 12
    names = [f"{data.name} ({data.year})" if data.year else data.name for data in ordered]
    dots = left + max(typeset.text_width(name, 9) for name in names) + 0.5 * step
    for k, modality in enumerate(MODALITIES):
        style = {"ha": "center", "fontweight": "bold", "color": MODALITY_COLOURS[modality]}
        typeset.write(axes, dots + k * step, 10, label(modality, lang), 9, **style)
    typeset.write(axes, width - 2, 10, label("on_instances", lang), 9, ha="right",
                  fontweight="bold")  # fmt: skip
    for k, (data, name) in enumerate(zip(ordered, names, strict=True)):
        y, first = 18 + (k + 0.5) * row, k == 0 or ordered[k - 1].kind != data.kind
        if first:
            axes.plot([0, width], [y - row / 2] * 2, color=shade(0.2), linewidth=points(0.8))
            typeset.write(axes, 2, y + 3.5, kinds[data.kind], 9, fontweight="bold")
        typeset.write(axes, left, y + 3.5, name, 9)
        for column, modality in enumerate(MODALITIES):
            has, at = modality in data.modalities, (dots + column * step, y)
            colour = MODALITY_COLOURS[modality] if has else shade(0.2)
            look = {"ms": points(9 if has else 4), "mfc": colour if has else "none"}
            axes.plot(*at, "o", color=colour, **look)
        count = label("sets_not_stated", lang) if data.instances is None else plain(data.instances)
        typeset.write(axes, width - 2, y + 3.5, count, 9, ha="right")
    return figure


@figure("long_tail", on_slides=True)
def draw_long_tail(sources: Sources, lang: Language) -> Figure:
    """Draw products by category."""
    return long_tail(Counter(p.category for p in sources.catalogue if p.category is not None), lang)


@drawn
def long_tail(categories: Mapping[str, int], lang: Language = LANG) -> Figure:
    """Draw the sizes of the categories as columns, largest first; the first and the last named."""
    ordered = sorted(categories.items(), key=lambda item: (-item[1], item[0]))
    counts = [count for _, count in ordered]
    head = head_of(np.array(counts, dtype=float))
    figure = whole_place()
    axes = figure.subplots()
    colours = [POSITIVE if rank < head else tint(POSITIVE, 0.45) for rank in range(len(counts))]
    axes.bar(range(1, len(counts) + 1), counts, width=0.8, color=colours)
    for rank, ha in ((1, "left"), (len(counts), "right"))[: len(counts)]:
        name, count = ordered[rank - 1]
        text = typeset.shorten(f"{name} {count}", 120, 9)
        at = {"xytext": (0, points(3)), "textcoords": "offset points", "ha": ha}
        axes.annotate(text, (rank + (-0.4 if ha == "left" else 0.4), count), **at)
    axes.set_title(label("head_share", lang, n=head, all=len(ordered)))
    axes.set(xlabel=label("rank", lang), ylabel=label("products", lang), xlim=(0.4, None))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axes.margins(y=0.12)
    return figure


LAYER = ("cross", "jct", "stream", "alone")
"""Kinds of layers by precedence: the one that distinguishes a design."""


@figure("attention_masks", on_slides=True)
def draw_attention_masks(sources: Sources, lang: Language) -> Figure:
    """Draw a mask of each design."""
    return attention_masks(streams.reaches_of(sources), lang)


@drawn
def attention_masks(reaches: Sequence[AttentionReach], lang: Language = LANG) -> Figure:
    """Draw the attention mask of the layer that distinguishes each design."""
    figure = whole_place()
    for number, (axes, reach) in enumerate(
        zip(figure.subplots(1, len(reaches)), reaches, strict=True)
    ):
        key = next((key for key in LAYER if key in reach.layers), next(iter(reach.layers)))
        streams.mask_panel(axes, reach.layers[key], reach.length, lang, named=number == 0)
        axes.set_title(f"{reach.system}\n{label(f'reach_{key}', lang)}", loc="left")
    return figure


@figure("context_gain", on_slides=True)
def draw_context_gain(sources: Sources, lang: Language) -> Figure:
    """Draw the gains by all other modalities of the run."""
    vectors = [m for m in MODALITIES if sources.run.config.model.continuous(m)]
    return context_gain(masking.gains_of(sources), vectors, lang)


@drawn
def context_gain(
    gains: Mapping[str, Mapping[str, Estimate]], vectors: Sequence[str], lang: Language = LANG
) -> Figure:
    """Draw how much all other modalities lower each masked loss: the product's, and another's."""
    shown = [m for m in MODALITIES if m in gains]
    figure = whole_place()
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, modality in zip(panels, shown, strict=True):
        for y, name in enumerate(masking.WHOLE):
            found = gains[modality].get(name)
            if found is None or found.value is None:
                continue
            look = {"facecolor": shade(0.62)}
            if y:
                look = {"facecolor": shade(0.1), "edgecolor": shade(0.62), "hatch": "////"}
            axes.barh(y, found.value, height=0.5, **look)
            intervals(axes, [y], [found], flat=True, color=shade(0.95), elinewidth=points(1.4))
        axes.axvline(0, color=shade(0.6), lw=points(0.9))
        axes.set_title(SPECS[modality].task, color=MODALITY_COLOURS[modality])
        lay_flat(axes)
        axes.locator_params(axis="x", nbins=2)
        key = "mask_gain_axis_vectors" if modality in vectors else "mask_gain_axis_pieces"
        width = 0.6 * place()[0] / len(shown)
        axes.set_xlabel("\n".join(typeset.wrap(label(key, lang), width, 9, 3)))
    names = [masking.context_name(name, lang) for name in masking.WHOLE]
    lines = ["\n".join(typeset.wrap(name, 90, 9, 3)) for name in names]
    panels[0].set_yticks(range(len(names)), lines)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    return figure


STRIPS = {"truth": "on_original", "hidden": "on_hidden", "with": "on_with", "without": "on_without"}


def _strips(
    found: Reconstruction, lang: Language, draw: Callable[[Axes, str, Box], None]
) -> Figure:
    """Draw a sequence four times, below each other: original, hidden, predicted with and without
    the other modalities; the losses of the predictions are right of them."""
    width, height = place()
    figure, axes = typeset.page(width, height)
    names = [label(key, lang) for key in STRIPS.values()]
    left = max(typeset.text_width(name, 9, "bold") for name in names) + 10
    row = height / len(STRIPS)
    for k, (version, name) in enumerate(zip(STRIPS, names, strict=True)):
        box = Box(left, k * row + 2, width - left - 40, row - 8)
        middle = box.y + box.height / 2 + 3.5
        typeset.write(axes, 2, middle, name, 9, fontweight="bold")
        draw(axes, version, box)
        if version in found.loss:
            typeset.write(axes, width - 2, middle, f"{found.loss[version]:.2f}", 10, ha="right")
    return figure


def _median(sources: Sources, modality: str) -> Reconstruction:
    """Return the product that the other modalities help as much as half of the others."""
    return dict(masking.ranked(sources, modality))["median"]


@figure("mask_video", on_slides=True)
def draw_mask_video(sources: Sources, lang: Language) -> Figure:
    """Draw the median product."""
    return mask_video(_median(sources, "video"), sources.run.config.features, lang)


@drawn
def mask_video(found: Reconstruction, config: FeatureConfig, lang: Language = LANG) -> Figure:
    """Draw the frames of a clip, time from left to right; predictions as colours."""
    clip = tiles.load(found.product, "video", len(found.hidden_L))

    def draw(axes: Axes, version: str, box: Box) -> None:
        masking.draw_frames(axes, found, version, box, config, clip)

    return _strips(found, lang, draw)


@figure("mask_audio", on_slides=True)
def draw_mask_audio(sources: Sources, lang: Language) -> Figure:
    """Draw the median product."""
    return mask_audio(_median(sources, "audio"), lang)


@drawn
def mask_audio(found: Reconstruction, lang: Language = LANG) -> Figure:
    """Draw log-mel, time to the right, pitch up; masked time frames hatched or underlined."""

    def draw(axes: Axes, version: str, box: Box) -> None:
        mel_LF = found.guess_LF.get(version, found.truth_LF)
        state = {"truth": "as_is", "hidden": "hidden"}.get(version, "predicted")
        masking.draw_log_mel(axes, mel_LF, found.hidden_L, state, box)

    return _strips(found, lang, draw)


@figure("entity_context", on_slides=True)
def draw_entity_context(sources: Sources, lang: Language) -> Figure:
    """Draw the gains after fine-tuning."""
    _, after = masked_words.context_gains_of(sources)
    return masked_words.attribute_matrix({label("attribute_after", lang): after}, lang)


@figure("modality_gap", on_slides=True)
def draw_modality_gap(sources: Sources, lang: Language) -> Figure:
    """Draw the points of the run before and after training."""
    return modality_gap(space.points_of_stages(sources), lang)


@drawn
def modality_gap(stages: Mapping[str, space.Points], lang: Language = LANG) -> Figure:
    """Draw PCA of all points by stage; large markers are the means of the modalities."""
    figure = whole_place()
    panels = figure.subplots(1, len(stages), squeeze=False)[0]
    for axes, (stage, found) in zip(panels, stages.items(), strict=True):
        xy_P2, _ = space.principal_axes(found.unit_PD)
        for modality in found.means():
            at_N2, colour = xy_P2[found.modality_P == modality], MODALITY_COLOURS[modality]
            axes.scatter(*at_N2.T, s=points(3.5) ** 2, color=colour, alpha=0.6, linewidth=0)
            look = {"s": points(12) ** 2, "color": colour, "edgecolor": shade(1.0), "zorder": 4}
            axes.scatter(*at_N2.mean(0), linewidth=points(1.6), **look)
        gap = {"stage": label(stage, lang), "gap": space.modality_gap(found)}
        axes.set(xticks=[], yticks=[], title=label("sp_gap_is", lang, **gap), aspect="equal")
        axes.set(xlim=(-1.2, 1.2), ylim=(-1.0, 1.0))
        strip(axes)
    modality_legend(figure, lang)
    return figure
