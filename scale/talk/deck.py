"""From a plan to a deck: each slide drawn, its words put in, its boxes checked."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from pptx import Presentation
from pptx.presentation import Presentation as Deck
from tqdm.auto import tqdm

from scale.evaluation.report import provenance
from scale.strict import require
from scale.talk.check import problems
from scale.talk.equation import write_equation
from scale.talk.file import write_deck
from scale.talk.material import Content, Material, Slide, Unavailable, catalogue_name
from scale.talk.page import Page
from scale.talk.plan import OwnSlide, Plan
from scale.talk.prose import Prose, prose, words
from scale.talk.template import FIRST, SECOND, TEMPLATE, TEXT

log = logging.getLogger(__name__)
TEXT_PLACES = {"Title": FIRST, "Section": FIRST, "Content": FIRST}
"""Where a layout has its text, unless at TEXT."""


@dataclass(frozen=True)
class Made:
    """A finished deck."""

    deck: Deck
    slides: int
    left_out: Mapping[str, str]
    """Reason by slide."""


def make_deck(material: Material, plan: Plan, day: date) -> Made:
    """Draw the slides of a plan; those whose material is not there are left out and say why.

    Raises ValueError where the run or the catalogue cannot be opened, where text does not fit, and
    where no slide is left.
    """
    deck, left_out = Presentation(str(TEMPLATE)), {}
    common = _common(material)
    footer = words("title", material.lang)["footer"].format(**common, day=day.isoformat())
    for slide in tqdm(plan, desc="slides", unit="slide"):
        try:
            content = slide.content if isinstance(slide, OwnSlide) else slide.draw(material)
        except ValueError as reason:
            # Of the slide's own material; run and catalogue are open, words not yet placed.
            left_out[slide.key] = str(reason)
            continue
        said = _words(slide, material, common, content)
        _draw(deck, slide.key, content, said, material, footer)
    count = len(deck.slides)
    require(count > 0, "no slide is left: " + "; ".join(left_out.values()))
    wrong = problems(deck)
    require(not wrong, "; ".join(wrong))
    return Made(deck, count, left_out)


def save_deck(made: Made, path: Path, day: date, title: str = "SCALE") -> None:
    """Write the deck, whole or not at all; the same deck and day give the same bytes."""
    write_deck(made.deck, path, datetime.combine(day, time()), title)


def _common(material: Material) -> dict[str, Any]:
    """What every slide may name; also opens run and catalogue, so that a missing one is told."""
    sources = material.sources
    run, catalogue = sources.run, sources.catalogue
    try:
        facts = material.results["provenance"]
    except Unavailable:
        facts = provenance(sources.seed, 0.0)
    commit = (facts["commit"] or "")[:7]
    return {
        "run": run.folder.folder.resolve().name,
        "catalogue": catalogue_name(catalogue.folder),
        "seed": sources.seed,
        "commit": commit + ("+" if facts["dirty"] else "") if commit else "–",
    }


def _words(
    slide: Slide | OwnSlide, material: Material, common: Mapping[str, Any], content: Content
) -> Prose:
    if isinstance(slide, OwnSlide):
        return slide.own.prose
    values = {**common, **content.values}
    return prose(slide.key, material.lang, values, content.variant)


def _draw(
    deck: Deck, key: str, content: Content, said: Prose, material: Material, footer: str
) -> None:
    page = Page.add(deck, content.layout, material.lang, footer)
    try:
        page.title(said.title)
        if said.points:
            _write_points(page, content, said)
        if said.equation:
            write_equation(page, SECOND, said.equation)
        if said.source:
            page.source(said.source)
    except ValueError as error:
        raise ValueError(f"slide {key}: {error}") from error
    for number, exhibit in enumerate(content.exhibits):
        alt = said.alt[number] if number < len(said.alt) else ""
        exhibit.put(page, (FIRST, SECOND)[number], alt)
    page.drop_empty()
    if said.notes:
        page.notes(said.notes)


def _write_points(page: Page, content: Content, said: Prose) -> None:
    idx = TEXT_PLACES.get(content.layout, TEXT)
    page.points(idx, said.points)
    if said.headings:
        for place, heading in zip((1, 3), said.headings, strict=True):
            page.points(place, [heading])
        page.points(4, said.more)
