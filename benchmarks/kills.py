"""SIGKILL at random points of every long operation, then the same command again.

    python benchmarks/kills.py --count 200 --seed 0 --out runs/kills.json

Operations (OPERATIONS): importing a CSV file, caching features, writing shards, training, embedding
into pieces, building an index, adding to and removing from an index; on a catalogue of seconds. A
trial kills a process at a random time or before a random file operation in its output folder, one
to three times, and then runs the same command to its end. The files must equal those of an
uninterrupted run byte by byte; of JSON files, the values that are measured (MEASURED) are left out.
An index that is changed must be the old or the new one after each kill. A trial is a function of
(operation, seed, number), up to the speed of the machine.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # Forks inherit no threads.

import argparse
import hashlib
import json
import logging
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import scale
from scale import cli
from scale.config import micro
from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue
from scale.data.shards.writer import write_shards
from scale.evaluation.embed import StoreError
from scale.evaluation.index import ProductIndex
from scale.evaluation.index_build import build_index
from scale.evaluation.index_settings import IndexSettings
from scale.evaluation.index_update import update_index
from scale.inference.embedding import embed_pieces

MEASURED = {"seconds", "time", "provenance", "created", "products_per_second", "memory_gb", "host"}
"""Keys of JSON files whose values differ between uninterrupted runs, too."""
PRODUCTS = 40
STEPS = 12


@dataclass(frozen=True)
class Operation:
    """An operation that writes a folder, and is continued by the same call."""

    name: str
    run: Callable[[Path], Any]
    prepare: Callable[[Path], Any] = lambda out: None
    """Write what is there before the operation."""
    check: Callable[[Path], None] = lambda out: None
    """Check the folder after a kill; raise AssertionError if something is lost."""


@dataclass
class Tally:
    """Outcomes of an operation's trials."""

    counts: Counter = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


# ---------------------------------------------------------------------------------- operations


def make_shop(folder: Path) -> None:
    """Write a CSV file with pictures, and the catalogue of it."""
    draw = np.random.default_rng(0)
    (folder / "media").mkdir(parents=True)
    rows = ["id,title,category,split,price,image"]
    for n in range(PRODUCTS):
        pixels = draw.integers(0, 255, (24, 24, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "media" / f"{n}.png")
        split = ("train", "train", "train", "val", "test")[n % 5]
        rows.append(f"p{n},{['red', 'blue'][n % 2]} thing {n},c{n % 3},{split},{n},{n}.png")
    (folder / "shop.csv").write_text("\n".join(rows) + "\n")
    import_shop(folder, folder / "shop")


def import_shop(folder: Path, out: Path) -> None:
    """Run `scale import`."""
    arguments = ["import", folder / "shop.csv", "--images", folder / "media", "--out", out]
    if cli.main(list(map(str, arguments))):
        raise RuntimeError("scale import failed")


def settings() -> Any:
    """Return the settings of the training."""
    return micro().with_features(image_size=16, patch_size=8)


def operations(folder: Path) -> list[Operation]:
    """Write the inputs of all operations; return these."""
    make_shop(folder)
    shop, cache = folder / "shop", folder / "cache"
    catalogue = Catalogue.open(shop)
    os.environ["SCALE_CACHE"] = str(cache)

    def train(out: Path, steps: int = STEPS) -> Any:
        return scale.pretrain(
            shop, preset=settings(), out=out, steps=steps, batch_size=8, eval_every=4, log_every=2,
            checkpoint_every=3, keep_every=6, resume=True, progress=False, device="cpu",
        )  # fmt: skip

    run = train(folder / "run")
    store, more = folder / "vectors", folder / "more"
    embed_pieces(run, shop, store, piece_size=25, progress=False)
    (folder / "second").mkdir()
    lines = "".join(json.dumps({"id": f"n{n}", "title": f"new {n}"}) + "\n" for n in range(9))
    (folder / "second" / "products.jsonl").write_text(lines)
    embed_pieces(run, folder / "second", more, progress=False)
    index = folder / "index"
    build_index(store, index, IndexSettings("flat", queries=5))
    changed = shutil.copytree(index, folder / "changed")
    update_index(changed, more, ["p3", "p7"])

    def features(out: Path) -> None:
        run.dataset(catalogue, cache=FeatureCache(out), strict=True)

    def shards(out: Path) -> None:
        write_shards(shop, settings(), out, products_per_shard=8, workers=1)

    def change(out: Path) -> None:
        if len(ProductIndex.open(out)) != PRODUCTS + 7:
            update_index(out, more, ["p3", "p7"])

    def old_or_new(out: Path) -> None:
        expected = {PRODUCTS: index, PRODUCTS + 7: changed}
        found = ProductIndex.open(out, verify=True)
        assert found.manifest["files"] == _files(expected[len(found)]), "neither old nor new"

    def readable(out: Path) -> None:
        """An index is absent or complete."""
        try:
            ProductIndex.open(out, verify=True)
        except StoreError:
            assert not out.exists(), "an incomplete index"

    return [
        Operation("import", lambda out: None if _done(out) else import_shop(folder, out)),
        Operation("features", features),
        Operation("shards", shards),
        Operation("training", train),
        Operation("embedding", lambda out: embed_pieces(run, shop, out, piece_size=4,
                                                        progress=False)),
        Operation("index", lambda out: build_index(store, out, IndexSettings("flat", queries=5)),
                  check=readable),
        Operation("index, changed", change, lambda out: shutil.copytree(index, out), old_or_new),
    ]  # fmt: skip


def _done(out: Path) -> bool:
    """Return whether an import has finished: its last file exists."""
    return (out / "products.jsonl").is_file()


def _files(index: Path) -> dict:
    return json.loads((index / "manifest.json").read_text())["files"]


# -------------------------------------------------------------------------------------- trials


def digests(folder: Path) -> dict[str, str]:
    """Return a hash by file, without measured values and without leftovers of killed processes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and not is_leftover(name):
            found[name] = hashlib.blake2b(_content(path), digest_size=8).hexdigest()
    return found


def is_leftover(name: str) -> bool:
    """Return whether a file is a temporary one that a kill can leave behind, or of TensorBoard."""
    parts = Path(name).parts
    if parts[0] == "tensorboard":
        return True
    endings = (".new", ".old", ".gone", ".partial")
    return any(p.startswith(".") or p.endswith(endings) for p in parts)


def _content(path: Path) -> bytes:
    if path.suffix == ".json":
        return json.dumps(_without_measured(json.loads(path.read_text())), sort_keys=True).encode()
    if path.suffix == ".jsonl":
        lines = [_without_measured(json.loads(line)) for line in path.read_text().splitlines()]
        return json.dumps(lines, sort_keys=True).encode()
    if path.name == "SHA256SUMS":
        return b""  # The files themselves are compared.
    return path.read_bytes()


def _without_measured(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_measured(v) for k, v in value.items() if k not in MEASURED}
    return [_without_measured(v) for v in value] if isinstance(value, list) else value


def in_fork(work: Callable[[], Any], kill_after: float | None = None) -> int:
    """Run a function in a fork, killed after some seconds; return the exit status."""
    child = os.fork()
    if not child:
        code = 1
        try:
            logging.disable()
            with Path(os.devnull).open("w") as null, redirect_stderr(null):
                os.dup2(null.fileno(), 1)
                work()
            code = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.__stderr__, flush=True)
        finally:
            os._exit(code)
    timer = threading.Timer(kill_after or 0, os.kill, (child, signal.SIGKILL))
    if kill_after is not None:
        timer.start()
    _, status = os.waitpid(child, 0)
    timer.cancel()
    return status


def count_file_operations(folder: Path, at: Callable[[int], None]) -> None:
    """Call `at` with the number of each file operation of this process in a folder."""
    count = 0

    def watch(event: str, arguments: tuple) -> None:
        nonlocal count
        if event.split(".")[0] in ("open", "os", "shutil") and str(folder) in str(arguments):
            count += 1
            at(count)

    sys.addaudithook(watch)


def measure(operation: Operation, folder: Path) -> tuple[float, int]:
    """Run an operation in a fork; return its seconds and its number of file operations."""
    out, log = folder / "reference", folder / "operations"
    operation.prepare(out)
    started = time.perf_counter()
    assert in_fork(lambda: operation.run(out)) == 0
    seconds = time.perf_counter() - started
    again = folder / "again"
    operation.prepare(again)
    file = log.open("wb", buffering=0)

    def counted() -> None:
        count_file_operations(again, lambda n: file.write(b"."))
        operation.run(again)

    assert in_fork(counted) == 0
    differ = {n for n, d in digests(out).items() if digests(again).get(n) != d}
    assert digests(out) == digests(again), f"{operation.name}: not deterministic: {differ}"
    return seconds, log.stat().st_size


def trial(
    operation: Operation, out: Path, draw: random.Random, seconds: float, operations: int
) -> Counter:
    """Kill an operation one to three times and finish it; return the counts of the kills."""
    counts: Counter = Counter()
    operation.prepare(out)
    for _ in range(draw.choice((1, 1, 2, 3))):
        if draw.random() < 0.5:
            status = in_fork(lambda: operation.run(out), kill_after=draw.uniform(0, seconds))
        else:
            number = draw.randint(1, operations)

            def killed(number: int = number) -> None:
                count_file_operations(
                    out, lambda n: os.kill(os.getpid(), signal.SIGKILL) if n == number else None
                )
                operation.run(out)

            status = in_fork(killed)
        if os.WIFSIGNALED(status):
            counts["killed"] += 1
        else:
            counts["finished before"] += 1
            assert status == 0, "the command failed after a kill"
        operation.check(out)
    assert in_fork(lambda: operation.run(out)) == 0, "the command failed after a kill"
    return counts


def campaign(folder: Path, count: int, seed: int) -> dict[str, Tally]:
    """Run `count` trials, spread over the operations."""
    known = operations(folder / "inputs")
    found = {}
    for operation in known:
        place = folder / operation.name
        place.mkdir()
        seconds, number = measure(operation, place)
        expected, tally = digests(place / "reference"), Tally()
        for trial_number in range(-(-count // len(known))):
            out = place / f"trial {trial_number}"
            draw = random.Random(f"{operation.name} {seed} {trial_number}")
            try:
                tally.counts.update(trial(operation, out, draw, seconds, number))
                got = digests(out)
                differ = {n for n in {*expected, *got} if expected.get(n) != got.get(n)}
                assert not differ, f"differs: {sorted(differ)[:5]}"
                tally.counts["equal"] += 1
            except Exception as error:
                kind = type(error).__name__
                tally.faults.append(f"{operation.name} {trial_number}: {kind}: {error}")
            tally.counts["trials"] += 1
            shutil.rmtree(out, ignore_errors=True)
        found[operation.name] = tally
        counts = ", ".join(f"{name} {n}" for name, n in sorted(tally.counts.items()))
        print(f"{operation.name} ({seconds:.1f} s, {number} file operations): {counts}", flush=True)
    return found


def main() -> int:
    """Run a campaign; return 1 if a trial fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200, help="trials, over all operations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file of the result")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    # Syncing protects against power failures only.
    os.fsync = lambda handle: None
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found = campaign(Path(folder).resolve(), arguments.count, arguments.seed)
    total = sum((tally.counts for tally in found.values()), Counter())
    faults = [fault for tally in found.values() for fault in tally.faults]
    print(f"{dict(total)} in {time.perf_counter() - started:.0f} s")
    print("\n".join(faults))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        result = {name: vars(tally) for name, tally in found.items()}
        facts = {"seed": arguments.seed, "count": arguments.count, "operations": result}
        arguments.out.write_text(json.dumps(facts, indent=1, default=dict))
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
