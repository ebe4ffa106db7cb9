"""Hiding what one asks about, a colour word of a title or the material of a table, and reading the
answers beside chosen modalities. `experiments.context` hides at random; here nothing is drawn.

P products of a data set, B products with something hidden, R rows (products that have one
modality), L length, N hidden positions of the batch, V vocabulary, C candidates.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from scale.data.batch import ProductBatch
from scale.data.dataset import ProductDataset
from scale.losses.masking import MaskedBatch
from scale.modalities import INDEX
from scale.model.scale import ScaleModel
from scale.studies.context import (
    Context,
    by_product,
    contexts_of,
    in_context,
    position_losses,
    predict,
)

Find = Callable[[ProductBatch], Tensor]
"""hidden_RL of a batch."""


def hide_words(
    data: ProductDataset, words: Iterable[str], rows: Sequence[int] | None = None
) -> MaskedBatch:
    """The products whose title holds one of `words`, each of its word pieces [MASK].

    A word counts where all its pieces stand there and no piece continues it. `index_B` of the batch
    counts in `data`. Raises ValueError where no title of `rows` (default: all) holds a word.
    """
    how = {"add_special_tokens": False}
    spelled = [data.tokenizer(word, **how)["input_ids"] for word in dict.fromkeys(words)]
    continues_V = _continuing(data)

    def find(batch: ProductBatch) -> Tensor:
        ids_RL = batch.tokens["text"].values
        next_RL = torch.nn.functional.pad(ids_RL[:, 1:], (0, 1), value=0)
        hidden_RL = torch.zeros_like(ids_RL, dtype=torch.bool)
        for pieces in spelled:
            length = len(pieces)
            if length > ids_RL.shape[1]:
                continue
            begins_RS = (ids_RL.unfold(1, length, 1) == torch.tensor(pieces)).all(2)
            begins_RS &= ~continues_V[next_RL[:, length - 1 :]]
            for place in range(length):
                hidden_RL[:, place : place + begins_RS.shape[1]] |= begins_RS
        return hidden_RL

    return _hide(data, "text", find, rows)


def hide_entities(
    data: ProductDataset,
    names: Iterable[str],
    attribute: bool = False,
    rows: Sequence[int] | None = None,
    asked: Iterable[str] | None = None,
) -> MaskedBatch:
    """The products whose table has one of the attributes `names`, each whole value of it [MASK].

    Args:
        attribute: hide the attribute itself instead, and show its value.
        asked: those of `names` that are to be predicted; None: all. The others are hidden only.

    Raises:
        ValueError: no table of `rows` (default: all) has what is asked.
    """
    names = set(names)

    def find(batch: ProductBatch, wanted: set[str]) -> Tensor:
        tokens = batch.tokens["table"]
        found_RL = torch.zeros_like(tokens.padding_RL)
        for row, place in enumerate(batch.index_B[tokens.rows_R].tolist()):
            pairs = data.products[place].table
            found = [2 * k + (not attribute) for k, pair in enumerate(pairs) if pair[0] in wanted]
            found_RL[row] = torch.isin(tokens.entity_RL[row], torch.tensor(found).int())
        return found_RL

    masked = _hide(data, "table", lambda b: find(b, names if asked is None else set(asked)), rows)
    if asked is None:
        return masked
    tokens = masked.batch.tokens["table"]
    hidden_RL = find(masked.batch, names)
    values_RL = tokens.values.masked_fill(hidden_RL, data.tokenizer.mask_token_id)
    batch = replace(
        masked.batch,
        tokens={**masked.batch.tokens, "table": replace(tokens, values=values_RL)},
    )
    return replace(masked, batch=batch)


def _continuing(data: ProductDataset) -> Tensor:
    """Whether a piece continues a word (`##...`), as continues_V."""
    pieces = data.tokenizer.convert_ids_to_tokens(range(len(data.tokenizer)))
    return torch.tensor([piece.startswith("##") for piece in pieces])


def _hide(
    data: ProductDataset, modality: str, find: Find, rows: Sequence[int] | None
) -> MaskedBatch:
    having_P = data.present_NM[:, INDEX[modality]]
    rows = [k for k in (range(len(data)) if rows is None else rows) if having_P[k]]
    if rows:
        found_R = find(data.collate(rows)).any(dim=1).tolist()
        rows = [row for row, found in zip(rows, found_R, strict=True) if found]
    if not rows:
        raise ValueError(f"nothing to hide in the {modality} of these products")
    batch = data.collate(rows)
    hidden_RL, clean = find(batch), batch.tokens[modality]
    values_RL = clean.values.masked_fill(hidden_RL, data.tokenizer.mask_token_id)
    tokens = {**batch.tokens, modality: replace(clean, values=values_RL)}
    targets = {modality: clean.values[hidden_RL]}
    return MaskedBatch(replace(batch, tokens=tokens), {modality: hidden_RL}, targets)


@dataclass(frozen=True)
class Answers:
    """What a model says at the hidden positions, product by product; NaN where it was not asked."""

    loss_P: np.ndarray
    """Mean cross-entropy of the product's hidden pieces, in nats."""
    right_P: np.ndarray
    """1 where every hidden piece is the most probable one, else 0."""


def answers(
    model: ScaleModel,
    masked: MaskedBatch,
    modality: str,
    products: int,
    contexts: Mapping[str, Context] | None = None,
    candidates: Sequence[int] | None = None,
    seed: int = 0,
) -> dict[str, Answers]:
    """Answers beside each context (default: `contexts_of` the modality), by its name.

    A product that has nothing of a context which is not empty is NaN there.

    Args:
        products: P; the batch's `index_B` counts in these.
        candidates: ids_C to choose from, e.g. all colours; None: the whole vocabulary.
        seed: chooses the strangers.
    """
    found = {}
    index_B, rows_N = masked.batch.index_B.numpy(), masked.rows(modality)
    target_N = masked.targets[modality]
    for name, context in (contexts or contexts_of(modality)).items():
        shown = in_context(masked, modality, context, seed)
        logits_NV = among(predict(model, shown, modality), candidates)
        loss_N = position_losses(modality, logits_NV, target_N)
        wrong_N = logits_NV.argmax(1) != target_N
        loss_P, right_P = np.full(products, np.nan), np.full(products, np.nan)
        loss_P[index_B] = by_product(loss_N, rows_N, len(index_B)).numpy()
        right_P[index_B] = by_product(wrong_N, rows_N, len(index_B)).numpy() == 0
        others = [INDEX[m] for m in context.keep if m != modality]
        if others:
            lacking_B = ~masked.batch.present_BM[:, others].any(dim=1).numpy()
            loss_P[index_B[lacking_B]] = right_P[index_B[lacking_B]] = np.nan
        found[name] = Answers(loss_P, right_P)
    return found


def among(logits_NV: Tensor, candidates: Sequence[int] | None) -> Tensor:
    """The logits with everything but the candidates impossible; all of them where that is None."""
    if candidates is None:
        return logits_NV
    inside_V = torch.zeros(logits_NV.shape[1], dtype=torch.bool)
    inside_V[list(candidates)] = True
    return logits_NV.masked_fill(~inside_V, -torch.inf)


def top_pieces(logits_V: Tensor, tokenizer, count: int = 5) -> list[tuple[str, float]]:
    """The most probable word pieces with their probabilities, most probable first."""
    probability_V = logits_V.softmax(0)
    best = probability_V.topk(count)
    words = tokenizer.convert_ids_to_tokens(best.indices.tolist())
    return list(zip(words, best.values.tolist(), strict=True))
