"""Product pictures: an object, a camera, a studio, and the additions of sellers."""

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from tools.sample_shop import scenery, shapes
from tools.sample_shop.geometry import Part, rotation, unit
from tools.sample_shop.item import Item, pick
from tools.sample_shop.looks import look
from tools.sample_shop.render import Camera, Light, Shot, render, shadow

SIZE = 128
"""Width and height of a picture in pixels; it is rendered at twice that size."""
SHOTS = {"whole": 0.92, "detail": 0.05, "package": 0.03}
"""Kinds of pictures and their shares."""


@dataclass(frozen=True)
class Stage:
    """Everything around the object that is constant in a picture or a clip."""

    camera: Camera
    light: Light
    setting: scenery.Setting
    size: int
    """Rendered width and height in pixels."""


def frame(camera: Camera, parts: list[Part], fill: float) -> Camera:
    """Aim and zoom the camera so that the parts span the share `fill` of the picture."""
    points_N3 = np.concatenate([part.points_N3[::7] for part in parts])
    middle_3 = (points_N3.min(axis=0) + points_N3.max(axis=0)) / 2
    camera = replace(camera, target=tuple(float(c) for c in middle_3), shift=(0.0, 0.0))
    x, y, _ = camera.project(points_N3)
    span = max(np.ptp(x), np.ptp(y)) / 2
    middle = ((x.max() + x.min()) / 2 / span * fill, (y.max() + y.min()) / 2 / span * fill)
    return replace(camera, focal=camera.focal * fill / span, shift=(-middle[0], -middle[1]))


def close_up(camera: Camera, zoom: float, rng: np.random.Generator) -> Camera:
    """Zoom the camera in by `zoom` on a random place of its view."""
    x, y = camera.shift[0] * zoom, camera.shift[1] * zoom
    shift = (x + rng.uniform(-0.32, 0.32) * zoom, y + rng.uniform(-0.32, 0.32) * zoom)
    return replace(camera, focal=camera.focal * zoom, shift=shift)


def draw_light(rng: np.random.Generator, azimuth: float) -> Light:
    """Draw a main light from one side, above and in front."""
    side = rng.choice([-1, 1]) * rng.uniform(0.4, 1.0)
    direction = rotation("z", azimuth) @ np.array(
        [side, -rng.uniform(0.3, 0.8), rng.uniform(0.7, 1.2)]
    )
    return Light(
        unit(direction), rng.uniform(1.2, 1.7), rng.uniform(0.45, 0.7), rng.uniform(-0.6, 1.0)
    )


def draw_stage(item: Item, rng: np.random.Generator, parts: list[Part], size: int) -> Stage:
    """Draw a camera in the category's usual range, a light and a studio."""
    azimuth = rng.normal(0, 28) + rng.choice([0, 0, 180]) * (item.category.modes == "shell")
    low, high = item.category.elevation
    camera = Camera(azimuth, rng.uniform(low - 2, high + 5), rng.normal(0, 2.5))
    camera = frame(camera, parts, rng.uniform(0.6, 0.9))
    x, y = camera.shift
    camera = replace(camera, shift=(x + rng.normal(0, 0.04), y + rng.normal(0, 0.04)))
    return Stage(camera, draw_light(rng, azimuth), scenery.draw_setting(rng), size)


def develop(shot: Shot, backdrop_HW3: np.ndarray) -> np.ndarray:
    """Apply a tone curve, convert to sRGB and composite over the backdrop: rgb_HW3 in 0..1."""
    hit_HW = shot.alpha_HW > 0
    light, cover = shot.rgb_HW3[hit_HW], shot.alpha_HW[hit_HW][:, None]
    light = np.where(light < 0.7, light, 0.7 + 0.3 * (1 - np.exp(-(light - 0.7) / 0.3)))
    seen_HW3 = backdrop_HW3.copy()
    seen_HW3[hit_HW] = np.clip(light, 0, 1) ** (1 / 2.2) * cover + backdrop_HW3[hit_HW] * (
        1 - cover
    )
    return seen_HW3


def compose(
    stage: Stage, parts: list[Part], item: Item, rest: list[Part] | None = None, glow: float = 0.0
) -> np.ndarray:
    """Render the parts on their stage, solid parts first: rgb_HW3 in 0..1."""
    dark_CC, reach = shadow(parts, stage.light)
    ground_HW3 = scenery.backdrop(stage.setting, stage.camera, stage.size, dark_CC, reach)
    if glow:
        light = replace(stage.light, main=stage.light.main * (1 - 0.5 * glow))
        stage = replace(stage, light=replace(light, room=light.room * (1 - 0.4 * glow)))
        ground_HW3 = ground_HW3 * (1 - 0.4 * glow)
    shot = render(parts, item, stage.camera, stage.light, stage.size, rest, glow)
    if (shot.alpha_HW[np.isfinite(shot.depth_HW)] < 0.999).any():
        ground_HW3 = _behind_glass(stage, parts, item, rest, glow, ground_HW3)
    return develop(shot, ground_HW3)


def _behind_glass(stage, parts, item, rest, glow, ground_HW3) -> np.ndarray:
    """The backdrop with the solid parts and the far walls of the transparent ones."""
    clear = [look(item, part.finish).clear > 0 for part in parts]
    inner = [replace(p, normals_N3=-p.normals_N3) for p, c in zip(parts, clear, strict=True) if c]
    still = rest or parts
    kept = [r for r, c in zip(still, clear, strict=True) if c]
    seen = develop(
        render(inner, item, stage.camera, stage.light, stage.size, kept, glow), ground_HW3
    )
    solid = [p for p, c in zip(parts, clear, strict=True) if not c]
    if not solid:
        return seen
    kept = [r for r, c in zip(still, clear, strict=True) if not c]
    return develop(render(solid, item, stage.camera, stage.light, stage.size, kept, glow), seen)


def picture(item: Item, view: str, size: int = SIZE) -> Image.Image:
    """Render the product; each name of a `view` has its own camera, light, studio and clutter.

    Most pictures show the whole product, some only a detail, and some the package.

    Args:
        size: SIZE, or twice SIZE for the same picture as it is rendered.
    """
    rng = item.rng("picture", view)
    kind = pick(rng, SHOTS)
    zoom = rng.uniform(1.7, 2.6) if kind == "detail" else 1.0
    step = 0.0072 / zoom
    parts = shapes.build(item.category.name, item.rng("shape"), step)
    if kind == "package":
        parts = scenery.package(parts, rng, step)
    stage = draw_stage(item, rng, parts, 2 * SIZE)
    around = scenery.props(item, rng, step) if rng.random() < 0.35 else []
    if rng.random() < 0.2:
        around = around + scenery.pebbles(rng, step)
    if kind == "detail":
        stage = replace(stage, camera=close_up(stage.camera, zoom, rng))
    elif around and rng.random() < 0.6:
        fill = rng.uniform(0.8, 0.95)
        stage = replace(stage, camera=frame(stage.camera, parts + around, fill))
    seen_HW3 = compose(stage, parts + around, item)
    seen_HW3 = seen_HW3 + rng.normal(0, rng.uniform(0, 0.012), seen_HW3.shape)
    image = Image.fromarray((np.clip(seen_HW3, 0, 1) * 255 + 0.5).astype(np.uint8))
    return scenery.stickers(image, item, rng).reduce(2 * SIZE // size)
