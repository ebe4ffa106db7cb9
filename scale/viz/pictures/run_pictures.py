"""The pictures of a run: what it was given, how it learned, what it finds.

T logged steps, M modalities (five).
"""

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from scale.data.dataset import ProductDataset
from scale.data.product import Product
from scale.evaluation.embed import embed_dataset
from scale.inference.search import Gallery
from scale.modalities import INDEX, MODALITIES, subset_name
from scale.model.scores import inter_modality_scores
from scale.strict import require
from scale.training.logging import read_metrics, read_scores, score_means
from scale.training.run import TrainedRun
from scale.viz.embeddings import embedding_map, umap_coordinates
from scale.viz.products import product_card
from scale.viz.retrieval import QUERY_ORDER, direction_matrix, retrieval_bars, retrieval_sheet
from scale.viz.scores import score_matrices, scores_over_time
from scale.viz.theme import save_figure, use_style
from scale.viz.training import loss_curves
from scale.viz.words import Language

QUERIES = 6
"""Rows of the retrieval sheet."""


def draw_run(
    run: TrainedRun, data: ProductDataset, results: dict, lang: Language = "en", seed: int = 0
) -> list[Path]:
    """Write all pictures of a run into its `figures/`; returns the PNG files.

    Args:
        data: the products that are shown, e.g. the test split.
        results: the tree of results.json.
    """
    folder, paths = run.folder.figures, []
    show = most_complete(data)
    with use_style("paper"):
        drawings = {
            "product": product_card(data.products[show], lang),
            "scores": draw_scores(run, data, show, lang),
            "losses": loss_curves(read_metrics(run.folder.folder), lang),
            "scores_over_time": draw_scores_over_time(run, lang),
            "retrieval_sheet": draw_sheet(run, data, lang, seed),
            "embedding_map": draw_map(run, data, lang, seed),
        }
        category, instance = (results["retrieval"][key] for key in ("category", "instance"))
        if any(e["mAP@1"]["value"] is not None for e in category["trained"].values()):
            drawings["retrieval_by_subset"] = retrieval_bars(category, lang)
        if any(e["Recall@10"]["value"] is not None for e in instance["trained"].values()):
            drawings["retrieval_by_direction"] = direction_matrix(instance, lang)
        for name, figure in drawings.items():
            paths.append(save_figure(figure, folder / f"{name}_{lang}")[0])
    return paths


def most_complete(data: ProductDataset) -> int:
    """The first product among those with the most modalities."""
    return int(data.present_NM.sum(axis=1).argmax())


def draw_scores(run: TrainedRun, data: ProductDataset, row: int, lang: Language) -> Figure:
    """S, softmax(S) and S' of one product."""
    with torch.no_grad():
        output = run.model.embed(data.collate([row]))
    scores = inter_modality_scores(output.pooled_BMD, output.present_BM)
    return score_matrices(
        scores.cosine_BMM[0].numpy(),
        scores.softmax_BMM[0].numpy(),
        scores.weighted_BMM[0].numpy(),
        output.present_BM[0].numpy(),
        lang,
    )


def draw_scores_over_time(run: TrainedRun, lang: Language) -> Figure:
    """Mean S' over training, from the run's scores.parquet."""
    rows = read_scores(run.folder.folder)
    require(bool(rows), f"{run.folder.folder}: no logged scores")
    steps, mean_TMM = score_means(rows)
    return scores_over_time(steps, mean_TMM, lang)


def draw_sheet(
    run: TrainedRun,
    data: ProductDataset,
    lang: Language,
    seed: int,
    asked: tuple[str, ...] = MODALITIES,
    shown: tuple[str, ...] = MODALITIES,
    rows: int = QUERIES,
) -> Figure:
    """Random queries with their five nearest products; a hit shares the query's category.

    Args:
        asked: modalities that the queries ask with.
        shown: modalities that the products are found by. Where they are the queries' own, a query
            is left out of what it finds.
        rows: how many queries.
    """
    gallery = Gallery.build(run, data, shown, progress=False)
    usable = np.flatnonzero(data.present_NM[:, [INDEX[m] for m in asked]].any(axis=1))
    require(len(usable) > 0, f"no product has {subset_name(asked)} to ask with")
    chosen = np.random.default_rng(seed).permutation(usable)[:rows]
    queries = [data.products[i] for i in chosen]
    found = embed_dataset(run.model, data.subset(chosen), subset=asked, progress=False)
    matches = gallery.index.query(found.product(asked).emb_ND, 6)
    results, hits = [], []
    for query, ids, scores in zip(queries, matches.ids, matches.score_QK, strict=True):
        found = [(gallery.products[i], float(s)) for i, s in zip(ids, scores, strict=True)]
        found = [(p, s) for p, s in found if p.id != query.id or asked != shown][:5]
        results.append(found)
        hits.append([_same_category(query, p) for p, _ in found])
    order = QUERY_ORDER if asked == MODALITIES else asked
    return retrieval_sheet(queries, results, hits, lang, order)


def draw_map(run: TrainedRun, data: ProductDataset, lang: Language, seed: int) -> Figure:
    """UMAP of the products' embeddings, by category."""
    embeddings = embed_dataset(run.model, data, progress=False).product()
    category = {p.id: p.category for p in data.products}
    coordinates_N2 = umap_coordinates(embeddings.emb_ND, seed)
    return embedding_map(coordinates_N2, [category[i] for i in embeddings.ids], lang=lang)


def _same_category(a: Product, b: Product) -> bool:
    return a.category is not None and a.category == b.category
