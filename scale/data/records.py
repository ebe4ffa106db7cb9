"""One record of a catalogue, an untrusted JSON value, read into a Product.

Each `read_` function takes one value and returns it checked, or raises Refused with the reason.
A refused value counts as missing and becomes a Problem; null and an absent key are no problem.
"""

import math
import os
import reprlib
from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

from scale.data.problems import Problem, printable
from scale.data.product import Product, View
from scale.modalities import MODALITIES

SPLITS = ("train", "val", "test")

KEYS: dict[str, str] = {m: "title" if m == "text" else m for m in MODALITIES}
"""The record's key of each modality."""

RECORD_KEYS = frozenset(
    {"id", "name", "category", "split", "labels", "alt", "content", *KEYS.values()}
)
"""Every key with a meaning; any other is kept in Product.extra."""

CONTENT_FIELDS: dict[str, str] = {
    prefix + key: prefix + m for prefix in ("", "alt_") for m, key in KEYS.items()
}
"""Keys of `content`, and the field of the product that each names: `alt_title` -> `alt_text`."""


class Refused(ValueError):
    """A value that cannot be used; the message is the reason, `kind: detail`."""


def parse_record(
    record: Any, folder: Path, where: str, line: int
) -> tuple[Product | None, list[Problem]]:
    """One product and what was wrong with its record. Never raises, whatever the record is.

    record: a decoded JSON value or a row of a parquet file. folder: the catalogue's, for the media
    paths. where, line: the record's place, for messages.
    The product is None where the record has no usable id.
    """
    try:
        product_id = _read_id(record)
    except Refused as error:
        return None, [Problem(f"line {line}", None, where, str(error))]
    parser = _Parser(product_id, folder, where)
    return parser.product(record), parser.problems


class _Parser:
    """Reads the values of one record and collects what it refuses."""

    def __init__(self, product_id: str, folder: Path, where: str) -> None:
        self.id, self.folder, self.where = product_id, folder, where
        self.problems: list[Problem] = []

    def product(self, record: dict[str, Any]) -> Product:
        alt = self.mapping(record, "alt", KEYS.values())
        return Product(
            id=self.id,
            **self.view(record),
            category=self.take(record, "category", partial(read_string, "category")),
            split=self.take(record, "split", read_split),
            name=self.take(record, "name", partial(read_string, "name")),
            labels=self.values(self.mapping(record, "labels")),
            alt=View(**self.view(alt, prefix="alt_")),
            content=self.content(record),
            extra=self.values({k: v for k, v in record.items() if k not in RECORD_KEYS}),
        )

    def view(self, record: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        """The five modalities of the main view or, with the prefix `alt_`, of the second one."""
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
        """Values of any type, without those that are null or not finite."""
        read = {k: self.take(values, k, partial(read_value, k)) for k in values}
        return {k: v for k, v in read.items() if v is not None}

    def mapping(
        self, record: dict[str, Any], key: str, known: Iterable[str] | None = None
    ) -> dict[str, Any]:
        """The object under a key, empty where there is none, without keys that are not known."""
        found = self.take(record, key, partial(read_object, key)) or {}
        known = found if known is None else known
        for name in found:
            if name not in known and found[name] is not None:
                options = ", ".join(known)
                self.refuse(f"unknown modality in {key}: {reprlib.repr(name)}; known: {options}")
        return {k: v for k, v in found.items() if k in known}

    def take(
        self,
        record: dict[str, Any],
        key: str,
        read: Callable[[Any], Any],
        modality: str | None = None,
    ) -> Any:
        """The value under a key, checked; None where it is absent or refused."""
        value = record.get(key)
        if value is None:
            return None
        try:
            return read(value)
        except Refused as error:
            is_file = modality is not None and key not in ("title", "table")
            is_path = is_file and isinstance(value, str) and value.strip()
            path = str(self.folder / value) if is_path else None
            self.refuse(str(error), modality, path)
            return None

    def refuse(self, reason: str, modality: str | None = None, path: str | None = None) -> None:
        self.problems.append(Problem(self.id, modality, printable(path or self.where), reason))


def _read_id(record: Any) -> str:
    if not isinstance(record, dict):
        raise Refused(f"record is not an object: {reprlib.repr(record)}")
    if record.get("id") is None:
        raise Refused("record has no id")
    return read_string("id", record["id"])


def read_string(key: str, value: Any) -> str:
    """A string that is valid Unicode and holds at least one visible character; kept as it is."""
    if not isinstance(value, str):
        raise Refused(f"{key} is not a string: {reprlib.repr(value)}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise Refused(f"{key} is not valid Unicode: {reprlib.repr(value)}")
    if not any(c.isprintable() and not c.isspace() for c in value):
        raise Refused(f"empty {key}")
    return value


def read_split(value: Any) -> str:
    """`train`, `val` or `test`."""
    if value not in SPLITS:
        raise Refused(f"unknown split: {reprlib.repr(value)}; known: {', '.join(SPLITS)}")
    return value


def read_table(value: Any) -> tuple[tuple[str, str], ...]:
    """Attribute-value pairs from a list of [attribute, value]; numbers become text.

    One bad pair refuses the table: a table with a hole would pass as a complete one.
    """
    if not isinstance(value, list | tuple):
        kind = type(value).__name__
        raise Refused(f"malformed table: a list of [attribute, value] pairs is needed, not {kind}")
    if not value:
        raise Refused("empty table")
    return tuple(_read_pair(i, pair) for i, pair in enumerate(value, start=1))


def _read_pair(number: int, pair: Any) -> tuple[str, str]:
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise Refused(f"malformed table: pair {number} is {reprlib.repr(pair)}")
    try:
        attribute = read_string("attribute", pair[0])
        return attribute, read_string("value", _number_to_text(pair[1]))
    except Refused as error:
        raise Refused(f"malformed table: pair {number}: {error}") from error


def _number_to_text(value: Any) -> Any:
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    return str(value) if is_number and math.isfinite(value) else value


def read_object(key: str, value: Any) -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise Refused(f"{key} is not an object: {reprlib.repr(value)}")
    return value


def read_value(key: str, value: Any) -> Any:
    """Any value whose numbers are finite."""
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, float | Decimal) and not math.isfinite(item):
            raise Refused(f"non-finite number in {reprlib.repr(key)}")
        if isinstance(item, dict):
            rest.extend(item.values())
        elif isinstance(item, list | tuple):
            rest.extend(item)
    return value


def read_path(value: Any, folder: Path) -> Path:
    """A file inside the folder, by its relative path, after every link on the way is followed."""
    if not isinstance(value, str):
        raise Refused(f"path is not a string: {reprlib.repr(value)}")
    if not value.strip():
        raise Refused("empty path")
    # A Windows path, because it also knows `/etc`: a catalogue is refused alike on every system.
    if PureWindowsPath(value).anchor:
        raise Refused("absolute path")
    try:
        root = folder.resolve()
        target = (root / value).resolve()
        found, is_file = target.exists(), target.is_file()
    except (OSError, RuntimeError, ValueError) as error:
        raise Refused(f"unusable path: {printable(str(error))}") from error
    if not target.is_relative_to(root):
        leaves = f"{os.path.normpath(value)}{os.sep}".startswith(os.pardir + os.sep)
        raise Refused("path leaves the folder" if leaves else "link leads out of the folder")
    if not is_file:
        raise Refused("not a file" if found else "missing file")
    return folder / value
