"""Order of the products: a pure function of (seed, step), so that a run can be resumed anywhere."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from scale.data.dataset import ProductDataset
from scale.data.shards.reader import ShardDataset
from scale.seeding import derived_seed

ORDER_STREAM = 1
"""Number of the random stream of the order (`scale.seeding`)."""


@dataclass(frozen=True, eq=False)
class ShuffleBlocks:
    """Products stored together, and the number of such blocks that are shuffled together."""

    edges: np.ndarray
    """First product of each block, in order, and the number of products."""
    together: int

    def permutation(self, random: np.random.Generator) -> np.ndarray:
        """Return all products: random groups of `together` blocks, shuffled within each group."""
        drawn = random.permutation(len(self.edges) - 1)
        groups = []
        for at in range(0, len(drawn), self.together):
            chosen = drawn[at : at + self.together]
            rows = [np.arange(self.edges[b], self.edges[b + 1]) for b in chosen]
            groups.append(random.permutation(np.concatenate(rows)))
        return np.concatenate(groups)


def shuffle_blocks(dataset: ProductDataset | ShardDataset, together: int) -> ShuffleBlocks | None:
    """Return the blocks of a data set; None (`together` 0) shuffles all products together.

    Raises ValueError if the data set does not consist of shards.
    """
    if not together:
        return None
    if not isinstance(dataset, ShardDataset):
        raise ValueError("train.shuffle_shards is for shards (scale shards), not for a catalogue")
    return ShuffleBlocks(dataset.edges, together)


def steps_per_epoch(products: int, batch_size: int) -> int:
    """Return the number of whole batches of an epoch; 1 for fewer products than a batch."""
    return max(1, products // batch_size)


def batch_indices(
    products: int, batch_size: int, seed: int, step: int, blocks: ShuffleBlocks | None = None
) -> np.ndarray:
    """Return the indices of the products of one step.

    Each epoch is a new permutation (seeded by seed and epoch), cut into batches; the incomplete
    last batch is dropped.
    """
    epoch, position = divmod(step, steps_per_epoch(products, batch_size))
    order = _epoch_order(products, seed, epoch, blocks)
    return order[position * batch_size : (position + 1) * batch_size].copy()


@lru_cache(maxsize=2)
def _epoch_order(products: int, seed: int, epoch: int, blocks: ShuffleBlocks | None) -> np.ndarray:
    """Cached because shuffling millions of products takes longer than a step."""
    random = np.random.default_rng(derived_seed(seed, ORDER_STREAM, epoch))
    order = random.permutation(products) if blocks is None else blocks.permutation(random)
    order.flags.writeable = False
    return order
