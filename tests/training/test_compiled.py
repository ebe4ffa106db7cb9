"""Compiled layers: one graph for all shapes, with the results of eager layers."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch._dynamo.utils import counters

from scale.modalities import MODALITIES
from scale.model.encoders import TransformerEncoder
from scale.training.run import seeded_model
from scale.training.trainer import Trainer
from scale.training.transforms import checkpoint_activations, compile_layers, compiled_modules

pytestmark = pytest.mark.slow

SUBSETS = [("text",), ("table", "audio"), ("image", "video"), MODALITIES, ("text", "video")]
USED = ("text", "image", "audio")
"""A modality of each kind of encoder and head, and two sizes of continuous features."""


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def forward_and_back(model, batch, seed):
    random = torch.Generator().manual_seed(seed)
    hidden = {
        m: (torch.rand(t.padding_RL.shape, generator=random) < 0.5) & ~t.padding_RL
        for m, t in batch.tokens.items()
    }
    output = model(batch, hidden)
    total = sum(p.square().mean() for p in output.predictions.values())
    model.zero_grad()
    total.backward()
    return total.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def test_no_recompilation_for_other_shapes_and_eager_results(make_model, make_batch):
    eager, compiled = (make_model("skip", modalities=USED) for _ in range(2))
    compile_layers(compiled, backend="aot_eager")
    graphs = []
    for seed in range(4):
        present = [MODALITIES] * 2 + list(itertools.islice(itertools.cycle(SUBSETS), 3 + 2 * seed))
        batch = make_batch(present, seed).only(USED)
        wanted, found = (forward_and_back(m, batch, seed) for m in (eager, compiled))
        torch.testing.assert_close(found[0], wanted[0])
        assert found[1].keys() == wanted[1].keys()
        for name, gradient in found[1].items():
            torch.testing.assert_close(gradient, wanted[1][name], msg=name)
        graphs.append(counters["stats"]["unique_graphs"])
    # Layers of one kind share a graph, so there are fewer graphs than layers.
    assert graphs == [graphs[0]] * 4
    assert 0 < graphs[0] <= len(list(compiled_modules(compiled)))
    assert not counters["graph_break"]


def test_graph_break_raises():
    class Breaking(torch.nn.Module):
        def forward(self, tokens_BLD, **_):
            torch._dynamo.graph_break()
            return tokens_BLD

    stack = TransformerEncoder(16, 2, depth=1, mlp_ratio=2.0, dropout=0.0)
    stack.blocks[0] = Breaking()
    compile_layers(stack, backend="eager")
    with pytest.raises(torch._dynamo.exc.Unsupported):
        stack(torch.zeros(2, 3, 16), None)


def test_recompilation_limit_covers_all_kinds_of_batches(make_model, make_batch):
    """One row or several, padded or not, with gradient or not: each needs a graph."""
    modalities = ("text", "table", "image")
    model = make_model("skip", modalities=modalities)
    compile_layers(model, backend="eager")
    for seed, present in enumerate([[MODALITIES], [MODALITIES] * 3, [("text",)], SUBSETS]):
        for padded in (True, False):
            batch = make_batch(present, seed).only(modalities)
            if not padded:
                for tokens in batch.tokens.values():
                    tokens.padding_RL = torch.zeros_like(tokens.padding_RL)
            for training in (True, False):
                model.train(training)
                with torch.set_grad_enabled(training):
                    model(batch, {m: ~t.padding_RL for m, t in batch.tokens.items()})
    assert counters["stats"]["unique_graphs"] > 8


def test_compiled_training_equals_eager_training(small_dataset, monkeypatch):
    config, products = small_dataset
    config = replace(config, train=replace(config.train, compile=True))
    monkeypatch.setattr(
        "scale.training.trainer.compile_layers", lambda model: compile_layers(model, "eager")
    )
    losses = []
    for compiled in (False, True):
        train = replace(config.train, compile=compiled)
        trainer = Trainer(replace(config, train=train), seeded_model(config), products)
        losses.append(
            torch.stack([trainer.train_step(step).loss.total.detach() for step in range(2)])
        )
    assert counters["stats"]["unique_graphs"] > 0
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-4, atol=1e-4)
    # Checkpoints do not depend on compilation: the names of the weights stay.
    assert trainer.model.state_dict().keys() == seeded_model(config).state_dict().keys()


def test_checkpointed_compiled_layer_recomputes_with_the_same_dropout():
    """The order of `Trainer`, checkpointing before compilation, keeps the gradient.

    The backend "eager" does not test this: it does not touch the recomputation's random numbers.
    """
    tokens_BLD = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(0))
    gradients = []
    for changed in (False, True):
        torch.manual_seed(0)
        stack = TransformerEncoder(16, 2, depth=1, mlp_ratio=2.0, dropout=0.3)
        if changed:
            checkpoint_activations(stack)
            compile_layers(stack, backend="aot_eager")
        torch.manual_seed(1)
        (stack(tokens_BLD, None) * tokens_BLD).sum().backward()
        gradients.append({name: p.grad for name, p in stack.named_parameters()})
    assert counters["stats"]["unique_graphs"] == 1
    torch.testing.assert_close(gradients[1], gradients[0])
