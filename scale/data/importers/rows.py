"""Rows of a foreign source, as every format yields them: values by column, and facts about both."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = dict[str, Any]
"""Values by column: a string, number, None, Blob, list or dictionary. A list holds several
pictures, or the values of several variants."""


@dataclass(frozen=True)
class Blob:
    """A media file inside another file."""

    data: bytes
    name: str


@dataclass(frozen=True)
class Options:
    """How a source is read; None: detected."""

    encoding: str | None = None
    delimiter: str | None = None
    decimal: str | None = None
    """`,` or `.`: decimal sign of numbers in text."""
    language: str | None = None
    """Preferred language, where a source has several, e.g. `de`."""
    variants: str | None = None
    """`merge` or `separate`: variants of one product; default: by the format."""


@dataclass
class Rows:
    """An opened source."""

    rows: Iterable[tuple[int, Row]]
    """Line or row number, and the row. Read once."""
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Columns of a role, fixed by the format: `{"title": ["Title"], "ignored": ["Published"]}`. For
    `category` and `title`, the first that has values is used."""
    rest: str = "table"
    """Role of the columns that have no known name: `table`, `kept` or `ignored`."""
    facts: list[str] = field(default_factory=list)
    """What was detected, e.g. `encoding utf-8`."""
    bad: list[tuple[int, str]] = field(default_factory=list)
    """Rows that cannot be read, by number, with the reason; grows while the rows are read."""
    repaired: Counter[str] = field(default_factory=Counter)
    """Rows that were read although they are irregular, by reason."""
    html: bool = False
    """Texts are HTML."""
    media: Path | None = None
    """Folder of the media; default: that of the source."""
    pattern: str | None = None
    """Path of the picture by column: `images/{id:.3}/{id}.jpg`."""
    decimal: str = "."


def merge_rows(
    rows: Iterable[tuple[int, Row]],
    key: Callable[[Row], Hashable | None],
    fill: bool = False,
) -> Iterator[tuple[int, Row]]:
    """Merge the rows of a key into one, in the order of first appearance.

    Args:
        key: rows without one (None or empty) stay alone.
        fill: a later row only fills the gaps of the first, as translations do. Otherwise a column
            with several values becomes the list of them, as for variants.
    """
    groups: dict[Hashable, list[tuple[int, Row]]] = {}
    for number, row in rows:
        groups.setdefault(key(row) or ("row", number), []).append((number, row))
    for group in groups.values():
        merged = dict(group[0][1])
        for _, row in group[1:]:
            for name, value in row.items():
                if is_absent(value):
                    continue
                merged[name] = _both(merged.get(name), value, fill)
        yield group[0][0], merged


def _both(first: Any, second: Any, fill: bool) -> Any:
    if is_absent(first):
        return second
    if fill or first == second:
        return first
    values = first if isinstance(first, list) else [first]
    more = second if isinstance(second, list) else [second]
    return [*values, *(value for value in more if value not in values)]


def is_absent(value: Any) -> bool:
    """Return whether the value is None, NaN, or an empty string, list or dictionary."""
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, list | tuple | dict):
        return not value
    if getattr(value, "ndim", 0):
        return len(value) == 0
    # NaN and NaT differ from themselves; a comparison of pandas.NA has no truth value.
    return value is None or type(value).__name__ == "NAType" or bool(value != value)


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun: `1 file`, `1,200 files`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def split_list(text: Any, separator: str = ",") -> list[str]:
    """Return the parts of a list in a cell, without white space and empty ones."""
    parts = str(text or "").split(separator)
    return [part.strip() for part in parts if part.strip()]
