"""When to stop: signals are noted between steps, time is up before it is over."""

import os
import signal
import threading
import time

import pytest

from scale.training import preemption as stopping
from scale.training.preemption import SIGNALS, PreemptionHandler, parse_minutes


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("3h30m", 210), ("90m", 90), ("45s", 0.75), ("1h", 60), ("90", 90), (" 1H30 ", 90),
     ("0.5h", 30), ("1h1m30s", 61.5)],
)  # fmt: skip
def test_times(text, minutes):
    assert parse_minutes(text) == pytest.approx(minutes)


@pytest.mark.parametrize("text", ["", "soon", "3:30", "-5m", "0", "1.2.3h", "5m3h", "1d"])
def test_what_is_no_time_is_said(text):
    with pytest.raises(ValueError, match="write it like 3h30m"):
        parse_minutes(text)


@pytest.fixture
def clock(monkeypatch):
    """A time that moves when told to."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    made = Clock()
    monkeypatch.setattr(stopping, "time", made)
    return made


def test_time_is_up_where_the_longest_step_no_longer_fits(clock):
    stopper = PreemptionHandler(minutes=1.0)
    asked = []
    # Steps of 4 s, one with a validation: 10 s. After 50 s, another such one ends too late.
    for pause in (0, 4, 4, 10, 4, 4, 4, 4, 4, 4, 4, 4):
        clock.now += pause
        asked.append((clock.now - 1000.0, stopper.reason()))
    assert [at for at, reason in asked if reason] == [50]
    assert asked[-1][1] == "train.max_minutes (1) are over"


def test_without_a_limit_time_is_never_up(clock):
    stopper = PreemptionHandler()
    for _ in range(5):
        clock.now += 1e6
        assert stopper.reason() is None


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_the_handlers_come_back(number):
    before = [signal.getsignal(n) for n in SIGNALS]
    stopper = PreemptionHandler()
    with stopper.listening():
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)  # Its echo, from the process group.
        assert stopper.reason() == f"stopped by {signal.Signals(number).name}"
    assert [signal.getsignal(n) for n in SIGNALS] == before


def test_a_second_signal_acts_as_if_nobody_listened(monkeypatch):
    monkeypatch.setattr(stopping, "ECHO", 0.0)
    stopper = PreemptionHandler()
    with stopper.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert stopper.signal == signal.SIGTERM, "the first one is the reason"


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        stopper = PreemptionHandler()
        with stopper.listening():
            os.kill(os.getpid(), signal.SIGINT)
            assert stopper.reason() is None
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_no_handler_is_touched():
    before, seen = [signal.getsignal(n) for n in SIGNALS], []

    def listen():
        with PreemptionHandler().listening():
            seen.extend(signal.getsignal(n) for n in SIGNALS)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == before
