"""From the products of a catalogue to their tokens and contents: what data sets are made of.

N products, M modalities (five).
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from transformers import PreTrainedTokenizerBase

from scale.config import FeatureConfig
from scale.data.cache import FeatureCache, Ready
from scale.data.catalogue import Catalogue
from scale.data.columns import Column, continuous_column, discrete_column, read_media
from scale.data.duplicates import content_of
from scale.data.media import MediaFacts
from scale.data.normaliser import Normaliser
from scale.data.problems import CatalogueError, Problem
from scale.data.product import Product
from scale.modalities import INDEX, MODALITIES


@dataclass(frozen=True)
class ReadTokens:
    """Products, their tokens as they were extracted, and what tells equal contents."""

    products: tuple[Product, ...]
    """Modalities whose media could not be used are None here."""
    columns: dict[str, Column]
    """By modality, in the one order; one that no product has is absent."""
    contents: dict[str, list[str | None]]
    """Of each column, a string per product: equal where the content is; None where absent."""
    problems: list[Problem]
    """Media that could not be used."""
    cut: dict[str, int]
    """Media whose vectors were cut to the longest sequence, counted by modality."""


def read_tokens(
    catalogue: Catalogue,
    config: FeatureConfig,
    tokenizer: PreTrainedTokenizerBase,
    normaliser: Normaliser | None,
    *,
    cache: FeatureCache,
    modalities: Sequence[str],
    lengths: Mapping[str, int],
    strict: bool,
    workers: int | None,
    prefix: str = "",
) -> ReadTokens:
    """The arguments are those of `ProductDataset.build`.

    `normaliser` tells only how large vectors must be. `prefix` stands before the modality's name
    in problems.
    """
    media, problems = read_media(
        catalogue, config, normaliser, cache=cache, modalities=modalities, workers=workers
    )
    named = [replace(p, modality=f"{prefix}{p.modality}") for p in problems]
    if strict and named:
        raise CatalogueError.of(named)
    products = catalogue.without(problems).products
    columns: dict[str, Column] = {}
    for m in modalities:
        if m in media:
            column = continuous_column(media[m], len(products), cache, lengths.get(m))
        else:
            longest = getattr(config, f"{m}_length")
            longest = min(longest, lengths.get(m, longest))
            column = discrete_column(m, products, tokenizer, longest)
        if column is not None:
            columns[m] = column
    contents = {m: _contents(products, m, c, media.get(m, {})) for m, c in columns.items()}
    cut = {m: _count_cut(items, lengths[m]) for m, items in media.items() if m in lengths}
    return ReadTokens(products, columns, contents, named, cut)


def number_contents(read: ReadTokens) -> np.ndarray:
    """content_NM: contents numbered by first appearance in each modality; -1 where absent."""
    content_NM = np.full((len(read.products), len(MODALITIES)), -1, np.int64)
    for m, contents in read.contents.items():
        numbers: dict[str, int] = {}
        for row, content in enumerate(contents):
            if content is not None:
                content_NM[row, INDEX[m]] = numbers.setdefault(content, len(numbers))
    return content_NM


def fingerprint(ids: Iterable[str], content_NM: np.ndarray) -> str:
    """Changes where a product, its presence or its content changes."""
    digest = hashlib.blake2b(digest_size=16)
    for place, product_id in enumerate(ids):
        digest.update((f"\n{product_id}" if place else product_id).encode())
    digest.update((content_NM >= 0).tobytes())
    digest.update(content_NM.tobytes())
    return digest.hexdigest()


def _contents(
    products: Sequence[Product], modality: str, column: Column, media: Mapping[int, Ready]
) -> list[str | None]:
    contents: list[str | None] = [None] * len(products)
    for row in column.length_N.nonzero()[0].tolist():
        product, item = products[row], media.get(row)
        facts = {product.id: {modality: MediaFacts(item.content)}} if item else None
        contents[row] = content_of(product, modality, facts)
    return contents


def _count_cut(items: Mapping[int, Ready], longest: int) -> int:
    return sum(item.length > longest for item in items.values())
