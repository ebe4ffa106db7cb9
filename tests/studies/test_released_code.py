"""Faults of the released code: their definitions, short trainings and effects."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from scale.config import LossConfig, MaskConfig
from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue, with_splits
from scale.data.tokenizer import train_tokenizer
from scale.losses.masking import WordPieces, mask_batch
from scale.losses.total import scale_loss
from scale.modalities import INDEX, MODALITIES, PAIRS, TASKS
from scale.model.scores import inter_modality_scores
from scale.studies.released_code import (
    FAULTS,
    SHORT_RUNS,
    audio_axes_config,
    effective_temperatures,
    first_training_products,
    fit_audio_heads,
    gradient_coverage,
    heads_on_encoder,
    layers_never_called,
    mask_owners,
    misaligned_mask,
    missing_as_zeros,
    missing_audio_effects,
    same_modality_share,
    shared_layers,
    small_config,
    swap_audio_axes,
    title_influence,
    train_briefly,
    truncate_title,
    with_misaligned_mask,
    zero_audio,
)
from scale.studies.systems.model import count_parameters
from scale.training.optimizer import parameter_groups
from scale.training.run import (
    RunFolder,
    TrainedRun,
    build_dataset,
    fit_sizes,
    fit_vocabulary,
    seeded_model,
)
from scale.training.trainer import Trainer

PIECES = WordPieces(mask_id=4, special_ids=(0, 1, 2, 3, 4), vocab_size=40, unknown_id=1)
MASKED = LossConfig(tasks=TASKS, weight_on="none")


@pytest.fixture(scope="module")
def data(config, small_catalogue, tmp_path_factory):
    """The training products of the small catalogue, and the config that fits them."""
    catalogue = with_splits(Catalogue.open(small_catalogue)).split("train")
    tokenizer = train_tokenizer(catalogue.products, config.features.vocab_size)
    config = fit_vocabulary(config, tokenizer)
    cache = FeatureCache(tmp_path_factory.mktemp("cache"))
    dataset = build_dataset(catalogue, config, tokenizer, None, cache=cache)
    train = replace(config.train, steps=2, batch_size=8)
    return dataset, replace(fit_sizes(config, dataset), train=train)


def predictions(model, batch):
    masked = mask_batch(batch, MaskConfig(rate=0.4), PIECES, (0,), TASKS)
    return model.eval()(masked.batch, masked.hidden).predictions, masked


@pytest.mark.parametrize("policy", ["zero", "skip"])
def test_heads_on_encoder_do_not_use_the_jct(config, make_batch, policy):
    config = replace(config, missing=replace(config.missing, policy=policy))
    models = {"fault": heads_on_encoder(config), "scale": seeded_model(config)}
    weights = {name: model.state_dict() for name, model in models.items()}
    assert weights["fault"].keys() == weights["scale"].keys()
    assert all(torch.equal(weights["fault"][k], w) for k, w in weights["scale"].items())
    for name, model in models.items():
        batch = make_batch([MODALITIES, ("text", "image"), MODALITIES])
        alone, masked = predictions(model, batch)
        for m in MODALITIES:
            assert len(alone[m]) == len(masked.targets[m])
        tokens = dict(batch.tokens)
        tokens["image"] = replace(tokens["image"], values=tokens["image"].values + 1.0)
        moved, _ = predictions(model, replace(batch, tokens=tokens))
        for m in ("text", "table", "video", "audio"):
            assert torch.equal(alone[m], moved[m]) == (name == "fault"), (name, m)
        assert not torch.allclose(alone["image"], moved["image"])
        output = model(masked.batch, masked.hidden)
        scale_loss(output, masked, MASKED).total.backward()
        reached, total = gradient_coverage(model)["jct"]
        assert reached == (0 if name == "fault" else total)
        assert gradient_coverage(model)["encoders.text"][0] > 0
        assert gradient_coverage(model)["heads.audio"][0] > 0


def test_heads_on_encoder_use_the_encoders_output(config, make_batch):
    model = heads_on_encoder(config).eval()
    masked = mask_batch(make_batch([MODALITIES] * 3), MaskConfig(), PIECES, (0,), TASKS)
    output = model(masked.batch, masked.hidden)
    encoded_NV = output.encoded["text"][masked.hidden["text"]]
    expected = model.heads["text"](encoded_NV, model.encoders["text"].word_weight)
    assert torch.equal(output.predictions["text"], expected)
    encoded_NF = output.encoded["video"][:, 1:][masked.hidden["video"]]
    assert torch.equal(output.predictions["video"], model.heads["video"](encoded_NF))


@pytest.fixture
def stacks(config):
    """The JCT's stack as it should be and as the fault has it, of equal weights, two heads."""
    sound, fault = seeded_model(config).jct.stack, misaligned_mask(config).jct.stack
    assert fault.blocks[0].attn.num_heads == 2
    for a, b in zip(sound.parameters(), fault.parameters(), strict=True):
        assert torch.equal(a, b)
    return sound.eval(), fault.eval()


def test_misaligned_masks_affect_another_product(stacks):
    random = torch.Generator().manual_seed(0)
    tokens_BLD = torch.randn(3, 6, 16, generator=random)
    none_BL = torch.zeros(3, 6, dtype=torch.bool)
    padding_BL = none_BL.clone()
    padding_BL[1, 4:] = True
    for name, stack in zip(("sound", "fault"), stacks, strict=True):
        before_BLD, after_BLD = stack(tokens_BLD, none_BL), stack(tokens_BLD, padding_BL)
        same_B = [torch.allclose(a, b, atol=1e-6) for a, b in zip(before_BLD, after_BLD,
                                                                  strict=True)]  # fmt: skip
        # Row b H + h of the attention gets the mask of product (b H + h) mod 3: rows 1 and 4 that
        # of product 1, which are head 1 of product 0 and head 0 of product 2.
        assert same_B == ([True, False, True] if name == "sound" else [False, True, False])


def test_misaligned_masks_equal_a_loop_over_rows(stacks):
    """One block, its attention by hand with the mask of row r being that of product r mod B."""
    stack = stacks[1]
    attention = stack.blocks[0].attn
    random = torch.Generator().manual_seed(1)
    tokens_BLD = torch.randn(3, 5, 16, generator=random)
    padding_BL = torch.rand(3, 5, generator=random) > 0.6
    padding_BL[:, 0] = False
    seen = {}
    attention.register_forward_pre_hook(
        lambda module, arguments, options: seen.update(options), with_kwargs=True
    )
    stack(tokens_BLD, padding_BL)
    mask_BH1L = seen["attn_mask"]
    for b in range(3):
        for h in range(2):
            assert torch.equal(mask_BH1L[b, h, 0], ~padding_BL[(b * 2 + h) % 3])


def test_misaligned_masks_are_harmless_without_padding(stacks):
    tokens_BLD = torch.randn(3, 6, 16, generator=torch.Generator().manual_seed(0))
    none_BL = torch.zeros(3, 6, dtype=torch.bool)
    torch.testing.assert_close(stacks[0](tokens_BLD, none_BL), stacks[1](tokens_BLD, none_BL))


def test_shared_layers_are_shared_and_counted_once(config, make_batch):
    model, sound = shared_layers(config), seeded_model(config)
    encoders, owners = model.encoders, sound.encoders
    assert encoders["video"].stack is encoders["image"].stack
    assert encoders["table"].bert.encoder is encoders["text"].bert.encoder
    assert encoders["table"].word_weight is encoders["text"].word_weight
    assert encoders["audio"].stack is not encoders["image"].stack
    gone = (owners["video"].stack, owners["table"].bert.encoder,
            owners["table"].bert.embeddings.word_embeddings)  # fmt: skip
    assert count_parameters(model) == count_parameters(sound) - sum(
        count_parameters(part) for part in gone
    )
    trained = [p for group in parameter_groups(model, 0.1) for p in group["params"]]
    assert len({id(p) for p in trained}) == len(trained) == len(list(model.parameters()))
    # Positions, segments, projections and [CLS] remain each modality's own.
    assert encoders["video"].project is not encoders["image"].project
    text, table = encoders["text"].bert.embeddings, encoders["table"].bert.embeddings
    assert text.position_embeddings.weight is not table.position_embeddings.weight
    found, masked = predictions(model, make_batch([MODALITIES] * 3))
    sum(p.square().sum() for p in found.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert {m: len(p) for m, p in found.items()} == {m: len(t) for m, t in masked.targets.items()}


def test_swapped_audio_axes_equal_a_loop(data):
    dataset, config = data
    swapped = swap_audio_axes(dataset)
    rows = np.arange(len(dataset))
    before, after = (d.columns["audio"].gather(rows) for d in (dataset, swapped))
    frames, bins = config.features.audio_frames, config.features.mel_bins
    assert torch.equal(after.rows_R, before.rows_R)
    assert after.values.shape == (len(before.rows_R), bins, frames)
    assert not after.padding_RL.any()
    for r in range(len(before.rows_R)):
        length = int((~before.padding_RL[r]).sum())
        for band in range(bins):
            for frame in range(frames):
                was = before.values[r, frame, band].item() if frame < length else 0.0
                assert after.values[r, band, frame].item() == was
    assert np.array_equal(swapped.content_id_NM, dataset.content_id_NM)
    assert all(swapped.columns[m] is dataset.columns[m] for m in MODALITIES if m != "audio")
    model = audio_axes_config(config).model
    assert (model.audio_length, model.audio_features) == (bins, frames)
    assert replace(model, audio_length=config.model.audio_length,
                   audio_features=config.model.audio_features) == config.model  # fmt: skip
    assert config.model.audio_features == bins, "the config given is left as it is"


def test_short_sounds_are_padded_with_zeros(data):
    """With room for more frames than any sound has."""
    dataset, config = data
    longer = replace(dataset, config=replace(config.features, audio_frames=9))
    values_RFL = swap_audio_axes(longer).columns["audio"].gather(np.arange(len(dataset))).values
    longest = int(dataset.columns["audio"].length_N.max())
    assert values_RFL.shape[2] == 9
    assert not values_RFL[:, :, longest:].any()
    assert values_RFL[:, :, longest - 1].any()


def test_swap_without_audio_is_the_identity(data):
    dataset, _ = data
    columns = {m: c for m, c in dataset.columns.items() if m != "audio"}
    silent = replace(dataset, columns=columns)
    assert swap_audio_axes(silent) is silent


def test_missing_as_zeros_are_present_and_distinct(data):
    dataset, _ = data
    filled = missing_as_zeros(dataset)
    lacking_NM = ~dataset.present_NM
    video, audio = INDEX["video"], INDEX["audio"]
    assert lacking_NM[:, [video, audio]].any(0).all()
    assert filled.present_NM[:, [video, audio]].all()
    others = [i for i in range(5) if i not in (video, audio)]
    assert np.array_equal(filled.content_id_NM[:, others], dataset.content_id_NM[:, others])
    for m in ("video", "audio"):
        lacking_N, column = lacking_NM[:, INDEX[m]], dataset.columns[m]
        number_N = filled.content_id_NM[:, INDEX[m]]
        assert len(set(number_N[lacking_N])) == lacking_N.sum()
        assert not set(number_N[lacking_N]) & set(number_N[~lacking_N])
        assert np.array_equal(number_N[~lacking_N], dataset.content_id_NM[~lacking_N, INDEX[m]])
        rows = np.arange(len(dataset))
        before, after = column.gather(rows), filled.columns[m].gather(rows)
        after_there = after.select(torch.from_numpy(~lacking_N))
        assert torch.equal(after_there.values, before.values)
        assert torch.equal(after_there.padding_RL, before.padding_RL)
        zeros = after.select(torch.from_numpy(lacking_N))
        assert zeros.values.shape[1] == column.length_N.max()
        assert not zeros.padding_RL.any()
        # Stored as float16 like all vectors, so that the mean is rounded before it is taken off.
        error_F = np.abs(column.mean_F) * 2.0**-11 / column.spread_F
        assert (zeros.values.abs().numpy() <= error_F + 1e-6).all()
        assert filled.columns[m].values.dtype == column.values.dtype
    for m in ("text", "table", "image"):
        assert filled.columns[m] is dataset.columns[m]
    filled.collate(np.arange(8)).check()
    assert dataset.present_NM.sum() < filled.present_NM.sum()


def test_missing_as_zeros_skips_absent_modalities(data):
    dataset, _ = data
    columns = {m: c for m, c in dataset.columns.items() if m != "video"}
    content_id_NM = dataset.content_id_NM.copy()
    content_id_NM[:, INDEX["video"]] = -1
    filled = missing_as_zeros(replace(dataset, columns=columns, content_id_NM=content_id_NM))
    assert not filled.present_NM[:, INDEX["video"]].any()
    assert filled.present_NM[:, INDEX["audio"]].all()


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_trains(data, name):
    dataset, config = data
    fault = FAULTS[name]
    changed = fault.config(config)
    trainer = Trainer(changed, fault.build(changed), fault.train(dataset))
    before = [p.detach().clone() for p in trainer.model.parameters()]
    steps = [trainer.train_step(number) for number in range(2)]
    assert all(step.loss.total.isfinite() for step in steps)
    assert set(steps[0].loss.losses) == {"contrastive", *TASKS}
    after = list(trainer.model.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    held = fault.held(dataset).collate(np.arange(8)).to(trainer.device)
    assert trainer.model.embed(held).pooled_BMD.isfinite().all()


@pytest.fixture(scope="module")
def catalogue(small_catalogue):
    return with_splits(Catalogue.open(small_catalogue))


@pytest.fixture(scope="module")
def run(config, catalogue, tmp_path_factory):
    """An untrained run on the small catalogue."""
    training = catalogue.split("train")
    tokenizer = train_tokenizer(training.products, config.features.vocab_size)
    config = fit_vocabulary(config, tokenizer)
    folder = tmp_path_factory.mktemp("run")
    dataset = build_dataset(training, config, tokenizer, None, cache=FeatureCache(folder))
    model = seeded_model(config).eval()
    return TrainedRun(RunFolder(folder), config, tokenizer, dataset.normaliser, model)


@pytest.fixture(scope="module")
def data_effects(run, catalogue):
    return first_training_products(run, catalogue, 24)


@pytest.fixture(scope="module")
def complete(data_effects):
    return data_effects.collate(np.flatnonzero(data_effects.present_NM.all(axis=1))[:5])


def test_first_training_products(data_effects, catalogue):
    assert data_effects.ids == tuple(p.id for p in catalogue.split("train").products[:24])


@pytest.mark.parametrize(("products", "heads"), [(3, 2), (6, 4), (4, 4)])
def test_mask_owners_equal_repeat(products, heads):
    row_R = torch.arange(products).repeat(heads)
    assert np.array_equal(mask_owners(products, heads), row_R.view(products, heads).numpy())


def test_truncate_title_changes_one_row_of_padding(complete):
    cut = truncate_title(complete, 2)
    before_RL, after_RL = complete.tokens["text"].padding_RL, cut.tokens["text"].padding_RL
    same_R = (before_RL == after_RL).all(dim=1)
    assert same_R.tolist() == [True, True, False, True, True]
    kept = int((~after_RL[2]).sum())
    assert kept == int((~before_RL[2]).sum()) // 2
    assert not after_RL[2, :kept].any()
    assert torch.equal(cut.tokens["text"].values, complete.tokens["text"].values)


def test_titles_influence_others_only_through_misaligned_masks(run, complete):
    sound_BB = title_influence(run.model, complete)
    faulty_BB = title_influence(with_misaligned_mask(run), complete)
    elsewhere_BB = ~np.eye(5, dtype=bool)
    assert sound_BB[elsewhere_BB].max() < 1e-5
    assert sound_BB.diagonal().min() > 1e-3
    owner_BH = mask_owners(5, run.config.model.heads)
    meets_BB = (owner_BH[:, :, None] == np.arange(5)).any(axis=1)
    assert np.array_equal(faulty_BB[elsewhere_BB] > 1e-5, meets_BB[elsewhere_BB])


def test_audio_heads_differ_by_the_position_of_the_weight(run, data_effects):
    fitted = fit_audio_heads(run, data_effects, steps=60)
    assert 0 < fitted.weight < 1
    assert fitted.size["prediction"] > fitted.size["loss"]
    for where in ("loss", "prediction"):
        assert len(fitted.loss[where]) == 60
        assert fitted.loss[where][-1] < fitted.loss[where][0]
        assert fitted.predicted_TF[where].shape == fitted.target_TF.shape


@pytest.fixture(scope="module")
def features():
    random = torch.Generator().manual_seed(0)
    pooled_BMD = torch.randn(6, 5, 8, generator=random) + 1.0
    present_BM = torch.rand(6, 5, generator=random) > 0.3
    return pooled_BMD, present_BM


def test_effective_temperatures_equal_a_loop(features):
    present_BM = features[1]
    G_BMM = inter_modality_scores(*features, row_normalise=True).weighted_BMM
    expected = [
        0.07 / G_BMM[b, i, j].item()
        for b in range(6)
        for i, j in PAIRS
        if present_BM[b, i] and present_BM[b, j] and G_BMM[b, i, j] > 0
    ]
    found = effective_temperatures(*features)
    assert found == pytest.approx(expected)
    assert found.min() >= 0.07 * 2**0.5 - 1e-6


def test_same_modality_share_equals_a_loop(features):
    pooled_BMD, present_BM = features
    expected = []
    for pair in PAIRS:
        both = [b for b in range(6) if present_BM[b, pair[0]] and present_BM[b, pair[1]]]
        shares = []
        for anchor, other in (pair, pair[::-1]):
            for a in both:
                mass = {
                    m: sum(
                        torch.exp(
                            cosine_similarity(pooled_BMD[a, anchor], pooled_BMD[b, m], dim=0) / 0.07
                        ).item()
                        for b in both
                        if b != a
                    )
                    for m in (anchor, other)
                }
                shares.append(mass[anchor] / (mass[anchor] + mass[other]))
        expected.append(np.mean(shares))
    assert same_modality_share(*features) == pytest.approx(expected, rel=1e-4)


def test_missing_audio_as_zeros_is_indistinguishable(run, data_effects):
    found = missing_audio_effects(run, data_effects, each=3)
    assert found.present == 3
    assert found.cosine_BB.shape == (6, 6)
    assert found.cosine_BB[3:, 3:].min() > 0.999
    assert found.lower_bound == pytest.approx(np.log(3))
    assert found.loss_missing >= found.lower_bound


def test_zero_audio_stays_present(data_effects):
    silent = zero_audio(data_effects)
    before, after = (d.collate(range(24)).tokens["audio"] for d in (data_effects, silent))
    assert before.values.any()
    assert not after.values.any()
    assert torch.equal(before.rows_R, after.rows_R)
    assert silent.columns["text"] is data_effects.columns["text"]


def test_uncalled_layers_are_replaced_by_another_modalitys(run):
    model = layers_never_called(run.config).eval()
    random = torch.Generator().manual_seed(0)
    tokens_BLD = torch.randn(2, 3, 16, generator=random)
    none_BL = torch.zeros(2, 3, dtype=torch.bool)
    image, video = model.encoders["image"].stack, model.encoders["video"].stack
    assert torch.equal(video(tokens_BLD, none_BL), image(tokens_BLD, none_BL))
    assert count_parameters(model) == count_parameters(seeded_model(run.config))


@pytest.mark.parametrize("name", SHORT_RUNS)
def test_short_trainings_and_their_gradient_coverage(run, data_effects, name):
    config = small_config(run.config)
    model, curves = train_briefly(config, data_effects, SHORT_RUNS[name], steps=2)
    assert set(curves) == {"contrastive", *TASKS, "total"}
    parts = [curves[task][0] for task in ("contrastive", *TASKS)]
    assert curves["total"][0] == pytest.approx(sum(parts), rel=1e-5)
    counts = gradient_coverage(model)
    assert list(counts) == [f"encoders.{m}" for m in MODALITIES] + ["jct"] + [
        f"heads.{m}" for m in MODALITIES
    ]
    assert sum(total for _, total in counts.values()) == count_parameters(model)
    unreached = {part for part, (reached, total) in counts.items() if reached < total}
    assert unreached == {
        "heads on encoder": {"jct"},
        "layers never called": {"encoders.video", "encoders.table"},
        # Zeros times any error: the projection of the vectors has a gradient of 0.
        "audio all zeros": {"encoders.audio"},
    }.get(name, set())
    if name == "heads on encoder":
        assert counts["jct"][0] == 0


def test_small_config_differs_in_depth_loss_and_training_only(run):
    small = small_config(run.config)
    assert replace(
        small, model=run.config.model, train=run.config.train, loss=run.config.loss
    ) == run.config  # fmt: skip
