"""Prediction of chosen masked tokens: words, table entries, regions, frames.

Positions are chosen by word, attribute or group; `scale.studies.context` masks at random.

P products of a dataset, B products with masked tokens, R rows (products that have the modality),
L length, G groups, N masked positions, V vocabulary, F features, C candidates.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from scale.config import require
from scale.data.batch import ProductBatch, Tokens
from scale.data.dataset import ProductDataset
from scale.losses.masking import MaskedBatch, choose_groups, hide_vectors
from scale.modalities import INDEX, MODALITIES
from scale.model.scale import ScaleModel
from scale.seeding import generator
from scale.studies.context import (
    Context,
    Reconstruction,
    by_product,
    default_contexts,
    in_context,
    position_losses,
    predict,
    reconstruction_of,
)

NO_PIECES = (
    "its tokens are vectors of a frozen model, not word pieces, so no words are masked or predicted"
)
Find = Callable[[ProductBatch], Tensor]
"""Returns hidden_RL of a batch."""


def mask_words(
    data: ProductDataset, words: Iterable[str], rows: Sequence[int] | None = None
) -> MaskedBatch:
    """Mask all word pieces of the given words in titles; products without them are left out.

    A word matches where all its pieces occur and no piece continues it. `index_B` of the batch
    refers to `data`. Raises ValueError if no title of `rows` (default: all) contains a word, or if
    titles are vectors.
    """
    require_pieces(data, "text")
    tokenizer = data.tokenizer
    spelled = [
        tokenizer(word, add_special_tokens=False)["input_ids"] for word in dict.fromkeys(words)
    ]
    pieces = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    continues_V = torch.tensor([piece.startswith("##") for piece in pieces])

    def find(batch: ProductBatch) -> Tensor:
        ids_RL = batch.tokens["text"].values
        next_RL = torch.nn.functional.pad(ids_RL[:, 1:], (0, 1), value=0)
        hidden_RL = torch.zeros_like(ids_RL, dtype=torch.bool)
        for ids in spelled:
            length = len(ids)
            if length > ids_RL.shape[1]:
                continue
            begins_RS = (ids_RL.unfold(1, length, 1) == torch.tensor(ids)).all(2)
            begins_RS &= ~continues_V[next_RL[:, length - 1 :]]
            for place in range(length):
                hidden_RL[:, place : place + begins_RS.shape[1]] |= begins_RS
        return hidden_RL

    return _mask_found(data, "text", find, rows)


def require_pieces(data: ProductDataset, modality: str) -> None:
    """Raise ValueError if a modality's tokens are vectors of a frozen model."""
    column = data.columns.get(modality)
    require(column is None or not column.continuous, f"{modality}: {NO_PIECES}")


def mask_entities(
    data: ProductDataset,
    names: Iterable[str],
    attribute: bool = False,
    rows: Sequence[int] | None = None,
    targets: Iterable[str] | None = None,
) -> MaskedBatch:
    """Mask the values of the attributes `names` in tables; products without them are left out.

    Args:
        attribute: mask the attribute instead of its value.
        targets: attributes among `names` to predict (default: all); the others are only masked.

    Raises:
        ValueError: no table of `rows` (default: all) has one of the targets.
    """

    def find(wanted: set[str], batch: ProductBatch) -> Tensor:
        tokens = batch.tokens["table"]
        found_RL = torch.zeros_like(tokens.padding_RL)
        for row, place in enumerate(batch.index_B[tokens.rows_R].tolist()):
            pairs = data.products[place].table
            found = [2 * k + (not attribute) for k, pair in enumerate(pairs) if pair[0] in wanted]
            found_RL[row] = torch.isin(tokens.entity_RL[row], torch.tensor(found).int())
        return found_RL

    find_all = partial(find, set(names))
    find_targets = find_all if targets is None else partial(find, set(targets))
    return _mask_found(data, "table", find_targets, rows, find_all)


def _mask_found(
    data: ProductDataset,
    modality: str,
    find: Find,
    rows: Sequence[int] | None,
    find_all: Find | None = None,
) -> MaskedBatch:
    """Mask the positions `find_all` (default: `find`), of which `find` are to be predicted."""
    having_P = data.present_NM[:, INDEX[modality]]
    rows = [k for k in (range(len(data)) if rows is None else rows) if having_P[k]]
    if rows:
        found_R = find(data.collate(rows)).any(dim=1).tolist()
        rows = [row for row, found in zip(rows, found_R, strict=True) if found]
    if not rows:
        raise ValueError(f"no tokens to mask in the {modality} of these products")
    batch = data.collate(rows)
    shown = _hide(data, batch, modality, (find_all or find)(batch))
    return _with_masked(batch, modality, find(batch), shown)


def _with_masked(
    batch: ProductBatch, modality: str, hidden_RL: Tensor, shown: Tokens
) -> MaskedBatch:
    """Replace a modality's tokens by masked ones; the targets are the values at `hidden_RL`."""
    clean = batch.tokens[modality]
    tokens = {**batch.tokens, modality: shown}
    targets = {modality: clean.values[hidden_RL]}
    return MaskedBatch(replace(batch, tokens=tokens), {modality: hidden_RL}, targets)


@dataclass(frozen=True)
class MaskedScores:
    """Loss and accuracy at the masked positions by product; NaN if nothing was masked."""

    loss_P: np.ndarray
    """Mean cross-entropy of the product's masked pieces, in nats."""
    correct_P: np.ndarray
    """1 if every masked piece is predicted correctly (argmax), else 0."""


def score_masked(
    model: ScaleModel,
    masked: MaskedBatch,
    modality: str,
    products: int,
    contexts: Mapping[str, Context] | None = None,
    candidates: Sequence[int] | None = None,
    seed: int = 0,
) -> dict[str, MaskedScores]:
    """Score the predictions in each context (default: `default_contexts`), by name.

    NaN for products that lack all modalities of a nonempty context.

    Args:
        products: P, the size of the dataset to which `index_B` refers.
        candidates: ids_C to choose from, e.g. all colours; None: the whole vocabulary.
        seed: selects the other products.
    """
    found = {}
    index_B, rows_N = masked.batch.index_B.numpy(), masked.rows(modality)
    target_N = masked.targets[modality]
    for name, context in (contexts or default_contexts(modality)).items():
        shown = in_context(masked, modality, context, seed)
        logits_NV = restrict_candidates(predict(model, shown, modality), candidates)
        loss_N = position_losses(logits_NV, target_N)
        wrong_N = logits_NV.argmax(1) != target_N
        loss_P, correct_P = np.full(products, np.nan), np.full(products, np.nan)
        loss_P[index_B] = by_product(loss_N, rows_N, len(index_B)).numpy()
        correct_P[index_B] = by_product(wrong_N, rows_N, len(index_B)).numpy() == 0
        others = [INDEX[m] for m in context.keep if m != modality]
        if others:
            lacking_B = ~masked.batch.present_BM[:, others].any(dim=1).numpy()
            loss_P[index_B[lacking_B]] = correct_P[index_B[lacking_B]] = np.nan
        found[name] = MaskedScores(loss_P, correct_P)
    return found


def restrict_candidates(logits_NV: Tensor, candidates: Sequence[int] | None) -> Tensor:
    """Set the logits of all non-candidates to -inf; unchanged if `candidates` is None."""
    if candidates is None:
        return logits_NV
    inside_V = torch.zeros(logits_NV.shape[1], dtype=torch.bool)
    inside_V[list(candidates)] = True
    return logits_NV.masked_fill(~inside_V, -torch.inf)


def top_tokens(logits_V: Tensor, tokenizer, count: int = 5) -> list[tuple[str, float]]:
    """Return the most probable word pieces with their probabilities, in descending order."""
    probability_V = logits_V.softmax(0)
    best = probability_V.topk(count)
    words = tokenizer.convert_ids_to_tokens(best.indices.tolist())
    return list(zip(words, best.values.tolist(), strict=True))


def token_groups(data: ProductDataset, row: int, modality: str) -> Tensor:
    """Return group_L, the group of each position; the tokens of a group are masked together.

    Text: words from 0, with `##...` pieces in the group of their word. Table: `Tokens.entity_RL`.
    Image, video, audio, and text as vectors of a frozen model: each vector alone. -1: never masked
    ([CLS], [SEP], structure). Raises ValueError if the product lacks the modality.
    """
    has = bool(data.present_NM[row, INDEX[modality]])
    require(has, f"{data.ids[row]}: the product has no {modality}")
    tokens = data.collate([row]).tokens[modality]
    length = int((~tokens.padding_RL[0]).sum())
    if tokens.entity_RL is not None:
        return tokens.entity_RL[0]
    if tokens.continuous:
        return torch.arange(length)
    pieces = data.tokenizer.convert_ids_to_tokens(tokens.values[0].tolist())
    begins_L = torch.tensor([not piece.startswith("##") for piece in pieces])
    fixed_L = torch.zeros(length, dtype=torch.bool)
    fixed_L[[0, length - 1]] = True  # [CLS] and [SEP]
    return ((begins_L & ~fixed_L).cumsum(0) - 1).masked_fill(fixed_L, -1)


def draw_groups(group_L: Tensor, rate: float, *seed: int) -> frozenset[int]:
    """Draw a share `rate` of the groups, at least one, as in training (`choose_groups`)."""
    random = generator("cpu", *seed)
    count_draw_R = torch.rand(1, generator=random)
    order_draw_RG = torch.rand(1, max(int(group_L.max()) + 1, 1), generator=random)
    chosen_RL = choose_groups(group_L[None], rate, count_draw_R, order_draw_RG)
    return frozenset(group_L[chosen_RL[0]].tolist())


def mask_groups(
    data: ProductDataset, row: int, modality: str, groups: Collection[int]
) -> MaskedBatch:
    """Return the product at `row` as a batch of one, with exactly these groups masked.

    All masked word pieces become [MASK] (in training: 80 % [MASK], 10 % random, 10 % unchanged);
    masked vectors become zero and are replaced by the encoder's mask token. Raises ValueError if
    the product lacks the modality or a group, or if no group is given.
    """
    group_L = token_groups(data, row, modality)
    wanted, real = {int(group) for group in groups}, set(group_L.tolist()) - {-1}
    require(bool(wanted), "no group to mask")
    unknown = sorted(wanted - real)
    require(not unknown, f"{data.ids[row]}: its {modality} has no group {unknown} to mask")
    batch = data.collate([row])
    hidden_RL = torch.isin(group_L, torch.tensor(sorted(wanted)))[None]
    return _with_masked(batch, modality, hidden_RL, _hide(data, batch, modality, hidden_RL))


def _hide(data: ProductDataset, batch: ProductBatch, modality: str, hidden_RL: Tensor) -> Tokens:
    """Return the tokens of a modality, masked at `hidden_RL`."""
    tokens = batch.tokens[modality]
    if tokens.continuous:
        return hide_vectors(tokens, hidden_RL)
    values = tokens.values.masked_fill(hidden_RL, data.tokenizer.mask_token_id)
    return replace(tokens, values=values)


@dataclass(frozen=True)
class TokenPrediction:
    """Prediction of one masked word piece."""

    place: int
    """Position in the sequence."""
    truth: str
    best: tuple[tuple[str, float], ...]
    """The most probable pieces with their probabilities, in descending order."""
    probability: float
    """Probability of the true piece."""
    loss: float
    """Cross-entropy of the true piece, in nats."""
    rank: int
    """1 + the number of pieces with a higher probability than the true one."""


@dataclass(frozen=True)
class MaskedPrediction:
    """Predictions for the masked tokens of one product in several contexts."""

    modality: str
    masked: MaskedBatch
    predicted: dict[str, Tensor]
    """logits_NV or vectors_NF at the masked positions, by context."""

    @property
    def continuous(self) -> bool:
        """Whether vectors are predicted, not word pieces."""
        return self.masked.batch.tokens[self.modality].continuous

    @property
    def loss(self) -> dict[str, float]:
        """Mean loss by context, and that of a baseline: `even` (uniform probabilities, ln V) for
        word pieces or `mean` (the training mean, 0) for vectors."""
        target_N = self.masked.targets[self.modality]
        baseline = "mean" if self.continuous else "even"
        any_NX = next(iter(self.predicted.values()))
        guesses = {**self.predicted, baseline: torch.zeros_like(any_NX)}
        return {
            name: position_losses(guess_NX, target_N).mean().item()
            for name, guess_NX in guesses.items()
        }

    def pieces(
        self, context: str, tokenizer: PreTrainedTokenizerBase, count: int = 5
    ) -> list[TokenPrediction]:
        """Return the prediction of each masked piece of text or table in a context, in order.

        Raises ValueError if its tokens are vectors.
        """
        require(not self.continuous, f"{self.modality}: {NO_PIECES}")
        logits_NV, target_N = self.predicted[context], self.masked.targets[self.modality]
        loss_N = position_losses(logits_NV, target_N)
        rank_N = 1 + (logits_NV > logits_NV.gather(1, target_N[:, None])).sum(1)
        places = self.masked.hidden[self.modality][0].nonzero()[:, 0].tolist()
        words = tokenizer.convert_ids_to_tokens(target_N.tolist())
        return [
            TokenPrediction(
                place,
                words[n],
                tuple(top_tokens(logits_NV[n], tokenizer, min(count, logits_NV.shape[1]))),
                float((-loss_N[n]).exp()),
                float(loss_N[n]),
                int(rank_N[n]),
            )
            for n, place in enumerate(places)
        ]

    def reconstruction(self, data: ProductDataset) -> Reconstruction:
        """Reconstruct image, video or audio in each context, with the baseline `mean`."""
        mean_NF = torch.zeros_like(self.masked.targets[self.modality])
        guess_NF = {**self.predicted, "mean": mean_NF}
        return reconstruction_of(data, self.modality, self.masked, 0, guess_NF)


def probe_masked(
    model: ScaleModel, masked: MaskedBatch, modality: str, beside: Mapping[str, Collection[str]]
) -> MaskedPrediction:
    """Predict the masked tokens of one product (`mask_groups`) in each context.

    A context names the other modalities that are kept; missing ones are ignored. Equivalent
    contexts are computed once.
    """
    present_M = masked.batch.present_BM[0]
    predicted: dict[str, Tensor] = {}
    known: dict[tuple[str, ...], Tensor] = {}
    for name, keep in beside.items():
        real = tuple(m for m in MODALITIES if m in keep and present_M[INDEX[m]] and m != modality)
        if real not in known:
            known[real] = predict(model, in_context(masked, modality, Context(real)), modality)
        predicted[name] = known[real]
    return MaskedPrediction(modality, masked, predicted)
