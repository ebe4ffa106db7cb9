"""Base class of the panels: throttled updates, error messages, a static form without a kernel."""

import asyncio
import logging
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import ipywidgets
from matplotlib.figure import Figure

from scale.explore.html import ClickableHtml
from scale.explore.markup import error_html
from scale.viz.words import Language, label

log = logging.getLogger(__name__)

DELAY = 0.03
"""Seconds from the first request of a burst to the update."""
DPI = 100
"""Resolution of the static picture of a panel."""
USER_ERRORS = (ValueError, OSError, RuntimeError, ImportError)
"""Exceptions whose message is shown to the user."""


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
    `self.changed`, and call `start`.
    """

    def __init__(self, lang: Language = "en") -> None:
        super().__init__()
        self.lang: Language = lang
        self.changed = Throttle(self._update)
        self._error = ClickableHtml()

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

    def start(self, children: Sequence[ipywidgets.Widget]) -> None:
        """Show `children` below the line of error messages, and update for the first time."""
        self.children = (self._error, *children)
        self._update()

    def flush(self) -> None:
        """Run a pending update now."""
        self.changed.flush()

    def show_error(self, message: str) -> None:
        """Show a message above the panel; an empty message removes it."""
        self._error.html = error_html(message)

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
            self.show_error(str(error) or type(error).__name__)
        else:
            self.show_error("")

    def _update(self) -> None:
        with self.showing_errors():
            self.update()

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
            buffer = BytesIO()
            self.picture().savefig(buffer, format="png", dpi=DPI)
        except USER_ERRORS as error:
            bundle["text/plain"] += f"\n({error})"
        else:
            bundle["image/png"] = b64encode(buffer.getvalue()).decode("ascii")
        return bundle
