"""The use of a product in its clip: each use moves parts as a function of time.

A use takes the parts at rest, the time t in 0..1, a random generator in the same state at every t,
and the category, and returns a `Moment`. Each use is shared by several categories, except for
cutting and plucking.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from tools.sample_shop.geometry import Part, box, ellipsoid, lathe, rotation, shell, tube, unit


@dataclass(frozen=True)
class Moment:
    """State of a clip at one time."""

    parts: list[Part]
    """The object's own parts, in the given order."""
    extra: list[Part] = field(default_factory=list)
    """Additional parts of the use: water, a stick, a carrot."""
    glow: float = 0.0
    turn: float = 0.0
    """Rotation of the camera in degrees."""


def together(
    parts: list[Part], shift=(0, 0, 0), rotate=None, scale=1.0, about=(0, 0, 0)
) -> list[Part]:
    """Move all parts together about a point."""
    about = np.asarray(about, np.float32)
    turned = np.asarray(about if rotate is None else rotate @ about, np.float32)
    shift = np.asarray(shift) + about - turned * np.asarray(scale)
    return [part.moved(shift, rotate, scale) for part in parts]


def joints_moved(parts: list[Part], joints: tuple[str, ...], **move) -> list[Part]:
    """Move the parts of some joints only."""
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


def turn(parts, t, rng, category) -> Moment:
    """The camera moves around the object."""
    return Moment(parts, turn=float(rng.choice([-1, 1]) * rng.uniform(200, 360)) * t)


def carry(parts, t, rng, category) -> Moment:
    """The object is lifted and sways."""
    swing = np.sin(2 * np.pi * (2 * t + rng.random()))
    lift = min(1.0, 3 * t) * 0.35 + 0.06 * abs(swing)
    return Moment(
        together(
            parts, (0.8 * (t - 0.5), 0, lift), rotation("y", 9 * swing), about=(0, 0, top_of(parts))
        )
    )


def open_(parts, t, rng, category) -> Moment:
    """Lid, flap, door or canopy opens."""
    share = float(np.clip(1.5 * t - 0.15, 0, 1))
    joints = {part.joint for part in parts}
    if "canopy" in joints:
        canopy = next(p for p in parts if p.joint == "canopy")
        axis = unit(parts[1].points_N3[-40:].mean(axis=0) - parts[1].points_N3[:40].mean(axis=0))
        middle = canopy.points_N3.mean(axis=0)
        away = canopy.points_N3 - middle
        along = (away @ axis)[:, None] * axis
        narrow = middle + along * (2.2 - 1.2 * share) + (away - along) * (0.22 + 0.78 * share)
        moved = replace(canopy, points_N3=narrow.astype(np.float32))
        return Moment([moved if p is canopy else p for p in parts])
    for joint, axis, degrees in (("hinge", "x", -105), ("door", "x", 80), ("gate", "z", -110)):
        if joint in joints:
            lid = np.concatenate([p.points_N3 for p in parts if p.joint == joint])
            pivot = (lid[:, 0].min(), lid[:, 1].max(), lid[:, 2].min())
            return Moment(
                joints_moved(parts, (joint,), rotate=rotation(axis, degrees * share), about=pivot)
            )
    up = (0.55 * share, 0, 0.75 * np.sin(np.pi * min(share, 0.75)))
    return Moment(
        joints_moved(
            parts, ("lid",), shift=up, rotate=rotation("y", 40 * share), about=(0, 0, top_of(parts))
        )
    )


def roll(parts, t, rng, category) -> Moment:
    """The object rolls across the picture on wheels or on its round side."""
    x = 2.2 * (t - 0.5) * rng.choice([-1, 1])
    if category == "ball":
        return Moment(
            together(
                parts, (x, 0, 0), rotation("y", np.degrees(x)), about=(0, 0, top_of(parts) / 2)
            )
        )
    for joint in ("front", "rear"):
        wheels = [p for p in parts if p.joint == joint]
        if wheels:
            hub = np.concatenate([p.points_N3 for p in wheels])
            middle = (hub.min(axis=0) + hub.max(axis=0)) / 2
            parts = joints_moved(parts, (joint,), rotate=rotation("y", 250 * x), about=middle)
    lean = rotation("y", -18 if category == "suitcase" else 0)
    return Moment(together(parts, (x, 0, 0), lean))


def bounce(parts, t, rng, category) -> Moment:
    """The object bounces and is squeezed when it lands."""
    phase = (2 * t + rng.random()) % 1
    high = 4 * phase * (1 - phase)
    squash = 1 - 0.16 * max(0.0, 1 - 6 * high)
    height = {"speaker": 0.08, "robot": 0.3}.get(category, 0.9)
    parts = joints_moved(parts, ("left", "right"), shift=(0, 0, 0.12 * np.sin(4 * np.pi * t)))
    return Moment(together(parts, (0, 0, height * high), scale=(1, 1, squash)))


def light(parts, t, rng, category) -> Moment:
    """The glowing part is switched on."""
    steady = np.clip(4 * t - 0.8, 0, 1)
    flicker = (
        0.12 * np.sin(40 * t + rng.uniform(0, 6)) if category in ("candle", "lantern") else 0.0
    )
    return Moment(parts, glow=float(steady * (1 + flicker)))


def tick(parts, t, rng, category) -> Moment:
    """The hands turn in steps."""
    dial = parts[0]
    axis, middle = (
        main_axes(dial)[2],
        (dial.points_N3.min(axis=0) + dial.points_N3.max(axis=0)) / 2,
    )
    axis = axis * np.sign(-axis[1] or 1)
    steps = np.floor(t * 10) * 30
    parts = joints_moved(parts, ("minute",), rotate=about_axis(axis, -steps), about=middle)
    return Moment(
        joints_moved(parts, ("hour",), rotate=about_axis(axis, -steps / 12), about=middle)
    )


def spin(parts, t, rng, category) -> Moment:
    """The object spins about the vertical."""
    way = rng.choice([-1, 1])
    lean = (
        rotation("x", 7 * np.sin(14 * t)) if category == "spinner" else np.eye(3, dtype=np.float32)
    )
    return Moment(together(parts, rotate=lean @ rotation("z", way * 700 * t)))


def swing(parts, t, rng, category) -> Moment:
    """The object hangs and swings."""
    angle = 27 * np.sin(2 * np.pi * (1.5 * t + rng.random()))
    parts = joints_moved(parts, ("clapper",), shift=(-0.006 * angle, 0, 0))
    return Moment(together(parts, (0, 0, 0.3), rotation("y", angle), about=(0, 0, top_of(parts))))


COARSE = 0.009
"""Distance between points of additional parts."""


def fill(parts, t, rng, category) -> Moment:
    """Drops or bits fall in and pile up."""
    finish = {
        "petbowl": "kibble",
        "bowl": "fruit",
        "jar": "beans",
        "pan": "fruit",
        "mug": "coffee",
    }.get(category, "water")
    top, size = top_of(parts), 0.1 if finish in ("fruit", "kibble") else 0.07
    drop = ellipsoid(size, COARSE, finish=finish)
    extra = []
    for k in range(12):
        age = 2.2 * (t - 0.07 * k) - 0.05
        if age > 0:
            low = 0.5 * top + 0.02 * k
            z = max(low, top + 0.9 - 2.2 * age * age - 0.5 * age)
            side = rng.normal(0, 0.16 if z == low else 0.05, 2)
            extra.append(drop.moved((*side, z)))
    return Moment(parts, extra)


def stir(parts, t, rng, category) -> Moment:
    """A spoon stirs in the object; a spoon stirs in a pot."""
    angle = 2 * np.pi * (2 * t + rng.random())
    at = np.array([0.3 * np.cos(angle), 0.3 * np.sin(angle), 0])
    if category == "spoon":
        pot = lathe(shell([(0.4, 0), (0.75, 0.3), (0.85, 0.5)], 0.06), COARSE, finish="white")
        soup = lathe([(0, 0.36), (0.72, 0.36)], COARSE, False, finish="flour")
        bowl_end = parts[0].points_N3.mean(axis=0)
        lean = rotation("z", 25 * np.sin(angle))
        return Moment(
            together(parts, at - bowl_end + (0, 0, 0.5), lean, about=bowl_end), [pot, soup]
        )
    top = top_of(parts)
    path = [
        at * 0.7 + (0, 0, 0.4 * top),
        at * 0.9 + (0.15, 0, top + 0.3),
        (at[0] + 0.3, at[1], top + 1.0),
    ]
    return Moment(parts, [tube(path, [0.09, 0.04, 0.05], COARSE, finish="wood")])


def load(parts, t, rng, category) -> Moment:
    """A weight falls on the object; soft objects are compressed."""
    top = top_of(parts) if category != "chair" else 0.5 * top_of(parts)
    finish, size = f"petal{rng.integers(3)}", rng.uniform(0.2, 0.28)
    fall = max(0.0, 1 - (2.2 * t) ** 2)
    after = max(0.0, t - 0.45)
    press = 0.24 * np.exp(-4 * after) * np.cos(22 * after) ** 2 * (t > 0.45)
    soft = any(part.joint == "soft" for part in parts)
    moved = together(parts, scale=(1, 1, 1 - press * (1.0 if soft else 0.12)))
    z = top * (1 - press * soft) + size + fall
    weight = (
        box((2 * size, 2 * size, 2 * size), 0.05, COARSE, finish=finish)
        if rng.random() < 0.5
        else ellipsoid(size, COARSE, finish=finish)
    )
    return Moment(moved, [weight.moved((0, -0.05, z))])


def strike(parts, t, rng, category) -> Moment:
    """A stick strikes the top of the object; a hammer hits a nail."""
    swing = abs(np.sin(2 * np.pi * (1.5 * t + 0.1 * rng.random())))
    if category == "hammer":
        end = main_axes(parts[0])[0]
        pivot = parts[0].points_N3[np.argmax(parts[0].points_N3 @ end * np.sign(end[0]) * -1)]
        nail = tube([(0, 0, 0), (0, 0, 0.35)], [0.03, 0.03], COARSE, False, finish="steel")
        head = parts[1].points_N3.mean(axis=0)
        return Moment(together(parts, (0, 0, 0.3), rotation("y", -50 * swing), about=pivot),
                      [nail.moved((head[0], head[1], 0))])  # fmt: skip
    top = top_of(parts)
    stick = [
        tube([(0, 0, 0), (1.0, 0, 0.3)], [0.03, 0.04], COARSE, False, finish="wood"),
        ellipsoid(0.09, COARSE, finish="petal0"),
    ]
    stick = together(
        stick, (-0.05, -0.1, top + 0.1), rotation("y", 48 * swing), about=(1.0, 0, 0.3)
    )
    return Moment(together(parts, (0, 0, 0), scale=(1, 1, 1 - 0.02 * (swing < 0.2))), stick)


def pluck(parts, t, rng, category) -> Moment:
    """A hand moves a pick over the strings."""
    x = 0.28 * np.sin(2 * np.pi * (2 * t + rng.random()))
    parts = joints_moved(parts, ("string",), shift=(0.015 * np.sin(40 * t), 0, 0))
    pick = ellipsoid((0.09, 0.03, 0.11), COARSE, finish="petal0").moved((x, -0.28, 0.55))
    hand = tube(
        [(x, -0.3, 0.55), (x + 0.4, -0.45, 0.35), (x + 0.9, -0.4, 0.1)],
        [0.06, 0.09, 0.12],
        COARSE,
        finish="flour",
    )
    return Moment(parts, [pick, hand])


def cut(parts, t, rng, category) -> Moment:
    """The blade, upright, rocks through a carrot."""
    axis = main_axes(parts[1])[0]
    lift = 0.5 * abs(np.sin(2 * np.pi * (1.5 * t)))
    sides = [together(parts, rotate=about_axis(axis, degrees)) for degrees in (80, -80)]
    down = min(sides, key=lambda side: side[0].points_N3[:, 2].mean())
    low = min(p.points_N3[:, 2].min() for p in down)
    across = np.array([-axis[1], axis[0], 0])
    blade = down[0].points_N3.mean(axis=0) * (1, 1, 0)
    extra = []
    for k in range(6):
        gap = 0.09 * (k < 6 * t)
        at = blade + across * (0.16 * (k - 4 * t) + gap * (1 if k > 5 * t else -1))
        disc = lathe(
            [(0, -0.06), (0.15, -0.06), (0.15, 0.06), (0, 0.06)], COARSE, False, finish="carrot"
        )
        facing = rotation("z", np.degrees(np.arctan2(across[1], across[0]))) @ rotation("y", 90)
        extra.append(disc.moved((at[0], at[1], 0.15), facing))
    return Moment(together(down, (0, 0, 0.02 - low + lift)), extra)


def pour(parts, t, rng, category) -> Moment:
    """The object tilts until a stream runs into a cup."""
    share = float(np.clip(2.2 * t, 0, 1))
    cap = category == "bottle"
    lids = [p.points_N3[:, 2].min() for p in parts if cap and p.joint == "lid"]
    move = {"shift": (-0.3, 0, 0.55 * share), "rotate": rotation("y", (95 if cap else 52) * share)}
    moved = [
        p.moved((-0.95, 0.3, -min(lids))) if cap and p.joint == "lid"
        else together([p], **move, about=(0, 0, top_of(parts) * 0.5))[0]
        for p in parts
    ]  # fmt: skip
    reach = np.concatenate([p.points_N3 for p in moved if not (cap and p.joint == "lid")])
    lip = reach[np.argmax(reach[:, 0] - 0.2 * reach[:, 2])]
    cup = lathe(shell([(0.16, 0), (0.2, 0.32)], 0.03), COARSE, False, finish="white")
    extra = [cup.moved((lip[0] + 0.12, lip[1], 0))]
    if share == 1.0:
        finish = "coffee" if category == "teapot" else "water"
        path = [lip, (lip[0] + 0.08, lip[1], 0.6 * lip[2]), (lip[0] + 0.12, lip[1], 0.2)]
        extra.append(tube(path, [0.05, 0.035, 0.03], COARSE, finish=finish))
    return Moment(moved, extra)


USES: dict[str, Callable[[list[Part], float, np.random.Generator, str], Moment]] = {
    "turn": turn,
    "fill": fill,
    "stir": stir,
    "load": load,
    "carry": carry,
    "open": open_,
    "roll": roll,
    "bounce": bounce,
    "light": light,
    "tick": tick,
    "strike": strike,
    "spin": spin,
    "swing": swing,
    "pluck": pluck,
    "cut": cut,
    "pour": pour,
}
