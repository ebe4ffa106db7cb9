"""Shapes of containers, furniture and home accessories. Each builder draws its variant from `rng`.

A builder takes a random generator and the distance between surface points, and returns parts in
any position and size; `shapes.build` moves them to the ground and scales them to unit size.
"""

import numpy as np

from tools.sample_shop.geometry import Part, box, ellipsoid, lathe, plate, rotation, shell, tube


def _loop(x: float, low: float, high: float, reach: float) -> list[tuple[float, float, float]]:
    """Path of an ear-shaped handle that leaves a wall at `x` and comes back."""
    middle = (low + high) / 2
    return [(x, 0, low), (x + 0.7 * reach, 0, low - 0.02), (x + reach, 0, middle),
            (x + 0.75 * reach, 0, high), (x, 0, high)]  # fmt: skip


def mug(rng: np.random.Generator, step: float) -> list[Part]:
    """Cup with a handle, straight to bellied."""
    wide, tall = rng.uniform(0.42, 0.56), rng.uniform(0.85, 1.2)
    belly, foot = rng.uniform(-0.05, 0.1), rng.uniform(0.72, 1.0)
    outer = [(wide * foot * 0.92, 0), (wide * foot, 0.05), (wide + belly, 0.5 * tall), (wide, tall)]
    handle = _loop(wide - 0.02, 0.2 * tall, 0.82 * tall, rng.uniform(0.26, 0.4))
    inside = lathe([(0, 0.72 * tall), (wide * 0.9, 0.72 * tall)], step, False, finish="coffee")
    parts = [lathe(shell(outer, 0.05), step), tube(handle, 0.06, step, finish="plain")]
    return parts + [inside] * (rng.random() < 0.35)


def planter(rng: np.random.Generator, step: float) -> list[Part]:
    """Pot with or without rim, saucer and plant."""
    low, wide, tall = rng.uniform(0.34, 0.5), rng.uniform(0.5, 0.64), rng.uniform(0.75, 1.1)
    outer = [(low, 0.06), (0.6 * low + 0.4 * wide, 0.45 * tall), (wide, tall)]
    if rng.random() < 0.5:
        outer += [(wide + 0.05, tall), (wide + 0.06, tall + 0.14)]
    parts = [lathe(shell(outer, 0.06), step, smooth=len(outer) < 4)]
    if rng.random() < 0.6:
        saucer = [(0, 0), (low + 0.14, 0), (low + 0.18, 0.08), (low + 0.12, 0.05), (0, 0.05)]
        parts.append(lathe(saucer, step, smooth=False, finish="plain"))
    parts.append(lathe([(0, 0.88 * tall), (wide * 0.95, 0.88 * tall)], step, False, finish="soil"))
    return parts + (leaves(rng, step, tall * 0.88, 0.8) if rng.random() < 0.5 else [])


def leaves(rng: np.random.Generator, step: float, base: float, reach: float) -> list[Part]:
    """A tuft of pointed leaves that grows from height `base`."""
    outline = [(0, 0), (0.09, 0.25), (0.1, 0.5), (0.0, 0.95), (-0.1, 0.5), (-0.09, 0.25)]
    leaf = plate(np.array(outline) * reach, 0.015, step, puff=0.0, finish="leaf", thin=True)
    parts = []
    for k in range(rng.integers(6, 11)):
        lift = rotation("x", rng.uniform(35, 85))
        turn = rotation("z", 137.5 * k + rng.uniform(-20, 20))
        parts.append(leaf.moved((0, 0, base), turn @ lift, rng.uniform(0.7, 1.1)))
    return parts


def vase(rng: np.random.Generator, step: float) -> list[Part]:
    """Belly and neck, sometimes with flowers."""
    belly, neck = rng.uniform(0.32, 0.52), rng.uniform(0.1, 0.26)
    high, lip = rng.uniform(0.3, 0.6), rng.uniform(0.02, 0.14)
    outer = [(0.24, 0), (0.27, 0.03), (belly, high), (neck, 1.15), (neck + lip, 1.5)]
    parts = [lathe(shell(outer, 0.04), step)]
    if rng.random() < 0.25:
        parts += flowers(rng, step, 1.4)
    return parts


def flowers(rng: np.random.Generator, step: float, base: float) -> list[Part]:
    """A few stems with round blossoms."""
    parts, hue = [], f"petal{rng.integers(3)}"
    for angle in rng.uniform(0, 360, 5):
        lean = rotation("z", angle) @ np.array([rng.uniform(0.1, 0.3), 0, rng.uniform(0.4, 0.8)])
        tip = lean + np.array([0, 0, base])
        path = [(0, 0, base - 0.3), (0.4 * lean[0], 0.4 * lean[1], base), tip]
        parts.append(tube(path, 0.015, step, finish="leaf", joint="content"))
        head = ellipsoid((0.11, 0.11, 0.08), step, finish=hue, joint="content")
        parts.append(head.moved(tip))
    return parts


def bottle(rng: np.random.Generator, step: float) -> list[Part]:
    """Body, neck, and a cap (joint `lid`) that may have a loop."""
    wide, neck, tall = rng.uniform(0.24, 0.34), rng.uniform(0.1, 0.2), rng.uniform(1.1, 1.5)
    body = [
        (0, 0),
        (wide - 0.03, 0),
        (wide, 0.05),
        (wide, 0.72 * tall),
        (neck, tall),
        (neck, tall + 0.06),
    ]
    top = tall + 0.06
    cap = [
        (neck + 0.03, 0),
        (neck + 0.04, 0.02),
        (neck + 0.04, 0.2),
        (neck + 0.01, 0.22),
        (0, 0.22),
    ]
    parts = [
        lathe(body, step, smooth=rng.random() < 0.4),
        lathe(cap, step, False, finish="accent", joint="lid").moved((0, 0, top - 0.04)),
    ]
    if rng.random() < 0.4:
        ring = [(-0.09, 0, 0.18), (-0.09, 0, 0.36), (0.09, 0, 0.36), (0.09, 0, 0.18)]
        parts.append(
            tube(ring, 0.025, step, finish="accent", joint="lid").moved((0, 0, top - 0.04))
        )
    return parts


def bowl(rng: np.random.Generator, step: float) -> list[Part]:
    """Wide bowl on a foot, sometimes with fruit."""
    wide, tall = rng.uniform(0.72, 0.9), rng.uniform(0.38, 0.62)
    foot = rng.uniform(0.26, 0.42)
    outer = [(foot, 0), (foot, 0.06), (0.75 * wide, 0.4 * tall), (wide, tall)]
    parts = [lathe(shell(outer, 0.05, 0.1), step)]
    if rng.random() < 0.2:
        parts += kibble(rng, step, 0.62 * tall, 0.5 * wide, "fruit")
    return parts


def kibble(rng: np.random.Generator, step: float, z: float, wide: float, finish: str) -> list[Part]:
    """Round bits in a heap at height `z`."""
    size = 0.09 if finish == "kibble" else 0.17
    ball = ellipsoid((size, size, 0.85 * size), step, finish=finish, joint="content")
    spots = rng.normal(0, 0.5, (14 if finish == "kibble" else 6, 2)).clip(-1, 1) * wide
    return [ball.moved((x, y, z + rng.uniform(0, 0.1))) for x, y in spots]


def petbowl(rng: np.random.Generator, step: float) -> list[Part]:
    """Low bowl, wider below, sometimes with kibble."""
    low, wide, tall = rng.uniform(0.75, 0.95), rng.uniform(0.6, 0.74), rng.uniform(0.26, 0.45)
    outer = [(low, 0), (low, 0.03), (wide, tall)]
    parts = [lathe(shell(outer, 0.09, 0.08), step, smooth=rng.random() < 0.5)]
    if rng.random() < 0.5:
        parts.append(
            lathe([(low - 0.02, 0), (low + 0.02, 0.03), (low - 0.02, 0.06)], step, finish="dark")
        )
    return parts + (
        kibble(rng, step, 0.5 * tall, 0.5 * wide, "kibble") if rng.random() < 0.4 else []
    )


def teapot(rng: np.random.Generator, step: float) -> list[Part]:
    """Belly, spout, lid, and a side or top handle."""
    wide, tall = rng.uniform(0.5, 0.62), rng.uniform(0.65, 0.9)
    body = [
        (0, 0),
        (0.34, 0),
        (wide * 0.95, 0.25 * tall),
        (wide, 0.5 * tall),
        (0.3, tall),
        (0.26, tall),
    ]
    lid = [
        (0.29, 0),
        (0.27, 0.05),
        (0.12, 0.12),
        (0.04, 0.14),
        (0.09, 0.22),
        (0.05, 0.28),
        (0, 0.29),
    ]
    spout = [
        (0.4, 0, 0.3 * tall),
        (0.75, 0, 0.42 * tall),
        (0.82, 0, 0.8 * tall),
        (1.0, 0, 0.98 * tall),
    ]
    parts = [
        lathe(body, step),
        lathe(lid, step, finish="plain", joint="lid").moved((0, 0, tall - 0.02)),
        tube(spout, [0.17, 0.11, 0.07, 0.06], step, finish="plain"),
    ]
    if rng.random() < 0.7:
        ear = np.array(_loop(0.42, 0.2 * tall, 0.85 * tall, 0.5)) * (-1, 1, 1)
        return [*parts, tube(ear, 0.055, step, finish="plain")]
    bow = [
        (-0.38, 0, 0.8 * tall),
        (-0.36, 0, tall + 0.4),
        (0, 0, tall + 0.58),
        (0.36, 0, tall + 0.4),
        (0.38, 0, 0.8 * tall),
    ]
    return [*parts, tube(bow, 0.04, step, finish="accent")]


def jar(rng: np.random.Generator, step: float) -> list[Part]:
    """Straight jar with contents and a lid of another material."""
    wide, tall = rng.uniform(0.36, 0.52), rng.uniform(0.7, 1.2)
    outer = [(wide - 0.04, 0), (wide, 0.06), (wide, tall - 0.12), (wide - 0.08, tall)]
    lid = [(0, 0), (wide, 0), (wide, 0.1), (wide - 0.04, 0.13), (0, 0.13)]
    parts = [
        lathe(shell(outer, 0.05), step),
        lathe(lid, step, False, finish="accent", joint="lid").moved((0, 0, tall)),
    ]
    if rng.random() < 0.5:
        knob = ellipsoid((0.1, 0.1, 0.09), step, finish="accent", joint="lid")
        parts.append(knob.moved((0, 0, tall + 0.2)))
    level = rng.uniform(0.3, 0.75) * tall
    beans = [(0, 0.06), (wide - 0.08, 0.06), (wide - 0.08, level), (0, level + 0.06)]
    return [*parts, lathe(beans, step, False, finish=rng.choice(["beans", "flour", "soil"]))]


def candle(rng: np.random.Generator, step: float) -> list[Part]:
    """Wax in a vessel, often with a label and a flame."""
    wide, tall = rng.uniform(0.42, 0.55), rng.uniform(0.6, 1.05)
    outer = [(wide - 0.03, 0), (wide, 0.05), (wide, tall)]
    wax = 0.8 * tall
    flame = lathe(
        [(0, 0), (0.07, 0.1), (0.04, 0.24), (0, 0.36)], step, finish="flame", joint="glow"
    )
    parts = [
        lathe(shell(outer, 0.04), step, smooth=False),
        lathe(
            [(wide - 0.05, 0.08), (wide - 0.05, wax), (0, wax - 0.02)],
            step,
            False,
            finish="wax",
            joint="glow",
        ),
        tube([(0, 0, wax), (0.01, 0, wax + 0.16)], 0.02, step, finish="dark"),
    ]
    if rng.random() < 0.6:
        label = lathe(
            [(wide + 0.006, 0.3 * tall), (wide + 0.006, 0.62 * tall)], step, False, finish="paper"
        )
        keep = np.abs(label.uv_N2[:, 0] - 0.75) < 0.14
        parts.append(
            Part(label.points_N3[keep], label.normals_N3[keep], label.uv_N2[keep], "paper")
        )
    return [*parts, flame.moved((0, 0, wax + 0.1))] if rng.random() < 0.6 else parts


def lamp(rng: np.random.Generator, step: float) -> list[Part]:
    """One of three kinds of foot, bulb and shade."""
    kind = rng.integers(3)
    low, high, tall = rng.uniform(0.42, 0.55), rng.uniform(0.22, 0.5), rng.uniform(0.42, 0.6)
    shade = lathe(
        shell([(low, 0), (high, tall)], 0.02), step, False, finish="shade", joint="glow", thin=True
    )
    bodies = (
        [(0, 0), (0.3, 0), (0.32, 0.05), (0.08, 0.1), (0.05, 0.4), (0.05, 0.8)],
        [(0, 0), (0.24, 0), (0.36, 0.25), (0.2, 0.6), (0.06, 0.72), (0.05, 0.8)],
        [(0, 0), (0.26, 0), (0.26, 0.55), (0.05, 0.6), (0.05, 0.8)],
    )
    bulb = ellipsoid((0.12, 0.12, 0.15), step, finish="bulb", joint="glow").moved((0, 0, 0.95))
    return [lathe(bodies[kind], step, smooth=kind != 2), bulb, shade.moved((0, 0, 0.74))]


def _legs(rng: np.random.Generator, step: float, x: float, y: float, top: float) -> list[Part]:
    """Four legs under (+-x, +-y), splayed a little."""
    splay, thick = rng.uniform(1.0, 1.25), rng.uniform(0.035, 0.06)
    return [
        tube([(sx * x * splay, sy * y * splay, 0), (sx * x, sy * y, top)], [0.7 * thick, thick], step, False, finish="accent")  # noqa: E501
        for sx in (-1, 1) for sy in (-1, 1)
    ]  # fmt: skip


def chair(rng: np.random.Generator, step: float) -> list[Part]:
    """Seat, splayed legs, panel or slats for a back."""
    deep, seat = rng.uniform(0.36, 0.42), 0.82
    parts = _legs(rng, step, 0.33, deep - 0.05, seat)
    parts.append(box((0.82, 2 * deep, 0.09), 0.04, step).moved((0, 0, seat)))
    high = rng.uniform(0.7, 0.95)
    if rng.random() < 0.5:
        back = box((0.8, 0.07, 0.6 * high), 0.035, step)
        parts.append(back.moved((0, deep + 0.04, seat + 0.7 * high), rotation("x", -7)))
    else:
        for z in np.linspace(0.45, 1.0, rng.integers(2, 5)) * high:
            parts.append(box((0.72, 0.05, 0.12), 0.02, step).moved((0, deep + 0.02, seat + z)))
    posts = [[(x, deep - 0.04, seat), (x, deep + 0.06, seat + 1.08 * high)] for x in (-0.36, 0.36)]
    parts += [tube(path, 0.04, step, False, finish="accent") for path in posts]
    return parts


def stool(rng: np.random.Generator, step: float) -> list[Part]:
    """Round or oblong seat on legs, often with a ring."""
    tall = rng.uniform(0.7, 1.2)
    if rng.random() < 0.65:
        top = lathe([(0, 0), (0.42, 0), (0.46, 0.05), (0.42, 0.12), (0, 0.13)], step)
    else:
        top = box((0.85, 0.6, 0.12), 0.05, step)
    parts = [*_legs(rng, step, 0.24, 0.2, tall), top.moved((0, 0, tall))]
    if rng.random() < 0.6:
        z = 0.4 * tall
        ring = [(0.28 * np.cos(a), 0.25 * np.sin(a), z) for a in np.linspace(0, 2 * np.pi, 13)]
        parts.append(tube(ring, 0.025, step, finish="accent"))
    return parts


def shelf(rng: np.random.Generator, step: float) -> list[Part]:
    """Boards between two sides, some with books."""
    boards, wide, tall = rng.integers(3, 5), rng.uniform(0.8, 1.3), rng.uniform(1.1, 1.8)
    heights = np.linspace(0.06, tall, boards)
    parts = [box((wide, 0.4, 0.06), 0.01, step).moved((0, 0, z)) for z in heights]
    for x in (-wide / 2, wide / 2):
        parts.append(
            box((0.06, 0.4, tall + 0.06), 0.01, step, finish="plain").moved((x, 0, tall / 2 + 0.03))
        )
    if rng.random() < 0.5:
        parts.append(
            box((wide, 0.02, tall), 0.005, step, finish="accent").moved((0, 0.19, tall / 2))
        )
    for z in heights[:-1]:
        if rng.random() < 0.7:
            parts += _books(rng, step, wide, float(z) + 0.03, tall / boards)
    return parts


def _books(rng: np.random.Generator, step: float, wide: float, z: float, room: float) -> list[Part]:
    """A row of upright books at a random position on a board."""
    parts, x = [], rng.uniform(-0.4, 0.1) * wide
    for _ in range(rng.integers(2, 6)):
        thick, tall = rng.uniform(0.05, 0.1), room * rng.uniform(0.55, 0.85)
        book = box((thick, 0.26, tall), 0.008, step, finish=f"petal{rng.integers(3)}")
        parts.append(book.moved((x, -0.03, z + tall / 2)))
        x += thick + 0.008
        if x > wide / 2 - 0.15:
            break
    return parts


def clock(rng: np.random.Generator, step: float) -> list[Part]:
    """A round or square dial that faces the viewer; hands turn about its middle."""
    face = rng.choice(["white", "white", "dark", "paper"])
    ink = "white" if face == "dark" else "dark"
    if rng.random() < 0.7:
        rim = [(0, -0.1), (0.95, -0.1), (1.0, 0), (0.97, 0.08), (0.9, 0.08), (0.88, 0.0)]
        parts = [lathe(rim, step), lathe([(0.9, 0.01), (0, 0.01)], step, False, finish=face)]
    else:
        parts = [box((2, 2, 0.2), 0.12, step).moved((0, 0, -0.05))]
        parts.append(box((1.72, 1.72, 0.02), 0.01, step, finish=face).moved((0, 0, 0.06)))
    marks = rng.choice([4, 12, 12])
    for k in range(marks):
        mark = box((0.05, 0.16, 0.03), 0.01, step, finish=ink).moved((0, 0.7, 0.06))
        parts.append(mark.moved(rotate=rotation("z", k * 360 / marks)))
    for joint, long, thick in (("hour", 0.45, 0.07), ("minute", 0.66, 0.05)):
        hand = box((thick, long, 0.02), 0.01, step, finish=ink, joint=joint).moved(
            (0, long / 2, 0.1)
        )
        parts.append(hand.moved(rotate=rotation("z", rng.uniform(0, 360))))
    parts.append(ellipsoid((0.06, 0.06, 0.05), step, finish="accent").moved((0, 0, 0.1)))
    return [part.moved(rotate=rotation("x", 90)) for part in parts]


def cushion(rng: np.random.Generator, step: float) -> list[Part]:
    """Square, oblong or round pillow, lying or leaning."""
    a, b = (1.0, 1.0) if rng.random() < 0.6 else (1.15, 0.75)
    pinch = rng.uniform(0.86, 0.97)
    corner = np.array(
        [
            (-a, -b),
            (0, -b * pinch),
            (a, -b),
            (a * pinch, 0),
            (a, b),
            (0, b * pinch),
            (-a, b),
            (-a * pinch, 0),
        ]
    )
    if rng.random() < 0.2:
        angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        corner = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    pillow = plate(corner, rng.uniform(0.5, 0.75), step, puff=0.42, joint="soft")
    parts = [pillow]
    if rng.random() < 0.3:
        parts.append(ellipsoid((0.07, 0.07, 0.05), step, finish="accent").moved((0, 0, 0.28)))
    if rng.random() < 0.7:
        lean = rotation("x", rng.uniform(62, 80))
        return [part.moved(rotate=lean) for part in parts]
    return parts


def lantern(rng: np.random.Generator, step: float) -> list[Part]:
    """Roof on posts around a pane and a candle."""
    wide, tall = rng.uniform(0.34, 0.45), rng.uniform(0.7, 0.95)
    base = [(0, 0), (wide + 0.08, 0), (wide + 0.08, 0.08), (wide, 0.12), (0, 0.12)]
    roof = [(wide + 0.1, 0), (wide * 0.6, 0.2), (0.1, 0.34), (0.08, 0.42), (0, 0.43)]
    parts = [
        lathe(base, step, False),
        lathe(roof, step, False).moved((0, 0, tall)),
        lathe([(wide - 0.04, 0.12), (wide - 0.04, tall)], step, False, finish="pane"),
        lathe([(0, 0.12), (0.14, 0.12), (0.14, 0.42), (0, 0.43)], step, False, finish="wax"),
        lathe([(0, 0.46), (0.06, 0.54), (0, 0.76)], step, finish="flame", joint="glow"),
    ]
    for k in range(rng.choice([4, 6])):
        post = tube([(wide, 0, 0.1), (wide, 0, tall + 0.02)], 0.025, step, False)
        parts.append(post.moved(rotate=rotation("z", 15 + k * 60)))
    top = tall + 0.42
    bow = [
        (-0.2, 0, top - 0.05),
        (-0.24, 0, top + 0.2),
        (0, 0, top + 0.38),
        (0.24, 0, top + 0.2),
        (0.2, 0, top - 0.05),
    ]
    return [*parts, tube(bow, 0.022, step, finish="accent")]


def keepsake(rng: np.random.Generator, step: float) -> list[Part]:
    """A box with a lid that turns about its back edge (joint `hinge`)."""
    wide, deep, tall = rng.uniform(0.9, 1.3), rng.uniform(0.6, 0.85), rng.uniform(0.35, 0.6)
    lid = 0.32 * tall
    parts = [
        box((wide, deep, tall), 0.03, step).moved((0, 0, tall / 2)),
        box((wide - 0.1, deep - 0.1, 0.02), 0.005, step, finish="velvet").moved(
            (0, 0, tall + 0.003)
        ),
        box((wide + 0.03, deep + 0.03, lid), 0.04, step, joint="hinge").moved(
            (0, 0, tall + lid / 2)
        ),
        box((0.14, 0.03, 0.2), 0.012, step, finish="brass").moved(
            (0, -deep / 2 - 0.01, tall - 0.04)
        ),
    ]
    if rng.random() < 0.5:
        for x in (-wide / 2, wide / 2):
            for y in (-deep / 2, deep / 2):
                parts.append(
                    ellipsoid(0.06, step, finish="brass").moved((x * 0.92, y * 0.92, 0.02))
                )
    return parts


def speaker(rng: np.random.Generator, step: float) -> list[Part]:
    """Cylinder with a mesh, or box with one or two cones."""
    cone = lathe(
        [(0.26, 0.03), (0.24, 0.05), (0.2, 0.02), (0.08, -0.04), (0, 0.0)],
        step,
        finish="dark",
        joint="cone",
    )
    face = rotation("x", 90)
    if rng.random() < 0.45:
        tall = rng.uniform(0.8, 1.2)
        body = [(0, 0), (0.34, 0), (0.4, 0.06), (0.4, tall - 0.06), (0.34, tall), (0, tall)]
        ring = [(0.408, 0.2), (0.408, tall - 0.2)]
        light = lathe(
            [(0.3, 0), (0.31, 0.02), (0.28, 0.02)], step, False, finish="led", joint="glow"
        )
        return [lathe(body, step, False, finish="plain"), lathe(ring, step, False, finish="mesh"),
                light.moved((0, 0, tall))]  # fmt: skip
    wide, tall = rng.uniform(0.7, 1.6), rng.uniform(0.6, 1.15)
    parts = [box((wide, 0.5, tall), 0.08, step).moved((0, 0, tall / 2))]
    spots = (
        [(0.0, 0.42 * tall)] if wide < 1.1 else [(-0.3 * wide, tall / 2), (0.3 * wide, tall / 2)]
    )
    size = min(tall, wide) * 0.95
    parts += [cone.moved((x, -0.25, z), face, size) for x, z in spots]
    led = ellipsoid((0.03, 0.02, 0.03), step, finish="led", joint="glow")
    return [*parts, led.moved((0.3 * wide, -0.25, 0.9 * tall))]
