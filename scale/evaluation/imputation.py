"""Prediction of a missing modality's feature from the others, measured by retrieval.

N products, Q queries, M modalities (five), D width.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from scale.data.dataset import ProductDataset
from scale.evaluation.embed import Products, embed_dataset, subset_embedding
from scale.evaluation.retrieval import KS, ProductArrays, Retrieval, modality_retrieval
from scale.modalities import INDEX, MODALITIES
from scale.model.scale import ScaleModel

IMPUTED, MEAN = "imputed", "mean_of_others"
"""Queries of `imputed_retrievals`."""


def imputed_features(
    model: ScaleModel,
    data: Products,
    modality: str,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Predict the feature of a modality of each product from its other modalities.

        p_m = W_m c_m + b_m

    with [CLS] c_m that the JCT returns at the tokens imputed for m, and the pooler (W_m, b_m) of
    the encoder. The model is given the product without m.

    Returns:
        feature_ND and valid_N: False, and 0, for products without any other modality, or everywhere
        if the policy imputes nothing (`skip`, `drop`).
    """
    others = tuple(m for m in MODALITIES if m != modality)
    size, column = len(data.ids), INDEX[modality]
    feature_ND = np.zeros((size, model.config.pooled_width), np.float32)
    valid_N = np.zeros(size, bool)
    training = model.training
    model.to(device).eval()
    with torch.no_grad():
        for start in range(0, size, batch_size):
            rows = list(range(start, min(start + batch_size, size)))
            batch = data.collate(rows).only(others)
            if not bool(batch.present_BM.any()):
                continue
            output = model.embed_fused(batch.to(device))
            valid_B = output.present_BM.any(dim=1) & output.token_BM[:, column]
            feature_BD = output.projected_BMD[:, column].masked_fill(~valid_B[:, None], 0.0)
            feature_ND[rows], valid_N[rows] = feature_BD.float().cpu(), valid_B.cpu()
    model.train(training)
    return feature_ND, valid_N


def imputed_retrievals(
    model: ScaleModel,
    data: ProductDataset,
    device: torch.device | str = "cpu",
    ks: Sequence[int] = KS,
) -> dict[str, dict[str, Retrieval]]:
    """Score instance retrieval of a product's modality by the feature predicted from the others.

    For each modality m, queries are the products that have m and another modality, which the model
    is given without m; the gallery is the real features f_m of all products that have m.

    Returns:
        By query (IMPUTED: `imputed_features`; MEAN, the baseline: the mean of the unit features of
        the other modalities), then by modality. Both have the same queries; the first one has none
        if the policy imputes nothing.
    """
    products = ProductArrays.of(data, embed_dataset(model, data, device=device, progress=False))
    found = {IMPUTED: {}, MEAN: {}}
    for m in model.config.modalities:
        others = tuple(other for other in MODALITIES if other != m)
        mean_ND, valid_N = subset_embedding(products.pooled_NMD, products.present_NM, others)
        found[MEAN][m] = modality_retrieval(products, mean_ND, valid_N, m, ks)
        if model.jct.imputes:
            imputed_ND, imputed_N = imputed_features(model, data, m, device=device)
            found[IMPUTED][m] = modality_retrieval(products, imputed_ND, imputed_N, m, ks)
    return {name: by_modality for name, by_modality in found.items() if by_modality}
