"""Lists of product ids: a JSON list, a JSON object of labels by id, or lines of text."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LARGEST_LIST = 1 << 30
"""Bytes of the largest list that is read: several times that of M5Product's 4.4 million ids."""


@dataclass(frozen=True)
class IdList:
    """Ids in the order of the file, each once, with their labels."""

    labels: dict[str, str | None]
    """Label by id; None where the list has none."""
    repeated: int = 0
    """Entries whose id occurred before."""

    @property
    def labelled(self) -> bool:
        """Whether any id has a label."""
        return any(label is not None for label in self.labels.values())


def product_of(entry: str) -> str:
    """Return the product id of an entry `id#n`, which means picture n of a product."""
    return entry.split("#", 1)[0]


def read_id_list(path: Path) -> IdList:
    """Read a list of ids; the whole file is held in memory.

    A JSON list of ids; a JSON object whose keys are ids and whose values are labels; or text with
    an id per line. Numbers become text. Entries keep a suffix `#n` (see `product_of`).

    Raises ValueError if the file is none of these, is empty or too large; OSError if it is missing.
    """
    size = path.stat().st_size
    if size > LARGEST_LIST:
        raise ValueError(f"{path}: {size:,} bytes are too large for a list of ids")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if text.lstrip()[:1] in ("[", "{"):
            found = json.loads(text, object_pairs_hook=list)
        else:
            found = [line.strip() for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a list of ids: {error}") from error
    labels: dict[str, str | None] = {}
    for number, item in enumerate(found, start=1):
        entry, label = item if isinstance(item, tuple) else (item, None)
        name, label = _as_text(entry), _as_text(label)
        if name is None or (label is None and isinstance(item, tuple) and item[1] is not None):
            raise ValueError(f"{path}: entry {number} is no id with a label: {str(item)[:80]}")
        # A later entry may have the label that an earlier one lacks.
        labels[name] = labels.get(name) or label
    if not labels:
        raise ValueError(f"{path}: the list is empty")
    return IdList(labels, len(found) - len(labels))


def _as_text(value: Any) -> str | None:
    """Return a non-empty text or an integer as text; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.strip() or None if isinstance(value, str) else None
