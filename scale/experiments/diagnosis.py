"""What the scores of a trained model say about its training products, beside the truth.

N products, B products of a batch, M modalities (five), P pairs (ten), D width.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from scale.evaluation.embed import embed_dataset
from scale.experiments.noise import NoisyProducts
from scale.modalities import INDEX, MODALITIES, PAIRS
from scale.model.scores import inter_modality_scores
from scale.objectives.contrastive import LEFT, RIGHT, pair_losses
from scale.objectives.weighting import own_from_pairs, posterior_weights
from scale.training.step import Stepper

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def diagnose(stepper: Stepper, noisy: NoisyProducts) -> dict[str, float]:
    """How well S' and the posterior tell good pairs and modalities from damaged ones.

    On the training products as the model saw them, unmasked, in batches of the training's size.
    Good: present and not hit by any noise. By name, `W` being `S'` or `posterior`:
    - `AUC W`: probability that a good pair has a larger weight than a damaged one of the same
      modalities (mean over pairs; 0.5 is chance);
    - `Spearman W`: over the ten pairs, between the mean weight and the share of good ones;
    - `Spearman W own`: over the five modalities, between the mean own weight and that share;
    - `own W audio` and so on: mean own weight by modality.
    NaN where nothing, or everything, is damaged.
    """
    train = stepper.train
    pooled = embed_dataset(stepper.model, train, device=stepper.device, progress=False)
    place = {product: i for i, product in enumerate(noisy.dataset.ids)}
    rows = [place[product] for product in train.ids]
    present_NM = torch.from_numpy(pooled.present_NM)
    good_NM = pooled.present_NM & noisy.true_NM[rows] & ~noisy.hit_NM[rows]
    values: dict[str, float] = {}
    for name, (pair_NP, own_NM) in _weights(stepper, pooled.pooled_NMD, present_NM).items():
        valid_NP = pooled.present_NM[:, LEFT] & pooled.present_NM[:, RIGHT]
        good_NP = good_NM[:, LEFT] & good_NM[:, RIGHT]
        values[f"AUC {name}"] = _mean_auc(pair_NP, good_NP, valid_NP)
        values[f"Spearman {name}"] = _spearman(
            _column_means(pair_NP, valid_NP), _column_means(good_NP, valid_NP)
        )
        own_M = _column_means(own_NM, pooled.present_NM)
        values[f"Spearman {name} own"] = _spearman(own_M, _column_means(good_NM, pooled.present_NM))
        values |= {f"own {name} {m}": float(own_M[INDEX[m]]) for m in MODALITIES}
        means_P = _column_means(pair_NP, valid_NP)
        values |= {
            f"pair {name} {MODALITIES[i]}-{MODALITIES[j]}": float(mean)
            for (i, j), mean in zip(PAIRS, means_P, strict=True)
        }
    return values


def _weights(
    stepper: Stepper, pooled_NMD: np.ndarray, present_NM: torch.Tensor
) -> dict[str, tuple[Floats, Floats]]:
    """pair_NP and own_NM of S' and of the posterior, batch by batch."""
    size, found = stepper.config.train.batch_size, {"S'": [], "posterior": []}
    content_NM = torch.from_numpy(stepper.train.content_NM)
    features_NMD = torch.from_numpy(pooled_NMD)
    for start in range(0, len(features_NMD), size):
        part = slice(start, start + size)
        pooled_BMD, present_BM = features_NMD[part], present_NM[part]
        scores = inter_modality_scores(pooled_BMD, present_BM).weighted_BMM
        found["S'"].append((scores[:, LEFT, RIGHT], scores.diagonal(dim1=1, dim2=2)))
        pairs = pair_losses(
            pooled_BMD, present_BM, stepper.config.loss.temperature, content_BM=content_NM[part]
        )
        pair_BP = posterior_weights(pairs)
        found["posterior"].append((pair_BP, own_from_pairs(pair_BP, present_BM)))
    return {
        name: tuple(torch.cat(parts).double().numpy() for parts in zip(*batches, strict=True))
        for name, batches in found.items()
    }


def _column_means(value_NX: np.ndarray, valid_NX: Bools) -> Floats:
    """Mean of the valid entries by column; NaN for a column without any."""
    count_X = valid_NX.sum(0)
    total_X = np.where(valid_NX, value_NX, 0).sum(0).astype(float)
    return np.divide(total_X, count_X, out=np.full(len(total_X), np.nan), where=count_X > 0)


def _mean_auc(weight_NP: Floats, good_NP: Bools, valid_NP: Bools) -> float:
    """Mean over the pairs of modalities that have both good and damaged products."""
    areas = [
        auc(weight_NP[valid_NP[:, p], p], good_NP[valid_NP[:, p], p])
        for p in range(weight_NP.shape[1])
    ]
    known = [area for area in areas if not np.isnan(area)]
    return float(np.mean(known)) if known else float("nan")


def auc(value_N: Floats, positive_N: Bools) -> float:
    """P(value of a positive > value of a negative) + P(equal) / 2, by ranks (Mann-Whitney).

    NaN where one of the two kinds is not there.
    """
    positives, negatives = int(positive_N.sum()), int((~positive_N).sum())
    if not positives or not negatives:
        return float("nan")
    from scipy.stats import rankdata

    rank_N = rankdata(value_N)
    return float(
        (rank_N[positive_N].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    )


def _spearman(a_X: Floats, b_X: Floats) -> float:
    """Rank correlation of the entries that both have; NaN where one of them is constant."""
    from scipy.stats import rankdata

    both_X = np.isfinite(a_X) & np.isfinite(b_X)
    a_X, b_X = rankdata(a_X[both_X]), rankdata(np.round(b_X[both_X], 9))
    if len(a_X) < 3 or np.ptp(a_X) == 0 or np.ptp(b_X) == 0:
        return float("nan")
    return float(np.corrcoef(a_X, b_X)[0, 1])
