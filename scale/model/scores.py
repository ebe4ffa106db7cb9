"""Inter-modality scores S and S' (paper, section 4.3): agreement of a product's modalities.

B products, M modalities (five), D width.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize


@dataclass
class Scores:
    """Three forms of the agreement between a product's modalities; 0 for missing ones."""

    cosine_BMM: Tensor
    """S_ij = cos(f_i, f_j)."""
    softmax_BMM: Tensor
    """Softmax of S along the row, over the present modalities."""
    weighted_BMM: Tensor
    """S' = S * softmax(S), element by element; the modality matching scores."""


def inter_modality_scores(
    pooled_BMD: Tensor,
    present_BM: Tensor | None = None,
    level: Literal["sample", "batch"] = "sample",
    row_normalise: bool = False,
) -> Scores:
    """Return S_ij = cos(f_i, f_j), softmax_j(S), and S' = S * softmax_j(S) (paper, section 4.3).

    Args:
        pooled_BMD: pooled features f_1 .. f_5 of each product, of any scale; half precision is
            converted to float32.
        present_BM: True where the product has the modality; None: everywhere. Rows and columns of
            missing modalities are 0, and the softmax runs over present ones, so values of missing
            features (zeros, NaN) have no effect. A feature of length zero has cosine 0.
        level: `sample`: one S per product. `batch`: S is the mean over the products that have both
            modalities, followed by the softmax; each product gets the entries of its modalities.
        row_normalise: divide each row of S' by its L2 norm, as in the released code. This cancels
            the denominator of the softmax: G_ij = S_ij exp(S_ij) / norm of the row.

    Returns:
        Scores with three tensors of shape (B, M, M).

    Raises:
        ValueError: the shapes of features and presence do not match.
    """
    if present_BM is None:
        present_BM = torch.ones(pooled_BMD.shape[:2], dtype=torch.bool, device=pooled_BMD.device)
    if present_BM.shape != pooled_BMD.shape[:2]:
        raise ValueError(
            f"present_BM is {tuple(present_BM.shape)}, pooled_BMD is {tuple(pooled_BMD.shape)}"
        )
    both_BMM = present_BM[:, :, None] & present_BM[:, None, :]
    # Missing features are replaced before the norm: 0 * NaN is NaN, also in the gradient.
    # Half precision would round the cosines by 1 %, and 0 / max(0, 1e-12) would be NaN in fp16.
    pooled_BMD = to_float32(pooled_BMD).masked_fill(~present_BM[:, :, None], 0.0)
    unit_BMD = normalize(pooled_BMD, dim=-1)
    cosine_BMM = unit_BMD @ unit_BMD.transpose(1, 2)
    if level == "batch":
        count_MM = both_BMM.sum(0).clamp(min=1)
        mean_MM = cosine_BMM.masked_fill(~both_BMM, 0.0).sum(0) / count_MM
        cosine_BMM = mean_MM.expand_as(cosine_BMM)
    cosine_BMM = cosine_BMM.masked_fill(~both_BMM, 0.0)

    # With -inf, a row without present modalities would be NaN; its softmax is set to 0 below.
    floor = torch.finfo(cosine_BMM.dtype).min
    softmax_BMM = cosine_BMM.masked_fill(~both_BMM, floor).softmax(-1).masked_fill(~both_BMM, 0.0)
    weighted_BMM = cosine_BMM * softmax_BMM
    if row_normalise:
        weighted_BMM = normalize(weighted_BMM, dim=-1)
    return Scores(cosine_BMM, softmax_BMM, weighted_BMM)


def product_embedding(pooled_BMD: Tensor, present_BM: Tensor) -> Tensor:
    """Return e = unit(mean over the present modalities m of unit(f_m)), unit(x) = x / |x|.

    emb_BD has unit length; zeros for a product without any modality. Differentiable; the
    features of absent modalities are ignored.
    """
    pooled_BMD = to_float32(pooled_BMD).masked_fill(~present_BM[:, :, None], 0.0)
    # The divisor of the mean cancels in the outer normalisation.
    return normalize(normalize(pooled_BMD, dim=-1).sum(1), dim=-1)


def to_float32(values: Tensor) -> Tensor:
    """Convert half precision to float32, for logarithms and sums; other dtypes are unchanged."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
