"""Classification of products by a linear probe or by fine-tuning, beside the majority baseline.

N products, B products of a batch, C classes, D width, R resamples.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from scale.evaluation.bootstrap import NOTHING, Estimate, estimate_weighted, group_sum
from scale.evaluation.embed import Features, embed_batch
from scale.evaluation.retrieval import shared_codes

DEFINITIONS = {
    "accuracy": "share of test products whose class is predicted",
    "macro-F1": "mean of F1 = 2 tp / (true + predicted) over the classes that are true or "
    "predicted among the test products",
    "majority": "the most frequent class of the training split, predicted for all",
    "unseen": "test products of a class that the training split lacks are kept and count as wrong",
}


@dataclass(frozen=True)
class Examples:
    """Products to classify and their classes."""

    inputs: Any
    """emb_ND for `linear_probe`; a data set with `collate` for `fine_tune`."""
    labels: Sequence[str | None]
    """Class; None if unknown: left out and counted."""

    def known(self) -> list[int]:
        """Return the rows that have a class."""
        return [row for row, label in enumerate(self.labels) if label is not None]

    def known_labels(self) -> list[str]:
        """Return the classes of the rows that have one."""
        return [label for label in self.labels if label is not None]


@dataclass(frozen=True)
class Classification:
    """Predicted classes of the test products and their scores."""

    scores: dict[str, Estimate]
    """accuracy, macro-F1."""
    majority: dict[str, Estimate]
    predicted: tuple[str, ...]
    """Of the labelled test products, in order."""
    right: tuple[bool, ...]
    """Whether each prediction is correct."""
    counts: dict[str, int]
    settings: dict[str, Any]


def linear_probe(
    train: Examples,
    val: Examples,
    test: Examples,
    strengths: Sequence[float] = (0.01, 0.1, 1.0, 10.0),
    seed: int = 0,
    *,
    standardise: bool = True,
    default: float = 1.0,
) -> Classification:
    """Fit and score a multinomial logistic regression on standardised embeddings.

    Mean and standard deviation are those of the training split. C, the inverse of the L2 penalty,
    is the smallest of `strengths` with the best accuracy on `val`.

    Args:
        standardise: False uses the embeddings as they are.
        default: C if `val` has no label.

    Raises:
        ValueError: the training split has fewer than two classes.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def rows(examples: Examples) -> NDArray[np.float32]:
        return examples.inputs[examples.known()]

    def fitted(strength: float) -> Any:
        regression = LogisticRegression(C=strength, max_iter=2000)
        probe = make_pipeline(StandardScaler(), regression) if standardise else regression
        return probe.fit(rows(train), train.known_labels())

    _check_classes(train.known_labels())
    best, settings = default, {"chosen on": "nothing"}
    if val.known():
        accuracy = {c: fitted(c).score(rows(val), val.known_labels()) for c in strengths}
        best, settings = max(accuracy, key=accuracy.get), {"chosen on": "val"}
    predicted = fitted(best).predict(rows(test)) if test.known() else []
    return assess(train, test, predicted, settings | {"C": best}, seed)


def classification_scores(
    true: Sequence[str], predicted: Sequence[str], seed: int = 0
) -> dict[str, Estimate]:
    """Return accuracy and macro-F1 with intervals by bootstrap over the products.

    F1_c = 2 tp_c / (true_c + predicted_c); macro-F1 is the mean over classes that are true or
    predicted.
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


@dataclass(frozen=True)
class FineTuneConfig:
    """Optimisation settings of `fine_tune`."""

    epochs: int = 15
    batch_size: int = 32
    learning_rate: float = 2e-4
    """Of the model; AdamW, constant."""
    head_learning_rate: float = 2e-3
    """Of the new linear classifier."""
    weight_decay: float = 0.01
    patience: int = 4
    """Epochs without a better validation accuracy before it stops."""
    seed: int = 0


def fine_tune(
    model: nn.Module,
    train: Examples,
    val: Examples,
    test: Examples,
    config: FineTuneConfig | None = None,
    device: torch.device | str = "cpu",
    progress: bool = True,
    features: Features = "encoder",
) -> Classification:
    """Train a copy of the model and a linear classifier on its product embedding.

    logits = W (sqrt(D) e) + b with e from `embed_batch`: the coordinates of sqrt(D) e have
    variance 1. Cross-entropy, AdamW; the epoch with the best validation accuracy
    is used (the last one if `val` has no label). With other `features` than `encoder`, the JCT is
    trained too. The given model and torch's global random state are unchanged.

    Raises:
        ValueError: the training split has fewer than two classes, or as `embed_batch`.
        FloatingPointError: a loss is not finite; the message names the epoch.
    """
    from tqdm.auto import trange

    config = config or FineTuneConfig()
    device = torch.device(device)
    _check_classes(train.known_labels())
    classes = sorted(set(train.known_labels()))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config.seed)
        tuned = _Classifier(copy.deepcopy(model).to(device), train, len(classes), features)
        tuned = tuned.to(device)
        groups = [
            {"params": tuned.model.parameters(), "lr": config.learning_rate},
            {"params": tuned.head.parameters(), "lr": config.head_learning_rate},
        ]
        optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
        best, best_epoch, state = -1.0, -1, tuned.state_dict()
        for epoch in trange(config.epochs, desc="fine-tune", disable=not progress):
            tuned.run_epoch(train, classes, optimizer, config.batch_size, epoch)
            accuracy = tuned.accuracy(val, classes, config.batch_size)
            if accuracy > best or not val.known():
                best, best_epoch = accuracy, epoch
                state = copy.deepcopy(tuned.state_dict())
            elif epoch - best_epoch >= config.patience:
                break
        tuned.load_state_dict(state)
        predicted = tuned.predict(test, classes, config.batch_size)
    settings = {"best epoch": best_epoch + 1, "chosen on": "val" if val.known() else "nothing"}
    return assess(train, test, predicted, settings, config.seed)


class _Classifier(nn.Module):
    """A model with a linear classifier on its product embedding."""

    def __init__(self, model: nn.Module, train: Examples, classes: int, features: Features):
        super().__init__()
        self.model, self.features = model, features
        with torch.no_grad():
            first = train.inputs.collate(train.known()[:1]).to(self.device)
            width = embed_batch(model, first, features).shape[1]
        self.scale = width**0.5
        self.head = nn.Linear(width, classes)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def forward(self, examples: Examples, rows: list[int]) -> Tensor:
        """Return logits_BC of the products at `rows`."""
        batch = examples.inputs.collate(rows).to(self.device)
        emb_BD = embed_batch(self.model, batch, self.features)
        return self.head(self.scale * emb_BD.to(self.head.weight.dtype))

    def run_epoch(
        self,
        train: Examples,
        classes: list[str],
        optimizer: torch.optim.Optimizer,
        batch_size: int,
        epoch: int,
    ) -> None:
        self.train()
        code = {name: i for i, name in enumerate(classes)}
        rows = torch.tensor(train.known())
        for piece in rows[torch.randperm(len(rows))].split(batch_size):
            targets = [code[train.labels[row]] for row in piece.tolist()]
            logits_BC = self(train, piece.tolist())
            loss = cross_entropy(logits_BC, torch.tensor(targets, device=self.device))
            if not torch.isfinite(loss):
                raise FloatingPointError(
                    f"fine-tuning: the loss is not finite in epoch {epoch + 1}; try a lower "
                    "learning rate"
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def predict(self, examples: Examples, classes: list[str], batch_size: int) -> list[str]:
        self.eval()
        rows = torch.tensor(examples.known(), dtype=torch.long)
        with torch.no_grad():
            pieces = [
                self(examples, p.tolist()).argmax(1) for p in rows.split(batch_size) if len(p)
            ]
        return [classes[i] for piece in pieces for i in piece.tolist()]

    def accuracy(self, examples: Examples, classes: list[str], batch_size: int) -> float:
        predicted = self.predict(examples, classes, batch_size)
        return float(np.mean(np.array(predicted) == examples.known_labels())) if predicted else 0.0


def assess(
    train: Examples, test: Examples, predicted: Sequence[str], settings: dict[str, Any], seed: int
) -> Classification:
    """Score the predictions for the labelled products of `test` and count special cases."""
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
    right = tuple(a == b for a, b in zip(true, predicted, strict=True))
    return Classification(scores, baseline, tuple(predicted), right, counts, settings)


def _check_classes(labels: Sequence[str]) -> None:
    """Raise ValueError if there are fewer than two classes."""
    if len(set(labels)) < 2:
        raise ValueError(f"the training split has {len(set(labels))} classes; two are needed")
