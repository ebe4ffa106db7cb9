"""What a trained model is worth: the same figures for every cell of every study.

N held-out products, Q queries, M modalities (five), P pairs (ten), D width.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scale.data.batch import ProductBatch
from scale.data.dataset import ProductDataset
from scale.evaluation.embed import embed_dataset, subset_embedding
from scale.evaluation.retrieval import Retrieval, category_retrieval
from scale.evaluation.tables import ProductArrays, direction_retrievals
from scale.modalities import MODALITIES, SUBSETS, subset_name
from scale.studies.noise import apply_noise
from scale.studies.study import Test

BATCH = 256


@dataclass
class Measured:
    """Figures of one model, by test and metric."""

    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    queries: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """value_N by product, NaN where it did not ask: for intervals over products."""


def measure(
    model: nn.Module,
    held: ProductDataset,
    complete_N: np.ndarray,
    tests: tuple[Test, ...],
    seed: int,
    device: Any,
) -> Measured:
    """Retrieval by category and by instance on each test.

    mAP@5 and mAP@1: category retrieval by all modalities that a product has. Recall@10: mean over
    products of the share of a product's cross-modal directions (up to 20) in which its own other
    modality is among the first ten. `mAP@5 text+image`: query by these modalities, gallery by all.

    complete_N: which held-out products have all modalities of the catalogue, for `Test.complete`.
    """
    found = Measured()
    for test in tests:
        data = held.subset(np.flatnonzero(complete_N)) if test.complete else held
        data = apply_noise(data, test.noises, seed).dataset
        if len(data) < 2:
            continue
        pooled = embed_dataset(model, data, BATCH, device=device, progress=False)
        products = ProductArrays.of(data, pooled)
        emb_ND = product_vectors(model, data, MODALITIES, products, device)
        category = _category(products, emb_ND, emb_ND)
        values = {"mAP@5": _by_product(category, "mAP@5", len(data))}
        values["mAP@1"] = _by_product(category, "mAP@1", len(data))
        values["chance mAP@5"] = _by_product(category, "mAP@5", len(data), chance=True)
        values["Recall@10"] = _instance_recall(products)
        if test.subsets:
            for subset in SUBSETS:
                query_ND = product_vectors(model, data, subset, products, device)
                name = f"mAP@5 {subset_name(subset)}"
                values[name] = _by_product(
                    _category(products, query_ND, emb_ND), "mAP@5", len(data)
                )
        found.figures[test.name] = {name: _mean(v) for name, v in values.items()}
        kept = ("mAP@5", "Recall@10")
        found.queries[test.name] = {name: values[name].tolist() for name in kept}
    return found


def product_vectors(
    model: nn.Module,
    data: ProductDataset,
    subset: tuple[str, ...],
    products: ProductArrays,
    device: Any,
) -> np.ndarray:
    """emb_ND of unit length from the modalities of `subset`; zeros where a product has none.

    A model with `embed_product` (one stream, co-attention) runs on the subset; of others the pooled
    features are combined.
    """
    if not hasattr(model, "embed_product"):
        return subset_embedding(products.pooled_NMD, products.present_NM, subset)[0]
    training, parts = model.training, []
    model.eval()
    with torch.no_grad():
        for start in range(0, len(data), BATCH):
            batch = data.collate(np.arange(start, min(start + BATCH, len(data)))).only(subset)
            parts.append(_embed(model, batch.to(device), products.pooled_NMD.shape[2]))
    model.train(training)
    return torch.cat(parts).float().cpu().numpy()


def _embed(model: nn.Module, batch: ProductBatch, width: int) -> Tensor:
    # A model cannot run on a batch in which no product has anything.
    if not bool(batch.present_BM.any()):
        return torch.zeros(len(batch), width)
    return model.embed_product(batch).cpu()


def _category(products: ProductArrays, query_ND: np.ndarray, gallery_ND: np.ndarray) -> Retrieval:
    """Category retrieval of the products whose query vector is not zero."""
    rows_Q = np.flatnonzero(np.abs(query_ND).sum(1) > 0)
    rows_G = np.flatnonzero(np.abs(gallery_ND).sum(1) > 0)
    labels, ids = np.array(products.labels, object), np.array(products.ids, object)
    found = category_retrieval(
        query_ND[rows_Q], gallery_ND[rows_G], labels[rows_Q].tolist(), labels[rows_G].tolist(),
        ids[rows_Q].tolist(), ids[rows_G].tolist(), ks=(1, 5),
    )  # fmt: skip
    return replace(found, rows_Q=rows_Q[found.rows_Q])


def _by_product(found: Retrieval, metric: str, products: int, chance: bool = False) -> np.ndarray:
    """value_N: the metric at the products that asked, NaN elsewhere."""
    value_N = np.full(products, np.nan)
    value_N[found.rows_Q] = (found.chance if chance else found.values)[metric]
    return value_N


def _instance_recall(products: ProductArrays) -> np.ndarray:
    """value_N: share of a product's cross-modal directions that find it among the first ten."""
    total_N, count_N = np.zeros(len(products.ids)), np.zeros(len(products.ids))
    for found in direction_retrievals(products, ks=(10,)).values():
        value_N = _by_product(found, "Recall@10", len(products.ids))
        count_N += ~np.isnan(value_N)
        total_N += np.nan_to_num(value_N)
    return np.divide(total_N, count_N, out=np.full(len(total_N), np.nan), where=count_N > 0)


def _mean(value_N: np.ndarray) -> float:
    known = value_N[~np.isnan(value_N)]
    return float(known.mean()) if len(known) else float("nan")
