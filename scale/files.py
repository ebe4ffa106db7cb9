"""Atomic writes (a file or folder is complete or absent, even after a kill), locks, checksums,
arrays.
"""

import ast
import errno
import hashlib
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any, Literal

import numpy as np

FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
"""Beginnings of cells that spreadsheets take as formulas."""
LOCK = ".lock"
"""Name of the lock file in a folder that is being written."""
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
"""Errors of folders that the user may only read."""
TIME_RESOLUTION = 2_000_000_000
"""Nanoseconds within which two changes of a file may have the same time (FAT: 2 s)."""
_UMASK = os.umask(0o077)
os.umask(_UMASK)

# Several versions of `ast` count the depth of recursion across threads, so two headers parsed at
# the same time can end in SystemError (python/cpython#106905).
_HEADERS = threading.Lock()


def load_array(source: Path | IO[bytes], mmap_mode: Literal["c", "r"] | None = None) -> np.ndarray:
    """Return the array of a .npy file, as np.load without unpickling, from any thread.

    Raises ValueError or OSError if it is damaged, or anything else than an array.
    """
    try:
        with _HEADERS:
            found = np.load(source, mmap_mode=mmap_mode, allow_pickle=False)
    except (TokenError, SyntaxError, TypeError, MemoryError, OverflowError, EOFError) as error:
        # numpy parses the header as Python, and allocates the size that it claims.
        raise ValueError(f"damaged header: {error}") from error
    if not isinstance(found, np.ndarray):
        found.close()
        raise ValueError("a zip archive, not one array")
    return found


def is_plain_name(name: Any) -> bool:
    """Return whether a name in a manifest is that of a file directly in its folder."""
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\\0:")


ROWS = re.compile(r"(.+\.npy)#(\d{1,15})(?::(\d{1,15}))?", re.DOTALL)
"""A path of rows of a matrix: `features/image.npy#12`, or `#12:49` for rows 12 to 48."""


def split_rows(path: Path) -> tuple[Path, slice | None]:
    """Return the file of a path and the rows of its matrix; None if the path is a whole file."""
    found = ROWS.fullmatch(path.name)
    if found is None:
        return path, None
    name, start, stop = found.groups()
    rows = slice(int(start), int(start) + 1 if stop is None else int(stop))
    return path.with_name(name), rows


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a temporary path that is renamed to `target` if the block succeeds.

    Missing parent folders are created. The temporary name keeps the target's suffix, from which
    some libraries infer the format.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{os.getpid()}.{threading.get_ident()}.{target.name}")
    try:
        yield partial
        apply_umask(partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replacing_folder(target: Path, keep_as: Path) -> Iterator[Path]:
    """Yield a new folder that is renamed to `target` if the block succeeds.

    Its files are synced to disk before the rename, so a power failure cannot leave a partial
    folder. An earlier `target` is renamed to `keep_as`; between the two renames only that exists.
    Leftovers of a killed process have names that end in .new or .gone.
    """
    fresh = target.with_name(f"{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        yield fresh
        for path in (*fresh.rglob("*"), fresh):
            apply_umask(path)
            _to_disk(path)
        if target.exists():
            remove_folder(keep_as)
            target.rename(keep_as)
        fresh.rename(target)
        _to_disk(target.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def apply_umask(path: Path) -> None:
    """Give a file the mode of the umask (safetensors writes files that only the owner can read)."""
    if path.is_file() and not path.is_symlink():
        path.chmod(0o666 & ~_UMASK)


@contextmanager
def locked(folder: Path, beside: bool = False) -> Iterator[None]:
    """Hold a lock on a folder; it ends with the process, also after a kill.

    The lock is the file `.lock` in the folder, which is created; or `beside` it, for a folder that
    is replaced as a whole.

    Raises ValueError that names the process which holds it. No lock where the system has none.
    """
    path = folder.with_name(f".{folder.name}.lock") if beside else folder / LOCK
    is_new = not path.parent.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _lock(path, folder):
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
    finally:
        if is_new:
            with suppress(OSError):  # not empty
                path.parent.rmdir()


@contextmanager
def _lock(path: Path, folder: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:
        yield
        return
    held = False
    while not held:
        with path.open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise ValueError(
                    f"{folder} is in use by {file.read().strip() or 'another process'}: wait for "
                    "it, or choose another folder"
                ) from None
            except OSError:
                pass  # A file system without locks.
            # The process that held the lock may have removed the file after it was opened here; a
            # lock on a removed file excludes nobody.
            held = os.fstat(file.fileno()).st_nlink > 0
            if not held:
                continue
            file.truncate(0)
            user = os.environ.get("USER") or os.environ.get("LOGNAME") or f"user {os.getuid()}"
            file.write(f"process {os.getpid()} of {user} on {socket.gethostname()}")
            file.flush()
            yield


def remove_folder(folder: Path) -> None:
    """Remove a folder; an interruption leaves no partial folder under its name."""
    if folder.exists():
        gone = folder.with_name(f"{folder.name}.gone")
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _to_disk(path: Path) -> None:
    """Sync a file, or the entries of a folder, to disk."""
    if os.name != "posix" and path.is_dir():
        return  # Windows cannot open a folder.
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(target: Path, text: str) -> None:
    """Write a text file as UTF-8 atomically."""
    with replacing(target) as partial:
        partial.write_text(text, encoding="utf-8")


def escape_formula(value: Any) -> Any:
    """Return a value of a CSV cell; text that a spreadsheet would execute begins with '."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_digest(path: Path) -> bytes:
    """Return the blake2b hash of a file.

    Files that have not changed since they were hashed in this process are not read again: path,
    size and times are the same, and the file is older than the resolution of these times.
    """
    state = path.stat()
    key = path, state.st_size, state.st_mtime_ns, state.st_ctime_ns
    settled = time.time_ns() - max(state.st_mtime_ns, state.st_ctime_ns) > TIME_RESOLUTION
    return (_file_digest if settled else _file_digest.__wrapped__)(*key)


@lru_cache(maxsize=1 << 18)
def _file_digest(path: Path, *_state: int) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


def hash_code(sources: Iterable[Path]) -> str:
    """Return a hash of the code in modules and folders, without docstrings, comments and layout."""
    digest = hashlib.blake2b(digest_size=16)
    for source in sources:
        for path in sorted(source.rglob("*.py")) if source.is_dir() else [source]:
            tree = _WithoutDocstrings().visit(ast.parse(path.read_text(encoding="utf-8")))
            digest.update(ast.dump(tree).encode())
    return digest.hexdigest()


class _WithoutDocstrings(ast.NodeTransformer):
    """Removes all statements that are only a string, also below attributes."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        value = node.value
        return None if isinstance(value, ast.Constant) and isinstance(value.value, str) else node


def default_cache_folder() -> Path:
    """Return $SCALE_CACHE, or else $XDG_CACHE_HOME/scale, or else ~/.cache/scale."""
    if os.environ.get("SCALE_CACHE"):
        return Path(os.environ["SCALE_CACHE"])
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scale"
    except RuntimeError as error:
        raise RuntimeError("no home folder: set SCALE_CACHE to a folder for features") from error
