"""Words of the figures and panels in English and Chinese, read from `en.toml` and `zh.toml`.

Labels are grouped by topic and found by key alone; captions are found by the name of a picture.
`[exercises]` contains the messages of `scale/exercises.py`. The environment variable SCALE_LANG
sets the language of these messages, and of figures and panels drawn without `lang`.
"""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from scale.modalities import INDEX

Language = Literal["en", "zh"]


def _read(lang: Language) -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name(f"{lang}.toml").read_text(encoding="utf-8"))


WORDS: dict[str, dict[str, Any]] = {lang: _read(lang) for lang in get_args(Language)}
LABELS: dict[str, dict[str, str]] = {
    lang: {key: text for topic in words["labels"].values() for key, text in topic.items()}
    for lang, words in WORDS.items()
}
"""Templates by language and key."""


def _known(lang: str) -> Language:
    if lang not in WORDS:
        raise ValueError(f"unknown language {lang!r}; known: {', '.join(WORDS)}")
    return cast(Language, lang)


LANG: Language = _known(os.environ.get("SCALE_LANG", "en"))
"""Language where none is given: that of SCALE_LANG, else English."""


@dataclass(frozen=True)
class Caption:
    """Title and text below a picture."""

    title: str
    """Without a full stop."""
    text: str
    """One to three sentences: the content, how to read it, units and intervals."""


def label(key: str, lang: Language = LANG, **values: Any) -> str:
    """Return the label of a key in a language, formatted with `values` (`str.format`).

    Raises KeyError for an unknown key or a missing value, ValueError for an unknown language.
    """
    labels = LABELS[_known(lang)]
    if key not in labels:
        raise KeyError(f"no label for {key!r} in scale/viz/words/{lang}.toml")
    return labels[key].format(**values)


def caption(name: str, lang: Language = LANG, on_slides: bool = False) -> Caption:
    """Return the caption of a picture.

    Raises KeyError for a name without a caption, ValueError for an unknown language.

    Args:
        on_slides: of the drawing for slides, if there is one.
    """
    captions = WORDS[_known(lang)]["captions"]
    if name not in captions:
        raise KeyError(f"no caption for {name!r} in scale/viz/words/{lang}.toml")
    found, of_slides = captions[name], WORDS[lang]["slide_captions"]
    key = name if name in of_slides or not name.startswith("study_") else "study"
    if on_slides and key in of_slides:
        return Caption(found["title"], of_slides[key])
    return Caption(**found)


def term(word: str, lang: Language) -> str:
    """Return a word of a study's table (factor, value, test) in a language.

    A subset of modalities is translated modality by modality; unknown words (names of models, kinds
    of noise) are returned unchanged.
    """
    if lang == "en":
        return word
    parts = word.split("+")
    if all(part in INDEX for part in parts):
        return "+".join(LABELS[lang][part] for part in parts)
    return WORDS[lang]["terms"].get(word, word)
