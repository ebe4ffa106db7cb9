"""Rows of any source as catalogue records: the one path from a foreign format to a product."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scale.data.importers.columns import MEDIA_FILE, ColumnMapping, map_columns
from scale.data.importers.rows import Blob, Row, Rows, is_absent
from scale.data.importers.text import clean_text, has_markup, plain_text, with_decimal_point
from scale.data.product import KEYS, SPLIT_NAMES
from scale.modalities import CONTINUOUS

SAMPLE = 1000
"""Rows that decide on the meaning of the columns."""
EMPTY = frozenset({"", "nan", "null", "n/a", "#n/a", "-", "–", "—"})
"""Values of attributes, in any case, that mean an absent value, because CSV has no null. `none` is
not among them: it is a valid value, e.g. of the attribute `lid`."""
EMPTY_TITLE = frozenset({"", "-", "–", "—"})
"""Titles that mean an absent one. `Nan` and `Null` may be names."""
DECIMALS = {"comma": ",", "point": "."}


class Converter:
    """Turns the rows of a source into records; media values stay as the source has them.

    The mapping of columns is known before the first record is made.
    """

    def __init__(
        self,
        rows: Rows,
        columns: Mapping[str, str | Sequence[str]] | None = None,
        *,
        html: bool | None = None,
        pattern: str | None = None,
    ) -> None:
        """Read the first rows and map their columns.

        Args:
            rows: an opened source.
            columns: columns of a role, chosen by the user.
            html: remove HTML from all texts; None: as the format says.
            pattern: path of the picture by column, `images/{id:.3}/{id}.jpg`.

        Raises ValueError as `map_columns`, and for a pattern with an unknown column.
        """
        source = iter(rows.rows)
        sample = list(itertools.islice(source, SAMPLE))
        names = list(dict.fromkeys(name for _, row in sample for name in row))
        taken = [row for _, row in sample]
        self.has_rows = bool(sample)
        self.rows, self._source = rows, itertools.chain(sample, source)
        self.mapping: ColumnMapping = map_columns(names, taken, columns, rows.columns, rows.rest)
        self.empty: Counter[str] = Counter()
        """Empty cells by column."""
        self.html = rows.html if html is None else html
        self.pattern = pattern or rows.pattern
        if self.pattern:
            self._check_pattern(names)
            warnings = self.mapping.warnings
            self.mapping.warnings = [w for w in warnings if "has an image" not in w]
        marked = not self.html and any(
            isinstance(value, str) and has_markup(value)
            for row in taken
            for name, value in row.items()
            if self.mapping.role(name) in ("title", "table", "name", "category")
        )
        if marked:
            self.mapping.warnings.append("texts contain HTML (--clean-html removes it)")

    def _check_pattern(self, names: Sequence[str]) -> None:
        columns = re.findall(r"\{(\w*)", self.pattern or "")
        unknown = [c for c in columns if c not in (*names, "id")]
        if unknown or not columns:
            what = f"no column {unknown[0]!r}" if unknown else "no column in braces"
            raise ValueError(f"pattern {self.pattern!r}: {what}; columns: {', '.join(names)}")

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the number of each row and its record, whose media are lists of values."""
        for count, (number, row) in enumerate(self._source, start=1):
            yield number, self.record(row, count)

    def record(self, row: Row, count: int) -> dict[str, Any]:
        """Return the record of a row; `count` becomes the id if there is no column of ids."""
        by_role: dict[str, list[str]] = {}
        for name in row:
            by_role.setdefault(self.mapping.role(name), []).append(name)
        record: dict[str, Any] = {"id": self._text(row, by_role.get("id", ()), "id")}
        if record["id"] is None and not self.mapping.of("id"):
            record["id"] = str(count)
        for key in ("title", "category", "split", "name"):
            if key in by_role:
                record[key] = self._text(row, by_role[key], key)
        if record.get("split") is not None:
            record["split"] = SPLIT_NAMES.get(record["split"].lower(), record["split"])
        record["table"] = self._table(row, by_role.get("table", ())) or None
        for modality in CONTINUOUS:
            found = [v for name in by_role.get(modality, ()) for v in media_values(row[name])]
            if modality == "image" and self.pattern and not found:
                found = [self._pattern_path(row, record["id"])]
            if found:
                record[modality] = list(dict.fromkeys(found))
        record |= self._nested(row, by_role)
        for name in by_role.get("kept", ()):
            value = to_plain(row[name])
            if not is_absent(value) and name not in record and name not in KEYS.values():
                record[name] = self._kept(value)
        return record

    def _text(self, row: Row, names: Sequence[str], role: str) -> str | None:
        """Return the text of one or several columns, joined."""
        parts = []
        for name in names:
            value = row[name]
            value = value[0] if isinstance(value, list | tuple) and value else value
            text = self.clean(value)
            absent = text in EMPTY_TITLE if role in ("title", "name") else text.lower() in EMPTY
            if absent and not (role == "id" and text):
                self.empty[name] += 1
            else:
                parts.append(text)
        return (". " if role == "title" else " ").join(parts) or None

    def clean(self, value: Any) -> str:
        """Return a value as text on one line; an absent value is the empty string."""
        if is_absent(value):
            return ""
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            value = int(value)
        text = value if isinstance(value, str) else str(to_plain(value))
        return plain_text(text) if self.html else clean_text(text)

    def _table(self, row: Row, names: Sequence[str]) -> list[list[str]]:
        pairs: list[list[str]] = []
        for name in names:
            cell = _with_points(row[name]) if self.rows.decimal == "," else row[name]
            for attribute, value in _pairs(name, cell):
                text, attribute = self.clean(value), self.clean(attribute)
                if text.lower() in EMPTY or not attribute:
                    self.empty[name] += 1
                    continue
                pairs.append([attribute, text])
        return pairs

    def _pattern_path(self, row: Row, product_id: str | None) -> str:
        values = {name: self.clean(value) for name, value in row.items()} | {"id": product_id or ""}
        try:
            return str(self.pattern).format_map(values)
        except (ValueError, IndexError, AttributeError, KeyError) as error:
            raise ValueError(f"pattern {self.pattern!r}: {error}") from error

    def _nested(self, row: Row, by_role: Mapping[str, list[str]]) -> dict[str, Any]:
        """Return labels, the second view and content hashes."""
        found: dict[str, Any] = {}
        for key in ("labels", "alt", "content"):
            values: dict[str, Any] = {}
            for name in by_role.get(key, ()):
                value = to_plain(row[name])
                if is_absent(value):
                    continue
                values |= value if isinstance(value, dict) else {name: value}
            if values:
                found[key] = {k: v for k, v in values.items() if v is not None}
        return found

    def _kept(self, value: Any) -> Any:
        return self.clean(value) if isinstance(value, str) else value


def _pairs(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the attribute-value pairs of a column.

    A scalar is one pair; a list of values (of variants) is one pair; a dictionary and a list of
    pairs or of {name, value} objects are several, as is `a#:#b#;#c#:#d`.
    """
    value = to_plain(value)
    if isinstance(value, str) and "#:#" in value:
        for part in value.split("#;#"):
            attribute, found, text = part.partition("#:#")
            yield (attribute, text) if found else (name, part)
    elif isinstance(value, dict):
        for key, item in value.items():
            nested = isinstance(item, dict) and not any(isinstance(v, dict) for v in item.values())
            if nested:
                yield from ((f"{key} {k}", v) for k, v in item.items())
            else:
                yield str(key), _joined(item)
    elif isinstance(value, list | tuple) and any(isinstance(v, list | tuple | dict) for v in value):
        for item in value:
            yield from _pairs_of_item(name, item)
    else:
        yield name, _joined(value)


def _pairs_of_item(name: str, item: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(item, list | tuple) and len(item) == 2:
        yield str(item[0]), _joined(item[1])
    elif isinstance(item, dict) and {"name", "value"} <= {str(key).lower() for key in item}:
        lower = {str(key).lower(): v for key, v in item.items()}
        yield str(lower["name"]), _joined(lower["value"])
    elif isinstance(item, dict):
        yield from _pairs(name, item)
    else:
        yield name, _joined(item)


def _with_points(value: Any) -> Any:
    """Return text, or a list of texts, with decimal points instead of commas."""
    if isinstance(value, list):
        return [_with_points(item) for item in value]
    return with_decimal_point(value.strip()) if isinstance(value, str) else value


def _joined(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return ", ".join(str(v) for v in value if not is_absent(v))
    return value


def media_values(value: Any) -> list[Any]:
    """Return the files that a cell names: paths, addresses and Blobs.

    A string is split at `|`, `,`, `;` or blanks if every part names a media file.
    """
    value = to_plain(value)
    if is_absent(value):
        return []
    if isinstance(value, list | tuple):
        return [file for item in value for file in media_values(item)]
    if isinstance(value, dict):
        if isinstance(value.get("bytes"), bytes):
            return [Blob(value["bytes"], str(value.get("path") or ""))]
        for key in ("path", "url", "src", "hi_res", "large", "image"):
            if isinstance(value.get(key), str):
                return media_values(value[key])
        return []
    if isinstance(value, bytes):
        return [Blob(value, "")]
    if not isinstance(value, str):
        return [value if isinstance(value, Blob) else str(value)]
    text = value.strip()
    if text.lower() in EMPTY:
        return []
    for separator in ("|", ";", ",", " "):
        parts = [part.strip() for part in text.split(separator) if part.strip()]
        if len(parts) > 1 and all(_names_file(part) for part in parts):
            return parts
    return [text]


def _names_file(text: str) -> bool:
    return "://" in text or any(name.fullmatch(text) for name in MEDIA_FILE.values())


def to_plain(value: Any) -> Any:
    """Return lists, dictionaries and scalars of Python instead of those of numpy, pandas, arrow."""
    if isinstance(value, str | int | bytes | Blob) or value is None:
        return value.item() if hasattr(value, "item") else value
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    if hasattr(value, "tolist"):
        return to_plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    return None if is_absent(value) else str(value)
