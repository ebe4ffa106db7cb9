"""Nearest-neighbour search by cosine: exact in memory, faiss on disk for millions of products.

Q queries, G gallery items in memory, N products on disk, K results, R candidates, T training
vectors, D width.

An index folder contains `vectors.faiss` (faiss's flat float16 index, exact), `ivfpq.faiss` for that
kind, `ids.arrow` and `manifest.json`. All are memory-mapped: a search touches only the pages that
it needs.
"""

import json
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scale.evaluation.embed import MANIFEST, StoreError, unit
from scale.evaluation.index_settings import IndexSettings
from scale.evaluation.retrieval import BLOCK, top_k
from scale.files import is_plain_name, sha256

Singles = NDArray[np.float32]
Halves = NDArray[np.float16]
Ints = NDArray[np.int64]

FORMAT = 1
"""Version of the index format; raised when older readers cannot read it."""
VECTORS, IDS, IVFPQ = "vectors.faiss", "ids.arrow", "ivfpq.faiss"
VERIFIED_BYTES = 1 << 30
"""An index up to this size is checked against its checksums whenever it is opened."""
NOT_COUNTS = ("kind", "target_recall")
"""Settings that are no integers."""
REQUIRED = {setting.name for setting in fields(IndexSettings)} - {"target_recall"}
"""Settings in a manifest."""
VECTOR_BLOCK = 32_768
"""Vectors that are held as float32 at a time."""


@dataclass(frozen=True)
class Matches:
    """The K nearest items of each query, best first."""

    score_QK: Singles
    """Cosine."""
    place_QK: Ints
    """Row in the gallery."""
    ids: tuple[tuple[str, ...], ...]
    """Ids of the items, per query."""


# ----------------------------------------------------------------------------- search in memory


@dataclass(frozen=True)
class SearchIndex:
    """Exact search in embeddings in memory."""

    ids: tuple[str, ...]
    emb_GD: Singles
    """Unit length."""

    @classmethod
    def build(cls, emb_GD: Singles, ids: Sequence[str]) -> "SearchIndex":
        """Build an index over embeddings of any length (they are normalised).

        Raises:
            ValueError: no rows, rows that are not finite, or another number of ids.
        """
        if emb_GD.ndim != 2 or not len(emb_GD) or len(ids) != len(emb_GD):
            raise ValueError(f"cannot index embeddings of shape {emb_GD.shape} with {len(ids)} ids")
        if not np.isfinite(emb_GD).all():
            raise ValueError("an embedding is not finite")
        return cls(tuple(ids), np.ascontiguousarray(unit(emb_GD), dtype=np.float32))

    def query(self, query_QD: Singles, k: int = 10, places: Ints | None = None) -> Matches:
        """Return the min(k, G) nearest items of each query, ties by place.

        Args:
            places: rows to search among, ascending; None: all.

        Raises:
            ValueError: another width than the gallery's, rows that are not finite, or k < 1.
        """
        if query_QD.ndim != 2 or query_QD.shape[1] != self.emb_GD.shape[1]:
            raise ValueError(f"queries of shape {query_QD.shape} in {self.emb_GD.shape}")
        unit_QD, k = _checked(query_QD, k, len(self.ids) if places is None else len(places))
        block = max(1, BLOCK // max(len(unit_QD), 1))
        score_QK, place_QK = exact_search(self.emb_GD, unit_QD, k, block, places)
        ids = tuple(tuple(self.ids[place] for place in place_K) for place_K in place_QK)
        return Matches(score_QK, place_QK, ids)


# ------------------------------------------------------------------------------- search on disk


@dataclass(frozen=True)
class ProductIndex:
    """Search in an index on disk: faiss, then the exact cosine of the best candidates."""

    folder: Path
    manifest: dict[str, Any]
    emb_ND: Halves
    """Memory-mapped; unit length up to rounding."""
    ids: list
    """Memory-mapped Arrow arrays, one per piece of the embeddings."""
    starts: Ints
    """Number of products before each of `ids`."""
    flat: Any
    """faiss.IndexScalarQuantizer over the same bytes."""
    ivfpq: Any
    """faiss.IndexIVFPQ, or None."""

    @staticmethod
    def open(folder: Path | str, verify: bool = False) -> "ProductIndex":
        """Memory-map an index.

        Args:
            verify: compare all checksums regardless of size; an index under 1 GiB always is.

        Raises:
            StoreError: a file is missing or damaged, or the folder contains no index.
            ImportError: faiss is missing.
        """
        faiss, folder = import_faiss(), _existing(Path(folder))
        manifest = read_manifest(folder)
        _check_files(folder, manifest["files"], verify)
        shape = (manifest["rows"], manifest["width"])
        _check_header(folder / VECTORS, *shape)
        flat = _read_faiss(folder / VECTORS, faiss.IO_FLAG_MMAP_IFC)
        ivfpq = None
        if manifest["kind"] == "ivfpq":
            ivfpq = _read_faiss(folder / IVFPQ, faiss.IO_FLAG_MMAP, manifest["settings"])
            if type(ivfpq) is not faiss.IndexIVFPQ:
                raise StoreError(f"{folder / IVFPQ}: {type(ivfpq).__name__}, not IndexIVFPQ")
        ids = read_ids(folder / IDS, verify or _size(manifest) <= VERIFIED_BYTES)
        starts = np.cumsum([0, *map(len, ids)])
        sizes = {(i.ntotal, i.d) for i in (flat, ivfpq) if i is not None}
        if sizes != {shape} or starts[-1] != shape[0]:
            raise StoreError(f"{folder}: its files do not match; build it again")
        emb_ND = map_vectors(folder / VECTORS, *shape)
        return ProductIndex(folder, manifest, emb_ND, ids, starts, flat, ivfpq)

    def __len__(self) -> int:
        return len(self.emb_ND)

    def query(
        self,
        query_QD: Singles,
        k: int = 10,
        probes: int | None = None,
        candidates: int | None = None,
        places: Ints | None = None,
    ) -> Matches:
        """Return the min(k, N) nearest products of each query.

        If the visited lists contain fewer, the missing ones have place -1 and score -inf.

        Args:
            probes: lists of an IVF-PQ index to visit; None: the index's own setting.
            candidates: products nearest by IVF-PQ that are ranked again by exact cosine; 0: none,
                scores are then those of IVF-PQ. None: the index's own setting.
            places: rows to search among, ascending: exactly, in any kind of index. None: all.

        Raises:
            ValueError: another width than the index's, rows that are not finite, or k < 1.
        """
        if query_QD.ndim != 2 or query_QD.shape[1] != self.emb_ND.shape[1]:
            raise ValueError(
                f"{self.folder}: queries of shape {query_QD.shape} in an index of width "
                f"{self.emb_ND.shape[1]}: it was built from another run"
            )
        unit_QD, k = _checked(query_QD, k, len(self) if places is None else len(places))
        if places is not None:
            score_QR, place_QR = exact_search(self.emb_ND, unit_QD, k, places=places)
        elif self.ivfpq is None:
            score_QR, place_QR = self.flat.search(unit_QD, k)
        else:
            built = self.manifest["settings"]
            candidates = built["candidates"] if candidates is None else candidates
            probes = built["probes"] if probes is None else probes
            score_QR, place_QR = self.search_codes(unit_QD, max(k, candidates), probes)
            if candidates:
                score_QR = self._exact_scores(unit_QD, place_QR)
        score_QK, place_QK = (found[:, :k] for found in _sorted(score_QR, place_QR))
        ids = tuple(tuple(self.id(p) for p in place_K if p >= 0) for place_K in place_QK)
        return Matches(score_QK, place_QK, ids)

    def setting_for(self, target: float) -> tuple[int | None, int | None]:
        """Return probes and candidates of the cheapest measured setting for a target recall@10.

        Raises:
            ValueError: no setting that was measured at the build reaches it.
        """
        if self.ivfpq is None:
            return None, None
        measured = self.manifest.get("recall", [])
        found = cheapest_setting(self.manifest, measured, target)
        if found is None:
            best = max((setting["low"] or 0.0 for setting in measured), default=0.0)
            raise ValueError(
                f"{self.folder}: no measured setting reaches a recall of {target}; the best lower "
                f"end of a 95 % interval is {best:.3f}: build the index with --target-recall, or a "
                "flat one"
            )
        return found

    def cost(self, setting: dict[str, Any]) -> float:
        """Return `search_cost` of a measured setting."""
        return search_cost(self.manifest, setting["probes"] or 0, setting["candidates"] or 0)

    def id(self, place: int) -> str:
        """Return the id of the product at a place."""
        part = int(np.searchsorted(self.starts, place, side="right")) - 1
        return self.ids[part][int(place - self.starts[part])].as_py()

    def places(self, ids: Iterable[str]) -> Ints:
        """Return the places of the products with these ids, ascending; unknown ids are ignored."""
        import pyarrow as pa
        import pyarrow.compute as pc

        wanted = pa.array(ids, pa.string())
        found = [
            np.flatnonzero(pc.is_in(part, value_set=wanted).to_numpy(zero_copy_only=False)) + start
            for part, start in zip(self.ids, self.starts, strict=False)
        ]
        return np.concatenate([np.zeros(0, np.int64), *found]).astype(np.int64)

    def search_codes(self, unit_QD: Singles, count: int, probes: int) -> tuple[Singles, Ints]:
        """Return scores and places of IVF-PQ, best first; place -1 if the lists have fewer."""
        faiss = import_faiss()
        if probes < 1:
            raise ValueError(f"{probes} probes; at least 1 list must be visited")
        settings = faiss.SearchParametersIVF(nprobe=min(probes, self.ivfpq.nlist))
        score_QR, place_QR = self.ivfpq.search(unit_QD, min(count, len(self)), params=settings)
        if (place_QR >= len(self)).any():
            raise StoreError(f"{self.folder / IVFPQ}: it names products that do not exist")
        return _sorted(np.where(place_QR < 0, -np.inf, score_QR), place_QR)

    def _exact_scores(self, unit_QD: Singles, place_QR: Ints) -> Singles:
        """Return the cosine of each query with its candidates; -inf for missing ones."""
        score_QR = np.full(place_QR.shape, -np.inf, dtype=np.float32)
        with (self.folder / VECTORS).open("rb") as file:
            for unit_D, place_R, score_R in zip(unit_QD, place_QR, score_QR, strict=True):
                found_R = np.flatnonzero(place_R >= 0)
                found_R = found_R[np.argsort(place_R[found_R])]
                self._prefetch(file.fileno(), place_R[found_R])
                score_R[found_R] = to_float32(self.emb_ND[place_R[found_R]]) @ unit_D
        return score_QR

    def _prefetch(self, file: int, place_R: Ints) -> None:
        """Read the vectors into the file cache, all at once instead of one page fault at a time."""
        if hasattr(os, "posix_fadvise"):
            size, start = 2 * self.emb_ND.shape[1], self.emb_ND.offset
            for place in place_R.tolist():
                os.posix_fadvise(file, start + place * size, size, os.POSIX_FADV_WILLNEED)


def exact_search(
    emb_ND: Halves | Singles,
    query_QD: Singles,
    k: int,
    block: int = VECTOR_BLOCK,
    places: Ints | None = None,
) -> tuple[Singles, Ints]:
    """Return score_QK and place_QK of the k best by inner product, ties by place.

    Works in blocks of vectors; only one block is held as float32. `places`: rows to search among,
    ascending; None: all.
    """
    score_QK = np.zeros((len(query_QD), 0), dtype=np.float32)
    place_QK = np.zeros((len(query_QD), 0), dtype=np.int64)
    for first in range(0, len(emb_ND if places is None else places), block):
        if places is None:
            place_B = np.arange(first, min(first + block, len(emb_ND)))
            emb_BD = emb_ND[first : first + block]
        else:
            place_B = places[first : first + block]
            emb_BD = emb_ND[place_B]
        score_QB = query_QD @ to_float32(emb_BD).T
        if score_QK.shape[1] == k:
            # Only few vectors are above the last place so far; ties with it have a later place.
            above_B = (score_QB > score_QK[:, -1:]).any(0)
            score_QB, place_B = score_QB[:, above_B], place_B[above_B]
        score_QR = np.concatenate([score_QK, score_QB], axis=1)
        place_QR = np.concatenate([place_QK, np.broadcast_to(place_B, score_QB.shape)], axis=1)
        best_QK = top_k(score_QR, k)
        score_QK = np.take_along_axis(score_QR, best_QK, 1)
        place_QK = np.take_along_axis(place_QR, best_QK, 1)
    return score_QK, place_QK


def search_cost(manifest: dict[str, Any], probes: int, candidates: int) -> float:
    """Return the mean number of bytes that a query of an IVF-PQ index reads: codes and vectors."""
    built = manifest["settings"]
    codes = probes * manifest["rows"] / built["lists"] * (built["code_bytes"] + 8)
    return codes + candidates * 2 * manifest["width"]


def cheapest_setting(
    manifest: dict[str, Any], measured: list[dict[str, Any]], target: float
) -> tuple[int, int] | None:
    """Return probes and candidates of the cheapest setting that reaches a target recall.

    Args:
        measured: measured settings: probes, candidates, and the estimate of their recall.
        target: least lower end of the 95 % interval.
    """
    reaching = [(setting["probes"], setting["candidates"]) for setting in measured
                if setting["low"] is not None and setting["low"] >= target]  # fmt: skip
    return min(reaching, key=lambda counts: search_cost(manifest, *counts), default=None)


def earlier_folder(folder: Path) -> Path:
    """Return the name that an index has while another one replaces it."""
    return folder.with_name(f"{folder.name}.old")


def _existing(folder: Path) -> Path:
    """Return the folder, or the earlier index if a process was killed between two renames."""
    earlier = earlier_folder(folder)
    return earlier if not folder.exists() and (earlier / MANIFEST).is_file() else folder


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read manifest.json of an index. Raises StoreError if it is missing or something else."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT or manifest["kind"] not in ("flat", "ivfpq"):
            raise ValueError(f"kind {manifest['kind']}, format {manifest['format']}")
        lacking = {"rows", "width", "made_from", "settings", "files"} - manifest.keys()
        needed = {VECTORS, IDS} | ({IVFPQ} if manifest["kind"] == "ivfpq" else set())
        lacking |= REQUIRED - manifest["settings"].keys()
        if lacking or not needed <= manifest["files"].keys():
            raise ValueError(f"it lacks {', '.join(sorted(lacking)) or 'files'}")
        IndexSettings(**manifest["settings"])
        numbers = {n: v for n, v in manifest["settings"].items() if n not in NOT_COUNTS}
        if not all(type(v) is int and 0 <= v < 2**40 for v in numbers.values()):
            raise ValueError(f"settings: {numbers}")
        is_ivfpq = manifest["kind"] == "ivfpq"
        if is_ivfpq and not (numbers["lists"] and numbers["code_bytes"]):
            raise ValueError(f"settings: {numbers}")
        for setting in manifest.get("recall", []):
            counts = setting["probes"], setting["candidates"]
            measured = setting["low"] is None or isinstance(setting["low"], (int, float))
            if not measured or (is_ivfpq and not all(type(n) is int and n >= 0 for n in counts)):
                raise ValueError(f"recall: {setting}")
        if not 0 <= manifest.get("target", {}).get("recall", 0) <= 1:
            raise ValueError(f"target: {manifest['target']}")
        for name, facts in manifest["files"].items():
            if (
                not is_plain_name(name)
                or not isinstance(facts["bytes"], int)
                or (not isinstance(facts["sha256"], str))
            ):
                raise ValueError(f"files: {name!r}")
        sizes = manifest["rows"], manifest["width"]
        if not all(type(n) is int and 0 < n < 2**40 for n in sizes):
            raise ValueError(f"rows and width are {sizes}")
        if not isinstance(manifest["made_from"], dict):
            raise ValueError("made_from is not an object")
    except FileNotFoundError as error:
        raise StoreError(f"{path}: no such file; scale index writes it") from error
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"{path}: not the manifest of an index ({error})") from error
    return manifest


def read_ids(path: Path, verify: bool = False) -> list:
    """Return the ids as memory-mapped Arrow arrays. Raises StoreError if unreadable.

    verify: check all offsets and characters, which reads the file.
    """
    import pyarrow as pa

    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        if reader.schema != pa.schema([("id", pa.string())]):
            raise StoreError(f"{path}: not a column of ids")
        batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        for batch in batches:
            batch.validate(full=verify)
        return [batch.column(0) for batch in batches]
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path}: cannot be read: {error}") from error


def _checked(query_QD: Singles, k: int, size: int) -> tuple[Singles, int]:
    """Return unit queries and min(k, size). Raises ValueError for k < 1 or non-finite queries."""
    if k < 1 or not np.isfinite(query_QD).all():
        raise ValueError(f"k is {k}, or a query is not finite")
    return np.ascontiguousarray(unit(query_QD), dtype=np.float32), min(k, size)


def _sorted(score_QR: Singles, place_QR: Ints) -> tuple[Singles, Ints]:
    """Sort by score, best first, ties by place."""
    order_QR = np.lexsort((place_QR, -score_QR), axis=1)
    return np.take_along_axis(score_QR, order_QR, 1), np.take_along_axis(place_QR, order_QR, 1)


def _read_faiss(path: Path, flags: int, settings: dict[str, Any] | None = None) -> Any:
    """Read an index file of faiss. Raises StoreError if it is damaged."""
    faiss, size = import_faiss(), path.stat().st_size
    # faiss refuses an IVF-PQ index if a table of all lists and codes exceeds the limit, although
    # it computes none for inner products. Lists are in the file, so 256 times its size is enough.
    table = 0 if settings is None else settings["lists"] * settings["code_bytes"] * 256 * 4 + 4
    before = faiss.get_deserialization_vector_byte_limit()
    try:
        # A damaged size must not be allocated.
        faiss.set_deserialization_vector_byte_limit(max(size, min(table, 256 * size), 1 << 20))
        return faiss.read_index(str(path), flags)
    except (RuntimeError, MemoryError) as error:
        raise StoreError(f"{path.parent}: faiss cannot read it: {error}") from error
    finally:
        faiss.set_deserialization_vector_byte_limit(before)


def _check_header(path: Path, count: int, width: int) -> None:
    """Raise StoreError unless a flat file is exactly one of this size."""
    header = _header(count, width)
    with path.open("rb") as file:
        same = file.read(len(header)) == header
    if not same or path.stat().st_size != len(header) + 2 * count * width:
        raise StoreError(f"{path}: not a flat index of {count} products of width {width}")


def _size(manifest: dict[str, Any]) -> int:
    return sum(facts["bytes"] for facts in manifest["files"].values())


def _check_files(folder: Path, files: dict[str, dict[str, Any]], verify: bool) -> None:
    verify = verify or _size({"files": files}) <= VERIFIED_BYTES
    for name, facts in files.items():
        path = folder / name
        if not path.is_file():
            raise StoreError(f"{path}: missing; build the index again")
        if path.stat().st_size != facts["bytes"] or (verify and sha256(path) != facts["sha256"]):
            raise StoreError(
                f"{path}: damaged (its SHA-256 differs from {MANIFEST}); build it again"
            )


# -------------------------------------------------------------- faiss's file of a flat fp16 index
# faiss can only write an index that is in memory (9 GB for 6 million products of width 768). Its
# file is a header followed by the vectors, so the header is taken from faiss and the vectors are
# appended one block at a time.

COUNT_OFFSET = 8
"""Position of the number of vectors (int64) in the file."""


def import_faiss() -> Any:
    """Return the module. Raises ImportError that names the extra."""
    try:
        import faiss
    except ImportError as error:
        raise ImportError("faiss is missing: pip install 'scale-workbench[search]'") from error
    return faiss


def write_flat(path: Path, blocks: Iterable[Halves], count: int, width: int) -> None:
    """Write a `faiss.IndexScalarQuantizer` (fp16, inner product) of `count` vectors.

    Raises:
        RuntimeError: this version of faiss writes another format.
        ValueError: the blocks do not contain `count` vectors of `width`.
    """
    written = 0
    with path.open("wb") as file:
        file.write(_header(count, width))
        for block_BD in blocks:
            if block_BD.shape[1] != width:
                raise ValueError(f"vectors of width {block_BD.shape[1]} among those of {width}")
            file.write(to_float16(block_BD))
            written += len(block_BD)
    if written != count:
        raise ValueError(f"{written} vectors, {count} expected")


def map_vectors(path: Path, count: int, width: int) -> Halves:
    """Memory-map the vectors of such a file, read-only."""
    offset = path.stat().st_size - count * width * 2
    return np.memmap(path, dtype="<f2", mode="r", offset=offset, shape=(count, width))


def to_float32(emb_BD: Halves | Singles) -> Singles:
    """Convert to float32, with torch, which is many times faster than numpy here."""
    if emb_BD.dtype == np.float32:
        return emb_BD
    import torch

    return torch.from_numpy(np.array(emb_BD)).float().numpy()


def to_float16(emb_BD: Halves | Singles) -> Halves:
    """Convert to contiguous little-endian float16, float32 with torch as in `to_float32`."""
    if emb_BD.dtype == np.float32:
        import torch

        emb_BD = torch.from_numpy(emb_BD).half().numpy()
    return np.ascontiguousarray(emb_BD, dtype="<f2")


def _header(count: int, width: int) -> bytes:
    """Return the header of an index of one vector, with its counts replaced."""
    faiss = import_faiss()
    one = faiss.IndexScalarQuantizer(
        width, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    vector_1D = np.linspace(-1, 1, width, dtype=np.float32)[None]
    one.add(vector_1D)
    data = faiss.serialize_index(one).tobytes()
    codes = vector_1D.astype("<f2").tobytes()
    header = bytearray(data[: -len(codes)])
    size_offset = len(header) - 8
    (found,) = struct.unpack_from("<q", header, COUNT_OFFSET)
    (size,) = struct.unpack_from("<Q", header, size_offset)
    if not data.endswith(codes) or (found, size) != (1, len(codes)):
        raise RuntimeError(f"faiss {faiss.__version__} writes flat indexes in an unknown format")
    struct.pack_into("<q", header, COUNT_OFFSET, count)
    struct.pack_into("<Q", header, size_offset, count * len(codes))
    return bytes(header)
