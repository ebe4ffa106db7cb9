"""Material of the slides, read on first use, and their words (`assets/talk_<lang>.toml`)."""

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, Protocol

from matplotlib.figure import Figure

from scale.config import require
from scale.data.catalogue import with_splits
from scale.evaluation.bootstrap import Estimate
from scale.studies.statistics import Outcome, Summary, summarise
from scale.talk.page import COLONS, Layout, Page, Picture, picture_place
from scale.viz.registry import Sources, draw
from scale.viz.theme import ASSETS, use_style
from scale.viz.words import Language, caption, label

WIDE = 2.0
"""Pictures with a larger aspect ratio have their text below instead of beside them."""


class Unavailable(ValueError):
    """A slide lacks its material and is left out; the message is the reason."""


class Exhibit(Protocol):
    """A picture, a chart or a table."""

    def put(self, page: Page, idx: int, alt: str) -> None:
        """Draw into the placeholder with this index."""


@dataclass(frozen=True)
class Content:
    """Exhibits of a slide and the values of its words."""

    layout: Layout
    exhibits: tuple[Exhibit, ...] = ()
    """At placeholder 1, then 3."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Formatted into its words."""
    variant: str = ""
    """Variant of its words, by the sign of the data: a verdict, `more`, `less`, ..."""


def pictured(picture: Picture, values: Mapping[str, Any] | None = None) -> Content:
    """Return a slide of one picture, with its text where it leaves more room for the picture."""
    layout = "Wide picture" if picture.aspect > WIDE else "Picture"
    return Content(layout, (picture,), values or {})


@dataclass
class Material:
    """A run, a catalogue and the studies, in one language."""

    sources: Sources
    lang: Language

    @cached_property
    def results(self) -> dict[str, Any]:
        """Content of results.json.

        Raises Unavailable if there is none, or if it is of other products. The file names no
        catalogue; the number of products of its split must be that of this catalogue.
        """
        path, catalogue = self.sources.run_folder / "results.json", self.sources.catalogue_folder
        again = f"scale evaluate {self.sources.run_folder} --catalogue {catalogue}"
        if not path.is_file():
            raise Unavailable(f"no {path}: {again}")
        results = json.loads(path.read_text(encoding="utf-8"))
        count = len(with_splits(self.sources.catalogue).split(results["split"]))
        if results["products"] != count:
            raise Unavailable(
                f"{path} is of {results['products']} products, the {results['split']} split of "
                f"{catalogue} has {count}: {again}"
            )
        return results

    def study(self, name: str) -> Summary:
        """Return a study on this catalogue. Raises Unavailable if it has no finished runs."""
        if name not in self._studies:
            try:
                self._studies[name] = summarise(*self.sources.finished(name))
            except ValueError as error:
                raise Unavailable(str(error)) from error
        return self._studies[name]

    @cached_property
    def _studies(self) -> dict[str, Summary]:
        return {}

    def picture(self, name: str, layout: Layout = "Wide picture") -> Picture:
        """Draw a figure of `scale figures` for its place in a layout; alt text: its caption."""
        return self.render(lambda: draw(name, self.sources, self.lang), name, layout)

    def render(self, function: Callable[[], Figure], name: str, layout: Layout) -> Picture:
        """Draw a figure with a function for its place in a layout.

        Args:
            name: of the caption, which is the alternative text.
        """
        with use_style("slides", picture_place(layout)):
            return Picture.of(function(), self.caption(name))

    def pictured(
        self, name: str, layout: Layout, values: Mapping[str, Any] | None = None
    ) -> Content:
        """Return a slide of one picture of `scale figures`."""
        return Content(layout, (self.picture(name, layout),), values or {})

    def caption(self, name: str) -> str:
        """Return title and text of a picture's caption."""
        found = caption(name, self.lang, on_slides=True)
        return f"{found.title}{COLONS[self.lang]}{found.text}"

    def label(self, key: str, **values: Any) -> str:
        """Return a label in the talk's language."""
        return label(key, self.lang, **values)

    def verdict(self, outcome: Outcome) -> str:
        """Return the verdict (`supported`, `contradicted`, ...) in the talk's language."""
        return self.label(outcome.verdict)


@dataclass(frozen=True)
class Slide:
    """One slide of the default talk."""

    key: str
    feeds: str
    """Sources of the slide, for the outline."""
    draw: Callable[[Material], Content]
    standard: bool = True
    """Whether the slide is in the talk without a talk.toml."""
    part: str = ""
    """Part of the framework that the slide is about, for the mark in its corner."""


def figure_slide(
    key: str,
    name: str,
    layout: Layout = "Wide picture",
    standard: bool = True,
    part: str = "",
) -> Slide:
    """Return a slide of one picture of `scale figures`, without values."""
    return Slide(key, f"figure {name}", lambda m: m.pictured(name, layout), standard, part)


def written(estimate: Estimate | Mapping[str, Any], sign: str = "", digits: int = 2) -> str:
    """Return an estimate as text, `0.47 [0.43, 0.52]`; a dash if there is no value."""
    found = estimate if isinstance(estimate, Estimate) else Estimate(**estimate)
    if found.value is None:
        return "–"
    kind = f"{sign}.{digits}f"
    if found.low is None:
        return f"{found.value:{kind}}"
    value, low, high = (f"{each:{kind}}" for each in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]".replace("-", "−")


def difference(estimate: Estimate) -> str:
    """Return a difference as text, `+0.068 [+0.040, +0.095]`."""
    return written(estimate, "+", 3)


@dataclass(frozen=True)
class Prose:
    """The words of one slide, with their values."""

    title: str
    points: tuple[str, ...] = ()
    """Bullet points, or those of the left column."""
    headings: tuple[str, ...] = ()
    """Headings of two columns."""
    more: tuple[str, ...] = ()
    """Bullet points of the right column."""
    equation: str = ""
    """`x_{i}` is an x with subscript i."""
    alt: tuple[str, ...] = ()
    """Alternative text of each picture, chart or table."""
    source: str = ""
    """Sources and sample sizes of numbers; pages cited."""
    notes: str = ""
    """Speaker notes."""


@cache
def _read(lang: Language) -> dict[str, Any]:
    text = (ASSETS / f"talk_{lang}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def prose(key: str, lang: Language, values: Mapping[str, Any], variant: str = "") -> Prose:
    """Return the words of a slide with `values` formatted in.

    Args:
        variant: of the parts of which the file has several.

    Raises ValueError for an unknown slide or variant, KeyError for a missing value.
    """
    given = {name: value for name, value in _table(key, lang).items() if name != "words"}
    for part, variants in given.items():
        if isinstance(variants, dict):
            require(variant in variants, f"slide {key}: no {part} for {variant!r}")
            given[part] = variants[variant]
    return Prose(**{name: _filled(name, value, values) for name, value in given.items()})


def headline(key: str, lang: Language) -> str:
    """Return a slide's unformatted title, all variants if there are several."""
    title = _table(key, lang)["title"]
    return " / ".join(title.values()) if isinstance(title, dict) else title


def words(key: str, lang: Language) -> dict[str, str]:
    """Return the words of a slide's table or chart axes."""
    return _table(key, lang).get("words", {})


def _table(key: str, lang: Language) -> dict[str, Any]:
    table = _read(lang)
    require(key in table, f"no words for the slide {key} in talk_{lang}.toml")
    return table[key]


def _filled(name: str, value: str | list[str], values: Mapping[str, Any]) -> str | tuple[str, ...]:
    """Format values into a text; braces of an equation are kept."""
    if name == "equation":
        return value
    if isinstance(value, list):
        return tuple(text.format(**values) for text in value)
    return " ".join(value.split()).format(**values) if name != "notes" else _note(value, values)


def _note(text: str, values: Mapping[str, Any]) -> str:
    """Join lines, without a space between Chinese characters."""
    joined = ""
    for line in text.format(**values).strip().splitlines():
        glue = " " if joined and joined[-1].isascii() and line[:1].isascii() else ""
        joined += glue + line.strip()
    return joined
