"""The products of a catalogue as tokens in memory, and batches of them.

`tokenize_products` turns a catalogue into columns of tokens, one per modality; `ProductDataset`
adds standardisation and makes batches.

N products, M modalities (five), B products of a batch, R rows: products of the batch that have a
modality, L length of a sequence, F features of a vector, T tokens of all products, concatenated.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from scale.config import FeatureConfig, require
from scale.data.batch import ProductBatch, Tokens
from scale.data.cache import (
    CachedFeatures,
    FeatureCache,
    FeatureJob,
    compute_features,
    compute_text_features,
    map_packed,
)
from scale.data.catalogue import Catalogue
from scale.data.duplicates import content_key, is_placeholder
from scale.data.media import BLANK, MediaError, MediaInfo
from scale.data.normaliser import Normaliser
from scale.data.product import CatalogueError, Problem, Product, View
from scale.data.tokenizer import encode_tables, encode_texts, select_columns
from scale.modalities import CONTINUOUS, DISCRETE, INDEX, MODALITIES

log = logging.getLogger(__name__)

CHUNK = 1 << 16
"""Tokens read at once to compute statistics."""
SECOND_VIEW = " (second view)"
"""End of the ids of products that `ProductDataset.with_second_views` adds."""


@dataclass(frozen=True)
class Column:
    """The tokens of one modality: sequences of any length, concatenated."""

    values: np.ndarray
    """ids_T (int32) or feats_TF (float16, not standardised)."""
    start_N: np.ndarray
    """First token of each product; products with equal content may share tokens."""
    length_N: np.ndarray
    """Number of tokens of each product; 0 where it lacks the modality."""
    fill: int = 0
    """Id at padded positions; continuous vectors are zero there."""
    entity_T: np.ndarray | None = None
    """Table only: as `Tokens.entity_RL`."""
    piece_T: np.ndarray | None = None
    """int32: as `Tokens.pieces_RL`."""
    mean_F: np.ndarray | None = None
    """Vectors only: standardisation, x' = (x - mean_F) / spread_F."""
    spread_F: np.ndarray | None = None

    @property
    def continuous(self) -> bool:
        """Whether the tokens are vectors."""
        return self.values.ndim == 2

    def select(self, indices: np.ndarray) -> "Column":
        """Return the sequences of some products; tokens are shared, not copied."""
        return replace(self, start_N=self.start_N[indices], length_N=self.length_N[indices])

    def gather(self, index_B: np.ndarray) -> Tokens:
        """Return the tokens of a batch, padded to its longest sequence; vectors standardised."""
        length_B = self.length_N[index_B]
        (rows_R,) = length_B.nonzero()
        length_R, start_R = length_B[rows_R], self.start_N[index_B][rows_R]
        place_L = np.arange(length_R.max(initial=1))
        padding_RL = place_L >= length_R[:, None]
        at_RL = np.where(padding_RL, 0, start_R[:, None] + place_L)
        values = self.values[at_RL].astype(np.float32 if self.continuous else np.int64)
        if self.mean_F is not None:
            values -= self.mean_F
            values /= self.spread_F
        values[padding_RL] = self.fill
        entity_RL, piece_RL = (
            None
            if number_T is None
            else torch.from_numpy(np.where(padding_RL, -1, number_T[at_RL]).astype(np.int64))
            for number_T in (self.entity_T, self.piece_T)
        )
        values, padding, rows = map(torch.from_numpy, (values, padding_RL, rows_R))
        return Tokens(values, padding, rows, entity_RL, pieces_RL=piece_RL)

    def append(self, other: "Column | None", rows_K: np.ndarray) -> "Column":
        """Return the column with K more sequences: those of another column or, if empty, own ones.

        Args:
            other: same modality and standardisation; None: as if all its sequences were empty.
            rows_K: own sequences that replace the empty ones.
        """
        start_K, length_K, tokens = self.start_N[rows_K], self.length_N[rows_K], {}
        if other is not None:
            has_K = other.length_N > 0
            start_K = np.where(has_K, other.start_N + len(self.values), start_K)
            length_K = np.where(has_K, other.length_N, length_K)
            for name in ("values", "entity_T", "piece_T"):
                if getattr(self, name) is not None:
                    tokens[name] = np.concatenate([getattr(self, name), getattr(other, name)])
        start_N = np.concatenate([self.start_N, start_K])
        return replace(self, start_N=start_N, length_N=np.append(self.length_N, length_K), **tokens)

    def chunks(self, rows_N: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the values of the products where `rows_N` is True, in chunks of CHUNK tokens."""
        rows_N = rows_N & (self.length_N > 0)
        if not rows_N.any():
            return
        start_R, length_R = self.start_N[rows_N], self.length_N[rows_N]
        # A packed matrix may also contain the vectors of many other products.
        first, last = int(start_R.min()) // CHUNK * CHUNK, int((start_R + length_R).max())
        edges_T = np.zeros(last - first + 1, np.int64)
        np.add.at(edges_T, start_R - first, 1)
        np.add.at(edges_T, start_R - first + length_R, -1)
        wanted_T = np.cumsum(edges_T)[:-1] > 0
        for at in range(0, last - first, CHUNK):
            values = self.values[first + at : first + min(at + CHUNK, last - first)]
            yield values[wanted_T[at : at + CHUNK]]


def language_column(
    modality: str,
    products: Sequence[View],
    config: FeatureConfig,
    tokenizer: PreTrainedTokenizerBase,
    longest: int,
    cache: FeatureCache,
) -> Column | None:
    """Return titles or tables as sequences of at most `longest` tokens; None if there are none.

    Word pieces of `tokenizer`, or vectors of a frozen model (from the cache, or added to it).
    """
    if config.backbone(modality):
        return _text_vectors(modality, products, config, longest, cache)[0]
    rows = [i for i, product in enumerate(products) if getattr(product, modality) is not None]
    if not rows:
        return None
    values = [getattr(products[i], modality) for i in rows]
    encode = {"text": encode_texts, "table": encode_tables}[modality]
    ids_RL, padding_RL, *entity = encode(tokenizer, values, longest)
    length_R = (~padding_RL).sum(1)
    start_N, length_N = _spread(len(products), rows, np.cumsum(length_R) - length_R, length_R)
    return Column(
        ids_RL[~padding_RL],
        start_N,
        length_N,
        fill=tokenizer.pad_token_id,
        entity_T=entity[0][~padding_RL] if entity else None,
    )


def _text_vectors(
    modality: str,
    products: Sequence[View],
    config: FeatureConfig,
    longest: int,
    cache: FeatureCache,
) -> tuple[Column | None, dict[int, CachedFeatures]]:
    """Return the vectors of titles or tables, and the cached features by row."""
    values = {
        row: value
        for row, product in enumerate(products)
        if (value := getattr(product, modality)) is not None
    }
    found, numbers = compute_text_features(modality, list(values.values()), config, cache)
    items = dict(zip(values, found, strict=True))
    column = continuous_column(items, len(products), cache, longest)
    if column is not None:
        distinct = dict(zip((item.key for item in found), numbers, strict=True))
        entity_T, piece_T = np.concatenate([n_2L[:, :longest] for n_2L in distinct.values()], 1)
        entity_T = entity_T.astype(np.int16) if modality == "table" else None
        column = replace(column, entity_T=entity_T, piece_T=piece_T)
    return column, items


def read_media(
    catalogue: Catalogue,
    config: FeatureConfig,
    normaliser: Normaliser | None,
    *,
    cache: FeatureCache,
    modalities: Sequence[str],
    workers: int | None = None,
) -> tuple[dict[str, dict[int, CachedFeatures]], list[Problem]]:
    """Compute the features of all media files.

    Returns the cached features by modality and row of the product, and the files that cannot be
    used; blank files that are used have a problem without a modality. Vectors must have the size of
    the training data (`normaliser`), if it is given, and otherwise the most frequent size.
    """
    jobs = {
        (m, row): FeatureJob(m, path, hashed=m not in product.content)
        for row, product in enumerate(catalogue)
        for m in CONTINUOUS
        if m in modalities and (path := getattr(product, m)) is not None
    }
    # By product, so that progress is even: a clip costs as much as several pictures.
    products: dict[int, list[FeatureJob]] = {}
    for (_, row), job in jobs.items():
        products.setdefault(row, []).append(job)
    results = compute_features(jobs.values(), config, cache, workers, products.values())
    media: dict[str, dict[int, CachedFeatures]] = {m: {} for m in CONTINUOUS}
    problems = []
    for (m, row), job in jobs.items():
        result = results[job]
        if isinstance(result, MediaError):
            problems.append(Problem(catalogue[row].id, m, str(job.path), result.reason))
        else:
            media[m][row] = result
    for (m, row), reason in _blank_media(catalogue, media, config).items():
        missing = config.blank_media == "missing"
        if missing:
            media[m].pop(row)
        path = str(jobs[m, row].path)
        problems.append(Problem(catalogue[row].id, m if missing else None, path, reason))
    for m, items in media.items():
        size = _feature_size(m, items, normaliser)
        for row in [row for row, item in items.items() if item.size != size]:
            reason = f"wrong size: vectors of {items.pop(row).size}, not {size}"
            problems.append(Problem(catalogue[row].id, m, str(jobs[m, row].path), reason))
    return media, problems


def _blank_media(
    catalogue: Catalogue, media: Mapping[str, Mapping[int, CachedFeatures]], config: FeatureConfig
) -> dict[tuple[str, int], str]:
    """Return the reason by modality and row for media without content (`blank_media`)."""
    found = {}
    shared = {row: item.content or catalogue[row].content.get("image", "")
              for row, item in media["image"].items()}  # fmt: skip
    counts = Counter(shared.values())
    for row, content in shared.items():
        if is_placeholder(counts[content], len(catalogue)):
            found["image", row] = f"placeholder picture: shared by {counts[content]} products"
    for m, items in media.items():
        for row, item in items.items():
            if MediaInfo(item.content, onset=item.onset).is_blank(config.audio_seconds):
                found[m, row] = BLANK[m].format(seconds=config.audio_seconds)
    return found


def _feature_size(
    modality: str, items: Mapping[int, CachedFeatures], normaliser: Normaliser | None
) -> int:
    if normaliser is not None and modality in normaliser.mean:
        return len(normaliser.mean[modality])
    sizes = Counter(item.size for item in items.values()).most_common(1)
    return sizes[0][0] if sizes else 0


def continuous_column(
    items: Mapping[int, CachedFeatures], count: int, cache: FeatureCache, longest: int | None
) -> Column | None:
    """Return the features of `count` products; `items` has those of some rows. None if it is empty.

    Equal files are stored once; a large packed matrix is used in place. At most the first `longest`
    vectors of each are used.
    """
    if not items:
        return None
    distinct = {item.key: item for item in items.values()}
    limit = longest or max(item.length for item in distinct.values())
    length_D = np.array([min(item.length, limit) for item in distinct.values()])
    place = {key: i for i, key in enumerate(distinct)}
    distinct_R = np.array([place[item.key] for item in items.values()])
    packed = map_packed(list(distinct.values()), limit)
    if packed is not None:
        values_TF, start_D = packed
    else:
        values_TF = cache.concatenate(list(distinct.values()), limit)
        start_D = np.cumsum(length_D) - length_D
    start_N, length_N = _spread(count, list(items), start_D[distinct_R], length_D[distinct_R])
    return Column(values_TF, start_N, length_N)


def fit_normaliser(columns: Mapping[str, Column], rows_N: np.ndarray) -> Normaliser:
    """Fit statistics of the continuous columns on the products where `rows_N` is True.

    Raises ValueError if there is none: statistics of other products would leak into training.
    """
    if not rows_N.any():
        raise ValueError("no training product to fit a normaliser on; pass the training data's")
    return Normaliser.fit({m: c.chunks(rows_N) for m, c in columns.items() if c.continuous})


def standardise(columns: Mapping[str, Column], normaliser: Normaliser) -> dict[str, Column]:
    """Return the columns with their statistics; modalities that the normaliser lacks unchanged."""
    return {
        m: replace(column, mean_F=normaliser.mean[m], spread_F=normaliser.spread[m])
        if m in normaliser.mean
        else column
        for m, column in columns.items()
    }


def _spread(
    count: int, rows: list[int], start_R: np.ndarray, length_R: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return start_N and length_N of `count` products from those of the products at `rows`."""
    start_N, length_N = np.zeros(count, np.int64), np.zeros(count, np.int64)
    start_N[rows], length_N[rows] = start_R, length_R
    return start_N, length_N


@dataclass(frozen=True)
class TokenizedProducts:
    """Products, their tokens without standardisation, and keys of equal content."""

    products: tuple[Product, ...]
    """Modalities whose media cannot be used are None."""
    columns: dict[str, Column]
    """By modality, in the order of MODALITIES; without those that no product has."""
    contents: dict[str, list[str | None]]
    """By modality, a string per product that is equal for equal content; None where absent."""
    digests: tuple[str, ...]
    """Hash of each product: id, split, category, and the exact contents of its used modalities."""
    problems: list[Problem]
    """Media that cannot be used."""
    cut: dict[str, int]
    """Number of media whose vectors were cut to the longest sequence, by modality."""


def tokenize_products(
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
) -> TokenizedProducts:
    """Return the tokens of a catalogue; arguments as for `ProductDataset.build`.

    `normaliser` only determines the required size of vectors. `prefix` is prepended to the name of
    the modality in problems.
    """
    for m in DISCRETE:
        message = f"features.{m}_length is auto: choose_lengths makes it a number"
        require(getattr(config, f"{m}_length") != "auto", message)
    chosen = tuple(select_columns(product, config.table_columns) for product in catalogue)
    catalogue = replace(catalogue, products=chosen)
    media, problems = read_media(
        catalogue, config, normaliser, cache=cache, modalities=modalities, workers=workers
    )
    named = [p if p.modality is None else replace(p, modality=f"{prefix}{p.modality}")
             for p in problems]  # fmt: skip
    if strict and any(p.modality is not None for p in problems):
        raise CatalogueError.of([p for p in named if p.modality is not None])
    products = catalogue.without(problems).products
    columns: dict[str, Column] = {}
    for m in modalities:
        if m in media:
            column = continuous_column(media[m], len(products), cache, lengths.get(m))
        else:
            longest = getattr(config, f"{m}_length")
            longest = min(longest, lengths.get(m, longest))
            if config.backbone(m):
                column, media[m] = _text_vectors(m, products, config, longest, cache)
            else:
                column = language_column(m, products, config, tokenizer, longest, cache)
        if column is not None:
            columns[m] = column
    contents = {m: _contents(products, m, c, media.get(m, {})) for m, c in columns.items()}
    cut = {
        m: sum(item.length > lengths[m] for item in items.values())
        for m, items in media.items()
        if m in lengths and m in CONTINUOUS
    }
    digests = tuple(
        _digest(p, {m: getattr(p, m) for m in ("text", "table") if m in columns}
                | {m: items[row].key for m, items in media.items() if row in items})
        for row, p in enumerate(products)
    )  # fmt: skip
    return TokenizedProducts(products, columns, contents, digests, named, cut)


def _digest(product: Product, contents: Mapping[str, Any]) -> str:
    """Return a hash of a product; the contents of media are the keys of their features."""
    facts = [product.id, product.split, product.category, sorted(contents.items())]
    return hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()


def number_contents(read: TokenizedProducts) -> np.ndarray:
    """Return content_id_NM: contents numbered by first appearance per modality; -1 where absent."""
    content_id_NM = np.full((len(read.products), len(MODALITIES)), -1, np.int64)
    for m, contents in read.contents.items():
        numbers: dict[str, int] = {}
        for row, content in enumerate(contents):
            if content is not None:
                content_id_NM[row, INDEX[m]] = numbers.setdefault(content, len(numbers))
    return content_id_NM


def fingerprint(digests: Iterable[str]) -> str:
    """Return a hash of the products, in order, from `TokenizedProducts.digests`."""
    total = hashlib.blake2b(digest_size=16)
    for digest in digests:
        total.update(digest.encode())
    return total.hexdigest()


def _contents(
    products: Sequence[Product], modality: str, column: Column, media: Mapping[int, CachedFeatures]
) -> list[str | None]:
    contents: list[str | None] = [None] * len(products)
    for row in column.length_N.nonzero()[0].tolist():
        hashed = row in media and media[row].content
        contents[row] = hashed or content_key(products[row], modality)
    return contents


@dataclass(frozen=True)
class ProductDataset:
    """Products as tokens: map-style, in memory (large features memory-mapped), in fixed order."""

    products: tuple[Product, ...]
    """Modalities whose media cannot be used are None."""
    config: FeatureConfig
    tokenizer: PreTrainedTokenizerBase
    normaliser: Normaliser
    columns: dict[str, Column]
    """By modality, in the order of MODALITIES; without those that no product has."""
    content_id_NM: np.ndarray
    """int64: equal numbers in a column mean equal content; -1 where absent."""
    digests: tuple[str, ...] = ()
    """Hash of each product, see `TokenizedProducts`."""
    problems: list[Problem] = field(default_factory=list)
    """Media that cannot be used, in addition to the problems of the catalogue."""
    cut: dict[str, int] = field(default_factory=dict)
    """Number of media whose vectors were cut to the longest sequence, by modality."""
    options: dict[str, Any] = field(default_factory=dict, repr=False)
    """Remaining arguments of `build`, for `view`."""

    @classmethod
    def build(
        cls,
        catalogue: Catalogue,
        config: FeatureConfig,
        tokenizer: PreTrainedTokenizerBase,
        normaliser: Normaliser | None = None,
        *,
        cache: FeatureCache | None = None,
        strict: bool = False,
        workers: int | None = None,
        modalities: Sequence[str] = MODALITIES,
        lengths: Mapping[str, int] | None = None,
    ) -> "ProductDataset":
        """Tokenize all products of a catalogue; media features are read from the cache or added.

        Args:
            normaliser: that of the training data. None fits one on the products of split `train`
                or of no split, so that validation and test products have no influence.
            cache: of media features; default: the user's cache folder.
            strict: unusable media raise CatalogueError. Otherwise they count as missing and are
                listed in `problems`.
            workers: threads that decode and encode; see `compute_features`.
            modalities: all others count as missing.
            lengths: longest sequence by modality, where the feature source does not fix it
                (feature files, timm models); the first vectors are kept.

        Raises ValueError if a normaliser must be fitted and there is no training product.
        """
        options = {
            "cache": cache or FeatureCache(),
            "strict": strict,
            "workers": workers,
            "modalities": tuple(m for m in MODALITIES if m in modalities),
            "lengths": dict(lengths or {}),
        }
        return _build(catalogue, config, tokenizer, normaliser, options)

    def __len__(self) -> int:
        return len(self.products)

    @property
    def ids(self) -> tuple[str, ...]:
        """Product ids, in order."""
        return tuple(product.id for product in self.products)

    @property
    def present_NM(self) -> np.ndarray:
        """bool (N, M): whether a product has a modality; unused modalities count as missing."""
        return self.content_id_NM >= 0

    @property
    def fingerprint(self) -> str:
        """Hash of the products, their splits, categories and exact contents, in order."""
        return fingerprint(self.digests)

    def rows_of(self, split: str) -> np.ndarray:
        """Return the positions of the products of a split."""
        return np.array([i for i, p in enumerate(self.products) if p.split == split], np.int64)

    @property
    def feature_sizes(self) -> dict[str, int]:
        """F of each modality of vectors that occurs, as required in ModelConfig."""
        return {m: c.values.shape[1] for m, c in self.columns.items() if c.continuous}

    def collate(self, indices: Sequence[int] | np.ndarray | Tensor) -> ProductBatch:
        """Return the batch of the products at `indices`, in that order.

        Continuous vectors are standardised float32. The rows of a product do not depend on the
        other products, except for the amount of padding.
        """
        index_B = np.asarray(indices, np.int64).copy()
        tokens = {m: column.gather(index_B) for m, column in self.columns.items()}
        return replace(self.facts(index_B), tokens=tokens)

    def facts(self, indices: np.ndarray) -> ProductBatch:
        """Return the batch of the products at `indices` without its tokens."""
        content_id_BM = torch.from_numpy(self.content_id_NM[indices])
        return ProductBatch({}, content_id_BM >= 0, torch.from_numpy(indices), content_id_BM)

    def subset(self, indices: Sequence[int] | np.ndarray) -> "ProductDataset":
        """Return the products at `indices`, in that order, with shared tokens and content numbers.

        `index_B` of its batches refers to positions in the subset.
        """
        rows = np.asarray(indices, np.int64)
        return replace(
            self,
            products=tuple(self.products[i] for i in rows),
            columns={m: c.select(rows) for m, c in self.columns.items()},
            content_id_NM=self.content_id_NM[rows],
            digests=tuple(self.digests[i] for i in rows) if self.digests else (),
        )

    def view(self, name: str) -> "ProductDataset":
        """Return the second views (`alt`) as another dataset, for instance retrieval.

        It contains the products that have a second view, with the same ids, tokenizer and
        normaliser. Numbers in its `content_id_NM` are not comparable with those of the first view.
        Problems name the modality `alt_image` etc.
        """
        if name != "alt":
            raise ValueError(f"unknown view {name!r}; known: alt")
        second = tuple(_second_view(p) for p in self.products if p.alt.present)
        return _build(
            Catalogue(Path(), second),
            self.config,
            self.tokenizer,
            self.normaliser,
            self.options,
            prefix="alt_",
        )

    def with_second_views(self, split: str = "train") -> "ProductDataset":
        """Return the dataset with the second views of a split as further products, at its end.

        A further product has the contents of the second view and, where it has none, those of the
        first one; SECOND_VIEW is appended to its id. Its `content_id_NM` is that of the first view,
        so that views of a product are not negatives of each other. Modalities without any first
        view are left out, with a warning. Features are copied into memory.
        """
        second = self.subset(self.rows_of(split)).view("alt")
        if not len(second):
            return self
        row_of = {id: row for row, id in enumerate(self.ids)}
        rows_K = np.array([row_of[id] for id in second.ids], np.int64)
        columns = {m: c.append(second.columns.get(m), rows_K) for m, c in self.columns.items()}
        for m in second.columns.keys() - columns.keys():
            log.warning("%s: only second views of products contain it, so it is left out", m)
        first_KM = self.content_id_NM[rows_K]
        new_KM = np.where(
            second.content_id_NM < 0, -1, second.content_id_NM + self.content_id_NM.max() + 1
        )
        added_KM = np.where(first_KM < 0, new_KM, first_KM)
        added_KM[:, [INDEX[m] for m in MODALITIES if m not in columns]] = -1
        products = [
            replace(
                self.products[row],
                id=self.products[row].id + SECOND_VIEW,
                alt=View(),
                content=self.products[row].content | other.content,
                **{m: getattr(other, m) for m in other.present},
            )
            for row, other in zip(rows_K.tolist(), second.products, strict=True)
        ]
        return replace(
            self,
            products=(*self.products, *products),
            columns=columns,
            content_id_NM=np.concatenate([self.content_id_NM, added_KM]),
            digests=(*self.digests, *second.digests),
            problems=[*self.problems, *second.problems],
            cut=dict(Counter(self.cut) + Counter(second.cut)),
        )


def _build(
    catalogue: Catalogue,
    config: FeatureConfig,
    tokenizer: PreTrainedTokenizerBase,
    normaliser: Normaliser | None,
    options: dict[str, Any],
    prefix: str = "",
) -> ProductDataset:
    """Build the dataset of one view; `prefix` is prepended to modality names in problems."""
    read = tokenize_products(catalogue, config, tokenizer, normaliser, prefix=prefix, **options)
    if normaliser is None:
        training_N = np.array([p.split in (None, "train") for p in read.products], bool)
        normaliser = fit_normaliser(read.columns, training_N)
    return ProductDataset(
        read.products,
        config,
        tokenizer,
        normaliser,
        standardise(read.columns, normaliser),
        number_contents(read),
        read.digests,
        read.problems,
        read.cut,
        options,
    )


def _second_view(product: Product) -> Product:
    content = {m: product.content[f"alt_{m}"] for m in MODALITIES if f"alt_{m}" in product.content}
    values = {m: getattr(product.alt, m) for m in MODALITIES}
    return replace(product, **values, alt=View(), content=content)
