"""The named systems: equal sizes, invariances, tasks and losses against slow twins, learning."""

from copy import deepcopy
from dataclasses import asdict, replace

import pytest
import torch

from scale.config import LossConfig, MaskConfig, tiny
from scale.data.batch import ProductBatch
from scale.losses.contrastive import pair_losses
from scale.losses.masking import MaskedBatch, WordPieces, mask_batch
from scale.modalities import INDEX, MODALITIES, TASKS
from scale.model.scale import ScaleModel
from scale.studies.systems.fusion import MARGIN, ClipLoss, RankingLoss
from scale.studies.systems.model import (
    TOLERANCE,
    FusionModel,
    build_system,
    count_parameters,
    find_size,
)
from scale.studies.systems.named import SYSTEMS
from scale.studies.systems.tasks import (
    Example,
    choice_loss,
    mask_one_modality,
    shuffle_frames,
    swap_one_modality,
)

METHOD = {
    "VL-BERT", "ImageBERT", "VideoBERT", "MMT", "HERO", "VisualBERT", "UNITER", "ViLBERT",
    "LXMERT", "CLIP", "SCALE",
}  # fmt: skip


def narrow():
    config = tiny()
    return replace(config, model=replace(config.model, width=32, encoder_layers=1, jct_layers=1))


@pytest.mark.parametrize("preset", [tiny, narrow])
@pytest.mark.parametrize("name", SYSTEMS)
def test_systems_have_as_many_parameters_as_scale(name, preset):
    for system in {SYSTEMS[name], SYSTEMS[name].everywhere()}:
        config = preset()
        config = replace(config, model=replace(config.model, modalities=system.modalities))
        with torch.device("meta"):
            wanted = count_parameters(ScaleModel(config.model, config.missing))
            found = count_parameters(build_system(system, config, seed=0))
        assert abs(found / wanted - 1) <= TOLERANCE


def test_systems_are_those_of_the_method_page():
    assert {system.name for system in SYSTEMS.values()} == METHOD


def test_systems_differ():
    texts = {"name", "paper", "faithful", "adapted"}
    made = [
        tuple(v for k, v in asdict(system).items() if k not in texts) for system in SYSTEMS.values()
    ]
    assert len(set(made)) == len(made)
    everywhere = [
        tuple(v for k, v in asdict(system).items() if k not in texts | {"modalities"})
        for system in SYSTEMS.values()
    ]
    assert len(set(everywhere)) == len(everywhere)


@pytest.mark.parametrize("name", SYSTEMS)
def test_systems_are_documented(name):
    system = SYSTEMS[name]
    assert "arXiv" in system.paper
    assert system.faithful.endswith(".")
    assert system.adapted.endswith(".")
    assert system.everywhere().modalities == MODALITIES


def test_masking_tasks_of_systems():
    of = {name: system.loss_tasks for name, system in SYSTEMS.items()}
    assert of["visualbert"] == ("MLM",)
    assert of["uniter"] == ("MLM", "MRP")
    assert of["hero"] == ("MLM", "MFP")
    assert of["mmt"] == of["clip"] == ("contrastive",)
    assert of["scale_itself"] == ("contrastive", *TASKS)
    assert SYSTEMS["visualbert"].everywhere().loss_tasks == ("MLM", "MEM")
    for tasks in of.values():
        LossConfig(tasks=tasks)


def test_scale_itself_is_a_scale_model():
    config = narrow()
    model = build_system(SYSTEMS["scale_itself"], config, seed=0)
    assert isinstance(model, ScaleModel)
    assert model.config == config.model


def test_systems_that_do_not_fit_raise():
    config = narrow()
    audio = replace(config, model=replace(config.model, modalities=("audio",)))
    with pytest.raises(ValueError, match="UNITER sees"):
        build_system(SYSTEMS["uniter"], audio, seed=0)
    # Two streams of one layer are too many where SCALE has next to nothing.
    flat = replace(config.model, encoder_layers=0, jct_layers=0, vocab_size=64)
    with pytest.raises(ValueError, match="no depth gives"):
        find_size(SYSTEMS["lxmert"], replace(config, model=flat))


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
    return SYSTEMS[request.param].everywhere(), model


@pytest.fixture
def system(named):
    return named[0]


@pytest.fixture
def model(named):
    return named[1]


def test_every_parameter_has_a_gradient(model, system, make_batch):
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
    # Softmax cancels the bias of the keys, so its gradient is 0 except for rounding.
    assert [n for n, g in grown.items() if g == 0 and not n.endswith("key.bias")] == []


def test_embedding_depends_only_on_the_own_product(model, make_batch):
    batch = make_batch(MIXED)
    other = make_batch(MIXED, seed=1)
    joint, alone = model.embed_product(batch), model.embed(batch).pooled_BMD
    for m, tokens in batch.tokens.items():
        tokens.values[tokens.rows_R != 0] = other.tokens[m].values[tokens.rows_R != 0]
    changed = model.embed_product(batch)
    torch.testing.assert_close(changed[0], joint[0])
    torch.testing.assert_close(model.embed(batch).pooled_BMD[0], alone[0])
    assert (changed[4] - joint[4]).abs().max() > 1e-3


def test_padding_has_no_influence(model, make_batch):
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


def test_systems_ignore_unused_modalities(config, make_batch):
    for name in RELATIVES:
        system = SYSTEMS[name]
        model = FusionModel(system, config, depth=1).eval()
        batch = make_batch([*MIXED, ("audio",)])
        output = model.embed(batch)
        seen = [INDEX[m] for m in system.modalities]
        assert not output.present_BM[:, [i for i in range(5) if i not in seen]].any()
        nothing_B = ~output.present_BM.any(1)
        assert not model.embed_product(batch)[nothing_B].any()
        loss = model.objective(hide(batch, system.loss_tasks), 0.0)
        assert torch.isfinite(loss.total)
        model(batch.only(("audio",)).only(system.modalities))


def test_modalities_interact_according_to_the_scheme(model, system, make_batch):
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
        system = SYSTEMS[name]
        losses = train(build_system(system, config, seed=0), system, [batch], 24)
        totals = [sum(of.values()) for of in losses]
        assert sum(totals[-4:]) < 0.9 * sum(totals[:4]), name


@pytest.mark.parametrize("name", ["visualbert", "vilbert"])
def test_matching_is_learned_from_related_modalities(name, config, make_batch):
    """Title and image each contain the product's kind (of four) and nothing else."""
    batches = []
    for seed in range(8):
        batch = make_batch([("text", "image")] * 32, seed=seed)
        kind_B = torch.randint(4, (32,), generator=torch.Generator().manual_seed(seed))
        text, image = batch.tokens["text"], batch.tokens["image"]
        text.values[:, 1:] = (10 + kind_B)[:, None].expand_as(text.values[:, 1:])
        image.values[:] = torch.eye(12)[kind_B][:, None] * 3
        batch.content_id_BM = torch.where(batch.present_BM, kind_B[:, None], -1)
        batches.append(batch)
    system = SYSTEMS[name]
    losses = train(build_system(system, config, seed=0), system, batches, 100)
    assert sum(of["match"] for of in losses[-10:]) / 10 < 0.3


def test_seed_determines_the_weights_only(config):
    system = SYSTEMS["uniter"]
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = build_system(system, config, seed=1)
    assert torch.equal(torch.rand(1), expected)
    again = build_system(system, config, seed=1).state_dict()
    assert all(torch.equal(v, again[k]) for k, v in first.state_dict().items())
    other = build_system(system, config, seed=2).state_dict()
    assert not torch.equal(first.state_dict()["match.0.weight"], other["match.0.weight"])


def hide_tasks(batch: ProductBatch, tasks=TASKS) -> MaskedBatch:
    return mask_batch(batch, MaskConfig(rate=0.4), PIECES, (0,), tasks)


def test_swapping_keeps_masked_positions_and_targets_aligned(make_batch):
    batch = make_batch([MODALITIES] * 9 + [("image", "audio")])
    batch.content_id_BM = torch.where(batch.present_BM, torch.arange(10)[:, None], -1)
    batch.content_id_BM[1, :] = batch.content_id_BM[0, :]
    masked, seen_swap = hide_tasks(batch), set()
    for seed in range(20):
        torch.manual_seed(seed)
        example = swap_one_modality(Example.of(masked, MODALITIES))
        assert example.judged_B.tolist() == [True] * 9 + [False]
        # An odd one: two products of equal content that take each other's place do match.
        assert 2 <= int(example.swapped_B.sum()) <= 5 or bool((~example.swapped_B[:2]).all())
        for m, tokens in example.batch.tokens.items():
            rows = tokens.rows_R
            same_R = (tokens.values == masked.batch.tokens[m].values).flatten(1).all(1)
            assert bool((same_R | example.predicted[m].sum(1).eq(0)).all())
            if not bool(same_R.all()):
                seen_swap.add(m)
                assert set(rows[~same_R].tolist()) >= set(
                    example.swapped_B.nonzero().flatten().tolist()
                )
            answers = torch.zeros_like(batch.tokens[m].values)
            answers[example.predicted[m]] = example.targets[m]
            truth = batch.tokens[m].values
            assert torch.equal(answers[example.predicted[m]], truth[example.predicted[m]])
            assert not bool((example.predicted[m] & ~example.hidden[m]).any())
            if tokens.values.is_floating_point():
                # What was hidden in the product it came from is hidden still.
                assert not tokens.values[example.hidden[m]].any()
                assert bool(tokens.values[~example.hidden[m] & ~tokens.padding_RL].any(1).all())
    assert seen_swap == set(MODALITIES)


def test_mask_one_modality_restores_the_others(make_batch):
    batch, chosen = make_batch(MIXED), set()
    for seed in range(25):
        torch.manual_seed(seed)
        example = mask_one_modality(Example.of(hide_tasks(batch), MODALITIES))
        (only,) = example.hidden
        chosen.add(only)
        for m, tokens in example.batch.tokens.items():
            whole = torch.equal(tokens.values, batch.tokens[m].values)
            assert whole or m == only
    assert chosen == set(MODALITIES)


def test_shuffled_frames_record_their_origin(make_batch):
    batch = make_batch(MIXED)
    torch.manual_seed(0)
    example = shuffle_frames(Example.of(hide_tasks(batch, ("MLM",)), MODALITIES))
    before, after = batch.tokens["video"].values, example.batch.tokens["video"].values
    rows = torch.arange(len(before))[:, None]
    torch.testing.assert_close(after, before[rows, example.origin_RL])
    assert example.shuffled_RL.sum(1).tolist() == [2] * len(before)
    places = torch.arange(before.shape[1]).expand_as(example.origin_RL)
    assert torch.equal(example.origin_RL != places, example.shuffled_RL)
    assert not (example.shuffled_RL & batch.tokens["video"].padding_RL).any()


def test_choice_loss_by_hand():
    predicted, target = torch.randn(5, 3), torch.randn(5, 3)
    target[4] = 2 * target[0]
    loss = 0.0
    for n in range(5):
        score = [
            float(torch.cosine_similarity(predicted[n], target[k], dim=0)) / 0.07
            for k in range(5)
            if k == n or {n, k} != {0, 4}
        ]
        own = float(torch.cosine_similarity(predicted[n], target[n], dim=0)) / 0.07
        loss += torch.logsumexp(torch.tensor(score), 0) - own
    torch.testing.assert_close(choice_loss(predicted, target), loss / 5)
    assert choice_loss(predicted[:0], target[:0]) == 0


def test_ranking_loss_by_hand():
    pooled = torch.randn(4, 5, 6)
    present = torch.tensor(
        [[1, 1, 1, 0, 0], [1, 0, 0, 1, 1], [0, 1, 1, 1, 1], [1, 1, 0, 0, 0]], dtype=torch.bool
    )

    def score(a, b):
        cosines = [
            torch.cosine_similarity(pooled[a, i], pooled[b, j], dim=0)
            for i in (0, 1)
            for j in (2, 3, 4)
            if present[a, i] and present[b, j]
        ]
        return torch.stack(cosines).mean()

    pairs = [(a, b) for a in range(3) for b in range(3) if a != b]
    wanted = sum(
        (MARGIN + score(a, b) - score(a, a)).clamp(min=0)
        + (MARGIN + score(b, a) - score(a, a)).clamp(min=0)
        for a, b in pairs
    ) / len(pairs)
    torch.testing.assert_close(RankingLoss()(pooled, present, None), wanted)


def test_clip_loss_equals_info_nce_of_the_present_pairs(make_batch):
    batch = make_batch([("text", "image")] * 4)
    pooled = torch.randn(4, 5, 6)
    wanted = pair_losses(pooled, batch.present_BM).loss_BP[:, 1].mean()
    torch.testing.assert_close(ClipLoss(True)(pooled, batch.present_BM, batch), wanted)
