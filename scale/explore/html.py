"""HTML that can be clicked: the one building block of the explorers that is not an ipywidget."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

ASSETS = Path(__file__).parent / "assets"

Picked = Callable[[str, bool], None]
"""Called with the key of what was picked, and whether the pointer was dragged there."""


class Surface(anywidget.AnyWidget):
    """A piece of HTML. Elements with `data-key="..."` can be picked with the mouse or the keyboard
    (Tab, arrows, Enter, Space).

    Inside an element with `data-group` the keys are one stop of the Tab key, and arrows go from one
    to the next (up and down by its `data-columns`); inside `data-drag` a drag picks all it passes.
    Text of users must go through `html.escape` (`markup.text`): nothing here escapes it.
    """

    _esm = ASSETS / "surface.js"
    _css = ASSETS / "surface.css"
    html = traitlets.Unicode("").tag(sync=True)

    def __init__(self, html: str = "", picked: Picked | None = None, **options: Any) -> None:
        super().__init__(html=html, **options)
        self._picked = picked
        self.on_msg(self._receive)

    def pick(self, key: str, drag: bool = False) -> None:
        """What a click on `key` does; for tests and for code."""
        if self._picked is not None:
            self._picked(key, drag)

    def _receive(self, _: Any, content: Any, __: Any) -> None:
        if isinstance(content, dict) and isinstance(content.get("key"), str):
            self.pick(content["key"], bool(content.get("drag")))

    def __repr__(self) -> str:
        return f"Surface({len(self.html)} characters)"
