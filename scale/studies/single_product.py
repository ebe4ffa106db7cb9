"""One product after user-chosen changes, and all outputs of a model for it.

M modalities (five), L length of a sequence, F features of a vector, T frames, H, W, C height, width
and colours of a picture, S samples of a sound, D width, K neighbours.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from scale.config import LossConfig, MissingConfig, MissingPolicy
from scale.data.batch import ProductBatch
from scale.data.cache import OWN_SOURCES
from scale.data.dataset import Column, ProductDataset, discrete_column
from scale.data.features import Backbone
from scale.evaluation.embed import product_embedding
from scale.evaluation.search import SearchIndex
from scale.modalities import DISCRETE, INDEX, MODALITIES, SPECS
from scale.model.scale import ScaleModel
from scale.model.scores import inter_modality_scores
from scale.studies.damage import (
    FRAME_DAMAGE,
    TEXT_DAMAGE,
    DamageStep,
    Table,
    damage_signal,
    fitted_signal,
    pack_column,
    signal_features,
)
from scale.studies.noise import KINDS, Noise, damage_steps, exchange_order, longest_sequence

KEPT = 64
"""Decoded media, and contents after noise, that are kept."""


@dataclass(frozen=True)
class ModalityChange:
    """What is done to one modality of a product; by default nothing."""

    present: bool = True
    """Whether the model gets the modality, where the product has it."""
    mismatch: bool = False
    """Take another product's content; damage comes after it."""
    damage: tuple[str, float] | None = None
    """Kind (key of `noise.KINDS`) and strength in its unit."""


@dataclass(frozen=True)
class ModalityContent:
    """One modality of a product, as a reader sees it and as the model gets it."""

    shown: str | Table | np.ndarray | None
    """Title, table, frames_THWC (a picture is one frame, at the size that its features see) or
    sound_S; None where features come from files."""
    column: Column
    """The one sequence of tokens."""
    giver: int
    """Row of the product whose content it is."""
    place_T: np.ndarray | None = None
    """Clips only: place of each frame in the clean clip."""

    @property
    def sequence(self) -> np.ndarray:
        """ids_L, or vectors_LF as they were extracted (not standardised)."""
        start, length = int(self.column.start_N[0]), int(self.column.length_N[0])
        return self.column.values[start : start + length]

    @property
    def entities_read(self) -> set[int]:
        """Tables: numbers of the attributes (2k) and values (2k + 1) that the model gets."""
        start, length = int(self.column.start_N[0]), int(self.column.length_N[0])
        return set(self.column.entity_T[start : start + length].tolist()) - {-1}


class ProductEditor:
    """Products of a dataset one at a time, under changes that may come at any moment.

    Content and damage are those of `noise.apply_noise` with noises of which the one at place i hits
    modality i: a change of one modality leaves the others' damage as it is. Media are decoded once
    and kept, so that a stronger noise costs its own computation alone.
    """

    def __init__(self, data: ProductDataset, seed: int = 0) -> None:
        self.data, self.seed = data, seed
        self.content = lru_cache(KEPT)(self._content)
        self._signal = lru_cache(KEPT)(self._decode)
        self._backbone = lru_cache(2)(Backbone)
        self._ring = lru_cache(len(MODALITIES))(self._draw_ring)

    def kinds(self, modality: str) -> tuple[str, ...]:
        """Kinds of damage that apply to a modality here, those with a strength; of features that
        come from files, only what moves whole vectors."""
        fits = [k for k, kind in KINDS.items() if modality in kind.modalities and kind.unit]
        if modality not in DISCRETE and self._source(modality) == "file":
            fits = [kind for kind in fits if kind in FRAME_DAMAGE]
        return tuple(fits)

    def has(self, row: int, modality: str) -> bool:
        """Whether the product has the modality."""
        return bool(self.data.present_NM[row, INDEX[modality]])

    def giver(self, row: int, modality: str) -> int | None:
        """The product whose content a mismatch gives: the next one in the ring of `apply_noise`
        (share 1) whose content differs; None where there is none or the product has none."""
        content_N = self.data.content_NM[:, INDEX[modality]]
        if content_N[row] < 0:
            return None
        ring_R = self._ring(modality)
        behind_R = np.roll(ring_R, -1 - int((ring_R == row).argmax()))
        other_R = behind_R[content_N[behind_R] != content_N[row]]
        return int(other_R[0]) if len(other_R) else None

    def batch(self, row: int, changes: Mapping[str, ModalityChange]) -> ProductBatch:
        """The product after its changes, as a batch of one; a modality without one is as it is.

        Raises ValueError where a change does not apply, MediaError where a file cannot be read.
        """
        found = {
            m: self.content(row, m, changes.get(m, ModalityChange())) for m in self.data.columns
        }
        there = {m: content for m, content in found.items() if content is not None}
        present_1M = torch.tensor([[m in there for m in MODALITIES]])
        one = np.zeros(1, np.int64)
        tokens = {m: content.column.gather(one) for m, content in there.items()}
        return ProductBatch(tokens, present_1M, torch.tensor([row]))

    def _content(self, row: int, modality: str, change: ModalityChange) -> ModalityContent | None:
        """One modality after its change; None where it is missing. `content` keeps the last ones.

        Raises as `batch` does.
        """
        if not (change.present and self.has(row, modality)):
            return None
        source = self.giver(row, modality) if change.mismatch else row
        if source is None:
            name = self.data.ids[row]
            raise ValueError(f"{name}: no other product has another {modality} to take")
        column = self.data.columns[modality].select(np.array([source]))
        if modality in DISCRETE:
            shown = getattr(self.data.products[source], modality)
        else:
            shown = self._shown(source, modality)
        clean = ModalityContent(shown, column, source)
        if modality == "video":
            clean = replace(clean, place_T=np.arange(int(column.length_N[0])))
        if change.damage is None:
            return clean
        noise = Noise(change.damage[0], modality, change.damage[1])
        (step,) = damage_steps(noise, [self.data.ids[row]], self.seed, INDEX[modality])
        if modality in DISCRETE:
            return self._damaged_words(clean, modality, step)
        return self._damaged_media(clean, modality, step)

    def _damaged_words(
        self, clean: ModalityContent, modality: str, step: DamageStep
    ) -> ModalityContent:
        value = TEXT_DAMAGE[step.kind](clean.shown, step.strength, np.random.default_rng(step.seed))
        product = replace(self.data.products[clean.giver], **{modality: value})
        longest = longest_sequence(self.data, modality)
        column = discrete_column(modality, [product], self.data.tokenizer, longest)
        return replace(clean, shown=value, column=column)

    def _damaged_media(
        self, clean: ModalityContent, modality: str, step: DamageStep
    ) -> ModalityContent:
        if step.kind in FRAME_DAMAGE:
            # A frame is a vector in every source, so the vectors move as their frames do.
            vectors_LF, place_T = (
                FRAME_DAMAGE[step.kind](old, step.strength, np.random.default_rng(step.seed))
                for old in (clean.sequence, clean.place_T)
            )
            shown = None if clean.shown is None else clean.shown[place_T]
            made = pack_column([vectors_LF], None)
        else:
            path, place_T = getattr(self.data.products[clean.giver], modality), clean.place_T
            shown = damage_signal(self._signal(modality, path), [step])
            config, backbone = self.data.config, self._frozen(modality)
            features_LF = signal_features(modality, shown, path, config, backbone)
            made = pack_column([features_LF], longest_sequence(self.data, modality))
        column = replace(
            clean.column, values=made.values, start_N=made.start_N, length_N=made.length_N
        )
        return ModalityContent(shown, column, clean.giver, place_T)

    def _shown(self, row: int, modality: str) -> np.ndarray | None:
        if self._source(modality) == "file":
            return None
        return self._signal(modality, getattr(self.data.products[row], modality))

    def _decode(self, modality: str, path: Path) -> np.ndarray:
        return fitted_signal(modality, path, self.data.config, self._frozen(modality))

    def _source(self, modality: str) -> str:
        return getattr(self.data.config, f"{modality}_features")

    def _frozen(self, modality: str) -> Backbone | None:
        source = self._source(modality)
        return None if source in OWN_SOURCES[modality] else self._backbone(source)

    def _draw_ring(self, modality: str) -> np.ndarray:
        (row_R,) = self.data.present_NM[:, INDEX[modality]].nonzero()
        return exchange_order(self.data, row_R, self.seed, INDEX[modality])


@dataclass(frozen=True)
class ProductOutputs:
    """What a model says of one product; rows and columns of missing modalities are 0."""

    present_M: np.ndarray
    pooled_MD: np.ndarray
    """f_1 .. f_5 of the encoders."""
    fused_MD: np.ndarray
    """The JCT's [CLS] of each modality."""
    cosine_MM: np.ndarray
    """S."""
    softmax_MM: np.ndarray
    """softmax(S) along the row."""
    weighted_MM: np.ndarray
    """S' = S * softmax(S)."""
    normalised_MM: np.ndarray
    """S' with rows of length 1, as the authors' code has it."""
    emb_D: np.ndarray
    """The product's embedding by which it is retrieved; unit length."""
    token_M: np.ndarray
    """Tokens of each modality in the JCT, [CLS] counted."""
    stand_in_M: np.ndarray
    """Tokens that stand in the JCT for each modality that is missing."""


def product_outputs(model: ScaleModel, batch: ProductBatch) -> ProductOutputs:
    """All that the model says of a batch of one product; without gradient, on one thread: for one
    product, threads wait for each other longer than they work.

    Raises ValueError where nothing that the model reads is there, or the batch is not of one.
    """
    if len(batch) != 1:
        raise ValueError(f"a batch of {len(batch)} products; one is read at a time")
    with torch.inference_mode(), one_thread():
        output = model(batch)
        pooled_1MD, present_1M = output.pooled_BMD, output.present_BM
        scores = inter_modality_scores(pooled_1MD, present_1M)
        normalised = inter_modality_scores(pooled_1MD, present_1M, row_normalise=True)
        emb_1D = product_embedding(pooled_1MD, present_1M)
    token_M, stand_in_M = np.zeros((2, len(MODALITIES)), int)
    for m in model.config.modalities:
        token_M[INDEX[m]] = output.encoded[m].shape[1] if m in output.encoded else 0
        stand_in_M[INDEX[m]] = 0 if m in output.encoded else missing_token_count(model, m)
    return ProductOutputs(
        present_1M[0].numpy(),
        pooled_1MD[0].numpy(),
        output.fused_pooled_BMD[0].numpy(),
        scores.cosine_BMM[0].numpy(),
        scores.softmax_BMM[0].numpy(),
        scores.weighted_BMM[0].numpy(),
        normalised.weighted_BMM[0].numpy(),
        emb_1D[0].numpy(),
        token_M,
        stand_in_M,
    )


def logged_weights(reading: ProductOutputs, loss: LossConfig) -> np.ndarray:
    """weight_MM of the product in the form that training logs: from the features and with the row
    normalisation that the run's settings name."""
    if loss.weight_features == "encoder":
        return reading.normalised_MM if loss.row_normalise else reading.weighted_MM
    fused_1MD, present_1M = (
        torch.from_numpy(a)[None] for a in (reading.fused_MD, reading.present_M)
    )
    scores = inter_modality_scores(fused_1MD, present_1M, row_normalise=loss.row_normalise)
    return scores.weighted_BMM[0].numpy()


def nearest_products(
    index: SearchIndex, emb_D: np.ndarray, own_id: str, count: int = 5
) -> list[tuple[str, float]]:
    """Id and cosine of the `count` nearest products of the gallery, best first, but `own_id`."""
    matches = index.query(emb_D[None], count + 1)
    found = zip(matches.ids[0], matches.score_QK[0].tolist(), strict=True)
    return [(name, cosine) for name, cosine in found if name != own_id][:count]


def missing_token_count(model: ScaleModel, modality: str) -> int:
    """Tokens that the model's policy puts into the JCT for a modality that is missing."""
    if model.missing.policy == "learned":
        return 1
    if model.missing.policy != "zero":
        return 0
    return model.config.length(modality) + (SPECS[modality].kind == "continuous")


def with_policy(model: ScaleModel, policy: MissingPolicy) -> ScaleModel:
    """The same weights (shared, not copied) under another policy for missing modalities.

    Raises ValueError for `learned` where the model has no learned tokens: they come from training.
    """
    if policy == model.missing.policy:
        return model
    if policy == "learned":
        raise ValueError(
            f"the model was trained with policy {model.missing.policy!r}: it has no learned tokens"
        )
    with torch.random.fork_rng(devices=[]):
        other = ScaleModel(model.config, MissingConfig(policy))
    weights = {k: v for k, v in model.state_dict().items() if not k.startswith("jct.stand_in.")}
    other.load_state_dict(weights, assign=True)
    return other.eval()


@contextmanager
def one_thread() -> Iterator[None]:
    """torch computes on one thread inside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
