"""Write a catalogue to shards with several processes; an interruption loses only unfinished shards.

`write_shards` divides the catalogue, `ShardMaker` writes one shard in any process, and `finish`
writes the arrays over all products and the manifest.

N products (of the catalogue or of one shard), M modalities (five), L length of a sequence, F
features of a vector.
"""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.numpy import load_file, save_file
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from scale.config import Config
from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue, with_splits
from scale.data.dataset import TokenizedProducts, fingerprint, tokenize_products
from scale.data.normaliser import Moments, Normaliser
from scale.data.product import SPLITS, Problem, Product, write_problems
from scale.data.shards.format import (
    ARRAYS,
    HEADER_BYTES,
    LARGEST_SHARD,
    NORMALISER,
    PLAN,
    PROBLEMS,
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
    read_metadata,
)
from scale.data.text_loss import choose_lengths, warn_of_text_losses
from scale.data.tokenizer import load_tokenizer, make_tokenizer
from scale.files import LOCK, apply_umask, locked, replacing, write_whole
from scale.modalities import INDEX, MODALITIES

PRODUCTS_PER_SHARD = 1024
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

    def make(self, number: int, products: Sequence[Product]) -> ShardRecord:
        """Write a shard unless it is finished and intact; return its record.

        Names of unfinished files begin with `.work`; the record is written last.
        """
        target = self.folder / "facts" / f"{number:06d}.json"
        record = ShardRecord.load(target)
        if (
            record is not None
            and record.products == len(products)
            and record.is_intact(self.folder)
        ):
            return record
        target.unlink(missing_ok=True)
        work = self.folder / f".work-{number:06d}"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            record = self._make(number, products, work)
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


def read_moments(path: Path) -> dict[str, Moments]:
    """Inverse of `write_moments`, by modality."""
    found = load_file(path)
    return {
        m: Moments(int(found[f"{m}.count"][0]), found[f"{m}.mean"], found[f"{m}.squares"])
        for m in MODALITIES
        if f"{m}.count" in found
    }


def moments_name(number: int) -> str:
    """Return the file name of a shard's moments."""
    return f"facts/{number:06d}.safetensors"


def finish(
    folder: Path,
    records: Sequence[ShardRecord],
    settings: TokenSettings,
    products_per_shard: int,
    problems: Sequence[Problem] = (),
) -> Manifest:
    """Write the files that concern all products, then the manifest.

    Raises ShardsError if vectors have different sizes, ValueError if there is no training product.
    """
    sizes = _common_sizes(records)
    tables = [read_metadata(folder / metadata_name(record.number)) for record in records]
    arrays = gather_arrays(tables)
    for name, values in arrays.items():
        with replacing(folder / f"{name}.npy") as partial:
            np.save(partial, values, allow_pickle=False)
    splits = {s: int((arrays["split_N"] == i).sum()) for i, s in enumerate(SPLITS)}
    _normaliser(folder, records, splits["train"]).save(folder / NORMALISER)
    found = [*problems, *(Problem(**p) for record in records for p in record.problems)]
    write_problems(found, folder / PROBLEMS)
    _write_litdata_index(folder, records)
    if any("digest" not in table.column_names for table in tables):
        raise ShardsError(f"{folder}: shards of an earlier version: write them into a new folder")
    digests = (str(digest) for table in tables for digest in table["digest"])
    present_M = (arrays["content_NM"] >= 0).sum(0)
    names = [*(f"{name}.npy" for name in ARRAYS), NORMALISER, PROBLEMS]
    manifest = Manifest(
        settings=settings,
        products=len(arrays["split_N"]),
        products_per_shard=products_per_shard,
        sizes=sizes,
        present={m: int(present_M[INDEX[m]]) for m in MODALITIES if present_M[INDEX[m]]},
        splits=splits,
        fingerprint=fingerprint(digests),
        shards=[{"products": r.products, "files": r.files} for r in records],
        files={name: FileChecksum.of(folder / name) for name in names},
        cut=dict(sum((Counter(r.cut) for r in records), Counter())),
        versions={name: version(name) for name in ("scale-workbench", "litdata")},
    )
    manifest.save(folder)
    return manifest


def gather_arrays(tables: Sequence[pa.Table]) -> dict[str, np.ndarray]:
    """Return `ARRAYS` over all products, from the metadata of all shards."""

    def column(name: str) -> pa.Array:
        return pa.concat_arrays([chunk for table in tables for chunk in table[name].chunks])

    def stack(numbers: Callable[[str], np.ndarray], kind: type) -> np.ndarray:
        return np.stack([numbers(m) for m in MODALITIES], axis=1).astype(kind)

    split = column("split").to_numpy(zero_copy_only=False)
    return {
        "content_NM": stack(lambda m: _numbered(column(f"content_{m}")), np.int64),
        "length_NM": stack(lambda m: column(f"length_{m}").to_numpy(), np.int32),
        "start_N": column("start").to_numpy(),
        "crc_N": column("crc").to_numpy(),
        "split_N": np.select([split == name for name in SPLITS], range(len(SPLITS))).astype(
            np.int8
        ),
    }


def _numbered(contents: pa.Array) -> np.ndarray:
    """Number contents by first appearance, -1 where absent."""
    return contents.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)


def _common_sizes(records: Sequence[ShardRecord]) -> dict[str, int]:
    """Return F by modality that occurs in some shard."""
    sizes, first = {}, {}
    for record in records:
        for m, size in record.sizes.items():
            if sizes.setdefault(m, size) != size:
                raise ShardsError(
                    f"{m} vectors have size {sizes[m]} in shard {first[m]} and {size} in shard "
                    f"{record.number}: the catalogue mixes feature sources"
                )
            first.setdefault(m, record.number)
    return {m: sizes[m] for m in MODALITIES if m in sizes}


def _normaliser(folder: Path, records: Sequence[ShardRecord], training: int) -> Normaliser:
    if not training:
        raise ValueError("no training product to fit a normaliser on")
    parts: dict[str, list[Moments]] = {}
    for record in records:
        for m, moments in read_moments(folder / moments_name(record.number)).items():
            parts.setdefault(m, []).append(moments)
    return Normaliser.of(parts)


def _write_litdata_index(folder: Path, records: Sequence[ShardRecord]) -> None:
    """Write index.json, so that litdata's StreamingDataset can open the folder too."""
    chunks = []
    for record in records:
        name = chunk_name(record.number)
        size = record.files[name].bytes
        chunks.append(
            {"filename": name, "chunk_size": record.products, "chunk_bytes": size, "dim": None}
        )
    index = {"chunks": chunks, "config": records[0].litdata}
    write_whole(folder / "index.json", json.dumps(index, sort_keys=True) + "\n")


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
) -> Manifest:
    """Write the tokens of a catalogue's products, in its order, for training.

    A second call with the same arguments continues an interrupted one and rewrites missing and
    damaged files. The files do not depend on the number of workers.

    Args:
        config: has the features, modalities and lengths of the runs to be trained.
        workers: additional processes; 1 writes in this one; None is the number of cores. They are
            spawned, so a script needs the guard `if __name__ == "__main__":`.
        cache: of features. None keeps none, because the features of millions of products take as
            much space as the shards.
        strict: unusable media and records raise instead of counting as missing.

    Raises:
        ShardsError: the folder contains other files, or shards of other settings or products.
        ValueError: another process writes to the folder.
        OSError: e.g. the disk is full. RuntimeError: a worker died. ImportError: no litdata.
    """
    _require_litdata()
    out = Path(out)
    if not isinstance(catalogue, Catalogue):
        catalogue = Catalogue.open(catalogue, strict=strict)
    catalogue = with_splits(catalogue)
    if not len(catalogue) or products_per_shard < 1:
        raise ShardsError(f"{len(catalogue)} products in shards of {products_per_shard}")
    with locked(out):
        return _write(catalogue, config, out, products_per_shard, workers, cache, strict, progress)


def _write(
    catalogue: Catalogue,
    config: Config,
    out: Path,
    products_per_shard: int,
    workers: int | None,
    cache: FeatureCache | None,
    strict: bool,
    progress: bool,
) -> Manifest:
    """Write into a locked folder; arguments as for `write_shards`."""
    config, tokenizer = _begin(out, catalogue, config, products_per_shard)
    folder = None if cache is None else cache.folder
    maker = ShardMaker(out, catalogue.folder, config, tokenizer, folder, strict)
    slices = [
        catalogue.products[at : at + products_per_shard]
        for at in range(0, len(catalogue), products_per_shard)
    ]
    workers = min(workers or os.cpu_count() or 1, len(slices))
    records: dict[int, ShardRecord] = {}
    try:
        made = _make_all(maker, slices, workers)
        for record in tqdm(made, "shards", len(slices), unit=" shards", disable=not progress):
            records[record.number] = record
        ordered = [records[number] for number in range(len(slices))]
        settings = TokenSettings.of(config, tokenizer)
        return finish(out, ordered, settings, products_per_shard, catalogue.problems)
    except BrokenProcessPool as error:
        raise RuntimeError(
            f"{out}: a worker died (out of memory? try fewer --workers or --products-per-shard). "
            f"{CONTINUE}"
        ) from error
    except OSError as error:
        raise OSError(
            f"{out}: {error}, with {len(records)} of {len(slices)} shards finished. Is the disk "
            f"full? {CONTINUE}"
        ) from error


def _require_litdata() -> None:
    try:
        import litdata  # noqa: F401
    except ImportError as error:
        raise ImportError("litdata is missing: pip install 'scale-workbench[shards]'") from error


def _begin(
    out: Path, catalogue: Catalogue, config: Config, products_per_shard: int
) -> tuple[Config, PreTrainedTokenizerBase]:
    """Write the plan, or check that an earlier one is the same.

    Returns the config, with the lengths that are `auto` chosen, and the tokenizer.
    """
    plan_file, folder = out / PLAN, out / "tokenizer"
    train = catalogue.split("train").products
    if not plan_file.is_file():
        if out.is_dir() and {path.name for path in out.iterdir()} - {folder.name, LOCK}:
            raise ShardsError(f"{out} is not empty and contains no shards: choose another folder")
        make_tokenizer(train, config.features).save_pretrained(folder)
    tokenizer = load_tokenizer(folder)
    config = choose_lengths(config, train, tokenizer)
    settings = TokenSettings.of(config, tokenizer)
    source = _source(catalogue)
    if plan_file.is_file():
        _check_plan(plan_file, settings, source, products_per_shard)
        for left in out.glob(".work-*"):
            shutil.rmtree(left, ignore_errors=True)
    else:
        plan = {"settings": asdict(settings), "source": source,
                "products_per_shard": products_per_shard}  # fmt: skip
        write_whole(plan_file, json.dumps(plan, indent=1) + "\n")
        warn_of_text_losses(train, config, tokenizer)
    return config, tokenizer


def _check_plan(path: Path, settings: TokenSettings, source: str, products_per_shard: int) -> None:
    try:
        plan = json.loads(path.read_bytes())
        changed = TokenSettings(**plan["settings"]).differences(settings)
    except (ValueError, KeyError, TypeError) as error:
        raise ShardsError(f"{path}: damaged: {error}; choose another folder") from error
    if plan["products_per_shard"] != products_per_shard:
        changed.append(f"--products-per-shard (was {plan['products_per_shard']})")
    if plan["source"] != source:
        changed.append("the catalogue's products")
    if changed:
        raise ShardsError(
            f"{path}: these shards were started with other {', '.join(changed)}: choose another "
            "folder"
        )


def _source(catalogue: Catalogue) -> str:
    """Return a hash of the records, including the names but not the contents of media files."""
    digest = hashlib.blake2b(digest_size=16)
    for product in catalogue:
        values = [getattr(product, m) for m in MODALITIES]
        named = [
            os.path.relpath(value, catalogue.folder) if isinstance(value, Path) else value
            for value in values
        ]
        parts = [product.id, product.split, product.category, sorted(product.content.items())]
        digest.update(repr((parts, named)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _make_all(
    maker: ShardMaker, slices: list[tuple[Product, ...]], workers: int
) -> Iterator[ShardRecord]:
    if workers == 1:
        yield from map(maker.make, range(len(slices)), slices)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _start_worker, (maker,))
    try:
        waiting = [pool.submit(_make, number, part) for number, part in enumerate(slices)]
        for done in as_completed(waiting):
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


def _make(number: int, products: tuple[Product, ...]) -> ShardRecord:
    return _makers[0].make(number, products)
