"""Classification of products by fine-tuning the whole model.

B products of a batch, C classes, D width.
"""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from scale.evaluation.classification import Classification, Examples, assess, check_classes
from scale.evaluation.embed import product_embedding


@dataclass(frozen=True)
class FineTuneConfig:
    """How `fine_tune` optimises."""

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
) -> Classification:
    """Train a copy of the model and a linear classifier on its product embedding.

    logits = W (sqrt(D) e) + b with e from `product_embedding`: sqrt(D) gives the unit vector
    coordinates of variance 1. Cross-entropy, AdamW; the epoch with the best validation accuracy
    counts (the last one where `val` has no label). The model given and torch's global random
    state are left as they were.

    Raises:
        ValueError: the training split has fewer than two classes.
        FloatingPointError: a loss is not finite; the message says in which epoch.
    """
    from tqdm.auto import trange

    config = config or FineTuneConfig()
    device = torch.device(device)
    check_classes(train.known_labels())
    classes = sorted(set(train.known_labels()))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config.seed)
        tuned = _Classifier(copy.deepcopy(model).to(device), train, len(classes)).to(device)
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

    def __init__(self, model: nn.Module, train: Examples, classes: int):
        super().__init__()
        self.model = model
        with torch.no_grad():
            first = model.embed(train.inputs.collate(train.known()[:1]).to(self.device))
        width = first.pooled_BMD.shape[2]
        self.scale = width**0.5
        self.head = nn.Linear(width, classes)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def forward(self, examples: Examples, rows: list[int]) -> Tensor:
        """logits_BC of the products at `rows`."""
        output = self.model.embed(examples.inputs.collate(rows).to(self.device))
        emb_BD = product_embedding(output.pooled_BMD, output.present_BM)
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
