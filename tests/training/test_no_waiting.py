"""The host does not wait for the device in a step: proven on the CPU, by the operations called.

On CUDA, a call waits where the host needs a number of the device: `.item()`, `bool()`, `.tolist()`,
or the length of a result that depends on values (indexing by a mask).
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
"""Operations that CUDA cannot do without the host waiting for their result."""
PACKAGE = Path(scale.__file__).parent


class Watch(TorchDispatchMode):
    """Counts by place in the package the operations for which a host would wait on CUDA."""

    def __init__(self):
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        if waits(function, arguments) and (where := place(sys._getframe())):
            self.found[where] += 1
        return function(*arguments, **(keywords or {}))


def waits(function, arguments) -> bool:
    name = str(function).removeprefix("aten.")
    if name.startswith(("index.", "index_put", "_index_put_impl", "_unsafe_index")):
        indices = [i for i in arguments[1] if i is not None]
        return any(i.dtype in (torch.bool, torch.uint8) for i in indices)
    return any(name == w or name.startswith(f"{w}.") for w in WAITING)


def place(frame) -> str | None:
    """Function of the package that is at work, e.g. `model/scale.py:_predict`.

    None while a batch is collated and masked: that is on the CPU and before the transfer.
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


def watched(config, data, steps=2):
    """By place, how often a step waits, of some steps after the first."""
    trainer = Trainer(config, seeded_model(config), data)
    trainer.train_step(0)  # It sets up the optimizer.
    with Watch() as watch:
        for step in range(1, 1 + steps):
            trainer.train_step(step)
    return {name: count / steps for name, count in watch.found.items()}


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
def test_the_watch_sees_waiting(waiting):
    with Watch() as watch:
        waiting(torch.arange(4.0), torch.tensor([True, False, True, False]))
    assert watch.found


def test_the_watch_sees_no_waiting_where_there_is_none():
    values, mask = torch.arange(4.0), torch.tensor([True, False, True, False])
    with Watch() as watch:
        values[torch.tensor([0, 1])] + torch.where(mask, values, 0.0).sum()
    assert not watch.found


POLICIES = ("zero", "skip", "learned")
LOSSES = ({}, {"weight_on": "loss"}, {"weight_features": "fused"}, {"weight_on": "logits"})
CHANGES = ({}, {"micro_batch": 4}, {"loss_positions_only": True})


@pytest.mark.parametrize("policy", range(3))
@pytest.mark.parametrize("loss", range(4))
def test_a_step_never_waits(small_dataset, loss, policy):
    """A Latin square: each two of loss, policy and changes meet."""
    config, products = small_dataset
    config = replace(
        config,
        loss=replace(config.loss, **LOSSES[loss]),
        missing=replace(config.missing, policy=POLICIES[policy]),
        train=replace(config.train, **CHANGES[(loss + policy) % 3]),
    )
    assert watched(config, products) == {}


def to_device(name, original):
    """A method of tensors that gives them to the host, allowed only before the transfer."""

    def method(tensor, *_, **__):
        frame = sys._getframe(1)
        kept = frame.f_code is Tokens.on_host.__code__ and frame.f_back.f_code.co_name == "to"
        if kept or place(frame) is None:
            return original(tensor)
        raise AssertionError(f"Tensor.{name}")

    return method


def one_step(small_dataset, monkeypatch, policy="zero", **changes):
    """A step during which no tensor may reach Python: on the CPU it would share its memory."""
    config, products = small_dataset
    missing, train = replace(config.missing, policy=policy), replace(config.train, **changes)
    config = replace(config, missing=missing, train=train)
    trainer = Trainer(config, seeded_model(config), products)
    trainer.train_step(0)
    with monkeypatch.context() as patch:
        for name in ("tolist", "cpu", "numpy", "__array__"):
            patch.setattr(torch.Tensor, name, to_device(name, getattr(torch.Tensor, name)))
        trainer.train_step(1)


@pytest.mark.parametrize("policy", ["zero", "skip", "learned"])
@pytest.mark.parametrize("changes", [{}, {"loss_positions_only": True}])
def test_nothing_is_moved_to_the_host_in_a_step(small_dataset, monkeypatch, policy, changes):
    """(In parts, the step asks facts that are on the CPU: `ProductDataset.facts`.)"""
    one_step(small_dataset, monkeypatch, policy, **changes)


def test_the_model_would_look_for_hidden_positions_itself(small_dataset, monkeypatch):
    """Without those that masking knows it asks the device."""
    forward = ScaleModel.forward
    monkeypatch.setattr(
        ScaleModel, "forward", lambda self, b, h, p=None, **o: forward(self, b, h, **o)
    )
    with pytest.raises(AssertionError, match=r"Tensor\.cpu"):
        one_step(small_dataset, monkeypatch)


def test_figures_are_fetched_where_they_are_logged(small_dataset, tmp_path, monkeypatch):
    """On CUDA; here a trainer is told that its device is one. (On the CPU nothing waits: it looks
    at each step for what is not finite.)"""
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
