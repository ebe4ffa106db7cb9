"""Search among millions of products from disk: faiss, then the exact cosine of the best.

Q queries, N products, K results, R candidates, D width.

A folder holds `vectors.faiss` (faiss's flat index of float16, exact), `ivfpq.faiss` where the kind
is that, `ids.arrow` and `manifest.json`. All are mapped, not read: a search touches the pages that
it needs.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scale.evaluation.embedding_store import StoreError, sha256
from scale.evaluation.flat_file import import_faiss, map_vectors, single
from scale.evaluation.ranking import top_k, unit
from scale.evaluation.search import Matches

FORMAT = 1
"""Raised when older readers could no longer read a folder."""
MANIFEST, VECTORS, IDS, IVFPQ = "manifest.json", "vectors.faiss", "ids.arrow", "ivfpq.faiss"

VERIFIED_BYTES = 1 << 30
"""An index up to this size is checked against its checksums whenever it is opened."""


@dataclass(frozen=True)
class ProductIndex:
    """An index on disk that can be asked for the products nearest to a query by cosine."""

    folder: Path
    manifest: dict[str, Any]
    emb_ND: NDArray[np.float16]
    """Mapped; unit length but for rounding."""
    ids: list
    """Arrow arrays, mapped: a piece of the embeddings each."""
    starts: NDArray[np.int64]
    """Products before each of `ids`."""
    flat: Any
    """faiss.IndexScalarQuantizer over the same bytes."""
    ivfpq: Any
    """faiss.IndexIVFPQ, or None."""

    @staticmethod
    def open(folder: Path | str, verify: bool = False) -> "ProductIndex":
        """Map an index.

        Args:
            verify: compare all checksums whatever the size; an index under 1 GiB always is.

        Raises:
            StoreError: there is none, or a file of it is missing or damaged.
            ImportError: faiss is missing.
        """
        faiss, folder = import_faiss(), Path(folder)
        manifest = read_manifest(folder)
        _check_files(folder, manifest["files"], verify)
        try:
            flat = faiss.read_index(str(folder / VECTORS), faiss.IO_FLAG_MMAP_IFC)
            ivfpq = (
                faiss.read_index(str(folder / IVFPQ), faiss.IO_FLAG_MMAP)
                if IVFPQ in manifest["files"]
                else None
            )
        except RuntimeError as error:
            raise StoreError(f"{folder}: faiss cannot read it: {error}") from error
        ids = read_ids(folder / IDS)
        starts = np.cumsum([0, *map(len, ids)])
        shape = (manifest["rows"], manifest["width"])
        sizes = {(i.ntotal, i.d) for i in (flat, ivfpq) if i is not None}
        if sizes != {shape} or starts[-1] != shape[0]:
            raise StoreError(f"{folder}: its files do not fit together; build it again")
        emb_ND = map_vectors(folder / VECTORS, *shape)
        return ProductIndex(folder, manifest, emb_ND, ids, starts, flat, ivfpq)

    def __len__(self) -> int:
        return len(self.emb_ND)

    def query(
        self,
        query_QD: NDArray[np.float32],
        k: int = 10,
        probes: int | None = None,
        candidates: int | None = None,
    ) -> Matches:
        """The min(k, N) nearest products of each query; fewer where the lists looked into hold
        fewer: place -1 and score -inf then.

        Args:
            probes: lists of an IVF-PQ index to look into. None: as the index was built.
            candidates: how many of those that IVF-PQ thinks nearest are ranked again by their
                exact cosine; 0: none, scores are then IVF-PQ's. None: as the index was built.

        Raises:
            ValueError: another width than the index's, rows that are not finite, or k < 1.
        """
        if query_QD.ndim != 2 or query_QD.shape[1] != self.emb_ND.shape[1]:
            raise ValueError(
                f"{self.folder}: queries of shape {query_QD.shape} in an index of width "
                f"{self.emb_ND.shape[1]}: it was built from another run"
            )
        if k < 1 or not np.isfinite(query_QD).all():
            raise ValueError(f"k is {k}, or a query is not finite")
        unit_QD = np.ascontiguousarray(unit(query_QD), dtype=np.float32)
        k = min(k, len(self))
        if self.ivfpq is None:
            score_QK, place_QK = self.flat.search(unit_QD, k)
            # Equal scores in the order of the products.
            order_QK = np.lexsort((place_QK, -score_QK), axis=1)
            return self._matches(score_QK, place_QK, order_QK)
        built = self.manifest["settings"]
        candidates = built["candidates"] if candidates is None else candidates
        probes = built["probes"] if probes is None else probes
        score_QR, place_QR = self._ask_lists(unit_QD, max(k, candidates), probes)
        if candidates:
            score_QR = self._exact_scores(unit_QD, place_QR)
        order_QK = np.lexsort((place_QR, -score_QR), axis=1)[:, :k]
        return self._matches(score_QR, place_QR, order_QK)

    def _ask_lists(
        self, unit_QD: NDArray[np.float32], count: int, probes: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """IVF-PQ's own scores and places."""
        faiss = import_faiss()
        if probes < 1:
            raise ValueError(f"{probes} probes; at least 1 list must be looked into")
        asked = faiss.SearchParametersIVF(nprobe=min(probes, self.ivfpq.nlist))
        score_QR, place_QR = self.ivfpq.search(unit_QD, min(count, len(self)), params=asked)
        return np.where(place_QR < 0, -np.inf, score_QR), place_QR

    def _exact_scores(
        self, unit_QD: NDArray[np.float32], place_QR: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Cosine of each query with its candidates; -inf where there is none."""
        score_QR = np.full(place_QR.shape, -np.inf, dtype=np.float32)
        for unit_D, place_R, score_R in zip(unit_QD, place_QR, score_QR, strict=True):
            there_R = place_R >= 0
            score_R[there_R] = self.emb_ND[place_R[there_R]].astype(np.float32) @ unit_D
        return score_QR

    def _matches(
        self,
        score_QR: NDArray[np.float32],
        place_QR: NDArray[np.int64],
        order_QK: NDArray[np.int64],
    ) -> Matches:
        place_QK = np.take_along_axis(place_QR, order_QK, 1)
        score_QK = np.take_along_axis(score_QR, order_QK, 1)
        ids = tuple(tuple(self.id(p) for p in place_K if p >= 0) for place_K in place_QK)
        return Matches(score_QK, place_QK, ids)

    def id(self, place: int) -> str:
        """Id of the product at a place."""
        part = int(np.searchsorted(self.starts, place, side="right")) - 1
        return self.ids[part][int(place - self.starts[part])].as_py()


def exact_search(
    emb_ND: NDArray[np.float16], query_QD: NDArray[np.float32], k: int, block: int = 32_768
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """score_QK and place_QK of the k best by inner product, in blocks of vectors.

    Equal scores come in the order of the vectors. Only one block is held as float32.
    """
    score_QK = np.zeros((len(query_QD), 0), dtype=np.float32)
    place_QK = np.zeros((len(query_QD), 0), dtype=np.int64)
    for first in range(0, len(emb_ND), block):
        score_QB = query_QD @ single(emb_ND[first : first + block]).T
        place_B = np.arange(first, first + score_QB.shape[1])
        if score_QK.shape[1] == k:
            # An equal of the last place comes too late for it; few vectors are above.
            above_B = (score_QB > score_QK[:, -1:]).any(0)
            score_QB, place_B = score_QB[:, above_B], place_B[above_B]
        score_QR = np.concatenate([score_QK, score_QB], axis=1)
        place_QR = np.concatenate([place_QK, np.broadcast_to(place_B, score_QB.shape)], axis=1)
        best_QK = top_k(score_QR, k)
        score_QK = np.take_along_axis(score_QR, best_QK, 1)
        place_QK = np.take_along_axis(place_QR, best_QK, 1)
    return score_QK, place_QK


def read_manifest(folder: Path) -> dict[str, Any]:
    """manifest.json of an index. Raises StoreError where there is none or it is something else."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT or manifest["kind"] not in ("flat", "ivfpq"):
            raise ValueError(f"kind {manifest['kind']}, format {manifest['format']}")
        lacking = {"rows", "width", "made_from", "settings", "files"} - manifest.keys()
        if lacking or not {VECTORS, IDS} <= manifest["files"].keys():
            raise ValueError(f"it lacks {', '.join(sorted(lacking)) or 'files'}")
    except FileNotFoundError as error:
        raise StoreError(f"{path}: no such file; scale index writes it") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path}: not the manifest of an index ({error})") from error
    return manifest


def read_ids(path: Path) -> list:
    """The ids as mapped arrow arrays. Raises StoreError where the file cannot be read."""
    import pyarrow as pa

    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        return [reader.get_batch(i).column(0) for i in range(reader.num_record_batches)]
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path}: cannot be read: {error}") from error


def _check_files(folder: Path, files: dict[str, dict[str, Any]], verify: bool) -> None:
    verify = verify or sum(facts["bytes"] for facts in files.values()) <= VERIFIED_BYTES
    for name, facts in files.items():
        path = folder / name
        if not path.is_file():
            raise StoreError(f"{path}: missing; build the index again")
        if path.stat().st_size != facts["bytes"] or (verify and sha256(path) != facts["sha256"]):
            raise StoreError(f"{path}: damaged (not the SHA-256 of {MANIFEST}); build it again")
