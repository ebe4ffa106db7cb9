"""`scale index`: embeddings as an index that is searched from disk."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from scale.evaluation.index import IndexSettings, ProductIndex, build_index


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
    settings: Annotated[IndexSettings, tyro.conf.arg(name="")] = field(
        default_factory=IndexSettings
    )

    def run(self) -> None:
        """Build, and print size and recall."""
        print(report(build_index(self.embeddings, self.out, self.settings)))


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
            else f"probes {way['probes']:>4}, candidates {way['candidates']:>4}"
        )
        lines.append(
            f"recall@10  {how}: {way['value']:.3f} [{way['low']:.3f}, {way['high']:.3f}] "
            f"({way['n']} queries)"
        )
    return "\n".join(lines)
