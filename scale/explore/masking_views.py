"""What the masking explorer lets one hide, as HTML that can be picked.

L length, F features, H, W height and width of a picture in pixels, C three colours.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from scale.data.features import fit_image, hop_length, load_media
from scale.data.media import MediaError
from scale.explore.markup import data_uri, modality_name, text
from scale.explore.masking_answers import Sheet, mel_pixels, png_uri, sheet_html
from scale.explore.subject import Subject
from scale.modalities import INDEX, MODALITIES, SPECS
from scale.studies.masked_probe import token_groups
from scale.viz.theme import MODALITY_COLOURS
from scale.viz.words import Language, label

SHARP = 240
"""Side in pixels of a picture that can be picked."""
WIDEST = 560
"""Width in pixels of a clip or a sound."""
PAIRS = 8
"""Rows of a table that stands beside."""
SMALL = {"image": "width:96px", "video": "width:280px", "audio": "width:180px;height:64px"}
"""Sizes of what stands beside."""


class Place(NamedTuple):
    """What is asked about: a product's row and one of its modalities."""

    row: int
    modality: str


@dataclass(frozen=True)
class Question:
    """All that can be hidden in one modality of one product."""

    place: Place
    group_L: Tensor
    """As `asking.token_groups`."""
    names: dict[int, str]
    """Of each group: the word, the entry, the number of the region or frame, the seconds."""
    sheet: Sheet | None
    """How image, video or audio lie on the page; None for text and table."""
    uri: str
    """Their picture; empty where it cannot be drawn."""
    beside: dict[str, str]
    """HTML of each other modality that the product has."""
    entries: tuple[str, ...] = ()
    """Table only: attributes and values in turn; those that do not fit have no name."""

    @staticmethod
    def of(subject: Subject, place: Place, lang: Language) -> "Question":
        """Raises ValueError where the product lacks the modality."""
        group_L = token_groups(subject.data, *place)
        entries = _entries(subject, place.row) if place.modality == "table" else ()
        names = _names(subject, place, group_L, entries, lang)
        sheet, uri = None, ""
        if SPECS[place.modality].kind == "continuous":
            uri = _picture(subject, place, len(group_L))
            sheet = _sheet(place.modality, len(group_L))
        others = [m for m in modalities_of(subject, place.row) if m != place.modality]
        beside = {m: _content(subject, Place(place.row, m), lang) for m in others}
        return Question(place, group_L, names, sheet, uri, beside, entries)

    def html(self, hidden: Collection[int], lang: Language) -> str:
        """The modality with what is hidden covered; keys are those of `groups`."""
        if self.sheet is not None:
            marks = dict.fromkeys(hidden, "covered")
            keys = {n: key for key, n in self.groups.items()}
            return sheet_html(self.sheet, self.uri, marks, self.names, keys)
        if self.place.modality == "text":
            return self._words(hidden, lang)
        return self._table(hidden, lang)

    @property
    def groups(self) -> dict[str, int]:
        """By the key under which a group is picked."""
        return {f"{self.place.modality}-{group}": group for group in self.names}

    def _words(self, hidden: Collection[int], lang: Language) -> str:
        chips = []
        for group, name in self.names.items():
            pieces = int((self.group_L == group).sum())
            below = " ".join(["[MASK]"] * pieces) if group in hidden else ""
            spoken = label("xm_word", lang, name=name)
            chips.append(
                f'<span class="xm-word" {self._pickable(group, hidden, spoken)}>'
                f"<b>{text(name)}</b><small>{below}</small></span>"
            )
        return f'<div class="xm-words" data-group data-drag>{"".join(chips)}</div>'

    def _table(self, hidden: Collection[int], lang: Language) -> str:
        cells, too_long = [], label("xm_left_out", lang)
        for number, name in enumerate(self.entries):
            if number not in self.names:
                cells.append(
                    f'<span class="xm-entry left-out" title="{too_long}">{text(name)}</span>'
                )
                continue
            kind = label("xm_value" if number % 2 else "xm_attribute", lang, name=name)
            cells.append(
                f'<span class="xm-entry" {self._pickable(number, hidden, kind)}>'
                f"<b>{text(name)}</b></span>"
            )
        return f'<div class="xm-table" data-group data-drag data-columns="2">{"".join(cells)}</div>'

    def _pickable(self, group: int, hidden: Collection[int], name: str) -> str:
        """Attributes of what can be hidden: its key, and for eyes and ears whether it is."""
        pressed = "true" if group in hidden else "false"
        key, spoken = f"{self.place.modality}-{group}", text(name)
        return f'data-key="{key}" aria-pressed="{pressed}" aria-label="{spoken}" title="{spoken}"'


def modalities_of(subject: Subject, row: int) -> list[str]:
    """What the model reads of a product."""
    return [m for m in MODALITIES if subject.data.present_NM[row, INDEX[m]]]


def _names(
    subject: Subject, place: Place, group_L: Tensor, entries: Sequence[str], lang: Language
) -> dict[int, str]:
    groups = sorted(set(group_L.tolist()) - {-1})
    if place.modality == "text":
        ids_L = subject.data.collate([place.row]).tokens["text"].values[0]
        tokenizer = subject.data.tokenizer
        words = {
            group: tokenizer.convert_ids_to_tokens(ids_L[group_L == group]) for group in groups
        }
        return {g: "".join(piece.removeprefix("##") for piece in p) for g, p in words.items()}
    if place.modality == "table":
        return {group: entries[group] for group in groups}
    if place.modality == "audio":
        config = subject.data.config
        step = hop_length(config) / config.sample_rate
        return {g: label("xm_time", lang, start=g * step, end=(g + 1) * step) for g in groups}
    key = "xm_region" if place.modality == "image" else "xm_frame"
    return {group: label(key, lang, n=group + 1) for group in groups}


def _entries(subject: Subject, row: int) -> tuple[str, ...]:
    """Attributes and values in turn, as `Tokens.entity_RL` numbers them."""
    return tuple(entry for pair in subject.product(row).table for entry in pair)


def _sheet(modality: str, length: int) -> Sheet:
    """Regions in a square where they make one, else in rows of 16; frames and time in one row."""
    if modality == "image":
        side = isqrt(length)
        if side * side == length:
            return Sheet(length, side, SHARP, SHARP)
        return Sheet(length, 16, WIDEST, 30 * -(-length // 16))
    if modality == "video":
        cell = min(64, WIDEST // length)
        return Sheet(length, length, cell * length, cell)
    return Sheet(length, length, WIDEST, 120)


def _picture(subject: Subject, place: Place, length: int) -> str:
    """The modality as a data URI; empty where its vectors do not lie on a picture of it."""
    config, path = subject.data.config, getattr(subject.product(place.row), place.modality)
    source = getattr(config, f"{place.modality}_features")
    if source == "file" or (place.modality == "image" and source not in ("patches", "hog")):
        return ""
    if place.modality == "audio":
        return png_uri(mel_pixels(_features(subject, place)))
    try:
        media = load_media(place.modality, path, config)
    except MediaError:  # The file has gone since its features were taken.
        return ""
    if place.modality == "image":
        return data_uri(Image.fromarray(fit_image(media, SHARP)), SHARP)
    return data_uri(_film(media[:length], 96), 96 * length)


def _film(frames: np.ndarray, side: int) -> Image.Image:
    """Frames in squares from left to right."""
    squares = [fit_image(Image.fromarray(frame_HWC), side) for frame_HWC in frames]
    return Image.fromarray(np.concatenate(squares, axis=1))


def _features(subject: Subject, place: Place) -> np.ndarray:
    """features_LF as they were extracted."""
    column = subject.data.columns[place.modality]
    start = column.start_N[place.row]
    return column.values[start : start + column.length_N[place.row]].astype(np.float32)


def _content(subject: Subject, place: Place, lang: Language) -> str:
    """A modality that stands beside the question, small."""
    product = subject.product(place.row)
    if place.modality == "text":
        return f"<div>{text(product.text)}</div>"
    if place.modality == "table":
        shown, rest = product.table[:PAIRS], len(product.table) - PAIRS
        lines = [f"{text(attribute)}: {text(value)}" for attribute, value in shown]
        lines += [label("more_pairs", lang, n=rest)] if rest > 0 else []
        return "".join(f"<div>{line}</div>" for line in lines)
    length = int(subject.data.columns[place.modality].length_N[place.row])
    is_image = place.modality == "image"
    uri = subject.thumbnail(place.row) if is_image else _picture(subject, place, length)
    if not uri:
        return f'<div class="note">{label("xm_vectors", lang, n=length)}</div>'
    return f'<img alt="{label(place.modality, lang)}" src="{uri}" style="{SMALL[place.modality]}">'


def prompt_html(question: Question, hidden: Collection[int], lang: Language) -> str:
    """The question under a heading that says how to hide and how much is hidden."""
    what = label("xm_what", lang, modality=modality_name(question.place.modality, lang))
    how = label("xm_how", lang, n=len(hidden), all=len(question.names))
    frame = f"--frame:{MODALITY_COLOURS[question.place.modality]}"
    return (
        f'<div class="xm-prompt" data-hidden="{len(hidden)}" style="{frame}">'
        f'<h4>{what}</h4>{question.html(hidden, lang)}<div class="note">{how}</div></div>'
    )


def beside_html(beside: Mapping[str, str], on: Collection[str], lang: Language) -> str:
    """The other modalities of the product, those that are off faded."""
    cards = []
    for m, content in beside.items():
        state = "" if m in on else f' <span class="note">{label("xm_off", lang)}</span>'
        look = f"border-color:{MODALITY_COLOURS[m]}"
        cards.append(
            f'<div class="xm-beside{"" if m in on else " off"}" data-modality="{m}" style="{look}">'
            f"<h4>{modality_name(m, lang)}{state}</h4>{content}</div>"
        )
    return f'<h4>{label("xm_beside", lang)}</h4><div class="row">{"".join(cards)}</div>'
