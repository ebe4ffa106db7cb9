"""`scale shards`: a catalogue's tokens written once, for training on millions of products."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from scale.config import PRESETS, Config, tiny
from scale.data.shards.writer import PRODUCTS_PER_SHARD, write_shards


@dataclass
class Shards:
    """Write the tokens of a catalogue to shards, which scale pretrain reads in its place.

    For more products than fit into memory (docs/shards.md). Stopped at any moment, the same command
    goes on; it also makes again what is missing or damaged.

    Example: scale shards --catalogue data_samples --preset tiny --out shards
    """

    catalogue: Path
    """Folder of the catalogue."""
    out: Path
    """Folder of the shards."""
    preset: Literal[tuple(PRESETS)] = "tiny"
    """Where the defaults come from; the runs to be trained must have the same features."""
    products_per_shard: int = PRODUCTS_PER_SHARD
    """Products in a file."""
    workers: int | None = None
    """Processes; default: one per core."""
    strict: bool = False
    """Stop at a bad record or media file instead of counting it as missing."""
    config: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=tiny)

    def run(self) -> None:
        """Write, and say what was written."""
        manifest = write_shards(
            self.catalogue,
            self.config,
            self.out,
            products_per_shard=self.products_per_shard,
            workers=self.workers,
            strict=self.strict,
        )
        size = sum(file.bytes for shard in manifest.shards for file in shard["files"].values())
        print(
            f"written: {self.out}, {manifest.products:,} products in {len(manifest.shards):,} "
            f"shards, {size / 1e9:.3g} GB; next: scale pretrain --catalogue {self.out} "
            f"--preset {self.preset} --out RUN"
        )
