"""Failure modes of training for notebook 10: contrastive loss curves on a single batch.

B products of the batch, M modalities (five), D width.
"""

from dataclasses import replace

import torch

from scale.config import Config, LossConfig
from scale.data.dataset import ProductDataset
from scale.losses.contrastive import pair_losses
from scale.modalities import MODALITIES, PAIRS
from scale.training.run import seeded_model
from scale.training.trainer import Trainer

FAILURE_MODES = {
    "healthy": {},
    "learning rate 50 times too high": {"learning_rate": 0.1},
    "learning rate 100 times too low": {"learning_rate": 2e-5},
    "temperature 2 instead of 0.07": {"temperature": 2.0},
}
"""Name -> arguments of `contrastive_curve`."""
SHUFFLED_MODALITIES = "modalities mixed up"


def contrastive_curve(
    config: Config,
    batch: ProductDataset,
    steps: int = 25,
    learning_rate: float = 2e-3,
    temperature: float = 0.07,
) -> list[float]:
    """Return the mean InfoNCE of the ten pairs at each step of training on a single batch.

    A healthy model memorises the batch; chance is log(len(batch)).
    """
    train = replace(
        config.train, steps=steps, batch_size=len(batch), learning_rate=learning_rate, device="cpu"
    )
    loss = LossConfig(tasks=("contrastive",), temperature=temperature)
    config = replace(config, loss=loss, train=train)
    trainer = Trainer(config, seeded_model(config), batch)
    return [trainer.train_step(step).loss.total.item() / len(PAIRS) for step in range(steps)]


def shuffled_curve(
    config: Config, batch: ProductDataset, steps: int = 25, seed: int = 0
) -> list[float]:
    """Return `contrastive_curve` with every modality permuted among products at each step.

    Modalities are unrelated, so the expected loss of any model is at least that of chance.
    """
    random = torch.Generator().manual_seed(seed)
    model = seeded_model(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    products, losses = batch.collate(range(len(batch))), []
    for _ in range(steps):
        pooled_BMD = model.embed(products).pooled_BMD
        order = [torch.randperm(len(batch), generator=random) for _ in MODALITIES]
        mixed_BMD = torch.stack([pooled_BMD[order_B, m] for m, order_B in enumerate(order)], dim=1)
        everything_BM = torch.ones(mixed_BMD.shape[:2], dtype=torch.bool)
        loss = pair_losses(mixed_BMD, everything_BM).mean_P().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def failure_curves(config: Config, batch: ProductDataset) -> dict[str, list[float]]:
    """Return the curves of the healthy run and of all failure modes on the same batch."""
    curves = {
        name: contrastive_curve(config, batch, **fault) for name, fault in FAILURE_MODES.items()
    }
    return curves | {SHUFFLED_MODALITIES: shuffled_curve(config, batch)}


def complete_products(data: ProductDataset, count: int) -> ProductDataset:
    """Return the first `count` products with all modalities.

    Raises ValueError if there are fewer.
    """
    complete = data.present_NM.all(axis=1).nonzero()[0]
    if len(complete) < count:
        raise ValueError(f"{len(complete)} complete products, {count} are needed")
    return data.subset(complete[:count])
