"""The whole catalogue on disk: products.jsonl, catalogue.json, README, LICENSE and media."""

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from scale.files import write_whole
from tools.sample_shop import notes, spec
from tools.sample_shop.clip import clip, write_clip
from tools.sample_shop.item import Item, draw_item
from tools.sample_shop.missing import present
from tools.sample_shop.picture import picture
from tools.sample_shop.sound import sound, write_sound
from tools.sample_shop.table import table
from tools.sample_shop.text import titles

INFO = {
    "name": "SCALE sample shop",
    "language": "en",
    "licence": "CC0-1.0",
    "source": "python -m tools.sample_shop",
}
_ENDINGS = {"image": "jpg", "video": "mp4", "audio": "ogg"}


@dataclass(frozen=True)
class Job:
    """One product to make."""

    item: Item
    split: str
    folder: Path


def plan(seed: int, products: int) -> list[tuple[Item, str]]:
    """Items and their splits, stratified by category, in an order that tells nothing.

    Raises ValueError for fewer than 2 products.
    """
    if products < 2:
        raise ValueError(f"a catalogue needs at least 2 products, not {products}")
    rng = np.random.default_rng([seed, products])
    rows = [
        (category, split)
        for category, count in zip(spec.CATEGORIES, spec.category_counts(products), strict=True)
        for split in rng.permutation(spec.splits(count)).tolist()
    ]
    order = rng.permutation(len(rows))
    return [(draw_item(rows[k][0], number, seed), rows[k][1]) for number, k in enumerate(order)]


def build(folder: Path, seed: int = 0, products: int = 720, workers: int = 1) -> Path:
    """Write a catalogue of that many products into `folder`, and return the folder.

    Everything follows from `seed` and `products`; `workers` processes share the rendering.
    products.jsonl is written last, under its own name only when all media are there.
    """
    folder = Path(folder)
    for name in ("image", "video", "audio", "alt_image", "alt_video", "alt_audio"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    jobs = [Job(item, split, folder) for item, split in plan(seed, products)]
    with ExitStack() as stack:
        if workers > 1:
            made: Iterator[dict] = stack.enter_context(ProcessPoolExecutor(workers)).map(make, jobs)
        else:
            made = map(make, jobs)
        records = list(tqdm(made, total=len(jobs), desc="products", unit="product"))
    (folder / "catalogue.json").write_text(json.dumps(INFO, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(notes.readme(records, seed), encoding="utf-8")
    (folder / "LICENSE").write_text(notes.LICENCE, encoding="utf-8")
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    write_whole(folder / "products.jsonl", lines)
    return folder


def make(job: Job) -> dict:
    """Write one product's media and return its record.

    The second view has a title and a picture for every product, and a clip and a sound in the
    validation and test splits, where instance retrieval needs them.
    """
    item, has = job.item, present(job.item)
    (english, chinese), (other, other_zh) = titles(item)
    second = ("image",) if job.split == "train" else ("image", "video", "audio")
    media = {m: _write(job, m, "main", m) if m in has else None for m in _ENDINGS}
    alt = {
        m: _write(job, m, "alt", f"alt_{m}") if m in has and m in second else None for m in _ENDINGS
    }
    shown = "text" in has
    return {
        "id": item.id,
        "title": english if shown else None,
        "title_zh": chinese if shown else None,
        "table": table(item) if "table" in has else None,
        "category": item.category.name,
        **media,
        "split": job.split,
        "labels": {
            key: getattr(item, key)
            for key in ("material", "colour", "pattern", "purpose", "use", "brand", "size_cm")
        },
        "alt": {"title": other if shown else None, **alt},
        "alt_title_zh": other_zh if shown else None,
    }


def _write(job: Job, modality: str, view: str, room: str) -> str:
    """Make and write one medium; its path relative to the catalogue."""
    item, relative = job.item, f"{room}/{job.item.id}.{_ENDINGS[modality]}"
    path = job.folder / relative
    if modality == "image":
        picture(item, view).save(path, quality=84, optimize=True)
    elif modality == "video":
        write_clip(path, clip(item, view))
    else:
        write_sound(path, sound(item, view))
    return relative
