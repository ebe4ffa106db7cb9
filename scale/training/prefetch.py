"""Prefetching: the next batch is prepared in a thread while the device computes."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Prefetcher(Generic[Key, Value]):
    """Computes values by key, and the value of the expected next key in a thread.

    Values depend on the key alone, so a wrong expectation costs time and nothing else. An error in
    the thread is raised when its value is requested.
    """

    def __init__(self, compute: Callable[[Key], Value]):
        self.compute = compute
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._next: tuple[Key, Future[Value]] | None = None

    def get(self, key: Key, following: Key | None) -> Value:
        """Return the value of `key`; start computing that of `following` (None: no next key)."""
        waiting, self._next = self._next, None
        if waiting is not None and waiting[0] == key:
            value = waiting[1].result()
        else:
            if waiting is not None:
                waiting[1].cancel()
            value = self.compute(key)
        if following is not None:
            self._next = following, self._pool.submit(self.compute, following)
        return value
