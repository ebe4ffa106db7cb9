"""How many products are complete as modalities go missing, and what pairs are left (notebook 11).

N products, M modalities (five).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from scale.config import FeatureConfig
from scale.data.dataset import ProductDataset
from scale.data.normaliser import Normaliser
from scale.data.product import Product
from scale.modalities import MODALITIES
from scale.studies.noise import apply_noise, missing_at_random
from scale.viz.charts import framed
from scale.viz.theme import MODALITY_COLOURS, NEGATIVE, POSITIVE, drawn, new_figure, points, shade
from scale.viz.words import Language, label

Bools = NDArray[np.bool_]

RATES = (0.1, 0.3, 0.5)
"""Of the grids of squares."""
CROWD, SEED = 24, 28
"""Made-up products in a grid; a draw that lies near its expectation at all three rates."""
CURVES = (
    ("share_modality", 1, None, ":"),
    ("share_pair", 2, POSITIVE, "-"),
    ("share_product", len(MODALITIES), NEGATIVE, "--"),
)
"""Label, exponent of 1 - r, colour (None: grey) and dashes."""


def crowd_presence(rate: float, products: int = CROWD, seed: int = SEED) -> Bools:
    """present_NM of made-up products that lack each modality with chance `rate`."""
    names = tuple(Product(id=f"{row}") for row in range(products))
    content_NM = np.arange(products)[:, None] * np.ones(len(MODALITIES), np.int64)
    crowd = ProductDataset(names, FeatureConfig(), None, Normaliser({}, {}), {}, content_NM)
    return apply_noise(crowd, missing_at_random(rate), seed).dataset.present_NM


def shares_left(present_NM: Bools, after_NM: Bools) -> tuple[float, float]:
    """Share of the complete products, and of the pairs of present modalities, that is left."""

    def counted(here_NM: Bools) -> tuple[int, int]:
        count_N = here_NM.sum(1)
        return int((count_N == here_NM.shape[1]).sum()), int((count_N * (count_N - 1) // 2).sum())

    return tuple(b / a for a, b in zip(counted(present_NM), counted(after_NM), strict=True))


@drawn
def complete_share(
    measured: Mapping[float, tuple[float, float]],
    lang: Language = "en",
    rates: Sequence[float] = RATES,
) -> Figure:
    """Left: made-up products at three rates. Right: what is left of modalities, pairs, products.

    Args:
        measured: by rate, `shares_left` of a catalogue: drawn as dots beside the curves.
        rates: of the grids.
    """
    figure = new_figure(9.4, 3.9)
    *grids, curves = figure.subplots(1, len(rates) + 1, width_ratios=[1.0] * len(rates) + [3.0])
    for axes, rate in zip(grids, rates, strict=True):
        _grid(axes, rate, lang)
    rate_T = np.linspace(0, 0.8, 81)
    for key, power, colour, dashes in CURVES:
        style = {"color": colour or shade(0.55), "ls": dashes, "label": label(key, lang)}
        curves.plot(rate_T, (1 - rate_T) ** power, **style)
    style = {"ls": "none", "ms": points(5), "mfc": shade(0.0)}
    for place, marker, colour in ((1, "o", POSITIVE), (0, "s", NEGATIVE)):
        value = [shares[place] for shares in measured.values()]
        curves.plot(list(measured), value, marker=marker, color=colour, **style)
    name = label("share_measured", lang)
    curves.plot([], [], marker="o", color=shade(0.6), label=name, **style)
    curves.set(xlabel=label("share_rate", lang), ylabel=label("share_axis", lang), ylim=(0, 1.4))
    curves.set_yticks(np.linspace(0, 1, 6))
    curves.set_title(label("share_curves", lang))
    for axis in (curves.xaxis, curves.yaxis):
        axis.set_major_formatter(lambda x, _: f"{x:.0%}")
    curves.legend(loc="upper right")
    return framed(figure, "", label("share_note", lang), [])


def _grid(axes: Axes, rate: float, lang: Language) -> None:
    """A row a product, a column a modality; complete products are framed."""
    present_NM = crowd_presence(rate)
    for row, present_M in enumerate(present_NM):
        for column, m in enumerate(MODALITIES):
            colour = MODALITY_COLOURS[m] if present_M[column] else shade(0.07)
            box = (column + 0.08, row + 0.1)
            axes.add_patch(Rectangle(box, 0.84, 0.8, facecolor=colour, edgecolor="none"))
        if present_M.all():
            frame = {"facecolor": "none", "edgecolor": shade(1.0), "linewidth": points(1.3)}
            axes.add_patch(Rectangle((-0.12, row - 0.02), len(MODALITIES) + 0.24, 1.04, **frame))
    complete = int(present_NM.all(1).sum())
    title = label("share_grid", lang, rate=rate, complete=complete, all=len(present_NM))
    axes.set_title(title, fontsize=points(8))
    axes.set(xlim=(-0.3, len(MODALITIES) + 0.3), ylim=(len(present_NM) + 0.2, -0.2))
    axes.set_axis_off()
