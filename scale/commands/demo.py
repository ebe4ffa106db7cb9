"""`scale demo` and `scale doctor`: commands that check an installation."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from scale.config import Config, tiny

if TYPE_CHECKING:
    from scale.data.cache import FeatureCache

LIBRARIES = {
    "torch": "training", "torchvision": "timm", "timm": "encoders",
    "transformers": "encoders and tokenizers", "accelerate": "devices", "av": "video and audio",
    "sklearn": "linear probe and k-means", "matplotlib": "figures", "umap": "embedding map",
    "faiss": "fast search (exact without it)", "tensorboard": "TensorBoard logs",
    "tyro": "the command line", "jupyterlab": "notebooks",
}  # fmt: skip
"""Modules and their uses."""

LEARNED = {"contrastive": 0.2, "MLM": 0.5, "MEM": 0.5, "MRP": 0.7, "MFP": 0.7, "MAM": 0.7}
"""Fraction of its initial value below which each loss must fall on one batch. A model with a broken
gradient or shuffled targets stays above."""


@dataclass
class Demo:
    """Inspect, train, evaluate and draw the sample shop; stages that are up to date are skipped.

    Example: scale demo
    """

    out: Path = Path("runs/demo")
    """Run folder."""

    def run(self) -> None:
        """Run all stages and print a summary."""
        from scale.demo import demo

        demo(self.out)


@dataclass
class Doctor:
    """Check the installation, then overfit one batch with the tiny model.

    Example: scale doctor
    """

    catalogue: Path | None = None
    """Catalogue of the batch; default: the sample shop."""
    steps: int = 120
    """Training steps on the batch."""
    run_folder: Annotated[Path | None, tyro.conf.arg(name="run")] = None
    """Run folder: also estimate the share of wrong contents in the catalogue, which fits a dozen
    small models, and recommend weights."""

    def run(self) -> None:
        """Print a line per check. Raises RuntimeError if a check fails."""
        from scale.demo import samples_folder

        failed = 0
        folder = self.catalogue or samples_folder()
        for checks in (examine_installation(), overfit_one_batch(tiny(), folder, self.steps)):
            for check in checks:
                print(check)
                failed += not check.passed
        if self.run_folder is not None:
            print(examine_catalogue(self.run_folder, folder))
        if failed:
            raise RuntimeError(f"{failed} checks failed (lines that begin with FAIL)")


@dataclass(frozen=True)
class Check:
    """One line of the doctor's report."""

    name: str
    passed: bool
    detail: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.passed else 'FAIL'}  {self.name}: {self.detail}"


def examine_installation() -> Iterator[Check]:
    """Check Python, libraries and devices; the check of a missing library fails."""
    import importlib.util
    import platform
    from importlib.metadata import version

    import torch

    from scale.cli import DISTRIBUTIONS
    from scale.training.distributed import make_accelerator

    yield Check("python", True, f"{platform.python_version()} on {platform.platform()}")
    for module, use in LIBRARIES.items():
        installed = importlib.util.find_spec(module) is not None
        name = DISTRIBUTIONS.get(module, module)
        yield Check(module, installed, version(name) if installed else f"missing; needed for {use}")
    device = make_accelerator("auto", "no").device
    name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    yield Check("device", True, f"{name}, {torch.get_num_threads()} CPU threads")


def examine_catalogue(run: Path, catalogue: Path) -> Check:
    """Estimate the share of wrong contents (training/cross_fit.py). Never fails."""
    import scale
    from scale.inference.mismatch import describe_shares, estimate_shares

    shares = estimate_shares(scale.load(run), scale.open(catalogue))
    return Check("agreement of the modalities", True, describe_shares(shares))


def overfit_one_batch(
    config: Config, folder: Path, steps: int = 120, cache: "FeatureCache | None" = None
) -> Iterator[Check]:
    """Train on one batch with fixed masks and check that each loss falls.

    This shows only that data, model and losses fit together. A loss that does not fall belongs to
    a task that cannot learn at all.
    """
    import torch

    from scale.data.catalogue import Catalogue, with_splits
    from scale.data.text_loss import choose_lengths
    from scale.data.tokenizer import train_tokenizer
    from scale.losses.masking import WordPieces, mask_batch
    from scale.losses.total import scale_loss
    from scale.training.run import build_dataset, fit_vocabulary, seeded_model

    train = with_splits(Catalogue.open(folder)).split("train")
    tokenizer = train_tokenizer(train.products, config.features.vocab_size)
    config = fit_vocabulary(config, tokenizer)
    config = choose_lengths(config, train.products, tokenizer)
    data = build_dataset(train, config, tokenizer, None, cache=cache)
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
