"""What a model says of hidden content, as HTML: losses, words with probabilities, reconstructions.

L length, F features, H, W height and width of a picture in pixels, C three colours.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from PIL import Image

from scale.config import FeatureConfig
from scale.data.dataset import ProductDataset
from scale.data.features import to_pixels
from scale.explore.markup import bar_rows, text
from scale.studies.context import Reconstruction
from scale.studies.masked_probe import MaskedPrediction, TokenPrediction
from scale.viz.theme import HIT, MODALITY_COLOURS
from scale.viz.words import Language, label

BASELINE = "#8A93A0"
"""Colour of what needs no model; readable on both themes."""
LOSSES = {
    "all": "xm_all",
    "chosen": "xm_chosen",
    "none": "xm_none",
    "mean": "xm_mean",
    "even": "xm_even",
}
"""Contexts and baselines, in the order in which they are shown."""
SMALL = 128
"""Side in pixels of a reconstructed picture."""
VERSIONS = {
    "truth": "mask_truth",
    "hidden": "mask_hidden",
    "chosen": "xm_guess_chosen",
    "none": "mask_without",
    "mean": "mask_mean",
}
"""Of a reconstruction, in the order in which they are shown."""


class Sheet(NamedTuple):
    """A picture in cells of equal size, row by row; width and height in pixels of the page."""

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
    """The picture under its cells.

    Args:
        uri: of the picture; empty: the cells show their numbers where there is room.
        marks: `covered`, `framed` or `marked` (below), by cell.
        names, keys: of all cells, where they can be picked.
    """
    cells = []
    for n in range(sheet.cells):
        kind = f' class="{marks[n]}"' if marks.get(n) else ""
        about = ""
        if keys is not None and names is not None:
            pressed = "true" if n in marks else "false"
            name = text(names[n])
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


def png_uri(pixels_HWC: np.ndarray) -> str:
    """A small picture inside the page, every pixel as it is."""
    buffer = BytesIO()
    Image.fromarray(pixels_HWC).save(buffer, format="PNG", compress_level=1)
    return "data:image/png;base64," + b64encode(buffer.getvalue()).decode("ascii")


def mel_pixels(mel_LF: np.ndarray) -> np.ndarray:
    """Log-mel in about [-1, 1] as pixels_HWC: time to the right, pitch upwards."""
    shade_FL4 = colormaps["magma"]((mel_LF.T[::-1] + 1) / 2, bytes=True)
    return np.ascontiguousarray(shade_FL4[:, :, :3])


def feature_pixels(modality: str, vectors_LF: np.ndarray, config: FeatureConfig) -> np.ndarray:
    """The features of image, video or audio as one picture, pixels_HWC.

    Raises ValueError where they hold no colours (`features.to_pixels`).
    """
    if modality == "audio":
        if config.audio_features != "logmel":
            raise ValueError(f"the features {config.audio_features!r} hold no colours to draw")
        return mel_pixels(vectors_LF)
    if modality == "image":
        return to_pixels(vectors_LF, config.image_features, config.patch_size)
    source, side = config.video_features, config.frame_size
    return np.concatenate([to_pixels(v_F[None], source, side) for v_F in vectors_LF], axis=1)


def answer_html(
    asked: MaskedPrediction, data: ProductDataset, sheet: Sheet | None, lang: Language
) -> str:
    """Losses, and what stands in the place of what is hidden.

    sheet: of what was picked, for image, video and audio; None: text and table.
    """
    modality, losses = asked.modality, losses_html(asked.loss, asked.modality, lang)
    if sheet is None:
        found = asked.pieces("chosen", data.tokenizer)
        guesses = guesses_html(found, len(data.tokenizer), lang)
        rule = label("xm_rule", lang)
        rule += " " + label("xm_whole_words", lang) if modality == "text" else ""
        return f'{losses}{guesses}<div class="note">{rule}</div>'
    try:
        small = smaller(sheet)
        shown = reconstruction_html(asked.reconstruction(data), small, modality, data.config, lang)
    except ValueError:
        source = getattr(data.config, f"{modality}_features")
        shown = f'<div class="note">{label("xm_no_colours", lang, source=text(source))}</div>'
    return losses + shown


def smaller(sheet: Sheet) -> Sheet:
    """The same cells for pictures that stand side by side."""
    if sheet.width == sheet.height:
        return sheet._replace(width=SMALL, height=SMALL)
    return sheet._replace(width=sheet.width // 2, height=sheet.height // 2)


def losses_html(loss: Mapping[str, float], modality: str, lang: Language) -> str:
    """A bar for each context and baseline, with its change from all others."""
    shown = [name for name in LOSSES if name in loss]
    names = [text(label(LOSSES[name], lang)) for name in shown]
    own = MODALITY_COLOURS[modality]
    colours = [BASELINE if name in ("mean", "even") else own for name in shown]
    values = [loss[name] for name in shown]
    bars = bar_rows(names, values, [loss["all"]] * len(shown), colours, 0.0, max(values), 3)
    unit = "xm_losses_pieces" if "even" in loss else "xm_losses_vectors"
    data = " ".join(f'data-{name}="{loss[name]:.6f}"' for name in shown)
    return (
        f'<div class="xm-losses" {data}><h4>{label("xm_losses", lang)}</h4>'
        f'<div class="note">{label(unit, lang)}</div>{bars}'
        f'<div class="note">{label("xm_change", lang)}</div></div>'
    )


def guesses_html(answers: Sequence[TokenPrediction], vocabulary: int, lang: Language) -> str:
    """A card for each hidden piece: the most probable pieces as bars, the truth with a tick."""
    cards = [_guess_card(answer, vocabulary, lang) for answer in answers]
    return f'<h4>{label("xm_guesses", lang)}</h4><div class="row">{"".join(cards)}</div>'


def _guess_card(answer: TokenPrediction, vocabulary: int, lang: Language) -> str:
    rows = list(answer.best)
    if answer.truth not in dict(rows):
        rows.append((answer.truth, answer.probability))
    most = max(p for _, p in rows)
    lines = []
    for word, p in rows:
        hit = word == answer.truth
        name = f"<b>✓ {text(word)}</b>" if hit else text(word)
        look = f"left:0;width:{100 * p / most:.1f}%;background:{HIT if hit else BASELINE}"
        lines.append(
            f'<span class="word">{name}</span><span class="track"><span class="bar" style="{look}">'
            f'</span></span><span class="value">{p:.3f}</span>'
        )
    told = label("xm_piece", lang, loss=answer.loss, rank=answer.rank, all=vocabulary)
    truth = text(answer.truth)
    return (
        f'<div class="xm-guess" data-truth="{truth}" data-loss="{answer.loss:.6f}" '
        f'data-rank="{answer.rank}" data-probability="{answer.probability:.6f}">'
        f'<b>{truth}</b><div class="note">{told}</div>'
        f'<div class="bars">{"".join(lines)}</div></div>'
    )


def reconstruction_html(
    found: Reconstruction, sheet: Sheet, modality: str, config: FeatureConfig, lang: Language
) -> str:
    """Truth, input, guesses and baseline side by side, hidden places marked.

    sheet: of each of the pictures. Raises ValueError where the features hold no colours.
    """
    places = np.flatnonzero(found.hidden_L).tolist()
    # Frames around columns of a few pixels would hide them.
    guessed = "marked" if modality == "audio" else "framed"
    panels = []
    for version, key in VERSIONS.items():
        if version in found.guess_LF or version in ("truth", "hidden"):
            vectors_LF = found.guess_LF.get(version, found.truth_LF)
            uri = png_uri(feature_pixels(modality, vectors_LF, config))
            kind = {"truth": "", "hidden": "covered"}.get(version, guessed)
            picture = sheet_html(sheet, uri, dict.fromkeys(places, kind))
            loss = found.loss.get(version)
            told = "" if loss is None else label("xm_error", lang, value=loss)
            panels.append(
                f'<div class="xm-version" data-version="{version}"><b>{label(key, lang)}</b>'
                f'{picture}<div class="note">{told}</div></div>'
            )
    look = f"--frame:{MODALITY_COLOURS[modality]}"
    note = ""
    if modality == "audio":
        axes = label("mask_audio_axes", lang, bins=config.mel_bins)
        note = f'<div class="note">{axes}</div>'
    return f'<div class="row xm-versions" style="{look}">{"".join(panels)}</div>{note}'
