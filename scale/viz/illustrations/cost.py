"""What a design costs against the number of tokens and of modalities (notebook 03)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scale.config import Config, ModelConfig
from scale.modalities import MODALITIES
from scale.studies.systems.cost import attention_flops, design_flops, layer_flops
from scale.studies.systems.model import find_size
from scale.studies.systems.named import SYSTEMS, System
from scale.viz.charts import series_styles
from scale.viz.theme import NEGATIVE, POSITIVE, drawn, new_figure, points, shade
from scale.viz.words import Language, label

SHOWN = ("uniter", "vilbert", "scale_itself", "clip")
"""One of each design, the dearest first."""
TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
MOST_MODALITIES = 8


@dataclass(frozen=True)
class SizedDesign:
    """A system that sees all five modalities, at the depth that gives it SCALE's parameters."""

    system: System
    config: ModelConfig
    depth: int
    """Of SCALE 0: its config says how many layers it has."""

    def flops(self, tokens: int) -> int:
        """FLOP of a forward pass of one product, `tokens` of each modality."""
        length = dict.fromkeys(MODALITIES, tokens)
        return design_flops(self.system, self.config, self.depth, length)


def sized_designs(config: Config, names: Sequence[str] = SHOWN) -> list[SizedDesign]:
    """Systems of as many parameters as SCALE with this config."""
    designs = []
    for name in names:
        system, sized, depth = SYSTEMS[name]().everywhere(), config, 0
        if name != "scale_itself":
            sized, depth = find_size(system, config)
        designs.append(SizedDesign(system, sized.model, depth))
    return designs


@drawn
def cost_by_length(
    designs: Sequence[SizedDesign],
    paper_tokens: float | None = None,
    count_tokens: int = 64,
    lang: Language = "en",
) -> Figure:
    """Left: GFLOP against tokens per modality. Right: one layer against the number of modalities.

    Args:
        paper_tokens: marked on the left, where given.
        count_tokens: tokens per modality on the right.
    """
    figure = new_figure(9.6, 3.9)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _by_length(left, designs, paper_tokens, lang)
    _by_count(right, designs[0].config, count_tokens, lang)
    return figure


def _by_length(
    axes: Axes, designs: Sequence[SizedDesign], paper_tokens: float | None, lang: Language
) -> None:
    names = [_name(design, lang) for design in designs]
    for design, name, style in zip(designs, names, series_styles(names), strict=True):
        giga = [design.flops(tokens) / 1e9 for tokens in TOKENS]
        axes.plot(TOKENS, giga, label=name, **style)
    axes.set(xscale="log", yscale="log", xlabel=label("cost_tokens", lang))
    axes.set(ylabel=label("cost_flop", lang), title=label("cost_length_title", lang))
    axes.set_xticks(TOKENS[::2], [str(tokens) for tokens in TOKENS[::2]])
    axes.minorticks_off()
    # Powers of ten would be mathematical text, which the figures' fonts do without.
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    if paper_tokens:
        # Ends below the legend.
        style = {"color": shade(0.5), "ls": ":", "lw": points(1.0), "zorder": 1}
        axes.axvline(paper_tokens, ymax=0.72, **style)
        style = {"fontsize": points(8), "color": shade(0.7), "ha": "left", "va": "bottom"}
        style |= {"transform": axes.get_xaxis_transform()}
        axes.text(1.08 * paper_tokens, 0.03, label("cost_paper", lang), **style)
    axes.legend(loc="upper left", fontsize=points(8), frameon=False, handlelength=3.2)


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
    axes.legend(loc="upper left", fontsize=points(8), frameon=False, handlelength=3.2)


def _name(design: SizedDesign, lang: Language) -> str:
    config = design.config
    if design.depth:
        return label("cost_layers", lang, name=design.system.name, n=design.depth)
    return label("cost_scale", lang, n=config.encoder_layers, jct=config.jct_layers)
