"""From finished shards to a folder that can be read: facts of all products, and the manifest.

N products, M modalities (five).
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa

from scale.data.normaliser import Moments, Normaliser
from scale.data.problems import Problem, write_problems
from scale.data.reading import fingerprint
from scale.data.records import SPLITS
from scale.data.shards.format import ShardsError
from scale.data.shards.manifest import (
    FileFacts,
    Manifest,
    Settings,
    ShardRecord,
    chunk_name,
    facts_name,
)
from scale.data.shards.shard import moments_name, read_moments
from scale.files import replacing, write_whole
from scale.modalities import CONTINUOUS, INDEX, MODALITIES

NORMALISER, PROBLEMS = "normaliser.safetensors", "problems.jsonl"
ARRAYS = ("content_NM", "length_NM", "start_N", "crc_N", "split_N")


def finish(
    folder: Path,
    records: Sequence[ShardRecord],
    settings: Settings,
    products_per_shard: int,
    problems: Sequence[Problem] = (),
) -> Manifest:
    """Write what concerns all products, then the manifest.

    Raises ShardsError where shards hold vectors of different sizes, ValueError where no product is
    for training.
    """
    sizes = _common_sizes(records)
    facts = [read_facts(folder / facts_name(record.number)) for record in records]
    arrays = gather_arrays(facts)
    for name, values in arrays.items():
        with replacing(folder / f"{name}.npy") as partial:
            np.save(partial, values, allow_pickle=False)
    splits = {s: int((arrays["split_N"] == i).sum()) for i, s in enumerate(SPLITS)}
    _normaliser(folder, records, splits["train"]).save(folder / NORMALISER)
    found = [*problems, *(Problem(**p) for record in records for p in record.problems)]
    write_problems(found, folder / PROBLEMS)
    _write_litdata_index(folder, records)
    ids = (str(product) for table in facts for product in table["id"])
    present_M = (arrays["content_NM"] >= 0).sum(0)
    names = [*(f"{name}.npy" for name in ARRAYS), NORMALISER, PROBLEMS]
    manifest = Manifest(
        settings=settings,
        products=len(arrays["split_N"]),
        products_per_shard=products_per_shard,
        sizes=sizes,
        present={m: int(present_M[INDEX[m]]) for m in MODALITIES if present_M[INDEX[m]]},
        splits=splits,
        fingerprint=fingerprint(ids, arrays["content_NM"]),
        shards=[{"products": r.products, "files": r.files} for r in records],
        files={name: FileFacts.of(folder / name) for name in names},
        cut=dict(sum((Counter(r.cut) for r in records), Counter())),
        versions={name: version(name) for name in ("scale-workbench", "litdata")},
    )
    manifest.save(folder)
    return manifest


def read_facts(path: Path) -> pa.Table:
    """The facts of a shard's products, mapped from disk. Raises ShardsError."""
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (pa.ArrowException, OSError) as error:
        raise ShardsError(f"{path}: not readable: {error}") from error


def gather_arrays(facts: Sequence[pa.Table]) -> dict[str, np.ndarray]:
    """`ARRAYS` of all products, from the tables of all shards."""

    def column(name: str) -> pa.Array:
        return pa.concat_arrays([chunk for table in facts for chunk in table[name].chunks])

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
    """Numbers by first appearance, -1 where absent."""
    return contents.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)


def _common_sizes(records: Sequence[ShardRecord]) -> dict[str, int]:
    """F by modality that some shard holds."""
    sizes, first = {}, {}
    for record in records:
        for m, size in record.sizes.items():
            if sizes.setdefault(m, size) != size:
                raise ShardsError(
                    f"{m} vectors have size {sizes[m]} in shard {first[m]} and {size} in shard "
                    f"{record.number}: the catalogue mixes sources"
                )
            first.setdefault(m, record.number)
    return {m: sizes[m] for m in CONTINUOUS if m in sizes}


def _normaliser(folder: Path, records: Sequence[ShardRecord], training: int) -> Normaliser:
    if not training:
        raise ValueError("no training product to fit a normaliser on")
    parts: dict[str, list[Moments]] = {}
    for record in records:
        for m, moments in read_moments(folder / moments_name(record.number)).items():
            parts.setdefault(m, []).append(moments)
    return Normaliser.of(parts)


def _write_litdata_index(folder: Path, records: Sequence[ShardRecord]) -> None:
    """index.json: litdata's StreamingDataset opens the folder too."""
    chunks = []
    for record in records:
        name = chunk_name(record.number)
        size = record.files[name].bytes
        chunks.append(
            {"filename": name, "chunk_size": record.products, "chunk_bytes": size, "dim": None}
        )
    index = {"chunks": chunks, "config": records[0].litdata}
    write_whole(folder / "index.json", json.dumps(index, sort_keys=True) + "\n")
