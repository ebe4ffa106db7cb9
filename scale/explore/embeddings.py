"""Embedding explorer: maps of products, and what lies near what in the space behind them."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scale.config import require
from scale.explore.clouds import Atlas, MapView, Spot
from scale.explore.colouring import Painter
from scale.explore.embedding_controls import (
    LISTED,
    NOBODY,
    Controls,
    Panes,
    arranged,
    note,
)
from scale.explore.embedding_text import maps_figure, summary_lines
from scale.explore.embedding_views import (
    Shown,
    finds_html,
    legend_html,
    neighbours_html,
    title_html,
)
from scale.explore.explorer import Explorer, Throttle
from scale.explore.finding import Finder
from scale.explore.inspector import product_html
from scale.explore.markup import text
from scale.explore.picked import picked_html, write_csv
from scale.explore.point_map import HEIGHT, PointMap
from scale.explore.subject import Subject
from scale.viz.words import Language

BESIDE = 390
"""Height of each of two maps in pixels."""


class EmbeddingExplorer(Explorer):
    """Maps of a run's embeddings. Hover shows a product; a click its neighbours in the original
    space, and which of them the map tears away; a lasso, a colour or a search selects products for
    a table and a CSV file.

    Args:
        kind: which points: `product`, a modality, or `each` (one per product and modality).
        colour: `category`, `count` and `missing` (modalities), `cluster` or `modality`.
        projection: `umap` or `pca`.
        second: another map beside: `untrained` (the same before training), or a modality.
        product: id of the first one to show.

    Raises:
        ValueError: an unknown choice or product.
    """

    def __init__(
        self,
        subject: Subject,
        lang: Language = "en",
        kind: str = "product",
        colour: str = "category",
        projection: str = "umap",
        second: str | None = None,
        product: str | None = None,
    ) -> None:
        super().__init__(lang)
        self.subject, self.finder = subject, Finder(subject)
        self._atlas = Atlas(subject)
        self._painter = Painter(self._atlas, lang)
        self._maps: tuple[Shown, ...] = ()
        self._panels: list[PointMap] = []
        self._rows: tuple[int, ...] = ()
        self._spot = None if product is None else Spot(self._row(product))
        self._under: Spot | None = None
        self._hover = Throttle(self._inspect)
        self.controls = Controls.of(lang, kind, projection, colour, second)
        self.panes = Panes.of(self.choose, self._pick_group)
        self._listen()
        self._offer(subject.rows)
        self.add_class("scale-embeddings")
        self.panes.inspector.html = note("xe_hover", lang)
        self.start(arranged(self.controls, self.panes, lang))

    def _row(self, product: str) -> int:
        row = self.subject.row_of.get(product)
        require(row in self.subject.rows, f"no product {product!r} with anything that is read")
        return row

    def _listen(self) -> None:
        c = self.controls
        for control in (c.kind, c.projection, c.colour, c.second):
            control.observe(self.changed, "value")
        for control in (c.search, c.by_model):
            control.observe(lambda _: self._find(), "value")
        c.product.observe(self._on_product, "value")
        c.save.on_click(lambda _: self.save())
        c.clear.on_click(lambda _: self.clear())

    @property
    def selected(self) -> tuple[str, ...]:
        """Ids of the selected products."""
        return tuple(self.subject.data.ids[row] for row in self._rows)

    def choose(self, product: str, modality: str = "") -> None:
        """Show a product and its neighbours, as a click on its point does."""
        with self.complaining():
            self._spot, self._under = Spot(self._row(product), modality), None
            self._show()

    def select(self, products: Sequence[str]) -> None:
        """Select products, as a lasso does."""
        with self.complaining():
            self._rows = tuple(self._row(product) for product in products)
            self._show()

    def clear(self) -> None:
        """Select nothing and show no product."""
        self._rows, self._spot, self._under = (), None, None
        self.panes.inspector.html = note("xe_hover", self.lang)
        self.controls.search.value = ""
        with self.complaining():
            self._show()

    def save(self) -> None:
        """Write the selected products to the file that is named."""
        self.panes.saved.html = ""
        with self.complaining():
            path = Path(self.controls.file.value.strip()).expanduser()
            write_csv(self.subject, self._rows, path, self.lang)
            told = self.say("xe_saved", n=len(self._rows), path=path.resolve())
            self.panes.saved.html = f'<div class="note" role="status">{text(told)}</div>'

    def update(self) -> None:
        """Draw the maps that the controls ask for."""
        views = self.controls.views()
        if not all(map(self._atlas.has, views)):
            self.panes.status.html = f'<div role="status">{self.say("xe_mapping")}</div>'
        try:
            self._maps = tuple(self._shown(view) for view in views)
        finally:
            self.panes.status.html = ""
        for number, shown in enumerate(self._maps):
            self._draw(number, shown)
        self.panes.legend.html = legend_html(self._maps[0].groups, self.lang)
        self._show()
        # Last, because a view that is just being made misses changes.
        self.panes.frame.children = self._panels[: len(views)]

    def _shown(self, view: MapView) -> Shown:
        cloud = self._atlas.cloud(view)
        colour = self.controls.colour.value
        groups = self._painter.groups(colour, cloud)
        return Shown(view, cloud, self._atlas.places(view), groups, colour)

    def _draw(self, number: int, shown: Shown) -> None:
        if number < len(self._panels):
            self._panels[number].move(shown.xy_P2, shown.groups)
        else:
            hovered, picked = partial(self._on_hover, number), partial(self._on_pick, number)
            self._panels.append(PointMap(shown.xy_P2, shown.groups, hovered, picked))
        self._panels[number].set_height(HEIGHT if len(self._maps) == 1 else BESIDE)
        self._panels[number].title = title_html(shown, self.lang)

    def _on_hover(self, number: int, point: int | None) -> None:
        self._under = None if point is None else self._maps[number].cloud.spot(point)
        for other, shown in enumerate(self._maps):
            if other != number:
                there = None if self._under is None else shown.cloud.find(self._under)
                self._panels[other].hover(there)
        self._hover()

    def _on_pick(self, number: int, point_K: NDArray[np.int64]) -> None:
        cloud = self._maps[number].cloud
        self._rows = tuple(dict.fromkeys(cloud.row_P[point_K].tolist()))
        if len(point_K) == 1:
            self._spot = cloud.spot(int(point_K[0]))
        with self.complaining():
            self._show(but=number)

    def _pick_group(self, group: int) -> None:
        if self._maps:
            first = self._maps[0]
            row_K = first.cloud.row_P[first.groups.code_P == group]
            self._rows = tuple(dict.fromkeys(row_K.tolist()))
            with self.complaining():
                self._show()

    def _on_product(self, change: dict) -> None:
        row = change["new"]
        if row != NOBODY and (self._spot is None or row != self._spot.row):
            self.choose(self.subject.data.ids[row])

    def _find(self) -> None:
        words = self.controls.search.value.strip()
        if not words and not self.panes.finds.html:
            return
        score: list[float] = []
        with self.complaining():
            if words and self.controls.by_model.value:
                rows, score = self.finder.meant(words, self.lang)
            else:
                rows = self.finder.written(words) if words else []
            self.panes.finds.html = (
                finds_html(self.subject, rows, score, self.lang) if words else ""
            )
            self._offer(rows if words else self.subject.rows)
            self._rows = tuple(rows)
            self._show()

    def _offer(self, rows: Sequence[int]) -> None:
        self.controls.offer([(self.subject.line(row), int(row)) for row in rows[:LISTED]])

    def _show(self, but: int | None = None) -> None:
        """The selection and the chosen product, on the maps (`but` the one that was clicked, which
        shows its own) and beside them."""
        lines = []
        for number, (shown, panel) in enumerate(zip(self._maps, self._panels, strict=False)):
            if number != but:
                panel.select(shown.cloud.points_of(np.array(self._rows, dtype=np.int64)))
            found = None if self._spot is None else shown.neighbours(self._spot)
            panel.join(found)
            if self._spot is not None:
                lines.append(neighbours_html(self.subject, shown, self._spot, found, self.lang))
        self.panes.neighbours.html = "".join(lines) or note("xe_ask", self.lang)
        self.panes.picked.html = picked_html(self.subject, self._rows, self.lang)
        row = None if self._spot is None else self._spot.row
        self.controls.name(row, "" if row is None else self.subject.line(row))
        self._inspect()

    def _inspect(self) -> None:
        """The product under the pointer, else the chosen one, else what was last there."""
        spot = self._under or self._spot
        if spot is not None:
            self.panes.inspector.html = product_html(self.subject, spot.row, self.lang)

    def summary(self) -> str:
        """Maps, selection and neighbours."""
        if not self._maps:
            return self.say("xe_sum_none")
        return "\n".join(summary_lines(self.subject, self._maps, self._rows, self._spot, self.lang))

    def picture(self) -> Figure:
        """The maps, coloured as on the page."""
        require(bool(self._maps), self.say("xe_sum_none"))
        return maps_figure(self._maps, self.lang)
