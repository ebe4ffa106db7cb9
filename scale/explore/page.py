"""All panels as the tabs of one widget, for `scale explore` and for notebooks."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import anywidget
import ipywidgets
import traitlets

from scale.data.catalogue import Catalogue
from scale.explore.embeddings import EmbeddingExplorer
from scale.explore.markup import error_html, note_html
from scale.explore.masking import MaskingExplorer
from scale.explore.monitor import TrainingMonitor
from scale.explore.panel import ASSETS, USER_ERRORS, ClickableHtml, Panel
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
        run: TrainedRun | ExplorerSource | Path | str,
        catalogue: Catalogue | Path | str,
        split: str | None = "test",
        lang: Language = LANG,
        beside: bool = False,
        others: Sequence[ExplorerSource] = (),
        present: bool = False,
    ) -> None:
        """
        Args:
            beside: as in `EmbeddingExplorer`.
            present: as in `TrainingMonitor`.
            others: other runs with the same products, for comparison in scores and masking.
        """
        if isinstance(run, ExplorerSource):
            source, folder = (lambda: run), run.run.folder.folder
        else:
            source = cache(lambda: ExplorerSource.open(run, catalogue, split))
            folder = run.folder.folder if isinstance(run, TrainedRun) else run
        self._builders: dict[str, Callable[[], ipywidgets.Widget]] = {
            "scores": lambda: ScoreExplorer(
                source(), lang=lang, open_task=self.open_task, others=others
            ),
            "masking": lambda: MaskingExplorer(source(), lang=lang, others=others),
            "embeddings": lambda: EmbeddingExplorer(source(), lang=lang, beside=beside),
            "training": lambda: TrainingMonitor(folder, lang=lang, present=present),
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
        if isinstance(self.panel, MaskingExplorer):
            self.panel.choose(product, task)

    @property
    def panel(self) -> Panel | None:
        """The panel of the selected tab; None if it cannot be built."""
        (found,) = self.children[self.selected_index].children
        return found if isinstance(found, Panel) else None

    def __repr__(self) -> str:
        return f"ExplorerPage({', '.join(PANELS)})"


HEADER_WORDS = (
    *("language", "colours", "light", "dark", "view", "present", "link", "copied"),
    *("picture", "gone", "reload"),
)
"""Labels of the header; `xp_<name>` is the key."""


class PageHeader(anywidget.AnyWidget):
    """Run, catalogue and product; buttons for language, colours and pictures; a message when the
    kernel has ended. The address of the browser is `query`.

    Args:
        picture: called with `png` or `svg` for a picture of the panel.
    """

    _esm = ASSETS / "page.js"
    _css = ASSETS / "page.css"
    facts = traitlets.Dict().tag(sync=True)
    words = traitlets.Dict().tag(sync=True)
    lang = traitlets.Unicode().tag(sync=True)
    theme = traitlets.Unicode().tag(sync=True)
    present = traitlets.Bool().tag(sync=True)
    query = traitlets.Unicode().tag(sync=True)

    def __init__(self, picture: Callable[[str], Any], lang: Language, **traits: Any) -> None:
        words = {name: label(f"xp_{name}", lang) for name in HEADER_WORDS}
        super().__init__(lang=lang, words=words, **traits)
        self._picture = picture
        self.on_msg(self._receive)

    def _receive(self, _: Any, content: Any, __: Any) -> None:
        if isinstance(content, dict) and content.get("picture") in ("png", "svg"):
            self._picture(content["picture"])

    def __repr__(self) -> str:
        return f"PageHeader({self.query})"


class ServedPage(ipywidgets.VBox):
    """The page of `scale explore`: a header above the panels.

    Args:
        options: `catalogue`, `split`, and defaults of `lang`, `theme` and `present`.
        query: of the page's address: the panel, its choices, and other values of the defaults.
        others: other runs with the same products.
    """

    def __init__(
        self,
        source: ExplorerSource,
        options: dict[str, Any],
        query: str = "",
        others: Sequence[ExplorerSource] = (),
    ) -> None:
        given = dict(parse_qsl(query))
        self._source, self._options = source, options
        lang = given.get("lang", options["lang"])
        lang = lang if lang in ("en", "zh") else options["lang"]
        theme = given.get("theme", options["theme"])
        present = given.get("present", "1" if options["present"] else "0") == "1"
        self.header = PageHeader(self._picture, lang, theme=theme, present=present)
        self.page = ExplorerPage(
            source,
            options["catalogue"],
            options["split"],
            lang,
            beside=True,
            others=others,
            present=present,
        )
        super().__init__([self.header, self.page])
        self.page.observe(self._show_panel, "selected_index")
        if given.get("panel") in PANELS:
            self.page.selected_index = PANELS.index(given["panel"])
        if self.page.panel is not None:
            self.page.panel.restore(given)
        self._show_panel()

    def _show_panel(self, _: Any = None) -> None:
        """Follow the choices of the selected panel."""
        if self.page.panel is not None:
            self.page.panel.observe(self._show_choices, "address")
        self._show_choices()

    def _show_choices(self, _: Any = None) -> None:
        """Show the choices of the panel in the header and in the address."""
        panel, header, options = self.page.panel, self.header, self._options
        view = {"lang": header.lang, "theme": header.theme}
        if header.present != bool(options["present"]):
            view["present"] = str(int(header.present))
        if self.page.selected_index:
            view["panel"] = PANELS[self.page.selected_index]
        address = "" if panel is None else panel.address
        header.query = urlencode(view) + (f"&{address}" if address else "")
        split = options["split"] or label("xp_all_splits", header.lang)
        facts = {
            "run": Path(options["run"]).name,
            "catalogue": f"{Path(options['catalogue']).name} · {split}",
        }
        chosen = panel.choices.get("product") if panel is not None else None
        product = chosen.read() if chosen is not None else ""
        if product not in self._source.row_of:
            # On the map, a point has the name of its modality after a blank.
            product = product.rpartition(" ")[0]
        if product:
            facts["product"] = self._source.line(self._source.row(product))
        header.facts = {label(f"xp_{name}", header.lang): facts[name] for name in facts}

    def _picture(self, kind: str) -> None:
        if self.page.panel is not None:
            self.page.panel.download_picture(kind)

    def __repr__(self) -> str:
        return f"ServedPage({', '.join(PANELS)})"
