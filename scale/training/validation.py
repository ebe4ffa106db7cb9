"""Validation during training: retrieval and geometry of the features.

N products, M modalities (five), D width.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from scale.data.dataset import ProductDataset
from scale.evaluation.embed import embed_dataset, subset_embedding
from scale.evaluation.retrieval import ProductArrays, category_retrieval, direction_retrievals
from scale.modalities import MODALITIES
from scale.model.scale import ScaleModel
from scale.training.health_checks import BEST_BY, RECALL, alignment, collapse_warning, uniformity

LONGEST = 1000
"""Last rank that the mean reciprocal rank distinguishes."""


@dataclass(frozen=True)
class Validation:
    """Metrics by name, and a warning if the features have collapsed."""

    values: dict[str, float]
    warning: str | None


def validate(model: ScaleModel, dataset: ProductDataset, device: torch.device) -> Validation:
    """Compute the validation metrics of a model on a data set.

    `val/MRR_above_chance`: instance retrieval, mean over the (up to 20) cross-modal directions of
    the mean reciprocal rank minus its chance level; ranks beyond `LONGEST` count 0. Unlike recall,
    it distinguishes models on a few products, where the first ten contain most of the gallery.
    `val/Recall@10`: the share of queries with their product among the first ten, likewise.
    `val/mAP@1`: category retrieval with all modalities; absent if no product has a category.
    `val/alignment`, `val/uniformity`: see `health_checks`.
    """
    embeddings = embed_dataset(model, dataset, device=device, progress=False)
    arrays = ProductArrays.of(dataset, embeddings)
    labels, ids = arrays.labels, arrays.ids
    longest = max(1, min(len(ids), LONGEST))
    found = direction_retrievals(arrays, ks=(10, longest)).values()
    # With one correct item, average precision is the reciprocal rank.
    mrr = f"mAP@{longest}"
    gains = [_mean(r.values[mrr] - r.chance[mrr]) for r in found]
    values = {BEST_BY: _mean(np.array(gains))}
    values[RECALL] = _mean(np.array([_mean(r.values["Recall@10"]) for r in found]))
    if any(label is not None for label in labels):
        emb_ND, _ = subset_embedding(arrays.pooled_NMD, arrays.present_NM, MODALITIES)
        ranked = category_retrieval(emb_ND, emb_ND, labels, labels, ids, ids, ks=(1,))
        values["val/mAP@1"] = _mean(ranked.values["mAP@1"])
    pooled_NMD = torch.from_numpy(embeddings.pooled_NMD)
    present_NM = torch.from_numpy(embeddings.present_NM)
    values["val/alignment"] = alignment(pooled_NMD, present_NM)
    values["val/uniformity"] = uniformity(pooled_NMD, present_NM)
    return Validation(values, collapse_warning(pooled_NMD, present_NM))


def _mean(values: np.ndarray) -> float:
    """Return the mean without NaN; NaN if nothing is left."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan
