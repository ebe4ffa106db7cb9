"""A map of points that answers to hover, click and lasso: jupyter-scatter (WebGL), 100,000 points.

P points, K chosen points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import anywidget
import ipywidgets
import numpy as np
import traitlets
from matplotlib.colors import to_rgba
from numpy.typing import ArrayLike, NDArray

from scale.config import require
from scale.explore.clouds import Neighbours
from scale.explore.colouring import Groups
from scale.explore.html import ASSETS, Surface
from scale.viz.theme import NEGATIVE, is_light

if TYPE_CHECKING:
    from jscatter import Scatter

BUTTONS = ["pan_zoom", "lasso", "full_screen", "download", "reset"]
HEIGHT = 480
"""Pixels; a map that is narrower than high hides what lies at its sides."""
FEW = 5_000
"""Up to so many points each is drawn alike; of more, those that crowd are drawn fainter."""
KEPT = "#8A93A0"
"""Of a line to a neighbour that is near on the map too; torn ones are `NEGATIVE`."""
NOWHERE = -1
"""jupyter-scatter takes None for its first point."""


class Theme(anywidget.AnyWidget):
    """The colour of the page, as the browser sees it."""

    _esm = ASSETS / "theme.js"
    page = traitlets.Unicode("#ffffff").tag(sync=True)

    def __repr__(self) -> str:
        return f"Theme({self.page})"


class PointMap(ipywidgets.VBox):
    """Coloured points in the plane. Pan and zoom, hover, click on a point, lasso (a button of the
    map, or a long press).

    Needs jupyter-scatter.

    Args:
        xy_P2: places.
        groups: colours.
        hovered: called with the point under the pointer, and with None when it leaves.
        picked: called with point_K after a click or a lasso; empty when the selection is dropped.

    Raises:
        ValueError: places and groups do not fit, or a place is not finite.
    """

    def __init__(
        self,
        xy_P2: ArrayLike,
        groups: Groups,
        hovered: Callable[[int | None], None] | None = None,
        picked: Callable[[NDArray[np.int64]], None] | None = None,
    ) -> None:
        self._hovered, self._picked = hovered, picked
        self._told: dict[str, Any] = {"selection": [], "hovering": NOWHERE}
        self._title = Surface()
        self._theme = Theme()
        self._table, colours = _table(xy_P2, groups)
        self._scatter = _scatter(self._table, colours)
        widget = self._scatter.show(BUTTONS)
        super().__init__([self._title, widget, self._theme])
        self.add_class("scale-map")
        widget.observe(self._on_hover, "hovering")
        widget.observe(self._on_selection, "selection")
        self._theme.observe(lambda change: self._paint(change["new"]), "page")

    @property
    def widget(self) -> Any:
        """The `jscatter.widget.JupyterScatter` inside."""
        return self._scatter.widget

    @property
    def title(self) -> str:
        """HTML above the map."""
        return self._title.html

    @title.setter
    def title(self, html: str) -> None:
        self._title.html = html

    def move(self, xy_P2: ArrayLike, groups: Groups) -> None:
        """Show other places, groups or points. As many points as before slide to their places.

        Raises ValueError as the constructor does.
        """
        table, colours = _table(xy_P2, groups)
        same = len(table) == len(self._table)
        self._table = table
        self.join(None)
        self.select([])
        self._scatter.data(table, reset_scales=True, animate=same)
        self._scatter.color(by="group", map=colours)
        self._scatter.size(_size(len(table)))

    def set_height(self, height: int) -> None:
        """Pixels."""
        self._scatter.height(height)

    def select(self, point_K: Sequence[int] | NDArray) -> None:
        """Show these points as selected; `picked` is not called."""
        chosen = np.asarray(point_K, dtype=np.uint32)
        self._told["selection"] = chosen.tolist()
        self._scatter.selection(chosen)

    def hover(self, point: int | None) -> None:
        """Show the pointer's cross at a point; `hovered` is not called."""
        self._told["hovering"] = NOWHERE if point is None else point
        self.widget.hovering = self._told["hovering"]

    def join(self, near: Neighbours | None) -> None:
        """Draw a line from a point to each neighbour, orange where the map tears them apart; None
        takes all lines away."""
        self._scatter.annotations([] if near is None else self._lines(near))

    def _lines(self, near: Neighbours) -> list[Any]:
        import jscatter

        xy_P2 = self._table[["x", "y"]].to_numpy()
        start_2 = xy_P2[near.point].tolist()
        # Torn ones last, above the others.
        order = np.argsort(near.torn_K, kind="stable")
        return [
            jscatter.Line(
                [start_2, xy_P2[near.point_K[k]].tolist()],
                line_color=NEGATIVE if near.torn_K[k] else KEPT,
                line_width=2,
            )
            for k in order
        ]

    def _on_hover(self, change: dict[str, Any]) -> None:
        point = change["new"]
        if point == self._told["hovering"]:
            return
        self._told["hovering"] = point
        if self._hovered is not None:
            self._hovered(None if point is None or point < 0 else int(point))

    def _on_selection(self, change: dict[str, Any]) -> None:
        found = [] if change["new"] is None else np.asarray(change["new"]).tolist()
        if found == self._told["selection"]:
            return
        self._told["selection"] = found
        if self._picked is not None:
            self._picked(np.array(found, dtype=np.int64))

    def _paint(self, page: str) -> None:
        ink = "#1b2330" if is_light(page) else "#ffffff"
        self._scatter.color(selected=ink, hover=ink)
        # `Scatter.background` would also colour axes and legend, and the browser then draws them.
        self.widget.background_color = to_rgba(page)
        self.widget.reticle_color = to_rgba(ink, 0.2)

    def __repr__(self) -> str:
        return f"PointMap({len(self._table)} points)"


def _table(xy_P2: ArrayLike, groups: Groups) -> tuple[Any, list[str]]:
    """Places and groups as a table, and the groups' colours.

    Only groups that have points, numbered in one row: the browser stretches other numbers over the
    colours.
    """
    import pandas as pd

    xy_P2 = np.asarray(xy_P2, dtype=float)
    require(
        xy_P2.shape == (len(groups.code_P), 2),
        f"places are {xy_P2.shape}, groups are {len(groups.code_P)}",
    )
    require(bool(np.isfinite(xy_P2).all()), "a place on the map is not finite")
    used_G, code_P = np.unique(groups.code_P, return_inverse=True)
    # By number, because two groups may have one name.
    group = pd.Categorical.from_codes(code_P, [str(k) for k in range(len(used_G))])
    table = pd.DataFrame({"x": xy_P2[:, 0], "y": xy_P2[:, 1], "group": group})
    return table, [groups.colours[k] for k in used_G]


def _scatter(table: Any, colours: list[str]) -> Scatter:
    import jscatter

    # Else jscatter's own: fainter where points crowd.
    alike = {"opacity": 0.85} if len(table) <= FEW else {}
    return jscatter.Scatter(
        "x", "y", table, color_by="group", color_map=colours, height=HEIGHT,
        size=_size(len(table)), opacity_unselected=0.4, axes=False, legend=False,
        camera_distance=1.2,
        color_selected="#1b2330", color_hover="#1b2330", transition_points_duration=600, **alike,
    )  # fmt: skip


def _size(count: int) -> int:
    """Pixels of a point: smaller where there are more."""
    return int(np.clip(60 / max(count, 1) ** 0.3, 2, 9))
