"""Shapes of tools, of pan and watering can, and of the watch. See `shapes_vessel`."""

import numpy as np

from tools.sample_shop.geometry import Part, box, ellipsoid, lathe, plate, rotation, shell, tube


def _lay(parts: list[Part], rng: np.random.Generator) -> list[Part]:
    """Turned about the vertical, as somebody laid them down."""
    turn = rotation("z", rng.uniform(20, 70))
    return [part.moved(rotate=turn) for part in parts]


def knife(rng: np.random.Generator, step: float) -> list[Part]:
    """Blade, handle and rivets."""
    long, deep = rng.uniform(0.9, 1.25), rng.uniform(0.16, 0.32)
    belly = rng.uniform(0.0, 0.7)
    blade = [
        (0, 0.1),
        (long * 0.7, 0.1),
        (long, 0.1 - deep * belly),
        (long * 0.75, 0.1 - deep * (0.75 + 0.25 * belly)),
        (0.06, 0.1 - deep),
        (0, -0.02),
    ]
    parts = [
        plate(np.array(blade), 0.035, step, puff=0.03, smooth=False),
        box((0.7, 0.16, 0.1), 0.045, step, finish="accent").moved((-0.36, 0.03, 0)),
        box((0.06, 0.2, 0.11), 0.02, step, finish="steel").moved((-0.01, 0.03, 0)),
    ]
    parts += [
        ellipsoid((0.025, 0.025, 0.06), step, finish="steel").moved((x, 0.03, 0))
        for x in (-0.2, -0.5)
    ]
    return _lay(parts, rng)


def spoon(rng: np.random.Generator, step: float) -> list[Part]:
    """Small spoon to ladle."""
    wide, deep = rng.uniform(0.17, 0.26), rng.uniform(0.06, 0.16)
    thick = rng.uniform(0.035, 0.055)
    scoop = lathe(
        [
            (0, 0),
            (0.6, 0.12),
            (0.9, 0.5),
            (1.0, 1.0),
            (0.93, 1.0),
            (0.82, 0.52),
            (0.5, 0.2),
            (0, 0.1),
        ],
        step / wide,
    )
    scoop = scoop.moved(scale=(1.35 * wide, wide, deep))
    path = [(-1.2 * wide, 0, 0.9 * deep), (-0.6, 0, deep + 0.06), (-1.5, 0, deep)]
    parts = [
        scoop,
        tube(path, [0.9 * thick, 0.7 * thick, thick, 1.5 * thick], step, finish="plain"),
    ]
    if rng.random() < 0.3:
        parts.append(
            tube([(-1.15, 0, deep + 0.02), (-1.55, 0, deep)], 1.9 * thick, step, finish="accent")
        )
    return _lay(parts, rng)


def hammer(rng: np.random.Generator, step: float) -> list[Part]:
    """Mallet or claw hammer."""
    grip = tube(
        [(0, 0, 0), (0.7, 0, 0), (1.55, 0, 0)], [0.07, 0.06, 0.09, 0.085], step, finish="accent"
    )
    if rng.random() < 0.35:
        head = lathe(
            [(0, -0.34), (0.17, -0.34), (0.19, -0.3), (0.19, 0.3), (0.17, 0.34), (0, 0.34)], step
        )
        parts = [grip, head.moved(rotate=rotation("x", 90))]
    else:
        face = lathe(
            [(0, 0), (0.13, 0), (0.14, 0.05), (0.09, 0.12), (0.1, 0.3), (0, 0.3)], step, False
        )
        claw = tube([(0, 0, 0), (0.02, 0.25, 0.03), (0.16, 0.46, 0.02)], [0.11, 0.09, 0.05], step)
        parts = [grip, box((0.2, 0.3, 0.2), 0.04, step), claw]
        parts.append(face.moved((0, -0.4, 0), rotation("x", -90)))
    return _lay(parts, rng)


def watch(rng: np.random.Generator, step: float) -> list[Part]:
    """Case with the strap curved below it, standing."""
    dial = rng.choice(["white", "dark", "paper"])
    ink = "white" if dial == "dark" else "dark"
    rim = [(0, -0.16), (0.5, -0.16), (0.56, -0.05), (0.54, 0.08), (0.47, 0.08), (0.45, 0.03)]
    parts = [lathe(rim, step), lathe([(0.47, 0.03), (0, 0.03)], step, False, finish=dial)]
    parts.append(ellipsoid((0.06, 0.05, 0.06), step, finish="steel").moved((0.58, 0, 0)))
    for k in range(12):
        mark = box((0.03, 0.09, 0.02), 0.005, step, finish=ink).moved((0, 0.37, 0.045))
        parts.append(mark.moved(rotate=rotation("z", 30 * k)))
    for joint, long in (("hour", 0.24), ("minute", 0.36)):
        hand = box((0.035, long, 0.015), 0.005, step, finish=ink, joint=joint).moved(
            (0, long / 2, 0.06)
        )
        parts.append(hand.moved(rotate=rotation("z", rng.uniform(0, 360))))
    strap = box((0.42, 1.0, 0.07), 0.03, step, finish="strap")
    for sign in (-1, 1):
        x, y, z = strap.points_N3.T
        bend = 0.75 * (y + 0.5)
        y, z = (
            0.45 + np.sin(bend) / 0.75 + z * np.sin(bend),
            -0.1 + (np.cos(bend) - 1) / 0.75 + z * np.cos(bend),
        )
        n = strap.normals_N3
        normals = np.stack(
            [
                n[:, 0],
                n[:, 1] * np.cos(bend) + n[:, 2] * np.sin(bend),
                n[:, 2] * np.cos(bend) - n[:, 1] * np.sin(bend),
            ],
            axis=1,
        )
        flip = np.array([1, sign, 1], np.float32)
        points = np.stack([x, y, z], axis=1) * flip
        parts.append(
            Part(
                points.astype(np.float32), (normals * flip).astype(np.float32), strap.uv_N2, "strap"
            )
        )
    tilt = rotation("x", rng.uniform(35, 70))
    return [part.moved(rotate=tilt) for part in parts]


def pan(rng: np.random.Generator, step: float) -> list[Part]:
    """Shallow vessel with a long handle."""
    wide, tall = rng.uniform(0.62, 0.75), rng.uniform(0.16, 0.34)
    outer = [(wide - 0.14, 0), (wide - 0.06, 0.05), (wide, tall)]
    grip = [
        (wide - 0.03, 0, tall - 0.04),
        (wide + 0.3, 0, tall + 0.08),
        (wide + 1.0, 0, tall + 0.2),
    ]
    inner = lathe([(0, 0.05), (wide - 0.12, 0.05)], step, False, finish="dark")
    parts = [
        lathe(shell(outer, 0.05, 0.03), step),
        tube(grip, [0.05, 0.06, 0.085, 0.07], step, finish="accent"),
    ]
    if rng.random() < 0.5:
        rivet = box((0.12, 0.16, 0.05), 0.02, step, finish="steel")
        parts.append(rivet.moved((wide + 0.02, 0, tall - 0.01)))
    return [*parts, inner]


def watercan(rng: np.random.Generator, step: float) -> list[Part]:
    """Can with spout, bow and often a rose."""
    wide, tall = rng.uniform(0.4, 0.52), rng.uniform(0.65, 0.9)
    body = [(0, 0), (wide, 0), (wide, 0.5 * tall), (wide * rng.uniform(0.7, 1.0), tall)]
    rose = lathe([(0.06, 0), (0.17, 0.14), (0, 0.16)], step, False, finish="accent")
    tip = np.array([1.25, 0, tall + 0.12])
    spout = [(wide - 0.05, 0, 0.18 * tall), (0.8, 0, 0.5 * tall), tip]
    bow = [
        (wide * 0.6, 0, tall - 0.03),
        (0.15, 0, tall + 0.4),
        (-wide, 0, tall + 0.2),
        (-wide - 0.12, 0, 0.5 * tall),
        (-wide + 0.02, 0, 0.25 * tall),
    ]
    parts = [
        lathe(body, step, smooth=False),
        lathe([(0, tall - 0.1), (wide * 0.6, tall - 0.1)], step, False, finish="dark"),
        tube(spout, [0.12, 0.08, 0.06], step, finish="plain"),
        tube(bow, 0.045, step, finish="accent"),
    ]
    if rng.random() < 0.6:
        parts.append(rose.moved(tip, rotation("y", 50)))
    return parts
