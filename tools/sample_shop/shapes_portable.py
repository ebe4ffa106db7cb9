"""Shapes of bags, toys, instruments and tools. See `shapes_home` for the convention."""

from dataclasses import replace

import numpy as np

from tools.sample_shop.geometry import Part, box, ellipsoid, lathe, plate, rotation, shell, tube


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
    """Upright, with the strings to the viewer."""
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


def _lay(parts: list[Part], rng: np.random.Generator) -> list[Part]:
    """Rotate the parts randomly about the vertical."""
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
    """Spoon or ladle."""
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
    """Can with spout, top handle and often a rose."""
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
