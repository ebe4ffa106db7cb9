"""Regions of pictures from a detector, as TSV or LMDB: one record per picture, in constant memory.

Both have the seven fields image id, width, height, number of boxes, boxes, features and title
(Bottom-up attention's TSV; M5Product and Product1M). Nothing is unpickled.

L regions of a picture, F features of a region.
"""

import base64
import binascii
import csv
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scale.data.importers import lmdb_records
from scale.data.product import InvalidValue

LARGEST_RECORD = 1 << 26
"""Bytes of the largest record that is read; 36 regions of 2048 features take 0.3 MB."""
LARGEST_LINE = 2 * LARGEST_RECORD
MOST_REGIONS = 256
TYPES = {"<f2": np.float16, "<f4": np.float32, "<f8": np.float64}
"""Types of arrays in LMDB records. Objects would have to be unpickled."""


@dataclass(frozen=True)
class Regions:
    """The regions of one picture."""

    image_id: str
    title: str | None
    boxes_L4: np.ndarray
    """x1, y1, x2, y2 in pixels."""
    features_LF: np.ndarray
    width: int
    height: int

    @property
    def locations_L5(self) -> np.ndarray:
        """x1 / w, y1 / h, x2 / w, y2 / h and the share of the area, float32."""
        x1, y1, x2, y2 = self.boxes_L4.T.astype(np.float32)
        area = (x2 - x1) * (y2 - y1) / (self.width * self.height)
        w, h = self.width, self.height
        return np.stack([x1 / w, y1 / h, x2 / w, y2 / h, area], axis=1)

    def with_mean(self) -> tuple[np.ndarray, np.ndarray]:
        """Return features and locations with the mean region, the whole picture, in front."""
        whole_15 = np.array([[0, 0, 1, 1, 1]], np.float32)
        mean_1F = self.features_LF.mean(0, keepdims=True)
        return (
            np.concatenate([mean_1F, self.features_LF]),
            np.concatenate([whole_15, self.locations_L5]),
        )


Record = tuple[str, str, Regions | InvalidValue]
"""Place in the file, image id (or place), and the regions or the reason why they are unusable."""


def read_regions(path: Path) -> Iterator[Record]:
    """Yield the pictures of a region file: TSV by its suffix (.tsv, .txt), otherwise LMDB.

    Raises ValueError if the file cannot be read at all; unusable records are yielded.
    """
    if not path.exists():
        raise ValueError(f"{path}: no such file")
    yield from read_tsv(path) if path.suffix in (".tsv", ".txt") else read_lmdb(path)


# --------------------------------------------------------------------------------------------- TSV


def read_tsv(path: Path) -> Iterator[Record]:
    """Yield the pictures of a TSV without header: boxes and features are base64 of float32."""
    csv.field_size_limit(max(csv.field_size_limit(), LARGEST_RECORD))
    # Bytes that are not UTF-8 must not lose more than their title.
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = csv.reader(_bounded_lines(file, path), delimiter="\t")
        while True:
            try:
                row = next(rows, None)
            except csv.Error as error:
                where = f"{path}:{rows.line_num}"
                yield where, f"line {rows.line_num}", InvalidValue(f"not TSV: {error}")
                continue
            if row is None:
                return
            if row:
                where, name = f"{path}:{rows.line_num}", row[0] or f"line {rows.line_num}"
                try:
                    yield where, name, _from_tsv(row)
                except InvalidValue as error:
                    yield where, name, error


def _bounded_lines(file: Any, path: Path) -> Iterator[str]:
    while line := file.readline(LARGEST_LINE):
        if len(line) == LARGEST_LINE:
            raise ValueError(f"{path}: not a TSV of regions: a line of over {LARGEST_LINE:,} bytes")
        yield line


def _from_tsv(row: list[str]) -> Regions:
    if len(row) != 7:
        raise InvalidValue(f"wrong number of fields: {len(row)}, not 7")
    largest = max(map(len, row))
    if largest > LARGEST_RECORD:
        raise InvalidValue(f"too large: {largest:,} characters, at most {LARGEST_RECORD:,}")
    image_id, width, height, count, boxes, features, title = row
    boxes_X, features_X = (
        np.frombuffer(_decode(name, text), "<f4")
        for name, text in (("boxes", boxes), ("features", features))
    )
    return _regions(image_id, title, width, height, count, boxes_X, features_X)


def _decode(name: str, text: str) -> bytes:
    try:
        body = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidValue(f"not base64: {name}: {error}") from error
    if len(body) % 4:
        raise InvalidValue(f"wrong length: {name} of {len(body)} bytes are no float32")
    return body


# -------------------------------------------------------------------------------------------- LMDB


def read_lmdb(path: Path) -> Iterator[Record]:
    """Yield the pictures of an LMDB written by tensorpack with msgpack, in the order of the keys.

    An array is a map of its type, shape and bytes, as in msgpack_numpy. Keys that begin with `__`
    (`__keys__`) are skipped.
    """
    try:
        import lmdb  # noqa: F401
        import msgpack  # noqa: F401
    except ImportError as error:
        hint = "pip install 'scale-workbench[import]'"
        raise ImportError(f"lmdb and msgpack are missing: {hint}") from error
    for key, size, value in _lmdb_values(path):
        name = key.decode("ascii", "backslashreplace")
        if not name.startswith("__"):
            yield _from_lmdb(f"{path}:{name}", name, size, value)


def _lmdb_values(path: Path) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield key, size and value of each record, read by another process; b"" if it is too large.

    A damaged file can crash that process. Raises ValueError then.
    """
    script = str(Path(lmdb_records.__file__))
    command = [sys.executable, "-P", script, str(path), str(LARGEST_RECORD)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    header = lmdb_records.HEADER
    try:
        while len(start := process.stdout.read(header.size)) == header.size:
            length, size = header.unpack(start)
            if not length:
                return
            key = process.stdout.read(length)
            value = process.stdout.read(size) if size <= LARGEST_RECORD else b""
            if len(key) < length or len(value) < (size if size <= LARGEST_RECORD else 0):
                break
            yield key, size, value
        code = process.wait()
        lines = process.stderr.read().decode("utf-8", "replace").strip().splitlines()
        reason = lines[-1] if code > 0 and lines else f"its reader ended with {code}"
        raise ValueError(f"{path}: not a readable LMDB file: {reason}")
    finally:
        process.kill()
        process.communicate()


def _from_lmdb(where: str, name: str, size: int, value: bytes) -> Record:
    try:
        if size > LARGEST_RECORD:
            raise InvalidValue(f"too large: {size:,} bytes, at most {LARGEST_RECORD:,}")
        features, boxes, count, height, width, image_id, title = _unpack(value)
        if isinstance(image_id, int):
            image_id = str(image_id)
        if not isinstance(image_id, str) or not image_id:
            raise InvalidValue(f"wrong image id: {str(image_id)[:80]!r}")
        name = image_id
        arrays = (_array("boxes", boxes).ravel(), _array("features", features).ravel())
        return where, name, _regions(image_id, title, width, height, count, *arrays)
    except InvalidValue as error:
        return where, name, error


def _unpack(value: bytes) -> list:
    """Return the list of seven that a record is."""
    import msgpack

    try:
        found = msgpack.unpackb(value, raw=False, strict_map_key=False, ext_hook=_no_extension)
    # Also unhashable keys of maps.
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        pickled = " (it is pickled, which is never read)" if value[:1] == b"\x80" else ""
        raise InvalidValue(f"not msgpack: {type(error).__name__}{pickled}") from error
    if not isinstance(found, list) or len(found) != 7:
        raise InvalidValue(f"not a list of 7: {type(found).__name__!s}")
    return found


def _no_extension(code: int, data: bytes) -> None:
    raise ValueError(f"extension type {code}")


def _array(name: str, value: Any) -> np.ndarray:
    """Return the array of a msgpack_numpy map, whose keys are bytes."""
    if not isinstance(value, dict):
        raise InvalidValue(f"wrong type: {name} is {type(value).__name__}, not an array")
    facts = {k.decode("latin-1") if isinstance(k, bytes) else k: v for k, v in value.items()}
    kind, shape, data = (facts.get(key) for key in ("type", "shape", "data"))
    kind = kind.decode("latin-1") if isinstance(kind, bytes) else kind
    if not facts.get("nd") or kind not in (*TYPES,) or facts.get("kind") not in (b"", "", None):
        raise InvalidValue(f"wrong type: {name} are {str(kind)[:20]!r}, known: {', '.join(TYPES)}")
    if not isinstance(shape, list) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise InvalidValue(f"wrong shape: {name}: {str(shape)[:40]}")
    count = 1
    for n in shape:
        count *= n
    if not isinstance(data, bytes) or len(data) != count * np.dtype(kind).itemsize:
        size = len(data) if isinstance(data, bytes) else type(data).__name__
        raise InvalidValue(f"wrong length: {name} of shape {tuple(shape)} in {size} bytes")
    return np.frombuffer(data, kind)


# ----------------------------------------------------------------------------------- both formats


def _regions(
    image_id: Any, title: Any, width: Any, height: Any, count: Any,
    boxes_X: np.ndarray, features_X: np.ndarray,
) -> Regions:  # fmt: skip
    width, height, count = (
        _integer(name, value)
        for name, value in (("width", width), ("height", height), ("number of boxes", count))
    )
    if not width or not height:
        raise InvalidValue(f"wrong size: a picture of {width} x {height}")
    if not count:
        raise InvalidValue("no regions")
    if count > MOST_REGIONS:
        raise InvalidValue(f"too many regions: {count}, at most {MOST_REGIONS}")
    if len(boxes_X) != 4 * count:
        raise InvalidValue(f"wrong length: {len(boxes_X)} coordinates for {count} boxes")
    if not len(features_X) or len(features_X) % count:
        raise InvalidValue(f"wrong length: {len(features_X)} features of {count} regions")
    boxes_L4, features_LF = boxes_X.reshape(count, 4), features_X.reshape(count, -1)
    if not (np.isfinite(boxes_L4).all() and np.isfinite(features_LF).all()):
        raise InvalidValue("non-finite: boxes or features")
    title = title.strip() or None if isinstance(title, str) else None
    return Regions(image_id, title, boxes_L4, features_LF, width, height)


def _integer(name: str, value: Any) -> int:
    """Return a count that may be written as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9:
        return value
    raise InvalidValue(f"wrong {name}: {str(value)[:40]!r}")
