"""Build an index on disk, measure its recall, and choose its search settings for a target recall.

N products, Q queries, K results, R candidates, W settings, T training vectors, D width.

While an index `OUT` is built, its files are in `OUT.partial`. After a kill or an error, the same
build continues there with the first part that is not complete.
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scale.evaluation.bootstrap import estimate, estimates
from scale.evaluation.embed import MANIFEST, EmbeddingStore, StoreError, check_ids
from scale.evaluation.index import (
    FORMAT,
    IDS,
    IVFPQ,
    VECTOR_BLOCK,
    VECTORS,
    Halves,
    Ints,
    ProductIndex,
    cheapest_setting,
    earlier_folder,
    exact_search,
    import_faiss,
    map_vectors,
    read_ids,
    read_manifest,
    search_cost,
    to_float32,
    write_flat,
)
from scale.evaluation.index_settings import IndexSettings
from scale.evaluation.report import provenance
from scale.files import locked, remove_folder, replacing_folder, sha256, write_whole

TRAINED, STATE = "trained.faiss", "state.json"
"""In the partial folder: the lists and codes without products; inputs and completed parts."""
FLAT_QUERIES = 50
"""Maximal number of recall queries for a flat index, which is exact and slow to query."""
K = 10
CANDIDATES = (0, 20, 50, 100, 200, 500, 1000, 2000)
"""Numbers of candidates among which a target recall chooses."""
CODE_ITERATIONS, VECTORS_PER_CODE = 10, 64
"""k-means iterations of the codes and training vectors for each of their 256 values."""
RECALL = (
    "recall@10: share of the 10 nearest products of exact search that the index finds, mean over "
    "products drawn as queries, each without itself, with its 95 % interval"
)
TARGET = (
    "the setting that reads the fewest bytes among those whose recall has a lower end of the 95 % "
    "interval of at least the target; `recall` is measured with half of the queries, `held_out` "
    "with the other half"
)


# ------------------------------------------------------------------------------ build an index


def build_index(
    embeddings: Path | str | EmbeddingStore, out: Path | str, settings: IndexSettings
) -> ProductIndex:
    """Build an index atomically from a folder written by `scale embed`.

    Memory: one piece and one block of vectors; with IVF-PQ also the training vectors in float32
    and the codes (code_bytes + 8 per product).

    Interrupted, the same call continues with the first incomplete part: vectors, training of
    lists and codes, codes of all products, or recall.

    Raises:
        StoreError: the embeddings are damaged or repeat an id, or `out` contains something else.
        ValueError: impossible settings, or another process writes to `out`.
        ImportError: faiss is missing.
    """
    started, out = time.perf_counter(), Path(out)
    import_faiss()
    is_open = isinstance(embeddings, EmbeddingStore)
    store = embeddings if is_open else EmbeddingStore.open(embeddings)
    settings = settings.resolved(store.rows, store.width)
    if out.exists():
        if not out.is_dir() or (any(out.iterdir()) and not (out / MANIFEST).is_file()):
            raise StoreError(f"{out}: contains something other than an index: choose another")
        if any(out.iterdir()):
            read_manifest(out)
    with locked(out, beside=True):
        partial, old = out.with_name(f"{out.name}.partial"), earlier_folder(out)
        _refuse_other_files(partial)
        try:
            seconds = _write_files(store, partial, settings)
            with replacing_folder(out, old) as fresh:
                for name in (VECTORS, IDS, IVFPQ):
                    if (partial / name).exists():
                        _link(partial / name, fresh / name)
                manifest = {
                    "format": FORMAT,
                    "kind": settings.kind,
                    "rows": store.rows,
                    "width": store.width,
                    "made_from": store.made_from,
                    "settings": asdict(settings),
                }
                target = manifest["settings"].pop("target_recall")
                finish_index(fresh, manifest, seconds, started, target)
        finally:
            if partial.exists() and not (partial / STATE).is_file():
                remove_folder(partial)
        remove_folder(old)
        remove_folder(partial)
        return ProductIndex.open(out)


def finish_index(
    folder: Path,
    manifest: dict[str, Any],
    seconds: dict[str, float],
    started: float,
    target_recall: float = 0.0,
) -> None:
    """Measure the recall of the index files in a folder and write its manifest.

    Args:
        manifest: kind, rows, width, origin and settings; checksums and recall are added.
        seconds: of the steps before.
        started: `time.perf_counter()` at the start of the build.
        target_recall: chooses probes and candidates of an IVF-PQ index; 0: those of the settings.
    """
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(folder.iterdir())
    }
    settings = IndexSettings(**manifest["settings"])
    manifest = manifest | {"files": files}
    _write_manifest(folder, manifest)
    checked = time.perf_counter()
    index = ProductIndex.open(folder)
    facts: dict[str, Any] = {"definition": RECALL}
    if target_recall and index.ivfpq is not None and len(index) > 1:
        facts |= choose_setting(index, target_recall, settings.queries, settings.seed)
        chosen = {name: facts["target"][name] for name in ("probes", "candidates")}
        facts["settings"] = manifest["settings"] | chosen
    else:
        facts["recall"] = measure_recall(index, settings.queries, settings.seed)
    seconds["recall"] = round(time.perf_counter() - checked, 3)
    source = provenance(settings.seed, started)
    source["versions"]["faiss"] = import_faiss().__version__
    _write_manifest(folder, manifest | facts | {"seconds": seconds, "provenance": source})


def _refuse_other_files(partial: Path) -> None:
    """Raise StoreError if a partial folder contains files that no build has written."""
    own = (VECTORS, IDS, IVFPQ, TRAINED, STATE)
    found = partial.iterdir() if partial.is_dir() else ()
    others = [path for path in found if re.sub(r"^\.\d+\.\d+\.", "", path.name) not in own]
    if others or partial.is_file():
        raise StoreError(f"{partial}: contains something other than an unfinished index: move it")


def _write_files(store: EmbeddingStore, folder: Path, settings: IndexSettings) -> dict[str, float]:
    """Write the files of the index that are not complete; return the seconds of each part."""
    facts = asdict(settings)
    inputs = {
        name: facts[name] for name in ("kind", "lists", "code_bytes", "train_vectors", "seed")
    }
    inputs |= {"made_from": store.made_from, "pieces": [asdict(piece) for piece in store.pieces]}
    inputs = json.loads(json.dumps(inputs | {"faiss": import_faiss().__version__}))
    state: dict[str, Any] = {"inputs": inputs, "seconds": {}}
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError):  # none, or damaged
        earlier = json.loads((folder / STATE).read_bytes())
        if earlier["inputs"] == inputs:
            state["seconds"] = dict(earlier["seconds"])
    if not state["seconds"]:
        remove_folder(folder)
        folder.mkdir(parents=True)

    def write(part: str, files: tuple[str, ...], action: Callable[[], None]) -> None:
        if part in state["seconds"] and all((folder / name).is_file() for name in files):
            return
        begun = time.perf_counter()
        action()
        for name in files:
            with (folder / name).open("rb") as file:
                os.fsync(file.fileno())
        state["seconds"][part] = round(time.perf_counter() - begun, 3)
        write_whole(folder / STATE, json.dumps(state))

    write("vectors", (IDS, VECTORS), lambda: _write_vectors(store, folder))
    if settings.kind == "ivfpq":
        emb_ND = map_vectors(folder / VECTORS, store.rows, store.width)
        write("train", (TRAINED,), lambda: _train(emb_ND, folder / TRAINED, settings))
        write("add", (IVFPQ,), lambda: _add(emb_ND, folder / TRAINED, folder / IVFPQ))
    return state["seconds"]


def _write_vectors(store: EmbeddingStore, folder: Path) -> None:
    """Write vectors and ids piece by piece; each piece is checked against its checksum."""
    import pyarrow as pa

    schema = pa.schema([("id", pa.string())])
    with pa.OSFile(str(folder / IDS), "wb") as file, pa.ipc.new_file(file, schema) as ids:

        def vectors() -> Iterator[Halves]:
            for block in store.blocks():
                ids.write_batch(pa.record_batch([block.ids], schema))
                yield block.emb_PD

        write_flat(folder / VECTORS, vectors(), store.rows, store.width)
    check_ids(store, iter(read_ids(folder / IDS)))


def _train(emb_ND: Halves, path: Path, settings: IndexSettings) -> None:
    """Learn lists and codes from a sample, and write an index without products."""
    faiss = import_faiss()
    width = emb_ND.shape[1]
    lists = faiss.IndexFlatIP(width)
    index = faiss.IndexIVFPQ(
        lists, width, settings.lists, settings.code_bytes, 8, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.seed = index.pq.cp.seed = settings.seed + 1
    # All vectors drawn here are used.
    index.cp.max_points_per_centroid = settings.train_vectors
    index.pq.cp.niter = CODE_ITERATIONS
    index.pq.cp.max_points_per_centroid = VECTORS_PER_CODE
    # Without a warning for each part of the code.
    index.cp.min_points_per_centroid = index.pq.cp.min_points_per_centroid = 1
    drawn_T = sample(len(emb_ND), settings.train_vectors, settings.seed)
    index.train(to_float32(emb_ND[drawn_T]))
    faiss.write_index(index, str(path))


def _add(emb_ND: Halves, trained: Path, path: Path) -> None:
    """Write the index with the codes of all products."""
    faiss = import_faiss()
    index = faiss.read_index(str(trained))
    for first in range(0, len(emb_ND), VECTOR_BLOCK):
        index.add(to_float32(emb_ND[first : first + VECTOR_BLOCK]))
    faiss.write_index(index, str(path))


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or move it on a file system without such links."""
    try:
        os.link(source, target)
    except OSError:
        source.rename(target)


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    text = json.dumps(manifest, indent=1) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


# -------------------------------------------------------------------------------------- recall


def measure_recall(index: ProductIndex, queries: int, seed: int = 0) -> list[dict[str, Any]]:
    """Measure recall@10 with products drawn as queries, at a few numbers of probes.

    Returns:
        One object per search setting: probes, candidates, and the estimate; one for a flat index.
    """
    most = len(index) if index.ivfpq is not None else FLAT_QUERIES
    place_Q, exact_QK = _exact_neighbours(index, min(queries, most), seed)
    if not exact_QK.size:
        return []
    if index.ivfpq is None:
        share_Q = setting_recall(index, place_Q, exact_QK, None, None)
        return [{"probes": None, "candidates": None} | estimate(share_Q, seed).to_dict()]
    built = index.manifest["settings"]
    few = {max(1, built["probes"] // 4), built["probes"], built["probes"] * 4}
    measured = []
    for probes in sorted({min(p, built["lists"]) for p in few}):
        candidates = dict.fromkeys((0, built["candidates"]))
        measured += _recall_by_candidates(index, place_Q, exact_QK, probes, tuple(candidates), seed)
    return measured


def choose_setting(
    index: ProductIndex, target: float, queries: int, seed: int = 0
) -> dict[str, Any]:
    """Choose probes and candidates of an IVF-PQ index for a target recall@10.

    Half of the queries choose: the fewest bytes read (`search_cost`) among the settings whose
    recall has a lower end of the 95 % interval of at least `target`; if there is none, the highest
    lower end. Probes are doubled until more of them alone read more bytes than the choice. The
    other half of the queries measures the choice by the search itself.

    Returns:
        `recall`: one object per setting, as `measure_recall`. `target`: the target, probes,
        candidates, whether it is reached, and the estimate of the held-out queries.
    """
    place_Q, exact_QK = _exact_neighbours(index, queries, seed)
    choosing, held_out = slice(0, None, 2), slice(1, None, 2)
    measured: list[dict[str, Any]] = []
    chosen, probes, lists = None, 1, index.manifest["settings"]["lists"]
    while True:
        measured += _recall_by_candidates(
            index, place_Q[choosing], exact_QK[choosing], probes, CANDIDATES, seed
        )
        chosen = cheapest_setting(index.manifest, measured, target)
        probes = min(2 * probes, lists) if probes < lists else 2 * lists
        is_cheapest = chosen is not None and (
            search_cost(index.manifest, probes, 0) >= search_cost(index.manifest, *chosen)
        )
        if is_cheapest or probes > lists:
            break
    reached = chosen is not None
    if chosen is None:
        best = max(measured, key=lambda setting: (setting["low"], setting["value"]))
        chosen = best["probes"], best["candidates"]
    share_Q = setting_recall(index, place_Q[held_out], exact_QK[held_out], *chosen)
    facts = {"definition": TARGET, "recall": target, "reached": reached}
    facts |= {"probes": chosen[0], "candidates": chosen[1]}
    return {"recall": measured, "target": facts | {"held_out": estimate(share_Q, seed).to_dict()}}


def setting_recall(
    index: ProductIndex, place_Q: Ints, exact_QK: Ints, probes: int | None, candidates: int | None
) -> NDArray[np.float64]:
    """Return the recall of each query by the search itself, without the query."""
    query_QD = to_float32(index.emb_ND[place_Q])
    found = index.query(query_QD, exact_QK.shape[1] + 1, probes, candidates)
    return overlap(_without_query(found.place_QK, place_Q), exact_QK)


def _exact_neighbours(index: ProductIndex, queries: int, seed: int) -> tuple[Ints, Ints]:
    """Draw products as queries; return their places and their K neighbours by exact search."""
    place_Q = sample(len(index), min(queries, len(index)), seed)
    k = min(K, len(index) - 1)
    if k < 1 or not len(place_Q):
        return place_Q, np.zeros((len(place_Q), 0), np.int64)
    found_QK = exact_search(index.emb_ND, to_float32(index.emb_ND[place_Q]), k + 1)[1]
    return place_Q, _without_query(found_QK, place_Q)


def _recall_by_candidates(
    index: ProductIndex,
    place_Q: Ints,
    exact_QK: Ints,
    probes: int,
    candidates: tuple[int, ...],
    seed: int,
) -> list[dict[str, Any]]:
    """Estimate the recall of several numbers of candidates by one search in the codes.

    An exact neighbour among the candidates is among the results, because re-ranking is exact, so
    only its rank by the codes is needed.
    """
    k = exact_QK.shape[1]
    most = min(len(index), max(k + 1, *candidates))
    place_QR = index.search_codes(to_float32(index.emb_ND[place_Q]), most, probes)[1]
    rank_QK = np.full(exact_QK.shape, len(index))
    own_Q = np.full((len(place_Q), 1), len(index))
    for place_R, exact_K, rank_K, own, place in zip(
        place_QR, exact_QK, rank_QK, own_Q, place_Q, strict=True
    ):
        rank = {int(p): r for r, p in enumerate(place_R) if p >= 0}
        rank_K[:] = [rank.get(int(p), len(index)) for p in exact_K]
        own[0] = rank.get(int(place), len(index))
    shares = {}
    for count in candidates:
        # Without candidates, the results are the k best by the codes, without the query.
        found_QK = rank_QK < max(count, k + 1) if count else rank_QK - (own_Q < rank_QK) < k
        shares[count] = found_QK.mean(1)
    estimated = estimates(shares, seed)
    return [{"probes": probes, "candidates": count} | estimated[count].to_dict()
            for count in candidates]  # fmt: skip


def overlap(found_QK: Ints, exact_QK: Ints) -> NDArray[np.float64]:
    """Return recall_Q: the share of each row of `exact_QK` that the row of `found_QK` contains."""
    return (exact_QK[:, :, None] == found_QK[:, None, :]).any(2).mean(1)


def sample(count: int, size: int, seed: int) -> Ints:
    """Draw `size` of `count` places without replacement, sorted."""
    return np.sort(np.random.default_rng(seed).choice(count, size, replace=False))


def _without_query(place_QK: Ints, own_Q: Ints) -> Ints:
    """Remove the query itself from each row, or the last place if it is not in the row."""
    own_QK = place_QK == own_Q[:, None]
    own_QK[~own_QK.any(1), -1] = True
    return place_QK[~own_QK].reshape(len(place_QK), -1)
