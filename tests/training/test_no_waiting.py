"""A step never waits for the device, tested on the CPU by its operations.

On CUDA, an operation waits if the host needs a value from the device (`.item()`, `bool()`,
`.tolist()`) or a size that depends on values (indexing with a mask).
"""

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import scale
from scale.data.batch import Tokens
from scale.data.dataset import ProductDataset
from scale.losses.masking import mask_batch
from scale.model.scale import ScaleModel
from scale.training.logging import MetricsBuffer
from scale.training.pretrain import fit_run
from scale.training.run import RunFolder, seeded_model
from scale.training.trainer import Trainer

WAITING = (
    "_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2",
    "unique_consecutive", "unique_dim", "repeat_interleave.Tensor", "bincount", "argwhere",
)  # fmt: skip
"""Operations for whose result the host waits on CUDA."""
PACKAGE = Path(scale.__file__).parent


class WaitCounter(TorchDispatchMode):
    """Counts the operations that wait on CUDA, by location in the package."""

    def __init__(self):
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        if waits(function, arguments) and (where := location(sys._getframe())):
            self.found[where] += 1
        return function(*arguments, **(keywords or {}))


def waits(function, arguments) -> bool:
    """Return whether an operation waits on CUDA."""
    name = str(function).removeprefix("aten.")
    if name.startswith(("index.", "index_put", "_index_put_impl", "_unsafe_index")):
        indices = [i for i in arguments[1] if i is not None]
        return any(i.dtype in (torch.bool, torch.uint8) for i in indices)
    return any(name == w or name.startswith(f"{w}.") for w in WAITING)


def location(frame) -> str | None:
    """Return the innermost function of the package, e.g. `model/scale.py:_predict`.

    None while a batch is collated and masked, on the CPU before the transfer.
    """
    found = None
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(PACKAGE):
            found = found or f"{path.relative_to(PACKAGE)}:{frame.f_code.co_name}"
            if frame.f_code in (mask_batch.__code__, ProductDataset.collate.__code__):
                return None
        frame = frame.f_back
    return found or "elsewhere"


def waits_of_a_step(config, data):
    """Return how often the second step waits, by location."""
    trainer = Trainer(config, seeded_model(config), data)
    trainer.train_step(0)  # Initialises the optimizer.
    with WaitCounter() as counter:
        trainer.train_step(1)
    return counter.found


@pytest.mark.parametrize(
    "waiting",
    [
        lambda values, mask: values[0].item(),
        lambda values, mask: bool(values[1] > 0),
        lambda values, mask: float(values.sum()),
        lambda values, mask: torch.equal(values, values),
        lambda values, mask: values[mask],
        lambda values, mask: mask.nonzero(),
        lambda values, mask: values.unique(),
        lambda values, mask: values.index_put_((mask,), torch.tensor(1.0)),
    ],
)
def test_counter_counts_operations_that_wait(waiting):
    with WaitCounter() as counter:
        waiting(torch.arange(4.0), torch.tensor([True, False, True, False]))
    assert counter.found


def test_counter_ignores_operations_that_do_not_wait():
    values, mask = torch.arange(4.0), torch.tensor([True, False, True, False])
    with WaitCounter() as counter:
        values[torch.tensor([0, 1])] + torch.where(mask, values, 0.0).sum()
    assert not counter.found


POLICIES = ("zero", "skip", "learned")
LOSSES = ({}, {"weight_on": "loss"}, {"weight_features": "fused"}, {"weight_on": "logits"})
CHANGES = ({}, {"micro_batch": 4}, {"loss_positions_only": True})


@pytest.mark.parametrize("policy", range(3))
@pytest.mark.parametrize("loss", range(4))
def test_step_never_waits(small_dataset, loss, policy):
    """A Latin square: all pairs of loss and policy, policy and change, change and loss occur."""
    config, products = small_dataset
    config = replace(
        config,
        loss=replace(config.loss, **LOSSES[loss]),
        missing=replace(config.missing, policy=POLICIES[policy]),
        train=replace(config.train, **CHANGES[(loss + policy) % 3]),
    )
    assert not waits_of_a_step(config, products)


def allowed_before_transfer(name, original):
    """Wrap a method that copies a tensor to the host: it raises after the transfer of the batch."""

    def method(tensor, *_, **__):
        frame = sys._getframe(1)
        kept = frame.f_code is Tokens.on_host.__code__ and frame.f_back.f_code.co_name == "to"
        if kept or location(frame) is None:
            return original(tensor)
        raise AssertionError(f"Tensor.{name}")

    return method


def one_step(small_dataset, monkeypatch, policy="zero", **changes):
    """Run a step during which no tensor may be converted to Python or numpy values."""
    config, products = small_dataset
    missing, train = replace(config.missing, policy=policy), replace(config.train, **changes)
    config = replace(config, missing=missing, train=train)
    trainer = Trainer(config, seeded_model(config), products)
    trainer.train_step(0)
    with monkeypatch.context() as patch:
        for name in ("tolist", "cpu", "numpy", "__array__"):
            original = getattr(torch.Tensor, name)
            patch.setattr(torch.Tensor, name, allowed_before_transfer(name, original))
        trainer.train_step(1)


@pytest.mark.parametrize("policy", ["zero", "skip", "learned"])
@pytest.mark.parametrize("changes", [{}, {"loss_positions_only": True}])
def test_step_copies_nothing_to_the_host(small_dataset, monkeypatch, policy, changes):
    """Without micro-batches, which use facts on the CPU (`ProductDataset.facts`)."""
    one_step(small_dataset, monkeypatch, policy, **changes)


def test_model_without_given_positions_copies_to_the_host(small_dataset, monkeypatch):
    """Masking passes the masked positions; without them the model searches for them."""
    forward = ScaleModel.forward
    monkeypatch.setattr(
        ScaleModel, "forward", lambda self, b, h, p=None, **o: forward(self, b, h, **o)
    )
    with pytest.raises(AssertionError, match=r"Tensor\.cpu"):
        one_step(small_dataset, monkeypatch)


def test_metrics_are_fetched_only_when_logged_or_saved(small_dataset, tmp_path, monkeypatch):
    """On CUDA, which the trainer's device is set to. On the CPU they are fetched in each step."""
    config, products = small_dataset
    train = replace(config.train, log_every=5, eval_every=0, checkpoint_every=12, steps=12)
    trainer = Trainer(replace(config, train=train), seeded_model(config), products)
    fetched, fetch, step = [], MetricsBuffer.fetch, Trainer.train_step
    monkeypatch.setattr(MetricsBuffer, "fetch", lambda self: (
        fetched.append(trainer.state.step), fetch(self))[1])  # fmt: skip

    def as_on_cuda(self, number, micro_batch):
        self.device = torch.device("cpu")
        done = step(self, number, micro_batch)
        self.device = torch.device("cuda")
        return done

    monkeypatch.setattr(Trainer, "train_step", as_on_cuda)
    fit_run(trainer, None, RunFolder(tmp_path))
    assert sorted(set(fetched)) == [5, 10, 12]
