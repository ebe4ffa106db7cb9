"""Train and measure the cells of a study over seeds, in parallel, and store finished runs.

N products, Q queries, M modalities (five), P pairs (ten), D width.
"""

import hashlib
import json
import math
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from scale.config import PRESETS, Config
from scale.data.batch import ProductBatch
from scale.data.catalogue import Catalogue, with_splits
from scale.data.dataset import ProductDataset
from scale.data.text_loss import choose_lengths
from scale.data.tokenizer import train_tokenizer
from scale.evaluation.embed import embed_dataset, subset_embedding
from scale.evaluation.imputation import imputed_retrievals
from scale.evaluation.report import provenance
from scale.evaluation.retrieval import (
    ProductArrays,
    Retrieval,
    category_retrieval,
    direction_retrievals,
)
from scale.files import default_cache_folder, hash_code
from scale.losses.contrastive import LEFT, RIGHT
from scale.losses.weighting import Weights
from scale.modalities import INDEX, MODALITIES, SUBSETS, subset_name
from scale.studies.clean_contrast import CLEAN_CONTRAST, CleanContrastModel
from scale.studies.diagnosis import diagnose
from scale.studies.noise import NoisyDataset, apply_noise
from scale.studies.released_code import FAULTS, Fault
from scale.studies.statistics import known_mean, nanmean
from scale.studies.study import (
    EARLIER_HELD_OUT,
    EMBEDDINGS,
    HELD_OUT,
    Cell,
    Record,
    Study,
    Test,
    read_records,
    write_records,
)
from scale.studies.systems.model import build_system
from scale.studies.systems.named import SYSTEMS
from scale.studies.weightings import TrainingTruth, make_weight_fn
from scale.threads import available_cores, choose_threads, torch_threads
from scale.training.cross_fit import Agreement, cross_fit_agreement
from scale.training.run import build_dataset, fit_closed_form, fit_sizes, fit_vocabulary
from scale.training.trainer import Trainer, TrainingError, trainable

BATCH = 256
"""Products per forward pass when measuring."""
CHECK_EVERY = 25
"""Steps between checks for a finite loss."""
CODE = (
    "config.py", "modalities.py", "seeding.py", "model", "losses", "training/trainer.py",
    "training/cross_fit.py", "training/run.py", "training/gradient_cache.py",
    "training/sampler.py", "training/optimizer.py",
    "data/backbones.py", "data/batch.py", "data/dataset.py", "data/features.py", "data/media.py",
    "data/normaliser.py", "data/tokenizer.py", "evaluation/embed.py", "evaluation/imputation.py",
    "evaluation/metrics.py", "evaluation/retrieval.py", "studies/runner.py", "studies/noise.py",
    "studies/damage.py", "studies/diagnosis.py", "studies/weightings.py",
    "studies/released_code.py", "studies/clean_contrast.py", "studies/systems", "studies/toy.py",
)  # fmt: skip
"""Modules and folders that determine the result of a run; part of every key."""
READ_ORDER = ("test", EARLIER_HELD_OUT, "val")
"""Order in which `load_finished` looks for a split."""


@dataclass
class Measurements:
    """Figures of one model by test and metric."""

    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    queries: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """value_N by product for intervals over products; NaN if it is no query."""
    categories: dict[str, list[str | None]] = field(default_factory=dict)
    """Category of each product by test."""


def measure(
    model: nn.Module,
    held: ProductDataset,
    complete_N: np.ndarray,
    tests: tuple[Test, ...],
    seed: int,
    device: Any,
) -> Measurements:
    """Measure category and instance retrieval on each test.

    mAP@5 and mAP@1: category retrieval by all present modalities. Recall@10: mean over products of
    the share of a product's cross-modal directions (up to 20) in which its own other modality is
    among the first ten. `mAP@5 text+image`: query by these modalities, gallery by all. With
    `Test.fused`: also the metrics of `EMBEDDINGS` and of `imputed_retrievals`.

    Args:
        complete_N: held-out products with all modalities of the catalogue, for `Test.complete`.
    """
    found = Measurements()
    for test in tests:
        data = held.subset(np.flatnonzero(complete_N)) if test.complete else held
        data = apply_noise(data, test.noises, seed).dataset
        if len(data) < 2:
            continue
        pooled = embed_dataset(model, data, BATCH, device=device, progress=False)
        products = ProductArrays.of(data, pooled)
        emb_ND = subset_vectors(model, data, MODALITIES, products, device)
        category = _category(products, emb_ND, emb_ND)
        values = {"mAP@5": _by_product(category, "mAP@5", len(data))}
        values["mAP@1"] = _by_product(category, "mAP@1", len(data))
        values["chance mAP@5"] = _by_product(category, "mAP@5", len(data), chance=True)
        values["Recall@10"] = _instance_recall(products)
        if test.subsets:
            for subset in SUBSETS:
                query_ND = subset_vectors(model, data, subset, products, device)
                name = f"mAP@5 {subset_name(subset)}"
                values[name] = _by_product(
                    _category(products, query_ND, emb_ND), "mAP@5", len(data)
                )
        kept = ["mAP@5", "Recall@10"]
        if test.fused:
            fused = _fused_values(model, data, products, device)
            values |= fused
            kept += ["mAP@1", *fused]
        found.figures[test.name] = {name: known_mean(v) for name, v in values.items()}
        found.queries[test.name] = {name: values[name].tolist() for name in kept}
        found.categories[test.name] = [product.category for product in data.products]
    return found


def _fused_values(
    model: nn.Module, data: ProductDataset, products: ProductArrays, device: Any
) -> dict[str, np.ndarray]:
    """Return value_N by metric of the fused embeddings, and of predicted modalities."""
    values = {}
    for features in EMBEDDINGS:
        found = embed_dataset(model, data, BATCH, device=device, progress=False, features=features)
        category = _category(products, found.mixed_ND, found.mixed_ND)
        for metric in ("mAP@5", "mAP@1"):
            values[f"{metric} {features}"] = _by_product(category, metric, len(data))
    for query, by_modality in imputed_retrievals(model, data, device, ks=(10,)).items():
        value_MN = [_by_product(found, "Recall@10", len(data)) for found in by_modality.values()]
        values[f"Recall@10 {query.replace('_', ' ')}"] = nanmean(np.array(value_MN))
    return values


def subset_vectors(
    model: nn.Module,
    data: ProductDataset,
    subset: tuple[str, ...],
    products: ProductArrays,
    device: Any,
) -> np.ndarray:
    """Return unit emb_ND from the modalities of `subset`; zeros for products without any.

    Models with `embed_product` (single-stream, co-attention) run on the subset; for others the
    pooled features are combined.
    """
    if not hasattr(model, "embed_product"):
        return subset_embedding(products.pooled_NMD, products.present_NM, subset)[0]
    training, parts = model.training, []
    model.eval()
    with torch.no_grad():
        for start in range(0, len(data), BATCH):
            batch = data.collate(np.arange(start, min(start + BATCH, len(data)))).only(subset)
            parts.append(_embed(model, batch.to(device), products.pooled_NMD.shape[2]))
    model.train(training)
    return torch.cat(parts).float().cpu().numpy()


def _embed(model: nn.Module, batch: ProductBatch, width: int) -> Tensor:
    # Models cannot run on a batch without any modality.
    if not bool(batch.present_BM.any()):
        return torch.zeros(len(batch), width)
    return model.embed_product(batch).cpu()


def _category(products: ProductArrays, query_ND: np.ndarray, gallery_ND: np.ndarray) -> Retrieval:
    """Return category retrieval over the products with nonzero vectors."""
    rows_Q = np.flatnonzero(np.abs(query_ND).sum(1) > 0)
    rows_G = np.flatnonzero(np.abs(gallery_ND).sum(1) > 0)
    labels, ids = np.array(products.labels, object), np.array(products.ids, object)
    found = category_retrieval(
        query_ND[rows_Q], gallery_ND[rows_G], labels[rows_Q].tolist(), labels[rows_G].tolist(),
        ids[rows_Q].tolist(), ids[rows_G].tolist(), ks=(1, 5),
    )  # fmt: skip
    return replace(found, rows_Q=rows_Q[found.rows_Q])


def _by_product(found: Retrieval, metric: str, products: int, chance: bool = False) -> np.ndarray:
    """Return value_N: the metric of each query product, NaN elsewhere."""
    value_N = np.full(products, np.nan)
    value_N[found.rows_Q] = (found.chance if chance else found.values)[metric]
    return value_N


def _instance_recall(products: ProductArrays) -> np.ndarray:
    """Return value_N: share of a product's cross-modal directions with a hit in the first ten."""
    found = direction_retrievals(products, ks=(10,)).values()
    value_AN = [_by_product(direction, "Recall@10", len(products.ids)) for direction in found]
    return nanmean(np.array(value_AN).reshape(-1, len(products.ids)))


@dataclass(frozen=True)
class StudyData:
    """Tokenized products of a catalogue and the fitted preset, shared by all cells."""

    catalogue: str
    preset: str
    config: Config
    train: ProductDataset
    held: ProductDataset
    """Products of the split `held_out`."""
    fingerprint: str
    """Hash of the products, their splits, categories and exact contents."""
    held_out: str = "test"


@lru_cache(maxsize=2)
def load_study_data(folder: Path, preset: str, held_out: str = "test") -> StudyData:
    """Load features, tokenizer and splits of a catalogue, once per process.

    `held_out` is the split to measure on: data that chose a default must not report it, so choose
    on `val` and report on `test`.

    Raises ValueError for an unknown preset or split, or a catalogue with fewer than two training or
    held-out products.
    """
    if held_out not in HELD_OUT:
        raise ValueError(f"studies measure on {' or '.join(HELD_OUT)}, not on {held_out!r}")
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
    catalogue, config = with_splits(Catalogue.open(folder)), PRESETS[preset]()
    tokenizer = train_tokenizer(catalogue.split("train").products, config.features.vocab_size)
    config = fit_vocabulary(config, tokenizer)
    config = choose_lengths(config, catalogue.split("train").products, tokenizer)
    data = build_dataset(catalogue, config, tokenizer, None)
    config = fit_sizes(config, data)
    # Noise would damage the two views of a product independently.
    config = replace(config, train=replace(config.train, second_views=False))
    split_N = np.array([p.split for p in data.products])
    usable_N = data.present_NM.any(axis=1)
    train = data.subset(np.flatnonzero((split_N == "train") & usable_N))
    held = data.subset(np.flatnonzero((split_N == held_out) & usable_N))
    if len(train) < 2 or len(held) < 2:
        raise ValueError(
            f"{folder}: {len(train)} products to train on and {len(held)} held out ({held_out}); "
            "a study needs at least 2 of either"
        )
    name = folder.resolve().name
    return StudyData(name, preset, config, train, held, data.fingerprint, held_out)


def run_facts(seed: int, started: float, device: str = "cpu") -> dict[str, Any]:
    """Return `Record.provenance` of a run that started at `started` (`time.perf_counter`)."""
    return provenance(seed, started, device) | {
        "threads": torch.get_num_threads(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def run_cell(bench: StudyData, study: str, key: str, cell: Cell, seed: int) -> Record:
    """Train and measure one cell; failed training gives a record with status `failed`."""
    started = time.perf_counter()
    config = cell.config(bench.config, seed)
    status, reason, found = "done", "", Measurements()
    with torch_threads(choose_threads(config)):
        try:
            found = _train_and_measure(bench, cell, config, seed)
        except TrainingError as error:
            status, reason = "failed", str(error)
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        facts = run_facts(seed, started, device)
    return Record(
        study, bench.catalogue, bench.preset, key, cell.factors, seed, status, reason,
        found.figures, found.queries, found.categories, config.to_dict(), cell.identity(),
        facts, bench.held_out,
    )  # fmt: skip


def _train_and_measure(bench: StudyData, cell: Cell, config: Config, seed: int) -> Measurements:
    fault = FAULTS.get(cell.model, Fault())
    train, held = (restrict(data, config.model.modalities) for data in (bench.train, bench.held))
    noisy = apply_noise(train, cell.noises, seed)
    noisy = replace(noisy, dataset=fault.train(noisy.dataset))
    config = fault.config(config)
    trainer = train_model(config, cell, fault, noisy)
    complete_N = bench.held.present_NM.all(axis=1)
    found = measure(trainer.model, fault.held(held), complete_N, cell.tests, seed, trainer.device)
    damaged = apply_noise(held, cell.noises, seed)
    damaged = replace(damaged, dataset=fault.held(damaged.dataset))
    found.figures["training"] = diagnose(trainer, noisy, damaged)
    return found


def train_model(config: Config, cell: Cell, fault: Fault, noisy: NoisyDataset) -> Trainer:
    """Train a cell's model on damaged products. Raises TrainingError if the loss diverges."""
    r_NP = weights = None
    if config.loss.weight_by == "agreement":
        found = _agreement(config, cell, noisy.dataset)
        weights = found.weights(trainable(noisy.dataset, config).present_NM)
        r_NP = torch.from_numpy(found.r_NP)
    model = _build(cell.model, fault, config)
    trainer = Trainer(config, model, noisy.dataset, weights=weights)
    true_NM = torch.from_numpy(noisy.true_NM[noisy.rows(trainer.train_set.ids)])
    if cell.weight_fn == "oracle":
        weights = Weights((true_NM[:, LEFT] & true_NM[:, RIGHT]).float(), true_NM.float())
    fit_closed_form(model, trainer.train_set, config, weights)
    truth = TrainingTruth(true_NM, config.train.batch_size, r_NP)
    trainer.weight_fn = make_weight_fn(cell.weight_fn, truth)
    for number in range(config.train.steps):
        step = trainer.train_step(number)
        if number % CHECK_EVERY == 0 or number == config.train.steps - 1:
            loss = step.loss.total.item()
            if not math.isfinite(loss):
                raise TrainingError(f"step {number + 1}: the loss is {loss}")
    return trainer


def _agreement(config: Config, cell: Cell, data: ProductDataset) -> Agreement:
    """Cross-fit the products of a cell, once for all cells of the same noises, settings and seed.

    The result is kept in the user's cache folder; a lock lets other processes wait for it.
    """
    from filelock import FileLock

    facts = [data.fingerprint, config.to_dict(), [asdict(noise) for noise in cell.noises]]
    path = default_cache_folder() / "agreement" / f"{digest(facts)}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        return cross_fit_agreement(data, config, path)


def _build(name: str, fault: Fault, config: Config) -> nn.Module:
    """Build SCALE, SCALE with a fault, or a named system, with weights from the run's seed.

    `uniter` uses the modalities of its paper, `uniter everywhere` all five.
    """
    system = name.removesuffix(" everywhere")
    if system in SYSTEMS:
        made = SYSTEMS[system]
        made = made if name == system else made.everywhere()
        return build_system(made, config, config.train.seed)
    if name == CLEAN_CONTRAST:
        return CleanContrastModel(config)
    if name not in ("scale", *FAULTS):
        known = ", ".join(("scale", CLEAN_CONTRAST, *FAULTS, *SYSTEMS))
        raise ValueError(f"unknown model {name!r}; known: {known}")
    return fault.build(config)


def restrict(data: ProductDataset, modalities: tuple[str, ...]) -> ProductDataset:
    """Return the same products with all other modalities marked as missing."""
    unused = [INDEX[m] for m in MODALITIES if m not in modalities]
    if not unused:
        return data
    content_id_NM = data.content_id_NM.copy()
    content_id_NM[:, unused] = -1
    columns = {m: column for m, column in data.columns.items() if m in modalities}
    return replace(data, content_id_NM=content_id_NM, columns=columns)


Keys = dict[tuple[int, int], str]
"""Key of each run by the index of its cell and its seed."""


class StudyError(RuntimeError):
    """Raised when a study stops early; finished runs are kept."""


@dataclass(frozen=True)
class Job:
    """One cell and seed to run."""

    study: str
    key: str
    cell: Cell
    seed: int


def run_study(
    study: Study,
    folder: Path | str,
    out: Path | str,
    *,
    preset: str = "micro",
    held_out: str = "test",
    jobs: int | None = None,
    progress: bool = True,
) -> list[Record]:
    """Train and measure all unfinished runs; return all runs of the study, cell by cell.

    Each finished run is written at once to `<out>/<study>-<catalogue>.parquet`. The file is
    replaced atomically, so interruption loses only the runs in progress; its other records are
    kept. Runs with the same key in other studies of `out` are reused. Seeds are the outer loop, so
    an interrupted study has the full grid with fewer seeds.

    Args:
        folder: the catalogue's folder.
        out: folder of the parquet file.
        preset: settings that the cells change.
        held_out: split to measure on, `test` or `val`; runs of different splits never mix.
        jobs: number of processes; default one per GPU, else one per core.

    Raises:
        ValueError: unusable catalogue or split, or a cell with an unknown setting or model.
        StudyError: a worker died, or a cell raised an unexpected error.
    """
    # Load here first to fill the feature cache for the workers.
    bench = load_study_data(Path(folder), preset, held_out)
    key = partial(_key, bench)
    work = partial(_work, folder=Path(folder), preset=preset, held_out=held_out)
    return run_grid(study, key, work, Path(out), bench.catalogue, jobs, progress)


def run_grid(
    study: Study,
    key: Callable[[Cell, int], str],
    work: Callable[[Job], Record],
    out: Path,
    catalogue: str,
    jobs: int | None,
    progress: bool,
) -> list[Record]:
    """`run_study` for any function from a cell and a seed to a key, and any picklable `work`."""
    keys = {
        (index, seed): key(cell, seed)
        for seed in range(study.seeds)
        for index, cell in enumerate(study.cells)
    }
    path, wanted = records_path(out, study.name, catalogue), set(keys.values())
    done = _finished(out, path, catalogue, wanted)
    # Keep runs of more seeds, the full grid, or other presets: they cost hours.
    others = [record for record in read_records(path) if record.key not in wanted]
    write_records(path, _ordered(study, keys, done) + others)
    todo = {
        key: Job(study.name, key, study.cells[index], seed)
        for (index, seed), key in keys.items()
        if key not in done
    }
    label = f"{study.name} on {catalogue}"
    with tqdm(total=len(todo), desc=label, unit="run", disable=not progress) as bar:
        for record in _run_all(list(todo.values()), work, jobs):
            done[record.key] = record
            write_records(path, _ordered(study, keys, done) + others)
            bar.update()
    return _ordered(study, keys, done)


def records_path(out: Path, study: str, catalogue: str) -> Path:
    """Return the path of a study's runs on a catalogue."""
    return out / f"{study}-{catalogue}.parquet"


def load_finished(
    study: Study,
    folder: Path | str,
    out: Path | str,
    preset: str = "micro",
    held_out: str | None = None,
) -> list[Record]:
    """Load the finished runs of a study, all measured on one split.

    Args:
        held_out: `test`, `val`, or `val+test` for runs of earlier versions; None: the first of
            `test`, `val+test` and `val` that any of the runs was measured on.
    """
    path = records_path(Path(out), study.name, Path(folder).resolve().name)
    found = select_records(study, [r for r in read_records(path) if r.preset == preset])
    if held_out is None:
        measured = {record.held_out for record in found}
        held_out = next((split for split in READ_ORDER if split in measured), "")
    return [record for record in found if record.held_out == held_out]


def select_records(study: Study, records: Iterable[Record]) -> list[Record]:
    """Select the records of the study's current cells.

    Files can also hold cells of the full grid (for a quick study) and outdated cells. Of several
    records with the same factors, seed and split, the first counts.
    """
    # Through JSON, because stored records have lists in place of tuples.
    cells = [(cell.factors, json.loads(json.dumps(cell.identity()))) for cell in study.cells]
    found: list[Record] = []
    for record in records:
        mine = any(
            record.factors == factors and record.cell in (identity, {})
            for factors, identity in cells
        )
        same = (record.factors, record.seed, record.held_out)
        again = any((r.factors, r.seed, r.held_out) == same for r in found)
        if mine and not again:
            found.append(record)
    return found


def _run_all(
    jobs: list[Job], work: Callable[[Job], Record], workers: int | None
) -> Iterator[Record]:
    """Yield records in the order of completion."""
    gpus = torch.cuda.device_count()
    workers = min(workers or gpus or available_cores(), max(len(jobs), 1))
    context = multiprocessing.get_context("spawn")
    number = context.Value("i", 0)
    threads = max(1, available_cores() // workers)
    pool = ProcessPoolExecutor(workers, context, _start_worker, (number, gpus, threads))
    futures: dict[Future, Job] = {pool.submit(work, job): job for job in jobs}
    try:
        for future in as_completed(futures):
            job = futures[future]
            try:
                yield future.result()
            except BrokenProcessPool as error:
                raise StudyError(
                    f"{job.study}: a worker process died (out of memory?); finished runs are kept, "
                    "the same command goes on with fewer --jobs"
                ) from error
            except (RuntimeError, ArithmeticError, LookupError, TypeError) as error:
                raise StudyError(
                    f"{job.study}: cell {job.cell.factors}, seed {job.seed}: "
                    f"{type(error).__name__}: {error}; finished runs are kept"
                ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(number, gpus: int, threads: int) -> None:
    """Assign each worker its own GPU or its share of the cores."""
    with number.get_lock():
        mine = number.value
        number.value += 1
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(mine % gpus)
    # OMP_NUM_THREADS may allow fewer.
    torch.set_num_threads(min(threads, torch.get_num_threads()))
    # Otherwise the workers of a killed study would continue training.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _work(job: Job, folder: Path, preset: str, held_out: str) -> Record:
    bench = load_study_data(folder, preset, held_out)
    return run_cell(bench, job.study, job.key, job.cell, job.seed)


def _key(bench: StudyData, cell: Cell, seed: int) -> str:
    """Hash of products, split to measure on, settings, cell and seed."""
    facts = [
        bench.fingerprint,
        bench.held_out,
        cell.config(bench.config, seed).to_dict(),
        cell.identity(),
        torch.cuda.is_available(),
    ]
    return digest(facts)


def digest(facts: Any) -> str:
    """Return the key of a run: a hash of the facts (JSON values) and of the code of the studies."""
    text = json.dumps([code_version(), facts], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _finished(out: Path, own: Path, catalogue: str, wanted: set[str]) -> dict[str, Record]:
    """Return runs by key, from the files of all studies on the same catalogue."""
    others = sorted(out.glob(f"*-{catalogue}.parquet")) if out.is_dir() else []
    found: dict[str, Record] = {}
    for path in (*(p for p in others if p != own), own):
        found |= {r.key: r for r in read_records(path) if r.key in wanted}
    return found


def _ordered(study: Study, keys: Keys, done: dict[str, Record]) -> list[Record]:
    """Return one record per cell and seed, under the study's own name and factors."""
    return [
        replace(done[key], study=study.name, factors=study.cells[index].factors)
        for (index, _), key in sorted(keys.items())
        if key in done
    ]


@cache
def code_version() -> str:
    """Return a hash of `CODE`."""
    return hash_code(Path(__file__).parents[1] / name for name in CODE)
