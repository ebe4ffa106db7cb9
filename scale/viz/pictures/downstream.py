"""Pictures of notebook 14: downstream tasks and what their numbers mean."""

from collections import Counter

import numpy as np
from matplotlib.figure import Figure

from scale.data.dataset import ProductDataset
from scale.evaluation.classification import Classification, Examples, linear_probe
from scale.evaluation.embed import embed_dataset
from scale.evaluation.tables import ProductArrays, subset_retrievals
from scale.modalities import MODALITIES, subset_name
from scale.model.scale import ScaleModel
from scale.viz.illustrations.downstream import (
    bootstrap_figure,
    class_f1,
    one_list,
    purity_curves,
    purity_figure,
    tail_scores,
    task_estimates,
    task_figure,
    two_systems,
)
from scale.viz.registry import Sources, figure
from scale.viz.words import Language

CLUSTERS = (2, 5, 10, 20, 34, 60, 100, 146)
METRIC = "mAP@5"


def _models(sources: Sources) -> dict[str, ScaleModel]:
    return {"untrained": sources.run.untrained(), "trained": sources.run.model}


def _arrays(model: ScaleModel, data: ProductDataset) -> ProductArrays:
    return ProductArrays.of(data, embed_dataset(model, data, progress=False))


@figure("bootstrap")
def _draw_bootstrap(sources: Sources, lang: Language) -> Figure:
    found = subset_retrievals(_arrays(sources.run.model, sources.test), "same", ks=(5,))
    every = found[subset_name(MODALITIES)]
    without = found[subset_name(tuple(m for m in MODALITIES if m != "image"))]
    _, in_every, in_other = np.intersect1d(every.rows_Q, without.rows_Q, return_indices=True)
    a_Q, b_Q = every.values[METRIC][in_every], without.values[METRIC][in_other]
    asked_Q = ~np.isnan(a_Q + b_Q)
    return bootstrap_figure(a_Q[asked_Q], b_Q[asked_Q], None, lang, sources.seed)


def _probe(model: ScaleModel, sources: Sources) -> tuple[Classification, dict[str, list[str]]]:
    """The linear probe of a model, and the categories of each split."""
    examples, labels = [], {}
    for split in ("train", "val", "test"):
        data = sources.run.dataset(sources.catalogue, split)
        vectors = embed_dataset(model, data, progress=False).product()
        category = {product.id: product.category for product in data.products}
        labels[split] = [category[i] for i in vectors.ids]
        examples.append(Examples(vectors.emb_ND, labels[split]))
    return linear_probe(*examples, seed=sources.seed), labels


@figure("long_tail_f1")
def _draw_tail(sources: Sources, lang: Language) -> Figure:
    probe, labels = _probe(sources.run.model, sources)
    known = [category for category in labels["test"] if category is not None]
    f1 = class_f1(known, probe.predicted)
    sizes = Counter(labels["train"])
    values = {name: found.value for name, found in probe.scores.items()}
    return tail_scores(list(f1), [sizes[c] for c in f1], list(f1.values()), values, lang)


def _labelled(model: ScaleModel, sources: Sources) -> tuple[np.ndarray, list[str], list[str]]:
    """emb_ND, ids and categories of the test products that have a category."""
    vectors = embed_dataset(model, sources.test, progress=False).product()
    category = {product.id: product.category for product in sources.test.products}
    rows = [row for row, i in enumerate(vectors.ids) if category[i] is not None]
    ids = [vectors.ids[row] for row in rows]
    return vectors.emb_ND[rows], ids, [category[i] for i in ids]


@figure("purity")
def _draw_purity(sources: Sources, lang: Language) -> Figure:
    emb_ND, _, categories = _labelled(sources.run.model, sources)
    clusters_K = [k for k in CLUSTERS if k <= len(categories)]
    curves = purity_curves(emb_ND, categories, clusters_K, sources.seed)
    return purity_figure(clusters_K, curves, len(set(categories)), lang)


@figure("downstream_tasks")
def _draw_tasks(sources: Sources, lang: Language) -> Figure:
    emb, probes = {}, {}
    for stage, model in _models(sources).items():
        emb[stage], ids, categories = _labelled(model, sources)
        probes[stage] = _probe(model, sources)[0]
    return task_figure(task_estimates(emb, ids, categories, probes, sources.seed), lang)


figure("ap_denominators")(one_list)
figure("ap_two_systems")(two_systems)
