"""A small renderer in numpy: shaded pictures of point sets, with soft shadows.

Points are projected into a depth buffer (they are denser than pixels), then only the nearest ones
are coloured and lit. H, W pixels; N points; P visible pixels. Colours are linear RGB.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from tools.sample_shop import looks
from tools.sample_shop.geometry import Part, dot, rotation, unit
from tools.sample_shop.item import Item


@dataclass(frozen=True)
class Camera:
    """A camera aimed at `target`; azimuth and elevation in degrees, 0 points along +y."""

    azimuth: float
    elevation: float
    roll: float = 0.0
    distance: float = 7.0
    focal: float = 2.6
    """Half picture widths per unit length at the target."""
    target: tuple[float, float, float] = (0.0, 0.0, 0.6)
    shift: tuple[float, float] = (0.0, 0.0)
    """Position of the target in the picture, in half widths, x right and y up."""

    @property
    def axes_33(self) -> np.ndarray:
        """Rows: right, up and towards the viewer, in the world."""
        turn = rotation("z", self.azimuth) @ rotation("x", -self.elevation)
        right, back, up = turn.T
        return rotation("z", self.roll) @ np.stack([right, up, -back])

    def project(self, points_N3: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Project world points: x, y in half widths (y up), and depth."""
        view_N3 = (points_N3 - np.asarray(self.target, np.float32)) @ self.axes_33.T
        depth = self.distance - view_N3[:, 2]
        scale = self.focal / np.maximum(depth, 0.1)
        return view_N3[:, 0] * scale + self.shift[0], view_N3[:, 1] * scale + self.shift[1], depth

    def rays(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Position of the eye, and the direction of the ray through each pixel's centre (HW3)."""
        line = (np.arange(size) + 0.5) / size * 2 - 1
        x, y = np.meshgrid(line - self.shift[0], -line - self.shift[1])
        view = np.stack([x / self.focal, y / self.focal, -np.ones_like(x)], axis=-1)
        eye_3 = np.asarray(self.target) + self.distance * self.axes_33[2]
        return eye_3, unit(view @ self.axes_33)


@dataclass(frozen=True)
class Light:
    """A soft main light, a weaker one at the camera, and ambient light."""

    direction: np.ndarray
    """Unit vector towards the main light."""
    main: float = 1.5
    room: float = 0.55
    warm: float = 0.0
    """-1 bluish to 1 yellowish."""

    @property
    def tint_3(self) -> np.ndarray:
        """Colour of the main light."""
        return np.array([1 + 0.1 * self.warm, 1.0, 1 - 0.16 * self.warm], np.float32)


@dataclass(frozen=True)
class Shot:
    """Output of the renderer: colour (not premultiplied) and coverage."""

    rgb_HW3: np.ndarray
    alpha_HW: np.ndarray
    depth_HW: np.ndarray


def _visible(parts: list[Part], camera: Camera, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Index of the nearest point at each pixel (-1: none) and its depth."""
    points_N3 = np.concatenate([part.points_N3 for part in parts])
    normals_N3 = np.concatenate([part.normals_N3 for part in parts])
    thin = np.repeat([part.thin for part in parts], [len(part.points_N3) for part in parts])
    eye_3 = np.asarray(camera.target) + camera.distance * camera.axes_33[2]
    facing = normals_N3 @ eye_3.astype(np.float32) > dot(points_N3, normals_N3)
    index = np.flatnonzero(facing | thin)
    x, y, depth = camera.project(points_N3[index])
    column = ((x + 1) * size / 2).astype(np.int32)
    row = ((1 - y) * size / 2).astype(np.int32)
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size) & (x > -1) & (y < 1)
    index, depth = index[inside], depth[inside]
    pixel = row[inside] * size + column[inside]
    far_first = np.argsort(
        (65535 - np.clip(depth * 4000, 0, 65535)).astype(np.uint16), kind="stable"
    )
    winner = np.full(size * size, -1)
    winner[pixel[far_first]] = index[far_first]
    depth_P = np.full(size * size, np.inf)
    depth_P[pixel[far_first]] = depth[far_first]
    return _close_holes(winner.reshape(size, size), depth_P.reshape(size, size))


def _close_holes(winner_HW: np.ndarray, depth_HW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fill gaps between points: pixels much farther than both neighbours along one axis."""
    for axis in (0, 1):
        before_HW, after_HW = np.roll(depth_HW, 1, axis), np.roll(depth_HW, -1, axis)
        gap_HW = (depth_HW > before_HW + 0.06) & (depth_HW > after_HW + 0.06)
        both_HW = gap_HW & np.isfinite(before_HW) & np.isfinite(after_HW)
        gap_HW = both_HW & (
            np.abs(np.where(both_HW, before_HW, 0) - np.where(both_HW, after_HW, 0)) < 0.06
        )
        winner_HW = np.where(gap_HW, np.roll(winner_HW, 1, axis), winner_HW)
        depth_HW = np.where(gap_HW, before_HW, depth_HW)
    return winner_HW, depth_HW


def _room(direction_P3: np.ndarray, rough_P: np.ndarray, light: Light) -> np.ndarray:
    """Radiance of the room by direction: ceiling, floor, darker screens, a softbox and a strip."""
    up = direction_P3[:, 2]
    sky = 0.42 + 0.5 * np.clip(up * 1.2 + 0.35, 0, 1) - 0.42 * np.exp(-(((up + 0.05) / 0.2) ** 2))
    around = np.arctan2(direction_P3[:, 1], direction_P3[:, 0])
    sky = sky * (1 + 0.38 * (1 - up**2) * np.cos(3 * around + 4 * light.direction[0]))
    blur = 0.03 + 0.4 * rough_P
    side_3 = unit(np.cross(light.direction, (0, 0, 1.0)))
    across = np.abs(direction_P3 @ side_3)
    toward = direction_P3 @ light.direction
    high = np.abs(direction_P3 @ np.cross(side_3, light.direction))
    box = _fade(0.34 - across, blur) * _fade(0.42 - high, blur) * (toward > 0)
    strip_3 = unit(np.array([-light.direction[0], -0.5, 0.35]))
    strip = _fade(direction_P3 @ strip_3 - 0.93, blur * 0.5)
    return sky + (2.6 * box + 1.1 * strip) / (1 + 3 * rough_P)


def _fade(value: np.ndarray, width: np.ndarray | float) -> np.ndarray:
    """Smooth step: 0 below -width, 1 above width."""
    t = np.clip(value / (2 * width) + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def _self_shadow(parts: list[Part], points_P3: np.ndarray, light: Light) -> np.ndarray:
    """Share of the main light that reaches each visible point, by a shadow map."""
    cloud = np.concatenate([part.points_N3[:: 1 + len(part.points_N3) // 6000] for part in parts])
    side_3 = unit(np.cross(light.direction, (0, 0, 1.0)))
    basis_32 = np.stack([side_3, np.cross(light.direction, side_3)], axis=1)
    cells = 48
    flat_2N = (cloud @ basis_32).T.copy()
    low, high = flat_2N.min(axis=1) - 0.1, flat_2N.max(axis=1) + 0.1
    scale = (cells - 1) / (high - low).max()
    place_N2 = ((flat_2N.T - low) * scale).astype(int)
    nearest = np.full(cells * cells, -np.inf)
    np.maximum.at(nearest, place_N2[:, 0] * cells + place_N2[:, 1], cloud @ light.direction)
    spot_P2 = (points_P3 @ basis_32 - low) * scale
    reached = np.zeros(len(points_P3))
    for dx, dy in ((0, 0), (0.7, 0.4), (-0.4, 0.7), (-0.7, -0.4), (0.4, -0.7)):
        at = np.clip((spot_P2 + np.array([dx, dy])).astype(int), 0, cells - 1)
        reached += nearest[at[:, 0] * cells + at[:, 1]] < points_P3 @ light.direction + 0.2
    return reached / 5


def render(
    parts: list[Part],
    item: Item,
    camera: Camera,
    light: Light,
    size: int,
    rest: list[Part] | None = None,
    glow: float = 0.0,
) -> Shot:
    """Shade `parts`; `rest` are the same parts before motion, which fix the textures."""
    winner_HW, depth_HW = _visible(parts, camera, size)
    hit_HW = winner_HW >= 0
    ends = np.cumsum([len(part.points_N3) for part in parts])
    winner_P = winner_HW[hit_HW]
    owner_P = np.searchsorted(ends, winner_P, side="right")
    albedo_P3, optics_P5 = np.zeros((len(winner_P), 3)), np.zeros((len(winner_P), 5))
    points_P3, normals_P3 = np.zeros((len(winner_P), 3)), np.zeros((len(winner_P), 3))
    for k in np.unique(owner_P):
        mine, part, still = owner_P == k, parts[k], (rest or parts)[k]
        at = winner_P[mine] - (ends[k] - len(part.points_N3))
        albedo_P3[mine] = looks.colour(
            item, part.finish, still.points_N3[at], still.uv_N2[at], part.wrap
        )
        kind = looks.look(item, part.finish)
        shine = kind.emit * (1 + 3 * glow) + (0.9 * glow if part.joint == "glow" else 0)
        optics_P5[mine] = (kind.rough, kind.gloss, kind.metal, kind.clear, shine)
        points_P3[mine], normals_P3[mine] = part.points_N3[at], part.normals_N3[at]
    _, rays_HW3 = camera.rays(size)
    toward_P3 = -rays_HW3[hit_HW]
    normals_P3 *= np.where(dot(normals_P3, toward_P3) < 0, -1, 1)[:, None]
    crease_P = _openness(depth_HW)[hit_HW]
    open_P = crease_P * _self_shadow(parts, points_P3, light)
    colour_P3, cover_P = _shade(
        albedo_P3, optics_P5, normals_P3, toward_P3, open_P, crease_P, light
    )
    rgb_HW3, alpha_HW = np.zeros((size, size, 3)), np.zeros((size, size))
    rgb_HW3[hit_HW], alpha_HW[hit_HW] = colour_P3, cover_P
    return Shot(rgb_HW3, alpha_HW, depth_HW)


def _openness(depth_HW: np.ndarray) -> np.ndarray:
    """Ambient occlusion from depth: pixels behind their surroundings are darker."""
    hit_HW = np.isfinite(depth_HW)
    near_HW = np.where(hit_HW, depth_HW, 0.0)
    radius = max(2, round(0.04 * len(depth_HW)))
    mean_HW = _box_mean(near_HW, radius) / np.maximum(_box_mean(hit_HW * 1.0, radius), 1e-6)
    return np.clip(1 - 2.2 * np.maximum(near_HW - mean_HW - 0.012, 0), 0.4, 1)


def _box_mean(values_HW: np.ndarray, radius: int) -> np.ndarray:
    """Mean over squares of side 2 radius + 1, with repeated border."""
    width = 2 * radius + 1
    for axis in (0, 1):
        pad = [(radius + 1, radius) if a == axis else (0, 0) for a in (0, 1)]
        sums = np.cumsum(np.pad(values_HW, pad, mode="edge"), axis=axis)
        upper, lower = np.split(sums, [width], axis=axis)[1], np.split(sums, [-width], axis=axis)[0]
        values_HW = (upper - lower) / width
    return values_HW


def _shade(albedo_P3, optics_P5, normals_P3, toward_P3, open_P, crease_P, light: Light):
    """Lambert shading by two lights and the room, plus Fresnel reflection of the room; coverage."""
    rough, gloss, metal, clear, emit = optics_P5.T
    facing = np.clip(dot(normals_P3, toward_P3), 0, 1)
    mirror_P3 = 2 * facing[:, None] * normals_P3 - toward_P3
    main = np.clip(normals_P3 @ light.direction * 0.9 + 0.1, 0, 1) * open_P * light.main
    fill = 0.28 * facing * crease_P
    room = light.room * (0.62 + 0.38 * normals_P3[:, 2]) * crease_P
    diffuse_P3 = (main[:, None] * light.tint_3 + (fill + room)[:, None]) * albedo_P3 / 1.6
    edge = (1 - facing) ** 5 * (1 - rough)
    mirror = _room(mirror_P3, rough, light) * (0.35 + 0.65 * crease_P)
    fresnel = np.where(gloss > 0, gloss + (1 - gloss) * edge * 0.7, 0)
    shiny_P3 = (metal * mirror)[:, None] * (albedo_P3 + (1 - albedo_P3) * edge[:, None]) * 0.95
    coat_P3 = ((1 - metal) * fresnel * mirror)[:, None] * light.tint_3
    body_P3 = diffuse_P3 * (1 - metal)[:, None]
    cover = 1 - clear * (1 - np.clip(1.25 * (1 - facing) ** 2.2 + 2.2 * fresnel * mirror, 0, 1))
    body_P3 = body_P3 * np.where(clear > 0, 0.75, 1)[:, None]
    return body_P3 + shiny_P3 + coat_P3 + emit[:, None] * albedo_P3, cover


def shadow(parts: list[Part], light: Light) -> tuple[np.ndarray, float]:
    """Shadow on the ground (0..1) on a square around the origin, and the square's half width."""
    cloud = np.concatenate([part.points_N3[:: 1 + len(part.points_N3) // 6000] for part in parts])
    reach, cells = 3.0, 128
    drop_3 = light.direction / max(light.direction[2], 0.35)
    maps = []
    for points, blur in ((cloud - cloud[:, 2:] * drop_3, 4.0), (cloud[cloud[:, 2] < 0.14], 1.6)):
        place = ((points[:, :2] + reach) / (2 * reach) * cells).astype(int)
        place = place[((place >= 0) & (place < cells)).all(axis=1)]
        grid = np.zeros((cells, cells), np.float32)
        grid[place[:, 1], place[:, 0]] = 255
        image = Image.fromarray(grid.astype(np.uint8)).filter(ImageFilter.MaxFilter(3))
        maps.append(np.asarray(image.filter(ImageFilter.GaussianBlur(blur)), float) / 255)
    return np.clip(0.42 * maps[0] + 0.55 * maps[1], 0, 0.85), reach
