"""Classification of products by a linear probe, beside the majority baseline.

N products, C classes, D width, R resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scale.evaluation.bootstrap import NOTHING, Estimate, estimate_weighted, group_sum
from scale.evaluation.ranking import shared_codes

DEFINITIONS = {
    "accuracy": "share of test products whose class is predicted",
    "macro-F1": "mean of F1 = 2 tp / (true + predicted) over the classes that are true or "
    "predicted among the test products",
    "majority": "the most frequent class of the training split, predicted for all",
    "unseen": "test products of a class that the training split lacks stay in, scored as wrong",
}


@dataclass(frozen=True)
class Examples:
    """What to classify, and its classes."""

    inputs: Any
    """emb_ND for `linear_probe`; for `fine_tuning.fine_tune` a data set with `collate`."""
    labels: Sequence[str | None]
    """Class; None where unknown: left out and counted."""

    def known(self) -> list[int]:
        """Rows that have a class."""
        return [row for row, label in enumerate(self.labels) if label is not None]

    def known_labels(self) -> list[str]:
        """Their classes."""
        return [label for label in self.labels if label is not None]


@dataclass(frozen=True)
class Classification:
    """How well the classes of the test products were predicted."""

    scores: dict[str, Estimate]
    """accuracy, macro-F1."""
    majority: dict[str, Estimate]
    predicted: tuple[str, ...]
    """Of the labelled test products, in their order."""
    counts: dict[str, int]
    settings: dict[str, Any]


def linear_probe(
    train: Examples,
    val: Examples,
    test: Examples,
    strengths: Sequence[float] = (0.01, 0.1, 1.0, 10.0),
    seed: int = 0,
) -> Classification:
    """Multinomial logistic regression on standardised embeddings; needs scikit-learn.

    C, the inverse of the L2 penalty, is the smallest of `strengths` with the best accuracy on
    `val` (1.0 where `val` has no label); mean and deviation are the training split's.

    Raises:
        ValueError: the training split has fewer than two classes.
    """
    from sklearn.linear_model import LogisticRegression

    emb_ND = train.inputs[train.known()]
    labels = np.array(train.known_labels())
    check_classes(labels)
    mean_D, deviation_D = emb_ND.mean(0), emb_ND.std(0)
    deviation_D = np.where(deviation_D > 0, deviation_D, 1.0)

    def standardised(examples: Examples) -> NDArray[np.float64]:
        return (examples.inputs[examples.known()] - mean_D) / deviation_D

    def fitted(strength: float) -> LogisticRegression:
        return LogisticRegression(C=strength, max_iter=2000).fit(standardised(train), labels)

    best, settings = 1.0, {"chosen on": "nothing"}
    if val.known():
        accuracy = {c: fitted(c).score(standardised(val), val.known_labels()) for c in strengths}
        best, settings = max(accuracy, key=accuracy.get), {"chosen on": "val"}
    predicted = fitted(best).predict(standardised(test)) if test.known() else []
    return assess(train, test, predicted, settings | {"C": best}, seed)


def classification_scores(
    true: Sequence[str], predicted: Sequence[str], seed: int = 0
) -> dict[str, Estimate]:
    """Accuracy and macro-F1 with intervals by bootstrap over the products.

    F1_c = 2 tp_c / (true_c + predicted_c); the mean runs over classes that are true or predicted.
    """
    if not len(true):
        return dict.fromkeys(("accuracy", "macro-F1"), NOTHING)
    true_N, predicted_N = shared_codes(true, predicted)
    size = int(max(true_N.max(), predicted_N.max())) + 1
    right_N = true_N == predicted_N

    def scores(weights_RN: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        tp_RC = group_sum(weights_RN * right_N, true_N, size)
        either_RC = group_sum(weights_RN, true_N, size) + group_sum(weights_RN, predicted_N, size)
        f1_RC = 2 * tp_RC / np.maximum(either_RC, 1)
        macro_R = f1_RC.sum(1) / (either_RC > 0).sum(1)
        return {"accuracy": tp_RC.sum(1) / weights_RN.sum(1), "macro-F1": macro_R}

    return estimate_weighted(scores, len(true_N), seed)


def assess(
    train: Examples, test: Examples, predicted: Sequence[str], settings: dict[str, Any], seed: int
) -> Classification:
    """Score the predictions for the labelled products of `test`, and count what was special."""
    true, seen = test.known_labels(), set(train.known_labels())
    names, counts_C = np.unique(train.known_labels(), return_counts=True)
    majority = [str(names[counts_C.argmax()])] * len(true)
    unseen = [label for label in true if label not in seen]
    counts = {
        "train": len(train.known()),
        "test": len(true),
        "unlabelled": len(test.labels) - len(true),
        "classes": len(seen),
        "unseen classes": len(set(unseen)),
        "test products of unseen classes": len(unseen),
    }
    predicted = [str(label) for label in predicted]
    scores = classification_scores(true, predicted, seed)
    baseline = classification_scores(true, majority, seed)
    return Classification(scores, baseline, tuple(predicted), counts, settings)


def check_classes(labels: Sequence[str]) -> None:
    """Raises ValueError where there is nothing to tell apart."""
    if len(set(labels)) < 2:
        raise ValueError(f"the training split has {len(set(labels))} classes; two are needed")
