"""`scale figures`: pictures for slides and papers, by name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass
class Figures:
    """Write the pictures of the notebooks, of a run and of the studies, as PNG and SVG.

    Without names: all of them.

    Example: scale figures scores product --run runs/demo --lang zh --style slides
    """

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Which pictures; `--list` prints their names."""
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
    """Print the names and draw nothing."""

    def run(self) -> None:
        """Draw and say what was written."""
        from scale.commands.pictures import PICTURES, draw_pictures
        from scale.commands.pictures.sources import Sources

        if self.list:
            print("\n".join(PICTURES))
            return
        sources = Sources(self.run_folder, self.catalogue, self.studies, self.seed)
        paths = draw_pictures(self.names, sources, self.out, self.lang, self.style)
        print("written: " + ", ".join(str(path) for path in paths))
