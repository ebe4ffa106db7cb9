"""The shop generator and the catalogue that ships: what they contain, and what must not leak."""

import json
import re
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from scale.modalities import MODALITIES
from tools.sample_shop import build, shapes, spec, text, uses
from tools.sample_shop.build import plan
from tools.sample_shop.clip import clip
from tools.sample_shop.geometry import box, ellipsoid, lathe, rotation
from tools.sample_shop.item import draw_item, present
from tools.sample_shop.picture import picture
from tools.sample_shop.render import Camera
from tools.sample_shop.sound import RATE, RATIOS, sound
from tools.sample_shop.text import table, titles

PRODUCTS = 720
SHIPPED = Path(__file__).parents[2] / "data_samples"


@pytest.fixture(scope="module")
def planned():
    return plan(0, PRODUCTS)


def test_the_same_seed_gives_the_same_bytes_for_any_number_of_workers(tmp_path):
    folders = [
        build(tmp_path / "a", seed=1, products=2),
        build(tmp_path / "b", seed=1, products=2, workers=2),
    ]
    a, b = (
        {str(p.relative_to(f)): p.read_bytes() for p in f.rglob("*") if p.is_file()}
        for f in folders
    )
    assert a == b
    assert plan(3, 4) == plan(3, 4) != plan(4, 4)
    folder = folders[0]
    records = [json.loads(line) for line in (folder / "products.jsonl").open(encoding="utf-8")]
    named = [
        view[m] for r in records for view in (r, r["alt"]) for m in ("image", "video", "audio")
    ]
    files = {p for p in a if "/" in p}
    assert {name for name in named if name} == files
    assert any(name.startswith("video") for name in files)
    for path in folder.glob("image/*.jpg"):
        with Image.open(path) as image:
            assert image.size == (128, 128)
    for path in folder.glob("video/*.mp4"):
        with av.open(str(path)) as container:
            frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
            assert not container.streams.audio
        assert 12 <= len(frames) <= 16
        assert frames[0].shape == (96, 96, 3)
    for path in folder.glob("audio/*.ogg"):
        with av.open(str(path)) as container:
            assert 1.2 < sum(f.samples for f in container.decode(audio=0)) / 48_000 < 1.8


def test_too_few_products_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="at least 2 products"):
        build(tmp_path, products=1)


def test_category_sizes_follow_zipfs_law():
    counts = spec.category_counts(PRODUCTS)
    assert sum(counts) == PRODUCTS
    assert len(counts) >= 24
    assert counts == sorted(counts, reverse=True)
    assert 50 <= counts[0] <= 80
    assert 5 <= counts[-1] <= 9
    assert sum(spec.category_counts(len(counts))) == min(spec.category_counts(40)) * len(counts)


def test_every_category_is_in_training_and_test(planned):
    by_split = defaultdict(Counter)
    for item, split in planned:
        by_split[split][item.category.name] += 1
    assert set(by_split["train"]) == set(by_split["test"]) == set(spec.BY_NAME)
    shares = {s: sum(c.values()) / PRODUCTS for s, c in by_split.items()}
    assert shares == pytest.approx({"train": 0.7, "val": 0.1, "test": 0.2}, abs=0.02)


def test_no_word_of_a_title_determines_the_category(planned):
    """Words of at least 5 titles: below 0.6 for one category, and one-word rules are poor."""
    category = [item.category.name for item, _ in planned]
    words = [set(re.findall(r"\w+", titles(item)[0][0].lower())) for item, _ in planned]
    count = defaultdict(Counter)
    for found, name in zip(words, category, strict=True):
        assert not found & {name}
        for word in found:
            count[word][name] += 1
    known = {w: c for w, c in count.items() if c.total() >= 5}
    assert len(known) > 100
    share = {w: c.most_common(1)[0][1] / c.total() for w, c in known.items()}
    assert max(share.values()) < 0.6
    best = [max((w for w in found if w in known), key=share.get) for found in words]
    right = [known[w].most_common(1)[0][0] == name for w, name in zip(best, category, strict=True)]
    assert np.mean(right) < 0.5


def test_traits_are_shared_by_several_categories():
    for key in ("purposes", "nouns", "features", "tables", "materials"):
        owners = Counter(trait for c in spec.CATEGORIES for trait in getattr(c, key))
        assert min(owners.values()) >= 3, (key, owners)


def test_the_chinese_title_contains_the_same_phrases_and_the_second_title_others(planned):
    families = (text.NOUNS, text.PURPOSES, text.FEATURES)
    phrases = [pair for family in families for pairs in family.values() for pair in pairs]
    aims = {en for pairs in text.PURPOSES.values() for en, _ in pairs}
    for item, _ in planned[:200]:
        views = titles(item)
        for english, chinese in views:
            hits = [zh for en, zh in phrases if f" {en}," in f" {english}," and " " in en]
            assert all(zh in chinese for zh in hits)
            assert re.search(r"[\u4e00-\u9fff]", chinese)
            assert not re.search(r"\bfor\b", chinese)
        first, second = ({aim for aim in aims if aim in english} for english, _ in views)
        assert not first & second


def test_tables_are_distinct_and_have_3_to_12_pairs(planned):
    tables = [table(item) for item, _ in planned]
    lengths = set(map(len, tables))
    assert min(lengths) >= 3
    assert max(lengths) <= 12
    assert len(lengths) >= 6
    assert all(isinstance(x, str) and x for pairs in tables for pair in pairs for x in pair)
    assert len(set(map(json.dumps, tables))) == PRODUCTS


def test_modalities_are_missing_by_category_and_seller(planned):
    has = [present(item) for item, _ in planned]
    share = {m: sum(m in h for h in has) / PRODUCTS for m in MODALITIES}
    wanted = {"text": 0.98, "table": 0.9, "image": 0.97, "video": 0.5, "audio": 0.6}
    assert share == pytest.approx(wanted, abs=0.05)
    assert 0.27 < sum(len(h) == 5 for h in has) / PRODUCTS < 0.42
    assert len(set(has)) >= 12
    assert min(map(len, has)) >= 2
    audio = defaultdict(list)
    for (item, _), h in zip(planned, has, strict=True):
        audio[item.category.name].append("audio" in h)
    assert np.mean(audio["cushion"]) < 0.5 * np.mean(audio["mug"])


def test_the_shipped_catalogue_is_that_of_seed_0(planned):
    """Words, tables, splits, present modalities and size on disk; no medium occurs twice."""
    lines = (SHIPPED / "products.jsonl").read_text(encoding="utf-8").splitlines()
    for record, (item, split) in zip(map(json.loads, lines), planned, strict=True):
        has = present(item)
        assert (record["id"], record["split"]) == (item.id, split)
        shown = titles(item)[0] if "text" in has else (None, None)
        assert (record["title"], record["title_zh"]) == shown
        assert record["table"] == (table(item) if "table" in has else None)
        for modality in ("image", "video", "audio"):
            assert (record[modality] is not None) == (modality in has)
            assert record[modality] is None or (SHIPPED / record[modality]).is_file()
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*.*")) < 12e6
    for pattern in ("image/*.jpg", "video/*.mp4", "audio/*.ogg"):
        contents = [path.read_bytes() for path in SHIPPED.glob(f"*{pattern}")]
        assert len(set(contents)) == len(contents) > 300


def test_every_shape_is_on_the_ground_at_unit_size():
    for category in spec.CATEGORIES:
        parts = shapes.build(category.name, np.random.default_rng(0), 0.08)
        points = np.concatenate([p.points_N3 for p in parts])
        normals = np.concatenate([p.normals_N3 for p in parts])
        assert points[:, 2].min() == pytest.approx(0, abs=1e-5), category.name
        assert np.ptp(points, axis=0).max() == pytest.approx(2.0, abs=0.08), category.name
        assert np.linalg.norm(normals, axis=1) == pytest.approx(1, abs=1e-3), category.name


def test_every_use_moves_something():
    for category in spec.CATEGORIES:
        rest = shapes.build(category.name, np.random.default_rng(0), 0.1)
        for use in category.uses:
            at = [
                uses.USES[use](rest, t, np.random.default_rng(1), category.name) for t in (0.0, 0.4)
            ]
            flat = [np.concatenate([p.points_N3.ravel() for p in [*m.parts, *m.extra]]) for m in at]
            still = len(flat[0]) == len(flat[1]) and np.allclose(*flat)
            moved = not still or at[0].glow != at[1].glow or at[0].turn != at[1].turn
            assert moved, (category.name, use)
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


def test_projection_inverts_the_rays():
    camera = Camera(30, 25, 3, target=(0.1, -0.2, 0.5), shift=(0.1, 0.05))
    eye, rays = camera.rays(64)
    x, y, _ = camera.project((eye + 4 * rays[20, 45])[None])
    assert (x[0], y[0]) == pytest.approx(((45.5 / 32) - 1, 1 - 20.5 / 32), abs=1e-5)


def test_pictures_of_two_views_differ_and_show_the_colour(planned):
    item = next(
        i
        for i, _ in planned
        if i.colour in ("red", "blue") and i.material in ("ceramic", "plastic")
    )
    main, alt = (np.asarray(picture(item, view), float) for view in ("main", "alt"))
    assert np.abs(main - alt).mean() > 3
    channel = 0 if item.colour == "red" else 2
    assert main[..., channel].mean() > main[..., 2 - channel].mean()


def test_frames_of_a_clip_differ():
    frames = clip(draw_item(spec.BY_NAME["bell"], 1, 0), "main")
    assert frames.shape[1:] == (96, 96, 3)
    assert frames.dtype == np.uint8
    assert np.abs(np.diff(frames.astype(int), axis=0)).mean() > 0.02


def test_brass_rings_longer_than_wood_and_large_things_sound_deeper():
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


def test_random_streams_of_a_product_depend_on_their_whole_name():
    item = draw_item(spec.BY_NAME["mug"], 1, 0)
    drawn = {name: item.rng("sound", name).integers(2**60) for name in ("view1", "view2", "view")}
    assert len(set(drawn.values())) == 3
    assert item.rng("sound", "view1").integers(2**60) == drawn["view1"]
