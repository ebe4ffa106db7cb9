"""A scatter plot with hover, click and lasso, for up to 100,000 points (jupyter-scatter, WebGL).

P points, K selected points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np
from matplotlib.colors import to_rgba
from numpy.typing import ArrayLike, NDArray

from scale.config import require
from scale.explore.panel import ClickableHtml, PageColour
from scale.explore.projections import Groups, Neighbours
from scale.viz.theme import NEGATIVE, is_light

if TYPE_CHECKING:
    from jscatter import Scatter

BUTTONS = ["pan_zoom", "lasso", "full_screen", "download", "reset"]
HEIGHT = 480
"""Height in pixels; a map that is narrower than high hides the points at its sides."""
FEW = 5_000
"""Maximum number of points of equal opacity; with more, dense regions are drawn fainter."""
NEAR = "#8A93A0"
"""Colour of the line to a neighbour that is also near on the map; far ones are `NEGATIVE`."""
NOWHERE = -1
"""Index without a hovered point: jupyter-scatter takes None for its first point."""


class PointMap(ipywidgets.VBox):
    """Coloured points. Pan, zoom, hover, click, or draw a lasso (toolbar button, or a long press).

    Needs jupyter-scatter.

    Args:
        xy_P2: coordinates.
        groups: colours.
        hovered: called with the index of the hovered point, and with None when the pointer leaves.
        picked: called with index_K after a click or a lasso; empty when the selection is cleared.

    Raises:
        ValueError: coordinates and groups differ in length, or a coordinate is not finite.
    """

    def __init__(
        self,
        xy_P2: ArrayLike,
        groups: Groups,
        hovered: Callable[[int | None], None] | None = None,
        picked: Callable[[NDArray[np.int64]], None] | None = None,
    ) -> None:
        self._hovered, self._picked = hovered, picked
        self._sent: dict[str, Any] = {"selection": [], "hovering": NOWHERE}
        self.title = ClickableHtml()
        """HTML above the map."""
        self._page_colour = PageColour()
        self._table, colours = _table(xy_P2, groups)
        self._scatter = _scatter(self._table, colours)
        widget = self._scatter.show(BUTTONS)
        super().__init__([self.title, widget, self._page_colour])
        self.add_class("scale-map")
        widget.observe(self._on_hover, "hovering")
        widget.observe(self._on_selection, "selection")
        self._page_colour.observe(lambda change: self._paint(change["new"]), "page")

    @property
    def widget(self) -> Any:
        """The widget of jupyter-scatter (`jscatter.widget.JupyterScatter`)."""
        return self._scatter.widget

    def move(self, xy_P2: ArrayLike, groups: Groups) -> None:
        """Show other coordinates, groups or points; an unchanged number of points is animated.

        Raises ValueError like the constructor.
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
        """Set the height in pixels."""
        self._scatter.height(height)

    def select(self, index_K: Sequence[int] | NDArray) -> None:
        """Select points without calling `picked`."""
        chosen = np.asarray(index_K, dtype=np.uint32)
        self._sent["selection"] = chosen.tolist()
        self._scatter.selection(chosen)

    def hover(self, index: int | None) -> None:
        """Show the cross hair at a point without calling `hovered`."""
        self._sent["hovering"] = NOWHERE if index is None else index
        self.widget.hovering = self._sent["hovering"]

    def join(self, near: Neighbours | None) -> None:
        """Draw a line from a point to each neighbour, orange if it is far away on the map.

        None removes all lines.
        """
        self._scatter.annotations([] if near is None else self._lines(near))

    def _lines(self, near: Neighbours) -> list[Any]:
        import jscatter

        xy_P2 = self._table[["x", "y"]].to_numpy()
        start_2 = xy_P2[near.index].tolist()
        # Far ones last, above the others.
        order = np.argsort(near.far_K, kind="stable")
        return [
            jscatter.Line(
                [start_2, xy_P2[near.index_K[k]].tolist()],
                line_color=NEGATIVE if near.far_K[k] else NEAR,
                line_width=2,
            )
            for k in order
        ]

    def _on_hover(self, change: dict[str, Any]) -> None:
        index = change["new"]
        if index == self._sent["hovering"]:
            return
        self._sent["hovering"] = index
        if self._hovered is not None:
            self._hovered(None if index is None or index < 0 else int(index))

    def _on_selection(self, change: dict[str, Any]) -> None:
        found = [] if change["new"] is None else np.asarray(change["new"]).tolist()
        if found == self._sent["selection"]:
            return
        self._sent["selection"] = found
        if self._picked is not None:
            self._picked(np.array(found, dtype=np.int64))

    def _paint(self, page: str) -> None:
        ink = "#1b2330" if is_light(page) else "#ffffff"
        self._scatter.color(selected=ink, hover=ink)
        # `Scatter.background` also colours axes and legend, and the browser then draws them.
        self.widget.background_color = to_rgba(page)
        self.widget.reticle_color = to_rgba(ink, 0.2)

    def __repr__(self) -> str:
        return f"PointMap({len(self._table)} points)"


def _table(xy_P2: ArrayLike, groups: Groups) -> tuple[Any, list[str]]:
    """Return coordinates and groups as a table, and the colours of the groups.

    Groups without points are left out and the others numbered from zero: jupyter-scatter stretches
    the codes over the colours.
    """
    import pandas as pd

    xy_P2 = np.asarray(xy_P2, dtype=float)
    require(
        xy_P2.shape == (len(groups.code_P), 2),
        f"coordinates are {xy_P2.shape}, groups are {len(groups.code_P)}",
    )
    require(bool(np.isfinite(xy_P2).all()), "a coordinate on the map is not finite")
    used_G, code_P = np.unique(groups.code_P, return_inverse=True)
    # By number: two groups may have the same name.
    group = pd.Categorical.from_codes(code_P, [str(k) for k in range(len(used_G))])
    table = pd.DataFrame({"x": xy_P2[:, 0], "y": xy_P2[:, 1], "group": group})
    return table, [groups.colours[k] for k in used_G]


def _scatter(table: Any, colours: list[str]) -> Scatter:
    import jscatter

    # Otherwise jscatter's default: opacity by density.
    alike = {"opacity": 0.85} if len(table) <= FEW else {}
    return jscatter.Scatter(
        "x", "y", table, color_by="group", color_map=colours, height=HEIGHT,
        size=_size(len(table)), opacity_unselected=0.4, axes=False, legend=False,
        camera_distance=1.2,
        color_selected="#1b2330", color_hover="#1b2330", transition_points_duration=600, **alike,
    )  # fmt: skip


def _size(count: int) -> int:
    """Return the size of a point in pixels, smaller for more points."""
    return int(np.clip(60 / max(count, 1) ** 0.3, 2, 9))
