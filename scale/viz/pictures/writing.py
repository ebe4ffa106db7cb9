"""Writes pictures by name, each with a caption that says what is seen and how it was made.

Beside `<name>_<lang>.svg`, `.png` and `.pdf` lies `<name>_<lang>.json`:

    name, lang, style, title, caption
    command    makes the picture again, typed in the folder where this one was
    run, catalogue, studies    names of the folders that it was drawn from; null where it needs none
    commit, dirty    of the package's checkout, and whether tracked files differed from it; or null
    date, seed, versions
    files    names of the pictures

JSON and not Markdown, because the index page and the slides read it. A path outside the working
folder is written as its last name alone.
"""

import json
import logging
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from tqdm.auto import tqdm

from scale.evaluation.report import provenance
from scale.files import write_whole
from scale.viz.pictures import CORE, PICTURES
from scale.viz.pictures.page import write_index
from scale.viz.pictures.sources import Sources
from scale.viz.theme import Style, lacking_characters, save_figure, use_style
from scale.viz.words import Language, caption

log = logging.getLogger(__name__)

FORMATS = ("svg", "png", "pdf")
"""PNG at twice the pixels of a screen: 200 dots an inch in `paper` and `dark`, and in `slides`,
which a page of 13.3 inches shows smaller, 150."""


@dataclass
class Written:
    """What came of some pictures."""

    paths: list[Path] = field(default_factory=list)
    """Pictures and captions, then the index page."""
    failed: dict[str, str] = field(default_factory=dict)
    """By name, why the picture was not drawn."""


def write_pictures(
    names: Sequence[str], sources: Sources, out: Path, lang: Language = "en", style: Style = "paper"
) -> Written:
    """Write each picture with its caption into `out`, then the index of all that lie there.

    A picture that cannot be drawn stops no other. Characters that the shipped fonts lack are
    logged once each, with the product that has them; boxes stand in their place.
    """
    written, told = Written(), set()
    # It remarks on the dates of the fonts that it cuts for a PDF.
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    origin = provenance(sources.seed, time.perf_counter())
    with use_style(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        for name in tqdm(names, desc="figures", unit="figure"):
            sources.used.clear()
            stem = out / f"{name}_{lang}"
            try:
                figure = PICTURES[name](sources, lang)
                written.paths += save_figure(figure, stem, FORMATS)
            # Whatever is wrong with one picture, the others are wanted.
            except Exception as error:
                log.debug("%s", name, exc_info=True)
                written.failed[name] = _reason(error)
                continue
            _tell_lacking(figure, name, sources, told)
            record = _record(name, sources, lang, style, origin)
            write_whole(stem.with_suffix(".json"), _json(record))
            written.paths.append(stem.with_suffix(".json"))
    if written.paths:
        written.paths.append(write_index(out, tuple(dict.fromkeys((*CORE, *PICTURES))), lang))
    return written


def failures(failed: dict[str, str]) -> str:
    """One line that names the pictures that failed, those with the same reason together."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in failed.items():
        by_reason.setdefault(reason, []).append(name)
    return "; ".join(f"{reason} ({', '.join(names)})" for reason, names in by_reason.items())


def _reason(error: Exception) -> str:
    """What an error of bad input says; of any other, its kind too."""
    expected = isinstance(error, ValueError | OSError | RuntimeError | ImportError)
    return str(error) if expected and str(error) else f"{type(error).__name__}: {error}"


def _record(
    name: str, sources: Sources, lang: Language, style: Style, origin: dict[str, Any]
) -> dict[str, Any]:
    folders = {
        "run": sources.run_folder,
        "catalogue": sources.catalogue_folder,
        "studies": sources.studies,
    }
    shown = {key: path for key, path in folders.items() if key in sources.used}
    # Studies are found by the catalogue's name.
    options = folders if "studies" in shown else shown
    options = {k: v for k, v in options.items() if k in shown or k == "catalogue"}
    command = ["scale figures", name, *(f"--{k} {_typed(v)}" for k, v in options.items())]
    command += [f"--lang {lang}", f"--style {style}", f"--seed {sources.seed}"]
    words = caption(name, lang)
    return {
        "name": name,
        "lang": lang,
        "style": style,
        "title": words.title,
        "caption": words.text,
        "command": " ".join(command),
        **{key: shown[key].resolve().name if key in shown else None for key in folders},
        **{key: origin[key] for key in ("commit", "dirty")},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": sources.seed,
        "versions": origin["versions"] | {"matplotlib": version("matplotlib")},
        "files": [f"{name}_{lang}.{kind}" for kind in FORMATS],
    }


def _typed(path: Path) -> str:
    """A folder as it is typed in the working folder."""
    resolved = path.resolve()
    inside = resolved.is_relative_to(Path.cwd())
    return str(resolved.relative_to(Path.cwd())) if inside else resolved.name


def _json(record: dict[str, Any]) -> str:
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def _tell_lacking(figure: Figure, name: str, sources: Sources, told: set[str]) -> None:
    """Log the characters of a figure that the fonts lack, unless they are `told`."""
    for character in lacking_characters(figure):
        if character not in told:
            told.add(character)
            owner = _owner(character, sources) if "catalogue" in sources.used else ""
            log.warning(
                "%s: the shipped fonts lack %r (U+%04X)%s; a box stands in its place",
                name, character, ord(character), owner,
            )  # fmt: skip


def _owner(character: str, sources: Sources) -> str:
    """Which product has a character in its words, as the end of a sentence."""
    for product in sources.catalogue:
        if character in json.dumps([product.name, product.text, product.table, product.category],
                                   ensure_ascii=False):  # fmt: skip
            return f" of product {product.id}"
    return ""
