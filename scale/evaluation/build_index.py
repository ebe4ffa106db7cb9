"""From a folder of embeddings to an index on disk, with its recall against exact search.

Q queries, N products, K results, D width, T training vectors.
"""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scale.evaluation.bootstrap import estimate
from scale.evaluation.embedding_store import EmbeddingStore, StoreError, check_ids, sha256
from scale.evaluation.flat_file import import_faiss, map_vectors, single, write_flat
from scale.evaluation.product_index import (
    FORMAT,
    IDS,
    IVFPQ,
    MANIFEST,
    VECTORS,
    ProductIndex,
    exact_search,
    read_ids,
    read_manifest,
)
from scale.evaluation.report import provenance
from scale.files import remove_folder, replacing_folder

BLOCK = 32_768
"""Vectors that are held as float32 at a time."""
LEAST = 256
"""Training vectors that a code of 8 bits needs."""
FLAT_QUERIES = 50
"""At most for a flat index, which reads every vector for every query, and misses none."""
K = 10
RECALL = (
    "recall@10: share of the 10 nearest products of exact search that the index finds, mean over "
    "products drawn as queries, each without itself, with its 95 % interval"
)


@dataclass(frozen=True)
class IndexSettings:
    """How to build an index; 0 chooses by the number of products (see `settled`)."""

    kind: Literal["flat", "ivfpq"] = "ivfpq"
    """flat: exact, every query reads every vector. ivfpq: looks into the nearest lists only."""
    lists: int = 0
    """Lists of ivfpq; 0: 4 sqrt(products), at most products / 39."""
    code_bytes: int = 0
    """Bytes of a product's code; 0: a byte for 12 dimensions (64 at width 768)."""
    train_vectors: int = 0
    """Vectors to learn lists and codes from; 0: 40 for each list."""
    probes: int = 0
    """Lists that a query looks into; 0: lists / 64, at least 8."""
    candidates: int = 200
    """Products of a query that are ranked again by their exact cosine; 0: none."""
    queries: int = 1000
    """Products drawn as queries to measure recall."""
    seed: int = 0
    """Of all that is drawn: training vectors, lists and queries."""

    def settled(self, count: int, width: int) -> "IndexSettings":
        """The same with every 0 decided for N = `count` products of `width`.

        Raises:
            ValueError: a number that cannot be.
        """
        if self.kind not in ("flat", "ivfpq"):
            raise ValueError(f"unknown kind {self.kind!r}; known: flat, ivfpq")
        numbers = asdict(self)
        if min(v for name, v in numbers.items() if name != "kind") < 0:
            raise ValueError(f"negative setting: {numbers}")
        if self.kind == "flat":
            return IndexSettings("flat", candidates=0, queries=self.queries, seed=self.seed)
        if count < LEAST:
            raise ValueError(f"{count} products are too few for ivfpq ({LEAST}): use --kind flat")
        lists = self.lists or max(1, min(round(4 * math.sqrt(count)), count // 39))
        code_bytes = self.code_bytes or _code_bytes(width)
        train = min(count, self.train_vectors or max(40 * lists, 64 * LEAST))
        if width % code_bytes:
            raise ValueError(f"{code_bytes} code bytes do not divide the width {width}")
        if lists > train or train < LEAST:
            raise ValueError(f"{train} training vectors are too few for {lists} lists")
        probes = min(lists, self.probes or max(8, lists // 64))
        return IndexSettings("ivfpq", lists, code_bytes, train, probes, self.candidates,
                             self.queries, self.seed)  # fmt: skip


def build_index(embeddings: Path | str, out: Path | str, settings: IndexSettings) -> ProductIndex:
    """Build an index from a folder that `scale embed` wrote; it appears whole or not at all.

    Memory: one piece and one block of vectors; with IVF-PQ also the training vectors in float32
    and the codes (code_bytes + 8 a product).

    Raises:
        StoreError: the embeddings are damaged or hold an id twice, or `out` is something else.
        ValueError: settings that do not fit.
        ImportError: faiss is missing.
    """
    started, out = time.perf_counter(), Path(out)
    import_faiss()
    store = EmbeddingStore.open(embeddings)
    settings = settings.settled(store.rows, store.width)
    if out.exists():
        if not out.is_dir() or (any(out.iterdir()) and not (out / MANIFEST).is_file()):
            raise StoreError(f"{out}: holds something else than an index: choose another")
        if any(out.iterdir()):
            read_manifest(out)
    old = out.with_name(f"{out.name}.old")
    with replacing_folder(out, old) as fresh:
        seconds = _write_files(store, fresh, settings)
        files = {
            path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)}
            for path in sorted(fresh.iterdir())
        }
        manifest = {
            "format": FORMAT,
            "kind": settings.kind,
            "rows": store.rows,
            "width": store.width,
            "made_from": store.made_from,
            "settings": asdict(settings),
            "files": files,
        }
        _write_manifest(fresh, manifest)
        checked = time.perf_counter()
        recall = measure_recall(ProductIndex.open(fresh), settings.queries, settings.seed)
        seconds["recall"] = round(time.perf_counter() - checked, 3)
        facts = {"definition": RECALL, "recall": recall, "seconds": seconds}
        _write_manifest(fresh, manifest | facts | {"provenance": _provenance(settings, started)})
    remove_folder(old)
    return ProductIndex.open(out)


def measure_recall(index: ProductIndex, queries: int, seed: int = 0) -> list[dict[str, Any]]:
    """Recall@10 of products drawn as queries, at a few numbers of probes.

    Returns:
        One object a way to search: probes, candidates, and the estimate. A flat index has one.
    """
    most = len(index) if index.ivfpq is not None else FLAT_QUERIES
    place_Q = sample(len(index), min(queries, most, len(index)), seed)
    query_QD = single(index.emb_ND[place_Q])
    k = min(K, len(index) - 1)
    if k < 1 or not len(place_Q):
        return []
    exact_QK = _others(exact_search(index.emb_ND, query_QD, k + 1)[1], place_Q)
    if index.ivfpq is None:
        ways = [(None, None)]
    else:
        built = index.manifest["settings"]
        few = {max(1, built["probes"] // 4), built["probes"], built["probes"] * 4}
        probes = sorted(min(p, built["lists"]) for p in few)
        ways = [(p, c) for p in dict.fromkeys(probes)
                for c in dict.fromkeys((0, built["candidates"]))]  # fmt: skip
    found = []
    for probes, candidates in ways:
        place_QK = index.query(query_QD, k + 1, probes, candidates).place_QK
        share_Q = overlap(_others(place_QK, place_Q), exact_QK)
        found.append({"probes": probes, "candidates": candidates}
                     | estimate(share_Q, seed).to_dict())  # fmt: skip
    return found


def overlap(found_QK: NDArray[np.int64], exact_QK: NDArray[np.int64]) -> NDArray[np.float64]:
    """recall_Q: the share of each row of `exact_QK` that the same row of `found_QK` holds."""
    return (exact_QK[:, :, None] == found_QK[:, None, :]).any(2).mean(1)


def sample(count: int, size: int, seed: int) -> NDArray[np.int64]:
    """Places of `size` of `count` products, drawn without repetition, in order."""
    return np.sort(np.random.default_rng(seed).choice(count, size, replace=False))


def _others(place_QK: NDArray[np.int64], own_Q: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each row without the query itself, or without its last place where it is not there."""
    own_QK = place_QK == own_Q[:, None]
    own_QK[~own_QK.any(1), -1] = True
    return place_QK[~own_QK].reshape(len(place_QK), -1)


def _write_files(store: EmbeddingStore, folder: Path, settings: IndexSettings) -> dict[str, float]:
    """The files of the index; returns the seconds of each part."""
    clock = [time.perf_counter()]
    _write_vectors(store, folder)
    check_ids(store, iter(read_ids(folder / IDS)))
    clock.append(time.perf_counter())
    names = ["vectors"]
    if settings.kind == "ivfpq":
        emb_ND = map_vectors(folder / VECTORS, store.rows, store.width)
        _write_ivfpq(emb_ND, folder / IVFPQ, settings, clock)
        names += ["train", "add"]
    return {n: round(b - a, 3) for n, a, b in zip(names, clock, clock[1:], strict=False)}


def _write_vectors(store: EmbeddingStore, folder: Path) -> None:
    """Vectors and ids, piece by piece; each piece is checked against its checksum."""
    import pyarrow as pa

    schema = pa.schema([("id", pa.string())])
    with pa.OSFile(str(folder / IDS), "wb") as file, pa.ipc.new_file(file, schema) as ids:

        def vectors() -> Iterator[NDArray[np.float16]]:
            for block in store.blocks():
                ids.write_batch(pa.record_batch([block.ids], schema))
                yield block.emb_PD

        write_flat(folder / VECTORS, vectors(), store.rows, store.width)


def _write_ivfpq(
    emb_ND: NDArray[np.float16], path: Path, settings: IndexSettings, clock: list[float]
) -> None:
    faiss = import_faiss()
    width = emb_ND.shape[1]
    lists = faiss.IndexFlatIP(width)
    index = faiss.IndexIVFPQ(
        lists, width, settings.lists, settings.code_bytes, 8, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.seed = index.pq.cp.seed = settings.seed + 1
    # Of what is drawn here, all is used.
    index.cp.max_points_per_centroid = settings.train_vectors
    drawn_T = sample(len(emb_ND), settings.train_vectors, settings.seed)
    index.train(single(emb_ND[drawn_T]))
    clock.append(time.perf_counter())
    for first in range(0, len(emb_ND), BLOCK):
        index.add(single(emb_ND[first : first + BLOCK]))
    faiss.write_index(index, str(path))
    clock.append(time.perf_counter())


def _code_bytes(width: int) -> int:
    """A byte for 12 dimensions, at least 8 in all; a divisor of the width."""
    most = max(width // 12, min(width, 8))
    return max(d for d in range(1, most + 1) if width % d == 0)


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    text = json.dumps(manifest, indent=1) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def _provenance(settings: IndexSettings, started: float) -> dict[str, Any]:
    facts = provenance(settings.seed, started)
    facts["versions"]["faiss"] = import_faiss().__version__
    return facts
