"""`scale doctor`: does this installation work, and can the model learn one batch by heart?"""

import importlib.util
import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import torch

from scale.config import Config
from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue, with_splits
from scale.data.tokenizer import train_tokenizer
from scale.losses.masking import WordPieces, mask_batch
from scale.losses.total import scale_loss
from scale.training.run import build_dataset, fit_vocabulary, seeded_model
from scale.training.step import make_accelerator

LIBRARIES = {
    "torch": "training", "torchvision": "timm", "timm": "encoders",
    "transformers": "encoders and tokenizers", "accelerate": "devices", "av": "clips and sounds",
    "sklearn": "linear probe and k-means", "matplotlib": "figures", "umap": "embedding map",
    "faiss": "fast search (exact without it)", "tensorboard": "TensorBoard logs",
    "tyro": "the command line", "jupyterlab": "notebooks",
}  # fmt: skip
"""Modules, and what works only with them."""

DISTRIBUTIONS = {"sklearn": "scikit-learn", "umap": "umap-learn", "faiss": "faiss-cpu"}

LEARNED = {"contrastive": 0.2, "MLM": 0.5, "MEM": 0.5, "MRP": 0.7, "MFP": 0.7, "MAM": 0.7}
"""Share of its first value below which each loss must fall on one batch; a model whose gradients
are cut off or whose targets are shuffled stays above."""


@dataclass(frozen=True)
class Check:
    """One line of the doctor's report."""

    name: str
    passed: bool
    detail: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.passed else 'FAIL'}  {self.name}: {self.detail}"


def examine_installation() -> Iterator[Check]:
    """Python, libraries and devices; a library that is missing fails with what needs it."""
    yield Check("python", True, f"{platform.python_version()} on {platform.platform()}")
    for module, use in LIBRARIES.items():
        there = importlib.util.find_spec(module) is not None
        found = version(DISTRIBUTIONS.get(module, module)) if there else f"missing; needed: {use}"
        yield Check(module, there, found)
    device = make_accelerator("auto", "no").device
    name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    yield Check("device", True, f"{name}, {torch.get_num_threads()} CPU threads")


def overfit_one_batch(
    config: Config, folder: Path, steps: int = 120, cache: FeatureCache | None = None
) -> Iterator[Check]:
    """Train on one batch of a catalogue, always with the same masks: each loss must fall.

    It tells whether data, model and objectives fit together; nothing more. A loss that stays where
    it was is that of a task which cannot learn at all.
    """
    catalogue = with_splits(Catalogue.open(folder))
    tokenizer = train_tokenizer(catalogue.split("train").products, config.features.vocab_size)
    config = fit_vocabulary(config, tokenizer)
    data = build_dataset(catalogue.split("train"), config, tokenizer, None, cache=cache)
    complete = torch.from_numpy(data.present_NM).sum(1).argsort(descending=True, stable=True)
    batch = data.collate(complete[:16])
    loss_config = replace(config.loss, weight_on="none")
    masked = mask_batch(batch, config.mask, WordPieces.of(tokenizer), (0,), loss_config.tasks)
    model = seeded_model(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.train.learning_rate)
    first, last = {}, {}
    for _ in range(steps):
        losses = scale_loss(model(masked.batch, masked.hidden), masked, loss_config).losses
        last = {name: value.item() for name, value in losses.items()}
        first = first or last
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.train.clip_norm)
        optimizer.step()
    for name, value in last.items():
        share = value / first[name]
        yield Check(
            f"overfit {name}",
            share < LEARNED[name],
            f"{first[name]:.3f} -> {value:.3f} in {steps} steps on {len(batch)} products "
            f"({share:.0%}; must be under {LEARNED[name]:.0%})",
        )
