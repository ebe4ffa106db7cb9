"""A catalogue written to shards by several processes; a stop costs the shards in work, no more.

N products, M modalities (five).
"""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path

from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from scale.config import Config
from scale.data.cache import FeatureCache
from scale.data.catalogue import Catalogue
from scale.data.product import Product
from scale.data.shards.finish import finish
from scale.data.shards.format import ShardsError
from scale.data.shards.manifest import PLAN, Manifest, Settings, ShardRecord
from scale.data.shards.shard import MISSING_LITDATA, ShardMaker
from scale.data.splits import with_splits
from scale.data.tokenizer import load_tokenizer, make_tokenizer
from scale.files import write_whole
from scale.modalities import MODALITIES

PRODUCTS_PER_SHARD = 1024
GO_ON = "Finished shards are kept: the same command goes on"


def write_shards(
    catalogue: Catalogue | Path | str,
    config: Config,
    out: Path | str,
    *,
    products_per_shard: int = PRODUCTS_PER_SHARD,
    workers: int | None = None,
    cache: FeatureCache | None = None,
    strict: bool = False,
    progress: bool = True,
) -> Manifest:
    """Write the tokens of a catalogue's products, in its order, for training to read.

    Called again with the same arguments it goes on where it stopped, and makes again what is
    missing or damaged. The files do not depend on the number of workers.

    Args:
        config: its features, modalities and lengths are those of the runs to be trained.
        workers: processes beside this one; 1 works here; None takes the number of cores. They
            start fresh ("spawn"): a script needs the guard `if __name__ == "__main__":`.
        cache: of features. None keeps none: features of millions of products would take the space
            of the shards again.
        strict: bad media or records raise instead of counting as missing.

    Raises:
        ShardsError: the folder holds something else, or shards with other settings or products.
        OSError: e.g. the disk is full. RuntimeError: a worker died. ImportError: no litdata.
    """
    _require_litdata()
    out = Path(out)
    if not isinstance(catalogue, Catalogue):
        catalogue = Catalogue.open(catalogue, strict=strict)
    catalogue = with_splits(catalogue)
    if not len(catalogue) or products_per_shard < 1:
        raise ShardsError(f"{len(catalogue)} products in shards of {products_per_shard}")
    tokenizer = _begin(out, catalogue, config, products_per_shard)
    folder = None if cache is None else cache.folder
    maker = ShardMaker(out, catalogue.folder, config, tokenizer, folder, strict)
    slices = [
        catalogue.products[at : at + products_per_shard]
        for at in range(0, len(catalogue), products_per_shard)
    ]
    workers = min(workers or os.cpu_count() or 1, len(slices))
    records: dict[int, ShardRecord] = {}
    try:
        made = _make_all(maker, slices, workers)
        for record in tqdm(made, "shards", len(slices), unit=" shards", disable=not progress):
            records[record.number] = record
        ordered = [records[number] for number in range(len(slices))]
        settings = Settings.of(config, tokenizer)
        return finish(out, ordered, settings, products_per_shard, catalogue.problems)
    except BrokenProcessPool as error:
        raise RuntimeError(
            f"{out}: a worker died (out of memory? try fewer --workers or --products-per-shard). "
            f"{GO_ON}"
        ) from error
    except OSError as error:
        raise OSError(
            f"{out}: {error}, with {len(records)} of {len(slices)} shards finished. Is the disk "
            f"full? {GO_ON}"
        ) from error


def _require_litdata() -> None:
    try:
        import litdata  # noqa: F401
    except ImportError as error:
        raise ImportError(MISSING_LITDATA) from error


def _begin(
    out: Path, catalogue: Catalogue, config: Config, products_per_shard: int
) -> PreTrainedTokenizerBase:
    """The tokenizer; what is to be done is written down, or is what was written down before."""
    plan_file, folder = out / PLAN, out / "tokenizer"
    if not plan_file.is_file():
        if out.is_dir() and {path.name for path in out.iterdir()} - {folder.name}:
            raise ShardsError(f"{out} is not empty and holds no shards: choose another folder")
        train = catalogue.split("train").products
        make_tokenizer(train, config.features).save_pretrained(folder)
    tokenizer = load_tokenizer(folder)
    settings = Settings.of(config, tokenizer)
    source = _source(catalogue)
    if plan_file.is_file():
        _check_plan(plan_file, settings, source, products_per_shard)
        for left in out.glob(".work-*"):
            shutil.rmtree(left, ignore_errors=True)
    else:
        plan = {"settings": asdict(settings), "source": source,
                "products_per_shard": products_per_shard}  # fmt: skip
        write_whole(plan_file, json.dumps(plan, indent=1) + "\n")
    return tokenizer


def _check_plan(path: Path, settings: Settings, source: str, products_per_shard: int) -> None:
    try:
        plan = json.loads(path.read_bytes())
        changed = Settings(**plan["settings"]).differing(settings)
    except (ValueError, KeyError, TypeError) as error:
        raise ShardsError(f"{path}: damaged: {error}; choose another folder") from error
    if plan["products_per_shard"] != products_per_shard:
        changed.append(f"--products-per-shard (was {plan['products_per_shard']})")
    if plan["source"] != source:
        changed.append("the catalogue's products")
    if changed:
        raise ShardsError(
            f"{path}: the shards there were begun with other {', '.join(changed)}: choose another "
            "folder"
        )


def _source(catalogue: Catalogue) -> str:
    """Changes where a record changes. Of media it is the names that count, not the files."""
    digest = hashlib.blake2b(digest_size=16)
    for product in catalogue:
        values = [getattr(product, m) for m in MODALITIES]
        named = [
            os.path.relpath(value, catalogue.folder) if isinstance(value, Path) else value
            for value in values
        ]
        said = [product.id, product.split, product.category, sorted(product.content.items())]
        digest.update(repr((said, named)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _make_all(
    maker: ShardMaker, slices: list[tuple[Product, ...]], workers: int
) -> Iterator[ShardRecord]:
    if workers == 1:
        yield from map(maker.make, range(len(slices)), slices)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _start_worker, (maker,))
    try:
        waiting = [pool.submit(_make, number, part) for number, part in enumerate(slices)]
        for done in as_completed(waiting):
            yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)


_makers: list[ShardMaker] = []
"""The maker of this worker."""


def _start_worker(maker: ShardMaker) -> None:
    _makers.append(maker)
    # Ctrl-C reaches all processes; the parent alone says so.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Killed, the parent cannot tell its workers, and they would write beside the next command's.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _make(number: int, products: tuple[Product, ...]) -> ShardRecord:
    return _makers[0].make(number, products)
