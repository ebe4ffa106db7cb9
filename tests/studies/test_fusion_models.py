"""What every fusion model must obey, and that its tasks can be learned."""

from copy import deepcopy

import pytest
import torch

from scale.config import MaskConfig
from scale.data.batch import ProductBatch
from scale.losses.masking import MaskedBatch, WordPieces, mask_batch
from scale.modalities import INDEX, MODALITIES, TASKS
from scale.studies.systems.model import build_system
from scale.studies.systems.named import SYSTEMS

PIECES = WordPieces(4, (0, 1, 2, 3, 4), 40, 1)
RELATIVES = [name for name in SYSTEMS if name != "scale_itself"]
MIXED = [
    MODALITIES, ("text", "image"), ("table", "audio"), ("video",), MODALITIES, ("text", "table"),
]  # fmt: skip


def hide(batch: ProductBatch, tasks=TASKS, seed=0) -> MaskedBatch:
    return mask_batch(batch, MaskConfig(rate=0.4), PIECES, (seed,), tasks)


@pytest.fixture(scope="module", params=RELATIVES)
def named(request, system_model):
    """A named system on all modalities, and its model with nonzero biases."""
    model = deepcopy(system_model(request.param))
    torch.manual_seed(0)
    with torch.no_grad():
        # Biases start at 0, and a zero that should have been left out would not show.
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return SYSTEMS[request.param]().everywhere(), model


@pytest.fixture
def system(named):
    return named[0]


@pytest.fixture
def model(named):
    return named[1]


def test_every_parameter_learns(model, system, make_batch):
    batch = make_batch([MODALITIES] * 8)
    model.zero_grad(set_to_none=True)
    grown = {}
    for step in range(12):
        torch.manual_seed(step)
        loss = model.objective(hide(batch, system.loss_tasks, step), 0.0)
        assert torch.isfinite(loss.total)
        loss.total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        grown[name] = float(parameter.grad.abs().max())
    # Softmax cancels what a key's bias adds, so its gradient is 0 but for rounding.
    assert [n for n, g in grown.items() if g == 0 and not n.endswith("key.bias")] == []


def test_a_product_depends_on_itself_alone(model, make_batch):
    batch = make_batch(MIXED)
    other = make_batch(MIXED, seed=1)
    joint, alone = model.embed_product(batch), model.embed(batch).pooled_BMD
    for m, tokens in batch.tokens.items():
        tokens.values[tokens.rows_R != 0] = other.tokens[m].values[tokens.rows_R != 0]
    changed = model.embed_product(batch)
    torch.testing.assert_close(changed[0], joint[0])
    torch.testing.assert_close(model.embed(batch).pooled_BMD[0], alone[0])
    assert (changed[4] - joint[4]).abs().max() > 1e-3


def test_padding_never_matters(model, make_batch):
    batch = make_batch(MIXED)
    before = model.embed_product(batch)
    for tokens in batch.tokens.values():
        tokens.values[tokens.padding_RL] = 7
    torch.testing.assert_close(model.embed_product(batch), before)


def test_a_missing_modality_contributes_nothing(model, make_batch):
    """A product without a modality is the same as if the batch had no such modality at all."""
    mixed, whole = make_batch(MIXED), make_batch([MODALITIES] * len(MIXED))
    joint = model.embed_product(mixed)
    for n, has in enumerate(MIXED):
        torch.testing.assert_close(joint[n], model.embed_product(whole.only(has))[n])
    output = model.embed(mixed)
    assert not output.pooled_BMD[~mixed.present_BM].any()
    alone = model.embed(whole.only(("video",)))
    torch.testing.assert_close(output.pooled_BMD[3], alone.pooled_BMD[3])
    torch.testing.assert_close(joint.norm(dim=1), torch.ones(len(MIXED)))


def test_fewer_modalities_than_the_batch_has(config, make_batch):
    for name in RELATIVES:
        system = SYSTEMS[name]()
        model = build_system(system, config, seed=0).eval()
        batch = make_batch([*MIXED, ("audio",)])
        output = model.embed(batch)
        seen = [INDEX[m] for m in system.modalities]
        assert not output.present_BM[:, [i for i in range(5) if i not in seen]].any()
        nothing_B = ~output.present_BM.any(1)
        assert not model.embed_product(batch)[nothing_B].any()
        loss = model.objective(hide(batch, system.loss_tasks), 0.0)
        assert torch.isfinite(loss.total)
        model(batch.only(("audio",)).only(system.modalities))


def test_modalities_meet_where_the_scheme_says_so(model, system, make_batch):
    """Whether the picture's tokens change the words' tokens is the difference between schemes."""
    batch = make_batch([MODALITIES] * 3)
    full, less = model(batch), model(batch.only(("text", "table", "audio")))
    meets = not torch.allclose(full["text"], less["text"], atol=1e-5)
    assert meets == (system.fusion not in ("", "perception"))
    assert torch.allclose(full["audio"], less["audio"], atol=1e-5) == (system.fusion == "")


def train(model, system, batches, steps: int, rate: float = 5e-3) -> list[dict[str, float]]:
    optimizer = torch.optim.Adam(model.parameters(), rate)
    losses = []
    for step in range(steps):
        torch.manual_seed(step)
        masked = hide(batches[step % len(batches)], system.loss_tasks, step)
        loss = model.objective(masked, step / steps)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append({k: v.item() for k, v in loss.losses.items()})
    return losses


def test_training_lowers_the_loss(config, make_batch):
    batch = make_batch([MODALITIES] * 8)
    for name in ("hero", "clip", "mmt"):
        system = SYSTEMS[name]()
        losses = train(build_system(system, config, seed=0), system, [batch], 24)
        totals = [sum(of.values()) for of in losses]
        assert sum(totals[-4:]) < 0.9 * sum(totals[:4]), name


@pytest.mark.parametrize("name", ["visualbert", "vilbert"])
def test_matching_is_learned_where_modalities_tell_of_one_another(name, config, make_batch):
    """Title and picture each tell which of four kinds a product is, and nothing else."""
    batches = []
    for seed in range(8):
        batch = make_batch([("text", "image")] * 32, seed=seed)
        kind_B = torch.randint(4, (32,), generator=torch.Generator().manual_seed(seed))
        text, image = batch.tokens["text"], batch.tokens["image"]
        text.values[:, 1:] = (10 + kind_B)[:, None].expand_as(text.values[:, 1:])
        image.values[:] = torch.eye(12)[kind_B][:, None] * 3
        batch.content_id_BM = torch.where(batch.present_BM, kind_B[:, None], -1)
        batches.append(batch)
    system = SYSTEMS[name]()
    losses = train(build_system(system, config, seed=0), system, batches, 100)
    assert sum(of["match"] for of in losses[-10:]) / 10 < 0.3


def test_the_seed_makes_the_weights_and_nothing_else(config):
    system = SYSTEMS["uniter"]()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = build_system(system, config, seed=1)
    assert torch.equal(torch.rand(1), expected)
    again = build_system(system, config, seed=1).state_dict()
    assert all(torch.equal(v, again[k]) for k, v in first.state_dict().items())
    other = build_system(system, config, seed=2).state_dict()
    assert not torch.equal(first.state_dict()["match.0.weight"], other["match.0.weight"])
