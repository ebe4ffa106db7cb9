"""S and the contrastive loss on clean inputs beside masked losses on masked ones; `mask.always`."""

from dataclasses import replace

import torch

from scale.losses.masking import WordPieces, mask_batch
from scale.losses.total import scale_loss
from scale.modalities import MODALITIES, SPECS, TASKS
from scale.studies.clean_contrast import CleanContrastModel, unmask
from scale.training.run import fit_sizes, seeded_model
from scale.training.trainer import Trainer


def masked_batch(data, config, tasks=TASKS):
    pieces = WordPieces.of(data.tokenizer)
    return mask_batch(data.collate(range(12)), config.mask, pieces, (0, 1), tasks)


def test_unmask_restores_the_batch(small_data):
    data, config = small_data
    clean, found = data.collate(range(12)), unmask(masked_batch(data, config))
    assert found.tokens.keys() == clean.tokens.keys() == set(MODALITIES)
    for m, tokens in clean.tokens.items():
        assert torch.equal(found.tokens[m].values, tokens.values)
        assert not torch.equal(masked_batch(data, config).batch.tokens[m].values, tokens.values)


def test_contrast_is_that_of_clean_inputs_and_masked_losses_those_of_masked_ones(small_data):
    data, config = small_data
    config = fit_sizes(config, data)
    model, plain = CleanContrastModel(config).eval(), seeded_model(config).eval()
    masked, clean = masked_batch(data, config), masked_batch(data, config, ())
    found = model.objective(masked)
    on_masked = scale_loss(plain(masked.batch, masked.hidden), masked, config.loss)
    on_clean = scale_loss(plain(clean.batch), clean, config.loss)
    torch.testing.assert_close(found.losses["contrastive"], on_clean.losses["contrastive"])
    torch.testing.assert_close(found.scores.weighted_BMM, on_clean.scores.weighted_BMM)
    assert not torch.allclose(found.losses["contrastive"], on_masked.losses["contrastive"])
    for task in TASKS:
        torch.testing.assert_close(found.losses[task], on_masked.losses[task])


def test_always_masks_the_inputs_of_inactive_tasks(small_data):
    data, config = small_data
    config = fit_sizes(config, data)
    active = replace(config.loss, tasks=("contrastive", "MLM"))
    batches, losses = {}, {}
    for always in (False, True):
        mask = replace(config.mask, always=always)
        trainer = Trainer(replace(config, mask=mask, loss=active), seeded_model(config), data)
        (batches[always],) = trainer._masked_batches(0, [slice(0, 8)])
        losses[always] = trainer.train_step(0).loss.losses
    every = Trainer(config, seeded_model(config), data)._masked_batches(0, [slice(0, 8)])[0]
    assert [*batches[False].hidden] == ["text"]
    assert batches[True].hidden.keys() == every.hidden.keys() == set(MODALITIES)
    for m in MODALITIES:
        masked = batches[True].batch.tokens[m].values
        assert torch.equal(masked, every.batch.tokens[m].values)
        assert torch.equal(masked, batches[False].batch.tokens[m].values) == (m == "text")
    assert losses[True].keys() == losses[False].keys() == {"contrastive", SPECS["text"].task}
    assert losses[True]["contrastive"] != losses[False]["contrastive"]
