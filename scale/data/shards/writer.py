"""Write a catalogue to shards with many processes; an interruption loses only unfinished shards.

`write_shards` divides the catalogue, `ShardMaker` writes one shard in any process, and `finish`
writes the arrays over all products and the manifest. Memory per process: one shard, and some bytes
per product.

N products (of the catalogue or of one shard), M modalities (five), L length of a sequence, F
features of a vector.
"""

import json
import logging
import multiprocessing
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.numpy import save_file
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from scale.config import Config, require
from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue, with_splits
from scale.data.dataset import TokenizedProducts, tokenize_products
from scale.data.normaliser import Moments, Normaliser
from scale.data.product import CatalogueError, Product, read_problems, write_problems
from scale.data.shards.format import (
    HEADER_BYTES,
    LARGEST_SHARD,
    PLAN,
    PLAN_PROBLEMS,
    FileChecksum,
    Layout,
    Manifest,
    ShardRecord,
    ShardsError,
    TokenSettings,
    checksum,
    chunk_name,
    header,
    metadata_name,
    moments_name,
    record_name,
)
from scale.data.shards.merge import finished, merge_shards, missing_shards
from scale.data.shards.source import (
    PLACES,
    Places,
    ProductList,
    ProductRange,
    RecordRange,
    native_file,
    survey_catalogue,
    survey_file,
)
from scale.data.text_loss import choose_lengths, warn_of_text_losses
from scale.data.tokenizer import load_tokenizer, make_tokenizer
from scale.files import apply_umask, locked, write_whole
from scale.modalities import DISCRETE, MODALITIES
from scale.threads import available_cores

log = logging.getLogger(__name__)

PRODUCTS_PER_SHARD = 1024
WAIT = 1.0
"""Seconds between attempts to lock a folder that another process plans or finishes."""
CONTINUE = "Finished shards are kept: the same command continues"


@dataclass(frozen=True)
class ShardMaker:
    """Writes the shards of a folder, each independently of the others."""

    folder: Path
    catalogue: Path
    """Folder of the catalogue."""
    config: Config
    tokenizer: PreTrainedTokenizerBase
    cache: Path | None = None
    """Feature cache; None uses a temporary one per shard."""
    strict: bool = False

    def make(self, number: int, products: ProductRange | RecordRange) -> ShardRecord:
        """Write a shard unless it is finished and intact; return its record.

        Names of unfinished files begin with `.work`; the record is written last.
        """
        target = self.folder / record_name(number)
        record = ShardRecord.load(target)
        if (
            record is not None
            and (record.number, record.products) == (number, len(products))
            and record.is_intact(self.folder)
        ):
            return record
        target.unlink(missing_ok=True)
        work = self.folder / f".work-{number:06d}"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            record = self._make(number, products.read(), work)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        record.save(target)
        return record

    def _make(self, number: int, products: Sequence[Product], work: Path) -> ShardRecord:
        read = self._read(products, work)
        sizes = {m: c.values.shape[1] for m, c in read.columns.items() if c.continuous}
        layout = Layout(len(self.tokenizer), sizes)
        packed = [pack_product(layout, read, row) for row in range(len(products))]
        index = write_chunk(packed, work, work / "chunk")
        write_metadata(read, layout, packed, work / "metadata")
        write_moments(read, work / "moments")
        names = {"chunk": chunk_name(number), "metadata": metadata_name(number),
                 "moments": moments_name(number)}  # fmt: skip
        files = {}
        for made, name in names.items():
            (self.folder / name).parent.mkdir(exist_ok=True)
            files[name] = FileChecksum.of((work / made).replace(self.folder / name))
        problems = [asdict(problem) for problem in read.problems]
        return ShardRecord(number, len(products), files, sizes, read.cut, problems, index)

    def _read(self, products: Sequence[Product], work: Path) -> TokenizedProducts:
        settings = TokenSettings.of(self.config, self.tokenizer)
        return tokenize_products(
            Catalogue(self.catalogue, tuple(products)),
            self.config.features,
            self.tokenizer,
            Normaliser({}, {}),
            cache=FeatureCache(self.cache or work / "features"),
            modalities=settings.modalities,
            lengths=settings.lengths,
            strict=self.strict,
            workers=1,
        )


def pack_product(layout: Layout, read: TokenizedProducts, row: int) -> list[bytes]:
    """Return the bytes of each modality of a product; b"" where it is absent."""
    parts = []
    for m in MODALITIES:
        column = read.columns.get(m)
        if column is None or not column.length_N[row]:
            parts.append(b"")
            continue
        start = column.start_N[row]
        place = slice(start, start + column.length_N[row])
        entity_L, piece_L = (
            None if number_T is None else number_T[place]
            for number_T in (column.entity_T, column.piece_T)
        )
        parts.append(layout.pack(m, column.values[place], entity_L, piece_L))
    return parts


def write_chunk(packed: list[list[bytes]], work: Path, target: Path) -> dict[str, Any]:
    """Write products as one chunk of litdata; return the format entry for litdata's index.

    Raises ShardsError if the chunk exceeds the range of its offsets.
    """
    from litdata.streaming.writer import BinaryWriter

    size = _chunk_header(len(packed))
    size += sum(HEADER_BYTES + sum(map(len, parts)) for parts in packed)
    if size > LARGEST_SHARD:
        raise ShardsError(
            f"{target}: {size:,} bytes exceed the size limit of a shard ({LARGEST_SHARD:,}): "
            "choose fewer products per shard"
        )
    writer = BinaryWriter(str(work / "litdata"), chunk_bytes=LARGEST_SHARD)
    for place, parts in enumerate(packed):
        writer.add_item(place, parts)
    (chunk,) = writer.done()
    Path(chunk).replace(target)
    if target.stat().st_size != size:
        raise ShardsError(f"{target}: this version of litdata writes another format")
    return writer.get_config()


def write_metadata(
    read: TokenizedProducts, layout: Layout, packed: list[list[bytes]], target: Path
) -> None:
    """Write a row per product: its facts, digest, first byte, CRC-32, lengths and contents."""
    bytes_NM = np.array([[len(part) for part in parts] for parts in packed], np.int64)
    each_M = np.array([max(1, layout.token_bytes(m)) for m in MODALITIES])
    taken_N = HEADER_BYTES + bytes_NM.sum(1)
    start_N = _chunk_header(len(packed)) + np.cumsum(taken_N) - taken_N
    columns: dict[str, Any] = {
        "id": pa.array([p.id for p in read.products], pa.string()),
        "split": pa.array([p.split for p in read.products], pa.string()),
        "category": pa.array([p.category for p in read.products], pa.string()),
        "digest": pa.array(read.digests, pa.string()),
        "start": pa.array(start_N, pa.uint32()),
        "crc": pa.array([checksum(header(parts), *parts) for parts in packed], pa.uint32()),
    }
    absent = [None] * len(packed)
    for i, m in enumerate(MODALITIES):
        columns[f"length_{m}"] = pa.array(bytes_NM[:, i] // each_M[i], pa.int32())
        columns[f"content_{m}"] = pa.array(read.contents.get(m, absent), pa.string())
    table = pa.table(columns)
    with pa.ipc.new_file(target, table.schema) as writer:
        writer.write_table(table)


def _chunk_header(products: int) -> int:
    """Return the bytes of a chunk before its first product."""
    return 4 * (products + 2)


def write_moments(read: TokenizedProducts, target: Path) -> None:
    """Write the moments of the training products' vectors, from which the normaliser is fitted."""
    training_N = np.array([p.split == "train" for p in read.products], bool)
    tensors = {}
    for m, column in read.columns.items():
        moments = Moments.of(column.chunks(training_N)) if column.continuous else None
        if moments is not None:
            tensors |= {f"{m}.count": np.array([moments.count]), f"{m}.mean": moments.mean_F,
                        f"{m}.squares": moments.squares_F}  # fmt: skip
    save_file(tensors, target)
    apply_umask(target)


def write_shards(
    catalogue: Catalogue | Path | str,
    config: Config,
    out: Path | str,
    *,
    products_per_shard: int = PRODUCTS_PER_SHARD,
    workers: int | None = None,
    cache: FeatureCache | None = None,
    strict: bool = False,
    progress: bool = True,
    part: tuple[int, int] | None = None,
    only_finish: bool = False,
) -> Manifest | None:
    """Write the tokens of a catalogue's products, in its order, for training.

    A second call with the same arguments continues an interrupted one and rewrites missing and
    damaged files. The files depend neither on the number of workers nor on that of the parts.

    Args:
        catalogue: the products of a folder with products.jsonl or products.parquet are not kept
            in memory; those of other sources are.
        config: has the features, modalities and lengths of the runs to be trained.
        workers: additional processes; 1 writes in this one; None is the number of cores. They are
            spawned, so a script needs the guard `if __name__ == "__main__":`.
        cache: of features. None keeps none, because the features of millions of products take as
            much space as the shards.
        strict: unusable media and records raise instead of counting as missing.
        part: (k, n) writes the k-th of n ranges of the shards, k from 1. Other processes and
            machines that share the folder write the others at any time; the last one to end also
            writes the files that concern all products.
        only_finish: write no shard, only the files that concern all products.

    Returns the manifest; None if shards of other parts are still missing.

    Raises:
        ShardsError: the folder contains other files, or shards of other settings or products; or
            `only_finish`, and a shard is missing.
        ValueError: another process writes one of the same shards. A part waits for a process that
            plans, finishes or, without parts, writes the folder.
        OSError: e.g. the disk is full. RuntimeError: a worker died. ImportError: no litdata.
    """
    _require_litdata()
    out = Path(out)
    if part is not None and not 1 <= part[0] <= part[1]:
        raise ShardsError(f"part {part[0]} of {part[1]}: parts are numbered from 1")
    if part is not None and only_finish:
        raise ShardsError("--finish writes no shard: omit --part")
    file = None if isinstance(catalogue, Catalogue) else native_file(catalogue)
    if file is None:
        if not isinstance(catalogue, Catalogue):
            catalogue = Catalogue.open(catalogue, strict=strict)
        file = with_splits(catalogue)
    cached = None if cache is None else cache.folder
    with ExitStack() as own:
        with ExitStack() as whole:
            whole.enter_context(locked(out) if part is None else _locked_in_turn(out))
            task = _begin(out, file, config, products_per_shard, strict)
            numbers = _numbers_of(part, task.shards)
            _refuse_overlaps(out, part, task.shards)
            if only_finish:
                return _merge(out, task)
            if part is not None:
                own.enter_context(locked(_part_lock(out, part), beside=True))
            else:
                own.enter_context(whole.pop_all())
        maker = ShardMaker(out, task.catalogue, task.config, task.tokenizer, cached, strict)
        _make_range(maker, task, numbers, workers, progress)
        if part is None:
            return _merge(out, task)
    with _locked_in_turn(out):
        missing = missing_shards(out, task.shards)
        if missing:
            return None
        return finished(out, len(task.products), task.products_per_shard) or _merge(out, task)


def _merge(out: Path, task: "_Task") -> Manifest:
    settings = TokenSettings.of(task.config, task.tokenizer)
    return merge_shards(out, len(task.products), settings, task.products_per_shard)


def _numbers_of(part: tuple[int, int] | None, shards: int) -> range:
    """Return the shards of a part."""
    k, n = part or (1, 1)
    return range(shards * (k - 1) // n, shards * k // n)


def _part_lock(out: Path, part: tuple[int, int]) -> Path:
    return out / f"part-{part[0]}-of-{part[1]}"


def _refuse_overlaps(out: Path, part: tuple[int, int] | None, shards: int) -> None:
    """Raise ValueError if a process writes another part that contains shards of this one."""
    own = set(_numbers_of(part, shards))
    for path in out.glob(".part-*-of-*.lock"):
        other = tuple(map(int, re.findall(r"\d+", path.name)))
        if own & set(_numbers_of(other, shards)):
            with locked(_part_lock(out, other), beside=True):
                pass


@contextmanager
def _locked_in_turn(out: Path) -> Iterator[None]:
    """Hold the lock of a folder as soon as the process that holds it has planned or finished."""
    with ExitStack() as held:
        for attempt in count():
            try:
                held.enter_context(locked(out))
                break
            except ValueError as error:
                if not attempt:
                    log.info("waiting: %s", error)
                time.sleep(WAIT)
        yield


def _make_range(
    maker: ShardMaker, task: "_Task", numbers: range, workers: int | None, progress: bool
) -> None:
    """Write some shards."""
    workers, made = min(workers or available_cores(), len(numbers)), 0
    try:
        slices = (task.products.range(number, task.products_per_shard) for number in numbers)
        records = _make_all(maker, zip(numbers, slices, strict=True), workers)
        for _ in tqdm(records, "shards", len(numbers), unit=" shards", disable=not progress):
            made += 1
    except BrokenProcessPool as error:
        raise RuntimeError(
            f"{maker.folder}: a worker died (out of memory? try fewer --workers or "
            f"--products-per-shard). {CONTINUE}"
        ) from error
    except OSError as error:
        raise OSError(
            f"{maker.folder}: {error}, with {made} of {len(numbers)} shards finished. Is the disk "
            f"full? {CONTINUE}"
        ) from error


def _require_litdata() -> None:
    try:
        import litdata  # noqa: F401
    except ImportError as error:
        raise ImportError("litdata is missing: pip install 'scale-workbench[shards]'") from error


@dataclass(frozen=True)
class _Task:
    """All shards of a folder."""

    catalogue: Path
    """Folder of the catalogue."""
    products: ProductList | Places
    config: Config
    """With numbers for the lengths that were `auto`."""
    tokenizer: PreTrainedTokenizerBase
    products_per_shard: int

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-len(self.products) // self.products_per_shard)


def _begin(
    out: Path,
    catalogue: Catalogue | tuple[Path, Path],
    config: Config,
    products_per_shard: int,
    strict: bool,
) -> _Task:
    """Write the plan, or check that an earlier one is the same.

    catalogue: products in memory, or the file with the records and the folder of the media.
    """
    plan_file, folder = out / PLAN, out / "tokenizer"
    plan = _load_plan(plan_file) if plan_file.is_file() else None
    begun = {folder.name, PLACES, PLAN_PROBLEMS}
    if plan is None and {path.name for path in out.iterdir() if path.name[0] != "."} - begun:
        raise ShardsError(f"{out} is not empty and contains no shards: choose another folder")
    in_memory = isinstance(catalogue, Catalogue)
    checksum = None if in_memory else asdict(FileChecksum.of(catalogue[0]))
    known, survey = None, None
    if not in_memory and plan is not None and plan.get("file") == checksum:
        known = Places.load(out, *catalogue)  # None if the file is missing or damaged.
    if known is None:
        require(products_per_shard >= 1, f"shards of {products_per_shard} products")
        survey = (
            survey_catalogue(catalogue)
            if in_memory
            else survey_file(*catalogue, products_per_shard, strict)
        )
    elif strict and (problems := read_problems(out / PLAN_PROBLEMS)):
        raise CatalogueError.of(problems)
    products = survey.products if known is None else known
    if not len(products):
        raise ShardsError("0 products: nothing to write")
    if plan is None:
        make_tokenizer(products.training(), config.features).save_pretrained(folder)
    tokenizer = load_tokenizer(folder)
    if plan is None:
        config = choose_lengths(config, survey.sample, tokenizer)
    else:
        written = plan["settings"].features
        names = [f"{m}_length" for m in DISCRETE]
        names = [name for name in names if getattr(config.features, name) == "auto"]
        if names:
            config = config.with_features(**{name: written[name] for name in names})
    settings = TokenSettings.of(config, tokenizer)
    if plan is not None:
        digest = plan["source"] if survey is None else survey.digest
        _check_plan(plan_file, plan, settings, digest, products_per_shard)
    if survey is not None:
        products.save(out)
        write_problems(survey.problems, out / PLAN_PROBLEMS)
        written = {"settings": asdict(settings), "source": survey.digest,
                   "products_per_shard": products_per_shard, "file": checksum}  # fmt: skip
        write_whole(plan_file, json.dumps(written, indent=1) + "\n")
    if plan is None:
        warn_of_text_losses(survey.sample, config, tokenizer)
    media = catalogue.folder if in_memory else catalogue[1]
    return _Task(media, products, config, tokenizer, products_per_shard)


def _load_plan(path: Path) -> dict[str, Any]:
    """Return the plan. Raises ShardsError if it is damaged."""
    try:
        plan = json.loads(path.read_bytes())
        settings = TokenSettings(**plan["settings"])
        return {"source": plan["source"], "products_per_shard": plan["products_per_shard"],
                "file": plan.get("file"), "settings": settings}  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise ShardsError(f"{path}: damaged: {error}; choose another folder") from error


def _check_plan(
    path: Path,
    plan: dict[str, Any],
    settings: TokenSettings,
    digest: str,
    products_per_shard: int,
) -> None:
    changed = plan["settings"].differences(settings)
    if plan["products_per_shard"] != products_per_shard:
        changed.append(f"--products-per-shard (was {plan['products_per_shard']})")
    if plan["source"] != digest:
        changed.append("the catalogue's products")
    if changed:
        raise ShardsError(
            f"{path}: these shards were started with other {', '.join(changed)}: choose another "
            "folder"
        )


def _make_all(
    maker: ShardMaker, ranges: Iterable[tuple[int, ProductRange | RecordRange]], workers: int
) -> Iterator[ShardRecord]:
    if workers <= 1:
        for number, products in ranges:
            yield maker.make(number, products)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _start_worker, (maker,))
    try:
        # No list of the results is kept: a record contains the problems of its shard.
        for done in as_completed({pool.submit(_make, *numbered) for numbered in ranges}):
            yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)


_makers: list[ShardMaker] = []
"""The ShardMaker of this worker process."""


def _start_worker(maker: ShardMaker) -> None:
    _makers.append(maker)
    # Ctrl-C reaches all processes; only the parent reports it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A killed parent cannot stop its workers, which would interfere with those of the next call.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _make(number: int, products: ProductRange | RecordRange) -> ShardRecord:
    return _makers[0].make(number, products)
