"""The next batch is made while the device works on the one before."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Key = TypeVar("Key")
Made = TypeVar("Made")


class Prefetcher(Generic[Key, Made]):
    """Makes what is asked for, and what will be asked for next in a thread.

    What is made depends on the key alone, so a wrong guess costs time and nothing else. An error
    in the thread is raised where its result is asked for.
    """

    def __init__(self, make: Callable[[Key], Made]):
        self.make = make
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._next: tuple[Key, Future[Made]] | None = None

    def get(self, key: Key, following: Key | None) -> Made:
        """What belongs to `key`; `following` is the next one to be asked for, None: none."""
        waiting, self._next = self._next, None
        if waiting is not None and waiting[0] == key:
            made = waiting[1].result()
        else:
            if waiting is not None:
                waiting[1].cancel()
            made = self.make(key)
        if following is not None:
            self._next = following, self._pool.submit(self.make, following)
        return made
