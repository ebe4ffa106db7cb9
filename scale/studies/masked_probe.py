"""Asking a model for exactly what one hides: words, table entries, regions, frames or stretches of
sound of one product, beside chosen modalities. Nothing is drawn at random unless asked for.

L length, G groups, N hidden positions, V vocabulary, F features.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from scale.data.batch import Tokens
from scale.data.dataset import ProductDataset
from scale.losses.masking import MaskedBatch, choose_groups
from scale.modalities import INDEX, MODALITIES, SPECS
from scale.model.scale import ScaleModel
from scale.seeding import generator
from scale.strict import require
from scale.studies.context import Context, in_context, position_losses, predict
from scale.studies.mask_words import top_pieces
from scale.studies.reconstruction import Reconstruction, reconstruction_of


def groups_of(data: ProductDataset, row: int, modality: str) -> Tensor:
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


def hide_groups(
    data: ProductDataset, row: int, modality: str, groups: Collection[int]
) -> MaskedBatch:
    """The product at `row` as a batch of one, with these groups hidden and nothing else.

    Hidden word pieces are all [MASK] (training replaces 80 % so, 10 % by random pieces, and leaves
    10 %), hidden vectors zero (the encoder sets its mask token there). Raises ValueError where the
    product lacks the modality or one of the groups, or nothing is to be hidden.
    """
    group_L = groups_of(data, row, modality)
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
class Asked:
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
    ) -> list["PieceAnswer"]:
        """Of text and table: the answers beside a context, one for each hidden piece."""
        logits_NV = self.predicted[context]
        return piece_answers(logits_NV, self.masked, self.modality, tokenizer, count)

    def reconstruction(self, data: ProductDataset) -> Reconstruction:
        """Of image, video and audio: the guesses beside each context, and `mean`."""
        guess_NF = dict(self.predicted)
        guess_NF["mean"] = torch.zeros_like(self.masked.targets[self.modality])
        return reconstruction_of(data, self.modality, self.masked, 0, guess_NF)


def ask(
    model: ScaleModel, masked: MaskedBatch, modality: str, beside: Mapping[str, Collection[str]]
) -> Asked:
    """What the model says of a batch of one product (`hide_groups`), beside each context.

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
    return Asked(modality, masked, predicted)


@dataclass(frozen=True)
class PieceAnswer:
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


def piece_answers(
    logits_NV: Tensor,
    masked: MaskedBatch,
    modality: str,
    tokenizer: PreTrainedTokenizerBase,
    count: int = 5,
) -> list[PieceAnswer]:
    """The answers at the hidden positions of a batch of one product, in their order."""
    target_N = masked.targets[modality]
    loss_N = position_losses(modality, logits_NV, target_N)
    truth_N1 = logits_NV.gather(1, target_N[:, None])
    rank_N = 1 + (logits_NV > truth_N1).sum(1)
    places = masked.hidden[modality][0].nonzero()[:, 0].tolist()
    words = tokenizer.convert_ids_to_tokens(target_N.tolist())
    return [
        PieceAnswer(
            place,
            words[n],
            tuple(top_pieces(logits_NV[n], tokenizer, min(count, logits_NV.shape[1]))),
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
