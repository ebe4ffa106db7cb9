"""HTML of the score explorer: contents of the modalities, matrices, weights, neighbours.

M modalities (five); T frames, H, W, C height, width and colours of a picture, S samples of a sound.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import cache
from html import escape

import numpy as np
from matplotlib.colors import Colormap, Normalize

from scale.config import FeatureConfig
from scale.data.backbones import audio_rate
from scale.data.features import log_mel
from scale.explore.markup import (
    bar_rows,
    heat_table,
    mel_pixels,
    modality_name,
    note_html,
    number,
    pair_name,
    png_uri,
    sound_uri,
)
from scale.explore.source import ExplorerSource
from scale.modalities import MODALITIES, PAIRS
from scale.studies.damage import Table, split_words
from scale.studies.single_product import ModalityContent, ProductOutputs
from scale.viz.theme import MODALITY_COLOURS, diverging, sequential, use_style
from scale.viz.words import Language, label

MOST = 0.6
"""End of the scale of softmax(S) and S': fixed, so that colours and bars are comparable between
changes. The weight of a nearly single modality is larger."""
LEAST = -0.12
"""Lower bound of S'_ij: its minimum, for two modalities with cosine -1, is -0.119."""


@cache
def matrix_colours(key: str) -> tuple[Colormap, Normalize]:
    """Return colour map and range of a matrix, those of the light page on every theme."""
    with use_style("paper"):
        looks = {
            "scores": (diverging(), Normalize(-1, 1)),
            "softmax": (sequential(), Normalize(0, MOST)),
            "weighted": (diverging(), Normalize(-MOST, MOST)),
            "xs_normalised": (diverging(), Normalize(-1, 1)),
            "xs_agreement_weights": (sequential(), Normalize(0, 2)),
        }
    return looks[key]


def matrix(
    key: str,
    values_MM: np.ndarray,
    present_M: np.ndarray,
    title: str,
    lang: Language,
    before_MM: np.ndarray | None = None,
    keys: str = "",
) -> str:
    """Return one matrix as a table in the colours of `key`; other arguments as `heat_table`."""
    colours, weights = matrix_colours(key), key in ("weighted", "xs_agreement_weights")
    table = heat_table(
        title, values_MM, present_M, *colours, lang, weights, before_MM=before_MM, keys=keys
    )
    return f'<div data-matrix="{key}">{table}</div>'


def matrices(
    now: ProductOutputs,
    before: ProductOutputs,
    lang: Language,
    agreement_MM: np.ndarray | None = None,
) -> str:
    """Return S, softmax(S) and S' side by side, and the form of the authors' code, folded.

    Changed cells are marked; cells are linked to their explanations (`cell_views`). agreement_MM:
    weights by agreement of the unchanged product, a further matrix; NaN where there is none.
    """
    forms = {
        "scores": (now.cosine_MM, before.cosine_MM),
        "softmax": (now.softmax_MM, before.softmax_MM),
        "weighted": (now.weighted_MM, before.weighted_MM),
    }
    tables = [
        matrix(key, values_MM, now.present_M, label(key, lang), lang, before_MM, key)
        for key, (values_MM, before_MM) in forms.items()
    ]
    notes = [label("score_roles", lang), label("xs_changed_cells", lang)]
    notes += [] if now.present_M.all() else [label("absent_note", lang)]
    if agreement_MM is not None:
        key = "xs_agreement_weights"
        known_MM = np.isfinite(agreement_MM)
        shown_M = known_MM.diagonal()
        tables.append(matrix(key, agreement_MM, shown_M, label(key, lang), lang))
        notes.append(label("xs_agreement_note", lang))
    key = "xs_normalised"
    folded = matrix(key, now.normalised_MM, now.present_M, label(key, lang), lang)
    return (
        f'<div class="row">{"".join(tables)}</div>{note_html(" ".join(notes))}'
        f"<details><summary>{label('xs_authors_form', lang)}</summary>{folded}"
        f"{note_html(label('xs_authors_note', lang))}</details>"
    )


def weight_bars(now: ProductOutputs, before: ProductOutputs, lang: Language) -> str:
    """Return pair and diagonal weights as bars, with previous value and change."""
    own = [(m, m) for m in range(len(MODALITIES))]
    new_MM, old_MM = _known(now), _known(before)
    most = np.nanmax([new_MM, old_MM])
    sides = []
    for key, places in (("xs_pairs", PAIRS), ("xs_diagonal", own)):
        bars = bar_rows(
            [f'<span data-link="{i}-{j}">{pair_name(i, j, lang)}</span>' for i, j in places],
            [new_MM[place] for place in places],
            [old_MM[place] for place in places],
            [_blend(i, j) for i, j in places],
            LEAST,
            MOST if most <= MOST else 1.0,
        )
        sides.append(f'<div class="side" data-bars="{key}"><h4>{label(key, lang)}</h4>{bars}</div>')
    note = note_html(label("xs_before_mark", lang))
    return f'<div class="row">{"".join(sides)}</div>{note}'


def agreement_bars(
    now_P: np.ndarray, before_P: np.ndarray, judged_P: np.ndarray | None, lang: Language
) -> str:
    """Return the percentile r of each pair as bars: by the model, and by cross-fitting if known."""
    names = [pair_name(i, j, lang) for i, j in PAIRS]
    colours = [_blend(i, j) for i, j in PAIRS]
    sides = {"xs_r_model": (now_P, before_P)}
    if judged_P is not None:
        sides["xs_r_judged"] = (judged_P, judged_P)
    found = [
        f'<div class="side" data-bars="{key}"><h4>{label(key, lang)}</h4>'
        f"{bar_rows(names, new_P.tolist(), old_P.tolist(), colours, 0.0, 1.0)}</div>"
        for key, (new_P, old_P) in sides.items()
    ]
    note = "xs_r_note" if judged_P is None else "xs_r_trained"
    return f'<div class="row">{"".join(found)}</div>{note_html(label(note, lang))}'


def _known(outputs: ProductOutputs) -> np.ndarray:
    """Return S', with NaN for missing modalities."""
    both_MM = outputs.present_M[:, None] & outputs.present_M[None, :]
    return np.where(both_MM, outputs.weighted_MM, np.nan)


def _blend(i: int, j: int) -> str:
    first, second = MODALITY_COLOURS[MODALITIES[i]], MODALITY_COLOURS[MODALITIES[j]]
    return first if i == j else f"linear-gradient({first} 50%, {second} 50%)"


def jct_view(now: ProductOutputs, policy: str, lang: Language) -> str:
    """Return the sequence of the joint transformer."""
    total = int(now.token_M.sum() + now.missing_token_M.sum())
    parts = []
    for m, colour in enumerate(MODALITY_COLOURS.values()):
        for kind, count in (("own", now.token_M[m]), ("filler", now.missing_token_M[m])):
            if count:
                look = f"flex-grow:{count};--colour:{colour}"
                title = f"{label(MODALITIES[m], lang)}: {count}"
                parts.append(f'<span class="{kind}" style="{look}" title="{title}">{count}</span>')
    counts = {"own": int(now.token_M.sum()), "filler": int(now.missing_token_M.sum())}
    meaning, count = label(f"policy_says_{policy}", lang), label("xs_jct_count", lang, **counts)
    strip = f'<div class="sequence" data-tokens="{total}">{"".join(parts)}</div>'
    return f"{strip}{note_html(f'{meaning} · {count}')}"


def nearest(
    source: ExplorerSource,
    row: int,
    found: Sequence[tuple[str, float]],
    before: Sequence[tuple[str, float]] | None,
    lang: Language,
) -> str:
    """Return cards of the nearest products; with `before`, also the previous rank of each."""
    ranks = {name: rank for rank, (name, _) in enumerate(before or (), start=1)}
    cards = []
    for name, cosine in found:
        fact = number(cosine)
        if before is not None and name in ranks:
            fact = label("xs_rank_was", lang, cosine=fact, rank=ranks[name])
        elif before is not None:
            fact = label("xs_rank_new", lang, cosine=fact)
        other = source.row_of[name]
        hit = source.same_category(row, other)
        cards.append(source.card(other, fact, hit, pick=True, lang=lang))
    key = "xs_nearest_before" if before is None else "xs_nearest_now"
    row_of_cards = f'<div class="row cards" data-group>{"".join(cards)}</div>'
    return f'<div data-list="{key}"><h4>{label(key, lang)}</h4>{row_of_cards}</div>'


def beside_view(
    sides: Mapping[str, tuple[ProductOutputs, ProductOutputs]], near: str, lang: Language
) -> str:
    """Return S' by several models, each with its changes, and the neighbours by the last one.

    sides: outputs now and before, by the name of the model.
    """
    tables = "".join(
        matrix(
            "weighted",
            now.weighted_MM,
            now.present_M,
            label("xs_beside_title", lang, model=escape(name)),
            lang,
            before.weighted_MM,
        )
        for name, (now, before) in sides.items()
    )
    note = note_html(label("xs_beside_note", lang))
    return f'<div class="row" data-beside>{tables}</div>{note}{near}'


def training_view(
    mean_MM: np.ndarray,
    step: int,
    weight_MM: np.ndarray,
    now: ProductOutputs,
    model: str,
    lang: Language,
) -> str:
    """Return the mean S' of the batch at a training step beside S' of the product."""
    logged_M = np.isfinite(mean_MM.diagonal())
    batch = label("xs_batch_mean", lang, step=step)
    product = label("xs_this_product", lang, model=model)
    left = matrix("weighted", mean_MM, logged_M, batch, lang)
    right = matrix("weighted", weight_MM, now.present_M, product, lang)
    note = note_html(label("xs_step_note", lang))
    return f'<div class="row"><div data-step="{step}">{left}</div><div>{right}</div></div>{note}'


PLAY = "play"
"""Key of the play button of the video."""


@dataclass(frozen=True)
class Tile:
    """Content of one modality, before and after the change."""

    modality: str
    content: ModalityContent | None
    """After the change; None if the model does not receive it."""
    clean: ModalityContent | None
    """In the catalogue; None if the product has none."""
    donor: str = ""
    """Id of the other product that the content was taken from; else empty."""
    playing: bool = False

    def html(self, config: FeatureConfig, lang: Language) -> str:
        """Return header and content, hatched if missing.

        `data-state` is `present`, `changed`, `off` or `absent`.
        """
        if self.content is None:
            state = "absent" if self.clean is None else "off"
            key = f"absent_{self.modality}" if self.clean is None else "xs_off"
            return self._frame(state, "", f'<div class="hatched">{label(key, lang)}</div>', lang)
        state = "present" if self.content is self.clean else "changed"
        fact = label("xs_tokens", lang, n=len(self.content.sequence))
        if self.donor:
            fact += " · " + escape(label("xs_from", lang, product=self.donor))
        if self.content.shown is None:
            length, size = self.content.sequence.shape
            body = label("xs_vectors", lang, length=length, size=size)
            return self._frame(state, fact, note_html(body), lang)
        return self._frame(state, fact, self._body(config, lang), lang)

    def _frame(self, state: str, fact: str, body: str, lang: Language) -> str:
        head = f"<h4>{modality_name(self.modality, lang)}</h4>"
        head += f'<div class="note fact" title="{fact}">{fact}</div>'
        where = f'data-modality="{self.modality}" data-state="{state}"'
        name = label(self.modality, lang)
        # Its content may scroll, also by keyboard.
        inside = f'<div class="body" tabindex="0" role="group" aria-label="{name}">{body}</div>'
        return f'<div class="tile" {where}>{head}{inside}</div>'

    def _body(self, config: FeatureConfig, lang: Language) -> str:
        shown = self.content.shown
        clean = None if self.clean is None else self.clean.shown
        if self.modality == "text":
            return f"<div>{changed_words(shown, clean or '')}</div>"
        if self.modality == "table":
            return changed_table(shown, clean or (), self.content.entities_read, lang)
        if self.modality == "image":
            return f'<img class="pixels" alt="{label("image", lang)}" src="{png_uri(shown[0])}">'
        if self.modality == "video":
            return _clip(shown, self.content.place_T, self.playing, lang)
        return _sound(self.content, config, lang)


def changed_words(title: str, clean: str) -> str:
    """Return the title with the changed words marked."""
    now, before = split_words(title), split_words(clean)
    bare = [[word.strip() for word in words] for words in (before, now)]
    parts = []
    for kind, _, _, start, end in SequenceMatcher(None, *bare, autojunk=False).get_opcodes():
        piece = escape("".join(now[start:end]))
        parts.append(piece if kind == "equal" or not piece else f"<mark>{piece}</mark>")
    return "".join(parts)


def changed_table(table: Table, clean: Table, read: set[int], lang: Language) -> str:
    """Return the table with changed values marked; rows that the model does not read are grey."""
    rows = []
    for k, (attribute, value) in enumerate(table):
        new = k >= len(clean) or clean[k] != (attribute, value)
        shown = f"<mark>{escape(value)}</mark>" if new else escape(value)
        unread = f' class="unread" title="{label("xs_unread", lang)}"'
        grey = "" if 2 * k + 1 in read else unread
        rows.append(f"<tr{grey}><th>{escape(attribute)}</th><td>{shown}</td></tr>")
    return f'<table class="pairs">{"".join(rows)}</table>'


def _clip(frames_THWC: np.ndarray, place_T: np.ndarray, playing: bool, lang: Language) -> str:
    """Return all frames with their numbers in the clean video, and a play button."""
    button = label("xs_stop" if playing else "xs_play", lang)
    button = f'<span class="button" data-key="{PLAY}">{"■" if playing else "▶"} {button}</span>'
    if playing:
        alt = label("video", lang)
        return f'<img class="pixels" alt="{alt}" src="{png_uri(*frames_THWC)}">{button}'
    frames = []
    for t, (frame_HWC, place) in enumerate(zip(frames_THWC, place_T.tolist(), strict=True)):
        name = label("xs_place", lang, n=place + 1)
        number = f"<mark>{place + 1}</mark>" if place != t else f"{place + 1}"
        picture = f'<img class="pixels" alt="{name}" src="{png_uri(frame_HWC)}">'
        frames.append(f'<div class="frame">{picture}<div>{number}</div></div>')
    return f'<div class="strip">{"".join(frames)}</div>{button}'


def _sound(content: ModalityContent, config: FeatureConfig, lang: Language) -> str:
    """Return the log-mel spectrogram, which the model receives unless its features come from a
    frozen model, and a player."""
    name, rate = label("audio", lang), audio_rate(config)
    sound = sound_uri(content.shown, rate)
    mel_LF = content.sequence
    if config.backbone("audio"):
        mel_LF = log_mel(content.shown, replace(config, sample_rate=rate))
    picture = png_uri(mel_pixels(mel_LF))
    player = f'<audio controls preload="none" aria-label="{name}" src="{sound}"></audio>'
    return f'<img class="mel" alt="{name}" src="{picture}">{player}'
