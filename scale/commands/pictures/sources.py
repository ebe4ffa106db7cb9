"""What the pictures of `scale figures` are drawn from, opened when first asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from matplotlib.figure import Figure

from scale.data.catalogue import Catalogue
from scale.data.dataset import ProductDataset
from scale.training.run import Run
from scale.viz.labels import Language


@dataclass
class Sources:
    """A trained run, a catalogue and the finished studies."""

    run_folder: Path
    """As `scale pretrain` wrote it."""
    catalogue_folder: Path
    """Whose products are shown."""
    studies: Path
    """Folder of `<study>-<catalogue>.parquet` files."""
    seed: int = 0
    """Of all that is drawn by chance."""

    @cached_property
    def run(self) -> Run:
        """Raises ValueError where the folder is not that of a run."""
        return Run.load(self.run_folder)

    @cached_property
    def catalogue(self) -> Catalogue:
        """Raises ValueError where the folder is not that of a catalogue."""
        return Catalogue.open(self.catalogue_folder)

    @cached_property
    def test(self) -> ProductDataset:
        """The test split, as the run's tokens."""
        return self.run.dataset(self.catalogue, "test")


Picture = Callable[[Sources, Language], Figure]
"""Draws one picture in a language."""
