"""A clip at one time, and the ways to move parts that every use is made of."""

from dataclasses import dataclass, field

import numpy as np

from tools.sample_shop.geometry import Part


@dataclass(frozen=True)
class Moment:
    """A clip at one time."""

    parts: list[Part]
    """The object's own parts, in the order they were given."""
    extra: list[Part] = field(default_factory=list)
    """What the use brings along: water, a stick, a carrot."""
    glow: float = 0.0
    turn: float = 0.0
    """Degrees that the camera goes around."""


def together(
    parts: list[Part], shift=(0, 0, 0), rotate=None, scale=1.0, about=(0, 0, 0)
) -> list[Part]:
    """Every part moved together about a point."""
    about = np.asarray(about, np.float32)
    turned = np.asarray(about if rotate is None else rotate @ about, np.float32)
    shift = np.asarray(shift) + about - turned * np.asarray(scale)
    return [part.moved(shift, rotate, scale) for part in parts]


def joints_moved(parts: list[Part], joints: tuple[str, ...], **move) -> list[Part]:
    """The parts of some joints moved, the others left."""
    return [together([p], **move)[0] if p.joint in joints else p for p in parts]


def top_of(parts: list[Part]) -> float:
    """Height of the highest point."""
    return float(max(part.points_N3[:, 2].max() for part in parts))


def main_axes(part: Part) -> np.ndarray:
    """Rows: directions of largest to smallest spread of a part."""
    points = part.points_N3 - part.points_N3.mean(axis=0)
    return np.linalg.svd(points.T @ points)[0].T.astype(np.float32)


def about_axis(axis_3: np.ndarray, degrees: float) -> np.ndarray:
    """Rotation about any unit vector (Rodrigues)."""
    x, y, z = axis_3
    cross_33 = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    a = np.radians(degrees)
    return (np.eye(3) + np.sin(a) * cross_33 + (1 - np.cos(a)) * cross_33 @ cross_33).astype(
        np.float32
    )
