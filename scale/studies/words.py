"""Damage to titles and tables: pure functions of the value, a strength and a generator.

A word is a run of characters without a space, or one Chinese, Japanese or Korean character with the
punctuation behind it: such titles have no spaces to cut at.
"""

import re

import numpy as np

from scale.studies.draws import kept_places, moved_places, share_of

_MARKS = "、。，．：；？！…）》」』】〕〉"
_SINGLE = r"\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
# White space stays with the word behind it, so that the parts joined are the title again.
_WORDS = re.compile(rf"\s*(?:[{_SINGLE}][{_MARKS}]*|[^\s{_SINGLE}]+)")

Table = tuple[tuple[str, str], ...]


def split_words(title: str) -> list[str]:
    """The words of a title, each with the white space before it; space at the end is left out."""
    return _WORDS.findall(title)


def drop_words(title: str, share: float, random: np.random.Generator) -> str:
    """A share of the words removed (rounded, at least one stays), the others as they were."""
    words = split_words(title)
    kept = kept_places(len(words), share, random)
    if len(kept) == len(words):
        return title
    return "".join(words[k] for k in kept).strip()


def add_typos(title: str, share: float, random: np.random.Generator) -> str:
    """One slip of the fingers in each of a share of the words (rounded).

    Two neighbouring characters swapped, one left out, or one typed twice, with equal chances; a
    swap of equal characters and a slip in a word of one character double it.
    """
    words = split_words(title)
    order = random.permutation(len(words))
    # Drawn for all words, so that a larger share leaves the slips of a smaller one as they are.
    slips, places = random.integers(3, size=len(words)), random.random(len(words))
    for k in order[: share_of(len(words), share)]:
        start = len(words[k]) - len(words[k].lstrip())
        words[k] = words[k][:start] + _slip(words[k][start:], slips[k], places[k])
    return "".join(words) + title[len(title.rstrip()) :]


def _slip(word: str, slip: int, place: float) -> str:
    """One slip: 0 swaps, 1 leaves out, 2 doubles; `place` in [0, 1) says where."""
    at = int(place * len(word))
    if slip == 1 and len(word) > 1:
        return word[:at] + word[at + 1 :]
    at = min(at, len(word) - 2) if slip == 0 and len(word) > 1 else at
    if slip == 0 and len(word) > 1 and word[at] != word[at + 1]:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return word[:at] + word[at] + word[at:]


def swap_attributes(table: Table, share: float, random: np.random.Generator) -> Table:
    """A share of the values exchanged among their attributes (`draws.moved_places`).

    Attributes keep their places and no value is lost; a table of one pair stays as it is.
    """
    source = moved_places(len(table), share, random)
    return tuple((attribute, table[s][1]) for (attribute, _), s in zip(table, source, strict=True))


WORDS = {"word_drop": drop_words, "typo": add_typos, "attribute_swap": swap_attributes}
"""By kind of noise."""
