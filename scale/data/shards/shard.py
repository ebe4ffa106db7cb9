"""One shard written: tokens of some products, and the facts about them.

N products of the shard, L length of a sequence, F features of a vector.
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.numpy import load_file, save_file
from transformers import PreTrainedTokenizerBase

from scale.config import Config
from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue
from scale.data.normaliser import Moments, Normaliser
from scale.data.product import Product
from scale.data.reading import ReadTokens, read_tokens
from scale.data.shards.format import (
    HEADER_BYTES,
    LARGEST_SHARD,
    Layout,
    ShardsError,
    checksum,
    header,
)
from scale.data.shards.manifest import FileFacts, Settings, ShardRecord, chunk_name, facts_name
from scale.modalities import CONTINUOUS, MODALITIES

MISSING_LITDATA = "litdata is missing: pip install 'scale-workbench[shards]'"


@dataclass(frozen=True)
class ShardMaker:
    """Makes the shards of a folder, each by itself."""

    folder: Path
    catalogue: Path
    """Folder of the catalogue."""
    config: Config
    tokenizer: PreTrainedTokenizerBase
    cache: Path | None = None
    """Of features; None computes into one that goes when the shard is finished."""
    strict: bool = False

    def make(self, number: int, products: Sequence[Product]) -> ShardRecord:
        """The shard's record; where the shard is finished and intact there is nothing to do.

        What is not finished has names that begin with `.work`; the record is written last.
        """
        target = self.folder / "facts" / f"{number:06d}.json"
        record = ShardRecord.load(target)
        if record is not None and record.products == len(products) and record.intact(self.folder):
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
        sizes = {m: c.values.shape[1] for m, c in read.columns.items() if m in CONTINUOUS}
        layout = Layout(len(self.tokenizer), sizes)
        packed = [pack_product(layout, read, row) for row in range(len(products))]
        index = write_chunk(packed, work, work / "chunk")
        write_facts(read, layout, packed, work / "facts")
        write_moments(read, work / "moments")
        names = {"chunk": chunk_name(number), "facts": facts_name(number),
                 "moments": moments_name(number)}  # fmt: skip
        files = {}
        for made, name in names.items():
            (self.folder / name).parent.mkdir(exist_ok=True)
            files[name] = FileFacts.of((work / made).replace(self.folder / name))
        problems = [asdict(problem) for problem in read.problems]
        return ShardRecord(number, len(products), files, sizes, read.cut, problems, index)

    def _read(self, products: Sequence[Product], work: Path) -> ReadTokens:
        settings = Settings.of(self.config, self.tokenizer)
        return read_tokens(
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


def pack_product(layout: Layout, read: ReadTokens, row: int) -> list[bytes]:
    """The bytes of each modality of a product; b"" where it is absent."""
    parts = []
    for m in MODALITIES:
        column = read.columns.get(m)
        if column is None or not column.length_N[row]:
            parts.append(b"")
            continue
        start = column.start_N[row]
        place = slice(start, start + column.length_N[row])
        entity_L = None if column.entity_T is None else column.entity_T[place]
        parts.append(layout.pack(m, column.values[place], entity_L))
    return parts


def write_chunk(packed: list[list[bytes]], work: Path, target: Path) -> dict[str, Any]:
    """All products as one chunk of litdata; returns what litdata's index says of its format.

    Raises ShardsError where it would be larger than its offsets can say, ImportError without
    litdata.
    """
    try:
        from litdata.streaming.writer import BinaryWriter
    except ImportError as error:
        raise ImportError(MISSING_LITDATA) from error
    size = _chunk_header(len(packed))
    size += sum(HEADER_BYTES + sum(map(len, parts)) for parts in packed)
    if size > LARGEST_SHARD:
        raise ShardsError(
            f"{target}: {size:,} bytes are more than a shard can hold ({LARGEST_SHARD:,}): choose "
            "fewer products per shard"
        )
    writer = BinaryWriter(str(work / "litdata"), chunk_bytes=LARGEST_SHARD)
    for place, parts in enumerate(packed):
        writer.add_item(place, parts)
    (chunk,) = writer.done()
    Path(chunk).replace(target)
    if target.stat().st_size != size:
        raise ShardsError(f"{target}: litdata wrote another format than the one known here")
    return writer.get_config()


def write_facts(read: ReadTokens, layout: Layout, packed: list[list[bytes]], target: Path) -> None:
    """A row per product: id, split, category, first byte, CRC-32, lengths and contents."""
    bytes_NM = np.array([[len(part) for part in parts] for parts in packed], np.int64)
    each_M = np.array([max(1, layout.token_bytes(m)) for m in MODALITIES])
    taken_N = HEADER_BYTES + bytes_NM.sum(1)
    start_N = _chunk_header(len(packed)) + np.cumsum(taken_N) - taken_N
    columns: dict[str, Any] = {
        "id": pa.array([p.id for p in read.products], pa.string()),
        "split": pa.array([p.split for p in read.products], pa.string()),
        "category": pa.array([p.category for p in read.products], pa.string()),
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
    """Bytes of a chunk before its first product."""
    return 4 * (products + 2)


def write_moments(read: ReadTokens, target: Path) -> None:
    """Moments of the training products' vectors: what the normaliser is made of in the end."""
    training_N = np.array([p.split == "train" for p in read.products], bool)
    tensors = {}
    for m, column in read.columns.items():
        moments = Moments.of(column.chunks(training_N)) if column.continuous else None
        if moments is not None:
            tensors |= {f"{m}.count": np.array([moments.count]), f"{m}.mean": moments.mean_F,
                        f"{m}.squares": moments.squares_F}  # fmt: skip
    save_file(tensors, target)


def read_moments(path: Path) -> dict[str, Moments]:
    """Inverse of `write_moments`, by modality."""
    found = load_file(path)
    return {
        m: Moments(int(found[f"{m}.count"][0]), found[f"{m}.mean"], found[f"{m}.squares"])
        for m in CONTINUOUS
        if f"{m}.count" in found
    }


def moments_name(number: int) -> str:
    """Name of the file of a shard's moments."""
    return f"facts/{number:06d}.safetensors"
