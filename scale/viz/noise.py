"""Every kind of noise on one product, and noise on whole modalities of many products.

N products, T frames, H, W, C height, width and colours of a picture, S samples of a sound, F mel
bands, L time frames. Lengths are points of the `paper` style.
"""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from scale.config import FeatureConfig
from scale.data.dataset import ProductDataset
from scale.data.media import MediaError, resize_image
from scale.data.normaliser import Normaliser
from scale.data.product import Product
from scale.modalities import INDEX, MODALITIES
from scale.studies.damage import TEXT_DAMAGE, DamageStep, damage_signal
from scale.studies.noise import Noise, apply_noise
from scale.training.cross_fit import right_probability
from scale.viz import tiles, typeset
from scale.viz.registry import Sources, figure, most_complete
from scale.viz.theme import (
    MODALITY_COLOURS,
    NEGATIVE,
    category_colours,
    drawn,
    mix,
    new_figure,
    shade,
    tint,
)
from scale.viz.tiles import DECIBELS, Box, log_mel
from scale.viz.words import LANG, Language, label

MARGIN, WIDTH, CAPTION = 20.0, 720.0, 11.0
INNER = WIDTH - 2 * MARGIN
PICTURE_SIZE, FRAME_SIZE, FRAMES, SECONDS = 160, 64, 8, 4.0
"""Pixels of images and frames that noise is added to; number of frames; seconds of sound."""

Strengths = tuple[tuple[str, float], ...]
CLEAN = ("clean", 0.0)
PICTURES: Strengths = (
    *(CLEAN, ("gaussian", 25), ("gaussian", 75)),
    *(("blur", 2), ("blur", 5), ("jpeg", 20), ("jpeg", 4)),
)
CLIPS: Strengths = (
    *(CLEAN, ("frame_drop", 0.25), ("frame_drop", 0.5)),
    *(("gaussian", 40), ("frame_shuffle", 0.5), ("frame_shuffle", 1.0)),
)
SOUNDS: Strengths = (CLEAN, ("snr", 20), ("snr", 5), ("snr", -5))
TITLES: Strengths = (CLEAN, ("word_drop", 0.2), ("word_drop", 0.5), ("typo", 0.2), ("typo", 0.5))
TABLES: Strengths = (CLEAN, ("attribute_swap", 0.4), ("attribute_swap", 1.0))
PAIRS = 5
"""Number of table pairs shown."""
CROWD = (10, 6)
"""Products per category, and categories, in the drawings of whole-modality noise."""


@drawn
def noise_sheet(product: Product, other: Product, lang: Language = LANG, seed: int = 0) -> Figure:
    """Draw `product` clean and under each kind of noise, and its mismatch with `other`.

    Noise is added to images of 160 pixels and frames of 64; missing and undecodable modalities are
    hatched. Bottom: 60 synthetic products of six categories, one square each, under the kinds of
    noise that remove or swap a whole modality.
    """
    heights = {"text": 66.0, "table": 76.0, "image": 92.0, "video": 120.0, "audio": 76.0}
    step = tiles.HEADER + 16
    top = 44.0
    figure, axes = typeset.page(WIDTH, top + sum(heights.values()) + 5 * step + 130)
    typeset.write(axes, MARGIN, 25, label("noise_sheet", lang), 12, fontweight="bold")
    name = typeset.shorten(product.name or product.id, 200, 8.5)
    typeset.write(axes, WIDTH - MARGIN, 25, name, 8.5, ha="right", color=shade(0.6))
    for modality, height in heights.items():
        note = label(ROWS[modality][1], lang, size=PICTURE_SIZE, frame=FRAME_SIZE, n=PAIRS)
        tiles.draw_header(axes, modality, MARGIN, top, INNER, note, lang)
        box = Box(MARGIN, top + tiles.HEADER, INNER, height)
        try:
            content = tiles.load(product, modality, frames=FRAMES, seconds=SECONDS)
        except MediaError:
            typeset.absent_tile(axes, *box, label("broken", lang))
        else:
            if content is None:
                typeset.absent_tile(axes, *box, label(f"absent_{modality}", lang))
            else:
                ROWS[modality][0](axes, content, box, lang, seed)
        top += height + step
    _whole(axes, product, other, Box(MARGIN, top, INNER, 140), lang, seed)
    return figure


def _cells(box: Box, columns: int, rows: int = 1, gap: float = 8.0) -> list[Box]:
    """Split a box into a grid, row by row; cells exclude the caption below them."""
    width, height = (box.width + gap) / columns - gap, box.height / rows - CAPTION
    return [
        Box(box.x + c * (width + gap), box.y + r * (height + CAPTION), width, height)
        for r in range(rows)
        for c in range(columns)
    ]


def _caption(axes: Axes, box: Box, kind: str, strength: float, lang: Language) -> None:
    text = label(kind, lang, n=strength, percent=100 * strength)
    typeset.write(axes, box.x, box.y + box.height + 8.5, text, 7, color=shade(0.75))


def _image_row(axes: Axes, image: Image.Image, box: Box, lang: Language, seed: int) -> None:
    pixels_HWC = np.asarray(resize_image(image, PICTURE_SIZE))
    cells = _cells(box, len(PICTURES))
    for (kind, strength), cell in zip(PICTURES, cells, strict=True):
        (shown_HWC,) = damage_signal(pixels_HWC[None], _steps(kind, strength, seed))
        typeset.picture(axes, shown_HWC, *cell)
        typeset.box(axes, *cell)
        _caption(axes, cell, kind, strength, lang)


def _video_row(axes: Axes, frames_THWC: np.ndarray, box: Box, lang: Language, seed: int) -> None:
    """Draw strips of frames; the number below a frame is its position in the clean clip."""
    fitted = [np.asarray(resize_image(Image.fromarray(f), FRAME_SIZE)) for f in frames_THWC]
    fitted_THWC, place_T = np.stack(fitted), np.arange(len(fitted))
    cells = _cells(box, 3, 2, gap=10)
    for (kind, strength), cell in zip(CLIPS, cells, strict=True):
        steps = _steps(kind, strength, seed)
        shown_THWC = damage_signal(fitted_THWC, steps)
        shown_T = damage_signal(place_T, steps) if kind.startswith("frame") else place_T
        typeset.box(axes, *cell, facecolor=shade(0.06), edgecolor="none")
        width = cell.width / len(place_T)
        for slot, (frame_HWC, place) in enumerate(zip(shown_THWC, shown_T, strict=True)):
            x = cell.x + slot * width
            typeset.picture(axes, frame_HWC, x + 1, cell.y + 2, width - 2, cell.height - 13)
            moved = place != slot and kind == "frame_shuffle"
            colour = NEGATIVE if moved else shade(0.6)
            y = cell.y + cell.height - 3
            typeset.write(axes, x + width / 2, y, str(place + 1), 6.5, ha="center", color=colour)
        _caption(axes, cell, kind, strength, lang)


def _audio_row(axes: Axes, sound_S: np.ndarray, box: Box, lang: Language, seed: int) -> None:
    for (kind, strength), cell in zip(SOUNDS, _cells(box, len(SOUNDS)), strict=True):
        noisy_S = damage_signal(sound_S, _steps(kind, strength, seed))
        tiles.draw_mel(axes, log_mel(noisy_S, tiles.SAMPLE_RATE), cell, -DECIBELS, 0)
        typeset.box(axes, *cell)
        _caption(axes, cell, kind, strength, lang)


def _text_row(axes: Axes, title: str, box: Box, lang: Language, seed: int) -> None:
    height, left = box.height / len(TITLES), 130.0
    for number, (kind, strength) in enumerate(TITLES):
        y = box.y + (number + 0.75) * height
        text = label(kind, lang, n=strength, percent=100 * strength)
        typeset.write(axes, box.x, y, text, 7, color=shade(0.75))
        shown = _changed(kind, title, strength, seed)
        typeset.write(axes, box.x + left, y, typeset.shorten(shown, INNER - left, 8.5), 8.5)


def _table_row(axes: Axes, table: tuple, box: Box, lang: Language, seed: int) -> None:
    for (kind, strength), cell in zip(TABLES, _cells(box, len(TABLES), gap=20), strict=True):
        shown = _changed(kind, table[:PAIRS], strength, seed)
        for row, (pair, clean) in enumerate(zip(shown, table, strict=False)):
            if pair != clean:
                half = 0.45 * cell.width - 4
                place = cell.x + half, cell.y + tiles.ROW * row, cell.width - half, tiles.ROW
                colour = tint(MODALITY_COLOURS["table"], 0.25)
                typeset.box(axes, *place, facecolor=colour, edgecolor="none")
        tiles.draw_table(axes, shown, cell, lang)
        _caption(axes, cell, kind, strength, lang)


def _steps(kind: str, strength: float, seed: int) -> tuple[DamageStep, ...]:
    return () if kind == "clean" else (DamageStep(kind, float(strength), seed),)


def _changed(kind: str, value: str | tuple, strength: float, seed: int) -> str | tuple:
    """Return a title or table pairs after noise."""
    if kind == "clean":
        return value
    return TEXT_DAMAGE[kind](value, strength, np.random.default_rng(seed))


ROWS = {
    "text": (_text_row, "noise_note_text"),
    "table": (_table_row, "noise_note_table"),
    "image": (_image_row, "noise_note_image"),
    "video": (_video_row, "noise_note_video"),
    "audio": (_audio_row, "noise_note_audio"),
}


def _whole(
    axes: Axes, product: Product, other: Product, box: Box, lang: Language, seed: int
) -> None:
    """Draw a mismatched product, and noise on whole modalities of many products."""
    typeset.write(axes, box.x, box.y + 9.5, label("whole_modality", lang), fontweight="bold")
    note = label("noise_note_whole", lang)
    typeset.write(axes, WIDTH - MARGIN, box.y + 9.5, note, 7.5, ha="right", color=shade(0.6))
    top, height = box.y + tiles.HEADER, 84.0
    pair = Box(box.x, top, 128, height)
    tiles.draw_text(axes, product.text or product.id, pair._replace(height=20), lang, size=7)
    picture = Box(pair.x, top + 21, pair.width, height - 21)
    try:
        image = tiles.load(other, "image")
    except MediaError:
        image = None
    if image is None:
        typeset.absent_tile(axes, *picture, label("absent_image", lang))
    else:
        typeset.picture(axes, image, *picture)
        typeset.box(axes, *picture)
    _caption(axes, pair, "mismatched", 0, lang)
    kinds = ("missing", "missing_category", "mismatch")
    noises = [None, *(Noise(kind, "image", share=0.3) for kind in kinds)]
    room = Box(pair.x + pair.width + 18, top, INNER - pair.width - 18, height + CAPTION)
    for noise, cell in zip(noises, _cells(room, len(noises), gap=14), strict=True):
        _crowd(axes, noise, cell, lang, seed)
        _caption(axes, cell, noise.kind if noise else "clean", 0.3, lang)


def _crowd(axes: Axes, noise: Noise | None, box: Box, lang: Language, seed: int) -> None:
    """Draw a row per category and a square per product, coloured by the category of its image."""
    each, categories = CROWD
    source_N = crowd_sources([noise] if noise else [], seed)
    colours = category_colours(categories)
    width, height = box.width / each, box.height / categories
    for row, source in enumerate(source_N.tolist()):
        category, place = divmod(row, each)
        x, y = box.x + place * width, box.y + category * height
        if source < 0:
            style = {"facecolor": shade(0.03), "edgecolor": shade(0.25), "hatch": "//////"}
        else:
            own, full = source == row, colours[source // each]
            colour = mix(full, shade(0.0), 0.35) if own else full
            style = {"facecolor": colour, "edgecolor": "none" if own else shade(1.0)}
        typeset.box(axes, x + 1, y + 1, width - 2, height - 2, **style)


def crowd_sources(noises: Sequence[Noise], seed: int) -> np.ndarray:
    """Return source_N: the product whose image each synthetic product has after noise, or -1."""
    each, categories = CROWD
    products = tuple(
        Product(id=f"{row}", category=f"{row // each}") for row in range(each * categories)
    )
    content_id_NM = np.full((len(products), len(MODALITIES)), -1, np.int64)
    content_id_NM[:, [INDEX["text"], INDEX["image"]]] = np.arange(len(products))[:, None]
    crowd = synthetic_dataset(products, content_id_NM)
    return apply_noise(crowd, noises, seed).dataset.content_id_NM[:, INDEX["image"]]


def synthetic_dataset(products: tuple[Product, ...], content_id_NM: np.ndarray) -> ProductDataset:
    """Return products without content, only with its ids (-1: missing), for kinds of noise."""
    return ProductDataset(products, FeatureConfig(), None, Normaliser({}, {}), {}, content_id_NM)


@figure("noise")
def draw_noise(sources: Sources, lang: Language) -> Figure:
    """Draw the most complete test product, mismatched with the first other image."""
    products, row = sources.test.products, most_complete(sources.test)
    other = next(p for k, p in enumerate(products) if k != row and p.image is not None)
    return noise_sheet(products[row], other, lang, sources.seed)


@drawn
def agreement_histogram(
    agreement_N: np.ndarray, right_N: np.ndarray, lang: Language = LANG
) -> Figure:
    """Draw the agreement of right and of wrong contents, and the estimated probability of a right
    one (`training.cross_fit.right_probability`), which does not use the truth.

    Args:
        agreement_N: percentiles, or their means, in [0, 1]; NaN is left out.
        right_N: whether each content is right.
    """
    known_N = ~np.isnan(agreement_N)
    agreement_N, right_N = agreement_N[known_N], right_N[known_N]
    figure = new_figure(5.2, 2.6)
    axes = figure.add_subplot()
    good, bad = category_colours(2)
    sides = {"agreement_right": (right_N, good), "agreement_wrong": (~right_N, bad)}
    axes.hist(
        [agreement_N[chosen_N] for chosen_N, _ in sides.values()], np.linspace(0, 1, 21),
        stacked=True, color=[colour for _, colour in sides.values()],
        label=[label(key, lang) for key in sides],
    )  # fmt: skip
    axes.set(xlabel=label("agreement", lang), ylabel=label("agreement_count", lang), xlim=(0, 1))
    order_N = np.argsort(agreement_N)
    right = right_probability(torch.from_numpy(agreement_N)).numpy()
    beside = axes.twinx()
    beside.plot(agreement_N[order_N], right[order_N], color=shade(0.8),
                label=label("agreement_probability", lang))  # fmt: skip
    beside.set(ylim=(0, 1.05), ylabel=label("agreement_probability", lang))
    beside.grid(visible=False)
    axes.legend(loc="upper left")
    return figure
