"""Feature vectors in .npy files: one file per product, or rows of one matrix of many products.

A path that ends in `#12` or `#12:49` means row 12, or rows 12 to 48, of the matrix in a .npy file:
`features/image.npy#12:49`. Such packed features are memory-mapped, so that a catalogue of millions
of products needs one file per modality.

L length of a sequence, F features of a vector, T vectors of all products, concatenated.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np

from scale.data.media import MediaError, MediaInfo, describe_foreign
from scale.files import load_array, split_rows

FLOAT16_LIMIT = float(np.finfo(np.float16).max)
HEADER_BYTES = 128
"""Size of the header of a packed file: that of a .npy file of any number of rows."""


def is_vectors(path: Path) -> bool:
    """Return whether a path names a .npy file or rows of one."""
    return split_rows(path)[0].suffix == ".npy"


def read_vectors(path: Path) -> np.ndarray:
    """Load features_LF (float32) from a .npy file or rows of it, e.g. the regions of a detector.

    A one-dimensional file is one vector: L = 1. Raises MediaError unless the values are a
    non-empty, finite array of numbers.
    """
    file, rows = split_rows(path)
    if file.suffix != ".npy":
        raise MediaError(path, "not a feature file: a name that ends in .npy is expected")
    try:
        values = map_matrix(file) if rows is None else _map(file)
    except (ValueError, EOFError, OSError) as error:
        reason = describe_foreign(file) or f"feature file does not load: {error}"
        raise MediaError(path, reason) from error
    if isinstance(values, np.ndarray) and values.ndim == 1 and rows is None:
        values = values[None]
    if not isinstance(values, np.ndarray) or values.ndim != 2 or 0 in values.shape:
        raise MediaError(path, f"wrong shape: {getattr(values, 'shape', None)}, not (L, F)")
    if values.dtype.kind not in "fiu":
        raise MediaError(path, f"wrong type: {values.dtype}, not numbers")
    if rows is not None:
        if not rows.start < rows.stop <= len(values):
            wanted = f"{rows.start} to {rows.stop - 1}"
            raise MediaError(path, f"no such rows: {wanted} of a matrix of {len(values)}")
        values = values[rows]
    # Also false for NaN.
    if not (np.abs(values) <= FLOAT16_LIMIT).all():
        raise MediaError(path, "non-finite: a value is not finite, or beyond float16's range")
    return np.array(values, dtype=np.float32)


def vectors_info(path: Path) -> MediaInfo:
    """Return the content hash of a feature file or of rows of one. Raises MediaError."""
    return MediaInfo(hash_vectors(read_vectors(path)))


def hash_vectors(values_LF: np.ndarray) -> str:
    """Return a hash of vectors, equal for equal values in float16: 16 hexadecimal digits."""
    # Values beyond float16 become infinite; `read_vectors` rejects them.
    with np.errstate(over="ignore"):
        half_LF = np.ascontiguousarray(values_LF, np.float16)
    body = repr(half_LF.shape).encode() + half_LF.tobytes()
    return hashlib.blake2b(body, digest_size=8).hexdigest()


def map_matrix(file: Path) -> np.ndarray:
    """Return the matrix of a .npy file as a copy-on-write memory map. Raises as `load_array`."""
    return load_array(file, mmap_mode="c")


def _map(file: Path) -> np.ndarray:
    """Return the memory map of a file; the last ones stay open."""
    found = file.stat()
    return _map_version(file, found.st_ino, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=32)
def _map_version(file: Path, inode: int, modified: int, size: int) -> np.ndarray:
    return map_matrix(file)


class PackedWriter:
    """Appends the vectors of product after product to one .npy file; see `pack_vectors`."""

    def __init__(self, file: IO[bytes], name: str, dtype: type) -> None:
        self.file, self.name, self.dtype = file, name, np.dtype(dtype)
        self.rows, self.size = 0, 0

    def append(self, values: np.ndarray) -> str:
        """Write values_LF, or one vector of F; return its path for the record: `NAME#12:49`.

        Raises ValueError if the vectors are empty, not numbers, not finite in float16, or of
        another size than those before.
        """
        values_LF = np.atleast_2d(values)
        if values_LF.dtype.kind not in "fiu":
            raise ValueError(f"wrong type: {values_LF.dtype}, not numbers")
        if values_LF.ndim != 2 or 0 in values_LF.shape:
            raise ValueError(f"wrong shape: {np.shape(values)}, not (L, F)")
        size = self.size or values_LF.shape[1]
        if values_LF.shape[1] != size:
            raise ValueError(f"wrong size: vectors of {values_LF.shape[1]}, not {size}")
        if not (np.abs(values_LF) <= FLOAT16_LIMIT).all():
            raise ValueError("non-finite: a value is not finite, or beyond float16's range")
        self.file.write(np.ascontiguousarray(values_LF, self.dtype).tobytes())
        start, self.rows, self.size = self.rows, self.rows + len(values_LF), size
        return f"{self.name}#{start}:{self.rows}"


@contextmanager
def pack_vectors(
    path: Path, name: str | None = None, dtype: type = np.float16
) -> Iterator[PackedWriter]:
    """Yield a writer of one .npy matrix (T, F), in constant memory, under a temporary name.

    The file is complete once the block ends, and is not written if it raises or has no vectors.

    Args:
        name: path in the records, relative to the catalogue's folder; default: `features/` and the
            file's name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("wb") as file:
            file.write(bytes(HEADER_BYTES))
            writer = PackedWriter(file, name or f"features/{path.name}", dtype)
            yield writer
            file.seek(0)
            _write_header(file, writer)
        if writer.rows:
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write_header(file: IO[bytes], writer: PackedWriter) -> None:
    """Write a .npy header of HEADER_BYTES, padded with spaces (format version 1.0)."""
    shape = (writer.rows, writer.size)
    text = repr({"descr": writer.dtype.newbyteorder("<").str, "fortran_order": False,
                 "shape": shape})  # fmt: skip
    length = HEADER_BYTES - len(np.lib.format.magic(1, 0)) - 2
    header = text.ljust(length - 1) + "\n"
    file.write(np.lib.format.magic(1, 0) + length.to_bytes(2, "little") + header.encode("ascii"))
