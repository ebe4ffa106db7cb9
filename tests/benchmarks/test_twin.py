"""The reference and the package compute the same step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from random_products import RandomProducts, presence
from twin import TwinStepper, twin_losses

from scale.config import LossConfig, MissingConfig
from scale.losses.masking import WordPieces, mask_batch
from scale.losses.total import scale_loss
from scale.modalities import CONTINUOUS
from scale.training.run import seeded_model
from scale.training.trainer import Trainer

WEIGHTED = LossConfig(weight_on="loss", weight_uniform_share=0.0)


@pytest.mark.parametrize("missing", ["complete", "m5product", "half"])
@pytest.mark.parametrize(
    "loss",
    [
        LossConfig(),
        WEIGHTED,
        replace(WEIGHTED, weight_gradient=True),
        replace(WEIGHTED, weight_mean_one=False, weight_gradient=True),
    ],
)
def test_losses_and_gradients_are_the_packages(config, missing, loss):
    config = replace(config, loss=loss, missing=MissingConfig("zero"))
    data = RandomProducts(config.model, presence(missing, 12))
    ours, theirs = (seeded_model(config).double().train() for _ in range(2))
    pieces = WordPieces.of(data.tokenizer)
    batch = data.collate(np.arange(12))
    for m in CONTINUOUS:
        batch.tokens[m].values = batch.tokens[m].values.double()
    masked = mask_batch(batch, config.mask, pieces, (1,), loss.tasks)

    mine = scale_loss(ours(masked.batch, masked.hidden), masked, loss).losses
    plain = twin_losses(theirs, masked, loss, progress=1.0)
    assert mine.keys() == plain.keys()
    for task, value in mine.items():
        torch.testing.assert_close(plain[task], value, rtol=1e-9, atol=1e-9)
    torch.stack(list(mine.values())).sum().backward()
    sum(plain.values()).backward()
    for (name, own), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        mine, plain = (torch.zeros_like(w) if w.grad is None else w.grad for w in (own, other))
        assert torch.allclose(plain, mine, rtol=1e-8, atol=1e-9), name


def test_a_few_steps_end_at_the_same_weights(config):
    train = replace(config.train, batch_size=8, steps=100, device="cpu")
    config = replace(config, train=train, loss=WEIGHTED)
    data = RandomProducts(config.model, presence("half", 8))
    trainer = Trainer(config, seeded_model(config), data)
    twin = TwinStepper(config, seeded_model(config), data)
    for step in range(3):
        total = trainer.train_step(step).loss.total
        torch.testing.assert_close(twin.step(step), total.detach(), rtol=1e-4, atol=1e-4)


def test_the_twin_rejects_unsupported_settings(config):
    data = RandomProducts(config.model, presence("complete", 4))
    pieces = WordPieces.of(data.tokenizer)
    masked = mask_batch(data.collate(np.arange(4)), config.mask, pieces, (1,), ())
    with pytest.raises(ValueError, match="cross-modal negatives"):
        twin_losses(seeded_model(config), masked, LossConfig(negatives="both"), 1.0)
