"""The five modalities of a product as the model gets them, as HTML.

T frames, H, W, C height, width and colours of a picture, S samples of a sound.
"""

from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np

from scale.config import FeatureConfig
from scale.explore.markup import modality_name, text
from scale.explore.media import clip_uri, mel_pixels, png_uri, sound_uri
from scale.studies.damage import Table, split_words
from scale.studies.single_product import ModalityContent
from scale.viz.words import Language, label

PLAY = "play"
"""Key of the button that starts and stops the clip."""


@dataclass(frozen=True)
class Tile:
    """What one modality's tile shows."""

    modality: str
    content: ModalityContent | None
    """After the change; None: the model does not get it."""
    clean: ModalityContent | None
    """As it is in the catalogue; None: the product has none."""
    giver: str = ""
    """Id of the product that the content was taken from, where it is another one."""
    playing: bool = False

    def html(self, config: FeatureConfig, lang: Language) -> str:
        """Header and content; hatched where it is missing. `data-state` says which of `present`,
        `changed`, `off` and `absent` it is."""
        if self.content is None:
            state = "absent" if self.clean is None else "off"
            key = f"absent_{self.modality}" if self.clean is None else "xs_off"
            return self._frame(state, "", f'<div class="hatched">{label(key, lang)}</div>', lang)
        state = "present" if self.content is self.clean else "changed"
        fact = label("xs_tokens", lang, n=len(self.content.sequence))
        if self.giver:
            fact += " · " + text(label("xs_from", lang, product=self.giver))
        if self.content.shown is None:
            length, size = self.content.sequence.shape
            body = label("xs_vectors", lang, length=length, size=size)
            return self._frame(state, fact, f'<div class="note">{body}</div>', lang)
        return self._frame(state, fact, self._body(config, lang), lang)

    def _frame(self, state: str, fact: str, body: str, lang: Language) -> str:
        head = f"<h4>{modality_name(self.modality, lang)}</h4>"
        head += f'<div class="note fact" title="{fact}">{fact}</div>'
        where = f'data-modality="{self.modality}" data-state="{state}"'
        return f'<div class="tile" {where}>{head}<div class="body">{body}</div></div>'

    def _body(self, config: FeatureConfig, lang: Language) -> str:
        shown = self.content.shown
        if self.modality == "text":
            return f"<div>{_words(shown, self.clean.shown)}</div>"
        if self.modality == "table":
            return _table(shown, self.clean.shown, self.content.entities_read, lang)
        if self.modality == "image":
            return f'<img class="pixels" alt="{label("image", lang)}" src="{png_uri(shown[0])}">'
        if self.modality == "video":
            return _clip(shown, self.content.place_T, self.playing, lang)
        return _sound(self.content, config, lang)


def _words(title: str, clean: str) -> str:
    """The title; words that the clean one does not have at that place are marked."""
    now, before = split_words(title), split_words(clean)
    bare = [[word.strip() for word in words] for words in (before, now)]
    parts = []
    for kind, _, _, start, end in SequenceMatcher(None, *bare, autojunk=False).get_opcodes():
        piece = text("".join(now[start:end]))
        parts.append(piece if kind == "equal" or not piece else f"<mark>{piece}</mark>")
    return "".join(parts)


def _table(table: Table, clean: Table, read: set[int], lang: Language) -> str:
    """The rows; values that the clean table does not have there are marked, rows that do not fit
    into the model are grey."""
    rows = []
    for k, (attribute, value) in enumerate(table):
        new = k >= len(clean) or clean[k] != (attribute, value)
        shown = f"<mark>{text(value)}</mark>" if new else text(value)
        unread = f' class="unread" title="{label("xs_unread", lang)}"'
        grey = "" if 2 * k + 1 in read else unread
        rows.append(f"<tr{grey}><th>{text(attribute)}</th><td>{shown}</td></tr>")
    return f'<table class="pairs">{"".join(rows)}</table>'


def _clip(frames_THWC: np.ndarray, place_T: np.ndarray, playing: bool, lang: Language) -> str:
    """All frames, each with its number in the clean clip where it moved, and a button to play."""
    button = label("xs_stop" if playing else "xs_play", lang)
    button = f'<span class="button" data-key="{PLAY}">{"■" if playing else "▶"} {button}</span>'
    if playing:
        alt = label("video", lang)
        return f'<img class="pixels" alt="{alt}" src="{clip_uri(frames_THWC)}">{button}'
    frames = []
    for t, (frame_HWC, place) in enumerate(zip(frames_THWC, place_T.tolist(), strict=True)):
        name = label("xs_place", lang, n=place + 1)
        number = f"<mark>{place + 1}</mark>" if place != t else f"{place + 1}"
        picture = f'<img class="pixels" alt="{name}" src="{png_uri(frame_HWC)}">'
        frames.append(f'<div class="frame">{picture}<div>{number}</div></div>')
    return f'<div class="strip">{"".join(frames)}</div>{button}'


def _sound(content: ModalityContent, config: FeatureConfig, lang: Language) -> str:
    """The log-mel that the model gets, and the sound to listen to."""
    name = label("audio", lang)
    heard = sound_uri(content.shown, config.sample_rate)
    seen = png_uri(mel_pixels(content.sequence))
    player = f'<audio controls preload="none" aria-label="{name}" src="{heard}"></audio>'
    return f'<img class="mel" alt="{name}" src="{seen}">{player}'
