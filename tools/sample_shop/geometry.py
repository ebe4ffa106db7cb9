"""Surfaces as dense point sets: lathe, tube, rounded box, plate, ellipsoid.

A surface is sampled so densely that every pixel it covers receives a point, so the renderer needs
no triangles. Axes: z up, the camera points along +y at azimuth 0, lengths in half object sizes.

N points, K control points.
"""

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter


@dataclass(frozen=True)
class Part:
    """One surface of an object."""

    points_N3: np.ndarray
    normals_N3: np.ndarray
    uv_N2: np.ndarray
    """Coordinates around and along the surface, for textures."""
    finish: str = "main"
    """Finish: `main`, `plain`, `accent`, or a fixed one of `looks.FIXED`."""
    joint: str = ""
    """Name of its moving group in clips."""
    thin: bool = False
    """Visible from both sides."""
    wrap: bool = False
    """If True, u runs once around from 0 to 1; else u and v are lengths."""

    def moved(self, shift=(0.0, 0.0, 0.0), rotate=None, scale=1.0) -> "Part":
        """Map x to rotate @ (scale * x) + shift; `scale` is a number or one per axis."""
        scale_3 = np.broadcast_to(np.asarray(scale, np.float32), 3)
        points_N3 = self.points_N3 * scale_3
        normals_N3 = self.normals_N3 / scale_3
        if rotate is not None:
            points_N3, normals_N3 = points_N3 @ rotate.T, normals_N3 @ rotate.T
        points_N3 = points_N3 + np.asarray(shift, np.float32)
        return replace(self, points_N3=points_N3, normals_N3=unit(normals_N3))


def unit(vectors_N3: np.ndarray) -> np.ndarray:
    """Divide rows by their length, as float32."""
    length_N1 = np.sqrt(dot(vectors_N3, vectors_N3))[..., None]
    return (vectors_N3 / np.maximum(length_N1, 1e-9)).astype(np.float32)


def dot(a_N3: np.ndarray, b_N3: np.ndarray) -> np.ndarray:
    """Inner products of rows; several times faster than a sum over an axis of length 3."""
    return np.einsum("...i,...i->...", a_N3, b_N3)


def rotation(axis: str, degrees: float) -> np.ndarray:
    """Right-handed rotation matrix about a coordinate axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix_33 = np.eye(3, dtype=np.float32)
    matrix_33[[i, i, j, j], [i, j, i, j]] = c, -s, s, c
    return matrix_33


def curve(control_KD, step: float, smooth: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Points and tangents along a Catmull-Rom (or straight) curve, `step` apart."""
    control_KD = np.asarray(control_KD, float)
    if smooth and len(control_KD) > 2:
        padded = np.vstack(
            [2 * control_KD[0] - control_KD[1], control_KD, 2 * control_KD[-1] - control_KD[-2]]
        )
        t = np.linspace(0, 1, 24, endpoint=False)[:, None]
        pieces = []
        for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
            pieces.append(
                0.5
                * (
                    2 * b
                    + (c - a) * t
                    + (2 * a - 5 * b + 4 * c - d) * t**2
                    + (3 * b - a - 3 * c + d) * t**3
                )
            )
        control_KD = np.vstack([*pieces, control_KD[-1:]])
    lengths = np.linalg.norm(np.diff(control_KD, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    at = (np.arange(n := max(3, int(np.ceil(along[-1] / step)))) + 0.5) / n * along[-1]
    points = np.stack([np.interp(at, along, x) for x in control_KD.T], axis=1)
    segment = np.clip(np.searchsorted(along, at) - 1, 0, len(lengths) - 1)
    tangents = np.diff(control_KD, axis=0)[segment]
    if smooth:
        tangents = np.gradient(points, axis=0)
    return points, tangents / np.maximum(np.linalg.norm(tangents, axis=1, keepdims=True), 1e-9)


def lathe(profile_K2, step: float, smooth: bool = True, **keys) -> Part:
    """Surface of revolution about z of a profile of (radius, height).

    The outside of an upward profile is to its right, so a profile up the outer wall and down the
    inner wall gives a vessel.
    """
    ring_N2, tangent_N2 = curve(profile_K2, step, smooth)
    radius = np.maximum(ring_N2[:, 0], 0)
    counts = np.maximum(3, np.ceil(2 * np.pi * radius / step)).astype(int)
    row = np.repeat(np.arange(len(radius)), counts)
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    around = (place + (row * 0.618) % 1) / counts[row] % 1
    c, s = np.cos(2 * np.pi * around), np.sin(2 * np.pi * around)
    points = np.stack([radius[row] * c, radius[row] * s, ring_N2[row, 1]], axis=1)
    out, up = tangent_N2[row, 1], -tangent_N2[row, 0]
    normals = np.stack([out * c, out * s, up], axis=1)
    uv = np.stack([around, ring_N2[row, 1]], axis=1)
    return Part(points.astype(np.float32), unit(normals), uv.astype(np.float32), wrap=True, **keys)


def tube(path_K3, radius, step: float, smooth: bool = True, **keys) -> Part:
    """A round bar along a path; `radius` is a number, or several spread evenly along it."""
    path_N3, tangent_N3 = curve(path_K3, step, smooth)
    share = np.linspace(0, 1, len(path_N3))
    radii = np.interp(share, np.linspace(0, 1, np.size(radius)), np.atleast_1d(radius))
    radii[0] *= 0.4
    radii[-1] *= 0.4
    helper = np.eye(3)[np.argmin(np.abs(tangent_N3).sum(axis=0))]
    side_N3 = unit(np.cross(tangent_N3, helper))
    up_N3 = np.cross(side_N3, tangent_N3)
    n = max(6, int(np.ceil(2 * np.pi * radii.max() / step)))
    angle = 2 * np.pi * np.arange(n) / n
    normals = side_N3[:, None] * np.cos(angle)[:, None] + up_N3[:, None] * np.sin(angle)[:, None]
    points = path_N3[:, None] + radii[:, None, None] * normals
    uv = np.stack(np.broadcast_arrays(angle / (2 * np.pi), share[:, None]), axis=-1)
    return Part(
        points.reshape(-1, 3).astype(np.float32),
        unit(normals.reshape(-1, 3)),
        uv.reshape(-1, 2).astype(np.float32),
        wrap=True,
        **keys,
    )


def box(size_3, round_: float, step: float, **keys) -> Part:
    """A box centred at the origin with edges rounded to radius `round_`."""
    half_3 = np.asarray(size_3, float) / 2
    round_ = min(round_, 0.98 * half_3.min())
    faces, uvs = [], []
    for axis in range(3):
        i, j = [k for k in range(3) if k != axis]
        u, v = (np.linspace(-h, h, max(3, int(np.ceil(2 * h / step)))) for h in half_3[[i, j]])
        grid = np.stack(np.meshgrid(u, v, indexing="ij"), axis=-1).reshape(-1, 2)
        for sign in (-1, 1):
            face = np.empty((len(grid), 3))
            face[:, [i, j]], face[:, axis] = grid, sign * half_3[axis]
            faces.append(face)
            uvs.append(grid[:, ::-1] if axis == 2 else grid)
    points = np.vstack(faces)
    core = np.clip(points, -half_3 + round_, half_3 - round_)
    normals = unit(points - core)
    return Part(
        (core + round_ * normals).astype(np.float32),
        normals,
        np.vstack(uvs).astype(np.float32),
        **keys,
    )


def ellipsoid(radii_3, step: float, **keys) -> Part:
    """An ellipsoid centred at the origin, sampled by a Fibonacci spiral."""
    radii_3 = np.broadcast_to(np.asarray(radii_3, np.float32), 3)
    n = max(60, int(4 * np.pi * (radii_3.max() / step) ** 2))
    z = 1 - (2 * np.arange(n) + 1) / n
    angle = np.pi * (1 + 5**0.5) * np.arange(n)
    r = np.sqrt(1 - z * z)
    sphere = np.stack([r * np.cos(angle), r * np.sin(angle), z], axis=1).astype(np.float32)
    uv = np.stack([angle / (2 * np.pi) % 1, z], axis=1).astype(np.float32)
    return Part(sphere * radii_3, unit(sphere / radii_3), uv, wrap=True, **keys)


def plate(
    outline_K2, thickness: float, step: float, puff: float = 0.05, smooth: bool = True, **keys
) -> Part:
    """A plate in the xy plane with the given outline; `puff`: width of the rounding at its edge."""
    closed = np.vstack([outline_K2, outline_K2[:1]])
    edge_N2, _ = curve(closed, step, smooth)
    low, high = edge_N2.min(axis=0) - 2 * step, edge_N2.max(axis=0) + 2 * step
    width, height = np.ceil((high - low) / step).astype(int)
    mask = Image.new("L", (int(width), int(height)))
    ImageDraw.Draw(mask).polygon([tuple(p) for p in (edge_N2 - low) / step - 0.5], fill=255)
    soft = np.asarray(mask.filter(ImageFilter.GaussianBlur(puff / step)), float) / 255
    rise = np.sqrt(np.clip(2 * soft - 1, 0.0, 1)) if puff > 2 * step else (soft > 0) * 1.0
    slope_y, slope_x = np.gradient(rise * thickness / 2, step)
    row, column = np.nonzero(np.asarray(mask))
    xy = np.stack([column, row], axis=1) * step + low + step / 2
    z = rise[row, column] * thickness / 2
    tilt = np.stack([-slope_x[row, column], -slope_y[row, column], np.ones(len(row))], axis=1)
    top = np.column_stack([xy, z])
    wall, wall_normals = _wall(edge_N2, 0.3 * thickness if puff > 2 * step else thickness, step)
    points = np.vstack([top, top * (1, 1, -1), wall])
    normals = np.vstack([tilt, tilt * (1, 1, -1), wall_normals])
    return Part(points.astype(np.float32), unit(normals), points[:, :2].astype(np.float32), **keys)


def _wall(edge_N2: np.ndarray, height: float, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Side wall of a plate, with normals that point outwards."""
    tangent = np.roll(edge_N2, -1, axis=0) - np.roll(edge_N2, 1, axis=0)
    area = np.sum(
        edge_N2[:, 0] * np.roll(edge_N2[:, 1], -1) - edge_N2[:, 1] * np.roll(edge_N2[:, 0], -1)
    )
    out = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1) * np.sign(area)
    z = np.linspace(-height / 2, height / 2, max(2, int(np.ceil(height / step))))
    points = np.column_stack([np.tile(edge_N2, (len(z), 1)), np.repeat(z, len(edge_N2))])
    return points, np.column_stack([np.tile(out, (len(z), 1)), np.zeros(len(points))])


def shell(outer_K2, wall: float, floor: float = 0.04) -> list[tuple[float, float]]:
    """Profile of a vessel: up the outer wall, over the rim, down an inner wall `wall` inside it."""
    outer = [(float(r), float(z)) for r, z in outer_K2]
    inner = [(max(r - wall, 0.0), max(z, outer[0][1] + floor)) for r, z in outer[::-1]]
    rim = (outer[-1][0] - wall / 2, outer[-1][1] + wall / 3)
    return [(0.0, outer[0][1]), *outer, rim, *inner, (0.0, outer[0][1] + floor)]
