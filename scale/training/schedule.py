"""What a step looks at and how far it goes: pure functions of the step, so a run can stop anywhere.

E steps of an epoch.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from torch import nn

from scale.data.dataset import ProductDataset
from scale.data.shards.reader import ShardDataset
from scale.seeding import derived_seed

ORDER_STREAM = 1
"""Number of the random stream that orders the data (`scale.seeding`)."""


def learning_rate(step: int, steps: int, peak: float, warmup_share: float) -> float:
    """Linear warm-up to `peak` over the first `warmup_share` of the steps, then a cosine to 0.

    warm-up: peak (step + 1) / W;  then  peak/2 (1 + cos(pi (step - W) / (steps - W))).

    `step` counts from 0. Warm-up has at least one step, so the first step always learns.
    """
    warmup = max(1, round(steps * warmup_share))
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak / 2 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def steps_per_epoch(products: int, batch_size: int) -> int:
    """Whole batches in a pass over the data; one where there are fewer products than a batch."""
    return max(1, products // batch_size)


@dataclass(frozen=True, eq=False)
class Blocks:
    """Products that lie together on disk, and how many of such blocks are shuffled together."""

    edges: np.ndarray
    """First product of each block, in order, and the number of products."""
    together: int

    def permutation(self, random: np.random.Generator) -> np.ndarray:
        """All products: blocks at random, `together` at a time, and the products of those."""
        drawn = random.permutation(len(self.edges) - 1)
        groups = []
        for at in range(0, len(drawn), self.together):
            chosen = drawn[at : at + self.together]
            rows = [np.arange(self.edges[b], self.edges[b + 1]) for b in chosen]
            groups.append(random.permutation(np.concatenate(rows)))
        return np.concatenate(groups)


def blocks_of(train: ProductDataset | ShardDataset, together: int) -> Blocks | None:
    """How to shuffle; None for all products together. Raises ValueError without shards."""
    if not together:
        return None
    if not isinstance(train, ShardDataset):
        raise ValueError("train.shuffle_shards is for shards (scale shards), not for a catalogue")
    return Blocks(train.edges, together)


def batch_indices(
    products: int, batch_size: int, seed: int, step: int, blocks: Blocks | None = None
) -> np.ndarray:
    """Positions of the products of one step: a pure function of its arguments.

    Each epoch is a fresh permutation (seeded by seed and epoch), cut into batches; the rest that
    fills no batch waits for another epoch's order. `blocks` keeps together what lies together.
    """
    epoch, place = divmod(step, steps_per_epoch(products, batch_size))
    order = _epoch_order(products, seed, epoch, blocks)
    return order[place * batch_size : (place + 1) * batch_size].copy()


@lru_cache(maxsize=2)
def _epoch_order(products: int, seed: int, epoch: int, blocks: Blocks | None) -> np.ndarray:
    """Millions of products take longer to shuffle than a step may last."""
    random = np.random.default_rng(derived_seed(seed, ORDER_STREAM, epoch))
    order = random.permutation(products) if blocks is None else blocks.permutation(random)
    order.flags.writeable = False
    return order


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Parameters in two groups: matrices decay; vectors, embeddings and learned tokens do not."""
    embeddings = {
        id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()
    }
    decayed, free = [], []
    for name, parameter in model.named_parameters():
        learned_token = name.endswith(("cls_token", "mask_token", "position"))
        matrix = parameter.dim() >= 2 and "missing_token" not in name
        decays = matrix and not learned_token and id(parameter) not in embeddings
        (decayed if decays else free).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
