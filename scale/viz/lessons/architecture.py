"""The model drawn from its config, so that every shape in the picture is the model's own.

L tokens of a modality, D width, V vocabulary, F size of a vector.
"""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from scale.config import ModelConfig
from scale.modalities import MODALITIES, SPECS
from scale.viz.labels import Language, label
from scale.viz.style import MODALITY_COLOURS, drawn, new_figure, points, shade, tint

COLUMN, BOX = 2.0, 1.72
"""Width of a modality's column and of the boxes in it, in the picture's own units."""


@drawn
def architecture(
    config: ModelConfig, parameters: int, preset: str, lang: Language = "en"
) -> Figure:
    """Five encoders, their [CLS] features in contrast, the JCT, five heads (paper, figure 4).

    Args:
        config: sizes; every number in the picture is read from it.
        parameters: of the model, for the title.
    """
    figure = new_figure(10.2, 5.4)
    axes = figure.add_subplot()
    axes.set(xlim=(-0.1, COLUMN * len(MODALITIES) - 0.18), ylim=(-0.15, 6.35))
    axes.set_axis_off()
    for k, m in enumerate(MODALITIES):
        _column(axes, k * COLUMN, m, config, lang)
    tokens = sum(length_of(config, m) + 1 for m in MODALITIES)
    sizes = {"layers": config.jct_layers, "width": config.width}
    _bar(axes, 3.15, label("arch_contrast", lang), shade(0.06))
    _bar(axes, 2.0, label("arch_jct", lang, tokens=tokens, **sizes), shade(0.12))
    note = {"ha": "left", "va": "center", "fontsize": points(8), "color": shade(0.7)}
    axes.text(0, -0.05, label("arch_hidden", lang), **note)
    title = label("arch_title", lang, preset=preset, millions=parameters / 1e6)
    axes.set_title(title, loc="left")
    return figure


def length_of(config: ModelConfig, modality: str) -> int:
    """L: most tokens of a modality, without [CLS]."""
    return getattr(config, f"{modality}_length")


def _column(axes: Axes, x: float, modality: str, config: ModelConfig, lang: Language) -> None:
    """From the input of one modality down to its head; arrows end at the bars that all share."""
    spec, colour = SPECS[modality], MODALITY_COLOURS[modality]
    length, middle = length_of(config, modality), x + BOX / 2
    discrete = spec.kind == "discrete"
    size = config.vocab_size if discrete else getattr(config, f"{modality}_features")
    name = {"ha": "center", "fontweight": "bold", "color": colour, "fontsize": points(10)}
    axes.text(middle, 6.1, label(modality, lang), **name)
    entry = label("arch_pieces", lang, length=length)
    if not discrete:
        entry = label("arch_vectors", lang, length=length, size=size)
    _box(axes, x, 5.4, 0.5, entry, tint(colour, 0.12), colour)
    encoder = label("arch_encoder", lang, layers=config.encoder_layers, width=config.width)
    _box(axes, x, 4.15, 0.85, encoder, tint(colour, 0.3), colour)
    words, vectors = (label(k, lang, task=spec.task, size=size) for k in
                      ("arch_head_words", "arch_head_vectors"))  # fmt: skip
    _box(axes, x, 0.2, 0.85, words if discrete else vectors, tint(colour, 0.3), colour)
    between = label("arch_tokens", lang, length=length, width=config.width)
    style = {"ha": "center", "va": "center", "fontsize": points(7), "color": shade(0.7)}
    axes.text(middle, 3.93, between, **style, bbox={"fc": shade(0), "ec": "none", "pad": 0.5})
    for start, end, offset in ((5.4, 5.0, 0), (3.82, 3.7, -0.35), (2.0, 1.05, 0)):
        _arrow(axes, middle + offset, start, end, colour)
    _arrow(axes, middle + 0.6, 3.82, 2.55, colour)


def _bar(axes: Axes, y: float, text: str, colour: str) -> None:
    """A box across all columns."""
    _box(axes, 0, y, 0.55, text, colour, shade(0.6), COLUMN * (len(MODALITIES) - 1) + BOX, 9)


def _box(
    axes: Axes,
    x: float,
    y: float,
    height: float,
    text: str,
    face: str,
    edge: str,
    width: float = BOX,
    size: float = 8,
) -> None:
    style = {"facecolor": face, "edgecolor": edge, "linewidth": points(1.2)}
    shape = "round,pad=0,rounding_size=0.08"
    axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=shape, **style))
    axes.text(
        x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=points(size),
        linespacing=1.3,
    )  # fmt: skip


def _arrow(axes: Axes, x: float, start: float, end: float, colour: str) -> None:
    style = {"arrowstyle": "-|>", "mutation_scale": points(9), "linewidth": points(1.3)}
    axes.add_patch(FancyArrowPatch((x, start), (x, end), color=colour, **style, zorder=0.5))
