"""What stands on the page of the embedding explorer: its controls and its panes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields

import ipywidgets

from scale.config import require
from scale.explore.clouds import KINDS, PROJECTIONS, MapView
from scale.explore.embedding_views import (
    COLOUR_NAMES,
    KIND_NAMES,
    PROJECTION_NAMES,
    SECOND_NAMES,
)
from scale.explore.html import Surface
from scale.viz.words import Language, label

LISTED = 500
"""Products in the drop-down; a search lists others."""
NOBODY = -1
"""Value of the drop-down where no product is chosen: ipywidgets shows nothing for None."""
FILE = "selection.csv"


@dataclass(frozen=True)
class Controls:
    """The widgets, in the order of the page."""

    kind: ipywidgets.Dropdown
    projection: ipywidgets.Dropdown
    colour: ipywidgets.Dropdown
    second: ipywidgets.Dropdown
    search: ipywidgets.Text
    by_model: ipywidgets.Checkbox
    product: ipywidgets.Dropdown
    file: ipywidgets.Text
    save: ipywidgets.Button
    clear: ipywidgets.Button

    @staticmethod
    def of(
        lang: Language, kind: str, projection: str, colour: str, second: str | None
    ) -> "Controls":
        """All controls at these choices. Raises ValueError for one that there is not."""
        _known("points", kind, KINDS)
        _known("projection", projection, PROJECTIONS)
        _known("colours", colour, COLOUR_NAMES)
        _known("second map", second or "", SECOND_NAMES)
        plain = {value: label(key, lang) for value, key in KIND_NAMES.items()}
        colours = {value: label(key, lang) for value, key in COLOUR_NAMES.items()}
        seconds = {value: label(key, lang) for value, key in SECOND_NAMES.items()}
        return Controls(
            _dropdown("xe_points_of", plain, kind, 250, lang),
            _dropdown("xe_projection", PROJECTION_NAMES, projection, 150, lang),
            _dropdown("xe_colours", colours, colour, 220, lang),
            _dropdown("xe_second", seconds, second or "", 220, lang),
            _text("xe_search", "", 330, lang, label("xe_search_hint", lang)),
            ipywidgets.Checkbox(
                False, description=label("xe_by_model", lang), indent=False,
                layout={"width": "auto"},
            ),
            _dropdown("xe_product", {NOBODY: label("xe_choose", lang)}, NOBODY, 420, lang),
            _text("xe_file", FILE, 300, lang),
            _button("xe_save", lang),
            _button("xe_clear", lang),
        )  # fmt: skip

    def offer(self, products: Sequence[tuple[str, int]]) -> None:
        """List products in the drop-down: a line and a row of each."""
        self.product.options = [self.product.options[0], *products]

    def name(self, row: int | None, line: str) -> None:
        """Show the chosen product in the drop-down, also where that does not list it."""
        row = NOBODY if row is None else row
        if row not in {value for _, value in self.product.options}:
            self.product.options = [*self.product.options, (line, row)]
        self.product.value = row

    def views(self) -> list[MapView]:
        """The maps that are asked for, one or two."""
        first = MapView("best", self.kind.value, self.projection.value)
        second = self.second.value
        if not second:
            return [first]
        if second == "untrained":
            return [first, first._replace(model="untrained")]
        return [first, first._replace(kind=second)]


@dataclass(frozen=True)
class Panes:
    """What the explorer fills. Each has a style class of its name, `scale-embeddings-legend`."""

    status: Surface
    frame: ipywidgets.Box
    """Of the maps."""
    inspector: Surface
    legend: Surface
    finds: Surface
    neighbours: Surface
    picked: Surface
    saved: Surface

    @staticmethod
    def of(choose: Callable[[str], None], choose_group: Callable[[int], None]) -> "Panes":
        """Empty panes; a product is picked by its id, a group by its number."""

        def products() -> Surface:
            return Surface(picked=lambda key, _: choose(key))

        panes = Panes(
            status=Surface(),
            frame=ipywidgets.Box(),
            inspector=Surface(),
            legend=Surface(picked=lambda key, _: choose_group(int(key))),
            finds=products(),
            neighbours=products(),
            picked=products(),
            saved=Surface(),
        )
        for pane in fields(panes):
            getattr(panes, pane.name).add_class(f"scale-embeddings-{pane.name}")
        return panes


def arranged(c: Controls, panes: Panes, lang: Language) -> list[ipywidgets.Widget]:
    """The page from top to bottom."""
    row = {"flex_flow": "row wrap", "align_items": "center"}
    return [
        ipywidgets.Box([c.kind, c.projection, c.colour, c.second], layout=row),
        ipywidgets.Box([c.search, c.by_model, c.product], layout=row),
        panes.finds,
        Surface(note("xe_how", lang)),
        panes.status,
        ipywidgets.Box([panes.frame, panes.inspector]),
        panes.legend,
        panes.neighbours,
        panes.picked,
        ipywidgets.Box([c.file, c.save, c.clear], layout=row),
        panes.saved,
    ]


def note(key: str, lang: Language) -> str:
    """A label as a line of small text."""
    return f'<div class="note">{label(key, lang)}</div>'


def _known(what: str, value: str, known: Collection[str]) -> None:
    require(value in known, f"unknown {what} {value!r}; known: {', '.join(map(str, known))}")


def _look(width: int) -> dict:
    return {"style": {"description_width": "initial"}, "layout": {"width": f"{width}px"}}


def _dropdown(
    key: str, names: Mapping, value: str | int, width: int, lang: Language
) -> ipywidgets.Dropdown:
    options = [(name, each) for each, name in names.items()]
    return ipywidgets.Dropdown(
        options=options, value=value, description=label(key, lang), **_look(width)
    )


def _text(key: str, value: str, width: int, lang: Language, hint: str = "") -> ipywidgets.Text:
    return ipywidgets.Text(
        value, description=label(key, lang), placeholder=hint, continuous_update=False,
        **_look(width),
    )  # fmt: skip


def _button(key: str, lang: Language) -> ipywidgets.Button:
    return ipywidgets.Button(description=label(key, lang), layout={"width": "auto"})
