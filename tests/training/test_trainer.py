"""The training step and the loop: optimizer, clipping, dropout seeds, validation, progress bar."""

import math
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from scale.config import LossConfig
from scale.seeding import derived_seed
from scale.training import trainer as training_step
from scale.training.checkpoint_manager import read_state
from scale.training.health_checks import BEST_BY, SKIPPED_STEPS, TrainingError
from scale.training.optimizer import learning_rate
from scale.training.pretrain import fit_run
from scale.training.run import RunFolder, seeded_model
from scale.training.trainer import DROPOUT_STREAM, Trainer
from scale.training.validation import Validation
from tests.training.small_data import MIXED, SmallData, setting


def make_trainer(**train):
    present, config = setting(MIXED, LossConfig(), **train)
    return Trainer(config, seeded_model(config).double(), SmallData(present))


def test_optimizer_settings_and_learning_rate_of_each_step():
    trainer = make_trainer(weight_decay=0.3, steps=6, warmup_share=0.5)
    decayed, free = trainer.optimizer.param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.3, 0.0)
    assert decayed["betas"] == free["betas"] == (0.9, 0.98)
    train, rates = trainer.config.train, []
    for step in range(4):
        output = trainer.train_step(step)
        rates.append(learning_rate(step, train.steps, train.learning_rate, train.warmup_share))
        assert output.learning_rate == rates[-1]
        assert {group["lr"] for group in trainer.optimizer.param_groups} == {rates[-1]}
    assert len(set(rates)) > 2


@pytest.mark.parametrize("micro_batch", [0, 3])
def test_gradient_is_clipped_and_its_norm_before_is_logged(micro_batch):
    norms = []
    for clip_norm in (0.1, 1e6):
        trainer = make_trainer(clip_norm=clip_norm, micro_batch=micro_batch)
        output = trainer.train_step(0)
        gradients = [p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]
        norms.append((output.grad_norm.item(), torch.cat(gradients).norm().item()))
    (logged, clipped), (_, unclipped) = norms
    assert clipped == pytest.approx(0.1, rel=1e-4)
    assert logged == pytest.approx(unclipped)
    assert unclipped > 1


def test_dropout_is_seeded_by_run_step_and_micro_batch():
    """Both passes over a micro-batch have the same seed."""

    def seeds(micro_batch, seed=0):
        trainer, found = make_trainer(dropout=0.1, micro_batch=micro_batch, seed=seed), []
        trainer.model.encoders["text"].register_forward_pre_hook(
            lambda *_: found.append(torch.initial_seed())
        )
        for step in range(2):
            trainer.train_step(step)
        return found

    expected = [derived_seed(0, DROPOUT_STREAM, step) for step in range(2)]
    assert seeds(0) == expected
    assert seeds(0, seed=1) == [derived_seed(1, DROPOUT_STREAM, step) for step in range(2)]
    parts = [[derived_seed(0, DROPOUT_STREAM, step, at) for at in (0, 4)] for step in range(2)]
    assert seeds(4) == [*parts[0] * 2, *parts[1] * 2]
    # The first micro-batch has the seed of the whole batch: derived seeds ignore trailing zeros.
    assert len({*parts[0], *parts[1]}) == 4


def test_best_checkpoint_has_the_weights_of_the_best_validation(
    small_dataset, tmp_path, monkeypatch
):
    """The last of equal values counts, NaN never; a resumed run continues the comparison."""
    config, data = small_dataset
    values, validated = iter([0.3, 0.5, math.nan, 0.5, 0.4]), []

    def scripted(model, dataset, device):
        validated.append(dataset)
        return Validation({BEST_BY: next(values)}, None)

    monkeypatch.setattr(training_step, "validate", scripted)
    val_set = data.subset(range(4))
    for steps in (3, 5):
        train = replace(config.train, steps=steps, eval_every=1, keep_every=1, checkpoint_every=1)
        trainer = Trainer(replace(config, train=train), seeded_model(config), data)
        fit_run(trainer, val_set, RunFolder(tmp_path))
    assert len(validated) == 5
    assert all(dataset is val_set for dataset in validated)
    run = RunFolder(tmp_path)
    best = read_state(run.checkpoint("best"))
    assert (best.step, best.best_step, best.best_value) == (4, 4, 0.5)
    assert read_state(run.checkpoint("last")).best_step == 4
    weights = {n: load_file(run.checkpoint(n) / "model.safetensors")
               for n in ("best", "last", "step-000004", "step-000005")}  # fmt: skip
    for name in weights["best"]:
        assert torch.equal(weights["best"][name], weights["step-000004"][name])
        assert torch.equal(weights["last"][name], weights["step-000005"][name])
    assert any(not torch.equal(weights["best"][n], weights["last"][n]) for n in weights["best"])


def test_progress_bar_is_shown_if_enabled(small_dataset, tmp_path, capsys):
    config, data = small_dataset
    config = replace(config, train=replace(config.train, steps=1, eval_every=0))
    for progress in (False, True):
        trainer = Trainer(config, seeded_model(config), data)
        fit_run(trainer, None, RunFolder(tmp_path / str(progress)), progress=progress)
        message = capsys.readouterr().err
        assert ("pretrain" in message and "loss=" in message) == progress


def test_training_ends_if_fp16_never_updates(small_dataset, tmp_path, monkeypatch):
    """A gradient that overflows now and then is tolerated, one that always does is not."""
    config, data = small_dataset
    monkeypatch.setattr(training_step, "make_accelerator", lambda device, _: Accelerator(cpu=True))
    train = replace(config.train, precision="fp16", steps=60, eval_every=0, log_every=7)

    def run(overflows, out):
        trainer = Trainer(replace(config, train=train), seeded_model(config), data)
        plain = trainer.train_step
        first = plain(0)

        def step(number, micro_batch=None):
            norm = torch.tensor(math.nan if overflows(number) else 1.0)
            return replace(first, grad_norm=norm)

        monkeypatch.setattr(trainer, "train_step", step)
        return fit_run(trainer, None, RunFolder(tmp_path / out))

    assert run(lambda step: step % SKIPPED_STEPS, "sometimes").step == 60
    with pytest.raises(TrainingError, match=r"step 24: .* in 15 .* bf16 or no instead of fp16"):
        run(lambda step: step > 8, "always")


def test_bf16_has_the_gradient_of_the_micro_batches(small_dataset):
    """Scores and contrastive loss are computed in float32 in every path."""
    config, data = small_dataset
    model = replace(config.model, dropout=0.0)
    config = replace(config, loss=LossConfig(tasks=("contrastive",)), model=model)
    gradients = {}
    for micro_batch in (0, 4):
        train = replace(config.train, precision="bf16", micro_batch=micro_batch, clip_norm=1e9)
        trainer = Trainer(replace(config, train=train), seeded_model(config), data)
        trainer.train_step(0)
        named = trainer.model.named_parameters()
        gradients[micro_batch] = {n: p.grad.clone() for n, p in named if p.grad is not None}
    whole, parts = (torch.cat([g.flatten() for g in gradients[k].values()]) for k in (0, 4))
    assert ((whole - parts).norm() / whole.norm()).item() < 0.005
