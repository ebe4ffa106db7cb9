"""Attribute-value tables as sellers fill them: free wording, gaps, and wrong entries."""

import numpy as np

from tools.sample_shop import words
from tools.sample_shop.item import BRANDS, Item, pick
from tools.sample_shop.spec import MATERIALS

_NAMES = {
    "brand": ("Brand", "Brand name", "Maker"),
    "series": ("Series", "Collection", "Model"),
    "colour": ("Colour", "Color", "Shade"),
    "material": ("Material", "Made of", "Main material"),
    "size": ("Size", "Longest side", "Dimensions"),
    "weight": ("Weight", "Net weight", "Item weight"),
    "origin": ("Origin", "Made in", "Country of origin"),
    "care": ("Care", "Cleaning", "Care instructions"),
    "pattern": ("Pattern", "Print", "Motif"),
    "warranty": ("Warranty", "Guarantee"),
    "pack": ("Package contents", "Pieces", "Set includes"),
    "stock": ("Ships within", "Delivery time"),
    "class": ("Size class", "Format", "Shipping class"),
    "form": ("Feature", "Design", "Highlight"),
}
_CLASSES = ("XS", "S", "M", "L", "XL")
_LIMITS_CM = (9, 17, 34, 60)
_DENSITY = {"ceramic": 0.30, "glass": 0.28, "steel": 0.34, "brass": 0.5, "wood": 0.16,
            "plastic": 0.09, "cotton": 0.03, "leather": 0.07, "rubber": 0.12}  # fmt: skip
_CARE = {
    "ceramic": ("dishwasher safe", "wipe clean"),
    "glass": ("dishwasher safe", "polish with a soft cloth"),
    "steel": ("wipe clean", "dry after use"),
    "brass": ("polish with a soft cloth", "dry after use"),
    "wood": ("oil now and then", "wipe clean"),
    "plastic": ("wipe clean", "rinse with water"),
    "cotton": ("machine wash 30 C", "brush off"),
    "leather": ("leather balm", "brush off"),
    "rubber": ("rinse with water", "wipe clean"),
}
_ORIGINS = (
    "Portugal",
    "China",
    "Sweden",
    "Japan",
    "India",
    "Germany",
    "Vietnam",
    "Mexico",
    "Poland",
)


def _parse(rows: str) -> dict[str, list[tuple[list[str], list[str]]]]:
    """By kind of table: (names, values) of each attribute."""
    kinds = {}
    for row in rows.strip().split("\n\n"):
        kind, *lines = row.splitlines()
        cells = [line.split(":") for line in lines]
        kinds[kind] = [(c[0].strip().split("|"), c[1].strip().split(", ")) for c in cells]
    return kinds


# Every kind serves several categories. {volume}, {third}, {half} and {full} follow the size.
_SPECIAL = _parse("""
tableware
  Capacity|Volume: {volume}
  Dishwasher safe: yes, no, top rack
  Food safe: yes
  Heat resistant to: 90 C, 120 C, 230 C
  Leak-proof: yes, no

decor
  Finish: matt, glossy, brushed, antique
  Room: living room, hall, bedroom
  Opening diameter: {half}
  Handmade: yes, no
  Felt pads: yes, no

textile
  Fabric weight: 180 g/m2, 240 g/m2, 320 g/m2, 600 g/m2
  Water repellent: yes, no
  Lining: polyester, none, cotton
  Seams: double, taped, single
  Zip: metal, hidden, none

load
  Max. load|Load capacity: 8 kg, 15 kg, 25 kg, 40 kg, 80 kg, 110 kg, 130 kg
  Assembly: required, not required
  Frame: solid, tubular, folding
  Feet: 4, 4 with rubber, wheels
  Tools included: yes, no

electric
  Power|Wattage: 1 W, 3 W, 5 W, 9 W, 20 W, 40 W
  Power source: battery AA, USB-C, mains 230 V
  Protection class: IP20, IP44, IP67
  Battery life: 6 h, 10 h, 24 h, 720 h
  On/off switch: yes, no

age
  Age|Recommended age: 2+, 3+, 4+, 6+, 8+
  Standard: EN 71, CE, ASTM F963
  Indoor/outdoor: indoor, outdoor, both
  Players: 1, 1-4, 2
  Paint: water-based, none

grip
  Handle length: {third}
  Grip: riveted, non-slip, ergonomic
  Hanging hole: yes, no
  Full length: {full}
  Hand: left and right, right
""")


def _special(kind: str, size_cm: float, rng: np.random.Generator) -> list[tuple[str, str]]:
    """The attributes of one kind of table, with values for a thing of that size."""
    volume = max(20, round(0.32 * size_cm**2.7 * rng.uniform(0.7, 1.3), -1))
    sizes = {
        "volume": f"{volume:.0f} ml" if volume < 2000 else f"{volume / 1000:.1f} l",
        "third": f"{size_cm * rng.uniform(0.3, 0.6):.0f} cm",
        "half": f"{size_cm * rng.uniform(0.2, 0.8):.0f} cm",
        "full": f"{size_cm:.0f} cm",
    }
    return [
        (str(rng.choice(names)), str(rng.choice(values)).format(**sizes))
        for names, values in _SPECIAL[kind]
    ]


def table(item: Item) -> list[list[str]]:
    """3 to 12 pairs: general ones, those of the table's kind, gaps, and a few wrong values."""
    rng = item.rng("table")
    wrong = rng.random(4) < 0.05
    stated_cm = item.size_cm * (rng.uniform(0.3, 3) if wrong[0] else rng.uniform(0.97, 1.03))
    material = str(rng.choice(list(MATERIALS))) if wrong[1] else item.material
    colour = str(rng.choice(list(words.COLOUR_WORDS))) if wrong[2] else item.colour
    grams = _DENSITY[item.material] * item.size_cm**2.1 * rng.uniform(4, 7)
    weight = f"{grams:.0f} g" if grams < 1000 else f"{grams / 1000:.1f} kg"
    brand = str(rng.choice(BRANDS)) if wrong[3] else item.brand
    general = {
        "brand": (0.85, brand),
        "series": (0.45, item.series),
        "colour": (0.4, words.COLOUR_WORDS[colour][rng.integers(2)][0]),
        "material": (0.45, MATERIALS[material][rng.integers(3)]),
        "size": (0.85, f"{stated_cm:.1f} cm" if stated_cm < 20 else f"{stated_cm:.0f} cm"),
        "weight": (0.6, weight),
        "origin": (0.4, str(rng.choice(_ORIGINS))),
        "care": (0.4, str(rng.choice(_CARE[item.material]))),
        "pattern": (0.2, item.pattern),
        "warranty": (0.2, f"{rng.choice([1, 2, 3, 5])} years"),
        "class": (0.8, _CLASSES[np.searchsorted(_LIMITS_CM, stated_cm)]),
        "form": (0.75, words.FEATURES[pick(rng, item.category.features)][rng.integers(4)][0]),
        "pack": (0.25, f"{rng.choice([1, 1, 1, 2, 4])}"),
        "stock": (0.2, str(rng.choice(["24 h", "3 days", "1 week"]))),
    }
    pairs = [
        [str(rng.choice(_NAMES[key])), value]
        for key, (p, value) in general.items()
        if rng.random() < p
    ]
    special = _special(item.table, item.size_cm, rng)
    keep = rng.permutation(len(special))[: rng.integers(4, 6)]
    pairs += [list(special[k]) for k in sorted(keep)]
    while len(pairs) < 3:
        pairs.append(list(special[len(pairs)]))
    order = rng.permutation(len(pairs))[:12]
    return [pairs[k] for k in (sorted(order) if rng.random() < 0.7 else order)]
