"""Build and search an index of 6 million products on disk, and of three kinds of a million.

    python benchmarks/search_scale.py --folder /tmp/search_scale --large 6000000
    python benchmarks/search_scale.py --folder /tmp/search_scale
    python benchmarks/search_scale.py --table    docs/search_scale.md from the results

`--large` needs 11 GB of disk for 6 million products: the vectors are generated into the index, and
no other copy of them exists. When repeated after an interruption, it continues. It has one centre
per 300 products and noise with 0.7 of its length, and chooses probes and candidates by the default
target recall of 0.97.

In all measurements, random vectors of width 768 replace embeddings: `clustered` (20,000 centres,
each product a centre plus noise with 0.7 of its length), `crowded` (3,333 centres, so 300 products
each, as for 6 million products with 20,000 centres) and `uniform`, without any structure that an
approximate index could use. Queries are new vectors of the same kind. Writes
benchmarks/results/search_scale.json and the tables between the markers of docs/search_scale.md.
"""

import argparse
import json
import math
import os
import platform
import shutil
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa

from scale.evaluation.bootstrap import estimate
from scale.evaluation.embed import (
    Block,
    EmbeddingStore,
    PieceFile,
    ProductEmbeddings,
    finish_store,
    piece_name,
    unit,
    write_piece,
)
from scale.evaluation.index import ProductIndex, exact_search, to_float16
from scale.evaluation.index_build import build_index, overlap
from scale.evaluation.index_settings import IndexSettings
from scale.evaluation.index_update import update_index
from scale.evaluation.report import provenance, write_json
from scale.files import write_whole

ROOT = Path(__file__).parent.parent
OUT = ROOT / "benchmarks" / "results" / "search_scale.json"
PAGE = ROOT / "docs" / "search_scale.md"
BEGIN, END = "<!-- tables: benchmarks/search_scale.py -->", "<!-- end of tables -->"
LARGE_BEGIN = "<!-- large: benchmarks/search_scale.py --large -->"
LARGE_END = "<!-- end of large -->"
WIDTH, PIECE, NOISE, K = 768, 8192, 0.7, 10
CENTRES = {"clustered": 20_000, "crowded": 3_333}
QUERIES, ONE_BY_ONE = 500, 100
NEIGHBOURS, LARGE_QUERIES, COLD_QUERIES = 300, 1000, 40
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


def around_centres(number: int, count: int, seed: int) -> np.ndarray:
    """Draw emb_ND of unit length around a number of centres, as `vectors`, in less memory."""
    random = np.random.default_rng(seed)
    emb_ND = random.standard_normal((count, WIDTH), dtype=np.float32)
    emb_ND *= NOISE / math.sqrt(WIDTH)
    emb_ND += centres(number)[random.integers(0, number, count)]
    emb_ND /= np.sqrt(np.einsum("nd,nd->n", emb_ND, emb_ND))[:, None]
    return emb_ND


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


def cold_query(folder: Path, query_D: np.ndarray) -> tuple[float, float]:
    """Measure opening and one query in milliseconds, with no file of the index in the cache."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    started = time.perf_counter()
    index = ProductIndex.open(folder)
    opened = time.perf_counter()
    index.query(query_D[None], K)
    return 1e3 * (opened - started), 1e3 * (time.perf_counter() - opened)


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
    if which == "ivfpq":
        probes = index.manifest["settings"]["probes"]
        ways = [{"probes": p, "candidates": c}
                for p in (8, probes, 4 * probes) for c in (0, 200, 1000)]  # fmt: skip
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
        "cold_query_ms": sum(cold_query(folder / which, query_QD[0])),
        "search": searched,
    } | facts  # fmt: skip


# ------------------------------------------------------------------------------ millions at once


@dataclass(frozen=True)
class GeneratedStore(EmbeddingStore):
    """Embeddings that are drawn when they are read, so that the index is their only copy."""

    @staticmethod
    def of(count: int) -> "GeneratedStore":
        """Return a store of `count` products."""
        sizes = [min(PIECE, count - first) for first in range(0, count, PIECE)]
        pieces = tuple(PieceFile(piece_name(n), size, 0, 0, "") for n, size in enumerate(sizes))
        made_from = {"run": "random crowded", "centres": large_centres(count), "piece_size": PIECE}
        return GeneratedStore(Path("generated"), made_from, WIDTH, pieces)

    def blocks(self) -> Iterator[Block]:
        """Draw the pieces, one by each thread ahead of their use."""
        threads = os.cpu_count() or 1
        with ThreadPoolExecutor(threads) as pool:
            waiting = deque()
            for number in range(len(self.pieces) + threads):
                if number < len(self.pieces):
                    waiting.append(pool.submit(self._draw, number))
                if number >= threads:
                    yield waiting.popleft().result()

    def _draw(self, number: int) -> Block:
        size, first = self.pieces[number].rows, number * PIECE
        emb_ND = around_centres(self.made_from["centres"], size, 1 + number)
        ids = pa.array([f"product-{first + i:08d}" for i in range(size)])
        return Block(first, ids, to_float16(emb_ND))


def large_centres(count: int) -> int:
    """Return one centre per 300 products."""
    return max(1, count // NEIGHBOURS)


def build_large(folder: Path, count: int, target: float) -> dict:
    """Build the index in `folder/large`, or read the measurements of an earlier build."""
    path = folder / "build.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    needed = count * (2 * WIDTH + WIDTH // 8 + 8 + 30) + 1e9
    there = sum(f.stat().st_size for f in folder.glob("large.partial/*"))
    free = shutil.disk_usage(folder).free + there
    if free < needed:
        raise SystemExit(f"{folder}: {free / 1e9:.1f} GB are free, {needed / 1e9:.1f} are needed")
    load, started = os.getloadavg()[0], time.perf_counter()
    settings = IndexSettings(target_recall=target)
    with peak_memory() as peak:
        build_index(GeneratedStore.of(count), folder / "large", settings)
    facts = {
        "wall_seconds": time.perf_counter() - started,
        "peak_gib": peak["gib"],
        "load_before": load,
        "load_after": os.getloadavg()[0],
    }
    write_json(path, facts)
    return facts


def measure_large(folder: Path, count: int, target: float) -> dict:
    """Build an index of `count` products and measure its recall and speed with new queries."""
    built = build_large(folder, count, target)
    index, load = ProductIndex.open(folder / "large"), os.getloadavg()[0]
    query_QD = around_centres(large_centres(count), LARGE_QUERIES, 1_000_000_000)
    started = time.perf_counter()
    exact_QK = exact_search(index.emb_ND, query_QD, K)[1]
    exact_seconds = time.perf_counter() - started
    found_QK, alone = [], []
    for query_D in query_QD:
        started = time.perf_counter()
        found_QK.append(index.query(query_D[None], K).place_QK[0])
        alone.append(1e3 * (time.perf_counter() - started))
    started = time.perf_counter()
    index.query(query_QD, K)
    together = time.perf_counter() - started
    flat = []
    for query_D in query_QD[:3]:
        started = time.perf_counter()
        index.flat.search(query_D[None], K)
        flat.append(1e3 * (time.perf_counter() - started))
    share_Q = overlap(np.stack(found_QK), exact_QK)
    manifest = index.manifest
    facts = {name: manifest[name] for name in ("settings", "seconds", "recall", "target")}
    del index
    cold = [cold_query(folder / "large", query_D) for query_D in query_QD[:COLD_QUERIES]]
    return built | facts | {
        "products": count,
        "centres": large_centres(count),
        "width": WIDTH,
        "threads": faiss.omp_get_max_threads(),
        "bytes": {name: file["bytes"] for name, file in manifest["files"].items()},
        "new_queries": estimate(share_Q).to_dict(),
        "exact_search_seconds": exact_seconds,
        "warm_ms": _percentiles(alone),
        "batch_queries_per_second": len(query_QD) / together,
        "flat_ms": _percentiles(flat),
        "cold_ms": _percentiles([query for _, query in cold]),
        "cold_open_ms": _percentiles([opening for opening, _ in cold]),
        "search_load": [load, os.getloadavg()[0]],
        "addition": add_products(folder, count),
    }  # fmt: skip


def _percentiles(values: list[float]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(values, [50, 95, 99])
    return {"p50": p50, "p95": p95, "p99": p99, "n": len(values)}


def add_products(folder: Path, count: int) -> dict:
    """Add a hundredth of the products, if there is disk for the copy that an update makes."""
    index, more = folder / "large", folder / "more"
    free, needed = (
        shutil.disk_usage(folder).free,
        1.02 * sum(f.stat().st_size for f in index.iterdir()),
    )
    if free < needed + 1e9:
        return {"not_measured": f"{free / 1e9:.1f} GB are free, {needed / 1e9:.1f} are copied"}
    added, store = count // 100, GeneratedStore.of(count)
    emb_ND = around_centres(store.made_from["centres"], added, 2_000_000_000)
    piece = ProductEmbeddings(
        tuple(f"new-{n}" for n in range(added)), emb_ND, np.ones((added, 5), bool)
    )
    write_piece(more / piece_name(0), piece, store.made_from)
    finish_store(more, 1, store.made_from, {})
    started = time.perf_counter()
    changed = update_index(index, more)
    seconds = time.perf_counter() - started
    found = changed.query(emb_ND[:100], 1).place_QK[:, 0]
    return {
        "added": added,
        "wall_seconds": seconds,
        "seconds": changed.manifest["seconds"],
        "target": changed.manifest["target"],
        "found": float((found == count + np.arange(100)).mean()),
    }


def write_tables(page: Path, tree: dict[str, Any]) -> None:
    """Write the tables between the page's markers."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    machine = _machine(tree["measurements"][0], tree["provenance"])
    parts = [_searches(tree), _builds(tree), f"{machine} ± is 1.96 standard errors."]
    text = before + BEGIN + "\n" + "\n\n".join(parts) + "\n" + END + after
    if "large" in tree:
        before, rest = text.split(LARGE_BEGIN)
        after = rest.split(LARGE_END)[1]
        text = f"{before}{LARGE_BEGIN}\n{_large(tree['large'])}\n{LARGE_END}{after}"
    write_whole(page, text)


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
        "| vectors | index | lists | code, bytes | build: vectors, train, add, recall (s) | "
        "index GB | peak memory, GiB | first query, cold cache (ms) | load before, after |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in tree["measurements"]:
        seconds = ", ".join(
            f"{one['seconds'][part]:.0f}" if part in one["seconds"] else "-"
            for part in ("vectors", "train", "add", "recall")
        )
        cold = "-" if one["cold_query_ms"] is None else f"{one['cold_query_ms']:.0f}"
        rows.append(
            f"| {one['data']} | {one['kind']} | {one['settings']['lists'] or '-'} | "
            f"{one['settings']['code_bytes'] or '-'} | {seconds} | "
            f"{sum(one['bytes'].values()) / 1e9:.2f} | {one['peak_build_gib']:.2f} | "
            f"{cold} | {one['load_before']:.1f}, {one['load_after']:.1f} |"
        )
    return "\n".join(rows)


def _large(one: dict[str, Any]) -> str:
    chosen, new, held = one["settings"], one["new_queries"], one["target"]["held_out"]
    parts = ", ".join(f"{name} {value:.0f} s" for name, value in one["seconds"].items())
    files = ", ".join(f"{name} {size / 1e9:.2f} GB" for name, size in one["bytes"].items())
    facts, added = one["provenance"], one["addition"]
    addition = added.get("not_measured") and f"not measured: {added['not_measured']}"
    if addition is None:
        recall = added["target"]["held_out"]["value"]
        addition = (
            f"{added['added']:,} products: {added['wall_seconds']:.0f} s, of which "
            f"{added['seconds']['recall']:.0f} s to measure the recall again, {recall:.3f}"
        )
    rows = [
        f"| {one['products']:,} products, {one['centres']:,} centres | |",
        "|---|---|",
        f"| lists, bytes of a code | {chosen['lists']:,}, {chosen['code_bytes']} |",
        f"| chosen for recall {one['target']['recall']} | probes {chosen['probes']}, candidates "
        f"{chosen['candidates']} |",
        f"| recall@10, new queries | {_interval(new)} |",
        f"| recall@10, products as queries, held out | {_interval(held)} |",
        f"| single query, file cache warm: p50, p95, p99 | {_milliseconds(one['warm_ms'])} |",
        f"| single query, file cache empty | {_milliseconds(one['cold_ms'])} |",
        f"| opening the index, file cache empty | {_milliseconds(one['cold_open_ms'])} |",
        f"| queries in one batch | {one['batch_queries_per_second']:,.0f} per second |",
        f"| exact, single query (faiss flat) | {one['flat_ms']['p50']:,.0f} ms |",
        f"| build | {one['wall_seconds'] / 60:.1f} min: {parts} |",
        f"| peak memory of the build | {one['peak_gib']:.2f} GiB |",
        f"| files | {files} |",
        f"| adding | {addition} |",
        f"| load before and after the build; the searches | {one['load_before']:.1f}, "
        f"{one['load_after']:.1f}; {one['search_load'][0]:.1f}, {one['search_load'][1]:.1f} |",
    ]
    return "\n".join(rows) + "\n\n" + _machine(one, facts)


def _interval(found: dict[str, Any]) -> str:
    return f"{found['value']:.4f} [{found['low']:.4f}, {found['high']:.4f}], n = {found['n']:,}"


def _milliseconds(found: dict[str, float]) -> str:
    return f"{found['p50']:.1f}, {found['p95']:.1f}, {found['p99']:.1f} ms, n = {found['n']:,}"


def _machine(one: dict[str, Any], facts: dict[str, Any]) -> str:
    return (
        f"{one['products']:,} vectors of width {one['width']}, {one['threads']} threads of "
        f"{facts['cores']} cores ({facts['device']}), faiss {facts['versions']['faiss']}, commit "
        f"{facts['commit'][:9]}{' with changes' if facts['dirty'] else ''}, {facts['date']}."
    )


def main() -> None:
    """Measure, write the results and the tables, or only write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, help="scratch folder for 5 or 11 GB of files")
    parser.add_argument("--large", type=int, default=0, help="products of the large index")
    parser.add_argument("--target-recall", type=float, default=0.97, help="of the large index")
    parser.add_argument("--keep-files", action="store_true", help="keep the large index")
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
    earlier = json.loads(given.out.read_text("utf-8")) if given.out.is_file() else {}
    if given.large:
        found = measure_large(given.folder, given.large, given.target_recall)
        found["provenance"] = origin(started)
        write_json(given.out, earlier | {"large": found})
        print(_large(found))
        if not given.keep_files:
            for name in ("large", "more"):
                shutil.rmtree(given.folder / name, ignore_errors=True)
            (given.folder / "build.json").unlink()
        if not given.keep_page:
            write_tables(PAGE, json.loads(given.out.read_text(encoding="utf-8")))
        return
    if given.add:
        results = earlier["measurements"]
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
            tree = {"definition": __doc__.strip(), "measurements": results}
            write_json(given.out, earlier | tree | {"provenance": origin(started)})
        shutil.rmtree(given.folder / kind)
    if not given.keep_page:
        write_tables(PAGE, json.loads(given.out.read_text(encoding="utf-8")))
    print(f"written: {given.out}")


def origin(started: float) -> dict[str, Any]:
    """Return commit, versions, date and machine."""
    facts = provenance(0, started, platform.processor() or platform.machine())
    facts["versions"]["faiss"] = faiss.__version__
    return facts | {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
    }


if __name__ == "__main__":
    main()
