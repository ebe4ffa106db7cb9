"""The automatic precision, and dropout in bf16 on the CPU."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import dropout, scaled_dot_product_attention

from scale.config import TrainConfig
from scale.training.precision import FastDropout, choose_precision, keep_mask
from scale.training.pretrain import _with_precision
from scale.training.run import RunFolder, seeded_model
from scale.training.trainer import Trainer


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_share_and_scale_of_kept_elements(p):
    torch.manual_seed(0)
    mask = keep_mask(torch.empty(401, 2501), p)
    assert mask.shape == (401, 2501)
    scale = torch.tensor(1 / (1 - p), dtype=torch.bfloat16)
    assert set(mask.unique().tolist()) == {0.0, scale.item()}
    # Five standard deviations of a million draws.
    assert (mask == 0).double().mean().item() == pytest.approx(p, abs=5 * 0.5 / 1000)
    # Neighbours, which share 64 random bits, are independent.
    both = (mask[:, 1:] == 0) & (mask[:, :-1] == 0)
    assert both.double().mean().item() == pytest.approx(p * p, abs=5 * 0.5 / 1000)


def test_dropout_and_its_gradient_have_the_mask():
    values = torch.randn(30, 40).bfloat16().requires_grad_()
    torch.manual_seed(1)
    with FastDropout():
        dropped = dropout(values, 0.2)
    dropped.sum().backward()
    torch.manual_seed(1)
    mask = keep_mask(values, 0.2)
    assert torch.equal(dropped, values * mask)
    assert torch.equal(values.grad, mask)


@pytest.mark.parametrize("padded", [False, True])
def test_attention_equals_its_formula_in_double_precision(padded):
    query, key, value = torch.randn(3, 2, 4, 7, 16).bfloat16().unbind(0)
    attend = torch.rand(2, 1, 1, 7) < 0.7 if padded else None
    if padded:
        attend[..., 0] = True
    torch.manual_seed(2)
    with FastDropout():
        found = scaled_dot_product_attention(query, key, value, attend, dropout_p=0.3)
    torch.manual_seed(2)
    mask = keep_mask(torch.empty(2, 4, 7, 7), 0.3).double()
    scores = query.double() @ key.double().transpose(-2, -1) / 4
    scores = scores if attend is None else scores.masked_fill(~attend, -torch.inf)
    wanted = (scores.softmax(-1) * mask) @ value.double()
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=0.05)


def test_other_calls_are_unchanged():
    values = torch.randn(2, 3, 5, 8)
    results = []
    for context in (torch.no_grad(), FastDropout()):
        torch.manual_seed(0)
        with context:
            attended = scaled_dot_product_attention(values, values, values, dropout_p=0.5)
            half = scaled_dot_product_attention(*[values.bfloat16()] * 3)
            evaluated = dropout(values.bfloat16(), 0.5, training=False)
            results.append((dropout(values, 0.5), attended, half, evaluated))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize(
    ("found", "wanted"),
    [({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"avx2": True}, "no")],
)
def test_a_cpu_uses_bf16_if_it_has_instructions(monkeypatch, found, wanted):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert choose_precision("cpu") == wanted


def test_a_resumed_run_keeps_its_precision(monkeypatch, small, tmp_path):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    config = replace(small, train=replace(small.train, device="cpu", precision="auto"))
    run = RunFolder(tmp_path)
    first = _with_precision(config, None)
    first.save(run.config)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert _with_precision(config, run) == first
    assert _with_precision(config, None).train.precision == "no"
    assert first.train.precision == "bf16"
    assert TrainConfig().precision == "no"


def test_a_step_in_bf16_uses_fast_dropout(monkeypatch, small_dataset):
    config, products = small_dataset
    config = replace(
        config,
        train=replace(config.train, device="cpu", precision="bf16"),
        model=replace(config.model, dropout=0.1),
    )
    drawn, draw = [], keep_mask
    monkeypatch.setattr(
        "scale.training.precision.keep_mask", lambda *a: (drawn.append(a[1]), draw(*a))[1]
    )
    loss = Trainer(config, seeded_model(config), products).train_step(0).loss.total
    assert torch.isfinite(loss)
    assert set(drawn) == {0.1}
