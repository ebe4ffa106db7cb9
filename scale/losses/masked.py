"""The masked losses: cross-entropy for word pieces, squared error for vectors (paper, 4.2).

N masked positions of the batch, V vocabulary, F features.
"""

from typing import Literal

from torch import Tensor
from torch.nn.functional import cross_entropy

from scale.model.scores import to_float32


def masked_token_loss(
    logits_NV: Tensor,
    target_N: Tensor,
    weight_N: Tensor | None = None,
    weight_on: Literal["loss", "logits"] = "loss",
) -> Tensor:
    """Return L = mean_n w_n CE(logits_n, target_n), or mean_n CE(w_n logits_n, target_n).

    Args:
        logits_NV: predictions at the masked positions of all products.
        target_N: original word pieces.
        weight_N: weight of each position (S'_ii of its product); None: 1.
        weight_on: `logits` makes the weight an inverse temperature (the paper's formula).

    Returns:
        A scalar; 0 with zero gradient if nothing is masked, so that no NaN enters a sum.
    """
    if weight_N is not None and weight_on == "logits":
        logits_NV = logits_NV * weight_N[:, None]
    loss_N = cross_entropy(to_float32(logits_NV), target_N, reduction="none")
    if weight_N is not None and weight_on == "loss":
        loss_N = loss_N * weight_N
    return loss_N.sum() / max(len(target_N), 1)


def masked_vector_loss(
    predicted_NF: Tensor,
    target_NF: Tensor,
    weight_N: Tensor | None = None,
    weight_on: Literal["loss", "prediction"] = "loss",
) -> Tensor:
    """Return L = mean_n w_n mean_f (p_nf - t_nf)^2.

    Args:
        predicted_NF, target_NF: vectors at the masked positions of all products.
        weight_N: weight of each position (S'_ii of its product); None: 1.
        weight_on: `prediction` uses (w p - t)^2, whose optimum is p = t / w: a fault of the
            released code, kept to reproduce its numbers.

    Returns:
        A scalar; 0 with zero gradient if nothing is masked.
    """
    if weight_N is not None and weight_on == "prediction":
        predicted_NF = predicted_NF * weight_N[:, None]
    loss_N = (to_float32(predicted_NF) - target_NF).square().mean(dim=1)
    if weight_N is not None and weight_on == "loss":
        loss_N = loss_N * weight_N
    return loss_N.sum() / max(len(loss_N), 1)
