"""What the pictures of `scale figures` are drawn from, opened when first asked for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from matplotlib.figure import Figure

from scale.data.catalogue import Catalogue
from scale.data.dataset import ProductDataset
from scale.strict import require
from scale.studies.definitions import STUDIES
from scale.studies.definitions.toy import TOY_STUDIES, run_toy_study
from scale.studies.runner import load_finished
from scale.studies.study import Record, Study
from scale.training.run import TrainedRun
from scale.viz.words import Language


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
    used: set[str] = field(default_factory=set)
    """Which of `run`, `catalogue` and `studies` were asked for since this was last emptied."""

    @property
    def run(self) -> TrainedRun:
        """Raises ValueError where the folder is not that of a run."""
        self.used.add("run")
        return self._run

    @property
    def catalogue(self) -> Catalogue:
        """Raises ValueError where the folder is not that of a catalogue."""
        self.used.add("catalogue")
        return self._catalogue

    @property
    def test(self) -> ProductDataset:
        """The test split, as the run's tokens. Raises ValueError where it is empty, or where the
        run's model takes other features than the catalogue has."""
        self.used |= {"run", "catalogue"}
        return self._test

    def finished(self, name: str) -> tuple[Study, list[Record]]:
        """A study and its runs on the catalogue, which need not be there. Raises ValueError where
        there are none."""
        self.used.add("studies")
        study = STUDIES[name](False)
        require(
            self.studies.is_dir(),
            f"{self.studies}: no such folder; `scale ablate {name} --out {self.studies}` makes it",
        )
        # The toys have no catalogue, so they stand beside the studies of any.
        if name in TOY_STUDIES:
            records = run_toy_study(study, self.studies, train=False)
        else:
            records = load_finished(study, self.catalogue_folder, self.studies)
        on = "" if name in TOY_STUDIES else f" on {self.catalogue_folder.resolve().name}"
        require(bool(records), f"{self.studies}: no finished runs of the study {name}{on}")
        return study, records

    @cached_property
    def _run(self) -> TrainedRun:
        folder = self.run_folder
        made = (folder / "config.json").is_file()
        require(made, f"{folder}: is no run; `make demo` trains runs/demo, --run names another")
        return TrainedRun.load(folder)

    @cached_property
    def _catalogue(self) -> Catalogue:
        return Catalogue.open(self.catalogue_folder)

    @cached_property
    def _test(self) -> ProductDataset:
        data = self._run.dataset(self._catalogue, "test")
        require(len(data) > 0, f"{self.catalogue_folder}: no product in the test split")
        return data


Picture = Callable[[Sources, Language], Figure]
"""Draws one picture in a language."""
