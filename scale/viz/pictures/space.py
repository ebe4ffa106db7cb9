"""Pictures of notebook 13: the embedding space and its maps."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scale.data.dataset import ProductDataset
from scale.evaluation.embed import embed_dataset
from scale.evaluation.ranking import unit
from scale.model.scale import ScaleModel
from scale.viz.embeddings import umap_coordinates
from scale.viz.illustrations.space import (
    Points,
    made_up_figure,
    map_tears,
    modality_gap_figure,
    modality_maps,
    neighbour_ranks,
    seed_maps,
    three_groups,
)
from scale.viz.registry import Sources, figure
from scale.viz.words import Language

NOISE = 400
"""Random vectors in the picture of what a map makes up."""
FEW, MANY = 3, 15
"""Neighbours of its two maps."""


def points_of(model: ScaleModel, data: ProductDataset) -> Points:
    """All features of the products that are there."""
    return Points.of(embed_dataset(model, data, progress=False))


def _stages(sources: Sources) -> dict[str, Points]:
    models = {"untrained": sources.run.untrained(), "trained": sources.run.model}
    return {stage: points_of(model, sources.test) for stage, model in models.items()}


@figure("umap_modality")
def _draw_modality_maps(sources: Sources, lang: Language) -> Figure:
    stages = _stages(sources)
    maps = {s: umap_coordinates(found.unit_PD, sources.seed) for s, found in stages.items()}
    return modality_maps(maps, stages["trained"].modality_P, lang)


def _products(sources: Sources) -> tuple[NDArray[np.float32], list[str]]:
    """One vector a product, and its category."""
    found = embed_dataset(sources.run.model, sources.test, progress=False).product()
    category = {product.id: product.category for product in sources.test.products}
    return found.emb_ND, [category[i] or "–" for i in found.ids]


@figure("map_tears")
def _draw_tears(sources: Sources, lang: Language) -> Figure:
    emb_ND, _ = _products(sources)
    return map_tears(umap_coordinates(emb_ND, sources.seed), neighbour_ranks(emb_ND), lang)


@figure("umap_seeds")
def _draw_seeds(sources: Sources, lang: Language) -> Figure:
    emb_ND, categories = _products(sources)
    maps = {seed: umap_coordinates(emb_ND, seed) for seed in (sources.seed, sources.seed + 1)}
    return seed_maps(maps, categories, lang)


@figure("map_made_up")
def _draw_made_up(sources: Sources, lang: Language) -> Figure:
    truth_N3, group_N = three_groups(seed=sources.seed)
    rng = np.random.default_rng(sources.seed)
    noise_ND = unit(rng.normal(size=(NOISE, 64)).astype(np.float32))
    maps = {k: umap_coordinates(noise_ND, sources.seed, k) for k in (FEW, MANY)}
    truth_map_N2 = umap_coordinates(truth_N3, sources.seed)
    return made_up_figure(truth_N3, group_N, truth_map_N2, maps, lang)


@figure("modality_gap")
def _draw_modality_gap(sources: Sources, lang: Language) -> Figure:
    return modality_gap_figure(_stages(sources), lang)
