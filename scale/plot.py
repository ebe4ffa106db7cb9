"""Figures of products, runs and results: `scale.plot.<name>(...)` returns a matplotlib Figure.

    scale.plot.scores(run.scores(shop["p0012"]))
    scale.plot.retrieval(run.evaluate(shop))
    scale.plot.losses(run).savefig("losses.png")

The public names of `scale.viz` are available here too, e.g. `scale.plot.product_card`. Every
function takes `lang`, "en" or "zh"; its default is the environment variable SCALE_LANG, else "en".
Inside `with scale.plot.use_style("slides"):` figures are drawn
for a projector, with "dark" for a dark page. `scale figures` writes figures with captions.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scale.viz.words import LANG

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure

    from scale.data.catalogue import Catalogue
    from scale.data.product import Product
    from scale.evaluation.embed import ProductEmbeddings
    from scale.model.scores import Scores
    from scale.training.run import TrainedRun
    from scale.viz.words import Language

__all__ = [
    "catalogue", "directions", "embeddings", "losses", "product", "products", "retrieval", "scores",
    "scores_over_time", "search", "use_style",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    from scale import viz

    if name not in viz.__all__:
        raise AttributeError(f"module 'scale.plot' has no attribute {name!r}")
    return getattr(viz, name)


def product(product: "Product", lang: "Language" = LANG) -> "Figure":
    """Plot all modalities of a product on one page."""
    from scale.viz.products import product_card

    return product_card(product, lang)


def products(products: "Sequence[Product]", columns: int = 8, lang: "Language" = LANG) -> "Figure":
    """Plot thumbnails of products, with their titles and modalities."""
    from scale.viz.products import contact_sheet

    return contact_sheet(products, columns, lang)


def catalogue(catalogue: "Catalogue", lang: "Language" = LANG) -> "Figure":
    """Plot a summary of a catalogue: modalities, categories, lengths, duplicates and problems."""
    from scale.viz.catalogue import inspect_figure

    return inspect_figure(catalogue.summary(progress=False), lang)


def scores(scores: "Scores", row: int = 0, lang: "Language" = LANG) -> "Figure":
    """Plot S, softmax(S) and S' of one product as heat maps.

    Args:
        scores: as returned by `Run.scores` or `inter_modality_scores`.
        row: product in the batch.
    """
    from scale.viz.scores import score_matrices

    cosine_MM, softmax_MM, weighted_MM = (
        matrix_BMM[row].detach().cpu().numpy()
        for matrix_BMM in (scores.cosine_BMM, scores.softmax_BMM, scores.weighted_BMM)
    )
    # The softmax of a present modality over itself is positive.
    return score_matrices(cosine_MM, softmax_MM, weighted_MM, softmax_MM.diagonal() > 0, lang)


def scores_over_time(run: "TrainedRun", lang: "Language" = LANG) -> "Figure":
    """Plot the mean S' during training. Raises ValueError if the run logged no scores."""
    from scale.viz.scores import draw_scores_over_time

    return draw_scores_over_time(run, lang)


def losses(run: "TrainedRun", lang: "Language" = LANG) -> "Figure":
    """Plot everything a run logged over its steps. Raises ValueError if it logged nothing."""
    from scale.viz.training import draw_losses

    return draw_losses(run, lang)


def search(
    run: "TrainedRun",
    catalogue: "Catalogue",
    *,
    queries: Sequence[str] = ("text", "table", "image", "video", "audio"),
    gallery: Sequence[str] = ("text", "table", "image", "video", "audio"),
    split: str = "test",
    rows: int = 6,
    seed: int = 0,
    lang: "Language" = LANG,
) -> "Figure":
    """Plot random queries with their five nearest products.

    Args:
        queries, gallery: modalities by which queries and products are embedded.
        split: split that both are drawn from.
        rows: number of queries.
    """
    from scale.viz.retrieval import draw_sheet

    data = run.dataset(catalogue, split)
    return draw_sheet(run, data, lang, seed, tuple(queries), tuple(gallery), rows)


def retrieval(
    results: "pd.DataFrame | Mapping[str, Any]", metric: str = "mAP@1", lang: "Language" = LANG
) -> "Figure":
    """Plot category retrieval by query subset, with intervals, untrained model and chance.

    Args:
        results: as returned by `Run.evaluate`, or the tree of results.json.

    Raises ValueError if no trained result has the metric.
    """
    from scale.viz.retrieval import retrieval_bars

    return retrieval_bars(_retrieval_tree(results, "category"), lang, metric)


def directions(
    results: "pd.DataFrame | Mapping[str, Any]", metric: str = "Recall@10", lang: "Language" = LANG
) -> "Figure":
    """Plot instance retrieval from each modality to each other one.

    Arguments and errors are those of `retrieval`.
    """
    from scale.viz.retrieval import direction_matrix

    return direction_matrix(_retrieval_tree(results, "instance"), lang, metric)


def embeddings(
    embeddings: "ProductEmbeddings | np.ndarray",
    colour_by: "Catalogue | Sequence[str | None] | None" = None,
    *,
    neighbours: int = 15,
    seed: int = 0,
    lang: "Language" = LANG,
) -> "Figure":
    """Plot embeddings as a two-dimensional UMAP, coloured by group.

    Args:
        embeddings: as returned by `Run.embed`, or an array (N, D).
        colour_by: a catalogue, whose categories are the groups; or a group per embedding.
        neighbours: `n_neighbors` of UMAP.

    Raises ValueError for fewer than five embeddings, or if `colour_by` does not fit.
    """
    from scale.data.catalogue import Catalogue
    from scale.viz.embeddings import embedding_map, kept_umap

    emb_ND = getattr(embeddings, "emb_ND", embeddings)
    if isinstance(colour_by, Catalogue):
        category = {product.id: product.category for product in colour_by}
        colour_by = [category[i] for i in embeddings.ids]
    groups = [None] * len(emb_ND) if colour_by is None else list(colour_by)
    return embedding_map(kept_umap(emb_ND, seed, neighbours), groups, lang=lang)


def use_style(name: str = "paper"):
    """Return a context manager: draw in the style `paper`, `slides` or `dark`."""
    from scale.viz.theme import use_style

    return use_style(name)


def _retrieval_tree(results: "pd.DataFrame | Mapping[str, Any]", kind: str) -> dict[str, Any]:
    """Return estimates by model, item and metric from a data frame or a tree of results."""
    if isinstance(results, Mapping):
        return results["retrieval"][kind]
    tree: dict[str, Any] = {}
    rows = results[results["task"] == f"retrieval.{kind}"]
    rows = rows.astype(object).where(rows.notna(), None)
    for row in rows.to_dict("records"):
        estimate = {key: row[key] for key in ("value", "low", "high", "n")}
        tree.setdefault(row["model"], {}).setdefault(row["item"], {})[row["metric"]] = estimate
    return tree
