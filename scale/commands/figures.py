"""`scale figures`: figures for slides and papers, by name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass
class Figures:
    """Write figures of the method, of a run and of the studies, as SVG, PNG and PDF.

    The text of an SVG is live: it can be edited, searched and copied.

    Each figure has a caption file with the command and the commit that made it;
    `index_<lang>.md` shows all figures of the folder.

    Example: scale figures scores product --run runs/demo --lang zh --style slides
    """

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Names of the figures; `--list` prints them."""
    group: Annotated[Literal["core", "all"], tyro.conf.arg(name="set")] = "core"
    """Without names: `core` (for a talk) or `all` (some minutes)."""
    run_folder: Annotated[Path, tyro.conf.arg(name="run")] = Path("runs/demo")
    """Run folder of the model; `make demo` writes the default one."""
    catalogue: Path = Path("data_samples")
    """Folder of the catalogue whose products are shown."""
    studies: Path = Path("figures/studies")
    """Folder of the finished studies."""
    out: Path = Path("figures")
    """Folder to write."""
    lang: Literal["en", "zh"] = "en"
    """Language of the labels."""
    style: Literal["paper", "slides", "dark"] = "paper"
    """For paper and web pages, for a projector, or for a dark page."""
    formats: tuple[Literal["svg", "png", "pdf"], ...] = ("svg", "png", "pdf")
    """File formats."""
    seed: int = 0
    """Random seed of sampled products and of projections."""
    list: bool = False
    """Only print the names of all figures, those of `core` first and with a star."""

    def run(self) -> None:
        """Draw the figures and print the paths.

        Raises RuntimeError after the last figure if any of them could not be drawn.
        """
        from scale.viz.registry import CORE, FIGURES, FOR_PRINT, Sources, select

        if self.list:
            print("\n".join([*(f"{n} *" for n in CORE), *(n for n in FIGURES if n not in CORE)]))
            return
        from scale.viz.writing import failures, require_writable, write_pictures

        require_writable(self.out)
        sources = Sources(self.run_folder, self.catalogue, self.studies, self.seed)
        on_slides = self.style == "slides"
        chosen = select(self.names, self.group, sources, on_slides)
        left_out = set(select((), self.group, sources)) & set(FOR_PRINT) if on_slides else ()
        if left_out and not self.names:
            print(f"not for slides: {', '.join(sorted(left_out))}")
        if not self.names and not any(name.startswith("study_") for name in chosen):
            print(f"no figures of studies: {self.studies} contains no finished study")
        formats = tuple(dict.fromkeys(self.formats))
        written = write_pictures(chosen, sources, self.out, self.lang, self.style, formats)
        drawn = len(chosen) - len(written.failed)
        if drawn:
            print(f"written: {drawn} figures with captions in {self.out}; see {written.paths[-1]}")
        if written.failed:
            lost = f"{len(written.failed)} of {len(chosen)} figures were not drawn"
            raise RuntimeError(f"{lost}: {failures(written.failed)}")
