"""Plan of a talk: the slides and their order, by default or from a `talk.toml`.

speaker = "A. Student"           # on the title slide, and author of the file
affiliation = "Our institute"
date = "2026-12-03"              # in the footer; --date has precedence
slides = ["title", "idea", "lab", "questions"]    # default: the standard slides

[minutes]                        # for the speaker, at the beginning of the notes
idea = 1.5

[slide.idea]                     # replaces parts of a slide; {name}: a value of the slide
title = "Another title"
points = ["short", "lines"]
notes = "Text for the speaker."
picture = "cats.png"             # or chart = "gain.csv", or table = "facts.csv"

[own.lab]                        # a slide of your own, with the same keys
title = "Our laboratory"
points = ["short", "lines"]
picture = "lab.png"              # beside talk.toml
alt = "A table with six products on it"
source = "Photograph of 3 May"
notes = "Text for the speaker."
after = "idea"                   # or before = "streams"; default: at the end

[own.gain]
title = "Our gain"
chart = "gain.csv"               # header; names; numbers; `x low` and `x high`: interval of x
kind = "bars"                    # or columns (default), lines
axis = "mAP@5"
"""

import csv
import io
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from scale.config import build, require
from scale.evaluation.bootstrap import Estimate
from scale.talk.chart import Chart
from scale.talk.material import Content, Exhibit, Prose, Slide, headline, pictured
from scale.talk.page import Picture
from scale.talk.shapes import Drawing
from scale.talk.slides_method import CLOSING, METHOD, OPENING
from scale.talk.slides_results import RESULTS, STUDIES
from scale.talk.table import Table, cell
from scale.viz.theme import ASSETS, HIT, NEGATIVE, POSITIVE
from scale.viz.words import Language

SLIDES: dict[str, Slide] = {
    slide.key: slide for slide in (*OPENING, *METHOD, *RESULTS, *STUDIES, *CLOSING)
}
"""All available slides in the order of a paper talk."""


@dataclass(frozen=True)
class Own:
    """Parts of a slide in talk.toml: a slide of its own, or changes of a slide of the talk."""

    title: str = ""
    points: tuple[str, ...] = ()
    picture: str = ""
    """Path of a picture, relative to talk.toml."""
    chart: str = ""
    """Path of a CSV file: names, then a column of numbers per series; `x low` and `x high` are the
    interval of column x."""
    kind: str = "columns"
    """Kind of chart: columns, bars or lines."""
    axis: str = ""
    """Title of the chart's value axis; default: the name of its first series."""
    table: str = ""
    """Path of a CSV file whose first row is the header."""
    alt: str = ""
    """Alternative text of the picture, chart or table; default: the title."""
    source: str = ""
    notes: str = ""
    after: str = ""
    """Slide that an own slide follows; default: it comes last."""
    before: str = ""
    """Slide that an own slide precedes."""

    @property
    def prose(self) -> Prose:
        """Return the words of the slide; braces are not formatted."""
        alt = (self.alt or self.title,)
        return Prose(self.title, self.points, alt=alt, source=self.source, notes=self.notes)


@dataclass(frozen=True)
class OwnSlide:
    """A slide of talk.toml with its picture, chart or table in memory."""

    key: str
    own: Own
    content: Content

    @property
    def feeds(self) -> str:
        """Sources of the slide, for the outline."""
        file = self.own.picture or self.own.chart or self.own.table
        return f"talk.toml, {file}" if file else "talk.toml"


@dataclass(frozen=True)
class Change:
    """Changes of a slide of the talk, with the new picture, chart or table in memory."""

    own: Own
    given: tuple[str, ...]
    """Keys in talk.toml; the other parts stay."""
    exhibit: Exhibit | None

    def apply(self, content: Content, text: Prose) -> tuple[Content, Prose]:
        """Return content and words with the changes.

        Raises ValueError for a `{name}` that is no value of the slide.
        """
        parts = [k for k in ("title", "points", "source", "notes") if k in self.given]
        try:
            new = {k: _filled(getattr(self.own, k), content.values) for k in parts}
        except (KeyError, IndexError) as error:
            known = ", ".join(sorted(content.values)) or "none"
            message = f"talk.toml: {error} is no value of the slide; known: {known}"
            raise ValueError(message) from error
        text = replace(text, **new)
        if self.exhibit is None:
            alt = (self.own.alt, *text.alt[1:]) if self.own.alt else text.alt
            return self._with_place(content), replace(text, alt=alt)
        # The source of the old exhibit would be wrong.
        source = text.source if "source" in self.given else ""
        text = replace(text, alt=(self.own.alt or text.title,), source=source)
        text = replace(text, headings=(), more=(), equation="")
        return replace(_content(self.exhibit, text.points), values=content.values), text

    def _with_place(self, content: Content) -> Content:
        """Return the content in a layout with a place for the new points beside its exhibit."""
        if not self.own.points or not content.exhibits:
            return content
        whole = isinstance(content.exhibits[0], Drawing)
        require(not whole, "talk.toml: the drawing of the slide leaves no place for points")
        table = content.layout == "Content"
        return replace(content, layout="Wide chart or table") if table else content


def _filled(value: str | tuple[str, ...], values: Mapping[str, Any]) -> str | tuple[str, ...]:
    if isinstance(value, str):
        return value.format(**values)
    return tuple(text.format(**values) for text in value)


@dataclass(frozen=True)
class Talk:
    """Slides in their order, and what talk.toml says about the talk."""

    slides: tuple[Slide | OwnSlide, ...]
    changes: Mapping[str, Change] = field(default_factory=dict)
    """By key of a slide."""
    speaker: str = ""
    affiliation: str = ""
    date: str = ""
    minutes: Mapping[str, float] = field(default_factory=dict)
    """By key of a slide."""

    @property
    def by(self) -> str:
        """Speaker and affiliation as one line; may be empty."""
        return ", ".join(filter(None, (self.speaker, self.affiliation)))


def standard_talk() -> Talk:
    """Return the default talk."""
    return Talk(tuple(slide for slide in SLIDES.values() if slide.standard))


KEYS = ("slides", "own", "slide", "minutes", "speaker", "affiliation", "date")
SHIPPED = ("short",)
"""Talks of the package: `assets/talk_<name>.toml`."""


def find_talk(path: Path) -> Path:
    """Return the path of a talk.toml, or that of a talk of the package for its name.

    Raises ValueError if there is neither.
    """
    if path.is_file():
        return path
    known = ", ".join(SHIPPED)
    require(str(path) in SHIPPED, f"{path}: no such file, and no talk of the package ({known})")
    return ASSETS / f"talk_{path}.toml"


def read_talk(path: Path) -> Talk:
    """Return the talk that a talk.toml describes.

    Raises ValueError with the path: invalid TOML, an unknown key, an unknown slide (the message
    lists the known ones), a repeated slide, an unreadable picture or CSV file.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a TOML file ({error})") from error
    unknown = sorted(table.keys() - set(KEYS))
    require(not unknown, f"{path}: unknown key {', '.join(unknown)}; known: {', '.join(KEYS)}")
    facts = {key: table.get(key, "") for key in ("speaker", "affiliation", "date")}
    for key, value in facts.items():
        require(isinstance(value, str), f"{path}: {key} must be a text")
    own, changes = _own_slides(path, table.get("own", {})), _changes(path, table.get("slide", {}))
    keys = table.get("slides")
    known: dict[str, Any] = SLIDES | own
    if keys is None:
        keys = _placed(path, [slide.key for slide in standard_talk().slides], own)
    require(isinstance(keys, list) and bool(keys), f"{path}: slides must be a list of names")
    for key in keys:
        require(key in known, f"{path}: no slide named {key!r}; known: {', '.join(known)}")
        require(keys.count(key) == 1, f"{path}: the slide {key} occurs twice")
    # An own slide with a place need not be listed.
    unlisted = {k: s for k, s in own.items() if k not in keys and (s.own.after or s.own.before)}
    keys = _placed(path, keys, unlisted)
    minutes = _minutes(path, table.get("minutes", {}), keys)
    return Talk(tuple(known[key] for key in keys), changes, **facts, minutes=minutes)


def _minutes(path: Path, table: Any, keys: Sequence[str]) -> dict[str, float]:
    require(isinstance(table, dict), f"{path}: minutes must contain a number per slide")
    for key, value in table.items():
        require(key in keys, f"{path}: minutes.{key}: the talk has no slide of this name")
        number = isinstance(value, int | float) and not isinstance(value, bool)
        number = number and math.isfinite(value) and value > 0
        require(number, f"{path}: minutes.{key}: {value!r} is no positive number")
    return dict(table)


def _placed(path: Path, keys: list[str], own: Mapping[str, OwnSlide]) -> list[str]:
    """Insert own slides after or before others; those without a place come last."""
    keys = list(keys)
    for key, slide in own.items():
        beside = slide.own.after or slide.own.before
        if not beside:
            keys.append(key)
            continue
        require(beside in keys, f"{path}: own.{key}: the talk has no slide {beside!r}")
        keys.insert(keys.index(beside) + bool(slide.own.after), key)
    return keys


def _own_slides(path: Path, table: Any) -> dict[str, OwnSlide]:
    require(isinstance(table, dict), f"{path}: own must contain a table per slide: [own.name]")
    slides = {}
    for key, values in table.items():
        require(key not in SLIDES, f"{path}: own.{key}: the talk already has a slide of this name")
        own = _read_own(path, f"own.{key}", values)
        require(bool(own.title), f"{path}: own.{key}: title is missing")
        require(not (own.after and own.before), f"{path}: own.{key}: both after and before")
        exhibit = _exhibit(path, f"own.{key}", own)
        slides[key] = OwnSlide(key, own, _content(exhibit, own.points))
    return slides


def _changes(path: Path, table: Any) -> dict[str, Change]:
    require(isinstance(table, dict), f"{path}: slide must contain a table per slide: [slide.name]")
    changes = {}
    for key, values in table.items():
        known = ", ".join(SLIDES)
        require(key in SLIDES, f"{path}: slide.{key}: no slide of this name; known: {known}")
        own = _read_own(path, f"slide.{key}", values)
        require(not own.after and not own.before, f"{path}: slide.{key}: order slides by `slides`")
        changes[key] = Change(own, tuple(values), _exhibit(path, f"slide.{key}", own))
    return changes


def _read_own(path: Path, name: str, values: Any) -> Own:
    try:
        own = build(Own, values, f"{name}.")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {name}: {error}") from error
    for text in own.points:
        require(isinstance(text, str), f"{path}: {name}.points must be texts")
    return own


def _content(exhibit: Exhibit | None, points: Sequence[str]) -> Content:
    if exhibit is None:
        return Content("Content" if points else "Section")
    if isinstance(exhibit, Picture):
        return pictured(exhibit) if points else Content("Wide picture", (exhibit,))
    wide = not points or (isinstance(exhibit, Table) and len(exhibit.header) > 4)
    return Content("Wide chart or table" if wide else "Chart or table", (exhibit,))


def _exhibit(path: Path, name: str, own: Own) -> Exhibit | None:
    """Read the picture, chart or table of a slide."""
    given = [key for key in ("picture", "chart", "table") if getattr(own, key)]
    require(len(given) <= 1, f"{path}: {name}: give one of {', '.join(given)}")
    if not given:
        return None
    file = path.parent / getattr(own, given[0])
    where = f"{path}: {name}.{given[0]}: {file}"
    if own.picture:
        return _read_picture(file, where)
    header, rows = _read_csv(file, where)
    if own.table:
        cells = tuple(tuple(cell(text) for text in row) for row in rows)
        texts = [[header[k], *(row[k] for row in rows)] for k in range(len(header))]
        widths = tuple(max(4.0, *(float(len(text)) for text in column)) for column in texts)
        return Table(tuple(header), cells, widths)
    require(own.kind in CSV_KINDS, f"{path}: {name}.kind: one of {', '.join(CSV_KINDS)}")
    return _chart(header, rows, own, where)


CSV_KINDS = ("columns", "bars", "lines")
SERIES_COLOURS = (POSITIVE, "#7C8696", "#1B2330", NEGATIVE, HIT, "#7B4FB5")
"""Colours of the series of a chart from a CSV file."""


def _read_csv(file: Path, where: str) -> tuple[list[str], list[list[str]]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ValueError(f"{where}: no such file") from error
    except (UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{where}: not a CSV file in UTF-8 ({error})") from error
    header, *rows = [row for row in csv.reader(io.StringIO(text)) if row] or [[]]
    require(len(header) > 1 and bool(rows), f"{where}: needs a header of two or more columns, rows")
    for number, row in enumerate(rows, start=2):
        columns = f"{where}, row {number}: {len(row)} columns, the header has {len(header)}"
        require(len(row) == len(header), columns)
    return header, rows


def _chart(header: list[str], rows: list[list[str]], own: Own, where: str) -> Chart:
    """Return a chart of the columns; those named `x low` and `x high` are the interval of x."""
    ends = {f"{name} {end}" for name in header[1:] for end in ("low", "high")}
    numbers = {
        name: [_number(row[k], where) for row in rows] for k, name in enumerate(header) if k > 0
    }
    series = {}
    for name in (name for name in header[1:] if name not in ends):
        low, high = (numbers.get(f"{name} {end}", [None] * len(rows)) for end in ("low", "high"))
        series[name] = [
            Estimate(value, a, b, 1) if value is not None and None not in (a, b)
            else Estimate(value, None, None, 1)
            for value, a, b in zip(numbers[name], low, high, strict=True)
        ]  # fmt: skip
    most = len(SERIES_COLOURS)
    require(len(series) <= most, f"{where}: {len(series)} series; a chart has at most {most}")
    names, axis = tuple(row[0] for row in rows), own.axis or next(iter(series))
    return Chart(own.kind, names, series, SERIES_COLOURS[: len(series)], axis, header[0])


def _number(text: str, where: str) -> float | None:
    """Return a number; None for an empty cell."""
    cleaned = re.sub(r"[−–]", "-", text.strip())
    try:
        return float(cleaned) if cleaned else None
    except ValueError as error:
        raise ValueError(f"{where}: {text!r} is no number") from error


def _read_picture(place: Path, where: str) -> Picture:
    """Read a picture, converted to PNG unless it is PNG or JPEG (supported by every PowerPoint)."""
    try:
        with Image.open(place) as image:
            image.load()
            width, height = image.size
            if image.format in ("PNG", "JPEG"):
                return Picture(place.read_bytes(), width / height)
            with io.BytesIO() as buffer:
                image.convert("RGBA").save(buffer, "PNG")
                return Picture(buffer.getvalue(), width / height)
    except FileNotFoundError as error:
        raise ValueError(f"{where}: no such file") from error
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{where}: not a picture ({error})") from error


def outline(talk: Talk, lang: Language) -> str:
    """Return a line per slide: number, key, title, sources.

    Titles that depend on a study's result are listed with all their variants; values appear as
    `{name}`.
    """
    titles = [_headline(slide, talk, lang) for slide in talk.slides]
    width = max(len(slide.key) for slide in talk.slides)
    lines = [
        f"{number:>3}  {slide.key:<{width}}  {title}  ({slide.feeds})"
        for number, (slide, title) in enumerate(zip(talk.slides, titles, strict=True), start=1)
    ]
    return "\n".join(lines)


def _headline(slide: Slide | OwnSlide, talk: Talk, lang: Language) -> str:
    if isinstance(slide, OwnSlide):
        return slide.own.title
    change = talk.changes.get(slide.key)
    return change.own.title if change and change.own.title else headline(slide.key, lang)
