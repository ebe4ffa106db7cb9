"""Validation metrics against loops over the features."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scale.data.batch import ProductBatch
from scale.modalities import INDEX, MODALITIES
from scale.model.scale import EmbedOutput
from scale.training.health_checks import RECALL, alignment, uniformity
from scale.training.validation import BEST_BY, validate

COUNT = 30


class Features(torch.nn.Module):
    """A model that returns given features by product."""

    def __init__(self, pooled_NMD):
        super().__init__()
        self.pooled_NMD = pooled_NMD

    def embed(self, batch: ProductBatch) -> EmbedOutput:
        return EmbedOutput(self.pooled_NMD[batch.index_B], batch.present_BM)


class Products:
    """Products without tokens: modalities, contents and categories only."""

    ids = tuple(f"p{n}" for n in range(COUNT))

    def __init__(self, present_NM, categories):
        self.present_NM = present_NM
        self.products = [SimpleNamespace(category=category) for category in categories]
        self.content_id_NM = np.where(present_NM, np.arange(COUNT)[:, None], -1)

    def collate(self, indices: list[int]) -> ProductBatch:
        present_BM = torch.from_numpy(self.present_NM[indices])
        return ProductBatch({}, present_BM, torch.tensor(indices))


@pytest.fixture
def features():
    """Features with a shared signal whose strength differs by modality; audio is rare."""
    rng = np.random.default_rng(0)
    strength_M1 = np.array([1.2, 0.4, 1.0, 0.6, 0.8])[:, None]
    shared = rng.normal(size=(COUNT, 1, 12)) * strength_M1
    present_NM = rng.random((COUNT, 5)) < np.array([0.95, 0.9, 0.8, 0.7, 0.6])
    present_NM[:, 0] = True
    return (shared + rng.normal(size=(COUNT, 5, 12))).astype(np.float32), present_NM


def test_recall_is_the_mean_over_the_twenty_directions(features):
    pooled_NMD, present_NM = features
    recalls, gains = [], []
    for a in MODALITIES:
        for b in MODALITIES:
            if a == b:
                continue
            i, j = INDEX[a], INDEX[b]
            both = [n for n in range(COUNT) if present_NM[n, i] and present_NM[n, j]]
            found, reciprocal = 0, 0.0
            for n in both:
                query = pooled_NMD[n, i]
                cosine = {g: query @ pooled_NMD[g, j] / np.linalg.norm(pooled_NMD[g, j])
                          for g in both}  # fmt: skip
                ranked = sorted(both, key=lambda g, c=cosine: -c[g])
                found += n in ranked[:10]
                reciprocal += 1 / (1 + ranked.index(n))
            recalls.append(found / len(both))
            chance = sum(1 / rank for rank in range(1, len(both) + 1)) / len(both)
            gains.append(reciprocal / len(both) - chance)
    assert len(recalls) == 20
    products = Products(present_NM, [None] * COUNT)
    result = validate(Features(torch.from_numpy(pooled_NMD)), products, torch.device("cpu"))
    assert result.values[RECALL] == pytest.approx(np.mean(recalls), abs=1e-9)
    assert result.values[BEST_BY] == pytest.approx(np.mean(gains), abs=1e-9)
    assert len(set(np.round(recalls, 6))) > 10, "a mean over fewer directions must differ"
    masked = torch.from_numpy(pooled_NMD * present_NM[:, :, None]), torch.from_numpy(present_NM)
    assert result.values["val/alignment"] == pytest.approx(alignment(*masked))
    assert result.values["val/uniformity"] == pytest.approx(uniformity(*masked))
    assert result.values.keys() == {BEST_BY, RECALL, "val/alignment", "val/uniformity"}
    assert result.warning is None


def test_category_retrieval_and_collapse_warning(features):
    """Each category is one direction; all products have all modalities."""
    categories = [f"c{n % 3}" for n in range(COUNT)]
    pooled_NMD = torch.eye(12)[torch.arange(COUNT) % 3][:, None].expand(COUNT, 5, 12)
    products = Products(np.ones((COUNT, 5), dtype=bool), categories)
    cpu = torch.device("cpu")
    assert validate(Features(pooled_NMD), products, cpu).values["val/mAP@1"] == 1.0
    collapsed = validate(Features(torch.ones(COUNT, 5, 12)), products, cpu)
    assert "collapsed" in collapsed.warning
