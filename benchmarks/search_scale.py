"""Build and search an index of a million products on disk, and extrapolate to 6 million.

    python benchmarks/search_scale.py --folder /tmp/search_scale
    python benchmarks/search_scale.py --table    docs/search_scale.md from the results

Random vectors of width 768 replace embeddings: `clustered` (20,000 centres, each product a centre
plus noise with 0.7 of its length), `crowded` (3,333 centres, so 300 products each, as for 6 million
products with 20,000 centres) and `uniform`, without any structure that an approximate index could
use. Queries are new vectors of the same kind. Writes benchmarks/results/search_scale.json and the
tables between the markers of docs/search_scale.md.
"""

import argparse
import json
import math
import os
import platform
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from scale.evaluation.embed import (
    EmbeddingStore,
    ProductEmbeddings,
    finish_store,
    piece_name,
    unit,
    write_piece,
)
from scale.evaluation.index import (
    IndexSettings,
    ProductIndex,
    build_index,
    exact_search,
    overlap,
    to_float32,
)
from scale.evaluation.report import provenance, write_json
from scale.files import write_whole

ROOT = Path(__file__).parent.parent
OUT = ROOT / "benchmarks" / "results" / "search_scale.json"
PAGE = ROOT / "docs" / "search_scale.md"
BEGIN, END = "<!-- tables: benchmarks/search_scale.py -->", "<!-- end of tables -->"
WIDTH, PIECE, NOISE, K = 768, 8192, 0.7, 10
CENTRES = {"clustered": 20_000, "crowded": 3_333}
QUERIES, ONE_BY_ONE = 500, 100
FEWER = {"lists": 1024, "train_vectors": 64 * 1024}
"""Faster to build, for the data on which only recall is measured."""


def vectors(kind: str, count: int, seed: int) -> np.ndarray:
    """Draw emb_ND of unit length; the centres are the same for every seed."""
    random = np.random.default_rng(seed)
    noise_ND = random.standard_normal((count, WIDTH), dtype=np.float32) / math.sqrt(WIDTH)
    if kind == "uniform":
        return unit(noise_ND)
    centre_CD = centres(CENTRES[kind])
    return unit(centre_CD[random.integers(0, len(centre_CD), count)] + NOISE * noise_ND)


@cache
def centres(count: int) -> np.ndarray:
    """Draw the centres, of unit length."""
    return unit(np.random.default_rng(0).standard_normal((count, WIDTH), dtype=np.float32))


def write_store(kind: str, folder: Path, count: int) -> EmbeddingStore:
    """Write pieces as `scale embed` does."""
    made_from = {"run": f"random {kind}", "piece_size": PIECE}
    for number, first in enumerate(range(0, count, PIECE)):
        size = min(PIECE, count - first)
        emb_ND = vectors(kind, size, 1 + number)
        ids = tuple(f"product-{first + i:08d}" for i in range(size))
        piece = ProductEmbeddings(ids, emb_ND, np.ones((size, 5), bool))
        write_piece(folder / piece_name(number), piece, made_from)
    return finish_store(folder, math.ceil(count / PIECE), made_from, {})


@contextmanager
def peak_memory() -> Iterator[dict[str, float]]:
    """Measure the peak increase of the process's anonymous memory in GiB.

    Mapped files are excluded: the operating system can evict them at any time.
    """
    found, done = {"gib": 0.0}, threading.Event()
    before = _own_memory()

    def sample_memory() -> None:
        while not done.wait(0.02):
            found["gib"] = max(found["gib"], _own_memory() - before)

    thread = threading.Thread(target=sample_memory)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def _own_memory() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 2**20


def search_speed(index: ProductIndex, query_QD: np.ndarray, exact_QK: np.ndarray, **way) -> dict:
    """Measure recall, latency of single queries, and queries per second in one batch."""
    few = query_QD if index.ivfpq is not None else query_QD[:30]
    started = time.perf_counter()
    place_QK = index.query(few, K, **way).place_QK
    together = time.perf_counter() - started
    alone = []
    for query_D in query_QD[: ONE_BY_ONE if index.ivfpq is not None else 30]:
        started = time.perf_counter()
        index.query(query_D[None], K, **way)
        alone.append(1e3 * (time.perf_counter() - started))
    recall_Q = overlap(place_QK, exact_QK[: len(few)])
    return way | {
        "recall@10": float(recall_Q.mean()),
        "recall_standard_error": float(recall_Q.std() / math.sqrt(len(recall_Q))),
        "queries": len(few),
        "queries_per_second": len(few) / together,
        "latency_ms": {
            "median": float(np.median(alone)),
            "p95": float(np.percentile(alone, 95)),
            "n": len(alone),
        },
    }


def cold_query(folder: Path, query_D: np.ndarray) -> float:
    """Measure one query in milliseconds, including opening the index, with an empty file cache."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    started = time.perf_counter()
    ProductIndex.open(folder).query(query_D[None], K)
    return 1e3 * (time.perf_counter() - started)


def measure(kind: str, folder: Path, count: int, which: str, threads: int) -> dict:
    """Build an index over the store in `folder` and measure searches in it."""
    settings = IndexSettings(kind=which, queries=QUERIES, **(FEWER if kind != "clustered" else {}))
    with peak_memory() as peak:
        index = build_index(folder / kind, folder / which, settings)
    query_QD = vectors(kind, QUERIES, 1_000_000)
    started = time.perf_counter()
    exact_QK = exact_search(index.emb_ND, query_QD, K)[1]
    exact_seconds = time.perf_counter() - started
    ways = [{}]
    assign = None
    if which == "ivfpq":
        probes = index.manifest["settings"]["probes"]
        ways = [{"probes": p, "candidates": c}
                for p in (8, probes, 4 * probes) for c in (0, 200, 1000)]  # fmt: skip
        block_BD = to_float32(index.emb_ND[:32_768])
        started = time.perf_counter()
        faiss.downcast_index(index.ivfpq.quantizer).assign(block_BD, 1)
        assign = (time.perf_counter() - started) / len(block_BD)
    searched = [search_speed(index, query_QD, exact_QK, **way) for way in ways]
    manifest = index.manifest
    # Mapped files stay in the cache.
    del index
    facts = {name: manifest[name] for name in ("settings", "seconds", "recall")}
    return {
        "data": kind, "kind": which, "products": count, "width": WIDTH, "threads": threads,
        "bytes": {name: file["bytes"] for name, file in manifest["files"].items()},
        "embedding_bytes": sum(piece.bytes for piece in EmbeddingStore.open(folder / kind).pieces),
        "peak_build_gib": peak["gib"],
        "exact_search_seconds": exact_seconds,
        "assign_seconds_a_vector": assign,
        "cold_query_ms": cold_query(folder / which, query_QD[0]),
        "search": searched,
    } | facts  # fmt: skip


def extrapolate(one: dict, products: int) -> dict:
    """Extrapolate cost and size of an IVF-PQ index of `products`: values and their arithmetic."""
    n, lists = one["products"], one["settings"]["lists"]
    more, seconds = products / n, one["seconds"]
    there = IndexSettings().resolved(products, one["width"])
    lists_more = there.lists / lists
    assigning = one["assign_seconds_a_vector"] * n
    coding = max(0.0, seconds["add"] - assigning)
    codes = n * (there.code_bytes + 8)
    learned = one["peak_build_gib"] * 2**30 - codes
    training_more = there.train_vectors / one["settings"]["train_vectors"]
    default = next(s for s in one["search"] if s["probes"] == one["settings"]["probes"]
                   and s["candidates"] == 200)  # fmt: skip
    return {
        "products": products,
        "lists": there.lists,
        "vectors_seconds": [seconds["vectors"] * more, f"{seconds['vectors']:.0f} s x {more:.3g}"],
        "train_seconds": [
            seconds["train"] * more,
            f"{seconds['train']:.0f} s x {more:.3g} (lists x training vectors grow as N; the codes'"
            " part does not grow, so this is an upper bound)",
        ],
        "add_seconds": [
            assigning * more * lists_more + coding * more,
            f"lists: {assigning:.0f} s x {more:.3g} x {lists_more:.3g}; codes: {coding:.0f} s x "
            f"{more:.3g}",
        ],
        "recall_seconds": [seconds["recall"] * more, f"{seconds['recall']:.0f} s x {more:.3g}"],
        "embedding_bytes": [
            one["embedding_bytes"] * more, f"{one['embedding_bytes'] / 1e9:.2f} GB x {more:.3g}"
        ],
        "index_bytes": [
            sum(one["bytes"].values()) * more + (there.lists - lists * more) * one["width"] * 4,
            f"{sum(one['bytes'].values()) / 1e9:.2f} GB x {more:.3g}, with {there.lists} lists",
        ],
        "build_memory_bytes": [
            learned * training_more + codes * more,
            f"training: {learned / 1e9:.2f} GB x {training_more:.3g}; codes: {codes / 1e9:.2f} GB "
            f"x {more:.3g}",
        ],
        "latency_ms": [
            default["latency_ms"]["median"] * more,
            f"{default['latency_ms']['median']:.1f} ms x {more:.3g} (the codes visited grow "
            "as N at lists / 64 probes; re-ranking does not, so this is an upper bound)",
        ],
    }  # fmt: skip


def write_tables(page: Path, tree: dict[str, Any]) -> None:
    """Write the tables between the page's markers."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    parts = [_searches(tree), _builds(tree), _six_million(tree), _origin(tree)]
    write_whole(page, before + BEGIN + "\n" + "\n\n".join(parts) + "\n" + END + after)


def _searches(tree: dict[str, Any]) -> str:
    rows = [
        "| vectors | index | probes | re-ranked | recall@10 | single query, median (p95) ms | "
        "queries/s, batched |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in tree["measurements"]:
        for way in one["search"]:
            error, alone = way["recall_standard_error"], way["latency_ms"]
            rows.append(
                f"| {one['data']} | {one['kind']} | {way.get('probes', 'all')} | "
                f"{way.get('candidates', '-')} | {way['recall@10']:.3f} ± {1.96 * error:.3f} | "
                f"{alone['median']:.1f} ({alone['p95']:.1f}) | {way['queries_per_second']:,.0f} |"
            )
    return "\n".join(rows)


def _builds(tree: dict[str, Any]) -> str:
    rows = [
        "| vectors | index | lists | build: vectors, train, add, recall (s) | index GB | "
        "peak memory, GiB | first query, cold cache (ms) | load before, after |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in tree["measurements"]:
        seconds = ", ".join(
            f"{one['seconds'][part]:.0f}" if part in one["seconds"] else "-"
            for part in ("vectors", "train", "add", "recall")
        )
        cold = "-" if one["cold_query_ms"] is None else f"{one['cold_query_ms']:.0f}"
        rows.append(
            f"| {one['data']} | {one['kind']} | {one['settings']['lists'] or '-'} | {seconds} | "
            f"{sum(one['bytes'].values()) / 1e9:.2f} | {one['peak_build_gib']:.2f} | "
            f"{cold} | {one['load_before']:.1f}, {one['load_after']:.1f} |"
        )
    return "\n".join(rows)


def _six_million(tree: dict[str, Any]) -> str:
    found = tree["six_million"]
    units = {"seconds": (60, "min"), "bytes": (1e9, "GB"), "ms": (1, "ms")}
    title = f"{found['products']:,} products, {found['lists']:,} lists"
    rows = [f"| {title} | | extrapolation from 1 million |", "|---|---|---|"]
    for name, value in found.items():
        if isinstance(value, list):
            size, unit = units[name.rsplit("_", 1)[1]]
            words = name.rsplit("_", 1)[0].replace("_", " ")
            rows.append(f"| {words} | {value[0] / size:,.1f} {unit} | {value[1]} |")
    return "\n".join(rows)


def _origin(tree: dict[str, Any]) -> str:
    facts, first = tree["provenance"], tree["measurements"][0]
    return (
        f"{first['products']:,} vectors of width {first['width']}, {first['threads']} threads of "
        f"{facts['cores']} cores ({facts['device']}), faiss {facts['versions']['faiss']}, commit "
        f"{facts['commit'][:9]}{' with changes' if facts['dirty'] else ''}, {facts['date']}. "
        "± is 1.96 standard errors over the queries."
    )


def main() -> None:
    """Measure, write the results and the tables, or only write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, help="scratch folder for 5 GB of files")
    parser.add_argument("--table", action="store_true", help="only write the tables of the page")
    parser.add_argument("--products", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--keep-page", action="store_true", help="do not write the tables")
    parser.add_argument("--data", nargs="+", default=["clustered", "crowded", "uniform"])
    parser.add_argument("--add", action="store_true", help="add to the existing results")
    given = parser.parse_args()
    if given.table:
        write_tables(PAGE, json.loads(given.out.read_text(encoding="utf-8")))
        return
    if given.folder is None:
        parser.error("--folder is required")
    started, results = time.perf_counter(), []
    if given.add:
        results = json.loads(given.out.read_text(encoding="utf-8"))["measurements"]
    for kind in given.data:
        if not (given.folder / kind / "manifest.json").is_file():
            begun = time.perf_counter()
            write_store(kind, given.folder / kind, given.products)
            print(f"{kind}: pieces in {time.perf_counter() - begun:.0f} s", flush=True)
        # Time does not depend on the vectors; flat search is exact for all.
        for which in ("ivfpq", "flat") if kind == "clustered" else ("ivfpq",):
            load = os.getloadavg()[0]
            found = measure(kind, given.folder, given.products, which, faiss.omp_get_max_threads())
            found |= {"load_before": load, "load_after": os.getloadavg()[0]}
            results.append(found)
            print(json.dumps(found), flush=True)
            shutil.rmtree(given.folder / which)
            # Results are saved even if a later measurement fails.
            write_json(given.out, _tree(results, started))
        shutil.rmtree(given.folder / kind)
    if not given.keep_page:
        write_tables(PAGE, json.loads(given.out.read_text(encoding="utf-8")))
    print(f"written: {given.out}")


def _tree(results: list[dict], started: float) -> dict:
    facts = provenance(0, started, platform.processor() or platform.machine())
    facts["versions"]["faiss"] = faiss.__version__
    facts |= {"date": datetime.now(UTC).isoformat(timespec="seconds"), "cores": os.cpu_count()}
    return {
        "definition": __doc__.strip(),
        "measurements": results,
        "six_million": extrapolate(results[0], 6_000_000),
        "provenance": facts,
    }


if __name__ == "__main__":
    main()
