"""All panels as the tabs of one widget, for `scale explore` and for notebooks."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import ipywidgets

from scale.data.catalogue import Catalogue
from scale.explore.embeddings import EmbeddingExplorer
from scale.explore.html import ClickableHtml
from scale.explore.markup import error_html
from scale.explore.masking import MaskingExplorer
from scale.explore.monitor import TrainingMonitor
from scale.explore.panel import USER_ERRORS
from scale.explore.scores import ScoreExplorer
from scale.explore.source import ExplorerSource
from scale.training.run import TrainedRun
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
    """A tab per panel; a panel is built when its tab is first selected.

    A panel that cannot be built (a model that reads nothing of the catalogue, for example) is
    replaced by its error message; the other tabs work.
    """

    def __init__(
        self,
        run: TrainedRun | Path | str,
        catalogue: Catalogue | Path | str,
        split: str | None = "test",
        lang: Language = "en",
    ) -> None:
        self._builders = panel_builders(run, catalogue, split, lang)
        self._built: set[str] = set()
        wait = f'<div class="note">{label("xp_wait", lang)}</div>'
        boxes = [ipywidgets.VBox([ClickableHtml(wait)]) for _ in PANELS]
        titles = tuple(label(key, lang) for key in TITLES.values())
        super().__init__(children=boxes, titles=titles, selected_index=0)
        self.add_class("scale-page")
        self.observe(lambda change: self.show(PANELS[change["new"]]), "selected_index")
        self.show(PANELS[0])

    def show(self, name: str) -> None:
        """Build a panel unless it is already there."""
        if name in self._built:
            return
        self._built.add(name)
        box = self.children[PANELS.index(name)]
        try:
            box.children = (self._builders[name](),)
        except USER_ERRORS as error:
            box.children = (ClickableHtml(error_html(str(error))),)

    def __repr__(self) -> str:
        return f"ExplorerPage({', '.join(PANELS)})"


def panel_builders(
    run: TrainedRun | Path | str,
    catalogue: Catalogue | Path | str,
    split: str | None,
    lang: Language,
) -> dict[str, Callable[[], ipywidgets.Widget]]:
    """Return a builder for each panel; run and catalogue are opened once, on first use."""
    folder = run.folder.folder if isinstance(run, TrainedRun) else run

    @cache
    def source() -> ExplorerSource:
        return ExplorerSource.open(run, catalogue, split)

    return {
        "scores": lambda: ScoreExplorer(source(), lang=lang),
        "masking": lambda: MaskingExplorer(source(), lang=lang),
        "embeddings": lambda: EmbeddingExplorer(source(), lang=lang),
        "training": lambda: TrainingMonitor(folder, lang=lang),
    }
