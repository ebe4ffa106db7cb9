"""The 34 categories of the shop and their distributions of product traits.

No trait belongs to one category alone. A purpose (titles), a kind of table, a way of use (clips)
and a material (sounds) are each shared by several categories; only together they identify one.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Category:
    """A category: weights of its traits and the probabilities of a clip and a sound."""

    name: str
    purposes: dict[str, float]
    """Purposes, named in titles."""
    nouns: dict[str, float]
    """Family of general nouns in its titles."""
    features: dict[str, float]
    """Build features named in its titles and tables."""
    tables: dict[str, float]
    """Kind of its table, i.e. the listed attributes."""
    materials: dict[str, float]
    uses: dict[str, float]
    """Uses shown in its clips."""
    modes: str
    """Family of vibration modes of its sound."""
    size_cm: tuple[float, float]
    elevation: tuple[float, float]
    """Elevation of the camera in degrees."""
    filmed: float
    """Probability of a clip and, below, of a sound."""
    sounds: float


def _mix(text: str, power: float) -> dict[str, float]:
    """`'tea 3, office'` -> {'tea': 0.75, 'office': 0.25} with power 1; higher: more contrast."""
    words = [part.split() for part in text.split(",")]
    weights = {w[0]: (float(w[1]) if len(w) > 1 else 1.0) ** power for w in words}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


# In order of size: the number of products falls along this list like Zipf's law.
# name | purposes | nouns | features | tables | materials | uses | modes | cm | elevation | filmed,
# sounds
_ROWS = """
mug | tea 3, office 3, gift 2, workshop 1 | vessel 2, serve 1, gear 1 | handle 2, round 1, soft 1 | tableware 5, decor 1 | ceramic 6, glass 1, steel 2, plastic 1 | fill 3, stir 1, turn 1 | shell | 8 12 | 8 32 | .60 .90
cushion | mood 3, pets 1, garden 2, music 2 | accent 3, seat 1 | soft 2, round 2, fold 1, stack 1 | textile 1 | cotton 3, leather 2 | load 3, turn 1 | block | 30 60 | 5 30 | .40 .25
backpack | travel 3, office 2, sport 1, music 1 | gear 4, box 1 | strap 3, fold 2, soft 2 | textile 6, load 1 | cotton 4, leather 2, plastic 2 | carry 3, open 1, turn 1 | block | 35 52 | 4 22 | .70 .30
bottle | travel 2, sport 2, tea 1, workshop 1 | vessel 2, gear 1 | lid 2, slim 2, strap 1 | tableware 1 | steel 4, glass 2, plastic 2, rubber 1 | pour 3, carry 1, turn 1 | tube | 18 32 | 2 20 | .55 .90
bowl | cook 3, pets 1, tea 2, storage 1 | vessel 1, serve 2 | round 2, stack 2 | tableware 3, decor 1 | ceramic 4, wood 2, steel 2, glass 1 | fill 2, stir 2, turn 1 | shell | 14 30 | 12 45 | .40 .90
lamp | mood 3, office 2, workshop 1 | accent 1, device 1 | glow 2, slim 2 | electric 5, decor 1 | ceramic 2, brass 2, wood 2, steel 2 | light 4, turn 1 | block | 30 60 | 2 18 | .80 .50
chair | office 2, garden 2, kids 1 | seat 2, accent 2, gear 1 | legs 3, stack 1, wheels 2 | load 1 | wood 4, plastic 2, steel 2, cotton 2 | load 3, turn 2 | box | 72 100 | 6 26 | .45 .70
vase | mood 3, gift 2, garden 1 | vessel 2, accent 1 | slim 3, round 1 | decor 1 | ceramic 4, glass 4, brass 1 | fill 3, turn 2 | shell | 15 40 | 3 24 | .40 .90
ball | sport 3, kids 1, pets 2 | play 2, gear 1 | round 2, soft 2, wheels 1 | age 1, textile 1 | rubber 3, plastic 2, leather 2 | roll 2, bounce 3 | ball | 10 30 | 4 35 | .80 .80
toycar | kids 3, gift 2, travel 1 | play 3, device 1 | wheels 2, precise 1, glow 1 | age 4, electric 1 | wood 3, plastic 3, steel 2, rubber 1 | roll 4, turn 1 | box | 10 30 | 8 30 | .80 .70
pan | cook 4, garden 1 | serve 2, tool 2 | handle 2, stack 1 | grip 4, tableware 1 | steel 5, ceramic 1 | stir 2, fill 1, strike 1, turn 1 | plate | 20 32 | 18 50 | .50 .90
planter | garden 4, mood 2 | vessel 3, accent 1 | stack 2, round 1, legs 1 | decor 3, tableware 1 | ceramic 5, plastic 3, wood 1 | fill 3, turn 2 | shell | 10 35 | 6 30 | .35 .75
clock | office 3, mood 1, kids 1 | device 2, accent 2 | precise 3, round 1, glow 1 | electric 4, decor 1 | wood 3, steel 3, plastic 2, brass 1 | tick 5, turn 1 | plate | 18 35 | -4 14 | .60 .75
teapot | tea 4, gift 2 | vessel 1, serve 2 | handle 2, lid 2 | tableware 4, decor 1 | ceramic 5, glass 2, steel 2 | pour 4, open 1, turn 1 | shell | 12 20 | 8 28 | .70 .90
stool | workshop 2, kids 2, garden 1, music 1 | seat 3, tool 1 | legs 3, stack 1 | load 1 | wood 5, plastic 2, steel 2, cotton 1 | load 2, spin 1, turn 1 | box | 30 55 | 8 28 | .40 .75
knife | cook 3, workshop 2 | tool 1 | handle 2, precise 1, soft 1 | grip 1 | steel 8, ceramic 1 | cut 5, turn 1 | bar | 15 33 | 40 70 | .60 .75
umbrella | travel 3, garden 1, gift 1 | gear 2, tool 1 | fold 3, handle 1, strap 1 | textile 4, grip 1 | cotton 2, plastic 1 | open 4, spin 1, carry 1 | bar | 60 100 | 2 22 | .65 .25
jar | storage 3, tea 2, cook 1 | vessel 2, serve 1, box 1 | lid 3, stack 1 | tableware 1 | glass 5, ceramic 3, steel 1 | open 3, fill 2, turn 1 | shell | 10 25 | 6 28 | .45 .90
candle | mood 3, gift 3 | vessel 1, accent 2 | glow 3, lid 1 | decor 1 | glass 4, ceramic 3, steel 1 | light 5, turn 1 | shell | 7 13 | 10 32 | .55 .75
drum | music 3, kids 2 | play 2, seat 2 | round 1, legs 1, strap 1 | age 3, load 1 | wood 4, steel 3, plastic 1 | strike 5, turn 1 | membrane | 20 40 | 12 38 | .85 .95
watch | travel 1, gift 2, sport 3 | device 3, gear 1 | strap 3, precise 2 | electric 2, decor 1 | steel 4, leather 3, plastic 2 | tick 4, turn 2 | block | 4 6 | 5 35 | .60 .60
suitcase | travel 4, storage 1 | gear 3, box 1 | wheels 3, fold 2 | load 3, textile 2 | plastic 5, leather 2, steel 1, cotton 2 | roll 2, open 2, carry 1 | box | 45 75 | 6 24 | .60 .65
shelf | storage 3, office 2, music 1 | seat 1, box 2, accent 1 | stack 2, legs 1, slim 1 | load 1 | wood 6, steel 3 | load 4, turn 1 | box | 60 120 | 3 22 | .25 .60
hammer | workshop 4, garden 1 | tool 1 | handle 3, soft 1 | grip 1 | steel 5, wood 2, rubber 2 | strike 5, turn 1 | bar | 25 36 | 40 70 | .60 .85
spoon | cook 2, tea 3 | tool 1, serve 1 | handle 1, slim 2, soft 1 | grip 4, tableware 1 | wood 4, steel 4, plastic 1 | stir 5, turn 1 | bar | 15 34 | 40 70 | .60 .80
watercan | garden 3, tea 1, storage 1 | vessel 2, tool 1 | handle 2, slim 1 | tableware 3, grip 1 | steel 4, plastic 4, brass 1 | pour 5, turn 1 | shell | 20 42 | 6 26 | .60 .80
keepsake | storage 3, gift 3 | box 2, accent 1 | fold 2, lid 2 | decor 3, load 1 | wood 4, leather 2, cotton 1 | open 4, turn 1 | box | 12 26 | 14 40 | .50 .70
speaker | music 3, office 2, travel 1 | device 2, box 2 | precise 1, strap 1, glow 1 | electric 1 | plastic 4, wood 3, cotton 1 | light 1, bounce 1, turn 2 | box | 8 26 | 2 24 | .55 .80
petbowl | pets 4, cook 1 | vessel 1, serve 2 | stack 1, legs 2 | tableware 3, decor 1 | steel 4, ceramic 3, plastic 2, rubber 2 | fill 4, turn 1 | shell | 12 26 | 14 40 | .45 .85
robot | kids 4, office 1, gift 1 | play 1, device 2 | glow 1, legs 1, wheels 1 | electric 1, age 2 | plastic 4, steel 3 | bounce 3, light 1, turn 1 | box | 12 26 | 4 24 | .80 .75
ukulele | music 3, kids 1, travel 1 | play 2, gear 1 | slim 1, strap 2, precise 1 | age 1, grip 1 | wood 7, plastic 2 | pluck 5, turn 1 | string | 50 70 | 0 16 | .80 .95
lantern | garden 2, travel 2, workshop 1 | accent 1, device 2 | glow 3, handle 2, strap 1 | electric 3, decor 2 | brass 3, steel 4 | light 3, swing 2, carry 1 | shell | 18 36 | 4 22 | .60 .65
bell | music 2, pets 2, gift 1 | play 1, tool 1, accent 1 | handle 1, precise 1, round 1 | decor 2, age 1 | brass 5, steel 3 | swing 5, turn 1 | bell | 6 16 | 6 26 | .70 .95
spinner | kids 2, office 1, gift 1 | play 3, tool 1 | round 1, wheels 1 | age 3, decor 1 | wood 4, brass 2, plastic 1 | spin 5, turn 1 | block | 4 9 | 14 42 | .75 .70
"""  # noqa: E501


def _parse(row: str) -> Category:
    name, *mixes, modes, size, elevation, chances = (cell.strip() for cell in row.split("|"))
    numbers = [tuple(map(float, cell.split())) for cell in (size, elevation, chances)]
    mixed = map(_mix, mixes, (1.8, 1.8, 1.8, 1.8, 1.0, 1.0))
    return Category(name, *mixed, modes, *numbers[:2], *numbers[2])


CATEGORIES: tuple[Category, ...] = tuple(_parse(row) for row in _ROWS.strip().splitlines())
BY_NAME: dict[str, Category] = {category.name: category for category in CATEGORIES}

MATERIALS: dict[str, tuple[str, str, str]] = {
    "ceramic": ("stoneware", "porcelain", "glazed ceramic"),
    "glass": ("borosilicate glass", "pressed glass", "glass"),
    "steel": ("stainless steel", "powder-coated steel", "steel 18/10"),
    "brass": ("solid brass", "brass, lacquered", "copper alloy"),
    "wood": ("beech", "solid oak", "acacia wood"),
    "plastic": ("ABS", "polypropylene", "recycled plastic"),
    "cotton": ("organic cotton", "canvas", "cotton blend"),
    "leather": ("full-grain leather", "vegan leather", "split leather"),
    "rubber": ("natural rubber", "silicone", "TPE"),
}
"""Material and the words that sellers use for it in tables."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "white": (238, 236, 230),
    "black": (42, 42, 46),
    "grey": (138, 142, 146),
    "red": (196, 48, 44),
    "blue": (44, 92, 168),
    "navy": (32, 44, 84),
    "green": (68, 130, 76),
    "mint": (158, 212, 190),
    "yellow": (236, 190, 52),
    "orange": (228, 122, 40),
    "pink": (232, 152, 168),
    "purple": (118, 82, 150),
    "beige": (214, 192, 158),
    "brown": (122, 80, 52),
    "teal": (40, 132, 138),
}
"""sRGB of each colour name."""

PATTERNS: dict[str, float] = {
    "solid": 0.46, "stripes": 0.12, "dots": 0.10, "checks": 0.07, "waves": 0.07,
    "ombre": 0.06, "two-tone": 0.07, "speckles": 0.05,
}  # fmt: skip


def category_counts(products: int) -> list[int]:
    """Products per category, proportional to 1 / (rank + 6)^1.2 (rank from 0), exact in sum.

    At least one each if `products` permits; the largest remainders get the rest of the rounding.
    """
    weights = 1.0 / (np.arange(len(CATEGORIES)) + 6.0) ** 1.2
    shares = weights / weights.sum() * products
    counts = np.floor(shares).astype(int)
    rest = np.argsort(counts - shares, kind="stable")[: products - counts.sum()]
    counts[rest] += 1
    while products >= len(CATEGORIES) and counts.min() == 0:
        counts[counts.argmax()] -= 1
        counts[counts.argmin()] += 1
    return counts.tolist()


def splits(count: int) -> list[str]:
    """Split names of one category's products: 70/10/20, test and training filled first."""
    test = max(1, round(0.2 * count)) if count >= 2 else 0
    val = round(0.1 * count) if count >= 4 else 0
    return ["train"] * (count - test - val) + ["val"] * val + ["test"] * test
