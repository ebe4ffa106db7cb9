"""Is it learning, and what might be wrong? Figures that say so early.

N products, M modalities (five), P pairs (ten), D width.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from scale.modalities import MODALITIES, PAIRS

COLLAPSED = 0.98
"""Mean cosine between different products above which features say next to nothing."""


def alignment(pooled_NMD: Tensor, present_NM: Tensor) -> float:
    """Mean squared distance between the modalities of one product, over all pairs that are there.

    E || z_i - z_j ||^2 with z unit features (Wang and Isola, 2020); 0 is perfect, 2 unrelated.
    NaN where no product has two modalities.
    """
    unit_NMD = normalize(pooled_NMD, dim=-1)
    terms = [
        (unit_NMD[both, i] - unit_NMD[both, j]).square().sum(-1)
        for i, j in PAIRS
        for both in [present_NM[:, i] & present_NM[:, j]]
    ]
    return torch.cat(terms).mean().item()


def uniformity(pooled_NMD: Tensor, present_NM: Tensor) -> float:
    """log E exp(-2 || x - y ||^2) over different products, mean over modalities (ibid.).

    0 is collapse (all the same), about -4 is spread over the whole sphere. NaN where no modality
    has two products.
    """
    values = [
        torch.pdist(unit_ND).square().mul(-2).exp().mean().log()
        for unit_ND in _by_modality(pooled_NMD, present_NM).values()
    ]
    return torch.stack(values).mean().item() if values else float("nan")


def mean_cosine(pooled_NMD: Tensor, present_NM: Tensor) -> dict[str, float]:
    """By modality, the mean cosine between different products; near 1 is collapse."""
    cosines = {}
    for m, unit_ND in _by_modality(pooled_NMD, present_NM).items():
        count = len(unit_ND)
        total = unit_ND.sum(0).square().sum() - count
        cosines[m] = (total / (count * (count - 1))).item()
    return cosines


def collapse_warning(pooled_NMD: Tensor, present_NM: Tensor) -> str | None:
    """A sentence that names the collapsed modalities and what to try, or None."""
    collapsed = {m: c for m, c in mean_cosine(pooled_NMD, present_NM).items() if c > COLLAPSED}
    if not collapsed:
        return None
    named = ", ".join(f"{m} (mean cosine {c:.3f})" for m, c in collapsed.items())
    return (
        f"features of different products are nearly the same in {named}: the model has collapsed "
        "or has not begun to learn. Try a lower learning rate, a longer warm-up, "
        "loss.weight_gradient=False, or check that the inputs differ (scale inspect)."
    )


def duplicate_warnings(content_NM: Tensor, batch_size: int, ignored: bool) -> list[str]:
    """Sentences on modalities whose content repeats, and what it does to the negatives.

    With shares p_c of the contents, an anchor meets (B - 1) sum_c p_c (n_c - 1) / (N - 1) products
    of its own content in a batch of B: false negatives.
    """
    sentences = []
    for m, name in enumerate(MODALITIES):
        content_N = content_NM[content_NM[:, m] >= 0, m]
        if len(content_N) < 2:
            continue
        count_C = content_N.unique(return_counts=True)[1]
        repeated = count_C[count_C > 1].sum().item()
        if not repeated:
            continue
        others = (count_C * (count_C - 1)).sum().item() / len(content_N) / (len(content_N) - 1)
        sentences.append(
            f"{name}: {repeated} of {len(content_N)} products share their content with another; "
            f"about {others * (batch_size - 1):.2f} false negatives an anchor in a batch of "
            f"{batch_size}, "
            + ("left out of the loss" if ignored else "counted as negatives: consider "
               "loss.ignore_duplicates=True")
        )  # fmt: skip
    return sentences


def _by_modality(pooled_NMD: Tensor, present_NM: Tensor) -> dict[str, Tensor]:
    """Unit features by modality, for those that at least two products have."""
    unit_NMD = normalize(pooled_NMD.float(), dim=-1)
    return {
        name: unit_NMD[present_NM[:, m], m]
        for m, name in enumerate(MODALITIES)
        if present_NM[:, m].sum() >= 2
    }
