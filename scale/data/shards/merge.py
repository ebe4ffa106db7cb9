"""Merge the shards that any number of processes and machines wrote: arrays, normaliser, manifest.

Memory: about 60 bytes per product; the shards' metadata are read one file at a time.

N products, M modalities (five).
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
from safetensors.numpy import load_file

from scale.data.dataset import fingerprint
from scale.data.normaliser import Moments, Normaliser
from scale.data.product import SPLITS
from scale.data.shards.format import (
    ARRAYS,
    NORMALISER,
    PLAN_PROBLEMS,
    PROBLEMS,
    REPAIR,
    FileChecksum,
    Manifest,
    ShardRecord,
    ShardsError,
    TokenSettings,
    chunk_name,
    metadata_name,
    moments_name,
    read_metadata,
    record_name,
)
from scale.data.shards.source import number_values
from scale.files import replacing, write_whole
from scale.modalities import INDEX, MODALITIES

KINDS = {"content_NM": "<i8", "length_NM": "<i4", "start_N": "<u4", "crc_N": "<u4", "split_N": "i1"}
"""Types of `ARRAYS`."""


def missing_shards(folder: Path, shards: int) -> list[int]:
    """Return the numbers of the shards without a record."""
    return [number for number in range(shards) if not (folder / record_name(number)).is_file()]


def merge_shards(
    folder: Path, products: int, settings: TokenSettings, products_per_shard: int
) -> Manifest:
    """Write the files that concern all products, then the manifest.

    Raises ShardsError if a shard is missing or not that of the plan, or vectors have different
    sizes, ValueError if there is no training product.
    """
    records = _read_records(folder, products, products_per_shard)
    shards = len(records)
    sizes = _common_sizes(records)
    _write_arrays(folder, records)
    split_N = np.load(folder / "split_N.npy", allow_pickle=False)
    splits = {s: int((split_N == i).sum()) for i, s in enumerate(SPLITS)}
    _normaliser(folder, shards, splits["train"]).save(folder / NORMALISER)
    _write_problems(folder, shards)
    _write_litdata_index(folder, records)
    content_NM = np.load(folder / "content_NM.npy", mmap_mode="r", allow_pickle=False)
    present_M = (content_NM >= 0).sum(0)
    names = [*(f"{name}.npy" for name in ARRAYS), NORMALISER, PROBLEMS]
    manifest = Manifest(
        settings=settings,
        products=len(split_N),
        products_per_shard=products_per_shard,
        sizes=sizes,
        present={m: int(present_M[INDEX[m]]) for m in MODALITIES if present_M[INDEX[m]]},
        splits=splits,
        fingerprint=fingerprint(_digests(folder, shards)),
        shards=[{"products": r.products, "files": r.files} for r in records],
        files={name: FileChecksum.of(folder / name) for name in names},
        cut=dict(sum((Counter(r.cut) for r in records), Counter())),
        versions={name: version(name) for name in ("scale-workbench", "litdata")},
    )
    manifest.save(folder)
    return manifest


def finished(folder: Path, products: int, products_per_shard: int) -> Manifest | None:
    """Return the manifest if it and the files that concern all products fit the shards."""
    try:
        manifest = Manifest.load(folder)
        for name, known in manifest.files.items():
            known.check(folder / name)
        records = _read_records(folder, products, products_per_shard)
    except ShardsError:
        return None
    files = [shard["files"] for shard in manifest.shards]
    return manifest if files == [record.files for record in records] else None


def _read_records(folder: Path, products: int, products_per_shard: int) -> list[ShardRecord]:
    """Read the records, without problems; check their metadata and the sizes of the shards."""
    shards, records = -(-products // products_per_shard), []
    for number in range(shards):
        record = ShardRecord.load(folder / record_name(number))
        if record is None:
            missing = missing_shards(folder, shards) or [number]
            shown = ", ".join(map(str, missing[:8])) + ", ..." * (len(missing) > 8)
            raise ShardsError(
                f"{folder}: {len(missing)} of {shards} shards are missing ({shown}): write the "
                "parts that contain them"
            )
        expected = number, min(products_per_shard, products - number * products_per_shard)
        if (record.number, record.products) != expected:
            raise ShardsError(
                f"{folder / record_name(number)}: shard {record.number} of {record.products} "
                f"products instead of {expected[0]} of {expected[1]}. {REPAIR}"
            )
        for name, known in record.files.items():
            check = known.check if name.startswith("facts/") else known.check_size
            check(folder / name)
        records.append(replace(record, problems=[]))
    return records


def _tables(folder: Path, shards: int) -> Iterator[pa.Table]:
    """Yield the metadata of the shards, one at a time: open files are limited."""
    return (read_metadata(folder / metadata_name(number)) for number in range(shards))


def _digests(folder: Path, shards: int) -> Iterator[str]:
    return (digest for table in _tables(folder, shards) for digest in table["digest"].to_pylist())


def _write_arrays(folder: Path, records: Sequence[ShardRecord]) -> None:
    """Write `ARRAYS` over all products, from the metadata of the shards."""
    total, at = sum(record.products for record in records), 0
    with ExitStack() as stack:
        arrays = {}
        for name in ARRAYS:
            shape = (total, len(MODALITIES)) if name.endswith("NM") else (total,)
            partial = stack.enter_context(replacing(folder / f"{name}.npy"))
            arrays[name] = np.lib.format.open_memmap(partial, "w+", np.dtype(KINDS[name]), shape)
        for table in _tables(folder, len(records)):
            if "digest" not in table.column_names:
                raise ShardsError(
                    f"{folder}: shards of an earlier version: write them into a new folder"
                )
            rows = slice(at, at + len(table))
            at += len(table)
            for name in ("start", "crc"):
                arrays[f"{name}_N"][rows] = table[name].to_numpy()
            for i, m in enumerate(MODALITIES):
                arrays["length_NM"][rows, i] = table[f"length_{m}"].to_numpy()
            arrays["split_N"][rows] = [SPLITS.index(name) for name in table["split"].to_pylist()]
        for i, m in enumerate(MODALITIES):
            arrays["content_NM"][:, i] = _content_numbers(folder, len(records), m)
        for values in arrays.values():
            values.flush()


def _content_numbers(folder: Path, shards: int, modality: str) -> np.ndarray:
    """Number the contents of a modality by first appearance; -1 where absent."""
    hashes, absent = bytearray(), []
    for table in _tables(folder, shards):
        column = table[f"content_{modality}"]
        for content in column.drop_null().to_pylist():
            hashes += hashlib.blake2b(content.encode(), digest_size=16).digest()
        absent.append(column.is_null().to_numpy())
    absent_N = np.concatenate(absent)
    number_N = np.full(len(absent_N), -1, np.int64)
    number_N[~absent_N] = number_values(np.frombuffer(hashes, "V16"))
    return number_N


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


def _normaliser(folder: Path, shards: int, training: int) -> Normaliser:
    if not training:
        raise ValueError("no training product to fit a normaliser on")
    parts = {m: _read_moments(folder, shards, m) for m in MODALITIES}
    found = {}
    for m, moments in parts.items():
        first = next(moments, None)
        if first is not None:
            found[m] = chain([first], moments)
    return Normaliser.of(found)


def _read_moments(folder: Path, shards: int, modality: str) -> Iterator[Moments]:
    """Yield the moments of a modality in each shard that has it."""
    for number in range(shards):
        found = load_file(folder / moments_name(number))
        if f"{modality}.count" in found:
            yield Moments(int(found[f"{modality}.count"][0]), found[f"{modality}.mean"],
                          found[f"{modality}.squares"])  # fmt: skip


def _write_problems(folder: Path, shards: int) -> None:
    """Write the problems of the records, then those of the media of each shard."""
    with replacing(folder / PROBLEMS) as partial, partial.open("w", encoding="utf-8") as file:
        file.write((folder / PLAN_PROBLEMS).read_text(encoding="utf-8"))
        for number in range(shards):
            record = ShardRecord.load(folder / record_name(number))
            if record is None:
                raise ShardsError(f"{folder / record_name(number)}: missing or damaged. {REPAIR}")
            for problem in record.problems:
                # ASCII only, as in `write_problems`.
                file.write(json.dumps(problem, ensure_ascii=True) + "\n")


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
