"""Practice on one kind of question: the same words hidden in every batch, and nothing else.

A colour word is one of thirty hidden words, so a short pretraining asks for each colour rarely. A
few seconds of the same task on colours alone show whether the co-transformer *can* read a word off
another modality.

P products, L length.
"""

from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from scale.data.columns import discrete_column
from scale.data.dataset import ProductDataset
from scale.data.product import Product
from scale.losses.masked import masked_token_loss
from scale.losses.masking import MaskedBatch
from scale.modalities import INDEX, MODALITIES
from scale.model.scale import ScaleModel
from scale.seeding import generator
from scale.studies.context import Context, in_context
from scale.studies.mask_words import hide_entities, hide_words
from scale.training.run import Run

BATCH = 64
"""Products a step."""
RATE = 1e-3
"""Learning rate of AdamW, constant."""

Hide = Callable[[list[int]], MaskedBatch]
"""Hides what is practised in the products at these indices."""

RECORDED = ("Colour", "Material", "Pattern", "Size class", "Brand")
"""Attributes of `with_record_table`, in its order."""
SIZE_CLASSES, SIZE_LIMITS_CM = ("XS", "S", "M", "L", "XL"), (9, 17, 34, 60)
"""Of the sample shop (data/synthetic/table.py)."""


def with_word_in_front(data: ProductDataset, label: str) -> ProductDataset:
    """The products with a title that names what the record says of `label`: written in front where
    it does not. For masked tasks only: `content_NM` stays that of the titles as they were.

    Products without a title, or whose record does not say, are left out.
    """
    told = [p.text is not None and bool(p.labels.get(label)) for p in data.products]
    data = data.subset(np.flatnonzero(told))
    return _rewritten(data, "text", tuple(_named(p, p.labels[label]) for p in data.products))


def _named(product: Product, word: str) -> Product:
    if word in product.text.lower().split():
        return product
    return replace(product, text=f"{word} {product.text}")


def with_record_table(data: ProductDataset) -> ProductDataset:
    """The products that have a table, with one that says what the record knows (`RECORDED`) and
    nothing else. For the sample shop; for masked tasks only, as `with_word_in_front`."""
    data = data.subset([k for k, p in enumerate(data.products) if p.table is not None])
    return _rewritten(data, "table", tuple(map(_recorded, data.products)))


def _recorded(product: Product) -> Product:
    known = product.labels
    size = SIZE_CLASSES[bisect(SIZE_LIMITS_CM, known["size_cm"])]
    values = (known["colour"], known["material"], known["pattern"], size, known["brand"])
    return replace(product, table=tuple(zip(RECORDED, values, strict=True)))


def _rewritten(
    data: ProductDataset, modality: str, products: tuple[Product, ...]
) -> ProductDataset:
    longest = getattr(data.config, f"{modality}_length")
    column = discrete_column(modality, products, data.tokenizer, longest)
    return replace(data, products=products, columns=data.columns | {modality: column})


def complete_rows(data: ProductDataset, modalities: Sequence[str]) -> list[int]:
    """Products that have all of these modalities."""
    return np.flatnonzero(data.present_NM[:, [INDEX[m] for m in modalities]].all(axis=1)).tolist()


def part_of(run: Run, modalities: Sequence[str]) -> ScaleModel:
    """The run's model with these modalities only: the same weights, fewer encoders."""
    names = tuple(m for m in MODALITIES if m in modalities)
    model = ScaleModel(replace(run.config.model, modalities=names), run.config.missing)
    own = model.state_dict()
    model.load_state_dict({k: v for k, v in run.model.state_dict().items() if k in own})
    return model


def practise(
    model: ScaleModel,
    modality: str,
    hide: Hide,
    products: int,
    steps: int,
    keep: float = 1.0,
    seed: int = 0,
) -> ScaleModel:
    """Train `model` in place on what `hide` hides in random batches of `products`; returns it.

    Minimises `masked_token_loss` by AdamW.

    Args:
        keep: probability with which a step shows each other modality; below 1 the model learns to
            answer beside any set of them.
    """
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    draw = generator("cpu", seed)
    for _ in range(steps):
        masked = hide(torch.randperm(products, generator=draw)[:BATCH].tolist())
        if keep < 1:
            shown_M = torch.rand(len(MODALITIES), generator=draw) < keep
            kept = tuple(m for m, shown in zip(MODALITIES, shown_M, strict=True) if shown)
            masked = in_context(masked, modality, Context(kept))
        logits_NV = model(masked.batch, masked.hidden).predictions[modality]
        loss = masked_token_loss(logits_NV, masked.targets[modality])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def reader_of_words(
    run: Run,
    data: ProductDataset,
    words: Sequence[str],
    modalities: Sequence[str],
    steps: int,
    seed: int = 0,
) -> ScaleModel:
    """The run's model after practice on `words` in the titles, with these modalities only.

    Practised on the products that have text and picture, whether or not the model is shown the
    picture, so that two readers have had the same lessons.
    """
    rows = complete_rows(data, ("text", "image"))
    lesson = partial(_words_of, data, words, rows)
    return practise(part_of(run, modalities), "text", lesson, len(rows), steps, seed=seed)


def _words_of(
    data: ProductDataset, words: Sequence[str], rows: Sequence[int], picked: Sequence[int]
) -> MaskedBatch:
    return hide_words(data, words, [rows[k] for k in picked])


def reader_of_tables(run: Run, data: ProductDataset, steps: int, seed: int = 0) -> ScaleModel:
    """The run's model after practice on tables whose values are all hidden at once, beside a random
    half of the other modalities; for data of `with_record_table`."""

    def lesson(picked: list[int]) -> MaskedBatch:
        return hide_entities(data, RECORDED, rows=picked)

    model = part_of(run, MODALITIES)
    return practise(model, "table", lesson, len(data), steps, keep=0.5, seed=seed)
