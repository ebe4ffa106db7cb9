"""Which modalities a product has: by category, by kind of seller, and at random."""

from scale.modalities import MODALITIES
from tools.sample_shop.item import Item

# Sellers differ: shops film and record more than private people, some never fill in a table.
_SHOP = {"text": 0.99, "table": 0.98, "image": 0.985, "video": 1.2, "audio": 1.2}
_PRIVATE = {"text": 0.97, "table": 0.78, "image": 0.95, "video": 0.3, "audio": 0.45}


def present(item: Item) -> tuple[str, ...]:
    """Modalities in the one order; at least two.

    P(video) and P(audio) are the category's chance times the seller's factor.
    """
    rng = item.rng("missing")
    seller = _SHOP if rng.random() < 0.62 else _PRIVATE
    chance = {"video": item.category.filmed, "audio": item.category.sounds}
    draws = {m: rng.random() for m in MODALITIES}
    has = [m for m in MODALITIES if draws[m] < seller[m] * chance.get(m, 1.0)]
    if len(has) < 2:
        has = [m for m in MODALITIES if m in has or m in ("text", "image")]
    return tuple(has)
