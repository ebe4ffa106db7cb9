"""What slides are made of, opened when first asked for, and what a slide is."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from scale.evaluation.bootstrap import Estimate
from scale.studies.statistics import Outcome, Summary, summarise
from scale.talk.page import COLONS, Page
from scale.talk.picture import Picture
from scale.talk.template import Layout
from scale.viz.pictures import PICTURES
from scale.viz.pictures.sources import Sources
from scale.viz.theme import use_style
from scale.viz.words import Language, caption, label

WIDE = 2.0
"""From this aspect on a picture is larger with its text below it."""


class Unavailable(ValueError):
    """What a slide needs is not there: it is left out, and the message says why."""


class Exhibit(Protocol):
    """A picture, a chart, a table: something that stands in a placeholder."""

    def put(self, page: Page, idx: int, alt: str) -> None:
        """Draw into the placeholder of this idx."""


@dataclass(frozen=True)
class Content:
    """What a slide shows beside its words."""

    layout: Layout
    exhibits: tuple[Exhibit, ...] = ()
    """At idx 1, then 3."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Put into its words."""
    variant: str = ""
    """Which of its titles: a verdict."""


def pictured(picture: Picture, values: Mapping[str, Any] | None = None) -> Content:
    """A slide of a picture, with its text beside or below it: where the picture is larger."""
    layout = "Wide picture" if picture.aspect > WIDE else "Picture"
    return Content(layout, (picture,), values or {})


@dataclass
class Material:
    """A run, a catalogue and the studies, in a language."""

    sources: Sources
    lang: Language

    @cached_property
    def results(self) -> dict[str, Any]:
        """The tree of results.json. Raises Unavailable where the run has none."""
        path = self.sources.run_folder / "results.json"
        if not path.is_file():
            raise Unavailable(
                f"no {path}: scale evaluate {self.sources.run_folder} --catalogue "
                f"{self.sources.catalogue_folder}"
            )
        return json.loads(path.read_text(encoding="utf-8"))

    def study(self, name: str) -> Summary:
        """A study on this catalogue. Raises Unavailable where no run of it is finished."""
        if name not in self._studies:
            try:
                self._studies[name] = summarise(*self.sources.finished(name))
            except ValueError as error:
                raise Unavailable(str(error)) from error
        return self._studies[name]

    @cached_property
    def _studies(self) -> dict[str, Summary]:
        return {}

    def picture(self, name: str) -> Picture:
        """A picture of `scale figures` in the style of slides, described by its caption."""
        with use_style("slides"):
            figure = PICTURES[name](self.sources, self.lang)
        return Picture.of(figure, self.caption(name))

    def caption(self, name: str) -> str:
        """Title and text of a picture's caption."""
        found = caption(name, self.lang)
        return f"{found.title}{COLONS[self.lang]}{found.text}"

    def label(self, key: str, **values: Any) -> str:
        """A label in the talk's language."""
        return label(key, self.lang, **values)

    def verdict(self, outcome: Outcome) -> str:
        """`supported`, `contradicted`, ... in the talk's language."""
        return self.label(outcome.verdict)


@dataclass(frozen=True)
class Slide:
    """One slide of the talk that ships."""

    key: str
    feeds: str
    """What it is made of, for the outline."""
    draw: Callable[[Material], Content]
    standard: bool = True
    """In the talk unless talk.toml says otherwise."""


def written(estimate: Estimate | Mapping[str, Any], sign: str = "", digits: int = 2) -> str:
    """`0.47 [0.43, 0.52]`; a dash where there is no value."""
    found = estimate if isinstance(estimate, Estimate) else Estimate(**estimate)
    if found.value is None:
        return "–"
    kind = f"{sign}.{digits}f"
    if found.low is None:
        return f"{found.value:{kind}}"
    value, low, high = (f"{each:{kind}}" for each in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]".replace("-", "−")


def difference(estimate: Estimate) -> str:
    """`+0.068 [+0.040, +0.095]`."""
    return written(estimate, "+", 3)


def catalogue_name(folder: Path) -> str:
    """As it is written on slides."""
    return folder.resolve().name
