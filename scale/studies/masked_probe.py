"""Prediction of chosen masked tokens: words, table entries, regions, frames.

Positions are chosen by word, attribute or group; `scale.studies.context` masks at random.

P products of a dataset, B products with masked tokens, R rows (products that have the modality),
L length, G groups, N masked positions, V vocabulary, F features, C candidates.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from scale.config import require
from scale.data.batch import ProductBatch, Tokens
from scale.data.dataset import ProductDataset
from scale.losses.masking import MaskedBatch, choose_groups
from scale.modalities import INDEX, MODALITIES, SPECS
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

Find = Callable[[ProductBatch], Tensor]
"""hidden_RL of a batch."""


def mask_words(
    data: ProductDataset, words: Iterable[str], rows: Sequence[int] | None = None
) -> MaskedBatch:
    """The products whose title holds one of `words`, each of its word pieces [MASK].

    A word counts where all its pieces stand there and no piece continues it. `index_B` of the batch
    counts in `data`. Raises ValueError where no title of `rows` (default: all) holds a word.
    """
    how = {"add_special_tokens": False}
    spelled = [data.tokenizer(word, **how)["input_ids"] for word in dict.fromkeys(words)]
    continues_V = _continuation_pieces(data)

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

    return _mask_found(data, "text", find, rows)


def mask_entities(
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

    masked = _mask_found(
        data, "table", lambda b: find(b, names if asked is None else set(asked)), rows
    )
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


def _continuation_pieces(data: ProductDataset) -> Tensor:
    """Whether a piece continues a word (`##...`), as continues_V."""
    pieces = data.tokenizer.convert_ids_to_tokens(range(len(data.tokenizer)))
    return torch.tensor([piece.startswith("##") for piece in pieces])


def _mask_found(
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
class MaskedScores:
    """What a model says at the hidden positions, product by product; NaN where it was not asked."""

    loss_P: np.ndarray
    """Mean cross-entropy of the product's hidden pieces, in nats."""
    right_P: np.ndarray
    """1 where every hidden piece is the most probable one, else 0."""


def score_masked(
    model: ScaleModel,
    masked: MaskedBatch,
    modality: str,
    products: int,
    contexts: Mapping[str, Context] | None = None,
    candidates: Sequence[int] | None = None,
    seed: int = 0,
) -> dict[str, MaskedScores]:
    """Answers beside each context (default: `default_contexts` the modality), by its name.

    A product that has nothing of a context which is not empty is NaN there.

    Args:
        products: P; the batch's `index_B` counts in these.
        candidates: ids_C to choose from, e.g. all colours; None: the whole vocabulary.
        seed: chooses the other products.
    """
    found = {}
    index_B, rows_N = masked.batch.index_B.numpy(), masked.rows(modality)
    target_N = masked.targets[modality]
    for name, context in (contexts or default_contexts(modality)).items():
        shown = in_context(masked, modality, context, seed)
        logits_NV = restrict_candidates(predict(model, shown, modality), candidates)
        loss_N = position_losses(modality, logits_NV, target_N)
        wrong_N = logits_NV.argmax(1) != target_N
        loss_P, right_P = np.full(products, np.nan), np.full(products, np.nan)
        loss_P[index_B] = by_product(loss_N, rows_N, len(index_B)).numpy()
        right_P[index_B] = by_product(wrong_N, rows_N, len(index_B)).numpy() == 0
        others = [INDEX[m] for m in context.keep if m != modality]
        if others:
            lacking_B = ~masked.batch.present_BM[:, others].any(dim=1).numpy()
            loss_P[index_B[lacking_B]] = right_P[index_B[lacking_B]] = np.nan
        found[name] = MaskedScores(loss_P, right_P)
    return found


def restrict_candidates(logits_NV: Tensor, candidates: Sequence[int] | None) -> Tensor:
    """The logits with everything but the candidates impossible; all of them where that is None."""
    if candidates is None:
        return logits_NV
    inside_V = torch.zeros(logits_NV.shape[1], dtype=torch.bool)
    inside_V[list(candidates)] = True
    return logits_NV.masked_fill(~inside_V, -torch.inf)


def top_tokens(logits_V: Tensor, tokenizer, count: int = 5) -> list[tuple[str, float]]:
    """The most probable word pieces with their probabilities, most probable first."""
    probability_V = logits_V.softmax(0)
    best = probability_V.topk(count)
    words = tokenizer.convert_ids_to_tokens(best.indices.tolist())
    return list(zip(words, best.values.tolist(), strict=True))


def token_groups(data: ProductDataset, row: int, modality: str) -> Tensor:
    """What is hidden together in a product's modality: number of each position's group, group_L.

    Text: words from 0, a piece `##...` with the word before it. Table: `Tokens.entity_RL`. Image,
    video, audio: each vector alone. -1: never hidden ([CLS], [SEP], structure). Raises ValueError
    where the product lacks the modality.
    """
    tokens = _tokens_of(data, row, modality)
    length = int((~tokens.padding_RL[0]).sum())
    if SPECS[modality].kind == "continuous":
        return torch.arange(length)
    if tokens.entity_RL is not None:
        return tokens.entity_RL[0]
    pieces = data.tokenizer.convert_ids_to_tokens(tokens.values[0].tolist())
    begins_L = torch.tensor([not piece.startswith("##") for piece in pieces])
    fixed_L = torch.zeros(length, dtype=torch.bool)
    fixed_L[[0, length - 1]] = True  # [CLS] and [SEP]
    return ((begins_L & ~fixed_L).cumsum(0) - 1).masked_fill(fixed_L, -1)


def draw_groups(group_L: Tensor, rate: float, *seed: int) -> frozenset[int]:
    """`rate` of the groups, at least one, by the rule of the pretext tasks (`choose_groups`)."""
    random = generator("cpu", *seed)
    count_draw_R = torch.rand(1, generator=random)
    order_draw_RG = torch.rand(1, max(int(group_L.max()) + 1, 1), generator=random)
    chosen_RL = choose_groups(group_L[None], rate, count_draw_R, order_draw_RG)
    return frozenset(group_L[chosen_RL[0]].tolist())


def mask_groups(
    data: ProductDataset, row: int, modality: str, groups: Collection[int]
) -> MaskedBatch:
    """The product at `row` as a batch of one, with these groups hidden and nothing else.

    Hidden word pieces are all [MASK] (training replaces 80 % so, 10 % by random pieces, and leaves
    10 %), hidden vectors zero (the encoder sets its mask token there). Raises ValueError where the
    product lacks the modality or one of the groups, or nothing is to be hidden.
    """
    group_L = token_groups(data, row, modality)
    wanted, real = {int(group) for group in groups}, set(group_L.tolist()) - {-1}
    require(bool(wanted), "nothing is hidden")
    strange = sorted(wanted - real)
    require(not strange, f"{data.ids[row]}: its {modality} has no group {strange} to hide")
    batch = data.collate([row])
    clean = batch.tokens[modality]
    hidden_RL = torch.isin(group_L, torch.tensor(sorted(wanted)))[None]
    if SPECS[modality].kind == "discrete":
        values = clean.values.masked_fill(hidden_RL, data.tokenizer.mask_token_id)
    else:
        values = clean.values.masked_fill(hidden_RL[:, :, None], 0.0)
    tokens = {**batch.tokens, modality: replace(clean, values=values)}
    targets = {modality: clean.values[hidden_RL]}
    return MaskedBatch(replace(batch, tokens=tokens), {modality: hidden_RL}, targets)


@dataclass(frozen=True)
class MaskedPrediction:
    """One product, one mask, and what a model says beside each of several contexts."""

    modality: str
    masked: MaskedBatch
    predicted: dict[str, Tensor]
    """logits_NV or vectors_NF at the hidden positions, by context."""

    @property
    def loss(self) -> dict[str, float]:
        """Mean loss of the hidden positions: by context, and of the guess without a model: `even`,
        the same probability for each of V pieces (ln V), or `mean`, the training mean (0)."""
        target_N = self.masked.targets[self.modality]
        guesses = dict(self.predicted)
        baseline = "even" if SPECS[self.modality].kind == "discrete" else "mean"
        any_NX = next(iter(guesses.values()))
        guesses[baseline] = torch.zeros_like(any_NX)
        return {
            name: position_losses(self.modality, guess_NX, target_N).mean().item()
            for name, guess_NX in guesses.items()
        }

    def pieces(
        self, context: str, tokenizer: PreTrainedTokenizerBase, count: int = 5
    ) -> list["TokenPrediction"]:
        """Of text and table: the answers beside a context, one for each hidden piece."""
        logits_NV = self.predicted[context]
        return token_predictions(logits_NV, self.masked, self.modality, tokenizer, count)

    def reconstruction(self, data: ProductDataset) -> Reconstruction:
        """Of image, video and audio: the guesses beside each context, and `mean`."""
        guess_NF = dict(self.predicted)
        guess_NF["mean"] = torch.zeros_like(self.masked.targets[self.modality])
        return reconstruction_of(data, self.modality, self.masked, 0, guess_NF)


def probe_masked(
    model: ScaleModel, masked: MaskedBatch, modality: str, beside: Mapping[str, Collection[str]]
) -> MaskedPrediction:
    """What the model says of a batch of one product (`mask_groups`), beside each context.

    A context is the other modalities that stay; what the product lacks may be among them. Contexts
    that come to the same are predicted once.
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


@dataclass(frozen=True)
class TokenPrediction:
    """What a model says of one hidden word piece."""

    place: int
    """Position in the sequence."""
    truth: str
    best: tuple[tuple[str, float], ...]
    """The most probable pieces with their probabilities, most probable first."""
    probability: float
    """Of the truth."""
    loss: float
    """Cross-entropy of the truth, in nats."""
    rank: int
    """1 + the number of pieces that are more probable than the truth."""


def token_predictions(
    logits_NV: Tensor,
    masked: MaskedBatch,
    modality: str,
    tokenizer: PreTrainedTokenizerBase,
    count: int = 5,
) -> list[TokenPrediction]:
    """The answers at the hidden positions of a batch of one product, in their order."""
    target_N = masked.targets[modality]
    loss_N = position_losses(modality, logits_NV, target_N)
    truth_N1 = logits_NV.gather(1, target_N[:, None])
    rank_N = 1 + (logits_NV > truth_N1).sum(1)
    places = masked.hidden[modality][0].nonzero()[:, 0].tolist()
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


def _tokens_of(data: ProductDataset, row: int, modality: str) -> Tokens:
    has = bool(data.present_NM[row, INDEX[modality]])
    require(has, f"{data.ids[row]}: the product has no {modality}")
    return data.collate([row]).tokens[modality]
