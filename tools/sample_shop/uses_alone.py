"""Uses in which the product moves by itself: see `motion` for the convention."""

from dataclasses import replace

import numpy as np

from tools.sample_shop.geometry import rotation, unit
from tools.sample_shop.moment import (
    Moment,
    about_axis,
    joints_moved,
    main_axes,
    together,
    top_of,
)


def turn(parts, t, rng, category) -> Moment:
    """The camera goes around it."""
    return Moment(parts, turn=float(rng.choice([-1, 1]) * rng.uniform(200, 360)) * t)


def carry(parts, t, rng, category) -> Moment:
    """It is lifted and sways along."""
    swing = np.sin(2 * np.pi * (2 * t + rng.random()))
    lift = min(1.0, 3 * t) * 0.35 + 0.06 * abs(swing)
    return Moment(
        together(
            parts, (0.8 * (t - 0.5), 0, lift), rotation("y", 9 * swing), about=(0, 0, top_of(parts))
        )
    )


def open_(parts, t, rng, category) -> Moment:
    """Lid, flap, door or canopy opens, whichever it has."""
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
    """It runs across on wheels or on its round side."""
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
    """It jumps and is squeezed where it lands."""
    phase = (2 * t + rng.random()) % 1
    high = 4 * phase * (1 - phase)
    squash = 1 - 0.16 * max(0.0, 1 - 6 * high)
    height = {"speaker": 0.08, "robot": 0.3}.get(category, 0.9)
    parts = joints_moved(parts, ("left", "right"), shift=(0, 0, 0.12 * np.sin(4 * np.pi * t)))
    return Moment(together(parts, (0, 0, height * high), scale=(1, 1, squash)))


def light(parts, t, rng, category) -> Moment:
    """What glows in it is switched on."""
    steady = np.clip(4 * t - 0.8, 0, 1)
    flicker = (
        0.12 * np.sin(40 * t + rng.uniform(0, 6)) if category in ("candle", "lantern") else 0.0
    )
    return Moment(parts, glow=float(steady * (1 + flicker)))


def tick(parts, t, rng, category) -> Moment:
    """The hands go round in steps."""
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
    """It turns fast about the vertical."""
    way = rng.choice([-1, 1])
    lean = (
        rotation("x", 7 * np.sin(14 * t)) if category == "spinner" else np.eye(3, dtype=np.float32)
    )
    return Moment(together(parts, rotate=lean @ rotation("z", way * 700 * t)))


def swing(parts, t, rng, category) -> Moment:
    """It hangs and swings."""
    angle = 27 * np.sin(2 * np.pi * (1.5 * t + rng.random()))
    parts = joints_moved(parts, ("clapper",), shift=(-0.006 * angle, 0, 0))
    return Moment(together(parts, (0, 0, 0.3), rotation("y", angle), about=(0, 0, top_of(parts))))
