"""Choosing one product of many: a search line and a list."""

from collections.abc import Callable
from typing import Any

import ipywidgets

from scale.explore.subject import Subject
from scale.viz.words import Language, label

LISTED = 200
"""Products in the list at once; a browser is slow with more."""
SHORT = {"description_width": "initial"}
"""A control's description takes the room that it needs."""


class ProductPicker(ipywidgets.HBox):
    """A line to search for words of id and title, the list of what is found, and their number."""

    def __init__(self, subject: Subject, row: int, chosen: Callable[[Any], None], lang: Language):
        """`chosen` is called when another product is chosen. Raises ValueError for a row that has
        nothing to show."""
        self._options, self._lang = subject.options(), lang
        self._name = {each: name for name, each in self._options}
        if row not in self._name:
            raise ValueError(f"{subject.data.ids[row]}: the product has no modality")
        self.find = ipywidgets.Text(
            description=label("xs_find", lang),
            placeholder=label("xs_find_hint", lang),
            style=SHORT,
        )
        self.list = ipywidgets.Dropdown(
            description=label("xs_product", lang), layout={"width": "440px"}, style=SHORT
        )
        self.count = ipywidgets.Label()
        self._offer(self._options, row)
        self.find.observe(self._search, "value")
        self.list.observe(chosen, "value")
        super().__init__([self.find, self.list, self.count], layout={"flex_flow": "row wrap"})

    @property
    def row(self) -> int:
        """Row of the chosen product."""
        return self.list.value

    def choose(self, row: int) -> None:
        """Choose a product, whether it is listed or not."""
        if row in {each for _, each in self.list.options}:
            self.list.value = row
        else:
            self._offer(self._options, row)

    def _search(self, _: Any) -> None:
        words = self.find.value.lower().split()
        found = [
            (name, row) for name, row in self._options if all(w in name.lower() for w in words)
        ]
        if found:
            rows = {row for _, row in found}
            self._offer(found, self.row if self.row in rows else found[0][1])
        else:
            self.count.value = label("xs_found_none", self._lang)

    def _offer(self, found: list[tuple[str, int]], row: int) -> None:
        """List what was found, with `row` among it and chosen."""
        listed = found[:LISTED]
        if row not in {each for _, each in listed}:
            listed = [(self._name[row], row), *listed[: LISTED - 1]]
        self.list.options = listed
        self.list.value = row
        key = "xs_found" if len(found) <= LISTED else "xs_first"
        shown = {"n": min(len(found), LISTED), "all": len(self._options)}
        self.count.value = label(key, self._lang, **shown)
