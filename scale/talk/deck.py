"""From a plan to a deck: draw the slides, check their layout, write a reproducible file."""

import io
import logging
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from pptx import Presentation
from pptx.presentation import Presentation as Deck
from pptx.shapes.base import BaseShape
from pptx.slide import Slide as DeckSlide
from tqdm.auto import tqdm

from scale.config import require
from scale.evaluation.report import provenance
from scale.files import replacing
from scale.talk.material import (
    Content,
    Material,
    Prose,
    Slide,
    Unavailable,
    prose,
    words,
)
from scale.talk.page import (
    FIRST,
    SECOND,
    SMALL,
    SMALLEST,
    SOURCE,
    TEMPLATE,
    TEXT,
    Page,
    layout_size,
    look,
    text_height,
    write_equation,
)
from scale.talk.plan import OwnSlide, Talk
from scale.talk.shapes import mark_position
from scale.talk.table import cell_height
from scale.viz.registry import Sources
from scale.viz.words import Language

log = logging.getLogger(__name__)
TEXT_PLACES = {"Title": FIRST, "Section": FIRST, "Content": FIRST}
"""Placeholder of the text by layout; default: TEXT."""


@dataclass(frozen=True)
class DeckResult:
    """A finished deck."""

    deck: Deck
    slides: int
    left_out: Mapping[str, str]
    """Reason by slide that was left out."""
    minutes: float = 0.0
    """Of the slides, if talk.toml has them."""


def make_deck(material: Material, talk: Talk, day: date) -> DeckResult:
    """Draw the slides of a talk; slides without their material are left out, with the reason.

    Raises ValueError if the run or the catalogue cannot be opened, if the run was trained on
    another catalogue, if text does not fit its box, or if no slide is left.
    """
    deck, left_out, lang, clock = Presentation(str(TEMPLATE)), {}, material.lang, 0.0
    common = _common(material)
    _require_same_catalogue(material.sources)
    footer = words("title", material.lang)["footer"].format(**common, day=day.isoformat())
    for slide in tqdm(talk.slides, desc="slides", unit="slide"):
        try:
            content = slide.content if isinstance(slide, OwnSlide) else slide.draw(material)
        except ValueError as reason:
            # Run and catalogue are open and no text is placed yet: the slide lacks its material.
            left_out[slide.key] = str(reason)
            continue
        if isinstance(slide, OwnSlide):
            text = slide.own.prose
        else:
            content = replace(content, values={**common, **content.values})
            text = prose(slide.key, material.lang, content.values, content.variant)
        if slide.key in talk.changes:
            try:
                content, text = talk.changes[slide.key].apply(content, text)
            except ValueError as error:
                raise ValueError(f"slide {slide.key}: {error}") from error
        if slide.key == "title" and talk.by:
            text = replace(text, points=(talk.by, *text.points))
        if slide.key in talk.minutes:
            text = replace(text, notes=_timed(text.notes, clock, talk.minutes[slide.key], lang))
            clock += talk.minutes[slide.key]
        _draw(deck, slide, content, text, lang, footer)
    count = len(deck.slides)
    require(count > 0, "no slide is left: " + "; ".join(left_out.values()))
    wrong = problems(deck)
    require(not wrong, "; ".join(wrong))
    return DeckResult(deck, count, left_out, clock)


def _timed(notes: str, start: float, minutes: float, lang: Language) -> str:
    """Return speaker notes that begin with the minutes of the slide, from when to when."""
    seconds = (round(60 * at) for at in (start, start + minutes))
    first, last = (f"{s // 60}:{s % 60:02}" for s in seconds)
    timing = words("title", lang)["timing"].format(minutes=f"{minutes:g}", start=first, end=last)
    return f"{timing}\n\n{notes}"


def _require_same_catalogue(sources: Sources) -> None:
    """Raise ValueError if the deck would mix results of one catalogue with products of another."""
    run, catalogue = sources.run_folder, sources.catalogue_folder
    require(
        sources.same_catalogue is not False,
        f"{run} was not trained on {catalogue} (fingerprint in {run / 'data.json'}): the deck "
        "would mix two catalogues; give the catalogue of its training by --catalogue, or a run "
        "trained on this one by --run",
    )
    if sources.same_catalogue is None:
        log.warning("%s: cannot check that it was trained on %s", run, catalogue)


def _common(material: Material) -> dict[str, Any]:
    """Return values that every slide may use; opens run and catalogue, which must exist."""
    sources = material.sources
    run, catalogue = sources.run, sources.catalogue
    try:
        facts = material.results["provenance"]
    except Unavailable:
        facts = provenance(sources.seed, 0.0)
    commit = (facts["commit"] or "")[:7]
    return {
        "run": run.folder.folder.resolve().name,
        "catalogue": catalogue.folder.resolve().name,
        "seed": sources.seed,
        "commit": commit + ("+" if facts["dirty"] else "") if commit else "–",
    }


def _draw(
    deck: Deck, slide: Slide | OwnSlide, content: Content, text: Prose, lang: Language, footer: str
) -> None:
    page, key = Page.add(deck, content.layout, lang, footer), slide.key
    if isinstance(slide, Slide) and slide.part:
        mark_position(page, slide.part)
    try:
        page.title(text.title)
        if text.points:
            _write_points(page, content, text)
        if text.equation:
            write_equation(page, SECOND, text.equation)
        if text.source:
            page.source(text.source)
    except ValueError as error:
        raise ValueError(f"slide {key}: {error}") from error
    for number, exhibit in enumerate(content.exhibits):
        alt = text.alt[number] if number < len(text.alt) else ""
        exhibit.put(page, (FIRST, SECOND)[number], alt)
    page.drop_empty()
    if text.notes:
        page.notes(text.notes)


def _write_points(page: Page, content: Content, text: Prose) -> None:
    idx = TEXT_PLACES.get(content.layout, TEXT)
    page.points(idx, text.points)
    if text.headings:
        for place, heading in zip((1, 3), text.headings, strict=True):
            page.points(place, [heading])
        page.points(4, text.more)


SLACK = 1.01
"""Tolerance of text heights before they count as overflow."""


def problems(deck: Deck) -> list[str]:
    """Return layout faults, one sentence each: overflow, boxes off the page, too small text."""
    found = []
    for number, slide in enumerate(deck.slides, start=1):
        found += [f"slide {number}: {text}" for text in _slide_problems(deck, slide)]
    return found


def _slide_problems(deck: Deck, slide: DeckSlide) -> Iterator[str]:
    for shape in slide.shapes:
        right, bottom = shape.left + shape.width, shape.top + shape.height
        if min(shape.left, shape.top) < 0 or right > deck.slide_width or bottom > deck.slide_height:
            yield f"{shape.name} extends beyond the page"
        if shape.has_text_frame:
            yield from _text_problems(shape)
        elif shape.has_table:
            yield from _table_problems(shape)
        named = shape._element.xpath(".//p:cNvPr")[0].get("descr")
        if not shape.has_text_frame and not named:
            yield f"{shape.name} has no alternative text"


def _text_problems(shape: BaseShape) -> Iterator[str]:
    frame, place = shape.text_frame, shape.is_placeholder
    paragraphs = [p.text for p in frame.paragraphs if p.text.strip()]
    if not paragraphs:
        return
    given = [run.font.size for p in frame.paragraphs for run in p.runs if run.font.size]
    idx = shape.placeholder_format.idx if place else None
    size = max(given).pt if given else layout_size(shape) if place else SMALLEST
    least = SMALL if idx in (SOURCE, 11, 12) else SMALLEST
    if min((s.pt for s in given), default=size) < least:
        yield f"{shape.name} is smaller than {least} points"
    width = (shape.width - frame.margin_left - frame.margin_right) / 12700 if not place else None
    width = width or shape.width.pt
    needed = text_height(paragraphs, size, width, **(look(shape) if place else {}))
    if needed > SLACK * shape.height.pt:
        yield f"{shape.name} overflows: {paragraphs[0][:40]!r}"


def _table_problems(shape: BaseShape) -> Iterator[str]:
    table = shape.table
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            runs = [run for p in cell.text_frame.paragraphs for run in p.runs]
            size = min(run.font.size.pt for run in runs)
            if size < SMALLEST:
                yield f"{shape.name} is smaller than {SMALLEST} points"
            bold = any(run.font.bold for run in runs)
            if cell_height(cell.text, size, column.width.pt, bold) > SLACK * row.height.pt:
                yield f"{shape.name} overflows: {cell.text[:40]!r}"


EPOCH = (1980, 1, 1, 0, 0, 0)
"""Earliest time of a zip member."""
_DATES = re.compile(rb"(<dcterms:(?:created|modified)[^>]*>)[^<]*")


def write_deck(deck: Deck, path: Path, day: date, author: str = "") -> None:
    """Write a deck atomically, created and modified on `day`; equal decks give the same bytes."""
    properties, date = deck.core_properties, datetime.combine(day, time())
    properties.title, properties.last_modified_by = "SCALE", ""
    properties.author = author or "scale slides"
    properties.created = properties.modified = date
    properties.revision = 1
    with io.BytesIO() as buffer:
        deck.save(buffer)
        content = _without_clock(buffer.getvalue(), date)
    with replacing(path) as partial:
        partial.write_bytes(content)


def _without_clock(content: bytes, date: datetime) -> bytes:
    """Return the zip file with fixed times, also within the embedded workbooks of charts."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as source,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            data = source.read(name)
            if name.endswith(".xlsx"):
                data = _without_clock(data, date)
            elif name.endswith("docProps/core.xml"):
                data = _DATES.sub(rb"\g<1>" + date.strftime("%Y-%m-%dT%H:%M:%SZ").encode(), data)
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o600 << 16
            target.writestr(info, data)
    return out.getvalue()
