"""The inter-modality scores S and S' (paper, section 4.3): which modalities of a product agree.

B products, M modalities (five), D width.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize


@dataclass
class Scores:
    """Three forms of one product's agreement between modalities; absent ones are 0 in each."""

    cosine_BMM: Tensor
    """S_ij = cos(f_i, f_j)."""
    softmax_BMM: Tensor
    """Softmax of S along the row, over the modalities that are present."""
    weighted_BMM: Tensor
    """S' = S * softmax(S), element by element; the modality matching scores."""


def inter_modality_scores(
    pooled_BMD: Tensor,
    present_BM: Tensor | None = None,
    level: Literal["sample", "batch"] = "sample",
    row_normalise: bool = False,
) -> Scores:
    """S_ij = cos(f_i, f_j);  S' = S * softmax_j(S)  (paper, section 4.3).

    Args:
        pooled_BMD: pooled features f_1 .. f_5 of each product, any scale, any float dtype.
        present_BM: True where the product has the modality; None means all. The row and column of
            an absent modality are 0 and the softmax runs over the present ones, so what its
            feature holds (zeros, NaN) never matters. A feature of length zero has cosine 0.
        level: `sample`: each product its own S. `batch`: S is the mean over the products that have
            both modalities, then the softmax; each product gets the part that it has.
        row_normalise: divide each row of S' by its L2 norm, as the released code does. It cancels
            the softmax's denominator: G_ij = S_ij exp(S_ij) / norm of the row.

    Returns:
        Scores with three tensors of (B, M, M).

    Raises:
        ValueError: the shapes of features and presence do not fit.
    """
    if present_BM is None:
        present_BM = torch.ones(pooled_BMD.shape[:2], dtype=torch.bool, device=pooled_BMD.device)
    if present_BM.shape != pooled_BMD.shape[:2]:
        raise ValueError(
            f"present_BM is {tuple(present_BM.shape)}, pooled_BMD is {tuple(pooled_BMD.shape)}"
        )
    both_BMM = present_BM[:, :, None] & present_BM[:, None, :]
    # Absent features are replaced before the norm: 0 * NaN would be NaN in the gradient too.
    unit_BMD = normalize(pooled_BMD.masked_fill(~present_BM[:, :, None], 0.0), dim=-1)
    cosine_BMM = unit_BMD @ unit_BMD.transpose(1, 2)
    if level == "batch":
        count_MM = both_BMM.sum(0).clamp(min=1)
        mean_MM = cosine_BMM.masked_fill(~both_BMM, 0.0).sum(0) / count_MM
        cosine_BMM = mean_MM.expand_as(cosine_BMM)
    cosine_BMM = cosine_BMM.masked_fill(~both_BMM, 0.0)

    # A finite floor keeps the all-absent row free of NaN; its softmax is set to 0 right after.
    floor = torch.finfo(cosine_BMM.dtype).min
    softmax_BMM = cosine_BMM.masked_fill(~both_BMM, floor).softmax(-1).masked_fill(~both_BMM, 0.0)
    weighted_BMM = cosine_BMM * softmax_BMM
    if row_normalise:
        weighted_BMM = normalize(weighted_BMM, dim=-1)
    return Scores(cosine_BMM, softmax_BMM, weighted_BMM)
