"""Noise on the products of a dataset, applied at run time and seeded.

The same product is damaged in the same way under the same seed, whatever the other products are.
Only a mismatch depends on the other hit products, because they exchange their content.

N products, M modalities (five), R rows that are hit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np

from scale.data.dataset import Column, ProductDataset, language_column
from scale.data.product import Product
from scale.modalities import DISCRETE, INDEX, MODALITIES
from scale.studies.damage import (
    FRAME_DAMAGE,
    TEXT_DAMAGE,
    DamageJob,
    DamageStep,
    damaged_features,
    name_hashes,
    name_uniforms,
    pack_column,
    replace_sequences,
)


@dataclass
class NoisePlan:
    """Source and damage of each product's content."""

    source_NM: np.ndarray
    """int64: row of the dataset that provides the content; -1 where absent."""
    hit_NM: np.ndarray
    """bool: hit by any noise."""
    steps: dict[tuple[int, int], tuple[DamageStep, ...]] = field(default_factory=dict)
    """By row and modality, in the order of the noises; damage moves with its content."""

    @staticmethod
    def clean(present_NM: np.ndarray) -> "NoisePlan":
        """Return a plan in which each product has its own content."""
        own_NM = np.broadcast_to(np.arange(len(present_NM))[:, None], present_NM.shape)
        return NoisePlan(np.where(present_NM, own_NM, -1), np.zeros(present_NM.shape, bool))

    def remove(self, removed_NM: np.ndarray) -> None:
        """Remove the modalities that are True."""
        self.source_NM[removed_NM] = -1
        self.hit_NM |= removed_NM
        for place in [place for place in self.steps if removed_NM[place]]:
            del self.steps[place]

    def exchange(self, ring_R: np.ndarray, modality: int) -> None:
        """Give each row the content of the next row of the ring; fewer than two rows do nothing."""
        if len(ring_R) < 2:
            return
        from_R = np.roll(ring_R, -1)
        self.source_NM[ring_R, modality] = self.source_NM[from_R, modality]
        self.hit_NM[ring_R, modality] = True
        taken = [self.steps.pop((row, modality), ()) for row in from_R.tolist()]
        for row, steps in zip(ring_R.tolist(), taken, strict=True):
            if steps:
                self.steps[row, modality] = steps

    def add(self, row: int, modality: int, step: DamageStep) -> None:
        """Append a damage step to the content of a row and modality."""
        self.hit_NM[row, modality] = True
        self.steps[row, modality] = (*self.steps.get((row, modality), ()), step)


def apply_plan(dataset: ProductDataset, plan: NoisePlan) -> ProductDataset:
    """Return the dataset after a plan; undamaged tokens are shared with `dataset`."""
    present_NM = plan.source_NM >= 0
    # Absent content is gathered from row 0 and then blanked.
    from_NM = np.where(present_NM, plan.source_NM, 0)
    content_id_NM = np.where(
        present_NM, np.take_along_axis(dataset.content_id_NM, from_NM, axis=0), -1
    )
    products = list(dataset.products)
    for row in plan.hit_NM.any(1).nonzero()[0].tolist():
        products[row] = _changed(dataset, plan, row)
    columns = {}
    for m, column in dataset.columns.items():
        moved = column.select(from_NM[:, INDEX[m]])
        length_N = np.where(present_NM[:, INDEX[m]], moved.length_N, 0)
        moved = replace(moved, length_N=length_N)
        columns[m] = _damaged(dataset, m, moved, products, plan)
    return replace(dataset, products=tuple(products), columns=columns, content_id_NM=content_id_NM)


def _changed(dataset: ProductDataset, plan: NoisePlan, row: int) -> Product:
    """Return the record of one product with its new content."""
    product = dataset.products[row]
    values, content = {}, dict(product.content)
    for m in MODALITIES:
        source = int(plan.source_NM[row, INDEX[m]])
        donor = dataset.products[source]
        value = getattr(donor, m) if source >= 0 else None
        if m in DISCRETE:
            for step in plan.steps.get((row, INDEX[m]), ()):
                random = np.random.default_rng(step.seed)
                value = TEXT_DAMAGE[step.kind](value, step.strength, random)
        values[m] = value
        content.pop(m, None)
        if source >= 0 and m in donor.content:
            content[m] = donor.content[m]
    return replace(product, **values, content=content)


def _damaged(
    dataset: ProductDataset, m: str, column: Column, products: Sequence[Product], plan: NoisePlan
) -> Column:
    """Return the column of one modality with its damaged tokens."""
    steps = {row: s for (row, place), s in plan.steps.items() if place == INDEX[m]}
    if not steps:
        return column
    rows, longest = sorted(steps), longest_sequence(dataset, m)
    hit = [products[row] for row in rows]
    if m in DISCRETE:
        damaged = language_column(
            m, hit, dataset.config, dataset.tokenizer, longest, dataset.options["cache"]
        )
    else:
        features = _vectors(dataset, m, column, rows, [steps[row] for row in rows], hit)
        damaged = pack_column(features, longest)
    return replace_sequences(column, np.array(rows), damaged)


def longest_sequence(dataset: ProductDataset, m: str) -> int | None:
    """Return the maximum number of tokens of a modality; None for vectors without a limit."""
    limit = dataset.options.get("lengths", {}).get(m)
    if m not in DISCRETE:
        return limit
    longest = getattr(dataset.config, f"{m}_length")
    return min(longest, limit or longest)


def _vectors(
    dataset: ProductDataset,
    m: str,
    column: Column,
    rows: Sequence[int],
    steps: Sequence[tuple[DamageStep, ...]],
    hit: Sequence[Product],
) -> list[np.ndarray]:
    """Return the vectors of each row after its steps."""
    features: dict[int, np.ndarray] = {}
    jobs: dict[int, DamageJob] = {}
    for row, chain, product in zip(rows, steps, hit, strict=True):
        if all(step.kind in FRAME_DAMAGE for step in chain):
            # A frame is a vector in every source, so nothing need be decoded.
            start, length = column.start_N[row], column.length_N[row]
            vectors_LF = column.values[start : start + length]
            for step in chain:
                random = np.random.default_rng(step.seed)
                vectors_LF = FRAME_DAMAGE[step.kind](vectors_LF, step.strength, random)
            features[row] = vectors_LF
        else:
            jobs[row] = DamageJob(getattr(product, m), chain)
    cache, workers = dataset.options["cache"], dataset.options.get("workers")
    made = damaged_features(m, list(jobs.values()), dataset.config, cache, workers) if jobs else []
    features |= zip(jobs, made, strict=True)
    return [features[row] for row in rows]


ABSENCE_KINDS = ("missing", "missing_category")
UNSEEDED = ("blur", "jpeg")
"""Deterministic kinds: the same file gives the same damage."""

HIT_STREAM, DAMAGE_STREAM, ORDER_STREAM = range(3)
"""Streams of random numbers: which products are hit, their damage, the order of exchange."""


@dataclass(frozen=True)
class NoiseKind:
    """One kind of noise; docs/studies.md describes each."""

    modalities: tuple[str, ...]
    """Modalities it applies to, in canonical order."""
    unit: str = ""
    """Unit of the strength; empty if the kind has none."""
    low: float = 1.0
    """Limits of the strength."""
    high: float = 1.0


_VISUAL = ("image", "video")
KINDS: dict[str, NoiseKind] = {
    "missing": NoiseKind(MODALITIES),
    "missing_category": NoiseKind(MODALITIES),
    "mismatch": NoiseKind(MODALITIES),
    "gaussian": NoiseKind(_VISUAL, "grey levels of 255 (standard deviation)", 0.0, 255.0),
    "blur": NoiseKind(_VISUAL, "pixels (standard deviation)", 0.0, 100.0),
    "jpeg": NoiseKind(_VISUAL, "JPEG quality, lower is worse", 1.0, 95.0),
    "frame_drop": NoiseKind(("video",), "share of the frames removed", 0.0),
    "frame_shuffle": NoiseKind(("video",), "share of the frames that change place", 0.0),
    "snr": NoiseKind(("audio",), "dB, power of the sound over power of the noise", -60.0, 120.0),
    "word_drop": NoiseKind(("text",), "share of the words removed", 0.0),
    "typo": NoiseKind(("text",), "share of the words with one typing error", 0.0),
    "attribute_swap": NoiseKind(("table",), "share of the values exchanged", 0.0),
}


@dataclass(frozen=True)
class Noise:
    """One noise on one modality."""

    kind: str
    """Key of KINDS."""
    modality: str
    """The modality that is hit."""
    strength: float = 1.0
    """Amount of damage to each hit product, in the kind's unit; 1 if it has none."""
    share: float = 1.0
    """Probability that a product with the modality is hit, or a category for `missing_category`.
    Draws are independent, so the share in a dataset varies around it."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown noise {self.kind!r}; known: {', '.join(KINDS)}")
        kind = KINDS[self.kind]
        if self.modality not in kind.modalities:
            fits = ", ".join(kind.modalities)
            raise ValueError(f"{self.kind} does not apply to {self.modality!r}; it does to: {fits}")
        if not kind.low <= self.strength <= kind.high:
            unit = f" {kind.unit}" if kind.unit else " (the kind has no strength)"
            limits = f"{kind.low:g} to {kind.high:g}{unit}"
            raise ValueError(f"{self.kind}: strength {self.strength} is outside {limits}")
        if not 0.0 <= self.share <= 1.0:
            raise ValueError(f"{self.kind}: share {self.share} is outside 0 to 1")


@dataclass(frozen=True)
class NoisyDataset:
    """A dataset after noise, with the ground truth about its content."""

    dataset: ProductDataset
    true_NM: np.ndarray
    """bool: present and equal to the product's own content (possibly damaged)."""
    hit_NM: np.ndarray
    """bool: hit by any noise."""

    def rows(self, ids: Sequence[str]) -> list[int]:
        """Return the rows of the products `ids`."""
        row = {product: i for i, product in enumerate(self.dataset.ids)}
        return [row[product] for product in ids]


def apply_noise(dataset: ProductDataset, noises: Sequence[Noise], seed: int) -> NoisyDataset:
    """Apply all `noises` in order to the products of a dataset; the dataset itself is unchanged.

    A product is hit if u < share, with u uniform in [0, 1) from (seed, index of the noise in
    `noises`, product id). u does not depend on the share: products hit at 0.1 are also hit at 0.3.
    Damage is nested in the same way: a larger strength drops the same words or frames and more.

    `missing`: consecutive absences are applied together, and a product that would lose everything
    keeps the modality with the largest u / share. `mismatch`: the hit products exchange content
    along one ring, so none keeps its own and no content is used twice; fewer than two products are
    left unchanged. Content received from a product with equal content counts as true.

    Damaged content keeps its number in `content_id_NM`, and `products` the path of the clean file.
    The normaliser is that of the clean training data. Second views (`dataset.view`) stay clean.

    Raises:
        ValueError: media are to be damaged, but features come from files.
        MediaError: a media file can no longer be read.
    """
    plan = NoisePlan.clean(dataset.present_NM)
    for absent, group in groupby(enumerate(noises), lambda item: item[1].kind in ABSENCE_KINDS):
        if absent:
            _remove(plan, dataset, group, seed)
            continue
        for place, noise in group:
            rows_R = _hit_rows(plan, dataset, noise, seed, place)
            if noise.kind == "mismatch":
                plan.exchange(exchange_order(dataset, rows_R, seed, place), INDEX[noise.modality])
                continue
            steps = damage_steps(noise, [dataset.ids[row] for row in rows_R], seed, place)
            for row, step in zip(rows_R.tolist(), steps, strict=True):
                plan.add(row, INDEX[noise.modality], step)
    noisy = apply_plan(dataset, plan)
    own_NM = noisy.content_id_NM == dataset.content_id_NM
    return NoisyDataset(noisy, noisy.present_NM & own_NM, plan.hit_NM)


def exchange_order(
    dataset: ProductDataset, rows_R: np.ndarray, seed: int, place: int
) -> np.ndarray:
    """Return the rows in the order of the ring along which a mismatch exchanges content."""
    number_R = name_hashes([dataset.ids[row] for row in rows_R], seed, place, ORDER_STREAM)
    return rows_R[np.argsort(number_R, kind="stable")]


def _hit_rows(
    plan: NoisePlan, dataset: ProductDataset, noise: Noise, seed: int, place: int
) -> np.ndarray:
    present_N = plan.source_NM[:, INDEX[noise.modality]] >= 0
    draw_N = name_uniforms(dataset.ids, seed, place, HIT_STREAM)
    return (present_N & (draw_N < noise.share)).nonzero()[0]


def _remove(
    plan: NoisePlan, dataset: ProductDataset, group: Iterable[tuple[int, Noise]], seed: int
) -> None:
    """Remove modalities where u < share, but never the last one of a product."""
    # margin = u / share: hit below 1; the order within a product is the same for all shares.
    margin_NM = np.full(plan.source_NM.shape, np.inf)
    for place, noise in group:
        if noise.share == 0:
            continue
        names = dataset.ids
        if noise.kind == "missing_category":
            names = [product.category or "" for product in dataset.products]
        draw_N = np.where(
            np.array(names) == "", np.inf, name_uniforms(names, seed, place, HIT_STREAM)
        )
        column_N = margin_NM[:, INDEX[noise.modality]]
        np.minimum(column_N, draw_N / noise.share, out=column_N)
    present_NM = plan.source_NM >= 0
    removed_NM = present_NM & (margin_NM < 1)
    all_N = present_NM.any(1) & (removed_NM == present_NM).all(1)
    last_N = np.where(present_NM, margin_NM, -1.0).argmax(1)
    removed_NM[all_N, last_N[all_N]] = False
    plan.remove(removed_NM)


def damage_steps(noise: Noise, ids: Sequence[str], seed: int, place: int) -> list[DamageStep]:
    """Return the damage of the noise with index `place` to each of the products `ids`."""
    seed_R = name_hashes(ids, seed, place, DAMAGE_STREAM).tolist()
    seed_R = [0] * len(ids) if noise.kind in UNSEEDED else seed_R
    return [DamageStep(noise.kind, noise.strength, own) for own in seed_R]


def missing_at_random(rate: float) -> tuple[Noise, ...]:
    """Return noises: each modality of a product is missing with probability `rate`, independently.

    A product that would lose all modalities keeps one, so the effective rate is slightly lower.
    """
    return tuple(Noise("missing", m, share=rate) for m in MODALITIES)


def mismatch_everywhere(rate: float) -> tuple[Noise, ...]:
    """Return noises: each modality of each product is another product's with probability `rate`."""
    return tuple(Noise("mismatch", m, share=rate) for m in MODALITIES)


def mismatch_uneven(low: float = 0.1, high: float = 0.5) -> tuple[Noise, ...]:
    """Return mismatch at rates that increase linearly from `low` (text) to `high` (audio)."""
    rates = np.linspace(low, high, len(MODALITIES)).tolist()
    return tuple(Noise("mismatch", m, share=r) for m, r in zip(MODALITIES, rates, strict=True))
