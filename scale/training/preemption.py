"""When a training is to stop before its last step: a signal came, or its time is up."""

import math
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 75
"""Of `scale pretrain` that stopped early and saved: "try again later" (EX_TEMPFAIL, sysexits.h)."""
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
)
"""Ctrl-C, what schedulers send at the end, and what Slurm sends before it if asked to."""
ECHO = 1.0
"""Seconds in which a second signal is the first one's echo: `timeout`, torchrun and Slurm send to
the process and to its group."""


class TrainingStopped(RuntimeError):
    """A training that was told to stop, saved and can go on; the message says why and where."""


class PreemptionHandler:
    """Knows whether a training is to stop: between two steps, so that it can save and go on."""

    def __init__(self, minutes: float = 0.0):
        """`minutes` from now on may be used; 0: no limit."""
        self.minutes = minutes
        self.deadline = time.monotonic() + 60 * minutes if minutes else math.inf
        self.signal: signal.Signals | None = None
        self._since = self._looked = math.nan
        self._longest = 0.0

    def reason(self) -> str | None:
        """Why to stop now, or None. To be asked once a step.

        Time is up where the longest pause between two askings so far (a step, a validation and a
        checkpoint) no longer fits into what is left.
        """
        now = time.monotonic()
        if not math.isnan(self._looked):
            self._longest = max(self._longest, now - self._looked)
        self._looked = now
        if self.signal is not None:
            return f"stopped by {self.signal.name}"
        if now + self._longest >= self.deadline:
            return f"train.max_minutes ({self.minutes:g}) are over"
        return None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note signals instead of dying of them; the handlers of before are put back at the end.

        A second signal (later than `ECHO`) acts as if nobody listened. Ignored signals stay
        ignored. Outside the main thread, Python takes no handlers and nothing is noted.
        """
        before = {}
        if threading.current_thread() is threading.main_thread():
            found = {number: signal.getsignal(number) for number in SIGNALS}
            # None: a handler that was not set by Python cannot be put back.
            before = {n: h for n, h in found.items() if h not in (None, signal.SIG_IGN)}

        def note(number: int, frame: FrameType | None) -> None:
            if self.signal is None:
                self.signal, self._since = signal.Signals(number), time.monotonic()
            elif time.monotonic() - self._since > ECHO:
                signal.signal(number, before[number])
                signal.raise_signal(number)

        for number in before:
            signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def parse_minutes(text: str) -> float:
    """Minutes of a time like 3h30m, 90m, 45s or 1h; a number alone is minutes.

    Raises ValueError for anything else.
    """
    found = re.fullmatch(r"(?:([\d.]+)h)?(?:([\d.]+)(?:m|$))?(?:([\d.]+)s)?", text.strip().lower())
    try:
        hours, minutes, seconds = (float(part or 0) for part in found.groups())
    except (AttributeError, ValueError):
        hours = minutes = seconds = 0.0
    total = 60 * hours + minutes + seconds / 60
    if total <= 0:
        raise ValueError(f"{text!r} is not a time; write it like 3h30m, 90m or 45s")
    return total
