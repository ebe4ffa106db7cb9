"""`scale embed`: to one file, or piece by piece to a folder, by any number of processes."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from scale.data.catalogue import Catalogue
from scale.evaluation.embed import embed_dataset, write_embeddings
from scale.evaluation.report import provenance
from scale.inference.embed_pieces import embed_pieces
from scale.modalities import parse_subset
from scale.training.distributed import join, leave, rank, world_size
from scale.training.run import TrainedRun


@dataclass
class Embed:
    """One vector of unit length per product, from any subset of its modalities.

    To one file, or for millions of products to a folder of parquet pieces, which torchrun or
    accelerate launch fills by several processes. Started again, it goes on with what is missing.

    Example: scale embed runs/mine --catalogue data_samples --out all.parquet --subset text+image
    """

    directory: tyro.conf.Positional[Path]
    """Run folder."""
    catalogue: Path
    """Folder of the catalogue."""
    out: Path
    """.parquet (id, embedding, what was there), or .npy with a .json of ids beside it, or a
    folder (a name without ending) for pieces."""
    subset: str = "all"
    """Modalities that may be used, e.g. text+image."""
    split: Literal["train", "val", "test"] | None = None
    """Only the products of one split."""
    batch_size: int = 64
    """Products at a time."""
    piece_size: int = 8192
    """Products of a piece, where `out` is a folder."""

    def run(self) -> None:
        """Embed and write."""
        started, subset = time.perf_counter(), parse_subset(self.subset)
        to_folder = not self.out.suffix or self.out.is_dir()
        if not to_folder and self.out.suffix not in (".parquet", ".npy"):
            raise ValueError(
                f"{self.out}: embeddings are written to .parquet, .npy or a folder, whose name "
                "has no ending or which is there already"
            )
        join("auto")
        if to_folder:
            run = TrainedRun.load(self.directory)
            store = embed_pieces(
                run, self.catalogue, self.out, subset, self.split,
                batch_size=self.batch_size, piece_size=self.piece_size,
            )  # fmt: skip
            if rank() == 0:
                left_out = sum(piece.left_out for piece in store.pieces)
                self._say(f"{store.rows} products in {len(store.pieces)} pieces", left_out)
        elif world_size() > 1:
            raise ValueError(f"{self.out}: several processes write to a folder, not to one file")
        else:
            run = TrainedRun.load(self.directory)
            data = run.dataset(Catalogue.open(self.catalogue), self.split)
            found = embed_dataset(run.model, data, self.batch_size, subset).product(subset)
            write_embeddings(self.out, found, provenance(run.config.train.seed, started))
            self._say(f"{len(found.ids)} products", len(found.left_out))
        leave()

    def _say(self, what: str, left_out: int) -> None:
        left = f"; {left_out} have none of {self.subset}" if left_out else ""
        print(f"written: {self.out}, {what}{left}")
