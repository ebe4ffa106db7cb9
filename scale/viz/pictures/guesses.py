"""Pictures of notebooks 05 and 06."""

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from scale.config import MaskConfig
from scale.data.dataset import ProductDataset
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
from scale.studies.masked_probe import mask_entities, mask_words, score_masked, top_tokens
from scale.studies.masked_training import (
    RECORD_ATTRIBUTES,
    complete_rows,
    fine_tune_on_tables,
    fine_tune_on_words,
    prepend_label,
    with_record_tables,
)
from scale.viz.illustrations.masked_words import (
    before_and_after,
    blank_value,
    condition,
    fates,
    top_guesses,
    ways_of_hiding,
    word_fates,
)
from scale.viz.registry import Sources, figure
from scale.viz.words import Language

WORD_STEPS, TABLE_STEPS = 60, 100
"""Of practice, as in the notebooks."""


def _train(sources: Sources) -> ProductDataset:
    return sources.run.dataset(sources.catalogue, "train")


@figure("word_masking")
def _word_masking(sources: Sources, lang: Language) -> Figure:
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
    """The first product with a table whose second pair has a value of several pieces."""
    data = sources.test
    tokens = data.collate(range(len(data))).tokens["table"]
    length_R = (tokens.entity_RL == 3).sum(1)
    row = int((length_R > 1).int().argmax())
    entity_L, ids_L = tokens.entity_RL[row], tokens.values[row]
    ends = (entity_L == 7).nonzero()
    last = int(ends[-1]) + 2 if len(ends) else len(ids_L)
    entity_L, ids_L = entity_L[:last], ids_L[:last]
    # The last piece of each longer value, so that the rest of it stands beside the blank.
    same_L = torch.cat([entity_L[1:] == entity_L[:-1], torch.tensor([False])])
    ends_L = (entity_L % 2 == 1) & (entity_L > 0) & ~same_L & same_L.roll(1)
    ways = (
        ends_L,
        torch.isin(entity_L, torch.tensor([3, 7])),
        entity_L == 2,
    )
    return ways_of_hiding(*(_masked(data, ids_L, hidden_L) for hidden_L in ways), lang)


def _masked(data: ProductDataset, ids_L: Tensor, hidden_L: Tensor) -> list:
    shown_L = ids_L.masked_fill(hidden_L, data.tokenizer.mask_token_id)
    return fates(data.tokenizer, ids_L, shown_L, hidden_L)


@figure("word_prediction")
def _word_prediction(sources: Sources, lang: Language) -> Figure:
    """The test product where the picture helps most, its colour hidden, before two readers."""
    exam = prepend_label(sources.test, "colour")
    lessons = prepend_label(_train(sources), "colour")
    colours = sorted({p.labels["colour"] for p in (*lessons.products, *exam.products)})
    kinds = {condition("title", lang): ("text",), condition("picture", lang): ("text", "image")}
    readers = {
        name: fine_tune_on_words(sources.run, lessons, colours, kept, WORD_STEPS, sources.seed)
        for name, kept in kinds.items()
    }
    asked = mask_words(exam, colours, complete_rows(exam, ("text", "image")))
    alone_P, both_P = (
        score_masked(reader, asked, "text", len(exam), {"": EVERYTHING})[""].loss_P
        for reader in readers.values()
    )
    row = int(np.nanargmax(alone_P - both_P))
    one, product = mask_words(exam, colours, [row]), exam.products[row]
    guesses = {
        name: top_tokens(predict(reader, one, "text")[0], exam.tokenizer)
        for name, reader in readers.items()
    }
    colour = product.labels["colour"]
    question = product.text.lower().replace(colour, "____", 1)
    return top_guesses(product, question, guesses, colour, lang)


def _table_reader(sources: Sources) -> tuple[ScaleModel, ProductDataset]:
    lessons = with_record_tables(_train(sources))
    reader = fine_tune_on_tables(sources.run, lessons, TABLE_STEPS, sources.seed)
    return reader, with_record_tables(sources.test)


@figure("entity_prediction")
def _entity_prediction(sources: Sources, lang: Language) -> Figure:
    reader, exam = _table_reader(sources)
    row = complete_rows(exam, MODALITIES)[0]
    one = mask_entities(exam, RECORD_ATTRIBUTES, rows=[row], targets=["Material"])
    shown = {condition("nothing", lang): NOTHING}
    shown |= {condition(m, lang): Context((m,)) for m in ("image", "audio")}
    guesses = {
        name: top_tokens(predict(reader, in_context(one, "table", c), "table")[0], exam.tokenizer)
        for name, c in shown.items()
    }
    product = exam.products[row]
    answer = product.labels["material"]
    return top_guesses(product, blank_value("Material", lang), guesses, answer, lang)


@figure("entity_context")
def _entity_context(sources: Sources, lang: Language) -> Figure:
    reader, exam = _table_reader(sources)
    contexts = default_contexts("table")
    del contexts["other products"]
    found = []
    for model in (sources.run.model, reader):
        losses = {}
        for name in RECORD_ATTRIBUTES:
            asked = mask_entities(exam, RECORD_ATTRIBUTES, targets=[name])
            marks = score_masked(model, asked, "table", len(exam), contexts)
            losses[name] = {context: mark.loss_P for context, mark in marks.items()}
        found.append({name: gains(loss, seed=sources.seed) for name, loss in losses.items()})
    return before_and_after(*found, lang)
