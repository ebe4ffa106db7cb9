"""Runs the cells of a study over seeds, in parallel, and keeps every finished run."""

import hashlib
import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from tqdm.auto import tqdm

from scale.studies.cell import Bench, open_bench, run_cell
from scale.studies.store import Record, read_records, write_records
from scale.studies.study import Cell, Study

VERSION = 1
"""Part of every key: raise it when the same cell would be trained or measured otherwise."""


Keys = dict[tuple[int, int], str]
"""Key of each run by the place of its cell in the study and its seed."""


class StudyError(RuntimeError):
    """A study that stopped; the message says why and that finished runs are kept."""


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
    jobs: int | None = None,
    progress: bool = True,
) -> list[Record]:
    """Train and measure what is not finished yet; returns all runs of the study, cell by cell.

    Each finished run is in `<out>/<study>-<catalogue>.parquet` at once (the file is replaced as a
    whole, so a stop at any moment loses only the runs in progress); what else the file holds stays
    there. A run that another study of `out` has finished with the same key is taken over. Seeds go
    round by round, so that what is there after a stop is the whole grid with fewer seeds.

    Args:
        folder: of the catalogue.
        out: where the parquet file lies or will lie.
        preset: settings that the cells change.
        jobs: processes; default one per GPU, else one per core.

    Raises:
        ValueError: the catalogue cannot be used; a cell names an unknown setting or model.
        StudyError: a worker died, or a cell raised what is no failed training.
    """
    # Opened here first, so that the workers find the features in the cache.
    bench = open_bench(Path(folder), preset)
    keys = {
        (index, seed): _key(bench, cell, seed)
        for seed in range(study.seeds)
        for index, cell in enumerate(study.cells)
    }
    work = partial(_work, folder=Path(folder), preset=preset)
    return run_grid(study, keys, work, Path(out), bench.catalogue, jobs, progress)


def run_grid(
    study: Study,
    keys: Keys,
    work: Callable[["Job"], Record],
    out: Path,
    catalogue: str,
    jobs: int | None,
    progress: bool,
) -> list[Record]:
    """`run_study` for any function that makes a record of a job; it must be picklable."""
    path, wanted = records_path(out, study.name, catalogue), set(keys.values())
    done = _finished(out, path, catalogue, wanted)
    # Of more seeds, the whole grid behind a quick one, another preset: hours of work.
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
    """Where the runs of a study on a catalogue lie."""
    return out / f"{study}-{catalogue}.parquet"


def finished_records(
    study: Study, folder: Path | str, out: Path | str, preset: str = "micro"
) -> list[Record]:
    """The runs of a study that are there, without running any."""
    path = records_path(Path(out), study.name, Path(folder).resolve().name)
    return belonging(study, [r for r in read_records(path) if r.preset == preset])


def belonging(study: Study, records: Iterable[Record]) -> list[Record]:
    """Those that are of the study's cells as they are now.

    A file holds others too: of the whole grid behind a quick one, or of a cell that was another one
    when it was run. Of two runs alike the first counts.
    """
    # As JSON has it: lists for tuples.
    cells = [(cell.factors, json.loads(json.dumps(cell.identity()))) for cell in study.cells]
    found: list[Record] = []
    for record in records:
        mine = any(
            record.factors == factors and record.cell in (identity, {})
            for factors, identity in cells
        )
        again = any((r.factors, r.seed) == (record.factors, record.seed) for r in found)
        if mine and not again:
            found.append(record)
    return found


def _run_all(
    jobs: list[Job], work: Callable[[Job], Record], workers: int | None
) -> Iterator[Record]:
    """Records in the order in which they are finished."""
    gpus = torch.cuda.device_count()
    workers = min(workers or gpus or os.cpu_count() or 1, max(len(jobs), 1))
    context = multiprocessing.get_context("spawn")
    number = context.Value("i", 0)
    threads = max(1, (os.cpu_count() or 1) // workers)
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
    """Gives each worker a GPU of its own, or its share of the cores."""
    with number.get_lock():
        mine = number.value
        number.value += 1
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(mine % gpus)
    torch.set_num_threads(threads)
    # A killed study would otherwise leave workers that go on training what nobody keeps.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _work(job: Job, folder: Path, preset: str) -> Record:
    return run_cell(open_bench(folder, preset), job.study, job.key, job.cell, job.seed)


def _key(bench: Bench, cell: Cell, seed: int) -> str:
    """Hash of the products, the settings, the cell and the seed."""
    facts = [
        VERSION,
        bench.fingerprint,
        cell.config(bench.config, seed).to_dict(),
        cell.identity(),
        torch.cuda.is_available(),
    ]
    text = json.dumps(facts, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _finished(out: Path, own: Path, catalogue: str, wanted: set[str]) -> dict[str, Record]:
    """Runs by key, from this study's file and from those of the others on the same catalogue."""
    others = sorted(out.glob(f"*-{catalogue}.parquet")) if out.is_dir() else []
    found: dict[str, Record] = {}
    for path in (*(p for p in others if p != own), own):
        found |= {r.key: r for r in read_records(path) if r.key in wanted}
    return found


def _ordered(study: Study, keys: Keys, done: dict[str, Record]) -> list[Record]:
    """A row per cell and seed, under the study's own name and factors."""
    return [
        replace(done[key], study=study.name, factors=study.cells[index].factors)
        for (index, _), key in sorted(keys.items())
        if key in done
    ]
