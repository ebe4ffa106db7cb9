"""The words of the slides, from `assets/talk_<lang>.toml`; numbers are put in by `str.format`."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from scale.strict import require
from scale.viz.theme import ASSETS
from scale.viz.words import Language


@dataclass(frozen=True)
class Prose:
    """What one slide says."""

    title: str
    points: tuple[str, ...] = ()
    """Of the text, or of the left column."""
    headings: tuple[str, ...] = ()
    """Of two columns."""
    more: tuple[str, ...] = ()
    """Of the right column."""
    equation: str = ""
    """`x_{i}` is an x with an index i."""
    alt: tuple[str, ...] = ()
    """Description of each picture, chart or table."""
    source: str = ""
    """Where numbers come from, how many there are; pages that were read."""
    notes: str = ""
    """What the speaker says."""


@cache
def _read(lang: Language) -> dict[str, Any]:
    text = (ASSETS / f"talk_{lang}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def prose_keys(lang: Language) -> tuple[str, ...]:
    """The slides that the file has words for."""
    return tuple(_read(lang))


def prose(key: str, lang: Language, values: Mapping[str, Any], variant: str = "") -> Prose:
    """The words of a slide with its values.

    Args:
        variant: which title, where the file has several: a verdict.

    Raises ValueError for a slide or a variant that the file lacks, KeyError for a missing value.
    """
    given = {name: value for name, value in _table(key, lang).items() if name != "words"}
    if isinstance(given["title"], dict):
        require(variant in given["title"], f"slide {key}: no title for {variant!r}")
        given["title"] = given["title"][variant]
    return Prose(**{name: _filled(name, value, values) for name, value in given.items()})


def headline(key: str, lang: Language) -> str:
    """A slide's title as the file has it; of several, all."""
    title = _table(key, lang)["title"]
    return " / ".join(title.values()) if isinstance(title, dict) else title


def words(key: str, lang: Language) -> dict[str, str]:
    """What stands in a slide's table or at the axes of its chart."""
    return _table(key, lang).get("words", {})


def _table(key: str, lang: Language) -> dict[str, Any]:
    table = _read(lang)
    require(key in table, f"no words for the slide {key} in talk_{lang}.toml")
    return table[key]


def _filled(name: str, value: str | list[str], values: Mapping[str, Any]) -> str | tuple[str, ...]:
    """The equation keeps its braces."""
    if name == "equation":
        return value
    if isinstance(value, list):
        return tuple(text.format(**values) for text in value)
    return " ".join(value.split()).format(**values) if name != "notes" else _note(value, values)


def _note(text: str, values: Mapping[str, Any]) -> str:
    """Lines of the file are joined; between Chinese characters without a space."""
    joined = ""
    for line in text.format(**values).strip().splitlines():
        glue = " " if joined and joined[-1].isascii() and line[:1].isascii() else ""
        joined += glue + line.strip()
    return joined
