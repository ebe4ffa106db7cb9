"""Find products with a modality that probably belongs to another product.

N products, T products of split train, M modalities (five), P pairs (ten), D width.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from scale.config import Config
from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue, with_splits
from scale.data.dataset import ProductDataset
from scale.data.product import printable
from scale.evaluation.embed import embed_dataset, unit
from scale.inference.search import model_device
from scale.losses.contrastive import LEFT
from scale.modalities import MODALITIES
from scale.training.cross_fit import (
    cross_fit_agreement,
    judge_config,
    modality_agreement,
    percentiles_of,
    train_judge,
    wrong_shares,
)
from scale.training.run import TrainedRun
from scale.training.trainer import trainable

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

NOISY = 0.2
"""Estimated share of wrong contents, mean over the modalities, above which weights by agreement are
recommended. Clean catalogues have up to 0.12."""


@dataclass(frozen=True)
class Mismatches:
    """Products in order of suspicion, and the estimated share of wrong contents."""

    frame: "pd.DataFrame"
    """Most suspicious first: id, title, modality, agreement, other_id, other_title, judged."""
    shares: dict[str, float]
    """By modality, see `wrong_shares`."""

    def __str__(self) -> str:
        shown = self.frame.drop(columns="judged")
        shown = shown.map(lambda value: printable(value) if isinstance(value, str) else value)
        lines = describe_shares(self.shares), shown.to_string(index=False, max_colwidth=40)
        return "\n".join(lines)


def describe_shares(shares: Mapping[str, float]) -> str:
    """Return the estimated shares of wrong contents in words, with a recommendation if high."""
    listed = ", ".join(f"{m} {share:.0%}" for m, share in shares.items())
    text = f"estimated share of wrong contents, at most: {listed}"
    if sum(shares.values()) > NOISY * len(shares):
        text += "; high: train with --loss.weight-by agreement, or repair the products that "
        text += "scale inspect --mismatch lists"
    return text


def estimate_shares(
    run: TrainedRun,
    catalogue: Catalogue,
    *,
    cache: FeatureCache | None = None,
    progress: bool = True,
) -> dict[str, float]:
    """Return the estimated share of wrong contents by modality, judged as `find_mismatches`."""
    data = run.dataset(with_splits(catalogue), cache=cache)
    return _shares(_agreement(run, data, progress)[0])


def _shares(r_NP: NDArray[np.float64]) -> dict[str, float]:
    """Return `wrong_shares` of the modalities that some product has in a pair."""
    r_NP = torch.from_numpy(r_NP)
    used_M = ~modality_agreement(r_NP).isnan().all(0)
    found = zip(MODALITIES, wrong_shares(r_NP).tolist(), used_M.tolist(), strict=True)
    return {m: share for m, share, used in found if used}


def find_mismatches(
    run: TrainedRun,
    catalogue: Catalogue,
    top: int = 50,
    *,
    cache: FeatureCache | None = None,
    progress: bool = True,
) -> Mismatches:
    """List the products with the lowest agreement of one modality with the others.

    Lowest in comparison with the same modality of other products.

    Products of the split train are judged by cross-fitting, because a model memorises wrong pairs:
    this fits `agreement_repeats` times `agreement_folds` models, and the result is kept in
    the run folder if the run was trained on this catalogue. All other products are judged by the
    run's model. `other_id` is the product whose remaining modalities fit the suspicious one best,
    according to a model that was not trained on the listed products: a hint at what the content
    shows, seldom its owner (docs/findings.md).

    Args:
        run: its settings, and its model.
        catalogue: the products; splits as in training.
        top: number of products to list.
        cache: feature cache; None: the user's own.
        progress: show a progress bar.

    Raises:
        ValueError: no product has two modalities of the model.
    """
    data = run.dataset(with_splits(catalogue), cache=cache)
    r_NP, judged_N = _agreement(run, data, progress)
    mean_NM = modality_agreement(torch.from_numpy(r_NP)).numpy()
    if np.isnan(mean_NM).all():
        raise ValueError("no product has two modalities of the model: nothing to compare")
    place_NM = _places(mean_NM)
    rows = place_NM.min(1).argsort(kind="stable")[:top]
    rows = rows[np.isfinite(place_NM[rows].min(1))]
    columns = place_NM[rows].argmin(1)
    others = _owners(run, data, rows, columns)
    return Mismatches(_frame(data, rows, columns, mean_NM, others, judged_N), _shares(r_NP))


def _places(mean_NM: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the quantile of each content's agreement among those of its modality; inf for NaN.

    Agreement is lower in some modalities than in others, so its value alone would list their right
    contents first. Equal quantiles are ordered by the agreement.
    """
    place_NM = np.full(mean_NM.shape, np.inf)
    for m, mean_N in enumerate(mean_NM.T):
        (known,) = (~np.isnan(mean_N)).nonzero()
        rank = mean_N[known].argsort(kind="stable").argsort(kind="stable")
        place_NM[known, m] = (rank + mean_N[known]) / max(len(known), 1)
    return place_NM


def _agreement(
    run: TrainedRun, data: ProductDataset, progress: bool
) -> tuple[NDArray[np.float64], NDArray[np.object_]]:
    """Return r_NP, NaN where unknown, and by which model each product was judged."""
    r_NP = np.full((len(data), len(LEFT)), np.nan)
    judged_N = np.full(len(data), "model of the run", object)
    train = data.rows_of("train")
    if len(train) >= 2 * run.config.loss.agreement_folds:
        part = data.subset(train)
        own = json.loads(run.folder.data.read_text(encoding="utf-8")).get("fingerprint")
        # With second views the run judged other products than these.
        same = own == data.fingerprint and not run.config.train.second_views
        path = run.folder.agreement if same else None
        if path is None or not path.is_file():
            log.info("products of the split train are judged by cross-fitting, which takes time")
        found = cross_fit_agreement(part, _settings(run.config), path, progress=progress)
        row_of = {id: row for row, id in zip(train.tolist(), part.ids, strict=True)}
        rows = [row_of[id] for id in found.ids]
        r_NP[rows], judged_N[rows] = found.r_NP, "cross-fitted"
    held = np.setdiff1d(np.arange(len(data)), train)
    held = held[data.present_NM[held].any(1)]
    if len(held) > 1:
        r_NP[held] = percentiles_of(run.model, data, held, model_device(run))
    return r_NP, judged_N


def _owners(
    run: TrainedRun, data: ProductDataset, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the product that each suspicious content fits best; -1 if there is none.

    The largest mean cosine of the content with the other modalities of the product, by a model that
    was not trained on the suspicious products.
    """
    train = np.setdiff1d(data.rows_of("train"), rows)
    train = train[data.present_NM[train].any(1)]
    model = run.model
    if len(train) > 1:
        clean = trainable(data.subset(train), run.config)
        config = judge_config(_settings(run.config), len(clean), 0, 0)
        model = train_judge(clean, np.arange(len(clean)), config)
    device = next(model.parameters()).device
    pooled = embed_dataset(model, data, 256, device=device, progress=False)
    unit_NMD = unit(pooled.pooled_NMD) * pooled.present_NM[:, :, None]
    found = []
    for row, m in zip(rows.tolist(), columns.tolist(), strict=True):
        rest_M = np.arange(len(MODALITIES)) != m
        count_N = pooled.present_NM[:, rest_M].sum(1)
        mean_N = unit_NMD[:, rest_M].sum(1) @ unit_NMD[row, m] / np.maximum(count_N, 1)
        mean_N[(count_N == 0) | (np.arange(len(data)) == row)] = -np.inf
        best = int(mean_N.argmax())
        found.append(best if np.isfinite(mean_N[best]) else -1)
    return np.array(found, np.int64)


def _settings(config: Config) -> Config:
    """Return the settings of the cross-fitting: those of the run, with trained judges.

    Of few wrong contents, the closed form of projections finds fewer (docs/findings.md). A run with
    weights by agreement has its judges' result already.
    """
    loss = config.loss
    if loss.weight_by == "agreement" or config.model.pooling != "projection":
        return config
    steps = loss.agreement_steps or max(1, config.train.steps // 4)
    return replace(config, loss=replace(loss, agreement_steps=steps))


def _frame(
    data: ProductDataset,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    mean_NM: NDArray[np.float64],
    others: NDArray[np.int64],
    judged_N: NDArray[np.object_],
) -> "pd.DataFrame":
    import pandas as pd

    titles = [product.text or "" for product in data.products]
    return pd.DataFrame(
        {
            "id": [data.ids[row] for row in rows],
            "title": [titles[row] for row in rows],
            "modality": [MODALITIES[m] for m in columns],
            "agreement": mean_NM[rows, columns].round(3),
            "other_id": [data.ids[row] if row >= 0 else None for row in others],
            "other_title": [titles[row] if row >= 0 else None for row in others],
            "judged": judged_N[rows],
        }
    )


def planted_precision(
    frame: "pd.DataFrame", planted: set[tuple[str, str]], ks: tuple[int, ...] = (20, 50, 100)
) -> dict[int, float]:
    """Return the share of the first k products whose listed modality was planted, for each k.

    `planted`: (id, modality) of the contents that belong to another product.
    """
    hits = [pair in planted for pair in zip(frame.id, frame.modality, strict=True)]
    return {k: float(np.mean(hits[:k])) for k in ks if k <= len(hits)}
