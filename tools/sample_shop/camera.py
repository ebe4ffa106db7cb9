"""Where a picture is taken from, and by what light.

H, W pixels; N points.
"""

from dataclasses import dataclass

import numpy as np

from tools.sample_shop.geometry import rotation, unit


@dataclass(frozen=True)
class Camera:
    """Looks at `target`; azimuth and elevation in degrees, 0 looks along +y."""

    azimuth: float
    elevation: float
    roll: float = 0.0
    distance: float = 7.0
    focal: float = 2.6
    """Half widths of the picture per unit at the target, times the distance over itself."""
    target: tuple[float, float, float] = (0.0, 0.0, 0.6)
    shift: tuple[float, float] = (0.0, 0.0)
    """Of the target in the picture, in half widths, x right and y up."""

    @property
    def axes_33(self) -> np.ndarray:
        """Rows: right, up and towards the viewer, in the world."""
        turn = rotation("z", self.azimuth) @ rotation("x", -self.elevation)
        right, back, up = turn.T
        return rotation("z", self.roll) @ np.stack([right, up, -back])

    def project(self, points_N3: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, y in half widths (y up), and depth, of points in the world."""
        view_N3 = (points_N3 - np.asarray(self.target, np.float32)) @ self.axes_33.T
        depth = self.distance - view_N3[:, 2]
        scale = self.focal / np.maximum(depth, 0.1)
        return view_N3[:, 0] * scale + self.shift[0], view_N3[:, 1] * scale + self.shift[1], depth

    def rays(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Position of the eye, and the direction of the ray through each pixel's middle (HW3)."""
        line = (np.arange(size) + 0.5) / size * 2 - 1
        x, y = np.meshgrid(line - self.shift[0], -line - self.shift[1])
        view = np.stack([x / self.focal, y / self.focal, -np.ones_like(x)], axis=-1)
        eye_3 = np.asarray(self.target) + self.distance * self.axes_33[2]
        return eye_3, unit(view @ self.axes_33)


@dataclass(frozen=True)
class Light:
    """One soft main light, a weaker one beside the camera, and the light of the room."""

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
