"""HTML of the masking explorer: content that can be hidden, losses, predictions.

L length, F features, H height, W width, C colours.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import isqrt
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from scale.config import FeatureConfig
from scale.data.backbones import vector_pieces
from scale.data.dataset import ProductDataset
from scale.data.features import hop_length, load_media, to_pixels
from scale.data.media import MediaError, fit_image
from scale.explore.markup import (
    bar_rows,
    jpeg_uri,
    mel_pixels,
    modality_name,
    note_html,
    png_uri,
    table_html,
)
from scale.explore.source import ExplorerSource
from scale.modalities import CONTINUOUS
from scale.studies.context import Reconstruction
from scale.studies.masked_probe import MaskedPrediction, TokenPrediction, token_groups
from scale.viz.theme import HIT, MODALITY_COLOURS
from scale.viz.words import Language, label

BASELINE = "#8A93A0"
"""Colour of baselines, readable on both themes."""
LOSSES = {
    "all": "xm_all",
    "chosen": "xm_chosen",
    "none": "xm_none",
    "mean": "xm_mean",
    "even": "xm_even",
}
"""Label keys of contexts and baselines, in order of display."""
SMALL, SMALL_WIDE = 128, 240
"""Width of a reconstructed picture in pixels, and of a video or a sound."""
SHARP = 240
"""Size of the clickable picture in pixels."""
WIDEST = 560
"""Width of the clickable video or sound in pixels."""
PAIRS = 8
"""Rows of a table shown as context."""
SIZES = {"image": "width:96px", "video": "width:280px", "audio": "width:180px;height:64px"}
"""CSS sizes of the other modalities."""
VERSIONS = {
    "truth": "mask_truth",
    "hidden": "mask_hidden",
    "chosen": "xm_guess_chosen",
    "none": "mask_without",
    "mean": "mask_mean",
}
"""Label keys of the versions of a reconstruction, in order of display."""


class Sheet(NamedTuple):
    """A grid of equal cells over a picture, row by row; width and height in pixels."""

    cells: int
    columns: int
    width: int
    height: int


def sheet_html(
    sheet: Sheet,
    uri: str,
    marks: Mapping[int, str],
    names: Mapping[int, str] | None = None,
    keys: Mapping[int, str] | None = None,
) -> str:
    """Return a picture below a grid of cells.

    Args:
        uri: data URI of the picture; if empty, cells that are wide enough show their numbers.
        marks: `covered`, `framed` or `marked` (a line below), by cell.
        names, keys: of all cells, if they are clickable.
    """
    cells = []
    for n in range(sheet.cells):
        kind = f' class="{marks[n]}"' if marks.get(n) else ""
        about = ""
        if keys is not None and names is not None:
            pressed = "true" if n in marks else "false"
            name = escape(names[n])
            about = f' data-key="{keys[n]}" aria-pressed="{pressed}" aria-label="{name}"'
            about += f' title="{name}"'
        number = str(n + 1) if not uri and sheet.width >= 24 * sheet.columns else ""
        cells.append(f"<div{kind}{about}>{number}</div>")
    rows = -(-sheet.cells // sheet.columns)
    look = (
        f"width:{sheet.width}px;height:{sheet.height}px;"
        f"grid-template:repeat({rows},1fr)/repeat({sheet.columns},1fr);"
    )
    look += f"background-image:url({uri})" if uri else ""
    group = f' data-group data-drag data-columns="{sheet.columns}"' if keys is not None else ""
    return f'<div class="xm-sheet" style="{look}"{group}>{"".join(cells)}</div>'


def feature_pixels(modality: str, vectors_LF: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """Return the features of image, video or audio as one picture, pixels_HWC.

    Raises ValueError for features without colours (`features.to_pixels`).
    """
    if modality == "audio":
        if config.audio_features != "logmel":
            raise ValueError(f"the features {config.audio_features!r} contain no colours to draw")
        return mel_pixels(vectors_LF)
    if modality == "image":
        return to_pixels(vectors_LF, config.image_features, config.patch_size)
    source, side = config.video_features, config.frame_size
    return np.concatenate([to_pixels(v_F[None], source, side) for v_F in vectors_LF], axis=1)


def answer_html(
    prediction: MaskedPrediction, data: ProductDataset, sheet: Sheet | None, lang: Language
) -> str:
    """Return losses and predictions.

    sheet: grid of the content for image, video and audio; None for text and table.
    """
    modality, losses = prediction.modality, losses_html(prediction.loss, prediction.modality, lang)
    if prediction.continuous and sheet is None:
        source = getattr(data.config, f"{modality}_features")
        return losses + note_html(label("xm_no_words", lang, source=escape(source)))
    if sheet is None:
        found = prediction.pieces("chosen", data.tokenizer)
        guesses = predictions_html(found, len(data.tokenizer), lang)
        rule = label("xm_rule", lang)
        rule += " " + label("xm_whole_words", lang) if modality == "text" else ""
        return f"{losses}{guesses}{note_html(rule)}"
    try:
        found = prediction.reconstruction(data)
        shown = reconstruction_html(found, smaller(sheet), modality, data.config, lang)
    except ValueError:
        features = getattr(data.config, f"{modality}_features")
        shown = note_html(label("xm_no_colours", lang, source=escape(features)))
    return losses + shown


def smaller(sheet: Sheet) -> Sheet:
    """Return the grid for five pictures side by side."""
    width = SMALL if sheet.width == sheet.height else min(sheet.width // 2, SMALL_WIDE)
    return sheet._replace(width=width, height=width * sheet.height // sheet.width)


def losses_html(loss: Mapping[str, float], modality: str, lang: Language) -> str:
    """Return a bar per context and baseline, with its change from all other modalities."""
    shown = [name for name in LOSSES if name in loss]
    names = [escape(label(LOSSES[name], lang)) for name in shown]
    own = MODALITY_COLOURS[modality]
    colours = [BASELINE if name in ("mean", "even") else own for name in shown]
    values = [loss[name] for name in shown]
    bars = bar_rows(names, values, [loss["all"]] * len(shown), colours, 0.0, max(values), 3)
    unit = "xm_losses_pieces" if "even" in loss else "xm_losses_vectors"
    data = " ".join(f'data-{name}="{loss[name]:.6f}"' for name in shown)
    return (
        f'<div class="xm-losses" {data}><h4>{label("xm_losses", lang)}</h4>'
        f"{note_html(label(unit, lang))}{bars}{note_html(label('xm_change', lang))}</div>"
    )


def predictions_html(answers: Sequence[TokenPrediction], vocabulary: int, lang: Language) -> str:
    """Return a card per masked piece: the most probable pieces, the truth with a tick."""
    cards = [_prediction_card(answer, vocabulary, lang) for answer in answers]
    return f'<h4>{label("xm_guesses", lang)}</h4><div class="row">{"".join(cards)}</div>'


def _prediction_card(answer: TokenPrediction, vocabulary: int, lang: Language) -> str:
    rows = list(answer.best)
    if answer.truth not in dict(rows):
        rows.append((answer.truth, answer.probability))
    most = max(p for _, p in rows)
    lines = []
    for word, p in rows:
        hit = word == answer.truth
        name = f"<b>✓ {escape(word)}</b>" if hit else escape(word)
        look = f"left:0;width:{100 * p / most:.1f}%;background:{HIT if hit else BASELINE}"
        lines.append(
            f'<span class="word">{name}</span><span class="track"><span class="bar" style="{look}">'
            f'</span></span><span class="value">{p:.3f}</span>'
        )
    fact = label("xm_piece", lang, loss=answer.loss, rank=answer.rank, all=vocabulary)
    truth = escape(answer.truth)
    return (
        f'<div class="xm-guess" data-truth="{truth}" data-loss="{answer.loss:.6f}" '
        f'data-rank="{answer.rank}" data-probability="{answer.probability:.6f}">'
        f'<b>{truth}</b>{note_html(fact)}<div class="bars">{"".join(lines)}</div></div>'
    )


def reconstruction_html(
    found: Reconstruction, sheet: Sheet, modality: str, config: FeatureConfig, lang: Language
) -> str:
    """Return truth, input, predictions and baseline side by side, with the hidden cells marked.

    sheet: grid of each picture. Raises ValueError for features without colours.
    """
    places = np.flatnonzero(found.hidden_L).tolist()
    # A frame would cover a column of a few pixels.
    guessed = "marked" if modality == "audio" else "framed"
    panels = []
    for version, key in VERSIONS.items():
        if version in found.guess_LF or version in ("truth", "hidden"):
            vectors_LF = found.guess_LF.get(version, found.truth_LF)
            uri = png_uri(feature_pixels(modality, vectors_LF, config))
            kind = {"truth": "", "hidden": "covered"}.get(version, guessed)
            picture = sheet_html(sheet, uri, dict.fromkeys(places, kind))
            loss = found.loss.get(version)
            fact = "" if loss is None else label("xm_error", lang, value=loss)
            panels.append(
                f'<div class="xm-version" data-version="{version}"><b>{label(key, lang)}</b>'
                f"{picture}{note_html(fact)}</div>"
            )
    look = f"--frame:{MODALITY_COLOURS[modality]}"
    note = ""
    if modality == "audio":
        note = note_html(label("mask_audio_axes", lang, bins=config.mel_bins))
    return f'<div class="row xm-versions" style="{look}">{"".join(panels)}</div>{note}'


class ProductModality(NamedTuple):
    """A modality of a product, whose content is masked and predicted."""

    row: int
    modality: str


@dataclass(frozen=True)
class MaskableContent:
    """The parts of one modality of a product that can be hidden."""

    place: ProductModality
    group_L: Tensor
    """Number of the part that each token belongs to (`masked_probe.token_groups`)."""
    names: dict[int, str]
    """Name of each part: word, table entry, number of the region or frame, seconds."""
    sheet: Sheet | None
    """Grid of image, video or audio; None for text and table."""
    uri: str
    """Data URI of their picture; empty if it cannot be drawn."""
    beside: dict[str, str]
    """HTML of each other modality of the product."""
    entries: tuple[str, ...] = ()
    """Attributes and values of a table, alternating; those cut off have no name."""

    @staticmethod
    def of(source: ExplorerSource, place: ProductModality, lang: Language) -> "MaskableContent":
        """Collect the content. Raises ValueError if the product lacks the modality."""
        group_L = token_groups(source.data, *place)
        entries = _entries(source, place.row) if place.modality == "table" else ()
        names = _names(source, place, group_L, entries, lang)
        sheet, uri = None, ""
        if place.modality in CONTINUOUS:
            uri = _picture(source, place, len(group_L))
            sheet = _sheet(place.modality, len(group_L))
        others = [m for m in source.modalities(place.row) if m != place.modality]
        beside = {m: _content(source, ProductModality(place.row, m), lang) for m in others}
        return MaskableContent(place, group_L, names, sheet, uri, beside, entries)

    def html(self, hidden: Collection[int], lang: Language) -> str:
        """Return the content with the hidden parts covered; keys as in `groups`."""
        if self.sheet is not None:
            marks = dict.fromkeys(hidden, "covered")
            keys = {n: key for key, n in self.groups.items()}
            return sheet_html(self.sheet, self.uri, marks, self.names, keys)
        if self.place.modality == "text":
            return self._words(hidden, lang)
        return self._table(hidden, lang)

    @property
    def groups(self) -> dict[str, int]:
        """Number of each part by its key on the page."""
        return {f"{self.place.modality}-{group}": group for group in self.names}

    def _words(self, hidden: Collection[int], lang: Language) -> str:
        chips = []
        for group, name in self.names.items():
            pieces = int((self.group_L == group).sum())
            below = " ".join(["[MASK]"] * pieces) if group in hidden else ""
            spoken = label("xm_word", lang, name=name)
            chips.append(
                f'<span class="xm-word" {self._pickable(group, hidden, spoken)}>'
                f"<b>{escape(name)}</b><small>{below}</small></span>"
            )
        return f'<div class="xm-words" data-group data-drag>{"".join(chips)}</div>'

    def _table(self, hidden: Collection[int], lang: Language) -> str:
        cells, too_long = [], label("xm_left_out", lang)
        for number, name in enumerate(self.entries):
            if number not in self.names:
                cells.append(
                    f'<span class="xm-entry left-out" title="{too_long}">{escape(name)}</span>'
                )
                continue
            kind = label("xm_value" if number % 2 else "xm_attribute", lang, name=name)
            cells.append(
                f'<span class="xm-entry" {self._pickable(number, hidden, kind)}>'
                f"<b>{escape(name)}</b></span>"
            )
        return f'<div class="xm-table" data-group data-drag data-columns="2">{"".join(cells)}</div>'

    def _pickable(self, group: int, hidden: Collection[int], name: str) -> str:
        """Return the HTML attributes of a part: key, ARIA state, name."""
        pressed = "true" if group in hidden else "false"
        key, spoken = f"{self.place.modality}-{group}", escape(name)
        return f'data-key="{key}" aria-pressed="{pressed}" aria-label="{spoken}" title="{spoken}"'


def _names(
    source: ExplorerSource,
    place: ProductModality,
    group_L: Tensor,
    entries: Sequence[str],
    lang: Language,
) -> dict[int, str]:
    groups = sorted(set(group_L.tolist()) - {-1})
    if place.modality == "text" and source.data.columns["text"].continuous:
        pieces = vector_pieces(source.product(place.row).text, source.data.config)
        return {group: pieces[group] for group in groups}
    if place.modality == "text":
        ids_L = source.data.collate([place.row]).tokens["text"].values[0]
        tokenizer = source.data.tokenizer
        words = {
            group: tokenizer.convert_ids_to_tokens(ids_L[group_L == group]) for group in groups
        }
        return {g: "".join(piece.removeprefix("##") for piece in p) for g, p in words.items()}
    if place.modality == "table":
        return {group: entries[group] for group in groups}
    config = source.data.config
    if place.modality == "audio" and not config.backbone("audio"):
        step = hop_length(config) / config.sample_rate
        return {g: label("xm_time", lang, start=g * step, end=(g + 1) * step) for g in groups}
    key = "xm_region" if place.modality == "image" else "xm_frame"
    return {group: label(key, lang, n=group + 1) for group in groups}


def _entries(source: ExplorerSource, row: int) -> tuple[str, ...]:
    """Return attributes and values, alternating, in the order of `Tokens.entity_RL`."""
    return tuple(entry for pair in source.product(row).table for entry in pair)


def _sheet(modality: str, length: int) -> Sheet:
    """Return a square grid of regions if possible, else rows of 16; one row of frames or times."""
    if modality == "image":
        side = isqrt(length)
        if side * side == length:
            return Sheet(length, side, SHARP, SHARP)
        return Sheet(length, 16, WIDEST, 30 * -(-length // 16))
    if modality == "video":
        cell = min(64, WIDEST // length)
        return Sheet(length, length, cell * length, cell)
    return Sheet(length, length, WIDEST, 120)


def _picture(source: ExplorerSource, place: ProductModality, length: int) -> str:
    """Return the modality as a data URI; empty if its vectors are not regions of a picture."""
    config, path = source.data.config, getattr(source.product(place.row), place.modality)
    features = getattr(config, f"{place.modality}_features")
    if features == "file" or (place.modality == "image" and features not in ("patches", "hog")):
        return ""
    if place.modality == "audio":
        if config.backbone("audio"):
            return ""
        return png_uri(mel_pixels(_features(source, place)))
    try:
        media = load_media(place.modality, path, config)
    except MediaError:  # Deleted since its features were extracted.
        return ""
    if place.modality == "image":
        return jpeg_uri(Image.fromarray(fit_image(media, SHARP)), SHARP)
    return jpeg_uri(_film(media[:length], 96), 96 * length)


def _film(frames: np.ndarray, side: int) -> Image.Image:
    """Return the frames from left to right."""
    squares = [fit_image(Image.fromarray(frame_HWC), side) for frame_HWC in frames]
    return Image.fromarray(np.concatenate(squares, axis=1))


def _features(source: ExplorerSource, place: ProductModality) -> np.ndarray:
    """Return the extracted features_LF."""
    column = source.data.columns[place.modality]
    start = column.start_N[place.row]
    return column.values[start : start + column.length_N[place.row]].astype(np.float32)


def _content(source: ExplorerSource, place: ProductModality, lang: Language) -> str:
    """Return a modality shown as context."""
    product = source.product(place.row)
    if place.modality == "text":
        return f"<div>{escape(product.text)}</div>"
    if place.modality == "table":
        return table_html(product, PAIRS, lang)
    length = int(source.data.columns[place.modality].length_N[place.row])
    is_image = place.modality == "image"
    uri = source.thumbnail(place.row) if is_image else _picture(source, place, length)
    if not uri:
        return note_html(label("xm_vectors", lang, n=length))
    return f'<img alt="{label(place.modality, lang)}" src="{uri}" style="{SIZES[place.modality]}">'


def prompt_html(content: MaskableContent, hidden: Collection[int], lang: Language) -> str:
    """Return the content, with instructions and the number of hidden parts."""
    what = label("xm_what", lang, modality=modality_name(content.place.modality, lang))
    how = label("xm_how", lang, n=len(hidden), all=len(content.names))
    frame = f"--frame:{MODALITY_COLOURS[content.place.modality]}"
    return (
        f'<div class="xm-prompt" data-hidden="{len(hidden)}" style="{frame}">'
        f"<h4>{what}</h4>{content.html(hidden, lang)}{note_html(how)}</div>"
    )


def beside_html(beside: Mapping[str, str], on: Collection[str], lang: Language) -> str:
    """Return the other modalities of the product; those switched off are faded."""
    cards = []
    for m, content in beside.items():
        state = "" if m in on else f' <span class="note">{label("xm_off", lang)}</span>'
        look = f"border-color:{MODALITY_COLOURS[m]}"
        cards.append(
            f'<div class="xm-beside{"" if m in on else " off"}" data-modality="{m}" style="{look}">'
            f"<h4>{modality_name(m, lang)}{state}</h4>{content}</div>"
        )
    return f'<h4>{label("xm_beside", lang)}</h4><div class="row">{"".join(cards)}</div>'
