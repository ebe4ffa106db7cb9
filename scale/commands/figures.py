"""`scale figures`: pictures for slides and papers, by name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass
class Figures:
    """Write the pictures of the project, of a run and of the studies, as SVG, PNG and PDF.

    Beside each lies its caption, with the command and the commit that it came from;
    `index_<lang>.md` shows them all.

    Example: scale figures scores product --run runs/demo --lang zh --style slides
    """

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Which pictures; `--list` prints their names."""
    group: Annotated[Literal["core", "all"], tyro.conf.arg(name="set")] = "core"
    """Without names: `core`, the pictures of a talk, or `all` (several minutes)."""
    run_folder: Annotated[Path, tyro.conf.arg(name="run")] = Path("runs/demo")
    """Run folder of the model; `make demo` makes the default one."""
    catalogue: Path = Path("data_samples")
    """Folder of the catalogue whose products are shown."""
    studies: Path = Path("figures/studies")
    """Folder of the finished studies."""
    out: Path = Path("figures")
    """Folder for the pictures."""
    lang: Literal["en", "zh"] = "en"
    """Language of the labels."""
    style: Literal["paper", "slides", "dark"] = "paper"
    """Paper and web, projector, or dark page."""
    seed: int = 0
    """Of what is drawn by chance."""
    list: bool = False
    """Print the names of all pictures, those of `core` first with a star, and draw nothing."""

    def run(self) -> None:
        """Draw and say what was written. Raises RuntimeError where a picture could not be drawn,
        after all others."""
        from scale.viz.registry import CORE, FIGURES, Sources, select

        if self.list:
            print("\n".join([*(f"{n} *" for n in CORE), *(n for n in FIGURES if n not in CORE)]))
            return
        from scale.viz.writing import failures, write_pictures

        sources = Sources(self.run_folder, self.catalogue, self.studies, self.seed)
        chosen = select(self.names, self.group, sources)
        if not self.names and not any(name.startswith("study_") for name in chosen):
            print(f"no pictures of studies: {self.studies} has none that are finished")
        written = write_pictures(chosen, sources, self.out, self.lang, self.style)
        drawn = len(chosen) - len(written.failed)
        if drawn:
            print(f"written: {drawn} pictures with captions in {self.out}; see {written.paths[-1]}")
        if written.failed:
            lost = f"{len(written.failed)} of {len(chosen)} pictures were not drawn"
            raise RuntimeError(f"{lost}: {failures(written.failed)}")
