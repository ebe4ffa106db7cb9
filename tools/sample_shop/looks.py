"""Materials and patterns: colour and reflection of surface points.

N points. Colours are linear RGB in 0..1.
"""

from dataclasses import dataclass

import numpy as np

from tools.sample_shop.item import Item
from tools.sample_shop.spec import COLOURS


@dataclass(frozen=True)
class Look:
    """Optical properties of a surface."""

    rough: float
    """0 mirror, 1 matt."""
    gloss: float
    """Reflectance of a non-metal at normal incidence."""
    metal: float = 0.0
    clear: float = 0.0
    """Share of transmitted light."""
    emit: float = 0.0


MATERIAL_LOOKS = {
    "ceramic": Look(0.12, 0.06),
    "glass": Look(0.03, 0.07, clear=0.8),
    "steel": Look(0.28, 0.0, metal=1.0),
    "brass": Look(0.2, 0.0, metal=1.0),
    "wood": Look(0.55, 0.03),
    "plastic": Look(0.25, 0.045),
    "cotton": Look(1.0, 0.0),
    "leather": Look(0.45, 0.04),
    "rubber": Look(0.7, 0.02),
}

# finish: sRGB, look, texture
FIXED: dict[str, tuple[tuple[int, int, int], Look, str]] = {
    "steel": ((200, 203, 208), MATERIAL_LOOKS["steel"], "steel"),
    "brass": ((214, 170, 88), MATERIAL_LOOKS["brass"], "steel"),
    "wood": ((188, 134, 84), MATERIAL_LOOKS["wood"], "wood"),
    "dark": ((46, 46, 50), Look(0.4, 0.04), ""),
    "tyre": ((40, 40, 42), Look(0.8, 0.02), ""),
    "white": ((242, 240, 234), Look(0.6, 0.03), ""),
    "paper": ((240, 228, 202), Look(0.9, 0.0), ""),
    "card": ((196, 154, 108), Look(0.9, 0.0), "leather"),
    "wax": ((244, 228, 200), Look(0.6, 0.04), ""),
    "soil": ((72, 52, 40), Look(1.0, 0.0), "grain"),
    "coffee": ((66, 38, 24), Look(0.05, 0.05), ""),
    "water": ((170, 210, 232), Look(0.02, 0.08, clear=0.45), ""),
    "beans": ((120, 72, 40), Look(0.6, 0.03), "grain"),
    "flour": ((236, 214, 170), Look(0.9, 0.0), "grain"),
    "leaf": ((74, 140, 66), Look(0.5, 0.03), "leaf"),
    "petal0": ((226, 96, 110), Look(0.8, 0.01), ""),
    "petal1": ((244, 196, 84), Look(0.8, 0.01), ""),
    "petal2": ((116, 142, 206), Look(0.8, 0.01), ""),
    "fruit": ((222, 88, 44), Look(0.4, 0.04), ""),
    "carrot": ((240, 126, 36), Look(0.6, 0.03), ""),
    "kibble": ((140, 88, 48), Look(0.9, 0.0), "grain"),
    "velvet": ((120, 30, 48), Look(1.0, 0.0), "cotton"),
    "strap": ((84, 58, 42), Look(0.5, 0.04), "leather"),
    "shade": ((246, 236, 214), Look(1.0, 0.0, emit=0.12), "cotton"),
    "bulb": ((255, 244, 214), Look(0.2, 0.05, emit=0.35), ""),
    "flame": ((255, 190, 80), Look(1.0, 0.0, emit=1.6), ""),
    "led": ((90, 220, 255), Look(0.3, 0.04, emit=0.8), ""),
    "pane": ((225, 240, 240), Look(0.02, 0.08, clear=0.88), ""),
    "mesh": ((70, 72, 78), Look(0.9, 0.01), "mesh"),
}


def linear(rgb: tuple[int, int, int]) -> np.ndarray:
    """Convert sRGB 0..255 to linear 0..1."""
    return (np.asarray(rgb, np.float32) / 255) ** 2.2


def look(item: Item, finish: str) -> Look:
    """Return the look of a finish of this product."""
    if finish in FIXED:
        return FIXED[finish][1]
    if finish == "accent":
        return look(item, item.accent)
    if finish == "second":
        return MATERIAL_LOOKS["plastic"]
    coated = item.material == "steel" and item.colour != "silver"
    return Look(0.3, 0.045) if coated else MATERIAL_LOOKS[item.material]


def colour(item: Item, finish: str, points_N3, uv_N2, wrap: bool) -> np.ndarray:
    """albedo_N3: linear RGB at points of a part, with pattern and texture of the material."""
    if finish == "accent":
        return colour(item, item.accent, points_N3, uv_N2, wrap)
    if finish in FIXED:
        rgb, _, texture = FIXED[finish]
        base_N3 = np.broadcast_to(linear(rgb), points_N3.shape)
    elif finish == "second":
        base_N3, texture = np.broadcast_to(linear(COLOURS[item.second]), points_N3.shape), ""
    else:
        texture = item.material
        base_N3 = np.broadcast_to(linear(item.rgb), points_N3.shape)
        if finish == "main" and item.pattern != "solid":
            mix_N1 = _pattern(item, points_N3, uv_N2, wrap)[:, None]
            base_N3 = base_N3 * (1 - mix_N1) + linear(COLOURS[item.second]) * mix_N1
    rng = item.rng("texture")
    return np.clip(base_N3 * _texture(texture, points_N3, uv_N2, wrap, rng)[:, None], 0, 1)


def noise(points_N3: np.ndarray, frequency: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise in about -1..1: six sines in random directions."""
    waves_36 = rng.normal(0, frequency, (points_N3.shape[1], 6))
    return np.sin(points_N3 @ waves_36 + rng.uniform(0, 2 * np.pi, 6)).sum(axis=1) / 2.5


def _flat(uv_N2: np.ndarray, wrap: bool, period: float, around: int) -> tuple:
    """Surface coordinates in pattern periods; a whole number of periods around a round object."""
    return uv_N2[:, 0] * around if wrap else uv_N2[:, 0] / period, uv_N2[:, 1] / period


def _pattern(item: Item, points_N3, uv_N2, wrap: bool) -> np.ndarray:
    """Share of the second colour at each point."""
    rng = item.rng("pattern")
    period = rng.uniform(0.2, 0.42)
    a, b = _flat(uv_N2, wrap, period, max(4, round(3.0 / period)))
    if item.pattern == "stripes":
        along = a if rng.random() < 0.4 else b
        return (along % 1 < rng.uniform(0.3, 0.55)) * 1.0
    if item.pattern == "dots":
        a = a + 0.5 * (np.floor(b) % 2)
        return ((a % 1 - 0.5) ** 2 + (b % 1 - 0.5) ** 2 < rng.uniform(0.05, 0.1)) * 1.0
    if item.pattern == "checks":
        return 0.5 * (a % 1 < 0.5) + 0.5 * (b % 1 < 0.5)
    if item.pattern == "waves":
        return ((b + 0.22 * np.sin(2 * np.pi * a)) % 1 < 0.45) * 1.0
    height = points_N3[:, 2] / 2.0
    if item.pattern == "ombre":
        return np.clip(1.6 * height - 0.1, 0, 1)
    if item.pattern == "two-tone":
        return (height < rng.uniform(0.15, 0.35)) * 1.0
    cells = np.floor(np.stack([a * 9, b * 9], axis=1))
    return (np.sin(cells @ (12.9898, 78.233)) * 43758.5453 % 1 > 0.86) * 0.8


def _texture(name: str, points_N3, uv_N2, wrap: bool, rng: np.random.Generator) -> np.ndarray:
    """Texture factor of the colour at each point."""
    if name == "wood":
        extent_3 = np.ptp(points_N3, axis=0) if len(points_N3) else np.ones(3)
        along = points_N3 * np.where(np.arange(3) == np.argmax(extent_3), 0.25, 1.0)
        rings = 6 * along.sum(axis=1) + 0.9 * noise(along, 2.0, rng)
        fibre = noise(along, 30.0, rng)
        return 0.86 + 0.16 * np.sin(2 * np.pi * rings) + 0.05 * fibre
    if name in ("steel", "brass"):
        return 1.0 + 0.06 * noise(uv_N2[:, 1:], 60.0, rng)
    if name == "ceramic":
        mottled = 1.0 + 0.03 * noise(points_N3, 4.0, rng)
        raw = rng.random() < 0.4
        return np.where(raw & (points_N3[:, 2] < 0.07), 0.75, mottled)
    if name == "cotton":
        a, b = uv_N2[:, 0] * (60 if wrap else 18), uv_N2[:, 1] * 18
        weave = np.sin(2 * np.pi * a) * np.sin(2 * np.pi * b)
        return 0.95 + 0.1 * weave + 0.04 * noise(points_N3, 9.0, rng)
    if name in ("leather", "grain", "leaf"):
        strength, frequency = {"leather": (0.08, 16), "grain": (0.3, 34), "leaf": (0.2, 5)}[name]
        return 1.0 + strength * noise(points_N3, float(frequency), rng)
    if name == "mesh":
        a, b = uv_N2[:, 0] * 40, uv_N2[:, 1] * 16
        return 0.8 + 0.4 * (np.sin(2 * np.pi * a) * np.sin(2 * np.pi * b))
    return np.ones(len(points_N3))
