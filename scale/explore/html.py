"""Clickable HTML and the page's colour: the two widgets that ipywidgets lacks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

ASSETS = Path(__file__).parent / "assets"

OnPick = Callable[[str, bool], None]
"""Called with the key of the picked element, and whether it was reached by dragging."""


class ClickableHtml(anywidget.AnyWidget):
    """A piece of HTML. Elements with `data-key="..."` can be picked with the mouse or the keyboard
    (Tab, arrows, Enter, Space).

    An element with `data-group` is one Tab stop; arrow keys move between the keys in it (up and
    down by its `data-columns`). Dragging inside `data-drag` picks every key passed. The HTML is not
    escaped here: escape user text with `markup.text`.
    """

    _esm = ASSETS / "html.js"
    _css = ASSETS / "html.css"
    html = traitlets.Unicode("").tag(sync=True)

    def __init__(self, html: str = "", picked: OnPick | None = None, **options: Any) -> None:
        super().__init__(html=html, **options)
        self._picked = picked
        self.on_msg(self._receive)

    def pick(self, key: str, drag: bool = False) -> None:
        """Do what a click on `key` does."""
        if self._picked is not None:
            self._picked(key, drag)

    def _receive(self, _: Any, content: Any, __: Any) -> None:
        if isinstance(content, dict) and isinstance(content.get("key"), str):
            self.pick(content["key"], bool(content.get("drag")))

    def __repr__(self) -> str:
        return f"ClickableHtml({len(self.html)} characters)"


class PageColour(anywidget.AnyWidget):
    """Background colour of the page, reported by the browser; has no visible content."""

    _esm = ASSETS / "page_colour.js"
    page = traitlets.Unicode("#ffffff").tag(sync=True)

    def __repr__(self) -> str:
        return f"PageColour({self.page})"
