"""Which products share the same content, and which media do not decode.

A field is a modality of the main view (`image`) or, with `alt_`, of the second one (`alt_image`).
"""

import hashlib
import multiprocessing
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from scale.data.catalogue import Catalogue
from scale.data.media import MediaError, MediaFacts, content_hash, examine
from scale.data.problems import Problem
from scale.data.product import Product
from scale.modalities import MODALITIES

FILES = ("image", "video", "audio")
FIELDS = tuple(prefix + m for prefix in ("", "alt_") for m in MODALITIES)

Facts = dict[str, dict[str, MediaFacts]]
"""Product id -> field -> what decoding its file told."""


def value_of(product: Product, field: str) -> Any:
    """What a product holds in a field, None where it is absent."""
    view = product.alt if field.startswith("alt_") else product
    return getattr(view, field.removeprefix("alt_"))


def content_of(product: Product, field: str, facts: Facts | None = None) -> str | None:
    """A string that is equal in two products exactly where the content of the field is equal.

    The record's own hash where it gives one; else text and tables are hashed after Unicode
    normalisation (NFKC), lower case and single spaces, and media by their decoded content, taken
    from `facts` (of `check_media`) where they are given. None where the field is absent.
    Raises MediaError where a file has to be decoded and does not.
    """
    value = value_of(product, field)
    if value is None:
        return None
    if field in product.content:
        return product.content[field]
    if not isinstance(value, Path):
        return _hash_text(value)
    known = (facts or {}).get(product.id, {}).get(field)
    return known.content if known else content_hash(field.removeprefix("alt_"), value)


def _hash_text(value: str | tuple[tuple[str, str], ...]) -> str:
    """16 hexadecimal digits of a title, or of a table in its order."""
    parts = [value] if isinstance(value, str) else [part for pair in value for part in pair]
    normal = [" ".join(unicodedata.normalize("NFKC", part).lower().split()) for part in parts]
    return hashlib.blake2b("\x1f".join(normal).encode(), digest_size=8).hexdigest()


def check_media(
    catalogue: Catalogue, workers: int = 0, progress: bool = True
) -> tuple[Facts, list[Problem]]:
    """Decodes every media file of both views once; broken ones become problems.

    workers: processes beside this one; 0 decodes here. They start fresh ("spawn"), so a script
    that asks for workers needs the guard `if __name__ == "__main__":`.
    Pass the problems to `catalogue.without` to count those modalities as missing.
    """
    users: dict[tuple[str, Path], list[tuple[str, str]]] = defaultdict(list)
    for product in catalogue:
        for field in FIELDS:
            value = value_of(product, field)
            if isinstance(value, Path):
                users[field.removeprefix("alt_"), value].append((product.id, field))
    facts: Facts = defaultdict(dict)
    problems: list[Problem] = []
    results = tqdm(
        _examine_all(users, workers),
        total=len(users),
        desc="media",
        unit=" files",
        disable=not progress,
    )
    for ((_, path), shared_by), result in zip(users.items(), results, strict=True):
        for product_id, field in shared_by:
            if isinstance(result, MediaFacts):
                facts[product_id][field] = result
            else:
                problems.append(Problem(product_id, field, str(path), result))
    return dict(facts), problems


def _examine_all(files: Iterable[tuple[str, Path]], workers: int) -> Iterator[MediaFacts | str]:
    if workers == 0:
        yield from map(_examine_one, files)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from pool.map(_examine_one, files, chunksize=8)


def _examine_one(file: tuple[str, Path]) -> MediaFacts | str:
    """The facts of a file, or the reason why there are none."""
    try:
        return examine(*file)
    except MediaError as error:
        return error.reason
