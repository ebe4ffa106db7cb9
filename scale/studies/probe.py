"""One product under a lens: its content after noise that may change at any moment.

M modalities (five), L length of a sequence, F features of a vector, T frames, H, W, C
height, width and colours of a picture, S samples of a sound.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from scale.data.backbones import Backbone
from scale.data.batch import ProductBatch
from scale.data.cache import OWN_SOURCES
from scale.data.columns import Column, discrete_column
from scale.data.dataset import ProductDataset
from scale.modalities import DISCRETE, INDEX, MODALITIES
from scale.studies.damage import Step, column_of, damage_signal, fitted_signal, signal_features
from scale.studies.noise import KINDS, Noise, damage_steps, exchange_ring
from scale.studies.noisy import longest_sequence
from scale.studies.signals import FRAMES
from scale.studies.words import WORDS, Table

KEPT = 64
"""Decoded media, and contents after noise, that are kept."""


@dataclass(frozen=True)
class Change:
    """What is done to one modality of a product; by default nothing."""

    present: bool = True
    """Whether the model gets the modality, where the product has it."""
    mismatch: bool = False
    """Take another product's content; damage comes after it."""
    damage: tuple[str, float] | None = None
    """Kind (key of `noise.KINDS`) and strength in its unit."""


@dataclass(frozen=True)
class Content:
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


class Probe:
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
            fits = [kind for kind in fits if kind in FRAMES]
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

    def batch(self, row: int, changes: Mapping[str, Change]) -> ProductBatch:
        """The product after its changes, as a batch of one; a modality without one is as it is.

        Raises ValueError where a change does not apply, MediaError where a file cannot be read.
        """
        found = {m: self.content(row, m, changes.get(m, Change())) for m in self.data.columns}
        there = {m: content for m, content in found.items() if content is not None}
        present_1M = torch.tensor([[m in there for m in MODALITIES]])
        one = np.zeros(1, np.int64)
        tokens = {m: content.column.gather(one) for m, content in there.items()}
        return ProductBatch(tokens, present_1M, torch.tensor([row]))

    def _content(self, row: int, modality: str, change: Change) -> Content | None:
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
        clean = Content(shown, column, source)
        if modality == "video":
            clean = replace(clean, place_T=np.arange(int(column.length_N[0])))
        if change.damage is None:
            return clean
        noise = Noise(change.damage[0], modality, change.damage[1])
        (step,) = damage_steps(noise, [self.data.ids[row]], self.seed, INDEX[modality])
        if modality in DISCRETE:
            return self._damaged_words(clean, modality, step)
        return self._damaged_media(clean, modality, step)

    def _damaged_words(self, clean: Content, modality: str, step: Step) -> Content:
        value = WORDS[step.kind](clean.shown, step.strength, np.random.default_rng(step.seed))
        product = replace(self.data.products[clean.giver], **{modality: value})
        longest = longest_sequence(self.data, modality)
        column = discrete_column(modality, [product], self.data.tokenizer, longest)
        return replace(clean, shown=value, column=column)

    def _damaged_media(self, clean: Content, modality: str, step: Step) -> Content:
        if step.kind in FRAMES:
            # A frame is a vector in every source, so the vectors move as their frames do.
            vectors_LF, place_T = (
                FRAMES[step.kind](old, step.strength, np.random.default_rng(step.seed))
                for old in (clean.sequence, clean.place_T)
            )
            shown = None if clean.shown is None else clean.shown[place_T]
            made = column_of([vectors_LF], None)
        else:
            path, place_T = getattr(self.data.products[clean.giver], modality), clean.place_T
            shown = damage_signal(self._signal(modality, path), [step])
            config, backbone = self.data.config, self._frozen(modality)
            features_LF = signal_features(modality, shown, path, config, backbone)
            made = column_of([features_LF], longest_sequence(self.data, modality))
        column = replace(
            clean.column, values=made.values, start_N=made.start_N, length_N=made.length_N
        )
        return Content(shown, column, clean.giver, place_T)

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
        return exchange_ring(self.data, row_R, self.seed, INDEX[modality])
