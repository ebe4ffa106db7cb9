"""Health checks of a run: non-finite losses, collapse, overfitting, false negatives.

Each check returns its finding, for the training log, the monitor and the notebooks.

N products, M modalities (five), C contents, D width, T logged steps.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from scale.modalities import MODALITIES, PAIRS

Curve = tuple[np.ndarray, np.ndarray]
"""Steps and values, both (T,)."""
BEST_BY = "val/MRR_above_chance"
"""Validation metric by which the best checkpoint is chosen; see `validation.validate`."""
RECALL = "val/Recall@10"
"""That of earlier versions, still logged."""
FEW_PRODUCTS = 50
"""Number of validation products below which the choice of a checkpoint is unreliable."""
SKIPPED_STEPS = 15
"""Number of consecutive steps without an update, under fp16, after which training ends. From the
gradient scaler's initial 2^16, as many halvings leave a scale of 2."""
COLLAPSED = 0.98
"""Mean cosine between different products above which features are considered collapsed."""
AVERAGED = 3
"""Number of consecutive validations that are averaged, because a single one is noisy."""
DROP = 0.05
"""Relative decrease from the best validation value that counts as overfitting."""
_EMPTY: Curve = (np.zeros(0), np.zeros(0))


class TrainingError(RuntimeError):
    """Training cannot continue; the message contains the step, the reason and a remedy."""


@dataclass(frozen=True)
class HealthIssue:
    """A problem found in the log of a run."""

    kind: Literal["not_finite", "collapse", "overfitting"]
    key: str
    """Name of the metric that shows it."""
    step: int
    """First step at which it is visible."""
    value: float
    """Latest value of the metric; for `not_finite` the number of affected lines."""
    best: float = np.nan
    """Best value, for `overfitting`."""


def check_health(curves: Mapping[str, Curve], steps: int | None) -> list[HealthIssue]:
    """Run all checks on the logged curves of a run of `steps` steps (None: unknown)."""
    found = [check_not_finite(key, *curve) for key, curve in curves.items()]
    found += [check_collapse(*curves.get("val/uniformity", _EMPTY), steps)]
    key = BEST_BY if BEST_BY in curves else RECALL
    found += [check_overfitting(curves.get(key, _EMPTY), curves.get("loss/total", _EMPTY), key)]
    return [issue for issue in found if issue is not None]


def check_not_finite(key: str, step_T: np.ndarray, value_T: np.ndarray) -> HealthIssue | None:
    """Find NaN or infinity in a loss or the gradient norm."""
    if not (key.startswith("loss/") or key == "grad_norm"):
        return None
    broken_T = ~np.isfinite(value_T)
    if not broken_T.any():
        return None
    return HealthIssue("not_finite", key, int(step_T[broken_T][0]), float(broken_T.sum()))


def check_collapse(
    step_T: np.ndarray, value_T: np.ndarray, steps: int | None
) -> HealthIssue | None:
    """Infer a mean cosine above `COLLAPSED` from the logged uniformity.

    log E exp(-2 d^2) >= -2 E d^2 = -4 (1 - mean cosine) by Jensen, with near equality close to 0,
    so a mean cosine above `COLLAPSED` implies a uniformity above -4 (1 - COLLAPSED). The first
    quarter of a run is exempt: features are still close to each other there.
    """
    limit = -4 * (1 - COLLAPSED)
    if not len(value_T) or not value_T[-1] > limit or step_T[-1] < (steps or 0) // 4:
        return None
    healthy_T = np.flatnonzero(~(value_T > limit))
    since = healthy_T[-1] + 1 if len(healthy_T) else 0
    return HealthIssue("collapse", "val/uniformity", int(step_T[since]), float(value_T[-1]))


def check_overfitting(validation: Curve, loss: Curve, key: str = BEST_BY) -> HealthIssue | None:
    """Find a falling validation metric while the training loss still falls.

    Compares means over `AVERAGED` validations: the latest is `DROP` below the best, and the mean
    loss since then is lower than over a stretch of equal length before.
    """
    step_T, value_T = validation
    if len(value_T) <= AVERAGED or not np.isfinite(value_T).all():
        return None
    mean_T = np.convolve(value_T, np.ones(AVERAGED) / AVERAGED, mode="valid")
    best = int(mean_T.argmax())
    if mean_T[best] <= 0 or mean_T[-1] >= (1 - DROP) * mean_T[best]:
        return None
    turn, end = step_T[best + AVERAGED // 2], step_T[-1]
    if not _mean_between(loss, turn, end) < _mean_between(loss, 2 * turn - end, turn):
        return None
    return HealthIssue("overfitting", key, int(turn), float(mean_T[-1]), best=float(mean_T[best]))


def require_finite(step: int, metrics: Mapping[str, float], precision: str) -> None:
    """Raise TrainingError if a metric of a step is NaN or infinite.

    Under fp16 the gradient may overflow: accelerate's gradient scaler then skips the step.
    """
    broken = [name for name, value in metrics.items() if not math.isfinite(value)]
    if broken and not (broken == ["grad_norm"] and precision == "fp16"):
        raise TrainingError(
            f"step {step}: {', '.join(broken)} not finite. Try a lower train.learning_rate, a "
            "longer train.warmup_share, train.precision bf16 instead of fp16, loss.weight_on none, "
            "or look for extreme features with scale inspect."
        )


def require_updates(step: int, skipped: int) -> None:
    """Raise TrainingError after `SKIPPED_STEPS` consecutive steps with a non-finite gradient."""
    if skipped >= SKIPPED_STEPS:
        raise TrainingError(
            f"step {step}: the gradient overflowed in {skipped} consecutive steps, so no weight "
            "was updated, although the gradient scaler halved the loss scale each time. Use "
            "train.precision bf16 or no instead of fp16."
        )


def small_validation_warning(products: int) -> str | None:
    """Return a message if few products choose the best checkpoint, or None."""
    if products >= FEW_PRODUCTS:
        return None
    if products < 2:
        return f"{products} products in the split val: nothing is validated, best is the last"
    return (
        f"only {products} products in the split val: the best checkpoint is chosen by a noisy "
        "figure; compare it with the last one (scale.load(run, 'last')), or enlarge the split"
    )


def alignment(pooled_NMD: Tensor, present_NM: Tensor) -> float:
    """Return the mean squared distance between modalities of one product, over all present pairs.

    E || z_i - z_j ||^2 with unit features z (Wang and Isola, 2020); 0 is perfect alignment, 2
    unrelated. NaN if no product has two modalities.
    """
    unit_NMD = normalize(pooled_NMD, dim=-1)
    terms = [
        (unit_NMD[both, i] - unit_NMD[both, j]).square().sum(-1)
        for i, j in PAIRS
        for both in [present_NM[:, i] & present_NM[:, j]]
    ]
    return torch.cat(terms).mean().item()


def uniformity(pooled_NMD: Tensor, present_NM: Tensor) -> float:
    """Return log E exp(-2 || x - y ||^2) over different products, mean over modalities (ibid.).

    0 means that all features are equal, about -4 that they cover the whole sphere. NaN if no
    modality has two products.
    """
    values = [
        torch.pdist(unit_ND).square().mul(-2).exp().mean().log()
        for unit_ND in _by_modality(pooled_NMD, present_NM).values()
    ]
    return torch.stack(values).mean().item() if values else float("nan")


def mean_cosine(pooled_NMD: Tensor, present_NM: Tensor) -> dict[str, float]:
    """Return the mean cosine between different products by modality; near 1 indicates collapse."""
    cosines = {}
    for m, unit_ND in _by_modality(pooled_NMD, present_NM).items():
        count = len(unit_ND)
        total = unit_ND.sum(0).square().sum() - count
        cosines[m] = (total / (count * (count - 1))).item()
    return cosines


def collapse_warning(pooled_NMD: Tensor, present_NM: Tensor) -> str | None:
    """Return a message that names the collapsed modalities and remedies, or None."""
    collapsed = {m: c for m, c in mean_cosine(pooled_NMD, present_NM).items() if c > COLLAPSED}
    if not collapsed:
        return None
    named = ", ".join(f"{m} (mean cosine {c:.3f})" for m, c in collapsed.items())
    return (
        f"features of different products are nearly the same in {named}: the model has collapsed "
        "or has not begun to learn. Try a lower learning rate, a longer warm-up, "
        "loss.weight_gradient=False, or check that the inputs differ (scale inspect)."
    )


def duplicate_warnings(content_id_NM: Tensor, batch_size: int, ignored: bool) -> list[str]:
    """Return a message for each modality with repeated contents: they become false negatives.

    With n_c products of content c and shares p_c = n_c / N, a batch of B contains on average
    (B - 1) sum_c p_c (n_c - 1) / (N - 1) other products of an anchor's content.

    Args:
        content_id_NM: content number by modality, -1 where absent.
        ignored: `loss.ignore_duplicates`.
    """
    messages = []
    for m, name in enumerate(MODALITIES):
        content_N = content_id_NM[content_id_NM[:, m] >= 0, m]
        if len(content_N) < 2:
            continue
        count_C = content_N.unique(return_counts=True)[1]
        repeated = count_C[count_C > 1].sum().item()
        if not repeated:
            continue
        others = (count_C * (count_C - 1)).sum().item() / len(content_N) / (len(content_N) - 1)
        messages.append(
            f"{name}: {repeated} of {len(content_N)} products share their content with another; "
            f"about {others * (batch_size - 1):.2f} false negatives per anchor in a batch of "
            f"{batch_size}, "
            + ("excluded from the loss" if ignored else "counted as negatives: consider "
               "loss.ignore_duplicates=True")
        )  # fmt: skip
    return messages


def _by_modality(pooled_NMD: Tensor, present_NM: Tensor) -> dict[str, Tensor]:
    """Return unit features of each modality that at least two products have."""
    unit_NMD = normalize(pooled_NMD.float(), dim=-1)
    return {
        name: unit_NMD[present_NM[:, m], m]
        for m, name in enumerate(MODALITIES)
        if present_NM[:, m].sum() >= 2
    }


def _mean_between(curve: Curve, low: float, high: float) -> float:
    """Return the mean of the finite values at steps in (low, high]; NaN if there is none."""
    step_T, value_T = curve
    here_T = (step_T > low) & (step_T <= high) & np.isfinite(value_T)
    return float(value_T[here_T].mean()) if here_T.any() else np.nan
