"""`scale index`: embeddings as an index that is searched from disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from scale.evaluation.build_index import IndexSettings, build_index
from scale.evaluation.product_index import ProductIndex


@dataclass
class Index:
    """Build a search index on disk from a folder that scale embed wrote, and report its recall
    against exact search.

    Example: scale index runs/mine/vectors --out runs/mine/index --kind ivfpq
    """

    embeddings: tyro.conf.Positional[Path]
    """Folder of pieces, from scale embed --out FOLDER."""
    out: Path
    """Folder of the index; an earlier index there is replaced when the new one is whole."""
    kind: Literal["flat", "ivfpq"] = "ivfpq"
    """flat: exact. ivfpq: looks only into the lists nearest to the query."""
    lists: int = 0
    """Lists of ivfpq; 0: 4 sqrt(products)."""
    code_bytes: int = 0
    """Bytes of a product's code; 0: one for 12 dimensions."""
    train_vectors: int = 0
    """Vectors to learn lists and codes from; 0: 40 for each list."""
    probes: int = 0
    """Lists that a query looks into; 0: lists / 64, at least 8."""
    candidates: int = 200
    """Products of a query that are ranked again by their exact cosine; 0: none."""
    queries: int = 1000
    """Products drawn as queries to measure recall."""
    seed: int = 0
    """Of all that is drawn."""

    def run(self) -> None:
        """Build, and print size and recall."""
        settings = IndexSettings(
            self.kind, self.lists, self.code_bytes, self.train_vectors, self.probes,
            self.candidates, self.queries, self.seed,
        )  # fmt: skip
        print(report(build_index(self.embeddings, self.out, settings)))


def report(index: ProductIndex) -> str:
    """What was built, and its recall, a line each way to search."""
    facts = index.manifest
    mebibytes = sum(file["bytes"] for file in facts["files"].values()) / 2**20
    lines = [
        f"written: {index.folder}, {facts['kind']}, {facts['rows']} products of width "
        f"{facts['width']}, {mebibytes:.1f} MiB, seconds: "
        + ", ".join(f"{name} {seconds:.1f}" for name, seconds in facts["seconds"].items())
    ]
    for way in facts["recall"]:
        how = (
            "exact"
            if way["probes"] is None
            else f"probes {way['probes']:>4}, candidates " + (f"{way['candidates']:>4}")
        )
        lines.append(
            f"recall@10  {how}: {way['value']:.3f} [{way['low']:.3f}, {way['high']:.3f}] "
            f"({way['n']} queries)"
        )
    return "\n".join(lines)
