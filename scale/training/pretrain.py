"""`scale pretrain`: from a catalogue and a config to a run folder."""

import json
import logging
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from scale.config import Config
from scale.data.cache import FeatureCache
from scale.data.catalogue import SPLIT_RULE, Catalogue, has_splits, with_splits
from scale.data.dataset import ProductDataset
from scale.data.normaliser import Normaliser
from scale.data.product import summarise_problems, write_problems
from scale.data.shards.format import TokenSettings, is_shards
from scale.data.shards.reader import ShardDataset, ShardFolder
from scale.data.text_loss import choose_lengths, warn_of_text_losses
from scale.data.tokenizer import load_tokenizer, make_tokenizer
from scale.files import locked
from scale.losses.weighting import Weights
from scale.threads import choose_threads, torch_threads
from scale.training.checkpoint_manager import CheckpointManager, TrainState
from scale.training.cross_fit import cross_fit_agreement
from scale.training.distributed import init_processes, main_first, rank
from scale.training.health_checks import duplicate_warnings, small_validation_warning
from scale.training.logging import MetricsLogger, NullLogger
from scale.training.precision import choose_precision
from scale.training.preemption import PreemptionHandler
from scale.training.run import (
    RunFolder,
    TrainedRun,
    build_dataset,
    differing_keys,
    fit_sizes,
    fit_vocabulary,
    initial_model,
)
from scale.training.trainer import Trainer, trainable

log = logging.getLogger(__name__)

SESSION = tuple(
    f"train.{name}"
    for name in ("auto_batch", "checkpoint_every", "fsdp", "keep_every", "keep_last", "max_minutes",
                 "threads")
)  # fmt: skip
"""Settings that may change when a run is resumed: none affects the learned weights, `fsdp` and
`threads` except for rounding."""


def pretrain(
    config: Config,
    catalogue: Catalogue | Path | str,
    out: Path | str,
    *,
    resume: bool = False,
    strict: bool = False,
    cache: FeatureCache | None = None,
    progress: bool = True,
) -> TrainedRun:
    """Train SCALE on a catalogue's training split and write everything into a run folder.

    With `accelerate launch` or torchrun, every process makes the same call (docs/scaling.md).

    Args:
        config: e.g. `tiny()`; the vocabulary size is set from the tokenizer, and feature sizes
            from feature files and timm models.
        catalogue: the catalogue, or its folder, or a folder of shards (docs/shards.md).
        out: the run folder.
        resume: continue from the folder's last checkpoint, bit-exactly as if never interrupted.
            Without a checkpoint, start from the beginning.
        strict: raise for unreadable media or records instead of counting them as missing.
        cache: feature cache; None: the user's own.

    Returns:
        The run, with the best checkpoint by validation loaded.

    Raises:
        ValueError: `out` already contains a run and `resume` is off, or another process trains in
            it; or config or catalogue differ from those of the run to resume.
        TrainingError: a loss is not finite, memory or disk is full, or there are no products to
            train on; the last good checkpoint is kept.
        TrainingStopped: after SIGTERM or SIGUSR1, or `train.max_minutes` from this call; a
            checkpoint is saved. Signals are handled in the main thread only.
    """
    preemption = PreemptionHandler(config.train.max_minutes)
    init_processes(config.train.device)
    run = RunFolder(Path(out))
    with locked(run.folder) if rank() == 0 else nullcontext():
        _pretrain(config, catalogue, run, resume, strict, cache, preemption, progress)
    return TrainedRun.load(run.folder)


def _pretrain(
    config: Config,
    catalogue: Catalogue | Path | str,
    run: RunFolder,
    resume: bool,
    strict: bool,
    cache: FeatureCache | None,
    preemption: PreemptionHandler,
    progress: bool,
) -> None:
    """Train in a locked run folder; arguments as for `pretrain`."""
    with main_first():
        config, data = _prepare(config, catalogue, run, resume, strict=strict, cache=cache)
    with torch_threads(config.train.threads):
        _train(config, data, run, preemption, progress)


def _train(
    config: Config,
    data: ProductDataset | ShardDataset,
    run: RunFolder,
    preemption: PreemptionHandler,
    progress: bool,
) -> None:
    train, val = (data.subset(data.rows_of(split)) for split in ("train", "val"))
    train, weights = _judged(config, train, run, preemption, progress)
    # A run that continues has the fitted projections in its checkpoint.
    resumed = bool(CheckpointManager(run.checkpoints).steps())
    model, copied = initial_model(config, None if resumed else train, weights)
    if rank() == 0:
        contents_NM, ignored = torch.from_numpy(train.content_id_NM), config.loss.ignore_duplicates
        warnings = duplicate_warnings(contents_NM, config.train.batch_size, ignored)
        for message in (*warnings, *copied):
            log.info("%s", message)
        few = small_validation_warning(len(val)) if config.train.eval_every else None
        if few:
            log.warning("%s", few)
    fit_run(Trainer(config, model, train, weights=weights), val, run, preemption, progress)


def _judged(
    config: Config,
    train: ProductDataset | ShardDataset,
    run: RunFolder,
    preemption: PreemptionHandler,
    progress: bool,
) -> tuple[ProductDataset | ShardDataset, Weights | None]:
    """Return the products used for training and, for `weight_by` agreement, their weights."""
    train = trainable(train, config)
    if config.loss.weight_by != "agreement":
        return train, None
    found = cross_fit_agreement(train, config, run.agreement, preemption, progress)
    return train, found.weights(train.present_NM)


def fit_run(
    trainer: Trainer,
    val: ProductDataset | ShardDataset | None,
    run: RunFolder,
    preemption: PreemptionHandler | None = None,
    progress: bool = False,
) -> TrainState:
    """Resume from the run folder's newest checkpoint, if any, and train to the last step."""
    settings = trainer.config.train
    checkpoints = CheckpointManager(run.checkpoints, settings.keep_last)
    trainer.restore(checkpoints)
    logger = MetricsLogger(run.folder, trainer.state.step) if rank() == 0 else NullLogger()
    preemption = preemption or PreemptionHandler(settings.max_minutes)
    return trainer.fit(val, checkpoints, logger, preemption, progress)


def _prepare(
    config: Config, catalogue: Catalogue | Path | str, run: RunFolder, resume: bool, **options: Any
) -> tuple[Config, ProductDataset | ShardDataset]:
    """Fill the run folder; return the completed config and the data set.

    The main process runs first. The other processes then treat the folder as a run to resume: they
    read its files and check that they have the same settings and products.
    """
    source, divided = _open(catalogue, options["strict"])
    started = rank() > 0 or _check_folder(run, resume)
    run.folder.mkdir(parents=True, exist_ok=True)
    config = _with_precision(config, run if started else None)
    tokenizer = _tokenizer(config, source, run)
    if isinstance(source, ShardFolder):
        config = source.with_lengths(config)
    else:
        config = choose_lengths(config, source.split("train").products, tokenizer)
    config = fit_vocabulary(config, tokenizer)
    if rank() == 0 and isinstance(source, Catalogue):
        warn_of_text_losses(source.split("train").products, config, tokenizer)
    normaliser = Normaliser.load(run.normaliser) if started else None
    if isinstance(source, ShardFolder):
        source.check(TokenSettings.of(config, tokenizer))
        data = ShardDataset.of(source, normaliser)
        problems = data.problems
    else:
        data = build_dataset(source, config, tokenizer, normaliser, **options)
        problems = [*source.problems, *data.problems]
    config = fit_sizes(config, data)
    if config.train.second_views and isinstance(data, ShardDataset):
        log.warning("shards contain no second views: trained without train.second_views")
        config = replace(config, train=replace(config.train, second_views=False))
    config = replace(config, train=replace(config.train, threads=_threads(config, run, started)))
    _write_or_check(run, config, data, started, divided)
    if config.train.second_views:
        first = len(data.problems)
        data = data.with_second_views()
        problems += data.problems[first:]
    if rank() == 0:
        write_problems(problems, run.problems)
        if problems:
            log.warning("%s; see %s", summarise_problems(problems), run.problems)
    return config, data


def _threads(config: Config, run: RunFolder, started: bool) -> int:
    """Return the number of threads: that of a run to resume, unless another one is requested."""
    if not started:
        return choose_threads(config)
    # Earlier versions used torch's number.
    stored = Config.load(run.config).train.threads or torch.get_num_threads()
    threads = config.train.threads or stored
    if threads != stored:
        log.warning(
            "%s: continued with %d threads instead of %d, which changes the rounding", run.folder,
            threads, stored,
        )  # fmt: skip
    return threads


def _open(catalogue: Catalogue | Path | str, strict: bool) -> tuple[Catalogue | ShardFolder, bool]:
    """Open the catalogue and assign a split to each product.

    Return also whether it was divided by `SPLIT_RULE`, because it assigns no split itself.
    """
    if not isinstance(catalogue, Catalogue):
        if is_shards(catalogue):
            return ShardFolder.open(catalogue), False
        catalogue = Catalogue.open(catalogue, strict=strict)
    return with_splits(catalogue), not has_splits(catalogue)


def _check_folder(run: RunFolder, resume: bool) -> bool:
    """Return whether there is a run to resume; remove leftovers of one without a checkpoint."""
    if run.config.is_file() and not run.data.is_file():
        raise ValueError(f"{run.folder} contains a config.json but no run: choose another folder")
    started = run.config.is_file() and bool(CheckpointManager(run.checkpoints).resumable())
    if started and not resume:
        raise ValueError(
            f"{run.folder} already contains a run: continue it with resume=True (--resume), or "
            "choose another folder"
        )
    if not started and run.config.is_file():
        run.config.unlink()
        shutil.rmtree(run.checkpoints, ignore_errors=True)
    return started


def _with_precision(config: Config, started: RunFolder | None) -> Config:
    """Resolve `train.precision` auto: that of the run to resume, or the faster one here."""
    if config.train.precision != "auto":
        return config
    if started is not None:
        precision = Config.load(started.config).train.precision
    else:
        precision = choose_precision(config.train.device)
    return replace(config, train=replace(config.train, precision=precision))


def _tokenizer(
    config: Config, source: Catalogue | ShardFolder, run: RunFolder
) -> PreTrainedTokenizerBase:
    """Return the run's tokenizer: that of the shards, or one trained on the training split."""
    if run.config.is_file():
        return load_tokenizer(run.tokenizer)
    if isinstance(source, ShardFolder):
        tokenizer = source.tokenizer
    else:
        tokenizer = make_tokenizer(source.split("train").products, config.features)
    tokenizer.save_pretrained(run.tokenizer)
    # Read back, so that a new and a resumed run use the same object.
    return load_tokenizer(run.tokenizer)


def _write_or_check(
    run: RunFolder,
    config: Config,
    data: ProductDataset | ShardDataset,
    started: bool,
    divided: bool,
) -> None:
    """Write config, normaliser and data fingerprint; for a run to resume, compare them."""
    facts = {"products": len(data), "fingerprint": data.fingerprint, "splits": SPLIT_RULE}
    if not started:
        data.normaliser.save(run.normaliser)
        run.data.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        config.save(run.config)
        return
    keys = differing_keys(config, Config.load(run.config))
    different = [key for key in keys if key not in SESSION]
    if different:
        raise ValueError(f"{run.config}: differs from the run to resume in {', '.join(different)}")
    stored = json.loads(run.data.read_text(encoding="utf-8"))
    if "splits" not in stored:
        # Fingerprints of earlier versions ignore contents, and their splits ignored case.
        if divided or stored["products"] != len(data):
            raise ValueError(
                f"{run.data}: the run was started by an earlier version on other products, or with "
                "other splits; start a new run"
            )
        log.warning("%s: of an earlier version; contents are not compared", run.data)
    elif stored != facts:
        raise ValueError(f"{run.data}: the catalogue differs from that of the run to resume")
