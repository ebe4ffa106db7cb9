"""The model drawn from its config, so that every shape in the picture is the model's own.

L tokens of a modality, D width, V vocabulary, F size of a vector. All lengths are points of a page
(viz/typeset.py); y grows downwards.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from scale.config import ModelConfig
from scale.modalities import MODALITIES, SPECS
from scale.viz import typeset
from scale.viz.theme import MODALITY_COLOURS, drawn, points, shade, tint
from scale.viz.tiles import Box
from scale.viz.words import Language, label

WIDTH, HEIGHT, MARGIN = 740.0, 470.0, 14.0
COLUMN, STEP = 108.0, 115.0
"""Width of a modality's boxes, and from one column to the next."""
RIGHT = 596.0
"""Where what all modalities share begins."""
NAME, INPUT, ENCODER, TOKENS, BUS, JCT, HEAD = 58.0, 68.0, 128.0, 214.0, 248.0, 304.0, 386.0
"""Tops of the rows, from the inputs to the heads."""
SQUARE, SQUARES = 8.0, 10
"""Side of a token's square, and how many are drawn."""


@drawn
def architecture(
    config: ModelConfig, parameters: int, preset: str, lang: Language = "en"
) -> Figure:
    """Five encoders, their [CLS] features in contrast, the JCT, five heads (paper, figure 4).

    Args:
        config: sizes; every number in the picture is read from it.
        parameters: of the model, for the title.
        preset: name of the model, for the title.
    """
    figure, axes = typeset.page(WIDTH, HEIGHT)
    title = label("arch_title", lang, preset=preset, millions=parameters / 1e6)
    typeset.write(axes, MARGIN, 26, title, 14, fontweight="bold")
    for k, m in enumerate(MODALITIES):
        _column(axes, MARGIN + k * STEP, k, m, config, lang)
    _contrast(axes, Box(RIGHT, INPUT, WIDTH - MARGIN - RIGHT, BUS + 42 - INPUT), config, lang)
    tokens = sum(token_count(config, m) for m in MODALITIES)
    bar = Box(MARGIN, JCT, STEP * (len(MODALITIES) - 1) + COLUMN, 52)
    _box(axes, bar, shade(0.1), shade(0.6))
    sizes = {"tokens": tokens, "layers": config.jct_layers, "width": config.width}
    _lines(axes, bar, [label("arch_jct", lang), label("arch_jct_sizes", lang, **sizes)], 11.5)
    losses = Box(RIGHT, HEAD, WIDTH - MARGIN - RIGHT, 60)
    _box(axes, losses, shade(0.04), shade(0.6))
    lines = label("arch_hidden", lang).split("\n")
    _lines(axes, losses, lines)
    _arrow(axes, (RIGHT - 13, HEAD + 30), (RIGHT - 2, HEAD + 30), shade(0.6))
    typeset.write(axes, MARGIN, HEIGHT - 9, label("arch_note", lang), 9.5, color=shade(0.7))
    return figure


def token_count(config: ModelConfig, modality: str) -> int:
    """L, most tokens of a modality in the JCT, [CLS] counted."""
    # The lengths of discrete modalities count their [CLS], those of vectors do not.
    return config.length(modality) + (SPECS[modality].kind == "continuous")


def _column(axes: Axes, x: float, k: int, m: str, config: ModelConfig, lang: Language) -> None:
    """From the input of one modality down to its head."""
    spec, colour, middle = SPECS[m], MODALITY_COLOURS[m], x + COLUMN / 2
    discrete = spec.kind == "discrete"
    size = config.vocab_size if discrete else config.feature_size(m)
    style = {"ha": "center", "color": colour, "fontweight": "bold"}
    typeset.write(axes, middle, NAME, label(m, lang), 14, **style)
    source = Box(x, INPUT, COLUMN, 40)
    entry = "arch_pieces" if discrete else "arch_vectors"
    _box(axes, source, tint(colour, 0.12), colour)
    _lines(axes, source, label(entry, lang, length=config.length(m), size=size).split("\n"))
    encoder = Box(x, ENCODER, COLUMN, 66)
    _box(axes, encoder, tint(colour, 0.3), colour)
    sizes = {"layers": config.encoder_layers, "width": config.width}
    _lines(axes, encoder, label("arch_encoder", lang, **sizes).split("\n"))
    first = _tokens(axes, middle, colour)
    shape = label("arch_tokens", lang, length=token_count(config, m), width=config.width)
    typeset.write(axes, middle + 4, TOKENS + 23, shape, 10, ha="center", color=shade(0.85))
    head = Box(x, HEAD, COLUMN, 60)
    _box(axes, head, tint(colour, 0.3), colour)
    kind = "arch_head_words" if discrete else "arch_head_vectors"
    _lines(axes, head, label(kind, lang, task=spec.task, size=size).split("\n"))
    y = BUS + 7 * k
    axes.plot([first, first, RIGHT - 6], [TOKENS + SQUARE, y, y], color=colour, lw=points(1.5))
    _arrow(axes, (RIGHT - 13, y), (RIGHT - 1, y), colour)
    for start, end in ((INPUT + 40, ENCODER), (ENCODER + 66, TOKENS), (JCT + 52, HEAD)):
        _arrow(axes, (middle, start + 2), (middle, end - 1), colour)
    # The page's colour around it lets the line to the JCT cross the others as a bridge.
    for edge, width in ((shade(0.0), 5.0), (colour, 1.5)):
        axes.plot([middle] * 2, [TOKENS + 28, JCT - 8], color=edge, lw=points(width))
    _arrow(axes, (middle, JCT - 12), (middle, JCT - 1), colour)


def _tokens(axes: Axes, middle: float, colour: str) -> float:
    """A row of squares, [CLS] first and dark; returns the middle of [CLS]."""
    left = middle - SQUARES * (SQUARE + 2) / 2
    for place in range(SQUARES):
        face = colour if place == 0 else tint(colour, 0.4)
        corner = left + place * (SQUARE + 2), TOKENS
        look = {"facecolor": face, "edgecolor": colour}
        typeset.box(axes, *corner, SQUARE, SQUARE, **look)
    return left + SQUARE / 2


def _contrast(axes: Axes, box: Box, config: ModelConfig, lang: Language) -> None:
    """The features' scores as a small matrix: own weights coloured, weights of pairs framed."""
    _box(axes, box, shade(0.04), shade(0.6))
    count = len(MODALITIES)
    features = label("arch_features", lang, count=count, width=config.width)
    _line(axes, box, box.y + 20, features, 10.5, bold=True)
    side = 17.0
    left, top = box.x + (box.width - count * side) / 2, box.y + 34
    for row, column in ((r, c) for r in range(count) for c in range(count)):
        face = MODALITY_COLOURS[MODALITIES[row]] if row == column else shade(0.1)
        if column > row:
            face = shade(0.4)
        corner = left + column * side, top + row * side
        typeset.box(axes, *corner, side, side, facecolor=face, edgecolor=shade(0.0))
    _line(axes, box, top + count * side + 18, label("arch_scores", lang), 10.5, bold=True)
    for number, line in enumerate(label("arch_contrast", lang).split("\n")):
        _line(axes, box, top + count * side + 36 + 14 * number, line, 10)


def _line(axes: Axes, box: Box, y: float, text: str, size: float, bold: bool = False) -> None:
    weight = "bold" if bold else "normal"
    typeset.write(axes, box.x + box.width / 2, y, text, size, ha="center", fontweight=weight)


def _lines(axes: Axes, box: Box, lines: Sequence[str], size: float = 10.5) -> None:
    """Lines in the middle of a box, the first one bold."""
    step = 1.35 * size
    top = box.y + box.height / 2 - step * len(lines) / 2 + size
    for number, line in enumerate(lines):
        _line(axes, box, top + step * number, line, size, bold=number == 0)


def _box(axes: Axes, box: Box, face: str, edge: str) -> None:
    style = {"facecolor": face, "edgecolor": edge, "linewidth": points(1.2)}
    shape = FancyBboxPatch(
        (box.x, box.y), box.width, box.height, boxstyle="round,pad=0,rounding_size=5", **style
    )
    axes.add_patch(shape)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    style = {"arrowstyle": "-|>", "color": colour, "linewidth": points(1.5)}
    style |= {"mutation_scale": points(9), "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=style, zorder=3)
