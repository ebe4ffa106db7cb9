"""Masked words and entities: fates of word pieces, predictions, attributes (notebooks 05, 06).

L word pieces. Figures of word pieces are drawn in points from the top left corner of a page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from scale.config import MaskConfig, require
from scale.data.dataset import ProductDataset
from scale.data.product import Product, View
from scale.evaluation.bootstrap import NOTHING as NO_ESTIMATE
from scale.evaluation.bootstrap import Estimate
from scale.losses.masking import WordPieces, mask_batch
from scale.modalities import MODALITIES
from scale.model.scale import ScaleModel
from scale.studies.context import (
    EVERYTHING,
    NOTHING,
    Context,
    default_contexts,
    gains,
    in_context,
    predict,
)
from scale.studies.masked_probe import (
    mask_entities,
    mask_words,
    require_pieces,
    score_masked,
    top_tokens,
)
from scale.studies.masked_training import (
    RECORD_ATTRIBUTES,
    complete_rows,
    fine_tune_on_tables,
    fine_tune_on_words,
    prepend_label,
    with_record_tables,
)
from scale.viz import typeset
from scale.viz.charts import colour_ticks, framed, heatmap
from scale.viz.products import thumbnail
from scale.viz.registry import Sources, figure, shared
from scale.viz.theme import (
    HIT,
    MODALITY_COLOURS,
    NEGATIVE,
    POSITIVE,
    diverging,
    drawn,
    new_figure,
    on_slide,
    place,
    points,
    shade,
    text_on,
    tint,
)
from scale.viz.tiles import Box
from scale.viz.words import LANG, Language, label

Fate = Literal["plain", "structure", "mask", "random", "kept"]
"""Fate of a word piece; the last three are chosen for prediction."""
Pieces = Sequence[tuple[str, Fate]]
"""Word pieces of a sequence as the model reads them."""
Guess = tuple[str, float]
"""A word piece and its probability."""

WIDTH, MARGIN, PIECE_HEIGHT, SIZE = 640.0, 16.0, 19.0, 9.0
"""Width and margin of the page; height of the box of a piece; size of its text."""


def fates(
    tokenizer: PreTrainedTokenizerBase, clean_L: Tensor, shown_L: Tensor, hidden_L: Tensor
) -> list[tuple[str, Fate]]:
    """Return the pieces that the model reads, with the fate of each; padding is skipped.

    Args:
        clean_L, shown_L: ids before and after masking.
        hidden_L: True at positions to predict.
    """
    fixed = {*tokenizer.all_special_ids, *tokenizer.convert_tokens_to_ids([":", ";"])}
    found = []
    columns = (column_L.tolist() for column_L in (clean_L, shown_L, hidden_L))
    for clean, shown, hidden in zip(*columns, strict=True):
        if clean == tokenizer.pad_token_id:
            continue
        fate: Fate = "structure" if clean in fixed else "plain"
        if hidden:
            changed = "mask" if shown == tokenizer.mask_token_id else "random"
            fate = "kept" if shown == clean else changed
        found.append((tokenizer.convert_ids_to_tokens(shown), fate))
    return found


@drawn
def piece_rows(
    title: str,
    rows: Sequence[tuple[str, Pieces]],
    note: str,
    lang: Language = LANG,
) -> Figure:
    """Draw rows of a name and word pieces in boxes coloured by fate.

    A piece is written as the model reads it: `[MASK]`, the random piece, or the kept piece.
    """
    width = place()[0] if on_slide() else WIDTH
    laid = [(name, _piece_lines(pieces, width - 2 * MARGIN)) for name, pieces in rows]
    top, below = 58.0, typeset.wrap(note, width - 2 * MARGIN, 8, 4)
    if on_slide():
        # Two lines a row are enough for the idea; title and caption have the rest.
        laid, top, below = [(name, _first_lines(lines)) for name, lines in laid], 26.0, []
    above, between = (16, 2) if on_slide() else (20, 8)
    heights = [above + (PIECE_HEIGHT + 5) * len(lines) + between for _, lines in laid]
    high = place()[1] if on_slide() else top + sum(heights) + 12 * len(below) + 6
    figure, axes = typeset.page(width, high)
    if not on_slide():
        typeset.write(axes, MARGIN, 24, title, 11, fontweight="bold")
    shown = {fate for _, pieces in rows for _, fate in pieces}
    _fate_key(axes, MARGIN, top - 16, shown, lang, 9 if on_slide() else 8)
    y = top
    for (name, lines), height in zip(laid, heights, strict=True):
        typeset.write(axes, MARGIN, y + above - 7, name, SIZE, fontweight="bold", color=shade(0.75))
        for number, line in enumerate(lines):
            _piece_line(axes, line, y + above + number * (PIECE_HEIGHT + 5))
        y += height
    typeset.write_lines(axes, MARGIN, y + 8, below, 8, 12, color=shade(0.7))
    return figure


def word_fates(draws: Sequence[Pieces], lang: Language = LANG) -> Figure:
    """Draw a title masked several times by the 80/10/10 rule."""
    rows = [(label("masking_draw", lang, n=n), pieces) for n, pieces in enumerate(draws, start=1)]
    return piece_rows(label("masking_title", lang), rows, label("masking_note", lang), lang)


def masking_schemes(
    pieces: Pieces, values: Pieces, attribute: Pieces, lang: Language = LANG
) -> Figure:
    """Draw a table with single pieces, whole values and a whole attribute masked."""
    rows = [
        (label("whole_pieces", lang), pieces),
        (label("whole_value", lang), values),
        (label("whole_attribute", lang), attribute),
    ]
    return piece_rows(label("whole_title", lang), rows, label("whole_note", lang), lang)


def _piece_lines(pieces: Pieces, width: float) -> list[list[tuple[str, Fate]]]:
    """Break pieces into lines; a box is 10 points wider than its text, 4 points apart."""
    lines: list[list[tuple[str, Fate]]] = [[]]
    x = 0.0
    for piece in pieces:
        needed = typeset.text_width(piece[0], SIZE) + 14
        if x + needed > width and lines[-1]:
            lines.append([])
            x = 0.0
        lines[-1].append(piece)
        x += needed
    return lines


def _first_lines(lines: list[list[tuple[str, Fate]]]) -> list[list[tuple[str, Fate]]]:
    """Return the first two lines; if more follow, an ellipsis is the last box."""
    if len(lines) <= 2:
        return lines
    return [lines[0], [*lines[1][:-1], ("…", lines[1][-1][1])]]


def _piece_line(axes: Axes, line: Pieces, y: float) -> None:
    x = MARGIN
    for text, fate in line:
        width = typeset.text_width(text, SIZE) + 10
        style = {"facecolor": _fate_colour(fate), "edgecolor": shade(0.25)}
        if fate in ("mask", "random", "kept"):
            style |= {"edgecolor": shade(0.8), "linewidth": points(1.2)}
        typeset.box(axes, x, y, width, PIECE_HEIGHT, **style)
        ink = shade(0.5) if fate == "structure" else text_on(_fate_colour(fate))
        typeset.write(axes, x + 5, y + 13, text, SIZE, color=ink)
        x += width + 4


def _fate_colour(fate: Fate) -> str:
    return {
        "plain": tint(MODALITY_COLOURS["text"], 0.06),
        "structure": shade(0.0),
        "mask": POSITIVE,
        "random": NEGATIVE,
        "kept": HIT,
    }[fate]


def _fate_key(axes: Axes, x: float, y: float, shown: set[str], lang: Language, size: float) -> None:
    for fate in ("mask", "random", "kept"):
        if fate in shown:
            name, colour = label(f"fate_{fate}", lang), _fate_colour(fate)
            typeset.box(axes, x, y - 8, 10, 10, facecolor=colour, edgecolor=shade(0.8))
            typeset.write(axes, x + 15, y + 0.5, name, size)
            x += 15 + typeset.text_width(name, size) + 18


def condition(shown: str, lang: Language = LANG) -> str:
    """Return the name of a panel of `top_predictions`.

    Args:
        shown: `title`, `picture` (and title), `nothing`, or the modality shown beside a masked
            table. Raises KeyError for anything else.
    """
    if shown in MODALITIES:
        return label("guess_only", lang, modality=label(shown, lang))
    names = {"title": "guess_title", "picture": "guess_picture", "nothing": "guess_nothing"}
    return label(names[shown], lang)


def blank_value(attribute: str, lang: Language = LANG) -> str:
    """Return the question for a masked value."""
    return label("guess_blank", lang, attribute=attribute)


@drawn
def top_predictions(
    product: View,
    question: str,
    guesses: Mapping[str, Sequence[Guess]],
    answer: str,
    lang: Language = LANG,
    shows: str = "image",
) -> Figure:
    """Draw the most probable words for a masked position, a panel per condition, one scale.

    The correct word is green with a tick mark; the note says so if it is not among them.

    Args:
        question: title or pair with a blank.
        guesses: predictions by name of the condition, most probable first.
        answer: the original word.
        shows: modality of the product that is drawn beside the bars.

    Raises:
        ValueError: there are no predictions.
    """
    require(bool(guesses), "no guess to draw")
    figure = new_figure(2.2 + 2.35 * len(guesses), 2.75)
    widths = [1.35, *[2.0] * len(guesses)]
    card, *panels = figure.subplots(1, 1 + len(guesses), width_ratios=widths)
    card.set_axis_off()
    card.set(xlim=(0, 100), ylim=(100, 0), aspect="equal")
    thumbnail(card, product, Box(0, 0, 100, 100), lang, (shows,))
    most = max(p for found in guesses.values() for _, p in found)
    for axes, (name, found) in zip(panels, guesses.items(), strict=True):
        _guess_bars(axes, found, answer, most)
        axes.set_title(name)
        axes.set_xlabel(label("guess_probability", lang), fontsize=points(8))
    found = any(word == answer for guess in guesses.values() for word, _ in guess)
    note = label("guess_note" if found else "guess_note_missed", lang, answer=answer)
    return framed(figure, question, note)


def _guess_bars(axes: Axes, found: Sequence[Guess], answer: str, most: float) -> None:
    right = [word == answer for word, _ in found]
    colours = [HIT if hit else shade(0.35) for hit in right]
    bars = axes.barh(range(len(found)), [p for _, p in found], height=0.66, color=colours)
    axes.bar_label(bars, fmt="{:.2f}", padding=3, fontsize=points(8))
    names = [f"✓ {word}" if hit else word for hit, (word, _) in zip(right, found, strict=True)]
    axes.set_yticks(range(len(found)), names)
    for text, hit in zip(axes.get_yticklabels(), right, strict=True):
        text.set(fontweight="bold" if hit else "normal", color=HIT if hit else shade(0.9))
    axes.set(xlim=(0, 1.24 * most), ylim=(len(found) - 0.4, -0.6))
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=4)


Gains = Mapping[str, Mapping[str, Estimate]]
"""Gains by attribute and by the modality shown."""


@drawn
def attribute_matrix(panels: Mapping[str, Gains], lang: Language = LANG, note: str = "") -> Figure:
    """Draw matrices of gains, attributes in rows and shown modalities in columns.

    The 95 % interval is written below each gain. A cell is coloured and bold only if the interval
    excludes 0. All panels share one colour scale.

    Args:
        panels: by title, gains by attribute and by modality (or any other name); cells without a
            gain stay empty.
        note: an additional sentence below.

    Raises:
        ValueError: there are no gains.
    """
    require(any(panels.values()), "no gain of an attribute to draw")
    columns = {t: _gain_columns(rows) for t, rows in panels.items()}
    rows = list(dict.fromkeys(a for found in panels.values() for a in found))
    wide = [max(1, len(names)) for names in columns.values()]
    size = [side / 72 for side in place()]
    if not on_slide():
        size = 1.4 + 0.88 * sum(wide), 1.6 + 0.43 * len(rows)
    figure = new_figure(*size)
    cells = [e.value for p in panels.values() for row in p.values() for e in row.values()]
    most = max((abs(v) for v in cells if v is not None), default=0.0) or 1.0
    shown = figure.subplots(1, len(panels), squeeze=False, sharey=True, width_ratios=wide)[0]
    for axes, (title, found) in zip(shown, panels.items(), strict=True):
        _gain_matrix(axes, found, rows, columns[title], most, lang)
        axes.set_title(title)
    shown[0].set_yticks(np.arange(len(rows)) + 0.5, rows, rotation=0)
    if on_slide():
        return figure
    text = " ".join([label("attribute_note", lang), note]).strip()
    return framed(figure, label("attribute_title", lang), text)


def before_and_after(before: Gains, after: Gains, lang: Language = LANG) -> Figure:
    """Draw the gains of a model before and after further training, in nats of cross-entropy."""
    panels = {label("attribute_before", lang): before, label("attribute_after", lang): after}
    return attribute_matrix(panels, lang, label("attribute_unit", lang))


def _gain_columns(found: Gains) -> list[str]:
    names = {name for row in found.values() for name in row}
    return [n for n in ("all", *MODALITIES) if n in names] + sorted(names - {"all", *MODALITIES})


def _gain_matrix(
    axes: Axes,
    found: Gains,
    rows: Sequence[str],
    names: Sequence[str],
    most: float,
    lang: Language,
) -> None:
    colours, norm = diverging(), Normalize(-most, most)
    cells = [[found.get(row, {}).get(name, NO_ESTIMATE) for name in names] for row in rows]
    shown_RC = np.array([[cell.value is not None for cell in row] for row in cells])
    gain_RC = np.zeros(shown_RC.shape)
    for (y, x), shown in np.ndenumerate(shown_RC):
        cell = cells[y][x]
        if not shown:
            continue
        decided = cell.low > 0 or cell.high < 0
        # Cells whose interval includes 0 get the colour of 0.
        gain_RC[y, x] = cell.value if decided else 0.0
        ink = text_on(colours(norm(cell.value))) if decided else shade(0.55)
        middle = {"ha": "center", "va": "center", "color": ink}
        # + 0.0 turns -0.0 into 0.0, so that no cell shows -0.00.
        value, low, high = (f"{round(v, 2) + 0.0:+.2f}" for v in (cell.value, cell.low, cell.high))
        weight, ends = "bold" if decided else "normal", f"{low} {high}"
        if on_slide():
            typeset.write(axes, x + 0.5, y + 0.5, value, 9, weight=weight, **middle)
            continue
        typeset.write(axes, x + 0.5, y + 0.36, value, 8.5, weight=weight, **middle)
        typeset.write(axes, x + 0.5, y + 0.74, ends, 5.8, **middle)
    look = {"digits": None, "square": False, "linewidths": points(1.5)}
    heatmap(axes, gain_RC, colours, norm, shown_RC, **look)
    named = [label(n, lang) if n in MODALITIES else label("attribute_all", lang) for n in names]
    axes.set_xticks(np.arange(len(names)) + 0.5, named)
    colour_ticks(axes.get_xticklabels(), names, fontsize=points(8))
    axes.tick_params(length=0)


WORD_STEPS, TABLE_STEPS = 60, 100
"""Steps of fine-tuning, as in the notebooks."""


@figure("word_masking")
def _word_masking(sources: Sources, lang: Language) -> Figure:
    require_pieces(sources.test, "text")
    clean = sources.test.collate(complete_rows(sources.test, MODALITIES)[:1])
    tokenizer, draws = sources.test.tokenizer, []
    for draw in range(4):
        mask, seed = MaskConfig(rate=0.5), (sources.seed, draw)
        masked = mask_batch(clean, mask, WordPieces.of(tokenizer), seed, ("MLM",))
        ids = (batch.tokens["text"].values[0] for batch in (clean, masked.batch))
        draws.append(fates(tokenizer, *ids, masked.hidden["text"][0]))
    return word_fates(draws, lang)


@figure("whole_value_masking")
def _whole_value_masking(sources: Sources, lang: Language) -> Figure:
    """Mask the first product whose table has a value of several pieces in its second pair."""
    data = sources.test
    require_pieces(data, "table")
    tokens = data.collate(range(len(data))).tokens["table"]
    length_R = (tokens.entity_RL == 3).sum(1)
    row = int((length_R > 1).int().argmax())
    entity_L, ids_L = tokens.entity_RL[row], tokens.values[row]
    ends = (entity_L == 7).nonzero()
    last = int(ends[-1]) + 2 if len(ends) else len(ids_L)
    entity_L, ids_L = entity_L[:last], ids_L[:last]
    # The last piece of each longer value, so that the rest of the value stays visible.
    same_L = torch.cat([entity_L[1:] == entity_L[:-1], torch.tensor([False])])
    ends_L = (entity_L % 2 == 1) & (entity_L > 0) & ~same_L & same_L.roll(1)
    ways = (ends_L, torch.isin(entity_L, torch.tensor([3, 7])), entity_L == 2)
    return masking_schemes(*(_masked_pieces(data, ids_L, hidden_L) for hidden_L in ways), lang)


def _masked_pieces(data: ProductDataset, ids_L: Tensor, hidden_L: Tensor) -> list:
    shown_L = ids_L.masked_fill(hidden_L, data.tokenizer.mask_token_id)
    return fates(data.tokenizer, ids_L, shown_L, hidden_L)


@shared
def _word_models(sources: Sources) -> dict[str, ScaleModel]:
    """Return models fine-tuned on colours in titles, without and with the picture."""
    train, test = (prepend_label(data, "colour") for data in (sources.train, sources.test))
    colours = sorted({p.labels["colour"] for p in (*train.products, *test.products)})
    return {
        name: fine_tune_on_words(sources.run, train, colours, kept, WORD_STEPS, sources.seed)
        for name, kept in (("title", ("text",)), ("picture", ("text", "image")))
    }


@dataclass(frozen=True)
class ColourGuess:
    """Predictions of a hidden colour in a title."""

    product: Product
    question: str
    """Title with a blank."""
    answer: str
    guesses: dict[str, list[Guess]]
    """Most probable words by condition: `title`, `picture`."""
    probability: dict[str, float]
    """Of the answer, by condition."""
    products: int
    """Number of products that it was chosen from."""


@shared
def guess_colour(sources: Sources) -> ColourGuess:
    """Predict the colour of the test product with the largest benefit from its picture.

    Raises ValueError if the products have no label `colour` or no words.
    """
    require_pieces(sources.test, "text")
    products = (*sources.train.products, *sources.test.products)
    named = all("colour" in product.labels for product in products)
    require(named, f"{sources.catalogue_folder}: products without the label colour")
    train, test = (prepend_label(data, "colour") for data in (sources.train, sources.test))
    colours = sorted({p.labels["colour"] for p in (*train.products, *test.products)})
    models = _word_models(sources)
    rows = complete_rows(test, ("text", "image"))
    masked = mask_words(test, colours, rows)
    title_P, both_P = (
        score_masked(model, masked, "text", len(test), {"": EVERYTHING})[""].loss_P
        for model in models.values()
    )
    row = int(np.nanargmax(title_P - both_P))
    one, product = mask_words(test, colours, [row]), test.products[row]
    logits = {name: predict(model, one, "text")[0] for name, model in models.items()}
    guesses = {name: top_tokens(logits_V, test.tokenizer) for name, logits_V in logits.items()}
    target = int(one.targets["text"][0])
    probability = {name: float(logits_V.softmax(0)[target]) for name, logits_V in logits.items()}
    colour = product.labels["colour"]
    question = product.text.lower().replace(colour, "____", 1)
    return ColourGuess(product, question, colour, guesses, probability, len(rows))


@figure("word_prediction")
def _word_prediction(sources: Sources, lang: Language) -> Figure:
    found = guess_colour(sources)
    guesses = {condition(name, lang): guess for name, guess in found.guesses.items()}
    return top_predictions(found.product, found.question, guesses, found.answer, lang)


@shared
def _table_model(sources: Sources) -> tuple[ScaleModel, ProductDataset]:
    """Return a model fine-tuned on tables of record attributes, and the test split with them."""
    train = with_record_tables(sources.train)
    model = fine_tune_on_tables(sources.run, train, TABLE_STEPS, sources.seed)
    return model, with_record_tables(sources.test)


@figure("entity_prediction")
def _entity_prediction(sources: Sources, lang: Language) -> Figure:
    require_pieces(sources.test, "table")
    model, test = _table_model(sources)
    row = complete_rows(test, MODALITIES)[0]
    one = mask_entities(test, RECORD_ATTRIBUTES, rows=[row], targets=["Material"])
    shown = {condition("nothing", lang): NOTHING}
    shown |= {condition(m, lang): Context((m,)) for m in ("image", "audio")}
    guesses = {
        name: top_tokens(predict(model, in_context(one, "table", c), "table")[0], test.tokenizer)
        for name, c in shown.items()
    }
    product = test.products[row]
    answer = product.labels["material"]
    return top_predictions(product, blank_value("Material", lang), guesses, answer, lang)


@figure("entity_context")
def _entity_context(sources: Sources, lang: Language) -> Figure:
    return before_and_after(*context_gains_of(sources), lang)


@shared
def context_gains_of(sources: Sources) -> list[dict]:
    """Return the gains by attribute and context, before and after fine-tuning."""
    tuned, test = _table_model(sources)
    contexts = default_contexts("table")
    del contexts["other products"]
    found = []
    for model in (sources.run.model, tuned):
        losses = {}
        for name in RECORD_ATTRIBUTES:
            masked = mask_entities(test, RECORD_ATTRIBUTES, targets=[name])
            scores = score_masked(model, masked, "table", len(test), contexts)
            losses[name] = {context: score.loss_P for context, score in scores.items()}
        found.append({name: gains(loss, seed=sources.seed) for name, loss in losses.items()})
    return found
