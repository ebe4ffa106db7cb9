"""One product after user-chosen changes, and all outputs of a model for it.

M modalities (five), L length of a sequence, F features of a vector, T frames, H, W, C height, width
and colours of a picture, S samples of a sound, D width, K neighbours.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from scale.config import LossConfig, MissingConfig, MissingPolicy
from scale.data.backbones import Backbone, load_backbone
from scale.data.batch import ProductBatch
from scale.data.dataset import Column, ProductDataset, language_column, standardise
from scale.evaluation.embed import product_embedding
from scale.evaluation.index import SearchIndex
from scale.modalities import DISCRETE, INDEX, MODALITIES
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
from scale.threads import torch_threads

KEPT = 64
"""Cache size for decoded media and for contents after noise."""


@dataclass(frozen=True)
class ModalityChange:
    """Change of one modality of a product; none by default."""

    present: bool = True
    """Keep the modality if the product has it."""
    mismatch: bool = False
    """Take another product's content, before damage."""
    damage: tuple[str, float] | None = None
    """Kind (key of `noise.KINDS`) and strength in its unit."""


@dataclass(frozen=True)
class ModalityContent:
    """Content of one modality, in readable form and as the model's input."""

    shown: str | Table | np.ndarray | None
    """Title, table, frames_THWC (an image is one frame, at the size of the feature extractor) or
    sound_S; None if features come from files."""
    column: Column
    """Column with one sequence of tokens."""
    donor: int
    """Row of the product that the content comes from."""
    place_T: np.ndarray | None = None
    """Clips only: position of each frame in the clean clip."""

    @property
    def sequence(self) -> np.ndarray:
        """ids_L, or unstandardised vectors_LF."""
        start, length = int(self.column.start_N[0]), int(self.column.length_N[0])
        return self.column.values[start : start + length]

    @property
    def entities_read(self) -> set[int]:
        """Tables: indices of the attributes (2k) and values (2k + 1) in the model's input."""
        start, length = int(self.column.start_N[0]), int(self.column.length_N[0])
        return set(self.column.entity_T[start : start + length].tolist()) - {-1}


def batch_of(contents: Mapping[str, ModalityContent | None], row: int) -> ProductBatch:
    """Return the contents of one product by modality (None: missing) as a batch of one."""
    there = {m: content for m, content in contents.items() if content is not None}
    present_1M = torch.tensor([[m in there for m in MODALITIES]])
    one = np.zeros(1, np.int64)
    tokens = {m: content.column.gather(one) for m, content in there.items()}
    return ProductBatch(tokens, present_1M, torch.tensor([row]))


class ProductEditor:
    """Apply interactive changes to single products of a dataset.

    Content and damage equal those of `apply_noise` with noise i on modality i, so a change of one
    modality does not affect the damage of the others. Decoded media are cached.
    """

    def __init__(self, data: ProductDataset, seed: int = 0) -> None:
        self.data, self.seed = data, seed
        self.content = lru_cache(KEPT)(self._content)
        self._signal = lru_cache(KEPT)(self._decode)
        self._ring = lru_cache(len(MODALITIES))(self._draw_ring)

    def kinds(self, modality: str) -> tuple[str, ...]:
        """Return the kinds of damage with a strength that apply to a modality.

        For features from files, only those that permute or drop whole vectors.
        """
        fits = [k for k, kind in KINDS.items() if modality in kind.modalities and kind.unit]
        if modality not in DISCRETE and self._source(modality) == "file":
            fits = [kind for kind in fits if kind in FRAME_DAMAGE]
        return tuple(fits)

    def has(self, row: int, modality: str) -> bool:
        """Return whether the product has the modality."""
        return bool(self.data.present_NM[row, INDEX[modality]])

    def donor(self, row: int, modality: str) -> int | None:
        """Return the product that provides the content of a mismatch.

        It is the next product in the ring of `apply_noise` (share 1) with different content. None
        if there is no such product or the product lacks the modality.
        """
        content_N = self.data.content_id_NM[:, INDEX[modality]]
        if content_N[row] < 0:
            return None
        ring_R = self._ring(modality)
        behind_R = np.roll(ring_R, -1 - int((ring_R == row).argmax()))
        other_R = behind_R[content_N[behind_R] != content_N[row]]
        return int(other_R[0]) if len(other_R) else None

    def batch(self, row: int, changes: Mapping[str, ModalityChange]) -> ProductBatch:
        """Return the product after its changes as a batch of one; other modalities are unchanged.

        Raises ValueError if a change does not apply, MediaError for an unreadable file.
        """
        return batch_of(
            {m: self.content(row, m, changes.get(m, ModalityChange())) for m in self.data.columns},
            row,
        )

    def _content(self, row: int, modality: str, change: ModalityChange) -> ModalityContent | None:
        """Return one modality after its change; None if missing. `content` is the cached version.

        Raises as `batch`.
        """
        if not (change.present and self.has(row, modality)):
            return None
        source = self.donor(row, modality) if change.mismatch else row
        if source is None:
            name = self.data.ids[row]
            raise ValueError(f"{name}: no other product has a different {modality}")
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
        product = replace(self.data.products[clean.donor], **{modality: value})
        longest = longest_sequence(self.data, modality)
        data = self.data
        column = language_column(
            modality, [product], data.config, data.tokenizer, longest, data.options["cache"]
        )
        column = standardise({modality: column}, data.normaliser)[modality]
        return replace(clean, shown=value, column=column)

    def _damaged_media(
        self, clean: ModalityContent, modality: str, step: DamageStep
    ) -> ModalityContent:
        if step.kind in FRAME_DAMAGE:
            # Every source has one vector per frame, so vectors are permuted like frames.
            vectors_LF, place_T = (
                FRAME_DAMAGE[step.kind](old, step.strength, np.random.default_rng(step.seed))
                for old in (clean.sequence, clean.place_T)
            )
            shown = None if clean.shown is None else clean.shown[place_T]
            made = pack_column([vectors_LF], None)
        else:
            path, place_T = getattr(self.data.products[clean.donor], modality), clean.place_T
            shown = damage_signal(self._signal(modality, path), [step])
            config, backbone = self.data.config, self._frozen(modality)
            features_LF = signal_features(modality, shown, path, config, backbone)
            made = pack_column([features_LF], longest_sequence(self.data, modality))
        column = replace(
            clean.column, values=made.values, start_N=made.start_N, length_N=made.length_N
        )
        return ModalityContent(shown, column, clean.donor, place_T)

    def _shown(self, row: int, modality: str) -> np.ndarray | None:
        if self._source(modality) == "file":
            return None
        return self._signal(modality, getattr(self.data.products[row], modality))

    def _decode(self, modality: str, path: Path) -> np.ndarray:
        return fitted_signal(modality, path, self.data.config, self._frozen(modality))

    def _source(self, modality: str) -> str:
        return getattr(self.data.config, f"{modality}_features")

    def _frozen(self, modality: str) -> Backbone | None:
        config = self.data.config
        return load_backbone(modality, config) if config.backbone(modality) else None

    def _draw_ring(self, modality: str) -> np.ndarray:
        (row_R,) = self.data.present_NM[:, INDEX[modality]].nonzero()
        return exchange_order(self.data, row_R, self.seed, INDEX[modality])


@dataclass(frozen=True)
class ProductOutputs:
    """Outputs of a model for one product; rows and columns of missing modalities are 0."""

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
    """S' with rows of length 1, as in the authors' code."""
    emb_D: np.ndarray
    """Unit product embedding for retrieval."""
    token_M: np.ndarray
    """Tokens of each modality in the JCT, [CLS] counted."""
    missing_token_M: np.ndarray
    """Tokens in the JCT in place of each missing modality."""


def product_outputs(model: ScaleModel, batch: ProductBatch) -> ProductOutputs:
    """Compute all outputs of the model for a batch of one product, without gradient.

    Runs on one thread: for a single product, synchronisation costs more than it saves. Raises
    ValueError if the batch has several products or none of the model's modalities.
    """
    if len(batch) != 1:
        raise ValueError(f"expected a batch of one product, got {len(batch)}")
    with torch.inference_mode(), torch_threads(1):
        output = model(batch)
        pooled_1MD, present_1M = output.pooled_BMD, output.present_BM
        scores = inter_modality_scores(pooled_1MD, present_1M)
        normalised = inter_modality_scores(pooled_1MD, present_1M, row_normalise=True)
        emb_1D = product_embedding(pooled_1MD, present_1M)
    token_M, missing_token_M = np.zeros((2, len(MODALITIES)), int)
    for m in model.config.modalities:
        token_M[INDEX[m]] = output.encoded[m].shape[1] if m in output.encoded else 0
        missing_token_M[INDEX[m]] = 0 if m in output.encoded else missing_token_count(model, m)
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
        missing_token_M,
    )


def logged_weights(reading: ProductOutputs, loss: LossConfig) -> np.ndarray:
    """Return weight_MM as logged in training, with the features and normalisation of `loss`."""
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
    """Return ids and cosines of the `count` nearest products except `own_id`, best first."""
    matches = index.query(emb_D[None], count + 1)
    found = zip(matches.ids[0], matches.score_QK[0].tolist(), strict=True)
    return [(name, cosine) for name, cosine in found if name != own_id][:count]


def missing_token_count(model: ScaleModel, modality: str) -> int:
    """Return the number of tokens in the JCT in place of a missing modality."""
    if model.missing.policy == "learned":
        return 1
    if model.missing.policy != "zero":
        return 0
    return model.config.length(modality) + model.config.continuous(modality)


def with_policy(model: ScaleModel, policy: MissingPolicy) -> ScaleModel:
    """Return a model with shared weights and another policy for missing modalities.

    Raises ValueError for `learned` if the model was not trained with learned tokens.
    """
    if policy == model.missing.policy:
        return model
    if policy == "learned":
        raise ValueError(
            f"the model was trained with policy {model.missing.policy!r}: it has no learned tokens"
        )
    with torch.random.fork_rng(devices=[]):
        other = ScaleModel(model.config, MissingConfig(policy), model.architectures)
    weights = {
        k: v for k, v in model.state_dict().items() if not k.startswith("jct.missing_token.")
    }
    other.load_state_dict(weights, assign=True)
    return other.eval()
