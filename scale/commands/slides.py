"""`scale slides`: an editable deck for a talk on the paper."""

from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import tyro

from scale.config import require


@dataclass
class Slides:
    """Write a 16:9 deck (.pptx) for a talk on SCALE, with the results of a run and of the studies.

    Charts and tables are native and editable; every slide has speaker notes. Slides whose results
    are missing are left out and listed.

    Example: scale slides --run runs/demo --lang zh --out talk.pptx
    """

    run_folder: Annotated[Path, tyro.conf.arg(name="run")] = Path("runs/demo")
    """Run folder of the model; `make demo` writes the default one."""
    catalogue: Path = Path("data_samples")
    """Folder of the catalogue whose products are shown."""
    studies: Path = Path("figures/studies")
    """Folder of the finished studies."""
    out: Path | None = None
    """File to write; default: figures/scale_<lang>.pptx."""
    lang: Literal["en", "zh"] = "en"
    """Language of slides and speaker notes."""
    talk: Path | None = None
    """A talk.toml that chooses, orders, changes and adds slides (docs/slides.md), or `short`: 16
    slides for a talk of 25 minutes, with the minutes of each slide in its notes."""
    outline: bool = False
    """Only print the list of slides with their sources."""
    date: str = ""
    """Date in the footer, e.g. 2026-11-25; default: that of talk.toml, else today."""
    seed: int = 0
    """Random seed of sampled products and of projections."""

    def run(self) -> None:
        """Write the deck and print the slides that were left out.

        Raises ValueError if run, catalogue or talk.toml cannot be read, or if text does not fit its
        box; ImportError if python-pptx is missing.
        """
        if find_spec("pptx") is None:
            raise ImportError("python-pptx is missing: pip install 'scale-workbench[slides]'")
        from scale.talk.plan import find_talk, read_talk, standard_talk

        talk = read_talk(find_talk(self.talk)) if self.talk else standard_talk()
        if self.outline:
            from scale.talk.plan import outline

            print(outline(talk, self.lang))
            return
        from scale.talk.deck import make_deck, write_deck
        from scale.talk.material import Material
        from scale.viz.registry import Sources
        from scale.viz.writing import require_writable

        day = self._day(talk.date)
        out = self.out or Path(f"figures/scale_{self.lang}.pptx")
        require_writable(out.parent)
        require(not out.is_dir(), f"{out}: a folder, not a file")
        sources = Sources(self.run_folder, self.catalogue, self.studies, self.seed)
        result = make_deck(Material(sources, self.lang), talk, day)
        write_deck(result.deck, out, day, talk.speaker)
        for key, reason in result.left_out.items():
            print(f"left out: {key}: {reason}")
        count = f"{result.slides} slide{'s' * (result.slides != 1)}"
        left = f", {len(result.left_out)} left out" if result.left_out else ""
        time = f", {result.minutes:g} minutes" if result.minutes else ""
        print(f"written: {out}, {count}{left}{time}, {out.stat().st_size / 1e6:.1f} MB")

    def _day(self, planned: str) -> date:
        given, name = (self.date, "--date") if self.date else (planned, f"{self.talk}: date")
        try:
            return date.fromisoformat(given) if given else date.today()
        except ValueError as error:
            raise ValueError(f"{name} {given!r}: write it as 2026-11-25") from error
