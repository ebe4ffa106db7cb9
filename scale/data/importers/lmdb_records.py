"""Print the records of an LMDB file to standard output, run as a process of its own.

A damaged file can crash the process that maps it, which must not be the caller's: see
`scale.data.importers.regions.read_lmdb`. Standard library and lmdb only. Each record is written as
the lengths of key and value (uint32, uint64), the key and the value; the value is left out if it is
longer than the limit. Two zeros follow the last record.

Usage: python -P lmdb_records.py FILE LIMIT
"""

import struct
import sys
from pathlib import Path

HEADER = struct.Struct("<IQ")


def write_records(path: Path, limit: int) -> None:
    """Write all records, in the order of their keys. Raises ValueError for a damaged file."""
    import lmdb

    folder = path.is_dir()
    try:
        with lmdb.open(str(path), subdir=folder, readonly=True, lock=False) as env:
            file = path / "data.mdb" if folder else path
            needed = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
            if file.stat().st_size < needed:
                raise ValueError(f"truncated: {file.stat().st_size:,} of {needed:,} bytes")
            with env.begin(buffers=True) as transaction:
                _write_all(transaction.cursor(), limit)
    except lmdb.Error as error:
        raise ValueError(str(error).rpartition(": ")[2]) from error


def _write_all(cursor, limit: int) -> None:
    last = b""
    for key, value in cursor:
        name = bytes(key)
        # A damaged file may be a circle.
        if name <= last:
            raise ValueError("its keys are not in order")
        last = name
        sys.stdout.buffer.write(HEADER.pack(len(name), len(value)) + name)
        if len(value) <= limit:
            sys.stdout.buffer.write(value)
    sys.stdout.buffer.write(HEADER.pack(0, 0))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    try:
        write_records(Path(sys.argv[1]), int(sys.argv[2]))
    except BrokenPipeError:
        sys.stderr.close()
    except (ValueError, OSError) as error:
        sys.exit(str(error))
