"""Shapes of things carried on the way. See `shapes_vessel` for the convention."""

from dataclasses import replace

import numpy as np

from tools.sample_shop.geometry import Part, box, lathe, rotation, tube


def backpack(rng: np.random.Generator, step: float) -> list[Part]:
    """Soft box with pocket, straps and often a flap (joint `hinge`)."""
    wide, tall, deep = rng.uniform(0.75, 0.95), rng.uniform(1.15, 1.4), rng.uniform(0.42, 0.55)
    pocket = tall * rng.uniform(0.36, 0.5)
    round_ = rng.uniform(0.14, 0.24)
    parts = [
        box((wide, deep, tall), round_, step).moved((0, 0, tall / 2)),
        box((wide * 0.82, 0.2, pocket), 0.09, step, finish="plain", joint="door").moved(
            (0, -deep / 2 - 0.04, pocket / 2 + 0.1)
        ),
        box((0.5 * wide, 0.02, 0.02), 0.008, step, finish="dark").moved(
            (0, -deep / 2 - 0.145, 0.8 * pocket)
        ),
        tube(
            [
                (-0.12, 0.1, tall - 0.02),
                (-0.1, 0.1, tall + 0.14),
                (0.1, 0.1, tall + 0.14),
                (0.12, 0.1, tall - 0.02),
            ],
            0.03,
            step,
            finish="accent",
        ),
    ]
    for x in (-1, 1):
        strap = [
            (x * 0.2, deep / 2, tall - 0.1),
            (x * 0.32, deep / 2 + 0.24, 0.7 * tall),
            (x * 0.4, deep / 2 + 0.2, 0.35 * tall),
            (x * 0.36, deep / 2, 0.1),
        ]
        parts.append(tube(strap, 0.05, step, finish="accent"))
    if rng.random() < 0.55:
        flap = box(
            (wide * 1.02, deep * 1.02, 0.3 * tall), round_, step, finish="accent", joint="hinge"
        )
        parts.append(flap.moved((0, -0.02, 0.87 * tall)))
        for x in (-0.2, 0.2):
            buckle = box((0.07, 0.03, 0.4), 0.012, step, finish="strap")
            parts.append(buckle.moved((x, -deep / 2 - 0.03, 0.62 * tall)))
    return parts


def suitcase(rng: np.random.Generator, step: float) -> list[Part]:
    """Two halves (the front one joint `gate`), ribs, wheels and a pull."""
    wide, tall, deep = rng.uniform(0.85, 1.0), rng.uniform(1.2, 1.45), rng.uniform(0.42, 0.52)
    z = tall / 2 + 0.14
    parts = [
        box((wide, deep / 2, tall), 0.08, step).moved((0, deep / 4, z)),
        box((wide, deep / 2, tall), 0.08, step, joint="gate").moved((0, -deep / 4, z)),
        box((0.9 * wide, 0.02, 0.9 * tall), 0.005, step, finish="velvet").moved((0, 0, z)),
    ]
    ribs = rng.integers(0, 6)
    for x in np.linspace(-0.36, 0.36, ribs) * wide if ribs else ():
        rib = box((0.05, deep / 2, 0.9 * tall), 0.02, step, finish="plain", joint="gate")
        parts.append(rib.moved((x, -deep / 4 - 0.02, z)))
    parts.append(box((wide + 0.01, 0.03, tall + 0.01), 0.012, step, finish="dark").moved((0, 0, z)))
    for x in (-0.34, 0.34):
        for y in (-0.14, 0.14):
            wheel = lathe(
                [(0, -0.04), (0.09, -0.04), (0.09, 0.04), (0, 0.04)], step, False, finish="tyre"
            )
            parts.append(wheel.moved((x * wide, y, 0.09), rotation("y", 90)))
    rise = rng.choice([0.12, 0.5])
    pull = [
        (-0.2, 0.1, z),
        (-0.2, 0.1, z + tall / 2 + rise),
        (0.2, 0.1, z + tall / 2 + rise),
        (0.2, 0.1, z),
    ]
    return [*parts, tube(pull, 0.03, step, False, finish="steel")]


def umbrella(rng: np.random.Generator, step: float) -> list[Part]:
    """Open, standing on its handle and leaning, or half shut."""
    ribs, dome, wide = rng.choice([6, 8]), rng.uniform(0.4, 0.6), rng.choice([1.0, 1.0, 0.42])
    dome = dome if wide == 1 else 0.95
    canopy = lathe(
        [(wide, 0), (wide * 0.85, dome * 0.4), (wide * 0.5, dome * 0.8), (0, dome)],
        step,
        thin=True,
        joint="canopy",
    )
    sag = 0.06 * wide * (1 - np.abs(np.cos(np.pi * ribs * canopy.uv_N2[:, 0])))
    points_N3 = canopy.points_N3.copy()
    points_N3[:, 2] += sag * np.hypot(*canopy.points_N3[:, :2].T) / wide
    canopy = replace(canopy, points_N3=points_N3)
    shaft = tube([(0, 0, -1.0), (0, 0, dome + 0.14)], 0.025, step, False, finish="steel")
    hook = [(0, 0, -0.95), (0, 0, -1.15), (0.06, 0, -1.32), (0.18, 0, -1.32), (0.22, 0, -1.18)]
    grip = tube(hook, 0.05, step, finish="accent")
    lean = rotation("x", rng.uniform(15, 55)) @ rotation("z", rng.uniform(0, 360))
    return [part.moved(rotate=lean) for part in (canopy, shaft, grip)]
