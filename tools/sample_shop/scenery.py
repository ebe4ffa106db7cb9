"""Surroundings of the object in a picture: ground and wall, props, and the seller's stickers.

H, W pixels; colours are sRGB in 0..1 here, because stickers and paper white are mixed as seen.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tools.sample_shop.geometry import Part, box, ellipsoid, lathe, rotation, tube
from tools.sample_shop.item import Item
from tools.sample_shop.looks import noise
from tools.sample_shop.render import Camera
from tools.sample_shop.shapes_home import leaves

_PASTELS = ((236, 226, 214), (222, 232, 236), (240, 222, 220), (226, 234, 220), (232, 226, 240))
_WALLS = ((228, 222, 212), (206, 214, 216), (222, 210, 200), (198, 206, 196), (236, 234, 230))
_WOODS = ((196, 154, 108), (150, 108, 74), (220, 196, 164), (118, 92, 74))
_GROUNDS = {
    "white": ((255, 255, 255),),
    "studio": ((226, 226, 226), (240, 240, 242)),
    "pastel": _PASTELS,
    "wood": _WOODS,
    "tiles": _WALLS,
    "cloth": _PASTELS,
}
KINDS = {"white": 0.46, "studio": 0.2, "pastel": 0.12, "wood": 0.11, "tiles": 0.06, "cloth": 0.05}
"""Kinds of ground and their shares."""


@dataclass(frozen=True)
class Setting:
    """One seller's studio."""

    kind: str
    ground: tuple[int, int, int]
    wall: tuple[int, int, int]
    seed: int


def draw_setting(rng: np.random.Generator) -> Setting:
    """Draw a random studio; most are white."""
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    grounds = _GROUNDS[kind]
    ground = grounds[rng.integers(len(grounds))]
    wall = ground if kind in ("white", "pastel") else _WALLS[rng.integers(len(_WALLS))]
    return Setting(
        kind, ground, (248, 248, 248) if kind == "studio" else wall, int(rng.integers(2**31))
    )


def backdrop(setting: Setting, camera: Camera, size: int, dark_CC: np.ndarray, reach: float):
    """rgb_HW3 of ground and wall; `dark_CC`: shadow on a square of half width `reach`."""
    ground_HW3, wall_HW3, wall_HW1, x, y = _cove(setting, camera, size)
    cells = dark_CC.shape[0]
    u, v = ((np.clip(p, -reach, reach * 0.999) + reach) / (2 * reach) * cells - 0.5 for p in (x, y))
    shade_HW = _bilinear(dark_CC, np.clip(u, 0, cells - 1.001), np.clip(v, 0, cells - 1.001))
    strength = 0.75 if setting.kind == "white" else 1.0
    lit_HW3 = ground_HW3 * (1 - strength * shade_HW[..., None])
    return lit_HW3 * (1 - wall_HW1) + wall_HW3 * wall_HW1


@lru_cache(maxsize=1)
def _cove(setting: Setting, camera: Camera, size: int):
    """Ground, wall, share of the wall, and where each pixel's ray meets the ground; without shadow.

    The frames of a clip share it as long as the camera stands still.
    """
    eye_3, rays_HW3 = camera.rays(size)
    down = np.minimum(rays_HW3[..., 2], -1e-3)
    far = np.minimum(-eye_3[2] / down, 60.0)
    x, y = (eye_3[k] + far * rays_HW3[..., k] for k in (0, 1))
    forward = -camera.axes_33[2] * (1, 1, 0)
    ahead = (x * forward[0] + y * forward[1]) / max(np.linalg.norm(forward), 1e-6)
    ahead = np.where(rays_HW3[..., 2] > -1e-3, 60.0, ahead)
    hard = setting.kind in ("wood", "tiles")
    wall_HW1 = np.clip((ahead - 2.4) / (0.12 if hard else 3.5), 0, 1)[..., None]
    ground_HW3 = np.array(setting.ground) / 255 * _tread(setting, x, y)[..., None]
    rows = np.linspace(1.0, 0.94, size)[:, None, None]
    wall_HW3 = np.array(setting.wall) / 255 * (rows if setting.kind != "white" else 1.0)
    return ground_HW3, wall_HW3, wall_HW1, x, y


def _bilinear(map_CC: np.ndarray, u_HW: np.ndarray, v_HW: np.ndarray) -> np.ndarray:
    """Values of a map at fractional columns u and rows v."""
    i, j = u_HW.astype(int), v_HW.astype(int)
    a, b = u_HW - i, v_HW - j
    upper = map_CC[j, i] * (1 - a) + map_CC[j, i + 1] * a
    return upper * (1 - b) + (map_CC[j + 1, i] * (1 - a) + map_CC[j + 1, i + 1] * a) * b


def _tread(setting: Setting, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Texture of the ground: planks, tiles or weave, as a factor."""
    rng = np.random.default_rng(setting.seed)
    if setting.kind == "wood":
        plank = np.floor(y / 0.55)
        tone = 0.92 + 0.12 * (np.sin(plank * 12.9898) * 43758.5453 % 1)
        grain = noise(np.stack([0.3 * x + 7 * plank, 5 * y], axis=-1).reshape(-1, 2), 2.2, rng)
        seam = 1 - 0.3 * (np.abs(y / 0.55 - plank - 0.5) > 0.475)
        return tone * seam * (1 + 0.06 * grain.reshape(x.shape))
    if setting.kind == "tiles":
        width = rng.uniform(0.5, 0.9)
        joint = (np.abs(x / width % 1 - 0.5) > 0.47) | (np.abs(y / width % 1 - 0.5) > 0.47)
        return 1 - 0.14 * joint
    if setting.kind == "cloth":
        flat = np.stack([x, y], axis=-1).reshape(-1, 2)
        return (
            1
            + 0.035 * noise(flat, 3.0, rng).reshape(x.shape)
            + 0.02 * np.sin(44 * x) * np.sin(44 * y)
        )
    return np.ones_like(x)


def props(item: Item, rng: np.random.Generator, step: float) -> list[Part]:
    """Props of known size next to the object, at true scale, as a reference for its size."""
    unit_cm = 2.0 / item.size_cm
    sizes = {"coin": 2.5, "apple": 8.0, "book": 22.0, "plant": 45.0}
    fits = [name for name, cm in sizes.items() if 0.16 < cm * unit_cm < 1.1]
    if not fits:
        return []
    name = str(rng.choice(fits))
    size = sizes[name] * unit_cm
    side, front = rng.choice([-1, 1]), rng.uniform(-0.5, 0.4)
    at = (side * rng.uniform(0.95, 1.25), front, 0.0)
    if name == "coin":
        coin = lathe(
            [(0, 0), (0.5, 0), (0.5, 0.06), (0.46, 0.08), (0, 0.07)],
            step / size,
            False,
            finish="brass",
        )
        return [coin.moved(at, scale=size)]
    if name == "apple":
        body = lathe(
            [(0, 0.08), (0.25, 0), (0.5, 0.45), (0.36, 0.85), (0.1, 0.85), (0, 0.75)],
            step / size,
            finish="fruit",
        )
        stem = tube([(0, 0, 0.75), (0.05, 0, 1.0)], 0.03, step / size, finish="dark")
        return [body.moved(at, scale=size), stem.moved(at, scale=size)]
    if name == "book":
        turn = rotation("z", rng.uniform(-50, 50))
        cover = box((0.7 * size, size, 0.12 * size), 0.01, step, finish=f"petal{rng.integers(3)}")
        return [cover.moved((at[0], at[1], 0.06 * size), turn)]
    pot = lathe(
        [(0, 0), (0.14, 0), (0.2, 0.35), (0.17, 0.35), (0, 0.3)], step / size, False, finish="paper"
    )
    return [
        p.moved((at[0] * 1.1, 0.6, 0), scale=size)
        for p in [pot, *leaves(rng, step / size, 0.3, 0.6)]
    ]


def package(parts: list[Part], rng: np.random.Generator, step: float) -> list[Part]:
    """The cardboard box that the parts come in, with a patch of the product's colour on it."""
    points_N3 = np.concatenate([part.points_N3[::9] for part in parts])
    wide, deep, tall = np.maximum(np.ptp(points_N3, axis=0), 0.45) * rng.uniform(0.9, 1.05)
    card = box((wide, deep, tall), 0.015, step, finish="card").moved((0, 0, tall / 2))
    tape = box((0.16 * wide, deep + 0.012, tall + 0.012), 0.01, step, finish="paper")
    patch = box((0.55 * wide, 0.012, 0.4 * tall), 0.004, step, finish="main")
    label = box((0.3 * wide, 0.012, 0.12 * tall), 0.004, step, finish="white")
    front = -deep / 2 - 0.006
    return [
        card,
        tape.moved((0, 0, tall / 2)),
        patch.moved((0, front - 0.006, 0.6 * tall)),
        label.moved((0.2 * wide, front - 0.006, 0.2 * tall)),
    ]


def pebbles(rng: np.random.Generator, step: float) -> list[Part]:
    """Clutter: a few unrelated things."""
    parts = []
    for _ in range(rng.integers(1, 4)):
        r, angle = rng.uniform(0.06, 0.2), rng.uniform(0, 2 * np.pi)
        far = rng.uniform(1.1, 1.6)
        finish = str(rng.choice(["petal0", "petal1", "petal2", "white", "wood", "fruit", "leaf"]))
        if rng.random() < 0.5:
            thing = ellipsoid((r, r, r * 0.9), step, finish=finish).moved((0, 0, 0.9 * r))
        else:
            thing = box((2 * r, 1.4 * r, 1.6 * r), 0.3 * r, step, finish=finish).moved(
                (0, 0, 0.8 * r)
            )
        parts.append(
            thing.moved((far * np.cos(angle), far * np.sin(angle), 0), rotation("z", 57 * angle))
        )
    return parts


def stickers(image: Image.Image, item: Item, rng: np.random.Generator) -> Image.Image:
    """Add badges, a watermark and a frame like sellers do, each to a minority of pictures."""
    size = image.width
    draw = ImageDraw.Draw(image, "RGBA")
    small, large = ImageFont.load_default(size * 0.065), ImageFont.load_default(size * 0.1)
    if rng.random() < 0.2:
        red = [(214, 40, 40), (28, 122, 84), (24, 24, 24), (232, 140, 20)][rng.integers(4)]
        text = str(rng.choice(["-20%", "-35%", "SALE", "NEW", "HOT", "2 for 1"]))
        x, y, r = size * (0.16 if rng.random() < 0.5 else 0.84), size * 0.16, size * 0.14
        if rng.random() < 0.5:
            draw.ellipse([x - r, y - r, x + r, y + r], fill=red)
        else:
            draw.rounded_rectangle([x - r, y - 0.6 * r, x + r, y + 0.6 * r], r / 4, fill=red)
        font = large if len(text) < 5 else small
        draw.text((x, y), text, (255, 255, 255), font, anchor="mm")
    if rng.random() < 0.14:
        mark = f"{item.brand.lower()}.shop" if rng.random() < 0.5 else "market-place"
        draw.text((size / 2, size * 0.55), mark, (120, 120, 120, 80), large, anchor="mm")
    if rng.random() < 0.1:
        bar = [(30, 60, 110), (190, 50, 50), (40, 110, 70)][rng.integers(3)]
        draw.rectangle([0, size * 0.9, size, size], fill=(*bar, 235))
        text = str(rng.choice(["FREE SHIPPING", "24 h DELIVERY", "TOP RATED SHOP"]))
        draw.text((size / 2, size * 0.95), text, (255, 255, 255), small, anchor="mm")
    if rng.random() < 0.06:
        draw.rectangle([2, 2, size - 3, size - 3], outline=(200, 60, 60), width=max(2, size // 60))
    return image
