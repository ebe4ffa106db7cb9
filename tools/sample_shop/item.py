"""The hidden traits of a product, each partly visible in some modalities; present modalities."""

from dataclasses import dataclass

import numpy as np

from scale.modalities import MODALITIES
from tools.sample_shop.spec import COLOURS, PATTERNS, Category


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split())


BRANDS = _split(
    """
    Nordhus Kaolin Tamarind Velora Brisk Hearthly Ondo Pinewell Mistral Corvo Lumen Sagano
    Tolva Quay Arbor Fennel Kestrel Moku Rivet Solea Tundra Umbra Wickley Yarrow Zephyr
    Basalt Cobalt Drift Ember Flint
    """
)
SERIES = _split(
    """
    Alba Bruno Carla Dune Elia Fjord Gala Hana Iris Juno Kobo Luna Mira Nilo Otto Pia Runa
    Sol Toto Uma Vico Wren Yuki Zora Aria Bodo Cleo Dara Enzo Faro
    """
)
_NATURAL = {"wood": "natural", "steel": "silver", "brass": "gold", "glass": "clear"}
_PAINTED = {"wood": 0.35, "steel": 0.45, "brass": 0.0, "glass": 0.5}
NATURAL_RGB = {
    "natural": (190, 140, 90),
    "silver": (196, 199, 204),
    "gold": (214, 168, 84),
    "clear": (226, 240, 240),
}
_NO_PATTERN = {"steel", "brass", "glass"}
_ACCENTS = {
    "ceramic": ("wood", "plain", "brass"),
    "glass": ("wood", "steel", "brass"),
    "steel": ("wood", "dark", "steel"),
    "brass": ("wood", "brass", "dark"),
    "wood": ("wood", "dark", "brass"),
    "plastic": ("second", "dark", "steel"),
    "cotton": ("strap", "second", "dark"),
    "leather": ("brass", "strap", "steel"),
    "rubber": ("wood", "dark", "second"),
}


@dataclass(frozen=True)
class Item:
    """One product's traits."""

    id: str
    category: Category
    material: str
    colour: str
    second: str
    """Colour of patterns and of coloured small parts."""
    pattern: str
    accent: str
    """Finish of handles, lids and legs."""
    purpose: str
    nouns: str
    """Family of general nouns in its titles."""
    table: str
    """Kind of its table, i.e. the listed attributes."""
    use: str
    """Use shown in its clip."""
    size_cm: float
    brand: str
    series: str
    seed: tuple[int, ...]
    """Start of every random stream of this product."""

    def rng(self, *stream: str | int) -> np.random.Generator:
        """Random generator that depends on the product and the stream's name only."""
        words = [int.from_bytes(str(part).encode(), "little") for part in stream]
        return np.random.default_rng([*self.seed, *words])

    @property
    def rgb(self) -> tuple[int, int, int]:
        """sRGB of the main colour."""
        return {**COLOURS, **NATURAL_RGB}[self.colour]


def pick(rng: np.random.Generator, weights: dict[str, float]) -> str:
    """Draw one key with the given weights."""
    total = sum(weights.values())
    return str(rng.choice(list(weights), p=[w / total for w in weights.values()]))


def draw_item(category: Category, number: int, seed: int) -> Item:
    """Draw the traits of product `number` of the catalogue with this seed."""
    rng = np.random.default_rng([seed, number])
    material = pick(rng, category.materials)
    painted = rng.random() < _PAINTED.get(material, 1.0)
    names = list(COLOURS)
    colour = str(rng.choice(names)) if painted else _NATURAL[material]
    plain = material in _NO_PATTERN or not painted
    second = str(rng.choice([n for n in ("white", "black", "beige", *names) if n != colour]))
    low, high = np.log(category.size_cm)
    return Item(
        id=f"p{number:04d}",
        category=category,
        material=material,
        colour=colour,
        second=second,
        pattern="solid" if plain else pick(rng, PATTERNS),
        accent=str(rng.choice(_ACCENTS[material])),
        purpose=pick(rng, category.purposes),
        nouns=pick(rng, category.nouns),
        table=pick(rng, category.tables),
        use=pick(rng, category.uses),
        size_cm=round(float(np.exp(rng.uniform(low, high))), 1),
        brand=str(rng.choice(BRANDS)),
        series=str(rng.choice(SERIES)),
        seed=(seed, number),
    )


# Sellers differ: shops film and record more than private sellers, some never fill in a table.
_SHOP = {"text": 0.99, "table": 0.98, "image": 0.985, "video": 1.2, "audio": 1.2}
_PRIVATE = {"text": 0.97, "table": 0.78, "image": 0.95, "video": 0.3, "audio": 0.45}


def present(item: Item) -> tuple[str, ...]:
    """Draw the present modalities in the usual order; at least two.

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
