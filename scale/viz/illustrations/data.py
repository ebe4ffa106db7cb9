"""Data sets by modality, long tails of categories, and missing modalities (notebook 02).

K categories (largest first, n_k products in the k-th), M modalities (five), N products, R
permutations. Numbers of data sets carry the page they were read on; None is drawn as "not stated".
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import ArrayLike, NDArray

from scale.data.catalogue import Catalogue
from scale.modalities import MODALITIES
from scale.viz import typeset
from scale.viz.catalogue import dot_matrix
from scale.viz.charts import heatmap, note_below
from scale.viz.embeddings import product_vectors
from scale.viz.registry import Sources, figure
from scale.viz.theme import (
    ACCENTS,
    MODALITY_COLOURS,
    POSITIVE,
    drawn,
    new_figure,
    on_slide,
    place,
    points,
    sequential,
    shade,
    strip,
    tint,
)
from scale.viz.words import LANG, Language, label


@dataclass(frozen=True)
class DataSet:
    """Facts about a data set, as stated by its authors or a survey."""

    name: str
    year: int | None
    """Year of the paper."""
    instances: int | None
    """Number of instances; None if not stated."""
    instance: str
    """Unit of an instance; it differs between data sets."""
    categories: int | None
    """Number of categories; None if not stated."""
    groups: str
    """Kind of the categories."""
    modalities: tuple[str, ...]
    paper: str
    sources: tuple[str, ...]
    """Pages on which the numbers were read (November 2026)."""
    kind: str
    """A key of KINDS."""
    note: str = ""
    """Context of the numbers."""
    over: bool = False
    """Whether `categories` is a lower bound (the abstract states "over 6,000")."""


NOT_STATED = "not stated"
KINDS = ("audio_text", "video_text", "image_text", "more", "commerce")
"""Kinds of data sets in the order of the paper's section 2, by modalities; then those of products.
Labels: `kind_<key>`."""
_TABLE = ("M5Product, arXiv 2109.04275v5, table 1 and section 2",)

DATA_SETS: tuple[DataSet, ...] = (
    DataSet(
        "Spoken SQuAD", 2018, 37_111, "spoken texts with questions", None, "", ("text", "audio"),
        "Li et al., ISCA 2018", _TABLE, "audio_text", "Texts read aloud; listening comprehension.",
    ),
    DataSet(
        "HowTo100M", 2019, 1_220_000, "videos", 12, "categories", ("text", "video"),
        "Miech et al., ICCV 2019", _TABLE, "video_text", "Instructional videos with narration.",
    ),
    DataSet(
        "CC 12M", 2021, 12_423_374, "picture and text", None, "", ("text", "image"),
        "Changpinyo et al., CVPR 2021", _TABLE, "image_text",
        "Pictures of web pages with their alternative texts.",
    ),
    DataSet(
        "XMedia", 2017, 12_000, "single media files", 20, "categories",
        ("text", "image", "video", "audio"),
        "Peng et al., an overview of cross-media retrieval (arXiv 1704.02223)",
        ("http://39.108.48.32/mipl/XMediaNet/x.html", "https://arxiv.org/abs/1704.02223"), "more",
        "5,000 texts, 5,000 images, 500 videos, 1,000 audio clips, 500 3D models. A file belongs "
        "to a category, not to an item: no item has two modalities.",
    ),
    DataSet(
        "CMU-MOSEI", 2018, 23_453, "segments of talks", 250, "topics", ("text", "video", "audio"),
        "Zadeh et al., ACL 2018 (P18-1208)",
        (
            "https://study.space/p/Multimodal_Language_Analysis_in_the_Wild%3A_CMU-MOSEI_Dataset_"
            "and_Interpretable_Dynamic_Fusion_Graph",
            "https://github.com/CMU-MultiComp-Lab/CMU-MultimodalSDK",
        ),
        "more", "1,000 speakers in front of a camera: sentiment, not products.",
    ),
    DataSet(
        "Dress Retrieval", 2017, 20_200, "pictures of clothes", 50, "categories", ("text", "image"),
        "Corbière et al., ICCV workshops 2017 (arXiv 1709.09426)",
        (*_TABLE, "https://www.arxiv-vanity.com/papers/1709.09426/"), "commerce",
        "Pictures with descriptions from shop catalogues. The sizes are those that the paper on "
        "M5Product states.",
    ),
    DataSet(
        "RPC checkout", 2019, 83_739, "pictures", 200, "products", ("image",),
        "Wei et al., RPC (arXiv 1901.07249)",
        (
            "https://github.com/RPC-Dataset/RPC-Dataset.github.io/blob/master/markdown_index.md",
            "https://paperium.net/article/en/6754/rpc-a-large-scale-retail-product-checkout-dataset",
        ),
        "commerce", "53,739 of one product each, 30,000 of a filled checkout counter.",
    ),
    DataSet(
        "Product1M", 2021, 1_182_083, "picture and title", 458, "categories", ("text", "image"),
        "Zhan et al., ICCV 2021 (arXiv 2107.14572)",
        (
            "Wang et al., Large-scale Multi-Modal Pre-trained Models: A Comprehensive Survey, 3.3",
            "https://ar5iv.labs.arxiv.org/html/2107.14572",
        ),
        "commerce", "Cosmetics only.",
    ),
    DataSet(
        "MEP-3M", 2021, 3_012_959, "products", 599, "categories", ("text", "image"),
        "Chen et al., 2021", _TABLE, "commerce", "Pictures and titles of an online shop.",
    ),
    DataSet(
        "M5Product", 2022, 6_313_067, "products", 6_000, "categories", MODALITIES,
        "Dong et al., CVPR 2022 (arXiv 2109.04275)",
        (
            "https://xiaodongsuper.github.io/M5Product_dataset/documentation.html",
            "https://arxiv.org/abs/2109.04275",
        ),
        "commerce",
        "The audio is cut out of the video, so it is missing with it; many products lack "
        "modalities.",
        over=True,
    ),
)  # fmt: skip
"""Data sets by kind, then by year."""


def shop_facts(catalogue: Catalogue) -> DataSet:
    """Return the facts of a catalogue; `modalities` are those of at least one product."""
    present_NM = catalogue.present_NM()
    categories = {p.category for p in catalogue if p.category is not None}
    name = str(catalogue.info.get("name", catalogue.folder.name))
    has = tuple(m for m, any_has in zip(MODALITIES, present_NM.any(axis=0), strict=True) if any_has)
    return DataSet(
        name, None, len(catalogue), "products", len(categories), "categories", has, "", (),
        "commerce",
    )  # fmt: skip


def plain(number: int | None, over: bool = False) -> str:
    """Format a number as `12,000`, `> 6,000`, or `not stated`."""
    return NOT_STATED if number is None else f"{'> ' * over}{number:,}"


@drawn
def data_set_picture(data_sets: Sequence[DataSet], lang: Language = LANG) -> Figure:
    """Draw a row per data set: dots for modalities, bars for instances and categories (log scale).

    The rows of a kind follow its name. A number that is not stated is a hatched bar.
    """
    kinds = [kind for kind in KINDS if any(d.kind == kind for d in data_sets)]
    rows = [row for k in kinds for row in (k, *(d for d in data_sets if d.kind == k))]
    figure = new_figure(9.4, 0.95 + 0.33 * len(rows), dense=True)
    dots, instances, categories = figure.subplots(1, 3, width_ratios=(1.6, 1.6, 1.2), sharey=True)
    _modality_dots(dots, rows, lang)
    sets = {y: row for y, row in enumerate(rows) if isinstance(row, DataSet)}
    _count_bars(instances, {y: (d.instances, False) for y, d in sets.items()}, 3e8, lang)
    instances.set_title(label("sets_instances", lang))
    _count_bars(categories, {y: (d.categories, d.over) for y, d in sets.items()}, 3e5, lang)
    categories.set_title(label("sets_categories", lang))
    note_below(figure, label("sets_note", lang))
    return figure


def _modality_dots(axes: Axes, rows: Sequence[DataSet | str], lang: Language) -> None:
    names = []
    for y, row in enumerate(rows):
        if isinstance(row, str):
            axes.axhspan(y - 0.5, y + 0.5, color=shade(0.07), linewidth=0, zorder=0)
            names.append(label(f"kind_{row}", lang))
            continue
        names.append(f"{row.name} ({row.year})" if row.year else row.name)
        places = [column for column, m in enumerate(MODALITIES) if m in row.modalities]
        axes.plot([places[0], places[-1]], [y, y], color=shade(0.5), lw=points(1.4), zorder=2)
        for column, modality in enumerate(MODALITIES):
            has = column in places
            style = {"s": points(7.5 if has else 4.5) ** 2, "zorder": 3}
            # A small empty circle, so that only modalities have a dot.
            look = MODALITY_COLOURS[modality] if has else "none"
            axes.scatter(column, y, facecolor=look, edgecolor=look if has else shade(0.25), **style)
    axes.set_yticks(range(len(rows)), names)
    for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
        if isinstance(row, str):
            tick.set_fontweight("bold")
    axes.set_xticks(range(len(MODALITIES)), [label(m, lang) for m in MODALITIES])
    axes.tick_params(labeltop=True, labelbottom=False)
    axes.set(xlim=(-0.6, 4.6), ylim=(len(rows) - 0.5, -0.5))
    strip(axes)


def _count_bars(
    axes: Axes, values: Mapping[int, tuple[int | None, bool]], most: float, lang: Language
) -> None:
    axes.set_xscale("log")
    axes.set(xlim=(10, most))
    ticks = [tick for tick in (100, 10_000, 1_000_000) if 30 * tick < most]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    for row, (value, over) in values.items():
        text = label("sets_not_stated", lang) if value is None else plain(value, over)
        if value is None:
            style = {"color": shade(0.06), "hatch": "////", "ec": shade(0.3), "lw": 0}
            axes.barh(row, 90, left=10, height=0.62, **style)
        else:
            axes.barh(row, value - 10, left=10, height=0.62, color=tint(POSITIVE, 0.65))
        end = 100 if value is None else value
        place = {"textcoords": "offset points", "va": "center", "color": shade(0.8)}
        axes.annotate(text, (end, row), (points(3), 0), fontsize=points(8), **place)
    axes.tick_params(axis="y", length=0, labelleft=False)
    axes.grid(visible=False, axis="y")


TAIL_COLOURS = ACCENTS[:3]
TAIL_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))


def power_law(categories: int, power: float = 1.0) -> NDArray[np.float64]:
    """Return share_K of categories whose sizes fall as 1 / rank^power (Zipf's law: power 1)."""
    size_K = 1 / np.arange(1, categories + 1) ** power
    return size_K / size_K.sum()


def lorenz(sizes_K: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the Lorenz curve: shares of categories, smallest first, and of their products.

    Twice the area between the curve and the diagonal is the Gini coefficient.
    """
    size_K = np.sort(np.asarray(sizes_K, dtype=float))
    held_K = np.concatenate([[0], np.cumsum(size_K) / size_K.sum()])
    return np.linspace(0, 1, len(held_K)), held_K


def with_zipf(
    sizes_K: Sequence[int], lang: Language = LANG, categories: int = 6000
) -> dict[str, ArrayLike]:
    """Return the category sizes of a shop and of Zipf's law by name, for `tail_curves`."""
    return {
        label("tail_shop", lang, n=len(sizes_K)): sizes_K,
        label("tail_zipf", lang, n=categories): power_law(categories),
    }


@drawn
def tail_curves(sizes: Mapping[str, ArrayLike], lang: Language = LANG) -> Figure:
    """Draw one to three lists of category sizes, by name.

    Left: share of all products against rank, both logarithmic. Right: Lorenz curves.
    """
    figure = new_figure(8.6, 3.7)
    ranks, held = figure.subplots(1, 2)
    looks = zip(sizes.items(), TAIL_COLOURS, TAIL_DASHES, strict=False)
    for (name, sizes_K), colour, dashes in looks:
        size_K = np.sort(np.asarray(sizes_K, dtype=float))[::-1]
        style = {"color": colour, "ls": dashes}
        ranks.loglog(np.arange(1, len(size_K) + 1), size_K / size_K.sum(), label=name, **style)
        held.plot(*lorenz(size_K), **style)
    ranks.set(xlabel=label("rank", lang), ylabel=label("tail_share", lang))
    ranks.set_title(label("tail_rank_title", lang))
    ranks.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ranks.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
    for axis in (ranks.xaxis, ranks.yaxis):
        axis.set_minor_locator(NullLocator())
    ranks.legend(loc="lower left")
    held.plot([0, 1], [0, 1], color=shade(0.45), lw=points(1))
    slanted = {"rotation": 45, "rotation_mode": "anchor", "transform_rotates_text": True}
    style = {"ha": "center", "color": shade(0.6), "fontsize": points(8)}
    held.text(0.47, 0.5, label("tail_equal", lang), **style, **slanted)
    held.set(xlabel=label("tail_smallest", lang), ylabel=label("tail_held", lang))
    held.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", title=label("tail_lorenz_title", lang))
    return figure


@drawn
def tail_metric(
    names: Sequence[str], queries_K: ArrayLike, right_K: ArrayLike, lang: Language = LANG
) -> Figure:
    """Draw the share of correct answers by category, largest first, and its two means.

    Mean over products: sum of correct_k / sum of queries_k. Mean over categories: mean of
    correct_k / queries_k. The width of a bar is its number of queries, so the first mean is the
    area of the bars.

    Args:
        queries_K: queries of each category (at least one).
        right_K: correctly answered queries.
    """
    queries_K, right_K = np.asarray(queries_K, dtype=float), np.asarray(right_K, dtype=float)
    share_K, left_K = right_K / queries_K, np.cumsum(queries_K) - queries_K
    total = queries_K.sum()
    figure = new_figure(10.2, 3.6)
    axes = figure.subplots()
    axes.bar(left_K, share_K, width=queries_K, align="edge", color=tint(POSITIVE, 0.45),
             edgecolor=shade(0.0), lw=points(0.8))  # fmt: skip
    means = (right_K.sum() / total, share_K.mean())
    keys = ("mean_over_products", "mean_over_categories")
    for mean, key, colour, dashes in zip(means, keys, TAIL_COLOURS, TAIL_DASHES, strict=False):
        style = {"color": colour, "lw": points(1.8), "ls": dashes}
        axes.plot([0, total], [mean, mean], label=f"{label(key, lang)}: {mean:.2f}", **style)
    shown = [typeset.shorten(name, 60, 7) for name in names]
    if on_slide():
        # Only names with room for their line.
        wide_K = 0.9 * place()[0] * queries_K / total
        shown = [name if wide > 14 else "" for name, wide in zip(shown, wide_K, strict=True)]
    axes.set_xticks(left_K + queries_K / 2, shown, rotation=90, fontsize=points(7))
    axes.tick_params(axis="x", length=0)
    axes.set(xlim=(0, total), ylim=(0, 1.3), ylabel=label("tail_right", lang))
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.legend(loc="upper left", ncols=2)
    axes.grid(visible=False, axis="x")
    return figure


Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


def presence_by_category(
    present_NM: Bools, category_N: Sequence[str]
) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """Return categories (largest first, then by name), sizes_K and counts_KM of modalities."""
    sizes = sorted(Counter(category_N).items(), key=lambda item: (-item[1], item[0]))
    names = [name for name, _ in sizes]
    member_KN = np.array([[c == name for c in category_N] for name in names])
    return names, np.array([n for _, n in sizes]), member_KN.astype(np.int64) @ present_NM


def chi_square(counts_KM: NDArray[np.int64], sizes_K: NDArray[np.int64]) -> Floats:
    """Return chi2_M of presence against category, 0 for a modality that all or no products have.

    With a share p of all products having a modality, p n_k are expected in category k:
    chi2 = sum over k of (c_k - p n_k)^2 / (p n_k (1 - p)), the Pearson statistic of the table of
    2 K cells (as in `scipy.stats.chi2_contingency`, vectorised over modalities).
    """
    share_M = counts_KM.sum(axis=0) / sizes_K.sum()
    apart_KM = counts_KM - sizes_K[:, None] * share_M
    spread_KM = sizes_K[:, None] * np.maximum(share_M * (1 - share_M), 1e-300)
    return (apart_KM**2 / spread_KM).sum(axis=0)


def permute_presence(present_NM: Bools, rng: np.random.Generator) -> Bools:
    """Permute each column over the products: missing completely at random (MCAR).

    The number of products with each modality is unchanged.
    """
    return rng.permuted(present_NM, axis=0)


def permute_within(present_NM: Bools, category_N: Sequence[str], rng: np.random.Generator) -> Bools:
    """Permute each column within each category: missing at random, given the category (MAR)."""
    result_NM, names_N = present_NM.copy(), np.asarray(category_N)
    for name in np.unique(names_N):
        rows = np.flatnonzero(names_N == name)
        result_NM[rows] = rng.permuted(present_NM[rows], axis=0)
    return result_NM


def chance_chi_square(
    present_NM: Bools, category_N: Sequence[str], shufflings: int = 1000, seed: int = 0
) -> Floats:
    """Return chi2_RM of R permutations, its null distribution if presence ignores the category."""
    names, sizes_K, _ = presence_by_category(present_NM, category_N)
    member_KN = np.array([[c == name for c in category_N] for name in names]).astype(np.int64)
    rng = np.random.default_rng(seed)
    found = (member_KN @ permute_presence(present_NM, rng) for _ in range(shufflings))
    return np.array([chi_square(counts_KM, sizes_K) for counts_KM in found])


ON_SLIDE = 8
"""Largest categories that are drawn on a slide."""


@drawn
def presence_maps(
    present_NM: Bools, category_N: Sequence[str], lang: Language = LANG, seed: int = 0
) -> Figure:
    """Draw the share of products with each modality by category, observed and permuted.

    Rows are categories with their sizes, largest first. The permuted map shows the differences
    that arise by chance.
    """
    random_NM = permute_presence(present_NM, np.random.default_rng(seed))
    names, sizes_K, _ = presence_by_category(present_NM, category_N)
    if on_slide():
        names, sizes_K = names[:ON_SLIDE], sizes_K[:ON_SLIDE]
    figure = new_figure(8.2, 1.2 + 0.165 * len(names) * (1.6 if on_slide() else 1))
    maps = figure.subplots(1, 2, sharey=True)
    for axes, has_NM, title in zip(
        maps, (present_NM, random_NM), ("presence_real", "presence_shuffled"), strict=True
    ):
        counts_KM = presence_by_category(has_NM, category_N)[2][: len(names)]
        _share_map(axes, counts_KM / sizes_K[:, None], lang)
        axes.set_title(label(title, lang), pad=points(18))
    rows = [f"{name} ({n})" for name, n in zip(names, sizes_K, strict=True)]
    maps[0].set_yticks(np.arange(len(names)) + 0.5, rows, rotation=0, fontsize=points(7.5))
    note_below(figure, label("presence_note", lang))
    return figure


def _share_map(axes: Axes, share_KM: Floats, lang: Language) -> None:
    look = {"digits": 0, "square": False, "linewidths": 0}
    heatmap(axes, 100 * share_KM, sequential(), Normalize(0, 100), **look)
    for text in axes.texts:
        text.set_fontsize(points(7))
    axes.set_xticks(np.arange(len(MODALITIES)) + 0.5, [label(m, lang) for m in MODALITIES])
    axes.tick_params(length=0, labeltop=True, labelbottom=False)


@drawn
def independence_picture(real_M: Floats, chance_RM: Floats, lang: Language = LANG) -> Figure:
    """Draw chi-square of the permutations (bars) and of the catalogue (line), a panel per modality.

    p = (1 + permutations that reach the observed value) / (1 + R), the p-value of a permutation
    test of independence between presence and category.
    """
    import seaborn

    figure = new_figure(10.4, 2.7)
    panels = figure.subplots(1, len(MODALITIES), sharey=True)
    for axes, modality, real, chance_R in zip(panels, MODALITIES, real_M, chance_RM.T, strict=True):
        most = 1.12 * max(real, chance_R.max())
        bins = np.linspace(0, most, 36)
        seaborn.histplot(chance_R, bins=bins, color=shade(0.28), alpha=1, ax=axes, linewidth=0)
        axes.set_ylabel("")
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
def expected_combinations(present_NM: Bools, lang: Language = LANG, most: int = 10) -> Figure:
    """Draw the most frequent combinations of modalities beside their expected counts.

    Expected under independence: N times the product over modalities of p_m (present) or
    1 - p_m (absent).
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
        (0.2, expected, tint(POSITIVE, 0.45), "combinations_chance"),
    ):
        places = np.arange(len(counts)) + shift
        found = bars.bar(places, values, width=0.38, color=colour, label=label(key, lang))
        bars.bar_label(found, [f"{v:.0f}" for v in values], fontsize=points(7.5), padding=1)
    bars.legend(loc="upper right")
    bars.set_ylabel(label("products", lang))
    bars.tick_params(axis="x", length=0, labelbottom=False)
    sets = [
        tuple(m for m, has in zip(MODALITIES, has_M, strict=True) if has) for has_M, _ in counts
    ]
    dot_matrix(dots, sets, lang)
    dots.set_xlim(-0.6, len(counts) - 0.4)
    return figure


def _sizes(sources: Sources) -> Counter:
    return Counter(p.category for p in sources.catalogue if p.category is not None)


def _ordered(sources: Sources) -> list[str]:
    """Return categories, largest first, then by name."""
    return [name for name, _ in sorted(_sizes(sources).items(), key=lambda i: (-i[1], i[0]))]


def _presence(sources: Sources) -> tuple[np.ndarray, list[str]]:
    """Return present_NM and category_N of the products that have a category."""
    rows = [i for i, p in enumerate(sources.catalogue) if p.category is not None]
    categories = [sources.catalogue[i].category or "" for i in rows]
    return sources.catalogue.present_NM()[rows], categories


@figure("tail_curves")
def _draw_tail_curves(sources: Sources, lang: Language) -> Figure:
    return tail_curves(with_zipf(list(_sizes(sources).values()), lang), lang)


@figure("tail_metric")
def _draw_tail_metric(sources: Sources, lang: Language) -> Figure:
    """Classify each test product by the category of its nearest training product."""
    train_ND, _, train_categories = product_vectors(sources.run.model, sources.train)
    test_QD, _, categories = product_vectors(sources.run.model, sources.test)
    nearest_Q = (test_QD @ train_ND.T).argmax(axis=1)
    correct: dict[str, list[bool]] = {}
    for category, row in zip(categories, nearest_Q, strict=True):
        if category is not None:
            correct.setdefault(category, []).append(category == train_categories[row])
    names = [name for name in _ordered(sources) if name in correct]
    counts = [[len(correct[n]) for n in names], [sum(correct[n]) for n in names]]
    return tail_metric(names, *counts, lang)


@figure("independence")
def _draw_independence(sources: Sources, lang: Language) -> Figure:
    present_NM, category_N = _presence(sources)
    _, sizes_K, counts_KM = presence_by_category(present_NM, category_N)
    chance_RM = chance_chi_square(present_NM, category_N, seed=sources.seed)
    return independence_picture(chi_square(counts_KM, sizes_K), chance_RM, lang)


@figure("data_sets")
def _draw_data_sets(sources: Sources, lang: Language) -> Figure:
    return data_set_picture([*DATA_SETS, shop_facts(sources.catalogue)], lang)


@figure("expected_combinations")
def _draw_expected(sources: Sources, lang: Language) -> Figure:
    return expected_combinations(sources.catalogue.present_NM(), lang)


@figure("presence_by_category")
def _draw_presence(sources: Sources, lang: Language) -> Figure:
    return presence_maps(*_presence(sources), lang, sources.seed)
