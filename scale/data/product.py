"""A product, the catalogue record that it is read from, and the problems found on the way.

A record is an untrusted JSON value (or a row of a table). Each `read_` function takes one value and
returns it checked, or raises InvalidValue with the reason. A rejected value counts as missing and
becomes a Problem; null and absent keys are not problems. In a Product, None means absent.
"""

import json
import math
import os
import re
import reprlib
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

from scale.files import split_rows, write_whole
from scale.modalities import MODALITIES

SPLITS = ("train", "val", "test")
SPLIT_NAMES = dict(zip(SPLITS, SPLITS, strict=True)) | {
    "training": "train",
    "validation": "val",
    "valid": "val",
    "dev": "val",
    "testing": "test",
}
"""Split by the names that catalogues use, in any case."""
UNKNOWN_SPLIT = "unknown split"
"""Kind of the problem of a split with another name. Training such products would be a silent error,
so whatever needs the splits raises (`catalogue.with_splits`)."""

KEYS: dict[str, str] = {m: "title" if m == "text" else m for m in MODALITIES}
"""Record key of each modality."""

MEDIA_KEYS = frozenset(KEYS.values()) - {"title", "table"}
"""Keys whose values are paths."""

RECORD_KEYS = frozenset(
    {"id", "name", "category", "split", "labels", "alt", "content", *KEYS.values()}
)
"""Keys with a defined meaning; all others are kept in Product.extra."""

CONTENT_FIELDS: dict[str, str] = {
    prefix + key: prefix + m for prefix in ("", "alt_") for m, key in KEYS.items()
}
"""Product field of each key of `content`: `alt_title` -> `alt_text`."""


@dataclass(frozen=True, kw_only=True)
class View:
    """The five modalities of a product; None where it lacks one."""

    text: str | None = None
    """Title (record key `title`)."""
    table: tuple[tuple[str, str], ...] | None = None
    """Attribute-value pairs, in the order of the record."""
    image: Path | None = None
    """Path of an existing image file inside the catalogue folder."""
    video: Path | None = None
    audio: Path | None = None

    @property
    def present(self) -> tuple[str, ...]:
        """Modalities of this view, in the order of MODALITIES."""
        return tuple(m for m in MODALITIES if getattr(self, m) is not None)


@dataclass(frozen=True, kw_only=True)
class Product(View):
    """One product of a catalogue."""

    id: str
    category: str | None = None
    split: str | None = None
    """`train`, `val` or `test`; None if the catalogue does not assign one."""
    name: str | None = None
    labels: dict[str, Any] = field(default_factory=dict)
    """Other targets by name, e.g. `{"material": "oak"}`."""
    alt: View = field(default_factory=View)
    """A second, independent view of the same product, for instance retrieval."""
    content: dict[str, str] = field(default_factory=dict)
    """Hash of the decoded content by modality; equal hashes mean equal content."""
    extra: dict[str, Any] = field(default_factory=dict)
    """All other keys of the record, unchanged."""


@dataclass(frozen=True)
class Problem:
    """One value, record or file of a catalogue that cannot be used."""

    id: str
    """Product id, or `line 17` for a line without a product."""
    modality: str | None
    """Modality that counts as missing as a result (`alt_image`: image of the second view); None
    if the problem concerns another key or the whole record."""
    path: str
    """The media file, or `products.jsonl:17`."""
    reason: str
    """`kind: detail`; all problems of one sort share the kind."""

    @property
    def kind(self) -> str:
        """The reason without its detail."""
        return self.reason.split(":", 1)[0]

    def __str__(self) -> str:
        what = f" {self.modality}" if self.modality else ""
        return f"product {self.id!r}{what}: {self.reason} ({self.path})"


class CatalogueError(ValueError):
    """A catalogue that cannot be opened or, in strict mode, that has problems."""

    def __init__(self, message: str, problems: Iterable[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = list(problems)

    @classmethod
    def of(cls, problems: list[Problem]) -> "CatalogueError":
        """Return the error of strict mode: the first problem in full, and the number of all."""
        count = f" ({len(problems)} problems in all)" if len(problems) > 1 else ""
        return cls(f"{problems[0]}{count}", problems)


def write_problems(problems: Iterable[Problem], path: Path | str) -> None:
    """Write one JSON object per line, replacing an earlier file atomically."""
    # ASCII only: paths that are not valid Unicode must not break their own report.
    lines = (json.dumps(asdict(p), ensure_ascii=True) + "\n" for p in problems)
    write_whole(Path(path), "".join(lines))


def read_problems(path: Path | str) -> list[Problem]:
    """Inverse of `write_problems`."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return [Problem(**json.loads(line)) for line in lines]


def summarise_problems(problems: Iterable[Problem]) -> str:
    """Return the counts of problems by kind and modality, most frequent first, with one id.

    Returns `no problems` if there are none.
    """
    problems = list(problems)
    if not problems:
        return "no problems"
    counts = Counter((p.modality or "record", p.kind) for p in problems)
    example = {(p.modality or "record", p.kind): p.id for p in reversed(problems)}
    noun = "problem" if len(problems) == 1 else "problems"
    lines = [f"{len(problems)} {noun}:"]
    for (what, kind), count in counts.most_common():
        lines.append(f"  {count:>7,}  {what:<10} {kind}, e.g. {example[what, kind]!r}")
    return "\n".join(lines)


CONTROLS = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]"
)
"""Terminal sequences, control characters, and characters that XML forbids; not tab and newline."""


def printable(text: str) -> str:
    """Return the text with unprintable characters (control codes, lone surrogates) escaped."""
    return text if text.isprintable() else text.encode("unicode_escape", "replace").decode()


class InvalidValue(ValueError):
    """A value that cannot be used; the message is the reason, `kind: detail`."""


def parse_record(
    record: Any, folder: Path, where: str, line: int
) -> tuple[Product | None, list[Problem]]:
    """Read one record; return the product and the problems found. Never raises.

    Args:
        record: a decoded JSON value or a row of a table.
        folder: folder that media paths are relative to.
        where, line: location of the record, for messages.

    The product is None if the record has no usable id.
    """
    record, cleaned = _without_controls(record)
    try:
        product_id = _read_id(record)
    except InvalidValue as error:
        return None, [Problem(f"line {line}", None, where, str(error))]
    parser = _Parser(product_id, folder, where)
    if cleaned:
        parser.reject(f"control characters: replaced by blanks in {', '.join(cleaned)}")
    return parser.product(record), parser.problems


def _without_controls(record: Any) -> tuple[Any, list[str]]:
    """Return the record without control characters in texts, and the keys that had some.

    They would break figures, slides and the terminal. Paths keep theirs: files may be named so.
    """
    if not isinstance(record, dict):
        return record, []
    cleaned = {}
    for key, value in record.items():
        if key not in MEDIA_KEYS and key != "content":
            new = blank_controls(value)
            if new is not value:
                cleaned[key] = new
    return (record | cleaned, list(map(printable, cleaned))) if cleaned else (record, [])


def blank_controls(value: Any) -> Any:
    """Return the value with blanks for control characters; the same object if it has none."""
    if isinstance(value, str):
        return CONTROLS.sub(" ", value) if CONTROLS.search(value) else value
    if isinstance(value, list | tuple):
        items = [blank_controls(item) for item in value]
        return items if any(a is not b for a, b in zip(items, value, strict=True)) else value
    if isinstance(value, dict):
        items = [(k, v if k in MEDIA_KEYS else blank_controls(v)) for k, v in value.items()]
        return dict(items) if any(v is not value[k] for k, v in items) else value
    return value


class _Parser:
    """Reads the values of one record and collects the problems."""

    def __init__(self, product_id: str, folder: Path, where: str) -> None:
        self.id, self.folder, self.where = product_id, folder, where
        self.problems: list[Problem] = []

    def product(self, record: dict[str, Any]) -> Product:
        alt = self.mapping(record, "alt", KEYS.values())
        return Product(
            id=self.id,
            **self.view(record),
            category=self.take(record, "category", lambda v: read_string("category", _as_text(v))),
            split=self.take(record, "split", read_split),
            name=self.take(record, "name", partial(read_string, "name")),
            labels=self.values(self.mapping(record, "labels")),
            alt=View(**self.view(alt, prefix="alt_")),
            content=self.content(record),
            extra=self.values({k: v for k, v in record.items() if k not in RECORD_KEYS}),
        )

    def view(self, record: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        """Read the five modalities of the main view or, with prefix `alt_`, of the second one."""
        readers = {"text": partial(read_string, "title"), "table": read_table}
        read_file = partial(read_path, folder=self.folder)
        return {
            m: self.take(record, key, readers.get(m, read_file), prefix + m)
            for m, key in KEYS.items()
        }

    def content(self, record: dict[str, Any]) -> dict[str, str]:
        given = self.mapping(record, "content", CONTENT_FIELDS)
        read = {k: self.take(given, k, partial(read_string, f"content of {k}")) for k in given}
        return {CONTENT_FIELDS[k]: v for k, v in read.items() if v is not None}

    def values(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return values of any type, without null and non-finite ones."""
        read = {k: self.take(values, k, partial(read_value, k)) for k in values}
        return {k: v for k, v in read.items() if v is not None}

    def mapping(
        self, record: dict[str, Any], key: str, known: Iterable[str] | None = None
    ) -> dict[str, Any]:
        """Return the object under a key (empty if absent), reduced to its known keys."""
        found = self.take(record, key, partial(read_object, key)) or {}
        known = found if known is None else known
        for name in found:
            if name not in known and found[name] is not None:
                options = ", ".join(known)
                self.reject(f"unknown modality in {key}: {reprlib.repr(name)}; known: {options}")
        return {k: v for k, v in found.items() if k in known}

    def take(
        self,
        record: dict[str, Any],
        key: str,
        read: Callable[[Any], Any],
        modality: str | None = None,
    ) -> Any:
        """Return the checked value under a key; None if it is absent or rejected."""
        value = record.get(key)
        if value is None:
            return None
        try:
            return read(value)
        except InvalidValue as error:
            is_file = modality is not None and key not in ("title", "table")
            is_path = is_file and isinstance(value, str) and value.strip()
            path = str(self.folder / value) if is_path else None
            self.reject(str(error), modality, path)
            return None

    def reject(self, reason: str, modality: str | None = None, path: str | None = None) -> None:
        self.problems.append(Problem(self.id, modality, printable(path or self.where), reason))


def _read_id(record: Any) -> str:
    if not isinstance(record, dict):
        raise InvalidValue(f"record is not an object: {reprlib.repr(record)}")
    if record.get("id") is None:
        raise InvalidValue("record has no id")
    return read_string("id", _as_text(record["id"]))


def _as_text(value: Any) -> Any:
    """Return an integer as text: ids and categories of data frames are often numbers."""
    return str(value) if type(value) is int and abs(value) < 10**30 else value


def read_string(key: str, value: Any) -> str:
    """Return a string unchanged; it must be valid Unicode with at least one visible character."""
    if not isinstance(value, str):
        raise InvalidValue(f"{key} is not a string: {reprlib.repr(value)}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidValue(f"{key} is not valid Unicode: {reprlib.repr(value)}")
    if not any(c.isprintable() and not c.isspace() for c in value):
        raise InvalidValue(f"empty {key}")
    return value


def read_split(value: Any) -> str:
    """Return `train`, `val` or `test`; see `SPLIT_NAMES`."""
    split = SPLIT_NAMES.get(value.strip().lower()) if isinstance(value, str) else None
    if split is None:
        known = ", ".join(SPLIT_NAMES)
        raise InvalidValue(f"{UNKNOWN_SPLIT}: {reprlib.repr(value)}; known: {known}")
    return split


def check_splits(problems: Iterable[Problem]) -> None:
    """Raise CatalogueError if a product has an unknown split."""
    unknown = [p for p in problems if p.kind == UNKNOWN_SPLIT]
    if unknown:
        raise CatalogueError.of(unknown)


def read_table(value: Any) -> tuple[tuple[str, str], ...]:
    """Return attribute-value pairs from a list of [attribute, value]; numbers become text.

    One invalid pair rejects the table, because a table with a hole would pass as complete.
    """
    if not isinstance(value, list | tuple):
        kind = type(value).__name__
        raise InvalidValue(
            f"malformed table: a list of [attribute, value] pairs is needed, not {kind}"
        )
    if not value:
        raise InvalidValue("empty table")
    return tuple(_read_pair(i, pair) for i, pair in enumerate(value, start=1))


def _read_pair(number: int, pair: Any) -> tuple[str, str]:
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise InvalidValue(f"malformed table: pair {number} is {reprlib.repr(pair)}")
    try:
        attribute = read_string("attribute", pair[0])
        return attribute, read_string("value", _number_to_text(pair[1]))
    except InvalidValue as error:
        raise InvalidValue(f"malformed table: pair {number}: {error}") from error


def _number_to_text(value: Any) -> Any:
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    return str(value) if is_number and math.isfinite(value) else value


def read_object(key: str, value: Any) -> dict[str, Any]:
    """Return a JSON object."""
    if not isinstance(value, dict):
        raise InvalidValue(f"{key} is not an object: {reprlib.repr(value)}")
    return value


def read_value(key: str, value: Any) -> Any:
    """Return a value of any type if all its numbers are finite."""
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, float | Decimal) and not math.isfinite(item):
            raise InvalidValue(f"non-finite number in {reprlib.repr(key)}")
        if isinstance(item, dict):
            rest.extend(item.values())
        elif isinstance(item, list | tuple):
            rest.extend(item)
    return value


def read_path(value: Any, folder: Path) -> Path:
    """Return the path of a file inside the folder, or of rows of one, from its relative path.

    Links are followed: the target must lie inside the folder too.
    """
    if isinstance(value, dict) and "bytes" in value:
        raise InvalidValue("media inside another file: scale import writes them to files")
    if not isinstance(value, str):
        raise InvalidValue(f"path is not a string: {reprlib.repr(value)}")
    if not value.strip():
        raise InvalidValue("empty path")
    if re.match(r"(?i)(https?|ftp)://", value):
        raise InvalidValue("address of a file: scale import --fetch downloads it")
    # PureWindowsPath also recognises `/etc`, so the check is the same on every system.
    if PureWindowsPath(value).anchor:
        raise InvalidValue("absolute path")
    try:
        root = folder.resolve()
        for form in (None, "NFC", "NFD"):
            # File systems and archives differ in the Unicode form of names.
            spelled = value if form is None else unicodedata.normalize(form, value)
            target = split_rows(root / spelled)[0].resolve()
            found, is_file = target.exists(), target.is_file()
            if found:
                break
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidValue(f"unusable path: {printable(str(error))}") from error
    if not target.is_relative_to(root):
        leaves = f"{os.path.normpath(value)}{os.sep}".startswith(os.pardir + os.sep)
        raise InvalidValue("path leaves the folder" if leaves else "link leads out of the folder")
    if not is_file:
        raise InvalidValue("not a file" if found else "missing file")
    return folder / spelled
