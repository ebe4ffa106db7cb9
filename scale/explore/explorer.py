"""What every explorer does: answer moves at once, show complaints as text, stand in a page as text
and picture where no kernel runs."""

import asyncio
import logging
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import ipywidgets
from matplotlib.figure import Figure

from scale.explore.html import Surface
from scale.explore.markup import complaint
from scale.viz.words import Language, label

log = logging.getLogger(__name__)

DELAY = 0.03
"""Seconds from the first of a burst of moves to the answer."""
DPI = 100
"""Of the picture that stands in for a panel."""
COMPLAINTS = (ValueError, OSError, RuntimeError, ImportError)
"""What the package raises with a message that a user can act on."""


class Throttle:
    """Calls a function once for a burst of requests, `DELAY` seconds after the first.

    The function reads the controls when it runs, so it sees the last move; while it runs, moves
    pile up as one request. Without an event loop (plain Python, tests) it runs at once.
    """

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._pending: asyncio.TimerHandle | None = None

    def __call__(self, _: Any = None) -> None:
        """Ask for a run; takes and ignores the change that a trait's observer is given."""
        if self._pending is not None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._function()
            return
        self._pending = loop.call_later(DELAY, self._fire)

    def settle(self) -> None:
        """Run now what was asked for, if anything."""
        if self._pending is not None:
            self._pending.cancel()
            self._fire()

    def _fire(self) -> None:
        self._pending = None
        self._function()


class Explorer(ipywidgets.VBox):
    """A panel. A subclass gives `update`, `summary` and `picture`, calls `start` when its controls
    stand, and hangs `self.changed` on them."""

    def __init__(self, lang: Language = "en") -> None:
        super().__init__()
        self.lang: Language = lang
        self.changed = Throttle(self._update)
        self._complaint = Surface()

    def update(self) -> None:
        """Compute and show everything from the controls; may raise ValueError for bad choices."""
        raise NotImplementedError

    def summary(self) -> str:
        """What the panel shows, as lines of text: stable, for `repr` and for tests."""
        raise NotImplementedError

    def picture(self) -> Figure:
        """What the panel shows, for pages without a kernel (GitHub, nbviewer, PDF)."""
        raise NotImplementedError

    def say(self, key: str, **values: Any) -> str:
        """A label in the panel's language."""
        return label(key, self.lang, **values)

    def start(self, children: Sequence[ipywidgets.Widget]) -> None:
        """Show `children` under a line for complaints, and compute for the first time."""
        self.children = (self._complaint, *children)
        self._update()

    def settle(self) -> None:
        """Wait for nothing: do at once what moves have asked for."""
        self.changed.settle()

    def complain(self, message: str) -> None:
        """Show a message above the panel; an empty one takes it away."""
        self._complaint.html = complaint(message)

    @property
    def complaint(self) -> str:
        """The HTML of the message above the panel; empty where nothing is wrong."""
        return self._complaint.html

    @contextmanager
    def complaining(self) -> Iterator[None]:
        """Errors inside become the message above the panel: no traceback, no frozen panel."""
        try:
            yield
        except COMPLAINTS as error:
            log.debug("a panel could not answer", exc_info=True)
            self.complain(str(error) or type(error).__name__)
        else:
            self.complain("")

    def _update(self) -> None:
        with self.complaining():
            self.update()

    def __repr__(self) -> str:
        return self.summary()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """The live panel, with text and a picture for where it cannot live."""
        self.settle()
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        bundle: dict[str, Any] = {
            "text/plain": repr(self),
            "application/vnd.jupyter.widget-view+json": view,
        }
        try:
            buffer = BytesIO()
            self.picture().savefig(buffer, format="png", dpi=DPI)
        except COMPLAINTS as error:
            bundle["text/plain"] += f"\n({error})"
        else:
            bundle["image/png"] = b64encode(buffer.getvalue()).decode("ascii")
        return bundle
