"""The framework on one page: a real product, five encoders, S and S', the JCT, heads, losses.

`scale slides` draws the same scenes as native shapes. Lengths are points of a slide
(viz/scene.py). D width, L tokens, M modalities (five).
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageOps

from scale.config import ModelConfig, base
from scale.data.dataset import ProductDataset
from scale.data.media import MediaError
from scale.data.product import Product
from scale.modalities import MODALITIES, SPECS
from scale.model.scale import ScaleModel
from scale.model.scores import inter_modality_scores
from scale.training.run import TrainedRun
from scale.viz import scene, tiles, typeset
from scale.viz.registry import Sources, figure, most_complete
from scale.viz.scene import Block, Line, Photo, Scene, Shape, fit
from scale.viz.theme import MODALITY_COLOURS, drawn, mix, on_slide, shade, tint
from scale.viz.tiles import Box
from scale.viz.words import LANG, Language, label

COUNT = len(MODALITIES)
WIDTH, HEIGHT = 873.0, 372.0
"""The area below the title of a slide."""
INPUT, ENCODER, CLS, TOKEN, JCT, HEAD = 0.0, 207.0, 358.0, 422.0, 528.0, 736.0
"""Left edges of the columns."""
INPUT_WIDTH, ENCODER_WIDTH, CLS_WIDTH, JCT_WIDTH = 185.0, 130.0, 54.0, 182.0
HEAD_WIDTH = WIDTH - HEAD
ROWS = {"text": 41.0, "table": 44.0, "image": 62.0, "video": 48.0, "audio": 42.0}
"""Heights of the inputs."""
GAP, FLAT = 5.0, 41.0
"""Distance of the rows; height of encoders and heads."""
BAND = 264.0
"""Top of the area of scores and losses."""
CELL, SMALLEST = 16.0, 14.0
TITLE = 30.0
"""Height of a title above the scene."""


def framework_scene(
    product: Product | None = None,
    scores_MM: NDArray | None = None,
    config: ModelConfig | None = None,
    lang: Language = LANG,
) -> Scene:
    """Return the framework in the active style.

    Args:
        product: shown at the inputs; None: the inputs are the names of the modalities.
        scores_MM: S of the product, (M, M); None: all cells off the diagonal are equal.
        config: sizes to write; None: none.
    """
    tops = np.cumsum([0.0, *(height + GAP for height in ROWS.values())])
    middles = [top + height / 2 for top, height in zip(tops, ROWS.values(), strict=False)]
    shapes: list[Shape] = []
    for modality, top, middle in zip(MODALITIES, tops, middles, strict=False):
        box = Box(INPUT, top, INPUT_WIDTH, ROWS[modality])
        shapes += _input(product, modality, box, config, lang)
        shapes += _row(modality, middle, config, lang)
    rows_end = tops[-1] - GAP
    shapes += _joint(middles, rows_end, config, lang)
    shapes += _bus(rows_end)
    if scores_MM is None:
        scores_MM = np.where(np.eye(COUNT), 1.0, 0.4)
    shapes += _scores(np.asarray(scores_MM), lang)
    return Scene(tuple(shapes), WIDTH, HEIGHT)


def dark(colour: str) -> str:
    """Return a colour on which white text has a contrast of at least 4.5."""
    return mix(colour, "#000000", 0.28)


def _row(modality: str, middle: float, config: ModelConfig | None, lang: Language) -> list[Shape]:
    """Return encoder, tokens and head of a modality, with the arrows between them."""
    colour, spec = MODALITY_COLOURS[modality], SPECS[modality]
    box = Box(ENCODER, middle - FLAT / 2, ENCODER_WIDTH, FLAT)
    name = label(f"encoder_{modality}", lang)
    lines = (name, label("hero_layers", lang, n=config.encoder_layers)) if config else (name,)
    encoder = Block(box, lines, 16, shade(1), 1, face=tint(colour, 0.3), edge=colour, radius=6,
                    name=name)  # fmt: skip
    cls = Block(Box(CLS, middle - 12, CLS_WIDTH, 24), ("[CLS]",), 15, "#FFFFFF", 1,
                face=dark(colour), radius=3, name=f"[CLS] {modality}")  # fmt: skip
    hidden = label(f"target_{modality}", lang)
    if config:
        continuous = config.continuous(modality)
        size = config.feature_size(modality) if continuous else config.vocab_size
        hidden = label("hero_vectors" if continuous else "hero_logits", lang, size=size)
    box = Box(HEAD + 8, middle - FLAT / 2, HEAD_WIDTH - 16, FLAT)
    head = Block(box, (spec.task, hidden), 16, shade(1), 1, face=tint(colour, 0.3), edge=colour,
                 radius=6, name=spec.task)  # fmt: skip
    # A drawing for slides has text of at least 14 points; sizes may need less.
    least = 8.0 if config and not on_slide() else SMALLEST
    return [
        _arrow((INPUT + INPUT_WIDTH + 2, middle), (ENCODER - 2, middle), colour),
        _fit_lines(encoder, least),
        _arrow((ENCODER + ENCODER_WIDTH + 2, middle), (CLS - 8, middle), colour),
        fit(cls, margin=2),
        *_tokens(modality, middle, config, colour),
        _arrow((JCT - 22, middle), (JCT - 2, middle), colour),
        _arrow((JCT + JCT_WIDTH + 2, middle), (HEAD - 2, middle), colour),
        _fit_lines(head, least),
    ]


def _fit_lines(block: Block, least: float) -> Block:
    """Return the block with as many of its lines, from the first, as fit at `least` points."""
    try:
        return fit(block, least)
    except ValueError:
        if len(block.lines) == 1:
            raise
        return _fit_lines(replace(block, lines=block.lines[:-1]), least)


def _arrow(start: tuple[float, float], end: tuple[float, float], colour: str) -> Line:
    return Line((start, end), colour, 2.0)


def _tokens(
    modality: str, middle: float, config: ModelConfig | None, colour: str
) -> Iterator[Shape]:
    """Yield squares for tokens, one of them hidden, and the number of tokens."""
    side, high, step = 14.0, 22.0, 17.0
    shown = (2 if on_slide() else 3) if config else 4
    for place in range(shown):
        box = Box(TOKEN + place * step, middle - high / 2, side, high)
        if place == 1:
            yield Block(box, ("?",), 14, shade(1), 1, face=shade(0), edge=colour, dashed=True,
                        width=1.2, name=f"hidden token {modality}")  # fmt: skip
        else:
            yield Block(
                box, face=tint(colour, 0.45), edge=colour, width=1, name=f"token {modality}"
            )
    if config:
        left = TOKEN + shown * step - 1
        box = Box(left, middle - high / 2, JCT - 22 - left, high)
        text = f"×{token_count(config, modality)}"
        count = Block(box, (text,), 14, shade(0.85), align="left", name="number of tokens")
        yield fit(count, 8, margin=0)


def token_count(config: ModelConfig, modality: str) -> int:
    """Return the maximum number of tokens of a modality in the JCT, including [CLS]."""
    # The configured length includes [CLS] for word pieces only.
    return config.length(modality) + config.continuous(modality)


def _joint(
    middles: list[float], end: float, config: ModelConfig | None, lang: Language
) -> Iterator[Shape]:
    """Yield the JCT: lines from each modality to each other, and its name on them."""
    box = Box(JCT, 0, JCT_WIDTH, end)
    yield Block(box, face=shade(0.06), edge=shade(0.55), radius=8, name="JCT")
    for start, colour in zip(middles, MODALITY_COLOURS.values(), strict=True):
        for stop in middles:
            ends = ((JCT + 8, start), (JCT + JCT_WIDTH - 8, stop))
            yield Line(ends, tint(colour, 0.55), 1.2, head=False, name="attention")
    lines = label("hero_jct", lang).split("\n")
    names = len(lines)
    if config:
        tokens = sum(token_count(config, m) for m in MODALITIES)
        sizes = {"tokens": tokens, "layers": config.jct_layers, "width": config.width}
        lines += label("hero_jct_sizes", lang, **sizes).split("\n")
    plate = Box(JCT + 14, 0, JCT_WIDTH - 28, end)
    name = Block(plate, tuple(lines), 17, shade(1), names, face=shade(0.06), name="JCT name")
    name = _fit_lines(name, 8.0 if config and not on_slide() else SMALLEST)
    high = scene.LINE * name.size * len(name.lines) + 6
    yield replace(name, box=Box(plate.x, (end - high) / 2, plate.width, high), radius=6)


def _bus(end: float) -> Iterator[Shape]:
    """Yield the frames of the [CLS] features and of the heads."""
    for x, width, name in ((CLS - 6, CLS_WIDTH + 12, "features"), (HEAD, HEAD_WIDTH, "heads")):
        box = Box(x, -3, width, end + 6)
        yield Block(box, edge=shade(0.6), radius=8, dashed=True, width=1.4, name=name)


def _scores(scores_MM: NDArray, lang: Language) -> Iterator[Shape]:
    """Yield S, S', both kinds of loss and the arrows between them."""
    grey, ink, side = shade(0.6), shade(1), COUNT * CELL
    middle, top = CLS + CLS_WIDTH / 2, HEIGHT - side - 1
    centre = top + side / 2
    S, weights = Box(middle - side / 2, top, side, side), Box(532, top, side, side)
    shares_MM = np.exp(scores_MM) / np.exp(scores_MM).sum(1, keepdims=True)
    yield from _matrix(S, scores_MM, roles=False)
    yield from _matrix(weights, scores_MM * shares_MM, roles=True)
    yield Block(Box(middle + 10, top - 25, 30, 20), ("S",), 18, ink, 1, "left", name="S")
    yield Block(Box(weights.x, top - 25, side, 20), ("S′",), 18, ink, 1, name="S'")
    start, end = S.x + side + 5, weights.x - 10
    yield _arrow((start, centre), (end, centre), grey)
    softmax = Box(start, centre - 21, end - start, 20)
    yield fit(Block(softmax, ("· softmax(S)",), 15, ink, name="softmax"), margin=-4)
    contrast = Box(650, top + 2, 114, 42)
    masked = Box(HEAD + 46, top + 2, HEAD_WIDTH - 46, 42)
    for box, key in ((contrast, "hero_contrastive"), (masked, "hero_masked")):
        lines = tuple(label(key, lang).split("\n"))
        yield fit(Block(box, lines, 16, ink, 2, face=shade(0.08), edge=grey, radius=6, name=key))
    # The features enter S and the contrastive losses, the predictions the masked losses.
    yield _arrow((middle, BAND - 3), (middle, top - 8), grey)
    over = contrast.x + contrast.width / 2
    yield Line(((middle, BAND + 1), (over, BAND + 1), (over, contrast.y - 2)), grey)
    under = masked.x + masked.width / 2
    yield _arrow((under, BAND - 3), (under, masked.y - 2), grey)
    right, strong = weights.x + side, shade(0.85)
    y = contrast.y + contrast.height / 2
    yield Line(((right + 4, y), (contrast.x - 2, y)), strong, 2.6, name="S'_ij")
    yield Block(Box(right + 2, y - 26, contrast.x - right - 6, 20), ("S′_{ij}",), 15, ink)
    y = top + side - 8
    corner = (masked.x + masked.width / 2, y)
    yield Line(((right + 4, y), corner, (corner[0], masked.y + masked.height + 2)), strong, 2.6,
               name="S'_ii")  # fmt: skip
    yield Block(Box(contrast.x, y - 25, contrast.width, 20), ("S′_{ii}",), 15, ink)
    lines = tuple(label("hero_note", lang).split("\n"))
    note = Box(INPUT, top - 4, S.x - 16, side + 4)
    yield fit(Block(note, lines, 16, shade(0.85), align="left", name="note"), margin=0)


def _matrix(box: Box, values_MM: NDArray, roles: bool) -> Iterator[Shape]:
    """Yield the cells of a matrix, with the colours of the modalities along two edges.

    Args:
        roles: the diagonal in the modalities' colours, the lower triangle pale.
    """
    largest = max(np.abs(values_MM[np.triu_indices(COUNT, 1)]).max(), 1e-6)
    for i, j in np.ndindex(COUNT, COUNT):
        cell = Box(box.x + j * CELL, box.y + i * CELL, CELL, CELL)
        if i == j:
            face = MODALITY_COLOURS[MODALITIES[i]] if roles else shade(0.85)
        else:
            share = max(values_MM[i, j], 0) / largest
            face = shade(0.12 + 0.5 * share)
            if roles and i > j:
                face = shade(0.04)
        yield Block(
            cell, face=face, edge=shade(0), width=1, name=f"{MODALITIES[i]} {MODALITIES[j]}"
        )
    for k, colour in enumerate(MODALITY_COLOURS.values()):
        yield Block(Box(box.x + k * CELL + 3, box.y - 6, CELL - 6, 4), face=colour, name="column")
        yield Block(Box(box.x - 6, box.y + k * CELL + 3, 4, CELL - 6), face=colour, name="row")


def _input(
    product: Product | None, modality: str, box: Box, config: ModelConfig | None, lang: Language
) -> Iterator[Shape]:
    """Yield the content of a modality, or its name if there is no product or no content."""
    try:
        content = tiles.load(product, modality, frames=5, large=True) if product else None
    except MediaError:
        content = None
    if content is None:
        colour = MODALITY_COLOURS[modality]
        words = label(modality if product is None else f"absent_{modality}", lang)
        yield fit(Block(box, (words,), 16, shade(1), face=tint(colour, 0.12), edge=colour,
                        dashed=product is not None, radius=4))  # fmt: skip
        return
    if modality == "text" and lang == "zh":
        content = product.extra.get("title_zh") or content
    yield from _CONTENT[modality](content, box, lang)


def _title(title: str, box: Box, lang: Language) -> Iterator[Shape]:
    frame = {"face": shade(0), "edge": MODALITY_COLOURS["text"], "radius": 3, "width": 1.2}
    yield Block(box, **frame, name="title")
    inner = Box(box.x + 8, box.y, box.width - 12, box.height)
    lines = tuple(typeset.wrap(title, inner.width, 14, 2))
    yield Block(inner, lines, 14, shade(1), align="left", name="title")


def _table(pairs: tuple[tuple[str, str], ...], box: Box, lang: Language) -> Iterator[Shape]:
    colour, high, shown = MODALITY_COLOURS["table"], box.height / 2, pairs[:2]
    yield Block(box, face=shade(0), edge=colour, width=1.2, name="table")
    widest = max((typeset.text_width(name, 14) for name, _ in shown), default=0.0)
    split = min(widest + 16, 0.5 * box.width)
    for row, (name, value) in enumerate(shown):
        y = box.y + row * high
        if row:
            yield Line(((box.x, y), (box.x + box.width, y)), tint(colour, 0.6), 1, head=False)
        for text, x, width, grey in (
            (name, box.x + 7, split - 9, 0.65),
            (value, box.x + split, box.width - split - 4, 1),
        ):
            line = typeset.shorten(text, width, 14)
            yield Block(Box(x, y, width, high), (line,), 14, shade(grey), align="left", name="pair")


PIXELS = 256
"""Side of the picture; frames and the spectrogram have half of it."""


def _image(image: Image.Image, box: Box, lang: Language) -> Iterator[Shape]:
    colour, side = MODALITY_COLOURS["image"], box.height
    yield Block(box, face=tint(colour, 0.12), edge=colour, width=1.2, radius=3, name="image")
    photo = ImageOps.fit(image.convert("RGB"), (PIXELS, PIXELS), Image.Resampling.LANCZOS)
    place = Box(box.x + (box.width - side) / 2 + 1, box.y + 1, side - 2, side - 2)
    yield Photo(photo, place, "image")


def _film(frames_THWC: NDArray, box: Box, lang: Language) -> Iterator[Shape]:
    yield Block(box, face="#20252D", radius=2, name="film")
    count, edge = len(frames_THWC), 8.0
    pitch, side = box.width / count, box.height - 2 * edge
    for k, frame_HWC in enumerate(frames_THWC):
        for hole in range(3):
            x = box.x + (k + (hole + 0.28) / 3) * pitch
            for y in (box.y + 2.2, box.y + box.height - 5.8):
                yield Block(Box(x, y, 0.15 * pitch, 3.6), face="#C9CED6", name="hole")
        image = Image.fromarray(frame_HWC)
        image = ImageOps.fit(image, (PIXELS // 2, PIXELS // 2), Image.Resampling.LANCZOS)
        left = box.x + k * pitch + (pitch - side) / 2
        yield Photo(image, Box(left, box.y + edge, side, side), "frame")


def _sound(wave_T: NDArray, box: Box, lang: Language) -> Iterator[Shape]:
    image = tiles.spectrogram_image(wave_T)
    yield Photo(
        image.resize((round(PIXELS * box.width / box.height / 2), PIXELS // 2)), box, "sound"
    )


_CONTENT = {"text": _title, "table": _table, "image": _image, "video": _film, "audio": _sound}


MARGIN = 8.0
"""Around a scene, in points of the `paper` style."""


@drawn
def framework(
    product: Product | None = None, scores_MM: NDArray | None = None, lang: Language = LANG
) -> Figure:
    """Draw the framework on one page: inputs, encoders, S and S', JCT, heads, losses (figure 4).

    Args:
        product: shown at the inputs; None: the inputs are the names of the modalities.
        scores_MM: S of the product, (M, M); None: all cells off the diagonal are equal.
    """
    return scene.paint(framework_scene(product, scores_MM, lang=lang), MARGIN)[0]


@drawn
def architecture(
    config: ModelConfig,
    parameters: int,
    preset: str,
    lang: Language = LANG,
    product: Product | None = None,
    scores_MM: NDArray | None = None,
) -> Figure:
    """Draw the framework with the sizes of a model.

    Args:
        config: source of all sizes in the figure.
        parameters: parameter count of the model, for the title.
        preset: name of the model, for the title.
        product, scores_MM: as in `framework`.
    """
    page = framework_scene(product, scores_MM, config, lang)
    drawing, axes = scene.paint(page, MARGIN, TITLE)
    title = label("arch_title", lang, preset=preset, millions=parameters / 1e6)
    if not on_slide():
        typeset.write(axes, MARGIN, 20, title, 14, fontweight="bold")
    return drawing


@drawn
def framework_compact(lang: Language = LANG) -> Figure:
    """Draw the framework for the corner of a page: no inputs, few words."""
    return scene.paint(compact_scene(lang), MARGIN / 2)[0]


def compact_scene(lang: Language = LANG) -> Scene:
    """Return the framework without inputs, for the corner of a slide, in the active style."""
    grey, ink, pitch, high = shade(0.6), shade(1), 16.0, 12.0
    end = COUNT * pitch - (pitch - high)
    shapes: list[Shape] = []
    for row, (modality, colour) in enumerate(MODALITY_COLOURS.items()):
        y, middle = row * pitch, row * pitch + high / 2
        look = {"face": tint(colour, 0.35), "edge": colour, "width": 1.0, "radius": 3}
        shapes += [
            Block(Box(0, y, 58, high), **look, name=f"encoder {modality}"),
            Line(((60, middle), (74, middle)), colour, 1.2),
            Block(Box(78, y, high, high), face=dark(colour), name=f"[CLS] {modality}"),
            *(Block(Box(x, y, 8, high), face=tint(colour, 0.45), name=f"token {modality}")
              for x in (97, 108, 119)),
            Line(((131, middle), (145, middle)), colour, 1.2),
            Line(((207, middle), (221, middle)), colour, 1.2),
            Block(Box(223, y, 50, high), **look, name=SPECS[modality].task),
        ]  # fmt: skip
    joint = Box(147, -2, 58, end + 4)
    top = end + 22
    matrix = Box(84 - 2.5 * SMALL_CELL, top, COUNT * SMALL_CELL, COUNT * SMALL_CELL)
    middle, masked = matrix.y + 12, Box(223, top, 50, 24)
    contrast = Box(157, top, 50, 24)
    right, low = matrix.x + matrix.width, matrix.y + matrix.height - 5
    shapes += [
        Block(joint, ("JCT",), 16, ink, 1, face=shade(0.06), edge=grey, radius=6, name="JCT"),
        Block(Box(74, -4, 20, end + 8), edge=grey, radius=5, dashed=True, width=1, name="features"),
        Line(((84, end + 5), (84, top - 2)), grey, 1.4, name="cosines"),
        *_compact_matrix(matrix),
        Block(Box(matrix.x - 32, top, 28, matrix.height), ("S′",), 18, ink, 1, name="S'"),
        Block(
            contrast, ("L_{CL}",), 15, ink, 1, face=shade(0.08), edge=grey, radius=5, name="L_CL"
        ),
        Block(masked, ("L_{M}",), 15, ink, 1, face=shade(0.08), edge=grey, radius=5, name="L_M"),
        Line(((248, end + 4), (248, top - 2)), grey, 1.4, name="predictions"),
        Line(((right + 3, middle), (contrast.x - 2, middle)), shade(0.85), 1.8, name="S'_ij"),
        Line(((right + 3, low), (248, low), (248, masked.y + 26)), shade(0.85), 1.8, name="S'_ii"),
    ]
    return Scene(tuple(shapes), 273, matrix.y + matrix.height)


SMALL_CELL = 9.0
HEADS = tuple(spec.task for spec in SPECS.values())
PARTS: dict[str, tuple[str, ...]] = {
    "contrast": ("[CLS]", "features", "L_CL"),
    "masked": ("token", *HEADS, "predictions", "L_M"),
    "heads": ("token", "JCT", *HEADS),
    "scores": ("[CLS]", "features", "cosines", "S' "),
    "weights": ("S'", "L_CL", "L_M"),
    "losses": ("L_CL", "L_M"),
}
"""Beginnings of the names of the shapes by part of the compact framework."""


def position_scene(part: str) -> Scene:
    """Return the compact framework without words, all but one part in grey.

    Args:
        part: a key of PARTS.
    """
    compact = compact_scene()
    shapes = (_marked(shape, shape.name.startswith(PARTS[part])) for shape in compact.shapes)
    return replace(compact, shapes=tuple(shapes))


def _marked(shape: Block | Line, here: bool) -> Block | Line:
    """Return the shape without its text: dark or in its colours if it is `here`, else pale."""
    if isinstance(shape, Line):
        return replace(shape, colour=shade(0.85 if here else 0.2), head=False)
    written, colours = bool(shape.lines), set(MODALITY_COLOURS.values())
    face = shape.face and (shade(0.8) if written and shape.face else shape.face)
    if not here:
        face = face and shade(0.08)
    elif shape.edge in colours:
        face = shape.edge
    return replace(shape, lines=(), face=face, edge=shape.edge and shade(0.8 if here else 0.2))


def _compact_matrix(box: Box) -> Iterator[Shape]:
    for i, j in np.ndindex(COUNT, COUNT):
        place = Box(box.x + j * SMALL_CELL, box.y + i * SMALL_CELL, SMALL_CELL, SMALL_CELL)
        face = MODALITY_COLOURS[MODALITIES[i]] if i == j else shade(0.45 if i < j else 0.04)
        yield Block(place, face=face, edge=shade(0), width=0.8, name=f"S' {i + 1} {j + 1}")


def shown_scores(run: TrainedRun, data: ProductDataset, row: int) -> NDArray:
    """Return S of one product, (M, M)."""
    with torch.no_grad():
        output = run.model.embed(data.collate([row]))
    return inter_modality_scores(output.pooled_BMD, output.present_BM).cosine_BMM[0].numpy()


def product_scene(sources: Sources, lang: Language) -> Scene:
    """Return the framework with the most complete product of the test split."""
    product, scores_MM = _shown(sources)
    return framework_scene(product, scores_MM, lang=lang)


def _shown(sources: Sources) -> tuple[Product, NDArray]:
    row = most_complete(sources.test)
    return sources.test.products[row], shown_scores(sources.run, sources.test, row)


@figure("framework")
def draw_framework(sources: Sources, lang: Language) -> Figure:
    """Draw the framework with the most complete product of the test split."""
    return framework(*_shown(sources), lang)


figure("framework_compact")(framework_compact)


@figure("architecture")
def draw_architecture(sources: Sources, lang: Language) -> Figure:
    """Draw the framework with the sizes of the run's model."""
    parameters = sum(p.numel() for p in sources.run.model.parameters())
    name = sources.run.folder.folder.name
    return architecture(sources.run.config.model, parameters, name, lang, *_shown(sources))


@figure("architecture_base")
def draw_architecture_base(sources: Sources, lang: Language) -> Figure:
    """Draw the framework with the paper's sizes; parameters are counted on the meta device."""
    config = base()
    with torch.device("meta"):
        model = ScaleModel(config.model, config.missing)
    parameters = sum(p.numel() for p in model.parameters())
    return architecture(config.model, parameters, "base", lang, *_shown(sources))
