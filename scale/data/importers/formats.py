"""The formats of `scale import`, and their detection by content.

Each format is a module with `matches(probe) -> bool` and `read(path, options) -> Rows`.
"""

import importlib
import re
import zipfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from scale.data.importers.media import suffix_of
from scale.data.importers.rows import Options, Rows

FORMATS = (
    "m5product", "shopify", "woocommerce", "magento", "merchant", "bmecat", "flipkart", "hm",
    "rakuten", "product1m", "sop", "abo", "amazon_reviews", "xlsx", "jsonl", "webdataset",
    "parquet", "imagefolder", "csv",
)  # fmt: skip
"""In the order of detection."""
HEAD = 1 << 16
TABLES = (".csv", ".tsv", ".xlsx", ".jsonl", ".jsonl.gz", ".json.gz", ".parquet", ".xml")
"""Ends of the names of tables that may lie beside their media in a folder."""


@dataclass
class Probe:
    """What the detection of a format reads of a source."""

    path: Path
    kind: str
    """`folder`, `csv` (any text with lines), `jsonl`, `json`, `parquet`, `xml`, `xlsx`, `tar`."""
    head: str = ""
    """First characters of a text."""
    names: frozenset[str] = field(default_factory=frozenset)
    """Columns or keys of the first record, in lower case."""

    @property
    def tables(self) -> list[str]:
        """Names of the tables in a folder, sorted."""
        return sorted(f for f in self.files if f.lower().endswith(TABLES) and f[0] != ".")

    @cached_property
    def files(self) -> frozenset[str]:
        """Names of the files in a folder."""
        return frozenset(p.name for p in self.path.iterdir()) if self.path.is_dir() else frozenset()

    def has(self, *names: str) -> bool:
        """Return whether the first record has all these columns or keys."""
        return set(names) <= self.names


def probe(path: Path) -> Probe:
    """Return what detection needs. Raises ValueError for a file of no known kind."""
    if path.is_dir():
        return Probe(path, "folder")
    if not path.exists():
        _refuse(path, "no such file or folder")
    if not path.is_file():
        _refuse(path, "neither a file nor a folder")  # A pipe would block, a device never end.
    with path.open("rb") as file:
        start = file.read(HEAD)
    if start.startswith(b"PAR1"):
        return Probe(path, "parquet")
    if start.startswith(b"PK\x03\x04"):
        return Probe(path, "xlsx") if zipfile.is_zipfile(path) else _refuse(path, "damaged xlsx")
    if start.startswith(b"\x1f\x8b") and path.name.endswith((".tar.gz", ".tgz")):
        return Probe(path, "tar")
    if start[257:262] == b"ustar" or path.suffix == ".tar":
        return Probe(path, "tar")
    if start.startswith(b"\x1f\x8b"):
        return _probe_json(path, _unzipped(path))
    if start.startswith(b"\xd0\xcf\x11\xe0"):
        _refuse(path, "an old Excel file: save it as .xlsx or .csv")
    binary = b"\0" in start[:1024] and start[:2] not in (b"\xff\xfe", b"\xfe\xff")
    if suffix_of(start) or (binary and path.suffix.lower() not in (".csv", ".tsv")):
        _refuse(path, "not a table, JSON, XML, parquet or tar file")
    text = start.decode("utf-8-sig", "ignore").lstrip()
    if text.startswith("<"):
        return Probe(path, "xml", text)
    if text.startswith(("{", "[")) and not text.startswith("[]"):
        return _probe_json(path, text)
    return _probe_csv(path)


def _refuse(path: Path, reason: str) -> Probe:
    raise ValueError(f"{path}: {reason}")


def _unzipped(path: Path) -> str:
    import gzip
    import zlib

    try:
        with gzip.open(path) as file:
            return file.read(HEAD).decode("utf-8-sig", "ignore").lstrip()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: damaged gzip file: {error}") from error


def _probe_json(path: Path, text: str) -> Probe:
    if not text.startswith(("{", "[")):
        _refuse(path, "compressed, and not JSON: decompress it first")
    # Keys by pattern: the first object may be longer than the text that was read.
    names = re.findall(r'"([^"\\]{1,80})"\s*:', text)
    kind = "json" if text.startswith("[") else "jsonl"
    return Probe(path, kind, text, frozenset(name.lower() for name in names))


def _probe_csv(path: Path) -> Probe:
    from scale.data.importers.text import detect_delimiter, parse_rows, read_text

    _, lines = read_text(path)
    head = [line for line, _ in zip(lines, range(200), strict=False)]
    if head and head[0].lower().startswith("sep="):
        del head[0]
    delimiter = detect_delimiter(head, "\t" if path.suffix == ".tsv" else ",")
    row = next((row for _, row, _ in parse_rows(head, delimiter) if row), [])
    names = frozenset(cell.strip().lower() for cell in row)
    return Probe(path, "csv", "".join(head)[:HEAD], names)


def open_source(
    path: Path, format_name: str | None = None, options: Options | None = None
) -> tuple[str, Rows]:
    """Return the name of the format and the opened source.

    Raises ValueError if there is no source, no format fits it, or it cannot be read.
    """
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    table = path
    if format_name is None:
        format_name, table = _detect(path)
    if format_name not in FORMATS:
        raise ValueError(f"unknown format {format_name!r}; known: {', '.join(FORMATS)}")
    rows = _module(format_name).read(table, options or Options())
    if table != path:
        rows.facts.insert(0, f"the table {table.name} of the folder")
    if rows.media is None:
        rows.media = path if path.is_dir() else path.parent
    return format_name, rows


def detect_format(path: Path) -> str:
    """Return the name of the first format that fits. Raises ValueError if none does.

    A folder of no format with one table is read as that table.
    """
    return _detect(path)[0]


def _detect(path: Path) -> tuple[str, Path]:
    """Return the format, and the file or folder to read."""
    # Imported here: Pillow is slow, and --help needs this module.
    from scale.data.media import describe_foreign

    foreign = describe_foreign(path, tables=True) if path.is_file() else None
    if foreign is not None:
        raise ValueError(f"{path}: {foreign}")
    found = probe(path)
    name = next((name for name in FORMATS if _module(name).matches(found)), None)
    if name is not None:
        return name, path
    if len(found.tables) > 1:
        raise ValueError(f"{path}: several tables; name one: {', '.join(found.tables)}")
    if found.tables:
        return _detect(path / found.tables[0])
    known = ", ".join(FORMATS)
    raise ValueError(f"{path}: no known format; choose one with --format: {known}")


def _module(name: str):
    return importlib.import_module(f"scale.data.importers.{name}")
