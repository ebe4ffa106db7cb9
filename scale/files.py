"""Files that appear whole or not at all, whenever the process stops."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary path beside `target` that becomes it when the block ends without an error.

    The folder is made where it is not there. The temporary name keeps the target's ending, by which
    some libraries choose the format.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{os.getpid()}.{threading.get_ident()}.{target.name}")
    try:
        yield partial
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(target: Path, text: str) -> None:
    """Write a text as UTF-8; an earlier file is replaced at once or not at all."""
    with replacing(target) as partial:
        partial.write_text(text, encoding="utf-8")
