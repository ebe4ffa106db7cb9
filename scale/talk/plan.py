"""Which slides a talk has, in which order: the talk that ships, or `talk.toml`.

slides = ["title", "idea", "lab", "questions"]    # default: the standard slides, then its own

[own.lab]
title = "Our laboratory"
points = ["short", "lines"]
picture = "lab.png"              # beside talk.toml
alt = "A table with six products on it"
source = "Photograph of 3 May"
notes = "What I say."
"""

import io
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from scale.strict import build, require
from scale.talk import closing, method, opening, results, studies
from scale.talk.material import Content, Slide, pictured
from scale.talk.picture import Picture
from scale.talk.prose import Prose

CHAPTERS = (opening.SLIDES, method.SLIDES, results.SLIDES, studies.SLIDES, closing.SLIDES)
SLIDES: dict[str, Slide] = {slide.key: slide for chapter in CHAPTERS for slide in chapter}
"""All that the talk can have, in the order of a paper talk."""


@dataclass(frozen=True)
class Own:
    """A slide that talk.toml adds."""

    title: str
    points: tuple[str, ...] = ()
    picture: str = ""
    """Path, relative to talk.toml."""
    alt: str = ""
    """What the picture shows; without it, the title."""
    source: str = ""
    notes: str = ""

    @property
    def prose(self) -> Prose:
        """Its words; braces are no places for numbers here."""
        alt = (self.alt or self.title,)
        return Prose(self.title, self.points, alt=alt, source=self.source, notes=self.notes)


@dataclass(frozen=True)
class OwnSlide:
    """An own slide with its picture read."""

    key: str
    own: Own
    content: Content

    @property
    def feeds(self) -> str:
        """What it is made of, for the outline."""
        return f"talk.toml, {self.own.picture}" if self.own.picture else "talk.toml"


Plan = list[Slide | OwnSlide]


def standard_plan() -> Plan:
    """The talk without a talk.toml."""
    return [slide for slide in SLIDES.values() if slide.standard]


def read_plan(path: Path) -> Plan:
    """The talk of a talk.toml.

    Raises ValueError that names the path: not TOML, an unknown key, an unknown slide (the known
    ones are listed), a slide named twice, a picture that cannot be read.
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
        require(keys.count(key) == 1, f"{path}: the slide {key} is named twice")
    return [known[key] for key in keys]


def _own_slides(path: Path, table: Any) -> dict[str, OwnSlide]:
    require(isinstance(table, dict), f"{path}: own must hold a table a slide: [own.name]")
    slides = {}
    for key, values in table.items():
        require(key not in SLIDES, f"{path}: own.{key} has the name of a slide of the talk")
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
    """As PNG or JPEG, whatever it was: what PowerPoint reads everywhere."""
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
