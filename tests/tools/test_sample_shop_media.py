"""Shapes, motion, pictures, clips and sounds of the shop generator."""

from dataclasses import replace

import numpy as np
import pytest

from tools.sample_shop import motion, shapes, spec
from tools.sample_shop.build import plan
from tools.sample_shop.camera import Camera
from tools.sample_shop.clip import clip
from tools.sample_shop.geometry import box, ellipsoid, lathe, rotation
from tools.sample_shop.item import draw_item
from tools.sample_shop.picture import picture
from tools.sample_shop.sound import RATE, RATIOS, sound


@pytest.mark.parametrize("category", [c.name for c in spec.CATEGORIES])
def test_every_shape_stands_on_the_ground_at_unit_size(category):
    parts = shapes.build(category, np.random.default_rng(0), 0.05)
    points = np.concatenate([p.points_N3 for p in parts])
    normals = np.concatenate([p.normals_N3 for p in parts])
    assert points[:, 2].min() == pytest.approx(0, abs=1e-5)
    assert np.ptp(points, axis=0).max() == pytest.approx(2.0, abs=0.05)
    assert np.isfinite(points).all()
    assert np.linalg.norm(normals, axis=1) == pytest.approx(1, abs=1e-3)


def test_every_use_moves_something():
    for category in spec.CATEGORIES:
        rest = shapes.build(category.name, np.random.default_rng(0), 0.08)
        for use in category.uses:
            at = [
                motion.USES[use](rest, t, np.random.default_rng(1), category.name)
                for t in (0.0, 0.4)
            ]
            flat = [np.concatenate([p.points_N3.ravel() for p in [*m.parts, *m.extra]]) for m in at]
            still = len(flat[0]) == len(flat[1]) and np.allclose(*flat)
            assert not still or at[0].glow != at[1].glow or at[0].turn != at[1].turn, (
                category.name,
                use,
            )
            assert len(at[1].parts) == len(rest)


def test_surfaces_against_their_equations():
    ball = ellipsoid((1, 2, 3), 0.1)
    assert ((ball.points_N3 / (1, 2, 3)) ** 2).sum(axis=1) == pytest.approx(1, abs=1e-5)
    cone = lathe([(1, 0), (0, 1)], 0.05, smooth=False)
    assert np.hypot(*cone.points_N3[:, :2].T) + cone.points_N3[:, 2] == pytest.approx(1, abs=1e-5)
    assert cone.normals_N3[:, 2] == pytest.approx(np.sqrt(0.5), abs=1e-4)
    block = box((2, 2, 2), 0.2, 0.05)
    assert np.abs(block.points_N3).max() == pytest.approx(1, abs=1e-6)
    assert (block.normals_N3 * block.points_N3).sum(axis=1).min() > 0
    assert rotation("z", 90) @ (1, 0, 0) == pytest.approx([0, 1, 0], abs=1e-6)


def test_camera_sees_a_point_where_its_ray_goes():
    camera = Camera(30, 25, 3, target=(0.1, -0.2, 0.5), shift=(0.1, 0.05))
    eye, rays = camera.rays(64)
    x, y, _ = camera.project((eye + 4 * rays[20, 45])[None])
    assert (x[0], y[0]) == pytest.approx(((45.5 / 32) - 1, 1 - 20.5 / 32), abs=1e-5)


def test_pictures_of_two_views_differ_and_show_the_colour():
    item = next(
        i
        for i, _ in plan(0, 80)
        if (i.category.name == "mug" and i.colour == "red")
        or (i.colour == "blue" and i.material == "ceramic")
    )
    main, alt = (np.asarray(picture(item, view), float) for view in ("main", "alt"))
    assert np.abs(main - alt).mean() > 3
    channel = 0 if item.colour == "red" else 2
    assert main[..., channel].mean() > main[..., 2 - channel].mean()


def test_clip_has_frames_of_its_size():
    frames = clip(draw_item(spec.BY_NAME["bell"], 1, 0), "main")
    assert frames.shape[1:] == (96, 96, 3)
    assert frames.dtype == np.uint8


def test_brass_rings_longer_than_wood_and_large_sounds_deeper():
    item = draw_item(spec.BY_NAME["bowl"], 1, 0)

    def pitch_and_tail(**traits):
        waves = [sound(replace(item, **traits), f"view{k}").astype(float) for k in range(6)]
        assert not np.array_equal(waves[0][:8000], waves[1][:8000])
        energy = [np.abs(np.fft.rfft(w, 1 << 15)) ** 2 for w in waves]
        hertz = np.fft.rfftfreq(1 << 15, 1 / RATE)
        lowest = [hertz[np.argmax(e > 0.1 * e.max())] for e in energy]
        level = [np.convolve(w**2, np.ones(400), "same") for w in waves]
        return np.median(lowest), np.mean([(x > 0.01 * x.max()).mean() for x in level])

    brass, wood = (pitch_and_tail(material=m, size_cm=15.0) for m in ("brass", "wood"))
    assert brass[1] > 1.5 * wood[1]
    small, large = (pitch_and_tail(material="glass", size_cm=s)[0] for s in (10.0, 30.0))
    assert small > 1.5 * large
    assert {c.modes for c in spec.CATEGORIES} <= set(RATIOS)


def test_streams_of_a_product_are_told_apart_by_their_whole_name():
    item = draw_item(spec.BY_NAME["mug"], 1, 0)
    drawn = {name: item.rng("sound", name).integers(2**60) for name in ("view1", "view2", "view")}
    assert len(set(drawn.values())) == 3
    assert item.rng("sound", "view1").integers(2**60) == drawn["view1"]
