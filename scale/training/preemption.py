"""Stop a training run before its last step: on a signal or at a time limit."""

import math
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 75
"""Exit code of `scale pretrain` that stopped early and saved: EX_TEMPFAIL of sysexits.h."""
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
)
"""Ctrl-C, the final signal of schedulers, and the advance warning of Slurm (`--signal`)."""
ECHO = 1.0
"""Seconds during which a second signal is ignored: `timeout`, torchrun and Slurm signal both the
process and its process group."""


class TrainingStopped(RuntimeError):
    """Training was interrupted and saved, and can be resumed; the message names reason and path."""


class PreemptionHandler:
    """Decides between two steps whether a run must stop, so that it can save and resume."""

    def __init__(self, minutes: float = 0.0):
        """`minutes`: time limit from now on; 0: none."""
        self.minutes = minutes
        self.deadline = time.monotonic() + 60 * minutes if minutes else math.inf
        self.signal: signal.Signals | None = None
        self._signal_time = self._last_call = math.nan
        self._longest = 0.0

    def reason(self) -> str | None:
        """Return the reason to stop now, or None; must be called once per step.

        The time limit is reached when the longest interval between two calls so far (a step with
        validation and checkpoint) no longer fits into the remaining time.
        """
        now = time.monotonic()
        if not math.isnan(self._last_call):
            self._longest = max(self._longest, now - self._last_call)
        self._last_call = now
        if self.signal is not None:
            return f"stopped by {self.signal.name}"
        if now + self._longest >= self.deadline:
            return f"train.max_minutes ({self.minutes:g}) are over"
        return None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Record signals instead of exiting; previous handlers are restored at the end.

        A second signal later than `ECHO` invokes the previous handler. Ignored signals stay
        ignored. Outside the main thread, Python accepts no handlers, and nothing is recorded.
        """
        before = {}
        if threading.current_thread() is threading.main_thread():
            found = {number: signal.getsignal(number) for number in SIGNALS}
            # None: a handler not set by Python cannot be restored.
            before = {n: h for n, h in found.items() if h not in (None, signal.SIG_IGN)}

        def record(number: int, frame: FrameType | None) -> None:
            if self.signal is None:
                self.signal, self._signal_time = signal.Signals(number), time.monotonic()
            elif time.monotonic() - self._signal_time > ECHO:
                signal.signal(number, before[number])
                signal.raise_signal(number)

        for number in before:
            signal.signal(number, record)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def parse_minutes(text: str) -> float:
    """Parse a duration such as 3h30m, 90m, 45s or 1h into minutes; a bare number is minutes.

    Raises ValueError for anything else.
    """
    found = re.fullmatch(r"(?:([\d.]+)h)?(?:([\d.]+)(?:m|$))?(?:([\d.]+)s)?", text.strip().lower())
    try:
        hours, minutes, seconds = (float(part or 0) for part in found.groups())
    except (AttributeError, ValueError):
        hours = minutes = seconds = 0.0
    total = 60 * hours + minutes + seconds / 60
    if total <= 0:
        raise ValueError(f"{text!r} is not a duration; write it like 3h30m, 90m or 45s")
    return total
