"""Speed of writing and reading shards in the paper's shapes, and extrapolation to M5Product.

python benchmarks/shards.py --out benchmarks/results/shards.json

Features are random float16 values in files, as in M5Product, so nothing is decoded. Shards are read
in random order, from memory and from disk (after dropping their pages from the page cache).
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from random_products import M5PRODUCT, presence

from scale.config import Config, base, tiny
from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue
from scale.data.product import Product
from scale.data.shards.format import Manifest
from scale.data.shards.reader import ShardDataset
from scale.data.shards.writer import write_shards
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


def per_second(products: int, work: Callable[[], Any], repeats: int = 5) -> dict[str, float]:
    """Products per second: median and range, and per second of CPU time (of all threads), which
    depends less on the load of the machine."""
    rates, busy = [], []
    for _ in range(repeats):
        started, used = time.perf_counter(), time.process_time()
        work()
        rates.append(products / (time.perf_counter() - started))
        busy.append(products / (time.process_time() - used))
    return {"median": statistics.median(rates), "low": min(rates), "high": max(rates),
            "per_core_second": statistics.median(busy)}  # fmt: skip


def forget_pages(folder: Path) -> None:
    """Drop the shards from the page cache."""
    for path in folder.glob("shard-*.bin"):
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def read_rates(folder: Path, batch: int) -> dict[str, Any]:
    """Products per second by source of the data, number of threads and kind of reading."""
    data = ShardDataset.open(folder)
    order = np.random.default_rng(1).permutation(len(data))
    batches = np.array_split(order, max(1, len(order) // batch))

    def collate() -> None:
        for rows in batches:
            data.collate(rows)

    def from_disk() -> None:
        forget_pages(folder)
        collate()

    def bytes_alone() -> None:
        for rows in batches:
            data.shards.read(rows, data.shards.length_NM[rows])

    cores, rates = torch.get_num_threads(), {}
    collate()
    for threads in sorted({1, cores}):
        torch.set_num_threads(threads)
        name = f"{threads} thread" + "s" * (threads > 1)
        rates[f"batches from memory, {name}"] = per_second(len(data), collate)
        rates[f"batches from disk, {name}"] = per_second(len(data), from_disk)
    rates["checked bytes from memory, 1 thread"] = per_second(len(data), bytes_alone)
    rates["litdata's StreamingDataset, bytes unchecked"] = _litdata_rate(folder, order)
    return rates


def _litdata_rate(folder: Path, order: np.ndarray) -> dict[str, float]:
    from litdata import StreamingDataset

    streamed = StreamingDataset(str(folder), shuffle=False)
    numbers = order.tolist()
    return per_second(len(numbers), lambda: [streamed[number] for number in numbers])


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
            "products_per_second": read_rates(out, batch),
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
    rates = {n: r for n, r in one["products_per_second"].items() if n.startswith("batches")}
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
        "this_machine_writes_it_in_hours": n / written / 3600,
    }


def main() -> None:
    """Measure, extrapolate and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--products", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    arguments, started = parser.parse_args(), time.perf_counter()
    load = os.getloadavg()[0]
    found = [
        measure(missing, arguments.products, arguments.batch, arguments.workers)
        for missing in ("complete", "m5product")
    ]
    trainer = training_speed() if Path("data_samples").is_dir() else None
    tree = {
        "definition": __doc__.split("\n\n")[2].replace("\n", " "),
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
