"""Comparison of a trained model's weights with the known damage of its training products.

N products, B products of a batch, S seeds, M modalities (five), P pairs (ten), D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from scale.data.dataset import ProductDataset
from scale.evaluation.bootstrap import Estimate
from scale.evaluation.embed import embed_dataset
from scale.losses.contrastive import LEFT, RIGHT, pair_losses
from scale.losses.weighting import own_from_pairs, posterior_weights
from scale.modalities import INDEX, MODALITIES, PAIRS
from scale.model.scores import inter_modality_scores
from scale.studies.noise import ABSENCE_KINDS, Noise, NoisyDataset
from scale.studies.statistics import auc, known_mean, nanmean, seed_interval, spearman
from scale.studies.study import Cell, Record, Study, done_runs
from scale.training.trainer import Trainer

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def diagnose(trainer: Trainer, noisy: NoisyDataset, held: NoisyDataset) -> dict[str, float]:
    """Measure how well S' and the posterior separate good pairs and modalities from damaged ones.

    On the unmasked training products after noise, in batches of the training's size. Good: present
    and not hit by any noise. Returned by name, with `W` either `S'` or `posterior`:
    - `AUC W`: probability that a good pair has a larger weight than a damaged one of the same
      modalities (mean over pairs; 0.5 is chance);
    - `AUC W held out`: the same for held-out products with the same kinds of damage, which excludes
      memorisation;
    - `Spearman W`: over the ten pairs, between the mean weight and the share of good pairs;
    - `Spearman W own`: over the five modalities, between the mean own weight and the good share;
    - `own W audio`, `pair W text-image` etc.: mean weights; `good audio` etc.: good shares.
    NaN if nothing or everything is damaged.
    """
    seen = _observe(trainer, trainer.train_set, noisy)
    unseen = _observe(trainer, held.dataset, held)
    values = {}
    for name, (pair_NP, own_NM) in seen.weights.items():
        values[f"AUC {name}"] = _mean_auc(pair_NP, seen)
        values[f"AUC {name} held out"] = _mean_auc(unseen.weights[name][0], unseen)
        means_P, own_M = _column_means(pair_NP, seen.valid_NP), _column_means(own_NM, seen.here_NM)
        values[f"Spearman {name}"] = spearman(means_P, _column_means(seen.good_NP, seen.valid_NP))
        good_M = _column_means(seen.good_NM, seen.here_NM)
        values[f"Spearman {name} own"] = spearman(own_M, good_M)
        values |= {f"own {name} {m}": float(own_M[INDEX[m]]) for m in MODALITIES}
        values |= {f"good {m}": float(good_M[INDEX[m]]) for m in MODALITIES}
        values |= {
            f"pair {name} {MODALITIES[i]}-{MODALITIES[j]}": float(mean)
            for (i, j), mean in zip(PAIRS, means_P, strict=True)
        }
    return values


@dataclass(frozen=True)
class _Observed:
    """Presence, ground truth and weights of products."""

    here_NM: Bools
    good_NM: Bools
    weights: dict[str, tuple[Floats, Floats]]
    """pair_NP and own_NM by name."""

    @property
    def valid_NP(self) -> Bools:
        return self.here_NM[:, LEFT] & self.here_NM[:, RIGHT]

    @property
    def good_NP(self) -> Bools:
        return self.good_NM[:, LEFT] & self.good_NM[:, RIGHT]


def _observe(trainer: Trainer, data: ProductDataset, noisy: NoisyDataset) -> _Observed:
    """Compute the weights of the products of `data`, a subset of those of `noisy`."""
    pooled = embed_dataset(trainer.model, data, device=trainer.device, progress=False)
    rows = noisy.rows(data.ids)
    present_NM = torch.from_numpy(pooled.present_NM)
    good_NM = pooled.present_NM & noisy.true_NM[rows] & ~noisy.hit_NM[rows]
    weights = _weights(trainer, data, pooled.pooled_NMD, present_NM)
    return _Observed(pooled.present_NM, good_NM, weights)


def _weights(
    trainer: Trainer, data: ProductDataset, pooled_NMD: np.ndarray, present_NM: torch.Tensor
) -> dict[str, tuple[Floats, Floats]]:
    """Return pair_NP and own_NM of S' and of the posterior, computed batch by batch."""
    size, found = trainer.config.train.batch_size, {"S'": [], "posterior": []}
    content_id_NM = torch.from_numpy(data.content_id_NM)
    features_NMD = torch.from_numpy(pooled_NMD)
    for start in range(0, len(features_NMD), size):
        part = slice(start, start + size)
        pooled_BMD, present_BM = features_NMD[part], present_NM[part]
        scores = inter_modality_scores(pooled_BMD, present_BM).weighted_BMM
        found["S'"].append((scores[:, LEFT, RIGHT], scores.diagonal(dim1=1, dim2=2)))
        pairs = pair_losses(
            pooled_BMD,
            present_BM,
            trainer.config.loss.temperature,
            content_id_BM=content_id_NM[part],
        )
        pair_BP = posterior_weights(pairs)
        found["posterior"].append((pair_BP, own_from_pairs(pair_BP, present_BM)))
    return {
        name: tuple(torch.cat(parts).double().numpy() for parts in zip(*batches, strict=True))
        for name, batches in found.items()
    }


def _column_means(value_NX: np.ndarray, valid_NX: Bools) -> Floats:
    """Return the mean of the valid entries of each column; NaN for a column without any."""
    return nanmean(np.where(valid_NX, value_NX, np.nan))


def _mean_auc(weight_NP: Floats, seen: _Observed) -> float:
    """Return the mean AUC over the pairs of modalities with both good and damaged products."""
    valid_NP, good_NP = seen.valid_NP, seen.good_NP
    return known_mean(
        [auc(weight_NP[valid_N, p], good_NP[valid_N, p]) for p, valid_N in enumerate(valid_NP.T)]
    )


WEIGHTS = ("S'", "posterior")
"""Weights that `diagnose` measures."""


@dataclass(frozen=True)
class OwnWeights:
    """The diagonal of S' in one noise regime."""

    mean: dict[str, Estimate]
    """By modality: mean S'_ii over products, over seeds."""
    good: dict[str, float]
    """By modality: expected share of present content that no noise hits."""
    order: Estimate
    """Spearman correlation of the two over modalities; NOTHING if all are equally good."""


def own_weights(
    study: Study, records: Sequence[Record], weighting: str = "uniform"
) -> dict[str, OwnWeights]:
    """Return the diagonal of S' by regime, for the models trained with a weighting."""
    found = {}
    for cell in _cells(study):
        values = [_seed_mean(cell, records, f"own S' {modality}") for modality in MODALITIES]
        if cell.factors["weighting"] == weighting and any(e.n for e in values):
            found[str(cell.factors["regime"])] = OwnWeights(
                dict(zip(MODALITIES, values, strict=True)),
                {modality: undamaged_share(cell.noises, modality) for modality in MODALITIES},
                _seed_mean(cell, records, "Spearman S' own"),
            )
    return found


def weighting_aucs(
    study: Study, records: Sequence[Record], regime: str = "mismatch"
) -> dict[str, dict[str, Estimate]]:
    """Return the AUC for good pairs in a regime, by weighting, then by WEIGHTS."""
    found = {
        str(cell.factors["weighting"]): {w: _seed_mean(cell, records, f"AUC {w}") for w in WEIGHTS}
        for cell in _cells(study)
        if cell.factors["regime"] == regime
    }
    return {name: by for name, by in found.items() if any(e.n for e in by.values())}


def undamaged_share(noises: Sequence[Noise], modality: str) -> float:
    """Return the expected share of a modality's present content that no noise hits.

    The product of 1 - share over the noises, except those that remove the modality.
    """
    shares = [n.share for n in noises if n.modality == modality and n.kind not in ABSENCE_KINDS]
    return float(np.prod(1 - np.array(shares)))


def _cells(study: Study) -> list[Cell]:
    return [cell for cell in study.cells if {"regime", "weighting"} <= set(cell.factors)]


def _seed_mean(cell: Cell, records: Sequence[Record], key: str) -> Estimate:
    runs = done_runs(records, cell.factors)
    return seed_interval(np.array([run.figure("training", key) for run in runs]))
