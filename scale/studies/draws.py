"""Random choices that depend on names and seeds alone, never on who else is there.

N products, T things of one product (frames, words, values).
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from scale.seeding import derived_seed


def numbers(names: Sequence[str], *parts: int) -> np.ndarray:
    """number_N (uint64): a hash of each name under the key derived from `parts`.

    The same name gets the same number in any company; other parts give unrelated numbers.
    """
    key = derived_seed(*parts).to_bytes(8, "little")
    digests = (hashlib.blake2b(n.encode(), digest_size=8, key=key).digest() for n in names)
    return np.frombuffer(b"".join(digests), "<u8")


def uniforms(names: Sequence[str], *parts: int) -> np.ndarray:
    """draw_N (float64) in [0, 1): `numbers` / 2^64, cut to 53 bits."""
    return (numbers(names, *parts) >> np.uint64(11)) * 2.0**-53


def share_of(count: int, share: float) -> int:
    """How many of `count` things a share means: rounded, halves upwards."""
    return int(np.floor(share * count + 0.5))


def kept_places(count: int, share: float, random: np.random.Generator) -> np.ndarray:
    """Places that stay, ascending, when a share of `count` things is removed; one always stays.

    A larger share under the same random state removes the same things and more.
    """
    order_T = random.permutation(count)
    return np.sort(order_T[min(share_of(count, share), max(count - 1, 0)) :])


def moved_places(count: int, share: float, random: np.random.Generator) -> np.ndarray:
    """source_T: where the thing at each place comes from when a share of `count` change places.

    The chosen ones move around one ring, so each of them leaves its place. One cannot move alone:
    a share that means one moves two, and of a single thing none.
    """
    order_T, chosen = random.permutation(count), share_of(count, share)
    ring = order_T[: max(chosen, 2) if chosen and count > 1 else 0]
    source_T = np.arange(count)
    source_T[ring] = np.roll(ring, 1)
    return source_T
