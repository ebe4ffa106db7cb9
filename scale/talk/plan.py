"""Plan of a talk: the slides and their order, by default or from a `talk.toml`.

slides = ["title", "idea", "lab", "questions"]    # default: the standard slides, then its own

[own.lab]
title = "Our laboratory"
points = ["short", "lines"]
picture = "lab.png"              # beside talk.toml
alt = "A table with six products on it"
source = "Photograph of 3 May"
notes = "Text for the speaker."
"""

import io
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from scale.config import build, require
from scale.talk.material import Content, Prose, Slide, headline, pictured
from scale.talk.page import Picture
from scale.talk.slides_method import CLOSING, METHOD, OPENING
from scale.talk.slides_results import RESULTS, STUDIES
from scale.viz.words import Language

SLIDES: dict[str, Slide] = {
    slide.key: slide for slide in (*OPENING, *METHOD, *RESULTS, *STUDIES, *CLOSING)
}
"""All available slides in the order of a paper talk."""


@dataclass(frozen=True)
class Own:
    """A slide added by talk.toml."""

    title: str
    points: tuple[str, ...] = ()
    picture: str = ""
    """Path, relative to talk.toml."""
    alt: str = ""
    """Alternative text of the picture; default: the title."""
    source: str = ""
    notes: str = ""

    @property
    def prose(self) -> Prose:
        """Return the words of the slide; braces are not formatted."""
        alt = (self.alt or self.title,)
        return Prose(self.title, self.points, alt=alt, source=self.source, notes=self.notes)


@dataclass(frozen=True)
class OwnSlide:
    """A slide of talk.toml with its picture in memory."""

    key: str
    own: Own
    content: Content

    @property
    def feeds(self) -> str:
        """Sources of the slide, for the outline."""
        return f"talk.toml, {self.own.picture}" if self.own.picture else "talk.toml"


Plan = list[Slide | OwnSlide]


def standard_plan() -> Plan:
    """Return the default talk."""
    return [slide for slide in SLIDES.values() if slide.standard]


def read_plan(path: Path) -> Plan:
    """Return the talk that a talk.toml describes.

    Raises ValueError with the path: invalid TOML, an unknown key, an unknown slide (the message
    lists the known ones), a repeated slide, an unreadable picture.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a TOML file ({error})") from error
    unknown = sorted(table.keys() - {"slides", "own"})
    require(not unknown, f"{path}: unknown key {', '.join(unknown)}; known: slides, own")
    own = _own_slides(path, table.get("own", {}))
    keys = table.get("slides", [slide.key for slide in standard_plan()] + list(own))
    known: dict[str, Any] = SLIDES | own
    require(isinstance(keys, list) and bool(keys), f"{path}: slides must be a list of names")
    for key in keys:
        require(key in known, f"{path}: no slide named {key!r}; known: {', '.join(known)}")
        require(keys.count(key) == 1, f"{path}: the slide {key} occurs twice")
    return [known[key] for key in keys]


def _own_slides(path: Path, table: Any) -> dict[str, OwnSlide]:
    require(isinstance(table, dict), f"{path}: own must contain a table per slide: [own.name]")
    slides = {}
    for key, values in table.items():
        require(key not in SLIDES, f"{path}: own.{key}: the talk already has a slide of this name")
        try:
            own = build(Own, values, f"own.{key}.")
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: own.{key}: {error}") from error
        slides[key] = OwnSlide(key, own, _own_content(path, key, own))
    return slides


def _own_content(path: Path, key: str, own: Own) -> Content:
    for text in own.points:
        require(isinstance(text, str), f"{path}: own.{key}.points must be texts")
    if not own.picture:
        return Content("Content" if own.points else "Section")
    picture = _read_picture(path, key, own.picture)
    return pictured(picture) if own.points else Content("Wide picture", (picture,))


def _read_picture(path: Path, key: str, name: str) -> Picture:
    """Read a picture, converted to PNG unless it is PNG or JPEG (supported by every PowerPoint)."""
    place = path.parent / name
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
        raise ValueError(f"{path}: own.{key}.picture: {place}: no such file") from error
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path}: own.{key}.picture: {place}: not a picture ({error})") from error


def outline(plan: Plan, lang: Language) -> str:
    """Return a line per slide: number, key, title, sources.

    Titles that depend on a study's result are listed with all their variants; values appear as
    `{name}`.
    """
    titles = [s.own.title if isinstance(s, OwnSlide) else headline(s.key, lang) for s in plan]
    width = max(len(slide.key) for slide in plan)
    lines = [
        f"{number:>3}  {slide.key:<{width}}  {title}  ({slide.feeds})"
        for number, (slide, title) in enumerate(zip(plan, titles, strict=True), start=1)
    ]
    return "\n".join(lines)
