"""Format of a folder of shards: the bytes of a product, and the manifest of all files.

A shard is a chunk of litdata: the number n of its products, n + 1 offsets, then the products. A
product is five sizes and the bytes of its modalities in the order of MODALITIES; all numbers are
little-endian uint32. A modality that a product lacks has size 0 and no bytes. The manifest records
settings, counts, and a checksum for each file.

B products, L length of a sequence, F features of a vector.
"""

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scale.config import Config, FeatureConfig
from scale.files import write_whole
from scale.modalities import CONTINUOUS, DISCRETE, MODALITIES

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase

FORMAT = 1
"""Version of the format; increased when older code can no longer read a folder."""
MANIFEST, PLAN = "manifest.json", "plan.json"
NORMALISER, PROBLEMS = "normaliser.safetensors", "problems.jsonl"
PLAN_PROBLEMS = "plan-problems.jsonl"
"""Name of the file with the problems of the catalogue's records, without those of media."""
ARRAYS = ("content_NM", "length_NM", "start_N", "crc_N", "split_N")
"""Names of the arrays over all products: part of the format."""
REPAIR = "The same scale shards command rewrites missing and damaged files"
HEADER_BYTES = 4 * len(MODALITIES)
LARGEST_SHARD = (1 << 32) - 1
"""Bytes; offsets have 32 bits."""


class ShardsError(ValueError):
    """Shards that cannot be written or read; the message names the file or product."""


@dataclass(frozen=True)
class Layout:
    """Byte layout of the tokens of each modality.

    Word pieces: ids. Modalities in `sizes`: float16 vectors. Then the entity numbers of a table
    (int16), then the word pieces of vectors of text and table (int32).
    """

    vocab_size: int
    sizes: dict[str, int]
    """F by modality of vectors that some product has."""

    @property
    def id_type(self) -> np.dtype:
        """Type of ids: two bytes if the vocabulary allows it, otherwise four."""
        return np.dtype("<u2" if self.vocab_size <= 1 << 16 else "<u4")

    def token_bytes(self, modality: str) -> int:
        """Return the bytes of one token; 0 for a modality that no product has."""
        numbers = sum(np.dtype(kind).itemsize for kind in self._numbers(modality))
        if modality in self.sizes:
            return 2 * self.sizes[modality] + numbers
        return 0 if modality in CONTINUOUS else self.id_type.itemsize + numbers

    def _numbers(self, modality: str) -> tuple[str, ...]:
        """Return the types of the numbers of each token: table entity, word piece of a vector."""
        entity = ("<i2",) if modality == "table" else ()
        return (*entity, "<i4") if modality in self.sizes and modality in DISCRETE else entity

    def pack(
        self,
        modality: str,
        values: np.ndarray,
        entity_L: np.ndarray | None,
        piece_L: np.ndarray | None = None,
    ) -> bytes:
        """Return the bytes of one sequence: ids_L or feats_LF (float16), entities, word pieces."""
        kind = "<f2" if modality in self.sizes else self.id_type
        numbers = [number_L for number_L in (entity_L, piece_L) if number_L is not None]
        packed = [
            number_L.astype(number)
            for number_L, number in zip(numbers, self._numbers(modality), strict=True)
        ]
        return b"".join(part.tobytes() for part in (values.astype(kind, copy=False), *packed))

    def unpack(
        self, modality: str, raw: bytes | memoryview
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Return values, entities and word pieces: the inverse of `pack`, without a copy."""
        length, size = len(raw) // self.token_bytes(modality), self.sizes.get(modality)
        if size is None:
            values = np.frombuffer(raw, self.id_type, length)
        else:
            values = np.frombuffer(raw, "<f2", length * size).reshape(length, size)
        at, found = values.nbytes, {}
        for kind in self._numbers(modality):
            found[kind] = np.frombuffer(raw, kind, length, at)
            at += found[kind].nbytes
        return values, found.get("<i2"), found.get("<i4")

    def product_bytes(self, length_BM: np.ndarray) -> np.ndarray:
        """Return the bytes of products with these numbers of tokens."""
        each_M = np.array([self.token_bytes(m) for m in MODALITIES], np.int64)
        return HEADER_BYTES + length_BM @ each_M


def header(parts: Sequence[bytes]) -> bytes:
    """Return the sizes of a product's modalities, as litdata writes them before their bytes."""
    return np.array([len(part) for part in parts], "<u4").tobytes()


def checksum(*parts: bytes) -> int:
    """Return the CRC-32 of a product's bytes."""
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return crc


def split_product(product: bytes) -> list[memoryview]:
    """Split a product (header and bytes) into the bytes of each modality, in order.

    Raises ShardsError if the sizes do not add up.
    """
    if len(product) < HEADER_BYTES:
        raise ShardsError(f"{len(product)} bytes are too few for a product")
    sizes = np.frombuffer(product, "<u4", len(MODALITIES)).astype(np.int64)
    edges = [HEADER_BYTES, *(HEADER_BYTES + sizes.cumsum()).tolist()]
    if edges[-1] != len(product):
        raise ShardsError(f"{len(product)} bytes, but the sizes add up to {edges[-1]}")
    view = memoryview(product)
    return [view[a:b] for a, b in pairwise(edges)]


@dataclass(frozen=True)
class TokenSettings:
    """Settings that the tokens of a product depend on, from the config of a run."""

    features: dict[str, Any]
    """The `FeatureConfig` as a dictionary."""
    modalities: tuple[str, ...]
    lengths: dict[str, int]
    """Longest sequence of each continuous modality."""
    tokenizer: str
    """Fingerprint of the tokenizer."""
    vocab_size: int

    @staticmethod
    def of(config: Config, tokenizer: "PreTrainedTokenizerBase") -> "TokenSettings":
        """Return the settings of a run."""
        lengths = {m: config.model.length(m) for m in CONTINUOUS}
        return TokenSettings(
            asdict(config.features),
            tuple(config.model.modalities),
            lengths,
            tokenizer_fingerprint(tokenizer),
            len(tokenizer),
        )

    def differences(self, other: "TokenSettings") -> list[str]:
        """Return the names of settings that differ, as in the config."""
        # Settings added after the shards were written had their defaults; JSON has no tuples.
        mine, others = (
            json.loads(json.dumps(asdict(FeatureConfig()) | each.features))
            for each in (self, other)
        )
        names = sorted(mine.keys() | others.keys())
        changed = [f"features.{n}" for n in names if mine.get(n) != others.get(n)]
        changed += [f"model.{m}_length" for m in CONTINUOUS if self.lengths[m] != other.lengths[m]]
        if tuple(self.modalities) != tuple(other.modalities):
            changed.append("model.modalities")
        if self.tokenizer != other.tokenizer:
            changed.append("the tokenizer")
        return changed


@dataclass(frozen=True)
class FileChecksum:
    """Size and checksum of a file."""

    bytes: int
    blake2b: str

    @staticmethod
    def of(path: Path) -> "FileChecksum":
        """Compute them for an existing file."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
        return FileChecksum(path.stat().st_size, digest.hexdigest())

    def check_size(self, path: Path) -> None:
        """Raise ShardsError if the file is missing or has another size."""
        try:
            found = path.stat().st_size
        except FileNotFoundError as error:
            raise ShardsError(f"{path}: missing. {REPAIR}") from error
        if found != self.bytes:
            raise ShardsError(f"{path}: {found:,} bytes instead of {self.bytes:,}. {REPAIR}")

    def check(self, path: Path) -> None:
        """Raise ShardsError if the file is missing or has another content."""
        self.check_size(path)
        if FileChecksum.of(path) != self:
            raise ShardsError(f"{path}: damaged, the checksum differs. {REPAIR}")


@dataclass(frozen=True)
class ShardRecord:
    """One finished shard."""

    number: int
    products: int
    files: dict[str, FileChecksum]
    """The shard, its metadata and its moments, by name in the folder."""
    sizes: dict[str, int]
    """F by modality of vectors that occurs in it."""
    cut: dict[str, int]
    """Number of media whose vectors were cut, by modality."""
    problems: list[dict[str, Any]]
    litdata: dict[str, Any]
    """Entry of the chunk format in litdata's index."""

    def save(self, path: Path) -> None:
        """Write the record, which marks the shard as finished."""
        write_whole(path, json.dumps(asdict(self)) + "\n")

    @staticmethod
    def load(path: Path) -> "ShardRecord | None":
        """Inverse of `save`; None if the record is absent or damaged."""
        try:
            values = json.loads(path.read_bytes())
            files = {name: FileChecksum(**known) for name, known in values.pop("files").items()}
            return ShardRecord(files=files, **values)
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def is_intact(self, folder: Path) -> bool:
        """Return whether all files of the shard exist unchanged."""
        try:
            for name, checksum in self.files.items():
                checksum.check(folder / name)
        except ShardsError:
            return False
        return True


@dataclass(frozen=True)
class Manifest:
    """Description of a finished folder of shards."""

    settings: TokenSettings
    products: int
    products_per_shard: int
    sizes: dict[str, int]
    """F by modality of vectors that some product has."""
    present: dict[str, int]
    """Number of products by modality; without modalities that no product has."""
    splits: dict[str, int]
    """Number of products of each split."""
    fingerprint: str
    """Equal to `ProductDataset.fingerprint` of the catalogue."""
    shards: list[dict[str, Any]]
    """Number of products and files of each shard."""
    files: dict[str, FileChecksum]
    """Files that concern all products: arrays, normaliser, problems."""
    cut: dict[str, int]
    versions: dict[str, str]
    format: int = FORMAT

    @property
    def layout(self) -> Layout:
        """Byte layout of the products."""
        return Layout(self.settings.vocab_size, self.sizes)

    def save(self, folder: Path) -> None:
        """Write the manifest, which makes the folder readable."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        write_whole(folder / MANIFEST, text + "\n")

    @staticmethod
    def load(folder: Path) -> "Manifest":
        """Inverse of `save`. Raises ShardsError if the manifest is absent or damaged."""
        path = folder / MANIFEST
        try:
            values = json.loads(path.read_bytes())
        except FileNotFoundError as error:
            raise ShardsError(f"{path}: missing; the shards may be unfinished. {REPAIR}") from error
        except ValueError as error:
            raise ShardsError(f"{path}: damaged: {error}. {REPAIR}") from error
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise ShardsError(f"{path}: not a manifest of shards in format {FORMAT}")
        try:
            settings = TokenSettings(**values.pop("settings"))
            # Settings that were added later have their defaults.
            settings = replace(settings, features=asdict(FeatureConfig(**settings.features)))
            files = {n: FileChecksum(**f) for n, f in values.pop("files").items()}
            shards = [
                s | {"files": {n: FileChecksum(**f) for n, f in s["files"].items()}}
                for s in values.pop("shards")
            ]
            return Manifest(settings, files=files, shards=shards, **values)
        except (KeyError, TypeError, AttributeError) as error:
            raise ShardsError(f"{path}: damaged: {error}. {REPAIR}") from error


def is_shards(folder: Path | str) -> bool:
    """Return whether a folder contains shards, finished or not."""
    folder = Path(folder)
    begun = any((folder / name).is_file() for name in (MANIFEST, PLAN))
    return begun and (folder / "facts").is_dir()


def chunk_name(number: int) -> str:
    """Return the file name of a shard."""
    return f"shard-{number:06d}.bin"


def metadata_name(number: int) -> str:
    """Return the name of the file with ids, splits, categories and contents of a shard."""
    return f"facts/{number:06d}.arrow"


def moments_name(number: int) -> str:
    """Return the name of the file with the moments of a shard's vectors."""
    return f"facts/{number:06d}.safetensors"


def record_name(number: int) -> str:
    """Return the name of the file that marks a shard as finished."""
    return f"facts/{number:06d}.json"


def tokenizer_fingerprint(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Return a hash of the word pieces, their ids, the special tokens and the splitting rules."""
    parts = [sorted(tokenizer.get_vocab().items()), sorted(tokenizer.special_tokens_map.items())]
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        inner = json.loads(backend.to_str())
        parts.append([inner.get(part) for part in ("normalizer", "pre_tokenizer", "model")])
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def read_metadata(path: Path) -> "pa.Table":
    """Return ids, splits, categories etc. of a shard's products, memory-mapped.

    Raises ShardsError if the file is not readable.
    """
    import pyarrow as pa

    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (pa.ArrowException, OSError) as error:
        raise ShardsError(f"{path}: not readable: {error}") from error
