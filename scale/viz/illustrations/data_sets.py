"""Data sets of the literature by modality: facts with the page where each was read, and a picture.

A number that no page we could open states is None and reads "not stated"; none is guessed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from scale.data.catalogue import Catalogue
from scale.modalities import MODALITIES
from scale.viz.theme import MODALITY_COLOURS, POSITIVE, drawn, new_figure, points, shade, tint
from scale.viz.words import Language, label


@dataclass(frozen=True)
class DataSet:
    """One data set: what its authors, or a survey, say of it."""

    name: str
    year: int | None
    """Of the paper."""
    instances: int | None
    """How many there are of what `instance` says."""
    instance: str
    """What is counted: it differs from set to set."""
    categories: int | None
    groups: str
    """What the categories are."""
    modalities: tuple[str, ...]
    paper: str
    sources: tuple[str, ...]
    """Where the numbers were read (November 2026)."""
    note: str = ""
    """What the numbers alone do not tell."""
    over: bool = False
    """Whether the categories are more than the number (the abstract says "over 6,000")."""


NOT_STATED = "not stated"

DATA_SETS: tuple[DataSet, ...] = (
    DataSet(
        "Dress Retrieval", 2017, None, "pictures of clothes", None, "", ("text", "image"),
        "Corbière et al., ICCV workshops 2017 (arXiv 1709.09426)",
        ("https://www.arxiv-vanity.com/papers/1709.09426/",),
        "The page tells of pictures with words from shop catalogues; its sizes we could not read.",
    ),
    DataSet(
        "XMedia", 2017, 12_000, "single media files", 20, "categories",
        ("text", "image", "video", "audio"),
        "Peng et al., an overview of cross-media retrieval (arXiv 1704.02223)",
        ("http://39.108.48.32/mipl/XMediaNet/x.html", "https://arxiv.org/abs/1704.02223"),
        "5,000 texts, 5,000 images, 500 videos, 1,000 audio clips, 500 3D models. A file belongs "
        "to a category, not to a thing: no item has two modalities.",
    ),
    DataSet(
        "CMU-MOSEI", 2018, 23_453, "segments of talks", 250, "topics", ("text", "video", "audio"),
        "Zadeh et al., ACL 2018 (P18-1208)",
        (
            "https://study.space/p/Multimodal_Language_Analysis_in_the_Wild%3A_CMU-MOSEI_Dataset_"
            "and_Interpretable_Dynamic_Fusion_Graph",
            "https://github.com/CMU-MultiComp-Lab/CMU-MultimodalSDK",
        ),
        "1,000 people speak into a camera: sentiment, not products.",
    ),
    DataSet(
        "RPC checkout", 2019, 83_739, "pictures", 200, "products", ("image",),
        "Wei et al., RPC (arXiv 1901.07249)",
        (
            "https://github.com/RPC-Dataset/RPC-Dataset.github.io/blob/master/markdown_index.md",
            "https://paperium.net/article/en/6754/rpc-a-large-scale-retail-product-checkout-dataset",
        ),
        "53,739 of one product each, 30,000 of a filled checkout counter.",
    ),
    DataSet(
        "Product1M", 2021, 1_182_083, "picture and title", 458, "categories", ("text", "image"),
        "Zhan et al., ICCV 2021 (arXiv 2107.14572)",
        (
            "Wang et al., Large-scale Multi-Modal Pre-trained Models: A Comprehensive Survey, 3.3",
            "https://ar5iv.labs.arxiv.org/html/2107.14572",
        ),
        "Cosmetics only.",
    ),
    DataSet(
        "M5Product", 2022, 6_313_067, "products", 6_000, "categories", MODALITIES,
        "Dong et al., CVPR 2022 (arXiv 2109.04275)",
        (
            "https://xiaodongsuper.github.io/M5Product_dataset/documentation.html",
            "https://arxiv.org/abs/2109.04275",
        ),
        "The audio is cut out of the video, so it is missing with it; many products lack "
        "modalities.",
        over=True,
    ),
)  # fmt: skip
"""By year."""


def shop_facts(catalogue: Catalogue) -> DataSet:
    """The facts of an opened catalogue; `modalities` are those that any product has."""
    present_NM = catalogue.present_NM()
    categories = {p.category for p in catalogue if p.category is not None}
    name = str(catalogue.info.get("name", catalogue.folder.name))
    has = tuple(m for m, any_has in zip(MODALITIES, present_NM.any(axis=0), strict=True) if any_has)
    return DataSet(
        name, None, len(catalogue), "products", len(categories), "categories", has, "", ()
    )


def plain(number: int | None, over: bool = False) -> str:
    """`12,000`, `> 6,000`, or `not stated`."""
    return NOT_STATED if number is None else f"{'> ' * over}{number:,}"


@drawn
def data_set_picture(data_sets: Sequence[DataSet], lang: Language = "en") -> Figure:
    """A row a data set: dots for its modalities, bars for instances and categories (log scale).

    A number that is not stated is a hatched row with these words.
    """
    figure = new_figure(9.4, 0.95 + 0.36 * len(data_sets))
    dots, instances, categories = figure.subplots(1, 3, width_ratios=(1.6, 1.6, 1.2), sharey=True)
    _dots(dots, data_sets, lang)
    _bars(instances, [(d.instances, False) for d in data_sets], 3e8, lang)
    instances.set_title(label("sets_instances", lang))
    _bars(categories, [(d.categories, d.over) for d in data_sets], 3e5, lang)
    categories.set_title(label("sets_categories", lang))
    figure.supxlabel(label("sets_note", lang), fontsize=points(8), color=shade(0.7))
    return figure


def _dots(axes: Axes, data_sets: Sequence[DataSet], lang: Language) -> None:
    for row, data in enumerate(data_sets):
        if row % 2 == 0:
            axes.axhspan(row - 0.5, row + 0.5, color=shade(0.045), linewidth=0, zorder=0)
        places = [column for column, m in enumerate(MODALITIES) if m in data.modalities]
        axes.plot([places[0], places[-1]], [row, row], color=shade(0.5), lw=points(1.4), zorder=2)
        for column, modality in enumerate(MODALITIES):
            has = column in places
            style = {"s": points(7.5 if has else 4.5) ** 2, "zorder": 3}
            colour = MODALITY_COLOURS[modality] if has else shade(0.16)
            axes.scatter(column, row, color=colour, **style)
    names = [f"{d.name} ({d.year})" if d.year else d.name for d in data_sets]
    axes.set_yticks(range(len(data_sets)), names)
    axes.set_xticks(range(len(MODALITIES)), [label(m, lang) for m in MODALITIES])
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.set(xlim=(-0.6, 4.6), ylim=(len(data_sets) - 0.5, -0.5))
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _bars(
    axes: Axes, values: Sequence[tuple[int | None, bool]], most: float, lang: Language
) -> None:
    axes.set_xscale("log")
    axes.set(xlim=(10, most))
    ticks = [tick for tick in (100, 10_000, 1_000_000) if 30 * tick < most]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    for row, (value, over) in enumerate(values):
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
