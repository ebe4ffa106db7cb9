"""Base class of the panels, clickable HTML, and controls that several panels have."""

import asyncio
import logging
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from mimetypes import guess_type
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import anywidget
import ipywidgets
import traitlets
from matplotlib.figure import Figure

from scale.config import require
from scale.explore.markup import error_html, figure_png
from scale.explore.source import ExplorerSource
from scale.viz.words import LANG, Language, label

log = logging.getLogger(__name__)

ASSETS = Path(__file__).parent / "assets"
PICTURE_DPI = 200
"""Resolution of a saved picture."""
DELAY = 0.03
"""Seconds from the first request of a burst to the update."""
USER_ERRORS = (ValueError, OSError, RuntimeError, ImportError)
"""Exceptions whose message is shown to the user."""
MAX_LISTED = 500
"""Products in a drop-down, which is slow with more; a search lists others."""
SHORT = {"description_width": "initial"}
"""Style of a control whose description is as wide as its text."""
AUTO = {"width": "auto"}
"""Layout of a control that is as wide as its content."""


class ClickableHtml(anywidget.AnyWidget):
    """A piece of HTML. Elements with `data-key="..."` can be picked with the mouse or the keyboard
    (Tab, arrows, Enter, Space).

    An element with `data-group` is one Tab stop; arrow keys move between the keys in it (up and
    down by its `data-columns`). Dragging inside `data-drag` picks every key passed. The HTML is not
    escaped here: apply `html.escape` to user text.

    Args:
        picked: called with the key of a picked element, and whether it was reached by dragging.
    """

    _esm = ASSETS / "html.js"
    _css = ASSETS / "html.css"
    html = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self, html: str = "", picked: Callable[[str, bool], None] | None = None, **options: Any
    ) -> None:
        super().__init__(html=html, **options)
        self._picked = picked
        self.on_msg(self._receive)

    def pick(self, key: str, drag: bool = False) -> None:
        """Act as on a click on `key`."""
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


class PanelBrowser(anywidget.AnyWidget):
    """The browser's side of a panel: a sign that it computes, and downloads.

    The sign appears at a choice, before Python has received it, and stays until Python has
    answered; the old answers are dimmed.
    """

    _esm = ASSETS / "panel.js"
    busy = traitlets.Bool(False).tag(sync=True)
    words = traitlets.Unicode("").tag(sync=True)

    def __init__(self, words: str) -> None:
        super().__init__(words=words)
        self.on_msg(self._receive)

    def download(self, name: str, content: bytes) -> None:
        """Let the browser save a file."""
        kind = guess_type(name)[0] or "application/octet-stream"
        self.send({"name": name, "type": kind}, buffers=[content])

    def _receive(self, _: Any, content: Any, __: Any) -> None:
        """Answer the browser, after everything that it sent before."""
        if isinstance(content, dict) and isinstance(content.get("asked"), int):
            self.send({"asked": content["asked"]})

    def __repr__(self) -> str:
        return "PanelBrowser()"


@dataclass(frozen=True)
class Choice:
    """A choice of a panel, as text for the address of the page."""

    read: Callable[[], str]
    write: Callable[[str], Any]
    """May raise ValueError."""


def choice_of(control: ipywidgets.Widget) -> Choice:
    """Return the value of a control as a choice: text, a checkbox, numbers, or one of options."""

    def read() -> str:
        value = control.value
        return str(int(value)) if isinstance(value, bool) else str(value)

    def write(text: str) -> None:
        if isinstance(control, ipywidgets.Checkbox | ipywidgets.ToggleButton):
            control.value = text == "1"
        elif hasattr(control, "_options_values"):
            known = {str(value): value for value in control._options_values}
            require(text in known, f"unknown choice {text!r} ({control.description})")
            control.value = known[text]
        else:
            control.value = type(control.value)(text)

    return Choice(read, write)


def dropdown(
    description: str, names: Mapping[Any, str], value: Any, width: str
) -> ipywidgets.Dropdown:
    """Return a drop-down. `names`: text of each value."""
    return ipywidgets.Dropdown(
        options=[(name, each) for each, name in names.items()],
        value=value,
        description=description,
        style=SHORT,
        layout={"width": width},
    )


def checkbox(description: str, value: bool) -> ipywidgets.Checkbox:
    """Return a checkbox that is as wide as its text."""
    return ipywidgets.Checkbox(value, description=description, indent=False, layout=AUTO)


def button(description: str, action: Callable[[], Any], **options: Any) -> ipywidgets.Button:
    """Return a button that calls `action`."""
    made = ipywidgets.Button(description=description, **{"layout": AUTO} | options)
    made.on_click(lambda _: action())
    return made


def wrapping_row(*children: ipywidgets.Widget, align: str = "center") -> ipywidgets.Box:
    """Return widgets side by side, in several lines if the page is narrow."""
    layout = {"flex_flow": "row wrap", "align_items": align, "grid_gap": "0 12px"}
    return ipywidgets.Box(children, layout=layout)


def observe(function: Callable[[Any], None], *controls: ipywidgets.Widget) -> None:
    """Call a function when the value of a control changes."""
    for control in controls:
        control.observe(function, "value")


class ProductPicker(ipywidgets.HBox):
    """A search field for words of id, category and title, which suggests the categories, a list of
    the products found, and their number.

    Args:
        row: row of the product chosen first.
        chosen: called when another product is chosen.
    """

    def __init__(
        self, source: ExplorerSource, row: int, chosen: Callable[[Any], None], lang: Language
    ) -> None:
        self._source, self._lang = source, lang
        self.find = ipywidgets.Combobox(
            options=source.categories[:MAX_LISTED],
            description=label("xs_find", lang),
            placeholder=label("xs_find_hint", lang),
            style=SHORT,
        )
        self.list = dropdown(label("xs_product", lang), {}, None, "440px")
        self.count = ipywidgets.Label().add_class("scale-product-count")
        self._offer(source.rows.tolist(), row)
        observe(self._search, self.find)
        observe(chosen, self.list)
        super().__init__([self.find, self.list, self.count], layout={"flex_flow": "row wrap"})

    @property
    def row(self) -> int:
        """Row of the chosen product."""
        return self.list.value

    def choose(self, row: int) -> None:
        """Choose a product, also one that is not listed."""
        if row in {each for _, each in self.list.options}:
            self.list.value = row
        else:
            self._offer(self._source.rows.tolist(), row)

    @property
    def choice(self) -> Choice:
        """The chosen product, by its id."""
        source = self._source
        return Choice(lambda: source.data.ids[self.row], lambda name: self.choose(source.row(name)))

    def _search(self, _: Any) -> None:
        found = self._source.find(self.find.value)
        if found:
            self._offer(found, self.row if self.row in found else found[0])
        else:
            self.count.value = label("xs_found_none", self._lang)

    def _offer(self, found: list[int], row: int) -> None:
        """List products, with `row` included and chosen."""
        listed = found[:MAX_LISTED]
        if row not in listed:
            listed = [row, *listed[: MAX_LISTED - 1]]
        self.list.options = [(self._source.line(each), each) for each in listed]
        self.list.value = row
        key = "xs_found" if len(found) <= MAX_LISTED else "xs_first"
        shown = {"n": min(len(found), MAX_LISTED), "all": len(self._source.rows)}
        self.count.value = label(key, self._lang, **shown)


class Throttle:
    """Call a function once for a burst of requests, `DELAY` seconds after the first request.

    The function reads the controls when it runs, so it uses their latest values; requests made
    while it runs are merged into one. Without an event loop (plain Python, tests) it runs at once.
    """

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._pending: asyncio.TimerHandle | None = None

    def __call__(self, _: Any = None) -> None:
        """Request a call. The argument (a trait change) is ignored."""
        if self._pending is not None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._function()
            return
        self._pending = loop.call_later(DELAY, self._fire)

    def flush(self) -> None:
        """Run a pending request now."""
        if self._pending is not None:
            self._pending.cancel()
            self._fire()

    def _fire(self) -> None:
        self._pending = None
        self._function()


class Panel(ipywidgets.VBox):
    """Base class of the panels.

    Subclasses implement `update`, `summary` and `picture`, observe their controls with
    `self.changed`, name the choices that an address contains in `self.choices`, and call `start`.
    """

    address = traitlets.Unicode("")
    """The choices that differ from those of the start, as the query of an address."""

    def __init__(self, lang: Language = LANG) -> None:
        super().__init__()
        self.lang: Language = lang
        self.choices: dict[str, Choice] = {}
        """By name, in the order in which they are restored."""
        self._start: dict[str, str] = {}
        self._update_soon = Throttle(self._update)
        self._error = ClickableHtml().add_class("scale-message")
        self.browser = PanelBrowser(label("xp_busy", lang))
        self.add_class("scale-panel")

    def changed(self, _: Any = None) -> None:
        """Request an update. The argument (a trait change) is ignored."""
        self.browser.busy = True
        self._update_soon()

    def update(self) -> None:
        """Compute and show everything from the controls. Raises ValueError for a bad choice."""
        raise NotImplementedError

    def summary(self) -> str:
        """Return the state of the panel as lines of text, the same for the same state."""
        raise NotImplementedError

    def picture(self) -> Figure:
        """Return the state of the panel as a figure, for pages without a kernel (GitHub, PDF)."""
        raise NotImplementedError

    def word(self, key: str, **values: Any) -> str:
        """Return a label in the panel's language."""
        return label(key, self.lang, **values)

    def words(self, keys: Mapping[Any, str]) -> dict[Any, str]:
        """Return the labels of several keys, by value."""
        return {value: self.word(key) for value, key in keys.items()}

    def start(self, children: Sequence[ipywidgets.Widget]) -> None:
        """Show `children` below the line of error messages, and update for the first time."""
        self.children = (self._error, *children, self.browser)
        self._start = {name: choice.read() for name, choice in self.choices.items()}
        self._update()

    def flush(self) -> None:
        """Run a pending update now."""
        self._update_soon.flush()

    def in_parts(self, parts: Mapping[str, Sequence[ipywidgets.Widget]]) -> list[ipywidgets.Widget]:
        """Return the children of a panel with parts, by label key.

        The parts are beneath each other, or one at a time on a page for a projector.
        """
        names = {key: self.word(key) for key in parts}
        self.part = ipywidgets.ToggleButtons(
            options=[(f"{n} {name}", key) for n, (key, name) in enumerate(names.items(), 1)],
            layout=AUTO,
            style={"button_width": "auto"},
        ).add_class("scale-parts")
        boxes = {
            key: ipywidgets.VBox(list(children)).add_class("scale-part").add_class(f"scale-{key}")
            for key, children in parts.items()
        }

        def show(_: Any = None) -> None:
            for key, box in boxes.items():
                shown = key == self.part.value
                (box.add_class if shown else box.remove_class)("scale-part-shown")
            if self._start:
                self.note_address()

        show()
        observe(show, self.part)
        self.choices["part"] = choice_of(self.part)
        return [self.part, *boxes.values()]

    def note_address(self) -> None:
        """Set `address` from the choices."""
        now = {name: choice.read() for name, choice in self.choices.items()}
        self.address = urlencode(
            {name: now[name] for name in now if now[name] != self._start[name]}
        )

    def restore(self, choices: Mapping[str, str]) -> None:
        """Set choices as in `address`, and update; other names are ignored."""
        with self.showing_errors():
            for name, choice in self.choices.items():
                if name in choices:
                    choice.write(choices[name])
            self.flush()

    def download_picture(self, kind: str) -> None:
        """Let the browser save the panel as a figure: `png` or `svg`."""
        with self.showing_errors():
            figure, buffer = self.picture(), BytesIO()
            figure.savefig(buffer, format=kind, dpi=PICTURE_DPI)
            self.browser.download(f"scale-{type(self).__name__}.{kind}", buffer.getvalue())

    @property
    def error(self) -> str:
        """HTML of the message above the panel; empty without an error."""
        return self._error.html

    @contextmanager
    def showing_errors(self) -> Iterator[None]:
        """Show errors raised inside as the message above the panel instead of a traceback."""
        try:
            yield
        except USER_ERRORS as error:
            log.debug("a panel could not be updated", exc_info=True)
            self._error.html = error_html(str(error) or type(error).__name__)
        else:
            self._error.html = ""

    def _update(self) -> None:
        self.browser.busy = True
        try:
            with self.showing_errors():
                self.update()
            # Otherwise the answers belong to an earlier choice.
            (self.add_class if self.error else self.remove_class)("scale-failed")
            self.note_address()
        finally:
            self.browser.busy = False

    def __repr__(self) -> str:
        return self.summary()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """Return the live widget, with text and a picture for pages without a kernel."""
        self.flush()
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        bundle: dict[str, Any] = {
            "text/plain": repr(self),
            "application/vnd.jupyter.widget-view+json": view,
        }
        try:
            bundle["image/png"] = b64encode(figure_png(self.picture())).decode("ascii")
        except USER_ERRORS as error:
            bundle["text/plain"] += f"\n({error})"
        return bundle
