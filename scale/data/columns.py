"""The tokens of many products, one column per modality.

N products, B products of a batch, R rows: those of the batch that have the modality, L length of a
sequence, F features of a vector, T tokens of all products, one after the other.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from scale.config import FeatureConfig
from scale.data.batch import Tokens
from scale.data.cache import FeatureCache, Job, Ready, compute_features
from scale.data.catalogue import Catalogue
from scale.data.media import MediaError
from scale.data.normaliser import Normaliser
from scale.data.problems import Problem
from scale.data.product import View
from scale.data.tokenizer import encode_tables, encode_texts
from scale.modalities import CONTINUOUS

CHUNK = 1 << 16
"""Tokens that are read at once when statistics are taken."""


@dataclass(frozen=True)
class Column:
    """The tokens of one modality: sequences of any length, one after the other."""

    values: np.ndarray
    """ids_T (int32) or feats_TF (float16, as they were extracted)."""
    start_N: np.ndarray
    """First token of each product; products of equal content may share tokens."""
    length_N: np.ndarray
    """Tokens of each product; 0 where it lacks the modality."""
    fill: int = 0
    """Id at padding positions; continuous vectors have zeros there."""
    entity_T: np.ndarray | None = None
    """Table only: as `Tokens.entity_RL`."""
    mean_F: np.ndarray | None = None
    """Continuous only: standardisation, x' = (x - mean_F) / spread_F."""
    spread_F: np.ndarray | None = None

    @property
    def continuous(self) -> bool:
        """Whether the tokens are vectors."""
        return self.values.ndim == 2

    def select(self, indices: np.ndarray) -> "Column":
        """The sequences of some products; the tokens are shared, not copied."""
        return replace(self, start_N=self.start_N[indices], length_N=self.length_N[indices])

    def gather(self, index_B: np.ndarray) -> Tokens:
        """Tokens of a batch, padded to its longest sequence; float32 and standardised."""
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
        entity_RL = None
        if self.entity_T is not None:
            entity_RL = self.entity_T[at_RL].astype(np.int64)
            entity_RL[padding_RL] = -1
            entity_RL = torch.from_numpy(entity_RL)
        values, padding, rows = map(torch.from_numpy, (values, padding_RL, rows_R))
        return Tokens(values, padding, rows, entity_RL)

    def chunks(self, rows_N: np.ndarray) -> Iterator[np.ndarray]:
        """values of the products where `rows_N` is True, some thousand tokens at a time."""
        start_R, length_R = self.start_N[rows_N], self.length_N[rows_N]
        edges_T = np.zeros(len(self.values) + 1, np.int64)
        np.add.at(edges_T, start_R, 1)
        np.add.at(edges_T, start_R + length_R, -1)
        wanted_T = np.cumsum(edges_T)[:-1] > 0
        for at in range(0, len(self.values), CHUNK):
            yield self.values[at : at + CHUNK][wanted_T[at : at + CHUNK]]


def discrete_column(
    modality: str,
    products: Sequence[View],
    tokenizer: PreTrainedTokenizerBase,
    longest: int,
) -> Column | None:
    """The titles or tables of `products` as at most `longest` ids; None where none has one."""
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


def read_media(
    catalogue: Catalogue,
    config: FeatureConfig,
    normaliser: Normaliser | None,
    *,
    cache: FeatureCache,
    modalities: Sequence[str],
    workers: int | None = None,
) -> tuple[dict[str, dict[int, Ready]], list[Problem]]:
    """Features in the cache, by modality and row of the product, and the files that gave none.

    Vectors must have the size of the training data's (`normaliser`), else the most frequent size.
    """
    jobs = {
        (m, row): Job(m, path, hashed=m not in product.content)
        for m in CONTINUOUS
        if m in modalities
        for row, product in enumerate(catalogue)
        if (path := getattr(product, m)) is not None
    }
    results = compute_features(jobs.values(), config, cache, workers)
    media: dict[str, dict[int, Ready]] = {m: {} for m in CONTINUOUS}
    problems = []
    for (m, row), job in jobs.items():
        result = results[job]
        if isinstance(result, MediaError):
            problems.append(Problem(catalogue[row].id, m, str(job.path), result.reason))
        else:
            media[m][row] = result
    for m, items in media.items():
        size = _feature_size(m, items, normaliser)
        for row in [row for row, item in items.items() if item.size != size]:
            reason = f"wrong size: vectors of {items.pop(row).size}, not {size}"
            problems.append(Problem(catalogue[row].id, m, str(jobs[m, row].path), reason))
    return media, problems


def _feature_size(modality: str, items: Mapping[int, Ready], normaliser: Normaliser | None) -> int:
    if normaliser is not None and modality in normaliser.mean:
        return len(normaliser.mean[modality])
    sizes = Counter(item.size for item in items.values()).most_common(1)
    return sizes[0][0] if sizes else 0


def continuous_column(
    items: Mapping[int, Ready], count: int, cache: FeatureCache, longest: int | None
) -> Column | None:
    """The features of the products at the keys of `items`, of `count` products; None for none.

    Equal files are stored once. At most the first `longest` vectors of each are taken.
    """
    if not items:
        return None
    distinct = {item.key: item for item in items.values()}
    limit = longest or max(item.length for item in distinct.values())
    length_D = np.array([min(item.length, limit) for item in distinct.values()])
    place = {key: i for i, key in enumerate(distinct)}
    distinct_R = np.array([place[item.key] for item in items.values()])
    start_R, length_R = (np.cumsum(length_D) - length_D)[distinct_R], length_D[distinct_R]
    start_N, length_N = _spread(count, list(items), start_R, length_R)
    return Column(cache.join(list(distinct.values()), limit), start_N, length_N)


def fit_normaliser(columns: Mapping[str, Column], rows_N: np.ndarray) -> Normaliser:
    """Statistics of the continuous columns over the products where `rows_N` is True.

    Raises ValueError when there is none: statistics of other products would leak into training.
    """
    if not rows_N.any():
        raise ValueError("no training product to fit a normaliser on; give the training data's")
    return Normaliser.fit({m: c.chunks(rows_N) for m, c in columns.items() if c.continuous})


def standardise(columns: Mapping[str, Column], normaliser: Normaliser) -> dict[str, Column]:
    """The same columns with their statistics; a modality that the normaliser lacks stays as is."""
    return {
        m: replace(column, mean_F=normaliser.mean[m], spread_F=normaliser.spread[m])
        if m in normaliser.mean
        else column
        for m, column in columns.items()
    }


def _spread(
    count: int, rows: list[int], start_R: np.ndarray, length_R: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """start_N and length_N of `count` products from those of the products at `rows`."""
    start_N, length_N = np.zeros(count, np.int64), np.zeros(count, np.int64)
    start_N[rows], length_N[rows] = start_R, length_R
    return start_N, length_N
