"""What noise does to each product, as a plan; and the dataset that the plan makes.

N products, M modalities (five), R rows of the dataset.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from scale.data.columns import Column, discrete_column
from scale.data.dataset import ProductDataset
from scale.data.product import Product
from scale.modalities import DISCRETE, INDEX, MODALITIES
from scale.studies.damage import DamageJob, Step, column_of, damaged_features, graft
from scale.studies.signals import FRAMES
from scale.studies.words import WORDS


@dataclass
class Plan:
    """Whose content each product gets, and how it is damaged."""

    source_NM: np.ndarray
    """int64: row of the dataset whose content stands there; -1 where absent."""
    hit_NM: np.ndarray
    """bool: hit by any noise."""
    steps: dict[tuple[int, int], tuple[Step, ...]] = field(default_factory=dict)
    """By row and modality, in the order of the noises; content takes its damage along."""

    @staticmethod
    def clean(present_NM: np.ndarray) -> "Plan":
        """Every product with its own content."""
        own_NM = np.broadcast_to(np.arange(len(present_NM))[:, None], present_NM.shape)
        return Plan(np.where(present_NM, own_NM, -1), np.zeros(present_NM.shape, bool))

    def remove(self, removed_NM: np.ndarray) -> None:
        """Take away what is True."""
        self.source_NM[removed_NM] = -1
        self.hit_NM |= removed_NM
        for place in [place for place in self.steps if removed_NM[place]]:
            del self.steps[place]

    def rotate(self, ring_R: np.ndarray, modality: int) -> None:
        """Each row of the ring gets the content of the one behind it; fewer than two do nothing."""
        if len(ring_R) < 2:
            return
        from_R = np.roll(ring_R, -1)
        self.source_NM[ring_R, modality] = self.source_NM[from_R, modality]
        self.hit_NM[ring_R, modality] = True
        taken = [self.steps.pop((row, modality), ()) for row in from_R.tolist()]
        for row, steps in zip(ring_R.tolist(), taken, strict=True):
            if steps:
                self.steps[row, modality] = steps

    def add(self, row: int, modality: int, step: Step) -> None:
        """Damage what stands at a place."""
        self.hit_NM[row, modality] = True
        self.steps[row, modality] = (*self.steps.get((row, modality), ()), step)


def realise(dataset: ProductDataset, plan: Plan) -> ProductDataset:
    """The dataset that `plan` makes; tokens that nothing damages are shared with `dataset`."""
    present_NM = plan.source_NM >= 0
    # Row 0 stands in for "none", so that one gather serves all; presence then blanks it.
    from_NM = np.where(present_NM, plan.source_NM, 0)
    content_NM = np.where(present_NM, np.take_along_axis(dataset.content_NM, from_NM, axis=0), -1)
    products = list(dataset.products)
    for row in plan.hit_NM.any(1).nonzero()[0].tolist():
        products[row] = _changed(dataset, plan, row)
    columns = {}
    for m, column in dataset.columns.items():
        moved = column.select(from_NM[:, INDEX[m]])
        length_N = np.where(present_NM[:, INDEX[m]], moved.length_N, 0)
        moved = replace(moved, length_N=length_N)
        columns[m] = _damaged(dataset, m, moved, products, plan)
    return replace(dataset, products=tuple(products), columns=columns, content_NM=content_NM)


def _changed(dataset: ProductDataset, plan: Plan, row: int) -> Product:
    """The record of one product, with the content that it has now."""
    product = dataset.products[row]
    values, content = {}, dict(product.content)
    for m in MODALITIES:
        source = int(plan.source_NM[row, INDEX[m]])
        giver = dataset.products[source]
        value = getattr(giver, m) if source >= 0 else None
        if m in DISCRETE:
            for step in plan.steps.get((row, INDEX[m]), ()):
                random = np.random.default_rng(step.seed)
                value = WORDS[step.kind](value, step.strength, random)
        values[m] = value
        content.pop(m, None)
        if source >= 0 and m in giver.content:
            content[m] = giver.content[m]
    return replace(product, **values, content=content)


def _damaged(
    dataset: ProductDataset, m: str, column: Column, products: Sequence[Product], plan: Plan
) -> Column:
    """The column of one modality with damaged tokens where the plan has steps."""
    steps = {row: s for (row, place), s in plan.steps.items() if place == INDEX[m]}
    if not steps:
        return column
    rows, longest = sorted(steps), longest_sequence(dataset, m)
    hit = [products[row] for row in rows]
    if m in DISCRETE:
        damaged = discrete_column(m, hit, dataset.tokenizer, longest)
    else:
        features = _vectors(dataset, m, column, rows, [steps[row] for row in rows], hit)
        damaged = column_of(features, longest)
    return graft(column, np.array(rows), damaged)


def longest_sequence(dataset: ProductDataset, m: str) -> int | None:
    """Tokens of a modality that are kept; None where nothing limits the vectors of a medium."""
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
    steps: Sequence[tuple[Step, ...]],
    hit: Sequence[Product],
) -> list[np.ndarray]:
    """Vectors of each row after its steps."""
    features: dict[int, np.ndarray] = {}
    jobs: dict[int, DamageJob] = {}
    for row, chain, product in zip(rows, steps, hit, strict=True):
        if all(step.kind in FRAMES for step in chain):
            # A frame is a vector in every source, so nothing need be decoded.
            start, length = column.start_N[row], column.length_N[row]
            vectors_LF = column.values[start : start + length]
            for step in chain:
                random = np.random.default_rng(step.seed)
                vectors_LF = FRAMES[step.kind](vectors_LF, step.strength, random)
            features[row] = vectors_LF
        else:
            jobs[row] = DamageJob(getattr(product, m), chain)
    cache, workers = dataset.options["cache"], dataset.options.get("workers")
    made = damaged_features(m, list(jobs.values()), dataset.config, cache, workers) if jobs else []
    features |= zip(jobs, made, strict=True)
    return [features[row] for row in rows]
