"""Which products lack what, and whether that is chance (notebook 02).

N products, M modalities (five), K categories, R shufflings.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from scale.modalities import MODALITIES
from scale.viz.combinations import dot_matrix
from scale.viz.theme import (
    MODALITY_COLOURS,
    drawn,
    new_figure,
    points,
    sequential,
    shade,
    text_on,
    tint,
)
from scale.viz.words import Language, label

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


def presence_by_category(
    present_NM: Bools, category_N: Sequence[str]
) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """Categories (largest first, then by name), their sizes_K and counts_KM of what is there."""
    sizes = sorted(Counter(category_N).items(), key=lambda item: (-item[1], item[0]))
    names = [name for name, _ in sizes]
    member_KN = np.array([[c == name for c in category_N] for name in names])
    return names, np.array([n for _, n in sizes]), member_KN.astype(np.int64) @ present_NM


def chi_square(counts_KM: NDArray[np.int64], sizes_K: NDArray[np.int64]) -> Floats:
    """chi2_M: how far the presence of each modality is from "the same share in every category".

    Of n_k products of a category, p n_k are expected to have a modality that a share p of all
    products has. chi2 = sum over k of (c_k - p n_k)^2 / (p n_k (1 - p)), which is the sum of
    (observed - expected)^2 / expected over the table of 2 K cells. 0 where all or none have it.
    """
    share_M = counts_KM.sum(axis=0) / sizes_K.sum()
    apart_KM = counts_KM - sizes_K[:, None] * share_M
    spread_KM = sizes_K[:, None] * np.maximum(share_M * (1 - share_M), 1e-300)
    return (apart_KM**2 / spread_KM).sum(axis=0)


def shuffled(present_NM: Bools, rng: np.random.Generator) -> Bools:
    """Each column dealt out anew over the products: missing completely at random.

    How many products have each modality stays the same; which ones, and with what, is chance.
    """
    return rng.permuted(present_NM, axis=0)


def shuffled_within(
    present_NM: Bools, category_N: Sequence[str], rng: np.random.Generator
) -> Bools:
    """Each column dealt out anew inside each category: missing at random, given the category."""
    result_NM, names_N = present_NM.copy(), np.asarray(category_N)
    for name in np.unique(names_N):
        rows = np.flatnonzero(names_N == name)
        result_NM[rows] = rng.permuted(present_NM[rows], axis=0)
    return result_NM


def chance_chi_square(
    present_NM: Bools, category_N: Sequence[str], shufflings: int = 1000, seed: int = 0
) -> Floats:
    """chi2_RM of R shufflings: the measure where presence has nothing to do with category."""
    names, sizes_K, _ = presence_by_category(present_NM, category_N)
    member_KN = np.array([[c == name for c in category_N] for name in names]).astype(np.int64)
    rng = np.random.default_rng(seed)
    found = (member_KN @ shuffled(present_NM, rng) for _ in range(shufflings))
    return np.array([chi_square(counts_KM, sizes_K) for counts_KM in found])


@drawn
def presence_maps(
    present_NM: Bools, category_N: Sequence[str], lang: Language = "en", seed: int = 0
) -> Figure:
    """Share of each category's products that have each modality; beside it the same, shuffled.

    Rows: categories with their sizes, largest first. Only differences that the left map has and
    the right one lacks are more than chance.
    """
    random_NM = shuffled(present_NM, np.random.default_rng(seed))
    names, sizes_K, _ = presence_by_category(present_NM, category_N)
    figure = new_figure(8.2, 1.2 + 0.165 * len(names))
    maps = figure.subplots(1, 2, sharey=True)
    for axes, has_NM, title in zip(
        maps, (present_NM, random_NM), ("presence_real", "presence_shuffled"), strict=True
    ):
        counts_KM = presence_by_category(has_NM, category_N)[2]
        _share_map(axes, counts_KM / sizes_K[:, None], lang)
        axes.set_title(label(title, lang), pad=points(18))
    rows = [f"{name} ({n})" for name, n in zip(names, sizes_K, strict=True)]
    maps[0].set_yticks(range(len(names)), rows, fontsize=points(7.5))
    note = label("presence_note", lang)
    figure.supxlabel(note, fontsize=points(8), color=shade(0.7))
    return figure


def _share_map(axes: Axes, share_KM: Floats, lang: Language) -> None:
    colours = sequential()
    axes.imshow(share_KM, cmap=colours, vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(*share_KM.shape):
        share = share_KM[row, column]
        style = {"ha": "center", "va": "center", "color": text_on(colours(share)[:3])}
        axes.text(column, row, f"{100 * share:.0f}", fontsize=points(7), **style)
    axes.set_xticks(range(len(MODALITIES)), [label(m, lang) for m in MODALITIES])
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


@drawn
def independence_picture(real_M: Floats, chance_RM: Floats, lang: Language = "en") -> Figure:
    """A panel a modality: chi-square of the shufflings (bars) and of the real catalogue (line).

    p = (1 + shufflings that reach the real value) / (1 + R), the chance of such a catalogue if
    presence had nothing to do with the category.
    """
    figure = new_figure(10.4, 2.7)
    panels = figure.subplots(1, len(MODALITIES), sharey=True)
    for axes, modality, real, chance_R in zip(panels, MODALITIES, real_M, chance_RM.T, strict=True):
        most = 1.12 * max(real, chance_R.max())
        bins = np.linspace(0, most, 36)
        axes.hist(chance_R, bins=bins, color=shade(0.28))
        axes.axvline(real, color=MODALITY_COLOURS[modality], lw=points(2.2))
        p = (1 + (chance_R >= real).sum()) / (1 + len(chance_R))
        value = f"p = {p:.2f}" if p >= 0.01 else f"p ≤ {p:.3f}"
        axes.set_title(f"{label(modality, lang)}: {value}", color=MODALITY_COLOURS[modality])
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.set_yticks([])
        axes.set_xlim(0, most)
        axes.grid(visible=False)
    panels[0].set_ylabel(label("shufflings", lang))
    figure.supxlabel(label("independence_note", lang), fontsize=points(8.5))
    return figure


@drawn
def expected_combinations(present_NM: Bools, lang: Language = "en", most: int = 10) -> Figure:
    """The most frequent combinations beside what independence would give.

    Expected: N times the product over modalities of p_m (it is there) or 1 - p_m (it is not).
    """
    counts = Counter(map(tuple, present_NM.tolist())).most_common(most)
    share_M = present_NM.mean(axis=0)
    figure = new_figure(7.6, 3.9)
    bars, dots = figure.subplots(2, 1, sharex=True, height_ratios=(1.7, 1))
    expected = [
        len(present_NM) * np.where(has_M, share_M, 1 - share_M).prod() for has_M, _ in counts
    ]
    for shift, values, colour, key in (
        (-0.2, [n for _, n in counts], shade(0.72), "combinations_real"),
        (0.2, expected, tint(MODALITY_COLOURS["text"], 0.55), "combinations_chance"),
    ):
        places = np.arange(len(counts)) + shift
        found = bars.bar(places, values, width=0.38, color=colour, label=label(key, lang))
        bars.bar_label(found, [f"{v:.0f}" for v in values], fontsize=points(7.5), padding=1)
    bars.legend(frameon=False, loc="upper right")
    bars.set_ylabel(label("products", lang))
    bars.tick_params(axis="x", length=0, labelbottom=False)
    sets = [
        tuple(m for m, has in zip(MODALITIES, has_M, strict=True) if has) for has_M, _ in counts
    ]
    dot_matrix(dots, sets, lang)
    dots.set_xlim(-0.6, len(counts) - 0.4)
    return figure
