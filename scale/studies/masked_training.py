"""Short trainings of one masked task, and fine-tuning on chosen masked words or table values.

A colour word is one of about thirty masked words, so a short pretraining predicts each colour
rarely. A few seconds of the same task on colours alone show whether the joint transformer *can*
predict a word from another modality.

P products, L length, F features, D distance.
"""

from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from scale.config import Config, MaskConfig
from scale.data.dataset import ProductDataset, discrete_column
from scale.data.product import Product
from scale.losses.masked import masked_token_loss
from scale.losses.masking import MaskedBatch
from scale.modalities import INDEX, MODALITIES, SPECS
from scale.model.scale import ScaleModel
from scale.seeding import generator
from scale.studies.context import Context, in_context
from scale.studies.masked_probe import mask_entities, mask_words
from scale.studies.runner import restrict
from scale.training.run import TrainedRun, seeded_model
from scale.training.step import Stepper


def select_modalities(data: ProductDataset, modalities: tuple[str, ...]) -> ProductDataset:
    """The products that have all of `modalities`, with the others counted as missing."""
    columns = [INDEX[m] for m in modalities]
    return restrict(data.subset(np.flatnonzero(data.present_NM[:, columns].all(1))), modalities)


def train_masked(
    config: Config,
    train: ProductDataset,
    modality: str,
    beside: tuple[str, ...],
    rate: float,
    steps: int,
    further: tuple[str, ...] = (),
) -> ScaleModel:
    """A model of random start that learns the masked task of `modality` and little else.

    Args:
        config: sizes, optimizer and seed; its tasks, modalities and mask rate are replaced.
        train: of it, the products that have `modality` and all of `beside`.
        rate: share of the tokens that is hidden, in `modality` and where a further task hides some.
        further: other tasks that are on, e.g. `contrastive`. Without any, `beside` stays whole.
    """
    modalities = (modality, *beside)
    config = replace(
        config,
        model=replace(config.model, modalities=modalities),
        mask=MaskConfig(rate=rate),
        loss=replace(config.loss, tasks=(SPECS[modality].task, *further)),
        train=replace(config.train, steps=steps),
    )
    stepper = Stepper(config, seeded_model(config), select_modalities(train, modalities))
    for step in range(steps):
        stepper.step(step)
    return stepper.model.eval()


def copy_losses(data: ProductDataset, modality: str, most: int) -> np.ndarray:
    """Error of copying the vector d places away, as loss_D for d = 1 .. `most`.

    loss_d = mean over all pairs (i, i + d) of one sequence of mean_f (x_if - x_(i+d)f)^2, on
    standardised features. NaN where no sequence is long enough.
    """
    rows = np.flatnonzero(data.present_NM[:, INDEX[modality]])
    tokens = data.collate(rows).tokens[modality]
    losses = np.full(most, np.nan)
    for distance in range(1, most + 1):
        both_RL = ~tokens.padding_RL[:, distance:]
        if both_RL.any():
            step_RLF = tokens.values[:, distance:] - tokens.values[:, :-distance]
            losses[distance - 1] = step_RLF.square().mean(2)[both_RL].mean().item()
    return losses


def mean_baseline_loss(data: ProductDataset, modality: str) -> float:
    """Error of guessing the training set's mean everywhere (standardised features: 0)."""
    rows = np.flatnonzero(data.present_NM[:, INDEX[modality]])
    tokens = data.collate(rows).tokens[modality]
    return torch.mean(tokens.values.square().mean(2)[~tokens.padding_RL]).item()


BATCH = 64
"""Products a step."""
LEARNING_RATE = 1e-3
"""Learning rate of AdamW, constant."""

MaskRows = Callable[[list[int]], MaskedBatch]
"""Hides what is practised in the products at these indices."""

RECORD_ATTRIBUTES = ("Colour", "Material", "Pattern", "Size class", "Brand")
"""Attributes of `with_record_tables`, in its order."""
SIZE_CLASSES, SIZE_LIMITS_CM = ("XS", "S", "M", "L", "XL"), (9, 17, 34, 60)
"""Of the sample shop (data/synthetic/table.py)."""


def prepend_label(data: ProductDataset, label: str) -> ProductDataset:
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


def with_record_tables(data: ProductDataset) -> ProductDataset:
    """The products with a table, which is replaced by `RECORD_ATTRIBUTES` of the record and
    nothing else. For the sample shop; for masked tasks only, as `prepend_label`."""
    data = data.subset([k for k, p in enumerate(data.products) if p.table is not None])
    return _rewritten(data, "table", tuple(map(_recorded, data.products)))


def _recorded(product: Product) -> Product:
    known = product.labels
    size = SIZE_CLASSES[bisect(SIZE_LIMITS_CM, known["size_cm"])]
    values = (known["colour"], known["material"], known["pattern"], size, known["brand"])
    return replace(product, table=tuple(zip(RECORD_ATTRIBUTES, values, strict=True)))


def _rewritten(
    data: ProductDataset, modality: str, products: tuple[Product, ...]
) -> ProductDataset:
    longest = getattr(data.config, f"{modality}_length")
    column = discrete_column(modality, products, data.tokenizer, longest)
    return replace(data, products=products, columns=data.columns | {modality: column})


def complete_rows(data: ProductDataset, modalities: Sequence[str]) -> list[int]:
    """Products that have all of these modalities."""
    return np.flatnonzero(data.present_NM[:, [INDEX[m] for m in modalities]].all(axis=1)).tolist()


def restrict_model(run: TrainedRun, modalities: Sequence[str]) -> ScaleModel:
    """The run's model with these modalities only: the same weights, fewer encoders."""
    names = tuple(m for m in MODALITIES if m in modalities)
    model = ScaleModel(replace(run.config.model, modalities=names), run.config.missing)
    own = model.state_dict()
    model.load_state_dict({k: v for k, v in run.model.state_dict().items() if k in own})
    return model


def fine_tune(
    model: ScaleModel,
    modality: str,
    hide: MaskRows,
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
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
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


def fine_tune_on_words(
    run: TrainedRun,
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
    lesson = partial(_mask_words_of, data, words, rows)
    return fine_tune(restrict_model(run, modalities), "text", lesson, len(rows), steps, seed=seed)


def _mask_words_of(
    data: ProductDataset, words: Sequence[str], rows: Sequence[int], picked: Sequence[int]
) -> MaskedBatch:
    return mask_words(data, words, [rows[k] for k in picked])


def fine_tune_on_tables(
    run: TrainedRun, data: ProductDataset, steps: int, seed: int = 0
) -> ScaleModel:
    """The run's model after practice on tables whose values are all hidden at once, beside a random
    half of the other modalities; for data of `with_record_tables`."""

    def lesson(picked: list[int]) -> MaskedBatch:
        return mask_entities(data, RECORD_ATTRIBUTES, rows=picked)

    model = restrict_model(run, MODALITIES)
    return fine_tune(model, "table", lesson, len(data), steps, keep=0.5, seed=seed)
