"""Shapes of toys, instruments and things carried. See `shapes_vessel` for the convention."""

import numpy as np

from tools.sample_shop.geometry import Part, box, ellipsoid, lathe, plate, rotation, tube

_UP = rotation("x", 90)


def ball(rng: np.random.Generator, step: float) -> list[Part]:
    """A sphere at some angle."""
    tilt = rotation("x", rng.uniform(0, 60)) @ rotation("z", rng.uniform(0, 360))
    return [ellipsoid(0.8, step).moved((0, 0, 0.8), tilt)]


def toycar(rng: np.random.Generator, step: float) -> list[Part]:
    """Extruded body with panes, lights and four wheels."""
    tall, nose = rng.uniform(0.32, 0.5), rng.uniform(0.45, 0.7)
    side = [
        (-1, 0.2),
        (1, 0.2),
        (1, 0.45),
        (nose, 0.52),
        (nose - 0.25, 0.52 + tall),
        (-0.55, 0.52 + tall),
        (-0.8, 0.55),
        (-1, 0.52),
    ]
    body = plate(np.array(side), 0.8, step, puff=0.05, smooth=False).moved(rotate=_UP)
    pane = [(nose - 0.1, 0.56), (nose - 0.28, 0.48 + tall), (-0.5, 0.48 + tall), (-0.66, 0.56)]
    glass = plate(np.array(pane), 0.825, step, puff=0.0, smooth=False, finish="dark")
    parts = [body, glass.moved(rotate=_UP)]
    size = rng.uniform(0.2, 0.27)
    rim = [
        (0, -0.09),
        (size - 0.03, -0.09),
        (size, -0.06),
        (size, 0.06),
        (size - 0.03, 0.09),
        (0.1, 0.09),
        (0.09, 0.07),
        (0, 0.07),
    ]
    for joint, x in (("front", 0.6), ("rear", -0.6)):
        for y in (-0.42, 0.42):
            wheel = lathe(rim, step, False, finish="tyre", joint=joint)
            parts.append(wheel.moved((x, y, size), _UP if y < 0 else _UP.T))
            hub = box((0.2, 0.03, 0.06), 0.01, step, finish="accent", joint=joint)
            parts.append(hub.moved((x, y * 1.24, size)))
    for y in (-0.26, 0.26):
        parts.append(
            ellipsoid((0.04, 0.09, 0.07), step, finish="bulb", joint="glow").moved((1.0, y, 0.38))
        )
    return parts


def robot(rng: np.random.Generator, step: float) -> list[Part]:
    """Boxes, or a box with a dome; arms, legs and an antenna."""
    wide, round_ = rng.uniform(0.6, 0.85), rng.choice([0.04, 0.14])
    parts = [
        box((wide, 0.45, 0.75), round_, step).moved((0, 0, 0.75)),
        box((0.3, 0.03, 0.24), 0.02, step, finish="accent").moved((0, -0.23, 0.8)),
        tube([(0, 0, 1.68), (0, 0, 1.9)], 0.02, step, False, finish="steel"),
        ellipsoid(0.06, step, finish="led", joint="glow").moved((0, 0, 1.92)),
    ]
    if rng.random() < 0.6:
        parts.append(box((0.6, 0.42, 0.46), round_, step, finish="plain").moved((0, 0, 1.42)))
    else:
        dome = lathe([(0.32, 0), (0.32, 0.2), (0.2, 0.42), (0, 0.48)], step, finish="plain")
        parts.append(dome.moved((0, 0, 1.18)))
    for x, joint in ((-1, "left"), (1, "right")):
        parts.append(
            ellipsoid((0.08, 0.05, 0.08), step, finish="led", joint="glow").moved(
                (x * 0.14, -0.24, 1.46)
            )
        )
        arm = tube(
            [
                (x * wide / 2, 0, 1.0),
                (x * (wide / 2 + 0.16), 0, 0.9),
                (x * (wide / 2 + 0.18), -0.15, 0.5),
            ],
            0.07,
            step,
            finish="steel",
            joint=joint,
        )
        parts += [
            arm,
            box((0.22, 0.36, 0.4), 0.05, step, finish="accent").moved((x * 0.2, -0.03, 0.2)),
        ]
    return parts


def spinner(rng: np.random.Generator, step: float) -> list[Part]:
    """Spinning top, leaning."""
    wide, tall = rng.uniform(0.55, 0.85), rng.uniform(0.25, 0.5)
    body = [
        (0, 0),
        (0.05, 0.04),
        (0.25, 0.2),
        (wide, 0.25 + 0.5 * tall),
        (wide * 0.9, 0.3 + 0.8 * tall),
        (0.12, 0.34 + tall),
        (0.06, 0.4 + tall),
        (0.07, 0.8 + tall),
        (0, 0.84 + tall),
    ]
    tilt = rotation("y", rng.uniform(5, 22))
    return [lathe(body, step).moved(rotate=tilt)]


def drum(rng: np.random.Generator, step: float) -> list[Part]:
    """Straight, waisted or barrel body with hoops, lugs and a skin."""
    tall, wide = rng.uniform(0.5, 1.1), 0.62
    waist = rng.choice([1.0, 0.82, 1.12])
    wall = [(wide, 0.04), (wide * waist, tall / 2), (wide, tall - 0.04)]
    skin = lathe([(wide, tall), (0, tall + 0.01)], step, False, finish="white", joint="skin")
    hoop = [(wide + 0.02, 0), (wide + 0.05, 0.03), (wide + 0.02, 0.1), (wide - 0.03, 0.1)]
    parts = [lathe(wall, step), skin]
    parts += [lathe(hoop, step, finish="accent").moved((0, 0, z)) for z in (0, tall - 0.06)]
    lugs = rng.choice([6, 8])
    for k in range(lugs):
        a, b = (2 * np.pi * (k + h) / lugs for h in (0, 0.5))
        r = wide * max(waist, 1) + 0.03
        path = [(r * np.cos(a), r * np.sin(a), 0.08), (r * np.cos(b), r * np.sin(b), tall - 0.06)]
        parts.append(tube(path, 0.02, step, False, finish="white" if waist == 1 else "accent"))
    if rng.random() < 0.5:
        for y in (-0.1, 0.12):
            stick = tube(
                [(-0.55, y, 0), (0.6, -y, 0.03)], [0.035, 0.03], step, False, finish="wood"
            )
            parts.append(stick.moved((0.1, 0, tall + 0.06)))
    return parts


def ukulele(rng: np.random.Generator, step: float) -> list[Part]:
    """Stands upright, strings to the viewer."""
    low, waist, high = rng.uniform(0.36, 0.44), rng.uniform(0.24, 0.28), rng.uniform(0.3, 0.34)
    half = [
        (0, 0),
        (0.75 * low, 0.04),
        (low, 0.32),
        (waist, 0.62),
        (high, 0.9),
        (0.6 * high, 1.12),
        (0, 1.15),
    ]
    outline = np.array(half + [(-x, y) for x, y in half[-2:0:-1]])
    head = np.array(
        [(-0.07, 1.95), (0.07, 1.95), (0.12, 2.05), (0.1, 2.3), (-0.1, 2.3), (-0.12, 2.05)]
    )
    z = 0.1
    parts = [
        plate(outline, 0.2, step, puff=0.02),
        lathe([(0.15, 0), (0, 0)], step, False, finish="accent").moved((0, 0.72, z + 0.004)),
        lathe([(0.12, 0), (0, 0)], step, False, finish="dark").moved((0, 0.72, z + 0.01)),
        box((0.1, 1.15, 0.08), 0.02, step, finish="accent").moved((0, 1.45, z)),
        box((0.26, 0.06, 0.05), 0.01, step, finish="accent").moved((0, 0.36, z + 0.01)),
        plate(head, 0.06, step, puff=0.0, smooth=False, finish="plain").moved((0, 0, z)),
    ]
    for x in np.linspace(-0.035, 0.035, 4):
        path = [(x, 0.36, z + 0.06), (x, 2.0, z + 0.06)]
        parts.append(tube(path, 0.006, step, False, finish="white", joint="string"))
    for x in (-0.14, 0.14):
        parts += [ellipsoid(0.035, step, finish="steel").moved((x, y, z)) for y in (2.1, 2.22)]
    return [part.moved(rotate=rotation("x", 84)) for part in parts]


def bell(rng: np.random.Generator, step: float) -> list[Part]:
    """Bell with a wooden handle or a ring."""
    wide = rng.uniform(0.48, 0.62)
    outer = [
        (wide, 0.1),
        (wide * 0.82, 0.22),
        (wide * 0.6, 0.55),
        (wide * 0.5, 0.8),
        (0.12, 0.95),
        (0, 0.96),
    ]
    clapper = ellipsoid(0.1, step, finish="dark", joint="clapper").moved((0, 0, 0.12))
    if rng.random() < 0.6:
        grip = [(0.06, 0.94), (0.1, 1.0), (0.07, 1.1), (0.12, 1.4), (0.08, 1.6), (0, 1.66)]
        return [lathe(outer, step), lathe(grip, step, finish="wood"), clapper]
    ring = [(0.13 * np.cos(a), 0, 1.05 + 0.13 * np.sin(a)) for a in np.linspace(-1.4, 4.5, 12)]
    return [lathe(outer, step), tube(ring, 0.035, step, finish="plain"), clapper]
