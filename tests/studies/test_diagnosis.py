"""The diagnosis of a trained model's scores on constructed good and damaged content."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from scale.config import Config
from scale.data.batch import ProductBatch
from scale.losses.contrastive import pair_losses
from scale.modalities import INDEX, MODALITIES, PAIRS
from scale.model.scale import EmbedOutput
from scale.model.scores import inter_modality_scores
from scale.studies.diagnosis import diagnose
from scale.studies.noise import NoisyDataset
from scale.studies.statistics import auc, spearman
from scale.training.trainer import Trainer

N, BATCH, WIDTH = 24, 8, 6
WEIGHTS = ("S'", "posterior")


@dataclass(frozen=True)
class Products:
    """The part of a dataset that the diagnosis uses: ids, presence and batches."""

    ids: tuple[str, ...]
    content_id_NM: np.ndarray

    def __len__(self):
        return len(self.ids)

    def collate(self, rows):
        content_id_BM = torch.from_numpy(self.content_id_NM[np.asarray(rows)])
        return ProductBatch({}, content_id_BM >= 0, torch.as_tensor(rows), content_id_BM)

    def subset(self, rows):
        """Select rows; the model identifies a product by the number of its content."""
        return Products(tuple(self.ids[r] for r in rows), self.content_id_NM[rows])


class Table(torch.nn.Module):
    """Features of each content, from a table."""

    def __init__(self, pooled_NMD):
        super().__init__()
        self.pooled_NMD = pooled_NMD

    def embed(self, batch):
        rows_BM = batch.content_id_BM.clamp(min=0)
        pooled_BMD = self.pooled_NMD[rows_BM, torch.arange(5)]
        return EmbedOutput(pooled_BMD * batch.present_BM[:, :, None], batch.present_BM)


@pytest.fixture
def situation():
    """24 products whose modalities agree, but where they are damaged they are another's."""
    random = torch.Generator().manual_seed(0)
    pooled_NMD = torch.randn(N, 1, WIDTH, generator=random).repeat(1, 5, 1)
    pooled_NMD += 0.3 * torch.randn(N, 5, WIDTH, generator=random)
    present_NM = (torch.rand(N, 5, generator=random) > 0.2).numpy()
    damaged_NM = (torch.rand(N, 5, generator=random) < torch.linspace(0.1, 0.5, 5)).numpy()
    damaged_NM &= present_NM
    for n, m in zip(*np.nonzero(damaged_NM), strict=True):
        pooled_NMD[n, m] = torch.randn(WIDTH, generator=random)
    content_id_NM = np.where(present_NM, np.arange(N)[:, None], -1)
    products = Products(tuple(f"p{n}" for n in range(N)), content_id_NM)
    # Some damage is noise (hit), some a mismatch that leaves no trace but in `true`.
    hit_NM = damaged_NM & (np.arange(N) % 2 == 0)[:, None]
    true_NM = present_NM & ~(damaged_NM & ~hit_NM)
    return Table(pooled_NMD), NoisyDataset(products, true_NM, hit_NM), present_NM & ~damaged_NM


def diagnosed(model, train, noisy, held):
    """Return `diagnose` of a minimal trainer."""
    trainer = object.__new__(Trainer)
    trainer.model, trainer.train_set, trainer.device = model, train, "cpu"
    config = Config()
    trainer.config = replace(config, train=replace(config.train, batch_size=BATCH))
    return diagnose(trainer, noisy, held)


def slow_weights(model, products):
    """By weight and (product, pair), and by weight and (product, modality); in batches of 8."""
    pair, own = ({name: {} for name in WEIGHTS} for _ in range(2))
    for start in range(0, len(products), BATCH):
        batch = products.collate(np.arange(start, min(start + BATCH, len(products))))
        output = model.embed(batch)
        weighted_BMM = inter_modality_scores(output.pooled_BMD, output.present_BM).weighted_BMM
        losses = pair_losses(output.pooled_BMD, output.present_BM, 0.07,
                             content_id_BM=batch.content_id_BM)  # fmt: skip
        for b in range(len(batch)):
            n, here = start + b, output.present_BM[b]
            for p, (i, j) in enumerate(PAIRS):
                if here[i] and here[j]:
                    pair["S'"][n, p] = weighted_BMM[b, i, j].item()
                    pair["posterior"][n, p] = math.exp(-losses.loss_BP[b, p].item())
            for m in range(5):
                if here[m]:
                    own["S'"][n, m] = weighted_BMM[b, m, m].item()
                    mine = [pair["posterior"][n, p] for p, ij in enumerate(PAIRS)
                            if m in ij and (n, p) in pair["posterior"]]  # fmt: skip
                    own["posterior"][n, m] = np.mean(mine) if mine else 1.0
    return pair, own


def column(values, place):
    return [value for (_, p), value in values.items() if p == place]


def slow_area(values, good_NM):
    """Mean over the pairs of modalities of the area, where there are good and damaged ones."""
    areas = []
    for p, (i, j) in enumerate(PAIRS):
        products = [n for n, q in values if q == p]
        good = [bool(good_NM[n, i] and good_NM[n, j]) for n in products]
        areas.append(auc([values[n, p] for n in products], good))
    return np.nanmean(areas)


def test_figures_equal_the_loops(situation):
    model, noisy, good_NM = situation
    held = noisy.dataset.subset(np.arange(10))
    held = NoisyDataset(held, noisy.true_NM[:10], noisy.hit_NM[:10])
    figures = diagnosed(model, noisy.dataset, noisy, held)
    pair, own = slow_weights(model, noisy.dataset)
    pair_held, _ = slow_weights(model, held.dataset)
    present_NM = noisy.dataset.content_id_NM >= 0
    good_M = [good_NM[present_NM[:, m], m].mean() for m in range(5)]
    good_P = [np.mean([good_NM[n, i] and good_NM[n, j] for n, q in pair["S'"] if q == p])
              for p, (i, j) in enumerate(PAIRS)]  # fmt: skip
    names = set()
    for w in WEIGHTS:
        means_P = [np.mean(column(pair[w], p)) for p in range(10)]
        own_M = [np.mean(column(own[w], m)) for m in range(5)]
        expected = {
            f"AUC {w}": slow_area(pair[w], good_NM),
            f"AUC {w} held out": slow_area(pair_held[w], good_NM),
            f"Spearman {w}": spearman(means_P, good_P),
            f"Spearman {w} own": spearman(own_M, good_M),
        }
        expected |= {f"own {w} {m}": own_M[INDEX[m]] for m in MODALITIES}
        expected |= {f"good {m}": good_M[INDEX[m]] for m in MODALITIES}
        expected |= {
            f"pair {w} {MODALITIES[i]}-{MODALITIES[j]}": means_P[p]
            for p, (i, j) in enumerate(PAIRS)
        }
        assert {name: figures[name] for name in expected} == pytest.approx(expected, rel=1e-5)
        names |= set(expected)
        assert figures[f"AUC {w}"] > 0.75, "damaged modalities are another's"
    assert set(figures) == names


def test_diagnosis_covers_the_products_used_in_training(situation):
    """Under `drop` fewer products train, in the same order; truth follows them by id."""
    model, noisy, _ = situation
    rows = np.flatnonzero((noisy.dataset.content_id_NM >= 0).sum(1) >= 4)
    kept = NoisyDataset(noisy.dataset.subset(rows), noisy.true_NM[rows], noisy.hit_NM[rows])
    assert 5 < len(rows) < N
    found, expected = (
        diagnosed(model, kept.dataset, whole, noisy) for whole in (noisy, kept)
    )  # fmt: skip
    assert found == pytest.approx(expected, nan_ok=True)


def test_diagnosis_without_good_or_damaged_pairs_is_nan(situation):
    model, noisy, _ = situation
    present_NM = noisy.dataset.content_id_NM >= 0
    nothing = NoisyDataset(noisy.dataset, present_NM, np.zeros_like(present_NM))
    everything = replace(nothing, hit_NM=present_NM)
    for extreme, good in ((nothing, 1.0), (everything, 0.0)):
        figures = diagnosed(model, noisy.dataset, extreme, noisy)
        for w in WEIGHTS:
            assert math.isnan(figures[f"AUC {w}"])
            assert math.isnan(figures[f"Spearman {w}"])
            assert math.isnan(figures[f"Spearman {w} own"])
            assert not math.isnan(figures[f"AUC {w} held out"])
            assert not math.isnan(figures[f"own {w} audio"])
        assert figures["good text"] == good


def test_diagnosis_of_an_absent_modality_is_nan(situation):
    model, noisy, _ = situation
    content_id_NM = noisy.dataset.content_id_NM.copy()
    content_id_NM[:, INDEX["audio"]] = -1
    silent = replace(noisy, dataset=replace(noisy.dataset, content_id_NM=content_id_NM))
    figures = diagnosed(model, silent.dataset, silent, silent)
    for w in WEIGHTS:
        assert math.isnan(figures[f"own {w} audio"])
        assert math.isnan(figures[f"pair {w} text-audio"])
        assert figures[f"AUC {w}"] > 0.7
        assert not math.isnan(figures[f"Spearman {w}"])
    assert math.isnan(figures["good audio"])
