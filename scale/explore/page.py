"""All panels as the tabs of one widget, for `scale explore` and for notebooks."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import ipywidgets

from scale.data.catalogue import Catalogue
from scale.explore.embeddings import EmbeddingExplorer
from scale.explore.markup import error_html, note_html
from scale.explore.masking import MaskingExplorer
from scale.explore.monitor import TrainingMonitor
from scale.explore.panel import USER_ERRORS, ClickableHtml
from scale.explore.scores import ScoreExplorer
from scale.explore.source import ExplorerSource
from scale.training.run import TrainedRun
from scale.viz.words import LANG, Language, label

PANELS = ("scores", "masking", "embeddings", "training")
"""Names in the order of the tabs; `xp_<name>` is the label of the title."""


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
        lang: Language = LANG,
    ) -> None:
        source = cache(lambda: ExplorerSource.open(run, catalogue, split))
        folder = run.folder.folder if isinstance(run, TrainedRun) else run
        self._builders: dict[str, Callable[[], ipywidgets.Widget]] = {
            "scores": lambda: ScoreExplorer(source(), lang=lang, open_task=self.open_task),
            "masking": lambda: MaskingExplorer(source(), lang=lang),
            "embeddings": lambda: EmbeddingExplorer(source(), lang=lang),
            "training": lambda: TrainingMonitor(folder, lang=lang),
        }
        wait = note_html(label("xp_wait", lang))
        boxes = [ipywidgets.VBox([ClickableHtml(wait)]) for _ in PANELS]
        titles = tuple(label(f"xp_{name}", lang) for name in PANELS)
        super().__init__(children=boxes, titles=titles, selected_index=0)
        self.add_class("scale-page")
        self.observe(lambda change: self.show(PANELS[change["new"]]), "selected_index")
        self.show(PANELS[0])

    def show(self, name: str) -> None:
        """Build a panel unless it exists."""
        builder = self._builders.pop(name, None)
        if builder is None:
            return
        box = self.children[PANELS.index(name)]
        try:
            box.children = (builder(),)
        except USER_ERRORS as error:
            box.children = (ClickableHtml(error_html(str(error))),)

    def open_task(self, task: str, product: str) -> None:
        """Show the masked predictions of a pretext task for a product."""
        self.selected_index = PANELS.index("masking")
        (panel,) = self.children[self.selected_index].children
        if isinstance(panel, MaskingExplorer):
            panel.choose(product, task)

    def __repr__(self) -> str:
        return f"ExplorerPage({', '.join(PANELS)})"
