"""What the faults do, against loops and against what must hold; short trainings."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue, with_splits
from scale.data.tokenizer import train_tokenizer
from scale.modalities import MODALITIES, PAIRS, TASKS
from scale.model.scores import inter_modality_scores
from scale.studies.released_code import (
    SHORT_RUNS,
    effective_temperatures,
    first_training_products,
    fit_audio_heads,
    gradient_coverage,
    layers_never_called,
    mask_owners,
    missing_audio_effects,
    same_modality_share,
    small_config,
    title_influence,
    train_briefly,
    truncate_title,
    with_misaligned_mask,
    zero_audio,
)
from scale.studies.systems.model import count_parameters
from scale.training.run import RunFolder, TrainedRun, build_dataset, fit_vocabulary, seeded_model


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
def data(run, catalogue):
    return first_training_products(run, catalogue, 24)


@pytest.fixture(scope="module")
def complete(data):
    return data.collate(np.flatnonzero(data.present_NM.all(axis=1))[:5])


def test_few_products_are_the_first_of_training(data, catalogue):
    assert data.ids == tuple(p.id for p in catalogue.split("train").products[:24])


@pytest.mark.parametrize(("products", "heads"), [(3, 2), (6, 4), (4, 4)])
def test_mask_owners_are_those_of_repeat(products, heads):
    row_R = torch.arange(products).repeat(heads)
    assert np.array_equal(mask_owners(products, heads), row_R.view(products, heads).numpy())


def test_cut_title_changes_one_row_of_padding(complete):
    cut = truncate_title(complete, 2)
    before_RL, after_RL = complete.tokens["text"].padding_RL, cut.tokens["text"].padding_RL
    same_R = (before_RL == after_RL).all(dim=1)
    assert same_R.tolist() == [True, True, False, True, True]
    kept = int((~after_RL[2]).sum())
    assert kept == int((~before_RL[2]).sum()) // 2
    assert not after_RL[2, :kept].any()
    assert torch.equal(cut.tokens["text"].values, complete.tokens["text"].values)


def test_titles_reach_others_only_through_scrambled_masks(run, complete):
    sound_BB = title_influence(run.model, complete)
    faulty_BB = title_influence(with_misaligned_mask(run), complete)
    elsewhere_BB = ~np.eye(5, dtype=bool)
    assert sound_BB[elsewhere_BB].max() < 1e-5
    assert sound_BB.diagonal().min() > 1e-3
    owner_BH = mask_owners(5, run.config.model.heads)
    meets_BB = (owner_BH[:, :, None] == np.arange(5)).any(axis=1)
    assert np.array_equal(faulty_BB[elsewhere_BB] > 1e-5, meets_BB[elsewhere_BB])


def test_heads_differ_by_where_the_weight_acts(run, data):
    fitted = fit_audio_heads(run, data, steps=60)
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


def test_effective_temperatures_equal_the_loop(features):
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


def test_same_modality_share_equals_the_loop(features):
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


def test_missing_sounds_are_alike_and_cannot_be_told_apart(run, data):
    found = missing_audio_effects(run, data, each=3)
    assert found.present == 3
    assert found.cosine_BB.shape == (6, 6)
    assert found.cosine_BB[3:, 3:].min() > 0.999
    assert found.lower_bound == pytest.approx(np.log(3))
    assert found.loss_missing >= found.lower_bound


def test_silent_sounds_are_zeros_and_still_there(data):
    silent = zero_audio(data)
    before, after = (d.collate(range(24)).tokens["audio"] for d in (data, silent))
    assert before.values.any()
    assert not after.values.any()
    assert torch.equal(before.rows_R, after.rows_R)
    assert silent.columns["text"] is data.columns["text"]


def test_layers_never_called_are_another_modalitys(run):
    model = layers_never_called(run.config).eval()
    random = torch.Generator().manual_seed(0)
    tokens_BLD = torch.randn(2, 3, 16, generator=random)
    none_BL = torch.zeros(2, 3, dtype=torch.bool)
    image, video = model.encoders["image"].stack, model.encoders["video"].stack
    assert torch.equal(video(tokens_BLD, none_BL), image(tokens_BLD, none_BL))
    assert count_parameters(model) == count_parameters(seeded_model(run.config))


@pytest.mark.parametrize("name", SHORT_RUNS)
def test_short_trainings_run_and_count_what_they_reach(run, data, name):
    config = small_config(run.config)
    model, curves = train_briefly(config, data, SHORT_RUNS[name], steps=2)
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


def test_a_small_config_differs_in_depth_loss_and_training_only(run):
    small = small_config(run.config)
    assert replace(
        small, model=run.config.model, train=run.config.train, loss=run.config.loss
    ) == run.config  # fmt: skip
