"""Single-stream, two-stream and two-tower models beside SCALE: schemes, masks, cost (notebook 03).

L tokens of a product, modality after modality; N image tokens. MM: reading modality (row), read
modality (column). Lengths of schemes are points of a page (viz/typeset.py); y grows downwards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from scale.config import Config, ModelConfig, base
from scale.data.media import fit_image, load_image
from scale.modalities import INDEX, MODALITIES
from scale.seeding import derived_seed
from scale.studies.systems.attention_reach import (
    AttentionReach,
    ReachMatrix,
    generator_reach,
    truncate_tokens,
)
from scale.studies.systems.cost import attention_flops, design_flops, layer_flops
from scale.studies.systems.fusion import LANGUAGE, PERCEPTION
from scale.studies.systems.generator import GeneratorConfig, ImageGenerator, PatchCodebook
from scale.studies.systems.model import build_system, find_size
from scale.studies.systems.named import SYSTEMS, System
from scale.viz import typeset
from scale.viz.charts import cell_text, colour_ticks, framed, series_styles
from scale.viz.registry import Sources, figure, most_complete, shared
from scale.viz.theme import (
    MODALITY_COLOURS,
    NEGATIVE,
    POSITIVE,
    drawn,
    new_figure,
    on_slide,
    points,
    shade,
    strip,
    tint,
)
from scale.viz.words import LANG, Language, label

COUNT = len(MODALITIES)
STEP, PANEL, GAP, MARGIN = 36.0, 190.0, 18.0, 16.0
"""Distance between modalities; width of a scheme; gap between schemes; margin of the page."""
LAYER, BETWEEN, TOP = 78.0, 40.0, 58.0
"""Height of a layer; gap between the two layers; top of the first loss."""
PILL = 20.0


@dataclass(frozen=True)
class SchemeLayer:
    """One of the two layers of a scheme."""

    key: str
    """Label of the boxes."""
    groups: tuple[tuple[str, ...], ...]
    """Groups of modalities that share a Transformer, a box each."""
    reads_MM: np.ndarray
    """True if the tokens of a modality (row) attend to those of another (column)."""


@dataclass(frozen=True)
class Scheme:
    """A design of the interaction between modalities."""

    key: str
    below: tuple[str, ...]
    """Labels of the lines with examples."""
    first: SchemeLayer
    second: SchemeLayer
    loss: str
    """Label of the loss above the last layer."""
    between: str = ""
    """Label of the loss between the two layers, if any."""


def schemes() -> tuple[Scheme, ...]:
    """Return single-stream, two-stream, two-tower and SCALE, as measured by `AttentionReach`."""
    together, sides = (MODALITIES,), (LANGUAGE, PERCEPTION)
    alone = tuple((m,) for m in MODALITIES)
    side_MM = _inside(sides)
    shared = SchemeLayer("stream_layer", together, _inside(together))
    cross = SchemeLayer("stream_cross", sides, ~side_MM | np.eye(COUNT, dtype=bool))
    own = SchemeLayer("stream_own", sides, side_MM)
    tower = SchemeLayer("stream_tower", alone, _inside(alone))
    encoder = SchemeLayer("stream_encoder", alone, _inside(alone))
    jct = SchemeLayer("stream_jct", together, _inside(together))
    like = "stream_single_like", "stream_single_more"
    masked = "stream_masked_match"
    return (
        Scheme("stream_single", like, shared, shared, masked),
        Scheme("stream_two", ("stream_two_like",), cross, own, masked),
        Scheme(
            "stream_towers", ("stream_towers_like", "stream_towers_more"), tower, tower,
            "stream_contrast",
        ),
        Scheme(
            "stream_scale", ("stream_scale_like", "stream_scale_more"), encoder, jct,
            "stream_masked", "stream_ten_contrast",
        ),
    )  # fmt: skip


@figure("streams")
@drawn
def streams(lang: Language = LANG) -> Figure:
    """Draw the four schemes: tokens at the bottom, two layers, the losses on top.

    A line in a layer means that the upper modality's tokens attend to the lower modality's.
    """
    found = schemes()
    width = 2 * MARGIN + len(found) * PANEL + (len(found) - 1) * GAP
    height = TOP + PILL + 2 * LAYER + 2 * BETWEEN + 56
    figure, axes = typeset.page(width, height)
    for k, scheme in enumerate(found):
        _draw_scheme(axes, MARGIN + k * (PANEL + GAP), scheme, lang)
    grey = {"color": shade(0.7)}
    typeset.write(axes, MARGIN, height - 10, label("stream_note", lang), 8, **grey)
    return figure


def _draw_scheme(axes: Axes, left: float, scheme: Scheme, lang: Language) -> None:
    typeset.write(axes, left, 18, label(scheme.key, lang), 12, fontweight="bold")
    examples = [label(key, lang) for key in scheme.below]
    typeset.write_lines(axes, left, 31, examples, 8, 11, color=shade(0.7))
    second = TOP + PILL + 0.5 * BETWEEN
    first = second + LAYER + BETWEEN
    tokens = first + LAYER + 0.5 * BETWEEN
    for top, layer in ((second, scheme.second), (first, scheme.first)):
        _draw_layer(axes, left, top, layer, lang)
    for k, modality in enumerate(MODALITIES):
        x, colour = left + (k + 0.5) * STEP + 5, MODALITY_COLOURS[modality]
        for start, end in ((tokens, first + LAYER), (first, second + LAYER), (second, TOP + PILL)):
            typeset.arrow(axes, (x, start), (x, end), shade(0.6), 0.9, 7, zorder=1)
        for place in (-9, -3, 3):
            typeset.box(axes, x + place, tokens, 6, 8, facecolor=colour, edgecolor=shade(0.0))
        style = {"ha": "center", "color": colour, "fontweight": "bold"}
        typeset.write(axes, x, tokens + 20, label(modality, lang), 8, **style)
    _pill(axes, left, TOP, label(scheme.loss, lang))
    if scheme.between:
        _pill(axes, left, first - 0.5 * (BETWEEN + PILL), label(scheme.between, lang))


def _draw_layer(axes: Axes, left: float, top: float, layer: SchemeLayer, lang: Language) -> None:
    """Draw the boxes of the groups and a line from each read modality to its readers."""
    for group in layer.groups:
        low, high = INDEX[group[0]], INDEX[group[-1]] + 1
        single = len(group) == 1
        colour = MODALITY_COLOURS[group[0]] if single else shade(0.55)
        look = {"facecolor": tint(colour, 0.10), "edgecolor": colour, "linewidth": points(1.0)}
        x, width = left + low * STEP + 7, (high - low) * STEP - 4
        typeset.rounded_box(axes, x, top, width, LAYER, **look)
        size = 7.5 if typeset.text_width(label(layer.key, lang), 7.5) <= width - 2 else 6.5
        style = {"ha": "center", "color": shade(0.85)}
        typeset.write(axes, x + width / 2, top + 12, label(layer.key, lang), size, **style)
    x_M = left + (np.arange(COUNT) + 0.5) * STEP + 5
    above, below = top + 24, top + LAYER - 8
    for row, column in zip(*np.nonzero(layer.reads_MM), strict=True):
        colour = MODALITY_COLOURS[MODALITIES[column]]
        ends = (x_M[column], x_M[row]), (below, above)
        axes.plot(*ends, color=colour, linewidth=points(1.1), zorder=2)
    for y in (above, below):
        for x, modality in zip(x_M, MODALITIES, strict=True):
            look = {"color": MODALITY_COLOURS[modality], "ms": points(5), "zorder": 3}
            axes.plot(x, y, "o", markeredgecolor=shade(0.0), **look)


def _inside(groups: tuple[tuple[str, ...], ...]) -> np.ndarray:
    """Return reads_MM of attention within groups."""
    of = {m: k for k, group in enumerate(groups) for m in group}
    group_M = np.array([of[m] for m in MODALITIES])
    return group_M[:, None] == group_M


def _pill(axes: Axes, left: float, top: float, text: str) -> None:
    look = {"facecolor": shade(0.0), "edgecolor": shade(0.75), "linewidth": points(1.0)}
    typeset.rounded_box(axes, left + 7, top, PANEL - 14, PILL, zorder=4, **look)
    style = {"ha": "center", "fontweight": "bold", "zorder": 5}
    typeset.write(axes, left + PANEL / 2, top + 13.5, text, 8.5, **style)


MASKS_A_ROW = 6
"""Masks per row of the figure."""
EDGE_STRIP = 0.045
"""Width of the coloured strips along a mask, as a share of its side."""


@drawn
def attention_masks(reaches: Sequence[AttentionReach], lang: Language = LANG) -> Figure:
    """Draw the attention masks of each model: one per kind of layer, then the whole model.

    Row i, column j has the colour of j's modality if output i changes with token j. The masks of a
    model stay on one row of the figure.
    """
    lines = _rows_of_models(reaches)
    figure = new_figure(1.8 * MASKS_A_ROW, 2.2 * len(lines) + 0.3, dense=True)
    panels = figure.subplots(len(lines), MASKS_A_ROW, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for line, row in zip(lines, panels, strict=True):
        place = 0
        for reach in line:
            masks = [*reach.layers.items(), ("whole", reach.whole)]
            for key, reads_LL in masks:
                axes = row[place]
                mask_panel(axes, reads_LL, reach.length, lang, named=place == 0)
                system = reach.system if key == masks[0][0] else ""
                title = f"{system}\n{label(f'reach_{key}', lang)}"
                axes.set_title(title, fontsize=points(8.5), loc="left")
                place += 1
    return framed(figure, "", label("reach_note", lang))


def mask_panel(
    axes: Axes, reads_LL: ReachMatrix, length: Mapping[str, int], lang: Language, named: bool = True
) -> None:
    """Draw a mask with strips of the modalities' colours above and to the left.

    Args:
        named: write the names of the modalities and of the axes.
    """
    names, sizes = list(length), np.array(list(length.values()))
    owner_L = np.repeat(np.arange(len(names)), sizes)
    colour_M3 = np.array([to_rgb(MODALITY_COLOURS[m]) for m in names])
    page_3 = np.array(to_rgb(shade(0.04)))
    image_LL3 = np.where(reads_LL[:, :, None], colour_M3[owner_L][None], page_3)
    count, edge = len(owner_L), np.r_[0, sizes.cumsum()]
    axes.set_axis_on()
    axes.imshow(image_LL3, extent=(0, count, count, 0), interpolation="nearest")
    for line in edge:
        axes.plot([line, line], [0, count], color=shade(0.0), linewidth=points(0.8))
        axes.plot([0, count], [line, line], color=shade(0.0), linewidth=points(0.8))
    wide = EDGE_STRIP * count
    for start, size, colour in zip(edge, sizes, colour_M3, strict=False):
        axes.add_patch(Rectangle((start, -1.4 * wide), size, wide, facecolor=colour))
        axes.add_patch(Rectangle((-1.4 * wide, start), wide, size, facecolor=colour))
    # The limits of imshow would cut off the strips.
    axes.set(xlim=(-1.5 * wide, count), ylim=(count, -1.5 * wide), xticks=[], yticks=[])
    strip(axes)
    if named:
        axes.set_yticks((edge[:-1] + edge[1:]) / 2, [label(m, lang) for m in names])
        axes.tick_params(labelsize=points(7.5), pad=points(1))
        colour_ticks(axes.get_yticklabels(), names, fontweight="bold")
        small = {"fontsize": points(7.5), "color": shade(0.7)}
        axes.set_ylabel(label("reach_reads", lang), **small)
        axes.set_xlabel(label("reach_read", lang), **small)


def _rows_of_models(reaches: Sequence[AttentionReach]) -> list[list[AttentionReach]]:
    """Return the models in order, as many per row of the figure as fit."""
    lines: list[list[AttentionReach]] = [[]]
    for reach in reaches:
        taken = sum(len(r.layers) + 1 for r in lines[-1])
        if lines[-1] and taken + len(reach.layers) + 1 > MASKS_A_ROW:
            lines.append([])
        lines[-1].append(reach)
    return lines


DESIGNS = ("uniter", "vilbert", "scale_itself", "clip")
"""One system of each design, the most expensive first."""
TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
MOST_MODALITIES = 8


@dataclass(frozen=True)
class SizedDesign:
    """A system of all five modalities, at the depth that matches SCALE's parameter count."""

    system: System
    config: ModelConfig
    depth: int
    """Number of layers; 0 for SCALE, whose config has it."""

    def flops(self, tokens: int) -> int:
        """Return the FLOP of a forward pass of one product with `tokens` of each modality."""
        length = dict.fromkeys(MODALITIES, tokens)
        return design_flops(self.system, self.config, self.depth, length)


def sized_designs(config: Config, names: Sequence[str] = DESIGNS) -> list[SizedDesign]:
    """Return systems with as many parameters as SCALE has with this config."""
    designs = []
    for name in names:
        system, sized, depth = SYSTEMS[name].everywhere(), config, 0
        if name != "scale_itself":
            sized, depth = find_size(system, config)
        designs.append(SizedDesign(system, sized.model, depth))
    return designs


@drawn
def cost_by_length(
    designs: Sequence[SizedDesign],
    paper_tokens: float | None = None,
    count_tokens: int = 64,
    lang: Language = LANG,
) -> Figure:
    """Draw GFLOP against tokens per modality, and of one layer against the number of modalities.

    Args:
        paper_tokens: length marked in the left panel, if given.
        count_tokens: tokens per modality in the right panel.
    """
    figure = new_figure(9.6, 3.9)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _by_length(left, designs, paper_tokens, lang)
    _by_count(right, designs[0].config, count_tokens, lang)
    return figure


def _by_length(
    axes: Axes, designs: Sequence[SizedDesign], paper_tokens: float | None, lang: Language
) -> None:
    names = [_design_name(design, lang) for design in designs]
    for design, name, style in zip(designs, names, series_styles(names), strict=True):
        giga = [design.flops(tokens) / 1e9 for tokens in TOKENS]
        axes.plot(TOKENS, giga, label=name, **style)
    axes.set(xscale="log", yscale="log", xlabel=label("cost_tokens", lang))
    axes.set(ylabel=label("cost_flop", lang), title=label("cost_length_title", lang))
    axes.set_xticks(TOKENS[::2], [str(tokens) for tokens in TOKENS[::2]])
    axes.minorticks_off()
    # The default labels, powers of ten, need mathematical text.
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    if paper_tokens:
        # Ends below the legend.
        style = {"color": shade(0.5), "ls": ":", "lw": points(1.0), "zorder": 1}
        axes.axvline(paper_tokens, ymax=0.72, **style)
        style = {"fontsize": points(8), "color": shade(0.7), "ha": "left", "va": "bottom"}
        style |= {"transform": axes.get_xaxis_transform()}
        axes.text(1.08 * paper_tokens, 0.03, label("cost_paper", lang), **style)
    axes.legend(loc="upper left", handlelength=3.2)


def _by_count(axes: Axes, config: ModelConfig, tokens: int, lang: Language) -> None:
    count_K = np.arange(1, MOST_MODALITIES + 1)
    width, ratio = config.width, config.mlp_ratio
    single = layer_flops(tokens, width, ratio)
    attention_K = np.array([attention_flops(k * tokens, width) for k in count_K])
    whole_K = np.array([layer_flops(k * tokens, width, ratio) for k in count_K])
    curves = (
        ("cost_one_attention", attention_K / attention_K[0], NEGATIVE, "--"),
        ("cost_one_whole", whole_K / single, NEGATIVE, "-"),
        ("cost_apart", count_K, POSITIVE, "-"),
    )
    for key, cost_K, colour, dashes in curves:
        style = {"color": colour, "ls": dashes, "marker": "o", "ms": points(3.5)}
        axes.plot(count_K, cost_K, label=label(key, lang), **style)
    axes.set(xlabel=label("cost_modalities", lang), ylabel=label("cost_relative", lang))
    axes.set_title(label("cost_count_title", lang, n=tokens))
    axes.legend(loc="upper left", handlelength=3.2)


def _design_name(design: SizedDesign, lang: Language) -> str:
    config = design.config
    if design.depth:
        return label("cost_layers", lang, name=design.system.name, n=design.depth)
    return label("cost_scale", lang, n=config.encoder_layers, jct=config.jct_layers)


@drawn
def picture_words(
    pixels_HWC: np.ndarray, codebook: PatchCodebook, reads_LL: ReachMatrix, lang: Language = LANG
) -> Figure:
    """Draw a picture, its patches' code numbers, its reconstruction from codes, and the mask.

    Args:
        pixels_HWC: square, uint8.
        reads_LL: mask measured by `reads_of_generator`, title first, then the picture's codes.
    """
    ids_N = codebook.encode(pixels_HWC)
    side = round(len(ids_N) ** 0.5)
    rebuilt_HWC = codebook.decode(ids_N)
    figure = new_figure(10.4, 2.95)
    # On a slide the numbers need the room of the mask.
    original, words, rebuilt, *last = figure.subplots(1, 3 if on_slide() else 4)
    _show(original, pixels_HWC, label("words_original", lang, side=side))
    for line in range(1, side):
        place = line * codebook.patch - 0.5
        for draw in (original.axhline, original.axvline):
            draw(place, color="#FFFFFF", linewidth=points(0.5), alpha=0.7)
    blocks = rebuilt_HWC.reshape(side, codebook.patch, side, codebook.patch, 3)
    mean_NN3 = blocks.mean((1, 3)) / 255
    _show(words, mean_NN3, label("words_ids", lang))
    for (row, column), number in np.ndenumerate(ids_N.reshape(side, side)):
        # The centres of imshow are at whole numbers.
        fill = tuple(mean_NN3[row, column])
        cell_text(words, row - 0.5, column - 0.5, str(number), fill, 6)
    _show(rebuilt, rebuilt_HWC, label("words_rebuilt", lang))
    for mask in last:
        count = len(reads_LL) - len(ids_N)
        mask_panel(mask, reads_LL, {"text": count, "image": len(ids_N)}, lang, named=False)
        mask.set_title(label("words_reads", lang), fontsize=points(9))
        names = (
            ("text", "words_text", count / 2),
            ("image", "words_codes", count + len(ids_N) / 2),
        )
        mask.set_yticks([place for *_, place in names], [label(key, lang) for _, key, _ in names])
        mask.tick_params(labelsize=points(8), pad=points(1))
        colour_ticks(mask.get_yticklabels(), [m for m, *_ in names], fontweight="bold")
        mask.set_xlabel(label("reach_read", lang), fontsize=points(7.5), color=shade(0.7))
    return figure


def _show(axes: Axes, image: np.ndarray, title: str) -> None:
    axes.imshow(image, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    strip(axes)
    axes.set_title(title, fontsize=points(9))


SHOWN_SYSTEMS = ("uniter", "vilbert", "clip", "scale_itself")
MASK_TOKENS = 10
"""Maximum number of tokens of a modality in a mask, so that single tokens are visible."""
PICTURE_SIDE, FITTED_PICTURES, CODES, TITLE_LENGTH = 64, 150, 128, 12
"""Pixels per side of a picture; pictures in the codebook's fit; codes; tokens of a title."""


@figure("attention_masks")
def _draw_masks(sources: Sources, lang: Language) -> Figure:
    """Measure masks of untrained models: a mask depends on the design, not on training."""
    return attention_masks(reaches_of(sources), lang)


@shared
def reaches_of(sources: Sources) -> list[AttentionReach]:
    batch = sources.test.collate([most_complete(sources.test)])
    product = truncate_tokens(batch, 0, MASK_TOKENS)
    reaches = []
    for name in SHOWN_SYSTEMS:
        model = build_system(SYSTEMS[name].everywhere(), sources.run.config, sources.seed)
        reaches.append(AttentionReach.of(model, product))
    return reaches


@figure("picture_words")
def _draw_words(sources: Sources, lang: Language) -> Figure:
    train = [p for p in sources.catalogue.split("train").products if p.image is not None]
    pictures = [fit_image(load_image(p.image), PICTURE_SIDE) for p in train[:FITTED_PICTURES]]
    codebook = PatchCodebook.fit(pictures, CODES, seed=sources.seed)
    shown = sources.test.products[most_complete(sources.test)]
    pixels_HWC = fit_image(load_image(shown.image), PICTURE_SIDE)
    with torch.random.fork_rng():
        torch.manual_seed(derived_seed(sources.seed))
        model = ImageGenerator(
            GeneratorConfig(vocab_size=32, codes=CODES, text_length=TITLE_LENGTH)
        )
    text_1T = torch.arange(1, TITLE_LENGTH + 1)[None]
    image_1N = torch.from_numpy(codebook.encode(pixels_HWC))[None]
    return picture_words(pixels_HWC, codebook, generator_reach(model, text_1T, image_1N), lang)


@figure("cost_by_length")
def _draw_cost(lang: Language) -> Figure:
    config = base()
    lengths = [config.model.length(m) for m in MODALITIES]
    return cost_by_length(sized_designs(config), sum(lengths) / len(lengths), lang=lang)
