"""What can be chosen in the embedding explorer."""

from dataclasses import dataclass

import ipywidgets

from scale.strict import require
from scale.viz.labels import Language, label
from scale.viz.widgets.clouds import KINDS, PROJECTIONS
from scale.viz.widgets.embedding_views import (
    COLOUR_NAMES,
    KIND_NAMES,
    PROJECTION_NAMES,
    SECOND_NAMES,
)

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


def _known(what: str, value: str | None, known) -> None:
    require(value in known, f"unknown {what} {value!r}; known: {', '.join(map(str, known))}")


def _look(width: int) -> dict:
    return {"style": {"description_width": "initial"}, "layout": {"width": f"{width}px"}}


def _dropdown(key: str, names: dict, value, width: int, lang: Language) -> ipywidgets.Dropdown:
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
