"""Agreement of a product's modalities, judged by models that were not trained on the product.

A small model memorises a wrong pair of modalities like a right one, so its cosine on the products
it was trained on cannot find the wrong ones. Cross-fitting divides the training products into K
folds. A model trained on the other folds embeds a fold, and each pair of modalities of its products
gets the percentile of its cosine among the other products of the fold:

    r_ij = mean of P_b(cos(z_ai, z_bj) < cos(z_ai, z_aj)) and P_b(cos(z_bi, z_aj) < cos(z_ai, z_aj))

over products b of the fold; 1/2 on average for a wrong pair, near 1 for a right one. A modality
that belongs to another product disagrees with all its partners, so its mean agreement m_i, the mean
of r_ij over j, counts as well. Both become probabilities by `right_probability`, and the weight is

    w_ij = 1 - l_ij (1 - q_ij),    q_ij = max((P(r_ij) + P(m_i) P(m_j)) / 2, 0.02)

divided by its mean, where l_ij, between 0 and 1, grows with the estimated share of wrong contents:
a clean catalogue has almost uniform weights. The weights of the loss (`LossConfig.weight_by`
agreement) are fixed, a row for each product.
Cross-fitting is repeated with other folds; the models of a repeat are trained with the weights from
the repeats before it, and r is the mean over all repeats.

N products, K folds, M modalities (five), P pairs (ten), D width, A products compared at once.
"""

import hashlib
import json
import logging
import math
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize
from tqdm.auto import tqdm

from scale.config import Config
from scale.data.catalogue import PLACEHOLDER
from scale.data.dataset import ProductDataset
from scale.data.duplicates import linked_groups
from scale.data.shards.reader import ShardDataset
from scale.evaluation.embed import embed_dataset
from scale.files import replacing
from scale.losses.contrastive import LEFT, RIGHT
from scale.losses.weighting import Weights, own_from_pairs, pair_members, with_mean_one
from scale.modalities import INDEX, MODALITIES, PAIRS
from scale.model.scale import ScaleModel
from scale.model.scores import to_float32
from scale.seeding import derived_seed
from scale.training.distributed import all_reduce_sum, barrier, full_model, rank, world_size
from scale.training.health_checks import TrainingError
from scale.training.preemption import PreemptionHandler, TrainingStopped
from scale.training.run import initial_model
from scale.training.trainer import Trainer, trainable
from scale.training.transforms import deterministic_algorithms

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

FOLD_STREAM, JUDGE_STREAM = 4, 5
"""Numbers of the random streams of the folds and of the models' seeds (`scale.seeding`)."""
BLOCK = 8192
"""Products among which percentiles are computed; larger folds are cut into blocks."""
ANCHORS = 256
BANDWIDTH = 0.07
"""Of the kernel density in `right_probability`."""
EMBED_BATCH = 256
IRRELEVANT = (
    "auto_batch", "checkpoint_every", "eval_every", "fsdp", "keep_every", "keep_last", "log_every",
    "max_minutes",
)  # fmt: skip
"""Settings of training that do not change the agreement."""
PAIR_NAMES = tuple(f"{MODALITIES[i]}-{MODALITIES[j]}" for i, j in PAIRS)
"""Columns of agreement.parquet."""


def pair_percentiles(
    pooled_NMD: Tensor, present_NM: Tensor, content_id_NM: Tensor, anchors: slice | None = None
) -> Tensor:
    """Return r_NP, the percentile of each product's own cosine among the other products.

    r = (share of products b with cos(z_ai, z_bj) < c + share with cos(z_bi, z_aj) < c) / 2 with the
    product's own cosine c = cos(z_ai, z_aj). Equal cosines count one half, and so does a direction
    without other products. Products that share the content of i or of j are left out.

    Args:
        pooled_NMD: features of any scale; values of missing modalities are ignored.
        present_NM: True where the product has the modality.
        content_id_NM: number of each distinct content; -1 where missing.
        anchors: products whose percentiles are computed, among all N; None: all.

    Returns:
        r_NP in [0, 1], a row per anchor; NaN where the product lacks one of the two modalities.
    """
    first, last, _ = (anchors or slice(None)).indices(len(pooled_NMD))
    unit_NMD = normalize(to_float32(pooled_NMD).masked_fill(~present_NM[:, :, None], 0.0), dim=-1)
    found = [
        _percentiles(unit_NMD, present_NM, content_id_NM, slice(at, min(at + ANCHORS, last)))
        for at in range(first, last, ANCHORS)
    ]
    both_NP = (present_NM[:, LEFT] & present_NM[:, RIGHT])[first:last]
    return torch.cat(found).masked_fill(~both_NP, float("nan"))


def _percentiles(
    unit_NMD: Tensor, present_NM: Tensor, content_id_NM: Tensor, rows: slice
) -> Tensor:
    """Return r_AP of the products at `rows`; undefined where a modality is missing."""
    same_ANM = content_id_NM[rows, None] == content_id_NM[None]
    columns = []
    for i, j in PAIRS:
        other_AN = ~(same_ANM[:, :, i] | same_ANM[:, :, j])
        own_A = (unit_NMD[rows, i] * unit_NMD[rows, j]).sum(-1)
        forth_A = _share_below(unit_NMD[rows, i] @ unit_NMD[:, j].T, own_A,
                               other_AN & present_NM[:, j])  # fmt: skip
        back_A = _share_below(unit_NMD[rows, j] @ unit_NMD[:, i].T, own_A,
                              other_AN & present_NM[:, i])  # fmt: skip
        columns.append((forth_A + back_A) / 2)
    return torch.stack(columns, dim=1)


def _share_below(cosine_AN: Tensor, own_A: Tensor, counted_AN: Tensor) -> Tensor:
    """Return the share of counted cosines below the own one; equal ones count one half."""
    # Products of two unit vectors computed in different ways differ by rounding.
    gap_AN = (cosine_AN - own_A[:, None]).masked_fill(~counted_AN, 0.0)
    below_A = (gap_AN < -1e-6).sum(1)
    above_A = (gap_AN > 1e-6).sum(1)
    count_A = counted_AN.sum(1)
    share_A = 0.5 + (below_A - above_A) / (2 * count_A.clamp(min=1))
    return share_A.to(own_A)


def modality_agreement(r_NP: Tensor) -> Tensor:
    """Return r_NM, the mean of r over a modality's pairs; NaN where it has none."""
    member_PM = pair_members(r_NP.device).to(r_NP)
    known_NP = ~r_NP.isnan()
    count_NM = known_NP.to(r_NP) @ member_PM
    return r_NP.nan_to_num() @ member_PM / count_NM.masked_fill(count_NM == 0, float("nan"))


def right_probability(agreement_N: Tensor) -> Tensor:
    """Return P_N = max(0, 1 - h(1 - x) / h(x)), the estimated probability that a content is right.

    h is the density of the values x. Those of wrong contents are symmetric about 1/2, and right
    ones are rarely below 1/2, so h(1 - x) at x > 1/2 estimates the density of the wrong ones at x
    (the target-decoy estimate of proteomics). 0 up to 1/2, never decreasing; NaN stays NaN.

    Args:
        agreement_N: percentiles or their means, in [0, 1].
    """
    known_N = ~agreement_N.isnan()
    grid_G = torch.linspace(0, 1, 101, dtype=torch.float64, device=agreement_N.device)
    density_G = torch.zeros_like(grid_G)
    for part_N in agreement_N[known_N].double().split(1 << 16):
        density_G += (((grid_G[:, None] - part_N) / BANDWIDTH).square() / -2).exp().sum(1)
    right_G = (1 - density_G.flip(0) / density_G.clamp(min=1e-9)).clamp(min=0)
    right_G = right_G.masked_fill(grid_G <= 0.5, 0.0).cummax(0).values
    place_N = (agreement_N.double().nan_to_num() * 100).clamp(0, 100)
    low_N = place_N.floor().long().clamp(max=99)
    found_N = torch.lerp(right_G[low_N], right_G[low_N + 1], place_N - low_N)
    return found_N.to(agreement_N.dtype).masked_fill(~known_N, float("nan"))


def pair_probability(r_NP: Tensor) -> Tensor:
    """Return (P(r_ij) + P(m_i) P(m_j)) / 2 with the modalities' agreements m; NaN where r is.

    P is `right_probability` of each pair of modalities, and of each modality.
    """
    mean_NM = modality_agreement(r_NP)
    own_NM = torch.stack([right_probability(mean_N) for mean_N in mean_NM.T], dim=1)
    pair_NP = torch.stack([right_probability(r_N) for r_N in r_NP.T], dim=1)
    return (pair_NP + own_NM[:, LEFT] * own_NM[:, RIGHT]) / 2


def wrong_shares(r_NP: Tensor) -> Tensor:
    """Return share_M = 2 P(m_i < 1/2), an estimate of the share of wrong contents by modality.

    The agreement m of a wrong modality lies below 1/2 with probability 1/2. It is an upper
    estimate, because m of a right modality can be below 1/2 as well: about 0.05 to 0.1 on clean
    catalogues. 0 for a modality of no product.
    """
    mean_NM = modality_agreement(r_NP)
    count_M = (~mean_NM.isnan()).sum(0)
    return (2 * (mean_NM < 0.5).sum(0) / count_M.clamp(min=1)).clamp(max=1).to(r_NP)


def agreement_weights(r_NP: Tensor, present_NM: Tensor, floor: float = 0.02) -> Weights:
    """Return w_ij = 1 - l_ij (1 - max(q_ij, floor)), divided by the mean of all products and pairs.

    q is `pair_probability`. A low r may also be a right but difficult pair, the more likely, the
    fewer contents are wrong: hence l_ij = min(1, 2 (1 - (1 - s_i) (1 - s_j))), with the
    `wrong_shares` s, which is 1 if half of the pairs may be wrong. The weight of a modality is the
    mean over its pairs; 1 if it has none. The floor leaves a loss on every pair.
    """
    right_M = 1 - wrong_shares(r_NP)
    trust_P = (2 * (1 - right_M[LEFT,] * right_M[RIGHT,])).clamp(max=1)
    pair_NP = 1 - trust_P * (1 - pair_probability(r_NP).clamp(min=floor))
    pair_NP = pair_NP.nan_to_num()
    weights = Weights(pair_NP, own_from_pairs(pair_NP, present_NM))
    return with_mean_one(weights, present_NM)


def content_folds(content_id_NM: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """Return fold_N: folds of about equal size, with duplicates in the same fold.

    As in `assign_splits`, products that share a title or a picture, directly or through others, are
    in one group. Groups are drawn in random order, each into the fold with the fewest products.

    Raises:
        ValueError: there are fewer groups than folds.
    """
    group_N = _content_groups(content_id_NM)
    size_G = np.bincount(group_N)
    if len(size_G) < folds:
        raise ValueError(f"{len(size_G)} distinct products cannot form {folds} folds")
    fold_G, filled_K = np.zeros(len(size_G), np.int64), np.zeros(folds, np.int64)
    for group in np.random.default_rng(derived_seed(seed, FOLD_STREAM)).permutation(len(size_G)):
        fold_G[group] = filled_K.argmin()
        filled_K[fold_G[group]] += size_G[group]
    return fold_G[group_N]


def _content_groups(content_id_NM: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return group_N: equal for products that share a title or a picture, also through others.

    A title or picture of more than `PLACEHOLDER` products and 5 % of all forms no group.
    """
    count, first = len(content_id_NM), 0
    rows, contents = [], []
    for m in ("text", "image"):
        content_N = content_id_NM[:, INDEX[m]]
        size_C = np.bincount(content_N[content_N >= 0], minlength=1)
        linked_N = (content_N >= 0) & (size_C[content_N] <= max(PLACEHOLDER, count / 20))
        rows.append(linked_N.nonzero()[0])
        contents.append(first + content_N[linked_N])
        first += len(size_C)
    return linked_groups(count, np.concatenate(rows), np.concatenate(contents))


@dataclass(frozen=True)
class Agreement:
    """Agreement of N training products."""

    ids: tuple[str, ...]
    r_NP: NDArray[np.float64]
    """Mean percentile over the repeats; NaN where a modality of the pair is missing."""

    def weights(self, present_NM: NDArray[np.bool_]) -> Weights:
        """Return `agreement_weights` in float32."""
        r_NP, has_NM = torch.from_numpy(self.r_NP), torch.from_numpy(present_NM)
        found = agreement_weights(r_NP, has_NM)
        return Weights(found.pair_BP.float(), found.own_BM.float())


def cross_fit_agreement(
    train_set: ProductDataset | ShardDataset,
    config: Config,
    path: Path | None = None,
    preemption: PreemptionHandler | None = None,
    progress: bool = False,
) -> Agreement:
    """Compute the agreement of every training product: `agreement_repeats` times K trainings.

    A repeat has its own folds, and weights from the repeats before it (uniform in the first). The
    models have the run's settings (`judge_config`). With several processes, all
    of them train each model together.

    Args:
        train_set: products to judge; those that training leaves out are left out.
        config: settings of the run.
        path: file to which each finished fold is written (agreement.parquet of a run folder), and
            from which the finished folds of the same products and settings are read.
        preemption: checked after each step of one process, and after each fold of several.
        progress: show a progress bar over the folds.

    Raises:
        TrainingError: a loss is not finite.
        TrainingStopped: after a signal or at the time limit; finished folds are kept.
        ValueError: fewer distinct products than folds, or several processes without `path`.
    """
    if world_size() > 1 and path is None:
        raise ValueError("cross-fitting in several processes needs a file to exchange results")
    data = trainable(train_set, config)
    preemption = preemption or PreemptionHandler()
    store = _FoldStore(path, _key(data, config), data.ids)
    loss = config.loss
    todo = [(repeat, fold) for repeat in range(loss.agreement_repeats)
            for fold in range(loss.agreement_folds)]  # fmt: skip
    exact = config.train.deterministic or config.train.device == "cpu"
    bar = tqdm(todo, desc="cross-fitting", unit="fold", disable=not progress or rank() > 0)
    with preemption.listening(), deterministic_algorithms(exact):
        for repeat, fold in bar:
            if (repeat, fold) in store.done:
                continue
            seed = derived_seed(config.train.seed, FOLD_STREAM, repeat) % 2**31
            fold_N = content_folds(data.content_id_NM, loss.agreement_folds, seed)
            held = np.flatnonzero(fold_N == fold)
            found = _judge_fold(data, np.flatnonzero(fold_N != fold), held, config,
                                (repeat, fold), preemption, store)  # fmt: skip
            store.add(repeat, fold, held, found)
    return store.result(loss.agreement_repeats)


def judge_config(config: Config, products: int, repeat: int, fold: int) -> Config:
    """Return the settings of a model that judges a fold, trained on `products` products.

    Those of the run, with the contrastive losses of clean inputs alone and, in the first repeat,
    uniform weights. The number of steps is `LossConfig.agreement_steps`, or a quarter of the run's.
    With `model.pooling` projection and no `agreement_steps`, the closed-form part alone judges:
    almost as well, in a quarter of the time (docs/findings.md).
    """
    loss, train = config.loss, config.train
    seed = derived_seed(train.seed, JUDGE_STREAM, repeat, fold) % 2**31
    each = min(train.batch_size, products) // world_size()
    model = replace(config.model, jct_layers=0)
    if model.pooling == "projection" and not loss.agreement_steps:
        model = replace(model, projection_heads=0)
    return replace(
        config,
        loss=replace(loss, tasks=("contrastive",), weight_on="none", weight_by="scores",
                     weight_features="encoder", parts=0),
        mask=replace(config.mask, always=False),
        model=model,
        train=replace(train, steps=loss.agreement_steps or max(1, train.steps // 4), seed=seed,
                      batch_size=max(2, each * world_size()), compile=False),
    )  # fmt: skip


def _judge_fold(
    data: ProductDataset | ShardDataset,
    rows: NDArray[np.int64],
    held: NDArray[np.int64],
    config: Config,
    place: tuple[int, int],
    preemption: PreemptionHandler,
    store: "_FoldStore",
) -> NDArray[np.float32] | None:
    """Train on the products at `rows` and return r_RP of those at `held`, in the main process."""
    weights = store.result(place[0]).weights(data.present_NM) if place[0] > 0 else None

    def stop_early() -> None:
        if world_size() == 1:
            _stop(preemption.reason(), preemption, store)

    model = train_judge(data, rows, judge_config(config, len(rows), *place), weights, stop_early)
    device = next(model.parameters()).device
    if world_size() > 1:
        reason = preemption.reason()
        stops = all_reduce_sum(torch.tensor(float(reason is not None), device=device))
        if stops:
            _stop(reason or "another process was stopped", preemption, store)
    model = full_model(model)
    return percentiles_of(model, data, held, device) if rank() == 0 else None


def train_judge(
    data: ProductDataset | ShardDataset,
    rows: NDArray[np.int64],
    config: Config,
    weights: Weights | None = None,
    after_step: Callable[[], None] | None = None,
) -> ScaleModel:
    """Return a model with the settings of `judge_config`, trained on the products at `rows`.

    `weights`: of all products of `data`; None: uniform. Raises TrainingError if the loss diverges.
    """
    if weights is not None:
        config = replace(config, loss=replace(config.loss, weight_by="agreement"))
        weights = weights.select(torch.from_numpy(rows))
    train = data.subset(rows)
    model = initial_model(config, train, weights)[0]
    if model.projections and not config.model.projection_heads:
        return model
    trainer = Trainer(config, model, train, weights=weights)
    for step in range(config.train.steps):
        loss = trainer.train_step(step).loss.total
        if after_step is not None:
            after_step()
    if not math.isfinite(loss.item()):
        raise TrainingError(f"cross-fitting: the loss is {loss.item()} after {step + 1} steps")
    return trainer.model


def percentiles_of(
    model: torch.nn.Module,
    data: ProductDataset | ShardDataset,
    rows: NDArray[np.int64],
    device: torch.device | str = "cpu",
) -> NDArray[np.float32]:
    """Embed the products at `rows` and return their `pair_percentiles`, in blocks of `BLOCK`."""
    blocks = np.array_split(rows, max(1, math.ceil(len(rows) / BLOCK)))
    found = []
    for block in blocks:
        part = data.subset(block)
        pooled = embed_dataset(model, part, EMBED_BATCH, device=device, progress=False)
        found.append(
            pair_percentiles(
                torch.from_numpy(pooled.pooled_NMD).to(device),
                torch.from_numpy(pooled.present_NM).to(device),
                torch.from_numpy(part.content_id_NM).to(device),
            ).cpu()
        )
    return torch.cat(found).numpy()


def _stop(reason: str | None, preemption: PreemptionHandler, store: "_FoldStore") -> None:
    """Raise if there is a reason to stop."""
    if reason is None:
        return
    if preemption.signal == signal.SIGINT:
        raise KeyboardInterrupt
    kept = f"; finished folds are in {store.path}" if store.path else ""
    raise TrainingStopped(
        f"cross-fitting, {len(store.done)} folds done: {reason}{kept}; continue with --resume "
        "(resume=True)"
    )


class _FoldStore:
    """The finished folds, in memory and in a file that each of them replaces atomically."""

    def __init__(self, path: Path | None, key: str, ids: tuple[str, ...]):
        self.path, self.key, self.ids = path, key, ids
        self.done: dict[tuple[int, int], tuple[NDArray[np.int64], NDArray[np.float32]]] = {}
        if path is not None and path.is_file():
            self._read()

    def add(
        self, repeat: int, fold: int, held: NDArray[np.int64], r_RP: NDArray[np.float32] | None
    ) -> None:
        """Add a fold; `r_RP` is used in the main process, from whose file the others read."""
        if rank() == 0:
            self.done[repeat, fold] = held, r_RP
            if self.path is not None:
                self._write()
        barrier()
        if rank() > 0:
            self._read()

    def result(self, repeats: int) -> Agreement:
        """Return the mean over the first `repeats` repeats, which are complete."""
        r_NP = np.zeros((len(self.ids), len(PAIRS)))
        for (repeat, _), (held, r_RP) in sorted(self.done.items(), key=lambda item: item[0]):
            if repeat < repeats:
                r_NP[held] += r_RP.astype(np.float64) / repeats
        return Agreement(self.ids, r_NP)

    def _write(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns: dict[str, list] = {name: [] for name in ("row", "repeat", "fold", *PAIR_NAMES)}
        for (repeat, fold), (held, r_RP) in self.done.items():
            columns["row"] += held.tolist()
            columns["repeat"] += [repeat] * len(held)
            columns["fold"] += [fold] * len(held)
            for name, r_R in zip(PAIR_NAMES, r_RP.T, strict=True):
                columns[name] += r_R.tolist()
        columns["id"] = [self.ids[row] for row in columns["row"]]
        types = {"id": pa.string()} | dict.fromkeys(PAIR_NAMES, pa.float32())
        table = pa.table({n: pa.array(v, types.get(n, pa.int64())) for n, v in columns.items()})
        with replacing(self.path) as partial:
            pq.write_table(table.replace_schema_metadata({"scale": self.key}), partial)

    def _read(self) -> None:
        table = read_table(self.path)
        if (table.schema.metadata or {}).get(b"scale", b"").decode() != self.key:
            log.info("%s: of other products or settings, computed anew", self.path)
            return
        place = np.stack([table["repeat"].to_numpy(), table["fold"].to_numpy()], axis=1)
        r_RP = np.stack([table[name].to_numpy() for name in PAIR_NAMES], axis=1)
        for repeat, fold in np.unique(place, axis=0).tolist():
            here = (place == (repeat, fold)).all(1)
            self.done[repeat, fold] = table["row"].to_numpy()[here], r_RP[here]


def read_table(path: Path) -> "pa.Table":
    """Read agreement.parquet. Raises ValueError with the path if it is not such a file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        table.select(["row", "repeat", "fold", "id", *PAIR_NAMES])
    except (pa.ArrowInvalid, KeyError, OSError) as error:
        raise ValueError(f"{path}: not the agreement of a run ({error})") from error
    return table


def read_agreement(path: Path) -> Agreement | None:
    """Read the agreement of a run's training products; None if it was not computed."""
    if not path.is_file():
        return None
    table = read_table(path).to_pandas().sort_values(["row", "repeat"])
    mean = table.astype(dict.fromkeys(PAIR_NAMES, np.float64)).groupby("id", sort=False)
    mean = mean[list(PAIR_NAMES)].mean()
    return Agreement(tuple(mean.index), mean.to_numpy())


def _key(data: ProductDataset | ShardDataset, config: Config) -> str:
    """Return a hash of everything that decides the result: products, settings, code version."""
    judge = judge_config(config, len(data), 0, 0).to_dict()
    judge["train"] = {k: v for k, v in judge["train"].items() if k not in IRRELEVANT}
    loss = config.loss
    facts = [1, data.fingerprint, list(data.ids), loss.agreement_folds, judge, config.train.seed]
    digest = hashlib.blake2b(json.dumps(facts).encode(), digest_size=16)
    for content_N in data.content_id_NM.T:
        # Numbered by first appearance, whatever other products the data set was cut from.
        _, first_C, number_N = np.unique(content_N, return_index=True, return_inverse=True)
        digest.update(first_C.argsort().argsort()[number_N].astype(np.int64).tobytes())
    return digest.hexdigest()
