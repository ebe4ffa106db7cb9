"""Short trainings of one masked task, and fine-tuning on chosen masked words or table values.

A colour word is one of about thirty masked words, so a short pretraining predicts each colour
rarely. A few seconds of the same task on colours alone show whether the joint transformer *can*
predict a word from another modality.

P products, L length, F features, D distance.
"""

from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from scale.config import Config, MaskConfig
from scale.data.dataset import ProductDataset, language_column, standardise
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
from scale.training.trainer import Trainer


def select_modalities(data: ProductDataset, modalities: tuple[str, ...]) -> ProductDataset:
    """Select the products that have all of `modalities`; mark all others as missing."""
    return restrict(data.subset(complete_rows(data, modalities)), modalities)


def train_masked(
    config: Config,
    train: ProductDataset,
    modality: str,
    beside: tuple[str, ...],
    rate: float,
    steps: int,
    further: tuple[str, ...] = (),
) -> ScaleModel:
    """Train a randomly initialised model on the masked task of `modality`.

    Args:
        config: sizes, optimizer and seed; its tasks, modalities and mask rate are replaced.
        train: training products; those with `modality` and all of `beside` are used.
        beside: other modalities that the model sees.
        rate: share of masked tokens.
        further: additional tasks, e.g. `contrastive`. Without any, `beside` is not masked.
    """
    modalities = (modality, *beside)
    config = replace(
        config,
        model=replace(config.model, modalities=modalities),
        mask=MaskConfig(rate=rate),
        loss=replace(config.loss, tasks=(SPECS[modality].task, *further)),
        train=replace(config.train, steps=steps),
    )
    trainer = Trainer(config, seeded_model(config), select_modalities(train, modalities))
    for step in range(steps):
        trainer.train_step(step)
    return trainer.model.eval()


def copy_losses(data: ProductDataset, modality: str, most: int) -> np.ndarray:
    """Return loss_D, the error of copying the vector at distance d = 1 .. `most`.

    loss_d = mean over pairs (i, i + d) of a sequence of mean_f (x_if - x_(i+d)f)^2, on standardised
    features. NaN if no sequence is long enough.
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
    """Return the error of predicting the training mean (0 for standardised features)."""
    rows = np.flatnonzero(data.present_NM[:, INDEX[modality]])
    tokens = data.collate(rows).tokens[modality]
    return torch.mean(tokens.values.square().mean(2)[~tokens.padding_RL]).item()


BATCH = 64
"""Products per step."""
LEARNING_RATE = 1e-3
"""Learning rate of AdamW, constant."""

MaskRows = Callable[[list[int]], MaskedBatch]
"""Masks the target tokens of the products at the given indices."""

RECORD_ATTRIBUTES = ("Colour", "Material", "Pattern", "Size class", "Brand")
"""Attributes of `with_record_tables`, in its order."""
SIZE_CLASSES, SIZE_LIMITS_CM = ("XS", "S", "M", "L", "XL"), (9, 17, 34, 60)
"""As in the sample shop (tools/sample_shop)."""


def prepend_label(data: ProductDataset, label: str) -> ProductDataset:
    """Prepend a product's label to its title, unless the title contains it.

    For masked tasks only: `content_id_NM` is not updated. Products without a title or the label are
    left out.
    """
    labelled = [p.text is not None and bool(p.labels.get(label)) for p in data.products]
    data = data.subset(np.flatnonzero(labelled))
    return _rewritten(data, "text", tuple(_named(p, p.labels[label]) for p in data.products))


def _named(product: Product, word: str) -> Product:
    if word in product.text.lower().split():
        return product
    return replace(product, text=f"{word} {product.text}")


def with_record_tables(data: ProductDataset) -> ProductDataset:
    """Replace tables by the `RECORD_ATTRIBUTES` of the product's record.

    For the sample shop and for masked tasks only: `content_id_NM` is not updated. Products without
    a table are left out.
    """
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
    column = language_column(
        modality, products, data.config, data.tokenizer, longest, data.options["cache"]
    )
    columns = standardise({modality: column}, data.normaliser)
    return replace(data, products=products, columns=data.columns | columns)


def complete_rows(data: ProductDataset, modalities: Sequence[str]) -> list[int]:
    """Return the indices of the products that have all of these modalities."""
    return np.flatnonzero(data.present_NM[:, [INDEX[m] for m in modalities]].all(axis=1)).tolist()


def restrict_model(run: TrainedRun, modalities: Sequence[str]) -> ScaleModel:
    """Return the run's model with the encoders of these modalities only."""
    names = tuple(m for m in MODALITIES if m in modalities)
    config = replace(run.config.model, modalities=names)
    model = ScaleModel(config, run.config.missing, run.model.architectures)
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
    """Train `model` in place on random batches masked by `hide`; return it in evaluation mode.

    Minimises `masked_token_loss` by AdamW.

    Args:
        products: number of products that `hide` indexes.
        keep: probability that a step keeps each other modality; below 1 the model learns to predict
            from any subset of them.
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
    """Fine-tune the run's model, restricted to these modalities, on masked `words` in titles.

    Always trained on the products that have text and image, so that models with and without the
    image see the same titles.
    """
    rows = complete_rows(data, ("text", "image"))

    def mask_rows(picked: list[int]) -> MaskedBatch:
        return mask_words(data, words, [rows[k] for k in picked])

    model = restrict_model(run, modalities)
    return fine_tune(model, "text", mask_rows, len(rows), steps, seed=seed)


def fine_tune_on_tables(
    run: TrainedRun, data: ProductDataset, steps: int, seed: int = 0
) -> ScaleModel:
    """Fine-tune the run's model on tables (`with_record_tables`) with all values masked.

    Each step keeps a random half of the other modalities.
    """

    def mask_rows(picked: list[int]) -> MaskedBatch:
        return mask_entities(data, RECORD_ATTRIBUTES, rows=picked)

    model = restrict_model(run, MODALITIES)
    return fine_tune(model, "table", mask_rows, len(data), steps, keep=0.5, seed=seed)
