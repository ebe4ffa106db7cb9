"""The embedding explorer: maps of products, and nearest neighbours in the original space."""

import asyncio
from collections.abc import Sequence
from functools import partial
from html import escape
from pathlib import Path
from subprocess import Popen
from types import SimpleNamespace

import ipywidgets
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scale.config import require
from scale.data.product import Product
from scale.explore import embedding_views as views
from scale.explore.embedding_views import MapState
from scale.explore.markup import listed, note_html, status_html, warning_html
from scale.explore.panel import (
    MAX_LISTED,
    SHORT,
    Choice,
    ClickableHtml,
    Panel,
    Throttle,
    button,
    checkbox,
    choice_of,
    dropdown,
    observe,
    wrapping_row,
)
from scale.explore.point_map import HEIGHT, PointMap
from scale.explore.projections import Grouping, MapView, Point, Projections
from scale.explore.source import ExplorerSource
from scale.inference.search import embed_query
from scale.modalities import MODALITIES
from scale.viz.words import LANG, Language, label

SIDE_BY_SIDE = 390
"""Height of each of two maps in pixels."""
POLL_SECONDS = 1.0
"""Time between two looks for a map that another process computes."""
NO_PRODUCT = -1
"""Value of the drop-down without a chosen product (ipywidgets shows nothing for None)."""
CSV_NAME = "selection.csv"
NEAREST = 10
"""Results of a search by meaning, which has no natural end."""


def search_by_meaning(
    source: ExplorerSource, words: str, lang: Language = LANG
) -> tuple[list[int], list[float]]:
    """Return rows and cosines of the products nearest to the words, embedded as a title.

    Raises ValueError if the model reads no text.
    """
    require("text" in source.run.config.model.modalities, label("xe_no_text", lang))
    query_D = embed_query(source.run, Product(id="query", text=words))
    found = source.index.query(query_D[None], NEAREST)
    return [source.row_of[name] for name in found.ids[0]], found.score_QK[0].tolist()


class EmbeddingExplorer(Panel):
    """Maps of a run's embeddings. Hover to see a product; click for its nearest neighbours in the
    original space and which of them are far away on the map; select products with a lasso, a colour
    or a search, for a table and a CSV file.

    Args:
        kind: the points: `product`, a modality, or `each` (one per product and modality).
        colour: `category`, `count` or `missing` (modalities), `cluster`, or `modality`.
        projection: `umap` or `pca`.
        second: a second map: `untrained` (the same, before training), or a modality.
        product: id of the product shown first.
        beside: compute new maps by UMAP in another process, and show PCA meanwhile.

    Raises:
        ValueError: an unknown choice or product.
    """

    def __init__(
        self,
        source: ExplorerSource,
        lang: Language = LANG,
        kind: str = "product",
        colour: str = "category",
        projection: str = "umap",
        second: str | None = None,
        product: str | None = None,
        beside: bool = False,
    ) -> None:
        super().__init__(lang)
        self.source, self._beside = source, beside
        self._projections = Projections(source)
        self._grouping = Grouping(self._projections, lang)
        self._computing: dict[MapView, Popen] = {}
        self._states: tuple[MapState, ...] = ()
        self._maps: list[PointMap] = []
        self._rows: tuple[int, ...] = ()
        self._point = None if product is None else Point(source.row(product))
        self._hovered: Point | None = None
        self._inspect_soon = Throttle(self._inspect)
        self._make_controls(kind, projection, colour, second or "")
        self._make_panes()
        self._offer(source.rows)
        self.add_class("scale-embeddings")
        self.panes.inspector.html = note_html(self.word("xe_hover"))
        self.start(self._arrange())

    def _make_controls(self, kind: str, projection: str, colour: str, second: str) -> None:
        choices = {
            "kind": ("xe_points_of", self.words(views.KIND_NAMES), kind, "250px"),
            "projection": ("xe_projection", views.PROJECTION_NAMES, projection, "150px"),
            "colour": ("xe_colours", self.words(views.COLOUR_NAMES), colour, "220px"),
            "second": ("xe_second", self.words(views.SECOND_NAMES), second, "220px"),
        }
        for key, names, value, _ in choices.values():
            known = ", ".join(map(str, names))
            require(value in names, f"unknown choice {value!r} ({self.word(key)}); known: {known}")
        nothing = {NO_PRODUCT: self.word("xe_choose")}
        self.controls = c = SimpleNamespace(
            **{name: dropdown(self.word(key), *each) for name, (key, *each) in choices.items()},
            product=dropdown(self.word("xe_product"), nothing, NO_PRODUCT, "420px"),
            search=self._text("xe_search", "", "330px", self.word("xe_search_hint")),
            by_model=checkbox(self.word("xe_by_model"), False),
            pictures=checkbox(self.word("xh_pictures"), True),
            names=checkbox(self.word("xe_names"), True),
            save=button(self.word("xe_save"), self.download, icon="download"),
            clear=button(self.word("xe_clear"), self.clear),
        )
        observe(self.changed, c.kind, c.projection, c.colour, c.second)
        observe(lambda _: self._search(), c.search, c.by_model)
        observe(lambda _: self._show_layers(), c.pictures, c.names)
        observe(self._on_product, c.product)
        for name in (
            "kind",
            "projection",
            "colour",
            "second",
            "by_model",
            "search",
            "pictures",
            "names",
        ):
            self.choices[name] = choice_of(getattr(c, name))
        self.choices["product"] = Choice(self._point_name, self._choose_by_name)

    def _point_name(self) -> str:
        """Return the chosen product, and its modality after a blank."""
        point = self._point
        return (
            "" if point is None else f"{self.source.data.ids[point.row]} {point.modality}".strip()
        )

    def _choose_by_name(self, name: str) -> None:
        """Choose a product, and a modality after the last blank if it is the name of one."""
        product, _, modality = name.rpartition(" ")
        named = modality in MODALITIES and name not in self.source.row_of
        self.choose(product if named else name, modality if named else "")

    def _text(self, key: str, value: str, width: str, hint: str = "") -> ipywidgets.Text:
        return ipywidgets.Text(
            value,
            description=self.word(key),
            placeholder=hint,
            continuous_update=False,
            style=SHORT,
            layout={"width": width},
        )

    def _make_panes(self) -> None:
        """Create the empty parts of the page, with the CSS class `scale-embeddings-<name>`."""

        def products() -> ClickableHtml:
            return ClickableHtml(picked=lambda key, _: self.choose(key))

        self.panes = SimpleNamespace(
            status=ClickableHtml(),
            frame=ipywidgets.Box().add_class("scale-maps"),
            inspector=ClickableHtml(),
            legend=ClickableHtml(picked=lambda key, _: self._pick_group(int(key))),
            finds=products(),
            neighbours=products(),
            picked=products(),
            saved=ClickableHtml(),
        )
        for name, pane in vars(self.panes).items():
            pane.add_class(f"scale-embeddings-{name}")

    def _arrange(self) -> list[ipywidgets.Widget]:
        c, panes = self.controls, self.panes
        parts = {
            "xp_part_map": [
                wrapping_row(c.kind, c.projection, c.colour, c.second, c.pictures, c.names),
                wrapping_row(c.search, c.by_model, c.product),
                panes.finds,
                ClickableHtml(note_html(self.word("xe_how"))).add_class("scale-help"),
                panes.status,
                ipywidgets.Box([panes.frame, panes.inspector]).add_class("scale-map-beside"),
                panes.legend,
            ],
            "xp_part_near": [panes.neighbours],
            "xp_part_selection": [panes.picked, wrapping_row(c.save, c.clear), panes.saved],
        }
        return self.in_parts(parts)

    @property
    def selected(self) -> tuple[str, ...]:
        """Ids of the selected products."""
        return tuple(self.source.data.ids[row] for row in self._rows)

    def choose(self, product: str, modality: str = "") -> None:
        """Show a product and its neighbours, like a click on its point."""
        with self.showing_errors():
            self._point, self._hovered = Point(self.source.row(product), modality), None
            self._show()

    def select(self, products: Sequence[str]) -> None:
        """Select products, like a lasso."""
        with self.showing_errors():
            self._rows = tuple(map(self.source.row, products))
            self._show()

    def clear(self) -> None:
        """Clear the selection, the chosen product and the search."""
        self._rows, self._point, self._hovered = (), None, None
        self.panes.inspector.html = note_html(self.word("xe_hover"))
        self.controls.search.value = ""
        with self.showing_errors():
            self._show()

    def save(self, path: Path | str) -> None:
        """Write the selected products to a CSV file.

        Raises ValueError without products, for a name that does not end in .csv, and if the file
        cannot be written.
        """
        views.write_csv(self.source, self._rows, Path(path), self.lang)

    def download(self) -> None:
        """Let the browser save the selected products as a CSV file."""
        self.panes.saved.html = ""
        with self.showing_errors():
            self.browser.download(CSV_NAME, views.csv_bytes(self.source, self._rows, self.lang))
            message = self.word("xe_saved", n=len(self._rows), path=CSV_NAME)
            self.panes.saved.html = status_html(escape(message))

    def update(self) -> None:
        """Draw the maps chosen in the controls."""
        chosen, status = self._views(), ""
        new = [view for view in chosen if not self._projections.has(view)]
        if new and self._compute_beside(new):
            status = status_html(self.word("xe_beside"))
            chosen = [view._replace(projection="pca") if view in new else view for view in chosen]
        elif new:
            self.panes.status.html = status_html(self.word("xe_mapping"))
        try:
            self._states = tuple(self._state(view) for view in chosen)
        finally:
            self.panes.status.html = status
        for number, state in enumerate(self._states):
            self._draw(number, state)
        self.panes.legend.html = views.legend_html(self._states[0].groups, self.lang)
        self._show()
        self._show_layers()
        # Last: a browser view that is still being created misses changes.
        self.panes.frame.children = self._maps[: len(chosen)]

    def _compute_beside(self, new: Sequence[MapView]) -> bool:
        """Compute maps in other processes; return False if the kernel has to compute them."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        if not self._beside:
            return False
        for view in new:
            process = self._computing.get(view) or self._projections.start(view)
            self._computing[view] = process
            if process.poll() is not None:
                return False  # Failed: the kernel raises the error.
        loop.call_later(POLL_SECONDS, self._look_for_maps)
        return True

    def _look_for_maps(self) -> None:
        """Show maps that another process has computed, or look again later."""
        running = [process.poll() is None for process in self._computing.values()]
        if all(running):
            asyncio.get_running_loop().call_later(POLL_SECONDS, self._look_for_maps)
        else:
            self.changed()

    def _views(self) -> list[MapView]:
        first = MapView("best", self.controls.kind.value, self.controls.projection.value)
        second = self.controls.second.value
        if not second:
            return [first]
        if second == "untrained":
            return [first, first._replace(model="untrained")]
        return [first, first._replace(kind=second)]

    def _state(self, view: MapView) -> MapState:
        points, colour = self._projections.points(view), self.controls.colour.value
        groups = self._grouping.groups(colour, points)
        return MapState(view, points, self._projections.xy(view), groups, colour)

    def _draw(self, number: int, state: MapState) -> None:
        if number < len(self._maps):
            self._maps[number].move(state.xy_P2, state.groups)
        else:
            calls = (partial(f, number) for f in (self._on_hover, self._on_pick, self._picture))
            self._maps.append(PointMap(state.xy_P2, state.groups, *calls, self.lang))
        self._maps[number].set_height(HEIGHT if len(self._states) == 1 else SIDE_BY_SIDE)
        self._maps[number].title.html = views.title_html(state, self.lang)

    def _picture(self, number: int, index: int) -> str:
        """Return the picture of a point's product as a data URI."""
        return self.source.thumbnail(int(self._states[number].points.row_P[index]))

    def _show_layers(self) -> None:
        for drawn in self._maps:
            drawn.layer.pictures = self.controls.pictures.value
            drawn.layer.names = self.controls.names.value
        self.note_address()

    # `jscatter.link` matches the points of two maps, but drops a selected product that one of them
    # lacks. Therefore selection and hover go through the rows of the products.

    def _on_hover(self, number: int, index: int | None) -> None:
        self._hovered = None if index is None else self._states[number].points.point(index)
        for other, state in enumerate(self._states):
            if other != number:
                found = None if self._hovered is None else state.points.index_of(self._hovered)
                self._maps[other].hover(found)
        self._inspect_soon()

    def _on_pick(self, number: int, index_K: NDArray[np.int64]) -> None:
        points = self._states[number].points
        self._rows = tuple(dict.fromkeys(points.row_P[index_K].tolist()))
        if len(index_K) == 1:
            self._point = points.point(int(index_K[0]))
        with self.showing_errors():
            self._show(but=number)

    def _pick_group(self, group: int) -> None:
        if self._states:
            first = self._states[0]
            row_K = first.points.row_P[first.groups.code_P == group]
            self._rows = tuple(dict.fromkeys(row_K.tolist()))
            with self.showing_errors():
                self._show()

    def _on_product(self, change: dict) -> None:
        row = change["new"]
        if row != NO_PRODUCT and (self._point is None or row != self._point.row):
            self.choose(self.source.data.ids[row])

    def _search(self) -> None:
        words = self.controls.search.value.strip()
        if not words and not self.panes.finds.html:
            return
        score: list[float] = []
        unknown: list[str] = []
        with self.showing_errors():
            if words and self.controls.by_model.value:
                rows, score = search_by_meaning(self.source, words, self.lang)
                unknown = self.source.unknown_words(words)
                if unknown and not self.source.known_words(words):
                    rows, score = [], []
            else:
                rows = self.source.find(words) if words else []
            found = views.results_html(self.source, rows, score, self.lang)
            if unknown:
                text = self.word("xe_unknown_words", words=listed(unknown, self.lang))
                found = warning_html(escape(text)) + (found if rows else "")
            self.panes.finds.html = found if words else ""
            self._offer(rows if words else self.source.rows)
            self._rows = tuple(rows)
            self._show()

    def _offer(self, rows: Sequence[int]) -> None:
        """List products in the drop-down."""
        options = self.controls.product.options
        offered = [(self.source.line(row), int(row)) for row in rows[:MAX_LISTED]]
        self.controls.product.options = [options[0], *offered]

    def _name_product(self) -> None:
        """Show the chosen product in the drop-down, also if it is not listed there."""
        row = NO_PRODUCT if self._point is None else self._point.row
        options = self.controls.product.options
        if row not in {value for _, value in options}:
            self.controls.product.options = [*options, (self.source.line(row), row)]
        self.controls.product.value = row

    def _show(self, but: int | None = None) -> None:
        """Show the selection and the chosen product on the maps and beside them.

        but: number of the clicked map, which already shows its own selection.
        """
        parts = []
        for number, (state, drawn) in enumerate(zip(self._states, self._maps, strict=False)):
            if number != but:
                drawn.select(state.points.indices_of(np.array(self._rows, dtype=np.int64)))
            near = None if self._point is None else state.neighbours(self._point)
            drawn.join(near)
            if self._point is not None:
                parts.append(
                    views.neighbours_html(self.source, state, self._point, near, self.lang)
                )
        self.panes.neighbours.html = "".join(parts) or note_html(self.word("xe_ask"))
        self.panes.picked.html = views.selection_html(self.source, self._rows, self.lang)
        self._name_product()
        self._inspect()
        self.note_address()

    def _inspect(self) -> None:
        """Show the hovered product, else the chosen one; else keep the last one."""
        point = self._hovered or self._point
        if point is not None:
            self.panes.inspector.html = views.product_html(self.source, point.row, self.lang)

    def summary(self) -> str:
        """Return maps, selection and neighbours as lines of text."""
        if not self._states:
            return self.word("xe_sum_none")
        shown = self._states, self._rows, self._point
        return "\n".join(views.summary_lines(self.source, *shown, self.lang))

    def picture(self) -> Figure:
        """Return the maps as a figure. Raises ValueError without a map."""
        require(bool(self._states), self.word("xe_sum_none"))
        return views.maps_figure(self._states, self.lang)
