"""A scatter plot with hover, click and lasso, for up to 100,000 points (jupyter-scatter, WebGL),
with names of groups, pictures, and lines to neighbours.

P points, K selected points.
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
from scale.explore.panel import ASSETS, ClickableHtml
from scale.explore.projections import GREY, Groups, Neighbours
from scale.viz.theme import is_light
from scale.viz.words import LANG, Language, label

if TYPE_CHECKING:
    from jscatter import Scatter

BUTTONS = ["pan_zoom", "lasso", "full_screen", "reset"]
HEIGHT = 480
"""Height in pixels."""
MARGIN = 0.1
"""Share of the canvas at each side without points, for pictures and names."""
MAX_NAME = 24
"""Characters of a name on the map."""
FEW = 5_000
"""Maximum number of points of equal opacity; with more, dense regions are drawn fainter."""
FAR = "#E0561F"
"""Colour of the dashed line to a neighbour that is far away on the map; visible on both pages."""
NOWHERE = -1
"""Index without a hovered point: jupyter-scatter takes None for its first point."""


class MapLayer(anywidget.AnyWidget):
    """Names, pictures and lines above a map; points are referred to by index.

    Args:
        picture: returns the picture of a point as a data URI, empty without one.
        drawn: called with the page's colour when the browser has drawn the map, and after a change
            of the theme.
    """

    _esm = ASSETS / "map.js"
    labels = traitlets.List().tag(sync=True)
    """[index, name, colour] of a group's point nearest to its middle, largest group first."""
    lines = traitlets.List().tag(sync=True)
    """[index, index of a neighbour, whether it is far away on the map]."""
    colours = traitlets.List().tag(sync=True)
    names = traitlets.Bool(True).tag(sync=True)
    pictures = traitlets.Bool(True).tag(sync=True)
    has_pictures = traitlets.Bool(False).tag(sync=True)
    stamp = traitlets.Int(0).tag(sync=True)
    """Incremented when indices refer to other points."""
    words = traitlets.Dict().tag(sync=True)
    far = traitlets.Unicode(FAR).tag(sync=True)

    def __init__(
        self,
        picture: Callable[[int], str] | None,
        drawn: Callable[[str, bool], None],
        lang: Language,
    ) -> None:
        names = {
            **{"closer": "xe_closer", "wider": "xe_wider"},
            **{"png": "xe_png", "webgl": "xe_webgl"},
        }
        words = {name: label(key, lang) for name, key in names.items()}
        super().__init__(words=words, has_pictures=picture is not None)
        self._picture, self._drawn = picture, drawn
        self.on_msg(self._receive)

    def _receive(self, _: Any, content: Any, __: Any) -> None:
        """Send the pictures that the browser requests, or report its state."""
        if "page" in content:
            self._drawn(content["page"], bool(content.get("ready")))
        elif self._picture is not None and content.get("stamp") == self.stamp:
            found = {str(index): self._picture(int(index)) for index in content["wanted"]}
            self.send({"pictures": found, "stamp": self.stamp})

    def __repr__(self) -> str:
        return f"MapLayer({len(self.labels)} names, {len(self.lines)} lines)"


class PointMap(ipywidgets.VBox):
    """Coloured points. Pan, zoom, hover, click, or draw a lasso (toolbar button, or a long press).

    Needs jupyter-scatter. The points fill the canvas at every size: only which points are near each
    other has a meaning, so both axes are scaled separately.

    Args:
        xy_P2: coordinates.
        groups: colours and names.
        hovered: called with the index of the hovered point, and with None when the pointer leaves.
        picked: called with index_K after a click or a lasso; empty when the selection is cleared.
        picture: returns the picture of a point as a data URI, empty without one.

    Raises:
        ValueError: coordinates and groups differ in length, or a coordinate is not finite.
    """

    def __init__(
        self,
        xy_P2: ArrayLike,
        groups: Groups,
        hovered: Callable[[int | None], None] | None = None,
        picked: Callable[[NDArray[np.int64]], None] | None = None,
        picture: Callable[[int], str] | None = None,
        lang: Language = LANG,
    ) -> None:
        self._hovered, self._picked = hovered, picked
        self._sent: dict[str, Any] = {"selection": [], "hovering": NOWHERE}
        self.title = ClickableHtml()
        """HTML above the map."""
        self.layer = MapLayer(picture, self._on_drawn, lang)
        self._table, colours = _table(xy_P2, groups)
        self._scatter = _scatter(self._table, colours)
        self._name(groups, colours)
        widget = self._scatter.show(BUTTONS)
        super().__init__([self.title, widget, self.layer])
        self.add_class("scale-map")
        widget.observe(self._on_hover, "hovering")
        widget.observe(self._on_selection, "selection")

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
        self.layer.stamp += 1
        self._scatter.data(table, animate=same)
        self._scatter.color(by="group", map=colours)
        self._scatter.size(_size(len(table)))
        self._name(groups, colours)

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
        """Draw a line from a point to each neighbour, dashed if it is far away on the map.

        None removes all lines.
        """
        pairs = [] if near is None else zip(near.index_K.tolist(), near.far_K.tolist(), strict=True)
        # Far ones last, above the others.
        self.layer.lines = sorted(
            ([near.index, other, far] for other, far in pairs), key=lambda line: line[2]
        )

    def _name(self, groups: Groups, colours: list[str]) -> None:
        """Name the groups of at least two points, at the point nearest to their middle."""
        xy_P2, found = self._table[["x", "y"]].to_numpy(), []
        for code, size in enumerate(np.bincount(groups.code_P)):
            if size > 1 and groups.colours[code] != GREY:
                index_K = np.flatnonzero(groups.code_P == code)
                away_K = np.abs(xy_P2[index_K] - np.median(xy_P2[index_K], axis=0)).sum(1)
                name = groups.names[code]
                short = name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"
                found.append([int(index_K[away_K.argmin()]), short, groups.colours[code], size])
        found.sort(key=lambda each: -each[3])
        with self.layer.hold_sync():
            self.layer.colours = colours
            self.layer.labels = [each[:3] for each in found]

    def _on_drawn(self, page: str, ready: bool) -> None:
        """Take the colour of the page; send the selection again to a new view, which misses it."""
        ink = "#1b2330" if is_light(page) else "#ffffff"
        self._scatter.color(selected=ink)
        # `Scatter.background` also colours axes and legend, and the browser then draws them.
        self.widget.background_color = to_rgba(page)
        chosen = self.widget.selection
        if ready and chosen is not None and len(chosen):
            self.widget.selection = np.array([], dtype=np.uint32)
            self.widget.selection = chosen

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

    def __repr__(self) -> str:
        return f"PointMap({len(self._table)} points)"


def _table(xy_P2: ArrayLike, groups: Groups) -> tuple[Any, list[str]]:
    """Return coordinates between -1 and 1 and groups as a table, and the colours of the groups.

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
    low_2, span_2 = xy_P2.min(0), np.ptp(xy_P2, axis=0)
    xy_P2 = (2 * (xy_P2 - low_2) / np.where(span_2 > 0, span_2, 1) - 1) * (1 - 2 * MARGIN)
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
        reticle=False,
        x_scale=(-1, 1), y_scale=(-1, 1), transition_points_duration=600, **alike,
    )  # fmt: skip


def _size(count: int) -> int:
    """Return the size of a point in pixels, smaller for more points."""
    return int(np.clip(60 / max(count, 1) ** 0.3, 2, 9))
