"""Settings of an index on disk, apart so that the command line need not import torch or faiss."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Literal

MIN_TRAIN = 256
"""Training vectors that a code of 8 bits needs."""


@dataclass(frozen=True)
class IndexSettings:
    """Settings of an index; 0 chooses by the number of products (see `resolved`)."""

    kind: Literal["flat", "ivfpq"] = "ivfpq"
    """flat: exact, every query reads every vector. ivfpq: visits the nearest lists only."""
    lists: int = 0
    """Lists of ivfpq; 0: 2 sqrt(products), at most products / 39."""
    code_bytes: int = 0
    """Bytes of a product's code; 0: one byte per 8 dimensions (96 at width 768)."""
    train_vectors: int = 0
    """Vectors to learn lists and codes from; 0: 40 per list."""
    probes: int = 0
    """Lists that a query visits; 0: lists / 64, at least 8."""
    candidates: int = 200
    """Products that are ranked again by exact cosine, per query; 0: none."""
    queries: int = 1000
    """Products drawn as queries to measure recall."""
    target_recall: float = 0.0
    """Choose probes and candidates of ivfpq for this recall@10, measured on half of the queries (at
    least 100 queries); 0: those given."""
    seed: int = 0
    """Of all random draws: training vectors, lists and queries."""

    def resolved(self, count: int, width: int) -> "IndexSettings":
        """Replace every 0 by the value for N = `count` products of `width`.

        Raises:
            ValueError: an impossible number.
        """
        if self.kind not in ("flat", "ivfpq"):
            raise ValueError(f"unknown kind {self.kind!r}; known: flat, ivfpq")
        numbers = asdict(self)
        if min(v for name, v in numbers.items() if name != "kind") < 0:
            raise ValueError(f"negative setting: {numbers}")
        if self.target_recall and not (0 < self.target_recall <= 1 and self.queries >= 100):
            raise ValueError(
                f"a target recall of {self.target_recall} with {self.queries} queries; it is "
                "above 0 and at most 1, and needs at least 100 queries"
            )
        if self.kind == "flat":
            return IndexSettings("flat", candidates=0, queries=self.queries, seed=self.seed)
        if count < MIN_TRAIN:
            raise ValueError(
                f"{count} products are too few for ivfpq ({MIN_TRAIN}): use --kind flat"
            )
        lists = self.lists or max(1, min(round(2 * math.sqrt(count)), count // 39))
        code_bytes = self.code_bytes or _code_bytes(width)
        train = min(count, self.train_vectors or max(40 * lists, 64 * MIN_TRAIN))
        if width % code_bytes:
            raise ValueError(f"{code_bytes} code bytes do not divide the width {width}")
        if lists > train or train < MIN_TRAIN:
            raise ValueError(f"{train} training vectors are too few for {lists} lists")
        probes = min(lists, self.probes or max(8, lists // 64))
        return replace(self, lists=lists, code_bytes=code_bytes, train_vectors=train, probes=probes)


def _code_bytes(width: int) -> int:
    """Return one byte per 8 dimensions, at least 8 in all; a divisor of the width."""
    most = max(width // 8, min(width, 8))
    return max(d for d in range(1, most + 1) if width % d == 0)
