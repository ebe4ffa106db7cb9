"""The shop generator and the catalogue that ships: what it must hold, and what must not leak."""

import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scale.modalities import MODALITIES
from tools.sample_shop import build, spec, words
from tools.sample_shop.build import plan
from tools.sample_shop.missing import present
from tools.sample_shop.table import table
from tools.sample_shop.text import titles

PRODUCTS = 720
SHIPPED = Path(__file__).parents[2] / "data_samples"


@pytest.fixture(scope="module")
def planned():
    return plan(0, PRODUCTS)


def _folder_bytes(folder, pattern):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.glob(pattern))}


def test_same_seed_same_catalogue(tmp_path):
    first = build(tmp_path / "a", seed=3, products=4)
    again = build(tmp_path / "b", seed=3, products=4, workers=2)
    assert _folder_bytes(first, "**/*.*") == _folder_bytes(again, "**/*.*")
    assert [item for item, _ in plan(3, 4)] != [item for item, _ in plan(4, 4)]
    records = [json.loads(line) for line in (first / "products.jsonl").open(encoding="utf-8")]
    assert len(records) == 4
    for record in records:
        for media in (record, record["alt"]):
            for modality in ("image", "video", "audio"):
                if media[modality] is not None:
                    assert (first / media[modality]).stat().st_size > 0
    assert not list(first.glob("*.partial"))


def test_media_decode_to_what_the_readme_says(tmp_path):
    import av

    folder = build(tmp_path, seed=1, products=4)
    for path in folder.glob("image/*.jpg"):
        with Image.open(path) as image:
            assert image.size == (128, 128)
    clips = list(folder.glob("video/*.mp4"))
    sounds = list(folder.glob("audio/*.ogg"))
    assert clips
    assert sounds
    for path in clips:
        with av.open(str(path)) as container:
            frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
            assert not container.streams.audio
        assert 12 <= len(frames) <= 16
        assert frames[0].shape == (96, 96, 3)
        assert np.abs(np.diff(np.stack(frames).astype(int), axis=0)).mean() > 0.02
    for path in sounds:
        with av.open(str(path)) as container:
            samples = sum(f.samples for f in container.decode(audio=0))
        assert 1.2 < samples / 48_000 < 1.8


def test_sizes_of_categories_fall_like_zipf():
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
    names = set(spec.BY_NAME)
    assert set(by_split["train"]) == set(by_split["test"]) == names
    shares = {s: sum(c.values()) / PRODUCTS for s, c in by_split.items()}
    assert shares == pytest.approx({"train": 0.7, "val": 0.1, "test": 0.2}, abs=0.02)


def test_no_two_products_say_the_same(planned):
    said = [(titles(item)[0][0], json.dumps(table(item))) for item, _ in planned]
    assert len(set(said)) == PRODUCTS
    tables = [t for _, t in said]
    assert len(set(tables)) == PRODUCTS


def test_no_word_of_a_title_gives_the_category_away(planned):
    """Tokens of 5 titles or more: below 0.6 for one category, and rules of one token are poor."""
    category = [item.category.name for item, _ in planned]
    tokens = [set(re.findall(r"\w+", titles(item)[0][0].lower())) for item, _ in planned]
    count = defaultdict(Counter)
    for words_, name in zip(tokens, category, strict=True):
        for word in words_:
            count[word][name] += 1
    known = {w: c for w, c in count.items() if c.total() >= 5}
    assert len(known) > 100
    worst = max(known, key=lambda w: known[w].most_common(1)[0][1] / known[w].total())
    assert known[worst].most_common(1)[0][1] / known[worst].total() < 0.6, worst
    right = 0
    for words_, name in zip(tokens, category, strict=True):
        best = max(
            (c.most_common(1)[0][1] / c.total(), w) for w, c in known.items() if w in words_
        )[1]
        right += known[best].most_common(1)[0][0] == name
    assert right / PRODUCTS < 0.5


def test_no_title_names_a_category(planned):
    for item, _ in planned:
        for english, _ in titles(item):
            assert item.category.name not in re.findall(r"\w+", english.lower())


def test_traits_are_shared_by_several_categories():
    for key in ("purposes", "nouns", "features", "tables", "materials"):
        owners = Counter(trait for c in spec.CATEGORIES for trait in getattr(c, key))
        assert min(owners.values()) >= 3, (key, owners)


def test_chinese_title_says_the_same(planned):
    """Every phrase of the English title that has a twin stands in the Chinese one."""
    twins = [
        pairs
        for family in (words.NOUNS, words.PURPOSES, words.FEATURES)
        for pairs in family.values()
    ]
    flat = [pair for pairs in twins for pair in pairs]
    for item, _ in planned[:200]:
        for english, chinese in titles(item):
            hits = [zh for en, zh in flat if f" {en}," in f" {english}," and len(en.split()) > 1]
            assert all(zh in chinese for zh in hits)
            assert re.search(r"[\u4e00-\u9fff]", chinese)
            assert not re.search(r"\bfor\b", chinese)


def test_second_title_has_other_nouns_and_aims(planned):
    aims = {en for pairs in words.PURPOSES.values() for en, _ in pairs}
    for item, _ in planned[:200]:
        (first, _), (second, _) = titles(item)
        said = [{aim for aim in aims if aim in title} for title in (first, second)]
        assert not said[0] & said[1]


def test_tables_have_3_to_12_pairs_of_words(planned):
    lengths = [len(table(item)) for item, _ in planned]
    assert min(lengths) >= 3
    assert max(lengths) <= 12
    assert len(set(lengths)) >= 6
    for item, _ in planned[:100]:
        assert all(isinstance(x, str) and x for pair in table(item) for x in pair)


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


def test_what_ships_is_what_the_generator_makes(planned):
    """data_samples/ against the plan of seed 0: words, tables, splits, presence, size on disk."""
    lines = (SHIPPED / "products.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert len(records) == len(planned)
    for record, (item, split) in zip(records, planned, strict=True):
        has = present(item)
        english, chinese = titles(item)[0]
        assert (record["id"], record["split"]) == (item.id, split)
        assert (record["title"], record["title_zh"]) == (
            (english, chinese) if "text" in has else (None, None)
        )
        assert record["table"] == (table(item) if "table" in has else None)
        for modality in ("image", "video", "audio"):
            assert (record[modality] is not None) == (modality in has)
            assert record[modality] is None or (SHIPPED / record[modality]).is_file()
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*.*")) < 12e6


def test_no_medium_of_what_ships_occurs_twice():
    """Equal content in two products would leak from training into test."""
    for pattern in ("image/*.jpg", "video/*.mp4", "audio/*.ogg"):
        contents = [path.read_bytes() for path in SHIPPED.glob(f"*{pattern}")]
        assert len(contents) > 300
        assert len(set(contents)) == len(contents)


def test_too_few_products_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="at least 2 products"):
        build(tmp_path, products=1)
