"""Speed of writing and reading shards in the paper's shapes, and extrapolation to M5Product.

    python benchmarks/shards.py --out benchmarks/results/shards.json       about 8 minutes
    python benchmarks/shards.py --memory 20000 --out benchmarks/results/shards_memory.json

The peers need an environment of their own (docs/shards.md); litdata belongs to the extra `shards`.

Features are random float16 values in files, as in M5Product, so nothing is decoded. The readers
read the same products, from memory and from disk (after dropping their files from the page cache),
each on one core: this package, litdata and Mosaic streaming in random order, WebDataset, which
reads tar files from the beginning, in the order of the files. `bytes` are those of the products;
`batches` are float32, standardised and padded, made from them by the same code for all readers.
Only this package verifies checksums.
"""

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from random_products import M5PRODUCT, presence

from scale.config import Config, base, tiny
from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue, with_splits
from scale.data.product import Product
from scale.data.shards.format import Manifest, chunk_name, header
from scale.data.shards.reader import ShardDataset, ShardFolder
from scale.data.shards.source import survey_file
from scale.data.shards.writer import write_shards
from scale.data.tokenizer import train_tokenizer
from scale.evaluation.report import provenance, write_json
from scale.modalities import MODALITIES
from scale.training.run import fit_vocabulary, seeded_model
from scale.training.trainer import Trainer

SHAPES = {"image": (36, 2048), "video": (12, 1024), "audio": (100, 80)}
M5_PRODUCTS, H200_PRODUCTS_PER_SECOND = 6_313_067, 3_000
"""Number of products in the paper; estimated training speed of one H200."""
PIECES = [chr(code) for code in range(0x4E00, 0x4E00 + 2000)]


def random_catalogue(folder: Path, missing: str, products: int) -> Catalogue:
    """Write products in the shapes of `base`: one file per feature, full titles and tables."""
    random, present_NM = np.random.default_rng(0), presence(missing, products)
    found = []
    for n in range(products):
        has = {m for m, there in zip(MODALITIES, present_NM[n], strict=True) if there}
        signs = random.choice(PIECES, 34 + 42)
        pairs = [(signs[34 + k] + signs[35 + k], signs[36 + k]) for k in range(0, 36, 3)]
        paths = {}
        for m, shape in SHAPES.items():
            if m in has:
                paths[m] = folder / f"{n:05d}-{m}.npy"
                np.save(paths[m], random.standard_normal(shape, np.float32).astype(np.float16))
        text = "".join(signs[:34]) if "text" in has else None
        table = tuple(pairs) if "table" in has else None
        split = "val" if n % 50 == 0 else "train"
        found.append(Product(id=f"p{n:05d}", text=text, table=table, split=split, **paths))
    return Catalogue(folder, tuple(found))


def paper_config() -> Config:
    """`base` with features from files and a tokenizer trained here (ids also take two bytes)."""
    config = base()
    features = replace(config.features, tokenizer="", audio_features="file")
    return replace(config, features=features)


def per_second(
    products: int,
    work: Callable[[], Any],
    repeats: int = 5,
    before: Callable[[], Any] | None = None,
) -> dict[str, float]:
    """Products per second: median and range, and per second of CPU time (of all threads), which
    depends less on the load of the machine. `before` each repetition, unmeasured."""
    rates, busy = [], []
    for _ in range(repeats):
        if before is not None:
            before()
        started, used = time.perf_counter(), time.process_time()
        work()
        rates.append(products / (time.perf_counter() - started))
        busy.append(products / (time.process_time() - used))
    return {"median": statistics.median(rates), "low": min(rates), "high": max(rates),
            "per_core_second": statistics.median(busy)}  # fmt: skip


def forget_pages(folder: Path) -> None:
    """Drop the files of a folder from the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def pin_threads(cores: set[int]) -> None:
    """Run all threads of this process on some cores."""
    for task in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(task.name), cores)


class PeerFolder:
    """A folder of shards whose bytes another library reads, in the calling thread."""

    def __init__(self, shards: ShardFolder, read: Callable[[np.ndarray], Iterable[bytes]]):
        self.shards, self.read = shards, read

    def __getattr__(self, name: str) -> Any:
        return getattr(self.shards, name)

    def stream(self, numbers_B: np.ndarray, length_BM: np.ndarray) -> Iterable[bytes]:
        """As `ShardFolder.stream`."""
        return self.read(numbers_B)


def litdata_reader(data: ShardDataset, folder: Path) -> Callable[[np.ndarray], Iterable[bytes]]:
    """litdata on the shards themselves."""
    from litdata import StreamingDataset

    streamed = StreamingDataset(str(data.shards.folder), shuffle=False)

    def read(numbers: np.ndarray) -> Iterable[bytes]:
        for number in numbers.tolist():
            parts = streamed[number]
            yield bytearray(header(parts) + b"".join(parts))

    return read


def mosaic_reader(data: ShardDataset, folder: Path) -> Callable[[np.ndarray], Iterable[bytes]]:
    """Mosaic streaming, one field per product."""
    from streaming import MDSWriter, StreamingDataset

    size = (data.shards.folder / chunk_name(0)).stat().st_size
    with MDSWriter(out=str(folder), columns={"product": "bytes"}, size_limit=size) as writer:
        for raw in _products(data):
            writer.write({"product": bytes(raw)})
    streamed = StreamingDataset(local=str(folder), shuffle=False, batch_size=1)
    return lambda numbers: (bytearray(streamed[n]["product"]) for n in numbers.tolist())


def webdataset_reader(data: ShardDataset, folder: Path) -> Callable[[np.ndarray], Iterable[bytes]]:
    """WebDataset, one file per product; always the next products of the tar files."""
    import webdataset

    count = data.shards.manifest.products_per_shard
    with webdataset.ShardWriter(f"file:{folder}/%06d.tar", maxcount=count, verbose=0) as writer:
        for number, raw in enumerate(_products(data)):
            writer.write({"__key__": f"{number:08d}", "product": bytes(raw)})
    tars = [str(path) for path in sorted(folder.glob("*.tar"))]
    found: list[Iterator] = []

    def read(numbers: np.ndarray) -> Iterable[bytes]:
        if numbers[0] == 0:
            found[:] = [iter(webdataset.WebDataset(tars, shardshuffle=False))]
        return (bytearray(next(found[0])["product"]) for _ in numbers)

    return read


PEERS = {
    "litdata": litdata_reader,
    "Mosaic streaming": mosaic_reader,
    "WebDataset": webdataset_reader,
}


def _products(data: ShardDataset) -> Iterator[bytes]:
    for number in range(len(data)):
        yield from data.shards.read(np.array([number]), data.shards.length_NM[[number]])


def read_rates(folder: Path, batch: int, work: Path) -> dict[str, Any]:
    """Products per second by reader, kind of data and source."""
    data = ShardDataset.open(folder)
    random = np.array_split(
        np.random.default_rng(1).permutation(len(data)), max(1, len(data) // batch)
    )
    in_order = np.array_split(np.arange(len(data)), len(random))
    readers: dict[str, tuple[Any, list[np.ndarray], Path]] = {
        "this package": (data.shards, random, folder)
    }
    for name, make in PEERS.items():
        own = work / name.split()[0].lower()
        own.mkdir()
        peer = PeerFolder(data.shards, make(data, own))
        batches, files = (in_order if name == "WebDataset" else random), own
        readers[name] = peer, batches, folder if name == "litdata" else files

    def read_bytes(shards: Any, batches: list[np.ndarray]) -> None:
        for rows in batches:
            deque(shards.stream(rows, data.shards.length_NM[rows]), maxlen=0)

    def make_batches(shards: Any, batches: list[np.ndarray]) -> None:
        own = replace(data, shards=shards)
        for rows in batches:
            own.collate(rows)

    rates, cores = {}, os.sched_getaffinity(0)
    for name, (shards, batches, files) in readers.items():
        for kind, action in {"bytes": read_bytes, "batches": make_batches}.items():
            for source in ("memory", "disk"):

                def once(action=action, shards=shards, batches=batches) -> None:
                    action(shards, batches)

                once()  # Starts the threads.
                before = partial(forget_pages, files) if source == "disk" else None
                pin_threads({min(cores)})
                try:
                    rates[f"{name}: {kind} from {source}, one core"] = per_second(
                        len(data), once, before=before
                    )
                finally:
                    pin_threads(cores)
    rates["this package: batches from memory, all cores"] = per_second(
        len(data), lambda: make_batches(data.shards, random)
    )
    return rates


def measure(missing: str, products: int, batch: int, workers: int) -> dict[str, Any]:
    """Measure writing and reading of one catalogue."""
    with tempfile.TemporaryDirectory() as name:
        folder, out = Path(name) / "catalogue", Path(name) / "shards"
        folder.mkdir()
        catalogue = random_catalogue(folder, missing, products)
        started = time.perf_counter()
        manifest = write_shards(
            catalogue, paper_config(), out, products_per_shard=256, workers=workers, progress=False
        )
        seconds = time.perf_counter() - started
        sizes = _sizes(out, manifest)
        started = time.perf_counter()
        write_shards(catalogue, paper_config(), out, products_per_shard=256, workers=workers,
                     progress=False)  # fmt: skip
        again = time.perf_counter() - started
        return {
            "missing": missing,
            "products": products,
            "batch": batch,
            "workers": workers,
            "write": {"seconds": seconds, "seconds_to_start_and_check": again,
                      "products_per_second_once_begun": products / (seconds - again)},
            "bytes_per_product": sizes,
            "products_per_second": read_rates(out, batch, Path(name)),
        }  # fmt: skip


def _sizes(out: Path, manifest: Manifest) -> dict[str, Any]:
    """Mean bytes per product in the shards and in the other files (`facts`)."""
    each = {m: manifest.layout.token_bytes(m) for m in MODALITIES}
    length_NM = np.load(out / "length_NM.npy", allow_pickle=False)
    shards = sum(path.stat().st_size for path in out.glob("shard-*.bin"))
    everything = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    fixed = sum(path.stat().st_size for path in (out / "facts").glob("*.safetensors"))
    return {
        "shards": shards / len(length_NM),
        "facts": (everything - shards - fixed) / len(length_NM),
        "moments_per_shard": fixed / len(manifest.shards),
        "by_modality": {
            m: float(length_NM[:, i].mean() * each[m]) for i, m in enumerate(MODALITIES)
        },
        "float16_vectors_present": {m: shape[0] * shape[1] * 2 for m, shape in SHAPES.items()},
    }


def training_speed(steps: int = 8) -> dict[str, Any]:
    """Products per second of training and of reading, for the tiny preset on the sample shop."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "shards"
        write_shards("data_samples", tiny(), out, workers=1, cache=FeatureCache(), progress=False)
        data = ShardDataset.open(out)
        config = fit_vocabulary(tiny(), data.tokenizer)
        train = data.subset(data.rows_of("train"))
        trainer = Trainer(config, seeded_model(config), train)
        size, rows = config.train.batch_size, np.random.default_rng(0).permutation(len(train))
        trainer.train_step(0)
        done = iter(range(1, 100))
        trained = per_second(
            size * steps, lambda: [trainer.train_step(next(done)) for _ in range(steps)]
        )
        read = per_second(size * 20, lambda: [train.collate(rows[:size]) for _ in range(20)])
    return {"preset": "tiny", "batch": size, "train": trained, "read": read,
            "times": read["median"] / trained["median"]}  # fmt: skip


def extrapolate(one: dict[str, Any]) -> dict[str, Any]:
    """Extrapolate to M5Product in these shapes: storage, and the needs of one H200."""
    sizes, n = one["bytes_per_product"], M5_PRODUCTS
    total = n * (sizes["shards"] + sizes["facts"])
    written = one["write"]["products_per_second_once_begun"]
    rates = {
        n: r for n, r in one["products_per_second"].items() if n.startswith("this package: batches")
    }
    return {
        "missing": one["missing"],
        "arithmetic": f"{n:,} products x ({sizes['shards']:,.0f} + {sizes['facts']:,.0f}) bytes",
        "terabytes": total / 1e12,
        "one_h200_reads_gigabytes_per_second": H200_PRODUCTS_PER_SECOND * sizes["shards"] / 1e9,
        "one_h200_reads_an_epoch_in_minutes": n / H200_PRODUCTS_PER_SECOND / 60,
        "times_one_h200": {
            n: {
                "this_machine": r["median"] / H200_PRODUCTS_PER_SECOND,
                "sixteen_such_cores": 16 * r["per_core_second"] / H200_PRODUCTS_PER_SECOND,
            }
            for n, r in rates.items()
        },
        "eight_such_cores_read_products_per_second": {
            n: 8 * r["per_core_second"] for n, r in rates.items()
        },
        "this_machine_writes_it_in_hours": n / written / 3600,
    }


def text_catalogue(folder: Path, products: int) -> Path:
    """Write a catalogue with full titles and tables, and a tokenizer for it."""
    random, shop = np.random.default_rng(0), folder / f"catalogue-{products}"
    shop.mkdir()
    first = []
    with (shop / "products.jsonl").open("w", encoding="utf-8") as file:
        for n in range(products):
            signs = random.choice(PIECES, 34 + 42)
            pairs = [[signs[34 + k] + signs[35 + k], signs[36 + k]] for k in range(0, 36, 3)]
            record = {"id": f"product-{n:08d}", "title": "".join(signs[:34]), "table": pairs,
                      "category": f"category {n % 5000}", "split": "train"}  # fmt: skip
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            if n < 200:
                first.append(Product(id="", text=record["title"]))
    train_tokenizer(first, 3000).save_pretrained(folder / "tokenizer")
    return shop


def grown(action: str, shop: Path, folder: Path) -> int:
    """Return the bytes by which an action increases the peak memory of a new process."""
    torch.set_num_threads(1)
    config = base()
    config = replace(
        config,
        features=replace(config.features, tokenizer=str(folder / "tokenizer")),
        model=replace(config.model, modalities=("text", "table")),
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if action == "catalogue in memory":
        kept = with_splits(Catalogue.open(shop))
        assert len(kept)
    elif action == "survey":
        survey_file(shop / "products.jsonl", shop, 1024, strict=False)
    else:
        write_shards(shop, config, folder / f"shards-{shop.name}", workers=1, progress=False)
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def memory(products: int) -> dict[str, Any]:
    """Bytes of memory per product: the growth from `products` to four times as many."""
    found: dict[str, Any] = {"products": [products, 4 * products]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shops = [text_catalogue(folder, n) for n in found["products"]]
        for action in ("catalogue in memory", "survey", "shards, one worker"):
            peaks = []
            for shop in shops:
                with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                    peaks.append(pool.submit(grown, action, shop, folder).result())
            per_product = (peaks[1] - peaks[0]) / (3 * products)
            found[action] = {"peaks": peaks, "bytes_per_product": per_product,
                             "m5product_gigabytes": per_product * M5_PRODUCTS / 1e9}  # fmt: skip
    return found


def main() -> None:
    """Measure, extrapolate and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--products", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--memory", type=int, help="measure memory per product, with this many")
    arguments, started = parser.parse_args(), time.perf_counter()
    load = os.getloadavg()[0]
    if arguments.memory:
        found = memory(arguments.memory)
        write_json(arguments.out, found | {"provenance": provenance(0, started)})
        return
    found = [
        measure(missing, arguments.products, arguments.batch, arguments.workers)
        for missing in ("complete", "m5product")
    ]
    trainer = training_speed() if Path("data_samples").is_dir() else None
    tree = {
        "definition": __doc__.split("\n\n")[3].replace("\n", " "),
        "assumed_shares_of_m5product": M5PRODUCT,
        "measurements": found,
        "projection_to_m5product": [extrapolate(one) for one in found],
        "cpu_trainer": trainer,
        "cores": os.cpu_count(),
        "load_before_and_after": [load, os.getloadavg()[0]],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "provenance": provenance(0, started),
    }
    write_json(arguments.out, tree)


if __name__ == "__main__":
    main()
