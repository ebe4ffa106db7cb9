"""Find products with equal content and media files that do not decode.

A field is a modality of the main view (`image`) or, with prefix `alt_`, of the second view
(`alt_image`).
"""

import hashlib
import multiprocessing
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from scale.data.media import MediaError, MediaInfo, content_hash, read_media_info
from scale.data.product import Problem, Product
from scale.data.vectors import is_vectors, vectors_info
from scale.modalities import MODALITIES

FIELDS = tuple(prefix + m for prefix in ("", "alt_") for m in MODALITIES)

MediaInfos = dict[str, dict[str, MediaInfo]]
"""Product id -> field -> properties of the decoded file."""


PLACEHOLDER = 20
"""Number of products above which a shared picture may be a placeholder."""


def is_placeholder(products: int, total: int) -> bool:
    """Return whether a picture that `products` of `total` share is taken as a placeholder."""
    return products > max(PLACEHOLDER, total / 20)


def linked_groups(count: int, rows: np.ndarray, contents: np.ndarray) -> np.ndarray:
    """Return group_N: equal for products that share a content, directly or through others.

    Args:
        count: number of products N; groups are numbered by first appearance.
        rows, contents: product and number of each of its contents that links products.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    # A graph of products and contents.
    size = count + int(contents.max(initial=-1)) + 1
    edges = coo_array((np.ones(len(rows)), (rows, count + contents)), shape=(size, size))
    return connected_components(edges, directed=False)[1][:count]


def field_value(product: Product, field: str) -> Any:
    """Return the value of a field of a product; None if it is absent."""
    view = product.alt if field.startswith("alt_") else product
    return getattr(view, field.removeprefix("alt_"))


def content_key(product: Product, field: str, infos: MediaInfos | None = None) -> str | None:
    """Return a string that is equal for two products if and only if a field has equal content.

    The hash given in the record, if there is one. Otherwise titles and tables are hashed after
    Unicode normalisation (NFKC), lower-casing and collapsing of white space, and media files by
    their decoded content, taken from `infos` (see `check_media`) where available. None if the
    field is absent. Raises MediaError if a file must be decoded and cannot be.
    """
    value = field_value(product, field)
    if value is None:
        return None
    if field in product.content:
        return product.content[field]
    if not isinstance(value, Path):
        return _hash_text(value)
    known = (infos or {}).get(product.id, {}).get(field)
    if known:
        return known.content
    if is_vectors(value):
        return vectors_info(value).content
    return content_hash(field.removeprefix("alt_"), value)


def _hash_text(value: str | tuple[tuple[str, str], ...]) -> str:
    """Return 16 hexadecimal digits of a title, or of a table in its order."""
    parts = [value] if isinstance(value, str) else [part for pair in value for part in pair]
    normal = [" ".join(unicodedata.normalize("NFKC", part).lower().split()) for part in parts]
    return hashlib.blake2b("\x1f".join(normal).encode(), digest_size=8).hexdigest()


def check_media(
    products: Iterable[Product], workers: int = 0, progress: bool = True
) -> tuple[MediaInfos, list[Problem]]:
    """Decode every media file of both views once; return their properties and the problems.

    workers: additional processes; 0 decodes in this one. They are spawned, so a script that uses
    them needs the guard `if __name__ == "__main__":`.
    `Catalogue.without(problems)` marks the modalities with broken files as missing.
    """
    users: dict[tuple[str, Path], list[tuple[str, str]]] = defaultdict(list)
    for product in products:
        for field in FIELDS:
            value = field_value(product, field)
            if isinstance(value, Path):
                users[field.removeprefix("alt_"), value].append((product.id, field))
    infos: MediaInfos = defaultdict(dict)
    problems: list[Problem] = []
    results = tqdm(
        _read_all(users, workers),
        total=len(users),
        desc="media",
        unit=" files",
        disable=not progress or not users,
    )
    for ((_, path), shared_by), result in zip(users.items(), results, strict=True):
        for product_id, field in shared_by:
            if isinstance(result, MediaInfo):
                infos[product_id][field] = result
            else:
                problems.append(Problem(product_id, field, str(path), result))
    return dict(infos), problems


def _read_all(files: Iterable[tuple[str, Path]], workers: int) -> Iterator[MediaInfo | str]:
    if workers == 0:
        yield from map(_read_one, files)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from pool.map(_read_one, files, chunksize=8)


def _read_one(file: tuple[str, Path]) -> MediaInfo | str:
    """Return the properties of a file, or the reason why it cannot be used."""
    try:
        return vectors_info(file[1]) if is_vectors(file[1]) else read_media_info(*file)
    except MediaError as error:
        return error.reason
