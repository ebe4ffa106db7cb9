"""Cross-fitted agreement: percentiles, folds, planted wrong pairs, resuming, and the weights."""

import signal
import warnings
from copy import copy
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn.functional import cosine_similarity

from scale.config import Config, LossConfig, TrainConfig
from scale.data.batch import ProductBatch, Tokens
from scale.data.normaliser import Normaliser
from scale.losses.contrastive import LEFT, RIGHT
from scale.modalities import INDEX, PAIRS
from scale.training import cross_fit as module
from scale.training.cross_fit import (
    agreement_weights,
    content_folds,
    cross_fit_agreement,
    modality_agreement,
    pair_percentiles,
    read_agreement,
    right_probability,
    wrong_shares,
)
from scale.training.distributed import rank
from scale.training.preemption import TrainingStopped
from scale.training.pretrain import pretrain
from scale.training.run import RunFolder
from scale.training.trainer import Trainer
from tests.processes import run_two
from tests.training.small_data import FEATURES, MODEL, SmallTokenizer
from tests.training.stops import Stopped, after_the_optimizer, by_signal, stop_in_step


@pytest.fixture
def features():
    """Random features, presence and contents of 40 products; few contents, so many duplicates."""
    random = torch.Generator().manual_seed(0)
    pooled_NMD = torch.randint(-2, 3, (40, 5, 2), generator=random).float()
    present_NM = torch.rand(40, 5, generator=random) > 0.3
    content_NM = torch.randint(0, 15, (40, 5), generator=random).masked_fill(~present_NM, -1)
    return pooled_NMD, present_NM, content_NM


def slow_percentile(pooled_NMD, present_NM, content_NM, a, i, j):
    """The definition, one product and direction at a time."""
    own, shares = cosine_similarity(pooled_NMD[a, i], pooled_NMD[a, j], dim=0), []
    for query, target in ((i, j), (j, i)):
        below, count = 0.0, 0
        for b in range(len(pooled_NMD)):
            if not present_NM[b, target] or b == a:
                continue
            if content_NM[a, i] == content_NM[b, i] or content_NM[a, j] == content_NM[b, j]:
                continue
            other = cosine_similarity(pooled_NMD[a, query], pooled_NMD[b, target], dim=0)
            below += 0.5 if abs(other - own) < 1e-5 else float(other < own)
            count += 1
        shares.append(below / count if count else 0.5)
    return sum(shares) / 2


def test_percentiles_equal_the_definition(features, monkeypatch):
    monkeypatch.setattr(module, "ANCHORS", 16)
    pooled_NMD, present_NM, content_NM = features
    found_NP = pair_percentiles(pooled_NMD.masked_fill(~present_NM[:, :, None], torch.nan),
                                present_NM, content_NM)  # fmt: skip
    for p, (i, j) in enumerate(PAIRS):
        for a in range(40):
            if not (present_NM[a, i] and present_NM[a, j]):
                assert found_NP[a, p].isnan()
                continue
            wanted = slow_percentile(pooled_NMD, present_NM, content_NM, a, i, j)
            assert found_NP[a, p].item() == pytest.approx(wanted, abs=1e-6), (a, i, j)


def test_a_product_without_others_has_one_half():
    pooled_NMD, present_NM = torch.ones(2, 5, 3), torch.ones(2, 5, dtype=torch.bool)
    same_NM = torch.zeros(2, 5, dtype=torch.long)
    assert (pair_percentiles(pooled_NMD, present_NM, same_NM) == 0.5).all()


def test_modality_agreement_and_shares_by_hand():
    """Two products with text, image and sound; the second one's image is wrong."""
    r_NP = torch.full((2, 10), torch.nan)
    text_image, text_audio, image_audio = (PAIRS.index(p) for p in ((0, 2), (0, 4), (2, 4)))
    r_NP[:, text_image] = torch.tensor([1.0, 0.4])
    r_NP[:, text_audio] = torch.tensor([0.8, 1.0])
    r_NP[:, image_audio] = torch.tensor([0.9, 0.5])
    agreement_NM = modality_agreement(r_NP)
    assert agreement_NM[0, [0, 2, 4]].tolist() == pytest.approx([0.9, 0.95, 0.85])
    assert agreement_NM[1, [0, 2, 4]].tolist() == pytest.approx([0.7, 0.45, 0.75])
    assert agreement_NM[:, [1, 3]].isnan().all()
    assert wrong_shares(r_NP).tolist() == [0, 0, 1, 0, 0], "one of two images is below 1/2"


def slow_probability(values_N):
    """Kernel densities at 101 points, and a running maximum."""

    def density(x):
        return sum(np.exp(-(((x - v) / 0.07) ** 2) / 2) for v in values_N)

    grid, best = [], 0.0
    for x in np.linspace(0, 1, 101):
        best = max(best, 1 - density(1 - x) / density(x) if x > 0.5 else 0.0)
        grid.append(best)
    return np.interp(values_N, np.linspace(0, 1, 101), grid)


def test_probability_equals_the_definition():
    random = np.random.default_rng(0)
    right, wrong = random.beta(9, 1, 150), random.beta(4, 4, 50)
    values_N = np.concatenate([right, wrong])
    found_N = right_probability(torch.from_numpy(np.append(values_N, np.nan)))
    assert found_N[-1].isnan()
    np.testing.assert_allclose(found_N[:-1], slow_probability(values_N), atol=1e-6)
    assert not found_N[:-1][values_N <= 0.5].any()
    assert abs(found_N[:-1].mean() - 0.75) < 0.08, "three quarters are right"
    all_wrong = right_probability(torch.from_numpy(random.beta(4, 4, 500)))
    assert all_wrong.mean() < 0.1
    assert right_probability(torch.from_numpy(right)).mean() > 0.95


def test_weights_equal_the_definition(features):
    _, present_NM, _ = features
    r_NP = torch.rand(40, 10, generator=torch.Generator().manual_seed(1)).double().sqrt()
    r_NP[~(present_NM[:, LEFT] & present_NM[:, RIGHT])] = torch.nan
    own_NM = torch.stack([right_probability(m_N) for m_N in modality_agreement(r_NP).T], dim=1)
    plain_NP = np.full((40, 10), np.nan)
    for p, (i, j) in enumerate(PAIRS):
        both_N = right_probability(r_NP[:, p]) + own_NM[:, i] * own_NM[:, j]
        wrong_N = 1 - (both_N / 2).clamp(min=0.02)
        share_i, share_j = wrong_shares(r_NP)[[i, j]].tolist()
        trust = min(1, 2 * (1 - (1 - share_i) * (1 - share_j)))
        plain_NP[:, p] = (1 - trust * wrong_N).numpy()
    found = agreement_weights(r_NP, present_NM)
    valid_NP = ~np.isnan(plain_NP)
    assert 0.02 <= plain_NP[valid_NP].min() < 0.5
    pair_NP = plain_NP / plain_NP[valid_NP].mean()
    np.testing.assert_allclose(found.pair_BP, np.nan_to_num(pair_NP), rtol=1e-6)
    pairs_of = [[p for p, pair in enumerate(PAIRS) if m in pair] for m in range(5)]
    with warnings.catch_warnings(action="ignore"):  # A mean of no pair.
        own = np.stack([np.nanmean(plain_NP[:, places], axis=1) for places in pairs_of], axis=1)
    own = np.where(np.isnan(own), 1.0, own) * present_NM.numpy()
    np.testing.assert_allclose(found.own_BM, own / own[present_NM].mean(), rtol=1e-6)


def test_folds_are_balanced_and_keep_duplicates_together():
    content_NM = np.tile(np.arange(60)[:, None], (1, 5))
    content_NM[1, INDEX["text"]] = content_NM[0, INDEX["text"]]
    content_NM[2, INDEX["image"]] = content_NM[1, INDEX["image"]]  # a chain of three
    content_NM[:, INDEX["audio"]] = 0  # a jingle of all products joins none
    content_NM[30:55, INDEX["image"]] = 30  # a placeholder
    content_NM[40:, INDEX["video"]] = -1
    for seed in range(5):
        fold_N = content_folds(content_NM, 4, seed)
        assert len(set(fold_N[:3])) == 1
        assert np.bincount(fold_N).tolist() == [15] * 4
    assert (content_folds(content_NM, 4, 0) != content_folds(content_NM, 4, 1)).any()
    with pytest.raises(ValueError, match="cannot form 4 folds"):
        content_folds(np.zeros((9, 5), np.int64) + np.arange(9)[:, None] // 3, 4, 0)


VISIBLE = ("image", "video", "audio")
JUDGING = Config(
    features=FEATURES,
    model=replace(MODEL, modalities=VISIBLE),
    loss=LossConfig(weight_by="agreement", agreement_repeats=2, agreement_steps=30),
    train=TrainConfig(steps=40, batch_size=48, learning_rate=1e-2, device="cpu"),
)


class HiddenFactors:
    """Products whose picture, clip and sound are linear in three hidden numbers."""

    tokenizer, fingerprint, normaliser = SmallTokenizer(), "hidden", Normaliser({}, {})

    def __init__(self, count=96, wrong=()):
        random = np.random.default_rng(0)
        hidden_N3 = random.normal(size=(count, 3)).astype(np.float32)
        self.rows, self.content_id_NM = np.arange(count), np.full((count, 5), -1)
        self.tokens = {}
        for m in VISIBLE:
            shape = 3, MODEL.length(m) * MODEL.feature_size(m)
            self.tokens[m] = hidden_N3 @ random.normal(size=shape).astype(np.float32)
            self.content_id_NM[:, INDEX[m]] = np.arange(count)
        for row in wrong:  # The picture of the next product.
            self.tokens["image"][row] = self.tokens["image"][(row + 1) % count]
            self.content_id_NM[row, INDEX["image"]] = (row + 1) % count

    def __len__(self):
        return len(self.rows)

    @property
    def ids(self):
        return tuple(f"p{row}" for row in self.rows)

    @property
    def present_NM(self):
        return self.content_id_NM >= 0

    def subset(self, rows):
        part = copy(self)
        part.rows, part.content_id_NM = self.rows[rows], self.content_id_NM[rows]
        return part

    def facts(self, rows):
        content_id_BM = torch.from_numpy(self.content_id_NM[rows])
        return ProductBatch({}, content_id_BM >= 0, torch.as_tensor(rows), content_id_BM)

    def collate(self, rows):
        batch = self.facts(np.asarray(rows))
        for m, vectors in self.tokens.items():
            values = torch.from_numpy(vectors[self.rows[rows]]).view(len(rows), MODEL.length(m), -1)
            padding = torch.zeros(values.shape[:2], dtype=torch.bool)
            batch.tokens[m] = Tokens(values, padding, torch.arange(len(rows)))
        return batch


@pytest.fixture
def judges(monkeypatch):
    """Record the training products, the judged products and the weights of each model."""
    found, original = [], module.percentiles_of

    def recording(model, data, rows, device):
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        found.append((set(data.ids), {data.ids[row] for row in rows}, weights))
        return original(model, data, rows, device)

    def training(trainer, config, model, train_set, **options):
        make(trainer, config, model, train_set, **options)
        trained.append(set(train_set.ids))

    make, trained = Trainer.__init__, []
    monkeypatch.setattr(module, "percentiles_of", recording)
    monkeypatch.setattr(Trainer, "__init__", training)
    return found, trained


PROJECTED = replace(
    JUDGING,
    model=replace(JUDGING.model, pooling="projection", projection_width=8, projection_inputs=16),
    loss=replace(JUDGING.loss, agreement_steps=0, parts=0),
)


@pytest.mark.parametrize("config", [JUDGING, PROJECTED], ids=["trained", "closed form"])
def test_planted_wrong_pictures_have_the_lowest_agreement(config, judges):
    wrong = list(range(0, 96, 5))
    found = cross_fit_agreement(HiddenFactors(wrong=wrong), config)
    assert bool(judges[1]) == (config is JUDGING), "the closed form is not trained"
    image_N = modality_agreement(torch.from_numpy(found.r_NP))[:, INDEX["image"]]
    lowest = image_N.argsort()[: len(wrong)].tolist()
    assert len(set(lowest) & set(wrong)) >= 15, "of 20"
    weights = found.weights(HiddenFactors(wrong=wrong).present_NM)
    pair = PAIRS.index((INDEX["image"], INDEX["audio"]))
    right = np.setdiff1d(np.arange(96), wrong)
    assert weights.pair_BP[wrong, pair].mean() < 0.75 * weights.pair_BP[right, pair].mean()
    other = PAIRS.index((INDEX["video"], INDEX["audio"]))
    assert weights.pair_BP[:, other].std() < 0.1, "nearly uniform"


def test_a_product_does_not_influence_the_model_that_judges_it(judges):
    """Nor do its duplicates; in the first repeat, where there are no weights yet."""
    found, trained = judges
    once = replace(JUDGING, loss=replace(JUDGING.loss, agreement_repeats=1, agreement_steps=5))
    data, changed = HiddenFactors(wrong=[7]), HiddenFactors(wrong=[7])
    changed.tokens["image"][[7, 8]] += 1.0  # p7 has the picture of p8.
    before, after = (cross_fit_agreement(products, once).r_NP for products in (data, changed))
    for (_, judged, weights), products, (_, _, new) in zip(
        found[:4], trained[:4], found[4:], strict=True
    ):
        assert not judged & products
        assert len(judged | products) == 96
        same = all(torch.equal(weights[name], new[name]) for name in weights)
        assert ("p7" in judged) == ("p8" in judged) == same
    assert (before[7] != after[7])[~np.isnan(before[7])].any()


def test_the_second_repeat_is_weighted_by_the_first(judges):
    """Without it, the models of both repeats would not depend on the first one's result."""
    found, _ = judges
    loss = replace(JUDGING.loss, agreement_steps=3)
    cross_fit_agreement(HiddenFactors(wrong=[7]), replace(JUDGING, loss=loss))
    whole = [weights for *_, weights in found]
    found.clear()
    original = module.agreement_weights
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "agreement_weights", lambda r, has: original(torch.ones_like(r), has))
        cross_fit_agreement(HiddenFactors(wrong=[7]), replace(JUDGING, loss=loss))
    for number, (one, (*_, other)) in enumerate(zip(whole, found, strict=True)):
        same = all(torch.equal(one[name], other[name]) for name in one)
        assert same == (number < 4)


def test_finished_folds_are_kept(tmp_path, judges):
    found, _ = judges
    config = replace(JUDGING, loss=replace(JUDGING.loss, agreement_steps=4))
    whole = cross_fit_agreement(HiddenFactors(), config, tmp_path / "whole.parquet")
    found.clear()
    with pytest.MonkeyPatch.context() as patch:
        calls = []

        def third(*arguments):
            calls.append(0)
            if len(calls) == 3:
                raise Stopped
            return record(*arguments)

        record = module.percentiles_of
        patch.setattr(module, "percentiles_of", third)
        with pytest.raises(Stopped):
            cross_fit_agreement(HiddenFactors(), config, tmp_path / "a.parquet")
    found.clear()
    resumed = cross_fit_agreement(HiddenFactors(), config, tmp_path / "a.parquet")
    assert len(found) == 6
    np.testing.assert_array_equal(resumed.r_NP, whole.r_NP)
    again = read_agreement(tmp_path / "a.parquet")
    assert again.ids == whole.ids
    np.testing.assert_allclose(again.r_NP, whole.r_NP, rtol=1e-12)
    found.clear()
    cross_fit_agreement(HiddenFactors(wrong=[3]), config, tmp_path / "a.parquet")
    assert len(found) == 8, "of other products"
    table = pq.read_table(tmp_path / "a.parquet")
    assert len(table) == 2 * 96


@pytest.mark.parametrize("way", [after_the_optimizer, by_signal(signal.SIGTERM)])
def test_a_run_stopped_in_a_fold_and_in_training_ends_with_the_same_bits(
    small, small_catalogue, cache, same_run, tmp_path, way
):
    loss = replace(small.loss, weight_by="agreement", agreement_folds=2, agreement_steps=3)
    config = replace(small, loss=loss)

    def train(name):
        pretrain(config, small_catalogue, tmp_path / name, resume=True, cache=cache, progress=False)

    train("whole")
    for step in (2, 9):
        with pytest.MonkeyPatch.context() as patch:
            stop_in_step(patch, step, way)
            with pytest.raises((Stopped, TrainingStopped)):
                train("run")
    train("run")
    same_run(tmp_path / "run", tmp_path / "whole")
    agreements = [read_agreement(RunFolder(tmp_path / n).agreement) for n in ("run", "whole")]
    np.testing.assert_array_equal(agreements[0].r_NP, agreements[1].r_NP)


ONCE = replace(
    JUDGING, loss=replace(JUDGING.loss, agreement_folds=2, agreement_repeats=1, agreement_steps=20)
)


def judge_in_process(folder):
    found = cross_fit_agreement(HiddenFactors(), ONCE, folder / "two.parquet")
    np.save(folder / f"{rank()}.npy", found.r_NP)


def test_two_processes_judge_as_one(tmp_path):
    run_two(judge_in_process, tmp_path)
    one = cross_fit_agreement(HiddenFactors(), ONCE).r_NP
    both = [np.load(tmp_path / f"{number}.npy") for number in range(2)]
    np.testing.assert_array_equal(*both)
    known = ~np.isnan(one)
    assert np.corrcoef(one[known], both[0][known])[0, 1] > 0.9
