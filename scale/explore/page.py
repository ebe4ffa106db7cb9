"""All explorers on one page: what `scale explore` shows, and a cell of a notebook can."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import ipywidgets

from scale.explore.embeddings import EmbeddingExplorer
from scale.explore.explorer import COMPLAINTS
from scale.explore.html import Surface
from scale.explore.markup import complaint
from scale.explore.masking import MaskingExplorer
from scale.explore.monitor import TrainingMonitor
from scale.explore.scores import ScoreExplorer
from scale.explore.subject import Subject
from scale.viz.words import Language, label

TITLES = {
    "scores": "xp_scores",
    "masking": "xp_masking",
    "embeddings": "xp_embeddings",
    "training": "xp_training",
}
PANELS = tuple(TITLES)
"""In the order of the tabs."""


class ExplorerPage(ipywidgets.Tab):
    """A tab for each explorer; one is built when it is first shown, so that the page opens at once.

    What cannot be built (a run without logged scores, a model that reads nothing of the catalogue)
    says so in its own tab.
    """

    def __init__(
        self,
        run: Path | str,
        catalogue: Path | str,
        split: str | None = "test",
        lang: Language = "en",
    ) -> None:
        self._lang: Language = lang
        self._makers = panel_makers(run, catalogue, split, lang)
        self._built: set[str] = set()
        waiting = [ipywidgets.VBox([Surface(_line("xp_wait", lang))]) for _ in PANELS]
        titles = tuple(label(key, lang) for key in TITLES.values())
        super().__init__(children=waiting, titles=titles, selected_index=0)
        self.add_class("scale-page")
        self.observe(lambda change: self.show(PANELS[change["new"]]), "selected_index")
        self.show(PANELS[0])

    def show(self, name: str) -> None:
        """Build a panel, unless it stands already."""
        if name in self._built:
            return
        self._built.add(name)
        box = self.children[PANELS.index(name)]
        try:
            box.children = (self._makers[name](),)
        except COMPLAINTS as error:
            box.children = (Surface(complaint(str(error))),)

    def __repr__(self) -> str:
        return f"ExplorerPage({', '.join(PANELS)})"


def panel_makers(
    run: Path | str, catalogue: Path | str, split: str | None, lang: Language
) -> dict[str, Callable[[], ipywidgets.Widget]]:
    """By name, what builds each panel; run and catalogue are opened once, when first needed."""

    @cache
    def subject() -> Subject:
        return Subject.open(run, catalogue, split)

    return {
        "scores": lambda: ScoreExplorer(subject(), lang=lang),
        "masking": lambda: MaskingExplorer(subject(), lang=lang),
        "embeddings": lambda: EmbeddingExplorer(subject(), lang=lang),
        "training": lambda: TrainingMonitor(run, lang=lang),
    }


def _line(key: str, lang: Language) -> str:
    return f'<div class="note">{label(key, lang)}</div>'
