"""Files that appear whole or not at all, whenever the process stops."""

import os
import shutil
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


@contextmanager
def replacing_folder(target: Path, keep_as: Path) -> Iterator[Path]:
    """A new folder beside `target` that becomes it when the block ends without an error.

    Its files are on the disk before it gets the name, so a power cut too leaves the whole or
    nothing. The earlier one is renamed to `keep_as`; between the two renames only that is there.
    Of what a killed process leaves, the name ends in .new or .gone.
    """
    fresh = target.with_name(f"{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        yield fresh
        for path in (*fresh.rglob("*"), fresh):
            _to_disk(path)
        if target.exists():
            remove_folder(keep_as)
            target.rename(keep_as)
        fresh.rename(target)
        _to_disk(target.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder; stopped halfway, what is left is not under its name."""
    if folder.exists():
        gone = folder.with_name(f"{folder.name}.gone")
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _to_disk(path: Path) -> None:
    """Wait until the system has written a file, or a folder's names, to the disk."""
    if os.name != "posix" and path.is_dir():
        return  # Windows cannot open a folder.
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(target: Path, text: str) -> None:
    """Write a text as UTF-8; an earlier file is replaced at once or not at all."""
    with replacing(target) as partial:
        partial.write_text(text, encoding="utf-8")
